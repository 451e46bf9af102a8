//! JSON of our own `GET /_presenced/v1/users/{id}/presence/explanation`: every input of a presence, the rule that
//! chose, and what lost to what; and the header `Presenced-Outcome` of every write. Graph has nothing like them; the words
//! are the project's own.

use presence::{
    AppId, AutomaticInput, Decider, Explanation, Fade, Instead, Location, LocationOutcome, Outcome, Pair,
    PlaceId, PreferredOutcome, Rule, ScheduledInput, SessionInput, SessionOutcome, Timestamp, UserId,
};
use serde_json::{Map, Value, json};

use crate::presence_reply::{Reader, write_sequence_number};
use crate::{time, words};

/// The explanation of a user's presence, as JSON. As in the presence itself, only the owner sees when a status message
/// was published and when it ends (§3.3). `name_of` is what people call an application, for those that are known.
pub fn to_json(
    user: UserId,
    explanation: &Explanation,
    reader: Reader,
    name_of: &dyn Fn(AppId) -> Option<String>,
) -> Vec<u8> {
    let at = explanation.at;
    let is_owner = reader == Reader::Owner;
    let next_change = explanation.next_change.map(|next| {
        let mut value = pair(next.pair);
        value.insert("at".into(), instant(next.at));
        value
    });
    let mut value = pair(explanation.pair);
    value.extend(object(json!({
        "id": user.to_string(),
        "at": instant(explanation.at),
        "sequenceNumber": sequence_number(explanation),
        "rule": rule(explanation.rule),
        "outOfOfficeShown": explanation.out_of_office_shown,
        "sessions": explanation.sessions.iter().map(|input| session(input, at, name_of)).collect::<Vec<_>>(),
        "preferredPresence": preferred(explanation),
        "outOfOffice": explanation.out_of_office.as_ref().map(|input| json!({
            "message": input.out_of_office.message(),
            "startsAt": input.out_of_office.starts_at().map(instant),
            "endsAt": input.out_of_office.ends_at().map(instant),
            "isActive": input.is_active,
        })),
        "statusMessage": explanation.status_message.as_ref().map(|input| json!({
            "content": input.status_message.text.as_str(),
            "publishedAt": is_owner.then(|| instant(input.status_message.published_at)),
            "expiresAt": input.status_message.expires_at.filter(|_| is_owner).map(instant),
        })),
        "workLocation": work_location(explanation, name_of),
        "nextChange": next_change,
    })));
    serde_json::to_vec(&value).expect("a Value is always JSON")
}

/// The header that says what a write has come to, as a structured field item (RFC 8941): `visible`, `hidden` or
/// `unchanged`; with `by`, what is shown instead, the `application` whose session or location that is, and `until`, the
/// instant from which something else is, if nobody writes.
pub fn outcome_header(outcome: &Outcome) -> String {
    let (word, instead) = match outcome {
        Outcome::Visible => return "visible".to_owned(),
        Outcome::Hidden(instead) => ("hidden", instead),
        Outcome::Unchanged(instead) => ("unchanged", instead),
    };
    let Instead { by, until } = instead;
    let (by, app) = decider(*by);
    let mut header = format!("{word};by={by}");
    if let Some(app) = app {
        header.push_str(&format!(";application=\"{app}\""));
    }
    if let Some(until) = until {
        header.push_str(&format!(";until=\"{}\"", time::format_timestamp(*until)));
    }
    header
}

fn decider(by: Decider) -> (&'static str, Option<AppId>) {
    match by {
        Decider::NoSession => ("noSession", None),
        Decider::PreferredPresence => ("preferredPresence", None),
        Decider::Session(app) => ("session", Some(app)),
        Decider::NoLocation => ("noLocation", None),
        Decider::ManualLocation => ("manualLocation", None),
        Decider::AutomaticLocation(app) => ("automaticLocation", Some(app)),
        Decider::ScheduledLocation => ("scheduledLocation", None),
        Decider::StatusMessage => ("statusMessage", None),
        Decider::NoStatusMessage => ("noStatusMessage", None),
        Decider::OutOfOffice => ("outOfOffice", None),
        Decider::InOffice => ("inOffice", None),
    }
}

