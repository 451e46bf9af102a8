//! Who works on which shard, without an engine and without a clock: what a node decides, and what an engine keeps.
//!
//! There is no leader. Every node computes from the same list of living nodes which of them a shard is for, and takes the
//! lease of those that are for itself as soon as it is free. A lease has a token that grows with each owner; whoever was
//! away for too long holds an old one, and the engine refuses what is written under it.
//!
//! [`Membership`] is a node among the others, over a [`LeaseEngine`]; `redis/` has one of scripts, and [`LeaseTable`] is the
//! same in memory. Neither asks what time it is: a node's is the time that has passed by its machine's clock that never goes
//! back, an engine's is what its own clock shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::StoreError;

/// How often a node says that it lives.
pub const BEAT: Duration = Duration::from_secs(1);
/// How long a lease lasts, and how long after its last sign of life a node is thought to live.
pub const LEASE: Duration = Duration::from_secs(5);
/// How much earlier than the engine a node thinks that its lease has ended.
pub const MARGIN: Duration = Duration::from_secs(1);
/// How long a silent node is still listed.
pub const FORGET: Duration = Duration::from_secs(60);

/// The leases that a node has, by shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// The token of each lease; `None`: the shard is somebody else's.
    pub tokens: Vec<Option<u64>>,
}

impl Leases {
    /// Whether the shard is this node's.
    pub fn has(&self, shard: u16) -> bool {
        self.token(shard).is_some()
    }

    /// The token of the shard's lease.
    pub fn token(&self, shard: u16) -> Option<u64> {
        self.tokens.get(usize::from(shard)).copied().flatten()
    }

    /// The shards that are this node's.
    pub fn held(&self) -> impl Iterator<Item = u16> + '_ {
        (0..).zip(&self.tokens).filter(|(_, token)| token.is_some()).map(|(shard, _)| shard)
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
    /// How many shards it works on.
    pub buckets: usize,
    /// How long ago it was last heard of.
    pub silent_for: Duration,
    /// Whether it is thought to live.
    pub lives: bool,
    /// How long it had been up when it was last heard of. `None`: it is of a program that does not say.
    pub up_for: Option<Duration>,
    /// How far it had read the log then, where there is one to read together.
    pub reading: Option<Reading>,
}

/// How far a node has read a log that all of them write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// When the last change that it has read was kept, in microseconds of Unix time by the engine's clock. Zero: none yet.
    pub up_to_micros: u64,
    /// How long ago it knew for certain that it had read everything.
    pub lag: Duration,
}

impl Node {
    /// A node as an engine lists it; `None` for one that cannot be read.
    pub(crate) fn read(id: String, silent_for: Duration, about: &str) -> Option<Self> {
        let mut parts = about.splitn(3, '\t');
        let buckets = parts.next()?.parse().ok()?;
        // Programs of before had the version alone here, and show what follows with it.
        let mut build = parts.next()?.split(' ');
        let version = build.next()?.to_owned();
        let mut number = || build.next().and_then(|number| number.parse::<u64>().ok());
        let up_for = number().map(Duration::from_secs);
        let reading = match (number(), number()) {
            (Some(up_to_micros), Some(lag)) => {
                Some(Reading { up_to_micros, lag: Duration::from_millis(lag) })
            }
            _ => None,
        };
        let (name, lives) = (parts.next()?.to_owned(), silent_for < LEASE);
        Some(Self { id, name, version, buckets, silent_for, lives, up_for, reading })
    }
}

/// What an engine does for nodes that share a store, each by one atomic step.
#[async_trait]
pub trait LeaseEngine: Send + Sync {
    /// Notes that a node lives, or with an empty `about` that it has gone, and lists those there are. Nobody is noted without
    /// an id.
    async fn heartbeat(&self, node: &str, about: &str) -> Result<Vec<Node>, StoreError>;

    /// Takes or keeps leases for a node, or gives them back where they are not wanted. Of each the token, if it is the node's
    /// now.
    async fn lease(&self, node: &str, wanted: &[(u16, bool)]) -> Vec<Result<Option<u64>, StoreError>>;

