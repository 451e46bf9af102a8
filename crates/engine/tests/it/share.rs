//! Delivery that several processes share, over a store in memory whose leases the test gives and takes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use engine::notify::{
    Backlog, DeliverySettings, EVERY_BACKLOG_MAX, LifecycleEvent, Notice, Notifier, Outcome, Post, Quota,
    SubscribeError, Subscription, SubscriptionId,
};
use engine::{Clock, ClockState, Engine, SeededIds, SystemClock, VirtualClock};
use presence::{AppId, Command, SessionLifetime, SessionPair, TenantId, Timestamp, UserId, UserKey};
use store::redis::{Leases, Node};
use store::{
    Claim, Commit, Document, DocumentChanges, DocumentKind, DocumentsSeen, LogRead, Memory, Position, Shared,
    Store, StoreError, Stored, Version,
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

const QUOTA: Quota = Quota { per_user_and_app: 1, per_app_and_tenant: 100 };
const USERS: u128 = 3;
/// More changes than wait in memory.
const MANY: usize = EVERY_BACKLOG_MAX * 5 / 2;

/// What processes share: there is one shard.
struct Common {
    store: Memory,
    /// The token of whoever has the lease.
    token: Mutex<u64>,
    documents: watch::Sender<u64>,
    /// What somebody has the sole right to.
    claims: watch::Sender<BTreeSet<Vec<u8>>>,
}

/// The store as one process sees it.
struct View {
    common: Arc<Common>,
    leases: watch::Sender<Arc<Leases>>,
    /// Whether the log cannot be read.
    is_cut: AtomicBool,
    /// If there, documents are put when it is told; the second one tells that somebody waits for it.
    gate: Mutex<Option<Arc<(Notify, Notify)>>>,
    /// Whether documents are put and nobody hears of it.
    is_answer_lost: AtomicBool,
}

impl View {
    async fn put(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.1.notify_one();
            gate.0.notified().await;
        }
        let is_told = documents.iter().any(|document| document.kind != DocumentKind::DeliveryCursor);
        self.common.store.put_documents(documents).await?;
        self.common.documents.send_if_modified(|count| {
            *count += u64::from(is_told);
            is_told
        });
        if self.is_answer_lost.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the answer is lost".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for View {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        self.common.store.load(users).await
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        self.common.store.commit(commit).await
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        self.common.store.due(now, max).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.common.store.next_wake().await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.common.store.latest().await
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        if self.is_cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("cut off".to_owned()));
        }
        self.common.store.read_log(after, max).await
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.common.store.log_end()
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        self.common.store.trim_log(now).await
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        self.common.store.documents(kind).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        self.put(documents).await
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Shared for View {
    fn shard_of(&self, _kind: DocumentKind, _key: &[u8]) -> u16 {
        0
    }

    fn leases(&self) -> watch::Receiver<Arc<Leases>> {
        self.leases.subscribe()
    }

    async fn put_documents_under(
        &self,
        _shard: u16,
        token: u64,
        documents: Vec<Document>,
    ) -> Result<(), StoreError> {
        if *self.common.token.lock().unwrap() != token {
            return Err(StoreError::Conflict);
        }
        self.put(documents).await
    }

    async fn claim(&self, name: &[u8]) -> Result<Claim, StoreError> {
        let claims = self.common.claims.clone();
        while !claims.send_if_modified(|claims| claims.insert(name.to_vec())) {
            claims.subscribe().wait_for(|claims| !claims.contains(name)).await.unwrap();
        }
        let name = name.to_vec();
        Ok(Claim::new(async move {
            claims.send_if_modified(|claims| claims.remove(&name));
        }))
    }

    fn documents_changed(&self) -> watch::Receiver<u64> {
        self.common.documents.subscribe()
    }

    async fn documents_seen(&self) -> Result<DocumentsSeen, StoreError> {
        Ok(DocumentsSeen::default())
    }

    /// Always everything.
    async fn document_changes(&self, _seen: &mut DocumentsSeen) -> Result<DocumentChanges, StoreError> {
        Ok(DocumentChanges::default())
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        Ok(Vec::new())
    }

    fn living(&self) -> u64 {
        0
    }

    fn losses(&self) -> u64 {
        0
    }
}

/// One process.
struct Process {
    view: Arc<View>,
    notifier: Notifier,
}

