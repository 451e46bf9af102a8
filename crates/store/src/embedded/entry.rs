//! What stands in a frame: entries one after the other, in postcard's form.
//!
//! The order of [`Entry`]'s variants is part of the format. A user's entry names no tenant: the last
//! [`Entry::Tenant`] of the same frame does, since most frames are about one. Likewise a change names no user: the last
//! [`Entry::User`] or [`Entry::Changed`] does. Those from [`Entry::Changed`] on came with format 2.

use presence::{Change, SequenceNumber, TenantId, Timestamp, UserId, UserKey};
use serde::{Deserialize, Serialize, Serializer};

use super::frame::FRAME_HEADER_BYTES;
use crate::changelog::{activity_code, availability_code, pair_of};
use crate::record::{Span, plain};
use crate::{DocumentKind, Position};

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
    Changed([u8; 16]),
    Change { position: u64, at: Span, pair: (u8, u8), is_pair_changed: bool, sequence_number: u64 },
    LogEnd(u64),
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
    /// An entry of the log of visible changes.
    Change(UserKey, Position, Change),
    /// In a snapshot: the last position that was given, also when its entry is not retained.
    LogEnd(Position),
}

/// Bytes with a good checksum that are nevertheless not entries: a mistake of the program that wrote them, or of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Builds a frame: room for its header, then entries.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    bytes: Vec<u8>,
    tenant: Option<TenantId>,
    user: Option<UserKey>,
}

