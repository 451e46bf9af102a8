//! `presenced`: a presence server that speaks the Microsoft Graph presence API.
//!
//! The program is wiring: it reads arguments and configuration, puts the crates together and prints. Whatever is worth a
//! test of its own lives behind it.

mod args;
mod backup;
mod client;
mod config;
mod decrypt;
mod dev;
mod doctor;
mod emulator;
mod exec;
mod explanation;
mod keys;
mod logging;
mod migrate;
mod nodes;
mod seed;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, LogArgs, LogFormat, UsersCommand};

/// A request makes and drops some dozens of small pieces; see docs/performance.md for what the choice is worth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Dev(args) => dev::run(args),
        Command::Exec(args) => return exec::run(args).unwrap_or_else(|error| fail(&error)),
        Command::Serve(args) => serve::run(args),
        Command::Nodes(args) => nodes::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Backup(args) => backup::back_up(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Doctor(args) => match doctor::run(&args) {
            true => Ok(()),
            false => return ExitCode::FAILURE,
        },
        Command::Ca(args) => dev::print_ca(args),
        Command::Keys(command) => keys::run(command),
        Command::Clock(args) => client::clock(args),
        Command::Token(args) => client::token(args),
        Command::Get(args) => client::get(args),
        Command::Set(args) => client::set(args),
        Command::Clear(args) => client::clear(args),
        Command::Explain(args) => client::explain(args),
        Command::History(args) => client::history(&args),
        Command::Decrypt(args) => decrypt::run(&args),
        Command::Watch(args) => client::watch(args),
        Command::Users(UsersCommand::Import { file, format, config, into, admin }) => {
            client::import(&file, format, config.as_deref(), into.as_deref(), &admin)
        }
        Command::Users(UsersCommand::Remove { user, admin }) => client::remove_user(&user, &admin),
        Command::App(command) => client::app(command),
        Command::Tenant(command) => client::tenant(command),
        Command::Subscriptions(args) => client::subscriptions(&args),
        Command::Deliveries(args) => client::deliveries(&args),
        Command::Users(UsersCommand::List { server, output }) => client::list(server, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "presenced", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the last words of a command that failed")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("presenced: {error:#}");
    ExitCode::FAILURE
}

/// A runtime for a server; and as many open files as the machine allows, since each connection is one.
fn server_runtime(log: &LogArgs, format: LogFormat) -> anyhow::Result<tokio::runtime::Runtime> {
    logging::start(log, format)?;
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Listens from now on for being asked to stop, by Ctrl-C or a supervisor's SIGTERM, and returns what ends then. To be called
/// before anybody is told that the server runs: whoever stops it at once would end it in the middle of something.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
