//! What is read now and then for those who watch: never by what decides.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::attempt::OpenState;
use crate::domain::id::{AccountName, CampaignId, OwnerId};
use crate::domain::lead::Stratum;

/// One look at the tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Lanes of campaigns that are not finished.
    pub lanes: Vec<LaneDue>,
    /// Open attempts.
    pub open: Vec<OpenGroup>,
    /// How long an account's oldest event that is due for a look has waited for it, civil.
    pub inbox_lag: BTreeMap<AccountName, SignedDuration>,
    /// Who dials an account.
    pub holders: BTreeMap<AccountName, OwnerId>,
}

/// A lane and what is due in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneDue {
    /// Which.
    pub lane: Stratum,
    /// Leads that are due, counted up to a bound.
    pub due: u64,
    /// When the next one is due that is not yet.
    pub next_due_at: Option<Timestamp>,
}

/// Open attempts that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGroup {
    /// Who dials.
    pub account: AccountName,
    /// For which campaign.
    pub campaign_id: CampaignId,
    /// In which state.
    pub state: OpenState,
    /// How many.
    pub count: u64,
    /// When the intent of the oldest became durable.
    pub oldest_at: Timestamp,
}

impl Readings {
    /// Attempts of an account that occupy a line.
    pub fn lines(&self, account: &AccountName) -> u64 {
        let lines = self.open.iter().filter(|group| group.account == *account && group.state.occupies_line());
        lines.map(|group| group.count).sum()
    }

    /// Attempts of an account in a state, and when the oldest of them began.
    pub fn in_state(&self, account: &AccountName, state: OpenState) -> (u64, Option<Timestamp>) {
        let groups = self.open.iter().filter(|group| group.account == *account && group.state == state);
        groups.fold((0, None), |(count, oldest), group| {
            let oldest = oldest.map_or(group.oldest_at, |oldest: Timestamp| oldest.min(group.oldest_at));
            (count + group.count, Some(oldest))
        })
    }
}
