//! What is left of leads that nobody has any more: forgotten after its days, a lead in a campaign at a time.
//!
//! A lead's attempts, its verdict and its enrolment are kept as long as the lead or its campaign lives, since numbers must
//! not be reused and person limits count them. When both are over, the configuration says for how many days more.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;
use sqlx::types::Uuid;

use super::failure::{acquire, reading, writing};
use crate::domain::id::{AttemptId, CampaignId, Installation, LeadId};
use crate::port::store::StoreError;

/// Verdicts looked at by one statement, in the order of their key.
const LOOK_BATCH: i64 = 2_000;
/// Statements of this kind in one run: a hundred million verdicts are gone round in a day and a half.
const LOOKS_MAX: u32 = 20;

/// Where the round has come to. Losing it costs time, nothing else.
#[derive(Debug, Default)]
pub(super) struct Round(Mutex<(i64, i64)>);

impl Round {
    fn at(&self) -> (i64, i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self, at: (i64, i64)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Goes on with the round and forgets what it finds; gives how many leads that was.
pub(super) async fn forget(
    pool: &PgPool,
    installation: Installation,
    round: &Round,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for _ in 0..LOOKS_MAX {
        let (campaign, lead) = round.at();
        let seen = sqlx::query!(
            r#"
            select d.campaign_id as "campaign_id!", d.lead_id as "lead_id!",
                (
                    d.disposed_at < $3
                    and not exists (select from lead l where l.lead_id = d.lead_id)
                    and not exists (select from campaign c where c.campaign_id = d.campaign_id and c.state <> 'finished')
                ) as "over!"
            from (
                select campaign_id, lead_id, disposed_at from disposition
                where (campaign_id, lead_id) > ($1, $2)
                order by campaign_id, lead_id
                limit $4
            ) as d
            order by d.campaign_id, d.lead_id
            "#,
            campaign,
            lead,
            before.to_sqlx() as _,
            LOOK_BATCH,
        )
        .fetch_all(pool)
        .await
        .map_err(reading)?;
        let over: Vec<(i64, i64)> =
            seen.iter().filter(|row| row.over).map(|row| (row.campaign_id, row.lead_id)).collect();
        if !over.is_empty() {
            forgotten += remove(pool, installation, &over, before).await?;
        }
        let is_last = seen.len() < LOOK_BATCH as usize;
        match seen.last() {
            Some(row) if !is_last => round.go_on((row.campaign_id, row.lead_id)),
            Some(_) | None => {
                round.go_on((0, 0));
                break;
            }
        }
    }
    Ok(forgotten)
}

/// One statement, which looks again at all it was told: a lead may have come back, an attempt may still be open.
async fn remove(
    pool: &PgPool,
    installation: Installation,
    leads: &[(i64, i64)],
    before: Timestamp,
) -> Result<u64, StoreError> {
    let range = |campaign, lead| AttemptId::range_of_lead(installation, CampaignId(campaign), LeadId(lead));
    let (first, last): (Vec<Uuid>, Vec<Uuid>) = leads
        .iter()
        .map(|(campaign, lead)| range(*campaign, *lead))
        .map(|(first, last)| (first.uuid(), last.uuid()))
        .unzip();
    let (campaigns, leads): (Vec<i64>, Vec<i64>) = leads.iter().copied().unzip();
    let mut connection = acquire(pool).await?;
    let removed = sqlx::query_scalar!(
        r#"
        with gone as materialized (
            select d.campaign_id, d.lead_id, k.first_id, k.last_id
            from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::uuid[]) as k (campaign_id, lead_id, first_id, last_id)
            join disposition d on d.campaign_id = k.campaign_id and d.lead_id = k.lead_id
            where d.disposed_at < $5
                and not exists (select from lead l where l.lead_id = d.lead_id)
                and not exists (select from lead_change x where x.lead_id = d.lead_id)
                and not exists (select from campaign c where c.campaign_id = d.campaign_id and c.state <> 'finished')
                and not exists (
                    select
                    from (
                        select ended_at from attempt
                        where attempt_id between k.first_id and k.last_id
                        -- All of a lead's; without a limit the planner would read all attempts there are.
                        order by attempt_id
                        limit 65536
                    ) a
                    where a.ended_at is null or a.ended_at >= $5
                )
            order by d.campaign_id, d.lead_id
            for update of d skip locked
        ), theirs as materialized (
            select a.attempt_id
            from gone g
            cross join lateral (
                select attempt_id from attempt
                where attempt_id between g.first_id and g.last_id
                order by attempt_id
                limit 65536
            ) a
        ), attempts as (
            delete from attempt a using theirs t where a.attempt_id = t.attempt_id
            returning a.attempt_id
        ), results as (
            delete from call_result r using attempts a where r.attempt_id = a.attempt_id
        ), calls as (
            delete from provider_call c using attempts a where c.attempt_id = a.attempt_id
        ), enrolments as (
            delete from enrolment e using gone g where e.lead_id = g.lead_id and e.campaign_id = g.campaign_id
        ), verdicts as (
            delete from disposition d using gone g where d.campaign_id = g.campaign_id and d.lead_id = g.lead_id
        )
        select count(*) as "count!" from gone
        "#,
        &campaigns,
        &leads,
        &first,
        &last,
        before.to_sqlx() as _,
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(removed.unsigned_abs())
}
