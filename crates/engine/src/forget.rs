//! A user who is gone.

use presence::{Change, SequenceNumber, Timestamp, UserKey, UserPresence};
use store::{Commit, StoreError, Version};

use crate::{COMMIT_ATTEMPTS_MAX, COMMIT_OVERLAP, Engine, EngineError};

impl Engine {
    /// Drops everything that is kept of a user, the history first. The version stays, so that whoever holds an older one cannot bring it
    /// back, and so does the sequence number: it never goes back, not even for a user who comes back.
    ///
    /// # Errors
    /// [`EngineError::Store`] when the store refuses, and [`EngineError::Contention`] when others kept winning.
    pub async fn forget(&self, user: UserKey) -> Result<(), EngineError> {
        let _turn = self.stripes[self.stripe(user)].lock().await;
        if let Some(history) = &self.history {
            history.forget(user).await?;
        }
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let stored = self.store.load(&[user]).await?.pop().unwrap_or_default();
            if stored.version == Version::default() {
                return Ok(());
            }
            let now = self.clock.now();
            let mut old = stored.presence;
            let mut changes = old.settle_listing(now);
            let from = old.settled_at;
            let until = from.saturating_add(COMMIT_OVERLAP).unwrap_or(Timestamp::MAX);
            let passed_over = old.changes_by_time(from, until).len() as u64;
            let presence = UserPresence {
                sequence_number: SequenceNumber(old.sequence_number.0 + passed_over + 1),
                settled_at: old.settled_at,
                ..UserPresence::default()
            };
            // Whoever watches the user sees them go.
            let (before, after) = (old.at(now).pair, presence.at(now).pair);
            changes.push(Change {
                at: old.settled_at,
                pair: after,
                sequence_number: presence.sequence_number,
                is_pair_changed: before != after,
            });
            let commit = Commit { user, expected: stored.version, presence, wake_at: None, changes };
            match self.store.commit(commit).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict) => {} // Someone wrote meanwhile: look again.
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::Contention)
    }
}
