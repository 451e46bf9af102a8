//! Who is told: subscriptions as their owners know them, and what their receivers have taken.
//!
//! A receiver is a list. It takes a POST or not and says so or not, as the world wants; what it took is held against the
//! log in the end, and against the simplest promises at once.

use std::collections::BTreeMap;

use engine::notify::{ITEMS_PER_POST_MAX, LifecycleEvent, Notice, Post, Subscription, SubscriptionId};
use presence::{AppId, Change, TenantId, Timestamp, UserId, UserKey};
use store::Position;
use uuid::Uuid;

use crate::bug::Bug;
use crate::check::Violation;
use crate::line::{self, Answer};

/// A subscription, as its owner knows it.
#[derive(Clone, Debug)]
pub(crate) struct Sub {
    pub(crate) people: Vec<usize>,
    pub(crate) state: SubState,
    /// How many times its end was asked for.
    pub(crate) ends: usize,
    /// Where it may be told: a change of that which was not acknowledged may have happened.
    pub(crate) receivers: Vec<usize>,
    pub(crate) created_after: Position,
    /// Everything that was taken, in order.
    pub(crate) taken: Vec<Told>,
    /// Whether it was told that something is missing.
    pub(crate) is_missed: bool,
}

/// One notification that a receiver took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: Uuid,
    pub(crate) position: Position,
    pub(crate) user: UserKey,
    pub(crate) change: Change,
    /// Whether whoever told it had lost the lease meanwhile. Of what such a node had under way nobody can promise when it
    /// comes.
    pub(crate) is_stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubState {
    /// Its owner was told that it is there.
    There,
    /// Its owner was told that it is gone.
    Gone,
    /// Its owner cannot know.
    Unsure,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Receivers {
    pub(crate) subs: BTreeMap<usize, Sub>,
}

/// A subscription's id.
pub(crate) fn id(sub: usize) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(0x5ab0_0000 + sub as u128))
}

fn sub_of(id: SubscriptionId) -> usize {
    (id.0.as_u128() - 0x5ab0_0000) as usize
}

/// Where a receiver is. Some share a host.
pub(crate) fn url(receiver: usize) -> String {
    format!("https://host-{}.example/r{}", receiver % 2, receiver + 1)
}

/// A subscription to these people that nobody has to renew.
pub(crate) fn subscription(sub: usize, people: &[usize], receiver: usize, now: Timestamp) -> Subscription {
    Subscription {
        id: id(sub),
        tenant: TenantId::from_u128(1),
        app: AppId::from_u128(9),
        creator: Uuid::from_u128(sub as u128),
        delegated: Some(UserId::from_u128(sub as u128)),
        resource: format!("communications/presences/{sub}"),
        change_type: "updated".into(),
        users: people.iter().map(|person| line::key(*person).user).collect(),
        notification_url: url(receiver),
        lifecycle_notification_url: Some(format!("https://host-l.example/s{sub}")),
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

impl Receivers {
    /// A POST is planned, by a node that has heard of every end or by one that may not have.
    pub(crate) fn planned(&self, post: &Post, has_heard: bool) -> Result<(), Violation> {
        if post.items.is_empty() || post.items.len() > ITEMS_PER_POST_MAX {
            return Err(Violation::new(
                "a bound is exceeded",
                format!("{} items in a POST", post.items.len()),
            ));
        }
        for item in &post.items {
            let sub = sub_of(item.subscription.id);
            if has_heard && self.subs.get(&sub).is_some_and(|known| known.state == SubState::Gone) {
                let what = format!("s{} is told {:?}", sub + 1, item.notice);
                return Err(Violation::new("a subscription that has ended is told nothing", what));
            }
        }
        Ok(())
    }

    /// A receiver answers a POST.
    pub(crate) fn post(
        &mut self,
        post: &Post,
        answer: Answer,
        is_stale: impl Fn(SubscriptionId) -> bool,
        bug: Option<Bug>,
    ) -> Result<(), Violation> {
        if matches!(answer, Answer::Refused | Answer::Silent) {
            return Ok(());
        }
        for item in &post.items {
            let sub = sub_of(item.subscription.id);
            let Some(known) = self.subs.get_mut(&sub) else {
                return Err(Violation::new("nothing is invented", format!("there is no s{}", sub + 1)));
            };
            let (position, user, change) = match item.notice {
                Notice::Change { position, user, change } => (position, user, change),
                Notice::Lifecycle { event, .. } => {
                    known.is_missed |= event == LifecycleEvent::Missed;
                    continue;
                }
            };
            if !known.receivers.iter().any(|receiver| url(*receiver) == *post.url) {
                let what = format!("s{} is told at {}", sub + 1, post.url);
                return Err(Violation::new("a subscription is told where its owner said", what));
            }
            let mut id = item.notification_id;
            if bug == Some(Bug::NewIdEachTime) {
                id = Uuid::from_u128(id.as_u128() ^ u128::from(post.attempt - 1));
            }
            let told = Told { id, position, user, change, is_stale: is_stale(item.subscription.id) };
            let is_same = |other: &&Told| other.id == id || other.position == position;
            let differs = |other: &&Told| Told { is_stale: told.is_stale, ..**other } != told;
            if let Some(other) = known.taken.iter().find(is_same).filter(differs) {
                let what = format!("s{} was told {other:?} and then {told:?}", sub + 1);
                return Err(Violation::new("the same is told again under the same id", what));
            }
            known.taken.push(told);
        }
        Ok(())
    }
}
