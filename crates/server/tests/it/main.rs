//! The server over real sockets, with tenants and tokens of every kind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod isolation;
mod matrix;
mod scim;
mod world;
