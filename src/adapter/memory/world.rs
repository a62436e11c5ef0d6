//! The tables, as maps in key order, and the schema's constraints, as assertions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::assistant::{Assistant, Fingerprint};
use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::campaign::CampaignState;
use crate::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CallingGroupId, CampaignId, Epoch, InboxId, Installation, LeadId,
    LeadListId, OwnerId, ProviderCallId,
};
use crate::domain::outcome::{Disposition, Outcome};
use crate::domain::phone::PhoneNumber;
use crate::domain::report::Source;
use crate::port::store::{
    AccountState, CallResult, DueKey, LeadFacts, LeadRow, OpenAttempt, Reconciliation, Stratum, Suppression, Verdict,
};

/// Everything a database holds.
#[derive(Clone)]
pub struct World {
    /// Which database this is.
    pub installation: Installation,
    /// Lists and their names.
    pub lead_list: BTreeMap<LeadListId, String>,
    /// Leads as their owners wrote them.
    pub lead: BTreeMap<LeadId, LeadRecord>,
    /// Campaigns.
    pub campaign: BTreeMap<CampaignId, CampaignRecord>,
    /// Leads that were inserted, changed or deleted and are not followed up yet, by the change's id.
    pub lead_change: BTreeMap<i64, LeadId>,
    /// Which lists a campaign dials, and how far they are walked.
    pub campaign_list: BTreeMap<(CampaignId, LeadListId), CampaignListRecord>,
    /// Calling groups by their evidence.
    pub calling_group: BTreeMap<String, CallingGroupId>,
    /// Lanes that ever had a due lead.
    pub stratum: BTreeSet<Stratum>,
    /// Which lead has a phone in a campaign.
    pub enrolment: BTreeMap<(CampaignId, PhoneNumber), LeadId>,
    /// Leads that wait for their next attempt, in the order in which they are peeked.
    pub due: BTreeMap<DuePosition, DueRecord>,
    /// The person mutex.
    pub open_attempt: BTreeMap<PhoneNumber, OpenAttempt>,
    /// One row per intent, for ever.
    pub attempt: BTreeMap<AttemptId, AttemptRecord>,
    /// Which attempt a provider's call is, and on what grounds.
    pub provider_call: BTreeMap<(AccountName, ProviderCallId), (AttemptId, MatchBasis)>,
    /// Verdicts on leads.
    pub disposition: BTreeMap<(CampaignId, LeadId), DispositionRecord>,
    /// What providers know of calls.
    pub call_result: BTreeMap<AttemptId, ResultRecord>,
    /// Raw events.
    pub inbox: BTreeMap<InboxId, InboxRecord>,
    /// Events that are not applied yet.
    pub pending: BTreeMap<InboxId, PendingRecord>,
    /// Who dials an account.
    pub lease: BTreeMap<AccountName, LeaseRecord>,
    /// Signs of life.
    pub replica: BTreeMap<OwnerId, ReplicaRecord>,
    /// Which history the database is on, and which one daemons have dialed on.
    pub line: (u64, u64),
    /// Accounts that do not dial because attempts of them may be missing.
    pub reconciliation: BTreeMap<AccountName, Reconciliation>,
    /// Panic stops; `None` stops everything.
    pub stop: BTreeMap<Option<AccountName>, String>,
    /// Do-not-call entries; without a campaign they hold everywhere.
    pub suppression: BTreeMap<(PhoneNumber, Option<CampaignId>), Suppression>,
    /// Accounts that cannot place calls, or could not.
    pub account_state: BTreeMap<AccountName, AccountState>,
    /// Assistants as last read.
    pub roster: BTreeMap<AccountName, Vec<Assistant>>,
    /// What assistants were when campaigns began to use them, and since when.
    pub assistant_pin: BTreeMap<(CampaignId, AccountName, AssistantId), (Fingerprint, Timestamp)>,
    /// Days the inbox has a partition for.
    pub inbox_partition: BTreeSet<jiff::civil::Date>,

    // Indexes: derived from the tables above, never the truth.
    pub(super) due_of_lead: BTreeMap<(CampaignId, LeadId), DuePosition>,
    pub(super) phones_of_lead: BTreeMap<(CampaignId, LeadId), BTreeSet<PhoneNumber>>,
    pub(super) phone_of_open: BTreeMap<AttemptId, PhoneNumber>,
    pub(super) attempts_of_phone: BTreeSet<(PhoneNumber, AttemptId)>,
    pub(super) attempts_by_intent: BTreeSet<(Timestamp, AttemptId)>,
    last_key: BTreeMap<&'static str, i64>,
}

