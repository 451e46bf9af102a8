//! Every answer that a test receives, held against the schema that presenced serves: types, nullability, members of enums,
//! and nothing that the schema does not know.
//!
//! `support` calls [`check`] on each response and on each that a client got under `presenced exec`, and so does `world` of the
//! server's own tests, which have this file, too. Which type an answer must have is said by its `@odata.context`; one without is
//! taken by its shape.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use roxmltree::{Document, Node};
use serde_json::{Map, Value};

/// Panics where a JSON answer of the Graph API is not what the schema says.
#[track_caller]
pub(crate) fn check(status: u16, body: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    if let Err(complaint) = answer(status, &body) {
        panic!("an answer against the schema: {complaint}\n{body}");
    }
}

/// Panics where a body that a receiver was posted is not a `changeNotificationCollection` of the schema.
#[track_caller]
pub(crate) fn check_notifications(body: &[u8]) {
    let body = serde_json::from_slice::<Value>(body).expect("a notification is JSON");
    if let Err(complaint) = notifications(&body) {
        panic!("a notification against the schema: {complaint}\n{body}");
    }
}

fn notifications(body: &Value) -> Result<(), String> {
    let name = "changeNotificationCollection";
    let members = body.as_object().ok_or("a notification is an object")?;
    structured(name, &schema().types[name], members, true, name)?;
    let items = body["value"].as_array().into_iter().flatten();
    items.map(|item| item.as_object().ok_or("an item is an object")).try_for_each(|item| {
        // A change or a lifecycle event: the schema has one type for both.
        let item = item?;
        let has = |name: &str| item.get(name).is_some_and(|value| !value.is_null());
        let of_change = ["changeType", "resource", "resourceData"];
        match has("lifecycleEvent") {
            true => of_change.iter().all(|name| !item.contains_key(*name)),
            false => of_change.iter().all(|name| has(name)),
        }
        .then_some(())
        .ok_or(format!("{name}: an item is neither a change nor a lifecycle event"))
    })
}

/// What is wrong with an answer.
fn answer(status: u16, body: &Value) -> Result<(), String> {
    let Some(members) = body.as_object() else { return Ok(()) };
    if let Some(parts) = body["responses"].as_array() {
        return parts.iter().try_for_each(|part| {
            let status = part["status"].as_u64().and_then(|status| u16::try_from(status).ok());
            answer(status.ok_or("a part without status")?, &part["body"])
        });
    }
    if status >= 400 {
        return error(members);
    }
    let Some((name, is_collection, selected)) = type_of(members) else { return Ok(()) };
    let Some(kind) = schema().types.get(&name) else { return Ok(()) };
    let check = |value: &Value, is_whole: bool| match value.as_object() {
        Some(members) => structured(&name, kind, members, is_whole, &name),
        None => Err(format!("{value} is no {name}")),
    };
    match is_collection {
        false => check(body, !selected),
        true => {
            let values = body["value"].as_array().ok_or("a collection without its array `value`")?;
            let stranger = members.keys().find(|member| *member != "value" && !member.starts_with("@odata."));
            match stranger {
                Some(member) => Err(format!("a collection has no member {member}")),
                None => values.iter().try_for_each(|value| check(value, !selected)),
            }
        }
    }
}

/// The type of an answer, whether it is a collection, and whether only some members were asked for.
fn type_of(members: &Map<String, Value>) -> Option<(String, bool, bool)> {
    let Some(context) = members.get("@odata.context") else {
        let of_presence = |value: &Value| value.get("outOfOfficeSettings").is_some();
        let many =
            members.get("value").and_then(Value::as_array).is_some_and(|list| list.iter().any(of_presence));
        return (many || members.contains_key("outOfOfficeSettings"))
            .then(|| ("presence".to_owned(), many, false));
    };
    let fragment = context.as_str()?.split_once("$metadata#")?.1;
    let is_entity = fragment.ends_with("/$entity");
    let fragment = fragment.trim_end_matches("/$entity");
    // A list of selected members stands at the end; a key has quotes.
    let (path, selected) = match fragment.rsplit_once('(') {
        Some((path, list)) if !list.contains('\'') && !path.ends_with("Collection") && !path.is_empty() => {
            (path, list.ends_with(')'))
        }
        _ => (fragment, false),
    };
    let name = path.trim_end_matches(')').rsplit(['/', '(', '.']).find(|part| !part.contains('\''))?;
    let name = match name {
        "presences" => "presence",
        "users" => "user",
        "subscriptions" => "subscription",
        other => other,
    };
    Some((name.to_owned(), !is_entity, selected))
}

