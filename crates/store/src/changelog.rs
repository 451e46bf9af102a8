//! The one sequenced log of visible changes, in memory: entries packed into a ring that forgets from its old end.
//!
//! Durability is not decided here: whoever keeps the log shows it an entry when the entry is durable. Nor is who a user
//! is: an entry has a number, and whoever asks knows whose it is.
//!
//! An entry takes some ten bytes, and is found by going through its chunk from the beginning:
//!
//! ```text
//! user's number 4 | availability, activity and whether the pair changed 1 | sequence number, 1 to 10 | instant, 1 to 19
//! ```
//!
//! The last two are variable-length integers, the instant as its distance from that of the entry before it.

use std::collections::VecDeque;
use std::time::Duration;

use presence::{Activity, Availability, Change, Pair, SequenceNumber, Timestamp};

use crate::record::plain;
use crate::{Position, Retention};

/// Entries of a chunk: how many are allocated and freed at a time, and looked through to find one.
const CHUNK_ENTRIES: usize = 128;
/// Into how many pieces the retained time is cut: an entry may be kept that much of it longer.
const MARKS_PER_AGE: u32 = 128;
/// The clock's own tick: instants are mostly whole ones.
const TICK_NANOS: i128 = 100;

/// The retained entries. Positions of those in it follow each other without a gap, and the last is the last ever given.
pub(crate) struct Ring {
    retention: Retention,
    /// The position of the first retained entry, or the one after the end when none is.
    oldest: u64,
    end: u64,
    chunks: VecDeque<Chunk>,
    /// How many entries of the first chunk are forgotten.
    skip: usize,
    marks: VecDeque<Mark>,
}

/// Everything up to a position was written when it was about this late.
///
/// An entry's own instant would not do: a late tick, or a clock that was moved by days, writes what happened days ago,
/// and that must not be forgotten before anybody could read it.
#[derive(Clone, Copy)]
struct Mark {
    up_to: u64,
    written_at: Timestamp,
}

/// Entries one after the other; all chunks but the last are full.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    entries: usize,
    /// The instant of the last entry, in nanoseconds since 1970.
    last_nanos: i128,
}

/// Entries as they stand in a ring, or why there are none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RingRead {
    Page { entries: Vec<RingEntry>, end: Position },
    Behind { oldest: Position, end: Position },
}

/// An entry, its user by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingEntry {
    pub(crate) position: Position,
    pub(crate) user: u32,
    pub(crate) change: Change,
}

impl Ring {
    pub(crate) fn new(retention: Retention) -> Self {
        let (chunks, marks) = (VecDeque::new(), VecDeque::new());
        Self { retention, oldest: 1, end: 0, chunks, skip: 0, marks }
    }

    pub(crate) fn end(&self) -> Position {
        Position(self.end)
    }

    pub(crate) fn oldest(&self) -> Position {
        Position(self.oldest)
    }

    /// Appends the entry with the next position, written at about `written_at`.
    pub(crate) fn push(&mut self, user: u32, change: &Change, written_at: Timestamp) {
        if self.chunks.back().is_none_or(|chunk| chunk.entries == CHUNK_ENTRIES) {
            self.chunks.push_back(Chunk::default());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(user, change);
        }
        self.end += 1;
        self.mark(written_at);
        let retained = usize::try_from(self.end + 1 - self.oldest).unwrap_or(usize::MAX);
        self.forget(retained.saturating_sub(self.retention.entries.max(1)));
    }

    /// Forgets everything and goes on after `end`: what is between was trimmed, and its positions stay used.
    pub(crate) fn restart_after(&mut self, end: Position) {
        self.chunks.clear();
        self.marks.clear();
        self.skip = 0;
        (self.oldest, self.end) = (end.0 + 1, end.0);
    }

    /// Forgets what was written longer ago than is retained.
    pub(crate) fn trim(&mut self, now: Timestamp) {
        let piece = self.retention.age / MARKS_PER_AGE;
        let limit = now.saturating_sub(self.retention.age.saturating_add(piece)).unwrap_or(Timestamp::MIN);
        while let Some(mark) = self.marks.front().filter(|mark| mark.written_at < limit) {
            let up_to = mark.up_to;
            self.marks.pop_front();
            self.forget(usize::try_from((up_to + 1).saturating_sub(self.oldest)).unwrap_or(usize::MAX));
        }
    }

