//! Raw events: written down first, looked at later.
//!
//! An event is one row of `inbox` and, until something has been decided about it, one of `inbox_pending`. Every statement
//! here can be repeated: what it has done already it does not do again.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;
use sqlx::types::Uuid;

use super::failure::{acquire, reading, writing};
use super::row::{Reading, attempt_id};
use super::storable::storable;
use crate::domain::id::{AccountName, AssistantId, CallingGroupId, Epoch, InboxId, OwnerId, ProviderCallId};
use crate::port::store::{Binding, CallKey, CallMatch, InboxEvent, InboxMark, OpenAttempt, PendingEvent, StoreError};

/// What is noted on an event that matched no call in all its time.
const UNMATCHED: &str = "matched no call";

pub(super) async fn append_inbox(pool: &PgPool, events: &[InboxEvent], now: Timestamp) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let accounts: Vec<_> = events.iter().map(|event| event.account.as_str()).collect();
    let sources: Vec<_> = events.iter().map(|event| event.source.as_str()).collect();
    let bodies: Vec<&[u8]> = events.iter().map(|event| &event.body[..]).collect();
    let attempts: Vec<_> = events.iter().map(|event| event.attempt_id.map(|id| id.uuid())).collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with event as materialized (
            select nextval(pg_get_serial_sequence('inbox', 'inbox_id')) as inbox_id, e.*
            from (
                select * from unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[])
                    with ordinality as e (account, source, body, attempt_id, position)
                order by position
            ) e
        ),
        written as (
            insert into inbox (inbox_id, received_at, account, source, body) overriding system value
            select inbox_id, $5::timestamptz, account, source, body from event
        )
        insert into inbox_pending (inbox_id, received_at, account, retry_at, attempt_id)
        select inbox_id, $5::timestamptz, account, $5::timestamptz, attempt_id from event
        "#,
        &accounts as _,
        &sources as _,
        &bodies as _,
        &attempts as _,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

pub(super) async fn peek_inbox(
    pool: &PgPool,
    account: &AccountName,
    not_before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<PendingEvent>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with ripe as materialized (
            select inbox_id, attempt_id from inbox_pending
            -- The lower bound keeps the probe away from index entries of events that were applied and not yet vacuumed.
            where account = $1 and retry_at >= $2 and retry_at <= $3
            order by retry_at, inbox_id
            limit $4
        ),
        -- Both halves of a result are seen together, whichever of them is ripe. `offset 0`: by this key and nothing else. A
        -- planner that does not know of dead entries would join by all of the account's, or of the table's.
        chosen as materialized (
            select inbox_id from ripe
            union
            select other.inbox_id
            from ripe
            cross join lateral (
                select inbox_id from inbox_pending where attempt_id = ripe.attempt_id offset 0
            ) as other
        )
        select p.inbox_id, p.attempt_id, p.retry_at, i.received_at, i.source, i.body
        from chosen
        cross join lateral (select * from inbox_pending where inbox_id = chosen.inbox_id offset 0) as p
        join inbox i on i.inbox_id = p.inbox_id and i.received_at = p.received_at
        where p.account = $1
        order by p.inbox_id
        "#,
        account.as_str(),
        not_before.to_sqlx() as _,
        now.to_sqlx() as _,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            let at = Reading { table: "inbox", key: row.inbox_id };
            Ok(PendingEvent {
                inbox_id: InboxId(row.inbox_id),
                source: at.word(&row.source)?,
                received_at: row.received_at.to_jiff(),
                body: row.body.into(),
                attempt_id: row.attempt_id.map(attempt_id),
                retry_at: row.retry_at.to_jiff(),
            })
        })
        .collect()
}

