//! Delivery that several processes share.
//!
//! Every process knows every subscription; the one that has the lease of a subscription's shard delivers it. A shard that
//! comes is taken up at the cursors that are kept, and what its subscriptions have not been told yet is read from the log
//! again; one that goes is let go at once. Cursors are written under the lease, so that whoever was away for too long
//! cannot move them any more. What both have told in between has the same ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{join_all, select};
use parking_lot::Mutex;
use presence::Timestamp;
use store::Leases;
use store::{Document, DocumentKind, DocumentsSeen, LOG_READ_MAX, LogRead, Position, Shared, StoreError};

use super::lifecycle::{Kept, LifecycleKey, fired_until_in_document};
use super::queue::Queue;
use super::{Cursors, Notifier, Saved, SubscribeError, Subscription, SubscriptionId, cursor_document};
use crate::EngineError;

/// What is known of the other processes.
#[derive(Default)]
pub(super) struct Following {
    pub(super) seen: DocumentsSeen,
    /// Those that were taken up.
    leases: Option<Arc<Leases>>,
    /// Whether there is a subscription that nobody here has looked at whether to deliver.
    pub(super) is_new: bool,
    /// The shards whose lifecycle events were taken up.
    taken: BTreeSet<u16>,
    /// Up to where each shard's cursor was kept by this process.
    kept: BTreeMap<u16, Position>,
    /// The processes that there were when lifecycle events were last looked at: one that goes may have had some to tell.
    fleet: u64,
}

/// Subscriptions of which one call looks whether they have been renewed by others.
const EXPIRED_PER_SAVE_MAX: usize = 256;

/// Subscriptions that are being taken up. Unless that comes to its end they are not ours: nobody would read the rest of what
/// they have not been told.
struct HalfTakenUp<'a> {
    queue: &'a Mutex<Queue>,
    gained: &'a [(SubscriptionId, Position)],
    now: Timestamp,
}

impl Drop for HalfTakenUp<'_> {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        self.gained.iter().for_each(|(id, _)| queue.disown(*id, self.now));
    }
}

