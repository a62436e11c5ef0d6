//! Leads come and go: what has changed, where it is, and which lists are to be walked.
//!
//! Reading is spread over statements and so may be stale by the time it is acted upon: [`super::placement`] compares.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::{acquire, reading, writing};
use super::row::Reading;
use crate::domain::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
use crate::port::store::{CampaignLists, DueKey, LeadChange, LeadPlace, LeadRow, ListPage, Place, StoreError, Stratum};

/// A lead in a campaign.
pub(super) type Pair = (CampaignId, LeadId);

pub(super) async fn peek_lead_changes(pool: &PgPool, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with oldest as materialized (
            -- Few attempts are open, so this is a look into a small hash for each row; a lead that is being dialed must
            -- not stand in the way of those behind it.
            select lead_change_id, lead_id from lead_change
            where lead_id not in (select lead_id from open_attempt)
            order by lead_change_id
            limit 4 * $1::bigint
        ),
        changed as materialized (
            select lead_id, min(lead_change_id) as first_id from oldest group by lead_id order by 2 limit $1
        )
        select c.lead_id as "lead_id!",
               array(select x.lead_change_id from lead_change x where x.lead_id = c.lead_id order by 1) as "change_ids!",
               l.lead_list_id as "lead_list_id?", l.phone as "phone?", l.time_zone as "time_zone?",
               l.priority as "priority?", l.not_before as "not_before?", l.not_after as "not_after?"
        from changed c
        left join lead l on l.lead_id = c.lead_id
        order by c.first_id
        "#,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;

    let mut changes = Vec::with_capacity(rows.len());
    for row in rows {
        let at = Reading { table: "lead", key: row.lead_id };
        let lead = match (row.lead_list_id, row.phone, row.priority) {
            (Some(lead_list_id), Some(phone), Some(priority)) => Some(LeadRow {
                lead_id: LeadId(row.lead_id),
                lead_list_id: LeadListId(lead_list_id),
                phone,
                time_zone: row.time_zone,
                priority: at.number("priority", priority)?,
                not_before: row.not_before.map(|at| at.to_jiff()),
                not_after: row.not_after.map(|at| at.to_jiff()),
            }),
            _ => None,
        };
        let lead_id = LeadId(row.lead_id);
        changes.push(LeadChange { change_ids: row.change_ids, lead_id, lead, places: Vec::new() });
    }

    let concerned = campaigns_concerned(pool, &changes).await?;
    let pairs: Vec<Pair> = concerned.iter().map(|(pair, _)| *pair).collect();
    let index: BTreeMap<LeadId, usize> = changes.iter().enumerate().map(|(n, change)| (change.lead_id, n)).collect();
    for (((campaign_id, lead_id), wanted), place) in concerned.into_iter().zip(places(pool, &pairs).await?) {
        if let Some(change) = index.get(&lead_id).and_then(|n| changes.get_mut(*n)) {
            change.places.push(LeadPlace { campaign_id, wanted, place });
        }
    }
    Ok(changes)
}

/// Which campaigns dial a lead's list or have seen the lead, and whether they dial its list.
async fn campaigns_concerned(pool: &PgPool, changes: &[LeadChange]) -> Result<Vec<(Pair, bool)>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let leads: Vec<_> = changes.iter().map(|change| change.lead_id.0).collect();
    let lists: Vec<_> = changes.iter().map(|change| change.lead.as_ref().map(|lead| lead.lead_list_id.0)).collect();
    let rows = sqlx::query!(
        r#"
        with asked as materialized (
            select * from unnest($1::bigint[], $2::bigint[]) as q (lead_id, lead_list_id)
        ),
        -- Whoever is due, or was given a final verdict, is enrolled; the others have a verdict that can be undone.
        concerned as (
            select w.campaign_id, q.lead_id, true as wanted
            from asked q join campaign_list w on w.lead_list_id = q.lead_list_id and w.wanted
            union all
            select e.campaign_id, e.lead_id, false from enrolment e where e.lead_id = any($1)
            union all
            select v.campaign_id, v.lead_id, false from disposition v
            where v.lead_id = any($1) and v.disposition not in ('reached', 'goal_met', 'exhausted')
        )
        select x.campaign_id as "campaign_id!", x.lead_id as "lead_id!", bool_or(x.wanted) as "wanted!"
        from concerned x
        join campaign c on c.campaign_id = x.campaign_id and c.state <> 'finished'
        group by x.campaign_id, x.lead_id
        order by x.campaign_id, x.lead_id
        "#,
        &leads,
        &lists as _,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| ((CampaignId(row.campaign_id), LeadId(row.lead_id)), row.wanted)).collect())
}

