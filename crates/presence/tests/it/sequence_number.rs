//! The sequence number counts what an observer sees who never looks away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use presence::{Command, UserPresence, end_of_local_day};
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
