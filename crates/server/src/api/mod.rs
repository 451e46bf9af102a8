//! The Graph API: one request from its path to its answer, in the order of checks that the reference observes.
//!
//! 1 path · 2 token · 3 verb · 4 throttle · 5 `/me` · 6 body · 7 members · 8 permission · 9 other user · 10 state
//! (presence-api §13.3). Steps 1 to 6 are here; 7 to 10 are each handler's, in that order.

mod batch;
mod directory;
mod presence;
pub(crate) mod subscriptions;

use ::presence::{AppId, TenantId, Timestamp, UserId, UserKey};
use bytes::Bytes;
use graph::path::{Address, Key, Route};
use graph::presence_reply::Reader;
use graph::{BodyRule, Grant, GraphError, Method, Operation, PermissionSet};
use http::HeaderMap;
use http::header::AsHeaderName;
use identity::{Caller, LastToken, TokenError, bearer};
use uuid::Uuid;

use crate::admin::Rights;
use crate::app::App;
pub(crate) use crate::http::body::BodySource;
use crate::http::error::Refusal;
use crate::http::reply::Reply;

/// One request to the API: a whole one, or a part of a batch.
pub(crate) struct Call<'a> {
    /// Scheme and host as the client sees them, for contexts and links.
    pub(crate) origin: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a mut BodySource,
    /// Whether the request is a part of a batch: a part cannot be a batch.
    pub(crate) is_part: bool,
}

/// Who calls, as the handlers want it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
    /// The object id of who acts: the user, or the application's service principal.
    pub(crate) principal: Uuid,
    pub(crate) grant: Grant,
    /// What the token's roles open besides Graph.
    pub(crate) rights: Rights,
    /// When the token ends: what outlives a request ends with it.
    pub(crate) token_expires_at: Timestamp,
}

impl Visitor {
    fn new(caller: &Caller) -> Self {
        let permissions = PermissionSet::from_names(caller.permissions.iter());
        let grant = match caller.user {
            Some(user) => Grant::Delegated { user, scopes: permissions },
            None => Grant::Application { roles: permissions },
        };
        let token_expires_at = caller.token_expires_at;
        // Scopes are what a user lets an application do; nobody becomes an administrator by consenting.
        let rights = match grant {
            Grant::Application { .. } => Rights::of(&caller.permissions),
            Grant::Delegated { .. } => Rights::default(),
        };
        let (tenant, app, principal) = (caller.tenant, caller.app, caller.principal);
        Self { tenant, app, principal, grant, rights, token_expires_at }
    }

    /// The signed-in user; an application acting by itself is nobody.
    pub(crate) fn user(&self) -> Option<UserId> {
        match self.grant {
            Grant::Delegated { user, .. } => Some(user),
            Grant::Application { .. } => None,
        }
    }

    /// As whom the caller reads of this user: only the owner sees the instants of a status message (§3.3).
    pub(crate) fn reader(&self, target: UserId) -> Reader {
        if self.user() == Some(target) { Reader::Owner } else { Reader::Other }
    }

    /// By whose hand a write of this caller is.
    pub(crate) fn author(&self) -> store::Author {
        store::Author { app: Some(self.app), user: self.user() }
    }

    pub(crate) fn key(&self, user: UserId) -> UserKey {
        UserKey { tenant: self.tenant, user }
    }
}

/// A request past step 6, with what the handlers need of it.
pub(crate) struct Request<'a> {
    pub(crate) origin: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) route: Route,
    pub(crate) operation: Operation,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
}

impl Request<'_> {
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as it is to be read: its coding is undone already.
    pub(crate) fn json(&self) -> graph::json::Body<'_> {
        let content_type = self.header(http::header::CONTENT_TYPE);
        graph::json::Body { content_type, content_encoding: None, bytes: &self.body }
    }

    pub(crate) fn accept(&self) -> Option<&str> {
        self.header(http::header::ACCEPT)
    }
}

/// What is known of a call once it is over, for the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) operation: Option<Operation>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) app: Option<AppId>,
}

/// What comes before a token, as clients write it.
const BEARER: &[u8] = b"Bearer ";

