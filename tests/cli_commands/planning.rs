//! What applying a campaign file would do, told beforehand, and whether it is true.

use serde_json::Value;
use sqlx::PgPool;

use super::scene::{CAMPAIGN, Scene, regex_of};
use crate::looks_like;

/// A second list: a new number, one twice, one of the first list, none, one nobody may call, one without a zone.
const AUTUMN: &str = "\
phone,time_zone
+49 30 1234511,Europe/Berlin
+49 30 1234511,Europe/Berlin
+49 30 1234501,Europe/Berlin
+49 30 1234512,Europe/Berlin
+49 30 1234513,
+49 30 1234514,America/New_York
";

async fn scene(pool: PgPool) -> Scene {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    let leads = scene.file("autumn.csv", AUTUMN);
    scene.ask(&["leads", "import", &leads, "--list", "autumn"]).await;
    scene.ask(&["suppress", "add", "+49301234512", "--reason", "asked us"]).await;
    // As a user's own SQL may write it.
    sqlx::query(
        "insert into lead (lead_list_id, phone) select lead_list_id, '12' from lead_list where name = 'autumn'",
    )
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    scene
}

/// All that a plan must leave alone.
async fn everything(scene: &Scene) -> String {
    sqlx::query_scalar(
        "select concat(
            (select jsonb_agg(to_jsonb(c) order by campaign_id) from campaign c),
            (select jsonb_agg(to_jsonb(d) order by campaign_id, lead_id) from due d),
            (select jsonb_agg(to_jsonb(v) order by campaign_id, lead_id) from disposition v),
            (select jsonb_agg(to_jsonb(w) order by campaign_id, lead_list_id) from campaign_list w),
            (select jsonb_agg(to_jsonb(e) order by campaign_id, phone) from enrolment e))",
    )
    .fetch_one(&scene.desk.pool)
    .await
    .unwrap()
}

#[sqlx::test]
async fn a_plan_says_what_changes_and_changes_nothing(pool: PgPool) {
    let scene = scene(pool).await;
    let before = everything(&scene).await;
    let same = scene.file("same.yaml", CAMPAIGN);
    let later = scene.file(
        "later.yaml",
        &CAMPAIGN
            .replace("[\"09:00-12:00\", \"13:00-18:00\"]", "\"13:00-18:00\"")
            .replace("max_attempts: 3", "max_attempts: 1"),
    );
    let both = scene.file("both.yaml", &CAMPAIGN.replace("[spring]", "[spring, autumn, winter]"));
    let other = scene.file("other.yaml", &CAMPAIGN.replace("[spring]", "[autumn]"));
    let over = scene.file("over.yaml", &CAMPAIGN.replace("time_zone: lead,", "time_zone: lead, ends_on: 2026-02-27,"));
    let new = scene.file("new.yaml", &CAMPAIGN.replace("spring-renewals", "autumn").replace("[spring]", "[autumn]"));
    let broken = scene.file("broken.yaml", &CAMPAIGN.replace("max_attempts: 3", "max_attempts: none"));
    let mut said = String::new();
    for words in [
        vec!["campaign", "plan", same.as_str(), "--exit-code"],
        vec!["campaign", "plan", later.as_str(), "--exit-code"],
        vec!["campaign", "plan", both.as_str()],
        vec!["campaign", "plan", other.as_str(), "--examples", "1"],
        vec!["campaign", "plan", over.as_str()],
        vec!["campaign", "plan", new.as_str(), same.as_str()],
        vec!["campaign", "plan", broken.as_str()],
        vec!["campaign", "plan", broken.as_str(), "--exit-code"],
        vec!["campaign", "plan", both.as_str(), "--output", "json"],
    ] {
        said += &format!("$ {}\n{}", words.join(" "), scene.ask(&words).await);
    }
    looks_like!(scene, "cli_plan", said);
    assert_eq!(everything(&scene).await, before);
}

#[sqlx::test]
async fn a_plan_shows_what_somebody_changed_in_the_database(pool: PgPool) {
    let scene = scene(pool).await;
    let file = scene.file("campaign.yaml", CAMPAIGN);
    sqlx::query(
        "update campaign set state = 'paused', definition = jsonb_set(definition, '{pacing}', '{\"calls_per_minute\": 90}')",
    )
    .execute(&scene.desk.pool)
    .await
    .unwrap();
    let drifted = scene.ask(&["campaign", "plan", &file, "--exit-code"]).await;
    looks_like!(scene, "cli_plan_drift", drifted);
    scene.ask(&["campaign", "apply", &file]).await;
    let said = scene.ask(&["campaign", "plan", &file, "--exit-code"]).await;
    assert!(said.ends_with("No changes: the database has what the files say\n"), "{said}");
}

/// What `plan` says of leads is what `apply` and a daemon then make of them.
#[sqlx::test]
async fn what_was_planned_happens(pool: PgPool) {
    let scene = scene(pool).await;
    for (name, lists) in [("both", "[spring, autumn]"), ("one", "[autumn]"), ("back", "[spring]")] {
        let file = scene.file(&format!("{name}.yaml"), &CAMPAIGN.replace("[spring]", lists));
        let said = scene.ask(&["campaign", "plan", &file, "--output", "json"]).await;
        let plan: Value = serde_json::from_str(&said).unwrap();
        let leads = &plan["campaigns"][0]["leads"];
        let then = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            let ways = leads["ways"].as_array().unwrap().iter();
            ways.filter(|way| wanted(way["then"].as_str().unwrap())).map(|way| way["leads"].as_u64().unwrap()).sum()
        };
        let planned: Vec<(String, u64)> = ["removed", "duplicate", "invalid_number"]
            .map(|word| (word.to_owned(), then(&|then| then == format!("out as {word}"))))
            .into();
        // The gate takes out a suppressed lead when it is due; until then it waits like the others.
        let due = then(&|then| !then.starts_with("out as") && then != "not in it" || then == "out as suppressed");
        scene.ask(&["campaign", "apply", &file]).await;
        // Whoever waits for a number that is given up is looked at in a second round.
        scene.enrol().await;
        scene.enrol().await;
        let mut found = Vec::new();
        for (word, _) in &planned {
            let count: i64 = sqlx::query_scalar("select count(*) from disposition where disposition = $1")
                .bind(word)
                .fetch_one(&scene.desk.pool)
                .await
                .unwrap();
            found.push((word.clone(), count.unsigned_abs()));
        }
        let waits: i64 = sqlx::query_scalar("select count(*) from due").fetch_one(&scene.desk.pool).await.unwrap();
        assert_eq!((found, waits.unsigned_abs()), (planned, due), "{name}: {said}");
    }
}

#[sqlx::test]
async fn a_webhook_that_the_configuration_does_not_name_is_refused(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let file = scene.file("campaign.yaml", &format!("{CAMPAIGN}    notify: {{ webhook: crm }}\n"));
    let said = scene.ask(&["campaign", "apply", &file]).await;
    assert!(said.contains("campaigns[spring-renewals].notify.webhook\n  there is no webhook \"crm\""), "{said}");
}
