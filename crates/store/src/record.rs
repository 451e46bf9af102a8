//! The stored form of a user's record: structs of their own, so that the domain may be refactored without a
//! migration, and bytes that never change their meaning once a release has written them.
//!
//! A record is one byte naming its format, then the [postcard](https://postcard.jamesmunns.com/wire-format) form of
//! that format's struct. What the keeper itself needs (version, settlement, wake-up) stands first, so that
//! [`peek`] reads it without decoding the rest. A later format is a new `RecordV2` beside [`RecordV1`]; the old one
//! stays readable forever.
//!
//! Every instant is kept as its distance from another one of the same record, in the coarsest unit that is exact.
//! That is lossless for whatever a `Timestamp` can hold, and short for what is common: a session set just now for
//! an hour costs three bytes for both of its instants. A user with one session fits in some 40 bytes.

pub(crate) mod plain;

use presence::{
    AppId, AutomaticLocation, Location, LocationKind, ManualLocation, OutOfOffice, PlaceId, Preferred,
    PreferredPair, Schedule, ScheduledLocation, SequenceNumber, Session, SessionPair, Sole, StatusMessage,
    StatusText, Timestamp, UserPresence,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{StoreError, Stored, Version};

/// The only format there is yet.
const FORMAT_1: u8 = 1;

/// Largest stored record, in bytes. The bounds of `presence::limits` allow about 100 kB, all of it text.
pub(crate) const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record of format {0}, newer than {FORMAT_1}, the newest this program reads")]
    Newer(u8),
    #[error("a record that is not well formed")]
    Malformed,
    #[error("a record with an instant that does not exist")]
    Instant,
    #[error("a record with a value the rules refuse")]
    Refused,
}

impl From<RecordError> for StoreError {
    fn from(error: RecordError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// What the keeper needs to know of a record without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) settled_at: Timestamp,
    pub(crate) wake_at: Option<Timestamp>,
}

/// The bytes to keep.
pub(crate) fn encode(
    version: Version,
    wake_at: Option<Timestamp>,
    presence: &UserPresence,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    encode_over(version, wake_at, presence, &mut bytes)?;
    Ok(bytes)
}

/// The bytes to keep, written over what is no longer wanted: its memory is used again.
pub(crate) fn encode_over(
    version: Version,
    wake_at: Option<Timestamp>,
    presence: &UserPresence,
    bytes: &mut Vec<u8>,
) -> Result<(), StoreError> {
    bytes.clear();
    if plain::encode(version, wake_at, presence, bytes).is_none() {
        *bytes = by_serde(version, wake_at, presence)?;
    }
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(StoreError::TooLarge(format!("a record of {} bytes", bytes.len())));
    }
    Ok(())
}

/// Whatever the record holds.
fn by_serde(
    version: Version,
    wake_at: Option<Timestamp>,
    presence: &UserPresence,
) -> Result<Vec<u8>, StoreError> {
    let record = RecordV1::from_domain(version, wake_at, presence);
    postcard::to_extend(&record, vec![FORMAT_1])
        .map_err(|error| StoreError::TooLarge(format!("a record that cannot be encoded: {error}")))
}

