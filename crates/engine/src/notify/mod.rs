//! Change notifications: who watches whom, and what is still to be told to them.
//!
//! [`Notifier`] is the steps: [`create`](Notifier::create) and its kind change subscriptions and answer when that is durable;
//! [`pump`](Notifier::pump) reads the store's log, [`plan`](Notifier::plan) says what to post now,
//! [`finish`](Notifier::finish) takes the outcome, [`save`](Notifier::save) makes durable how far delivery has come. The
//! outbox is the log and a cursor for each subscription that lags; a restart goes on there, so a change is told at least
//! once, and twice under the same [id](PostItem::notification_id).
//!
//! What goes over the wire, its encryption and the sockets are the [`Sink`]'s; who may subscribe is the server's.

mod health;
mod lifecycle;
mod queue;
mod retry;
mod share;
mod subscribe;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use presence::{Change, Timestamp, UserKey};
use store::{Document, DocumentKind, LOG_READ_MAX, LogRead, Position, Store, StoreError};
use tokio::sync::Notify;
use uuid::{Builder, Uuid};

pub use health::{Admission, Health, HealthSettings, State};
pub use retry::RetrySettings;
pub use subscribe::{Quota, Renewal, SubscribeError};
pub use subscription::{
    Certificate, REAUTHORIZE_AT_MINUTES, Subscription, SubscriptionEvent, SubscriptionId,
    USERS_PER_SUBSCRIPTION_MAX,
};

use self::lifecycle::{Kept, LifecycleKey, fired_until_document};
use self::queue::Queue;
use crate::{Clock, EngineError, Ids};

/// Most items of one POST. Source: change-notifications §7.
pub const ITEMS_PER_POST_MAX: usize = 100;
/// Most POSTs of one [`Notifier::plan`].
pub const PLANNED_POSTS_MAX: usize = 256;
/// Most changes of one subscription that wait in memory. Beyond it [`Backlog::Newest`] keeps the newest of each user and tells
/// `missed`; under [`Backlog::Every`] the others wait in the log.
pub const EVERY_BACKLOG_MAX: usize = 1_000;
/// Most notifications waiting for one URL; beyond it they are dropped, and `missed`.
pub const TARGET_BACKLOG_MAX: usize = 100_000;
/// Endpoints whose health is remembered; beyond it healthy ones are forgotten, which harms nobody.
pub const ENDPOINTS_MAX: usize = 65_536;
/// Attempts that the delivery log remembers, oldest forgotten first.
pub const DELIVERY_LOG_MAX: usize = 10_000;

/// What becomes of changes that cannot be delivered for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backlog {
    /// While a notification waits to be tried again, a newer state of the same user replaces it. As documented.
    #[default]
    Newest,
    /// Every change is told, in order, as long as the log has it and [`RetrySettings::give_up_after`] has not passed.
    Every,
}

/// What can be chosen about delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// What becomes of a backlog.
    pub backlog: Backlog,
    /// Spacing of attempts.
    pub retry: RetrySettings,
    /// When an endpoint is slow.
    pub health: HealthSettings,
    /// Most POSTs under way; a quarter of them to URLs whose last POST failed.
    pub posts_max: usize,
    /// How long a first attempt may take, by the machine's clock.
    pub first_limit: Duration,
    /// How long any other may take.
    pub retry_limit: Duration,
    /// How much of everything there may be.
    pub bounds: Bounds,
}

/// How much may wait, go at once and be remembered. The names in capitals are what a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// [`ITEMS_PER_POST_MAX`].
    pub items_per_post: usize,
    /// [`PLANNED_POSTS_MAX`].
    pub planned_posts: usize,
    /// [`EVERY_BACKLOG_MAX`].
    pub backlog: usize,
    /// [`TARGET_BACKLOG_MAX`].
    pub target_backlog: usize,
    /// [`ENDPOINTS_MAX`].
    pub endpoints: usize,
    /// [`DELIVERY_LOG_MAX`].
    pub attempts: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            items_per_post: ITEMS_PER_POST_MAX,
            planned_posts: PLANNED_POSTS_MAX,
            backlog: EVERY_BACKLOG_MAX,
            target_backlog: TARGET_BACKLOG_MAX,
            endpoints: ENDPOINTS_MAX,
            attempts: DELIVERY_LOG_MAX,
        }
    }
}

