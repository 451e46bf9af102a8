//! A store over Redis 7 or Valkey 8: one server, one with replicas, or a cluster, for many processes at once.
//!
//! People are spread over a fixed number of `buckets`; all that one commit touches is in one bucket, so it is one atomic
//! script, guarded by the record's version. The script compares and writes; the rules stay with the caller. `log` makes one
//! order of all buckets' changes, `nodes` shares the buckets' work, `safety` looks whether the engine may lose what it
//! acknowledges, and `connection` is the way there. `docs/consistency.md` says what is promised.

mod buckets;
mod claim;
mod connection;
mod entry;
mod examine;
mod log;
mod nodes;
mod safety;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use presence::{Timestamp, UserKey};
use redis::{Cmd, Value, cmd};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use self::buckets::{
    Bucket, bucket_of_document, bucket_of_user, buckets, field_of, number_of, slot_of, user_of,
};
use self::connection::{ASIDE, Connections, Lane, REPLICAS_WAIT, of_those_that_answer, text_of, wait_for};
use self::log::Log;
use crate::leases::{BEAT, Membership};
use crate::record;
use crate::{
    Claim, Commit, Document, DocumentChanges, DocumentKind, DocumentsSeen, LastChange, LogRead, Position,
    Retention, Shared, Store, StoreError, Stored, Version, check_changes, check_documents,
};

pub use self::buckets::BUCKETS_MAX;
pub use self::buckets::bucket_of_document as shard_of_document;
pub(crate) use self::buckets::bucket_of_user as shard_of_user;
pub(crate) use self::claim::CLAIM;
pub use self::connection::PATIENCE;
pub use self::examine::{Examination, examine};
pub use self::safety::{Loss, Risk};
pub use crate::leases::{Leases, Node, Reading};

/// Buckets of a store that is made without saying how many.
pub const BUCKETS_DEFAULT: u16 = 64;
/// The stored form that this program writes and reads.
const FORMAT: &str = "1";
/// Bytes of a record's value before the record: what a retried commit is recognized by.
const NONCE_BYTES: usize = 4;
/// Fields of a hash that are read with one command.
const FIELDS_MAX: usize = 1_000;
/// Fields asked for in one step through a hash.
const SCAN_FIELDS: usize = 500;
/// Changes of documents that are remembered in each bucket.
const DOCUMENT_LOG_MAX: usize = 4_096;

/// Documents of one bucket, by the number of their kind and their key: of several with one key the last counts.
type Bodies = BTreeMap<(usize, Vec<u8>), Option<Vec<u8>>>;

/// Where an engine is, and as whom to talk to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Hosts and ports: of a cluster some of them, otherwise all.
    pub servers: Vec<(String, u16)>,
    /// Whether to use TLS.
    pub tls: bool,
    /// The database; a cluster has only 0.
    pub database: i64,
    /// The ACL user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Certificate authorities of the engine, PEM; `None`: those of the system.
    pub authority: Option<Vec<u8>>,
    /// A certificate to show, and its key, PEM.
    pub client_certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// Never the password, and no key.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("servers", &self.servers)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why a text is not a [`Place`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

/// `redis://user:password@host:port,host:port/database`, and `rediss://` with TLS.
impl std::str::FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let wrong = |why: &str| {
            PlaceError(format!("{why}: redis://[user:password@]host[:port][,host[:port]...][/database]"))
        };
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong("neither redis:// nor rediss://")),
        };
        let (who, rest) = rest.rsplit_once('@').map_or((None, rest), |(who, rest)| (Some(who), rest));
        let (servers, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() {
            0
        } else {
            database.parse().map_err(|_| wrong("the database is a number"))?
        };
        let server = |server: &str| {
            let (host, port) = match server.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
                _ => (server, 6_379),
            };
            let host = host.trim_matches(['[', ']']);
            (!host.is_empty()).then(|| (host.to_owned(), port))
        };
        let servers: Option<Vec<_>> = servers.split(',').map(|text| server(text.trim())).collect();
        let servers = servers
            .filter(|servers| !servers.is_empty())
            .ok_or_else(|| wrong("a server is a host and a port"))?;
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            Some((user, password)) => (some(user), some(password)),
            None => (None, None),
        };
        Ok(Self { servers, tls, database, user, password, ..Self::default() })
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// What can be chosen about a store over an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How many buckets; `None`: as many as the store was made with.
    pub buckets: Option<u16>,
    /// How many replicas each commit waits for; `None`: one if every master has one, otherwise none.
    pub replicas: Option<usize>,
    /// What may be lost of what was acknowledged. The store is not opened over an engine that may lose more.
    pub accept_loss: Loss,
    /// How much of the log is kept.
    pub retention: Retention,
    /// Whether this process takes its share of the work. One that does not takes no lease and is in no list.
    pub works: bool,
    /// What this process is called in the list of nodes.
    pub node: String,
    /// Its version.
    pub version: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "presenced".to_owned(),
            buckets: None,
            replicas: None,
            accept_loss: Loss::None,
            retention: Retention::default(),
            works: true,
            node: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// How far [`Redis::users`] has come.
