//! What waits to be told, and how it ends where nobody takes it: the house keeping of outgoing events. Times are real ones,
//! given by the caller.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::{acquire, reading, writing};
use super::outgoing::kept;
use crate::port::store::StoreError;

/// Delivered events are kept so long, for people who look for one.
const DELIVERED_KEPT: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Events that were given up are kept so long.
const GIVEN_UP_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
/// An event for a webhook of another daemon's configuration is left to it for so long.
const OTHERS_LEFT_FOR: SignedDuration = SignedDuration::from_hours(48);
/// Rows one statement removes or gives up.
const SWEEP_BATCH: i64 = 5_000;
/// Statements of this kind in one sweep: together more than any daemon can tell in the time between two.
const SWEEP_BATCHES_MAX: u32 = 20;
/// Events that are counted for each webhook.
pub const COUNTED_MAX: u64 = 10_000;

/// How far the events of a webhook have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookBacklog {
    /// Which.
    pub webhook: String,
    /// Campaigns that name it and are not finished.
    pub campaigns: u64,
    /// Events that wait, counted up to [`COUNTED_MAX`].
    pub waiting: u64,
    /// When the oldest of them was written down; real.
    pub oldest_at: Option<Timestamp>,
    /// Events that were given up and not removed yet, counted up to [`COUNTED_MAX`].
    pub given_up: u64,
    /// What went wrong last, of those that wait or else of those that were given up.
    pub problem: Option<String>,
}

/// What waits for each of these webhooks, and for those that campaigns name besides; by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn backlogs(pool: &PgPool, webhooks: &[String]) -> Result<Vec<WebhookBacklog>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with named as materialized (
            select n.webhook, count(*) as campaigns
            from campaign_notice n
            join campaign c on c.campaign_id = n.campaign_id and c.state <> 'finished'
            group by n.webhook
        )
        select k.webhook as "webhook!", coalesce(n.campaigns, 0) as "campaigns!", w.waiting as "waiting!",
            w.oldest_at as "oldest_at?", g.given_up as "given_up!", coalesce(w.problem, g.problem) as "problem?"
        from (select unnest($1::text[]) as webhook union select webhook from named) as k
        left join named n on n.webhook = k.webhook
        cross join lateral (
            select count(*) as waiting, min(e.created_at) as oldest_at,
                -- Whoever is put off furthest was refused most often.
                (array_agg(e.problem order by e.retry_at desc) filter (where e.problem is not null))[1] as problem
            from (
                select created_at, retry_at, problem
                from outgoing_event
                where webhook = k.webhook and retry_at is not null
                order by retry_at, outgoing_event_id
                limit $2
            ) as e
        ) as w
        cross join lateral (
            select count(*) as given_up, (array_agg(e.problem order by e.given_up_at desc))[1] as problem
            from (
                select given_up_at, problem
                from outgoing_event
                where webhook = k.webhook and given_up_at is not null
                order by given_up_at desc
                limit $2
            ) as e
        ) as g
        order by k.webhook
        "#,
        webhooks as _,
        COUNTED_MAX.cast_signed(),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows
        .into_iter()
        .map(|row| WebhookBacklog {
            webhook: row.webhook,
            campaigns: row.campaigns.unsigned_abs(),
            waiting: row.waiting.unsigned_abs(),
            oldest_at: row.oldest_at.map(|at| at.to_jiff()),
            given_up: row.given_up.unsigned_abs(),
            problem: row.problem,
        })
        .collect())
}

/// Removes events that are old and done with, and gives up those that no configuration sends: `webhooks` are ours.
/// Answers how many were given up.
///
/// # Errors
/// When the database cannot be written.
pub async fn sweep_events(pool: &PgPool, webhooks: &[String], now: Timestamp) -> Result<u64, StoreError> {
    let before = |span| now.saturating_sub(span).expect("a duration without calendar units saturates").to_sqlx();
    let mut connection = acquire(pool).await?;
    for _ in 0..SWEEP_BATCHES_MAX {
        let removed = sqlx::query!(
            r#"
            with old as materialized (
                select outgoing_event_id
                from outgoing_event
                where retry_at is null and created_at < $1::timestamptz
                    and (given_up_at is null or created_at < $2::timestamptz)
                order by created_at
                limit $3
                for update skip locked
            )
            delete from outgoing_event e using old where e.outgoing_event_id = old.outgoing_event_id
            "#,
            before(DELIVERED_KEPT) as _,
            before(GIVEN_UP_KEPT) as _,
            SWEEP_BATCH,
        )
        .execute(&mut *connection)
        .await
        .map_err(writing)?;
        if removed.rows_affected() < SWEEP_BATCH.unsigned_abs() {
            break;
        }
    }
    let given_up = sqlx::query!(
        r#"
        with nobodys as materialized (
            select outgoing_event_id
            from outgoing_event
            where retry_at < $2::timestamptz and created_at < $2::timestamptz and webhook <> all($1::text[])
            limit $3
            for update skip locked
        )
        update outgoing_event e
        set retry_at = null, given_up_at = $4::timestamptz, problem = 'no daemon has this webhook in its configuration'
        from nobodys n
        where e.outgoing_event_id = n.outgoing_event_id
        "#,
        webhooks as _,
        before(OTHERS_LEFT_FOR) as _,
        SWEEP_BATCH,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(given_up.rows_affected())
}

/// Gives up what has waited for a webhook since before `before` and was not even tried: for receivers that nobody reaches,
/// so that what waits does not grow for ever. Answers how many.
///
/// # Errors
/// When the database cannot be written.
pub async fn give_up_older(
    pool: &PgPool,
    webhook: &str,
    before: Timestamp,
    now: Timestamp,
    problem: &str,
) -> Result<u64, StoreError> {
    let mut connection = acquire(pool).await?;
    let given_up = sqlx::query!(
        r#"
        with old as materialized (
            select outgoing_event_id
            from outgoing_event
            where webhook = $1 and retry_at < $2::timestamptz and created_at < $2::timestamptz
            order by retry_at, outgoing_event_id
            limit $3
            for update skip locked
        )
        update outgoing_event e
        set retry_at = null, given_up_at = $4::timestamptz, problem = $5
        from old
        where e.outgoing_event_id = old.outgoing_event_id
        "#,
        webhook,
        before.to_sqlx() as _,
        SWEEP_BATCH,
        now.to_sqlx() as _,
        kept(problem),
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(given_up.rows_affected())
}
