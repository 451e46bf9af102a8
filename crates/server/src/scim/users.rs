//! `/Users`: who may call, and what each request does.

use graph::user::User;
use graph::{GraphError, odata::Query};
use http::StatusCode;
use presence::UserId;
use serde_json::{Value, json};

use super::filter::{Filter, member};
use super::{
    CONTENT_TYPE, LIST, PAGE_DEFAULT, PAGE_MAX, PATCH_OP, ScimError, ScimType, attributes, discovery, patch,
};
use crate::admin::OnExisting;
use crate::api::{BodySource, Facts, Visitor};
use crate::app::App;
use crate::directory::Tenant;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::own::only;

/// Users looked at in one go before others get their turn.
const SCAN_STEP: usize = 1_000;

/// A request to SCIM, past its token.
struct Request<'a> {
    head: &'a http::request::Parts,
    /// The address of the SCIM root, for links.
    base: String,
    visitor: Visitor,
}

impl App {
    /// Answers a request below the SCIM root.
    pub(crate) async fn scim(
        &self,
        segments: &[&str],
        head: &http::request::Parts,
        body: &mut BodySource,
        origin: &str,
        facts: &mut Facts,
    ) -> Result<Reply, Refusal> {
        let visitor = self.authenticate(&head.headers).await?;
        (facts.tenant, facts.app) = (Some(visitor.tenant), Some(visitor.app));
        self.throttle(visitor)?;
        if !visitor.rights.provision {
            return Err(GraphError::forbidden().into());
        }
        let request = Request { head, base: format!("{origin}{}scim/v2", crate::own::ROOT), visitor };
        let method = head.method.as_str();
        match *segments {
            ["Users"] => {
                only(method, &["GET", "POST"], || Ok(()))?;
                match method {
                    "POST" => self.scim_create(&request, &read(head, body).await?).await,
                    _ => self.scim_list(&request).await,
                }
            }
            ["Users", id] => {
                only(method, &["GET", "PUT", "PATCH", "DELETE"], || Ok(()))?;
                let id = id.parse().ok().filter(|id| self.directory().has_user(visitor.tenant, *id));
                let id = id.ok_or_else(|| GraphError::not_found("There is no such user."))?;
                match method {
                    "PUT" => self.scim_replace(&request, id, &read(head, body).await?).await,
                    "PATCH" => self.scim_patch(&request, id, &read(head, body).await?).await,
                    "DELETE" => {
                        self.remove_user(visitor, visitor.tenant, id).await?;
                        Ok(Reply { status: StatusCode::NO_CONTENT, ..Reply::empty() })
                    }
                    _ => self.scim_get(&request, id),
                }
            }
            _ => {
                let document = discovery::document(segments, &request.base);
                let document = document.ok_or_else(|| GraphError::not_found("There is no such resource."))?;
                only(method, &["GET"], || Ok(reply(&document)))
            }
        }
    }

    async fn scim_create(&self, request: &Request<'_>, resource: &Value) -> Result<Reply, Refusal> {
        let tenant = request.visitor.tenant;
        // An external id that is a GUID is the id other systems know the user by: Graph clients will ask for it.
        let external = member(resource, "externalId").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let id = external.filter(|id| !self.directory().has_user(tenant, *id));
        let user = attributes::from_resource(
            resource,
            id.unwrap_or_else(|| UserId::from_u128(self.ids.guid().as_u128())),
        )?;
        self.add_users(request.visitor, tenant, vec![user.clone()], OnExisting::Refuse).await?;
        let location = attributes::location(&request.base, user.id);
        Ok(Reply { status: StatusCode::CREATED, location: Some(location), ..request.answer(&user)? })
    }

    async fn scim_replace(
        &self,
        request: &Request<'_>,
        id: UserId,
        resource: &Value,
    ) -> Result<Reply, Refusal> {
        let user = attributes::from_resource(resource, id)?;
        self.add_users(request.visitor, request.visitor.tenant, vec![user.clone()], OnExisting::Replace)
            .await?;
        request.answer(&user)
    }

