//! Patches (RFC 7644 §3.5.2), as Entra ID and Okta send them: operations in any case, with a path or without one, with
//! dotted or fully qualified names as members of a value, with a filter in the path.

use serde_json::{Map, Value, json};

use super::filter::{Filter, Operator, Path, member};
use super::{ENTERPRISE_USER, PATCH_OPERATIONS_MAX, ScimError, ScimType, VALUES_MAX};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Replace,
    Remove,
}

/// Applies every operation of a patch, or none: the resource is the caller's to throw away.
pub(super) fn apply(resource: &mut Value, patch: &Value) -> Result<(), ScimError> {
    let syntax = |what: &str| ScimError::new(ScimType::InvalidSyntax, what);
    let operations = member(patch, "Operations").and_then(Value::as_array);
    let operations = operations.ok_or_else(|| syntax("The patch has no array `Operations`."))?;
    if operations.len() > PATCH_OPERATIONS_MAX {
        return Err(ScimError::new(
            ScimType::TooMany,
            format!("A patch has at most {PATCH_OPERATIONS_MAX} operations."),
        ));
    }
    for operation in operations {
        let kind =
            match member(operation, "op").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
                Some("add") => Kind::Add,
                Some("replace") => Kind::Replace,
                Some("remove") => Kind::Remove,
                _ => return Err(syntax("An operation is neither add, replace nor remove.")),
            };
        let path = match member(operation, "path") {
            None | Some(Value::Null) => None,
            Some(Value::String(path)) => Some(path.as_str()),
            Some(_) => return Err(ScimError::new(ScimType::InvalidPath, "A path is not a text.")),
        };
        let value = member(operation, "value").filter(|value| !value.is_null());
        match (kind, path, value) {
            (Kind::Remove, None, _) => {
                return Err(ScimError::new(ScimType::NoTarget, "remove needs a path."));
            }
            (_, Some(path), value) => Target::parse(path)?.apply(resource, kind, value)?,
            (_, None, Some(Value::Object(members))) => {
                for (path, value) in members {
                    apply_member(resource, kind, path, value)?;
                }
            }
            (_, None, _) => {
                return Err(ScimError::new(ScimType::InvalidValue, "Without a path the value is an object."));
            }
        }
    }
    Ok(())
}

/// A member of a value without a path: its name is a path.
fn apply_member(resource: &mut Value, kind: Kind, path: &str, value: &Value) -> Result<(), ScimError> {
    if path.eq_ignore_ascii_case("schemas") {
        return Ok(());
    }
    let target = Target::parse(path)?;
    match value {
        Value::Null => target.apply(resource, Kind::Remove, None),
        // `name` without `familyName` leaves the last name as it is.
        Value::Object(members) if target.filter.is_none() && target.path.sub.is_none() => {
            for (sub, value) in members {
                let separator = if target.path.is_enterprise { ':' } else { '.' };
                let mut deeper = Target::parse(&format!("{path}{separator}{sub}"))?;
                deeper.path.is_enterprise |= target.path.is_enterprise;
                let value = Some(value).filter(|value| !value.is_null());
                deeper.apply(resource, kind, value)?;
            }
            Ok(())
        }
        value => target.apply(resource, kind, Some(value)),
    }
}

/// `attribute[filter].sub`
struct Target {
    path: Path,
    filter: Option<Filter>,
}

impl Target {
    fn parse(text: &str) -> Result<Self, ScimError> {
        let invalid = || ScimError::new(ScimType::InvalidPath, format!("{text:?} is not a path."));
        let Some((attribute, rest)) = text.split_once('[') else {
            return Ok(Self { path: Path::parse(text)?, filter: None });
        };
        let (filter, sub) = rest.rsplit_once(']').ok_or_else(invalid)?;
        let filter = Filter::parse(filter)?;
        let path = Path::parse(&format!("{attribute}{sub}"))?;
        if path.attribute.is_empty() || (!sub.is_empty() && !sub.starts_with('.')) {
            return Err(invalid());
        }
        Ok(Self { path, filter: Some(filter) })
    }

