//! A due lead becomes an open attempt, and what is learnt of it while it is open.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AttemptId, AttemptKey, ProviderCallId};
#[cfg(test)]
use crate::port::mutation::Mutation;
use crate::port::permit::CommittedIntent;
use crate::port::store::{
    DialIntent, DueKey, Lease, OpenAttempt, OpenChange, PersonFacts, Reconciliation, ReplyFact, ReplyRecord,
};

use super::due::person;
use super::world::World;

/// How far a due row whose attempt exists already is put off.
const COLLISION_PUT_OFF: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn begin(
    world: &mut World,
    lease: &Lease,
    intents: &[DialIntent],
    witness: Option<AttemptId>,
    now: Timestamp,
    database_now: Duration,
) -> Vec<CommittedIntent> {
    let fenced = !lease_holds(world, lease, database_now);
    #[cfg(test)]
    let fenced = fenced && !Mutation::LeaseFenceOff.is_made();
    if fenced || stopped(world, lease) || forgetful(world, lease, witness, now) {
        return Vec::new();
    }
    intents.iter().filter_map(|intent| begin_one(world, lease, intent, now)).collect()
}

pub(super) fn lease_holds(world: &World, lease: &Lease, database_now: Duration) -> bool {
    world
        .lease
        .get(&lease.account)
        .is_some_and(|held| held.owner == lease.owner && held.epoch == lease.epoch && held.expires_at > database_now)
}

fn stopped(world: &World, lease: &Lease) -> bool {
    world.stop.contains_key(&None) || world.stop.contains_key(&Some(lease.account.clone()))
}

/// Whether intents of the account may be missing, or calls of any that may still ring.
fn forgetful(world: &World, lease: &Lease, witness: Option<AttemptId>, now: Timestamp) -> bool {
    let (noted, present) = world.line;
    let in_the_way = |it: &Reconciliation| (it.account == lease.account && !it.given_up) || it.calls_over_at > now;
    world.reconciliation.values().any(in_the_way)
        || noted != present
        || witness.is_some_and(|witness| !world.attempt.contains_key(&witness))
}

fn begin_one(world: &mut World, lease: &Lease, intent: &DialIntent, now: Timestamp) -> Option<CommittedIntent> {
    let due = &intent.due;
    let campaign_id = due.stratum.campaign_id;
    let key = AttemptKey { campaign_id, lead_id: due.lead_id, attempt_no: due.attempt_no };
    assert_eq!(
        intent.attempt_id,
        AttemptId::derive(world.installation, key),
        "an attempt's id is derived from its key"
    );

    let unchanged = world.due_of(campaign_id, due.lead_id).as_ref() == Some(due)
        && world.campaign.get(&campaign_id).is_some_and(|campaign| {
            campaign.state == CampaignState::Active && campaign.version == intent.campaign_version
        })
        && world.lead.get(&due.lead_id).is_some_and(|lead| lead.version == intent.lead_version)
        && !world.lead_change.values().any(|changed| *changed == due.lead_id);
    if !unchanged {
        return None;
    }
    if world.attempt.contains_key(&intent.attempt_id) {
        put_off(world, due, now);
        return None;
    }
    #[cfg(test)]
    if let Some(id) = world.open_attempt.get(&due.phone).filter(|open| is_forgotten(open)).map(|open| open.attempt_id) {
        world.take_open(id);
    }
    if world.open_attempt.contains_key(&due.phone) {
        return None;
    }
    world.take_due(due);
    world.insert_open(open_attempt(lease, intent, now), &intent.evidence);
    Some(CommittedIntent::acknowledged_by_database(intent.attempt_id))
}

/// Mistakes: an open attempt does not keep its person from being called.
#[cfg(test)]
pub(super) fn is_forgotten(open: &OpenAttempt) -> bool {
    Mutation::PersonMutexOff.is_made() || (open.state == OpenState::Held && Mutation::HeldLockOff.is_made())
}

fn put_off(world: &mut World, due: &DueKey, now: Timestamp) {
    tracing::error!(
        campaign.id = %due.stratum.campaign_id, lead.id = %due.lead_id, attempt.no = due.attempt_no,
        "Lead {} is due with attempt number {}, which was used before: put off by an hour", due.lead_id, due.attempt_no
    );
    world.take_due(due);
    let due_at = now.saturating_add(COLLISION_PUT_OFF).expect("a duration of hours saturates");
    world.insert_due(&DueKey { due_at, ..due.clone() });
}

