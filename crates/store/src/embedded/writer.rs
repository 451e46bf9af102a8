//! The one thread that writes: it gathers what callers want kept into groups, makes each durable, and only then shows
//! it to readers and answers.
//!
//! Being alone, it decides conflicts without a lock: against the table, and against the group it is just gathering.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use presence::UserKey;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::compaction::{Compaction, Snapshots};
use super::entry::{FrameBuilder, Item};
use super::log::{AppendError, Log};
use super::recover::Resume;
use super::table::{Found, Record, UserNumber};
use super::{Options, Shared};
use crate::disk::Disk;
use crate::record::Head;
use crate::{Document, Position, StoreError, Version};

/// Most requests in one group.
const GROUP_REQUESTS_MAX: usize = 1_024;
/// A group takes no further request when it has grown to this.
const GROUP_BYTES: usize = 1024 * 1024;

/// How often the processor is offered to others, without another request coming, before a group is closed.
const GATHER_YIELDS: u32 = 24;

/// What a caller wants kept.
pub(super) struct Request {
    pub(super) change: Change,
    /// Room in the queue, given back when the request is answered.
    pub(super) _permit: OwnedSemaphorePermit,
}

pub(super) enum Change {
    Record {
        record: NewRecord,
        reply: Reply<Version>,
    },
    /// Each kept or not by itself.
    Records {
        records: Vec<NewRecord>,
        reply: Reply<Vec<Result<Version, StoreError>>>,
    },
    Documents {
        documents: Vec<Document>,
        reply: Reply<()>,
    },
    Close {
        reply: Reply<()>,
    },
}

/// A record as it is to be.
pub(super) struct NewRecord {
    pub(super) user: UserKey,
    /// If that is known already.
    pub(super) number: Option<UserNumber>,
    pub(super) expected: Version,
    pub(super) head: Head,
    pub(super) record: Record,
    pub(super) changes: Changes,
}

/// The visible changes that come with a record; mostly one, or none, which then need no memory of their own.
pub(super) enum Changes {
    AtMostOne(Option<presence::Change>),
    Many(Vec<presence::Change>),
}

impl From<Vec<presence::Change>> for Changes {
    fn from(mut changes: Vec<presence::Change>) -> Self {
        if changes.len() > 1 { Self::Many(changes) } else { Self::AtMostOne(changes.pop()) }
    }
}

impl Changes {
    pub(super) fn as_slice(&self) -> &[presence::Change] {
        match self {
            Self::AtMostOne(change) => change.as_slice(),
            Self::Many(changes) => changes,
        }
    }
}

impl NewRecord {
    /// What it takes of the queue's room.
    pub(super) fn queued_bytes(&self) -> usize {
        self.record.bytes().len() + size_of_val(self.changes.as_slice())
    }
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    options: Options,
    /// Released when the thread ends, last of all.
    lock: Option<Box<dyn Send + Sync>>,
    log: Option<Log>,
    next_group: u64,
    next_log: u64,
    compaction: Compaction,
    frame: FrameBuilder,
    /// Versions that are in the group being gathered and not yet in the table.
    versions: HashMap<UserNumber, Version>,
    /// Who asked to close, to be answered last of all.
    closing: Option<Reply<()>>,
}

/// A group being gathered.
#[derive(Default)]
struct Group {
    /// Whose records are in the group, in the order in which they came.
    numbers: Vec<UserNumber>,
    records: Vec<NewRecord>,
    documents: Vec<Vec<Document>>,
    /// The end of the change log before it, once that is known.
    log_end: Option<u64>,
    /// How many entries of the change log are in it. They follow those in the table; if the group fails, nobody has seen
    /// their positions, and the next group takes them.
    entries: u64,
    /// Who is to be told what when the group is durable. That includes those who lost against a change of this group.
    replies: Vec<GroupReply>,
}

enum GroupReply {
    One(Reply<Version>, Result<Version, StoreError>),
    Many(Reply<Vec<Result<Version, StoreError>>>, Vec<Result<Version, StoreError>>),
    Documents(Reply<()>),
}

impl GroupReply {
    fn tell(self) {
        match self {
            Self::One(reply, outcome) => answer(reply, outcome),
            Self::Many(reply, outcomes) => answer(reply, Ok(outcomes)),
            Self::Documents(reply) => answer(reply, Ok(())),
        }
    }

