//! Who dials, and the small tables that steer dialing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, AttemptId, CampaignId, Epoch, OwnerId};
use crate::port::store::{
    CampaignRow, Control, FINISHED_MAX, Lease, LeaseRequest, OpenAttempt, OpenCount, StartsOf, Stop,
};

use super::world::{LeaseRecord, World};

pub(super) fn renew_leases(world: &mut World, request: &LeaseRequest<'_>, database_now: Duration) -> Vec<Lease> {
    let LeaseRequest { owner, accounts, share, ttl } = *request;
    // Those we hold come first; then what nobody has wanted for long, whatever our share; then the others.
    let rank = |account: &AccountName| match world.lease.get(account) {
        Some(held) if held.owner == owner => Some(0),
        Some(ended) if ended.expires_at + ttl < database_now => Some(1),
        Some(ended) if ended.expires_at <= database_now => Some(2),
        None => Some(2),
        Some(_) => None,
    };
    let accounts: BTreeSet<&AccountName> = accounts.iter().collect();
    let mut wanted: Vec<(u8, &AccountName)> =
        accounts.into_iter().filter_map(|account| Some((rank(account)?, account))).collect();
    wanted.sort();
    let mut renewed = Vec::new();
    for (position, (rank, account)) in wanted.into_iter().enumerate() {
        if rank == 2 && position >= share as usize {
            continue;
        }
        let epoch = match world.lease.get(account) {
            None => Epoch(1),
            Some(held) if held.owner == owner => held.epoch,
            Some(ended) => Epoch(ended.epoch.0 + 1),
        };
        world.lease.insert(account.clone(), LeaseRecord { owner, epoch, expires_at: database_now + ttl });
        renewed.push(Lease { account: account.clone(), owner, epoch });
    }
    renewed
}

/// The row stays, so that the epoch goes on growing.
pub(super) fn release_leases(world: &mut World, owner: OwnerId, accounts: &[AccountName], database_now: Duration) {
    for account in accounts {
        if let Some(lease) = world.lease.get_mut(account).filter(|lease| lease.owner == owner) {
            lease.expires_at = lease.expires_at.min(database_now);
        }
    }
}

pub(super) fn control(world: &World, database_now: Duration) -> Control {
    let is_finished = |id: &CampaignId| world.campaign.get(id).is_some_and(|it| it.state == CampaignState::Finished);
    let concerned = finished_and_concerned(world);
    let campaigns = world
        .campaign
        .iter()
        .filter(|(id, _)| !is_finished(id) || concerned.contains(id))
        .map(|(id, campaign)| CampaignRow {
            campaign_id: *id,
            name: campaign.name.clone(),
            state: campaign.state,
            version: campaign.version,
            definition: campaign.definition.clone(),
        })
        .collect();
    let mut groups: Vec<_> = world.calling_group.iter().map(|(key, id)| (*id, key.clone())).collect();
    groups.sort_unstable();
    let free = world.lease.iter().filter(|(_, lease)| lease.expires_at <= database_now);
    Control {
        reconciliations: world.reconciliation.values().cloned().collect(),
        free_leases: free.map(|(account, _)| account.clone()).collect(),
        campaigns,
        groups,
        strata: world.stratum.iter().filter(|lane| !is_finished(&lane.campaign_id)).copied().collect(),
        stops: world
            .stop
            .iter()
            .map(|(account, reason)| Stop { account: account.clone(), reason: reason.clone() })
            .collect(),
        account_states: world.account_state.values().cloned().collect(),
    }
}

/// Campaigns with an open attempt, and those that finished last: evidence about their calls may still come.
fn finished_and_concerned(world: &World) -> BTreeSet<CampaignId> {
    let mut finished: Vec<_> =
        world.campaign.iter().filter_map(|(id, campaign)| Some((campaign.finished_no?, *id))).collect();
    finished.sort_unstable();
    let open = world.open_attempt.values().map(|open| open.attempt_id.key().campaign_id);
    finished.iter().rev().take(FINISHED_MAX as usize).map(|(_, id)| *id).chain(open).collect()
}

pub(super) fn open_attempts(world: &World, account: &AccountName) -> Vec<OpenAttempt> {
    let mut open: Vec<_> = world.open_attempt.values().filter(|open| open.account == *account).cloned().collect();
    open.sort_by_key(|open| open.attempt_id);
    open
}

pub(super) fn open_among(world: &World, account: &AccountName, attempts: &[AttemptId]) -> Vec<OpenAttempt> {
    open_attempts(world, account).into_iter().filter(|open| attempts.contains(&open.attempt_id)).collect()
}

pub(super) fn open_counts(world: &World, account: &AccountName) -> Vec<OpenCount> {
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for open in world.open_attempt.values().filter(|open| open.account == *account) {
        let alike = (open.attempt_id.key().campaign_id, open.assistant_id.clone(), open.state.as_str());
        *counts.entry(alike).or_default() += 1;
    }
    let count = |((campaign_id, assistant_id, state), count): ((_, _, &str), _)| OpenCount {
        campaign_id,
        assistant_id,
        state: state.parse().expect("a state reads its own word"),
        count,
    };
    counts.into_iter().map(count).collect()
}

/// A request leaves within its permit's second; an hour leaves room for whoever records times by other clocks.
const INTENT_TO_SENT_MAX: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn starts_since(world: &World, whose: StartsOf<'_>, since: Timestamp, at_most: u32) -> u32 {
    let intended_since = since.saturating_sub(INTENT_TO_SENT_MAX).expect("a duration of hours saturates");
    let first = AttemptId::from_stored(uuid::Uuid::nil());
    let starts = world
        .attempts_by_intent
        .range((intended_since, first)..)
        .map(|(_, id)| (id, &world.attempt[id]))
        .filter(|(id, attempt)| match whose {
            StartsOf::Account(account) => attempt.account == *account,
            StartsOf::Campaign(campaign_id) => id.key().campaign_id == campaign_id,
        })
        .filter(|(_, attempt)| attempt.may_have_been_sent() && attempt.at() >= since)
        .take(at_most as usize)
        .count();
    u32::try_from(starts).expect("taken at most `at_most`")
}
