//! A disk that fills up and one that hangs, under the real program: writes are refused, reads go on, nothing that was
//! acknowledged is lost, and nobody has to start anything again.
//!
//! The disk is a shim in front of the C library, compiled here: what it takes to make a real one behave so (a file system of
//! its own, control groups) is not everywhere. The C compiler is the one that the program itself is built with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Caller, HUNG, Server, USER_A, USER_B};

/// Longer than the store allocates ahead, in writes of a kilobyte.
const WRITES_MAX: u64 = 4_000;
/// Between two tries of somebody who was told to come again.
const TRY_INTERVAL: Duration = Duration::from_millis(100);

/// A server on a disk that does as it is told.
struct Troubled {
    shim: PathBuf,
    folder: tempfile::TempDir,
}

impl Troubled {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/disk_shim.c");
        let shim = folder.path().join("disk_shim.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).arg("-ldl");
        let compiled = compiler.output().expect("a C compiler, which building the program needs too");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self { shim, folder }
    }

    fn server(&self) -> Server {
        let data = self.folder.path().join("data");
        let mut command = Server::dev_command("127.0.0.1:0", &["--data-dir", data.to_str().unwrap()]);
        command.env("LD_PRELOAD", &self.shim).env("PRESENCED_TEST_DISK", self.folder.path());
        Server::start(command)
    }

    fn becomes(&self, what: &str) {
        std::fs::write(self.folder.path().join(what), b"").unwrap();
    }

    fn recovers_from(&self, what: &str) {
        std::fs::remove_file(self.folder.path().join(what)).unwrap();
    }
}

/// A status message of a kilobyte that begins with a number.
fn write(app: &Caller<'_>, user: &str, number: u64) -> Answer {
    let text = format!("{number:010} {}", "x".repeat(1_000));
    let body = json!({ "statusMessage": { "message": { "content": text } } });
    app.post(&format!("/v1.0/users/{user}/presence/setStatusMessage"), &body)
}

/// The number a user shows.
fn shown(app: &Caller<'_>, user: &str) -> u64 {
    let answer = app.get(&format!("/v1.0/users/{user}/presence"));
    assert_eq!(answer.status, 200, "reads go on: {answer:?}");
    let presence = answer.json();
    let text = presence["statusMessage"]["message"]["content"].as_str().unwrap_or("0000000000");
    text[..10].parse().unwrap()
}

fn assert_refused(answer: &Answer) {
    let (status, code, message) = answer.error();
    assert_eq!((status, code.as_str()), (503, "ServiceUnavailable"), "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|secs| secs.parse::<u32>().unwrap() >= 1));
    assert!(
        !message.contains("disk") && !message.contains('/'),
        "what is wrong here is nobody's business: {message}"
    );
}

/// Writes until it is kept, as a client does who was told to come again. Returns how many writes it took.
fn write_until_kept(app: &Caller<'_>, user: &str, number: u64) -> u64 {
    let tries_max = u64::try_from(HUNG.as_millis() / TRY_INTERVAL.as_millis()).unwrap();
    for tries in 1..=tries_max {
        if write(app, user, number).status == 200 {
            return tries;
        }
        std::thread::sleep(TRY_INTERVAL);
    }
    panic!("the disk is well again, and writes are not");
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_room() {
    let disk = Troubled::new();
    let server = disk.server();
    let app = Caller::application(&server);
    let mut kept = 1;
    assert_eq!(write(&app, USER_A, kept).status, 200);
    disk.becomes("full");
    // There is still the room that was allocated ahead.
    let refused = loop {
        assert!(kept < WRITES_MAX, "a full disk takes everything");
        let answer = write(&app, USER_A, kept + 1);
        if answer.status != 200 {
            break answer;
        }
        kept += 1;
    };
    assert_refused(&refused);
    for _ in 0..5 {
        assert_refused(&write(&app, USER_A, kept + 1));
        // A write may be refused although it was kept, when the history beside it could not be: it was not acknowledged.
        assert!((kept..=kept + 1).contains(&shown(&app, USER_A)), "reads go on, and nothing is invented");
        assert_eq!(server.send("GET", "/healthz", &[], b"").status, 200);
    }
    disk.recovers_from("full");
    assert_eq!(write_until_kept(&app, USER_A, kept + 1), 1, "the first write after there is room");
    server.kill();
    let server = disk.server();
    assert_eq!(shown(&Caller::application(&server), USER_A), kept + 1);
}

#[test]
fn a_disk_that_hangs_keeps_no_reader_waiting_and_refuses_who_would_wait_long() {
    let disk = Troubled::new();
    let server = disk.server();
    let app = Caller::application(&server);
    // Users are kept, too: before the disk hangs.
    let others: Vec<String> = (0..200).map(|_| server.new_user()).collect();
    assert_eq!(write(&app, USER_A, 1).status, 200);
    assert_eq!(write(&app, USER_B, 1).status, 200);
    disk.becomes("slow");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let app = &app;
        let first = scope.spawn(move || write(app, USER_A, 2));
        // Those who come soon after wait with it; those who come when it has hung for long are told at once.
        let mut writers = 0;
        let refused = loop {
            assert!(writers < others.len(), "nobody is refused");
            let (tell, user) = (tell.clone(), &others[writers]);
            scope.spawn(move || tell.send((user, write(app, user, 1))));
            writers += 1;
            match told.recv_timeout(TRY_INTERVAL) {
                Ok((_, answer)) => break answer,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
            // What is not durable is not shown.
            assert_eq!((shown(app, USER_A), shown(app, USER_B)), (1, 1));
        };
        assert_refused(&refused);
        assert_eq!(server.send("GET", "/healthz", &[], b"").status, 200);
        assert_eq!(server.send("GET", "/readyz", &[], b"").status, 200);
        disk.recovers_from("slow");
        assert_eq!(first.join().unwrap().status, 200, "whoever was admitted is answered");
        for (user, answer) in told.iter().take(writers - 1) {
            if answer.status == 200 {
                assert_eq!(shown(app, user), 1);
            } else {
                assert_refused(&answer);
            }
        }
    });
    write_until_kept(&app, USER_B, 2);
    server.kill();
    let server = disk.server();
    let app = Caller::application(&server);
    assert_eq!((shown(&app, USER_A), shown(&app, USER_B)), (2, 2));
}
