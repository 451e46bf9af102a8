//! Settling is housekeeping: at whatever instants it is done, no later read and no later command can tell.

use jiff::Timestamp;
use presence::UserPresence;
use proptest::prelude::*;

use crate::history::{gap, history, property};

#[test]
fn settling_at_any_instants_is_not_seen() {
    let gaps = || prop::collection::vec(gap(), 1..6);
    property(7, (history(), gaps(), gaps()), |(history, before_next, after_end)| {
        let mut left_alone = UserPresence::default();
        let mut settled = UserPresence::default();
        let mut now = history.0[0].0;
        for (at, action) in &history.0 {
            for pause in &before_next {
                now = (now + *pause).min(*at);
                settled.settle(now);
                same(&left_alone, &settled, now)?;
            }
            now = *at;
            same(&left_alone, &settled, now)?;
            prop_assert_eq!(action.perform(&mut left_alone, now), action.perform(&mut settled, now));
            same(&left_alone, &settled, now)?;
        }
        for pause in after_end {
            now += pause;
            same(&left_alone, &settled, now)?;
            settled.settle(now);
            same(&left_alone, &settled, now)?;
            same(&left_alone, &settled, Timestamp::MAX)?;
        }
        Ok(())
    });
}

fn same(left_alone: &UserPresence, settled: &UserPresence, now: Timestamp) -> Result<(), TestCaseError> {
    prop_assert_eq!(left_alone.at(now), settled.at(now), "read at {}", now);
    prop_assert_eq!(left_alone.explain(now), settled.explain(now), "explained at {}", now);
    prop_assert_eq!(left_alone.next_change(now), settled.next_change(now), "next change after {}", now);
    Ok(())
}
