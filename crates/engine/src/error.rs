//! What a step can fail with, in words of the domain.

use presence::PresenceError;
use store::StoreError;

/// Why a step did not happen. Whatever it was, nothing has changed unless a [`StoreError`] says it cannot know.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The rules refused the command.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// The store did not answer or did not accept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others kept changing the same user; [`COMMIT_ATTEMPTS_MAX`](crate::COMMIT_ATTEMPTS_MAX) attempts were not enough.
    #[error("the user's record kept changing; try again")]
    Contention,
}