    /// How far this node has read the log, for the others to know.
    fn reading(&self) -> Option<Reading> {
        None
    }
}

/// This node among the others.
pub struct Membership {
    /// Its id, another one at each start.
    pub id: String,
    name: String,
    version: String,
    leases: watch::Sender<Arc<Leases>>,
    standing: Mutex<Standing>,
    nodes: watch::Sender<Vec<Node>>,
}

/// What counts for the leases besides what they are. Leases change under its lock.
#[derive(Default)]
struct Standing {
    /// When each lease ends, unless it is kept, by the machine's clock.
    ends: Vec<Duration>,
    /// Those that a beat has asked for and not heard of yet: the engine may have given them.
    asked: BTreeSet<u16>,
    /// Whether this node is going. Whatever a beat that is still under way hears, nothing is its own any more.
    has_left: bool,
}

impl Membership {
    /// A node of this id, that has nothing yet.
    pub fn new(id: String, name: String, version: String, shards: u16) -> Self {
        let leases = watch::Sender::new(Arc::new(Leases { tokens: vec![None; usize::from(shards)] }));
        let standing = Standing { ends: vec![Duration::ZERO; usize::from(shards)], ..Standing::default() };
        Self { id, name, version, leases, standing: Mutex::new(standing), nodes: watch::Sender::default() }
    }

    /// The leases, as they change.
    pub fn leases(&self) -> watch::Receiver<Arc<Leases>> {
        self.leases.subscribe()
    }

    /// The nodes as they were known at the last beat.
    pub fn nodes(&self) -> watch::Receiver<Vec<Node>> {
        self.nodes.subscribe()
    }

    /// A number that is another one when a node has come or gone, as of the last beat.
    pub fn fleet(&self) -> u64 {
        let nodes = self.nodes.borrow();
        let living = nodes.iter().filter(|node| node.lives);
        // In any order: each is one life of a node.
        living.fold(0, |sum, node| sum ^ score(node.id.bytes()))
    }

    /// When the first of the leases ends, unless it is kept. Zero: there is none.
    pub fn ends(&self) -> Duration {
        let standing = self.standing.lock();
        let leases = self.leases.borrow();
        leases
            .held()
            .filter_map(|shard| standing.ends.get(usize::from(shard)))
            .min()
            .copied()
            .unwrap_or_default()
    }

    /// The leases, as far as they still count.
    pub fn current(&self, now: Duration) -> Arc<Leases> {
        let standing = self.standing.lock();
        let known = self.leases.borrow().clone();
        let left = known.tokens.iter().zip(&standing.ends).map(|(token, end)| token.filter(|_| now < *end));
        self.set(&standing, Leases { tokens: left.collect() });
        self.leases.borrow().clone()
    }

    fn none(&self) -> Leases {
        Leases { tokens: vec![None; self.leases.borrow().tokens.len()] }
    }

    fn set(&self, standing: &Standing, found: Leases) {
        let found = if standing.has_left { self.none() } else { found };
        self.leases.send_if_modified(|leases| {
            let changed = **leases != found;
            if changed {
                *leases = Arc::new(found);
            }
            changed
        });
    }

    /// Says that this node lives, and takes, keeps and gives back leases as the list of nodes wants.
    ///
    /// Where only a part of the engine does not answer, the leases there end when their time has come, and the others are kept:
    /// for whom they are is decided by the nodes that were known last.
    ///
    /// # Errors
    /// [`StoreError`]. Leases of which the engine says that they are not this node's are let go of. A node that has left takes
    /// none, also when it was asked to before.
    pub async fn beat(
        &self,
        engine: &dyn LeaseEngine,
        now: impl Fn() -> Duration + Send + Sync,
    ) -> Result<(), StoreError> {
        let outcome = self.share_out(engine, now()).await;
        // The answers may have taken longer than the leases last.
        self.current(now());
        outcome
    }

