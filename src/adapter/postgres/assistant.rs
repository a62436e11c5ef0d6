//! What is known of an account's assistants, and what they were when campaigns began to use them.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::json;
use sqlx::PgPool;

use super::failure::{acquire, writing};
use super::storable::{storable, storable_json};
use crate::domain::assistant::{Assistant, Fingerprint};
use crate::domain::id::{AccountName, AssistantId, CampaignId};
use crate::port::store::{AssistantChange, AssistantUse, StoreError};

pub(super) async fn save_roster(
    pool: &PgPool,
    account: &AccountName,
    roster: &[Assistant],
    now: Timestamp,
) -> Result<(), StoreError> {
    // One document rather than columns: arrays of arrays of different lengths do not exist in Postgres.
    let rows: Vec<_> = roster
        .iter()
        .map(|assistant| {
            json!({
                "assistant_id": assistant.assistant_id.as_str(),
                "name": assistant.name,
                "active": assistant.active,
                "status": assistant.status,
                "mode": assistant.mode,
                "language_id": assistant.language_id,
                "webhook_url": assistant.webhook_url,
                "variables": assistant.variables,
                "fingerprint": assistant.details.fingerprint.as_ref().map(Fingerprint::as_str),
            })
        })
        .collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with roster as materialized (
            select distinct on (assistant_id) *
            from jsonb_to_recordset($2::jsonb) as r (assistant_id text, name text, active boolean, status text,
                mode text, language_id bigint, webhook_url text, variables text[], fingerprint text)
            order by assistant_id
        ),
        gone as (
            delete from assistant a
            where a.account = $1 and not exists (select from roster r where r.assistant_id = a.assistant_id)
        )
        insert into assistant (account, assistant_id, name, active, status, mode, language_id, webhook_url, variables,
            fingerprint, seen_at)
        select $1, assistant_id, name, active, status, mode, language_id, webhook_url, variables, fingerprint,
            $3::timestamptz
        from roster order by assistant_id
        on conflict (account, assistant_id) do update set
            name = excluded.name, active = excluded.active, status = excluded.status, mode = excluded.mode,
            language_id = excluded.language_id, webhook_url = excluded.webhook_url, variables = excluded.variables,
            fingerprint = excluded.fingerprint, seen_at = excluded.seen_at
        "#,
        account.as_str(),
        storable_json(&rows.into()),
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// One statement for all campaigns of an account: of two daemons that see one change, one tells of it.
pub(super) async fn pin_assistants(
    pool: &PgPool,
    account: &AccountName,
    uses: &[AssistantUse],
    now: Timestamp,
) -> Result<Vec<AssistantChange>, StoreError> {
    let campaigns: Vec<_> = uses.iter().map(|used| used.campaign_id.0).collect();
    let assistants: Vec<_> = uses.iter().map(|used| used.assistant_id.as_str()).collect();
    let fingerprints: Vec<_> = uses.iter().map(|used| used.fingerprint.as_str()).collect();
    let on_change: Vec<_> = uses.iter().map(|used| used.on_change.as_str()).collect();
    let reasons: Vec<_> = uses.iter().map(|used| storable(&used.reason)).collect();
    let mut connection = acquire(pool).await?;
    let rows = sqlx::query!(
        r#"
        with used as materialized (
            select distinct on (u.campaign_id, u.assistant_id) u.*
            from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
                as u (campaign_id, assistant_id, fingerprint, on_change, reason)
            -- A campaign may have been deleted since it was seen.
            join campaign c on c.campaign_id = u.campaign_id
            order by u.campaign_id, u.assistant_id
        ),
        known as materialized (
            select p.campaign_id, p.assistant_id, p.fingerprint as pinned, p.pinned_at, u.fingerprint, u.on_change, u.reason
            from assistant_pin p
            join used u on u.campaign_id = p.campaign_id and u.assistant_id = p.assistant_id
            where p.account = $1
            order by p.campaign_id, p.assistant_id
            for update of p
        ),
        changed as materialized (
            select * from known where pinned <> fingerprint
        ),
        first_used as (
            insert into assistant_pin (campaign_id, account, assistant_id, fingerprint, pinned_at)
            select u.campaign_id, $1, u.assistant_id, u.fingerprint, $7::timestamptz
            from used u
            where not exists (
                select from known k where k.campaign_id = u.campaign_id and k.assistant_id = u.assistant_id
            )
            order by u.campaign_id, u.assistant_id
            on conflict (campaign_id, account, assistant_id) do nothing
        ),
        followed as (
            update assistant_pin p
            set fingerprint = c.fingerprint, pinned_at = $7::timestamptz
            from changed c
            where p.account = $1 and p.campaign_id = c.campaign_id and p.assistant_id = c.assistant_id
                and c.on_change <> 'pause'
        ),
        paused as (
            update campaign c
            set state = 'paused', paused_because = r.reason, changed_at = $7::timestamptz
            from (
                select campaign_id, string_agg(reason, '; ' order by assistant_id) as reason
                from changed where on_change = 'pause' group by campaign_id
            ) r
            where c.campaign_id = r.campaign_id and c.state = 'active'
            returning c.campaign_id
        )
        select c.campaign_id, c.assistant_id, c.pinned_at, p.campaign_id is not null as "paused!"
        from changed c
        left join paused p on p.campaign_id = c.campaign_id
        order by c.campaign_id, c.assistant_id
        "#,
        account.as_str(),
        &campaigns as _,
        &assistants as _,
        &fingerprints as _,
        &on_change as _,
        &reasons as _,
        now.to_sqlx() as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(rows
        .into_iter()
        .map(|row| AssistantChange {
            campaign_id: CampaignId(row.campaign_id),
            assistant_id: AssistantId::new(row.assistant_id),
            pinned_at: row.pinned_at.to_jiff(),
            paused: row.paused,
        })
        .collect())
}
