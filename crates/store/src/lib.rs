//! The keeper: what was asked for, kept durably and given back unchanged.
//!
//! [`Store`] is a narrow seam. A backend keeps and returns; it never decides whether anything has expired or who is
//! shown as what. It assumes neither that it is the only process nor that its caller is: every commit names the
//! version it was made from, and the version decides who wins.
//!
//! [`History`] is the same for the past, which only those keep who turn it on.
//!
//! [`Memory`] is for tests and throw-away runs, [`Embedded`] for a server with a disk of its own, [`redis::Redis`] for many
//! processes over an engine that is there already. [`Faulty`] and [`disk::SimulatedDisk`] make the first two fail on request.
#![warn(missing_docs)]

mod changelog;
pub mod disk;
mod embedded;
mod error;
mod faulty;
mod history;
pub mod leases;
mod memory;
mod random;
mod record;
pub mod redis;
mod shared_memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use presence::{Change, Sole, Timestamp, UserKey, UserPresence};
use tokio::sync::watch;

pub use embedded::{BackupError, Embedded, OpenError, Options, Recovery, Status, TornTail, WriterSteps};
pub use error::StoreError;
pub use faulty::{Faults, Faulty};
pub use history::{
    Action, Author, FileHistory, HISTORY_READ_MAX, History, HistoryEntry, HistoryPage, HistoryRecovery,
    HistoryRetention, MemoryHistory,
};
pub use leases::{Leases, Node, Reading};
pub use memory::Memory;
pub use shared_memory::SharedMemory;

/// How many times a user's record has been committed. Zero: nothing is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A user's record and the version it was read at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// What is kept of the user; the default when nothing is.
    pub presence: UserPresence,
    /// The version to name in a [`Commit`] made from it.
    pub version: Version,
}

/// One change: all of it is kept, or none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose record.
    pub user: UserKey,
    /// The version the change was made from.
    pub expected: Version,
    /// The whole new record.
    pub presence: UserPresence,
    /// When the record next wants a look; replaces any earlier wish. `None`: not until it is written again.
    pub wake_at: Option<Timestamp>,
    /// The visible changes since the version it was made from, in order; each becomes an entry of the log, together with
    /// the record or not at all. At most [`CHANGES_PER_COMMIT_MAX`].
    pub changes: Vec<Change>,
}

/// Most [`Commit::changes`] of one commit.
pub const CHANGES_PER_COMMIT_MAX: usize = presence::limits::CHANGES_BY_TIME_MAX + 1;
/// Most entries of one [`Store::read_log`], however many are asked for.
pub const LOG_READ_MAX: usize = 4_096;

/// Where an entry stands in the one log of a store. Positions grow from entry to entry, not always by one, and none is given
/// twice, also after a crash. Zero is before them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// One visible change of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub position: Position,
    /// Whose presence changed.
    pub user: UserKey,
    /// How.
    pub change: Change,
}

/// What reading the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRead {
    /// Entries that follow the position asked for, without a gap; none when there is nothing after it yet.
    Page {
        /// The entries.
        entries: Vec<LogEntry>,
        /// The last position given so far. Before the position asked for when somebody asked from the future.
        end: Position,
    },
    /// Entries that should have followed are no longer retained.
    Behind {
        /// Everything from here on is; one after `end` at most.
        oldest: Position,
        /// The last position given so far.
        end: Position,
    },
}

/// How much of the log is kept. Entries beyond either bound go, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least how long after it was written an entry stays; at most a hundredth longer, once
    /// [`Store::trim_log`] is called.
    pub age: Duration,
    /// How many entries stay, some twelve bytes of memory each; at least one.
    pub entries: usize,
}

/// A day, a million entries.
impl Default for Retention {
    fn default() -> Self {
        Self { age: changelog::AGE_DEFAULT, entries: 1_000_000 }
    }
}

/// A kind of small record that is not anybody's presence, such as a directory user. The name is part of the stored
/// format and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKind {
    /// A user of the directory, imported rather than declared in the configuration.
    DirectoryUser,
    /// A subscription to change notifications.
    Subscription,
    /// How far a subscription's notifications have been delivered.
    DeliveryCursor,
    /// An application registered over the admin API rather than declared in the configuration.
    Application,
    /// A tenant added over the admin API, or the settings such a tenant has.
    TenantSettings,
    /// A random key of this store's, by its purpose.
    Secret,
    /// A lifecycle notification that is still to be delivered.
    LifecycleEvent,
    /// The keys an issuer of others last gave.
    IssuerKeys,
    /// How far of the log a tenant's MQTT broker has acknowledged.
    MqttCursor,
}

