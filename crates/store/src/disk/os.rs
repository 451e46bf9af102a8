//! A directory of the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use presence::Timestamp;

use super::{Disk, LockError, ReadFile, WriteFile};

/// The file that is locked; its content is for people.
const LOCK_NAME: &str = "lock";
/// Most bytes of another process's lock file that are repeated in a message.
const LOCK_HOLDER_BYTES_MAX: usize = 200;

/// A directory of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    directory: PathBuf,
}

impl OsDisk {
    /// The directory, created if it is not there.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn new(directory: &Path) -> io::Result<Self> {
        create_directory(directory)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Disk for OsDisk {
    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockError> {
        let path = self.path(LOCK_NAME);
        // Not truncated: until the lock is ours, the content is the holder's.
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&path))),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Only a help to people: a full disk must not keep the store from being opened.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "an unnamed host" } else { host.trim() };
        let _ = file.set_len(0).and_then(|()| writeln!(file, "process {} on {host}", std::process::id()));
        // Never removed: whoever removed it might remove the one that the next process has just locked.
        Ok(Box::new(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.directory)?;
        // A name that is not Unicode is none of ours.
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(OsFile(File::open(self.path(name))?)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(OsFile(File::create(self.path(name))?)))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(OsFile(OpenOptions::new().write(true).open(self.path(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_path(&self.directory)
    }
}

struct OsFile(File);

impl ReadFile for OsFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read_at(&self.0, offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl WriteFile for OsFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        write_at(&self.0, offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

#[cfg(unix)]
fn sync_path(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file, and the file system keeps its names in order itself.
#[cfg(not(unix))]
fn sync_path(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// Creates a directory and those above it, each durable: a directory is when the one above it has been synced.
fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        create_directory(above)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_path(above.unwrap_or(Path::new(".")))
}

/// Who holds the lock, in words. When they took it is told by the file, which they write once.
fn holder(path: &Path) -> String {
    let said = fs::read(path).unwrap_or_default();
    let said = String::from_utf8_lossy(&said[..said.len().min(LOCK_HOLDER_BYTES_MAX)]);
    let said = said.lines().next().unwrap_or_default();
    let who = if said.is_empty() { "another process" } else { said };
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let since = modified
        .and_then(|at| i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok())
        .and_then(|secs| Timestamp::from_second(secs).ok());
    match since {
        Some(since) => format!("{who} has used it since {since}"),
        None => format!("{who} is using it"),
    }
}
