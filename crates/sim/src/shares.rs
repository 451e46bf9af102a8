//! A node's part of a store that several share: its leases, by the product's own steps, and how far it knows of the others.
//!
//! A node knows of the log what it has looked for, and of leases what it was told; both can be old.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use presence::Timestamp;
use store::leases::{LeaseEngine, Membership};
use store::{
    Claim, Document, DocumentChanges, DocumentKind, DocumentsSeen, Leases, LogRead, Node, Position, Shared,
    StoreError,
};
use tokio::sync::watch;

use crate::bug::Bug;
use crate::wire::{Op, Reply, Wire, mixed_up};

/// Shards of the store.
pub(crate) const SHARDS: u16 = 4;

/// The id of a life.
pub(crate) fn id(life: usize) -> String {
    format!("{life:04x}")
}

/// A time of the engine's clock, as leases are timed.
pub(crate) fn passed(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// The shard of a subscription and all that is kept of it.
pub(crate) fn shard_of(key: &[u8]) -> u16 {
    store::redis::shard_of_document(DocumentKind::Subscription, key, SHARDS)
}

/// How long a claim is waited for that another has.
const CLAIM_PATIENCE: Duration = Duration::from_secs(4);
/// Why one was not had.
pub(crate) const ANOTHER: &str = "another process is at the same thing";

async fn claim(wire: &Wire, name: &[u8], who: u64, is_wanted: bool) -> Result<bool, StoreError> {
    let (name, at) = (name.to_vec(), Timestamp::MIN);
    match wire.call(Op::Claim { name, who, is_wanted, at }).await? {
        Reply::Claimed(is_ours) => Ok(is_ours),
        _ => Err(mixed_up()),
    }
}

pub(crate) struct Shares {
    pub(crate) life: usize,
    wire: Arc<Wire>,
    membership: Membership,
    pub(crate) log_end: watch::Sender<Position>,
    documents: watch::Sender<u64>,
    /// Whether it has committed since it last looked.
    has_own: AtomicBool,
    claims: AtomicU64,
    /// How long its machine has stood still.
    stood: Mutex<Duration>,
    bug: Option<Bug>,
}

impl Shares {
    pub(crate) fn new(life: usize, wire: Arc<Wire>, bug: Option<Bug>) -> Self {
        let membership = Membership::new(id(life), format!("n{life}"), "1".into(), SHARDS);
        let (log_end, documents) = (watch::Sender::default(), watch::Sender::default());
        let (has_own, stood) = (AtomicBool::new(false), Mutex::default());
        let claims = AtomicU64::new(0);
        Self { life, wire, membership, log_end, documents, has_own, claims, stood, bug }
    }

    /// The machine stood still for so long, and does not know it.
    pub(crate) fn stand(&self, by: Duration) {
        *self.stood.lock() += by;
    }

    pub(crate) fn has_stood(&self) -> bool {
        !self.stood.lock().is_zero()
    }

    /// The machine's clock that never goes back.
    fn passed(&self) -> Duration {
        if self.bug == Some(Bug::LeaseBelievedTooLong) {
            return Duration::ZERO;
        }
        passed(self.wire.now()).saturating_sub(*self.stood.lock())
    }

    /// What it thinks that it has, without looking whether that has ended.
    pub(crate) fn believes(&self) -> Arc<Leases> {
        self.membership.leases().borrow().clone()
    }

    pub(crate) fn held(&self) -> Vec<u16> {
        self.membership.current(self.passed()).held().collect()
    }

    pub(crate) async fn beat(&self) -> Result<(), StoreError> {
        self.membership.beat(self, || self.passed()).await
    }

    pub(crate) async fn leave(&self) {
        if self.bug == Some(Bug::LeaseGivenBackFirst) {
            let held: Vec<_> = self.believes().held().map(|shard| (shard, false)).collect();
            let _ = self.lease("", &held).await;
        }
        self.membership.leave(self, self.passed()).await;
    }

    /// Looks for everything that was committed anywhere before this call.
    pub(crate) async fn look(&self) -> Result<Position, StoreError> {
        match self.wire.call(Op::Look).await? {
            Reply::Looked(end, documents) => {
                self.has_own.store(false, Ordering::Relaxed);
                self.log_end.send_if_modified(|known| {
                    let grows = end > *known;
                    *known = end.max(*known);
                    grows
                });
                self.documents.send_if_modified(|known| std::mem::replace(known, documents) != documents);
                Ok(*self.log_end.borrow())
            }
            _ => Err(mixed_up()),
        }
    }

    pub(crate) fn committed(&self) {
        self.has_own.store(true, Ordering::Relaxed);
    }

    /// A node finds at least its own commits in the log.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        if self.has_own.load(Ordering::Relaxed) {
            self.look().await?;
        }
        Ok(())
    }

    /// A page of the log without what this node has not looked for yet.
    pub(crate) fn as_far_as_known(&self, read: LogRead) -> LogRead {
        let known = *self.log_end.borrow();
        match read {
            LogRead::Page { mut entries, .. } => {
                entries.retain(|entry| entry.position <= known);
                LogRead::Page { entries, end: known }
            }
            LogRead::Behind { oldest, .. } => LogRead::Behind { oldest, end: known },
        }
    }
}

