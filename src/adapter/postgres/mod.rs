//! The store in Postgres.
//!
//! Every write of the hot path is one autocommit statement: a statement that is cut off anywhere leaves all of itself or
//! nothing, and no transaction can be left open behind it. There is no `begin` in the hot path, no `now()` but the
//! `clock_timestamp()` of leases, and every statement that locks several rows locks them in the order of their keys.
//!
//! Give webhooks a pool of their own by opening a second store on it: a busy dialer must not keep results waiting.

pub mod audit;
pub mod backlog;
pub mod clock;
pub mod command;
pub mod connect;
mod failure;
pub mod finding;
mod floor;
mod history;
pub mod inquiry;
pub mod outgoing;
pub mod outlook;
pub mod reading;
pub mod status;
pub mod views;
pub mod whereabouts;

mod assistant;
mod campaign;
mod control;
mod dial;
mod due;
mod enrolment;
mod inbox;
mod late;
mod lease;
mod placement;
mod replica;
mod retention;
mod row;
mod settle;
mod storable;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgPool;

use crate::domain::assistant::Assistant;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, AttemptId, CampaignId, InboxId, Installation, LeadId, OwnerId};
use crate::port::permit::CommittedIntent;
use crate::port::store::{
    AccountState, AssistantChange, AssistantUse, Backlog, Beat, Binding, CallKey, CallMatch, CampaignLists, Candidate,
    Control, DialIntent, DueKey, EnrolmentDone, EnrolmentStep, InboxEvent, InboxMark, LateResult, LeadChange, Lease,
    LeaseRequest, ListPage, LostAttempt, OpenAttempt, OpenChange, OpenCount, PastAttempt, PendingEvent, PersonFacts,
    Probe, Pulse, Reconciliation, ReplyRecord, Restored, RetainReport, RetentionPolicy, Settlement, StartsOf, Store,
    StoreError, Verdict,
};

use floor::Floors;

/// The store in Postgres. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
    /// Leases and what steers dialing never wait behind the work they steer.
    steering: PgPool,
    installation: Installation,
    floors: Arc<Floors>,
    round: Arc<history::Round>,
}

impl PostgresStore {
    /// Opens the store on a pool of a migrated database.
    ///
    /// # Errors
    /// When the database cannot be read, or is not migrated.
    pub async fn open(pool: PgPool) -> Result<Self, StoreError> {
        let installation = control::installation(&pool).await?;
        Ok(Self { steering: pool.clone(), pool, installation, floors: Arc::default(), round: Arc::default() })
    }

    /// The same with connections of their own for signs of life, leases and the control tables: a lock that a person holds
    /// on a table fills a pool within seconds, and must not cost the leases.
    #[must_use]
    pub fn steered_by(self, steering: PgPool) -> Self {
        Self { steering, ..self }
    }

    /// The pool, for read models and house keeping that are no part of the engine's store.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl Store for PostgresStore {
    fn installation(&self) -> Installation {
        self.installation
    }

    async fn database_now(&self) -> Result<Timestamp, StoreError> {
        answered_within(STEERING_MAX, replica::database_now(&self.steering)).await
    }

    async fn beat(&self, beat: &Beat<'_>) -> Result<Pulse, StoreError> {
        answered_within(STEERING_MAX, replica::beat(&self.steering, beat)).await
    }

    async fn renew_leases(&self, request: &LeaseRequest<'_>) -> Result<Vec<Lease>, StoreError> {
        answered_within(STEERING_MAX, lease::renew_leases(&self.steering, request)).await
    }

    async fn release_leases(&self, owner: OwnerId, accounts: &[AccountName]) -> Result<(), StoreError> {
        answered(lease::release_leases(&self.steering, owner, accounts)).await
    }

    async fn leave(&self, owner: OwnerId) -> Result<(), StoreError> {
        answered(replica::leave(&self.steering, owner)).await
    }

    async fn restore_attempt(&self, lease: &Lease, lost: &LostAttempt, now: Timestamp) -> Result<Restored, StoreError> {
        answered(replica::restore_attempt(&self.pool, self.installation, lease, lost, now)).await
    }

    async fn end_reconciliation(
        &self,
        reconciliation: &Reconciliation,
        stop: Option<&str>,
    ) -> Result<bool, StoreError> {
        answered(replica::end_reconciliation(&self.pool, reconciliation, stop)).await
    }

