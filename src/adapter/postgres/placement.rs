//! How a lead takes its new place in a campaign.
//!
//! A step names what was seen when it was decided; one that finds something else leaves it alone, and its lead is looked
//! at again. What was done is forgotten last: a crash in between repeats steps that are idempotent.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::enrolment::Pair;
use super::failure::{acquire, reading, writing};
use super::storable::storable;
use crate::domain::id::{CallingGroupId, CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::{DueKey, EnrolmentAction, EnrolmentDone, EnrolmentStep, StoreError, Verdict};

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
        let mut leave = |pair: Pair, holder: LeadId, phone: PhoneNumber, attempt_no, tries| {
            self.leaving.push(Leaving {
                pair,
                verdict: Verdict::duplicate_of(holder),
                attempt_no,
                tries,
                duplicate_of: Some((holder, phone)),
            });
        };
        self.entering.retain(|step| match holders.get(&step.pair) {
            Some(holder) => {
                leave(step.pair, *holder, *step.phone, step.attempt_no, step.tries);
                false
            }
            None => true,
        });
        self.moving.retain(|step| match holders.get(&step.pair) {
            Some(holder) => {
                leave(step.pair, *holder, *step.phone, step.from.attempt_no, step.from.tries);
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
