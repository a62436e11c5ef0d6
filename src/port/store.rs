//! What the engine asks of its database.
//!
//! Each method is one atomic step: either all of it is durable or nothing is. Methods take batches, because batching is
//! what makes a database fast, and they return what happened to each item: an item that is missing from an answer was
//! moved by someone else in the meantime, which is a value and not an error.
//!
//! `now` is always civil time and always an argument; only leases use the database's own clock.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::assistant::Fingerprint;
use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::campaign::{CampaignState, OnAssistantChange};
use crate::domain::id::{
    AccountName, AssistantId, AttemptId, CallingGroupId, CampaignId, Epoch, InboxId, Installation, LeadId, LeadListId,
    OwnerId, ProviderCallId,
};
use crate::domain::outcome::Outcome;
use crate::domain::phone::PhoneNumber;
use crate::domain::report::Source;

pub use crate::domain::lead::{DueKey, EnrolmentAction, EnrolmentStep, LeadFacts, LeadPlace, LeadRow, Place, Stratum};
pub use crate::domain::person::{Contact, PersonFacts, Suppression};
pub use crate::domain::retry::{NextPlace, PastAttempt, Verdict};

pub use super::replica::{Beat, LeaseRequest, LostAttempt, Pulse, Reconciliation, Restored};

use super::permit::CommittedIntent;

