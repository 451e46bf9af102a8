//! The past of a user, where a history is kept: the records as they were, and the one that is.

use presence::{Timestamp, UserKey, UserPresence};
use store::{HISTORY_READ_MAX, HistoryEntry, Version};

use crate::{Engine, EngineError};

/// What a record's version is after its first commit.
const FIRST_VERSION: Version = Version(1);

/// What is known of a user over a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Every write of the period, oldest first; the first may be the last one before it.
    pub entries: Vec<HistoryEntry>,
    /// Before the first write of all, where that is among the entries: nobody had written anything.
    pub beginning: Option<UserPresence>,
    /// The record as it is kept now.
    pub current: UserPresence,
    /// Whether earlier writes of the period were left out, because there are too many for one answer.
    pub is_partial: bool,
    /// Now: nothing is known after it.
    pub now: Timestamp,
}

impl Past {
    /// The records, each counting from its `settled_at`, oldest first: for [`presence::stretches`].
    pub fn records(&self) -> Vec<&UserPresence> {
        let entries = self.entries.iter().map(|entry| &entry.presence);
        let mut records: Vec<&UserPresence> = self.beginning.iter().chain(entries).collect();
        // The record that is kept counts, too: it was there before anybody wrote a history, or it was settled since.
        if records.last().is_none_or(|last| last.settled_at < self.current.settled_at) {
            records.push(&self.current);
        }
        records
    }

    /// The record that counted at an instant.
    pub fn record_at(&self, at: Timestamp) -> Option<&UserPresence> {
        self.records().into_iter().rfind(|record| record.settled_at <= at)
    }
}

impl Engine {
    /// Whether a history is kept.
    pub fn keeps_history(&self) -> bool {
        self.is_history_kept && self.history.is_some()
    }

    /// What is known of a user from `from` to `to`; `None` when no history is kept.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn past(
        &self,
        user: UserKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Past>, EngineError> {
        let Some(history) = self.history.as_ref().filter(|_| self.is_history_kept) else { return Ok(None) };
        // Before the entries: a write between the two is in the entries then, and does not count twice.
        let current = self.store.load(&[user]).await?.pop().unwrap_or_default();
        let page = history.read(user, from, to, HISTORY_READ_MAX).await?;
        let now = self.clock.now();
        let first = match page.entries.first() {
            Some(entry) => Some(entry.version),
            // Nothing was written before the end of the period, or it is forgotten: what was written after it tells.
            None => {
                let later = history.read(user, to, Timestamp::MAX, HISTORY_READ_MAX).await?;
                later.entries.first().map(|entry| entry.version)
            }
        };
        let is_first = first == Some(FIRST_VERSION);
        let beginning = is_first.then(UserPresence::default);
        Ok(Some(Past {
            entries: page.entries,
            beginning,
            current: current.presence,
            is_partial: page.is_partial,
            now,
        }))
    }

    /// Forgets what is older than is retained.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn trim_history(&self) -> Result<(), EngineError> {
        match &self.history {
            Some(history) => Ok(history.trim(self.clock.now()).await?),
            None => Ok(()),
        }
    }
}
