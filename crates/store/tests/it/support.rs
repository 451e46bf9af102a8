//! Records, users and runtimes for the tests.

use std::sync::Arc;
use std::time::Duration;

use presence::{
    Activity, AppId, Availability, Change, Pair, SequenceNumber, Session, SessionPair, StatusMessage,
    StatusText, TenantId, Timestamp, UserId, UserKey, UserPresence,
};
use store::disk::SimulatedDisk;
use store::{
    Commit, Document, DocumentKind, Embedded, LogEntry, LogRead, OpenError, Options, Position, Recovery,
    Retention, Store, StoreError, Version,
};

/// Small enough that every boundary is met often.
pub(crate) const SMALL: Options =
    Options { compact_at_bytes: u64::MAX, compact_at_factor: 0, preallocate_bytes: 1024, retention: ALL };

/// Nothing of the change log is forgotten.
pub(crate) const ALL: Retention = Retention { age: Duration::from_secs(1 << 40), entries: usize::MAX };

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn user(number: u64) -> UserKey {
    // Two tenants with the same object ids.
    UserKey { tenant: TenantId::from_u128(number as u128 % 2), user: UserId::from_u128(number as u128 / 2) }
}

pub(crate) fn second(secs: i64) -> Timestamp {
    Timestamp::from_second(secs).unwrap()
}

/// A record that says which one it is, some of them too long for a slot.
pub(crate) fn record(mark: u64) -> UserPresence {
    let settled_at = second(1_700_000_000 + mark as i64);
    let status_message = mark.is_multiple_of(3).then(|| StatusMessage {
        text: StatusText::new(&"x".repeat(1 + mark as usize % 200)).unwrap().unwrap(),
        published_at: settled_at,
        expires_at: None,
    });
    let session = Session {
        app: AppId::from_u128(mark as u128),
        pair: SessionPair::Available,
        set_at: settled_at,
        expires_at: second(1_700_003_600 + mark as i64),
    };
    UserPresence {
        sessions: vec![session],
        status_message,
        sequence_number: SequenceNumber(mark),
        settled_at,
        ..UserPresence::default()
    }
}

pub(crate) fn commit(number: u64, expected: u64, mark: u64) -> Commit {
    Commit {
        user: user(number),
        expected: Version(expected),
        presence: record(mark),
        wake_at: Some(second(1_700_000_300 + mark as i64)),
        changes: changes(mark),
    }
}

/// As many changes as the mark says, none to two, that tell the mark.
pub(crate) fn changes(mark: u64) -> Vec<Change> {
    let change = |number| Change {
        at: second(1_700_000_000 + mark as i64 - number as i64),
        pair: Pair::new(Availability::Busy, Activity::InACall),
        sequence_number: SequenceNumber(mark),
        is_pair_changed: number == 0,
    };
    (0..mark % 3).map(change).collect()
}

/// The whole change log, and where it begins.
pub(crate) async fn log(store: &dyn Store) -> (Position, Vec<LogEntry>) {
    let (mut after, mut all) = (Position(0), Vec::new());
    let mut oldest = Position(1);
    loop {
        match store.read_log(after, 7).await.unwrap() {
            LogRead::Behind { oldest: first, .. } => {
                assert!(all.is_empty() && first.0 > after.0 + 1, "nothing goes while nobody trims");
                (oldest, after) = (first, Position(first.0 - 1));
            }
            LogRead::Page { entries, end } => {
                assert!(end == store.log_now().await.unwrap() && entries.len() <= 7);
                if entries.is_empty() {
                    assert_eq!(after, end);
                    return (oldest, all);
                }
                for entry in entries {
                    assert!(entry.position > after && entry.position <= end, "each after the other");
                    after = entry.position;
                    all.push(entry);
                }
            }
        }
    }
}

pub(crate) fn document(key: &str, body: Option<&str>) -> Document {
    let body = body.map(|body| body.as_bytes().to_vec());
    Document { kind: DocumentKind::DirectoryUser, key: key.as_bytes().to_vec(), body }
}

pub(crate) fn open(disk: &SimulatedDisk, options: Options) -> Result<(Embedded, Recovery), OpenError> {
    Embedded::open_on(Arc::new(disk.clone()), options)
}

/// The marks of the first users' records, with their versions; `None` for no record.
pub(crate) async fn marks(store: &dyn Store, users: u64) -> Result<Vec<Option<(u64, u64)>>, StoreError> {
    let keys: Vec<_> = (0..users).map(user).collect();
    let stored = store.load(&keys).await?;
    Ok(stored
        .into_iter()
        .map(|stored| {
            let mark = stored.presence.sequence_number.0;
            if stored.version == Version(0) {
                assert_eq!(stored.presence, UserPresence::default());
                return None;
            }
            assert_eq!(stored.presence, record(mark), "a record is whole or not there");
            Some((stored.version.0, mark))
        })
        .collect())
}
