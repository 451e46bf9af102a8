//! The one sequenced log of visible changes, in memory: entries packed into a ring that forgets from its old end.
//!
//! Durability is not decided here: whoever keeps the log shows it an entry when the entry is durable.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use presence::{Activity, Availability, Change, Pair, SequenceNumber, TenantId, Timestamp, UserId, UserKey};

use crate::{LogEntry, LogRead, Position, Retention};

/// Entries allocated at a time, and freed at a time.
const CHUNK_ENTRIES: usize = 4_096;
/// Into how many pieces the retained time is cut: an entry may be kept that much of it longer.
const MARKS_PER_AGE: u32 = 128;

/// The retained entries. Positions of those in it follow each other without a gap, and the last is the last ever given.
pub(crate) struct Ring {
    retention: Retention,
    /// The position of the first retained entry, or the one after the end when none is.
    oldest: u64,
    end: u64,
    chunks: VecDeque<Vec<Packed>>,
    /// How many entries of the first chunk are forgotten.
    skip: usize,
    tenants: Vec<TenantId>,
    tenant_numbers: HashMap<TenantId, u32>,
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

struct Packed {
    user: [u8; 16],
    second: i64,
    sequence_number: u64,
    nanosecond: i32,
    tenant: u32,
    availability: u8,
    activity: u8,
    is_pair_changed: bool,
}

const _: () = assert!(size_of::<Packed>() <= 48, "an entry of the change log has grown");

impl Ring {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            retention,
            oldest: 1,
            end: 0,
            chunks: VecDeque::new(),
            skip: 0,
            tenants: Vec::new(),
            tenant_numbers: HashMap::new(),
            marks: VecDeque::new(),
        }
    }

    pub(crate) fn end(&self) -> Position {
        Position(self.end)
    }

    pub(crate) fn oldest(&self) -> Position {
        Position(self.oldest)
    }

    /// Appends the entry with the next position, written at about `written_at`.
    pub(crate) fn push(&mut self, user: &UserKey, change: &Change, written_at: Timestamp) {
        let packed = self.pack(user, change);
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK_ENTRIES) {
            self.chunks.push_back(Vec::with_capacity(CHUNK_ENTRIES));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(packed);
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
    pub(crate) fn read(&self, after: Position, max: usize) -> LogRead {
        if after.0.saturating_add(1) < self.oldest {
            return LogRead::Behind { oldest: self.oldest(), end: self.end() };
        }
        let first = after.0.saturating_add(1);
        let wanted = usize::try_from(self.end.saturating_sub(after.0)).unwrap_or(usize::MAX).min(max);
        let place = usize::try_from(first - self.oldest).unwrap_or(usize::MAX).saturating_add(self.skip);
        let places = (place..).take(wanted);
        let entries = places
            .zip(first..)
            .map(|(place, position)| {
                self.unpack(position, &self.chunks[place / CHUNK_ENTRIES][place % CHUNK_ENTRIES])
            })
            .collect();
        LogRead::Page { entries, end: self.end() }
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

    fn pack(&mut self, user: &UserKey, change: &Change) -> Packed {
        let next = self.tenants.len() as u32;
        let tenant = *self.tenant_numbers.entry(user.tenant).or_insert(next);
        if tenant == next {
            self.tenants.push(user.tenant);
        }
        Packed {
            user: user.user.as_u128().to_be_bytes(),
            second: change.at.as_second(),
            sequence_number: change.sequence_number.0,
            nanosecond: change.at.subsec_nanosecond(),
            tenant,
            availability: availability_code(change.pair.availability),
            activity: activity_code(change.pair.activity),
            is_pair_changed: change.is_pair_changed,
        }
    }

    fn unpack(&self, position: u64, packed: &Packed) -> LogEntry {
        // What was packed can be unpacked; the fallbacks keep a panic out of a path that cannot be taken.
        let at = Timestamp::new(packed.second, packed.nanosecond).unwrap_or(Timestamp::UNIX_EPOCH);
        let pair = pair_of(packed.availability, packed.activity).unwrap_or(Pair::UNKNOWN);
        LogEntry {
            position: Position(position),
            user: UserKey {
                tenant: self.tenants[packed.tenant as usize],
                user: UserId::from_u128(u128::from_be_bytes(packed.user)),
            },
            change: Change {
                at,
                pair,
                sequence_number: SequenceNumber(packed.sequence_number),
                is_pair_changed: packed.is_pair_changed,
            },
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

    fn entry(position: u64) -> LogEntry {
        let pair = if position.is_multiple_of(2) { Pair::OFFLINE } else { Pair::UNKNOWN };
        LogEntry {
            position: Position(position),
            user: UserKey {
                tenant: TenantId::from_u128(u128::from(position % 3)),
                user: UserId::from_u128(position.into()),
            },
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
            let LogEntry { user, change, .. } = entry(position);
            ring.push(&user, &change, at(position as i64));
        }
        ring
    }

    #[test]
    fn what_is_read_is_what_was_pushed_across_chunks() {
        let count = 3 * CHUNK_ENTRIES as u64 + 7;
        let ring = ring(usize::MAX, 1_000_000, count);
        let mut after = Position(0);
        while after < ring.end() {
            let LogRead::Page { entries, end } = ring.read(after, 1_000) else { panic!() };
            assert_eq!(end, Position(count));
            assert!(entries.len() == 1_000 || entries.last().unwrap().position == end);
            for found in entries {
                assert_eq!(found, entry(after.0 + 1));
                after = found.position;
            }
        }
        assert_eq!(ring.read(after, 10), LogRead::Page { entries: vec![], end: after });
        let ahead = Position(count + 50);
        assert_eq!(ring.read(ahead, 10), LogRead::Page { entries: vec![], end: after });
    }

    #[test]
    fn more_than_is_retained_is_forgotten_and_a_reader_behind_it_is_told() {
        let ring = ring(5_000, 1_000_000, 20_000);
        assert_eq!((ring.oldest(), ring.end()), (Position(15_001), Position(20_000)));
        assert!(matches!(ring.read(Position(14_999), 1), LogRead::Behind { oldest: Position(15_001), .. }));
        let LogRead::Page { entries, .. } = ring.read(Position(15_000), 1) else { panic!() };
        assert_eq!(entries, [entry(15_001)]);
        assert!(ring.chunks.len() <= 3, "chunks are freed");
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
        let LogEntry { user, change, .. } = entry(1);
        ring.push(&user, &change, at(20_000));
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
