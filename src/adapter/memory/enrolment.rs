//! Leads come and go: changes, walks of lists, and the steps that follow from them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::campaign::CampaignState;
use crate::domain::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
use crate::domain::outcome::Disposition;
use crate::domain::phone::PhoneNumber;
use crate::port::store::{
    CampaignLists, DueKey, EnrolmentAction, EnrolmentDone, EnrolmentStep, LeadChange, LeadPlace, ListPage, Place,
    Stratum, Verdict,
};

use super::world::{CampaignListRecord, DispositionRecord, World};

pub(super) fn peek_changes(world: &World, limit: u32) -> Vec<LeadChange> {
    let mut changes: Vec<(LeadId, Vec<i64>)> = Vec::new();
    let mut rank: BTreeMap<LeadId, usize> = BTreeMap::new();
    let locked: BTreeSet<LeadId> = world.open_attempt.values().map(|open| open.attempt_id.key().lead_id).collect();
    for (change_id, lead_id) in world.lead_change.iter().filter(|(_, lead_id)| !locked.contains(lead_id)) {
        let at = *rank.entry(*lead_id).or_insert(changes.len());
        if at == changes.len() {
            changes.push((*lead_id, Vec::new()));
        }
        changes[at].1.push(*change_id);
    }
    changes.truncate(limit as usize);
    changes
        .into_iter()
        .map(|(lead_id, change_ids)| LeadChange {
            change_ids,
            lead_id,
            lead: world.lead.get(&lead_id).map(|lead| lead.row.clone()),
            places: places(world, lead_id),
        })
        .collect()
}

fn places(world: &World, lead_id: LeadId) -> Vec<LeadPlace> {
    world
        .campaign
        .iter()
        .filter(|(_, campaign)| campaign.state != CampaignState::Finished)
        .map(|(campaign_id, _)| place(world, *campaign_id, lead_id))
        .filter(|place| {
            place.wanted
                || place.place != Place::Nowhere
                || world.phones_of_lead.contains_key(&(place.campaign_id, lead_id))
        })
        .collect()
}

fn place(world: &World, campaign_id: CampaignId, lead_id: LeadId) -> LeadPlace {
    let list = world.lead.get(&lead_id).map(|lead| lead.row.lead_list_id);
    let wanted = list.is_some_and(|list| world.campaign_list.get(&(campaign_id, list)).is_some_and(|row| row.wanted));
    let place = if world.open_of(campaign_id, lead_id).is_some() {
        Place::Open
    } else if let Some(due) = world.due_of(campaign_id, lead_id) {
        Place::Due(due)
    } else if let Some(disposed) = world.disposition.get(&(campaign_id, lead_id)) {
        Place::Disposed {
            disposition: disposed.verdict.disposition,
            attempt_no: disposed.attempt_no,
            tries: disposed.tries,
            phone: last_phone(world, campaign_id, lead_id),
        }
    } else {
        Place::Nowhere
    };
    LeadPlace { campaign_id, wanted, place }
}

/// Of a lead's phones only the newest may be without an attempt; if all have one, the newest attempt tells.
fn last_phone(world: &World, campaign_id: CampaignId, lead_id: LeadId) -> Option<PhoneNumber> {
    let phones = world.phones_of_lead(campaign_id, lead_id);
    let unattempted = phones.iter().find(|phone| !was_attempted(world, campaign_id, lead_id, phone)).cloned();
    let newest = || world.attempts_of_lead(campaign_id, lead_id).next_back().map(|(_, attempt)| attempt.phone);
    unattempted.or_else(|| newest().filter(|phone| phones.contains(phone)))
}

fn was_attempted(world: &World, campaign_id: CampaignId, lead_id: LeadId, phone: &PhoneNumber) -> bool {
    world.attempts_of_lead(campaign_id, lead_id).any(|(_, attempt)| attempt.phone == *phone)
}

pub(super) fn next_page(world: &World, limit: u32) -> Option<ListPage> {
    let ((campaign_id, lead_list_id), row) = world.campaign_list.iter().find(|((campaign_id, _), row)| {
        !row.walked && world.campaign.get(campaign_id).is_some_and(|campaign| campaign.state != CampaignState::Finished)
    })?;
    let mut behind = leads_behind(world, *lead_list_id, row.walked_to);
    let leads: Vec<_> = behind
        .by_ref()
        .take(limit as usize)
        .map(|lead_id| (world.lead[&lead_id].row.clone(), place(world, *campaign_id, lead_id)))
        .collect();
    let more = behind.next().is_some();
    Some(ListPage {
        campaign_id: *campaign_id,
        lead_list_id: *lead_list_id,
        last_lead_id: leads.last().map(|(lead, _)| lead.lead_id).filter(|_| more),
        leads,
        version: row.version,
    })
}

