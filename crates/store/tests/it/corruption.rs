//! Damage to files at rest, everywhere: refused, or the last group dropped with a report. Never anything else.

use store::disk::SimulatedDisk;
use store::{Embedded, OpenError, Options, Recovery, Store};

use crate::support::{SMALL, commit, document, marks, open, run};

const USERS: u64 = 5;

/// Everything in a store, comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Everything {
    marks: Vec<Option<(u64, u64)>>,
    documents: Vec<store::Document>,
}

fn everything(store: &Embedded) -> Everything {
    run(async {
        let documents = store.documents(store::DocumentKind::DirectoryUser).await.unwrap();
        Everything { marks: marks(store, USERS).await.unwrap(), documents }
    })
}

/// Files, and everything that was in them after each group.
struct Written {
    files: Vec<(String, Vec<u8>)>,
    states: Vec<Everything>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Dropped,
    Closed,
}

/// Some sessions of four groups each. If snapshots are due, one session lasts until there is one.
fn write(seed: u64, sessions: u64, options: Options, ending: Ending) -> Written {
    let disk = SimulatedDisk::new(seed);
    let mut states = Vec::new();
    let mut mark = seed;
    for session in 0..sessions {
        let (store, _) = open(&disk, options).unwrap();
        let is_compacting = options.compact_at_bytes < u64::MAX && session + 2 == sessions;
        let mut step = 0;
        while step < 4 || (is_compacting && store.status().compactions == 0) {
            states.push(everything(&store));
            step += 1;
            mark += 1;
            run(async {
                if mark % 4 == 3 {
                    let body = mark.to_string();
                    let documents =
                        vec![document("a", Some(&body)), document("b", Some("b")), document("c", None)];
                    store.put_documents(documents).await.unwrap();
                } else {
                    let number = (mark * 7) % USERS;
                    let version = marks(&store, USERS).await.unwrap()[number as usize].map_or(0, |(v, _)| v);
                    store.commit(commit(number, version, mark)).await.unwrap();
                }
            });
        }
        if ending == Ending::Closed || session + 1 < sessions {
            run(store.close()).unwrap();
        }
    }
    let (store, _) = open(&disk, options).unwrap();
    states.push(everything(&store));
    drop(store);
    let names = store::disk::Disk::list(&disk).unwrap();
    let files = names.into_iter().map(|name| (name.clone(), disk.read(&name).unwrap())).collect();
    Written { files, states }
}

impl Written {
    fn all(&self) -> &Everything {
        &self.states[self.states.len() - 1]
    }

    fn before_last_group(&self) -> &Everything {
        &self.states[self.states.len() - 2]
    }

    fn open_with(&self, name: &str, content: Option<Vec<u8>>) -> Result<(Everything, Recovery), OpenError> {
        let disk = SimulatedDisk::new(0);
        for (other, bytes) in &self.files {
            if other != name {
                disk.replace(other, Some(bytes.clone()));
            }
        }
        disk.replace(name, content);
        let (store, recovery) = open(&disk, SMALL)?;
        Ok((everything(&store), recovery))
    }

    /// The one question of this file; says whether it was opened.
    fn check(&self, name: &str, content: Vec<u8>, may_drop: bool, context: &str) -> bool {
        match self.open_with(name, Some(content)) {
            Err(OpenError::Damaged { path, .. } | OpenError::Missing { path, .. }) => {
                assert!(!path.is_empty());
                false
            }
            Err(OpenError::NotOurs { .. } | OpenError::Format { .. }) => false,
            Err(error) => panic!("{context}: {error}"),
            Ok((found, _)) if found == *self.all() => true,
            Ok((found, recovery)) => {
                assert!(may_drop, "{context}: something is gone");
                assert_eq!(found, *self.before_last_group(), "{context}");
                assert!(recovery.torn_tail.is_some(), "{context}: dropped without a word");
                true
            }
        }
    }
}

