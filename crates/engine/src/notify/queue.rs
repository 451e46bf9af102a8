//! What is to be delivered where and when: the whole of delivery without a store, a socket or a clock.
//!
//! A *feed* is a subscription with what it still has to be told; a *target* a URL with what is to be posted there next,
//! in order, one POST at a time; an *endpoint* the health of all URLs of a host. Instants go in as arguments.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use presence::{AppId, Change, TenantId, Timestamp, UserKey};
use store::{LogEntry, LogRead, Position};

use super::health::{Admission, Health, State};
use super::lifecycle::LifecycleKey;
use super::subscription::SubscriptionEvent;
use super::{
    Attempt, Backlog, DeliverySettings, Lengths, LifecycleEvent, Notice, Outcome, Post, PostId, PostItem,
    Subscription, SubscriptionId,
};

#[derive(Default)]
pub(super) struct Queue {
    pub(super) settings: DeliverySettings,
    pub(super) feeds: HashMap<SubscriptionId, Feed>,
    pub(super) by_app: HashMap<(TenantId, AppId), BTreeSet<SubscriptionId>>,
    by_user: HashMap<UserKey, Vec<SubscriptionId>>,
    targets: HashMap<Arc<str>, Target>,
    endpoints: HashMap<String, Health>,
    /// Targets with something to post and no POST under way, by when; those whose last POST failed apart, so that they
    /// wait for a POST among themselves.
    due: [BTreeSet<(Timestamp, Arc<str>)>; 2],
    posts: HashMap<PostId, Posting>,
    /// Of them, to targets whose last POST failed.
    failing_posts: usize,
    timers: BTreeSet<(Timestamp, SubscriptionId)>,
    /// The log has been read up to here.
    pub(super) read: Position,
    /// After a restart, where the log ended then. Until that is read nothing is posted if only the newest state counts:
    /// one that was replaced before the restart must not be told after the one that replaced it.
    catch_up: Option<(Position, Vec<SubscriptionId>)>,
    /// Feeds that have something in the log which found no room: see [`Feed::behind`].
    behind: BTreeSet<SubscriptionId>,
    /// Feeds whose cursor may have moved since it was last kept.
    pub(super) moved: BTreeSet<SubscriptionId>,
    /// Subscriptions that ended by time: what is kept of them can go.
    pub(super) ended: Vec<SubscriptionId>,
    /// In a store that others use too: those of ours that have ended as far as is known here, and up to where each had been
    /// told everything then. Somebody may have renewed them meanwhile.
    pub(super) expired: BTreeMap<SubscriptionId, Position>,
    is_shared: bool,
    /// Subscriptions that were refused to who asked for them and may be kept all the same, the last ones, in order.
    refused: VecDeque<SubscriptionId>,
    /// Of them, those that are to be deleted, whoever has their shard.
    pub(super) unwanted: BTreeSet<SubscriptionId>,
    /// Lifecycle events that are still to be told, and the subscriptions they are of: those may be gone by then.
    pub(super) lifecycle: BTreeMap<LifecycleKey, Arc<Subscription>>,
    /// Of them, what came or went since it was last kept.
    pub(super) lifecycle_moved: BTreeSet<LifecycleKey>,
    /// Up to here time has done to subscriptions what it does. What it did while nobody looked is done after a restart.
    pub(super) fired_until: Option<Timestamp>,
    /// In a store that others use too: whom it reminded since that was last kept, and when.
    pub(super) fired: BTreeMap<SubscriptionId, Timestamp>,
    pub(super) attempts: VecDeque<Attempt>,
    counter: u64,
}

/// Most subscriptions that are remembered as refused.
const REFUSED_MAX: usize = 1_024;

pub(super) struct Feed {
    pub(super) subscription: Arc<Subscription>,
    /// Whether it is durable. What comes before that is held.
    is_active: bool,
    /// Whether it was heard, before it was known to be durable here, that there is none: then it has ended already.
    pub(super) is_doubtful: bool,
    /// Whether this process delivers it. It is known all the same if another one does.
    pub(super) is_ours: bool,
    /// Changes up to here are done or were never its own.
    from: Position,
    outstanding: BTreeSet<Position>,
    held: VecDeque<(Position, UserKey, Change)>,
    /// Where every change counts: what comes after this found no room, and is read from the log again when there is some.
    behind: Option<Position>,
    /// POSTs under way that tell it of changes.
    posts: usize,
    /// Whether such a POST goes to an earlier URL, or the log is being caught up with: what follows is held until that
    /// has ended, to stay in order.
    is_moving: bool,
    timer: Option<Timestamp>,
    /// Whether `missed` was sent since the last delivery.
    is_missed_told: bool,
}

