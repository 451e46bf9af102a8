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
        if now >= self.fades_away_at() {
            Fade::Away
        } else if now >= self.fades_inactive_at() {
            Fade::Inactive
        } else {
            Fade::Fresh
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
        [self.fades_inactive_at(), self.fades_away_at()]
            .into_iter()
            .find(|fade| *fade > after && *fade < self.expires_at)
    }

    /// The next instant after `after` at which anything about the session changes by time alone.
    pub(crate) fn next_deadline(&self, after: Timestamp) -> Option<Timestamp> {
        self.next_fade(after).or_else(|| (self.expires_at > after).then_some(self.expires_at))
    }

    fn fades_inactive_at(&self) -> Timestamp {
        self.set_at.saturating_add(FADE_STEP).unwrap_or(Timestamp::MAX)
    }

    fn fades_away_at(&self) -> Timestamp {
        self.set_at.saturating_add(FADE_STEP * 2).unwrap_or(Timestamp::MAX)
    }
}

/// Which of two contributions is stronger: availability first; between equals an unfaded Available beats
/// AvailableInactive. Ties are for the more recently written session to win. Source: presence-api §11.3, step 3.
pub(crate) fn strength(a: Pair, b: Pair) -> Ordering {
    let fresh = |pair: Pair| pair.activity != Activity::AvailableInactive;
    a.availability.rank().cmp(&b.availability.rank()).then(fresh(a).cmp(&fresh(b)))
}
