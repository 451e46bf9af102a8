//! The store as the world knows it: a real one that breaks in the ways of its kind, and the model of all it was told.
//!
//! *Memory* stands for a store of several machines: what it was told and has not answered yet can be lost when its other
//! half takes over, and nobody sees it before, but for documents. *Shared* is the same for several nodes, with leases.
//! *Embedded* is the real one over a disk that fails, loses power and tears
//! writes. The model hears of a commit when it is kept; of one whose answer was an error, when a restart shows that it was.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::migrate;
use futures_util::FutureExt;
use futures_util::task::noop_waker_ref;
use jiff::SignedDuration;
use presence::{SequenceNumber, UserKey, UserPresence};
use store::disk::{Fault, SimulatedDisk};
use store::{
    Commit, Document, DocumentKind, Embedded, LogEntry, LogRead, Memory, Options, Position, Retention,
    SharedMemory, Store, StoreError, Stored, WriterSteps,
};

use crate::bug::Bug;
use crate::check::Violation;
use crate::fence::Register;
use crate::line::{self, DiskWill, PEOPLE, StoreKind};
use crate::model::{Person, Said};
use crate::shares::SHARDS;
use crate::wire::{Call, Op, Outcome, Reply, Wire, perform};

/// Nothing of the log is forgotten.
const RETENTION: Retention = Retention { age: Duration::from_secs(1 << 40), entries: usize::MAX };
/// Small enough that logs are replaced and snapshots written in a short life.
const OPTIONS: Options =
    Options { compact_at_bytes: 6_000, compact_at_factor: 1, preallocate_bytes: 1_024, retention: RETENTION };

/// Changes of documents that a shared store remembers in each shard: few, so that nodes sometimes miss some.
const REMEMBERED: usize = 6;

/// Bytes of a subscription's id, as the key of what is kept of it.
pub(crate) const ID_BYTES: usize = 16;

/// A call that is being carried out, and what is to become of its answer.
pub(crate) struct Work {
    pub(crate) call: Call,
    /// At which node it was made, for [`Bug::StaleRead`].
    pub(crate) node: usize,
    pub(crate) said: Option<Said>,
    pub(crate) then: Then,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Answer,
    /// It waits until it is resumed.
    Hold,
    /// It is lost.
    Lose,
    /// The node is gone when it comes.
    Crash,
}

/// What has been carried out.
pub(crate) struct Finished {
    pub(crate) work: Work,
    pub(crate) outcome: Outcome,
    /// Of those whose records were read: what is known of them at that moment.
    pub(crate) seen: Vec<(usize, Arc<Person>)>,
}

/// A store that is moved to.
struct Target {
    kind: StoreKind,
    store: Arc<dyn Store>,
    writer: Option<WriterSteps>,
    disk: SimulatedDisk,
}

type Running = Pin<Box<dyn Future<Output = Outcome>>>;

pub(crate) struct Keeper {
    kind: StoreKind,
    bug: Option<Bug>,
    wire: Arc<Wire>,
    store: Option<Arc<dyn Store>>,
    shared: Option<Arc<SharedMemory>>,
    /// How far the clock is off that leases are timed by.
    pub(crate) engine_ahead: SignedDuration,
    /// Whose the leases are, and whose they were when all that is kept was safe.
    pub(crate) register: Register,
    safe_register: Register,
    /// What was noticed while calls were carried out.
    pub(crate) violation: Option<Violation>,
    writer: Option<WriterSteps>,
    disk: SimulatedDisk,
    running: Vec<(Work, Running)>,
    /// What the memory store was told to keep, in order, and how much of it its other half has.
    kept: Vec<Op>,
    safe: usize,
    /// Commits that are kept and not safe, for the model to hear of.
    unsafe_commits: Vec<(UserKey, Said, presence::Timestamp, usize)>,
    /// Commits that failed and may turn out to have been kept.
    maybe: Vec<(store::Commit, Said, presence::Timestamp, usize)>,
    pub(crate) people: Vec<Arc<Person>>,
    read_before: BTreeMap<(usize, UserKey), Stored>,
    target: Option<Target>,
}

