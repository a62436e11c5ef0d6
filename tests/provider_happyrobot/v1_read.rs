//! Reads of v1: the list, single calls, the account, and taking back.

use outdial::config::HappyRobotApi;
use outdial::port::provider::{AccountStanding, CallQuery, CancelError, Provider, ReadError, ResultReads};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer};

use super::support::{CALL, PHONE, account, answer, assistant, call_id, fixture, phone, query, text, v1};

fn with_paths(server: &MockServer) -> outdial::adapter::provider::AnyProvider {
    let path = |text: &str| Some(text.to_owned());
    let api = HappyRobotApi::V1 {
        call: Box::default(),
        call_path: path("/calls/{id}"),
        cancel_path: path("/calls/{id}/cancel"),
    };
    account(&format!("{}/api/v1", server.uri()), api, vec![assistant("as-1")])
}

#[tokio::test]
async fn the_list_is_asked_for_outbound_calls_newest_first_around_the_time() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/api/v1/calls"))
        .and(query_param("type", "Outbound"))
        .and(query_param("sort", "desc"))
        .and(query_param("limit", "100"))
        .and(query_param("skip", "200"))
        .and(query_param("from", "2026-03-01T09:00:00Z"))
        .and(query_param("to", "2026-03-03T10:00:00Z"))
        .respond_with(answer(200, "calls_page.json"))
        .mount(&server)
        .await;
    let page = v1(&server).list_calls(&query(3)).await.expect("a page");
    assert_eq!((page.calls.len(), page.more), (2, false));
    assert_eq!(v1(&server).call_id(&page.calls[0]), Some(call_id(CALL)));
}

#[tokio::test]
async fn one_number_is_searched_for_with_its_plus() {
    let server = MockServer::start().await;
    Mock::given(query_param("search", PHONE)).respond_with(answer(200, "calls_page.json")).mount(&server).await;
    let wanted = CallQuery { phone: Some(phone()), ..query(1) };
    v1(&server).list_calls(&wanted).await.expect("a page");
}

#[tokio::test]
async fn without_a_path_of_single_calls_the_list_tells() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/calls")).respond_with(answer(200, "calls_page.json")).mount(&server).await;
    let provider = v1(&server);
    assert_eq!(provider.abilities().results, ResultReads::List);
    let body = provider.read_call(&call_id(CALL)).await.expect("listed");
    assert_eq!(provider.call_id(&body), Some(call_id(CALL)));
    assert!(matches!(provider.read_call(&call_id("other")).await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn with_a_path_single_calls_are_read_there() {
    let server = MockServer::start().await;
    let one = fixture("call_old_vocabulary.json");
    Mock::given(path("/api/v1/calls/c-1")).respond_with(text(200, &one)).expect(1).mount(&server).await;
    let provider = with_paths(&server);
    assert_eq!(provider.abilities().results, ResultReads::CallOrList);
    provider.read_call(&call_id("c-1")).await.expect("read");
}

#[tokio::test]
async fn an_id_that_is_a_path_is_not_asked_for() {
    let server = MockServer::start().await;
    let provider = with_paths(&server);
    for id in ["../orgs", "a/b", "", "a?b"] {
        assert!(matches!(provider.read_call(&call_id(id)).await, Err(ReadError::NotFound)), "{id}");
        assert!(provider.cancel(&call_id(id)).await.is_err(), "{id}");
    }
    assert!(server.received_requests().await.expect("recorded").is_empty());
}

#[tokio::test]
async fn a_call_is_taken_back_only_where_its_path_is_configured() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v1/calls/c-1/cancel"))
        .respond_with(text(200, "{}"))
        .expect(1)
        .mount(&server)
        .await;
    assert!(!v1(&server).abilities().cancels);
    assert!(matches!(v1(&server).cancel(&call_id("c-1")).await, Err(CancelError::NotSupported)));
    assert!(with_paths(&server).abilities().cancels);
    with_paths(&server).cancel(&call_id("c-1")).await.expect("taken back");
}

#[tokio::test]
async fn the_account_is_looked_at_by_reading_one_call() {
    let server = MockServer::start().await;
    Mock::given(query_param("limit", "1")).respond_with(answer(200, "calls_page.json")).mount(&server).await;
    assert_eq!(v1(&server).health().await.expect("answered"), AccountStanding::Good { balance: None });
    server.reset().await;
    Mock::given(method("GET")).respond_with(text(401, "{}")).mount(&server).await;
    assert_eq!(v1(&server).health().await.expect("answered"), AccountStanding::KeyRefused);
    server.reset().await;
    Mock::given(method("GET")).respond_with(text(403, r#"{"error":"no"}"#)).mount(&server).await;
    let forbidden = AccountStanding::Forbidden { reason: "no".to_owned() };
    assert_eq!(v1(&server).health().await.expect("answered"), forbidden);
}

#[tokio::test]
async fn the_declared_assistants_are_the_roster() {
    let server = MockServer::start().await;
    let api = HappyRobotApi::V1 { call: Box::default(), call_path: None, cancel_path: None };
    let mut resting = assistant("as-2");
    resting.active = false;
    let provider = account(&server.uri(), api, vec![assistant("as-1"), resting]);
    let roster = provider.assistants().await.expect("declared");
    let seen: Vec<_> = roster.iter().map(|one| (one.assistant_id.as_str(), one.active)).collect();
    assert_eq!(seen, [("as-1", true), ("as-2", false)]);
    assert!(server.received_requests().await.expect("recorded").is_empty(), "there is nothing to ask");
}

#[tokio::test]
async fn reads_that_fail_say_whose_turn_it_is() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(text(429, r#"{"retry_after":9}"#)).mount(&server).await;
    let limited = v1(&server).list_calls(&query(1)).await;
    assert!(matches!(limited, Err(ReadError::RateLimited { retry_after: Some(wait) }) if wait.as_secs() == 9));
    server.reset().await;
    Mock::given(method("GET")).respond_with(text(200, "<html>")).mount(&server).await;
    assert!(matches!(v1(&server).list_calls(&query(1)).await, Err(ReadError::Unreadable { .. })));
    server.reset().await;
    Mock::given(method("GET")).respond_with(text(503, "")).mount(&server).await;
    assert!(matches!(v1(&server).list_calls(&query(1)).await, Err(ReadError::Unavailable { .. })));
}