#[derive(Clone, Debug, Default)]
pub struct UserScan {
    bucket: u16,
    cursor: Option<String>,
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept there was made otherwise.
    #[error("{0}")]
    Layout(String),
    /// The engine may lose what it acknowledges, and nobody has said that this is accepted.
    #[error("the engine may lose what it has acknowledged: {}", list(.0))]
    Unsafe(Vec<Risk>),
}

fn list(risks: &[Risk]) -> String {
    risks.iter().map(|risk| risk.reason.as_str()).collect::<Vec<_>>().join("; ")
}

/// Keeps everything in Redis or Valkey.
pub struct Redis {
    inner: Arc<Inner>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("buckets", &self.inner.buckets.len()).finish_non_exhaustive()
    }
}

struct Inner {
    connections: Connections,
    options: Options,
    buckets: Vec<Bucket>,
    /// How many replicas each commit waits for.
    replicas: usize,
    nodes_key: String,
    nodes_slot: u16,
    log: Log,
    membership: Membership,
    /// When this process opened it: leases are timed from here.
    opened_at: Instant,
    /// How often the engine was found to have lost something.
    losses: AtomicU64,
    trimmed_at: Mutex<Option<Instant>>,
    is_closed: AtomicBool,
}

impl Redis {
    /// Opens the store there, and makes it if there is none. Starts the tasks that follow the log and keep this node's
    /// leases; they end with the store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(place: &Place, options: Options) -> Result<Self, OpenError> {
        let connections = Connections::open(place).await?;
        let masters = safety::masters(&connections).await.unwrap_or_default();
        let replicas = options.replicas.unwrap_or(usize::from(safety::have_replicas(&masters)));
        let risks = safety::unaccepted(&masters, replicas, options.accept_loss);
        if !risks.is_empty() {
            return Err(OpenError::Unsafe(risks));
        }
        let count = layout(&connections, &options).await?;
        let mut id = [0; 8];
        random(&mut id)?;
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let nodes_key = format!("{}:nodes", options.prefix);
        let inner = Arc::new(Inner {
            buckets: buckets(&options.prefix, count),
            replicas,
            nodes_slot: slot_of(nodes_key.as_bytes()),
            nodes_key,
            log: Log::new(usize::from(count)),
            membership: Membership::new(id, options.node.clone(), options.version.clone(), count),
            opened_at: Instant::now(),
            losses: AtomicU64::new(0),
            trimmed_at: Mutex::new(None),
            is_closed: AtomicBool::new(false),
            connections,
            options,
        });
        inner.begin_log().await?;
        let mut tasks = vec![start(follow(inner.clone()))];
        if inner.options.works {
            inner.beat().await?;
            tasks.push(start(live(inner.clone())));
        }
        Ok(Self { inner, tasks: Mutex::new(tasks) })
    }

    /// Who is kept in one bucket after another, some at a time; `None` after the last. Somebody may be given twice.
    ///
    /// # Errors
    /// [`StoreError`] of the engine.
    pub async fn users(&self, scan: &mut UserScan) -> Result<Option<Vec<UserKey>>, StoreError> {
        let inner = self.open_inner()?;
        let Some(bucket) = inner.buckets.get(usize::from(scan.bucket)) else { return Ok(None) };
        let cursor = scan.cursor.take().unwrap_or_else(|| "0".to_owned());
        let call = cmd("HSCAN").arg(&bucket.users).arg(cursor).arg("COUNT").arg(SCAN_FIELDS).to_owned();
        let values = inner.connections.call(Lane::Read, bucket.slot, &[call]).await?;
        let Some(Value::Array(parts)) = values.first() else { return Err(damaged("a reply")) };
        let [cursor, Value::Array(pairs)] = &parts[..] else { return Err(damaged("a reply")) };
        let user = |pair: &[Value]| match &pair[0] {
            Value::BulkString(field) => user_of(field).ok_or_else(|| damaged("a user")),
            _ => Err(damaged("a user")),
        };
        let users = pairs.chunks_exact(2).map(user).collect::<Result<Vec<_>, _>>()?;
        match text_of(cursor) {
            end if end == "0" => scan.bucket += 1,
            next => scan.cursor = Some(next),
        }
        Ok(Some(users))
    }

    /// Round trips to the engine so far: for reads, for commits, and for the log, documents and leases. What goes to several
    /// masters at once counts once for each.
    pub fn round_trips(&self) -> [u64; 3] {
        self.inner.connections.trips()
    }

    fn open_inner(&self) -> Result<&Inner, StoreError> {
        if self.inner.is_closed.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        Ok(&self.inner)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(AbortHandle::abort);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the store's own tasks: they live as long as it and decide nothing"
)]
fn start(work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(work).abort_handle()
}

