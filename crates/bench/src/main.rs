//! `cargo xtask bench`: measures presenced against a bare HTTP server in the same run, and prints ratios.
//!
//! Servers are processes of their own, in release mode; the load generator is this one. The reference and presenced are
//! loaded in turn, several rounds, so that whatever else the machine does concerns both. Nothing is judged but the ratio
//! against its goal, and no test asserts a time.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people at a terminal")]

mod child;
mod cold;
mod expiry;
mod follower;
mod generator;
mod notify;
mod overload;
mod population;
mod reference;
mod report;
mod scale;
mod scenario;
mod traffic;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::child::Server;
use crate::notify::NotifyArgs;
use crate::overload::OverloadArgs;
use crate::reference::ReferenceArgs;
use crate::report::machine;
use crate::scale::{OpenArgs, ScaleArgs};
use crate::scenario::{Plan, SCENARIOS, Scenario};
use crate::world::{Present, World, now};

#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: CompareArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure size: memory, restart, a storm, a day, the ticker.
    Scale(ScaleArgs),
    /// Measure notifications: push latency, thousands of subscriptions, dead endpoints among them.
    Notify(NotifyArgs),
    /// Measure overload: ten times as many connections as there is room for, for a minute.
    Overload(OverloadArgs),
    /// Open a store and say what it takes.
    #[command(hide = true)]
    Open(OpenArgs),
    /// Serve constants: the reference. The benchmark starts it itself.
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Scenarios to run, by name or the beginning of one; all without.
    scenarios: Vec<String>,
    /// The presenced to measure.
    #[arg(long, value_name = "PROGRAM", default_value = "target/release/presenced")]
    presenced: PathBuf,
    /// Print JSON, for comparison between commits.
    #[arg(long)]
    json: bool,
    /// Fewer people and shorter rounds: about a minute for everything.
    #[arg(long)]
    short: bool,
    /// People present; 1,000,000 without, 100,000 in a short run.
    #[arg(long)]
    people: Option<u64>,
    /// Rounds of each scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What presenced logs, as its --log.
    #[arg(long, default_value = "warn")]
    log: String,
}

/// presenced's: the reference must not lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Some(Command::Reference(args)) => reference::run(args),
        Some(Command::Scale(args)) => scale::run(args),
        Some(Command::Notify(args)) => notify::run(args),
        Some(Command::Overload(args)) => overload::run(args),
        Some(Command::Open(args)) => scale::open(args),
        None => compare(&cli.compare),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let (wanted, with_expiry) = wanted(&args.scenarios, args.short)?;
    let plan = Plan {
        rounds: args.rounds.max(1),
        warm_up: Duration::from_millis(if args.short { 100 } else { 500 }),
        measured: Duration::from_millis(if args.short { 500 } else { 2_000 }),
        cold_tokens: if args.short { 4_000 } else { 20_000 },
    };
    let people = args.people.unwrap_or(if args.short { 100_000 } else { 1_000_000 });
    let settings = json!({
        "people": people,
        "rounds": plan.rounds,
        "round_secs": plan.measured.as_secs_f64(),
        "log": args.log,
        "generator_threads": 2,
        "http2_streams_per_connection": generator::STREAMS,
    });
    let machine = machine();
    if !args.json {
        println!("machine:  {machine}\nsettings: {settings}\n");
    }
    let mut rows = Vec::new();
    let mut server = json!(null);
    if !wanted.is_empty() {
        let folder = tempfile::tempdir()?;
        let world = World::new(folder.path(), people)?;
        world.fill(Present { people, expiring: 0, expire_at: now() })?;
        let presenced = Server::presenced(&args.presenced, &world, &args.log)?;
        for scenario in wanted {
            let row = scenario::run(scenario, &world, &presenced, plan)?;
            if !args.json {
                println!("{}", row.print());
            }
            rows.push(row.json());
        }
        let memory_mib = presenced.resident_bytes()? / (1024 * 1024);
        let ready_secs = presenced.ready_after.as_secs_f64();
        if !args.json {
            println!(
                "presenced with its directory of {people} users: ready after {ready_secs:.2} s, {memory_mib} MiB resident\n"
            );
        }
        server = json!({ "memory_mib": memory_mib, "ready_secs": ready_secs });
    }
    if with_expiry {
        let waved = expiry::run(&args.presenced, people, plan.rounds, &args.log)?;
        if !args.json {
            println!("{}", waved.print());
        }
        rows.push(waved.json());
    }
    if args.json {
        println!(
            "{:#}",
            json!({ "machine": machine, "settings": settings, "scenarios": rows, "presenced": server })
        );
    }
    Ok(())
}

/// The scenarios of these names, and whether the waves of expiry are among them; a name that is none stands for all that
/// begin with it. Without names all of them, but the waves, which take their twenty seconds each, only in a full run.
fn wanted(names: &[String], is_short: bool) -> anyhow::Result<(Vec<&'static Scenario>, bool)> {
    if names.is_empty() {
        return Ok((SCENARIOS.iter().collect(), !is_short));
    }
    let mut wanted = Vec::new();
    let with_expiry = names.iter().any(|name| name == expiry::NAME);
    for name in names.iter().filter(|name| *name != expiry::NAME) {
        let exact = SCENARIOS.iter().filter(|scenario| scenario.name == name);
        let beginning = SCENARIOS.iter().filter(|scenario| scenario.name.starts_with(name.as_str()));
        let found: Vec<_> = if exact.clone().count() > 0 { exact.collect() } else { beginning.collect() };
        if found.is_empty() {
            let known: Vec<_> =
                SCENARIOS.iter().map(|scenario| scenario.name).chain([expiry::NAME]).collect();
            anyhow::bail!("there is no scenario {name}; there are {}", known.join(", "));
        }
        wanted.extend(found);
    }
    Ok((wanted, with_expiry))
}
