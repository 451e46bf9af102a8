//! The API as it is documented, through the real router: a file for each part of the URL tree, and two for what holds
//! wherever a request goes.

mod any_path;
mod batch;
mod communications;
mod metadata;
mod own;
mod permissions;
mod presence;
mod users;

use serde_json::{Value, json};

use crate::support::{APP, Answer, Caller};

const OTHER_ODATA_TYPE: &str = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;\
                                charset=utf-8";
const UNKNOWN: &str = "00000000-0000-4000-9000-000000000001";

/// Every action with a body that is right; `None` where none is needed.
fn actions() -> Vec<(&'static str, Option<Value>)> {
    let location = json!({ "workLocationType": "office", "placeId": "hq" });
    vec![
        (
            "setPresence",
            Some(
                json!({ "sessionId": APP, "availability": "Busy", "activity": "InACall", "expirationDuration": "PT1H" }),
            ),
        ),
        ("clearPresence", Some(json!({ "sessionId": APP }))),
        ("setUserPreferredPresence", Some(json!({ "availability": "Busy", "activity": "Busy" }))),
        ("clearUserPreferredPresence", None),
        ("setStatusMessage", Some(json!({ "statusMessage": { "message": { "content": "here" } } }))),
        ("setManualLocation", Some(location.clone())),
        ("setAutomaticLocation", Some(location)),
        ("clearLocation", None),
        ("clearAutomaticLocation", None),
    ]
}

#[track_caller]
fn assert_empty_200(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), None, "{what}");
    assert_eq!(answer.header("odata-version"), None, "{what}");
    assert_eq!(answer.header("content-length"), Some("0"), "{what}");
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) -> String {
    let (found, found_code, message) = answer.error();
    assert_eq!((found, found_code.as_str()), (status, code), "{answer:?}");
    message
}

fn act(caller: &Caller<'_>, path: &str, body: Option<&Value>) -> Answer {
    match body {
        Some(body) => caller.post(path, body),
        None => caller.send("POST", path, &[], b""),
    }
}

/// Does something to one's own presence that must succeed.
#[track_caller]
fn mine(me: &Caller<'_>, action: &str, body: &Value) {
    assert_empty_200(&me.post(&format!("/v1.0/me/presence/{action}"), body), action);
}

fn presence(caller: &Caller<'_>, user: &str) -> Value {
    let answer = caller.get(&format!("/v1.0/users/{user}/presence"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn sequence_number(caller: &Caller<'_>, user: &str) -> String {
    let number = presence(caller, user)["sequenceNumber"].as_str().unwrap().to_owned();
    assert_eq!(number.len(), 11, "{number}");
    assert!(number.starts_with('A') && number[1..].bytes().all(|byte| byte.is_ascii_digit()), "{number}");
    number
}
