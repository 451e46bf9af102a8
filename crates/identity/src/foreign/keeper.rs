//! When to ask an issuer for its keys, and how long to go on without an answer.

use jiff::SignedDuration;
use presence::Timestamp;

/// How long keys count as fresh. Source: identity C.
pub const KEYS_FRESH: SignedDuration = SignedDuration::from_hours(24);
/// How long keys are believed after the last answer of their issuer: an outage over a long weekend stops nobody. It is
/// also the longest a key stays believed that its issuer has withdrawn while it could not be reached. Ours.
pub const KEYS_KEPT_MAX: SignedDuration = SignedDuration::from_hours(4 * 24);
/// How soon a token with an unknown key may make us ask again after one that did. Source: identity A.1.
pub const ASKED_FETCH_INTERVAL: SignedDuration = SignedDuration::from_mins(5);
/// How long to wait after a fetch that failed; twice as long after each further one. Ours.
pub const RETRY_MIN: SignedDuration = SignedDuration::from_secs(2);
/// How long at most. Ours.
pub const RETRY_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Why a fetch gave no keys, in words for the log and the doctor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchProblem(pub String);

/// One issuer's keys over time. It holds no keys: it says when to fetch them and when to let them go.
#[derive(Clone, Debug)]
pub struct KeyKeeper {
    is_fetching: bool,
    next_fetch: Timestamp,
    fetched_at: Option<Timestamp>,
    has_keys: bool,
    asked_at: Option<Timestamp>,
    failures: u32,
    problem: Option<FetchProblem>,
    fetches: u64,
    fetches_failed: u64,
}

/// What may come of a token with an unknown key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The keys are being fetched, or will be at once: it pays to wait for that.
    Wait,
    /// They were asked for lately. The token is refused.
    NotNow,
}

/// How an issuer's keys stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// When the issuer last answered with keys.
    pub fetched_at: Option<Timestamp>,
    /// Whether there are keys to believe.
    pub has_keys: bool,
    /// Why the last fetch failed, if it did.
    pub problem: Option<FetchProblem>,
    /// Fetches since the start, the failed ones among them.
    pub fetches: u64,
    /// Those that failed.
    pub fetches_failed: u64,
}

impl KeyKeeper {
    /// No keys yet, to be fetched at once.
    pub fn new(now: Timestamp) -> Self {
        Self {
            is_fetching: false,
            next_fetch: now,
            fetched_at: None,
            has_keys: false,
            asked_at: None,
            failures: 0,
            problem: None,
            fetches: 0,
            fetches_failed: 0,
        }
    }

    /// Keys that were kept when their issuer last answered, at `fetched_at`. They count as they would have without a
    /// restart, and are fetched at once.
    pub fn with_kept(fetched_at: Timestamp, now: Timestamp) -> Self {
        Self { fetched_at: Some(fetched_at.min(now)), has_keys: true, ..Self::new(now) }
    }

