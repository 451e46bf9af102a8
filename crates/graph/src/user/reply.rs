//! Users as they are answered: one, or a page of them; and every name that a client may select. Source: identity D.

use crate::GraphError;
use crate::headers::MetadataLevel;
use crate::json;
use crate::odata::{Context, Query, ServiceRoot, select_names, write_context};
use crate::user::{User, UserProperty, Value};

/// Properties of the original's user type that this server does not keep: to select one is no error, it is left out of
/// the answer.
const NOT_KEPT: &[&str] = &[
    "aboutMe",
    "ageGroup",
    "assignedLicenses",
    "assignedPlans",
    "authorizationInfo",
    "birthday",
    "city",
    "consentProvidedForMinor",
    "country",
    "createdDateTime",
    "creationType",
    "customSecurityAttributes",
    "deletedDateTime",
    "deviceEnrollmentLimit",
    "employeeHireDate",
    "employeeLeaveDateTime",
    "employeeOrgData",
    "employeeType",
    "externalUserState",
    "externalUserStateChangeDateTime",
    "faxNumber",
    "hireDate",
    "identities",
    "imAddresses",
    "interests",
    "isManagementRestricted",
    "isResourceAccount",
    "lastPasswordChangeDateTime",
    "legalAgeGroupClassification",
    "licenseAssignmentStates",
    "mailboxSettings",
    "mySite",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "onPremisesExtensionAttributes",
    "onPremisesImmutableId",
    "onPremisesLastSyncDateTime",
    "onPremisesProvisioningErrors",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "onPremisesUserPrincipalName",
    "otherMails",
    "passwordPolicies",
    "passwordProfile",
    "pastProjects",
    "postalCode",
    "preferredDataLocation",
    "preferredName",
    "print",
    "provisionedPlans",
    "proxyAddresses",
    "refreshTokensValidFromDateTime",
    "responsibilities",
    "schools",
    "securityIdentifier",
    "serviceProvisioningErrors",
    "showInAddressList",
    "signInActivity",
    "signInSessionsValidFromDateTime",
    "skills",
    "state",
    "streetAddress",
];

/// Which properties of a user a response has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSelect(Option<Selected>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Selected {
    /// As the context lists them, with those that are not kept.
    names: Vec<&'static str>,
    properties: Vec<UserProperty>,
}

impl UserSelect {
    /// The defaults.
    pub const DEFAULT: Self = Self(None);

    /// Reads `$select`. A star selects everything that is kept.
    ///
    /// # Errors
    /// 400 for a name that users do not have.
    pub fn parse(text: &str) -> Result<Self, GraphError> {
        let mut selected = Selected::default();
        for name in select_names(text) {
            if name == "*" {
                selected.properties = UserProperty::ALL.to_vec();
                selected.names = vec!["*"];
                break;
            }
            let property = UserProperty::parse(name);
            let known = property
                .map(UserProperty::as_str)
                .or_else(|| NOT_KEPT.iter().copied().find(|known| known.eq_ignore_ascii_case(name)))
                .ok_or_else(|| GraphError::no_such_user_property(name))?;
            if !selected.names.contains(&known) {
                selected.names.push(known);
                selected.properties.extend(property);
            }
        }
        selected.properties.sort_unstable();
        Ok(Self((!selected.names.is_empty()).then_some(selected)))
    }

    /// The properties a response has, in its order.
    pub fn properties(&self) -> &[UserProperty] {
        self.0.as_ref().map_or(UserProperty::DEFAULT, |selected| &selected.properties)
    }

    fn names(&self) -> Option<impl Iterator<Item = &'static str>> {
        self.0.as_ref().map(|selected| selected.names.iter().copied())
    }
}

/// Reads the query of `GET /me` and `GET /users/{id}`.
///
/// # Errors
/// 400 for an option that is not supported, and for a property that users do not have.
pub fn user_select(query: &Query<'_>) -> Result<UserSelect, GraphError> {
    query.allow_only(&["$select"])?;
    query.option("$select").map_or(Ok(UserSelect::DEFAULT), UserSelect::parse)
}

