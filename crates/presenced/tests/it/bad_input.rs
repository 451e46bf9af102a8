//! Everything wrong that a client can send, to every operation: each gets the error the contract says, soon and within
//! bounded memory, and changes nothing. Never a 5xx, a panic or a hang.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use graph::{BodyRule, Method, NO_OPERATION_PATHS, OPERATIONS};
use serde_json::{Value, json};

use crate::support::{APP, Answer, Caller, JSON, Server, USER_A, parse_answer, read_answer, shared};

const UNREADABLE: &str = "Unable to read JSON request payload. Please ensure Content-Type header is set and payload \
                          is of valid JSON format.";
const EMPTY: &str = "Empty Payload. JSON content expected.";
const TOO_LARGE: &str = "The request body is too large.";
const PAIR: &str = "The provided [Availability] and [Activity] are not a supported combination.";
const DURATION: &str = "The provided [ExpirationDuration] is out of range.";
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

#[test]
fn a_body_that_is_no_json_object_is_unreadable_to_every_operation_and_changes_nothing() {
    let user = Untouched::new();
    let me = user.me();
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat().into_bytes();
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"true".to_vec(),
        b"0".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"sessionId\":".to_vec(),
        b"{\"sessionId\" \"x\"}".to_vec(),
        b"{'sessionId':'x'}".to_vec(),
        b"{\"a\":1,}".to_vec(),
        b"{\"a\":NaN}".to_vec(),
        b"{\"a\":01}".to_vec(),
        b"{} {}".to_vec(),
        b"{}x".to_vec(),
        b"// a comment\n{}".to_vec(),
        b"{\"sessionId\":\"\xFF\xFE\"}".to_vec(),
        b"{\"\xC0\x80\":1}".to_vec(),
        b"{\"a\":\"\n\"}".to_vec(),
        b"{\"a\":\"\\x\"}".to_vec(),
        b"\0".to_vec(),
        b"{\0}".to_vec(),
        "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "\u{feff}\u{feff}{}".as_bytes().to_vec(),
        b"sessionId=x&availability=Busy".to_vec(),
        b"<presence/>".to_vec(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("[", ""),
        deep("{\"a\":", ""),
    ];
    let mut operations: Vec<&str> = actions().into_iter().map(|(name, _)| name).collect();
    operations.push("getPresencesByUserId");
    for operation in operations {
        for body in &bodies {
            let start = String::from_utf8_lossy(&body[..body.len().min(40)]);
            let answer = me.post_bytes(&user.path(operation), body);
            assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {start}"));
        }
        for empty in [&b""[..], b" ", b"\r\n\t ", "\u{feff}".as_bytes()] {
            let answer = me.post_bytes(&user.path(operation), empty);
            assert_error(&answer, 400, "BadRequest", EMPTY, &format!("{operation}: {empty:?}"));
        }
    }
    user.assert_untouched();
}

#[test]
fn a_body_of_another_type_or_without_one_is_unreadable_however_right_it_is() {
    let user = Untouched::new();
    let me = user.me();
    let mut operations = actions();
    operations.push(("getPresencesByUserId", json!({ "ids": [user.id] })));
    for (operation, body) in operations {
        let body = body.to_string();
        for content_type in [
            "",
            "text/plain",
            "text/json",
            "application/xml",
            "application/jsonp",
            "application/json-patch+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "charset=utf-8; application/json",
            "\"application/json\"",
            "\u{e4}",
        ] {
            let answer =
                me.send("POST", &user.path(operation), &[("Content-Type", content_type)], body.as_bytes());
            assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {content_type:?}"));
        }
        let answer = me.send("POST", &user.path(operation), &[], body.as_bytes());
        assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: no type"));
    }
    user.assert_untouched();
}

#[test]
fn a_body_that_is_compressed_badly_or_far_too_well_is_refused() {
    let user = Untouched::new();
    let me = user.me();
    let mut operations = actions();
    operations.push(("getPresencesByUserId", json!({ "ids": [user.id] })));
    // A gigabyte of spaces: a thousand streams of a megabyte, one after the other.
    let bomb = gzip(&vec![b' '; 1024 * 1024]).repeat(1024);
    assert!(bomb.len() < 4 * 1024 * 1024);
    let small_bomb = gzip(&vec![b' '; 3 * 1024 * 1024]);
    for (operation, body) in operations {
        let whole = gzip(body.to_string().as_bytes());
        let path = user.path(operation);
        let send =
            |coding: &str, bytes: &[u8]| me.send("POST", &path, &[JSON, ("Content-Encoding", coding)], bytes);
        for cut in [1, 9, 10, 11, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
            let answer = send("gzip", &whole[..cut]);
            assert_error(
                &answer,
                400,
                "BadRequest",
                UNREADABLE,
                &format!("{operation}: {cut} of {}", whole.len()),
            );
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_error(&send("gzip", &flipped), 400, "BadRequest", UNREADABLE, operation);
        assert_error(&send("gzip", body.to_string().as_bytes()), 400, "BadRequest", UNREADABLE, operation);
        // Compressed, and not said to be.
        assert_error(&send("identity", &whole), 400, "BadRequest", UNREADABLE, operation);
        assert_error(&send("gzip", &gzip(b"")), 400, "BadRequest", EMPTY, operation);
        for coding in ["br", "deflate", "zstd", "compress", "gzip, gzip", "\u{e4}"] {
            assert_refused(
                &send(coding, &whole),
                415,
                "UnsupportedMediaType",
                &format!("{operation}: {coding}"),
            );
        }
        assert_error(&send("gzip", &bomb), 413, "RequestEntityTooLarge", TOO_LARGE, operation);
        assert_error(&send("gzip", &small_bomb), 413, "RequestEntityTooLarge", TOO_LARGE, operation);
    }
    user.assert_untouched();
}

#[test]
fn a_body_of_five_megabytes_is_too_large_for_every_operation_that_reads_one() {
    let user = Untouched::new();
    let me = user.me();
    let mut paths: Vec<String> = actions().iter().map(|(action, _)| user.path(action)).collect();
    paths.push(user.path("getPresencesByUserId"));
    paths.push("/v1.0/$batch".to_owned());
    let body = [b"{\"a\":\"", &vec![b'x'; FIVE_MEGABYTES][..], b"\"}"].concat();
    for path in &paths {
        let answer = me.post_bytes(path, &body);
        assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, path);
    }
    // Chunked, so that nobody knows beforehand.
    let (name, token) = me.authorization();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n",
        paths[0],
        body.len()
    );
    let answer = user.server.send_raw(&[head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat());
    assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, "chunked");
    user.assert_untouched();
}

