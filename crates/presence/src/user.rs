//! A user's presence: what was asked for, and the one function that answers what everyone sees.
//!
//! Nothing here is a stored state that a timer must flip. [`UserPresence`] keeps the requests; [`UserPresence::at`]
//! computes the answer for any instant; [`UserPresence::next_change`] says when to look again. A late timer can
//! therefore delay a notification, but never a read.

use alloc::vec::Vec;

use jiff::{SignedDuration, Timestamp};

use crate::explanation::{
    AutomaticInput, Explanation, LocationOutcome, ManualInput, NextChange, OutOfOfficeInput, PreferredInput,
    PreferredOutcome, Rule, ScheduledInput, SessionInput, SessionOutcome, StatusMessageInput,
};
use crate::limits::{AUTOMATIC_LOCATIONS_PER_USER_MAX, SESSIONS_PER_USER_MAX};
use crate::session::strength;
use crate::work_location::{current_segment, strongest_automatic};
use crate::{
    Activity, AppId, AutomaticLocation, Availability, Command, LocationSource, ManualLocation, NewStatusMessage,
    OutOfOffice, OutOfOfficeSettings, Pair, Preferred, PresenceError, Schedule, Session, StatusMessage,
    WorkLocation, end_of_local_day,
};

/// Counts the visible changes of one user's presence: it grows with each, also with those that time alone makes, and
/// never goes back. Source: presence-api §3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(pub u64);

/// Everything kept about one user. Plain data: a store may take it apart and put it together again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPresence {
    /// Presence sessions, one per application, in the order in which they were last set.
    pub sessions: Vec<Session>,
    /// The preferred presence.
    pub preferred: Option<Preferred>,
    /// The status message.
    pub status_message: Option<StatusMessage>,
    /// The manual layer of the work location.
    pub manual_location: Option<ManualLocation>,
    /// The automatic layer, one signal per application.
    pub automatic_locations: Vec<AutomaticLocation>,
    /// The scheduled layer.
    pub schedule: Schedule,
    /// The out-of-office window.
    pub out_of_office: Option<OutOfOffice>,
    /// The number of visible changes up to `settled_at`.
    pub sequence_number: SequenceNumber,
    /// The instant of the last command or settlement. Changes that time makes after it are counted when asked for.
    pub settled_at: Timestamp,
}

/// A user of whom nothing was ever said.
impl Default for UserPresence {
    fn default() -> Self {
        Self {
            sessions: Vec::new(),
            preferred: None,
            status_message: None,
            manual_location: None,
            automatic_locations: Vec::new(),
            schedule: Schedule::default(),
            out_of_office: None,
            sequence_number: SequenceNumber(0),
            settled_at: Timestamp::MIN,
        }
    }
}

/// What everyone sees of a user at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence<'a> {
    /// Availability and activity.
    pub pair: Pair,
    /// The status message, if one is live.
    pub status_message: Option<&'a StatusMessage>,
    /// Whether the user is out of office.
    pub out_of_office: OutOfOfficeSettings<'a>,
    /// Where the user works.
    pub work_location: WorkLocation<'a>,
    /// The version of all the above.
    pub sequence_number: SequenceNumber,
}

impl Presence<'_> {
    /// Somebody the reader cannot know about. Source: presence-api §4.
    pub const UNKNOWN: Presence<'static> = Presence {
        pair: Pair::UNKNOWN,
        status_message: None,
        out_of_office: OutOfOfficeSettings { is_out_of_office: false, message: None },
        work_location: WorkLocation { source: LocationSource::None, location: None },
        sequence_number: SequenceNumber(0),
    };
}

impl UserPresence {
    /// Carries out a command at `now`. A refused command changes nothing.
    ///
    /// An instant before the last one counts as the last one: time does not go back for a user, whatever a machine's
    /// clock does.
    ///
    /// # Errors
    /// [`PresenceError::SessionNotFound`] for clearing what is not there, the `TooMany…` bounds, and
    /// [`PresenceError::StatusMessageExpired`].
    pub fn apply(&mut self, command: Command, now: Timestamp) -> Result<(), PresenceError> {
        let now = now.max(self.settled_at);
        let mut next = self.clone();
        next.perform(command, now)?;
        self.replace_with(next, now);
        Ok(())
    }

    /// Folds the past into the record: counts the changes time has made, and forgets what has ended. Shows the same
    /// before and after.
    pub fn settle(&mut self, now: Timestamp) {
        let now = now.max(self.settled_at);
        let next = self.clone();
        self.replace_with(next, now);
    }

