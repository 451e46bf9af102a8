//! An OpenAPI description of the Graph side, made from the API table. CSDL is what the original has; this is for tools that
//! know no OData.
//!
//! Statuses and bodies are those of the contract (§5 to §10, §13); what OpenAPI cannot say, such as that a session's id is
//! the caller's own, is said in words.

use serde_json::{Map, Value, json};

use crate::operations::{Access, BodyRule, OPERATIONS, Operation, Permissions, Row};
use crate::path::Root;
use crate::{Permission, headers};

/// The description, as JSON.
pub fn document() -> Vec<u8> {
    let mut paths = Map::new();
    for row in OPERATIONS {
        for path in row.paths {
            let item = paths.entry(*path).or_insert_with(|| path_item(path));
            item[row.method.as_str().to_ascii_lowercase()] = operation(row, path);
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "presenced: the Microsoft Graph presence API",
            "version": "1",
            "description": "Generated from the table that routes the requests. The schema of OData is at /v1.0/$metadata.",
        },
        "servers": [
            { "url": format!("/{}", Root::V1.as_str()) },
            { "url": format!("/{}", Root::Beta.as_str()) },
        ],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "parameters": { "user": user_key(), "size": photo_size(), "subscription": subscription_id() },
            "responses": { "error": error_response() },
            "schemas": schemas(),
        },
    });
    serde_json::to_vec(&document).unwrap_or_default()
}

fn path_item(path: &str) -> Value {
    let parameters: Vec<_> = ["user", "size", "subscription"]
        .into_iter()
        .filter(|name| path.contains(&format!("{{{name}}}")))
        .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
        .collect();
    json!({ "parameters": parameters })
}

fn operation(row: &Row, path: &str) -> Value {
    // One operation may have several paths; an id must not.
    let place = path.trim_start_matches('/').split(['/', '(']).next().unwrap_or_default();
    let mut operation = json!({
        "operationId": match row.paths.len() {
            1 => row.name.to_owned(),
            _ => format!("{}.{}", row.name, path.trim_start_matches('/').replace(['/', '{', '}', '$'], "_")),
        },
        "tags": [place],
        "description": permissions(&row.access),
        "responses": responses(row),
    });
    if row.body == BodyRule::Required {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": body(row.operation) } } });
    }
    if row.access == Access::Anyone {
        operation["security"] = json!([]);
    }
    operation
}

/// Who may do it, in words: a bearer token's scopes cannot be told from its roles by OpenAPI.
fn permissions(access: &Access) -> String {
    let names = |permissions: &[Permission]| {
        permissions.iter().map(|permission| permission.as_str()).collect::<Vec<_>>().join(", ")
    };
    match access {
        Access::Anyone => "Needs no token.".to_owned(),
        Access::AnyToken => "Needs a token; what is inside is checked by itself.".to_owned(),
        Access::Presence(Permissions { delegated_own, delegated_other, application })
        | Access::Directory(Permissions { delegated_own, delegated_other, application })
        | Access::Subscription(Permissions { delegated_own, delegated_other, application }) => format!(
            "Needs one of these. Delegated, on oneself: {}. Delegated, on others: {}. Application: {}.",
            names(delegated_own),
            delegated_other.map_or_else(|| "not possible".to_owned(), names),
            if application.is_empty() { "not supported".to_owned() } else { names(application) },
        ),
    }
}

fn responses(row: &Row) -> Value {
    let error = || json!({ "$ref": "#/components/responses/error" });
    let mut responses = Map::from_iter([(success_status(row.operation).to_owned(), success(row.operation))]);
    for status in statuses(row) {
        responses.insert(status.to_string(), error());
    }
    Value::Object(responses)
}

/// The errors an operation may answer (§13.2). Every one that reads a body may find it too large.
fn statuses(row: &Row) -> Vec<u16> {
    let mut statuses = vec![400, 405, 429, 503];
    if row.access != Access::Anyone {
        statuses.push(401);
    }
    if matches!(row.access, Access::Presence(_) | Access::Directory(_) | Access::Subscription(_)) {
        statuses.extend([403, 404]);
    }
    match row.operation {
        Operation::CreateSubscription => statuses.push(409),
        Operation::GetSubscription | Operation::DeleteSubscription => statuses.push(404),
        _ => {}
    }
    if row.body == BodyRule::Required {
        statuses.extend([413, 415]);
    }
    statuses.sort_unstable();
    statuses
}

