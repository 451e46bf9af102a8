//! Every loop of the program. A loop waits and calls a step; it decides nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::notify::{Notifier, Sink};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
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
            match notifier.pump().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the log could not be read for delivery");
                    tokio::time::sleep(TICK_RETRY).await;
                    continue;
                }
            }
            while posts.try_join_next().is_some() {}
            let plan = notifier.plan();
            for post in plan.posts {
                let (notifier, sink) = (notifier.clone(), sink.clone());
                posts.spawn(async move { notifier.attempt(post, &*sink).await });
            }
            if !plan.more {
                notifier.until_due(plan.next_wake).await;
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