async fn follow(inner: Arc<Inner>) {
    inner.follow().await;
}

async fn live(inner: Arc<Inner>) {
    tokio::join!(beats(&inner), lapses(&inner));
}

async fn beats(inner: &Inner) {
    let mut was_wrong = false;
    loop {
        sleep(BEAT).await;
        match inner.beat().await {
            Ok(()) => was_wrong = false,
            Err(error) if !was_wrong => {
                was_wrong = true;
                tracing::warn!(%error, "this node's leases cannot be kept; others take its work over");
            }
            Err(_) => {}
        }
    }
}

/// Lets go of leases at the moment they end, for those who only watch: a beat may wait for an engine meanwhile.
async fn lapses(inner: &Inner) {
    loop {
        let left = inner.membership.ends().saturating_sub(inner.passed());
        if left.is_zero() {
            inner.membership.current(inner.passed());
        }
        sleep(if left.is_zero() { BEAT } else { left }).await;
    }
}

/// Makes the layout, or checks it. Answers the number of buckets.
async fn layout(connections: &Connections, options: &Options) -> Result<u16, OpenError> {
    let key = format!("{}:layout", options.prefix);
    let slot = slot_of(key.as_bytes());
    let wanted = options.buckets.unwrap_or(BUCKETS_DEFAULT);
    if !(1..=BUCKETS_MAX).contains(&wanted) {
        return Err(OpenError::Layout(format!("{wanted} buckets: give 1 to {BUCKETS_MAX}")));
    }
    let calls = [
        cmd("HSETNX").arg(&key).arg("format").arg(FORMAT).to_owned(),
        cmd("HSETNX").arg(&key).arg("buckets").arg(wanted).to_owned(),
        cmd("HMGET").arg(&key).arg(&["format", "buckets"]).to_owned(),
    ];
    let values = connections.call(Lane::Log, slot, &calls).await?;
    let Some(Value::Array(found)) = values.get(2) else {
        return Err(OpenError::Layout("the layout cannot be read".to_owned()));
    };
    let [format, count] = [0, 1].map(|place| found.get(place).map(text_of).unwrap_or_default());
    if format != FORMAT {
        return Err(OpenError::Layout(format!("the store has format {format}; this program reads {FORMAT}")));
    }
    let count: u16 = count.parse().map_err(|_| OpenError::Layout("the layout is damaged".to_owned()))?;
    if options.buckets.is_some_and(|wanted| wanted != count) || !(1..=BUCKETS_MAX).contains(&count) {
        return Err(OpenError::Layout(format!(
            "the store was made with {count} buckets, not {wanted}; their number cannot be changed in place"
        )));
    }
    Ok(count)
}

fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| StoreError::Unavailable("no random bytes".to_owned()))
}

/// Whether replicas have what was written.
fn check_kept(values: &[Value], replicas: usize) -> Result<(), StoreError> {
    let is_kept =
        replicas == 0 || matches!(values.last(), Some(Value::Int(kept)) if *kept >= replicas as i64);
    if is_kept {
        return Ok(());
    }
    Err(StoreError::Unavailable("a master has it, but not yet a replica".to_owned()))
}

impl Inner {
    fn bucket(&self, number: u16) -> &Bucket {
        &self.buckets[usize::from(number)]
    }

    fn count(&self) -> u16 {
        self.buckets.len() as u16
    }

