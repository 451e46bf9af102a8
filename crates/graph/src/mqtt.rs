//! What is said over MQTT, a way in and out of our own: how a user is shown, what home automation is told of that, and
//! the words by which a device asks for a presence session.

use presence::{Pair, SequenceNumber, SessionPair, Timestamp};
use serde::{Deserialize, Serialize};

use crate::presence_reply::{read_sequence_number, write_sequence_number};
use crate::{time, words};

/// What the topic of the server itself says while it follows the log.
pub const ONLINE: &str = "online";
/// What it says otherwise: its last will.
pub const OFFLINE: &str = "offline";
/// The word that ends a presence session.
pub const CLEAR: &str = "clear";

/// How a user is shown: the JSON of the user's topic. `at` says when that began, as far as it is known.
pub fn state(pair: Pair, at: Timestamp, sequence_number: SequenceNumber) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(b"{\"availability\":\"");
    out.extend_from_slice(words::availability(pair.availability).as_bytes());
    out.extend_from_slice(b"\",\"activity\":\"");
    out.extend_from_slice(words::activity(pair.activity).as_bytes());
    out.extend_from_slice(b"\",\"at\":\"");
    time::write_timestamp(&mut out, at);
    out.extend_from_slice(b"\",\"sequenceNumber\":\"");
    write_sequence_number(&mut out, sequence_number);
    out.extend_from_slice(b"\"}");
    out
}

/// The sequence number of what [`state`] has written.
pub fn sequence_number_of(state: &[u8]) -> Option<SequenceNumber> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct State<'a> {
        sequence_number: &'a str,
    }
    read_sequence_number(serde_json::from_slice::<State<'_>>(state).ok()?.sequence_number)
}

/// A user as a sensor of Home Assistant. Source: home-assistant.io, "MQTT Discovery" and "MQTT Sensor".
#[derive(Clone, Copy, Debug)]
pub struct Sensor<'a> {
    /// A name for machines: letters, digits and underscores.
    pub id: &'a str,
    /// The name people see.
    pub name: &'a str,
    /// Where the user's state is.
    pub state_topic: &'a str,
    /// Where the server says whether it is there.
    pub status_topic: &'a str,
    /// The version of the program.
    pub version: &'a str,
}

/// The JSON by which Home Assistant learns of a sensor.
pub fn discovery(sensor: &Sensor<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Discovery<'a> {
        name: &'a str,
        unique_id: &'a str,
        state_topic: &'a str,
        value_template: &'a str,
        json_attributes_topic: &'a str,
        availability_topic: &'a str,
        payload_available: &'a str,
        payload_not_available: &'a str,
        device_class: &'a str,
        options: [&'a str; words::AVAILABILITIES.len()],
        icon: &'a str,
        device: Device<'a>,
        origin: Origin<'a>,
    }
    #[derive(Serialize)]
    struct Device<'a> {
        identifiers: [&'a str; 1],
        name: &'a str,
        manufacturer: &'a str,
    }
    #[derive(Serialize)]
    struct Origin<'a> {
        name: &'a str,
        sw_version: &'a str,
    }
    let discovery = Discovery {
        name: "Presence",
        unique_id: sensor.id,
        state_topic: sensor.state_topic,
        value_template: "{{ value_json.availability }}",
        json_attributes_topic: sensor.state_topic,
        availability_topic: sensor.status_topic,
        payload_available: ONLINE,
        payload_not_available: OFFLINE,
        device_class: "enum",
        options: words::AVAILABILITIES.map(words::availability),
        icon: "mdi:account-clock",
        device: Device { identifiers: [sensor.id], name: sensor.name, manufacturer: PROGRAM },
        origin: Origin { name: PROGRAM, sw_version: sensor.version },
    };
    // Strings and arrays of them: writing cannot fail.
    serde_json::to_vec(&discovery).unwrap_or_default()
}

const PROGRAM: &str = "presenced";