impl App {
    /// Who a request comes from.
    ///
    /// # Errors
    /// 401 for a token that is not accepted, and for one whose user is not in the directory.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Visitor, Refusal> {
        self.authenticate_on(&LastToken::default(), headers, self.wall_clock.now()).await
    }

    /// [`authenticate`](Self::authenticate) on a connection that remembers its last token.
    async fn authenticate_on(
        &self,
        last: &LastToken<Visitor>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Visitor, Refusal> {
        let authorization = headers.get(http::header::AUTHORIZATION);
        // Before it is looked at as a text: what has been a token is one.
        let again = authorization
            .and_then(|value| value.as_bytes().strip_prefix(BEARER))
            .and_then(|token| self.verifier.again(last, token, now));
        let visitor = match again {
            Some(again) => {
                self.metrics.token_again();
                again?
            }
            None => {
                let text = authorization.map(|value| value.to_str()).transpose();
                let token = bearer(text.map_err(|_| TokenError::NotAJwt)?)?;
                Box::pin(self.verify(last, token, now)).await?
            }
        };
        match visitor.user() {
            Some(user) if !self.directory().may_sign_in(visitor.tenant, user) => {
                Err(GraphError::identity_not_found().into())
            }
            _ => Ok(visitor),
        }
    }

    async fn verify(
        &self,
        last: &LastToken<Visitor>,
        token: &str,
        now: Timestamp,
    ) -> Result<Visitor, TokenError> {
        let verify = || self.verifier.verify_first(last, &**self.directory(), token, now, Visitor::new);
        let verified = verify();
        if matches!(verified, Err(TokenError::UnknownKey))
            && let Some(issuer) = self.verifier.issuer_lacking_key(token)
            && self.foreign_keys.look_again(&issuer, now).await
        {
            return verify();
        }
        verified
    }

    /// Carries out one call, that came at `now` on a connection that remembers its last token.
    pub(crate) async fn call(
        &self,
        call: Call<'_>,
        last: &LastToken<Visitor>,
        now: Timestamp,
        facts: &mut Facts,
    ) -> Result<Reply, Refusal> {
        let route = Route::parse(call.path)?;
        let visitor = match route.needs_token() {
            true => Some(self.authenticate_on(last, call.headers, now).await?),
            false => None,
        };
        self.call_as(visitor, route, call, facts).await
    }

    /// Steps 3 to 6, for a caller who is known: in a batch, the caller of the whole.
    pub(crate) async fn call_as(
        &self,
        visitor: Option<Visitor>,
        route: Route,
        call: Call<'_>,
        facts: &mut Facts,
    ) -> Result<Reply, Refusal> {
        facts.tenant = visitor.map(|visitor| visitor.tenant);
        facts.app = visitor.map(|visitor| visitor.app);
        let operation = route.operation(call.method)?;
        facts.operation = Some(operation);
        if let Some(visitor) = visitor {
            self.throttle(visitor)?;
            route.check_me(&visitor.grant)?;
        }
        let body = match operation.row().body {
            BodyRule::Required => call.body.read(call.headers).await?,
            BodyRule::Ignored => Bytes::new(),
        };
        let request = Request {
            origin: call.origin,
            request_id: call.request_id,
            route,
            operation,
            query: call.query,
            headers: call.headers,
            body,
        };
        let Some(visitor) = visitor else {
            return Ok(Reply::content(graph::headers::CONTENT_TYPE_METADATA, graph::metadata::CSDL));
        };
        self.dispatch(visitor, request, call.is_part).await
    }

    async fn dispatch(
        &self,
        visitor: Visitor,
        request: Request<'_>,
        is_part: bool,
    ) -> Result<Reply, Refusal> {
        use Operation as O;
        match request.operation {
            O::GetPresence => self.get_presence(visitor, &request).await,
            O::GetPresencesByUserId => self.get_presences(visitor, &request).await,
            O::SetPresence
            | O::ClearPresence
            | O::SetUserPreferredPresence
            | O::ClearUserPreferredPresence
            | O::SetStatusMessage
            | O::SetManualLocation
            | O::SetAutomaticLocation
            | O::ClearLocation
            | O::ClearAutomaticLocation => self.change_presence(visitor, &request).await,
            O::GetUser => self.get_user(visitor, &request),
            O::ListUsers => self.list_users(visitor, &request),
            O::GetPhoto | O::GetPhotoContent => self.get_photo(visitor, &request),
            // Rare, and long: kept out of what every request has to carry.
            O::CreateSubscription => Box::pin(self.create_subscription(visitor, &request)).await,
            O::ListSubscriptions => Box::pin(self.list_subscriptions(visitor, &request)).await,
            O::GetSubscription => Box::pin(self.get_subscription(visitor, &request)).await,
            O::UpdateSubscription => Box::pin(self.update_subscription(visitor, &request)).await,
            O::DeleteSubscription => Box::pin(self.delete_subscription(visitor, &request)).await,
            O::ReauthorizeSubscription => Box::pin(self.reauthorize_subscription(visitor, &request)).await,
            O::GetVapidPublicKey => Err(GraphError::bad_request("Web Push is not supported here.").into()),
            O::Batch if is_part => Err(GraphError::bad_request("A batch cannot contain a batch.").into()),
            O::Batch => Box::pin(self.batch(visitor, &request)).await,
            O::Metadata => Err(GraphError::bad_request("A batch cannot contain $metadata.").into()),
        }
    }

    pub(crate) fn throttle(&self, visitor: Visitor) -> Result<(), Refusal> {
        if let Some(seconds) = self.emulator.as_ref().and_then(|emulator| emulator.refusals.take()) {
            return Err(GraphError::too_many_requests(seconds).into());
        }
        let of_tenant = self.directory().tenant(visitor.tenant).and_then(|tenant| tenant.requests_max);
        self.throttle
            .count(visitor.tenant, of_tenant, visitor.app, || self.wall_clock.now())
            .map_err(|seconds| GraphError::too_many_requests(seconds).into())
    }

    /// The user an address means, as far as the tenant's directory or the GUID itself can tell.
    pub(crate) fn resolve(&self, visitor: Visitor, address: Option<&Address>) -> Option<UserId> {
        match address? {
            Address::Me => visitor.user(),
            Address::User(key) | Address::Communications(key) => self.resolve_key(visitor, key),
        }
    }

    fn resolve_key(&self, visitor: Visitor, key: &Key) -> Option<UserId> {
        key.id().or_else(|| self.directory().user_by_name(visitor.tenant, key.as_str()))
    }
}
