//! House keeping: days of the inbox are made ahead and dropped when they are old, payloads are removed past their days.
//!
//! Partitions need transactions, so each runs in a task of its own that a cancelled caller cannot cut short. One replica
//! at a time changes partitions; the others find nothing to do.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::{AssertSqlSafe, PgPool};

use super::failure::{acquire, reading, writing};
use super::history::{Round, forget};
use crate::domain::id::Installation;
use crate::port::store::{RetainReport, RetentionPolicy, StoreError};

/// Days that have a partition before they begin.
const DAYS_AHEAD: i64 = 7;
/// Partitions changed by one run: after a long pause the rest waits for the next run.
const CHANGES_MAX: usize = 32;
/// Results one statement empties: some tens of milliseconds.
const PAYLOAD_BATCH: i64 = 2_000;
/// Statements of this kind in one run.
const PAYLOAD_BATCHES_MAX: u32 = 20;
/// Serialises changes of partitions; any number no one else uses.
const PARTITION_LOCK: i64 = 0x6f75_7464_6961_6c01;

pub(super) async fn retain(
    pool: &PgPool,
    installation: Installation,
    round: &Round,
    now: Timestamp,
    policy: RetentionPolicy,
) -> Result<RetainReport, StoreError> {
    let today = day_of(now);
    let days = Days::read(pool).await?;
    let mut report = RetainReport::default();
    for day in days.missing(today) {
        report.partitions_made += u32::from(in_own_task(make_partition(pool.clone(), day)).await?);
    }
    let keep_from = today.saturating_sub(Span::new().days(i64::from(policy.inbox_days)));
    for day in days.older_than(keep_from) {
        report.partitions_dropped += u32::from(in_own_task(drop_partition(pool.clone(), day)).await?);
    }
    if report.partitions_made + report.partitions_dropped > 0 {
        analyze_inbox(pool).await;
    }
    report.payloads_removed = remove_payloads(pool, now, policy.payload_days).await?;
    if let Some(days) = policy.history_days {
        report.leads_forgotten = forget(pool, installation, round, days_before(now, days)).await?;
    }
    super::replica::forget_the_dead(pool).await?;
    Ok(report)
}

/// Days that have a partition, and days of which events lie in the default partition because they had none in time.
struct Days {
    made: BTreeSet<Date>,
    stray: BTreeSet<Date>,
}

impl Days {
    async fn read(pool: &PgPool) -> Result<Self, StoreError> {
        let names = sqlx::query_scalar!(
            r#"
            select c.relname::text as "name!"
            from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'inbox'::regclass
            "#
        )
        .fetch_all(pool)
        .await
        .map_err(reading)?;
        let stray = sqlx::query_scalar!(
            r#"select distinct date_trunc('day', received_at, 'UTC') as "day!" from inbox_default order by 1 limit $1"#,
            CHANGES_MAX as i64,
        )
        .fetch_all(pool)
        .await
        .map_err(reading)?;
        Ok(Self {
            made: names.iter().filter_map(|name| day_named(name)).collect(),
            stray: stray.into_iter().map(|at| day_of(at.to_jiff())).collect(),
        })
    }

    /// Days to make. A stray day is made however old it is: as a partition it is dropped like any other.
    fn missing(&self, today: Date) -> Vec<Date> {
        let ahead = (0..=DAYS_AHEAD).map(|days| today.saturating_add(Span::new().days(days)));
        let wanted: BTreeSet<Date> = ahead.chain(self.stray.iter().copied()).collect();
        wanted.difference(&self.made).copied().take(CHANGES_MAX).collect()
    }

    fn older_than(&self, keep_from: Date) -> Vec<Date> {
        self.made.range(..keep_from).copied().take(CHANGES_MAX).collect()
    }
}

/// Runs a transaction where nobody can cut it short: sqlx 0.9.0 hands out a connection with an open transaction again
/// when its `begin` is cancelled (transact-rs/sqlx #4385, read 2026-11-21).
async fn in_own_task(
    change: impl Future<Output = Result<bool, StoreError>> + Send + 'static,
) -> Result<bool, StoreError> {
    match tokio::spawn(change).await {
        Ok(done) => done,
        Err(stopped) => Err(StoreError::CommitUnknown(stopped.into())),
    }
}

/// Makes a day's partition and moves the events there that came before it; `false` when someone else is at it.
async fn make_partition(pool: PgPool, day: Date) -> Result<bool, StoreError> {
    let mut tx = begin(&pool).await?;
    let made = make(&mut tx, day).await?;
    end(tx, made).await
}

async fn make(tx: &mut sqlx::PgTransaction<'_>, day: Date) -> Result<bool, StoreError> {
    let (name, from, to) = bounds(day);
    if !may_change(tx).await? || exists(tx, &name).await? {
        return Ok(false);
    }
    // Names and bounds are digits of a date; DDL takes no parameters.
    let statements = [
        "lock table inbox_default in access exclusive mode".to_owned(),
        format!("create table {name} (like inbox including defaults including constraints)"),
        format!(
            "with stray as (delete from inbox_default where received_at >= '{from}' and received_at < '{to}' returning *)
             insert into {name} select * from stray"
        ),
        format!("alter table inbox attach partition {name} for values from ('{from}') to ('{to}')"),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut **tx).await.map_err(reading)?;
    }
    Ok(true)
}