impl Process {
    /// It learns that it has the lease, under this token.
    fn learns(&self, token: Option<u64>) {
        self.view.leases.send_replace(Arc::new(Leases { tokens: vec![token] }));
    }

    async fn plan(&self) -> Vec<Post> {
        while self.notifier.pump().await.unwrap() {}
        self.notifier.plan().posts
    }

    /// Everything that goes now, delivered; at each step no more than the bound waits in memory.
    async fn deliver(&self) -> Told {
        let mut told = Told::default();
        loop {
            let posts = self.plan().await;
            if posts.is_empty() {
                return told;
            }
            let outstanding = self.notifier.standing().outstanding;
            assert!(outstanding <= EVERY_BACKLOG_MAX, "{outstanding} wait in memory");
            for post in posts {
                told.note(&post);
                self.notifier.finish(post.id, &Outcome::Delivered { status: 202 }, Duration::ZERO);
            }
        }
    }
}

/// What a receiver was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    positions: Vec<Position>,
    events: Vec<LifecycleEvent>,
}

impl Told {
    fn note(&mut self, post: &Post) {
        for item in &post.items {
            match item.notice {
                Notice::Change { position, .. } => self.positions.push(position),
                Notice::Lifecycle { event, .. } => self.events.push(event),
            }
        }
    }
}

struct World {
    common: Arc<Common>,
    clock: Arc<VirtualClock>,
    /// How many changes there have been.
    changes: AtomicUsize,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default()));
        clock.freeze();
        let common = Common {
            store: Memory::default(),
            token: Mutex::new(0),
            documents: watch::Sender::default(),
            claims: watch::Sender::default(),
        };
        Self { common: Arc::new(common), clock, changes: AtomicUsize::new(0) }
    }

    async fn process(&self) -> Process {
        let view = Arc::new(View {
            common: Arc::clone(&self.common),
            leases: watch::Sender::new(Arc::new(Leases { tokens: vec![None] })),
            is_cut: AtomicBool::new(false),
            gate: Mutex::default(),
            is_answer_lost: AtomicBool::new(false),
        });
        let settings = DeliverySettings { backlog: Backlog::Every, ..DeliverySettings::default() };
        let ids = Arc::new(SeededIds::default());
        let notifier = Notifier::open(view.clone(), self.clock.clone(), ids, settings).await.unwrap();
        Process { view, notifier }
    }

    /// Gives the lease away, whether the one who has it knows or not. Answers the token.
    fn lease(&self) -> u64 {
        let mut token = self.common.token.lock().unwrap();
        *token += 1;
        *token
    }

    fn subscription(&self) -> Subscription {
        let now = self.clock.now();
        Subscription {
            id: SubscriptionId(Uuid::from_u128(77)),
            tenant: TenantId::from_u128(1),
            app: AppId::from_u128(9),
            creator: Uuid::from_u128(1),
            delegated: None,
            resource: "communications/presences?$filter=id in ('1','2','3')".into(),
            change_type: "updated".into(),
            users: (1..=USERS).map(UserId::from_u128).collect(),
            notification_url: "https://receiver.example/".into(),
            lifecycle_notification_url: Some("https://receiver.example/lifecycle".into()),
            client_state: None,
            include_resource_data: false,
            certificate: None,
            notification_url_app_id: None,
            latest_supported_tls_version: None,
            notification_content_type: None,
            created_at: now,
            created_after: Position(0),
            authorized_at: now,
            expires_at: Timestamp::MAX,
            token_expires_at: Timestamp::MAX,
        }
    }

    /// So many changes, of one user after the other.
    async fn changes(&self, process: &Process, count: usize) {
        let engine = Engine::new(process.view.clone(), self.clock.clone());
        for _ in 0..count {
            let number = self.changes.fetch_add(1, Ordering::SeqCst) as u128;
            let pair = [SessionPair::InACall, SessionPair::Away][(number / USERS % 2) as usize];
            let command =
                Command::SetPresence { app: AppId::from_u128(1), pair, lifetime: SessionLifetime::default() };
            let user =
                UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(1 + number % USERS) };
            engine.execute(user, command).await.unwrap();
        }
    }

    async fn log(&self) -> Vec<Position> {
        let mut all: Vec<Position> = Vec::new();
        loop {
            let after = all.last().copied().unwrap_or_default();
            match self.common.store.read_log(after, usize::MAX).await.unwrap() {
                LogRead::Page { entries, .. } if entries.is_empty() => return all,
                LogRead::Page { entries, .. } => all.extend(entries.iter().map(|entry| entry.position)),
                LogRead::Behind { .. } => panic!("nothing was to be forgotten"),
            }
        }
    }
}

