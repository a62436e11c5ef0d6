//! Signs of life, and what follows when the database has forgotten something; the twin of the statements in Postgres.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::id::{AccountName, AttemptId, AttemptKey, OwnerId};
use crate::domain::outcome::Outcome;
use crate::port::store::{Beat, DueKey, Lease, LostAttempt, OpenAttempt, Pulse, Reconciliation, Restored};

use super::world::{AttemptEnd, AttemptRecord, ReplicaRecord, World};

/// How far before the last known moment calls are compared.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// The year 2000: before there was anyone to be compared with.
const BEGINNING: Timestamp = Timestamp::constant(946_684_800, 0);

pub(super) fn beat(world: &mut World, beat: &Beat<'_>, database_now: Duration) -> Pulse {
    let known = world.replica.get(&beat.owner).map(|known| known.beat_no);
    let (noted, present) = world.line;
    let finding = if noted != present {
        Some("the database is another server, or has another history")
    } else if beat.acknowledged > 0 && known.is_none_or(|beat_no| beat_no < beat.acknowledged) {
        Some("the database has forgotten a sign of life that it had acknowledged")
    } else if beat.witness.is_some_and(|witness| !world.attempt.contains_key(&witness)) {
        Some("the database has forgotten an attempt that it had acknowledged")
    } else {
        None
    };
    if let Some(problem) = finding {
        let before_the_cut = |owner: &OwnerId, at: &Timestamp| {
            (noted != present && *at <= beat.now) || *owner == beat.owner || *at <= beat.known_at
        };
        let signs = world.replica.iter().map(|(owner, replica)| (owner, replica.civil_at));
        let since = signs.filter(|(owner, at)| before_the_cut(owner, at)).map(|(_, at)| at).max();
        let concerned: Vec<AccountName> = world.lease.keys().chain(beat.accounts).cloned().collect();
        for account in concerned {
            note(world, account, since.unwrap_or(BEGINNING) - MARGIN, beat, problem);
        }
        world.skip_keys();
    }
    world.line = (present, present);
    let mut accounts = beat.accounts.to_vec();
    accounts.sort();
    let others = world
        .replica
        .iter()
        .filter(|(owner, other)| **owner != beat.owner && other.beat_at.is_some_and(|at| at + beat.ttl > database_now));
    let (mut alike, mut rank) = (0, 0);
    for (owner, other) in others {
        alike += u32::from(other.accounts == accounts);
        rank += u32::from(*owner < beat.owner);
    }
    let record = ReplicaRecord { accounts, beat_no: beat.number, beat_at: Some(database_now), civil_at: beat.now };
    world.replica.insert(beat.owner, record);
    Pulse {
        database_now: Timestamp::UNIX_EPOCH + database_now,
        replicas: alike + 1,
        rank,
        went_back: finding.map(str::to_owned),
    }
}

pub(super) fn leave(world: &mut World, owner: OwnerId, database_now: Duration) {
    for lease in world.lease.values_mut().filter(|lease| lease.owner == owner) {
        lease.expires_at = lease.expires_at.min(database_now);
    }
    if let Some(replica) = world.replica.get_mut(&owner) {
        replica.beat_at = None;
    }
}

fn note(world: &mut World, account: AccountName, since: Timestamp, beat: &Beat<'_>, reason: &str) {
    let known = world.reconciliation.get(&account);
    let reconciliation = Reconciliation {
        account: account.clone(),
        since: known.map_or(since, |known| known.since.min(since)),
        noted_at: beat.now,
        reason: reason.to_owned(),
        calls_over_at: known.map_or(beat.calls_over_at, |known| known.calls_over_at.max(beat.calls_over_at)),
        given_up: false,
    };
    world.reconciliation.insert(account, reconciliation);
}

