//! Everything of ours that is not Graph, under one root: `/_presenced/v1/`.

use graph::odata::Query;
use graph::path::Route;
use graph::{GraphError, Method, Operation};
use http::StatusCode;
use presence::{Command, TenantId, Timestamp, UserId};

use crate::api::{BodySource, Facts, Visitor};
use crate::app::App;
use crate::directory::{Directory, keep_users};
use crate::emulator;
use crate::http::connection::Peer;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::import::{ImportFormat, read_users};

/// The root of everything of ours.
pub(crate) const ROOT: &str = "/_presenced/v1/";

/// The description of what is below [`ROOT`].
const OPENAPI: &str = include_str!("openapi.json");

/// The path below the root, if it is one of ours.
pub(crate) fn strip_root(path: &str) -> Option<&str> {
    path.strip_prefix(ROOT).or_else(|| path.starts_with("/_presenced").then_some(""))
}

/// The feed a request is for: the one resource of ours that may go on, or change its protocol.
pub(crate) fn feed_resource(head: &http::request::Parts) -> Option<&'static str> {
    if head.method != http::Method::GET {
        return None;
    }
    let rest = strip_root(head.uri.path())?.strip_prefix("presences/")?;
    ["stream", "changes"].into_iter().find(|name| *name == rest.trim_end_matches('/'))
}

/// Whether who calls speaks SCIM, and expects its errors.
pub(crate) fn is_scim(path: &str) -> bool {
    strip_root(path).is_some_and(|rest| rest.starts_with("scim/"))
}

impl App {
    /// Answers a request below the root.
    pub(crate) async fn own(
        &self,
        rest: &str,
        head: &http::request::Parts,
        body: &mut BodySource,
        origin: &str,
        peer: Peer,
        facts: &mut Facts,
    ) -> Result<Reply, Refusal> {
        let segments: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        let method = head.method.as_str();
        match segments[..] {
            ["admin", ref rest @ ..] => self.administer(rest, head, body, facts).await,
            ["scim", "v2", ref rest @ ..] => self.scim(rest, head, body, origin, facts).await,
            ["openapi.json"] => only(method, &["GET"], || Ok(Reply::content("application/json", OPENAPI))),
            // Read by themselves: here are only the verbs they do not have.
            ["presences", "stream"] => Err(GraphError::method_not_allowed(vec![Method::Get]).into()),
            ["presences", "changes"] => Err(GraphError::method_not_allowed(vec![Method::Get]).into()),
            ["users", key, "presence", "explanation"] => {
                only(method, &["GET"], || Ok(()))?;
                let (visitor, user) = self.visit(key, head, facts, Operation::GetPresence).await?;
                self.explain(visitor, user, head.uri.query()).await
            }
            ["users", key, "presence", "history"] => {
                only(method, &["GET"], || Ok(()))?;
                let (visitor, user) = self.visit(key, head, facts, Operation::GetPresence).await?;
                self.history(visitor, user, head.uri.query()).await
            }
            ["users", key, "outOfOffice"] => {
                only(method, &["PUT", "DELETE"], || Ok(()))?;
                let (visitor, user) = self.visit(key, head, facts, Operation::SetPresence).await?;
                let window = match method {
                    "DELETE" => None,
                    _ => Some(graph::calendar::out_of_office(&body.read(&head.headers).await?)?),
                };
                self.feed(visitor, user, Command::SetOutOfOffice(window)).await
            }
            ["users", key, "scheduledLocations"] => {
                only(method, &["PUT", "DELETE"], || Ok(()))?;
                let (visitor, user) = self.visit(key, head, facts, Operation::SetPresence).await?;
                let schedule = match method {
                    "DELETE" => presence::Schedule::default(),
                    _ => graph::calendar::schedule(&body.read(&head.headers).await?)?,
                };
                self.feed(visitor, user, Command::SetSchedule(schedule)).await
            }
            _ => self.control(&segments, head, body, peer).await,
        }
    }

    /// The emulator's own resources.
    async fn control(
        &self,
        segments: &[&str],
        head: &http::request::Parts,
        body: &mut BodySource,
        peer: Peer,
    ) -> Result<Reply, Refusal> {
        let unknown = || GraphError::segment_not_found(segments.last().copied().unwrap_or_default());
        let emulator = self.emulator.as_ref().ok_or_else(unknown)?;
        emulator::guard(peer, &head.headers, &head.uri)?;
        let method = head.method.as_str();
        match *segments {
            ["clock"] => only(method, &["GET"], || Ok(self.clock_now(emulator))),
            ["clock", action] => {
                only(method, &["POST"], || Ok(()))?;
                let body = body.read(&head.headers).await?;
                self.move_clock(emulator, action, &body).await
            }
            ["throttle"] => {
                only(method, &["GET", "POST"], || Ok(()))?;
                let body = match method {
                    "POST" => Some(body.read(&head.headers).await?),
                    _ => None,
                };
                self.refuse_next(emulator, body.as_deref())
            }
            ["token"] => {
                only(method, &["GET"], || Ok(()))?;
                self.ready_token(emulator, &Query::parse(head.uri.query().unwrap_or_default())?)
            }
            ["requests"] => {
                only(method, &["GET"], || Ok(()))?;
                self.requests(emulator, &Query::parse(head.uri.query().unwrap_or_default())?)
            }
            ["users"] => {
                only(method, &["POST"], || Ok(()))?;
                let bytes = body.read(&head.headers).await?;
                let content_type =
                    head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                self.import_users(emulator.tenant, content_type, &bytes).await
            }
            _ => Err(unknown().into()),
        }
    }