/// The status of a success.
fn success_status(operation: Operation) -> &'static str {
    match operation {
        Operation::CreateSubscription => "201",
        Operation::DeleteSubscription | Operation::ReauthorizeSubscription => "204",
        _ => "200",
    }
}

fn success(operation: Operation) -> Value {
    let odata = |schema: Value| json!({ "description": "Read.", "content": { "application/json": { "schema": schema } } });
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let many = |name: &str| {
        json!({
            "type": "object",
            "required": ["value"],
            "properties": { "value": { "type": "array", "items": reference(name) } },
        })
    };
    match operation {
        Operation::GetPresence => odata(reference("presence")),
        Operation::GetPresencesByUserId => odata(many("presence")),
        Operation::GetUser => odata(reference("user")),
        Operation::ListUsers => odata(many("user")),
        Operation::CreateSubscription | Operation::GetSubscription | Operation::UpdateSubscription => {
            odata(reference("subscription"))
        }
        Operation::ListSubscriptions => odata(many("subscription")),
        Operation::Batch => odata(many_responses()),
        Operation::Metadata => {
            let xml = headers::CONTENT_TYPE_METADATA.split(';').next().unwrap_or_default();
            json!({ "description": "CSDL 4.0.", "content": { xml: { "schema": { "type": "string" } } } })
        }
        Operation::GetPhoto => odata(json!({ "type": "object" })),
        Operation::GetPhotoContent => {
            json!({ "description": "The photo.", "content": { "image/*": { "schema": { "type": "string" } } } })
        }
        _ => json!({ "description": "Done; the body is empty." }),
    }
}

fn many_responses() -> Value {
    json!({
        "type": "object",
        "required": ["responses"],
        "properties": { "responses": { "type": "array", "items": {
            "type": "object",
            "required": ["id", "status", "headers"],
            "properties": {
                "id": { "type": "string" },
                "status": { "type": "integer" },
                "headers": { "type": "object" },
            },
        } } },
    })
}

/// What a body must have. Members of other names are ignored.
fn body(operation: Operation) -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    let session =
        || json!({ "type": "string", "format": "uuid", "description": "The caller's application id." });
    let duration = || json!({ "type": ["string", "null"], "format": "duration", "description": "Days, hours, minutes, seconds." });
    let place = || json!({ "type": ["string", "null"] });
    let (properties, required): (Value, &[&str]) = match operation {
        Operation::SetPresence => (
            json!({ "sessionId": session(), "availability": text(), "activity": text(), "expirationDuration": duration() }),
            &["sessionId", "availability", "activity"],
        ),
        Operation::ClearPresence => (json!({ "sessionId": session() }), &["sessionId"]),
        Operation::SetUserPreferredPresence => (
            json!({ "availability": text(), "activity": text(), "expirationDuration": duration() }),
            &["availability", "activity"],
        ),
        Operation::SetStatusMessage => {
            (json!({ "statusMessage": { "$ref": "#/components/schemas/presenceStatusMessage" } }), &[])
        }
        Operation::SetManualLocation | Operation::SetAutomaticLocation => (
            json!({ "workLocationType": { "enum": ["office", "remote", "timeOff"] }, "placeId": place() }),
            &["workLocationType"],
        ),
        Operation::GetPresencesByUserId => (
            json!({ "ids": { "type": "array", "maxItems": 650, "items": { "type": "string", "format": "uuid" } } }),
            &["ids"],
        ),
        Operation::CreateSubscription => (
            json!({
                "resource": text(), "changeType": { "enum": ["updated"] }, "notificationUrl": text(),
                "expirationDateTime": text(), "lifecycleNotificationUrl": place(), "clientState": place(),
                "includeResourceData": { "type": ["boolean", "null"] }, "encryptionCertificate": place(),
                "encryptionCertificateId": place(), "latestSupportedTlsVersion": place(),
            }),
            &["resource", "changeType", "notificationUrl", "expirationDateTime"],
        ),
        Operation::UpdateSubscription => (
            json!({
                "expirationDateTime": place(), "notificationUrl": place(), "encryptionCertificate": place(),
                "encryptionCertificateId": place(),
            }),
            &[],
        ),
        Operation::Batch => (
            json!({ "requests": { "type": "array", "minItems": 1, "maxItems": 20, "items": {
                "type": "object",
                "required": ["id", "method", "url"],
                "properties": { "id": text(), "method": { "type": "string" }, "url": { "type": "string" } },
            } } }),
            &["requests"],
        ),
        _ => (json!({}), &[]),
    };
    json!({ "type": "object", "properties": properties, "required": required })
}