    /// How long this process has had the store, by the machine's clock that never goes back.
    fn passed(&self) -> Duration {
        self.opened_at.elapsed()
    }

    async fn read(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        let mut by_bucket: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (place, user) in users.iter().enumerate() {
            by_bucket.entry(bucket_of_user(*user, self.count())).or_default().push(place);
        }
        let places: Vec<(u16, &[usize])> = by_bucket
            .iter()
            .flat_map(|(bucket, places)| places.chunks(FIELDS_MAX).map(|places| (*bucket, places)))
            .collect();
        let calls = places.iter().map(|(bucket, places)| {
            let bucket = self.bucket(*bucket);
            let mut read = cmd("HMGET");
            read.arg(&bucket.users);
            for place in *places {
                read.arg(&field_of(users[*place])[..]);
            }
            (bucket.slot, vec![read])
        });
        let mut stored = vec![Stored::default(); users.len()];
        let answers = self.connections.call_all(Lane::Read, calls.collect(), 0).await;
        for ((_, places), answer) in places.iter().zip(answers) {
            let values = answer?;
            let Some(Value::Array(found)) = values.first() else { return Err(damaged("a reply")) };
            for (place, value) in places.iter().zip(found) {
                stored[*place] = stored_of(value)?;
            }
        }
        Ok(stored)
    }

    async fn keep(&self, commit: Commit) -> Result<Version, StoreError> {
        check_changes(&commit.changes)?;
        let number = bucket_of_user(commit.user, self.count());
        let bucket = self.bucket(number);
        let field = field_of(commit.user);
        let version = commit.expected.0.checked_add(1).map(Version).ok_or(StoreError::Conflict)?;
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let record = record::encode(version, commit.wake_at, &commit.presence)?;
        let mut call =
            self.connections.scripts.commit.on(&[&bucket.users, &bucket.wakes, &bucket.log, &bucket.meta]);
        call.arg(&field[..]).arg(varint(commit.expected.0)).arg(varint(version.0)).arg(&nonce[..]);
        call.arg([&nonce[..], &record].concat());
        call.arg(commit.wake_at.map(score).unwrap_or_default());
        call.arg(sortable(commit.presence.settled_at));
        call.arg(self.log.up_to());
        call.arg(self.options.retention.entries.max(1).div_ceil(self.buckets.len()));
        for change in &commit.changes {
            call.arg(entry::encode(commit.user, change));
        }
        let wait = (self.replicas > 0).then(|| wait_for(self.replicas));
        let calls: Vec<Cmd> = std::iter::once(call).chain(wait).collect();
        let lane = Lane::Write(usize::from(field[31]) ^ usize::from(number));
        let deadline = Instant::now() + connection::PATIENCE;
        loop {
            let values = self.connections.call(lane, bucket.slot, &calls).await?;
            let Some(Value::Array(answer)) = values.first() else { return Err(damaged("a reply")) };
            let time = match &answer[..] {
                [Value::Int(1), time] => text_of(time).parse::<u64>().map_err(|_| damaged("a reply"))?,
                _ => return Err(StoreError::Conflict),
            };
            // The log is read by whoever follows it whether a replica has this already or not.
            if time > 0 && !commit.changes.is_empty() {
                self.log.committed(time);
            }
            match check_kept(&values, self.replicas) {
                Ok(()) => return Ok(version),
                Err(error) if Instant::now() + REPLICAS_WAIT >= deadline => return Err(error),
                Err(_) => {} // Once more: the script knows that it is done, and writes so that there is something to wait for.
            }
        }
    }

    /// The users that are due in the buckets that this node works on, with when.
    async fn due_users(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        let held: Vec<u16> = self.membership.current(self.passed()).held().collect();
        let each = (max * 4).div_ceil(held.len().max(1)).saturating_add(16).min(max);
        let calls = held.iter().map(|number| {
            let bucket = self.bucket(*number);
            let mut call = cmd("ZRANGEBYSCORE");
            call.arg(&bucket.wakes)
                .arg("-inf")
                .arg(score(now))
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(0)
                .arg(each);
            (bucket.slot, vec![call])
        });
        let mut due = Vec::new();
        // Whoever is due at a master that does not answer is due later. The others do not wait for that.
        let answers = self.connections.call_all_within(ASIDE, Lane::Read, calls.collect(), 0).await;
        for values in of_those_that_answer(answers)? {
            let Some(Value::Array(found)) = values.first() else { return Err(damaged("a reply")) };
            for pair in found.chunks_exact(2) {
                let Value::BulkString(field) = &pair[0] else { return Err(damaged("a wake-up")) };
                let user = user_of(field).ok_or_else(|| damaged("a wake-up"))?;
                due.push((instant(&pair[1])?, user));
            }
        }
        due.sort_unstable_by_key(|(at, _)| *at);
        due.truncate(max);
        Ok(due.into_iter().map(|(_, user)| user).collect())
    }

