//! Leads, and their place in a campaign.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
use super::outcome::Disposition;
use super::phone::PhoneNumber;
use super::retry::Verdict;

/// One lane of the due table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stratum {
    /// Campaign.
    pub campaign_id: CampaignId,
    /// Calling group.
    pub calling_group_id: CallingGroupId,
    /// 0 goes first, 9 last.
    pub priority: u8,
}

/// A row of the due table.
#[derive(Clone, Debug, PartialEq)]
pub struct DueKey {
    /// Lane.
    pub stratum: Stratum,
    /// Since when it is due.
    pub due_at: Timestamp,
    /// Whom.
    pub lead_id: LeadId,
    /// Number of the attempt this becomes.
    pub attempt_no: u16,
    /// Tries before it.
    pub tries: u16,
    /// The enrolled phone.
    pub phone: PhoneNumber,
}

/// What a lead says.
#[derive(Clone, PartialEq)]
pub struct LeadFacts {
    /// Grows with each change.
    pub version: i64,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Not after this.
    pub not_after: Option<Timestamp>,
    /// Its variables.
    pub variables: Map<String, Value>,
}

impl std::fmt::Debug for LeadFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadFacts")
            .field("version", &self.version)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("variables", &format_args!("({} hidden)", self.variables.len()))
            .finish()
    }
}

/// A lead as its owner wrote it.
#[derive(Clone, PartialEq)]
pub struct LeadRow {
    /// Key.
    pub lead_id: LeadId,
    /// Its list.
    pub lead_list_id: LeadListId,
    /// As written.
    pub phone: String,
    /// As written.
    pub time_zone: Option<String>,
    /// 0 goes first, 9 last.
    pub priority: u8,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Not after this.
    pub not_after: Option<Timestamp>,
}

impl std::fmt::Debug for LeadRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeadRow").field("lead_id", &self.lead_id).finish_non_exhaustive()
    }
}

/// A lead's place in one campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadPlace {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// Whether the campaign dials the lead's list.
    pub wanted: bool,
    /// Where it is.
    pub place: Place,
}

/// Where a lead is in a campaign.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Never seen.
    Nowhere,
    /// Due.
    Due(DueKey),
    /// An attempt is open.
    Open,
    /// Done with.
    Disposed {
        /// The verdict.
        disposition: Disposition,
        /// Number the next attempt would have.
        attempt_no: u16,
        /// Tries so far.
        tries: u16,
        /// The phone it was enrolled with, if it was.
        phone: Option<PhoneNumber>,
    },
}

/// A step of a lead in a campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct EnrolmentStep {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// Which lead.
    pub lead_id: LeadId,
    /// What happens.
    pub action: EnrolmentAction,
}

/// What happens to a lead in a campaign.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrolmentAction {
    /// From nowhere or a reversible disposition to due. Claims the phone in this campaign; if another lead has it, the
    /// lead becomes `duplicate` instead. A phone the lead had here before is given up only if it was never attempted.
    Due {
        /// Its phone.
        phone: PhoneNumber,
        /// Key of the calling group's evidence; the group is made if it is new.
        group_key: String,
        /// 0 goes first.
        priority: u8,
        /// When.
        due_at: Timestamp,
        /// Number of the attempt it becomes.
        attempt_no: u16,
        /// Tries so far.
        tries: u16,
    },
    /// A due lead changes group, priority, phone or date. The phone is claimed as above.
    Move {
        /// Where it is.
        from: DueKey,
        /// Its phone.
        phone: PhoneNumber,
        /// Key of the calling group's evidence.
        group_key: String,
        /// 0 goes first.
        priority: u8,
        /// When.
        due_at: Timestamp,
    },
    /// From nowhere, due, or another reversible disposition to a disposition. `removed` and `invalid_number` give up the
    /// phone if it was never attempted.
    Dispose {
        /// The verdict.
        verdict: Verdict,
        /// Number the next attempt would have.
        attempt_no: u16,
        /// Tries so far.
        tries: u16,
    },
}
