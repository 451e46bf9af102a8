//! Users who have one presence session and nothing else, as nearly everybody has: what they show, in a few comparisons.
//!
//! A batch read asks it of 650 users. [`UserPresence::at`] would have each as a record first, with its lists and instants of
//! the calendar; this is the same answer out of five numbers, and a test holds the two together.

use crate::limits::FADE_STEP;
use crate::{Activity, Availability, Pair, SequenceNumber, SessionPair, Timestamp, UserPresence};

/// An instant as nanoseconds since 1970. What is before 1678 or after 2262 is the first or the last there is: earlier or
/// later than whatever it is compared with here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub i64);

impl From<Timestamp> for Nanos {
    fn from(at: Timestamp) -> Self {
        let nanos = at.as_second().saturating_mul(1_000_000_000);
        Self(nanos.saturating_add(i64::from(at.subsec_nanosecond())))
    }
}

impl Nanos {
    const FADE_STEP: i64 = FADE_STEP.as_secs() * 1_000_000_000;

    fn after_steps(self, steps: i64) -> Self {
        Self(self.0.saturating_add(steps * Self::FADE_STEP))
    }
}

/// The record of a user with one session and nothing else. Its instants are between 1970 and 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sole {
    /// As [`Session::pair`](crate::Session::pair).
    pub pair: SessionPair,
    /// As [`Session::set_at`](crate::Session::set_at).
    pub set_at: Nanos,
    /// As [`Session::expires_at`](crate::Session::expires_at).
    pub expires_at: Nanos,
    /// As [`UserPresence::settled_at`].
    pub settled_at: Nanos,
    /// As [`UserPresence::sequence_number`].
    pub sequence_number: SequenceNumber,
}

impl Sole {
    /// What [`UserPresence::at`] says of such a record; all else is as of somebody of whom nothing was said.
    pub fn at(&self, now: impl Into<Nanos>) -> (Pair, SequenceNumber) {
        const INACTIVE: Pair = Pair::new(Availability::Available, Activity::AvailableInactive);
        let now = now.into().max(self.settled_at);
        let has_passed = |at: Nanos| self.settled_at < at && at <= now;
        // The end of the session and each fade before it are seen.
        let mut changes = u64::from(has_passed(self.expires_at));
        let mut pair = self.pair.pair();
        if self.pair == SessionPair::Available {
            for (steps, faded) in [(1, INACTIVE), (2, SessionPair::Away.pair())] {
                let fades_at = self.set_at.after_steps(steps);
                changes += u64::from(has_passed(fades_at) && fades_at < self.expires_at);
                if fades_at <= now {
                    pair = faded;
                }
            }
        }
        if self.expires_at <= now {
            pair = Pair::OFFLINE;
        }
        (pair, SequenceNumber(self.sequence_number.0 + changes))
    }
}

impl UserPresence {
    /// The record in short, if there is no more to it.
    pub fn sole(&self) -> Option<Sole> {
        // Taken apart without `..`: a new field of a record is decided about here.
        let Self {
            sessions,
            preferred: None,
            status_message: None,
            manual_location: None,
            automatic_locations,
            schedule,
            out_of_office: None,
            sequence_number,
            settled_at,
        } = self
        else {
            return None;
        };
        let ([session], [], []) = (&sessions[..], &automatic_locations[..], schedule.segments()) else {
            return None;
        };
        let exactly = |at: Timestamp| Some(Nanos::from(at)).filter(|nanos| (0..i64::MAX).contains(&nanos.0));
        Some(Sole {
            pair: session.pair,
            set_at: exactly(session.set_at)?,
            expires_at: exactly(session.expires_at)?,
            settled_at: exactly(*settled_at)?,
            sequence_number: *sequence_number,
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::{AppId, Session};

    /// Instants around the steps of a fade and beyond, in nanoseconds: where two of them meet is where mistakes are.
    fn nanos() -> impl Strategy<Value = i64> {
        let step = Nanos::FADE_STEP;
        (0..8_i64, -1..=1_i64).prop_map(move |(steps, more)| 1_770_000_000_000_000_000 + steps * step + more)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn a_record_in_short_shows_what_the_record_shows(
            pair in prop::sample::select(&SessionPair::ALL[..]),
            [set_at, expires_at, settled_at, now] in [nanos(), nanos(), nanos(), nanos()],
            sequence_number in 0..1_000_u64,
        ) {
            let instant = |nanos: i64| Timestamp::from_nanosecond(nanos.into()).unwrap();
            let session = Session {
                app: AppId::from_u128(1),
                pair,
                set_at: instant(set_at),
                expires_at: instant(expires_at),
            };
            let record = UserPresence {
                sessions: [session].into(),
                sequence_number: SequenceNumber(sequence_number),
                settled_at: instant(settled_at),
                ..UserPresence::default()
            };
            let short = record.sole().unwrap();
            for now in [instant(now), Timestamp::MIN, Timestamp::MAX, instant(now) + SignedDuration::from_secs(1)] {
                let seen = record.at(now);
                prop_assert_eq!(short.at(now), (seen.pair, seen.sequence_number));
            }
        }
    }
}
