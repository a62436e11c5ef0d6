//! Every answer to a request for a call, and what it means.

use std::time::Duration;

use outdial::port::permit::NotSent;
use outdial::port::provider::{AccountStanding, NotPlaced, PlaceReply, Provider};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{
    API_KEY, PHONE, REQUEST_TIMEOUT, VARIABLE, attempt, call_id, fixture, options, permit, permit_for, provider, server,
};

fn json_answer(status: u16, name: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(fixture(name), "application/json")
}

fn text_answer(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body.to_owned(), "application/json")
}

async fn serving(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/api/user/make_call")).respond_with(answer).expect(1).mount(&server).await;
    server
}

async fn reply_to(answer: ResponseTemplate) -> PlaceReply {
    let server = serving(answer).await;
    let (permit, record) = permit(1);
    let reply = provider(&format!("{}/api", server.uri())).place(permit).await;
    assert!(record.sent_at().is_some(), "the request was sent");
    reply
}

async fn not_placed(answer: ResponseTemplate) -> NotPlaced {
    match reply_to(answer).await {
        PlaceReply::NotPlaced(why) => why,
        other @ (PlaceReply::Placed { .. } | PlaceReply::Unknown { .. }) => panic!("expected a refusal, got {other:?}"),
    }
}

/// Whether it is in doubt, and if so, whether a 2xx came.
async fn doubt(answer: ResponseTemplate) -> Option<bool> {
    match reply_to(answer).await {
        PlaceReply::Unknown { accepted, .. } => Some(accepted),
        PlaceReply::Placed { .. } | PlaceReply::NotPlaced(_) => None,
    }
}

#[tokio::test]
async fn the_request_is_what_is_documented_plus_our_token() {
    let server = serving(json_answer(200, "make_call_200_famulor.json")).await;
    let (permit, record) = permit(1);
    let reply = provider(&format!("{}/api", server.uri())).place(permit).await;
    assert_eq!(reply, PlaceReply::Placed { call_id: Some(call_id("480337")) });
    assert_eq!(record.sent_at(), Some(jiff::Timestamp::UNIX_EPOCH));
    let requests = server.received_requests().await.expect("recorded");
    let [request] = requests.as_slice() else { panic!("one request expected") };
    let expected = json!({
        "phone_number": PHONE,
        "assistant_id": 123,
        "variables": { "customer_name": "Ann", "visits": 3, VARIABLE: attempt(1).to_string() },
    });
    assert_eq!(request.body_json::<Value>().expect("JSON"), expected);
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    assert_eq!(header("authorization"), Some(format!("Bearer {API_KEY}")));
    assert_eq!(header("accept").as_deref(), Some("application/json"));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("content-length"), Some(request.body.len().to_string()));
    assert_eq!(header("transfer-encoding"), None);
}

#[tokio::test]
async fn long_and_wordy_assistant_ids_go_out_exactly() {
    for (id, wire) in [("9007199254740993", "9007199254740993"), ("a-b", "\"a-b\""), ("007", "\"007\"")] {
        let server = serving(json_answer(200, "make_call_200_data_empty.json")).await;
        let (permit, _) = permit_for(1, id, Ok(()));
        provider(&format!("{}/api", server.uri())).place(permit).await;
        let requests = server.received_requests().await.expect("recorded");
        let body = String::from_utf8(requests[0].body.clone()).expect("text");
        assert!(body.contains(&format!("\"assistant_id\":{wire},")), "{body}");
    }
}

