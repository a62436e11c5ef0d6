//! Why a lead is or is not called, and when it will be.

use sqlx::PgPool;

use super::scene::{Scene, regex_of};
use crate::looks_like;

const BERLIN: &str = "+49 30 1234501";
const NEW_YORK: &str = "+1 212 555 0103";

async fn explain(scene: &Scene, phone: &str) -> String {
    format!("----- {phone}\n{}", scene.ask(&["explain", "--campaign", "spring-renewals", "--phone", phone]).await)
}

#[sqlx::test]
async fn a_due_lead_is_told_gate_by_gate(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let without_daemon = explain(&scene, BERLIN).await;
    scene.daemon().await;
    let free = explain(&scene, BERLIN).await;
    let asleep = explain(&scene, NEW_YORK).await;
    looks_like!(scene, "cli_explain_due", format!("{without_daemon}{free}{asleep}"));
    let json = scene.ask(&["explain", "--campaign", "spring-renewals", "--phone", NEW_YORK, "--output", "json"]).await;
    looks_like!(scene, "cli_explain_json", json);
}

#[sqlx::test]
async fn what_holds_a_lead_is_named(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    let mut said = String::new();
    scene.ask(&["suppress", "add", BERLIN, "--until", "2026-03-03T12:30:00Z", "--reason", "asked for a pause"]).await;
    said += &explain(&scene, BERLIN).await;
    scene.ask(&["suppress", "remove", BERLIN]).await;
    scene.ask(&["campaign", "pause", "spring-renewals"]).await;
    scene.ask(&["stop", "main", "--reason", "complaints"]).await;
    said += &explain(&scene, BERLIN).await;
    scene.ask(&["campaign", "resume", "spring-renewals"]).await;
    scene.ask(&["start", "main"]).await;
    sqlx::query("update due set due_at = '2026-03-02T16:59:00Z', attempt_no = 2, tries = 1 where lead_id = 1")
        .execute(&scene.desk.pool)
        .await
        .unwrap();
    sqlx::query("update lead set not_before = '2026-03-06T17:30:00Z' where lead_id = 1")
        .execute(&scene.desk.pool)
        .await
        .unwrap();
    said += &explain(&scene, BERLIN).await;
    sqlx::query("update lead set time_zone = 'nowhere', not_before = null where lead_id = 1")
        .execute(&scene.desk.pool)
        .await
        .unwrap();
    said += &explain(&scene, BERLIN).await;
    looks_like!(scene, "cli_explain_held_by", said);
}

#[sqlx::test]
async fn limits_of_lines_days_and_persons_are_named(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    scene.open(2, "placed").await;
    scene.open(3, "in_doubt").await;
    let mut said = explain(&scene, BERLIN).await;
    sqlx::query("delete from open_attempt").execute(&scene.desk.pool).await.unwrap();
    // A hundred requests, one each minute from 08:00 the day before on: the day frees a minute after the first.
    sqlx::query(
        "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
            intent_at, sent_at, evidence)
         select gen_random_uuid(), 9, n, 1, 0, case when n <= 3 then '+49301234501' else '+4930' || (2000000 + n) end,
            'main', '11', 1, timestamptz '2026-03-01T09:30:00Z' + n * interval '1 minute',
            timestamptz '2026-03-01T09:30:00Z' + n * interval '1 minute', ''
         from generate_series(1, 98) n",
    )
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    said += &explain(&scene, BERLIN).await;
    looks_like!(scene, "cli_explain_limits", said);
}

#[sqlx::test]
async fn leads_that_are_not_due_are_told_too(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    let mut said = String::new();
    scene.open(1, "held").await;
    said += &explain(&scene, BERLIN).await;
    for (disposition, reason) in [
        ("reached", "a person was reached"),
        ("suppressed", "asked"),
        ("invalid_number", "too short"),
        ("expired", "the campaign's last day is over"),
        ("removed", "the lead was deleted"),
        ("duplicate", "the phone is enrolled in this campaign under lead 1"),
    ] {
        sqlx::query("delete from due where lead_id = 2").execute(&scene.desk.pool).await.unwrap();
        sqlx::query(
            "insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
             values (1, 2, $1, $2, 2, 1, '2026-03-02T08:30:00Z')
             on conflict (campaign_id, lead_id) do update set disposition = excluded.disposition, reason = excluded.reason",
        )
        .bind(disposition)
        .bind(reason)
        .execute(&scene.desk.pool)
        .await
        .unwrap();
        said += &explain(&scene, "+49 30 1234502").await;
    }
    let more = scene.file("more.csv", "phone,time_zone\n+49 30 1234511,Europe/Berlin\n");
    scene.ask(&["leads", "import", &more, "--list", "spring"]).await;
    said += &explain(&scene, "+49 30 1234511").await;
    let other = scene.file("other.csv", "phone\n+49 30 1234512\n");
    scene.ask(&["leads", "import", &other, "--list", "other"]).await;
    said += &explain(&scene, "+49 30 1234512").await;
    said += &explain(&scene, "+49 30 1234513").await;
    said += &scene.ask(&["explain", "--campaign", "sprung-renewals"]).await;
    said += &scene.ask(&["explain", "--campaign", "spring-renewals", "--phone", "110"]).await;
    looks_like!(scene, "cli_explain_places", said);
}

#[sqlx::test]
async fn an_invalid_definition_says_so(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    sqlx::query("update campaign set definition = definition || '{\"pacing\": {\"calls_per_minute\": 0}}'")
        .execute(&scene.desk.pool)
        .await
        .unwrap();
    let mut said = explain(&scene, BERLIN).await;
    said += &scene.ask(&["explain", "--campaign", "spring-renewals"]).await;
    looks_like!(scene, "cli_explain_invalid", said);
}

#[sqlx::test]
async fn a_summary_counts_each_lead_at_its_first_closed_gate(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    sqlx::query("update due set due_at = '2026-03-02T15:00:00Z' where lead_id = 2")
        .execute(&scene.desk.pool)
        .await
        .unwrap();
    let mut said = scene.ask(&["explain", "--campaign", "spring-renewals"]).await;
    said += &scene.ask(&["explain", "--campaign", "spring-renewals", "--output", "json"]).await;
    looks_like!(scene, "cli_explain_summary", said);
}

#[sqlx::test]
async fn a_long_backlog_is_sampled_and_says_so(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    sqlx::query(
        "insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
         select 1, 1, 5, '2026-03-02T08:00:00Z', 1000 + n, 1, 0, '+4930' || (2000000 + n) from generate_series(1, 25000) n",
    )
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    let said = scene.ask(&["explain", "--campaign", "spring-renewals"]).await;
    looks_like!(scene, "cli_explain_sample", said);
}
