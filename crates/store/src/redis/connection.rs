//! The way to the engine: one server, a master among several, or a cluster; and what to do when it does not answer.
//!
//! Following slots as they move, and a master as it is replaced, is the client crate's business. Ours is patience: every
//! command here may be sent twice without harm, so one that failed on its way is sent again until [`PATIENCE`] ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo};
use redis::cluster_routing::{SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value, cmd,
};
use rustls as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Place;
use crate::StoreError;

/// How long a call goes on trying while the engine does not answer, or says that it cannot for now.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How long a master of a cluster is waited for by those who can do without it for now, such as timers and leases of others.
pub(super) const ASIDE: Duration = Duration::from_millis(750);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(40);
/// How long a write waits for replicas at a time.
pub(super) const REPLICAS_WAIT: Duration = Duration::from_millis(500);
/// Connections for commits. `WAIT` holds up whatever follows it on its connection, so there are several.
const WRITE_LANES: usize = 8;
/// Connections for reads.
const READ_LANES: usize = 2;

/// A script, by the digest that the engine knows it by.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

/// All scripts.
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) advance: Script,
    pub(super) trim: Script,
    pub(super) documents: Script,
    pub(super) lease: Script,
    pub(super) heartbeat: Script,
    pub(super) claim: Script,
}

impl Scripts {
    fn new() -> Self {
        let script = |text: &'static str| {
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
            let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            Script { text, digest }
        };
        Self {
            commit: script(include_str!("commit.lua")),
            advance: script(include_str!("advance.lua")),
            trim: script(include_str!("trim.lua")),
            documents: script(include_str!("documents.lua")),
            lease: script(include_str!("lease.lua")),
            heartbeat: script(include_str!("heartbeat.lua")),
            claim: script(include_str!("claim.lua")),
        }
    }

    fn all(&self) -> [&Script; 7] {
        [&self.commit, &self.advance, &self.trim, &self.documents, &self.lease, &self.heartbeat, &self.claim]
    }
}

impl Script {
    /// A call of it with these keys; arguments follow.
    pub(super) fn on(&self, keys: &[&str]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.digest).arg(keys.len());
        for key in keys {
            call.arg(key);
        }
        call
    }
}

/// What a call is for: calls of one kind share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Read,
    /// Commits, by a number that spreads them.
    Write(usize),
    /// The log, documents, leases.
    Log,
}

/// Connections to an engine.
pub(super) struct Connections {
    pub(super) scripts: Scripts,
    pub(super) is_cluster: bool,
    reads: Vec<Link>,
    writes: Vec<Link>,
    log: Link,
    next_read: AtomicUsize,
    /// Pipelines sent and answered: for reads, for commits, for everything else.
    trips: [AtomicU64; 3],
    /// Which master each slot was last known at; a hint for joining calls, no more.
    masters: Mutex<Arc<Vec<u16>>>,
}

enum Link {
    Single(Box<Single>),
    Cluster(ClusterConnection),
}

/// One server, or whichever of several is the master.
struct Single {
    clients: Arc<[Client]>,
    /// Where a connection lives, whoever it was that needed it first.
    runtime: tokio::runtime::Handle,
    current: tokio::sync::Mutex<Option<(u64, MultiplexedConnection)>>,
}

impl Connections {
    pub(super) async fn open(place: &Place) -> Result<Self, StoreError> {
        // Building a client needs a provider of cryptography; which one is decided by what is compiled in, and that is what
        // this crate says of rustls.
        let clients = place.clients().map_err(|error| refused(&error))?;
        let clients: Arc<[Client]> = clients.into();
        let single = || Single {
            clients: clients.clone(),
            runtime: tokio::runtime::Handle::current(),
            current: tokio::sync::Mutex::default(),
        };
        let first = single();
        let deadline = Instant::now() + PATIENCE;
        let is_cluster = loop {
            match first.info("cluster").await {
                Ok(text) => break text.lines().any(|line| line.trim() == "cluster_enabled:1"),
                Err(error) if is_passing(&error) && Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => return Err(refused(&error)),
            }
        };
        let mut links = Vec::new();
        for _ in 0..=READ_LANES + WRITE_LANES {
            links.push(if is_cluster {
                let cluster = place.cluster().map_err(|error| refused(&error))?;
                Link::Cluster(cluster.get_async_connection().await.map_err(|error| refused(&error))?)
            } else {
                Link::Single(Box::new(single()))
            });
        }
        let writes = links.split_off(READ_LANES + 1);
        let log = links.pop().ok_or_else(|| StoreError::Unavailable("no connection".to_owned()))?;
        let connections = Self {
            scripts: Scripts::new(),
            is_cluster,
            reads: links,
            writes,
            log,
            next_read: AtomicUsize::new(0),
            trips: Default::default(),
            masters: Mutex::default(),
        };
        connections.look_for_masters().await;
        Ok(connections)
    }