    async fn earliest_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        let held: Vec<u16> = self.membership.current(self.passed()).held().collect();
        let calls = held.iter().map(|number| {
            let bucket = self.bucket(*number);
            (bucket.slot, vec![cmd("ZRANGE").arg(&bucket.wakes).arg(0).arg(0).arg("WITHSCORES").to_owned()])
        });
        let mut earliest = None;
        let answers = self.connections.call_all_within(ASIDE, Lane::Read, calls.collect(), 0).await;
        for values in of_those_that_answer(answers)? {
            let Some(Value::Array(found)) = values.first() else { return Err(damaged("a reply")) };
            if let Some(at) = found.get(1) {
                let at = instant(at)?;
                earliest = Some(earliest.map_or(at, |earliest: Timestamp| earliest.min(at)));
            }
        }
        Ok(earliest)
    }

    async fn latest_settlement(&self) -> Result<Option<Timestamp>, StoreError> {
        let calls = self
            .buckets
            .iter()
            .map(|bucket| (bucket.slot, vec![cmd("HGET").arg(&bucket.meta).arg("settled").to_owned()]));
        let mut latest = None;
        for answer in self.connections.call_all(Lane::Read, calls.collect(), 0).await {
            let values = answer?;
            if let Some(Value::BulkString(text)) = values.first() {
                let nanos = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i128>().ok());
                let at = nanos.and_then(|nanos| Timestamp::from_nanosecond(nanos - SORTABLE_OFFSET).ok());
                latest = latest.max(Some(at.ok_or_else(|| damaged("an instant"))?));
            }
        }
        Ok(latest)
    }

    async fn all_documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        // Kinds that are read whole are in one bucket; the others may be in any.
        let is_spread = matches!(
            kind,
            DocumentKind::DirectoryUser
                | DocumentKind::Subscription
                | DocumentKind::DeliveryCursor
                | DocumentKind::LifecycleEvent
        );
        let mut rest: Vec<(u16, String)> =
            (0..if is_spread { self.count() } else { 1 }).map(|number| (number, "0".to_owned())).collect();
        let mut found = BTreeMap::new();
        while !rest.is_empty() {
            let calls = rest.iter().map(|(number, cursor)| {
                let bucket = self.bucket(*number);
                let mut scan = cmd("HSCAN");
                scan.arg(bucket.of(kind)).arg(cursor).arg("COUNT").arg(SCAN_FIELDS);
                (bucket.slot, vec![scan, touch(bucket)])
            });
            let answers = self.connections.call_all(Lane::Log, calls.collect(), self.replicas).await;
            let mut next = Vec::new();
            for ((number, _), answer) in rest.iter().zip(answers) {
                let values = answer?;
                check_kept(&values, self.replicas)?;
                let Some(Value::Array(parts)) = values.first() else { return Err(damaged("a reply")) };
                let [cursor, Value::Array(pairs)] = &parts[..] else { return Err(damaged("a reply")) };
                for pair in pairs.chunks_exact(2) {
                    if let [Value::BulkString(key), Value::BulkString(body)] = pair {
                        found.insert(key.clone(), body.clone());
                    }
                }
                let cursor = text_of(cursor);
                if cursor != "0" {
                    next.push((*number, cursor));
                }
            }
            rest = next;
        }
        Ok(found.into_iter().map(|(key, body)| Document { kind, key, body: Some(body) }).collect())
    }

    /// Puts documents, those of each bucket together or not at all; under a lease if one is given.
    async fn put(&self, documents: Vec<Document>, lease: Option<(u16, u64)>) -> Result<(), StoreError> {
        check_documents(&documents)?;
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let nonce = u32::from_le_bytes(nonce);
        let mut by_bucket: BTreeMap<u16, Bodies> = BTreeMap::new();
        for Document { kind, key, body } in documents {
            let bucket = bucket_of_document(kind, &key, self.count());
            by_bucket.entry(bucket).or_default().insert((number_of(kind), key), body);
        }
        let calls = by_bucket.into_iter().map(|(number, documents)| {
            let bucket = self.bucket(number);
            let mut keys = vec![bucket.meta.as_str(), bucket.document_log.as_str()];
            keys.extend(bucket.documents.iter().map(String::as_str));
            let mut call = self.connections.scripts.documents.on(&keys);
            match lease.filter(|(held, _)| *held == number) {
                Some((_, token)) => call.arg(&self.membership.id).arg(token),
                None => call.arg("").arg(""),
            };
            call.arg(DOCUMENT_LOG_MAX).arg(nonce);
            for ((kind, key), body) in documents {
                call.arg(kind + 1).arg(key).arg(u8::from(body.is_some())).arg(body.unwrap_or_default());
            }
            (bucket.slot, vec![call])
        });
        for answer in self.connections.call_all(Lane::Log, calls.collect(), self.replicas).await {
            check_kept(&answer?, self.replicas)?;
        }
        Ok(())
    }

    async fn documents_seen(&self) -> Result<DocumentsSeen, StoreError> {
        let calls = self.buckets.iter().map(|bucket| (bucket.slot, vec![documents_end(bucket)]));
        let mut seen = DocumentsSeen::default();
        for answer in self.connections.call_all(Lane::Log, calls.collect(), 0).await {
            seen.last.push(last_change(answer?.first())?);
        }
        Ok(seen)
    }

    /// Which documents have changed since they were last asked for.
    async fn changes(&self, seen: &mut DocumentsSeen) -> Result<DocumentChanges, StoreError> {
        let mut last = seen.last.clone();
        last.resize(self.buckets.len(), LastChange::default());
        // The last one that was seen is asked for again: if it is another one by now, the engine has lost that one.
        let calls = self.buckets.iter().zip(&last).map(|(bucket, last)| {
            let mut range = cmd("XRANGE");
            range.arg(&bucket.document_log).arg(format!("{}-0", last.number)).arg("+");
            range.arg("COUNT").arg(DOCUMENT_LOG_MAX + 1);
            (bucket.slot, vec![range, documents_end(bucket)])
        });
        let mut changed: BTreeMap<u16, BTreeSet<(DocumentKind, Vec<u8>)>> = BTreeMap::new();
        let mut is_complete = true;
        for (number, answer) in (0..).zip(self.connections.call_all(Lane::Log, calls.collect(), 0).await) {
            let values = answer?;
            let Some(Value::Array(found)) = values.first() else { return Err(damaged("a reply")) };
            let found = found.iter().map(document_change).collect::<Result<Vec<_>, _>>()?;
            let place = &mut last[usize::from(number)];
            let (again, new) = found.split_at(found.len().min(usize::from(place.number > 0)));
            let is_there = place.number == 0 || again.first().is_some_and(|(change, ..)| change == place);
            let mut numbers = place.number + 1..;
            if !is_there || new.iter().any(|(change, ..)| Some(change.number) != numbers.next()) {
                // Some of it is remembered no more, or was lost: everything is read again, and this is where that begins.
                is_complete = false;
                *place = last_change(values.get(1))?;
                continue;
            }
            for (change, kind, key) in new {
                *place = *change;
                changed.entry(number).or_default().insert((*kind, key.clone()));
            }
        }
        let calls = changed.iter().map(|(number, keys)| {
            let bucket = self.bucket(*number);
            let read =
                |(kind, key): &(DocumentKind, Vec<u8>)| cmd("HGET").arg(bucket.of(*kind)).arg(key).to_owned();
            (bucket.slot, keys.iter().map(read).chain([touch(bucket)]).collect())
        });
        let answers = self.connections.call_all(Lane::Log, calls.collect(), self.replicas).await;
        let mut documents = Vec::new();
        for (keys, answer) in changed.into_values().zip(answers) {
            let values = answer?;
            check_kept(&values, self.replicas)?;
            for ((kind, key), value) in keys.into_iter().zip(values) {
                let body = match value {
                    Value::BulkString(body) => Some(body),
                    _ => None,
                };
                documents.push(Document { kind, key, body });
            }
        }
        seen.last = last;
        self.log.heard_of(seen);
        Ok(DocumentChanges { documents, is_complete })
    }
}

