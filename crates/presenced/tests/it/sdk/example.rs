//! The example project, as somebody who has just cloned it runs it.

use std::process::Command;

use crate::sdk::install::{self, copy, once, run};
use crate::support::exec;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pytest");

#[test]
fn the_example_project_passes_in_a_clean_clone() {
    let requirements = format!("{EXAMPLE}/requirements.txt");
    let venv = install::cache("pytest");
    let python = venv.join("bin/python");
    once(&venv, &[&requirements], || {
        let _ = std::fs::remove_dir_all(&venv);
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3 with its venv module")?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(&python).args(install).arg(&requirements), "PyPI must be reachable")
    })
    .unwrap();
    // Only what is committed, in a folder of its own.
    let clone = tempfile::tempdir().unwrap();
    copy(EXAMPLE.as_ref(), clone.path());
    let mut command = Command::new(&python);
    command.args(["-m", "pytest", "-p", "no:cacheprovider"]).current_dir(&clone);
    let (output, _) = exec(&command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