    pub(super) fn trips(&self) -> [u64; 3] {
        self.trips.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn link(&self, lane: Lane) -> &Link {
        match lane {
            Lane::Read => &self.reads[self.next_read.fetch_add(1, Ordering::Relaxed) % self.reads.len()],
            Lane::Write(number) => &self.writes[number % self.writes.len()],
            Lane::Log => &self.log,
        }
    }

    /// Sends commands to the master of a slot, one after the other, and gives what each answered. Sends them again while
    /// that is of use.
    pub(super) async fn call(
        &self,
        lane: Lane,
        slot: u16,
        commands: &[Cmd],
    ) -> Result<Vec<Value>, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match self.attempt(lane, slot, commands).await {
                Ok(values) => return Ok(values),
                Err(error) => error,
            };
            if !is_passing(&error) || Instant::now() + PAUSE >= deadline {
                return Err(refused(&error));
            }
            sleep(PAUSE).await;
        }
    }

    /// [`call`](Self::call) for many slots: one pipeline for each master, as far as that is known. With `replicas`, each
    /// answer ends with how many replicas have what was written; they are waited for once for each pipeline.
    pub(super) async fn call_all(
        &self,
        lane: Lane,
        calls: Vec<(u16, Vec<Cmd>)>,
        replicas: usize,
    ) -> Vec<Result<Vec<Value>, StoreError>> {
        self.call_groups(None, lane, calls, replicas).await
    }

    /// [`call_all`](Self::call_all), but what a master of a cluster has not answered within a time is left aside: the others do
    /// not wait for it. An engine that is one server has its usual time.
    pub(super) async fn call_all_within(
        &self,
        limit: Duration,
        lane: Lane,
        calls: Vec<(u16, Vec<Cmd>)>,
        replicas: usize,
    ) -> Vec<Result<Vec<Value>, StoreError>> {
        self.call_groups(self.is_cluster.then_some(limit), lane, calls, replicas).await
    }

    async fn call_groups(
        &self,
        limit: Option<Duration>,
        lane: Lane,
        calls: Vec<(u16, Vec<Cmd>)>,
        replicas: usize,
    ) -> Vec<Result<Vec<Value>, StoreError>> {
        let masters = self.masters.lock().clone();
        let master = |slot: u16| masters.get(usize::from(slot)).copied().unwrap_or(0);
        let mut groups: Vec<(u16, Vec<usize>)> = Vec::new();
        for (place, (slot, _)) in calls.iter().enumerate() {
            match groups.iter_mut().find(|(known, _)| *known == master(*slot)) {
                Some((_, places)) => places.push(place),
                None => groups.push((master(*slot), vec![place])),
            }
        }
        let calls = &calls;
        let answers = groups.into_iter().map(|(_, places)| async move {
            let Some(limit) = limit else { return self.call_group(lane, calls, places, replicas).await };
            let late = places.clone();
            let answers = timeout(limit, self.call_group(lane, calls, places, replicas)).await;
            let refusal = || StoreError::Unavailable("the engine: a master does not answer".to_owned());
            answers.unwrap_or_else(|_| late.into_iter().map(|place| (place, Err(refusal()))).collect())
        });
        let mut found: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Calls that are thought to go to one master, with the places of their answers.
    async fn call_group(
        &self,
        lane: Lane,
        calls: &[(u16, Vec<Cmd>)],
        places: Vec<usize>,
        replicas: usize,
    ) -> Vec<(usize, Result<Vec<Value>, StoreError>)> {
        let wait = (replicas > 0).then(|| wait_for(replicas));
        if places.len() > 1 {
            let joined = places.iter().flat_map(|place| calls[*place].1.iter().cloned());
            let joined: Vec<Cmd> = joined.chain(wait.clone()).collect();
            if let Ok(values) = self.attempt(lane, calls[places[0]].0, &joined).await {
                let kept = wait.and_then(|_| values.last().cloned());
                let mut values = values.into_iter();
                let answer = |place: usize| {
                    let own = values.by_ref().take(calls[place].1.len());
                    (place, Ok(own.chain(kept.clone()).collect()))
                };
                return places.into_iter().map(answer).collect();
            }
            // Slots have moved, or a master is gone: each by itself, which finds its own way.
            if self.is_cluster {
                self.look_for_masters().await;
            }
        }
        let each = places.into_iter().map(|place| {
            let commands: Vec<Cmd> = calls[place].1.iter().cloned().chain(wait.clone()).collect();
            async move { (place, self.call(lane, calls[place].0, &commands).await) }
        });
        join_all(each).await
    }

    async fn attempt(&self, lane: Lane, slot: u16, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        let kind = match lane {
            Lane::Read => 0,
            Lane::Write(_) => 1,
            Lane::Log => 2,
        };
        self.trips[kind].fetch_add(1, Ordering::Relaxed);
        let link = self.link(lane);
        let values = link.send(slot, commands).await?;
        if !values
            .iter()
            .any(|value| matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT"))
        {
            return all_good(values);
        }
        let load = |script: &Script| cmd("SCRIPT").arg("LOAD").arg(script.text).to_owned();
        all_good(link.send(slot, &self.scripts.all().map(load)).await?)?;
        all_good(link.send(slot, commands).await?)
    }

    /// Sends one command to every master.
    pub(super) async fn call_masters(&self, command: &Cmd) -> Result<Vec<Value>, StoreError> {
        match &self.log {
            Link::Single(_) => self.call(Lane::Log, 0, std::slice::from_ref(command)).await,
            Link::Cluster(connection) => {
                let everywhere = RoutingInfo::MultiNode((
                    MultipleNodeRoutingInfo::AllMasters,
                    Some(ResponsePolicy::CombineArrays).filter(|_| false),
                ));
                let answer = connection.clone().route_command(command.clone(), everywhere).await;
                match answer.map_err(|error| refused(&error))? {
                    Value::Map(found) => Ok(found.into_iter().map(|(_, value)| value).collect()),
                    other => Ok(vec![other]),
                }
            }
        }
    }

    /// Notes which master each slot is at.
    async fn look_for_masters(&self) {
        let Link::Cluster(connection) = &self.log else { return };
        let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let answer = connection.clone().route_command(cmd("CLUSTER").arg("SLOTS").to_owned(), anywhere).await;
        let Ok(Value::Array(ranges)) = answer else { return };
        let mut masters = vec![0; usize::from(u16::MAX >> 2) + 1];
        let mut known: Vec<Value> = Vec::new();
        for range in ranges {
            let Value::Array(range) = range else { continue };
            let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = &range[..] else { continue };
            let name = Value::Array(master.iter().take(2).cloned().collect());
            let number = known.iter().position(|other| *other == name).unwrap_or_else(|| {
                known.push(name);
                known.len() - 1
            });
            let slots = usize::try_from(*from).unwrap_or(0)..=usize::try_from(*to).unwrap_or(0);
            if let Some(slots) = masters.get_mut(slots) {
                slots.fill(number as u16);
            }
        }
        *self.masters.lock() = Arc::new(masters);
    }
}

impl Link {
    async fn send(&self, slot: u16, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        match self {
            Self::Single(single) => single.send(&pipeline).await,
            Self::Cluster(connection) => {
                let master = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
                connection.clone().route_pipeline(pipeline, 0, commands.len(), master).await
            }
        }
    }
}

impl Single {
    async fn send(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let (generation, mut connection) = self.connection().await?;
        let answer = connection.req_packed_commands(pipeline, 0, pipeline.len()).await;
        let is_lost = match &answer {
            Err(error) => is_passing(error),
            // A master that has become a replica: another one is the master now.
            Ok(values) => values
                .iter()
                .any(|value| matches!(value, Value::ServerError(error) if error.code() == "READONLY")),
        };
        if is_lost {
            self.current.lock().await.take_if(|(current, _)| *current == generation);
        }
        answer
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut current = self.current.lock().await;
        if let Some(current) = &*current {
            return Ok(current.clone());
        }
        let connected = self.runtime.spawn(connect(self.clients.clone())).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::Error::other("the runtime ends").into()));
        static GENERATION: AtomicUsize = AtomicUsize::new(0);
        let connection = (GENERATION.fetch_add(1, Ordering::Relaxed) as u64, connected?);
        *current = Some(connection.clone());
        Ok(connection)
    }

    async fn info(&self, section: &str) -> RedisResult<String> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO").arg(section);
        // Whichever answers: all of a cluster say the same.
        let values = all_good(self.send(&pipeline).await?)?;
        Ok(values.first().map(text_of).unwrap_or_default())
    }
}

