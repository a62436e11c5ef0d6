//! Campaigns open and close, and what is known of accounts.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::{acquire, reading, writing};
use super::row::Reading;
use super::storable::storable;
use crate::domain::campaign::CampaignState;
use crate::domain::id::CampaignId;
use crate::port::store::{AccountState, BACKLOG_MAX, Backlog, StoreError, Verdict};

pub(super) async fn note_campaigns(pool: &PgPool, notes: &[(CampaignId, Option<String>)]) -> Result<(), StoreError> {
    if notes.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = notes.iter().map(|(id, _)| id.0).collect();
    let texts: Vec<_> = notes.iter().map(|(_, note)| note.as_deref().map(storable)).collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with changed as materialized (
            select c.campaign_id, n.note
            from unnest($1::bigint[], $2::text[]) as n (campaign_id, note)
            join campaign c on c.campaign_id = n.campaign_id
            where c.note is distinct from n.note
            order by c.campaign_id
            for update of c
        )
        update campaign c set note = n.note from changed n where c.campaign_id = n.campaign_id
        "#,
        &ids as _,
        &texts as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

pub(super) async fn backlog(pool: &PgPool, campaign_id: CampaignId) -> Result<Backlog, StoreError> {
    let row = sqlx::query!(
        r#"
        select
            -- Asked again and again: what matters is whether anything is left.
            (select count(*) from (select 1 from due where campaign_id = $1 limit $2) x) as "due!",
            (
                select count(*)
                from (select 1 from open_attempt where campaign_id = $1 and state <> 'held' limit $2) x
            ) as "open!",
            (
                select count(*)
                from (select 1 from open_attempt where campaign_id = $1 and state = 'held' limit $2) x
            ) as "held!",
            exists (select from campaign_list where campaign_id = $1 and not walked)
            -- A change that waits for a held attempt may wait for ever.
            or exists (
                select from lead_change x
                join lead l on l.lead_id = x.lead_id
                join campaign_list w on w.lead_list_id = l.lead_list_id and w.campaign_id = $1 and w.wanted
                where x.lead_id not in (select lead_id from open_attempt where state = 'held')
            ) as "enrolling!"
        "#,
        campaign_id.0,
        i64::from(BACKLOG_MAX),
    )
    .fetch_one(pool)
    .await
    .map_err(reading)?;
    let at = Reading { table: "campaign", key: campaign_id };
    Ok(Backlog {
        due: at.number("due", row.due)?,
        open: at.number("open", row.open)?,
        held: at.number("held", row.held)?,
        enrolling: row.enrolling,
    })
}

/// One look at the index of due leads for each finished campaign.
pub(super) async fn finished_with_due(pool: &PgPool) -> Result<Vec<CampaignId>, StoreError> {
    let ids = sqlx::query_scalar!(
        r#"
        select c.campaign_id
        from campaign c
        -- The limit keeps the planner from reading all that is due, to join it.
        cross join lateral (select from due d where d.campaign_id = c.campaign_id limit 1) any_due
        where c.state = 'finished'
        order by c.campaign_id
        "#
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(ids.into_iter().map(CampaignId).collect())
}

pub(super) async fn dispose_all_due(
    pool: &PgPool,
    campaign_id: CampaignId,
    verdict: &Verdict,
    limit: u32,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut connection = acquire(pool).await?;
    let disposed = sqlx::query_scalar!(
        r#"
        with chosen as materialized (
            select campaign_id, lead_id from due
            where campaign_id = $1
            order by calling_group_id, priority, due_at, lead_id
            limit $2
            -- What is being dialed at this moment comes back with its end.
            for update skip locked
        ),
        taken as (
            delete from due d using chosen c
            where d.campaign_id = c.campaign_id and d.lead_id = c.lead_id
            returning d.campaign_id, d.lead_id, d.attempt_no, d.tries
        ),
        disposed as (
            insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
            select campaign_id, lead_id, $3, $4, attempt_no, tries, $5::timestamptz from taken order by lead_id
            on conflict (campaign_id, lead_id) do update set
                disposition = excluded.disposition, reason = excluded.reason, attempt_no = excluded.attempt_no,
                tries = excluded.tries, disposed_at = excluded.disposed_at, duplicate_of = null
            returning 1
        )
        select count(*) as "count!" from disposed
        "#,
        campaign_id.0,
        i64::from(limit),
        verdict.disposition.as_str(),
        storable(&verdict.reason),
        now.to_sqlx() as _,
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(writing)?;
    Reading { table: "due", key: campaign_id }.number("count", disposed)
}

pub(super) async fn advance_campaign(
    pool: &PgPool,
    campaign_id: CampaignId,
    from: CampaignState,
    to: CampaignState,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut connection = acquire(pool).await?;
    let done = sqlx::query!(
        r#"
        update campaign
        set state = $3, changed_at = $4::timestamptz,
            finished_at = case when $3 = 'finished' then $4::timestamptz end
        where campaign_id = $1 and state = $2
        "#,
        campaign_id.0,
        from.as_str(),
        to.as_str(),
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn save_account_state(pool: &PgPool, state: &AccountState) -> Result<(), StoreError> {
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        insert into account_state (account, problem, since, next_check_at)
        values ($1, $2, $3::timestamptz, $4::timestamptz)
        on conflict (account) do update set
            problem = excluded.problem, since = excluded.since, next_check_at = excluded.next_check_at
        "#,
        state.account.as_str(),
        state.problem.as_deref().map(storable),
        state.since.to_sqlx() as _,
        state.next_check_at.map(|at| at.to_sqlx()) as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}
