//! A subscription as a value: what it watches, until when, and when its owner must be reminded. Its stored form too.

use std::fmt;

use presence::{AppId, TenantId, Timestamp, UserId, UserKey};
use serde::{Deserialize, Serialize};
use store::{Document, DocumentKind, Position};
use uuid::Uuid;

/// Most users of one subscription. Source: change-notifications §1.
pub const USERS_PER_SUBSCRIPTION_MAX: usize = 650;
/// A reminder to reauthorize is sent when this much is left of the token or the subscription, and again at the second.
/// Assumed: change-notifications §8.
pub const REAUTHORIZE_AT_MINUTES: [i64; 2] = [15, 5];

/// A subscription's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub Uuid);

/// The public key that a rich notification's content is encrypted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// X.509, DER.
    pub der: Vec<u8>,
    /// What the subscriber calls it.
    pub id: String,
}

/// A subscription to the changes of some users of one tenant. Texts are as the client sent them and checked already.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose users.
    pub tenant: TenantId,
    /// The application that created it.
    pub app: AppId,
    /// The object id of the user, or else of the service principal, that created it.
    pub creator: Uuid,
    /// The user on whose behalf, if a delegated permission was used.
    pub delegated: Option<UserId>,
    /// `resource`.
    pub resource: String,
    /// `changeType`.
    pub change_type: String,
    /// The users: sorted, each once, at most [`USERS_PER_SUBSCRIPTION_MAX`].
    pub users: Vec<UserId>,
    /// Where changes are posted to.
    pub notification_url: String,
    /// Where lifecycle events are posted to, if anywhere.
    pub lifecycle_notification_url: Option<String>,
    /// A secret the receiver recognizes.
    pub client_state: Option<String>,
    /// Whether notifications are rich.
    pub include_resource_data: bool,
    /// What their content is encrypted for.
    pub certificate: Option<Certificate>,
    /// `notificationUrlAppId`.
    pub notification_url_app_id: Option<String>,
    /// `latestSupportedTlsVersion`.
    pub latest_supported_tls_version: Option<String>,
    /// `notificationContentType`.
    pub notification_content_type: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// It sees changes after this position.
    pub created_after: Position,
    /// When it was last created, renewed or reauthorized.
    pub authorized_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When the token ends that it was last authorized with, by the engine's clock.
    pub token_expires_at: Timestamp,
}

/// Names no secret and no person.
impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("app", &self.app)
            .field("users", &self.users.len())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// The users it watches.
    pub fn user_keys(&self) -> impl Iterator<Item = UserKey> + '_ {
        self.users.iter().map(|user| UserKey { tenant: self.tenant, user: *user })
    }

    /// Whether it has ended.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Whether delivery pauses until it is authorized again.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.token_expires_at <= now
    }

    /// The first instant after `after` at which something happens to it if nobody touches it.
    pub fn next_event(&self, after: Timestamp) -> Option<(Timestamp, SubscriptionEvent)> {
        let ends_at = self.expires_at.min(self.token_expires_at);
        let reminders = REAUTHORIZE_AT_MINUTES.map(|minutes| {
            let left = jiff::SignedDuration::from_mins(minutes);
            let at = ends_at.saturating_sub(left).unwrap_or(Timestamp::MIN);
            // Whoever asked for less than that much needs no reminder of it.
            (at, SubscriptionEvent::Remind, at > self.authorized_at)
        });
        let pauses = self.token_expires_at < self.expires_at;
        let ends = [
            (self.token_expires_at, SubscriptionEvent::Pause, pauses),
            (self.expires_at, SubscriptionEvent::Expire, true),
        ];
        let events = reminders.into_iter().chain(ends).filter(|(at, _, counts)| *counts && *at > after);
        events.map(|(at, event, _)| (at, event)).min_by_key(|(at, _)| *at)
    }

    /// A kept subscription as it is to be kept in a store whose log ends at `end`: it sees what comes after that. `None` when
    /// the document is none that can be read.
    pub fn moved_to(document: &Document, end: Position) -> Option<Document> {
        let subscription = Self::from_document(document)?;
        Some(Self { created_after: end, ..subscription }.to_document())
    }

    pub(super) fn to_document(&self) -> Document {
        let body = postcard::to_extend(&StoredV1::from(self), vec![FORMAT_1]).unwrap_or_default();
        Document { body: Some(body), ..self.deletion() }
    }

    pub(super) fn deletion(&self) -> Document {
        Document { kind: DocumentKind::Subscription, key: self.id.0.as_bytes().to_vec(), body: None }
    }

    pub(super) fn from_document(document: &Document) -> Option<Self> {
        let (format, body) = document.body.as_deref()?.split_first()?;
        if *format != FORMAT_1 {
            return None;
        }
        let stored: StoredV1 = postcard::from_bytes(body).ok()?;
        stored.into_domain(SubscriptionId(Uuid::from_slice(&document.key).ok()?))
    }
}

/// What time does to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// Its owner is reminded to reauthorize it.
    Remind,
    /// Delivery pauses.
    Pause,
    /// It ends.
    Expire,
}

const FORMAT_1: u8 = 1;

/// The stored form; the order of its fields never changes.
#[derive(Serialize, Deserialize)]
struct StoredV1 {
    tenant: [u8; 16],
    app: [u8; 16],
    creator: [u8; 16],
    delegated: Option<[u8; 16]>,
    resource: String,
    change_type: String,
    users: Vec<[u8; 16]>,
    notification_url: String,
    lifecycle_notification_url: Option<String>,
    client_state: Option<String>,
    include_resource_data: bool,
    certificate: Option<(Vec<u8>, String)>,
    notification_url_app_id: Option<String>,
    latest_supported_tls_version: Option<String>,
    notification_content_type: Option<String>,
    created_at: (i64, i32),
    created_after: u64,
    authorized_at: (i64, i32),
    expires_at: (i64, i32),
    token_expires_at: (i64, i32),
}