#[async_trait]
impl LeaseEngine for Shares {
    async fn heartbeat(&self, _node: &str, about: &str) -> Result<Vec<Node>, StoreError> {
        let (life, about, at) = (self.life, about.to_owned(), Timestamp::MIN);
        match self.wire.call(Op::Heartbeat { life, about, at }).await? {
            Reply::Nodes(nodes) => Ok(nodes),
            _ => Err(mixed_up()),
        }
    }

    async fn lease(&self, _node: &str, wanted: &[(u16, bool)]) -> Vec<Result<Option<u64>, StoreError>> {
        let leases = wanted.iter().map(async |(shard, is_wanted)| {
            let (life, shard, is_wanted, at) = (self.life, *shard, *is_wanted, Timestamp::MIN);
            match self.wire.call(Op::Lease { life, shard, is_wanted, at }).await? {
                Reply::Token(token) => Ok(token),
                _ => Err(mixed_up()),
            }
        });
        join_all(leases).await
    }
}

#[async_trait]
impl Shared for Shares {
    fn shard_of(&self, kind: DocumentKind, key: &[u8]) -> u16 {
        store::redis::shard_of_document(kind, key, SHARDS)
    }

    fn leases(&self) -> watch::Receiver<Arc<Leases>> {
        self.membership.leases()
    }

    async fn put_documents_under(
        &self,
        shard: u16,
        token: u64,
        documents: Vec<Document>,
    ) -> Result<(), StoreError> {
        let life = self.life;
        self.wire.call(Op::PutUnder { life, shard, token, documents }).await.map(drop)
    }

    async fn claim(&self, name: &[u8]) -> Result<Claim, StoreError> {
        let who = (self.life as u64) << 32 | self.claims.fetch_add(1, Ordering::Relaxed);
        let (wire, name) = (self.wire.clone(), name.to_vec());
        let deadline = self.passed() + CLAIM_PATIENCE;
        while !claim(&wire, &name, who, true).await? {
            let asked = self.passed();
            if asked >= deadline {
                return Err(StoreError::Unavailable(ANOTHER.to_owned()));
            }
            // The world polls everybody whenever anything has happened, time included.
            poll_fn(|_| if self.passed() > asked { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        Ok(Claim::new(async move {
            let _ = claim(&wire, &name, who, false).await;
        }))
    }

    fn documents_changed(&self) -> watch::Receiver<u64> {
        self.documents.subscribe()
    }

    async fn documents_seen(&self) -> Result<DocumentsSeen, StoreError> {
        match self.wire.call(Op::Seen).await? {
            Reply::Seen(seen) => Ok(seen),
            _ => Err(mixed_up()),
        }
    }

    async fn document_changes(&self, seen: &mut DocumentsSeen) -> Result<DocumentChanges, StoreError> {
        match self.wire.call(Op::Changes(seen.clone())).await? {
            Reply::Changes(changes, now) => {
                *seen = now;
                self.documents.send_replace(seen.mark());
                Ok(changes)
            }
            _ => Err(mixed_up()),
        }
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        Ok(self.membership.nodes().borrow().clone())
    }

    fn living(&self) -> u64 {
        self.membership.nodes().borrow().iter().filter(|node| node.lives).count() as u64
    }

    fn fleet(&self) -> u64 {
        self.membership.fleet()
    }

    fn losses(&self) -> u64 {
        0
    }
}
