//! Who wants to be woken when: a coarse index, not a timer per user.
//!
//! Users stand in buckets of one second, by number only. A later wish rewrites the record and leaves the entry where
//! it is; when its bucket comes due the entry is compared with the record and moved or dropped. That makes the common
//! case, a session refreshed over and over, free. Only an earlier wish makes a second entry, and the first is then
//! recognised as stale because the slot says which bucket counts.
//!
//! Buckets that have come due are *ripe*: their users stand in an exact order, from which [`due`] answers and which
//! is kept exact when a record changes. So an answer is ordered to the nanosecond and [`next_wake`] never names an
//! instant that has passed without somebody being due at it: the ticker would spin.
//!
//! [`due`]: Wakes::due
//! [`next_wake`]: Wakes::next_wake

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use presence::Timestamp;

use super::loader::in_parallel;
use super::table::{SHARDS, Table, UserNumber};

/// Entries looked at under one lock, about a millisecond's worth.
const RIPEN_MAX: usize = 4_096;
/// Fewer users than this are not worth a second thread.
const ALONE_USERS: u64 = 10_000;

#[derive(Default)]
pub(super) struct Wakes {
    buckets: BTreeMap<u32, Vec<UserNumber>>,
    ripe: BTreeSet<(Timestamp, UserNumber)>,
    /// Buckets below this one are ripe.
    ripe_below: u32,
    /// Whether some of the first bucket are ripe and some are not, so that the order of the ripe says nothing yet.
    is_half_ripe: bool,
}

/// Whether there is more to do before the answer is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// These users, in order.
    Users(Vec<UserNumber>),
    /// Ask again: a part was done, and others may want the lock.
    Again,
}

impl Wakes {
    /// [`Slot::indexed`](super::table::Slot::indexed) of a user in no bucket.
    pub(super) const NOWHERE: u32 = u32::MAX;
    /// Of a user among the ripe.
    pub(super) const RIPE: u32 = u32::MAX - 1;
    /// The bucket of everything later: the year 2106.
    const LAST: u32 = u32::MAX - 2;

    /// Enters every user of a table that has just been filled: the slots say which buckets are wanted.
    pub(super) fn index_all(&mut self, table: &Table) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS);
        let threads = if table.users() < ALONE_USERS { 1 } else { threads };
        let index_some = |first: usize| {
            let mut buckets: HashMap<u32, Vec<UserNumber>> = HashMap::new();
            for shard in (first..SHARDS).step_by(threads) {
                table.for_each_slot(shard, |number, slot| {
                    if slot.indexed != Self::NOWHERE {
                        buckets.entry(slot.indexed).or_default().push(number);
                    }
                });
            }
            buckets
        };
        let parts: Vec<_> = in_parallel((0..threads).collect(), index_some);
        let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
        for (bucket, users) in parts.iter().flatten() {
            *sizes.entry(*bucket).or_default() += users.len();
        }
        self.buckets = sizes.into_iter().map(|(bucket, size)| (bucket, Vec::with_capacity(size))).collect();
        for (bucket, users) in parts.into_iter().flatten() {
            self.buckets.entry(bucket).or_default().extend_from_slice(&users);
        }
    }

    /// What a slot says before [`index_all`](Self::index_all) is called.
    pub(super) fn wanted(wake_at: Option<Timestamp>) -> u32 {
        wake_at.map_or(Self::NOWHERE, bucket_of)
    }

    /// A record has changed. `indexed` is the slot's note.
    pub(super) fn changed(
        &mut self,
        number: UserNumber,
        indexed: &mut u32,
        old_wake_at: Option<Timestamp>,
        new_wake_at: Option<Timestamp>,
    ) {
        match *indexed {
            Self::NOWHERE => *indexed = self.place(number, new_wake_at),
            Self::RIPE => {
                if let Some(old_wake_at) = old_wake_at {
                    self.ripe.remove(&(old_wake_at, number));
                }
                *indexed = self.place(number, new_wake_at);
            }
            bucket => {
                if new_wake_at.is_some_and(|wake_at| bucket_of(wake_at) < bucket) {
                    *indexed = self.place(number, new_wake_at);
                }
            }
        }
    }

    fn place(&mut self, number: UserNumber, wake_at: Option<Timestamp>) -> u32 {
        let Some(wake_at) = wake_at else { return Self::NOWHERE };
        let bucket = bucket_of(wake_at);
        if bucket < self.ripe_below {
            self.ripe.insert((wake_at, number));
            return Self::RIPE;
        }
        self.buckets.entry(bucket).or_default().push(number);
        bucket
    }

    /// The first users due at `now`, by wake-up time.
    pub(super) fn due(&mut self, table: &Table, now: Timestamp, max: usize) -> Due {
        let Some(last) = max.checked_sub(1) else { return Due::Users(Vec::new()) };
        let is_enough = |ripe: &BTreeSet<(Timestamp, UserNumber)>| {
            ripe.len() > last && ripe.iter().nth(last).is_some_and(|(at, _)| *at <= now)
        };
        let mut budget = RIPEN_MAX;
        // Whoever is not ripe yet is due after all who are, so enough of those are an answer.
        while (self.is_half_ripe || !is_enough(&self.ripe))
            && let Some(bucket) =
                self.buckets.keys().next().copied().filter(|bucket| *bucket <= bucket_of(now))
        {
            if !self.ripen(table, bucket, &mut budget) {
                return Due::Again;
            }
        }
        let due = self.ripe.iter().take_while(|(at, _)| *at <= now).take(max);
        Due::Users(due.map(|(_, number)| *number).collect())
    }

    /// Takes a bucket apart and says whether that was finished within the budget.
    fn ripen(&mut self, table: &Table, bucket: u32, budget: &mut usize) -> bool {
        let mut entries = self.buckets.remove(&bucket).unwrap_or_default();
        let mut some = entries.split_off(entries.len().saturating_sub(*budget));
        *budget -= some.len();
        table.with_slots(&mut some, |number, slot| {
            if slot.indexed != bucket {
                return; // The user has been entered elsewhere since.
            }
            slot.indexed = match slot.wake_at() {
                Some(wake_at) if bucket_of(wake_at) <= bucket => {
                    self.ripe.insert((wake_at, number));
                    Self::RIPE
                }
                later => self.place(number, later),
            };
        });
        self.is_half_ripe = !entries.is_empty();
        if self.is_half_ripe {
            self.buckets.insert(bucket, entries);
            return false;
        }
        self.ripe_below = self.ripe_below.max(bucket + 1);
        true
    }

    /// An instant not later than the earliest wake-up, and exact once it has passed.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        if let Some((at, _)) = self.ripe.first() {
            return Some(*at);
        }
        let (bucket, _) = self.buckets.first_key_value()?;
        // The first bucket also holds what is earlier.
        let starts_at = if *bucket == 0 { None } else { Timestamp::from_second(i64::from(*bucket)).ok() };
        Some(starts_at.unwrap_or(Timestamp::MIN))
    }
}