    /// At most `max` entries after a position.
    pub(crate) fn read(&self, after: Position, max: usize) -> RingRead {
        let end = self.end();
        let first = after.0.saturating_add(1);
        if first < self.oldest {
            return RingRead::Behind { oldest: self.oldest(), end };
        }
        let wanted = usize::try_from(self.end.saturating_sub(after.0)).unwrap_or(usize::MAX).min(max);
        let place = usize::try_from(first - self.oldest).unwrap_or(usize::MAX).saturating_add(self.skip);
        let chunks = self.chunks.range((place / CHUNK_ENTRIES).min(self.chunks.len())..);
        let entries = chunks.flat_map(Chunk::entries).skip(place % CHUNK_ENTRIES).take(wanted);
        let entries = entries.zip(first..).map(|((user, change), position)| RingEntry {
            position: Position(position),
            user,
            change,
        });
        RingRead::Page { entries: entries.collect(), end }
    }

    fn mark(&mut self, written_at: Timestamp) {
        let piece = self.retention.age / MARKS_PER_AGE;
        let up_to = self.end;
        match self.marks.back_mut() {
            Some(last) if written_at < last.written_at.saturating_add(piece).unwrap_or(Timestamp::MAX) => {
                last.up_to = up_to;
            }
            _ => self.marks.push_back(Mark { up_to, written_at }),
        }
    }

    fn forget(&mut self, count: usize) {
        let count = count.min(usize::try_from(self.end + 1 - self.oldest).unwrap_or(usize::MAX));
        self.oldest += count as u64;
        self.skip += count;
        while self.skip >= CHUNK_ENTRIES {
            self.chunks.pop_front();
            self.skip -= CHUNK_ENTRIES;
        }
        while self.marks.front().is_some_and(|mark| mark.up_to < self.oldest) {
            self.marks.pop_front();
        }
    }
}

impl Chunk {
    fn push(&mut self, user: u32, change: &Change) {
        let Change { at, pair, sequence_number, is_pair_changed } = change;
        let nanos = at.as_nanosecond();
        self.bytes.extend_from_slice(&user.to_le_bytes());
        self.bytes.push(
            availability_code(pair.availability)
                | activity_code(pair.activity) << 3
                | u8::from(*is_pair_changed) << 7,
        );
        plain::put_number(&mut self.bytes, sequence_number.0);
        put_distance(&mut self.bytes, nanos - self.last_nanos);
        self.entries += 1;
        self.last_nanos = nanos;
        if self.entries == CHUNK_ENTRIES {
            self.bytes.shrink_to_fit();
        }
    }

    fn entries(&self) -> impl Iterator<Item = (u32, Change)> {
        let (mut rest, mut nanos) = (&self.bytes[..], 0);
        // What was packed can be unpacked; the fallbacks keep a panic out of a path that cannot be taken.
        std::iter::from_fn(move || {
            let (user, after) = rest.split_first_chunk::<4>()?;
            let (code, after) = after.split_first()?;
            rest = after;
            let sequence_number = SequenceNumber(u64::try_from(take_integer(&mut rest)?).ok()?);
            nanos += take_distance(&mut rest)?;
            let change = Change {
                at: instant(nanos).unwrap_or(Timestamp::UNIX_EPOCH),
                pair: pair_of(code & 0x07, code >> 3 & 0x0f).unwrap_or(Pair::UNKNOWN),
                sequence_number,
                is_pair_changed: code >> 7 == 1,
            };
            Some((u32::from_le_bytes(*user), change))
        })
    }
}

/// How far an instant is from the one before it. The lowest bit of what is written says whether what is above it are ticks or
/// nanoseconds: `Timestamp::MAX` is no whole tick. Nearly all are hours apart at most, for which 64 bits are enough, and
/// several times as fast.
fn put_distance(bytes: &mut Vec<u8>, distance: i128) {
    match i64::try_from(distance).ok().filter(|distance| distance.unsigned_abs() < 1 << 60) {
        Some(distance) => {
            let ticks = distance / TICK_NANOS as i64;
            let is_whole = ticks * TICK_NANOS as i64 == distance;
            let kept = if is_whole { ticks * 2 } else { distance * 2 + 1 };
            plain::put_number(bytes, (kept << 1 ^ kept >> 63).cast_unsigned());
        }
        None => {
            let is_whole = distance % TICK_NANOS == 0;
            let kept = if is_whole { distance / TICK_NANOS * 2 } else { distance * 2 + 1 };
            put_integer(bytes, (kept << 1 ^ kept >> 127).cast_unsigned());
        }
    }
}

