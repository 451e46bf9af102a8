//! The key ring from outside: tokens, the development issuer and certificates, with a fixed instant and no network.

mod authority;
mod certificates;
mod discovery;
mod error_words;
mod keys;
mod memory;
mod token_endpoint;
mod verify;
mod world;
