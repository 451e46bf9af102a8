//! Preferred presence: what a user chose to be shown as, over whatever applications report.

use jiff::{SignedDuration, Timestamp};

use crate::limits::{PREFERRED_LIFETIME_BUSY, PREFERRED_LIFETIME_MAX, PREFERRED_LIFETIME_OTHER};
use crate::{Activity, Availability, Pair, PresenceError};

/// The pairs a user may prefer. Source: presence-api §8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreferredPair {
    /// Available/Available.
    Available,
    /// Busy/Busy.
    Busy,
    /// DoNotDisturb/DoNotDisturb.
    DoNotDisturb,
    /// BeRightBack/BeRightBack.
    BeRightBack,
    /// Away/Away.
    Away,
    /// Offline/OffWork: appear offline.
    OffWork,
}

impl PreferredPair {
    /// Every legal pair, for tables and tests.
    pub const ALL: [Self; 6] =
        [Self::Available, Self::Busy, Self::DoNotDisturb, Self::BeRightBack, Self::Away, Self::OffWork];

    /// The legal pair of these two, if they are one.
    pub fn new(availability: Availability, activity: Activity) -> Option<Self> {
        let wanted = Pair::new(availability, activity);
        Self::ALL.into_iter().find(|pair| pair.pair() == wanted)
    }

    /// What is shown while the preference holds.
    pub const fn pair(self) -> Pair {
        match self {
            Self::Available => Pair::new(Availability::Available, Activity::Available),
            Self::Busy => Pair::new(Availability::Busy, Activity::Busy),
            Self::DoNotDisturb => Pair::new(Availability::DoNotDisturb, Activity::DoNotDisturb),
            Self::BeRightBack => Pair::new(Availability::BeRightBack, Activity::BeRightBack),
            Self::Away => Pair::new(Availability::Away, Activity::Away),
            Self::OffWork => Pair::new(Availability::Offline, Activity::OffWork),
        }
    }

    /// How long the preference lasts when the caller names no duration: a day for Busy and DoNotDisturb, seven for
    /// all others. Source: presence-api §8.
    pub const fn default_lifetime(self) -> PreferredLifetime {
        PreferredLifetime(match self {
            Self::Busy | Self::DoNotDisturb => PREFERRED_LIFETIME_BUSY,
            Self::Available | Self::BeRightBack | Self::Away | Self::OffWork => PREFERRED_LIFETIME_OTHER,
        })
    }
}

/// How long a preferred presence lasts: more than zero, at most [`PREFERRED_LIFETIME_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PreferredLifetime(SignedDuration);

