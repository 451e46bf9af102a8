//! The store that a single server needs: everything in memory, every change in a log before it is answered.
//!
//! # How it works
//! Reads come from a table in memory. One thread writes: it gathers waiting changes into a group, appends the group
//! to a log as one frame, syncs, and only then shows the changes to readers and answers. When the logs have grown
//! long, a new one is begun and everything before it is written as a snapshot, while commits go on. Opening reads the
//! snapshot and the logs after it.
//!
//! # Why a log of its own
//! Reads must be answered from memory anyway, so what a database would add is durability, and the plainest form of
//! that is the fastest: at groups of 64 small changes a plain log made 2.1 to 2.5 times as many durable changes a
//! second as fjall 3.1, the fastest library kept for this shape, and six to seven times as many as redb, LMDB or
//! SQLite.
//!
//! It must also be told apart whether the last write was torn by a crash, which is normal and harmless, or whether
//! something acknowledged has been damaged, which nobody may find out by chance. Measured with fjall 3.1.13: 100
//! batches of one 100-byte record, each committed with `PersistMode::SyncData`; then each bit of the 51st batch's 151
//! bytes in the journal flipped in turn, and the database opened again. Of 1208 bits, 995 made it refuse to open, 96
//! did no harm, and 117 (those in a frame's marks and its item count) made it open without a word, with the flipped
//! batch and all 49 after it gone and the journal cut off there for good. So it mostly refuses; but one bit in ten
//! silently takes everything after it. Here every bit is one of: refused, or in the last group and reported.
//!
//! # What is promised
//! - An answered change survives a kill and a power loss. A change that was not answered is there whole or not at all.
//! - Readers see nothing that is not durable.
//! - A frame is begun only after the one before it is durable. So an invalid frame at the end of the last log was
//!   never acknowledged: it is dropped and reported in [`Recovery`]. Any other damage refuses to open.
//! - After a failed write or sync the log is abandoned: a new one is begun with the same group's number, which makes
//!   whatever is on disk of the failed group void. Until that succeeds, writes are refused and reads go on.
//! - One process at a time.
//!
//! Not noticed is the loss of the newest log as a whole, if the store was opened anew when that log was begun: nothing
//! else names it. Nor is damage that leaves only zeros from the middle of the newest log on: it looks like less.
//!
//! # What it costs
//! Measured on two virtual cores that compilers were using too (load 1 to 4), which moves every figure by a factor of
//! two or more; the range is over ten to fifteen rounds of one or two seconds.
//!
//! | `cargo run --release -p store --example commit_rate`: callers | durable commits/s | in a group | p50 |
//! |---|---|---|---|
//! | 1 | 2 000 to 4 500, a sync each | 1 | 0.2 to 0.35 ms |
//! | 64 | 20 000 to 118 000, mostly 60 000 to 110 000 | 34 to 60 | 0.5 to 0.7 ms |
//! | 256 | 55 000 to 210 000, mostly 100 000 to 190 000 | 140 to 256 | 1.1 to 1.7 ms |
//! | 1024 | 120 000 to 250 000 | 350 to 1000 | 4 to 8 ms |
//!
//! | `cargo xtask bench scale memory memory-many` | 1 000 000 users | 10 000 000 users |
//! |---|---|---|
//! | memory a user with one session and its change, index of wake-ups included | 136 to 164 B | 99 B |
//! | files a user, snapshot with changes | 91 B | 60 B |
//! | opening from a snapshot, on two cores that did nothing else | 0.18 s | 2.35 s |
//!
//! docs/performance.md says more. The example `footprint` of this crate measures the store without the rest.

mod backup;
mod compaction;
mod entry;
mod error;
mod frame;
mod loader;
mod log;
mod reader;
mod recover;
mod snapshot;
mod table;
mod wakes;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use presence::{Timestamp, UserKey, UserPresence};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use backup::BackupError;
pub use error::OpenError;
pub use recover::{Recovery, TornTail};