    fn apply(&self, resource: &mut Value, kind: Kind, value: Option<&Value>) -> Result<(), ScimError> {
        let Path { is_enterprise, attribute, sub } = &self.path;
        if !is_enterprise && ["id", "meta", "schemas"].iter().any(|name| attribute.eq_ignore_ascii_case(name))
        {
            return Err(ScimError::new(ScimType::Mutability, format!("{attribute} cannot be changed.")));
        }
        // A value that is not there takes away, as null does.
        let kind = if value.is_none() { Kind::Remove } else { kind };
        let mut within = resource;
        if *is_enterprise {
            if attribute.is_empty() {
                return match value.and_then(Value::as_object) {
                    Some(members) => members.iter().try_for_each(|(name, value)| {
                        apply_member(within, kind, &format!("{ENTERPRISE_USER}:{name}"), value)
                    }),
                    None => {
                        remove(within, ENTERPRISE_USER);
                        Ok(())
                    }
                };
            }
            within = entry(within, ENTERPRISE_USER);
        }
        match (&self.filter, sub) {
            (None, None) => put(within, attribute, kind, value),
            (None, Some(sub)) => {
                if member(within, attribute).is_none() && kind == Kind::Remove {
                    return Ok(());
                }
                match entry(within, attribute) {
                    Value::Array(values) => {
                        values.iter_mut().try_for_each(|each| put(each, sub, kind, value))
                    }
                    object => put(object, sub, kind, value),
                }
            }
            (Some(filter), sub) => {
                self.apply_to_values(entry(within, attribute), filter, sub.as_deref(), kind, value)
            }
        }
    }

