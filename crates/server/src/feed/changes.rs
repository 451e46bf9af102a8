//! `GET presences/changes`: a page of the log, or a wait for one. For clients that know nothing but requests.

use std::time::Duration;

use graph::GraphError;
use graph::feed as wire;
use graph::odata::Query;

use super::{Event, Feed};
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::limits::{FEED_PAGE_MAX, FEED_WAIT_MAX};

/// How long the request may wait for a first change: `wait`, in seconds.
pub(super) fn wait(query: &Query<'_>) -> Result<Duration, GraphError> {
    let Some((_, text)) = query.pairs().find(|(name, _)| *name == "wait") else { return Ok(Duration::ZERO) };
    let seconds = text.parse().ok().map(Duration::from_secs).filter(|wait| *wait <= FEED_WAIT_MAX);
    seconds.ok_or_else(|| {
        GraphError::invalid_argument(format!(
            "'wait' is a number of seconds up to {}.",
            FEED_WAIT_MAX.as_secs()
        ))
    })
}

/// What the log has, up to a page; when it has nothing yet, whatever comes within `wait`.
pub(super) async fn reply(mut feed: Feed, wait: Duration) -> Result<Reply, Refusal> {
    let mut changes = Vec::new();
    let deadline = tokio::time::Instant::now() + wait;
    while changes.len() < FEED_PAGE_MAX {
        // What is there already comes however long the store takes to say so.
        if feed.page.is_empty() && feed.turn_page().await?.is_some() {
            return Err(GraphError::resync_required().into());
        }
        // Once there is something, only what is there already is added to it.
        let waits = changes.is_empty() && feed.page.is_empty();
        let until = if waits { deadline } else { tokio::time::Instant::now() };
        match tokio::time::timeout_at(until, feed.next()).await {
            Ok(Some(Event::Change { body, .. })) => changes.push(body),
            Ok(Some(Event::Heartbeat)) => {}
            Ok(Some(Event::Behind { .. })) => return Err(GraphError::resync_required().into()),
            Ok(Some(Event::End(_) | Event::Snapshot { .. }) | None) | Err(_) => break,
        }
    }
    Ok(Reply::content(wire::JSON, wire::page(&feed.seal(feed.after), &changes)))
}
