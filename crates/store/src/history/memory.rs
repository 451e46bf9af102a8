//! A history that is gone when it is dropped: for tests and for runs that keep nothing. Also what [`FileHistory`] is
//! compared with, so it is written to be obviously right.
//!
//! [`FileHistory`]: super::FileHistory

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use presence::{Timestamp, UserKey};

use super::{HISTORY_READ_MAX, History, HistoryEntry, HistoryPage};
use crate::StoreError;

/// Entries kept of all users together; some 300 bytes each.
const ENTRIES_MAX: usize = 50_000;

/// Keeps entries in memory, within a bound.
#[derive(Debug)]
pub struct MemoryHistory {
    age: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: BTreeMap<UserKey, VecDeque<HistoryEntry>>,
    /// Whose entries they are, in the order they came; some may be forgotten already.
    order: VecDeque<UserKey>,
    is_closed: bool,
}

impl MemoryHistory {
    /// An empty one that keeps entries for so long.
    pub fn new(age: Duration) -> Self {
        Self { age, state: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StoreError::Unavailable("the history is closed".into()));
        }
        Ok(work(&mut state))
    }
}

impl State {
    fn drop_oldest(&mut self) {
        let Some(user) = self.order.pop_front() else { return };
        if let Some(entries) = self.users.get_mut(&user) {
            entries.pop_front();
            if entries.is_empty() {
                self.users.remove(&user);
            }
        }
    }
}

#[async_trait]
impl History for MemoryHistory {
    async fn ready(&self) -> Result<(), StoreError> {
        self.with(|_| ())
    }

    async fn append(&self, entry: HistoryEntry) -> Result<(), StoreError> {
        self.with(|state| {
            state.order.push_back(entry.user);
            state.users.entry(entry.user).or_default().push_back(entry);
            if state.order.len() > ENTRIES_MAX {
                state.drop_oldest();
            }
        })
    }

    async fn read(
        &self,
        user: UserKey,
        from: Timestamp,
        to: Timestamp,
        max: usize,
    ) -> Result<HistoryPage, StoreError> {
        self.with(|state| {
            let mut page = HistoryPage::default();
            let Some(entries) = state.users.get(&user) else { return page };
            for entry in entries.iter().rev().filter(|entry| entry.at() <= to) {
                if page.entries.len() == max.min(HISTORY_READ_MAX) {
                    page.is_partial = true;
                    break;
                }
                page.entries.push(entry.clone());
                if entry.at() <= from {
                    break;
                }
            }
            page.entries.reverse();
            page
        })
    }

    async fn forget(&self, user: UserKey) -> Result<(), StoreError> {
        self.with(|state| {
            state.users.remove(&user);
            state.order.retain(|other| *other != user);
        })
    }

    async fn trim(&self, now: Timestamp) -> Result<(), StoreError> {
        let limit = now.saturating_sub(self.age).unwrap_or(Timestamp::MIN);
        self.with(|state| {
            state.users.retain(|_, entries| {
                while entries.front().is_some_and(|entry| entry.at() < limit) {
                    entries.pop_front();
                }
                !entries.is_empty()
            });
            // One place in the order for each entry that is left.
            let mut left: BTreeMap<UserKey, usize> =
                state.users.iter().map(|(user, entries)| (*user, entries.len())).collect();
            let mut order: VecDeque<UserKey> = std::mem::take(&mut state.order)
                .into_iter()
                .rev()
                .filter(|user| {
                    let count = left.get_mut(user);
                    count.is_some_and(|count| std::mem::replace(count, count.saturating_sub(1)) > 0)
                })
                .collect();
            order.make_contiguous().reverse();
            state.order = order;
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.with(|state| state.is_closed = true)
    }
}
