//! A record of nothing but sessions is decided in a shorter way; it answers as one that also has what never changes.

use jiff::SignedDuration;
use presence::{Command, StatusMessage, StatusText, Timestamp, UserPresence};
use proptest::prelude::*;

use crate::history::{History, history, property, wild_history};
use crate::timeline::Action;

#[test]
fn a_record_of_nothing_but_sessions_changes_as_one_that_also_has_a_message_without_end() {
    property(31, history(), |history| same_with_a_message(&history));
    property(32, wild_history(), |history| same_with_a_message(&history));
}

fn same_with_a_message(history: &History) -> Result<(), TestCaseError> {
    let text = StatusText::new("here all day").unwrap().unwrap();
    let message = StatusMessage { text, published_at: Timestamp::MIN, expires_at: None };
    let mut plain = UserPresence::default();
    let mut other = UserPresence { status_message: Some(message), ..UserPresence::default() };
    for (at, action) in &history.0 {
        match action {
            Action::Apply(command) => {
                if !matches!(command, Command::SetPresence { .. } | Command::ClearPresence { .. }) {
                    continue;
                }
                let until = at.checked_add(SignedDuration::from_mins(7)).unwrap_or(Timestamp::MAX);
                let expected = other.execute_overlapping(command.clone(), *at, until);
                prop_assert_eq!(plain.execute_overlapping(command.clone(), *at, until), expected);
            }
            Action::Settle => prop_assert_eq!(plain.settle_listing(*at), other.settle_listing(*at)),
        }
        let without = UserPresence { status_message: None, ..other.clone() };
        prop_assert_eq!(&plain, &without, "kept at {}", at);
        prop_assert_eq!(plain.at(*at).pair, other.at(*at).pair);
        let later = plain.next_change(*at);
        prop_assert_eq!(later, other.next_change(*at));
        let later = later.unwrap_or(Timestamp::MAX);
        prop_assert_eq!(plain.at(later).sequence_number, other.at(later).sequence_number);
        prop_assert_eq!(plain.changes_by_time(*at, later), other.changes_by_time(*at, later));
    }
    Ok(())
}
