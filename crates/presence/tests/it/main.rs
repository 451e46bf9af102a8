//! The rules of presence, held against random histories.
//!
//! A failing property prints its shrunk history as a timeline: paste it into `check("…")` beside the rule it breaks.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod answer;
mod explanation;
mod history;
mod only_sessions;
mod panics;
mod past;
mod precedence;
mod sequence_number;
mod settlement;
#[path = "../../src/timeline.rs"]
mod timeline;

// The timeline module is shared with the unit tests, where these are the crate's own.
use presence::{
    AppId, Command, Location, LocationKind, LocationSource, NewStatusMessage, OutOfOffice, Pair, PlaceId,
    PreferredLifetime, PreferredPair, Presence, PresenceError, Schedule, ScheduledLocation, SessionLifetime,
    SessionPair, StatusText, UserPresence,
};
