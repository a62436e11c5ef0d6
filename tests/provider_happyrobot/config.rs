//! What the configuration says about such accounts, and what it must not say about others.

use std::fs;

use outdial::config::{self, AccountConfig, HappyRobotApi, Sources};
use outdial::domain::call_options::CallOptions;
use outdial::domain::id::AccountName;

fn load(account: &str) -> Result<AccountConfig, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    fs::write(&file, format!("database: {{ url: embedded }}\naccounts:\n  main:\n{account}")).expect("written");
    let sources = Sources { paths: vec![file], environment: Vec::new(), state_dir: Some(folder.path().to_owned()) };
    let mut config = config::load(&sources).map_err(|problems| problems.to_string())?;
    Ok(config.accounts.remove(&AccountName::new("main")).expect("the account"))
}

#[track_caller]
fn refused(account: &str, expected: &str) {
    let problems = load(account).expect_err("refused");
    assert!(problems.contains(expected), "{problems}");
}

const V1: &str = "    provider: happyrobot
    api_key: k-1
    api: v1
    assistants:
      - { id: as-1, name: Sales, variables: { tone: warm }, call: { voice_id: v-1 } }
      - { id: 42, name: Resting, active: false }
";
const V2: &str = "    provider: happyrobot
    api_key: k-1
    api: v2
    phone_field: phone_number
    assistants: [{ id: renewals, name: Renewals }]
";

#[test]
fn both_versions_have_an_address_of_their_own() {
    let one = load(V1).expect("good");
    assert_eq!(one.base_url, "https://app.happyrobot.ai/api/v1");
    let config = one.happyrobot.expect("there");
    assert!(matches!(&config.api, HappyRobotApi::V1 { call_path: None, cancel_path: None, call } if call.is_empty()));
    let seen: Vec<_> = config.assistants.iter().map(|one| (one.assistant_id.as_str(), one.active)).collect();
    assert_eq!(seen, [("as-1", true), ("42", false)]);
    assert_eq!(config.assistants[0].call.voice_id.as_deref(), Some("v-1"));
    let two = load(V2).expect("good");
    assert_eq!(two.base_url, "https://platform.happyrobot.ai/api/v2");
    let europe = load(&format!("{V2}    base_url: https://platform.eu.happyrobot.ai/api/v2\n")).expect("good");
    assert_eq!(europe.base_url, "https://platform.eu.happyrobot.ai/api/v2");
}

#[test]
fn what_is_documented_nowhere_must_be_said() {
    refused(&V2.replace("    phone_field: phone_number\n", ""), "phone_field\n  is missing");
    refused(&V1.replace("    api: v1\n", ""), "api\n  is missing");
    refused("    provider: happyrobot\n    api_key: k-1\n    api: v1\n", "assistants\n  is missing");
    refused("    provider: happyrobot\n    api_key: k-1\n    api: v3\n    assistants: []\n", "possible: v1, v2");
}

#[test]
fn keys_of_one_kind_are_refused_under_another() {
    refused(&format!("{V2}    call: {{ voice_id: v }}\n"), "is only for api: v1");
    refused(&format!("{V2}    call_path: /calls/{{id}}\n"), "is only for api: v1");
    refused(&format!("{V1}    environment: staging\n"), "is only for api: v2");
    refused(&V2.replace("name: Renewals", "name: Renewals, call: { model: Fast }"), "is only for api: v1");
    for key in ["api: v1", "assistants: []", "call: {}", "phone_field: x", "cancel_path: /x/{id}"] {
        let account = format!("    provider: famulor\n    api_key: k-1\n    {key}\n");
        refused(&account, "is only for provider: happyrobot");
        assert!(!load(&account).expect_err("refused").contains("is not a known key"));
    }
}

#[test]
fn a_list_that_proves_nothing_has_no_lag() {
    refused(&format!("{V2}    list_lag_max: 2m\n"), "does nothing for api: v2");
    load(&format!("{V1}    list_lag_max: 2m\n")).expect("good");
}

#[test]
fn no_call_is_longer_than_its_line_is_held() {
    refused(&format!("{V1}    call: {{ max_duration_mins: 21 }}\n"), "max_duration_mins (21) is longer than call_max");
    load(&format!("{V1}    call: {{ max_duration_mins: 20 }}\n")).expect("good");
    refused(&V1.replace("voice_id: v-1", "max_duration_mins: 30"), "longer than call_max");
    let account = load(V1).expect("good");
    let asks = |mins| CallOptions { max_duration_mins: Some(mins), ..CallOptions::default() };
    assert!(account.call_options_problem(&asks(20)).is_none());
    assert!(account.call_options_problem(&asks(21)).is_some_and(|problem| problem.contains("call_max")));
}

#[test]
fn an_account_says_nothing_about_time() {
    refused(&format!("{V1}    call: {{ scheduled_for: at_departure }}\n"), "belongs to a campaign");
}

#[test]
fn fields_of_one_payload_have_different_names() {
    refused(&format!("{V2}    variables_field: phone_number\n"), "three different names");
    refused(&format!("{V2}    correlation_variable: phone_number\n"), "three different names");
}

#[test]
fn paths_and_ids_are_checked() {
    for path in ["calls/{id}", "/calls", "/calls/{id}/{id}", "/calls/{id}?x=1", "/../{id}", "/calls//{id}", "/c/{name}"]
    {
        refused(&format!("{V1}    call_path: \"{path}\"\n"), "is not the path of a call");
    }
    refused(&V2.replace("id: renewals", "id: a/b"), "neither the id nor the slug");
    refused(&V1.replace("id: 42", "id: as-1"), "has the id of another one");
}

#[test]
fn only_v1_takes_call_options() {
    let asks = CallOptions { voice_id: Some("v".to_owned()), ..CallOptions::default() };
    assert!(load(V1).expect("good").call_options_problem(&asks).is_none());
    let famulor = load("    provider: famulor\n    api_key: k-1\n").expect("good");
    for other in [load(V2).expect("good"), famulor] {
        assert!(other.call_options_problem(&asks).is_some_and(|problem| problem.contains("takes no call options")));
        assert!(other.call_options_problem(&CallOptions::default()).is_none());
    }
}
