//! `cargo xtask sim`: many seeds, or one with all that happens in it.

use std::process::ExitCode;

use sim::Bug;

const USAGE: &str = "\
sim [--seeds N] [--from SEED] [--bug NAME]   play N seeds (1000); stop at the first that breaks something, and shrink it
sim --seed SEED [--bug NAME]                 play one, and print what happens, a line each
sim --timeline FILE [--bug NAME]             play the lines of a file";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people at a terminal")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut one, mut bug, mut timeline) = (1_000, 0, None, None, None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = value.parse::<u64>();
        match (argument.as_str(), number) {
            ("--seeds", Ok(count)) => seeds = count,
            ("--from", Ok(seed)) => from = seed,
            ("--seed", Ok(seed)) => one = Some(seed),
            ("--timeline", _) => timeline = Some(value),
            ("--bug", _) if Bug::named(&value).is_some() => bug = Bug::named(&value),
            _ => {
                eprintln!("{USAGE}\n\nBugs: {:?}", Bug::ALL);
                return ExitCode::FAILURE;
            }
        }
    }
    let played = match (one, timeline) {
        (Some(seed), _) => Some(sim::run(seed, bug, true)),
        (None, Some(file)) => match std::fs::read_to_string(&file) {
            Ok(text) => Some(sim::play(&text, bug, true)),
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        },
        (None, None) => None,
    };
    if let Some(report) = played {
        println!("{}", report.events.join("\n"));
        println!("{} steps, {} commits, {} told", report.steps, report.commits, report.told);
        return if report.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (mut steps, mut commits, mut told) = (0, 0, 0);
    for seed in from..from.saturating_add(seeds) {
        let report = sim::run(seed, bug, false);
        steps += report.steps;
        commits += report.commits;
        told += report.told;
        if report.violation.is_some()
            && let Some(failure) = sim::find(seed, bug)
        {
            println!("seed {seed}: {}\n\n{}", failure.violation, failure.timeline);
            return ExitCode::FAILURE;
        }
        if (seed + 1 - from).is_multiple_of(10_000) {
            println!("{} seeds", seed + 1 - from);
        }
    }
    println!("{seeds} seeds, {steps} steps, {commits} commits, {told} notifications: nothing is broken");
    ExitCode::SUCCESS
}
