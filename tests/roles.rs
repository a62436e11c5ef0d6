//! `deploy/postgres/roles.sql` on a real server: what each role can do, and what it cannot. That the daemon's role can do
//! all of the daemon's work is the store suite's matter, which runs under it, too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod support {
    pub mod role;
}

use outdial::adapter::postgres::PostgresStore;
use outdial::adapter::postgres::connect::{MIGRATOR, pending_or_unknown};
use outdial::port::store::{RetentionPolicy, Store as _};
use sqlx::{Connection as _, PgPool};
use support::role::{apply_roles, pool_of};

/// Runs a statement and gives the code of the error, if it is refused.
async fn refusal(pool: &PgPool, statement: &'static str) -> Option<String> {
    let error = sqlx::raw_sql(statement).execute(pool).await.err()?;
    Some(error.as_database_error().map_or_else(|| error.to_string(), |error| error.code().unwrap().into_owned()))
}

const DENIED: Option<&str> = Some("42501");

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn the_daemons_role_takes_nothing_away(pool: PgPool) {
    apply_roles(&pool).await;
    let daemon = pool_of(&pool, "outdial").await;
    for statement in [
        "drop table lead",
        "drop table attempt",
        "drop view call_log",
        "truncate open_attempt",
        "alter table campaign add column mine text",
        "create trigger mine before insert on lead for each row execute function lead_bump_version()",
        "alter table lead disable trigger all",
        "drop function skip_lost_keys()",
        "delete from _sqlx_migrations",
        "update installation set number = 1",
        "create role another",
        "set role outdial_owner",
        "create temporary table mine (n integer)",
        "set session_replication_role = replica",
    ] {
        assert_eq!(refusal(&daemon, statement).await.as_deref(), DENIED, "{statement}");
    }
    let known: Option<String> = sqlx::query_scalar("select current_line()").fetch_one(&daemon).await.unwrap();
    assert!(known.is_some(), "without its history, a database that went back in time is noticed later");
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn the_reporting_role_reads_what_is_documented_and_nothing_else(pool: PgPool) {
    apply_roles(&pool).await;
    let report = pool_of(&pool, "outdial_report").await;
    // As its settings are for who connects, not for whom a session turns into, the rights alone are tried here.
    for statement in [
        "select * from lead_list",
        "select * from lead",
        "select * from campaign",
        "select * from suppression",
        "select * from stop_order",
        "select * from campaign_progress",
        "select * from call_log",
        "select * from outgoing_event",
    ] {
        assert_eq!(refusal(&report, statement).await, None, "{statement}");
    }
    for statement in [
        "select * from attempt",
        "select * from inbox",
        "select * from campaign_notice",
        "delete from outgoing_event",
        "select * from open_attempt",
        "insert into lead_list (name) values ('mine')",
        "update campaign set state = 'paused'",
        "delete from suppression",
        "insert into stop_order (reason) values ('mine')",
        "select skip_lost_keys()",
        "create table mine (n integer)",
    ] {
        assert_eq!(refusal(&report, statement).await.as_deref(), DENIED, "{statement}");
    }
}

#[sqlx::test(migrations = false)]
async fn from_nothing_the_owner_migrates_and_the_daemon_keeps_house(pool: PgPool) {
    apply_roles(&pool).await;
    let owner = pool_of(&pool, "outdial_owner").await;
    let mut connection = owner.acquire().await.unwrap().detach();
    MIGRATOR.run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    apply_roles(&pool).await;
    let daemon = pool_of(&pool, "outdial").await;
    assert_eq!(pending_or_unknown(&daemon).await.unwrap(), []);
    let store = PostgresStore::open(daemon).await.unwrap();
    let policy = RetentionPolicy { inbox_days: 14, payload_days: 180, history_days: None };
    let now = "2026-03-02T09:00:00Z".parse().unwrap();
    assert!(store.retain(now, policy).await.unwrap().partitions_made > 0);
    // The owner can change what the daemon owns, its days included.
    sqlx::query("alter table inbox add column later text").execute(&owner).await.unwrap();
    let another =
        "2026-03-02T09:00:00Z".parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_hours(24 * 40);
    assert!(store.retain(another, policy).await.unwrap().partitions_dropped > 0);
}
