//! Availability, activity, and which beats which. The wire spelling of these is `graph`'s.

/// Base state of a user. Source: presence-api §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// Ready for contact.
    Available,
    /// Not at the device.
    Away,
    /// Away, and back soon. Only a preferred presence says so.
    BeRightBack,
    /// Occupied.
    Busy,
    /// Not to be interrupted.
    DoNotDisturb,
    /// No presence session, or a preferred presence that says so ("appear offline").
    Offline,
    /// The reader may not know, or there is nobody to know of.
    PresenceUnknown,
}

/// Detail to an [`Availability`]. Source: presence-api §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Nothing more to say than Available.
    Available,
    /// Available, without a refresh for one [`FADE_STEP`](crate::limits::FADE_STEP).
    AvailableInactive,
    /// Nothing more to say than Away.
    Away,
    /// Nothing more to say than BeRightBack.
    BeRightBack,
    /// Nothing more to say than Busy.
    Busy,
    /// Nothing more to say than DoNotDisturb.
    DoNotDisturb,
    /// In a call.
    InACall,
    /// In a call of several.
    InAConferenceCall,
    /// Nothing more to say than Offline.
    Offline,
    /// Chose to appear offline.
    OffWork,
    /// Out of office.
    OutOfOffice,
    /// Nothing is known.
    PresenceUnknown,
    /// Sharing a screen.
    Presenting,
}

/// What is shown of a user: an availability and its activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The base state.
    pub availability: Availability,
    /// Its detail.
    pub activity: Activity,
}

impl Pair {
    /// A user with no live session, whatever else is set. Source: presence-api §11.3, step 1.
    pub const OFFLINE: Self = Self::new(Availability::Offline, Activity::Offline);
    /// Somebody the reader cannot know about. Source: presence-api §4.
    pub const UNKNOWN: Self = Self::new(Availability::PresenceUnknown, Activity::PresenceUnknown);
    /// Nobody there, and an out-of-office notice says why. Assumed: presence-api §11.4.
    pub const OFFLINE_OUT_OF_OFFICE: Self = Self::new(Availability::Offline, Activity::OutOfOffice);

    /// A pair of any two values; which pairs a caller may *ask for* is
    /// [`SessionPair`](crate::SessionPair)'s and [`PreferredPair`](crate::PreferredPair)'s business.
    pub const fn new(availability: Availability, activity: Activity) -> Self {
        Self { availability, activity }
    }
}

impl Availability {
    /// Strength among sessions: DoNotDisturb > Busy > Available > Away. Source: presence-api §11.3, step 3.
    ///
    /// The three that no session can have rank below, so that the order is total.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::DoNotDisturb => 6,
            Self::Busy => 5,
            Self::Available => 4,
            Self::Away => 3,
            Self::BeRightBack => 2,
            Self::Offline => 1,
            Self::PresenceUnknown => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Availability::{
        self, Available, Away, BeRightBack, Busy, DoNotDisturb, Offline, PresenceUnknown,
    };

    #[test]
    fn do_not_disturb_beats_busy_beats_available_beats_away_beats_what_no_session_has() {
        let all: [Availability; 7] =
            [DoNotDisturb, Busy, Available, Away, BeRightBack, Offline, PresenceUnknown];
        assert!(all.is_sorted_by(|stronger, weaker| stronger.rank() > weaker.rank()));
    }
}
