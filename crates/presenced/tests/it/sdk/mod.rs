//! Every official SDK, unmodified, against the real binary.

mod clients;
mod compare;
pub(crate) mod install;
mod matrix;
mod scenarios;
