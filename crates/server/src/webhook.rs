//! Endpoints of subscriptions: the handshake, and the POSTs that tell them of changes.
//!
//! What to post, when, and again is [`engine::notify`]'s; the bytes are `graph`'s and `identity`'s; whether a URL may be
//! called at all is `outbound`'s. Here they meet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::notify::{LifecycleEvent, Notice, Outcome, Post, PostItem, Sink, Subscription};
use graph::GraphError;
use graph::notification::{self, About, Encrypted, Lifecycle, Notifications};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use identity::ContentCertificate;
use outbound::{Limits, Request, SendError};
use presence::{SequenceNumber, UserKey};
use uuid::Uuid;

use crate::app::App;
use crate::limits::{HANDSHAKE_TIMEOUT, NOTIFICATION_ANSWER_BYTES_MAX};
use crate::trace::Span;
use crate::trace::context::TRACEPARENT;

/// Posts notifications in the name of an application.
pub(crate) struct Webhooks(pub(crate) Arc<App>);

#[async_trait]
impl Sink for Webhooks {
    async fn post(&self, post: &Post) -> (Outcome, Duration) {
        let started = tokio::time::Instant::now();
        let failed = |reason: String| Outcome::Failed { reason, status: None, retry_after: None };
        let body = match self.0.notifications(&post.items) {
            Ok(body) => body,
            Err(reason) => return (failed(reason), started.elapsed()),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(notification::CONTENT_TYPE));
        let mut span = self.0.tracer.as_ref().and_then(|tracer| tracer.delivery(changes(post)));
        if let Some(header) = span.as_ref().and_then(|span| span.context.header()) {
            headers.insert(TRACEPARENT, header);
        }
        let request = Request { method: Method::POST, url: &post.url, headers, body: body.into() };
        let limits = Limits { time: post.limit, response_bytes: NOTIFICATION_ANSWER_BYTES_MAX };
        let outcome = match self.0.outbound.send(request, limits).await {
            Ok(answer) if answer.status.is_success() => Outcome::Delivered { status: answer.status.as_u16() },
            Ok(answer) => Outcome::Failed {
                reason: answer.status.to_string(),
                status: Some(answer.status.as_u16()),
                retry_after: retry_after(&answer.headers),
            },
            Err(SendError::Timeout) => Outcome::TimedOut,
            Err(error) => failed(error.to_string()),
        };
        let took = started.elapsed();
        self.0.metrics.delivery(post, &outcome, took, self.0.engine.clock().now());
        if let (Some(tracer), Some(mut span)) = (&self.0.tracer, span.take()) {
            describe(&mut span, post, &outcome);
            tracer.end(span);
        }
        (outcome, took)
    }
}

/// The changes a POST tells of.
fn changes(post: &Post) -> impl Iterator<Item = (UserKey, SequenceNumber)> + '_ {
    post.items.iter().filter_map(|item| match &item.notice {
        Notice::Change { user, change, .. } => Some((*user, change.sequence_number)),
        Notice::Lifecycle { .. } => None,
    })
}

fn describe(span: &mut Span, post: &Post, outcome: &Outcome) {
    span.note("http.request.method", "POST");
    span.note("server.address", post.endpoint.as_str());
    span.number("presenced.items", post.items.len() as u64);
    span.number("presenced.attempt", u64::from(post.attempt));
    let status = match outcome {
        Outcome::Delivered { status } => Some(*status),
        Outcome::Failed { status, reason, .. } => {
            span.note("error.type", reason.as_str());
            *status
        }
        Outcome::TimedOut => {
            span.note("error.type", "timeout");
            None
        }
    };
    if let Some(status) = status {
        span.number("http.response.status_code", u64::from(status));
    }
    if !matches!(outcome, Outcome::Delivered { .. }) {
        span.failed();
    }
}

/// `Retry-After` in seconds; a date counts as none, the schedule of our own will do.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

