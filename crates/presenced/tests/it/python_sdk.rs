//! The official Python SDK, as its users install it, against the real binary over both transports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::BINARY;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk/python");

/// An environment of its own with the SDK in it, made once and kept below `target` for the next run.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let requirements = std::fs::read_to_string(format!("{SCRIPTS}/requirements.txt")).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-sdk");
        let (python, marker) = (folder.join("bin/python"), folder.join("installed.txt"));
        if std::fs::read_to_string(&marker).ok().as_deref() != Some(&requirements) {
            let _ = std::fs::remove_dir_all(&folder);
            run(
                Command::new("python3").args(["-m", "venv"]).arg(&folder),
                "python3 with its venv module is needed",
            );
            let install =
                ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "-r"];
            let file = format!("{SCRIPTS}/requirements.txt");
            run(Command::new(&python).args(install).arg(file), "PyPI must be reachable to install the SDK");
            std::fs::write(marker, requirements).unwrap();
        }
        python
    })
}

fn run(command: &mut Command, needs: &str) {
    let status = command.status().unwrap_or_else(|error| panic!("{needs}: {error}"));
    assert!(status.success(), "{needs}: {command:?}");
}

#[track_caller]
fn passes(script: &str, transport: &str) {
    let output = Command::new(BINARY)
        .args(["exec", "--"])
        .arg(python())
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
