//! How many people are shown as what: counted by going over the directory, part by part, and never on a scrape.
//!
//! Presence changes by time alone, so a counter kept at each write would be wrong between writes; and a scrape that read
//! everybody would be slow with millions. A round therefore takes as long as it must to use little of one processor, and says
//! when it was finished.

use std::sync::Arc;
use std::time::Duration;

use ::presence::{Activity, Timestamp, UserKey};
use engine::EngineError;
use graph::words::AVAILABILITIES;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::app::App;

/// Users read at a time.
const PART: usize = 650;
/// After each part the census rests this many times as long as the part took: five percent of a processor at most.
const REST: u32 = 19;
/// How long it rests between two rounds at least.
pub(crate) const CENSUS_INTERVAL: Duration = Duration::from_secs(10);

/// The last round that was finished.
#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<Option<Count>>);

/// What a round counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Count {
    /// Users of the directory, in the order of [`AVAILABILITIES`].
    pub(super) users: [u64; AVAILABILITIES.len()],
    /// Live presence sessions.
    pub(super) sessions: u64,
    /// Users who are shown as out of office.
    pub(super) out_of_office: u64,
    /// When it was finished, by the machine's clock.
    pub(super) at: Timestamp,
    /// From its first part to its last.
    pub(super) took: Duration,
}

impl Census {
    pub(super) fn last(&self) -> Option<Count> {
        *self.0.lock()
    }
}

impl App {
    /// Counts everybody in the directory once.
    ///
    /// # Errors
    /// [`EngineError::Store`]; the last count stays.
    pub async fn take_census(&self) -> Result<(), EngineError> {
        let directory = Arc::clone(&self.directory());
        let started = Instant::now();
        let (mut users, mut sessions, mut out_of_office) = ([0; AVAILABILITIES.len()], 0, 0);
        for (tenant, of_tenant) in directory.tenants() {
            let mut everybody = of_tenant.users().map(|user| UserKey { tenant, user: user.id });
            loop {
                let part: Vec<UserKey> = everybody.by_ref().take(PART).collect();
                if part.is_empty() {
                    break;
                }
                let reading = Instant::now();
                let found = self.engine.read(&part).await?;
                for record in &found.users {
                    let shown = record.at(found.now);
                    let position = AVAILABILITIES.iter().position(|it| *it == shown.pair.availability);
                    users[position.unwrap_or_default()] += 1;
                    let live = record.sessions.iter().filter(|session| found.now < session.expires_at);
                    sessions += live.count() as u64;
                    out_of_office += u64::from(
                        shown.out_of_office.is_out_of_office || shown.pair.activity == Activity::OutOfOffice,
                    );
                }
                if part.len() == PART {
                    tokio::time::sleep(reading.elapsed() * REST).await;
                }
            }
        }
        let count =
            Count { users, sessions, out_of_office, at: self.wall_clock.now(), took: started.elapsed() };
        *self.metrics.census.0.lock() = Some(count);
        Ok(())
    }
}
