//! Change notifications under measurement: how long after the acknowledgement of a write its POST arrives, how many
//! subscriptions one server keeps up with, and what endpoints that have died do to the others.
//!
//! The receivers are in this process, over HTTPS as receivers must be, so both ends are read from one clock; they share
//! the machine's cores with the server, which the figures include.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use identity::ReloadableCertificate;
use jiff::SignedDuration;
use serde_json::json;
use server::http::connection::{http1_builder, http2_builder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::child::Server;
use crate::generator::Caller;
use crate::report::{Spread, machine};
use crate::world::{APP, World, now, user};

/// Ports of the receivers that live throughout.
const LIVE_PORTS: u64 = 100;
/// Connections that write presence.
const WRITERS: u64 = 32;
/// Changes made one at a time, for the latency of an idle server.
const ALONE: u64 = 500;
/// How long to wait for notifications that do not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many subscriptions and endpoints.
#[derive(Debug, Args)]
pub(crate) struct NotifyArgs {
    /// The presenced to measure.
    #[arg(long, value_name = "PROGRAM", default_value = "target/release/presenced")]
    presenced: PathBuf,
    /// Subscriptions, each on a person of its own.
    #[arg(long, default_value_t = 10_000)]
    subscriptions: u64,
    /// How many of them are at endpoints of their own that die: one half refuses connections, the other never answers.
    #[arg(long, default_value_t = 1_000)]
    dead: u64,
    /// Changes a second while latencies are measured.
    #[arg(long, default_value_t = 250)]
    rate: u64,
    /// Rounds before the endpoints die and after, of one change for each person.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Prints what was found, one JSON object a measure.
#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
pub(crate) fn run(args: &NotifyArgs) -> anyhow::Result<()> {
    if args.dead >= args.subscriptions {
        bail!("of {} subscriptions, {} cannot die", args.subscriptions, args.dead);
    }
    println!("{}", json!({ "machine": machine(), "subscriptions": args.subscriptions, "dead": args.dead }));
    let folder = tempfile::tempdir()?;
    let world = World::new(folder.path(), args.subscriptions)?.with_settings(
        "profile = \"extended\"\n\
         outbound = { allow = [\"localhost\"], extra_roots = [\"certificate.pem\"] }\n\
         subscriptions = { per_user_and_application = 1_000_000, per_application = 1_000_000 }\n",
    );
    let presenced = Server::presenced(&args.presenced, &world, "warn")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let receivers = Receivers::start(args, &world).await?;
        let bench = Bench { args, presenced: &presenced, token: world.token()?, receivers };
        let began = bench.receivers.inbox.now();
        let before = presenced.resident_bytes()?;
        bench.subscribe().await?;
        let after = presenced.resident_bytes()?;
        println!(
            "{}",
            json!({ "subscribe": { "secs": (bench.receivers.inbox.now() - began).as_secs_f64(),
                "bytes_each": (after.saturating_sub(before)) / args.subscriptions } })
        );
        println!("{}", json!({ "one_at_a_time": bench.alone().await?.json() }));
        println!("{}", json!({ "as_fast_as_possible": bench.burst().await? }));
        let alive = bench.rounds().await?;
        println!("{}", json!({ "all_alive": alive.json() }));
        bench.receivers.kill().await;
        let among_dead = bench.rounds().await?;
        println!("{}", json!({ "with_dead_endpoints": among_dead.json() }));
        let ratio = among_dead.p99().median / alive.p99().median;
        println!(
            "{}",
            json!({ "p99_ratio": ratio, "goal": "below 2", "met": ratio < 2.0,
                "memory_mib": presenced.resident_bytes()? / (1024 * 1024) })
        );
        Ok(())
    })
}

struct Bench<'a> {
    args: &'a NotifyArgs,
    presenced: &'a Server,
    token: String,
    receivers: Receivers,
}

/// From the acknowledgement of a write to its POST, in microseconds, round by round.
struct Latencies(Vec<Histogram<u64>>);

impl Latencies {
    fn p99(&self) -> Spread {
        self.quantile(0.99)
    }

    fn quantile(&self, quantile: f64) -> Spread {
        Spread::of(self.0.iter().map(|round| round.value_at_quantile(quantile) as f64 / 1_000.0))
    }

    fn json(&self) -> serde_json::Value {
        let delivered: u64 = self.0.iter().map(Histogram::len).sum();
        json!({ "delivered": delivered, "p50_ms": self.quantile(0.5), "p99_ms": self.p99() })
    }
}

