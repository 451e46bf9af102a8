//! Mistakes that somebody could make, to show that the simulator notices them.
//!
//! Each is a wrong answer given around the engine or the store by this crate's own wrappers (`keeper.rs`, `shares.rs`,
//! `world/`, `receivers.rs`): the product has no switch for any of them, does not depend on this crate, and cannot be built with
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
    /// What is written under a lease is kept whoever has it.
    DroppedFence,
    /// Whoever has a lease may write also under the token of an earlier one of its own.
    FenceIgnoresToken,
    /// A lease is given to who asks although somebody else's has not ended.
    LeaseGivenTwice,
    /// A node that is about to stop gives its leases back before it lets go of them.
    LeaseGivenBackFirst,
    /// A node that hears nothing thinks that its leases go on.
    LeaseBelievedTooLong,
    /// Where a shard's cursor is kept, those of subscriptions that are behind it are not.
    CursorPassesUntold,
    /// Whoever takes a shard over goes on at the end of the log.
    TakenUpAtTheEnd,
    /// A node does not hear of subscriptions that others have changed.
    SubscriptionUnheard,
    /// A subscription goes on after its end.
    EndUnheeded,
    /// It is told of changes although nobody has authorized it again.
    PauseUnheeded,
    /// A renewal is answered and not kept.
    RenewalNotKept,
    /// A node that ends what time has ended does not look whether another has renewed it.
    RenewedElsewhereEnds,
    /// Nobody is reminded of the end of a subscription.
    ReminderLost,
    /// Lifecycle events are not kept.
    EventNotKept,
    /// What was not delivered is not called missed.
    MissedUntold,
    /// Who moves to another store forgets when somebody is to be looked at.
    MovedWithoutWakes,
    /// Queues are longer than they may be.
    BoundsUnheeded,
}

impl Bug {
    /// Every one of them.
    pub const ALL: [Self; 28] = [
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
        Self::DroppedFence,
        Self::FenceIgnoresToken,
        Self::LeaseGivenTwice,
        Self::LeaseGivenBackFirst,
        Self::LeaseBelievedTooLong,
        Self::CursorPassesUntold,
        Self::TakenUpAtTheEnd,
        Self::SubscriptionUnheard,
        Self::EndUnheeded,
        Self::PauseUnheeded,
        Self::RenewalNotKept,
        Self::RenewedElsewhereEnds,
        Self::ReminderLost,
        Self::EventNotKept,
        Self::MissedUntold,
        Self::MovedWithoutWakes,
        Self::BoundsUnheeded,
    ];
}

impl Bug {
    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }
}
