//! The simulator: that nothing breaks in it, that it notices when something does, and what it has found.

mod bugs;
mod found;
mod seeds;
