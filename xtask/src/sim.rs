//! `cargo xtask sim`: builds the simulator with optimisation, and plays many seeds or one. See `crates/sim/src/main.rs`.

use std::process::Command;

/// Builds and runs it with these arguments.
///
/// # Errors
/// When it cannot be built, or a seed breaks something.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "-p", "sim", "--"])
        .args(arguments)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the simulator ended with {status}")),
        Err(error) => Err(format!("the simulator cannot be started: {error}")),
    }
}