/// A connection to the first server that is a master, or to the only one there is.
async fn connect(clients: Arc<[Client]>) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(ATTEMPT));
    let mut outcome = Err(RedisError::from(std::io::Error::other("no address of a store")));
    for client in clients.iter() {
        let deadline = Instant::now() + CONNECT;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let connected = timeout_at(deadline, connection).await;
        let connected =
            connected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        outcome = match connected {
            Ok(mut connection) if clients.len() > 1 => {
                let role = connection.req_packed_command(cmd("INFO").arg("replication")).await;
                let is_master = role.is_ok_and(|role| text_of(&role).contains("role:master"));
                if is_master {
                    Ok(connection)
                } else {
                    Err(std::io::Error::other("none of the servers is a master").into())
                }
            }
            connected => connected,
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

impl Place {
    fn clients(&self) -> RedisResult<Vec<Client>> {
        let infos = self.infos()?;
        let tls = self.certificates();
        let client = |info: ConnectionInfo| match (&info.addr(), &tls) {
            (ConnectionAddr::TcpTls { .. }, Some(tls)) => Client::build_with_tls(info, tls.clone()),
            _ => Client::open(info),
        };
        infos.into_iter().map(client).collect()
    }

    fn cluster(&self) -> RedisResult<redis::cluster::ClusterClient> {
        let mut builder = redis::cluster::ClusterClientBuilder::new(self.infos()?)
            .connection_timeout(CONNECT)
            .response_timeout(ATTEMPT)
            .overall_response_timeout(Some(PATIENCE))
            .retries(8)
            .min_retry_wait(10)
            .max_retry_wait(200);
        if let Some(tls) = self.certificates() {
            builder = builder.certs(tls);
        }
        builder.build()
    }

    fn infos(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let info = |(host, port): &(String, u16)| {
            let addr = match self.tls {
                true => ConnectionAddr::TcpTls {
                    host: host.clone(),
                    port: *port,
                    insecure: false,
                    tls_params: None,
                },
                false => ConnectionAddr::Tcp(host.clone(), *port),
            };
            let mut settings = RedisConnectionInfo::default().set_db(self.database).set_skip_set_lib_name();
            if let Some(user) = &self.user {
                settings = settings.set_username(user);
            }
            if let Some(password) = &self.password {
                settings = settings.set_password(password.as_str());
            }
            Ok(addr.into_connection_info()?.set_redis_settings(settings))
        };
        self.servers.iter().map(info).collect()
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let client = self.client_certificate.as_ref().map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.clone(),
        });
        self.tls.then(|| TlsCertificates { client_tls: client, root_cert: self.authority.clone() })
    }
}

