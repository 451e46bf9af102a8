//! Size rather than speed: memory and restart of a million and of ten million people, a reconnect storm, a simulated day, and
//! how far behind the ticker falls.
//!
//! What needs no server is measured on the store and the engine in this process: the same steps, without HTTP. Every
//! measure says what it took in CPU time too, because that of other work on the machine is not in it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use engine::{Clock, ClockState, Engine, SystemClock, VirtualClock};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use jiff::SignedDuration;
use presence::{Command, SessionLifetime, SessionPair, Timestamp, UserKey};
use serde_json::{Value, json};
use store::{Embedded, LogRead, Options, Position, Revision, Store, StoreError, Stored};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::child::{Server, cpu};
use crate::generator::{Span, Transport, load, load_until, new_histogram};
use crate::population::{DAY_SECS, Event, day, lifetime};
use crate::traffic::{Client, Random, Tokens, Traffic};
use crate::world::{APP, TENANT, World, now, user};

/// Seconds of the simulated day between two looks of the ticker, and the width of a step: reports within one are made at
/// once, as those of many people are.
const STEP_SECS: u32 = 10;
/// How many steps of the day are under way at most: no more than this is anybody behind the clock.
const STEPS_UNDER_WAY: usize = 2;
/// Lanes of people whose reports wait for those before of the same lane.
const LANES: usize = 2;
/// Reports that are made at once, and decided on one task.
const AT_ONCE: usize = 1_024;
/// Batches under way at a time.
const BATCHES: usize = 8;
/// How often the files are looked at during the day.
const LOOK_SECS: u32 = 60 * 60;
/// Connections of the storm, and of those who read meanwhile.
const STORM_CONNECTIONS: u64 = 256;
const STORM_READERS: u64 = 4;
/// How long each of those waits after an answer: they are to feel the storm and not to be one.
const STORM_READ_EVERY: Duration = Duration::from_millis(4);
/// How long they read before it.
const CALM: Duration = Duration::from_secs(2);
/// Entries of the change log that the receiver takes at a time.
const RECEIVED_AT_ONCE: usize = 4_096;
/// Transitions a second, and seconds of them, in the measurement of the ticker.
const TICKER_RATE: u64 = 50_000;
const TICKER_SECS: u64 = 10;
/// Who sets presences meanwhile: one for so long in calm and then while others fade, and so many at once for as long.
const TICKER_CALM: Duration = Duration::from_secs(1);
const TICKER_SETS: Duration = Duration::from_secs(4);
const TICKER_SETTERS: u64 = 64;
/// Into how many instants each second is divided.
const TICKER_STEPS: u64 = 50;

/// What of the scale to measure.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// `memory`, `memory-many`, `storm`, `day`, `ticker`; all without.
    measures: Vec<String>,
    /// People of the storm and the day, and of the smaller store.
    #[arg(long, default_value_t = 1_000_000)]
    people: u64,
    /// People of the larger store, and of the ticker's.
    #[arg(long, default_value_t = 10_000_000)]
    many: u64,
    /// Print JSON, a line a measure.
    #[arg(long)]
    json: bool,
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

