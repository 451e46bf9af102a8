//! What is measured, and the page on which Prometheus reads it (OpenMetrics text).
//!
//! A request costs two relaxed additions to counters of its own thread. Whatever exists already, such as the log's end or the
//! store's groups, is read when somebody asks; people are counted by a `census`. The page is served on a listener of its own
//! and needs no token: it names no user, application or tenant.

pub(crate) mod census;
mod count;
mod page;
mod process;
mod store;

use std::time::Duration;

use engine::notify::{Notice, Outcome, Post};
use graph::{OPERATIONS, Operation};
use presence::Timestamp;

pub use page::MetricsPage;
pub use store::{CommitTimes, MeasuredStore};

use self::census::Census;
use self::count::{Counters, Durations, Histogram};
use crate::own;

/// Statuses that are counted by themselves; any other is `other`.
const STATUSES: [u16; 25] = [
    200, 101, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 411, 412, 413, 415, 424, 429, 500,
    501, 502, 503, 504,
];

/// What a request asked for besides the operations of Graph.
const OTHER_KINDS: [&str; 7] = ["admin", "scim", "feed", "own", "health", "issuer", "none"];

/// Everything the server counts while it works.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Counters,
    durations: Durations,
    deliveries: Counters,
    posts: Durations,
    latency: Durations,
    tokens_again: Counters,
    pub(crate) census: Census,
}

/// What becomes of a POST of notifications.
const DELIVERIES: [&str; 3] = ["delivered", "failed", "timed_out"];

impl Metrics {
    pub(crate) fn new() -> Self {
        let kinds = OPERATIONS.len() + OTHER_KINDS.len();
        Self {
            requests: Counters::new(kinds * (STATUSES.len() + 1)),
            durations: Durations::new(kinds),
            deliveries: Counters::new(DELIVERIES.len()),
            posts: Durations::new(1),
            latency: Durations::new(1),
            tokens_again: Counters::new(1),
            census: Census::default(),
        }
    }

    /// Counts a request that was answered. Of one that goes on, the time to its head counts.
    pub(crate) fn request(&self, path: &str, operation: Option<Operation>, status: u16, took: Duration) {
        let kind = kind(path, operation);
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        self.requests.add(kind * (STATUSES.len() + 1) + status, 1);
        self.durations.observe(kind, took);
    }

    /// Counts a POST of notifications, and how long after they happened the changes it tells of were told at `now`.
    pub(crate) fn delivery(&self, post: &Post, outcome: &Outcome, took: Duration, now: Timestamp) {
        let position = match outcome {
            Outcome::Delivered { .. } => 0,
            Outcome::Failed { .. } => 1,
            Outcome::TimedOut => 2,
        };
        self.deliveries.add(position, 1);
        self.posts.observe(0, took);
        if position > 0 {
            return;
        }
        for item in &post.items {
            if let Notice::Change { change, .. } = &item.notice {
                self.latency
                    .observe(0, Duration::try_from(now.duration_since(change.at)).unwrap_or_default());
            }
        }
    }

    fn deliveries(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DELIVERIES.into_iter().enumerate().map(|(position, name)| (name, self.deliveries.sum(position)))
    }

    /// Counts a token that is the last one of its connection.
    pub(crate) fn token_again(&self) {
        self.tokens_again.add(0, 1);
    }

    fn tokens_again(&self) -> u64 {
        self.tokens_again.sum(0)
    }

    /// Requests so far: what was asked for, the status, how many; those that never happened left out.
    fn requests(&self) -> Vec<(&'static str, Option<u16>, u64)> {
        let statuses = || STATUSES.map(Some).into_iter().chain([None]).enumerate();
        let counts = kinds().enumerate().flat_map(|(kind, name)| {
            let count = move |position| self.requests.sum(kind * (STATUSES.len() + 1) + position);
            statuses().map(move |(position, status)| (name, status, count(position)))
        });
        counts.filter(|(.., count)| *count > 0).collect()
    }

    fn durations(&self) -> Vec<(&'static str, Histogram)> {
        let all = kinds().enumerate().map(|(kind, name)| (name, self.durations.histogram(kind)));
        all.filter(|(_, histogram)| histogram.count > 0).collect()
    }
}

/// The label of what a request asked for.
pub(crate) fn kind_name(path: &str, operation: Option<Operation>) -> &'static str {
    kinds().nth(kind(path, operation)).unwrap_or_default()
}

/// The label of every position.
fn kinds() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|row| row.name).chain(OTHER_KINDS)
}

/// What a request asked for, as a position.
fn kind(path: &str, operation: Option<Operation>) -> usize {
    let other = |name: &str| {
        OPERATIONS.len() + OTHER_KINDS.iter().position(|it| *it == name).unwrap_or(OTHER_KINDS.len() - 1)
    };
    if let Some(rest) = own::strip_root(path) {
        return other(match rest.split('/').next().unwrap_or_default() {
            "admin" => "admin",
            "scim" => "scim",
            "presences" => "feed",
            _ => "own",
        });
    }
    match operation {
        Some(operation) => operation.row_number(),
        None if path == "/healthz" || path == "/readyz" => other("health"),
        None if path.contains("/oauth2/")
            || path.contains("/.well-known/")
            || path.contains("/discovery/") =>
        {
            other("issuer")
        }
        None => other("none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_what_it_asked_for_and_its_status() {
        let metrics = Metrics::new();
        let took = Duration::from_millis(2);
        let read = Some(Operation::GetPresence);
        metrics.request("/v1.0/me/presence", read, 200, took);
        metrics.request("/v1.0/me/presence", read, 200, took);
        metrics.request("/_presenced/v1/users/x/presence/explanation", read, 404, took);
        metrics.request("/_presenced/v1/presences/stream", None, 101, took);
        metrics.request("/t/oauth2/v2.0/token", None, 200, took);
        metrics.request("/nothing", None, 418, took);
        let counted = metrics.requests();
        let expected = [
            (Operation::GetPresence.name(), Some(200), 2),
            ("feed", Some(101), 1),
            ("own", Some(404), 1),
            ("issuer", Some(200), 1),
            ("none", None, 1),
        ];
        assert_eq!(counted, expected);
        let durations = metrics.durations();
        assert_eq!(durations[0].1.count, 2);
        assert_eq!(durations.iter().map(|(_, histogram)| histogram.count).sum::<u64>(), 6);
    }

    #[test]
    fn no_two_positions_have_one_name() {
        let names: Vec<_> = kinds().collect();
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}