/// The database, as the engine sees it.
pub trait Store: Send + Sync + 'static {
    // ---- who dials -------------------------------------------------------------------------------------------------

    /// Which database this is. Fixed for its life.
    fn installation(&self) -> Installation;

    /// What the database's own clock shows.
    fn database_now(&self) -> impl Future<Output = Result<Timestamp, StoreError>> + Send;

    /// Notes that a replica is alive, and looks whether the database still has what it once acknowledged. If it has not,
    /// every account that is leased or named gets a [`Reconciliation`], from the last moment that is known on, in the same
    /// step.
    fn beat(&self, beat: &Beat<'_>) -> impl Future<Output = Result<Pulse, StoreError>> + Send;

    /// Takes or renews leases for a while of the database's time. A lease that is free or has run out changes hands and its
    /// epoch grows; one that another owner holds is left out of the answer. An owner that comes back to a lease nobody has
    /// taken since keeps its epoch.
    fn renew_leases(&self, request: &LeaseRequest<'_>) -> impl Future<Output = Result<Vec<Lease>, StoreError>> + Send;

    /// Gives up leases of `owner`, so that others need not wait for them to run out.
    fn release_leases(
        &self,
        owner: OwnerId,
        accounts: &[AccountName],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives up every lease of `owner`, and takes it out of those that are alive: others share its accounts at once.
    fn leave(&self, owner: OwnerId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes an attempt anew that the provider has a call of and the database does not know: the lead is no longer due,
    /// its person is locked, the call is bound. Idempotent. Fenced by the lease.
    fn restore_attempt(
        &self,
        lease: &Lease,
        lost: &LostAttempt,
        now: Timestamp,
    ) -> impl Future<Output = Result<Restored, StoreError>> + Send;

    /// Ends the reconciliation of an account as it was noted at that moment: it may dial again, or is stopped for good
    /// with a reason, until a person has looked. `false` when it was noted anew meanwhile.
    fn end_reconciliation(
        &self,
        reconciliation: &Reconciliation,
        stop: Option<&str>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    // ---- what there is to do ---------------------------------------------------------------------------------------

    /// Everything that steers dialing and is small: campaigns, calling groups, strata, stops. Of the finished campaigns
    /// only those that evidence may still concern: with an open attempt, or among the [`FINISHED_MAX`] last finished.
    fn control(&self) -> impl Future<Output = Result<Control, StoreError>> + Send;

    /// Open attempts of one account, in the order of their ids. Bounded by its concurrency plus what is held.
    fn open_attempts(&self, account: &AccountName)
    -> impl Future<Output = Result<Vec<OpenAttempt>, StoreError>> + Send;

    /// Those of `attempts` that are open at the account, in the order of their ids.
    fn open_among(
        &self,
        account: &AccountName,
        attempts: &[AttemptId],
    ) -> impl Future<Output = Result<Vec<OpenAttempt>, StoreError>> + Send;

    /// How many attempts are open at the account, by campaign, assistant and state, in that order; none is counted 0.
    fn open_counts(&self, account: &AccountName) -> impl Future<Output = Result<Vec<OpenCount>, StoreError>> + Send;

    /// How many requests to place a call may have been sent since `since`: by the moment they were sent, or intended where
    /// that is unknown. Attempts that certainly sent nothing do not count: those that ended `not_placed`, `rejected` or
    /// `canceled` without a moment of sending. Counting stops at `at_most`.
    fn starts_since(
        &self,
        whose: StartsOf<'_>,
        since: Timestamp,
        at_most: u32,
    ) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// The next due leads of each probe, with every fact the gate needs. Within a probe in the order (due_at, lead_id).
    fn peek_due(
        &self,
        now: Timestamp,
        person_since: Timestamp,
        probes: &[Probe],
    ) -> impl Future<Output = Result<Vec<Candidate>, StoreError>> + Send;

    // ---- a lead becomes an attempt ---------------------------------------------------------------------------------

    /// Turns due leads into open attempts: one statement, fenced by the lease and by stops, skipping what is locked or
    /// has changed, and every lead whose phone already has an open attempt; of two intents for one phone one is taken.
    /// Answers with the intents that are now durable. A due row whose attempt exists already is left out and put off by
    /// an hour of civil time, so that it stays away from the head of its lane until a person has looked.
    ///
    /// Nothing is taken while the account has a [`Reconciliation`], while calls that any account's says are missing may ring,
    /// on a history of the database that no beat has seen, or
    /// when the database does not know `witness`, an attempt that it once acknowledged.
    ///
    /// # Errors
    /// [`StoreError::CommitUnknown`] when nobody can say whether the intents are durable: none of them may be dialed.
    fn begin_dials(
        &self,
        lease: &Lease,
        intents: &[DialIntent],
        witness: Option<AttemptId>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<CommittedIntent>, StoreError>> + Send;

    /// Suppression and contacts of the persons behind open attempts, read after their intents are durable. Attempts that
    /// are not open are left out.
    fn confirm(
        &self,
        attempts: &[AttemptId],
        now: Timestamp,
        person_since: Timestamp,
    ) -> impl Future<Output = Result<Vec<(AttemptId, PersonFacts)>, StoreError>> + Send;

    /// Records what is known after the request. Never fenced by epoch: a late answer is still true. Answers with the
    /// open attempts that it was recorded for. An attempt that is placed already, or has ended, learns from `Placed` what
    /// it lacks: when the request left, and the binding of the call; its state and its end stay.
    fn record_replies(
        &self,
        replies: &[ReplyRecord],
    ) -> impl Future<Output = Result<Vec<AttemptId>, StoreError>> + Send;

    /// Moves open attempts from the state they were seen in. Answers with those that were moved.
    fn change_open(&self, changes: &[OpenChange]) -> impl Future<Output = Result<Vec<AttemptId>, StoreError>> + Send;

    /// Ends open attempts: outcome, result, binding, inbox rows applied, and the lead's next place, in one step. An
    /// attempt that may not end so from the state it is in ([`OpenState::may_end_as`]) is left alone. Answers with those
    /// that were ended; the inbox rows of the others stay pending.
    fn settle(&self, settlements: &[Settlement]) -> impl Future<Output = Result<Vec<AttemptId>, StoreError>> + Send;

    /// Ended attempts of these leads, oldest first within each lead.
    fn history(
        &self,
        leads: &[(CampaignId, LeadId)],
    ) -> impl Future<Output = Result<Vec<PastAttempt>, StoreError>> + Send;

    // ---- a due lead that is not dialed -----------------------------------------------------------------------------

    /// Re-dates due leads; those that are no longer where they were seen are left alone.
    fn defer(&self, deferrals: &[(DueKey, Timestamp)]) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Takes due leads out with a verdict; those that are no longer where they were seen are left alone.
    fn dispose(
        &self,
        verdicts: &[(DueKey, Verdict)],
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    // ---- results ---------------------------------------------------------------------------------------------------

    /// Stores raw events and marks them pending. When this returns, they are durable.
    fn append_inbox(
        &self,
        events: &[InboxEvent],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Pending events that are due for a look, oldest first. With an event whose attempt is known come all the other
    /// pending events of that attempt, beyond `limit` and before their time, so that both halves of a result are seen
    /// together. Those whose time came before `not_before` are known to be gone and are not looked for.
    fn peek_inbox(
        &self,
        account: &AccountName,
        not_before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<PendingEvent>, StoreError>> + Send;

    /// Finds the attempts that calls belong to: by bound call id, by token, and by phone among open attempts.
    fn find_attempts(
        &self,
        account: &AccountName,
        calls: &[CallKey],
    ) -> impl Future<Output = Result<Vec<CallMatch>, StoreError>> + Send;

    /// Binds calls to attempts for good. A call that is bound already keeps its binding, and none is bound to an attempt that
    /// the account does not have. An open attempt without a call learns its call; its state stays.
    fn bind_calls(
        &self,
        account: &AccountName,
        bindings: &[Binding],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes what a look at pending events decided about each.
    fn mark_inbox(
        &self,
        marks: &[(InboxId, InboxMark)],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes events pending again that another version of this program could not read or understand, `limit` at most;
    /// answers how many. Such an event counts as nobody's until it is marked anew.
    fn reread_quarantined(
        &self,
        version: &str,
        limit: u32,
        now: Timestamp,
    ) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// Adds late evidence to attempts that have ended, flags contradictions, and takes leads out of due where late
    /// evidence says they were reached. Never makes a lead due. Evidence about an attempt that is still open is left
    /// alone and stays pending.
    fn apply_late(&self, late: &[LateResult], now: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    // ---- leads come and go -----------------------------------------------------------------------------------------

    /// Changed leads without an open attempt, oldest change first, with their place in every campaign concerned.
    fn peek_lead_changes(&self, limit: u32) -> impl Future<Output = Result<Vec<LeadChange>, StoreError>> + Send;

    /// The next page of a list that a campaign has begun or ceased to dial, or whose campaign has a new version, if there
    /// is one. Finished campaigns are left out.
    fn next_list_page(&self, limit: u32) -> impl Future<Output = Result<Option<ListPage>, StoreError>> + Send;

    /// Makes leads take their new places, then forgets `done`. Idempotent; what someone else moved, or is open by now, is
    /// left alone, and the change is kept for another look: a page writes a change for such a lead. A page also writes one
    /// for each of its leads with an open attempt, so that the end of the attempt brings it back. A page whose list is
    /// walked for another version by now is not forgotten.
    ///
    /// In a campaign that is finishing or finished nothing becomes due: such a step is left alone as above.
    ///
    /// A phone that is given up notes a change for the leads that are `duplicate` because of its lead.
    fn apply_enrolment(
        &self,
        steps: &[EnrolmentStep],
        done: EnrolmentDone,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    // ---- campaigns open and close ----------------------------------------------------------------------------------

    /// Notes which lists a campaign's version dials, so that [`Store::next_list_page`] walks those that are new or gone,
    /// and with a new version all it dials. Names without a list are passed over until there is one; a version older than
    /// the one that is noted changes nothing.
    fn set_campaign_lists(&self, lists: &[CampaignLists]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes why a campaign is not dialed at the moment, for people to read; `None` clears it.
    fn note_campaigns(
        &self,
        notes: &[(CampaignId, Option<String>)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How many leads of a campaign are due, open and held, and whether lists are still to be walked or changes of their
    /// leads to be applied. Changes that wait for a held attempt are left out. At most 1,000 of each are counted.
    fn backlog(&self, campaign_id: CampaignId) -> impl Future<Output = Result<Backlog, StoreError>> + Send;

    /// Takes up to `limit` due leads of a campaign out with one verdict; answers how many there were.
    fn dispose_all_due(
        &self,
        campaign_id: CampaignId,
        verdict: &Verdict,
        limit: u32,
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Finished campaigns with due leads: the end of a held attempt, or of a step that was decided before, came while
    /// the campaign finished.
    fn finished_with_due(&self) -> impl Future<Output = Result<Vec<CampaignId>, StoreError>> + Send;

    /// Moves a campaign from one state to the next; `false` when it was not in `from` any more.
    fn advance_campaign(
        &self,
        campaign_id: CampaignId,
        from: CampaignState,
        to: CampaignState,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    // ---- accounts --------------------------------------------------------------------------------------------------

    /// Replaces what is known of an account's assistants.
    fn save_roster(
        &self,
        account: &AccountName,
        roster: &[crate::domain::assistant::Assistant],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Compares the assistants that campaigns use with what they were when each campaign began to use them, and answers
    /// with those that were changed. An assistant that a campaign uses for the first time is pinned as it is. What
    /// follows a change is up to the campaign: [`OnAssistantChange::Pause`] pauses it if it is active, with the reason,
    /// and keeps the pin; otherwise the assistant is pinned anew. A campaign that was paused so and becomes active again
    /// has its assistants pinned as last saved by [`Store::save_roster`].
    fn pin_assistants(
        &self,
        account: &AccountName,
        uses: &[AssistantUse],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<AssistantChange>, StoreError>> + Send;

    /// Notes that an account cannot place calls, or that it can again.
    fn save_account_state(&self, state: &AccountState) -> impl Future<Output = Result<(), StoreError>> + Send;

    // ---- house keeping ---------------------------------------------------------------------------------------------

    /// Deletes suppressions that have expired; answers how many. The leads they had disposed of are noted as changed in
    /// the same step.
    fn expire_suppressions(&self, now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Makes partitions ahead, drops old ones without pending events, removes payloads past their days.
    fn retain(
        &self,
        now: Timestamp,
        policy: RetentionPolicy,
    ) -> impl Future<Output = Result<RetainReport, StoreError>> + Send;
}

/// What the caller should do about a failure.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Try again later; nothing was written.
    #[error("the database is not available")]
    Unavailable(#[source] BoxError),
    /// The connection broke while a write was under way: it may or may not be durable. Read again before acting.
    #[error("it is unknown whether the database committed")]
    CommitUnknown(#[source] BoxError),
    /// A row breaks a rule this program relies on. A person must look.
    #[error("table {table}, row {row}: {problem}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// Which row.
        row: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The database refused a statement: our mistake. A person must look.
    #[error("the database refused a statement")]
    Refused(#[source] BoxError),
}

/// Any error, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The right to dial an account, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose lines.
    pub account: AccountName,
    /// Who dials.
    pub owner: OwnerId,
    /// The term; stored in every intent.
    pub epoch: Epoch,
}

/// Finished campaigns that [`Store::control`] answers at most, besides those with an open attempt.
pub const FINISHED_MAX: u32 = 100;

/// The small tables that steer dialing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// By id: every campaign that is not finished, and those finished ones whose definition late evidence may need (its
    /// goal, its opt-out): with an open attempt, or among the [`FINISHED_MAX`] last finished.
    pub campaigns: Vec<CampaignRow>,
    /// Every calling group: its id and its evidence's key.
    pub groups: Vec<(CallingGroupId, String)>,
    /// Every combination of campaign, calling group and priority that ever had a due lead; finished campaigns left out.
    pub strata: Vec<Stratum>,
    /// Panic stops.
    pub stops: Vec<Stop>,
    /// What is known of accounts that cannot place calls.
    pub account_states: Vec<AccountState>,
    /// Accounts that do not dial because attempts of them may be missing.
    pub reconciliations: Vec<Reconciliation>,
    /// Accounts whose lease has run out or was given back.
    pub free_leases: Vec<AccountName>,
}

/// A campaign as stored; the definition may be invalid.
#[derive(Clone, Debug, PartialEq)]
pub struct CampaignRow {
    /// Key.
    pub campaign_id: CampaignId,
    /// Unique name.
    pub name: String,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Grows with each change.
    pub version: i64,
    /// The YAML's content.
    pub definition: Arc<Value>,
}

/// A persistent panic stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// One account, or everything.
    pub account: Option<AccountName>,
    /// Why, in the words of whoever stopped it.
    pub reason: String,
}

/// Whether an account can place calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Which account.
    pub account: AccountName,
    /// Why it cannot; `None` when it can.
    pub problem: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When the daemon looks again.
    pub next_check_at: Option<Timestamp>,
}

/// An assistant that a campaign uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssistantUse {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// Who speaks for it.
    pub assistant_id: AssistantId,
    /// What the assistant says and how, as just read.
    pub fingerprint: Fingerprint,
    /// What is to follow when that is not what it was.
    pub on_change: OnAssistantChange,
    /// Why the campaign is paused, if it is: a sentence for people.
    pub reason: String,
}

/// An assistant that is not what it was when a campaign began to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssistantChange {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// Which assistant.
    pub assistant_id: AssistantId,
    /// Since when it was taken to be as it was.
    pub pinned_at: Timestamp,
    /// Whether the campaign was paused for it just now.
    pub paused: bool,
}

/// Whose starts to count.
#[derive(Clone, Copy, Debug)]
pub enum StartsOf<'a> {
    /// All of an account.
    Account(&'a AccountName),
    /// All of a campaign.
    Campaign(CampaignId),
}

/// An open attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAttempt {
    /// Key; campaign, lead and number are in it.
    pub attempt_id: AttemptId,
    /// Whom we ring, or may be ringing.
    pub phone: PhoneNumber,
    /// The account that dials.
    pub account: AccountName,
    /// Who speaks.
    pub assistant_id: AssistantId,
    /// Tries before this attempt.
    pub tries: u16,
    /// The replica that wrote the intent.
    pub owner: OwnerId,
    /// Its lease's term.
    pub epoch: Epoch,
    /// Where it stands.
    pub state: OpenState,
    /// When the intent became durable, civil.
    pub intent_at: Timestamp,
    /// When the request left, if that is known.
    pub sent_at: Option<Timestamp>,
    /// Until when it occupies a line at most.
    pub deadline_at: Timestamp,
    /// When to read the call next.
    pub poll_at: Timestamp,
    /// The call's id, once known.
    pub call_id: Option<ProviderCallId>,
    /// Whether the provider answered 2xx: absence from its list then proves nothing.
    pub accepted: bool,
    /// From when on absence from the provider's list says anything. Set when the attempt goes in doubt.
    pub absence_from: Option<Timestamp>,
    /// When the first complete read after `absence_from` did not show the call.
    pub absent_since: Option<Timestamp>,
    /// The newest call known when the intent was written.
    pub newest_call_known: Option<ProviderCallId>,
    /// Why it is in doubt or held.
    pub reason: Option<String>,
    /// Calling group and priority the lead came from.
    pub calling_group_id: CallingGroupId,
    /// As above.
    pub priority: u8,
}

/// Open attempts of one account that are alike in what limits count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCount {
    /// Whose leads.
    pub campaign_id: CampaignId,
    /// Who speaks.
    pub assistant_id: AssistantId,
    /// Where they stand.
    pub state: OpenState,
    /// How many.
    pub count: u32,
}

/// Where to look for due leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which lane.
    pub stratum: Stratum,
    /// Nothing due before this is left in the lane; a lower bound keeps dead index entries out of the way.
    pub not_before: Timestamp,
    /// How many leads at most.
    pub limit: u32,
}

/// A due lead with everything the gate wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The due row.
    pub due: DueKey,
    /// The lead; `None` when it was deleted and the change is not applied yet.
    pub lead: Option<LeadFacts>,
    /// The person behind the phone.
    pub person: PersonFacts,
    /// The assistant of the lead's newest attempt in this campaign, whatever came of it.
    pub last_assistant: Option<AssistantId>,
}

/// An intent to dial, to be made durable.
#[derive(Clone, Debug, PartialEq)]
pub struct DialIntent {
    /// Derived from campaign, lead and number.
    pub attempt_id: AttemptId,
    /// The due row it comes from.
    pub due: DueKey,
    /// The campaign version the gate judged.
    pub campaign_version: i64,
    /// The lead version the gate judged.
    pub lead_version: i64,
    /// Who speaks.
    pub assistant_id: AssistantId,
    /// Until when it may occupy a line.
    pub deadline_at: Timestamp,
    /// The newest call known at this account.
    pub newest_call_known: Option<ProviderCallId>,
    /// Zone, window and tzdb the instant was judged by; kept with the attempt.
    pub evidence: String,
}

/// What is known after the request.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyRecord {
    /// Which attempt.
    pub attempt_id: AttemptId,
    /// When the request left; `None` when that is unknown.
    pub sent_at: Option<Timestamp>,
    /// What came back.
    pub reply: ReplyFact,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyFact {
    /// The provider took it: `dialing`, `in_doubt` or `held` becomes `placed`.
    Placed {
        /// Its id, if the answer has one.
        call_id: Option<ProviderCallId>,
        /// When to read it first.
        poll_at: Timestamp,
        /// Until when it occupies a line, where the intent's own deadline may be too early: whoever sent it may have been
        /// stopped just before the request left.
        deadline_at: Option<Timestamp>,
    },
    /// We cannot know: `dialing` becomes `in_doubt`.
    InDoubt {
        /// What was seen.
        reason: String,
        /// Whether a 2xx came.
        accepted: bool,
        /// From when on absence says anything.
        absence_from: Timestamp,
        /// When to look first.
        poll_at: Timestamp,
        /// Until when it occupies a line.
        deadline_at: Timestamp,
    },
}

/// A move of an open attempt. Fields that are `None` stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenChange {
    /// Which attempt.
    pub attempt_id: AttemptId,
    /// The state it was seen in; the change is dropped when that has changed.
    pub from: OpenState,
    /// The state it takes; equal to `from` for mere notes.
    pub to: OpenState,
    /// Why, when it goes in doubt or is held.
    pub reason: Option<String>,
    /// Next read.
    pub poll_at: Option<Timestamp>,
    /// New deadline.
    pub deadline_at: Option<Timestamp>,
    /// From when on absence says anything.
    pub absence_from: Option<Timestamp>,
    /// First complete read without the call.
    pub absent_since: Option<Timestamp>,
}

impl OpenChange {
    /// A change that leaves everything as it is, to be filled in.
    pub fn note(open: &OpenAttempt) -> Self {
        Self::to(open, open.state)
    }

    /// A change of state that leaves everything else as it is, to be filled in.
    pub fn to(open: &OpenAttempt, to: OpenState) -> Self {
        Self {
            attempt_id: open.attempt_id,
            from: open.state,
            to,
            reason: None,
            poll_at: None,
            deadline_at: None,
            absence_from: None,
            absent_since: None,
        }
    }
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Which attempt.
    pub attempt_id: AttemptId,
    /// How it ended.
    pub outcome: Outcome,
    /// When the call ended; when we learnt it where the provider does not say.
    pub ended_at: Timestamp,
    /// When the request left, where this settles it.
    pub sent_at: Option<Timestamp>,
    /// Whether the provider refused the request for a reason nobody documents.
    pub refused: bool,
    /// A sentence for people: why it ended so.
    pub reason: String,
    /// What the provider knows, if it was placed.
    pub result: Option<CallResult>,
    /// Where the lead goes.
    pub next: NextPlace,
    /// Suppresses the person everywhere and for good, for this reason; an entry that would expire no longer does.
    pub suppress: Option<String>,
    /// Pending events this applies.
    pub inbox: Vec<InboxId>,
}

/// What is kept of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallResult {
    /// The call's id.
    pub call_id: Option<ProviderCallId>,
    /// On what grounds it is this attempt's.
    pub match_basis: Option<MatchBasis>,
    /// The provider's status word.
    pub status: String,
    /// `human`, `machine`, `unknown`, if told.
    pub answered_by: Option<String>,
    /// Seconds.
    pub duration_seconds: Option<u32>,
    /// Decimal number.
    pub cost: Option<String>,
    /// As the provider shapes it.
    pub transcript: Option<Value>,
    /// Where the recording is.
    pub recording_url: Option<String>,
    /// Extracted variables.
    pub extracted: Map<String, Value>,
    /// Whether the campaign's goal was met; `None` without a goal or without an answer.
    pub goal_met: Option<bool>,
}

/// A raw event, to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxEvent {
    /// Whose.
    pub account: AccountName,
    /// Webhook or call object.
    pub source: Source,
    /// Exactly as received.
    pub body: Bytes,
    /// The attempt a read was made for, if it was.
    pub attempt_id: Option<AttemptId>,
}

/// A pending event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEvent {
    /// Key.
    pub inbox_id: InboxId,
    /// Webhook or call object.
    pub source: Source,
    /// When it was received, civil.
    pub received_at: Timestamp,
    /// Exactly as received.
    pub body: Bytes,
    /// The attempt it is known to belong to.
    pub attempt_id: Option<AttemptId>,
    /// When it is due for a look, civil.
    pub retry_at: Timestamp,
}

/// What an event says about the call it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallKey {
    /// The call's id.
    pub call_id: Option<ProviderCallId>,
    /// A token that is one of this installation's.
    pub token: Option<AttemptId>,
    /// The number that was rung.
    pub phone: Option<PhoneNumber>,
}

/// What the database knows about a call; fields are independent of each other. In the order of the question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallMatch {
    /// The attempt the call id is bound to.
    pub bound: Option<AttemptId>,
    /// On what grounds it is bound.
    pub basis: Option<MatchBasis>,
    /// Whether the token's attempt exists in this account.
    pub token_exists: bool,
    /// The open attempt of the phone, in this account, if it has no call bound yet.
    pub open_unbound: Option<OpenAttempt>,
    /// Whether the attempt it would be (bound, else token) has ended.
    pub ended: bool,
}

/// A call is an attempt's, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The call.
    pub call_id: ProviderCallId,
    /// The attempt.
    pub attempt_id: AttemptId,
    /// On what grounds.
    pub basis: MatchBasis,
}

/// What a look at a pending event decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxMark {
    /// Look again then; it belongs to this attempt, if that is known by now.
    Later {
        /// When.
        retry_at: Timestamp,
        /// Whose it is.
        attempt_id: Option<AttemptId>,
    },
    /// Nothing more to do with it.
    Done,
    /// Unreadable, or with a word nobody documents: kept, flagged, can be re-parsed by a version that knows more.
    Quarantined {
        /// Which field, what was found.
        problem: String,
        /// The version of this program that could not read it.
        version: String,
    },
    /// Matched no call in all its time: kept, flagged.
    Unmatched,
}

/// Evidence about an attempt that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LateResult {
    /// Which attempt.
    pub attempt_id: AttemptId,
    /// The event it comes from.
    pub inbox_id: InboxId,
    /// What it adds; what is known already stays.
    pub result: CallResult,
    /// The outcome it speaks for, when that contradicts the one recorded.
    pub contradicts: Option<Outcome>,
    /// A verdict that takes the lead out of due, if it is due.
    pub verdict: Option<Verdict>,
    /// Suppresses the person everywhere and for good, for this reason; an entry that would expire no longer does.
    pub suppress: Option<String>,
}

/// A lead that was inserted, changed or deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadChange {
    /// The change rows to forget when the change is applied.
    pub change_ids: Vec<i64>,
    /// Which lead.
    pub lead_id: LeadId,
    /// As it is now; `None` when it was deleted.
    pub lead: Option<LeadRow>,
    /// Its place in every campaign that dials its list or has seen it, finished campaigns left out.
    pub places: Vec<LeadPlace>,
}

/// One page of a list that a campaign begins or ceases to dial.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// Which list.
    pub lead_list_id: LeadListId,
    /// The leads with their places in this campaign.
    pub leads: Vec<(LeadRow, LeadPlace)>,
    /// The last lead of the page; `None` when no lead lies behind it and the walk is over.
    pub last_lead_id: Option<LeadId>,
    /// The campaign version the list is walked for.
    pub version: i64,
}

/// What to forget once the steps are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolmentDone {
    /// These changes.
    Changes(Vec<i64>),
    /// This page; the walk goes on after it, or is over.
    Page {
        /// Which campaign.
        campaign_id: CampaignId,
        /// Which list.
        lead_list_id: LeadListId,
        /// Where the walk goes on; `None` ends it.
        after: Option<LeadId>,
        /// The version the page was read for.
        version: i64,
    },
}

