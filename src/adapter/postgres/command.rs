//! What people order: campaigns, lists, leads, stops and suppressions written from the command line. Each order is one
//! statement and may be repeated; what must follow from it the daemon finds by itself.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::PgPool;

use super::failure::{acquire, reading, writing};
use super::storable::{storable, storable_json};
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, CampaignId, LeadListId};
use crate::domain::outcome::Disposition;
use crate::domain::phone::PhoneNumber;
use crate::port::store::StoreError;

/// What applying a campaign did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// There was none of that name.
    Created(CampaignId),
    /// Its definition is another one.
    Changed(CampaignId),
    /// It was so already.
    Unchanged(CampaignId),
}

/// Writes a campaign by its name. A new one gets `state`; one that is there keeps its own.
///
/// # Errors
/// When the database cannot be written.
pub async fn apply_campaign(
    pool: &PgPool,
    name: &str,
    definition: &Value,
    state: CampaignState,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let mut connection = acquire(pool).await?;
    let row = sqlx::query!(
        r#"
        with before as materialized (
            select campaign_id, definition from campaign where name = $1
        ),
        written as (
            insert into campaign as c (name, state, definition, created_at, changed_at)
            values ($1, $3, $2, $4::timestamptz, $4::timestamptz)
            on conflict (name) do update set definition = excluded.definition, changed_at = excluded.changed_at
                where c.definition is distinct from excluded.definition
            returning c.campaign_id, (xmax = 0) as created
        )
        select coalesce(w.campaign_id, b.campaign_id) as "campaign_id!", w.created as "created?"
        from (select 1) one left join written w on true left join before b on true
        "#,
        name,
        storable_json(definition),
        state.as_str(),
        now.to_sqlx() as _,
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(writing)?;
    let id = CampaignId(row.campaign_id);
    Ok(match row.created {
        Some(true) => Applied::Created(id),
        Some(false) => Applied::Changed(id),
        None => Applied::Unchanged(id),
    })
}

/// Moves a campaign to a state from one of those it may be in; answers with the state it had, `None` without such a
/// campaign. It was moved if that is one of `from`.
///
/// # Errors
/// When the database cannot be written.
pub async fn set_campaign_state(
    pool: &PgPool,
    name: &str,
    from: &[CampaignState],
    to: CampaignState,
    now: Timestamp,
) -> Result<Option<CampaignState>, StoreError> {
    let from: Vec<_> = from.iter().map(|state| state.as_str()).collect();
    let mut connection = acquire(pool).await?;
    let before = sqlx::query_scalar!(
        r#"
        with before as materialized (
            select campaign_id, state from campaign where name = $1 for update
        ),
        moved as (
            update campaign c
            set state = $3, changed_at = $4::timestamptz,
                finished_at = case when $3 = 'finished' then $4::timestamptz end
            from before b
            where c.campaign_id = b.campaign_id and b.state = any($2::text[]) and b.state <> $3
        )
        select state from before
        "#,
        name,
        &from as _,
        to.as_str(),
        now.to_sqlx() as _,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(writing)?;
    let at = super::row::Reading { table: "campaign", key: name };
    before.map(|state| at.word(&state)).transpose()
}

/// The list of that name; made if there is none.
///
/// # Errors
/// When the database cannot be written.
pub async fn find_or_make_list(pool: &PgPool, name: &str) -> Result<LeadListId, StoreError> {
    let mut connection = acquire(pool).await?;
    sqlx::query!("insert into lead_list (name) values ($1) on conflict (name) do nothing", name)
        .execute(&mut *connection)
        .await
        .map_err(writing)?;
    let id = sqlx::query_scalar!("select lead_list_id from lead_list where name = $1", name)
        .fetch_one(&mut *connection)
        .await
        .map_err(reading)?;
    Ok(LeadListId(id))
}

/// A lead to be written.
#[derive(Clone, Default, PartialEq)]
pub struct NewLead {
    /// In any form; as given.
    pub phone: String,
    /// Name of the person.
    pub name: Option<String>,
    /// IANA zone.
    pub time_zone: Option<String>,
    /// Postcode.
    pub postcode: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// 0 goes first, 9 last.
    pub priority: u8,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Not after this.
    pub not_after: Option<Timestamp>,
    /// The owner's own key: a second import of it updates the lead.
    pub external_ref: Option<String>,
    /// Variables.
    pub variables: serde_json::Map<String, Value>,
}

/// Writes a batch of leads; some thousand at once are best. One with an `external_ref` the list has already updates that
/// lead; of two in one batch the later counts. Answers with the leads that were new or changed.
///
/// # Errors
/// When the database cannot be written, or a value breaks a bound of the table.
pub async fn copy_leads(pool: &PgPool, list: LeadListId, leads: &[NewLead]) -> Result<u64, StoreError> {
    let mut connection = acquire(pool).await?;
    let text = |of: fn(&NewLead) -> Option<&str>| leads.iter().map(|lead| of(lead).map(storable)).collect::<Vec<_>>();
    let phones: Vec<_> = leads.iter().map(|lead| storable(&lead.phone)).collect();
    let priorities: Vec<_> = leads.iter().map(|lead| i16::from(lead.priority)).collect();
    let not_before: Vec<_> = leads.iter().map(|lead| lead.not_before.map(|at| at.to_sqlx())).collect();
    let not_after: Vec<_> = leads.iter().map(|lead| lead.not_after.map(|at| at.to_sqlx())).collect();
    let variables: Vec<_> = leads.iter().map(|lead| super::storable::storable_map(&lead.variables)).collect();
    let done = sqlx::query!(
        r#"
        with given as (
            select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::smallint[],
                                 $8::timestamptz[], $9::timestamptz[], $10::text[], $11::jsonb[])
                with ordinality as g (phone, name, time_zone, postcode, region, priority, not_before, not_after,
                                      external_ref, variables, position)
        ),
        kept as (
            select distinct on (external_ref, case when external_ref is null then position end) *
            from given
            order by external_ref, case when external_ref is null then position end, position desc
        )
        insert into lead as l (lead_list_id, phone, name, time_zone, postcode, region, priority, not_before, not_after,
            external_ref, variables)
        select $1, phone, name, time_zone, postcode, region, priority, not_before, not_after, external_ref, variables
        from kept order by position
        on conflict (lead_list_id, external_ref) where external_ref is not null do update set
            phone = excluded.phone, name = excluded.name, time_zone = excluded.time_zone,
            postcode = excluded.postcode, region = excluded.region, priority = excluded.priority,
            not_before = excluded.not_before, not_after = excluded.not_after, variables = excluded.variables
            where (l.phone, l.name, l.time_zone, l.postcode, l.region, l.priority, l.not_before, l.not_after, l.variables)
                is distinct from (excluded.phone, excluded.name, excluded.time_zone, excluded.postcode, excluded.region,
                    excluded.priority, excluded.not_before, excluded.not_after, excluded.variables)
        "#,
        list.0,
        &phones,
        &text(|lead| lead.name.as_deref()) as _,
        &text(|lead| lead.time_zone.as_deref()) as _,
        &text(|lead| lead.postcode.as_deref()) as _,
        &text(|lead| lead.region.as_deref()) as _,
        &priorities,
        &not_before as _,
        &not_after as _,
        &text(|lead| lead.external_ref.as_deref()) as _,
        &variables,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(done.rows_affected())
}

/// Gives disposed leads of a campaign fresh tries, with their numbering kept: their verdicts become ones that can be
/// undone, and the daemon makes them due again if their list is still dialed. A lead with an open attempt, held or not,
/// has no verdict and is left alone, and so is one whose phone has an open attempt elsewhere.
///
/// # Errors
/// When the database cannot be written.
pub async fn requeue(
    pool: &PgPool,
    campaign_id: CampaignId,
    dispositions: &[Disposition],
    phone: Option<&PhoneNumber>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let dispositions: Vec<_> = dispositions.iter().map(|disposition| disposition.as_str()).collect();
    let mut connection = acquire(pool).await?;
    let count = sqlx::query_scalar!(
        r#"
        with chosen as materialized (
            select v.campaign_id, v.lead_id from disposition v
            where v.campaign_id = $1 and v.disposition = any($2::text[])
                and ($3::text is null or exists (
                    select from enrolment e
                    where e.campaign_id = $1 and e.phone = $3 and e.lead_id = v.lead_id
                ))
                and not exists (
                    select from enrolment e join open_attempt o on o.phone = e.phone
                    where e.lead_id = v.lead_id and e.campaign_id = $1
                )
            order by v.lead_id
            for update
        ),
        undone as (
            update disposition v
            set disposition = 'removed', reason = 'put back by hand', tries = 0, disposed_at = $4::timestamptz,
                duplicate_of = null
            from chosen c
            where v.campaign_id = c.campaign_id and v.lead_id = c.lead_id
            returning v.lead_id
        ),
        noted as (
            insert into lead_change (lead_id) select lead_id from undone order by lead_id returning 1
        )
        select count(*) as "count!" from noted
        "#,
        campaign_id.0,
        &dispositions as _,
        phone.map(PhoneNumber::e164),
        now.to_sqlx() as _,
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(count.unsigned_abs())
}

/// A do-not-call entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSuppression {
    /// Whom.
    pub phone: PhoneNumber,
    /// In this campaign only; everywhere if absent.
    pub campaign_id: Option<CampaignId>,
    /// Why; 1 to 500 characters.
    pub reason: String,
    /// Until when; for good if absent.
    pub expires_at: Option<Timestamp>,
}

/// Writes do-not-call entries, in place of those there are for the same phone and scope. Answers with how many there are
/// now that were new or changed.
///
/// # Errors
/// When the database cannot be written.
pub async fn suppress(pool: &PgPool, entries: &[NewSuppression]) -> Result<u64, StoreError> {
    let phones: Vec<_> = entries.iter().map(|entry| entry.phone.e164()).collect();
    let campaigns: Vec<_> = entries.iter().map(|entry| entry.campaign_id.map(|id| id.0)).collect();
    let reasons: Vec<_> = entries.iter().map(|entry| storable(&entry.reason)).collect();
    let expires_at: Vec<_> = entries.iter().map(|entry| entry.expires_at.map(|at| at.to_sqlx())).collect();
    let mut connection = acquire(pool).await?;
    let done = sqlx::query!(
        r#"
        insert into suppression as s (phone, campaign_id, reason, expires_at)
        select distinct on (phone, coalesce(campaign_id, 0)) phone, campaign_id, reason, expires_at
        from unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[])
            with ordinality as e (phone, campaign_id, reason, expires_at, position)
        order by phone, coalesce(campaign_id, 0), position desc
        on conflict (phone, coalesce(campaign_id, 0)) do update set
            reason = excluded.reason, expires_at = excluded.expires_at
            where (s.reason, s.expires_at) is distinct from (excluded.reason, excluded.expires_at)
        "#,
        &phones as _,
        &campaigns as _,
        &reasons,
        &expires_at as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(done.rows_affected())
}

/// Removes do-not-call entries of one scope; a trigger notes the leads they had disposed of. Answers with how many there
/// were.
///
/// # Errors
/// When the database cannot be written.
pub async fn unsuppress(
    pool: &PgPool,
    phones: &[PhoneNumber],
    campaign_id: Option<CampaignId>,
) -> Result<u64, StoreError> {
    let phones: Vec<_> = phones.iter().map(PhoneNumber::e164).collect();
    let mut connection = acquire(pool).await?;
    let done = sqlx::query!(
        "delete from suppression where phone = any($1::text[]) and coalesce(campaign_id, 0) = coalesce($2::bigint, 0)",
        &phones as _,
        campaign_id.map(|id| id.0),
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(done.rows_affected())
}

/// Stops an account, or everything. In effect within a second, kept until it is lifted; a second order replaces the
/// first one's reason.
///
/// # Errors
/// When the database cannot be written.
pub async fn stop(
    pool: &PgPool,
    account: Option<&AccountName>,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        insert into stop_order (account, reason, stopped_at) values ($1, $2, $3::timestamptz)
        on conflict (coalesce(account, '')) do update set reason = excluded.reason
        "#,
        account.map(AccountName::as_str),
        storable(reason),
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// Lifts the stop of an account, or that of everything; `false` when there was none.
///
/// # Errors
/// When the database cannot be written.
pub async fn lift_stop(pool: &PgPool, account: Option<&AccountName>) -> Result<bool, StoreError> {
    let mut connection = acquire(pool).await?;
    let done = sqlx::query!(
        "delete from stop_order where coalesce(account, '') = coalesce($1::text, '')",
        account.map(AccountName::as_str),
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(done.rows_affected() > 0)
}