impl DocumentKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::DirectoryUser,
        Self::Subscription,
        Self::DeliveryCursor,
        Self::Application,
        Self::TenantSettings,
        Self::Secret,
        Self::LifecycleEvent,
        Self::IssuerKeys,
        Self::MqttCursor,
    ];

    /// Whether other processes want to know when one of these changes. The others are their writer's alone.
    pub(crate) fn is_followed(self) -> bool {
        !matches!(self, Self::DeliveryCursor | Self::LifecycleEvent | Self::MqttCursor)
    }
}

/// A small keyed record. Its body is the business of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// Its key within the kind; at most [`DOCUMENT_KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// Its body, at most [`DOCUMENT_BODY_BYTES_MAX`] bytes; `None` deletes it.
    pub body: Option<Vec<u8>>,
}

/// Longest key of a [`Document`], in bytes.
pub const DOCUMENT_KEY_BYTES_MAX: usize = 256;
/// Longest body of a [`Document`], in bytes.
pub const DOCUMENT_BODY_BYTES_MAX: usize = 64 * 1024;
/// Most bytes, keys and bodies together, of the documents of one [`Store::put_documents`]: they are kept as one piece.
pub const DOCUMENT_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most documents of one [`Store::put_documents`].
pub const DOCUMENT_BATCH_MAX: usize = 100_000;

/// Whom a [`Store::visit`] shows records to: the place of the user among those asked for, and what is kept.
pub type Visit<'a> = dyn FnMut(usize, &Stored) + 'a;

/// What [`Store::glance`] shows of a user.
#[derive(Clone, Copy, Debug)]
pub enum Glance<'a> {
    /// The record in short, where there is no more to it. A backend need not tell.
    Sole(Sole),
    /// The record.
    Whole(&'a UserPresence),
}

/// Where a store found a user: to be kept beside the user by who asks again and again, so that the store need not search. It
/// is looked at there before it is believed, so any hint does, also another store's.
#[derive(Debug)]
pub struct Hint(AtomicU32);

impl Default for Hint {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

/// As good as the original.
impl Clone for Hint {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.get()))
    }
}

impl Hint {
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, found: u32) {
        self.0.store(found, Ordering::Relaxed);
    }
}

/// Whom a [`Store::glance`] is about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The user.
    pub user: UserKey,
    /// Where the user may be, and where it is noted.
    pub hint: &'a Hint,
}

/// Whom a [`Store::glance`] shows records to: as [`Visit`].
pub type Glances<'a> = dyn FnMut(usize, Glance<'_>) + 'a;

/// What [`Store::revise`] is to keep besides the record as it is then: see [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// When the record next wants a look.
    pub wake_at: Option<Timestamp>,
    /// The visible changes.
    pub changes: Vec<Change>,
}

/// Who decides in a [`Store::revise`]: makes of a record, given with the place of its user among those asked for, what it is
/// to be. `None`: it stays as it is kept, whatever was made of it.
pub type Revise<'a> = dyn FnMut(usize, &mut Stored) -> Option<Revision> + Send + 'a;

/// What came of a [`Store::revise`].
pub type Revised = Vec<Option<Result<Version, StoreError>>>;