    async fn share_out(&self, engine: &dyn LeaseEngine, started: Duration) -> Result<(), StoreError> {
        let before = self.current(started);
        let reading = engine.reading().map(|Reading { up_to_micros, lag }| {
            format!(" {} {up_to_micros} {}", started.as_secs(), lag.as_millis())
        });
        let build = format!("{}{}", self.version, reading.unwrap_or_default());
        let about = format!("{}\t{build}\t{}", before.held().count(), self.name);
        let (nodes, mut outcome) = match engine.heartbeat(&self.id, &about).await {
            Ok(nodes) => (nodes, Ok(())),
            Err(error) if before.held().next().is_none() => return Err(error),
            Err(error) => (self.nodes.borrow().clone(), Err(error)),
        };
        let mut living: Vec<&str> =
            nodes.iter().filter(|node| node.lives).map(|node| node.id.as_str()).collect();
        if !living.contains(&self.id.as_str()) {
            living.push(&self.id);
        }
        let is_mine = |shard: u16| owner(&living, shard) == Some(self.id.as_str());
        let count = before.tokens.len() as u16;
        let wanted: Vec<(u16, bool)> = (0..count)
            .filter_map(|shard| match (before.has(shard), is_mine(shard)) {
                (_, true) => Some((shard, true)),
                (true, false) => Some((shard, false)),
                (false, false) => None,
            })
            .collect();
        {
            let mut standing = self.standing.lock();
            // What is to go is let go here before it is given back: nobody else may have it while we think it is ours. What
            // has ended while we waited for the list does not come back by that.
            let now = self.leases.borrow().clone();
            let kept = (0..).zip(&now.tokens).map(|(shard, token)| token.filter(|_| is_mine(shard)));
            self.set(&standing, Leases { tokens: kept.collect() });
            if standing.has_left {
                return Ok(());
            }
            standing.asked =
                wanted.iter().filter(|(_, is_wanted)| *is_wanted).map(|(shard, _)| *shard).collect();
        }
        let answers = engine.lease(&self.id, &wanted).await;
        {
            let mut standing = self.standing.lock();
            standing.asked.clear();
            let mut tokens = self.leases.borrow().tokens.clone();
            for ((shard, _), answer) in wanted.iter().zip(answers) {
                let place = usize::from(*shard);
                match answer {
                    Ok(token) => {
                        (tokens[place], standing.ends[place]) = (token, started + LEASE - MARGIN);
                    }
                    // What it was until now it is until its time has come.
                    Err(error) => outcome = Err(error),
                }
            }
            self.set(&standing, Leases { tokens });
        }
        self.nodes.send_replace(nodes);
        outcome
    }

    /// Gives everything back and goes. Nothing is this node's from the first moment on, not even what a beat that is still
    /// under way is given: somebody else may have it as soon as the engine hears of this.
    pub async fn leave(&self, engine: &dyn LeaseEngine, now: Duration) {
        let held: BTreeSet<u16> = self.current(now).held().collect();
        let given_back: Vec<(u16, bool)> = {
            let mut standing = self.standing.lock();
            standing.has_left = true;
            self.set(&standing, self.none());
            held.union(&standing.asked).map(|shard| (*shard, false)).collect()
        };
        // Who cannot say good-bye is missed soon all the same.
        let _ = engine.lease(&self.id, &given_back).await;
        let _ = engine.heartbeat(&self.id, "").await;
    }
}

/// Whom of some nodes a shard is for: the one with the highest score, so that a node that comes or goes moves its own
/// share and nothing else.
fn owner<'n>(nodes: &[&'n str], shard: u16) -> Option<&'n str> {
    nodes.iter().copied().max_by_key(|node| (score(node.bytes().chain(shard.to_be_bytes())), *node))
}

fn score(bytes: impl Iterator<Item = u8>) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let sum = bytes.fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The last bytes have moved only low bits so far.
    let mixed = (sum ^ sum >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}

/// What an engine keeps of nodes and leases, in memory: the meaning of `redis/heartbeat.lua`, `redis/lease.lua` and the
/// fence in `redis/documents.lua`. Instants are those of the engine's clock.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    /// When each node was last heard of, and what it said of itself.
    nodes: BTreeMap<String, (Duration, String)>,
    shards: BTreeMap<u16, Lease>,
}

