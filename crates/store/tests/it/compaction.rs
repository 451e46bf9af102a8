//! A long-running store does not grow without bound, and nobody notices.

use std::sync::Arc;

use presence::Timestamp;
use store::disk::{Disk, SimulatedDisk};
use store::{DocumentKind, Embedded, Options, Store};

use crate::support::{SMALL, commit, document, log, marks, open, run, second, user};

const OPTIONS: Options =
    Options { compact_at_bytes: 16 * 1024, compact_at_factor: 1, preallocate_bytes: 1024, ..SMALL };

#[test]
fn files_stay_bounded_under_concurrent_writers_and_nothing_is_lost() {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Embedded::open(directory.path(), OPTIONS).unwrap();
    let store = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    // Each writer has users of its own, most of them written once and some over and over.
                    let number = writer + WRITERS * (1 + round);
                    store.commit(commit(number, 0, number)).await.unwrap();
                    store.commit(commit(writer, round, round)).await.unwrap();
                    if round % 10 == 0 {
                        let key = format!("{writer}-{}", round % 100);
                        let body = (round % 200 != 0).then_some("body");
                        store.put_documents(vec![document(&key, body)]).await.unwrap();
                    }
                }
            });
        }
        tasks.join_all().await;
    });
    let status = store.status();
    assert!(status.compactions >= 3, "{status:?}");
    assert_eq!(status.changes, WRITERS * (ROUNDS * 2 + ROUNDS / 10));
    let users = WRITERS * (ROUNDS + 1);
    let before = run(marks(&*store, users)).unwrap();
    let documents = run(store.documents(DocumentKind::DirectoryUser)).unwrap();
    let changes = run(log(&*store));
    assert_eq!(run(store.due(Timestamp::MAX, usize::MAX)).unwrap().len() as u64, users);
    run(store.close()).unwrap();
    drop(store);
    let on_disk: u64 =
        std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk < 3 * 400 * 1024, "{on_disk} bytes for {users} users");
    let (store, recovery) = Embedded::open(directory.path(), OPTIONS).unwrap();
    assert!(recovery.snapshot_bytes > 0 && recovery.was_closed);
    assert_eq!((recovery.users, recovery.documents), (users, documents.len() as u64));
    assert_eq!(run(marks(&store, users)).unwrap(), before);
    assert_eq!(run(store.documents(DocumentKind::DirectoryUser)).unwrap(), documents);
    assert_eq!(run(log(&store)), changes);
    assert_eq!(run(store.due(Timestamp::MAX, usize::MAX)).unwrap().len() as u64, users);
}

#[test]
fn what_a_snapshot_replaces_is_removed() {
    let disk = SimulatedDisk::new(1);
    let (store, _) = open(&disk, OPTIONS).unwrap();
    let mut version = 0;
    run(async {
        while store.status().compactions < 5 {
            version = store.commit(commit(1, version, 3)).await.unwrap().0;
        }
    });
    drop(store);
    let names = disk.list().unwrap();
    let snapshots = names.iter().filter(|name| name.starts_with("snapshot-")).count();
    let logs = names.iter().filter(|name| name.starts_with("log-")).count();
    assert!(snapshots == 1 && logs <= 2, "{names:?}");
}

#[test]
fn the_latest_settlement_outlives_the_log_it_stood_in() {
    let disk = SimulatedDisk::new(2);
    let (store, _) = open(&disk, OPTIONS).unwrap();
    run(async {
        let mut late = commit(7, 0, 0);
        late.presence.settled_at = Timestamp::MAX;
        store.commit(late).await.unwrap();
        let mut version = store.commit(commit(7, 1, 1)).await.unwrap().0;
        while store.status().compactions == 0 {
            version = store.commit(commit(7, version, 2)).await.unwrap().0;
        }
    });
    drop(store);
    let (store, recovery) = open(&disk, OPTIONS).unwrap();
    assert!(recovery.snapshot_bytes > 0);
    assert_eq!(run(store.latest()).unwrap(), Some(Timestamp::MAX));
    assert_eq!(run(store.due(second(1_700_000_302), 1)).unwrap(), [user(7)]);
}

#[test]
fn a_leftover_of_an_interrupted_compaction_is_removed() {
    let disk = SimulatedDisk::new(3);
    let (store, _) = open(&disk, OPTIONS).unwrap();
    run(store.commit(commit(1, 0, 1))).unwrap();
    drop(store);
    for name in ["snapshot-00000000000000000002.tmp", "log-00000000000000000009.tmp"] {
        disk.replace(name, Some(b"half of it".to_vec()));
    }
    disk.replace("notes.txt", Some(b"not ours".to_vec()));
    let (_store, recovery) = open(&disk, OPTIONS).unwrap();
    assert_eq!(recovery.removed_files, 2);
    let names = disk.list().unwrap();
    assert_eq!(names, ["log-00000000000000000001", "notes.txt"]);
}
