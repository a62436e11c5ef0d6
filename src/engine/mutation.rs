//! Mistakes put into the engine on purpose, in tests only: the simulation has to find each of them.

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
}

impl Mutation {
    /// Every mistake.
    pub const ALL: [Self; 4] =
        [Self::IntentAfterRequest, Self::RescueRequeues, Self::AbsenceWithoutLag, Self::NoLastLook];

    /// Whether this thread's engine makes it.
    pub fn is_made(self) -> bool {
        MADE.get() == Some(self)
    }

    /// Lets this thread's engine make it during `work`.
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
