//! Reading files back, frame by frame, and telling a torn tail from damage.
//!
//! A group is written only after the one before it is durable, and answered only when it is durable itself. So an
//! invalid frame that nothing follows is the group a crash interrupted: nobody was told that it was kept, and it is
//! dropped and reported. An invalid frame that a later group does follow held something that was acknowledged; so did
//! a file that ends before the zeros that always stand behind the last frame. Neither is read past.

use std::io;

use parking_lot::Mutex;

use super::OpenError;
use super::frame::{
    FILE_HEADER_BYTES, FORMAT, FRAME_HEADER_BYTES, FRAME_MAGIC, FileHeader, FileHeaderError, FileKind,
    FrameHeader,
};
use super::log::TAIL_BYTES;
use crate::disk::{Disk, ReadFile};

/// How much is read at a time.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A file being read from its beginning.
pub(super) struct FrameReader {
    file: Box<dyn ReadFile>,
    /// For messages.
    path: String,
    header: FileHeader,
    length: u64,
    /// Where the next frame begins.
    position: u64,
    window: Window,
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A valid frame with the number that was asked for.
    Frame(&'a [u8]),
    /// Anything else.
    NoFrame,
}

/// What a log ends with, behind the last valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros: nothing was ever begun.
    Clean,
    /// This many bytes of a group that was never acknowledged.
    Torn { bytes: u64 },
}

impl FrameReader {
    /// Opens a file and reads its header.
    pub(super) fn open(disk: &dyn Disk, name: &str, kind: FileKind, number: u64) -> Result<Self, OpenError> {
        let path = disk.describe(name);
        let failed = |source| OpenError::Io { action: "reading", path: path.clone(), source };
        let file = disk.open(name).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let mut bytes = [0; FILE_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(failed)?;
        let header = match FileHeader::parse(&bytes[..read], kind) {
            Ok(header) if header.number == number => header,
            Ok(_) => return Err(damaged(&path, 0, "it has been given the name of another file")),
            Err(FileHeaderError::Damaged) => {
                return Err(damaged(&path, 0, "its header is not as it was written"));
            }
            Err(FileHeaderError::NotOurs) => return Err(OpenError::NotOurs { path }),
            Err(FileHeaderError::Format(found)) => {
                return Err(OpenError::Format { path, found, supported: FORMAT });
            }
        };
        let position = FILE_HEADER_BYTES as u64;
        Ok(Self { file, path, header, length, position, window: Window::default() })
    }

    pub(super) fn header(&self) -> FileHeader {
        self.header
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Damage at the place where reading has stopped.
    pub(super) fn damaged(&self, what: impl Into<String>) -> OpenError {
        damaged(&self.path, self.position, what)
    }

    /// The frame at the current position, if it is valid and has this number.
    pub(super) fn next(&mut self, number: u64) -> Result<Next<'_>, OpenError> {
        let Some(header) = self.frame_header(self.position)?.filter(|header| header.number == number) else {
            return Ok(Next::NoFrame);
        };
        let from = self.position + FRAME_HEADER_BYTES as u64;
        let to = from + header.payload_bytes as u64;
        if to > self.length {
            return Ok(Next::NoFrame);
        }
        let read = self.window.read(&*self.file, from, header.payload_bytes);
        let payload =
            read.map_err(|source| OpenError::Io { action: "reading", path: self.path.clone(), source })?;
        if !header.matches(payload, self.header.number) {
            return Ok(Next::NoFrame);
        }
        self.position = to;
        Ok(Next::Frame(payload))
    }

    /// Frames from the current position on, which is not moved, for several threads to take. The first has this number.
    pub(super) fn shared(&self, number: u64) -> SharedFrames<'_> {
        let (position, last) = (self.position, u64::MAX);
        SharedFrames { reader: self, next: Mutex::new(Taking { position, number, last }) }
    }

    /// Goes on elsewhere: at the end of a frame.
    pub(super) fn go_on_at(&mut self, position: u64) {
        self.position = position;
    }

    fn frame_header(&mut self, at: u64) -> Result<Option<FrameHeader>, OpenError> {
        if at + FRAME_HEADER_BYTES as u64 > self.length {
            return Ok(None);
        }
        let read = self.window.read(&*self.file, at, FRAME_HEADER_BYTES);
        let bytes =
            read.map_err(|source| OpenError::Io { action: "reading", path: self.path.clone(), source })?;
        Ok(FrameHeader::parse(bytes, self.header.number))
    }

    /// What stands behind the last valid frame of the last log, in which group `number` would come next.
    pub(super) fn tail(&mut self, number: u64) -> Result<Tail, OpenError> {
        let cut_short = "it is shorter than it was when this was written";
        let mut search_from = self.position + 1;
        match self.frame_header(self.position)? {
            Some(header) if header.number == number => {
                let end = self.position + (FRAME_HEADER_BYTES + header.payload_bytes) as u64;
                if end + TAIL_BYTES > self.length {
                    return Err(self.damaged(cut_short));
                }
                // Its length is known to be right, so what is within it is data, whatever it looks like.
                search_from = end;
            }
            Some(_) => search_from = self.position,
            None if self.position + TAIL_BYTES > self.length => return Err(self.damaged(cut_short)),
            None => {}
        }
        let Scan { later_group, last_byte } = self.scan(self.position, search_from, number)?;
        if let Some((group, offset)) = later_group {
            let what = format!("group {number} cannot be read, but group {group} at offset {offset} can");
            return Err(self.damaged(what));
        }
        Ok(match last_byte {
            Some(at) => Tail::Torn { bytes: at + 1 - self.position },
            None => Tail::Clean,
        })
    }

