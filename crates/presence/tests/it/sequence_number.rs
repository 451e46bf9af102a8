//! The sequence number counts what an observer sees who never looks away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use presence::limits::CHANGES_BY_TIME_MAX;
use presence::{Change, Command, UserPresence, end_of_local_day};
use proptest::prelude::*;

use crate::history::{History, history, moved, property, view, wild_history};
use crate::timeline::{Action, Sight};

#[test]
fn the_sequence_number_is_the_count_of_visible_changes() {
    property(5, history(), |history| observe(&history));
}

#[test]
fn the_sequence_number_counts_visible_changes_also_when_the_clock_goes_back() {
    property(6, wild_history(), |history| observe(&history));
}

#[test]
fn every_visible_change_is_listed_once_in_order_with_its_number_and_what_is_seen_after_it() {
    property(7, history(), |history| list(&history));
    property(8, wild_history(), |history| list(&history));
}

/// Lists while going through a history, as whoever keeps a log does, and compares with looking.
fn list(history: &History) -> Result<(), TestCaseError> {
    let mut user = UserPresence::default();
    let mut changes: Vec<Change> = Vec::new();
    for (at, action) in &history.0 {
        let before = user.clone();
        let now = (*at).max(user.settled_at);
        let listed = match action {
            Action::Apply(command) => match user.execute(command.clone(), *at) {
                Ok(listed) => listed,
                Err(_) => continue,
            },
            Action::Settle => user.settle_listing(*at),
        };
        let by_time = before.changes_by_time(before.settled_at, now);
        prop_assert_eq!(&listed[..by_time.len()], &by_time[..], "first what time did");
        prop_assert!(listed.len() <= by_time.len() + 1 && listed.len() <= CHANGES_BY_TIME_MAX + 1);
        for change in &by_time {
            let seen = before.at(change.at);
            prop_assert_eq!((seen.pair, seen.sequence_number), (change.pair, change.sequence_number));
        }
        if let Some(change) = listed.get(by_time.len()) {
            prop_assert_eq!((change.at, change.pair), (now, user.at(now).pair));
        }
        let mut pair = before.at(before.settled_at).pair;
        for change in &listed {
            prop_assert_eq!(change.is_pair_changed, change.pair != pair);
            pair = change.pair;
        }
        changes.extend(listed);
    }
    let numbers: Vec<u64> = changes.iter().map(|change| change.sequence_number.0).collect();
    prop_assert_eq!(&numbers, &(1..=user.sequence_number.0).collect::<Vec<_>>(), "none left out, none twice");
    prop_assert!(changes.is_sorted_by_key(|change| change.at));
    Ok(())
}

fn observe(history: &History) -> Result<(), TestCaseError> {
    let glances = glances(history);
    let mut user = UserPresence::default();
    let mut observer =
        Observer { now: Timestamp::MIN, changes: 0, seen: String::new(), numbers: BTreeMap::new() };
    observer.seen = observer.look(&user);
    for (at, action) in &history.0 {
        let mut next = user.clone();
        if action.perform(&mut next, *at).is_err() {
            // Not a moment of the user's own time, which only accepted commands and settlements move.
            continue;
        }
        let until = (*at).max(observer.now);
        for glance in glances.range(observer.now..=until).copied().chain([until]) {
            observer.now = glance;
            observer.count(&user)?;
        }
        user = next;
        observer.count(&user)?;
    }
    for glance in glances.range(observer.now..) {
        observer.now = *glance;
        observer.count(&user)?;
    }
    Ok(())
}

struct Observer {
    now: Timestamp,
    changes: u64,
    seen: String,
    numbers: BTreeMap<u64, String>,
}

impl Observer {
    /// Looks again, and expects the number to be the changes seen so far and to name what is seen.
    fn count(&mut self, user: &UserPresence) -> Result<(), TestCaseError> {
        let seen = self.look(user);
        if seen != self.seen {
            self.changes += 1;
            self.seen.clone_from(&seen);
        }
        let number = user.at(self.now).sequence_number.0;
        prop_assert_eq!(number, self.changes, "at {}: {}", self.now, Sight::of(user, self.now));
        let named = self.numbers.entry(number).or_insert_with(|| seen.clone());
        prop_assert_eq!(&*named, &seen, "equal numbers, equal views");
        Ok(())
    }

    fn look(&self, user: &UserPresence) -> String {
        let status = user.at(self.now).status_message.map(|message| message.text.as_str());
        format!("{:?} {status:?}", view(user.at(self.now)))
    }
}

/// Every instant at which time alone could change anything, told from the accepted commands, and those next to it.
fn glances(history: &History) -> BTreeSet<Timestamp> {
    let nanosecond = SignedDuration::from_nanos(1);
    let mut glances = BTreeSet::new();
    let mut user = UserPresence::default();
    for (at, action) in &history.0 {
        let (Ok(()), Action::Apply(command)) = (action.perform(&mut user, *at), action) else { continue };
        let now = user.settled_at;
        let after = |duration| moved(now, duration);
        let instants = match command {
            Command::SetPresence { lifetime, .. } => {
                let five_minutes = SignedDuration::from_mins(5);
                vec![after(five_minutes), after(five_minutes * 2), after(lifetime.duration())]
            }
            Command::SetPreferredPresence { lifetime, .. } => vec![after(lifetime.duration())],
            Command::SetStatusMessage(message) => message.iter().filter_map(|it| it.expires_at).collect(),
            Command::SetManualLocation { zone, .. } | Command::SetAutomaticLocation { zone, .. } => {
                vec![end_of_local_day(now, zone)]
            }
            Command::SetSchedule(schedule) => {
                schedule.segments().iter().flat_map(|segment| [segment.starts_at, segment.ends_at]).collect()
            }
            Command::SetOutOfOffice(window) => {
                window.iter().flat_map(|it| [it.starts_at(), it.ends_at()]).flatten().collect()
            }
            Command::ClearPresence { .. }
            | Command::ClearPreferredPresence
            | Command::ClearLocation
            | Command::ClearAutomaticLocation => Vec::new(),
        };
        for instant in instants {
            glances.extend([moved(instant, -nanosecond), instant, moved(instant, nanosecond)]);
        }
    }
    glances
}
