//! Every loop of the program. A loop waits and calls a step; it decides nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use tokio::sync::watch;

use crate::app::App;
use crate::metrics::census::CENSUS_INTERVAL;

/// How long the ticker waits after a store that did not answer.
const TICK_RETRY: Duration = Duration::from_secs(1);

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