impl App {
    /// The handshake with an endpoint.
    ///
    /// # Errors
    /// 400 `ValidationError`, and 400 for an address that may not be called.
    pub(crate) async fn shake_hands(&self, url: &str, request_id: &str) -> Result<(), GraphError> {
        let token = notification::validation_token(request_id);
        let target = notification::handshake_url(url, &token);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(notification::CONTENT_TYPE_HANDSHAKE));
        let request = Request { method: Method::POST, url: &target, headers, body: bytes::Bytes::new() };
        let limits =
            Limits { time: HANDSHAKE_TIMEOUT, response_bytes: notification::HANDSHAKE_ANSWER_BYTES_MAX };
        match self.outbound.send(request, limits).await {
            Ok(answer) => {
                let reason: String =
                    answer.status.canonical_reason().unwrap_or("Unknown").split(' ').collect();
                let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                notification::check_handshake(
                    answer.status.as_u16(),
                    &reason,
                    content_type,
                    &answer.body,
                    &token,
                )
            }
            Err(SendError::Timeout) => Err(notification::handshake_timed_out()),
            Err(SendError::Forbidden(why)) => Err(GraphError::invalid_subscription(format!(
                "notificationUrl and lifecycleNotificationUrl: this address may not be called: {why}."
            ))),
            Err(error) => {
                tracing::info!(%error, "an endpoint did not complete its handshake");
                Err(notification::handshake_failed())
            }
        }
    }

    /// The body of one POST.
    fn notifications(&self, items: &[PostItem]) -> Result<Vec<u8>, String> {
        let mut body = Notifications::default();
        // One token for each application and tenant that has rich items here.
        let mut audiences = BTreeMap::new();
        for item in items {
            let subscription = &*item.subscription;
            let about = About {
                subscription: subscription.id.0,
                expires_at: subscription.expires_at,
                client_state: subscription.client_state.as_deref(),
                tenant: subscription.tenant,
            };
            match item.notice {
                Notice::Lifecycle { event, .. } => body.lifecycle(&about, word(event)),
                Notice::Change { user, change, .. } => {
                    let id = self.notification_id(item).to_string();
                    let Some(certificate) = certificate(subscription)? else {
                        body.change(&about, Some(&id), user.user, None);
                        continue;
                    };
                    let plaintext = notification::resource(user.user, change.pair);
                    let content = certificate.0.encrypt(&plaintext).map_err(|error| error.to_string())?;
                    let encrypted = Encrypted {
                        data: &content.data,
                        data_signature: &content.data_signature,
                        data_key: &content.data_key,
                        certificate_id: certificate.1,
                        thumbprint: certificate.0.thumbprint(),
                    };
                    body.change(&about, Some(&id), user.user, Some(&encrypted));
                    let audience = subscription.notification_url_app_id.clone();
                    let audience = audience.unwrap_or_else(|| subscription.app.to_string());
                    audiences.insert((subscription.tenant, audience), ());
                }
            }
        }
        let tokens = audiences.keys().map(|(tenant, audience)| {
            let token = self.publisher.mint_validation_token(*tenant, audience, self.wall_clock.now());
            token.map_err(|error| error.to_string())
        });
        let tokens = tokens.collect::<Result<Vec<_>, String>>()?;
        Ok(body.finish(&tokens))
    }

    /// The id of a notification as receivers see it: the same for the same, and no hint of how long the log is.
    fn notification_id(&self, item: &PostItem) -> Uuid {
        Uuid::from_bytes(self.position_seal.seal_bytes(item.notification_id.into_bytes()))
    }
}

/// What content is encrypted for and what the subscriber calls it; none for a basic subscription.
fn certificate(subscription: &Subscription) -> Result<Option<(ContentCertificate, &str)>, String> {
    let Some(certificate) = subscription.certificate.as_ref().filter(|_| subscription.include_resource_data)
    else {
        return Ok(None);
    };
    let parsed = ContentCertificate::from_der(certificate.der.clone()).map_err(|error| error.to_string())?;
    Ok(Some((parsed, &certificate.id)))
}

const fn word(event: LifecycleEvent) -> Lifecycle {
    match event {
        LifecycleEvent::ReauthorizationRequired => Lifecycle::ReauthorizationRequired,
        LifecycleEvent::SubscriptionRemoved => Lifecycle::SubscriptionRemoved,
        LifecycleEvent::Missed => Lifecycle::Missed,
    }
}
