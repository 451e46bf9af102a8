//! One presence session: what an application keeps for a user, how it fades and when it ends.

use core::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};

use crate::limits::{FADE_STEP, SESSION_LIFETIME_DEFAULT, SESSION_LIFETIME_MAX, SESSION_LIFETIME_MIN};
use crate::{Activity, AppId, Availability, Pair, PresenceError};

/// The pairs an application may set. Source: presence-api §6, "Pairs accepted".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionPair {
    /// Available/Available, the only one that fades.
    Available,
    /// Busy/InACall.
    InACall,
    /// Busy/InAConferenceCall.
    InAConferenceCall,
    /// Away/Away.
    Away,
    /// DoNotDisturb/Presenting.
    Presenting,
}

impl SessionPair {
    /// Every legal pair, for tables and tests.
    pub const ALL: [Self; 5] =
        [Self::Available, Self::InACall, Self::InAConferenceCall, Self::Away, Self::Presenting];

    /// The legal pair of these two, if they are one.
    pub fn new(availability: Availability, activity: Activity) -> Option<Self> {
        let wanted = Pair::new(availability, activity);
        Self::ALL.into_iter().find(|pair| pair.pair() == wanted)
    }

    /// What the session shows while fresh.
    pub const fn pair(self) -> Pair {
        match self {
            Self::Available => Pair::new(Availability::Available, Activity::Available),
            Self::InACall => Pair::new(Availability::Busy, Activity::InACall),
            Self::InAConferenceCall => Pair::new(Availability::Busy, Activity::InAConferenceCall),
            Self::Away => Pair::new(Availability::Away, Activity::Away),
            Self::Presenting => Pair::new(Availability::DoNotDisturb, Activity::Presenting),
        }
    }
}

/// How long a session lives without being set again: PT5M to PT4H, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionLifetime(SignedDuration);

impl SessionLifetime {
    /// A lifetime of this duration.
    ///
    /// # Errors
    /// [`PresenceError::LifetimeOutOfRange`] outside five minutes to four hours.
    pub fn new(duration: SignedDuration) -> Result<Self, PresenceError> {
        if (SESSION_LIFETIME_MIN..=SESSION_LIFETIME_MAX).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(PresenceError::LifetimeOutOfRange)
        }
    }

    /// The duration itself.
    pub const fn duration(self) -> SignedDuration {
        self.0
    }
}

/// Five minutes.
impl Default for SessionLifetime {
    fn default() -> Self {
        Self(SESSION_LIFETIME_DEFAULT)
    }
}

/// How far a session has faded for want of a refresh. Source: presence-api §11.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fade {
    /// As it was set.
    Fresh,
    /// Available for five minutes without a refresh: Available/AvailableInactive.
    Inactive,
    /// Available for ten minutes without a refresh: Away/Away.
    Away,
}

/// A presence session of one application. It is alive from `set_at` until just before `expires_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The application that keeps it: with the user, the session's key.
    pub app: AppId,
    /// What it was set to.
    pub pair: SessionPair,
    /// When it was last set; the fade counts from here.
    pub set_at: Timestamp,
    /// When it ends. At equal instants expiry wins over a fade.
    pub expires_at: Timestamp,
}

impl Session {
    /// Whether the session exists at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// The fade that holds at `now`; at exactly five minutes the new one does.
    pub fn fade(&self, now: Timestamp) -> Fade {
        if self.pair != SessionPair::Available {
            return Fade::Fresh;
        }
        let unrefreshed = now.duration_since(self.set_at);
        if unrefreshed < FADE_STEP {
            Fade::Fresh
        } else if unrefreshed < FADE_STEP * 2 {
            Fade::Inactive
        } else {
            Fade::Away
        }
    }

    /// What the session contributes at `now`, or `None` once it has expired.
    pub fn pair_at(&self, now: Timestamp) -> Option<Pair> {
        self.is_live(now).then(|| match self.fade(now) {
            Fade::Fresh => self.pair.pair(),
            Fade::Inactive => Pair::new(Availability::Available, Activity::AvailableInactive),
            Fade::Away => SessionPair::Away.pair(),
        })
    }