    /// Looks through the rest of the file for a later group's header from `search_from` on. One is proof enough: it
    /// was begun after group `number` was durable.
    fn scan(&mut self, from: u64, search_from: u64, number: u64) -> Result<Scan, OpenError> {
        let mut scan = Scan { later_group: None, last_byte: None };
        let mut buffer = vec![0; window_bytes(self.length - from)];
        let mut at = from;
        while at < self.length {
            let read = self.file.read_at(at, &mut buffer);
            let read =
                read.map_err(|source| OpenError::Io { action: "reading", path: self.path.clone(), source })?;
            let bytes = &buffer[..read];
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                scan.last_byte = Some(at + last as u64);
                for start in memchr_all(bytes, FRAME_MAGIC[0]) {
                    let offset = at + start as u64;
                    let header = FrameHeader::parse(&bytes[start..], self.header.number);
                    if let Some(header) =
                        header.filter(|header| offset >= search_from && header.number > number)
                    {
                        scan.later_group = Some((header.number, offset));
                        return Ok(scan);
                    }
                }
            }
            if read == 0 || at + read as u64 >= self.length {
                break;
            }
            // A header may lie across two windows.
            at += (read - FRAME_HEADER_BYTES.min(read - 1)) as u64;
        }
        Ok(scan)
    }
}

/// Frames of a file whose end is known, each taken by one of several threads, which reads and checks it.
pub(super) struct SharedFrames<'a> {
    reader: &'a FrameReader,
    next: Mutex<Taking>,
}

struct Taking {
    position: u64,
    number: u64,
    /// No frame with a higher number is taken.
    last: u64,
}

/// A frame that a thread has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) number: u64,
    header: FrameHeader,
}

impl SharedFrames<'_> {
    /// The next frame; `None` when there are no more, or none is wanted any more.
    pub(super) fn take(&self) -> Result<Option<Taken>, OpenError> {
        let mut next = self.next.lock();
        let (offset, number) = (next.position, next.number);
        if offset >= self.reader.length || number > next.last {
            return Ok(None);
        }
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let read = self.reader.file.read_at(offset, &mut bytes).map_err(|source| self.failed(source))?;
        let header = FrameHeader::parse(&bytes[..read], self.reader.header.number);
        let Some(header) = header.filter(|header| header.number == number) else {
            return Err(self.damaged(offset));
        };
        next.position = offset + (FRAME_HEADER_BYTES + header.payload_bytes) as u64;
        if next.position > self.reader.length {
            return Err(self.damaged(offset));
        }
        next.number += 1;
        Ok(Some(Taken { offset, number, header }))
    }

    /// The payload of a frame, over what is in `payload`.
    pub(super) fn read(&self, taken: &Taken, payload: &mut Vec<u8>) -> Result<(), OpenError> {
        payload.resize(taken.header.payload_bytes, 0);
        let from = taken.offset + FRAME_HEADER_BYTES as u64;
        let read = self.reader.file.read_at(from, payload).map_err(|source| self.failed(source))?;
        if taken.header.matches(&payload[..read], self.reader.header.number) {
            Ok(())
        } else {
            Err(self.damaged(taken.offset))
        }
    }

    /// Lets no frame after this one be taken.
    pub(super) fn end_with(&self, number: u64) {
        let mut next = self.next.lock();
        next.last = next.last.min(number);
    }

    /// Where the first frame begins that has not been taken, and its number.
    pub(super) fn position(&self) -> (u64, u64) {
        let next = self.next.lock();
        (next.position, next.number)
    }

    fn failed(&self, source: io::Error) -> OpenError {
        OpenError::Io { action: "reading", path: self.reader.path.clone(), source }
    }

    fn damaged(&self, offset: u64) -> OpenError {
        damaged(&self.reader.path, offset, "a block is not as it was written")
    }
}

struct Scan {
    later_group: Option<(u64, u64)>,
    last_byte: Option<u64>,
}

fn memchr_all(bytes: &[u8], wanted: u8) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(move |(_, byte)| **byte == wanted).map(|(at, _)| at)
}

fn damaged(path: &str, offset: u64, what: impl Into<String>) -> OpenError {
    OpenError::Damaged { path: path.into(), offset, what: what.into() }
}

fn window_bytes(rest: u64) -> usize {
    rest.min(WINDOW_BYTES as u64) as usize
}

/// The part of a file that is in memory.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// So many bytes of the file, which has them.
    fn read(&mut self, file: &dyn ReadFile, at: u64, length: usize) -> io::Result<&[u8]> {
        let in_window = at.checked_sub(self.start).and_then(|from| {
            let from = usize::try_from(from).ok()?;
            (from.checked_add(length)? <= self.bytes.len()).then_some(from)
        });
        let from = match in_window {
            Some(from) => from,
            None => {
                self.bytes.resize(length.max(window_bytes(file.length()?.saturating_sub(at))), 0);
                let read = file.read_at(at, &mut self.bytes)?;
                self.bytes.truncate(read);
                self.start = at;
                0
            }
        };
        self.bytes.get(from..from + length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