/// What a request asked its answer to look like.
#[derive(Clone, Copy, Debug)]
pub struct UserShape<'a> {
    /// The service root of the request.
    pub service: &'a ServiceRoot,
    /// Which properties.
    pub select: &'a UserSelect,
    /// How much control information.
    pub level: MetadataLevel,
}

/// Appends the reply to a read of one user.
pub fn write_user(out: &mut Vec<u8>, shape: &UserShape<'_>, user: &User) {
    out.push(b'{');
    shape.write_context(out, Context::User);
    shape.write_members(out, user);
    out.push(b'}');
}

/// Appends a page of the directory. `count` is what all pages together have, when that was asked for.
pub fn write_users<'u>(
    out: &mut Vec<u8>,
    shape: &UserShape<'_>,
    users: impl IntoIterator<Item = &'u User>,
    count: Option<usize>,
    next_link: Option<&str>,
) {
    out.push(b'{');
    shape.write_context(out, Context::Users);
    if let Some(count) = count {
        out.extend_from_slice(format!("\"@odata.count\":{count},").as_bytes());
    }
    if let Some(next_link) = next_link {
        out.extend_from_slice(b"\"@odata.nextLink\":");
        json::string(out, next_link);
        out.push(b',');
    }
    out.extend_from_slice(b"\"value\":[");
    for (position, user) in users.into_iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"{" } else { b",{" });
        shape.write_members(out, user);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

impl UserShape<'_> {
    fn write_context(&self, out: &mut Vec<u8>, context: Context) {
        if self.level != MetadataLevel::None {
            out.extend_from_slice(b"\"@odata.context\":\"");
            write_context(out, self.service, context, self.select.names());
            out.extend_from_slice(b"\",");
        }
    }

    fn write_members(&self, out: &mut Vec<u8>, user: &User) {
        let start = out.len();
        if self.level == MetadataLevel::Full {
            let id = user.id;
            out.extend_from_slice(
                format!(
                    "\"@odata.type\":\"#microsoft.graph.user\",\"@odata.id\":\"users('{id}')\",\
                     \"@odata.editLink\":\"users('{id}')\","
                )
                .as_bytes(),
            );
        }
        for property in self.select.properties() {
            json::string(out, property.as_str());
            out.push(b':');
            match user.value(*property) {
                Value::Id(id) => json::string(out, &id.to_string()),
                Value::Text(text) => json::string_or_null(out, text),
                Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
                Value::List(texts) => {
                    out.push(b'[');
                    for (position, text) in texts.iter().enumerate() {
                        if position > 0 {
                            out.push(b',');
                        }
                        json::string(out, text);
                    }
                    out.push(b']');
                }
            }
            out.push(b',');
        }
        if out.len() > start {
            out.pop();
        }
    }
}

/// Sides, in pixels, of the photos a user may have. Source: identity D.2.
pub const PHOTO_SIZES: [u16; 9] = [48, 64, 96, 120, 240, 360, 432, 504, 648];

/// Reads a photo's size from a URL: `48x48`, or `240X240` as its own metadata writes it.
pub fn photo_size(segment: &str) -> Option<u16> {
    PHOTO_SIZES.into_iter().find(|size| format!("{size}x{size}").eq_ignore_ascii_case(segment))
}

