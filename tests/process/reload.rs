//! A configuration that changes under a daemon at work: what may change does within a second of being told, nothing is
//! dropped, and a mistake changes nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use outdial::adapter::clock::ScaledClock;
use serde_json::{Value, json};

use super::support::daemon::Log;
use super::support::judge::{Evidence, misplaced};
use super::support::world::{ACCOUNT, Stage, WEBHOOK_TOKEN, World, dialing_many, eventually, merge};

const PATIENCE: Duration = Duration::from_secs(90);
/// The files are looked at every two seconds, and twice before it counts.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// One call a second, in a time that is not scaled.
fn stage() -> Stage {
    let mut stage = Stage { factor: 1, ..Stage::busy() };
    merge(&mut stage.account, json!({"limits": {"calls_per_second": 20, "calls_per_minute": 60}}));
    stage
}

/// Waits for a line of the log, and tells when it was written, civil.
async fn told(world: &World, level: &str, words: &str) -> Timestamp {
    let line = eventually(words, NOTICED_WITHIN, || async {
        let messages = world.log().messages(level);
        messages.into_iter().rev().find(|line| line.contains(words)).ok_or_else(|| "it is not told".to_owned())
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    civil(world.clock, line["timestamp"].as_str().unwrap().parse().unwrap())
}

fn civil(clock: ScaledClock, at: Timestamp) -> Timestamp {
    clock.civil_origin() + at.duration_since(clock.real_origin()) * i32::try_from(clock.factor()).unwrap()
}

/// When the calls of a span were sent.
async fn sent(world: &World, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let evidence = Evidence::of(world).await;
    let mut sent: Vec<Timestamp> = evidence.attempts.iter().filter_map(|attempt| attempt.sent_at()).collect();
    sent.retain(|at| (from..until).contains(at));
    sent.sort();
    sent
}

/// Waits until so many more calls are placed.
async fn further_calls(world: &World, count: usize) {
    let before = world.simulator.calls().len();
    eventually("calls go on", PATIENCE, || async {
        let calls = world.simulator.calls().len();
        if calls >= before + count { Ok(()) } else { Err(format!("{calls} calls, {before} before")) }
    })
    .await;
}

/// How many lines of a level contain these words.
fn count(log: &Log, level: &str, words: &str) -> usize {
    log.messages(level).iter().filter(|line| line.contains(words)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_change_under_load_and_a_mistake_changes_nothing() {
    const LEADS: usize = 250;
    let mut world = dialing_many(stage(), LEADS).await;
    further_calls(&world, 3).await;

    // Faster, by signal.
    world.config["accounts"][ACCOUNT]["limits"]["calls_per_minute"] = json!(600);
    world.config_file();
    world.signal(Signal::SIGHUP);
    let faster_at = told(&world, "INFO", "limits.calls_per_minute is 600, it was 60").await;
    further_calls(&world, 40).await;
    let second = SignedDuration::from_secs(1);
    let before = sent(&world, Timestamp::MIN, faster_at).await;
    let slow = before.windows(2).filter(|pair| pair[1].duration_since(pair[0]) < second);
    assert_eq!(slow.count(), 0, "the old rate holds until the change: {before:?}");
    let at_once = sent(&world, faster_at, faster_at + second).await;
    assert!(!at_once.is_empty(), "nothing left within a second of the change");
    let after = sent(&world, faster_at, Timestamp::MAX).await;
    let tenth = SignedDuration::from_millis(100);
    let bursts = after.windows(2).filter(|pair| pair[1].duration_since(pair[0]) < tenth);
    assert_eq!(bursts.count(), 0, "the new rate has no burst: {after:?}");
    assert!(after[20].duration_since(after[0]) < second * 15, "the old rate goes on: {after:?}");

    // A mistake in one place, a change in another: neither is taken over.
    let good = world.config.clone();
    world.config["accounts"][ACCOUNT]["limits"]["calls_per_minute"] = json!(0);
    world.config["person"]["calls_per_days"] = json!(1);
    world.config["log"]["level"] = json!("debug");
    world.config_file();
    let refused = || {
        let errors = world.log().messages("ERROR");
        errors.into_iter().find(|line| line.contains("the one from before stays"))
    };
    let refused = eventually("the mistake is told", NOTICED_WITHIN, || async {
        refused().ok_or_else(|| "nothing is told".to_owned())
    })
    .await;
    assert!(refused.contains("must be at least 1") && refused.contains("calls_per_days"), "{refused}");
    further_calls(&world, 30).await;
    assert_eq!(world.log().messages("DEBUG"), Vec::<String>::new(), "nothing of a bad file counts");
    assert_eq!(count(world.log(), "ERROR", "the one from before stays"), 1, "told once");

    // Slower, by a link that is switched, as Kubernetes does it with a mounted ConfigMap.
    world.config = good;
    world.config["accounts"][ACCOUNT]["limits"]["calls_per_minute"] = json!(120);
    switch(&world.config_file(), &world.config);
    let slower_at = told(&world, "INFO", "limits.calls_per_minute is 120, it was 600").await;
    further_calls(&world, 6).await;
    let after = sent(&world, slower_at, Timestamp::MAX).await;
    let early = after.windows(2).filter(|pair| pair[1].duration_since(pair[0]) < second / 2);
    assert_eq!(early.count(), 0, "the new rate holds from its first start on: {after:?}");

    // As fast as it goes, to the end.
    world.config["accounts"][ACCOUNT]["limits"]["calls_per_minute"] = json!(1_200);
    switch(&world.config_file(), &world.config);
    eventually("all leads are disposed of", PATIENCE, || async {
        let left: i64 =
            world.database.value("select (select count(*) from due) + (select count(*) from open_attempt)").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} leads are left")) }
    })
    .await;
    world.stop().await;
    let mut evidence = Evidence::of(&world).await;
    evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), [refused], "nothing else is wrong");
    world.strike().await;
}

/// Puts the file elsewhere and a link to it in its place, at one stroke.
fn switch(file: &Path, config: &Value) {
    let folder = file.parent().unwrap();
    let target = folder.join("..data.yaml");
    fs::write(&target, config.to_string()).unwrap();
    let link = folder.join("..link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    fs::rename(&link, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_tokens_and_levels_change_and_the_rest_is_named() {
    let mut world = dialing_many(stage(), 400).await;
    further_calls(&world, 2).await;
    let post = async |world: &World, token: &str| {
        let url = format!("http://{}/webhook/{ACCOUNT}/{token}", world.address());
        reqwest::Client::new().post(url).body("{}").send().await.unwrap().status().as_u16()
    };
    assert_eq!((post(&world, WEBHOOK_TOKEN).await, post(&world, "another-token-for-it").await), (200, 404));

    world.config["accounts"][ACCOUNT]["webhook_token"] = json!("another-token-for-it");
    world.config["log"]["targets"] = json!({"outdial::engine": "debug"});
    world.config["http"]["body_max"] = json!("1MiB");
    world.config["accounts"]["second"] =
        json!({"provider": "famulor", "api_key": "k-2", "webhook_token": "a-token-of-the-second"});
    world.config["accounts"]["second"]["base_url"] = json!("http://127.0.0.1:9/api");
    world.config_file();
    world.signal(Signal::SIGHUP);
    told(&world, "WARN", "need a restart: accounts.second, http.body_max").await;
    // A new version walks its lists again, which only this level tells.
    world.database.execute("update campaign set definition = definition || '{\"finish_when_done\": false}'").await;
    told(&world, "DEBUG", "Walked a page").await;
    assert_eq!((post(&world, WEBHOOK_TOKEN).await, post(&world, "another-token-for-it").await), (404, 200));
    let changed = world.log().messages("INFO").into_iter().filter(|line| line.contains("Configuration: "));
    let changed: Vec<String> = changed.collect();
    assert_eq!(changed.len(), 2, "one line for each change: {changed:#?}");
    assert!(changed.iter().all(|line| !line.contains("token-for")), "{changed:#?}");
    assert!(changed[0].contains("webhook_token is sha256:"), "{changed:#?}");

    // A key that the provider refuses stops the account; the right one lets it go on, without a restart.
    world.config["accounts"][ACCOUNT]["api_key"] = json!("a-wrong-key");
    world.config_file();
    world.signal(Signal::SIGHUP);
    told(&world, "INFO", "api_key is sha256:").await;
    let world_ref = &world;
    eventually("the account is stopped", PATIENCE, || async {
        let problem: Option<String> =
            world_ref.database.value("select max(problem) from account_state where account = 'main'").await;
        problem.map(|_| ()).ok_or_else(|| "no problem is known".to_owned())
    })
    .await;
    world.config["accounts"][ACCOUNT]["api_key"] = json!("simulated-key");
    world.config_file();
    world.signal(Signal::SIGHUP);
    further_calls(&world, 3).await;
    assert!(world.log().lines().iter().all(|line| !line.contains("a-wrong-key") && !line.contains("simulated-key")));
    world.stop().await;
    Evidence::of(&world).await.nobody_twice().each_call_has_its_attempt().verdict();
    world.strike().await;
}
