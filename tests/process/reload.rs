//! A configuration that changes under a daemon at work: what may change does within a second of being told, nothing is
//! dropped, nobody is rung twice, and a mistake changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use outdial::adapter::clock::ScaledClock;
use serde_json::{Value, json};

use super::support::daemon::Log;
use super::support::judge::{Evidence, misplaced};
use super::support::world::{ACCOUNT, Stage, WEBHOOK_TOKEN, World, dialing_many, eventually, many_leads, merge};

const PATIENCE: Duration = Duration::from_secs(90);
/// The files are looked at every two seconds, and twice before it counts.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// One call a second, in a time that is not scaled. The daemon checks its own promises all the time.
fn stage() -> Stage {
    let mut stage = Stage { factor: 1, ..Stage::busy() };
    merge(&mut stage.account, json!({"limits": {"calls_per_second": 20, "calls_per_minute": 60}}));
    merge(&mut stage.daemon, json!({"audit_every": "1s"}));
    stage
}

/// A folder as the kubelet mounts a ConfigMap: each file is a link through `..data`, which links to one version of all.
struct Mount {
    folder: PathBuf,
    versions: u32,
}

impl Mount {
    fn new(folder: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir(&folder).unwrap();
        let mut mount = Self { folder, versions: 0 };
        mount.switch(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mount.folder.join(name)).unwrap();
        }
        mount
    }

    /// All files of another version, at one stroke; the version before is gone.
    fn switch(&mut self, files: &[(&str, &str)]) {
        let version = |number: u32| format!("..2026_03_02_{number}");
        self.versions += 1;
        let (name, link) = (version(self.versions), self.folder.join("..data_tmp"));
        fs::create_dir(self.folder.join(&name)).unwrap();
        for (file, text) in files {
            fs::write(self.folder.join(&name).join(file), text).unwrap();
        }
        symlink(&name, &link).unwrap();
        fs::rename(&link, self.folder.join("..data")).unwrap();
        let old = self.folder.join(version(self.versions - 1));
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

/// Waits for a line of the log, and tells when it was written, real time.
async fn told(world: &World, level: &str, words: &str) -> Timestamp {
    let line = eventually(words, NOTICED_WITHIN, || async {
        let messages = world.log().messages(level);
        messages.into_iter().rev().find(|line| line.contains(words)).ok_or_else(|| "it is not told".to_owned())
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    line["timestamp"].as_str().unwrap().parse().unwrap()
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

/// How far apart the closest two are.
fn closest(sent: &[Timestamp]) -> SignedDuration {
    sent.windows(2).map(|pair| pair[1].duration_since(pair[0])).min().expect("two calls at least")
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

fn per_minute(world: &mut World, calls: u32) -> String {
    world.config["accounts"][ACCOUNT]["limits"]["calls_per_minute"] = json!(calls);
    world.config.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_change_under_load_and_a_mistake_changes_nothing() {
    const LEADS: usize = 300;
    let mut world = many_leads(stage(), LEADS).await;
    let account = world.config["accounts"][ACCOUNT].as_object_mut().unwrap();
    let key = account.remove("api_key").unwrap();
    account.insert("api_key_file".to_owned(), json!("api-key"));
    let key = key.as_str().unwrap();
    let start = world.config.to_string();
    let mut mount = Mount::new(world.folder().join("mounted"), &[("outdial.yaml", &start), ("api-key", key)]);
    world.start_at(&mount.folder.clone()).await;
    further_calls(&world, 3).await;

    // Faster, by signal.
    let faster = per_minute(&mut world, 600);
    mount.switch(&[("outdial.yaml", &faster), ("api-key", key)]);
    let asked_at = world.clock.real_now();
    world.signal(Signal::SIGHUP);
    let told_at = told(&world, "INFO", "limits.calls_per_minute is 600, it was 60").await;
    further_calls(&world, 40).await;
    let (asked_at, told_at) = (civil(world.clock, asked_at), civil(world.clock, told_at));
    let before = sent(&world, Timestamp::MIN, asked_at).await;
    assert!(closest(&before) >= SECOND, "the old rate holds until the change: {before:?}");
    let at_once = sent(&world, told_at, asked_at + SECOND).await;
    assert!(at_once.len() >= 2, "within a second of the signal calls leave at the new rate: {at_once:?}");
    let after = sent(&world, told_at, Timestamp::MAX).await;
    assert!(closest(&after) >= SECOND / 10, "the new rate has no burst: {after:?}");
    assert!(after[20].duration_since(after[0]) < SECOND * 15, "the old rate goes on: {after:?}");
    let seam = sent(&world, told_at - SECOND * 2, told_at + SECOND).await;
    assert!(closest(&seam) >= SECOND / 10, "nor has the change itself: {seam:?}");
    println!(
        "From SIGHUP to the log line {}, to the first call at the new rate {}, {} calls within a second; closest {}",
        told_at.duration_since(asked_at),
        at_once[0].duration_since(asked_at),
        at_once.len(),
        closest(&after),
    );

    // Again and again, and nothing has changed: no fresh burst, nothing dropped.
    for _ in 0..20 {
        world.signal(Signal::SIGHUP);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    further_calls(&world, 5).await;
    let after = sent(&world, told_at, Timestamp::MAX).await;
    assert!(closest(&after) >= SECOND / 10, "a reload is no burst: {after:?}");

    // A mistake in one place, a change in another: neither is taken over, by whichever way the daemon hears of it.
    let good = world.config.clone();
    world.config["person"]["calls_per_days"] = json!(1);
    world.config["log"]["level"] = json!("debug");
    let bad = per_minute(&mut world, 0);
    mount.switch(&[("outdial.yaml", &bad), ("api-key", key)]);
    let refusals = || {
        let errors = world.log().messages("ERROR").into_iter();
        errors.filter(|line| line.contains("the one from before stays in force")).collect::<Vec<_>>()
    };
    let patience = NOTICED_WITHIN;
    eventually("the mistake is told", patience, async || refusals().pop().ok_or_else(|| "nothing is told".to_owned()))
        .await;
    further_calls(&world, 30).await;
    assert_eq!(refusals().len(), 1, "told once");
    world.signal(Signal::SIGHUP);
    eventually("who asks is told again", patience, async || {
        if refusals().len() == 2 { Ok(()) } else { Err(format!("{:#?}", refusals())) }
    })
    .await;
    let refused = refusals();
    let says = |words: &str| refused.iter().all(|line| line.contains(words));
    assert!(says("limits.calls_per_minute") && says("must be at least 1") && says("calls_per_days"), "{refused:#?}");
    assert!(says("mounted/outdial.yaml:1:") && says("2 problems; nothing was changed"), "{refused:#?}");
    assert_eq!(world.log().messages("DEBUG"), Vec::<String>::new(), "nothing of a bad file counts");

    // Slower, and nobody says so: the files alone.
    world.config = good;
    let slower = per_minute(&mut world, 120);
    let switched_at = world.clock.real_now();
    mount.switch(&[("outdial.yaml", &slower), ("api-key", key)]);
    let told_at = told(&world, "INFO", "limits.calls_per_minute is 120, it was 600").await;
    println!("From the switched link to the log line {}", told_at.duration_since(switched_at));
    let slower_at = civil(world.clock, told_at);
    further_calls(&world, 6).await;
    let after = sent(&world, slower_at, Timestamp::MAX).await;
    assert!(closest(&after) >= SECOND / 2, "the new rate holds from its first start on: {after:?}");

    // As fast as it goes, to the end.
    let fast = per_minute(&mut world, 1_200);
    mount.switch(&[("outdial.yaml", &fast), ("api-key", key)]);
    eventually("all leads are disposed of", PATIENCE, || async {
        let left: i64 =
            world.database.value("select (select count(*) from due) + (select count(*) from open_attempt)").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} leads are left")) }
    })
    .await;
    world.stop().await;
    let mut evidence = Evidence::of(&world).await;
    evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    let rung = evidence.attempts.iter().filter(|attempt| attempt.rang()).count();
    // The provider refuses some numbers, as it always does.
    let refused_numbers =
        evidence.attempts.iter().filter(|attempt| attempt.outcome.as_deref() == Some("rejected")).count();
    println!("{LEADS} leads: {rung} rang, {refused_numbers} numbers were refused; {} calls", evidence.calls.len());
    assert_eq!((rung + refused_numbers, evidence.calls.len()), (LEADS, rung), "each lead is rung, and once");
    assert!(refused_numbers * 20 < LEADS, "{refused_numbers} numbers are refused");
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), refused, "nothing else is wrong, by the daemon's own audit neither");
    world.strike().await;
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
    world.write_config();
    world.signal(Signal::SIGHUP);
    told(&world, "WARN", "need a restart: accounts.second, http.body_max").await;
    // A new version walks its lists again, which only this level tells.
    world.database.execute("update campaign set definition = definition || '{\"finish_when_done\": false}'").await;
    told(&world, "DEBUG", "Walked a page").await;
    assert_eq!((post(&world, WEBHOOK_TOKEN).await, post(&world, "another-token-for-it").await), (404, 200));
    let changed = world.log().messages("INFO").into_iter().filter(|line| line.contains("Configuration: "));
    let changed: Vec<String> = changed.collect();
    assert_eq!(changed.len(), 5, "one line for each change, and their sum: {changed:#?}");
    assert!(changed.iter().all(|line| !line.contains("token-for")), "{changed:#?}");
    assert_eq!(count(world.log(), "INFO", "webhook_token is sha256:"), 1, "{changed:#?}");
    assert_eq!(count(world.log(), "INFO", "http.body_max is 2MiB, it will be 1MiB after a restart"), 1, "{changed:#?}");
    assert_eq!(count(world.log(), "INFO", "taken over: 2, waiting for a restart: 2"), 1, "{changed:#?}");

    // A key that the provider refuses stops the account; the right one lets it go on, without a restart.
    world.config["accounts"][ACCOUNT]["api_key"] = json!("a-wrong-key");
    world.write_config();
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
    world.write_config();
    world.signal(Signal::SIGHUP);
    further_calls(&world, 3).await;
    assert!(world.log().lines().iter().all(|line| !line.contains("a-wrong-key") && !line.contains("simulated-key")));
    world.stop().await;
    Evidence::of(&world).await.nobody_twice().each_call_has_its_attempt().verdict();
    world.strike().await;
}
