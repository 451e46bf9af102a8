//! `presenced nodes`: which processes share a store, as the engine knows them.

use anyhow::{Context, bail};
use store::redis::{Options, Redis};
use store::{Shared, Store};

use crate::args::NodesArgs;
use crate::client;
use crate::config::Config;

/// Prints the list.
///
/// # Errors
/// When the store is not one that nodes share, or does not answer.
pub(crate) fn run(args: &NodesArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let Some(url) = config.engine() else { bail!("`store` names no engine: this server is alone") };
    let (place, options) = config.redis.open(url, config.node(), config.changes.retention())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = Options { works: false, ..options };
        let store = Redis::open(&place, options).await.context("the store of the configuration")?;
        let nodes = store.nodes().await?;
        client::say(format_args!(
            "{:<28} {:<10} {:>7}  {:<18} {:>9} {:>8}  state",
            "node", "version", "buckets", "id", "up", "log lag"
        ));
        for node in &nodes {
            let state = match node.lives {
                true => "lives".to_owned(),
                false => format!("silent for {} s", node.silent_for.as_secs()),
            };
            let up = node.up_for.map_or_else(|| "-".to_owned(), |up| format!("{} s", up.as_secs()));
            let lag =
                node.reading.map_or_else(|| "-".to_owned(), |read| format!("{} ms", read.lag.as_millis()));
            client::say(format_args!(
                "{:<28} {:<10} {:>7}  {:<18} {up:>9} {lag:>8}  {state}",
                node.name, node.version, node.buckets, node.id
            ));
        }
        Ok(store.close().await?)
    })
}
