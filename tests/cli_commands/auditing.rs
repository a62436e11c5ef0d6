//! What an audit says.

use std::process::ExitCode;

use clap::Parser;
use outdial::cli::{Cli, Command, obey};
use serde_json::Value;
use sqlx::PgPool;

use super::scene::{Scene, regex_of};
use crate::looks_like;

/// How long it took differs from run to run, and so does the width of its column.
fn untimed(text: &str) -> String {
    let untimed = |line: &str| match line.trim_end().rsplit_once(' ') {
        Some((rest, "ms")) => format!("{} ms\n", rest.trim_end()),
        Some((rest, ms)) if line.starts_with(' ') && ms.replace(',', "").parse::<u32>().is_ok() => {
            format!("{} …\n", rest.trim_end())
        }
        None if line.starts_with('─') => "───\n".to_owned(),
        _ => format!("{line}\n"),
    };
    text.lines().map(untimed).collect()
}

#[sqlx::test]
async fn an_audit_shows_what_holds_and_what_does_not(pool: PgPool) {
    let scene = Scene::with_campaign(pool).await;
    let sound = scene.ask(&["audit"]).await;
    scene.open(1, "held").await;
    scene.open(2, "placed").await;
    for statement in [
        "update attempt set sent_at = null, evidence = '' where lead_id = 1",
        "update attempt set evidence = 'Mon 2026-03-02 09:50 in Europe/Berlin, window 10:00-12:00, legal 09:00-20:00; tzdb 2026a'
         where lead_id = 2",
        "delete from due where lead_id = 3",
        "insert into due select 1, calling_group_id, 5, '2026-03-03', 1, 2, 1, phone from open_attempt where lead_id = 1",
    ] {
        sqlx::query(statement).execute(&scene.desk.pool).await.unwrap();
    }
    let unsound = scene.ask(&["audit"]).await;
    let said = format!("{}$ audit\n{}", untimed(&sound), untimed(&unsound));
    looks_like!(scene, "cli_audit", said);

    // Not by `ask`, which holds every line to the width of a table.
    let words = ["outdial", "audit", "--since", "1h", "--output", "json"];
    let Command::Desk(command) = Cli::try_parse_from(words).unwrap().command else { panic!("it is asked at a desk") };
    let mut json = Vec::new();
    assert_eq!(Box::pin(obey(&command, &scene.desk, &mut json)).await.unwrap(), ExitCode::from(1));
    let json: Value = serde_json::from_slice(&json).unwrap();
    let checks = json["checks"].as_array().unwrap();
    let places = checks.iter().find(|check| check["check"] == "places").unwrap();
    assert_eq!((&places["invariant"], &places["violations"]), (&7.into(), &1.into()));
    assert_eq!(places["rows"][0]["detail"], "due and open");
    assert!(!json.to_string().contains("+493012345"), "numbers are masked");
}
