//! What people ask about campaigns and attempts. Plain reads for the command line; nothing of the engine depends on
//! them. Lists come in pages, each after the last key of the one before.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Uuid;

use super::failure::reading;
use super::row::{Reading, attempt_id};
use crate::domain::attempt::OpenState;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CampaignId, Installation, LeadId, ProviderCallId,
};
use crate::domain::outcome::{Disposition, Outcome};
use crate::domain::phone::PhoneNumber;
use crate::port::store::StoreError;

/// Where a campaign stands and where its leads are: a row of the view `campaign_progress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignProgress {
    /// Key.
    pub campaign_id: CampaignId,
    /// Unique name.
    pub name: String,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Why it is not dialed right now.
    pub note: Option<String>,
    /// Grows with each change of the definition.
    pub version: i64,
    /// Leads that wait for their next attempt.
    pub due: i64,
    /// Attempts under way.
    pub open: i64,
    /// Held attempts.
    pub held: i64,
    /// Leads per disposition, in the order of the documentation, none left out.
    pub disposed: [(Disposition, i64); 8],
    /// Whether lists are still being walked.
    pub enrolling: bool,
    /// Last change.
    pub changed_at: Timestamp,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
}

/// Progress of one campaign, or of all in the order of their names.
///
/// # Errors
/// When the database cannot be read.
pub async fn campaign_progress(pool: &PgPool, name: Option<&str>) -> Result<Vec<CampaignProgress>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select campaign_id as "campaign_id!", name as "name!", state as "state!", note, version as "version!",
               due as "due!", open as "open!", held as "held!", reached as "reached!", goal_met as "goal_met!",
               exhausted as "exhausted!", suppressed as "suppressed!", invalid_number as "invalid_number!",
               expired as "expired!", removed as "removed!", duplicate as "duplicate!", enrolling as "enrolling!",
               changed_at as "changed_at!", finished_at
        from campaign_progress
        where $1::text is null or name = $1
        order by name
        "#,
        name,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            Ok(CampaignProgress {
                campaign_id: CampaignId(row.campaign_id),
                state: Reading { table: "campaign", key: row.campaign_id }.word(&row.state)?,
                name: row.name,
                note: row.note,
                version: row.version,
                due: row.due,
                open: row.open,
                held: row.held,
                disposed: [
                    (Disposition::Reached, row.reached),
                    (Disposition::GoalMet, row.goal_met),
                    (Disposition::Exhausted, row.exhausted),
                    (Disposition::Suppressed, row.suppressed),
                    (Disposition::InvalidNumber, row.invalid_number),
                    (Disposition::Expired, row.expired),
                    (Disposition::Removed, row.removed),
                    (Disposition::Duplicate, row.duplicate),
                ],
                enrolling: row.enrolling,
                changed_at: row.changed_at.to_jiff(),
                finished_at: row.finished_at.map(|at| at.to_jiff()),
            })
        })
        .collect()
}

/// The stored definition of a campaign, with its key and state; `None` when there is none of that name.
///
/// # Errors
/// When the database cannot be read.
pub async fn campaign_definition(
    pool: &PgPool,
    name: &str,
) -> Result<Option<(CampaignId, CampaignState, Value)>, StoreError> {
    let row = sqlx::query!("select campaign_id, state, definition from campaign where name = $1", name)
        .fetch_optional(pool)
        .await
        .map_err(reading)?;
    row.map(|row| {
        let state = Reading { table: "campaign", key: row.campaign_id }.word(&row.state)?;
        Ok((CampaignId(row.campaign_id), state, row.definition))
    })
    .transpose()
}

/// How many attempts of a campaign ended how; those still open are under `None`.
///
/// # Errors
/// When the database cannot be read.
pub async fn outcome_counts(pool: &PgPool, campaign_id: CampaignId) -> Result<Vec<(Option<Outcome>, i64)>, StoreError> {
    let (first, last) = ids_of(Some(campaign_id));
    let rows = sqlx::query!(
        r#"
        select outcome, count(*) as "count!" from attempt
        where attempt_id between $1 and $2
        group by outcome order by count(*) desc, outcome
        "#,
        first,
        last,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    let at = Reading { table: "attempt", key: campaign_id };
    rows.into_iter().map(|row| Ok((row.outcome.map(|word| at.word(&word)).transpose()?, row.count))).collect()
}

/// Which attempts; what is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Of this campaign.
    pub campaign_id: Option<CampaignId>,
    /// To this number.
    pub phone: Option<PhoneNumber>,
    /// Intended at or after this.
    pub since: Option<Timestamp>,
    /// Ended so.
    pub outcome: Option<Outcome>,
}