/// As documented, and 1024 POSTs. Source: change-notifications §7.
impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            backlog: Backlog::default(),
            retry: RetrySettings::default(),
            health: HealthSettings::default(),
            posts_max: 1_024,
            first_limit: Duration::from_secs(3),
            retry_limit: Duration::from_secs(10),
            bounds: Bounds::default(),
        }
    }
}

/// A lifecycle event. Source: change-notifications §8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LifecycleEvent {
    /// The token or the subscription is about to end.
    ReauthorizationRequired,
    /// The server has removed the subscription.
    SubscriptionRemoved,
    /// Something was not delivered and will not be.
    Missed,
}

/// What one item tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A user's presence changed.
    Change {
        /// Where the change stands in the log.
        position: Position,
        /// Whose presence.
        user: UserKey,
        /// What it is now.
        change: Change,
    },
    /// Something happened to the subscription.
    Lifecycle {
        /// What.
        event: LifecycleEvent,
        /// When.
        at: Timestamp,
    },
}

impl Notice {
    fn user(&self) -> Option<UserKey> {
        match self {
            Self::Change { user, .. } => Some(*user),
            Self::Lifecycle { .. } => None,
        }
    }

    /// Where it stands in the log, if it is a change.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Change { position, .. } => Some(*position),
            Self::Lifecycle { .. } => None,
        }
    }
}

/// One item of a POST.
#[derive(Clone, Debug)]
pub struct PostItem {
    /// The subscription as it is now.
    pub subscription: Arc<Subscription>,
    /// What it is told.
    pub notice: Notice,
    /// The same whenever the same is told to the same subscription again: a receiver can recognize duplicates by it.
    pub notification_id: Uuid,
}

impl PostItem {
    fn new(subscription: &Arc<Subscription>, notice: Notice) -> Self {
        let low = match notice {
            // The position by itself tells a store's changes apart; in a store that was moved to they begin anew, and then what
            // happened does, in other bits.
            Notice::Change { position, user, change } => {
                let ticks = (change.at.as_nanosecond() / 100) as u64;
                let user = user.user.as_u128();
                let user = (user as u64 ^ (user >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let number = change.sequence_number.0 << 40;
                u128::from(ticks ^ user) << 64 | u128::from(position.0 ^ number)
            }
            Notice::Lifecycle { event, at } => {
                (event as u128 + 1) << 64 | u128::from(at.as_microsecond() as u64)
            }
        };
        let bytes = (subscription.id.0.as_u128() ^ low).to_be_bytes();
        let notification_id = Builder::from_custom_bytes(bytes).into_uuid();
        Self { subscription: Arc::clone(subscription), notice, notification_id }
    }
}

/// Names a POST that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostId(pub u64);

/// A POST to make now. Until [`Notifier::finish`] is told how it went, none is planned to the same URL.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its name.
    pub id: PostId,
    /// Where to.
    pub url: Arc<str>,
    /// Scheme, host and port of that.
    pub endpoint: String,
    /// The how manieth to this URL since one succeeded, from 1.
    pub attempt: u32,
    /// How long it may take, by the machine's clock.
    pub limit: Duration,
    /// What it tells, in order; one at least, [`ITEMS_PER_POST_MAX`] at most.
    pub items: Vec<PostItem>,
}

/// How a POST went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Any 2xx, in time.
    Delivered {
        /// Which.
        status: u16,
    },
    /// Anything else that came back, or a connection that failed.
    Failed {
        /// In words for the operator; no secret, no token.
        reason: String,
        /// What came back, if anything.
        status: Option<u16>,
        /// `Retry-After`, if it came.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    TimedOut,
}

/// Makes POSTs. The server's has sockets, a test's a list.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Makes a POST and says how it went and how long it took.
    async fn post(&self, post: &Post) -> (Outcome, Duration);
}

