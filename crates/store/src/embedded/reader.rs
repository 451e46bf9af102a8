//! Reading files back, frame by frame, and telling a torn tail from damage.
//!
//! A group is written only after the one before it is durable, and answered only when it is durable itself. So an
//! invalid frame that nothing follows is the group a crash interrupted: nobody was told that it was kept, and it is
//! dropped and reported. An invalid frame that a later group does follow held something that was acknowledged; so did
//! a file that ends before the zeros that always stand behind the last frame. Neither is read past.

use std::io;

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
    payload: Vec<u8>,
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
        let (window, payload) = (Window::default(), Vec::new());
        Ok(Self { file, path, header, length, position, window, payload })
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
        self.payload.resize(header.payload_bytes, 0);
        let read = self.window.read(&*self.file, from, &mut self.payload);
        read.map_err(|source| OpenError::Io { action: "reading", path: self.path.clone(), source })?;
        if !header.matches(&self.payload, self.header.number) {
            return Ok(Next::NoFrame);
        }
        self.position = to;
        Ok(Next::Frame(&self.payload))
    }

    fn frame_header(&mut self, at: u64) -> Result<Option<FrameHeader>, OpenError> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        if at + bytes.len() as u64 > self.length {
            return Ok(None);
        }
        let read = self.window.read(&*self.file, at, &mut bytes);
        read.map_err(|source| OpenError::Io { action: "reading", path: self.path.clone(), source })?;
        Ok(FrameHeader::parse(&bytes, self.header.number))
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
    /// Fills the buffer from the file, which has that many bytes.
    fn read(&mut self, file: &dyn ReadFile, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let in_window = |window: &Self| {
            let from = usize::try_from(at.checked_sub(window.start)?).ok()?;
            window.bytes.get(from..from.checked_add(buffer.len())?).map(|bytes| (from, bytes.len()))
        };
        let Some((from, length)) = in_window(self) else {
            self.bytes.resize(buffer.len().max(window_bytes(file.length()?.saturating_sub(at))), 0);
            let read = file.read_at(at, &mut self.bytes)?;
            self.bytes.truncate(read);
            self.start = at;
            let bytes = self.bytes.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            return Ok(());
        };
        buffer.copy_from_slice(&self.bytes[from..from + length]);
        Ok(())
    }
}