impl Bench<'_> {
    /// Creates all subscriptions, each after its handshake.
    async fn subscribe(&self) -> anyhow::Result<()> {
        let expires = now() + SignedDuration::from_hours(12);
        let writers = (0..WRITERS).map(|writer| async move {
            let mut caller = Caller::connect(self.presenced.http).await?;
            for number in (writer..self.args.subscriptions).step_by(WRITERS as usize) {
                let body = json!({
                    "changeType": "updated",
                    "resource": format!("/communications/presences/{}", user(number)),
                    "notificationUrl": self.receivers.url(number),
                    "expirationDateTime": expires.to_string(),
                });
                let status = caller.post("/v1.0/subscriptions", &self.token, &body.to_string()).await?;
                if status != 201 {
                    bail!("subscription {number} was answered {status}");
                }
            }
            anyhow::Ok(())
        });
        try_join_all(writers).await.map(drop)
    }

    /// One change at a time, each after the notification of the last.
    async fn alone(&self) -> anyhow::Result<Latencies> {
        let inbox = &self.receivers.inbox;
        let mut caller = Caller::connect(self.presenced.http).await?;
        let mut latency = histogram()?;
        let count = ALONE.min(self.receivers.live);
        inbox.open_round();
        for number in 0..count {
            let acknowledged = self.change(&mut caller, number).await?;
            inbox.wait_for(number + 1).await?;
            latency.saturating_record(inbox.micros_since(number, acknowledged));
        }
        Ok(Latencies(vec![latency]))
    }

    /// A change for everybody, as fast as the writers can, until the last has arrived.
    async fn burst(&self) -> anyhow::Result<serde_json::Value> {
        let inbox = &self.receivers.inbox;
        let began = inbox.now();
        let acknowledged = self.everybody(None).await?;
        let written = inbox.now() - began;
        inbox.wait_for(self.args.subscriptions).await?;
        let delivered = inbox.now() - began;
        Ok(json!({
            "changes": acknowledged.len(),
            "written_after_secs": written.as_secs_f64(),
            "delivered_after_secs": delivered.as_secs_f64(),
            "memory_mib": self.presenced.resident_bytes()? / (1024 * 1024),
        }))
    }

    /// Rounds of a change for everybody at the rate asked for. Counted are those whose endpoints live throughout.
    async fn rounds(&self) -> anyhow::Result<Latencies> {
        let mut rounds = Vec::new();
        for _ in 0..self.args.rounds {
            let acknowledged = self.everybody(Some(self.args.rate)).await?;
            let inbox = &self.receivers.inbox;
            inbox.wait_for(self.receivers.expected()).await?;
            let mut latency = histogram()?;
            for number in 0..self.receivers.live {
                latency.saturating_record(inbox.micros_since(number, acknowledged[number as usize]));
            }
            rounds.push(latency);
        }
        Ok(Latencies(rounds))
    }

    /// Changes what everybody shows. Returns when each was acknowledged.
    async fn everybody(&self, rate: Option<u64>) -> anyhow::Result<Vec<Duration>> {
        let inbox = &self.receivers.inbox;
        inbox.open_round();
        let began = tokio::time::Instant::now();
        let writers = (0..WRITERS).map(|writer| async move {
            let mut caller = Caller::connect(self.presenced.http).await?;
            let mut acknowledged = Vec::new();
            for number in (writer..self.args.subscriptions).step_by(WRITERS as usize) {
                if let Some(rate) = rate {
                    let due = Duration::from_micros(number * 1_000_000 / rate.max(1));
                    tokio::time::sleep_until(began + due).await;
                }
                acknowledged.push((number, self.change(&mut caller, number).await?));
            }
            anyhow::Ok(acknowledged)
        });
        let mut all: Vec<_> = try_join_all(writers).await?.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, at)| at).collect())
    }

    /// Makes one person show something else. Returns when it was acknowledged.
    async fn change(&self, caller: &mut Caller, number: u64) -> anyhow::Result<Duration> {
        let is_busy = self.receivers.inbox.round.load(Ordering::Relaxed) % 2 == 1;
        let (availability, activity) = if is_busy { ("Busy", "InACall") } else { ("Available", "Available") };
        let path = format!("/v1.0/users/{}/presence/setPresence", user(number));
        let body = json!({ "sessionId": APP.to_string(), "availability": availability, "activity": activity,
            "expirationDuration": "PT4H" });
        let status = caller.post(&path, &self.token, &body.to_string()).await?;
        let at = self.receivers.inbox.now();
        if status != 200 {
            bail!("a change was answered {status}");
        }
        Ok(at)
    }
}

/// What has arrived in this round.
struct Inbox {
    began: Instant,
    /// For each subscription, when its first notification of the round arrived, in microseconds; 0 before.
    arrived: Vec<AtomicU64>,
    count: watch::Sender<u64>,
    round: AtomicU64,
    are_dead: AtomicBool,
}