#[tokio::test]
async fn an_accepted_call_may_come_without_an_id() {
    for name in ["make_call_200_data_empty.json", "make_call_200_portuguese.json"] {
        assert_eq!(reply_to(json_answer(200, name)).await, PlaceReply::Placed { call_id: None }, "{name}");
    }
    for (body, id) in [
        (r#"{"call_id":"480337"}"#, Some("480337")),
        (r#"{"data":{"id":7}}"#, Some("7")),
        (r#"{"data":{"id":7,"call_id":"8"}}"#, Some("8")),
        (r#"{"call_id":null,"data":{"call_id":9}}"#, Some("9")),
        (r#"{"call_id":9007199254740993}"#, Some("9007199254740993")),
        (r#"{"call_id":0}"#, None),
        (r#"{"call_id":"","data":[]}"#, None),
        (r#"{"call_id":{"x":1}}"#, None),
        ("[]", None),
    ] {
        let expected = PlaceReply::Placed { call_id: id.map(call_id) };
        assert_eq!(reply_to(text_answer(201, body)).await, expected, "{body}");
    }
}

#[tokio::test]
async fn an_accepted_call_whose_answer_cannot_be_read_is_in_doubt() {
    for body in ["", "<html><body>Welcome</body></html>", r#"{"message":"Call initiated succ"#, "ok"] {
        assert_eq!(doubt(text_answer(200, body)).await, Some(true), "{body:?}");
    }
    assert_eq!(doubt(ResponseTemplate::new(204)).await, Some(true));
    assert_eq!(doubt(text_answer(200, &format!("{{{}}}", " ".repeat(100_000)))).await, Some(true), "too long");
}

#[tokio::test]
async fn a_number_the_provider_refuses_is_the_leads_own_reason() {
    let why = not_placed(json_answer(400, "make_call_400_number.json")).await;
    let NotPlaced::NumberRefused { reason, suppressed: false } = why else { panic!("got {why:?}") };
    assert_eq!(reason, "Invalid phone number format. Please use E.164 format (e.g. +…)");
    let why = not_placed(json_answer(422, "make_call_422_phone.json")).await;
    assert!(matches!(why, NotPlaced::NumberRefused { suppressed: false, .. }), "{why:?}");
}

#[tokio::test]
async fn account_wide_refusals_stop_the_account() {
    let key = not_placed(json_answer(401, "make_call_401.json")).await;
    assert_eq!(key, NotPlaced::AccountStopped(AccountStanding::KeyRefused));
    let forbidden = not_placed(json_answer(403, "make_call_403.json")).await;
    let reason = "This key may not place calls".to_owned();
    assert_eq!(forbidden, NotPlaced::AccountStopped(AccountStanding::Forbidden { reason }));
}

#[tokio::test]
async fn a_missing_assistant_is_told_from_a_missing_page() {
    let gone = not_placed(json_answer(404, "make_call_404.json")).await;
    assert!(matches!(gone, NotPlaced::AssistantGone { .. }), "{gone:?}");
    let page = not_placed(ResponseTemplate::new(404).set_body_raw("<h1>Not found</h1>", "text/html")).await;
    assert!(matches!(page, NotPlaced::Refused { status: 404, .. }), "{page:?}");
}

#[tokio::test]
async fn a_422_without_errors_asks_for_the_balance() {
    let stopped = NotPlaced::AccountStopped(AccountStanding::BalanceExhausted);
    let reason = "Insufficient balance to make call. Please top up your account.".to_owned();
    let refused = NotPlaced::Refused { status: 422, reason };
    for (me, expected) in [
        (text_answer(200, r#"{"total_balance":0}"#), &stopped),
        (text_answer(200, r#"{"total_balance":"-0.10"}"#), &stopped),
        (json_answer(200, "me.json"), &refused),
        (text_answer(200, "{}"), &refused),
        (ResponseTemplate::new(500), &refused),
        (json_answer(401, "make_call_401.json"), &refused),
    ] {
        let server = serving(json_answer(422, "make_call_422_balance.json")).await;
        Mock::given(method("GET")).and(path("/api/user/me")).respond_with(me).expect(1).mount(&server).await;
        let (permit, _) = permit(1);
        let reply = provider(&format!("{}/api", server.uri())).place(permit).await;
        assert_eq!(reply, PlaceReply::NotPlaced(expected.clone()));
    }
}

#[tokio::test]
async fn a_422_with_errors_never_asks_for_the_balance() {
    let why = not_placed(json_answer(422, "make_call_422_assistant.json")).await;
    assert_eq!(why, NotPlaced::Refused { status: 422, reason: "Validation failed".to_owned() });
}

#[tokio::test]
async fn both_bodies_of_429_and_the_header_tell_how_long_to_wait() {
    for name in ["429_auth_guide.json", "429_generate_reply.json"] {
        let expected = NotPlaced::RateLimited { retry_after: Some(Duration::from_secs(60)) };
        assert_eq!(not_placed(json_answer(429, name)).await, expected, "{name}");
    }
    let header = ResponseTemplate::new(429).insert_header("retry-after", "17").set_body_string("<html>");
    assert_eq!(not_placed(header).await, NotPlaced::RateLimited { retry_after: Some(Duration::from_secs(17)) });
    assert_eq!(not_placed(ResponseTemplate::new(429)).await, NotPlaced::RateLimited { retry_after: None });
}

#[tokio::test]
async fn a_refusal_nobody_documents_is_still_certain() {
    for status in [402, 405, 409, 410, 413, 415, 418, 423, 451] {
        let why = not_placed(ResponseTemplate::new(status)).await;
        assert_eq!(why, NotPlaced::Refused { status, reason: "no reason given".to_owned() });
    }
    let from_proxy = not_placed(ResponseTemplate::new(400).set_body_raw("<h1>Bad request</h1>", "text/html")).await;
    assert!(matches!(from_proxy, NotPlaced::Refused { status: 400, .. }), "a proxy's page accuses no number");
}

#[tokio::test]
async fn server_errors_and_408_are_in_doubt() {
    for status in [408, 500, 501, 502, 503, 504, 520, 524, 599] {
        assert_eq!(doubt(ResponseTemplate::new(status)).await, Some(false), "{status}");
        let worded = text_answer(status, r#"{"message":"Failed, nothing was called"}"#);
        assert_eq!(doubt(worded).await, Some(false), "{status}, whatever it says");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let target = MockServer::start().await;
    for status in [301, 302, 303, 307, 308] {
        let answer = ResponseTemplate::new(status)
            .insert_header("location", format!("{}/api/user/make_call", target.uri()).as_str());
        assert_eq!(doubt(answer).await, Some(false), "{status}");
    }
    assert_eq!(target.received_requests().await.map(|requests| requests.len()), Some(0));
}

#[tokio::test]
async fn nobody_listening_is_certainly_not_placed() {
    let (permit, record) = permit(1);
    let reply = provider("http://127.0.0.1:1/api").place(permit).await;
    let PlaceReply::NotPlaced(NotPlaced::Unreachable { reason }) = reply else { panic!("got {reply:?}") };
    assert!(reason.contains("onnection refused"), "{reason}");
    assert_eq!(record.sent_at(), None, "the last look was never taken");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_certainly_not_placed() {
    let (url, received) = server(|mut peer, _| async move {
        peer.read_some().await;
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let (permit, record) = permit(1);
    let reply = provider(&url.replace("http:", "https:")).place(permit).await;
    assert!(matches!(reply, PlaceReply::NotPlaced(NotPlaced::Unreachable { .. })), "{reply:?}");
    assert_eq!(record.sent_at(), None);
    assert_eq!(received.whole_bodies(1), 0);
    assert!(received.connections().iter().all(|bytes| !String::from_utf8_lossy(bytes).contains("make_call")));
}

#[tokio::test]
async fn neither_errors_nor_debug_tell_the_key_or_the_number() {
    let body = json!({ "message": format!("{PHONE} with {API_KEY} refused; +1 (415) 555-0132 too") }).to_string();
    let reply = reply_to(text_answer(409, &body)).await;
    let client = provider("http://127.0.0.1:1/api");
    let (permit, _) = permit_for(1, "123", Err(NotSent::PermitExpired));
    let call = format!("{:?}", permit_for(1, "123", Ok(())).0.into_parts().0);
    let unreachable = provider("http://127.0.0.1:1/api").place(permit).await;
    for text in [format!("{reply:?}"), format!("{client:?} {client:#?}"), call, format!("{unreachable:?}")] {
        for secret in ["verysecretkey", "5550132", "555-0132", "Ann"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn a_client_that_cannot_work_is_not_made() {
    let with_key = |key: &str| {
        let options = outdial::adapter::provider::AutocallsOptions {
            api_key: key.to_owned().into(),
            ..options("http://127.0.0.1:1/api", REQUEST_TIMEOUT)
        };
        outdial::adapter::provider::Autocalls::new(options).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with_key("good\n"), Ok(()), "the line end of a file does no harm");
    for key in ["", " \n", "two\nlines"] {
        let error = with_key(key).expect_err("not a key");
        assert_eq!(error, "the API key is empty or has characters that cannot be sent");
    }
    let options = outdial::adapter::provider::AutocallsOptions {
        base_url: None,
        ..options("http://127.0.0.1:1/api", REQUEST_TIMEOUT)
    };
    let error = outdial::adapter::provider::Autocalls::new(options).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(error, Err("provider autocalls needs a base URL".to_owned()));
}
