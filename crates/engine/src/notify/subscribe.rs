//! Creating, showing, changing and ending subscriptions. Each answers when what it did is durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use presence::{AppId, TenantId, Timestamp, UserId};
use store::{DocumentKind, LOG_READ_MAX, LogRead, Position, Shared, StoreError};

use super::{
    Certificate, LifecycleEvent, LifecycleKey, Notice, Notifier, Subscription, SubscriptionId, TURNS,
    USERS_PER_SUBSCRIPTION_MAX, cursor_document,
};

/// How many subscriptions may be made at the same moment by all processes together: [`TURNS`] by each of sixteen. While an
/// application has room for more, nobody has to wait for those who make others for it.
const CREATED_AT_ONCE_MAX: usize = 16 * TURNS;

/// How many subscriptions there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Of one application on behalf of one user; an application by itself counts as one more user.
    pub per_user_and_app: usize,
    /// Of one application in one tenant, on whoever's behalf.
    pub per_app_and_tenant: usize,
}

/// What to change of a subscription; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Where changes are posted to.
    pub notification_url: Option<String>,
    /// What content is encrypted for.
    pub certificate: Option<Certificate>,
    /// When the token that asked for this ends, by the engine's clock. Any change reauthorizes.
    pub token_expires_at: Timestamp,
}

