//! Evidence about attempts that have ended: added to what is known, never in its place.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::{acquire, writing};
use super::storable::{decimal, storable, storable_json, storable_map};
use crate::domain::id::ProviderCallId;
use crate::port::store::{LateResult, StoreError};

pub(super) async fn apply_late(pool: &PgPool, late: &[LateResult], now: Timestamp) -> Result<(), StoreError> {
    // A statement can touch a row once, so events of one attempt take turns.
    let mut waiting: Vec<&LateResult> = late.iter().collect();
    while !waiting.is_empty() {
        let mut seen = BTreeSet::new();
        let (turn, rest) = waiting.into_iter().partition(|result| seen.insert(result.attempt_id));
        apply_late_once(pool, turn, now).await?;
        waiting = rest;
    }
    Ok(())
}

async fn apply_late_once(pool: &PgPool, late: Vec<&LateResult>, now: Timestamp) -> Result<(), StoreError> {
    let each = || late.iter();
    let attempts: Vec<_> = each().map(|l| l.attempt_id.uuid()).collect();
    let inbox: Vec<_> = each().map(|l| l.inbox_id.0).collect();
    let calls: Vec<_> = each().map(|l| l.result.call_id.as_ref().map(ProviderCallId::as_str)).collect();
    let bases: Vec<_> = each().map(|l| l.result.match_basis.map(|basis| basis.as_str())).collect();
    let statuses: Vec<_> = each().map(|l| storable(&l.result.status)).collect();
    let answered_by: Vec<_> = each().map(|l| l.result.answered_by.as_deref()).collect();
    let durations: Vec<_> =
        each().map(|l| l.result.duration_seconds.and_then(|seconds| i32::try_from(seconds).ok())).collect();
    let costs: Vec<_> = each().map(|l| l.result.cost.as_deref().and_then(decimal)).collect();
    let transcripts: Vec<_> = each().map(|l| l.result.transcript.as_ref().map(storable_json)).collect();
    let recordings: Vec<_> = each().map(|l| l.result.recording_url.as_deref().map(storable)).collect();
    let extracted: Vec<_> = each().map(|l| storable_map(&l.result.extracted)).collect();
    let contradicts: Vec<_> = each().map(|l| l.contradicts.map(|outcome| outcome.as_str())).collect();
    let dispositions: Vec<_> = each().map(|l| l.verdict.as_ref().map(|verdict| verdict.disposition.as_str())).collect();
    let reasons: Vec<_> = each().map(|l| l.verdict.as_ref().map(|verdict| storable(&verdict.reason))).collect();
    let suppress: Vec<_> = each().map(|l| l.suppress.as_deref().map(storable)).collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with late as materialized (
            select l.*, a.campaign_id, a.lead_id, a.phone,
                   (select sha256(i.body) from inbox_pending p
                    join inbox i on i.inbox_id = p.inbox_id and i.received_at = p.received_at
                    where p.inbox_id = l.inbox_id) as payload_hash
            from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[],
                        $8::numeric[], $9::jsonb[], $10::text[], $11::jsonb[], $12::text[], $13::text[], $14::text[],
                        $15::text[])
                as l (attempt_id, inbox_id, call_id, basis, status, answered_by, duration_seconds, cost, transcript,
                      recording_url, extracted, contradicted_by, disposition, reason, suppress)
            -- What is said about an open attempt is weighed when it ends.
            join attempt a on a.attempt_id = l.attempt_id and a.ended_at is not null
            order by l.attempt_id
        ),
        -- What is known stays; what was removed for its age does not come back.
        added as (
            insert into call_result as r (attempt_id, provider_call_id, match_basis, status, answered_by,
                duration_seconds, cost, transcript, recording_url, extracted, payload_hash, contradicted_by, recorded_at)
            select attempt_id, call_id, basis, status, answered_by, duration_seconds, cost, transcript, recording_url,
                   extracted, payload_hash, contradicted_by, $16::timestamptz
            from late order by attempt_id
            on conflict (attempt_id) do update set
                provider_call_id = coalesce(r.provider_call_id, excluded.provider_call_id),
                match_basis = coalesce(r.match_basis, excluded.match_basis),
                answered_by = coalesce(r.answered_by, excluded.answered_by),
                duration_seconds = coalesce(r.duration_seconds, excluded.duration_seconds),
                cost = coalesce(r.cost, excluded.cost),
                transcript = case when r.payload_removed_at is null then coalesce(r.transcript, excluded.transcript) end,
                recording_url =
                    case when r.payload_removed_at is null then coalesce(r.recording_url, excluded.recording_url) end,
                extracted =
                    case when r.payload_removed_at is null then excluded.extracted || r.extracted else r.extracted end,
                payload_hash = coalesce(r.payload_hash, excluded.payload_hash),
                contradicted_by = coalesce(r.contradicted_by, excluded.contradicted_by)
        ),
        suppressed as (
            insert into suppression as s (phone, reason)
            select distinct on (phone) phone, left(suppress, 500) from late where suppress <> '' order by phone
            on conflict (phone, coalesce(campaign_id, 0)) do update set reason = excluded.reason, expires_at = null
                where s.expires_at is not null
        ),
        -- Out of due, never into it: a lead whose next attempt has begun is left alone.
        taken as (
            delete from due d using late l
            where l.disposition is not null and d.campaign_id = l.campaign_id and d.lead_id = l.lead_id
            returning d.campaign_id, d.lead_id, d.attempt_no, d.tries, l.disposition, l.reason
        ),
        disposed as (
            insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
            select distinct on (campaign_id, lead_id)
                   campaign_id, lead_id, disposition, reason, attempt_no, tries, $16::timestamptz
            from taken order by campaign_id, lead_id
            on conflict (campaign_id, lead_id) do update set
                disposition = excluded.disposition, reason = excluded.reason, attempt_no = excluded.attempt_no,
                tries = excluded.tries, disposed_at = excluded.disposed_at, duplicate_of = null
        )
        delete from inbox_pending p using late l where p.inbox_id = l.inbox_id
        "#,
        &attempts as _,
        &inbox as _,
        &calls as _,
        &bases as _,
        &statuses as _,
        &answered_by as _,
        &durations as _,
        &costs as _,
        &transcripts as _,
        &recordings as _,
        &extracted as _,
        &contradicts as _,
        &dispositions as _,
        &reasons as _,
        &suppress as _,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}
