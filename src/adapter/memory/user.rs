//! What users do with SQL of their own, and what the triggers add to it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::attempt::OpenState;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, AttemptId, CampaignId, LeadId, LeadListId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::{LeadRow, Settlement, Suppression};

use super::MemoryStore;
use super::settle::settle_one;
use super::world::{CampaignRecord, LeadRecord};

/// A lead to insert.
#[derive(Clone, Default)]
pub struct NewLead {
    /// As written.
    pub phone: String,
    /// As written.
    pub time_zone: Option<String>,
    /// 0 goes first, 9 last; 5 if absent.
    pub priority: Option<u8>,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Not after this.
    pub not_after: Option<Timestamp>,
    /// Variables of its calls.
    pub variables: Map<String, Value>,
}

impl NewLead {
    /// A lead of whom nothing but the phone is known.
    pub fn with_phone(phone: impl Into<String>) -> Self {
        Self { phone: phone.into(), ..Self::default() }
    }
}

const PRIORITY_DEFAULT: u8 = 5;

/// Each method is one statement of a user, with its triggers. None of them meets a fault.
impl MemoryStore {
    /// Inserts a list.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn insert_list(&self, name: &str) -> LeadListId {
        let mut world = self.locked();
        assert!(world.lead_list.values().all(|taken| taken != name), "a list's name is unique");
        let list = LeadListId(world.next_key("lead_list"));
        world.lead_list.insert(list, name.to_owned());
        list
    }

    /// Inserts one lead.
    ///
    /// # Panics
    /// When the list does not exist or a check of the table fails.
    pub fn insert_lead(&self, list: LeadListId, lead: NewLead) -> LeadId {
        self.insert_leads(list, [lead])[0]
    }

    /// Inserts leads, in one statement.
    ///
    /// # Panics
    /// As [`MemoryStore::insert_lead`].
    pub fn insert_leads(&self, list: LeadListId, leads: impl IntoIterator<Item = NewLead>) -> Vec<LeadId> {
        let mut world = self.locked();
        assert!(world.lead_list.contains_key(&list), "a lead's list exists");
        let mut ids = Vec::new();
        for lead in leads {
            let lead_id = LeadId(world.next_key("lead"));
            let row = LeadRow {
                lead_id,
                lead_list_id: list,
                phone: lead.phone,
                time_zone: lead.time_zone,
                priority: lead.priority.unwrap_or(PRIORITY_DEFAULT),
                not_before: lead.not_before,
                not_after: lead.not_after,
            };
            assert_lead(&row);
            world.lead.insert(lead_id, LeadRecord { row, variables: lead.variables, version: 1 });
            ids.push(lead_id);
        }
        for lead_id in &ids {
            world.note_change(*lead_id);
        }
        ids
    }

    /// Updates a lead; its version grows if anything is different. `false` when there is no such lead.
    ///
    /// # Panics
    /// When a check of the table fails.
    pub fn update_lead(&self, lead_id: LeadId, change: impl FnOnce(&mut LeadRecord)) -> bool {
        let mut world = self.locked();
        let Some(lead) = world.lead.get_mut(&lead_id) else {
            return false;
        };
        let before = lead.clone();
        change(lead);
        if *lead != before {
            lead.version = before.version + 1;
        }
        assert_eq!(lead.row.lead_id, lead_id, "a lead keeps its key");
        assert_lead(&lead.row);
        world.note_change(lead_id);
        true
    }

    /// Deletes a lead. `false` when there is no such lead.
    pub fn delete_lead(&self, lead_id: LeadId) -> bool {
        let mut world = self.locked();
        let found = world.lead.remove(&lead_id).is_some();
        if found {
            world.note_change(lead_id);
        }
        found
    }

    /// The server fails over to a standby: the tables are the same, their history is another one.
    pub fn begin_another_line(&self) {
        self.locked().line.1 += 1;
    }

    /// Inserts a campaign.
    ///
    /// # Panics
    /// When the name is taken or the definition is not an object.
    pub fn insert_campaign(&self, name: &str, state: CampaignState, definition: Value) -> CampaignId {
        assert!(definition.is_object(), "a definition is an object");
        let mut world = self.locked();
        assert!(world.campaign.values().all(|taken| taken.name != name), "a campaign's name is unique");
        let campaign_id = CampaignId(world.next_key("campaign"));
        let definition = Arc::new(definition);
        let finished_no = world.finished_no(state);
        let name = name.to_owned();
        let record =
            CampaignRecord { name, state, finished_no, version: 1, definition, note: None, paused_because: None };
        world.campaign.insert(campaign_id, record);
        campaign_id
    }

    /// Rewrites a campaign's definition; its version grows if it is different. `false` when there is no such campaign.
    ///
    /// # Panics
    /// When the definition is not an object.
    pub fn update_definition(&self, campaign_id: CampaignId, definition: Value) -> bool {
        assert!(definition.is_object(), "a definition is an object");
        let mut world = self.locked();
        let Some(campaign) = world.campaign.get_mut(&campaign_id) else {
            return false;
        };
        if *campaign.definition != definition {
            campaign.definition = Arc::new(definition);
            campaign.version += 1;
        }
        true
    }

    /// Sets a campaign's state. `false` when there is no such campaign.
    pub fn set_campaign_state(&self, campaign_id: CampaignId, state: CampaignState) -> bool {
        self.locked().set_campaign_state(campaign_id, state)
    }

    /// Adds a do-not-call entry, everywhere or in one campaign; one that is there already takes the new words.
    ///
    /// # Panics
    /// When it does not say why.
    pub fn add_suppression(&self, phone: &PhoneNumber, scope: Option<CampaignId>, entry: Suppression) {
        assert!((1..=500).contains(&entry.reason.chars().count()), "a suppression says why, in at most 500 characters");
        let mut world = self.locked();
        if world.suppression.insert((*phone, scope), entry).is_some() {
            world.note_end_of_suppression(phone, scope);
        }
    }

    /// Removes a do-not-call entry. `false` when there is none.
    pub fn remove_suppression(&self, phone: &PhoneNumber, scope: Option<CampaignId>) -> bool {
        let mut world = self.locked();
        let found = world.suppression.remove(&(*phone, scope)).is_some();
        if found {
            world.note_end_of_suppression(phone, scope);
        }
        found
    }

    /// Stops an account, or everything.
    pub fn add_stop(&self, account: Option<AccountName>, reason: &str) {
        self.locked().stop.insert(account, reason.to_owned());
    }

    /// Lifts a stop. `false` when there is none.
    pub fn remove_stop(&self, account: Option<&AccountName>) -> bool {
        let mut world = self.locked();
        if let Some(account) = account {
            // Whoever starts an account that was stopped for them to look at its calls has looked.
            world.reconciliation.retain(|name, it| name != account || !it.given_up);
        }
        world.stop.remove(&account.cloned()).is_some()
    }

    /// Settles a held attempt as a person says. `false` when it is not held.
    pub fn resolve(&self, settlement: &Settlement) -> bool {
        let mut world = self.locked();
        let held = world.open(settlement.attempt_id).is_some_and(|open| open.state == OpenState::Held);
        held && settle_one(&mut world, settlement)
    }

    /// Gives a due lead another number, as nobody should: for tests of what a damaged row may do.
    ///
    /// # Panics
    /// When the lead is not due, or the numbers break a check of the table.
    pub fn damage_due(&self, campaign_id: CampaignId, lead_id: LeadId, attempt_no: u16, tries: u16) -> AttemptId {
        let mut world = self.locked();
        let due = world.due_of(campaign_id, lead_id).expect("the lead is due");
        world.take_due(&due);
        world.insert_due(&crate::port::store::DueKey { attempt_no, tries, ..due });
        let key = crate::domain::id::AttemptKey { campaign_id, lead_id, attempt_no };
        AttemptId::derive(world.installation, key)
    }
}

fn assert_lead(row: &LeadRow) {
    assert!(row.phone.chars().count() <= 64, "a phone has at most 64 characters");
    assert!(row.priority <= 9, "a priority is between 0 and 9");
    assert!(row.time_zone.as_ref().is_none_or(|zone| zone.chars().count() <= 64), "a zone has at most 64 characters");
}
