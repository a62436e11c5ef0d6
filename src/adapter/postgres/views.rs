//! What people ask: progress, attempts, status, and where one lead is. Plain reads for the command line; nothing of the
//! engine depends on them. Lists come in pages, each after the last key of the one before.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Map, Value};
use sqlx::PgPool;
use sqlx::types::{Json, Uuid};

use super::enrolment::places;
use super::failure::reading;
use super::row::{Reading, attempt_id};
use crate::domain::attempt::OpenState;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CampaignId, Epoch, Installation, LeadId, LeadListId, OwnerId,
    ProviderCallId,
};
use crate::domain::outcome::Outcome;
use crate::domain::phone::PhoneNumber;
use crate::port::store::{Contact, LeadFacts, LeadRow, PersonFacts, Place, StoreError, Suppression};

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
    pub disposed: [(crate::domain::outcome::Disposition, i64); 8],
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
    use crate::domain::outcome::Disposition as D;
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
                    (D::Reached, row.reached),
                    (D::GoalMet, row.goal_met),
                    (D::Exhausted, row.exhausted),
                    (D::Suppressed, row.suppressed),
                    (D::InvalidNumber, row.invalid_number),
                    (D::Expired, row.expired),
                    (D::Removed, row.removed),
                    (D::Duplicate, row.duplicate),
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

/// What an account is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Which.
    pub account: AccountName,
    /// Open attempts by state.
    pub dialing: i64,
    /// As above.
    pub placed: i64,
    /// As above.
    pub in_doubt: i64,
    /// As above.
    pub held: i64,
    /// Who dials it, in which term; `None` when nobody holds a lease that has not run out.
    pub holder: Option<(OwnerId, Epoch)>,
    /// Why it is stopped, by its own stop or one of everything.
    pub stopped: Option<String>,
    /// Why the provider does not let it place calls, since when, and when the daemon looks again.
    pub problem: Option<(String, Timestamp, Option<Timestamp>)>,
    /// Events that are not applied yet.
    pub pending_events: i64,
}

/// Every account the database has heard of, by name; the configuration may know more.
///
/// # Errors
/// When the database cannot be read.
pub async fn account_statuses(pool: &PgPool) -> Result<Vec<AccountStatus>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with known as (
            select account from account_lease union select account from account_state
            union select account from open_attempt union select account from stop_order where account is not null
        )
        select k.account as "account!", o.dialing as "dialing!", o.placed as "placed!", o.in_doubt as "in_doubt!",
               o.held as "held!", l.owner as "owner?", l.epoch as "epoch?", x.reason as "stopped?",
               s.problem as "problem?", s.since as "since?", s.next_check_at as "next_check_at?",
               (select count(*) from inbox_pending p where p.account = k.account) as "pending_events!"
        from known k
        cross join lateral (
            select count(*) filter (where state = 'dialing') as dialing, count(*) filter (where state = 'placed') as placed,
                   count(*) filter (where state = 'in_doubt') as in_doubt, count(*) filter (where state = 'held') as held
            from open_attempt a where a.account = k.account
        ) o
        -- Leases live by the database's own clock.
        left join account_lease l on l.account = k.account and l.expires_at > clock_timestamp()
        left join account_state s on s.account = k.account
        left join lateral (
            select reason from stop_order t where t.account is null or t.account = k.account
            order by t.account nulls first limit 1
        ) x on true
        order by k.account
        "#
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows
        .into_iter()
        .map(|row| AccountStatus {
            account: AccountName::new(row.account),
            dialing: row.dialing,
            placed: row.placed,
            in_doubt: row.in_doubt,
            held: row.held,
            holder: row.owner.zip(row.epoch).map(|(owner, epoch)| (OwnerId(owner), Epoch(epoch))),
            stopped: row.stopped,
            problem: row
                .problem
                .zip(row.since)
                .map(|(problem, since)| (problem, since.to_jiff(), row.next_check_at.map(|at| at.to_jiff()))),
            pending_events: row.pending_events,
        })
        .collect())
}

