//! What a busy hour tells: the log answers an operator's questions as the database does, and the page of metrics agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use outdial::adapter::simulator::SimulatorOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::world::{ACCOUNT, Lead, Stage, WEBHOOK_TOKEN, World, eventually};

/// A civil hour takes 40 seconds.
const FACTOR: u32 = 90;
const LEADS: usize = 400;

fn leads(from: usize, count: usize) -> Vec<Lead> {
    let lead = |number| Lead { phone: format!("+493055{number:06}"), time_zone: Some("Europe/London"), priority: 5 };
    (from..from + count).map(lead).collect()
}

fn campaign(account: &str, list: &str, windows: &str) -> Value {
    json!({
        "account": account, "lead_lists": [list],
        "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": windows}},
        "retry": {"max_attempts": 2, "on": {"no_answer": {"after": "5m"}, "busy": {"after": "3m"}}},
    })
}

/// One campaign that dials, one whose window is closed, and one whose account is stopped.
async fn busy_hour() -> World {
    let mut world = World::set(Stage {
        factor: FACTOR,
        simulator: SimulatorOptions::default(),
        account: json!({
            "limits": {
                "calls_per_second": 1, "calls_per_minute": 12, "concurrent_calls": 60,
                "calls_per_day": 100_000, "requests_per_minute": 6_000,
            },
        }),
        ..Stage::busy()
    })
    .await;
    world.add_account("idle", SimulatorOptions::default(), json!({})).await;
    world.config["http"]["metrics_listen"] = json!("127.0.0.1:0");
    world.config["metrics"] = json!({"per_campaign": true});
    world.add_leads("people", &leads(0, LEADS)).await;
    world.add_leads("evening", &leads(1_000, 7)).await;
    world.add_leads("others", &leads(2_000, 5)).await;
    let names = format!("update lead set name = '{}', variables = '{{\"reason\": \"{}\"}}'", PRIVATE[0], PRIVATE[1]);
    world.database.execute(&names).await;
    // Nothing is kept back: what no line may hold is in no line of any level.
    world.config["log"]["level"] = json!("trace");
    world.add_campaign("calls", &campaign(ACCOUNT, "people", "09:00-18:00")).await;
    world.add_campaign("evening", &campaign(ACCOUNT, "evening", "18:00-19:00")).await;
    world.add_campaign("others", &campaign("idle", "others", "09:00-18:00")).await;
    world.database.execute("insert into stop_order (account, reason) values ('idle', 'holidays')").await;
    world.start().await;
    world
}

