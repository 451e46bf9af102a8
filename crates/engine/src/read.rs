//! Reads: load, and let the rules answer. A read never writes.

use presence::{Timestamp, UserKey, UserPresence};

use crate::{Engine, EngineError};

/// Records of some users and the one instant at which to ask them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The records, in the order asked.
    pub users: Vec<UserPresence>,
    /// The instant: pass it to [`UserPresence::at`].
    pub now: Timestamp,
}

impl Engine {
    /// The records of these users and the instant to ask them at. The clock is read after the store, so that a change
    /// that is in the records is never in the future of the answer.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn read(&self, users: &[UserKey]) -> Result<Reading, EngineError> {
        let stored = self.store.load(users).await?;
        let now = self.clock.now();
        Ok(Reading { users: stored.into_iter().map(|stored| stored.presence).collect(), now })
    }
}
