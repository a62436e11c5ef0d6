//! Runs with their sessions, entries of the list, and events of v2.

use outdial::config::HappyRobotApi;
use outdial::domain::outcome::Outcome;
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::{AnsweredBy, CallReport, Phase, Source};
use outdial::port::provider::Provider;
use serde_json::{Value, json};

use super::support::{RUN, account, assistant, at, attempt, call_id, decoded, fixture, phone};

fn provider() -> outdial::adapter::provider::AnyProvider {
    let api = HappyRobotApi::V2 { environment: None, phone_field: "phone_number".to_owned(), variables_field: None };
    account("http://127.0.0.1:9/api/v2", api, vec![assistant("renewals")])
}

fn decode(source: Source, body: &str) -> CallReport {
    decoded(&provider(), source, body)
}

/// What a run with such sessions says: each is its number's last digits, its status and when it began.
fn phase_of(run: &str, sessions: &[(&str, &str, &str)]) -> (Phase, Option<AnsweredBy>, Option<PhoneNumber>) {
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|(number, status, minute)| {
            json!({
                "user_number": format!("+141555501{number}"), "status": status, "type": "outbound",
                "timestamp": format!("2026-03-02T09:{minute}:00Z"), "duration": null,
            })
        })
        .collect();
    let body = json!({"run": {"id": RUN, "status": run, "data": {}}, "sessions": sessions}).to_string();
    let report = decode(Source::Call, &body);
    (report.phase, report.answered_by, report.phone)
}

fn composed() -> String {
    let read = |name: &str| serde_json::from_str::<Value>(&fixture(name)).expect("JSON");
    let (sessions, page) = (read("run_sessions.json"), read("runs_page_with_columns.json"));
    json!({"run": read("run.json"), "sessions": sessions["data"], "entry": page["data"][0]}).to_string()
}

#[test]
fn the_session_with_the_person_tells_and_not_the_leg_of_a_transfer() {
    let report = decode(Source::Call, &composed());
    assert_eq!(report.call_id, Some(call_id(RUN)));
    assert_eq!(report.phone, Some(phone()));
    assert_eq!((report.phase, report.status.as_str()), (Phase::AnsweredOver, "completed"));
    assert_eq!(report.duration_seconds, Some(64));
    assert_eq!(report.created_at, Some(at("2026-03-02T09:00:05.120Z")));
    assert_eq!(report.finished_at, Some(at("2026-03-02T09:01:18Z")), "from its connection on");
    assert_eq!(report.token, Some(attempt().to_string()), "a column of the runs table holds it");
    assert_eq!(Value::Object(report.extracted), json!({"appointment_booked": true}), "without our own token");
}

#[test]
fn until_there_are_sessions_nobody_was_rung() {
    assert_eq!(phase_of("not_started", &[]).0, Phase::Queued);
    assert_eq!(phase_of("scheduled", &[]).0, Phase::Queued);
    assert_eq!(phase_of("running", &[]).0, Phase::Live);
    assert_eq!(phase_of("completed", &[]).0, Phase::Live, "sessions may be shown late");
    assert_eq!(phase_of("succeeded", &[]).0, Phase::Live);
    assert_eq!(phase_of("canceled", &[]).0, Phase::NotReached(Outcome::Canceled));
    assert_eq!(phase_of("failed", &[]).0, Phase::NotReached(Outcome::Failed));
    assert_eq!(phase_of("paused", &[]).0, Phase::Unrecognised);
}

#[test]
fn every_session_status_has_its_meaning() {
    let of = |status| {
        let (phase, who, _) = phase_of("completed", &[("32", status, "00")]);
        (phase, who)
    };
    assert_eq!(of("queued"), (Phase::Queued, None));
    assert_eq!(of("in-progress"), (Phase::Live, None));
    assert_eq!(of("completed"), (Phase::AnsweredOver, None));
    assert_eq!(of("voicemail"), (Phase::AnsweredOver, Some(AnsweredBy::Machine)));
    assert_eq!(of("busy"), (Phase::NotReached(Outcome::Busy), None));
    assert_eq!(of("missed"), (Phase::NotReached(Outcome::NoAnswer), None));
    assert_eq!(of("canceled"), (Phase::NotReached(Outcome::Canceled), None));
    assert_eq!(of("failed"), (Phase::NotReached(Outcome::Failed), None));
    assert_eq!(of("listening"), (Phase::Unrecognised, None));
}

#[test]
fn nothing_is_over_before_the_run_is() {
    for over in ["completed", "voicemail", "busy", "missed", "failed", "canceled"] {
        assert_eq!(phase_of("running", &[("32", over, "00")]).0, Phase::Live, "{over}: it may ring again");
    }
    assert_eq!(phase_of("odd", &[("32", "completed", "00")]).0, Phase::Unrecognised);
    let body = json!({
        "run": {"id": RUN, "status": "odd"},
        "sessions": [{"user_number": "+14155550132", "status": "completed", "type": "outbound"}],
    });
    assert_eq!(decode(Source::Call, &body.to_string()).status, "odd", "the word somebody has to look at");
}

