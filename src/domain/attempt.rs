//! The life of an attempt.
//!
//! ```text
//!               ┌──────────► placed ───────────┐
//!   dialing ────┤              ▲ │             ├──► closed, with exactly one outcome
//!               │              │ ▼             │
//!               └──► in doubt ─┴─► held ───────┘
//! ```
//! There is no way back to *due* from any of these: an attempt ends, and the lead becomes due with the next number.

use super::outcome::{Outcome, words};

words!(
    /// Where an open attempt stands.
    OpenState {
        /// The intent is durable; the request is about to leave, on its way, or its answer is not yet recorded.
        Dialing = "dialing",
        /// The provider took the call.
        Placed = "placed",
        /// We cannot know whether the phone rang.
        InDoubt = "in_doubt",
        /// Only evidence or a person can settle it. Keeps the person locked, occupies no line.
        Held = "held",
    }
);

impl OpenState {
    /// Whether the attempt counts against the limits of concurrency.
    pub const fn occupies_line(self) -> bool {
        match self {
            Self::Dialing | Self::Placed | Self::InDoubt => true,
            Self::Held => false,
        }
    }

    /// Whether evidence or time may move an attempt from here to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Dialing, Self::Placed | Self::InDoubt)
                | (Self::InDoubt, Self::Placed | Self::Held)
                | (Self::Placed, Self::Held)
                | (Self::Held, Self::Placed)
        )
    }

    /// Whether an attempt may end with `outcome` from here.
    ///
    /// `unknown` is only ever a person's verdict on a held attempt, and what the provider took cannot end as not placed
    /// unless a person says so.
    pub const fn may_end_as(self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Unknown => matches!(self, Self::Held),
            Outcome::NotPlaced | Outcome::Rejected => !matches!(self, Self::Placed),
            Outcome::Answered
            | Outcome::Voicemail
            | Outcome::NoAnswer
            | Outcome::Busy
            | Outcome::Failed
            | Outcome::Canceled => true,
        }
    }
}

words!(
    /// On what grounds a call was taken to be an attempt's.
    MatchBasis {
        /// The answer to our request carried the call's id.
        Reply = "reply",
        /// The report carried our token.
        Token = "token",
        /// The only unbound newer call to this number by this account.
        OnlyCandidate = "only_candidate",
        /// A person said so.
        Operator = "operator",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_returns_to_dialing() {
        for state in OpenState::ALL {
            assert!(!state.may_become(OpenState::Dialing), "{state}");
        }
    }

    #[test]
    fn a_placed_call_never_ends_as_not_placed() {
        assert!(!OpenState::Placed.may_end_as(Outcome::NotPlaced));
        assert!(OpenState::InDoubt.may_end_as(Outcome::NotPlaced));
        assert!(OpenState::Held.may_end_as(Outcome::Unknown));
        assert!(!OpenState::InDoubt.may_end_as(Outcome::Unknown));
    }
}
