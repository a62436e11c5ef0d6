//! HappyRobot's second API.

use std::collections::BTreeSet;

use outdial::adapter::simulator::{Fate, OutcomeMix, Quirks, Record, Shape, SimulatorOptions, Span, Timing, oracle};
use serde_json::{Value, json};

use super::support::*;

fn v2() -> SimulatorOptions {
    shaped(Shape::HappyRobotV2)
}

/// Every field of a session (OpenAPI document, read 2026-11-21).
const SESSION_FIELDS: &[&str] = &[
    "id",
    "org_id",
    "use_case_id",
    "version_id",
    "run_id",
    "user_number",
    "status",
    "type",
    "duration",
    "timestamp",
    "call_connected_at",
    "sip_code",
    "sip_reason",
    "failure_reason",
    "llm_model",
    "stt_model",
    "tts_model",
    "voice_id",
    "languages",
];

async fn run(client: &Client, phone: &str) -> String {
    let (status, body) = split(client.ring(phone).await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    body["run_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_run_is_accepted_and_read_in_three_ways() {
    let (simulator, client) = start(v2()).await;
    assert!(client.base.ends_with("/api/v2"));
    let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!((status, names.len()), (200, 4));
    assert_eq!(names, ["run_id", "queued_run_ids", "status", "message"]);
    assert_eq!((&body["queued_run_ids"][0], &body["status"]), (&body["run_id"], &json!("queued")));
    let id = body["run_id"].as_str().unwrap();
    let record = simulator.calls().remove(0);
    assert_eq!((record.wire_id.as_str(), record.phone.as_str(), record.assistant_id), (id, PHONE, 123));
    assert_eq!(
        (&record.variables["ref"], &record.options["environment"]),
        (&json!(format!("token-{PHONE}")), &json!("staging"))
    );

    let run = with_status(&client, &format!("/runs/{id}"), "completed").await;
    let names: Vec<&String> = run.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "id",
            "org_id",
            "workflow_id",
            "version_id",
            "status",
            "annotation",
            "timestamp",
            "completed_at",
            "execution_environment",
        ]
    );
    assert_eq!(run["execution_environment"], "staging");
    let (_, sessions) = client.get(&format!("/runs/{id}/sessions")).await;
    let session = &sessions["data"][0];
    assert_fields(session, SESSION_FIELDS);
    assert_eq!(
        (&session["user_number"], &session["status"], &session["type"]),
        (&json!(PHONE), &json!("completed"), &json!("outbound"))
    );
    assert!(session["duration"].as_i64().unwrap() >= 15 && session["call_connected_at"].is_string(), "{session}");
    assert_fields(
        &sessions["pagination"],
        &["page", "page_size", "total_pages", "total_records", "has_next_page", "has_previous_page"],
    );
    let (_, list) = client.get("/workflows/sales-spring/runs").await;
    let entry = &list["data"][0];
    assert_fields(
        entry,
        &[
            "id",
            "status",
            "org_id",
            "timestamp",
            "use_case_id",
            "version_id",
            "annotation",
            "completed_at",
            "input_tokens",
            "output_tokens",
            "data",
        ],
    );
    assert_eq!((&entry["id"], &entry["data"]["appointment_booked"]), (&json!(id), &json!(true)));
    assert_eq!(entry["use_case_id"], run["workflow_id"], "one thing under two names");
    assert_fields(
        &list["pagination"],
        &["page", "pageSize", "totalPages", "totalRecords", "hasNextPage", "hasPreviousPage"],
    );
    let path = format!("/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.1["run_id"], id);
    let (_, messages) = client.get(&format!("{path}/messages")).await;
    assert_eq!((&messages["pagination"]["total_records"], &messages["data"][1]["role"]), (&json!(3), &json!("user")));
    let (_, recordings) = client.get(&format!("/runs/{id}/recordings")).await;
    assert_eq!(recordings["recordings"][0]["session_id"], session["id"]);
}

#[tokio::test]
async fn sessions_end_in_the_words_of_this_api() {
    for (fate, word, sip_code) in [
        (Fate::GoalMet, "completed", json!("200")),
        (Fate::Voicemail, "voicemail", json!("200")),
        (Fate::NoAnswer, "missed", json!("480")),
        (Fate::Busy, "busy", json!("486")),
        (Fate::Failed, "failed", json!("503")),
    ] {
        let (_simulator, client) = start(SimulatorOptions { mix: OutcomeMix::only(fate), ..v2() }).await;
        let id = run(&client, PHONE).await;
        with_status(&client, &format!("/runs/{id}"), "completed").await;
        let (_, sessions) = client.get(&format!("/runs/{id}/sessions")).await;
        let session = &sessions["data"][0];
        assert_eq!((&session["status"], &session["sip_code"]), (&json!(word), &sip_code));
        assert_eq!(session["failure_reason"].is_string(), fate == Fate::Failed);
        assert_eq!(session["call_connected_at"].is_string(), matches!(fate, Fate::GoalMet | Fate::Voicemail));
    }
}

#[tokio::test]
async fn a_run_waits_without_a_session_and_can_be_canceled_until_it_rings() {
    let server = receiver().await;
    let queue = Span::seconds(600, 600);
    let (simulator, client) =
        start(SimulatorOptions { queue, clock: fast(1), ..v2() }.with_webhook(&server.uri())).await;
    let id = run(&client, PHONE).await;
    assert_eq!(client.get(&format!("/runs/{id}")).await.1["status"], "scheduled");
    assert_eq!(client.get(&format!("/runs/{id}/sessions")).await.1["data"], json!([]));
    let cancel_path = format!("/runs/{id}/cancel");
    let cancel = || client.post_empty(&cancel_path);
    assert_eq!(cancel().await, (200, json!({"status": "canceled"})));
    assert_eq!(client.get(&format!("/runs/{id}")).await.1["status"], "canceled");
    assert_eq!(client.get("/workflows/123/runs?status=canceled").await.1["pagination"]["totalRecords"], 1);
    let (status, body) = cancel().await;
    assert_eq!((status, &body["error"]), (400, &json!("Bad Request")));
    let call = simulator.calls().remove(0);
    assert_eq!((call.canceled_at, call.ringing_at), (Some(call.ended_at), None));
    let shown: Vec<bool> = simulator
        .log()
        .into_iter()
        .filter_map(|record| if let Record::Call(call) = record { Some(call.canceled_at.is_some()) } else { None })
        .collect();
    assert_eq!(shown, [false, true]);
    // The line is free at once.
    run(&client, PHONE).await;
    assert_eq!(oracle::double_live(&simulator.calls()), []);

    // A run that has come to its call, but does not ring yet, says so when it is canceled.
    let timing = Timing { setup: Span::seconds(600, 600), ..Timing::default() };
    let (_ringing, client) =
        start(SimulatorOptions { timing, clock: fast(10), ..v2() }.with_webhook(&server.uri())).await;
    let id = run(&client, PHONE).await;
    assert_eq!(client.get(&format!("/runs/{id}/sessions")).await.1["data"][0]["status"], "queued");
    assert_eq!(client.post_empty(&format!("/runs/{id}/cancel")).await.0, 200);
    let told = received(&server, 1).await;
    assert_eq!(told[0]["data"]["status"]["current"], "canceled");
    assert_eq!(told[0]["data"]["run_id"], id);

    let timing = Timing { setup: Span::ZERO, ..Timing::default() };
    let (_ringing, client) = start(SimulatorOptions { timing, clock: fast(1), ..v2() }).await;
    let id = run(&client, PHONE).await;
    assert_eq!(client.post_empty(&format!("/runs/{id}/cancel")).await.0, 400, "it rings");
    assert_eq!(client.post_empty("/runs/unknown/cancel").await.0, 404);
}

#[tokio::test]
async fn whatever_the_payload_says_a_run_starts() {
    let mix = OutcomeMix { refused_numbers: 1.0, ..OutcomeMix::only(Fate::GoalMet) };
    let (simulator, client) = start(SimulatorOptions { mix, ..v2() }).await;
    for (payload, sessions, run_word) in [
        (json!({"phone_number": PHONE}), 1, "completed"),
        (json!({"phone_number": "0221 55"}), 1, "completed"),
        (json!({"number": PHONE}), 0, "failed"),
        (json!("nothing"), 0, "failed"),
    ] {
        let (status, body) = client.post("/workflows/123/runs", json!({"payload": payload.clone()})).await;
        assert_eq!(status, 200, "{payload}: {body}");
        let id = body["run_id"].as_str().unwrap();
        with_status(&client, &format!("/runs/{id}"), run_word).await;
        let (_, found) = client.get(&format!("/runs/{id}/sessions")).await;
        assert_eq!(found["pagination"]["total_records"], sessions, "{payload}");
        assert!(found["data"].as_array().unwrap().iter().all(|session| session["status"] == "failed"), "{found}");
    }
    assert!(simulator.calls().iter().all(|call| call.ringing_at.is_none()));
    let quirks = Quirks { phone_field: "number".to_owned(), ..Quirks::default() };
    simulator.set_quirks(quirks).unwrap();
    client.post("/workflows/123/runs", json!({"payload": {"number": PHONE}})).await;
    assert_eq!(simulator.calls()[4].phone, PHONE);
}

#[tokio::test]
async fn workflows_go_by_three_names_and_unknown_ones_are_not_found() {
    let (simulator, client) = start(v2()).await;
    let (_, list) = client.get("/workflows/123/runs").await;
    assert_eq!(list["data"], json!([]));
    let uuid = {
        run(&client, PHONE).await;
        client.get("/workflows/123/runs").await.1["data"][0]["use_case_id"].as_str().unwrap().to_owned()
    };
    for workflow in ["123", "sales-spring", &uuid] {
        assert_eq!(client.get(&format!("/workflows/{workflow}/runs")).await.1["pagination"]["totalRecords"], 1);
    }
    let (status, body) = client.post("/workflows/sales-autumn/runs", json!({"payload": {"phone_number": PHONE}})).await;
    assert_eq!((status, &body["error"], &body["statusCode"]), (404, &json!("Not Found"), &json!(404)));
    assert!(body.as_object().unwrap().contains_key("details") && body["message"].is_string());
    for path in ["/runs/x", "/runs/x/sessions", "/workflows/x/runs", "/phone-numbers", "/workflows/123/cancel-runs"] {
        assert_eq!(client.get(path).await.0, 404, "{path}");
    }
    for wrong in ["page=0", "page_size=2001", "status=gone", "sort=up", "start_date=x"] {
        assert_eq!(client.get(&format!("/workflows/123/runs?{wrong}")).await.0, 400, "{wrong}");
    }
    let unauthorized = client.http.post(format!("{}/workflows/123/runs", client.base)).bearer_auth("wrong");
    let (status, body) = split(unauthorized.json(&json!({})).send().await.unwrap()).await;
    assert_eq!((status, &body["error"], &body["statusCode"]), (401, &json!("Unauthorized"), &json!(401)));
    assert_eq!(simulator.calls().len(), 1);
}

#[tokio::test]
async fn runs_are_listed_by_page_and_their_columns_can_be_empty() {
    let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..v2() }).await;
    for number in 0..5 {
        run(&client, &phone(number)).await;
    }
    let ids = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    };
    let newest: Vec<String> = simulator.calls().iter().rev().map(|call| call.wire_id.clone()).collect();
    let (_, page) = client.get("/workflows/123/runs?page=2&page_size=2").await;
    assert_eq!(ids(&page), newest[2..4]);
    assert_eq!((&page["pagination"]["totalPages"], &page["pagination"]["hasNextPage"]), (&json!(3), &json!(true)));
    assert_eq!(page["data"][0]["data"]["phone_number"], phone(2));
    let (_, page) = client.get("/workflows/123/runs?sort=asc&page_size=1&start_date=2026-03-02T00:00:00Z").await;
    assert_eq!(ids(&page), newest[4..]);
    let (_, none) = client.get("/workflows/123/runs?end_date=2026-03-02T00:00:00Z").await;
    assert_eq!(ids(&none), [""; 0]);
    let (_other, client) = start(SimulatorOptions { clock: fast(1), echo_variables: false, ..v2() }).await;
    run(&client, PHONE).await;
    let (_, page) = client.get("/workflows/123/runs").await;
    assert_eq!(page["data"][0]["data"], json!({}), "neither number nor token is seen in the list");
}