/// An attempt that is in doubt or held, for people who look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenQuestion {
    /// Key.
    pub attempt_id: AttemptId,
    /// Whom.
    pub phone: PhoneNumber,
    /// Who dialed.
    pub account: AccountName,
    /// For which campaign.
    pub campaign: Option<String>,
    /// `in_doubt` or `held`.
    pub state: OpenState,
    /// When the intent became durable.
    pub intent_at: Timestamp,
    /// When the request left.
    pub sent_at: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The call at the provider.
    pub provider_call_id: Option<ProviderCallId>,
}

/// Attempts that are in doubt or held, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open_questions(pool: &PgPool, limit: u32) -> Result<Vec<OpenQuestion>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select o.attempt_id, o.phone, o.account, c.name as "campaign?", o.state, o.intent_at, o.sent_at, o.reason,
               o.provider_call_id
        from open_attempt o
        left join campaign c on c.campaign_id = o.campaign_id
        where o.state in ('in_doubt', 'held')
        order by o.intent_at, o.attempt_id
        limit $1
        "#,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            let at = Reading { table: "open_attempt", key: row.attempt_id };
            Ok(OpenQuestion {
                attempt_id: attempt_id(row.attempt_id),
                phone: at.phone(&row.phone)?,
                account: AccountName::new(row.account),
                campaign: row.campaign,
                state: at.word(&row.state)?,
                intent_at: row.intent_at.to_jiff(),
                sent_at: row.sent_at.map(|at| at.to_jiff()),
                reason: row.reason.unwrap_or_default(),
                provider_call_id: row.provider_call_id.map(ProviderCallId::new),
            })
        })
        .collect()
}

/// A do-not-call entry as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRow {
    /// Key, for the next page.
    pub suppression_id: i64,
    /// Whom.
    pub phone: PhoneNumber,
    /// In this campaign only; everywhere if absent.
    pub campaign: Option<String>,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

/// Do-not-call entries after a key, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn suppressions(pool: &PgPool, after: i64, limit: u32) -> Result<Vec<SuppressionRow>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select s.suppression_id, s.phone, coalesce(c.name, s.campaign_id::text) as campaign, s.reason, s.expires_at
        from suppression s
        left join campaign c on c.campaign_id = s.campaign_id
        where s.suppression_id > $1
        order by s.suppression_id
        limit $2
        "#,
        after,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            Ok(SuppressionRow {
                suppression_id: row.suppression_id,
                phone: Reading { table: "suppression", key: row.suppression_id }.phone(&row.phone)?,
                campaign: row.campaign,
                reason: row.reason,
                expires_at: row.expires_at.map(|at| at.to_jiff()),
            })
        })
        .collect()
}

/// Everything the gates want to know of one lead, wherever it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Whereabouts {
    /// Key.
    pub lead_id: LeadId,
    /// As its owner wrote it; `None` when it was deleted.
    pub row: Option<LeadRow>,
    /// What it says; `None` when it was deleted.
    pub facts: Option<LeadFacts>,
    /// Where it is in the campaign.
    pub place: Place,
    /// Why, if it is disposed, and since when.
    pub disposed: Option<(String, Timestamp)>,
    /// Its open attempt in this campaign, and why it is in doubt or held.
    pub open: Option<(AttemptId, OpenState, Option<String>)>,
    /// The person behind the phone; an open attempt of this very lead is in `open` and not here.
    pub person: PersonFacts,
    /// Who spoke with this lead last.
    pub last_assistant: Option<AssistantId>,
}

