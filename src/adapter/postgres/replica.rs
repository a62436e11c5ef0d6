//! Signs of life, and what follows when the database does not know what it once acknowledged.
//!
//! What a database loses is always the newest: by a failover to a standby that lagged, by a restored backup, by a crash
//! of a server that acknowledges before it writes. So it is enough to ask for the newest things that were acknowledged, and
//! for the history the server is on.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::{PgPool, query, query_scalar};

use crate::domain::id::{AttemptId, AttemptKey, CampaignId, Installation, LeadId, OwnerId};
use crate::port::store::{Beat, Lease, LostAttempt, Pulse, Reconciliation, Restored, StoreError};

use super::failure::{acquire, reading, writing};
use super::row::{Reading, attempt_id, storable};

/// How far before the last known moment calls are compared: beats carry clocks that may lie seconds apart, and the
/// provider's clock, which dates its calls, may be two minutes behind.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

pub(super) async fn database_now(pool: &PgPool) -> Result<Timestamp, StoreError> {
    let now = query_scalar!(r#"select clock_timestamp() as "database_now!""#).fetch_one(pool).await.map_err(reading)?;
    Ok(now.to_jiff())
}

/// One statement: what was lost is noted before the first intent can follow.
///
/// The provider's calls are compared from the last moment on, less a margin, that the database surely knew when it was
/// cut off. What it holds was committed before the cut; whatever it lost was committed after it, and a call is made after
/// its intent. So the date of every sign of life that was written before the cut is a bound, and the latest is the best.
/// Which were written before the cut?
/// - On another history all of them: the first beat on it notes that, in the statement that writes the next one.
/// - On the same history the replica's own: it finds the loss with its first beat after it. And those of others that are
///   dated before its last acknowledged beat (`known_at` leaves room for what clocks lie apart): that beat came before the
///   loss. Later ones may be those of a process that began after the loss and could not know.
///
/// Every daemon gives a sign of life before it dials, and the last one of all is never deleted. Where none is left, nothing
/// had been dialed before the cut, and everything is compared since the year 2000.
pub(super) async fn beat(pool: &PgPool, beat: &Beat<'_>) -> Result<Pulse, StoreError> {
    let mut accounts: Vec<String> = beat.accounts.iter().map(|account| account.as_str().to_owned()).collect();
    accounts.sort();
    let mut connection = acquire(pool).await?;
    let row = query!(
        r#"
        with known as materialized (
            select beat_no from replica where owner = $1
        ), line as materialized (
            select line as noted, current_line() as present from database_line
        ), finding as materialized (
            select case
                    when noted <> present
                        then format('the database is another server, or has another history (%s, then %s)', noted, present)
                    when coalesce((select beat_no from known), 0) < $4::bigint
                        then 'the database has forgotten a sign of life that it had acknowledged'
                    when $5::uuid is not null and not exists (select from attempt where attempt_id = $5)
                        then 'the database has forgotten an attempt that it had acknowledged'
                end as problem,
                (
                    select max(civil_at) from replica
                    where (noted <> present and civil_at <= $7) or owner = $1 or civil_at <= $10
                ) as since
            from line
        ), noted as (
            insert into reconciliation as r (account, since, noted_at, reason, calls_over_at)
            select account, coalesce(since, timestamptz '2000-01-01 00:00:00+00') - $9::double precision * interval '1 second', $7,
                problem, $11
            from finding
            cross join (select account from account_lease union select unnest($6::text[])) as concerned
            where problem is not null
            order by account
            on conflict (account) do update
            set since = least(r.since, excluded.since), noted_at = excluded.noted_at, reason = excluded.reason,
                calls_over_at = greatest(r.calls_over_at, excluded.calls_over_at), given_up = false
        ), moved as (
            update database_line set line = l.present, since = clock_timestamp()
            from line l
            where database_line.line is distinct from l.present and l.present is not null
        ), skipped as materialized (
            select skip_lost_keys() from finding where problem is not null
        ), beaten as (
            insert into replica as r (owner, name, accounts, beat_no, beat_at, civil_at)
            values ($1, $2, $6, $3, clock_timestamp(), $7)
            on conflict (owner) do update
            set accounts = excluded.accounts, beat_no = excluded.beat_no, beat_at = excluded.beat_at,
                civil_at = excluded.civil_at
        ), others as materialized (
            select owner, accounts = $6 as alike from replica
            where owner <> $1 and beat_at > clock_timestamp() - $8::double precision * interval '1 second'
        )
        select clock_timestamp() as "database_now!", (select problem from finding) as went_back,
            (select count(*) from others where alike) as "alike!", (select count(*) from others where owner < $1) as "rank!",
            (select count(*) from skipped) as "skipped!"
        "#,
        beat.owner.0,
        storable(beat.name),
        beat.number,
        beat.acknowledged,
        beat.witness.map(AttemptId::uuid),
        &accounts,
        beat.now.to_sqlx(),
        beat.ttl.as_secs_f64(),
        MARGIN.as_secs_f64(),
        beat.known_at.to_sqlx(),
        beat.calls_over_at.to_sqlx(),
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(writing)?;
    let counted = Reading { table: "replica", key: beat.owner };
    Ok(Pulse {
        database_now: row.database_now.to_jiff(),
        replicas: counted.number("replicas", row.alike + 1)?,
        rank: counted.number("rank", row.rank)?,
        went_back: row.went_back,
    })
}

/// Ends an owner's leases, and its being counted. The rows stay: epochs go on growing, and the last sign of life is what a
/// restored database is dated by.
pub(super) async fn leave(pool: &PgPool, owner: OwnerId) -> Result<(), StoreError> {
    let mut connection = acquire(pool).await?;
    query!(
        r#"
        with ours as materialized (
            select account from account_lease where owner = $1 order by account for update
        ), released as (
            update account_lease l set expires_at = clock_timestamp()
            from ours
            where l.account = ours.account and l.owner = $1 and l.expires_at > clock_timestamp()
        )
        update replica set beat_at = '-infinity' where owner = $1
        "#,
        owner.0,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// Deletes replicas that have been gone for a day; whoever gave the last sign of life of all stays.
pub(super) async fn forget_the_dead(pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = acquire(pool).await?;
    query!(
        r#"
        delete from replica
        where beat_at < clock_timestamp() - interval '1 day' and civil_at < (select max(civil_at) from replica)
        "#
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}

/// Writes an attempt anew, from the row where its lead waits. Rare, so one at a time.
pub(super) async fn restore_attempt(
    pool: &PgPool,
    installation: Installation,
    lease: &Lease,
    lost: &LostAttempt,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    let attempt = match lost.attempt_id {
        Some(attempt_id) => attempt_id,
        None => match next_of_phone(pool, installation, lease, lost).await? {
            Some(NextOfPhone::Waiting(attempt_id)) => attempt_id,
            Some(NextOfPhone::Open(attempt_id)) => return Ok(Restored::Waits(attempt_id)),
            Some(NextOfPhone::Several) => return Ok(Restored::Ambiguous),
            None => return Ok(Restored::Nobodys),
        },
    };
    let key = attempt.key();
    let mut connection = acquire(pool).await?;
    let row = query!(
        r#"
        with lease as materialized (
            select 1 as held
            from account_lease
            where account = $1 and owner = $2 and epoch = $3 and expires_at > clock_timestamp()
            for share
        ), present as materialized (
            select exists (select from lease) as held,
                exists (select from attempt where attempt_id = $5::uuid) as known,
                exists (select from lead where lead_id = $7) as has_lead,
                exists (select from open_attempt where campaign_id = $6 and lead_id = $7) as has_open,
                (select attempt_no from due where campaign_id = $6 and lead_id = $7) as due_no,
                (select attempt_no from disposition where campaign_id = $6 and lead_id = $7) as disposed_no,
                coalesce((select tries from due where campaign_id = $6 and lead_id = $7),
                    (select tries from disposition where campaign_id = $6 and lead_id = $7), 0) as tries
        ), verdict as materialized (
            select case
                    when not held then 'fenced'
                    when known then 'known'
                    when due_no <= $8::integer then 'open'
                    when due_no is not null or disposed_no is not null then 'noted'
                    when has_open or has_lead then 'waits'
                    else 'orphan'
                end as word
            from present
        ), waiting as materialized (
            select d.*
            from due d
            where d.campaign_id = $6 and d.lead_id = $7 and d.attempt_no <= $8
                and (select word from verdict) = 'open'
            for update
        ), opened as (
            insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id,
                priority, tries, owner, epoch, state, intent_at, sent_at, deadline_at, poll_at, provider_call_id, accepted)
            select $9, $5, $1, campaign_id, lead_id, $10, calling_group_id, priority, tries, $2, $3, 'placed',
                coalesce($12::timestamptz, $4::timestamptz), $12::timestamptz, $13::timestamptz, $4::timestamptz,
                $11, true
            from waiting
            on conflict do nothing
            returning campaign_id, lead_id
        ), taken as (
            delete from due d
            using opened o
            where d.campaign_id = o.campaign_id and d.lead_id = o.lead_id
        ), advanced as (
            update disposition
            set attempt_no = greatest(attempt_no, $8 + 1), tries = tries + 1
            where campaign_id = $6 and lead_id = $7 and (select word from verdict) = 'noted'
        ), counted as (
            update due
            set tries = tries + 1
            where campaign_id = $6 and lead_id = $7 and tries + 1 < attempt_no and (select word from verdict) = 'noted'
        ), written as (
            insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
                intent_at, evidence, sent_at, ended_at, outcome, reason)
            select $5, $6, $7, $8, least((select tries from present), $8 - 1), $9, $1, $10, $3, coalesce($12::timestamptz, $4::timestamptz),
                'found in the provider''s list', $12::timestamptz,
                case when v.word = 'noted' then $4::timestamptz end, case when v.word = 'noted' then 'unknown' end,
                case when v.word = 'noted' then 'the database had lost it, and its lead has moved on' end
            from verdict v
            where v.word = 'noted' or exists (select from opened)
            on conflict do nothing
            returning attempt_id
        ), bound as (
            insert into provider_call (account, provider_call_id, attempt_id, basis)
            select $1, $11, attempt_id, case when $14::boolean then 'token' else 'only_candidate' end
            from written
            where $11 is not null
            on conflict do nothing
        )
        select case when v.word = 'open' and not exists (select from opened) then 'waits' else v.word end as "word!"
        from verdict v
        "#,
        lease.account.as_str(),
        lease.owner.0,
        lease.epoch.0,
        now.to_sqlx(),
        attempt.uuid(),
        key.campaign_id.0,
        key.lead_id.0,
        i32::from(key.attempt_no),
        lost.phone.e164(),
        lost.assistant_id.as_str(),
        lost.call_id.as_ref().map(|id| storable(id.as_str())),
        lost.made_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        lost.deadline_at.to_sqlx(),
        lost.attempt_id.is_some(),
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(match row.word.as_str() {
        "open" => Restored::Open(attempt),
        "noted" => Restored::Noted(attempt),
        "waits" => Restored::Waits(attempt),
        "known" => Restored::Known(attempt),
        "orphan" => Restored::Orphan(attempt),
        _ => Restored::Fenced,
    })
}

/// A lead with the phone of a call that carries no token.
enum NextOfPhone {
    /// It waits for this attempt.
    Waiting(AttemptId),
    /// The person has this open attempt; what comes after it is not known yet.
    Open(AttemptId),
    /// Leads of several campaigns wait with it.
    Several,
}

/// The attempt that a lead with this phone would have had next, in a campaign of the account.
async fn next_of_phone(
    pool: &PgPool,
    installation: Installation,
    lease: &Lease,
    lost: &LostAttempt,
) -> Result<Option<NextOfPhone>, StoreError> {
    let open = query_scalar!("select attempt_id from open_attempt where phone = $1", lost.phone.e164())
        .fetch_optional(pool)
        .await
        .map_err(reading)?;
    if let Some(open) = open {
        return Ok(Some(NextOfPhone::Open(attempt_id(open))));
    }
    let mut rows = query!(
        r#"
        select d.campaign_id, d.lead_id, d.attempt_no
        from enrolment e
        join due d on d.campaign_id = e.campaign_id and d.lead_id = e.lead_id and d.phone = e.phone
        join campaign c on c.campaign_id = d.campaign_id and c.definition ->> 'account' = $2
        where e.phone = $1
        limit 2
        "#,
        lost.phone.e164(),
        lease.account.as_str(),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    if rows.len() > 1 {
        return Ok(Some(NextOfPhone::Several));
    }
    rows.pop()
        .map(|row| {
            let attempt_no = Reading { table: "due", key: row.lead_id }.number("attempt_no", row.attempt_no)?;
            let key = AttemptKey { campaign_id: CampaignId(row.campaign_id), lead_id: LeadId(row.lead_id), attempt_no };
            Ok(NextOfPhone::Waiting(AttemptId::derive(installation, key)))
        })
        .transpose()
}

/// Ends a reconciliation unless it was noted anew meanwhile. One that is given up is kept: what it misses may still ring.
pub(super) async fn end_reconciliation(
    pool: &PgPool,
    reconciliation: &Reconciliation,
    stop: Option<&str>,
) -> Result<bool, StoreError> {
    let mut connection = acquire(pool).await?;
    let ended = query_scalar!(
        r#"
        with ended as (
            delete from reconciliation
            where account = $1 and noted_at = $2 and not given_up and $3::text is null
            returning account
        ), given_up as (
            update reconciliation set given_up = true
            where account = $1 and noted_at = $2 and not given_up and $3::text is not null
            returning account
        ), stopped as (
            insert into stop_order as s (account, reason) select account, $3 from given_up
            -- Whoever takes back a stop of their own is to read this one, too.
            on conflict (coalesce(account, '')) do update set reason = s.reason || '; ' || excluded.reason
        )
        select account as "account!" from ended union all select account from given_up
        "#,
        reconciliation.account.as_str(),
        reconciliation.noted_at.to_sqlx(),
        stop,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(ended.is_some())
}