#[derive(Clone)]
struct Item {
    subscription: Arc<Subscription>,
    notice: Notice,
    ready_at: Timestamp,
    first_tried_at: Option<Timestamp>,
}

struct Target {
    endpoint: String,
    pending: BTreeMap<u64, Item>,
    newest: HashMap<(SubscriptionId, UserKey), u64>,
    /// The earliest instant at which one that was put here may go. They go in order all the same, so that one takes those
    /// before it along.
    ready_at: Timestamp,
    is_posting: bool,
    failures: u32,
    next_try: Timestamp,
    due_at: Option<(usize, Timestamp)>,
}

struct Posting {
    url: Arc<str>,
    is_failing: bool,
    attempt: u32,
    items: Vec<(u64, Item)>,
    started_at: Timestamp,
}

impl Feed {
    /// Whether it is durable, and so may be shown.
    pub(super) fn is_active(&self) -> bool {
        self.is_active
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether something waits, here or in the log.
    pub(super) fn lags(&self) -> bool {
        !self.outstanding.is_empty() || self.behind.is_some()
    }

    pub(super) fn cursor(&self, read: Position) -> Option<Position> {
        let first = self.outstanding.first().map(|first| Position(first.0 - 1));
        let first = first.into_iter().chain(self.behind).min();
        first.or_else(|| (self.from > read).then_some(self.from))
    }
}

impl Queue {
    pub(super) fn endpoint_states(&self) -> impl Iterator<Item = State> + '_ {
        self.endpoints.values().map(Health::state)
    }

    pub(super) fn new(settings: DeliverySettings, is_shared: bool) -> Self {
        Self { settings, is_shared, ..Self::default() }
    }

    pub(super) fn lengths(&self) -> Lengths {
        Lengths {
            backlog: self.feeds.values().map(Feed::outstanding).max().unwrap_or(0),
            target_backlog: self.targets.values().map(|target| target.pending.len()).max().unwrap_or(0),
            endpoints: self.endpoints.len(),
            attempts: self.attempts.len(),
            posts: self.posts.len(),
        }
    }

