//! How many durable commits a second, for some numbers of callers at once.
//!
//! `cargo run --release -p store --example commit_rate [directory]`. The directory decides which disk is measured; a
//! temporary one is used without.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, or fails")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use presence::{
    AppId, Change, SequenceNumber, Session, SessionPair, TenantId, Timestamp, UserId, UserKey, UserPresence,
};
use store::{Commit, Embedded, Options, Store, Version};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

fn main() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    println!("callers  commits/s  commits/group   p50 us   p99 us");
    for callers in [1, 64, 256, 1024] {
        for round in 0..ROUNDS {
            let directory = directory.join(format!("{callers}-{round}"));
            let (store, _) = Embedded::open(&directory, Options::default()).unwrap();
            measure(Arc::new(store), callers);
            std::fs::remove_dir_all(&directory).unwrap();
        }
    }
}

fn measure(store: Arc<Embedded>, callers: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let begin = Instant::now();
    let mut latencies = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..callers {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                let mut version = Version(0);
                while begin.elapsed() < ROUND {
                    let asked = Instant::now();
                    version = store.commit(commit(caller, version)).await.unwrap();
                    latencies.push(asked.elapsed().as_micros() as u32);
                }
                latencies
            });
        }
        tasks.join_all().await.concat()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let status = store.status();
    runtime.block_on(store.close()).unwrap();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[latencies.len() * percent / 100];
    println!(
        "{callers:7}  {:9.0}  {:13.1}  {:7}  {:7}",
        latencies.len() as f64 / seconds,
        status.changes as f64 / status.groups as f64,
        percentile(50),
        percentile(99),
    );
}

/// A user with one session, set now for an hour.
fn commit(user: u64, expected: Version) -> Commit {
    let now =
        Timestamp::from_nanosecond(1_800_000_000_000_000_000 + i128::from(expected.0) * 1_234_500).unwrap();
    let in_an_hour = now + std::time::Duration::from_secs(3600);
    let session = Session {
        app: AppId::from_u128(u128::MAX / 3),
        pair: SessionPair::Available,
        set_at: now,
        expires_at: in_an_hour,
    };
    Commit {
        user: UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(u128::from(user) << 64 | 7) },
        expected,
        presence: UserPresence { sessions: vec![session], settled_at: now, ..UserPresence::default() },
        wake_at: Some(now + std::time::Duration::from_secs(300)),
        changes: vec![Change {
            at: now,
            pair: SessionPair::Available.pair(),
            sequence_number: SequenceNumber(1),
            is_pair_changed: true,
        }],
    }
}
