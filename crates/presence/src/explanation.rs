//! Why a user is shown as they are: every input, the rule that chose, and what lost to what.

use alloc::vec::Vec;

use jiff::Timestamp;

use crate::{
    AppId, AutomaticLocation, Fade, LocationKind, LocationSource, ManualLocation, OutOfOffice, Pair, PlaceId,
    Preferred, ScheduledLocation, SequenceNumber, Session, StatusMessage,
};

/// The step of presence-api §11.3 that decided the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Step 1: there is no live session, so the user is Offline whatever else is set.
    NoSession,
    /// Step 2: a preferred presence beats all sessions.
    PreferredPresence,
    /// Step 3: the strongest session.
    StrongestSession,
}

/// The answer of [`UserPresence::at`](crate::UserPresence::at) together with everything it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The instant explained.
    pub at: Timestamp,
    /// What is shown.
    pub pair: Pair,
    /// The version of what is shown.
    pub sequence_number: SequenceNumber,
    /// The step that decided the pair.
    pub rule: Rule,
    /// Whether an out-of-office window then changed the activity (step 4).
    pub out_of_office_shown: bool,
    /// Every live session, in the order in which they were last set.
    pub sessions: Vec<SessionInput>,
    /// The preferred presence, if one stands.
    pub preferred: Option<PreferredInput>,
    /// The out-of-office window, if one is known that has not passed.
    pub out_of_office: Option<OutOfOfficeInput>,
    /// The status message, if one is shown.
    pub status_message: Option<StatusMessageInput>,
    /// The layer the work location comes from.
    pub location_source: LocationSource,
    /// The kind of place it names.
    pub location_kind: Option<LocationKind>,
    /// The place it names.
    pub location_place: Option<PlaceId>,
    /// The manual location, if it holds.
    pub manual: Option<ManualInput>,
    /// Every automatic location that holds.
    pub automatic: Vec<AutomaticInput>,
    /// Every scheduled segment that has not passed.
    pub scheduled: Vec<ScheduledInput>,
    /// What will change next by time alone, if nobody writes.
    pub next_change: Option<NextChange>,
}

/// A live session and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInput {
    /// The session as kept.
    pub session: Session,
    /// How far it has faded.
    pub fade: Fade,
    /// What it contributes.
    pub pair: Pair,
    /// When it fades next, if it does before it ends.
    pub next_fade_at: Option<Timestamp>,
    /// Whether it is shown, and if not, what beat it.
    pub outcome: SessionOutcome,
}

/// What became of a session's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionOutcome {
    /// It is what everyone sees.
    Shown,
    /// A preferred presence is shown instead.
    HiddenByPreferred,
    /// The session of this application has a stronger availability, or is as strong and less faded.
    Outranked {
        /// The application whose session won.
        by: AppId,
    },
    /// The session of this application is as strong and was set later.
    SetEarlier {
        /// The application whose session won.
        than: AppId,
    },
}

/// A preferred presence and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferredInput {
    /// The preference as kept.
    pub preferred: Preferred,
    /// Whether it is shown.
    pub outcome: PreferredOutcome,
}

/// What became of a preferred presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferredOutcome {
    /// It is what everyone sees.
    Shown,
    /// It sleeps until there is a presence session.
    AsleepWithoutSession,
}

/// An out-of-office window and whether it covers the instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfOfficeInput {
    /// The window as kept.
    pub out_of_office: OutOfOffice,
    /// Whether it covers the instant.
    pub is_active: bool,
}

/// The status message that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusMessageInput {
    /// The message as kept.
    pub status_message: StatusMessage,
}

/// What became of one layer's claim on the work location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationOutcome {
    /// It is what everyone sees.
    Shown,
    /// A layer above it decides.
    HiddenBy(LocationSource),
    /// Another entry of the same layer is more precise, or as precise and newer.
    LessPrecise,
    /// Its segment does not cover the instant.
    NotNow,
}

/// The manual location and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualInput {
    /// The location as kept.
    pub manual: ManualLocation,
    /// Whether it is shown.
    pub outcome: LocationOutcome,
}

/// An automatic location and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticInput {
    /// The signal as kept.
    pub automatic: AutomaticLocation,
    /// Whether it is shown.
    pub outcome: LocationOutcome,
}

/// A scheduled segment and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledInput {
    /// The segment as kept.
    pub scheduled: ScheduledLocation,
    /// Whether it is shown.
    pub outcome: LocationOutcome,
}

/// The next visible change that time alone will make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextChange {
    /// When.
    pub at: Timestamp,
    /// The pair shown from then on; it may be the same when something else about the presence changes.
    pub pair: Pair,
}
