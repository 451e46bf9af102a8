//! Conversations with an MQTT broker, as a client of MQTT 3.1.1: packets, the connection they go over, its TLS.
//!
//! What is said there, to whom it matters and when to connect again is the server's. The connection is made by
//! `outbound`, which knows where the operator lets the server go. A packet that is larger than anything wanted here is read past
//! and answered, so that a broker does not bring it again for ever.
//! Source: OASIS, MQTT Version 3.1.1; only what a client that publishes and subscribes with acknowledgement (QoS 1) needs.
#![warn(missing_docs)]

mod connection;
mod packet;
mod tls;

pub use connection::{Broker, CONNECT_TIMEOUT, ConnectError, Reader, Secret, Will, Writer, connect};
pub use packet::{Message, PACKET_BYTES_MAX, Packet, ProtocolError, TOPIC_BYTES_MAX, outgoing};
pub use tls::{TlsError, TlsFiles, client_config};
