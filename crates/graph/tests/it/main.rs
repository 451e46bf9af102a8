//! The wire as a whole: documented requests in, documented bytes out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod explanation;
mod golden;
// The rules' own random histories: one generator, for what a presence is and for how it is told.
#[path = "../../../presence/tests/it/history.rs"]
#[expect(dead_code, reason = "the rules' tests use all of it")]
mod history;
mod subscriptions;
#[path = "../../../presence/src/timeline.rs"]
mod timeline;
mod world;

// The timeline module is shared with the rules' unit tests, where these are the crate's own.
use presence::{
    AppId, Command, Location, LocationKind, LocationSource, NewStatusMessage, OutOfOffice, Pair, PlaceId,
    PreferredLifetime, PreferredPair, Presence, PresenceError, Schedule, ScheduledLocation, SessionLifetime,
    SessionPair, StatusText, UserPresence,
};
