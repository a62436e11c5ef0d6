//! Reads: assistants, calls, the account.

use std::time::Duration;

use outdial::domain::assistant::Assistant;
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::Source;
use outdial::port::provider::{AccountStanding, CallQuery, Provider, ReadError};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{API_KEY, PHONE, call_id, fixture, provider};

fn json(status: u16, name: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(fixture(name), "application/json")
}

async fn serving(at: &str, answer: ResponseTemplate) -> (MockServer, String) {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path(format!("/api{at}")))
        .and(header("authorization", format!("Bearer {API_KEY}")))
        .and(header("accept", "application/json"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let url = format!("{}/api", server.uri());
    (server, url)
}

async fn roster(name: &str) -> Vec<Assistant> {
    let (_server, url) = serving("/user/assistants/outbound", json(200, name)).await;
    provider(&url).assistants().await.expect("a roster")
}

fn check_documented_roster(roster: &[Assistant]) {
    let [sales, follow_up] = roster else { panic!("two assistants expected, found {}", roster.len()) };
    assert_eq!((sales.assistant_id.as_str(), sales.name.as_str()), ("123", "Sales Outbound Assistant"));
    assert!(sales.active);
    assert_eq!(sales.mode.as_deref(), Some("pipeline"));
    assert_eq!(sales.language_id, Some(1));
    assert_eq!(sales.webhook_url.as_deref(), Some("https://yourcompany.com/api/webhooks/outbound-calls"));
    assert_eq!(sales.variables, ["company_name", "product_line"]);
    assert_eq!((follow_up.assistant_id.as_str(), follow_up.status.as_str()), ("124", "inactive"));
    assert!(!follow_up.active);
    assert_eq!(follow_up.webhook_url, None);
}

#[tokio::test]
async fn the_documented_rosters_of_three_brands_are_read() {
    for name in
        ["assistants_outbound_example_tr.json", "assistants_outbound_famulor.json", "assistants_outbound_sondos.json"]
    {
        check_documented_roster(&roster(name).await);
    }
}

#[tokio::test]
async fn a_roster_under_data_is_read_as_well() {
    let body = format!(r#"{{"data":{}}}"#, fixture("assistants_outbound_famulor.json"));
    let (_server, url) =
        serving("/user/assistants/outbound", ResponseTemplate::new(200).set_body_raw(body, "application/json")).await;
    check_documented_roster(&provider(&url).assistants().await.expect("a roster"));
}

#[tokio::test]
async fn without_the_outbound_list_all_pages_are_read_and_only_outbound_ones_kept() {
    let server = MockServer::start().await;
    for page in ["1", "2"] {
        Mock::given(method("GET"))
            .and(path("/api/user/assistants/get"))
            .and(query_param("per_page", "100"))
            .and(query_param("page", page))
            .respond_with(json(200, &format!("assistants_get_page_{page}.json")))
            .expect(1)
            .mount(&server)
            .await;
    }
    let roster = provider(&format!("{}/api/", server.uri())).assistants().await.expect("a roster");
    let seen: Vec<_> = roster.iter().map(|a| (a.assistant_id.as_str(), a.active, a.webhook_url.is_some())).collect();
    let expected = [("201", true, true), ("203", false, true), ("204", false, true), ("205", true, false)];
    assert_eq!(seen, expected, "202 is inbound, 203 deleted, 205 has its webhook switched off");
    assert_eq!(roster[3].language_id, Some(2));
    let details = &roster[0].details;
    assert_eq!(details.call_max, Some(jiff::SignedDuration::from_secs(600)));
    assert_eq!((details.ends_on_voicemail, details.webhook_only_completed), (Some(true), Some(true)));
    assert_eq!((details.phone_number_id.as_deref(), details.time_zone.as_deref()), (Some("7"), Some("Europe/Berlin")));
    assert_eq!(details.filled_variables, ["company_name"]);
    assert!(roster[3].details.webhook_off && !details.webhook_off);
    assert!(roster[2].variables.is_empty());
}

#[tokio::test]
async fn a_page_of_calls_is_asked_for_generously_and_keeps_each_call_raw() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/api/user/calls"))
        .and(query_param("type", "outbound"))
        .and(query_param("phone_number", PHONE))
        .and(query_param("date_from", "2026-03-01"))
        .and(query_param("date_to", "2026-03-04"))
        .and(query_param("per_page", "100"))
        .and(query_param("page", "1"))
        .respond_with(json(200, "calls_page.json"))
        .expect(1)
        .mount(&server)
        .await;
    let provider = provider(&format!("{}/api", server.uri()));
    let query = CallQuery {
        phone: PhoneNumber::parse(PHONE).ok(),
        since: "2026-03-02T00:10:00Z".parse().expect("an instant"),
        until: "2026-03-03T23:50:00Z".parse().expect("an instant"),
        page: 1,
    };
    let page = provider.list_calls(&query).await.expect("a page");
    assert!(page.more);
    let ids: Vec<_> =
        page.calls.iter().map(|raw| provider.decode(Source::Call, raw).expect("decodes").call_id).collect();
    assert_eq!(ids, [Some(call_id("480337")), Some(call_id("12346"))]);
}

#[tokio::test]
async fn a_call_is_read_raw() {
    let (_server, url) = serving("/user/calls/480337", json(200, "call_famulor.json")).await;
    let raw = provider(&url).read_call(&call_id("480337")).await.expect("a call");
    assert_eq!(raw, fixture("call_famulor.json").as_bytes());
}

#[tokio::test]
async fn an_id_that_is_a_path_is_never_asked_for() {
    let server = MockServer::start().await;
    let provider = provider(&format!("{}/api", server.uri()));
    for id in ["../me", "..", "", "1/2", "1?x=1", "1%2f2"] {
        assert!(matches!(provider.read_call(&call_id(id)).await, Err(ReadError::NotFound)), "{id}");
    }
    assert_eq!(server.received_requests().await.map(|requests| requests.len()), Some(0));
}

#[tokio::test]
async fn the_account_tells_its_standing() {
    for (answer, expected) in [
        (json(200, "me.json"), AccountStanding::Good { balance: Some("25.5".to_owned()) }),
        (ResponseTemplate::new(200).set_body_string(r#"{"total_balance":0}"#), AccountStanding::BalanceExhausted),
        (json(401, "make_call_401.json"), AccountStanding::KeyRefused),
        (
            json(403, "make_call_403.json"),
            AccountStanding::Forbidden { reason: "This key may not place calls".to_owned() },
        ),
    ] {
        let (_server, url) = serving("/user/me", answer).await;
        assert_eq!(provider(&url).health().await.expect("a standing"), expected);
    }
}

async fn read_error(answer: ResponseTemplate) -> ReadError {
    let (_server, url) = serving("/user/calls/1", answer).await;
    provider(&url).read_call(&call_id("1")).await.expect_err("an error")
}

#[tokio::test]
async fn failed_reads_say_what_to_do_next() {
    assert!(matches!(read_error(ResponseTemplate::new(404)).await, ReadError::NotFound));
    let stopped = read_error(json(401, "make_call_401.json")).await;
    assert!(matches!(stopped, ReadError::AccountStopped(AccountStanding::KeyRefused)));
    let limited = read_error(json(429, "429_auth_guide.json")).await;
    assert!(matches!(limited, ReadError::RateLimited { retry_after: Some(wait) } if wait == Duration::from_secs(60)));
    for status in [408, 418, 500, 503] {
        assert!(matches!(read_error(ResponseTemplate::new(status)).await, ReadError::Unavailable { .. }), "{status}");
    }
}

async fn check_unreadable(answer: ResponseTemplate, expected: &str) {
    let error = read_error(answer).await;
    assert!(matches!(&error, ReadError::Unreadable { reason } if reason == expected), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_the_apis_own_is_named() {
    let ok = || ResponseTemplate::new(200);
    check_unreadable(ok().set_body_raw("<html>", "text/html"), "the answer is a web page, not JSON").await;
    check_unreadable(
        ok().set_body_raw("\u{feff}\n <!doctype html>", "text/html"),
        "the answer is a web page, not JSON",
    )
    .await;
    check_unreadable(ok(), "the answer is empty").await;
    check_unreadable(ok().set_body_string("ok"), "cannot read field .: not JSON at line 1 column 1").await;
    let to = |target: &str| ResponseTemplate::new(302).insert_header("location", target);
    check_unreadable(to("/login"), "HTTP 302: the answer is a redirect").await;
    let target = "https://www.example.org/login?from=+14155550132&key=secret";
    check_unreadable(to(target), "HTTP 302: the answer is a redirect to www.example.org").await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_swallowed() {
    let long = ResponseTemplate::new(200).set_body_string(" ".repeat(3 * 1024 * 1024));
    assert!(matches!(read_error(long).await, ReadError::Unavailable { reason } if reason.contains("longer than")));
}

#[tokio::test]
async fn nothing_listening_is_unavailable_and_tells_no_number() {
    let provider = provider("http://127.0.0.1:1/api");
    let query = CallQuery {
        phone: PhoneNumber::parse(PHONE).ok(),
        since: jiff::Timestamp::UNIX_EPOCH,
        until: jiff::Timestamp::UNIX_EPOCH,
        page: 1,
    };
    let error = provider.list_calls(&query).await.expect_err("nobody listens");
    let text = format!("{error} {error:?}");
    assert!(text.contains("onnection refused"), "{text}");
    assert!(!text.contains("5550132"), "{text}");
}