fn leads_behind(world: &World, list: LeadListId, walked_to: Option<LeadId>) -> impl Iterator<Item = LeadId> {
    let first = walked_to.map_or(LeadId(i64::MIN), |lead_id| LeadId(lead_id.0 + 1));
    world.lead.range(first..).filter(move |(_, lead)| lead.row.lead_list_id == list).map(|(lead_id, _)| *lead_id)
}

pub(super) fn apply(world: &mut World, steps: &[EnrolmentStep], done: EnrolmentDone, now: Timestamp) {
    // In key order, so that of two leads with one phone the same one gets it in every run.
    let mut in_order: Vec<&EnrolmentStep> = steps.iter().collect();
    in_order.sort_by_key(|step| (step.campaign_id, step.lead_id));
    let mut left_alone = BTreeSet::new();
    for step in in_order {
        if !apply_one(world, step, now) {
            left_alone.insert(step.lead_id);
        }
    }
    match done {
        EnrolmentDone::Changes(change_ids) => {
            for change_id in change_ids {
                if world.lead_change.get(&change_id).is_some_and(|lead_id| !left_alone.contains(lead_id)) {
                    world.lead_change.remove(&change_id);
                }
            }
        }
        EnrolmentDone::Page { campaign_id, lead_list_id, after, version } => {
            if page_done(world, campaign_id, lead_list_id, after, version, &mut left_alone) {
                for lead_id in left_alone {
                    world.note_change(lead_id);
                }
            }
        }
    }
}

/// Moves the walk on and adds the page's open leads to those that need another look; `false` when the walk is another.
fn page_done(
    world: &mut World,
    campaign_id: CampaignId,
    lead_list_id: LeadListId,
    after: Option<LeadId>,
    version: i64,
    look_again: &mut BTreeSet<LeadId>,
) -> bool {
    let Some(row) = world.campaign_list.get_mut(&(campaign_id, lead_list_id)).filter(|row| row.version == version)
    else {
        return false;
    };
    let walked_from = row.walked_to;
    row.walked_to = after.or(walked_from);
    row.walked = after.is_none();
    let open: Vec<LeadId> = leads_behind(world, lead_list_id, walked_from)
        .take_while(|lead_id| after.is_none_or(|last| *lead_id <= last))
        .filter(|lead_id| world.open_of(campaign_id, *lead_id).is_some())
        .collect();
    look_again.extend(open);
    true
}

/// `false` when the lead is not where the step expects it.
fn apply_one(world: &mut World, step: &EnrolmentStep, now: Timestamp) -> bool {
    let (campaign_id, lead_id) = (step.campaign_id, step.lead_id);
    if world.has_open_attempt(lead_id) {
        return false;
    }
    match &step.action {
        EnrolmentAction::Due { phone, group_key, priority, due_at, attempt_no, tries } => {
            let from = seen_place(world, campaign_id, lead_id);
            if !enrols(world, campaign_id) || !from.leads_to((*attempt_no, *tries)) {
                return false;
            }
            let stratum = Stratum { campaign_id, calling_group_id: group(world, group_key), priority: *priority };
            world.disposition.remove(&(campaign_id, lead_id));
            let due =
                DueKey { stratum, due_at: *due_at, lead_id, attempt_no: *attempt_no, tries: *tries, phone: *phone };
            enrol(world, due, now);
            true
        }
        EnrolmentAction::Move { from, phone, group_key, priority, due_at } => {
            assert_eq!((from.stratum.campaign_id, from.lead_id), (campaign_id, lead_id), "a step moves its own lead");
            if !world.take_due(from) {
                return false;
            }
            let stratum = Stratum { campaign_id, calling_group_id: group(world, group_key), priority: *priority };
            enrol(world, DueKey { stratum, due_at: *due_at, phone: *phone, ..from.clone() }, now);
            true
        }
        EnrolmentAction::Dispose { verdict, attempt_no, tries } => {
            dispose(world, step, verdict, (*attempt_no, *tries), now)
        }
    }
}

fn dispose(world: &mut World, step: &EnrolmentStep, verdict: &Verdict, numbering: (u16, u16), now: Timestamp) -> bool {
    let (campaign_id, lead_id) = (step.campaign_id, step.lead_id);
    if let Some(due) = world.due_of(campaign_id, lead_id) {
        if (due.attempt_no, due.tries) != numbering {
            return false;
        }
        world.take_due(&due);
    } else if !seen_place(world, campaign_id, lead_id).leads_to(numbering) {
        return false;
    }
    let (attempt_no, tries) = numbering;
    let record = DispositionRecord { verdict: verdict.clone(), attempt_no, tries, disposed_at: now };
    world.set_disposition(campaign_id, lead_id, record);
    match verdict.disposition {
        Disposition::Removed | Disposition::InvalidNumber | Disposition::Duplicate => {
            give_up_phones(world, campaign_id, lead_id, None);
        }
        Disposition::Suppressed
        | Disposition::Expired
        | Disposition::Reached
        | Disposition::GoalMet
        | Disposition::Exhausted => {}
    }
    true
}

