//! Thousands of requests that vary every parameter of every action over valid, boundary and invalid values, two at a time,
//! at each address and as each kind of caller, over a real socket.
//!
//! What must come of a request is said by a model that is written here from the contract (presence-api §5 to §13) and knows
//! nothing of the server: each value is valid or has the code by which it is refused. Where several are invalid, the answer
//! may name any of them.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::support::{APP, Answer, Caller, MONDAY, Server, USER_A, USER_B};

const INVALID: Option<&str> = Some("InvalidArgument");
const UNREADABLE: Option<&str> = Some("BadRequest");
const VALID: Option<&str> = None;
/// Somebody who is in no directory.
const NOBODY: &str = "00000000-0000-4000-8000-0000000000ff";
/// Fewer would not be worth the name.
const CASES_MIN: usize = 5_000;

/// A value of a parameter, `None` where it is left out, and the code by which it is refused by itself.
type Choice = (Option<Value>, Option<&'static str>);

struct Parameter {
    name: &'static str,
    /// The first is valid: what the parameter has while others vary.
    choices: Vec<Choice>,
}

/// An action, its parameters, and what makes two valid values invalid together.
struct Action {
    name: &'static str,
    parameters: Vec<Parameter>,
    pairs: Option<&'static [(&'static str, &'static str)]>,
    is_location: bool,
    /// Puts the parameters where the body has them.
    body: fn(Map<String, Value>) -> Value,
}

/// §6.
const SESSION_PAIRS: &[(&str, &str)] = &[
    ("Available", "Available"),
    ("Busy", "InACall"),
    ("Busy", "InAConferenceCall"),
    ("Away", "Away"),
    ("DoNotDisturb", "Presenting"),
];

/// §8.
const PREFERRED_PAIRS: &[(&str, &str)] = &[
    ("Available", "Available"),
    ("Busy", "Busy"),
    ("DoNotDisturb", "DoNotDisturb"),
    ("BeRightBack", "BeRightBack"),
    ("Away", "Away"),
    ("Offline", "OffWork"),
];

/// Who calls, and at which address.
struct Place<'s> {
    caller: &'s Caller<'s>,
    is_application: bool,
    path: String,
    /// Why a good request is refused all the same: status and code.
    barred: Option<(u16, &'static str)>,
}

#[test]
fn every_generated_request_is_answered_as_the_model_of_the_contract_says() {
    let server = Server::dev();
    server.freeze_at(MONDAY);
    let (app, own) = (Caller::application(&server), Caller::user(&server, USER_A));
    let mut cases = 0;
    for action in actions() {
        for place in places(&app, &own) {
            for choices in combinations(&action.parameters) {
                judge(&action, &place, &choices);
                cases += 1;
            }
        }
    }
    cases += clearing(&app) + many(&app) + reading(&app, &own);
    writeln!(std::io::stderr(), "\ngenerated requests: {cases}").unwrap();
    assert!(cases >= CASES_MIN, "{cases}");
}

/// Sends one request and compares the answer with the model's.
fn judge(action: &Action, place: &Place<'_>, choices: &[(&'static str, &Choice)]) {
    let given = choices.iter().filter_map(|(name, (value, _))| Some(((*name).to_owned(), value.clone()?)));
    let body = (action.body)(given.collect());
    let path = format!("{}/{}", place.path, action.name);
    let answer = place.caller.post(&path, &body);
    let what = || format!("{path} {body}");

    let mut codes: Vec<&str> = choices.iter().filter_map(|(_, (_, code))| *code).collect();
    if let Some(pairs) = action.pairs {
        let word = |name: &str| {
            let (_, (value, _)) = choices.iter().find(|(parameter, _)| *parameter == name).unwrap();
            value.as_ref().and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase()
        };
        let (availability, activity) = (word("availability"), word("activity"));
        let is_pair = |(a, b): &(&str, &str)| {
            a.eq_ignore_ascii_case(&availability) && b.eq_ignore_ascii_case(&activity)
        };
        if !pairs.iter().any(is_pair) {
            codes.push("InvalidArgument");
        }
    }
    let me_of_an_application = place.is_application && place.path.ends_with("/me/presence");
    if me_of_an_application {
        refused(&answer, 400, &["BadRequest"], &what());
    } else if !codes.is_empty() {
        refused(&answer, 400, &codes, &what());
    } else if action.is_location && place.is_application {
        refused(&answer, 403, &["Forbidden"], &what());
    } else if let Some((status, code)) = place.barred {
        refused(&answer, status, &[code], &what());
    } else {
        done(&answer, &what());
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, codes: &[&str], what: &str) {
    assert_eq!(answer.status, status, "{what}: expected {codes:?}");
    let (found, code, _) = answer.error();
    assert!(
        found == status && codes.contains(&code.as_str()),
        "{what}: {found} {code}, expected {status} {codes:?}"
    );
}

#[track_caller]
fn done(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{what}: {answer:?}");
}

fn places<'s>(app: &'s Caller<'s>, own: &'s Caller<'s>) -> Vec<Place<'s>> {
    let at = |caller, is_application, path: String, barred| Place { caller, is_application, path, barred };
    let other = Some((401, "Unauthorized"));
    vec![
        at(app, true, format!("/v1.0/users/{USER_A}/presence"), None),
        at(app, true, format!("/beta/communications/presences/{USER_A}"), None),
        at(app, true, "/v1.0/me/presence".to_owned(), None),
        at(app, true, format!("/v1.0/users/{NOBODY}/presence"), Some((404, "NotFound"))),
        at(own, false, "/v1.0/me/presence".to_owned(), None),
        at(own, false, format!("/v1.0/users('{USER_A}')/presence"), None),
        at(own, false, format!("/v1.0/communications/presences/{USER_B}"), other),
    ]
}

/// All pairs of choices of two parameters, the others valid; each one once.
fn combinations(parameters: &[Parameter]) -> Vec<Vec<(&'static str, &Choice)>> {
    let valid: Vec<_> = parameters.iter().map(|parameter| (parameter.name, &parameter.choices[0])).collect();
    if let [one] = parameters {
        return one.choices.iter().map(|choice| vec![(one.name, choice)]).collect();
    }
    let mut all = vec![valid.clone()];
    for first in 0..parameters.len() {
        for second in first + 1..parameters.len() {
            for one in &parameters[first].choices {
                for other in &parameters[second].choices {
                    let mut choices = valid.clone();
                    choices[first].1 = one;
                    choices[second].1 = other;
                    all.push(choices);
                }
            }
        }
    }
    all
}

fn actions() -> Vec<Action> {
    let whole: fn(Map<String, Value>) -> Value = Value::Object;
    let location = |name| Action {
        name,
        parameters: vec![
            Parameter { name: "workLocationType", choices: location_types() },
            Parameter { name: "placeId", choices: places_of_work() },
        ],
        pairs: None,
        is_location: true,
        body: whole,
    };
    vec![
        Action {
            name: "setPresence",
            parameters: vec![
                Parameter { name: "sessionId", choices: session_ids() },
                Parameter { name: "availability", choices: words("Away", &AVAILABILITIES) },
                Parameter { name: "activity", choices: words("Away", &ACTIVITIES) },
                Parameter { name: "expirationDuration", choices: durations(true) },
            ],
            pairs: Some(SESSION_PAIRS),
            is_location: false,
            body: whole,
        },
        Action {
            name: "microsoft.graph.setUserPreferredPresence",
            parameters: vec![
                Parameter { name: "availability", choices: words("Away", &AVAILABILITIES) },
                Parameter { name: "activity", choices: words("Away", &ACTIVITIES) },
                Parameter { name: "expirationDuration", choices: durations(false) },
            ],
            pairs: Some(PREFERRED_PAIRS),
            is_location: false,
            body: whole,
        },
        Action {
            name: "setStatusMessage",
            parameters: vec![
                Parameter { name: "content", choices: contents() },
                Parameter { name: "contentType", choices: content_types() },
                Parameter { name: "dateTime", choices: date_times() },
                Parameter { name: "timeZone", choices: zones() },
            ],
            pairs: None,
            is_location: false,
            body: status_message,
        },
        location("setManualLocation"),
        location("microsoft.graph.setAutomaticLocation"),
    ]
}

fn status_message(mut given: Map<String, Value>) -> Value {
    let mut pick = |names: [&str; 2]| {
        let members = names.into_iter().filter_map(|name| Some((name.to_owned(), given.remove(name)?)));
        Value::Object(members.collect())
    };
    let (message, ends) = (pick(["content", "contentType"]), pick(["dateTime", "timeZone"]));
    json!({ "statusMessage": { "message": message, "expiryDateTime": ends } })
}

const AVAILABILITIES: [&str; 9] = [
    "Available",
    "AvailableIdle",
    "Away",
    "BeRightBack",
    "Busy",
    "BusyIdle",
    "DoNotDisturb",
    "Offline",
    "PresenceUnknown",
];

const ACTIVITIES: [&str; 16] = [
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
];

/// Words are valid or not only in pairs; here the shapes that are wrong by themselves.
fn words(valid: &str, words: &[&str]) -> Vec<Choice> {
    let known = words.iter().map(|word| (Some(json!(word)), VALID));
    let lower = words.iter().take(3).map(|word| (Some(json!(word.to_ascii_lowercase())), VALID));
    let wrong = [
        (None, INVALID),
        (Some(Value::Null), INVALID),
        (Some(json!("")), INVALID),
        (Some(json!("Sleeping")), INVALID),
        (Some(json!(7)), UNREADABLE),
        (Some(json!(["Away"])), UNREADABLE),
    ];
    [(Some(json!(valid)), VALID)].into_iter().chain(known).chain(lower).chain(wrong).collect()
}

fn session_ids() -> Vec<Choice> {
    vec![
        (Some(json!(APP)), VALID),
        (Some(json!(APP.to_ascii_uppercase())), VALID),
        (Some(json!(NOBODY)), INVALID),
        (Some(json!("my session")), INVALID),
        (Some(json!("")), INVALID),
        (Some(Value::Null), INVALID),
        (None, INVALID),
        (Some(json!(1)), UNREADABLE),
        (Some(json!({})), UNREADABLE),
    ]
}

/// §6: five minutes to four hours, both allowed. §8: anything above nothing.
fn durations(of_session: bool) -> Vec<Choice> {
    let ranged = if of_session { INVALID } else { VALID };
    vec![
        (Some(json!("PT1H")), VALID),
        (None, VALID),
        (Some(Value::Null), VALID),
        (Some(json!("PT5M")), VALID),
        (Some(json!("PT300S")), VALID),
        (Some(json!("PT4H")), VALID),
        (Some(json!("P0DT3H59M59.999S")), VALID),
        (Some(json!("PT4M59S")), ranged),
        (Some(json!("PT299.999S")), ranged),
        (Some(json!("PT4H0.001S")), ranged),
        (Some(json!("P1D")), ranged),
        (Some(json!("PT0S")), INVALID),
        (Some(json!("-PT5M")), INVALID),
        (Some(json!("P1Y")), UNREADABLE),
        (Some(json!("an hour")), UNREADABLE),
        (Some(json!(3_600)), UNREADABLE),
    ]
}

fn contents() -> Vec<Choice> {
    vec![
        (Some(json!("Back at three")), VALID),
        (Some(json!("\u{1f30d} \u{0} \"quoted\"")), VALID),
        (Some(json!("x".repeat(280))), VALID),
        (Some(json!(1)), UNREADABLE),
    ]
}

fn content_types() -> Vec<Choice> {
    vec![
        (Some(json!("text")), VALID),
        (None, VALID),
        (Some(Value::Null), VALID),
        (Some(json!("html")), INVALID),
        (Some(json!(0)), UNREADABLE),
    ]
}

/// The clock stands on a Monday, 2030-01-07T08:00Z.
fn date_times() -> Vec<Choice> {
    vec![
        (Some(json!("2031-06-01T12:00:00")), VALID),
        (Some(json!("2031-06-01T12:00:00.1234567")), VALID),
        (Some(json!("2020-01-01T00:00:00")), INVALID),
        (Some(json!("2031-06-01T12:00:00Z")), INVALID),
        (Some(json!("2031-06-01T12:00:00+02:00")), INVALID),
        (Some(json!("2031-02-30T12:00:00")), INVALID),
        (Some(json!("soon")), INVALID),
        (Some(json!(1)), UNREADABLE),
    ]
}

fn zones() -> Vec<Choice> {
    vec![
        (Some(json!("UTC")), VALID),
        (None, VALID),
        (Some(Value::Null), VALID),
        (Some(json!("Pacific Standard Time")), VALID),
        (Some(json!("Europe/Berlin")), VALID),
        (Some(json!("Middle-earth Standard Time")), INVALID),
        (Some(json!(1)), UNREADABLE),
    ]
}

/// §10.
fn location_types() -> Vec<Choice> {
    vec![
        (Some(json!("office")), VALID),
        (Some(json!("remote")), VALID),
        (Some(json!("timeOff")), VALID),
        (Some(json!("unspecified")), INVALID),
        (Some(json!("unknownFutureValue")), INVALID),
        (None, INVALID),
        (Some(Value::Null), INVALID),
        (Some(json!("moon")), UNREADABLE),
        (Some(json!(1)), UNREADABLE),
    ]
}

fn places_of_work() -> Vec<Choice> {
    vec![
        (Some(json!("7d6c5b4a-0000-4000-8000-1234567890ab")), VALID),
        (None, VALID),
        (Some(Value::Null), VALID),
        (Some(json!("building 7")), VALID),
        (Some(json!(7)), UNREADABLE),
    ]
}

/// clearPresence, whose answer hangs on what was set: a model of one bit.
fn clearing(app: &Caller<'_>) -> usize {
    let mut has_session = app.clear(USER_B).status == 200;
    assert!(!has_session, "nobody set one for this user");
    let mut cases = 1;
    for round in 0..20_usize {
        if round % 3 == 0 {
            assert_eq!(app.set(USER_B, "Away", "Away", "PT1H").status, 200);
            has_session = true;
        }
        for (value, code) in session_ids() {
            let body = value.map_or_else(|| json!({}), |id| json!({ "sessionId": id }));
            let answer = app.post(&format!("/v1.0/users/{USER_B}/presence/clearPresence"), &body);
            match code {
                Some(code) => refused(&answer, 400, &[code], &body.to_string()),
                None if !has_session => refused(&answer, 404, &["NotFound"], &body.to_string()),
                None => {
                    done(&answer, &body.to_string());
                    has_session = false;
                }
            }
            cases += 1;
        }
    }
    cases
}

/// getPresencesByUserId: lists of every length around the limit, and lists that are none.
fn many(app: &Caller<'_>) -> usize {
    let path = "/v1.0/communications/getPresencesByUserId";
    let guids = |count: usize| -> Vec<Value> {
        (0..count).map(|number| json!(format!("00000000-0000-4000-9000-{number:012}"))).collect()
    };
    let mut cases = 0;
    for count in (0..20).chain(640..=660) {
        let answer = app.post(path, &json!({ "ids": guids(count) }));
        match count <= 650 {
            true => assert_eq!(answer.json()["value"].as_array().unwrap().len(), count),
            false => refused(&answer, 400, &["InvalidArgument"], &count.to_string()),
        }
        cases += 1;
    }
    let wrong = [
        (json!({}), "InvalidArgument"),
        (json!({ "ids": null }), "InvalidArgument"),
        (json!({ "ids": USER_A }), "BadRequest"),
        (json!({ "ids": [1] }), "BadRequest"),
        (json!({ "ids": [null] }), "BadRequest"),
        (json!({ "ids": [USER_A, "nobody"] }), "InvalidArgument"),
        (json!([]), "BadRequest"),
    ];
    for (body, code) in &wrong {
        refused(&app.post(path, body), 400, &[code], &body.to_string());
    }
    cases + wrong.len()
}

/// Reads with every selection of up to two members, known and unknown, at every address.
fn reading(app: &Caller<'_>, own: &Caller<'_>) -> usize {
    let members = [
        "id",
        "availability",
        "activity",
        "statusMessage",
        "outOfOfficeSettings",
        "sequenceNumber",
        "workLocation",
        "mood",
        "Availability2",
    ];
    let mut cases = 0;
    for (caller, path) in [
        (app, format!("/v1.0/users/{USER_A}/presence")),
        (app, format!("/beta/communications/presences/{USER_A}")),
        (own, "/v1.0/me/presence".to_owned()),
    ] {
        for one in members {
            for other in members {
                let answer = caller.get(&format!("{path}?%24select={one},{other}"));
                let known = |name: &str| members[..7].contains(&name);
                if known(one) && known(other) {
                    let read = answer.json();
                    let has = |name: &str| read.get(name).is_some();
                    assert!(has(one) && has(other), "{read}");
                    let others = members[..7].iter().filter(|name| ![one, other, "id"].contains(name));
                    assert!(others.clone().all(|name| !has(name)), "{one},{other}: {read}");
                } else {
                    refused(&answer, 400, &["BadRequest"], &format!("{one},{other}"));
                }
                cases += 1;
            }
        }
    }
    cases
}
