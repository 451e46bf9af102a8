//! An entry of the log as the engine keeps it. Bytes that never change their meaning once a release has written them.

use presence::{Change, SequenceNumber, Timestamp, UserKey};

use super::buckets::{field_of, user_of};
use crate::changelog::{activity_code, availability_code, pair_of};

const FORMAT_1: u8 = 1;
const BYTES: usize = 1 + 32 + 16 + 8 + 3;

pub(super) fn encode(user: UserKey, change: &Change) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(FORMAT_1);
    bytes.extend(field_of(user));
    bytes.extend(change.at.as_nanosecond().to_be_bytes());
    bytes.extend(change.sequence_number.0.to_be_bytes());
    bytes.push(availability_code(change.pair.availability));
    bytes.push(activity_code(change.pair.activity));
    bytes.push(u8::from(change.is_pair_changed));
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<(UserKey, Change)> {
    let bytes: &[u8; BYTES] = bytes.try_into().ok().filter(|bytes: &&[u8; BYTES]| bytes[0] == FORMAT_1)?;
    let at = i128::from_be_bytes(bytes[33..49].try_into().ok()?);
    let change = Change {
        at: Timestamp::from_nanosecond(at).ok()?,
        sequence_number: SequenceNumber(u64::from_be_bytes(bytes[49..57].try_into().ok()?)),
        pair: pair_of(bytes[57], bytes[58])?,
        is_pair_changed: bytes[59] == 1,
    };
    Some((user_of(&bytes[1..33])?, change))
}

#[cfg(test)]
mod tests {
    use presence::{Pair, TenantId, UserId};

    use super::*;

    #[test]
    fn what_is_decoded_is_what_was_encoded_and_anything_else_is_nothing() {
        let user = UserKey { tenant: TenantId::from_u128(7), user: UserId::from_u128(u128::MAX) };
        for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let change = Change {
                at,
                sequence_number: SequenceNumber(u64::MAX),
                pair: Pair::OFFLINE,
                is_pair_changed: true,
            };
            let bytes = encode(user, &change);
            assert_eq!(decode(&bytes), Some((user, change)));
            assert_eq!(decode(&bytes[1..]), None);
            assert_eq!(decode(&[&[2], &bytes[1..]].concat()), None);
        }
    }
}