impl Keeper {
    pub(crate) fn new(kind: StoreKind, bug: Option<Bug>, wire: Arc<Wire>) -> Self {
        let mut keeper = Self {
            kind,
            bug,
            wire,
            store: None,
            shared: None,
            engine_ahead: SignedDuration::ZERO,
            register: Register::default(),
            safe_register: Register::default(),
            violation: None,
            writer: None,
            disk: SimulatedDisk::new(1),
            running: Vec::new(),
            kept: Vec::new(),
            safe: 0,
            unsafe_commits: Vec::new(),
            maybe: Vec::new(),
            people: vec![Arc::default(); PEOPLE.len()],
            read_before: BTreeMap::new(),
            target: None,
        };
        if kind != StoreKind::Embedded {
            keeper.begin_anew();
        }
        keeper
    }

    fn begin_anew(&mut self) {
        self.shared = self.is_shared().then(|| Arc::new(SharedMemory::new(SHARDS, REMEMBERED, RETENTION)));
        self.store = Some(match &self.shared {
            Some(shared) => shared.clone(),
            None => Arc::new(Memory::with_retention(RETENTION)),
        });
    }

    /// Whether several nodes share it by leases.
    pub(crate) fn is_shared(&self) -> bool {
        self.kind == StoreKind::Shared
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Position {
        self.store.as_ref().map_or(Position(0), |store| *store.log_end().borrow())
    }

    /// What is kept of how far delivery has come.
    pub(crate) fn cursors(&self) -> Vec<Document> {
        let documents = self
            .store
            .as_ref()
            .and_then(|store| store.documents(DocumentKind::DeliveryCursor).now_or_never());
        documents.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether it lives and dies with its node.
    pub(crate) fn is_embedded(&self) -> bool {
        self.kind == StoreKind::Embedded
    }

    /// The store is opened by a process that starts.
    pub(crate) fn open(&mut self) -> Result<(), String> {
        if !self.is_embedded() || self.store.is_some() {
            return Ok(());
        }
        let opened = Embedded::open_in_steps(Arc::new(self.disk.clone()), OPTIONS);
        let (store, writer, _) = opened.map_err(|error| format!("the store does not open: {error}"))?;
        self.store = Some(Arc::new(store));
        self.writer = Some(writer);
        self.learn()?;
        self.wire.log_end.send_replace(self.end());
        Ok(())
    }

    /// The process is gone, and the disk's unsynced bytes maybe too.
    pub(crate) fn close(&mut self, is_power_lost: bool) {
        if !self.is_embedded() || self.store.is_none() {
            return;
        }
        let unanswered: Vec<_> = self.running.drain(..).map(|(work, _)| work).collect();
        for work in unanswered {
            self.note_maybe(&work);
        }
        self.disk = if is_power_lost { self.disk.lose_power() } else { self.disk.kill() };
        (self.store, self.writer) = (None, None);
    }

    pub(crate) fn set_disk(&mut self, will: DiskWill) {
        self.disk.set_fault(match will {
            DiskWill::Works => None,
            DiskWill::Fails(after) => Some(Fault::Once(after)),
            DiskWill::Stops(after) => Some(Fault::Stop(after)),
            DiskWill::Unsynced => Some(Fault::Sync),
        });
    }

    /// Begins to carry a call out.
    pub(crate) fn send(&mut self, mut work: Work) {
        let Some(store) = self.store.clone() else {
            let _ = work.call.reply.send(Err(StoreError::Unavailable("there is no store".into())));
            return;
        };
        let engine_now =
            self.wire.now().saturating_add(self.engine_ahead).unwrap_or(presence::Timestamp::MAX);
        match &mut work.call.op {
            Op::Commit(commit) => self.spoil(commit, work.said.as_ref(), &store),
            Op::Heartbeat { at, .. } | Op::Lease { at, .. } | Op::Claim { at, .. } => *at = engine_now,
            Op::PutDocuments(documents) | Op::PutUnder { documents, .. }
                if self.bug == Some(Bug::EventNotKept) =>
            {
                documents.retain(|document| document.kind != DocumentKind::LifecycleEvent);
            }
            Op::PutUnder { documents, .. } if self.bug == Some(Bug::CursorPassesUntold) => {
                documents.retain(|document| document.body.is_none() || document.key.len() != ID_BYTES);
            }
            _ => {}
        }
        let mut op = work.call.op.clone();
        self.spoil_lease(&mut op, engine_now);
        self.running.push((work, Box::pin(perform(store, self.shared.clone(), op))));
    }

    /// What the mistakes of `bug.rs` do where leases are kept.
    fn spoil_lease(&self, op: &mut Op, now: presence::Timestamp) {
        match (self.bug, &*op) {
            (Some(Bug::DroppedFence), Op::PutUnder { documents, .. }) => {
                *op = Op::PutDocuments(documents.clone());
            }
            (Some(Bug::FenceIgnoresToken), Op::PutUnder { life, shard, documents, .. }) => {
                let token = self.register.token(*shard);
                *op = Op::PutUnder { life: *life, shard: *shard, token, documents: documents.clone() };
            }
            (Some(Bug::LeaseGivenTwice), Op::Lease { life, shard, is_wanted: true, .. }) => {
                if let (Some(other), Some(shared)) =
                    (self.register.holder(*shard).filter(|other| other != life), &self.shared)
                {
                    shared.lease(&crate::shares::id(other), *shard, false, crate::shares::passed(now));
                }
            }
            _ => {}
        }
    }

    /// Goes on with what was begun, and gives back what has ended. Those who asked for an answer have it then.
    pub(crate) fn step(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        loop {
            let mut context = Context::from_waker(noop_waker_ref());
            let mut at = 0;
            while at < self.running.len() {
                match self.running[at].1.as_mut().poll(&mut context) {
                    Poll::Pending => at += 1,
                    Poll::Ready(outcome) => {
                        let (work, _) = self.running.remove(at);
                        let outcome = self.note(&work, outcome);
                        let seen = match &work.call.op {
                            Op::Load(users) => users.iter().filter_map(|user| line::person(*user)).collect(),
                            _ => Vec::new(),
                        };
                        let seen =
                            seen.into_iter().map(|person: usize| (person, self.people[person].clone()));
                        finished.push(Finished { work, outcome, seen: seen.collect() });
                    }
                }
            }
            if !self.writer.as_mut().is_some_and(WriterSteps::step) {
                return finished;
            }
        }
    }

    /// What is kept is known to the store's other half too. It is what an answer promises.
    pub(crate) fn make_safe(&mut self) {
        self.safe = self.kept.len();
        self.safe_register.clone_from(&self.register);
        for (user, said, now, author) in std::mem::take(&mut self.unsafe_commits) {
            self.hear(user, &said, now, author);
        }
        self.publish();
    }

    /// The other half takes over. What it did not know was answered to nobody.
    pub(crate) fn fail_over(&mut self) {
        if self.is_embedded() {
            return;
        }
        self.kept.truncate(self.safe);
        self.unsafe_commits.clear();
        self.register.clone_from(&self.safe_register);
        self.begin_anew();
        if let Some(other) = &self.store {
            for op in &self.kept {
                // It was kept once, so it is kept again.
                let _ = perform(Arc::clone(other), self.shared.clone(), op.clone()).now_or_never();
            }
        }
        self.publish();
    }

    /// The records of everybody and the whole log, as they are kept: for the checks.
    pub(crate) fn everything(&self) -> Result<(Vec<Stored>, Vec<LogEntry>), String> {
        let store = self.store.as_ref().ok_or("there is no store")?;
        let keys: Vec<_> = (0..PEOPLE.len()).map(line::key).collect();
        let stored =
            store.load(&keys).now_or_never().ok_or("a read waits")?.map_err(|error| error.to_string())?;
        let mut log: Vec<LogEntry> = Vec::new();
        loop {
            let after = log.last().map_or(Position(0), |last| last.position);
            match store.read_log(after, store::LOG_READ_MAX).now_or_never() {
                Some(Ok(LogRead::Page { entries, .. })) if entries.is_empty() => return Ok((stored, log)),
                Some(Ok(LogRead::Page { entries, .. })) => log.extend(entries),
                other => return Err(format!("the log cannot be read after {after:?}: {other:?}")),
            }
        }
    }

    /// Whether it is of a kind that `presenced migrate` knows.
    pub(crate) fn can_move(&self) -> bool {
        self.kind != StoreKind::Memory
    }

    /// Carries what is kept now into a store of the other kind, which is made the first time.
    pub(crate) fn carry(&mut self) -> Result<(), Violation> {
        let Some(from) = self.store.clone().filter(|_| self.can_move()) else { return Ok(()) };
        self.make_safe();
        let broken = |what: String| Violation::new("what is kept can be carried", what);
        if self.target.is_none() {
            self.target = Some(Target::new(self.kind).map_err(broken)?);
        }
        let Some(target) = &mut self.target else { return Ok(()) };
        let (users, to) = (everybody(), target.store.clone());
        let carried = async { migrate::carry(from.as_ref(), to.as_ref(), &users).await.map(drop) };
        drive(carried, &mut [self.writer.as_mut(), target.writer.as_mut()]).map_err(broken)
    }

    /// Goes on in the store that is moved to. Nobody runs.
    pub(crate) fn move_house(&mut self) -> Result<(), Violation> {
        self.open().map_err(|what| Violation::new("what was acknowledged is there after a restart", what))?;
        self.carry()?;
        let (Some(from), Some(mut target)) = (self.store.clone(), self.target.take()) else { return Ok(()) };
        let (users, to) = (everybody(), target.store.clone());
        let compared = migrate::compare(from.as_ref(), to.as_ref(), &users);
        drive(compared, &mut [self.writer.as_mut(), target.writer.as_mut()])
            .map_err(|what| Violation::new("what is moved is the same", what))?;
        let ops = async { as_ops(to.as_ref(), self.bug == Some(Bug::MovedWithoutWakes)).await };
        let (ops, stored) = drive(ops, &mut [target.writer.as_mut()])
            .map_err(|what| Violation::new("what is kept can be read", what))?;
        for (person, stored) in self.people.iter_mut().zip(stored) {
            Arc::make_mut(person).move_house(stored.version.0);
        }
        (self.store, self.shared, self.writer) = (None, None, None);
        (self.kept, self.safe) = (Vec::new(), 0);
        (self.register, self.safe_register) = (Register::default(), Register::default());
        self.read_before.clear();
        self.kind = target.kind;
        match self.kind {
            // As it was left, for whoever opens it.
            StoreKind::Embedded => self.disk = target.disk.kill(),
            // As its other half would make it, too.
            _ => {
                self.begin_anew();
                self.safe = ops.len();
                self.kept = ops;
                self.fail_over();
            }
        }
        Ok(())
    }

    fn publish(&self) {
        let Some(store) = &self.store else { return };
        let end = *store.log_end().borrow();
        self.wire.log_end.send_if_modified(|known| std::mem::replace(known, end) != end);
    }

    /// Takes note of what a call came to, and spoils the answer if that is the mistake of today.
    fn note(&mut self, work: &Work, outcome: Outcome) -> Outcome {
        if let Err(violation) = self.register.note(&work.call.op, &outcome) {
            self.violation.get_or_insert(violation);
        }
        match (&work.call.op, &outcome) {
            (op, Ok(_)) if op.is_write() => {
                self.kept.push(op.clone());
                if let (Op::Commit(commit), Some(said)) = (op, &work.said) {
                    self.unsafe_commits.push((commit.user, said.clone(), work.call.now, work.call.step));
                }
                // The embedded store answers when the disk has it, and what failed before is void then.
                if self.is_embedded() {
                    self.maybe.clear();
                    self.make_safe();
                }
                if self.bug == Some(Bug::PositionTwice) {
                    self.publish();
                }
            }
            (Op::Commit(_), Err(StoreError::Unavailable(_))) => self.note_maybe(work),
            (op, Ok(_)) if self.is_shared() && op.is_dirty_read() => {}
            (op, Ok(_)) if !op.is_write() && self.bug != Some(Bug::PositionTwice) => self.make_safe(),
            _ => {}
        }
        let outcome = self.spoil_documents(&work.call.op, outcome);
        let Ok(Reply::Loaded(stored)) = &outcome else { return outcome };
        let Op::Load(users) = &work.call.op else { return outcome };
        if self.bug != Some(Bug::StaleRead) || work.said.is_some() {
            return outcome;
        }
        let before = users.iter().zip(stored).map(|(user, stored)| {
            let place = (work.node, *user);
            // Every fourth version is noticed.
            let is_fresh = stored.version.0.is_multiple_of(4);
            let old = self.read_before.get(&place).filter(|_| !is_fresh).cloned();
            let shown = old.unwrap_or_else(|| stored.clone());
            self.read_before.insert(place, shown.clone());
            shown
        });
        Ok(Reply::Loaded(before.collect()))
    }

    /// What the mistakes of `bug.rs` do to documents that are read.
    fn spoil_documents(&self, op: &Op, outcome: Outcome) -> Outcome {
        match (self.bug, op, outcome) {
            (Some(Bug::SubscriptionUnheard), _, Ok(Reply::Changes(mut changes, seen))) => {
                changes.documents.retain(|document| document.kind != DocumentKind::Subscription);
                Ok(Reply::Changes(changes, seen))
            }
            (
                Some(Bug::TakenUpAtTheEnd),
                Op::Documents(DocumentKind::DeliveryCursor),
                Ok(Reply::Documents(_)),
            ) => {
                let end = self.end().0.to_be_bytes().to_vec();
                let cursor = |shard: u16| Document {
                    kind: DocumentKind::DeliveryCursor,
                    key: shard.to_be_bytes().to_vec(),
                    body: Some(end.clone()),
                };
                Ok(Reply::Documents((0..SHARDS).map(cursor).collect()))
            }
            (_, _, outcome) => outcome,
        }
    }

    fn note_maybe(&mut self, work: &Work) {
        if let (Op::Commit(commit), Some(said)) = (&work.call.op, &work.said) {
            self.maybe.push(((**commit).clone(), said.clone(), work.call.now, work.call.step));
        }
    }

    fn hear(&mut self, user: UserKey, said: &Said, now: presence::Timestamp, author: usize) {
        if let Some(person) = line::person(user) {
            Arc::make_mut(&mut self.people[person]).hear(said, now, author);
        }
    }

    /// After a restart: which of those that failed were kept?
    fn learn(&mut self) -> Result<(), String> {
        let (stored, _) = self.everything()?;
        for (person, stored) in stored.iter().enumerate() {
            let known = self.people[person].version;
            if stored.version.0 == known {
                continue;
            }
            let is_it = |maybe: &&(store::Commit, Said, presence::Timestamp, usize)| {
                maybe.0.user == line::key(person)
                    && maybe.0.expected.0 == known
                    && maybe.0.presence == stored.presence
            };
            let found = self.maybe.iter().find(is_it).cloned();
            let Some((commit, said, now, author)) = found.filter(|_| stored.version.0 == known + 1) else {
                let name = PEOPLE[person];
                return Err(format!(
                    "an acknowledged write is lost: {name} is back at version {} of {known}",
                    stored.version.0
                ));
            };
            self.hear(commit.user, &said, now, author);
        }
        self.maybe.clear();
        Ok(())
    }

    /// What the mistakes of `bug.rs` do to a commit.
    fn spoil(&self, commit: &mut store::Commit, said: Option<&Said>, store: &Arc<dyn Store>) {
        let Some(bug) = self.bug else { return };
        let current =
            || store.load(&[commit.user]).now_or_never().and_then(Result::ok).and_then(|mut all| all.pop());
        let current = current().unwrap_or_default();
        let is_settling = said == Some(&Said::Settle);
        match (bug, said) {
            (Bug::NoVersionCheck, _) => commit.expected = current.version,
            (Bug::LostWakeUp, Some(Said::Command(_))) => commit.wake_at = None,
            (Bug::FadeNotLogged, _) if is_settling => commit.changes.clear(),
            (Bug::NumberGoesBack, _) if is_settling => {
                let number = commit.presence.sequence_number.0.saturating_sub(1);
                commit.presence.sequence_number = SequenceNumber(number);
            }
            (Bug::ClearLeavesSession, Some(Said::Command(presence::Command::ClearPresence { app }))) => {
                let left = current.presence.sessions.into_iter().filter(|session| session.app == *app);
                let UserPresence { sessions, .. } = &mut commit.presence;
                sessions.extend(left);
            }
            (Bug::EndsLate, Some(Said::Command(presence::Command::SetPresence { .. }))) => {
                if let Some(last) = commit.presence.sessions.last_mut() {
                    last.expires_at += jiff::SignedDuration::from_secs(1);
                }
            }
            _ => {}
        }
    }
}

impl Target {
    /// An empty one for whoever moves out of a store of this kind.
    fn new(from: StoreKind) -> Result<Self, String> {
        let disk = SimulatedDisk::new(2);
        if from == StoreKind::Embedded {
            let store = Arc::new(SharedMemory::new(SHARDS, REMEMBERED, RETENTION));
            return Ok(Self { kind: StoreKind::Shared, store, writer: None, disk });
        }
        let opened = Embedded::open_in_steps(Arc::new(disk.clone()), OPTIONS);
        let (store, writer, _) = opened.map_err(|error| format!("the store does not open: {error}"))?;
        Ok(Self { kind: StoreKind::Embedded, store: Arc::new(store), writer: Some(writer), disk })
    }
}

fn everybody() -> Vec<UserKey> {
    (0..PEOPLE.len()).map(line::key).collect()
}

/// Lets something come to its end that waits for nothing but writers.
fn drive<T, E: std::fmt::Display>(
    work: impl Future<Output = Result<T, E>>,
    writers: &mut [Option<&mut WriterSteps>],
) -> Result<T, String> {
    let mut work = std::pin::pin!(work);
    loop {
        if let Poll::Ready(outcome) = work.as_mut().poll(&mut Context::from_waker(noop_waker_ref())) {
            return outcome.map_err(|error| error.to_string());
        }
        let mut has_moved = false;
        for writer in writers.iter_mut().flatten() {
            has_moved |= writer.step();
        }
        if !has_moved {
            return Err("it waits for nobody".to_owned());
        }
    }
}

/// What would make a store like this one, and the records in it.
async fn as_ops(store: &dyn Store, are_wakes_lost: bool) -> Result<(Vec<Op>, Vec<Stored>), StoreError> {
    let mut ops = Vec::new();
    let users = everybody();
    let stored = store.load(&users).await?;
    for (user, stored) in users.into_iter().zip(&stored) {
        let presence = &stored.presence;
        let wake_at = presence.next_change(presence.settled_at).filter(|_| !are_wakes_lost);
        for version in 0..stored.version.0 {
            let expected = store::Version(version);
            let commit = Commit { user, expected, presence: presence.clone(), wake_at, changes: Vec::new() };
            ops.push(Op::Commit(Box::new(commit)));
        }
    }
    for kind in DocumentKind::ALL {
        ops.push(Op::PutDocuments(store.documents(kind).await?));
    }
    Ok((ops, stored))
}
