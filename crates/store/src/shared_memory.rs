//! An engine that several nodes share, in memory: what `redis/` does by scripts, to reason and to simulate with.
//!
//! Records and the log are those of [`Memory`]. Besides it keeps leases, fences documents with them, and numbers the changes
//! of documents in each shard, of which it remembers the last ones. It is the engine and not a node: who calls is an
//! argument, and so is the time that the engine's clock shows.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use presence::{Timestamp, UserKey};
use tokio::sync::watch;

use crate::leases::{LEASE, LeaseTable, Node};
use crate::redis::{CLAIM, shard_of_document, shard_of_user};
use crate::{
    Commit, Document, DocumentChanges, DocumentKind, DocumentsSeen, LastChange, LogRead, Memory, Position,
    Retention, Store, StoreError, Stored, Version,
};

/// An engine in memory.
#[derive(Debug)]
pub struct SharedMemory {
    memory: Memory,
    leases: Mutex<LeaseTable>,
    changes: Mutex<Vec<Changes>>,
    /// Who has the sole right to what, and until when.
    claims: Mutex<BTreeMap<Vec<u8>, (u64, Duration)>>,
    /// How many changes of documents are remembered in each shard.
    remembered: usize,
}

/// Of one shard.
#[derive(Clone, Debug, Default)]
struct Changes {
    number: u64,
    /// The last ones, each with its number.
    log: VecDeque<(u64, DocumentKind, Vec<u8>)>,
}

impl SharedMemory {
    /// An engine of so many shards, that remembers so many changes of documents in each.
    pub fn new(shards: u16, remembered: usize, retention: Retention) -> Self {
        Self {
            memory: Memory::with_retention(retention),
            leases: Mutex::default(),
            changes: Mutex::new(vec![Changes::default(); usize::from(shards)]),
            claims: Mutex::default(),
            remembered,
        }
    }

    /// How many shards it has.
    pub fn shards(&self) -> u16 {
        self.changes.lock().len() as u16
    }

    /// As [`LeaseEngine::heartbeat`](crate::leases::LeaseEngine::heartbeat).
    pub fn heartbeat(&self, node: &str, about: &str, now: Duration) -> Vec<Node> {
        self.leases.lock().heartbeat(node, about, now)
    }

    /// As [`LeaseEngine::lease`](crate::leases::LeaseEngine::lease), of one shard.
    pub fn lease(&self, node: &str, shard: u16, is_wanted: bool, now: Duration) -> Option<u64> {
        self.leases.lock().lease(node, shard, is_wanted, LEASE, now)
    }

    /// Takes or gives back the sole right to something, as `redis/claim.lua`. Says whether it is `who`'s now.
    pub fn claim(&self, name: &[u8], who: u64, is_wanted: bool, now: Duration) -> bool {
        let mut claims = self.claims.lock();
        match claims.get(name) {
            Some((other, until)) if *other != who && (*until > now || !is_wanted) => return false,
            _ if is_wanted => drop(claims.insert(name.to_vec(), (who, now + CLAIM))),
            _ => drop(claims.remove(name)),
        }
        is_wanted
    }

    /// As [`Shared::put_documents_under`](crate::Shared::put_documents_under), for this node.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the lease is not this node's under this token, and those of
    /// [`Store::put_documents`].
    pub async fn put_documents_under(
        &self,
        node: &str,
        shard: u16,
        token: u64,
        documents: Vec<Document>,
    ) -> Result<(), StoreError> {
        if !self.leases.lock().is_held(node, shard, token) {
            return Err(StoreError::Conflict);
        }
        self.put_documents(documents).await
    }

    /// As [`Shared::documents_seen`](crate::Shared::documents_seen).
    pub fn documents_seen(&self) -> DocumentsSeen {
        let changes = self.changes.lock();
        let last = |changes: &Changes| LastChange { number: changes.number, nonce: 0 };
        DocumentsSeen { last: changes.iter().map(last).collect() }
    }

    /// As [`Shared::document_changes`](crate::Shared::document_changes).
    ///
    /// # Errors
    /// As [`Store::documents`].
    pub async fn document_changes(&self, seen: &mut DocumentsSeen) -> Result<DocumentChanges, StoreError> {
        let mut changed: Vec<(DocumentKind, Vec<u8>)> = Vec::new();
        let mut is_complete = true;
        {
            let changes = self.changes.lock();
            seen.last.resize(changes.len(), LastChange::default());
            let places = seen.last.iter_mut().map(|last| &mut last.number);
            for (place, changes) in places.zip(changes.iter()) {
                for (number, kind, key) in &changes.log {
                    if number <= place {
                        continue;
                    }
                    is_complete &= *number == *place + 1;
                    *place = *number;
                    if !changed.iter().any(|(other, known)| other == kind && known == key) {
                        changed.push((*kind, key.clone()));
                    }
                }
            }
        }
        let mut documents = Vec::new();
        for (kind, key) in changed {
            let found = self.documents(kind).await?.into_iter().find(|document| document.key == key);
            documents.push(found.unwrap_or(Document { kind, key, body: None }));
        }
        Ok(DocumentChanges { documents, is_complete })
    }

    /// As [`Store::due`], of these shards.
    ///
    /// # Errors
    /// As [`Store::due`].
    pub async fn due_in(
        &self,
        shards: &[u16],
        now: Timestamp,
        max: usize,
    ) -> Result<Vec<UserKey>, StoreError> {
        let (all, count) = (self.due(now, usize::MAX).await?, self.shards());
        Ok(all.into_iter().filter(|user| shards.contains(&shard_of_user(*user, count))).take(max).collect())
    }

    /// As [`Store::next_wake`], of these shards.
    ///
    /// # Errors
    /// As [`Store::next_wake`].
    pub fn next_wake_in(&self, shards: &[u16]) -> Result<Option<Timestamp>, StoreError> {
        let count = self.shards();
        self.memory.next_wake_of(|user| shards.contains(&shard_of_user(user, count)))
    }
}

#[async_trait]
impl Store for SharedMemory {
    async fn load(&self, users: &[UserKey]) -> Result<Vec<Stored>, StoreError> {
        self.memory.load(users).await
    }

    async fn commit(&self, commit: Commit) -> Result<Version, StoreError> {
        self.memory.commit(commit).await
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<UserKey>, StoreError> {
        self.memory.due(now, max).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.memory.next_wake().await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.memory.latest().await
    }

    async fn read_log(&self, after: Position, max: usize) -> Result<LogRead, StoreError> {
        self.memory.read_log(after, max).await
    }

    fn log_end(&self) -> watch::Receiver<Position> {
        self.memory.log_end()
    }

    async fn trim_log(&self, now: Timestamp) -> Result<(), StoreError> {
        self.memory.trim_log(now).await
    }

    async fn documents(&self, kind: DocumentKind) -> Result<Vec<Document>, StoreError> {
        self.memory.documents(kind).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        let count = self.shards();
        let changed: Vec<_> = documents
            .iter()
            .filter(|document| document.kind.is_followed())
            .map(|document| {
                (shard_of_document(document.kind, &document.key, count), document.kind, document.key.clone())
            })
            .collect();
        self.memory.put_documents(documents).await?;
        let mut all = self.changes.lock();
        for (shard, kind, key) in changed {
            let changes = &mut all[usize::from(shard)];
            changes.number += 1;
            changes.log.push_back((changes.number, kind, key));
            if changes.log.len() > self.remembered {
                changes.log.pop_front();
            }
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.memory.close().await
    }
}
