//! What a store promises, asked of every backend; and what the embedded one survives.

mod conformance;
mod support;
