//! The directory user: what is kept, what is answered, and every name that a client may select. Source: identity D.

use presence::UserId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::GraphError;
use crate::headers::MetadataLevel;
use crate::json;
use crate::odata::{Context, Query, ServiceRoot, select_names, write_context};

/// A user of the directory, as configuration files, imports and the wire write one: members in camelCase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// The object id.
    #[serde(serialize_with = "write_id", deserialize_with = "read_id")]
    pub id: UserId,
    /// The name a user signs in with, such as `ada@example.com`. Compared without case.
    pub user_principal_name: String,
    /// The name people see.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The mail address.
    #[serde(default)]
    pub mail: Option<String>,
    /// The first name.
    #[serde(default)]
    pub given_name: Option<String>,
    /// The last name.
    #[serde(default)]
    pub surname: Option<String>,
    /// What the user does.
    #[serde(default)]
    pub job_title: Option<String>,
    /// The mobile telephone number.
    #[serde(default)]
    pub mobile_phone: Option<String>,
    /// Where the user's desk is.
    #[serde(default)]
    pub office_location: Option<String>,
    /// The language, such as `en-GB`.
    #[serde(default)]
    pub preferred_language: Option<String>,
    /// Telephone numbers at work.
    #[serde(default)]
    pub business_phones: Vec<String>,
    /// The part of the organisation.
    #[serde(default)]
    pub department: Option<String>,
    /// The organisation.
    #[serde(default)]
    pub company_name: Option<String>,
    /// The number the organisation gave the user.
    #[serde(default)]
    pub employee_id: Option<String>,
    /// The mail address without its domain.
    #[serde(default)]
    pub mail_nickname: Option<String>,
    /// `Member` or `Guest`.
    #[serde(default)]
    pub user_type: Option<String>,
    /// The country, as two letters.
    #[serde(default)]
    pub usage_location: Option<String>,
    /// The user's id at a foreign issuer, when that is no GUID (identity C). Never answered: it is no Graph property.
    #[serde(default)]
    pub external_id: Option<String>,
    /// The user's time zone, by any name that [`zone`](crate::zone::zone) knows. Never answered.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Whether the user may sign in.
    #[serde(default = "yes")]
    pub account_enabled: bool,
}

impl User {
    /// A user of whom only this is known.
    pub fn new(id: UserId, user_principal_name: impl Into<String>) -> Self {
        Self {
            id,
            user_principal_name: user_principal_name.into(),
            display_name: None,
            mail: None,
            given_name: None,
            surname: None,
            job_title: None,
            mobile_phone: None,
            office_location: None,
            preferred_language: None,
            business_phones: Vec::new(),
            department: None,
            company_name: None,
            employee_id: None,
            mail_nickname: None,
            user_type: None,
            usage_location: None,
            external_id: None,
            time_zone: None,
            account_enabled: true,
        }
    }

    /// Reads a user from the columns of a table, such as a CSV file: names as in JSON, an empty cell is absent, several
    /// business phones are separated by semicolons.
    ///
    /// # Errors
    /// An unknown column, a missing `id` or `userPrincipalName`, an id that is no GUID.
    pub fn from_columns<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut object = serde_json::Map::new();
        for (name, cell) in columns {
            let (name, cell) = (name.trim(), cell.trim());
            if cell.is_empty() {
                continue;
            }
            let value = match name {
                "businessPhones" => {
                    cell.split(';').map(str::trim).filter(|phone| !phone.is_empty()).collect()
                }
                "accountEnabled" => match cell.to_ascii_lowercase().as_str() {
                    "true" | "1" | "yes" => true.into(),
                    "false" | "0" | "no" => false.into(),
                    _ => return Err(format!("accountEnabled is {cell:?}, which is neither true nor false")),
                },
                _ => cell.into(),
            };
            object.insert(name.to_owned(), value);
        }
        serde_json::from_value(object.into()).map_err(|error| error.to_string())
    }

    /// The value of a property.
    pub fn value(&self, property: UserProperty) -> Value<'_> {
        use UserProperty as P;
        match property {
            P::BusinessPhones => Value::List(&self.business_phones),
            P::DisplayName => Value::Text(self.display_name.as_deref()),
            P::GivenName => Value::Text(self.given_name.as_deref()),
            P::JobTitle => Value::Text(self.job_title.as_deref()),
            P::Mail => Value::Text(self.mail.as_deref()),
            P::MobilePhone => Value::Text(self.mobile_phone.as_deref()),
            P::OfficeLocation => Value::Text(self.office_location.as_deref()),
            P::PreferredLanguage => Value::Text(self.preferred_language.as_deref()),
            P::Surname => Value::Text(self.surname.as_deref()),
            P::UserPrincipalName => Value::Text(Some(&self.user_principal_name)),
            P::Id => Value::Id(self.id),
            P::AccountEnabled => Value::Bool(self.account_enabled),
            P::Department => Value::Text(self.department.as_deref()),
            P::CompanyName => Value::Text(self.company_name.as_deref()),
            P::EmployeeId => Value::Text(self.employee_id.as_deref()),
            P::MailNickname => Value::Text(self.mail_nickname.as_deref()),
            P::UserType => Value::Text(self.user_type.as_deref()),
            P::UsageLocation => Value::Text(self.usage_location.as_deref()),
        }
    }
}

