//! The audit on a real Postgres: a world in which everything holds, and one violation after the other planted in copies of
//! it, each to be found by the check that is meant for it, and by no other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

#[path = "audit/planted.rs"]
mod planted;
#[path = "audit/world.rs"]
mod world;

use jiff::SignedDuration;
use outdial::adapter::postgres::audit::{Check, Finding, SHOWN_MAX, Subject, audit};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use planted::PLANTED;
use world::{fill, subject};

fn found(findings: &[Finding]) -> Vec<(Check, u64)> {
    let unanswered: Vec<_> = findings.iter().filter(|finding| finding.unanswered.is_some()).collect();
    assert!(unanswered.is_empty(), "{unanswered:#?}");
    findings.iter().filter(|found| found.violations > 0).map(|found| (found.check, found.violations)).collect()
}

#[sqlx::test]
async fn an_empty_database_is_sound(pool: PgPool) {
    let findings = audit(&pool, &subject()).await.unwrap();
    assert_eq!(found(&findings), []);
    assert_eq!(findings.len(), Check::ALL.len());
}

#[sqlx::test]
async fn twenty_thousand_attempts_are_sound_however_they_are_looked_at(pool: PgPool) {
    fill(&pool, 20_000).await;
    let whole = subject();
    let everything = audit(&pool, &whole).await.unwrap();
    assert_eq!(found(&everything), [], "{everything:#?}");
    assert_eq!(everything[1].looked_at, 20_002);

    let since = whole.now - SignedDuration::from_hours(40);
    let lately = Subject { since: Some(since), limits_since: since, ..whole };
    let some = audit(&pool, &lately).await.unwrap();
    assert_eq!(found(&some), [], "{some:#?}");
    assert_eq!(some[1].looked_at, 4_002, "two days of work");

    let hourly = audit(&pool, &Subject { recent_only: true, ..lately }).await.unwrap();
    assert_eq!(found(&hourly), []);
    assert!(hourly.len() < some.len(), "what reads whole tables is left out");
}

#[sqlx::test]
async fn each_violation_is_found_by_its_check_and_by_no_other(pool: PgPool) {
    fill(&pool, 1_000).await;
    let options = pool.connect_options().as_ref().clone();
    let origin = options.get_database().unwrap().to_owned();
    let server =
        PgPoolOptions::new().max_connections(1).connect_with(options.clone().database("postgres")).await.unwrap();
    // A database that somebody is connected to cannot be copied.
    pool.close().await;
    // A name longer than 63 letters would be cut off, and be the original's.
    let copy = format!("copy_{}", origin.chars().take(50).collect::<String>());
    let mut wrong = Vec::new();
    for (check, what, sql) in PLANTED {
        run(&server, &format!("drop database if exists {copy:?}")).await;
        run(&server, &format!("create database {copy:?} template {origin:?}")).await;
        let pool = PgPoolOptions::new().max_connections(2).connect_with(options.clone().database(&copy)).await.unwrap();
        run(&pool, sql).await;
        let whole = subject();
        let findings = audit(&pool, &whole).await.unwrap();
        // What happened lately is looked up in other ways; all of it happened since the year began.
        let lately = Subject { since: Some("2026-01-01T00:00:00Z".parse().unwrap()), ..whole };
        for findings in [&findings, &audit(&pool, &lately).await.unwrap()] {
            let checks: Vec<Check> = found(findings).into_iter().map(|(check, _)| check).collect();
            if checks != [*check] {
                let found = findings.iter().filter(|it| it.violations > 0).collect::<Vec<_>>();
                wrong.push(format!("{check} {what}: {found:#?}"));
            }
        }
        let about = findings.iter().find(|finding| finding.check == *check).unwrap();
        assert!(about.offences.iter().all(|offence| offence.phone.as_ref().is_none_or(|phone| phone.contains('*'))));
        pool.close().await;
    }
    run(&server, &format!("drop database {copy:?}")).await;
    server.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unplanted: Vec<_> = Check::ALL.iter().filter(|check| PLANTED.iter().all(|(of, ..)| of != *check)).collect();
    assert!(unplanted.is_empty(), "nothing shows that these find anything: {unplanted:?}");
}

/// What a database had lost and the provider's list gave back has neither its evidence nor its tries.
#[sqlx::test]
async fn what_was_restored_is_no_violation(pool: PgPool) {
    fill(&pool, 1_000).await;
    let restored = "update attempt set evidence = 'found in the provider''s list', tries = 0 where attempt_no = 2";
    run(&pool, restored).await;
    let whole = subject();
    assert_eq!(found(&audit(&pool, &whole).await.unwrap()), []);
    let since = Some(whole.now - SignedDuration::from_hours(30));
    assert_eq!(found(&audit(&pool, &Subject { since, recent_only: true, ..whole }).await.unwrap()), []);
}

#[sqlx::test]
async fn what_happened_lately_is_judged_without_the_rest(pool: PgPool) {
    fill(&pool, 1_000).await;
    // One on the first day, one on the last.
    for lead in [3, 150] {
        let sql = format!("delete from disposition where lead_id = {lead} and disposition <> 'removed'");
        run(&pool, &sql).await;
    }
    let whole = subject();
    assert_eq!(found(&audit(&pool, &whole).await.unwrap()), [(Check::Places, 2)]);
    let since = Some(whole.now - SignedDuration::from_hours(30));
    let lately = Subject { since, recent_only: true, ..whole };
    let findings = audit(&pool, &lately).await.unwrap();
    assert_eq!(found(&findings), [(Check::Places, 1)]);
    let offences = &findings.iter().find(|finding| finding.check == Check::Places).unwrap().offences;
    assert_eq!(offences[0].lead_id, Some(150));
}

#[sqlx::test]
async fn many_violations_are_counted_and_a_few_shown(pool: PgPool) {
    fill(&pool, 1_000).await;
    run(&pool, "delete from call_result").await;
    let findings = audit(&pool, &subject()).await.unwrap();
    let lost = findings.iter().find(|finding| finding.check == Check::NoResult).unwrap();
    assert!(lost.violations > 700, "{lost:?}");
    assert_eq!(lost.offences.len() as i64, SHOWN_MAX);
}

#[sqlx::test]
async fn an_audit_says_what_it_could_not_read_and_goes_on(pool: PgPool) {
    fill(&pool, 1_000).await;
    run(&pool, "alter table call_result rename column status to former_status").await;
    let findings = audit(&pool, &subject()).await.unwrap();
    let unanswered: Vec<Check> =
        findings.iter().filter(|finding| finding.unanswered.is_some()).map(|finding| finding.check).collect();
    use Check::{Contradiction, ForeignCall, Identity, NoResult, Sending, SilentCall, Unended, UnknownCall};
    let one_pass = [Unended, Identity, Sending, ForeignCall, UnknownCall, NoResult, SilentCall, Contradiction];
    assert_eq!(unanswered, one_pass, "the others go on");
    let open: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(open, 0, "no transaction is left open");
}

async fn run(pool: &PgPool, sql: &str) {
    use sqlx::Executor;
    if let Err(problem) = pool.execute(sqlx::AssertSqlSafe(sql.to_owned())).await {
        panic!("{sql}: {problem}");
    }
}
