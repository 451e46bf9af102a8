//! Who is told: subscriptions as their owners know them, and what their receivers have taken.
//!
//! A receiver is a list. It takes a POST or not and says so or not, as the world wants; what it took is held against the
//! log in the end, and against the simplest promises at once.

use std::collections::{BTreeMap, BTreeSet};

use engine::notify::{LifecycleEvent, Notice, Post, Subscription, SubscriptionId};
use jiff::SignedDuration;
use presence::{AppId, Change, TenantId, Timestamp, UserId, UserKey};
use store::Position;
use uuid::Uuid;

use crate::bug::Bug;
use crate::check::Violation;
use crate::line::{self, Answer};
use crate::wire::StepId;

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
    /// The ids of what was taken before it moved to another store.
    pub(crate) past: BTreeSet<Uuid>,
    /// Whether it was told that something is missing.
    pub(crate) is_missed: bool,
    /// When it ends, and when what it is authorized by does.
    pub(crate) expiry: Promise,
    pub(crate) token: Promise,
    /// Whether it may have ended by some node's clock, or been paused.
    pub(crate) may_be_over: bool,
    pub(crate) may_have_paused: bool,
    /// How many times an operator wanted to end it, and whether one was told that it is gone.
    pub(crate) removals: usize,
    pub(crate) is_removed: bool,
    /// Lifecycle events that were taken.
    pub(crate) events: BTreeSet<(LifecycleEvent, Timestamp)>,
    /// One that is to come.
    pub(crate) reminder: Option<Timestamp>,
}

/// An instant that was agreed on, as far as its owner can know: each change of it was acknowledged or may have happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promise {
    /// The instant, the step that wanted it and the last step there was when that was acknowledged.
    all: Vec<(Timestamp, StepId, Option<StepId>)>,
    /// Everything that was ever wanted.
    ever: BTreeSet<Timestamp>,
}

impl Promise {
    pub(crate) fn want(&mut self, at: Timestamp, step: StepId) {
        self.all.push((at, step, None));
        self.ever.insert(at);
    }

    /// What the step wanted is so, and what was so before it began is no more.
    pub(crate) fn acknowledge(&mut self, step: StepId, last: StepId) {
        if !self.all.iter().any(|(_, of, _)| *of == step) {
            return;
        }
        self.all.retain(|(_, _, known)| known.is_none_or(|known| known >= step));
        for (_, of, known) in &mut self.all {
            if *of == step {
                *known = Some(last);
            }
        }
    }

