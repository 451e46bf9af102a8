//! The two files of a segment: entries in the order of their writes, and, once it is finished, where each user's last
//! one is.
//!
//! ```text
//! segment    file header 24       magic 8 | format 4 | number 8 | checksum 4
//!            then frames 24 + n   magic 4 | body length 4 | previous of the same user 8 | header checksum 4 |
//!                                 body checksum 4 | body
//! index      file header 24, then
//!            bounds 36            first instant 12 | last instant 12 | rows 8 | checksum 4
//!            rows 44, by user     tenant 16 | user 16 | last entry 8 | checksum 4
//! ```
//! All integers are little-endian but those of ids, which sort as they are. Checksums are CRC-32 and start from the
//! segment's number. The checksum of a frame's header is not over that of its body: an entry is erased by putting zeros
//! over body and checksum, and the way through it to older ones stays.

use std::collections::HashMap;
use std::io;

use crc32fast::Hasher;
use presence::{TenantId, Timestamp, UserId, UserKey};

use super::HistoryEntry;
use super::entry::{ENTRY_BYTES_MAX, ERASED, decode};
use crate::StoreError;
use crate::disk::{Disk, ReadFile, write_all_at};

/// The format of both files.
const FORMAT: u32 = 1;
const SEGMENT_MAGIC: [u8; 8] = *b"\x89PrsHis\n";
const INDEX_MAGIC: [u8; 8] = *b"\x89PrsHix\n";
const FRAME_MAGIC: [u8; 4] = [0xf7, b'H', 0x1d, 0xa5];
pub(super) const FILE_HEADER_BYTES: usize = 24;
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Where the checksum of the body stands in a frame's header.
pub(super) const BODY_CHECKSUM_AT: u64 = 20;
const BOUNDS_BYTES: usize = 36;
const ROW_BYTES: usize = 44;

const SEGMENT_SUFFIX: &str = ".history";
const INDEX_SUFFIX: &str = ".index";
/// What an index is called until it is whole.
pub(super) const UNFINISHED_SUFFIX: &str = ".unfinished";

pub(super) fn segment_name(number: u64) -> String {
    format!("{number:016x}{SEGMENT_SUFFIX}")
}

pub(super) fn index_name(number: u64) -> String {
    format!("{number:016x}{INDEX_SUFFIX}")
}

/// The number of a segment's file.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(SEGMENT_SUFFIX)?, 16).ok()
}

/// The number of an index.
pub(super) fn index_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(INDEX_SUFFIX)?, 16).ok()
}

/// Whether this is a file of a history.
pub(super) fn is_ours(name: &str) -> bool {
    name.ends_with(SEGMENT_SUFFIX) || name.ends_with(INDEX_SUFFIX)
}

/// Where each user's last entry is.
pub(super) type Heads = HashMap<UserKey, u64>;

/// From when to when the entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Bounds {
    pub(super) const NONE: Self = Self { first: Timestamp::MAX, last: Timestamp::MIN };

    pub(super) fn include(&mut self, at: Timestamp) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }
}

fn checksum(number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(number as u32);
    hasher.update(bytes);
    hasher.finalize()
}

fn file_header(magic: [u8; 8], number: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.to_le_bytes());
    let sum = checksum(number, &bytes[..20]);
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(super) fn segment_header(number: u64) -> [u8; FILE_HEADER_BYTES] {
    file_header(SEGMENT_MAGIC, number)
}

/// A frame with this body.
pub(super) fn frame(number: u64, previous: u64, body: &[u8], into: &mut Vec<u8>) {
    let from = into.len();
    into.extend_from_slice(&FRAME_MAGIC);
    into.extend_from_slice(&(body.len() as u32).to_le_bytes());
    into.extend_from_slice(&previous.to_le_bytes());
    let sum = checksum(number, &into[from..from + 16]);
    into.extend_from_slice(&sum.to_le_bytes());
    into.extend_from_slice(&checksum(number, body).to_le_bytes());
    into.extend_from_slice(body);
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) body_bytes: usize,
    pub(super) previous: u64,
    body_checksum: u32,
}

