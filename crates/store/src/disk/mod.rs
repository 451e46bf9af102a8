//! The few things the embedded store asks of a file system, behind a seam narrow enough to simulate.
//!
//! [`OsDisk`] is a directory of the operating system. [`SimulatedDisk`] keeps files in memory and loses power, fills
//! up and fails to sync when it is told to: what a test cannot do to a real disk is what a store must survive.
//! Nothing here knows what is in the files.

mod os;
mod simulated;

use std::io;

pub use os::OsDisk;
pub use simulated::{Fault, SimulatedDisk};

/// One flat directory of files, used by one process at a time.
pub trait Disk: Send + Sync + 'static {
    /// Where this is, for messages.
    fn describe(&self, name: &str) -> String;

    /// Keeps every other process, and every other user in this one, away until the guard is dropped.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else is here.
    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockError>;

    /// The names of the files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>>;

    /// Creates an empty file, emptying any of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn WriteFile>>;

    /// Opens a file for writing with what is in it.
    fn reopen(&self, name: &str) -> io::Result<Box<dyn WriteFile>>;

    /// Gives a file another name, replacing whatever has it. Durable after [`sync_directory`](Self::sync_directory).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`sync_directory`](Self::sync_directory).
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when all creations, renames and removals so far are durable.
    fn sync_directory(&self) -> io::Result<()>;
}

/// A file being read, by several threads at once if they like.
pub trait ReadFile: Send + Sync {
    /// How long it is.
    fn length(&self) -> io::Result<u64>;

    /// Reads at an offset; fewer bytes than asked for only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file being written.
pub trait WriteFile: Send {
    /// Writes at an offset and says how many bytes were taken: maybe fewer than given, none only for none.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when the content and the length are durable (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes all of the bytes, in as many pieces as it takes.
pub(crate) fn write_all_at(file: &mut dyn WriteFile, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else is using it; the text says who, as far as they have said.
    #[error("{0}")]
    Held(String),
    /// The lock file cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}