/// Every line, as an object; the log has no other.
fn events(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

/// What `docs/log-questions` answers, found out without it.
fn answers(events: &[Value]) -> Value {
    let ended: Vec<&Value> = events.iter().filter(|event| event["event"] == "attempt_finished").collect();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &ended {
        *outcomes.entry(event["outcome"].as_str().unwrap()).or_default() += 1;
    }
    let last = |kind: &str, key: &str| -> BTreeMap<String, &Value> {
        let of_kind = events.iter().filter(|event| event["event"] == kind);
        of_kind.map(|event| (event[key].to_string(), event)).collect()
    };
    let stuck: Vec<Value> = last("campaign_summary", "campaign.id")
        .values()
        .filter(|event| event["due"].as_u64().unwrap() > 0 && !event["idle.reason"].is_null())
        .map(|event| {
            json!({
                "campaign": event["campaign.name"], "due": event["due"],
                "reason": event["idle.reason"], "why": event["idle.why"],
            })
        })
        .collect();
    let limited: Vec<Value> = last("account_summary", "provider.account")
        .values()
        .filter(|event| !event["limited.reason"].is_null())
        .map(|event| {
            json!({
                "account": event["provider.account"], "reason": event["limited.reason"], "why": event["limited.why"],
            })
        })
        .collect();
    let calls = ended.iter().filter(|event| !event["sent_at"].is_null()).count();
    json!({"calls": calls, "attempts": ended.len(), "outcomes": outcomes, "stuck": stuck, "limited": limited})
}

/// The same by the script; `None` where jq is not installed.
fn answers_of_script(lines: &[String]) -> Option<Value> {
    let has_jq = Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_ok_and(|it| it.success());
    if !has_jq {
        eprintln!("jq is not installed: docs/log-questions was not run");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/log-questions");
    let mut child = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = lines.join("\n");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let mut all = json!({});
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        super::support::world::merge(&mut all, serde_json::from_str(line).unwrap());
    }
    Some(all)
}

async fn page(events: &[Value]) -> String {
    let said = events.iter().find_map(|event| event["message"].as_str()?.strip_prefix("Metrics are at http://"));
    let address = said.and_then(|said| said.strip_suffix("/metrics")).expect("the page has an address");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// The value of a series, its labels in the page's own order.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// What promtool thinks of the page, where it is installed.
fn check_by_promtool(page: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("promtool is not installed: the page was not checked by it");
        return;
    };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_busy_hour_answers_what_the_database_answers() {
    let mut world = busy_hour().await;
    let ref_world = &world;
    eventually("the leads are called", Duration::from_secs(150), || async {
        let sql =
            "select count(*) from due where campaign_id = (select campaign_id from campaign where name = 'calls')";
        let due: i64 = ref_world.database.value(sql).await;
        let open: i64 = ref_world.database.value("select count(*) from open_attempt").await;
        let finished: i64 = ref_world.database.value("select count(*) from attempt where outcome is not null").await;
        // Before the leads are enrolled, nothing is due either.
        let is_over = due + open == 0 && usize::try_from(finished).unwrap() >= LEADS;
        if is_over { Ok(()) } else { Err(format!("{finished} are over, {due} are due and {open} calls open")) }
    })
    .await;
    // Numbers from the database are a few seconds old; the calls are over.
    let page = eventually("the page shows all of it", Duration::from_secs(20), || async {
        let page = page(&events(&ref_world.lines())).await;
        let lines = value(&page, "outdial_open_attempts{account=\"main\",state=\"placed\"}");
        let window = value(&page, "outdial_backlog_leads{account=\"main\",reason=\"window\"}");
        if (lines, window) == (Some(0.0), Some(7.0)) { Ok(page) } else { Err(format!("{lines:?} {window:?}")) }
    })
    .await;
    world.stop().await;
    let lines = world.lines();
    let events = events(&lines);

    let calls: i64 = world.database.value("select count(*) from attempt where sent_at is not null").await;
    let attempts: i64 = world.database.value("select count(*) from attempt").await;
    let by_outcome: Value = world
        .database
        .value("select jsonb_object_agg(outcome, n) from (select outcome, count(*) as n from attempt group by 1) o")
        .await;
    assert!(calls as usize >= LEADS, "{calls} calls");
    let answers = answers(&events);
    assert_eq!(answers["calls"], calls);
    assert_eq!(answers["attempts"], attempts);
    assert_eq!(answers["outcomes"], by_outcome);
    let stuck = answers["stuck"].as_array().unwrap();
    let stuck: BTreeSet<_> =
        stuck.iter().map(|it| (it["campaign"].as_str().unwrap(), it["reason"].as_str().unwrap())).collect();
    assert_eq!(stuck, BTreeSet::from([("evening", "window"), ("others", "stopped")]));
    let limited = answers["limited"].as_array().unwrap();
    let idle = limited.iter().find(|it| it["account"] == "idle").expect("the stopped account is limited");
    assert_eq!((idle["reason"].as_str(), idle["why"].as_str()), (Some("stopped"), Some("it is stopped: holidays")));
    if let Some(of_script) = answers_of_script(&lines) {
        assert_eq!(of_script, answers);
    }

    // The summaries add up to the same.
    let summaries: Vec<&Value> = events.iter().filter(|event| event["event"] == "campaign_summary").collect();
    let sum = |field: &str| summaries.iter().map(|event| event[field].as_i64().unwrap()).sum::<i64>();
    assert_eq!(sum("starts"), calls);
    for (outcome, count) in by_outcome.as_object().unwrap() {
        assert_eq!(sum(outcome), count.as_i64().unwrap(), "{outcome}");
    }
    let most = summaries.iter().filter(|event| event["campaign.name"] == "calls").count();
    assert!((10..=90).contains(&most), "{most} summaries of a busy hour");

    // And so does the page.
    assert_eq!(value(&page, "outdial_starts_total{account=\"main\"}"), Some(calls as f64));
    for (outcome, count) in by_outcome.as_object().unwrap() {
        let series = format!("outdial_attempts_finished_total{{account=\"main\",outcome=\"{outcome}\"}}");
        assert_eq!(value(&page, &series), count.as_f64(), "{series}");
    }
    assert_eq!(value(&page, "outdial_start_lateness_seconds_count{account=\"main\"}"), Some(calls as f64));
    assert_eq!(value(&page, "outdial_campaign_starts_total{campaign=\"calls\"}"), Some(calls as f64));
    assert_eq!(value(&page, "outdial_lease_held{account=\"main\"}"), Some(1.0));
    assert_eq!(value(&page, "outdial_lines_limit{account=\"main\"}"), Some(60.0));
    assert_eq!(value(&page, "outdial_account_stopped{account=\"idle\",reason=\"order\"}"), Some(1.0));
    assert_eq!(value(&page, "outdial_backlog_leads{account=\"idle\",reason=\"account\"}"), Some(5.0));
    assert_eq!(value(&page, "outdial_database_up"), Some(1.0));
    let series = page.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{")).count();
    assert!(series < 500, "{series} series for two accounts");
    check_by_promtool(&page);

    nothing_personal(&lines);
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

/// What leads are told by, and what is said to them: it is for nobody's log.
const PRIVATE: [&str; 2] = ["Erika Musterfrau", "a-very-private-word"];

/// What no line may hold: a key, a token, anybody's number, name and variables, words of prompts and transcripts.
fn secrets() -> Vec<String> {
    let everybody = [leads(0, LEADS), leads(1_000, 7), leads(2_000, 5)].concat();
    let mut secrets: Vec<String> =
        everybody.iter().map(|lead| lead.phone.trim_start_matches("+49").to_owned()).collect();
    secrets.extend(["simulated-key", WEBHOOK_TOKEN].map(str::to_owned));
    secrets.extend(PRIVATE.map(str::to_owned));
    secrets.extend(SPOKEN.map(str::to_owned));
    secrets
}

/// Words of the simulator's assistants and calls, and where it keeps recordings.
const SPOKEN: [&str; 4] =
    ["do you have a minute", "ask for an appointment", "Thank you, goodbye", "recordings.example"];

/// The lines that hold one of these, or anything that looks like a whole number: a plus and seven digits.
fn personal<'a>(lines: &'a [String], secrets: &[String]) -> Vec<&'a String> {
    let number = |line: &str| {
        line.split('+')
            .skip(1)
            .any(|rest| rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b' ').count() > 6)
    };
    lines.iter().filter(|line| number(line) || secrets.iter().any(|secret| line.contains(secret.as_str()))).collect()
}

fn nothing_personal(lines: &[String]) {
    let found = personal(lines, &secrets());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_is_personal_is_found() {
    let lines = [
        r#"{"phone":"+49*****20","sent_at":"2026-03-02T14:30:00.123456789Z","attempt.id":"00000001-0000-8000-8000-0400110c6025"}"#,
        r#"{"message":"dialing +4930550001"}"#,
        r#"{"message":"dialing +49 30 55 00 01"}"#,
        r#"{"message":"dialing 493055000001"}"#,
        r#"{"error":"HTTP 401 for key simulated-key"}"#,
        r#"{"error":"cannot read {\"reason\": \"a-very-private-word\"}"}"#,
        r#"{"message":"said: Good day, do you have a minute?"}"#,
    ]
    .map(str::to_owned);
    assert_eq!(personal(&lines, &secrets()), lines[1..].iter().collect::<Vec<_>>());
}