/// Prints the table.
#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
pub(crate) fn run(args: &ScaleArgs) -> anyhow::Result<()> {
    let machine = crate::report::machine();
    println!(
        "{}",
        json!({ "machine": machine, "people": args.people, "many": args.many, "seed": args.seed })
    );
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.as_deref().unwrap_or(temporary.path());
    let measures: [(&str, Measure); 5] = [
        ("memory", |args, folder| memory(args.people, folder)),
        ("memory-many", |args, folder| memory(args.many, folder)),
        ("storm", storm),
        ("day", simulated_day),
        ("ticker", ticker),
    ];
    for (name, measure) in measures {
        if args.measures.is_empty() || args.measures.iter().any(|wanted| wanted == name) {
            let folder = folder.join(name);
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder)?;
            let found = measure(args, &folder)?;
            if args.json {
                println!("{}", json!({ name: found }));
            } else {
                print_rows(name, &found);
            }
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
    Ok(())
}

/// What the goals are about, in the order of the table: the measure, its field, the goal, and whether more is better.
const GOALS: [(&str, &str, f64, bool); 8] = [
    ("memory-many", "bytes_a_person", 128.0, false),
    ("memory", "open_secs", 0.6, false),
    ("memory-many", "open_secs", 6.0, false),
    ("storm", "secs", 20.0, false),
    ("storm", "refused", 0.0, false),
    ("day", "times_real_time", 1_000.0, true),
    ("ticker", "worst_lag_secs", 1.0, false),
    ("ticker", "transitions_a_sec", TICKER_RATE as f64 * 0.99, true),
];

#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
fn print_rows(measure: &str, found: &Value) {
    for (field, value) in found.as_object().into_iter().flatten() {
        let goal = GOALS.iter().find(|(of, name, ..)| *of == measure && name == field);
        let goal = goal.map_or_else(String::new, |(_, _, goal, is_more_better)| {
            let value = value.as_f64().unwrap_or(f64::NAN);
            let is_met = if *is_more_better { value >= *goal } else { value <= *goal };
            let (sign, verdict) =
                (if *is_more_better { ">=" } else { "<=" }, if is_met { "met" } else { "NOT met" });
            format!("  goal {sign} {goal}: {verdict}")
        });
        let value = match value.as_f64().filter(|_| value.is_f64()) {
            Some(value) => format!("{value:.2}"),
            None => value.to_string(),
        };
        println!("{measure:<12} {field:<26} {value:>16}{goal}");
    }
}

/// Fills a store, has a snapshot written of it, and opens it in a process of its own; once more from logs alone.
fn memory(people: u64, folder: &Path) -> anyhow::Result<Value> {
    let store = folder.join("store");
    // Without a snapshot first, so that logs alone are read.
    let options = Options { compact_at_bytes: u64::MAX, ..Options::default() };
    let filled = fill(&store, people, options, now())?;
    let empty = open_in_child(&folder.join("empty"))?;
    let from_logs = open_in_child(&store)?;
    compact(&store)?;
    let full = open_in_child(&store)?;
    let resident = |value: &Value| value["resident_bytes"].as_f64().unwrap_or(f64::NAN);
    Ok(json!({
        "people": people,
        "bytes_a_person": (resident(&full) - resident(&empty)) / people as f64,
        "bytes_a_person_from_logs": (resident(&from_logs) - resident(&empty)) / people as f64,
        "resident_mib": resident(&full) / 1024.0 / 1024.0,
        "open_secs": full["open_secs"],
        "open_cpu_secs": full["cpu_secs"],
        "open_from_logs_secs": from_logs["open_secs"],
        "open_from_logs_cpu_secs": from_logs["cpu_secs"],
        "fill_secs": filled.secs,
        "fill_cpu_secs": filled.cpu_secs,
        "files_bytes_a_person": folder_bytes(&store)? as f64 / people as f64,
    }))
}

/// What work has taken: the machine's time, and this process's.
struct Took {
    secs: f64,
    cpu_secs: f64,
}

fn took<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Took)> {
    let (began, cpu_before) = (began(), cpu("self")?);
    let done = work()?;
    let secs = began.elapsed().as_secs_f64();
    Ok((done, Took { secs, cpu_secs: (cpu("self")? - cpu_before).as_secs_f64() }))
}

/// Everybody arrives with one session of four hours, at the same instant.
fn fill(folder: &Path, people: u64, options: Options, at: Timestamp) -> anyhow::Result<Took> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (store, _) = Embedded::open(folder, options)?;
    let store: Arc<dyn Store> = Arc::new(store);
    let lifetime = SessionLifetime::new(SignedDuration::from_hours(4))?;
    let ((), took) =
        took(|| runtime.block_on(arrive(&store, 0..people, SessionPair::Available, lifetime, at)))?;
    runtime.block_on(store.close())?;
    Ok(took)
}

