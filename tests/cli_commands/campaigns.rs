//! Campaigns are applied and steered; accounts are stopped and started.

use sqlx::PgPool;

use super::scene::{CAMPAIGN, Scene, regex_of};
use crate::looks_like;

#[sqlx::test]
async fn a_campaign_is_applied_shown_and_steered(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let campaign = scene.file("campaign.yaml", CAMPAIGN);
    let changed = scene.file("changed.yaml", &CAMPAIGN.replace("max_attempts: 3", "max_attempts: 4"));
    let draft =
        scene.file("draft.yaml", &CAMPAIGN.replace("spring-renewals", "autumn").replace("[spring]", "[autumn]"));
    let mut said = String::new();
    for words in [
        vec!["campaign", "apply", campaign.as_str()],
        vec!["campaign", "apply", changed.as_str()],
        vec!["campaign", "apply", draft.as_str(), "--draft"],
        vec!["campaign", "list"],
        vec!["campaign", "show", "spring-renewals"],
        vec!["campaign", "pause", "spring-renewals"],
        vec!["campaign", "pause", "spring-renewals"],
        vec!["campaign", "pause", "autumn"],
        vec!["campaign", "resume", "spring-renewals"],
        vec!["campaign", "finish", "spring-renewals"],
        vec!["campaign", "resume", "spring-renewals"],
        vec!["campaign", "show", "spring-renewal"],
        vec!["campaign", "show", "zebra"],
    ] {
        said += &format!("$ {}\n{}", words.join(" "), scene.ask(&words).await);
    }
    looks_like!(scene, "cli_campaign", said);
}

/// Nobody is to wait for a campaign that cannot dial any more.
#[sqlx::test]
async fn a_campaign_whose_last_day_is_over_is_applied_and_says_so(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let over = scene.file("over.yaml", &CAMPAIGN.replace("time_zone: lead,", "time_zone: lead, ends_on: 2026-02-27,"));
    let said = scene.ask(&["campaign", "apply", &over]).await;
    assert!(said.contains("(number 1): created\n  its last day, 2026-02-27, is over: nobody is called\n"), "{said}");
}

#[sqlx::test]
async fn nothing_is_written_when_anything_is_wrong(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let good = scene.file("good.yaml", CAMPAIGN);
    let bad = scene.file("bad.yaml", &CAMPAIGN.replace("account: main", "account: mein").replace("[spring]", "[]"));
    let same = scene.file("same.yaml", CAMPAIGN);
    let account = scene
        .file("account.yaml", &CAMPAIGN.replace("account: main", "account: mian").replace("spring-renewals", "other"));
    let reserved = scene.file("reserved.yaml", &CAMPAIGN.replace("spring-renewals", "outdial-test-calls-main"));
    let said =
        scene.ask(&["campaign", "apply", &good, &bad, &same, &account, &reserved, "/nowhere/campaign.yaml"]).await;
    looks_like!(scene, "cli_campaign_problems", said);
    let written: i64 = sqlx::query_scalar("select count(*) from campaign").fetch_one(&scene.desk.pool).await.unwrap();
    assert_eq!(written, 0);
}

#[sqlx::test]
async fn options_of_calls_are_refused_where_the_provider_takes_none(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let asking = scene.file("asking.yaml", &format!("{CAMPAIGN}    call: {{ voice_id: v-1 }}\n"));
    let said = scene.ask(&["campaign", "apply", &asking]).await;
    let problem =
        "campaigns[spring-renewals].call\n  the provider of its account takes no call options: remove the section";
    assert!(said.contains(problem), "{said}");
    let written: i64 = sqlx::query_scalar("select count(*) from campaign").fetch_one(&scene.desk.pool).await.unwrap();
    assert_eq!(written, 0);
}

#[sqlx::test]
async fn accounts_are_stopped_and_started(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    scene.daemon().await;
    scene.open(1, "placed").await;
    let mut said = String::new();
    for words in [
        vec!["stop", "main", "--reason", "complaints"],
        vec!["stop", "--all", "--reason", "power cut"],
        vec!["start", "main"],
        vec!["start", "main"],
        vec!["start", "--all"],
        vec!["start", "mian"],
        vec!["stop", "main", "--reason", " "],
        vec!["stop", "--reason", "x"],
    ] {
        said += &format!("$ {}\n{}", words.join(" "), scene.ask(&words).await);
    }
    looks_like!(scene, "cli_stop", said);
}