impl FrameBuilder {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES], tenant: None, user: None }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
        (self.tenant, self.user) = (None, None);
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
            Item::User(key, record) => {
                self.name_tenant(key.tenant);
                put_user(&mut self.bytes, &key.user.as_u128().to_be_bytes(), record);
                self.user = Some(key);
            }
            Item::Change(key, position, change) => {
                if self.user != Some(key) {
                    self.name_tenant(key.tenant);
                    self.write(Entry::Changed(key.user.as_u128().to_be_bytes()));
                    self.user = Some(key);
                }
                let whole = self.bytes.len();
                if put_change(&mut self.bytes, position, &change).is_some() {
                    return;
                }
                self.bytes.truncate(whole);
                let Change { at, pair, sequence_number, is_pair_changed } = change;
                self.write(Entry::Change {
                    position: position.0,
                    at: Span::between(Timestamp::UNIX_EPOCH, at),
                    pair: (availability_code(pair.availability), activity_code(pair.activity)),
                    is_pair_changed,
                    sequence_number: sequence_number.0,
                });
            }
            Item::LogEnd(position) => self.write(Entry::LogEnd(position.0)),
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

    fn name_tenant(&mut self, tenant: TenantId) {
        if self.tenant != Some(tenant) {
            self.write(Entry::Tenant(tenant.as_u128().to_be_bytes()));
            self.tenant = Some(tenant);
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
    user: Option<UserKey>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, tenant: None, user: None }
    }

    /// How many bytes have not been read.
    pub(super) fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    fn read(&mut self) -> Result<Item<'a>, Malformed> {
        if let Some((user, record, rest)) = user_entry(self.rest) {
            self.rest = rest;
            return Ok(Item::User(self.name_user(user)?, record));
        }
        if let Some((position, change, rest)) = change_entry(self.rest) {
            self.rest = rest;
            return Ok(Item::Change(self.user.ok_or(Malformed)?, position, change));
        }
        loop {
            let (entry, rest): (Entry<'a>, _) =
                postcard::take_from_bytes(self.rest).map_err(|_| Malformed)?;
            self.rest = rest;
            return Ok(match entry {
                Entry::Tenant(tenant) => {
                    self.tenant = Some(TenantId::from_u128(u128::from_be_bytes(tenant)));
                    continue;
                }
                Entry::User(user, record) => Item::User(self.name_user(user)?, record.0),
                Entry::Changed(user) => {
                    self.name_user(user)?;
                    continue;
                }
                Entry::Change {
                    position,
                    at,
                    pair: (availability, activity),
                    is_pair_changed,
                    sequence_number,
                } => {
                    let change = Change {
                        at: at.after(Timestamp::UNIX_EPOCH).map_err(|_| Malformed)?,
                        pair: pair_of(availability, activity).ok_or(Malformed)?,
                        sequence_number: SequenceNumber(sequence_number),
                        is_pair_changed,
                    };
                    Item::Change(self.user.ok_or(Malformed)?, Position(position), change)
                }
                Entry::LogEnd(position) => Item::LogEnd(Position(position)),
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

impl Entries<'_> {
    fn name_user(&mut self, user: [u8; 16]) -> Result<UserKey, Malformed> {
        let tenant = self.tenant.ok_or(Malformed)?;
        let key = UserKey { tenant, user: UserId::from_u128(u128::from_be_bytes(user)) };
        self.user = Some(key);
        Ok(key)
    }
}

/// The place of [`Entry::User`] among the variants, which is how postcard begins one.
const USER: u8 = 1;
/// That of [`Entry::Change`].
const CHANGE: u8 = 9;

/// What postcard makes of an [`Entry::User`].
fn put_user(bytes: &mut Vec<u8>, user: &[u8; 16], record: &[u8]) {
    bytes.push(USER);
    bytes.extend_from_slice(user);
    plain::put_number(bytes, record.len() as u64);
    bytes.extend_from_slice(record);
}

/// What postcard makes of an [`Entry::Change`]. After `None`, what stands there means nothing.
fn put_change(bytes: &mut Vec<u8>, position: Position, change: &Change) -> Option<()> {
    let Change { at, pair, sequence_number, is_pair_changed } = change;
    bytes.push(CHANGE);
    plain::put_number(bytes, position.0);
    plain::put_span(bytes, plain::nanos_of(*at)?)?;
    bytes.extend_from_slice(&[
        availability_code(pair.availability),
        activity_code(pair.activity),
        u8::from(*is_pair_changed),
    ]);
    plain::put_number(bytes, sequence_number.0);
    Some(())
}

/// An [`Entry::Change`] at the beginning, and the rest: the other kind of which there are many.
fn change_entry(bytes: &[u8]) -> Option<(Position, Change, &[u8])> {
    let (&CHANGE, bytes) = bytes.split_first()? else { return None };
    let mut bytes = plain::Reader(bytes);
    let position = Position(bytes.number()?);
    let at = plain::instant(bytes.span()?)?;
    let pair = pair_of(bytes.byte()?, bytes.byte()?)?;
    let is_pair_changed = match bytes.byte()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let sequence_number = SequenceNumber(bytes.number()?);
    Some((position, Change { at, pair, sequence_number, is_pair_changed }, bytes.0))
}

/// An [`Entry::User`] at the beginning, its record and the rest. Nearly all entries are of this kind, and reading them by hand
/// is several times as fast as byte by byte through serde. Whatever this does not make out, postcard decides about.
fn user_entry(bytes: &[u8]) -> Option<([u8; 16], &[u8], &[u8])> {
    let (&USER, bytes) = bytes.split_first()? else { return None };
    let (user, bytes) = bytes.split_first_chunk::<16>()?;
    let (first, bytes) = bytes.split_first()?;
    let (length, bytes) = match first {
        0..0x80 => (usize::from(*first), bytes),
        _ => {
            let (second, bytes) = bytes.split_first().filter(|(second, _)| **second < 0x80)?;
            (usize::from(*first & 0x7f) | usize::from(*second) << 7, bytes)
        }
    };
    let (record, rest) = bytes.split_at_checked(length)?;
    Some((*user, record, rest))
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
        DocumentKind::Subscription => 2,
        DocumentKind::DeliveryCursor => 3,
        DocumentKind::Application => 4,
        DocumentKind::TenantSettings => 5,
        DocumentKind::Secret => 6,
        DocumentKind::LifecycleEvent => 7,
        DocumentKind::IssuerKeys => 8,
        DocumentKind::MqttCursor => 9,
    }
}

const fn kind_of(code: u8) -> Result<DocumentKind, Malformed> {
    match code {
        1 => Ok(DocumentKind::DirectoryUser),
        2 => Ok(DocumentKind::Subscription),
        3 => Ok(DocumentKind::DeliveryCursor),
        4 => Ok(DocumentKind::Application),
        5 => Ok(DocumentKind::TenantSettings),
        6 => Ok(DocumentKind::Secret),
        7 => Ok(DocumentKind::LifecycleEvent),
        8 => Ok(DocumentKind::IssuerKeys),
        9 => Ok(DocumentKind::MqttCursor),
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
        let change = |second| Change {
            at: Timestamp::new(second, 123).unwrap(),
            pair: presence::Pair::OFFLINE,
            sequence_number: SequenceNumber(9),
            is_pair_changed: second > 0,
        };
        let items = [
            Item::SnapshotBegin { users: 3 },
            Item::User(user(1, 1), b"one"),
            Item::User(user(1, 2), b""),
            Item::User(user(2, 1), &[7; 300]),
            Item::User(user(1, 3), b"back"),
            Item::Change(user(1, 3), Position(7), change(-1)),
            Item::Change(user(1, 3), Position(8), change(1)),
            Item::Change(user(2, 3), Position(u64::MAX), change(1_700_000_000)),
            Item::Change(user(2, 4), Position(10), change(0)),
            Item::LogEnd(Position(10)),
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
        for item in items {
            let by_serde = match item {
                Item::User(key, record) => Entry::User(key.user.as_u128().to_be_bytes(), Bytes(record)),
                Item::Change(_, position, change) => Entry::Change {
                    position: position.0,
                    at: Span::between(Timestamp::UNIX_EPOCH, change.at),
                    pair: (availability_code(change.pair.availability), activity_code(change.pair.activity)),
                    is_pair_changed: change.is_pair_changed,
                    sequence_number: change.sequence_number.0,
                },
                _ => continue,
            };
            let by_serde = postcard::to_extend(&by_serde, Vec::new()).unwrap();
            let stands_there = payload.windows(by_serde.len()).any(|window| window == by_serde);
            assert!(stands_there, "{item:?} is not written as format 2 has it");
        }
        for length in 0..payload.len() {
            let _ = Entries::new(&payload[..length]).count();
        }
        assert_eq!(Entries::new(&[1; 40]).next(), Some(Err(Malformed)), "a user of no tenant");
        assert_eq!(Entries::new(&[9; 40]).next(), Some(Err(Malformed)), "a change of no user");
        for kind in DocumentKind::ALL {
            assert_eq!(kind_of(kind_code(kind)), Ok(kind));
        }
    }
}
