//! `[history]`: whether the past of users is kept, for how long, and who sees it.

use std::time::Duration;

use serde::Deserialize;
use server::HistoryReaders;
use store::HistoryRetention;

/// The longest anything may be kept, in days: ten years.
const DAYS_MAX: u32 = 3_660;
/// What is kept when nothing else is said, in days and in MiB.
const DAYS_DEFAULT: u32 = 30;
const MEBIBYTES_DEFAULT: u64 = 4_096;
/// Room that is of some use, in MiB, and the most that can be given: a pebibyte.
const MEBIBYTES: std::ops::RangeInclusive<u64> = 16..=1 << 30;

/// `[history]`: off unless configured, because presence is personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// Keep a history.
    pub(crate) enabled: bool,
    /// For how many days.
    pub(crate) days: Option<u32>,
    /// In how much room: what does not fit goes before its time.
    pub(crate) mebibytes: Option<u64>,
    /// Who sees whose.
    #[serde(default)]
    pub(crate) visible_to: VisibleTo,
}

/// Who sees whose history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VisibleTo {
    /// Users their own, and applications with a permission of their own everybody's.
    #[default]
    Owner,
    /// Whoever may read the presence.
    Readers,
}

impl History {
    pub(crate) fn retention(&self) -> HistoryRetention {
        let days = u64::from(self.days.unwrap_or(DAYS_DEFAULT));
        HistoryRetention {
            age: Duration::from_secs(days * 24 * 60 * 60),
            bytes: self.mebibytes.unwrap_or(MEBIBYTES_DEFAULT).saturating_mul(1024 * 1024),
        }
    }

    pub(crate) fn readers(&self) -> HistoryReaders {
        match self.visible_to {
            VisibleTo::Owner => HistoryReaders::Owner,
            VisibleTo::Readers => HistoryReaders::Readers,
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
            problems.push(format!("[history] days: give 1 to {DAYS_MAX}"));
        }
        if self.mebibytes.is_some_and(|room| !MEBIBYTES.contains(&room)) {
            let (least, most) = (MEBIBYTES.start(), MEBIBYTES.end());
            problems.push(format!("[history] mebibytes: give {least} to {most}"));
        }
    }
}
