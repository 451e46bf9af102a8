//! What a write has come to: whether people see it, and if not, what is shown instead and until when.

use jiff::Timestamp;

use crate::{AppId, Command};

/// What decides one part of a presence at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decider {
    /// There is no live session, so the user is Offline whatever else is set.
    NoSession,
    /// The preferred presence.
    PreferredPresence,
    /// The session of this application.
    Session(AppId),
    /// No layer names a place.
    NoLocation,
    /// The manual location.
    ManualLocation,
    /// The automatic location of this application.
    AutomaticLocation(AppId),
    /// A segment of the schedule.
    ScheduledLocation,
    /// A status message that is shown.
    StatusMessage,
    /// No status message.
    NoStatusMessage,
    /// An out-of-office window that covers the instant.
    OutOfOffice,
    /// No out-of-office window covers the instant.
    InOffice,
}

/// What a write has come to, at the instant at which it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is what everyone sees; or taking it back changed that.
    Visible,
    /// It stands, but something else is shown.
    Hidden(Instead),
    /// Taking it back changed nothing that anyone sees.
    Unchanged(Instead),
}

/// What is shown instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instead {
    /// What decides.
    pub by: Decider,
    /// The instant from which something else does, if nobody writes; `None`: it goes on, or only a write ends it.
    pub until: Option<Timestamp>,
}

/// What a command is about: taken before it is carried out, asked afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub(crate) part: Part,
    pub(crate) purpose: Purpose,
}

/// The part of a presence that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Pair,
    Location,
    StatusMessage,
    OutOfOffice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be what decides.
    Set(Decider),
    /// To end something. What decided before it did?
    Clear { before: Decider },
}

