//! The libraries that sign in, unmodified, against the real binary over TLS, and a real browser for its pages.
//!
//! The lines that point each at presenced are read from docs/identity.md.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::sdk::install::{self, cache, copy, once, run};
use crate::support::{BINARY, Caller, Server, USER_A, exec};

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
    let mut command = Command::new(interpreter);
    command
        .args([script, scenario])
        .env("IDENTITY_PAGE", PAGE)
        .env("SIGN_IN_BROWSER", browser.trim())
        .env("SIGN_IN_NODE", "node")
        .env("SIGN_IN_DRIVER", folder.join("drive.mjs"))
        .env_remove("PYTHONDONTWRITEBYTECODE")
        .current_dir(&folder);
    let (output, _) = exec(&command);
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

/// The key ids a server publishes, once there are so many. A rotation is followed within seconds.
fn published(server: &Server, count: usize, without: &str) -> Vec<String> {
    loop {
        let set = server.send("GET", "/common/discovery/v2.0/keys", &[], b"").json();
        let kids: Vec<String> = set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect();
        if kids.len() == count && !kids.iter().any(|kid| kid == without) {
            return kids;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn keys(folder: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(BINARY).arg("keys").args(arguments).arg("--data-dir").arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_running_server_follows_a_rotation_and_tokens_stay_valid_until_the_overlap_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::dev_in(folder.path());
    let first = published(&server, 1, "").remove(0);
    let presence = |token: &str| {
        let path = format!("/v1.0/users/{USER_A}/presence");
        Caller::with_token(&server, token).get(&path).status
    };
    let before = server.token(None);
    assert_eq!(presence(&before), 200);
    keys(folder.path(), &["rotate"]);
    let both = published(&server, 2, "");
    assert_eq!(both[1], first);
    let after = server.token(None);
    assert_eq!((presence(&before), presence(&after)), (200, 200));
    let listed = keys(folder.path(), &["list"]);
    assert!(listed.starts_with(&format!("{}  signs\n{first}  believed until ", both[0])), "{listed}");
    keys(folder.path(), &["rotate", "--overlap", "PT0S"]);
    published(&server, 1, &both[0]);
    assert_eq!((presence(&before), presence(&after)), (401, 401));
    assert_eq!(presence(&server.token(None)), 200);
}

#[test]
fn keys_are_not_made_where_no_server_ever_ran() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(BINARY).args(["keys", "rotate", "--data-dir"]).arg(folder.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("has the server ever run there?"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
