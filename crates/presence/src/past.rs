//! What was shown over a period: the answer of [`UserPresence::at`], instant after instant, of records as they were.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use jiff::{SignedDuration, Timestamp};

use crate::{Pair, UserPresence};

/// Time over which one pair was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
    /// What was shown.
    pub pair: Pair,
}

/// What was shown from `from` up to, and not at, `to`: the last `max` stretches of it, oldest first. Whether there were more.
///
/// Each record counts from its `settled_at` until that of the next. Before the first nobody knows. No two stretches in
/// succession show the same.
pub fn stretches(
    records: &[&UserPresence],
    from: Timestamp,
    to: Timestamp,
    max: usize,
) -> (Vec<Stretch>, bool) {
    let mut found: VecDeque<Stretch> = VecDeque::new();
    let mut is_partial = false;
    let mut add = |stretch: Stretch| {
        if stretch.from >= stretch.to {
            return;
        }
        match found.back_mut() {
            Some(last) if last.to == stretch.from && last.pair == stretch.pair => last.to = stretch.to,
            _ => found.push_back(stretch),
        }
        if found.len() > max {
            found.pop_front();
            is_partial = true;
        }
    };
    for (place, record) in records.iter().enumerate() {
        let end = records.get(place + 1).map_or(to, |next| next.settled_at.min(to));
        let mut start = record.settled_at.max(from);
        if start >= end {
            continue;
        }
        let mut pair = record.at(start).pair;
        for change in record.changes_by_time(start, end) {
            add(Stretch { from: start, to: change.at, pair });
            (start, pair) = (change.at, change.pair);
        }
        add(Stretch { from: start, to: end, pair });
    }
    (found.into(), is_partial)
}

/// How long each pair was shown, the longest first.
pub fn totals(stretches: &[Stretch]) -> Vec<(Pair, SignedDuration)> {
    let mut totals: Vec<(Pair, SignedDuration)> = Vec::new();
    for stretch in stretches {
        let took = stretch.to.duration_since(stretch.from);
        match totals.iter_mut().find(|(pair, _)| *pair == stretch.pair) {
            Some((_, total)) => *total = total.saturating_add(took),
            None => totals.push((stretch.pair, took)),
        }
    }
    totals.sort_by_key(|(_, total)| core::cmp::Reverse(*total));
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{instant, play};
    use crate::{Activity, Availability};

    #[test]
    fn a_morning_is_cut_where_what_is_shown_changes_and_nowhere_else() {
        let first = play("00:00  desk set Available/Available for 1h");
        let second = play(
            "
            00:00  desk set Available/Available for 1h
            20:00  desk set Available/Available for 1h
            ",
        );
        let (found, is_partial) = stretches(&[&first, &second], instant("00:00"), instant("30:00"), 10);
        let shown: Vec<_> = found.iter().map(|stretch| (stretch.to, stretch.pair.activity)).collect();
        assert_eq!(
            shown,
            [
                (instant("05:00"), Activity::Available),
                (instant("10:00"), Activity::AvailableInactive),
                (instant("20:00"), Activity::Away),
                (instant("25:00"), Activity::Available),
                (instant("30:00"), Activity::AvailableInactive),
            ]
        );
        assert!(!is_partial);
        let (last, is_partial) = stretches(&[&first, &second], instant("00:00"), instant("30:00"), 2);
        assert_eq!((&last[..], is_partial), (&found[3..], true));
        let totals = totals(&found);
        assert_eq!(totals.len(), 3);
        assert_eq!(totals[0].0.availability, Availability::Available);
        assert!(totals.iter().all(|(_, total)| *total == SignedDuration::from_mins(10)));
    }

    #[test]
    fn a_renewal_is_no_cut_and_before_the_first_record_nobody_knows() {
        let first = play("01:00  desk set Busy/InACall for 1h");
        let renewed = play("02:00  desk set Busy/InACall for 1h");
        let (found, _) = stretches(&[&first, &renewed], instant("00:00"), instant("03:00"), 10);
        let pair = Pair::new(Availability::Busy, Activity::InACall);
        assert_eq!(found, [Stretch { from: instant("01:00"), to: instant("03:00"), pair }]);
        assert_eq!(stretches(&[&first], instant("00:00"), instant("01:00"), 10).0, []);
        assert_eq!(stretches(&[], instant("00:00"), instant("01:00"), 10), (Vec::new(), false));
    }
}