    /// The next instant after `after` at which the session fades, if it ever does before it ends.
    pub fn next_fade(&self, after: Timestamp) -> Option<Timestamp> {
        if self.pair != SessionPair::Available {
            return None;
        }
        let unrefreshed = after.duration_since(self.set_at);
        let next = [FADE_STEP, FADE_STEP * 2].into_iter().find(|fade| unrefreshed < *fade)?;
        // What lies beyond the end of time is beyond the end of the session.
        self.set_at.checked_add(next).ok().filter(|fade| *fade < self.expires_at)
    }

    /// The next instant after `after` at which anything about the session changes by time alone.
    pub(crate) fn next_deadline(&self, after: Timestamp) -> Option<Timestamp> {
        self.next_fade(after).or_else(|| (self.expires_at > after).then_some(self.expires_at))
    }
}

/// Which of two contributions is stronger: availability first; between equals an unfaded Available beats
/// AvailableInactive. Ties are for the more recently written session to win. Source: presence-api §11.3, step 3.
pub(crate) fn strength(a: Pair, b: Pair) -> Ordering {
    let fresh = |pair: Pair| pair.activity != Activity::AvailableInactive;
    a.availability.rank().cmp(&b.availability.rank()).then(fresh(a).cmp(&fresh(b)))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::timeline::check;

    #[test]
    fn available_fades_twice_and_then_expires() {
        check(
            "
            00:00     desk set Available/Available for 1h
            00:00     sees Available/Available #1 next 05:00
            04:59     sees Available/Available #1
            04:59.999999999 sees Available/Available #1 next 05:00
            05:00     sees Available/AvailableInactive #2 next 10:00
            05:01     sees Available/AvailableInactive #2
            09:59     sees Available/AvailableInactive #2
            10:00     sees Away/Away #3 next 01:00:00
            10:01     sees Away/Away #3
            59:59     sees Away/Away #3
            01:00:00  sees Offline/Offline #4 next never
            01:00:01  sees Offline/Offline #4
            ",
        );
    }

    #[test]
    fn no_other_pair_fades() {
        check(
            "
            00:00     desk set Busy/InACall for 4h
            03:59:59  sees Busy/InACall #1 next 04:00:00
            04:00:00  desk set Busy/InAConferenceCall for 4h
            07:59:59  sees Busy/InAConferenceCall #3 next 08:00:00
            08:00:00  desk set Away/Away for 4h
            11:59:59  sees Away/Away #5 next 12:00:00
            12:00:00  desk set DoNotDisturb/Presenting for 4h
            15:59:59  sees DoNotDisturb/Presenting #7 next 16:00:00
            16:00:00  sees Offline/Offline #8
            ",
        );
    }

    #[test]
    fn a_session_of_default_length_ends_at_five_minutes_where_expiry_wins_over_the_fade() {
        check(
            "
            00:00     desk set Available/Available
            04:59     sees Available/Available #1 next 05:00
            05:00     sees Offline/Offline #2 next never
            05:01     sees Offline/Offline #2
            ",
        );
    }

    #[test]
    fn expiry_wins_over_the_second_fade_too() {
        check(
            "
            00:00     desk set Available/Available for 10m
            05:00     sees Available/AvailableInactive #2 next 10:00
            09:59     sees Available/AvailableInactive #2
            10:00     sees Offline/Offline #3 next never
            ",
        );
    }

    #[test]
    fn a_refresh_restarts_both_clocks() {
        check(
            "
            00:00     desk set Available/Available for 15m
            04:59     desk set Available/Available for 15m
            04:59     sees Available/Available #1 next 09:59
            09:58     sees Available/Available #1
            09:59     sees Available/AvailableInactive #2 next 14:59
            14:58     sees Available/AvailableInactive #2
            14:59     sees Away/Away #3 next 19:59
            15:00     sees Away/Away #3
            19:58     sees Away/Away #3
            19:59     sees Offline/Offline #4
            ",
        );
    }

    #[test]
    fn a_refresh_undoes_a_fade_and_may_shorten_the_session() {
        check(
            "
            00:00     desk set Available/Available for 4h
            12:00     sees Away/Away
            12:00     desk set Available/Available for 5m
            12:00     sees Available/Available next 17:00
            16:59     sees Available/Available
            17:00     sees Offline/Offline next never
            ",
        );
    }

    #[test]
    fn setting_replaces_the_pair_of_the_same_application_only() {
        check(
            "
            00:00     desk set DoNotDisturb/Presenting for 1h
            00:00     phone set Busy/InACall for 1h
            00:00     sees DoNotDisturb/Presenting
            00:01     desk set Away/Away for 1h
            00:01     sees Busy/InACall
            00:02     phone set Away/Away for 1h
            00:02     sees Away/Away
            ",
        );
    }

    #[test]
    fn clearing_ends_the_session_of_one_application_and_needs_a_live_one() {
        check(
            "
            00:00     desk clear refused SessionNotFound
            00:00     desk set Available/Available
            00:00     phone clear refused SessionNotFound
            00:00     phone set Busy/InACall
            00:01     phone clear
            00:01     sees Available/Available
            00:01     phone clear refused SessionNotFound
            00:02     desk clear
            00:02     sees Offline/Offline next never
            00:03     desk set Available/Available
            05:03     desk clear refused SessionNotFound
            06:00     desk set Available/Available
            10:59     desk clear
            10:59     sees Offline/Offline
            ",
        );
    }

    #[test]
    fn the_strongest_availability_is_shown() {
        check(
            "
            00:00     a set Away/Away for 1h
            00:00     sees Away/Away
            00:00     b set Available/Available for 1h
            00:00     sees Available/Available
            00:00     c set Busy/InACall for 1h
            00:00     sees Busy/InACall
            00:00     d set DoNotDisturb/Presenting for 1h
            00:00     sees DoNotDisturb/Presenting
            00:01     c set Busy/InACall for 1h
            00:01     b set Available/Available for 1h
            00:01     a set Away/Away for 1h
            00:01     sees DoNotDisturb/Presenting
            00:01     d clear
            00:01     sees Busy/InACall
            00:01     c clear
            00:01     sees Available/Available
            00:01     b clear
            00:01     sees Away/Away
            00:01     a clear
            00:01     sees Offline/Offline
            ",
        );
    }

    #[test]
    fn of_equal_availability_the_last_written_session_gives_the_activity() {
        check(
            "
            00:00     a set Busy/InACall for 1h
            00:01     b set Busy/InAConferenceCall for 1h
            00:01     sees Busy/InAConferenceCall
            00:02     a set Busy/InACall for 1h
            00:02     sees Busy/InACall
            00:03     a clear
            00:03     sees Busy/InAConferenceCall
            ",
        );
    }

    #[test]
    fn of_two_written_at_the_same_instant_the_later_command_wins() {
        check(
            "
            00:00     a set Busy/InACall for 1h
            00:00     b set Busy/InAConferenceCall for 1h
            00:00     sees Busy/InAConferenceCall
            00:00     a set Busy/InACall for 1h
            00:00     sees Busy/InACall
            ",
        );
    }

    #[test]
    fn an_unfaded_available_beats_an_inactive_one() {
        check(
            "
            00:00     a set Available/Available for 1h
            03:00     b set Available/Available for 1h
            05:00     sees Available/Available #1 next 08:00
            07:59     sees Available/Available
            08:00     sees Available/AvailableInactive #2 next 13:00
            12:59     sees Available/AvailableInactive
            13:00     sees Away/Away #3
            ",
        );
    }

    #[test]
    fn an_unfaded_available_beats_an_inactive_one_whichever_was_written_last() {
        let (fresh, inactive) = (
            Pair::new(Availability::Available, Activity::Available),
            Pair::new(Availability::Available, Activity::AvailableInactive),
        );
        assert_eq!(strength(fresh, inactive), Ordering::Greater);
        assert_eq!(strength(inactive, fresh), Ordering::Less);
    }

    #[test]
    fn a_faded_session_ranks_by_what_it_faded_to() {
        check(
            "
            00:00     a set Away/Away for 1h
            00:00     b set Available/Available for 1h
            06:00     sees Available/AvailableInactive
            09:59     sees Available/AvailableInactive
            10:00     sees Away/Away
            10:01     c set Available/Available for 1h
            10:01     sees Available/Available
            ",
        );
    }

    #[test]
    fn when_the_strongest_session_ends_the_next_is_shown_as_it_has_faded() {
        check(
            "
            00:00     desk set Available/Available for 1h
            00:00     phone set Busy/InACall for 7m
            06:59     sees Busy/InACall #2 next 07:00
            07:00     sees Available/AvailableInactive #3 next 10:00
            ",
        );
    }

    #[test]
    fn only_the_five_documented_pairs_are_session_pairs() {
        use Activity as Act;
        use Availability as Ava;
        let documented = [
            (Ava::Available, Act::Available),
            (Ava::Busy, Act::InACall),
            (Ava::Busy, Act::InAConferenceCall),
            (Ava::Away, Act::Away),
            (Ava::DoNotDisturb, Act::Presenting),
        ];
        let availabilities = [
            Ava::Available,
            Ava::Away,
            Ava::BeRightBack,
            Ava::Busy,
            Ava::DoNotDisturb,
            Ava::Offline,
            Ava::PresenceUnknown,
        ];
        let activities = [
            Act::Available,
            Act::AvailableInactive,
            Act::Away,
            Act::BeRightBack,
            Act::Busy,
            Act::DoNotDisturb,
            Act::InACall,
            Act::InAConferenceCall,
            Act::Offline,
            Act::OffWork,
            Act::OutOfOffice,
            Act::PresenceUnknown,
            Act::Presenting,
        ];
        for availability in availabilities {
            for activity in activities {
                let pair = SessionPair::new(availability, activity);
                assert_eq!(pair.is_some(), documented.contains(&(availability, activity)));
                assert!(pair.is_none_or(|pair| pair.pair() == Pair::new(availability, activity)));
            }
        }
    }

    #[test]
    fn a_session_lives_five_minutes_to_four_hours_and_five_minutes_by_default() {
        let nanosecond = SignedDuration::from_nanos(1);
        let (shortest, longest) = (SignedDuration::from_secs(300), SignedDuration::from_secs(14_400));
        for allowed in [shortest, shortest + nanosecond, longest - nanosecond, longest] {
            assert_eq!(SessionLifetime::new(allowed).map(SessionLifetime::duration), Ok(allowed));
        }
        for refused in [shortest - nanosecond, longest + nanosecond, SignedDuration::ZERO, -shortest] {
            assert_eq!(SessionLifetime::new(refused), Err(PresenceError::LifetimeOutOfRange));
        }
        assert_eq!(SessionLifetime::default().duration(), shortest);
    }

    #[test]
    fn fades_that_would_come_with_or_after_the_end_never_come() {
        let session = |minutes| Session {
            app: AppId::from_u128(1),
            pair: SessionPair::Available,
            set_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes),
        };
        let fades = |session: Session| -> Vec<i64> {
            let fades =
                core::iter::successors(session.next_fade(Timestamp::MIN), |at| session.next_fade(*at));
            fades.map(|at| at.as_second() / 60).collect()
        };
        assert_eq!(fades(session(5)), []);
        assert_eq!(fades(session(6)), [5]);
        assert_eq!(fades(session(10)), [5]);
        assert_eq!(fades(session(11)), [5, 10]);
    }
}