fn take_distance(bytes: &mut &[u8]) -> Option<i128> {
    let mut reader = plain::Reader(bytes);
    if let Some(kept) = reader.number() {
        *bytes = reader.0;
        let kept = (kept >> 1) as i64 ^ -((kept & 1) as i64);
        let distance = kept >> 1;
        return Some(if kept & 1 == 0 { i128::from(distance) * TICK_NANOS } else { distance.into() });
    }
    let kept = take_integer(bytes)?;
    let kept = (kept >> 1).cast_signed() ^ -(kept & 1).cast_signed();
    Some(if kept & 1 == 0 { (kept >> 1) * TICK_NANOS } else { kept >> 1 })
}

/// So many nanoseconds after 1970.
fn instant(nanos: i128) -> Option<Timestamp> {
    let near = i64::try_from(nanos).ok().and_then(plain::instant);
    near.or_else(|| Timestamp::from_nanosecond(nanos).ok())
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn put_integer(bytes: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_integer(bytes: &mut &[u8]) -> Option<u128> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
        if shift > 126 {
            return None;
        }
    }
}

/// The longest time anything is retained when nothing else is said: a day.
pub(crate) const AGE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// Codes that never change their meaning: files keep them.
macro_rules! codes {
    ($code_of:ident, $of_code:ident, $domain:ident { $($variant:ident = $code:literal),+ $(,)? }) => {
        pub(crate) const fn $code_of(value: $domain) -> u8 {
            match value { $($domain::$variant => $code),+ }
        }

        pub(crate) const fn $of_code(code: u8) -> Option<$domain> {
            match code { $($code => Some($domain::$variant),)+ _ => None }
        }
    };
}

codes!(availability_code, availability_of, Availability {
    Available = 1, Away = 2, BeRightBack = 3, Busy = 4, DoNotDisturb = 5, Offline = 6, PresenceUnknown = 7,
});
codes!(activity_code, activity_of, Activity {
    Available = 1, AvailableInactive = 2, Away = 3, BeRightBack = 4, Busy = 5, DoNotDisturb = 6, InACall = 7,
    InAConferenceCall = 8, Offline = 9, OffWork = 10, OutOfOffice = 11, PresenceUnknown = 12, Presenting = 13,
});

