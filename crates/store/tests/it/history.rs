//! What a history promises: the same of files as of memory, through crashes, damage and a full disk.

use std::sync::Arc;
use std::time::Duration;

use presence::{AppId, Timestamp, UserId};
use proptest::prelude::*;
use store::disk::{Disk, Fault, SimulatedDisk};
use store::{
    Action, Author, FileHistory, History, HistoryEntry, HistoryPage, HistoryRecovery, HistoryRetention,
    MemoryHistory, OpenError, StoreError, Version,
};

use crate::support::{record, run, second, user};

const BASE: i64 = 1_700_000_000;
const USERS: u64 = 5;
/// Segments of ten seconds, and nothing goes that a test does not want gone.
const RETENTION: HistoryRetention = HistoryRetention { age: Duration::from_secs(80), bytes: u64::MAX };

fn open(disk: &SimulatedDisk) -> Result<(FileHistory, HistoryRecovery), OpenError> {
    FileHistory::open_on(Arc::new(disk.clone()), RETENTION)
}

fn entry(number: u64, mark: u64) -> HistoryEntry {
    HistoryEntry {
        user: user(number),
        author: Author {
            app: (!mark.is_multiple_of(4)).then(|| AppId::from_u128(u128::from(mark))),
            user: mark.is_multiple_of(2).then(|| UserId::from_u128(u128::from(mark))),
        },
        action: if mark.is_multiple_of(3) { Action::SetStatusMessage } else { Action::SetPresence },
        version: Version(mark),
        presence: record(mark),
    }
}

