//! A node's clock: true time and how far it is off, which can change at any moment. It keeps the promise of every
//! clock, never to go back, and is moved by the world alone.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use engine::Clock;
use jiff::SignedDuration;
use parking_lot::Mutex;
use presence::Timestamp;

use crate::wire::Wire;

#[derive(Debug)]
pub(crate) struct NodeClock {
    wire: Arc<Wire>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ahead: SignedDuration,
    last: Timestamp,
}

impl NodeClock {
    /// A clock that is so far ahead, and never before `floor`.
    pub(crate) fn new(wire: Arc<Wire>, ahead: SignedDuration, floor: Option<Timestamp>) -> Self {
        let last = floor.unwrap_or(Timestamp::MIN);
        Self { wire, state: Mutex::new(State { ahead, last }) }
    }

    pub(crate) fn set_ahead(&self, ahead: SignedDuration) {
        self.state.lock().ahead = ahead;
    }

    /// The time, without anybody having asked for it.
    pub(crate) fn peek(&self) -> Timestamp {
        let mut state = self.state.lock();
        let now = self.wire.now().saturating_add(state.ahead).unwrap_or(Timestamp::MAX);
        state.last = state.last.max(now);
        state.last
    }
}

#[async_trait]
impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let now = self.peek();
        self.wire.clock_was_read(now);
        now
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        // The world polls everybody whenever anything has happened, time included.
        poll_fn(|_| if self.peek() >= deadline { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
