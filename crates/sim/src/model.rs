//! What must be seen, by a second reading of the rules that shares no code with the first.
//!
//! The model keeps what was said about a person, in order, and answers any question by going through all of it again:
//! slow, and with nothing to keep in step. Changes are counted by looking at every instant at which one could be.
//! Section numbers (§) are those of the presence API sheet.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use presence::{
    Activity, AppId, Availability, Command, Location, LocationKind, LocationSource, Pair, Presence, Timestamp,
};

/// What everyone sees of a person, without its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) pair: Pair,
    /// Words, since when, until when.
    status: Option<(String, Timestamp, Option<Timestamp>)>,
    office: (bool, Option<String>),
    place: (LocationSource, Option<(LocationKind, Option<String>)>),
}

impl View {
    /// The view that the product answers with.
    pub(crate) fn of(presence: &Presence<'_>) -> Self {
        let status = presence
            .status_message
            .map(|message| (message.text.as_str().to_owned(), message.published_at, message.expires_at));
        let office = presence.out_of_office;
        let place = presence.work_location;
        Self {
            pair: presence.pair,
            status,
            office: (office.is_out_of_office, office.message.map(str::to_owned)),
            place: (place.source, place.location.map(spot)),
        }
    }
}

fn spot(location: &Location) -> (LocationKind, Option<String>) {
    (location.kind, location.place.as_ref().map(|place| place.as_str().to_owned()))
}

/// A change that somebody who never looks away notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    pub(crate) pair: Pair,
    pub(crate) number: u64,
    pub(crate) is_pair_changed: bool,
}

/// What is said about a person in one commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Command(Command),
    /// Nothing: somebody looked.
    Settle,
    /// The person is gone.
    Forget,
}

/// One person.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    said: Vec<(Timestamp, Command)>,
    /// Nothing happens before this any more.
    pub(crate) floor: Timestamp,
    pub(crate) version: u64,
    /// Changes up to `floor`.
    pub(crate) number: u64,
    /// Those changes, in order.
    pub(crate) changes: Vec<Seen>,
    /// Who made each version, from 1, and at which instant.
    pub(crate) authors: Vec<usize>,
    pub(crate) floors: Vec<Timestamp>,
}

impl Default for Person {
    fn default() -> Self {
        let (said, changes, authors, floors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { said, floor: Timestamp::MIN, version: 0, number: 0, changes, authors, floors }
    }
}

const FADE: SignedDuration = SignedDuration::from_mins(5);

impl Person {
    /// Takes what was said at `now` for said.
    pub(crate) fn hear(&mut self, said: &Said, now: Timestamp, author: usize) {
        let now = now.max(self.floor);
        self.pass(now);
        self.floor = now;
        if *said != Said::Settle {
            // Readers may not learn of it before that, and see what time makes of what they know.
            self.number += self.by_time(now + engine::COMMIT_OVERLAP).len() as u64;
        }
        let before = self.view(now);
        match said {
            Said::Command(command) => self.said.push((now, command.clone())),
            Said::Settle => {}
            Said::Forget => self.said.clear(),
        }
        let after = self.view(now);
        // Whoever is forgotten is told apart from who was there before, even if nothing was to be seen.
        if before != after || *said == Said::Forget {
            self.number += 1;
            let is_pair_changed = before.pair != after.pair;
            self.changes.push(Seen { at: now, pair: after.pair, number: self.number, is_pair_changed });
        }
        self.said.retain(|(at, command)| !is_over(*at, command, now));
        self.version += 1;
        self.authors.push(author);
        self.floors.push(now);
    }

    /// Is kept in another store from now on, whose log has nothing of what was before.
    pub(crate) fn move_house(&mut self, version: u64) {
        self.version = version;
        self.authors = vec![0; version as usize];
        self.floors = vec![self.floor; version as usize];
        self.changes.clear();
    }

