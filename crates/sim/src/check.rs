//! What must hold, during a run and after it.

use std::collections::HashSet;
use std::fmt;

use engine::notify::LifecycleEvent;
use presence::{SequenceNumber, Timestamp};
use store::{Document, LogEntry, Stored};

use crate::line::{self, PEOPLE};
use crate::model::{Person, View};
use crate::receivers::{self, Receivers, Sub, SubState, Told};
use crate::shares;

/// Something that must hold and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What must hold.
    pub check: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(check: &'static str, what: String) -> Self {
        Self { check, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}: {}", self.check, self.what)
    }
}

/// A person is seen as the model says.
pub(crate) fn sight(
    person: usize,
    known: &Person,
    record: &presence::UserPresence,
    now: Timestamp,
) -> Result<u64, Violation> {
    let shown = record.at(now);
    let (view, number) = known.at(now);
    let found = (View::of(&shown), shown.sequence_number.0);
    if found == (view.clone(), number) {
        return Ok(number);
    }
    let what = format!(
        "{} at {} is seen as {:?} #{}, not as {:?} #{number}",
        PEOPLE[person],
        crate::timeline::Instant(now),
        found.0,
        found.1,
        view
    );
    Err(Violation::new("every answer is the model's", what))
}

/// Everything is calm and every step was called until there was nothing more to do: everybody's record and every entry
/// of the log are as the model has them.
pub(crate) fn kept(
    people: &[std::sync::Arc<Person>],
    stored: &[Stored],
    log: &[LogEntry],
    now: Timestamp,
) -> Result<(), Violation> {
    for (place, entry) in log.iter().enumerate() {
        if entry.position.0 != place as u64 + 1 {
            let what = format!("{} follows {place} others", entry.position.0);
            return Err(Violation::new("positions are given once, without a gap", what));
        }
    }
    for (person, (known, stored)) in people.iter().zip(stored).enumerate() {
        let name = PEOPLE[person];
        if stored.version.0 != known.version {
            let what = format!("{name} is at version {} of {}", stored.version.0, known.version);
            return Err(Violation::new("no acknowledged write is lost", what));
        }
        sight(person, known, &stored.presence, now)?;
        let missing = known.by_time(now);
        if let Some(first) = missing.first() {
            let what = format!("{name} changed at {}", crate::timeline::Instant(first.at));
            return Err(Violation::new("every change is noticed", what));
        }
        let entries: Vec<_> = log.iter().filter(|entry| entry.user == line::key(person)).collect();
        let is_as_expected = |(entry, seen): (&&LogEntry, &crate::model::Seen)| {
            let change = entry.change;
            (change.at, change.pair, change.sequence_number, change.is_pair_changed)
                == (seen.at, seen.pair, SequenceNumber(seen.number), seen.is_pair_changed)
        };
        let wrong = entries.iter().zip(&known.changes).position(|both| !is_as_expected(both));
        if wrong.is_some() || entries.len() != known.changes.len() {
            let at = wrong.unwrap_or(entries.len().min(known.changes.len()));
            let (found, expected) = (entries.get(at).map(|entry| entry.change), known.changes.get(at));
            let what = format!("change {} of {name} is {found:?}, not {expected:?}", at + 1);
            return Err(Violation::new("the log has each change once, in order", what));
        }
    }
    Ok(())
}

