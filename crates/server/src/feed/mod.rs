//! The sequenced log for those who watch it: as Server-Sent Events, over a WebSocket, or page by page.
//!
//! A [`Feed`] is pulled: it reads the next page of the log when its client has taken the one before. A slow client therefore
//! costs one page of memory and nobody else anything; one that falls behind what is retained is told so, and from where it
//! can go on. There is no second path to a change: what webhooks deliver is read from the same log.

mod changes;
mod events;
mod socket;
mod token;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine::EngineError;
use graph::feed as wire;
use graph::headers::MetadataLevel;
use graph::odata::{PresenceSelect, Query, ServiceRoot};
use graph::path::Root;
use graph::presence_reply::Shape;
use graph::{GraphError, Operation};
use http::Response;
use presence::{UserId, UserKey};
use store::{LogEntry, LogRead, Position, StoreError};
use tokio::sync::{OwnedSemaphorePermit, watch};

pub(crate) use token::PositionSeal;
pub use token::{POSITION_KEY_BYTES, position_key};

use crate::api::{Facts, Visitor};
use crate::app::App;
use crate::http::error::Refusal;
use crate::http::reply::{Reply, ResponseBody};
use crate::limits::{FEED_HEARTBEAT, FEED_IDS_MAX, FEED_PAGE_MAX, FEED_SNAPSHOT_MAX};

/// Whose changes a client wants, and from where.
#[derive(Debug)]
struct Wanted {
    /// `None`: everybody of the tenant.
    users: Option<HashSet<UserId>>,
    /// The position after which to begin; `None`: with a snapshot, now.
    from: Option<Position>,
}

/// What a feed has to say next.
#[derive(Debug)]
enum Event {
    /// How some users are shown now, and the position from which changes follow.
    Snapshot { position: String, body: Vec<u8> },
    /// One change of one user.
    Change { position: String, body: Vec<u8> },
    /// Nothing happened for a while; the connection is alive.
    Heartbeat,
    /// The log no longer has what comes next: begin again with a snapshot.
    Behind { oldest: String },
    /// The feed ends, for a reason the client can act on.
    End(wire::EndReason),
}

/// One client's way through the log.
struct Feed {
    app: Arc<App>,
    visitor: Visitor,
    /// Whose changes; `None`: everybody's of the tenant.
    users: Option<HashSet<UserKey>>,
    /// Everything up to here was told, or does not concern the client.
    after: Position,
    snapshot: Option<Snapshot>,
    page: VecDeque<LogEntry>,
    growth: watch::Receiver<Position>,
    stop: watch::Receiver<bool>,
    ended: bool,
    /// One of the places for feeds, given back when the client is gone.
    _place: OwnedSemaphorePermit,
}

/// A snapshot in the making: who is still to be told of.
struct Snapshot {
    rest: VecDeque<UserId>,
}

