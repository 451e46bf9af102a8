//! A store that forgets everything when it is dropped: for tests and for throw-away runs.
//!
//! It is also the reference the durable backends are compared with, so it is written to be obviously right rather
//! than fast: one lock, ordered maps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use presence::{Timestamp, UserKey};
use tokio::sync::watch;

use crate::{
    Commit, Document, DocumentKind, LOG_READ_MAX, LogEntry, LogRead, Position, Retention, Store, StoreError,
    Stored, Version, Visit, check_changes, check_documents,
};

/// Keeps everything in memory, and nothing after.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
    log_end: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct State {
    users: BTreeMap<UserKey, Kept>,
    wakes: BTreeSet<(Timestamp, UserKey)>,
    documents: BTreeMap<(DocumentKind, Vec<u8>), Vec<u8>>,
    latest: Option<Timestamp>,
    /// With when they were written.
    log: BTreeMap<Position, (LogEntry, Timestamp)>,
    end: Position,
    retention: Retention,
    is_closed: bool,
}

impl State {
    fn oldest(&self) -> Position {
        self.log.first_key_value().map_or(Position(self.end.0 + 1), |(position, _)| *position)
    }
}

#[derive(Debug)]
struct Kept {
    stored: Stored,
    wake_at: Option<Timestamp>,
}

impl Memory {
    /// A store that keeps this much of the log.
    pub fn with_retention(retention: Retention) -> Self {
        let state = Mutex::new(State { retention, ..State::default() });
        Self { state, log_end: watch::Sender::default() }
    }

    /// [`Store::next_wake`] of some users.
    pub(crate) fn next_wake_of(
        &self,
        is_wanted: impl Fn(UserKey) -> bool,
    ) -> Result<Option<Timestamp>, StoreError> {
        let state = self.open_state()?;
        Ok(state.wakes.iter().find(|(_, user)| is_wanted(*user)).map(|(at, _)| *at))
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // No code in here panics between two changes that belong together, so a poisoned lock guards good data.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Err(StoreError::Unavailable("the store is closed".into()));
        }
        Ok(state)
    }
}

#[async_trait]
impl Store for Memory {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        let state = self.open_state()?;
        let stored = |user| state.users.get(user).map(|kept| kept.stored.clone()).unwrap_or_default();
        Ok(users.iter().map(stored).collect())
    }

    fn visit(&self, users: &[UserKey], visit: &mut Visit<'_>) -> Option<Result<(), StoreError>> {
        let shown = self.open_state().map(|state| {
            let nothing = Stored::default();
            for (place, user) in users.iter().enumerate() {
                visit(place, state.users.get(user).map_or(&nothing, |kept| &kept.stored));
            }
        });
        Some(shown)
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        check_changes(&commit.changes)?;
        let mut state = self.open_state()?;
        let state = &mut *state;
        let kept = state.users.get(&commit.user);
        if kept.map_or(Version(0), |kept| kept.stored.version) != commit.expected {
            return Err(StoreError::Conflict);
        }
        if let Some(wake_at) = kept.and_then(|kept| kept.wake_at) {
            state.wakes.remove(&(wake_at, commit.user));
        }
        if let Some(wake_at) = commit.wake_at {
            state.wakes.insert((wake_at, commit.user));
        }
        for change in commit.changes {
            state.end.0 += 1;
            let entry = LogEntry { position: state.end, user: commit.user, change };
            state.log.insert(state.end, (entry, commit.presence.settled_at));
            if state.log.len() > state.retention.entries.max(1) {
                state.log.pop_first();
            }
        }
        self.log_end.send_if_modified(|end| std::mem::replace(end, state.end) != state.end);
        let version = Version(commit.expected.0 + 1);
        state.latest = state.latest.max(Some(commit.presence.settled_at));
        let stored = Stored { presence: commit.presence, version };
        state.users.insert(commit.user, Kept { stored, wake_at: commit.wake_at });
        Ok(version)
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        let state = self.open_state()?;
        Ok(state.wakes.iter().take_while(|(at, _)| *at <= now).take(max).map(|(_, user)| *user).collect())
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.open_state()?.wakes.first().map(|(at, _)| *at))
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.open_state()?.latest)
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        let state = self.open_state()?;
        let (oldest, end) = (state.oldest(), state.end);
        if after.0.saturating_add(1) < oldest.0 {
            return Ok(LogRead::Behind { oldest, end });
        }
        let rest = state.log.range((Bound::Excluded(after), Bound::Unbounded));
        let entries = rest.take(max.min(LOG_READ_MAX)).map(|(_, (entry, _))| *entry).collect();
        Ok(LogRead::Page { entries, end })
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.log_end.subscribe()
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.open_state()?;
        let limit = now.saturating_sub(state.retention.age).unwrap_or(Timestamp::MIN);
        while state.log.first_key_value().is_some_and(|(_, (_, written_at))| *written_at < limit) {
            state.log.pop_first();
        }
        Ok(())
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        let state = self.open_state()?;
        let of_kind = state.documents.iter().filter(|((other, _), _)| *other == kind);
        Ok(of_kind
            .map(|((_, key), body)| Document { kind, key: key.clone(), body: Some(body.clone()) })
            .collect())
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        check_documents(&documents)?;
        let mut state = self.open_state()?;
        for Document { kind, key, body } in documents {
            match body {
                Some(body) => drop(state.documents.insert((kind, key), body)),
                None => drop(state.documents.remove(&(kind, key))),
            }
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.open_state()?.is_closed = true;
        Ok(())
    }
}
