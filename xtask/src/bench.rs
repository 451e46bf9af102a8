//! `cargo xtask bench`: builds the server and the benchmark in release mode, and runs the one against the other.
//!
//! They are built one after the other, so that what the benchmark wants of a shared dependency is not in the server.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds, and runs the benchmark with these arguments.
///
/// # Errors
/// When something cannot be built, or the benchmark fails.
#[expect(clippy::disallowed_methods, reason = "the target folder is named by the environment")]
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut arguments = arguments.peekable();
    for package in ["presenced", "bench"] {
        let built =
            Command::new(env!("CARGO")).args(["build", "--release", "--quiet", "-p", package]).status();
        if !built.is_ok_and(|status| status.success()) {
            return Err(format!("the release build of {package} failed"));
        }
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let release = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from).join("release");
    // The subcommands for people; without one, servers are compared.
    let is_one = |argument: &String| ["scale", "overload", "notify"].contains(&argument.as_str());
    let subcommand = arguments.next_if(is_one);
    let run = Command::new(release.join("bench"))
        .args(subcommand)
        .arg("--presenced")
        .arg(release.join("presenced"))
        .args(arguments)
        .status();
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the benchmark ended with {status}")),
        Err(error) => Err(format!("the benchmark cannot be started: {error}")),
    }
}
