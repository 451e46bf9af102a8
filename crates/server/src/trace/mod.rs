//! Traces: spans of requests, of what they commit, and of the notifications that come of it, for a collector that speaks OTLP.
//!
//! Off unless configured, and then nothing is done here: whoever would make a span finds no [`Tracer`]. On, a span is a value
//! that is put in a queue with a bound when it ends; [`export`] takes batches out and posts them. A queue that is full drops
//! spans and counts them, so that a collector that is slow or gone costs nobody anything.
//!
//! A caller's W3C `traceparent` is continued, and notifications carry one. Nothing in a span names a user.

pub(crate) mod context;
pub mod export;
mod otlp;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{Clock, Ids};
use http::HeaderMap;
use parking_lot::Mutex;
use presence::{SequenceNumber, Timestamp, UserKey};
use tokio::sync::mpsc;

pub(crate) use self::context::SpanContext;

/// Spans waiting for the collector. Ours: some megabytes.
pub const SPANS_QUEUED_MAX: usize = 8_192;
/// Changes of which it is remembered what made them, for the notifications that tell of them.
const ORIGINS_MAX: usize = 8_192;
/// Other changes that a notification's span names.
const LINKS_MAX: usize = 32;

tokio::task_local! {
    /// The span of the request that this task carries out, where it is traced.
    static CURRENT: SpanContext;
}

/// What a span is about. Source: OpenTelemetry, "SpanKind".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A span that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) context: SpanContext,
    parent: Option<SpanContext>,
    links: Vec<SpanContext>,
    pub(crate) name: &'static str,
    kind: Kind,
    started_at: Timestamp,
    ended_at: Timestamp,
    attributes: Vec<(&'static str, Value)>,
    is_error: bool,
}

impl Span {
    pub(crate) fn note(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push((key, value.into()));
    }

    pub(crate) fn number(&mut self, key: &'static str, value: u64) {
        self.attributes.push((key, Value::Number(i64::try_from(value).unwrap_or(i64::MAX))));
    }

    pub(crate) fn failed(&mut self) {
        self.is_error = true;
    }
}

