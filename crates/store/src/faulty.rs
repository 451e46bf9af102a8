//! A store that fails as stores do, by a seeded schedule: for tests of whoever uses one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use presence::{Timestamp, UserKey};
use tokio::sync::watch;

use crate::random::Random;
use crate::{
    Asked, Commit, Document, DocumentKind, Glances, LogRead, Position, Store, StoreError, Stored, Version,
    Visit,
};

/// How often a call goes wrong, in thousandths. All zero: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Any call fails before it has done anything: [`StoreError::Unavailable`].
    pub unavailable: u16,
    /// A change is kept and its answer is lost: [`StoreError::Unavailable`] too, since nobody can tell the two apart.
    pub lost_reply: u16,
    /// A commit is told [`StoreError::Conflict`] although nobody was faster.
    pub conflict: u16,
}

/// Wraps a store. The same seed and the same calls give the same faults. Closing never fails.
#[derive(Debug)]
pub struct Faulty<S> {
    store: S,
    schedule: Mutex<Schedule>,
}

#[derive(Debug)]
struct Schedule {
    random: Random,
    faults: Faults,
}

impl<S> Faulty<S> {
    /// A store with these faults.
    pub fn new(store: S, seed: u64, faults: Faults) -> Self {
        Self { store, schedule: Mutex::new(Schedule { random: Random::new(seed), faults }) }
    }

    /// From now on, these faults.
    pub fn set_faults(&self, faults: Faults) {
        self.schedule().faults = faults;
    }

    /// The store itself, which does not fail.
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happens(&self, thousandths: impl Fn(&Faults) -> u16) -> bool {
        let Schedule { random, faults } = &mut *self.schedule();
        random.below(1000) < u64::from(thousandths(faults))
    }

    fn before(&self) -> Result<(), StoreError> {
        if self.happens(|faults| faults.unavailable) {
            return Err(StoreError::Unavailable("a fault was asked for".into()));
        }
        Ok(())
    }

    fn after(&self) -> Result<(), StoreError> {
        if self.happens(|faults| faults.lost_reply) {
            return Err(StoreError::Unavailable("the answer was lost, as was asked for".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        self.before()?;
        self.store.load(users).await
    }

    fn visit(&self, users: &[UserKey], visit: &mut Visit<'_>) -> Option<Result<(), StoreError>> {
        match self.before() {
            Ok(()) => self.store.visit(users, visit),
            Err(fault) => Some(Err(fault)),
        }
    }

    fn glance(&self, asked: &[Asked<'_>], glance: &mut Glances<'_>) -> Option<Result<(), StoreError>> {
        match self.before() {
            Ok(()) => self.store.glance(asked, glance),
            Err(fault) => Some(Err(fault)),
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        self.before()?;
        if self.happens(|faults| faults.conflict) {
            return Err(StoreError::Conflict);
        }
        let version = self.store.commit(commit).await?;
        self.after()?;
        Ok(version)
    }

    // `commit_all` stays as it is given: each commit of it has faults of its own.

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        self.before()?;
        self.store.due(now, max).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.before()?;
        self.store.next_wake().await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.before()?;
        self.store.latest().await
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        self.before()?;
        self.store.read_log(after, max).await
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.store.log_end()
    }

    async fn log_now(&self) -> Result<Position, StoreError> {
        self.before()?;
        self.store.log_now().await
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        self.before()?;
        self.store.trim_log(now).await
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        self.before()?;
        self.store.documents(kind).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        self.before()?;
        self.store.put_documents(documents).await?;
        self.after()
    }

    fn shared(&self) -> Option<&dyn crate::Shared> {
        self.store.shared()
    }

    fn status(&self) -> Option<crate::Status> {
        self.store.status()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
