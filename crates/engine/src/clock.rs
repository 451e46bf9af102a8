//! Time, as an argument.
//!
//! [`SystemClock`] tells the machine's time and never goes back; [`VirtualClock`] tells a time that can be moved. Both are
//! asked the same two things, so nothing that uses a [`Clock`] knows which it has.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use jiff::SignedDuration;
use presence::Timestamp;
use tokio::sync::watch;

/// Resolution of every clock, in nanoseconds: a tick of 100 ns, the finest that Graph's timestamps can say.
const TICK_NANOS: i128 = 100;

/// Longest single sleep. A machine that was suspended, or whose clock was set, is noticed within it.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What time it is, and a way to wait for a time.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time now. Never earlier than any answer before.
    fn now(&self) -> Timestamp;

    /// Returns when the time is `deadline` or later.
    async fn sleep_until(&self, deadline: Timestamp);
}

/// The machine's time, which never goes back: when the machine's clock is set back, this one goes on from where it was at
/// its own pace, and is right again when the machine's time has caught up.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    /// Microseconds from `started`'s zero to the Unix epoch; only grows.
    offset_micros: AtomicI64,
}

impl SystemClock {
    /// A clock that starts at the machine's time or at `floor`, whichever is later. The floor is the latest instant a
    /// store has seen: a machine whose clock was set back between two runs must not take a user's presence back.
    #[expect(clippy::disallowed_methods, reason = "this is the clock everybody else is told to ask")]
    pub fn new(floor: Option<Timestamp>) -> Self {
        let floor = floor.map_or(i64::MIN, Timestamp::as_microsecond);
        let offset = unix_micros().max(floor.saturating_add(1));
        Self { started: Instant::now(), offset_micros: AtomicI64::new(offset) }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let offset = unix_micros().saturating_sub(elapsed);
        // Looked at before it is written: it hardly ever grows, and every processor asks what time it is.
        let known = self.offset_micros.load(Ordering::Relaxed);
        let offset = match offset > known {
            true => self.offset_micros.fetch_max(offset, Ordering::Relaxed).max(offset),
            false => known,
        };
        Timestamp::from_microsecond(offset.saturating_add(elapsed)).unwrap_or(Timestamp::MAX)
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        while let Some(left) = remaining(self.now(), deadline) {
            tokio::time::sleep(left.min(SLEEP_MAX)).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock everybody else is told to ask")]
fn unix_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn remaining(now: Timestamp, deadline: Timestamp) -> Option<Duration> {
    let left = deadline.duration_since(now);
    if left <= SignedDuration::ZERO {
        return None;
    }
    // One microsecond more, so that the clock, which rounds down, has surely reached the deadline on waking.
    Some(left.unsigned_abs().saturating_add(Duration::from_micros(1)))
}

/// A clock that can be moved forward, stopped and started again. While running it goes at the pace of the clock inside.
pub struct VirtualClock {
    inner: std::sync::Arc<dyn Clock>,
    state: Mutex<ClockState>,
    moved: watch::Sender<()>,
}

/// How a [`VirtualClock`] stands against the clock inside it: all there is to keep over a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockState {
    /// How far it is ahead.
    pub ahead: SignedDuration,
    /// The time it stands still at, if it does.
    pub frozen_at: Option<Timestamp>,
}

impl VirtualClock {
    /// A clock over `inner` that stands as `state` says.
    pub fn new(inner: std::sync::Arc<dyn Clock>, state: ClockState) -> Self {
        Self { inner, state: Mutex::new(state), moved: watch::Sender::new(()) }
    }

    /// How it stands.
    pub fn state(&self) -> ClockState {
        *self.lock()
    }

    /// Moves the time forward by `duration`; a negative one moves nothing.
    pub fn advance(&self, duration: SignedDuration) {
        self.change(|now, _| {
            now.saturating_add(duration.max(SignedDuration::ZERO)).unwrap_or(Timestamp::MAX)
        });
    }

    /// Moves the time forward to `time`; to one that has passed it moves nothing.
    pub fn set_forward(&self, time: Timestamp) {
        self.change(|_, _| time);
    }

    /// Stops the time.
    pub fn freeze(&self) {
        self.change(|now, state| {
            state.frozen_at = Some(now);
            now
        });
    }

    /// Lets the time go on from where it stands.
    pub fn resume(&self) {
        self.change(|now, state| {
            state.frozen_at = None;
            now
        });
    }

    fn change(&self, decide: impl FnOnce(Timestamp, &mut ClockState) -> Timestamp) {
        let mut state = self.lock();
        let real = self.inner.now();
        let now = state.at(real);
        let target = decide(now, &mut state).max(now);
        match &mut state.frozen_at {
            Some(frozen_at) => *frozen_at = target,
            None => state.ahead = target.duration_since(real),
        }
        drop(state);
        self.moved.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClockState {
    fn at(&self, real: Timestamp) -> Timestamp {
        let time = match self.frozen_at {
            Some(frozen_at) => frozen_at,
            None => real.saturating_add(self.ahead).unwrap_or(Timestamp::MAX),
        };
        whole_ticks(time)
    }
}

/// Rounds down to what the wire and the store can say exactly.
fn whole_ticks(time: Timestamp) -> Timestamp {
    let nanos = time.as_nanosecond();
    Timestamp::from_nanosecond(nanos - nanos.rem_euclid(TICK_NANOS)).unwrap_or(time)
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let state = self.lock();
        state.at(self.inner.now())
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.mark_unchanged();
            let Some(left) = remaining(self.now(), deadline) else { return };
            let frozen = self.state().frozen_at.is_some();
            // The sender lives as long as `self`, so `changed` cannot fail.
            tokio::select! {
                _ = moved.changed() => {}
                () = tokio::time::sleep(left.min(SLEEP_MAX)), if !frozen => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    struct Still(Timestamp);

    #[async_trait]
    impl Clock for Still {
        fn now(&self) -> Timestamp {
            self.0
        }

        async fn sleep_until(&self, _: Timestamp) {
            std::future::pending::<()>().await;
        }
    }

    fn virtual_clock() -> VirtualClock {
        VirtualClock::new(Arc::new(Still(at("2026-03-02T08:00:00Z"))), ClockState::default())
    }

    #[test]
    fn the_system_clock_never_falls_behind_its_floor_or_itself() {
        let floor = at("2999-01-01T00:00:00Z");
        let clock = SystemClock::new(Some(floor));
        let first = clock.now();
        assert!(first > floor);
        assert!(clock.now() >= first);
        assert!(SystemClock::new(None).now() > at("2026-01-01T00:00:00Z"));
        assert!(SystemClock::new(Some(Timestamp::MAX)).now() <= Timestamp::MAX);
    }

    #[test]
    fn a_virtual_clock_moves_forward_only() {
        let clock = virtual_clock();
        clock.advance(SignedDuration::from_mins(5));
        assert_eq!(clock.now(), at("2026-03-02T08:05:00Z"));
        clock.advance(SignedDuration::from_mins(-5));
        clock.set_forward(at("2026-03-02T08:00:00Z"));
        assert_eq!(clock.now(), at("2026-03-02T08:05:00Z"));
        clock.set_forward(at("2026-03-03T00:00:00Z"));
        assert_eq!(clock.now(), at("2026-03-03T00:00:00Z"));
        clock.advance(SignedDuration::MAX);
        assert_eq!(clock.now(), whole_ticks(Timestamp::MAX));
    }

    #[test]
    fn a_frozen_clock_can_be_moved_and_resumes_from_where_it_stands() {
        let clock = virtual_clock();
        clock.freeze();
        clock.advance(SignedDuration::from_hours(1));
        assert_eq!(clock.now(), at("2026-03-02T09:00:00Z"));
        assert_eq!(clock.state().frozen_at, Some(at("2026-03-02T09:00:00Z")));
        clock.resume();
        assert_eq!(clock.state(), ClockState { ahead: SignedDuration::from_hours(1), frozen_at: None });
        assert_eq!(clock.now(), at("2026-03-02T09:00:00Z"));
    }

    #[tokio::test]
    async fn moving_the_clock_wakes_whoever_sleeps() {
        let clock = Arc::new(virtual_clock());
        clock.freeze();
        let sleeper = clock.clone();
        let mut sleep = Box::pin(async move { sleeper.sleep_until(at("2026-03-02T09:00:00Z")).await });
        assert!(futures_util::poll!(&mut sleep).is_pending());
        clock.advance(SignedDuration::from_mins(59));
        assert!(futures_util::poll!(&mut sleep).is_pending());
        clock.advance(SignedDuration::from_mins(1));
        sleep.await;
    }
}