fn open_attempt(lease: &Lease, intent: &DialIntent, now: Timestamp) -> OpenAttempt {
    OpenAttempt {
        attempt_id: intent.attempt_id,
        phone: intent.due.phone,
        account: lease.account.clone(),
        assistant_id: intent.assistant_id.clone(),
        tries: intent.due.tries,
        owner: lease.owner,
        epoch: lease.epoch,
        state: OpenState::Dialing,
        intent_at: now,
        sent_at: None,
        deadline_at: intent.deadline_at,
        poll_at: intent.deadline_at,
        call_id: None,
        accepted: false,
        absence_from: None,
        absent_since: None,
        newest_call_known: intent.newest_call_known.clone(),
        reason: None,
        calling_group_id: intent.due.stratum.calling_group_id,
        priority: intent.due.stratum.priority,
    }
}

pub(super) fn confirm(
    world: &World,
    attempts: &[AttemptId],
    now: Timestamp,
    person_since: Timestamp,
) -> Vec<(AttemptId, PersonFacts)> {
    attempts
        .iter()
        .filter_map(|id| world.open(*id))
        .map(|open| {
            let id = open.attempt_id;
            (id, person(world, &open.phone, id.key().campaign_id, Some(id), now, person_since))
        })
        .collect()
}

pub(super) fn record_replies(world: &mut World, replies: &[ReplyRecord]) -> Vec<AttemptId> {
    replies.iter().filter(|reply| record_reply(world, reply)).map(|reply| reply.attempt_id).collect()
}

fn record_reply(world: &mut World, record: &ReplyRecord) -> bool {
    let id = record.attempt_id;
    match &record.reply {
        ReplyFact::Placed { call_id, poll_at, deadline_at } => {
            learn_sent_at(world, id, record.sent_at);
            if let Some(call_id) = call_id {
                learn_call(world, id, call_id, MatchBasis::Reply);
            }
            let Some(open) = world.open_mut(id) else {
                return false;
            };
            open.deadline_at = deadline_at.unwrap_or(open.deadline_at);
            if open.state != OpenState::Placed {
                open.state = OpenState::Placed;
                open.accepted = true;
                open.poll_at = *poll_at;
                open.reason = None;
                open.absence_from = None;
                open.absent_since = None;
            }
            true
        }
        ReplyFact::InDoubt { reason, accepted, absence_from, poll_at, deadline_at } => {
            let Some(open) = world.open_mut(id).filter(|open| open.state == OpenState::Dialing) else {
                return false;
            };
            open.state = OpenState::InDoubt;
            open.reason = Some(reason.clone());
            open.accepted = *accepted;
            open.absence_from = Some(*absence_from);
            open.poll_at = *poll_at;
            open.deadline_at = *deadline_at;
            learn_sent_at(world, id, record.sent_at);
            true
        }
    }
}

/// Fills in when the request left; what is known already stays.
pub(super) fn learn_sent_at(world: &mut World, id: AttemptId, sent_at: Option<Timestamp>) {
    if let Some(attempt) = world.attempt.get_mut(&id) {
        attempt.sent_at = attempt.sent_at.or(sent_at);
    }
    if let Some(open) = world.open_mut(id) {
        open.sent_at = open.sent_at.or(sent_at);
    }
}

/// Binds the call unless it is bound, and lets its open attempt know it.
pub(super) fn learn_call(world: &mut World, id: AttemptId, call_id: &ProviderCallId, basis: MatchBasis) {
    let Some(account) = world.attempt.get(&id).map(|attempt| attempt.account.clone()) else { return };
    if world.bind(&account, call_id, (id, basis)) != id {
        return;
    }
    if let Some(open) = world.open_mut(id) {
        open.call_id.get_or_insert_with(|| call_id.clone());
    }
}

pub(super) fn change_open(world: &mut World, changes: &[OpenChange]) -> Vec<AttemptId> {
    changes.iter().filter(|change| change_one(world, change)).map(|change| change.attempt_id).collect()
}

fn change_one(world: &mut World, change: &OpenChange) -> bool {
    assert!(
        change.from == change.to || change.from.may_become(change.to),
        "no attempt moves from {} to {}",
        change.from,
        change.to
    );
    let Some(open) = world.open_mut(change.attempt_id).filter(|open| open.state == change.from) else {
        return false;
    };
    open.state = change.to;
    if change.reason.is_some() {
        open.reason.clone_from(&change.reason);
    }
    open.poll_at = change.poll_at.unwrap_or(open.poll_at);
    open.deadline_at = change.deadline_at.unwrap_or(open.deadline_at);
    open.absence_from = change.absence_from.or(open.absence_from);
    open.absent_since = change.absent_since.or(open.absent_since);
    World::assert_open(open);
    true
}