/// Every subscription was told what it watches, as long as it is there and authorized: `now` is the latest of all clocks.
pub(crate) fn told(
    receivers: &Receivers,
    log: &[LogEntry],
    every: bool,
    now: Timestamp,
) -> Result<(), Violation> {
    for (sub, known) in &receivers.subs {
        let name = format!("s{}", sub + 1);
        // While it waited to be authorized the newest of each person was enough.
        let (is_thinned, every) = (every && known.may_have_paused, every && !known.may_have_paused);
        let is_own = |entry: &&LogEntry| {
            entry.change.is_pair_changed && known.people.iter().any(|person| line::key(*person) == entry.user)
        };
        let expected: Vec<_> = log
            .iter()
            .filter(|entry| entry.position > known.created_after || known.state != SubState::There)
            .filter(is_own)
            .map(|entry| (entry.position, entry.user, entry.change))
            .collect();
        let mut ids = HashSet::new();
        let distinct: Vec<_> = known
            .taken
            .iter()
            .filter(|told| ids.insert(told.id))
            .map(|Told { position, user, change, .. }| (*position, *user, *change))
            .collect();
        if let Some(invented) = distinct.iter().find(|told| !expected.contains(told)) {
            return Err(Violation::new("nothing is invented", format!("{name} was told {invented:?}")));
        }
        if every && !positions(&distinct).is_sorted() {
            let what = format!("{name} was told {:?}", positions(&distinct));
            return Err(Violation::new("a subscription is told in order", what));
        }
        if known.state != SubState::There || known.may_be_over {
            continue;
        }
        if every && !known.is_missed && distinct.len() != expected.len() {
            let what = format!("{name} was told {:?} of {:?}", positions(&distinct), positions(&expected));
            return Err(Violation::new("a subscription is told each change", what));
        }
        if known.token.earliest() <= now || (known.is_missed && receivers.may_miss) {
            continue;
        }
        for person in &known.people {
            let newest = expected.iter().rfind(|(_, user, _)| *user == line::key(*person));
            // What a dead process had sent may be taken again at any time, and is recognized by its id.
            let newest_at = newest.map(|(position, ..)| *position);
            let all = known.taken.iter().filter(|told| !told.is_stale || Some(told.position) == newest_at);
            let all: Vec<_> = all.map(|told| (told.position, told.user)).collect();
            let once: Vec<_> = distinct.iter().map(|(position, user, _)| (*position, *user)).collect();
            let last_of = |told: &[(store::Position, presence::UserKey)]| {
                told.iter().rfind(|(_, user)| *user == line::key(*person)).copied()
            };
            // Of what is thinned out only while it waits, POSTs of a dead process are in the air as well.
            let last = match every || (is_thinned && last_of(&all).map(|(at, _)| at) != newest_at) {
                true => last_of(&once),
                false => last_of(&all),
            };
            if newest_at != last.map(|(position, _)| position) {
                let what = format!("{name} was told {last:?} last of {}, not {newest:?}", PEOPLE[*person]);
                return Err(Violation::new("the newest is told last", what));
            }
        }
    }
    Ok(())
}

/// Everybody whose subscription was ended by others has been told.
pub(crate) fn removed(receivers: &Receivers) -> Result<(), Violation> {
    let is_told =
        |known: &Sub| known.events.iter().any(|(event, _)| *event == LifecycleEvent::SubscriptionRemoved);
    if receivers.gives_up {
        return Ok(());
    }
    let mut untold = receivers.subs.iter().filter(|(_, known)| known.is_removed && !known.may_be_over);
    match untold.find(|(_, known)| !is_told(known)) {
        Some((sub, _)) => {
            let what = format!("s{} was removed", sub + 1);
            Err(Violation::new("who loses a subscription is told", what))
        }
        None => Ok(()),
    }
}

/// Everybody who was to be reminded was.
pub(crate) fn reminded(receivers: &Receivers) -> Result<(), Violation> {
    for (sub, known) in &receivers.subs {
        if let Some(at) = known.reminder
            && !known.events.contains(&(LifecycleEvent::ReauthorizationRequired, at))
        {
            let what = format!("s{}, at {}", sub + 1, crate::timeline::Instant(at));
            return Err(Violation::new("a subscription that is about to end is reminded", what));
        }
    }
    Ok(())
}

/// What is kept of how far delivery has come passes nothing that was not told: whoever goes on there would leave it out.
pub(crate) fn cursors(
    receivers: &Receivers,
    cursors: &[Document],
    log: &[LogEntry],
) -> Result<(), Violation> {
    let kept = |key: &[u8]| {
        let body = cursors.iter().find(|cursor| cursor.key == key).and_then(|cursor| cursor.body.as_deref());
        body.and_then(|body| body.try_into().ok()).map(u64::from_be_bytes)
    };
    let is_there = |known: &&Sub| {
        known.state == SubState::There
            && !(known.is_missed || known.may_be_over || known.may_have_paused || receivers.may_miss)
    };
    for (sub, known) in receivers.subs.iter().filter(|(_, known)| is_there(known)) {
        let key = receivers::id(*sub).0;
        let shard = shares::shard_of(key.as_bytes()).to_be_bytes();
        let cursor = kept(key.as_bytes()).or_else(|| kept(&shard)).or_else(|| kept(&[])).unwrap_or(0);
        let untold =
            log.iter().filter(|entry| entry.position > known.created_after && entry.position.0 <= cursor);
        let mut untold = untold.filter(|entry| {
            entry.change.is_pair_changed
                && known.people.iter().any(|person| line::key(*person) == entry.user)
                && !known.taken.iter().any(|told| told.position == entry.position)
        });
        if let Some(entry) = untold.next() {
            let what = format!("that of s{} is {cursor}, and {} was not told", sub + 1, entry.position.0);
            return Err(Violation::new("a cursor passes only what was told", what));
        }
    }
    Ok(())
}

fn positions<T>(told: &[(store::Position, presence::UserKey, T)]) -> Vec<u64> {
    told.iter().map(|(position, ..)| position.0).collect()
}

/// A queue is within its bound.
pub(crate) fn bounded(what: &str, length: usize, bound: usize) -> Result<(), Violation> {
    if length <= bound {
        return Ok(());
    }
    Err(Violation::new("a bound is exceeded", format!("{what}: {length} of {bound}")))
}
