//! The application behind the sockets: takes a request apart, asks the right part, and puts the answer together.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use engine::notify::Notifier;
use engine::{Clock, Engine, Ids};
use futures_util::FutureExt;
use graph::{Grant, GraphError, Method, Operation, Profile};
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use identity::{Issuer, LastToken, Publisher, Verifier};
use presence::{TenantId, UserId};
use store::DocumentChanges;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::api::subscriptions::SubscriptionRules;
use crate::api::{BodySource, Call, Facts, Visitor};
use crate::dashboard::Dashboard;
use crate::directory::{Directory, after_changes};
use crate::emulator::Emulator;
use crate::feed::{FeedReply, POSITION_KEY_BYTES, PositionSeal};
use crate::history::HistoryReaders;
use crate::http::connection::{Handler, Peer};
use crate::http::error::Refusal;
use crate::http::overload::Bounds;
use crate::http::reply::{CLIENT_REQUEST_ID, Envelope, Heads, Reply, ResponseBody, full, in_full};
use crate::http::{cors, encode};
use crate::issuing::EmbeddedIssuers;
use crate::journal::Exchange;
use crate::limits::{CLIENT_REQUEST_ID_CHARS_MAX, FEEDS_MAX};
use crate::metrics::{self, Metrics};
use crate::throttle::Throttle;
use crate::trace::{self, Span, Tracer};
use crate::trust::ForeignKeys;

/// Everything a server is made of. Whoever builds it decides what it runs on.
pub struct Parts {
    /// The steps, over a store and the domain's clock.
    pub engine: Arc<Engine>,
    /// The machine's time, by which tokens live, whatever the domain's clock says.
    pub wall_clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub ids: Arc<dyn Ids>,
    /// Whose tokens are accepted.
    pub verifier: Verifier,
    /// The keys of the foreign issuers among them.
    pub foreign_keys: ForeignKeys,
    /// The embedded issuers.
    pub issuers: EmbeddedIssuers,
    /// Signs what tells receivers that notifications come from here.
    pub publisher: Publisher,
    /// Users and applications.
    pub directory: Directory,
    /// How many requests an application may make.
    pub throttle: Throttle,
    /// How far the server goes beyond what the reference documents.
    pub profile: Profile,
    /// The tenant whose administrators may manage tenants; `None`: nobody may.
    pub host_tenant: Option<TenantId>,
    /// What makes an emulator of the server; `None` in production.
    pub emulator: Option<Emulator>,
    /// Scheme and host by which clients know the server; `None`: whatever each request says.
    pub public_url: Option<String>,
    /// Seals positions of the log. Kept as long as the log is, so that clients can come back after a restart.
    pub position_key: [u8; POSITION_KEY_BYTES],
    /// Turns true when the server stops: what would go on for ever ends then.
    pub stop: watch::Receiver<bool>,
    /// Who is told of changes.
    pub notifier: Arc<Notifier>,
    /// What subscriptions may be like.
    pub subscription_rules: SubscriptionRules,
    /// Calls endpoints.
    pub outbound: outbound::Client,
    /// The page for people.
    pub dashboard: Dashboard,
    /// Who makes traces; `None`: nobody.
    pub tracer: Option<Arc<Tracer>>,
    /// Who sees whose past, where the engine keeps a history.
    pub history_readers: HistoryReaders,
}

/// The application: see [`Parts`].
pub struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) wall_clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) verifier: Verifier,
    pub(crate) foreign_keys: ForeignKeys,
    pub(crate) issuers: EmbeddedIssuers,
    pub(crate) publisher: Publisher,
    directory: ArcSwap<Directory>,
    /// Held while a change of the directory is made from the one before.
    pub(crate) directory_change: tokio::sync::Mutex<()>,
    pub(crate) throttle: Throttle,
    pub(crate) profile: Profile,
    pub(crate) host_tenant: Option<TenantId>,
    pub(crate) emulator: Option<Emulator>,
    public_url: Option<String>,
    heads: Heads,
    /// What is counted.
    pub(crate) metrics: Metrics,
    pub(crate) position_seal: PositionSeal,
    /// The places for feeds.
    pub(crate) feeds: Arc<Semaphore>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) subscription_rules: SubscriptionRules,
    pub(crate) outbound: outbound::Client,
    dashboard: Dashboard,
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(crate) history_readers: HistoryReaders,
    bounds: Bounds,
}

