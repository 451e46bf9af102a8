//! One connection after the other with one tenant's broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::EngineError;
use futures_util::future::join_all;
use graph::mqtt::OFFLINE;
use mqtt::{ConnectError, Message, ProtocolError, Will, outgoing};
use outbound::Policy;
use parking_lot::Mutex;
use presence::{Command, PresenceError, SessionLifetime, TenantId, Timestamp, UserId, UserKey};
use store::{Document, DocumentKind, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::held::{Due, Held, Taken, Write};
use super::mapping::{Mapping, Reading, Said};
use super::settings::{MqttSettings, SettingsError};
use super::talk;
use crate::app::App;
use crate::directory::Tenant;

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
pub(super) struct Counts {
    is_connected: AtomicBool,
    connects: AtomicU64,
    failures: AtomicU64,
    pub(super) published: AtomicU64,
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
    pub(super) app: Arc<App>,
    pub(super) tenant: TenantId,
    pub(super) settings: MqttSettings,
    pub(super) mappings: Vec<Mapping>,
    policy: Policy,
    /// Whether it is this process's turn: of several over one store, one speaks to the broker at a time.
    turn: watch::Receiver<bool>,
    pub(super) version: &'static str,
    held: Mutex<Held>,
    /// Something is to be written earlier than was known.
    is_due: Notify,
    /// How far of the log the broker has acknowledged.
    pub(super) cursor: AtomicU64,
    saved: AtomicU64,
    pub(super) counts: Counts,
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
        let (mut stop, mut turn) = (stop.clone(), self.turn.clone());
        let ended = tokio::select! {
            ended = talk::hold(self, &mut reader, &mut writer) => ended,
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

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.app.engine.store()
    }

    pub(super) fn directory(&self) -> Option<Arc<Tenant>> {
        self.app.directory().tenant(self.tenant).cloned()
    }

    pub(super) fn status_topic(&self) -> String {
        format!("{}/status", self.settings.topic)
    }

    pub(super) fn state_topic(&self, user: UserId) -> String {
        format!("{}/users/{user}", self.settings.topic)
    }

    /// The user of a topic of our own.
    pub(super) fn user_of(&self, topic: &str) -> Option<UserId> {
        topic.strip_prefix(&self.settings.topic)?.strip_prefix("/users/")?.parse().ok()
    }

    pub(super) fn discovery_topic(&self, user: UserId) -> Option<String> {
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
    pub(super) async fn save(&self) {
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
    pub(super) fn take(&self, message: &Message) {
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

    pub(super) fn count(&self, outcome: Outcome, topic: &str) {
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

/// A name for machines, the same on every start.
pub(super) fn sensor_id(user: UserId) -> String {
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
