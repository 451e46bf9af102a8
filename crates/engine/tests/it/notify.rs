//! Delivery as a whole: whatever fails, every subscription is told what it watches, in order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use engine::notify::{
    Backlog, DeliverySettings, HealthSettings, LifecycleEvent, Notice, Notifier, Outcome, Post, Quota,
    Renewal, RetrySettings, SubscribeError, Subscription, SubscriptionId,
};
use engine::{Clock, ClockState, Engine, SeededIds, SystemClock, VirtualClock};
use jiff::SignedDuration;
use presence::{AppId, Command, SessionLifetime, SessionPair, TenantId, Timestamp, UserId, UserKey};
use store::{Faults, Faulty, LogEntry, LogRead, Memory, Position, Store};
use uuid::Uuid;

const QUOTA: Quota = Quota { per_user_and_app: 1, per_app_and_tenant: 100 };
const SECOND: Duration = Duration::from_secs(1);

struct World {
    store: Arc<Faulty<Memory>>,
    clock: Arc<VirtualClock>,
    engine: Engine,
    notifier: Notifier,
    settings: DeliverySettings,
    ids: Arc<SeededIds>,
}

impl World {
    async fn new(settings: DeliverySettings) -> Self {
        let store = Arc::new(Faulty::new(Memory::default(), 1, Faults::default()));
        let clock = Arc::new(VirtualClock::new(Arc::new(SystemClock::new(None)), ClockState::default()));
        clock.freeze();
        let engine = Engine::new(store.clone(), clock.clone());
        let ids = Arc::new(SeededIds::default());
        let notifier = Notifier::open(store.clone(), clock.clone(), ids.clone(), settings).await.unwrap();
        Self { store, clock, engine, notifier, settings, ids }
    }

    /// As after a kill: what was under way and not kept is gone.
    async fn restart(&mut self) {
        self.notifier =
            Notifier::open(self.store.clone(), self.clock.clone(), self.ids.clone(), self.settings)
                .await
                .unwrap();
    }

    fn subscription(&self, id: u128, users: &[u128], url: &str) -> Subscription {
        let now = self.clock.now();
        let at = |minutes| now + SignedDuration::from_mins(minutes);
        Subscription {
            id: SubscriptionId(Uuid::from_u128(id)),
            tenant: TenantId::from_u128(1),
            app: AppId::from_u128(9),
            creator: Uuid::from_u128(id),
            delegated: Some(UserId::from_u128(id)),
            resource: format!("communications/presences/{id}"),
            change_type: "updated".into(),
            users: users.iter().map(|user| UserId::from_u128(*user)).collect(),
            notification_url: url.into(),
            lifecycle_notification_url: Some(format!("{url}/lifecycle")),
            client_state: None,
            include_resource_data: false,
            certificate: None,
            notification_url_app_id: None,
            latest_supported_tls_version: None,
            notification_content_type: None,
            created_at: now,
            created_after: Position(0),
            authorized_at: now,
            expires_at: at(60),
            token_expires_at: at(90),
        }
    }

    async fn set(&self, user: u128, pair: SessionPair) {
        let command =
            Command::SetPresence { app: AppId::from_u128(1), pair, lifetime: SessionLifetime::default() };
        self.engine.execute(key(user), command).await.unwrap();
    }

    async fn pump(&self) {
        while self.notifier.pump().await.unwrap() {}
    }

    async fn plan(&self) -> Vec<Post> {
        self.pump().await;
        self.notifier.plan().posts
    }

