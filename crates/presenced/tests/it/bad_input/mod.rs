//! Everything wrong that a client can send, to every operation: each gets the error the contract says, soon and within
//! bounded memory, and changes nothing. Never a 5xx, a panic or a hang.

mod addresses;
mod batch;
mod bodies;
mod connections;
mod load;
mod members;
mod own;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::{APP, Answer, Caller, Server, shared};

const UNREADABLE: &str = "Unable to read JSON request payload. Please ensure Content-Type header is set and payload \
                          is of valid JSON format.";

const EMPTY: &str = "Empty Payload. JSON content expected.";

const TOO_LARGE: &str = "The request body is too large.";

const WRONG_METHOD: &str = "Specified HTTP method is not allowed for the request target.";
const FIVE_MEGABYTES: usize = 5 * 1024 * 1024;

/// Actions that need a body, each with one that is right.
fn actions() -> Vec<(&'static str, Value)> {
    let pair = json!({ "availability": "Available", "activity": "Available", "expirationDuration": "PT1H" });
    let mut session = pair.clone();
    session["sessionId"] = APP.into();
    let status = json!({ "statusMessage": {
        "message": { "content": "elsewhere", "contentType": "text" },
        "expiryDateTime": { "dateTime": "2031-01-01T00:00:00", "timeZone": "UTC" },
    } });
    let location = json!({ "workLocationType": "remote", "placeId": "home" });
    vec![
        ("setPresence", session),
        ("clearPresence", json!({ "sessionId": APP })),
        ("setUserPreferredPresence", pair),
        ("setStatusMessage", status),
        ("setManualLocation", location.clone()),
        ("setAutomaticLocation", location),
    ]
}

/// A user with something in every place that a request could change, who must be found as they were.
struct Untouched {
    server: Arc<Server>,
    id: String,
    before: Value,
}

impl Untouched {
    fn new() -> Self {
        let server = shared();
        let id = server.new_user();
        let me = Caller::user(&server, &id);
        assert_eq!(me.set(&id, "Busy", "InACall", "PT4H").status, 200);
        let act = |action: &str, body: &Value| {
            let answer = me.post(&format!("/v1.0/me/presence/{action}"), body);
            assert_eq!(answer.status, 200, "{action}: {answer:?}");
        };
        act("setUserPreferredPresence", &json!({ "availability": "Busy", "activity": "Busy" }));
        act("setStatusMessage", &json!({ "statusMessage": { "message": { "content": "here" } } }));
        act("setAutomaticLocation", &json!({ "workLocationType": "office", "placeId": "desk" }));
        act("setManualLocation", &json!({ "workLocationType": "office", "placeId": "hq" }));
        let before = explanation(&me, &id);
        Self { server, id, before }
    }

    fn me(&self) -> Caller<'_> {
        Caller::user(&self.server, &self.id)
    }

    /// The address of one of the user's actions, or of reading many.
    fn path(&self, operation: &str) -> String {
        match operation {
            "getPresencesByUserId" => "/v1.0/communications/getPresencesByUserId".to_owned(),
            action => format!("/v1.0/users/{}/presence/{action}", self.id),
        }
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(explanation(&self.me(), &self.id), self.before);
    }
}

/// All there is to know about a user, sleeping preferences and hidden layers included.
fn explanation(caller: &Caller<'_>, user: &str) -> Value {
    caller.get(&format!("/_presenced/v1/users/{user}/presence/explanation")).json()
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str, message: &str, what: &str) {
    let expected = (status, code.to_owned(), message.to_owned());
    assert_eq!(answer.error(), expected, "{what}");
}

/// Status and code, where the text is nobody's business.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    let (found, found_code, _) = answer.error();
    assert_eq!((found, found_code.as_str()), (status, code), "{what}: {answer:?}");
}

/// Sends bytes and no more, and reads to the end or the reset of the connection; anything else is a hang.
fn whatever_comes(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{start}");
    }
    answer
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// `text` with one member replaced, or taken away.
fn with(body: &Value, member: &str, value: Option<Value>) -> Value {
    let mut body = body.clone();
    match value {
        Some(value) => body[member] = value,
        None => drop(body.as_object_mut().unwrap().remove(member)),
    }
    body
}
