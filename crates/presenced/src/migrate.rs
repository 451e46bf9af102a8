//! `presenced migrate`: what a server keeps, carried between its data folder and an engine, and compared in the end.
//!
//! Only differences are written, so a second run after a first one is short: the first while servers run, the second when
//! they have stopped. Positions of the log mean nothing in another store: clients that follow it begin again with a snapshot,
//! and subscriptions see what changes from then on.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, bail};
use engine::notify::Subscription;
use presence::{UserKey, UserPresence};
use store::redis::{Options, Redis, UserScan};
use store::{Commit, Document, DocumentKind, Embedded, Store, StoreError, Stored};

use crate::args::{Keeper, MigrateArgs};
use crate::client;
use crate::config::Config;
use crate::serve::open_embedded;

/// Users that are read and compared at a time.
const USERS_PER_STEP: usize = 500;
/// Documents that are written at a time.
const DOCUMENTS_PER_STEP: usize = 500;
/// Attempts to write one record that others write too.
const ATTEMPTS_MAX: usize = 16;

/// One of the two stores.
enum Place {
    Embedded(Box<Embedded>),
    Redis(Redis),
}

impl Place {
    fn store(&self) -> &dyn Store {
        match self {
            Self::Embedded(store) => store.as_ref(),
            Self::Redis(store) => store,
        }
    }

    /// Everybody who is kept there.
    async fn users(&self) -> Result<HashSet<UserKey>, StoreError> {
        let mut users = HashSet::new();
        match self {
            Self::Embedded(store) => users.extend(store.users().flatten()),
            Self::Redis(store) => {
                let mut scan = UserScan::default();
                while let Some(some) = store.users(&mut scan).await? {
                    users.extend(some);
                }
            }
        }
        Ok(users)
    }
}

/// What was done.
#[derive(Default)]
struct Counts {
    users: usize,
    written: usize,
    documents: usize,
    documents_written: usize,
}

/// Carries everything, and says what that was.
///
/// # Errors
/// When a store cannot be opened, read or written, or the two differ in the end.
pub(crate) fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    if args.from == args.to {
        bail!("--from and --to are the same");
    }
    let config = Config::read(&args.config)?;
    let Some(url) = config.engine() else { bail!("`store` of the configuration names no engine") };
    let (place, options) = config.redis.open(url, config.node(), config.changes.retention())?;
    let folder = args.folder.clone().unwrap_or_else(|| config.data_dir.join("store"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = Options { works: false, ..options };
        let redis = Place::Redis(Redis::open(&place, options).await.context("the store of the configuration")?);
        let embedded = Place::Embedded(Box::new(open_embedded(&folder, config.changes.retention()).with_context(|| folder.display().to_string())?));
        let (from, to) = match args.from {
            Keeper::Embedded => (&embedded, &redis),
            Keeper::Redis => (&redis, &embedded),
        };
        let counts = carry(from, to).await?;
        compare(from, to).await?;
        client::say(format_args!(
            "{} users, {} of them written; {} documents, {} of them written; every one was read from both and compared",
            counts.users, counts.written, counts.documents, counts.documents_written
        ));
        redis.store().close().await?;
        Ok(embedded.store().close().await?)
    })
}

async fn carry(from: &Place, to: &Place) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    // Whoever is in the target alone was forgotten at the source.
    let mut users: Vec<UserKey> = from.users().await?.union(&to.users().await?).copied().collect();
    users.sort_unstable();
    counts.users = users.len();
    for users in users.chunks(USERS_PER_STEP) {
        let (old, new) = (to.store().load(users).await?, from.store().load(users).await?);
        let different = users.iter().zip(old).zip(new).filter(|((_, old), new)| old.presence != new.presence);
        for ((user, old), new) in different {
            write(to.store(), *user, old, &new.presence).await?;
            counts.written += 1;
        }
    }
    for kind in DocumentKind::ALL {
        let Some((wanted, mut there)) = documents(from, to, kind).await? else { continue };
        counts.documents += wanted.len();
        let mut changes = Vec::new();
        for (key, body) in wanted {
            if there.remove(&key).as_ref() != Some(&body) {
                changes.push(Document { kind, key, body: Some(body) });
            }
        }
        changes.extend(there.into_keys().map(|key| Document { kind, key, body: None }));
        counts.documents_written += changes.len();
        for changes in changes.chunks(DOCUMENTS_PER_STEP) {
            to.store().put_documents(changes.to_vec()).await?;
        }
    }
    Ok(counts)
}

type Bodies = BTreeMap<Vec<u8>, Vec<u8>>;

/// The documents of a kind as they should be in the target, and as they are there. `None`: the target has its own.
async fn documents(from: &Place, to: &Place, kind: DocumentKind) -> anyhow::Result<Option<(Bodies, Bodies)>> {
    let bodies = |documents: Vec<Document>| -> Bodies {
        documents.into_iter().filter_map(|document| Some((document.key, document.body?))).collect()
    };
    let there = to.store().documents(kind).await?;
    match kind {
        // How far delivery has come in another log.
        DocumentKind::DeliveryCursor => return Ok(None),
        // A key that clients have words sealed with already.
        DocumentKind::Secret if !there.is_empty() => return Ok(None),
        _ => {}
    }
    let mut wanted = from.store().documents(kind).await?;
    if kind == DocumentKind::Subscription {
        let end = to.store().log_now().await?;
        let known: Bodies = bodies(there.clone());
        for document in &mut wanted {
            let moved =
                Subscription::moved_to(document, end).context("a subscription that cannot be read")?;
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
) -> anyhow::Result<()> {
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
    bail!("a record of the target is written by somebody else all the time")
}

/// Reads everything from both once more.
async fn compare(from: &Place, to: &Place) -> anyhow::Result<()> {
    let users: Vec<UserKey> = from.users().await?.union(&to.users().await?).copied().collect();
    let mut different = 0;
    for users in users.chunks(USERS_PER_STEP) {
        let (theirs, ours) = (from.store().load(users).await?, to.store().load(users).await?);
        different += theirs.iter().zip(&ours).filter(|(a, b)| a.presence != b.presence).count();
    }
    for kind in DocumentKind::ALL {
        if let Some((wanted, there)) = documents(from, to, kind).await? {
            different += usize::from(wanted != there);
        }
    }
    if different > 0 {
        bail!(
            "{different} records or kinds of document differ: somebody writes meanwhile; run it again when nobody does"
        );
    }
    Ok(())
}