    /// Why the command would be refused, as the rules name it.
    pub(crate) fn refusal(&self, command: &Command, now: Timestamp) -> Option<&'static str> {
        let now = now.max(self.floor);
        match command {
            Command::ClearPresence { app } if !self.sessions(now).contains_key(app) => {
                Some("SessionNotFound")
            }
            Command::SetStatusMessage(Some(message)) if message.expires_at.is_some_and(|at| at <= now) => {
                Some("StatusMessageExpired")
            }
            _ => None,
        }
    }

    /// What everyone sees at `now`, and its number.
    pub(crate) fn at(&self, now: Timestamp) -> (View, u64) {
        let now = now.max(self.floor);
        (self.view(now), self.number + self.by_time(now).len() as u64)
    }

    /// Lets time go on to `now`.
    fn pass(&mut self, now: Timestamp) {
        let changes = self.by_time(now);
        self.number += changes.len() as u64;
        self.changes.extend(changes);
    }

    /// The changes that time makes after `floor` and up to `now`.
    pub(crate) fn by_time(&self, now: Timestamp) -> Vec<Seen> {
        let mut instants: Vec<Timestamp> =
            self.said.iter().flat_map(|(at, command)| deadlines(*at, command)).collect();
        instants.retain(|at| *at > self.floor && *at <= now);
        instants.sort_unstable();
        instants.dedup();
        let mut changes = Vec::new();
        if instants.is_empty() {
            return changes;
        }
        let mut before = self.view(self.floor);
        for at in instants {
            let after = self.view(at);
            if after != before {
                let number = self.number + changes.len() as u64 + 1;
                let is_pair_changed = after.pair != before.pair;
                changes.push(Seen { at, pair: after.pair, number, is_pair_changed });
            }
            before = after;
        }
        changes
    }

    /// The sessions that live, by application: when each was last set, in which order, and what it shows.
    fn sessions(&self, now: Timestamp) -> BTreeMap<AppId, (usize, Pair)> {
        let mut sessions = BTreeMap::new();
        for (order, (at, command)) in self.said.iter().enumerate() {
            match command {
                Command::SetPresence { app, pair, lifetime } => {
                    let age = now.duration_since(*at);
                    let shown = match pair.pair() {
                        set if set.availability != Availability::Available || age < FADE => set,
                        _ if age < FADE * 2 => {
                            Pair::new(Availability::Available, Activity::AvailableInactive)
                        }
                        _ => Pair::new(Availability::Away, Activity::Away),
                    };
                    if age < lifetime.duration() {
                        sessions.insert(*app, (order, shown));
                    } else {
                        sessions.remove(app);
                    }
                }
                Command::ClearPresence { app } => drop(sessions.remove(app)),
                _ => {}
            }
        }
        sessions
    }

