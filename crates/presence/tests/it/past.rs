//! What was shown over a period is, at every instant of it, what was shown at that instant.

use jiff::{SignedDuration, Timestamp};
use presence::{UserPresence, stretches, totals};
use proptest::prelude::*;

use crate::history::{gap, history, property};

#[test]
fn a_past_says_of_every_instant_what_was_shown_then_and_adds_up_to_the_period() {
    property(31, (history(), gap(), gap(), any::<bool>()), |(history, lead, tail, is_cut)| {
        let mut user = UserPresence::default();
        let mut records = Vec::new();
        for (at, action) in &history.0 {
            // A refusal is part of the history, and leaves the record as it was.
            if action.perform(&mut user, *at).is_ok() {
                records.push(user.clone());
            }
        }
        let Some(first) = records.first().map(|record| record.settled_at) else { return Ok(()) };
        let from = if is_cut { first + lead } else { first - lead };
        let to = history.end() + tail;
        let borrowed: Vec<&UserPresence> = records.iter().collect();
        let (found, is_partial) = stretches(&borrowed, from, to, usize::MAX);
        prop_assert!(!is_partial);

        let shown_at = |at: Timestamp| {
            let record = records.iter().rfind(|record| record.settled_at <= at);
            record.map(|record| record.at(at).pair)
        };
        let mut expected_from = from.max(first);
        for (place, stretch) in found.iter().enumerate() {
            prop_assert_eq!(stretch.from, expected_from, "without a gap");
            prop_assert!(stretch.from < stretch.to);
            prop_assert!(place == 0 || found[place - 1].pair != stretch.pair, "no cut without a change");
            let last = stretch.to - SignedDuration::from_nanos(1);
            let middle = stretch.from + stretch.to.duration_since(stretch.from) / 2;
            for at in [stretch.from, middle, last] {
                prop_assert_eq!(shown_at(at), Some(stretch.pair), "at {}", at);
            }
            expected_from = stretch.to;
        }
        prop_assert_eq!(expected_from, to.max(from.max(first)));
        let sum = totals(&found).iter().fold(SignedDuration::ZERO, |sum, (_, total)| sum + *total);
        prop_assert_eq!(sum, expected_from.duration_since(from.max(first)));
        Ok(())
    });
}