/// Has a snapshot written, and waits for it.
fn compact(folder: &Path) -> anyhow::Result<()> {
    let options = Options { compact_at_bytes: 0, compact_at_factor: 0, ..Options::default() };
    let (store, _) = Embedded::open(folder, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store: Arc<dyn Store> = Arc::new(store);
    runtime.block_on(async {
        let lifetime = SessionLifetime::new(SignedDuration::from_hours(4))?;
        // A write begins a snapshot; a later one notices its end.
        arrive(&store, 0..1, SessionPair::Available, lifetime, now()).await?;
        let began = began();
        while store.status().is_some_and(|status| status.compactions == 0) {
            anyhow::ensure!(began.elapsed() < STORM_MAX, "a snapshot takes too long");
            tokio::time::sleep(Duration::from_millis(20)).await;
            arrive(&store, 0..1, SessionPair::Available, lifetime, now()).await?;
        }
        Ok(store.close().await?)
    })
}

fn open_in_child(folder: &Path) -> anyhow::Result<Value> {
    let output = std::process::Command::new(std::env::current_exe()?).arg("open").arg(folder).output()?;
    serde_json::from_slice(&output.stdout).context("a store could not be opened")
}

/// In the child: opens and tells.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) fn open(args: &OpenArgs) -> anyhow::Result<()> {
    let (opened, Took { secs, cpu_secs }) = took(|| Ok(Embedded::open(&args.folder, Options::default())?))?;
    let resident_bytes = crate::child::resident_bytes("self")?;
    let (_store, recovery) = opened;
    let users = recovery.users;
    println!(
        "{}",
        json!({ "open_secs": secs, "cpu_secs": cpu_secs, "resident_bytes": resident_bytes, "users": users })
    );
    Ok(())
}

/// Everybody comes back at once, and a few go on reading.
fn storm(args: &ScaleArgs, folder: &Path) -> anyhow::Result<Value> {
    let world = World::new(folder, args.people)?;
    let server = Server::presenced(&args.presenced, &world, "warn")?;
    let tokens = Tokens::one(world.token()?);
    let reader = |number| Client::new(Traffic::GetOne, args.people, number, tokens.clone());
    let readers = || (0..STORM_READERS).map(reader).collect();
    let storm = Span { requests_max: args.people, ..Span::of(STORM_MAX) };
    let calm = Span { pause: STORM_READ_EVERY, ..Span::of(CALM) };
    let before = load(server.http, Transport::Http1, readers(), calm, || Ok(()))?;
    let cpu_before = (cpu("self")?, server.cpu()?);
    let is_over = AtomicBool::new(false);
    let (arrived, during) = std::thread::scope(|scope| {
        let (address, is_over, readers) = (server.http, &is_over, readers());
        let reading = scope.spawn(move || {
            let span = Span { measured: STORM_MAX, ..calm };
            load_until(address, Transport::Http1, readers, span, || Ok(()), is_over)
        });
        let comers = Client::arriving(STORM_CONNECTIONS, args.people, &tokens);
        let arrived = load(address, Transport::Http1, comers, storm, || Ok(()));
        is_over.store(true, Ordering::Relaxed);
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
        "gets_during": during.requests,
        "server_cpu_secs": (server.cpu()? - cpu_before.1).as_secs_f64(),
        "generator_cpu_secs": (cpu("self")? - cpu_before.0).as_secs_f64(),
        "ready_secs_with_directory": server.ready_after.as_secs_f64(),
        "resident_mib_with_directory": server.resident_bytes()? / 1024 / 1024,
    }))
}

/// A storm that takes longer than this is given up.
const STORM_MAX: Duration = Duration::from_secs(1_200);

/// A whole day on virtual time: every report, fade and expiry, and a receiver who follows every change.
fn simulated_day(args: &ScaleArgs, folder: &Path) -> anyhow::Result<Value> {
    let events = day(args.seed, u32::try_from(args.people)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (store, _) = Embedded::open(folder, Options::default())?;
    let clock = VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default());
    clock.freeze();
    let clock = Arc::new(clock);
    let engine = Arc::new(Engine::new(Arc::new(store), clock.clone()));
    let written_before = written_bytes()?;
    let (lived, Took { secs, cpu_secs }) = took(|| runtime.block_on(live(&engine, &clock, &events, folder)))?;
    let status = engine.store().status().unwrap_or_default();
    runtime.block_on(engine.store().close())?;
    let written = written_bytes()? - written_before;
    Ok(json!({
        "people": args.people,
        "reports": events.len(),
        "settled_by_time": lived.settled,
        "changes_received": lived.received,
        "secs": secs,
        "cpu_secs": cpu_secs,
        "times_real_time": f64::from(DAY_SECS) / secs,
        "snapshots": status.compactions,
        "files_mib_at_most": lived.files_bytes_max / 1024 / 1024,
        "files_mib_at_the_end": folder_bytes(folder)? / 1024 / 1024,
        "changes_mib": status.group_bytes / 1024 / 1024,
        "written_mib": written / 1024 / 1024,
        "write_amplification": written as f64 / status.group_bytes.max(1) as f64,
    }))
}

