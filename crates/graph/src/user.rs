//! The directory user: what is kept of one, and under which names. How one is answered is `reply`'s.
//! Source: identity D.

mod reply;

use presence::UserId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use reply::{
    PHOTO_SIZES, UserSelect, UserShape, photo_size, user_select, write_photo, write_user, write_users,
};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> User {
        User {
            display_name: Some("Ada \"A\" L".into()),
            business_phones: vec!["+44 1".into(), "+44 2".into()],
            department: Some("Engines".into()),
            ..User::new("3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e".parse().unwrap(), "ada@presence.example")
        }
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
}
