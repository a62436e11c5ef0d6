//! A due lead becomes an open attempt, and what is learnt while it is open.
//!
//! Locks are taken in the order due rows (skipping what is locked), open attempts, attempts: nothing here waits for a
//! row while it holds one that another statement of ours would want first.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::types::Uuid;
use sqlx::{PgPool, query, query_file_scalar, query_scalar};

use crate::domain::id::AttemptId;
use crate::port::permit::CommittedIntent;
use crate::port::store::{DialIntent, Lease, OpenChange, PersonFacts, ReplyFact, ReplyRecord, StoreError};

use super::due::{CONTACTS_MAX, Places, contacts, suppression};
use super::failure::{acquire, reading, writing};
use super::row::{attempt_id, storable};

/// How far a due row is put off whose attempt exists already: far enough to stay out of the way, near enough to be
/// reported again until someone looks.
const STRAY_PUT_OFF: SignedDuration = SignedDuration::from_hours(1);

/// Makes intents durable; see `begin_dials.sql`.
pub(super) async fn begin_dials(
    pool: &PgPool,
    lease: &Lease,
    intents: &[DialIntent],
    witness: Option<AttemptId>,
    now: Timestamp,
) -> Result<Vec<CommittedIntent>, StoreError> {
    if intents.is_empty() {
        return Ok(Vec::new());
    }
    let at = Places::of(intents.iter().map(|intent| &intent.due));
    let ids: Vec<Uuid> = intents.iter().map(|intent| intent.attempt_id.uuid()).collect();
    let tries: Vec<i32> = intents.iter().map(|intent| intent.due.tries.into()).collect();
    let phones: Vec<String> = intents.iter().map(|intent| intent.due.phone.e164().to_owned()).collect();
    let campaign_versions: Vec<i64> = intents.iter().map(|intent| intent.campaign_version).collect();
    let lead_versions: Vec<i64> = intents.iter().map(|intent| intent.lead_version).collect();
    let assistants: Vec<String> = intents.iter().map(|intent| intent.assistant_id.as_str().to_owned()).collect();
    let deadlines: Vec<jiff_sqlx::Timestamp> = intents.iter().map(|intent| intent.deadline_at.to_sqlx()).collect();
    let newest_calls: Vec<Option<String>> =
        intents.iter().map(|intent| intent.newest_call_known.as_ref().map(|id| id.as_str().to_owned())).collect();
    let evidence: Vec<String> = intents.iter().map(|intent| storable(&intent.evidence)).collect();

    let mut connection = acquire(pool).await?;
    let committed: BTreeSet<AttemptId> = query_file_scalar!(
        "src/adapter/postgres/begin_dials.sql",
        lease.account.as_str(),
        lease.owner.0,
        lease.epoch.0,
        now.to_sqlx(),
        &ids,
        &at.campaigns,
        &at.groups,
        &at.priorities,
        &at.due_at as _,
        &at.leads,
        &at.attempt_nos,
        &tries,
        &phones,
        &campaign_versions,
        &lead_versions,
        &assistants,
        &deadlines as _,
        &newest_calls as _,
        &evidence,
        witness.map(AttemptId::uuid),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?
    .into_iter()
    .map(attempt_id)
    .collect();
    drop(connection);

    let left_out: Vec<&DialIntent> = intents.iter().filter(|intent| !committed.contains(&intent.attempt_id)).collect();
    if !left_out.is_empty()
        && let Err(error) = put_off_strays(pool, &left_out, now).await
    {
        // The intents above are durable whatever becomes of this: the strays are met again.
        tracing::warn!(error = %error, "Could not look for due rows whose attempt exists: {error}");
    }
    Ok(intents
        .iter()
        .filter(|intent| committed.contains(&intent.attempt_id))
        .map(|intent| CommittedIntent::acknowledged_by_database(intent.attempt_id))
        .collect())
}

/// Re-dates due rows whose attempt exists already, which no statement of ours leaves behind.
async fn put_off_strays(pool: &PgPool, left_out: &[&DialIntent], now: Timestamp) -> Result<(), StoreError> {
    let at = Places::of(left_out.iter().map(|intent| &intent.due));
    let ids: Vec<Uuid> = left_out.iter().map(|intent| intent.attempt_id.uuid()).collect();
    let until = now.saturating_add(STRAY_PUT_OFF).expect("a span of hours always saturates");
    let mut connection = acquire(pool).await?;
    let strays = query_scalar!(
        r#"
        with stray as materialized (
            select d.campaign_id, d.lead_id, s.attempt_id
            from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::uuid[])
                as s (campaign_id, lead_id, attempt_no, attempt_id)
            join due d on d.campaign_id = s.campaign_id and d.lead_id = s.lead_id and d.attempt_no = s.attempt_no
            where exists (select from attempt a where a.attempt_id = s.attempt_id)
            order by d.campaign_id, d.calling_group_id, d.priority, d.due_at, d.lead_id
            for update of d skip locked
        )
        update due d set due_at = $5
        from stray
        where d.campaign_id = stray.campaign_id and d.lead_id = stray.lead_id
        returning stray.attempt_id as "attempt_id!"
        "#,
        &at.campaigns,
        &at.leads,
        &at.attempt_nos,
        &ids,
        until.to_sqlx(),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    if !strays.is_empty() {
        let ids = strays.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" ");
        tracing::error!(
            attempt.ids = ids,
            "{} due rows ask for attempts that exist already and were put off to {until}: {ids}",
            strays.len(),
        );
    }
    Ok(())
}

