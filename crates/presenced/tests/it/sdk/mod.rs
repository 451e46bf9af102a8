//! Every official SDK, unmodified, against the real binary.

mod clients;
mod compare;
mod example;
pub(crate) mod install;
mod matrix;
pub(crate) mod pages;
pub(crate) mod receiver;
mod scenarios;
mod schemathesis;