/// The envelope of an error (presence-api §13.1).
fn error(members: &Map<String, Value>) -> Result<(), String> {
    // An error of the token endpoint is another matter.
    let Some(error) = members.get("error").and_then(Value::as_object) else { return Ok(()) };
    if members.len() != 1 {
        return Err("an error has company".to_owned());
    }
    let known = ["code", "message", "innerError", "details", "target"];
    if let Some(stranger) = error.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("an error has no member {stranger}"));
    }
    let (code, message, inner) = (&error.get("code"), &error.get("message"), &error.get("innerError"));
    let is_text = |value: &Option<&Value>| value.is_some_and(Value::is_string);
    if !is_text(code) || code.is_some_and(|code| code == "") || !is_text(message) {
        return Err("an error needs a code and a message".to_owned());
    }
    let inner = inner.and_then(Value::as_object).ok_or("an error needs an innerError")?;
    let names: Vec<_> = inner.keys().map(String::as_str).collect();
    // serde_json sorts them; the order on the wire is tested elsewhere.
    let expected: HashSet<_> = ["date", "request-id", "client-request-id"].into();
    match names.len() == 3 && names.iter().all(|name| expected.contains(name)) {
        true => Ok(()),
        false => Err(format!("innerError has {names:?}")),
    }
}

/// An entity or complex type.
fn structured(
    name: &str,
    kind: &Structured,
    members: &Map<String, Value>,
    is_whole: bool,
    at: &str,
) -> Result<(), String> {
    for (member, value) in members.iter().filter(|(member, _)| !member.contains('@')) {
        let property = kind.properties.get(member).ok_or(format!("{at}: {name} has no member {member}"))?;
        typed(property, value, &format!("{at}.{member}"))?;
    }
    let missing = kind
        .properties
        .iter()
        .find(|(member, property)| is_whole && !property.is_nullable && !members.contains_key(*member));
    missing.map_or(Ok(()), |(member, _)| Err(format!("{at} lacks {member}")))
}

fn typed(property: &Property, value: &Value, at: &str) -> Result<(), String> {
    if let Some(element) = property.kind.strip_prefix("Collection(").and_then(|kind| kind.strip_suffix(')')) {
        let element = Property { kind: element.to_owned(), is_nullable: false };
        let values = value.as_array().ok_or(format!("{at}: {value} is no {}", property.kind))?;
        return values.iter().try_for_each(|value| typed(&element, value, at));
    }
    if value.is_null() {
        return match property.is_nullable {
            true => Ok(()),
            false => Err(format!("{at} may not be null")),
        };
    }
    let is_right = match property.kind.as_str() {
        "Edm.String" => value.is_string(),
        "Edm.Boolean" => value.is_boolean(),
        "Edm.Int32" | "Edm.Int64" => value.is_i64(),
        "Edm.Guid" => value.as_str().is_some_and(|text| uuid::Uuid::parse_str(text).is_ok()),
        "Edm.Duration" => value.as_str().is_some_and(|text| text.parse::<jiff::Span>().is_ok()),
        "Edm.DateTimeOffset" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        other => {
            let name = other.rsplit('.').next().unwrap_or_default();
            let schema = schema();
            if let Some(members) = schema.enums.get(name) {
                value.as_str().is_some_and(|text| members.contains(text))
            } else if let Some(kind) = schema.types.get(name) {
                let members = value.as_object().ok_or(format!("{at}: {value} is no {name}"))?;
                return structured(name, kind, members, true, at);
            } else {
                return Err(format!("{at}: the schema uses {other} and does not define it"));
            }
        }
    };
    is_right.then_some(()).ok_or(format!("{at}: {value} is no {}", property.kind))
}

