//! An explanation says everything: whoever has its JSON, and nothing else, can compute the presence that Graph's own
//! resource answers. The rules are written down here once more, in words of the wire alone.

use graph::odata::{PresenceSelect, ServiceRoot};
use graph::path::{Address, Root};
use graph::presence_reply::{Reader, Shape, write_presence};
use presence::UserId;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::history::{gap, history, property_of};

/// Random histories that are explained.
const HISTORIES: u32 = 100_000;

#[test]
fn whoever_has_an_explanation_can_compute_the_presence() {
    let user_id = UserId::from_u128(9);
    let select = PresenceSelect::ALL;
    let service = ServiceRoot::new("", Root::V1);
    let shape = Shape { service: &service, select: &select, level: graph::headers::MetadataLevel::None };
    property_of(HISTORIES, 21, (history(), gap(), any::<bool>()), |(history, gap, is_owner)| {
        let (user, at) = (history.user(), history.end() + gap);
        let reader = if is_owner { Reader::Owner } else { Reader::Other };
        let told = graph::explanation::to_json(user_id, &user.explain(at), reader, &|_| None);
        let told: Value = serde_json::from_slice(&told).unwrap();
        let mut shown = Vec::new();
        write_presence(&mut shown, &shape, &Address::Me, user_id, &user.at(at), reader);
        let shown: Value = serde_json::from_slice(&shown).unwrap();

        let (availability, activity) = pair(&told);
        prop_assert_eq!((&shown["availability"], &shown["activity"]), (&availability, &activity));
        prop_assert_eq!((&told["availability"], &told["activity"]), (&availability, &activity));
        prop_assert_eq!(&shown["outOfOfficeSettings"], &out_of_office(&told));
        let (location, shown_location) = (work_location(&told), &shown["workLocation"]);
        for member in ["source", "workLocationType", "placeId"] {
            prop_assert_eq!(&location[member], &shown_location[member], "{}", member);
            prop_assert_eq!(&location[member], &told["workLocation"][member], "{}", member);
        }
        let (message, shown_message) = (&told["statusMessage"], &shown["statusMessage"]);
        prop_assert_eq!(&message["content"], &shown_message["message"]["content"]);
        prop_assert_eq!(&message["publishedAt"], &shown_message["publishedDateTime"]);
        prop_assert_eq!(&told["sequenceNumber"], &shown["sequenceNumber"]);
        Ok(())
    });
}

/// Availability and activity by presence-api §11.3 and §11.4.
fn pair(told: &Value) -> (Value, Value) {
    let claims: Vec<(&Value, &Value)> =
        list(&told["sessions"]).map(|session| contribution(session, told)).collect();
    let strongest = (0..claims.len()).max_by_key(|position| (rank(claims[*position]), *position));
    let (availability, activity) = match (strongest, &told["preferredPresence"]) {
        (None, _) => (json!("Offline"), json!("Offline")),
        (Some(winner), Value::Null) => (claims[winner].0.clone(), claims[winner].1.clone()),
        (Some(_), preferred) => (preferred["availability"].clone(), preferred["activity"].clone()),
    };
    let is_replaced = availability == "Available" || activity == "Offline" && availability == "Offline";
    match told["outOfOffice"]["isActive"] == true && is_replaced {
        true => (availability, json!("OutOfOffice")),
        false => (availability, activity),
    }
}

/// What a session shows: what it was set to, or, an Available of more than five minutes, what that fades to.
fn contribution<'a>(session: &'a Value, told: &Value) -> (&'a Value, &'a Value) {
    let set = (&session["set"]["availability"], &session["set"]["activity"]);
    let age = instant(&told["at"]) - instant(&session["setAt"]);
    let steps = if *set.0 == "Available" { age / FIVE_MINUTES } else { 0 };
    let shown = (&session["availability"], &session["activity"]);
    // An instant on the wire has seven digits, one of the domain nine: within the last of a step only `fade` tells.
    if age % FIVE_MINUTES == 0 || age % FIVE_MINUTES == FIVE_MINUTES - 1 {
        return shown;
    }
    let expected = match steps {
        0 => set,
        1 => return expect(shown, ("Available", "AvailableInactive"), session, "inactive"),
        _ => return expect(shown, ("Away", "Away"), session, "away"),
    };
    assert_eq!((shown, &session["fade"]), (expected, &json!("fresh")), "{session}");
    expected
}

fn expect<'a>(
    shown: (&'a Value, &'a Value),
    expected: (&str, &str),
    session: &Value,
    fade: &str,
) -> (&'a Value, &'a Value) {
    assert_eq!((shown.0.as_str(), shown.1.as_str()), (Some(expected.0), Some(expected.1)), "{session}");
    assert_eq!(session["fade"], fade, "{session}");
    shown
}

/// Five minutes in the unit of the wire's last digit.
const FIVE_MINUTES: i128 = 3_000_000_000;

fn rank((availability, activity): (&Value, &Value)) -> u8 {
    match (availability.as_str().unwrap(), activity.as_str().unwrap()) {
        ("DoNotDisturb", _) => 4,
        ("Busy", _) => 3,
        ("Available", "Available") => 2,
        ("Available", _) => 1,
        _ => 0,
    }
}

fn out_of_office(told: &Value) -> Value {
    let window = &told["outOfOffice"];
    let is_active = window["isActive"] == true;
    let message = if is_active { window["message"].clone() } else { Value::Null };
    json!({ "message": message, "isOutOfOffice": is_active })
}

/// The work location: manual, then the most precise automatic signal, then the schedule's segment of the instant; of two as
/// precise the later.
fn work_location(told: &Value) -> Value {
    let layers = &told["workLocation"];
    let precise = |entry: &Value| !entry["placeId"].is_null();
    let automatic = list(&layers["automatic"]);
    let automatic = automatic.enumerate().max_by_key(|(position, entry)| (precise(entry), *position));
    let now = list(&layers["scheduled"]).filter(|segment| segment["outcome"] != "notNow");
    let scheduled = now.enumerate().max_by_key(|(position, segment)| (precise(segment), *position));
    let (source, entry) = match (&layers["manual"], automatic, scheduled) {
        (Value::Null, Some((_, signal)), _) => ("automatic", signal),
        (Value::Null, None, Some((_, segment))) => ("scheduled", segment),
        (Value::Null, None, None) => ("none", &Value::Null),
        (manual, ..) => ("manual", manual),
    };
    let kind = entry["workLocationType"].as_str().unwrap_or("unspecified");
    json!({ "source": source, "workLocationType": kind, "placeId": entry["placeId"] })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

/// An instant in the unit of the wire's last digit, a tenth of a microsecond.
fn instant(value: &Value) -> i128 {
    let at: presence::Timestamp = value.as_str().unwrap().parse().unwrap();
    at.as_nanosecond().div_euclid(100)
}
