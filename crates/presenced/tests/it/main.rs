//! The real binary, as its users meet it: over sockets, from a shell, from the official SDK, and killed without warning.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod cli;
mod connections;
mod crash;
mod cross_origin;
mod dashboard;
mod demo_sign_in;
mod deploy;
mod disk_faults;
mod doctor;
#[path = "../../../store/tests/it/engines.rs"]
#[allow(dead_code, reason = "shared with the store's own tests, which use other parts of it")]
mod engines;
mod exec;
mod fleet;
mod foreign_issuers;
mod generated;
mod graph_api;
mod hosts_file;
mod metrics;
mod migrate;
mod mqtt;
mod notification_faults;
mod notifications;
mod overload;
mod python_sdk;
mod schema;
mod sdk;
mod serve;
mod sign_in;
mod site;
mod streams;
mod support;
mod three_nodes;
mod tracing;