/// A write that changes nothing. Whoever reads on the same connection and waits for replicas after it learns that this is
/// still the master, and that nothing of what was read will be lost with it.
fn touch(bucket: &Bucket) -> Cmd {
    cmd("HSET").arg(&bucket.meta).arg("touched").arg(1).to_owned()
}

/// Asks for the [`last_change`].
fn documents_end(bucket: &Bucket) -> Cmd {
    cmd("HMGET").arg(&bucket.meta).arg(&["documents", "document"]).to_owned()
}

/// The last change of a document that a bucket has had.
fn last_change(value: Option<&Value>) -> Result<LastChange, StoreError> {
    let Some(Value::Array(known)) = value else { return Err(damaged("a reply")) };
    let text = |place: usize| known.get(place).map(text_of).unwrap_or_default();
    let number = text(0).parse().unwrap_or(0);
    // Of which one the nonce is, goes before it: earlier programs count on without one.
    let nonce = match text(1).split_once('-') {
        Some((of, nonce)) if of.parse() == Ok(number) => nonce.parse().unwrap_or(0),
        _ => 0,
    };
    Ok(LastChange { number, nonce })
}

/// An entry of the log of documents.
fn document_change(item: &Value) -> Result<(LastChange, DocumentKind, Vec<u8>), StoreError> {
    let Value::Array(parts) = item else { return Err(damaged("a reply")) };
    let [id, Value::Array(fields)] = &parts[..] else { return Err(damaged("a reply")) };
    let id = text_of(id);
    let change = id.split_once('-').and_then(|(number, nonce)| {
        Some(LastChange { number: number.parse().ok()?, nonce: nonce.parse().ok()? })
    });
    let change = change.ok_or_else(|| damaged("a reply"))?;
    let [_, kind, _, Value::BulkString(key)] = &fields[..] else { return Err(damaged("a reply")) };
    let kind =
        text_of(kind).parse::<usize>().ok().and_then(|kind| DocumentKind::ALL.get(kind.checked_sub(1)?));
    Ok((change, *kind.ok_or_else(|| damaged("a kind of document"))?, key.clone()))
}

