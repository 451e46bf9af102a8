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
use crate::limits::{AUTOMATIC_LOCATIONS_PER_USER_MAX, CHANGES_BY_TIME_MAX, SESSIONS_PER_USER_MAX};
use crate::outcome::{Claim, Decider, Instead, Outcome, Part, Purpose};
use crate::session::strength;
use crate::work_location::{current_segment, strongest_automatic};
use crate::{
    Activity, AppId, AutomaticLocation, Availability, Change, Command, LocationSource, ManualLocation,
    NewStatusMessage, OutOfOffice, OutOfOfficeSettings, Pair, Preferred, PresenceError, Schedule, Session,
    StatusMessage, WorkLocation, end_of_local_day,
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
        self.execute(command, now).map(drop)
    }

    /// [`apply`](Self::apply), answering with the visible changes since the last command or settlement, oldest first:
    /// those that time made, then the one the command made, if it made one. Not more than
    /// [`CHANGES_BY_TIME_MAX`] and one.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn execute(&mut self, command: Command, now: Timestamp) -> Result<Vec<Change>, PresenceError> {
        self.execute_overlapping(command, now, now)
    }

    /// [`execute`](Self::execute) of a command that others do not learn of at once: until `until` they may still see this
    /// record as it was, and what time makes of it. No number that they may see so is used again for something else, so
    /// that whoever looks before and after never sees the number go back: what comes of the command is numbered after all
    /// changes that time would have made up to then.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn execute_overlapping(
        &mut self,
        command: Command,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Change>, PresenceError> {
        let now = now.max(self.settled_at);
        if self.has_only_sessions() && self.takes_of_sessions(&command, now)? {
            return self.execute_on_sessions(command, now, until);
        }
        let mut next = self.clone();
        next.perform(command, now)?;
        Ok(self.replace_with(next, now, until))
    }

    /// Folds the past into the record: counts the changes time has made, and forgets what has ended. Shows the same
    /// before and after.
    pub fn settle(&mut self, now: Timestamp) {
        self.settle_listing(now);
    }

    /// [`settle`](Self::settle), answering with the visible changes that time has made since the last command or
    /// settlement, oldest first. Not more than [`CHANGES_BY_TIME_MAX`].
    pub fn settle_listing(&mut self, now: Timestamp) -> Vec<Change> {
        let now = now.max(self.settled_at);
        let changes = self.changes_by_time(self.settled_at, now);
        if let Some(last) = changes.last() {
            self.sequence_number = last.sequence_number;
        }
        self.forget_ended(now);
        self.settled_at = now;
        changes
    }

    /// The visible changes that time makes after `after` and up to `until`, both as they are understood by
    /// [`at`](Self::at), oldest first. Not more than [`CHANGES_BY_TIME_MAX`].
    pub fn changes_by_time(&self, after: Timestamp, until: Timestamp) -> Vec<Change> {
        let from = after.max(self.settled_at);
        let mut changes = Vec::new();
        let next_deadline = |after| self.next_deadline(after).filter(|at| *at <= until);
        // Mostly nothing has come due, and then there is nothing to work out.
        let Some(mut at) = next_deadline(from) else { return changes };
        let mut sequence_number = self.sequence_number_at(from);
        let mut before = self.seen(from);
        loop {
            let seen = self.seen(at);
            if seen != before {
                sequence_number.0 += 1;
                let (pair, is_pair_changed) = (seen.pair(), seen.pair() != before.pair());
                changes.push(Change { at, pair, sequence_number, is_pair_changed });
                before = seen;
            }
            let Some(next) = next_deadline(at) else { break };
            at = next;
        }
        debug_assert!(changes.len() <= CHANGES_BY_TIME_MAX);
        changes
    }

    /// What everyone sees at `now`. The only code that decides a presence; [`Sole::at`](crate::Sole::at) says the same of the
    /// plainest records.
    ///
    /// Between `now` and [`next_change(now)`](Self::next_change) the answer is constant. An instant before the last
    /// command or settlement counts as that one, so the answer never goes back behind what was written. A read is not
    /// remembered: of two reads with no write between them, the one for the earlier instant gets the earlier answer.
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

    /// What `command` is about, before it is carried out at `now`. Ask [`outcome`](Self::outcome) of the record after it.
    pub fn claim(&self, command: &Command, now: Timestamp) -> Claim {
        let now = now.max(self.settled_at);
        Claim::new(command, |part| self.decider(part, now))
    }

    /// What a command that was carried out at `now` has come to.
    pub fn outcome(&self, claim: &Claim, now: Timestamp) -> Outcome {
        let now = now.max(self.settled_at);
        let by = self.decider(claim.part, now);
        match claim.purpose {
            Purpose::Set(wanted) if wanted == by => Outcome::Visible,
            Purpose::Clear { before } if before != by => Outcome::Visible,
            Purpose::Set(_) => {
                Outcome::Hidden(Instead { by, until: self.decides_until(claim.part, by, now) })
            }
            Purpose::Clear { .. } => {
                Outcome::Unchanged(Instead { by, until: self.decides_until(claim.part, by, now) })
            }
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

    /// Becomes `next`, counting the changes that time made since the last settlement and the one that `next` makes, and
    /// passing over the numbers of those that time would have made until `until`.
    fn replace_with(&mut self, mut next: Self, now: Timestamp, until: Timestamp) -> Vec<Change> {
        next.forget_ended(now);
        let mut changes = self.changes_by_time(self.settled_at, now);
        let mut sequence_number = self.number_after(&changes, now, until);
        let (before, after) = (self.view(now), next.view(now));
        if after != before {
            sequence_number.0 += 1;
            let is_pair_changed = after.pair != before.pair;
            changes.push(Change { at: now, pair: after.pair, sequence_number, is_pair_changed });
        }
        next.sequence_number = sequence_number;
        next.settled_at = now;
        *self = next;
        changes
    }

    /// Whether nothing of the record but its sessions can be seen, or come due. So it is with nearly everybody, who is then
    /// spared to be asked again and again about parts that are not there.
    fn has_only_sessions(&self) -> bool {
        self.preferred.is_none()
            && self.status_message.is_none()
            && self.manual_location.is_none()
            && self.automatic_locations.is_empty()
            && self.schedule.segments().is_empty()
            && self.out_of_office.is_none()
    }

    /// Whether a command is about sessions, and will not be refused.
    fn takes_of_sessions(&self, command: &Command, now: Timestamp) -> Result<bool, PresenceError> {
        let live = || self.sessions.iter().filter(|session| session.is_live(now));
        match command {
            Command::SetPresence { app, .. } => {
                if live().filter(|session| session.app != *app).count() >= SESSIONS_PER_USER_MAX {
                    return Err(PresenceError::TooManySessions);
                }
                Ok(true)
            }
            Command::ClearPresence { app } => {
                if !live().any(|session| session.app == *app) {
                    return Err(PresenceError::SessionNotFound);
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What [`replace_with`](Self::replace_with) comes to where there are only sessions, before and after, without making another
    /// record.
    fn execute_on_sessions(
        &mut self,
        command: Command,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Change>, PresenceError> {
        let mut changes = self.changes_by_time(self.settled_at, now);
        let mut sequence_number = self.number_after(&changes, now, until);
        let before = self.decide(now).pair;
        self.perform(command, now)?;
        self.forget_ended(now);
        let pair = self.decide(now).pair;
        if pair != before {
            sequence_number.0 += 1;
            changes.push(Change { at: now, pair, sequence_number, is_pair_changed: true });
        }
        self.sequence_number = sequence_number;
        self.settled_at = now;
        Ok(changes)
    }

    /// The number that these changes lead to, which are all up to `now`, and with which those that time would make until `until`
    /// are passed over.
    fn number_after(&self, changes: &[Change], now: Timestamp, until: Timestamp) -> SequenceNumber {
        let mut sequence_number = changes.last().map_or(self.sequence_number, |last| last.sequence_number);
        if until > now && self.next_deadline(now).is_some_and(|at| at <= until) {
            sequence_number.0 += self.changes_by_time(now, until).len() as u64;
        }
        sequence_number
    }

    fn forget_ended(&mut self, now: Timestamp) {
        self.sessions.retain(|session| session.is_live(now));
        if self.has_only_sessions() {
            return;
        }
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

    /// What everyone sees, to be compared with what they see at another instant of the same record.
    fn seen(&self, now: Timestamp) -> Seen<'_> {
        if self.has_only_sessions() { Seen::Pair(self.decide(now).pair) } else { Seen::All(self.view(now)) }
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

    /// What decides a part of the presence.
    fn decider(&self, part: Part, now: Timestamp) -> Decider {
        match part {
            Part::Pair => {
                let decision = self.decide(now);
                match (decision.rule, decision.winner) {
                    (Rule::PreferredPresence, _) => Decider::PreferredPresence,
                    (Rule::StrongestSession, Some(winner)) => Decider::Session(self.sessions[winner].app),
                    (Rule::StrongestSession | Rule::NoSession, _) => Decider::NoSession,
                }
            }
            Part::Location => {
                let place = self.locate(now);
                match place.source {
                    LocationSource::None => Decider::NoLocation,
                    LocationSource::Manual => Decider::ManualLocation,
                    LocationSource::Automatic => {
                        Decider::AutomaticLocation(self.automatic_locations[place.position].app)
                    }
                    LocationSource::Scheduled => Decider::ScheduledLocation,
                }
            }
            Part::StatusMessage => match &self.status_message {
                Some(message) if message.is_live(now) => Decider::StatusMessage,
                _ => Decider::NoStatusMessage,
            },
            Part::OutOfOffice => match &self.out_of_office {
                Some(window) if window.is_active(now) => Decider::OutOfOffice,
                _ => Decider::InOffice,
            },
        }
    }

    /// When something else decides than `by`, which does now. The deadlines of a record are bounded by what it may hold.
    fn decides_until(&self, part: Part, by: Decider, now: Timestamp) -> Option<Timestamp> {
        let mut deadline = self.next_deadline(now)?;
        while self.decider(part, deadline) == by {
            deadline = self.next_deadline(deadline)?;
        }
        Some(deadline)
    }

    fn sequence_number_at(&self, now: Timestamp) -> SequenceNumber {
        let mut sequence_number = self.sequence_number;
        let mut from = self.settled_at;
        if now <= from {
            return sequence_number;
        }
        while let Some(change) = self.next_change_until(from, now) {
            sequence_number.0 += 1;
            from = change;
        }
        sequence_number
    }

    fn next_change_until(&self, after: Timestamp, limit: Timestamp) -> Option<Timestamp> {
        let mut deadline = self.next_deadline(after).filter(|at| *at <= limit)?;
        let seen = self.seen(after);
        while self.seen(deadline) == seen {
            deadline = self.next_deadline(deadline).filter(|at| *at <= limit)?;
        }
        Some(deadline)
    }

    /// The next instant after `after` at which any part of the record changes by time alone, visibly or not.
    fn next_deadline(&self, after: Timestamp) -> Option<Timestamp> {
        let sessions = self.sessions.iter().filter_map(|session| session.next_deadline(after));
        if self.has_only_sessions() {
            return sessions.min();
        }
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

/// What [`UserPresence::seen`] found: all there is to see.
#[derive(PartialEq)]
enum Seen<'a> {
    /// Where there is nothing else.
    Pair(Pair),
    All(Presence<'a>),
}

impl Seen<'_> {
    fn pair(&self) -> Pair {
        match self {
            Self::Pair(pair) | Self::All(Presence { pair, .. }) => *pair,
        }
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

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;
    use crate::timeline::{app, check, instant, play};
    use crate::{Location, LocationKind, SessionLifetime, SessionPair};

    #[test]
    fn nobody_said_anything_and_the_user_is_offline() {
        check(
            "
            -009999-01-02T01:59:59Z sees Offline/Offline #0 unstatus nowhere in-office next never
            9999-12-30T22:00:00.999999999Z sees Offline/Offline #0 unstatus nowhere in-office next never
            ",
        );
        assert_eq!(UserPresence::default().at(Timestamp::MAX).sequence_number, SequenceNumber(0));
    }

    #[test]
    fn the_sequence_number_grows_with_every_visible_change_also_by_time_alone() {
        check(
            r#"
            00:00     sees #0
            00:00     desk set Available/Available for 15m
            00:00     sees #1
            04:59     sees #1
            05:00     sees #2
            10:00     sees #3
            14:59     sees #3
            15:00     sees #4
            16:00     status "Here" until 17:00
            16:00     sees #5
            17:00     sees #6
            18:00     out-of-office from 19:00 until 20:00
            18:00     sees #6
            19:00     sees #7
            20:00     sees #8
            21:00     manual office
            21:00     sees #9
            24:00:00  sees #10
            25:00:00  schedule remote 26:00:00..27:00:00
            25:00:00  sees #10
            26:00:00  sees #11
            27:00:00  sees #12
            "#,
        );
    }

    #[test]
    fn writes_that_nobody_can_see_leave_the_sequence_number_alone() {
        check(
            "
            00:00     prefer Busy/Busy
            00:00     sees #0
            00:00     desk set DoNotDisturb/Presenting for 4h
            00:00     sees Busy/Busy #1
            01:00     desk set DoNotDisturb/Presenting for 4h
            02:00     phone set Available/Available for 4h
            03:00     prefer Busy/Busy
            04:00     phone clear
            05:00     unlocate
            06:00     in-office
            07:00     unstatus
            08:00     schedule
            09:00     settle
            10:00     desk clear
            10:00     sees Offline/Offline #2
            ",
        );
    }

    #[test]
    fn changes_of_several_parts_at_one_instant_are_one_change() {
        check(
            r#"
            00:00     desk set Available/Available for 10m
            00:00     status "Here" until 05:00
            00:00     sees #2 next 05:00
            05:00     sees Available/AvailableInactive unstatus #3 next 10:00
            "#,
        );
    }

    #[test]
    fn a_change_by_time_and_a_write_at_the_same_instant_are_two_changes() {
        check(
            "
            00:00     desk set Available/Available
            05:00     desk set Available/Available
            05:00     sees Available/Available #3
            ",
        );
    }

    #[test]
    fn changes_behind_a_stronger_session_are_not_counted() {
        check(
            "
            00:00     phone set DoNotDisturb/Presenting for 1h
            00:00     desk set Available/Available for 30m
            00:00     sees DoNotDisturb/Presenting #1 next 01:00:00
            59:59     sees #1
            01:00:00  sees #2
            ",
        );
    }

    #[test]
    fn time_does_not_go_back_for_a_user() {
        check(
            "
            10:00     desk set Available/Available for 1h
            16:00     phone set Away/Away for 1h
            16:00     sees Available/AvailableInactive #2 next 20:00
            00:00     sees Available/AvailableInactive #2 next 20:00
            00:00     phone set Busy/InACall for 5m
            00:00     sees Busy/InACall #3 next 21:00
            20:59     sees Busy/InACall #3
            21:00     sees Away/Away #4
            ",
        );
    }

    #[test]
    fn what_would_outlive_the_end_of_time_ends_there() {
        check(
            "
            9999-12-30T22:00:00Z desk set Available/Available for 4h
            9999-12-30T22:00:00Z prefer Busy/Busy
            9999-12-30T22:00:00Z manual office
            9999-12-30T22:00:00Z sees Busy/Busy manual office next 9999-12-30T22:00:00.999999999Z
            9999-12-30T22:00:00.999999999Z sees Offline/Offline nowhere next never
            9999-12-30T22:00:00.999999999Z desk set Busy/InACall
            9999-12-30T22:00:00.999999999Z sees Offline/Offline next never
            ",
        );
    }

    #[test]
    fn settling_moves_a_user_to_the_instant_and_shows_the_same() {
        check(
            "
            00:00     desk set Available/Available for 15m
            07:00     settle
            07:00     sees Available/AvailableInactive #2 next 10:00
            00:00     settle
            00:00     sees Available/AvailableInactive #2 next 10:00
            99:00     settle
            99:00     sees Offline/Offline #4 next never
            ",
        );
    }

    #[test]
    fn settling_forgets_what_has_ended_and_nothing_else() {
        let mut user = play(
            r#"
            00:00     desk set Available/Available for 10m
            00:00     phone set Available/Available for 15m
            00:00     prefer Busy/Busy for 10m
            00:00     status "Here" until 10:00
            00:00     schedule office 00:00..10:00 office 00:00..11:00
            00:00     out-of-office until 10:00
            00:00     manual office in +23:45
            00:00     radar automatic office in +23:45
            "#,
        );
        let kept = |user: &UserPresence| {
            let layers = (user.manual_location.iter().count(), user.automatic_locations.len());
            let rest = (user.preferred.iter().count(), user.status_message.iter().count());
            let office = user.out_of_office.iter().count();
            (user.sessions.len(), rest, user.schedule.segments().len(), office, layers)
        };
        user.settle(instant("09:59"));
        assert_eq!(kept(&user), (2, (1, 1), 2, 1, (1, 1)));
        user.settle(instant("10:00"));
        assert_eq!(kept(&user), (1, (0, 0), 1, 0, (1, 1)));
        user.settle(instant("15:00"));
        assert_eq!(kept(&user), (0, (0, 0), 0, 0, (0, 0)));
    }

    #[test]
    fn an_accepted_command_forgets_what_has_ended_too() {
        let mut user = play("00:00 desk set Available/Available");
        user.apply(Command::ClearLocation, instant("05:00")).unwrap();
        assert_eq!((user.sessions.len(), user.settled_at), (0, instant("05:00")));
    }

    #[test]
    fn next_change_skips_what_nobody_sees_and_comes_after_the_instant_asked_for() {
        check(
            r#"
            00:00     desk set Busy/InACall for 1h
            00:00     phone set Available/Available for 15m
            00:00     prefer Busy/Busy for 30m
            00:00     sees Busy/Busy next 30:00
            29:59.999999999 sees Busy/Busy next 30:00
            30:00     sees Busy/InACall next 01:00:00
            59:59     sees Busy/InACall next 01:00:00
            01:00:00  sees Offline/Offline next never
            "#,
        );
    }

    #[test]
    fn a_user_has_a_bounded_number_of_live_sessions() {
        let mut user = UserPresence::default();
        let set = |position: usize| Command::SetPresence {
            app: AppId::from_u128(position as u128),
            pair: SessionPair::Available,
            lifetime: SessionLifetime::default(),
        };
        for position in 0..SESSIONS_PER_USER_MAX {
            user.apply(set(position), instant("00:00")).unwrap();
        }
        let before = user.clone();
        let refused = user.apply(set(SESSIONS_PER_USER_MAX), instant("04:59"));
        assert_eq!((refused, &user), (Err(PresenceError::TooManySessions), &before));
        assert_eq!(user.apply(set(0), instant("04:59")), Ok(()), "a refresh is not another session");
        assert_eq!(user.apply(set(SESSIONS_PER_USER_MAX), instant("05:00")), Ok(()), "the others have ended");
        assert_eq!(user.sessions.len(), 2);
    }

    #[test]
    fn a_user_has_a_bounded_number_of_automatic_locations() {
        let mut user = UserPresence::default();
        let set = |position: usize| Command::SetAutomaticLocation {
            app: AppId::from_u128(position as u128),
            location: Location { kind: LocationKind::Office, place: None },
            zone: jiff::tz::TimeZone::UTC,
        };
        for position in 0..AUTOMATIC_LOCATIONS_PER_USER_MAX {
            user.apply(set(position), instant("00:00")).unwrap();
        }
        let before = user.clone();
        let refused = user.apply(set(AUTOMATIC_LOCATIONS_PER_USER_MAX), instant("23:59:59"));
        assert_eq!((refused, &user), (Err(PresenceError::TooManyAutomaticLocations), &before));
        assert_eq!(user.apply(set(0), instant("23:59:59")), Ok(()), "one signal an application");
        assert_eq!(user.apply(set(AUTOMATIC_LOCATIONS_PER_USER_MAX), instant("24:00:00")), Ok(()));
        assert_eq!(user.automatic_locations.len(), 1);
    }

    #[test]
    fn every_kind_of_refused_command_changes_nothing() {
        let user = play(
            r#"
            00:00     desk set Available/Available for 10m
            00:00     status "Here" until 05:00
            "#,
        );
        let text = crate::StatusText::new("Late").unwrap().unwrap();
        let late = NewStatusMessage { text, expires_at: Some(instant("06:00")) };
        for refused in [Command::ClearPresence { app: app("phone") }, Command::SetStatusMessage(Some(late))] {
            let mut after = user.clone();
            assert!(after.apply(refused, instant("06:00")).is_err());
            assert_eq!(after, user, "not even the past is settled");
        }
    }

    #[test]
    fn what_is_kept_does_not_put_words_in_a_log() {
        let user = play(
            r#"
            00:00     status "secret"
            00:00     out-of-office "secret"
            "#,
        );
        let (kept, seen): (String, String) = (format!("{user:?}"), format!("{:?}", user.status_message));
        assert!(!kept.contains("secret") && !seen.contains("secret"));
        assert!(!format!("{:?}", user.explain(instant("00:00"))).contains("secret"));
    }

    #[test]
    fn somebody_unknown_shows_nothing() {
        let unknown = Presence::UNKNOWN;
        assert_eq!(unknown.pair, Pair::UNKNOWN);
        assert_eq!((unknown.status_message, unknown.out_of_office.is_out_of_office), (None, false));
        assert_eq!(unknown.work_location.source, LocationSource::None);
    }
}
