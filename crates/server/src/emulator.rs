//! What makes an emulator of the server: a clock that can be moved, and tokens for the asking.
//!
//! The rules and handlers never ask whether they run in an emulator; they see a [`Clock`] and a token like
//! any other. The resources here exist only where a server was given an [`Emulator`], answer only on loopback, and only
//! to requests that mean this server: a page in a browser on the same machine must not move the clock.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::{Clock, VirtualClock};
use graph::GraphError;
use graph::odata::Query;
use graph::operations::is_delegated_permission;
use graph::time::{format_timestamp, parse_duration};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};
use jiff::SignedDuration;
use presence::{AppId, TenantId, Timestamp, UserId};
use serde::Serialize;

use crate::app::App;
use crate::http::connection::Peer;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::journal::Journal;
use crate::recorder::Recorder;

/// A clock that can be moved, and the seed's identities.
pub struct Emulator {
    /// The clock the engine lives by.
    pub clock: Arc<VirtualClock>,
    /// The seed's tenant.
    pub tenant: TenantId,
    /// The seed's application, whose tokens `token` hands out.
    pub app: AppId,
    /// The delegated permissions of the tokens it hands out for users.
    pub scopes: Vec<String>,
    /// Called with how the clock stands whenever it was moved, so that it can be kept over a restart.
    pub moved: Box<dyn Fn(engine::ClockState) + Send + Sync>,
    /// Keeps what was asked and answered; `None`: nobody wants it.
    pub recorder: Option<Recorder>,
    /// Requests that are told to come back later, whatever their number.
    pub refusals: Refusals,
    /// What clients asked lately, and what they were told.
    pub journal: Journal,
}

/// The next so many Graph requests are answered 429, so that a client's retries can be tested without making 1,500.
#[derive(Debug, Default)]
pub struct Refusals {
    left: AtomicU32,
    retry_after_secs: AtomicU32,
}

impl Refusals {
    /// Whether this request is one of them: the seconds it is told to wait.
    pub(crate) fn take(&self) -> Option<u32> {
        let one_less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok()?;
        Some(self.retry_after_secs.load(Ordering::Relaxed))
    }
}

/// How long a token handed out by the emulator is valid, in seconds: a working day, so that a script need not renew it.
pub const READY_TOKEN_LIFETIME_SECS: u32 = 24 * 60 * 60;

/// Longest time the clock may be moved at once: a hundred years. Further, calendars end.
const ADVANCE_MAX: SignedDuration = SignedDuration::from_hours(100 * 366 * 24);

/// Most requests that can be told to come back later at once.
const REFUSALS_MAX: u32 = 1_000;
/// Longest time they can be told to wait, in seconds: the longest one seen (presence-api §15) is 315.
const RETRY_AFTER_SECS_MAX: u32 = 3_600;

const HALF_A_SECOND: SignedDuration = SignedDuration::from_millis(500);

#[derive(Serialize)]
struct ClockReply {
    time: String,
    frozen: bool,
    #[serde(rename = "aheadSeconds")]
    ahead_seconds: i64,
}

/// Whether a request may reach the emulator's own resources.
///
/// # Errors
/// 404 as if there were no such resource, for anybody who is not on this machine or does not mean this server.
pub(crate) fn guard(peer: Peer, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let host = uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| headers.get(HOST)?.to_str().ok()).and_then(host_name);
    let is_ours = peer.address.ip().is_loopback()
        && host.is_some_and(is_loopback_name)
        && match headers.get(ORIGIN) {
            None => true,
            Some(origin) => origin.to_str().ok().and_then(origin_host).is_some_and(is_loopback_name),
        };
    if is_ours {
        Ok(())
    } else {
        Err(GraphError::new(403, graph::ErrorCode::Forbidden, FOR_LOOPBACK_ONLY).into())
    }
}

const FOR_LOOPBACK_ONLY: &str = "The emulator's own resources answer only on loopback, to requests whose Host and Origin are loopback names.";

fn host_name(authority: &str) -> Option<&str> {
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map(|(address, _)| address),
        None => authority.split(':').next(),
    }
}

fn origin_host(origin: &str) -> Option<&str> {
    host_name(origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?)
}