/// One POST as one subscription was concerned by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// The first and
    pub first: Position,
    /// the last position told; zero for lifecycle events.
    pub last: Position,
    /// How many items.
    pub items: usize,
    /// The how manieth attempt.
    pub attempt: u32,
    /// When it began.
    pub tried_at: Timestamp,
    /// How long it took.
    pub elapsed: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// When it is tried again, if it failed.
    pub next_try: Option<Timestamp>,
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here has been told, or is not for it.
    pub cursor: Position,
    /// The end of the log as far as it has been read.
    pub read: Position,
    /// Changes waiting here or under way; those that still wait in the log are not counted.
    pub outstanding: usize,
}

/// How long its queues are: each at most what [`Bounds`] and [`DeliverySettings::posts_max`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Changes that wait for the subscription for which most do, or are under way to it. One of each user may be beyond the
    /// bound, and what is under way.
    pub backlog: usize,
    /// Notifications that wait for the URL for which most do. Those of a POST that failed come back beyond the bound.
    pub target_backlog: usize,
    /// Endpoints whose health is remembered.
    pub endpoints: usize,
    /// Attempts that are remembered.
    pub attempts: usize,
    /// POSTs under way.
    pub posts: usize,
}

/// How many subscriptions and endpoints stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Subscriptions that are told of each change as it happens.
    pub current: usize,
    /// Those of which something waits or is under way.
    pub behind: usize,
    /// Those that wait to be authorized again.
    pub paused: usize,
    /// Changes that wait here or are under way, over all of them.
    pub outstanding: usize,
    /// Endpoints by [`State`]: healthy, slow, dropped.
    pub endpoints: [usize; 3],
}

/// What [`Notifier::plan`] found.
#[derive(Debug)]
pub struct Plan {
    /// POSTs to make, each in its own time.
    pub posts: Vec<Post>,
    /// Whether there may be more right away.
    pub more: bool,
    /// When to ask again otherwise, if nothing else happens.
    pub next_wake: Option<Timestamp>,
}

/// Subscriptions and their delivery over a store, at the instants of a clock.
pub struct Notifier {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    queue: Mutex<Queue>,
    /// Changes of one subscription are made one after the other.
    turns: Box<[tokio::sync::Mutex<()>]>,
    pumping: tokio::sync::Mutex<()>,
    saving: tokio::sync::Mutex<Saved>,
    changed: Notify,
    /// What is known of a store that other processes use too.
    following: tokio::sync::Mutex<share::Following>,
}

/// What is kept of cursors and lifecycle events.
#[derive(Default)]
struct Saved {
    read: Option<Position>,
    lagging: std::collections::BTreeSet<SubscriptionId>,
    lifecycle: std::collections::BTreeSet<LifecycleKey>,
    fired_until: Option<Timestamp>,
}

impl Saved {
    /// Takes note of which of these events were put or deleted.
    fn lifecycle_written(
        &mut self,
        events: &std::collections::BTreeSet<LifecycleKey>,
        written: &[(Vec<u8>, bool)],
    ) {
        let written: std::collections::HashMap<&[u8], bool> =
            written.iter().map(|(key, is_kept)| (&**key, *is_kept)).collect();
        for event in events {
            match written.get(&*event.deletion().key) {
                Some(true) => drop(self.lifecycle.insert(*event)),
                Some(false) => drop(self.lifecycle.remove(event)),
                None => {}
            }
        }
    }
}

/// The cursors of a store.
#[derive(Default)]
struct Cursors {
    /// The one that counts for every subscription without one of its own.
    common: Option<Position>,
    /// The same for one shard, where shards are shared.
    of_shard: std::collections::HashMap<u16, Position>,
    own: std::collections::HashMap<SubscriptionId, Position>,
}

