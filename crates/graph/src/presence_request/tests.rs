use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const APP: AppId = AppId::from_u128(0xA);
const APP_TEXT: &str = "00000000-0000-0000-0000-00000000000a";
const NOW: &str = "2026-03-02T12:00:00Z";

fn with<T>(body: &Value, parse: impl Fn(Body<'_>) -> Result<T, GraphError>) -> Result<T, GraphError> {
    parse(Body::json(body.to_string().as_bytes()))
}

fn set(body: &Value) -> Result<Command, GraphError> {
    with(body, |body| set_presence(body, APP))
}

fn session(availability: &str, activity: &str) -> Value {
    json!({ "sessionId": APP_TEXT, "availability": availability, "activity": activity })
}

fn status(body: &Value) -> Result<Command, GraphError> {
    with(body, |body| set_status_message(body, NOW.parse().unwrap()))
}

fn manual(body: &Value) -> Result<Command, GraphError> {
    with(body, |body| set_manual_location(body, TimeZone::UTC))
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, GraphError>) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.status, error.code.as_str()), (400, "InvalidArgument"), "{}", error.message);
    error.message.into_owned()
}

#[track_caller]
fn unreadable<T: std::fmt::Debug>(result: Result<T, GraphError>) {
    assert_eq!(result.unwrap_err(), GraphError::unreadable_payload());
}

fn add(mut body: Value, name: &str, value: impl Into<Value>) -> Value {
    body[name] = value.into();
    body
}

// Section 5: getPresencesByUserId.

fn ids(ids: impl Into<Value>) -> Result<Vec<UserId>, GraphError> {
    with(&json!({ "ids": ids.into() }), |body| get_presences_by_user_id(body, IDS_MAX))
}

fn many(count: u128) -> Vec<String> {
    (0..count).map(|number| UserId::from_u128(number).to_string()).collect()
}

#[test]
fn ids_are_distinct_without_case_in_order_of_first_appearance() {
    let (a, b) = ("00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b");
    let found = ids(vec![b, a, &a.to_uppercase(), b]).unwrap();
    assert_eq!(found, [UserId::from_u128(0xB), UserId::from_u128(0xA)]);
}

#[test]
fn ids_are_the_same_however_their_array_is_spelled() {
    let (a, b) = ("00000000-0000-0000-0000-00000000000a", "0000000B-0000-0000-0000-00000000000b");
    let expected: Vec<UserId> = [a, b].map(|id| id.parse().unwrap()).into();
    for array in [
        format!("[\"{a}\",\"{b}\"]"),
        format!("[ \"{a}\" ,\n\t\"{b}\"\r\n]"),
        format!("[\"{a}\",\"\\u0030{}\"]", &b[1..]),
    ] {
        for body in [
            format!("{{\"ids\":{array}}}"),
            format!("\r\n{{ \"ids\"\t: {array} }}\n"),
            format!("{{\"Ids\" : {array} }}"),
            format!("{{\"x\":1,\"ids\":{array}}}"),
            format!("{{\"ids\":{array},\"x\":1}}"),
            format!("\u{feff}{{\"ids\":{array}}}"),
        ] {
            let read = |ids_max| get_presences_by_user_id(Body::json(body.as_bytes()), ids_max);
            assert_eq!(read(2), Ok(expected.clone()), "{body}");
            assert!(read(1).is_err(), "{body}");
        }
        for (before, after) in
            [("{\"ids\":", "} x"), ("{\"ids\":", ""), ("\x0c{\"ids\":", "}"), ("{\"ids\" ", "}")]
        {
            let body = format!("{before}{array}{after}");
            unreadable(get_presences_by_user_id(Body::json(body.as_bytes()), 2));
        }
        let body = format!("{{\"ids\":{array}}}");
        let as_text = Body { content_type: Some("text/plain"), ..Body::json(body.as_bytes()) };
        unreadable(get_presences_by_user_id(as_text, 2));
    }
    for array in [
        format!("[\"{a}\",]"),
        format!("[\"{a}\" \"{b}\"]"),
        format!("[\"{a}\",\x0c\"{b}\"]"),
        format!("[\"{a}\""),
        format!("[,\"{a}\"]"),
    ] {
        let body = format!("{{\"ids\":{array}}}");
        unreadable(get_presences_by_user_id(Body::json(body.as_bytes()), 2));
    }
    invalid(ids(vec![&a[1..]]));
    invalid(ids(vec![format!("{a}0")]));
    invalid(ids(vec![format!("é{}", &a[2..])]));
}