/// Where leads are, in the order of the question.
pub(super) async fn places(pool: &PgPool, pairs: &[Pair]) -> Result<Vec<Place>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let campaigns: Vec<_> = pairs.iter().map(|(campaign, _)| campaign.0).collect();
    let leads: Vec<_> = pairs.iter().map(|(_, lead)| lead.0).collect();
    let rows = sqlx::query!(
        r#"
        with open as materialized (
            select campaign_id, lead_id from open_attempt where lead_id = any($2)
        )
        select q.campaign_id as "campaign_id!", q.lead_id as "lead_id!",
               exists (select from open o where o.campaign_id = q.campaign_id and o.lead_id = q.lead_id) as "open!",
               d.calling_group_id as "calling_group_id?", d.priority as "priority?", d.due_at as "due_at?",
               d.attempt_no as "attempt_no?", d.tries as "tries?", d.phone as "phone?",
               v.disposition as "disposition?", v.attempt_no as "disposed_no?", v.tries as "disposed_tries?",
               e.phone as "enrolled_phone?"
        from unnest($1::bigint[], $2::bigint[]) with ordinality as q (campaign_id, lead_id, position)
        left join due d on d.campaign_id = q.campaign_id and d.lead_id = q.lead_id
        left join disposition v on v.campaign_id = q.campaign_id and v.lead_id = q.lead_id
        left join lateral (
            select phone from enrolment e
            where v.lead_id is not null and e.lead_id = q.lead_id and e.campaign_id = q.campaign_id
            order by claim_no desc
            limit 1
        ) e on true
        order by q.position
        "#,
        &campaigns,
        &leads,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            if row.open {
                return Ok(Place::Open);
            }
            let key = || format!("{} of campaign {}", row.lead_id, row.campaign_id);
            if let (Some(group), Some(priority), Some(due_at), Some(attempt_no), Some(tries), Some(phone)) =
                (row.calling_group_id, row.priority, row.due_at, row.attempt_no, row.tries, row.phone)
            {
                let at = Reading { table: "due", key: key() };
                return Ok(Place::Due(DueKey {
                    stratum: Stratum {
                        campaign_id: CampaignId(row.campaign_id),
                        calling_group_id: CallingGroupId(group.into()),
                        priority: at.number("priority", priority)?,
                    },
                    due_at: due_at.to_jiff(),
                    lead_id: LeadId(row.lead_id),
                    attempt_no: at.number("attempt_no", attempt_no)?,
                    tries: at.number("tries", tries)?,
                    phone: at.phone(&phone)?,
                }));
            }
            if let (Some(disposition), Some(attempt_no), Some(tries)) =
                (row.disposition, row.disposed_no, row.disposed_tries)
            {
                let at = Reading { table: "disposition", key: key() };
                return Ok(Place::Disposed {
                    disposition: at.word(&disposition)?,
                    attempt_no: at.number("attempt_no", attempt_no)?,
                    tries: at.number("tries", tries)?,
                    phone: row.enrolled_phone.map(|phone| at.phone(&phone)).transpose()?,
                });
            }
            Ok(Place::Nowhere)
        })
        .collect()
}

