//! Moving house: what one store keeps, carried into another, and compared in the end.
//!
//! Only differences are written, so a second run after a first one is short: the first while servers run, the second when
//! they have stopped. Positions of the log mean nothing in another store: clients that follow it begin again with a snapshot,
//! and subscriptions see what changes from then on.

use std::collections::BTreeMap;

use presence::{UserKey, UserPresence};
use store::{Commit, Document, DocumentKind, Store, StoreError, Stored};

use crate::notify::Subscription;

/// Users that are read and compared at a time.
const USERS_PER_STEP: usize = 500;
/// Documents that are written at a time.
const DOCUMENTS_PER_STEP: usize = 500;
/// Attempts to write one record that others write too.
const ATTEMPTS_MAX: usize = 16;

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Users in either store.
    pub users: usize,
    /// Of them, whose record differed.
    pub users_written: usize,
    /// Documents that the target should have.
    pub documents: usize,
    /// Documents of it that were put or deleted.
    pub documents_written: usize,
}

/// Why something was not carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// A subscription that cannot be read.
    #[error("a subscription that cannot be read")]
    Subscription,
    /// Somebody else writes to the target.
    #[error("a record of the target is written by somebody else all the time")]
    Contention,
    /// The stores differ in so many records or kinds of document.
    #[error(
        "{0} records or kinds of document differ: somebody writes meanwhile; run it again when nobody does"
    )]
    Different(usize),
    /// A store did not answer or did not accept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Carries everything that `from` keeps into `to`, where it differs. `users` are all that either keeps: whoever is in the
/// target alone was forgotten at the source.
///
/// # Errors
/// [`CarryError`]; what was carried before stays.
pub async fn carry(from: &dyn Store, to: &dyn Store, users: &[UserKey]) -> Result<Carried, CarryError> {
    let mut carried = Carried { users: users.len(), ..Carried::default() };
    for users in users.chunks(USERS_PER_STEP) {
        let (old, new) = (to.load(users).await?, from.load(users).await?);
        let different = users.iter().zip(old).zip(new).filter(|((_, old), new)| old.presence != new.presence);
        for ((user, old), new) in different {
            write(to, *user, old, &new.presence).await?;
            carried.users_written += 1;
        }
    }
    for kind in DocumentKind::ALL {
        let Some((wanted, mut there)) = documents(from, to, kind).await? else { continue };
        carried.documents += wanted.len();
        let mut changes = Vec::new();
        for (key, body) in wanted {
            if there.remove(&key).as_ref() != Some(&body) {
                changes.push(Document { kind, key, body: Some(body) });
            }
        }
        changes.extend(there.into_keys().map(|key| Document { kind, key, body: None }));
        carried.documents_written += changes.len();
        for changes in changes.chunks(DOCUMENTS_PER_STEP) {
            to.put_documents(changes.to_vec()).await?;
        }
    }
    Ok(carried)
}

/// Reads everything from both once more.
///
/// # Errors
/// [`CarryError::Different`], and [`CarryError::Store`] when a store does not answer.
pub async fn compare(from: &dyn Store, to: &dyn Store, users: &[UserKey]) -> Result<(), CarryError> {
    let mut different = 0;
    for users in users.chunks(USERS_PER_STEP) {
        let (theirs, ours) = (from.load(users).await?, to.load(users).await?);
        different += theirs.iter().zip(&ours).filter(|(a, b)| a.presence != b.presence).count();
    }
    for kind in DocumentKind::ALL {
        if let Some((wanted, there)) = documents(from, to, kind).await? {
            different += usize::from(wanted != there);
        }
    }
    if different > 0 { Err(CarryError::Different(different)) } else { Ok(()) }
}

type Bodies = BTreeMap<Vec<u8>, Vec<u8>>;

/// The documents of a kind as they should be in the target, and as they are there. `None`: the target has its own.
async fn documents(
    from: &dyn Store,
    to: &dyn Store,
    kind: DocumentKind,
) -> Result<Option<(Bodies, Bodies)>, CarryError> {
    let bodies = |documents: Vec<Document>| -> Bodies {
        documents.into_iter().filter_map(|document| Some((document.key, document.body?))).collect()
    };
    let there = to.documents(kind).await?;
    match kind {
        // How far delivery has come in another log.
        DocumentKind::DeliveryCursor => return Ok(None),
        // A key that clients have words sealed with already.
        DocumentKind::Secret if !there.is_empty() => return Ok(None),
        _ => {}
    }
    let mut wanted = from.documents(kind).await?;
    if kind == DocumentKind::Subscription {
        let end = to.log_now().await?;
        let known: Bodies = bodies(there.clone());
        for document in &mut wanted {
            let moved = Subscription::moved_to(document, end).ok_or(CarryError::Subscription)?;
            // One that was carried before stays as it was, if nothing else has changed of it.
            let before = known
                .get(&document.key)
                .map(|body| Document { body: Some(body.clone()), ..document.clone() });
            let same = before.filter(|before| Subscription::moved_to(before, end).as_ref() == Some(&moved));
            *document = same.unwrap_or(moved);
        }
    }
    Ok(Some((bodies(wanted), bodies(there))))
}

async fn write(
    to: &dyn Store,
    user: UserKey,
    mut old: Stored,
    presence: &UserPresence,
) -> Result<(), CarryError> {
    for _ in 0..ATTEMPTS_MAX {
        let wake_at = presence.next_change(presence.settled_at);
        let commit =
            Commit { user, expected: old.version, presence: presence.clone(), wake_at, changes: vec![] };
        match to.commit(commit).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict) => old = to.load(&[user]).await?.pop().unwrap_or_default(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(CarryError::Contention)
}
