//! Mistakes that somebody could make, to show that the simulator notices them.
//!
//! Each is a wrong answer given around the engine or the store by this crate's own wrappers (`keeper.rs`, `world/`,
//! `receivers.rs`): the product has no switch for any of them, does not depend on this crate, and cannot be built with
//! one.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A commit is taken whatever version it was made from.
    NoVersionCheck,
    /// A commit is answered before it is kept.
    AnsweredBeforeKept,
    /// Somebody who only looks is answered with what the same node has read before.
    StaleRead,
    /// What a failover can take back is shown to readers, so that a position is given twice.
    PositionTwice,
    /// A commit loses its wish to be woken.
    LostWakeUp,
    /// A fade is kept in the record and not in the log.
    FadeNotLogged,
    /// Settling sets the sequence number back.
    NumberGoesBack,
    /// Clearing leaves the session there.
    ClearLeavesSession,
    /// A session ends a second late.
    EndsLate,
    /// A notification counts as delivered when it is sent.
    MarkedBeforeSent,
    /// A notification has a new id when it is sent again.
    NewIdEachTime,
}

impl Bug {
    /// Every one of them.
    pub const ALL: [Self; 11] = [
        Self::NoVersionCheck,
        Self::AnsweredBeforeKept,
        Self::StaleRead,
        Self::PositionTwice,
        Self::LostWakeUp,
        Self::FadeNotLogged,
        Self::NumberGoesBack,
        Self::ClearLeavesSession,
        Self::EndsLate,
        Self::MarkedBeforeSent,
        Self::NewIdEachTime,
    ];
}

impl Bug {
    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}
