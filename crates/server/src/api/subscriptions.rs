//! `/subscriptions`: who is told of changes, and until when. Source: change-notifications §1 to §5.

use std::sync::Arc;

use engine::notify::{Certificate, Quota, Renewal, Subscription, SubscriptionId};
use graph::odata::ServiceRoot;
use graph::subscription::{self as wire, Encryption, Shown};
use graph::{GraphError, Profile};
use http::StatusCode;
use identity::ContentCertificate;
use jiff::SignedDuration;
use presence::Timestamp;
use uuid::Uuid;

use super::{Request, Visitor};
use crate::app::App;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::limits::SUBSCRIPTIONS_PAGE_MAX;

/// What can be chosen about subscriptions; the profile decides what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionRules {
    /// How long one may live, and what its URLs may be.
    pub wire: wire::Rules,
    /// How many there may be.
    pub quota: Quota,
}

/// Subscriptions of one application in one tenant. Ours.
const PER_APP_AND_TENANT: usize = 10_000;
/// Subscriptions of one application on behalf of one user in the extended profile. Ours.
const EXTENDED_PER_USER_AND_APP: usize = 100;
/// How long a subscription may live in the extended profile. Ours.
const EXTENDED_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// How short it may be then.
const EXTENDED_LIFETIME_MIN: SignedDuration = SignedDuration::from_mins(1);

impl SubscriptionRules {
    /// As the profile has it: `graph` as documented, one presence subscription of a user and an application.
    pub fn of(profile: Profile) -> Self {
        let quota = Quota { per_user_and_app: 1, per_app_and_tenant: PER_APP_AND_TENANT };
        match profile {
            Profile::Graph => Self { wire: wire::Rules::default(), quota },
            Profile::Extended => Self {
                wire: wire::Rules {
                    lifetime_min: EXTENDED_LIFETIME_MIN,
                    lifetime_max: EXTENDED_LIFETIME,
                    ..wire::Rules::default()
                },
                quota: Quota { per_user_and_app: EXTENDED_PER_USER_AND_APP, ..quota },
            },
        }
    }
}

impl App {
    /// `POST /subscriptions`.
    pub(super) async fn create_subscription(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let now = self.engine.clock().now();
        let asked = wire::create(request.json(), now, &self.subscription_rules.wire)?;
        self.authorize(request.operation, &visitor.grant, None)?;
        let certificate = asked.encryption.map(certificate).transpose()?;
        // Ids nobody has are accepted in silence and never notified (§1); so are those of tenants that do not trust us.
        self.shake_hands(&asked.notification_url, request.request_id).await?;
        if let Some(url) = &asked.lifecycle_notification_url {
            self.shake_hands(url, request.request_id).await?;
        }
        let now = self.engine.clock().now();
        let subscription = Subscription {
            id: SubscriptionId(self.ids.guid()),
            tenant: visitor.tenant,
            app: visitor.app,
            creator: visitor.principal,
            delegated: visitor.user(),
            resource: asked.resource,
            change_type: asked.change_type,
            users: asked.users,
            notification_url: asked.notification_url,
            lifecycle_notification_url: asked.lifecycle_notification_url,
            client_state: asked.client_state,
            include_resource_data: asked.include_resource_data,
            certificate,
            notification_url_app_id: asked.notification_url_app_id,
            latest_supported_tls_version: asked.latest_supported_tls_version,
            notification_content_type: asked.notification_content_type,
            created_at: now,
            created_after: store::Position::default(),
            authorized_at: now,
            expires_at: asked.expires_at,
            token_expires_at: self.token_expires_at(visitor),
        };
        let created = self.notifier.create(subscription, self.subscription_rules.quota).await?;
        Ok(Reply { status: StatusCode::CREATED, ..one(request, &created) })
    }

    /// `GET /subscriptions`: those of the caller's application, for the same user or for itself.
    pub(super) async fn list_subscriptions(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let query = graph::odata::Query::parse(request.query.unwrap_or_default())?;
        query.allow_only(&["$top", "$skiptoken", "$select", "$count"])?;
        let after = query.option("$skiptoken").map(|token| {
            let id = Uuid::parse_str(token);
            id.map_err(|_| GraphError::bad_request("The $skiptoken is not one of this service."))
        });
        let after = after.transpose()?;
        self.notifier.fresh().await?;
        let mut all = self.notifier.list(visitor.tenant, visitor.app, visitor.user());
        all.retain(|subscription| after.is_none_or(|after| subscription.id.0 > after));
        all.sort_unstable_by_key(|subscription| subscription.id);
        let more = all.len() > SUBSCRIPTIONS_PAGE_MAX;
        all.truncate(SUBSCRIPTIONS_PAGE_MAX);
        let next = all.last().filter(|_| more).map(|last| last.id.0.to_string());
        let page: Vec<Shown<'_>> = all.iter().map(|subscription| shown(subscription)).collect();
        let service = ServiceRoot::new(request.origin, request.route.root);
        let body = wire::write_list(&service, &page, next.as_deref());
        Ok(Reply::odata(level(request).content_type(), body))
    }