#[derive(Default)]
struct Lived {
    received: u64,
    settled: u64,
    files_bytes_max: u64,
}

/// As in a server: nobody waits for anybody else. People are in lanes, each of which makes its reports of one step when those of
/// the step before are durable; the ticker settles who is due; and the receiver follows. The clock waits for whoever is more
/// than [`STEPS_UNDER_WAY`] behind.
async fn live(
    engine: &Arc<Engine>,
    clock: &VirtualClock,
    events: &[Event],
    folder: &Path,
) -> anyhow::Result<Lived> {
    let mut lived = Lived::default();
    let mut next = 0;
    let start = clock.now();
    let (over, is_over) = watch::channel(false);
    let mut receiving = JoinSet::new();
    receiving.spawn(receive(Arc::clone(engine.store()), is_over));
    let (mut lanes, mut reporting) = (Vec::new(), JoinSet::new());
    for _ in 0..LANES {
        let (lane, steps) = mpsc::channel(STEPS_UNDER_WAY - 1);
        lanes.push(lane);
        reporting.spawn(report_step_by_step(Arc::clone(engine.store()), steps));
    }
    let (ticking, ticks) = mpsc::channel(STEPS_UNDER_WAY - 1);
    let mut settling = JoinSet::new();
    settling.spawn(settle_step_by_step(Arc::clone(engine), ticks));
    for second in (STEP_SECS..=DAY_SECS).step_by(STEP_SECS as usize) {
        let reports = events[next..].partition_point(|event| event.second() < second);
        let mut of_lanes: [Vec<Event>; LANES] = Default::default();
        for event in &events[next..next + reports] {
            of_lanes[event.person() as usize % LANES].push(*event);
        }
        next += reports;
        // Whoever is behind makes room when a step is done; what cannot be handed over has ended, and says why below.
        let permits = try_join_all(lanes.iter().map(mpsc::Sender::reserve)).await;
        let (Ok(permits), Ok(tick)) = (permits, ticking.reserve().await) else { break };
        clock.set_forward(start + SignedDuration::from_secs(i64::from(second)));
        permits.into_iter().zip(of_lanes).for_each(|(lane, reports)| lane.send((reports, clock.now())));
        tick.send(());
        if second % LOOK_SECS == 0 {
            lived.files_bytes_max = lived.files_bytes_max.max(folder_bytes(folder)?);
        }
    }
    drop((lanes, ticking));
    while let Some(lane) = reporting.join_next().await {
        lane??;
    }
    lived.settled = settling.join_next().await.context("nobody settles")???;
    over.send_replace(true);
    lived.received = receiving.join_next().await.context("nobody receives")???;
    Ok(lived)
}

/// Makes the reports of one lane.
async fn report_step_by_step(
    store: Arc<dyn Store>,
    mut steps: mpsc::Receiver<(Vec<Event>, Timestamp)>,
) -> anyhow::Result<()> {
    while let Some((reports, now)) = steps.recv().await {
        report(&store, &reports, now).await?;
    }
    Ok(())
}

/// Settles who is due whenever the clock has gone on. Returns how many that were.
async fn settle_step_by_step(engine: Arc<Engine>, mut ticks: mpsc::Receiver<()>) -> anyhow::Result<u64> {
    let mut settled = 0;
    while ticks.recv().await.is_some() {
        settled += settle(&engine).await?;
    }
    Ok(settled)
}