    fn apply_to_values(
        &self,
        values: &mut Value,
        filter: &Filter,
        sub: Option<&str>,
        kind: Kind,
        value: Option<&Value>,
    ) -> Result<(), ScimError> {
        if !values.is_array() {
            *values = json!([]);
        }
        let Value::Array(values) = values else { return Ok(()) };
        if kind == Kind::Remove && sub.is_none() {
            values.retain(|each| !filter.matches(each));
            return Ok(());
        }
        // Entra ID replaces `emails[type eq "work"].value` of a user who has none yet, and means that there be one.
        if kind != Kind::Remove && !values.iter().any(|each| filter.matches(each)) {
            if values.len() >= VALUES_MAX {
                return Err(ScimError::new(
                    ScimType::TooMany,
                    format!("{} has too many values.", self.path.attribute),
                ));
            }
            values.push(
                described_by(filter)
                    .ok_or_else(|| ScimError::new(ScimType::NoTarget, "Nothing matches the path."))?,
            );
        }
        for each in values.iter_mut().filter(|each| filter.matches(each)) {
            match (sub, value) {
                (Some(sub), value) => put(each, sub, kind, value)?,
                (None, Some(Value::Object(members))) => {
                    members.iter().try_for_each(|(name, value)| put(each, name, kind, Some(value)))?;
                }
                (None, Some(value)) => put(each, "value", kind, Some(value))?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// The least object that a filter of equalities matches.
fn described_by(filter: &Filter) -> Option<Value> {
    match filter {
        Filter::Compare(path, Operator::Eq, value) if path.sub.is_none() && !path.is_enterprise => {
            let mut object = Map::new();
            object.insert(path.attribute.clone(), value.clone());
            Some(object.into())
        }
        Filter::And(one, other) => {
            let (Value::Object(mut one), Value::Object(other)) = (described_by(one)?, described_by(other)?)
            else {
                return None;
            };
            one.extend(other);
            Some(one.into())
        }
        _ => None,
    }
}

/// Sets, extends or removes a member, under the name it already has in whatever case.
fn put(object: &mut Value, name: &str, kind: Kind, value: Option<&Value>) -> Result<(), ScimError> {
    let (Kind::Add | Kind::Replace, Some(value)) = (kind, value) else {
        remove(object, name);
        return Ok(());
    };
    let place = entry(object, name);
    match (place, value) {
        (Value::Array(there), value) if kind == Kind::Add => {
            let more: Vec<Value> = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for value in more {
                if !there.contains(&value) {
                    there.push(value);
                }
            }
            if there.len() > VALUES_MAX {
                let detail = format!("{name} has more than {VALUES_MAX} values.");
                return Err(ScimError::new(ScimType::TooMany, detail));
            }
        }
        (place @ Value::Object(_), Value::Object(members)) => {
            for (sub, value) in members {
                put(place, sub, kind, Some(value).filter(|value| !value.is_null()))?;
            }
        }
        (place, value) => *place = value.clone(),
    }
    Ok(())
}

/// A member, made when it is not there; whatever is no object becomes one.
fn entry<'v>(object: &'v mut Value, name: &str) -> &'v mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    let known = object.as_object().and_then(|o| o.keys().find(|key| key.eq_ignore_ascii_case(name))).cloned();
    &mut object[known.as_deref().unwrap_or(name)]
}

fn remove(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|key, _| !key.eq_ignore_ascii_case(name));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patched(operations: Value) -> Result<Value, ScimType> {
        let mut resource = json!({ "id": "1", "userName": "ada", "displayName": "Ada", "active": true,
            "name": { "givenName": "Ada", "familyName": "L" },
            "emails": [{ "value": "ada@x.example", "type": "work", "primary": true }] });
        apply(&mut resource, &json!({ "Operations": operations })).map_err(|error| error.scim_type)?;
        Ok(resource)
    }

    #[test]
    fn what_entra_and_okta_send_is_understood() {
        let entra = patched(json!([
            { "op": "Replace", "path": "active", "value": "False" },
            { "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "new@x.example" },
            { "op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+1" },
            { "op": "Add", "path": "name.givenName", "value": "Eva" },
            { "op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "Engines" },
            { "op": "Remove", "path": "displayName" },
        ])).unwrap();
        assert_eq!(entra["active"], "False");
        assert_eq!(entra["emails"], json!([{ "value": "new@x.example", "type": "work", "primary": true }]));
        assert_eq!(entra["phoneNumbers"], json!([{ "type": "mobile", "value": "+1" }]));
        assert_eq!(entra["name"], json!({ "givenName": "Eva", "familyName": "L" }));
        assert_eq!(entra[ENTERPRISE_USER], json!({ "department": "Engines" }));
        assert!(entra.get("displayName").is_none());

        let okta = patched(json!([{ "op": "replace", "value": { "active": false } }])).unwrap();
        assert_eq!(okta["active"], false);
        let dotted = patched(
            json!([{ "op": "replace", "value": { "name.familyName": "M", "NAME": { "givenName": null },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "D",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "employeeNumber": "7" } } }]),
        )
        .unwrap();
        assert_eq!(dotted["name"], json!({ "familyName": "M" }));
        assert_eq!(dotted[ENTERPRISE_USER], json!({ "department": "D", "employeeNumber": "7" }));
        let gone =
            patched(json!([{ "op": "remove", "path": "emails[type eq \"work\" and primary eq true]" }]))
                .unwrap();
        assert_eq!(gone["emails"], json!([]));
    }

    #[test]
    fn what_is_no_patch_is_refused_by_its_name() {
        for (operations, expected) in [
            (json!("x"), ScimType::InvalidSyntax),
            (json!([{ "op": "move", "path": "a" }]), ScimType::InvalidSyntax),
            (json!([1]), ScimType::InvalidSyntax),
            (json!([{ "op": "remove" }]), ScimType::NoTarget),
            (json!([{ "op": "add", "value": 1 }]), ScimType::InvalidValue),
            (json!([{ "op": "add", "path": 1, "value": 1 }]), ScimType::InvalidPath),
            (json!([{ "op": "add", "path": "a b", "value": 1 }]), ScimType::InvalidPath),
            (json!([{ "op": "add", "path": "emails[type eq", "value": 1 }]), ScimType::InvalidPath),
            (
                json!([{ "op": "add", "path": "emails[type xx 1].value", "value": 1 }]),
                ScimType::InvalidFilter,
            ),
            (
                json!([{ "op": "replace", "path": "emails[type co \"x\"].value", "value": "1" }]),
                ScimType::NoTarget,
            ),
            (json!([{ "op": "replace", "path": "id", "value": "2" }]), ScimType::Mutability),
        ] {
            assert_eq!(patched(operations.clone()), Err(expected), "{operations}");
        }
        let many: Vec<Value> =
            (0..=PATCH_OPERATIONS_MAX).map(|_| json!({ "op": "remove", "path": "title" })).collect();
        assert_eq!(patched(many.into()), Err(ScimType::TooMany));
    }

    proptest! {
        #[test]
        fn any_path_is_applied_or_refused(path in "[a-zA-Z.\\[\\]\" :0-9]{0,40}", op in "add|replace|remove", value in "[a-z]{0,3}") {
            let _ = patched(json!([{ "op": op, "path": path, "value": value }]));
        }
    }
}
