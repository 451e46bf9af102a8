//! Size rather than speed: memory and restart of a million or ten million people, a reconnect storm, a simulated day, and
//! how far behind the ticker falls.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use engine::{Clock, ClockState, Engine, SystemClock, VirtualClock};
use jiff::SignedDuration;
use presence::{Command, SessionLifetime, SessionPair, UserKey};
use serde_json::{Value, json};
use store::{Embedded, LogRead, Options, Position, Store};
use tokio::task::JoinSet;

use crate::child::Server;
use crate::generator::{Span, Transport, load};
use crate::population::{DAY_SECS, Event, day, lifetime};
use crate::traffic::{Client, Tokens, Traffic};
use crate::world::{Present, TENANT, World, now, user};

/// Seconds of the simulated day between two looks of the ticker, and the width of a step: reports within one are made at
/// once, as those of many people are.
const STEP_SECS: u32 = 10;
/// Reports under way at a time.
const REPORTERS: usize = 1_024;
/// Connections of the storm, and of those who read meanwhile.
const STORM_CONNECTIONS: u64 = 256;
const STORM_READERS: u64 = 4;
/// Entries of the change log that the receiver takes at a time.
const RECEIVED_AT_ONCE: usize = 4_096;
/// Transitions a second, and seconds of them, in the measurement of the ticker.
const TICKER_RATE: u64 = 50_000;
const TICKER_SECS: u64 = 10;

/// What of the scale to measure.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// `memory`, `storm`, `day`, `ticker`; all without.
    measures: Vec<String>,
    /// People.
    #[arg(long, default_value_t = 1_000_000)]
    people: u64,
    /// The presenced to measure.
    #[arg(long, value_name = "PROGRAM", default_value = "target/release/presenced")]
    pub(crate) presenced: std::path::PathBuf,
    /// Seed of the simulated day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the files go; a temporary folder without.
    #[arg(long)]
    folder: Option<std::path::PathBuf>,
}

/// Opens a store and says how long it took and what it holds: a process of its own for each, with clean memory.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    folder: std::path::PathBuf,
}

type Measure = fn(&ScaleArgs, &Path) -> anyhow::Result<Value>;