fn histories() -> Vec<(Written, bool)> {
    let compacting = Options { compact_at_bytes: 2200, preallocate_bytes: 512, ..SMALL };
    let small = Options { preallocate_bytes: 512, ..SMALL };
    let histories = vec![
        (write(1, 1, small, Ending::Dropped), true),
        (write(2, 2, small, Ending::Dropped), true),
        // Closing proves that the last group was finished.
        (write(3, 1, small, Ending::Closed), false),
        (write(4, 4, compacting, Ending::Closed), false),
        (write(5, 5, compacting, Ending::Dropped), true),
    ];
    let has_snapshot =
        |written: &Written| written.files.iter().any(|(name, _)| name.starts_with("snapshot-"));
    assert!(histories.iter().any(|(written, _)| has_snapshot(written)), "a snapshot is among them");
    histories
}

#[test]
fn every_flipped_bit_is_refused_or_in_the_last_group_and_reported() {
    for (history, (written, may_drop)) in histories().into_iter().enumerate() {
        let (mut refused, mut opened) = (0, 0);
        for (name, bytes) in &written.files {
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let context = format!("history {history}, {name}, bit {bit}");
                if written.check(name, damaged, may_drop, &context) { opened += 1 } else { refused += 1 }
            }
        }
        assert!(refused > 0 && (opened > 0 || !may_drop), "history {history}: {refused} and {opened}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused_unless_only_zeros_are_gone() {
    for (history, (written, _)) in histories().into_iter().enumerate() {
        for (name, bytes) in &written.files {
            for length in 0..bytes.len() {
                let context = format!("history {history}, {name} cut to {length}");
                let is_opened = written.check(name, bytes[..length].to_vec(), false, &context);
                if is_opened && name.starts_with("snapshot-") {
                    panic!("{context}: a snapshot is read whole or not at all");
                }
            }
            let longer = [bytes.as_slice(), &[7; 100]].concat();
            written.check(name, longer, true, "longer");
        }
    }
}

#[test]
fn a_lost_file_is_noticed_when_another_one_says_that_it_was_there() {
    for (history, (written, _)) in histories().into_iter().enumerate() {
        let last = written.files.iter().map(|(name, _)| name).filter(|name| name.starts_with("log-")).max();
        for (name, _) in &written.files {
            let Err(error) = written.open_with(name, None) else {
                // Nothing points at the newest log but its own name, nor at anything when it is all there is.
                assert_eq!(Some(name), last, "history {history}");
                continue;
            };
            assert!(matches!(error, OpenError::Missing { .. }), "history {history}, {name}: {error}");
        }
    }
}

#[test]
fn files_that_are_swapped_or_foreign_are_refused() {
    for (written, _) in histories() {
        for (name, bytes) in &written.files {
            for (other, other_bytes) in &written.files {
                if name != other {
                    assert!(written.open_with(name, Some(other_bytes.clone())).is_err(), "{other} as {name}");
                }
            }
            let foreign = written.open_with(name, Some(vec![b'#'; bytes.len()]));
            assert!(matches!(foreign, Err(OpenError::NotOurs { .. })));
            assert!(written.open_with(name, Some(Vec::new())).is_err());
        }
    }
}

#[test]
fn damage_of_many_bytes_is_never_read_as_data() {
    for (history, (written, _)) in histories().into_iter().enumerate() {
        let mut state = history as u64 + 1;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        };
        for round in 0..1500 {
            let (name, bytes) = &written.files[below(written.files.len())];
            let mut damaged = bytes.clone();
            let from = below(bytes.len());
            let to = (from + 1 + below(200)).min(bytes.len());
            match below(3) {
                0 => damaged[from..to].fill(0),
                1 => damaged[from..to].fill_with(|| below(256) as u8),
                _ => damaged.copy_within(from..to, below(bytes.len() - (to - from) + 1)),
            }
            // Damage that takes all of several groups at the end leaves no trace of them. What is read is then what was
            // there earlier, and never anything else.
            let context = format!("history {history}, round {round}, {name}, {from}..{to}");
            match written.open_with(name, Some(damaged)) {
                Err(_) => {}
                Ok((found, _)) => assert!(written.states.contains(&found), "{context}"),
            }
        }
    }
}

#[test]
fn a_refusal_names_file_offset_and_remedy() {
    let (written, _) = &histories()[0];
    let (name, bytes) = &written.files[0];
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    let error = written.open_with(name, Some(damaged)).unwrap_err().to_string();
    for part in [name.as_str(), "offset 32", "group 1 cannot be read, but group 2", "Restore the directory"] {
        assert!(error.contains(part), "{error}");
    }
}
