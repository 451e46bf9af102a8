//! Why a store cannot be opened, in words for whoever operates it.

use std::io;

/// Why a store was not opened. Nothing that is kept has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process is using it.
    #[error("{path} is in use: {holder}. Stop that process, or give this one a directory of its own")]
    InUse {
        /// The directory.
        path: String,
        /// Who, as far as they have said.
        holder: String,
    },
    /// The operating system refused.
    #[error("{action} {path} failed: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Something that was acknowledged cannot be read as it was written.
    #[error(
        "{path} is damaged at offset {offset}: {what}. This is not the trace of a crash: acknowledged changes are \
         lost, so the store is not opened. Restore the directory from a copy; or move it away and begin with an empty \
         one: applications set presence again, and imported users must be imported again"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file that must be there is not, or the one before it.
    #[error(
        "a file is missing at {path}: {what}. Acknowledged changes are lost, so the store is not opened. Put the \
         file back, or restore the whole directory from a copy"
    )]
    Missing {
        /// The file, or the one before which one is missing.
        path: String,
        /// How that is known.
        what: String,
    },
    /// A newer program has written it.
    #[error(
        "{path} has format {found}, and this program reads up to format {supported}. Use the release that wrote it or \
         a later one; to go back, restore a copy from before"
    )]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The newest format this program reads.
        supported: u32,
    },
    /// A file with the name of one of ours is something else.
    #[error("{path} is not a file of this program. Is this the right directory?")]
    NotOurs {
        /// The file.
        path: String,
    },
}