/// Prints what was found, one JSON object a measure.
#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
pub(crate) fn run(args: &ScaleArgs) -> anyhow::Result<()> {
    println!("{}", json!({ "machine": crate::report::machine(), "people": args.people }));
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.as_deref().unwrap_or(temporary.path());
    let measures: [(&str, Measure); 4] =
        [("memory", memory), ("storm", storm), ("day", simulated_day), ("ticker", ticker)];
    for (name, measure) in measures {
        if args.measures.is_empty() || args.measures.iter().any(|wanted| wanted == name) {
            let folder = folder.join(name);
            println!("{}", json!({ name: measure(args, &folder)? }));
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
    Ok(())
}

/// Fills a store, and opens it in a process of its own: from logs, or what compaction has made of them.
fn memory(args: &ScaleArgs, folder: &Path) -> anyhow::Result<Value> {
    let world = World::without_users(folder, args.people)?;
    let began = began();
    world.fill(Present { people: args.people, expiring: 0, expire_at: now() })?;
    let filled = began.elapsed().as_secs_f64();
    let empty = open_in_child(&folder.join("empty"))?;
    let full = open_in_child(&folder.join("store"))?;
    let resident = |value: &Value| value["resident_bytes"].as_f64().unwrap_or(f64::NAN);
    Ok(json!({
        "fill_secs": filled,
        "open_secs": full["open_secs"],
        "resident_mib": resident(&full) / 1024.0 / 1024.0,
        "bytes_a_person": (resident(&full) - resident(&empty)) / args.people as f64,
        "files_bytes_a_person": folder_bytes(&folder.join("store"))? as f64 / args.people as f64,
    }))
}

fn open_in_child(folder: &Path) -> anyhow::Result<Value> {
    let output = std::process::Command::new(std::env::current_exe()?).arg("open").arg(folder).output()?;
    serde_json::from_slice(&output.stdout).context("a store could not be opened")
}

/// In the child: opens and tells.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) fn open(args: &OpenArgs) -> anyhow::Result<()> {
    let began = began();
    let (_store, recovery) = Embedded::open(&args.folder, Options::default())?;
    let open_secs = began.elapsed().as_secs_f64();
    let resident_bytes = crate::child::resident_bytes("self")?;
    println!(
        "{}",
        json!({ "open_secs": open_secs, "resident_bytes": resident_bytes, "users": recovery.users })
    );
    Ok(())
}

/// Everybody comes back at once, and a few go on reading.
fn storm(args: &ScaleArgs, folder: &Path) -> anyhow::Result<Value> {
    let world = World::new(folder, args.people)?;
    let server = Server::presenced(&args.presenced, &world, "warn")?;
    let tokens = Tokens::one(world.token()?);
    let clients = |traffic, count| {
        let tokens = tokens.clone();
        (0..count).map(move |number| Client::new(traffic, args.people, number, tokens.clone())).collect()
    };
    let storm = Span { warm_up: Duration::ZERO, measured: STORM_MAX, requests_max: args.people };
    let calm = Span { requests_max: u64::MAX, measured: Duration::from_secs(2), ..storm };
    let before =
        load(server.http, Transport::Http1, clients(Traffic::GetOne, STORM_READERS), calm, || Ok(()))?;
    let (arrived, during) = std::thread::scope(|scope| {
        let readers = clients(Traffic::GetOne, STORM_READERS);
        let address = server.http;
        let reading = scope.spawn(move || load(address, Transport::Http1, readers, calm, || Ok(())));
        let comers = clients(Traffic::Arrive(STORM_CONNECTIONS), STORM_CONNECTIONS);
        let arrived = load(address, Transport::Http1, comers, storm, || Ok(()));
        (arrived, reading.join())
    });
    let arrived = arrived?;
    let during = during.ok().context("the readers ended early")??;
    Ok(json!({
        "secs": arrived.elapsed.as_secs_f64(),
        "arrived": arrived.requests,
        "refused": arrived.refused,
        "set_p99_micros": arrived.latency.value_at_quantile(0.99),
        "get_p99_micros_before": before.latency.value_at_quantile(0.99),
        "get_p99_micros_during": during.latency.value_at_quantile(0.99),
        "resident_mib": server.resident_bytes()? / 1024 / 1024,
    }))
}

/// A storm that takes longer than this is given up.
const STORM_MAX: Duration = Duration::from_secs(600);

/// A whole day on virtual time: every report, fade and expiry, and a receiver who follows every change.
fn simulated_day(args: &ScaleArgs, folder: &Path) -> anyhow::Result<Value> {
    let people = u32::try_from(args.people)?;
    let events = day(args.seed, people);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (store, _) = Embedded::open(folder, Options::default())?;
    let clock = VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default());
    clock.freeze();
    let clock = Arc::new(clock);
    let engine = Arc::new(Engine::new(Arc::new(store), clock.clone()));
    let written_before = written_bytes()?;
    let began = began();
    let lived = runtime.block_on(live(&engine, &clock, &events))?;
    let secs = began.elapsed().as_secs_f64();
    runtime.block_on(engine.store().close())?;
    let written = written_bytes()? - written_before;
    Ok(json!({
        "reports": events.len(),
        "changes_received": lived.received,
        "settled_by_time": lived.settled,
        "secs": secs,
        "times_real_time": f64::from(DAY_SECS) / secs,
        "files_mib": folder_bytes(folder)? / 1024 / 1024,
        "written_mib": written / 1024 / 1024,
        "written_bytes_a_change": written as f64 / (events.len() as u64 + lived.settled).max(1) as f64,
    }))
}

#[derive(Default)]
struct Lived {
    received: u64,
    settled: u64,
}

async fn live(engine: &Arc<Engine>, clock: &VirtualClock, events: &[Event]) -> anyhow::Result<Lived> {
    let mut lived = Lived::default();
    let (mut next, mut position) = (0, Position(0));
    let start = clock.now();
    for second in (STEP_SECS..=DAY_SECS).step_by(STEP_SECS as usize) {
        let reports = events[next..].partition_point(|event| event.second() < second);
        report(engine, &events[next..next + reports]).await?;
        next += reports;
        clock.set_forward(start + SignedDuration::from_secs(i64::from(second)));
        loop {
            let tick = engine.tick().await?;
            lived.settled += tick.settled as u64;
            if !tick.more {
                break;
            }
        }
        lived.received += receive(engine.store().as_ref(), &mut position).await?;
    }
    Ok(lived)
}

