//! Random histories of one user, dense where rules meet: few applications, and instants on and next to the boundaries
//! of five minutes.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use presence::{
    Command, Location, LocationKind, NewStatusMessage, OutOfOffice, PlaceId, PreferredLifetime,
    PreferredPair, Presence, Schedule, ScheduledLocation, SequenceNumber, SessionLifetime, SessionPair,
    StatusText, UserPresence,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestError, TestRunner};

use crate::timeline::{Action, BASE, Instant, Sight, app, check, play, zones};

/// Cases of every property. Each has its own fixed seed, so that a run is the same everywhere and at any time.
const CASES: u32 = 10_000;
/// Actions in one history.
const ACTIONS_MAX: usize = 14;

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);
const FIVE_MINUTES: SignedDuration = SignedDuration::from_mins(5);

/// Holds `claim` against [`CASES`] values and panics with the smallest that breaks it. Nothing is read from the
/// environment and nothing is written down.
#[track_caller]
pub(crate) fn property<S: Strategy>(
    seed: u64,
    values: S,
    claim: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    property_of(CASES, seed, values, claim);
}

/// [`property`] with a number of cases of its own.
#[track_caller]
pub(crate) fn property_of<S: Strategy>(
    cases: u32,
    seed: u64,
    values: S,
    claim: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases,
        max_local_rejects: 0,
        max_global_rejects: 0,
        failure_persistence: None,
        source_file: None,
        test_name: None,
        fork: false,
        timeout: 0,
        max_shrink_time: 20_000,
        max_shrink_iters: 20_000,
        verbose: 0,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    match TestRunner::new(config).run(&values, claim) {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => {
            // Printing plays the history, which is better done before the panic than within it.
            let value = format!("{value:#?}");
            panic!("{reason}\n{value}")
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// What happened to one user, and when.
#[derive(Clone)]
pub(crate) struct History(pub(crate) Vec<(Timestamp, Action)>);

impl History {
    /// The user afterwards.
    pub(crate) fn user(&self) -> UserPresence {
        let mut user = UserPresence::default();
        for (at, action) in &self.0 {
            // A refusal is part of the history.
            let _ = action.perform(&mut user, *at);
        }
        user
    }

    /// The instant of the last action.
    pub(crate) fn end(&self) -> Timestamp {
        self.0.last().expect("a history is not empty").0
    }
}

/// The history as a timeline, with what is seen at its end. One that panics is told up to the line that does.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut user = UserPresence::default();
        writeln!(f)?;
        for (at, action) in &self.0 {
            write!(f, "{} {action}", Instant(*at))?;
            match caught(|| action.perform(&mut user, *at)) {
                Some(Ok(())) => writeln!(f)?,
                Some(Err(refused)) => writeln!(f, " refused {refused:?}")?,
                None => return writeln!(f),
            }
        }
        let sight = caught(|| Sight::of(&user, self.end()).to_string()).unwrap_or("sees".into());
        writeln!(f, "{} {sight}", Instant(self.end()))
    }
}

/// The answer of `rule`, or `None` where it panics: a broken rule does not keep its history from being printed.
fn caught<T>(rule: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(rule)).ok()
}

/// What everyone sees, without its version.
pub(crate) fn view(presence: Presence<'_>) -> Presence<'_> {
    Presence { sequence_number: SequenceNumber(0), ..presence }
}

/// `at` moved by `by`, within the range of time.
pub(crate) fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    at.checked_add(by).unwrap_or(end)
}

/// Nothing, a moment, or steps of five minutes and one nanosecond or second beside.
pub(crate) fn gap() -> impl Strategy<Value = SignedDuration> {
    let second = SignedDuration::from_secs(1);
    let beside =
        select(vec![SignedDuration::ZERO, SignedDuration::ZERO, NANOSECOND, -NANOSECOND, second, -second]);
    let steps = select(vec![1, 1, 1, 2, 2, 3, 4, 12, 48, 288]);
    prop_oneof![
        3 => Just(SignedDuration::ZERO),
        1 => select(vec![NANOSECOND, second, SignedDuration::from_mins(1)]),
        6 => (steps, beside).prop_map(|(steps, beside)| FIVE_MINUTES * steps + beside),
    ]
}

/// A history in which time goes on.
pub(crate) fn history() -> impl Strategy<Value = History> {
    prop::collection::vec((gap(), action()), 1..=ACTIONS_MAX).prop_map(|steps| {
        let mut now = BASE;
        History(
            steps.into_iter().map(|(gap, action)| (pass(&mut now, gap), from_base(action, now))).collect(),
        )
    })
}

/// A history in which time goes on, jumps to either end, and goes back.
pub(crate) fn wild_history() -> impl Strategy<Value = History> {
    prop::collection::vec((jump(), action()), 1..=ACTIONS_MAX).prop_map(|steps| {
        let mut now = BASE;
        let step = |(jump, action)| {
            now = match jump {
                Jump::On(gap) => moved(now, gap),
                Jump::Back(gap) => moved(now, -gap),
                Jump::To(at) => at,
            };
            (now, from_base(action, now))
        };
        History(steps.into_iter().map(step).collect())
    })
}

/// An instant at or next to either end of time, or among the histories.
pub(crate) fn wild_instant() -> impl Strategy<Value = Timestamp> {
    (select(vec![Timestamp::MIN, BASE, Timestamp::MAX]), gap(), any::<bool>())
        .prop_map(|(at, gap, back)| moved(at, if back { -gap } else { gap }))
}

#[derive(Clone, Copy, Debug)]
enum Jump {
    On(SignedDuration),
    Back(SignedDuration),
    To(Timestamp),
}

