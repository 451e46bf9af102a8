//! A tenant's MQTT broker: presence out, presence sessions in.
//!
//! Out, the broker is one more follower of the log: each change is published to its user's topic, retained and acknowledged, and
//! how far the broker has acknowledged is kept in the store, so that a broker or a server that was away misses nothing. What a
//! broker has forgotten, or remembers of users who are gone, is found out when a connection begins, by asking it.
//! In, `mapping` reads messages and `held` keeps what devices ask for. `bridge` connects, again and again, and `talk` is one connection.
//!
//! A tenant has a broker or none; nothing of one tenant reaches the broker of another.

mod bridge;
mod held;
mod mapping;
mod settings;
mod talk;
mod window;

pub use bridge::{Bridge, BridgeError, BridgeStatus, Outcome, try_broker};
pub use held::SESSIONS_HELD_MAX;
pub use settings::{MAPPINGS_MAX, MqttSettings, SessionSettings, SettingsError};
pub use talk::MESSAGES_PER_SECOND_MAX;