#[test]
fn a_read_ignores_whatever_body_comes_with_it() {
    let user = Untouched::new();
    let me = user.me();
    let huge = vec![b'{'; FIVE_MEGABYTES];
    for body in [&b"{"[..], b"\xFF", &huge] {
        let length = body.len().to_string();
        let headers = [("Content-Length", length.as_str()), ("Content-Encoding", "br")];
        assert_eq!(me.send("GET", "/v1.0/me/presence", &headers, body).status, 200);
    }
    user.assert_untouched();
}

#[test]
fn a_body_less_action_ignores_whatever_body_and_type_come_with_it() {
    let server = shared();
    let user = server.new_user();
    let me = Caller::user(&server, &user);
    let huge = vec![b'{'; FIVE_MEGABYTES];
    for action in ["clearUserPreferredPresence", "clearLocation", "clearAutomaticLocation"] {
        let path = format!("/v1.0/me/presence/{action}");
        for body in [&b""[..], b"{}", b"{", b"[]", b"\xFF", &huge] {
            for headers in [&[][..], &[JSON], &[("Content-Type", "text/plain"), ("Content-Encoding", "br")]] {
                let answer = me.send("POST", &path, headers, body);
                assert_eq!((answer.status, answer.body.len()), (200, 0), "{action}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_missing_member_is_named_and_null_and_the_empty_text_count_as_missing() {
    let user = Untouched::new();
    let me = user.me();
    let required = [
        ("setPresence", &["sessionId", "availability", "activity"][..]),
        ("clearPresence", &["sessionId"]),
        ("setUserPreferredPresence", &["availability", "activity"]),
        ("setManualLocation", &["workLocationType"]),
        ("setAutomaticLocation", &["workLocationType"]),
        ("getPresencesByUserId", &["ids"]),
    ];
    let mut bodies = actions();
    bodies.push(("getPresencesByUserId", json!({ "ids": [user.id] })));
    for (operation, members) in required {
        let body = &bodies.iter().find(|(name, _)| *name == operation).unwrap().1;
        for member in members {
            let pascal = format!("{}{}", member[..1].to_uppercase(), &member[1..]);
            let message = format!("[{pascal}]: The {pascal} field is required.");
            let mut wrong = vec![None, Some(Value::Null)];
            if operation != "getPresencesByUserId" {
                wrong.extend([Some("".into()), Some("  ".into())]);
            }
            for value in wrong {
                let body = with(body, member, value);
                let answer = me.post(&user.path(operation), &body);
                assert_error(&answer, 400, "InvalidArgument", &message, &format!("{operation}: {body}"));
            }
        }
        // The first of the missing ones is named.
        let first = members[0];
        let pascal = format!("{}{}", first[..1].to_uppercase(), &first[1..]);
        let answer = me.post(&user.path(operation), &json!({}));
        let message = format!("[{pascal}]: The {pascal} field is required.");
        assert_error(&answer, 400, "InvalidArgument", &message, &format!("{operation}: {{}}"));
    }
    user.assert_untouched();
}

#[test]
fn a_member_of_a_wrong_type_is_unreadable() {
    let user = Untouched::new();
    let me = user.me();
    let texts = [
        ("setPresence", &["sessionId", "availability", "activity", "expirationDuration"][..]),
        ("clearPresence", &["sessionId"]),
        ("setUserPreferredPresence", &["availability", "activity", "expirationDuration"]),
        ("setManualLocation", &["workLocationType", "placeId"]),
        ("setAutomaticLocation", &["workLocationType", "placeId"]),
    ];
    let actions = actions();
    let deep: Value = (0..60).fold(json!(1), |inner, _| json!([inner]));
    for (operation, members) in texts {
        let body = &actions.iter().find(|(name, _)| *name == operation).unwrap().1;
        for member in members {
            for value in
                [json!(1), json!(-1.5e300), json!(true), json!([]), json!(["x"]), json!({}), deep.clone()]
            {
                let body = with(body, member, Some(value));
                let answer = me.post(&user.path(operation), &body);
                assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {body}"));
            }
            // A lone surrogate is no text.
            let body = with(body, member, Some("MARK".into())).to_string().replace("MARK", "\\ud800");
            let answer = me.post_bytes(&user.path(operation), body.as_bytes());
            assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {body}"));
        }
    }
    let message = |message: Value| json!({ "statusMessage": { "message": message } });
    let expiry = |expiry: Value| json!({ "statusMessage": { "message": { "content": "x" }, "expiryDateTime": expiry } });
    for body in [
        json!({ "statusMessage": 1 }),
        json!({ "statusMessage": "x" }),
        json!({ "statusMessage": [] }),
        message(json!("x")),
        message(json!([])),
        message(json!({ "content": 1 })),
        message(json!({ "content": {} })),
        message(json!({ "content": "x", "contentType": 0 })),
        message(json!({ "content": "x", "contentType": "markdown" })),
        expiry(json!("2031-01-01T00:00:00")),
        expiry(json!(1)),
        expiry(json!({ "dateTime": 1 })),
        expiry(json!({ "dateTime": "2031-01-01T00:00:00", "timeZone": 1 })),
    ] {
        let answer = me.post(&user.path("setStatusMessage"), &body);
        assert_error(&answer, 400, "BadRequest", UNREADABLE, &body.to_string());
    }
    for ids in
        [json!("x"), json!({}), json!(1), json!([1]), json!([null]), json!([[user.id]]), json!([user.id, {}])]
    {
        let answer = me.post(&user.path("getPresencesByUserId"), &json!({ "ids": ids }));
        assert_error(&answer, 400, "BadRequest", UNREADABLE, &ids.to_string());
    }
    user.assert_untouched();
}

#[test]
fn every_pair_but_the_documented_ones_is_refused() {
    let user = Untouched::new();
    let me = user.me();
    let availabilities = [
        "Available",
        "AvailableIdle",
        "Away",
        "BeRightBack",
        "Busy",
        "BusyIdle",
        "DoNotDisturb",
        "Offline",
        "PresenceUnknown",
        "Focusing",
        "InAMeeting",
        "Sleeping",
        "Available ",
        "0",
        "\u{0}",
        "Disponible\u{301}",
    ];
    let activities = [
        "Available",
        "AvailableInactive",
        "Away",
        "BeRightBack",
        "Busy",
        "DoNotDisturb",
        "InACall",
        "InAConferenceCall",
        "Inactive",
        "InAMeeting",
        "Offline",
        "OffWork",
        "OutOfOffice",
        "PresenceUnknown",
        "Presenting",
        "UrgentInterruptionsOnly",
        "Sleeping",
    ];
    let session = [
        "Available/Available",
        "Busy/InACall",
        "Busy/InAConferenceCall",
        "Away/Away",
        "DoNotDisturb/Presenting",
    ];
    let preferred = [
        "Available/Available",
        "Busy/Busy",
        "DoNotDisturb/DoNotDisturb",
        "BeRightBack/BeRightBack",
        "Away/Away",
        "Offline/OffWork",
    ];
    for (operation, legal) in [("setPresence", &session[..]), ("setUserPreferredPresence", &preferred)] {
        for availability in availabilities {
            for activity in activities {
                if legal.contains(&format!("{availability}/{activity}").as_str()) {
                    continue;
                }
                let body = json!({ "sessionId": APP, "availability": availability, "activity": activity });
                let answer = me.post(&user.path(operation), &body);
                assert_error(&answer, 400, "InvalidArgument", PAIR, &format!("{operation}: {body}"));
            }
        }
    }
    user.assert_untouched();
}

#[test]
fn durations_out_of_range_or_absurd_are_out_of_range_and_other_text_is_unreadable() {
    let user = Untouched::new();
    let me = user.me();
    let actions = actions();
    let body = |operation: &str| actions.iter().find(|(name, _)| *name == operation).unwrap().1.clone();
    let absurd = [
        "PT0S",
        "P0D",
        "-PT5M",
        "-PT1H",
        "PT-0S",
        "P99999999D",
        "-P99999999D",
        "P99999999999999999999999D",
        "PT9223372036854775807S",
        "PT9223372036854775808S",
        "P106751991167300DT24H",
        "-P9223372036854775808D",
        "PT0.0000000000000000000000000001S",
    ];
    let for_sessions =
        ["PT1S", "PT4M59S", "PT299.9999999S", "PT4H1S", "PT4H0.0000001S", "PT241M", "P1D", "P7D"];
    let for_preferences = ["P366DT1S", "P367D", "PT8784H0.001S"];
    for (operation, out_of_range) in
        [("setPresence", &for_sessions[..]), ("setUserPreferredPresence", &for_preferences)]
    {
        for duration in absurd.iter().chain(out_of_range) {
            let body = with(&body(operation), "expirationDuration", Some((*duration).into()));
            let answer = me.post(&user.path(operation), &body);
            let text = format!("{operation}: {duration}");
            if *duration == "PT-0S" {
                assert_error(&answer, 400, "BadRequest", UNREADABLE, &text);
            } else {
                assert_error(&answer, 400, "InvalidArgument", DURATION, &text);
            }
        }
        for text in [
            "",
            " ",
            "P",
            "PT",
            "five minutes",
            "300",
            "PT1H ",
            "1H",
            "P1Y",
            "P1M",
            "P1W",
            "P1Y2M",
            "PT1H1H",
            "PT1.5H",
            "PT\u{0661}H",
            "P1DT",
            "PT5",
            "00:05",
            "2030-01-07T09:00:00Z",
            "PT1H\u{0}",
            "--PT1H",
            "Infinity",
        ] {
            let body = with(&body(operation), "expirationDuration", Some(text.into()));
            let answer = me.post(&user.path(operation), &body);
            assert_error(&answer, 400, "BadRequest", UNREADABLE, &format!("{operation}: {text:?}"));
        }
        let nines =
            with(&body(operation), "expirationDuration", Some(format!("PT{}S", "9".repeat(100_000)).into()));
        assert_error(
            &me.post(&user.path(operation), &nines),
            400,
            "InvalidArgument",
            DURATION,
            "many digits",
        );
    }
    user.assert_untouched();
}

#[test]
fn a_session_of_somebody_else_or_of_nobody_is_refused() {
    let user = Untouched::new();
    let me = user.me();
    for (operation, body) in actions().into_iter().filter(|(name, _)| name.ends_with("Presence")) {
        if operation == "setUserPreferredPresence" {
            continue;
        }
        for id in [
            "22553876-f5ab-4529-bffb-cfe50aa89f88",
            "00000000-0000-0000-0000-000000000000",
            USER_A,
            "22553876f5ab4529bffbcfe50aa89f87",
            "{22553876-f5ab-4529-bffb-cfe50aa89f87}",
            "urn:uuid:22553876-f5ab-4529-bffb-cfe50aa89f87",
            "22553876-f5ab-4529-bffb-cfe50aa89f87\u{0}",
            "desk",
            "' OR 1=1 --",
            &"x".repeat(100_000),
        ] {
            let answer = me.post(&user.path(operation), &with(&body, "sessionId", Some(id.into())));
            assert_refused(&answer, 400, "InvalidArgument", &format!("{operation}: {id:.60}"));
        }
    }
    user.assert_untouched();
}

#[test]
fn what_a_status_message_or_a_location_may_not_be_is_refused() {
    let user = Untouched::new();
    let me = user.me();
    let message = |content: &str, kind: &str| json!({ "statusMessage": { "message": { "content": content, "contentType": kind } } });
    let until = |time: &str, zone: &str| json!({ "statusMessage": { "message": { "content": "x" }, "expiryDateTime": { "dateTime": time, "timeZone": zone } } });
    let missing = json!({ "statusMessage": { "message": { "content": "x" }, "expiryDateTime": {} } });
    let required = "[DateTime]: The DateTime field is required.";
    let answer = me.post(&user.path("setStatusMessage"), &missing);
    assert_error(&answer, 400, "InvalidArgument", required, "no dateTime");
    for body in [
        json!({}),
        message("<b>x</b>", "html"),
        message("<b>x</b>", "HTML"),
        message(&"x".repeat(100_000), "text"),
        message(&"\u{1F600}".repeat(10_000), "text"),
        until("2031-01-01T00:00:00Z", "UTC"),
        until("2031-01-01T00:00:00+01:00", "UTC"),
        until("2031-01-01T00:00:00[UTC]", "UTC"),
        until("2031-01-01T00:00:00", "Mars"),
        until("2031-01-01T00:00:00", "../../etc/passwd"),
        until("2031-01-01T00:00:00", "\u{0}"),
        until("2031-13-01T00:00:00", "UTC"),
        until("2031-02-29T00:00:00", "UTC"),
        until("tomorrow", "UTC"),
        until("", "UTC"),
        until("9999-12-31T23:59:59", "Dateline Standard Time"),
        until("0000-01-01T00:00:00", "UTC"),
        until("2030-01-07T08:00:00", "UTC"),
        until("2030-01-07T07:59:59.9999999", "UTC"),
        until("1970-01-01T00:00:00", "UTC"),
    ] {
        let answer = me.post(&user.path("setStatusMessage"), &body);
        assert_refused(&answer, 400, "InvalidArgument", &format!("{:.200}", body.to_string()));
    }
    for operation in ["setManualLocation", "setAutomaticLocation"] {
        for kind in ["unspecified", "unknownFutureValue", "Unspecified"] {
            let answer = me.post(&user.path(operation), &json!({ "workLocationType": kind }));
            assert_refused(&answer, 400, "InvalidArgument", kind);
        }
        for kind in ["moon", "1", "office ", "Office,Remote"] {
            let answer = me.post(&user.path(operation), &json!({ "workLocationType": kind }));
            assert_error(&answer, 400, "BadRequest", UNREADABLE, kind);
        }
        let place = json!({ "workLocationType": "office", "placeId": "x".repeat(100_000) });
        assert_refused(&me.post(&user.path(operation), &place), 400, "InvalidArgument", "placeId");
    }
    user.assert_untouched();
}

#[test]
fn reading_many_takes_at_most_650_ids_and_only_guids() {
    let user = Untouched::new();
    let me = user.me();
    let ids = |count: usize| json!({ "ids": (0..count).map(|n| format!("00000000-0000-4000-9000-{n:012}")).collect::<Vec<_>>() });
    let path = user.path("getPresencesByUserId");
    assert_eq!(me.post(&path, &ids(650)).json()["value"].as_array().unwrap().len(), 650);
    assert_eq!(me.post(&path, &ids(0)).json()["value"], json!([]));
    for count in [651, 652, 50_000] {
        assert_refused(&me.post(&path, &ids(count)), 400, "InvalidArgument", &format!("{count} ids"));
    }
    // The same one 651 times is as many.
    let same = json!({ "ids": vec![user.id.clone(); 651] });
    assert_refused(&me.post(&path, &same), 400, "InvalidArgument", "651 times the same");
    for id in [
        "",
        "me",
        "nobody",
        "*",
        "ana.fuentes@presenced.example",
        "fa8bf3dceca746b7bad1db199b62afc3",
        "\u{0}",
    ] {
        let answer = me.post(&path, &json!({ "ids": [user.id, id] }));
        assert_refused(&answer, 400, "InvalidArgument", id);
    }
    user.assert_untouched();
}

#[test]
fn of_duplicate_members_the_last_one_counts_also_when_it_is_wrong() {
    let user = Untouched::new();
    let me = user.me();
    let post = |operation: &str, body: &str| me.post_bytes(&user.path(operation), body.as_bytes());
    let required = "[SessionId]: The SessionId field is required.";
    let body = format!(r#"{{"sessionId":"{APP}","sessionId":null}}"#);
    assert_error(&post("clearPresence", &body), 400, "InvalidArgument", required, "null last");
    let body = format!(r#"{{"sessionId":"{APP}","SESSIONID":1}}"#);
    assert_error(&post("clearPresence", &body), 400, "BadRequest", UNREADABLE, "a number last");
    let body =
        format!(r#"{{"sessionId":"{APP}","availability":"Away","activity":"Away","availability":"Busy"}}"#);
    assert_error(&post("setPresence", &body), 400, "InvalidArgument", PAIR, "another pair last");
    let body = format!(r#"{{"ids":["{}"],"ids":1}}"#, user.id);
    assert_error(&post("getPresencesByUserId", &body), 400, "BadRequest", UNREADABLE, "a number last");
    user.assert_untouched();
}

#[test]
fn an_id_that_is_neither_a_guid_nor_a_name_is_not_found() {
    let server = shared();
    let app = Caller::application(&server);
    let long = "x".repeat(8_000);
    for id in [
        "nobody",
        "nobody@presenced.example",
        "fa8bf3dceca746b7bad1db199b62afc3",
        "%7Bfa8bf3dc-eca7-46b7-bad1-db199b62afc3%7D",
        "fa8bf3dc-eca7-46b7-bad1-db199b62afcg",
        "1",
        "%00",
        "%2F",
        "..%2F..%2Fetc%2Fpasswd",
        "%F0%9F%98%80",
        "'",
        "('x')",
        "me",
        "*",
        "%25",
        long.as_str(),
    ] {
        let read = app.get(&format!("/v1.0/users/{id}/presence"));
        assert_refused(&read, 404, "NotFound", &format!("{id:.60}"));
        let read = app.get(&format!("/v1.0/communications/presences/{id}"));
        assert_refused(&read, 404, "NotFound", &format!("{id:.60}"));
        for (action, body) in actions().into_iter().filter(|(action, _)| !action.ends_with("Location")) {
            let answer = app.post(&format!("/v1.0/users/{id}/presence/{action}"), &body);
            assert_refused(&answer, 404, "NotFound", &format!("{action} of {id:.60}"));
        }
        let user = app.get(&format!("/v1.0/users/{id}"));
        assert_refused(&user, 404, "Request_ResourceNotFound", &format!("{id:.60}"));
    }
    // A GUID nobody has can be read, and not written.
    let unknown = "00000000-0000-4000-9000-000000000001";
    let answer = app.set(unknown, "Busy", "InACall", "PT1H");
    assert_refused(&answer, 404, "NotFound", "a write to nobody");
    assert_eq!(app.pair(unknown), "PresenceUnknown/PresenceUnknown");
}

#[test]
fn a_path_that_leads_nowhere_names_its_segment_before_anybody_asks_for_a_token() {
    let server = shared();
    let app = Caller::application(&server);
    let user = format!("/v1.0/users/{USER_A}");
    let segment = |name: &str| format!("Resource not found for the segment '{name}'.");
    let table = [
        ("/v1.0/xyz".to_owned(), segment("xyz")),
        ("/beta/xyz/presence".to_owned(), segment("xyz")),
        ("/v1.0/me/xyz".to_owned(), segment("xyz")),
        ("/v1.0/me/presences".to_owned(), segment("presences")),
        ("/v1.0/me/presence/setPresents".to_owned(), segment("setPresents")),
        ("/v1.0/me/presence/setPresence/now".to_owned(), segment("now")),
        ("/v1.0/me/presence/microsoft.graph.setPresents".to_owned(), segment("microsoft.graph.setPresents")),
        ("/v1.0/me/presence/../presence".to_owned(), segment("..")),
        (format!("{user}/presences"), segment("presences")),
        ("/v1.0/me//presence".to_owned(), segment("")),
        ("/v1.0/me/presence//".to_owned(), segment("")),
        ("/v1.0/users//presence".to_owned(), segment("")),
        ("/v1.0/communications".to_owned(), segment("communications")),
        ("/v1.0/communications/calls".to_owned(), segment("calls")),
        ("/v1.0/%78yz%2F".to_owned(), segment("xyz/")),
        ("/v1.0/%3Cscript%3E".to_owned(), segment("<script>")),
        ("/v2.0/me/presence".to_owned(), "Invalid version: v2.0".to_owned()),
        ("/v1/me/presence".to_owned(), "Invalid version: v1".to_owned()),
        ("/me/presence".to_owned(), "Invalid version: me".to_owned()),
        ("//v1.0/me/presence".to_owned(), "Invalid version: ".to_owned()),
        ("/".to_owned(), "Invalid version: ".to_owned()),
    ];
    for (path, message) in &table {
        assert_error(&app.get(path), 400, "BadRequest", message, path);
        assert_error(&server.send("GET", path, &[], b""), 400, "BadRequest", message, path);
        assert_error(&server.send("DELETE", path, &[], b""), 400, "BadRequest", message, path);
    }
    for path in ["/v1.0/%FF", "/v1.0/users/%C0%80/presence", "/%FF/me", "/v1.0/users('%FF')/presence"] {
        assert_refused(&app.get(path), 400, "BadRequest", path);
    }
    let endless = format!("/v1.0{}", "/x".repeat(10_000));
    assert_error(&app.get(&endless), 400, "BadRequest", &segment("x"), "ten thousand segments");
}

/// A path of the table of operations with its places filled.
fn filled(template: &str, user: &str) -> String {
    template.replace("{user}", user).replace("{size}", "48x48").replace("{subscription}", APP)
}

#[test]
fn a_wrong_verb_is_405_and_says_which_are_allowed() {
    let user = Untouched::new();
    let me = user.me();
    let verbs = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"];
    let mut table: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in OPERATIONS {
        for path in row.paths {
            let allowed = table.entry(path).or_default();
            allowed.push(row.method.as_str());
            allowed.extend((row.method == Method::Get).then_some("HEAD"));
        }
    }
    table.extend(NO_OPERATION_PATHS.iter().map(|path| (*path, Vec::new())));
    for (path, allowed) in table {
        let path = format!("/v1.0{}", filled(path, &user.id));
        for verb in verbs.into_iter().filter(|verb| !allowed.contains(verb)) {
            let answer = me.send(verb, &path, &[JSON], b"{}");
            assert_error(&answer, 405, "Request_BadRequest", WRONG_METHOD, &format!("{verb} {path}"));
            assert_eq!(answer.header("allow"), Some(allowed.join(", ").as_str()), "{verb} {path}");
        }
    }
    user.assert_untouched();
}

#[test]
fn no_token_or_a_bad_one_is_401_to_every_operation_however_bad_the_rest_is() {
    let user = Untouched::new();
    let token = user.server.token(Some(&user.id));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let bearer = |token: &str| format!("Bearer {token}");
    let table = [
        (None, Some("Access token is empty.")),
        (Some(String::new()), Some("Access token is empty.")),
        (Some("Bearer".to_owned()), Some("Access token is empty.")),
        (Some("Bearer ".to_owned()), Some("Access token is empty.")),
        (Some("Basic dXNlcjpwYXNz".to_owned()), None),
        (Some(token.clone()), None),
        (Some(bearer("x")), None),
        (Some(bearer("a.b.c")), None),
        (Some(bearer("..")), None),
        (Some(bearer(message)), None),
        (Some(bearer(&format!("{message}."))), None),
        (Some(bearer(&format!("{message}.{}", signature.chars().rev().collect::<String>()))), None),
        (Some(bearer(&format!("{head}.{}.{signature}", payload.replacen('e', "f", 1)))), None),
        // {"alg":"none"}
        (Some(bearer(&format!("eyJhbGciOiJub25lIn0.{payload}."))), None),
        (Some(bearer(&"x".repeat(64 * 1024))), None),
        (Some(bearer(&format!("{token}{}", "x".repeat(64 * 1024)))), None),
        (Some("Bearer \u{e4}".to_owned()), None),
    ];
    let path_of = |template: &str| format!("/v1.0{}", filled(template, &user.id));
    for (authorization, message) in &table {
        for row in OPERATIONS.iter().filter(|row| row.name != "metadata") {
            let path = path_of(row.paths[0]);
            let mut headers = vec![("Content-Type", "text/plain")];
            headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            let body: &[u8] = if row.body == BodyRule::Required { b"{" } else { b"" };
            let answer = user.server.send(row.method.as_str(), &path, &headers, body);
            let what = format!("{} with {:.80?}", row.name, authorization);
            assert_refused(&answer, 401, "InvalidAuthenticationToken", &what);
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm=\"\""), "{what}");
            if let Some(message) = message {
                assert_eq!(answer.error().2, *message, "{what}");
            }
        }
    }
    user.assert_untouched();
}

#[test]
fn a_batch_that_is_malformed_as_a_whole_is_400_and_runs_none_of_its_parts() {
    let user = Untouched::new();
    let me = user.me();
    let clear = |id: &str| json!({ "id": id, "method": "POST", "url": "/me/presence/clearLocation" });
    let without = |member: &str| with(&clear("1"), member, None);
    let wrong = |member: &str, value: Value| with(&clear("1"), member, Some(value));
    let many: Vec<Value> = (0..21).map(|id| clear(&id.to_string())).collect();
    for requests in [
        json!([]),
        json!(null),
        json!(1),
        json!({}),
        json!([1]),
        json!([null]),
        json!(many),
        json!([clear("1"), clear("1")]),
        json!([clear("a"), clear("A")]),
        json!([without("id")]),
        json!([without("method")]),
        json!([without("url")]),
        json!([wrong("id", json!(1))]),
        json!([wrong("id", json!(""))]),
        json!([wrong("method", json!(1))]),
        json!([wrong("url", json!({}))]),
        json!([wrong("headers", json!([]))]),
        json!([wrong("headers", json!({ "x": 1 }))]),
        json!([wrong("dependsOn", json!("1"))]),
        json!([wrong("dependsOn", json!([1]))]),
        json!([wrong("dependsOn", json!(["1"]))]),
        json!([wrong("dependsOn", json!(["2"])), clear("2")]),
        json!([clear("1"), clear("2"), with(&clear("3"), "dependsOn", Some(json!(["1"])))]),
        json!([wrong("url", json!("https://graph.microsoft.com/v1.0/me"))]),
        json!([wrong("url", json!("//x/me"))]),
    ] {
        let answer = me.post("/v1.0/$batch", &json!({ "requests": requests }));
        assert_refused(&answer, 400, "BadRequest", &requests.to_string());
    }
    for (body, message) in [(&b"{"[..], UNREADABLE), (b"[]", UNREADABLE), (b"\xFF", UNREADABLE), (b"", EMPTY)]
    {
        assert_error(&me.post_bytes("/v1.0/$batch", body), 400, "BadRequest", message, "batch");
    }
    let deep =
        ["{\"requests\":".to_owned(), "[".repeat(100_000), "]".repeat(100_000), "}".to_owned()].concat();
    assert_refused(&me.post_bytes("/v1.0/$batch", deep.as_bytes()), 400, "BadRequest", "a deep batch");
    user.assert_untouched();
}

#[test]
fn a_bad_part_of_a_batch_is_refused_in_its_place_as_it_would_have_been_by_itself() {
    let user = Untouched::new();
    let me = user.me();
    let part = |id: &str, method: &str, url: &str, headers: Value, body: Value| json!({ "id": id, "method": method, "url": url, "headers": headers, "body": body });
    let typed = || json!({ "Content-Type": "application/json" });
    let set = "/me/presence/setPresence";
    let requests = json!([
        part("1", "GET", "/xyz", json!({}), json!(null)),
        part("2", "PATCH", "/me/presence", json!({}), json!(null)),
        part("3", "POST", set, typed(), json!({})),
        part("4", "POST", set, json!({}), json!({ "sessionId": APP })),
        part("5", "POST", set, typed(), json!("text")),
        part("6", "POST", set, typed(), json!(null)),
        part("7", "POST", "/$batch", typed(), json!({ "requests": [] })),
        part("8", "GET", "/$metadata", json!({}), json!(null)),
        part("9", "GET", "/users/%FF/presence", json!({}), json!(null)),
        part("10", "GET", "/me/presence?$expand=x", json!({}), json!(null)),
        part("11", "GET", "/me/presence", json!({ "bad name\r\n": "x", "x": "a\r\nb" }), json!(null)),
        part("12", "POST", set, json!({ "Content-Type": "text/plain" }), json!("*")),
        part("13", "GET", "../_presenced/v1/clock", json!({}), json!(null)),
    ]);
    let answer = me.post("/v1.0/$batch", &json!({ "requests": requests }));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let found = |id: &str| {
        let part = answer["responses"].as_array().unwrap().iter().find(|part| part["id"] == id).unwrap();
        let code = part["body"]["error"]["code"].as_str().unwrap_or_default().to_owned();
        (part["status"].as_u64().unwrap(), code)
    };
    for (id, status, code) in [
        ("1", 400, "BadRequest"),
        ("2", 405, "Request_BadRequest"),
        ("3", 400, "InvalidArgument"),
        ("4", 400, "BadRequest"),
        ("5", 400, "BadRequest"),
        ("6", 400, "BadRequest"),
        ("7", 400, "BadRequest"),
        ("8", 400, "BadRequest"),
        ("9", 400, "BadRequest"),
        ("10", 400, "BadRequest"),
        ("11", 200, ""),
        ("12", 400, "BadRequest"),
        ("13", 400, "BadRequest"),
    ] {
        assert_eq!(found(id), (status, code.to_owned()), "part {id}: {answer}");
    }
    user.assert_untouched();
}

#[test]
fn our_own_resources_refuse_bad_input_in_the_same_words() {
    let user = Untouched::new();
    let me = user.me();
    let own = |resource: &str| format!("/_presenced/v1/users/{}/{resource}", user.id);
    for resource in ["outOfOffice", "scheduledLocations"] {
        for body in [&b"{"[..], b"[]", b"\xFF", b"null", b"1"] {
            let answer =
                me.send("PUT", &own(resource), &[JSON, ("Content-Length", &body.len().to_string())], body);
            assert_error(&answer, 400, "BadRequest", UNREADABLE, resource);
        }
        assert_error(&me.get(&own(resource)), 405, "Request_BadRequest", WRONG_METHOD, resource);
        let answer = user.server.send("DELETE", &own(resource), &[], b"");
        assert_refused(&answer, 401, "InvalidAuthenticationToken", resource);
    }
    for path in
        ["/_presenced", "/_presenced/v1", "/_presenced/v1/xyz", "/_presenced/v2/clock", "/_presencedx"]
    {
        assert_refused(&me.get(path), 400, "BadRequest", path);
    }
    let clock = |action: &str, body: &str| {
        user.server.send("POST", &format!("/_presenced/v1/clock/{action}"), &[JSON], body.as_bytes())
    };
    for duration in ["-PT1S", "P99999999D", "-P99999999999999999999D", "P99999999999999999999D", "x", ""] {
        let answer = clock("advance", &json!({ "duration": duration }).to_string());
        assert_eq!(answer.error().0, 400, "{duration}");
    }
    for time in ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "x", ""] {
        assert_eq!(clock("set", &json!({ "time": time }).to_string()).error().0, 400, "{time}");
    }
    for (action, body) in
        [("advance", "{}"), ("set", "{}"), ("advance", "{"), ("jump", "{}"), ("set", r#"{"time":1}"#)]
    {
        assert_eq!(clock(action, body).error().0, 400, "{action} {body}");
    }
    let users = |content_type: &str, body: &[u8]| {
        user.server.send("POST", "/_presenced/v1/users", &[("Content-Type", content_type)], body)
    };
    for (content_type, body) in [
        ("text/plain", &b"id\n"[..]),
        ("text/csv", b"id,userPrincipalName\nnobody,x@x.example\n"),
        ("text/csv", b"id,userPrincipalName\n\xFF,x\n"),
        ("text/csv", b"userPrincipalName\nx@x.example\n"),
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001"}]"#),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001","userPrincipalName":" "}]"#),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001","userPrincipalName":"x","timeZone":"Mars"}]"#),
        ("application/json", br#"[{"id":"00000000-0000-4000-9000-000000000001","userPrincipalName":"ANA.FUENTES@presenced.example"}]"#),
    ] {
        let answer = users(content_type, body);
        assert_eq!(answer.error().0, 400, "{}: {answer:?}", String::from_utf8_lossy(body));
    }
    let app = Caller::application(&user.server);
    assert_eq!(app.pair("00000000-0000-4000-9000-000000000001"), "PresenceUnknown/PresenceUnknown");
    user.assert_untouched();
}

#[test]
fn a_request_line_or_header_that_is_no_http_ends_without_harm() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let line = |line: &str| {
        format!("{line}\r\nHost: x\r\n{name}: {token}\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let header = |header: &str| {
        format!("GET /v1.0/me/presence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n{header}\r\nConnection: close\r\n\r\n")
            .into_bytes()
    };
    let body = |headers: &str, body: &str| {
        format!(
            "POST /v1.0/me/presence/clearLocation HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n{headers}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    };
    for bytes in [
        line("GET /v1.0/me/presence HTTP/3.0"),
        line("GET /v1.0/me/presence"),
        line("GET  HTTP/1.1"),
        line("GET /v1.0/me\0/presence HTTP/1.1"),
        line("\0\0\0\0"),
        line("GET\t/v1.0/me/presence\tHTTP/1.1"),
        header("X: a\0b"),
        header("X Y: z"),
        header(": z"),
        header("no colon"),
        header(&(0..200).map(|n| format!("X-{n}: y")).collect::<Vec<_>>().join("\r\n")),
        header(&format!("X: {}", "y".repeat(1024 * 1024))),
        header(&format!("{}: y", "X".repeat(1024 * 1024))),
        line(&format!("GET /v1.0/{} HTTP/1.1", "x".repeat(1024 * 1024))),
        body("Content-Length: -1", ""),
        body("Content-Length: 99999999999999999999999", ""),
        body("Content-Length: 1\r\nContent-Length: 2", "xx"),
        body("Transfer-Encoding: gzip", "x"),
        // The hello of a client that takes the port for a TLS one.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20).to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
        let answer = whatever_comes(user.server.connect(), &bytes);
        if !answer.is_empty() {
            let status = parse_answer(&answer).status;
            assert!((400..500).contains(&status), "{status} to {shown}");
        }
    }
    user.assert_untouched();
}

#[test]
fn chunks_that_are_none_are_unreadable_or_end_the_connection_and_change_nothing() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let head = format!(
        "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    for chunks in [
        "xyz\r\n{}\r\n0\r\n\r\n",
        "-1\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n",
        "2\r\n{}}}\r\n0\r\n\r\n",
    ] {
        let answer = whatever_comes(user.server.connect(), &[head.as_bytes(), chunks.as_bytes()].concat());
        // Where a request ends in a stream that is no HTTP is anybody's guess: the connection may just end.
        if !answer.is_empty() {
            assert_error(&parse_answer(&answer), 400, "BadRequest", UNREADABLE, chunks);
        }
    }
    user.assert_untouched();
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_request_changes_nothing() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let body = actions()[0].1.to_string();
    let request = format!(
        "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let request = request.as_bytes();
    for cut in (1..request.len()).step_by(97).chain([request.len() - 1]) {
        let mut stream = user.server.connect();
        stream.write_all(&request[..cut]).unwrap();
        drop(stream);
    }
    user.assert_untouched();
}

#[test]
fn a_client_that_stops_sending_in_the_middle_of_a_body_is_told_it_is_unreadable() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    for (action, body) in actions() {
        let body = body.to_string();
        let request = format!(
            "POST /v1.0/me/presence/{action} HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            body.len(),
            &body[..body.len() - 1]
        );
        let answer = whatever_comes(user.server.connect(), request.as_bytes());
        // The connection may be gone before the answer; if there is one, it is this.
        if !answer.is_empty() {
            assert_error(&parse_answer(&answer), 400, "BadRequest", UNREADABLE, action);
        }
    }
    user.assert_untouched();
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on_or_gets_its_refusal() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let body = json!({ "sessionId": null }).to_string();
    let head = |path: &str, headers: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n{headers}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    let with_token = format!("{name}: {token}\r\n");
    let mut stream = user.server.connect();
    stream.write_all(head("/v1.0/me/presence/clearPresence", &with_token, body.len()).as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let required = "[SessionId]: The SessionId field is required.";
    assert_error(&read_answer(&mut stream), 400, "InvalidArgument", required, "after 100");
    // Too much to read, and said so beforehand: no need to send it.
    let mut stream = user.server.connect();
    let path = "/v1.0/me/presence/setPresence";
    stream.write_all(head(path, &with_token, FIVE_MEGABYTES).as_bytes()).unwrap();
    assert_error(&read_answer(&mut stream), 413, "RequestEntityTooLarge", TOO_LARGE, "before the body");
    let mut stream = user.server.connect();
    stream.write_all(head(path, "", 10).as_bytes()).unwrap();
    assert_refused(&read_answer(&mut stream), 401, "InvalidAuthenticationToken", "before the body");
    user.assert_untouched();
}

/// Every response of a connection, told apart by their lengths.
fn all_answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let mut answer = parse_answer(&bytes[..end]);
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        answer.body = bytes[end..end + length].to_vec();
        bytes = &bytes[end + length..];
        answers.push(answer);
    }
    answers
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_bad_one_spoils_no_other() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n{more}\r\n");
    let post = |body: &str| {
        format!(
            "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let requests = [
        get("/v1.0/me/presence", ""),
        post("{"),
        get("/v1.0/xyz", ""),
        post("{}"),
        get("/v1.0/me/presence", "Authorization: again\r\n"),
        get("/v1.0/me/presence", "Connection: close\r\n"),
    ];
    let mut stream = user.server.connect();
    stream.write_all(requests.concat().as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let statuses: Vec<u16> = all_answers(&bytes).iter().map(|answer| answer.status).collect();
    assert_eq!((&statuses[..4], statuses[5]), (&[200, 400, 400, 400][..], 200));
    user.assert_untouched();
}

#[test]
fn other_forms_of_a_request_get_the_same_answer() {
    let user = Untouched::new();
    let me = user.me();
    let (name, token) = me.authorization();
    let host = user.server.http;
    let plain = me.get("/v1.0/me/presence");
    assert_eq!(plain.status, 200);
    let send = |line: &str, headers: &str| {
        let request = format!("{line}\r\n{name}: {token}\r\n{headers}Connection: close\r\n\r\n");
        user.server.send_raw(request.as_bytes())
    };
    let absolute = format!("GET http://{host}/v1.0/me/presence HTTP/1.1");
    assert_eq!(send(&absolute, &format!("Host: {host}\r\n")).json(), plain.json());
    assert_eq!(send("GET /v1.0/me/presence HTTP/1.0", "").json(), plain.json(), "HTTP/1.0 needs no Host");
    assert_eq!(send("GET /v1.0/me/presence HTTP/1.0", &format!("Host: {host}\r\n")).json(), plain.json());
    assert_eq!(send("GET /v1.0/me/presence HTTP/1.1", "").json(), plain.json(), "no Host");
    // A Host that cannot stand in a link does not come back in one.
    let odd = send("GET /v1.0/me/presence HTTP/1.1", "Host: x\"><script>\r\n");
    assert!((odd.status == 400) || odd.json()["@odata.context"] == plain.json()["@odata.context"], "{odd:?}");
    let head = send("HEAD /v1.0/me/presence HTTP/1.1", &format!("Host: {host}\r\n"));
    assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
    assert_eq!(head.header("content-length"), plain.header("content-length"));
    assert_eq!(head.header("content-type"), plain.header("content-type"));
    let refused = send("HEAD /v1.0/xyz HTTP/1.1", &format!("Host: {host}\r\n"));
    assert_eq!((refused.status, refused.body.len()), (400, 0), "{refused:?}");
    let options = send("OPTIONS * HTTP/1.1", &format!("Host: {host}\r\n"));
    assert!((400..500).contains(&options.status), "{options:?}");
    user.assert_untouched();
}

/// Connections that send a part of a request and then nothing, ever.
const SLOW_HEADS: usize = 500;
const SLOW_BODIES: usize = 500;
const IDLE: usize = 3_000;
/// What a server may hold in memory, with all of them open and after everything too large was sent: some 30 KiB for
/// each, and room for a debug build.
const RESIDENT_KIB_MAX: u64 = 256 * 1024;

/// A number of KiB from what the kernel says about a process, such as `VmRSS`, or `VmHWM` for the most there ever was.
#[cfg(target_os = "linux")]
fn memory_kib(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[cfg(not(target_os = "linux"))]
fn memory_kib(_: &Server, _: &str) -> u64 {
    0
}

#[test]
fn thousands_of_clients_that_send_half_a_request_or_nothing_keep_nobody_waiting() {
    // As many as the machine lets one process have, if that is less.
    let allowed = rlimit::increase_nofile_limit(16_384).unwrap_or(1_024) as usize;
    let scale =
        |count: usize| count.min(count * allowed.saturating_sub(512) / (SLOW_HEADS + SLOW_BODIES + IDLE));
    let server = Server::dev();
    server.freeze_at("2030-01-07T08:00:00Z");
    let me = Caller::user(&server, USER_A);
    assert_eq!(me.set(USER_A, "Busy", "InACall", "PT4H").status, 200);
    let before = explanation(&me, USER_A);
    let (name, token) = me.authorization();
    let head = format!(
        "POST /v1.0/me/presence/setPresence HTTP/1.1\r\nHost: x\r\n{name}: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 4000000\r\n"
    );
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..scale(SLOW_HEADS) {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        open.push(stream);
    }
    for _ in 0..scale(SLOW_BODIES) {
        let mut stream = server.connect();
        stream.write_all(format!("{head}\r\n{{\"sessionId\":\"{APP}\",").as_bytes()).unwrap();
        open.push(stream);
    }
    for _ in 0..scale(IDLE) {
        open.push(server.connect());
    }
    assert_eq!(explanation(&me, USER_A), before);
    assert_eq!(me.pair(USER_A), "Busy/InACall");
    let resident = memory_kib(&server, "VmRSS");
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB with {} connections", open.len());
    assert_eq!(me.set(USER_A, "Away", "Away", "PT1H").status, 200);
    drop(open);
    assert_eq!(me.pair(USER_A), "Away/Away");
}

#[test]
fn what_is_too_large_does_not_stay_in_memory_however_often_it_is_sent() {
    let server = Server::dev();
    let me = Caller::user(&server, USER_A);
    let huge = vec![b' '; FIVE_MEGABYTES];
    let bomb = gzip(&vec![b' '; 1024 * 1024]).repeat(1024);
    let path = "/v1.0/me/presence/setPresence";
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let answer = me.post_bytes(path, &huge);
                    assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, "huge");
                    let answer = me.send("POST", path, &[JSON, ("Content-Encoding", "gzip")], &bomb);
                    assert_error(&answer, 413, "RequestEntityTooLarge", TOO_LARGE, "bomb");
                }
            });
        }
    });
    let peak = memory_kib(&server, "VmHWM");
    assert!(peak < RESIDENT_KIB_MAX, "{peak} KiB");
    assert_eq!(me.pair(USER_A), "Offline/Offline");
}
