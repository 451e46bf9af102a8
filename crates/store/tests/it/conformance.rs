//! One suite for every backend.

use std::sync::Arc;

use presence::{Timestamp, UserPresence};
use store::disk::{Disk, SimulatedDisk};
use store::{
    Asked, CHANGES_PER_COMMIT_MAX, Commit, DOCUMENT_BATCH_BYTES_MAX, DOCUMENT_BODY_BYTES_MAX,
    DOCUMENT_KEY_BYTES_MAX, Document, DocumentKind, Embedded, Faults, Faulty, Glance, Hint, LogEntry,
    LogRead, Memory, Options, Position, Retention, Revision, Shared, Store, StoreError, Stored, Version,
};

use crate::engines::{Engine, apart};
use crate::support::{ALL, SMALL, changes, commit, document, log, marks, open, record, run, second, user};

const KIND: DocumentKind = DocumentKind::DirectoryUser;

/// Somewhere to keep things, and a way to come back to them later.
trait Backend {
    fn store(&self) -> Arc<dyn Store>;
    /// The same things again, after a restart where the backend has such a thing.
    fn again(&mut self);
}

struct InMemory(Arc<dyn Store>);

impl Backend for InMemory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0)
    }

    fn again(&mut self) {}
}

/// An embedded store that is closed and opened again, or dropped and opened again, whenever a test allows it.
struct OnDisk {
    directory: tempfile::TempDir,
    store: Option<Arc<Embedded>>,
    restarts: Restarts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Restarts {
    Never,
    Closed,
    Dropped,
}

impl OnDisk {
    fn new(restarts: Restarts) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Embedded::open(directory.path(), Options::default()).unwrap();
        Self { directory, store: Some(Arc::new(store)), restarts }
    }
}

impl Backend for OnDisk {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    fn again(&mut self) {
        if self.restarts == Restarts::Never {
            return;
        }
        if self.restarts == Restarts::Closed {
            run(self.store.as_ref().unwrap().close()).unwrap();
        }
        self.store = None;
        let (store, recovery) = Embedded::open(self.directory.path(), Options::default()).unwrap();
        assert_eq!(recovery.torn_tail, None);
        assert_eq!(recovery.was_closed, recovery.groups > 0 && self.restarts == Restarts::Closed);
        self.store = Some(Arc::new(store));
    }
}

/// A store over an engine that all tests of its kind share, each under names of its own.
struct OnEngine {
    engine: &'static Engine,
    options: store::redis::Options,
    store: Option<Arc<store::redis::Redis>>,
}

impl OnEngine {
    fn new(engine: &'static std::sync::OnceLock<Engine>, start: fn() -> Engine) -> Self {
        let engine = engine.get_or_init(start);
        let options = store::redis::Options { retention: Retention { entries: 1 << 40, ..ALL }, ..apart() };
        Self { engine, store: Some(Self::open(engine, &options)), options }
    }

    /// With all leases: a replica may be too slow for the first beat.
    fn open(engine: &Engine, options: &store::redis::Options) -> Arc<store::redis::Redis> {
        let store = engine.open(options.clone());
        run(Shared::leases(&store).wait_for(|leases| leases.held().count() == leases.tokens.len())).unwrap();
        Arc::new(store)
    }
}

impl Backend for OnEngine {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    fn again(&mut self) {
        if let Some(store) = self.store.take() {
            run(store.close()).unwrap();
        }
        self.store = Some(Self::open(self.engine, &self.options));
    }
}

static SINGLE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
static REPLICATED: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
static CLUSTER: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();

macro_rules! conformance {
    ($($claim:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $claim() {
                super::$claim(&mut super::InMemory(super::Arc::new(super::Memory::default())));
            })+
        }
        mod embedded {
            $(#[test] fn $claim() { super::$claim(&mut super::OnDisk::new(super::Restarts::Never)); })+
        }
        mod embedded_closed_and_reopened {
            $(#[test] fn $claim() { super::$claim(&mut super::OnDisk::new(super::Restarts::Closed)); })+
        }
        mod embedded_dropped_and_reopened {
            $(#[test] fn $claim() { super::$claim(&mut super::OnDisk::new(super::Restarts::Dropped)); })+
        }
        mod redis {
            $(#[test] fn $claim() {
                if !crate::engines::is_missing() {
                    super::$claim(&mut super::OnEngine::new(&super::SINGLE, super::Engine::single));
                }
            })+
        }
        mod redis_with_a_replica {
            $(#[test] fn $claim() {
                if !crate::engines::is_missing() {
                    super::$claim(&mut super::OnEngine::new(&super::REPLICATED, super::Engine::replicated));
                }
            })+
        }
        mod redis_cluster {
            $(#[test] fn $claim() {
                if !crate::engines::is_missing() {
                    super::$claim(&mut super::OnEngine::new(&super::CLUSTER, super::Engine::cluster));
                }
            })+
        }
        mod faulty_without_faults {
            $(#[test] fn $claim() {
                let store = super::Faulty::new(super::Memory::default(), 1, super::Faults::default());
                super::$claim(&mut super::InMemory(super::Arc::new(store)));
            })+
        }
    };
}

