//! `[changes]`: how much of the log of changes is kept for whoever was away.

use std::time::Duration;

use serde::Deserialize;
use store::Retention;

/// The longest age, in hours: 30 days.
const KEEP_HOURS_MAX: u32 = 30 * 24;
/// The most entries; each takes some twelve bytes of memory.
const KEEP_ENTRIES_MAX: usize = 100_000_000;

/// `[changes]`: a day and a million changes, unless it says otherwise. Streams, pages and notifications can go on from
/// where they were as far back as this; who is further behind is told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changes {
    /// How old a change may get, in hours.
    pub(crate) keep_hours: Option<u32>,
    /// How many changes are kept, of all tenants together.
    pub(crate) keep_entries: Option<usize>,
}

impl Changes {
    pub(crate) fn retention(&self) -> Retention {
        let otherwise = Retention::default();
        let hours = |hours: u32| Duration::from_secs(u64::from(hours) * 60 * 60);
        Retention {
            age: self.keep_hours.map_or(otherwise.age, hours),
            entries: self.keep_entries.unwrap_or(otherwise.entries),
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.keep_hours.is_some_and(|hours| !(1..=KEEP_HOURS_MAX).contains(&hours)) {
            problems.push(format!("[changes] keep_hours: give 1 to {KEEP_HOURS_MAX}"));
        }
        if self.keep_entries.is_some_and(|entries| !(1..=KEEP_ENTRIES_MAX).contains(&entries)) {
            problems.push(format!("[changes] keep_entries: give 1 to {KEEP_ENTRIES_MAX}"));
        }
    }
}