impl Feed {
    /// The next event; `None` after the last one.
    ///
    /// Cancelling it loses nothing: what was read of the log and not told yet is kept.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = match self.look().await {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "a feed ends because the store does not answer");
                Event::End(wire::EndReason::Unavailable)
            }
        };
        self.ended = matches!(event, Event::Behind { .. } | Event::End(_));
        Some(event)
    }

    async fn look(&mut self) -> Result<Event, EngineError> {
        if self.snapshot.is_some() {
            return self.look_around().await;
        }
        let mut heartbeat = std::pin::pin!(tokio::time::sleep(FEED_HEARTBEAT));
        loop {
            if *self.stop.borrow() {
                return Ok(Event::End(wire::EndReason::Stopping));
            }
            if !self.app.still_welcome(&self.visitor) {
                return Ok(Event::End(wire::EndReason::TokenExpired));
            }
            if let Some(entry) = self.page.pop_front() {
                self.after = entry.position;
                return Ok(self.change(&entry));
            }
            // Marked as seen before the log is read: growth in between wakes the wait below.
            self.growth.borrow_and_update();
            if let Some(oldest) = self.turn_page().await? {
                return Ok(Event::Behind { oldest: self.seal(oldest) });
            }
            if !self.page.is_empty() {
                continue;
            }
            let left = self.app.time_left(&self.visitor);
            tokio::select! {
                grown = self.growth.changed() => if grown.is_err() {
                    return Ok(Event::End(wire::EndReason::Stopping));
                },
                _ = self.stop.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep(left) => {}
                () = &mut heartbeat => return Ok(Event::Heartbeat),
            }
        }
    }

    /// Reads on until something concerns the client or the log ends. Says where the log begins when that is too late.
    async fn turn_page(&mut self) -> Result<Option<Position>, StoreError> {
        loop {
            let store = self.app.engine.store();
            let entries = match store.read_log(self.after, FEED_PAGE_MAX).await? {
                LogRead::Page { entries, .. } => entries,
                // The entry before the oldest is where to go on.
                LogRead::Behind { oldest, .. } => return Ok(Some(Position(oldest.0.saturating_sub(1)))),
            };
            let Some(last) = entries.last().map(|entry| entry.position) else { return Ok(None) };
            let (tenant, users) = (self.visitor.tenant, &self.users);
            let concerns = |entry: &LogEntry| {
                // Also a user of a tenant that is trusted, but then by name.
                match users {
                    Some(users) => users.contains(&entry.user),
                    None => entry.user.tenant == tenant,
                }
            };
            self.page.extend(entries.into_iter().filter(concerns));
            if !self.page.is_empty() {
                return Ok(None);
            }
            self.after = last;
        }
    }

    /// The next part of the snapshot.
    async fn look_around(&mut self) -> Result<Event, EngineError> {
        let snapshot = self.snapshot.as_mut().map(|snapshot| &mut snapshot.rest);
        let Some(rest) = snapshot else { return Ok(Event::Heartbeat) };
        let users: Vec<UserId> = rest.drain(..rest.len().min(FEED_SNAPSHOT_MAX)).collect();
        let more = !rest.is_empty();
        if !more {
            self.snapshot = None;
        }
        let select = PresenceSelect::ALL;
        let service = ServiceRoot::new("", Root::V1);
        let shape = Shape { service: &service, select: &select, level: MetadataLevel::None };
        let presences = self.app.presences(self.visitor, &users, shape, Vec::new()).await?;
        let position = self.seal(self.after);
        let body = wire::snapshot(&position, more, &presences);
        Ok(Event::Snapshot { position, body })
    }

    fn change(&self, entry: &LogEntry) -> Event {
        let position = self.seal(entry.position);
        let body = wire::change(&wire::Change {
            position: &position,
            user: entry.user.user,
            at: entry.change.at,
            pair: entry.change.pair,
            sequence_number: entry.change.sequence_number,
        });
        Event::Change { position, body }
    }

    fn seal(&self, position: Position) -> String {
        self.app.position_seal.seal(self.visitor.tenant, position)
    }
}

impl App {
    /// Who wants to watch whom, and may.
    async fn watcher(
        &self,
        head: &http::request::Parts,
        facts: &mut Facts,
    ) -> Result<(Visitor, Wanted), Refusal> {
        let visitor = self.authenticate(&head.headers).await?;
        facts.tenant = Some(visitor.tenant);
        facts.app = Some(visitor.app);
        self.throttle(visitor)?;
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        let wanted = self.wanted(visitor, &query, head)?;
        match &wanted.users {
            // The same permissions as for asking: one's own presence, or that of all.
            Some(users) => {
                for user in users {
                    self.authorize(Operation::GetPresence, &visitor.grant, Some(*user))?;
                }
            }
            None => self.authorize(Operation::GetPresencesByUserId, &visitor.grant, None)?,
        }
        Ok((visitor, wanted))
    }

    /// A feed for this client.
    fn feed_of(self: &Arc<Self>, visitor: Visitor, wanted: Wanted, end: Position) -> Result<Feed, Refusal> {
        let place = self.feeds.clone().try_acquire_owned();
        let place = place.map_err(|_| GraphError::unavailable(FEED_RETRY_SECS))?;
        let snapshot = wanted.from.is_none().then(|| Snapshot {
            rest: match &wanted.users {
                Some(users) => users.iter().copied().collect(),
                None => self.everybody(visitor),
            },
        });
        let users = wanted.users.map(|users| {
            let directory = self.directory();
            users.iter().filter_map(|user| Some(directory.visible(visitor.tenant, *user)?.user)).collect()
        });
        Ok(Feed {
            app: self.clone(),
            visitor,
            users,
            after: wanted.from.unwrap_or(end),
            snapshot,
            page: VecDeque::new(),
            growth: self.engine.store().log_end(),
            stop: self.stop.clone(),
            ended: false,
            _place: place,
        })
    }

