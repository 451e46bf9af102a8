//! Subscriptions and what became of their notifications, for whoever operates the server.

use std::sync::Arc;

use engine::notify::{Attempt, Outcome, Subscription, SubscriptionId};
use graph::GraphError;
use graph::odata::Query;
use graph::time::format_timestamp;
use presence::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PAGE_MAX, Request, audit, no_content, reply};
use crate::app::App;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::own::only;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    from: String,
}

impl App {
    /// `GET subscriptions`: all of the tenant, page by page.
    pub(super) async fn all_subscriptions(
        &self,
        request: &Request<'_>,
        tenant: TenantId,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["GET"], || Ok(()))?;
        let query = Query::parse(request.head.uri.query().unwrap_or_default())?;
        let after = query.pairs().find(|(name, _)| *name == "after").map(|(_, id)| Uuid::parse_str(id));
        let after = after.transpose().map_err(|_| GraphError::invalid_argument("after is not a GUID."))?;
        self.notifier.fresh().await?;
        let page = self.notifier.list_all(Some(tenant), after.map(SubscriptionId), PAGE_MAX);
        let next = page.last().filter(|_| page.len() == PAGE_MAX).map(|last| last.id.0.to_string());
        let value: Vec<Value> = page.iter().map(|subscription| self.show(subscription)).collect();
        Ok(reply(&json!({ "value": value, "next": next })))
    }

    /// `GET` and `DELETE subscriptions/{id}`. Whoever made it is told that it was removed.
    pub(super) async fn one_subscription(
        &self,
        request: &Request<'_>,
        tenant: TenantId,
        id: &str,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "DELETE"], || Ok(()))?;
        let subscription = self.subscription(tenant, id)?;
        if request.method() == "DELETE" {
            self.notifier.remove(subscription.id).await?;
            audit(request.visitor, tenant, "remove subscription", id);
            return Ok(no_content());
        }
        Ok(reply(&self.show(&subscription)))
    }

    /// `GET subscriptions/{id}/deliveries`: the attempts that are remembered, newest first.
    pub(super) fn deliveries(
        &self,
        request: &Request<'_>,
        tenant: TenantId,
        id: &str,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["GET"], || Ok(()))?;
        let subscription = self.subscription(tenant, id)?;
        let attempts = self.notifier.attempts(Some(subscription.id), PAGE_MAX);
        let value: Vec<Value> = attempts.iter().map(|attempt| self.show_attempt(tenant, attempt)).collect();
        Ok(reply(&json!({ "subscription": self.show(&subscription), "value": value })))
    }

    /// `POST subscriptions/{id}/replay`: delivers the changes after a position again.
    pub(super) async fn replay(
        &self,
        request: &mut Request<'_>,
        tenant: TenantId,
        id: &str,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["POST"], || Ok(()))?;
        let subscription = self.subscription(tenant, id)?;
        let body: Replay = request.json().await?;
        let from = self.position_seal.open(tenant, &body.from);
        let from = from.ok_or_else(|| GraphError::invalid_argument("from is not a position of the log."))?;
        self.notifier.replay(subscription.id, from).await?;
        audit(request.visitor, tenant, "replay subscription", id);
        Ok(reply(&self.show(&subscription)))
    }

    fn subscription(&self, tenant: TenantId, id: &str) -> Result<Arc<Subscription>, GraphError> {
        let found = Uuid::parse_str(id).ok().and_then(|id| self.notifier.get(SubscriptionId(id)));
        found
            .filter(|subscription| subscription.tenant == tenant)
            .ok_or_else(GraphError::subscription_not_found)
    }

    /// Without the client state, and without the query of the URL: both may be secrets.
    fn show(&self, subscription: &Subscription) -> Value {
        let url = subscription.notification_url.split(['?', '#']).next().unwrap_or_default();
        let progress = self.notifier.progress(subscription.id);
        json!({
            "id": subscription.id.0,
            "applicationId": subscription.app.to_string(),
            "userId": subscription.delegated.map(|user| user.to_string()),
            "users": subscription.users.len(),
            "notificationUrl": url,
            "includeResourceData": subscription.include_resource_data,
            "expirationDateTime": format_timestamp(subscription.expires_at),
            "position": progress.map(|progress| self.position_seal.seal(subscription.tenant, progress.cursor)),
            "outstanding": progress.map(|progress| progress.outstanding),
        })
    }

    fn show_attempt(&self, tenant: TenantId, attempt: &Attempt) -> Value {
        let (outcome, status) = match &attempt.outcome {
            Outcome::Delivered { status } => ("delivered".to_owned(), Some(*status)),
            Outcome::Failed { reason, status, .. } => (reason.clone(), *status),
            Outcome::TimedOut => ("no answer in time".to_owned(), None),
        };
        json!({
            "triedAt": format_timestamp(attempt.tried_at),
            "attempt": attempt.attempt,
            "items": attempt.items,
            "from": self.position_seal.seal(tenant, attempt.first),
            "to": self.position_seal.seal(tenant, attempt.last),
            "outcome": outcome,
            "status": status,
            "milliseconds": u64::try_from(attempt.elapsed.as_millis()).unwrap_or(u64::MAX),
            "nextTry": attempt.next_try.map(format_timestamp),
        })
    }
}