impl PreferredLifetime {
    /// A lifetime of this duration.
    ///
    /// # Errors
    /// [`PresenceError::LifetimeOutOfRange`] for zero, a negative duration or more than a year.
    pub fn new(duration: SignedDuration) -> Result<Self, PresenceError> {
        if duration > SignedDuration::ZERO && duration <= PREFERRED_LIFETIME_MAX {
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

/// A user's preferred presence. It outlives sessions, but counts only while there is one (presence-api §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferred {
    /// What the user chose.
    pub pair: PreferredPair,
    /// When it was chosen.
    pub set_at: Timestamp,
    /// When the choice lapses.
    pub expires_at: Timestamp,
}

impl Preferred {
    /// Whether the preference still stands at `now`, asleep or not.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::check;

    #[test]
    fn a_preferred_presence_beats_every_session_and_does_not_fade() {
        check(
            "
            00:00     desk set DoNotDisturb/Presenting for 4h
            00:00     sees DoNotDisturb/Presenting #1
            00:01     prefer Available/Available for 2h
            00:01     sees Available/Available #2 next 02:00:01
            01:00:00  sees Available/Available #2
            02:00:00  sees Available/Available #2
            02:00:01  sees DoNotDisturb/Presenting #3
            ",
        );
    }

    #[test]
    fn every_preferred_pair_is_shown_as_chosen() {
        check(
            "
            00:00     desk set Busy/InACall for 4h
            00:01     prefer Available/Available
            00:01     sees Available/Available
            00:02     prefer Busy/Busy
            00:02     sees Busy/Busy
            00:03     prefer DoNotDisturb/DoNotDisturb
            00:03     sees DoNotDisturb/DoNotDisturb
            00:04     prefer BeRightBack/BeRightBack
            00:04     sees BeRightBack/BeRightBack
            00:05     prefer Away/Away
            00:05     sees Away/Away
            00:06     prefer Offline/OffWork
            00:06     sees Offline/OffWork
            ",
        );
    }

    #[test]
    fn busy_and_do_not_disturb_last_a_day_by_default_and_the_others_seven() {
        for pair in PreferredPair::ALL {
            let days = match pair {
                PreferredPair::Busy | PreferredPair::DoNotDisturb => 1,
                _ => 7,
            };
            assert_eq!(pair.default_lifetime().duration().as_secs(), days * 86_400, "{pair:?}");
        }
        check(
            "
            00:00     prefer Busy/Busy
            23:59:00  desk set Available/Available
            23:59:59  sees Busy/Busy next 24:00:00
            24:00:00  sees Available/Available
            30:00:00  prefer Offline/OffWork
            197:59:00 desk set Available/Available
            197:59:59 sees Offline/OffWork next 198:00:00
            198:00:00 sees Available/Available
            ",
        );
    }

    #[test]
    fn without_a_session_it_sleeps_and_the_user_reads_offline() {
        check(
            "
            00:00     prefer Busy/Busy for 1h
            00:00     sees Offline/Offline #0 next never
            10:00     desk set Available/Available
            10:00     sees Busy/Busy #1 next 15:00
            14:59     sees Busy/Busy #1
            15:00     sees Offline/Offline #2 next never
            20:00     desk set Available/Available
            20:00     sees Busy/Busy #3
            21:00     desk clear
            21:00     sees Offline/Offline #4
            58:00     desk set Available/Available
            59:59     sees Busy/Busy #5 next 01:00:00
            01:00:00  sees Available/Available #6
            ",
        );
    }

    #[test]
    fn it_may_lapse_in_its_sleep() {
        check(
            "
            00:00     prefer Away/Away for 10m
            09:59     desk set Busy/InACall
            09:59     sees Away/Away next 10:00
            10:00     sees Busy/InACall
            14:59     sees Offline/Offline
            15:00     prefer Away/Away for 10m
            25:00     desk set Busy/InACall
            25:00     sees Busy/InACall
            ",
        );
    }

    #[test]
    fn appearing_offline_differs_from_being_offline() {
        check(
            "
            00:00     desk set Available/Available for 10m
            00:00     prefer Offline/OffWork
            09:59     sees Offline/OffWork #2 next 10:00
            10:00     sees Offline/Offline #3
            ",
        );
    }

    #[test]
    fn a_later_preference_replaces_the_pair_and_the_expiry() {
        check(
            "
            00:00     desk set Busy/InACall for 4h
            00:00     prefer Busy/Busy for 1h
            10:00     prefer Away/Away for 5m
            10:00     sees Away/Away next 15:00
            15:00     sees Busy/InACall #4 next 04:00:00
            20:00     prefer DoNotDisturb/DoNotDisturb for 5m
            24:00     prefer DoNotDisturb/DoNotDisturb for 5m
            25:00     sees DoNotDisturb/DoNotDisturb next 29:00
            ",
        );
    }

    #[test]
    fn clearing_wakes_the_sessions_as_they_have_faded_and_never_fails() {
        check(
            "
            00:00     unprefer
            00:00     sees #0
            00:00     desk set Available/Available for 1h
            00:00     prefer Busy/Busy
            06:00     unprefer
            06:00     sees Available/AvailableInactive next 10:00
            06:00     unprefer
            06:00     sees #3
            ",
        );
    }

    #[test]
    fn a_preference_lasts_more_than_nothing_and_at_most_a_year() {
        let nanosecond = SignedDuration::from_nanos(1);
        for allowed in [nanosecond, PREFERRED_LIFETIME_MAX] {
            assert_eq!(PreferredLifetime::new(allowed).map(PreferredLifetime::duration), Ok(allowed));
        }
        for refused in [SignedDuration::ZERO, -nanosecond, PREFERRED_LIFETIME_MAX + nanosecond] {
            assert_eq!(PreferredLifetime::new(refused), Err(PresenceError::LifetimeOutOfRange));
        }
    }

    #[test]
    fn only_the_documented_pairs_may_be_preferred() {
        for pair in PreferredPair::ALL {
            let Pair { availability, activity } = pair.pair();
            assert_eq!(PreferredPair::new(availability, activity), Some(pair));
        }
        for (availability, activity) in [
            (Availability::Offline, Activity::Offline),
            (Availability::Busy, Activity::InACall),
            (Availability::DoNotDisturb, Activity::Presenting),
            (Availability::Available, Activity::AvailableInactive),
            (Availability::Available, Activity::OutOfOffice),
            (Availability::Away, Activity::BeRightBack),
            (Availability::PresenceUnknown, Activity::PresenceUnknown),
        ] {
            assert_eq!(PreferredPair::new(availability, activity), None);
        }
    }
}
