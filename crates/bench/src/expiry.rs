//! Reading while a hundred thousand sessions end within a second, and everybody's follower is told of each.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use jiff::SignedDuration;
use presence::Timestamp;
use serde_json::{Value, json};
use server::directory::USERS_PER_TENANT_MAX;

use crate::child::Server;
use crate::follower::Follower;
use crate::generator::{Span, Transport};
use crate::report::Spread;
use crate::scenario::measure;
use crate::traffic::{Client, Tokens, Traffic};
use crate::world::{Present, Waves, World, now};

/// What one asks for to get this one.
pub(crate) const NAME: &str = "expiry";
/// Sessions that end in one second.
const PEOPLE: u64 = 100_000;
/// From one wave to the next: reading without, reading with, and until the last follower has been told.
const APART: SignedDuration = SignedDuration::from_secs(20);
/// Reading without a wave, this long before it; and how long either reading takes.
const BEFORE: SignedDuration = SignedDuration::from_secs(5);
const READING: Duration = Duration::from_secs(2);
/// Connections that read.
const CONNECTIONS: u64 = 64;
/// How much dearer the slowest hundredth may become.
const GOAL: f64 = 3.0;

/// What was found, wave by wave.
pub(crate) struct Waved {
    without: Vec<u64>,
    with: Vec<u64>,
    told_after: Vec<f64>,
}

/// Measures so many waves, among so many people who stay, or as many of them as a tenant may have besides.
///
/// # Errors
/// When a server does not answer, or a follower is not told of everybody.
pub(crate) fn run(program: &Path, people: u64, waves: usize, log: &str) -> anyhow::Result<Waved> {
    let folder = tempfile::tempdir()?;
    let passing = waves as u64 * PEOPLE;
    let people = people.min((USERS_PER_TENANT_MAX as u64).saturating_sub(passing));
    let all = people + passing;
    let world = World::new(folder.path(), all)?;
    world.fill(Present { people, expiring: 0, expire_at: now() })?;
    // Time to fill the rest and to start, also on a busy machine; for a million people and five waves just so little that
    // the last wave's sessions were not set in the future.
    let ready = SignedDuration::from_secs(60) + SignedDuration::from_micros(100 * all as i64);
    let waves = Waves { waves: waves as u64, people_each: PEOPLE, first: now() + ready, apart: APART };
    world.fill_waves(people, waves)?;
    let presenced = Server::presenced(program, &world, log)?;
    ensure!(
        now() + BEFORE < waves.first,
        "the server was ready too late for the first wave: fewer people would do"
    );
    let tokens = Tokens::one(world.token()?);
    let follower = Follower::start(presenced.http, tokens.first())?;
    let mut found = Waved { without: Vec::new(), with: Vec::new(), told_after: Vec::new() };
    for wave in 0..waves.waves {
        let read = || {
            let clients =
                (0..CONNECTIONS).map(|number| Client::new(Traffic::GetOne, people, number, tokens.clone()));
            let span = Span::of(READING);
            Ok::<_, anyhow::Error>(
                measure(&presenced, Transport::Http1, clients.collect(), span)?.0.p99_micros,
            )
        };
        let begins = waves.at(wave);
        wait_until(begins - BEFORE);
        found.without.push(read()?);
        wait_until(begins);
        found.with.push(read()?);
        while follower.events() < (wave + 1) * PEOPLE {
            ensure!(now() < begins + APART, "the follower was told of {} in time", follower.events());
            std::thread::sleep(Duration::from_millis(5));
        }
        found.told_after.push(now().duration_since(begins).as_secs_f64());
    }
    Ok(found)
}

fn wait_until(instant: Timestamp) {
    std::thread::sleep(Duration::try_from(instant.duration_since(now())).unwrap_or_default());
}

impl Waved {
    fn ratio(&self) -> Spread {
        Spread::of(self.with.iter().zip(&self.without).map(|(with, without)| *with as f64 / *without as f64))
    }

    /// As lines for people.
    pub(crate) fn print(&self) -> String {
        let of = |figures: &[u64]| Spread::of(figures.iter().map(|micros| *micros as f64));
        let (without, with, told, ratio) =
            (of(&self.without), of(&self.with), Spread::of(self.told_after.iter().copied()), self.ratio());
        let verdict = if ratio.median < GOAL { "met" } else { "NOT met" };
        format!(
            "{NAME} ({CONNECTIONS} connections read; {PEOPLE} sessions end within a second, and a follower is told)\n               p99 without {:>8.0} us [{:.0}-{:.0}]\n  p99 with    {:>8.0} us [{:.0}-{:.0}]\n               the last is told {:.2} s after the first has ended [{:.2}-{:.2}]\n               ratio                {:.2} [{:.2}-{:.2}]  goal below {GOAL} {verdict}\n",
            without.median,
            without.lowest,
            without.highest,
            with.median,
            with.lowest,
            with.highest,
            told.median,
            told.lowest,
            told.highest,
            ratio.median,
            ratio.lowest,
            ratio.highest,
        )
    }

    /// As JSON, wave by wave.
    pub(crate) fn json(&self) -> Value {
        json!({ "scenario": NAME, "p99_micros_without": self.without, "p99_micros_with": self.with,
            "told_after_secs": self.told_after, "ratio": self.ratio(), "goal_below": GOAL })
    }
}
