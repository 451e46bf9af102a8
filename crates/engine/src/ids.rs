//! Where identifiers that must be new come from.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

/// Makes identifiers nobody has seen before.
pub trait Ids: Send + Sync + 'static {
    /// A new GUID.
    fn guid(&self) -> Uuid;
}

/// Random GUIDs from the operating system's generator, which is asked for `GUIDS_AT_ONCE` at a time: a call of it costs
/// as much as a good part of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

/// GUIDs each thread fetches in one call.
const GUIDS_AT_ONCE: usize = 64;

thread_local! {
    static FETCHED: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

impl Ids for RandomIds {
    fn guid(&self) -> Uuid {
        let bytes = FETCHED.with_borrow_mut(|fetched| {
            fetched.pop().unwrap_or_else(|| {
                let mut fresh = [[0; 16]; GUIDS_AT_ONCE];
                // The generator fails only when the operating system has no randomness at all; the bytes are then
                // still a valid GUID, and a request id that repeats harms nobody.
                let _ = getrandom::fill(fresh.as_flattened_mut());
                let [first, rest @ ..] = fresh;
                fetched.extend(rest);
                first
            })
        });
        Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// GUIDs that count from one: the same in every run, so that a test can compare whole responses.
#[derive(Debug, Default)]
pub struct SeededIds(AtomicU64);

impl Ids for SeededIds {
    fn guid(&self) -> Uuid {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Builder::from_random_bytes(u128::from(count).to_be_bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_guids_differ_also_across_fetches_and_threads() {
        let count = GUIDS_AT_ONCE * 5;
        let some = move || (0..count).map(|_| RandomIds.guid()).collect::<HashSet<_>>();
        let (here, there) = (some(), std::thread::spawn(some).join().unwrap());
        assert_eq!(here.union(&there).count(), count * 2);
        assert!(here.iter().all(|id| id.get_version_num() == 4));
    }
}
