//! Where things are: people and documents in buckets, each bucket under one hash tag and so in one slot of a cluster.
//!
//! A bucket is a handful of large keys and not many small ones: a slot that moves to another master moves in one step then,
//! and reading many people of one bucket is one command.

use presence::{TenantId, UserId, UserKey};

use crate::{DocumentKind, Position};

/// Slots of every cluster. Source: the Redis Cluster specification.
const SLOTS: usize = 16_384;
/// Most buckets of a store: their number has ten bits in a [`Position`].
pub const BUCKETS_MAX: u16 = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 10;

/// The keys of one bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) slot: u16,
    /// Hash: a user to a record.
    pub(super) users: String,
    /// Sorted set: a user by when it wants a look, in microseconds.
    pub(super) wakes: String,
    /// Stream: the visible changes.
    pub(super) log: String,
    /// Hash: counters, floors and the lease.
    pub(super) meta: String,
    /// Hash: who has the sole right to what, and until when.
    pub(super) claims: String,
    /// Stream: which documents were changed.
    pub(super) document_log: String,
    /// Hashes: the documents of each kind.
    pub(super) documents: [String; DocumentKind::ALL.len()],
}

impl Bucket {
    /// The key of the documents of a kind.
    pub(super) fn of(&self, kind: DocumentKind) -> &str {
        &self.documents[number_of(kind)]
    }
}

/// All buckets of a store, spread evenly over the slots.
pub(super) fn buckets(prefix: &str, count: u16) -> Vec<Bucket> {
    let count_wide = usize::from(count);
    let mut tags: Vec<Option<String>> = vec![None; count_wide];
    let mut left = count_wide;
    for number in 0_u32.. {
        if left == 0 {
            break;
        }
        let tag = number.to_string();
        // The bucket in whose share of the slots this tag falls: the first one that does is its tag for good.
        let place = &mut tags[usize::from(slot_of(tag.as_bytes())) * count_wide / SLOTS];
        if place.is_none() {
            *place = Some(tag);
            left -= 1;
        }
    }
    let bucket = |tag: String| {
        let key = |name: &str| format!("{prefix}:{{{tag}}}:{name}");
        Bucket {
            slot: slot_of(tag.as_bytes()),
            users: key("users"),
            wakes: key("wakes"),
            log: key("log"),
            meta: key("meta"),
            claims: key("claims"),
            document_log: key("document-log"),
            documents: DocumentKind::ALL.map(|kind| key(name_of(kind))),
        }
    };
    tags.into_iter().flatten().map(bucket).collect()
}

/// The name of a kind in a key.
fn name_of(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::DirectoryUser => "directory-users",
        DocumentKind::Subscription => "subscriptions",
        DocumentKind::DeliveryCursor => "delivery-cursors",
        DocumentKind::Application => "applications",
        DocumentKind::TenantSettings => "tenants",
        DocumentKind::Secret => "secrets",
        DocumentKind::LifecycleEvent => "lifecycle-events",
        DocumentKind::IssuerKeys => "issuer-keys",
        DocumentKind::MqttCursor => "mqtt-cursors",
    }
}

/// The number of a kind within [`Bucket::documents`].
pub(super) fn number_of(kind: DocumentKind) -> usize {
    DocumentKind::ALL.iter().position(|other| *other == kind).unwrap_or_default()
}

/// The bucket of a user.
pub(crate) fn bucket_of_user(user: UserKey, count: u16) -> u16 {
    spread(&field_of(user), count)
}

