//! When a notification that could not be delivered is tried again: a pure function of numbers.
//!
//! Source: change-notifications §7; the documents give no numbers, so these are ours, and all of them are settings.

use std::time::Duration;

use presence::Timestamp;

/// How attempts are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Before the second attempt. Each further one waits twice as long.
    pub first: Duration,
    /// But never longer than this, before jitter and also when the receiver asks for more.
    pub longest: Duration,
    /// A notification is given up this long after its first attempt.
    pub give_up_after: Duration,
}

/// 10 s, 10 minutes, 4 hours.
impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            longest: Duration::from_secs(10 * 60),
            give_up_after: Duration::from_secs(4 * 60 * 60),
        }
    }
}

/// Jitter, to either side: a fifth.
const JITTER_DIVISOR: u32 = 5;

impl RetrySettings {
    /// How long to wait after the `failures`th failure in a row, counted from one. `random` is any number, all of its
    /// values equally likely; `retry_after` is what the receiver asked for.
    pub fn delay(&self, failures: u32, random: u64, retry_after: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let plain = self.first.saturating_mul(1 << doublings).min(self.longest);
        let spread = plain / JITTER_DIVISOR;
        // From 0 to twice the spread.
        let offset = spread.mul_f64(2.0 * (random >> 11) as f64 / (1_u64 << 53) as f64);
        let delay = plain - spread + offset;
        delay.max(retry_after.unwrap_or(Duration::ZERO).min(self.longest))
    }

    /// Whether a notification first tried at `first_tried_at` may be tried at `at`.
    pub fn may_try(&self, first_tried_at: Timestamp, at: Timestamp) -> bool {
        at < first_tried_at.saturating_add(self.give_up_after).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_delays_double_from_ten_seconds_to_ten_minutes() {
        let middle = 1 << 63;
        let delays = (1..=9).map(|failures| RetrySettings::default().delay(failures, middle, None).as_secs());
        assert_eq!(delays.collect::<Vec<_>>(), [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    #[test]
    fn nothing_is_tried_four_hours_after_it_was_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(RetrySettings::default().may_try(at(0), at(4 * 3600 - 1)));
        assert!(!RetrySettings::default().may_try(at(0), at(4 * 3600)));
    }

    proptest! {
        #[test]
        fn a_delay_is_within_a_fifth_of_the_plain_one_and_what_the_receiver_asks_for_within_the_cap(
            failures in 0..u32::MAX, random: u64, asked in proptest::option::of(0..100_000_u64),
        ) {
            let settings = RetrySettings::default();
            let plain = 10.0 * 2_f64.powi(failures.saturating_sub(1).min(20) as i32);
            let plain = plain.min(600.0);
            let asked = asked.map(Duration::from_secs);
            let delay = settings.delay(failures, random, asked).as_secs_f64();
            let least = asked.map_or(0.0, |asked| asked.as_secs_f64().min(600.0));
            prop_assert!(delay >= (0.8 * plain).max(least) - 1e-6, "{delay}");
            prop_assert!(delay <= (1.2 * plain).max(least) + 1e-6, "{delay}");
        }
    }
}
