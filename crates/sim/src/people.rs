//! What people and their applications say: seeded, and dense where rules meet.
//!
//! Instants lie on the boundaries of five minutes and next to them, and few applications speak for few people, because
//! that is where mistakes are.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use presence::{
    Command, Location, LocationKind, NewStatusMessage, OutOfOffice, PlaceId, PreferredLifetime,
    PreferredPair, Schedule, ScheduledLocation, SessionLifetime, SessionPair, StatusText, Timestamp,
};

use crate::random::Random;
use crate::timeline;

/// The finest that is told apart, on the wire and in stores.
const TICK: SignedDuration = SignedDuration::from_nanos(100);
const FIVE_MINUTES: SignedDuration = SignedDuration::from_mins(5);

/// What a population likes to talk about.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    applications: Vec<&'static str>,
    topics: Vec<Topic>,
}

#[derive(Clone, Copy, Debug)]
enum Topic {
    Session,
    Clear,
    Preferred,
    Status,
    Place,
    Schedule,
    Office,
}

impl Habits {
    pub(crate) fn new(random: &mut Random) -> Self {
        let applications = ["desk", "phone", "web"][..1 + random.below(3)].to_vec();
        let mut topics = vec![Topic::Session; 4];
        for topic in
            [Topic::Clear, Topic::Preferred, Topic::Status, Topic::Place, Topic::Schedule, Topic::Office]
        {
            if random.one_in(2) {
                topics.push(topic);
            }
        }
        Self { applications, topics }
    }

    /// Something that is said at `now`.
    pub(crate) fn say(&self, random: &mut Random, now: Timestamp) -> Command {
        let app = timeline::app(random.pick(&self.applications));
        match random.pick(&self.topics) {
            Topic::Session => {
                let lifetime = FIVE_MINUTES * random.pick(&[1, 1, 2, 3, 12, 48])
                    + random.pick(&[SignedDuration::ZERO, TICK, -TICK]);
                let lifetime = SessionLifetime::new(lifetime).unwrap_or_default();
                Command::SetPresence { app, pair: random.pick(&SessionPair::ALL), lifetime }
            }
            Topic::Clear => Command::ClearPresence { app },
            Topic::Preferred if random.one_in(3) => Command::ClearPreferredPresence,
            Topic::Preferred => {
                let pair = random.pick(&PreferredPair::ALL);
                let lifetime = PreferredLifetime::new(gap(random)).unwrap_or(pair.default_lifetime());
                Command::SetPreferredPresence { pair, lifetime }
            }
            Topic::Status => Command::SetStatusMessage(self.status(random, now)),
            Topic::Place => self.place(random, app),
            Topic::Schedule => {
                let segments = (0..random.below(3)).map(|_| {
                    let (starts_at, ends_at) = window(random, now);
                    ScheduledLocation { location: location(random), starts_at, ends_at }
                });
                Command::SetSchedule(Schedule::new(segments.collect()).unwrap_or_default())
            }
            Topic::Office => {
                let (starts_at, ends_at) = window(random, now);
                let message = random.one_in(2).then_some("Back soon");
                let (starts_at, ends_at) =
                    (random.one_in(2).then_some(starts_at), random.one_in(2).then_some(ends_at));
                let window = OutOfOffice::new(message, starts_at, ends_at).ok();
                Command::SetOutOfOffice(window.filter(|_| !random.one_in(4)))
            }
        }
    }

    fn status(&self, random: &mut Random, now: Timestamp) -> Option<NewStatusMessage> {
        let text = random.pick(&["Here", "There", ""]);
        let text = StatusText::new(text).ok().flatten()?;
        let expires_at =
            random.one_in(2).then(|| now + gap(random) - FIVE_MINUTES * (random.one_in(8) as i32));
        Some(NewStatusMessage { text, expires_at })
    }

    fn place(&self, random: &mut Random, app: presence::AppId) -> Command {
        let zones = [TimeZone::UTC, timeline::zones()[1].1.clone()];
        let zone = random.pick(&zones);
        match random.below(8) {
            0 => Command::ClearLocation,
            1 => Command::ClearAutomaticLocation,
            2..5 => Command::SetManualLocation { location: location(random), zone },
            _ => Command::SetAutomaticLocation { app, location: location(random), zone },
        }
    }
}

/// How long until something else happens.
pub(crate) fn gap(random: &mut Random) -> SignedDuration {
    match random.below(8) {
        0..3 => SignedDuration::ZERO,
        3 => random.pick(&[TICK, SignedDuration::from_secs(1), SignedDuration::from_mins(1)]),
        _ => {
            let second = SignedDuration::from_secs(1);
            let most = SignedDuration::from_millis(500);
            let beside = random.pick(&[
                SignedDuration::ZERO,
                SignedDuration::ZERO,
                TICK,
                -TICK,
                second,
                -second,
                -most,
            ]);
            FIVE_MINUTES * random.pick(&[1, 1, 1, 2, 2, 3, 12]) + beside
        }
    }
}

fn window(random: &mut Random, now: Timestamp) -> (Timestamp, Timestamp) {
    let starts = if random.one_in(2) { now + gap(random) } else { now - gap(random) };
    (starts, starts + gap(random).max(TICK))
}

fn location(random: &mut Random) -> Location {
    let kind = random.pick(&[LocationKind::Office, LocationKind::Remote, LocationKind::TimeOff]);
    let place = PlaceId::new(random.pick(&["", "", "hq", "annex"])).ok().flatten();
    Location { kind, place }
}