pub(super) fn restore(
    world: &mut World,
    lease: &Lease,
    lost: &LostAttempt,
    now: Timestamp,
    database_now: Duration,
) -> Restored {
    if let (None, Some(open)) = (lost.attempt_id, world.open_attempt.get(&lost.phone)) {
        return Restored::Waits(open.attempt_id);
    }
    let attempt_id = match (lost.attempt_id, &next_of_phone(world, lease, lost)[..]) {
        (Some(attempt_id), _) => attempt_id,
        (None, [attempt_id]) => *attempt_id,
        (None, []) => return Restored::Nobodys,
        (None, [_, _, ..]) => return Restored::Ambiguous,
    };
    if !super::dial::lease_holds(world, lease, database_now) {
        return Restored::Fenced;
    }
    if world.attempt.contains_key(&attempt_id) {
        return Restored::Known(attempt_id);
    }
    let AttemptKey { campaign_id, lead_id, attempt_no } = attempt_id.key();
    let place = (campaign_id, lead_id);
    let due = world.due_of(campaign_id, lead_id);
    if let Some(due) = due.as_ref().filter(|due| due.attempt_no <= attempt_no) {
        if world.open_attempt.contains_key(&lost.phone) {
            return Restored::Waits(attempt_id);
        }
        world.take_due(due);
        world.insert_open(open_attempt(lease, lost, attempt_id, due, now), EVIDENCE);
        super::dial::learn_sent_at(world, attempt_id, lost.made_at);
        bind(world, lost, attempt_id);
        return Restored::Open(attempt_id);
    }
    if due.is_none() && !world.disposition.contains_key(&place) {
        let has_lead = world.lead.contains_key(&lead_id);
        let has_open = world.open_attempt.values().any(|open| {
            let key = open.attempt_id.key();
            (key.campaign_id, key.lead_id) == place
        });
        return if has_lead || has_open { Restored::Waits(attempt_id) } else { Restored::Orphan(attempt_id) };
    }
    let tries = if let Some(disposed) = world.disposition.get_mut(&place) {
        disposed.attempt_no = disposed.attempt_no.max(attempt_no + 1);
        disposed.tries += 1;
        disposed.tries - 1
    } else if let Some(due) = due.filter(|due| due.tries + 1 < due.attempt_no) {
        world.take_due(&due);
        world.insert_due(&DueKey { tries: due.tries + 1, ..due.clone() });
        due.tries
    } else {
        0
    };
    let record = AttemptRecord {
        phone: lost.phone,
        tries: tries.min(attempt_no - 1),
        account: lease.account.clone(),
        assistant_id: lost.assistant_id.clone(),
        epoch: lease.epoch,
        intent_at: lost.made_at.unwrap_or(now),
        evidence: EVIDENCE.to_owned(),
        sent_at: lost.made_at,
        end: Some(AttemptEnd {
            ended_at: now,
            outcome: Outcome::Unknown,
            reason: "the database had lost it, and its lead has moved on".to_owned(),
        }),
        goal_met: None,
        refused: false,
    };
    world.insert_attempt(attempt_id, record);
    bind(world, lost, attempt_id);
    Restored::Noted(attempt_id)
}

/// What is written instead of the rules a restored attempt was judged by.
pub(super) const EVIDENCE: &str = "found in the provider's list";

fn bind(world: &mut World, lost: &LostAttempt, attempt_id: AttemptId) {
    let basis = if lost.attempt_id.is_some() { MatchBasis::Token } else { MatchBasis::OnlyCandidate };
    if let Some(call_id) = &lost.call_id {
        super::dial::learn_call(world, attempt_id, call_id, basis);
    }
}

/// The attempts that leads with this phone would have had next, in campaigns of the account.
fn next_of_phone(world: &World, lease: &Lease, lost: &LostAttempt) -> Vec<AttemptId> {
    let of_account = |campaign: &super::CampaignRecord| {
        campaign.definition.get("account").and_then(|account| account.as_str()) == Some(lease.account.as_str())
    };
    let waiting = world
        .enrolment
        .iter()
        .filter(|((_, phone), _)| *phone == lost.phone)
        .filter_map(|((campaign_id, _), lead_id)| world.due_of(*campaign_id, *lead_id))
        .filter(|due| due.phone == lost.phone && world.campaign.get(&due.stratum.campaign_id).is_some_and(of_account));
    let key = |due: DueKey| AttemptKey {
        campaign_id: due.stratum.campaign_id,
        lead_id: due.lead_id,
        attempt_no: due.attempt_no,
    };
    waiting.map(|due| AttemptId::derive(world.installation, key(due))).collect()
}

fn open_attempt(lease: &Lease, lost: &LostAttempt, attempt_id: AttemptId, due: &DueKey, now: Timestamp) -> OpenAttempt {
    OpenAttempt {
        attempt_id,
        phone: lost.phone,
        account: lease.account.clone(),
        assistant_id: lost.assistant_id.clone(),
        tries: due.tries,
        owner: lease.owner,
        epoch: lease.epoch,
        state: OpenState::Placed,
        intent_at: lost.made_at.unwrap_or(now),
        sent_at: lost.made_at,
        deadline_at: lost.deadline_at,
        poll_at: now,
        call_id: lost.call_id.clone(),
        accepted: true,
        absence_from: None,
        absent_since: None,
        newest_call_known: None,
        reason: None,
        calling_group_id: due.stratum.calling_group_id,
        priority: due.stratum.priority,
    }
}

pub(super) fn end_reconciliation(world: &mut World, ended: &Reconciliation, stop: Option<&str>) -> bool {
    let account = &ended.account;
    let known = world.reconciliation.get_mut(account);
    let Some(known) = known.filter(|known| known.noted_at == ended.noted_at && !known.given_up) else {
        return false;
    };
    known.given_up = stop.is_some();
    if let Some(reason) = stop {
        // Whoever takes back a stop of their own is to read this one, too.
        let both = |present: &String| format!("{present}; {reason}");
        let reason = world.stop.get(&Some(account.clone())).map_or_else(|| reason.to_owned(), both);
        world.stop.insert(Some(account.clone()), reason);
    } else {
        world.reconciliation.remove(account);
    }
    true
}
