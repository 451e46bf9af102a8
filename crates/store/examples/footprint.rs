//! Memory and files per user with one session, and how long opening takes.
//!
//! `cargo run --release -p store --example footprint [users]`: a million without. Filling, opening what was filled
//! (logs) and opening again (a snapshot) each run in a process of their own, so that each starts with clean memory.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, or fails")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use presence::{
    AppId, Change, SequenceNumber, Session, SessionPair, TenantId, Timestamp, UserId, UserKey, UserPresence,
};
use store::{Commit, Embedded, Options, Store, Version};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("fill") => fill(Path::new(&arguments[2]), arguments[3].parse().unwrap()),
        Some("open") => open(Path::new(&arguments[2])),
        Some("compact") => compact(Path::new(&arguments[2])),
        users => {
            let users = users.unwrap_or("1000000");
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().to_str().unwrap();
            for step in [["fill", path, users], ["open", path, ""], ["compact", path, ""], ["open", path, ""]]
            {
                let program = std::env::current_exe().unwrap();
                assert!(Command::new(program).args(step).status().unwrap().success());
            }
        }
    }
}

fn fill(directory: &Path, users: u64) {
    let before = resident_bytes();
    // Without a snapshot, so that the next step reads logs only.
    let options = Options { compact_at_bytes: u64::MAX, ..Options::default() };
    let (store, _) = Embedded::open(directory, options).unwrap();
    let store = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let begin = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..1024 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for user in (caller..users).step_by(1024) {
                    store.commit(commit(user)).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    report("filled", users, begin, before, directory);
    runtime.block_on(store.close()).unwrap();
}

fn open(directory: &Path) {
    let before = resident_bytes();
    let begin = Instant::now();
    let (_store, recovery) = Embedded::open(directory, Options::default()).unwrap();
    let from = if recovery.groups > 1 { "opened from logs" } else { "opened from a snapshot" };
    report(from, recovery.users, begin, before, directory);
}

/// Has a snapshot written.
fn compact(directory: &Path) {
    let options = Options { compact_at_bytes: 0, compact_at_factor: 0, ..Options::default() };
    let (store, recovery) = Embedded::open(directory, options).unwrap();
    let before = resident_bytes();
    let begin = Instant::now();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        store.commit(commit(recovery.users)).await.unwrap();
        while std::fs::read_dir(directory).unwrap().all(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            !name.starts_with("snapshot-") || name.ends_with(".tmp")
        }) {
            tokio::task::yield_now().await;
        }
        store.close().await.unwrap();
    });
    report("snapshot written", recovery.users, begin, before, directory);
}

fn report(what: &str, users: u64, begin: Instant, before: u64, directory: &Path) {
    let seconds = begin.elapsed().as_secs_f64();
    let memory = resident_bytes().saturating_sub(before) as f64 / users as f64;
    let files = std::fs::read_dir(directory).unwrap();
    let files: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let files = files as f64 / users as f64;
    println!(
        "{users} users {what} in {seconds:.2} s: {memory:.0} B of memory a user, {files:.0} B of files a user"
    );
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A user with one session and a wish to be woken, at some instant within four hours.
fn commit(user: u64) -> Commit {
    let spread = user.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let ticks = i128::from((spread >> 20) % (4 * 3600 * 10_000_000));
    let now = Timestamp::from_nanosecond(1_800_000_000_000_000_000 + ticks * 100).unwrap();
    let session = Session {
        app: AppId::from_u128(u128::MAX / 3),
        pair: SessionPair::Available,
        set_at: now,
        expires_at: now + std::time::Duration::from_secs(3600),
    };
    Commit {
        user: UserKey {
            tenant: TenantId::from_u128(1),
            user: UserId::from_u128(u128::from(spread) << 64 | 7),
        },
        expected: Version(0),
        presence: UserPresence {
            sessions: vec![session],
            sequence_number: SequenceNumber(user % 1000),
            settled_at: now,
            ..UserPresence::default()
        },
        wake_at: Some(now + std::time::Duration::from_secs(300)),
        changes: vec![Change {
            at: now,
            pair: SessionPair::Available.pair(),
            sequence_number: SequenceNumber(1),
            is_pair_changed: true,
        }],
    }
}
