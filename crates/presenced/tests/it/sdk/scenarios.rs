//! The scenarios of `tests/sdk/scenarios`, with their templates filled in. The format is described there.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Span, ToSpan};
use serde_json::{Map, Value, json};

use crate::sdk::install::SOURCES;
use crate::support::{APP, USER_A, USER_B};

/// Nobody in the seed's directory.
const UNKNOWN: &str = "5b2f5f0e-0000-4000-8000-ffffffffffff";

/// When the first scenario begins, UTC.
const FIRST: &str = "2030-01-07T08:00:00";

/// Of a key pair that was made for tests: what subscriptions are given, and what their receivers read with.
const CERTIFICATE: &str = include_str!("../../../../identity/tests/vectors/certificate.base64");
const KEY: &str = include_str!("../../../../identity/tests/vectors/private-key.pem");

/// Every scenario in the order of file names, ready for a runner whose notifications go to `receiver`.
pub(crate) fn all(receiver: &str) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(format!("{SOURCES}/scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut start: DateTime = FIRST.parse().unwrap();
    let mut scenarios = Vec::new();
    for file in files {
        let read: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for scenario in read {
            scenarios.push(ready(&scenario, &Filler { start, receiver }, scenarios.is_empty()));
            start = start.checked_add(30.days()).unwrap();
        }
    }
    scenarios
}

/// What the templates stand for.
struct Filler<'r> {
    start: DateTime,
    receiver: &'r str,
}

fn ready(scenario: &Value, filler: &Filler<'_>, is_first: bool) -> Value {
    let control = |resource: &str, body: Value| json!({ "control": resource, "body": body });
    let mut steps = Vec::new();
    if is_first {
        steps.push(control("clock/freeze", json!({})));
    }
    steps.push(control("clock/set", json!({ "time": format!("{}Z", filler.start) })));
    for step in scenario["steps"].as_array().unwrap() {
        steps.push(match step.get("clock") {
            Some(duration) => control("clock/advance", json!({ "duration": duration })),
            None => filler.value(step),
        });
    }
    json!({ "name": scenario["name"], "steps": steps })
}

impl Filler<'_> {
    /// Fills in the templates.
    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(values) => values.iter().map(|value| self.value(value)).collect(),
            Value::Object(members) if is_list_of_ids(members) => {
                let known = members["users"].as_array().unwrap().iter().map(|user| self.value(user));
                let unknown = (1..=members["unknown"].as_u64().unwrap())
                    .map(|number| json!(format!("6d000000-0000-4000-8000-{number:012}")));
                known.chain(unknown).collect()
            }
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), self.value(value))).collect()
            }
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text
            .replace("{app}", APP)
            .replace("{A}", USER_A)
            .replace("{B}", USER_B)
            .replace("{unknown}", UNKNOWN)
            .replace("{receiver}", self.receiver)
            .replace("{certificate}", CERTIFICATE.trim())
            .replace("{key}", KEY);
        while let Some((before, rest)) = text.split_once("{start+") {
            let (duration, after) = rest.split_once('}').unwrap();
            let span: Span = duration.parse().unwrap();
            let then = self.start.checked_add(SignedDuration::try_from(span).unwrap()).unwrap();
            text = format!("{before}{then}{after}");
        }
        text
    }
}

fn is_list_of_ids(members: &Map<String, Value>) -> bool {
    members.len() == 2 && members.contains_key("users") && members.contains_key("unknown")
}