    /// Takes note that who asked for a subscription was told that there is none. Nobody has heard of it, so it can be deleted
    /// without a lease.
    pub(super) fn refuse(&mut self, id: SubscriptionId) {
        self.refused.push_back(id);
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_front();
        }
        self.unwanted.insert(id);
    }

    /// Whether a subscription that has come to light was refused. It is to be deleted then, again if need be: what was thought to
    /// have failed may be carried out late.
    pub(super) fn is_refused(&mut self, id: SubscriptionId) -> bool {
        let is_refused = self.refused.contains(&id);
        if is_refused {
            self.unwanted.insert(id);
        }
        is_refused
    }

    pub(super) fn insert(
        &mut self,
        subscription: Subscription,
        from: Position,
        is_active: bool,
        is_ours: bool,
        now: Timestamp,
    ) {
        let id = subscription.id;
        for user in subscription.user_keys() {
            self.by_user.entry(user).or_default().push(id);
        }
        self.by_app.entry((subscription.tenant, subscription.app)).or_default().insert(id);
        let feed = Feed {
            subscription: Arc::new(subscription),
            is_active,
            is_doubtful: false,
            is_ours,
            from,
            outstanding: BTreeSet::new(),
            held: VecDeque::new(),
            behind: None,
            posts: 0,
            is_moving: false,
            timer: None,
            is_missed_told: false,
        };
        self.feeds.insert(id, feed);
        let looked_until = self.fired_until.map_or(now, |until| until.min(now));
        self.set_timer(id, looked_until);
    }

    /// Takes up a lifecycle event that was kept when it came up.
    pub(super) fn restore(&mut self, key: LifecycleKey, subscription: Arc<Subscription>, now: Timestamp) {
        if key.event == LifecycleEvent::Missed
            && let Some(feed) = self.feeds.get_mut(&key.subscription)
        {
            feed.is_missed_told = true;
        }
        if self.settings.retry.may_try(key.at, now) {
            self.offer(subscription, Notice::Lifecycle { event: key.event, at: key.at }, now);
        }
        // Kept already; and if it is too old to be told, there is something to forget.
        self.lifecycle_moved.insert(key);
    }

    /// Goes on from `read` after a restart, with the log ending at `end`.
    pub(super) fn resume(&mut self, read: Position, end: Position, now: Timestamp) {
        self.read = read;
        if self.settings.backlog == Backlog::Newest {
            self.feeds.values_mut().for_each(|feed| feed.is_moving = true);
            // In order, so that the same history plans the same POSTs.
            let mut ids: Vec<_> = self.feeds.keys().copied().collect();
            ids.sort_unstable();
            self.catch_up = Some((end, ids));
        }
        self.caught_up(now);
    }

    /// To be asked after each page of the log.
    pub(super) fn caught_up(&mut self, now: Timestamp) {
        if self.catch_up.as_ref().is_some_and(|(end, _)| self.read >= *end)
            && let Some((_, ids)) = self.catch_up.take()
        {
            for id in ids {
                if let Some(feed) = self.feeds.get_mut(&id) {
                    feed.is_moving = false;
                    self.release(id, now);
                }
            }
        }
    }

    /// Somebody says that it is not there, and here it is not known to be durable yet.
    pub(super) fn doubt(&mut self, id: SubscriptionId) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.is_doubtful = true;
        }
    }

    /// It is durable now: what was held goes.
    pub(super) fn activate(&mut self, id: SubscriptionId, now: Timestamp) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.is_active = true;
            self.release(id, now);
        }
    }

    /// Another process delivers it from now on: what is waiting is its business.
    pub(super) fn disown(&mut self, id: SubscriptionId, now: Timestamp) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.is_ours = false;
        feed.outstanding.clear();
        feed.held.clear();
        feed.behind = None;
        feed.is_moving = false;
        self.behind.remove(&id);
        self.moved.remove(&id);
        let url = Arc::<str>::from(feed.subscription.notification_url.as_str());
        if let Some(target) = self.targets.get_mut(&url) {
            target.forget(id);
        }
        self.schedule(&url);
        self.set_timer(id, now);
    }

    /// Another process tells this event: it has it from the store.
    pub(super) fn let_go(&mut self, key: LifecycleKey) {
        let Some(subscription) = self.lifecycle.remove(&key) else { return };
        self.lifecycle_moved.remove(&key);
        let Some(url) = &subscription.lifecycle_notification_url else { return };
        let url = Arc::<str>::from(url.as_str());
        if let Some(target) = self.targets.get_mut(&url) {
            target.pending.retain(|_, item| item.lifecycle_key() != Some(key));
        }
        self.schedule(&url);
    }

    /// This process delivers it from now on, what comes after `from` and what time does to it after `looked_until`. It is held
    /// until [`settle`](Self::settle).
    pub(super) fn adopt(&mut self, id: SubscriptionId, from: Position, looked_until: Timestamp) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        (feed.is_ours, feed.is_moving, feed.from) = (true, true, from);
        self.moved.insert(id);
        self.set_timer(id, looked_until);
    }

    /// What was held while an adopted subscription was caught up with goes.
    pub(super) fn settle(&mut self, id: SubscriptionId, now: Timestamp) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.is_moving = feed.posts > 0;
            self.release(id, now);
        }
    }

    /// Tells a feed that something before its time was not delivered.
    pub(super) fn missed(&mut self, id: SubscriptionId, now: Timestamp) {
        self.miss(id, now);
    }

    /// Takes a subscription's place with a changed one of the same id and users.
    pub(super) fn replace(&mut self, subscription: Subscription, now: Timestamp) {
        let id = subscription.id;
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        let old = std::mem::replace(&mut feed.subscription, Arc::new(subscription));
        let waiting = match self.targets.get_mut(&*old.notification_url) {
            Some(target) if feed.subscription.notification_url != old.notification_url => target.forget(id),
            _ => Vec::new(),
        };
        feed.is_moving |= feed.posts > 0 && feed.subscription.notification_url != old.notification_url;
        feed.held.extend(waiting.iter().filter_map(Item::change));
        self.schedule(&Arc::from(old.notification_url.as_str()));
        self.set_timer(id, now);
        self.release(id, now);
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        let feed = self.feeds.remove(&id)?;
        self.expired.remove(&id);
        for user in feed.subscription.user_keys() {
            if let Some(ids) = self.by_user.get_mut(&user) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_user.remove(&user);
                }
            }
        }
        let owner = (feed.subscription.tenant, feed.subscription.app);
        if let Some(ids) = self.by_app.get_mut(&owner) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_app.remove(&owner);
            }
        }
        if let Some(at) = feed.timer {
            self.timers.remove(&(at, id));
        }
        self.moved.remove(&id);
        self.behind.remove(&id);
        if let Some(target) = self.targets.get_mut(&*feed.subscription.notification_url) {
            target.forget(id);
        }
        self.schedule(&Arc::from(feed.subscription.notification_url.as_str()));
        Some(feed.subscription)
    }

    /// Hands an entry of the log to every feed that it concerns.
    pub(super) fn take(&mut self, entry: &LogEntry, now: Timestamp) {
        self.read = self.read.max(entry.position);
        if !entry.change.is_pair_changed {
            return;
        }
        for id in self.by_user.get(&entry.user).cloned().unwrap_or_default() {
            self.feed(id, entry.position, entry.user, entry.change, now);
        }
    }

    /// Hands an entry to those of some feeds that it concerns.
    pub(super) fn take_for(&mut self, entry: &LogEntry, ids: &BTreeSet<SubscriptionId>, now: Timestamp) {
        if !entry.change.is_pair_changed {
            return;
        }
        for id in self.by_user.get(&entry.user).cloned().unwrap_or_default() {
            if ids.contains(&id) {
                self.feed(id, entry.position, entry.user, entry.change, now);
            }
        }
    }

    /// Hands an entry to one feed, unless it had it.
    pub(super) fn feed(
        &mut self,
        id: SubscriptionId,
        position: Position,
        user: UserKey,
        change: Change,
        now: Timestamp,
    ) {
        let newest_only = self.settings.backlog == Backlog::Newest;
        let Some(feed) = self.feeds.get_mut(&id).filter(|feed| feed.is_ours && position > feed.from) else {
            return;
        };
        let is_behind = feed.behind.is_some_and(|behind| position > behind);
        if is_behind || feed.outstanding.contains(&position) {
            return;
        }
        if feed.subscription.is_expired(now) {
            self.expire(id, Position(position.0 - 1), now);
            return;
        }
        self.moved.insert(id);
        let is_paused = feed.subscription.is_paused(now);
        if !newest_only && !is_paused && feed.outstanding.len() >= self.settings.bounds.backlog {
            feed.behind = Some(Position(position.0 - 1));
            self.behind.insert(id);
            return;
        }
        feed.outstanding.insert(position);
        if !feed.is_active || feed.is_moving || is_paused {
            if (is_paused || newest_only)
                && let Some(place) = feed.held.iter().position(|(_, other, _)| *other == user)
            {
                if feed.held[place].0 > position {
                    feed.outstanding.remove(&position);
                    return;
                }
                if let Some((old, ..)) = feed.held.remove(place) {
                    feed.outstanding.remove(&old);
                }
            }
            feed.held.push_back((position, user, change));
            return;
        }
        let subscription = Arc::clone(&feed.subscription);
        self.offer(subscription, Notice::Change { position, user, change }, now);
    }

    /// Whether none of some feeds has room for more of the log.
    pub(super) fn are_behind(&self, ids: &BTreeSet<SubscriptionId>) -> bool {
        ids.is_subset(&self.behind)
    }

    /// Feeds that are behind and have room again, with where each goes on in the log.
    pub(super) fn with_room(&self) -> BTreeMap<SubscriptionId, Position> {
        let half = self.settings.bounds.backlog / 2;
        let has_room = |feed: &Feed| feed.outstanding.len() <= half;
        let feeds = self.behind.iter().filter_map(|id| Some((*id, self.feeds.get(id)?)));
        feeds.filter(|(_, feed)| has_room(feed)).filter_map(|(id, feed)| Some((id, feed.behind?))).collect()
    }

    /// Hands what the log has from the lowest of these places on to those feeds, as far as there is room.
    pub(super) fn refill(
        &mut self,
        of: &BTreeMap<SubscriptionId, Position>,
        found: &LogRead,
        now: Timestamp,
    ) {
        let read = self.read;
        let entries = match found {
            LogRead::Page { entries, .. } => &entries[..],
            LogRead::Behind { .. } => &[],
        };
        let last = match found {
            LogRead::Page { entries, .. } => entries.last().map_or(read, |last| last.position.min(read)),
            LogRead::Behind { oldest, .. } => Position(oldest.0.saturating_sub(1)).min(read),
        };
        let (mut taking, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for (id, behind) in of.iter().filter(|(_, behind)| **behind < last) {
            let Some(feed) = self.feeds.get_mut(id).filter(|feed| feed.behind == Some(*behind)) else {
                continue;
            };
            feed.behind = None;
            taking.insert(*id);
            if matches!(found, LogRead::Behind { .. }) {
                missing.insert(*id);
            }
        }
        for entry in entries.iter().filter(|entry| entry.position <= read && entry.change.is_pair_changed) {
            for id in self.by_user.get(&entry.user).cloned().unwrap_or_default() {
                if !taking.contains(&id) || of.get(&id).is_none_or(|behind| entry.position <= *behind) {
                    continue;
                }
                // As what is held: too old is too old, wherever it waited.
                if self.settings.retry.may_try(entry.change.at, now) {
                    self.feed(id, entry.position, entry.user, entry.change, now);
                } else {
                    missing.insert(id);
                }
            }
        }
        for id in taking {
            let Some(feed) = self.feeds.get_mut(&id) else { continue };
            if feed.behind.is_none() && last < read {
                feed.behind = Some(last);
            }
            if feed.behind.is_none() {
                self.behind.remove(&id);
            }
            self.moved.insert(id);
        }
        for id in missing {
            self.miss(id, now);
        }
    }

    /// A part of the log that was not read is no longer retained: every feed that had not passed it is told.
    pub(super) fn skip_to(&mut self, oldest: Position, now: Timestamp) {
        self.read = self.read.max(Position(oldest.0.saturating_sub(1)));
        let behind = self.feeds.iter().filter(|(_, feed)| feed.is_ours && feed.from.0 + 1 < oldest.0);
        let mut behind: Vec<_> = behind.map(|(id, _)| *id).collect();
        behind.sort_unstable();
        for id in behind {
            self.miss(id, now);
        }
    }

    /// Forgets what is waiting for a feed and makes it take entries after `from` again.
    pub(super) fn rewind(&mut self, id: SubscriptionId, from: Position) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        feed.from = from.max(feed.subscription.created_after);
        feed.outstanding.clear();
        feed.held.clear();
        feed.behind = None;
        self.behind.remove(&id);
        self.moved.insert(id);
        let url = Arc::<str>::from(feed.subscription.notification_url.as_str());
        if let Some(target) = self.targets.get_mut(&url) {
            target.forget(id);
        }
        self.schedule(&url);
    }

    /// What can be posted now, and when to ask again if nothing else happens.
    pub(super) fn plan(&mut self, now: Timestamp) -> (Vec<Post>, Option<Timestamp>) {
        self.fire(now);
        let mut posts = Vec::new();
        for (failing, room) in [(0, self.settings.posts_max), (1, self.settings.posts_max.div_ceil(4))] {
            while posts.len() < self.settings.bounds.planned_posts
                && self.posts.len() < self.settings.posts_max
                && (failing == 0 || self.failing_posts < room)
                && let Some((_, url)) = self.due[failing].first().filter(|(at, _)| *at <= now).cloned()
            {
                posts.extend(self.begin(&url, now));
            }
        }
        let due = self.due.iter().filter_map(|due| due.first().map(|(at, _)| *at)).filter(|at| *at > now);
        let timer = self.timers.first().map(|(at, _)| *at);
        (posts, due.chain(timer).min())
    }

    fn begin(&mut self, url: &Arc<str>, now: Timestamp) -> Option<Post> {
        let target = self.targets.get_mut(url)?;
        let mut items = Vec::new();
        let (mut given_up, mut paused, mut over) = (Vec::new(), Vec::new(), Vec::new());
        while items.len() < self.settings.bounds.items_per_post
            && let Some((order, mut item)) = target.pop()
        {
            let id = item.subscription.id;
            let feed = self.feeds.get(&id);
            if let Some(feed) = feed {
                item.subscription = Arc::clone(&feed.subscription);
            }
            let is_wanted = feed.is_some()
                || matches!(
                    item.notice,
                    Notice::Lifecycle { event: LifecycleEvent::SubscriptionRemoved, .. }
                );
            if !is_wanted || item.subscription.is_expired(now) {
                over.extend(item.lifecycle_key());
                continue;
            }
            if item.first_tried_at.is_some_and(|first| !self.settings.retry.may_try(first, now)) {
                given_up.push(item);
            } else if let Notice::Change { position, user, change } = item.notice
                && item.subscription.is_paused(now)
            {
                paused.push((id, position, user, change));
            } else {
                item.first_tried_at.get_or_insert(now);
                items.push((order, item));
            }
        }
        if let Some((_, next)) = target.pending.first_key_value() {
            target.ready_at = next.ready_at;
        }
        let attempt = target.failures + 1;
        let is_failing = target.failures > 0;
        target.is_posting = !items.is_empty();
        let endpoint = target.endpoint.clone();
        self.schedule(url);
        for (id, position, user, change) in paused {
            if let Some(feed) = self.feeds.get_mut(&id) {
                feed.outstanding.remove(&position);
                self.feed(id, position, user, change, now);
            }
        }
        for item in given_up {
            over.extend(item.lifecycle_key());
            if let Notice::Change { position, .. } = item.notice {
                self.done(item.subscription.id, position);
                self.miss(item.subscription.id, now);
            }
        }
        for key in over {
            self.settle_lifecycle(key);
        }
        if items.is_empty() {
            return None;
        }
        let told: BTreeSet<_> =
            items.iter().filter_map(|(_, item)| item.change().map(|_| item.subscription.id)).collect();
        for id in told {
            if let Some(feed) = self.feeds.get_mut(&id) {
                feed.posts += 1;
            }
        }
        self.counter += 1;
        let id = PostId(self.counter);
        let limit = if is_failing { self.settings.retry_limit } else { self.settings.first_limit };
        let post_items =
            items.iter().map(|(_, item)| PostItem::new(&item.subscription, item.notice)).collect();
        self.failing_posts += usize::from(is_failing);
        let posting = Posting { url: Arc::clone(url), is_failing, attempt, items, started_at: now };
        self.posts.insert(id, posting);
        Some(Post { id, url: Arc::clone(url), endpoint, attempt, limit, items: post_items })
    }

    /// Takes note of how a POST went.
    pub(super) fn finish(
        &mut self,
        id: PostId,
        outcome: &Outcome,
        elapsed: Duration,
        random: u64,
        now: Timestamp,
    ) {
        let Some(posting) = self.posts.remove(&id) else { return };
        self.failing_posts -= usize::from(posting.is_failing);
        let settings = self.settings;
        let Some(target) = self.targets.get_mut(&posting.url) else { return };
        target.is_posting = false;
        if let Some(health) = self.endpoints.get_mut(&target.endpoint) {
            health.answered(&settings.health, now, elapsed);
        }
        let mut next_try = None;
        if matches!(outcome, Outcome::Delivered { .. }) {
            (target.failures, target.next_try) = (0, now);
        } else {
            target.failures += 1;
            let retry_after = match outcome {
                Outcome::Failed { retry_after, .. } => *retry_after,
                _ => None,
            };
            let delay = settings.retry.delay(target.failures, random, retry_after);
            target.next_try = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
            next_try = Some(target.next_try);
        }
        self.note(&posting, outcome, elapsed, next_try);
        let Some(target) = self.targets.get_mut(&posting.url) else { return };
        let mut settled = Vec::new();
        let told: BTreeSet<SubscriptionId> = posting
            .items
            .iter()
            .filter_map(|(_, item)| item.change().map(|_| item.subscription.id))
            .collect();
        for (order, item) in posting.items {
            let key = item.notice.user().map(|user| (item.subscription.id, user));
            let is_replaced = settings.backlog == Backlog::Newest
                && key.is_some_and(|key| target.newest.get(&key).is_some_and(|newest| *newest > order));
            let is_known = self.feeds.get(&item.subscription.id).is_some_and(|feed| match item.notice {
                Notice::Change { position, .. } => feed.outstanding.contains(&position),
                Notice::Lifecycle { .. } => true,
            });
            if next_try.is_none() || is_replaced {
                settled.push((item.subscription.id, item.notice));
            } else if matches!(item.notice, Notice::Lifecycle { .. }) {
                target.put(order, item);
            } else if is_known {
                let id = item.subscription.id;
                let Some(feed) = self.feeds.get_mut(&id) else { continue };
                if *feed.subscription.notification_url == *posting.url {
                    target.put(order, item);
                } else {
                    feed.held.extend(item.change());
                }
            }
        }
        if next_try.is_some() && settings.backlog == Backlog::Newest {
            settled.extend(target.collapse(None).into_iter().map(|item| (item.subscription.id, item.notice)));
        }
        self.schedule(&posting.url);
        for id in told {
            if let Some(feed) = self.feeds.get_mut(&id) {
                feed.posts = feed.posts.saturating_sub(1);
                feed.is_moving &= feed.posts > 0;
                self.release(id, now);
            }
        }
        for (id, notice) in settled {
            match notice {
                Notice::Change { position, .. } => {
                    self.done(id, position);
                    if next_try.is_none()
                        && let Some(feed) = self.feeds.get_mut(&id)
                    {
                        feed.is_missed_told = false;
                    }
                }
                Notice::Lifecycle { event, at } => {
                    self.settle_lifecycle(LifecycleKey { subscription: id, event, at });
                }
            }
        }
    }

    /// Puts a notice where it is to go, or drops it as the endpoint's health or a bound wants.
    pub(super) fn offer(&mut self, subscription: Arc<Subscription>, notice: Notice, now: Timestamp) {
        let id = subscription.id;
        let url = match notice {
            Notice::Change { .. } => Some(&subscription.notification_url),
            Notice::Lifecycle { .. } => subscription.lifecycle_notification_url.as_ref(),
        };
        let Some(url) = url.map(|url| Arc::<str>::from(url.as_str())) else { return };
        let settings = self.settings;
        let target = self.targets.entry(Arc::clone(&url)).or_insert_with(|| Target::new(&url, now));
        if self.endpoints.len() >= settings.bounds.endpoints && !self.endpoints.contains_key(&target.endpoint)
        {
            self.endpoints.retain(|_, health| health.state() != State::Healthy);
        }
        let health = self.endpoints.entry(target.endpoint.clone()).or_insert_with(|| Health::new(now));
        let ready_at = match health.admit(&settings.health, now) {
            Admission::Now | Admission::Probe => now,
            Admission::At(at) => at,
            // That something was dropped must not be dropped, too: it waits until the endpoint is looked at again.
            Admission::Drop if notice.user().is_none() => {
                now.saturating_add(settings.health.window).unwrap_or(Timestamp::MAX)
            }
            Admission::Drop => return self.dropped(id, notice, now),
        };
        if target.pending.len() >= settings.bounds.target_backlog {
            return self.dropped(id, notice, now);
        }
        let mut replaced = Vec::new();
        if let Some(user) = notice.user()
            && settings.backlog == Backlog::Newest
            && target.failures > 0
        {
            replaced.extend(target.newest.get(&(id, user)).and_then(|order| target.pending.remove(order)));
        }
        self.counter += 1;
        let item = Item { subscription, notice, ready_at, first_tried_at: None };
        if let Some(key) = item.lifecycle_key() {
            self.lifecycle.insert(key, Arc::clone(&item.subscription));
            self.lifecycle_moved.insert(key);
        }
        target.put(self.counter, item);
        let overflows =
            self.feeds.get(&id).is_some_and(|feed| feed.outstanding.len() > settings.bounds.backlog);
        if overflows {
            replaced.extend(target.collapse(Some(id)));
        }
        for item in replaced {
            if let Notice::Change { position, .. } = item.notice {
                self.done(id, position);
            }
        }
        self.schedule(&url);
        if overflows {
            self.miss(id, now);
        }
    }

    fn dropped(&mut self, id: SubscriptionId, notice: Notice, now: Timestamp) {
        if let Notice::Change { position, .. } = notice {
            self.done(id, position);
            self.miss(id, now);
        }
    }

    fn settle_lifecycle(&mut self, key: LifecycleKey) {
        self.lifecycle.remove(&key);
        self.lifecycle_moved.insert(key);
    }

    fn done(&mut self, id: SubscriptionId, position: Position) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.outstanding.remove(&position);
            self.moved.insert(id);
        }
    }

    /// Tells the owner, once until something is delivered again, that something was not.
    fn miss(&mut self, id: SubscriptionId, now: Timestamp) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        if !std::mem::replace(&mut feed.is_missed_told, true) {
            let subscription = Arc::clone(&feed.subscription);
            self.offer(subscription, Notice::Lifecycle { event: LifecycleEvent::Missed, at: now }, now);
        }
    }

    /// Gives back what was held, if it may go.
    fn release(&mut self, id: SubscriptionId, now: Timestamp) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        if !feed.is_active || feed.is_moving || feed.subscription.is_paused(now) {
            return;
        }
        let subscription = Arc::clone(&feed.subscription);
        feed.held.make_contiguous().sort_unstable_by_key(|(position, ..)| *position);
        for (position, user, change) in std::mem::take(&mut feed.held) {
            let notice = Notice::Change { position, user, change };
            if self.settings.retry.may_try(change.at, now) {
                self.offer(Arc::clone(&subscription), notice, now);
            } else {
                self.dropped(id, notice, now);
            }
        }
    }

    /// Does what time does to subscriptions.
    fn fire(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            let Some(feed) = self.feeds.get_mut(&id) else { continue };
            feed.timer = None;
            let subscription = Arc::clone(&feed.subscription);
            let before = Timestamp::from_nanosecond(at.as_nanosecond() - 1).unwrap_or(at);
            match subscription.next_event(before) {
                Some((_, SubscriptionEvent::Remind)) if !subscription.is_expired(now) => {
                    let event = LifecycleEvent::ReauthorizationRequired;
                    self.fired_until = self.fired_until.max(Some(now));
                    if self.is_shared {
                        self.fired.insert(id, now);
                    }
                    self.offer(subscription, Notice::Lifecycle { event, at }, now);
                }
                Some((_, SubscriptionEvent::Expire)) => {
                    self.expire(id, self.read, now);
                    continue;
                }
                _ => {}
            }
            self.set_timer(id, at);
        }
    }

    /// One of ours has ended. Where nobody else can have renewed it, it is gone; where somebody can, nothing is told any more
    /// until that is known. `told`: up to where it has been told everything, if nothing is waiting for it.
    fn expire(&mut self, id: SubscriptionId, told: Position, now: Timestamp) {
        if !self.is_shared {
            self.remove(id);
            self.ended.push(id);
            return;
        }
        let Some(feed) = self.feeds.get(&id) else { return };
        // Of one that is being taken up it is not known how far the log was read for it.
        let told = if feed.is_moving { told.min(feed.from) } else { told };
        let cursor = feed.cursor(told).unwrap_or(told);
        self.expired.insert(id, cursor);
        self.disown(id, now);
    }

    fn set_timer(&mut self, id: SubscriptionId, after: Timestamp) {
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        if let Some(old) = feed.timer.take() {
            self.timers.remove(&(old, id));
        }
        if !feed.is_ours {
            return;
        }
        feed.timer = feed.subscription.next_event(after).map(|(at, _)| at);
        // What has already ended is noticed at once.
        feed.timer = feed.timer.or(Some(feed.subscription.expires_at));
        self.timers.extend(feed.timer.map(|at| (at, id)));
    }

    fn schedule(&mut self, url: &Arc<str>) {
        let Some(target) = self.targets.get_mut(url) else { return };
        if let Some((failing, at)) = target.due_at.take() {
            self.due[failing].remove(&(at, Arc::clone(url)));
        }
        if target.is_posting {
            return;
        }
        match target.pending.first_key_value() {
            Some(_) => {
                let due = (usize::from(target.failures > 0), target.ready_at.max(target.next_try));
                self.due[due.0].insert((due.1, Arc::clone(url)));
                target.due_at = Some(due);
            }
            // Nothing to say there; the endpoint keeps its health.
            None => drop(self.targets.remove(url)),
        }
    }

    fn note(&mut self, posting: &Posting, outcome: &Outcome, elapsed: Duration, next_try: Option<Timestamp>) {
        let mut of: BTreeMap<SubscriptionId, (Position, Position, usize)> = BTreeMap::new();
        for (_, item) in &posting.items {
            let position = item.notice.position().unwrap_or_default();
            let entry = of.entry(item.subscription.id).or_insert((position, position, 0));
            *entry = (entry.0.min(position), entry.1.max(position), entry.2 + 1);
        }
        for (subscription, (first, last, items)) in of {
            if self.attempts.len() >= self.settings.bounds.attempts {
                self.attempts.pop_front();
            }
            self.attempts.push_back(Attempt {
                subscription,
                first,
                last,
                items,
                attempt: posting.attempt,
                tried_at: posting.started_at,
                elapsed,
                outcome: outcome.clone(),
                next_try,
            });
        }
    }
}