/// The header of a frame at an offset; `None` when there is none.
fn parse_head(number: u64, offset: u64, bytes: &[u8]) -> Option<FrameHead> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let head = FrameHead {
        body_bytes: u32_at(header, 4) as usize,
        previous: u64_at(header, 8),
        body_checksum: u32_at(header, 20),
    };
    let is_whole = header[..4] == FRAME_MAGIC
        && u32_at(header, 16) == checksum(number, &header[..16])
        && head.body_bytes <= ENTRY_BYTES_MAX
        && head.previous < offset;
    is_whole.then_some(head)
}

/// What is in a body.
pub(super) enum Body {
    Entry(Box<HistoryEntry>),
    Erased,
}

fn parse_body(number: u64, head: FrameHead, body: &[u8]) -> Result<Body, StoreError> {
    if body.first().is_none_or(|format| *format == ERASED) && body.iter().all(|byte| *byte == 0) {
        return Ok(Body::Erased);
    }
    if checksum(number, body) != head.body_checksum {
        return Err(StoreError::Corrupt(format!("an entry of the history in segment {number:x}")));
    }
    Ok(Body::Entry(Box::new(decode(body)?)))
}

/// Reads frames of a segment.
pub(super) struct SegmentReader {
    number: u64,
    file: Box<dyn ReadFile>,
}

impl SegmentReader {
    pub(super) fn open(disk: &dyn Disk, number: u64) -> io::Result<Self> {
        Ok(Self { number, file: disk.open(&segment_name(number))? })
    }

