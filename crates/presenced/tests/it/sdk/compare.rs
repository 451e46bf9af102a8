//! Compares what a client made of an answer with what a scenario expects.

use serde_json::Value;

/// What a runner said of one step.
pub(crate) enum Outcome<'a> {
    Result(&'a Value),
    Error(&'a Value),
    Unsupported(&'a str),
}

impl<'a> Outcome<'a> {
    pub(crate) fn of(line: &'a Value) -> Self {
        match (line.get("error"), line.get("unsupported")) {
            (Some(error), _) => Self::Error(error),
            (_, Some(reason)) => Self::Unsupported(reason.as_str().unwrap_or_default()),
            _ => Self::Result(&line["result"]),
        }
    }
}

/// What is wrong with the outcome of a step, if anything.
pub(crate) fn complaint(step: &Value, outcome: &Outcome<'_>) -> Option<String> {
    match (outcome, step.get("refused")) {
        (Outcome::Error(error), Some(refused)) => {
            differs(error, refused, "error").or_else(|| match error["requestId"].as_str() {
                Some(id) if !id.is_empty() => None,
                _ => Some(format!("no request id: {error}")),
            })
        }
        (Outcome::Error(error), None) => Some(format!("refused: {error}")),
        (Outcome::Result(result), Some(_)) => Some(format!("not refused: {result}")),
        (Outcome::Result(result), None) => {
            let ids = step["with"].get("ids").and_then(Value::as_array);
            let found = differs(result, step.get("expect").unwrap_or(&Value::Null), "result");
            found.or_else(|| other_order(result, ids?))
        }
        (Outcome::Unsupported(_), _) => None,
    }
}

/// Presences must come in the order of the ids.
fn other_order(result: &Value, ids: &[Value]) -> Option<String> {
    let seen = result.as_array()?.iter().map(|presence| &presence["id"]);
    (!seen.eq(ids)).then(|| "presences in another order".to_owned())
}

/// Where `actual` is not what is expected.
fn differs(actual: &Value, expected: &Value, at: &str) -> Option<String> {
    match expected {
        // Without an expectation at all, an action may answer what it likes.
        Value::Null if at == "result" => None,
        Value::Null => (!actual.is_null()).then(|| format!("{at}: {actual}, expected none")),
        Value::String(any) if any == "*" => actual.is_null().then(|| format!("{at} is missing")),
        Value::Object(members) if members.contains_key("length") => list_differs(actual, expected, at),
        Value::Object(members) => {
            members.iter().find_map(|(name, value)| differs(&actual[name], value, &format!("{at}.{name}")))
        }
        // Each language writes instants in its own way.
        Value::String(text) if instant(text).is_some() => {
            let same = actual.as_str().and_then(instant) == instant(text);
            (!same).then(|| format!("{at}: {actual}, expected {expected}"))
        }
        _ => (actual != expected).then(|| format!("{at}: {actual}, expected {expected}")),
    }
}

fn instant(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok()
}

fn list_differs(actual: &Value, expected: &Value, at: &str) -> Option<String> {
    let Some(list) = actual.as_array() else { return Some(format!("{at}: {actual}, expected a list")) };
    if Some(list.len() as u64) != expected["length"].as_u64() {
        return Some(format!("{at} has {} elements, expected {}", list.len(), expected["length"]));
    }
    let empty = Vec::new();
    let begins = expected["begins"].as_array().unwrap_or(&empty);
    list.iter().enumerate().find_map(|(index, element)| {
        let wanted = begins.get(index).or(expected.get("rest"))?;
        differs(element, wanted, &format!("{at}[{index}]"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_of_a_result_is_compared_and_a_wrong_one_named() {
        let seen = json!({ "id": "a", "note": { "content": "x" }, "extra": 1 });
        let expected =
            json!({ "id": "a", "note": { "content": "*" }, "statusMessage": null, "note.gone": null });
        assert_eq!(differs(&seen, &expected, "result"), None);
        let wrong = differs(&seen, &json!({ "note": { "content": "y" } }), "result").unwrap();
        assert_eq!(wrong, "result.note.content: \"x\", expected \"y\"");
        assert!(differs(&seen, &json!({ "gone": "*" }), "result").unwrap().ends_with("is missing"));
        assert!(differs(&seen, &json!({ "extra": null }), "result").unwrap().ends_with("expected none"));
        let then = json!({ "then": "2030-01-07T09:00:00Z" });
        assert_eq!(differs(&json!({ "then": "2030-01-07T10:00:00.000+01:00" }), &then, "result"), None);
        assert!(differs(&json!({ "then": "2030-01-07T10:00:00Z" }), &then, "result").is_some());
    }

    #[test]
    fn a_list_is_compared_by_length_beginning_and_rest() {
        let seen = json!([{ "id": "a" }, { "id": "b" }]);
        let step = json!({ "with": { "ids": ["a", "b"] }, "expect": { "length": 2, "rest": { "id": "*" } } });
        assert_eq!(complaint(&step, &Outcome::Result(&seen)), None);
        let other = json!({ "with": { "ids": ["b", "a"] }, "expect": { "length": 2 } });
        assert!(complaint(&other, &Outcome::Result(&seen)).is_some());
        assert!(complaint(&json!({ "expect": { "length": 3 } }), &Outcome::Result(&seen)).is_some());
    }

    #[test]
    fn an_error_needs_its_code_and_a_request_id() {
        let step = json!({ "refused": { "status": 404, "code": "NotFound" } });
        let error = json!({ "status": 404, "code": "NotFound", "message": "m", "requestId": "r" });
        assert_eq!(complaint(&step, &Outcome::Error(&error)), None);
        let without = json!({ "status": 404, "code": "NotFound", "message": "m" });
        assert!(complaint(&step, &Outcome::Error(&without)).is_some());
        assert!(complaint(&step, &Outcome::Result(&Value::Null)).is_some());
        assert!(complaint(&json!({}), &Outcome::Error(&error)).is_some());
    }
}
