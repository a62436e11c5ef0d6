//! Mistakes put into the engine and the database's twin on purpose, in tests only: the simulation has to find each.

use std::cell::Cell;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The request leaves before its intent is durable.
    IntentAfterRequest,
    /// What a lost process left is taken for never sent, and its leads are due again.
    RescueRequeues,
    /// One look at the provider's list proves that a call was not placed.
    AbsenceWithoutLag,
    /// Nothing is looked at when the request leaves: no window, no stop, no rate.
    NoLastLook,
    /// Whoever held an account's lease once goes on dialing: neither intents nor requests ask for it.
    LeaseFenceOff,
    /// An attempt begins although another one to the same phone is open.
    PersonMutexOff,
    /// A held attempt does not keep its person from being called.
    HeldLockOff,
    /// Suppressions and the person's limits are not read again once the person is locked.
    NoConfirm,
    /// An answer that tells nothing is taken for a call that was not placed.
    NoDoubt,
    /// An attempt that has ended ends again.
    UnguardedApply,
}

impl Mutation {
    /// Every mistake.
    pub const ALL: [Self; 10] = [
        Self::IntentAfterRequest,
        Self::RescueRequeues,
        Self::AbsenceWithoutLag,
        Self::NoLastLook,
        Self::LeaseFenceOff,
        Self::PersonMutexOff,
        Self::HeldLockOff,
        Self::NoConfirm,
        Self::NoDoubt,
        Self::UnguardedApply,
    ];

    /// Whether it is made on this thread.
    pub fn is_made(self) -> bool {
        MADE.get() == Some(self)
    }

    /// Lets it be made on this thread during `work`.
    pub fn make<T>(self, work: impl FnOnce() -> T) -> T {
        MADE.set(Some(self));
        let done = work();
        MADE.set(None);
        done
    }
}

thread_local! {
    static MADE: Cell<Option<Mutation>> = const { Cell::new(None) };
}
