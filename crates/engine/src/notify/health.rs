//! Whether an endpoint answers in time, and what is done when it does not: a pure state machine.
//!
//! An endpoint is a scheme, a host and a port: all URLs there share one state. Source: change-notifications §7.

use std::time::Duration;

use presence::Timestamp;

/// The thresholds. Source: change-notifications §7, text of April 2026; the least number of answers from the older text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// How long answers are counted together, how long a slow endpoint's notifications wait, and how long a dropped
    /// endpoint gets none.
    pub window: Duration,
    /// Nothing is judged on fewer answers in a window.
    pub answers_min: u32,
    /// An answer is slow from here on.
    pub slow_from: Duration,
    /// More slow answers than so many of a hundred: the endpoint is slow.
    pub slow_percent: u32,
    /// An answer is beyond the limit of retries from here on.
    pub drop_from: Duration,
    /// More of those than so many of a hundred: notifications for the endpoint are dropped.
    pub drop_percent: u32,
    /// How many notifications of a window are tried at once at an endpoint that is not healthy.
    pub probes_max: u32,
}

/// 10 minutes, 100 answers, 10 % from 3 s, 15 % from 10 s, 5 probes.
impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10 * 60),
            answers_min: 100,
            slow_from: Duration::from_secs(3),
            slow_percent: 10,
            drop_from: Duration::from_secs(10),
            drop_percent: 15,
            probes_max: 5,
        }
    }
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Notifications go at once.
    Healthy,
    /// Notifications wait for a window; a few go at once, as probes.
    Slow,
    /// Notifications are dropped, until a window has passed and probes are answered in time.
    Dropped,
}

/// What to do with a new notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Send it now.
    Now,
    /// Send it now, and see how long it takes.
    Probe,
    /// Send it then.
    At(Timestamp),
    /// Do not send it.
    Drop,
}

/// The health of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    state: State,
    /// When the state was entered.
    since: Timestamp,
    window_started_at: Timestamp,
    answers: u32,
    slow: u32,
    beyond: u32,
    probes: u32,
}

impl Health {
    /// An endpoint nothing is known of.
    pub fn new(now: Timestamp) -> Self {
        let state = State::Healthy;
        Self { state, since: now, window_started_at: now, answers: 0, slow: 0, beyond: 0, probes: 0 }
    }

    /// How it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What to do with a notification that came up at `now`.
    pub fn admit(&mut self, settings: &HealthSettings, now: Timestamp) -> Admission {
        self.turn(settings, now);
        match self.state {
            State::Healthy => Admission::Now,
            State::Dropped if now < after(self.since, settings.window) => Admission::Drop,
            State::Slow | State::Dropped if self.probes < settings.probes_max => {
                self.probes += 1;
                Admission::Probe
            }
            State::Slow => Admission::At(after(now, settings.window)),
            State::Dropped => Admission::Drop,
        }
    }

    /// Takes note of an answer, or of none, after this long.
    pub fn answered(&mut self, settings: &HealthSettings, now: Timestamp, elapsed: Duration) {
        self.turn(settings, now);
        self.answers += 1;
        self.slow += u32::from(elapsed >= settings.slow_from);
        self.beyond += u32::from(elapsed >= settings.drop_from);
        if self.answers < settings.answers_min {
            return;
        }
        if is_more(self.beyond, self.answers, settings.drop_percent) {
            self.enter(State::Dropped, now);
        } else if self.state == State::Healthy && is_more(self.slow, self.answers, settings.slow_percent) {
            self.enter(State::Slow, now);
        }
    }

    /// Closes the window if it is over, and lets go of an endpoint whose answers in it were fast enough.
    fn turn(&mut self, settings: &HealthSettings, now: Timestamp) {
        if now < after(self.window_started_at, settings.window) {
            return;
        }
        let recovers = match self.state {
            State::Healthy => false,
            State::Slow => !is_more(self.slow, self.answers, settings.slow_percent),
            State::Dropped => !is_more(self.beyond, self.answers, settings.drop_percent),
        };
        // Nothing is concluded from silence.
        if recovers && self.answers > 0 {
            self.enter(State::Healthy, now);
        }
        (self.window_started_at, self.answers, self.slow, self.beyond, self.probes) = (now, 0, 0, 0, 0);
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        if self.state != state || state == State::Dropped {
            (self.state, self.since) = (state, now);
            (self.window_started_at, self.answers, self.slow, self.beyond, self.probes) = (now, 0, 0, 0, 0);
        }
    }
}

