//! schemathesis against `/openapi.json`: what a tool makes of our own description of the API.

use std::io::Write as _;
use std::process::Command;

use crate::sdk::install::{self, SOURCES, once, run};
use crate::support::exec;

/// All checks but one: what OpenAPI can say of a valid body is not all that makes it valid (a session's id must be the
/// caller's own).
const RUN: &str = r#""$0" run "$PRESENCED_HTTP_URL/openapi.json" --url "$PRESENCED_HTTP_URL/v1.0" \
    -H "Authorization: Bearer $PRESENCED_APP_TOKEN" --checks all --exclude-checks positive_data_acceptance \
    --phases coverage,fuzzing --max-examples 20 --generation-deterministic --no-color"#;

#[test]
fn schemathesis_finds_no_failure_in_the_description_that_is_served() {
    let requirements = format!("{SOURCES}/schemathesis/requirements.txt");
    let venv = install::cache("schemathesis");
    once(&venv, &[&requirements], || {
        let _ = std::fs::remove_dir_all(&venv);
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 with its venv module")?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
        run(Command::new(venv.join("bin/python")).args(install).arg(&requirements), "PyPI must be reachable")
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", RUN]).arg(venv.join("bin/schemathesis")).current_dir(&folder);
    let (output, _) = exec(&command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let is_count = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.parse::<u32>().is_ok())
            && words.next().is_some_and(|word| word.starts_with("generated"))
    };
    let cases = said.lines().find(is_count).unwrap_or_default();
    writeln!(std::io::stderr(), "\nschemathesis: {}", cases.trim()).unwrap();
    assert!(!cases.is_empty(), "{said}");
}