fn user_key() -> Value {
    json!({
        "name": "user", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 },
        "description": "Object id or user principal name.",
    })
}

fn subscription_id() -> Value {
    json!({ "name": "subscription", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } })
}

fn photo_size() -> Value {
    let sizes: Vec<_> = crate::user::PHOTO_SIZES.iter().map(|size| format!("{size}x{size}")).collect();
    json!({ "name": "size", "in": "path", "required": true, "schema": { "enum": sizes } })
}

fn error_response() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "description": "Refused.",
        "content": { "application/json": { "schema": {
            "type": "object",
            "required": ["error"],
            "additionalProperties": false,
            "properties": { "error": {
                "type": "object",
                "required": ["code", "message", "innerError"],
                "properties": {
                    "code": { "type": "string", "minLength": 1 },
                    "message": text,
                    "innerError": {
                        "type": "object",
                        "required": ["date", "request-id", "client-request-id"],
                        "properties": { "date": text, "request-id": text, "client-request-id": text },
                    },
                },
            } },
        } } },
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let maybe = json!({ "type": ["string", "null"] });
    let zoned = json!({
        "type": ["object", "null"],
        "required": ["dateTime"],
        "properties": { "dateTime": text, "timeZone": maybe },
    });
    let message = json!({
        "type": ["object", "null"],
        "properties": { "content": maybe, "contentType": { "enum": ["text", "html", null] } },
    });
    json!({
        "presence": {
            "type": "object",
            "required": ["id", "availability", "activity"],
            "properties": {
                "id": text, "availability": text, "activity": text, "sequenceNumber": text,
                "outOfOfficeSettings": {
                    "type": "object",
                    "properties": { "isOutOfOffice": { "type": "boolean" }, "message": maybe },
                },
                "statusMessage": { "$ref": "#/components/schemas/presenceStatusMessage" },
                "workLocation": {
                    "type": "object",
                    "required": ["workLocationType", "source"],
                    "properties": {
                        "workLocationType": { "enum": ["unspecified", "office", "remote", "timeOff"] },
                        "source": { "enum": ["none", "manual", "scheduled", "automatic"] },
                        "placeId": maybe,
                    },
                },
            },
        },
        "presenceStatusMessage": {
            "type": ["object", "null"],
            "properties": { "message": message, "publishedDateTime": maybe, "expiryDateTime": zoned },
        },
        "subscription": {
            "type": "object",
            "required": ["id", "resource", "changeType", "notificationUrl", "expirationDateTime", "applicationId", "creatorId"],
            "properties": {
                "id": text, "resource": text, "changeType": text, "notificationUrl": text,
                "expirationDateTime": text, "applicationId": text, "creatorId": text, "clientState": maybe,
            },
        },
        "user": {
            "type": "object",
            "required": ["id"],
            "properties": { "id": text, "userPrincipalName": text, "displayName": maybe },
        },
    })
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;
    use crate::Method;

    fn parsed() -> Value {
        serde_json::from_slice(&document()).unwrap()
    }

    #[test]
    fn every_row_of_the_table_is_described_with_an_id_of_its_own() {
        let document = parsed();
        let mut ids = std::collections::HashSet::new();
        for row in OPERATIONS {
            for path in row.paths {
                let found = &document["paths"][path][row.method.as_str().to_ascii_lowercase()];
                assert!(ids.insert(found["operationId"].as_str().unwrap().to_owned()), "{path}");
                assert!(found["responses"][success_status(row.operation)].is_object(), "{path}");
                assert_eq!(found["requestBody"].is_object(), row.body == BodyRule::Required, "{path}");
            }
        }
        assert!(OPERATIONS.iter().all(|row| row.method != Method::Other));
    }

    #[test]
    fn a_body_has_the_parameters_of_the_schemas_action() {
        let csdl = Document::parse(crate::metadata::CSDL).unwrap();
        for action in csdl.descendants().filter(|node| node.tag_name().name() == "Action") {
            let name = action.attribute("Name").unwrap();
            let has_path = |row: &&Row| row.paths.iter().any(|path| path.rsplit('/').next() == Some(name));
            let row = OPERATIONS.iter().find(has_path).unwrap();
            let parameters = action.children().filter_map(|child| child.attribute("Name"));
            let mut wanted: Vec<_> = parameters.filter(|name| *name != "bindingParameter").collect();
            wanted.sort_unstable();
            let body = body(row.operation);
            let mut described: Vec<_> = body["properties"].as_object().unwrap().keys().collect();
            described.sort_unstable();
            assert_eq!(described, wanted, "{name}");
        }
    }
}