/// A row of the lead table.
#[derive(Clone, PartialEq)]
pub struct LeadRecord {
    /// The columns enrolment reads.
    pub row: LeadRow,
    /// Variables of its calls.
    pub variables: Map<String, Value>,
    /// Grows with each update.
    pub version: i64,
}

/// A row of the campaign table.
#[derive(Clone, Debug)]
pub struct CampaignRecord {
    /// Unique name.
    pub name: String,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Grows from one campaign to the next that finishes; only while it is finished.
    pub finished_no: Option<i64>,
    /// Grows with each change of the definition.
    pub version: i64,
    /// The YAML's content.
    pub definition: Arc<Value>,
    /// Why it is not dialed at the moment.
    pub note: Option<String>,
    /// Why the daemon paused it; only while it is paused.
    pub paused_because: Option<String>,
}

/// How far a list is walked for a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CampaignListRecord {
    /// Whether the campaign dials it.
    pub wanted: bool,
    /// The campaign version it is walked for.
    pub version: i64,
    /// The walk goes on behind this lead.
    pub walked_to: Option<LeadId>,
    /// Whether the walk is over.
    pub walked: bool,
}

/// Key of the due table.
pub type DuePosition = (Stratum, Timestamp, LeadId);

/// The other columns of the due table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRecord {
    /// Number of the attempt this becomes.
    pub attempt_no: u16,
    /// Tries before it.
    pub tries: u16,
    /// The enrolled phone.
    pub phone: PhoneNumber,
}

/// A row of the attempt table; campaign, lead and number are in its id.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// Whom it rings.
    pub phone: PhoneNumber,
    /// Tries before it.
    pub tries: u16,
    /// The account that dials.
    pub account: AccountName,
    /// Who speaks.
    pub assistant_id: AssistantId,
    /// The lease's term.
    pub epoch: Epoch,
    /// When the intent became durable.
    pub intent_at: Timestamp,
    /// What the instant was judged by.
    pub evidence: String,
    /// When the request left, if that is known.
    pub sent_at: Option<Timestamp>,
    /// How it ended.
    pub end: Option<AttemptEnd>,
    /// Whether the goal was met, where there is one.
    pub goal_met: Option<bool>,
    /// Whether the provider refused the request for a reason nobody documents.
    pub refused: bool,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// When.
    pub ended_at: Timestamp,
    /// With what.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
}

impl AttemptRecord {
    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.end.as_ref().map(|end| end.outcome)
    }

    /// When the request left, or was meant to where that is unknown.
    pub fn at(&self) -> Timestamp {
        self.sent_at.unwrap_or(self.intent_at)
    }

    /// Whether the phone rang or may have.
    pub fn may_have_rung(&self) -> bool {
        self.outcome().is_none_or(Outcome::may_have_rung)
    }

    /// Whether a request may have been sent.
    pub fn may_have_been_sent(&self) -> bool {
        self.sent_at.is_some()
            || match self.outcome() {
                Some(Outcome::NotPlaced | Outcome::Rejected | Outcome::Canceled) => false,
                None
                | Some(
                    Outcome::Answered
                    | Outcome::Voicemail
                    | Outcome::NoAnswer
                    | Outcome::Busy
                    | Outcome::Failed
                    | Outcome::Unknown,
                ) => true,
            }
    }
}

/// A row of the disposition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispositionRecord {
    /// The verdict.
    pub verdict: Verdict,
    /// Number the next attempt would have.
    pub attempt_no: u16,
    /// Tries so far.
    pub tries: u16,
    /// When.
    pub disposed_at: Timestamp,
}

/// A row of the call_result table.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRecord {
    /// What the provider knows.
    pub result: CallResult,
    /// An outcome that late evidence speaks for instead.
    pub contradicted_by: Option<Outcome>,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// Whether its payload is gone for its age; it does not come back.
    pub payload_removed: bool,
}

/// A row of the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRecord {
    /// When it was received.
    pub received_at: Timestamp,
    /// Whose.
    pub account: AccountName,
    /// Webhook or call object.
    pub source: Source,
    /// As received.
    pub body: Bytes,
    /// Why it could not be read or matched.
    pub problem: Option<String>,
    /// The version that could not read it.
    pub quarantined_by: Option<String>,
}

