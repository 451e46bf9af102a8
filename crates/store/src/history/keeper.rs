//! The one thread that changes the files of a history: it gathers entries into groups, makes each durable, begins and
//! finishes segments, erases users and removes what is too old.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use presence::{Timestamp, UserKey};
use tokio::sync::{mpsc, oneshot};

use super::HistoryEntry;
use super::entry::{ERASED, encode};
use super::file::{Kept, Shared};
use super::segment::{
    BODY_CHECKSUM_AT, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, Heads, Index, SegmentReader, frame, index_name,
    segment_header, segment_name, unavailable, write_index,
};
use crate::StoreError;
use crate::disk::{WriteFile, write_all_at};

/// Most entries made durable together.
const GROUP_ENTRIES_MAX: usize = 1_024;
/// A segment takes no further group when it has grown to this.
pub(super) const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// What is written to see whether there is room again after a failure: more than most groups.
const PROBE_BYTES: usize = 64 * 1024;

pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

pub(super) enum Request {
    Append(Box<HistoryEntry>, Reply),
    /// Sees whether writing works again.
    Probe(Reply),
    Forget(UserKey, Reply),
    Trim(Timestamp, Reply),
    Close(Reply),
}

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    /// The segment that is being written.
    active: Option<Active>,
}

struct Active {
    file: Box<dyn WriteFile>,
    number: u64,
    bytes: u64,
    began: Timestamp,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, active: None }
    }

    /// Works until it is told to close, or until nobody can ask any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut next = queue.blocking_recv();
        while let Some(request) = next {
            next = None;
            match request {
                Request::Append(entry, reply) => {
                    let mut group = vec![(*entry, reply)];
                    while group.len() < GROUP_ENTRIES_MAX {
                        match queue.try_recv() {
                            Ok(Request::Append(entry, reply)) => group.push((*entry, reply)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append(group);
                }
                Request::Probe(reply) => {
                    let outcome = self.probe();
                    let _ = reply.send(outcome);
                }
                Request::Forget(user, reply) => {
                    let outcome = self.forget(user);
                    let _ = reply.send(outcome);
                }
                Request::Trim(now, reply) => {
                    let outcome = self.trim(now);
                    let _ = reply.send(outcome);
                }
                Request::Close(reply) => {
                    let outcome = self.finish();
                    self.shared.close();
                    let _ = reply.send(outcome);
                    return;
                }
            }
            if next.is_none() {
                next = queue.blocking_recv();
            }
        }
        let _ = self.finish();
    }

    fn append(&mut self, group: Vec<(HistoryEntry, Reply)>) {
        let mut encoded = Vec::with_capacity(group.len());
        for (entry, reply) in group {
            match encode(&entry) {
                Ok(body) => encoded.push((entry, body, reply)),
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        let Some(first) = encoded.first().map(|(entry, _, _)| entry.at()) else { return };
        match self.write(first, &encoded) {
            Ok(()) => {
                self.shared.succeeded();
                encoded.into_iter().for_each(|(_, _, reply)| drop(reply.send(Ok(()))));
            }
            Err(error) => {
                self.fail(&error);
                encoded.into_iter().for_each(|(_, _, reply)| drop(reply.send(Err(unavailable(&error)))));
            }
        }
    }

    fn write(&mut self, first: Timestamp, group: &[(HistoryEntry, Vec<u8>, Reply)]) -> io::Result<()> {
        self.roll(first)?;
        let active = match &mut self.active {
            Some(active) => active,
            None => self.active.insert(begin(&self.shared, first)?),
        };
        let mut bytes = Vec::new();
        // Where the users of this group will be, which nobody may know before it is durable.
        let mut heads: Heads = HashMap::new();
        for (entry, body, _) in group {
            let offset = active.bytes + bytes.len() as u64;
            let known = heads.get(&entry.user).copied();
            let previous = known.or_else(|| self.shared.head_in_memory(active.number, &entry.user));
            frame(active.number, previous.unwrap_or_default(), body, &mut bytes);
            heads.insert(entry.user, offset);
        }
        write_all_at(&mut *active.file, active.bytes, &bytes)?;
        active.file.sync()?;
        active.bytes += bytes.len() as u64;
        self.shared.show(active.number, active.bytes, heads, group.iter().map(|(entry, _, _)| entry.at()));
        Ok(())
    }

    /// Finishes the segment that is being written when it has grown large or old.
    fn roll(&mut self, now: Timestamp) -> io::Result<()> {
        let is_full = self.active.as_ref().is_some_and(|active| {
            let old = active.began.saturating_add(self.shared.segment_age()).unwrap_or(Timestamp::MAX);
            active.bytes >= SEGMENT_BYTES || old <= now
        });
        if is_full { self.finish_active() } else { Ok(()) }
    }

    /// What was half written must not be followed by anything: the segment ends before it.
    fn fail(&mut self, error: &io::Error) {
        self.shared.failed(error);
        // Its index may have to wait until there is room.
        let _ = self.finish_active();
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let work = || {
            let now = Timestamp::MIN;
            let mut active = begin(&self.shared, now)?;
            let mut bytes = Vec::new();
            frame(active.number, 0, &vec![ERASED; PROBE_BYTES], &mut bytes);
            write_all_at(&mut *active.file, active.bytes, &bytes)?;
            active.file.sync()?;
            io::Result::Ok(active.number)
        };
        let outcome = work();
        match outcome {
            Ok(number) => {
                self.shared.drop_segments(&[number]).map_err(|error| unavailable(&error))?;
                self.shared.succeeded();
                Ok(())
            }
            Err(error) => {
                self.shared.failed(&error);
                // Nothing of anybody is in it.
                let _ = self.shared.drop_empty();
                Err(unavailable(&error))
            }
        }
    }

    fn finish_active(&mut self) -> io::Result<()> {
        self.active = None;
        self.index_finished()
    }

    /// Writes the indexes that are missing, and lets go of what they say.
    fn index_finished(&self) -> io::Result<()> {
        let active = self.active.as_ref().map(|active| active.number);
        for number in self.shared.in_memory().into_iter().filter(|number| Some(*number) != active) {
            let Some((bounds, heads)) = self.shared.memory_of(number) else { continue };
            if heads.is_empty() {
                self.shared.drop_segments(&[number])?;
                continue;
            }
            write_index(&*self.shared.disk, number, bounds, &heads)?;
            self.shared.replace_heads(number, Kept::Index);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.finish_active().map_err(|error| unavailable(&error))
    }

    /// Puts zeros over everything of a user, then takes them out of the indexes: whoever is interrupted can do it again.
    fn forget(&mut self, user: UserKey) -> Result<(), StoreError> {
        let _alone = self.shared.erasing.write();
        for number in self.shared.numbers() {
            let Some(head) = self.shared.head(number, &user)? else { continue };
            let reader =
                SegmentReader::open(&*self.shared.disk, number).map_err(|error| unavailable(&error))?;
            let mut offset = head;
            let mut erase = || {
                let mut file = self.shared.disk.reopen(&segment_name(number)).map_err(|e| unavailable(&e))?;
                while offset != 0 {
                    let head = reader.head(offset)?;
                    // Checksum and body stand side by side.
                    let zeros = vec![0; FRAME_HEADER_BYTES - BODY_CHECKSUM_AT as usize + head.body_bytes];
                    write_all_at(&mut *file, offset + BODY_CHECKSUM_AT, &zeros)
                        .map_err(|e| unavailable(&e))?;
                    offset = head.previous;
                }
                file.sync().map_err(|e| unavailable(&e))
            };
            erase()?;
            match self.shared.memory_of(number) {
                Some(_) => self.shared.remove_head(number, &user),
                None => {
                    let index = Index::open(&*self.shared.disk, number)?;
                    let mut heads = index.heads()?;
                    heads.remove(&user);
                    write_index(&*self.shared.disk, number, index.bounds, &heads)
                        .map_err(|error| unavailable(&error))?;
                }
            }
        }
        Ok(())
    }

    fn trim(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut work = || {
            self.roll(now)?;
            self.index_finished()?;
            let gone = self.shared.beyond_retention(now, self.active.as_ref().map(|active| active.number));
            self.shared.drop_segments(&gone)
        };
        work().map_err(|error| unavailable(&error))
    }
}

/// A new segment, empty and durable.
fn begin(shared: &Shared, now: Timestamp) -> io::Result<Active> {
    let number = shared.add_segment();
    let mut file = shared.disk.create(&segment_name(number))?;
    write_all_at(&mut *file, 0, &segment_header(number))?;
    file.sync()?;
    shared.disk.sync_directory()?;
    Ok(Active { file, number, bytes: FILE_HEADER_BYTES as u64, began: now })
}

/// Removes the files of a segment. An index that a crash leaves behind goes when the history is opened.
pub(super) fn remove_files(shared: &Shared, number: u64) -> io::Result<()> {
    for name in [segment_name(number), index_name(number)] {
        match shared.disk.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
