//! The page itself: every name, once.

use std::fmt;
use std::sync::Arc;

use engine::EngineError;
use engine::notify::Standing;
use graph::words::AVAILABILITIES;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use presence::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::CommitTimes;
use super::count::Histogram;
use super::process::Process;
use crate::app::App;
use crate::http::connection::{Handler, Peer};
use crate::http::reply::{ResponseBody, full};
use crate::limits::FEEDS_MAX;
use crate::mqtt::{Bridge, BridgeStatus, Outcome};
use crate::trace::TraceCounts;

/// The path of the page.
const METRICS_PATH: &str = "/metrics";

/// The media type of OpenMetrics text, which Prometheus asks for first.
const CONTENT_TYPE_OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Answers `GET /metrics`, on a listener of its own.
pub struct MetricsPage {
    app: Arc<App>,
    commits: Option<Arc<CommitTimes>>,
    version: &'static str,
    started_at: Timestamp,
    bridges: Vec<Arc<Bridge>>,
}

impl MetricsPage {
    /// The page of an application of this version, which starts now.
    pub fn new(app: Arc<App>, commits: Option<Arc<CommitTimes>>, version: &'static str) -> Self {
        let started_at = app.wall_clock.now();
        Self { app, commits, version, started_at, bridges: Vec::new() }
    }

    /// The same page, with what these bridges do.
    #[must_use]
    pub fn with_bridges(mut self, bridges: Vec<Arc<Bridge>>) -> Self {
        self.bridges = bridges;
        self
    }

    /// The text of the page.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn text(&self) -> Result<String, EngineError> {
        let now = self.app.engine.clock().now();
        let next_wake = self.app.engine.store().next_wake().await?;
        let late = next_wake.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
        let reading = Reading {
            app: self.app.clone(),
            commits: self.commits.as_ref().map(|commits| commits.histogram()),
            version: self.version,
            started_at: self.started_at,
            ticker_lag: late,
            bridges: self.bridges.iter().map(|bridge| bridge.status()).collect(),
            process: Process::look(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(reading));
        let mut page = String::with_capacity(16 * 1024);
        // Writing to a String does not fail.
        let _ = text::encode(&mut page, &registry);
        Ok(page)
    }
}

impl Handler for MetricsPage {
    type Memory = ();

    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        _peer: Peer,
        _memory: &(),
    ) -> Response<ResponseBody> {
        let answer = |status, body: String| {
            let mut response = Response::new(full(body));
            *response.status_mut() = status;
            let fields = response.headers_mut();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        };
        if request.uri().path() != METRICS_PATH {
            return answer(StatusCode::NOT_FOUND, format!("the only page here is {METRICS_PATH}\n"));
        }
        if request.method() != http::Method::GET {
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        match self.text().await {
            Ok(page) => {
                let mut response = answer(StatusCode::OK, page);
                response.headers_mut().insert(CONTENT_TYPE, CONTENT_TYPE_OPENMETRICS);
                response
            }
            Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        }
    }
}

/// What one page says.
struct Reading {
    app: Arc<App>,
    commits: Option<Histogram>,
    version: &'static str,
    started_at: Timestamp,
    ticker_lag: f64,
    bridges: Vec<BridgeStatus>,
    process: Process,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Writer(encoder);
        self.requests(&mut page)?;
        self.people(&mut page)?;
        self.store(&mut page)?;
        self.notifications(&mut page)?;
        self.brokers(&mut page)?;
        self.traces(&mut page)?;
        self.rest(&mut page)
    }
}

impl Reading {
    fn requests(&self, page: &mut Writer<'_>) -> fmt::Result {
        let requests = self.app.metrics.requests().into_iter().map(|(operation, status, count)| {
            let status = status.map_or_else(|| "other".to_owned(), |status| status.to_string());
            (Some([("operation", operation.to_owned()), ("status", status)]), count)
        });
        page.counters("presenced_requests", "Requests answered, by what was asked for and status", requests)?;
        let durations = self.app.metrics.durations();
        let durations =
            durations.iter().map(|(operation, histogram)| (Some([("operation", *operation)]), histogram));
        page.histograms(
            "presenced_request_duration_seconds",
            "Time from the head of a request to its answer",
            durations,
        )?;
        let feeds = FEEDS_MAX - self.app.feeds.available_permits();
        page.gauge(
            "presenced_feeds",
            "Change feeds open: streams, sockets and waiting requests",
            feeds as u64,
        )?;
        let verified = self.app.verifier.remembrance();
        let hits = verified.hits + self.app.metrics.tokens_again();
        page.counter("presenced_token_cache_hits", "Tokens found verified already", hits)?;
        page.counter("presenced_token_cache_misses", "Tokens that had to be verified", verified.misses)?;
        page.gauge("presenced_token_cache_entries", "Verified tokens remembered", verified.entries as u64)?;
        let states = self.app.foreign_keys.states();
        let now = self.app.wall_clock.now();
        let of = |issuer: &str| Some([("issuer", issuer.to_owned())]);
        let ages = states.iter().filter_map(|(issuer, state)| {
            let age = now.duration_since(state.fetched_at?).as_secs().max(0).cast_unsigned();
            Some((of(issuer), age))
        });
        page.gauges(
            "presenced_issuer_keys_age_seconds",
            "Time since an issuer last answered with keys",
            ages,
        )?;
        let usable = states.iter().map(|(issuer, state)| (of(issuer), u64::from(state.has_keys)));
        page.gauges(
            "presenced_issuer_keys_usable",
            "Whether there are keys to believe an issuer's tokens by",
            usable,
        )?;
        let fetches = states.iter().map(|(issuer, state)| (of(issuer), state.fetches));
        page.counters("presenced_issuer_fetches", "Fetches of an issuer's keys", fetches)?;
        let failed = states.iter().map(|(issuer, state)| (of(issuer), state.fetches_failed));
        page.counters("presenced_issuer_fetches_failed", "Those that failed", failed)
    }