/// Why a subscription was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The user and application have one already, and may not have another.
    #[error("a subscription already exists")]
    Conflict {
        /// Which.
        existing: SubscriptionId,
        /// Whether it is of the same resource and change type.
        is_same: bool,
    },
    /// The application has as many as it may have in the tenant.
    #[error("the application has {limit} subscriptions, which is the limit")]
    QuotaExceeded {
        /// How many.
        limit: usize,
    },
    /// No such subscription, or it has ended.
    #[error("there is no such subscription")]
    NotFound,
    /// More users than [`USERS_PER_SUBSCRIPTION_MAX`].
    #[error("more than {USERS_PER_SUBSCRIPTION_MAX} users")]
    TooManyUsers,
    /// The store did not answer or did not accept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Notifier {
    /// Keeps a new subscription. It sees the changes after this call; `created_after` is set here, and the users are
    /// sorted, each once. Of those who make one for the same owner at the same moment, through any process, one is first.
    ///
    /// # Errors
    /// All of [`SubscribeError`] but `NotFound`.
    pub async fn create(
        &self,
        mut subscription: Subscription,
        quota: Quota,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        subscription.users.sort_unstable();
        subscription.users.dedup();
        if subscription.users.len() > USERS_PER_SUBSCRIPTION_MAX {
            return Err(SubscribeError::TooManyUsers);
        }
        let Some(shared) = self.store.shared() else { return self.create_known(subscription, quota).await };
        let name = owner_name(&subscription);
        // Among ourselves in the order of coming, and only the first of us asks the others.
        let _turn =
            self.turns[name.iter().map(|byte| usize::from(*byte)).sum::<usize>() % TURNS].lock().await;
        let claim = shared.claim(&name).await?;
        let created = self.create_among(shared, subscription, quota).await;
        claim.release().await;
        created
    }

    /// As the only one who makes one for this owner; where the application has not much room left, as the only one who makes
    /// one for it.
    async fn create_among(
        &self,
        shared: &dyn Shared,
        subscription: Subscription,
        quota: Quota,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        self.fresh().await?;
        let owner = (subscription.tenant, subscription.app);
        let known = self.queue.lock().by_app.get(&owner).map_or(0, BTreeSet::len);
        if known + CREATED_AT_ONCE_MAX < quota.per_app_and_tenant {
            return self.create_known(subscription, quota).await;
        }
        let claim = shared.claim(&app_name(&subscription)).await?;
        let created = match self.fresh().await {
            Ok(()) => self.create_known(subscription, quota).await,
            Err(error) => Err(error.into()),
        };
        claim.release().await;
        created
    }

    /// Of those who change a subscription at once, through any process, each sees what those before it have made of it.
    pub(super) async fn one_by_one<T>(
        &self,
        id: SubscriptionId,
        change: impl Future<Output = Result<T, SubscribeError>>,
    ) -> Result<T, SubscribeError> {
        let _turn = self.turns[id.0.as_u128() as usize % TURNS].lock().await;
        let Some(shared) = self.store.shared() else { return change.await };
        let claim = shared.claim(id.0.as_bytes()).await?;
        let changed = change.await;
        claim.release().await;
        changed
    }

    /// With what others have made by now known here.
    async fn create_known(
        &self,
        mut subscription: Subscription,
        quota: Quota,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        let id = subscription.id;
        // With everything that was committed before: it is not for this subscription.
        let created_after = self.store.log_now().await?;
        let is_ours = self.store.shared().is_none_or(|shared| {
            shared.leases().borrow().has(shared.shard_of(DocumentKind::Subscription, id.0.as_bytes()))
        });
        let documents = {
            let now = self.clock.now();
            let mut queue = self.queue.lock();
            let owner = (subscription.tenant, subscription.app);
            let of_app = queue.by_app.get(&owner).into_iter().flatten().filter_map(|id| queue.feeds.get(id));
            let of_app: Vec<_> =
                of_app.map(|feed| &feed.subscription).filter(|other| !other.is_expired(now)).collect();
            let of_user: Vec<_> =
                of_app.iter().filter(|other| other.delegated == subscription.delegated).collect();
            let same = of_user.iter().find(|other| other.is_same(&subscription));
            if let Some(existing) =
                same.or_else(|| of_user.first().filter(|_| of_user.len() >= quota.per_user_and_app))
            {
                return Err(SubscribeError::Conflict { existing: existing.id, is_same: same.is_some() });
            }
            if of_app.len() >= quota.per_app_and_tenant {
                return Err(SubscribeError::QuotaExceeded { limit: quota.per_app_and_tenant });
            }
            // Never behind what the pump has read: nothing between is lost, and nothing before is seen.
            subscription.created_after = created_after.max(*self.store.log_end().borrow());
            let mut documents = vec![subscription.to_document()];
            let from = subscription.created_after;
            if self.store.shared().is_some() {
                // Whoever delivers its shard may be further and not know it yet: a cursor of its own says where it begins.
                documents.push(cursor_document(id.0.as_bytes(), Some(from)));
            }
            // In its place before it is durable, so that the quota holds and no change slips by; nothing is posted yet.
            queue.insert(subscription, from, false, is_ours, now);
            documents
        };
        let kept = match self.store.put_documents(documents).await {
            Ok(()) => self.is_still_kept(id).await,
            Err(error) => Err(error),
        };
        let is_still_kept = kept.inspect_err(|_| {
            let mut queue = self.queue.lock();
            queue.remove(id);
            // It may have been kept all the same.
            match self.store.shared() {
                Some(_) => queue.refuse(id),
                None => queue.ended.push(id),
            }
        })?;
        if !is_still_kept {
            let removed = self.queue.lock().remove(id);
            return removed.ok_or(SubscribeError::NotFound);
        }
        if self.store.shared().is_some() {
            self.saving.lock().await.lagging.insert(id);
        }
        self.queue.lock().activate(id, self.clock.now());
        if self.store.shared().is_some() {
            // The lease of its shard may have come or gone while it was not active yet, and so was not looked at.
            self.following.lock().await.is_new = true;
        }
        let mut queue = self.queue.lock();
        if is_ours {
            queue.moved.insert(id);
        }
        let created = queue.feeds.get(&id).map(|feed| Arc::clone(&feed.subscription));
        drop(queue);
        self.changed.notify_one();
        created.ok_or(SubscribeError::NotFound)
    }

    /// Whether nobody has ended it before it was known here that it was kept.
    async fn is_still_kept(&self, id: SubscriptionId) -> Result<bool, StoreError> {
        if !self.queue.lock().feeds.get(&id).is_some_and(|feed| feed.is_doubtful) {
            return Ok(true);
        }
        let kept = self.store.documents(DocumentKind::Subscription).await?;
        Ok(kept.iter().any(|document| document.key == id.0.as_bytes()))
    }

    /// The subscription, if it has not ended.
    pub fn get(&self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let feed = queue.feeds.get(&id).filter(|feed| feed.is_active())?;
        Some(Arc::clone(&feed.subscription)).filter(|found| !found.is_expired(now))
    }

    /// The subscriptions of an application in a tenant, by id: those on behalf of a user or, with `None`, those by
    /// itself.
    pub fn list(&self, tenant: TenantId, app: AppId, delegated: Option<UserId>) -> Vec<Arc<Subscription>> {
        let of_app = self.queue.lock().by_app.get(&(tenant, app)).cloned().unwrap_or_default();
        let found = of_app.into_iter().filter_map(|id| self.get(id));
        found.filter(|subscription| subscription.delegated == delegated).collect()
    }

    /// All subscriptions there are, of a tenant or of all, by id, after one: for whoever operates the server.
    pub fn list_all(
        &self,
        tenant: Option<TenantId>,
        after: Option<SubscriptionId>,
        max: usize,
    ) -> Vec<Arc<Subscription>> {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let all = queue.feeds.values().filter(|feed| feed.is_active()).map(|feed| &feed.subscription);
        let mut found: Vec<_> = all
            .filter(|found| !found.is_expired(now) && tenant.is_none_or(|tenant| tenant == found.tenant))
            .filter(|found| after.is_none_or(|after| found.id > after))
            .cloned()
            .collect();
        found.sort_unstable_by_key(|found| found.id);
        found.truncate(max);
        found
    }

    /// Changes a subscription and reauthorizes it.
    ///
    /// # Errors
    /// [`SubscribeError::NotFound`] and [`SubscribeError::Store`].
    pub async fn renew(
        &self,
        id: SubscriptionId,
        renewal: Renewal,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        self.one_by_one(id, self.renew_alone(id, renewal)).await
    }

    async fn renew_alone(
        &self,
        id: SubscriptionId,
        renewal: Renewal,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        self.fresh().await?;
        let mut subscription = (*self.get(id).ok_or(SubscribeError::NotFound)?).clone();
        let Renewal { expires_at, notification_url, certificate, token_expires_at } = renewal;
        subscription.expires_at = expires_at.unwrap_or(subscription.expires_at);
        subscription.notification_url = notification_url.unwrap_or(subscription.notification_url);
        subscription.certificate = certificate.or(subscription.certificate);
        subscription.token_expires_at = token_expires_at;
        subscription.authorized_at = self.clock.now();
        self.store.put_documents(vec![subscription.to_document()]).await?;
        let now = self.clock.now();
        let (renewed, is_revived) = {
            let mut queue = self.queue.lock();
            queue.replace(subscription, now);
            if !queue.feeds.contains_key(&id) {
                // It has ended while this was being kept, and is told to have: it must not come back with a restart.
                queue.ended.push(id);
            }
            let is_revived = queue.expired.remove(&id).is_some();
            (queue.feeds.get(&id).map(|feed| Arc::clone(&feed.subscription)), is_revived)
        };
        if is_revived {
            self.following.lock().await.is_new = true;
        }
        self.changed.notify_one();
        renewed.ok_or(SubscribeError::NotFound)
    }

    /// Takes note that the owner's token was renewed. Does not change when the subscription ends.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn reauthorize(
        &self,
        id: SubscriptionId,
        token_expires_at: Timestamp,
    ) -> Result<(), SubscribeError> {
        self.renew(id, Renewal { token_expires_at, ..Renewal::default() }).await.map(drop)
    }

    /// Ends a subscription as its owner asked. No POST is planned for it after this.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn delete(&self, id: SubscriptionId) -> Result<(), SubscribeError> {
        self.end(id, None).await.map(drop)
    }

    /// Ends a subscription because somebody else wants it, and tells its owner `subscriptionRemoved`.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn remove(&self, id: SubscriptionId) -> Result<(), SubscribeError> {
        let now = self.clock.now();
        let key = LifecycleKey { subscription: id, event: LifecycleEvent::SubscriptionRemoved, at: now };
        let subscription = self.end(id, Some(key)).await?;
        let notice = Notice::Lifecycle { event: key.event, at: now };
        self.queue.lock().offer(subscription, notice, now);
        self.changed.notify_one();
        Ok(())
    }

    /// Delivers the changes after `from` again, as far as they are retained and were its own. They go in order, before
    /// anything newer. Answers how many of the log's entries were looked through.
    ///
    /// # Errors
    /// [`SubscribeError::NotFound`] and [`SubscribeError::Store`].
    pub async fn replay(&self, id: SubscriptionId, from: Position) -> Result<u64, SubscribeError> {
        // Another process may have made it a moment ago.
        self.fresh().await?;
        let _turn = self.pumping.lock().await;
        self.share().await?;
        let subscription = self.get(id).ok_or(SubscribeError::NotFound)?;
        let (read, is_ours) = {
            let queue = self.queue.lock();
            (queue.read, queue.feeds.get(&id).is_none_or(|feed| feed.is_ours))
        };
        if !is_ours {
            return Err(StoreError::Unavailable("another node delivers this subscription".to_owned()).into());
        }
        let mut after = from.max(subscription.created_after);
        let mut entries = Vec::new();
        let mut looked = 0;
        while after < read {
            match self.store.read_log(after, LOG_READ_MAX).await? {
                LogRead::Behind { oldest, .. } => after = Position(oldest.0.saturating_sub(1)),
                LogRead::Page { entries: page, .. } => {
                    let Some(last) = page.last().map(|entry| entry.position) else { break };
                    looked += page.len() as u64;
                    let is_own = |user: UserId| subscription.users.binary_search(&user).is_ok();
                    entries.extend(page.into_iter().filter(|entry| {
                        entry.position <= read
                            && entry.change.is_pair_changed
                            && entry.user.tenant == subscription.tenant
                            && is_own(entry.user.user)
                    }));
                    after = last;
                }
            }
        }
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        queue.rewind(id, from);
        for entry in entries {
            queue.feed(id, entry.position, entry.user, entry.change, now);
        }
        drop(queue);
        self.changed.notify_one();
        Ok(looked)
    }

    /// Ends a subscription, and keeps in the same breath what is to be told of that, if there is somewhere to tell it.
    async fn end(
        &self,
        id: SubscriptionId,
        told: Option<LifecycleKey>,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        self.one_by_one(id, self.end_alone(id, told)).await
    }

    async fn end_alone(
        &self,
        id: SubscriptionId,
        told: Option<LifecycleKey>,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        self.fresh().await?;
        let subscription = self.get(id).ok_or(SubscribeError::NotFound)?;
        // Under the same lock as the cursors: one that is written later would stay for good.
        let mut saved = self.saving.lock().await;
        let mut documents = vec![subscription.deletion(), cursor_document(id.0.as_bytes(), None)];
        let told = told.filter(|_| subscription.lifecycle_notification_url.is_some());
        documents.extend(told.map(|key| key.to_document(&subscription)));
        self.store.put_documents(documents).await?;
        saved.lagging.remove(&id);
        saved.lifecycle.extend(told);
        // It may have been heard of already, from the store.
        Ok(self.queue.lock().remove(id).unwrap_or(subscription))
    }
}

/// Of whom together there may be only so many.
fn app_name(subscription: &Subscription) -> Vec<u8> {
    [subscription.tenant.as_u128(), subscription.app.as_u128()]
        .iter()
        .flat_map(|id| id.to_be_bytes())
        .collect()
}

/// Who may not have two: the tenant, the application, and on whose behalf.
fn owner_name(subscription: &Subscription) -> Vec<u8> {
    let delegated = subscription.delegated.map_or(0, UserId::as_u128);
    [subscription.tenant.as_u128(), subscription.app.as_u128(), delegated]
        .iter()
        .flat_map(|id| id.to_be_bytes())
        .collect()
}

impl Subscription {
    fn is_same(&self, other: &Self) -> bool {
        let plain = |resource: &str| resource.trim_start_matches('/').to_ascii_lowercase();
        self.change_type == other.change_type && plain(&self.resource) == plain(&other.resource)
    }
}
