//! Leads come and go: what changed, where it is, and how it takes its new place.
//!
//! Reading is spread over statements and so may be stale by the time its steps are applied; therefore every step names
//! what it has seen, and a step that finds something else leaves it alone and its lead is looked at again. A change is
//! forgotten last: a crash in between repeats steps that are idempotent.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::{acquire, reading, writing};
use super::inbox::storable;
use super::row::Reading;
use crate::domain::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::{
    CampaignLists, DueKey, EnrolmentAction, EnrolmentDone, EnrolmentStep, LeadChange, LeadPlace, LeadRow, ListPage,
    Place, StoreError, Stratum, Verdict,
};

/// A lead in a campaign.
type Pair = (CampaignId, LeadId);

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

pub(super) async fn apply_enrolment(
    pool: &PgPool,
    steps: &[EnrolmentStep],
    done: EnrolmentDone,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut sorted = Sorted::of(steps);
    let taken = claim_phones(pool, &sorted).await?;
    sorted.turn_duplicates(taken);

    let groups = make_groups(pool, &sorted).await?;
    make_strata(pool, &sorted, &groups).await?;

    // Verdicts first: who gives a phone up afterwards finds the duplicates that wait for it.
    let mut settled = dispose(pool, &sorted.leaving, now).await?;
    settled.extend(make_due(pool, &sorted.entering, &groups).await?);
    settled.extend(move_due(pool, &sorted.moving, &groups).await?);

    let kept: BTreeSet<LeadId> = steps
        .iter()
        .filter(|step| !settled.contains(&(step.campaign_id, step.lead_id)))
        .map(|step| step.lead_id)
        .collect();
    forget(pool, done, &kept).await
}

/// Steps by what they do.
#[derive(Default)]
struct Sorted<'a> {
    entering: Vec<Entering<'a>>,
    moving: Vec<Moving<'a>>,
    leaving: Vec<Leaving>,
}

/// A lead that becomes due.
struct Entering<'a> {
    pair: Pair,
    phone: &'a PhoneNumber,
    group_key: &'a str,
    priority: u8,
    due_at: Timestamp,
    attempt_no: u16,
    tries: u16,
}

/// A due lead that changes its lane, phone or date.
struct Moving<'a> {
    pair: Pair,
    from: &'a DueKey,
    phone: &'a PhoneNumber,
    group_key: &'a str,
    priority: u8,
    due_at: Timestamp,
}

/// A lead that is disposed.
struct Leaving {
    pair: Pair,
    verdict: Verdict,
    attempt_no: u16,
    tries: u16,
    /// Who holds the phone it wants, and which phone that is.
    duplicate_of: Option<(LeadId, PhoneNumber)>,
}

impl<'a> Sorted<'a> {
    fn of(steps: &'a [EnrolmentStep]) -> Self {
        let mut sorted = Self::default();
        for step in steps {
            let pair = (step.campaign_id, step.lead_id);
            match &step.action {
                EnrolmentAction::Due { phone, group_key, priority, due_at, attempt_no, tries } => {
                    sorted.entering.push(Entering {
                        pair,
                        phone,
                        group_key,
                        priority: *priority,
                        due_at: *due_at,
                        attempt_no: *attempt_no,
                        tries: *tries,
                    });
                }
                EnrolmentAction::Move { from, phone, group_key, priority, due_at } => {
                    sorted.moving.push(Moving { pair, from, phone, group_key, priority: *priority, due_at: *due_at });
                }
                EnrolmentAction::Dispose { verdict, attempt_no, tries } => sorted.leaving.push(Leaving {
                    pair,
                    verdict: verdict.clone(),
                    attempt_no: *attempt_no,
                    tries: *tries,
                    duplicate_of: None,
                }),
            }
        }
        sorted
    }