    /// Everything that goes now, delivered.
    async fn deliver(&self) -> Vec<Post> {
        let mut all = Vec::new();
        loop {
            let posts = self.plan().await;
            if posts.is_empty() {
                return all;
            }
            for post in posts {
                self.notifier.finish(post.id, &Outcome::Delivered { status: 202 }, Duration::ZERO);
                all.push(post);
            }
        }
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    async fn log(&self) -> Vec<LogEntry> {
        let mut all: Vec<LogEntry> = Vec::new();
        loop {
            let after = all.last().map_or(Position(0), |last| last.position);
            match self.store.inner().read_log(after, 4096).await.unwrap() {
                LogRead::Page { entries, .. } if entries.is_empty() => return all,
                LogRead::Page { entries, .. } => all.extend(entries),
                LogRead::Behind { .. } => panic!("nothing was to be forgotten"),
            }
        }
    }
}

fn key(user: u128) -> UserKey {
    UserKey { tenant: TenantId::from_u128(1), user: UserId::from_u128(user) }
}

fn failed() -> Outcome {
    Outcome::Failed { reason: "500".into(), status: Some(500), retry_after: None }
}

fn positions(posts: &[Post]) -> Vec<u64> {
    let items = posts.iter().flat_map(|post| &post.items);
    items
        .filter_map(|item| match item.notice {
            Notice::Change { position, .. } => Some(position.0),
            Notice::Lifecycle { .. } => None,
        })
        .collect()
}

fn events(posts: &[Post]) -> Vec<LifecycleEvent> {
    let items = posts.iter().flat_map(|post| &post.items);
    items
        .filter_map(|item| match item.notice {
            Notice::Lifecycle { event, .. } => Some(event),
            Notice::Change { .. } => None,
        })
        .collect()
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const PAIRS: [SessionPair; 4] =
    [SessionPair::Available, SessionPair::InACall, SessionPair::Away, SessionPair::Presenting];

/// Random writers, time, receivers and restarts; then everything works, and what was received is compared.
async fn random_life(seed: u64, backlog: Backlog) {
    let settings = DeliverySettings {
        backlog,
        retry: RetrySettings { give_up_after: Duration::from_secs(1 << 30), ..RetrySettings::default() },
        health: HealthSettings { answers_min: u32::MAX, ..HealthSettings::default() },
        ..DeliverySettings::default()
    };
    let mut world = World::new(settings).await;
    let mut numbers = Numbers(seed);
    let mut received: BTreeMap<SubscriptionId, Vec<(Uuid, UserKey, Position)>> = BTreeMap::new();
    let mut under_way: Vec<Post> = Vec::new();
    let mut ids = Vec::new();
    for step in 0..300 {
        match numbers.below(16) {
            0 if ids.len() < 6 => {
                let users: Vec<u128> = (1..=5).filter(|_| numbers.below(2) == 0).collect();
                let url = format!("https://receiver-{}.example/", numbers.below(3));
                let mut new = world.subscription(100 + step, &users, &url);
                new.expires_at = Timestamp::MAX;
                new.token_expires_at = Timestamp::MAX;
                ids.push(world.notifier.create(new, QUOTA).await.unwrap().id);
            }
            1 => {
                under_way.clear();
                world.restart().await;
            }
            2 => {
                world.store.set_faults(Faults { unavailable: 300, lost_reply: 300, conflict: 0 });
                let _ = world.notifier.save().await;
                let _ = world.notifier.pump().await;
                world.store.set_faults(Faults::default());
            }
            3 => drop(world.notifier.save().await.unwrap()),
            4 => {
                world.advance(numbers.below(900) as i64);
                world.engine.tick().await.unwrap();
            }
            5 if !ids.is_empty() => {
                let id = ids[numbers.below(ids.len() as u64) as usize];
                let url = format!("https://receiver-{}.example/", numbers.below(3));
                let renewal = Renewal {
                    notification_url: Some(url),
                    token_expires_at: Timestamp::MAX,
                    ..Renewal::default()
                };
                world.notifier.renew(id, renewal).await.unwrap();
            }
            6..=10 => {
                let pair = PAIRS[numbers.below(4) as usize];
                world.set(1 + u128::from(numbers.below(6)), pair).await;
            }
            _ => {
                for post in world.plan().await {
                    assert!(under_way.iter().all(|other| other.url != post.url), "one POST a URL");
                    under_way.push(post);
                }
                if !under_way.is_empty() {
                    let at = numbers.below(under_way.len() as u64) as usize;
                    let post = under_way.remove(at);
                    let fate = numbers.below(4);
                    if fate < 3 {
                        note(&mut received, &post);
                    }
                    // An answer may be lost although the receiver has taken it.
                    let outcome = if fate < 2 { Outcome::Delivered { status: 200 } } else { failed() };
                    world.notifier.finish(post.id, &outcome, SECOND);
                }
            }
        }
    }
    for post in under_way {
        world.notifier.finish(post.id, &Outcome::TimedOut, Duration::from_secs(3));
    }
    for _ in 0..3 {
        world.advance(1_000);
        for post in world.deliver().await {
            note(&mut received, &post);
        }
    }
    let log = world.log().await;
    for id in ids {
        let subscription = world.notifier.get(id).unwrap();
        let progress = world.notifier.progress(id).unwrap();
        assert_eq!((progress.outstanding, progress.cursor), (0, progress.read), "seed {seed}");
        let expected: Vec<_> = log
            .iter()
            .filter(|entry| entry.position > subscription.created_after && entry.change.is_pair_changed)
            .filter(|entry| subscription.users.contains(&entry.user.user))
            .map(|entry| (entry.user, entry.position))
            .collect();
        let all = received.remove(&id).unwrap_or_default();
        let mut seen = HashSet::new();
        let distinct: Vec<_> =
            all.iter().filter(|(id, ..)| seen.insert(*id)).map(|(_, u, p)| (*u, *p)).collect();
        match backlog {
            Backlog::Every => assert_eq!(distinct, expected, "seed {seed}: each, in order, none invented"),
            Backlog::Newest => {
                assert!(distinct.iter().all(|told| expected.contains(told)), "seed {seed}: none invented");
                for user in &subscription.users {
                    let last = |list: &[(UserKey, Position)]| {
                        list.iter().rfind(|(other, _)| other.user == *user).map(|(_, position)| *position)
                    };
                    assert_eq!(last(&distinct), last(&expected), "seed {seed}: the newest state last");
                }
            }
        }
    }
}

fn note(received: &mut BTreeMap<SubscriptionId, Vec<(Uuid, UserKey, Position)>>, post: &Post) {
    for item in &post.items {
        if let Notice::Change { position, user, .. } = item.notice {
            received.entry(item.subscription.id).or_default().push((item.notification_id, user, position));
        }
    }
}

#[tokio::test]
async fn whatever_fails_each_change_is_told_in_order_and_none_invented() {
    for seed in 0..150 {
        random_life(seed, Backlog::Every).await;
    }
}

#[tokio::test]
async fn when_only_the_newest_is_kept_the_last_told_is_the_newest() {
    for seed in 1_000..1_150 {
        random_life(seed, Backlog::Newest).await;
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_later_with_a_longer_limit_and_the_same_id() {
    let world = World::new(DeliverySettings::default()).await;
    let id =
        world.notifier.create(world.subscription(1, &[1], "https://a.example/x"), QUOTA).await.unwrap().id;
    world.set(1, SessionPair::InACall).await;
    let first = world.plan().await.remove(0);
    assert_eq!(
        (first.attempt, first.limit, &*first.endpoint),
        (1, Duration::from_secs(3), "https://a.example")
    );
    world.notifier.finish(first.id, &Outcome::TimedOut, Duration::from_secs(3));
    world.advance(7);
    assert!(world.plan().await.is_empty());
    world.advance(6);
    let second = world.plan().await.remove(0);
    assert_eq!((second.attempt, second.limit), (2, Duration::from_secs(10)));
    assert_eq!(second.items[0].notification_id, first.items[0].notification_id);
    assert_eq!(world.notifier.progress(id).unwrap().outstanding, 1);
    world.notifier.finish(second.id, &Outcome::Delivered { status: 204 }, SECOND);
    assert_eq!(world.notifier.progress(id).unwrap().outstanding, 0);
    let outcomes: Vec<_> = world
        .notifier
        .attempts(Some(id), 10)
        .into_iter()
        .map(|a| (a.attempt, a.next_try.is_some()))
        .collect();
    assert_eq!(outcomes, [(2, false), (1, true)]);
}

#[tokio::test]
async fn while_a_notification_waits_a_newer_state_of_the_user_replaces_it() {
    let world = World::new(DeliverySettings::default()).await;
    world.notifier.create(world.subscription(1, &[1, 2], "https://a.example/x"), QUOTA).await.unwrap();
    world.set(1, SessionPair::InACall).await;
    let post = world.plan().await.remove(0);
    world.set(2, SessionPair::Away).await;
    world.notifier.finish(post.id, &failed(), SECOND);
    world.set(1, SessionPair::Away).await;
    world.set(1, SessionPair::Presenting).await;
    world.advance(13);
    assert_eq!(positions(&world.deliver().await), [2, 4]);
}

#[tokio::test]
async fn one_endpoint_that_does_not_answer_delays_no_other_and_batches_form_meanwhile() {
    let world = World::new(DeliverySettings::default()).await;
    for (id, url) in [(1, "https://dead.example/"), (2, "https://live.example/")] {
        world.notifier.create(world.subscription(id, &[1, 2], url), QUOTA).await.unwrap();
    }
    world.set(1, SessionPair::InACall).await;
    let mut posts = world.plan().await;
    assert_eq!(posts.len(), 2);
    let live = posts.iter().position(|post| post.url.contains("live")).unwrap();
    world.notifier.finish(posts.remove(live).id, &Outcome::Delivered { status: 200 }, SECOND);
    world.set(1, SessionPair::Away).await;
    world.set(2, SessionPair::Away).await;
    let next = world.deliver().await;
    assert_eq!((next.len(), positions(&next)), (1, vec![2, 3]), "one POST, to the one that answers");
}

#[tokio::test]
async fn nothing_is_posted_after_expiry_or_deletion() {
    let world = World::new(DeliverySettings::default()).await;
    for (id, url) in [(1, "https://a.example/"), (2, "https://b.example/")] {
        world.notifier.create(world.subscription(id, &[1], url), QUOTA).await.unwrap();
    }
    world.set(1, SessionPair::InACall).await;
    for post in world.plan().await {
        world.notifier.finish(post.id, &failed(), SECOND);
    }
    world.notifier.delete(SubscriptionId(Uuid::from_u128(1))).await.unwrap();
    world.advance(20);
    let urls: Vec<_> = world.plan().await.iter().map(|post| post.url.to_string()).collect();
    assert_eq!(urls, ["https://b.example/"]);
    world.advance(3_600);
    world.set(1, SessionPair::Away).await;
    assert!(positions(&world.deliver().await).is_empty());
    assert!(world.notifier.get(SubscriptionId(Uuid::from_u128(2))).is_none());
    assert!(world.notifier.save().await.unwrap());
    assert_eq!(world.store.documents(store::DocumentKind::Subscription).await.unwrap(), []);
}

#[tokio::test]
async fn reminders_are_sent_and_a_token_that_ends_pauses_delivery_until_it_is_renewed() {
    let world = World::new(DeliverySettings::default()).await;
    let mut new = world.subscription(1, &[1], "https://a.example/");
    new.token_expires_at = world.clock.now() + SignedDuration::from_mins(30);
    let id = world.notifier.create(new, QUOTA).await.unwrap().id;
    for (minutes, expected) in [(14, 0), (1, 1), (10, 1), (4, 0)] {
        world.advance(minutes * 60);
        let told = events(&world.deliver().await);
        assert_eq!(told, vec![LifecycleEvent::ReauthorizationRequired; expected], "{minutes}");
    }
    world.advance(120);
    for pair in [SessionPair::InACall, SessionPair::Away, SessionPair::Presenting] {
        world.set(1, pair).await;
    }
    assert!(world.deliver().await.is_empty());
    world.notifier.reauthorize(id, world.clock.now() + SignedDuration::from_mins(60)).await.unwrap();
    assert_eq!(positions(&world.deliver().await), [3], "the newest state");
    world.notifier.remove(id).await.unwrap();
    assert_eq!(events(&world.deliver().await), [LifecycleEvent::SubscriptionRemoved]);
}

#[tokio::test]
async fn what_is_given_up_after_four_hours_is_told_as_missed() {
    let world = World::new(DeliverySettings::default()).await;
    let mut new = world.subscription(1, &[1], "https://a.example/");
    (new.expires_at, new.token_expires_at) = (Timestamp::MAX, Timestamp::MAX);
    let id = world.notifier.create(new, QUOTA).await.unwrap().id;
    world.set(1, SessionPair::InACall).await;
    let began = world.clock.now();
    let told = loop {
        let posts = world.plan().await;
        let told = events(&posts);
        if !told.is_empty() {
            break told;
        }
        for post in posts {
            world.notifier.finish(post.id, &failed(), SECOND);
        }
        world.advance(60);
    };
    let hours = world.clock.now().duration_since(began).as_secs_f64() / 3600.0;
    assert_eq!(told, [LifecycleEvent::Missed]);
    assert!((4.0..4.3).contains(&hours), "{hours}");
    assert_eq!(world.notifier.progress(id).unwrap().outstanding, 0);
}

#[tokio::test]
async fn quotas_hold_and_name_the_subscription_in_the_way() {
    let world = World::new(DeliverySettings::default()).await;
    world.notifier.create(world.subscription(1, &[1], "https://a.example/"), QUOTA).await.unwrap();
    for (resource, same) in [("/communications/presences/1", true), ("communications/presences/7", false)] {
        let mut second = world.subscription(2, &[1], "https://a.example/");
        (second.delegated, second.resource) = (Some(UserId::from_u128(1)), resource.into());
        let refused = world.notifier.create(second, QUOTA).await;
        let expected = SubscriptionId(Uuid::from_u128(1));
        let is_right = matches!(
            refused,
            Err(SubscribeError::Conflict { existing, is_same }) if existing == expected && is_same == same
        );
        assert!(is_right, "{refused:?}");
    }
    let tight = Quota { per_app_and_tenant: 1, ..QUOTA };
    let refused = world.notifier.create(world.subscription(3, &[1], "https://a.example/"), tight).await;
    assert!(matches!(refused, Err(SubscribeError::QuotaExceeded { limit: 1 })), "{refused:?}");
    let many: Vec<u128> = (0..651).collect();
    let refused = world.notifier.create(world.subscription(4, &many, "https://a.example/"), QUOTA).await;
    assert!(matches!(refused, Err(SubscribeError::TooManyUsers)), "{refused:?}");
}

#[tokio::test]
async fn a_subscription_sees_what_happened_after_it_was_created_and_a_replay_from_where_it_is_asked() {
    let world = World::new(DeliverySettings::default()).await;
    world.set(1, SessionPair::InACall).await;
    let id =
        world.notifier.create(world.subscription(1, &[1], "https://a.example/"), QUOTA).await.unwrap().id;
    for pair in [SessionPair::Away, SessionPair::InACall, SessionPair::Presenting] {
        world.set(1, pair).await;
    }
    assert_eq!(positions(&world.deliver().await), [2, 3, 4]);
    world.notifier.replay(id, Position(2)).await.unwrap();
    assert_eq!(positions(&world.deliver().await), [3, 4]);
    world.notifier.replay(id, Position(0)).await.unwrap();
    assert_eq!(positions(&world.deliver().await), [2, 3, 4], "nothing from before it was there");
}

#[tokio::test]
async fn a_slow_endpoint_gets_probes_at_once_and_the_rest_ten_minutes_later_in_order() {
    let settings = DeliverySettings {
        health: HealthSettings { answers_min: 2, probes_max: 1, ..HealthSettings::default() },
        ..DeliverySettings::default()
    };
    let world = World::new(settings).await;
    world.notifier.create(world.subscription(1, &[1, 2, 3], "https://slow.example/"), QUOTA).await.unwrap();
    for pair in [SessionPair::InACall, SessionPair::Away] {
        world.set(1, pair).await;
        for post in world.plan().await {
            world.notifier.finish(post.id, &Outcome::Delivered { status: 200 }, Duration::from_secs(4));
        }
    }
    world.set(2, SessionPair::InACall).await;
    assert_eq!(positions(&world.deliver().await), [3], "a probe");
    world.set(3, SessionPair::InACall).await;
    world.set(1, SessionPair::InACall).await;
    assert!(world.deliver().await.is_empty());
    world.advance(599);
    assert!(world.deliver().await.is_empty());
    world.advance(1);
    assert_eq!(positions(&world.deliver().await), [4, 5]);
}

/// What was posted of lifecycle events, and under which ids.
fn lifecycle_ids(posts: &[Post]) -> Vec<(LifecycleEvent, Uuid)> {
    let items = posts.iter().flat_map(|post| &post.items);
    items
        .filter_map(|item| match item.notice {
            Notice::Lifecycle { event, .. } => Some((event, item.notification_id)),
            Notice::Change { .. } => None,
        })
        .collect()
}

#[tokio::test]
async fn a_lifecycle_event_is_told_also_after_a_kill_at_any_moment_and_once_it_was_taken_no_more() {
    let mut world = World::new(DeliverySettings::default()).await;
    let id = SubscriptionId(Uuid::from_u128(1));
    world.notifier.create(world.subscription(1, &[1], "https://a.example/"), QUOTA).await.unwrap();
    // Killed before anything of the reminder was kept, after it was, and before the answer was.
    world.advance(46 * 60);
    let first = lifecycle_ids(&world.plan().await);
    assert_eq!(first.len(), 1);
    world.restart().await;
    assert_eq!(lifecycle_ids(&world.plan().await), first);
    world.notifier.save().await.unwrap();
    world.restart().await;
    assert_eq!(lifecycle_ids(&world.deliver().await), first, "under the same id");
    world.restart().await;
    assert_eq!(lifecycle_ids(&world.deliver().await), first, "its delivery was not kept");
    world.notifier.save().await.unwrap();
    world.restart().await;
    assert_eq!(lifecycle_ids(&world.deliver().await), []);

    // The removal is kept with the event: nothing of the subscription is left to look at.
    world.notifier.remove(id).await.unwrap();
    world.restart().await;
    assert!(world.notifier.get(id).is_none());
    let post = world.plan().await.remove(0);
    assert_eq!(events(std::slice::from_ref(&post)), [LifecycleEvent::SubscriptionRemoved]);
    assert_eq!(&*post.url, "https://a.example//lifecycle");
    world.notifier.finish(post.id, &failed(), SECOND);
    world.notifier.save().await.unwrap();
    world.restart().await;
    assert_eq!(lifecycle_ids(&world.deliver().await).len(), 1);
    world.notifier.save().await.unwrap();
    world.restart().await;
    assert_eq!(lifecycle_ids(&world.deliver().await), []);
    let left = world.store.documents(store::DocumentKind::LifecycleEvent).await.unwrap();
    assert_eq!(left.len(), 1, "only the instant up to which reminders were sent: {left:?}");
}

#[tokio::test]
async fn what_was_missed_is_told_after_a_kill_and_an_owner_who_deletes_is_told_nothing() {
    let mut world = World::new(DeliverySettings::default()).await;
    for id in [1, 2] {
        let mut new = world.subscription(id, &[1], &format!("https://{id}.example/"));
        (new.expires_at, new.token_expires_at) = (Timestamp::MAX, Timestamp::MAX);
        world.notifier.create(new, QUOTA).await.unwrap();
    }
    world.set(1, SessionPair::InACall).await;
    for post in world.plan().await {
        world.notifier.finish(post.id, &failed(), SECOND);
    }
    world.advance(5 * 3_600);
    assert_eq!(events(&world.plan().await).len(), 0, "given up, which the next plan tells");
    assert_eq!(events(&world.plan().await).len(), 2);
    world.notifier.save().await.unwrap();
    world.notifier.delete(SubscriptionId(Uuid::from_u128(2))).await.unwrap();
    world.restart().await;
    let told = world.deliver().await;
    assert_eq!((events(&told), positions(&told)), (vec![LifecycleEvent::Missed], vec![]));
    world.notifier.save().await.unwrap();
    assert_eq!(world.store.documents(store::DocumentKind::LifecycleEvent).await.unwrap(), []);
}

#[tokio::test]
async fn while_an_endpoint_is_dropped_its_changes_are_and_that_they_were_is_told_later() {
    let settings = DeliverySettings {
        health: HealthSettings { answers_min: 2, probes_max: 1, ..HealthSettings::default() },
        ..DeliverySettings::default()
    };
    let world = World::new(settings).await;
    let mut new = world.subscription(1, &[1], "https://a.example/");
    (new.expires_at, new.token_expires_at) = (Timestamp::MAX, Timestamp::MAX);
    world.notifier.create(new, QUOTA).await.unwrap();
    for pair in [SessionPair::InACall, SessionPair::Away] {
        world.set(1, pair).await;
        for post in world.plan().await {
            world.notifier.finish(post.id, &Outcome::Delivered { status: 200 }, Duration::from_secs(11));
        }
    }
    world.set(1, SessionPair::Presenting).await;
    assert!(world.deliver().await.is_empty());
    world.advance(599);
    assert!(world.deliver().await.is_empty());
    world.advance(1);
    let told = world.deliver().await;
    assert_eq!((events(&told), positions(&told)), (vec![LifecycleEvent::Missed], vec![]));
}
