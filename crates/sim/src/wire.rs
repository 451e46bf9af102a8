//! What lies between the nodes and their store: every call a step makes passes here, and the world decides when and
//! whether it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use presence::{Timestamp, UserKey};
use store::{
    Commit, Document, DocumentChanges, DocumentKind, DocumentsSeen, LogRead, Node, Position, Shared,
    SharedMemory, Store, StoreError, Stored, Version,
};
use tokio::sync::{oneshot, watch};

use crate::shares::{self, Shares};

/// Names a step that was begun.
pub(crate) type StepId = usize;

/// The step of what belongs to none.
const NOBODY: StepId = 0;

/// A call to a store, as a value.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Load(Vec<UserKey>),
    Commit(Box<Commit>),
    Due(Timestamp, usize),
    NextWake,
    Latest,
    ReadLog(Position, usize),
    TrimLog(Timestamp),
    Documents(DocumentKind),
    PutDocuments(Vec<Document>),
    // Of a shared store: by which life of a node, and at what time of the engine's clock, once it has arrived.
    Heartbeat {
        life: usize,
        about: String,
        at: Timestamp,
    },
    Lease {
        life: usize,
        shard: u16,
        is_wanted: bool,
        at: Timestamp,
    },
    PutUnder {
        life: usize,
        shard: u16,
        token: u64,
        documents: Vec<Document>,
    },
    Claim {
        name: Vec<u8>,
        who: u64,
        is_wanted: bool,
        at: Timestamp,
    },
    DueIn(Vec<u16>, Timestamp, usize),
    NextWakeIn(Vec<u16>),
    Seen,
    Changes(DocumentsSeen),
    /// Where the log ends, and how many documents have changed.
    Look,
}

impl Op {
    /// Whether it changes anything durable.
    pub(crate) fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Commit(_)
                | Self::PutDocuments(_)
                | Self::PutUnder { .. }
                | Self::Heartbeat { .. }
                | Self::Lease { .. }
                | Self::Claim { .. }
        )
    }

    /// Whether it reads what may still be lost: over a store of several machines what was not answered can be, and is seen.
    pub(crate) fn is_dirty_read(&self) -> bool {
        matches!(self, Self::Documents(_) | Self::Seen | Self::Changes(_))
    }

    /// The documents that it puts.
    pub(crate) fn documents(&self) -> &[Document] {
        match self {
            Self::PutDocuments(documents) | Self::PutUnder { documents, .. } => documents,
            _ => &[],
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Loaded(Vec<Stored>),
    Committed(Version),
    Users(Vec<UserKey>),
    Instant(Option<Timestamp>),
    Log(LogRead),
    Documents(Vec<Document>),
    Nodes(Vec<Node>),
    Token(Option<u64>),
    Claimed(bool),
    Seen(DocumentsSeen),
    Changes(DocumentChanges, DocumentsSeen),
    Looked(Position, u64),
    Done,
}

pub(crate) type Outcome = Result<Reply, StoreError>;

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) step: StepId,
    /// The how manieth of its step, from 1.
    pub(crate) number: u32,
    /// The how manieth commit of its step, if it is one.
    pub(crate) commit_number: u32,
    /// What the step last read from its clock.
    pub(crate) now: Timestamp,
    pub(crate) op: Op,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// The calls on their way, and whose they are.
#[derive(Debug)]
pub(crate) struct Wire {
    state: Mutex<State>,
    /// The end of the log, as far as anybody may know of it.
    pub(crate) log_end: watch::Sender<Position>,
}

#[derive(Debug)]
struct State {
    /// True time.
    now: Timestamp,
    /// Whoever is being polled.
    step: StepId,
    outgoing: Vec<Call>,
    /// Calls, commits and the last reading of a clock, of each step.
    of_step: BTreeMap<StepId, (u32, u32, Timestamp)>,
}

impl Wire {
    pub(crate) fn new(now: Timestamp) -> Self {
        let state = State { now, step: NOBODY, outgoing: Vec::new(), of_step: BTreeMap::new() };
        Self { state: Mutex::new(state), log_end: watch::Sender::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.state.lock().now
    }

    pub(crate) fn set_now(&self, now: Timestamp) {
        self.state.lock().now = now;
    }

    /// What is called from now on is this step's.
    pub(crate) fn enter(&self, step: StepId) {
        self.state.lock().step = step;
    }

    /// What happens from now on is no step's: whoever reads a clock then does not read it for the one before.
    pub(crate) fn leave(&self) {
        self.enter(NOBODY);
    }

    /// A clock was read.
    pub(crate) fn clock_was_read(&self, at: Timestamp) {
        let mut state = self.state.lock();
        let step = state.step;
        state.of_step.entry(step).or_insert((0, 0, at)).2 = at;
    }

    /// What the step last read from its clock.
    pub(crate) fn read_by(&self, step: StepId) -> Timestamp {
        self.state.lock().of_step.get(&step).map_or(Timestamp::MIN, |of| of.2)
    }

    /// The calls that were made since the last time.
    pub(crate) fn outgoing(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().outgoing)
    }

