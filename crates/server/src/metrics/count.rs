//! Counters that many threads bump at once: each thread has a shard of its own, and only a scrape adds them up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Copies of every counter. More threads than this share them, which costs a little time and no count.
const SHARDS: usize = 16;

/// Upper bounds of the buckets of a duration, in seconds; what is longer is in one more.
pub(crate) const BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Some counters, by position.
#[derive(Debug)]
pub(crate) struct Counters {
    shards: Vec<Box<[AtomicU64]>>,
}

impl Counters {
    pub(crate) fn new(count: usize) -> Self {
        let shard = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    pub(crate) fn add(&self, position: usize, amount: u64) {
        self.shards[shard()][position].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self, position: usize) -> u64 {
        self.shards.iter().map(|shard| shard[position].load(Ordering::Relaxed)).sum()
    }
}

/// Some histograms of durations, by position.
#[derive(Debug)]
pub(crate) struct Durations {
    buckets: Counters,
    nanoseconds: Counters,
}

/// One histogram, added up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// Upper bound and how many are in the bucket itself.
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) count: u64,
    /// In seconds.
    pub(crate) sum: f64,
}

impl Durations {
    pub(crate) fn new(count: usize) -> Self {
        Self { buckets: Counters::new(count * (BUCKETS.len() + 1)), nanoseconds: Counters::new(count) }
    }

    pub(crate) fn observe(&self, position: usize, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets.add(position * (BUCKETS.len() + 1) + bucket, 1);
        self.nanoseconds.add(position, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn histogram(&self, position: usize) -> Histogram {
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]).enumerate();
        let first = position * (BUCKETS.len() + 1);
        let buckets: Vec<_> = bounds.map(|(at, bound)| (bound, self.buckets.sum(first + at))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Histogram { buckets, count, sum: self.nanoseconds.sum(position) as f64 / 1e9 }
    }
}

/// The shard of this thread.
fn shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
    }
    SHARD.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_is_added_up() {
        let (counters, durations) = (Counters::new(2), Durations::new(2));
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    counters.add(1, 3);
                    durations.observe(1, Duration::from_millis(1));
                    durations.observe(1, Duration::from_secs(60));
                });
            }
        });
        let threads = 2 * SHARDS as u64;
        assert_eq!((counters.sum(0), counters.sum(1)), (0, 3 * threads));
        let histogram = durations.histogram(1);
        assert_eq!(histogram.count, 2 * threads);
        assert!((histogram.sum - 60.001 * threads as f64).abs() < 1e-6);
        let filled: Vec<_> = histogram.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(filled, [(0.001, threads), (f64::INFINITY, threads)]);
        assert_eq!(durations.histogram(0).count, 0);
    }
}
