//! The server over real sockets, with tenants and tokens of every kind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod history;
mod isolation;
mod matrix;
mod mqtt;
/// The same check as in the tests of the program.
#[path = "../../../presenced/tests/it/schema.rs"]
mod schema;
mod scim;
mod world;