conformance!(
    nothing_is_kept_of_whoever_was_never_committed,
    a_commit_is_read_back_at_the_next_version,
    a_commit_from_another_version_changes_nothing,
    of_many_who_commit_from_one_version_one_wins,
    of_many_commits_in_one_go_each_is_kept_or_not_by_itself,
    records_come_in_the_order_asked,
    records_are_shown_as_they_are_loaded,
    due_users_come_earliest_first_until_a_commit_moves_them,
    of_thousands_who_fall_due_within_a_second_each_is_revised_once,
    the_next_wake_is_not_after_the_earliest,
    the_latest_settlement_is_remembered,
    changes_are_listed_in_the_order_committed_and_keep_their_positions,
    a_commit_that_lost_leaves_no_entry,
    whoever_waits_for_the_log_is_woken_by_an_entry,
    more_changes_than_a_record_can_make_are_refused,
    documents_are_put_replaced_and_deleted,
    documents_of_all_kinds_are_apart,
    documents_beyond_the_bounds_are_refused_whole,
    concurrent_writers_lose_nothing,
    after_closing_nothing_is_answered,
);

fn nothing_is_kept_of_whoever_was_never_committed(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        assert_eq!(store.load(&[]).await.unwrap(), []);
        assert_eq!(store.load(&[user(1)]).await.unwrap(), [Stored::default()]);
        assert_eq!(store.due(Timestamp::MAX, 10).await.unwrap(), []);
        assert_eq!(store.next_wake().await.unwrap(), None);
        assert_eq!(store.latest().await.unwrap(), None);
        assert_eq!(store.documents(KIND).await.unwrap(), []);
    });
    backend.again();
    run(async { assert_eq!(backend.store().load(&[user(1)]).await.unwrap(), [Stored::default()]) });
}

fn a_commit_is_read_back_at_the_next_version(backend: &mut dyn Backend) {
    for version in 0..5 {
        run(async {
            let store = backend.store();
            let mark = 10 + version;
            assert_eq!(store.commit(commit(1, version, mark)).await.unwrap(), Version(version + 1));
            assert_eq!(marks(&*store, 3).await.unwrap(), [None, Some((version + 1, mark)), None]);
        });
        backend.again();
        run(async {
            let found = marks(&*backend.store(), 3).await.unwrap();
            assert_eq!(found, [None, Some((version + 1, 10 + version)), None]);
        });
    }
}

fn a_commit_from_another_version_changes_nothing(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        assert!(matches!(store.commit(commit(1, 1, 5)).await, Err(StoreError::Conflict)));
        assert!(matches!(store.commit(commit(1, u64::MAX, 5)).await, Err(StoreError::Conflict)));
        store.commit(commit(1, 0, 6)).await.unwrap();
        for wrong in [0, 2, u64::MAX] {
            assert!(matches!(store.commit(commit(1, wrong, 7)).await, Err(StoreError::Conflict)), "{wrong}");
        }
    });
    backend.again();
    run(async {
        let store = backend.store();
        assert_eq!(marks(&*store, 2).await.unwrap(), [None, Some((1, 6))]);
        assert_eq!(store.due(Timestamp::MAX, 10).await.unwrap(), [user(1)]);
        assert_eq!(store.latest().await.unwrap(), Some(record(6).settled_at));
    });
}

