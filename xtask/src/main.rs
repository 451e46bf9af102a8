//! `cargo xtask tidy`: is the source tree as its documents say?

mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask tidy   check the source tree against its documents";

#[expect(clippy::print_stderr, reason = "a command for people at a terminal")]
fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(&tree::root()),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