    /// What everyone sees at `now`. The only code that decides a presence.
    ///
    /// Between `now` and [`next_change(now)`](Self::next_change) the answer is constant.
    pub fn at(&self, now: Timestamp) -> Presence<'_> {
        let now = now.max(self.settled_at);
        Presence { sequence_number: self.sequence_number_at(now), ..self.view(now) }
    }

    /// [`at`](Self::at), keeping winner and losers.
    pub fn explain(&self, now: Timestamp) -> Explanation {
        let now = now.max(self.settled_at);
        let shown = self.at(now);
        let decision = self.decide(now);
        let place = self.locate(now);
        let location = shown.work_location.location;
        Explanation {
            at: now,
            pair: shown.pair,
            sequence_number: shown.sequence_number,
            rule: decision.rule,
            out_of_office_shown: shown.pair != decision.pair,
            sessions: self.explain_sessions(&decision, now),
            preferred: self.preferred.filter(|preferred| preferred.is_live(now)).map(|preferred| {
                PreferredInput {
                    preferred,
                    outcome: match decision.rule {
                        Rule::NoSession => PreferredOutcome::AsleepWithoutSession,
                        Rule::PreferredPresence | Rule::StrongestSession => PreferredOutcome::Shown,
                    },
                }
            }),
            out_of_office: self.out_of_office.as_ref().filter(|window| !window.is_over(now)).map(|window| {
                OutOfOfficeInput { out_of_office: window.clone(), is_active: window.is_active(now) }
            }),
            status_message: shown
                .status_message
                .map(|message| StatusMessageInput { status_message: message.clone() }),
            location_source: shown.work_location.source,
            location_kind: location.map(|location| location.kind),
            location_place: location.and_then(|location| location.place.clone()),
            manual: self.manual_location.as_ref().filter(|manual| now < manual.expires_at).map(|manual| {
                ManualInput { manual: manual.clone(), outcome: place.outcome(LocationSource::Manual, 0) }
            }),
            automatic: self
                .automatic_locations
                .iter()
                .enumerate()
                .filter(|(_, signal)| now < signal.expires_at)
                .map(|(position, signal)| AutomaticInput {
                    automatic: signal.clone(),
                    outcome: place.outcome(LocationSource::Automatic, position),
                })
                .collect(),
            scheduled: self
                .schedule
                .segments()
                .iter()
                .enumerate()
                .filter(|(_, segment)| now < segment.ends_at)
                .map(|(position, segment)| ScheduledInput {
                    scheduled: segment.clone(),
                    outcome: if now < segment.starts_at {
                        LocationOutcome::NotNow
                    } else {
                        place.outcome(LocationSource::Scheduled, position)
                    },
                })
                .collect(),
            next_change: self.next_change(now).map(|at| NextChange { at, pair: self.view(at).pair }),
        }
    }

    /// The first instant after `after` at which [`at`](Self::at) answers differently if nobody writes, or `None` if it
    /// never does.
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        self.next_change_until(after.max(self.settled_at), Timestamp::MAX)
    }

    fn perform(&mut self, command: Command, now: Timestamp) -> Result<(), PresenceError> {
        self.forget_ended(now);
        match command {
            Command::SetPresence { app, pair, lifetime } => {
                self.sessions.retain(|session| session.app != app);
                if self.sessions.len() >= SESSIONS_PER_USER_MAX {
                    return Err(PresenceError::TooManySessions);
                }
                let expires_at = add(now, lifetime.duration());
                self.sessions.push(Session { app, pair, set_at: now, expires_at });
            }
            Command::ClearPresence { app } => {
                let before = self.sessions.len();
                self.sessions.retain(|session| session.app != app);
                if self.sessions.len() == before {
                    return Err(PresenceError::SessionNotFound);
                }
            }
            Command::SetPreferredPresence { pair, lifetime } => {
                let expires_at = add(now, lifetime.duration());
                self.preferred = Some(Preferred { pair, set_at: now, expires_at });
            }
            Command::ClearPreferredPresence => self.preferred = None,
            Command::SetStatusMessage(None) => self.status_message = None,
            Command::SetStatusMessage(Some(message)) => {
                message.check(now)?;
                let NewStatusMessage { text, expires_at } = message;
                self.status_message = Some(StatusMessage { text, published_at: now, expires_at });
            }
            Command::SetManualLocation { location, zone } => {
                let expires_at = end_of_local_day(now, &zone);
                self.manual_location = Some(ManualLocation { location, set_at: now, expires_at });
            }
            Command::SetAutomaticLocation { app, location, zone } => {
                self.automatic_locations.retain(|signal| signal.app != app);
                if self.automatic_locations.len() >= AUTOMATIC_LOCATIONS_PER_USER_MAX {
                    return Err(PresenceError::TooManyAutomaticLocations);
                }
                let expires_at = end_of_local_day(now, &zone);
                self.automatic_locations.push(AutomaticLocation { app, location, set_at: now, expires_at });
            }
            Command::ClearLocation => {
                self.manual_location = None;
                self.automatic_locations.clear();
            }
            Command::ClearAutomaticLocation => self.automatic_locations.clear(),
            Command::SetOutOfOffice(window) => self.out_of_office = window.filter(|w| !w.is_over(now)),
            Command::SetSchedule(mut schedule) => {
                schedule.forget_before(now);
                self.schedule = schedule;
            }
        }
        Ok(())
    }

    /// Becomes `next`, counting the changes that time made since the last settlement and the one that `next` makes.
    fn replace_with(&mut self, mut next: Self, now: Timestamp) {
        next.forget_ended(now);
        let mut sequence_number = self.sequence_number_at(now);
        if next.view(now) != self.view(now) {
            sequence_number.0 += 1;
        }
        next.sequence_number = sequence_number;
        next.settled_at = now;
        *self = next;
    }

    fn forget_ended(&mut self, now: Timestamp) {
        self.sessions.retain(|session| session.is_live(now));
        self.preferred = self.preferred.filter(|preferred| preferred.is_live(now));
        if self.status_message.as_ref().is_some_and(|message| !message.is_live(now)) {
            self.status_message = None;
        }
        if self.manual_location.as_ref().is_some_and(|manual| manual.expires_at <= now) {
            self.manual_location = None;
        }
        self.automatic_locations.retain(|signal| now < signal.expires_at);
        self.schedule.forget_before(now);
        if self.out_of_office.as_ref().is_some_and(|window| window.is_over(now)) {
            self.out_of_office = None;
        }
    }

    /// What everyone sees, without its version.
    fn view(&self, now: Timestamp) -> Presence<'_> {
        let out_of_office = self.out_of_office.as_ref().filter(|window| window.is_active(now));
        let mut pair = self.decide(now).pair;
        if out_of_office.is_some() {
            pair = with_out_of_office(pair);
        }
        Presence {
            pair,
            status_message: self.status_message.as_ref().filter(|message| message.is_live(now)),
            out_of_office: OutOfOfficeSettings {
                is_out_of_office: out_of_office.is_some(),
                message: out_of_office.and_then(OutOfOffice::message),
            },
            work_location: self.locate(now).resolve(self),
            sequence_number: SequenceNumber(0),
        }
    }

    /// Steps 1 to 3 of presence-api §11.3.
    fn decide(&self, now: Timestamp) -> Decision {
        let mut strongest: Option<(usize, Pair)> = None;
        for (position, session) in self.sessions.iter().enumerate() {
            let Some(pair) = session.pair_at(now) else { continue };
            // Sessions stand in the order in which they were set, so of two as strong the later one wins.
            if strongest.is_none_or(|(_, best)| strength(pair, best).is_ge()) {
                strongest = Some((position, pair));
            }
        }
        let Some((winner, pair)) = strongest else {
            return Decision { rule: Rule::NoSession, pair: Pair::OFFLINE, winner: None };
        };
        match self.preferred.filter(|preferred| preferred.is_live(now)) {
            Some(preferred) => {
                Decision { rule: Rule::PreferredPresence, pair: preferred.pair.pair(), winner: None }
            }
            None => Decision { rule: Rule::StrongestSession, pair, winner: Some(winner) },
        }
    }

    /// Which layer, and which entry of it, decides the work location.
    fn locate(&self, now: Timestamp) -> Place {
        let manual = self.manual_location.as_ref().filter(|manual| now < manual.expires_at);
        if manual.is_some() {
            return Place { source: LocationSource::Manual, position: 0 };
        }
        if let Some(position) = strongest_automatic(&self.automatic_locations, now) {
            return Place { source: LocationSource::Automatic, position };
        }
        if let Some(position) = current_segment(&self.schedule, now) {
            return Place { source: LocationSource::Scheduled, position };
        }
        Place { source: LocationSource::None, position: 0 }
    }

    fn sequence_number_at(&self, now: Timestamp) -> SequenceNumber {
        let mut sequence_number = self.sequence_number;
        let mut from = self.settled_at;
        while let Some(change) = self.next_change_until(from, now) {
            sequence_number.0 += 1;
            from = change;
        }
        sequence_number
    }

    fn next_change_until(&self, after: Timestamp, limit: Timestamp) -> Option<Timestamp> {
        let mut deadline = self.next_deadline(after).filter(|at| *at <= limit)?;
        let seen = self.view(after);
        while self.view(deadline) == seen {
            deadline = self.next_deadline(deadline).filter(|at| *at <= limit)?;
        }
        Some(deadline)
    }

    /// The next instant after `after` at which any part of the record changes by time alone, visibly or not.
    fn next_deadline(&self, after: Timestamp) -> Option<Timestamp> {
        let sessions = self.sessions.iter().filter_map(|session| session.next_deadline(after));
        let singles = [
            self.preferred.map(|preferred| preferred.expires_at),
            self.status_message.as_ref().and_then(|message| message.expires_at),
            self.manual_location.as_ref().map(|manual| manual.expires_at),
        ];
        let automatic = self.automatic_locations.iter().map(|signal| signal.expires_at);
        let scheduled = self.schedule.segments().iter().flat_map(|s| [s.starts_at, s.ends_at]);
        let out_of_office = self.out_of_office.as_ref().and_then(|window| window.next_deadline(after));
        let others = singles.into_iter().flatten().chain(automatic).chain(scheduled).filter(|at| *at > after);
        sessions.chain(others).chain(out_of_office).min()
    }

    fn explain_sessions(&self, decision: &Decision, now: Timestamp) -> Vec<SessionInput> {
        let winner = decision.winner.map(|position| self.sessions[position]);
        let live = self.sessions.iter().filter_map(|session| Some((session, session.pair_at(now)?)));
        live.map(|(session, pair)| SessionInput {
            session: *session,
            fade: session.fade(now),
            pair,
            next_fade_at: session.next_fade(now),
            outcome: match winner {
                None => SessionOutcome::HiddenByPreferred,
                Some(winner) => session_outcome(session.app, pair, winner.app, decision.pair),
            },
        })
        .collect()
    }
}

