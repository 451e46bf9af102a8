//! The official Python SDK, as its users install it, against the real binary over both transports.

use std::process::Command;

use crate::sdk::install;
use crate::support::BINARY;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk/python");

#[track_caller]
fn passes(script: &str, transport: &str) {
    let output = Command::new(BINARY)
        .args(["exec", "--"])
        .arg(install::python().unwrap())
        .arg(format!("{SCRIPTS}/{script}"))
        .arg(transport)
        // The SDK has thousands of modules: compiled once, they are kept beside it.
        .env_remove("PYTHONDONTWRITEBYTECODE")
        .output()
        .unwrap();
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
