//! Every official SDK, unmodified, against the real binary.

mod clients;
mod compare;
mod example;
pub(crate) mod install;
mod matrix;
mod pages;
mod scenarios;
mod schemathesis;
