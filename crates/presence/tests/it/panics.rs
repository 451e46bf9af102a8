//! No history panics, exceeds a bound or half-applies, even at the ends of time and with clocks that go back.

use jiff::Timestamp;
use presence::limits::{AUTOMATIC_LOCATIONS_PER_USER_MAX, SCHEDULE_SEGMENTS_MAX, SESSIONS_PER_USER_MAX};
use presence::{SequenceNumber, UserPresence};
use proptest::prelude::*;

use crate::history::{property, wild_history, wild_instant};

#[test]
fn no_history_on_any_time_line_panics() {
    property(2, (wild_history(), any::<[bool; 4]>(), [wild_instant(), wild_instant()]), |input| {
        let (history, settles, instants) = input;
        let mut user = UserPresence::default();
        let mut number = SequenceNumber(0);
        for (position, (at, action)) in history.0.iter().enumerate() {
            let before = user.clone();
            if action.perform(&mut user, *at).is_err() {
                prop_assert_eq!(&user, &before, "a refused command changes nothing");
            }
            prop_assert!(user.settled_at >= before.settled_at);
            if settles[position % settles.len()] {
                user.clone().settle(instants[0]);
            }
            let now = user.at(user.settled_at).sequence_number;
            prop_assert!(now >= number, "the sequence number went back");
            number = now;
            for at in instants.into_iter().chain([*at, Timestamp::MIN, Timestamp::MAX]) {
                read(&user, at)?;
            }
            prop_assert!(user.sessions.len() <= SESSIONS_PER_USER_MAX);
            prop_assert!(user.automatic_locations.len() <= AUTOMATIC_LOCATIONS_PER_USER_MAX);
            prop_assert!(user.schedule.segments().len() <= SCHEDULE_SEGMENTS_MAX);
        }
        Ok(())
    });
}

fn read(user: &UserPresence, at: Timestamp) -> Result<(), TestCaseError> {
    let before = user.clone();
    let (seen, explanation) = (user.at(at), user.explain(at));
    prop_assert_eq!(explanation.sequence_number, seen.sequence_number);
    let next = user.next_change(at);
    prop_assert!(next.is_none_or(|next| next > at && next > user.settled_at));
    prop_assert_eq!(user, &before, "a read writes nothing");
    Ok(())
}