    fn people(&self, page: &mut Writer<'_>) -> fmt::Result {
        let directory = self.app.directory();
        let users: usize = directory.tenants().map(|(_, tenant)| tenant.users().len()).sum();
        page.gauge("presenced_directory_users", "Users in the directory", users as u64)?;
        page.gauge("presenced_directory_tenants", "Tenants", directory.tenants().len() as u64)?;
        let Some(count) = self.app.metrics.census.last() else { return Ok(()) };
        let users = AVAILABILITIES.iter().zip(count.users).map(|(availability, users)| {
            (Some([("availability", graph::words::availability(*availability))]), users)
        });
        page.gauges("presenced_users", "Users by availability, at the last census", users)?;
        page.gauge("presenced_sessions", "Live presence sessions, at the last census", count.sessions)?;
        page.gauge(
            "presenced_users_out_of_office",
            "Users out of office, at the last census",
            count.out_of_office,
        )?;
        let at = count.at.as_second();
        page.gauge("presenced_census_timestamp_seconds", "When the last census was finished", at)?;
        page.gauge("presenced_census_duration_seconds", "How long it took", count.took.as_secs_f64())
    }

    fn store(&self, page: &mut Writer<'_>) -> fmt::Result {
        let store = self.app.engine.store();
        page.gauge(
            "presenced_log_position",
            "Position of the last visible change",
            store.log_end().borrow().0,
        )?;
        page.gauge(
            "presenced_ticker_lag_seconds",
            "How long ago the earliest user was due who is not settled yet; at most a second too much",
            self.ticker_lag,
        )?;
        if let Some(commits) = &self.commits {
            page.histograms(
                "presenced_store_commit_seconds",
                "How long callers waited until what they wrote was durable",
                std::iter::once((ALONE, commits)),
            )?;
        }
        if let Some(shared) = store.shared() {
            let leases = shared.leases().borrow().clone();
            let (held, buckets) = (leases.held().count() as u64, leases.tokens.len() as u64);
            page.gauge("presenced_nodes", "Nodes that share the store and live", shared.living())?;
            page.gauge("presenced_leases", "Buckets whose work this node does", held)?;
            page.gauge("presenced_buckets", "Buckets of the store, whichever node does their work", buckets)?;
            page.gauge(
                "presenced_log_lag_seconds",
                "How long ago this node knew for certain that it had read everything in the log",
                shared.log_lag().as_secs_f64(),
            )?;
            page.counter(
                "presenced_store_losses",
                "Times that a bucket of the store was found to have lost what it had acknowledged",
                shared.losses(),
            )?;
        }
        let Some(status) = store.status() else { return Ok(()) };
        page.counter(
            "presenced_store_groups",
            "Groups of changes made durable with one sync",
            status.groups,
        )?;
        page.counter("presenced_store_changes", "Changes in them", status.changes)?;
        page.counter("presenced_store_compactions", "Snapshots written", status.compactions)?;
        let failing = u64::from(status.write_error.is_some());
        page.gauge("presenced_store_write_failing", "1 when the last group could not be written", failing)?;
        let failing = u64::from(status.compaction_error.is_some());
        page.gauge(
            "presenced_store_compaction_failing",
            "1 when the last snapshot could not be written",
            failing,
        )
    }

