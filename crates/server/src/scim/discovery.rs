//! What this server's SCIM can do: service provider configuration, resource types, schemas (RFC 7644 §4).

use serde_json::{Value, json};

use super::{ENTERPRISE_USER, LIST, PAGE_MAX, USER};

const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SERVICE_PROVIDER_CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";

/// The document at these segments, if they are one's.
pub(super) fn document(segments: &[&str], base: &str) -> Option<Value> {
    match *segments {
        ["ServiceProviderConfig"] => Some(config(base)),
        ["ResourceTypes"] => Some(list(vec![resource_type(base)])),
        ["ResourceTypes", "User"] => Some(resource_type(base)),
        ["Schemas"] => Some(list(schemas(base))),
        ["Schemas", id] => schemas(base).into_iter().find(|schema| schema["id"] == id),
        _ => None,
    }
}

fn list(resources: Vec<Value>) -> Value {
    json!({ "schemas": [LIST], "totalResults": resources.len(), "startIndex": 1, "itemsPerPage": resources.len(),
        "Resources": resources })
}

fn config(base: &str) -> Value {
    let no = json!({ "supported": false });
    json!({
        "schemas": [SERVICE_PROVIDER_CONFIG],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": PAGE_MAX },
        "changePassword": no,
        "sort": no,
        "etag": no,
        "authenticationSchemes": [{ "type": "oauthbearertoken", "name": "OAuth bearer token", "primary": true,
            "description": "An access token with the role Presenced.Provisioning or Presenced.Admin." }],
        "meta": { "resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig") },
    })
}

fn resource_type(base: &str) -> Value {
    json!({
        "schemas": [RESOURCE_TYPE],
        "id": "User",
        "name": "User",
        "endpoint": "/Users",
        "schema": USER,
        "schemaExtensions": [{ "schema": ENTERPRISE_USER, "required": false }],
        "meta": { "resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/User") },
    })
}

fn schemas(base: &str) -> Vec<Value> {
    let text = |name: &str| attribute(name, "string");
    let texts = |names: &[&str]| names.iter().map(|name| text(name)).collect::<Vec<_>>();
    let mut user_name = text("userName");
    user_name["required"] = true.into();
    user_name["uniqueness"] = "server".into();
    let mut external_id = text("externalId");
    external_id["caseExact"] = true.into();
    let several = |name: &str, subs: Vec<Value>| {
        let mut attribute = attribute(name, "complex");
        attribute["multiValued"] = true.into();
        attribute["subAttributes"] = subs.into();
        attribute
    };
    let mut name = attribute("name", "complex");
    name["subAttributes"] = texts(&["givenName", "familyName"]).into();
    let mut user = vec![user_name, external_id, name, attribute("active", "boolean")];
    user.extend(texts(&["displayName", "nickName", "title", "userType", "preferredLanguage", "timezone"]));
    let mut email = texts(&["value", "type"]);
    email.push(attribute("primary", "boolean"));
    user.push(several("emails", email));
    user.push(several("phoneNumbers", texts(&["value", "type"])));
    user.push(several("addresses", texts(&["formatted", "country", "type"])));
    let enterprise = texts(&["employeeNumber", "department", "organization"]);
    [(USER, "User", user), (ENTERPRISE_USER, "EnterpriseUser", enterprise)]
        .into_iter()
        .map(|(id, name, attributes)| {
            json!({ "schemas": [SCHEMA], "id": id, "name": name, "attributes": attributes,
                "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{id}") } })
        })
        .collect()
}

fn attribute(name: &str, kind: &str) -> Value {
    json!({ "name": name, "type": kind, "multiValued": false, "required": false, "caseExact": false,
        "mutability": "readWrite", "returned": "default", "uniqueness": "none" })
}