impl From<&Subscription> for StoredV1 {
    fn from(s: &Subscription) -> Self {
        Self {
            tenant: s.tenant.as_u128().to_be_bytes(),
            app: s.app.as_u128().to_be_bytes(),
            creator: s.creator.into_bytes(),
            delegated: s.delegated.map(|user| user.as_u128().to_be_bytes()),
            resource: s.resource.clone(),
            change_type: s.change_type.clone(),
            users: s.users.iter().map(|user| user.as_u128().to_be_bytes()).collect(),
            notification_url: s.notification_url.clone(),
            lifecycle_notification_url: s.lifecycle_notification_url.clone(),
            client_state: s.client_state.clone(),
            include_resource_data: s.include_resource_data,
            certificate: s.certificate.clone().map(|certificate| (certificate.der, certificate.id)),
            notification_url_app_id: s.notification_url_app_id.clone(),
            latest_supported_tls_version: s.latest_supported_tls_version.clone(),
            notification_content_type: s.notification_content_type.clone(),
            created_at: parts(s.created_at),
            created_after: s.created_after.0,
            authorized_at: parts(s.authorized_at),
            expires_at: parts(s.expires_at),
            token_expires_at: parts(s.token_expires_at),
        }
    }
}

impl StoredV1 {
    fn into_domain(self, id: SubscriptionId) -> Option<Subscription> {
        let at = |(second, nanosecond)| Timestamp::new(second, nanosecond).ok();
        let user = |bytes| UserId::from_u128(u128::from_be_bytes(bytes));
        Some(Subscription {
            id,
            tenant: TenantId::from_u128(u128::from_be_bytes(self.tenant)),
            app: AppId::from_u128(u128::from_be_bytes(self.app)),
            creator: Uuid::from_bytes(self.creator),
            delegated: self.delegated.map(user),
            resource: self.resource,
            change_type: self.change_type,
            users: self.users.into_iter().map(user).collect(),
            notification_url: self.notification_url,
            lifecycle_notification_url: self.lifecycle_notification_url,
            client_state: self.client_state,
            include_resource_data: self.include_resource_data,
            certificate: self.certificate.map(|(der, id)| Certificate { der, id }),
            notification_url_app_id: self.notification_url_app_id,
            latest_supported_tls_version: self.latest_supported_tls_version,
            notification_content_type: self.notification_content_type,
            created_at: at(self.created_at)?,
            created_after: Position(self.created_after),
            authorized_at: at(self.authorized_at)?,
            expires_at: at(self.expires_at)?,
            token_expires_at: at(self.token_expires_at)?,
        })
    }
}

fn parts(at: Timestamp) -> (i64, i32) {
    (at.as_second(), at.subsec_nanosecond())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    pub(crate) fn sample(id: u128) -> Subscription {
        Subscription {
            id: SubscriptionId(Uuid::from_u128(id)),
            tenant: TenantId::from_u128(1),
            app: AppId::from_u128(2),
            creator: Uuid::from_u128(3),
            delegated: Some(UserId::from_u128(3)),
            resource: "/communications/presences/4".into(),
            change_type: "updated".into(),
            users: vec![UserId::from_u128(4)],
            notification_url: "https://receiver.example/a?b=c".into(),
            lifecycle_notification_url: Some("https://receiver.example/lifecycle".into()),
            client_state: Some("very secret".into()),
            include_resource_data: true,
            certificate: Some(Certificate { der: vec![1, 2, 3], id: "one".into() }),
            notification_url_app_id: None,
            latest_supported_tls_version: Some("v1_2".into()),
            notification_content_type: None,
            created_at: at(0),
            created_after: Position(7),
            authorized_at: at(0),
            expires_at: at(60),
            token_expires_at: at(90),
        }
    }

    #[test]
    fn a_subscription_is_kept_and_read_back_as_it_was_and_its_secret_is_not_printed() {
        let subscription = sample(9);
        assert_eq!(Subscription::from_document(&subscription.to_document()), Some(subscription.clone()));
        assert!(!format!("{subscription:?}").contains("secret"));
        let mut newer = subscription.to_document();
        newer.body.as_mut().unwrap()[0] = 2;
        assert_eq!(Subscription::from_document(&newer), None);
    }

    fn events(subscription: &Subscription) -> Vec<(i64, SubscriptionEvent)> {
        let mut after = subscription.authorized_at;
        let mut events = Vec::new();
        while let Some((at, event)) = subscription.next_event(after) {
            events.push(((at.as_second() - 1_800_000_000) / 60, event));
            after = at;
        }
        events
    }

    #[test]
    fn reminders_come_fifteen_and_five_minutes_before_the_token_or_the_subscription_ends() {
        use SubscriptionEvent::{Expire, Pause, Remind};
        let subscription = sample(1);
        assert_eq!(events(&subscription), [(45, Remind), (55, Remind), (60, Expire)]);
        let short_token = Subscription { token_expires_at: at(30), ..subscription.clone() };
        assert_eq!(events(&short_token), [(15, Remind), (25, Remind), (30, Pause), (60, Expire)]);
        let short = Subscription { expires_at: at(10), ..subscription };
        assert_eq!(events(&short), [(5, Remind), (10, Expire)], "not of what was never left");
    }
}