#[tokio::test]
async fn a_backlog_that_memory_does_not_hold_waits_in_the_log_and_is_told_in_order() {
    let world = World::new();
    let only = world.process().await;
    only.learns(Some(world.lease()));
    let id = only.notifier.create(world.subscription(), QUOTA).await.unwrap().id;
    world.changes(&only, 1).await;
    let post = only.plan().await.remove(0);
    world.changes(&only, MANY).await;
    assert!(only.plan().await.is_empty(), "one POST at a time");
    let first = world.log().await[0];
    assert_eq!(only.notifier.progress(id).unwrap().cursor, Position(first.0 - 1));
    let failed = Outcome::Failed { reason: "500".into(), status: Some(500), retry_after: None };
    only.notifier.finish(post.id, &failed, Duration::from_secs(1));
    world.clock.advance(jiff::SignedDuration::from_secs(60));
    let told = only.deliver().await;
    assert_eq!(told, Told { positions: world.log().await, events: vec![] });
    let progress = only.notifier.progress(id).unwrap();
    assert_eq!((progress.outstanding, progress.cursor), (0, progress.read));
}

#[tokio::test]
async fn whoever_takes_a_long_backlog_over_tells_every_change_of_it() {
    let world = World::new();
    let (one, other) = (world.process().await, world.process().await);
    one.learns(Some(world.lease()));
    one.notifier.create(world.subscription(), QUOTA).await.unwrap();
    world.changes(&one, 5).await;
    assert_eq!(one.deliver().await.positions.len(), 5);
    one.notifier.save().await.unwrap();
    world.changes(&other, MANY).await;
    // The other one has read the log all the while.
    assert!(other.plan().await.is_empty());
    one.learns(None);
    other.learns(Some(world.lease()));
    assert_eq!(other.deliver().await, Told { positions: world.log().await.split_off(5), events: vec![] });
}

#[tokio::test]
async fn a_backlog_is_kept_in_the_log_over_a_restart() {
    let world = World::new();
    let one = world.process().await;
    one.learns(Some(world.lease()));
    one.notifier.create(world.subscription(), QUOTA).await.unwrap();
    world.changes(&one, MANY).await;
    for post in one.plan().await {
        one.notifier.finish(post.id, &Outcome::Delivered { status: 202 }, Duration::ZERO);
    }
    one.notifier.save().await.unwrap();
    drop(one);
    let other = world.process().await;
    other.learns(Some(world.lease()));
    let told = other.deliver().await;
    assert_eq!(
        told,
        Told { positions: world.log().await.split_off(100), events: vec![] },
        "after the first POST"
    );
}

#[tokio::test]
async fn what_could_not_be_taken_over_is_taken_over_later_as_a_whole() {
    let world = World::new();
    let (one, other) = (world.process().await, world.process().await);
    one.learns(Some(world.lease()));
    one.notifier.create(world.subscription(), QUOTA).await.unwrap();
    world.changes(&other, 10).await;
    assert!(other.plan().await.is_empty());
    other.learns(Some(world.lease()));
    other.view.is_cut.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        other.notifier.pump().await.unwrap_err();
    }
    assert!(other.notifier.plan().posts.is_empty());
    other.view.is_cut.store(false, Ordering::SeqCst);
    world.changes(&other, 10).await;
    assert_eq!(other.deliver().await, Told { positions: world.log().await, events: vec![] });
}

#[tokio::test]
async fn a_subscription_is_delivered_by_whoever_gets_its_lease_while_it_is_being_kept() {
    let world = World::new();
    let only = world.process().await;
    let gate = Arc::new((Notify::new(), Notify::new()));
    *only.view.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let lease_comes = async {
        gate.1.notified().await;
        only.learns(Some(world.lease()));
        assert!(only.plan().await.is_empty());
        only.view.gate.lock().unwrap().take();
        gate.0.notify_one();
    };
    let (created, ()) = tokio::join!(only.notifier.create(world.subscription(), QUOTA), lease_comes);
    created.unwrap();
    world.changes(&only, 3).await;
    assert_eq!(only.deliver().await, Told { positions: world.log().await, events: vec![] });
}

