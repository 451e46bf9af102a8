//! Reads: look at the records, and let the rules answer. A read never writes.

use presence::{Nanos, Presence, Timestamp, UserKey, UserPresence};
use store::{Asked, Glance};

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

    /// Shows what these users show now, in the order asked, with their places: as [`read`](Self::read), for whoever wants to
    /// write down an answer and not to keep the records.
    ///
    /// # Errors
    /// [`EngineError::Store`]; some may have been shown then.
    pub async fn show(
        &self,
        asked: &[Asked<'_>],
        mut each: impl FnMut(usize, &Presence<'_>) + Send,
    ) -> Result<(), EngineError> {
        let mut now = None;
        let shown = self.store.glance(asked, &mut |place, glance| {
            // All records have been taken by now.
            let (now, nanos) = *now.get_or_insert_with(|| {
                let now = self.clock.now();
                (now, Nanos::from(now))
            });
            match glance {
                Glance::Sole(sole) => {
                    let (pair, sequence_number) = sole.at(nanos);
                    each(place, &Presence { pair, sequence_number, ..Presence::UNKNOWN });
                }
                Glance::Whole(record) => each(place, &record.at(now)),
            }
        });
        match shown {
            Some(shown) => shown?,
            None => {
                let users: Vec<UserKey> = asked.iter().map(|asked| asked.user).collect();
                let Reading { users, now } = self.read(&users).await?;
                for (place, record) in users.iter().enumerate() {
                    each(place, &record.at(now));
                }
            }
        }
        Ok(())
    }
}