pub(super) async fn find_attempts(
    pool: &PgPool,
    account: &AccountName,
    calls: &[CallKey],
) -> Result<Vec<CallMatch>, StoreError> {
    let call_ids: Vec<_> = calls.iter().map(|call| call.call_id.as_ref().map(ProviderCallId::as_str)).collect();
    let tokens: Vec<_> = calls.iter().map(|call| call.token.map(|token| token.uuid())).collect();
    let phones: Vec<_> = calls.iter().map(|call| call.phone.as_ref().map(|phone| phone.e164())).collect();
    let rows = sqlx::query!(
        r#"
        select b.attempt_id as "bound?", b.basis as "basis?", (t.attempt_id is not null) as "token_exists!",
               coalesce(e.ended_at is not null, false) as "ended!",
               o.attempt_id as "attempt_id?", o.phone as "phone?", o.assistant_id as "assistant_id?",
               o.tries as "tries?", o.owner as "owner?", o.epoch as "epoch?", o.state as "state?",
               o.intent_at as "intent_at?", o.sent_at as "sent_at?", o.deadline_at as "deadline_at?",
               o.poll_at as "poll_at?", o.accepted as "accepted?", o.absence_from as "absence_from?",
               o.absent_since as "absent_since?", o.newest_call_known as "newest_call_known?", o.reason as "reason?",
               o.calling_group_id as "calling_group_id?", o.priority as "priority?"
        from unnest($2::text[], $3::uuid[], $4::text[]) with ordinality as q (call_id, token, phone, position)
        left join provider_call b on b.account = $1 and b.provider_call_id = q.call_id
        left join attempt t on t.attempt_id = q.token and t.account = $1
        left join attempt e on e.attempt_id = coalesce(b.attempt_id, t.attempt_id)
        left join open_attempt o on o.phone = q.phone and o.account = $1 and o.provider_call_id is null
        order by q.position
        "#,
        account.as_str(),
        &call_ids as _,
        &tokens as _,
        &phones as _,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            let basis = match &row.basis {
                None => None,
                Some(word) => Some(Reading { table: "provider_call", key: account }.word(word)?),
            };
            let open_unbound = match row.attempt_id {
                None => None,
                Some(id) => {
                    let at = Reading { table: "open_attempt", key: id };
                    let missing = |column: &str| at.inconsistent(format_args!("{column} is null"));
                    Some(OpenAttempt {
                        attempt_id: attempt_id(id),
                        phone: at.phone(&row.phone.ok_or_else(|| missing("phone"))?)?,
                        account: account.clone(),
                        assistant_id: AssistantId::new(row.assistant_id.ok_or_else(|| missing("assistant_id"))?),
                        tries: at.number("tries", row.tries.ok_or_else(|| missing("tries"))?)?,
                        owner: OwnerId(row.owner.ok_or_else(|| missing("owner"))?),
                        epoch: Epoch(row.epoch.ok_or_else(|| missing("epoch"))?),
                        state: at.word(&row.state.ok_or_else(|| missing("state"))?)?,
                        intent_at: row.intent_at.ok_or_else(|| missing("intent_at"))?.to_jiff(),
                        sent_at: row.sent_at.map(|at| at.to_jiff()),
                        deadline_at: row.deadline_at.ok_or_else(|| missing("deadline_at"))?.to_jiff(),
                        poll_at: row.poll_at.ok_or_else(|| missing("poll_at"))?.to_jiff(),
                        call_id: None,
                        accepted: row.accepted.ok_or_else(|| missing("accepted"))?,
                        absence_from: row.absence_from.map(|at| at.to_jiff()),
                        absent_since: row.absent_since.map(|at| at.to_jiff()),
                        newest_call_known: row.newest_call_known.map(ProviderCallId::new),
                        reason: row.reason,
                        calling_group_id: CallingGroupId(
                            row.calling_group_id.ok_or_else(|| missing("calling_group_id"))?.into(),
                        ),
                        priority: at.number("priority", row.priority.ok_or_else(|| missing("priority"))?)?,
                    })
                }
            };
            Ok(CallMatch {
                bound: row.bound.map(attempt_id),
                basis,
                token_exists: row.token_exists,
                open_unbound,
                ended: row.ended,
            })
        })
        .collect()
}