#[tokio::test]
async fn every_change_of_a_session_is_an_event_with_an_id_of_its_own() {
    for (fate, changes) in [
        (Fate::GoalMet, vec![("queued", "in-progress"), ("in-progress", "completed")]),
        (Fate::NoAnswer, vec![("queued", "in-progress"), ("in-progress", "missed")]),
        (Fate::Busy, vec![("queued", "busy")]),
    ] {
        let server = receiver().await;
        let options = SimulatorOptions { mix: OutcomeMix::only(fate), ..v2() }.with_webhook(&server.uri());
        let (_simulator, client) = start(options).await;
        let id = run(&client, PHONE).await;
        let events = received(&server, changes.len()).await;
        let seen: Vec<_> = events
            .iter()
            .map(|event| {
                assert_fields(event, &["specversion", "id", "source", "type", "time", "datacontenttype", "data"]);
                assert_fields(
                    &event["data"],
                    &[
                        "schema_version",
                        "org_id",
                        "run_id",
                        "session_id",
                        "use_case_id",
                        "version_id",
                        "status",
                        "org",
                        "use_case",
                    ],
                );
                assert_eq!((&event["type"], &event["data"]["run_id"]), (&json!("session.status_changed"), &json!(id)));
                let status = &event["data"]["status"];
                assert!(status["updated_at"].is_string());
                (status["previous"].as_str().unwrap(), status["current"].as_str().unwrap())
            })
            .collect();
        assert_eq!(seen, changes);
        let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), changes.len());
    }
}
