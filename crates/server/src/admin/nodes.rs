//! The nodes that share a store, for whoever operates them: what `presenced nodes` prints.

use graph::GraphError;
use graph::time::format_timestamp;
use jiff::SignedDuration;
use presence::Timestamp;
use serde_json::{Value, json};
use store::Node;

use super::{Request, reply};
use crate::app::App;
use crate::http::error::Refusal;
use crate::http::reply::Reply;
use crate::own::only;

impl App {
    /// `GET nodes`: who shares the store, as the engine knows them now. Nodes serve every tenant: where the configuration
    /// names a host tenant, they are its administrators' business alone.
    pub(super) async fn nodes(&self, request: &Request<'_>) -> Result<Reply, Refusal> {
        if self.host_tenant.is_some_and(|host| host != request.visitor.tenant) {
            return Err(GraphError::insufficient_privileges().into());
        }
        only(request.method(), &["GET"], || Ok(()))?;
        let store = self.engine.store();
        let shared = store.shared().ok_or_else(|| GraphError::segment_not_found("nodes"))?;
        let nodes = shared.nodes().await?;
        let now = self.wall_clock.now();
        let value: Vec<Value> = nodes.iter().map(|node| show(node, node.id == shared.node(), now)).collect();
        let buckets = shared.leases().borrow().tokens.len();
        Ok(reply(&json!({ "value": value, "buckets": buckets, "losses": shared.losses() })))
    }
}

fn show(node: &Node, is_this: bool, now: Timestamp) -> Value {
    let before = |ago| now.checked_sub(SignedDuration::try_from(ago).ok()?).ok().map(format_timestamp);
    let read_up_to = node.reading.and_then(|reading| {
        let micros = i64::try_from(reading.up_to_micros).ok().filter(|micros| *micros > 0)?;
        Some(format_timestamp(Timestamp::from_microsecond(micros).ok()?))
    });
    json!({
        "id": node.id,
        "name": node.name,
        "isThis": is_this,
        "version": node.version,
        "buckets": node.buckets,
        "lives": node.lives,
        "lastHeardOf": before(node.silent_for),
        "startedAt": node.up_for.and_then(|up| before(up + node.silent_for)),
        "logReadUpTo": read_up_to,
        "logLagMilliseconds": node.reading.and_then(|reading| u64::try_from(reading.lag.as_millis()).ok()),
    })
}
