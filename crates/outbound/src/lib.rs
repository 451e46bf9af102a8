//! The one door for every request presenced makes to others: endpoints of subscriptions, identity providers, brokers.
//!
//! Where a request may go is a [`Policy`], a value that can be tested without a network. [`Client`] asks it twice: for the URL
//! before anything happens, and for each address a name resolves to. The addresses that were let through are the ones
//! connected to, so that a name that answers differently a moment later gains nothing. Redirects are answers, not orders;
//! proxies of the environment are not used; an answer has a size and a time.
//! Contract: change-notifications §5 and §7.
#![warn(missing_docs)]

mod client;
mod policy;
mod tcp;

pub use client::{
    Answer, CONNECT_TIMEOUT, Client, ClientError, IDLE_PER_HOST_MAX, Limits, Request, SendError,
};
pub use policy::{Forbidden, Policy, Target, TargetError};
pub use tcp::{TcpError, connect};