use self::compaction::Snapshots;
use self::table::{Record, Table, UserNumber};
use self::wakes::Due;
use self::writer::{Change, NewRecord, Request, Writer};
use crate::disk::{Disk, LockError, OsDisk};
use crate::{
    Asked, Commit, Document, DocumentKind, Glances, LOG_READ_MAX, LogRead, Position, Retention, Revise,
    Revised, Revision, Store, StoreError, Stored, Version, Visit, check_changes, check_documents, record,
};

/// Changes waiting to be written. Whoever comes when there are more waits before being queued.
const QUEUE_REQUESTS_MAX: usize = 4_096;
/// Commits waiting for the disk, or to be queued: the next one is refused. At sixteen groups of a thousand, that is less than
/// a second of a disk that takes its time.
const WAITING_MAX: usize = 16 * 1_024;
/// A write that takes longer than this, its sync included, is a disk that hangs: commits are refused until it ends.
const DISK_HANGS_MAX: Duration = Duration::from_secs(2);
/// Records of one batch, and their bytes: what fits into a group.
const BATCH_RECORDS_MAX: usize = 1_024;
const BATCH_BYTES: usize = 1024 * 1024;
/// What a record takes that is not unusual.
const RECORD_BYTES: usize = 128;
/// Bytes of changes waiting to be written or being written.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What can be chosen about an [`Embedded`] store. The defaults suit a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A snapshot is not due before the logs since the last one have grown to this many bytes.
    pub compact_at_bytes: u64,
    /// Nor before they are so many times as long as the snapshot.
    pub compact_at_factor: u64,
    /// How many bytes of a log are allocated at a time.
    pub preallocate_bytes: u64,
    /// How much of the log of visible changes is kept.
    pub retention: Retention,
}

/// 64 MiB, twice the snapshot, 1 MiB, a day and a million entries.
impl Default for Options {
    fn default() -> Self {
        Self {
            compact_at_bytes: 64 * 1024 * 1024,
            compact_at_factor: 2,
            preallocate_bytes: 1024 * 1024,
            retention: Retention::default(),
        }
    }
}

/// How a store is doing, for metrics and health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Groups made durable since opening.
    pub groups: u64,
    /// Changes in them: commits and calls of `put_documents`.
    pub changes: u64,
    /// Bytes of those groups, without what is written around them: what the writing of everything else is compared with.
    pub group_bytes: u64,
    /// Snapshots written since opening.
    pub compactions: u64,
    /// Why the last group could not be written; `None` once one could.
    pub write_error: Option<String>,
    /// Why the last snapshot could not be written; `None` once one could.
    pub compaction_error: Option<String>,
}

/// A durable store in a directory of its own, for one process. See the module.
pub struct Embedded {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Request>>,
    waiting: Waiting,
    /// `None` while being dropped, and where somebody else calls the writer's steps.
    writer: Option<JoinHandle<()>>,
}

/// The writer of a store that has no thread; see [`Embedded::open_in_steps`]. Dropping it is like a crash of the writer's
/// thread: the files are let go of, and nothing is kept any more.
pub struct WriterSteps {
    /// `None` once the store is closed.
    writer: Option<Writer>,
    queue: mpsc::Receiver<Request>,
}

impl WriterSteps {
    /// Keeps what callers want kept by now, in one group or a few, and writes a snapshot if one is due. Says whether there
    /// was anything to do.
    pub fn step(&mut self) -> bool {
        let mut requests = Vec::new();
        while let Ok(request) = self.queue.try_recv() {
            requests.push(request);
        }
        let Some(writer) = self.writer.as_mut().filter(|_| !requests.is_empty()) else { return false };
        writer.turn(&mut requests, &mut self.queue);
        if writer.is_closing()
            && let Some(writer) = self.writer.take()
        {
            writer.finish();
        }
        true
    }
}

/// What readers and the writer have in common.
struct Shared {
    table: Table,
    log_end: watch::Sender<Position>,
    is_closed: AtomicBool,
    status: Mutex<Status>,
    disk: Busy,
}