#[derive(Default)]
struct Schema {
    types: HashMap<String, Structured>,
    enums: HashMap<String, HashSet<String>>,
}

#[derive(Default)]
struct Structured {
    properties: HashMap<String, Property>,
}

#[derive(Clone)]
struct Property {
    kind: String,
    is_nullable: bool,
}

/// The schema as served; `graph_api` tests that `/$metadata` answers just this.
fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::read(graph::metadata::CSDL))
}

impl Schema {
    fn read(csdl: &str) -> Self {
        let document = Document::parse(csdl).unwrap();
        let mut schema = Self::default();
        let named = |tag: &'static str| {
            let nodes = document.descendants().filter(move |node| node.tag_name().name() == tag);
            nodes.filter_map(|node| Some((node.attribute("Name")?.to_owned(), node)))
        };
        for (name, node) in named("EnumType") {
            let members = node.children().filter_map(|member| member.attribute("Name"));
            schema.enums.insert(name, members.map(str::to_owned).collect());
        }
        for (name, node) in named("ComplexType").chain(named("EntityType")) {
            let mut kind = Structured::default();
            let base = node.attribute("BaseType").and_then(|base| base.rsplit('.').next());
            let base = base.and_then(|base| named("EntityType").find(|(name, _)| name == base));
            for node in base.map(|(_, node)| node).into_iter().chain([node]) {
                kind.properties.extend(node.children().filter_map(property));
            }
            schema.types.insert(name, kind);
        }
        schema
    }
}

