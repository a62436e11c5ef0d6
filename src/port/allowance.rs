//! How much may be asked of a provider: what its client asks before each read, and tells after each answer.
//!
//! A request to place a call is charged by its own last look ([`super::permit`]); everything else a client sends, on
//! whatever occasion, passes here, so that no request escapes the account's budget.

use std::time::Duration;

use jiff::Timestamp;

/// The account's budget, as its client sees it.
pub trait RequestGuard: Send + Sync + 'static {
    /// Takes one request out of the budget. `false`: it must not be sent now.
    fn take(&self, urgency: Urgency) -> bool;

    /// What an answer said about how much may be asked.
    fn told(&self, quota: Quota);
}

/// How much a request matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A read: it leaves room for starts, and waits while the account is to be quiet.
    Read,
    /// A look at the account itself, on which it depends whether anything is started at all.
    Verdict,
}

/// What an answer said about how much may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests the provider allows, as far as it is documented in a minute.
    pub limit: Option<u32>,
    /// That no request is welcome for a while.
    pub pause: Option<Pause>,
}

/// Until when no request is welcome. Civil time, as the rates it is about; nothing where the provider does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// For how long, by the provider's own clock.
    pub span: Option<Duration>,
    /// Until this moment, for whoever cannot tell the provider's clock.
    pub until: Option<Timestamp>,
}
