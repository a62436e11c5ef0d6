//! One test for each documented quirk of webhooks and call objects; sources in the fixtures' README.

use outdial::domain::outcome::Outcome;
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::{AnsweredBy, CallReport, Phase, Source};
use outdial::port::provider::Provider;
use serde_json::{Value, json};

use super::support::{PHONE, attempt, call_id, fixture, provider};

/// Decoding needs no server.
const NOWHERE: &str = "http://127.0.0.1:1/api";

fn decode(source: Source, name: &str) -> CallReport {
    provider(NOWHERE).decode(source, fixture(name).as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn decode_text(source: Source, text: &str) -> Result<CallReport, String> {
    provider(NOWHERE).decode(source, text.as_bytes()).map_err(|error| error.to_string())
}

fn phone() -> Option<PhoneNumber> {
    PhoneNumber::parse(PHONE).ok()
}

#[test]
fn a_famulor_call_has_lists_strings_and_no_zone() {
    let report = decode(Source::Call, "call_famulor.json");
    assert_eq!(report.source, Source::Call);
    assert_eq!(report.call_id, Some(call_id("480337")));
    assert_eq!(report.token, None, "an empty list of variables echoes nothing");
    assert_eq!(report.phone, phone());
    assert_eq!(report.phase, Phase::AnsweredOver);
    assert_eq!(report.status, "completed");
    assert_eq!(report.answered_by, Some(AnsweredBy::Human));
    assert_eq!(report.duration_seconds, Some(125));
    assert_eq!(report.created_at, None, "a time without zone is no instant");
    assert_eq!(report.cost.as_deref(), Some("0.14000000"));
    assert_eq!(report.transcript.as_ref().and_then(Value::as_array).map(Vec::len), Some(2));
    assert_eq!(report.recording_url, None);
    let expected = json!({"appointment_booked": true, "score": 7.5, "summary": "Agreed on Monday"});
    assert_eq!(Value::Object(report.extracted), expected, "values are what their type says");
}

#[test]
fn a_whattalk_call_has_strings_objects_and_numbers() {
    let report = decode(Source::Call, "call_whattalk.json");
    assert_eq!(report.token, Some(attempt(1).to_string()));
    assert_eq!(report.answered_by, Some(AnsweredBy::Machine));
    assert_eq!(report.phase, Phase::AnsweredOver);
    assert_eq!(report.cost.as_deref(), Some("0.05"));
    assert_eq!(report.created_at, "2024-01-15T10:30:00Z".parse().ok());
    assert_eq!(report.finished_at, None, "updated_at is not the end of the call");
    assert_eq!(report.transcript, Some(json!("Assistant: Hello\nCustomer: (beep)")));
    let expected = json!({"customer_name": "Ann", "appointment_booked": false});
    assert_eq!(Value::Object(report.extracted), expected, "without our own token");
}

#[test]
fn a_call_nobody_answered_says_nothing_of_who_answered() {
    let report = decode(Source::Call, "call_no_answer.json");
    assert_eq!(report.phase, Phase::NotReached(Outcome::NoAnswer));
    assert_eq!(report.answered_by, None);
    assert_eq!(report.transcript, None);
    assert_eq!(report.phone, phone(), "a number without its plus is read");
    assert!(report.extracted.is_empty());
}

#[test]
fn a_call_that_is_neither_outbound_nor_has_a_phone_still_decodes() {
    let report = decode(Source::Call, "call_web.json");
    assert_eq!(report.call_id, Some(call_id("12347")));
    assert_eq!(report.phone, None);
    assert_eq!(report.cost, None);
}

#[test]
fn the_number_of_an_inbound_call_was_not_rung() {
    let inbound = fixture("call_famulor.json").replace("\"outbound\"", "\"inbound\"");
    assert_eq!(decode_text(Source::Call, &inbound).map(|report| report.phone), Ok(None));
}

#[test]
fn a_whattalk_webhook_keeps_the_transcript_as_a_list() {
    let report = decode(Source::Webhook, "webhook_whattalk.json");
    assert_eq!(report.source, Source::Webhook);
    assert_eq!(report.call_id, Some(call_id("12345")));
    assert_eq!(report.token, Some(attempt(1).to_string()));
    assert_eq!(report.phone, phone());
    assert_eq!(report.answered_by, None, "a webhook never says");
    assert_eq!(report.duration_seconds, Some(125));
    assert_eq!(report.created_at, "2025-01-15T10:30:00Z".parse().ok());
    assert_eq!(report.finished_at, "2025-01-15T10:32:05Z".parse().ok());
    assert!(report.transcript.is_some_and(|transcript| transcript.is_array()));
    assert_eq!(report.recording_url.as_deref(), Some("https://files.example.org/12345.mp3"));
    assert_eq!(Value::Object(report.extracted), json!({"status": true, "summary": "Agreed on Monday"}));
}

#[test]
fn a_famulor_webhook_has_null_lead_and_campaign() {
    let report = decode(Source::Webhook, "webhook_famulor.json");
    assert_eq!(report.call_id, Some(call_id("480337")), "an id may be a string");
    assert_eq!(report.token, Some(attempt(1).to_string()));
    assert_eq!(report.transcript, Some(json!("AI: Hello\nCustomer: Yes?")));
    assert!(report.extracted.is_empty());
    assert_eq!(report.cost, None);
}

#[test]
fn the_token_is_found_under_the_leads_variables() {
    let report = decode(Source::Webhook, "webhook_lead_variables.json");
    assert_eq!(report.token, Some(attempt(1).to_string()));
    assert_eq!(report.phone, phone(), "the lead's number stands in for a missing one");
    assert_eq!(report.transcript, None);
}

#[test]
fn a_token_of_ours_is_preferred_to_any_other_text() {
    let ours = attempt(1);
    let text = format!(
        r#"{{"status":"completed","input_variables":{{"outdial_attempt":"(unset)"}},"variables":{{"outdial_attempt":"{ours}"}}}}"#
    );
    assert_eq!(decode_text(Source::Webhook, &text).map(|report| report.token), Ok(Some(ours.to_string())));
    let foreign = r#"{"status":"completed","input_variables":{"outdial_attempt":"(unset)"}}"#;
    let token = decode_text(Source::Webhook, foreign).map(|report| report.token);
    assert_eq!(token, Ok(Some("(unset)".to_owned())), "a foreign token is told, not hidden");
}

#[test]
fn an_unknown_status_is_not_an_error() {
    let report = decode_text(Source::Call, r#"{"id":1,"status":"forwarding"}"#).expect("decodes");
    assert_eq!(report.phase, Phase::Unrecognised);
    assert_eq!(report.status, "forwarding");
}

#[test]
fn a_call_wrapped_in_data_decodes() {
    let text = format!(r#"{{"data":{}}}"#, fixture("call_famulor.json"));
    assert_eq!(decode_text(Source::Call, &text).map(|report| report.call_id), Ok(Some(call_id("480337"))));
}

#[test]
fn ids_beyond_doubles_keep_their_digits() {
    let report = decode_text(Source::Call, r#"{"id":90071992547409931234567,"status":"busy"}"#).expect("decodes");
    assert_eq!(report.call_id, Some(call_id("90071992547409931234567")));
}

#[test]
fn odd_side_facts_are_left_out_and_do_not_cost_the_result() {
    let text = r#"{"id":1,"status":"completed","answered_by":"human","duration":"12.9","total_cost":{"eur":1},
        "recording_url":[],"client_phone_number":"anonymous","created_at":17,"lead":[1],"transcript":7}"#;
    let report = decode_text(Source::Call, text).expect("decodes");
    assert_eq!(report.duration_seconds, Some(12));
    assert_eq!((report.cost, report.recording_url, report.phone), (None, None, None));
    assert_eq!((report.created_at, report.transcript), (None, None));
}

#[test]
fn half_an_emoji_and_a_nul_do_not_cost_the_result() {
    let text =
        r#"{"id":1,"status":"completed","transcript":"cut \ud83d off\u0000","extracted_variables":{"a":"\udc00"}}"#;
    let report = decode_text(Source::Webhook, text).expect("decodes");
    assert_eq!(report.transcript, Some(json!("cut \u{fffd} off\u{fffd}")));
    assert_eq!(Value::Object(report.extracted), json!({"a": "\u{fffd}"}));
}

#[track_caller]
fn check_undecodable(source: Source, text: &str, expected: &str) {
    assert_eq!(decode_text(source, text).map(|_| ()), Err(expected.to_owned()), "{text}");
}

#[test]
fn what_decides_redialing_is_read_strictly_and_names_its_field() {
    let call = Source::Call;
    check_undecodable(call, "", "cannot read field .: the document ends too early");
    check_undecodable(call, "<html></html>", "cannot read field .: not JSON at line 1 column 1");
    check_undecodable(call, "[]", "cannot read field .: expected an object, found a list");
    check_undecodable(call, r#"{"id":1}"#, "cannot read field status: expected a string, found nothing");
    check_undecodable(call, r#"{"id":1,"status":null}"#, "cannot read field status: expected a string, found nothing");
    check_undecodable(call, r#"{"id":1,"status":7}"#, "cannot read field status: expected a string, found a number");
    check_undecodable(call, r#"{"id":{},"status":"busy"}"#, "cannot read field id: expected an id, found an object");
    check_undecodable(
        call,
        r#"{"id":"../me","status":"busy"}"#,
        "cannot read field id: expected an id, found a string",
    );
    let text = r#"{"status":"ended","answered_by":["human"]}"#;
    check_undecodable(call, text, "cannot read field answered_by: expected a string, found a list");
    let text = r#"{"status":"ended","evaluation":"yes"}"#;
    check_undecodable(call, text, "cannot read field evaluation: expected an object or a list");
    let text = r#"{"status":"ended","evaluation":[{"value":1}]}"#;
    check_undecodable(call, text, "cannot read field evaluation: expected a name in each entry");
    let text = r#"{"status":"ended","extracted_variables":7}"#;
    check_undecodable(Source::Webhook, text, "cannot read field extracted_variables: expected an object or a list");
}

#[test]
fn what_is_undecodable_tells_no_personal_data() {
    for text in [
        format!(r#"{{"id":"{PHONE}","status":"busy"}}"#),
        format!(r#"{{"status":{{"{PHONE}":1}}}}"#),
        format!(r#"{{"status":"ended","evaluation":"{PHONE}"}}"#),
        format!(r#""{PHONE}""#),
        format!(r#"{{"{PHONE}" 1}}"#),
    ] {
        let problem = decode_text(Source::Call, &text).expect_err("undecodable");
        assert!(!problem.contains("5550132"), "{problem}");
    }
}