#[async_trait]
impl Store for Redis {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        self.open_inner()?.read(users).await
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        self.open_inner()?.keep(commit).await
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        self.open_inner()?.due_users(now, max).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.open_inner()?.earliest_wake().await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.open_inner()?.latest_settlement().await
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        self.open_inner()?.read_log_after(after, max).await
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.inner.log.end.subscribe()
    }

    async fn log_now(&self) -> Result<Position, StoreError> {
        self.open_inner()?.read_up().await
    }

    /// By the engine's clock: it is what entries were written at, whatever clock presence lives by.
    async fn trim_log(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.open_inner()?.trim().await
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        self.open_inner()?.all_documents(kind).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        self.open_inner()?.put(documents, None).await
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.open_inner()?;
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        if self.inner.options.works {
            self.inner.leave().await;
        }
        self.inner.is_closed.store(true, Ordering::Release);
        Ok(())
    }
}

#[async_trait]
impl Shared for Redis {
    fn shard_of(&self, kind: DocumentKind, key: &[u8]) -> u16 {
        bucket_of_document(kind, key, self.inner.count())
    }

    fn leases(&self) -> watch::Receiver<Arc<Leases>> {
        self.inner.membership.leases()
    }

    async fn put_documents_under(
        &self,
        shard: u16,
        token: u64,
        documents: Vec<Document>,
    ) -> Result<(), StoreError> {
        self.open_inner()?.put(documents, Some((shard, token))).await
    }

    fn documents_changed(&self) -> watch::Receiver<u64> {
        self.inner.log.documents.subscribe()
    }

    async fn documents_seen(&self) -> Result<DocumentsSeen, StoreError> {
        self.open_inner()?.documents_seen().await
    }

    async fn document_changes(&self, seen: &mut DocumentsSeen) -> Result<DocumentChanges, StoreError> {
        self.open_inner()?.changes(seen).await
    }

    async fn claim(&self, name: &[u8]) -> Result<Claim, StoreError> {
        self.open_inner()?;
        self.inner.claim(name).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.open_inner()?.list_nodes().await
    }

    fn living(&self) -> u64 {
        self.inner.membership.nodes().borrow().iter().filter(|node| node.lives).count() as u64
    }

    fn node(&self) -> &str {
        &self.inner.membership.id
    }

    fn log_lag(&self) -> Duration {
        self.inner.log.lag()
    }

    fn fleet(&self) -> u64 {
        self.inner.membership.fleet()
    }

