//! What a store can fail with, in its own words. What a caller is told is decided at the edge.

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the record first: read it again and decide again.
    #[error("the record was changed by somebody else")]
    Conflict,
    /// A document key or body, or a batch of them, is larger than the store keeps.
    #[error("the record is larger than the store keeps: {0}")]
    TooLarge(String),
    /// The store cannot answer now: closed, out of disk, or unreachable. Nothing has changed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What is kept cannot be read as it was written.
    #[error("the stored data is damaged: {0}")]
    Corrupt(String),
}