/// What was kept.
pub(crate) fn decode(bytes: &[u8]) -> Result<Stored, RecordError> {
    let (record, rest): (RecordV1<'_>, _) =
        postcard::take_from_bytes(body(bytes)?).map_err(|_| RecordError::Malformed)?;
    if !rest.is_empty() {
        return Err(RecordError::Malformed);
    }
    record.into_domain()
}

/// What was kept, read over a record that is no longer wanted: its memory is used again.
pub(crate) fn decode_over(stored: &mut Stored, bytes: &[u8]) -> Result<(), RecordError> {
    if plain::decode_over(stored, bytes).is_none() {
        *stored = decode(bytes)?;
    }
    Ok(())
}

/// What was kept, in short, if there is no more to it.
pub(crate) fn short(bytes: &[u8]) -> Option<Sole> {
    plain::short(bytes)
}

/// The head of what was kept.
pub(crate) fn peek(bytes: &[u8]) -> Result<Head, RecordError> {
    plain::peek(bytes).map_or_else(|| peek_any(bytes), Ok)
}

fn peek_any(bytes: &[u8]) -> Result<Head, RecordError> {
    let (head, _): (HeadV1, _) =
        postcard::take_from_bytes(body(bytes)?).map_err(|_| RecordError::Malformed)?;
    head.into_domain()
}

fn body(bytes: &[u8]) -> Result<&[u8], RecordError> {
    match bytes.split_first() {
        Some((&FORMAT_1, body)) => Ok(body),
        Some((&format, _)) if format > FORMAT_1 => Err(RecordError::Newer(format)),
        _ => Err(RecordError::Malformed),
    }
}

/// A distance in time, in nanoseconds here; in its stored form a count of the coarsest unit that is exact, with the
/// unit in the two lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(i128);

/// Seconds, milliseconds, the clock's own ticks, and the rest: `Timestamp::MAX` is not a whole tick.
const UNITS_NANOS: [i128; 4] = [1_000_000_000, 1_000_000, 100, 1];

impl Span {
    pub(crate) fn between(from: Timestamp, to: Timestamp) -> Self {
        Self(to.as_nanosecond() - from.as_nanosecond())
    }

    pub(crate) fn after(self, from: Timestamp) -> Result<Timestamp, RecordError> {
        let nanos = from.as_nanosecond().checked_add(self.0).ok_or(RecordError::Instant)?;
        Timestamp::from_nanosecond(nanos).map_err(|_| RecordError::Instant)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The bytes are the same; dividing 128 bits takes many times as long, and nearly every span fits into half of them.
        if let Ok(nanos) = i64::try_from(self.0) {
            let units = UNITS_NANOS.map(|unit| unit as i64);
            let (code, unit) = (0..).zip(units).find(|(_, unit)| nanos % unit == 0).unwrap_or((3, 1));
            if let Some(kept) = (nanos / unit).checked_mul(4) {
                return serializer.serialize_i64(kept + code);
            }
        }
        let (code, unit) = (0..).zip(UNITS_NANOS).find(|(_, unit)| self.0 % unit == 0).unwrap_or((3, 1));
        serializer.serialize_i128(self.0 / unit * 4 + code)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = i128::deserialize(deserializer)?;
        let unit = UNITS_NANOS[(kept & 3) as usize];
        let nanos = (kept >> 2).checked_mul(unit);
        nanos.map(Self).ok_or_else(|| serde::de::Error::custom("a span out of range"))
    }
}

/// The first fields of every [`RecordV1`].
#[derive(Deserialize)]
struct HeadV1 {
    version: u64,
    settled_at: Span,
    wake_at: Option<Span>,
}

impl HeadV1 {
    fn into_domain(self) -> Result<Head, RecordError> {
        let settled_at = self.settled_at.after(Timestamp::UNIX_EPOCH)?;
        let wake_at = self.wake_at.map(|wake_at| wake_at.after(settled_at)).transpose()?;
        Ok(Head { version: Version(self.version), settled_at, wake_at })
    }
}

/// Format 1.
#[derive(Serialize, Deserialize)]
struct RecordV1<'a> {
    version: u64,
    /// From the Unix epoch; all other instants are counted from here, except the ends, counted from their start.
    settled_at: Span,
    wake_at: Option<Span>,
    sequence_number: u64,
    sessions: Vec<SessionV1>,
    /// One byte for the many users who have nothing but sessions.
    #[serde(borrow)]
    rest: Option<RestV1<'a>>,
}

#[derive(Serialize, Deserialize)]
struct SessionV1 {
    app: [u8; 16],
    pair: SessionPairV1,
    set_at: Span,
    expires_at: Span,
}

#[derive(Serialize, Deserialize)]
struct RestV1<'a> {
    preferred: Option<PreferredV1>,
    #[serde(borrow)]
    status_message: Option<StatusMessageV1<'a>>,
    manual_location: Option<ManualLocationV1<'a>>,
    automatic_locations: Vec<AutomaticLocationV1<'a>>,
    schedule: Vec<ScheduledLocationV1<'a>>,
    out_of_office: Option<OutOfOfficeV1<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PreferredV1 {
    pair: PreferredPairV1,
    set_at: Span,
    expires_at: Span,
}

#[derive(Serialize, Deserialize)]
struct StatusMessageV1<'a> {
    text: &'a str,
    published_at: Span,
    expires_at: Option<Span>,
}