impl Claim {
    /// The part a command is about, and what it puts there or, if it takes something back, what is `shown` before.
    pub(crate) fn new(command: &Command, shown: impl Fn(Part) -> Decider) -> Self {
        let set = |part, decider| Self { part, purpose: Purpose::Set(decider) };
        let clear = |part| Self { part, purpose: Purpose::Clear { before: shown(part) } };
        match command {
            Command::SetPresence { app, .. } => set(Part::Pair, Decider::Session(*app)),
            Command::SetPreferredPresence { .. } => set(Part::Pair, Decider::PreferredPresence),
            Command::ClearPresence { .. } | Command::ClearPreferredPresence => clear(Part::Pair),
            Command::SetStatusMessage(Some(_)) => set(Part::StatusMessage, Decider::StatusMessage),
            Command::SetStatusMessage(None) => clear(Part::StatusMessage),
            Command::SetManualLocation { .. } => set(Part::Location, Decider::ManualLocation),
            Command::SetAutomaticLocation { app, .. } => {
                set(Part::Location, Decider::AutomaticLocation(*app))
            }
            Command::SetSchedule(schedule) if !schedule.segments().is_empty() => {
                set(Part::Location, Decider::ScheduledLocation)
            }
            Command::ClearLocation | Command::ClearAutomaticLocation | Command::SetSchedule(_) => {
                clear(Part::Location)
            }
            Command::SetOutOfOffice(Some(_)) => set(Part::OutOfOffice, Decider::OutOfOffice),
            Command::SetOutOfOffice(None) => clear(Part::OutOfOffice),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::timeline::{app, instant, play};
    use crate::{Command, PreferredPair, SessionLifetime, SessionPair, UserPresence};

    use super::*;

    fn outcome(history: &str, command: Command, at: &str) -> Outcome {
        let (mut user, now): (UserPresence, _) = (play(history), instant(at));
        let claim = user.claim(&command, now);
        user.apply(command, now).unwrap();
        user.outcome(&claim, now)
    }

    fn set(name: &str, pair: SessionPair) -> Command {
        let lifetime = SessionLifetime::new(jiff::SignedDuration::from_hours(1)).unwrap();
        Command::SetPresence { app: app(name), pair, lifetime }
    }

    fn by(by: Decider, until: Option<&str>) -> Instead {
        Instead { by, until: until.map(instant) }
    }

    #[test]
    fn a_session_that_loses_is_told_to_what_and_when_that_ends() {
        let call = "00:00 phone set Busy/InACall for 10m";
        assert_eq!(outcome(call, set("phone", SessionPair::Away), "01:00"), Outcome::Visible);
        let hidden = Outcome::Hidden(by(Decider::Session(app("phone")), Some("10:00")));
        assert_eq!(outcome(call, set("desk", SessionPair::Available), "01:00"), hidden);
        // A fade ends it too: at ten minutes the older Available is only Away, and the newer Away wins.
        let available = "00:00 desk set Available/Available for 1h";
        let hidden = Outcome::Hidden(by(Decider::Session(app("desk")), Some("10:00")));
        assert_eq!(outcome(available, set("phone", SessionPair::Away), "00:00"), hidden);
    }

    #[test]
    fn a_preferred_presence_hides_sessions_and_sleeps_without_one() {
        let pair = PreferredPair::Busy;
        let prefer = Command::SetPreferredPresence { pair, lifetime: pair.default_lifetime() };
        let asleep = Outcome::Hidden(by(Decider::NoSession, None));
        assert_eq!(outcome("", prefer.clone(), "00:00"), asleep);
        let session = "00:00 desk set Available/Available for 5m";
        assert_eq!(outcome(session, prefer, "00:00"), Outcome::Visible);
        let both = "00:00 desk set Available/Available for 5m\n00:00 prefer Busy/Busy";
        // The preference does not decide once there is no session to wake it.
        let hidden = Outcome::Hidden(by(Decider::PreferredPresence, Some("05:00")));
        let user = play(both);
        let claim = user.claim(&set("desk", SessionPair::Available), instant("01:00"));
        assert_eq!(user.outcome(&claim, instant("01:00")), hidden);
    }

    #[test]
    fn what_is_taken_back_is_visible_only_if_that_is_seen() {
        let two = "00:00 desk set Available/Available\n00:00 phone set Busy/InACall for 10m";
        let seen = Command::ClearPresence { app: app("phone") };
        assert_eq!(outcome(two, seen, "01:00"), Outcome::Visible);
        let unseen = Command::ClearPresence { app: app("desk") };
        let instead = by(Decider::Session(app("phone")), Some("10:00"));
        assert_eq!(outcome(two, unseen, "01:00"), Outcome::Unchanged(instead));
        // Without a session the preference sleeps, so ending the last one is seen although it was hidden.
        let last = "00:00 desk set Available/Available\n00:00 prefer Busy/Busy";
        let clear = Command::ClearPresence { app: app("desk") };
        assert_eq!(outcome(last, clear, "01:00"), Outcome::Visible);
        let nothing = Outcome::Unchanged(by(Decider::NoSession, None));
        assert_eq!(outcome("", Command::ClearPreferredPresence, "00:00"), nothing);
    }

    #[test]
    fn a_window_that_has_not_begun_and_a_layer_below_are_hidden() {
        let window = crate::OutOfOffice::new(None, Some(instant("10:00")), None).unwrap();
        let hidden = Outcome::Hidden(by(Decider::InOffice, Some("10:00")));
        assert_eq!(outcome("", Command::SetOutOfOffice(Some(window)), "00:00"), hidden);
        let manual = "00:00 manual remote";
        let location =
            crate::Location { kind: crate::LocationKind::Office, place: crate::PlaceId::new("hq").unwrap() };
        let zone = jiff::tz::TimeZone::UTC;
        let command = Command::SetAutomaticLocation { app: app("badge"), location, zone };
        let Outcome::Hidden(Instead { by, until: Some(_) }) = outcome(manual, command, "00:00") else {
            panic!("the manual location hides it until the day ends")
        };
        assert_eq!(by, Decider::ManualLocation);
    }
}