/// Drops a day's partition unless one of its events is pending; `false` when it stays.
async fn drop_partition(pool: PgPool, day: Date) -> Result<bool, StoreError> {
    let mut tx = begin(&pool).await?;
    let dropped = drop_unless_pending(&mut tx, day).await?;
    end(tx, dropped).await
}

async fn drop_unless_pending(tx: &mut sqlx::PgTransaction<'_>, day: Date) -> Result<bool, StoreError> {
    let (name, from, to) = bounds(day);
    if !may_change(tx).await? || !exists(tx, &name).await? {
        return Ok(false);
    }
    // Looked at before the lock, so that a day that must stay costs nobody anything, and again under it.
    for under_lock in [false, true] {
        if under_lock {
            sqlx::query("lock table inbox in access exclusive mode").execute(&mut **tx).await.map_err(reading)?;
        }
        let pending =
            format!("select exists (select from inbox_pending where received_at >= '{from}' and received_at < '{to}')");
        if sqlx::query_scalar::<_, bool>(AssertSqlSafe(pending)).fetch_one(&mut **tx).await.map_err(reading)? {
            return Ok(false);
        }
    }
    for statement in [format!("alter table inbox detach partition {name}"), format!("drop table {name}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut **tx).await.map_err(reading)?;
    }
    Ok(true)
}

async fn begin(pool: &PgPool) -> Result<sqlx::PgTransaction<'static>, StoreError> {
    let mut tx = pool.begin().await.map_err(reading)?;
    sqlx::query("set local lock_timeout = '2s'").execute(&mut *tx).await.map_err(reading)?;
    Ok(tx)
}

/// Commits what was changed, or rolls back at once: a transaction that is only dropped keeps its locks until its connection
/// is used again, and the next day would find them taken.
async fn end(tx: sqlx::PgTransaction<'static>, changed: bool) -> Result<bool, StoreError> {
    match changed {
        true => tx.commit().await.map_err(writing)?,
        false => tx.rollback().await.map_err(reading)?,
    }
    Ok(changed)
}

async fn may_change(tx: &mut sqlx::PgTransaction<'_>) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "free!""#, PARTITION_LOCK)
        .fetch_one(&mut **tx)
        .await
        .map_err(reading)
}

async fn exists(tx: &mut sqlx::PgTransaction<'_>, name: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"select to_regclass($1) is not null as "exists!""#, name)
        .fetch_one(&mut **tx)
        .await
        .map_err(reading)
}

/// Nobody else gathers statistics of a table that is partitioned, only of its parts, and joins with it are planned by
/// them. A failure is the planner's loss only, and is made good with the next partition.
async fn analyze_inbox(pool: &PgPool) {
    _ = sqlx::query("analyze inbox").execute(pool).await;
}

fn days_before(now: Timestamp, days: u16) -> Timestamp {
    let span = SignedDuration::from_hours(24 * i64::from(days));
    now.saturating_sub(span).expect("a duration without calendar units saturates")
}

async fn remove_payloads(pool: &PgPool, now: Timestamp, days: u16) -> Result<u64, StoreError> {
    let before = days_before(now, days);
    let mut removed = 0;
    for _ in 0..PAYLOAD_BATCHES_MAX {
        let mut connection = acquire(pool).await?;
        let batch = sqlx::query!(
            r#"
            with old as materialized (
                select attempt_id, transcript is not null or recording_url is not null or extracted <> '{}' as had_payload
                from call_result
                where recorded_at < $1 and payload_removed_at is null
                order by recorded_at limit $2
                for update skip locked
            ),
            removed as (
                update call_result r
                set transcript = null, recording_url = null, extracted = '{}', payload_removed_at = $3::timestamptz
                from old
                where r.attempt_id = old.attempt_id
                returning old.had_payload
            )
            select count(*) as "rows!", count(*) filter (where had_payload) as "removed!" from removed
            "#,
            before.to_sqlx() as _,
            PAYLOAD_BATCH,
            now.to_sqlx() as _,
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(writing)?;
        removed += batch.removed.unsigned_abs();
        if batch.rows < PAYLOAD_BATCH {
            break;
        }
    }
    Ok(removed)
}

/// Partitions are days of UTC.
fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Name, first instant and end of a day's partition.
fn bounds(day: Date) -> (String, String, String) {
    let next = day.saturating_add(Span::new().days(1));
    (day.strftime("inbox_%Y%m%d").to_string(), format!("{day} 00:00:00+00"), format!("{next} 00:00:00+00"))
}

fn day_named(name: &str) -> Option<Date> {
    Date::strptime("inbox_%Y%m%d", name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn names_and_days_belong_together() {
        let day = date(2026, 3, 1);
        let (name, from, to) = bounds(day);
        assert_eq!((name.as_str(), from.as_str()), ("inbox_20260301", "2026-03-01 00:00:00+00"));
        assert_eq!(to, "2026-03-02 00:00:00+00");
        assert_eq!(day_named(&name), Some(day));
        assert_eq!(day_named("inbox_default"), None);
    }

    #[test]
    fn stray_days_are_made_first_and_no_day_twice() {
        let today = date(2026, 3, 10);
        let days = Days { made: [today].into(), stray: [date(2026, 3, 2), date(2026, 3, 12)].into() };
        let missing = days.missing(today);
        assert_eq!(missing.first(), Some(&date(2026, 3, 2)));
        assert_eq!(missing.len(), 8);
        assert!(!missing.contains(&today));
        assert_eq!(days.older_than(date(2026, 3, 11)), [today]);
    }
}