/// Since when the disk has been at the group that is being written.
struct Busy {
    opened_at: Instant,
    /// Milliseconds after that, at least one; zero while nothing is being written.
    since: AtomicU64,
}

impl Busy {
    #[expect(clippy::disallowed_methods, reason = "how long a disk takes is the machine's time")]
    fn new() -> Self {
        Self { opened_at: Instant::now(), since: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn begins(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    fn ends(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// For how long it has been at it.
    fn time(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }
}

impl Embedded {
    /// Opens the store in a directory, which is created if it is not there.
    ///
    /// # Errors
    /// When another process uses it, when its files are damaged or newer than this program, and when the operating
    /// system refuses. See [`OpenError`].
    pub fn open(directory: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        let disk = OsDisk::new(directory).map_err(|source| OpenError::Io {
            action: "creating",
            path: directory.display().to_string(),
            source,
        })?;
        Self::open_on(Arc::new(disk), options)
    }

    /// Opens the store on a disk of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovery), OpenError> {
        let path = disk.describe("");
        let (mut store, writer, requests, recovery) = Self::prepare(disk, options, Snapshots::InAThread)?;
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(requests))
            .map_err(|source| OpenError::Io { action: "starting a thread for", path, source })?;
        store.writer = Some(writer);
        Ok((store, recovery))
    }

    /// Opens the store without a thread of its own: nothing is written but in [`WriterSteps::step`], and everything in
    /// there, so that whoever calls it decides the order of all that happens. For simulations.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in_steps(
        disk: Arc<dyn Disk>,
        options: Options,
    ) -> Result<(Self, WriterSteps, Recovery), OpenError> {
        let (store, writer, queue, recovery) = Self::prepare(disk, options, Snapshots::AtOnce)?;
        Ok((store, WriterSteps { writer: Some(writer), queue }, recovery))
    }

    fn prepare(
        disk: Arc<dyn Disk>,
        options: Options,
        snapshots: Snapshots,
    ) -> Result<(Self, Writer, mpsc::Receiver<Request>, Recovery), OpenError> {
        let lock = disk.lock().map_err(|error| match error {
            LockError::Held(holder) => OpenError::InUse { path: disk.describe(""), holder },
            LockError::Io(source) => OpenError::Io { action: "locking", path: disk.describe(""), source },
        })?;
        let table = Table::new(options.retention);
        let (recovery, resume) = recover::recover(&*disk, &table)?;
        table.wakes.lock().index_all(&table);
        let log_end = watch::Sender::new(table.log.read().end());
        let (is_closed, status) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { table, log_end, is_closed, status, disk: Busy::new() });
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let writer = Writer::new(disk, Arc::clone(&shared), options, snapshots, lock, resume);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let (queue, waiting) = (Some(queue), Waiting::default());
        Ok((Self { shared, room, queue, waiting, writer: None }, writer, requests, recovery))
    }

    /// How the store is doing.
    pub fn status(&self) -> Status {
        self.shared.status.lock().clone()
    }