fn of_many_who_commit_from_one_version_one_wins(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        let tasks: Vec<_> = (0..50)
            .map(|mark| {
                let store = Arc::clone(&store);
                async move { (mark, store.commit(commit(1, 0, mark)).await) }
            })
            .collect();
        let outcomes = all(tasks).await;
        let won: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(mark, _)| *mark).collect();
        assert_eq!(won.len(), 1);
        assert!(
            outcomes.iter().all(|(_, outcome)| matches!(outcome, Ok(Version(1)) | Err(StoreError::Conflict)))
        );
        assert_eq!(marks(&*store, 2).await.unwrap(), [None, Some((1, won[0]))]);
    });
}

fn of_many_commits_in_one_go_each_is_kept_or_not_by_itself(backend: &mut dyn Backend) {
    const USERS: u64 = 1_500; // More than fit into one group.
    run(async {
        let store = backend.store();
        assert!(store.commit_all(vec![]).await.is_empty());
        store.commit(commit(0, 0, 5)).await.unwrap();
        let mut commits: Vec<Commit> = (0..USERS).map(|number| commit(number, 0, number + 1)).collect();
        let too_many = Commit { changes: changes(2).repeat(CHANGES_PER_COMMIT_MAX), ..commit(7, 1, 9) };
        // The same user again: from the version just made, and from one that is not there any more.
        commits.extend([commit(3, 1, 8), commit(3, 1, 9), too_many]);
        let outcomes = store.commit_all(commits).await;
        let versions = outcomes.iter().map(|outcome| outcome.as_ref().ok().map(|version| version.0));
        let mut expected = vec![Some(1); USERS as usize];
        expected[0] = None;
        expected.extend([Some(2), None, None]);
        assert_eq!(versions.collect::<Vec<_>>(), expected);
        assert!(matches!(outcomes[0], Err(StoreError::Conflict)), "{:?}", outcomes[0]);
        assert!(matches!(outcomes.last(), Some(Err(StoreError::TooLarge(_)))), "{:?}", outcomes.last());
    });
    backend.again();
    run(async {
        let kept = marks(&*backend.store(), USERS).await.unwrap();
        for (number, kept) in (0..).zip(kept) {
            let expected = match number {
                0 => (1, 5),
                3 => (2, 8),
                _ => (1, number + 1),
            };
            assert_eq!(kept, Some(expected), "user {number}");
        }
    });
}

fn records_come_in_the_order_asked(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        for number in 0..20 {
            store.commit(commit(number, 0, 100 + number)).await.unwrap();
        }
    });
    backend.again();
    run(async {
        let asked = [7, 3, 99, 7, 0].map(user);
        let found = backend.store().load(&asked).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|stored| stored.presence.sequence_number.0).collect();
        assert_eq!(found, [107, 103, 0, 107, 100]);
    });
}

fn records_are_shown_as_they_are_loaded(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        let commits = (0..300).map(|number| {
            let store = backend.store();
            async move { store.commit(commit(number, 0, 100 + number)).await }
        });
        assert!(all(commits.collect()).await.iter().all(Result::is_ok));
        // Somebody of whom nothing is kept, somebody twice, one alone, and nobody.
        let many: Vec<_> = (0..700).map(|place| user(place * 7 % 331)).collect();
        for asked in [&many[..], &many[..2], &many[..1], &[user(330)], &[]] {
            let loaded = store.load(asked).await.unwrap();
            let mut shown = Vec::new();
            let Some(outcome) = store.visit(asked, &mut |place, stored| shown.push((place, stored.clone())))
            else {
                continue; // A backend that has to wait.
            };
            outcome.unwrap();
            let loaded: Vec<_> = loaded.into_iter().enumerate().collect();
            assert_eq!(shown, loaded);
            let mut places = Vec::new();
            let glance = &mut |place: usize, glance: Glance<'_>| {
                let record: &UserPresence = &shown[place].1.presence;
                match glance {
                    Glance::Sole(sole) => assert_eq!(Some(sole), record.sole()),
                    Glance::Whole(whole) => assert_eq!(whole, record),
                }
                places.push(place);
            };
            // At first nobody knows where they are, then somebody does, and then all hints are of others.
            let mut hints: Vec<_> = asked.iter().map(|_| Hint::default()).collect();
            for _ in 0..3 {
                let asked = asked.iter().zip(&hints).map(|(user, hint)| Asked { user: *user, hint });
                store.glance(&asked.collect::<Vec<_>>(), glance).unwrap().unwrap();
                hints.reverse();
            }
            assert!(places.into_iter().eq((0..3).flat_map(|_| 0..asked.len())));
        }
    });
}

