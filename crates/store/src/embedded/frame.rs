//! The framing of both kinds of file: a header that says what the file is, then numbered, checksummed frames.
//!
//! ```text
//! file header, 32 bytes     magic 8 | format 4 | file number 8 | first group 8 | checksum 4
//! frame header, 24 bytes    magic 4 | payload length 4 | number 8 | header checksum 4 | frame checksum 4
//! ```
//! All integers are little-endian. The file header keeps this layout in every format to come, so that any program
//! can say which one it found. A frame's length is believed only after its header's checksum has been, so nothing is
//! ever allocated or skipped on the word of a damaged byte. Checksums are CRC-32 and start from the file's number:
//! a frame is valid in its own file only.

use crc32fast::Hasher;

/// The format of the files that are written, both kinds. Format 1 had no log of changes and is otherwise the same, so
/// both are read by the same code.
pub(super) const FORMAT: u32 = 2;
/// The oldest format that is read.
const FORMAT_OLDEST: u32 = 1;
/// Length of a file header.
pub(super) const FILE_HEADER_BYTES: usize = 32;
/// Length of a frame header.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Longest payload of a frame. A group is bounded far below it; the largest batch of documents fits.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What every frame begins with: not text, and not what a record or a run of zeros looks like.
pub(super) const FRAME_MAGIC: [u8; 4] = [0xf7, b'P', 0x1d, 0xa5];

/// Which kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Log,
    Snapshot,
}

impl FileKind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Log => *b"\x89PrsLog\n",
            Self::Snapshot => *b"\x89PrsSna\n",
        }
    }
}

/// What stands at the beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) kind: FileKind,
    /// A log's place among the logs; of a snapshot, the first log that is not in it.
    pub(super) number: u64,
    /// The first group of a log; of a snapshot, of the first log that is not in it.
    pub(super) first_group: u64,
}

/// Why bytes are not the header of a file this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileHeaderError {
    NotOurs,
    Damaged,
    Format(u32),
}

impl FileHeader {
    pub(super) fn to_bytes(self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first_group.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8], kind: FileKind) -> Result<Self, FileHeaderError> {
        if bytes.len() < FILE_HEADER_BYTES {
            return Err(FileHeaderError::Damaged);
        }
        let is_intact = crc32fast::hash(&bytes[..28]) == u32_at(bytes, 28);
        let is_ours = bytes[..8] == kind.magic();
        match (is_ours, is_intact) {
            (true, true) => {}
            // One of the two is wrong: whose file it was can still be told, so it is ours and damaged.
            (true, false) | (false, true) => return Err(FileHeaderError::Damaged),
            (false, false) => return Err(FileHeaderError::NotOurs),
        }
        match u32_at(bytes, 8) {
            FORMAT_OLDEST..=FORMAT => {
                Ok(Self { kind, number: u64_at(bytes, 12), first_group: u64_at(bytes, 20) })
            }
            format => Err(FileHeaderError::Format(format)),
        }
    }
}

/// The header of a frame whose own checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) number: u64,
    pub(super) payload_bytes: usize,
    frame_checksum: u32,
}

impl FrameHeader {
    /// `None` for anything that was not written as a frame's header in this file.
    pub(super) fn parse(bytes: &[u8], file_number: u64) -> Option<Self> {
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        if header[..4] != FRAME_MAGIC || checksum(file_number, &header[..16]).finalize() != u32_at(header, 16)
        {
            return None;
        }
        let payload_bytes =
            usize::try_from(u32_at(header, 4)).ok().filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX)?;
        Some(Self { number: u64_at(header, 8), payload_bytes, frame_checksum: u32_at(header, 20) })
    }

    /// Whether the payload is the one this header was written for.
    pub(super) fn matches(&self, payload: &[u8], file_number: u64) -> bool {
        let mut checksum = checksum(file_number, &frame_fields(self.number, self.payload_bytes));
        checksum.update(payload);
        payload.len() == self.payload_bytes && checksum.finalize() == self.frame_checksum
    }
}

/// Fills in the header of a frame: its first [`FRAME_HEADER_BYTES`] bytes; the payload stands behind them.
pub(super) fn finish_frame(frame: &mut [u8], file_number: u64, number: u64) {
    let payload_bytes = frame.len() - FRAME_HEADER_BYTES;
    debug_assert!(payload_bytes <= PAYLOAD_BYTES_MAX);
    let fields = frame_fields(number, payload_bytes);
    let mut checksum = checksum(file_number, &fields);
    let header_checksum = checksum.clone().finalize();
    checksum.update(&frame[FRAME_HEADER_BYTES..]);
    frame[..16].copy_from_slice(&fields);
    frame[16..20].copy_from_slice(&header_checksum.to_le_bytes());
    frame[20..24].copy_from_slice(&checksum.finalize().to_le_bytes());
}

fn frame_fields(number: u64, payload_bytes: usize) -> [u8; 16] {
    let mut fields = [0; 16];
    fields[..4].copy_from_slice(&FRAME_MAGIC);
    fields[4..8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    fields[8..].copy_from_slice(&number.to_le_bytes());
    fields
}

fn checksum(file_number: u64, bytes: &[u8]) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&file_number.to_le_bytes());
    hasher.update(bytes);
    hasher
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_named() {
        let header = FileHeader { kind: FileKind::Log, number: 3, first_group: 9 };
        let mut bytes = header.to_bytes();
        assert_eq!(FileHeader::parse(&bytes, FileKind::Log), Ok(header));
        assert_eq!(FileHeader::parse(&bytes, FileKind::Snapshot), Err(FileHeaderError::Damaged));
        bytes[8] = 3;
        assert_eq!(FileHeader::parse(&bytes, FileKind::Log), Err(FileHeaderError::Damaged));
        let checksum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(FileHeader::parse(&bytes, FileKind::Log), Err(FileHeaderError::Format(3)));
        assert_eq!(FileHeader::parse(&[0; 32], FileKind::Log), Err(FileHeaderError::NotOurs));
    }

    #[test]
    fn a_frame_is_valid_in_its_own_file_only_and_with_every_bit_as_written() {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame.extend_from_slice(b"payload");
        finish_frame(&mut frame, 5, 77);
        let is_valid = |frame: &[u8], file| {
            FrameHeader::parse(frame, file).is_some_and(|header| {
                header.number == 77 && header.matches(&frame[FRAME_HEADER_BYTES..], file)
            })
        };
        assert!(is_valid(&frame, 5));
        assert!(!is_valid(&frame, 6));
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_valid(&frame, 5), "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
