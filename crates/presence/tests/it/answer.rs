//! Between an instant and its next change the answer is constant; at the next change it differs.

use jiff::{SignedDuration, Timestamp};
use presence::SequenceNumber;
use proptest::prelude::*;

use crate::history::{gap, history, property, view};

/// More than the changes any history leaves to time.
const CHANGES_MAX: usize = 100;

#[test]
fn the_answer_is_constant_until_the_next_change_and_differs_there() {
    property(1, (history(), gap(), any::<[u16; 3]>()), |(history, gap, fractions)| {
        let user = history.user();
        let mut now = history.end() + gap;
        for _ in 0..CHANGES_MAX {
            let seen = user.at(now);
            let next = user.next_change(now);
            let until = next.unwrap_or(Timestamp::MAX);
            prop_assert!(next.is_none() || until > now);
            let last = if next.is_some() { until - SignedDuration::from_nanos(1) } else { until };
            for at in fractions.map(|fraction| between(now, last, fraction)).into_iter().chain([last]) {
                prop_assert_eq!(user.at(at), seen, "constant at {}, from {}", at, now);
                prop_assert_eq!(user.next_change(at), next, "the same next change at {}", at);
            }
            if next.is_none() {
                return Ok(());
            }
            let then = user.at(until);
            prop_assert_ne!(view(then), view(seen), "a change at {}", until);
            prop_assert_eq!(then.sequence_number, SequenceNumber(seen.sequence_number.0 + 1));
            now = until;
        }
        Err(TestCaseError::fail("time alone changes a presence a bounded number of times"))
    });
}

/// The instant at `fraction` of the way from `from` to `to`, both included.
fn between(from: Timestamp, to: Timestamp, fraction: u16) -> Timestamp {
    let nanos = to.as_nanosecond() - from.as_nanosecond();
    let part = nanos * i128::from(fraction) / i128::from(u16::MAX);
    Timestamp::from_nanosecond(from.as_nanosecond() + part).unwrap()
}