fn due_users_come_earliest_first_until_a_commit_moves_them(backend: &mut dyn Backend) {
    let wake = |number, expected, at: Option<i64>| Commit {
        wake_at: at.map(second),
        ..commit(number, expected, 50)
    };
    run(async {
        let store = backend.store();
        for (number, at) in [(1, Some(30)), (2, Some(10)), (3, Some(20)), (4, None), (5, Some(-40))] {
            store.commit(wake(number, 0, at)).await.unwrap();
        }
    });
    backend.again();
    run(async {
        let store = backend.store();
        assert_eq!(store.due(second(-41), 10).await.unwrap(), []);
        assert_eq!(store.due(second(20), 10).await.unwrap(), [5, 2, 3].map(user), "at or before");
        assert_eq!(store.due(second(20), 2).await.unwrap(), [5, 2].map(user), "still due");
        assert_eq!(store.due(second(20), 0).await.unwrap(), []);
        store.commit(wake(2, 1, Some(25))).await.unwrap();
        store.commit(wake(5, 1, None)).await.unwrap();
        store.commit(wake(1, 1, Some(5))).await.unwrap();
        store.commit(wake(4, 1, Some(26))).await.unwrap();
    });
    backend.again();
    run(async {
        let store = backend.store();
        assert_eq!(store.due(second(20), 10).await.unwrap(), [1, 3].map(user));
        assert_eq!(store.due(second(26), 10).await.unwrap(), [1, 3, 2, 4].map(user));
        assert_eq!(store.due(Timestamp::MAX, 10).await.unwrap(), [1, 3, 2, 4].map(user));
    });
}

/// More than one look takes, and than the index of the embedded store goes through at a time.
fn of_thousands_who_fall_due_within_a_second_each_is_revised_once(backend: &mut dyn Backend) {
    const USERS: u64 = 9_000;
    const LOOK: usize = 4_096;
    run(async {
        let store = backend.store();
        let commits = (0..USERS).map(|number| Commit {
            wake_at: Some(second(60) + std::time::Duration::from_micros(number * 7_919 % 1_000_000)),
            ..commit(number, 0, 50)
        });
        // An engine that is shared carries them out one by one.
        for some in commits.collect::<Vec<_>>().chunks(500) {
            assert!(store.commit_all(some.to_vec()).await.iter().all(Result::is_ok));
        }
    });
    backend.again();
    run(async {
        let store = backend.store();
        let now = second(61);
        let mut revise = |_: usize, stored: &mut Stored| {
            stored.presence.settled_at = now;
            Some(Revision { wake_at: None, changes: vec![] })
        };
        let mut sizes = Vec::new();
        loop {
            let revised = store.revise_due(now, LOOK, &mut revise).await.unwrap();
            assert!(revised.iter().all(|outcome| matches!(outcome, Some(Ok(Version(2))))), "each once");
            sizes.push(revised.len());
            if revised.len() < LOOK {
                break;
            }
        }
        assert_eq!(sizes, [LOOK, LOOK, USERS as usize - 2 * LOOK]);
        assert_eq!(store.next_wake().await.unwrap(), None);
        let users: Vec<_> = (0..USERS).map(user).collect();
        let records = store.load(&users).await.unwrap();
        assert!(records.iter().all(|stored| stored.presence.settled_at == now), "and nobody is left out");
    });
}

fn the_next_wake_is_not_after_the_earliest(backend: &mut dyn Backend) {
    let wake = |expected, at: Option<Timestamp>| Commit { wake_at: at, ..commit(1, expected, 50) };
    let half_past: Timestamp = "2026-03-02T09:30:00.5Z".parse().unwrap();
    run(async { backend.store().commit(wake(0, Some(half_past))).await.unwrap() });
    backend.again();
    run(async {
        let store = backend.store();
        let next = store.next_wake().await.unwrap().unwrap();
        assert!(next <= half_past && next.as_second() == half_past.as_second(), "{next}");
        // A look at that instant finds nobody, or whom it was for: the next one is later than the look, or exact.
        assert_eq!(store.due(next, 10).await.unwrap().is_empty(), next < half_past);
        assert_eq!(store.next_wake().await.unwrap(), Some(half_past));
        store.commit(wake(1, Some(Timestamp::MIN))).await.unwrap();
        assert_eq!(store.next_wake().await.unwrap(), Some(Timestamp::MIN));
        store.commit(wake(2, Some(Timestamp::MAX))).await.unwrap();
        let next = store.next_wake().await.unwrap().unwrap();
        assert!(next > half_past && store.due(half_past, 1).await.unwrap().is_empty());
        store.commit(wake(3, None)).await.unwrap();
        assert_eq!(store.due(Timestamp::MAX, 1).await.unwrap(), []);
        assert_eq!(store.next_wake().await.unwrap(), None);
    });
}

