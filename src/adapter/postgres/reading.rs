//! What metrics and summaries are made of: a few bounded reads, in one snapshot, that give up soon.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::reading;
use super::row::Reading;
use super::status::{AccountStatus, account_statuses};
use crate::domain::id::{AccountName, CallingGroupId, CampaignId};
use crate::domain::lead::Stratum;
use crate::port::reading::{LaneDue, OpenGroup, Readings};
use crate::port::store::StoreError;

/// Most lanes that are looked at: one for each campaign, calling group and priority.
const LANES_MAX: i64 = 5_000;

/// Reads what every account and campaign is doing. At most `lane_cap` due leads are counted in each lane.
///
/// # Errors
/// When the database does not answer within two seconds a statement.
pub async fn readings(
    pool: &PgPool,
    now: Timestamp,
    lane_cap: u32,
) -> Result<(Vec<AccountStatus>, Readings), StoreError> {
    let mut tx = pool.begin().await.map_err(reading)?;
    sqlx::raw_sql("set transaction isolation level repeatable read, read only; set local statement_timeout = '2s'")
        .execute(&mut *tx)
        .await
        .map_err(reading)?;
    let statuses = account_statuses(&mut *tx).await?;
    let now = now.to_sqlx();
    let lanes = sqlx::query!(
        r#"
        select s.campaign_id, s.calling_group_id, s.priority, d.due as "due!", n.due_at as "next_due_at?"
        from campaign c
        join stratum s on s.campaign_id = c.campaign_id
        cross join lateral (
            select count(*) as due
            from (
                select from due d
                where d.campaign_id = s.campaign_id and d.calling_group_id = s.calling_group_id
                    and d.priority = s.priority and d.due_at <= $1
                limit $2
            ) counted
        ) d
        left join lateral (
            select d.due_at
            from due d
            where d.campaign_id = s.campaign_id and d.calling_group_id = s.calling_group_id
                and d.priority = s.priority and d.due_at > $1
            order by d.due_at
            limit 1
        ) n on true
        where c.state <> 'finished'
        order by s.campaign_id, s.calling_group_id, s.priority
        limit $3
        "#,
        now as _,
        i64::from(lane_cap),
        LANES_MAX,
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(reading)?;
    let open = sqlx::query!(
        r#"
        select account, campaign_id, state, count(*) as "count!", min(intent_at) as "oldest_at!"
        from open_attempt
        group by account, campaign_id, state
        order by account, campaign_id, state
        "#
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(reading)?;
    let accounts: Vec<String> = statuses.iter().map(|status| status.account.to_string()).collect();
    let inbox = sqlx::query!(
        r#"
        select k.account as "account!", o.retry_at as "retry_at!"
        from unnest($1::text[]) as k (account)
        cross join lateral (
            select p.retry_at
            from inbox_pending p
            where p.account = k.account and p.retry_at <= $2
            order by p.retry_at
            limit 1
        ) o
        "#,
        &accounts,
        now as _,
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(reading)?;
    tx.rollback().await.map_err(reading)?;
    let mut readings = Readings::default();
    for row in lanes {
        let lane = Stratum {
            campaign_id: CampaignId(row.campaign_id),
            calling_group_id: CallingGroupId(i64::from(row.calling_group_id)),
            priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
        };
        let next_due_at = row.next_due_at.map(|at| at.to_jiff());
        readings.lanes.push(LaneDue { lane, due: row.due.unsigned_abs(), next_due_at });
    }
    for row in open {
        readings.open.push(OpenGroup {
            account: AccountName::new(row.account),
            campaign_id: CampaignId(row.campaign_id),
            state: Reading { table: "open_attempt", key: row.campaign_id }.word(&row.state)?,
            count: row.count.unsigned_abs(),
            oldest_at: row.oldest_at.to_jiff(),
        });
    }
    for row in inbox {
        let lag = now.to_jiff().duration_since(row.retry_at.to_jiff());
        readings.inbox_lag.insert(AccountName::new(row.account), lag);
    }
    for status in &statuses {
        if let Some((owner, _)) = status.holder {
            readings.holders.insert(status.account.clone(), owner);
        }
    }
    Ok((statuses, readings))
}

/// The server's version, as in `15.18`.
///
/// # Errors
/// When the database does not answer.
pub async fn server_version(pool: &PgPool) -> Result<String, sqlx::Error> {
    use sqlx::Row as _;
    sqlx::raw_sql("select current_setting('server_version')").fetch_one(pool).await?.try_get(0)
}