/// Keeps user records, wake-up times, the log of visible changes, and documents.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The records of these users, in the order asked; the default record for whoever has none. What it returns is
    /// durable.
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError>;

    /// Shows the same records, in the order asked, without waiting and without making a value of each: most reads want to
    /// look at records and not to have them. All of them are taken before the first is shown. `visit` does not call the
    /// store.
    ///
    /// `None`: this backend cannot tell without waiting, and nothing was shown. Then [`load`](Self::load) can.
    fn visit(&self, _users: &[UserKey], _visit: &mut Visit<'_>) -> Option<Result<(), StoreError>> {
        None
    }

    /// As [`visit`](Self::visit), for those who only want to know what is shown of the users.
    fn glance(&self, asked: &[Asked<'_>], glance: &mut Glances<'_>) -> Option<Result<(), StoreError>> {
        let users: Vec<UserKey> = asked.iter().map(|asked| asked.user).collect();
        self.visit(&users, &mut |place, stored| glance(place, Glance::Whole(&stored.presence)))
    }

    /// Keeps a change, and answers only when it is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the record has moved on from `expected`; nothing has changed then.
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError>;

    /// As [`commit`](Self::commit), for many users in one go: an outcome for each, in the order given. They do not hang
    /// together, but those of one user are carried out in that order; it only costs less than one by one.
    async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Version, StoreError>> {
        let mut earlier: HashMap<UserKey, usize> = HashMap::with_capacity(commits.len());
        let mut rounds: Vec<Vec<(usize, Commit)>> = Vec::new();
        for (place, commit) in commits.into_iter().enumerate() {
            let round = earlier.entry(commit.user).or_default();
            if *round == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[*round].push((place, commit));
            *round += 1;
        }
        let mut outcomes = Vec::with_capacity(earlier.len());
        for round in rounds {
            let round = round.into_iter().map(async |(place, commit)| (place, self.commit(commit).await));
            outcomes.extend(join_all(round).await);
        }
        outcomes.sort_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Loads these users, each once, lets `revise` decide about each, in the order asked, and commits what it decided: what a
    /// [`load`](Self::load) and a [`commit_all`](Self::commit_all) do, for those who have no other use for the records. An
    /// outcome for each user; `None` where nothing was decided. `revise` does not call the store.
    ///
    /// # Errors
    /// When records cannot be loaded. Of others it may have been decided by then, and that is kept.
    async fn revise(&self, users: &[UserKey], revise: &mut Revise<'_>) -> Result<Revised, StoreError> {
        let stored = self.load(users).await?;
        let mut revised = Vec::new();
        for (place, (user, mut stored)) in users.iter().zip(stored).enumerate() {
            let expected = stored.version;
            if let Some(Revision { wake_at, changes }) = revise(place, &mut stored) {
                let presence = stored.presence;
                revised.push((place, Commit { user: *user, expected, presence, wake_at, changes }));
            }
        }
        // Stores order those who are due at one instant as they like; the log has what happened in one order, at least where
        // a simulation looks.
        revised.sort_by_key(|(_, commit)| (commit.changes.first().map(|change| change.at), commit.user));
        let (places, commits): (Vec<usize>, Vec<Commit>) = revised.into_iter().unzip();
        let mut outcomes: Revised = users.iter().map(|_| None).collect();
        for (place, outcome) in places.into_iter().zip(self.commit_all(commits).await) {
            outcomes[place] = Some(outcome);
        }
        Ok(outcomes)
    }

    /// At most `max` users whose wake-up time is at or before `now`, earliest first as far as the backend can tell.
    /// Asking does not take them: they are due until a commit moves their wake-up time.
    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError>;

    /// [`revise`](Self::revise) of those who are [`due`](Self::due), which a store may find without being told who they are. An
    /// outcome for each of them.
    ///
    /// # Errors
    /// As both.
    async fn revise_due(
        &self,
        now: Timestamp,
        max: usize,
        revise: &mut Revise<'_>,
    ) -> Result<Revised, StoreError> {
        let due = self.due(now, max).await?;
        self.revise(&due, revise).await
    }

    /// An instant not later than the earliest wake-up time, or `None` when nobody wants one.
    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError>;

    /// The latest `settled_at` of any record ever committed: no clock of this store may fall behind it.
    async fn latest(&self) -> Result<Option<Timestamp>, StoreError>;

    /// At most `max` entries of the log after a position, and never more than [`LOG_READ_MAX`]. What it returns is
    /// durable.
    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError>;

    /// The position of the last entry, as it grows: to read once and to wait for more. An entry is visible to
    /// [`read_log`](Self::read_log) when its position is here.
    fn log_end(&self) -> watch::Receiver<Position>;

    /// The end of the log as it is at this moment: with everything that any process had committed before the call.
    async fn log_now(&self) -> Result<Position, StoreError> {
        Ok(*self.log_end().borrow())
    }

    /// Forgets entries that were written longer before `now` than is retained. Not durable: after a restart some may be
    /// back until the next call.
    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Every document of a kind, by key.
    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError>;

    /// Puts and deletes documents, and answers only when that is durable: all or none of them, or in a [`Shared`] store, all
    /// or none of those of one [shard](Shared::shard_of).
    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError>;

    /// What can be said about the work of a store that keeps things on a disk.
    fn status(&self) -> Option<Status> {
        None
    }

    /// What a store that several processes use at once has besides.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }

    /// Finishes what was accepted and lets go of files and locks. Later calls answer
    /// [`StoreError::Unavailable`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// A store that several processes use at once: what they need to share the work.
#[async_trait]
pub trait Shared: Send + Sync {
    /// The shard of a document. Work is shared by shards; a cursor whose key is a shard's number in two bytes is in it.
    fn shard_of(&self, kind: DocumentKind, key: &[u8]) -> u16;

    /// The shards that this process works on, as they change.
    fn leases(&self) -> watch::Receiver<Arc<Leases>>;

    /// [`Store::put_documents`] for one shard, if its lease is still this one's.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has the lease; nothing has changed then.
    async fn put_documents_under(
        &self,
        shard: u16,
        token: u64,
        documents: Vec<Document>,
    ) -> Result<(), StoreError>;

    /// A number that is another one after any process has put documents that others want to know of, as far as is known here:
    /// the [`DocumentsSeen::mark`] of whoever has seen them all.
    fn documents_changed(&self) -> watch::Receiver<u64>;

    /// Up to where documents have changed so far: to be asked before they are read.
    async fn documents_seen(&self) -> Result<DocumentsSeen, StoreError>;

    /// The documents that have changed since `seen`, which is moved on.
    async fn document_changes(&self, seen: &mut DocumentsSeen) -> Result<DocumentChanges, StoreError>;

    /// Waits until no other process has a claim to this name. Where there is but one process, nobody has.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also when somebody else has it for too long.
    async fn claim(&self, _name: &[u8]) -> Result<Claim, StoreError> {
        Ok(Claim::default())
    }

    /// The processes that use the store.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;

    /// How many of them live, as far as was known a moment ago.
    fn living(&self) -> u64;

    /// This process's id in the list of [`nodes`](Self::nodes).
    fn node(&self) -> &str {
        ""
    }

    /// How long ago this process knew for certain that it had read everything in the log.
    fn log_lag(&self) -> Duration {
        Duration::ZERO
    }

    /// A number that is another one when a process has come or gone, as far as was known a moment ago.
    fn fleet(&self) -> u64 {
        self.living()
    }

    /// How often the store was found to have lost what it had acknowledged.
    fn losses(&self) -> u64;
}

/// The sole right to something among all processes, until it is given back or dropped.
#[derive(Default)]
#[must_use]
pub struct Claim {
    end: Option<BoxFuture<'static, ()>>,
}

impl Claim {
    /// A claim that is given back by this.
    pub fn new(end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { end: Some(Box::pin(end)) }
    }

    /// Gives it back, and returns when others can have it.
    pub async fn release(mut self) {
        if let Some(end) = self.end.take() {
            end.await;
        }
    }
}

/// Whoever was stopped in the middle has no claim any more either. Without a runtime it ends by itself.
impl Drop for Claim {
    fn drop(&mut self) {
        if let (Some(end), Ok(runtime)) = (self.end.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(end);
        }
    }
}

/// Up to where changes of documents are known, by shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentsSeen {
    /// The last one of each shard.
    pub(crate) last: Vec<LastChange>,
}

/// The last change of a document in a shard. An engine that loses changes gives their numbers again, and this process may have
/// seen them before: the nonce tells such a change from the one that is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastChange {
    pub(crate) number: u64,
    pub(crate) nonce: u64,
}