fn yes() -> bool {
    true
}

fn write_id<S: Serializer>(id: &UserId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn read_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format_args!("the id {text:?} is no GUID")))
}

/// A property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The object id.
    Id(UserId),
    /// Text, or nothing.
    Text(Option<&'a str>),
    /// Several texts.
    List(&'a [String]),
    /// Yes or no.
    Bool(bool),
}

/// A property that this server keeps, in the order in which responses have them: the eleven defaults first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the property of its name; User says what it means")]
pub enum UserProperty {
    BusinessPhones,
    DisplayName,
    GivenName,
    JobTitle,
    Mail,
    MobilePhone,
    OfficeLocation,
    PreferredLanguage,
    Surname,
    UserPrincipalName,
    Id,
    AccountEnabled,
    Department,
    CompanyName,
    EmployeeId,
    MailNickname,
    UserType,
    UsageLocation,
}

impl UserProperty {
    /// Every property kept.
    pub const ALL: [Self; 18] = [
        Self::BusinessPhones,
        Self::DisplayName,
        Self::GivenName,
        Self::JobTitle,
        Self::Mail,
        Self::MobilePhone,
        Self::OfficeLocation,
        Self::PreferredLanguage,
        Self::Surname,
        Self::UserPrincipalName,
        Self::Id,
        Self::AccountEnabled,
        Self::Department,
        Self::CompanyName,
        Self::EmployeeId,
        Self::MailNickname,
        Self::UserType,
        Self::UsageLocation,
    ];

    /// The properties that come back without `$select` (identity D.1).
    pub const DEFAULT: &'static [Self] = {
        let (default, _) = Self::ALL.split_at(11);
        default
    };

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BusinessPhones => "businessPhones",
            Self::DisplayName => "displayName",
            Self::GivenName => "givenName",
            Self::JobTitle => "jobTitle",
            Self::Mail => "mail",
            Self::MobilePhone => "mobilePhone",
            Self::OfficeLocation => "officeLocation",
            Self::PreferredLanguage => "preferredLanguage",
            Self::Surname => "surname",
            Self::UserPrincipalName => "userPrincipalName",
            Self::Id => "id",
            Self::AccountEnabled => "accountEnabled",
            Self::Department => "department",
            Self::CompanyName => "companyName",
            Self::EmployeeId => "employeeId",
            Self::MailNickname => "mailNickname",
            Self::UserType => "userType",
            Self::UsageLocation => "usageLocation",
        }
    }

    /// The property of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|property| property.as_str().eq_ignore_ascii_case(name))
    }
}

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
    fn a_user_is_read_from_toml_json_and_table_columns() {
        let minimal =
            r#"{"id":"3C1F0D0E-5b7a-4a53-9a0e-6a1f2b3c4d5e","userPrincipalName":"ada@presence.example"}"#;
        let user: User = serde_json::from_str(minimal).unwrap();
        assert_eq!(user, User::new(ada().id, "ada@presence.example"));
        let full: User = toml::from_str(
            "id = '3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e'\nuserPrincipalName = 'ada@presence.example'\n\
             displayName = 'Ada \"A\" L'\nbusinessPhones = ['+44 1', '+44 2']\ndepartment = 'Engines'",
        )
        .unwrap();
        assert_eq!(full, ada());
        assert_eq!(
            User::from_columns([
                ("id", "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e"),
                ("userPrincipalName", " ada@presence.example"),
                ("displayName", "Ada \"A\" L"),
                ("businessPhones", "+44 1; +44 2;"),
                ("department", "Engines"),
                ("employeeId", ""),
                ("accountEnabled", "TRUE"),
            ]),
            Ok(ada())
        );
        assert_eq!(serde_json::from_str::<User>(&serde_json::to_string(&ada()).unwrap()).unwrap(), ada());
    }

    #[test]
    fn a_misspelt_or_missing_member_is_told() {
        let error = User::from_columns([("id", "x"), ("userPrincipalName", "a")]).unwrap_err();
        assert!(error.contains("no GUID"), "{error}");
        let error = User::from_columns([("displayname", "x")]).unwrap_err();
        assert!(error.contains("displayname"), "{error}");
        assert!(User::from_columns([("id", "3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e")]).is_err());
        assert!(User::from_columns([("accountEnabled", "maybe")]).is_err());
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
