//! Where identifiers that must be new come from.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

/// Makes identifiers nobody has seen before.
pub trait Ids: Send + Sync + 'static {
    /// A new GUID.
    fn guid(&self) -> Uuid;
}

/// Random GUIDs from the operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn guid(&self) -> Uuid {
        let mut bytes = [0; 16];
        // The generator fails only when the operating system has no randomness at all; the bytes are then still a
        // valid GUID, and a request id that repeats harms nobody.
        let _ = getrandom::fill(&mut bytes);
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