    fn everybody(&self, visitor: Visitor) -> VecDeque<UserId> {
        let directory = self.directory();
        let tenant = directory.tenant(visitor.tenant);
        tenant.map(|tenant| tenant.users().map(|user| user.id).collect()).unwrap_or_default()
    }

    /// Whether the token behind a feed still counts, and its user may still sign in.
    fn still_welcome(&self, visitor: &Visitor) -> bool {
        let may_sign_in =
            visitor.user().is_none_or(|user| self.directory().may_sign_in(visitor.tenant, user));
        may_sign_in && self.wall_clock.now() < visitor.token_expires_at
    }

    /// How long the token behind a feed still counts.
    fn time_left(&self, visitor: &Visitor) -> Duration {
        let left = visitor.token_expires_at.duration_since(self.wall_clock.now());
        Duration::try_from(left).unwrap_or_default()
    }
}

impl App {
    /// `GET presences/stream` and `GET presences/changes`.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        resource: &str,
        head: &mut http::request::Parts,
        facts: &mut Facts,
    ) -> Result<FeedReply, Refusal> {
        let is_socket = resource == "stream" && socket::is_wanted(&head.headers);
        if is_socket {
            socket::find_token(&mut head.headers);
        }
        let (visitor, wanted) = self.watcher(head, facts).await?;
        // The end is taken before anything of the snapshot is read: what changes meanwhile is told after it.
        let end = self.engine.store().log_now().await.map_err(EngineError::from)?;
        if resource == "changes" {
            let query = Query::parse(head.uri.query().unwrap_or_default())?;
            let wait = changes::wait(&query)?;
            let from = wanted.from.unwrap_or(end);
            let feed = self.feed_of(visitor, Wanted { from: Some(from), ..wanted }, end)?;
            return Ok(FeedReply::Reply(changes::reply(feed, wait).await?));
        }
        let feed = self.feed_of(visitor, wanted, end)?;
        if !is_socket {
            return Ok(FeedReply::Reply(events::reply(feed)));
        }
        let upgrade = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let response = upgrade.and_then(|upgrade| socket::accept(&head.headers, upgrade, feed));
        response.map(FeedReply::Upgrade).ok_or_else(|| GraphError::bad_request(NO_HANDSHAKE).into())
    }
}

/// What a feed begins with: an answer, or another protocol.
pub(crate) enum FeedReply {
    Reply(Reply),
    Upgrade(Response<ResponseBody>),
}

const NO_HANDSHAKE: &str =
    "This is not the opening handshake of a WebSocket of version 13 over HTTP/1.1 (RFC 6455).";

/// How long a client for whose feed there is no place should wait, in seconds.
const FEED_RETRY_SECS: u32 = 5;

impl App {
    /// Reads `ids`, `from` and `Last-Event-ID`.
    fn wanted(
        &self,
        visitor: Visitor,
        query: &Query<'_>,
        head: &http::request::Parts,
    ) -> Result<Wanted, GraphError> {
        let position = |word: &str| {
            let position = self.position_seal.open(visitor.tenant, word);
            position.ok_or_else(|| {
                GraphError::invalid_argument(format!("'{word}' is not a position of the log."))
            })
        };
        let mut users = None;
        let mut from = None;
        for (name, value) in query.pairs() {
            match name {
                "ids" => {
                    let ids = users.get_or_insert_with(HashSet::new);
                    for id in value.split(',').map(str::trim).filter(|id| !id.is_empty()) {
                        ids.insert(id.parse().map_err(|_| {
                            GraphError::invalid_argument("The provided [Ids] has an element that is no GUID.")
                        })?);
                        if ids.len() > FEED_IDS_MAX {
                            return Err(GraphError::invalid_argument(format!(
                                "At most {FEED_IDS_MAX} ids may be watched at once."
                            )));
                        }
                    }
                }
                "from" => from = Some(position(value)?),
                // The long poll's own.
                "wait" => {}
                other => {
                    return Err(GraphError::invalid_argument(format!(
                        "The query parameter '{other}' is not known here."
                    )));
                }
            }
        }
        // What a browser's EventSource sends by itself when it connects again: later than what the URL says.
        if let Some(last) = head.headers.get("last-event-id") {
            from = Some(position(last.to_str().unwrap_or_default())?);
        }
        Ok(Wanted { users, from })
    }
}
