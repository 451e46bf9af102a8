//! The rules of presence.
//!
//! Everything here is plain data and pure functions: what an application or a person asked for goes in as a
//! [`Command`], the instant goes in as an argument, and [`UserPresence::at`] answers what everyone sees. There is no
//! clock, no file, no thread and no randomness to reach for: the crate is `no_std`, and the compiler keeps it so.
//!
//! It knows no HTTP, no JSON and no wire strings (crate `graph`), no keeping (crate `store`) and no timers
//! (crate `engine`).
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod availability;
mod change;
mod command;
mod error;
mod explanation;
mod guid;
mod id;
pub mod limits;
mod out_of_office;
mod outcome;
mod past;
mod preferred;
mod session;
mod sole;
mod status_message;
#[cfg(test)]
mod timeline;
mod user;
mod work_location;

pub use availability::{Activity, Availability, Pair};
pub use change::Change;
pub use command::Command;
pub use error::PresenceError;
pub use explanation::{
    AutomaticInput, Explanation, LocationOutcome, ManualInput, NextChange, OutOfOfficeInput, PreferredInput,
    PreferredOutcome, Rule, ScheduledInput, SessionInput, SessionOutcome, StatusMessageInput,
};
pub use id::{AppId, TenantId, UserId, UserKey};
pub use out_of_office::{OutOfOffice, OutOfOfficeSettings};
pub use outcome::{Claim, Decider, Instead, Outcome};
pub use past::{Stretch, stretches, totals};
pub use preferred::{Preferred, PreferredLifetime, PreferredPair};
pub use session::{Fade, Session, SessionLifetime, SessionPair};
pub use sole::{Nanos, Sole};
pub use status_message::{NewStatusMessage, StatusMessage, StatusText};
pub use user::{Presence, SequenceNumber, UserPresence};
pub use work_location::{
    AutomaticLocation, Location, LocationKind, LocationSource, ManualLocation, PlaceId, Schedule,
    ScheduledLocation, WorkLocation, end_of_local_day,
};

/// An instant: what every rule is asked about. Always UTC; zones matter only to [`end_of_local_day`].
pub use jiff::Timestamp;
