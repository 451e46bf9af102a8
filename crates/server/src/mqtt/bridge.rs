//! One connection after the other with one tenant's broker.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::EngineError;
use futures_util::future::join_all;
use graph::mqtt::{OFFLINE, ONLINE, Sensor};
use mqtt::{ConnectError, Message, Packet, ProtocolError, Reader, Will, Writer, outgoing};
use outbound::Policy;
use parking_lot::Mutex;
use presence::{
    Command, PresenceError, SequenceNumber, SessionLifetime, TenantId, Timestamp, UserId, UserKey,
};
use store::{Document, DocumentKind, LogEntry, LogRead, Position, Store, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::held::{Due, Held, Taken, Write};
use super::mapping::{Mapping, Reading, Said};
use super::settings::{MqttSettings, SettingsError};
use super::window::Window;
use crate::app::App;
use crate::directory::Tenant;

/// Messages of devices that are looked at in a second; beyond it the broker has to wait.
pub const MESSAGES_PER_SECOND_MAX: u32 = 10_000;
/// Packets waiting to be written.
const OUTGOING_MAX: usize = 256;
/// Packets written at a time.
const WRITE_BATCH: usize = 64;
/// How long the broker may take to take what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often we say that we are there, and
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// how long the broker may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(35);
/// How long the broker may take to tell what it remembers.
const REMEMBER_TIMEOUT: Duration = Duration::from_secs(60);
/// Entries of the log read at a time.
const PAGE_MAX: usize = 512;
/// Users whose state is read at a time.
const PART: usize = 650;
/// How often it is kept how far the broker has come.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is looked whether users have come or gone.
const DIRECTORY_INTERVAL: Duration = Duration::from_secs(2);
/// How long a farewell may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest and
const RECONNECT_MIN: Duration = Duration::from_secs(1);
/// longest wait before the next connection.
const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one: the next is tried at once.
const GOOD_FROM: Duration = Duration::from_secs(30);
/// How often at most it is logged that messages are of no use.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// What became of a message of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed what is held.
    Applied,
    /// It said what was known.
    Unchanged,
    /// It cannot be understood.
    Malformed,
    /// The broker remembered it, and nobody knows from when.
    Stale,
    /// It is about nobody in the directory.
    UnknownUser,
    /// The application of its mapping may not do that, or no more can be held.
    Refused,
    /// No mapping wants it.
    Unwanted,
}

impl Outcome {
    /// Every outcome and its name.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Applied, "applied"),
        (Self::Unchanged, "unchanged"),
        (Self::Malformed, "malformed"),
        (Self::Stale, "stale"),
        (Self::UnknownUser, "unknown_user"),
        (Self::Refused, "refused"),
        (Self::Unwanted, "unwanted"),
    ];
}

/// How a bridge stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeStatus {
    /// Whether there is a connection.
    pub is_connected: bool,
    /// Connections so far.
    pub connects: u64,
    /// Attempts that came to nothing, and connections that broke.
    pub failures: u64,
    /// Messages that the broker has acknowledged.
    pub published: u64,
    /// Entries of the log that it has not.
    pub behind: u64,
    /// Sessions held for devices.
    pub held: u64,
    /// Messages of devices, by [`Outcome::ALL`].
    pub messages: [u64; Outcome::ALL.len()],
}

#[derive(Debug, Default)]
struct Counts {
    is_connected: AtomicBool,
    connects: AtomicU64,
    failures: AtomicU64,
    published: AtomicU64,
    messages: [AtomicU64; Outcome::ALL.len()],
}

/// Why a conversation ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// A file is missing or wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The broker is silent, or does not take what is written.
    #[error("the broker does not answer")]
    Silent,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same, on the way through the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// One tenant's way to its broker.
pub struct Bridge {
    app: Arc<App>,
    tenant: TenantId,
    settings: MqttSettings,
    mappings: Vec<Mapping>,
    policy: Policy,
    /// Whether it is this process's turn: of several over one store, one speaks to the broker at a time.
    turn: watch::Receiver<bool>,
    version: &'static str,
    held: Mutex<Held>,
    /// Something is to be written earlier than was known.
    is_due: Notify,
    /// How far of the log the broker has acknowledged.
    cursor: AtomicU64,
    saved: AtomicU64,
    counts: Counts,
    /// When messages were complained of last.
    complained: Mutex<Option<Instant>>,
}