/// Makes spans and hands them to the exporter.
pub struct Tracer {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// Of traces that begin here, those whose random part is below.
    threshold: u64,
    queue: mpsc::Sender<Span>,
    origins: Mutex<Origins>,
    counts: TraceCounts,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct TraceCounts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl TraceCounts {
    /// Outcomes and how many spans had them: exported, no room in the queue, refused or not taken by the collector.
    pub(crate) fn all(&self) -> [(&'static str, u64); 3] {
        [("exported", &self.exported), ("dropped", &self.dropped), ("failed", &self.failed)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// The spans that made changes, oldest first.
#[derive(Default)]
struct Origins {
    spans: HashMap<(UserKey, SequenceNumber), SpanContext>,
    order: VecDeque<(UserKey, SequenceNumber)>,
}

impl Tracer {
    /// A tracer, and the queue for `export::run`. Of the traces that begin here, a part as large as `ratio` is kept; a caller's
    /// own decision counts.
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, ratio: f64) -> (Arc<Self>, export::Queue) {
        let (queue, spans) = mpsc::channel(SPANS_QUEUED_MAX);
        let threshold = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        let tracer = Arc::new(Self {
            clock,
            ids,
            threshold,
            queue,
            origins: Mutex::default(),
            counts: TraceCounts::default(),
        });
        (tracer, export::Queue(spans))
    }

    pub(crate) fn counts(&self) -> &TraceCounts {
        &self.counts
    }

    /// Spans that wait.
    pub(crate) fn queued(&self) -> usize {
        SPANS_QUEUED_MAX - self.queue.capacity()
    }

    /// The span of a request, if it is to be traced: its caller says so, or, where it says nothing, chance.
    pub(crate) fn request(&self, headers: &HeaderMap) -> Option<Span> {
        self.begin("request", Kind::Server, context::of(headers))
    }

    /// The span of a commit, within the request that this task carries out.
    pub(crate) fn commit(&self) -> Option<Span> {
        let parent = CURRENT.try_with(|current| *current).ok()?;
        self.begin("store commit", Kind::Internal, Some(parent))
    }

    /// The span of a POST of notifications, within the request that made its first change, as far as that is remembered.
    pub(crate) fn delivery(&self, changes: impl Iterator<Item = (UserKey, SequenceNumber)>) -> Option<Span> {
        let mut made: Vec<SpanContext> = {
            let origins = self.origins.lock();
            changes.filter_map(|change| origins.spans.get(&change).copied()).take(LINKS_MAX + 1).collect()
        };
        let parent = (!made.is_empty()).then(|| made.remove(0));
        let mut span = self.begin("deliver notifications", Kind::Client, parent)?;
        span.links = made;
        Some(span)
    }

    fn begin(&self, name: &'static str, kind: Kind, parent: Option<SpanContext>) -> Option<Span> {
        let trace = match parent {
            Some(parent) => parent.is_sampled.then_some(parent.trace)?,
            None => {
                let trace = self.ids.guid().as_u128();
                // The upper half has fixed bits of a GUID, the lower all but two random ones.
                ((trace as u64) << 2 <= self.threshold).then_some(trace)?
            }
        };
        let span = (self.ids.guid().as_u128() as u64) << 2 | 1;
        let now = self.clock.now();
        Some(Span {
            context: SpanContext { trace, span, is_sampled: true },
            parent,
            links: Vec::new(),
            name,
            kind,
            started_at: now,
            ended_at: now,
            attributes: Vec::new(),
            is_error: false,
        })
    }

    /// Remembers what makes these changes.
    pub(crate) fn originate(&self, changes: impl Iterator<Item = (UserKey, SequenceNumber)>, span: &Span) {
        let mut origins = self.origins.lock();
        let Origins { spans, order } = &mut *origins;
        for change in changes {
            if spans.insert(change, span.context).is_none() {
                order.push_back(change);
            }
            if order.len() > ORIGINS_MAX
                && let Some(oldest) = order.pop_front()
            {
                spans.remove(&oldest);
            }
        }
    }

    /// Ends a span. It waits for the exporter if there is room, and is dropped otherwise.
    pub(crate) fn end(&self, mut span: Span) {
        span.ended_at = self.clock.now();
        if self.queue.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Carries out a request within its span, if it has one.
pub(crate) async fn within<T>(span: Option<SpanContext>, work: impl Future<Output = T>) -> T {
    match span {
        Some(span) => CURRENT.scope(span, work).await,
        None => work.await,
    }
}

#[cfg(test)]
mod tests {
    use engine::{RandomIds, SystemClock};
    use http::HeaderValue;
    use presence::{TenantId, UserId};

    use super::*;

    fn tracer(ratio: f64) -> (Arc<Tracer>, export::Queue) {
        Tracer::new(Arc::new(SystemClock::new(None)), Arc::new(RandomIds), ratio)
    }

    fn change(number: u64) -> (UserKey, SequenceNumber) {
        let user = UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(2) };
        (user, SequenceNumber(number))
    }

    #[tokio::test]
    async fn a_commit_is_within_its_request_and_a_delivery_within_what_made_its_change() {
        let (tracer, _queue) = tracer(1.0);
        assert_eq!(tracer.commit(), None, "nobody asked for it");
        let request = tracer.request(&HeaderMap::new()).unwrap();
        let commit = within(Some(request.context), async { tracer.commit() }).await.unwrap();
        assert_eq!(commit.parent, Some(request.context));
        tracer.originate([change(7), change(8)].into_iter(), &commit);
        let delivery = tracer.delivery([change(7), change(8), change(9)].into_iter()).unwrap();
        assert_eq!((delivery.parent, &*delivery.links), (Some(commit.context), &[commit.context][..]));
        assert_eq!(delivery.context.trace, request.context.trace);
        assert_eq!(tracer.delivery([change(9)].into_iter()).unwrap().parent, None);
    }

    #[test]
    fn a_callers_decision_counts_and_chance_decides_the_rest() {
        let (all, none, half) = (tracer(1.0).0, tracer(0.0).0, tracer(0.5).0);
        let headers = |flags: &str| {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            HeaderMap::from_iter([("traceparent".parse().unwrap(), HeaderValue::from_str(&text).unwrap())])
        };
        let span = none.request(&headers("01")).unwrap();
        assert_eq!(span.context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(all.request(&headers("00")), None);
        assert_eq!(none.request(&HeaderMap::new()), None);
        let kept = (0..1_000).filter(|_| half.request(&HeaderMap::new()).is_some()).count();
        assert!((400..600).contains(&kept), "{kept}");
    }

    #[test]
    fn a_queue_nobody_empties_drops_and_counts_and_origins_are_forgotten() {
        let (tracer, _queue) = tracer(1.0);
        for number in 0..SPANS_QUEUED_MAX as u64 + 10 {
            let span = tracer.request(&HeaderMap::new()).unwrap();
            tracer.originate([change(number)].into_iter(), &span);
            tracer.end(span);
        }
        assert_eq!(tracer.counts.all()[1], ("dropped", 10));
        assert_eq!(tracer.queued(), SPANS_QUEUED_MAX);
        assert_eq!(tracer.origins.lock().spans.len(), ORIGINS_MAX);
        assert_eq!(tracer.delivery([change(0)].into_iter()).unwrap().parent, None);
    }
}
