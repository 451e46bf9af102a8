//! Opening: what the files hold, back in memory, or a refusal that says what is wrong with them.

use std::fmt;

use super::OpenError;
use super::entry::{Entries, Item};
use super::frame::FileKind;
use super::loader::{Batch, Carried, Refused, Source};
use super::log::log_name;
use super::reader::{FrameReader, Next, Tail};
use super::snapshot::{self, number_of};
use super::table::Table;
use crate::disk::Disk;

/// What opening a store found, for the program to log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Users with a record.
    pub users: u64,
    /// Documents of all kinds.
    pub documents: u64,
    /// Length of the snapshot that was read, in bytes; zero if there was none.
    pub snapshot_bytes: u64,
    /// Logs that were read after it.
    pub logs: u64,
    /// Groups of changes that were read from them.
    pub groups: u64,
    /// Whether the last to use the store closed it in order.
    pub was_closed: bool,
    /// What a crash interrupted, if it did.
    pub torn_tail: Option<TornTail>,
    /// Files that were no longer needed and have been removed.
    pub removed_files: usize,
}

/// The beginning of a group that was never finished, and so never acknowledged to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file it is in.
    pub path: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} users and {} documents from a snapshot of {} bytes and {} groups in {} logs",
            self.users, self.documents, self.snapshot_bytes, self.groups, self.logs
        )?;
        if let Some(TornTail { path, offset, bytes }) = &self.torn_tail {
            write!(
                f,
                "; a write that was interrupted before it was acknowledged was dropped ({bytes} bytes at offset \
                 {offset} of {path})"
            )?;
        }
        Ok(())
    }
}

/// Where writing goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    pub(super) next_group: u64,
    pub(super) next_log: u64,
    /// Bytes in logs that no snapshot replaces.
    pub(super) log_bytes: u64,
    pub(super) snapshot_bytes: u64,
}

/// Reads everything into an empty table.
pub(super) fn recover(disk: &dyn Disk, table: &Table) -> Result<(Recovery, Resume), OpenError> {
    let failed = |action| {
        let path = disk.describe("");
        move |source| OpenError::Io { action, path, source }
    };
    let mut recovery = Recovery::default();
    let names = disk.list().map_err(failed("listing"))?;
    for name in names.iter().filter(|name| is_temporary(name)) {
        disk.remove(name).map_err(failed("removing what an interrupted compaction left in"))?;
        recovery.removed_files += 1;
    }
    let mut next_group = 1;
    let mut first_log = 0;
    let newest = names.iter().filter_map(|name| number_of(name, "snapshot-")).max();
    if let Some(number) = newest {
        let loaded = snapshot::load(disk, number, table)?;
        recovery.snapshot_bytes = loaded.bytes;
        next_group = loaded.header.first_group;
        first_log = number;
        recovery.removed_files += snapshot::remove_before(disk, number)
            .map_err(failed("removing what the snapshot replaces in"))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name, "log-")).collect();
    numbers.retain(|number| *number >= first_log);
    numbers.sort_unstable();
    if newest.is_some() && numbers.is_empty() {
        let path = disk.describe(&log_name(first_log));
        return Err(OpenError::Missing {
            path,
            what: "the snapshot beside it says that it was there".into(),
        });
    }
    let next_log = numbers.last().map_or(1, |last| last + 1);

    let mut log_bytes = 0;
    let mut readers = Vec::new();
    for number in &numbers {
        let number = *number;
        let reader = FrameReader::open(disk, &log_name(number), FileKind::Log, number)?;
        log_bytes += reader.length();
        readers.push(reader);
    }
    let first_groups: Vec<u64> = readers.iter().map(|reader| reader.header().first_group).collect();
    for (place, mut reader) in readers.into_iter().enumerate() {
        if first_groups[place] != next_group {
            let path = reader.path().into();
            let what =
                format!("it begins with group {}, and group {next_group} is in no file", first_groups[place]);
            return Err(OpenError::Missing { path, what });
        }
        recovery.logs += 1;
        let limit = first_groups.get(place + 1).copied();
        let mut last = LastEntry::Change;
        let (mut batch, mut carried) =
            (Batch::new(Source::Log { has_snapshot: newest.is_some() }), Carried::default());
        let carry_out = |batch: &mut Batch, carried: &mut Carried, path: &str| {
            batch.carry_out(table, carried).map_err(|Refused { offset, what }| OpenError::Damaged {
                path: path.into(),
                offset,
                what,
            })
        };
        while limit.is_none_or(|limit| next_group < limit) {
            let offset = reader.position();
            let Next::Frame(payload) = reader.next(next_group)? else { break };
            last = LastEntry::of(payload);
            if last != LastEntry::Change {
                // Not a group: its number is that of the first group of the log after this one.
                break;
            }
            if batch.push(offset, payload) {
                carry_out(&mut batch, &mut carried, reader.path())?;
            }
            next_group += 1;
            recovery.groups += 1;
        }
        carry_out(&mut batch, &mut carried, reader.path())?;
        match limit {
            Some(limit) if next_group == limit => {}
            Some(limit) => {
                if last != LastEntry::Change || reader.tail(next_group)? == Tail::Clean {
                    let path = disk.describe(&log_name(numbers[place + 1]));
                    let what = format!("it begins with group {limit}, and group {next_group} is in no file");
                    return Err(OpenError::Missing { path, what });
                }
                let what = format!("group {next_group} cannot be read, but the next log begins with {limit}");
                return Err(reader.damaged(what));
            }
            None => {
                if last == LastEntry::Continued {
                    let path = disk.describe(&log_name(next_log));
                    let what = format!("{} says that it goes on there", reader.path());
                    return Err(OpenError::Missing { path, what });
                }
                recovery.was_closed = last == LastEntry::Closed;
                if let Tail::Torn { bytes } = reader.tail(next_group)? {
                    let (path, offset) = (reader.path().into(), reader.position());
                    recovery.torn_tail = Some(TornTail { path, offset, bytes });
                }
            }
        }
    }
    recovery.users = table.users();
    recovery.documents = table.document_count();
    let resume = Resume { next_group, next_log, log_bytes, snapshot_bytes: recovery.snapshot_bytes };
    Ok((recovery, resume))
}

fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .is_some_and(|name| number_of(name, "log-").or_else(|| number_of(name, "snapshot-")).is_some())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LastEntry {
    Change,
    Continued,
    Closed,
}

impl LastEntry {
    /// Both marks stand alone in their frames.
    fn of(payload: &[u8]) -> Self {
        let mut entries = Entries::new(payload);
        match (entries.next(), entries.next()) {
            (Some(Ok(Item::Continued)), None) => Self::Continued,
            (Some(Ok(Item::Closed)), None) => Self::Closed,
            _ => Self::Change,
        }
    }
}
