//! A directory user as a SCIM resource, and back.

use graph::user::User;
use presence::UserId;
use serde_json::{Map, Value, json};

use super::filter::member;
use super::{ENTERPRISE_USER, ScimError, ScimType, USER, VALUE_CHARS_MAX, VALUES_MAX};

/// The resource of a user. `base` is the address of the SCIM root.
pub(super) fn to_resource(user: &User, base: &str) -> Value {
    let mut resource = json!({
        "schemas": [USER, ENTERPRISE_USER],
        "id": user.id.to_string(),
        "userName": user.user_principal_name,
        "active": user.account_enabled,
        "meta": { "resourceType": "User", "location": location(base, user.id) },
    });
    let texts = [
        ("externalId", &user.external_id),
        ("displayName", &user.display_name),
        ("nickName", &user.mail_nickname),
        ("title", &user.job_title),
        ("userType", &user.user_type),
        ("preferredLanguage", &user.preferred_language),
        ("timezone", &user.time_zone),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            resource[name] = text.as_str().into();
        }
    }
    put_object(&mut resource, "name", [("givenName", &user.given_name), ("familyName", &user.surname)]);
    let enterprise = [
        ("employeeNumber", &user.employee_id),
        ("department", &user.department),
        ("organization", &user.company_name),
    ];
    put_object(&mut resource, ENTERPRISE_USER, enterprise);
    if let Some(mail) = &user.mail {
        resource["emails"] = json!([{ "value": mail, "type": "work", "primary": true }]);
    }
    let work = user.business_phones.iter().map(|phone| json!({ "value": phone, "type": "work" }));
    let mobile = user.mobile_phone.iter().map(|phone| json!({ "value": phone, "type": "mobile" }));
    let phones: Vec<Value> = work.chain(mobile).collect();
    if !phones.is_empty() {
        resource["phoneNumbers"] = phones.into();
    }
    let mut address = json!({});
    put_texts(&mut address, [("formatted", &user.office_location), ("country", &user.usage_location)]);
    if address.as_object().is_some_and(|address| !address.is_empty()) {
        address["type"] = "work".into();
        resource["addresses"] = json!([address]);
    }
    resource
}

pub(super) fn location(base: &str, user: UserId) -> String {
    format!("{base}/Users/{user}")
}

fn put_object<'t>(
    resource: &mut Value,
    name: &str,
    texts: impl IntoIterator<Item = (&'t str, &'t Option<String>)>,
) {
    let mut object = json!({});
    put_texts(&mut object, texts);
    if object.as_object().is_some_and(|object| !object.is_empty()) {
        resource[name] = object;
    }
}

fn put_texts<'t>(object: &mut Value, texts: impl IntoIterator<Item = (&'t str, &'t Option<String>)>) {
    for (name, text) in texts {
        if let Some(text) = text {
            object[name] = text.as_str().into();
        }
    }
}

/// The user that a resource describes. What the directory does not keep is dropped.
pub(super) fn from_resource(resource: &Value, id: UserId) -> Result<User, ScimError> {
    if !resource.is_object() {
        return Err(ScimError::new(ScimType::InvalidSyntax, "The body is not a JSON object."));
    }
    let user_name = text(resource, "userName")?
        .ok_or_else(|| ScimError::new(ScimType::InvalidValue, "userName is required."))?;
    let mut user = User::new(id, user_name);
    user.external_id = text(resource, "externalId")?;
    let name = object(resource, "name")?;
    user.display_name = match text(resource, "displayName")? {
        Some(name) => Some(name),
        None => name.map_or(Ok(None), |name| text(name, "formatted"))?,
    };
    if let Some(name) = name {
        user.given_name = text(name, "givenName")?;
        user.surname = text(name, "familyName")?;
    }
    user.mail_nickname = text(resource, "nickName")?;
    user.job_title = text(resource, "title")?;
    user.user_type = text(resource, "userType")?;
    user.preferred_language = text(resource, "preferredLanguage")?;
    user.time_zone = text(resource, "timezone")?;
    if let Some(enterprise) = object(resource, ENTERPRISE_USER)? {
        user.employee_id = text(enterprise, "employeeNumber")?;
        user.department = text(enterprise, "department")?;
        user.company_name = text(enterprise, "organization")?;
    }
    if let Some(active) = member(resource, "active").filter(|active| !active.is_null()) {
        user.account_enabled = boolean(active)
            .ok_or_else(|| ScimError::new(ScimType::InvalidValue, "active is neither true nor false."))?;
    }
    user.mail = mail(resource)?;
    for phone in values(resource, "phoneNumbers")? {
        let Some(number) = value_of(phone, "phoneNumbers")? else { continue };
        match type_of(phone).as_deref() {
            Some("mobile") => user.mobile_phone = Some(number),
            None | Some("work" | "other") => user.business_phones.push(number),
            Some(_) => {} // A fax, a pager, a number at home: not of the directory.
        }
    }
    for address in values(resource, "addresses")? {
        if matches!(type_of(address).as_deref(), None | Some("work")) {
            user.office_location = text(address, "formatted")?;
            user.usage_location = text(address, "country")?;
        }
    }
    Ok(user)
}