    async fn control(&self) -> Result<Control, StoreError> {
        answered_within(STEERING_MAX, control::control(&self.steering)).await
    }

    async fn open_attempts(&self, account: &AccountName) -> Result<Vec<OpenAttempt>, StoreError> {
        answered(control::open_attempts(&self.pool, &self.floors, account)).await
    }

    async fn open_among(&self, account: &AccountName, attempts: &[AttemptId]) -> Result<Vec<OpenAttempt>, StoreError> {
        answered(control::open_among(&self.pool, account, attempts)).await
    }

    async fn open_counts(&self, account: &AccountName) -> Result<Vec<OpenCount>, StoreError> {
        answered_within(STEERING_MAX, control::open_counts(&self.pool, &self.floors, account)).await
    }

    async fn starts_since(&self, whose: StartsOf<'_>, since: Timestamp, at_most: u32) -> Result<u32, StoreError> {
        answered(control::starts_since(&self.pool, whose, since, at_most)).await
    }

    async fn peek_due(
        &self,
        now: Timestamp,
        person_since: Timestamp,
        probes: &[Probe],
    ) -> Result<Vec<Candidate>, StoreError> {
        answered(due::peek_due(&self.pool, self.installation, now, person_since, probes)).await
    }

    async fn begin_dials(
        &self,
        lease: &Lease,
        intents: &[DialIntent],
        witness: Option<AttemptId>,
        now: Timestamp,
    ) -> Result<Vec<CommittedIntent>, StoreError> {
        answered_within(STEERING_MAX, dial::begin_dials(&self.pool, lease, intents, witness, now)).await
    }

    async fn confirm(
        &self,
        attempts: &[AttemptId],
        now: Timestamp,
        person_since: Timestamp,
    ) -> Result<Vec<(AttemptId, PersonFacts)>, StoreError> {
        answered_within(STEERING_MAX, dial::confirm(&self.pool, attempts, now, person_since)).await
    }

    async fn record_replies(&self, replies: &[ReplyRecord]) -> Result<Vec<AttemptId>, StoreError> {
        answered(dial::record_replies(&self.pool, replies)).await
    }

