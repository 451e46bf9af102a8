//! Spans out of the queue, in batches, to a collector.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outbound::{Client, Limits, Request};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Span, Tracer, otlp};

/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long a span waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long the collector may take to answer, and
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// how much it may say.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Attempts of one batch. Meanwhile the queue fills, and then drops.
const ATTEMPTS_MAX: u32 = 4;
/// How long after the first attempt the second is made; twice that for the third.
const RETRY: Duration = Duration::from_secs(1);
/// How long what is left may take at the end.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// Header fields of an operator.
const HEADERS_MAX: usize = 16;

/// Spans on their way from a [`Tracer`].
pub struct Queue(pub(super) mpsc::Receiver<Span>);

/// Where spans go.
pub struct Collector {
    client: Client,
    url: String,
    headers: HeaderMap,
    version: &'static str,
}

/// Not the headers: there may be a key among them.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A line that is no header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not `Name: value`, or there are more than {HEADERS_MAX}")]
pub struct HeadersError(pub usize);

impl Collector {
    /// The collector at `endpoint`, such as `https://collector.example.org:4318`, called by `client` with these header fields,
    /// one a line.
    ///
    /// # Errors
    /// [`HeadersError`].
    pub fn new(
        client: Client,
        endpoint: &str,
        headers: &str,
        version: &'static str,
    ) -> Result<Self, HeadersError> {
        let mut fields = HeaderMap::new();
        for (at, line) in headers.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let field = line.split_once(':').and_then(|(name, value)| {
                let mut value = HeaderValue::from_str(value.trim()).ok()?;
                value.set_sensitive(true);
                Some((name.trim().parse::<HeaderName>().ok()?, value))
            });
            let (name, value) = field.filter(|_| fields.len() < HEADERS_MAX).ok_or(HeadersError(at + 1))?;
            fields.insert(name, value);
        }
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Ok(Self { client, url, headers: fields, version })
    }

    /// Brings spans there once.
    ///
    /// # Errors
    /// Why not, in words, and whether trying again may help.
    pub async fn post(&self, body: bytes::Bytes) -> Result<(), (String, bool)> {
        let request = Request { method: Method::POST, url: &self.url, headers: self.headers.clone(), body };
        let limits = Limits { time: ANSWER_TIMEOUT, response_bytes: ANSWER_BYTES_MAX };
        match self.client.send(request, limits).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            // Source: OTLP/HTTP, "Retryable Response Codes".
            Ok(answer) => {
                Err((answer.status.to_string(), matches!(answer.status.as_u16(), 429 | 502 | 503 | 504)))
            }
            Err(error) => Err((error.to_string(), !matches!(error, outbound::SendError::Forbidden(_)))),
        }
    }

    /// Whether the collector takes an export, of nothing: for whoever wants to know whether it would work.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn examine(&self) -> Result<(), String> {
        self.post(bytes::Bytes::new()).await.map_err(|(why, _)| why)
    }

    async fn export(&self, spans: &[Span], tracer: &Tracer, complaint: &mut Complaint) {
        let body = bytes::Bytes::from(otlp::request(spans, self.version));
        let count = spans.len() as u64;
        let mut wait = RETRY;
        for attempt in 1..=ATTEMPTS_MAX {
            let (why, may_retry) = match self.post(body.clone()).await {
                Ok(()) => {
                    tracer.counts.exported.fetch_add(count, Ordering::Relaxed);
                    complaint.is_made = false;
                    return;
                }
                Err(failure) => failure,
            };
            complaint.make(&why);
            if !may_retry || attempt == ATTEMPTS_MAX {
                break;
            }
            sleep(wait).await;
            wait *= 2;
        }
        tracer.counts.failed.fetch_add(count, Ordering::Relaxed);
    }
}

/// What is wrong is said once, and not with every batch.
#[derive(Default)]
struct Complaint {
    is_made: bool,
}

impl Complaint {
    fn make(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_made, true) {
            tracing::warn!(%why, "the collector of traces does not take them; spans are dropped once the queue is full");
        }
    }
}

/// Exports until `stop` turns true, and then what is left, briefly.
pub(crate) async fn run(
    collector: Collector,
    tracer: Arc<Tracer>,
    mut queue: Queue,
    mut stop: watch::Receiver<bool>,
) {
    let mut complaint = Complaint::default();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            () = fill(&mut queue, &mut batch) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        tokio::select! {
            () = collector.export(&batch, &tracer, &mut complaint) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        batch.clear();
    }
    while batch.len() < BATCH_MAX
        && let Ok(span) = queue.0.try_recv()
    {
        batch.push(span);
    }
    if !batch.is_empty() {
        let _ = timeout(LAST_TIMEOUT, collector.export(&batch, &tracer, &mut complaint)).await;
    }
}

/// Waits for a span, and a moment for more. Cancelling loses none.
async fn fill(queue: &mut Queue, batch: &mut Vec<Span>) {
    while batch.is_empty() {
        if queue.0.recv_many(batch, BATCH_MAX).await == 0 {
            return std::future::pending().await;
        }
    }
    let until = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        if !matches!(timeout_at(until, queue.0.recv_many(batch, room)).await, Ok(1..)) {
            return;
        }
    }
}
