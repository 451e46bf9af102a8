//! The steps between the rules and the keeper.
//!
//! A step does one bounded piece of work and returns: [`Engine::execute`] carries out one command,
//! [`Engine::read`] answers for some users, [`Engine::tick`] settles those that are due. Production calls the steps from
//! loops, a test calls the very same steps in an order of its own. Nothing here starts a task, knows HTTP, or asks a
//! machine what time it is: [`Clock`] and [`Ids`] are given.

mod clock;
mod error;
mod execute;
mod forget;
mod history;
mod ids;
pub mod migrate;
pub mod notify;
mod read;
mod tick;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use store::{History, Store};
use tokio::sync::{Mutex, Notify};

pub use clock::{Clock, ClockState, SystemClock, VirtualClock};
pub use error::EngineError;
pub use execute::{Applied, COMMIT_ATTEMPTS_MAX, COMMIT_OVERLAP};
pub use history::Past;
pub use ids::{Ids, RandomIds, SeededIds};
pub use read::Reading;
pub use tick::{TICK_BATCH_MAX, Tick};

/// How many writers of different users can be between load and commit without ever waiting for one another.
///
/// Two writers of the same user would race to the store and all but one lose; lining them up here saves the wasted
/// attempts. It is not what makes them safe: the version in each commit is, also between processes.
const STRIPES: usize = 16_384;

/// Runs the rules over a store at the instants of a clock.
pub struct Engine {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Where writes are accounted for, if anywhere.
    history: Option<Arc<dyn History>>,
    /// Whether they are still; otherwise the history is there to be forgotten.
    is_history_kept: bool,
    stripes: Box<[Mutex<()>]>,
    /// When the next tick is planned, in microseconds since the epoch; before that there is nobody to wake.
    planned: AtomicI64,
    /// Told when somebody wants a look before that.
    earlier: Notify,
}

impl Engine {
    /// An engine over this store, living at the time this clock tells.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Self {
            store,
            clock,
            history: None,
            is_history_kept: false,
            stripes,
            planned: AtomicI64::new(i64::MIN),
            earlier: Notify::new(),
        }
    }

    /// From now on every write is in this history before it is answered.
    #[must_use]
    pub fn keeping(mut self, history: Arc<dyn History>) -> Self {
        (self.history, self.is_history_kept) = (Some(history), true);
        self
    }

    /// Writes are not accounted for any more, but what was is still forgotten: with its user, and when its time has come.
    #[must_use]
    pub fn winding_up(mut self, history: Arc<dyn History>) -> Self {
        (self.history, self.is_history_kept) = (Some(history), false);
        self
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The clock it lives by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