/// A row of the pending table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRecord {
    /// Whose.
    pub account: AccountName,
    /// When to look at it.
    pub retry_at: Timestamp,
    /// The attempt it is known to belong to.
    pub attempt_id: Option<AttemptId>,
}

/// A row of the lease table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who dials.
    pub owner: OwnerId,
    /// The term.
    pub epoch: Epoch,
    /// When it runs out, by the database's clock.
    pub expires_at: Duration,
}

/// A row of the replica table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    /// The accounts of its configuration, sorted.
    pub accounts: Vec<AccountName>,
    /// Number of its last beat.
    pub beat_no: i64,
    /// When, by the database's clock; `None` since it has left.
    pub beat_at: Option<Duration>,
    /// The same moment, civil.
    pub civil_at: Timestamp,
}

impl World {
    pub(super) fn new(installation: Installation) -> Self {
        Self {
            installation,
            lead_list: BTreeMap::new(),
            lead: BTreeMap::new(),
            campaign: BTreeMap::new(),
            lead_change: BTreeMap::new(),
            campaign_list: BTreeMap::new(),
            calling_group: BTreeMap::new(),
            stratum: BTreeSet::new(),
            enrolment: BTreeMap::new(),
            due: BTreeMap::new(),
            open_attempt: BTreeMap::new(),
            attempt: BTreeMap::new(),
            provider_call: BTreeMap::new(),
            disposition: BTreeMap::new(),
            call_result: BTreeMap::new(),
            inbox: BTreeMap::new(),
            pending: BTreeMap::new(),
            lease: BTreeMap::new(),
            replica: BTreeMap::new(),
            line: (1, 1),
            reconciliation: BTreeMap::new(),
            stop: BTreeMap::new(),
            suppression: BTreeMap::new(),
            account_state: BTreeMap::new(),
            roster: BTreeMap::new(),
            assistant_pin: BTreeMap::new(),
            inbox_partition: BTreeSet::new(),
            due_of_lead: BTreeMap::new(),
            phones_of_lead: BTreeMap::new(),
            phone_of_open: BTreeMap::new(),
            attempts_of_phone: BTreeSet::new(),
            attempts_by_intent: BTreeSet::new(),
            last_key: BTreeMap::new(),
        }
    }

    /// The next key of a table; counts from 1.
    pub(super) fn next_key(&mut self, table: &'static str) -> i64 {
        let last = self.last_key.entry(table).or_default();
        *last += 1;
        *last
    }

    /// Leaves out keys that rows of a lost history may have had.
    pub(super) fn skip_keys(&mut self) {
        for table in ["lead", "campaign"] {
            *self.last_key.entry(table).or_default() += 1_000;
        }
    }

    /// A lead's due row.
    pub fn due_of(&self, campaign_id: CampaignId, lead_id: LeadId) -> Option<DueKey> {
        let position = self.due_of_lead.get(&(campaign_id, lead_id))?;
        Some(due_key(position, self.due.get(position).expect("the index follows the table")))
    }

    /// An open attempt.
    pub fn open(&self, attempt_id: AttemptId) -> Option<&OpenAttempt> {
        self.phone_of_open.get(&attempt_id).map(|phone| &self.open_attempt[phone])
    }

    pub(super) fn open_mut(&mut self, attempt_id: AttemptId) -> Option<&mut OpenAttempt> {
        self.open_attempt.get_mut(self.phone_of_open.get(&attempt_id)?)
    }

    /// Moves a campaign to a state. `false` when there is no such campaign.
    pub(super) fn set_campaign_state(&mut self, campaign_id: CampaignId, state: CampaignState) -> bool {
        let finished_no = self.finished_no(state);
        let Some(campaign) = self.campaign.get_mut(&campaign_id) else { return false };
        campaign.finished_no = finished_no.map(|no| campaign.finished_no.unwrap_or(no));
        campaign.state = state;
        if state != CampaignState::Paused && campaign.paused_because.take().is_some() && state == CampaignState::Active
        {
            self.pin_anew(campaign_id);
        }
        true
    }

    /// Takes a campaign's assistants as they were last read. When that was is kept by the pins.
    fn pin_anew(&mut self, campaign_id: CampaignId) {
        for ((campaign, account, assistant_id), (pinned, _)) in &mut self.assistant_pin {
            if *campaign != campaign_id {
                continue;
            }
            let roster = self.roster.get(account).map(Vec::as_slice).unwrap_or_default();
            let read = roster.iter().find(|assistant| assistant.assistant_id == *assistant_id);
            if let Some(fingerprint) = read.and_then(|assistant| assistant.details.fingerprint.as_ref()) {
                pinned.clone_from(fingerprint);
            }
        }
    }