fn jump() -> impl Strategy<Value = Jump> {
    prop_oneof![
        6 => gap().prop_map(Jump::On),
        2 => gap().prop_map(Jump::Back),
        1 => wild_instant().prop_map(Jump::To),
    ]
}

fn pass(now: &mut Timestamp, gap: SignedDuration) -> Timestamp {
    *now = moved(*now, gap);
    *now
}

/// An action as at [`BASE`].
fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => command().prop_map(Action::Apply),
        1 => Just(Action::Settle),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let application = || select(vec![app("desk"), app("phone"), app("web")]);
    let zone = || select(zones().map(|(_, zone)| zone).to_vec());
    let set = (application(), select(SessionPair::ALL.to_vec()), session_lifetime())
        .prop_map(|(app, pair, lifetime)| Command::SetPresence { app, pair, lifetime });
    let automatic = (application(), location(), zone())
        .prop_map(|(app, location, zone)| Command::SetAutomaticLocation { app, location, zone });
    prop_oneof![
        8 => set,
        2 => application().prop_map(|app| Command::ClearPresence { app }),
        3 => preferred(),
        1 => Just(Command::ClearPreferredPresence),
        2 => status_message(),
        1 => Just(Command::SetStatusMessage(None)),
        2 => (location(), zone()).prop_map(|(location, zone)| Command::SetManualLocation { location, zone }),
        3 => automatic,
        1 => Just(Command::ClearLocation),
        1 => Just(Command::ClearAutomaticLocation),
        2 => schedule(),
        2 => out_of_office(),
        1 => Just(Command::SetOutOfOffice(None)),
    ]
}

fn session_lifetime() -> impl Strategy<Value = SessionLifetime> {
    let minutes = select(vec![5, 5, 10, 10, 15, 20, 60, 240]);
    let beside = select(vec![SignedDuration::ZERO, SignedDuration::ZERO, NANOSECOND, -NANOSECOND]);
    (minutes, beside).prop_map(|(minutes, beside)| {
        SessionLifetime::new(SignedDuration::from_mins(minutes) + beside).unwrap_or_default()
    })
}

fn preferred() -> impl Strategy<Value = Command> {
    let lifetime = option::of(select(vec![NANOSECOND, FIVE_MINUTES, FIVE_MINUTES * 2, FIVE_MINUTES * 3]));
    (select(PreferredPair::ALL.to_vec()), lifetime).prop_map(|(pair, lifetime)| {
        Command::SetPreferredPresence {
            pair,
            lifetime: lifetime.map_or(pair.default_lifetime(), |it| PreferredLifetime::new(it).unwrap()),
        }
    })
}

fn status_message() -> impl Strategy<Value = Command> {
    (select(vec!["Here", "There"]), option::of(gap())).prop_map(|(text, expires)| {
        let text = StatusText::new(text).unwrap().unwrap();
        Command::SetStatusMessage(Some(NewStatusMessage { text, expires_at: expires.map(|gap| BASE + gap) }))
    })
}

fn location() -> impl Strategy<Value = Location> {
    let kind = select(vec![LocationKind::Office, LocationKind::Remote, LocationKind::TimeOff]);
    (kind, select(vec!["", "", "hq", "annex"]))
        .prop_map(|(kind, place)| Location { kind, place: PlaceId::new(place).unwrap() })
}

fn window() -> impl Strategy<Value = (Timestamp, Timestamp)> {
    (gap(), gap(), any::<bool>()).prop_map(|(from, length, back)| {
        let starts = BASE + if back { -from } else { from };
        (starts, starts + length.max(NANOSECOND))
    })
}

fn schedule() -> impl Strategy<Value = Command> {
    let segment = (location(), window()).prop_map(|(location, (starts_at, ends_at))| ScheduledLocation {
        location,
        starts_at,
        ends_at,
    });
    prop::collection::vec(segment, 0..4)
        .prop_map(|segments| Command::SetSchedule(Schedule::new(segments).unwrap()))
}

fn out_of_office() -> impl Strategy<Value = Command> {
    (option::of(Just("Away")), window(), any::<(bool, bool)>()).prop_map(
        |(message, window, (starts, ends))| {
            let (starts_at, ends_at) = (starts.then_some(window.0), ends.then_some(window.1));
            Command::SetOutOfOffice(Some(OutOfOffice::new(message, starts_at, ends_at).unwrap()))
        },
    )
}

/// The action as at `now`: its instants move with it, and what the end of time leaves empty is dropped.
fn from_base(action: Action, now: Timestamp) -> Action {
    let moved = |at: Timestamp| moved(now, at.duration_since(BASE));
    let Action::Apply(command) = action else { return action };
    Action::Apply(match command {
        Command::SetStatusMessage(Some(message)) => Command::SetStatusMessage(Some(NewStatusMessage {
            expires_at: message.expires_at.map(moved),
            ..message
        })),
        Command::SetSchedule(schedule) => {
            let segments = schedule.segments().iter().cloned().map(|segment| ScheduledLocation {
                starts_at: moved(segment.starts_at),
                ends_at: moved(segment.ends_at),
                ..segment
            });
            let segments = segments.filter(|segment| segment.starts_at < segment.ends_at).collect();
            Command::SetSchedule(Schedule::new(segments).unwrap())
        }
        Command::SetOutOfOffice(Some(window)) => {
            let (starts_at, ends_at) = (window.starts_at().map(moved), window.ends_at().map(moved));
            Command::SetOutOfOffice(OutOfOffice::new(window.message(), starts_at, ends_at).ok())
        }
        other => other,
    })
}

#[test]
fn a_printed_history_can_be_pasted_and_is_the_same_history() {
    property(0, wild_history(), |history| {
        let timeline = format!("{history:?}");
        prop_assert_eq!(play(&timeline), history.user());
        check(&timeline);
        Ok(())
    });
}