impl App {
    /// The same server, which serves so much at a time.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Puts a server together.
    pub fn new(parts: Parts) -> Self {
        // Of a static text: copies of it count no references.
        static DIAGNOSTIC: LazyLock<String> = LazyLock::new(|| graph::headers::diagnostic("presenced"));
        let diagnostic = HeaderValue::from_maybe_shared(Bytes::from_static(DIAGNOSTIC.as_bytes()));
        Self {
            engine: parts.engine,
            wall_clock: parts.wall_clock,
            ids: parts.ids,
            verifier: parts.verifier,
            foreign_keys: parts.foreign_keys,
            issuers: parts.issuers,
            publisher: parts.publisher,
            directory: ArcSwap::from_pointee(parts.directory),
            directory_change: tokio::sync::Mutex::default(),
            throttle: parts.throttle,
            profile: parts.profile,
            host_tenant: parts.host_tenant,
            emulator: parts.emulator,
            public_url: parts.public_url.map(|url| url.trim_end_matches('/').to_owned()),
            position_seal: PositionSeal::new(&parts.position_key),
            feeds: Arc::new(Semaphore::new(FEEDS_MAX)),
            stop: parts.stop,
            notifier: parts.notifier,
            subscription_rules: parts.subscription_rules,
            outbound: parts.outbound,
            dashboard: parts.dashboard,
            tracer: parts.tracer,
            history_readers: parts.history_readers,
            bounds: Bounds::default(),
            metrics: Metrics::new(),
            heads: Heads::new(diagnostic.unwrap_or_else(|_| HeaderValue::from_static("{}"))),
        }
    }

    /// Users and applications as they are now.
    pub fn directory(&self) -> Guard<Arc<Directory>> {
        self.directory.load()
    }

    /// Replaces users and applications. Requests in flight finish with the old ones.
    pub fn replace_directory(&self, directory: Directory) {
        self.directory.store(Arc::new(directory));
    }

    /// Takes over what other processes have changed of the directory.
    pub(crate) async fn follow_directory(&self, declared: &Directory, changes: DocumentChanges) {
        let _turn = self.directory_change.lock().await;
        let before = self.directory().clone();
        match after_changes(&before, declared, &changes, self.engine.store().as_ref()).await {
            Ok(directory) => self.replace_directory(directory),
            Err(error) => {
                tracing::warn!(%error, "what other nodes have changed of the directory is of no use here");
            }
        }
    }

    /// Whether a caller may do this to `target`, in the server's profile.
    ///
    /// # Errors
    /// As [`graph::Row::authorize`].
    pub(crate) fn authorize(
        &self,
        operation: Operation,
        grant: &Grant,
        target: Option<UserId>,
    ) -> Result<(), GraphError> {
        self.profile.authorize(operation.row(), grant, target)
    }

    /// Whether pages from there may read answers: in an emulator those of this machine, and everywhere those that an
    /// application has registered.
    fn welcomes(&self, origin: &str) -> bool {
        let directory = self.directory();
        let mut applications = directory.tenants().flat_map(|(_, tenant)| tenant.applications.values());
        self.emulator.is_some() && cors::is_loopback(origin)
            || applications.any(|application| application.has_page_at(origin))
    }

    fn origin(&self, request: &Request<Incoming>, peer: Peer) -> Cow<'_, str> {
        if let Some(url) = &self.public_url {
            return url.into();
        }
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let host = authority.or_else(|| request.headers().get(HOST)?.to_str().ok());
        let host = host
            .filter(|host| host.bytes().all(is_host_byte))
            .map_or_else(|| peer.local.to_string(), str::to_owned);
        format!("{}://{host}", if peer.tls { "https" } else { "http" }).into()
    }
}

/// What is remembered of a connection: the last token it showed, and whom it stands for.
#[derive(Debug, Default)]
pub struct Remembered(LastToken<Visitor>);

/// Where the OpenAPI description of the Graph side is.
const OPENAPI_PATH: &str = "/openapi.json";

/// What can stand in a host and port; anything else would end up in links.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)
}