    /// The number of a campaign that gets to `state` now.
    pub(super) fn finished_no(&mut self, state: CampaignState) -> Option<i64> {
        (state == CampaignState::Finished).then(|| self.next_key("finished"))
    }

    /// A lead's attempts in a campaign, oldest first.
    pub fn attempts_of_lead(
        &self,
        campaign_id: CampaignId,
        lead_id: LeadId,
    ) -> impl DoubleEndedIterator<Item = (AttemptId, &AttemptRecord)> {
        let (first, last) = AttemptId::range_of_lead(self.installation, campaign_id, lead_id);
        self.attempt.range(first..=last).map(|(id, attempt)| (*id, attempt))
    }

    /// All attempts to a phone.
    pub fn attempts_of_phone(&self, phone: &PhoneNumber) -> impl Iterator<Item = (AttemptId, &AttemptRecord)> {
        let (first, last) = (AttemptId::from_stored(uuid::Uuid::nil()), AttemptId::from_stored(uuid::Uuid::max()));
        self.attempts_of_phone.range((*phone, first)..=(*phone, last)).map(|(_, id)| (*id, &self.attempt[id]))
    }

    /// Phones that are a lead's in a campaign.
    pub fn phones_of_lead(&self, campaign_id: CampaignId, lead_id: LeadId) -> Vec<PhoneNumber> {
        self.phones_of_lead.get(&(campaign_id, lead_id)).into_iter().flatten().cloned().collect()
    }

    /// Whether the lead has an open attempt, in any campaign.
    pub fn has_open_attempt(&self, lead_id: LeadId) -> bool {
        self.open_attempt.values().any(|open| open.attempt_id.key().lead_id == lead_id)
    }

    /// A lead's open attempt in a campaign.
    pub fn open_of(&self, campaign_id: CampaignId, lead_id: LeadId) -> Option<&OpenAttempt> {
        self.open_attempt.values().find(|open| {
            let key = open.attempt_id.key();
            (key.campaign_id, key.lead_id) == (campaign_id, lead_id)
        })
    }

    /// What the gate wants to know of a lead.
    pub(super) fn lead_facts(&self, lead_id: LeadId) -> Option<LeadFacts> {
        self.lead.get(&lead_id).map(|lead| LeadFacts {
            version: lead.version,
            not_before: lead.row.not_before,
            not_after: lead.row.not_after,
            variables: lead.variables.clone(),
        })
    }

    pub(super) fn note_change(&mut self, lead_id: LeadId) {
        let change_id = self.next_key("lead_change");
        self.lead_change.insert(change_id, lead_id);
    }

    pub(super) fn insert_due(&mut self, row: &DueKey) {
        assert!(row.stratum.priority <= 9, "a priority is between 0 and 9");
        assert!(row.attempt_no >= 1, "attempt numbers begin at 1");
        assert!(row.tries < row.attempt_no, "each try had a number of its own");
        let position = (row.stratum, row.due_at, row.lead_id);
        let record = DueRecord { attempt_no: row.attempt_no, tries: row.tries, phone: row.phone };
        let twin = self.due_of_lead.insert((row.stratum.campaign_id, row.lead_id), position);
        assert_eq!(twin, None, "a lead is due at most once in a campaign");
        self.due.insert(position, record);
        self.stratum.insert(row.stratum);
    }

    /// Deletes the row if it is still exactly where and what it was when it was seen.
    pub(super) fn take_due(&mut self, seen: &DueKey) -> bool {
        let found = self.due_of(seen.stratum.campaign_id, seen.lead_id).as_ref() == Some(seen);
        if found {
            self.due.remove(&(seen.stratum, seen.due_at, seen.lead_id));
            self.due_of_lead.remove(&(seen.stratum.campaign_id, seen.lead_id));
        }
        found
    }

    pub(super) fn insert_open(&mut self, open: OpenAttempt, evidence: &str) {
        let AttemptKey { attempt_no, .. } = open.attempt_id.key();
        assert!(open.tries < attempt_no, "each try had a number of its own");
        let attempt = AttemptRecord {
            phone: open.phone,
            tries: open.tries,
            account: open.account.clone(),
            assistant_id: open.assistant_id.clone(),
            epoch: open.epoch,
            intent_at: open.intent_at,
            evidence: evidence.to_owned(),
            sent_at: None,
            end: None,
            goal_met: None,
            refused: false,
        };
        let id = open.attempt_id;
        self.insert_attempt(id, attempt);
        self.phone_of_open.insert(id, open.phone);
        let twin = self.open_attempt.insert(open.phone, open);
        assert_eq!(twin, None, "a phone has at most one open attempt");
    }

