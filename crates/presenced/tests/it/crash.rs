//! `kill -9` at random moments under concurrent writes: whatever was acknowledged is there after the restart.
//!
//! Each writer numbers its writes in the status message of a user of its own. After a crash a user must show the last
//! acknowledged number or a later one that was sent; an earlier one is a lost write, a number never sent an invented one.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::{JSON, Server};

/// Crashes in one run.
const ROUNDS: usize = 200;
/// Writers, each with a connection and a user of its own.
const WRITERS: usize = 8;
/// A round ends after a random number of acknowledged writes, at most this many.
const WRITES_MAX: u64 = 150;

/// What one writer has sent, and what it was told is kept.
#[derive(Default)]
struct Ledger {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    sequence_number: std::sync::Mutex<String>,
}

#[test]
fn no_acknowledged_write_is_lost_in_two_hundred_crashes() {
    let seed = seed();
    println!("seed {seed}: PRESENCED_CRASH_SEED repeats it");
    let mut random = seed;
    let folder = tempfile::tempdir().unwrap();
    let ledgers: Vec<Ledger> = (0..WRITERS).map(|_| Ledger::default()).collect();

    let server = Server::dev_in(folder.path());
    import_users(&server);
    let mut server = Some(server);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let running = server.take().unwrap_or_else(|| Server::dev_in(folder.path()));
        let token = running.token(None);
        for (writer, ledger) in ledgers.iter().enumerate() {
            check(&running, &token, writer, ledger, round);
        }
        acknowledged += write_until_killed(running, &token, &ledgers, 1 + next(&mut random) % WRITES_MAX);
    }
    let survivor = Server::dev_in(folder.path());
    let token = survivor.token(None);
    for (writer, ledger) in ledgers.iter().enumerate() {
        check(&survivor, &token, writer, ledger, ROUNDS);
    }
    println!("{ROUNDS} crashes, {acknowledged} acknowledged writes, none lost");
}

/// Lets all writers write, and kills the server once `writes` are acknowledged, with others under way.
fn write_until_killed(server: Server, token: &str, ledgers: &[Ledger], writes: u64) -> u64 {
    let (tell, told) = mpsc::channel();
    let address = server.http;
    std::thread::scope(|scope| {
        for (writer, ledger) in ledgers.iter().enumerate() {
            let tell = tell.clone();
            scope.spawn(move || {
                let Ok(stream) = std::net::TcpStream::connect(address) else { return };
                let mut stream = BufReader::new(stream);
                loop {
                    let number = ledger.sent.fetch_add(1, Ordering::SeqCst) + 1;
                    if write(&mut stream, token, writer, number).is_none() {
                        return;
                    }
                    ledger.acknowledged.store(number, Ordering::SeqCst);
                    if tell.send(()).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let acknowledged = told.iter().take(usize::try_from(writes).unwrap()).count();
        server.kill();
        acknowledged as u64
    })
}

/// Sends one numbered write; `Some` once it is acknowledged.
fn write(stream: &mut BufReader<std::net::TcpStream>, token: &str, writer: usize, number: u64) -> Option<()> {
    let body = json!({ "statusMessage": { "message": { "content": number.to_string() } } }).to_string();
    let request = format!(
        "POST /v1.0/users/{}/presence/setStatusMessage HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        user(writer),
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    if line.is_empty() {
        return None;
    }
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).ok()? == 0 {
            return Some(());
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    let _ = stream.read_exact(&mut vec![0; length]);
    Some(())
}

fn check(server: &Server, token: &str, writer: usize, ledger: &Ledger, round: usize) {
    let authorization = format!("Bearer {token}");
    let path = format!("/v1.0/users/{}/presence", user(writer));
    let presence = server.send("GET", &path, &[("Authorization", &authorization)], b"").json();
    let shown =
        presence["statusMessage"]["message"]["content"].as_str().map_or(0, |text| text.parse().unwrap());
    let (sent, acknowledged) =
        (ledger.sent.load(Ordering::SeqCst), ledger.acknowledged.load(Ordering::SeqCst));
    assert!(
        (acknowledged..=sent).contains(&shown),
        "before round {round}, writer {writer}: shows {shown}, acknowledged {acknowledged}, sent {sent}"
    );
    let sequence_number = presence["sequenceNumber"].as_str().unwrap().to_owned();
    let mut last = ledger.sequence_number.lock().unwrap();
    assert!(*last <= sequence_number, "the sequence number went back from {last} to {sequence_number}");
    *last = sequence_number;
}

fn import_users(server: &Server) {
    let users: Vec<Value> = (0..WRITERS)
        .map(|writer| json!({ "id": user(writer), "userPrincipalName": format!("writer{writer}@presenced.example") }))
        .collect();
    let body = Value::from(users).to_string();
    let answer = server.send("POST", "/_presenced/v1/users", &[JSON], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn user(writer: usize) -> String {
    format!("00000000-0000-4000-8000-{writer:012}")
}

#[expect(clippy::disallowed_methods, reason = "a failing seed is repeated by naming it")]
fn seed() -> u64 {
    let given = std::env::var("PRESENCED_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| RandomState::new().hash_one("seed"))
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
