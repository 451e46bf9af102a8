//! The key ring from outside: tokens, the development issuer and certificates, with a fixed instant and no network.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod authority;
mod bearer;
mod certificates;
mod discovery;
mod foreign;
mod keys;
mod memory;
mod sign_in;
mod token_endpoint;
mod verify;
mod world;
