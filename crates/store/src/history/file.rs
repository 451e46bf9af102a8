//! A history in a directory of its own: segments that are appended to and removed as a whole, for one process.
//!
//! # What is promised
//! - An entry that was answered survives a kill and a power loss. One that was not may be there or not.
//! - A finished segment takes no memory: users are looked up in its index where it lies. The one being written has an
//!   entry of some 60 bytes for each user in it.
//! - Who is forgotten is overwritten with zeros, in every segment, before the answer.
//! - Damage is named, and never read as an entry.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use presence::{Timestamp, UserKey};
use tokio::sync::{mpsc, oneshot};

use super::keeper::{Keeper, Reply, Request, remove_files};
use super::segment::{
    Body, Bounds, Heads, Index, SegmentReader, UNFINISHED_SUFFIX, index_name, index_number, is_ours, scan,
    segment_name, segment_number, unavailable,
};
use super::{HISTORY_READ_MAX, History, HistoryEntry, HistoryPage};
use crate::disk::{Disk, LockError, OsDisk};
use crate::{OpenError, StoreError};

/// Requests waiting for the keeper. Whoever comes when there are more waits.
const QUEUE_MAX: usize = 4_096;
/// A segment is for at most this long: retention removes whole ones, so an entry may stay that much longer.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// And at most for this part of what is retained.
const SEGMENTS_PER_AGE: u32 = 8;

/// How much is kept. What is beyond either bound goes, oldest first, a segment at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRetention {
    /// For how long; an eighth of it longer, or a day, whichever is less.
    pub age: Duration,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// Thirty days, 4 GiB.
impl Default for HistoryRetention {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 24 * 60 * 60), bytes: 4 * 1024 * 1024 * 1024 }
    }
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryRecovery {
    /// Segments.
    pub segments: usize,
    /// Bytes at the end of a segment that were being written when the process ended. Nobody was answered.
    pub torn_bytes: u64,
    /// Entries that cannot be read any more.
    pub damaged: u64,
}

/// See the module.
pub struct FileHistory {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Request>>,
    keeper: Option<JoinHandle<()>>,
    _lock: Box<dyn Send + Sync>,
}

/// What readers and the keeper share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    retention: HistoryRetention,
    /// Readers hold it shared: nobody reads an entry while it is being erased.
    pub(super) erasing: RwLock<()>,
    state: Mutex<State>,
    has_failed: AtomicBool,
    is_closed: AtomicBool,
}

struct State {
    /// Oldest first.
    segments: Vec<Segment>,
    next_number: u64,
}

struct Segment {
    number: u64,
    bounds: Bounds,
    bytes: u64,
    heads: Kept,
}

/// Where it is kept where users' last entries are.
pub(super) enum Kept {
    Memory(Heads),
    Index,
}

impl FileHistory {
    /// Opens the history in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`] when another process has it, or it cannot be read.
    pub fn open(directory: &Path, retention: HistoryRetention) -> Result<(Self, HistoryRecovery), OpenError> {
        let disk = OsDisk::new(directory).map_err(|source| OpenError::Io {
            action: "creating",
            path: directory.display().to_string(),
            source,
        })?;
        Self::open_on(Arc::new(disk), retention)
    }