/// A wait until so many replicas have what was written before on the same connection.
pub(super) fn wait_for(replicas: usize) -> Cmd {
    let mut wait = cmd("WAIT");
    wait.arg(replicas).arg(REPLICAS_WAIT.as_millis() as u64);
    wait
}

/// The first error among values, or all of them.
fn all_good(values: Vec<Value>) -> RedisResult<Vec<Value>> {
    values.into_iter().map(Value::extract_error).collect()
}

/// The answers there are; an error only if there is none.
pub(super) fn of_those_that_answer<T>(answers: Vec<Result<T, StoreError>>) -> Result<Vec<T>, StoreError> {
    let mut refusal = None;
    let found: Vec<T> =
        answers.into_iter().filter_map(|answer| answer.map_err(|error| refusal = Some(error)).ok()).collect();
    match refusal {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// Whether the same may go well in a moment.
fn is_passing(error: &RedisError) -> bool {
    const PASSING: [&str; 8] =
        ["CLUSTERDOWN", "TRYAGAIN", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MOVED", "ASK"];
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_cluster_error()
        || matches!(error.kind(), redis::ErrorKind::ClusterConnectionNotFound)
        || error.code().is_some_and(|code| PASSING.contains(&code))
}

fn refused(error: &RedisError) -> StoreError {
    if error.code() == Some("FENCED") {
        return StoreError::Conflict;
    }
    // The engine's own words; they name no value.
    StoreError::Unavailable(format!("the engine: {error}"))
}

/// A reply as text.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        _ => String::new(),
    }
}
