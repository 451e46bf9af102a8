//! The dashboard in a real browser: headless Chromium, driven by `tests/dashboard`.
//!
//! `PRESENCED_PICTURES=FOLDER` keeps pictures of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::sdk::install::{cache, copy, once, run};
use crate::support::BINARY;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/dashboard");
const BROWSER: &str = "chromium";

/// One browser at a time: what it measures depends on how busy the machine is.
static TURN: Mutex<()> = Mutex::new(());

/// A folder with the scenarios and the driver.
fn driver() -> PathBuf {
    let folder = cache("dashboard");
    let lock = format!("{SOURCES}/package-lock.json");
    let installed = once(&folder, &[&lock], || {
        copy(Path::new(SOURCES), &folder);
        let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"];
        run(
            Command::new("npm").args(install).current_dir(&folder),
            "npm 9 or later (Debian: npm) and its registry are needed",
        )
    });
    installed.unwrap();
    copy(Path::new(SOURCES), &folder);
    folder
}

/// Carries out a scenario with a server and a browser of its own.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured is for whoever reads the output")]
fn passes(scenario: &str) {
    let folder = driver();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let browser = Command::new("sh").args(["-c", &format!("command -v {BROWSER}")]).output().unwrap();
    let browser = String::from_utf8(browser.stdout).unwrap();
    assert!(!browser.is_empty(), "{BROWSER} is needed (Debian: chromium)");
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
    let pictures = std::env::var_os("PRESENCED_PICTURES");
    let mut node = Command::new("node");
    node.args(["scenarios.mjs", scenario, BINARY, browser.trim()]).args(pictures).current_dir(folder);
    let output = node.stdin(Stdio::null()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{scenario}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_board_follows_writes_and_the_clock_and_searches_and_filters() {
    passes("live_board");
}

#[test]
fn a_first_look_at_the_board_loads_less_than_150_kib() {
    passes("first_load");
}

#[test]
fn an_open_board_says_that_the_server_is_gone_and_goes_on_when_it_is_back() {
    passes("restart");
}