    pub(super) fn head(&self, offset: u64) -> Result<FrameHead, StoreError> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        self.fill(offset, &mut bytes)?;
        parse_head(self.number, offset, &bytes).ok_or_else(|| self.damaged())
    }

    /// The frame at an offset: its header, and what it holds.
    pub(super) fn frame(&self, offset: u64) -> Result<(FrameHead, Body), StoreError> {
        let head = self.head(offset)?;
        let mut body = vec![0; head.body_bytes];
        self.fill(offset + FRAME_HEADER_BYTES as u64, &mut body)?;
        Ok((head, parse_body(self.number, head, &body)?))
    }

    fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        match self.file.read_at(offset, into) {
            Ok(read) if read == into.len() => Ok(()),
            Ok(_) => Err(self.damaged()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn damaged(&self) -> StoreError {
        StoreError::Corrupt(format!("segment {:x} of the history", self.number))
    }
}

/// What a segment without an index turned out to hold.
pub(super) struct Scan {
    pub(super) heads: Heads,
    pub(super) bounds: Bounds,
    pub(super) bytes: u64,
    /// What follows the last frame that is whole: a write that nobody was answered.
    pub(super) torn_bytes: u64,
    /// Entries whose body is damaged, with whole ones after them.
    pub(super) damaged: u64,
}

/// Reads a segment that has no index. One whose header was not written yet is an empty one.
pub(super) fn scan(disk: &dyn Disk, number: u64) -> io::Result<Scan> {
    let file = disk.open(&segment_name(number))?;
    let length = file.length()?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    let mut scan =
        Scan { heads: Heads::new(), bounds: Bounds::NONE, bytes: length, torn_bytes: 0, damaged: 0 };
    if bytes.get(..FILE_HEADER_BYTES) != Some(&segment_header(number)[..]) {
        scan.torn_bytes = length;
        return Ok(scan);
    }
    let mut at = FILE_HEADER_BYTES;
    // Bodies that are not whole count as damage only once a whole one follows.
    let mut doubtful = 0;
    let mut whole_to = at;
    while let Some(head) = parse_head(number, at as u64, &bytes[at..]) {
        let from = at + FRAME_HEADER_BYTES;
        let Some(body) = bytes.get(from..from + head.body_bytes) else { break };
        match parse_body(number, head, body) {
            Ok(found) => {
                if let Body::Entry(entry) = found {
                    scan.heads.insert(entry.user, at as u64);
                    scan.bounds.include(entry.at());
                }
                scan.damaged += std::mem::take(&mut doubtful);
                whole_to = from + head.body_bytes;
            }
            Err(_) => doubtful += 1,
        }
        at = from + head.body_bytes;
    }
    scan.torn_bytes = length - whole_to as u64;
    Ok(scan)
}

/// Writes an index beside its segment, whole or not at all.
pub(super) fn write_index(disk: &dyn Disk, number: u64, bounds: Bounds, heads: &Heads) -> io::Result<()> {
    let mut rows: Vec<([u8; 32], u64)> = heads.iter().map(|(user, head)| (key(user), *head)).collect();
    rows.sort_unstable();
    let mut bytes = file_header(INDEX_MAGIC, number).to_vec();
    let from = bytes.len();
    bytes.extend_from_slice(&instant(bounds.first));
    bytes.extend_from_slice(&instant(bounds.last));
    bytes.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    let sum = checksum(number, &bytes[from..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
    for (key, head) in rows {
        let from = bytes.len();
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&head.to_le_bytes());
        let sum = checksum(number, &bytes[from..]);
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
    let unfinished = format!("{}{UNFINISHED_SUFFIX}", index_name(number));
    let mut file = disk.create(&unfinished)?;
    write_all_at(&mut *file, 0, &bytes)?;
    file.sync()?;
    disk.rename(&unfinished, &index_name(number))?;
    disk.sync_directory()
}

/// An index, looked up where it lies.
pub(super) struct Index {
    number: u64,
    file: Box<dyn ReadFile>,
    pub(super) bounds: Bounds,
    rows: u64,
}

impl Index {
    /// Opens the index of a segment.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is not whole.
    pub(super) fn open(disk: &dyn Disk, number: u64) -> Result<Self, StoreError> {
        let file = disk.open(&index_name(number)).map_err(|error| unavailable(&error))?;
        let mut bytes = [0; FILE_HEADER_BYTES + BOUNDS_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(|error| unavailable(&error))?;
        let (header, bounds) = bytes.split_at(FILE_HEADER_BYTES);
        let is_whole = read == bytes.len()
            && *header == file_header(INDEX_MAGIC, number)
            && u32_at(bounds, 32) == checksum(number, &bounds[..32]);
        let parsed = (instant_at(bounds, 0), instant_at(bounds, 12));
        match parsed {
            (Some(first), Some(last)) if is_whole => {
                Ok(Self { number, file, bounds: Bounds { first, last }, rows: u64_at(bounds, 24) })
            }
            _ => Err(StoreError::Corrupt(format!("the index of segment {number:x} of the history"))),
        }
    }

    /// Where the last entry of a user is.
    pub(super) fn find(&self, user: &UserKey) -> Result<Option<u64>, StoreError> {
        let wanted = key(user);
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, head) = self.row(middle)?;
            match found.cmp(&wanted) {
                std::cmp::Ordering::Equal => return Ok(Some(head)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Every user's last entry.
    pub(super) fn heads(&self) -> Result<Heads, StoreError> {
        let mut heads = Heads::new();
        for row in 0..self.rows {
            let (key, head) = self.row(row)?;
            let (tenant, user) = key.split_at(16);
            let id = |bytes: &[u8]| bytes.iter().fold(0_u128, |id, byte| id << 8 | u128::from(*byte));
            let user = UserKey { tenant: TenantId::from_u128(id(tenant)), user: UserId::from_u128(id(user)) };
            heads.insert(user, head);
        }
        Ok(heads)
    }

    fn row(&self, row: u64) -> Result<([u8; 32], u64), StoreError> {
        let mut bytes = [0; ROW_BYTES];
        let at = (FILE_HEADER_BYTES + BOUNDS_BYTES) as u64 + row * ROW_BYTES as u64;
        let read = self.file.read_at(at, &mut bytes).map_err(|error| unavailable(&error))?;
        if read < ROW_BYTES || u32_at(&bytes, 40) != checksum(self.number, &bytes[..40]) {
            return Err(StoreError::Corrupt(format!(
                "the index of segment {:x} of the history",
                self.number
            )));
        }
        let mut key = [0; 32];
        key.copy_from_slice(&bytes[..32]);
        Ok((key, u64_at(&bytes, 32)))
    }
}

pub(super) fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("the history: {error}"))
}

fn key(user: &UserKey) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&user.tenant.as_u128().to_be_bytes());
    key[16..].copy_from_slice(&user.user.as_u128().to_be_bytes());
    key
}

fn instant(at: Timestamp) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&at.as_second().to_le_bytes());
    bytes[8..].copy_from_slice(&at.subsec_nanosecond().to_le_bytes());
    bytes
}

fn instant_at(bytes: &[u8], at: usize) -> Option<Timestamp> {
    Timestamp::new(u64_at(bytes, at).cast_signed(), u32_at(bytes, at + 8).cast_signed()).ok()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