    async fn scim_patch(&self, request: &Request<'_>, id: UserId, patch: &Value) -> Result<Reply, Refusal> {
        let schemas = member(patch, "schemas").and_then(Value::as_array);
        if !schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema.as_str() == Some(PATCH_OP))) {
            let detail = format!("The body does not say that it is a patch: its schemas lack {PATCH_OP}.");
            return Err(ScimError::new(ScimType::InvalidSyntax, detail).into());
        }
        let change = |user: &User| {
            let mut resource = attributes::to_resource(user, &request.base);
            patch::apply(&mut resource, patch)?;
            Ok(attributes::from_resource(&resource, id)?)
        };
        let user = self.change_user(request.visitor, request.visitor.tenant, id, change).await?;
        request.answer(&user)
    }

    fn scim_get(&self, request: &Request<'_>, id: UserId) -> Result<Reply, Refusal> {
        let directory = self.directory();
        let user = directory.user(request.visitor.tenant, id);
        request.answer(user.ok_or_else(|| GraphError::not_found("There is no such user."))?)
    }

    async fn scim_list(&self, request: &Request<'_>) -> Result<Reply, Refusal> {
        let query = Query::parse(request.head.uri.query().unwrap_or_default())?;
        let filter = parameter(&query, "filter").map(Filter::parse).transpose()?;
        let start = number(&query, "startIndex")?.unwrap_or(1).max(1);
        let count =
            number(&query, "count")?.map_or(PAGE_DEFAULT, |count| count.clamp(0, PAGE_MAX as i64) as usize);
        let skipped = usize::try_from(start - 1).unwrap_or(usize::MAX);
        let Some(tenant) = self.directory().tenant(request.visitor.tenant).cloned() else {
            return Err(GraphError::identity_not_found().into());
        };
        let (total, page) = match filter {
            None => (tenant.users().len(), tenant.users().skip(skipped).take(count).collect()),
            Some(filter) => find(&tenant, &filter, &request.base, skipped, count).await,
        };
        let resources = page.iter().map(|user| request.resource(user)).collect::<Result<Vec<_>, _>>()?;
        Ok(reply(&json!({
            "schemas": [LIST],
            "totalResults": total,
            "startIndex": start,
            "itemsPerPage": resources.len(),
            "Resources": resources,
        })))
    }
}

impl Request<'_> {
    fn resource(&self, user: &User) -> Result<Value, Refusal> {
        let query = Query::parse(self.head.uri.query().unwrap_or_default())?;
        let resource = attributes::to_resource(user, &self.base);
        Ok(attributes::select(
            resource,
            parameter(&query, "attributes"),
            parameter(&query, "excludedAttributes"),
        ))
    }

    fn answer(&self, user: &User) -> Result<Reply, Refusal> {
        Ok(reply(&self.resource(user)?))
    }
}

fn reply(document: &Value) -> Reply {
    Reply::content(CONTENT_TYPE, serde_json::to_vec(document).unwrap_or_default())
}

/// The users a filter means: through an index where it demands a name or an id, else one after the other.
async fn find<'t>(
    tenant: &'t Tenant,
    filter: &Filter,
    base: &str,
    skipped: usize,
    count: usize,
) -> (usize, Vec<&'t User>) {
    let by_name = filter.demands("userName").map(|name| tenant.user_by_name(name));
    let by_external_id = || filter.demands("externalId").map(|id| tenant.user_by_external_id(id));
    let by_id = || filter.demands("id").map(|id| id.parse().ok());
    if let Some(id) = by_name.or_else(by_external_id).or_else(by_id) {
        let user = id.and_then(|id| tenant.user(id));
        let user = user.filter(|user| filter.matches(&attributes::to_resource(user, base)));
        return (usize::from(user.is_some()), user.into_iter().skip(skipped).take(count).collect());
    }
    let (mut total, mut page) = (0, Vec::new());
    for (position, user) in tenant.users().enumerate() {
        if position % SCAN_STEP == SCAN_STEP - 1 {
            tokio::task::yield_now().await;
        }
        if filter.matches(&attributes::to_resource(user, base)) {
            if total >= skipped && page.len() < count {
                page.push(user);
            }
            total += 1;
        }
    }
    (total, page)
}

/// Parameters have no `$` here, and any case.
fn parameter<'q>(query: &'q Query<'_>, name: &str) -> Option<&'q str> {
    query.pairs().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn number(query: &Query<'_>, name: &str) -> Result<Option<i64>, ScimError> {
    let Some(text) = parameter(query, name) else { return Ok(None) };
    let number = text
        .trim()
        .parse()
        .map_err(|_| ScimError::new(ScimType::InvalidValue, format!("{name} is not a number.")))?;
    Ok(Some(number))
}

async fn read(head: &http::request::Parts, body: &mut BodySource) -> Result<Value, Refusal> {
    let content_type = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !["application/scim+json", "application/json"].iter().any(|known| known.eq_ignore_ascii_case(essence))
    {
        return Err(ScimError::new(
            ScimType::InvalidSyntax,
            "The body is not labelled application/scim+json.",
        )
        .into());
    }
    let bytes = body.read(&head.headers).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        ScimError::new(ScimType::InvalidSyntax, format!("The body is not JSON: {error}.")).into()
    })
}
