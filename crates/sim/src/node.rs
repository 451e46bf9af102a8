//! A process: the product's engine and its notifier, at one of them or where they share a store at each, over a link to the store and a clock of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engine::notify::{
    Backlog, Bounds, DeliverySettings, HealthSettings, Notifier, Quota, Renewal, RetrySettings,
    SubscribeError, Subscription,
};
use engine::{Applied, Clock, Engine, EngineError, Ids, Reading};
use jiff::SignedDuration;
use presence::Command;
use store::Store;

use crate::clock::NodeClock;
use crate::line;
use crate::shares::Shares;
use crate::wire::Link;

/// Subscriptions here are many of one application, each on behalf of somebody else.
const QUOTA: Quota = Quota { per_user_and_app: 1, per_app_and_tenant: 100 };
/// How long the ticker waits after a store that did not answer, as in production.
const TICK_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// A node that runs.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) engine: Arc<Engine>,
    pub(crate) notifier: Option<Arc<Notifier>>,
    pub(crate) clock: Arc<NodeClock>,
    /// What it has besides of a store that several nodes share.
    pub(crate) shares: Option<Arc<Shares>>,
}

/// A step's work.
pub(crate) type Work = Pin<Box<dyn Future<Output = Done>>>;

/// What a step came to.
pub(crate) enum Done {
    Started(Result<Up, EngineError>),
    Executed(Box<Result<Applied, EngineError>>),
    Read(Result<Reading, EngineError>),
    /// Of a step that answers nothing that could be checked.
    Other(Result<(), EngineError>),
    Stopped,
    Created(Result<Arc<Subscription>, SubscribeError>),
    Renewed(Result<(), SubscribeError>),
    Ended(Result<(), SubscribeError>),
}

/// So short that a few people fill them.
const SMALL: Bounds =
    Bounds { items_per_post: 2, planned_posts: 2, backlog: 3, target_backlog: 5, endpoints: 2, attempts: 8 };
const POSTS_MAX_SMALL: usize = 2;

/// No endpoint is judged, and unless something is said nothing given up, so that what is told in the end is exactly what there
/// was.
pub(crate) fn settings(
    every: bool,
    is_small: bool,
    give_up_after: Option<SignedDuration>,
) -> DeliverySettings {
    let give_up_after = give_up_after.and_then(|after| after.try_into().ok());
    let give_up_after = give_up_after.unwrap_or(Duration::from_secs(1 << 31));
    let mut settings = DeliverySettings {
        backlog: if every { Backlog::Every } else { Backlog::Newest },
        retry: RetrySettings { give_up_after, ..RetrySettings::default() },
        health: HealthSettings { answers_min: u32::MAX, ..HealthSettings::default() },
        ..DeliverySettings::default()
    };
    if is_small {
        (settings.bounds, settings.posts_max) = (SMALL, POSTS_MAX_SMALL);
    }
    settings
}

/// As `presenced` starts: over a store that others use too it takes its leases; then a clock that is not behind the store, an
/// engine, and where delivery was.
pub(crate) fn start(
    link: Link,
    ids: Arc<dyn Ids>,
    ahead: SignedDuration,
    delivers: Option<DeliverySettings>,
) -> Work {
    Box::pin(async move { Done::Started(begin(link, ids, ahead, delivers).await) })
}

async fn begin(
    link: Link,
    ids: Arc<dyn Ids>,
    ahead: SignedDuration,
    delivers: Option<DeliverySettings>,
) -> Result<Up, EngineError> {
    let (wire, shares) = (link.wire.clone(), link.shares.clone());
    if let Some(shares) = &shares {
        shares.look().await?;
        shares.beat().await?;
    }
    let store: Arc<dyn Store> = Arc::new(link);
    let floor = store.latest().await?;
    let clock = Arc::new(NodeClock::new(wire, ahead, floor));
    let engine = Arc::new(Engine::new(store.clone(), clock.clone()));
    let notifier = match delivers {
        Some(settings) => Some(Arc::new(Notifier::open(store, clock.clone(), ids, settings).await?)),
        None => None,
    };
    Ok(Up { engine, notifier, clock, shares })
}