fn the_latest_settlement_is_remembered(backend: &mut dyn Backend) {
    let settled = |number, expected, at| {
        let presence = UserPresence { settled_at: at, ..UserPresence::default() };
        Commit { user: user(number), expected: Version(expected), presence, wake_at: None, changes: vec![] }
    };
    run(async {
        let store = backend.store();
        store.commit(settled(1, 0, second(500))).await.unwrap();
        store.commit(settled(2, 0, second(400))).await.unwrap();
        store.commit(settled(1, 1, second(100))).await.unwrap();
        assert_eq!(store.latest().await.unwrap(), Some(second(500)), "ever committed");
    });
    backend.again();
    run(async {
        let store = backend.store();
        assert_eq!(store.latest().await.unwrap(), Some(second(500)));
        store.commit(settled(3, 0, Timestamp::MAX)).await.unwrap();
    });
    backend.again();
    run(async { assert_eq!(backend.store().latest().await.unwrap(), Some(Timestamp::MAX)) });
}

fn changes_are_listed_in_the_order_committed_and_keep_their_positions(backend: &mut dyn Backend) {
    let (mut expected, mut entries) = (Vec::new(), Vec::new());
    let told =
        |entries: &[LogEntry]| entries.iter().map(|entry| (entry.user, entry.change)).collect::<Vec<_>>();
    for round in 0..4 {
        run(async {
            let store = backend.store();
            for number in 0..5 {
                let commit = commit(number, round, 10 * round + number);
                expected.extend(commit.changes.iter().map(|change| (commit.user, *change)));
                store.commit(commit).await.unwrap();
            }
            entries = log(&*store).await.1;
            assert_eq!(told(&entries), expected);
        });
        backend.again();
        run(async {
            let store = backend.store();
            assert_eq!(log(&*store).await, (Position(1), entries.clone()), "the same positions as before");
            let end = entries.last().map(|last| last.position).unwrap_or_default();
            for after in [end, Position(end.0 + 1), Position(u64::MAX)] {
                let nothing = LogRead::Page { entries: vec![], end };
                assert_eq!(store.read_log(after, 10).await.unwrap(), nothing);
            }
            let LogRead::Page { entries: page, .. } = store.read_log(entries[0].position, 2).await.unwrap()
            else {
                panic!()
            };
            assert_eq!(page, entries[1..3]);
        });
    }
}

fn a_commit_that_lost_leaves_no_entry(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        store.commit(commit(1, 0, 2)).await.unwrap();
        assert!(matches!(store.commit(commit(1, 0, 5)).await, Err(StoreError::Conflict)));
        let racers = (0..20).map(|_| {
            let store = Arc::clone(&store);
            async move { store.commit(commit(1, 1, 8)).await }
        });
        let racing = all(racers.collect()).await;
        assert_eq!(racing.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    });
    backend.again();
    run(async {
        let (_, entries) = log(&*backend.store()).await;
        let marks: Vec<_> = entries.iter().map(|entry| entry.change.sequence_number.0).collect();
        assert_eq!(marks, [2, 2, 8, 8]);
    });
}

fn whoever_waits_for_the_log_is_woken_by_an_entry(backend: &mut dyn Backend) {
    let mut last = Position(0);
    run(async {
        let store = backend.store();
        let mut end = store.log_end();
        assert_eq!(*end.borrow_and_update(), Position(0));
        store.commit(commit(1, 0, 3)).await.unwrap();
        assert!(!end.has_changed().unwrap(), "nothing visible changed");
        store.commit(commit(1, 1, 4)).await.unwrap();
        end.changed().await.unwrap();
        let first = *end.borrow_and_update();
        assert!(first > Position(0));
        assert_eq!(store.log_now().await.unwrap(), first);
        last = first;
    });
    backend.again();
    assert_eq!(*backend.store().log_end().borrow(), last);
}

