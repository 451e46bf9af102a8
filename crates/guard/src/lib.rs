//! Nothing but the place of `benches/instructions.rs`: a package of its own, so that what the benchmark wants is built into
//! nothing else and links in a minute.
