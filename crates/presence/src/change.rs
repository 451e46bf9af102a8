//! One visible change of one user's presence, as a value: what a log keeps and a watcher is told.

use jiff::Timestamp;

use crate::{Pair, SequenceNumber};

/// A change that an observer who never looks away would have noticed: of availability or activity, or of anything else
/// that a presence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// When it happened. For a fade or an expiry that is the instant of the fade, not when somebody noticed.
    pub at: Timestamp,
    /// Availability and activity after it.
    pub pair: Pair,
    /// The sequence number after it: one more than before.
    pub sequence_number: SequenceNumber,
    /// Whether availability or activity differ from before. A change notification is sent only then; a change of the
    /// status message, the work location or the out-of-office settings alone sends none.
    /// Source: change-notifications §6, "what triggers".
    pub is_pair_changed: bool,
}
