//! Small files that are whole or absent, and that only their owner may read unless said otherwise.

use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes `contents` under `path`, replacing what is there in one step. Mode 0600.
pub(crate) fn replace_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    written(path, contents)?.persist(path)?;
    sync_directory(path)
}

/// As [`replace_private`], for everyone to read, and only when the file differs.
pub(crate) fn replace_public(path: &Path, contents: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == contents) {
        return Ok(());
    }
    let file = written(path, contents)?;
    #[cfg(unix)]
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(path)?;
    sync_directory(path)
}

/// Writes `contents` under `path` unless there is a file already, in which case that one stays and the answer is
/// false. Of two processes that start at once, both end up with the same file. Mode 0600.
pub(crate) fn create_private(path: &Path, contents: &[u8]) -> io::Result<bool> {
    match written(path, contents)?.persist_noclobber(path) {
        Ok(_) => sync_directory(path).map(|()| true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(refused.error),
    }
}

/// The file's text, or none when there is no such file.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A synced temporary file beside `path`. The library creates it with mode 0600 and removes it when it is not kept.
fn written(path: &Path, contents: &[u8]) -> io::Result<NamedTempFile> {
    let directory = directory_of(path);
    std::fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    // A directory can be opened for syncing on Unix only; elsewhere the rename itself is what there is.
    if cfg!(unix) { std::fs::File::open(directory_of(path))?.sync_all() } else { Ok(()) }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