fn property(node: Node<'_, '_>) -> Option<(String, Property)> {
    (node.tag_name().name() == "Property").then_some(())?;
    let property = Property {
        kind: node.attribute("Type")?.to_owned(),
        is_nullable: node.attribute("Nullable") != Some("false"),
    };
    Some((node.attribute("Name")?.to_owned(), property))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn presence() -> Value {
        json!({
            "@odata.context": "http://h/v1.0/$metadata#users('3c1f0d0e-5b7a-4a53-9a0e-6a1f2b3c4d5e')/presence/$entity",
            "id": "x", "availability": "Busy", "activity": "InACall", "sequenceNumber": "A0000000001",
            "outOfOfficeSettings": { "message": null, "isOutOfOffice": false },
            "statusMessage": {
                "message": { "content": "c", "contentType": "text" },
                "publishedDateTime": "2026-03-02T08:15:30.1234567Z",
                "expiryDateTime": { "dateTime": "2026-03-02T15:00:00.0000000", "timeZone": "UTC" }
            },
            "workLocation": { "workLocationType": "office", "source": "manual", "placeId": null }
        })
    }

    /// The complaint about a presence in which one member is another.
    fn with(pointer: &str, value: Value) -> String {
        let mut presence = presence();
        *presence.pointer_mut(pointer).unwrap() = value;
        answer(200, &presence).unwrap_err()
    }

    #[test]
    fn a_presence_of_the_contract_passes_and_each_kind_of_mistake_is_found() {
        answer(200, &presence()).unwrap();
        assert_eq!(with("/id", json!(null)), "presence.id may not be null");
        assert!(with("/availability", json!(3)).contains("is no Edm.String"));
        assert!(with("/workLocation/source", json!("Manual")).contains("is no graph.workLocationSource"));
        assert!(with("/workLocation", json!({ "source": "none" })).contains("lacks workLocationType"));
        assert!(with("/outOfOfficeSettings/isOutOfOffice", json!("no")).contains("is no Edm.Boolean"));
        assert!(
            with("/statusMessage/publishedDateTime", json!("today")).contains("is no Edm.DateTimeOffset")
        );
        assert!(with("/statusMessage/expiryDateTime/dateTime", json!(null)).contains("may not be null"));
        assert!(
            with("/statusMessage/message", json!({ "text": "c" })).contains("itemBody has no member text")
        );
    }

    #[test]
    fn strangers_are_found_in_collections_selections_and_batches() {
        let entry = json!({ "id": "x", "outOfOfficeSettings": null, "mood": "good" });
        let many = json!({ "@odata.context": "http://h/v1.0/$metadata#Collection(microsoft.graph.presence)", "value": [entry] });
        assert!(answer(200, &many).unwrap_err().contains("no member mood"));
        let none = json!({ "value": [entry] });
        assert!(answer(200, &none).unwrap_err().contains("no member mood"));
        let batch = json!({ "responses": [{ "id": "1", "status": 200, "body": many }] });
        assert!(answer(200, &batch).unwrap_err().contains("no member mood"));
        let selected = json!({ "@odata.context": "http://h/v1.0/$metadata#users('x')/presence(activity)/$entity", "activity": 1 });
        assert!(answer(200, &selected).unwrap_err().contains("presence.activity"));
        let users = json!({ "@odata.context": "http://h/v1.0/$metadata#users", "value": [{ "id": "x", "shoeSize": 44 }] });
        assert!(answer(200, &users).unwrap_err().contains("no member shoeSize"));
    }

    #[test]
    fn subscriptions_are_held_against_the_schema_alone_and_in_lists() {
        let subscription = json!({
            "id": "x", "resource": "communications/presences/x", "changeType": "updated", "clientState": null,
            "notificationUrl": "https://r.example", "expirationDateTime": "2026-03-02T09:15:30.0000000Z"
        });
        let with = |name: &str, value: Value| {
            let mut one = subscription.clone();
            one[name] = value;
            let list = json!({ "@odata.context": "http://h/v1.0/$metadata#subscriptions", "value": [one] });
            one["@odata.context"] = json!("http://h/v1.0/$metadata#subscriptions/$entity");
            let (one, list) = (answer(201, &one), answer(200, &list));
            assert_eq!(one, list);
            one
        };
        with("clientState", json!("s")).unwrap();
        assert!(with("expirationDateTime", json!("soon")).unwrap_err().contains("is no Edm.DateTimeOffset"));
        assert!(with("notificationUrl", json!(null)).unwrap_err().contains("may not be null"));
        assert!(with("webPushEncryptionSecret", json!(null)).unwrap_err().contains("has no member"));
    }

    #[test]
    fn notifications_are_held_against_the_schema() {
        let change = json!({
            "subscriptionId": "76222963-cc7b-42d2-882d-8aaa69cb2ba3", "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
            "subscriptionExpirationDateTime": "2026-01-01T01:00:00.0000000Z", "clientState": null, "changeType": "updated",
            "resource": "communications/presences/x",
            "resourceData": { "@odata.type": "#microsoft.graph.presence", "@odata.id": "users/x/presence", "id": "x" }
        });
        let with = |name: &str, value: Value| {
            let mut item = change.clone();
            item[name] = value;
            notifications(&json!({ "value": [item] }))
        };
        check_notifications(json!({ "value": [change] }).to_string().as_bytes());
        assert!(with("subscriptionId", json!("7622")).unwrap_err().contains("is no Edm.Guid"));
        assert!(with("changeType", json!("Updated")).unwrap_err().contains("is no graph.changeType"));
        assert!(with("encryptedContent", json!({ "data": "" })).unwrap_err().contains("lacks"));
        assert!(with("availability", json!("Busy")).unwrap_err().contains("has no member availability"));
        assert!(with("lifecycleEvent", json!("missed")).unwrap_err().contains("neither"));
        assert!(with("resourceData", json!(null)).unwrap_err().contains("neither"));
    }

    #[test]
    fn an_error_without_its_ids_is_found() {
        let inner = json!({ "date": "d", "request-id": "r", "client-request-id": "c" });
        let whole = |code: &str, inner: &Value| json!({ "error": { "code": code, "message": "", "innerError": inner } });
        answer(403, &whole("Forbidden", &inner)).unwrap();
        answer(403, &whole("", &inner)).unwrap_err();
        answer(403, &whole("Forbidden", &json!({ "date": "d" }))).unwrap_err();
    }
}
