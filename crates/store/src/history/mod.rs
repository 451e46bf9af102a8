//! History: records as they were, who made them so, and by which application. Off unless somebody turns it on.
//!
//! A presence is a function of a record and an instant, so the record after each write is all of the past: what was shown
//! at any instant, for how long, and why. An entry is kept when its write is answered, and goes when it is older than is
//! retained, when there is no more room, or when its user is forgotten.
//!
//! # Why not in the store
//! A [`Store`](crate::Store) answers from memory and rewrites all it has when it compacts. History is the opposite: it
//! grows without an end, hardly anybody reads it, and what is old goes as a piece. As documents of a user and a day, each
//! write would write that day again, and a month of five thousand people would live in memory. [`FileHistory`] appends to
//! segments instead, keeps nothing of a finished one in memory, and forgets by removing whole files.
//! [`MemoryHistory`] is for runs that keep nothing anyway.

mod entry;
mod file;
mod keeper;
mod memory;
mod segment;

use async_trait::async_trait;
use presence::{AppId, Command, Timestamp, UserId, UserKey, UserPresence};

pub use file::{FileHistory, HistoryRecovery, HistoryRetention};
pub use memory::MemoryHistory;

use crate::{StoreError, Version};

/// Most entries of one [`History::read`], however many there are.
pub const HISTORY_READ_MAX: usize = 4_096;

/// By whose hand a record was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The application; `None` when it is not known.
    pub app: Option<AppId>,
    /// The signed-in user for whom it acted; `None`: it acted by itself.
    pub user: Option<UserId>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A presence session was set.
    SetPresence,
    /// A presence session was ended.
    ClearPresence,
    /// A preferred presence was set.
    SetPreferredPresence,
    /// The preferred presence was taken back.
    ClearPreferredPresence,
    /// A status message was set or taken back.
    SetStatusMessage,
    /// A manual location was set.
    SetManualLocation,
    /// An automatic location was set.
    SetAutomaticLocation,
    /// Locations were taken back.
    ClearLocation,
    /// The automatic locations were taken back.
    ClearAutomaticLocation,
    /// The schedule of locations was replaced.
    SetSchedule,
    /// An out-of-office window was set or taken back.
    SetOutOfOffice,
}

impl Action {
    /// What this command does.
    pub const fn of(command: &Command) -> Self {
        match command {
            Command::SetPresence { .. } => Self::SetPresence,
            Command::ClearPresence { .. } => Self::ClearPresence,
            Command::SetPreferredPresence { .. } => Self::SetPreferredPresence,
            Command::ClearPreferredPresence => Self::ClearPreferredPresence,
            Command::SetStatusMessage(_) => Self::SetStatusMessage,
            Command::SetManualLocation { .. } => Self::SetManualLocation,
            Command::SetAutomaticLocation { .. } => Self::SetAutomaticLocation,
            Command::ClearLocation => Self::ClearLocation,
            Command::ClearAutomaticLocation => Self::ClearAutomaticLocation,
            Command::SetSchedule(_) => Self::SetSchedule,
            Command::SetOutOfOffice(_) => Self::SetOutOfOffice,
        }
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Whose record.
    pub user: UserKey,
    /// By whose hand.
    pub author: Author,
    /// What was done.
    pub action: Action,
    /// The record's version after it.
    pub version: Version,
    /// The record after it. It counts from its `settled_at` until the next entry's.
    pub presence: UserPresence,
}

impl HistoryEntry {
    /// The instant of the write.
    pub const fn at(&self) -> Timestamp {
        self.presence.settled_at
    }
}

/// What reading found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries, oldest first. The first may be from before the period: its record counts at the beginning.
    pub entries: Vec<HistoryEntry>,
    /// Whether earlier entries of the period were left out, because there are more than were asked for.
    pub is_partial: bool,
}

/// Keeps the past of users. As narrow as [`Store`](crate::Store), and as little of its own mind.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Whether an entry could be kept now. Asked before a write is made, so that one that cannot be accounted for is not
    /// made; it costs nothing while all is well.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when not.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Keeps an entry, and answers only when it is durable.
    async fn append(&self, entry: HistoryEntry) -> Result<(), StoreError>;

    /// The entries of a user up to `to`, back to the last one at or before `from`: the newest `max` of them, and never
    /// more than [`HISTORY_READ_MAX`].
    async fn read(
        &self,
        user: UserKey,
        from: Timestamp,
        to: Timestamp,
        max: usize,
    ) -> Result<HistoryPage, StoreError>;

    /// Erases everything of a user, and answers when it is gone for good. Asking again does no harm.
    async fn forget(&self, user: UserKey) -> Result<(), StoreError>;

    /// Forgets what is older at `now` than is retained.
    async fn trim(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Finishes what was accepted. Later calls answer [`StoreError::Unavailable`].
    async fn close(&self) -> Result<(), StoreError>;
}
