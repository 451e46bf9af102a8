//! The programs of `docs/sdks`, run as they stand on their pages.

use std::path::Path;
use std::process::Command;

use crate::sdk::install;
use crate::support::exec;

pub(crate) const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sdks");

/// The longest block of a language on a page, and what it is said to print.
pub(crate) fn program(page: &str, language: &str) -> (String, String) {
    let text = std::fs::read_to_string(format!("{PAGES}/{page}.md")).unwrap();
    let blocks = |language: &str| {
        let fence = format!("\n```{language}\n");
        let blocks = text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
        blocks.max_by_key(String::len).unwrap_or_else(|| panic!("{page} has no {language}"))
    };
    (blocks(language), blocks("text"))
}

/// Writes the program of a page into a folder and runs it there under `presenced exec`.
#[track_caller]
fn passes(page: &str, language: &str, folder: &Path, name: &str, command: &mut Command) {
    let (program, expected) = program(page, language);
    std::fs::write(folder.join(name), program).unwrap();
    prints(command.arg(name).env_remove("PYTHONDONTWRITEBYTECODE").current_dir(folder), &expected);
}

#[track_caller]
fn prints(command: &Command, expected: &str) {
    let (output, _) = exec(command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim_end(), expected.trim_end(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}");
}

#[test]
fn the_program_of_the_python_page_prints_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    passes("python", "python", folder.path(), "presence.py", &mut Command::new(install::python().unwrap()));
}

#[test]
fn the_program_of_the_o365_page_prints_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    passes("o365", "python", folder.path(), "presence.py", &mut Command::new(install::python().unwrap()));
}

#[test]
fn the_program_of_the_javascript_page_prints_what_the_page_says() {
    let folder = install::node("javascript").unwrap();
    passes("javascript", "js", &folder, "presence.mjs", &mut Command::new("node"));
}

#[test]
fn the_program_of_the_typescript_page_prints_what_the_page_says() {
    let folder = install::node("typescript").unwrap();
    passes("typescript", "ts", &folder, "presence.ts", Command::new("node").args(["--import", "tsx"]));
}

#[test]
fn the_program_of_the_pnp_page_prints_what_the_page_says() {
    let folder = install::node("pnp").unwrap();
    passes("pnp", "js", &folder, "presence.mjs", &mut Command::new("node"));
}

#[test]
fn the_program_of_the_java_page_prints_what_the_page_says() {
    match install::java() {
        Ok(path) => {
            let folder = tempfile::tempdir().unwrap();
            passes("java", "java", folder.path(), "Presence.java", Command::new("java").args(["-cp", &path]));
        }
        Err(reason) => println!("skipped: {reason}"),
    }
}

#[test]
fn the_program_of_the_go_page_prints_what_the_page_says() {
    match install::go() {
        Ok(folder) => prints(&Command::new(folder.join("presence")), &program("go", "go").1),
        Err(reason) => println!("skipped: {reason}"),
    }
}
