//! One command, carried out or refused.

use jiff::SignedDuration;
use presence::{Command, Outcome, Timestamp, UserKey, UserPresence};
use store::{Action, Author, Commit, HistoryEntry, StoreError, Stored, Version};

use crate::{Engine, EngineError};

/// How often a command is decided again because somebody else committed first.
pub const COMMIT_ATTEMPTS_MAX: usize = 16;

/// How long a commit takes at most for readers not to notice that it takes time: until it is there they are answered from
/// the record before it, whose next fade may come meanwhile. The numbers of such changes are passed over.
pub const COMMIT_OVERLAP: SignedDuration = SignedDuration::from_millis(500);

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The record as it is kept now.
    pub presence: UserPresence,
    /// Its version.
    pub version: Version,
    /// The instant at which the command took effect.
    pub now: Timestamp,
    /// Whether people see what was asked for.
    pub outcome: Outcome,
}

impl Engine {
    /// [`execute_by`](Self::execute_by) without anybody's name but that of the application in the command.
    ///
    /// # Errors
    /// As [`execute_by`](Self::execute_by).
    pub async fn execute(&self, user: UserKey, command: Command) -> Result<Applied, EngineError> {
        let app = match command {
            Command::SetPresence { app, .. }
            | Command::ClearPresence { app }
            | Command::SetAutomaticLocation { app, .. } => Some(app),
            _ => None,
        };
        self.execute_by(Author { app, user: None }, user, command).await
    }

    /// Carries out `command` for `user` and answers when it is durable, and, where a history is kept, accounted for in it.
    ///
    /// # Errors
    /// [`EngineError::Presence`] when the rules refuse it, [`EngineError::Store`] when the store or the history does, and
    /// [`EngineError::Contention`] when others kept winning.
    pub async fn execute_by(
        &self,
        author: Author,
        user: UserKey,
        command: Command,
    ) -> Result<Applied, EngineError> {
        let history = self.history.as_ref().filter(|_| self.is_history_kept);
        if let Some(history) = history {
            history.ready().await?;
        }
        let _turn = self.stripes[self.stripe(user)].lock().await;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let mut stored = self.stored(user).await?;
            let now = self.clock.now();
            let claim = stored.presence.claim(&command, now);
            // From the instant at which it takes effect, which is not before the last one.
            let from = now.max(stored.presence.settled_at);
            let until = from.saturating_add(COMMIT_OVERLAP).unwrap_or(Timestamp::MAX);
            let changes = stored.presence.execute_overlapping(command.clone(), now, until)?;
            let wake_at = stored.presence.next_change(now);
            let presence = stored.presence.clone();
            let commit =
                Commit { user, expected: stored.version, presence: stored.presence, wake_at, changes };
            match self.store.commit(commit).await {
                Ok(version) => {
                    self.nudge(wake_at);
                    if let Some(history) = history {
                        let (action, presence) = (Action::of(&command), presence.clone());
                        history.append(HistoryEntry { user, author, action, version, presence }).await?;
                    }
                    let outcome = presence.outcome(&claim, now);
                    return Ok(Applied { presence, version, now, outcome });
                }
                Err(StoreError::Conflict) => {} // Someone else won: decide again on fresh data.
                Err(error) => {
                    // It may have been kept all the same, and then its wish to be woken was, too.
                    self.nudge(wake_at);
                    return Err(error.into());
                }
            }
        }
        Err(EngineError::Contention)
    }

    async fn stored(&self, user: UserKey) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        match self.store.visit(&[user], &mut |_, found| stored.clone_from(found)) {
            Some(found) => found.map(|()| stored),
            None => Ok(self.store.load(&[user]).await?.pop().unwrap_or_default()),
        }
    }

    pub(crate) fn stripe(&self, user: UserKey) -> usize {
        // Two users of one stripe wait for each other and nothing else, so this need not be more than quick.
        let id = user.user.as_u128() ^ user.tenant.as_u128();
        let mixed = ((id >> 64) as u64 ^ id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 32) as usize) % self.stripes.len()
    }
}