/// The primary address, or that of work, or the first.
fn mail(resource: &Value) -> Result<Option<String>, ScimError> {
    let emails = values(resource, "emails")?;
    let is_primary = |email: &&&Value| member(email, "primary").and_then(boolean) == Some(true);
    let is_work = |email: &&&Value| type_of(email).as_deref() == Some("work");
    let chosen = emails.iter().find(is_primary).or_else(|| emails.iter().find(is_work)).or(emails.first());
    chosen.map_or(Ok(None), |email| value_of(email, "emails"))
}

/// A boolean, also one written as text: Entra ID sends `"False"`.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A text that is there and not empty; null and the empty text are none (RFC 7643 §2.5).
fn text(object: &Value, name: &str) -> Result<Option<String>, ScimError> {
    text_of(member(object, name).unwrap_or(&Value::Null), name)
}

fn text_of(value: &Value, name: &str) -> Result<Option<String>, ScimError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() > VALUE_CHARS_MAX => Err(ScimError::new(
            ScimType::InvalidValue,
            format!("{name} is longer than {VALUE_CHARS_MAX} characters."),
        )),
        Value::String(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)),
        _ => Err(ScimError::new(ScimType::InvalidValue, format!("{name} is not a text."))),
    }
}

fn object<'v>(resource: &'v Value, name: &str) -> Result<Option<&'v Value>, ScimError> {
    match member(resource, name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) if value.is_object() => Ok(Some(value)),
        Some(_) => Err(ScimError::new(ScimType::InvalidValue, format!("{name} is not an object."))),
    }
}

/// The values of an attribute that has several; a single one may stand without its array.
fn values<'v>(resource: &'v Value, name: &str) -> Result<Vec<&'v Value>, ScimError> {
    let values: Vec<&Value> = match member(resource, name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values.iter().collect(),
        Some(value) => vec![value],
    };
    if values.len() > VALUES_MAX {
        return Err(ScimError::new(
            ScimType::InvalidValue,
            format!("{name} has more than {VALUES_MAX} values."),
        ));
    }
    Ok(values)
}

fn value_of(value: &Value, name: &str) -> Result<Option<String>, ScimError> {
    if value.is_object() { text(value, "value") } else { text_of(value, name) }
}

fn type_of(value: &Value) -> Option<String> {
    member(value, "type").and_then(Value::as_str).map(str::to_ascii_lowercase)
}

/// What `attributes` and `excludedAttributes` leave of a resource (RFC 7644 §3.4.2.5). `id` and `schemas` always stay.
pub(super) fn select(resource: Value, wanted: Option<&str>, unwanted: Option<&str>) -> Value {
    let Value::Object(members) = resource else { return resource };
    let keeps = |name: &str| name == "id" || name == "schemas";
    let left = match (wanted.map(names), unwanted.map(names)) {
        (Some(wanted), _) => members
            .into_iter()
            .filter_map(|(name, value)| {
                if keeps(&name) {
                    return Some((name, value));
                }
                let subs: Vec<&(String, Option<String>)> =
                    wanted.iter().filter(|(n, _)| n.eq_ignore_ascii_case(&name)).collect();
                let is_whole = subs.iter().any(|(_, sub)| sub.is_none());
                match subs.is_empty() {
                    true => None,
                    false if is_whole => Some((name, value)),
                    false => Some((
                        name,
                        keep_subs(value, &|sub| subs.iter().any(|(_, s)| is_sub(s.as_deref(), sub))),
                    )),
                }
            })
            .collect(),
        (None, Some(unwanted)) => members
            .into_iter()
            .filter_map(|(name, value)| {
                let of_it = |n: &str| n.eq_ignore_ascii_case(&name);
                if !keeps(&name) && unwanted.iter().any(|(n, sub)| of_it(n) && sub.is_none()) {
                    return None;
                }
                let is_dropped =
                    |sub: &str| unwanted.iter().any(|(n, s)| of_it(n) && is_sub(s.as_deref(), sub));
                let value = if keeps(&name) { value } else { keep_subs(value, &|sub| !is_dropped(sub)) };
                Some((name, value))
            })
            .collect(),
        (None, None) => members,
    };
    Value::Object(left)
}