/// Appends what is known about a photo: its size, and the media type and version of its bytes.
pub fn write_photo(out: &mut Vec<u8>, size: u16, media_type: &str, etag: &str) {
    out.extend_from_slice(b"{\"@odata.mediaContentType\":");
    json::string(out, media_type);
    out.extend_from_slice(b",\"@odata.mediaEtag\":");
    json::string(out, etag);
    out.extend_from_slice(
        format!(",\"id\":\"{size}X{size}\",\"height\":{size},\"width\":{size}}}").as_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Root;

    fn ada() -> User {
        User {
            display_name: Some("Ada \"A\" L".into()),
            business_phones: vec!["+44 1".into(), "+44 2".into()],
            department: Some("Engines".into()),
            ..User::new("3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e".parse().unwrap(), "ada@presence.example")
        }
    }

    fn written(select: &str, level: MetadataLevel) -> String {
        let service = ServiceRoot::new("https://presence.example", Root::V1);
        let select = UserSelect::parse(select).unwrap();
        let mut out = Vec::new();
        write_user(&mut out, &UserShape { service: &service, select: &select, level }, &ada());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_select_the_eleven_defaults_come_back_and_unset_ones_are_null() {
        assert_eq!(
            written("", MetadataLevel::Minimal),
            r##"{"@odata.context":"https://presence.example/v1.0/$metadata#users/$entity","businessPhones":["+44 1","+44 2"],"displayName":"Ada \"A\" L","givenName":null,"jobTitle":null,"mail":null,"mobilePhone":null,"officeLocation":null,"preferredLanguage":null,"surname":null,"userPrincipalName":"ada@presence.example","id":"3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e"}"##
        );
    }

    #[test]
    fn with_select_only_the_named_ones_come_back_and_the_context_lists_them() {
        assert_eq!(
            written("Department,displayname", MetadataLevel::Minimal),
            r##"{"@odata.context":"https://presence.example/v1.0/$metadata#users(department,displayName)/$entity","displayName":"Ada \"A\" L","department":"Engines"}"##
        );
        assert_eq!(written("accountEnabled", MetadataLevel::None), r#"{"accountEnabled":true}"#);
        assert!(written("*", MetadataLevel::None).contains("\"usageLocation\":null"));
    }

    #[test]
    fn a_known_property_that_is_not_kept_is_left_out_and_an_unknown_one_is_400() {
        assert_eq!(written("proxyAddresses,onPremisesSamAccountName", MetadataLevel::None), "{}");
        let error = UserSelect::parse("id,x").unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (400, "BadRequest"));
        assert_eq!(
            error.message,
            "Parsing OData Select and Expand failed: Could not find a property named 'x' on type 'microsoft.graph.user'."
        );
        for name in [
            "accountEnabled",
            "department",
            "companyName",
            "employeeId",
            "mailNickname",
            "onPremisesSamAccountName",
            "proxyAddresses",
            "userType",
            "usageLocation",
            "createdDateTime",
            "otherMails",
            "imAddresses",
        ] {
            assert!(UserSelect::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_page_has_its_count_and_its_next_link_when_there_are_any() {
        let service = ServiceRoot::new("https://presence.example", Root::V1);
        let select = UserSelect::parse("id").unwrap();
        let shape = UserShape { service: &service, select: &select, level: MetadataLevel::Minimal };
        let mut out = Vec::new();
        write_users(&mut out, &shape, [&ada()], Some(2), Some("https://next"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r##"{"@odata.context":"https://presence.example/v1.0/$metadata#users(id)","@odata.count":2,"@odata.nextLink":"https://next","value":[{"id":"3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e"}]}"##
        );
        let mut out = Vec::new();
        write_users(&mut out, &shape, [], None, None);
        assert!(out.ends_with(br##"users(id)","value":[]}"##));
    }

    #[test]
    fn photos_have_the_nine_sizes() {
        assert_eq!(photo_size("48x48"), Some(48));
        assert_eq!(photo_size("648X648"), Some(648));
        for other in ["49x49", "48x64", "48", "x", ""] {
            assert_eq!(photo_size(other), None);
        }
        let mut out = Vec::new();
        write_photo(&mut out, 240, "image/jpeg", "\"1\"");
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["id"], "240X240");
        assert_eq!(value["width"], 240);
        assert_eq!(value["@odata.mediaEtag"], "\"1\"");
    }
}