    fn notifications(&self, page: &mut Writer<'_>) -> fmt::Result {
        let Standing { current, behind, paused, outstanding, endpoints } = self.app.notifier.standing();
        let states = [("current", current), ("behind", behind), ("paused", paused)];
        page.gauges(
            "presenced_subscriptions",
            "Subscriptions, by whether all has been told, something waits, or they wait to be authorized again",
            states.into_iter().map(|(state, count)| (Some([("state", state)]), count as u64)),
        )?;
        page.gauge("presenced_notifications_outstanding", "Changes still to be told", outstanding as u64)?;
        let endpoints = ["healthy", "slow", "dropped"].into_iter().zip(endpoints);
        page.gauges(
            "presenced_endpoints",
            "Endpoints of subscriptions, by how fast they have answered",
            endpoints.map(|(state, count)| (Some([("state", state)]), count as u64)),
        )?;
        let metrics = &self.app.metrics;
        let posts = metrics.deliveries().map(|(outcome, count)| (Some([("outcome", outcome)]), count));
        page.counters("presenced_delivery_posts", "POSTs of notifications, by what became of them", posts)?;
        page.histograms(
            "presenced_delivery_post_seconds",
            "How long POSTs of notifications took",
            std::iter::once((ALONE, &metrics.posts.histogram(0))),
        )?;
        page.histograms(
            "presenced_delivery_latency_seconds",
            "Time from a change to the receiver's answer, of changes that were told",
            std::iter::once((ALONE, &metrics.latency.histogram(0))),
        )
    }

    fn traces(&self, page: &mut Writer<'_>) -> fmt::Result {
        let none = TraceCounts::default();
        let (queued, counts) =
            self.app.tracer.as_ref().map_or((0, &none), |tracer| (tracer.queued(), tracer.counts()));
        page.gauge("presenced_trace_spans_queued", "Spans that wait for the collector", queued as u64)?;
        let spans = counts.all().into_iter().map(|(outcome, count)| (Some([("outcome", outcome)]), count));
        page.counters("presenced_trace_spans", "Spans of traces, by what became of them", spans)
    }

    /// Of all tenants together: the page names none.
    fn brokers(&self, page: &mut Writer<'_>) -> fmt::Result {
        let sum = |of: fn(&BridgeStatus) -> u64| self.bridges.iter().map(of).sum::<u64>();
        page.gauge("presenced_mqtt_brokers", "MQTT brokers of tenants", self.bridges.len() as u64)?;
        let connected = sum(|bridge| u64::from(bridge.is_connected));
        page.gauge("presenced_mqtt_connected", "Those there is a connection with", connected)?;
        page.counter("presenced_mqtt_connects", "Connections made", sum(|bridge| bridge.connects))?;
        page.counter(
            "presenced_mqtt_failures",
            "Connections that did not come about or broke",
            sum(|bridge| bridge.failures),
        )?;
        page.counter(
            "presenced_mqtt_published",
            "Messages that brokers have acknowledged",
            sum(|bridge| bridge.published),
        )?;
        let behind = self.bridges.iter().map(|bridge| bridge.behind).max().unwrap_or_default();
        page.gauge(
            "presenced_mqtt_behind",
            "Entries of the log that the broker which is furthest behind has not acknowledged",
            behind,
        )?;
        page.gauge(
            "presenced_mqtt_sessions",
            "Presence sessions held for devices",
            sum(|bridge| bridge.held),
        )?;
        let messages = Outcome::ALL.iter().enumerate().map(|(at, (_, name))| {
            let count = self.bridges.iter().map(|bridge| bridge.messages[at]).sum();
            (Some([("outcome", *name)]), count)
        });
        page.counters("presenced_mqtt_messages", "Messages of devices, by what became of them", messages)
    }

    fn rest(&self, page: &mut Writer<'_>) -> fmt::Result {
        page.gauges(
            "presenced_build_info",
            "The version that runs",
            std::iter::once((Some([("version", self.version)]), 1_u64)),
        )?;
        let started = self.started_at.as_second();
        page.gauge("process_start_time_seconds", "When the process started", started)?;
        let Process { resident_bytes, open_files, open_files_max } = self.process;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in use", resident_bytes),
            ("process_open_fds", "Files and sockets open", open_files),
            ("process_max_fds", "Files and sockets that may be open", open_files_max),
        ] {
            if let Some(value) = value {
                page.gauge(name, help, value)?;
            }
        }
        Ok(())
    }
}

/// Of a metric there is only one, without labels.
const ALONE: Option<NoLabelSet> = None;

/// Writes metrics with their description.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, std::iter::once((ALONE, value)))
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Option<L>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            match labels {
                Some(labels) => {
                    metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
                }
                None => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
            }?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(name, help, std::iter::once((ALONE, value)))
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Option<L>, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            match labels {
                Some(labels) => metric.encode_family(&labels)?.encode_gauge(&value),
                None => metric.encode_gauge(&value),
            }?;
        }
        Ok(())
    }

    fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Option<L>, &'h Histogram)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, Histogram { buckets, count, sum }) in values {
            match labels {
                Some(labels) => {
                    metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
                }
                None => metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None),
            }?;
        }
        Ok(())
    }
}