fn more_changes_than_a_record_can_make_are_refused(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        let most = vec![changes(1)[0]; CHANGES_PER_COMMIT_MAX];
        let mut too_many = most.clone();
        too_many.push(changes(1)[0]);
        let refused = store.commit(Commit { changes: too_many, ..commit(1, 0, 1) }).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "{refused:?}");
        store.commit(Commit { changes: most, ..commit(1, 0, 1) }).await.unwrap();
        assert_eq!(log(&*store).await.1.len(), CHANGES_PER_COMMIT_MAX);
    });
}

fn documents_of_all_kinds_are_apart(backend: &mut dyn Backend) {
    let of = |kind, body: &str| Document { kind, ..document("key", Some(body)) };
    run(async {
        let store = backend.store();
        let documents = DocumentKind::ALL.map(|kind| of(kind, &format!("{kind:?}")));
        store.put_documents(documents.to_vec()).await.unwrap();
    });
    backend.again();
    run(async {
        for kind in DocumentKind::ALL {
            let expected = [of(kind, &format!("{kind:?}"))];
            assert_eq!(backend.store().documents(kind).await.unwrap(), expected);
        }
    });
}

/// What is forgotten is said, and its positions are never given again; not even when nothing is left.
fn forget(store: Arc<dyn Store>, again: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) {
    let at = |mark: i64| second(1_700_000_000 + mark);
    run(async {
        for round in 0..40 {
            store.commit(commit(1, round, round)).await.unwrap();
        }
        assert_eq!(*store.log_end().borrow(), Position(39));
        let (oldest, entries) = log(&*store).await;
        assert_eq!((oldest, entries.len()), (Position(20), 20), "twenty are retained");
        let behind = LogRead::Behind { oldest, end: Position(39) };
        assert_eq!(store.read_log(Position(18), 5).await.unwrap(), behind);
        store.trim_log(at(110)).await.unwrap();
        assert_eq!(log(&*store).await.0, oldest, "a hundred seconds are, too");
        store.trim_log(at(1_000)).await.unwrap();
        assert_eq!(log(&*store).await, (Position(40), vec![]));
        store.put_documents(vec![document("a", Some("b"))]).await.unwrap();
    });
    let store = again(store);
    run(async {
        store.trim_log(at(1_000)).await.unwrap();
        assert_eq!(*store.log_end().borrow(), Position(39));
        store.commit(commit(1, 40, 1)).await.unwrap();
        let (oldest, entries) = log(&*store).await;
        assert_eq!((oldest, entries[0].position), (Position(40), Position(40)));
    });
}

const FORGETFUL: Retention = Retention { age: std::time::Duration::from_secs(100), entries: 20 };

#[test]
fn memory_forgets_what_is_not_retained() {
    forget(Arc::new(Memory::with_retention(FORGETFUL)), |store| store);
}

#[test]
fn an_embedded_store_forgets_what_is_not_retained_and_no_position_that_was_given() {
    let options = Options { retention: FORGETFUL, ..SMALL };
    let disk = SimulatedDisk::new(1);
    forget(Arc::new(open(&disk, options).unwrap().0), |store| {
        drop(store);
        Arc::new(open(&disk, options).unwrap().0)
    });
    // The same with a snapshot in between, which holds none of the entries.
    let options = Options { compact_at_bytes: 0, ..options };
    let disk = SimulatedDisk::new(2);
    forget(Arc::new(open(&disk, options).unwrap().0), |store| {
        run(async {
            for name in 0.. {
                if Disk::list(&disk).unwrap().iter().all(|name| name != "log-00000000000000000001") {
                    break;
                }
                store.put_documents(vec![document(&name.to_string(), Some("b"))]).await.unwrap();
            }
        });
        drop(store);
        Arc::new(open(&disk, options).unwrap().0)
    });
}

fn documents_are_put_replaced_and_deleted(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        store.put_documents(Vec::new()).await.unwrap();
        let three = ["b", "", "a"].map(|key| document(key, Some(key)));
        store.put_documents(three.to_vec()).await.unwrap();
        store
            .put_documents(vec![
                document("a", Some("new")),
                document("b", None),
                document("never there", None),
                document("twice", Some("first")),
                document("twice", Some("second")),
            ])
            .await
            .unwrap();
    });
    backend.again();
    run(async {
        let found = backend.store().documents(KIND).await.unwrap();
        assert_eq!(
            found,
            [document("", Some("")), document("a", Some("new")), document("twice", Some("second")),]
        );
    });
}