/// What [`UserPresence::decide`] found, before out of office.
struct Decision {
    rule: Rule,
    pair: Pair,
    winner: Option<usize>,
}

/// What [`UserPresence::locate`] found: a layer and the position of the entry within it.
struct Place {
    source: LocationSource,
    position: usize,
}

impl Place {
    fn resolve<'a>(&self, user: &'a UserPresence) -> WorkLocation<'a> {
        let location = match self.source {
            LocationSource::None => None,
            LocationSource::Manual => user.manual_location.as_ref().map(|manual| &manual.location),
            LocationSource::Automatic => Some(&user.automatic_locations[self.position].location),
            LocationSource::Scheduled => Some(&user.schedule.segments()[self.position].location),
        };
        WorkLocation { source: self.source, location }
    }

    fn outcome(&self, layer: LocationSource, position: usize) -> LocationOutcome {
        if self.source != layer {
            LocationOutcome::HiddenBy(self.source)
        } else if self.position != position {
            LocationOutcome::LessPrecise
        } else {
            LocationOutcome::Shown
        }
    }
}

fn session_outcome(app: AppId, pair: Pair, winner: AppId, winning: Pair) -> SessionOutcome {
    if app == winner {
        SessionOutcome::Shown
    } else if strength(pair, winning).is_lt() {
        SessionOutcome::Outranked { by: winner }
    } else {
        SessionOutcome::SetEarlier { than: winner }
    }
}

/// Step 4 of presence-api §11.3, after the permutations of §11.4: "Available, out of office" and "out of office, nothing
/// else" have an activity of their own; every other state keeps its activity, and only `isOutOfOffice` tells.
///
/// Assumed: an inactive Available user out of office reads as any Available user out of office does.
fn with_out_of_office(pair: Pair) -> Pair {
    if pair.availability == Availability::Available {
        Pair::new(Availability::Available, Activity::OutOfOffice)
    } else if pair == Pair::OFFLINE {
        Pair::OFFLINE_OUT_OF_OFFICE
    } else {
        pair
    }
}

fn add(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