fn is_sub(listed: Option<&str>, name: &str) -> bool {
    listed.is_some_and(|listed| listed.eq_ignore_ascii_case(name))
}

fn keep_subs(value: Value, keep: &impl Fn(&str) -> bool) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(name, _)| keep(name)).collect::<Map<_, _>>())
        }
        Value::Array(values) => values.into_iter().map(|value| keep_subs(value, keep)).collect(),
        other => other,
    }
}

/// Names of a comma-separated list, as attribute and sub-attribute.
fn names(list: &str) -> Vec<(String, Option<String>)> {
    let name = |text: &str| {
        let path = super::filter::Path::parse(text.trim()).ok()?;
        Some(match (path.is_enterprise, path.attribute.is_empty()) {
            (true, true) => (ENTERPRISE_USER.to_owned(), None),
            (true, false) => (ENTERPRISE_USER.to_owned(), Some(path.attribute)),
            (false, _) => (path.attribute, path.sub),
        })
    };
    list.split(',').take(VALUES_MAX).filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> User {
        let text = |text: &str| Some(text.to_owned());
        User {
            display_name: text("Ada L"),
            mail: text("ada@x.example"),
            given_name: text("Ada"),
            surname: text("L"),
            job_title: text("Engineer"),
            mobile_phone: text("+44 2"),
            office_location: text("Room 1"),
            preferred_language: text("en-GB"),
            business_phones: vec!["+44 1".to_owned()],
            department: text("Engines"),
            company_name: text("X"),
            employee_id: text("1"),
            mail_nickname: text("ada"),
            user_type: text("Member"),
            usage_location: text("GB"),
            external_id: text("ext"),
            time_zone: text("Europe/London"),
            account_enabled: false,
            ..User::new(UserId::from_u128(1), "ada@x.example")
        }
    }

    #[test]
    fn a_user_comes_back_from_its_resource() {
        for user in [full(), User::new(UserId::from_u128(1), "ada@x.example")] {
            assert_eq!(from_resource(&to_resource(&user, "https://x"), user.id), Ok(user));
        }
    }

    #[test]
    fn wrong_types_and_too_much_are_refused() {
        let many: Vec<Value> = (0..=VALUES_MAX).map(|n| json!({ "value": n.to_string() })).collect();
        for bad in [
            json!([]),
            json!({}),
            json!({ "userName": "" }),
            json!({ "userName": 1 }),
            json!({ "userName": "a", "active": "maybe" }),
            json!({ "userName": "a", "name": "Ada" }),
            json!({ "userName": "a", "emails": [{ "value": 1 }] }),
            json!({ "userName": "a", "emails": many }),
            json!({ "userName": "x".repeat(VALUE_CHARS_MAX + 1) }),
        ] {
            assert!(from_resource(&bad, UserId::from_u128(1)).is_err(), "{bad}");
        }
        let lenient = json!({ "USERNAME": "a", "active": "False", "password": "x", "emails": "a@x.example" });
        let user = from_resource(&lenient, UserId::from_u128(1)).unwrap();
        assert_eq!((user.account_enabled, user.mail.as_deref()), (false, Some("a@x.example")));
    }

    #[test]
    fn only_what_was_asked_for_comes_back() {
        let select = |wanted, unwanted| {
            let left = select(to_resource(&full(), ""), wanted, unwanted);
            left.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",")
        };
        assert_eq!(select(Some("USERNAME, name.givenName"), None), "id,name,schemas,userName");
        assert!(
            !select(None, Some("emails,id,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"))
                .contains("emails")
        );
        let one = super::select(to_resource(&full(), ""), Some("name.givenName"), None);
        assert_eq!(one["name"], json!({ "givenName": "Ada" }));
    }
}
