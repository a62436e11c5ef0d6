//! Status, attempts, and held ones settled by hand.

use outdial::config::WebhookConfig;
use sqlx::PgPool;

use super::scene::{Scene, regex_of};
use crate::looks_like;

#[sqlx::test]
async fn status_tells_what_everything_does(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let mut said = scene.ask(&["status"]).await;
    scene.daemon().await;
    scene.open(1, "placed").await;
    scene.open(2, "held").await;
    scene.ask(&["stop", "spare", "--reason", "no balance"]).await;
    said += &scene.ask(&["status"]).await;
    said += &scene.ask(&["status", "--output", "json"]).await;
    let said = regex_free(&said);
    looks_like!(scene, "cli_status", said);
}

#[sqlx::test]
async fn status_tells_of_webhooks_that_do_not_get_through(pool: PgPool) {
    let mut scene = Scene::with_campaign(pool).await;
    sqlx::raw_sql(
        "update campaign set definition = definition || '{\"notify\": {\"webhook\": \"crm\"}}';
         insert into outgoing_event (campaign_id, webhook, kind, happened_at, retry_at, given_up_at, problem)
         select 1, 'crm', 'campaign_finished', now(), case when n > 2 then now() end, case when n <= 2 then now() end,
            case n when 1 then 'it answered HTTP 404' when 3 then 'it answered HTTP 500' end
         from generate_series(1, 5) n",
    )
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    let of_webhooks = |said: String| said[said.find(" webhook ").unwrap()..].to_owned();
    let mut said = of_webhooks(scene.ask(&["status"]).await);
    let (url, secret) = ("https://crm.example.org/".into(), "a-secret-of-sixteen".into());
    let config = WebhookConfig { url, secret, allow_private: false, authorities: None };
    scene.desk.config.webhooks.insert("crm".to_owned(), config);
    said += &of_webhooks(scene.ask(&["status"]).await);
    assert!(said.contains("it answered HTTP 500") && said.contains("it is not in the configuration"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&scene.ask(&["status", "--output", "json"]).await).unwrap();
    let [crm] = &json["webhooks"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((&crm["waiting"], &crm["given_up"], &crm["campaigns"]), (&3.into(), &2.into(), &1.into()));
    assert_eq!((&crm["configured"], &crm["problem"]), (&true.into(), &"it answered HTTP 500".into()));
}

/// Leaves out when the campaign was written, which is the database's own moment or the test's.
fn regex_free(text: &str) -> String {
    text.lines().filter(|line| !line.contains("\"changed_at\"")).map(|line| format!("{line}\n")).collect()
}

#[sqlx::test]
async fn attempts_are_listed_shown_and_exported(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let id = scene.open(1, "placed").await.to_string();
    scene.open(2, "in_doubt").await;
    sqlx::query(
        "insert into call_result (attempt_id, provider_call_id, status, duration_seconds, cost, transcript, extracted,
            recorded_at)
         values ($1, '4711', 'completed', 42, 0.05, '[\"hello\"]', '{\"booked\": true}', now())",
    )
    .bind(id.parse::<sqlx::types::Uuid>().unwrap())
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    let mut said = String::new();
    for words in [
        vec!["calls", "list"],
        vec!["calls", "list", "--limit", "1", "--campaign", "spring-renewals", "--output", "json"],
        vec!["calls", "list", "--since", "1m"],
        vec!["calls", "list", "--outcome", "busy"],
        vec!["calls", "list", "--outcome", "nice"],
        vec!["calls", "show", id.as_str()],
        vec!["calls", "show", "00000000-0000-8000-8000-000000000001"],
        vec!["calls", "export"],
        vec!["calls", "export", "--format", "jsonl", "--since", "2026-03-01"],
    ] {
        said += &format!("$ {}\n{}", words.join(" "), scene.ask(&words).await);
    }
    looks_like!(scene, "cli_calls", said);
}

#[sqlx::test]
async fn an_export_reads_page_by_page(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    sqlx::query(
        "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
            intent_at, evidence)
         select ('00000000-1000-8000-8000-' || lpad(n::text, 12, '0'))::uuid, 1, n, 1, 0, '+4930' || (2000000 + n), 'main',
            '11', 1, now(), ''
         from generate_series(1, 5001) n",
    )
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    let said = scene.ask(&["calls", "export"]).await;
    assert_eq!(said.lines().count(), 5_002);
    assert_eq!(said.lines().collect::<std::collections::BTreeSet<_>>().len(), 5_002, "no row comes twice");
}

/// A due lead of a finished campaign would wait for ever.
#[sqlx::test]
async fn a_try_given_back_in_a_finished_campaign_leaves_nothing_due(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let held = scene.open(1, "held").await.to_string();
    sqlx::query("update campaign set state = 'finished'").execute(&scene.desk.pool).await.unwrap();
    let said = scene.ask(&["resolve", held.as_str(), "--as", "not-placed", "--reason", "not in the dashboard"]).await;
    assert!(said.contains("ended as not_placed: the lead is removed"), "{said}");
    let due: i64 =
        sqlx::query_scalar("select count(*) from due where lead_id = 1").fetch_one(&scene.desk.pool).await.unwrap();
    assert_eq!(due, 0);
}

#[sqlx::test]
async fn held_attempts_are_settled_by_hand(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let held = [scene.open(1, "held").await.to_string(), scene.open(2, "held").await.to_string()];
    let doubt = scene.open(3, "in_doubt").await.to_string();
    let nobody = "00000000-0000-8000-8000-000000000001";
    let mut said = String::new();
    for words in [
        vec!["resolve"],
        vec!["resolve", held[0].as_str(), doubt.as_str(), nobody, "--as", "placed", "--reason", "asked"],
        vec!["resolve", held[0].as_str(), "--as", "placed", "--reason", "the person remembers it"],
        vec!["resolve", held[1].as_str(), "--as", "not-placed", "--reason", "not in the dashboard"],
        vec!["resolve", held[0].as_str(), "--as", "placed", "--reason", "again"],
        vec!["resolve", held[0].as_str(), "--as", "placed"],
        vec!["resolve", "--output", "json"],
        vec!["explain", "--campaign", "spring-renewals", "--phone", "+49 30 1234501"],
        vec!["leads", "requeue", "--campaign", "spring-renewals"],
        vec![
            "leads",
            "requeue",
            "--campaign",
            "spring-renewals",
            "--disposition",
            "reached",
            "--phone",
            "+49301234502",
        ],
    ] {
        said += &format!("$ {}\n{}", words.join(" "), scene.ask(&words).await);
    }
    looks_like!(scene, "cli_resolve", said);
    let due: Vec<(i64, i32, i32)> = sqlx::query_as("select lead_id, attempt_no, tries from due order by lead_id")
        .fetch_all(&scene.desk.pool)
        .await
        .unwrap();
    assert_eq!(due, [(2, 2, 0)], "the try is given back, the number is not reused");
}
