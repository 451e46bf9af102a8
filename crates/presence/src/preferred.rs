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