    /// Who calls, and about whom: the same checks in the same order as on the Graph side.
    async fn visit(
        &self,
        key: &str,
        head: &http::request::Parts,
        facts: &mut Facts,
        like: Operation,
    ) -> Result<(Visitor, UserId), Refusal> {
        // The user's key is spelled as in a Graph URL, and read by the same code.
        let route = Route::parse(&format!("/v1.0/users/{key}/presence"))?;
        let visitor = self.authenticate(&head.headers).await?;
        facts.operation = Some(like);
        facts.tenant = Some(visitor.tenant);
        facts.app = Some(visitor.app);
        route.check_me(&visitor.grant)?;
        let target = self.resolve(visitor, route.address.as_ref());
        self.authorize(like, &visitor.grant, target)?;
        let known = target.filter(|user| self.directory().has_user(visitor.tenant, *user));
        Ok((visitor, known.ok_or_else(GraphError::user_not_found)?))
    }

    /// Why a user is shown as they are: now, at an instant to come if nobody writes, or at one that has passed: back to the
    /// last change of what is kept of them, and where a history is kept and may be read, as far as that goes.
    async fn explain(&self, visitor: Visitor, user: UserId, query: Option<&str>) -> Result<Reply, Refusal> {
        let at = explained_instant(query)?;
        let reading = self.engine.read(&[visitor.key(user)]).await?;
        let mut record = reading.users.first().cloned().unwrap_or_default();
        let at = at.unwrap_or(reading.now);
        // What a record was before it was last written or settled, only a history knows.
        if at < record.settled_at
            && at < reading.now
            && let Some(past) = self.record_of_the_past(visitor, user, at).await?
        {
            record = past;
        }
        if at < record.settled_at && at < reading.now {
            let since = graph::time::format_timestamp(record.settled_at);
            return Err(GraphError::invalid_argument(format!(
                "What is kept of this user explains instants from {since} on; what it was made from before is not kept."
            ))
            .into());
        }
        let directory = self.directory();
        let name_of = |app| {
            let application = directory.tenant(visitor.tenant)?.applications.get(&app)?;
            Some(application.display_name.clone()).filter(|name| !name.is_empty())
        };
        let explanation = record.explain(at);
        let body = graph::explanation::to_json(user, &explanation, visitor.reader(user), &name_of);
        Ok(Reply::content("application/json", body))
    }

    /// `POST users` of an emulator: keeps the users of a file and serves them from now on.
    async fn import_users(
        &self,
        tenant: TenantId,
        content_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<Reply, Refusal> {
        let format = content_type.and_then(ImportFormat::from_content_type);
        let format = format.ok_or_else(GraphError::unreadable_payload)?;
        let refuse = |why: String| GraphError::invalid_argument(why);
        let users = read_users(format, bytes).map_err(|error| refuse(error.to_string()))?;
        let _turn = self.directory_change.lock().await;
        let mut directory = Directory::clone(&self.directory());
        let old = directory.tenant(tenant).cloned().unwrap_or_default();
        let new = old.with_users(users.iter().cloned()).map_err(|error| refuse(error.to_string()))?;
        keep_users(self.engine.store().as_ref(), tenant, &users).await?;
        directory.insert(tenant, new);
        self.replace_directory(directory);
        Ok(Reply::content("application/json", format!("{{\"imported\":{}}}", users.len())))
    }

    async fn feed(&self, visitor: Visitor, user: UserId, command: Command) -> Result<Reply, Refusal> {
        let outcome =
            Some(self.engine.execute_by(visitor.author(), visitor.key(user), command).await?.outcome);
        Ok(Reply { status: StatusCode::NO_CONTENT, outcome, ..Reply::empty() })
    }
}

/// The `at` of an explanation, if one is given.
fn explained_instant(query: Option<&str>) -> Result<Option<Timestamp>, GraphError> {
    let mut at = None;
    for (name, value) in Query::parse(query.unwrap_or_default())?.pairs() {
        if name != "at" {
            return Err(GraphError::invalid_argument(format!(
                "The query parameter '{name}' is not known here."
            )));
        }
        at = Some(instant(value)?);
    }
    Ok(at)
}

/// An instant of a query.
pub(crate) fn instant(value: &str) -> Result<Timestamp, GraphError> {
    // In a query a plus sign is a space, and few who write an offset remember it.
    value.replace(' ', "+").parse().map_err(|_| {
        GraphError::invalid_argument(format!(
            "'{value}' is not an instant such as 2026-03-02T08:00:00Z (RFC 3339)."
        ))
    })
}

/// Goes on if the method is one of these.
pub(crate) fn only<T>(
    method: &str,
    allowed: &[&'static str],
    go_on: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if allowed.contains(&method) || (method == "HEAD" && allowed.contains(&"GET")) {
        return go_on();
    }
    let allow = allowed.iter().map(|name| Method::parse(name)).filter(|method| *method != Method::Other);
    Err(GraphError::method_not_allowed(allow.collect()).into())
}
