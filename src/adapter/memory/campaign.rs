//! Campaigns open and close; accounts and their assistants.

use crate::domain::assistant::Assistant;
use crate::domain::attempt::OpenState;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, CampaignId, LeadId};
use crate::port::store::{AccountState, BACKLOG_MAX, Backlog};

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

pub(super) fn save_account_state(world: &mut World, state: &AccountState) {
    world.account_state.insert(state.account.clone(), state.clone());
}
