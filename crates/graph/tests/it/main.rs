//! The wire as a whole: documented requests in, documented bytes out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;
mod subscriptions;
mod world;