    /// `GET /subscriptions/{id}`.
    pub(super) async fn get_subscription(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        Ok(one(request, &*self.own_subscription(visitor, request).await?))
    }

    /// `PATCH /subscriptions/{id}`.
    pub(super) async fn update_subscription(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let asked = wire::update(request.json(), self.engine.clock().now(), &self.subscription_rules.wire)?;
        let subscription = self.own_subscription(visitor, request).await?;
        self.authorize(request.operation, &visitor.grant, None)?;
        let certificate = asked.encryption.map(certificate).transpose()?;
        if let Some(url) =
            asked.notification_url.as_ref().filter(|url| **url != subscription.notification_url)
        {
            self.shake_hands(url, request.request_id).await?;
        }
        let renewal = Renewal {
            expires_at: asked.expires_at,
            notification_url: asked.notification_url,
            certificate,
            token_expires_at: self.token_expires_at(visitor),
        };
        Ok(one(request, &*self.notifier.renew(subscription.id, renewal).await?))
    }

    /// `POST /subscriptions/{id}/reauthorize`.
    pub(super) async fn reauthorize_subscription(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let subscription = self.own_subscription(visitor, request).await?;
        self.authorize(request.operation, &visitor.grant, None)?;
        self.notifier.reauthorize(subscription.id, self.token_expires_at(visitor)).await?;
        Ok(Reply { status: StatusCode::NO_CONTENT, ..Reply::empty() })
    }

    /// `DELETE /subscriptions/{id}`.
    pub(super) async fn delete_subscription(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let subscription = self.own_subscription(visitor, request).await?;
        self.notifier.delete(subscription.id).await?;
        Ok(Reply { status: StatusCode::NO_CONTENT, ..Reply::empty() })
    }

    /// The subscription that is meant, if it is the caller's; anybody else's is not there (§3).
    async fn own_subscription(
        &self,
        visitor: Visitor,
        request: &Request<'_>,
    ) -> Result<Arc<Subscription>, Refusal> {
        // Another node may have created or changed it a moment ago.
        self.notifier.fresh().await?;
        let id = request.route.subscription.as_deref().and_then(|id| Uuid::parse_str(id).ok());
        let found = id.and_then(|id| self.notifier.get(SubscriptionId(id)));
        let own = found.filter(|subscription| {
            subscription.tenant == visitor.tenant
                && subscription.app == visitor.app
                && subscription.delegated == visitor.user()
        });
        own.ok_or_else(|| GraphError::subscription_not_found().into())
    }

    /// When the caller's token ends by the engine's clock: tokens live by the machine's.
    fn token_expires_at(&self, visitor: Visitor) -> Timestamp {
        let left = visitor.token_expires_at.duration_since(self.wall_clock.now());
        self.engine.clock().now().saturating_add(left).unwrap_or(Timestamp::MAX)
    }
}

fn certificate(encryption: Encryption) -> Result<Certificate, GraphError> {
    let parsed = ContentCertificate::parse(&encryption.certificate)
        .map_err(|why| GraphError::invalid_subscription(format!("encryptionCertificate: {why}.")))?;
    Ok(Certificate { der: parsed.der().to_vec(), id: encryption.id })
}

fn level(request: &Request<'_>) -> graph::headers::MetadataLevel {
    let query = graph::odata::Query::parse(request.query.unwrap_or_default());
    query.map(|query| query.metadata_level(request.accept())).unwrap_or_default()
}

fn one(request: &Request<'_>, subscription: &Subscription) -> Reply {
    let service = ServiceRoot::new(request.origin, request.route.root);
    Reply::odata(level(request).content_type(), wire::write_one(&service, &shown(subscription)))
}

fn shown(subscription: &Subscription) -> Shown<'_> {
    Shown {
        id: subscription.id.0,
        resource: &subscription.resource,
        change_type: &subscription.change_type,
        notification_url: &subscription.notification_url,
        lifecycle_notification_url: subscription.lifecycle_notification_url.as_deref(),
        client_state: subscription.client_state.as_deref(),
        include_resource_data: subscription.include_resource_data,
        encryption_certificate_id: subscription.certificate.as_ref().map(|certificate| &*certificate.id),
        notification_url_app_id: subscription.notification_url_app_id.as_deref(),
        latest_supported_tls_version: subscription.latest_supported_tls_version.as_deref(),
        notification_content_type: subscription.notification_content_type.as_deref(),
        expires_at: subscription.expires_at,
        application: subscription.app,
        creator: subscription.creator,
    }
}
