//! A store that measures how long its callers wait for what they write, and makes that a span where a request is traced.

use std::sync::Arc;

use async_trait::async_trait;
use presence::{Timestamp, UserKey};
use store::{
    Asked, Commit, Document, DocumentKind, Glances, LogRead, Position, Revise, Revised, Shared, Status,
    Store, StoreError, Stored, Version, Visit,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::count::{Durations, Histogram};
use crate::trace::Tracer;

/// A store, and how long its commits took.
pub struct MeasuredStore {
    inner: Arc<dyn Store>,
    commits: Arc<CommitTimes>,
    tracer: Option<Arc<Tracer>>,
}

/// How long callers waited until what they wrote was durable: refused writes too.
#[derive(Debug)]
pub struct CommitTimes(Durations);

impl CommitTimes {
    pub(super) fn histogram(&self) -> Histogram {
        self.0.histogram(0)
    }
}

impl MeasuredStore {
    /// Measures a store; the times are for [`MetricsPage`](super::MetricsPage), spans of commits for the tracer.
    pub fn new(inner: Arc<dyn Store>, tracer: Option<Arc<Tracer>>) -> (Self, Arc<CommitTimes>) {
        let commits = Arc::new(CommitTimes(Durations::new(1)));
        (Self { inner, commits: commits.clone(), tracer }, commits)
    }

    async fn timed<T>(&self, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.await;
        self.commits.0.observe(0, started.elapsed());
        done
    }
}

#[async_trait]
impl Store for MeasuredStore {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        self.inner.load(users).await
    }

    fn visit(&self, users: &[UserKey], visit: &mut Visit<'_>) -> Option<Result<(), StoreError>> {
        self.inner.visit(users, visit)
    }

    fn glance(&self, asked: &[Asked<'_>], glance: &mut Glances<'_>) -> Option<Result<(), StoreError>> {
        self.inner.glance(asked, glance)
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        let begun = self.tracer.as_ref().and_then(|tracer| Some((tracer, tracer.commit()?)));
        let Some((tracer, mut span)) = begun else { return self.timed(self.inner.commit(commit)).await };
        span.number("presenced.changes", commit.changes.len() as u64);
        // Before they are there to be told.
        let (user, changes) = (commit.user, commit.changes.iter());
        tracer.originate(changes.map(|change| (user, change.sequence_number)), &span);
        let done = self.timed(self.inner.commit(commit)).await;
        match &done {
            Err(StoreError::Conflict) => span.note("presenced.outcome", "conflict"),
            Err(_) => span.failed(),
            Ok(_) => {}
        }
        tracer.end(span);
        done
    }

    async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Version, StoreError>> {
        self.timed(self.inner.commit_all(commits)).await
    }

    async fn revise(&self, users: &[UserKey], revise: &mut Revise<'_>) -> Result<Revised, StoreError> {
        self.timed(self.inner.revise(users, revise)).await
    }

    async fn revise_due(
        &self,
        now: Timestamp,
        max: usize,
        revise: &mut Revise<'_>,
    ) -> Result<Revised, StoreError> {
        self.timed(self.inner.revise_due(now, max, revise)).await
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        self.inner.due(now, max).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_wake().await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.latest().await
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        self.inner.read_log(after, max).await
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.inner.log_end()
    }

    async fn log_now(&self) -> Result<Position, StoreError> {
        self.inner.log_now().await
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.trim_log(now).await
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        self.inner.documents(kind).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        self.timed(self.inner.put_documents(documents)).await
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.inner.shared()
    }

    fn status(&self) -> Option<Status> {
        self.inner.status()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