    fn refuse(self, cause: &str) {
        let error = StoreError::Unavailable(cause.into());
        match self {
            Self::One(reply, _) => answer(reply, Err(error)),
            Self::Many(reply, _) => answer(reply, Err(error)),
            Self::Documents(reply) => answer(reply, Err(error)),
        }
    }
}

/// What has become of a record on its way into a group.
enum Gathered {
    Taken(Version),
    /// Lost against what readers see already.
    Lost(StoreError),
    /// Lost against a change of this very group.
    LostInGroup,
}

impl Writer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        options: Options,
        snapshots: Snapshots,
        lock: Box<dyn Send + Sync>,
        resume: Resume,
    ) -> Self {
        let compaction = Compaction::new(options, snapshots, resume);
        let Resume { next_group, next_log, .. } = resume;
        let (lock, frame) = (Some(lock), FrameBuilder::new());
        Self {
            disk,
            shared,
            options,
            lock,
            log: None,
            next_group,
            next_log,
            compaction,
            frame,
            versions: HashMap::new(),
            closing: None,
        }
    }

    /// Runs until the store is closed or dropped.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut requests = Vec::with_capacity(GROUP_REQUESTS_MAX);
        while queue.blocking_recv_many(&mut requests, GROUP_REQUESTS_MAX) > 0 {
            // How many callers there seem to be: those waiting now, and those who are answered next.
            let callers = requests.len();
            self.turn(&mut requests, &mut queue);
            wait_for_others(&queue, callers);
        }
        self.finish();
    }

    /// Keeps these requests, in as few groups as they fit in, and begins a snapshot if one is due.
    pub(super) fn turn(&mut self, requests: &mut Vec<Request>, queue: &mut mpsc::Receiver<Request>) {
        let mut rest = requests.drain(..).peekable();
        while rest.peek().is_some() {
            self.frame.clear();
            self.versions.clear();
            let mut group = Group::default();
            let mut permits = Vec::new();
            while self.frame.payload_bytes() < GROUP_BYTES
                && let Some(Request { change, _permit }) = rest.next()
            {
                permits.push(_permit);
                match change {
                    Change::Close { reply } => {
                        self.closing = Some(reply);
                        queue.close();
                    }
                    change => self.gather(&mut group, change),
                }
            }
            self.keep(group);
        }
        self.compact_if_due();
    }

    /// Takes a change into the group, or answers why not.
    fn gather(&mut self, group: &mut Group, change: Change) {
        match change {
            Change::Record { record, reply } => match self.gather_one(group, record) {
                Gathered::Taken(version) => group.replies.push(GroupReply::One(reply, Ok(version))),
                Gathered::Lost(error) => answer(reply, Err(error)),
                Gathered::LostInGroup => {
                    group.replies.push(GroupReply::One(reply, Err(StoreError::Conflict)));
                }
            },
            Change::Records { mut records, reply } => {
                let table = &self.shared.table;
                let numbers: Option<Vec<UserNumber>> = records.iter().map(|record| record.number).collect();
                let found = match numbers {
                    Some(numbers) => table.versions(&numbers),
                    None => table.find_all(records.iter().map(|record| record.user)),
                };
                let gathered = records.iter().zip(found).map(|(record, found)| {
                    match self.gather_record(group, record, found) {
                        Gathered::Taken(version) => Ok(version),
                        Gathered::Lost(error) => Err(error),
                        Gathered::LostInGroup => Err(StoreError::Conflict),
                    }
                });
                let outcomes: Vec<_> = gathered.collect();
                if outcomes.iter().any(Result::is_err) {
                    let mut taken = outcomes.iter().map(Result::is_ok);
                    records.retain(|_| taken.next().unwrap_or_default());
                }
                // Large values, which are moved as seldom as can be.
                if group.records.is_empty() {
                    group.records = records;
                } else {
                    group.records.append(&mut records);
                }
                group.replies.push(GroupReply::Many(reply, outcomes));
            }
            Change::Documents { documents, reply } => {
                for document in &documents {
                    self.frame.push(Item::Document(document.kind, &document.key, document.body.as_deref()));
                }
                group.documents.push(documents);
                group.replies.push(GroupReply::Documents(reply));
            }
            Change::Close { .. } => {}
        }
    }

    fn gather_one(&mut self, group: &mut Group, record: NewRecord) -> Gathered {
        let found = self.shared.table.find(&record.user);
        let gathered = self.gather_record(group, &record, found);
        if let Gathered::Taken(_) = gathered {
            group.records.push(record);
        }
        gathered
    }

    /// Takes a record in, except that whoever calls puts it to the others if it is taken. `found` may be from before this group: it
    /// is asked again about whoever was not there.
    fn gather_record(&mut self, group: &mut Group, record: &NewRecord, found: Found) -> Gathered {
        let table = &self.shared.table;
        let found = match found {
            Ok(None) => table.find(&record.user),
            found => found,
        };
        let known = match found {
            Ok(known) => known,
            Err(error) => return Gathered::Lost(error.into()),
        };
        let in_group = known.and_then(|(number, _)| self.versions.get(&number).copied());
        let current = in_group.or(known.map(|(_, version)| version)).unwrap_or_default();
        if current != record.expected {
            return if in_group.is_some() {
                Gathered::LostInGroup
            } else {
                Gathered::Lost(StoreError::Conflict)
            };
        }
        let number = known.map_or_else(|| table.enter(&record.user), |(number, _)| number);
        self.frame.push(Item::User(record.user, record.record.bytes()));
        let changes = record.changes.as_slice();
        if !changes.is_empty() {
            // Nobody else writes to the log, so it does not move while the group is gathered.
            let end = *group.log_end.get_or_insert_with(|| table.log.read().end().0);
            for change in changes {
                group.entries += 1;
                self.frame.push(Item::Change(record.user, Position(end + group.entries), *change));
            }
        }
        let version = record.head.version;
        self.versions.insert(number, version);
        group.numbers.push(number);
        Gathered::Taken(version)
    }

    /// Makes a group durable, shows it to readers and answers.
    fn keep(&mut self, mut group: Group) {
        let replies = std::mem::take(&mut group.replies);
        // Otherwise everything in it lost.
        if !(group.records.is_empty() && group.documents.is_empty()) {
            self.shared.disk.begins();
            let written = self.write_group();
            self.shared.disk.ends();
            if let Err(cause) = written {
                self.shared.status.lock().write_error = Some(cause.clone());
                replies.into_iter().for_each(|reply| reply.refuse(&cause));
                return;
            }
            self.show(&group.numbers, group.records, &group.documents);
        }
        replies.into_iter().for_each(GroupReply::tell);
    }

    /// Puts what is durable now where readers look.
    fn show(
        &self,
        numbers: &[UserNumber],
        mut records: Vec<NewRecord>,
        documents_of_calls: &[Vec<Document>],
    ) {
        let table = &self.shared.table;
        let changes = records.len() + documents_of_calls.len();
        let latest = records.iter().map(|record| record.head.settled_at).max();
        let mut wakes = table.wakes.lock();
        table.put_all(&mut wakes, numbers, |place| {
            let NewRecord { record, head, .. } = &mut records[place];
            (std::mem::replace(record, Record::new(&[])), head.wake_at)
        });
        if let Some(latest) = latest {
            table.note_settled(latest);
        }
        let mut end = None;
        if records.iter().any(|record| !record.changes.as_slice().is_empty()) {
            let mut log = table.log.write();
            for (number, NewRecord { changes, head, .. }) in numbers.iter().zip(&records) {
                for change in changes.as_slice() {
                    log.push((*number).into(), change, head.settled_at);
                }
            }
            end = Some(log.end());
        }
        for documents in documents_of_calls {
            table.put_documents(documents.iter().map(|d| (d.kind, &*d.key, d.body.as_deref())));
        }
        drop(wakes);
        if let Some(end) = end {
            self.shared.log_end.send_replace(end);
        }
        let mut status = self.shared.status.lock();
        status.groups += 1;
        status.group_bytes += self.frame.payload_bytes() as u64;
        status.changes += changes as u64;
        status.write_error = None;
    }

    /// Writes the frame that has been gathered. An error is why nobody can be told that it was kept.
    fn write_group(&mut self) -> Result<(), String> {
        if self.log.is_none() {
            self.begin_log().map_err(|cause| format!("cannot begin a log: {cause}"))?;
        }
        let Some(log) = &mut self.log else { return Err("there is no log".into()) };
        let allocated = log.allocated();
        let outcome = log.append(self.frame.frame_mut(), self.next_group);
        self.compaction.log_has_grown(log.allocated() - allocated);
        match outcome {
            Ok(()) => {
                self.next_group += 1;
                Ok(())
            }
            Err(AppendError::NoRoom(cause)) => Err(format!("cannot extend the log: {cause}")),
            Err(AppendError::Uncertain(cause)) => {
                // This log is not touched again: after a failed sync, a later one proves nothing. A new log that begins
                // with the same group makes this group void, whatever of it is on disk; so the new log is begun at
                // once, and until one is, nothing can be written.
                self.log = None;
                let _ = self.begin_log();
                Err(format!("cannot write the log: {cause}"))
            }
        }
    }

    /// Begins the next log, in which the next group will be the first.
    fn begin_log(&mut self) -> io::Result<()> {
        match Log::create(&*self.disk, self.next_log, self.next_group, self.options.preallocate_bytes) {
            Ok(log) => {
                self.next_log += 1;
                self.compaction.log_has_grown(log.allocated());
                self.log = Some(log);
                Ok(())
            }
            Err(error) => {
                if error.may_exist {
                    self.next_log += 1;
                    self.log = None;
                }
                Err(error.cause)
            }
        }
    }

    /// Begins a new log and a snapshot of everything before it, when the logs have grown long.
    fn compact_if_due(&mut self) {
        if !self.compaction.is_due(&self.shared) {
            return;
        }
        let old = self.log.take();
        match self.begin_log() {
            Ok(()) => {
                if let Some(mut old) = old {
                    // Says that there is another log, in case somebody loses it. Not a group, and not needed: its
                    // number is that of the new log's first group, so nobody who finds the new log reads it.
                    self.frame.clear();
                    self.frame.push(Item::Continued);
                    let _ = old.append(self.frame.frame_mut(), self.next_group);
                }
                let log = self.log.as_ref().map_or(0, Log::number);
                self.compaction.start(&self.disk, &self.shared, log, self.next_group);
            }
            Err(cause) => {
                self.compaction.failed(&self.shared, &cause);
                // Unless a file of that name may exist, the old log is still the last one.
                if self.log.is_none() && !self.is_replaced(&old) {
                    self.log = old;
                }
            }
        }
    }

    /// Whether a log after this one may exist.
    fn is_replaced(&self, old: &Option<Log>) -> bool {
        old.as_ref().is_none_or(|old| old.number() + 1 != self.next_log)
    }

    /// Whether somebody has asked to close.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn finish(mut self) {
        let closing = self.closing.take();
        self.shared.is_closed.store(true, Ordering::Relaxed);
        self.compaction.cancel();
        if closing.is_some()
            && let Some(log) = &mut self.log
        {
            // Proof that the last group was finished, so that damage to it can be told from a torn tail.
            self.frame.clear();
            self.frame.push(Item::Closed);
            let _ = log.append(self.frame.frame_mut(), self.next_group);
        }
        self.log = None;
        self.lock = None;
        if let Some(reply) = closing {
            answer(reply, Ok(()));
        }
    }
}

/// Lets callers who have just been answered come again, so that they do not miss the next group by a few microseconds
/// and wait for a whole sync: otherwise two halves of them take turns and every sync is half as useful.
fn wait_for_others(queue: &mpsc::Receiver<Request>, answered: usize) {
    if answered < 2 {
        return;
    }
    let wanted = (queue.len() + answered).min(GROUP_REQUESTS_MAX);
    let mut waited = 0;
    let mut seen = queue.len();
    while seen < wanted && waited < GATHER_YIELDS {
        std::thread::yield_now();
        let now = queue.len();
        waited = if now == seen { waited + 1 } else { 0 };
        seen = now;
    }
}

/// A caller who has gone away does not want to know.
fn answer<T>(reply: Reply<T>, outcome: Result<T, StoreError>) {
    let _ = reply.send(outcome);
}