fn session(input: &SessionInput, at: Timestamp, name_of: &dyn Fn(AppId) -> Option<String>) -> Value {
    let (outcome, by) = match input.outcome {
        SessionOutcome::Shown => ("shown", None),
        SessionOutcome::HiddenByPreferred => ("hiddenByPreferredPresence", None),
        SessionOutcome::Outranked { by } => ("outranked", Some(by)),
        SessionOutcome::SetEarlier { than } => ("setEarlier", Some(than)),
    };
    let mut value = pair(input.pair);
    value.extend(object(json!({
        "application": application(input.session.app),
        "applicationName": name_of(input.session.app),
        "set": pair(input.session.pair.pair()),
        "setAt": instant(input.session.set_at),
        "age": time::format_duration(at.duration_since(input.session.set_at)),
        "fade": match input.fade {
            Fade::Fresh => "fresh",
            Fade::Inactive => "inactive",
            Fade::Away => "away",
        },
        "nextFadeAt": input.next_fade_at.map(instant),
        "expiresAt": instant(input.session.expires_at),
        "outcome": outcome,
        "beatenBy": by.map(application),
    })));
    value.into()
}

fn preferred(explanation: &Explanation) -> Option<Value> {
    explanation.preferred.map(|input| {
        let mut value = pair(input.preferred.pair.pair());
        value.extend(object(json!({
            "setAt": instant(input.preferred.set_at),
            "expiresAt": instant(input.preferred.expires_at),
            "outcome": match input.outcome {
                PreferredOutcome::Shown => "shown",
                PreferredOutcome::AsleepWithoutSession => "asleepWithoutSession",
            },
        })));
        value.into()
    })
}

/// Segments stand in the order in which they begin, which their instants with seven digits might not tell.
fn work_location(explanation: &Explanation, name_of: &dyn Fn(AppId) -> Option<String>) -> Value {
    let mut segments: Vec<_> = explanation.scheduled.iter().collect();
    segments.sort_by_key(|input| input.scheduled.starts_at);
    json!({
        "source": words::location_source(explanation.location_source),
        "workLocationType": explanation.location_kind.map_or(words::UNSPECIFIED, words::location_kind),
        "placeId": explanation.location_place.as_ref().map(PlaceId::as_str),
        "manual": explanation.manual.as_ref().map(|input| {
            let mut value = location(&input.manual.location, input.outcome);
            value.insert("setAt".into(), instant(input.manual.set_at));
            value.insert("expiresAt".into(), instant(input.manual.expires_at));
            value
        }),
        "automatic": explanation.automatic.iter().map(|input| automatic(input, name_of)).collect::<Vec<_>>(),
        "scheduled": segments.into_iter().map(scheduled).collect::<Vec<_>>(),
    })
}

fn automatic(input: &AutomaticInput, name_of: &dyn Fn(AppId) -> Option<String>) -> Map<String, Value> {
    let mut value = location(&input.automatic.location, input.outcome);
    value.insert("application".into(), application(input.automatic.app));
    value.insert("applicationName".into(), name_of(input.automatic.app).into());
    value.insert("setAt".into(), instant(input.automatic.set_at));
    value.insert("expiresAt".into(), instant(input.automatic.expires_at));
    value
}

fn scheduled(input: &ScheduledInput) -> Map<String, Value> {
    let mut value = location(&input.scheduled.location, input.outcome);
    value.insert("startsAt".into(), instant(input.scheduled.starts_at));
    value.insert("endsAt".into(), instant(input.scheduled.ends_at));
    value
}

fn location(location: &Location, outcome: LocationOutcome) -> Map<String, Value> {
    let (outcome, by) = match outcome {
        LocationOutcome::Shown => ("shown", None),
        LocationOutcome::HiddenBy(layer) => ("hidden", Some(words::location_source(layer))),
        LocationOutcome::LessPrecise => ("lessPrecise", None),
        LocationOutcome::NotNow => ("notNow", None),
    };
    object(json!({
        "workLocationType": words::location_kind(location.kind),
        "placeId": location.place.as_ref().map(PlaceId::as_str),
        "outcome": outcome,
        "hiddenBy": by,
    }))
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::NoSession => "noSession",
        Rule::PreferredPresence => "preferredPresence",
        Rule::StrongestSession => "strongestSession",
    }
}