    /// §11.3, in its order.
    fn view(&self, now: Timestamp) -> View {
        let sessions = self.sessions(now);
        let strongest = sessions.values().max_by_key(|(order, pair)| {
            let rank = match pair.availability {
                Availability::DoNotDisturb => 4,
                Availability::Busy => 3,
                Availability::Available => 2,
                _ => 1,
            };
            (rank, pair.activity != Activity::AvailableInactive, *order)
        });
        let (mut preferred, mut status, mut window, mut manual) = (None, None, None, None);
        let mut automatic: BTreeMap<AppId, ((bool, usize), &Location)> = BTreeMap::new();
        let mut scheduled = None;
        for (order, (at, command)) in self.said.iter().enumerate() {
            match command {
                Command::SetPreferredPresence { pair, lifetime } => {
                    preferred = (now.duration_since(*at) < lifetime.duration()).then_some(pair.pair());
                }
                Command::ClearPreferredPresence => preferred = None,
                Command::SetStatusMessage(message) => {
                    let live = message.as_ref().filter(|m| m.expires_at.is_none_or(|until| now < until));
                    status = live.map(|m| (m.text.as_str().to_owned(), *at, m.expires_at));
                }
                Command::SetManualLocation { location, zone } => {
                    manual = (now < midnight(*at, zone)).then_some(location);
                }
                Command::SetAutomaticLocation { app, location, zone } => {
                    automatic.remove(app);
                    if now < midnight(*at, zone) {
                        automatic.insert(*app, ((location.place.is_some(), order), location));
                    }
                }
                Command::ClearLocation => {
                    manual = None;
                    automatic.clear();
                }
                Command::ClearAutomaticLocation => automatic.clear(),
                Command::SetOutOfOffice(set) => window = set.as_ref(),
                Command::SetSchedule(set) => {
                    let covering = set
                        .segments()
                        .iter()
                        .enumerate()
                        .filter(|(_, s)| s.starts_at <= now && now < s.ends_at);
                    scheduled = covering
                        .max_by_key(|(place, s)| (s.location.place.is_some(), s.starts_at, *place))
                        .map(|(_, s)| &s.location);
                }
                Command::SetPresence { .. } | Command::ClearPresence { .. } => {}
            }
        }
        let mut pair = match (strongest, preferred) {
            (None, _) => Pair::OFFLINE,
            (Some(_), Some(preferred)) => preferred,
            (Some((_, pair)), None) => *pair,
        };
        let window = window.filter(|window| {
            window.starts_at().is_none_or(|at| at <= now) && window.ends_at().is_none_or(|at| now < at)
        });
        if window.is_some() {
            pair.activity = match (pair.availability, pair.activity) {
                (Availability::Available, _) | (Availability::Offline, Activity::Offline) => {
                    Activity::OutOfOffice
                }
                (_, other) => other,
            };
        }
        let detected = automatic.values().max_by_key(|(precision, _)| *precision).map(|(_, place)| *place);
        let (source, place) = match (manual, detected, scheduled) {
            (Some(place), ..) => (LocationSource::Manual, Some(place)),
            (None, Some(place), _) => (LocationSource::Automatic, Some(place)),
            (None, None, Some(place)) => (LocationSource::Scheduled, Some(place)),
            (None, None, None) => (LocationSource::None, None),
        };
        View {
            pair,
            status,
            office: (window.is_some(), window.and_then(|w| w.message()).map(str::to_owned)),
            place: (source, place.map(spot)),
        }
    }
}

/// Every instant at which something that was said at `at` may change by time.
fn deadlines(at: Timestamp, command: &Command) -> Vec<Timestamp> {
    match command {
        Command::SetPresence { lifetime, .. } => vec![at + FADE, at + FADE * 2, at + lifetime.duration()],
        Command::SetPreferredPresence { lifetime, .. } => vec![at + lifetime.duration()],
        Command::SetStatusMessage(Some(message)) => message.expires_at.into_iter().collect(),
        Command::SetManualLocation { zone, .. } | Command::SetAutomaticLocation { zone, .. } => {
            vec![midnight(at, zone)]
        }
        Command::SetOutOfOffice(Some(window)) => {
            [window.starts_at(), window.ends_at()].into_iter().flatten().collect()
        }
        Command::SetSchedule(schedule) => {
            schedule.segments().iter().flat_map(|segment| [segment.starts_at, segment.ends_at]).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether nothing that was said then can matter any more, neither by itself nor by what it took back.
fn is_over(at: Timestamp, command: &Command, now: Timestamp) -> bool {
    // A session that has ended still covers the one that the same application had set before, so it stays for a day,
    // which is longer than any session.
    matches!(command, Command::SetPresence { .. } | Command::ClearPresence { .. })
        && now.duration_since(at) > SignedDuration::from_hours(24)
}

/// The end of the day in a zone of one offset. Other zones are the business of the rules' own tests.
fn midnight(at: Timestamp, zone: &jiff::tz::TimeZone) -> Timestamp {
    let offset = i64::from(zone.to_offset(at).seconds());
    let day = (at.as_second() + offset).div_euclid(24 * 60 * 60);
    Timestamp::from_second((day + 1) * 24 * 60 * 60 - offset).unwrap_or(Timestamp::MAX)
}
