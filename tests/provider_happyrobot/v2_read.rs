//! Reads of v2: runs with sessions, the list over all workflows, the account, and taking back.

use outdial::domain::report::{CallReport, Phase, Source};
use outdial::port::provider::{AccountStanding, CancelError, Provider, ReadError, ResultReads};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer};

use super::support::{RUN, answer, call_id, decoded, fixture, query, text, v2};

const WORKFLOW_RUNS: &str = "/api/v2/workflows/1c2d3e4f-0000-4000-8000-000000000001/runs";

/// Serves a run with its sessions.
async fn serving(run: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path(format!("/api/v2/runs/{RUN}"))).respond_with(text(200, run)).mount(&server).await;
    Mock::given(path(format!("/api/v2/runs/{RUN}/sessions")))
        .and(query_param("page_size", "100"))
        .respond_with(answer(200, "run_sessions.json"))
        .mount(&server)
        .await;
    server
}

async fn read(server: &MockServer) -> CallReport {
    let provider = v2(server);
    let body = provider.read_call(&call_id(RUN)).await.expect("read");
    decoded(&provider, Source::Call, std::str::from_utf8(&body).expect("text"))
}

#[tokio::test]
async fn a_run_is_read_together_with_its_sessions_and_what_only_the_list_shows() {
    let server = serving(&fixture("run.json")).await;
    Mock::given(path(WORKFLOW_RUNS))
        .and(query_param("start_date", "2026-03-02T09:00:04Z"))
        .and(query_param("end_date", "2026-03-02T09:00:07Z"))
        .respond_with(answer(200, "runs_page_with_columns.json"))
        .expect(1)
        .mount(&server)
        .await;
    let report = read(&server).await;
    assert_eq!((report.phase, report.call_id), (Phase::AnsweredOver, Some(call_id(RUN))));
    assert_eq!(serde_json::Value::Object(report.extracted), serde_json::json!({"appointment_booked": true}));
    assert_eq!(v2(&server).abilities().read_requests, 3, "and each is paid for");
}

#[tokio::test]
async fn the_list_is_not_asked_about_a_run_that_goes_on() {
    let server = serving(&fixture("run.json").replace("\"status\": \"completed\"", "\"status\": \"running\"")).await;
    assert_eq!(read(&server).await.phase, Phase::Live);
    assert_eq!(server.received_requests().await.expect("recorded").len(), 2);
}

#[tokio::test]
async fn a_result_waits_for_a_list_that_is_away_and_not_for_one_that_does_not_have_it() {
    for (status, body, waits) in [
        (503, "", true),
        (429, "{}", true),
        (404, r#"{"error":"Not Found"}"#, false),
        (400, r#"{"error":"Bad Request"}"#, false),
        (200, r#"{"data":[],"pagination":{"hasNextPage":false}}"#, false),
    ] {
        let server = serving(&fixture("run.json")).await;
        Mock::given(path(WORKFLOW_RUNS)).respond_with(text(status, body)).mount(&server).await;
        let found = v2(&server).read_call(&call_id(RUN)).await;
        assert_eq!(found.is_err(), waits, "{status}");
    }
}

#[tokio::test]
async fn a_run_whose_sessions_go_on_and_on_is_not_guessed_at() {
    let server = MockServer::start().await;
    let sessions = fixture("run_sessions.json").replace("\"has_next_page\": false", "\"has_next_page\": true");
    let run = fixture("run.json").replace("\"status\": \"completed\"", "\"status\": \"running\"");
    Mock::given(path(format!("/api/v2/runs/{RUN}"))).respond_with(text(200, &run)).mount(&server).await;
    Mock::given(path(format!("/api/v2/runs/{RUN}/sessions"))).respond_with(text(200, &sessions)).mount(&server).await;
    assert!(matches!(v2(&server).read_call(&call_id(RUN)).await, Err(ReadError::Unreadable { .. })));
}

#[tokio::test]
async fn the_list_holds_the_runs_of_every_declared_workflow_newest_first() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v2/workflows/renewals/runs"))
        .and(query_param("page", "2"))
        .and(query_param("sort", "desc"))
        .and(query_param("start_date", "2026-03-02T09:00:00Z"))
        .and(query_param("end_date", "2026-03-02T10:00:01Z"))
        .respond_with(answer(200, "runs_page.json"))
        .expect(1)
        .mount(&server)
        .await;
    let newer = fixture("runs_page.json")
        .replace(RUN, "newer-run")
        .replace("09:00:05.120Z", "09:30:00Z")
        .replace("\"hasNextPage\": false", "\"hasNextPage\": true");
    Mock::given(path("/api/v2/workflows/surveys/runs")).respond_with(text(200, &newer)).mount(&server).await;
    let provider = v2(&server);
    let page = provider.list_calls(&query(2)).await.expect("a page");
    let ids: Vec<_> = page.calls.iter().filter_map(|run| provider.call_id(run)).collect();
    assert_eq!(ids, [call_id("newer-run"), call_id(RUN)]);
    assert!(page.more, "one of them has more");
    assert_eq!(provider.abilities().list_requests, 2, "and each is paid for");
}

#[tokio::test]
async fn a_workflow_that_is_gone_does_not_hide_the_others() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v2/workflows/renewals/runs"))
        .respond_with(answer(404, "error_404.json"))
        .mount(&server)
        .await;
    let provider = v2(&server);
    assert!(matches!(provider.list_calls(&query(1)).await, Err(ReadError::NotFound)));
    Mock::given(path("/api/v2/workflows/surveys/runs"))
        .respond_with(answer(200, "runs_page.json"))
        .mount(&server)
        .await;
    assert_eq!(provider.list_calls(&query(1)).await.expect("a page").calls.len(), 1);
}

#[tokio::test]
async fn a_list_that_shows_neither_number_nor_attempt_proves_nothing() {
    let abilities = v2(&MockServer::start().await).abilities();
    assert!(!abilities.list_proves_absence);
    assert_eq!(abilities.results, ResultReads::Call);
    assert!(!abilities.takes_call_options);
}

#[tokio::test]
async fn a_single_run_is_canceled_and_never_a_workflow() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(format!("/api/v2/runs/{RUN}/cancel")))
        .respond_with(text(200, r#"{"status":"canceled"}"#))
        .expect(1)
        .mount(&server)
        .await;
    v2(&server).cancel(&call_id(RUN)).await.expect("taken back");
    server.reset().await;
    Mock::given(method("POST"))
        .respond_with(text(400, r#"{"error":"Bad Request","message":"too late"}"#))
        .mount(&server)
        .await;
    let refused = v2(&server).cancel(&call_id(RUN)).await;
    assert!(matches!(refused, Err(CancelError::Refused { status: 400, reason }) if reason == "too late"));
    server.reset().await;
    Mock::given(method("POST")).respond_with(answer(502, "error_502.json")).mount(&server).await;
    assert!(matches!(v2(&server).cancel(&call_id(RUN)).await, Err(CancelError::Read(ReadError::Unavailable { .. }))));
}

#[tokio::test]
async fn the_account_is_looked_at_by_reading_one_run() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v2/workflows/renewals/runs"))
        .and(query_param("page_size", "1"))
        .respond_with(answer(200, "runs_page.json"))
        .mount(&server)
        .await;
    assert_eq!(v2(&server).health().await.expect("answered"), AccountStanding::Good { balance: None });
    server.reset().await;
    Mock::given(method("GET")).respond_with(text(401, r#"{"error":"Unauthorized"}"#)).mount(&server).await;
    assert_eq!(v2(&server).health().await.expect("answered"), AccountStanding::KeyRefused);
}
