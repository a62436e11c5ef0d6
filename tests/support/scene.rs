//! One campaign, one list, one account with its lease: where most cases begin.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use outdial::domain::attempt::OpenState;
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CampaignId, InboxId, LeadId, LeadListId, OwnerId, ProviderCallId,
};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::Source;
use outdial::port::store::{
    CampaignLists, DialIntent, DueKey, EnrolmentAction, EnrolmentDone, EnrolmentStep, InboxEvent, Lease, LeaseRequest,
    NextPlace, OpenAttempt, OpenChange, Probe, ReplyFact, ReplyRecord, Settlement, Store, Stratum, Verdict,
};

use super::harness::Harness;

pub const GROUP: &str = "DE";
pub const TTL: Duration = Duration::from_secs(3600);

pub struct Scene<H: Harness> {
    pub h: H,
    pub list: LeadListId,
    pub campaign: CampaignId,
    pub account: AccountName,
    pub lease: Lease,
}

/// Seconds into the test's day.
pub fn at(seconds: i64) -> Timestamp {
    let origin: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    origin + SignedDuration::from_secs(seconds)
}

pub fn phone(last: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+4930123{last:05}")).unwrap()
}

pub fn owner(n: u128) -> OwnerId {
    OwnerId(Uuid::from_u128(n))
}

pub fn call_id(n: u32) -> ProviderCallId {
    ProviderCallId::new(format!("call-{n}"))
}

pub fn verdict(disposition: Disposition) -> Verdict {
    Verdict { disposition, reason: "a test said so".to_owned() }
}

impl<H: Harness> Scene<H> {
    pub async fn set(h: H) -> Self {
        let list = h.insert_list("spring").await;
        let campaign = h.insert_campaign("renewals", CampaignState::Active).await;
        let account = AccountName::new("main");
        let lists = CampaignLists { campaign_id: campaign, version: 1, lead_lists: vec!["spring".to_owned()] };
        h.store().set_campaign_lists(&[lists]).await.unwrap();
        let leases =
            h.store().renew_leases(&LeaseRequest::all(owner(1), std::slice::from_ref(&account), TTL)).await.unwrap();
        let lease = leases.into_iter().next().expect("a free lease is given");
        let scene = Self { h, list, campaign, account, lease };
        scene.walk().await;
        scene
    }

    pub fn store(&self) -> &H::Store {
        self.h.store()
    }

    /// Walks every list to its end without a step.
    pub async fn walk(&self) {
        while let Some(page) = self.store().next_list_page(100).await.unwrap() {
            let done = EnrolmentDone::Page {
                campaign_id: page.campaign_id,
                lead_list_id: page.lead_list_id,
                after: page.last_lead_id,
                version: page.version,
            };
            self.store().apply_enrolment(&[], done, at(0)).await.unwrap();
        }
    }

    /// Forgets every change that is to be seen.
    pub async fn forget_changes(&self) {
        let changes = self.store().peek_lead_changes(1000).await.unwrap();
        let ids = changes.into_iter().flat_map(|change| change.change_ids).collect();
        self.store().apply_enrolment(&[], EnrolmentDone::Changes(ids), at(0)).await.unwrap();
    }

    pub async fn changed_leads(&self) -> Vec<LeadId> {
        self.store().peek_lead_changes(1000).await.unwrap().into_iter().map(|change| change.lead_id).collect()
    }

    pub fn step_due(&self, lead_id: LeadId, phone: &PhoneNumber, numbering: (u16, u16)) -> EnrolmentStep {
        EnrolmentStep {
            campaign_id: self.campaign,
            lead_id,
            action: EnrolmentAction::Due {
                phone: *phone,
                group_key: GROUP.to_owned(),
                priority: 5,
                due_at: at(0),
                attempt_no: numbering.0,
                tries: numbering.1,
            },
        }
    }

    pub fn step_dispose(&self, lead_id: LeadId, disposition: Disposition, numbering: (u16, u16)) -> EnrolmentStep {
        let (attempt_no, tries) = numbering;
        let action = EnrolmentAction::Dispose { verdict: verdict(disposition), attempt_no, tries };
        EnrolmentStep { campaign_id: self.campaign, lead_id, action }
    }

    /// Applies steps and forgets the changes that can be seen.
    pub async fn apply(&self, steps: &[EnrolmentStep]) {
        let changes = self.store().peek_lead_changes(1000).await.unwrap();
        let ids = changes.into_iter().flat_map(|change| change.change_ids).collect();
        self.store().apply_enrolment(steps, EnrolmentDone::Changes(ids), at(0)).await.unwrap();
    }

    /// A lead that is due since the beginning.
    pub async fn due_lead(&self, to: &PhoneNumber) -> DueKey {
        let lead = self.h.insert_lead(self.list, to.e164()).await;
        self.apply(&[self.step_due(lead, to, (1, 0))]).await;
        self.h.due(self.campaign, lead).await.expect("the lead is enrolled")
    }

    /// A due lead in another campaign.
    pub async fn due_lead_of(&self, campaign: CampaignId, to: &PhoneNumber) -> DueKey {
        let lead = self.h.insert_lead(self.list, to.e164()).await;
        let step = EnrolmentStep { campaign_id: campaign, ..self.step_due(lead, to, (1, 0)) };
        self.apply(&[step]).await;
        self.h.due(campaign, lead).await.expect("the lead is enrolled")
    }

