//! JSON objects whose members are missing, of a wrong type, or out of range.

use serde_json::{Value, json};

use crate::bad_input::{UNREADABLE, Untouched, actions, assert_error, assert_refused, with};
use crate::support::{APP, USER_A};

const PAIR: &str = "The provided [Availability] and [Activity] are not a supported combination.";

const DURATION: &str = "The provided [ExpirationDuration] is out of range.";

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
