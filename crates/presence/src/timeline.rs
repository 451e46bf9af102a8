//! Timelines: the rules tested, and failures told, as a few lines of text.
//!
//! A line is an instant, then what an application or a person did, or what everyone then sees:
//!
//! ```text
//! 00:00     desk set Available/Available for 1h
//! 04:59     sees Available/Available #1 next 05:00
//! 05:00     sees Available/AvailableInactive
//! 05:00     phone clear refused SessionNotFound
//! ```
//!
//! | Line | Meaning |
//! |---|---|
//! | `<app> set <pair> [for <duration>]`, `<app> clear` | presence sessions |
//! | `prefer <pair> [for <duration>]`, `unprefer` | preferred presence |
//! | `status "<text>" [until <instant>]`, `unstatus` | status message |
//! | `manual <place> [in <zone>]`, `<app> automatic <place> [in <zone>]`, `unlocate`, `unautomatic` | work location |
//! | `schedule [<place> <instant>..<instant>]*` | the scheduled layer, replaced |
//! | `out-of-office ["<text>"] [from <instant>] [until <instant>]`, `in-office` | the mailbox's window |
//! | `settle` | folds the past into the record |
//! | `sees <term>*` | a pair, `#<number>`, `status "<text>"`, `unstatus`, `manual`/`automatic`/`scheduled <place>`, `nowhere`, `out-of-office ["<text>"]`, `in-office`, `next <instant>`, `next never` |
//!
//! An instant is `mm:ss` or `hh:mm:ss`, with or without a fraction, counted from [`BASE`], or an RFC 3339 timestamp.
//! A place is `office`, `remote` or `time-off`, with `@<id>` when it names one. Zones are those of [`zones`].
//! The same file serves the unit tests and the integration tests, whose failing cases print as timelines, and the
//! simulator, whose timelines say besides at which node something happens.

use core::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::{
    AppId, Command, Location, LocationKind, LocationSource, NewStatusMessage, OutOfOffice, Pair, PlaceId,
    PreferredLifetime, PreferredPair, Presence, Schedule, ScheduledLocation, SessionLifetime, SessionPair,
    StatusText, UserPresence,
};

/// Where `00:00` is: a Monday midnight, 2026-03-02T00:00:00Z.
pub(crate) const BASE: Timestamp = Timestamp::constant(1_772_409_600, 0);

/// Where printed instants stop counting from [`BASE`] and are written in full.
const COUNTED_MAX: SignedDuration = SignedDuration::from_hours(1_000);

/// The zones a timeline can name.
///
/// `St_Johns` turned its clocks back at 00:01 until 2011, so that some of its days ended twice.
pub(crate) fn zones() -> [(&'static str, TimeZone); 5] {
    let posix = |rule| TimeZone::posix(rule).unwrap();
    [
        ("UTC", TimeZone::UTC),
        ("+23:45", TimeZone::fixed(Offset::from_seconds((24 * 60 - 15) * 60).unwrap())),
        ("Berlin", posix("CET-1CEST,M3.5.0,M10.5.0/3")),
        ("Los_Angeles", posix("PST8PDT,M3.2.0,M11.1.0")),
        ("St_Johns", posix("NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01")),
    ]
}

/// What happens on a line that is not a `sees`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// A command, accepted or refused.
    Apply(Command),
    /// The past folded into the record.
    Settle,
}

impl Action {
    /// Carries the action out.
    pub(crate) fn perform(
        &self,
        user: &mut UserPresence,
        now: Timestamp,
    ) -> Result<(), crate::PresenceError> {
        match self {
            Self::Apply(command) => user.apply(command.clone(), now),
            Self::Settle => {
                user.settle(now);
                Ok(())
            }
        }
    }
}

/// Plays a timeline and compares every `sees` and every `refused`. Played a second time it settles before each line,
/// which must not be seen.
#[track_caller]
pub(crate) fn check(timeline: &str) {
    let lines: Vec<Line> = timeline.lines().filter(|line| !line.trim().is_empty()).map(Line::parse).collect();
    for settles in [false, true] {
        let mut user = UserPresence::default();
        for (position, line) in lines.iter().enumerate() {
            if settles {
                // Settled no further than any later line goes back to: only reads before a settlement may differ.
                user.settle(lines[position..].iter().map(|line| line.at).min().unwrap());
            }
            line.play(&mut user, settles);
        }
    }
}

