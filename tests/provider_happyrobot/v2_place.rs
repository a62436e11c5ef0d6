//! Runs of workflows: what is sent, and what each answer means.

use outdial::config::HappyRobotApi;
use outdial::port::provider::{AccountStanding, NotPlaced, PlaceReply};
use serde_json::json;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{
    PHONE, REQUEST_TIMEOUT, RUN, VARIABLE, account, answer, assistant, attempt, call, call_id, doubt, place, refusal,
    text, v2,
};

async fn serving(reply: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v2/workflows/renewals/runs"))
        .respond_with(reply)
        .expect(1)
        .mount(&server)
        .await;
    server
}

async fn reply_to(reply: ResponseTemplate) -> PlaceReply {
    let server = serving(reply).await;
    place(&v2(&server), &server, call("renewals")).await.0
}

#[tokio::test]
async fn number_and_token_stand_in_the_payload_beside_the_variables() {
    let server = serving(answer(200, "run_triggered_200.json")).await;
    let (reply, sent) = place(&v2(&server), &server, call("renewals")).await;
    assert_eq!(reply, PlaceReply::Placed { call_id: Some(call_id(RUN)) });
    let payload = json!({ "customer_name": "Ann", "phone_number": PHONE, VARIABLE: attempt().to_string() });
    assert_eq!(sent, json!({ "payload": payload, "environment": "staging" }));
}

#[tokio::test]
async fn variables_go_under_a_field_of_their_own_where_the_workflow_wants_one() {
    let server = serving(answer(200, "run_triggered_200.json")).await;
    let api =
        HappyRobotApi::V2 { environment: None, phone_field: "to".to_owned(), variables_field: Some("lead".to_owned()) };
    let provider = account(&format!("{}/api/v2", server.uri()), api, vec![assistant("renewals")]);
    let mut wanted = call("renewals");
    wanted.variables.insert("to".to_owned(), json!("a lead's variable"));
    let (_, sent) = place(&provider, &server, wanted).await;
    let expected = json!({
        "payload": {
            "lead": {
                "customer_name": "Ann",
                "to": "a lead's variable",
                VARIABLE: "a lead's variable never replaces the token",
            },
            "to": PHONE,
            VARIABLE: attempt().to_string(),
        },
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_lead_s_variable_never_takes_the_number_s_place() {
    let server = serving(answer(200, "run_triggered_200.json")).await;
    let mut wanted = call("renewals");
    wanted.variables.insert("phone_number".to_owned(), json!("+14155550999"));
    let (_, sent) = place(&v2(&server), &server, wanted).await;
    assert_eq!(sent["payload"]["phone_number"], json!(PHONE));
}

#[tokio::test]
async fn a_queued_run_is_known_by_its_only_id() {
    let queued = PlaceReply::Placed { call_id: Some(call_id("5d0cba55-0f65-4f0b-8e7c-3b9f0a4e1c02")) };
    assert_eq!(reply_to(answer(200, "run_queued_200.json")).await, queued);
    let several = r#"{"queued_run_ids":["a-1","a-2"]}"#;
    assert_eq!(reply_to(text(200, several)).await, PlaceReply::Placed { call_id: None }, "nobody says which is ours");
    let climbing = r#"{"queued_run_ids":["../x"]}"#;
    assert_eq!(reply_to(text(200, climbing)).await, PlaceReply::Placed { call_id: None });
    assert_eq!(reply_to(text(200, "{}")).await, PlaceReply::Placed { call_id: None }, "no field is required");
}

#[tokio::test]
async fn documented_errors_mean_what_they_say() {
    let gone = refusal(reply_to(answer(404, "error_404.json")).await);
    assert_eq!(gone, NotPlaced::AssistantGone { reason: "Workflow not found".to_owned() });
    let key = refusal(reply_to(text(401, r#"{"error":"Unauthorized"}"#)).await);
    assert_eq!(key, NotPlaced::AccountStopped(AccountStanding::KeyRefused));
    assert_eq!(doubt(&reply_to(answer(502, "error_502.json")).await), Some(false));
    assert_eq!(doubt(&reply_to(text(500, r#"{"error":"Internal"}"#)).await), Some(false));
}

#[tokio::test]
async fn silence_is_in_doubt_and_nothing_is_asked_twice() {
    let late = answer(200, "run_triggered_200.json").set_delay(REQUEST_TIMEOUT * 2);
    assert_eq!(doubt(&reply_to(late).await), Some(false));
}

#[tokio::test]
async fn an_undocumented_refusal_is_no_fault_of_the_number() {
    let refused = refusal(reply_to(text(422, r#"{"error":"Unprocessable","message":"bad number"}"#)).await);
    assert_eq!(refused, NotPlaced::Refused { status: 422, reason: "bad number".to_owned() });
}