/// Seconds since 1970, the past and the far future each in one.
fn bucket_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_second().max(0)).unwrap_or(Wakes::LAST).min(Wakes::LAST)
}

#[cfg(test)]
mod tests {
    use presence::{TenantId, UserId, UserKey, UserPresence};

    use super::super::table::Record;
    use super::*;
    use crate::Retention;
    use crate::random::Random;
    use crate::{Version, record};

    fn second(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    fn put(table: &Table, user: u128, version: u64, wake_at: Option<Timestamp>) {
        let key = UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(user) };
        let bytes = record::encode(Version(version), wake_at, &UserPresence::default()).unwrap();
        let head = record::peek(&bytes).unwrap();
        let number = table.enter(&key);
        table.put_all(&mut table.wakes.lock(), &[number], |_| (Record::new(&bytes), head.wake_at));
    }

    fn due(table: &Table, now: Timestamp, max: usize) -> Vec<u128> {
        loop {
            if let Due::Users(numbers) = table.wakes.lock().due(table, now, max) {
                return table.keys(&numbers).into_iter().map(|key| key.user.as_u128()).collect();
            }
        }
    }

    #[test]
    fn a_renewed_wish_costs_no_entry() {
        let table = Table::new(Retention::default());
        for version in 1..=1000 {
            put(&table, 1, version, Some(second(100 + version as i64)));
        }
        let entries = || table.wakes.lock().buckets.values().map(Vec::len).sum::<usize>();
        assert_eq!(entries(), 1);
        assert_eq!(due(&table, second(500), 10), [0; 0]);
        assert_eq!(entries(), 1);
        assert_eq!(due(&table, second(1100), 10), [1]);
        assert_eq!(entries(), 0);
    }

    #[test]
    fn more_entries_than_one_lock_may_see_come_in_order() {
        let table = Table::new(Retention::default());
        let users = RIPEN_MAX as u128 * 3;
        // The first to be due are neither the first nor the last to be looked at.
        let first = users / 2;
        for user in 0..users {
            let nanos = 5_000_000_000 + ((users + user - first) % users) as i128 * 100;
            put(&table, user, 1, Some(Timestamp::from_nanosecond(nanos).unwrap()));
        }
        assert_eq!(due(&table, second(6), 3), [first, first + 1, first + 2]);
        assert_eq!(due(&table, second(6), usize::MAX).len() as u128, users);
    }

    #[test]
    fn the_index_agrees_with_a_sorted_list_whatever_happens() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let table = Table::new(Retention::default());
            let mut model: BTreeMap<u128, Timestamp> = BTreeMap::new();
            let mut now = second(random.below(50) as i64 - 25);
            for version in 1..400 {
                match random.below(4) {
                    0 => now = now.max(second(now.as_second() + random.below(5) as i64)),
                    1 => {
                        let wanted = 1 + random.below(4) as usize;
                        let found = due(&table, now, wanted);
                        let mut expected: Vec<_> = model
                            .iter()
                            .filter(|(_, at)| **at <= now)
                            .map(|(user, at)| (*at, *user))
                            .collect();
                        expected.sort_unstable();
                        expected.truncate(wanted);
                        let found: Vec<_> = found.into_iter().map(|user| model[&user]).collect();
                        let expected: Vec<_> = expected.into_iter().map(|(at, _)| at).collect();
                        assert_eq!(found, expected, "seed {seed}");
                        // After a look, the next one is either for somebody or in the future.
                        let next = table.wakes.lock().next_wake();
                        if found.is_empty() {
                            assert!(next.is_none_or(|next| next > now), "seed {seed}");
                        }
                        assert!(model.values().min() >= next.as_ref() || model.is_empty(), "seed {seed}");
                    }
                    _ => {
                        let user = u128::from(random.below(12));
                        let wake_at = match random.below(8) {
                            0 => None,
                            1 => Some(Timestamp::MAX),
                            2 => Some(Timestamp::MIN),
                            _ => {
                                let nanos = random.below(20_000_000_000) as i128 - 4_000_000_000;
                                Some(Timestamp::from_nanosecond(now.as_nanosecond() + nanos).unwrap())
                            }
                        };
                        put(&table, user, version, wake_at);
                        match wake_at {
                            Some(wake_at) => drop(model.insert(user, wake_at)),
                            None => drop(model.remove(&user)),
                        }
                    }
                }
            }
        }
    }
}
