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
    /// The store cannot answer now: closed, out of disk, or unreachable. A change that was asked for is not seen by
    /// readers, but may still turn out to have been kept, if the answer was lost or the machine fails right after:
    /// read again, and the version tells.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What is kept cannot be read as it was written.
    #[error("the stored data is damaged: {0}")]
    Corrupt(String),
}