impl Bridge {
    /// A bridge that goes on where the store says that the broker has come. `turn` says whether it is this process's turn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(
        app: Arc<App>,
        tenant: TenantId,
        settings: MqttSettings,
        policy: Policy,
        turn: watch::Receiver<bool>,
        version: &'static str,
    ) -> Result<Self, StoreError> {
        let bridge = Self {
            mappings: settings.mappings(),
            app,
            tenant,
            settings,
            policy,
            turn,
            version,
            held: Mutex::default(),
            is_due: Notify::new(),
            cursor: AtomicU64::new(0),
            saved: AtomicU64::new(u64::MAX),
            counts: Counts::default(),
            complained: Mutex::default(),
        };
        bridge.load_cursor().await?;
        Ok(bridge)
    }

    /// How it stands.
    pub fn status(&self) -> BridgeStatus {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let end = self.store().log_end().borrow().0;
        BridgeStatus {
            is_connected: self.counts.is_connected.load(Ordering::Relaxed),
            connects: get(&self.counts.connects),
            failures: get(&self.counts.failures),
            published: get(&self.counts.published),
            behind: end.saturating_sub(get(&self.cursor)),
            held: self.held.lock().len() as u64,
            messages: std::array::from_fn(|at| get(&self.counts.messages[at])),
        }
    }

    /// Speaks to the broker until `stop` turns true: connects, again and again, and meanwhile keeps what devices hold.
    pub(crate) async fn run(&self, stop: watch::Receiver<bool>) {
        let mut stopped = stop.clone();
        tokio::select! {
            () = self.keep_connected(stop) => {}
            () = self.keep_sessions() => {}
        }
        let _ = stopped.wait_for(|stop| *stop).await;
        self.save().await;
    }

    async fn keep_connected(&self, mut stop: watch::Receiver<bool>) {
        let mut wait = RECONNECT_MIN;
        let mut turn = self.turn.clone();
        loop {
            tokio::select! {
                // A turn that nobody can give any more: only the end is waited for.
                granted = turn.wait_for(|is_mine| *is_mine) => if granted.is_err() {
                    return;
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let began = Instant::now();
            let ended = self.converse(&stop).await;
            if self.counts.is_connected.swap(false, Ordering::Relaxed) {
                self.held.lock().disconnected(self.now());
                self.is_due.notify_one();
            }
            self.save().await;
            if *stop.borrow() {
                return;
            }
            let Err(error) = ended else { continue };
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            let was_good = began.elapsed() >= GOOD_FROM;
            if was_good || wait == RECONNECT_MIN {
                tracing::warn!(tenant = %self.tenant, %error, "no conversation with the MQTT broker; it is tried again, and the log waits");
            } else {
                tracing::debug!(tenant = %self.tenant, %error, "no conversation with the MQTT broker yet");
            }
            wait = if was_good { RECONNECT_MIN } else { wait };
            tokio::select! {
                () = sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            wait = (wait * 2).min(RECONNECT_MAX);
        }
    }

    async fn converse(&self, stop: &watch::Receiver<bool>) -> Result<(), BridgeError> {
        let status = self.status_topic();
        let will = Will { topic: status.clone(), payload: OFFLINE.into() };
        let broker = self.settings.broker(self.tenant, "", Some(will))?;
        let (mut reader, mut writer) = mqtt::connect(&broker, &self.policy).await?;
        self.counts.connects.fetch_add(1, Ordering::Relaxed);
        self.counts.is_connected.store(true, Ordering::Relaxed);
        tracing::info!(tenant = %self.tenant, host = broker.host, port = broker.port, "connected to the MQTT broker");
        // Of several over one store, another may have spoken since.
        self.load_cursor().await?;
        let (outgoing_sender, mut outgoing_packets) = mpsc::channel(OUTGOING_MAX);
        let talk = Talk {
            bridge: self,
            out: outgoing_sender,
            window: Mutex::new(Window::new(Position(self.cursor.load(Ordering::Relaxed)))),
            room: Notify::new(),
            pongs: watch::Sender::new(0),
            remembered: Mutex::new(Some(Remembered::default())),
            heard: Mutex::new(Instant::now()),
        };
        let (mut stop, mut turn) = (stop.clone(), self.turn.clone());
        let ended = tokio::select! {
            ended = write(&mut writer, &mut outgoing_packets) => ended,
            ended = talk.read(&mut reader) => ended,
            ended = talk.tell() => ended,
            ended = talk.ping() => ended,
            ended = talk.save() => ended,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            // Where nobody can take the turn away, there is nothing to wait for.
            Ok(_) = turn.wait_for(|is_mine| !*is_mine) => Ok(()),
        };
        if ended.is_ok() {
            // Half a packet may have been written; then the broker sends the last will, which says the same.
            let mut farewell = outgoing::publish(1, &status, OFFLINE.as_bytes(), true);
            farewell.extend(outgoing::disconnect());
            let _ = timeout(FAREWELL_TIMEOUT, writer.write(&farewell)).await;
        }
        let _ = timeout(FAREWELL_TIMEOUT, writer.close()).await;
        ended
    }

    fn now(&self) -> Timestamp {
        self.app.engine.clock().now()
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.app.engine.store()
    }

    fn directory(&self) -> Option<Arc<Tenant>> {
        self.app.directory().tenant(self.tenant).cloned()
    }

    fn status_topic(&self) -> String {
        format!("{}/status", self.settings.topic)
    }

    fn state_topic(&self, user: UserId) -> String {
        format!("{}/users/{user}", self.settings.topic)
    }

    /// The user of a topic of our own.
    fn user_of(&self, topic: &str) -> Option<UserId> {
        topic.strip_prefix(&self.settings.topic)?.strip_prefix("/users/")?.parse().ok()
    }

    fn discovery_topic(&self, user: UserId) -> Option<String> {
        let prefix = self.settings.discovery.as_ref()?;
        Some(format!("{prefix}/sensor/{}/config", sensor_id(user)))
    }

    async fn load_cursor(&self) -> Result<(), StoreError> {
        let documents = self.store().documents(DocumentKind::MqttCursor).await?;
        let key = self.tenant.as_u128().to_be_bytes();
        let kept =
            documents.into_iter().find(|document| document.key == key).and_then(|document| document.body);
        let kept = kept.and_then(|body| body.try_into().ok()).map(u64::from_be_bytes);
        if let Some(kept) = kept {
            self.saved.store(kept, Ordering::Relaxed);
            self.cursor.fetch_max(kept, Ordering::Relaxed);
        } else if self.saved.load(Ordering::Relaxed) == u64::MAX {
            // The first time: what is now is told as it is, and changes from here on.
            self.cursor.store(self.store().log_end().borrow().0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Keeps how far the broker has come.
    async fn save(&self) {
        let cursor = self.cursor.load(Ordering::Relaxed);
        if self.saved.load(Ordering::Relaxed) == cursor {
            return;
        }
        let document = Document {
            kind: DocumentKind::MqttCursor,
            key: self.tenant.as_u128().to_be_bytes().to_vec(),
            body: Some(cursor.to_be_bytes().to_vec()),
        };
        match self.store().put_documents(vec![document]).await {
            Ok(()) => self.saved.store(cursor, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, "how far the MQTT broker has come could not be kept; after a crash more is told twice");
            }
        }
    }
}

/// What devices hold.
impl Bridge {
    /// Writes sessions as they fall due.
    async fn keep_sessions(&self) {
        loop {
            let is_due = self.is_due.notified();
            let now = self.now();
            let (due, next) = {
                let held = self.held.lock();
                (held.due(now), held.next_due())
            };
            if due.is_empty() {
                let next = next.unwrap_or(Timestamp::MAX);
                tokio::select! {
                    () = is_due => {}
                    () = self.app.engine.clock().sleep_until(next) => {}
                }
                continue;
            }
            let written = join_all(due.iter().map(|due| self.write(due))).await;
            let now = self.now();
            let mut held = self.held.lock();
            for (due, written) in due.iter().zip(written) {
                match written {
                    Ok(()) => held.done(due, now),
                    Err(error) => {
                        tracing::warn!(%error, "a presence session held over MQTT could not be written; it is tried again");
                        held.failed(due, now);
                    }
                }
            }
        }
    }

    async fn write(&self, due: &Due) -> Result<(), EngineError> {
        let (user, app) = due.key;
        let command = match due.write {
            Write::Set(pair) => Command::SetPresence { app, pair, lifetime: SessionLifetime::default() },
            Write::End => Command::ClearPresence { app },
        };
        if matches!(due.write, Write::Set(_)) && !self.may_hold(app, user) {
            return Ok(()); // Gone from the directory since: what was written ends by itself.
        }
        match self.app.engine.execute(UserKey { tenant: self.tenant, user }, command).await {
            Ok(_) => Ok(()),
            // Nothing to end, or more sessions than a user may have: trying again helps nobody.
            Err(EngineError::Presence(PresenceError::SessionNotFound)) => Ok(()),
            Err(EngineError::Presence(error)) => {
                self.complain("the rules refuse it", &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the application may hold sessions of the user: what it may over HTTP.
    fn may_hold(&self, app: presence::AppId, user: UserId) -> bool {
        let Some(tenant) = self.directory() else { return false };
        let grant = tenant.applications.get(&app).map(|application| graph::Grant::Application {
            roles: graph::PermissionSet::from_names(application.roles.iter().map(String::as_str)),
        });
        let Some(grant) = grant else { return false };
        tenant.user(user).is_some()
            && self.app.authorize(graph::Operation::SetPresence, &grant, Some(user)).is_ok()
    }

    /// Takes a message of a device.
    fn take(&self, message: &Message) {
        let mut outcome = Outcome::Unwanted;
        for mapping in &self.mappings {
            outcome = match mapping.read(message) {
                Reading::NotMine => continue,
                Reading::Malformed => Outcome::Malformed,
                Reading::Stale => Outcome::Stale,
                Reading::Said { user, said } => self.hold(mapping, user, said, message.is_retained),
            };
            self.count(outcome, &message.topic);
        }
        if outcome == Outcome::Unwanted {
            self.count(outcome, &message.topic);
        }
    }

    fn hold(&self, mapping: &Mapping, user: &str, said: Said, is_retained: bool) -> Outcome {
        let Some(tenant) = self.directory() else { return Outcome::UnknownUser };
        let user = user.parse().ok().or_else(|| tenant.user_by_name(user));
        let Some(user) = user.filter(|user| tenant.user(*user).is_some()) else {
            return Outcome::UnknownUser;
        };
        if !self.may_hold(mapping.app, user) {
            return Outcome::Refused;
        }
        let taken =
            self.held.lock().take((user, mapping.app), said, is_retained, mapping.keep_alive, self.now());
        match taken {
            Taken::News => {
                self.is_due.notify_one();
                Outcome::Applied
            }
            Taken::Same => Outcome::Unchanged,
            Taken::Ignored => Outcome::Stale,
            Taken::Full => Outcome::Refused,
        }
    }

    fn count(&self, outcome: Outcome, topic: &str) {
        self.counts.messages[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if matches!(outcome, Outcome::Malformed | Outcome::UnknownUser | Outcome::Refused) {
            self.complain("a message is of no use", &format_args!("{outcome:?} at {topic:?}"));
        }
    }

    /// Logs that something came to nothing, once in a while: a flood of messages must not be one of lines.
    fn complain(&self, what: &str, why: &dyn std::fmt::Display) {
        let mut complained = self.complained.lock();
        if complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            tracing::warn!(tenant = %self.tenant, %why, "MQTT: {what}; more of that is only counted for a minute");
        }
    }
}

/// What the broker remembers of users from before.
#[derive(Default)]
struct Remembered {
    known: HashMap<UserId, SequenceNumber>,
    strangers: HashSet<UserId>,
}

/// One connection.
struct Talk<'b> {
    bridge: &'b Bridge,
    out: mpsc::Sender<Vec<u8>>,
    window: Mutex<Window>,
    /// The window has changed.
    room: Notify,
    /// Answers to pings.
    pongs: watch::Sender<u64>,
    /// While it is being asked for.
    remembered: Mutex<Option<Remembered>>,
    heard: Mutex<Instant>,
}

/// Names of subscriptions.
const OWN_ID: u16 = 2;
const DEVICES_ID: u16 = 3;

async fn write(writer: &mut Writer, packets: &mut mpsc::Receiver<Vec<u8>>) -> Result<(), BridgeError> {
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    while packets.recv_many(&mut batch, WRITE_BATCH).await > 0 {
        let bytes = batch.concat();
        batch.clear();
        timeout(WRITE_TIMEOUT, writer.write(&bytes)).await.map_err(|_| BridgeError::Silent)??;
    }
    Ok(())
}

impl Talk<'_> {
    async fn send(&self, packet: Vec<u8>) -> Result<(), BridgeError> {
        self.out.send(packet).await.map_err(|_| BridgeError::Silent)
    }

    async fn ping(&self) -> Result<(), BridgeError> {
        loop {
            sleep(PING_INTERVAL).await;
            if self.heard.lock().elapsed() > SILENCE_MAX {
                return Err(BridgeError::Silent);
            }
            self.send(outgoing::ping()).await?;
        }
    }

    async fn save(&self) -> Result<(), BridgeError> {
        loop {
            sleep(SAVE_INTERVAL).await;
            self.bridge.save().await;
        }
    }

    async fn read(&self, reader: &mut Reader) -> Result<(), BridgeError> {
        let (mut second, mut messages) = (Instant::now(), 0);
        loop {
            let packet = reader.read().await?;
            *self.heard.lock() = Instant::now();
            let acknowledge = match packet {
                Packet::Publish(message) => {
                    if !self.remember(&message) {
                        self.bridge.take(&message);
                        messages += 1;
                    }
                    message.id
                }
                Packet::TooLarge { id } => {
                    self.bridge.count(Outcome::Malformed, "a topic whose message is too large");
                    messages += 1;
                    id
                }
                Packet::PubAck { id } => {
                    self.arrive(id);
                    None
                }
                Packet::SubAck { id, is_granted } => {
                    if !is_granted {
                        let what = if id == OWN_ID { "our own topics" } else { "topics of devices" };
                        tracing::warn!(tenant = %self.bridge.tenant, what, "the MQTT broker refuses a subscription");
                    }
                    None
                }
                Packet::PingResp => {
                    self.pongs.send_modify(|pongs| *pongs += 1);
                    None
                }
                Packet::UnsubAck => None,
                Packet::ConnAck { .. } => return Err(ProtocolError::Malformed("a second welcome").into()),
            };
            if let Some(id) = acknowledge {
                self.send(outgoing::puback(id)).await?;
            }
            // A flood waits at the broker, which has bounds of its own.
            if second.elapsed() >= Duration::from_secs(1) {
                (second, messages) = (Instant::now(), 0);
            } else if messages >= MESSAGES_PER_SECOND_MAX {
                tokio::time::sleep_until(second + Duration::from_secs(1)).await;
            }
        }
    }

    fn arrive(&self, id: u16) {
        let mut window = self.window.lock();
        let before = window.room();
        window.arrive(id);
        let arrived = window.room().saturating_sub(before) as u64;
        self.bridge.counts.published.fetch_add(arrived, Ordering::Relaxed);
        self.bridge.cursor.fetch_max(window.cursor().0, Ordering::Relaxed);
        drop(window);
        self.room.notify_one();
    }

    /// Notes what the broker remembers of a user; `false`: the message is a device's.
    fn remember(&self, message: &Message) -> bool {
        if !message
            .topic
            .strip_prefix(&self.bridge.settings.topic)
            .is_some_and(|rest| rest.starts_with("/users/"))
        {
            return false;
        }
        let mut remembered = self.remembered.lock();
        let (Some(remembered), Some(user)) = (remembered.as_mut(), self.bridge.user_of(&message.topic))
        else {
            return true;
        };
        let is_known = self.bridge.directory().is_some_and(|tenant| tenant.user(user).is_some());
        if !is_known {
            // As many as one page of strangers; the rest with the next connection.
            if remembered.strangers.len() < PAGE_MAX {
                remembered.strangers.insert(user);
            }
        } else if let Some(number) = graph::mqtt::sequence_number_of(&message.payload) {
            remembered.known.insert(user, number);
        }
        true
    }

    /// Publishes, once there is room; the log is told up to `position` with it.
    async fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        position: Option<Position>,
    ) -> Result<(), BridgeError> {
        loop {
            let room = self.room.notified();
            let id = self.window.lock().depart(position);
            if let Some(id) = id {
                return self.send(outgoing::publish(id, topic, payload, true)).await;
            }
            room.await;
        }
    }

    /// Subscribes, sets right what the broker remembers, and follows the log.
    async fn tell(&self) -> Result<(), BridgeError> {
        let bridge = self.bridge;
        let own = format!("{}/users/+", bridge.settings.topic);
        self.send(outgoing::subscribe(OWN_ID, std::slice::from_ref(&own), false)).await?;
        let remembered = self.recollect(&own).await?;
        let filters: Vec<String> = bridge.mappings.iter().flat_map(Mapping::filters).collect();
        if !filters.is_empty() {
            self.send(outgoing::subscribe(DEVICES_ID, &filters, true)).await?;
        }
        for user in remembered.strangers {
            self.remove(user).await?;
        }
        self.publish(&bridge.status_topic(), ONLINE.as_bytes(), None).await?;
        let mut announced = HashMap::new();
        let mut directory = bridge.directory();
        self.announce(directory.as_deref(), &mut announced).await?;
        let mut known = Some(remembered.known);
        let mut growth = bridge.store().log_end();
        let mut after = self.window.lock().cursor();
        loop {
            growth.borrow_and_update();
            match bridge.store().read_log(after, PAGE_MAX).await? {
                LogRead::Behind { oldest, end } => {
                    tracing::warn!(tenant = %bridge.tenant, oldest = oldest.0, "the log no longer has what the MQTT broker was to be told; it is told how everybody is shown now");
                    after = Position(oldest.0.saturating_sub(1)).min(end);
                    self.pass(after);
                    known = Some(HashMap::new());
                }
                LogRead::Page { end, .. } if end < after => {
                    tracing::warn!(tenant = %bridge.tenant, end = end.0, "the log ends before what the MQTT broker was told: it is another one");
                    after = end;
                    *self.window.lock() = Window::new(end);
                    bridge.cursor.store(end.0, Ordering::Relaxed);
                    known = Some(HashMap::new());
                }
                LogRead::Page { entries, .. } if entries.is_empty() => {
                    if let Some(known) = known.take() {
                        let users = bridge.directory().into_iter().flat_map(|tenant| ids(&tenant)).collect();
                        self.set_right(users, &known).await?;
                    }
                    tokio::select! {
                        grown = growth.changed() => if grown.is_err() {
                            return Err(StoreError::Unavailable("it is closed".into()).into());
                        },
                        () = sleep(DIRECTORY_INTERVAL) => {}
                    }
                    let now = bridge.directory();
                    if now.as_ref().map(Arc::as_ptr) != directory.as_ref().map(Arc::as_ptr) {
                        directory = now;
                        let come = self.announce(directory.as_deref(), &mut announced).await?;
                        self.set_right(come, &HashMap::new()).await?;
                    }
                }
                LogRead::Page { entries, .. } => {
                    for entry in &entries {
                        self.entry(entry, known.as_mut()).await?;
                        after = entry.position;
                    }
                }
            }
        }
    }

    /// Asks the broker what it remembers of users, by subscribing to our own topics for a moment.
    async fn recollect(&self, own: &str) -> Result<Remembered, BridgeError> {
        // What is remembered comes before the answer to a ping. What comes later is published once more, which does no harm.
        let mut pongs = self.pongs.subscribe();
        pongs.borrow_and_update();
        self.send(outgoing::ping()).await?;
        match timeout(REMEMBER_TIMEOUT, pongs.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(BridgeError::Silent),
        }
        self.send(outgoing::unsubscribe(OWN_ID, own)).await?;
        Ok(self.remembered.lock().take().unwrap_or_default())
    }

    async fn entry(
        &self,
        entry: &LogEntry,
        known: Option<&mut HashMap<UserId, SequenceNumber>>,
    ) -> Result<(), BridgeError> {
        let LogEntry { position, user, change } = entry;
        let is_told = user.tenant == self.bridge.tenant
            && self.bridge.directory().is_some_and(|tenant| tenant.user(user.user).is_some());
        if !is_told {
            self.pass(*position);
            return Ok(());
        }
        if let Some(known) = known {
            known.insert(user.user, change.sequence_number);
        }
        let state = graph::mqtt::state(change.pair, change.at, change.sequence_number);
        self.publish(&self.bridge.state_topic(user.user), &state, Some(*position)).await
    }

    fn pass(&self, position: Position) {
        let mut window = self.window.lock();
        window.pass(position);
        self.bridge.cursor.fetch_max(window.cursor().0, Ordering::Relaxed);
    }

    /// Publishes how those users are shown of whom the broker remembers something else.
    async fn set_right(
        &self,
        users: Vec<UserId>,
        known: &HashMap<UserId, SequenceNumber>,
    ) -> Result<(), BridgeError> {
        let tenant = self.bridge.tenant;
        for part in users.chunks(PART) {
            let keys: Vec<UserKey> = part.iter().map(|user| UserKey { tenant, user: *user }).collect();
            let reading = self.bridge.app.engine.read(&keys).await?;
            for (user, record) in part.iter().zip(&reading.users) {
                let shown = record.at(reading.now);
                if known.get(user) != Some(&shown.sequence_number) {
                    let state = graph::mqtt::state(shown.pair, reading.now, shown.sequence_number);
                    self.publish(&self.bridge.state_topic(*user), &state, None).await?;
                }
            }
        }
        Ok(())
    }

    /// Tells of users who have come, have another name or are gone, since `announced`; answers with those who have come.
    async fn announce(
        &self,
        tenant: Option<&Tenant>,
        announced: &mut HashMap<UserId, u64>,
    ) -> Result<Vec<UserId>, BridgeError> {
        let gone: Vec<UserId> = announced
            .keys()
            .filter(|user| tenant.is_none_or(|tenant| tenant.user(**user).is_none()))
            .copied()
            .collect();
        for user in gone {
            self.remove(user).await?;
            announced.remove(&user);
        }
        let mut come = Vec::new();
        for user in tenant.into_iter().flat_map(Tenant::users) {
            let name = user.display_name.as_deref().unwrap_or(&user.user_principal_name);
            let print = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
            let before = announced.insert(user.id, print);
            if before == Some(print) {
                continue;
            }
            if before.is_none() {
                come.push(user.id);
            }
            if let Some(topic) = self.bridge.discovery_topic(user.id) {
                let discovery = graph::mqtt::discovery(&Sensor {
                    id: &sensor_id(user.id),
                    name,
                    state_topic: &self.bridge.state_topic(user.id),
                    status_topic: &self.bridge.status_topic(),
                    version: self.bridge.version,
                });
                self.publish(&topic, &discovery, None).await?;
            }
        }
        Ok(come)
    }

    /// Has the broker forget a user.
    async fn remove(&self, user: UserId) -> Result<(), BridgeError> {
        if let Some(topic) = self.bridge.discovery_topic(user) {
            self.publish(&topic, &[], None).await?;
        }
        self.publish(&self.bridge.state_topic(user), &[], None).await
    }
}

fn ids(tenant: &Tenant) -> Vec<UserId> {
    tenant.users().map(|user| user.id).collect()
}

/// A name for machines, the same on every start.
fn sensor_id(user: UserId) -> String {
    format!("presenced_{:032x}", user.as_u128())
}

/// Connects to a broker, under another name than the server's, and takes leave: for whoever wants to know whether it would work.
///
/// # Errors
/// [`BridgeError`].
pub async fn try_broker(
    tenant: TenantId,
    settings: &MqttSettings,
    policy: &Policy,
) -> Result<(), BridgeError> {
    let broker = settings.broker(tenant, "-doctor", None)?;
    let (_reader, mut writer) = mqtt::connect(&broker, policy).await?;
    writer.write(&outgoing::disconnect()).await?;
    writer.close().await;
    Ok(())
}