/// The user at the end of a timeline.
#[track_caller]
pub(crate) fn play(timeline: &str) -> UserPresence {
    let mut user = UserPresence::default();
    for line in timeline.lines().filter(|line| !line.trim().is_empty()) {
        Line::parse(line).play(&mut user, false);
    }
    user
}

struct Line<'a> {
    text: &'a str,
    at: Timestamp,
    step: Step,
}

enum Step {
    Act { action: Action, refused: Option<String> },
    See(Vec<String>),
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let tokens = tokens(text);
        let at = instant(&tokens[0]);
        let tokens = &tokens[1..];
        if tokens.first().is_some_and(|token| token == "sees") {
            return Self { text, at, step: Step::See(tokens[1..].to_vec()) };
        }
        let (words, refused) = match tokens.iter().position(|token| token == "refused") {
            Some(position) => (&tokens[..position], Some(tokens[position + 1].clone())),
            None => (tokens, None),
        };
        Self { text, at, step: Step::Act { action: action(words, text), refused } }
    }

    #[track_caller]
    fn play(&self, user: &mut UserPresence, settles: bool) {
        let text = self.text;
        match &self.step {
            Step::Act { action, refused } => {
                let before = user.clone();
                let error = action.perform(user, self.at).err().map(|error| format!("{error:?}"));
                assert_eq!(&error, refused, "on line {text:?}, settled before each line: {settles}");
                if error.is_some() {
                    assert_eq!(*user, before, "a refused command changes nothing: {text:?}");
                }
            }
            Step::See(terms) => {
                let mut seen = Sight::of(user, self.at);
                let explanation = user.explain(self.at);
                assert_eq!(explanation.pair, user.at(self.at).pair, "explain and at agree: {text:?}");
                let mut terms = terms.iter();
                while let Some(term) = terms.next() {
                    seen.expect(term, &mut terms).unwrap_or_else(|actual| {
                        panic!("line {text:?}\n  saw {actual}\n  (settled before each line: {settles})")
                    });
                }
            }
        }
    }
}

/// What everyone sees, word by word.
pub(crate) struct Sight<'a> {
    presence: Presence<'a>,
    next_change: Option<Timestamp>,
}

impl<'a> Sight<'a> {
    pub(crate) fn of(user: &'a UserPresence, at: Timestamp) -> Self {
        Self { presence: user.at(at), next_change: user.next_change(at) }
    }

    fn number(&self) -> String {
        format!("#{}", self.presence.sequence_number.0)
    }

    fn status(&self) -> String {
        self.presence
            .status_message
            .map_or("unstatus".into(), |message| format!("status {:?}", message.text.as_str()))
    }

    fn location(&self) -> String {
        let place = self.presence.work_location.location.map(Place);
        match (self.presence.work_location.source, place) {
            (LocationSource::None, None) => "nowhere".into(),
            (LocationSource::Manual, Some(place)) => format!("manual {place}"),
            (LocationSource::Automatic, Some(place)) => format!("automatic {place}"),
            (LocationSource::Scheduled, Some(place)) => format!("scheduled {place}"),
            (source, _) => format!("{source:?} without its place"),
        }
    }

    fn office(&self) -> String {
        let settings = self.presence.out_of_office;
        match (settings.is_out_of_office, settings.message) {
            (true, Some(message)) => format!("out-of-office {message:?}"),
            (true, None) => "out-of-office".into(),
            (false, None) => "in-office".into(),
            (false, Some(message)) => format!("in-office with {message:?}"),
        }
    }

    fn next(&self) -> String {
        self.next_change.map_or("next never".into(), |at| format!("next {}", Instant(at)))
    }

    /// Compares one term, or answers with what is there instead.
    fn expect(&mut self, term: &str, rest: &mut core::slice::Iter<'_, String>) -> Result<(), String> {
        let quoted = |text: &String| text.starts_with('"');
        let (actual, expected) = match term {
            "status" => (self.status(), format!("status {}", rest.next().unwrap())),
            "unstatus" => (self.status(), "unstatus".into()),
            "manual" | "automatic" | "scheduled" => {
                (self.location(), format!("{term} {}", rest.next().unwrap()))
            }
            "nowhere" => (self.location(), "nowhere".into()),
            "out-of-office" if rest.as_slice().first().is_some_and(quoted) => {
                (self.office(), format!("out-of-office {}", rest.next().unwrap()))
            }
            "out-of-office" | "in-office" => (self.office(), term.into()),
            "next" => match rest.next().unwrap().as_str() {
                "never" => (self.next(), "next never".into()),
                at => (self.next(), format!("next {}", Instant(instant(at)))),
            },
            number if number.starts_with('#') => (self.number(), number.into()),
            _ => (name(self.presence.pair), term.into()),
        };
        if actual == expected { Ok(()) } else { Err(actual) }
    }
}

