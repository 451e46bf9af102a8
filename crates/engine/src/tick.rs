//! Due users, settled. Nobody's read depends on it.

use std::sync::atomic::Ordering;

use presence::Timestamp;
use store::{Revision, StoreError, Stored, Version};

use crate::{Engine, EngineError};

/// How many users one tick settles at most. Together they make one group in the store, so in a store of our own a commit
/// waits some milliseconds for one of so many.
pub const TICK_BATCH_MAX: usize = 4_096;
/// The same where others use the store, too, which carries them out one by one.
const TICK_BATCH_SHARED_MAX: usize = 1_024;

/// How often a store that other processes use too is looked at for somebody who is due earlier than was known.
const SHARED_LOOK: std::time::Duration = std::time::Duration::from_millis(500);

/// What a tick did, and when to call the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// How many users were settled.
    pub settled: usize,
    /// Whether users may be due already: call again at once.
    pub more: bool,
    /// When to call again otherwise; `None`: not before somebody writes.
    pub next_wake: Option<Timestamp>,
}

impl Engine {
    /// Settles users whose presence has changed by time alone: logs each change with the instant at which it happened,
    /// forgets what has ended, and notes when to look again. Then lets the log forget what is no longer retained.
    ///
    /// Nothing a reader of presence needs is written, so a tick may be late or run twice; only those who follow the log
    /// learn late then.
    ///
    /// # Errors
    /// [`EngineError::Store`]; users settled before the failure stay settled.
    pub async fn tick(&self) -> Result<Tick, EngineError> {
        let now = self.clock.now();
        let batch = if self.store.shared().is_some() { TICK_BATCH_SHARED_MAX } else { TICK_BATCH_MAX };
        let due = self.store.revise_due(now, batch, &mut |_, stored| settle(stored, now)).await?;
        let settled = due.len();
        for committed in due.into_iter().flatten() {
            match committed {
                // Whoever won has folded the past into the record and noted the next wake-up.
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.store.trim_log(now).await?;
        let next_wake = self.store.next_wake().await?;
        Ok(Tick { settled, more: settled == batch, next_wake })
    }

    /// Returns when somebody may be due: at `next_wake`, as the last tick gave it, or when a command wants a look before
    /// that.
    pub async fn until_due(&self, next_wake: Option<Timestamp>) {
        let earlier = self.earlier.notified();
        let mut deadline = next_wake.unwrap_or(Timestamp::MAX);
        if self.store.shared().is_some() {
            // Others' commits tell nobody here.
            deadline = deadline.min(self.clock.now().saturating_add(SHARED_LOOK).unwrap_or(Timestamp::MAX));
        }
        self.planned.store(deadline.as_microsecond(), Ordering::SeqCst);
        // A commit between the tick and the line above found an older plan and may have told nobody: look once more.
        if !matches!(self.store.next_wake().await, Ok(wake) if wake.unwrap_or(Timestamp::MAX) >= deadline) {
            return;
        }
        tokio::select! {
            () = self.clock.sleep_until(deadline) => {}
            () = earlier => {}
        }
    }

    /// Wakes [`until_due`](Self::until_due) when `wake_at` is before what it waits for.
    pub(crate) fn nudge(&self, wake_at: Option<Timestamp>) {
        if wake_at.is_some_and(|at| at.as_microsecond() < self.planned.load(Ordering::SeqCst)) {
            self.earlier.notify_one();
        }
    }
}

/// Settles a user whose wake-up has come; `None` for one of whom nothing is kept.
fn settle(stored: &mut Stored, now: Timestamp) -> Option<Revision> {
    if stored.version == Version::default() {
        return None;
    }
    let changes = stored.presence.settle_listing(now);
    Some(Revision { wake_at: stored.presence.next_change(now), changes })
}