#[test]
fn six_hundred_and_fifty_ids_are_allowed_and_one_more_is_not_even_as_a_duplicate() {
    assert_eq!(ids(many(650)).unwrap().len(), 650);
    invalid(ids(many(651)));
    let mut duplicated = many(650);
    duplicated.push(duplicated[0].clone());
    invalid(ids(duplicated));
}

#[test]
fn missing_or_null_ids_are_required_and_empty_ids_are_fine() {
    let required = "[Ids]: The Ids field is required.";
    assert_eq!(invalid(with(&json!({}), |body| get_presences_by_user_id(body, IDS_MAX))), required);
    assert_eq!(invalid(ids(Value::Null)), required);
    assert_eq!(ids(json!([])), Ok(vec![]));
}

#[test]
fn an_id_that_is_no_string_is_unreadable_and_one_that_is_no_guid_is_invalid() {
    unreadable(ids(json!([1])));
    unreadable(ids(json!([null])));
    unreadable(ids(json!("x")));
    unreadable(ids(json!({})));
    invalid(ids(json!(["x"])));
    invalid(ids(json!([""])));
}

// Section 6: setPresence.

#[test]
fn the_five_session_pairs_are_accepted_in_any_case_and_no_other() {
    let words = [
        "Available",
        "Busy",
        "InACall",
        "InAConferenceCall",
        "Away",
        "DoNotDisturb",
        "Presenting",
        "BeRightBack",
        "Offline",
        "OffWork",
        "AvailableInactive",
        "InAMeeting",
        "OutOfOffice",
        "PresenceUnknown",
        "",
    ];
    let legal = [
        ("Available", "Available"),
        ("Busy", "InACall"),
        ("Busy", "InAConferenceCall"),
        ("Away", "Away"),
        ("DoNotDisturb", "Presenting"),
    ];
    for availability in words {
        for activity in words {
            let result = set(&session(&availability.to_uppercase(), &activity.to_lowercase()));
            assert_eq!(
                result.is_ok(),
                legal.contains(&(availability, activity)),
                "{availability}/{activity}"
            );
        }
    }
    assert_eq!(
        invalid(set(&session("Busy", "Busy"))),
        "The provided [Availability] and [Activity] are not a supported combination."
    );
}

#[test]
fn missing_members_are_required_one_by_one() {
    let required = |member: &str| format!("[{member}]: The {member} field is required.");
    assert_eq!(invalid(set(&json!({}))), required("SessionId"));
    assert_eq!(invalid(set(&json!({ "sessionId": null }))), required("SessionId"));
    assert_eq!(invalid(set(&json!({ "sessionId": "" }))), required("SessionId"));
    assert_eq!(invalid(set(&json!({ "sessionId": APP_TEXT, "activity": "Away" }))), required("Availability"));
    assert_eq!(invalid(set(&json!({ "sessionId": APP_TEXT, "availability": "Away" }))), required("Activity"));
}

#[test]
fn the_session_id_is_the_application_id_of_the_token_without_case() {
    assert!(set(&add(session("Away", "Away"), "sessionId", APP_TEXT.to_uppercase())).is_ok());
    invalid(set(&add(session("Away", "Away"), "sessionId", AppId::from_u128(0xB).to_string())));
    invalid(set(&add(session("Away", "Away"), "sessionId", "desk")));
}