/// Reports of one step, many at a time; those of one person in their order.
async fn report(engine: &Arc<Engine>, events: &[Event]) -> anyhow::Result<()> {
    let lifetime = lifetime()?;
    let mut reporters = JoinSet::new();
    let width = events.len().div_ceil(REPORTERS).max(1);
    let mut by_person: Vec<Event> = events.to_vec();
    by_person.sort_by_key(|event| event.person());
    for part in by_person.chunk_by(|a, b| a.person() == b.person()).collect::<Vec<_>>().chunks(width) {
        let part: Vec<Event> = part.concat();
        let engine = Arc::clone(engine);
        reporters.spawn(async move {
            for event in part {
                let key = UserKey { tenant: TENANT, user: user(event.person()) };
                match engine.execute(key, event.command(lifetime)).await {
                    // Signing off after the session has lapsed.
                    Ok(_) | Err(engine::EngineError::Presence(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
    }
    while let Some(reported) = reporters.join_next().await {
        reported??;
    }
    Ok(())
}

/// Reads the change log to its end, as a follower does. Returns how many changes there were.
async fn receive(store: &dyn Store, position: &mut Position) -> anyhow::Result<u64> {
    let mut received = 0;
    loop {
        match store.read_log(*position, RECEIVED_AT_ONCE).await? {
            LogRead::Page { entries, .. } => {
                let Some(last) = entries.last() else { return Ok(received) };
                *position = last.position;
                received += entries.len() as u64;
            }
            LogRead::Behind { oldest, .. } => anyhow::bail!("the receiver fell behind: {oldest:?}"),
        }
    }
}

/// People whose sessions fade at a fixed rate, and a ticker that keeps up or does not.
fn ticker(args: &ScaleArgs, folder: &Path) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (store, _) = Embedded::open(folder, Options::default())?;
    let clock = VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default());
    clock.freeze();
    let clock = Arc::new(clock);
    let engine = Arc::new(Engine::new(Arc::new(store), clock.clone()));
    runtime.block_on(async {
        let start = clock.now();
        let lifetime = SessionLifetime::new(SignedDuration::from_hours(4))?;
        // Those who never fade are there for the size of the tables.
        let fading = (TICKER_RATE * TICKER_SECS).min(args.people);
        arrive(&engine, fading..args.people, SessionPair::InACall, lifetime).await?;
        for second in 0..TICKER_SECS {
            clock.set_forward(start + SignedDuration::from_secs(second as i64));
            let of_second = fading * second / TICKER_SECS..fading * (second + 1) / TICKER_SECS;
            arrive(&engine, of_second, SessionPair::Available, lifetime).await?;
        }
        let first_fade = start + SignedDuration::from_mins(5);
        clock.set_forward(first_fade - SignedDuration::from_secs(1));
        clock.resume();
        let (mut settled, mut lag) = (0, SignedDuration::ZERO);
        while settled < fading as usize {
            let due = engine.store().next_wake().await?.context("nobody is due")?;
            let tick = engine.tick().await?;
            settled += tick.settled;
            if tick.settled > 0 {
                lag = lag.max(clock.now().duration_since(due));
            }
            if !tick.more {
                engine.until_due(tick.next_wake).await;
            }
        }
        let secs = clock.now().duration_since(first_fade).as_secs_f64();
        engine.store().close().await?;
        Ok(json!({ "settled": settled, "secs": secs, "worst_lag_secs": lag.as_secs_f64() }))
    })
}

async fn arrive(
    engine: &Arc<Engine>,
    people: std::ops::Range<u64>,
    pair: SessionPair,
    lifetime: SessionLifetime,
) -> anyhow::Result<()> {
    let mut comers = JoinSet::new();
    for first in 0..REPORTERS as u64 {
        let (engine, people) = (Arc::clone(engine), people.clone());
        comers.spawn(async move {
            for number in (people.start + first..people.end).step_by(REPORTERS) {
                let command = Command::SetPresence { app: crate::world::APP, pair, lifetime };
                engine.execute(UserKey { tenant: TENANT, user: user(number) }, command).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(arrived) = comers.join_next().await {
        arrived??;
    }
    Ok(())
}

/// Bytes this process has had written to the disk.
fn written_bytes() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
fn began() -> Instant {
    Instant::now()
}