/// Finds the lead that holds a phone in a campaign, else one of the campaign's lists that was written with it.
///
/// # Errors
/// When the database cannot be read.
pub async fn find_lead(
    pool: &PgPool,
    campaign_id: CampaignId,
    phone: &PhoneNumber,
    now: Timestamp,
    person_since: Timestamp,
) -> Result<Option<Whereabouts>, StoreError> {
    let found = sqlx::query_scalar!(
        r#"
        select coalesce(
            (select lead_id from enrolment where campaign_id = $1 and phone = $2),
            (select l.lead_id from campaign_list w join lead l on l.lead_list_id = w.lead_list_id
             where w.campaign_id = $1 and l.phone = $2
             order by w.wanted desc, l.lead_id limit 1)
        )
        "#,
        campaign_id.0,
        phone.e164(),
    )
    .fetch_one(pool)
    .await
    .map_err(reading)?;
    let Some(id) = found else {
        return Ok(None);
    };
    let lead_id = LeadId(id);
    let place = places(pool, &[(campaign_id, lead_id)]).await?.into_iter().next().unwrap_or(Place::Nowhere);
    let lead = lead(pool, lead_id).await?;
    let row = sqlx::query!(
        r#"
        select v.reason as "reason?", v.disposed_at as "disposed_at?",
               o.attempt_id as "attempt_id?", o.state as "state?", o.reason as "open_reason?",
               (select assistant_id from attempt a
                where a.phone = $3 and a.campaign_id = $1 and a.lead_id = $2
                order by a.intent_at desc limit 1) as last_assistant,
               (select attempt_id from open_attempt x
                where x.phone = $3 and not (x.campaign_id = $1 and x.lead_id = $2)) as other_open
        from (select 1) one
        left join disposition v on v.campaign_id = $1 and v.lead_id = $2
        left join open_attempt o on o.campaign_id = $1 and o.lead_id = $2
        "#,
        campaign_id.0,
        id,
        phone.e164(),
    )
    .fetch_one(pool)
    .await
    .map_err(reading)?;
    let open = match (row.attempt_id, row.state) {
        (Some(id), Some(state)) => {
            Some((attempt_id(id), Reading { table: "open_attempt", key: id }.word(&state)?, row.open_reason))
        }
        _ => None,
    };
    let person = PersonFacts {
        suppression: suppression_of(pool, campaign_id, phone, now).await?,
        open: row.other_open.map(attempt_id),
        contacts: contacts_of(pool, phone, person_since).await?,
    };
    let (lead_row, facts) = lead.unzip();
    Ok(Some(Whereabouts {
        lead_id,
        row: lead_row,
        facts,
        place,
        disposed: row.reason.zip(row.disposed_at).map(|(reason, at)| (reason, at.to_jiff())),
        open,
        person,
        last_assistant: row.last_assistant.map(AssistantId::new),
    }))
}

async fn lead(pool: &PgPool, lead_id: LeadId) -> Result<Option<(LeadRow, LeadFacts)>, StoreError> {
    let row = sqlx::query!(
        r#"
        select lead_list_id, phone, time_zone, priority, not_before, not_after, version,
               variables as "variables: Json<Map<String, Value>>"
        from lead where lead_id = $1
        "#,
        lead_id.0,
    )
    .fetch_optional(pool)
    .await
    .map_err(reading)?;
    let at = Reading { table: "lead", key: lead_id };
    row.map(|row| {
        let not_before = row.not_before.map(|at| at.to_jiff());
        let not_after = row.not_after.map(|at| at.to_jiff());
        let written = LeadRow {
            lead_id,
            lead_list_id: LeadListId(row.lead_list_id),
            phone: row.phone,
            time_zone: row.time_zone,
            priority: at.number("priority", row.priority)?,
            not_before,
            not_after,
        };
        Ok((written, LeadFacts { version: row.version, not_before, not_after, variables: row.variables.0 }))
    })
    .transpose()
}

async fn suppression_of(
    pool: &PgPool,
    campaign_id: CampaignId,
    phone: &PhoneNumber,
    now: Timestamp,
) -> Result<Option<Suppression>, StoreError> {
    let row = sqlx::query!(
        r#"
        select reason, expires_at from suppression
        where phone = $1 and (campaign_id is null or campaign_id = $2) and (expires_at is null or expires_at > $3)
        order by expires_at desc nulls first limit 1
        "#,
        phone.e164(),
        campaign_id.0,
        now.to_sqlx() as _,
    )
    .fetch_optional(pool)
    .await
    .map_err(reading)?;
    Ok(row.map(|row| Suppression { reason: row.reason, expires_at: row.expires_at.map(|at| at.to_jiff()) }))
}

async fn contacts_of(pool: &PgPool, phone: &PhoneNumber, since: Timestamp) -> Result<Vec<Contact>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select coalesce(sent_at, intent_at) as "at!", campaign_id from attempt
        where phone = $1 and intent_at >= $2
            and (outcome is null or outcome not in ('rejected', 'canceled', 'not_placed'))
        order by 1 desc
        "#,
        phone.e164(),
        since.to_sqlx() as _,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| Contact { at: row.at.to_jiff(), campaign_id: CampaignId(row.campaign_id) }).collect())
}
