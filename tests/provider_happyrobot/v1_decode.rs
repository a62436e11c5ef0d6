//! Call objects and hooks of v1.

use outdial::config::HappyRobotApi;
use outdial::domain::outcome::Outcome;
use outdial::domain::report::{AnsweredBy, CallReport, Phase, Source};
use outdial::port::provider::Provider;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::support::{CALL, account, assistant, at, attempt, call_id, decoded, fixture, phone};

fn decode(source: Source, body: &str) -> CallReport {
    decoded(&provider(), source, body)
}

fn provider() -> outdial::adapter::provider::AnyProvider {
    let api = HappyRobotApi::V1 { call: Box::default(), call_path: None, cancel_path: None };
    account("http://127.0.0.1:9/api/v1", api, vec![assistant("as-1")])
}

fn entry(index: usize) -> String {
    let page: Value = serde_json::from_str(&fixture("calls_page.json")).expect("JSON");
    page["calls"][index].to_string()
}

#[test]
fn a_call_carries_our_token_where_free_data_comes_back() {
    let report = decode(Source::Call, &entry(0));
    assert_eq!(report.call_id, Some(call_id(CALL)));
    assert_eq!(report.token, Some(attempt().to_string()));
    assert_eq!(report.phone, Some(phone()));
    assert_eq!((report.phase, report.status.as_str()), (Phase::AnsweredOver, "Completed"));
    assert_eq!(report.answered_by, None, "nothing says who answered");
    assert_eq!(report.duration_seconds, Some(64));
    assert_eq!(report.created_at, Some(at("2026-03-02T09:00:05Z")));
    let learnt = json!({"classification": "interested", "appointment_booked": true, "slot": "Tuesday"});
    assert_eq!(Value::Object(report.extracted), learnt);
}

#[test]
fn a_call_that_answering_machine_detection_ended_reached_a_machine() {
    let report = decode(Source::Call, &entry(1));
    assert_eq!((report.phase, report.answered_by), (Phase::AnsweredOver, Some(AnsweredBy::Machine)));
    assert_eq!(report.token, None);
}

#[test]
fn the_older_vocabulary_is_read_as_well() {
    let report = decode(Source::Call, &fixture("call_old_vocabulary.json"));
    assert_eq!((report.phase, report.status.as_str()), (Phase::AnsweredOver, "Ended"));
    assert_eq!(report.phone, Some(phone()), "a number without its plus is read");
    assert_eq!(report.token, Some(attempt().to_string()), "params come back too");
    assert_eq!(Value::Object(report.extracted), json!({"Is the load still available?": "yes"}));
}

#[test]
fn the_answer_to_a_request_has_no_status_and_is_no_report() {
    let problem = provider().decode(Source::Call, fixture("dial_outbound_200.json").as_bytes()).expect_err("no status");
    assert_eq!(problem.field, "status");
}

#[test]
fn hooks_hold_the_call() {
    let start = decode(Source::Webhook, &fixture("hook_start.json"));
    assert_eq!((start.source, start.phase), (Source::Webhook, Phase::Live));
    assert_eq!(start.call_id, Some(call_id(CALL)));
    let end = decode(Source::Webhook, &fixture("hook_end.json"));
    assert_eq!(end.phase, Phase::NotReached(Outcome::NoAnswer));
    assert_eq!((end.call_id, end.token), (Some(call_id(CALL)), Some(attempt().to_string())));
}

#[test]
fn a_hook_that_says_the_end_without_saying_how_wakes_a_read() {
    for call in [r#"{"id":"c-1"}"#, r#"{"id":"c-1","status":"In progress"}"#, r#"{"id":"c-1","status":"Queued"}"#] {
        let report = decode(Source::Webhook, &format!(r#"{{"type":"end","call":{call}}}"#));
        assert_eq!(report.phase, Phase::PartOver, "{call}");
    }
    assert_eq!(decode(Source::Webhook, r#"{"type":"start","call":{"id":"c-1"}}"#).phase, Phase::Live);
}

#[test]
fn unknown_words_are_kept_and_end_nothing() {
    let report = decode(Source::Call, r#"{"id":"c-1","status":"On hold"}"#);
    assert_eq!((report.phase, report.status.as_str()), (Phase::Unrecognised, "On hold"));
}

#[test]
fn of_an_inbound_call_nobody_was_rung() {
    let body = entry(0).replace("Outbound", "Inbound");
    assert_eq!(decode(Source::Call, &body).phone, None);
}

#[test]
fn what_is_not_documented_is_quarantined() {
    for body in ["", "[]", "{}", r#"{"call":7}"#, r#"{"type":"pause","call":{"id":"c-1"}}"#] {
        assert!(provider().decode(Source::Webhook, body.as_bytes()).is_err(), "{body}");
    }
}

/// The examples of the page, byte for byte: an editor that tidies them up would take their quirks away.
#[test]
fn the_documented_examples_are_as_they_were_printed() {
    for (name, digest) in [
        ("dial_outbound_request.json", "c6fb9037978450f540a8183f2e86215d82cb6f2c6482381c9dff1a577f806d0e"),
        ("dial_outbound_200.json", "694504a2a6fc628589aae70fa8b694424a4fd15796e4106978ced80dede18e11"),
    ] {
        let found: String = Sha256::digest(fixture(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name}");
    }
}