    pub(crate) fn earliest(&self) -> Timestamp {
        self.all.iter().map(|(at, ..)| *at).min().unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn earliest_ever(&self) -> Timestamp {
        self.ever.first().copied().unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn latest(&self) -> Timestamp {
        self.all.iter().map(|(at, ..)| *at).max().unwrap_or(Timestamp::MAX)
    }

    /// As a node may think that has not heard of everything.
    pub(crate) fn latest_ever(&self) -> Timestamp {
        self.ever.last().copied().unwrap_or(Timestamp::MAX)
    }

    /// The same without what later steps want.
    pub(crate) fn latest_before(&self, step: StepId) -> Timestamp {
        let known = self.all.iter().filter(|(_, of, _)| *of < step).map(|(at, ..)| *at);
        known.max().unwrap_or(Timestamp::MAX)
    }

    /// If there is no doubt.
    pub(crate) fn certain(&self) -> Option<Timestamp> {
        match self.all[..] {
            [(at, _, Some(_))] => Some(at),
            _ => None,
        }
    }
}

/// When owners are reminded of an end. Source: change-notifications §8.
pub(crate) const REMINDERS: [SignedDuration; 2] =
    [SignedDuration::from_mins(15), SignedDuration::from_mins(5)];

impl Sub {
    /// Whether a reminder may be for this instant.
    fn may_be_reminded_at(&self, at: Timestamp) -> bool {
        let ends =
            self.expiry.ever.iter().flat_map(|end| self.token.ever.iter().map(|token| *end.min(token)));
        let reminders =
            |end: Timestamp| REMINDERS.map(|left| end.saturating_sub(left).unwrap_or(Timestamp::MIN));
        ends.into_iter().any(|end| reminders(end).contains(&at))
    }
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
    /// Whether there is any cause for something to be missed.
    pub(crate) may_miss: bool,
    /// Whether what is old enough is not told any more.
    pub(crate) gives_up: bool,
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

fn lifecycle_url(sub: usize) -> String {
    format!("https://host-l.example/s{sub}")
}

/// A subscription to these people until `expires_at`, authorized until `token_expires_at`.
pub(crate) fn subscription(
    sub: usize,
    people: &[usize],
    receiver: usize,
    now: Timestamp,
    (expires_at, token_expires_at): (Timestamp, Timestamp),
) -> Subscription {
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
        lifecycle_notification_url: Some(lifecycle_url(sub)),
        client_state: None,
        include_resource_data: false,
        certificate: None,
        notification_url_app_id: None,
        latest_supported_tls_version: None,
        notification_content_type: None,
        created_at: now,
        created_after: Position(0),
        authorized_at: now,
        expires_at,
        token_expires_at,
    }
}

impl Receivers {
    /// Subscriptions are kept in another store from now on, and see what changes from then on.
    pub(crate) fn move_house(&mut self) {
        for known in self.subs.values_mut() {
            known.past.extend(known.taken.drain(..).map(|told| told.id));
            known.created_after = Position(0);
            known.is_missed = false;
        }
    }

    /// A POST is planned at `now` of its node, by one that has heard of every end or by one that may not have.
    pub(crate) fn planned(
        &self,
        post: &Post,
        items_max: usize,
        has_heard: bool,
        now: Timestamp,
    ) -> Result<(), Violation> {
        if post.items.is_empty() || post.items.len() > items_max {
            return Err(Violation::new(
                "a bound is exceeded",
                format!("{} items in a POST", post.items.len()),
            ));
        }
        for item in &post.items {
            let sub = sub_of(item.subscription.id);
            let Some(known) = self.subs.get(&sub) else { continue };
            let what = || format!("s{} is told {:?}", sub + 1, item.notice);
            let is_removal =
                matches!(item.notice, Notice::Lifecycle { event: LifecycleEvent::SubscriptionRemoved, .. });
            let until = |promise: &Promise| if has_heard { promise.latest() } else { promise.latest_ever() };
            let is_gone = has_heard && known.state == SubState::Gone && !is_removal;
            if is_gone || until(&known.expiry) <= now {
                return Err(Violation::new("a subscription that has ended is told nothing", what()));
            }
            match item.notice {
                Notice::Change { .. } if until(&known.token) <= now => {
                    return Err(Violation::new("a subscription that is not authorized waits", what()));
                }
                Notice::Lifecycle { event: LifecycleEvent::ReauthorizationRequired, at }
                    if !known.may_be_reminded_at(at) =>
                {
                    return Err(Violation::new("nothing is invented", what()));
                }
                Notice::Lifecycle { event: LifecycleEvent::SubscriptionRemoved, .. }
                    if known.removals == 0 =>
                {
                    return Err(Violation::new("nothing is invented", what()));
                }
                Notice::Lifecycle { event: LifecycleEvent::Missed, .. } if !self.may_miss => {
                    return Err(Violation::new("nothing is missed without a cause", what()));
                }
                _ => {}
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
                Notice::Lifecycle { event, at } => {
                    if *post.url != lifecycle_url(sub) {
                        let what = format!("s{} is told {event:?} at {}", sub + 1, post.url);
                        return Err(Violation::new("a subscription is told where its owner said", what));
                    }
                    known.is_missed |= event == LifecycleEvent::Missed;
                    known.events.insert((event, at));
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
            if known.past.contains(&id) {
                let what = format!("s{} is told {position:?} under an id that it knows", sub + 1);
                return Err(Violation::new("different things have different ids", what));
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