    pub fn intent(&self, due: &DueKey) -> DialIntent {
        let key = AttemptKey { campaign_id: due.stratum.campaign_id, lead_id: due.lead_id, attempt_no: due.attempt_no };
        DialIntent {
            attempt_id: AttemptId::derive(self.store().installation(), key),
            due: due.clone(),
            campaign_version: 1,
            lead_version: 1,
            assistant_id: AssistantId::new("anna"),
            deadline_at: at(600),
            newest_call_known: Some(call_id(900)),
            evidence: "Europe/Berlin 10:00".to_owned(),
        }
    }

    /// Begins to dial; answers the ids that are durable.
    pub async fn begin(&self, lease: &Lease, intents: &[DialIntent]) -> Vec<AttemptId> {
        let committed = self.store().begin_dials(lease, intents, None, at(10)).await.unwrap();
        committed.iter().map(|intent| intent.attempt_id()).collect()
    }

    /// An attempt that is being dialed.
    pub async fn dialing(&self, to: &PhoneNumber) -> AttemptId {
        let due = self.due_lead(to).await;
        let begun = self.begin(&self.lease, &[self.intent(&due)]).await;
        assert_eq!(begun.len(), 1, "a due lead is dialed");
        begun[0]
    }

    pub fn reply_placed(&self, attempt_id: AttemptId, call: Option<ProviderCallId>) -> ReplyRecord {
        let reply = ReplyFact::Placed { call_id: call, poll_at: at(60), deadline_at: None };
        ReplyRecord { attempt_id, sent_at: Some(at(11)), reply }
    }

    pub fn reply_in_doubt(&self, attempt_id: AttemptId) -> ReplyRecord {
        let reply = ReplyFact::InDoubt {
            reason: "timeout".to_owned(),
            accepted: false,
            absence_from: at(40),
            poll_at: at(45),
            deadline_at: at(1500),
        };
        ReplyRecord { attempt_id, sent_at: Some(at(11)), reply }
    }

    pub fn change(&self, attempt_id: AttemptId, from: OpenState, to: OpenState) -> OpenChange {
        OpenChange {
            attempt_id,
            from,
            to,
            reason: (to == OpenState::Held).then(|| "nobody knows".to_owned()),
            poll_at: None,
            deadline_at: None,
            absence_from: None,
            absent_since: None,
        }
    }

    pub async fn placed(&self, to: &PhoneNumber, call: ProviderCallId) -> AttemptId {
        let id = self.dialing(to).await;
        assert_eq!(self.store().record_replies(&[self.reply_placed(id, Some(call))]).await.unwrap(), [id]);
        id
    }

    pub async fn in_doubt(&self, to: &PhoneNumber) -> AttemptId {
        let id = self.dialing(to).await;
        assert_eq!(self.store().record_replies(&[self.reply_in_doubt(id)]).await.unwrap(), [id]);
        id
    }

    pub async fn held(&self, to: &PhoneNumber) -> AttemptId {
        let id = self.in_doubt(to).await;
        let change = self.change(id, OpenState::InDoubt, OpenState::Held);
        assert_eq!(self.store().change_open(&[change]).await.unwrap(), [id]);
        id
    }

    pub async fn open(&self, id: AttemptId) -> Option<OpenAttempt> {
        let open = self.store().open_attempts(&self.account).await.unwrap();
        open.into_iter().find(|open| open.attempt_id == id)
    }

    /// An end after which the lead is due again.
    pub fn ended(&self, id: AttemptId, outcome: Outcome, tries: u16) -> Settlement {
        Settlement {
            attempt_id: id,
            outcome,
            ended_at: at(100),
            sent_at: None,
            refused: false,
            reason: "the test ends it".to_owned(),
            result: None,
            next: NextPlace::Due { due_at: at(7200), attempt_no: id.key().attempt_no + 1, tries },
            suppress: None,
            inbox: Vec::new(),
        }
    }

    /// An end after which the lead is done with.
    pub fn ended_for_good(&self, id: AttemptId, outcome: Outcome, disposition: Disposition, tries: u16) -> Settlement {
        let attempt_no = id.key().attempt_no + 1;
        let next = NextPlace::Disposed { verdict: verdict(disposition), attempt_no, tries };
        Settlement { next, ..self.ended(id, outcome, tries) }
    }

    pub fn event(&self, source: Source, body: &str, attempt_id: Option<AttemptId>) -> InboxEvent {
        InboxEvent {
            account: self.account.clone(),
            source,
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
            attempt_id,
        }
    }

    /// Stores an event; answers its id.
    pub async fn arrive(&self, body: &str, attempt_id: Option<AttemptId>) -> InboxId {
        let before = self.h.pending().await;
        self.store().append_inbox(&[self.event(Source::Webhook, body, attempt_id)], at(20)).await.unwrap();
        let new: Vec<_> = self.h.pending().await.into_iter().filter(|id| !before.contains(id)).collect();
        assert_eq!(new.len(), 1, "one event is pending more");
        new[0]
    }

    pub fn probe(&self, stratum: Stratum, limit: u32) -> Probe {
        Probe { stratum, not_before: at(-86_400), limit }
    }

    pub async fn assert_sound(&self) {
        assert_eq!(self.h.broken_invariants().await, Vec::<String>::new());
    }
}