/// A row of the view `call_log`.
#[derive(Clone, PartialEq)]
pub struct CallLogRow {
    /// Key.
    pub attempt_id: AttemptId,
    /// Name of the campaign; `None` when its row is gone.
    pub campaign: Option<String>,
    /// Whom.
    pub lead_id: LeadId,
    /// Number of the attempt.
    pub attempt_no: i32,
    /// The number that was dialed.
    pub phone: PhoneNumber,
    /// Who dialed.
    pub account: AccountName,
    /// Who spoke.
    pub assistant_id: AssistantId,
    /// The call at the provider.
    pub provider_call_id: Option<ProviderCallId>,
    /// On what grounds it is this attempt's.
    pub match_basis: Option<String>,
    /// Where it stands while it is open.
    pub open_state: Option<OpenState>,
    /// When the intent became durable.
    pub intent_at: Timestamp,
    /// When the request left.
    pub sent_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: Option<String>,
    /// Whether the goal was met.
    pub goal_met: Option<bool>,
    /// Who answered.
    pub answered_by: Option<String>,
    /// Seconds.
    pub duration_seconds: Option<i32>,
    /// Decimal number.
    pub cost: Option<String>,
    /// Where the recording is.
    pub recording_url: Option<String>,
    /// As the provider shapes it.
    pub transcript: Option<Value>,
    /// Extracted variables.
    pub extracted: Option<Value>,
    /// An outcome that late evidence speaks for.
    pub contradicted_by: Option<String>,
    /// What the moment was judged by.
    pub evidence: String,
}

impl std::fmt::Debug for CallLogRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallLogRow")
            .field("attempt_id", &self.attempt_id)
            .field("phone", &self.phone)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// Attempts in the order of their ids, those after `after`; an export asks again with the last id until a page is empty.
