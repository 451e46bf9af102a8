//! HTTP itself: connections, bodies, answers, and the one door for errors. Nothing here knows presence.

pub(crate) mod body;
pub(crate) mod buffers;
pub mod connection;
pub(crate) mod cors;
pub(crate) mod encode;
pub(crate) mod error;
pub mod overload;
pub(crate) mod reply;
