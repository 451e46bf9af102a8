//! One user of a directory at a time, and a message that says who.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use store::{Embedded, OpenError, Options, Store};

use crate::support::run;

fn refusal(directory: &Path) -> String {
    match Embedded::open(directory, Options::default()) {
        Err(error @ OpenError::InUse { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two at once"),
    }
}

#[test]
fn a_directory_in_use_by_this_process_is_refused_until_it_is_closed_or_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Embedded::open(directory.path(), Options::default()).unwrap();
    let message = refusal(directory.path());
    assert!(message.contains(&format!("process {} on ", std::process::id())), "{message}");
    assert!(message.contains("has used it since 2"), "{message}");
    run(store.close()).unwrap();
    let (second, _) = Embedded::open(directory.path(), Options::default()).unwrap();
    drop(store);
    refusal(directory.path());
    drop(second);
    Embedded::open(directory.path(), Options::default()).unwrap();
}

#[test]
fn a_directory_is_created_with_all_above_it_and_a_file_in_its_place_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a/b/c");
    Embedded::open(&deep, Options::default()).unwrap();
    assert!(deep.is_dir());
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(matches!(Embedded::open(&file, Options::default()), Err(OpenError::Io { .. })));
}

/// Not a test: the other process. It uses the directory it is started in until it is told to stop.
#[test]
#[ignore = "started by a_directory_in_use_by_another_process_is_refused_until_that_ends"]
fn hold_the_lock() {
    let (_store, _) = Embedded::open(Path::new("."), Options::default()).unwrap();
    println!("holding");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_directory_in_use_by_another_process_is_refused_until_that_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock::hold_the_lock", "--ignored", "--nocapture"])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    output.map(Result::unwrap).find(|line| line.contains("holding")).unwrap();
    let message = refusal(directory.path());
    assert!(message.contains(&format!("process {} on ", child.id())), "{message}");
    child.kill().unwrap();
    child.wait().unwrap();
    Embedded::open(directory.path(), Options::default()).unwrap();
}
