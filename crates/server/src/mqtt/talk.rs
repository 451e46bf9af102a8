//! What is said over one connection with a broker: changes out, messages in, and how far both have come.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use graph::mqtt::{ONLINE, Sensor};
use mqtt::{Message, Packet, ProtocolError, Reader, Writer, outgoing};
use parking_lot::Mutex;
use presence::{SequenceNumber, UserId, UserKey};
use store::{LogEntry, LogRead, Position, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::bridge::{Bridge, BridgeError, Outcome, sensor_id};
use super::mapping::Mapping;
use super::window::Window;
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
/// Names of subscriptions.
const OWN_ID: u16 = 2;
const DEVICES_ID: u16 = 3;

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

/// Speaks and listens until the connection breaks.
///
/// # Errors
/// [`BridgeError`]: what broke it, or a store that cannot be read.
pub(super) async fn hold(
    bridge: &Bridge,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), BridgeError> {
    let (out, mut packets) = mpsc::channel(OUTGOING_MAX);
    let talk = Talk {
        bridge,
        out,
        window: Mutex::new(Window::new(Position(bridge.cursor.load(Ordering::Relaxed)))),
        room: Notify::new(),
        pongs: watch::Sender::new(0),
        remembered: Mutex::new(Some(Remembered::default())),
        heard: Mutex::new(Instant::now()),
    };
    tokio::select! {
        ended = write(writer, &mut packets) => ended,
        ended = talk.read(reader) => ended,
        ended = talk.tell() => ended,
        ended = talk.ping() => ended,
        ended = talk.save() => ended,
    }
}

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
