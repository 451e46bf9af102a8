//! Power losses and kills at every point: what was acknowledged is there, and nothing is there by half.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use store::disk::{Fault, SimulatedDisk};
use store::{Embedded, LogEntry, Options, Store, StoreError};

use crate::support::{SMALL, changes, commit, document, marks, open, run};

const USERS: u64 = 6;
type Marks = Vec<Option<(u64, u64)>>;

/// What must be there after a crash, and what may be.
#[derive(Default)]
struct Model {
    acknowledged: Marks,
    documents: u64,
    /// Changes that were asked for and not acknowledged: none, or all of the same group, or each by itself.
    maybe: Vec<(usize, (u64, u64))>,
    maybe_documents: Option<u64>,
    next_mark: u64,
    /// Marks whose changes must be in the change log, and what was read of it so far.
    logged: BTreeSet<u64>,
    log: Vec<LogEntry>,
}

impl Model {
    fn new() -> Self {
        Self { acknowledged: vec![None; USERS as usize], ..Self::default() }
    }

    /// Some commits at once; says whether the store went on.
    async fn commit(&mut self, store: &Embedded, users: &[u64]) -> bool {
        let mut waiting = Vec::new();
        for number in users {
            self.next_mark += 1;
            let version = self.acknowledged[*number as usize].map_or(0, |(version, _)| version);
            waiting.push((*number as usize, (version + 1, self.next_mark)));
        }
        let commits = waiting
            .iter()
            .map(|(number, (version, mark))| store.commit(commit(*number as u64, version - 1, *mark)));
        let outcomes = join_all(commits).await;
        self.note(waiting.into_iter().zip(outcomes))
    }

    fn note(
        &mut self,
        outcomes: impl Iterator<Item = ((usize, (u64, u64)), Result<store::Version, StoreError>)>,
    ) -> bool {
        let mut failed = Vec::new();
        let mut is_any_kept = false;
        for ((number, state), outcome) in outcomes {
            match outcome {
                Ok(version) => {
                    assert_eq!(version.0, state.0);
                    self.acknowledged[number] = Some(state);
                    self.logged.insert(state.1);
                    is_any_kept = true;
                }
                Err(StoreError::Unavailable(_)) => failed.push((number, state)),
                Err(other) => panic!("{other}"),
            }
        }
        if is_any_kept {
            // A later group is durable, so what failed before it is void for good.
            self.maybe.clear();
            self.maybe_documents = None;
        }
        let went_on = failed.is_empty();
        self.maybe.extend(failed);
        went_on
    }

