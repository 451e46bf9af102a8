//! `presenced backup` and `presenced restore`: what a server keeps, copied beside it and put back.

use std::path::Path;

use anyhow::{Context, bail};
use store::{BackupError, Embedded, FileHistory};

use crate::args::{BackupArgs, RestoreArgs};
use crate::client;
use crate::config::Config;
use crate::serve::HISTORY_FOLDER;

/// What is below `data_dir`.
const STORE: &str = "store";
const KEYS: &str = "keys";

/// Copies the store, which the server may be writing, and the keys.
///
/// # Errors
/// When the place is not empty, something cannot be read, or the copy is not whole.
pub(crate) fn back_up(args: &BackupArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    if config.engine().is_some() {
        bail!(
            "presence is in the engine that `store` names: back that up by its own means, and the keys folder besides"
        );
    }
    make_private_folder(&args.to)?;
    if std::fs::read_dir(&args.to)?.next().is_some() {
        bail!("{} is not empty; name a folder that is empty or not there yet", args.to.display());
    }
    copy_store(&config.data_dir.join(STORE), &args.to.join(STORE))?;
    copy_keys(&config.data_dir.join(KEYS), &args.to.join(KEYS))?;
    copy_history(&config.data_dir.join(HISTORY_FOLDER), &args.to.join(HISTORY_FOLDER))?;
    client::say(format_args!("{} is whole", args.to.display()));
    Ok(())
}

/// Puts a backup back into a `data_dir` that has neither store nor keys.
///
/// # Errors
/// When there is something already, or the backup is not whole.
pub(crate) fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let from = args.from.join(STORE);
    if !from.is_dir() {
        bail!("{} has no folder {STORE:?}: it is no backup", args.from.display());
    }
    for name in [STORE, KEYS, HISTORY_FOLDER] {
        let there = config.data_dir.join(name);
        if there.exists() {
            bail!("{} is there already; stop the server and move it away first", there.display());
        }
    }
    make_private_folder(&config.data_dir)?;
    // Under another name until it is whole: a server must not begin with half of it.
    let unfinished = config.data_dir.join(format!("{STORE}.restoring"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    }
    copy_store(&from, &unfinished)?;
    copy_keys(&args.from.join(KEYS), &config.data_dir.join(KEYS))?;
    copy_history(&args.from.join(HISTORY_FOLDER), &config.data_dir.join(HISTORY_FOLDER))?;
    std::fs::rename(&unfinished, config.data_dir.join(STORE))?;
    std::fs::File::open(&config.data_dir)?.sync_all()?;
    client::say(format_args!("{} has what the backup has", config.data_dir.display()));
    Ok(())
}

fn copy_store(from: &Path, to: &Path) -> anyhow::Result<()> {
    let recovery = Embedded::back_up(from, to).map_err(|error| match error {
        BackupError::NoStore(folder) => {
            anyhow::anyhow!("there is no store in {folder}; has the server ever run?")
        }
        other => other.into(),
    })?;
    tracing::debug!(?recovery, "the copy was opened");
    Ok(())
}

/// Copies the history, where there is one.
fn copy_history(from: &Path, to: &Path) -> anyhow::Result<()> {
    FileHistory::back_up(from, to).with_context(|| from.display().to_string())?;
    Ok(())
}

/// Copies files, with who may read them.
fn copy_keys(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    make_private_folder(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = to.join(entry.file_name());
            std::fs::copy(entry.path(), &file).with_context(|| entry.path().display().to_string())?;
            std::fs::File::open(&file)?.sync_all()?;
        }
    }
    Ok(())
}

/// A folder that only its owner may look into: there are keys in it.
fn make_private_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| folder.display().to_string())
}