/// Where a lead is that is neither open nor due.
enum Seen {
    Nowhere,
    Reversible { numbering: (u16, u16) },
    Elsewhere,
}

impl Seen {
    fn leads_to(&self, numbering: (u16, u16)) -> bool {
        match self {
            Self::Nowhere => true,
            Self::Reversible { numbering: kept } => *kept == numbering,
            Self::Elsewhere => false,
        }
    }
}

fn seen_place(world: &World, campaign_id: CampaignId, lead_id: LeadId) -> Seen {
    if world.due_of(campaign_id, lead_id).is_some() {
        return Seen::Elsewhere;
    }
    match world.disposition.get(&(campaign_id, lead_id)) {
        None => Seen::Nowhere,
        Some(record) if record.verdict.disposition.is_final() => Seen::Elsewhere,
        Some(record) => Seen::Reversible { numbering: (record.attempt_no, record.tries) },
    }
}

fn enrols(world: &World, campaign_id: CampaignId) -> bool {
    world.campaign.get(&campaign_id).is_some_and(|campaign| match campaign.state {
        CampaignState::Draft | CampaignState::Active | CampaignState::Paused => true,
        CampaignState::Finishing | CampaignState::Finished => false,
    })
}

/// Makes the lead due if it can have its phone, and a duplicate otherwise.
fn enrol(world: &mut World, due: DueKey, now: Timestamp) {
    let campaign_id = due.stratum.campaign_id;
    give_up_phones(world, campaign_id, due.lead_id, Some(&due.phone));
    let holder = *world.enrolment.entry((campaign_id, due.phone)).or_insert(due.lead_id);
    if holder == due.lead_id {
        world.phones_of_lead.entry((campaign_id, due.lead_id)).or_default().insert(due.phone);
        world.insert_due(&due);
    } else {
        super::due::write_verdict(world, &due, &Verdict::duplicate_of(holder), now);
    }
}

/// Gives up the lead's phones that were never attempted, and notes the leads that were waiting for them.
fn give_up_phones(world: &mut World, campaign_id: CampaignId, lead_id: LeadId, keep: Option<&PhoneNumber>) {
    let given_up: Vec<PhoneNumber> = world
        .phones_of_lead(campaign_id, lead_id)
        .into_iter()
        .filter(|phone| Some(phone) != keep && !was_attempted(world, campaign_id, lead_id, phone))
        .collect();
    if given_up.is_empty() {
        return;
    }
    for phone in given_up {
        if let Some(phones) = world.phones_of_lead.get_mut(&(campaign_id, lead_id)) {
            phones.remove(&phone);
        }
        world.enrolment.remove(&(campaign_id, phone));
    }
    if world.phones_of_lead.get(&(campaign_id, lead_id)).is_some_and(BTreeSet::is_empty) {
        world.phones_of_lead.remove(&(campaign_id, lead_id));
    }
    let duplicate = Verdict::duplicate_of(lead_id);
    let waiting: Vec<LeadId> = world
        .disposition
        .range((campaign_id, LeadId(i64::MIN))..=(campaign_id, LeadId(i64::MAX)))
        .filter(|(_, record)| record.verdict == duplicate)
        .map(|((_, lead_id), _)| *lead_id)
        .collect();
    for lead_id in waiting {
        world.note_change(lead_id);
    }
}

fn group(world: &mut World, key: &str) -> CallingGroupId {
    if let Some(id) = world.calling_group.get(key) {
        return *id;
    }
    let id = CallingGroupId(world.next_key("calling_group"));
    world.calling_group.insert(key.to_owned(), id);
    id
}

pub(super) fn set_campaign_lists(world: &mut World, lists: &[CampaignLists]) {
    for campaign in lists {
        set_lists(world, campaign);
    }
}

fn set_lists(world: &mut World, campaign: &CampaignLists) {
    let campaign_id = campaign.campaign_id;
    let fresh = |wanted| CampaignListRecord { wanted, version: campaign.version, walked_to: None, walked: false };
    let wanted: BTreeSet<LeadListId> =
        world.lead_list.iter().filter(|(_, name)| campaign.lead_lists.contains(name)).map(|(list, _)| *list).collect();
    for list in &wanted {
        let row = world.campaign_list.entry((campaign_id, *list)).or_insert_with(|| fresh(true));
        if row.version < campaign.version || (row.version == campaign.version && !row.wanted) {
            *row = fresh(true);
        }
    }
    let rows = (campaign_id, LeadListId(i64::MIN))..=(campaign_id, LeadListId(i64::MAX));
    for ((_, list), row) in world.campaign_list.range_mut(rows) {
        if row.wanted && !wanted.contains(list) && row.version <= campaign.version {
            *row = fresh(false);
        }
    }
}
