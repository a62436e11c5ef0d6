//! Facts that are to be told: which wait, what they say, and what came of telling them.
//!
//! Triggers write them (migration 0011). No row stays locked while an event is sent: whoever takes one puts it off until
//! its sending must have come to an end, so that what a lost daemon had is taken by another. An event may thus be sent
//! more than once, and is never lost. Times are real ones, given by the caller.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Uuid;

use super::failure::{acquire, writing};
use super::row::Reading;
use super::storable::storable;
use crate::domain::notice::NoticeKind;
use crate::port::store::StoreError;

/// Longest problem that is kept, in characters.
const PROBLEM_CHARS_MAX: usize = 500;

/// An event that was taken to be sent, with all that may be said of it.
pub struct OutgoingEvent {
    /// Key.
    pub key: i64,
    /// Names it to receivers.
    pub event_id: Uuid,
    /// Which fact.
    pub kind: NoticeKind,
    /// When it came to be; civil.
    pub happened_at: Timestamp,
    /// When it was written down; real.
    pub created_at: Timestamp,
    /// How often it has been sent, this time included.
    pub sendings: u32,
    /// What was noted of it.
    pub detail: Value,
    /// Key of the campaign.
    pub campaign_id: i64,
    /// Its name; `None` when it was deleted.
    pub campaign: Option<String>,
    /// Its section `notify` as it stands.
    pub notify: Option<Value>,
    /// The lead, where the fact is about one.
    pub lead: Option<LeadTold>,
    /// The attempt, where the fact is about one.
    pub attempt: Option<AttemptTold>,
}

/// What may be said of a lead.
pub struct LeadTold {
    /// Key.
    pub lead_id: i64,
    /// The owner's own key.
    pub external_ref: Option<String>,
    /// The number that was dialed, or the one the lead has.
    pub phone: Option<String>,
    /// Its variables.
    pub variables: Option<Value>,
}

/// What may be said of an attempt. Besides the id, everything may be gone for its age.
pub struct AttemptTold {
    /// Key.
    pub attempt_id: Uuid,
    /// Number for this lead.
    pub attempt_no: Option<i32>,
    /// The account that dialed.
    pub account: Option<String>,
    /// The assistant that spoke, or was to.
    pub assistant_id: Option<String>,
    /// When the intent became durable.
    pub intent_at: Option<Timestamp>,
    /// When the request left.
    pub sent_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How.
    pub outcome: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Whether the goal was met.
    pub goal_met: Option<bool>,
    /// The call at the provider.
    pub provider_call_id: Option<String>,
    /// Who answered.
    pub answered_by: Option<String>,
    /// Length of the call.
    pub duration_seconds: Option<i32>,
    /// Cost.
    pub cost: Option<Decimal>,
    /// Where the recording is.
    pub recording_url: Option<String>,
    /// What was said; only where the campaign asks for it.
    pub transcript: Option<Value>,
    /// Variables extracted from the conversation.
    pub extracted: Option<Value>,
}

