//! `check` against the provider simulator, and a test call through a running engine.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::postgres::PostgresStore;
use outdial::adapter::simulator::{Fate, OutcomeMix, Simulator, SimulatorOptions};
use outdial::cli::check::check;
use outdial::cli::desk::Desk;
use outdial::cli::wire::Driver;
use sqlx::{ConnectOptions, PgPool};

use super::scene::{self, CONFIG, NOW, Scene, regex_of};
use crate::looks_like;

async fn checked(scene: &Scene, config: &str, base_url: &str, show: bool) -> String {
    let url = scene.desk.pool.connect_options().to_url_lossy();
    let text =
        config.replace("BASE_URL", &format!("{base_url:?}")).replace("postgres://localhost/unused", url.as_str());
    let config = scene::config(&text);
    let mut out = Vec::new();
    let code = check(&config, show, &mut out).await.ok().unwrap();
    let text = String::from_utf8(out).unwrap();
    let number = [0, 1, 2].into_iter().find(|number| code == ExitCode::from(*number)).unwrap();
    let kept: String =
        text.lines().filter(|line| !line.starts_with("  database:")).map(|line| format!("{line}\n")).collect();
    format!("{}(exit {number})\n", kept.replace(base_url, "BASE_URL"))
}

#[sqlx::test]
async fn check_looks_at_everything_before_it_ends(pool: PgPool) {
    let simulator = Simulator::start(SimulatorOptions::default()).await.ok().unwrap();
    let scene = Scene::with_provider(pool, &simulator.base_url).await;
    let one =
        CONFIG.split("  spare:").next().unwrap().to_owned() + "http: { public_url: \"https://dial.example.org\" }\n";
    let mut said = checked(&scene, &one, &simulator.base_url, true).await;
    // The second account does not answer, and the first one's key is wrong.
    said += "\n=====\n";
    said += &checked(&scene, &CONFIG.replace("simulated-key", "wrong-key"), &simulator.base_url, false).await;
    simulator.shutdown().await;
    looks_like!(scene, "cli_check", said);
}

#[sqlx::test]
async fn a_test_call_goes_through_all_gates(pool: PgPool) {
    let origin: Timestamp = NOW.parse().unwrap();
    let clock = ScaledClock::starting_at(origin, 60).unwrap();
    let mix = OutcomeMix::only(Fate::GoalMet);
    let simulator =
        Simulator::start(SimulatorOptions { clock, mix, ..SimulatorOptions::default() }).await.ok().unwrap();
    let Scene { desk, folder, store } = Scene::with_provider(pool, &simulator.base_url).await;
    let desk = Desk { clock, now: clock.now(), ..desk };
    let refused = scene::ask(&desk, &["call", "--to", "+49 30 1234501", "--account", "main"]).await;
    assert!(refused.contains("--zone Europe/Berlin") && refused.contains("(exit 2)"), "{refused}");
    let queued = ["call", "--to", "+49 30 1234501", "--account", "main", "--zone", "Europe/Berlin", "--no-wait"];
    let waiting = scene::ask(&desk, &queued).await;
    assert!(waiting.contains("no daemon dials account main") || waiting.contains("no active assistant"), "{waiting}");
    let engine = scene::engine(&desk, PostgresStore::clone(&store));
    let driver = Driver::start(&engine);
    let words = ["call", "--to", "+49 30 1234502", "--account", "main", "--zone", "Europe/Berlin", "--within", "6h"];
    let said = tokio::time::timeout(Duration::from_secs(60), scene::ask(&desk, &words)).await.unwrap();
    assert!(said.contains("Queued a test call to +49*****02") && said.contains("The call ended"), "{said}");
    assert!(said.contains("answered") && !said.contains("(exit"), "{said}");
    let night = ["call", "--to", "+49 30 1234503", "--account", "main", "--zone", "America/New_York", "--within", "2m"];
    let said = tokio::time::timeout(Duration::from_secs(60), scene::ask(&desk, &night)).await.unwrap();
    assert!(said.contains("did not go out") && said.contains("(exit 1)"), "{said}");
    driver.drain(&engine).await;
    simulator.shutdown().await;
    drop(folder);
}
