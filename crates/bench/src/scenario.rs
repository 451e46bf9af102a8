//! The scenarios of the table, and their rounds: the reference and presenced in turn, under the same load.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use anyhow::ensure;

use crate::child::{self, Server, free_address};
use crate::cold;
use crate::follower::Follower;
use crate::generator::{Load, Span, Transport, load, probe};
use crate::reference::ReferenceArgs;
use crate::report::{Figures, Row};
use crate::traffic::{Ask, Client, Tokens, Traffic};
use crate::world::World;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) traffic: Traffic,
    pub(crate) connections: u64,
    pub(crate) transport: Transport,
    pub(crate) goal: Goal,
    pub(crate) kind: Kind,
}

/// What is special about a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Plain,
    /// Somebody follows everybody's changes and has to be told of each.
    Followed,
    /// Every request shows a token of its own; the reference is verifying them and nothing else.
    Cold,
}

/// Ratios to the reference, at least. Where no goal by CPU is set, none was promised.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) throughput: f64,
    pub(crate) cpu: Option<f64>,
}

/// Every scenario that is compared with the reference.
pub(crate) const SCENARIOS: [Scenario; 9] = [
    Scenario::new("get-one", Traffic::GetOne, 64, 0.85).by_cpu(0.80),
    Scenario::new("set-refresh-64", Traffic::Refresh, 64, 0.50),
    Scenario::new("set-refresh-256", Traffic::Refresh, 256, 0.65),
    Scenario::new("set-change", Traffic::Change, 64, 0.35).being(Kind::Followed),
    Scenario::new("batch-650", Traffic::Batch(650), 64, 0.80),
    Scenario::new("mixed-day", Traffic::MixedDay, 64, 0.60),
    Scenario::new("get-one-tls", Traffic::GetOne, 8, 0.80).over(Transport::Http2Tls),
    Scenario::new("mixed-day-tls", Traffic::MixedDay, 8, 0.80).over(Transport::Http2Tls),
    Scenario::new("cold-tokens", Traffic::GetOne, 64, 0.80).being(Kind::Cold),
];

impl Scenario {
    const fn new(name: &'static str, traffic: Traffic, connections: u64, throughput: f64) -> Self {
        let goal = Goal { throughput, cpu: None };
        Self { name, traffic, connections, transport: Transport::Http1, goal, kind: Kind::Plain }
    }

