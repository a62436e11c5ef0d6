//! `check --print`, and what a running daemon takes over: every key, its value and its origin, and no secret.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use outdial::cli::check::print::print;
use outdial::config::{self, Applies, Config, Origins, Sources, parse_yaml};
use outdial::domain::document::Report;
use serde_json::{Value, json};

#[path = "support/mutations.rs"]
mod mutations;

use mutations::{loadable, mutations};

fn loaded(files: &[(&str, &str)], environment: &[(&str, &str)]) -> (String, Config, Origins) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let yaml = files.iter().filter(|(name, _)| name.ends_with(".yaml"));
    let sources = Sources {
        paths: yaml.map(|(name, _)| folder.path().join(name)).collect(),
        environment: environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
        state_dir: Some(PathBuf::from("/state")),
    };
    let (config, origins) = config::load_with_origins(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    (format!("{}/", folder.path().display()), config, origins)
}

fn printed(files: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    let (folder, config, origins) = loaded(files, environment);
    let mut out = Vec::new();
    print(&config, &origins, &mut out).ok().unwrap();
    String::from_utf8(out).unwrap().replace(&folder, "")
}

#[test]
fn every_value_is_printed_with_its_origin_and_no_secret() {
    let printed = printed(
        &[
            (
                "10-base.yaml",
                "\
database: { url: \"postgres://outdial:hunter2@db/outdial\" }
accounts:
  main:
    provider: famulor
    api_key_file: main-key
    webhook_token: 0123456789abcdef0123
    limits: { calls_per_minute: 30, day: { zone: Europe/Berlin } }
  happy-v1:
    provider: happyrobot
    api: v1
    api_key: happy-secret-1
    webhook_token: 0123456789abcdef0124
    assistants: [{ id: \"7\", name: Sales, variables: { tone: warm }, call: { voice_id: v } }]
    call: { model: Fast, max_duration_mins: 10 }
",
            ),
            (
                "20-more.yaml",
                "\
accounts:
  happy-v2:
    provider: happyrobot
    api: v2
    api_key: happy-secret-2
    webhook_token: 0123456789abcdef0125
    phone_field: number
    assistants: [{ id: renewals, name: \"Renew: all\", active: false }]
person: { calls_per_day: null }
http: { public_url: \"https://dial.example.org\" }
log: { targets: { sqlx: debug, \"outdial::engine::poll\": trace } }
",
            ),
            ("main-key", "sk-from-a-file\n"),
        ],
        &[("OUTDIAL__LOG__LEVEL", "warn"), ("OUTDIAL__ACCOUNTS__MAIN__LIMITS__CONCURRENT_CALLS", "7")],
    );
    for secret in ["hunter2", "0123456789", "happy-secret", "sk-from-a-file", "warm"] {
        assert!(!printed.contains(secret), "{secret} is told:\n{printed}");
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("check_print", printed);
    });
}

#[test]
fn what_is_printed_is_a_configuration() {
    let printed = printed(&[("a.yaml", &loadable().to_string())], &[]);
    let report = Report::default();
    let node = parse_yaml(&printed, "printed", &report);
    report.finish(node).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
}

#[test]
fn no_key_is_left_out() {
    let good = loadable();
    let (_, config, _) = loaded(&[("a.yaml", &good.to_string())], &[]);
    let shown: BTreeSet<String> = config::settings(&config).iter().map(|setting| setting.path.join(".")).collect();
    let report = Report::default();
    let node = parse_yaml(&good.to_string(), "a.yaml", &report).unwrap();
    let known = config::known_keys(&node);
    assert!(known.len() > 80, "{} keys", known.len());
    for key in known {
        // A section is shown by its keys, a file by the secret in it, a list and options of calls on one line.
        let below = format!("{key}.");
        let above = |shown: &String| key.starts_with(&format!("{shown}.")) || key.starts_with(&format!("{shown}["));
        let is_shown = shown.contains(&key) || shown.iter().any(|shown| shown.starts_with(&below) || above(shown));
        let empty = key.ends_with("_file") || key.contains(".paths");
        assert!(is_shown || empty, "{key} is not shown");
    }
}

/// The keys in which a configuration differs from the good one, and when each would apply.
fn differences(changed: &Value) -> Option<Vec<(String, Applies)>> {
    let folder = tempfile::tempdir().unwrap();
    let load = |value: &Value| {
        let file = folder.path().join("a.yaml");
        fs::write(&file, value.to_string()).unwrap();
        config::load(&Sources { paths: vec![file], ..Sources::default() })
    };
    let before = load(&loadable()).unwrap_or_else(|problems| panic!("{problems}"));
    let after = load(changed).ok()?;
    let changes = config::changes(&before, &after);
    // What was taken over differs no more, and the rest still does.
    let next = config::taken_over(&before, &after);
    let left = config::changes(&next, &after);
    let later: Vec<_> = changes.iter().filter(|change| change.applies == Applies::AfterRestart).collect();
    assert_eq!(left.iter().collect::<Vec<_>>(), later);
    Some(changes.into_iter().map(|change| (change.key, change.applies)).collect())
}

#[test]
fn what_may_change_at_work_is_taken_over_and_the_rest_waits_for_a_restart() {
    let with = |pointer: &str, value: Value| {
        let mut config = loadable();
        *config.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there")) = value;
        differences(&config).unwrap_or_else(|| panic!("{pointer} is refused"))
    };
    let main = "/accounts/famulor-main";
    for (pointer, value) in [
        (format!("{main}/limits/calls_per_second"), json!(2)),
        (format!("{main}/limits/calls_per_minute"), json!(21)),
        (format!("{main}/limits/concurrent_calls"), json!(11)),
        (format!("{main}/limits/calls_per_day"), json!(11)),
        (format!("{main}/limits/day"), json!({"zone": "Europe/Berlin"})),
        (format!("{main}/limits/requests_per_minute"), json!(90)),
        (format!("{main}/limits/requests_burst/requests"), json!(10)),
        (format!("{main}/api_key"), json!("another")),
        (format!("{main}/webhook_token"), json!("another-webhook-token")),
        ("/person/calls_per_day".to_owned(), json!(null)),
        ("/person/min_gap_between_campaigns".to_owned(), json!("1h")),
        ("/log/level".to_owned(), json!("debug")),
        ("/log/targets/sqlx".to_owned(), json!("trace")),
        ("/retention/inbox_days".to_owned(), json!(20)),
    ] {
        let found = with(&pointer, value);
        assert!(
            !found.is_empty() && found.iter().all(|(_, applies)| *applies == Applies::AtOnce),
            "{pointer}: {found:?}"
        );
    }
    for (pointer, value) in [
        (format!("{main}/base_url"), json!("http://127.0.0.1:10/api")),
        (format!("{main}/provider"), json!("sondos")),
        (format!("{main}/ring_max"), json!("50s")),
        (format!("{main}/list_lag_max"), json!(null)),
        ("/accounts/happyrobot-v1/assistants/0/name".to_owned(), json!("Else")),
        ("/database/connections".to_owned(), json!(5)),
        ("/http/listen".to_owned(), json!("127.0.0.1:1")),
        ("/log/format".to_owned(), json!("text")),
        ("/daemon/drain_max".to_owned(), json!("40s")),
        ("/clock/factor".to_owned(), json!(2)),
    ] {
        let found = with(&pointer, value);
        assert!(
            !found.is_empty() && found.iter().all(|(_, applies)| *applies == Applies::AfterRestart),
            "{pointer}: {found:?}"
        );
    }
}

#[test]
fn a_key_for_another_service_is_not_shown_to_this_one() {
    let mut config = loadable();
    config["accounts"]["famulor-main"]["base_url"] = json!("http://127.0.0.1:10/api");
    config["accounts"]["famulor-main"]["api_key"] = json!("for-the-other-one");
    let found = differences(&config).unwrap();
    let later = |key: &str| (format!("accounts.famulor-main.{key}"), Applies::AfterRestart);
    assert_eq!(found, [later("base_url"), later("api_key")]);
}

#[test]
fn an_account_that_comes_or_goes_is_one_change() {
    let mut config = loadable();
    let account = config["accounts"].as_object_mut().unwrap().remove("happyrobot-v2").unwrap();
    assert_eq!(differences(&config).unwrap(), [("accounts.happyrobot-v2".to_owned(), Applies::AfterRestart)]);
    config["accounts"]["new"] = account;
    let found = differences(&config).unwrap();
    let expected = ["accounts.new", "accounts.happyrobot-v2"].map(|key| (key.to_owned(), Applies::AfterRestart));
    assert_eq!(found, expected);
}

#[test]
fn every_change_is_noticed_or_says_the_same() {
    // Each value in turn set to another one: what is accepted is either a change or the same in other words.
    let good = loadable();
    let (_, mut before, _) = loaded(&[("a.yaml", &good.to_string())], &[]);
    // Who says so is no part of what is said.
    let forget = |config: &mut Config| config.accounts.values_mut().for_each(|account| account.limit_origins.clear());
    forget(&mut before);
    let (mut noticed, mut same) = (0, 0);
    for mutated in mutations(&good).into_iter().step_by(3) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, mutated.to_string()).unwrap();
        let sources = Sources { paths: vec![file], state_dir: Some("/state".into()), ..Sources::default() };
        let Ok(mut after) = config::load(&sources) else { continue };
        forget(&mut after);
        let differs = format!("{before:?}") != format!("{after:?}");
        let changes = config::changes(&before, &after);
        assert_eq!(differs, !changes.is_empty(), "{changes:?} of {mutated}");
        *if differs { &mut noticed } else { &mut same } += 1;
    }
    assert!(noticed > 20, "{noticed} noticed, {same} the same");
}