    /// Everybody who is kept, some at a time.
    pub fn users(&self) -> impl Iterator<Item = Vec<UserKey>> + '_ {
        let table = &self.shared.table;
        table.chunks().map(|chunk| {
            let mut users = Vec::new();
            table.visit_chunk(chunk, 0, |user, _| {
                users.push(user);
                std::ops::ControlFlow::Continue(())
            });
            users
        })
    }

    fn table(&self) -> Result<&Table, StoreError> {
        if self.shared.is_closed.load(Ordering::Relaxed) { Err(closed()) } else { Ok(&self.shared.table) }
    }

    /// Who is due, by number.
    async fn due_numbers(&self, now: Timestamp, max: usize) -> Result<Vec<UserNumber>, StoreError> {
        let table = self.table()?;
        loop {
            let answer = table.wakes.lock().due(table, now, max);
            match answer {
                Due::Users(numbers) => return Ok(numbers),
                Due::Again => tokio::task::yield_now().await,
            }
        }
    }

    /// What the writer needs of a commit, or why it need not be asked.
    fn new_record(
        user: UserKey,
        expected: Version,
        presence: &UserPresence,
        revision: Revision,
        scratch: &mut Vec<u8>,
    ) -> Result<NewRecord, StoreError> {
        let Revision { wake_at, changes } = revision;
        check_changes(&changes)?;
        let version = expected.0.checked_add(1).map(Version).ok_or(StoreError::Conflict)?;
        record::encode_over(version, wake_at, presence, scratch)?;
        let head = record::Head { version, settled_at: presence.settled_at, wake_at };
        let changes = changes.into();
        Ok(NewRecord { user, number: None, expected, head, record: Record::new(scratch), changes })
    }

    /// Hands batches to the writer, in order. What has been sent shares a group with what is sent before it is waited for.
    async fn send_all<'a>(&'a self, batches: Batches, sent: &mut Vec<SentBatch<'a>>) {
        for Batch { places, records, bytes } in batches.all {
            let batch = self.send(bytes, false, |reply| Change::Records { records, reply }).await;
            sent.push((places, batch));
        }
    }

    /// Hands a change to the writer and waits for its answer. Who can come again is refused when so many wait for the disk, or
    /// when it has hung for so long, that nobody can say when they would be answered.
    async fn ask<T>(
        &self,
        bytes: usize,
        can_be_refused: bool,
        change: impl FnOnce(writer::Reply<T>) -> Change,
    ) -> Result<T, StoreError> {
        self.send(bytes, can_be_refused, change).await?.answer().await
    }

    /// Hands a change to the writer. What was sent first is written first.
    async fn send<T>(
        &self,
        bytes: usize,
        can_be_refused: bool,
        change: impl FnOnce(writer::Reply<T>) -> Change,
    ) -> Result<Sent<'_, T>, StoreError> {
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let waiter = self.waiting.enter(can_be_refused)?;
        let hung = self.shared.disk.time();
        if can_be_refused && hung > DISK_HANGS_MAX {
            return Err(StoreError::Unavailable(format!("the disk has been at one write for {hung:?}")));
        }
        // Documents are bounded far below this, so the bound only keeps the conversion honest.
        let permits = bytes.clamp(1, QUEUE_BYTES_MAX) as u32;
        let permit = Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let request = Request { change: change(reply), _permit: permit };
        queue.send(request).await.map_err(|_| closed())?;
        Ok(Sent { answer, _waiter: waiter })
    }
}

/// A change that the writer has, and whoever waits for it.
struct Sent<'a, T> {
    answer: oneshot::Receiver<Result<T, StoreError>>,
    _waiter: Waiter<'a>,
}

/// A batch, and for which places its answers are.
type SentBatch<'a> = (Vec<usize>, Result<Sent<'a, Vec<Result<Version, StoreError>>>, StoreError>);

/// Waits for batches, and notes the answers at the places of the records.
async fn note_all(sent: Vec<SentBatch<'_>>, mut note: impl FnMut(usize, Result<Version, StoreError>)) {
    for (places, sent) in sent {
        let answers = match sent {
            Ok(sent) => sent.answer().await,
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => places.into_iter().zip(answers).for_each(|(place, answer)| note(place, answer)),
            Err(error) => {
                for place in places {
                    note(place, Err(StoreError::Unavailable(error.to_string())));
                }
            }
        }
    }
}

impl<T> Sent<'_, T> {
    async fn answer(self) -> Result<T, StoreError> {
        self.answer.await.map_err(|_| StoreError::Unavailable("the store has stopped writing".into()))?
    }
}

/// Records on their way to the writer, in as many pieces as the bounds make of them.
#[derive(Default)]
struct Batches {
    all: Vec<Batch>,
}

struct Batch {
    /// Where the answers are wanted.
    places: Vec<usize>,
    records: Vec<NewRecord>,
    bytes: usize,
}