fn pair(pair: Pair) -> Map<String, Value> {
    object(json!({
        "availability": words::availability(pair.availability),
        "activity": words::activity(pair.activity),
    }))
}

fn application(app: AppId) -> Value {
    app.to_string().into()
}

fn instant(instant: Timestamp) -> Value {
    time::format_timestamp(instant).into()
}

fn sequence_number(explanation: &Explanation) -> String {
    let mut out = Vec::new();
    write_sequence_number(&mut out, explanation.sequence_number);
    String::from_utf8(out).expect("a letter and digits are UTF-8")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

#[cfg(test)]
mod tests {
    use presence::{AppId, Command, LocationKind, SessionLifetime, SessionPair, StatusText, UserPresence};

    use super::*;

    fn explained(commands: impl IntoIterator<Item = (&'static str, Command)>, at: &str) -> Value {
        let mut user = UserPresence::default();
        for (now, command) in commands {
            user.apply(command, now.parse().unwrap()).unwrap();
        }
        serde_json::from_slice(&to_json(
            UserId::from_u128(9),
            &user.explain(at.parse().unwrap()),
            Reader::Owner,
            &|app| (app == AppId::from_u128(1)).then(|| "Desk".to_owned()),
        ))
        .unwrap()
    }

    fn set(app: u128, pair: SessionPair) -> Command {
        let lifetime = SessionLifetime::new(jiff::SignedDuration::from_hours(1)).unwrap();
        Command::SetPresence { app: AppId::from_u128(app), pair, lifetime }
    }

    #[test]
    fn only_the_owner_sees_the_instants_of_a_status_message() {
        let mut user = UserPresence::default();
        let text = presence::StatusText::new("Back at three").unwrap().unwrap();
        let message = presence::NewStatusMessage { text, expires_at: "2026-03-02T15:00:00Z".parse().ok() };
        let now = "2026-03-02T08:00:00Z".parse().unwrap();
        user.apply(presence::Command::SetStatusMessage(Some(message)), now).unwrap();
        let seen = |reader| -> Value {
            serde_json::from_slice(&to_json(UserId::from_u128(9), &user.explain(now), reader, &|_| None))
                .unwrap()
        };
        assert_eq!(seen(Reader::Owner)["statusMessage"]["expiresAt"], "2026-03-02T15:00:00.0000000Z");
        let other = &seen(Reader::Other)["statusMessage"];
        assert_eq!(
            (&other["content"], &other["publishedAt"], &other["expiresAt"]),
            (&"Back at three".into(), &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn every_session_says_what_it_was_set_to_how_far_it_faded_and_what_beat_it() {
        let value = explained(
            [
                ("2026-03-02T08:00:00Z", set(1, SessionPair::Available)),
                ("2026-03-02T08:01:00Z", set(2, SessionPair::InACall)),
            ],
            "2026-03-02T08:06:00Z",
        );
        assert_eq!(value["rule"], "strongestSession");
        assert_eq!(value["activity"], "InACall");
        assert_eq!(
            value["sessions"][0],
            json!({
                "application": "00000000-0000-0000-0000-000000000001",
                "applicationName": "Desk",
                "set": {"availability": "Available", "activity": "Available"},
                "availability": "Available", "activity": "AvailableInactive",
                "setAt": "2026-03-02T08:00:00.0000000Z",
                "age": "PT6M",
                "fade": "inactive",
                "nextFadeAt": "2026-03-02T08:10:00.0000000Z",
                "expiresAt": "2026-03-02T09:00:00.0000000Z",
                "outcome": "outranked",
                "beatenBy": "00000000-0000-0000-0000-000000000002",
            })
        );
        assert_eq!(value["sessions"][1]["outcome"], "shown");
        assert_eq!(value["nextChange"]["at"], "2026-03-02T09:01:00.0000000Z");
        assert_eq!(value["nextChange"]["availability"], "Offline");
    }

    #[test]
    fn a_session_as_strong_but_older_was_set_earlier_and_a_preference_hides_them_all() {
        let at = "2026-03-02T08:00:00Z";
        let two = [(at, set(1, SessionPair::InACall)), (at, set(2, SessionPair::InAConferenceCall))];
        let value = explained(two.clone(), at);
        assert_eq!(value["sessions"][0]["outcome"], "setEarlier");
        assert_eq!(value["sessions"][0]["beatenBy"], value["sessions"][1]["application"]);
        let pair = presence::PreferredPair::OffWork;
        let prefer = (at, Command::SetPreferredPresence { pair, lifetime: pair.default_lifetime() });
        let value = explained(two.into_iter().chain([prefer.clone()]), at);
        assert_eq!(value["rule"], "preferredPresence");
        assert_eq!(value["sessions"][1]["outcome"], "hiddenByPreferredPresence");
        assert_eq!(value["preferredPresence"]["activity"], "OffWork");
        assert_eq!(value["preferredPresence"]["outcome"], "shown");
        assert_eq!(explained([prefer], at)["preferredPresence"]["outcome"], "asleepWithoutSession");
    }

    #[test]
    fn layers_of_the_work_location_say_what_hides_them() {
        let zone = jiff::tz::TimeZone::UTC;
        let place = |kind, place: &str| Location { kind, place: PlaceId::new(place).unwrap() };
        let at = "2026-03-02T08:00:00Z";
        let app = AppId::from_u128(1);
        let value = explained(
            [
                (
                    at,
                    Command::SetAutomaticLocation {
                        app,
                        location: place(LocationKind::Office, "hq"),
                        zone: zone.clone(),
                    },
                ),
                (at, Command::SetManualLocation { location: place(LocationKind::Remote, ""), zone }),
                (
                    at,
                    Command::SetStatusMessage(
                        StatusText::new("x")
                            .unwrap()
                            .map(|text| presence::NewStatusMessage { text, expires_at: None }),
                    ),
                ),
            ],
            at,
        );
        let location = &value["workLocation"];
        assert_eq!(
            (&location["source"], &location["workLocationType"]),
            (&json!("manual"), &json!("remote"))
        );
        assert_eq!(location["manual"]["outcome"], "shown");
        assert_eq!(location["automatic"][0]["outcome"], "hidden");
        assert_eq!(location["automatic"][0]["hiddenBy"], "manual");
        assert_eq!(location["automatic"][0]["expiresAt"], "2026-03-03T00:00:00.0000000Z");
        assert_eq!(value["statusMessage"]["content"], "x");
    }

    #[test]
    fn what_a_write_has_come_to_is_one_structured_field() {
        assert_eq!(outcome_header(&Outcome::Visible), "visible");
        let until = "2026-03-02T09:00:00Z".parse().ok();
        let by = Decider::Session(AppId::from_u128(1));
        assert_eq!(
            outcome_header(&Outcome::Hidden(Instead { by, until })),
            "hidden;by=session;application=\"00000000-0000-0000-0000-000000000001\";until=\"2026-03-02T09:00:00.0000000Z\""
        );
        let instead = Instead { by: Decider::NoSession, until: None };
        assert_eq!(outcome_header(&Outcome::Unchanged(instead)), "unchanged;by=noSession");
    }

    #[test]
    fn a_user_of_whom_nothing_was_said_has_every_member() {
        let value = explained([], "2026-03-02T08:00:00Z");
        assert_eq!(
            value,
            json!({
                "id": "00000000-0000-0000-0000-000000000009", "at": "2026-03-02T08:00:00.0000000Z",
                "availability": "Offline", "activity": "Offline", "sequenceNumber": "A0000000000",
                "rule": "noSession", "outOfOfficeShown": false, "sessions": [], "preferredPresence": null,
                "outOfOffice": null, "statusMessage": null, "nextChange": null,
                "workLocation": {
                    "source": "none", "workLocationType": "unspecified", "placeId": null,
                    "manual": null, "automatic": [], "scheduled": [],
                },
            })
        );
    }
}