    fn losses(&self) -> u64 {
        self.inner.losses.load(Ordering::Relaxed)
    }
}

impl Inner {
    async fn trim(&self) -> Result<(), StoreError> {
        // Not at each tick: what is retained is counted in hours.
        let interval =
            (self.options.retention.age / 100).clamp(Duration::from_millis(100), Duration::from_secs(60));
        {
            let mut last = self.trimmed_at.lock();
            if last.is_some_and(|last| last.elapsed() < interval) {
                return Ok(());
            }
            *last = Some(Instant::now());
        }
        let age = u64::try_from(self.options.retention.age.as_micros()).unwrap_or(u64::MAX >> 12);
        let leases = self.membership.current(self.passed());
        let calls = leases.held().map(|number| {
            let bucket = self.bucket(number);
            let mut call = self.connections.scripts.trim.on(&[&bucket.meta, &bucket.log]);
            call.arg(age);
            (bucket.slot, vec![call])
        });
        let answers = self.connections.call_all_within(ASIDE, Lane::Log, calls.collect(), 0).await;
        of_those_that_answer(answers).map(drop)
    }
}

fn stored_of(value: &Value) -> Result<Stored, StoreError> {
    match value {
        Value::Nil => Ok(Stored::default()),
        Value::BulkString(bytes) => {
            let record = bytes.get(NONCE_BYTES..).ok_or_else(|| damaged("a record"))?;
            Ok(record::decode(record)?)
        }
        _ => Err(damaged("a record")),
    }
}

/// The form that a version has in a record, which the script compares.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The largest number of microseconds that a double holds exactly.
const SCORE_MAX: i64 = 1 << 53;

/// An instant as the score of a sorted set: microseconds, and beyond what is exact there, an end of time.
fn score(at: Timestamp) -> String {
    match at.as_microsecond() {
        micros if micros < -SCORE_MAX => "-inf".to_owned(),
        micros if micros > SCORE_MAX => "+inf".to_owned(),
        micros => micros.to_string(),
    }
}

fn instant(score: &Value) -> Result<Timestamp, StoreError> {
    let text = text_of(score);
    match text.parse::<f64>() {
        Ok(micros) if micros == f64::INFINITY => Ok(Timestamp::MAX),
        Ok(micros) if micros == f64::NEG_INFINITY => Ok(Timestamp::MIN),
        Ok(micros) => Timestamp::from_microsecond(micros as i64).map_err(|_| damaged("an instant")),
        Err(_) => Err(damaged("an instant")),
    }
}

/// Makes every instant a positive number of nanoseconds.
const SORTABLE_OFFSET: i128 = 1_000_000_000_000_000_000_000;

/// An instant as a text that sorts as instants do.
fn sortable(at: Timestamp) -> String {
    format!("{:022}", at.as_nanosecond() + SORTABLE_OFFSET)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} of the engine that cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_what_is_none_is_refused() {
        let place: Place = "redis://h".parse().unwrap();
        assert_eq!(place, Place { servers: vec![("h".into(), 6_379)], ..Place::default() });
        let place: Place = "rediss://me:p@ss@a:1,[::1]:2,c/3".parse().unwrap();
        assert_eq!(place.servers, [("a".to_owned(), 1), ("::1".to_owned(), 2), ("c".to_owned(), 6_379)]);
        assert_eq!((place.tls, place.database), (true, 3));
        assert_eq!((place.user.as_deref(), place.password.as_deref()), (Some("me"), Some("p@ss")));
        assert!(!format!("{place:?}").contains("p@ss"));
        for bad in ["", "http://h", "redis://", "redis://h:x", "redis://h/x", "redis://a,,b"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn instants_come_back_from_scores_or_as_an_end_of_time() {
        let half: Timestamp = "2026-03-02T09:30:00.5Z".parse().unwrap();
        for at in [Timestamp::UNIX_EPOCH, half, Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(instant(&Value::BulkString(score(at).into_bytes())).unwrap(), at);
        }
        let mut all = [Timestamp::MAX, Timestamp::MIN, half].map(sortable);
        all.sort();
        assert_eq!(all, [Timestamp::MIN, half, Timestamp::MAX].map(sortable));
    }

    #[test]
    fn a_version_is_the_same_in_the_script_as_in_the_record() {
        for version in [1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let record = record::encode(Version(version), None, &presence::UserPresence::default()).unwrap();
            assert_eq!(&record[1..=varint(version).len()], varint(version));
        }
    }
}