impl Inbox {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn open_round(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
        self.arrived.iter().for_each(|at| at.store(0, Ordering::Relaxed));
        self.count.send_replace(0);
    }

    fn receive(&self, number: usize) {
        let now = u64::try_from(self.now().as_micros()).unwrap_or(u64::MAX);
        if self.arrived[number].swap(now, Ordering::Relaxed) == 0 {
            self.count.send_modify(|count| *count += 1);
        }
    }

    async fn wait_for(&self, count: u64) -> anyhow::Result<()> {
        let mut seen = self.count.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen >= count)).await;
        let arrived = *self.count.borrow();
        waited.with_context(|| format!("{arrived} of {count} notifications arrived"))??;
        Ok(())
    }

    fn micros_since(&self, number: u64, acknowledged: Duration) -> u64 {
        let arrived = Duration::from_micros(self.arrived[number as usize].load(Ordering::Relaxed));
        // A POST may be there before the answer to the write has been read.
        u64::try_from(arrived.saturating_sub(acknowledged).as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

/// The endpoints.
struct Receivers {
    inbox: Arc<Inbox>,
    /// Subscriptions whose endpoints live throughout; those after them die.
    live: u64,
    all: u64,
    live_ports: Vec<u16>,
    mortal_ports: Vec<u16>,
    tasks: tokio::sync::Mutex<Vec<(bool, JoinSet<()>)>>,
}

impl Receivers {
    #[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
    async fn start(args: &NotifyArgs, world: &World) -> anyhow::Result<Self> {
        let inbox = Arc::new(Inbox {
            began: Instant::now(),
            arrived: (0..args.subscriptions).map(|_| AtomicU64::new(0)).collect(),
            count: watch::Sender::new(0),
            round: AtomicU64::new(0),
            are_dead: AtomicBool::new(false),
        });
        let acceptor = acceptor(&world.certificate(), &world.certificate_key())?;
        let mut ports = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..LIVE_PORTS + args.dead {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.push(listener.local_addr()?.port());
            let is_mortal = number >= LIVE_PORTS;
            let mut task = JoinSet::new();
            task.spawn(listen(listener, acceptor.clone(), inbox.clone(), is_mortal));
            // Every other one of those that die refuses connections from then on; the rest take them and are silent.
            tasks.push((is_mortal && number % 2 == 0, task));
        }
        let mortal_ports = ports.split_off(usize::try_from(LIVE_PORTS)?);
        Ok(Self {
            inbox,
            live: args.subscriptions - args.dead,
            all: args.subscriptions,
            live_ports: ports,
            mortal_ports,
            tasks: tokio::sync::Mutex::new(tasks),
        })
    }

    fn url(&self, number: u64) -> String {
        let port = match number.checked_sub(self.live) {
            None => self.live_ports[(number % LIVE_PORTS) as usize],
            Some(mortal) => self.mortal_ports[mortal as usize],
        };
        format!("https://localhost:{port}/{number}")
    }

    async fn kill(&self) {
        self.inbox.are_dead.store(true, Ordering::Relaxed);
        // With the listeners go their ports and connections.
        self.tasks.lock().await.retain(|(refuses, _)| !refuses);
    }

    /// Notifications that will arrive in a round.
    fn expected(&self) -> u64 {
        if self.inbox.are_dead.load(Ordering::Relaxed) { self.live } else { self.all }
    }
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificate = Arc::new(ReloadableCertificate::open(certificate, key)?);
    Ok(TlsAcceptor::from(identity::server_config(certificate)?))
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, inbox: Arc<Inbox>, is_mortal: bool) {
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, inbox) = (acceptor.clone(), inbox.clone());
        conversations.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| answer(inbox.clone(), is_mortal, request));
            // A connection that ends early is the server's doing, and shows in what did not arrive.
            let _ = match is_http2 {
                true => http2_builder().serve_connection(TokioIo::new(stream), service).await,
                false => http1_builder().serve_connection(TokioIo::new(stream), service).await,
            };
        });
    }
}

async fn answer(
    inbox: Arc<Inbox>,
    is_mortal: bool,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(_)) = body.frame().await {}
    let query = head.uri.query().unwrap_or_default();
    let token = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "validationToken");
    if let Some((_, token)) = token {
        let mut answer = Response::new(Full::new(Bytes::from(token.into_owned())));
        answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
        return Ok(answer);
    }
    if is_mortal && inbox.are_dead.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    if let Some(number) = head.uri.path().strip_prefix('/').and_then(|number| number.parse().ok()) {
        inbox.receive(number);
    }
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}
