//! What a store promises, asked of every backend; and what the embedded one survives.

mod compaction;
mod conformance;
mod corruption;
mod crash;
mod faults;
mod lock;
mod support;
mod versions;