    /// When to look again: for a fetch, or to let keys go. None while a fetch is under way, which ends by itself.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_fetching {
            return None;
        }
        let fetch = self.next_fetch.min(after(now, KEYS_FRESH));
        let end = self.fetched_at.filter(|_| self.has_keys).map(|at| after(at, KEYS_KEPT_MAX));
        Some(end.map_or(fetch, |end| fetch.min(end)))
    }

    /// Whether to fetch now; then [`fetched`](Self::fetched) must follow.
    pub fn begin(&mut self, now: Timestamp) -> bool {
        let is_due = !self.is_fetching && now >= self.next_fetch.min(after(now, KEYS_FRESH));
        if is_due {
            self.is_fetching = true;
            self.fetches += 1;
        }
        is_due
    }

    /// A fetch has ended, well or not.
    pub fn fetched(&mut self, now: Timestamp, outcome: Result<(), FetchProblem>) {
        self.is_fetching = false;
        match outcome {
            Ok(()) => {
                (self.failures, self.problem) = (0, None);
                (self.fetched_at, self.has_keys) = (Some(now), true);
                self.next_fetch = after(now, KEYS_FRESH);
            }
            Err(problem) => {
                self.next_fetch = after(now, retry_after(self.failures));
                self.failures = self.failures.saturating_add(1);
                self.fetches_failed += 1;
                self.problem = Some(problem);
            }
        }
    }

    /// Whether the keys have been believed for long enough without an answer; true once.
    pub fn lets_go(&mut self, now: Timestamp) -> bool {
        let is_over =
            self.has_keys && self.fetched_at.is_some_and(|at| now.duration_since(at) >= KEYS_KEPT_MAX);
        if is_over {
            self.has_keys = false;
        }
        is_over
    }

    /// Somebody has shown a token with a key that is not known.
    pub fn ask(&mut self, now: Timestamp) -> Asked {
        if self.is_fetching || now >= self.next_fetch {
            return Asked::Wait;
        }
        // What failed is tried again by itself, and not oftener because somebody asks.
        let lately = |at: Timestamp| at <= now && now.duration_since(at) < ASKED_FETCH_INTERVAL;
        if self.failures > 0 || self.asked_at.is_some_and(lately) {
            return Asked::NotNow;
        }
        (self.asked_at, self.next_fetch) = (Some(now), now);
        Asked::Wait
    }

    /// How the keys stand.
    pub fn state(&self) -> KeyState {
        KeyState {
            fetched_at: self.fetched_at,
            has_keys: self.has_keys,
            problem: self.problem.clone(),
            fetches: self.fetches,
            fetches_failed: self.fetches_failed,
        }
    }
}

/// How long to wait after one more failure than these.
fn retry_after(failures: u32) -> SignedDuration {
    let doubled = 2_i32.checked_pow(failures).and_then(|factor| RETRY_MIN.checked_mul(factor));
    doubled.unwrap_or(RETRY_MAX).min(RETRY_MAX)
}

fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_772_438_400 + seconds).unwrap()
    }

    fn down() -> Result<(), FetchProblem> {
        Err(FetchProblem("no connection".to_owned()))
    }

    fn with_keys() -> KeyKeeper {
        let mut keeper = KeyKeeper::new(at(0));
        assert!(keeper.begin(at(0)));
        keeper.fetched(at(0), Ok(()));
        keeper
    }

    #[test]
    fn keys_are_fetched_at_the_start_and_again_when_they_are_a_day_old() {
        let mut keeper = with_keys();
        assert!(!keeper.begin(at(1)));
        assert_eq!(keeper.due(at(1)), Some(at(24 * 3600)));
        assert!(keeper.begin(at(24 * 3600)));
        assert!(!keeper.begin(at(24 * 3600)), "one at a time");
        assert_eq!(keeper.due(at(24 * 3600)), None);
    }

    #[test]
    fn kept_keys_count_from_when_they_were_fetched_and_are_fetched_at_once() {
        let mut keeper = KeyKeeper::with_kept(at(0), at(3_600));
        assert!(keeper.state().has_keys && keeper.begin(at(3_600)));
        keeper.fetched(at(3_600), down());
        assert_eq!(keeper.ask(at(3_600)), Asked::NotNow, "what failed is tried again by itself");
        let end = KEYS_KEPT_MAX.as_secs();
        assert!(!keeper.lets_go(at(end - 1)) && keeper.lets_go(at(end)));
        let from_the_future = KeyKeeper::with_kept(at(end), at(0));
        assert_eq!(
            from_the_future.state().fetched_at,
            Some(at(0)),
            "a clock that was set back prolongs nothing"
        );
    }

    #[test]
    fn an_unknown_key_makes_one_fetch_and_the_next_only_five_minutes_later() {
        let mut keeper = with_keys();
        assert_eq!(keeper.ask(at(10)), Asked::Wait);
        assert_eq!(keeper.ask(at(10)), Asked::Wait, "the same fetch");
        assert!(keeper.begin(at(10)));
        assert_eq!(keeper.ask(at(11)), Asked::Wait, "still the same");
        keeper.fetched(at(12), Ok(()));
        assert_eq!(keeper.ask(at(13)), Asked::NotNow);
        assert_eq!(keeper.ask(at(309)), Asked::NotNow);
        assert!(!keeper.begin(at(309)));
        assert_eq!(keeper.ask(at(310)), Asked::Wait);
        assert!(keeper.begin(at(310)));
        assert_eq!(keeper.state().fetches, 3);
    }

    #[test]
    fn what_fails_is_tried_again_less_and_less_often_whoever_asks() {
        let mut keeper = KeyKeeper::new(at(0));
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(keeper.begin(at(now)));
            keeper.fetched(at(now), down());
            assert_eq!(keeper.ask(at(now)), Asked::NotNow);
            let next = keeper.due(at(now)).unwrap();
            waits.push(next.as_second() - at(now).as_second());
            now += waits.last().unwrap();
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(keeper.begin(at(now)));
        keeper.fetched(at(now), Ok(()));
        assert_eq!((keeper.state().problem, keeper.state().fetches_failed), (None, 10));
    }

    #[test]
    fn keys_outlive_an_outage_of_four_days_and_no_longer() {
        let mut keeper = with_keys();
        let (four_days, mut now) = (4 * 24 * 3600, 24 * 3600);
        while now < four_days {
            assert!(!keeper.lets_go(at(now)), "{now}");
            if keeper.begin(at(now)) {
                keeper.fetched(at(now), down());
            }
            now = keeper.due(at(now)).unwrap().as_second() - at(0).as_second();
        }
        assert_eq!(now, four_days, "looked at to the second");
        assert!(keeper.lets_go(at(now)));
        assert!(!keeper.lets_go(at(now)), "once");
        assert!(!keeper.state().has_keys);
        now = keeper.due(at(now)).unwrap().as_second() - at(0).as_second();
        assert!(keeper.begin(at(now)));
        keeper.fetched(at(now), Ok(()));
        assert!(keeper.state().has_keys);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Pass(i64),
        Ask,
        Turn,
        End(bool),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (-100_000_i64..200_000).prop_map(Event::Pass),
            (0_i64..20).prop_map(Event::Pass),
            Just(Event::Ask),
            Just(Event::Turn),
            any::<bool>().prop_map(Event::End),
        ];
        prop::collection::vec(event, 1..200)
    }

    proptest! {
        /// Whatever happens and whatever the clock does: one fetch at a time, no more of them than time and the issuer's
        /// answers allow, however many ask, and the next one never further away than a day.
        #[test]
        fn no_history_makes_a_storm_or_an_end_of_fetching(events in events()) {
            let mut keeper = KeyKeeper::new(at(0));
            let (mut now, mut fetching, mut passed, mut backwards, mut fetches) = (0_i64, false, 0_i64, 0, 0);
            for event in events {
                match event {
                    Event::Pass(seconds) => {
                        now += seconds;
                        passed += seconds.abs();
                        backwards += i64::from(seconds < 0);
                    }
                    Event::Ask => { keeper.ask(at(now)); }
                    Event::Turn => if keeper.begin(at(now)) {
                        prop_assert!(!fetching);
                        (fetching, fetches) = (true, fetches + 1);
                    },
                    Event::End(well) => if fetching {
                        keeper.fetched(at(now), if well { Ok(()) } else { down() });
                        fetching = false;
                    },
                }
                if fetching {
                    prop_assert_eq!(keeper.due(at(now)), None);
                } else {
                    prop_assert!(keeper.due(at(now)).unwrap() <= after(at(now), KEYS_FRESH));
                }
            }
            // At the start, for one who asks, and then at most one in two seconds; a clock set back allows one more.
            prop_assert!(fetches <= 2 + passed / RETRY_MIN.as_secs() + backwards, "{} in {} s", fetches, passed);
        }
    }
}
