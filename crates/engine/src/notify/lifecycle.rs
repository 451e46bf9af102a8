//! Lifecycle events as they are kept: one that came up is told also after a kill.
//!
//! A change needs no such thing, since it is in the log. What is kept of an event is its name; only when its subscription
//! is gone, that too.

use std::sync::Arc;

use presence::Timestamp;
use store::{Document, DocumentKind};
use uuid::Uuid;

use super::{LifecycleEvent, Subscription, SubscriptionId};

/// Names a lifecycle event. The same one is the same notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LifecycleKey {
    pub(super) subscription: SubscriptionId,
    pub(super) event: LifecycleEvent,
    pub(super) at: Timestamp,
}

/// The key of the instant up to which time has done what it does; where shards are shared, the number of one is.
const FIRED_UNTIL: &[u8] = b"";
const INSTANT_BYTES: usize = 12;

/// A document of [`DocumentKind::LifecycleEvent`].
pub(super) enum Kept {
    FiredUntil(Timestamp),
    /// The same for one shard, where shards are shared.
    FiredUntilIn(u16, Timestamp),
    Event {
        key: LifecycleKey,
        /// Kept with it when there is no other place where it is.
        subscription: Option<Arc<Subscription>>,
    },
}

impl LifecycleKey {
    /// To keep it, of this subscription.
    pub(super) fn to_document(self, subscription: &Subscription) -> Document {
        let body = match self.event {
            // Who watched whom is nobody's business any more.
            LifecycleEvent::SubscriptionRemoved => {
                Subscription { users: Vec::new(), ..subscription.clone() }.to_document().body
            }
            LifecycleEvent::ReauthorizationRequired | LifecycleEvent::Missed => Some(Vec::new()),
        };
        Document { body, ..self.deletion() }
    }

    /// To forget it.
    pub(super) fn deletion(self) -> Document {
        let mut key = self.subscription.0.as_bytes().to_vec();
        key.push(code(self.event));
        key.extend(instant(self.at));
        Document { kind: DocumentKind::LifecycleEvent, key, body: None }
    }
}

pub(super) fn fired_until_document(at: Timestamp) -> Document {
    let (key, body) = (FIRED_UNTIL.to_vec(), Some(instant(at).to_vec()));
    Document { kind: DocumentKind::LifecycleEvent, key, body }
}

pub(super) fn fired_until_in_document(shard: u16, at: Timestamp) -> Document {
    Document { key: shard.to_be_bytes().to_vec(), ..fired_until_document(at) }
}

impl Kept {
    pub(super) fn from_document(document: &Document) -> Option<Self> {
        let body = document.body.as_deref()?;
        if document.key == FIRED_UNTIL {
            return Some(Self::FiredUntil(read_instant(body)?));
        }
        if let Ok(shard) = <[u8; 2]>::try_from(&document.key[..]) {
            return Some(Self::FiredUntilIn(u16::from_be_bytes(shard), read_instant(body)?));
        }
        let (id, rest) = document.key.split_at_checked(16)?;
        let (event, at) = rest.split_first()?;
        let event = LIFECYCLE_EVENTS.into_iter().find(|known| code(*known) == *event)?;
        let subscription = SubscriptionId(Uuid::from_slice(id).ok()?);
        let key = LifecycleKey { subscription, event, at: read_instant(at)? };
        let subscription = match body {
            [] => None,
            body => Some(Arc::new(Subscription::from_document(&Document {
                kind: DocumentKind::Subscription,
                key: id.to_vec(),
                body: Some(body.to_vec()),
            })?)),
        };
        Some(Self::Event { key, subscription })
    }
}

const LIFECYCLE_EVENTS: [LifecycleEvent; 3] =
    [LifecycleEvent::ReauthorizationRequired, LifecycleEvent::SubscriptionRemoved, LifecycleEvent::Missed];

/// Part of the stored format.
const fn code(event: LifecycleEvent) -> u8 {
    match event {
        LifecycleEvent::ReauthorizationRequired => 1,
        LifecycleEvent::SubscriptionRemoved => 2,
        LifecycleEvent::Missed => 3,
    }
}

fn instant(at: Timestamp) -> [u8; INSTANT_BYTES] {
    let mut bytes = [0; INSTANT_BYTES];
    bytes[..8].copy_from_slice(&at.as_second().to_be_bytes());
    bytes[8..].copy_from_slice(&at.subsec_nanosecond().to_be_bytes());
    bytes
}

fn read_instant(bytes: &[u8]) -> Option<Timestamp> {
    let (second, nanosecond) = bytes.split_at_checked(8)?;
    let second = i64::from_be_bytes(second.try_into().ok()?);
    Timestamp::new(second, i32::from_be_bytes(nanosecond.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::subscription::tests::{at, sample};
    use super::*;

    #[test]
    fn an_event_is_kept_and_read_back_with_its_subscription_where_that_is_gone() {
        let subscription = sample(9);
        for event in LIFECYCLE_EVENTS {
            let at = at(3) + std::time::Duration::from_nanos(17);
            let key = LifecycleKey { subscription: subscription.id, event, at };
            let Some(Kept::Event { key: read, subscription: kept }) =
                Kept::from_document(&key.to_document(&subscription))
            else {
                panic!("{event:?}")
            };
            assert_eq!(read, key);
            let is_gone = event == LifecycleEvent::SubscriptionRemoved;
            assert_eq!(kept.as_ref().map(|kept| kept.client_state.is_some()), is_gone.then_some(true));
            assert!(kept.is_none_or(|kept| kept.users.is_empty()));
        }
        let Some(Kept::FiredUntil(read)) = Kept::from_document(&fired_until_document(at(5))) else {
            panic!()
        };
        assert_eq!(read, at(5));
        let of_shard = Kept::from_document(&fired_until_in_document(700, at(6)));
        assert!(matches!(of_shard, Some(Kept::FiredUntilIn(700, read)) if read == at(6)));
        let torn = Document { key: vec![1; 20], body: Some(Vec::new()), ..fired_until_document(at(5)) };
        assert!(Kept::from_document(&torn).is_none());
    }
}