impl Handler for App {
    type Memory = Remembered;

    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        Remembered(last): &Remembered,
    ) -> Response<ResponseBody> {
        let started = tokio::time::Instant::now();
        let origin = self.origin(&request, peer);
        let mut request_id = Uuid::encode_buffer();
        let request_id: &str = self.ids.guid().as_hyphenated().encode_lower(&mut request_id);
        let (mut head, body) = request.into_parts();
        let client_request_id = client_request_id(&head.headers).map(str::to_owned);
        let envelope = Envelope {
            request_id,
            client_request_id: client_request_id.as_deref(),
            heads: &self.heads,
            origin: &origin,
            tls: peer.tls,
            date: self.wall_clock.now(),
        };
        let mut facts = Facts::default();
        let page = cors::welcome_origin(&head.headers, |origin| self.welcomes(origin));
        let preflight = page.as_ref().and_then(|_| cors::preflight(&head.method, &head.headers));
        if let Some(mut response) = preflight {
            cors::share(&mut response, page);
            log(request_id, &head.method, response.status(), facts, None, started.elapsed());
            return response;
        }
        let mut source = BodySource::Stream(body);
        let span = self.tracer.as_ref().and_then(|tracer| tracer.request(&head.headers));
        let (mut response, cause) = {
            // Pinned where it is made: it holds everything a request needs, which is long to move.
            let answer = pin!(self.answer(&mut head, &mut source, peer, &envelope, last, &mut facts));
            let answered = AssertUnwindSafe(trace::within(span.as_ref().map(|span| span.context), answer));
            match answered.catch_unwind().await {
                Ok(answer) => answer,
                // A defect of ours: the caller gets an answer, the log the panic, and everybody else is not concerned.
                Err(_) => (envelope.failure(&GraphError::internal()), Some("a panic".to_owned())),
            }
        };
        self.record(&head, &response);
        self.note(&head, &source, &response, request_id, facts, started);
        encode::compress(&head.headers, &mut response);
        if head.headers.contains_key(http::header::ORIGIN) {
            cors::share(&mut response, page);
        }
        if head.method == http::Method::HEAD {
            *response.body_mut() = full(Bytes::new());
        }
        let took = started.elapsed();
        self.metrics.request(head.uri.path(), facts.operation, response.status().as_u16(), took);
        if let (Some(tracer), Some(mut span)) = (&self.tracer, span) {
            describe(&mut span, &head, response.status(), facts, request_id);
            tracer.end(span);
        }
        log(request_id, &head.method, response.status(), facts, cause, took);
        response
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Health checks are answered; everybody else may come again. Counted and not logged: there are too many of them.
    async fn turn_away(self: &Arc<Self>, request: &Request<Incoming>, peer: Peer) -> Response<ResponseBody> {
        let started = tokio::time::Instant::now();
        let (path, request_id) = (request.uri().path(), self.ids.guid().to_string());
        let origin = self.origin(request, peer);
        let envelope = Envelope {
            request_id: &request_id,
            client_request_id: client_request_id(request.headers()),
            heads: &self.heads,
            origin: &origin,
            tls: peer.tls,
            date: self.wall_clock.now(),
        };
        let response = match self.health(path).await {
            Some(reply) => envelope.success(reply),
            None => envelope.failure(&self.bounds.refusal.error()),
        };
        self.metrics.request(path, None, response.status().as_u16(), started.elapsed());
        response
    }
}

impl App {
    async fn answer(
        self: &Arc<Self>,
        head: &mut http::request::Parts,
        source: &mut BodySource,
        peer: Peer,
        envelope: &Envelope<'_>,
        last: &LastToken<Visitor>,
        facts: &mut Facts,
    ) -> (Response<ResponseBody>, Option<String>) {
        // The rest of what there is waits for longer things, and is kept out of what every request has to carry.
        if !is_graph_path(head.uri.path())
            && let Some(answer) = Box::pin(self.answer_own(head, source, peer, envelope, facts)).await
        {
            return answer;
        }
        let call = Call {
            origin: envelope.origin,
            request_id: envelope.request_id,
            method: Method::parse(head.method.as_str()),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            body: source,
            is_part: false,
        };
        let outcome = self.call(call, last, envelope.date, facts).await;
        // What a client is still sending must not keep it from reading the answer.
        source.drain().await;
        match outcome {
            Ok(reply) => (envelope.success(reply), None),
            Err(Refusal { error, cause, .. }) => (envelope.failure(&error), cause),
        }
    }

    /// Answers what is not below a version of Graph; `None` when that is nothing of ours either.
    async fn answer_own(
        self: &Arc<Self>,
        head: &mut http::request::Parts,
        source: &mut BodySource,
        peer: Peer,
        envelope: &Envelope<'_>,
        facts: &mut Facts,
    ) -> Option<(Response<ResponseBody>, Option<String>)> {
        if let Some(response) = self.dashboard.respond(head) {
            source.drain().await;
            return Some((response, None));
        }
        if let Some(resource) = crate::own::feed_resource(head) {
            return Some(match self.watch(resource, head, facts).await {
                Ok(FeedReply::Reply(reply)) => (envelope.success(reply), None),
                Ok(FeedReply::Upgrade(response)) => (response, None),
                Err(Refusal { error, cause, .. }) => (envelope.failure(&error), cause),
            });
        }
        let head = &*head;
        let path = head.uri.path();
        let outcome = if let Some(rest) = crate::own::strip_root(path) {
            self.own(rest, head, source, envelope.origin, peer, facts).await
        } else if let Some(reply) = self.health(path).await {
            Ok(reply)
        } else if path == OPENAPI_PATH && head.method == http::Method::GET {
            Ok(Reply::content("application/json", graph::openapi::document()))
        } else {
            let response = self.issue(head, source, envelope.origin).await?;
            source.drain().await;
            return Some((response, None));
        };
        source.drain().await;
        Some(match outcome {
            Ok(reply) => (envelope.success(reply), None),
            Err(Refusal { error, cause, scim_type }) if crate::own::is_scim(path) => {
                (envelope.scim_failure(&error, scim_type), cause)
            }
            Err(Refusal { error, cause, .. }) => (envelope.failure(&error), cause),
        })
    }