impl DocumentsSeen {
    /// A number of which [`Shared::documents_changed`] tells when there were other changes since, or some of these are lost.
    pub fn mark(&self) -> u64 {
        let mix = |bits: u64| (bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let shards = (1..).zip(&self.last).filter(|(_, last)| last.number > 0);
        shards
            .map(|(shard, last)| mix(mix(mix(shard) ^ last.number) ^ last.nonce))
            .fold(0, |sum, mixed: u64| sum.wrapping_add(mixed ^ mixed >> 32))
    }
}

/// Documents as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentChanges {
    /// Each once; without a body those that are no more.
    pub documents: Vec<Document>,
    /// Whether these are all that changed. If not, everything must be read again.
    pub is_complete: bool,
}

/// Whether these are the bytes of a record, as a store keeps it: the reader of untrusted bytes, for `fuzz/` to reach.
#[doc(hidden)]
pub fn is_record(bytes: &[u8]) -> bool {
    record::decode(bytes).is_ok()
}

fn check_changes(changes: &[Change]) -> Result<(), StoreError> {
    if changes.len() > CHANGES_PER_COMMIT_MAX {
        return Err(StoreError::TooLarge(format!("{} changes at once", changes.len())));
    }
    Ok(())
}

/// The bounds on documents, checked by every backend before it keeps any of them.
fn check_documents(documents: &[Document]) -> Result<(), StoreError> {
    if documents.len() > DOCUMENT_BATCH_MAX {
        return Err(StoreError::TooLarge(format!("{} documents at once", documents.len())));
    }
    let mut batch_bytes = 0;
    for document in documents {
        let (key_bytes, body_bytes) = (document.key.len(), document.body.as_ref().map_or(0, Vec::len));
        if key_bytes > DOCUMENT_KEY_BYTES_MAX {
            return Err(StoreError::TooLarge(format!("a document key of {key_bytes} bytes")));
        }
        if body_bytes > DOCUMENT_BODY_BYTES_MAX {
            return Err(StoreError::TooLarge(format!("a document body of {body_bytes} bytes")));
        }
        batch_bytes += key_bytes + body_bytes;
    }
    if batch_bytes > DOCUMENT_BATCH_BYTES_MAX {
        return Err(StoreError::TooLarge(format!("documents of {batch_bytes} bytes at once")));
    }
    Ok(())
}
