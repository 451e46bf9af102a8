//! Administration without an editor: applications, tenants and users over HTTP, below `/_presenced/v1/admin/`.
//!
//! An administrator is an application whose token has the role [`ADMIN_ROLE`]; it sees and changes its own tenant. One
//! of the host tenant, where the configuration names one, may also manage tenants, and what is in them below
//! `tenants/{id}/`. Everything that is declared in the configuration can be read here and not changed.

mod applications;
mod deliveries;
mod nodes;
mod role;
mod tenants;
mod users;

use graph::user::User;
use graph::{GraphError, json::is_json, odata::Query};
use http::StatusCode;
use presence::TenantId;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use role::Rights;
pub use role::{ADMIN_ROLE, PROVISIONING_ROLE, is_own_role};
pub(crate) use users::OnExisting;

use crate::api::{BodySource, Facts, Visitor};
use crate::app::App;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::import::{ImportFormat, read_users};
use crate::own::only;

/// Longest name of an application or a tenant, in characters. Ours.
const NAME_CHARS_MAX: usize = 256;
/// Users on a page at most, and when nobody says how many.
const PAGE_MAX: usize = 999;

/// A request past its token.
struct Request<'a> {
    head: &'a http::request::Parts,
    body: &'a mut BodySource,
    visitor: Visitor,
}

impl App {
    /// Answers a request below the root of administration.
    pub(crate) async fn administer(
        &self,
        segments: &[&str],
        head: &http::request::Parts,
        body: &mut BodySource,
        facts: &mut Facts,
    ) -> Result<Reply, Refusal> {
        let visitor = self.authenticate(&head.headers).await?;
        (facts.tenant, facts.app) = (Some(visitor.tenant), Some(visitor.app));
        self.throttle(visitor)?;
        if !visitor.rights.administer {
            return Err(GraphError::insufficient_privileges().into());
        }
        let mut request = Request { head, body, visitor };
        match segments {
            ["tenants", rest @ ..] => {
                // Before anything is said about a tenant: whoever may not manage them learns nothing about any.
                if self.host_tenant != Some(visitor.tenant) {
                    return Err(GraphError::insufficient_privileges().into());
                }
                match rest {
                    [] => self.all_tenants(&mut request).await,
                    [id] => self.one_tenant(&mut request, tenant_id(id)?).await,
                    [id, rest @ ..] => self.within(&mut request, tenant_id(id)?, rest).await,
                }
            }
            ["nodes"] => self.nodes(&request).await,
            rest => self.within(&mut request, visitor.tenant, rest).await,
        }
    }

    /// What is in one tenant.
    async fn within(
        &self,
        request: &mut Request<'_>,
        tenant: TenantId,
        segments: &[&str],
    ) -> Result<Reply, Refusal> {
        self.tenant(tenant)?;
        match *segments {
            ["applications"] => self.all_applications(request, tenant).await,
            ["applications", id] => self.one_application(request, tenant, id).await,
            ["applications", id, "secrets"] => self.rotate_secret(request, tenant, id).await,
            ["subscriptions"] => self.all_subscriptions(request, tenant).await,
            ["subscriptions", id] => self.one_subscription(request, tenant, id).await,
            ["subscriptions", id, "deliveries"] => self.deliveries(request, tenant, id),
            ["subscriptions", id, "replay"] => self.replay(request, tenant, id).await,
            ["users"] => self.all_users(request, tenant).await,
            ["users", key] => self.one_user(request, tenant, key).await,
            _ => Err(GraphError::segment_not_found(segments.last().copied().unwrap_or("admin")).into()),
        }
    }

    /// `GET users`: the users as the directory keeps them. `POST users`: adds or replaces those of a CSV or JSON file.
    async fn all_users(&self, request: &mut Request<'_>, tenant: TenantId) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "POST"], || Ok(()))?;
        if request.method() == "POST" {
            let format = request.content_type().and_then(ImportFormat::from_content_type);
            let format = format.ok_or_else(GraphError::unreadable_payload)?;
            let bytes = request.body.read(&request.head.headers).await?;
            let users = read_users(format, &bytes)
                .map_err(|error| GraphError::invalid_argument(error.to_string()))?;
            let count = users.len();
            self.add_users(request.visitor, tenant, users, OnExisting::Replace).await?;
            return Ok(reply(&json!({ "imported": count })));
        }
        let query = Query::parse(request.head.uri.query().unwrap_or_default())?;
        let after =
            query.pairs().find(|(name, _)| *name == "after").map(|(_, id)| id.parse::<presence::UserId>());
        let after = after.transpose().map_err(|_| GraphError::invalid_argument("after is not a GUID."))?;
        let of = self.tenant(tenant)?;
        let mut rest = of.users().skip_while(|user| after.is_some_and(|after| user.id <= after)).peekable();
        let page: Vec<Value> = rest
            .by_ref()
            .take(PAGE_MAX)
            .map(|user: &User| serde_json::to_value(user).unwrap_or_default())
            .collect();
        let next = rest.peek().and(page.last()).map(|user| user["id"].clone());
        Ok(reply(&json!({ "value": page, "next": next })))
    }

    async fn one_user(
        &self,
        request: &mut Request<'_>,
        tenant: TenantId,
        key: &str,
    ) -> Result<Reply, Refusal> {
        only(request.method(), &["GET", "DELETE"], || Ok(()))?;
        let of = self.tenant(tenant)?;
        let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
        let id = key.parse().ok().or_else(|| of.user_by_name(&key));
        let user = id.and_then(|id| of.user(id)).ok_or_else(|| GraphError::resource_not_found(&key))?;
        match request.method() {
            "DELETE" => {
                self.remove_user(request.visitor, tenant, user.id).await?;
                Ok(no_content())
            }
            _ => Ok(reply(&serde_json::to_value(user).unwrap_or_default())),
        }
    }
}

impl Request<'_> {
    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    fn content_type(&self) -> Option<&str> {
        self.head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }

    /// The members of the body's object. Unknown ones are refused: whoever misspells `roles` means something by it.
    async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        if !self.content_type().is_some_and(is_json) {
            return Err(GraphError::unreadable_payload().into());
        }
        let bytes = self.body.read(&self.head.headers).await?;
        // The text names a member or a place in the body, which is the caller's own.
        serde_json::from_slice(&bytes).map_err(|error| GraphError::invalid_argument(error.to_string()).into())
    }
}

/// One line in the log for each administrative change: who, what, and nothing secret.
fn audit(visitor: Visitor, tenant: TenantId, action: &str, object: &str) {
    tracing::info!(target: "audit", by_tenant = %visitor.tenant, by_app = %visitor.app, %tenant, action, object,
        "administrative change");
}

fn reply(document: &Value) -> Reply {
    Reply::content("application/json", serde_json::to_vec(document).unwrap_or_default())
}

fn created(document: &Value) -> Reply {
    Reply { status: StatusCode::CREATED, ..reply(document) }
}

fn no_content() -> Reply {
    Reply { status: StatusCode::NO_CONTENT, ..Reply::empty() }
}

fn tenant_id(text: &str) -> Result<TenantId, Refusal> {
    text.parse().map_err(|_| GraphError::not_found("There is no such tenant.").into())
}

fn checked_name(name: Option<String>, member: &str) -> Result<String, Refusal> {
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| GraphError::required(member))?;
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(GraphError::out_of_range(member).into());
    }
    Ok(name)
}