#[test]
fn of_several_sessions_the_one_that_goes_on_or_reached_somebody_decides() {
    let phase = |run, sessions: &[(&str, &str, &str)]| phase_of(run, sessions).0;
    let answered = Phase::AnsweredOver;
    assert_eq!(phase("completed", &[("32", "missed", "00"), ("32", "completed", "05")]), answered);
    assert_eq!(phase("completed", &[("32", "completed", "05"), ("32", "failed", "09")]), answered);
    assert_eq!(phase("running", &[("32", "missed", "00"), ("32", "in-progress", "05")]), Phase::Live);
    assert_eq!(phase("running", &[("32", "missed", "00"), ("32", "queued", "05")]), Phase::Queued);
    assert_eq!(
        phase("canceled", &[("32", "busy", "00"), ("32", "queued", "05")]),
        Phase::NotReached(Outcome::Busy),
        "what broke off before it rang does not undo what rang"
    );
    assert_eq!(phase("canceled", &[("32", "queued", "00")]), Phase::NotReached(Outcome::Canceled));
    assert_eq!(
        phase("completed", &[("32", "busy", "00"), ("32", "missed", "05")]),
        Phase::NotReached(Outcome::NoAnswer),
        "the last one"
    );
    let machine_then_person = phase_of("completed", &[("32", "voicemail", "00"), ("32", "completed", "05")]);
    assert_eq!((machine_then_person.0, machine_then_person.1), (Phase::AnsweredOver, None));
}

#[test]
fn whoever_was_rung_first_is_the_person() {
    let (phase, _, number) = phase_of("running", &[("99", "missed", "07"), ("32", "in-progress", "00")]);
    assert_eq!((phase, number), (Phase::Live, Some(phone())));
}

#[test]
fn a_message_or_an_inbound_call_is_no_answer() {
    for kind in ["sms", "Inbound", "web-chat", "whatsapp", "email"] {
        let session = json!({"user_number": "+14155550132", "status": "completed", "type": kind});
        let body = json!({"run": {"id": RUN, "status": "completed"}, "sessions": [session]}).to_string();
        assert_eq!(decode(Source::Call, &body).phase, Phase::Live, "{kind}");
    }
}

#[test]
fn an_entry_of_the_list_never_ends_a_call() {
    for (status, phase) in [
        ("scheduled", Phase::Queued),
        ("running", Phase::Live),
        ("completed", Phase::Live),
        ("failed", Phase::Live),
        ("canceled", Phase::Live),
        ("odd", Phase::Unrecognised),
    ] {
        let body = json!({"id": RUN, "status": status, "data": {}}).to_string();
        assert_eq!(decode(Source::Call, &body).phase, phase, "{status}");
    }
    let page: Value = serde_json::from_str(&fixture("runs_page.json")).expect("JSON");
    let report = decode(Source::Call, &page["data"][0].to_string());
    assert_eq!((report.token, report.phone), (None, None), "it shows neither number nor attempt");
}

#[test]
fn a_runs_table_may_show_number_and_attempt() {
    let columns = json!({"trigger.phone_number": "+14155550132", "Attempt": attempt().to_string()});
    let body = json!({"id": RUN, "status": "running", "data": columns}).to_string();
    let report = decode(Source::Call, &body);
    assert_eq!((report.phone, report.token), (Some(phone()), Some(attempt().to_string())));
}

#[test]
fn an_event_about_a_session_wakes_a_read_and_ends_nothing() {
    let report = decode(Source::Webhook, &fixture("session_status_changed.json"));
    assert_eq!(report.call_id, Some(call_id(RUN)));
    assert_eq!((report.phase, report.status.as_str()), (Phase::PartOver, "completed"));
    assert_eq!(report.phone, None);
    let of = |word: &str| {
        let body = fixture("session_status_changed.json")
            .replace("\"current\": \"completed\"", &format!("\"current\": \"{word}\""));
        decode(Source::Webhook, &body).phase
    };
    for ended in ["busy", "missed", "canceled", "failed", "voicemail"] {
        assert_eq!(of(ended), Phase::PartOver, "{ended}");
    }
    assert_eq!((of("queued"), of("in-progress")), (Phase::Queued, Phase::Live));
}

#[test]
fn other_events_are_quarantined() {
    for body in ["[]", "{}", r#"{"data":{}}"#, r#"{"data":{"status":{"current":7}}}"#, r#"{"data":{"status":"x"}}"#] {
        assert!(provider().decode(Source::Webhook, body.as_bytes()).is_err(), "{body}");
    }
}
