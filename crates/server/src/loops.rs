//! Every loop of the program. A loop waits and calls a step; it decides nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::notify::{Notifier, Sink};
use identity::KeySet;
use store::DocumentsSeen;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::app::App;
use crate::directory::{Directory, is_of_directory};
use crate::mqtt::Bridge;
use crate::trace::Tracer;
use crate::trace::export::{self, Collector, Queue};
use crate::trust::{LOOK_INTERVAL, Provider, fetch_keys};
use crate::webhook::Webhooks;

use crate::metrics::census::CENSUS_INTERVAL;

/// How long the ticker waits after a store that did not answer.
const TICK_RETRY: Duration = Duration::from_secs(1);
/// How often it is kept how far delivery has come: after a crash, what was delivered since is delivered again.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);

/// Starts a loop.
#[expect(clippy::disallowed_methods, reason = "the loops of the program are started here")]
pub fn start(work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(work)
}

/// Settles due users as they fall due, until `stop` turns true.
pub async fn ticker(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
    loop {
        let step = async {
            match engine.tick().await {
                Ok(tick) if tick.more => {}
                Ok(tick) => engine.until_due(tick.next_wake).await,
                Err(error) => {
                    tracing::warn!(%error, "due users could not be settled; reads are right all the same");
                    tokio::time::sleep(TICK_RETRY).await;
                }
            }
        };
        tokio::select! {
            () = step => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Delivers notifications, each POST as a task of its own, until `stop` turns true; notes how far that has come.
pub async fn deliverer(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let notifier = app.notifier.clone();
    let sink: Arc<dyn Sink> = Arc::new(Webhooks(app));
    // Ends with this loop: a POST under way when the server stops is made again by the next one.
    let mut posts = JoinSet::new();
    let deliver = async {
        loop {
            let read = notifier.pump().await;
            if matches!(read, Ok(true)) {
                continue;
            }
            if let Err(error) = &read {
                tracing::warn!(%error, "the log could not be read for delivery; what was read before is delivered");
            }
            while posts.try_join_next().is_some() {}
            let plan = notifier.plan();
            for post in plan.posts {
                let (notifier, sink) = (notifier.clone(), sink.clone());
                posts.spawn(async move { notifier.attempt(post, &*sink).await });
            }
            if plan.more {
                continue;
            }
            match read {
                Ok(_) => notifier.until_due(plan.next_wake).await,
                Err(_) => tokio::time::sleep(TICK_RETRY).await,
            }
        }
    };
    let save = async {
        loop {
            tokio::time::sleep(SAVE_INTERVAL).await;
            save_progress(&notifier).await;
        }
    };
    tokio::select! {
        () = deliver => {}
        () = save => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    posts.shutdown().await;
    save_progress(&notifier).await;
}

async fn save_progress(notifier: &Notifier) {
    if let Err(error) = notifier.save().await {
        tracing::warn!(%error, "how far delivery has come could not be kept; after a crash more is told twice");
    }
}

/// How often the history is looked at for what is older than is retained.
const HISTORY_TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// Forgets what is older than the history retains, until `stop` turns true.
pub async fn historian(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = engine.trim_history().await {
            tracing::warn!(%error, "what is too old for the history could not be forgotten");
        }
        tokio::select! {
            () = tokio::time::sleep(HISTORY_TRIM_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Fetches the keys of foreign issuers as they fall due or are asked for, until `stop` turns true.
pub async fn keys(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut issuers = JoinSet::new();
    let mut running: Vec<(Arc<Provider>, AbortHandle)> = Vec::new();
    let mut changed = app.foreign_keys.changed();
    loop {
        let providers = app.foreign_keys.providers();
        running.retain(|(of, task)| {
            let stays = providers.iter().any(|provider| Arc::ptr_eq(provider, of));
            if !stays {
                task.abort();
            }
            stays
        });
        for provider in providers.iter() {
            if !running.iter().any(|(of, _)| Arc::ptr_eq(provider, of)) {
                let task = issuers.spawn(keys_of(app.clone(), provider.clone()));
                running.push((provider.clone(), task));
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        while issuers.try_join_next().is_some() {}
    }
    issuers.shutdown().await;
}

async fn keys_of(app: Arc<App>, provider: Arc<Provider>) {
    let mut asked = provider.asked();
    loop {
        let now = app.wall_clock.now();
        if provider.keeper(|keeper| keeper.lets_go(now)) {
            tracing::error!(
                issuer = provider.issuer,
                "its keys are too old to be believed: its tokens are refused"
            );
            app.verifier.replace_keys(&provider.issuer, KeySet::default());
        }
        if provider.keeper(|keeper| keeper.begin(now)) {
            let outcome = match fetch_keys(provider.client(), &provider.issuer).await {
                Ok(fetched) => {
                    tracing::info!(
                        issuer = provider.issuer,
                        keys = fetched.keys.len(),
                        "the issuer's keys were fetched"
                    );
                    app.verifier.replace_keys(&provider.issuer, fetched.keys.clone());
                    app.keep_issuer_keys(&provider.issuer, &fetched).await;
                    Ok(())
                }
                Err(problem) => Err(problem),
            };
            if let Err(problem) = &outcome {
                tracing::warn!(issuer = provider.issuer, %problem, "no keys; those of before stay for some days");
            }
            provider.fetched(app.wall_clock.now(), outcome);
            continue;
        }
        let due = provider.keeper(|keeper| keeper.due(now)).unwrap_or(now);
        let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default().min(LOOK_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = asked.changed() => {}
        }
    }
}

/// Follows what other processes change of the directory, until `stop` turns true; does nothing in a store of one's own.
/// `declared` is the directory without what is kept, `seen` what was known when it was read.
pub async fn directory(
    app: Arc<App>,
    declared: Directory,
    mut seen: DocumentsSeen,
    mut stop: watch::Receiver<bool>,
) {
    let follow = async {
        let store = app.engine.store();
        let Some(shared) = store.shared() else { return std::future::pending().await };
        let mut changed = shared.documents_changed();
        loop {
            if *changed.borrow_and_update() != seen.mark() {
                match shared.document_changes(&mut seen).await {
                    Ok(changes) if !changes.is_complete || changes.documents.iter().any(is_of_directory) => {
                        app.follow_directory(&declared, changes).await;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "what other nodes have changed of the directory cannot be read");
                        tokio::time::sleep(TICK_RETRY).await;
                        continue;
                    }
                }
            }
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        () = follow => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Says whose turn it is, as the first shard's lease comes and goes, until `stop` turns true.
pub async fn turn(
    mut leases: watch::Receiver<Arc<store::Leases>>,
    give: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let follow = async {
        loop {
            let is_ours = leases.borrow_and_update().has(0);
            give.send_if_modified(|turn| std::mem::replace(turn, is_ours) != is_ours);
            if leases.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = follow => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Counts people over and over, until `stop` turns true.
pub async fn census(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        let round = async {
            if let Err(error) = app.take_census().await {
                tracing::warn!(%error, "people could not be counted; the numbers of before stay");
            }
            tokio::time::sleep(CENSUS_INTERVAL).await;
        };
        tokio::select! {
            () = round => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Runs `step` every `interval`, until `stop` turns true.
pub async fn every(interval: Duration, mut step: impl FnMut(), mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => step(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Brings spans to a collector, until `stop` turns true.
pub async fn exporter(collector: Collector, tracer: Arc<Tracer>, queue: Queue, stop: watch::Receiver<bool>) {
    export::run(collector, tracer, queue, stop).await;
}

/// Speaks to a tenant's MQTT broker, until `stop` turns true.
pub async fn broker(bridge: Arc<Bridge>, stop: watch::Receiver<bool>) {
    bridge.run(stop).await;
}