async fn all(history: &dyn History, number: u64) -> Result<Vec<HistoryEntry>, StoreError> {
    Ok(history.read(user(number), Timestamp::MIN, Timestamp::MAX, usize::MAX).await?.entries)
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    AppendMany(Vec<u64>),
    Forget(u64),
    Read(u64, i64, i64, usize),
    Trim,
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..USERS;
    prop_oneof![
        8 => number().prop_map(Step::Append),
        3 => prop::collection::vec(number(), 1..6).prop_map(Step::AppendMany),
        1 => number().prop_map(Step::Forget),
        5 => (number(), -2..60_i64, 0..40_i64, 0..9_usize)
            .prop_map(|(number, from, length, max)| Step::Read(number, from, length, max)),
        1 => Just(Step::Trim),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_history_in_files_answers_as_one_in_memory_and_through_kills(steps in prop::collection::vec(step(), 1..60)) {
        run(async {
            let mut disk = SimulatedDisk::new(7);
            let mut files = open(&disk).unwrap().0;
            let memory = MemoryHistory::new(Duration::MAX);
            let mut mark = 0;
            for step in steps {
                match step {
                    Step::Append(number) => {
                        mark += 1;
                        files.append(entry(number, mark)).await.unwrap();
                        memory.append(entry(number, mark)).await.unwrap();
                    }
                    Step::AppendMany(numbers) => {
                        let entries: Vec<_> = numbers.into_iter().map(|number| { mark += 1; entry(number, mark) }).collect();
                        let kept = futures(entries.iter().map(|entry| files.append(entry.clone()))).await;
                        assert!(kept.into_iter().all(|kept| kept.is_ok()));
                        for entry in entries {
                            memory.append(entry).await.unwrap();
                        }
                    }
                    Step::Forget(number) => {
                        files.forget(user(number)).await.unwrap();
                        memory.forget(user(number)).await.unwrap();
                    }
                    Step::Read(number, from, length, max) => {
                        let (from, to) = (second(BASE + from), second(BASE + from + length));
                        let found = files.read(user(number), from, to, max).await.unwrap();
                        prop_assert_eq!(found, memory.read(user(number), from, to, max).await.unwrap());
                    }
                    // Nothing is old enough yet: this writes the indexes.
                    Step::Trim => files.trim(second(BASE)).await.unwrap(),
                    Step::Reopen => {
                        files.close().await.unwrap();
                        drop(files);
                        files = open(&disk).unwrap().0;
                    }
                    Step::Kill => {
                        let survived = disk.lose_power();
                        drop(files);
                        disk = survived;
                        files = open(&disk).unwrap().0;
                    }
                }
            }
            for number in 0..USERS {
                prop_assert_eq!(all(&files, number).await.unwrap(), all(&memory, number).await.unwrap());
            }
            Ok(())
        })?;
    }
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(outcome) = future.as_mut().poll(context)
            {
                *done = Some(outcome);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[test]
fn a_power_loss_at_any_operation_loses_no_entry_that_was_answered_and_invents_none() {
    for stop in 0..60 {
        run(async {
            let disk = SimulatedDisk::new(stop);
            disk.set_short_writes(stop % 2 == 0);
            let mut answered: Vec<Vec<HistoryEntry>> = vec![Vec::new(); USERS as usize];
            let mut asked = answered.clone();
            if let Ok((history, _)) = open(&disk) {
                disk.set_fault(Some(Fault::Stop(stop)));
                for mark in 1..40 {
                    let number = mark % USERS;
                    let entry = entry(number, mark);
                    asked[number as usize].push(entry.clone());
                    if history.append(entry.clone()).await.is_ok() {
                        answered[number as usize].push(entry);
                    }
                }
                let _ = history.trim(second(BASE)).await;
            }
            let (history, _) = open(&disk.lose_power()).unwrap();
            for number in 0..USERS {
                let found = all(&history, number).await.unwrap();
                let place = number as usize;
                assert!(found.iter().all(|entry| asked[place].contains(entry)), "none is invented");
                assert!(
                    answered[place].iter().all(|entry| found.contains(entry)),
                    "stop at {stop}: {number}"
                );
                // And it goes on.
                history.append(entry(number, 100)).await.unwrap();
                assert_eq!(all(&history, number).await.unwrap().last(), Some(&entry(number, 100)));
            }
        });
    }
}

#[test]
fn who_is_forgotten_is_in_no_file_any_more_and_comes_back_without_a_past() {
    run(async {
        let disk = SimulatedDisk::new(3);
        let (history, _) = open(&disk).unwrap();
        for mark in 1..40 {
            history.append(entry(mark % USERS, mark)).await.unwrap();
        }
        let (gone, others) = (user(1), all(&history, 2).await.unwrap());
        let traces = |disk: &SimulatedDisk| {
            let id = gone.user.as_u128().to_be_bytes();
            let tenant = gone.tenant.as_u128().to_be_bytes();
            // Postcard writes an array as it is, and an index writes tenant and user side by side, too.
            let pattern = [&tenant[..], &id[..]].concat();
            let names = disk.list().unwrap();
            let files = names.iter().filter_map(|name| disk.read(name));
            files.filter(|bytes| bytes.windows(pattern.len()).any(|found| *found == pattern)).count()
        };
        history.trim(second(BASE)).await.unwrap();
        assert_eq!(history.users().await.unwrap(), (0..USERS).map(user).collect());
        assert!(traces(&disk) >= 4, "segments and indexes name the user before");
        history.forget(gone).await.unwrap();
        assert_eq!(traces(&disk), 0);
        assert_eq!(traces(&disk.kill()), 0);
        let (history, recovery) = {
            drop(history);
            open(&disk.kill()).unwrap()
        };
        assert_eq!(history.users().await.unwrap().len() as u64, USERS - 1);
        assert_eq!(recovery.damaged, 0, "an erased entry is none that is damaged");
        assert_eq!(all(&history, 1).await.unwrap(), []);
        assert_eq!(all(&history, 2).await.unwrap(), others);
        history.append(entry(1, 50)).await.unwrap();
        assert_eq!(all(&history, 1).await.unwrap(), [entry(1, 50)]);
    });
}

#[test]
fn a_deletion_that_was_interrupted_can_be_asked_for_again() {
    for stop in 0..12 {
        run(async {
            let disk = SimulatedDisk::new(100 + stop);
            let (history, _) = open(&disk).unwrap();
            for mark in 1..40 {
                history.append(entry(mark % USERS, mark)).await.unwrap();
            }
            let others = all(&history, 2).await.unwrap();
            disk.set_fault(Some(Fault::Stop(stop)));
            let is_done = history.forget(user(1)).await.is_ok();
            let (history, _) = open(&disk.lose_power()).unwrap();
            history.forget(user(1)).await.unwrap();
            assert_eq!(all(&history, 1).await.unwrap(), [], "stop at {stop}, done {is_done}");
            assert_eq!(all(&history, 2).await.unwrap(), others);
        });
    }
}

#[test]
fn what_is_older_than_retained_goes_and_what_does_not_fit() {
    run(async {
        let disk = SimulatedDisk::new(4);
        let (history, _) = open(&disk).unwrap();
        for mark in 1..60 {
            history.append(entry(0, mark)).await.unwrap();
        }
        history.trim(second(BASE + 110)).await.unwrap();
        let oldest = all(&history, 0).await.unwrap()[0].version.0;
        assert!((21..=30).contains(&oldest), "80 seconds and a segment of ten: {oldest}");
        history.trim(second(BASE + 1_000)).await.unwrap();
        assert_eq!(all(&history, 0).await.unwrap(), [], "the segment that was being written, too");
        assert!(disk.list().unwrap().iter().all(|name| !name.ends_with(".history")));
        drop(history);

        let disk = SimulatedDisk::new(5);
        let small = HistoryRetention { bytes: 2_000, age: Duration::from_secs(800) };
        let (history, _) = FileHistory::open_on(Arc::new(disk.clone()), small).unwrap();
        for mark in 1..600 {
            history.append(entry(0, mark)).await.unwrap();
        }
        history.trim(second(BASE + 600)).await.unwrap();
        assert!(!all(&history, 0).await.unwrap().is_empty(), "what is being written stays");
        history.trim(second(BASE + 710)).await.unwrap();
        assert!(disk.used_bytes() <= 2_000, "{}", disk.used_bytes());
    });
}

#[test]
fn a_full_disk_refuses_entries_and_says_so_beforehand_until_there_is_room() {
    run(async {
        let disk = SimulatedDisk::new(6);
        let (history, _) = open(&disk).unwrap();
        history.append(entry(0, 1)).await.unwrap();
        history.ready().await.unwrap();
        disk.set_capacity_bytes(disk.used_bytes() + 10);
        assert!(matches!(history.append(entry(0, 2)).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(history.ready().await, Err(StoreError::Unavailable(_))), "before a write is made");
        assert_eq!(all(&history, 0).await.unwrap(), [entry(0, 1)], "reads go on");
        disk.set_capacity_bytes(u64::MAX);
        history.ready().await.unwrap();
        history.append(entry(0, 3)).await.unwrap();
        assert_eq!(all(&history, 0).await.unwrap(), [entry(0, 1), entry(0, 3)]);
        drop(history);
        let (history, _) = open(&disk.lose_power()).unwrap();
        let found = all(&history, 0).await.unwrap();
        assert!(found.ends_with(&[entry(0, 3)]) && found.starts_with(&[entry(0, 1)]));
    });
}

#[test]
fn every_flipped_bit_is_refused_or_does_no_harm() {
    run(async {
        let disk = SimulatedDisk::new(8);
        let (history, _) = open(&disk).unwrap();
        for mark in 1..8 {
            history.append(entry(mark % 2, mark)).await.unwrap();
        }
        history.close().await.unwrap();
        drop(history);
        let names = disk.list().unwrap();
        let mut refused = 0;
        for name in names.iter().filter(|name| name.contains('.')) {
            let bytes = disk.read(name).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                disk.replace(name, Some(damaged));
                let (history, _) = open(&disk).unwrap();
                for number in 0..2 {
                    match all(&history, number).await {
                        Ok(found) => {
                            let true_ones = (1..8).filter(|mark| mark % 2 == number);
                            let expected: Vec<_> = true_ones.map(|mark| entry(number, mark)).collect();
                            assert_eq!(found, expected, "{name}, bit {bit}: none is missing in silence");
                        }
                        Err(StoreError::Corrupt(_)) => refused += 1,
                        Err(error) => panic!("{name}, bit {bit}: {error}"),
                    }
                }
            }
            disk.replace(name, Some(bytes));
        }
        assert!(refused > 1_000, "{refused}");
    });
}

#[test]
fn an_index_that_is_lost_is_made_again() {
    run(async {
        let disk = SimulatedDisk::new(9);
        let (history, _) = open(&disk).unwrap();
        for mark in 1..30 {
            history.append(entry(0, mark)).await.unwrap();
        }
        history.close().await.unwrap();
        assert!(matches!(history.append(entry(0, 1)).await, Err(StoreError::Unavailable(_))));
        drop(history);
        let indexes: Vec<_> =
            disk.list().unwrap().into_iter().filter(|name| name.ends_with(".index")).collect();
        assert!(indexes.len() >= 3);
        for name in &indexes {
            disk.replace(name, None);
        }
        let (history, _) = open(&disk).unwrap();
        assert_eq!(all(&history, 0).await.unwrap().len(), 29);
        history.trim(second(BASE)).await.unwrap();
        let again = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".index")).count();
        assert_eq!(again, indexes.len());
        assert_eq!(all(&history, 0).await.unwrap().len(), 29);
        assert_eq!(
            history.read(user(3), Timestamp::MIN, Timestamp::MAX, 1).await.unwrap(),
            HistoryPage::default()
        );
    });
}
