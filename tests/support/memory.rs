//! The suite's window on the store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use outdial::adapter::memory::{CampaignRecord, MemoryStore, NewLead};
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{
    AccountName, AttemptId, CampaignId, InboxId, Installation, LeadId, LeadListId, ProviderCallId,
};
use outdial::domain::phone::PhoneNumber;
use outdial::port::store::{DueKey, Suppression};

use super::harness::{AttemptSeen, DispositionSeen, Harness, ResultSeen};

pub struct MemoryHarness {
    pub store: MemoryStore,
    seconds: Arc<AtomicU64>,
}

impl MemoryHarness {
    pub fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        let store = MemoryStore::new(
            Installation::new(77),
            Arc::new(move || Duration::from_secs(clock.load(Ordering::Relaxed))),
        );
        Self { store, seconds }
    }
}

impl Harness for MemoryHarness {
    type Store = MemoryStore;

    fn store(&self) -> &MemoryStore {
        &self.store
    }

    async fn insert_list(&self, name: &str) -> LeadListId {
        self.store.insert_list(name)
    }

    async fn insert_lead(&self, list: LeadListId, phone: &str) -> LeadId {
        self.store.insert_lead(list, NewLead::with_phone(phone))
    }

    async fn edit_phone(&self, lead: LeadId, phone: &str) {
        assert!(self.store.update_lead(lead, |lead| lead.row.phone = phone.to_owned()));
    }

    async fn move_to_list(&self, lead: LeadId, list: LeadListId) {
        assert!(self.store.update_lead(lead, |lead| lead.row.lead_list_id = list));
    }

    async fn delete_lead(&self, lead: LeadId) {
        assert!(self.store.delete_lead(lead));
    }

    async fn insert_campaign(&self, name: &str, state: CampaignState) -> CampaignId {
        self.store.insert_campaign(name, state, json!({"edition": 1, "account": "main"}))
    }

    async fn edit_definition(&self, campaign: CampaignId) {
        let version = self.store.inspect(|world| world.campaign[&campaign].version);
        assert!(self.store.update_definition(campaign, json!({ "edition": version + 1, "account": "main" })));
    }

    async fn set_state(&self, campaign: CampaignId, state: CampaignState) {
        assert!(self.store.set_campaign_state(campaign, state));
    }

    async fn suppress(&self, phone: &PhoneNumber, scope: Option<CampaignId>, expires_at: Option<Timestamp>) {
        self.store.add_suppression(phone, scope, Suppression { reason: "asked us".to_owned(), expires_at });
    }

    async fn unsuppress(&self, phone: &PhoneNumber, scope: Option<CampaignId>) {
        assert!(self.store.remove_suppression(phone, scope));
    }

    async fn stop(&self, account: Option<&AccountName>) {
        self.store.add_stop(account.cloned(), "stopped");
    }

    async fn start(&self, account: Option<&AccountName>) {
        assert!(self.store.remove_stop(account));
    }

    async fn let_leases_run_out(&self) {
        self.seconds.fetch_add(1_000_000, Ordering::Relaxed);
    }

    async fn promote_a_standby(&self) {
        self.store.begin_another_line();
    }

    async fn renumber_due(&self, campaign: CampaignId, lead: LeadId, attempt_no: u16, tries: u16) {
        self.store.damage_due(campaign, lead, attempt_no, tries);
    }

    async fn due(&self, campaign: CampaignId, lead: LeadId) -> Option<DueKey> {
        self.store.inspect(|world| world.due_of(campaign, lead))
    }

    async fn disposition(&self, campaign: CampaignId, lead: LeadId) -> Option<DispositionSeen> {
        self.store.inspect(|world| {
            world.disposition.get(&(campaign, lead)).map(|record| DispositionSeen {
                disposition: record.verdict.disposition,
                attempt_no: record.attempt_no,
                tries: record.tries,
            })
        })
    }

    async fn attempt(&self, attempt: AttemptId) -> Option<AttemptSeen> {
        self.store.inspect(|world| {
            world.attempt.get(&attempt).map(|record| AttemptSeen {
                outcome: record.outcome(),
                sent_at: record.sent_at,
                ended_at: record.end.as_ref().map(|end| end.ended_at),
                goal_met: record.goal_met,
                evidence: record.evidence.clone(),
            })
        })
    }

    async fn binding(&self, account: &AccountName, call: &ProviderCallId) -> Option<(AttemptId, String)> {
        self.store.inspect(|world| {
            world.provider_call.get(&(account.clone(), call.clone())).map(|(id, basis)| (*id, basis.to_string()))
        })
    }

    async fn result(&self, attempt: AttemptId) -> Option<ResultSeen> {
        self.store.inspect(|world| {
            world.call_result.get(&attempt).map(|record| ResultSeen {
                status: record.result.status.clone(),
                answered_by: record.result.answered_by.clone(),
                recording_url: record.result.recording_url.clone(),
                contradicted_by: record.contradicted_by.map(|outcome| outcome.to_string()),
            })
        })
    }

    async fn holder(&self, campaign: CampaignId, phone: &PhoneNumber) -> Option<LeadId> {
        self.store.inspect(|world| world.enrolment.get(&(campaign, *phone)).copied())
    }

    async fn pending(&self) -> Vec<InboxId> {
        self.store.inspect(|world| world.pending.keys().copied().collect())
    }

    async fn problem(&self, event: InboxId) -> Option<String> {
        self.store.inspect(|world| world.inbox[&event].problem.clone())
    }

    async fn inbox_count(&self) -> u64 {
        self.store.inspect(|world| world.inbox.len() as u64)
    }

    async fn suppressed_until(&self, phone: &PhoneNumber) -> Option<Option<Timestamp>> {
        self.store.inspect(|world| world.suppression.get(&(*phone, None)).map(|entry| entry.expires_at))
    }

    async fn note(&self, campaign: CampaignId) -> Option<String> {
        let note = |record: &CampaignRecord| record.paused_because.clone().or_else(|| record.note.clone());
        self.store.inspect(|world| note(&world.campaign[&campaign]))
    }

    async fn roster_ids(&self, account: &AccountName) -> Vec<String> {
        let ids = |roster: &Vec<outdial::domain::assistant::Assistant>| {
            roster.iter().map(|assistant| assistant.assistant_id.to_string()).collect()
        };
        self.store.inspect(|world| world.roster.get(account).map(ids).unwrap_or_default())
    }

    async fn broken_invariants(&self) -> Vec<String> {
        self.store.check_invariants()
    }
}