    /// Opens the history on any disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(
        disk: Arc<dyn Disk>,
        retention: HistoryRetention,
    ) -> Result<(Self, HistoryRecovery), OpenError> {
        let failed = |name: &str| {
            let path = disk.describe(name);
            move |source| OpenError::Io { action: "reading", path, source }
        };
        let lock = disk.lock().map_err(|error| match error {
            LockError::Held(holder) => OpenError::InUse { path: disk.describe(""), holder },
            LockError::Io(source) => OpenError::Io { action: "locking", path: disk.describe(""), source },
        })?;
        let names = disk.list().map_err(failed(""))?;
        // What a crash has left: an index that is not whole, or one whose segment is gone.
        let is_left_over = |name: &&String| {
            let segment = index_number(name).map(segment_name);
            name.ends_with(UNFINISHED_SUFFIX) || segment.is_some_and(|segment| !names.contains(&segment))
        };
        for name in names.iter().filter(is_left_over) {
            disk.remove(name).map_err(failed(name))?;
        }
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let mut recovery = HistoryRecovery::default();
        let mut segments = Vec::with_capacity(numbers.len());
        for number in numbers.iter().copied() {
            let name = segment_name(number);
            // An index that is not whole is made again from its segment.
            let index = match names.contains(&index_name(number)) {
                true => Index::open(&*disk, number).ok(),
                false => None,
            };
            let segment = match index {
                Some(index) => {
                    let bytes = disk.open(&name).and_then(|file| file.length()).map_err(failed(&name))?;
                    Segment { number, bounds: index.bounds, bytes, heads: Kept::Index }
                }
                None => {
                    let scan = scan(&*disk, number).map_err(failed(&name))?;
                    recovery.torn_bytes += scan.torn_bytes;
                    recovery.damaged += scan.damaged;
                    let (bounds, bytes) = (scan.bounds, scan.bytes);
                    Segment { number, bounds, bytes, heads: Kept::Memory(scan.heads) }
                }
            };
            segments.push(segment);
        }
        recovery.segments = segments.len();
        let next_number = numbers.last().map_or(1, |last| last + 1);
        let shared = Arc::new(Shared {
            disk,
            retention,
            erasing: RwLock::new(()),
            state: Mutex::new(State { segments, next_number }),
            has_failed: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        });
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let keeper = Keeper::new(shared.clone());
        let keeper =
            std::thread::Builder::new()
                .name("history".into())
                .spawn(move || keeper.run(requests))
                .map_err(|source| OpenError::Io { action: "starting", path: "a thread".into(), source })?;
        Ok((Self { shared, queue: Some(queue), keeper: Some(keeper), _lock: lock }, recovery))
    }

    /// Copies the history in `from`, which a process may be writing, to the folder `to`. Everything that was answered before
    /// the call is in it. Nothing to copy is no error.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn back_up(from: &Path, to: &Path) -> io::Result<u64> {
        let mut copied = 0;
        let entries = match std::fs::read_dir(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        std::fs::create_dir_all(to)?;
        for entry in entries {
            let name = entry?.file_name();
            if !name.to_str().is_some_and(is_ours) {
                continue;
            }
            match std::fs::copy(from.join(&name), to.join(&name)) {
                Ok(_) => {
                    std::fs::File::open(to.join(&name))?.sync_all()?;
                    copied += 1;
                }
                // Retention was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        std::fs::File::open(to)?.sync_all()?;
        Ok(copied)
    }

    /// Everybody of whom something is kept.
    ///
    /// # Errors
    /// [`StoreError`] when an index cannot be read.
    pub async fn users(&self) -> Result<BTreeSet<UserKey>, StoreError> {
        let shared = self.shared.clone();
        let outcome = tokio::task::spawn_blocking(move || shared.users()).await;
        outcome.map_err(|error| StoreError::Unavailable(format!("the history: {error}")))?
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<(), StoreError> {
        let closed = || StoreError::Unavailable("the history is closed".into());
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        queue.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for FileHistory {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

#[async_trait]
impl History for FileHistory {
    async fn ready(&self) -> Result<(), StoreError> {
        if !self.shared.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ask(Request::Probe).await
    }

    async fn append(&self, entry: HistoryEntry) -> Result<(), StoreError> {
        self.ask(|reply| Request::Append(Box::new(entry), reply)).await
    }

    async fn read(
        &self,
        user: UserKey,
        from: Timestamp,
        to: Timestamp,
        max: usize,
    ) -> Result<HistoryPage, StoreError> {
        let shared = self.shared.clone();
        let read = move || shared.read(user, from, to, max.min(HISTORY_READ_MAX));
        let outcome = tokio::task::spawn_blocking(read).await;
        outcome.map_err(|error| StoreError::Unavailable(format!("the history: {error}")))?
    }

    async fn forget(&self, user: UserKey) -> Result<(), StoreError> {
        self.ask(|reply| Request::Forget(user, reply)).await
    }

    async fn trim(&self, now: Timestamp) -> Result<(), StoreError> {
        self.ask(|reply| Request::Trim(now, reply)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.ask(Request::Close).await
    }
}

impl Shared {
    fn read(
        &self,
        user: UserKey,
        from: Timestamp,
        to: Timestamp,
        max: usize,
    ) -> Result<HistoryPage, StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("the history is closed".into()));
        }
        let _shared = self.erasing.read();
        let mut page = HistoryPage::default();
        for number in self.numbers().into_iter().rev() {
            if self.begins_after(number, to) {
                continue;
            }
            let found = self.head(number, &user).and_then(|head| {
                let Some(head) = head else { return Ok(false) };
                self.read_segment(number, head, user, (from, to), max, &mut page)
            });
            match found {
                Ok(true) => break,
                Ok(false) => {}
                // Retention was quicker.
                Err(_) if !self.numbers().contains(&number) => {}
                Err(error) => return Err(error),
            }
        }
        page.entries.reverse();
        Ok(page)
    }

    /// Adds the entries of one segment, newest first. Whether no older one is wanted.
    fn read_segment(
        &self,
        number: u64,
        head: u64,
        user: UserKey,
        (from, to): (Timestamp, Timestamp),
        max: usize,
        page: &mut HistoryPage,
    ) -> Result<bool, StoreError> {
        let reader = SegmentReader::open(&*self.disk, number).map_err(|error| unavailable(&error))?;
        let mut offset = head;
        while offset != 0 {
            let (head, body) = reader.frame(offset)?;
            offset = head.previous;
            let Body::Entry(entry) = body else { continue };
            if entry.user != user {
                return Err(StoreError::Corrupt(format!("segment {number:x} of the history")));
            }
            if entry.at() > to {
                continue;
            }
            if page.entries.len() == max {
                page.is_partial = true;
                return Ok(true);
            }
            let is_last = entry.at() <= from;
            page.entries.push(*entry);
            if is_last {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn users(&self) -> Result<BTreeSet<UserKey>, StoreError> {
        let _shared = self.erasing.read();
        let mut users = BTreeSet::new();
        for number in self.numbers() {
            match self.memory_of(number) {
                Some((_, heads)) => users.extend(heads.into_keys()),
                None => users.extend(Index::open(&*self.disk, number)?.heads()?.into_keys()),
            }
        }
        Ok(users)
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.state.lock().segments.iter().map(|segment| segment.number).collect()
    }

    fn begins_after(&self, number: u64, to: Timestamp) -> bool {
        let state = self.state.lock();
        state.segments.iter().any(|segment| segment.number == number && segment.bounds.first > to)
    }

    /// Where the last entry of a user is in a segment.
    pub(super) fn head(&self, number: u64, user: &UserKey) -> Result<Option<u64>, StoreError> {
        {
            let state = self.state.lock();
            let Some(segment) = state.segments.iter().find(|segment| segment.number == number) else {
                return Ok(None);
            };
            if let Kept::Memory(heads) = &segment.heads {
                return Ok(heads.get(user).copied());
            }
        }
        Index::open(&*self.disk, number)?.find(user)
    }

    pub(super) fn head_in_memory(&self, number: u64, user: &UserKey) -> Option<u64> {
        self.with(number, |segment| match &segment.heads {
            Kept::Memory(heads) => heads.get(user).copied(),
            Kept::Index => None,
        })?
    }

    fn with<T>(&self, number: u64, work: impl FnOnce(&mut Segment) -> T) -> Option<T> {
        let mut state = self.state.lock();
        state.segments.iter_mut().find(|segment| segment.number == number).map(work)
    }

    /// The segments that have no index yet.
    pub(super) fn in_memory(&self) -> Vec<u64> {
        let state = self.state.lock();
        let in_memory = state.segments.iter().filter(|segment| matches!(segment.heads, Kept::Memory(_)));
        in_memory.map(|segment| segment.number).collect()
    }

    pub(super) fn memory_of(&self, number: u64) -> Option<(Bounds, Heads)> {
        self.with(number, |segment| match &segment.heads {
            Kept::Memory(heads) => Some((segment.bounds, heads.clone())),
            Kept::Index => None,
        })?
    }

    pub(super) fn replace_heads(&self, number: u64, heads: Kept) {
        self.with(number, |segment| segment.heads = heads);
    }

    pub(super) fn remove_head(&self, number: u64, user: &UserKey) {
        self.with(number, |segment| {
            if let Kept::Memory(heads) = &mut segment.heads {
                heads.remove(user);
            }
        });
    }

    /// A place for a new segment.
    pub(super) fn add_segment(&self) -> u64 {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        let heads = Kept::Memory(Heads::new());
        state.segments.push(Segment { number, bounds: Bounds::NONE, bytes: 0, heads });
        number
    }

    /// Lets readers see what has become durable.
    pub(super) fn show(
        &self,
        number: u64,
        bytes: u64,
        new: Heads,
        instants: impl Iterator<Item = Timestamp>,
    ) {
        self.with(number, |segment| {
            instants.for_each(|at| segment.bounds.include(at));
            segment.bytes = bytes;
            if let Kept::Memory(heads) = &mut segment.heads {
                heads.extend(new);
            }
        });
    }

    pub(super) fn segment_age(&self) -> Duration {
        SEGMENT_AGE_MAX.min(self.retention.age / SEGMENTS_PER_AGE)
    }

    /// The segments that retention lets go, none of which is being written.
    pub(super) fn beyond_retention(&self, now: Timestamp, active: Option<u64>) -> Vec<u64> {
        let limit = now.saturating_sub(self.retention.age).unwrap_or(Timestamp::MIN);
        let state = self.state.lock();
        let mut bytes: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
        let mut gone = Vec::new();
        for segment in state.segments.iter().filter(|segment| Some(segment.number) != active) {
            if segment.bounds.last < limit || bytes > self.retention.bytes {
                bytes -= segment.bytes;
                gone.push(segment.number);
            }
        }
        gone
    }

    /// Removes segments, from the sight of readers first.
    pub(super) fn drop_segments(&self, numbers: &[u64]) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.state.lock().segments.retain(|segment| !numbers.contains(&segment.number));
        for number in numbers {
            remove_files(self, *number)?;
        }
        self.disk.sync_directory()
    }

    /// Removes segments without an entry.
    pub(super) fn drop_empty(&self) -> io::Result<()> {
        let is_empty = |segment: &&Segment| matches!(&segment.heads, Kept::Memory(heads) if heads.is_empty());
        let empty: Vec<u64> =
            self.state.lock().segments.iter().filter(is_empty).map(|segment| segment.number).collect();
        self.drop_segments(&empty)
    }

    pub(super) fn failed(&self, _error: &io::Error) {
        self.has_failed.store(true, Ordering::Release);
    }

    pub(super) fn succeeded(&self) {
        self.has_failed.store(false, Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}