pub(super) async fn bind_calls(pool: &PgPool, account: &AccountName, bindings: &[Binding]) -> Result<(), StoreError> {
    if bindings.is_empty() {
        return Ok(());
    }
    let calls: Vec<_> = bindings.iter().map(|binding| binding.call_id.as_str()).collect();
    let attempts: Vec<_> = bindings.iter().map(|binding| binding.attempt_id.uuid()).collect();
    let bases: Vec<_> = bindings.iter().map(|binding| binding.basis.as_str()).collect();
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with binding as materialized (
            select distinct on (call_id) *
            from unnest($2::text[], $3::uuid[], $4::text[]) with ordinality as b (call_id, attempt_id, basis, position)
            order by call_id, position
        ),
        bound as (
            insert into provider_call (account, provider_call_id, attempt_id, basis)
            select $1, call_id, attempt_id, basis
            from binding b
            -- A database that went back since the attempt was found does not know it: a call that counts as its own then
            -- would keep it from being restored.
            where exists (select from attempt a where a.attempt_id = b.attempt_id and a.account = $1)
            order by call_id
            on conflict do nothing
            returning provider_call_id, attempt_id
        ),
        -- Only the id: a state is left by evidence that is weighed elsewhere.
        unfilled as materialized (
            select o.phone, first.call_id
            from (
                select distinct on (attempt_id) attempt_id, provider_call_id as call_id
                from bound order by attempt_id, provider_call_id
            ) first
            join open_attempt o on o.attempt_id = first.attempt_id
            where o.account = $1 and o.provider_call_id is null
            order by o.phone
            for update of o
        )
        update open_attempt o set provider_call_id = u.call_id
        from unfilled u
        where o.phone = u.phone
        "#,
        account.as_str(),
        &calls as _,
        &attempts as _,
        &bases as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

pub(super) async fn mark_inbox(
    pool: &PgPool,
    marks: &[(InboxId, InboxMark)],
    _now: Timestamp,
) -> Result<(), StoreError> {
    if marks.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = marks.iter().map(|(id, _)| id.0).collect();
    let mut retry_at = Vec::with_capacity(marks.len());
    let mut attempts: Vec<Option<Uuid>> = Vec::with_capacity(marks.len());
    let mut problems: Vec<Option<String>> = Vec::with_capacity(marks.len());
    let mut versions: Vec<Option<&str>> = Vec::with_capacity(marks.len());
    for (_, mark) in marks {
        let (at, attempt, problem, version) = match mark {
            InboxMark::Later { retry_at, attempt_id } => (Some(*retry_at), *attempt_id, None, None),
            InboxMark::Done => (None, None, None, None),
            InboxMark::Quarantined { problem, version } => {
                (None, None, Some(storable(problem)), Some(version.as_str()))
            }
            InboxMark::Unmatched => (None, None, Some(UNMATCHED.to_owned()), None),
        };
        versions.push(version);
        retry_at.push(at.map(|at| at.to_sqlx()));
        attempts.push(attempt.map(|id| id.uuid()));
        problems.push(problem);
    }
    let mut connection = acquire(pool).await?;
    sqlx::query!(
        r#"
        with mark as materialized (
            select m.inbox_id, m.retry_at, m.attempt_id, m.problem, m.version
            from unnest($1::bigint[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[])
                as m (inbox_id, retry_at, attempt_id, problem, version)
            join inbox_pending p on p.inbox_id = m.inbox_id
            order by m.inbox_id
            for update of p
        ),
        later as (
            update inbox_pending p
            set retry_at = m.retry_at, attempt_id = coalesce(m.attempt_id, p.attempt_id)
            from mark m
            where p.inbox_id = m.inbox_id and m.retry_at is not null
        ),
        forgotten as (
            delete from inbox_pending p
            using mark m
            where p.inbox_id = m.inbox_id and m.retry_at is null
            returning p.inbox_id, p.received_at, m.problem, m.version
        )
        update inbox i set problem = f.problem, quarantined_by = f.version
        from forgotten f
        where i.inbox_id = f.inbox_id and i.received_at = f.received_at and f.problem is not null
        "#,
        &ids as _,
        &retry_at as _,
        &attempts as _,
        &problems as _,
        &versions as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

pub(super) async fn reread_quarantined(
    pool: &PgPool,
    version: &str,
    limit: u32,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let mut connection = acquire(pool).await?;
    let pending = sqlx::query!(
        r#"
        with chosen as materialized (
            select inbox_id, received_at from inbox
            where quarantined_by is not null and quarantined_by <> $1
            order by inbox_id
            limit $2
            for update skip locked
        ),
        cleared as (
            update inbox i set problem = null, quarantined_by = null
            from chosen c
            where i.inbox_id = c.inbox_id and i.received_at = c.received_at
            returning i.inbox_id, i.received_at, i.account
        )
        insert into inbox_pending (inbox_id, received_at, account, retry_at)
        select inbox_id, received_at, account, $3::timestamptz from cleared order by inbox_id
        on conflict do nothing
        "#,
        version,
        i64::from(limit),
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(u32::try_from(pending.rows_affected()).unwrap_or(u32::MAX))
}