fn is_loopback_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl App {
    /// `GET clock`.
    pub(crate) fn clock_now(&self, emulator: &Emulator) -> Reply {
        let state = emulator.clock.state();
        let time = emulator.clock.now();
        let reply = ClockReply {
            time: format_timestamp(time),
            frozen: state.frozen_at.is_some(),
            // Rounded: the two clocks are asked one after the other.
            ahead_seconds: time.duration_since(self.wall_clock.now()).saturating_add(HALF_A_SECOND).as_secs(),
        };
        Reply::content("application/json", serde_json::to_vec(&reply).unwrap_or_default())
    }

    /// `POST clock/{action}`: moves the clock, and answers with the new time once everything due has happened.
    pub(crate) async fn move_clock(
        &self,
        emulator: &Emulator,
        action: &str,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        match action {
            "advance" => {
                let text = member(body, "duration")?;
                let duration =
                    parse_duration(&text).filter(|d| (SignedDuration::ZERO..=ADVANCE_MAX).contains(d));
                emulator.clock.advance(duration.ok_or_else(|| GraphError::out_of_range("Duration"))?);
            }
            "set" => {
                let text = member(body, "time")?;
                let now = emulator.clock.now();
                let time = text
                    .parse::<Timestamp>()
                    .ok()
                    .filter(|t| *t >= now && t.duration_since(now) <= ADVANCE_MAX);
                emulator.clock.set_forward(time.ok_or_else(|| GraphError::out_of_range("Time"))?);
            }
            "freeze" => emulator.clock.freeze(),
            "resume" => emulator.clock.resume(),
            other => return Err(GraphError::segment_not_found(other).into()),
        }
        (emulator.moved)(emulator.clock.state());
        while self.engine.tick().await?.more {}
        Ok(self.clock_now(emulator))
    }

    /// `POST throttle`: the next `requests` Graph requests are answered 429, to come back after `retryAfterSeconds`.
    /// `GET throttle`: how many of them are left.
    pub(crate) fn refuse_next(&self, emulator: &Emulator, body: Option<&[u8]>) -> Result<Reply, Refusal> {
        let refusals = &emulator.refusals;
        if let Some(body) = body {
            let requests = number(body, "requests", 0, REFUSALS_MAX)?;
            let seconds = number(body, "retryAfterSeconds", 1, RETRY_AFTER_SECS_MAX)?;
            refusals.retry_after_secs.store(seconds, Ordering::Relaxed);
            refusals.left.store(requests, Ordering::Relaxed);
        }
        let reply = format!(
            "{{\"requests\":{},\"retryAfterSeconds\":{}}}",
            refusals.left.load(Ordering::Relaxed),
            refusals.retry_after_secs.load(Ordering::Relaxed),
        );
        Ok(Reply::content("application/json", reply))
    }

    /// `GET token`: an application's token, or the delegated token of `user`; of the seed's application unless `app` names
    /// another one of the tenant. `scope` leaves a user's token fewer permissions than it would have.
    pub(crate) fn ready_token(&self, emulator: &Emulator, query: &Query<'_>) -> Result<Reply, Refusal> {
        let named = |name: &str| query.pairs().find(|(known, _)| *known == name).map(|(_, value)| value);
        let user = match named("user") {
            None => None,
            Some(name) => {
                let id = name.parse::<UserId>().ok();
                let id = id.or_else(|| self.directory().user_by_name(emulator.tenant, name));
                Some(id.ok_or_else(|| GraphError::resource_not_found(name))?)
            }
        };
        let app = named("app").map_or(Ok(emulator.app), str::parse);
        let app = app.map_err(|_| GraphError::invalid_argument("'app' is not a GUID."))?;
        let scopes: Option<Vec<&str>> = named("scope").map(|scopes| scopes.split_whitespace().collect());
        if let Some(scopes) = &scopes {
            let unknown = scopes.iter().find(|scope| !is_delegated_permission(scope));
            if let Some(unknown) = unknown {
                let why = format!("'{unknown}' is not a delegated permission.");
                return Err(GraphError::invalid_argument(why).into());
            }
            if user.is_none() {
                return Err(GraphError::invalid_argument("'scope' goes together with 'user'.").into());
            }
        }
        if self
            .directory()
            .tenant(emulator.tenant)
            .is_none_or(|tenant| !tenant.applications.contains_key(&app))
        {
            return Err(GraphError::resource_not_found(&app.to_string()).into());
        }
        let token = self.mint(emulator, app, user, scopes.as_deref());
        Ok(Reply::content("text/plain; charset=utf-8", token.ok_or_else(GraphError::user_not_found)?))
    }

    /// `GET requests`: what clients asked lately, from the number `from` on.
    pub(crate) fn requests(&self, emulator: &Emulator, query: &Query<'_>) -> Result<Reply, Refusal> {
        let from = query.pairs().find(|(name, _)| *name == "from").map_or(Ok(0), |(_, text)| text.parse());
        let from = from.map_err(|_| GraphError::invalid_argument("'from' is not a number."))?;
        Ok(Reply::content("application/json", emulator.journal.page(from)))
    }
}

fn member(body: &[u8], name: &str) -> Result<String, GraphError> {
    let text = graph::json::Body::json(body).members()?.text(name)?;
    text.map(std::borrow::Cow::into_owned).ok_or_else(|| GraphError::required(&pascal(name)))
}

fn number(body: &[u8], name: &str, min: u32, max: u32) -> Result<u32, GraphError> {
    let number = graph::json::Body::json(body).members()?.get::<u64>(name)?;
    let number = number.ok_or_else(|| GraphError::required(&pascal(name)))?;
    let number = u32::try_from(number).ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| GraphError::out_of_range(&pascal(name)))
}

fn pascal(name: &str) -> String {
    let mut pascal = name.to_owned();
    pascal[..1].make_ascii_uppercase();
    pascal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(address: &str, host: &str, origin: Option<&str>) -> bool {
        let peer = Peer {
            address: format!("{address}:4711").parse().unwrap(),
            local: "127.0.0.1:7080".parse().unwrap(),
            tls: false,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        guard(peer, &headers, &Uri::from_static("/_presenced/v1/clock")).is_ok()
    }

    #[test]
    fn only_this_machine_and_requests_that_mean_this_server_reach_the_clock() {
        assert!(allowed("127.0.0.1", "localhost:7080", None));
        assert!(allowed("[::1]", "[::1]:7080", Some("http://localhost:3000")));
        assert!(allowed("127.0.0.1", "127.0.0.1", Some("https://127.0.0.1:7443")));
        assert!(!allowed("192.168.0.7", "localhost:7080", None), "another machine");
        assert!(!allowed("127.0.0.1", "rebound.example:7080", None), "DNS rebinding");
        assert!(!allowed("127.0.0.1", "localhost", Some("https://evil.example")), "a page of somebody else");
        assert!(!allowed("127.0.0.1", "localhost", Some("null")), "a sandboxed page");
        assert!(!allowed("127.0.0.1", "localhost.evil.example", None));
    }
}