/// Settles everybody who is due. Returns how many that were.
async fn settle(engine: &Engine) -> anyhow::Result<u64> {
    let mut settled = 0;
    loop {
        let tick = engine.tick().await?;
        settled += tick.settled as u64;
        if !tick.more {
            return Ok(settled);
        }
    }
}

/// Reports of one step, many at a time; those of one person one after the other.
async fn report(store: &Arc<dyn Store>, events: &[Event], now: Timestamp) -> anyhow::Result<()> {
    let lifetime = lifetime()?;
    let mut by_person: Vec<Event> = events.to_vec();
    by_person.sort_by_key(|event| event.person());
    // The first report of each, then the second of those who have one, and so on.
    let mut rounds: Vec<Vec<(UserKey, Command)>> = Vec::new();
    for of_one in by_person.chunk_by(|a, b| a.person() == b.person()) {
        let key = UserKey { tenant: TENANT, user: user(of_one[0].person()) };
        for (round, event) in of_one.iter().enumerate() {
            if round == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[round].push((key, event.command(lifetime)));
        }
    }
    for round in rounds {
        in_batches(store, round.into_iter(), now).await?;
    }
    Ok(())
}

/// Carries out commands of different people, several batches at a time.
async fn in_batches(
    store: &Arc<dyn Store>,
    mut commands: impl Iterator<Item = (UserKey, Command)>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut batches = JoinSet::new();
    loop {
        let batch: Vec<_> = commands.by_ref().take(AT_ONCE).collect();
        if batch.is_empty() || batches.len() == BATCHES {
            match batches.join_next().await {
                Some(done) => done??,
                None => return Ok(()),
            }
        }
        if !batch.is_empty() {
            batches.spawn(carry_out(Arc::clone(store), batch, now));
        }
    }
}

/// What the engine does with a command, for many at once: loads, applies the rules, commits, and begins again with those
/// whom somebody else has changed meanwhile.
async fn carry_out(
    store: Arc<dyn Store>,
    mut commands: Vec<(UserKey, Command)>,
    now: Timestamp,
) -> anyhow::Result<()> {
    while !commands.is_empty() {
        let users: Vec<UserKey> = commands.iter().map(|(user, _)| *user).collect();
        let mut decide = |place: usize, stored: &mut Stored| {
            let (_, command) = &commands[place];
            // Refused: signing off after the session has lapsed.
            let changes = stored.presence.execute(command.clone(), now).ok()?;
            Some(Revision { wake_at: stored.presence.next_change(now), changes })
        };
        let outcomes = store.revise(&users, &mut decide).await?;
        let mut again = Vec::new();
        for (command, outcome) in commands.into_iter().zip(outcomes) {
            match outcome {
                None | Some(Ok(_)) => {}
                Some(Err(StoreError::Conflict)) => again.push(command),
                Some(Err(error)) => return Err(error.into()),
            }
        }
        commands = again;
    }
    Ok(())
}

