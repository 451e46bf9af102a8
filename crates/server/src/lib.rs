//! The door: HTTP, tokens and permissions, and the one place where errors become Graph errors.
//!
//! A request is taken apart here and handed to the crates behind: its path and body to `graph`, its token to `identity`,
//! its command to `engine`. Nothing here decides a presence. [`http::connection`] serves sockets, [`App`] answers
//! requests, [`loops`] keeps what must happen by itself.

mod admin;
mod api;
mod app;
mod dashboard;
pub mod directory;
pub mod emulator;
mod feed;
mod history;
pub mod http;
pub mod import;
mod issuing;
mod journal;
pub mod limits;
pub mod loops;
pub mod metrics;
pub mod mqtt;
mod own;
mod recorder;
mod scim;
mod throttle;
pub mod trace;
mod trust;
mod webhook;

pub use admin::{ADMIN_ROLE, PROVISIONING_ROLE, is_own_role};
pub use api::subscriptions::SubscriptionRules;
pub use app::{App, Parts, Remembered};
pub use dashboard::{DASHBOARD_PATH, Dashboard, SignIn};
pub use emulator::Emulator;
pub use feed::{POSITION_KEY_BYTES, position_key};
pub use history::HistoryReaders;
pub use issuing::EmbeddedIssuers;
pub use journal::Journal;
pub use recorder::Recorder;
pub use throttle::{THROTTLE_WINDOW, Throttle};
pub use trust::{FetchedKeys, ForeignKeys, are_told_apart, fetch_keys, problems_of};