    pub(crate) async fn call(&self, op: Op) -> Outcome {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.state.lock();
            let (step, now) = (state.step, state.now);
            let of = state.of_step.entry(step).or_insert((0, 0, now));
            of.0 += 1;
            of.1 += u32::from(matches!(op, Op::Commit(_)));
            let (number, commit_number, now) = *of;
            state.outgoing.push(Call { step, number, commit_number, now, op, reply });
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the connection was lost".into())))
    }
}

/// A node's end of the wire.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) wire: Arc<Wire>,
    /// What it has besides where several nodes share the store.
    pub(crate) shares: Option<Arc<Shares>>,
}

/// A reply of another kind than was asked for.
pub(crate) fn mixed_up() -> StoreError {
    StoreError::Corrupt("the reply to another question".into())
}

#[async_trait]
impl Store for Link {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        match self.wire.call(Op::Load(users.to_vec())).await? {
            Reply::Loaded(stored) => Ok(stored),
            _ => Err(mixed_up()),
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        match self.wire.call(Op::Commit(Box::new(commit))).await? {
            Reply::Committed(version) => {
                if let Some(shares) = &self.shares {
                    shares.committed();
                }
                Ok(version)
            }
            _ => Err(mixed_up()),
        }
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        let due = match &self.shares {
            Some(shares) => Op::DueIn(shares.held(), now, max),
            None => Op::Due(now, max),
        };
        match self.wire.call(due).await? {
            Reply::Users(users) => Ok(users),
            _ => Err(mixed_up()),
        }
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        let next = match &self.shares {
            Some(shares) => Op::NextWakeIn(shares.held()),
            None => Op::NextWake,
        };
        match self.wire.call(next).await? {
            Reply::Instant(at) => Ok(at),
            _ => Err(mixed_up()),
        }
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        match self.wire.call(Op::Latest).await? {
            Reply::Instant(at) => Ok(at),
            _ => Err(mixed_up()),
        }
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        if let Some(shares) = &self.shares {
            shares.catch_up().await?;
        }
        match self.wire.call(Op::ReadLog(after, max)).await? {
            Reply::Log(read) => Ok(match &self.shares {
                Some(shares) => shares.as_far_as_known(read),
                None => read,
            }),
            _ => Err(mixed_up()),
        }
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        match &self.shares {
            Some(shares) => shares.log_end.subscribe(),
            None => self.wire.log_end.subscribe(),
        }
    }

    async fn log_now(&self) -> Result<Position, StoreError> {
        match &self.shares {
            Some(shares) => shares.look().await,
            None => Ok(*self.wire.log_end.borrow()),
        }
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        self.wire.call(Op::TrimLog(now)).await.map(drop)
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        match self.wire.call(Op::Documents(kind)).await? {
            Reply::Documents(documents) => Ok(documents),
            _ => Err(mixed_up()),
        }
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        self.wire.call(Op::PutDocuments(documents)).await.map(drop)
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.shares.as_deref().map(|shares| shares as &dyn Shared)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Carries a call out, at a store or at one that is shared.
pub(crate) async fn perform(store: Arc<dyn Store>, shared: Option<Arc<SharedMemory>>, op: Op) -> Outcome {
    let shared = || shared.as_ref().ok_or_else(|| StoreError::Unavailable("nobody shares this store".into()));
    Ok(match op {
        Op::Load(users) => Reply::Loaded(store.load(&users).await?),
        Op::Commit(commit) => Reply::Committed(store.commit(*commit).await?),
        Op::Due(now, max) => Reply::Users(store.due(now, max).await?),
        Op::NextWake => Reply::Instant(store.next_wake().await?),
        Op::Latest => Reply::Instant(store.latest().await?),
        Op::ReadLog(after, max) => Reply::Log(store.read_log(after, max).await?),
        Op::TrimLog(now) => {
            store.trim_log(now).await?;
            Reply::Done
        }
        Op::Documents(kind) => Reply::Documents(store.documents(kind).await?),
        Op::PutDocuments(documents) => {
            store.put_documents(documents).await?;
            Reply::Done
        }
        Op::Heartbeat { life, about, at } => {
            Reply::Nodes(shared()?.heartbeat(&shares::id(life), &about, shares::passed(at)))
        }
        Op::Lease { life, shard, is_wanted, at } => {
            Reply::Token(shared()?.lease(&shares::id(life), shard, is_wanted, shares::passed(at)))
        }
        Op::Claim { name, who, is_wanted, at } => {
            Reply::Claimed(shared()?.claim(&name, who, is_wanted, shares::passed(at)))
        }
        Op::PutUnder { life, shard, token, documents } => {
            shared()?.put_documents_under(&shares::id(life), shard, token, documents).await?;
            Reply::Done
        }
        Op::DueIn(shards, now, max) => Reply::Users(shared()?.due_in(&shards, now, max).await?),
        Op::NextWakeIn(shards) => Reply::Instant(shared()?.next_wake_in(&shards)?),
        Op::Seen => Reply::Seen(shared()?.documents_seen()),
        Op::Changes(mut seen) => Reply::Changes(shared()?.document_changes(&mut seen).await?, seen),
        Op::Look => {
            let shared = shared()?;
            Reply::Looked(*shared.log_end().borrow(), shared.documents_seen().mark())
        }
    })
}