/// Every term there is.
impl fmt::Display for Sight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pair, number, status) = (name(self.presence.pair), self.number(), self.status());
        write!(f, "sees {pair} {number} {status} {} {} {}", self.location(), self.office(), self.next())
    }
}

fn name(pair: Pair) -> String {
    format!("{:?}/{:?}", pair.availability, pair.activity)
}

// Reading.

/// Words, and quoted texts with their quotes.
pub(crate) fn tokens(line: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            Some(text) => text.find('"').expect("a text ends with a quote") + 2,
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        tokens.push(rest[..end].into());
        rest = rest[end..].trim_start();
    }
    tokens
}

pub(crate) fn action(tokens: &[String], line: &str) -> Action {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let command = match words.as_slice() {
        ["settle"] => return Action::Settle,
        ["prefer", pair, lifetime @ ..] => {
            let pair = PreferredPair::ALL.into_iter().find(|p| name(p.pair()) == *pair).expect(line);
            let lifetime = match lifetime {
                [] => pair.default_lifetime(),
                ["for", lifetime] => PreferredLifetime::new(duration(lifetime)).unwrap(),
                _ => panic!("cannot read {line:?}"),
            };
            Command::SetPreferredPresence { pair, lifetime }
        }
        ["unprefer"] => Command::ClearPreferredPresence,
        ["status", text, until @ ..] => Command::SetStatusMessage(Some(NewStatusMessage {
            text: StatusText::new(text.trim_matches('"')).unwrap().unwrap(),
            expires_at: option("until", until),
        })),
        ["unstatus"] => Command::SetStatusMessage(None),
        ["manual", place, zone_words @ ..] => {
            Command::SetManualLocation { location: location(place), zone: zone(zone_words) }
        }
        ["unlocate"] => Command::ClearLocation,
        ["unautomatic"] => Command::ClearAutomaticLocation,
        ["schedule", segments @ ..] => {
            let segments = segments.chunks(2).map(|segment| {
                let (starts, ends) = segment[1].split_once("..").expect(line);
                let (starts_at, ends_at) = (instant(starts), instant(ends));
                ScheduledLocation { location: location(segment[0]), starts_at, ends_at }
            });
            Command::SetSchedule(Schedule::new(segments.collect()).unwrap())
        }
        ["out-of-office", rest @ ..] => {
            let message =
                rest.first().filter(|word| word.starts_with('"')).map(|text| text.trim_matches('"'));
            let (starts_at, ends_at) = (option("from", rest), option("until", rest));
            Command::SetOutOfOffice(Some(OutOfOffice::new(message, starts_at, ends_at).unwrap()))
        }
        ["in-office"] => Command::SetOutOfOffice(None),
        [app, "set", pair, lifetime @ ..] => {
            let pair = SessionPair::ALL.into_iter().find(|p| name(p.pair()) == *pair).expect(line);
            let lifetime = match lifetime {
                [] => SessionLifetime::default(),
                ["for", lifetime] => SessionLifetime::new(duration(lifetime)).unwrap(),
                _ => panic!("cannot read {line:?}"),
            };
            Command::SetPresence { app: self::app(app), pair, lifetime }
        }
        [app, "clear"] => Command::ClearPresence { app: self::app(app) },
        [app, "automatic", place, zone_words @ ..] => Command::SetAutomaticLocation {
            app: self::app(app),
            location: location(place),
            zone: zone(zone_words),
        },
        _ => panic!("cannot read {line:?}"),
    };
    Action::Apply(command)
}

/// The instant after `word`, if the word is there.
fn option(word: &str, words: &[&str]) -> Option<Timestamp> {
    words.iter().position(|other| *other == word).map(|position| instant(words[position + 1]))
}

/// `mm:ss`, `hh:mm:ss`, either with a fraction, from [`BASE`]; or an RFC 3339 timestamp.
pub(crate) fn instant(text: &str) -> Timestamp {
    if text.ends_with('Z') {
        return text.parse().expect(text);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = whole.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().expect(text));
    let nanos = format!("{fraction:0<9}").parse::<i32>().expect(text);
    BASE + SignedDuration::new(seconds, nanos)
}

