//! Who works on which bucket: nodes make themselves known and share the buckets by leases, both kept in the engine.
//!
//! There is no leader. Every node computes from the same list of living nodes which of them a bucket is for, and takes the
//! lease of those that are for itself as soon as it is free. A lease has a token that grows with each owner; whoever was
//! away for too long holds an old one, and the engine refuses what is written under it.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Inner;
use super::connection::{Lane, text_of};
use crate::StoreError;

/// How often a node says that it lives.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// How long a lease lasts, and how long after its last sign of life a node is thought to live.
const LEASE: Duration = Duration::from_secs(5);
/// How much earlier than the engine a node thinks that its lease has ended.
const MARGIN: Duration = Duration::from_secs(1);
/// How long a silent node is still listed.
const FORGET: Duration = Duration::from_secs(60);

/// The leases that this node has, by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// The token of each lease; `None`: the bucket is somebody else's.
    pub tokens: Vec<Option<u64>>,
}

impl Leases {
    /// Whether the bucket is this node's.
    pub fn has(&self, bucket: u16) -> bool {
        self.token(bucket).is_some()
    }

    /// The token of the bucket's lease.
    pub fn token(&self, bucket: u16) -> Option<u64> {
        self.tokens.get(usize::from(bucket)).copied().flatten()
    }

    /// The buckets that are this node's.
    pub fn held(&self) -> impl Iterator<Item = u16> + '_ {
        (0..).zip(&self.tokens).filter(|(_, token)| token.is_some()).map(|(bucket, _)| bucket)
    }
}

/// One of the processes that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, another one at each start.
    pub id: String,
    /// What its operator calls it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How many buckets it works on.
    pub buckets: usize,
    /// How long ago it was last heard of.
    pub silent_for: Duration,
    /// Whether it is thought to live.
    pub lives: bool,
}

/// This node among the others.
pub(super) struct Membership {
    pub(super) id: String,
    name: String,
    pub(super) leases: watch::Sender<Arc<Leases>>,
    ends: parking_lot::Mutex<Instant>,
    pub(super) nodes: watch::Sender<Vec<Node>>,
}

impl Membership {
    pub(super) fn new(id: String, name: String, buckets: u16) -> Self {
        let leases = watch::Sender::new(Arc::new(Leases { tokens: vec![None; usize::from(buckets)] }));
        Self {
            id,
            name,
            leases,
            ends: parking_lot::Mutex::new(Instant::now()),
            nodes: watch::Sender::default(),
        }
    }

    /// The leases, as far as they still count.
    pub(super) fn current(&self) -> Arc<Leases> {
        if Instant::now() >= *self.ends.lock() {
            self.let_go();
        }
        self.leases.borrow().clone()
    }

    fn let_go(&self) {
        self.leases.send_if_modified(|leases| {
            let none = Leases { tokens: vec![None; leases.tokens.len()] };
            let changed = **leases != none;
            *leases = Arc::new(none);
            changed
        });
    }
}