#[derive(Clone, Debug, Default)]
struct Lease {
    /// Who has it, and until when.
    owner: Option<(String, Duration)>,
    token: u64,
}

impl LeaseTable {
    /// As [`LeaseEngine::heartbeat`].
    pub fn heartbeat(&mut self, node: &str, about: &str, now: Duration) -> Vec<Node> {
        if about.is_empty() {
            self.nodes.remove(node);
        } else if !node.is_empty() {
            self.nodes.insert(node.to_owned(), (now, about.to_owned()));
        }
        self.nodes.retain(|_, (seen, _)| now.saturating_sub(*seen) <= FORGET);
        let listed = self.nodes.iter();
        listed
            .filter_map(|(id, (seen, about))| Node::read(id.clone(), now.saturating_sub(*seen), about))
            .collect()
    }

    /// As [`LeaseEngine::lease`], of one shard.
    pub fn lease(
        &mut self,
        node: &str,
        shard: u16,
        is_wanted: bool,
        lasts: Duration,
        now: Duration,
    ) -> Option<u64> {
        let lease = self.shards.entry(shard).or_default();
        match &lease.owner {
            Some((owner, _)) if owner == node && !is_wanted => {
                lease.owner = None;
                return None;
            }
            Some((owner, _)) if owner == node => {}
            Some((_, until)) if *until > now => return None,
            _ if !is_wanted => return None,
            _ => lease.token += 1,
        }
        lease.owner = Some((node.to_owned(), now + lasts));
        Some(lease.token)
    }

