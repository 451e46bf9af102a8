//! The weather: a seeded world that runs the engine's own steps while storage, time and network break.
//!
//! A seed is a list of lines (`swarm.rs`), each something that happens at a node, to the store, the disk, a clock or a
//! receiver, in the language of `line.rs`. `world/` lets them happen on one thread, in an order that follows from the
//! lines alone; `keeper.rs` is the store as it breaks, `node.rs` the product's steps, `shares.rs` a node's part of a store
//! that several share, `receivers.rs` who is told, `model.rs` a second reading of the rules, `fence.rs` a second account of
//! leases, `check.rs` what must hold. What breaks something is cut down by `shrink.rs`
//! to a few lines, which [`check`] plays again: a found bug becomes a test by pasting them.
//!
//! Nothing in the product depends on this crate, and it has no switch in the product: see `bug.rs`.

mod bug;
mod check;
mod clock;
mod fence;
mod keeper;
mod line;
mod model;
mod node;
mod people;
mod random;
mod receivers;
mod shares;
mod shrink;
mod swarm;
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "the language of the rules' tests, which fail by panicking; its checks are not used here"
)]
#[path = "../../presence/src/timeline.rs"]
mod timeline;
mod wire;
mod world;

// The timeline module is shared with the rules' own tests, where these are the crate's own.
use presence::{
    AppId, Command, Location, LocationKind, LocationSource, NewStatusMessage, OutOfOffice, Pair, PlaceId,
    PreferredLifetime, PreferredPair, Presence, PresenceError, Schedule, ScheduledLocation, SessionLifetime,
    SessionPair, StatusText, UserPresence,
};

pub use bug::Bug;
pub use check::Violation;
pub use world::{BOUNDS, Report};

use line::Line;

/// A seed that breaks something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// What it breaks.
    pub violation: Violation,
    /// The shortest lines found that break the same.
    pub timeline: String,
}

/// Plays the life of a seed. `is_traced`: keep what happens, a line each.
pub fn run(seed: u64, bug: Option<Bug>, is_traced: bool) -> Report {
    world::play(&swarm::lines(seed), bug, is_traced)
}

/// The lines of a seed.
pub fn timeline_of(seed: u64) -> String {
    text(&swarm::lines(seed))
}

/// Plays a seed, and shrinks it if it breaks something.
pub fn find(seed: u64, bug: Option<Bug>) -> Option<Failure> {
    let lines = swarm::lines(seed);
    let violation = world::play(&lines, bug, false).violation?;
    let shrunk = shrink::shrink(&lines, bug, violation.check);
    let violation = world::play(&shrunk, bug, false).violation.unwrap_or(violation);
    Some(Failure { seed, violation, timeline: text(&shrunk) })
}

/// Plays a timeline.
///
/// # Panics
/// On a line that is not in the language.
pub fn play(timeline: &str, bug: Option<Bug>, is_traced: bool) -> Report {
    let lines = timeline.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<Line> =
        lines.map(|text| Line::parse(text).unwrap_or_else(|| panic!("cannot read {text:?}"))).collect();
    world::play(&lines, bug, is_traced)
}

/// Plays a timeline in which nothing may break: what a failing seed prints, pasted into a test.
///
/// # Panics
/// When something is broken, with all that happened.
#[track_caller]
pub fn check(timeline: &str) {
    let report = play(timeline, None, true);
    if let Some(violation) = report.violation {
        panic!("{violation}\n{}", report.events.join("\n"));
    }
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
