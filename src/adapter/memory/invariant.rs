//! What must hold after every step, as far as the tables can tell. Reads only the tables, not the indexes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::id::{AttemptId, CampaignId, LeadId};
use crate::domain::outcome::Outcome;

use super::world::World;

pub(super) fn broken(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    one_place(world, &mut broken);
    open_attempts_have_rows(world, &mut broken);
    nobody_is_followed_while_open(world, &mut broken);
    numbering(world, &mut broken);
    events_and_calls_belong_somewhere(world, &mut broken);
    phones_are_enrolled(world, &mut broken);
    broken
}

/// An enrolled lead is exactly one of due, open, disposed.
fn one_place(world: &World, broken: &mut Vec<String>) {
    let mut places: BTreeMap<(CampaignId, LeadId), Vec<&'static str>> = BTreeMap::new();
    for (campaign_id, lead_id) in world.enrolment.iter().map(|((campaign_id, _), lead_id)| (*campaign_id, *lead_id)) {
        places.entry((campaign_id, lead_id)).or_default();
    }
    for (stratum, _, lead_id) in world.due.keys() {
        places.entry((stratum.campaign_id, *lead_id)).or_default().push("due");
    }
    for open in world.open_attempt.values() {
        let key = open.attempt_id.key();
        places.entry((key.campaign_id, key.lead_id)).or_default().push("open");
    }
    for key in world.disposition.keys() {
        places.entry(*key).or_default().push("disposed");
    }
    for ((campaign_id, lead_id), places) in places {
        if places.len() != 1 {
            broken.push(format!(
                "lead {lead_id} of campaign {campaign_id} must be exactly one of due, open, disposed; it is {places:?}"
            ));
        }
    }
}

/// An open attempt has a row that has not ended, and the other way round; no two are open for one phone.
fn open_attempts_have_rows(world: &World, broken: &mut Vec<String>) {
    let mut open_ids = BTreeSet::new();
    for (phone, open) in &world.open_attempt {
        let id = open.attempt_id;
        open_ids.insert(id);
        match world.attempt.get(&id) {
            None => broken.push(format!("open attempt {id} has no attempt row")),
            Some(attempt) => {
                if attempt.end.is_some() {
                    broken.push(format!("attempt {id} is open and has ended"));
                }
                if attempt.phone != *phone || open.phone != *phone {
                    broken.push(format!("attempt {id} locks a phone it does not ring"));
                }
            }
        }
    }
    for (id, attempt) in &world.attempt {
        if attempt.end.is_none() && !open_ids.contains(id) {
            broken.push(format!("attempt {id} has no outcome and is not open"));
        }
    }
}

/// No attempt to a phone begins while another to it has not ended.
fn nobody_is_followed_while_open(world: &World, broken: &mut Vec<String>) {
    let mut newest: BTreeMap<_, (Timestamp, AttemptId)> = BTreeMap::new();
    for (id, attempt) in &world.attempt {
        let newest = newest.entry(&attempt.phone).or_insert((attempt.intent_at, *id));
        *newest = (*newest).max((attempt.intent_at, *id));
    }
    for (phone, open) in &world.open_attempt {
        if let Some((intent_at, follower)) = newest.get(phone).filter(|(at, _)| *at > open.intent_at) {
            broken.push(format!(
                "attempt {follower} to {phone} was intended at {intent_at}, while {} is {}",
                open.attempt_id, open.state
            ));
        }
    }
}

/// Attempts of a lead are numbered 1, 2, 3 …, and its place carries the next number and the tries so far.
fn numbering(world: &World, broken: &mut Vec<String>) {
    let mut last: BTreeMap<(CampaignId, LeadId), (u16, u16)> = BTreeMap::new();
    for (id, attempt) in &world.attempt {
        let key = id.key();
        let (number, _) = last.get(&(key.campaign_id, key.lead_id)).copied().unwrap_or_default();
        // Numbers before one that was restored may be lost for good.
        let restored = attempt.evidence == super::replica::EVIDENCE && key.attempt_no > number;
        if key.attempt_no != number + 1 && !restored {
            broken.push(format!("attempt {id} has number {}, expected {}", key.attempt_no, number + 1));
        }
        let tries = attempt.tries + u16::from(attempt.outcome().is_some_and(Outcome::counts_as_try));
        last.insert((key.campaign_id, key.lead_id), (key.attempt_no, tries));
    }
    let mut check = |what: &str, campaign_id: CampaignId, lead_id: LeadId, attempt_no: u16, tries: u16| {
        let (number, tried) = last.get(&(campaign_id, lead_id)).copied().unwrap_or_default();
        if attempt_no != number + 1 {
            broken.push(format!(
                "lead {lead_id} of campaign {campaign_id} is {what} with attempt number {attempt_no}, expected {}",
                number + 1
            ));
        }
        if tries > tried {
            broken.push(format!(
                "lead {lead_id} of campaign {campaign_id} is {what} with {tries} tries, at most {tried} were made"
            ));
        }
    };
    for ((stratum, _, lead_id), due) in &world.due {
        check("due", stratum.campaign_id, *lead_id, due.attempt_no, due.tries);
    }
    for ((campaign_id, lead_id), disposed) in &world.disposition {
        check("disposed", *campaign_id, *lead_id, disposed.attempt_no, disposed.tries);
    }
}

/// Calls are bound to attempts that exist, results too; pending events are in the inbox.
fn events_and_calls_belong_somewhere(world: &World, broken: &mut Vec<String>) {
    for ((account, call_id), (attempt_id, _)) in &world.provider_call {
        if world.attempt.get(attempt_id).is_none_or(|attempt| attempt.account != *account) {
            broken.push(format!("call {call_id} of account {account} is bound to {attempt_id}, which is not its own"));
        }
    }
    for attempt_id in world.call_result.keys() {
        if world.attempt.get(attempt_id).is_none_or(|attempt| attempt.end.is_none()) {
            broken.push(format!("attempt {attempt_id} has a result and has not ended"));
        }
    }
    for (inbox_id, pending) in &world.pending {
        if !world.inbox.contains_key(inbox_id) {
            broken.push(format!("event {inbox_id} is pending and not in the inbox"));
        }
        if pending.attempt_id.is_some_and(|id| !world.attempt.contains_key(&id)) {
            broken.push(format!("event {inbox_id} is pending for an attempt that does not exist"));
        }
    }
}

/// Whom a campaign dials, or has dialed, it has enrolled.
fn phones_are_enrolled(world: &World, broken: &mut Vec<String>) {
    let due = world.due.iter().map(|((stratum, _, lead_id), due)| (stratum.campaign_id, &due.phone, *lead_id));
    let attempted = world.attempt.iter().map(|(id, attempt)| {
        let key = id.key();
        (key.campaign_id, &attempt.phone, key.lead_id)
    });
    for (campaign_id, phone, lead_id) in due.chain(attempted) {
        if world.enrolment.get(&(campaign_id, *phone)) != Some(&lead_id) {
            broken.push(format!(
                "lead {lead_id} of campaign {campaign_id} has {phone}, which is not enrolled as its own"
            ));
        }
    }
}