impl Inner {
    /// Says that this node lives, and takes, keeps and gives back leases as the list of nodes wants.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let started = Instant::now();
        let membership = &self.membership;
        let before = membership.current();
        let held = before.held().count();
        let about = format!("{held}\t{}\t{}", self.options.version, membership.name);
        let nodes = self.heartbeat(&membership.id, &about).await?;
        let mut living: Vec<&str> =
            nodes.iter().filter(|node| node.lives).map(|node| node.id.as_str()).collect();
        if !living.contains(&membership.id.as_str()) {
            living.push(&membership.id);
        }
        let is_mine = |bucket: u16| owner(&living, bucket) == Some(membership.id.as_str());
        // What is to go is let go here before it is given back: nobody else may have it while we think it is ours.
        let kept = Leases {
            tokens: (0..)
                .zip(&before.tokens)
                .map(|(bucket, token)| token.filter(|_| is_mine(bucket)))
                .collect(),
        };
        let kept = Arc::new(kept);
        if kept != before {
            membership.leases.send_replace(kept.clone());
        }
        let lease = |bucket: u16, wanted: bool| {
            let place = &self.buckets[usize::from(bucket)];
            let mut call = self.connections.scripts.lease.on(&[&place.meta]);
            call.arg(&membership.id).arg(LEASE.as_millis() as u64).arg(u8::from(wanted));
            (place.slot, vec![call])
        };
        let count = self.buckets.len() as u16;
        let wanted: Vec<(u16, bool)> = (0..count)
            .filter_map(|bucket| match (before.has(bucket), is_mine(bucket)) {
                (_, true) => Some((bucket, true)),
                (true, false) => Some((bucket, false)),
                (false, false) => None,
            })
            .collect();
        let calls = wanted.iter().map(|(bucket, wanted)| lease(*bucket, *wanted)).collect();
        let answers = self.connections.call_all(Lane::Log, calls, self.replicas).await;
        let mut tokens = kept.tokens.clone();
        let mut outcome = Ok(());
        for ((bucket, _), answer) in wanted.iter().zip(answers) {
            let token = answer.map(|values| token_of(&values, self.replicas));
            tokens[usize::from(*bucket)] = match token {
                Ok(token) => token,
                Err(error) => {
                    outcome = Err(error);
                    None
                }
            };
        }
        *membership.ends.lock() = started + LEASE - MARGIN;
        let now = Arc::new(Leases { tokens });
        membership.leases.send_if_modified(|leases| {
            let changed = *leases != now;
            *leases = now;
            changed
        });
        membership.nodes.send_replace(nodes);
        outcome
    }

    /// Gives everything back and goes.
    pub(super) async fn leave(&self) {
        let held: Vec<u16> = self.membership.current().held().collect();
        self.membership.let_go();
        let calls = held.iter().map(|bucket| {
            let place = &self.buckets[usize::from(*bucket)];
            let mut call = self.connections.scripts.lease.on(&[&place.meta]);
            call.arg(&self.membership.id).arg(0).arg(0);
            (place.slot, vec![call])
        });
        // Who cannot say good-bye is missed soon all the same.
        let _ = self.connections.call_all(Lane::Log, calls.collect(), 0).await;
        let _ = self.heartbeat(&self.membership.id, "").await;
    }

    async fn heartbeat(&self, id: &str, about: &str) -> Result<Vec<Node>, StoreError> {
        let mut call = self.connections.scripts.heartbeat.on(&[&self.nodes_key]);
        call.arg(id).arg(LEASE.as_millis() as u64).arg(FORGET.as_millis() as u64).arg(about);
        let values = self.connections.call(Lane::Log, self.nodes_slot, &[call]).await?;
        let Some(Value::Array(found)) = values.into_iter().next() else { return Ok(Vec::new()) };
        Ok(found.chunks_exact(3).filter_map(node_of).collect())
    }

    /// The nodes as the engine knows them now.
    pub(super) async fn list_nodes(&self) -> Result<Vec<Node>, StoreError> {
        let mut nodes = self.heartbeat("", " ").await?;
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(nodes)
    }
}

fn node_of(of: &[Value]) -> Option<Node> {
    let silent_for = Duration::from_millis(text_of(&of[1]).parse().ok()?);
    let about = text_of(&of[2]);
    let mut parts = about.splitn(3, '\t');
    Some(Node {
        id: text_of(&of[0]),
        buckets: parts.next()?.parse().ok()?,
        version: parts.next()?.to_owned(),
        name: parts.next()?.to_owned(),
        silent_for,
        lives: silent_for < LEASE,
    })
}

fn token_of(values: &[Value], replicas: usize) -> Option<u64> {
    let Some(Value::Array(answer)) = values.first() else { return None };
    let is_kept =
        replicas == 0 || matches!(values.last(), Some(Value::Int(kept)) if *kept >= replicas as i64);
    match &answer[..] {
        [Value::Int(1), token] if is_kept => text_of(token).parse().ok(),
        _ => None,
    }
}

/// Whom of some nodes a bucket is for: the one with the highest score, so that a node that comes or goes moves its own
/// share and nothing else.
fn owner<'n>(nodes: &[&'n str], bucket: u16) -> Option<&'n str> {
    nodes.iter().copied().max_by_key(|node| {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        let bytes = node.bytes().chain(bucket.to_be_bytes());
        let sum = bytes.fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // The last bytes have moved only low bits so far.
        let mixed = (sum ^ sum >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ mixed >> 32, *node)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_shared_and_only_those_of_whoever_goes_move() {
        let nodes = ["a1b2", "c3d4", "e5f6"];
        let of =
            |nodes: &[&'static str]| (0..64).map(|bucket| owner(nodes, bucket).unwrap()).collect::<Vec<_>>();
        let three = of(&nodes);
        for node in nodes {
            let count = three.iter().filter(|owner| **owner == node).count();
            assert!((10..=34).contains(&count), "{node} has {count} of 64");
        }
        let two = of(&nodes[..2]);
        for (before, after) in three.iter().zip(&two) {
            assert!(before == after || *before == "e5f6");
        }
        assert_eq!(of(&["e5f6", "a1b2", "c3d4"]), three, "whatever the order");
        assert_eq!(owner(&[], 1), None);
    }
}
