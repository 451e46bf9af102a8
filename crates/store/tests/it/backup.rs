//! Copies of a store made while it is written.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store::{BackupError, Embedded, OpenError, Options, Retention, Store};

use crate::support::{ALL, commit, marks, run};

/// A snapshot after some dozens of commits, so that files come and go under the copies.
const OPTIONS: Options = Options {
    compact_at_bytes: 4 * 1024,
    compact_at_factor: 1,
    preallocate_bytes: 1024,
    retention: Retention { entries: 100, ..ALL },
};

/// Copies made of one store while it is written.
const COPIES: usize = 100;

#[test]
fn a_copy_made_while_the_store_is_written_has_everything_answered_before() {
    let folder = tempfile::tempdir().unwrap();
    let (live, copies) = (folder.path().join("live"), folder.path().join("copies"));
    let (store, _) = Embedded::open(&live, OPTIONS).unwrap();
    // A store that nothing was ever written to has no files.
    run(async { store.commit(commit(1, 0, 1)).await.unwrap() });
    let (answered, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run(async {
                let mut version = 0;
                while !enough.load(Ordering::Relaxed) {
                    store.commit(commit(0, version, version + 1)).await.unwrap();
                    version += 1;
                    answered.store(version, Ordering::Relaxed);
                }
            });
        });
        // The writer ends also when something here fails.
        let _end = EndsWith(&enough);
        for number in 0..COPIES {
            let before = answered.load(Ordering::Relaxed);
            let copy = copies.join(number.to_string());
            Embedded::back_up(&live, &copy).unwrap();
            assert!(!copy.join("lock").exists(), "nobody uses it");
            let (copied, _) = Embedded::open(&copy, OPTIONS).unwrap();
            let found = run(async { marks(&copied, 1).await.unwrap() })[0].map_or(0, |(version, _)| version);
            assert!(found >= before, "{found} of {before}");
        }
    });
    assert!(store.status().compactions > 0, "files came and went");
}

#[test]
fn a_copy_needs_a_store_and_an_empty_place_and_damage_is_not_copied_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("nothing")).unwrap();
    let refused = Embedded::back_up(&path("nothing"), &path("copy"));
    assert!(matches!(refused, Err(BackupError::NoStore(_))), "{refused:?}");
    let live = path("live");
    let (store, _) = Embedded::open(&live, Options::default()).unwrap();
    run(async {
        for version in 0..3 {
            store.commit(commit(0, version, version + 1)).await.unwrap();
        }
    });
    drop(store);
    let refused = Embedded::back_up(&live, &live);
    assert!(matches!(refused, Err(BackupError::NotEmpty(_))), "{refused:?}");
    damage(&live);
    let refused = Embedded::back_up(&live, &path("damaged"));
    assert!(matches!(refused, Err(BackupError::Open(OpenError::Damaged { .. }))), "{refused:?}");
}

struct EndsWith<'a>(&'a AtomicBool);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Flips a bit in the first group of the newest log.
fn damage(folder: &Path) {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let log = files.filter(|path| path.to_str().unwrap().contains("log-")).max().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 1;
    std::fs::write(log, bytes).unwrap();
}
