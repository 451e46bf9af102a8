//! What must come of a request: each value of each parameter is valid or has the code by which it is refused (presence-api §5 to
//! §10, change-notifications §2), and what is asked for is handed to the rules, which say what everyone sees then.
//!
//! Nothing here knows the server. A parameter that the schema has and the model does not is a failure.

use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};
use presence::{
    Activity, Availability, Command, Location, LocationKind, LocationSource, NewStatusMessage, PlaceId,
    PreferredLifetime, PreferredPair, PresenceError, SessionLifetime, SessionPair, StatusText, Timestamp,
    UserPresence,
};
use serde_json::{Value, json};

use crate::support::{APP, MONDAY, USER_A, USER_B};

const INVALID: Option<&str> = Some("InvalidArgument");
const UNREADABLE: Option<&str> = Some("BadRequest");
const REFUSED: Option<&str> = Some("InvalidRequest");
const VALID: Option<&str> = None;
/// Somebody who is in no directory.
pub(super) const NOBODY: &str = "00000000-0000-4000-8000-0000000000ff";

/// A value of a parameter, `None` where it is left out, and the code by which it is refused by itself.
pub(super) type Choice = (Option<Value>, Option<&'static str>);

/// What a parameter may be given. The first is valid: what it has while others vary.
pub(super) fn choices(action: &str, parameter: &str) -> Vec<Choice> {
    match (action, parameter) {
        ("setPresence" | "clearPresence", "sessionId") => session_ids(),
        ("setPresence" | "setUserPreferredPresence", "availability") => words("Away", &AVAILABILITIES),
        ("setPresence" | "setUserPreferredPresence", "activity") => words("Away", &ACTIVITIES),
        ("setPresence", "expirationDuration") => durations(true),
        ("setUserPreferredPresence", "expirationDuration") => durations(false),
        ("setStatusMessage", "statusMessage/message/content") => contents(),
        ("setStatusMessage", "statusMessage/message/contentType") => content_types(),
        ("setStatusMessage", "statusMessage/publishedDateTime") => published(),
        ("setStatusMessage", "statusMessage/expiryDateTime/dateTime") => date_times(),
        ("setStatusMessage", "statusMessage/expiryDateTime/timeZone") => zones(),
        ("setManualLocation" | "setAutomaticLocation", "workLocationType") => location_types(),
        ("setManualLocation" | "setAutomaticLocation", "placeId") => places_of_work(),
        ("createSubscription", name) => of_subscription(name),
        _ => panic!("the model knows no {parameter} of {action}"),
    }
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

/// Why values that are each valid are not valid together.
pub(super) fn refusal_of_all(action: &str, body: &Value) -> Option<&'static str> {
    let pairs = match action {
        "setPresence" => SESSION_PAIRS,
        "setUserPreferredPresence" => PREFERRED_PAIRS,
        "createSubscription" => {
            let has = |name: &str| body.get(name).is_some_and(Value::is_string);
            let (certificate, id) = (has("encryptionCertificate"), has("encryptionCertificateId"));
            let is_rich = body["includeResourceData"] == true;
            return if certificate != id || (is_rich && !certificate) { REFUSED } else { VALID };
        }
        _ => return VALID,
    };
    let is = |word: &str, value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word));
    let is_pair = pairs.iter().any(|(a, b)| is(a, &body["availability"]) && is(b, &body["activity"]));
    if is_pair { VALID } else { INVALID }
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

/// Only the service says when a message was published: what a caller says is passed over.
fn published() -> Vec<Choice> {
    vec![(None, VALID), (Some(json!("2020-01-01T00:00:00Z")), VALID), (Some(Value::Null), VALID)]
}

/// A member of a subscription; see `receiver` in the test for the notification URL.
fn of_subscription(name: &str) -> Vec<Choice> {
    let text = |text: &str| Some(json!(text));
    let one = format!("/communications/presences/{USER_A}");
    let two = format!("communications/presences?$filter=id in ('{USER_A}','{USER_B}')");
    match name {
        "changeType" => vec![
            (text("updated"), VALID),
            (None, REFUSED),
            (Some(Value::Null), REFUSED),
            (text("created"), REFUSED),
            (text("updated,deleted"), REFUSED),
            (text("moved"), REFUSED),
        ],
        "resource" => vec![
            (Some(json!(one)), VALID),
            (Some(json!(two)), VALID),
            (Some(json!(format!("communications/presences('{USER_B}')"))), VALID),
            (None, REFUSED),
            (text(""), REFUSED),
            (text("/users"), REFUSED),
            (text("/communications/presences"), REFUSED),
        ],
        "expirationDateTime" => vec![
            (text("2030-01-07T09:00:00Z"), VALID),
            (text("2030-01-07T09:59:00.1234567+01:00"), VALID),
            (text("2030-01-07T08:10:00Z"), VALID),
            (None, REFUSED),
            (Some(Value::Null), REFUSED),
            (text("2030-01-08T08:00:00Z"), Some("ExtensionError")),
            (text("tomorrow"), REFUSED),
        ],
        "clientState" => vec![
            (None, VALID),
            (Some(Value::Null), VALID),
            (text("secret"), VALID),
            (Some(json!("s".repeat(128))), VALID),
            (Some(json!("s".repeat(129))), REFUSED),
        ],
        "includeResourceData" => vec![(None, VALID), (Some(json!(false)), VALID), (Some(json!(true)), VALID)],
        "encryptionCertificate" => vec![(None, VALID), (text(CERTIFICATE.trim()), VALID)],
        "encryptionCertificateId" => {
            vec![(None, VALID), (text("of the tests"), VALID), (Some(json!("c".repeat(129))), REFUSED)]
        }
        "latestSupportedTlsVersion" => {
            vec![(None, VALID), (text("v1_2"), VALID), (text("v1_3"), VALID), (text("v1_0"), REFUSED)]
        }
        // Whatever the service fills in, or knows for other resources only.
        "id"
        | "applicationId"
        | "creatorId"
        | "notificationContentType"
        | "notificationUrlAppId"
        | "notificationQueryOptions" => {
            vec![(None, VALID)]
        }
        "notificationUrl" => vec![
            (text(RECEIVER), VALID),
            (None, REFUSED),
            (text(""), REFUSED),
            (text("not a url"), REFUSED),
            (text("http://receiver.example/plain"), REFUSED),
            (text("https://10.0.0.1/private"), REFUSED),
            (text("EventHub:https://vault.example/secrets/x?tenantId=y"), REFUSED),
        ],
        "lifecycleNotificationUrl" => {
            vec![(None, VALID), (text(RECEIVER), VALID), (text("https://10.0.0.1/private"), REFUSED)]
        }
        _ => panic!("the model knows no {name} of a subscription"),
    }
}