impl Notifier {
    /// Makes sure that what other processes have changed of subscriptions before this call is known here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fresh(&self) -> Result<(), StoreError> {
        let Some(shared) = self.store.shared() else { return Ok(()) };
        let mut following = self.following.lock().await;
        let changes = shared.document_changes(&mut following.seen).await?;
        let mut documents = changes.documents;
        if !changes.is_complete {
            let all = self.store.documents(DocumentKind::Subscription).await?;
            let there: BTreeSet<_> = all.iter().map(|document| document.key.clone()).collect();
            let known: Vec<_> = self.queue.lock().feeds.keys().map(|id| id.0.as_bytes().to_vec()).collect();
            let gone = known.into_iter().filter(|key| !there.contains(key));
            documents =
                gone.map(|key| Document { kind: DocumentKind::Subscription, key, body: None }).collect();
            documents.extend(all);
        }
        let now = self.clock.now();
        let mut is_new = false;
        let mut queue = self.queue.lock();
        for document in documents.into_iter().filter(|document| document.kind == DocumentKind::Subscription) {
            let Ok(id) = uuid::Uuid::from_slice(&document.key).map(SubscriptionId) else { continue };
            if document.body.is_some() && queue.is_refused(id) {
                continue;
            }
            let subscription = match document.body {
                Some(_) => Subscription::from_document(&document),
                None => None,
            };
            match (subscription, queue.feeds.get(&id)) {
                (Some(subscription), None) => {
                    let from = subscription.created_after;
                    queue.insert(subscription, from, true, false, now);
                    is_new = true;
                }
                (Some(subscription), Some(feed))
                    if *feed.subscription != subscription && feed.is_active() =>
                {
                    let is_renewed = !subscription.is_expired(now);
                    queue.replace(subscription, now);
                    is_new |= is_renewed && queue.expired.remove(&id).is_some();
                }
                (None, Some(_)) if document.body.is_some() => {}
                (None, Some(feed)) if feed.is_active() => {
                    let is_ours = feed.is_ours || queue.expired.contains_key(&id);
                    queue.remove(id);
                    if is_ours {
                        // A cursor that was kept meanwhile goes too.
                        queue.ended.push(id);
                    }
                }
                // It is being made here, and not kept yet, or it was kept and has ended since.
                (None, Some(_)) => queue.doubt(id),
                _ => {}
            }
        }
        drop(queue);
        // Whoever has its shard takes it up.
        following.is_new |= is_new;
        if is_new {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Takes up and lets go what the leases say. Called while nobody pumps.
    pub(super) async fn share(&self) -> Result<(), StoreError> {
        let Some(shared) = self.store.shared() else { return Ok(()) };
        let seen = self.following.lock().await.seen.mark();
        if *shared.documents_changed().borrow() != seen {
            self.fresh().await?;
        }
        let (leases, fleet) = (shared.leases().borrow().clone(), shared.fleet());
        {
            let following = self.following.lock().await;
            let is_same = following.leases.as_ref() == Some(&leases) && following.fleet == fleet;
            if is_same && !following.is_new {
                return Ok(());
            }
        }
        // In this order, as when cursors are kept.
        let mut saved = self.saving.lock().await;
        let mut following = self.following.lock().await;
        let now = self.clock.now();
        let shard = |id: &SubscriptionId| shared.shard_of(DocumentKind::Subscription, id.0.as_bytes());
        // A lease that came back with another token was somebody else's in between, and so were the cursors.
        let before = following.leases.clone();
        let stays = |shard: u16| {
            let token = leases.token(shard);
            token.is_some() && before.as_ref().is_some_and(|before| before.token(shard) == token)
        };
        let (gained, read) = {
            let mut queue = self.queue.lock();
            let mut lost: Vec<_> = queue
                .feeds
                .iter()
                .filter(|(id, feed)| feed.is_ours && !stays(shard(id)))
                .map(|(id, _)| *id)
                .collect();
            lost.sort_unstable();
            for id in lost {
                queue.disown(id, now);
            }
            // Whoever has them now finds out.
            queue.expired.retain(|id, _| stays(shard(id)));
            // What came up here although the shard was never ours is still told here: whoever has that does not know of it.
            let had = |shard: u16| before.as_ref().is_some_and(|before| before.has(shard));
            let of = |key: &&LifecycleKey| shard(&key.subscription);
            let gone: Vec<LifecycleKey> =
                queue.lifecycle.keys().filter(|key| had(of(key)) && !stays(of(key))).copied().collect();
            for key in gone {
                queue.let_go(key);
                saved.lifecycle.remove(&key);
            }
            let mut gained: Vec<_> = queue
                .feeds
                .iter()
                .filter(|(id, feed)| !feed.is_ours && feed.is_active() && leases.has(shard(id)))
                .filter(|(id, _)| !queue.expired.contains_key(id))
                .map(|(id, feed)| (*id, feed.subscription.created_after))
                .collect();
            // In order, so that the same history plans the same POSTs.
            gained.sort_unstable();
            (gained, queue.read)
        };
        following.kept.retain(|shard, _| stays(*shard));
        // Whoever has gone may have had some to tell of shards that are ours.
        let is_same_fleet = following.fleet == fleet;
        following.taken.retain(|shard| stays(*shard) && is_same_fleet);
        let are_events_new = leases.held().any(|shard| !following.taken.contains(&shard));
        let events = match are_events_new || !gained.is_empty() {
            true => self.store.documents(DocumentKind::LifecycleEvent).await?,
            false => Vec::new(),
        };
        let events: Vec<Kept> = events.iter().filter_map(Kept::from_document).collect();
        if !gained.is_empty() {
            // Unless it comes to its end it is as if none had come: the next call begins anew, at the same cursors.
            let mut half = HalfTakenUp { queue: &self.queue, gained: &gained, now };
            self.take_up(shared, &gained, read, &events, &mut saved).await?;
            half.gained = &[];
        }
        if are_events_new {
            self.take_up_events(shared, &leases, events, &mut following.taken, &mut saved);
        }
        // One that has come meanwhile is noted when this lock is free.
        (following.leases, following.is_new, following.fleet) = (Some(leases), false, fleet);
        Ok(())
    }

    /// Takes up the lifecycle events of shards that have come.
    fn take_up_events(
        &self,
        shared: &dyn Shared,
        leases: &Leases,
        events: Vec<Kept>,
        taken: &mut BTreeSet<u16>,
        saved: &mut Saved,
    ) {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        for event in events {
            let Kept::Event { key, subscription } = event else { continue };
            let shard = shared.shard_of(DocumentKind::Subscription, key.subscription.0.as_bytes());
            if !leases.has(shard) || taken.contains(&shard) || queue.lifecycle.contains_key(&key) {
                continue;
            }
            saved.lifecycle.insert(key);
            let of = queue.feeds.get(&key.subscription).map(|feed| Arc::clone(&feed.subscription));
            match subscription.or(of) {
                Some(subscription) => queue.restore(key, subscription, now),
                None => {
                    queue.lifecycle_moved.insert(key);
                }
            }
        }
        taken.extend(leases.held());
    }

    /// Ends for good what has ended by time here, unless another process has renewed it meanwhile. Answers whether there was
    /// any. What it could not end now is told nothing, and the next call ends it.
    pub(super) async fn end_expired(&self) -> bool {
        let expired: Vec<_> = self.queue.lock().expired.keys().copied().take(EXPIRED_PER_SAVE_MAX).collect();
        for id in &expired {
            if self.one_by_one(*id, self.end_expired_alone(*id)).await.is_err() {
                break;
            }
        }
        let fleet = self.following.lock().await.fleet;
        if self.store.shared().is_some_and(|shared| shared.fleet() != fleet) {
            self.changed.notify_one();
        }
        !expired.is_empty()
    }

    async fn end_expired_alone(&self, id: SubscriptionId) -> Result<(), SubscribeError> {
        let Some(shared) = self.store.shared() else { return Ok(()) };
        self.fresh().await?;
        let leases = self.following.lock().await.leases.clone().unwrap_or_default();
        let shard = shared.shard_of(DocumentKind::Subscription, id.0.as_bytes());
        let Some(token) = leases.token(shard) else { return Ok(()) };
        // Under the same lock as the cursors: one that is written later would stay for good.
        let mut saved = self.saving.lock().await;
        if !self.queue.lock().expired.contains_key(&id) {
            return Ok(());
        }
        let cursor = cursor_document(id.0.as_bytes(), None);
        let documents = vec![Document { kind: DocumentKind::Subscription, ..cursor.clone() }, cursor];
        match shared.put_documents_under(shard, token, documents).await {
            // Somebody else has it by now, and finds out.
            Err(StoreError::Conflict) => return Ok(()),
            outcome => outcome?,
        }
        saved.lagging.remove(&id);
        self.queue.lock().remove(id);
        Ok(())
    }

    async fn take_up(
        &self,
        shared: &dyn Shared,
        gained: &[(SubscriptionId, Position)],
        read: Position,
        events: &[Kept],
        saved: &mut Saved,
    ) -> Result<(), StoreError> {
        let cursors = Cursors::read(self.store.as_ref()).await?;
        let now = self.clock.now();
        let from_of = |(id, created_after): &(SubscriptionId, Position)| {
            let shard = shared.shard_of(DocumentKind::Subscription, id.0.as_bytes());
            let own = cursors.own.get(id).or_else(|| cursors.of_shard.get(&shard)).copied();
            (*id, own.unwrap_or_default().max(*created_after))
        };
        let from: BTreeMap<SubscriptionId, Position> = gained.iter().map(from_of).collect();
        {
            let mut queue = self.queue.lock();
            for (id, from) in &from {
                // A reminder that came up while nobody had it is not left out; twice, it has the same id.
                let shard = shared.shard_of(DocumentKind::Subscription, id.0.as_bytes());
                let fired = events.iter().filter_map(|event| match event {
                    Kept::FiredUntilIn(of, at) if *of == shard => Some(*at),
                    _ => None,
                });
                queue.adopt(*id, *from, fired.max().unwrap_or(Timestamp::MIN).min(now));
            }
        }
        saved.lagging.extend(cursors.own.keys());
        let mut after = from.values().copied().min().unwrap_or(read);
        let ids: BTreeSet<SubscriptionId> = from.keys().copied().collect();
        while after < read && !self.queue.lock().are_behind(&ids) {
            match self.store.read_log(after, LOG_READ_MAX).await? {
                LogRead::Behind { oldest, .. } => {
                    let mut queue = self.queue.lock();
                    for (id, from) in &from {
                        if from.max(&after).0 + 1 < oldest.0 {
                            queue.missed(*id, now);
                        }
                    }
                    after = Position(oldest.0.saturating_sub(1));
                }
                LogRead::Page { entries, .. } => {
                    let Some(last) = entries.last().map(|entry| entry.position) else { break };
                    let mut queue = self.queue.lock();
                    // What is after `read` is pumped for all.
                    for entry in entries.iter().filter(|entry| entry.position <= read) {
                        queue.take_for(entry, &ids, now);
                    }
                    after = last;
                }
            }
        }
        let mut queue = self.queue.lock();
        for id in ids {
            queue.settle(id, now);
        }
        Ok(())
    }

    /// Returns when another process has changed subscriptions, or leases come or go; never in a store of one's own.
    pub(super) async fn others_move(&self) {
        let Some(shared) = self.store.shared() else { return std::future::pending().await };
        let (mut leases, mut documents) = (shared.leases(), shared.documents_changed());
        let (known, seen) = {
            let following = self.following.lock().await;
            (following.leases.clone(), following.seen.mark())
        };
        let leases =
            Box::pin(async move { leases.wait_for(|leases| Some(leases) != known.as_ref()).await.is_ok() });
        let documents = Box::pin(async move { documents.wait_for(|mark| *mark != seen).await.is_ok() });
        select(leases, documents).await;
    }

    /// Deletes what was refused to who asked for it and may be kept all the same.
    pub(super) async fn delete_unwanted(&self) -> Result<(), EngineError> {
        let unwanted = std::mem::take(&mut self.queue.lock().unwanted);
        if unwanted.is_empty() {
            return Ok(());
        }
        let deleted = self.store.put_documents(unwanted.iter().flat_map(deletions).collect()).await;
        if deleted.is_err() {
            self.queue.lock().unwanted.extend(unwanted);
        }
        Ok(deleted?)
    }

    /// [`save`](Self::save) for the shards that this process has.
    pub(super) async fn save_shares(
        &self,
        shared: &dyn Shared,
        saved: &mut Saved,
    ) -> Result<bool, EngineError> {
        let shard = |id: &SubscriptionId| shared.shard_of(DocumentKind::Subscription, id.0.as_bytes());
        let mut following = self.following.lock().await;
        // Those that were taken up, not those there are by now: a cursor of a shard that has been let go, or is not taken up
        // yet, would say that everything was told.
        let Some(leases) = following.leases.clone() else { return Ok(false) };
        let mut of_shard: BTreeMap<u16, Vec<Document>> = BTreeMap::new();
        // Events that were told here although somebody else has their shard: whoever asked for an end was served here.
        let mut of_others = Vec::new();
        let (read, moved, ended, expired, fired, lifecycle) = {
            let mut queue = self.queue.lock();
            let (moved, ended) = (std::mem::take(&mut queue.moved), std::mem::take(&mut queue.ended));
            let lifecycle = std::mem::take(&mut queue.lifecycle_moved);
            let read = queue.read;
            for key in &lifecycle {
                let document = match (queue.lifecycle.get(key), saved.lifecycle.contains(key)) {
                    (Some(subscription), false) => key.to_document(subscription),
                    (None, true) => key.deletion(),
                    (Some(_), true) | (None, false) => continue,
                };
                match leases.has(shard(&key.subscription)) {
                    true => of_shard.entry(shard(&key.subscription)).or_default().push(document),
                    false => of_others.push(document),
                }
            }
            if !queue.feeds.is_empty() {
                of_shard.extend(leases.held().map(|shard| (shard, Vec::new())));
            }
            for (id, feed) in moved.iter().filter_map(|id| Some((id, queue.feeds.get(id)?))) {
                let cursor = feed.cursor(read);
                if feed.is_ours && (cursor.is_some() || saved.lagging.contains(id)) {
                    of_shard.entry(shard(id)).or_default().push(cursor_document(id.0.as_bytes(), cursor));
                }
            }
            // Whoever goes on with one that was renewed by others begins where it stopped here.
            let expired = queue.expired.clone();
            let fired = std::mem::take(&mut queue.fired);
            (read, moved, ended, expired, fired, lifecycle)
        };
        let mut fired_in: BTreeMap<u16, Timestamp> = BTreeMap::new();
        for (id, at) in &fired {
            let latest = fired_in.entry(shard(id)).or_insert(*at);
            *latest = at.max(latest).to_owned();
        }
        for (shard, at) in fired_in {
            of_shard.entry(shard).or_default().push(fired_until_in_document(shard, at));
        }
        for (id, cursor) in &expired {
            of_shard.entry(shard(id)).or_default().push(cursor_document(id.0.as_bytes(), Some(*cursor)));
        }
        for id in &ended {
            of_shard.entry(shard(id)).or_default().extend(deletions(id));
        }
        of_shard.retain(|shard, documents| {
            if following.kept.get(shard) != Some(&read) {
                documents.push(cursor_document(&shard.to_be_bytes(), Some(read)));
            }
            leases.has(*shard) && !documents.is_empty()
        });
        let writes = of_shard.into_iter().map(|(shard, documents)| {
            let token = leases.token(shard).unwrap_or_default();
            async move {
                let keys: Vec<_> = documents
                    .iter()
                    .map(|document| (document.kind, document.key.clone(), document.body.is_some()))
                    .collect();
                (shard, keys, shared.put_documents_under(shard, token, documents).await)
            }
        });
        let mut outcome = Ok(false);
        let mut events = Vec::new();
        if !of_others.is_empty() {
            events.extend(of_others.iter().map(|event: &Document| (event.key.clone(), event.body.is_some())));
            if let Err(error) = self.store.put_documents(of_others).await {
                events.clear();
                outcome = Err(error.into());
            }
        }
        for (shard, keys, written) in join_all(writes).await {
            match written {
                Ok(()) => {
                    following.kept.insert(shard, read);
                    for (kind, key, lags) in keys {
                        if kind == DocumentKind::LifecycleEvent {
                            events.push((key, lags));
                            continue;
                        }
                        let id = uuid::Uuid::from_slice(&key).map(SubscriptionId);
                        if let (Ok(id), DocumentKind::DeliveryCursor) = (id, kind) {
                            if lags {
                                saved.lagging.insert(id);
                            } else {
                                saved.lagging.remove(&id);
                            }
                        }
                    }
                    outcome = outcome.map(|_| true);
                }
                // Somebody else has it by now, and its cursors with it.
                Err(StoreError::Conflict) => {}
                Err(error) => outcome = Err(error.into()),
            }
        }
        saved.lifecycle_written(&lifecycle, &events);
        if outcome.is_err() {
            let mut queue = self.queue.lock();
            queue.moved.extend(moved);
            queue.ended.extend(ended);
            queue.lifecycle_moved.extend(lifecycle);
            for (id, at) in fired {
                queue.fired.entry(id).or_insert(at);
            }
        }
        outcome
    }
}

/// What deletes a subscription and its cursor.
fn deletions(id: &SubscriptionId) -> [Document; 2] {
    let cursor = cursor_document(id.0.as_bytes(), None);
    [Document { kind: DocumentKind::Subscription, ..cursor.clone() }, cursor]
}
