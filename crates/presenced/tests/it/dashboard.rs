//! The dashboard in a real browser: headless Chromium, driven by `tests/dashboard`.
//!
//! `PRESENCED_PICTURES=FOLDER` keeps pictures of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::sdk::install::{cache, copy, once, run};
use crate::support::{APP, BINARY, Caller, JSON, Server, USER_A, USER_B};

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
fn passes(scenario: &str) {
    passes_with(scenario, None);
}

#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured is for whoever reads the output")]
fn passes_with(scenario: &str, python: Option<PathBuf>) {
    let folder = driver();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let browser = Command::new("sh").args(["-c", &format!("command -v {BROWSER}")]).output().unwrap();
    let browser = String::from_utf8(browser.stdout).unwrap();
    assert!(!browser.is_empty(), "{BROWSER} is needed (Debian: chromium)");
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
    let pictures = std::env::var_os("PRESENCED_PICTURES");
    let mut node = Command::new("node");
    node.args(["scenarios.mjs", scenario, BINARY, browser.trim()]).args(pictures).current_dir(folder);
    if let Some(python) = python {
        node.env("PRESENCED_PYTHON", python);
    }
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

#[test]
fn a_change_that_the_python_sdk_made_arrives_and_fades_as_the_clock_is_moved_in_the_page() {
    passes_with("python_change", Some(crate::sdk::install::python().unwrap()));
}

#[test]
fn a_stream_that_was_cut_goes_on_where_it_was_and_misses_nothing() {
    passes("stream_cut");
}

#[test]
fn people_sign_in_at_the_configured_issuer_and_see_what_they_may() {
    passes("issuer_sign_in");
}

#[test]
fn administrators_see_the_nodes_that_share_a_store_and_a_server_that_is_alone_has_no_such_page() {
    if crate::engines::is_missing() {
        return;
    }
    passes("several_nodes");
}

#[test]
fn a_persons_history_is_a_strip_with_the_time_in_each_state_and_who_wrote() {
    passes("person_history");
}

#[test]
fn board_and_person_fit_telephones_and_walls_in_light_and_dark() {
    passes("screens");
}

#[test]
fn a_persons_page_tells_why_they_are_shown_so_and_draws_what_is_ahead() {
    passes("person_page");
}

#[test]
fn a_change_reaches_a_board_of_5000_people_at_once_and_200_changes_a_second_leave_it_smooth() {
    passes("many_people");
}

#[test]
fn names_of_every_kind_are_text_and_nothing_else() {
    passes("odd_names");
}

#[test]
fn everything_can_be_done_with_the_keyboard_alone() {
    passes("keyboard");
}

#[test]
fn a_viewer_without_the_permission_to_see_everybody_sees_themselves() {
    passes("few_permissions");
}

#[test]
fn an_emulators_clock_is_moved_and_presence_set_from_its_panel_and_requests_are_listed() {
    passes("emulator_panel");
}

#[test]
fn subscriptions_are_shown_with_the_health_of_their_delivery_and_without_secrets() {
    passes("subscription_health");
}

#[test]
fn an_emulator_keeps_a_journal_of_what_graph_was_asked_without_tokens() {
    let server = Server::dev();
    let app = Caller::application(&server);
    app.set(USER_A, "Busy", "InACall", "PT1H");
    app.get("/v1.0/users/nobody/presence");
    let journal = server.send("GET", "/_presenced/v1/requests", &[], b"").json();
    let [set, refused] = journal["value"].as_array().unwrap().as_slice() else { panic!("{journal}") };
    assert_eq!((&set["status"], &set["outcome"]), (&200.into(), &"visible".into()));
    assert_eq!(set["application"], APP);
    assert!(set["requestBody"].as_str().unwrap().contains("InACall"));
    assert_eq!(refused["path"], "/v1.0/users/nobody/presence");
    assert!(refused["responseBody"].as_str().unwrap().contains("error"));
    assert!(!journal.to_string().contains(&server.token(None)));
    let next = journal["next"].as_u64().unwrap();
    let later = server.send("GET", &format!("/_presenced/v1/requests?from={next}"), &[], b"").json();
    assert_eq!(later["value"].as_array().map(Vec::len), Some(0));
    assert_eq!(server.send("GET", "/_presenced/v1/requests?from=x", &[], b"").error().0, 400);
    assert_eq!(server.send("POST", "/_presenced/v1/requests", &[JSON], b"{}").error().0, 405);
}

#[test]
fn an_emulator_hands_out_tokens_of_other_applications_and_with_fewer_permissions() {
    let server = Server::dev();
    let token = |query: &str| server.send("GET", &format!("/_presenced/v1/token?{query}"), &[], b"");
    let lesser = token(&format!("user={USER_A}&scope=Presence.Read")).text();
    let caller = Caller::with_token(&server, &lesser);
    assert_eq!(caller.get(&format!("/v1.0/users/{USER_A}/presence")).status, 200);
    assert_eq!(caller.get(&format!("/v1.0/users/{USER_B}/presence")).error().0, 403);

    let body = r#"{"displayName":"Other","roles":["Presence.ReadWrite.All"]}"#;
    let admin = Caller::application(&server);
    let other = admin.send("POST", "/_presenced/v1/admin/applications", &[JSON], body.as_bytes()).json();
    let id = other["id"].as_str().unwrap();
    let other = Caller::with_token(&server, &token(&format!("app={id}")).text());
    assert_eq!(other.get("/_presenced/v1/admin/applications").error().0, 403);
    assert_eq!(other.get(&format!("/v1.0/users/{USER_B}/presence")).status, 200);

    for (query, status) in [
        ("app=nonsense".to_owned(), 400),
        (format!("app={USER_A}"), 404),
        ("scope=Presence.Read".to_owned(), 400),
        (format!("user={USER_A}&scope=Everything"), 400),
        (format!("user={USER_A}&scope=Presence.ReadWrite.All"), 400),
    ] {
        assert_eq!(token(&query).error().0, status, "{query}");
    }
}