/// A beat as the store's own task makes them.
pub(crate) fn beat(shares: &Arc<Shares>) -> Work {
    let shares = shares.clone();
    Box::pin(async move { Done::Other(shares.beat().await.map_err(EngineError::from)) })
}

pub(crate) fn look(shares: &Arc<Shares>) -> Work {
    let shares = shares.clone();
    Box::pin(async move { Done::Other(shares.look().await.map(drop).map_err(EngineError::from)) })
}

/// As `presenced` ends when it is asked to.
pub(crate) fn stop(up: &Up) -> Work {
    let (notifier, shares) = (up.notifier.clone(), up.shares.clone());
    Box::pin(async move {
        if let Some(notifier) = notifier {
            // After a failure more is told twice.
            let _ = notifier.save().await;
        }
        if let Some(shares) = shares {
            shares.leave().await;
        }
        Done::Stopped
    })
}

pub(crate) fn execute(up: &Up, person: usize, command: Command) -> Work {
    let engine = up.engine.clone();
    Box::pin(async move { Done::Executed(Box::new(engine.execute(line::key(person), command).await)) })
}

pub(crate) fn read(up: &Up, people: &[usize]) -> Work {
    let engine = up.engine.clone();
    let keys: Vec<_> = people.iter().map(|person| line::key(*person)).collect();
    Box::pin(async move { Done::Read(engine.read(&keys).await) })
}

pub(crate) fn forget(up: &Up, person: usize) -> Work {
    let engine = up.engine.clone();
    Box::pin(async move { Done::Other(engine.forget(line::key(person)).await) })
}

pub(crate) fn tick(up: &Up) -> Work {
    let engine = up.engine.clone();
    Box::pin(async move {
        loop {
            match engine.tick().await {
                Ok(tick) if tick.more => {}
                outcome => return Done::Other(outcome.map(drop)),
            }
        }
    })
}

/// The loop of `server/src/loops.rs`: it ends with its node.
pub(crate) fn ticker(up: &Up) -> Work {
    let (engine, clock) = (up.engine.clone(), up.clock.clone());
    Box::pin(async move {
        loop {
            match engine.tick().await {
                Ok(tick) if tick.more => {}
                Ok(tick) => engine.until_due(tick.next_wake).await,
                Err(_) => {
                    let later = clock.peek().saturating_add(TICK_RETRY).unwrap_or(presence::Timestamp::MAX);
                    clock.sleep_until(later).await;
                }
            }
        }
    })
}

pub(crate) fn pump(notifier: &Arc<Notifier>) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move {
        loop {
            match notifier.pump().await {
                Ok(true) => {}
                outcome => return Done::Other(outcome.map(drop)),
            }
        }
    })
}

pub(crate) fn save(notifier: &Arc<Notifier>) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move { Done::Other(notifier.save().await.map(drop)) })
}

pub(crate) fn create(notifier: &Arc<Notifier>, subscription: Subscription) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move { Done::Created(notifier.create(subscription, QUOTA).await) })
}

pub(crate) fn renew(notifier: &Arc<Notifier>, sub: usize, renewal: Renewal) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move { Done::Renewed(notifier.renew(crate::receivers::id(sub), renewal).await.map(drop)) })
}

pub(crate) fn end(notifier: &Arc<Notifier>, sub: usize) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move { Done::Ended(notifier.delete(crate::receivers::id(sub)).await) })
}

pub(crate) fn remove(notifier: &Arc<Notifier>, sub: usize) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move { Done::Ended(notifier.remove(crate::receivers::id(sub)).await) })
}

pub(crate) fn replay(notifier: &Arc<Notifier>, sub: usize) -> Work {
    let notifier = notifier.clone();
    Box::pin(async move {
        let replayed = notifier.replay(crate::receivers::id(sub), store::Position(0)).await;
        Done::Renewed(replayed.map(drop))
    })
}