/// Stands for the test's own receiver, whose port is not known here.
pub(super) const RECEIVER: &str = "{receiver}";
const CERTIFICATE: &str = include_str!("../../../../identity/tests/vectors/certificate.base64");

/// What the rules make of a user to whom everything happens on a Monday morning.
pub(super) struct Model(UserPresence);

impl Model {
    pub(super) fn new() -> Self {
        Self(UserPresence::default())
    }

    /// Asks the rules for what a valid body asks for.
    pub(super) fn apply(&mut self, action: &str, body: &Value) -> Result<(), PresenceError> {
        self.0.apply(command(action, body), monday())
    }

    /// What an application reads, as far as a user has it in his hands.
    pub(super) fn seen(&self) -> Value {
        let shown = self.0.at(monday());
        let location = shown.work_location.location;
        json!({
            "availability": format!("{:?}", shown.pair.availability),
            "activity": format!("{:?}", shown.pair.activity),
            "statusMessage": shown.status_message.map(|note| note.text.as_str()),
            "source": match shown.work_location.source {
                LocationSource::Manual => "manual",
                LocationSource::Automatic => "automatic",
                LocationSource::Scheduled => "scheduled",
                LocationSource::None => "none",
            },
            "workLocationType": match location.map(|location| location.kind) {
                Some(LocationKind::Office) => "office",
                Some(LocationKind::Remote) => "remote",
                Some(LocationKind::TimeOff) => "timeOff",
                None => "unspecified",
            },
            "placeId": location.and_then(|location| location.place.as_ref()).map(PlaceId::as_str),
        })
    }
}

fn monday() -> Timestamp {
    MONDAY.parse().unwrap()
}

fn command(action: &str, body: &Value) -> Command {
    let app = APP.parse().unwrap();
    let text = |name: &str| body[name].as_str();
    let days = SpanRelativeTo::days_are_24_hours();
    let duration =
        || text("expirationDuration").map(|text| text.parse::<Span>().unwrap().to_duration(days).unwrap());
    let word = |name: &str| text(name).unwrap();
    let location = || Location {
        kind: match word("workLocationType") {
            "office" => LocationKind::Office,
            "remote" => LocationKind::Remote,
            _ => LocationKind::TimeOff,
        },
        place: text("placeId").and_then(|place| PlaceId::new(place).unwrap()),
    };
    match action {
        "setPresence" => Command::SetPresence {
            app,
            pair: SessionPair::new(availability(word("availability")), activity(word("activity"))).unwrap(),
            lifetime: duration()
                .map_or_else(SessionLifetime::default, |given| SessionLifetime::new(given).unwrap()),
        },
        "clearPresence" => Command::ClearPresence { app },
        "setUserPreferredPresence" => {
            let pair =
                PreferredPair::new(availability(word("availability")), activity(word("activity"))).unwrap();
            let lifetime = duration().map(|given| PreferredLifetime::new(given).unwrap());
            Command::SetPreferredPresence { pair, lifetime: lifetime.unwrap_or(pair.default_lifetime()) }
        }
        "clearUserPreferredPresence" => Command::ClearPreferredPresence,
        "setStatusMessage" => {
            let words = body["statusMessage"]["message"]["content"].as_str().unwrap();
            // When a message ends is in the model of its values; here it is later than all that is asked.
            let text = StatusText::new(words).unwrap();
            Command::SetStatusMessage(text.map(|text| NewStatusMessage { text, expires_at: None }))
        }
        "setManualLocation" => Command::SetManualLocation { location: location(), zone: TimeZone::UTC },
        "setAutomaticLocation" => {
            Command::SetAutomaticLocation { app, location: location(), zone: TimeZone::UTC }
        }
        "clearLocation" => Command::ClearLocation,
        "clearAutomaticLocation" => Command::ClearAutomaticLocation,
        other => panic!("the model knows no {other}"),
    }
}

fn availability(word: &str) -> Availability {
    let all = SessionPair::ALL
        .map(SessionPair::pair)
        .into_iter()
        .chain(PreferredPair::ALL.map(PreferredPair::pair));
    let mut all = all.map(|pair| pair.availability);
    all.find(|one| format!("{one:?}").eq_ignore_ascii_case(word)).unwrap()
}

fn activity(word: &str) -> Activity {
    let all = SessionPair::ALL
        .map(SessionPair::pair)
        .into_iter()
        .chain(PreferredPair::ALL.map(PreferredPair::pair));
    let mut all = all.map(|pair| pair.activity);
    all.find(|one| format!("{one:?}").eq_ignore_ascii_case(word)).unwrap()
}
