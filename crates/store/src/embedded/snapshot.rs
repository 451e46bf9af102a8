//! Everything as it was at some time, so that older logs can go.
//!
//! A snapshot is written while commits go on. It is of no single instant: a user may stand in it as of any time since
//! it was begun. That is enough, because every change since then is in the logs from [`number`] on, whole records
//! at a time, and replaying them in order ends at the same state whatever the snapshot caught.
//!
//! [`number`]: super::frame::FileHeader::number

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::OpenError;
use super::entry::{FrameBuilder, Item};
use super::frame::{FileHeader, FileKind, finish_frame};
use super::loader::{Batch, Carried, End, Refused, Source, append_users};
use super::log::{log_name, temporary};
use super::reader::{FrameReader, Next};
use super::table::Table;
use crate::disk::{Disk, WriteFile, write_all_at};
use crate::{LogEntry, LogRead, Position};

/// A block is closed when it has grown to this.
const BLOCK_BYTES: usize = 256 * 1024;
/// Documents taken from the table at a time.
const DOCUMENTS_AT_ONCE: usize = 64;
/// Entries of the log of changes taken from it at a time.
const ENTRIES_AT_ONCE: usize = 4_096;

pub(super) fn snapshot_name(number: u64) -> String {
    format!("snapshot-{number:020}")
}

/// Writes what the table holds, and removes the files it replaces. Returns the snapshot's length.
///
/// `header` names the first log that is *not* in the snapshot; that log is there already, and durable.
pub(super) fn write(
    disk: &dyn Disk,
    table: &Table,
    header: FileHeader,
    is_cancelled: &AtomicBool,
) -> io::Result<u64> {
    let name = snapshot_name(header.number);
    let temporary_name = temporary(&name);
    let written = write_temporary(disk, table, header, &temporary_name, is_cancelled);
    let length = written.inspect_err(|_| {
        // The room may be what somebody is waiting for. If it fails, the next opening does it.
        let _ = disk.remove(&temporary_name);
    })?;
    disk.rename(&temporary_name, &name)?;
    disk.sync_directory()?;
    remove_before(disk, header.number)?;
    Ok(length)
}

/// Removes snapshots and logs that the snapshot of this number replaces.
pub(super) fn remove_before(disk: &dyn Disk, number: u64) -> io::Result<usize> {
    let mut removed = 0;
    for name in disk.list()? {
        let old = number_of(&name, "log-").or_else(|| number_of(&name, "snapshot-"));
        if old.is_some_and(|old| old < number) {
            disk.remove(&name)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The number in a file's name, if it is such a name.
pub(super) fn number_of(name: &str, prefix: &str) -> Option<u64> {
    let number = name.strip_prefix(prefix)?.parse().ok()?;
    // The one spelling that is written.
    (name == log_name(number) || name == snapshot_name(number)).then_some(number)
}

fn write_temporary(
    disk: &dyn Disk,
    table: &Table,
    header: FileHeader,
    name: &str,
    is_cancelled: &AtomicBool,
) -> io::Result<u64> {
    let mut file = disk.create(name)?;
    let header_bytes = header.to_bytes();
    write_all_at(&mut *file, 0, &header_bytes)?;
    let mut blocks = Blocks {
        file,
        file_number: header.number,
        position: header_bytes.len() as u64,
        next_block: 0,
        block: FrameBuilder::new(),
        is_cancelled,
    };
    blocks.block.push(Item::SnapshotBegin { users: table.users() });
    let (mut users, mut documents) = (0, 0);
    for chunk in table.chunks() {
        let mut from = Some(0);
        while let Some(place) = from {
            from = table.visit_chunk(chunk, place, |user, bytes| {
                blocks.block.push(Item::User(user, bytes));
                users += 1;
                if blocks.block.payload_bytes() < BLOCK_BYTES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            blocks.write_if_full()?;
        }
    }
    let mut after = None;
    loop {
        let some = table.documents_after(after.as_ref(), DOCUMENTS_AT_ONCE);
        let Some((last, _)) = some.last() else { break };
        after = Some(last.clone());
        for ((kind, key), body) in &some {
            blocks.block.push(Item::Document(*kind, key, Some(body)));
            documents += 1;
            blocks.write_if_full()?;
        }
    }
    blocks.write_log(table)?;
    let latest = table.latest().map(|latest| (latest.as_second(), latest.subsec_nanosecond()));
    blocks.block.push(Item::SnapshotEnd { users, documents, latest });
    blocks.write_block()?;
    blocks.file.sync()?;
    Ok(blocks.position)
}

struct Blocks<'a> {
    file: Box<dyn WriteFile>,
    file_number: u64,
    position: u64,
    next_block: u64,
    block: FrameBuilder,
    is_cancelled: &'a AtomicBool,
}

impl Blocks<'_> {
    /// The log of changes as far as it goes now. What is forgotten meanwhile is left out, and reading begins after it.
    fn write_log(&mut self, table: &Table) -> io::Result<()> {
        let mut after = Position(0);
        loop {
            let read = table.read_log(after, ENTRIES_AT_ONCE);
            match read {
                LogRead::Behind { oldest, .. } => after = Position(oldest.0 - 1),
                LogRead::Page { entries, end } => {
                    for LogEntry { position, user, change } in &entries {
                        self.block.push(Item::Change(*user, *position, *change));
                        self.write_if_full()?;
                        after = *position;
                    }
                    if entries.is_empty() {
                        self.block.push(Item::LogEnd(end));
                        return Ok(());
                    }
                }
            }
        }
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.block.payload_bytes() < BLOCK_BYTES { Ok(()) } else { self.write_block() }
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is closing"));
        }
        let frame = self.block.frame_mut();
        finish_frame(frame, self.file_number, self.next_block);
        write_all_at(&mut *self.file, self.position, frame)?;
        self.position += frame.len() as u64;
        self.next_block += 1;
        self.block.clear();
        Ok(())
    }
}

/// What was in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) header: FileHeader,
    pub(super) bytes: u64,
}

/// Reads a snapshot into an empty table. All of it is there as it was written, or this is an error.
pub(super) fn load(disk: &dyn Disk, number: u64, table: &Table) -> Result<Loaded, OpenError> {
    let mut reader = FrameReader::open(disk, &snapshot_name(number), FileKind::Snapshot, number)?;
    let bytes = reader.length();
    let header = reader.header();
    let (mut batch, mut carried) = (Batch::new(Source::Snapshot), Carried::default());
    let mut block;
    (carried.users, block) = append_users(&mut reader, table)?;
    while reader.position() < bytes {
        let offset = reader.position();
        let Next::Frame(payload) = reader.next(block)? else {
            return Err(reader.damaged("a block is not as it was written"));
        };
        block += 1;
        let is_full = batch.push(offset, payload);
        if is_full || reader.position() >= bytes {
            batch.carry_out(table, &mut carried).map_err(|Refused { offset, what }| {
                let path = reader.path().into();
                OpenError::Damaged { path, offset, what }
            })?;
        }
    }
    let Some(End { users, documents, latest }) = carried.end else {
        return Err(reader.damaged("it ends before its end"));
    };
    if (carried.users, carried.documents) != (users, documents) {
        return Err(reader.damaged("it does not hold as much as it says"));
    }
    if let Some((seconds, nanos)) = latest {
        let latest = presence::Timestamp::new(seconds, nanos);
        let latest = latest.map_err(|_| reader.damaged("it names an instant that does not exist"))?;
        table.restore_latest(Some(latest));
    }
    Ok(Loaded { header, bytes })
}