    /// Three documents that always carry the same mark.
    async fn put_documents(&mut self, store: &Embedded) -> bool {
        self.next_mark += 1;
        let body = self.next_mark.to_string();
        let documents = ["x", "y", "z"].map(|key| document(key, Some(&body)));
        match store.put_documents(documents.to_vec()).await {
            Ok(()) => {
                self.documents = self.next_mark;
                self.maybe.clear();
                self.maybe_documents = None;
                true
            }
            Err(StoreError::Unavailable(_)) => {
                self.maybe_documents = Some(self.next_mark);
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Compares with what is there now, and goes on from it.
    async fn check(&mut self, store: &Embedded, context: &str) {
        let found = marks(store, USERS).await.unwrap();
        for (number, found) in found.iter().enumerate() {
            let is_right = *found == self.acknowledged[number]
                || self.maybe.iter().any(|(user, state)| *user == number && Some(*state) == *found);
            assert!(is_right, "{context}: user {number}: {found:?}, not {:?}", self.acknowledged[number]);
            self.logged.extend(found.map(|(_, mark)| mark));
        }
        // The changes of each record that is or was there, whole; of no other; and where they were before.
        let (_, log) = crate::support::log(store).await;
        assert!(log.starts_with(&self.log), "{context}: what was read before is still there");
        let mut marks = Vec::new();
        for entries in log.chunk_by(|a, b| a.change.sequence_number == b.change.sequence_number) {
            let mark = entries[0].change.sequence_number.0;
            let kept: Vec<_> = entries.iter().map(|entry| entry.change).collect();
            assert_eq!(kept, changes(mark), "{context}: mark {mark}");
            marks.push(mark);
        }
        marks.sort_unstable();
        let expected: Vec<_> = self.logged.iter().copied().filter(|mark| mark % 3 > 0).collect();
        assert_eq!(marks, expected, "{context}");
        self.log = log;
        let documents = store.documents(store::DocumentKind::DirectoryUser).await.unwrap();
        let bodies: Vec<_> =
            documents.iter().map(|d| String::from_utf8(d.body.clone().unwrap()).unwrap()).collect();
        let found_mark: u64 = bodies.first().map_or(0, |body| body.parse().unwrap());
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{context}: half of the documents: {bodies:?}");
        assert!(bodies.is_empty() || bodies.len() == 3, "{context}: {bodies:?}");
        let is_right = found_mark == self.documents || self.maybe_documents == Some(found_mark);
        assert!(is_right, "{context}: documents {found_mark}, not {}", self.documents);
        self.acknowledged = found;
        self.documents = found_mark;
        self.maybe.clear();
        self.maybe_documents = None;
    }
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    // Polled in turn: all are in the queue before the first is answered.
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outcomes: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let std::task::Poll::Ready(answer) = future.as_mut().poll(context)
            {
                *outcome = Some(answer);
            }
        }
        if outcomes.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Works until the disk fails or there is nothing left to do; says whether it was the disk.
async fn work(model: &mut Model, store: &Embedded, numbers: &mut Numbers, steps: u64) -> bool {
    for _ in 0..steps {
        let goes_on = match numbers.below(8) {
            0 => model.put_documents(store).await,
            _ => {
                let first = numbers.below(USERS);
                let users: Vec<_> = (0..1 + numbers.below(4)).map(|n| (first + n) % USERS).collect();
                model.commit(store, &users).await
            }
        };
        if !goes_on {
            return true;
        }
    }
    false
}

/// Stops the machine at each operation of a short history in turn, and looks at what came through.
fn crash_everywhere(options: Options, losses: u64, crash: impl Fn(&SimulatedDisk) -> SimulatedDisk) {
    for loss in 0..losses {
        for stop in 0.. {
            let context = format!("loss {loss}, stopped at operation {stop}");
            let disk = SimulatedDisk::new(loss * 1_000_003 + stop);
            disk.set_short_writes(loss % 2 == 1);
            let mut model = Model::new();
            let mut numbers = Numbers(loss);
            // Something is there already, so that the history also begins with a reopening.
            run(async {
                let (store, _) = open(&disk, options).unwrap();
                work(&mut model, &store, &mut numbers, 3).await;
            });
            disk.set_fault(Some(Fault::Stop(stop)));
            let (was_stopped, survived) = run(async {
                let (store, _) = open(&disk, options).unwrap();
                let was_stopped = work(&mut model, &store, &mut numbers, 10).await;
                (was_stopped, crash(&disk))
            });
            run(async {
                let (store, _) =
                    open(&survived, options).unwrap_or_else(|error| panic!("{context}: {error}"));
                model.check(&store, &context).await;
                work(&mut model, &store, &mut numbers, 3).await;
                store.close().await.unwrap();
                drop(store);
                let (store, recovery) = open(&survived, options).unwrap();
                assert_eq!(recovery.torn_tail, None);
                model.check(&store, &context).await;
            });
            if !was_stopped {
                break;
            }
        }
    }
}

#[test]
fn a_power_loss_between_any_two_operations_loses_nothing_acknowledged() {
    crash_everywhere(SMALL, 12, SimulatedDisk::lose_power);
}

#[test]
fn a_power_loss_during_compaction_loses_nothing_acknowledged() {
    let options = Options { compact_at_bytes: 1500, ..SMALL };
    crash_everywhere(options, 12, SimulatedDisk::lose_power);
}

#[test]
fn a_kill_between_any_two_operations_loses_nothing_acknowledged() {
    crash_everywhere(SMALL, 3, SimulatedDisk::kill);
    crash_everywhere(Options { compact_at_bytes: 1500, ..SMALL }, 3, SimulatedDisk::kill);
}

#[test]
fn a_long_life_of_power_losses_and_disk_errors_loses_nothing_acknowledged() {
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let mut disk = SimulatedDisk::new(seed);
        let mut model = Model::new();
        for life in 0..12 {
            let context = format!("seed {seed}, life {life}");
            let options = Options { compact_at_bytes: 1000 + numbers.below(6000), ..SMALL };
            disk.set_short_writes(numbers.below(2) == 0);
            disk.set_fault(None);
            let (store, _) = open(&disk, options).unwrap_or_else(|error| panic!("{context}: {error}"));
            run(async {
                model.check(&store, &context).await;
                for _ in 0..3 {
                    disk.set_fault(match numbers.below(4) {
                        0 => None,
                        1 => Some(Fault::Sync),
                        _ => Some(Fault::Once(numbers.below(30))),
                    });
                    work(&mut model, &store, &mut numbers, 5).await;
                }
                // What failed is void once a later group is durable, and readers never saw it.
                disk.set_fault(None);
                assert!(!work(&mut model, &store, &mut numbers, 1).await, "{context}: the disk works again");
                model.check(&store, &context).await;
                disk.set_fault(Some(Fault::Stop(numbers.below(40))));
                work(&mut model, &store, &mut numbers, 20).await;
            });
            let survived = if numbers.below(4) == 0 { disk.kill() } else { disk.lose_power() };
            drop(store);
            disk = survived;
        }
    }
}

/// Not a test: the process that the next one kills. It commits in the directory it is started in.
#[test]
#[ignore = "started by a_killed_process_leaves_everything_it_was_answered"]
fn commit_until_killed() {
    let options =
        Options { compact_at_bytes: 64 * 1024, compact_at_factor: 0, preallocate_bytes: 16 * 1024, ..SMALL };
    let (store, _) = Embedded::open(std::path::Path::new("."), options).unwrap();
    run(async {
        for round in 0.. {
            let commits = (0..USERS).map(|number| store.commit(commit(number, round, round + 1)));
            for outcome in join_all(commits).await {
                outcome.unwrap();
            }
            println!("acknowledged {}", round + 1);
        }
    });
}

#[test]
fn a_killed_process_leaves_everything_it_was_answered() {
    for enough in [1, 40, 400] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::commit_until_killed", "--ignored", "--nocapture"])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut is_killed = false;
        for line in lines {
            // What it still managed to say before it died counts too.
            if let Some((_, round)) = line.unwrap().split_once("acknowledged ") {
                acknowledged = round.parse().unwrap_or(acknowledged);
            }
            if acknowledged >= enough && !is_killed {
                child.kill().unwrap();
                is_killed = true;
            }
        }
        child.wait().unwrap();
        let (store, recovery) = Embedded::open(directory.path(), SMALL).unwrap();
        assert!(!recovery.was_closed);
        let found = run(marks(&store, USERS)).unwrap();
        for (version, mark) in found.iter().map(|found| found.unwrap()) {
            assert!(version == mark && (acknowledged..=acknowledged + 1).contains(&version), "{found:?}");
        }
    }
}
