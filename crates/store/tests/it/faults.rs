//! Disks that fill up and fail, and callers' tests that want a store to fail.

use presence::Timestamp;
use store::disk::{Fault, SimulatedDisk};
use store::{Faults, Faulty, Memory, Options, Store, StoreError, Version};

use crate::support::{SMALL, commit, document, marks, open, run, user};

fn assert_unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>, why: &str) {
    match outcome {
        Err(StoreError::Unavailable(cause)) => assert!(cause.contains(why), "{cause}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_room() {
    run(async {
        let disk = SimulatedDisk::new(1);
        let (store, _) = open(&disk, SMALL).unwrap();
        store.commit(commit(0, 0, 1)).await.unwrap();
        disk.set_capacity_bytes(disk.used_bytes());
        // There is still the room that was allocated ahead.
        let mut version = 1;
        while store.commit(commit(0, version, version + 1)).await.is_ok() {
            version += 1;
        }
        for _ in 0..3 {
            assert_unavailable(store.commit(commit(0, version, version + 1)).await, "cannot extend the log");
            let long = document("a", Some(&"b".repeat(2000)));
            assert_unavailable(store.put_documents(vec![long]).await, "cannot extend the log");
            assert_eq!(marks(&store, 1).await.unwrap(), [Some((version, version))], "reads go on");
        }
        assert!(store.status().write_error.is_some());
        disk.set_capacity_bytes(u64::MAX);
        store.commit(commit(0, version, version + 1)).await.unwrap();
        assert_eq!(store.status().write_error, None);
        drop(store);
        let (store, recovery) = open(&disk.lose_power(), SMALL).unwrap();
        assert_eq!(marks(&store, 1).await.unwrap(), [Some((version + 1, version + 1))]);
        assert_eq!(recovery.torn_tail, None, "nothing was begun that did not fit");
    });
}

#[test]
fn a_store_opens_on_a_full_disk_and_writes_when_there_is_room() {
    run(async {
        let disk = SimulatedDisk::new(2);
        let (store, _) = open(&disk, SMALL).unwrap();
        store.commit(commit(0, 0, 1)).await.unwrap();
        drop(store);
        disk.set_capacity_bytes(disk.used_bytes());
        let (store, _) = open(&disk, SMALL).unwrap();
        assert_eq!(marks(&store, 1).await.unwrap(), [Some((1, 1))]);
        assert_unavailable(store.commit(commit(0, 1, 2)).await, "cannot begin a log");
        disk.set_capacity_bytes(u64::MAX);
        store.commit(commit(0, 1, 2)).await.unwrap();
    });
}

#[test]
fn a_snapshot_that_does_not_fit_is_given_up_and_leaves_nothing_behind() {
    run(async {
        let options = Options { compact_at_bytes: 20_000, ..SMALL };
        let disk = SimulatedDisk::new(3);
        let (store, _) = open(&disk, options).unwrap();
        for number in 0..100 {
            store.commit(commit(number, 0, number)).await.unwrap();
        }
        disk.set_capacity_bytes(disk.used_bytes() + 12_000);
        let mut version = 1;
        while store.status().compaction_error.is_none() {
            assert!(version < 1000, "the disk was to fill up first");
            let _ = store.commit(commit(0, version, 1)).await.map(|new| version = new.0);
        }
        assert!(!store::disk::Disk::list(&disk).unwrap().iter().any(|name| name.ends_with(".tmp")));
        disk.set_capacity_bytes(u64::MAX);
        while store.status().compactions == 0 {
            version = store.commit(commit(0, version, 1)).await.unwrap().0;
        }
        assert_eq!(store.status().compaction_error, None);
        drop(store);
        let (store, recovery) = open(&disk, options).unwrap();
        assert_eq!((recovery.users, recovery.snapshot_bytes > 0), (100, true));
        assert_eq!(marks(&store, 1).await.unwrap(), [Some((version, 1))]);
    });
}

#[test]
fn after_a_failed_sync_the_store_goes_on_in_another_log_and_the_failed_write_is_void() {
    for at in 0..12 {
        run(async {
            let disk = SimulatedDisk::new(at);
            let (store, _) = open(&disk, SMALL).unwrap();
            store.commit(commit(0, 0, 1)).await.unwrap();
            disk.set_fault(Some(Fault::Once(at)));
            let mut version = 1;
            let mut failures = 0;
            while version < 8 {
                match store.commit(commit(0, version, 10 + version)).await {
                    Ok(new) => version = new.0,
                    Err(StoreError::Unavailable(_)) => {
                        failures += 1;
                        let seen = marks(&store, 1).await.unwrap()[0].unwrap().0;
                        assert_eq!(seen, version, "readers see what is durable");
                        // Somebody else is first now: the failed commit must not come back under this one.
                        version = store.commit(commit(0, version, 50 + version)).await.unwrap().0;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(failures <= 1);
            let before = marks(&store, 1).await.unwrap();
            let survived = disk.lose_power();
            drop(store);
            let (store, _) = open(&survived, SMALL).unwrap();
            assert_eq!(marks(&store, 1).await.unwrap(), before, "fault at {at}");
        });
    }
}

#[test]
fn while_nothing_can_be_synced_nothing_is_written_and_then_it_is() {
    run(async {
        let disk = SimulatedDisk::new(9);
        let (store, _) = open(&disk, SMALL).unwrap();
        store.commit(commit(0, 0, 1)).await.unwrap();
        disk.set_fault(Some(Fault::Sync));
        for _ in 0..5 {
            assert_unavailable(store.commit(commit(0, 1, 2)).await, "input/output error");
            assert_eq!(marks(&store, 1).await.unwrap(), [Some((1, 1))]);
        }
        disk.set_fault(None);
        assert_eq!(store.commit(commit(0, 1, 3)).await.unwrap(), Version(2));
        let survived = disk.lose_power();
        drop(store);
        let (store, _) = open(&survived, SMALL).unwrap();
        assert_eq!(marks(&store, 1).await.unwrap(), [Some((2, 3))]);
    });
}

#[test]
fn faults_come_as_asked_for_and_the_same_seed_brings_the_same() {
    let history = |seed| {
        run(async {
            let faults = Faults { unavailable: 200, lost_reply: 200, conflict: 200 };
            let store = Faulty::new(Memory::default(), seed, faults);
            let mut history = Vec::new();
            for step in 0..200 {
                let version = store.inner().load(&[user(0)]).await.unwrap()[0].version;
                let outcome = store.commit(commit(0, version.0, step)).await;
                let now = store.inner().load(&[user(0)]).await.unwrap()[0].version;
                history.push(match outcome {
                    Ok(new) => {
                        assert_eq!(new, now);
                        "kept"
                    }
                    Err(StoreError::Conflict) => {
                        assert_eq!(now, version);
                        "conflict"
                    }
                    Err(_) if now == version => "unavailable",
                    Err(_) => "lost reply",
                });
            }
            history
        })
    };
    let first = history(7);
    for outcome in ["kept", "conflict", "unavailable", "lost reply"] {
        assert!(first.iter().filter(|found| **found == outcome).count() > 10, "{outcome}");
    }
    assert_eq!(first, history(7));
    assert_ne!(first, history(8));
    run(async {
        let store = Faulty::new(Memory::default(), 1, Faults { unavailable: 1000, ..Faults::default() });
        assert_unavailable(store.load(&[]).await, "asked for");
        assert_unavailable(store.due(Timestamp::MAX, 1).await, "asked for");
        store.set_faults(Faults::default());
        store.load(&[]).await.unwrap();
    });
}