fn is_more(part: u32, whole: u32, percent: u32) -> bool {
    u64::from(part) * 100 > u64::from(whole) * u64::from(percent)
}

fn after(at: Timestamp, duration: Duration) -> Timestamp {
    at.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: fn() -> HealthSettings = HealthSettings::default;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn answers(health: &mut Health, second: i64, count: u32, elapsed_secs: u64) {
        for _ in 0..count {
            health.answered(&SETTINGS(), at(second), Duration::from_secs(elapsed_secs));
        }
    }

    #[test]
    fn more_than_a_tenth_of_a_hundred_slow_answers_make_an_endpoint_slow() {
        let mut health = Health::new(at(0));
        answers(&mut health, 1, 10, 3);
        answers(&mut health, 2, 90, 1);
        assert_eq!(health.state(), State::Healthy, "a tenth is not more than a tenth");
        answers(&mut health, 3, 1, 3);
        assert_eq!(health.state(), State::Slow);
        let five = (0..5).all(|_| health.admit(&SETTINGS(), at(4)) == Admission::Probe);
        assert!(five && health.admit(&SETTINGS(), at(4)) == Admission::At(at(604)));
    }

    #[test]
    fn ninety_nine_answers_prove_nothing_and_a_new_window_begins_at_nought() {
        let mut health = Health::new(at(0));
        answers(&mut health, 1, 99, 20);
        assert_eq!(health.state(), State::Healthy);
        answers(&mut health, 601, 99, 20);
        assert_eq!(health.state(), State::Healthy);
    }

    #[test]
    fn a_slow_endpoint_is_let_go_when_its_probes_are_fast_and_stays_when_it_is_silent_or_slow() {
        let mut health = Health::new(at(0));
        answers(&mut health, 1, 100, 4);
        assert_eq!((health.state(), health.since()), (State::Slow, at(1)));
        assert_eq!(health.admit(&SETTINGS(), at(700)), Admission::Probe, "silent: still slow");
        answers(&mut health, 701, 2, 4);
        assert_eq!(health.admit(&SETTINGS(), at(1_400)), Admission::Probe, "slow: still slow");
        answers(&mut health, 1_401, 5, 1);
        assert_eq!(health.admit(&SETTINGS(), at(2_010)), Admission::Now);
    }

    #[test]
    fn more_than_fifteen_of_a_hundred_beyond_ten_seconds_and_nothing_is_sent_for_ten_minutes() {
        let mut health = Health::new(at(0));
        answers(&mut health, 1, 16, 10);
        answers(&mut health, 1, 84, 1);
        assert_eq!(health.state(), State::Dropped);
        assert_eq!(health.admit(&SETTINGS(), at(600)), Admission::Drop);
        assert_eq!(health.admit(&SETTINGS(), at(601)), Admission::Probe);
        answers(&mut health, 602, 1, 1);
        assert_eq!(health.admit(&SETTINGS(), at(1_202)), Admission::Now);
    }

    proptest! {
        #[test]
        fn whoever_always_answers_in_time_is_never_delayed(
            steps in proptest::collection::vec((0..2_000_i64, 0..2_999_u64), 1..400),
        ) {
            let mut health = Health::new(at(0));
            let mut now = 0;
            for (wait, millis) in steps {
                now += wait;
                prop_assert_eq!(health.admit(&SETTINGS(), at(now)), Admission::Now);
                health.answered(&SETTINGS(), at(now), Duration::from_millis(millis));
            }
        }

        #[test]
        fn an_endpoint_that_answers_in_time_again_is_healthy_within_three_windows(
            steps in proptest::collection::vec((0..60_i64, 0..20_u64), 1..400),
        ) {
            let mut health = Health::new(at(0));
            let mut now = 0;
            for (wait, secs) in steps {
                now += wait;
                health.answered(&SETTINGS(), at(now), Duration::from_secs(secs));
            }
            for _ in 0..4 {
                now += 600;
                let admission = health.admit(&SETTINGS(), at(now));
                if matches!(admission, Admission::Now | Admission::Probe) {
                    health.answered(&SETTINGS(), at(now), Duration::ZERO);
                }
            }
            prop_assert_eq!(health.state(), State::Healthy);
        }
    }
}
