//! What can be asked for. Every value in a command is legal already; only time and what is stored can refuse it.

use jiff::tz::TimeZone;

use crate::{
    AppId, Location, NewStatusMessage, OutOfOffice, PreferredLifetime, PreferredPair, Schedule,
    SessionLifetime, SessionPair,
};

/// One request to change what is kept of a user.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Create or refresh the application's presence session.
    SetPresence {
        /// The application that keeps the session.
        app: AppId,
        /// What it reports.
        pair: SessionPair,
        /// How long without another report.
        lifetime: SessionLifetime,
    },
    /// End the application's presence session.
    ClearPresence {
        /// The application that kept it.
        app: AppId,
    },
    /// Choose what to be shown as.
    SetPreferredPresence {
        /// The choice.
        pair: PreferredPair,
        /// How long it holds.
        lifetime: PreferredLifetime,
    },
    /// Take the choice back; not an error when there was none.
    ClearPreferredPresence,
    /// Publish a note, or take it back.
    SetStatusMessage(Option<NewStatusMessage>),
    /// Say where the user works today.
    SetManualLocation {
        /// Where.
        location: Location,
        /// Whose midnight ends the day.
        zone: TimeZone,
    },
    /// Report where an application sees the user work today.
    SetAutomaticLocation {
        /// The application that reports.
        app: AppId,
        /// Where.
        location: Location,
        /// Whose midnight ends the day.
        zone: TimeZone,
    },
    /// Drop the manual and every automatic location.
    ClearLocation,
    /// Drop every automatic location.
    ClearAutomaticLocation,
    /// Take over what a mailbox says about being out of office.
    SetOutOfOffice(Option<OutOfOffice>),
    /// Take over where a calendar says the user works.
    SetSchedule(Schedule),
}
