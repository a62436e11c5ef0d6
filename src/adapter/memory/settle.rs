//! Attempts end, and evidence about them may come later still.

use jiff::Timestamp;

use crate::domain::id::{AttemptId, CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
#[cfg(test)]
use crate::port::mutation::Mutation;
use crate::port::store::{CallResult, DueKey, LateResult, NextPlace, PastAttempt, Settlement, Stratum};

use super::dial::{learn_call, learn_sent_at};
use super::due::take_out;
use super::world::{AttemptEnd, DispositionRecord, ResultRecord, World};

pub(super) fn settle(world: &mut World, settlements: &[Settlement]) -> Vec<AttemptId> {
    settlements.iter().filter(|settlement| settle_one(world, settlement)).map(|ended| ended.attempt_id).collect()
}

pub(super) fn settle_one(world: &mut World, settlement: &Settlement) -> bool {
    let id = settlement.attempt_id;
    #[cfg(test)]
    if Mutation::UnguardedApply.is_made() && end_again(world, settlement) {
        return true;
    }
    let may_end = world.open(id).is_some_and(|open| open.state.may_end_as(settlement.outcome));
    #[cfg(test)]
    let may_end = may_end || (world.open(id).is_some() && Mutation::UnguardedApply.is_made());
    if !may_end {
        return false;
    }
    let open = world.take_open(id).expect("just seen to be open");
    learn_sent_at(world, id, settlement.sent_at);
    let attempt = world.attempt.get_mut(&id).expect("an open attempt has a row of its own");
    assert_eq!(attempt.end, None, "an open attempt has not ended");
    attempt.end = Some(AttemptEnd {
        ended_at: settlement.ended_at,
        outcome: settlement.outcome,
        reason: settlement.reason.clone(),
    });
    attempt.refused = settlement.refused;
    if let Some(result) = &settlement.result {
        attempt.goal_met = result.goal_met;
        bind_result(world, id, result);
        let record = ResultRecord {
            result: result.clone(),
            contradicted_by: None,
            recorded_at: settlement.ended_at,
            payload_removed: false,
        };
        assert_eq!(world.call_result.insert(id, record), None, "an attempt has one result");
    }
    let campaign_id = id.key().campaign_id;
    let lane = Stratum { campaign_id, calling_group_id: open.calling_group_id, priority: open.priority };
    move_on(world, id, lane, open.phone, settlement);
    if let Some(reason) = &settlement.suppress {
        world.suppress(&open.phone, reason);
    }
    for inbox_id in &settlement.inbox {
        world.pending.remove(inbox_id);
    }
    true
}

/// A mistake: what has ended ends again, and its lead moves on from there.
#[cfg(test)]
fn end_again(world: &mut World, settlement: &Settlement) -> bool {
    let id = settlement.attempt_id;
    let key = id.key();
    let Some(attempt) = world.attempt.get_mut(&id).filter(|attempt| attempt.end.is_some()) else { return false };
    attempt.end = Some(AttemptEnd {
        ended_at: settlement.ended_at,
        outcome: settlement.outcome,
        reason: settlement.reason.clone(),
    });
    let phone = attempt.phone;
    let lane = *world.stratum.iter().find(|lane| lane.campaign_id == key.campaign_id).expect("it was due once");
    if let Some(due) = world.due_of(key.campaign_id, key.lead_id) {
        world.take_due(&due);
    }
    move_on(world, id, lane, phone, settlement);
    true
}

fn bind_result(world: &mut World, id: AttemptId, result: &CallResult) {
    if let (Some(call_id), Some(basis)) = (&result.call_id, result.match_basis) {
        learn_call(world, id, call_id, basis);
    }
}

fn move_on(world: &mut World, id: AttemptId, lane: Stratum, phone: PhoneNumber, settlement: &Settlement) {
    let key = id.key();
    let following = key.attempt_no + 1;
    match &settlement.next {
        NextPlace::Due { due_at, attempt_no, tries } => {
            assert_eq!(*attempt_no, following, "attempts are numbered one after the other");
            world.insert_due(&DueKey {
                stratum: lane,
                due_at: *due_at,
                lead_id: key.lead_id,
                attempt_no: *attempt_no,
                tries: *tries,
                phone,
            });
        }
        NextPlace::Disposed { verdict, attempt_no, tries } => {
            assert_eq!(*attempt_no, following, "attempts are numbered one after the other");
            let record = DispositionRecord {
                verdict: verdict.clone(),
                attempt_no: *attempt_no,
                tries: *tries,
                disposed_at: settlement.ended_at,
            };
            world.set_disposition(key.campaign_id, key.lead_id, record);
        }
    }
}

pub(super) fn history(world: &World, leads: &[(CampaignId, LeadId)]) -> Vec<PastAttempt> {
    let past = |(campaign_id, lead_id): &(CampaignId, LeadId)| {
        world
            .attempts_of_lead(*campaign_id, *lead_id)
            .filter_map(|(attempt_id, attempt)| {
                let outcome = attempt.outcome()?;
                Some(PastAttempt {
                    attempt_id,
                    tries: attempt.tries,
                    outcome,
                    goal_met: attempt.goal_met,
                    refused: attempt.refused,
                })
            })
            .collect::<Vec<_>>()
    };
    leads.iter().flat_map(past).collect()
}

pub(super) fn apply_late(world: &mut World, late: &[LateResult], now: Timestamp) {
    for result in late {
        apply_late_one(world, result, now);
    }
}

fn apply_late_one(world: &mut World, late: &LateResult, now: Timestamp) {
    let id = late.attempt_id;
    let Some(attempt) = world.attempt.get_mut(&id).filter(|attempt| attempt.end.is_some()) else {
        return;
    };
    attempt.goal_met = attempt.goal_met.or(late.result.goal_met);
    let phone = attempt.phone;
    let record = world.call_result.entry(id).or_insert_with(|| ResultRecord {
        result: CallResult::default(),
        contradicted_by: None,
        recorded_at: now,
        payload_removed: false,
    });
    add(record, &late.result);
    record.contradicted_by = record.contradicted_by.or(late.contradicts);
    bind_result(world, id, &late.result);
    if let Some(verdict) = &late.verdict {
        let key = id.key();
        take_out(world, key.campaign_id, key.lead_id, verdict, now);
    }
    if let Some(reason) = &late.suppress {
        world.suppress(&phone, reason);
    }
    world.pending.remove(&late.inbox_id);
}

/// Fills in what is missing. What is known stays; what was removed for its age does not come back.
fn add(record: &mut ResultRecord, new: &CallResult) {
    let CallResult {
        call_id,
        match_basis,
        status,
        answered_by,
        duration_seconds,
        cost,
        transcript,
        recording_url,
        extracted,
        goal_met,
    } = new;
    let known = &mut record.result;
    known.call_id = known.call_id.take().or_else(|| call_id.clone());
    known.match_basis = known.match_basis.or(*match_basis);
    if known.status.is_empty() {
        known.status.clone_from(status);
    }
    known.answered_by = known.answered_by.take().or_else(|| answered_by.clone());
    known.duration_seconds = known.duration_seconds.or(*duration_seconds);
    known.cost = known.cost.take().or_else(|| cost.clone());
    known.goal_met = known.goal_met.or(*goal_met);
    if record.payload_removed {
        return;
    }
    known.transcript = known.transcript.take().or_else(|| transcript.clone());
    known.recording_url = known.recording_url.take().or_else(|| recording_url.clone());
    for (variable, value) in extracted {
        known.extracted.entry(variable.clone()).or_insert_with(|| value.clone());
    }
}