/// Takes events of a webhook that may be sent at `now`, at most `limit`, oldest first, and puts them off until
/// `taken_until`.
///
/// # Errors
/// When the database cannot be written.
pub async fn take_events(
    pool: &PgPool,
    webhook: &str,
    limit: u32,
    now: Timestamp,
    taken_until: Timestamp,
) -> Result<Vec<OutgoingEvent>, StoreError> {
    let mut connection = acquire(pool).await?;
    let rows = sqlx::query!(
        r#"
        with ready as materialized (
            select outgoing_event_id
            from outgoing_event
            where webhook = $1 and retry_at <= $2
            order by retry_at, outgoing_event_id
            limit $3
            for update skip locked
        ),
        taken as (
            update outgoing_event e
            set retry_at = $4, sendings = e.sendings + 1
            from ready
            where e.outgoing_event_id = ready.outgoing_event_id
            returning e.outgoing_event_id, e.event_id, e.campaign_id, e.kind, e.lead_id, e.attempt_id, e.detail, e.happened_at,
                e.created_at, e.sendings
        )
        select t.outgoing_event_id as "key!", t.event_id as "event_id!", t.campaign_id as "campaign_id!", t.kind as "kind!",
            t.lead_id as "lead_id?", t.attempt_id as "attempt_id?", t.detail as "detail!", t.happened_at as "happened_at!",
            t.created_at as "created_at!", t.sendings as "sendings!",
            c.name as "campaign?", c.definition -> 'notify' as notify,
            l.external_ref as "external_ref?", coalesce(a.phone, l.phone) as phone, l.variables as "variables?",
            a.attempt_no as "attempt_no?", a.account as "account?", a.assistant_id as "assistant_id?",
            a.intent_at as "intent_at?", a.sent_at as "sent_at?", a.ended_at as "ended_at?", a.outcome as "outcome?",
            a.reason as "reason?", a.goal_met as "goal_met?",
            r.provider_call_id as "provider_call_id?", r.answered_by as "answered_by?",
            r.duration_seconds as "duration_seconds?", r.cost as "cost?", r.recording_url as "recording_url?",
            -- Large, and rarely asked for.
            case when c.definition #> '{notify,send}' ? 'transcript' then r.transcript end as transcript,
            r.extracted as "extracted?"
        from taken t
        left join campaign c on c.campaign_id = t.campaign_id
        left join lead l on l.lead_id = t.lead_id
        left join attempt a on a.attempt_id = t.attempt_id
        left join call_result r on r.attempt_id = t.attempt_id
        order by t.outgoing_event_id
        "#,
        webhook,
        now.to_sqlx() as _,
        i64::from(limit),
        taken_until.to_sqlx() as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    rows.into_iter()
        .map(|row| {
            let at = Reading { table: "outgoing_event", key: row.key };
            let (external_ref, phone, variables) = (row.external_ref, row.phone, row.variables);
            let lead = row.lead_id.map(|lead_id| LeadTold { lead_id, external_ref, phone, variables });
            let instant = |at: Option<jiff_sqlx::Timestamp>| at.map(jiff_sqlx::Timestamp::to_jiff);
            Ok(OutgoingEvent {
                key: row.key,
                event_id: row.event_id,
                kind: at.word(&row.kind)?,
                happened_at: row.happened_at.to_jiff(),
                created_at: row.created_at.to_jiff(),
                sendings: at.number("sendings", row.sendings)?,
                detail: row.detail,
                campaign_id: row.campaign_id,
                campaign: row.campaign,
                notify: row.notify,
                lead,
                attempt: row.attempt_id.map(|attempt_id| AttemptTold {
                    attempt_id,
                    attempt_no: row.attempt_no,
                    account: row.account,
                    assistant_id: row.assistant_id,
                    intent_at: instant(row.intent_at),
                    sent_at: instant(row.sent_at),
                    ended_at: instant(row.ended_at),
                    outcome: row.outcome,
                    reason: row.reason,
                    goal_met: row.goal_met,
                    provider_call_id: row.provider_call_id,
                    answered_by: row.answered_by,
                    duration_seconds: row.duration_seconds,
                    cost: row.cost,
                    recording_url: row.recording_url,
                    transcript: row.transcript,
                    extracted: row.extracted,
                }),
            })
        })
        .collect()
}

/// What came of sending an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which one.
    pub key: i64,
    /// How often it had been sent then.
    pub sendings: u32,
    /// What follows.
    pub fate: Fate,
}

/// What follows the sending of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// It is sent again.
    Again {
        /// Not before this.
        at: Timestamp,
        /// What went wrong.
        problem: String,
    },
    /// Nobody tries any more.
    GivenUp {
        /// What went wrong last.
        problem: String,
    },
}

/// Notes what came of sending events. A failure counts only for the one who took the event last; a delivery is a fact.
///
/// # Errors
/// When the database cannot be written; the events are then sent again.
pub async fn note_told(pool: &PgPool, told: &[Told], now: Timestamp) -> Result<(), StoreError> {
    if told.is_empty() {
        return Ok(());
    }
    let keys: Vec<i64> = told.iter().map(|told| told.key).collect();
    let sendings: Vec<i32> = told.iter().map(|told| i32::try_from(told.sendings).unwrap_or(i32::MAX)).collect();
    let delivered: Vec<bool> = told.iter().map(|told| told.fate == Fate::Delivered).collect();
    let retry_at: Vec<_> = told
        .iter()
        .map(|told| match &told.fate {
            Fate::Again { at, .. } => Some(at.to_sqlx()),
            Fate::Delivered | Fate::GivenUp { .. } => None,
        })
        .collect();
    let problems: Vec<Option<String>> = told
        .iter()
        .map(|told| match &told.fate {
            Fate::Again { problem, .. } | Fate::GivenUp { problem } => Some(kept(problem)),
            Fate::Delivered => None,
        })
        .collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with told as materialized (
            select t.*
            from unnest($1::bigint[], $2::integer[], $3::boolean[], $4::timestamptz[], $5::text[])
                as t (key, sendings, delivered, retry_at, problem)
            join outgoing_event e on e.outgoing_event_id = t.key
            where e.delivered_at is null and (t.delivered or e.sendings = t.sendings and e.given_up_at is null)
            order by t.key
            for update of e
        )
        update outgoing_event e
        set retry_at = t.retry_at, problem = t.problem,
            delivered_at = case when t.delivered then $6::timestamptz end,
            given_up_at = case when not t.delivered and t.retry_at is null then $6::timestamptz end
        from told t
        where e.outgoing_event_id = t.key
        "#,
        &keys,
        &sendings,
        &delivered,
        &retry_at as _,
        &problems as _,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// A problem as the column holds it.
pub(super) fn kept(problem: &str) -> String {
    storable(&problem.chars().take(PROBLEM_CHARS_MAX).collect::<String>())
}