#[derive(Serialize, Deserialize)]
struct LocationV1<'a> {
    kind: LocationKindV1,
    #[serde(borrow)]
    place: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct ManualLocationV1<'a> {
    #[serde(borrow)]
    location: LocationV1<'a>,
    set_at: Span,
    expires_at: Span,
}

#[derive(Serialize, Deserialize)]
struct AutomaticLocationV1<'a> {
    app: [u8; 16],
    #[serde(borrow)]
    location: LocationV1<'a>,
    set_at: Span,
    expires_at: Span,
}

#[derive(Serialize, Deserialize)]
struct ScheduledLocationV1<'a> {
    #[serde(borrow)]
    location: LocationV1<'a>,
    starts_at: Span,
    ends_at: Span,
}

#[derive(Serialize, Deserialize)]
struct OutOfOfficeV1<'a> {
    #[serde(borrow)]
    message: Option<&'a str>,
    starts_at: Option<Span>,
    ends_at: Option<Span>,
}

/// Two enums of the same variants, one the domain's and one the stored form's, whose order never changes.
macro_rules! stored_enum {
    ($stored:ident for $domain:ident { $($variant:ident),+ $(,)? }) => {
        #[derive(Clone, Copy, Serialize, Deserialize)]
        enum $stored { $($variant),+ }

        impl From<$domain> for $stored {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant),+ }
            }
        }

        impl From<$stored> for $domain {
            fn from(value: $stored) -> Self {
                match value { $($stored::$variant => Self::$variant),+ }
            }
        }
    };
}

stored_enum!(SessionPairV1 for SessionPair { Available, InACall, InAConferenceCall, Away, Presenting });
stored_enum!(PreferredPairV1 for PreferredPair { Available, Busy, DoNotDisturb, BeRightBack, Away, OffWork });
stored_enum!(LocationKindV1 for LocationKind { Office, Remote, TimeOff });

impl<'a> RecordV1<'a> {
    fn from_domain(version: Version, wake_at: Option<Timestamp>, presence: &'a UserPresence) -> Self {
        // Taken apart without `..`: a new field of the domain does not compile until somebody decides about it here.
        let UserPresence {
            sessions,
            preferred,
            status_message,
            manual_location,
            automatic_locations,
            schedule,
            out_of_office,
            sequence_number,
            settled_at,
        } = presence;
        let settled_at = *settled_at;
        let since = |at: Timestamp| Span::between(settled_at, at);
        let rest = RestV1 {
            preferred: preferred.map(|preferred| PreferredV1 {
                pair: preferred.pair.into(),
                set_at: since(preferred.set_at),
                expires_at: Span::between(preferred.set_at, preferred.expires_at),
            }),
            status_message: status_message.as_ref().map(|message| StatusMessageV1 {
                text: message.text.as_str(),
                published_at: since(message.published_at),
                expires_at: message.expires_at.map(since),
            }),
            manual_location: manual_location.as_ref().map(|manual| ManualLocationV1 {
                location: LocationV1::from_domain(&manual.location),
                set_at: since(manual.set_at),
                expires_at: since(manual.expires_at),
            }),
            automatic_locations: automatic_locations
                .iter()
                .map(|signal| AutomaticLocationV1 {
                    app: signal.app.as_u128().to_be_bytes(),
                    location: LocationV1::from_domain(&signal.location),
                    set_at: since(signal.set_at),
                    expires_at: since(signal.expires_at),
                })
                .collect(),
            schedule: schedule
                .segments()
                .iter()
                .map(|segment| ScheduledLocationV1 {
                    location: LocationV1::from_domain(&segment.location),
                    starts_at: since(segment.starts_at),
                    ends_at: Span::between(segment.starts_at, segment.ends_at),
                })
                .collect(),
            out_of_office: out_of_office.as_ref().map(|window| OutOfOfficeV1 {
                message: window.message(),
                starts_at: window.starts_at().map(since),
                ends_at: window.ends_at().map(since),
            }),
        };
        Self {
            version: version.0,
            settled_at: Span::between(Timestamp::UNIX_EPOCH, settled_at),
            wake_at: wake_at.map(since),
            sequence_number: sequence_number.0,
            sessions: sessions
                .iter()
                .map(|session| SessionV1 {
                    app: session.app.as_u128().to_be_bytes(),
                    pair: session.pair.into(),
                    set_at: since(session.set_at),
                    expires_at: Span::between(session.set_at, session.expires_at),
                })
                .collect(),
            rest: (!rest.is_empty()).then_some(rest),
        }
    }