    async fn change_open(&self, changes: &[OpenChange]) -> Result<Vec<AttemptId>, StoreError> {
        answered(dial::change_open(&self.pool, changes)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<AttemptId>, StoreError> {
        answered(settle::settle(&self.pool, settlements)).await
    }

    async fn history(&self, leads: &[(CampaignId, LeadId)]) -> Result<Vec<PastAttempt>, StoreError> {
        answered(settle::history(&self.pool, self.installation, leads)).await
    }

    async fn defer(&self, deferrals: &[(DueKey, Timestamp)]) -> Result<u64, StoreError> {
        answered(due::defer(&self.pool, deferrals)).await
    }

    async fn dispose(&self, verdicts: &[(DueKey, Verdict)], now: Timestamp) -> Result<u64, StoreError> {
        answered(due::dispose(&self.pool, verdicts, now)).await
    }

    async fn append_inbox(&self, events: &[InboxEvent], now: Timestamp) -> Result<(), StoreError> {
        answered(inbox::append_inbox(&self.pool, events, now)).await
    }

    async fn peek_inbox(
        &self,
        account: &AccountName,
        not_before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PendingEvent>, StoreError> {
        answered(inbox::peek_inbox(&self.pool, account, not_before, now, limit)).await
    }

    async fn find_attempts(&self, account: &AccountName, calls: &[CallKey]) -> Result<Vec<CallMatch>, StoreError> {
        answered(inbox::find_attempts(&self.pool, account, calls)).await
    }

    async fn bind_calls(&self, account: &AccountName, bindings: &[Binding]) -> Result<(), StoreError> {
        answered(inbox::bind_calls(&self.pool, account, bindings)).await
    }

    async fn mark_inbox(&self, marks: &[(InboxId, InboxMark)], now: Timestamp) -> Result<(), StoreError> {
        answered(inbox::mark_inbox(&self.pool, marks, now)).await
    }

    async fn reread_quarantined(&self, version: &str, limit: u32, now: Timestamp) -> Result<u32, StoreError> {
        answered(inbox::reread_quarantined(&self.pool, version, limit, now)).await
    }

    async fn apply_late(&self, late: &[LateResult], now: Timestamp) -> Result<(), StoreError> {
        answered(late::apply_late(&self.pool, late, now)).await
    }

    async fn peek_lead_changes(&self, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
        answered(enrolment::peek_lead_changes(&self.pool, limit)).await
    }

    async fn next_list_page(&self, limit: u32) -> Result<Option<ListPage>, StoreError> {
        answered(enrolment::next_list_page(&self.pool, limit)).await
    }

    async fn apply_enrolment(
        &self,
        steps: &[EnrolmentStep],
        done: EnrolmentDone,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        answered_within(MANY_STATEMENTS_MAX, placement::apply_enrolment(&self.pool, steps, done, now)).await
    }

    async fn set_campaign_lists(&self, lists: &[CampaignLists]) -> Result<(), StoreError> {
        answered(enrolment::set_campaign_lists(&self.pool, lists)).await
    }

    async fn note_campaigns(&self, notes: &[(CampaignId, Option<String>)]) -> Result<(), StoreError> {
        answered(campaign::note_campaigns(&self.pool, notes)).await
    }

    async fn backlog(&self, campaign_id: CampaignId) -> Result<Backlog, StoreError> {
        answered(campaign::backlog(&self.pool, campaign_id)).await
    }

    async fn dispose_all_due(
        &self,
        campaign_id: CampaignId,
        verdict: &Verdict,
        limit: u32,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        answered(campaign::dispose_all_due(&self.pool, campaign_id, verdict, limit, now)).await
    }

    async fn finished_with_due(&self) -> Result<Vec<CampaignId>, StoreError> {
        answered(campaign::finished_with_due(&self.pool)).await
    }

    async fn advance_campaign(
        &self,
        campaign_id: CampaignId,
        from: CampaignState,
        to: CampaignState,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        answered(campaign::advance_campaign(&self.pool, campaign_id, from, to, now)).await
    }

    async fn save_roster(&self, account: &AccountName, roster: &[Assistant], now: Timestamp) -> Result<(), StoreError> {
        answered(assistant::save_roster(&self.pool, account, roster, now)).await
    }

    async fn pin_assistants(
        &self,
        account: &AccountName,
        uses: &[AssistantUse],
        now: Timestamp,
    ) -> Result<Vec<AssistantChange>, StoreError> {
        answered(assistant::pin_assistants(&self.pool, account, uses, now)).await
    }

    async fn save_account_state(&self, state: &AccountState) -> Result<(), StoreError> {
        answered(campaign::save_account_state(&self.pool, state)).await
    }

    async fn expire_suppressions(&self, now: Timestamp) -> Result<u64, StoreError> {
        answered(enrolment::expire_suppressions(&self.pool, now)).await
    }

    async fn retain(&self, now: Timestamp, policy: RetentionPolicy) -> Result<RetainReport, StoreError> {
        answered_within(MANY_STATEMENTS_MAX, retention::retain(&self.pool, self.installation, &self.round, now, policy))
            .await
    }
}

/// How long a step may take: longer than a connection and a statement are ever waited for. What takes longer is never
/// answered: the server vanished without a word, or a firewall forgot the connection, and nothing else would tell us.
const ONE_STATEMENT_MAX: Duration = Duration::from_secs(15);
/// The same for what every start waits for anyway, a second at most: the sooner its connection is given up, the sooner
/// dialing goes on over a new one.
const STEERING_MAX: Duration = Duration::from_secs(5);
/// The same for steps of many statements.
const MANY_STATEMENTS_MAX: Duration = Duration::from_secs(60);

fn answered<T>(
    step: impl Future<Output = Result<T, StoreError>> + Send,
) -> impl Future<Output = Result<T, StoreError>> + Send {
    answered_within(ONE_STATEMENT_MAX, step)
}

/// Gives a step up that nobody answers. The statement may have been executed, and may still be.
fn answered_within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, StoreError>> + Send,
) -> impl Future<Output = Result<T, StoreError>> + Send {
    // Boxed, because every pass is as large as the largest step it takes.
    let step = Box::pin(step);
    async move {
        match tokio::time::timeout(limit, step).await {
            Ok(done) => done,
            Err(_) => {
                let silence = format!("the database has said nothing for {} s", limit.as_secs());
                Err(StoreError::CommitUnknown(silence.into()))
            }
        }
    }
}