impl Item {
    fn lifecycle_key(&self) -> Option<LifecycleKey> {
        match self.notice {
            Notice::Change { .. } => None,
            Notice::Lifecycle { event, at } => {
                Some(LifecycleKey { subscription: self.subscription.id, event, at })
            }
        }
    }

    fn change(&self) -> Option<(Position, UserKey, Change)> {
        match self.notice {
            Notice::Change { position, user, change } => Some((position, user, change)),
            Notice::Lifecycle { .. } => None,
        }
    }
}

impl Target {
    fn new(url: &Arc<str>, now: Timestamp) -> Self {
        let endpoint = endpoint_of(url);
        let (pending, newest) = (BTreeMap::new(), HashMap::new());
        Self {
            endpoint,
            pending,
            newest,
            ready_at: now,
            is_posting: false,
            failures: 0,
            next_try: now,
            due_at: None,
        }
    }

    fn put(&mut self, order: u64, item: Item) {
        if let Some(user) = item.notice.user() {
            let newest = self.newest.entry((item.subscription.id, user)).or_insert(order);
            *newest = order.max(*newest);
        }
        self.ready_at =
            if self.pending.is_empty() { item.ready_at } else { self.ready_at.min(item.ready_at) };
        self.pending.insert(order, item);
    }

    fn pop(&mut self) -> Option<(u64, Item)> {
        let (order, item) = self.pending.pop_first()?;
        if let Some(user) = item.notice.user() {
            let key = (item.subscription.id, user);
            if self.newest.get(&key) == Some(&order) {
                self.newest.remove(&key);
            }
        }
        Some((order, item))
    }

    /// Takes out the changes of a feed, in order.
    fn forget(&mut self, id: SubscriptionId) -> Vec<Item> {
        self.newest.retain(|(other, _), _| *other != id);
        let is_its = |item: &Item| item.subscription.id == id && item.notice.user().is_some();
        let orders: Vec<u64> =
            self.pending.iter().filter(|(_, item)| is_its(item)).map(|(order, _)| *order).collect();
        orders.into_iter().filter_map(|order| self.pending.remove(&order)).collect()
    }

    /// Keeps the newest change of each user of a feed, or of all feeds, and gives back the others.
    fn collapse(&mut self, id: Option<SubscriptionId>) -> Vec<Item> {
        let mut seen = HashSet::new();
        let mut old = Vec::new();
        for (order, item) in self.pending.iter().rev() {
            let of = item.subscription.id;
            let user = item.notice.user().filter(|_| id.is_none_or(|id| id == of));
            if user.is_some_and(|user| !seen.insert((of, user))) {
                old.push(*order);
            }
        }
        old.into_iter().filter_map(|order| self.pending.remove(&order)).collect()
    }
}

/// Scheme, host and port: what shares one health. Without a path, a query or who is logged in.
fn endpoint_of(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    url[..end].to_ascii_lowercase()
}
