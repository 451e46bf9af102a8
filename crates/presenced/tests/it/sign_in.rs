//! The libraries that sign in, unmodified, against the real binary over TLS, and a real browser for its pages.
//!
//! The lines that point each at presenced are read from docs/identity.md.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::sdk::install::{self, cache, copy, once, run};
use crate::support::BINARY;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sign-in");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity.md");
const BROWSER: &str = "chromium";

/// One browser at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A folder with the scenarios, the JavaScript libraries and the driver of the browser.
fn libraries() -> PathBuf {
    let folder = cache("sign-in");
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

/// Carries out a scenario under `presenced exec`.
#[track_caller]
fn passes(interpreter: &Path, script: &str, scenario: &str) {
    let folder = libraries();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let browser = Command::new("sh").args(["-c", &format!("command -v {BROWSER}")]).output().unwrap();
    let browser = String::from_utf8(browser.stdout).unwrap();
    assert!(!browser.is_empty(), "{BROWSER} is needed (Debian: chromium)");
    let output = Command::new(BINARY)
        .args(["exec", "--"])
        .arg(interpreter)
        .args([script, scenario])
        .env("IDENTITY_PAGE", PAGE)
        .env("SIGN_IN_BROWSER", browser.trim())
        .env("SIGN_IN_NODE", "node")
        .env("SIGN_IN_DRIVER", folder.join("drive.mjs"))
        .env_remove("PYTHONDONTWRITEBYTECODE")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.trim_end().ends_with(&format!("{scenario}: passed")), "{said}");
}

#[track_caller]
fn python(scenario: &str) {
    passes(&install::python().unwrap(), "clients.py", scenario);
}

#[track_caller]
fn javascript(scenario: &str) {
    passes(Path::new("node"), "clients.mjs", scenario);
}

#[test]
fn msal_for_python_signs_an_application_in_by_its_secret() {
    python("secret");
}

#[test]
fn msal_and_azure_identity_for_python_sign_an_application_in_by_its_certificate() {
    python("assertion");
}

#[test]
fn msal_for_python_signs_a_user_in_through_the_page_and_renews_silently() {
    python("code");
}

#[test]
fn msal_and_azure_identity_for_python_sign_a_user_in_on_a_device() {
    python("device");
}

#[test]
fn azure_identity_feeds_the_graph_sdk_for_python_with_and_without_asyncio() {
    python("graph_sdk");
}

#[test]
fn msal_and_azure_identity_for_node_sign_an_application_in_by_its_secret() {
    javascript("secret");
}

#[test]
fn msal_for_node_signs_a_user_in_on_a_device_and_renews_silently() {
    javascript("device");
}

#[test]
fn msal_in_a_page_signs_a_user_in_and_calls_the_api_across_origins() {
    javascript("page");
}