    pub(super) fn insert_attempt(&mut self, id: AttemptId, attempt: AttemptRecord) {
        self.attempts_of_phone.insert((attempt.phone, id));
        self.attempts_by_intent.insert((attempt.intent_at, id));
        assert_eq!(self.attempt.insert(id, attempt), None, "an attempt is written once");
    }

    pub(super) fn take_open(&mut self, attempt_id: AttemptId) -> Option<OpenAttempt> {
        let phone = self.phone_of_open.remove(&attempt_id)?;
        Some(self.open_attempt.remove(&phone).expect("the index follows the table"))
    }

    /// Upserts a disposition.
    pub(super) fn set_disposition(&mut self, campaign_id: CampaignId, lead_id: LeadId, record: DispositionRecord) {
        assert!(record.attempt_no >= 1, "attempt numbers begin at 1");
        self.disposition.insert((campaign_id, lead_id), record);
    }

    /// Binds a call unless it is bound; answers whose it is.
    pub(super) fn bind(
        &mut self,
        account: &AccountName,
        call_id: &ProviderCallId,
        to: (AttemptId, MatchBasis),
    ) -> AttemptId {
        assert!(self.attempt.contains_key(&to.0), "a call is bound to an attempt that exists");
        self.provider_call.entry((account.clone(), call_id.clone())).or_insert(to).0
    }

    /// Suppresses a phone everywhere and for good.
    pub(super) fn suppress(&mut self, phone: &PhoneNumber, reason: &str) {
        assert!((1..=500).contains(&reason.chars().count()), "a suppression says why, in at most 500 characters");
        let key = (*phone, None);
        match self.suppression.get_mut(&key) {
            None => {
                self.suppression.insert(key, Suppression { reason: reason.to_owned(), expires_at: None });
            }
            Some(entry) => {
                if entry.expires_at.take().is_some() {
                    reason.clone_into(&mut entry.reason);
                    self.note_end_of_suppression(phone, None);
                }
            }
        }
    }

    /// The suppression that holds for a phone in a campaign, at an instant; the one that lasts longest.
    pub(super) fn suppression_at(
        &self,
        phone: &PhoneNumber,
        campaign_id: CampaignId,
        now: Timestamp,
    ) -> Option<&Suppression> {
        [None, Some(campaign_id)]
            .into_iter()
            .filter_map(|scope| self.suppression.get(&(*phone, scope)))
            .filter(|entry| entry.expires_at.is_none_or(|end| end > now))
            .max_by_key(|entry| entry.expires_at.unwrap_or(Timestamp::MAX))
    }

    /// What the trigger on the suppression table does: leads that an entry had disposed of are noted as changed.
    pub(super) fn note_end_of_suppression(&mut self, phone: &PhoneNumber, scope: Option<CampaignId>) {
        let mut leads: Vec<LeadId> = self
            .campaign
            .keys()
            .filter(|campaign| scope.is_none_or(|scope| scope == **campaign))
            .filter_map(|campaign| {
                let lead = *self.enrolment.get(&(*campaign, *phone))?;
                let record = self.disposition.get(&(*campaign, lead))?;
                (record.verdict.disposition == Disposition::Suppressed).then_some(lead)
            })
            .collect();
        leads.sort_unstable();
        leads.dedup();
        for lead in leads {
            self.note_change(lead);
        }
    }

    /// Constraints of the open_attempt table.
    pub(super) fn assert_open(open: &OpenAttempt) {
        let doubtful = matches!(open.state, OpenState::InDoubt | OpenState::Held);
        assert!(!doubtful || open.reason.is_some(), "an attempt in doubt or held says why");
        assert!(
            open.state != OpenState::InDoubt || open.absence_from.is_some(),
            "an attempt in doubt says from when on absence proves anything"
        );
    }
}

pub(super) fn due_key(&(stratum, due_at, lead_id): &DuePosition, record: &DueRecord) -> DueKey {
    DueKey { stratum, due_at, lead_id, attempt_no: record.attempt_no, tries: record.tries, phone: record.phone }
}
