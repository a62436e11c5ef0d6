//! What the suite needs besides the store: what users do to its tables, and a look at them.

use jiff::Timestamp;

use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{AccountName, AttemptId, CampaignId, InboxId, LeadId, LeadListId, ProviderCallId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::phone::PhoneNumber;
use outdial::port::store::{DueKey, Store};

/// A store, its users, and a window on its tables.
pub trait Harness {
    type Store: Store;

    fn store(&self) -> &Self::Store;

    // What users do, with the triggers of the schema.
    async fn insert_list(&self, name: &str) -> LeadListId;
    async fn insert_lead(&self, list: LeadListId, phone: &str) -> LeadId;
    async fn edit_phone(&self, lead: LeadId, phone: &str);
    async fn move_to_list(&self, lead: LeadId, list: LeadListId);
    async fn delete_lead(&self, lead: LeadId);
    async fn insert_campaign(&self, name: &str, state: CampaignState) -> CampaignId;
    async fn edit_definition(&self, campaign: CampaignId);
    async fn set_state(&self, campaign: CampaignId, state: CampaignState);
    async fn suppress(&self, phone: &PhoneNumber, scope: Option<CampaignId>, expires_at: Option<Timestamp>);
    async fn unsuppress(&self, phone: &PhoneNumber, scope: Option<CampaignId>);
    async fn stop(&self, account: Option<&AccountName>);
    async fn start(&self, account: Option<&AccountName>);

    /// Lets all leases run out without giving them up.
    async fn let_leases_run_out(&self);
    /// The server fails over: the database goes on, with another history.
    async fn promote_a_standby(&self);
    /// Damages a due row: gives it an attempt number it should not have.
    async fn renumber_due(&self, campaign: CampaignId, lead: LeadId, attempt_no: u16, tries: u16);

    // A look at the tables.
    async fn due(&self, campaign: CampaignId, lead: LeadId) -> Option<DueKey>;
    async fn disposition(&self, campaign: CampaignId, lead: LeadId) -> Option<DispositionSeen>;
    async fn attempt(&self, attempt: AttemptId) -> Option<AttemptSeen>;
    async fn binding(&self, account: &AccountName, call: &ProviderCallId) -> Option<(AttemptId, String)>;
    async fn result(&self, attempt: AttemptId) -> Option<ResultSeen>;
    async fn holder(&self, campaign: CampaignId, phone: &PhoneNumber) -> Option<LeadId>;
    async fn pending(&self) -> Vec<InboxId>;
    async fn problem(&self, event: InboxId) -> Option<String>;
    async fn inbox_count(&self) -> u64;
    async fn suppressed_until(&self, phone: &PhoneNumber) -> Option<Option<Timestamp>>;
    async fn note(&self, campaign: CampaignId) -> Option<String>;
    async fn roster_ids(&self, account: &AccountName) -> Vec<String>;

    /// Invariants that are broken.
    async fn broken_invariants(&self) -> Vec<String>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispositionSeen {
    pub disposition: Disposition,
    pub attempt_no: u16,
    pub tries: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptSeen {
    pub outcome: Option<Outcome>,
    pub sent_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub goal_met: Option<bool>,
    pub evidence: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultSeen {
    pub status: String,
    pub answered_by: Option<String>,
    pub recording_url: Option<String>,
    pub contradicted_by: Option<String>,
}
