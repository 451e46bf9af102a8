//! The keeper: what was asked for, kept durably and given back unchanged.
//!
//! [`Store`] is a narrow seam. A backend keeps and returns; it never decides whether anything has expired or who is
//! shown as what. It assumes neither that it is the only process nor that its caller is: every commit names the
//! version it was made from, and the version decides who wins.
//!
//! [`Memory`] is for tests and throw-away runs, [`Embedded`] for a server with a disk of its own. [`Faulty`] and
//! [`disk::SimulatedDisk`] make either fail on request.
#![warn(missing_docs)]

pub mod disk;
mod embedded;
mod error;
mod faulty;
mod memory;
mod random;
mod record;

use async_trait::async_trait;
use presence::{Timestamp, UserKey, UserPresence};

pub use embedded::{Embedded, OpenError, Options, Recovery, Status, TornTail};
pub use error::StoreError;
pub use faulty::{Faults, Faulty};
pub use memory::Memory;

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
}

/// A kind of small record that is not anybody's presence, such as a directory user. The name is part of the stored
/// format and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKind {
    /// A user of the directory, imported rather than declared in the configuration.
    DirectoryUser,
    /// An application registered over the admin API rather than declared in the configuration.
    Application,
    /// A tenant added over the admin API, or the settings such a tenant has.
    TenantSettings,
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

/// Keeps user records, wake-up times and documents.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The records of these users, in the order asked; the default record for whoever has none. What it returns is
    /// durable.
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError>;

    /// Keeps a change, and answers only when it is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the record has moved on from `expected`; nothing has changed then.
    async fn commit(&self, commit: Commit) -> Result<Version, StoreError>;

    /// At most `max` users whose wake-up time is at or before `now`, earliest first as far as the backend can tell.
    /// Asking does not take them: they are due until a commit moves their wake-up time.
    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError>;

    /// An instant not later than the earliest wake-up time, or `None` when nobody wants one.
    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError>;

    /// The latest `settled_at` of any record ever committed: no clock of this store may fall behind it.
    async fn latest(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Every document of a kind, by key.
    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError>;

    /// Puts and deletes documents, all or none of them, and answers only when that is durable.
    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError>;

    /// Finishes what was accepted and lets go of files and locks. Later calls answer
    /// [`StoreError::Unavailable`].
    async fn close(&self) -> Result<(), StoreError>;
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
