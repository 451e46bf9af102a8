//! The project's own commands: `tidy` holds the source tree against its documents, `docs` writes what is generated,
//! `startup` and `bench` measure, `sim` simulates.

mod bench;
mod docs;
mod sim;
mod startup;
mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask tidy      check the source tree against its documents
cargo xtask docs      write the tables that are generated
cargo xtask startup   measure the start of `presenced dev` and the memory it idles in
cargo xtask bench     compare the server with a bare one: [SCENARIO...] [--short] [--json], scale, notify; see --help
cargo xtask sim       play seeds of the simulator: [--seeds N] [--from SEED] [--seed SEED] [--timeline FILE] [--bug NAME]";

#[expect(clippy::print_stderr, reason = "a command for people at a terminal")]
fn main() -> ExitCode {
    let root = tree::root();
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(&root),
        Some("docs") => docs::write(&root),
        Some("startup") => startup::run(),
        Some("bench") => bench::run(std::env::args().skip(2)),
        Some("sim") => sim::run(std::env::args().skip(2)),
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