    fn into_domain(self) -> Result<Stored, RecordError> {
        let settled_at = self.settled_at.after(Timestamp::UNIX_EPOCH)?;
        // Read and dropped: the keeper asks `peek` for it. Read all the same, so that damage is found.
        self.wake_at.map(|wake_at| wake_at.after(settled_at)).transpose()?;
        let session = |session: &SessionV1| {
            let set_at = session.set_at.after(settled_at)?;
            let expires_at = session.expires_at.after(set_at)?;
            Ok(Session { app: app(session.app), pair: session.pair.into(), set_at, expires_at })
        };
        let mut presence = UserPresence {
            sessions: self.sessions.iter().map(session).collect::<Result<_, RecordError>>()?,
            sequence_number: SequenceNumber(self.sequence_number),
            settled_at,
            ..UserPresence::default()
        };
        if let Some(rest) = self.rest {
            rest.fill(&mut presence)?;
        }
        Ok(Stored { presence, version: Version(self.version) })
    }
}

impl RestV1<'_> {
    fn is_empty(&self) -> bool {
        self.preferred.is_none()
            && self.status_message.is_none()
            && self.manual_location.is_none()
            && self.automatic_locations.is_empty()
            && self.schedule.is_empty()
            && self.out_of_office.is_none()
    }

    fn fill(self, presence: &mut UserPresence) -> Result<(), RecordError> {
        let settled_at = presence.settled_at;
        if let Some(preferred) = self.preferred {
            let set_at = preferred.set_at.after(settled_at)?;
            let expires_at = preferred.expires_at.after(set_at)?;
            presence.preferred = Some(Preferred { pair: preferred.pair.into(), set_at, expires_at });
        }
        if let Some(message) = self.status_message {
            let text = StatusText::new(message.text).ok().flatten().ok_or(RecordError::Refused)?;
            presence.status_message = Some(StatusMessage {
                text,
                published_at: message.published_at.after(settled_at)?,
                expires_at: message.expires_at.map(|at| at.after(settled_at)).transpose()?,
            });
        }
        if let Some(manual) = self.manual_location {
            presence.manual_location = Some(ManualLocation {
                location: manual.location.into_domain()?,
                set_at: manual.set_at.after(settled_at)?,
                expires_at: manual.expires_at.after(settled_at)?,
            });
        }
        for signal in self.automatic_locations {
            presence.automatic_locations.push(AutomaticLocation {
                app: app(signal.app),
                location: signal.location.into_domain()?,
                set_at: signal.set_at.after(settled_at)?,
                expires_at: signal.expires_at.after(settled_at)?,
            });
        }
        let mut segments = Vec::with_capacity(self.schedule.len());
        for segment in self.schedule {
            let starts_at = segment.starts_at.after(settled_at)?;
            let ends_at = segment.ends_at.after(starts_at)?;
            segments.push(ScheduledLocation {
                location: segment.location.into_domain()?,
                starts_at,
                ends_at,
            });
        }
        presence.schedule = Schedule::new(segments).map_err(|_| RecordError::Refused)?;
        if let Some(window) = self.out_of_office {
            let starts_at = window.starts_at.map(|at| at.after(settled_at)).transpose()?;
            let ends_at = window.ends_at.map(|at| at.after(settled_at)).transpose()?;
            let window = OutOfOffice::new(window.message, starts_at, ends_at);
            presence.out_of_office = Some(window.map_err(|_| RecordError::Refused)?);
        }
        Ok(())
    }
}

impl<'a> LocationV1<'a> {
    fn from_domain(location: &'a Location) -> Self {
        let Location { kind, place } = location;
        Self { kind: (*kind).into(), place: place.as_ref().map(PlaceId::as_str) }
    }

    fn into_domain(self) -> Result<Location, RecordError> {
        let place = match self.place {
            // A place is never empty, so an empty one was not written by this code.
            Some(text) => Some(PlaceId::new(text).ok().flatten().ok_or(RecordError::Refused)?),
            None => None,
        };
        Ok(Location { kind: self.kind.into(), place })
    }
}

fn app(bytes: [u8; 16]) -> AppId {
    AppId::from_u128(u128::from_be_bytes(bytes))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