impl Cursors {
    async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut cursors = Self::default();
        for Document { key, body, .. } in store.documents(DocumentKind::DeliveryCursor).await? {
            let position = body.and_then(|body| body.try_into().ok()).map(u64::from_be_bytes).map(Position);
            let position = position.ok_or_else(|| damaged("a delivery cursor"))?;
            match (Uuid::from_slice(&key), <[u8; 2]>::try_from(&key[..])) {
                (Ok(id), _) => drop(cursors.own.insert(SubscriptionId(id), position)),
                (_, Ok(shard)) => drop(cursors.of_shard.insert(u16::from_be_bytes(shard), position)),
                _ if key.is_empty() => cursors.common = Some(position),
                _ => return Err(damaged("a delivery cursor")),
            }
        }
        Ok(cursors)
    }
}

const TURNS: usize = 64;
/// The key of the cursor that counts for every subscription without one of its own.
const COMMON_CURSOR: &[u8] = b"";

impl Notifier {
    /// Reads the subscriptions of a store and goes on where delivery was.
    ///
    /// # Errors
    /// [`EngineError::Store`], also when a subscription cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        settings: DeliverySettings,
    ) -> Result<Self, EngineError> {
        let mut queue = Queue::new(settings, store.shared().is_some());
        let mut following = share::Following::default();
        if let Some(shared) = store.shared() {
            following.seen = shared.documents_seen().await?;
        }
        let cursors = Cursors::read(store.as_ref()).await?;
        // In a shared store no subscription is this process's yet: it takes over those of its shards in the first pump.
        let is_ours = store.shared().is_none();
        let mut saved = Saved::default();
        if is_ours {
            saved.read = cursors.common;
            saved.lagging.extend(cursors.own.keys());
        }
        let now = clock.now();
        let mut events = Vec::new();
        let kept_events = match is_ours {
            true => store.documents(DocumentKind::LifecycleEvent).await?,
            false => Vec::new(),
        };
        for document in kept_events {
            match Kept::from_document(&document).ok_or_else(|| damaged("a lifecycle event"))? {
                Kept::FiredUntil(at) => saved.fired_until = Some(at),
                // Carried here from a store that had shards.
                Kept::FiredUntilIn(..) => {}
                Kept::Event { key, subscription } => {
                    saved.lifecycle.insert(key);
                    events.push((key, subscription));
                }
            }
        }
        queue.fired_until = Some(saved.fired_until.unwrap_or(Timestamp::MIN));
        let end = store.log_now().await?;
        let mut read = end;
        for document in store.documents(DocumentKind::Subscription).await? {
            let subscription =
                Subscription::from_document(&document).ok_or_else(|| damaged("a subscription"))?;
            let id = subscription.id;
            if subscription.is_expired(now) && is_ours {
                queue.ended.push(id);
                continue;
            }
            let kept = cursors.own.get(&id).copied().or(saved.read).unwrap_or_default();
            let from = kept.max(subscription.created_after);
            if is_ours {
                read = read.min(from);
            }
            queue.insert(subscription, from, true, is_ours, now);
        }
        for (key, subscription) in events {
            let of = queue.feeds.get(&key.subscription).map(|feed| Arc::clone(&feed.subscription));
            match subscription.or(of) {
                Some(subscription) => queue.restore(key, subscription, now),
                None => drop(queue.lifecycle_moved.insert(key)),
            }
        }
        queue.resume(read, end, now);
        Ok(Self {
            store,
            clock,
            ids,
            queue: Mutex::new(queue),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            pumping: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::new(saved),
            changed: Notify::new(),
            following: tokio::sync::Mutex::new(following),
        })
    }

    /// Reads a piece of the log, at most [`LOG_READ_MAX`] entries, for whoever watches. Answers whether there is more.
    ///
    /// # Errors
    /// [`EngineError::Store`]; nothing has been skipped then.
    pub async fn pump(&self) -> Result<bool, EngineError> {
        let _turn = self.pumping.lock().await;
        self.share().await?;
        self.refill().await?;
        let read = self.queue.lock().read;
        let found = self.store.read_log(read, LOG_READ_MAX).await?;
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        match found {
            LogRead::Behind { oldest, .. } => {
                queue.skip_to(oldest, now);
                queue.caught_up(now);
                Ok(true)
            }
            LogRead::Page { entries, end } => {
                for entry in &entries {
                    queue.take(entry, now);
                }
                queue.caught_up(now);
                Ok(queue.read < end || !queue.with_room().is_empty())
            }
        }
    }

    /// Reads a piece of the log again for those who had no room for it when it was read for all. Called while nobody pumps.
    async fn refill(&self) -> Result<(), EngineError> {
        let of = self.queue.lock().with_room();
        let Some(after) = of.values().min().copied() else { return Ok(()) };
        let found = self.store.read_log(after, LOG_READ_MAX).await?;
        self.queue.lock().refill(&of, &found, self.clock.now());
        Ok(())
    }

    /// What to post now.
    pub fn plan(&self) -> Plan {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        let (posts, next_wake) = queue.plan(now);
        Plan { more: posts.len() == queue.settings.bounds.planned_posts, posts, next_wake }
    }

    /// Makes a planned POST and takes note of how it went.
    pub async fn attempt(&self, post: Post, sink: &dyn Sink) {
        let (outcome, elapsed) = sink.post(&post).await;
        self.finish(post.id, &outcome, elapsed);
    }

    /// Takes note of how a POST went. Each planned one must come here, or nothing more is posted to its URL.
    pub fn finish(&self, id: PostId, outcome: &Outcome, elapsed: Duration) {
        let random = self.ids.guid().as_u128();
        // The variable bits of a random GUID are those of its lower half but the two highest.
        let random = (random as u64) << 2;
        let now = self.clock.now();
        self.queue.lock().finish(id, outcome, elapsed, random, now);
        self.changed.notify_one();
    }

    /// Returns when [`pump`](Self::pump) or [`plan`](Self::plan) may have something to do: at `next_wake`, as the plan
    /// gave it, when the log grows, a POST ends, or a subscription changes.
    pub async fn until_due(&self, next_wake: Option<Timestamp>) {
        let mut end = self.store.log_end();
        let read = self.queue.lock().read;
        let grows = Box::pin(async move {
            if end.wait_for(|end| *end > read).await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let due = self.clock.sleep_until(next_wake.unwrap_or(Timestamp::MAX));
        let changes = Box::pin(select(Box::pin(self.changed.notified()), Box::pin(self.others_move())));
        match select(select(grows, changes), due).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    /// Makes durable how far delivery has come, and lets go of subscriptions that have ended. Answers whether anything
    /// had to be written. What was delivered since the last call is delivered again after a crash.
    ///
    /// # Errors
    /// [`EngineError::Store`]; the next call writes it.
    pub async fn save(&self) -> Result<bool, EngineError> {
        if let Some(shared) = self.store.shared() {
            let deleted = self.delete_unwanted().await;
            let has_written = self.save_shares(shared, &mut *self.saving.lock().await).await?;
            deleted?;
            return Ok(self.end_expired().await || has_written);
        }
        let mut saved = self.saving.lock().await;
        let (read, moved, ended, lifecycle, fired_until, mut documents) = {
            let mut queue = self.queue.lock();
            let (moved, ended) = (std::mem::take(&mut queue.moved), std::mem::take(&mut queue.ended));
            let lifecycle = std::mem::take(&mut queue.lifecycle_moved);
            let mut documents = Vec::new();
            // With the cursors or not at all: what is told as missed must not be waited for any more, nor forgotten.
            for key in &lifecycle {
                match (queue.lifecycle.get(key), saved.lifecycle.contains(key)) {
                    (Some(subscription), false) => documents.push(key.to_document(subscription)),
                    (None, true) => documents.push(key.deletion()),
                    (Some(_), true) | (None, false) => {}
                }
            }
            for id in &moved {
                match queue.feeds.get(id).and_then(|feed| feed.cursor(queue.read)) {
                    Some(cursor) => documents.push(cursor_document(id.0.as_bytes(), Some(cursor))),
                    None if saved.lagging.contains(id) => {
                        documents.push(cursor_document(id.0.as_bytes(), None));
                    }
                    None => {}
                }
            }
            (queue.read, moved, ended, lifecycle, queue.fired_until, documents)
        };
        if fired_until > saved.fired_until
            && let Some(at) = fired_until.filter(|at| *at > Timestamp::MIN)
        {
            documents.push(fired_until_document(at));
        }
        for id in &ended {
            documents.push(Document {
                kind: DocumentKind::Subscription,
                ..cursor_document(id.0.as_bytes(), None)
            });
            documents.push(cursor_document(id.0.as_bytes(), None));
        }
        if saved.read != Some(read) {
            documents.push(cursor_document(COMMON_CURSOR, Some(read)));
        }
        if documents.is_empty() {
            return Ok(false);
        }
        let written = |kind: DocumentKind| -> Vec<(Vec<u8>, bool)> {
            let of_kind = documents.iter().filter(|document| document.kind == kind);
            of_kind.map(|document| (document.key.clone(), document.body.is_some())).collect()
        };
        let lagging = written(DocumentKind::DeliveryCursor);
        let kept_events = written(DocumentKind::LifecycleEvent);
        // The common cursor counts for whoever has none of its own, so all of them are kept together or not at all.
        if let Err(error) = self.store.put_documents(documents).await {
            let mut queue = self.queue.lock();
            queue.moved.extend(moved);
            queue.ended.extend(ended);
            queue.lifecycle_moved.extend(lifecycle);
            return Err(error.into());
        }
        saved.read = Some(read);
        saved.fired_until = fired_until;
        saved.lifecycle_written(&lifecycle, &kept_events);
        for (key, lags) in lagging {
            if let Ok(id) = Uuid::from_slice(&key) {
                if lags {
                    saved.lagging.insert(SubscriptionId(id));
                } else {
                    saved.lagging.remove(&SubscriptionId(id));
                }
            }
        }
        Ok(true)
    }

    /// The attempts that are remembered, newest first, at most `max`: all, or those of one subscription.
    pub fn attempts(&self, of: Option<SubscriptionId>, max: usize) -> Vec<Attempt> {
        let queue = self.queue.lock();
        let wanted =
            queue.attempts.iter().rev().filter(|attempt| of.is_none_or(|of| attempt.subscription == of));
        wanted.take(max).cloned().collect()
    }

    /// How all of them stand, counted one by one.
    pub fn standing(&self) -> Standing {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let mut standing = Standing::default();
        for feed in queue.feeds.values().filter(|feed| feed.is_active() && !feed.subscription.is_expired(now))
        {
            standing.outstanding += feed.outstanding();
            let count = match feed.lags() {
                _ if feed.subscription.is_paused(now) => &mut standing.paused,
                false => &mut standing.current,
                true => &mut standing.behind,
            };
            *count += 1;
        }
        for state in queue.endpoint_states() {
            standing.endpoints[state as usize] += 1;
        }
        standing
    }

    /// How long its queues are, looked for one by one.
    pub fn lengths(&self) -> Lengths {
        self.queue.lock().lengths()
    }

    /// How a subscription stands.
    pub fn progress(&self, id: SubscriptionId) -> Option<Progress> {
        let queue = self.queue.lock();
        let feed = queue.feeds.get(&id)?;
        let read = queue.read;
        let (cursor, outstanding) = (feed.cursor(read).unwrap_or(read), feed.outstanding());
        Some(Progress { cursor, read, outstanding })
    }
}

fn cursor_document(key: &[u8], position: Option<Position>) -> Document {
    let body = position.map(|position| position.0.to_be_bytes().to_vec());
    Document { kind: DocumentKind::DeliveryCursor, key: key.to_vec(), body }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} that cannot be read"))
}