    /// Leads whose phone another lead holds become duplicates of it.
    fn turn_duplicates(&mut self, holders: BTreeMap<Pair, LeadId>) {
        let mut leave = |pair: Pair, holder: LeadId, phone: &PhoneNumber, attempt_no, tries| {
            self.leaving.push(Leaving {
                pair,
                verdict: Verdict::duplicate_of(holder),
                attempt_no,
                tries,
                duplicate_of: Some((holder, phone.clone())),
            });
        };
        self.entering.retain(|step| match holders.get(&step.pair) {
            Some(holder) => {
                leave(step.pair, *holder, step.phone, step.attempt_no, step.tries);
                false
            }
            None => true,
        });
        self.moving.retain(|step| match holders.get(&step.pair) {
            Some(holder) => {
                leave(step.pair, *holder, step.phone, step.from.attempt_no, step.from.tries);
                false
            }
            None => true,
        });
    }

    /// Campaign, evidence and priority of every lane that a step leads to.
    fn lanes(&self) -> impl Iterator<Item = (CampaignId, &'a str, u8)> {
        let entering = self.entering.iter().map(|step| (step.pair.0, step.group_key, step.priority));
        let moving = self.moving.iter().map(|step| (step.pair.0, step.group_key, step.priority));
        entering.chain(moving)
    }
}

/// Claims phones in their campaigns; answers with the leads that came too late, and who was first.
async fn claim_phones(pool: &PgPool, sorted: &Sorted<'_>) -> Result<BTreeMap<Pair, LeadId>, StoreError> {
    let entering = sorted.entering.iter().map(|step| (step.pair, step.phone));
    let moving = sorted.moving.iter().map(|step| (step.pair, step.phone));
    let claims: Vec<_> = entering.chain(moving).collect();
    if claims.is_empty() {
        return Ok(BTreeMap::new());
    }
    let campaigns: Vec<_> = claims.iter().map(|((campaign, _), _)| campaign.0).collect();
    let leads: Vec<_> = claims.iter().map(|((_, lead), _)| lead.0).collect();
    let phones: Vec<_> = claims.iter().map(|(_, phone)| phone.e164()).collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with claim as materialized (
            select distinct on (q.campaign_id, q.phone) q.campaign_id, q.phone, q.lead_id
            from unnest($1::bigint[], $2::bigint[], $3::text[]) as q (campaign_id, lead_id, phone)
            join campaign c on c.campaign_id = q.campaign_id and c.state in ('draft', 'active', 'paused')
            order by q.campaign_id, q.phone, q.lead_id
        )
        insert into enrolment as e (campaign_id, phone, lead_id)
        select campaign_id, phone, lead_id from claim order by campaign_id, phone
        -- Back to a phone it had before: its latest claim says which one it has now.
        on conflict (campaign_id, phone) do update set claim_no = default
            where e.lead_id = excluded.lead_id and exists (
                select from enrolment newer
                where newer.lead_id = e.lead_id and newer.campaign_id = e.campaign_id and newer.claim_no > e.claim_no
            )
        "#,
        &campaigns,
        &leads,
        &phones as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    let rows = sqlx::query!(
        r#"
        select q.campaign_id as "campaign_id!", q.lead_id as "lead_id!", e.lead_id as "holder!"
        from unnest($1::bigint[], $2::bigint[], $3::text[]) as q (campaign_id, lead_id, phone)
        join enrolment e on e.campaign_id = q.campaign_id and e.phone = q.phone
        where e.lead_id <> q.lead_id
        "#,
        &campaigns,
        &leads,
        &phones as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| ((CampaignId(row.campaign_id), LeadId(row.lead_id)), LeadId(row.holder))).collect())
}