pub(crate) fn pair_of(availability: u8, activity: u8) -> Option<Pair> {
    Some(Pair::new(availability_of(availability)?, activity_of(activity)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 100).unwrap()
    }

    fn entry(position: u64) -> RingEntry {
        let pair = if position.is_multiple_of(2) { Pair::OFFLINE } else { Pair::UNKNOWN };
        RingEntry {
            position: Position(position),
            user: (position as u32).wrapping_mul(0x9e37_79b9),
            change: Change {
                at: at(position as i64),
                pair,
                sequence_number: SequenceNumber(position),
                is_pair_changed: position.is_multiple_of(2),
            },
        }
    }

    fn ring(entries: usize, age_secs: u64, count: u64) -> Ring {
        let mut ring = Ring::new(Retention { age: Duration::from_secs(age_secs), entries });
        for position in 1..=count {
            let RingEntry { user, change, .. } = entry(position);
            ring.push(user, &change, at(position as i64));
        }
        ring
    }

    #[test]
    fn any_instant_and_any_number_comes_back_as_it_was() {
        let instants = [
            Timestamp::MIN,
            Timestamp::MAX,
            Timestamp::UNIX_EPOCH,
            at(1),
            Timestamp::from_nanosecond(-1).unwrap(),
            Timestamp::MAX,
            Timestamp::MIN,
            at(1_800_000_000),
        ];
        let mut ring = Ring::new(Retention::default());
        let changes = instants.iter().zip(0..).flat_map(|(at, place)| {
            [0, 1, 127, 128, u64::MAX].map(|number| Change {
                at: *at,
                pair: pair_of(1 + place % 7, 1 + (place * 5) % 13).unwrap(),
                sequence_number: SequenceNumber(number),
                is_pair_changed: place % 2 == 0,
            })
        });
        let changes: Vec<Change> = changes.collect();
        for change in &changes {
            ring.push(u32::MAX, change, change.at);
        }
        let RingRead::Page { entries, .. } = ring.read(Position(0), usize::MAX) else { panic!() };
        assert_eq!(entries.iter().map(|entry| entry.change).collect::<Vec<_>>(), changes);
        assert!(entries.iter().all(|entry| entry.user == u32::MAX));
    }

    #[test]
    fn an_entry_of_a_busy_minute_takes_a_dozen_bytes() {
        let mut ring = Ring::new(Retention::default());
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        for number in 0..100_000_u32 {
            let change = Change {
                at: start + Duration::from_nanos(u64::from(number) * 600_000 / 100 * 100),
                pair: Pair::OFFLINE,
                sequence_number: SequenceNumber(u64::from(number % 300)),
                is_pair_changed: true,
            };
            ring.push(number, &change, change.at);
        }
        let bytes: usize = ring.chunks.iter().map(|chunk| size_of::<Chunk>() + chunk.bytes.capacity()).sum();
        assert!(bytes <= 12 * 100_000, "{bytes}");
    }

    #[test]
    fn what_is_read_is_what_was_pushed_across_chunks() {
        let count = 3 * CHUNK_ENTRIES as u64 + 7;
        let ring = ring(usize::MAX, 1_000_000, count);
        let mut after = Position(0);
        while after < ring.end() {
            let RingRead::Page { entries, end } = ring.read(after, 1_000) else { panic!() };
            assert_eq!(end, Position(count));
            assert!(entries.len() == 1_000 || entries.last().unwrap().position == end);
            for found in entries {
                assert_eq!(found, entry(after.0 + 1));
                after = found.position;
            }
        }
        assert_eq!(ring.read(after, 10), RingRead::Page { entries: vec![], end: after });
        let ahead = Position(count + 50);
        assert_eq!(ring.read(ahead, 10), RingRead::Page { entries: vec![], end: after });
    }

    #[test]
    fn more_than_is_retained_is_forgotten_and_a_reader_behind_it_is_told() {
        let ring = ring(5_000, 1_000_000, 20_000);
        assert_eq!((ring.oldest(), ring.end()), (Position(15_001), Position(20_000)));
        assert!(matches!(ring.read(Position(14_999), 1), RingRead::Behind { oldest: Position(15_001), .. }));
        let RingRead::Page { entries, .. } = ring.read(Position(15_000), 1) else { panic!() };
        assert_eq!(entries, [entry(15_001)]);
        assert!(ring.chunks.len() <= 5_000 / CHUNK_ENTRIES + 2, "chunks are freed");
    }

    #[test]
    fn what_was_written_long_ago_is_forgotten_and_nothing_else() {
        let mut ring = ring(usize::MAX, 1_000, 10_000);
        ring.trim(at(5_000));
        let oldest = ring.oldest().0;
        assert!((3_900..=4_001).contains(&oldest), "{oldest}");
        assert!(ring.marks.len() <= 2 + MARKS_PER_AGE as usize * 10);
        ring.trim(at(20_000));
        assert_eq!((ring.oldest(), ring.end()), (Position(10_001), Position(10_000)), "positions stay used");
        // Late news: it happened long ago and is written now, so it stays.
        let RingEntry { user, change, .. } = entry(1);
        ring.push(user, &change, at(20_000));
        ring.trim(at(20_500));
        assert_eq!(ring.oldest(), Position(10_001));
    }

    #[test]
    fn every_pair_has_a_code_of_its_own() {
        let pairs = (0..=255).flat_map(|a| (0..=255).filter_map(move |b| pair_of(a, b).map(|p| (a, b, p))));
        let mut seen = std::collections::HashSet::new();
        for (availability, activity, pair) in pairs {
            assert_eq!(availability_code(pair.availability), availability);
            assert_eq!(activity_code(pair.activity), activity);
            assert!(seen.insert(pair));
        }
        assert_eq!(seen.len(), 7 * 13);
    }
}