    /// Keeps the exchange, where an emulator has a recorder.
    fn record(&self, head: &http::request::Parts, response: &Response<ResponseBody>) {
        let recorder = self.emulator.as_ref().and_then(|emulator| emulator.recorder.as_ref());
        if let Some(recorder) = recorder.filter(|_| is_graph_path(head.uri.path())) {
            let body = in_full(response.body());
            recorder.record(head, response.status(), response.headers(), body.as_ref());
        }
    }

    /// Notes the exchange in an emulator's journal.
    fn note(
        &self,
        head: &http::request::Parts,
        source: &BodySource,
        response: &Response<ResponseBody>,
        request_id: &str,
        facts: Facts,
        started: tokio::time::Instant,
    ) {
        let Some(emulator) = self.emulator.as_ref().filter(|_| is_graph_path(head.uri.path())) else {
            return;
        };
        let outcome = response.headers().get(graph::headers::OUTCOME).and_then(|value| value.to_str().ok());
        emulator.journal.note(&Exchange {
            at: self.wall_clock.now(),
            method: head.method.as_str(),
            path: head.uri.path_and_query().map_or(head.uri.path(), |path| path.as_str()),
            request_id,
            app: facts.app,
            request_body: &source.was_read(),
            status: response.status().as_u16(),
            took: started.elapsed(),
            outcome,
            response_body: in_full(response.body()),
        });
    }

    /// `/healthz`: the process answers. `/readyz`: the store does.
    async fn health(&self, path: &str) -> Option<Reply> {
        let ready = match path {
            "/healthz" => true,
            "/readyz" => self.engine.store().next_wake().await.is_ok(),
            _ => return None,
        };
        let (status, text) = if ready {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
        };
        Some(Reply { status, ..Reply::content("text/plain; charset=utf-8", text) })
    }

    /// The paths of the embedded issuers, and of the keys of notifications.
    async fn issue(
        &self,
        head: &http::request::Parts,
        source: &mut BodySource,
        origin: &str,
    ) -> Option<Response<ResponseBody>> {
        if !Issuer::answers(head.uri.path()) {
            return None;
        }
        let bytes = match head.method {
            http::Method::POST => source.read(&head.headers).await.ok()?,
            _ => Bytes::new(),
        };
        Some(crate::issuing::respond(self, head, &bytes, origin)?.map(Either::Left))
    }
}

fn is_graph_path(path: &str) -> bool {
    let path = path.trim_start_matches('/').as_bytes();
    [graph::path::Root::V1, graph::path::Root::Beta].iter().any(|root| {
        let (version, rest) = path.split_at_checked(root.as_str().len()).unwrap_or_default();
        version.eq_ignore_ascii_case(root.as_str().as_bytes()) && matches!(rest, [] | [b'/', ..])
    })
}

fn client_request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(CLIENT_REQUEST_ID)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= CLIENT_REQUEST_ID_CHARS_MAX).then_some(id)
}

/// What a trace says of a request: what the log says, and nothing about people.
fn describe(
    span: &mut Span,
    head: &http::request::Parts,
    status: StatusCode,
    facts: Facts,
    request_id: &str,
) {
    span.name = metrics::kind_name(head.uri.path(), facts.operation);
    span.note("http.request.method", head.method.as_str());
    span.number("http.response.status_code", u64::from(status.as_u16()));
    span.note("presenced.request_id", request_id);
    for (key, id) in [
        ("presenced.tenant", facts.tenant.map(|tenant| tenant.to_string())),
        ("presenced.application", facts.app.map(|app| app.to_string())),
    ] {
        if let Some(id) = id {
            span.note(key, id.as_str());
        }
    }
    if status.is_server_error() {
        span.failed();
    }
}

fn log(
    request_id: &str,
    method: &http::Method,
    status: StatusCode,
    facts: Facts,
    cause: Option<String>,
    duration: std::time::Duration,
) {
    use tracing::field::display;

    let operation = facts.operation.map_or("-", Operation::name);
    // Formatted only where a line is written: nobody may listen.
    let (app, tenant) = (facts.app.map(display), facts.tenant.map(display));
    let (status, duration_ms) = (status.as_u16(), duration.as_secs_f64() * 1_000.0);
    if status >= 500 {
        let cause = cause.unwrap_or_default();
        tracing::error!(request_id, %method, operation, app, tenant, status, duration_ms, cause, "request failed");
    } else if let Some(cause) = cause {
        tracing::info!(request_id, %method, operation, app, tenant, status, duration_ms, cause, "request refused");
    } else {
        tracing::info!(request_id, %method, operation, app, tenant, status, duration_ms, "request");
    }
}