/// The bucket of a document. What belongs to one subscription is in one bucket, and so are the few documents of the
/// kinds that are read whole.
pub fn bucket_of_document(kind: DocumentKind, key: &[u8], count: u16) -> u16 {
    match kind {
        DocumentKind::DirectoryUser | DocumentKind::Subscription => spread(key, count),
        // A cursor of a bucket's own: two bytes that are its number.
        DocumentKind::DeliveryCursor => match <[u8; 2]>::try_from(key) {
            Ok(number) => u16::from_be_bytes(number) % count,
            Err(_) => spread(key, count),
        },
        // An event goes with its subscription, whose id its key begins with.
        DocumentKind::LifecycleEvent => spread(key.get(..16).unwrap_or(key), count),
        DocumentKind::Application
        | DocumentKind::TenantSettings
        | DocumentKind::Secret
        | DocumentKind::IssuerKeys
        | DocumentKind::MqttCursor => 0,
    }
}

/// The bucket of any key. Part of the stored form.
pub(super) fn spread(key: &[u8], count: u16) -> u16 {
    (crc32fast::hash(key) % u32::from(count)) as u16
}

/// A user as a field of a hash.
pub(super) fn field_of(user: UserKey) -> [u8; 32] {
    let mut field = [0; 32];
    field[..16].copy_from_slice(&user.tenant.as_u128().to_be_bytes());
    field[16..].copy_from_slice(&user.user.as_u128().to_be_bytes());
    field
}

/// The user of a field.
pub(super) fn user_of(field: &[u8]) -> Option<UserKey> {
    let (tenant, user) = <[u8; 32]>::try_from(field).ok().map(|field| {
        let half = |half: &[u8]| half.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
        (half(&field[..16]), half(&field[16..]))
    })?;
    Some(UserKey { tenant: TenantId::from_u128(tenant), user: UserId::from_u128(user) })
}

/// The position of an entry: its bucket's time, then its bucket.
pub(super) fn position(time: u64, bucket: u16) -> Position {
    Position(time << BUCKET_BITS | u64::from(bucket))
}

/// The time in a position, and the bucket.
pub(super) fn time_and_bucket(position: Position) -> (u64, u16) {
    (position.0 >> BUCKET_BITS, (position.0 & u64::from(BUCKETS_MAX - 1)) as u16)
}

/// The slot of a key that is all tag: CRC-16/XMODEM. Source: the Redis Cluster specification.
pub(super) fn slot_of(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
        crc
    });
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
    }

    #[test]
    fn buckets_of_any_number_are_apart_and_spread_evenly_over_three_masters() {
        for count in [1, 2, 3, 64, 1_000, BUCKETS_MAX] {
            let all = buckets("p", count);
            assert_eq!(all.len(), usize::from(count));
            let mut slots: Vec<u16> = all.iter().map(|bucket| bucket.slot).collect();
            assert!(slots.is_sorted());
            slots.dedup();
            assert_eq!(slots.len(), usize::from(count), "each has a slot of its own");
            let of_master = |master: u16| slots.iter().filter(|slot| **slot / 5_462 == master).count();
            let fair = usize::from(count) / 3;
            assert!((0..3).all(|master| of_master(master).abs_diff(fair) <= 1), "{count}");
        }
    }

    #[test]
    fn tags_never_change() {
        let all = buckets("presenced", 4);
        let keys: Vec<_> = all.iter().map(|bucket| bucket.users.as_str()).collect();
        assert_eq!(
            keys,
            ["presenced:{3}:users", "presenced:{2}:users", "presenced:{1}:users", "presenced:{0}:users"]
        );
        let user = UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(2) };
        assert_eq!(bucket_of_user(user, 64), bucket_of_user(user_of(&field_of(user)).unwrap(), 64));
        assert_eq!(bucket_of_user(user, 64), (crc32fast::hash(&field_of(user)) % 64) as u16);
    }

    #[test]
    fn a_position_has_a_time_and_a_bucket_and_is_ordered_by_them() {
        for (time, bucket) in [(0, 0), (1, 1_023), (1_764_250_000_000_000, 63), ((1 << 53) - 1, 1_023)] {
            assert_eq!(time_and_bucket(position(time, bucket)), (time, bucket));
        }
        assert!(position(7, 1_023) < position(8, 0));
    }
}