/// Follows the change log until it is over. Returns how many changes there were.
async fn receive(store: Arc<dyn Store>, mut is_over: watch::Receiver<bool>) -> anyhow::Result<u64> {
    let (mut received, mut position) = (0, Position(0));
    let mut end = store.log_end();
    loop {
        // Before looking: what comes after this is told by `changed`.
        end.mark_unchanged();
        let was_over = *is_over.borrow_and_update();
        match store.read_log(position, RECEIVED_AT_ONCE).await? {
            LogRead::Behind { oldest, .. } => anyhow::bail!("the receiver fell behind: {oldest:?}"),
            LogRead::Page { entries, .. } => match entries.last() {
                Some(last) => {
                    position = last.position;
                    received += entries.len() as u64;
                }
                None if was_over => return Ok(received),
                None => {
                    tokio::select! {
                        changed = end.changed() => changed?,
                        changed = is_over.changed() => changed?,
                    }
                }
            },
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
        let fading = (TICKER_RATE * TICKER_SECS).min(args.many);
        arrive(engine.store(), fading..args.many, SessionPair::InACall, lifetime, start).await?;
        // Spread over each second, as people are.
        let steps = TICKER_SECS * TICKER_STEPS;
        for step in 0..steps {
            let at = start + SignedDuration::from_millis((step * 1_000 / TICKER_STEPS) as i64);
            let of_step = fading * step / steps..fading * (step + 1) / steps;
            arrive(engine.store(), of_step, SessionPair::Available, lifetime, at).await?;
        }
        let first_fade = start + SignedDuration::from_mins(5);
        clock.set_forward(first_fade - SignedDuration::from_secs(1));
        let of_whom = fading..args.many.max(fading + 1);
        let calm = sets(&engine, of_whom.clone(), 1, TICKER_CALM).await?;
        clock.resume();
        let mut setting = JoinSet::new();
        let setter = Arc::clone(&engine);
        setting.spawn(async move {
            tokio::time::sleep(TICKER_CALM).await;
            let alone = sets(&setter, of_whom.clone(), 1, TICKER_SETS).await?;
            anyhow::Ok((alone, sets(&setter, of_whom, TICKER_SETTERS, TICKER_SETS).await?))
        });
        let cpu_before = cpu("self")?;
        let (mut settled, mut lag) = (0, SignedDuration::ZERO);
        while settled < fading as usize {
            let due = engine.store().next_wake().await?.context("nobody is due")?;
            let tick = engine.tick().await?;
            settled += tick.settled;
            if tick.settled > 0 {
                lag = lag.max(clock.now().duration_since(due));
            }
            // Not after the last: who has faded once fades again five minutes later.
            if !tick.more && settled < fading as usize {
                engine.until_due(tick.next_wake).await;
            }
        }
        let secs = clock.now().duration_since(first_fade).as_secs_f64();
        let cpu_secs = (cpu("self")? - cpu_before).as_secs_f64();
        let (alone, many) = setting.join_next().await.context("nobody sets")???;
        engine.store().close().await?;
        let quantiles =
            |of: &Histogram<u64>| [of.value_at_quantile(0.5), of.value_at_quantile(0.99), of.max()];
        Ok(json!({
            "people": args.many,
            "set_micros_calm": quantiles(&calm),
            "set_micros_meanwhile": quantiles(&alone),
            "set_micros_meanwhile_64": quantiles(&many),
            "settled": settled,
            "transitions_a_sec": settled as f64 / secs.max(TICKER_SECS as f64),
            "secs": secs,
            "cpu_secs": cpu_secs,
            "worst_lag_secs": lag.as_secs_f64(),
        }))
    })
}

/// So many set the presence of one person after the other, for so long. Returns how many microseconds each took, until it was
/// durable.
#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
async fn sets(
    engine: &Arc<Engine>,
    of_whom: std::ops::Range<u64>,
    setters: u64,
    span: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let (mut setting, began) = (JoinSet::new(), Instant::now());
    let lifetime = SessionLifetime::new(SignedDuration::from_hours(4))?;
    for setter in 0..setters {
        let (engine, of_whom) = (Arc::clone(engine), of_whom.clone());
        setting.spawn(async move {
            let (mut random, mut took) = (Random::new(setter), new_histogram()?);
            while began.elapsed() < span {
                let person = of_whom.start + random.below(of_whom.end - of_whom.start);
                let key = UserKey { tenant: TENANT, user: user(person) };
                let command = Command::SetPresence { app: APP, pair: SessionPair::InACall, lifetime };
                let began = Instant::now();
                engine.execute(key, command).await?;
                took.saturating_record(u64::try_from(began.elapsed().as_micros())?);
            }
            anyhow::Ok(took)
        });
    }
    let mut all = new_histogram()?;
    while let Some(took) = setting.join_next().await {
        all.add(took??)?;
    }
    Ok(all)
}

/// People set their presence for the first time.
async fn arrive(
    store: &Arc<dyn Store>,
    people: std::ops::Range<u64>,
    pair: SessionPair,
    lifetime: SessionLifetime,
    at: Timestamp,
) -> anyhow::Result<()> {
    let commands = people.map(|number| {
        let key = UserKey { tenant: TENANT, user: user(number) };
        (key, Command::SetPresence { app: APP, pair, lifetime })
    });
    in_batches(store, commands, at).await
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