#[test]
fn a_session_lives_five_minutes_to_four_hours_and_five_minutes_by_default() {
    let lifetime = |duration: &str| match set(&add(session("Away", "Away"), "expirationDuration", duration)) {
        Ok(Command::SetPresence { lifetime, .. }) => Ok(lifetime.duration()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(lifetime("PT5M"), Ok(SignedDuration::from_mins(5)));
    assert_eq!(lifetime("PT4H"), Ok(SignedDuration::from_hours(4)));
    assert_eq!(lifetime("P0DT3600S"), Ok(SignedDuration::from_hours(1)));
    assert_eq!(lifetime("1:00:00"), Ok(SignedDuration::from_hours(1)));
    for outside in ["PT4M59.999S", "PT4H0.001S", "PT0S", "-PT1H", "P99999999999999999999D"] {
        assert_eq!(
            invalid(lifetime(outside)),
            "The provided [ExpirationDuration] is out of range.",
            "{outside}"
        );
    }
    for no_duration in ["", "P1M", "one hour"] {
        unreadable(lifetime(no_duration));
    }
    let expected =
        Command::SetPresence { app: APP, pair: SessionPair::Away, lifetime: SessionLifetime::default() };
    assert_eq!(set(&session("Away", "Away")), Ok(expected.clone()));
    assert_eq!(set(&add(session("Away", "Away"), "expirationDuration", Value::Null)), Ok(expected));
}

#[test]
fn a_wrong_type_is_unreadable_before_anything_is_missing() {
    unreadable(set(&json!({ "availability": 1 })));
    unreadable(set(&json!({ "sessionId": ["x"] })));
    unreadable(set(&json!({ "expirationDuration": 300 })));
    unreadable(set(&json!({ "activity": { "x": 1 } })));
}

#[test]
fn unknown_members_are_ignored() {
    let body = add(add(session("Away", "Away"), "@odata.type", "#x"), "colour", json!({ "deep": [1] }));
    assert!(set(&body).is_ok());
}

// Section 7: clearPresence.

#[test]
fn clearing_needs_the_applications_own_session_id() {
    let clear = |body: &Value| with(body, |body| clear_presence(body, APP));
    assert_eq!(clear(&json!({ "sessionId": APP_TEXT })), Ok(Command::ClearPresence { app: APP }));
    assert_eq!(invalid(clear(&json!({}))), "[SessionId]: The SessionId field is required.");
    invalid(clear(&json!({ "sessionId": AppId::from_u128(0xB).to_string() })));
    assert_eq!(clear_presence(Body::default(), APP), Err(GraphError::empty_payload()));
}

// Section 8: preferred presence.

#[test]
fn the_six_preferred_pairs_are_accepted_and_no_other() {
    let words = [
        "Available",
        "Busy",
        "DoNotDisturb",
        "BeRightBack",
        "Away",
        "Offline",
        "OffWork",
        "InACall",
        "Presenting",
    ];
    let legal = [
        ("Available", "Available"),
        ("Busy", "Busy"),
        ("DoNotDisturb", "DoNotDisturb"),
        ("BeRightBack", "BeRightBack"),
        ("Away", "Away"),
        ("Offline", "OffWork"),
    ];
    for availability in words {
        for activity in words {
            let body = json!({ "availability": availability, "activity": activity });
            let result = with(&body, set_user_preferred_presence);
            assert_eq!(
                result.is_ok(),
                legal.contains(&(availability, activity)),
                "{availability}/{activity}"
            );
        }
    }
    invalid(with(&json!({ "availability": "Offline", "activity": "Offline" }), set_user_preferred_presence));
}

#[test]
fn a_preference_lasts_a_day_or_seven_unless_it_says_how_long() {
    let lifetime = |availability: &str, activity: &str, duration: Value| {
        let body =
            json!({ "availability": availability, "activity": activity, "expirationDuration": duration });
        match with(&body, set_user_preferred_presence) {
            Ok(Command::SetPreferredPresence { lifetime, .. }) => Ok(lifetime.duration().as_hours()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    for (availability, activity, hours) in [
        ("Busy", "Busy", 24),
        ("DoNotDisturb", "DoNotDisturb", 24),
        ("Available", "Available", 168),
        ("BeRightBack", "BeRightBack", 168),
        ("Away", "Away", 168),
        ("Offline", "OffWork", 168),
    ] {
        assert_eq!(lifetime(availability, activity, Value::Null), Ok(hours), "{availability}");
    }
    assert_eq!(lifetime("Busy", "Busy", "PT8H".into()), Ok(8));
    assert_eq!(lifetime("Busy", "Busy", "P1D".into()), Ok(24));
    for outside in ["PT0S", "-PT1S", "P400D"] {
        let message = invalid(lifetime("Busy", "Busy", outside.into()));
        assert_eq!(message, "The provided [ExpirationDuration] is out of range.", "{outside}");
    }
}

#[test]
fn a_session_id_in_a_preference_is_an_unknown_member() {
    let body = json!({ "sessionId": "anything", "availability": "Busy", "activity": "Busy" });
    assert!(with(&body, set_user_preferred_presence).is_ok());
}

#[test]
fn a_preference_needs_both_words() {
    let required = |member: &str| format!("[{member}]: The {member} field is required.");
    assert_eq!(invalid(with(&json!({}), set_user_preferred_presence)), required("Availability"));
    assert_eq!(
        invalid(with(&json!({ "availability": "Busy" }), set_user_preferred_presence)),
        required("Activity")
    );
}

// Section 9: status message.

fn message(status_message: impl Into<Value>) -> Value {
    json!({ "statusMessage": status_message.into() })
}

#[track_caller]
fn published(body: &Value) -> NewStatusMessage {
    match status(body) {
        Ok(Command::SetStatusMessage(Some(message))) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_without_an_expiry_never_expires() {
    let body = message(json!({ "message": { "content": "Back at three", "contentType": "text" } }));
    let published = published(&body);
    assert_eq!((published.text.as_str(), published.expires_at), ("Back at three", None));
    let null = message(
        json!({ "message": { "content": "x" }, "expiryDateTime": null, "publishedDateTime": "ignored" }),
    );
    assert_eq!(self::published(&null).expires_at, None);
}

#[test]
fn an_expiry_is_read_in_its_zone() {
    let expiry = |date_time: &str, zone: Value| {
        message(
            json!({ "message": { "content": "x" }, "expiryDateTime": { "dateTime": date_time, "timeZone": zone } }),
        )
    };
    for zone in [json!("Pacific Standard Time"), json!("America/Los_Angeles")] {
        let at = published(&expiry("2026-03-02T15:00:00.0000000", zone)).expires_at;
        assert_eq!(at, Some("2026-03-02T23:00:00Z".parse().unwrap()));
    }
    let at = published(&expiry("2026-03-02T15:00:00", Value::Null)).expires_at;
    assert_eq!(at, Some("2026-03-02T15:00:00Z".parse().unwrap()));
    invalid(status(&expiry("2026-03-02T15:00:00", json!("Mars"))));
    invalid(status(&expiry("2026-03-02T15:00:00Z", json!("UTC"))));
    invalid(status(&expiry("2026-03-02T15:00:00+01:00", json!("UTC"))));
    unreadable(status(&expiry("2026-03-02T15:00:00", json!(1))));
    let no_time = message(json!({ "message": { "content": "x" }, "expiryDateTime": {} }));
    assert_eq!(invalid(status(&no_time)), "[DateTime]: The DateTime field is required.");
}

#[test]
fn an_expiry_that_is_not_after_now_is_refused() {
    let at = |time: &str| {
        message(json!({ "message": { "content": "x" }, "expiryDateTime": { "dateTime": time } }))
    };
    invalid(status(&at("2026-03-02T12:00:00")));
    invalid(status(&at("2026-03-02T11:59:59.9999999")));
    published(&at("2026-03-02T12:00:00.0000001"));
}

#[test]
fn html_is_refused_and_an_unknown_content_type_is_unreadable() {
    let typed =
        |content_type: Value| message(json!({ "message": { "content": "x", "contentType": content_type } }));
    invalid(status(&typed("html".into())));
    invalid(status(&typed("HTML".into())));
    unreadable(status(&typed("markdown".into())));
    published(&typed("Text".into()));
    published(&typed(Value::Null));
}

#[test]
fn an_empty_or_null_message_clears() {
    for cleared in [
        message(json!({ "message": { "content": "", "contentType": "text" } })),
        message(json!({ "message": { "content": null } })),
        message(json!({ "message": null })),
        message(json!({})),
        message(Value::Null),
    ] {
        assert_eq!(status(&cleared), Ok(Command::SetStatusMessage(None)), "{cleared}");
    }
}

#[test]
fn a_body_that_does_not_name_the_status_message_is_refused() {
    assert_eq!(invalid(status(&json!({}))), "[StatusMessage]: The StatusMessage field is required.");
}

#[test]
fn a_message_of_280_characters_is_kept_and_an_absurd_one_is_refused() {
    let of = |length: usize| message(json!({ "message": { "content": "é".repeat(length) } }));
    published(&of(280));
    published(&of(presence::limits::STATUS_MESSAGE_CHARS_MAX));
    invalid(status(&of(presence::limits::STATUS_MESSAGE_CHARS_MAX + 1)));
}

#[test]
fn wrong_types_in_a_status_message_are_unreadable() {
    unreadable(status(&message("x")));
    unreadable(status(&message(json!({ "message": "x" }))));
    unreadable(status(&message(json!({ "message": { "content": 1 } }))));
    unreadable(status(&message(
        json!({ "message": { "content": "x" }, "expiryDateTime": "2026-03-02T15:00:00" }),
    )));
}

// Section 10: work location.

#[test]
fn office_remote_and_time_off_may_be_set_with_or_without_a_place() {
    for (word, kind) in [
        ("office", LocationKind::Office),
        ("Remote", LocationKind::Remote),
        ("timeoff", LocationKind::TimeOff),
    ] {
        let location = Location { kind, place: None };
        let body = json!({ "workLocationType": word });
        assert_eq!(manual(&body), Ok(Command::SetManualLocation { location, zone: TimeZone::UTC }));
        let location = Location { kind, place: PlaceId::new("7d6c").unwrap() };
        let body = json!({ "workLocationType": word, "placeId": "7d6c" });
        let automatic = with(&body, |body| set_automatic_location(body, APP, TimeZone::UTC));
        assert_eq!(automatic, Ok(Command::SetAutomaticLocation { app: APP, location, zone: TimeZone::UTC }));
    }
}

#[test]
fn other_members_of_the_enum_are_invalid_and_other_words_are_unreadable() {
    invalid(manual(&json!({ "workLocationType": "unspecified" })));
    invalid(manual(&json!({ "workLocationType": "unknownFutureValue" })));
    unreadable(manual(&json!({ "workLocationType": "beach" })));
    unreadable(manual(&json!({ "workLocationType": 1 })));
    let required = "[WorkLocationType]: The WorkLocationType field is required.";
    assert_eq!(invalid(manual(&json!({}))), required);
    assert_eq!(invalid(manual(&json!({ "workLocationType": null }))), required);
}

#[test]
fn a_place_too_long_is_refused() {
    let of = |length: usize| json!({ "workLocationType": "office", "placeId": "x".repeat(length) });
    assert!(manual(&of(presence::limits::PLACE_ID_CHARS_MAX)).is_ok());
    invalid(manual(&of(presence::limits::PLACE_ID_CHARS_MAX + 1)));
}

fn parse_all(body: Body<'_>) {
    let _ = get_presences_by_user_id(body, IDS_MAX);
    let _ = set_presence(body, APP);
    let _ = clear_presence(body, APP);
    let _ = set_user_preferred_presence(body);
    let _ = set_status_message(body, NOW.parse().unwrap());
    let _ = set_manual_location(body, TimeZone::UTC);
    let _ = crate::calendar::out_of_office(body.bytes);
    let _ = crate::calendar::schedule(body.bytes);
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("sessionId"),
        Just("availability"),
        Just("activity"),
        Just("expirationDuration"),
        Just("statusMessage"),
        Just("message"),
        Just("content"),
        Just("contentType"),
        Just("expiryDateTime"),
        Just("dateTime"),
        Just("timeZone"),
        Just("ids"),
        Just("workLocationType"),
        Just("placeId"),
        Just("value"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!("Available")),
        Just(json!(APP_TEXT)),
        Just(json!("PT1H")),
        Just(json!("2026-03-02T15:00:00")),
        Just(json!("office")),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((names.clone(), inner), 0..6).prop_map(|members| Value::Object(
                members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), value in any_json()) {
        parse_all(Body::json(&bytes));
        parse_all(Body::json(value.to_string().as_bytes()));
    }
}
