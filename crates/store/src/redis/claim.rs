//! The sole right of one process to do something for a moment, such as to look whether there is one and to make it if not.
//!
//! What is looked at and what is made may be in different buckets, which no script can compare and write at once; so those who
//! want to do it do it one after the other. A claim whose holder died ends by itself.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::{Instant, sleep};

use super::connection::{Lane, PATIENCE};
use super::{Inner, check_kept, damaged, random};
use crate::{Claim, StoreError};

/// How long a claim lasts that nobody gives back: longer than all calls together that are made under one.
pub(crate) const CLAIM: Duration = Duration::from_secs(30);
/// Between two tries for a claim that somebody else has.
const PAUSE: Duration = Duration::from_millis(20);

impl Inner {
    /// Waits for a claim, but not for long.
    pub(super) async fn claim(self: &Arc<Self>, name: &[u8]) -> Result<Claim, StoreError> {
        let mut who = [0; 8];
        random(&mut who)?;
        let who: String = who.iter().map(|byte| format!("{byte:02x}")).collect();
        let deadline = Instant::now() + PATIENCE;
        while !self.try_claim(name, &who, true).await? {
            if Instant::now() + PAUSE >= deadline {
                return Err(StoreError::Unavailable("another process is at the same thing".to_owned()));
            }
            sleep(PAUSE).await;
        }
        let (inner, name) = (Arc::clone(self), name.to_vec());
        Ok(Claim::new(async move {
            // If it cannot be given back it ends by itself.
            let _ = inner.try_claim(&name, &who, false).await;
        }))
    }

    async fn try_claim(&self, name: &[u8], who: &str, wanted: bool) -> Result<bool, StoreError> {
        let bucket = self.bucket(super::buckets::spread(name, self.count()));
        let mut call = self.connections.scripts.claim.on(&[&bucket.claims]);
        call.arg(name).arg(who).arg(CLAIM.as_millis() as u64).arg(u8::from(wanted));
        let replicas = if wanted { self.replicas } else { 0 };
        let mut answers =
            self.connections.call_all(Lane::Log, vec![(bucket.slot, vec![call])], replicas).await;
        let values = answers.pop().ok_or_else(|| damaged("a reply"))??;
        check_kept(&values, replicas)?;
        Ok(matches!(values.first(), Some(Value::Int(1))))
    }
}
