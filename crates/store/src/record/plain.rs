//! Records of users who have nothing but sessions, read and written in a straight line.
//!
//! Nearly everybody's record is such a one, and a batch read decodes 650 of them: by serde, which knows every shape a
//! record can have and counts instants in 128 bits, that was a fifth of its time, and a write pays it in both directions. This
//! reads and writes the same bytes of format 1 where they are what is common, and answers `None` for whatever is not: the
//! rest of a record, numbers that do not fit in 63 bits, instants outside 1970 to 2262, and damage. All of that is the business
//! of [`super::decode`] and [`super::encode`], and so is every error. The tests hold the two ways against each other.

use presence::{AppId, Nanos, SequenceNumber, Session, SessionPair, Sole, Timestamp, UserPresence};

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

/// Reads a plain record with one session, in short.
pub(super) fn short(bytes: &[u8]) -> Option<Sole> {
    let (&FORMAT_1, body) = bytes.split_first()? else { return None };
    let mut body = Reader(body);
    let _version = body.number()?;
    let settled_at = body.span()?;
    match body.byte()? {
        0 => {}
        1 => {
            nanos(settled_at.checked_add(body.span()?)?)?;
        }
        _ => return None,
    }
    let sequence_number = SequenceNumber(body.number()?);
    let (1, _app) = (body.byte()?, body.bytes()?) else { return None };
    let pair = pair(body.byte()?)?;
    let set_at = settled_at.checked_add(body.span()?)?;
    let expires_at = nanos(set_at.checked_add(body.span()?)?)?;
    let (set_at, settled_at) = (nanos(set_at)?, nanos(settled_at)?);
    (body.0 == [0]).then_some(Sole { pair, set_at, expires_at, settled_at, sequence_number })
}

/// An instant of so many nanoseconds since 1970, if it is one that a [`Sole`] has.
fn nanos(nanos: i64) -> Option<Nanos> {
    (0..i64::MAX).contains(&nanos).then_some(Nanos(nanos))
}

/// Writes a plain record behind what is in `out`. After `None`, what stands there means nothing.
pub(super) fn encode(
    version: Version,
    wake_at: Option<Timestamp>,
    presence: &UserPresence,
    out: &mut Vec<u8>,
) -> Option<()> {
    // Taken apart without `..`: what a new field of the domain means for a plain record is decided here.
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
    let is_plain = preferred.is_none()
        && status_message.is_none()
        && manual_location.is_none()
        && automatic_locations.is_empty()
        && schedule.segments().is_empty()
        && out_of_office.is_none();
    if !is_plain {
        return None;
    }
    let settled_nanos = nanos_of(*settled_at)?;
    let since = |at: Timestamp| nanos_of(at)?.checked_sub(settled_nanos);
    out.push(FORMAT_1);
    put_number(out, version.0);
    put_span(out, settled_nanos)?;
    match wake_at {
        None => out.push(0),
        Some(wake_at) => {
            out.push(1);
            put_span(out, since(wake_at)?)?;
        }
    }
    put_number(out, sequence_number.0);
    put_number(out, sessions.len() as u64);
    for Session { app, pair, set_at, expires_at } in sessions {
        out.extend_from_slice(&app.as_u128().to_be_bytes());
        out.push(SessionPairV1::from(*pair) as u8);
        put_span(out, since(*set_at)?)?;
        put_span(out, nanos_of(*expires_at)?.checked_sub(nanos_of(*set_at)?)?)?;
    }
    out.push(0);
    Some(())
}

/// Nanoseconds since 1970.
pub(crate) fn nanos_of(at: Timestamp) -> Option<i64> {
    at.as_second().checked_mul(NANOS_PER_SEC)?.checked_add(i64::from(at.subsec_nanosecond()))
}

/// A span in nanoseconds, in the coarsest unit that is exact: see [`super::Span`].
pub(crate) fn put_span(out: &mut Vec<u8>, nanos: i64) -> Option<()> {
    // By constants, so that no division is one.
    let (count, code) = if nanos % UNITS_NANOS[0] == 0 {
        (nanos / UNITS_NANOS[0], 0)
    } else if nanos % UNITS_NANOS[1] == 0 {
        (nanos / UNITS_NANOS[1], 1)
    } else if nanos % UNITS_NANOS[2] == 0 {
        (nanos / UNITS_NANOS[2], 2)
    } else {
        (nanos, 3)
    };
    let kept = count.checked_mul(4)?.checked_add(code)?;
    put_number(out, (kept << 1 ^ kept >> 63).cast_unsigned());
    Some(())
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// An instant of so many nanoseconds since 1970.
pub(crate) fn instant(nanos: i64) -> Option<Timestamp> {
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
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(crate) fn bytes(&mut self) -> Option<[u8; 16]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A number of at most 63 bits, seven to a byte, lowest first.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        // Eight bytes at once where there are so many: instants, and nothing else, are as long.
        let Some(eight) = self.0.first_chunk() else { return self.number_by_bytes() };
        let eight = u64::from_le_bytes(*eight);
        let ends = !eight & 0x8080_8080_8080_8080;
        // All bits up to the first that says that nothing follows.
        let number = eight & (ends ^ ends.wrapping_sub(1)) & 0x7f7f_7f7f_7f7f_7f7f;
        let number = (number & 0x7f00_7f00_7f00_7f00) >> 1 | number & 0x007f_007f_007f_007f;
        let number = (number & 0x3fff_0000_3fff_0000) >> 2 | number & 0x0000_3fff_0000_3fff;
        let number = (number & 0x0fff_ffff_0000_0000) >> 4 | number & 0x0000_0000_0fff_ffff;
        if ends != 0 {
            self.0 = &self.0[ends.trailing_zeros() as usize / 8 + 1..];
            return Some(number);
        }
        let ninth = *self.0.get(8).filter(|ninth| **ninth < 0x80)?;
        self.0 = &self.0[9..];
        Some(u64::from(ninth) << 56 | number)
    }

    fn number_by_bytes(&mut self) -> Option<u64> {
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
    pub(crate) fn span(&mut self) -> Option<i64> {
        let number = self.number()?;
        let kept = (number >> 1) as i64 ^ -((number & 1) as i64);
        (kept >> 2).checked_mul(UNITS_NANOS[(kept & 3) as usize])
    }
}