/// The calling groups of all steps by their evidence; those that are new are made.
async fn make_groups<'a>(pool: &PgPool, sorted: &Sorted<'a>) -> Result<BTreeMap<&'a str, CallingGroupId>, StoreError> {
    let keys: Vec<&'a str> = sorted.lanes().map(|(_, key, _)| key).collect::<BTreeSet<_>>().into_iter().collect();
    let mut groups = BTreeMap::new();
    if keys.is_empty() {
        return Ok(groups);
    }
    let mut connection = acquire(pool).await?;
    // Looking first: an insert that conflicts uses up a number, and numbers are 31 bits.
    sqlx::query!(
        r#"
        insert into calling_group (evidence)
        select k.evidence from unnest($1::text[]) as k (evidence)
        where not exists (select from calling_group g where g.evidence = k.evidence)
        order by k.evidence
        on conflict do nothing
        "#,
        &keys as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    let rows = sqlx::query!(
        "select calling_group_id, evidence from calling_group where evidence = any($1::text[])",
        &keys as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(reading)?;
    let found: BTreeMap<String, i32> = rows.into_iter().map(|row| (row.evidence, row.calling_group_id)).collect();
    for key in keys {
        let group = found.get(key).ok_or_else(|| StoreError::Inconsistent {
            table: "calling_group",
            row: key.to_owned(),
            problem: "missing although it was just made".to_owned(),
        })?;
        groups.insert(key, CallingGroupId((*group).into()));
    }
    Ok(groups)
}

/// Makes the lanes that are new, before any row can be in one.
async fn make_strata(
    pool: &PgPool,
    sorted: &Sorted<'_>,
    groups: &BTreeMap<&str, CallingGroupId>,
) -> Result<(), StoreError> {
    let lanes: BTreeSet<_> =
        sorted.lanes().map(|(campaign, key, priority)| (campaign, groups[key], priority)).collect();
    if lanes.is_empty() {
        return Ok(());
    }
    let campaigns: Vec<_> = lanes.iter().map(|(campaign, _, _)| campaign.0).collect();
    let group_ids: Vec<_> = lanes.iter().map(|(_, group, _)| group.0).collect();
    let priorities: Vec<_> = lanes.iter().map(|(_, _, priority)| i16::from(*priority)).collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        insert into stratum (campaign_id, calling_group_id, priority)
        select q.campaign_id, q.calling_group_id, q.priority
        from unnest($1::bigint[], $2::bigint[], $3::smallint[]) as q (campaign_id, calling_group_id, priority)
        where not exists (
            select from stratum s
            where s.campaign_id = q.campaign_id and s.calling_group_id = q.calling_group_id and s.priority = q.priority
        )
        order by q.campaign_id, q.calling_group_id, q.priority
        on conflict do nothing
        "#,
        &campaigns,
        &group_ids,
        &priorities,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// Makes leads due that are nowhere or whose verdict can be undone; answers with those that are.
async fn make_due(
    pool: &PgPool,
    steps: &[Entering<'_>],
    groups: &BTreeMap<&str, CallingGroupId>,
) -> Result<BTreeSet<Pair>, StoreError> {
    if steps.is_empty() {
        return Ok(BTreeSet::new());
    }
    let campaigns: Vec<_> = steps.iter().map(|step| step.pair.0.0).collect();
    let leads: Vec<_> = steps.iter().map(|step| step.pair.1.0).collect();
    let phones: Vec<_> = steps.iter().map(|step| step.phone.e164()).collect();
    let group_ids: Vec<_> = steps.iter().map(|step| groups[step.group_key].0).collect();
    let priorities: Vec<_> = steps.iter().map(|step| i16::from(step.priority)).collect();
    let due_at: Vec<_> = steps.iter().map(|step| step.due_at.to_sqlx()).collect();
    let numbers: Vec<_> = steps.iter().map(|step| i32::from(step.attempt_no)).collect();
    let tries: Vec<_> = steps.iter().map(|step| i32::from(step.tries)).collect();
    let mut connection = acquire(pool).await?;
    let rows = sqlx::query!(
        r#"
        with asked as materialized (
            select distinct on (campaign_id, lead_id) *
            from unnest($1::bigint[], $2::bigint[], $3::text[], $4::integer[], $5::smallint[], $6::timestamptz[],
                        $7::integer[], $8::integer[])
                as q (campaign_id, lead_id, phone, calling_group_id, priority, due_at, attempt_no, tries)
            order by campaign_id, lead_id
        ),
        open as materialized (
            select lead_id from open_attempt where lead_id = any($2)
        ),
        ready as materialized (
            select q.* from asked q
            join campaign c on c.campaign_id = q.campaign_id and c.state in ('draft', 'active', 'paused')
            join enrolment e on e.campaign_id = q.campaign_id and e.phone = q.phone and e.lead_id = q.lead_id
            left join disposition v on v.campaign_id = q.campaign_id and v.lead_id = q.lead_id
            where not exists (select from open o where o.lead_id = q.lead_id)
                and (v.lead_id is null or v.attempt_no = q.attempt_no and v.tries = q.tries
                     and v.disposition not in ('reached', 'goal_met', 'exhausted'))
        ),
        entered as (
            insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
            select campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone
            from ready order by campaign_id, calling_group_id, priority, due_at, lead_id
            on conflict (campaign_id, lead_id) do nothing
            returning campaign_id, lead_id, phone
        ),
        undone as (
            delete from disposition v using entered x where v.campaign_id = x.campaign_id and v.lead_id = x.lead_id
        ),
        -- A phone the lead had before is given up if it was never attempted here, and whoever waited for it is looked at.
        released as (
            delete from enrolment e using entered x
            where e.campaign_id = x.campaign_id and e.lead_id = x.lead_id and e.phone <> x.phone and not exists (
                select from attempt a where a.phone = e.phone and a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
            )
            returning e.campaign_id, e.lead_id
        ),
        noted as (
            insert into lead_change (lead_id)
            select v.lead_id from released r
            join disposition v on v.duplicate_of = r.lead_id and v.campaign_id = r.campaign_id
            where v.disposition = 'duplicate'
        )
        select campaign_id, lead_id from entered
        "#,
        &campaigns,
        &leads,
        &phones as _,
        &group_ids as _,
        &priorities,
        &due_at as _,
        &numbers,
        &tries,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(rows.into_iter().map(|row| (CampaignId(row.campaign_id), LeadId(row.lead_id))).collect())
}

/// Moves due leads that are still where they were seen; answers with those.
async fn move_due(
    pool: &PgPool,
    steps: &[Moving<'_>],
    groups: &BTreeMap<&str, CallingGroupId>,
) -> Result<BTreeSet<Pair>, StoreError> {
    if steps.is_empty() {
        return Ok(BTreeSet::new());
    }
    let campaigns: Vec<_> = steps.iter().map(|step| step.pair.0.0).collect();
    let leads: Vec<_> = steps.iter().map(|step| step.pair.1.0).collect();
    let from_groups: Vec<_> = steps.iter().map(|step| step.from.stratum.calling_group_id.0).collect();
    let from_priorities: Vec<_> = steps.iter().map(|step| i16::from(step.from.stratum.priority)).collect();
    let from_due_at: Vec<_> = steps.iter().map(|step| step.from.due_at.to_sqlx()).collect();
    let numbers: Vec<_> = steps.iter().map(|step| i32::from(step.from.attempt_no)).collect();
    let phones: Vec<_> = steps.iter().map(|step| step.phone.e164()).collect();
    let group_ids: Vec<_> = steps.iter().map(|step| groups[step.group_key].0).collect();
    let priorities: Vec<_> = steps.iter().map(|step| i16::from(step.priority)).collect();
    let due_at: Vec<_> = steps.iter().map(|step| step.due_at.to_sqlx()).collect();
    let mut connection = acquire(pool).await?;
    let rows = sqlx::query!(
        r#"
        with open as materialized (
            select lead_id from open_attempt where lead_id = any($2)
        ),
        seen as materialized (
            select d.campaign_id, d.lead_id, q.phone, q.calling_group_id, q.priority, q.due_at
            from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::smallint[], $5::timestamptz[], $6::integer[],
                        $7::text[], $8::integer[], $9::smallint[], $10::timestamptz[])
                as q (campaign_id, lead_id, from_group, from_priority, from_due_at, attempt_no, phone,
                      calling_group_id, priority, due_at)
            join campaign c on c.campaign_id = q.campaign_id and c.state in ('draft', 'active', 'paused')
            join due d on d.campaign_id = q.campaign_id and d.lead_id = q.lead_id
            join enrolment e on e.campaign_id = q.campaign_id and e.phone = q.phone and e.lead_id = q.lead_id
            where d.calling_group_id = q.from_group and d.priority = q.from_priority and d.due_at = q.from_due_at
                and d.attempt_no = q.attempt_no
                and not exists (select from open o where o.lead_id = q.lead_id)
            order by d.campaign_id, d.calling_group_id, d.priority, d.due_at, d.lead_id
            -- What is being dialed at this moment is looked at again after its end.
            for update of d skip locked
        ),
        moved as (
            update due d
            set calling_group_id = s.calling_group_id, priority = s.priority, due_at = s.due_at, phone = s.phone
            from seen s
            where d.campaign_id = s.campaign_id and d.lead_id = s.lead_id
            returning d.campaign_id, d.lead_id, d.phone
        ),
        released as (
            delete from enrolment e using moved x
            where e.campaign_id = x.campaign_id and e.lead_id = x.lead_id and e.phone <> x.phone and not exists (
                select from attempt a where a.phone = e.phone and a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
            )
            returning e.campaign_id, e.lead_id
        ),
        noted as (
            insert into lead_change (lead_id)
            select v.lead_id from released r
            join disposition v on v.duplicate_of = r.lead_id and v.campaign_id = r.campaign_id
            where v.disposition = 'duplicate'
        )
        select campaign_id, lead_id from moved
        "#,
        &campaigns,
        &leads,
        &from_groups as _,
        &from_priorities,
        &from_due_at as _,
        &numbers,
        &phones as _,
        &group_ids as _,
        &priorities,
        &due_at as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(rows.into_iter().map(|row| (CampaignId(row.campaign_id), LeadId(row.lead_id))).collect())
}

/// Disposes leads that are due with the number they were seen with, nowhere, or whose verdict can be undone; answers
/// with those whose verdict stands, whoever gave it.
async fn dispose(pool: &PgPool, steps: &[Leaving], now: Timestamp) -> Result<BTreeSet<Pair>, StoreError> {
    if steps.is_empty() {
        return Ok(BTreeSet::new());
    }
    let campaigns: Vec<_> = steps.iter().map(|step| step.pair.0.0).collect();
    let leads: Vec<_> = steps.iter().map(|step| step.pair.1.0).collect();
    let verdicts: Vec<_> = steps.iter().map(|step| step.verdict.disposition.as_str()).collect();
    let reasons: Vec<_> = steps.iter().map(|step| storable(&step.verdict.reason)).collect();
    let numbers: Vec<_> = steps.iter().map(|step| i32::from(step.attempt_no)).collect();
    let tries: Vec<_> = steps.iter().map(|step| i32::from(step.tries)).collect();
    let holders: Vec<_> = steps.iter().map(|step| step.duplicate_of.as_ref().map(|(lead, _)| lead.0)).collect();
    let wished: Vec<_> = steps.iter().map(|step| step.duplicate_of.as_ref().map(|(_, phone)| phone.e164())).collect();
    let mut connection = acquire(pool).await?;
    let rows = sqlx::query!(
        r#"
        with asked as materialized (
            select distinct on (campaign_id, lead_id) *
            from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::integer[], $6::integer[], $7::bigint[],
                        $8::text[])
                as q (campaign_id, lead_id, disposition, reason, attempt_no, tries, duplicate_of, phone)
            where not exists (select from open_attempt o where o.lead_id = q.lead_id)
                -- Whoever held the phone may have given it up since.
                and (q.duplicate_of is null or exists (
                    select from enrolment e
                    where e.campaign_id = q.campaign_id and e.phone = q.phone and e.lead_id = q.duplicate_of
                ))
            order by campaign_id, lead_id
        ),
        seen as materialized (
            select d.campaign_id, d.lead_id, d.calling_group_id, d.priority, d.due_at, d.attempt_no
            from asked q join due d on d.campaign_id = q.campaign_id and d.lead_id = q.lead_id
        ),
        locked as materialized (
            select d.campaign_id, d.lead_id from asked q
            join due d on d.campaign_id = q.campaign_id and d.lead_id = q.lead_id
                and d.attempt_no = q.attempt_no and d.tries = q.tries
            order by d.campaign_id, d.calling_group_id, d.priority, d.due_at, d.lead_id
            for update of d skip locked
        ),
        taken as (
            delete from due d using locked x
            where d.campaign_id = x.campaign_id and d.lead_id = x.lead_id
            returning d.campaign_id, d.lead_id, d.attempt_no, d.tries
        ),
        written as (
            insert into disposition as v
                (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at, duplicate_of)
            select q.campaign_id, q.lead_id, q.disposition, q.reason, q.attempt_no, q.tries, $9::timestamptz,
                   q.duplicate_of
            from asked q
            left join taken t on t.campaign_id = q.campaign_id and t.lead_id = q.lead_id
            -- A lead that was due and could not be taken is becoming an attempt.
            where t.lead_id is not null
                or not exists (select from seen s where s.campaign_id = q.campaign_id and s.lead_id = q.lead_id)
            order by q.campaign_id, q.lead_id
            on conflict (campaign_id, lead_id) do update set
                disposition = excluded.disposition, reason = excluded.reason, disposed_at = excluded.disposed_at,
                duplicate_of = excluded.duplicate_of
                where v.disposition not in ('reached', 'goal_met', 'exhausted') and v.attempt_no = excluded.attempt_no
                    and v.tries = excluded.tries
            returning v.campaign_id, v.lead_id, v.disposition, v.duplicate_of
        ),
        -- Who is gone, or has another phone by now, does not keep one that was never attempted from others.
        released as (
            delete from enrolment e using written x
            where x.disposition in ('removed', 'duplicate', 'invalid_number')
                and e.campaign_id = x.campaign_id and e.lead_id = x.lead_id and not exists (
                    select from attempt a
                    where a.phone = e.phone and a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
                )
            returning e.campaign_id, e.lead_id
        ),
        noted as (
            insert into lead_change (lead_id)
            select v.lead_id from released r
            join disposition v on v.duplicate_of = r.lead_id and v.campaign_id = r.campaign_id
            where v.disposition = 'duplicate'
            union
            select x.lead_id from released r
            join written x on x.duplicate_of = r.lead_id and x.campaign_id = r.campaign_id
        )
        select campaign_id, lead_id from written
        "#,
        &campaigns,
        &leads,
        &verdicts as _,
        &reasons as _,
        &numbers,
        &tries,
        &holders as _,
        &wished as _,
        now.to_sqlx() as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(rows.into_iter().map(|row| (CampaignId(row.campaign_id), LeadId(row.lead_id))).collect())
}

/// Forgets what was done, but keeps in mind the leads of which a step was left out.
async fn forget(pool: &PgPool, done: EnrolmentDone, kept: &BTreeSet<LeadId>) -> Result<(), StoreError> {
    let kept: Vec<_> = kept.iter().map(|lead| lead.0).collect();
    let mut connection = acquire(pool).await?;
    match done {
        EnrolmentDone::Changes(ids) => {
            sqlx::query!("delete from lead_change where lead_change_id = any($1) and lead_id <> all($2)", &ids, &kept,)
                .execute(&mut *connection)
                .await
                .map_err(writing)?;
        }
        EnrolmentDone::Page { campaign_id, lead_list_id, after, version } => {
            sqlx::query!(
                r#"
                with page as materialized (
                    select walked_to from campaign_list
                    where campaign_id = $1 and lead_list_id = $2 and version = $5
                    for update
                ),
                noted as (
                    insert into lead_change (lead_id)
                    select k.lead_id from page, unnest($4::bigint[]) as k (lead_id)
                    union
                    -- The end of its attempt brings such a lead back.
                    select o.lead_id from page
                    join open_attempt o on o.campaign_id = $1 and o.lead_id > page.walked_to
                        and o.lead_id <= coalesce($3, 9223372036854775807)
                    join lead l on l.lead_id = o.lead_id and l.lead_list_id = $2
                )
                update campaign_list w
                set walked_to = coalesce($3, w.walked_to), walked = $3 is null
                from page
                where w.campaign_id = $1 and w.lead_list_id = $2
                "#,
                campaign_id.0,
                lead_list_id.0,
                after.map(|lead| lead.0),
                &kept,
                version,
            )
            .execute(&mut *connection)
            .await
            .map_err(writing)?;
        }
    }
    Ok(())
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