fn duration(text: &str) -> SignedDuration {
    text.parse().expect(text)
}

/// An application by its name, which is its identifier in ASCII.
pub(crate) fn app(name: &str) -> AppId {
    AppId::from_u128(name.bytes().fold(0, |bits, byte| bits << 8 | u128::from(byte)))
}

fn zone(words: &[&str]) -> TimeZone {
    match words {
        [] => TimeZone::UTC,
        ["in", name] => zones().into_iter().find(|(known, _)| known == name).expect(name).1,
        _ => panic!("cannot read the zone in {words:?}"),
    }
}

fn location(text: &str) -> Location {
    let (kind, place) = text.split_once('@').unwrap_or((text, ""));
    let kind = match kind {
        "office" => LocationKind::Office,
        "remote" => LocationKind::Remote,
        "time-off" => LocationKind::TimeOff,
        _ => panic!("cannot read the place {text:?}"),
    };
    Location { kind, place: PlaceId::new(place).unwrap() }
}

// Printing.

/// An instant, as a timeline writes it.
pub(crate) struct Instant(pub(crate) Timestamp);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(BASE);
        if since.is_negative() || since >= COUNTED_MAX {
            return write!(f, "{}", self.0);
        }
        let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours:02}:")?;
        }
        write!(f, "{minutes:02}:{seconds:02}")?;
        if nanos > 0 {
            write!(f, ".{nanos:09}")?;
        }
        Ok(())
    }
}

struct Place<'a>(&'a Location);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind {
            LocationKind::Office => "office",
            LocationKind::Remote => "remote",
            LocationKind::TimeOff => "time-off",
        })?;
        self.0.place.as_ref().map_or(Ok(()), |place| write!(f, "@{}", place.as_str()))
    }
}

struct App(AppId);

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_u128().to_be_bytes();
        bytes.into_iter().filter(|byte| *byte != 0).try_for_each(|byte| write!(f, "{}", char::from(byte)))
    }
}

struct Zone<'a>(&'a TimeZone);

impl fmt::Display for Zone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = zones().into_iter().find(|(_, zone)| zone == self.0);
        f.write_str(known.expect("tests use the zones of a timeline").0)
    }
}

/// The line without its instant.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Apply(command) = self else { return f.write_str("settle") };
        match command {
            Command::SetPresence { app, pair, lifetime } => {
                write!(f, "{} set {} for {}", App(*app), name(pair.pair()), lifetime.duration())
            }
            Command::ClearPresence { app } => write!(f, "{} clear", App(*app)),
            Command::SetPreferredPresence { pair, lifetime } => {
                write!(f, "prefer {} for {}", name(pair.pair()), lifetime.duration())
            }
            Command::ClearPreferredPresence => f.write_str("unprefer"),
            Command::SetStatusMessage(None) => f.write_str("unstatus"),
            Command::SetStatusMessage(Some(message)) => {
                write!(f, "status {:?}", message.text.as_str())?;
                message.expires_at.map_or(Ok(()), |at| write!(f, " until {}", Instant(at)))
            }
            Command::SetManualLocation { location, zone } => {
                write!(f, "manual {} in {}", Place(location), Zone(zone))
            }
            Command::SetAutomaticLocation { app, location, zone } => {
                write!(f, "{} automatic {} in {}", App(*app), Place(location), Zone(zone))
            }
            Command::ClearLocation => f.write_str("unlocate"),
            Command::ClearAutomaticLocation => f.write_str("unautomatic"),
            Command::SetOutOfOffice(None) => f.write_str("in-office"),
            Command::SetOutOfOffice(Some(window)) => {
                f.write_str("out-of-office")?;
                window.message().map_or(Ok(()), |message| write!(f, " {message:?}"))?;
                window.starts_at().map_or(Ok(()), |at| write!(f, " from {}", Instant(at)))?;
                window.ends_at().map_or(Ok(()), |at| write!(f, " until {}", Instant(at)))
            }
            Command::SetSchedule(schedule) => {
                f.write_str("schedule")?;
                schedule.segments().iter().try_for_each(|segment| {
                    let (starts, ends) = (Instant(segment.starts_at), Instant(segment.ends_at));
                    write!(f, " {} {starts}..{ends}", Place(&segment.location))
                })
            }
        }
    }
}
