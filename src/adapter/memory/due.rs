//! Leads that wait for their next attempt.

use jiff::Timestamp;

use crate::domain::id::{AttemptId, CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::{Candidate, Contact, DueKey, PersonFacts, Probe, Verdict};

use super::world::{DispositionRecord, World, due_key};

pub(super) fn peek(world: &World, now: Timestamp, person_since: Timestamp, probes: &[Probe]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for probe in probes.iter().filter(|probe| probe.not_before <= now) {
        let first = (probe.stratum, probe.not_before, LeadId(i64::MIN));
        let last = (probe.stratum, now, LeadId(i64::MAX));
        let rows = world.due.range(first..=last).take(probe.limit as usize);
        candidates
            .extend(rows.map(|(position, record)| candidate(world, due_key(position, record), now, person_since)));
    }
    candidates
}

fn candidate(world: &World, due: DueKey, now: Timestamp, person_since: Timestamp) -> Candidate {
    let campaign_id = due.stratum.campaign_id;
    let last_attempt = world.attempts_of_lead(campaign_id, due.lead_id).next_back();
    Candidate {
        lead: world.lead_facts(due.lead_id),
        person: person(world, &due.phone, campaign_id, None, now, person_since),
        last_assistant: last_attempt.map(|(_, attempt)| attempt.assistant_id.clone()),
        due,
    }
}

/// What binds the person behind a phone; `asking` is left out.
pub(super) fn person(
    world: &World,
    phone: &PhoneNumber,
    campaign_id: CampaignId,
    asking: Option<AttemptId>,
    now: Timestamp,
    person_since: Timestamp,
) -> PersonFacts {
    let mut contacts: Vec<_> = world
        .attempts_of_phone(phone)
        .filter(|(id, attempt)| Some(*id) != asking && attempt.may_have_rung() && attempt.at() >= person_since)
        .map(|(id, attempt)| (attempt.at(), id))
        .collect();
    contacts.sort_unstable_by(|a, b| b.cmp(a));
    let open = world.open_attempt.get(phone);
    #[cfg(test)]
    let open = open.filter(|open| !super::dial::is_forgotten(open));
    PersonFacts {
        suppression: world.suppression_at(phone, campaign_id, now).cloned(),
        open: open.map(|open| open.attempt_id).filter(|open| Some(*open) != asking),
        contacts: contacts.into_iter().map(|(at, id)| Contact { at, campaign_id: id.key().campaign_id }).collect(),
    }
}

pub(super) fn defer(world: &mut World, deferrals: &[(DueKey, Timestamp)]) -> u64 {
    let mut moved = 0;
    for (seen, due_at) in deferrals {
        if world.take_due(seen) {
            world.insert_due(&DueKey { due_at: *due_at, ..seen.clone() });
            moved += 1;
        }
    }
    moved
}

pub(super) fn dispose(world: &mut World, verdicts: &[(DueKey, Verdict)], now: Timestamp) -> u64 {
    let mut disposed = 0;
    for (seen, verdict) in verdicts {
        if world.take_due(seen) {
            write_verdict(world, seen, verdict, now);
            disposed += 1;
        }
    }
    disposed
}

pub(super) fn dispose_all(
    world: &mut World,
    campaign_id: CampaignId,
    verdict: &Verdict,
    limit: u32,
    now: Timestamp,
) -> u64 {
    let leads: Vec<LeadId> = world
        .due_of_lead
        .range((campaign_id, LeadId(i64::MIN))..=(campaign_id, LeadId(i64::MAX)))
        .map(|((_, lead_id), _)| *lead_id)
        .take(limit as usize)
        .collect();
    for lead_id in &leads {
        take_out(world, campaign_id, *lead_id, verdict, now);
    }
    leads.len() as u64
}

/// Disposes of a lead if it is due.
pub(super) fn take_out(world: &mut World, campaign_id: CampaignId, lead_id: LeadId, verdict: &Verdict, now: Timestamp) {
    if let Some(due) = world.due_of(campaign_id, lead_id) {
        world.take_due(&due);
        write_verdict(world, &due, verdict, now);
    }
}

pub(super) fn write_verdict(world: &mut World, due: &DueKey, verdict: &Verdict, now: Timestamp) {
    let record =
        DispositionRecord { verdict: verdict.clone(), attempt_no: due.attempt_no, tries: due.tries, disposed_at: now };
    world.set_disposition(due.stratum.campaign_id, due.lead_id, record);
}