/// Suppression and contacts of the persons behind open attempts. What is not open any more is left out.
pub(super) async fn confirm(
    pool: &PgPool,
    attempts: &[AttemptId],
    now: Timestamp,
    person_since: Timestamp,
) -> Result<Vec<(AttemptId, PersonFacts)>, StoreError> {
    let ids: Vec<Uuid> = attempts.iter().map(|id| id.uuid()).collect();
    let rows = query!(
        r#"
        select o.attempt_id as "attempt_id!", s.reason as "reason?", s.expires_at as "expires_at?",
            contact.at as "contact_at!: Vec<jiff_sqlx::Timestamp>", contact.campaigns as "contact_campaigns!: Vec<i64>"
        from unnest($1::uuid[]) with ordinality as asked (attempt_id, position)
        join open_attempt o on o.attempt_id = asked.attempt_id
        left join lateral (
            select suppression.reason, suppression.expires_at
            from suppression
            where suppression.phone = o.phone
                and (suppression.campaign_id is null or suppression.campaign_id = o.campaign_id)
                and (suppression.expires_at is null or suppression.expires_at > $2)
            order by suppression.expires_at desc nulls first
            limit 1
        ) as s on true
        cross join lateral (
            select coalesce(array_agg(c.at order by c.at desc), '{}') as at,
                coalesce(array_agg(c.campaign_id order by c.at desc), '{}') as campaigns
            from (
                select coalesce(a.sent_at, a.intent_at) as at, a.campaign_id
                from attempt a
                where a.phone = o.phone
                    and a.intent_at >= $3
                    and a.attempt_id <> o.attempt_id
                    and (a.outcome is null
                        or a.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))
                order by a.intent_at desc
                limit $4
            ) as c
        ) as contact
        order by asked.position
        "#,
        &ids,
        now.to_sqlx(),
        person_since.to_sqlx(),
        CONTACTS_MAX,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let person = PersonFacts {
                suppression: suppression(row.reason, row.expires_at),
                open: None,
                contacts: contacts(&row.contact_at, &row.contact_campaigns),
            };
            (attempt_id(row.attempt_id), person)
        })
        .collect())
}

/// Records answers. The call's id and the time of sending are kept also where the attempt has ended in the meantime.
pub(super) async fn record_replies(pool: &PgPool, replies: &[ReplyRecord]) -> Result<Vec<AttemptId>, StoreError> {
    if replies.is_empty() {
        return Ok(Vec::new());
    }
    let columns = ReplyColumns::of(replies);
    let mut connection = acquire(pool).await?;
    let recorded = query_scalar!(
        r#"
        with reply as materialized (
            -- Of two answers to one attempt, the one that knows more.
            select distinct on (attempt_id) *
            from unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::text[], $5::timestamptz[], $6::text[],
                    $7::boolean[], $8::timestamptz[], $9::timestamptz[])
                as r (attempt_id, sent_at, placed, call_id, poll_at, reason, accepted, absence_from, deadline_at)
            order by attempt_id, placed desc
        ), target as materialized (
            -- A call that is bound to another attempt stays with that. A subquery, because a join was seen to be planned
            -- by the account alone, which reads all its calls.
            select r.*, case
                    when r.attempt_id = coalesce((
                        select c.attempt_id
                        from provider_call c
                        where c.account = o.account and c.provider_call_id = r.call_id
                    ), r.attempt_id) then r.call_id
                end as own_call_id
            from reply r
            join open_attempt o using (attempt_id)
            -- Placed already: the same answer again, or evidence that was faster. It brings the call's id and the time.
            where o.state = 'dialing' or (r.placed and o.state in ('placed', 'in_doubt', 'held'))
            order by o.attempt_id
            for update of o
        ), moved as (
            update open_attempt o
            set state = case when t.placed then 'placed' else 'in_doubt' end,
                sent_at = coalesce(o.sent_at, t.sent_at),
                provider_call_id = coalesce(o.provider_call_id, t.own_call_id),
                accepted = o.accepted or t.accepted,
                poll_at = case when o.state = 'placed' then o.poll_at else t.poll_at end,
                deadline_at = coalesce(t.deadline_at, o.deadline_at),
                absence_from = t.absence_from,
                absent_since = null,
                reason = t.reason
            from target t
            where o.attempt_id = t.attempt_id
            returning o.attempt_id
        ), noted as (
            update attempt a
            set sent_at = r.sent_at
            from reply r
            where a.attempt_id = r.attempt_id and a.sent_at is null and r.sent_at is not null
        ), bound as (
            insert into provider_call (account, provider_call_id, attempt_id, basis)
            select a.account, r.call_id, a.attempt_id, 'reply'
            from reply r
            join attempt a using (attempt_id)
            where r.call_id is not null
            order by a.account, r.call_id
            on conflict do nothing
        )
        select attempt_id as "attempt_id!" from moved
        "#,
        &columns.ids,
        &columns.sent_at as _,
        &columns.placed,
        &columns.call_ids as _,
        &columns.poll_at as _,
        &columns.reasons as _,
        &columns.accepted,
        &columns.absence_from as _,
        &columns.deadlines as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(recorded.into_iter().map(attempt_id).collect())
}

