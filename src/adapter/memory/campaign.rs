//! Campaigns open and close; accounts and their assistants.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::assistant::Assistant;
use crate::domain::attempt::OpenState;
use crate::domain::campaign::{CampaignState, OnAssistantChange};
use crate::domain::id::{AccountName, CampaignId, LeadId};
use crate::port::store::{AccountState, AssistantChange, AssistantUse, BACKLOG_MAX, Backlog};

use super::world::World;

pub(super) fn note(world: &mut World, notes: &[(CampaignId, Option<String>)]) {
    for (campaign_id, note) in notes {
        if let Some(campaign) = world.campaign.get_mut(campaign_id) {
            campaign.note.clone_from(note);
        }
    }
}

pub(super) fn backlog(world: &World, campaign_id: CampaignId) -> Backlog {
    let most = BACKLOG_MAX as usize;
    let leads = (campaign_id, LeadId(i64::MIN))..=(campaign_id, LeadId(i64::MAX));
    let open = || world.open_attempt.values().filter(|open| open.attempt_id.key().campaign_id == campaign_id);
    let held = |wanted| open().filter(|open| (open.state == OpenState::Held) == wanted).take(most).count() as u64;
    Backlog {
        due: world.due_of_lead.range(leads).take(most).count() as u64,
        open: held(false),
        held: held(true),
        enrolling: enrolling(world, campaign_id),
    }
}

pub(super) fn finished_with_due(world: &World) -> Vec<CampaignId> {
    let finished = world.campaign.iter().filter(|(_, campaign)| campaign.state == CampaignState::Finished);
    let has_due = |id| world.due_of_lead.range((id, LeadId(i64::MIN))..=(id, LeadId(i64::MAX))).next().is_some();
    finished.map(|(id, _)| *id).filter(|id| has_due(*id)).collect()
}

fn enrolling(world: &World, campaign_id: CampaignId) -> bool {
    let walking = world.campaign_list.iter().any(|((campaign, _), row)| *campaign == campaign_id && !row.walked);
    walking
        || world.lead_change.values().any(|lead_id| concerns(world, campaign_id, *lead_id) && !is_held(world, *lead_id))
}

fn concerns(world: &World, campaign_id: CampaignId, lead_id: LeadId) -> bool {
    world.lead.get(&lead_id).is_some_and(|lead| {
        world.campaign_list.get(&(campaign_id, lead.row.lead_list_id)).is_some_and(|row| row.wanted)
    })
}

fn is_held(world: &World, lead_id: LeadId) -> bool {
    world.open_attempt.values().any(|open| open.state == OpenState::Held && open.attempt_id.key().lead_id == lead_id)
}

pub(super) fn advance(world: &mut World, campaign_id: CampaignId, from: CampaignState, to: CampaignState) -> bool {
    world.campaign.get(&campaign_id).is_some_and(|campaign| campaign.state == from)
        && world.set_campaign_state(campaign_id, to)
}

pub(super) fn save_roster(world: &mut World, account: &AccountName, roster: &[Assistant]) {
    let mut sorted = roster.to_vec();
    sorted.sort_by(|a, b| a.assistant_id.cmp(&b.assistant_id));
    assert!(
        sorted.windows(2).all(|pair| pair[0].assistant_id != pair[1].assistant_id),
        "an account's assistants have ids of their own"
    );
    world.roster.insert(account.clone(), sorted);
}

pub(super) fn pin_assistants(
    world: &mut World,
    account: &AccountName,
    uses: &[AssistantUse],
    now: Timestamp,
) -> Vec<AssistantChange> {
    let mut changes = Vec::new();
    let mut reasons: BTreeMap<CampaignId, Vec<&str>> = BTreeMap::new();
    let mut sorted: Vec<_> = uses.iter().filter(|used| world.campaign.contains_key(&used.campaign_id)).collect();
    sorted.sort_by(|a, b| (a.campaign_id, &a.assistant_id).cmp(&(b.campaign_id, &b.assistant_id)));
    for used in sorted {
        let key = (used.campaign_id, account.clone(), used.assistant_id.clone());
        let as_read = (used.fingerprint.clone(), now);
        let (pinned, pinned_at) = world.assistant_pin.entry(key).or_insert_with(|| as_read.clone());
        if *pinned == used.fingerprint {
            continue;
        }
        let (campaign_id, assistant_id) = (used.campaign_id, used.assistant_id.clone());
        changes.push(AssistantChange { campaign_id, assistant_id, pinned_at: *pinned_at, paused: false });
        match used.on_change {
            OnAssistantChange::Pause => reasons.entry(campaign_id).or_default().push(&used.reason),
            OnAssistantChange::Warn | OnAssistantChange::Follow => (*pinned, *pinned_at) = as_read,
        }
    }
    for (campaign_id, reasons) in reasons {
        let campaign = world.campaign.get_mut(&campaign_id).expect("it was found above");
        if campaign.state != CampaignState::Active {
            continue;
        }
        world.set_campaign_state(campaign_id, CampaignState::Paused);
        world.campaign.get_mut(&campaign_id).expect("it was found above").paused_because = Some(reasons.join("; "));
        for change in changes.iter_mut().filter(|change| change.campaign_id == campaign_id) {
            change.paused = true;
        }
    }
    changes
}

pub(super) fn save_account_state(world: &mut World, state: &AccountState) {
    world.account_state.insert(state.account.clone(), state.clone());
}
