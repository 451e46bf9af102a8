//! The engine's side of leases: a script for each step. What a node decides is in `crate::leases`.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::Inner;
use super::connection::{ASIDE, Lane, text_of};
use crate::StoreError;
use crate::leases::{FORGET, LEASE, LeaseEngine, Node, Reading};

#[async_trait]
impl LeaseEngine for Inner {
    async fn heartbeat(&self, node: &str, about: &str) -> Result<Vec<Node>, StoreError> {
        let mut call = self.connections.scripts.heartbeat.on(&[&self.nodes_key]);
        call.arg(node).arg(LEASE.as_millis() as u64).arg(FORGET.as_millis() as u64).arg(about);
        let called =
            self.connections.call_all_within(ASIDE, Lane::Log, vec![(self.nodes_slot, vec![call])], 0);
        let values = called.await.pop().transpose()?.unwrap_or_default();
        let Some(Value::Array(found)) = values.into_iter().next() else { return Ok(Vec::new()) };
        Ok(found.chunks_exact(3).filter_map(node_of).collect())
    }

    async fn lease(&self, node: &str, wanted: &[(u16, bool)]) -> Vec<Result<Option<u64>, StoreError>> {
        let calls = wanted.iter().map(|(shard, wanted)| {
            let place = &self.buckets[usize::from(*shard)];
            let mut call = self.connections.scripts.lease.on(&[&place.meta]);
            call.arg(node).arg(LEASE.as_millis() as u64).arg(u8::from(*wanted));
            (place.slot, vec![call])
        });
        let called = self.connections.call_all_within(ASIDE, Lane::Log, calls.collect(), self.replicas);
        let answers = called.await;
        answers.into_iter().map(|answer| answer.map(|values| token_of(&values, self.replicas))).collect()
    }

    fn reading(&self) -> Option<Reading> {
        Some(Reading { up_to_micros: self.log.up_to(), lag: self.log.lag() })
    }
}

impl Inner {
    /// Says that this node lives, and takes, keeps and gives back leases.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        self.membership.beat(self, || self.passed()).await
    }

    /// Gives everything back and goes.
    pub(super) async fn leave(&self) {
        self.membership.leave(self, self.passed()).await;
    }

    /// The nodes as the engine knows them now.
    pub(super) async fn list_nodes(&self) -> Result<Vec<Node>, StoreError> {
        let mut nodes = self.heartbeat("", " ").await?;
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(nodes)
    }
}

fn node_of(of: &[Value]) -> Option<Node> {
    let silent_for = Duration::from_millis(text_of(&of[1]).parse().ok()?);
    Node::read(text_of(&of[0]), silent_for, &text_of(&of[2]))
}

fn token_of(values: &[Value], replicas: usize) -> Option<u64> {
    let Some(Value::Array(answer)) = values.first() else { return None };
    let is_kept =
        replicas == 0 || matches!(values.last(), Some(Value::Int(kept)) if *kept >= replicas as i64);
    match &answer[..] {
        [Value::Int(1), token] if is_kept => text_of(token).parse().ok(),
        _ => None,
    }
}