impl Batches {
    /// `users_left` says how many more there may be, this one included.
    fn push(&mut self, place: usize, record: NewRecord, users_left: usize) {
        let bytes = record.queued_bytes();
        let has_room = |batch: &&mut Batch| {
            batch.bytes + bytes <= BATCH_BYTES && batch.records.len() < BATCH_RECORDS_MAX
        };
        let batch = match self.all.last_mut().filter(has_room) {
            Some(batch) => batch,
            None => {
                let room = users_left.min(BATCH_RECORDS_MAX);
                let (places, records) = (Vec::with_capacity(room), Vec::with_capacity(room));
                self.all.push_mut(Batch { places, records, bytes: 0 })
            }
        };
        batch.places.push(place);
        batch.records.push(record);
        batch.bytes += bytes;
    }
}

/// Users about whom it is being decided, one after the other.
struct Revising {
    users: usize,
    outcomes: Revised,
    batches: Batches,
    scratch: Vec<u8>,
}

impl Revising {
    fn new(users: usize) -> Self {
        let outcomes = Vec::with_capacity(users);
        Self { users, outcomes, batches: Batches::default(), scratch: Vec::with_capacity(RECORD_BYTES) }
    }

    fn decide(
        &mut self,
        user: UserKey,
        number: Option<UserNumber>,
        stored: &mut Stored,
        revise: &mut Revise<'_>,
    ) {
        let (place, expected) = (self.outcomes.len(), stored.version);
        let decided = revise(place, stored);
        let record = decided.map(|revision| {
            Embedded::new_record(user, expected, &stored.presence, revision, &mut self.scratch)
        });
        self.outcomes.push(match record {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(record)) => {
                self.batches.push(place, NewRecord { number, ..record }, self.users - place);
                // Not known yet.
                Some(Err(closed()))
            }
        });
    }

    /// What has been decided since the last call.
    fn take_batches(&mut self) -> Batches {
        std::mem::take(&mut self.batches)
    }

    async fn outcomes(mut self, sent: Vec<SentBatch<'_>>) -> Revised {
        note_all(sent, |place, answer| self.outcomes[place] = Some(answer)).await;
        self.outcomes
    }
}

/// Counts those who wait for the disk.
#[derive(Default)]
struct Waiting(AtomicUsize);

struct Waiter<'a>(&'a Waiting);

impl Waiting {
    fn enter(&self, can_be_refused: bool) -> Result<Waiter<'_>, StoreError> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter(self);
        if can_be_refused && before >= WAITING_MAX {
            return Err(StoreError::Unavailable(format!("{before} changes wait for the disk already")));
        }
        Ok(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// Without [`close`](Store::close) this is like a crash, except that the files are let go of before it returns.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        Ok(self.table()?.load(users)?)
    }

    fn visit(&self, users: &[UserKey], visit: &mut Visit<'_>) -> Option<Result<(), StoreError>> {
        let shown = self.table().and_then(|table| Ok(table.visit(users, visit)?));
        Some(shown)
    }

