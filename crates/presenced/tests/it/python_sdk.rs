//! The official Python SDK, as its users install it, against the real binary over both transports.

use std::process::Command;

use crate::sdk::install;
use crate::support::exec;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk/python");

#[track_caller]
fn passes(script: &str, transport: &str) {
    let mut command = Command::new(install::python().unwrap());
    // The SDK has thousands of modules: compiled once, they are kept beside it.
    command.arg(format!("{SCRIPTS}/{script}")).arg(transport).env_remove("PYTHONDONTWRITEBYTECODE");
    let (output, _) = exec(&command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.trim_end().ends_with(": passed"), "{said}");
}

#[test]
fn the_clear_presence_snippet_runs_word_for_word_over_https() {
    passes("clear_presence.py", "https");
}

#[test]
fn the_clear_presence_snippet_runs_word_for_word_over_http() {
    passes("clear_presence.py", "http");
}

#[test]
fn every_presence_call_of_the_sdk_works_over_https() {
    passes("presence_calls.py", "https");
}

#[test]
fn every_presence_call_of_the_sdk_works_over_http() {
    passes("presence_calls.py", "http");
}