#[tokio::test]
async fn an_applications_limit_holds_over_all_processes_for_whomever_they_are_asked() {
    let world = World::new();
    let (one, other) = (world.process().await, world.process().await);
    let on_behalf_of = |user: u128| Subscription {
        id: SubscriptionId(Uuid::from_u128(user)),
        delegated: Some(UserId::from_u128(user)),
        ..world.subscription()
    };
    let quota = Quota { per_app_and_tenant: 1, ..QUOTA };
    let gate = Arc::new((Notify::new(), Notify::new()));
    *one.view.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let second = async {
        // The first one has looked, and what it makes is not kept yet.
        gate.1.notified().await;
        let go_on = async {
            tokio::task::yield_now().await;
            one.view.gate.lock().unwrap().take();
            gate.0.notify_one();
        };
        tokio::join!(other.notifier.create(on_behalf_of(2), quota), go_on).0
    };
    let (first, second) = tokio::join!(one.notifier.create(on_behalf_of(1), quota), second);
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(second, Err(SubscribeError::QuotaExceeded { limit: 1 })), "{second:?}");
    assert_eq!(world.common.store.documents(DocumentKind::Subscription).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_subscription_that_was_refused_and_kept_all_the_same_is_deleted_whoever_has_its_lease() {
    let world = World::new();
    let (one, other) = (world.process().await, world.process().await);
    other.learns(Some(world.lease()));
    one.view.is_answer_lost.store(true, Ordering::SeqCst);
    let created = one.notifier.create(world.subscription(), QUOTA).await;
    assert!(matches!(created, Err(SubscribeError::Store(_))), "{created:?}");
    let kept = async || {
        let store = &world.common.store;
        let all =
            [DocumentKind::Subscription, DocumentKind::DeliveryCursor].map(|kind| store.documents(kind));
        let [subscriptions, cursors] = all;
        let mut kept = subscriptions.await.unwrap();
        let of_it = |document: &Document| document.key == Uuid::from_u128(77).as_bytes();
        kept.extend(cursors.await.unwrap().into_iter().filter(of_it));
        kept
    };
    let late = kept().await;
    assert_eq!(late.len(), 2, "with its cursor, and nobody was told of it");
    assert!(one.notifier.save().await.is_err(), "still no answer; the deletion was heard all the same");
    one.view.is_answer_lost.store(false, Ordering::SeqCst);
    one.notifier.save().await.unwrap();
    assert_eq!(kept().await, []);
    other.notifier.fresh().await.unwrap();
    assert!(other.notifier.get(SubscriptionId(Uuid::from_u128(77))).is_none());

    // What was thought to have failed is carried out late.
    other.view.put(late).await.unwrap();
    one.notifier.fresh().await.unwrap();
    assert!(one.notifier.get(SubscriptionId(Uuid::from_u128(77))).is_none());
    one.notifier.save().await.unwrap();
    assert_eq!(kept().await, []);
}

#[tokio::test]
async fn a_lease_that_was_somebody_elses_in_between_is_taken_up_anew() {
    let world = World::new();
    let (one, other) = (world.process().await, world.process().await);
    one.learns(Some(world.lease()));
    one.notifier.create(world.subscription(), QUOTA).await.unwrap();
    world.changes(&one, 1).await;
    assert_eq!(one.plan().await.len(), 1, "under way, and never answered");
    one.notifier.save().await.unwrap();
    other.learns(Some(world.lease()));
    assert_eq!(other.deliver().await.positions.len(), 1);
    other.notifier.save().await.unwrap();
    // The first one still thinks that it has the lease when it reads this.
    world.changes(&one, 1).await;
    assert!(one.plan().await.is_empty());
    one.notifier.save().await.unwrap();
    other.learns(None);
    one.learns(Some(world.lease()));
    assert!(one.plan().await.is_empty(), "the same URL has a POST under way");
    one.notifier.save().await.unwrap();
    // It dies.
    let third = world.process().await;
    third.learns(Some(world.lease()));
    let log = world.log().await;
    assert_eq!((log.len(), third.deliver().await.positions), (2, log[1..].to_vec()));
}