#[derive(Default)]
struct ReplyColumns {
    ids: Vec<Uuid>,
    sent_at: Vec<Option<jiff_sqlx::Timestamp>>,
    placed: Vec<bool>,
    call_ids: Vec<Option<String>>,
    poll_at: Vec<jiff_sqlx::Timestamp>,
    reasons: Vec<Option<String>>,
    accepted: Vec<bool>,
    absence_from: Vec<Option<jiff_sqlx::Timestamp>>,
    deadlines: Vec<Option<jiff_sqlx::Timestamp>>,
}

impl ReplyColumns {
    fn of(replies: &[ReplyRecord]) -> Self {
        let mut columns = Self::default();
        for record in replies {
            columns.ids.push(record.attempt_id.uuid());
            columns.sent_at.push(record.sent_at.map(ToSqlx::to_sqlx));
            columns.placed.push(matches!(record.reply, ReplyFact::Placed { .. }));
            match &record.reply {
                ReplyFact::Placed { call_id, poll_at, deadline_at } => {
                    columns.call_ids.push(call_id.as_ref().map(|id| storable(id.as_str())));
                    columns.poll_at.push(poll_at.to_sqlx());
                    columns.reasons.push(None);
                    columns.accepted.push(true);
                    columns.absence_from.push(None);
                    columns.deadlines.push(deadline_at.map(ToSqlx::to_sqlx));
                }
                ReplyFact::InDoubt { reason, accepted, absence_from, poll_at, deadline_at } => {
                    columns.call_ids.push(None);
                    columns.poll_at.push(poll_at.to_sqlx());
                    columns.reasons.push(Some(storable(reason)));
                    columns.accepted.push(*accepted);
                    columns.absence_from.push(Some(absence_from.to_sqlx()));
                    columns.deadlines.push(Some(deadline_at.to_sqlx()));
                }
            }
        }
        columns
    }
}

/// Moves open attempts from the state they were seen in; of several changes to one attempt, only one is made.
///
/// # Panics
/// When a change breaks the rules of [`crate::domain::attempt::OpenState`].
pub(super) async fn change_open(pool: &PgPool, changes: &[OpenChange]) -> Result<Vec<AttemptId>, StoreError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    for change in changes {
        let allowed = change.from == change.to || change.from.may_become(change.to);
        assert!(allowed, "attempt {} cannot go from {} to {}", change.attempt_id, change.from, change.to);
    }
    let ids: Vec<Uuid> = changes.iter().map(|change| change.attempt_id.uuid()).collect();
    let from: Vec<String> = changes.iter().map(|change| change.from.as_str().to_owned()).collect();
    let to: Vec<String> = changes.iter().map(|change| change.to.as_str().to_owned()).collect();
    let reasons: Vec<Option<String>> = changes.iter().map(|change| change.reason.as_deref().map(storable)).collect();
    let instants = |of: fn(&OpenChange) -> Option<Timestamp>| -> Vec<Option<jiff_sqlx::Timestamp>> {
        changes.iter().map(|change| of(change).map(ToSqlx::to_sqlx)).collect()
    };
    let mut connection = acquire(pool).await?;
    let moved = query_scalar!(
        r#"
        with change as materialized (
            select *
            from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                    $7::timestamptz[], $8::timestamptz[])
                as c (attempt_id, from_state, to_state, reason, poll_at, deadline_at, absence_from, absent_since)
        ), target as materialized (
            select c.*
            from change c
            join open_attempt o on o.attempt_id = c.attempt_id and o.state = c.from_state
            order by o.attempt_id
            for update of o
        )
        update open_attempt o
        set state = t.to_state,
            reason = coalesce(t.reason, o.reason),
            poll_at = coalesce(t.poll_at, o.poll_at),
            deadline_at = coalesce(t.deadline_at, o.deadline_at),
            absence_from = coalesce(t.absence_from, o.absence_from),
            absent_since = coalesce(t.absent_since, o.absent_since)
        from target t
        where o.attempt_id = t.attempt_id
        returning o.attempt_id
        "#,
        &ids,
        &from,
        &to,
        &reasons as _,
        &instants(|change| change.poll_at) as _,
        &instants(|change| change.deadline_at) as _,
        &instants(|change| change.absence_from) as _,
        &instants(|change| change.absent_since) as _,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(moved.into_iter().map(attempt_id).collect())
}
