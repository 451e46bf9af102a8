//! Golden exchanges: `tests/golden/<operation>/<case>.http`, each naming its page, all checked byte for byte.
//!
//! A file begins with lines that start with `#`; the first names the page. Then come exchanges with one world, in
//! order: a request after `-->`, its answer after `<--`. Headers end at an empty line; lines of a body are taken
//! without the line break after the last one. When an answer differs, what was answered instead is written beside the
//! other files of the build, for the next `cp`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use graph::OPERATIONS;

use crate::world::{Answer, Message, World};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files() -> Vec<PathBuf> {
    let list =
        |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut files: Vec<PathBuf> = list(&folder()).iter().flat_map(|folder| list(folder)).collect();
    files.sort();
    files
}

/// The exchanges of a file, as text: request and answer.
fn exchanges(text: &str) -> Vec<(&str, &str)> {
    let of = |exchange| -> (&str, &str) {
        str::split_once(exchange, "\n<-- ").expect("an answer to every request")
    };
    text.split("\n--> ").skip(1).map(of).collect()
}

fn message(text: &str) -> Message {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let start = lines.next().unwrap_or_default().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_owned(), value.to_owned())
    };
    Message {
        start,
        headers: lines.map(header).collect(),
        body: body.trim_end_matches('\n').as_bytes().to_vec(),
    }
}

fn text(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.status);
    for (name, value) in &answer.headers {
        text += &format!("{name}: {value}\n");
    }
    if !answer.body.is_empty() {
        text += &format!("\n{}\n", String::from_utf8_lossy(&answer.body).trim_end_matches('\n'));
    }
    text
}

#[test]
fn every_golden_exchange_is_answered_byte_for_byte() {
    let mut different = Vec::new();
    for file in files() {
        let expected = fs::read_to_string(&file).unwrap();
        let mut world = World::default();
        let (comments, _) = expected.split_once("\n--> ").expect("a request");
        let mut actual = comments.to_owned();
        for (request, _) in exchanges(&expected) {
            let answer = world.answer(&message(request));
            actual += &format!("\n--> {request}\n<-- {}", text(&answer));
        }
        if actual != expected {
            let name = file.strip_prefix(folder()).unwrap();
            let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden").join(name);
            fs::create_dir_all(out.parent().unwrap()).unwrap();
            fs::write(&out, &actual).unwrap();
            different.push(format!("{}\n{actual}\nwritten to {}", name.display(), out.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_operation_has_golden_exchanges_and_every_file_names_its_page() {
    let mut folders = BTreeSet::new();
    for file in files() {
        let first = fs::read_to_string(&file).unwrap().lines().next().unwrap_or_default().to_owned();
        assert!(first.starts_with("# Page: "), "{}", file.display());
        folders.insert(file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned());
    }
    for row in OPERATIONS {
        assert!(folders.contains(row.name), "{} has no golden exchange", row.name);
    }
}