    const fn being(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    const fn by_cpu(mut self, ratio: f64) -> Self {
        self.goal.cpu = Some(ratio);
        self
    }

    const fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    #[serde(skip)]
    pub(crate) warm_up: Duration,
    #[serde(skip)]
    pub(crate) measured: Duration,
    /// Tokens of a round in which each counts once: making one takes half a millisecond.
    pub(crate) cold_tokens: usize,
}

/// How long a follower may take for what is still under way when a scenario ends.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures one scenario.
///
/// # Errors
/// When a server does not answer, or answers anything but 200.
pub(crate) fn run(scenario: &Scenario, world: &World, presenced: &Server, plan: Plan) -> anyhow::Result<Row> {
    if scenario.kind == Kind::Cold {
        return cold::run(scenario, world, presenced, plan);
    }
    let tokens = Tokens::one(world.token()?);
    let reference = Server::reference(&answers(scenario, world, presenced, &tokens)?)?;
    let follower = match scenario.kind {
        Kind::Followed => Some(Follower::start(presenced.http, tokens.first())?),
        Kind::Plain | Kind::Cold => None,
    };
    let mut row = Row::new(scenario, "reference");
    let mut asked = 0;
    for round in 0..plan.rounds {
        for server in [&reference, presenced] {
            let clients = scenario.clients(world, &tokens).map(|client| client.in_round(round));
            let span = Span { warm_up: plan.warm_up, ..Span::of(plan.measured) };
            let (figures, load) = measure(server, scenario.transport, clients.collect(), span)?;
            if std::ptr::eq(server, presenced) {
                row.presenced.push(figures);
                asked += load.requests;
            } else {
                row.reference.push(figures);
            }
        }
    }
    if let Some(follower) = follower {
        row.told = Some(wait_for(&follower, asked)?);
    }
    Ok(row)
}

/// Waits until the follower has been told of so many changes.
#[expect(clippy::disallowed_methods, reason = "a measurement of the machine's own time")]
fn wait_for(follower: &Follower, changes: u64) -> anyhow::Result<u64> {
    let began = std::time::Instant::now();
    while follower.events() < changes && began.elapsed() < FOLLOW_TIMEOUT {
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = follower.events();
    ensure!(told >= changes, "of {changes} changes the follower was told {told}");
    Ok(told)
}

impl Scenario {
    pub(crate) fn clients(&self, world: &World, tokens: &Arc<Tokens>) -> impl Iterator<Item = Client> {
        let (traffic, people, tokens) = (self.traffic, world.people, tokens.clone());
        (0..self.connections).map(move |number| Client::new(traffic, people, number, tokens.clone()))
    }
}

/// Loads a server once.
///
/// # Errors
/// As [`run`].
pub(crate) fn measure(
    server: &Server,
    transport: Transport,
    clients: Vec<Client>,
    span: Span,
) -> anyhow::Result<(Figures, Load)> {
    let address = match transport {
        Transport::Http1 => server.http,
        Transport::Http2Tls => server.https,
    };
    let mut cpu = Vec::new();
    let load = load(address, transport, clients, span, || {
        cpu.push((server.cpu()?, child::cpu("self")?));
        Ok(())
    })?;
    if load.refused > 0 {
        anyhow::bail!("{} of {} requests were refused", load.refused, load.requests);
    }
    let used =
        |of: fn(&(Duration, Duration)) -> Duration| of(&cpu[1]).saturating_sub(of(&cpu[0])).as_secs_f64();
    let (seconds, requests) = (load.elapsed.as_secs_f64(), load.requests.max(1) as f64);
    let figures = Figures {
        requests_per_sec: requests / seconds,
        cpu_micros: used(|cpu| cpu.0) * 1e6 / requests,
        p50_micros: load.latency.value_at_quantile(0.5),
        p99_micros: load.latency.value_at_quantile(0.99),
        generator_cores: used(|cpu| cpu.1) / seconds,
    };
    Ok((figures, load))
}

/// A reference that answers as many bytes as presenced does: over HTTP/1.1 the head included, over HTTP/2, which says most
/// of a repeated head in a few bytes, the body alone.
fn answers(
    scenario: &Scenario,
    world: &World,
    presenced: &Server,
    tokens: &Arc<Tokens>,
) -> anyhow::Result<ReferenceArgs> {
    /// The head of the reference's own answers.
    const REFERENCE_HEAD_BYTES: usize = 75;
    let is_http1 = scenario.transport == Transport::Http1;
    let mut args = ReferenceArgs {
        address: free_address()?,
        get_bytes: 0,
        batch_bytes: 0,
        post_bytes: 0,
        tls: if is_http1 { Vec::new() } else { vec![world.certificate(), world.certificate_key()] },
    };
    let batch = match scenario.traffic {
        Traffic::Batch(size) => size,
        _ => crate::traffic::MIXED_BATCH,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (traffic, bytes) in [
        (Traffic::GetOne, &mut args.get_bytes),
        (Traffic::Refresh, &mut args.post_bytes),
        (Traffic::Batch(batch), &mut args.batch_bytes),
    ] {
        let mut ask = Ask::default();
        let mut request = Vec::new();
        Client::new(traffic, world.people, 0, tokens.clone()).ask(&mut ask);
        ask.write_http1(&mut request, tokens.first());
        let (status, whole, body) = runtime.block_on(probe(presenced.http, &request))?;
        anyhow::ensure!(status == 200, "{traffic:?} is answered with {status}");
        *bytes = if is_http1 { whole.saturating_sub(REFERENCE_HEAD_BYTES) } else { body };
    }
    Ok(args)
}