fn documents_beyond_the_bounds_are_refused_whole(backend: &mut dyn Backend) {
    let sized =
        |key: usize, body: usize| Document { kind: KIND, key: vec![b'k'; key], body: Some(vec![b'b'; body]) };
    let largest = sized(DOCUMENT_KEY_BYTES_MAX, DOCUMENT_BODY_BYTES_MAX);
    run(async {
        let store = backend.store();
        let good = document("good", Some("x"));
        let many =
            vec![sized(1, DOCUMENT_BODY_BYTES_MAX); DOCUMENT_BATCH_BYTES_MAX / DOCUMENT_BODY_BYTES_MAX];
        for bad in [
            vec![good.clone(), sized(DOCUMENT_KEY_BYTES_MAX + 1, 0)],
            vec![good.clone(), sized(1, DOCUMENT_BODY_BYTES_MAX + 1)],
            many,
            vec![document("", None); store::DOCUMENT_BATCH_MAX + 1],
        ] {
            assert!(matches!(store.put_documents(bad).await, Err(StoreError::TooLarge(_))));
        }
        assert_eq!(store.documents(KIND).await.unwrap(), []);
        store.put_documents(vec![largest.clone()]).await.unwrap();
        // The largest batch of all, by number and by size.
        let mut batch = vec![document("", None); store::DOCUMENT_BATCH_MAX];
        batch[..100].fill(sized(1, DOCUMENT_BODY_BYTES_MAX));
        store.put_documents(batch).await.unwrap();
    });
    backend.again();
    run(async {
        let found = backend.store().documents(KIND).await.unwrap();
        assert_eq!(found, [sized(1, DOCUMENT_BODY_BYTES_MAX), largest]);
    });
}

fn concurrent_writers_lose_nothing(backend: &mut dyn Backend) {
    const WRITERS: u64 = 32;
    const ROUNDS: u64 = 20;
    const USERS: u64 = 8;
    let store = backend.store();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let increments: u64 = runtime.block_on(async {
        let tasks = (0..WRITERS).map(|writer| {
            let store = Arc::clone(&store);
            async move {
                let mut won = 0;
                for round in 0..ROUNDS {
                    let number = (writer + round) % USERS;
                    let version = store.load(&[user(number)]).await.unwrap()[0].version.0;
                    match store.commit(commit(number, version, version + 1)).await {
                        Ok(new) => {
                            assert_eq!(new.0, version + 1);
                            let seen = store.load(&[user(number)]).await.unwrap()[0].version;
                            assert!(seen >= new, "what is answered is seen");
                            won += 1;
                        }
                        Err(StoreError::Conflict) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                won
            }
        });
        all(tasks.collect()).await.into_iter().sum()
    });
    drop(store);
    backend.again();
    let found = run(async { marks(&*backend.store(), USERS).await.unwrap() });
    let versions: u64 = found.iter().flatten().map(|(version, _)| version).sum();
    assert_eq!(versions, increments);
    assert!(found.iter().flatten().all(|(version, mark)| version == mark), "{found:?}");
}

fn after_closing_nothing_is_answered(backend: &mut dyn Backend) {
    run(async {
        let store = backend.store();
        store.commit(commit(1, 0, 1)).await.unwrap();
        store.close().await.unwrap();
        let unavailable = |outcome: Result<(), StoreError>| {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        };
        unavailable(store.load(&[user(1)]).await.map(drop));
        let shown = store.visit(&[user(1)], &mut |_, _| panic!("nothing is shown"));
        shown.into_iter().for_each(unavailable);
        let asked = Asked { user: user(1), hint: &Hint::default() };
        let shown = store.glance(&[asked], &mut |_, _| panic!("nothing is shown"));
        shown.into_iter().for_each(unavailable);
        unavailable(store.commit(commit(1, 1, 1)).await.map(drop));
        unavailable(store.due(Timestamp::MAX, 1).await.map(drop));
        unavailable(store.next_wake().await.map(drop));
        unavailable(store.latest().await.map(drop));
        unavailable(store.documents(KIND).await.map(drop));
        unavailable(store.put_documents(vec![document("a", None)]).await);
        unavailable(store.close().await);
    });
}

/// Runs futures as tasks of their own and gives back what they answer, in order.
async fn all<T: Send + 'static>(futures: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut tasks = tokio::task::JoinSet::new();
    for (place, future) in futures.into_iter().enumerate() {
        tasks.spawn(async move { (place, future.await) });
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