    /// Whether what a node writes under a token may be kept. That its time has come does not matter while nobody else has
    /// come.
    pub fn is_held(&self, node: &str, shard: u16, token: u64) -> bool {
        let lease = self.shards.get(&shard);
        lease.is_some_and(|lease| {
            lease.token == token && lease.owner.as_ref().is_some_and(|(owner, _)| owner == node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_shared_and_only_those_of_whoever_goes_move() {
        let nodes = ["a1b2", "c3d4", "e5f6"];
        let of =
            |nodes: &[&'static str]| (0..64).map(|shard| owner(nodes, shard).unwrap()).collect::<Vec<_>>();
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

    #[test]
    fn a_lease_is_one_nodes_until_it_ends_and_each_owners_token_is_later() {
        let mut table = LeaseTable::default();
        let second = Duration::from_secs;
        let mut lease = |node, is_wanted, now| table.lease(node, 3, is_wanted, LEASE, second(now));
        assert_eq!(lease("a", true, 0), Some(1));
        assert_eq!(lease("b", true, 4), None);
        assert_eq!(lease("a", true, 4), Some(1), "kept");
        assert_eq!(lease("b", false, 8), None, "nobody gives back what is another's");
        assert_eq!(lease("b", true, 9), Some(2), "it has ended");
        assert_eq!(lease("b", false, 9), None);
        assert_eq!(lease("a", true, 9), Some(3), "given back");
        assert!(!table.is_held("a", 3, 1) && !table.is_held("b", 3, 2) && !table.is_held("b", 3, 3));
        assert!(table.is_held("a", 3, 3) && !table.is_held("a", 4, 3));
    }

    /// An engine of one node, that answers to leases when it is let.
    #[derive(Default)]
    struct Slow {
        table: Mutex<LeaseTable>,
        gate: tokio::sync::Notify,
        now: Mutex<Duration>,
    }

    #[async_trait]
    impl LeaseEngine for Slow {
        async fn heartbeat(&self, node: &str, about: &str) -> Result<Vec<Node>, StoreError> {
            if self.now.lock().as_secs() == 1 {
                self.gate.notified().await;
            }
            Ok(self.table.lock().heartbeat(node, about, *self.now.lock()))
        }

        async fn lease(&self, node: &str, wanted: &[(u16, bool)]) -> Vec<Result<Option<u64>, StoreError>> {
            let given: Vec<_> = {
                let mut table = self.table.lock();
                let lease = |(shard, is_wanted): &(u16, bool)| {
                    Ok(table.lease(node, *shard, *is_wanted, LEASE, *self.now.lock()))
                };
                wanted.iter().map(lease).collect()
            };
            if wanted.iter().any(|(_, is_wanted)| *is_wanted) {
                self.gate.notified().await;
            }
            given
        }
    }

    #[test]
    fn whoever_leaves_has_nothing_from_then_on_whatever_a_beat_hears_and_gives_back_what_that_was_given() {
        let engine = Slow::default();
        let node = Membership::new("a".into(), "first".into(), "1".into(), 4);
        let mut beat = Box::pin(node.beat(&engine, || Duration::ZERO));
        assert!(futures_util::FutureExt::now_or_never(beat.as_mut()).is_none(), "it waits for the answer");
        futures_util::FutureExt::now_or_never(node.leave(&engine, Duration::ZERO)).unwrap();
        engine.gate.notify_one();
        futures_util::FutureExt::now_or_never(beat).unwrap().unwrap();
        assert_eq!(node.leases().borrow().held().count(), 0);
        let free = |shard| engine.table.lock().lease("b", shard, true, LEASE, Duration::ZERO).is_some();
        assert!((0..4).all(free), "what was asked for was given back");
        // And from now on none is asked for.
        futures_util::FutureExt::now_or_never(node.beat(&engine, || Duration::ZERO)).unwrap().unwrap();
        assert_eq!(node.leases().borrow().held().count(), 0);
    }

    #[test]
    fn what_ends_while_the_list_of_nodes_is_waited_for_does_not_come_back_by_it() {
        let engine = Slow::default();
        let node = Membership::new("a".into(), "first".into(), "1".into(), 4);
        engine.gate.notify_one();
        futures_util::FutureExt::now_or_never(node.beat(&engine, || Duration::ZERO)).unwrap().unwrap();
        assert_eq!(node.leases().borrow().held().count(), 4);
        *engine.now.lock() = Duration::from_secs(1);
        // Another one joins, so that some of them are to go.
        engine.table.lock().heartbeat("b", "0\t1\tsecond", Duration::from_secs(1));
        let mut beat = Box::pin(node.beat(&engine, || Duration::from_secs(1)));
        assert!(futures_util::FutureExt::now_or_never(beat.as_mut()).is_none());
        node.current(LEASE);
        assert_eq!(node.leases().borrow().held().count(), 0);
        engine.gate.notify_one();
        assert!(futures_util::FutureExt::now_or_never(beat.as_mut()).is_none(), "now for leases");
        assert_eq!(node.leases().borrow().held().count(), 0);
    }

    #[test]
    fn nodes_are_listed_until_they_go_or_are_silent_for_long() {
        let mut table = LeaseTable::default();
        let second = Duration::from_secs;
        table.heartbeat("a", "2\t1.0\tfirst\tof all", second(0));
        let listed = table.heartbeat("b", "0\t1.0\tsecond", second(6));
        assert_eq!(listed[0].reading, None, "a program of before");
        let third = Node::read("c".into(), second(0), "0\t1.1 9 1764250000000000 25\tthird").unwrap();
        assert_eq!(
            (third.version.as_str(), third.name.as_str(), third.up_for),
            ("1.1", "third", Some(second(9)))
        );
        let reading = Reading { up_to_micros: 1_764_250_000_000_000, lag: Duration::from_millis(25) };
        assert_eq!(third.reading, Some(reading));
        let of = |node: &Node| (node.id.clone(), node.name.clone(), node.buckets, node.lives);
        let (a, b) = (("a".into(), "first\tof all".into(), 2, false), ("b".into(), "second".into(), 0, true));
        assert_eq!(listed.iter().map(of).collect::<Vec<_>>(), [a, b]);
        assert_eq!(table.heartbeat("", " ", second(61)).len(), 1);
        assert_eq!(table.heartbeat("b", "", second(61)), []);
    }
}
