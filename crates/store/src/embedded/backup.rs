//! A copy of a store that another process may be writing.
//!
//! Files are only ever appended to, named when they are complete, and removed when newer ones hold the same. So a copy of what
//! is there is the store of an instant, possibly with a torn last group, unless the files changed while they were copied: a
//! file went away, or one was longer when a later one was read. Groups are numbered without a gap and checked whole, so
//! opening the copy tells, and it is made again then.

use std::io;
use std::path::Path;

use super::snapshot::number_of;
use super::{Embedded, OpenError, Options, Recovery};

/// How often a copy is made again because the store changed under it.
const ATTEMPTS_MAX: usize = 8;

/// Why a store was not copied.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something where the copy should be.
    #[error("{0} is not empty; name a folder that is empty or not there yet")]
    NotEmpty(String),
    /// There is no store to copy.
    #[error("there is no store in {0}")]
    NoStore(String),
    /// The copy cannot be opened, as the store itself could not be.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// What it was about.
        path: String,
        /// What it said.
        source: io::Error,
    },
}

impl Embedded {
    /// Copies the store in `from`, which a process may be using, to the folder `to`, and opens and closes the copy to see that
    /// it is whole. Everything that was answered before the call is in it; of what happens meanwhile, a beginning.
    ///
    /// # Errors
    /// [`BackupError`]; what was copied so far is left behind.
    pub fn back_up(from: &Path, to: &Path) -> Result<Recovery, BackupError> {
        let refused = |path: &Path| {
            let path = path.display().to_string();
            move |source| BackupError::Io { path, source }
        };
        std::fs::create_dir_all(to).map_err(refused(to))?;
        if std::fs::read_dir(to).map_err(refused(to))?.next().is_some() {
            return Err(BackupError::NotEmpty(to.display().to_string()));
        }
        let mut attempt = 1;
        loop {
            let error = match copy_files(from, to) {
                Ok(0) => return Err(BackupError::NoStore(from.display().to_string())),
                Ok(_) => match Self::open(to, Options::default()) {
                    Ok((copy, recovery)) => {
                        drop(copy);
                        std::fs::remove_file(to.join("lock")).map_err(refused(to))?;
                        std::fs::File::open(to).and_then(|folder| folder.sync_all()).map_err(refused(to))?;
                        return Ok(recovery);
                    }
                    Err(error @ (OpenError::Damaged { .. } | OpenError::Missing { .. })) => error.into(),
                    Err(error) => return Err(error.into()),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => refused(from)(error),
                Err(error) => return Err(refused(from)(error)),
            };
            if attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            attempt += 1;
            clear(to).map_err(refused(to))?;
        }
    }
}

/// Copies logs and snapshots, newest first: of the newest log its beginning, which goes on where older files end.
fn copy_files(from: &Path, to: &Path) -> io::Result<usize> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(from)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        // Temporary files have other names: they are not complete.
        if let Some(number) = number_of(name, "log-").or_else(|| number_of(name, "snapshot-")) {
            names.push((number, name.to_owned()));
        }
    }
    // Of one number the log, which follows the snapshot, before it.
    names.sort_by(|(one, of_one), (other, of_other)| other.cmp(one).then(of_one.cmp(of_other)));
    for (_, name) in &names {
        std::fs::copy(from.join(name), to.join(name))?;
        std::fs::File::open(to.join(name))?.sync_all()?;
    }
    Ok(names.len())
}

fn clear(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    Ok(())
}
