//! Records of users who have nothing but sessions, read in a straight line over a record that is there already.
//!
//! Nearly everybody's record is such a one, and a batch read decodes 650 of them: by serde, which knows every shape a
//! record can have and counts instants in 128 bits, that was a fifth of its time. This reads the same bytes of format 1
//! where they are what is common, and answers `None` for whatever is not: the rest of a record, numbers that do not fit
//! in 63 bits, instants outside 1970 to 2262, and damage. All of that is [`super::decode`]'s business, and so is every
//! error. The tests hold the two against each other.

use presence::{AppId, SequenceNumber, Session, SessionPair, Timestamp, UserPresence};

use super::{FORMAT_1, Head, SessionPairV1};
use crate::{Stored, Version};

const NANOS_PER_SEC: i64 = 1_000_000_000;
/// As [`super::UNITS_NANOS`].
const UNITS_NANOS: [i64; 4] = [NANOS_PER_SEC, 1_000_000, 100, 1];

/// The head of a record, whatever else is in it.
pub(super) fn peek(bytes: &[u8]) -> Option<Head> {
    let (&FORMAT_1, body) = bytes.split_first()? else { return None };
    let mut body = Reader(body);
    let version = Version(body.number()?);
    let settled_nanos = body.span()?;
    let wake_at = match body.byte()? {
        0 => None,
        1 => Some(instant(settled_nanos.checked_add(body.span()?)?)?),
        _ => return None,
    };
    Some(Head { version, settled_at: instant(settled_nanos)?, wake_at })
}

/// Reads a plain record over `stored`. After `None`, what is in it means nothing.
pub(super) fn decode_over(stored: &mut Stored, bytes: &[u8]) -> Option<()> {
    let (&FORMAT_1, body) = bytes.split_first()? else { return None };
    let mut body = Reader(body);
    stored.version = Version(body.number()?);
    let settled_nanos = body.span()?;
    match body.byte()? {
        0 => {}
        // When to wake the user: not a reader's concern, but that it is an instant is part of being a record.
        1 => {
            instant(settled_nanos.checked_add(body.span()?)?)?;
        }
        _ => return None,
    }
    // Taken apart without `..`, as where it is written: nothing of the user before may stay.
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
    } = &mut stored.presence;
    *settled_at = instant(settled_nanos)?;
    *sequence_number = SequenceNumber(body.number()?);
    sessions.clear();
    for _ in 0..body.number()? {
        let app = AppId::from_u128(u128::from_be_bytes(body.bytes()?));
        let pair = pair(body.byte()?)?;
        let set_nanos = settled_nanos.checked_add(body.span()?)?;
        let expires_nanos = set_nanos.checked_add(body.span()?)?;
        let (set_at, expires_at) = (instant(set_nanos)?, instant(expires_nanos)?);
        sessions.push(Session { app, pair, set_at, expires_at });
    }
    *preferred = None;
    *status_message = None;
    *manual_location = None;
    automatic_locations.clear();
    if !schedule.segments().is_empty() {
        *schedule = presence::Schedule::default();
    }
    *out_of_office = None;
    let has_rest = body.byte()? != 0;
    (!has_rest && body.0.is_empty()).then_some(())
}

fn instant(nanos: i64) -> Option<Timestamp> {
    if nanos < 0 {
        return None;
    }
    Timestamp::new(nanos / NANOS_PER_SEC, (nanos % NANOS_PER_SEC) as i32).ok()
}

/// A variant by its place, which is how it is kept.
fn pair(place: u8) -> Option<SessionPair> {
    const ALL: [SessionPairV1; 5] = [
        SessionPairV1::Available,
        SessionPairV1::InACall,
        SessionPairV1::InAConferenceCall,
        SessionPairV1::Away,
        SessionPairV1::Presenting,
    ];
    Some((*ALL.get(usize::from(place))?).into())
}

/// What is left of the bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes(&mut self) -> Option<[u8; 16]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A number of at most 63 bits, seven to a byte, lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A span in nanoseconds: see [`super::Span`]. Negative ones are kept as odd numbers.
    fn span(&mut self) -> Option<i64> {
        let number = self.number()?;
        let kept = (number >> 1) as i64 ^ -((number & 1) as i64);
        (kept >> 2).checked_mul(UNITS_NANOS[(kept & 3) as usize])
    }
}
