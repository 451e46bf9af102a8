//! `presenced migrate`: what a server keeps, carried between its data folder and an engine, and compared in the end.
//!
//! How it is carried is `engine::migrate`'s; here are the two stores, opened as the configuration says.

use std::collections::HashSet;

use anyhow::{Context, bail};
use engine::migrate;
use presence::UserKey;
use store::redis::{Options, Redis, UserScan};
use store::{Embedded, Store, StoreError};

use crate::args::{Keeper, MigrateArgs};
use crate::client;
use crate::config::Config;
use crate::serve::open_embedded;

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
        let carried = migrate::carry(from.store(), to.store(), &everybody(from, to).await?).await?;
        migrate::compare(from.store(), to.store(), &everybody(from, to).await?).await?;
        client::say(format_args!(
            "{} users, {} of them written; {} documents, {} of them written; every one was read from both and compared",
            carried.users, carried.users_written, carried.documents, carried.documents_written
        ));
        redis.store().close().await?;
        Ok(embedded.store().close().await?)
    })
}

/// Everybody who is kept in either.
async fn everybody(from: &Place, to: &Place) -> Result<Vec<UserKey>, StoreError> {
    let mut users: Vec<UserKey> = from.users().await?.union(&to.users().await?).copied().collect();
    users.sort_unstable();
    Ok(users)
}