/// The lists a campaign's version dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignLists {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// Which version of it.
    pub version: i64,
    /// Names of its lists.
    pub lead_lists: Vec<String>,
}

impl LateResult {
    /// An event that adds nothing.
    pub fn nothing(attempt_id: AttemptId, inbox_id: InboxId) -> Self {
        Self { attempt_id, inbox_id, result: CallResult::default(), contradicts: None, verdict: None, suppress: None }
    }
}

/// Rows that [`Store::backlog`] counts at most, of each kind.
pub const BACKLOG_MAX: u32 = 1_000;

/// What is left of a campaign; at most 1,000 are counted ([`BACKLOG_MAX`]), of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Due leads, blocked ones included.
    pub due: u64,
    /// Open attempts, held ones left out.
    pub open: u64,
    /// Held attempts.
    pub held: u64,
    /// Lists that are still to be walked and changes that are still to be applied.
    pub enrolling: bool,
}

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Raw events, days.
    pub inbox_days: u16,
    /// Transcripts, recordings, extracted variables, days.
    pub payload_days: u16,
    /// What is left of deleted leads in finished campaigns, days since their last attempt and verdict; kept when absent.
    pub history_days: Option<u16>,
}

/// What retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetainReport {
    /// Partitions made.
    pub partitions_made: u32,
    /// Partitions dropped.
    pub partitions_dropped: u32,
    /// Results whose payload was removed.
    pub payloads_removed: u64,
    /// Leads in campaigns of which nothing is left.
    pub leads_forgotten: u64,
}