/// What a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A presence session of this pair.
    Hold(SessionPair),
    /// That there be none.
    End,
}

/// Reads a word: `Busy/InACall`, the activity alone, or [`CLEAR`]; in any case.
pub fn asked(word: &str) -> Option<Asked> {
    let word = word.trim();
    if word.eq_ignore_ascii_case(CLEAR) {
        return Some(Asked::End);
    }
    let pair = match word.split_once('/') {
        Some((availability, activity)) => {
            SessionPair::new(words::parse_availability(availability)?, words::parse_activity(activity)?)
        }
        None => {
            let activity = words::parse_activity(word)?;
            SessionPair::ALL.into_iter().find(|pair| pair.pair().activity == activity)
        }
    };
    pair.map(Asked::Hold)
}

/// Reads a whole payload: a word, or JSON with `availability` and `activity` as setPresence takes them.
pub fn asked_by(payload: &[u8]) -> Option<Asked> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        availability: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        activity: std::borrow::Cow<'a, str>,
    }
    let text = std::str::from_utf8(payload).ok()?;
    if !text.trim_start().starts_with('{') {
        return asked(text);
    }
    let Body { availability, activity } = serde_json::from_str(text).ok()?;
    SessionPair::new(words::parse_availability(&availability)?, words::parse_activity(&activity)?)
        .map(Asked::Hold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_state_is_written_and_its_number_read() {
        let at = "2026-03-02T08:15:30.25Z".parse().unwrap();
        for number in [0, 42, 10_000_000_000, 259_999_999_999] {
            let written = state(SessionPair::InACall.pair(), at, SequenceNumber(number));
            assert_eq!(sequence_number_of(&written), Some(SequenceNumber(number)));
        }
        let written = state(SessionPair::InACall.pair(), at, SequenceNumber(7));
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"availability":"Busy","activity":"InACall","at":"2026-03-02T08:15:30.2500000Z","sequenceNumber":"A0000000007"}"#
        );
        for stranger in ["", "{}", "{\"sequenceNumber\":7}", "{\"sequenceNumber\":\"A7\"}"] {
            assert_eq!(sequence_number_of(stranger.as_bytes()), None, "{stranger}");
        }
    }

    #[test]
    fn a_sensor_has_what_home_assistant_reads() {
        let sensor = Sensor {
            id: "presenced_1",
            name: "Ana \"the\" Fuentes",
            state_topic: "p/users/1",
            status_topic: "p/status",
            version: "1",
        };
        let read: serde_json::Value = serde_json::from_slice(&discovery(&sensor)).unwrap();
        assert_eq!(read["unique_id"], "presenced_1");
        assert_eq!(read["device"]["name"], "Ana \"the\" Fuentes");
        assert_eq!(read["availability_topic"], "p/status");
        assert_eq!(read["options"].as_array().unwrap().len(), words::AVAILABILITIES.len());
    }

    #[test]
    fn words_of_devices_are_pairs_activities_or_clear_and_nothing_else() {
        use Asked::{End, Hold};
        for (payload, expected) in [
            ("Busy/InACall", Some(Hold(SessionPair::InACall))),
            (" available ", Some(Hold(SessionPair::Available))),
            ("presenting", Some(Hold(SessionPair::Presenting))),
            ("CLEAR", Some(End)),
            (r#"{"availability":"Away","activity":"away","more":1}"#, Some(Hold(SessionPair::Away))),
            ("Busy/Away", None),
            ("Busy", None),
            ("Offline", None),
            ("", None),
            ("{}", None),
            ("{\"availability\":1,\"activity\":\"Away\"}", None),
            ("{\"availability\":\"Away\"", None),
        ] {
            assert_eq!(asked_by(payload.as_bytes()), expected, "{payload}");
        }
        assert_eq!(asked_by(b"\xff\xfe"), None);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = asked_by(&payload);
            let _ = sequence_number_of(&payload);
        }
    }
}
