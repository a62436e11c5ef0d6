//! Several daemons on one database: signs of life, and what is to be done when the database has forgotten something.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::id::{AccountName, AssistantId, AttemptId, OwnerId, ProviderCallId};
use crate::domain::phone::PhoneNumber;

/// A sign of life.
#[derive(Clone, Debug)]
pub struct Beat<'a> {
    /// Who is alive.
    pub owner: OwnerId,
    /// What people call it: host and process.
    pub name: &'a str,
    /// Its number; each beat has a higher one than the last.
    pub number: i64,
    /// The last number that was acknowledged; 0 before the first.
    pub acknowledged: i64,
    /// Civil. Signs of life of others that are dated before were written before the last acknowledged beat, or before this
    /// one if there is none: on whatever the database was by then.
    pub known_at: Timestamp,
    /// The last attempt of this replica whose intent was acknowledged, unless that is long ago. With it, everything that
    /// was acknowledged before it is still there: what a database loses is always the newest.
    pub witness: Option<AttemptId>,
    /// The accounts of this replica.
    pub accounts: &'a [AccountName],
    /// How long a replica counts as alive after a beat, of the database's time.
    pub ttl: Duration,
    /// Civil time.
    pub now: Timestamp,
    /// Civil; when the last call that began before this beat has ended, at the latest.
    pub calls_over_at: Timestamp,
}

/// What a beat brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The database's own clock while it wrote the beat.
    pub database_now: Timestamp,
    /// Replicas that are alive and have the same accounts, this one included: they share them.
    pub replicas: u32,
    /// How many of all that are alive come before this one, in an order that all agree on.
    pub rank: u32,
    /// Why the database does not know what it once acknowledged, if this beat has found that. Every account then has a
    /// [`Reconciliation`].
    pub went_back: Option<String>,
}

/// Leases to be taken and renewed.
#[derive(Clone, Debug)]
pub struct LeaseRequest<'a> {
    /// Who asks.
    pub owner: OwnerId,
    /// The accounts of this replica.
    pub accounts: &'a [AccountName],
    /// How many leases the owner is to hold at most; those it holds already are renewed all the same, and those that
    /// nobody has wanted for a whole `ttl` are taken beyond it.
    pub share: u32,
    /// How long the leases last, of the database's time.
    pub ttl: Duration,
}

impl<'a> LeaseRequest<'a> {
    /// For a replica that is alone.
    pub fn all(owner: OwnerId, accounts: &'a [AccountName], ttl: Duration) -> Self {
        Self { owner, accounts, share: u32::MAX, ttl }
    }
}

/// An account that does not dial because attempts of it may be missing. Nor does any other as long as a call that is missing
/// may ring: nobody knows whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciliation {
    /// Which account.
    pub account: AccountName,
    /// Civil; what happened before is known.
    pub since: Timestamp,
    /// Civil; what happened afterwards is known.
    pub noted_at: Timestamp,
    /// What was found.
    pub reason: String,
    /// Civil; what is missing has ended by then.
    pub calls_over_at: Timestamp,
    /// The provider's calls could not be compared: the account was stopped for a person to look.
    pub given_up: bool,
}

/// An attempt that the provider has a call of and the database does not know any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostAttempt {
    /// Which one, by our token; otherwise it is the next one of the lead that waits with this phone.
    pub attempt_id: Option<AttemptId>,
    /// Whom it rang.
    pub phone: PhoneNumber,
    /// Who spoke.
    pub assistant_id: AssistantId,
    /// Its call.
    pub call_id: Option<ProviderCallId>,
    /// When it was made, civil, if that is known.
    pub made_at: Option<Timestamp>,
    /// Until when it may occupy a line, civil.
    pub deadline_at: Timestamp,
}

/// What became of a lost attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is open again, as placed.
    Open(AttemptId),
    /// It is written as ended `unknown`, because its lead has moved on or is done with; late evidence tells more.
    Noted(AttemptId),
    /// It can be restored later: its person or its lead has another open attempt, or the lead is still to be enrolled.
    Waits(AttemptId),
    /// The database knows it.
    Known(AttemptId),
    /// It has no token of ours, and no lead of the account waits with its phone.
    Nobodys,
    /// It has no token of ours, and leads of several campaigns of the account wait with its phone.
    Ambiguous,
    /// Its lead is gone.
    Orphan(AttemptId),
    /// The lease has moved on.
    Fenced,
}