pub(super) async fn next_list_page(pool: &PgPool, limit: u32) -> Result<Option<ListPage>, StoreError> {
    // The list that got least far goes first, so that a short list does not wait for the end of a long one.
    let walk = sqlx::query!(
        r#"
        select w.campaign_id, w.lead_list_id, w.wanted, w.walked_to, w.version
        from campaign_list w
        join campaign c on c.campaign_id = w.campaign_id and c.state <> 'finished'
        where not w.walked
        order by w.walked_to, w.campaign_id, w.lead_list_id
        limit 1
        "#,
    )
    .fetch_optional(pool)
    .await
    .map_err(reading)?;
    let Some(walk) = walk else {
        return Ok(None);
    };
    let mut rows = sqlx::query!(
        r#"
        select lead_id, phone, time_zone, priority, not_before, not_after
        from lead
        where lead_list_id = $1 and lead_id > $2
        order by lead_id
        limit $3
        "#,
        walk.lead_list_id,
        walk.walked_to,
        // One more than asked tells whether anything lies behind the page.
        i64::from(limit) + 1,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    let more = rows.len() as u64 > u64::from(limit);
    rows.truncate(limit as usize);
    let (campaign_id, lead_list_id) = (CampaignId(walk.campaign_id), LeadListId(walk.lead_list_id));
    let pairs: Vec<Pair> = rows.iter().map(|row| (campaign_id, LeadId(row.lead_id))).collect();
    let last_lead_id = rows.last().filter(|_| more).map(|row| LeadId(row.lead_id));
    let leads = rows
        .into_iter()
        .zip(places(pool, &pairs).await?)
        .map(|(row, place)| {
            let at = Reading { table: "lead", key: row.lead_id };
            let lead = LeadRow {
                lead_id: LeadId(row.lead_id),
                lead_list_id,
                phone: row.phone,
                time_zone: row.time_zone,
                priority: at.number("priority", row.priority)?,
                not_before: row.not_before.map(|at| at.to_jiff()),
                not_after: row.not_after.map(|at| at.to_jiff()),
            };
            Ok((lead, LeadPlace { campaign_id, wanted: walk.wanted, place }))
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Some(ListPage { campaign_id, lead_list_id, leads, last_lead_id, version: walk.version }))
}

pub(super) async fn set_campaign_lists(pool: &PgPool, lists: &[CampaignLists]) -> Result<(), StoreError> {
    if lists.is_empty() {
        return Ok(());
    }
    let campaigns: Vec<_> = lists.iter().map(|of| of.campaign_id.0).collect();
    let versions: Vec<_> = lists.iter().map(|of| of.version).collect();
    let (of_campaign, names): (Vec<_>, Vec<_>) =
        lists.iter().flat_map(|of| of.lead_lists.iter().map(|name| (of.campaign_id.0, name.as_str()))).unzip();
    let mut connection = acquire(pool).await?;
    // Nothing but reads when nothing has changed. A name no list has yet is found once the list is there.
    sqlx::query!(
        r#"
        with campaign_version as materialized (
            select * from unnest($1::bigint[], $2::bigint[]) as c (campaign_id, version)
        ),
        named as materialized (
            select distinct c.campaign_id, c.version, l.lead_list_id
            from unnest($3::bigint[], $4::text[]) as n (campaign_id, name)
            join campaign_version c on c.campaign_id = n.campaign_id
            join lead_list l on l.name = n.name
        ),
        gone as (
            update campaign_list w set wanted = false, walked = false, walked_to = 0, version = c.version
            from campaign_version c
            where w.campaign_id = c.campaign_id and w.wanted and w.version <= c.version and not exists (
                select from named n where n.campaign_id = w.campaign_id and n.lead_list_id = w.lead_list_id
            )
        )
        insert into campaign_list as w (campaign_id, lead_list_id, wanted, version)
        select n.campaign_id, n.lead_list_id, true, n.version
        from named n
        where not exists (
            select from campaign_list w
            where w.campaign_id = n.campaign_id and w.lead_list_id = n.lead_list_id
                and (w.version > n.version or w.version = n.version and w.wanted)
        )
        order by n.campaign_id, n.lead_list_id
        on conflict (campaign_id, lead_list_id) do update set
            wanted = true, version = excluded.version, walked = false, walked_to = 0
            where w.version <= excluded.version
        "#,
        &campaigns,
        &versions,
        &of_campaign,
        &names as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// Suppressions that one statement ends at most; each may make many leads due again.
const EXPIRE_BATCH: i64 = 5_000;

/// Forgets suppressions that are over; the trigger on their table notes the leads they had disposed of.
pub(super) async fn expire_suppressions(pool: &PgPool, now: Timestamp) -> Result<u64, StoreError> {
    let mut connection = acquire(pool).await?;
    let done = sqlx::query!(
        r#"
        with over as materialized (
            select suppression_id from suppression where expires_at <= $1
            order by expires_at limit $2
            for update skip locked
        )
        delete from suppression s using over o where s.suppression_id = o.suppression_id
        "#,
        now.to_sqlx() as _,
        EXPIRE_BATCH,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(done.rows_affected())
}