///
/// # Errors
/// When the database cannot be read.
pub async fn call_log_page(
    pool: &PgPool,
    filter: &CallFilter,
    after: Option<AttemptId>,
    limit: u32,
) -> Result<Vec<CallLogRow>, StoreError> {
    let (first, last) = ids_of(filter.campaign_id);
    // Short of the first possible id, so that one comparison serves the first page and the others.
    let after = after.map_or_else(|| Uuid::from_u128(first.as_u128().saturating_sub(1)), AttemptId::uuid);
    let rows = sqlx::query_as!(
        StoredCall,
        r#"
        select attempt_id as "attempt_id!", campaign, lead_id as "lead_id!", attempt_no as "attempt_no!",
               phone as "phone!", account as "account!", assistant_id as "assistant_id!", provider_call_id,
               match_basis, open_state, intent_at as "intent_at!", sent_at, ended_at, outcome, reason, goal_met,
               answered_by, duration_seconds, cost::text as cost, recording_url, transcript, extracted,
               contradicted_by, evidence as "evidence!"
        from call_log
        where attempt_id > $1 and attempt_id <= $2
            and ($3::text is null or phone = $3)
            and ($4::timestamptz is null or intent_at >= $4)
            and ($5::text is null or outcome = $5)
        order by attempt_id
        limit $6
        "#,
        after,
        last,
        filter.phone.as_ref().map(PhoneNumber::e164),
        filter.since.map(|at| at.to_sqlx()) as _,
        filter.outcome.map(Outcome::as_str),
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter().map(StoredCall::read).collect()
}

/// The latest attempts, newest first. Give `since` or `phone` where there are many attempts: there is no index over all
/// of them by time, only a coarse one.
///
/// # Errors
/// When the database cannot be read.
pub async fn recent_calls(pool: &PgPool, filter: &CallFilter, limit: u32) -> Result<Vec<CallLogRow>, StoreError> {
    let rows = sqlx::query_as!(
        StoredCall,
        r#"
        select attempt_id as "attempt_id!", campaign, lead_id as "lead_id!", attempt_no as "attempt_no!",
               phone as "phone!", account as "account!", assistant_id as "assistant_id!", provider_call_id,
               match_basis, open_state, intent_at as "intent_at!", sent_at, ended_at, outcome, reason, goal_met,
               answered_by, duration_seconds, cost::text as cost, recording_url, transcript, extracted,
               contradicted_by, evidence as "evidence!"
        from call_log
        where ($1::bigint is null or campaign_id = $1)
            and ($2::text is null or phone = $2)
            and intent_at >= coalesce($3::timestamptz, '-infinity')
            and ($4::text is null or outcome = $4)
        order by intent_at desc, attempt_id desc
        limit $5
        "#,
        filter.campaign_id.map(|id| id.0),
        filter.phone.as_ref().map(PhoneNumber::e164),
        filter.since.map(|at| at.to_sqlx()) as _,
        filter.outcome.map(Outcome::as_str),
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter().map(StoredCall::read).collect()
}

/// One attempt.
///
/// # Errors
/// When the database cannot be read.
pub async fn call(pool: &PgPool, id: AttemptId) -> Result<Option<CallLogRow>, StoreError> {
    let before = AttemptId::from_stored(Uuid::from_u128(id.uuid().as_u128().saturating_sub(1)));
    let page = call_log_page(pool, &CallFilter::default(), Some(before), 1).await?;
    Ok(page.into_iter().next().filter(|row| row.attempt_id == id))
}

struct StoredCall {
    attempt_id: Uuid,
    campaign: Option<String>,
    lead_id: i64,
    attempt_no: i32,
    phone: String,
    account: String,
    assistant_id: String,
    provider_call_id: Option<String>,
    match_basis: Option<String>,
    open_state: Option<String>,
    intent_at: jiff_sqlx::Timestamp,
    sent_at: Option<jiff_sqlx::Timestamp>,
    ended_at: Option<jiff_sqlx::Timestamp>,
    outcome: Option<String>,
    reason: Option<String>,
    goal_met: Option<bool>,
    answered_by: Option<String>,
    duration_seconds: Option<i32>,
    cost: Option<String>,
    recording_url: Option<String>,
    transcript: Option<Value>,
    extracted: Option<Value>,
    contradicted_by: Option<String>,
    evidence: String,
}

impl StoredCall {
    fn read(self) -> Result<CallLogRow, StoreError> {
        let at = Reading { table: "attempt", key: self.attempt_id };
        Ok(CallLogRow {
            attempt_id: attempt_id(self.attempt_id),
            campaign: self.campaign,
            lead_id: LeadId(self.lead_id),
            attempt_no: self.attempt_no,
            phone: at.phone(&self.phone)?,
            account: AccountName::new(self.account),
            assistant_id: AssistantId::new(self.assistant_id),
            provider_call_id: self.provider_call_id.map(ProviderCallId::new),
            match_basis: self.match_basis,
            open_state: self.open_state.map(|word| at.word(&word)).transpose()?,
            intent_at: self.intent_at.to_jiff(),
            sent_at: self.sent_at.map(|at| at.to_jiff()),
            ended_at: self.ended_at.map(|at| at.to_jiff()),
            outcome: self.outcome.map(|word| at.word(&word)).transpose()?,
            reason: self.reason,
            goal_met: self.goal_met,
            answered_by: self.answered_by,
            duration_seconds: self.duration_seconds,
            cost: self.cost,
            recording_url: self.recording_url,
            transcript: self.transcript,
            extracted: self.extracted,
            contradicted_by: self.contradicted_by,
            evidence: self.evidence,
        })
    }
}

/// The first and last possible id of a campaign's attempts, or of all, in any installation.
fn ids_of(campaign: Option<CampaignId>) -> (Uuid, Uuid) {
    let first = AttemptKey { campaign_id: campaign.unwrap_or(CampaignId(0)), lead_id: LeadId(0), attempt_no: 0 };
    let last = AttemptKey {
        campaign_id: campaign.unwrap_or(CampaignId(AttemptId::CAMPAIGN_ID_MAX)),
        lead_id: LeadId(AttemptId::LEAD_ID_MAX),
        attempt_no: u16::MAX,
    };
    (AttemptId::derive(Installation::new(0), first).uuid(), AttemptId::derive(Installation::new(u32::MAX), last).uuid())
}