    fn glance(&self, asked: &[Asked<'_>], glance: &mut Glances<'_>) -> Option<Result<(), StoreError>> {
        let shown = self.table().and_then(|table| Ok(table.glance(asked, glance)?));
        Some(shown)
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        self.table()?;
        let Commit { user, expected, presence, wake_at, changes } = commit;
        let revision = Revision { wake_at, changes };
        let mut scratch = Vec::with_capacity(RECORD_BYTES);
        let record = Self::new_record(user, expected, &presence, revision, &mut scratch)?;
        self.ask(record.queued_bytes(), true, |reply| Change::Record { record, reply }).await
    }

    async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Version, StoreError>> {
        // Refused before they are written, or not known yet.
        let mut outcomes: Vec<Result<Version, StoreError>> = Vec::with_capacity(commits.len());
        let users = commits.len();
        let mut batches = Batches::default();
        let mut scratch = Vec::with_capacity(RECORD_BYTES);
        for (place, commit) in commits.into_iter().enumerate() {
            let Commit { user, expected, presence, wake_at, changes } = commit;
            let revision = Revision { wake_at, changes };
            let record = self
                .table()
                .and_then(|_| Self::new_record(user, expected, &presence, revision, &mut scratch));
            match record {
                Err(error) => outcomes.push(Err(error)),
                Ok(record) => {
                    outcomes.push(Err(closed()));
                    batches.push(place, record, users - place);
                }
            }
        }
        let mut sent = Vec::new();
        self.send_all(batches, &mut sent).await;
        note_all(sent, |place, answer| outcomes[place] = answer).await;
        outcomes
    }

    async fn revise(&self, users: &[UserKey], revise: &mut Revise<'_>) -> Result<Revised, StoreError> {
        let mut revising = Revising::new(users.len());
        let mut sent = Vec::new();
        // What has been decided is on its way to the disk while the next is decided.
        for some in users.chunks(BATCH_RECORDS_MAX) {
            self.table()?.visit_mut(some, |place, number, stored| {
                revising.decide(some[place], number, stored, revise);
            })?;
            self.send_all(revising.take_batches(), &mut sent).await;
        }
        Ok(revising.outcomes(sent).await)
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        let numbers = self.due_numbers(now, max).await?;
        Ok(self.table()?.keys(&numbers))
    }

    async fn revise_due(
        &self,
        now: Timestamp,
        max: usize,
        revise: &mut Revise<'_>,
    ) -> Result<Revised, StoreError> {
        let numbers = self.due_numbers(now, max).await?;
        let mut revising = Revising::new(numbers.len());
        let mut sent = Vec::new();
        // As in `revise`, but nobody is looked up.
        for some in numbers.chunks(BATCH_RECORDS_MAX) {
            self.table()?.visit_numbers(some, |place, user, stored| {
                revising.decide(user, Some(some[place]), stored, revise);
            })?;
            self.send_all(revising.take_batches(), &mut sent).await;
        }
        Ok(revising.outcomes(sent).await)
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.table()?.wakes.lock().next_wake())
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.table()?.latest())
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        Ok(self.table()?.read_log(after, max.min(LOG_READ_MAX)))
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.shared.log_end.subscribe()
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        self.table()?.log.write().trim(now);
        Ok(())
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        Ok(self.table()?.documents(kind))
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        self.table()?;
        check_documents(&documents)?;
        if documents.is_empty() {
            return Ok(());
        }
        let bytes = documents.iter().map(|d| d.key.len() + d.body.as_ref().map_or(0, Vec::len)).sum();
        self.ask(bytes, false, |reply| Change::Documents { documents, reply }).await
    }

    fn status(&self) -> Option<Status> {
        Some(Embedded::status(self))
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.shared.is_closed.swap(true, Ordering::Relaxed) {
            return Err(closed());
        }
        self.ask(1, false, |reply| Change::Close { reply }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_too_many_wait_the_next_who_can_come_again_is_refused_and_nobody_else() {
        let waiting = Waiting::default();
        let mut waiters: Vec<_> = (0..WAITING_MAX).map(|_| waiting.enter(true).ok().unwrap()).collect();
        assert!(matches!(waiting.enter(true), Err(StoreError::Unavailable(_))));
        assert!(waiting.enter(false).is_ok(), "a tick, a document");
        waiters.pop();
        assert!(waiting.enter(true).is_ok());
        drop(waiters);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_disk_is_busy_from_the_beginning_of_a_write_to_its_end() {
        let disk = Busy::new();
        assert_eq!(disk.time(), Duration::ZERO);
        let long_ago = disk.opened_at - Duration::from_secs(60);
        let disk = Busy { opened_at: long_ago, ..disk };
        disk.since.store(1, Ordering::Relaxed);
        assert!(disk.time() > DISK_HANGS_MAX);
        disk.begins();
        assert!(disk.since.load(Ordering::Relaxed) > 1, "a new write");
        disk.ends();
        assert_eq!(disk.time(), Duration::ZERO);
    }
}
