//! `dial/outbound`: what is sent, and what each answer means.

use outdial::config::HappyRobotApi;
use outdial::domain::call_options::CallOptions;
use outdial::port::provider::{AccountStanding, NotPlaced, PlaceReply};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{
    CALL, PHONE, REQUEST_TIMEOUT, VARIABLE, account, answer, assistant, at, attempt, call, call_id, doubt, fixture,
    place, refusal, text, v1,
};

async fn serving(reply: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/api/v1/dial/outbound")).respond_with(reply).expect(1).mount(&server).await;
    server
}

async fn reply_to(reply: ResponseTemplate) -> PlaceReply {
    let server = serving(reply).await;
    place(&v1(&server), &server, call("as-1")).await.0
}

fn all_options() -> CallOptions {
    let some = |text: &str| Some(text.to_owned());
    CallOptions {
        use_case_id: some("uc-1"),
        agent_id: some("ag-1"),
        number_id: some("nu-1"),
        voice_id: some("vo-1"),
        prompt_id: some("pr-1"),
        model: some("Fast"),
        model_id: some("mo-1"),
        language: some("en-US"),
        campaign_id: some("ca-1"),
        max_duration_mins: Some(10),
        scheduled_at_departure: true,
    }
}

#[tokio::test]
async fn with_every_option_the_request_has_exactly_the_fields_of_the_documented_one() {
    let server = serving(answer(200, "dial_outbound_200.json")).await;
    let mut wanted = call("as-1");
    wanted.options = all_options();
    wanted.scheduled_for = Some(at("2026-03-02T09:00:00.123456Z"));
    let (_, sent) = place(&v1(&server), &server, wanted).await;
    let documented: Value = serde_json::from_str(&fixture("dial_outbound_request.json")).expect("JSON");
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&sent), names(&documented), "the same fields in the same order");
    let expected = json!({
        "assistant_id": "as-1",
        "voice_id": "vo-1",
        "model": "Fast",
        "number_id": "nu-1",
        "prompt_id": "pr-1",
        "use_case_id": "uc-1",
        "agent_id": "ag-1",
        "model_id": "mo-1",
        "phone_number": PHONE,
        "language": "en-US",
        "params": { "customer_name": "Ann", VARIABLE: "a lead's variable never replaces the token" },
        "metadata": { VARIABLE: attempt().to_string() },
        "campaign_id": "ca-1",
        "scheduled_for": "2026-03-02T09:00:00Z",
        "max_duration_mins": 10,
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_sent_and_least_of_all_a_time() {
    let server = serving(answer(200, "dial_outbound_200.json")).await;
    let (_, sent) = place(&v1(&server), &server, call("as-1")).await;
    let fields: Vec<_> = sent.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["assistant_id", "phone_number", "params", "metadata"]);
}

#[tokio::test]
async fn the_campaign_has_the_last_word_then_the_assistant_then_the_account() {
    let server = serving(answer(200, "dial_outbound_200.json")).await;
    let words = |voice: Option<&str>, language: Option<&str>, model: Option<&str>| CallOptions {
        voice_id: voice.map(str::to_owned),
        language: language.map(str::to_owned),
        model: model.map(str::to_owned),
        ..CallOptions::default()
    };
    let mut declared = assistant("as-1");
    declared.call = words(Some("assistant"), Some("assistant"), None);
    declared.variables =
        serde_json::Map::from_iter([("customer_name".to_owned(), json!("nobody")), ("tone".to_owned(), json!("warm"))]);
    let defaults = words(Some("account"), Some("account"), Some("account"));
    let api = HappyRobotApi::V1 { call: Box::new(defaults), call_path: None, cancel_path: None };
    let provider = account(&format!("{}/api/v1", server.uri()), api, vec![declared]);
    let mut wanted = call("as-1");
    wanted.options = words(Some("campaign"), None, None);
    let (_, sent) = place(&provider, &server, wanted).await;
    assert_eq!(
        (&sent["voice_id"], &sent["language"], &sent["model"]),
        (&json!("campaign"), &json!("assistant"), &json!("account"))
    );
    assert_eq!((&sent["params"]["customer_name"], &sent["params"]["tone"]), (&json!("Ann"), &json!("warm")));
}

#[tokio::test]
async fn no_call_is_asked_to_be_longer_than_call_max() {
    let server = serving(answer(200, "dial_outbound_200.json")).await;
    let mut wanted = call("as-1");
    wanted.options.max_duration_mins = Some(600);
    let (_, sent) = place(&v1(&server), &server, wanted).await;
    assert_eq!(sent["max_duration_mins"], json!(20));
}

#[tokio::test]
async fn the_documented_answer_has_an_id_and_no_status() {
    // In the documentation the id is a placeholder, which no call can have.
    assert_eq!(reply_to(answer(200, "dial_outbound_200.json")).await, PlaceReply::Placed { call_id: None });
    let body = fixture("dial_outbound_200.json").replacen("<string>", CALL, 1);
    assert_eq!(reply_to(text(200, &body)).await, PlaceReply::Placed { call_id: Some(call_id(CALL)) });
}

#[tokio::test]
async fn an_answer_without_an_id_is_placed_all_the_same() {
    assert_eq!(reply_to(text(200, "{}")).await, PlaceReply::Placed { call_id: None });
    assert_eq!(reply_to(text(200, r#"{"id":"../../orgs"}"#)).await, PlaceReply::Placed { call_id: None });
}

#[tokio::test]
async fn an_unreadable_success_is_in_doubt_and_accepted() {
    for body in ["", "<html>", "[]", "{\"id\":"] {
        assert_eq!(doubt(&reply_to(text(200, body)).await), Some(true), "{body:?}");
    }
}

#[tokio::test]
async fn errors_of_the_server_and_on_the_way_are_in_doubt() {
    for status in [302, 408, 500, 502, 503, 504] {
        assert_eq!(doubt(&reply_to(text(status, "{}")).await), Some(false), "{status}");
    }
    let late = text(200, "{}").set_delay(REQUEST_TIMEOUT * 2);
    assert_eq!(doubt(&reply_to(late).await), Some(false), "a timeout");
}

#[tokio::test]
async fn a_refusal_nobody_documents_is_never_the_number_s_fault() {
    for status in [400, 402, 405, 409, 422] {
        let refused = refusal(reply_to(text(status, r#"{"message":"Invalid phone number +14155550132"}"#)).await);
        let expected = NotPlaced::Refused { status, reason: "Invalid phone number +…".to_owned() };
        assert_eq!(refused, expected);
    }
}

#[tokio::test]
async fn the_account_stops_when_its_key_is_refused() {
    let refused = refusal(reply_to(text(401, r#"{"message":"Unauthorized"}"#)).await);
    assert_eq!(refused, NotPlaced::AccountStopped(AccountStanding::KeyRefused));
    let refused = refusal(reply_to(text(403, r#"{"message":"not yours"}"#)).await);
    let reason = "not yours".to_owned();
    assert_eq!(refused, NotPlaced::AccountStopped(AccountStanding::Forbidden { reason }));
}

#[tokio::test]
async fn a_404_of_the_provider_is_about_the_assistant_and_a_proxy_s_is_not() {
    let refused = refusal(reply_to(text(404, r#"{"message":"no such assistant"}"#)).await);
    assert_eq!(refused, NotPlaced::AssistantGone { reason: "no such assistant".to_owned() });
    let refused = refusal(reply_to(text(404, "<html>")).await);
    assert_eq!(refused, NotPlaced::Refused { status: 404, reason: "no reason given".to_owned() });
}

#[tokio::test]
async fn too_many_requests_pause_the_account() {
    let limited = text(429, "{}").insert_header("retry-after", "7");
    let refused = refusal(reply_to(limited).await);
    assert_eq!(refused, NotPlaced::RateLimited { retry_after: Some(std::time::Duration::from_secs(7)) });
}
