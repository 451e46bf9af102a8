//! What stands in a frame: entries one after the other, in postcard's form.
//!
//! The order of [`Entry`]'s variants is part of the format. A user's entry names no tenant: the last
//! [`Entry::Tenant`] of the same frame does, since most frames are about one.

use presence::{TenantId, UserId, UserKey};
use serde::{Deserialize, Serialize, Serializer};

use super::frame::FRAME_HEADER_BYTES;
use crate::DocumentKind;

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Entry<'a> {
    Tenant([u8; 16]),
    User([u8; 16], #[serde(borrow)] Bytes<'a>),
    PutDocument(u8, #[serde(borrow)] Bytes<'a>, Bytes<'a>),
    DeleteDocument(u8, #[serde(borrow)] Bytes<'a>),
    Continued,
    Closed,
    SnapshotBegin(u64),
    SnapshotEnd { users: u64, documents: u64, latest: Option<(i64, i32)> },
}

/// Bytes as one piece: serde would take a slice for a sequence and go through it one by one.
#[derive(Clone, Copy, Deserialize)]
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// An entry as everybody else sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A user's record, in the form of [`crate::record`].
    User(UserKey, &'a [u8]),
    /// A document; `None` deletes it.
    Document(DocumentKind, &'a [u8], Option<&'a [u8]>),
    /// The last of a log: there is another log after this one.
    Continued,
    /// The last of a log: the store was closed in order.
    Closed,
    /// The first of a snapshot: about how many users follow.
    SnapshotBegin { users: u64 },
    /// The last of a snapshot: how much it holds, and the latest settlement as seconds and nanoseconds.
    SnapshotEnd { users: u64, documents: u64, latest: Option<(i64, i32)> },
}

/// Bytes with a good checksum that are nevertheless not entries: a mistake of the program that wrote them, or of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Builds a frame: room for its header, then entries.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    bytes: Vec<u8>,
    tenant: Option<TenantId>,
}

impl FrameBuilder {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES], tenant: None }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
        self.tenant = None;
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.bytes.len() - FRAME_HEADER_BYTES
    }

    /// The frame, its header yet to be filled in.
    pub(super) fn frame_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn push(&mut self, item: Item<'_>) {
        match item {
            Item::User(UserKey { tenant, user }, record) => {
                if self.tenant != Some(tenant) {
                    self.write(Entry::Tenant(tenant.as_u128().to_be_bytes()));
                    self.tenant = Some(tenant);
                }
                self.write(Entry::User(user.as_u128().to_be_bytes(), Bytes(record)));
            }
            Item::Document(kind, key, Some(body)) => {
                self.write(Entry::PutDocument(kind_code(kind), Bytes(key), Bytes(body)));
            }
            Item::Document(kind, key, None) => {
                self.write(Entry::DeleteDocument(kind_code(kind), Bytes(key)));
            }
            Item::Continued => self.write(Entry::Continued),
            Item::Closed => self.write(Entry::Closed),
            Item::SnapshotBegin { users } => self.write(Entry::SnapshotBegin(users)),
            Item::SnapshotEnd { users, documents, latest } => {
                self.write(Entry::SnapshotEnd { users, documents, latest });
            }
        }
    }

    fn write(&mut self, entry: Entry<'_>) {
        match postcard::to_extend(&entry, std::mem::take(&mut self.bytes)) {
            Ok(bytes) => self.bytes = bytes,
            Err(error) => unreachable!("an entry has a form whatever it holds: {error}"),
        }
    }
}

/// Reads a frame's payload.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    tenant: Option<TenantId>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, tenant: None }
    }

    fn read(&mut self) -> Result<Item<'a>, Malformed> {
        loop {
            let (entry, rest): (Entry<'a>, _) =
                postcard::take_from_bytes(self.rest).map_err(|_| Malformed)?;
            self.rest = rest;
            return Ok(match entry {
                Entry::Tenant(tenant) => {
                    self.tenant = Some(TenantId::from_u128(u128::from_be_bytes(tenant)));
                    continue;
                }
                Entry::User(user, record) => {
                    let tenant = self.tenant.ok_or(Malformed)?;
                    let user = UserId::from_u128(u128::from_be_bytes(user));
                    Item::User(UserKey { tenant, user }, record.0)
                }
                Entry::PutDocument(kind, key, body) => Item::Document(kind_of(kind)?, key.0, Some(body.0)),
                Entry::DeleteDocument(kind, key) => Item::Document(kind_of(kind)?, key.0, None),
                Entry::Continued => Item::Continued,
                Entry::Closed => Item::Closed,
                Entry::SnapshotBegin(users) => Item::SnapshotBegin { users },
                Entry::SnapshotEnd { users, documents, latest } => {
                    Item::SnapshotEnd { users, documents, latest }
                }
            });
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

const fn kind_code(kind: DocumentKind) -> u8 {
    match kind {
        DocumentKind::DirectoryUser => 1,
        // 2 and 3 are those of change notifications.
        DocumentKind::Application => 4,
        DocumentKind::TenantSettings => 5,
    }
}

const fn kind_of(code: u8) -> Result<DocumentKind, Malformed> {
    match code {
        1 => Ok(DocumentKind::DirectoryUser),
        4 => Ok(DocumentKind::Application),
        5 => Ok(DocumentKind::TenantSettings),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(tenant: u128, user: u128) -> UserKey {
        UserKey { tenant: TenantId::from_u128(tenant), user: UserId::from_u128(user) }
    }

    #[test]
    fn entries_are_read_as_they_were_pushed() {
        let kind = DocumentKind::DirectoryUser;
        let items = [
            Item::SnapshotBegin { users: 3 },
            Item::User(user(1, 1), b"one"),
            Item::User(user(1, 2), b""),
            Item::User(user(2, 1), &[7; 300]),
            Item::User(user(1, 3), b"back"),
            Item::Document(kind, b"key", Some(b"body")),
            Item::Document(kind, b"", Some(b"")),
            Item::Document(kind, b"key", None),
            Item::Continued,
            Item::Closed,
            Item::SnapshotEnd { users: 4, documents: 1, latest: Some((-5, 999)) },
        ];
        let mut frame = FrameBuilder::new();
        for item in items {
            frame.push(item);
        }
        let payload = &frame.frame_mut()[FRAME_HEADER_BYTES..];
        let read: Result<Vec<_>, _> = Entries::new(payload).collect();
        assert_eq!(read.unwrap(), items);
        for length in 0..payload.len() {
            let _ = Entries::new(&payload[..length]).count();
        }
        assert_eq!(Entries::new(&[1; 40]).next(), Some(Err(Malformed)), "a user of no tenant");
    }
}
