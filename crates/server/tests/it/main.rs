//! The server over real sockets, with tenants and tokens of every kind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
/// The same engines as in the store's own tests.
#[path = "../../../store/tests/it/engines.rs"]
#[allow(dead_code, reason = "shared with the store's own tests, which use other parts of it")]
mod engines;
mod history;
mod isolation;
mod matrix;
mod mqtt;
/// The same check as in the tests of the program.
#[path = "../../../presenced/tests/it/schema.rs"]
mod schema;
mod scim;
mod world;
