//! What a store promises, asked of every backend; and what the embedded one survives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod backup;
mod compaction;
mod conformance;
mod corruption;
mod crash;
#[allow(dead_code, reason = "shared with the tests of presenced, which use other parts of it")]
mod engines;
mod faults;
mod history;
mod lock;
mod redis;
mod support;
mod versions;
