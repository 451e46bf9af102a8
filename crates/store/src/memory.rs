//! A store that forgets everything when it is dropped: for tests and for throw-away runs.
//!
//! It is also the reference the durable backends are compared with, so it is written to be obviously right rather
//! than fast: one lock, ordered maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use presence::{Timestamp, UserKey, UserPresence};

use crate::{Commit, Document, DocumentKind, Store, StoreError, Stored, Version, check_documents};

/// Keeps everything in memory, and nothing after.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: BTreeMap<UserKey, Kept>,
    wakes: BTreeSet<(Timestamp, UserKey)>,
    documents: BTreeMap<(DocumentKind, Vec<u8>), Vec<u8>>,
    latest: Option<Timestamp>,
    is_closed: bool,
}

#[derive(Debug)]
struct Kept {
    presence: UserPresence,
    version: Version,
    wake_at: Option<Timestamp>,
}

impl Memory {
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
        let stored = users.iter().map(|user| match state.users.get(user) {
            Some(kept) => Stored { presence: kept.presence.clone(), version: kept.version },
            None => Stored::default(),
        });
        Ok(stored.collect())
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let mut state = self.open_state()?;
        let state = &mut *state;
        let kept = state.users.get(&commit.user);
        if kept.map_or(Version(0), |kept| kept.version) != commit.expected {
            return Err(StoreError::Conflict);
        }
        if let Some(wake_at) = kept.and_then(|kept| kept.wake_at) {
            state.wakes.remove(&(wake_at, commit.user));
        }
        if let Some(wake_at) = commit.wake_at {
            state.wakes.insert((wake_at, commit.user));
        }
        let version = Version(commit.expected.0 + 1);
        state.latest = state.latest.max(Some(commit.presence.settled_at));
        state.users.insert(commit.user, Kept { presence: commit.presence, version, wake_at: commit.wake_at });
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
