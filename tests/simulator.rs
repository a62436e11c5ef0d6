//! Speaks HTTP to the provider simulator, as a client would.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::simulator::{
    Assistant, AssistantChange, CallRecord, Fate, Fault, Faults, OutcomeMix, ReadFaults, Record, RequestRecord, Shape,
    Simulator, SimulatorHandle, SimulatorOptions, Span, Timing, oracle,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const PHONE: &str = "+12025550100";

/// A simulator that works, and whose calls all reach the goal; a civil hour takes 3.6 real seconds.
fn options() -> SimulatorOptions {
    SimulatorOptions { mix: OutcomeMix::only(Fate::GoalMet), clock: fast(1_000), ..SimulatorOptions::default() }
}

fn fast(factor: u32) -> ScaledClock {
    ScaledClock::starting_at("2026-03-02T09:00:00Z".parse().expect("an instant"), factor).expect("a factor")
}

async fn start(options: SimulatorOptions) -> (SimulatorHandle, Client) {
    let simulator = Simulator::start(options).await.expect("the simulator starts");
    let client = Client::new(&simulator);
    (simulator, client)
}

struct Client {
    http: reqwest::Client,
    base: String,
    origin: String,
}

impl Client {
    fn new(simulator: &SimulatorHandle) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .build()
            .expect("a client");
        Self { http, base: simulator.base_url.clone(), origin: format!("http://{}", simulator.address) }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Result<Response> {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth("simulated-key");
        match body {
            Some(body) => request.json(&body).send().await,
            None => request.send().await,
        }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        split(self.send(Method::GET, path, None).await.expect("an answer")).await
    }

    async fn ring(&self, phone: &str) -> reqwest::Result<Response> {
        let body = json!({"phone_number": phone, "assistant_id": 123, "variables": {"ref": format!("token-{phone}")}});
        self.send(Method::POST, "/user/make_call", Some(body)).await
    }

    async fn post(&self, body: Value) -> (u16, Value) {
        split(self.send(Method::POST, "/user/make_call", Some(body)).await.expect("an answer")).await
    }

    async fn control(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(method, format!("{}/_sim/{path}", self.origin));
        let request = if let Some(body) = body { request.json(&body) } else { request };
        split(request.send().await.expect("an answer")).await
    }
}

async fn split(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Waits until `found` finds something, at most ten seconds.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let since = Instant::now();
    loop {
        if let Some(it) = found().await {
            return it;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn call_with_status(client: &Client, call_id: u64, status: &str) -> Value {
    eventually(status, || async {
        let (_, call) = client.get(&format!("/user/calls/{call_id}")).await;
        (call["status"] == status).then_some(call)
    })
    .await
}

fn requests(simulator: &SimulatorHandle) -> Vec<RequestRecord> {
    let records = simulator.log().into_iter();
    records.filter_map(|record| if let Record::Request(request) = record { Some(request) } else { None }).collect()
}

fn phone(number: u32) -> String {
    format!("+1202556{number:04}")
}

#[tokio::test]
async fn a_call_is_placed_and_goes_through_its_life_in_famulors_shape() {
    let (simulator, client) = start(options()).await;
    let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
    assert_eq!((status, &body["status"]), (200, &json!("initiated")));
    let call_id = body["call_id"].as_u64().unwrap();
    let call = call_with_status(&client, call_id, "completed").await;
    assert_eq!(call["client_phone_number"], PHONE);
    assert_eq!((&call["answered_by"], &call["type"]), (&json!("human"), &json!("outbound")));
    assert_eq!(call["assistant_name"], "Sales Spring");
    assert!(call["duration"].as_i64().unwrap() >= 15);
    assert!(call["transcript"].as_array().unwrap().iter().any(|line| line["sender"] == "human"));
    assert_eq!(call["variables"]["ref"], format!("token-{PHONE}"));
    let booked = call["evaluation"].as_array().unwrap().iter().find(|entry| entry["name"] == "appointment_booked");
    assert_eq!(booked.unwrap()["value"], true);
    let cost = call["total_cost"].as_str().unwrap();
    assert!(cost.len() == "0.02000000".len() && cost.parse::<f64>().unwrap() > 0.0, "{cost}");
    let created_at = call["created_at"].as_str().unwrap();
    assert!(created_at.starts_with("2026-03-02 ") && created_at.len() == 19, "no zone: {created_at}");
    let balance = client.get("/user/me").await.1["total_balance"].as_f64().unwrap();
    assert!(balance < 1_000_000.0, "{balance}");
    let placed = simulator.calls();
    assert_eq!((placed.len(), placed[0].call_id, placed[0].fate), (1, call_id, Fate::GoalMet));
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_white_label_says_less_and_types_it_differently() {
    let (simulator, client) = start(SimulatorOptions { shape: Shape::WhiteLabel, ..options() }).await;
    let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
    assert_eq!((status, &body["data"]), (200, &json!({})));
    assert!(body.get("call_id").is_none() && body["message"] != "Call initiated successfully", "{body}");
    let call = call_with_status(&client, simulator.calls()[0].call_id, "completed").await;
    assert!(call["transcript"].as_str().unwrap().contains("Customer: "));
    assert_eq!(call["evaluation"]["appointment_booked"], true);
    assert!(call["total_cost"].as_f64().unwrap() > 0.0);
    assert!(call["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn variables_come_back_only_if_told_to_and_empty_ones_are_an_array_at_famulor() {
    for (shape, empty) in [(Shape::Famulor, json!([])), (Shape::WhiteLabel, json!({}))] {
        let mix = OutcomeMix::only(Fate::Voicemail);
        let (simulator, client) = start(SimulatorOptions { shape, mix, echo_variables: false, ..options() }).await;
        client.ring(PHONE).await.unwrap();
        let call = call_with_status(&client, simulator.calls()[0].call_id, "completed").await;
        assert_eq!((&call["variables"], &call["evaluation"]), (&empty, &empty));
        assert_eq!(call["answered_by"], "machine");
    }
}

#[tokio::test]
async fn calls_that_reach_nobody_end_in_their_own_status() {
    for (fate, status) in [(Fate::NoAnswer, "no-answer"), (Fate::Busy, "busy"), (Fate::Failed, "failed")] {
        let (simulator, client) = start(SimulatorOptions { mix: OutcomeMix::only(fate), ..options() }).await;
        client.ring(PHONE).await.unwrap();
        let call = call_with_status(&client, simulator.calls()[0].call_id, status).await;
        assert_eq!((&call["answered_by"], &call["duration"]), (&Value::Null, &json!(0)));
        assert_eq!(call["total_cost"], "0.00000000");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_served_get_their_documented_answers() {
    let mix = OutcomeMix { refused_numbers: 1.0, ..OutcomeMix::default() };
    let (refusing, refused) = start(SimulatorOptions { mix, ..options() }).await;
    assert_eq!(refused.ring(PHONE).await.unwrap().status(), 400);
    let (simulator, client) = start(options()).await;
    for (body, status, field) in [
        (json!({"phone_number": "0221 55", "assistant_id": 123}), 400, None),
        (json!({"phone_number": PHONE, "assistant_id": 999}), 404, None),
        (json!({"phone_number": PHONE, "assistant_id": 124}), 403, None),
        (json!({"assistant_id": 123}), 422, Some("phone_number")),
        (json!({"phone_number": PHONE, "assistant_id": "Sales"}), 422, Some("assistant_id")),
        (json!({"phone_number": PHONE, "assistant_id": 123, "variables": 5}), 422, Some("variables")),
    ] {
        let (got, answer) = client.post(body.clone()).await;
        assert_eq!(got, status, "{body}");
        assert!(answer["message"].is_string(), "{answer}");
        let errors = answer.get("errors").and_then(Value::as_object);
        assert_eq!(errors.and_then(|errors| errors.keys().next()).map(String::as_str), field);
    }
    simulator.set_balance(0.0);
    let (status, answer) = split(client.ring(PHONE).await.unwrap()).await;
    assert!(status == 422 && answer.get("errors").is_none(), "{answer}");
    assert_eq!(client.get("/user/calls/1").await, (404, json!({"message": "Call not found"})));
    assert_eq!(client.get("/user/nothing").await.0, 404);
    for key in [None, Some("wrong")] {
        let request = client.http.get(format!("{}/user/me", client.base));
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        let (status, answer) = split(request.send().await.unwrap()).await;
        assert!(status == 401 && answer["error"].is_string(), "{answer}");
    }
    assert_eq!((simulator.calls(), refusing.calls()), (vec![], vec![]));
}

#[tokio::test]
async fn assistants_are_listed_in_both_ways() {
    let mut options = options().with_webhook("http://127.0.0.1:1/hook");
    options.assistants.push(Assistant { outbound: false, ..Assistant::new(200, "Reception") });
    let (simulator, client) = start(options).await;
    let statuses = |list: &Value| -> Vec<(u64, String)> {
        let entries = list.as_array().unwrap().iter();
        entries.map(|entry| (entry["id"].as_u64().unwrap(), entry["status"].as_str().unwrap().to_owned())).collect()
    };
    let expected = |first: &str| {
        [(123, first), (124, "inactive"), (125, "active")].map(|(id, status)| (id, status.to_owned())).to_vec()
    };
    let (_, outbound) = client.get("/user/assistants/outbound").await;
    assert_eq!(statuses(&outbound), expected("active"));
    assert_eq!(outbound[0]["webhook_url"], "http://127.0.0.1:1/hook");
    assert!(simulator.set_assistant_status(123, false) && !simulator.set_assistant_status(999, false));
    let (_, outbound) = client.get("/user/assistants/outbound").await;
    assert_eq!(statuses(&outbound), expected("inactive"));
    let (_, page) = client.get("/user/assistants/get?per_page=3&page=2").await;
    assert_eq!((&page["total"], &page["last_page"], &page["current_page"]), (&json!(4), &json!(2), &json!(2)));
    assert_eq!((&page["data"][0]["id"], &page["data"][0]["type"]), (&json!(200), &json!("inbound")));
    assert!(page["data"][0]["fillers"].is_u64() && page["data"][0]["llm_temperature"].is_string());
    assert_eq!(client.get("/user/assistants/get?per_page=101").await.0, 422);
}

#[tokio::test]
async fn calls_are_listed_newest_first_by_page_and_filter() {
    let (simulator, client) = start(options()).await;
    for number in 0..23 {
        client.ring(&phone(number)).await.unwrap();
    }
    client.ring(&phone(3)).await.unwrap();
    let ids = |page: &Value| -> Vec<u64> {
        page["data"].as_array().unwrap().iter().map(|call| call["id"].as_u64().unwrap()).collect()
    };
    let newest: Vec<u64> = simulator.calls().iter().rev().map(|call| call.call_id).collect();
    let (_, first) = client.get("/user/calls").await;
    assert_eq!(ids(&first), newest[..15]);
    assert_eq!((&first["total"], &first["last_page"], &first["per_page"]), (&json!(24), &json!(2), &json!(15)));
    assert!(first["next_page_url"].as_str().unwrap().ends_with("/api/user/calls?page=2"));
    let (_, third) = client.get("/user/calls?per_page=10&page=3").await;
    assert_eq!(ids(&third), newest[20..]);
    assert_eq!((&third["from"], &third["to"], &third["next_page_url"]), (&json!(21), &json!(24), &Value::Null));
    let encoded = phone(3).replace('+', "%2B");
    let query = format!("/user/calls?type=outbound&assistant_id=123&phone_number={encoded}&date_from=2026-03-01");
    let (_, of_phone) = client.get(&query).await;
    assert_eq!(ids(&of_phone), [newest[0], newest[20]]);
    for nothing in ["assistant_id=125", "type=inbound", "campaign_id=1", "date_to=2026-03-01", "status=busy", "page=9"]
    {
        let (status, page) = client.get(&format!("/user/calls?{nothing}")).await;
        assert!(status == 200 && ids(&page).is_empty() && page["from"].is_null(), "{nothing}: {page}");
    }
    for wrong in ["per_page=0", "per_page=101", "page=0", "status=voicemail", "date_from=yesterday", "assistant_id=x"] {
        assert_eq!(client.get(&format!("/user/calls?{wrong}")).await.0, 422, "{wrong}");
    }
}

#[tokio::test]
async fn the_list_shows_a_call_late_while_its_own_page_shows_it_at_once() {
    let (simulator, client) = start(options()).await;
    simulator.set_faults(Faults { list_lag: Span::seconds(900, 900), ..Faults::default() }).unwrap();
    client.ring(PHONE).await.unwrap();
    let call = simulator.calls().remove(0);
    assert_eq!(call.listed_at.duration_since(call.accepted_at), SignedDuration::from_secs(900));
    assert_eq!(client.get(&format!("/user/calls/{}", call.call_id)).await.0, 200);
    eventually("the listing", || async {
        let before = simulator.clock().now();
        let total = client.get("/user/calls?phone_number=%2B12025550100").await.1["total"].as_u64().unwrap();
        let after = simulator.clock().now();
        assert!(total == 1 || before < call.listed_at, "not listed at {before}");
        assert!(total == 0 || after >= call.listed_at, "listed at {after}");
        (total == 1).then_some(())
    })
    .await;
}

/// Faults that tell a client nothing, or too little: whether a call was placed only the record knows.
#[tokio::test]
async fn faults_of_placing_do_what_their_names_say() {
    let only = |fault: Fault| -> Faults { format!("{fault}=1,slow_for_ms=300,retry_after=7").parse().unwrap() };
    let (simulator, client) = start(options()).await;
    let placed = |phone: &str| simulator.calls().iter().filter(|call| call.phone == phone).count();
    let mut number = 0;
    let mut next_phone = || {
        number += 1;
        phone(number)
    };
    for (fault, places) in [(Fault::AcceptedThenConnectionLost, 1), (Fault::RefusedThenConnectionLost, 0)] {
        simulator.set_faults(only(fault)).unwrap();
        let phone = next_phone();
        let error = client.ring(&phone).await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout() && !error.is_connect(), "{error:?}");
        assert_eq!(placed(&phone), places, "{fault}");
        let request = requests(&simulator).pop().unwrap();
        assert_eq!((request.status, request.fault, request.phone), (None, Some(fault), Some(phone)));
    }
    for (fault, places) in [(Fault::AcceptedThen500, 1), (Fault::RefusedWith500, 0)] {
        simulator.set_faults(only(fault)).unwrap();
        let phone = next_phone();
        assert_eq!(client.ring(&phone).await.unwrap().status(), 500);
        assert_eq!(placed(&phone), places, "{fault}");
    }

    simulator.set_faults(only(Fault::SlowerThanTimeout)).unwrap();
    let slow = next_phone();
    let hasty = client.http.post(format!("{}/user/make_call", client.base)).bearer_auth("simulated-key");
    let hasty = hasty.json(&json!({"phone_number": slow, "assistant_id": 123})).timeout(Duration::from_millis(100));
    assert!(hasty.send().await.unwrap_err().is_timeout());
    assert_eq!(placed(&slow), 1, "the client left, the call stays");
    let since = Instant::now();
    assert_eq!(client.ring(&next_phone()).await.unwrap().status(), 200);
    assert!(since.elapsed() >= Duration::from_millis(300));

    simulator.set_faults(only(Fault::TruncatedJson)).unwrap();
    let cut = next_phone();
    let text = client.ring(&cut).await.unwrap().text().await.unwrap();
    assert!(text.starts_with('{') && serde_json::from_str::<Value>(&text).is_err(), "{text}");
    assert_eq!(placed(&cut), 1);
    simulator.set_faults(only(Fault::RateLimited)).unwrap();
    let limited = next_phone();
    let (status, body) = split(client.ring(&limited).await.unwrap()).await;
    assert_eq!((status, &body["retry_after"], placed(&limited)), (429, &json!(7), 0));

    for (fault, statuses) in [(Fault::Html, vec![200]), (Fault::Redirect, vec![302, 307])] {
        simulator.set_faults(only(fault)).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..60 {
            let phone = next_phone();
            let response = client.ring(&phone).await.unwrap();
            assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
            assert_eq!(response.headers().contains_key("location"), fault == Fault::Redirect);
            seen.insert((response.status().as_u16(), placed(&phone)));
        }
        let with_and_without: BTreeSet<_> = statuses.iter().flat_map(|status| [(*status, 0), (*status, 1)]).collect();
        assert_eq!(seen, with_and_without, "{fault}");
    }
    assert!(simulator.set_faults(Faults { html: 2.0, ..Faults::default() }).is_err());
}

#[tokio::test]
async fn both_bodies_of_a_429_occur() {
    let (simulator, client) = start(options()).await;
    simulator.set_faults(Faults { rate_limited: 1.0, ..Faults::default() }).unwrap();
    let mut kinds = BTreeSet::new();
    for number in 0..30 {
        let (_, body) = split(client.ring(&phone(number)).await.unwrap()).await;
        kinds.insert(body.get("error").is_some());
    }
    assert_eq!(kinds.len(), 2);
}

#[tokio::test]
async fn faults_of_reading_have_a_switch_of_their_own() {
    let (simulator, client) = start(options()).await;
    let reading = |reads| Faults { reads, ..Faults::default() };
    let ask = || client.send(Method::GET, "/user/me", None);
    simulator.set_faults(reading(ReadFaults { server_error: 1.0, ..ReadFaults::default() })).unwrap();
    assert_eq!(ask().await.unwrap().status(), 500);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 200, "placing is untouched");
    simulator.set_faults(reading(ReadFaults { html: 1.0, ..ReadFaults::default() })).unwrap();
    assert!(ask().await.unwrap().text().await.unwrap().starts_with("<!DOCTYPE"));
    simulator.set_faults(reading(ReadFaults { truncated_json: 1.0, ..ReadFaults::default() })).unwrap();
    assert!(ask().await.unwrap().json::<Value>().await.is_err());
    simulator.set_faults(reading(ReadFaults { rate_limited: 1.0, ..ReadFaults::default() })).unwrap();
    assert_eq!(ask().await.unwrap().status(), 429);
    simulator.set_faults(reading(ReadFaults { connection_lost: 1.0, ..ReadFaults::default() })).unwrap();
    assert!(ask().await.is_err());
    simulator.set_faults(Faults::all(0.1)).unwrap();
    assert_eq!(ask().await.unwrap().status(), 200, "faults of placing do not touch reads");
}

#[tokio::test]
async fn a_request_limit_answers_429_and_counts_down_in_headers() {
    let options = SimulatorOptions { requests_per_minute: Some(3), clock: fast(1), ..options() };
    let (simulator, client) = start(options).await;
    let mut remaining = Vec::new();
    for _ in 0..3 {
        let response = client.send(Method::GET, "/user/me", None).await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-limit"], "3");
        remaining.push(response.headers()["x-ratelimit-remaining"].to_str().unwrap().to_owned());
    }
    assert_eq!(remaining, ["2", "1", "0"]);
    let response = client.ring(PHONE).await.unwrap();
    let reset: i64 = response.headers()["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&(reset - simulator.clock().now().as_second())));
    let (status, body) = split(response).await;
    assert!(status == 429 && (1..=60).contains(&body["retry_after"].as_u64().unwrap()), "{body}");
    assert_eq!(simulator.calls(), []);
}

/// A receiver that keeps what it gets.
async fn receiver() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    server
}

async fn received(server: &MockServer, count: usize) -> Vec<Value> {
    eventually("the webhook", || async {
        let requests = server.received_requests().await.expect("it records requests");
        (requests.len() >= count).then(|| requests.iter().map(|request| request.body_json().expect("JSON")).collect())
    })
    .await
}

#[tokio::test]
async fn completed_calls_are_reported_in_both_variants() {
    for shape in [Shape::Famulor, Shape::WhiteLabel] {
        let server = receiver().await;
        let (simulator, client) = start(SimulatorOptions { shape, ..options() }).await;
        simulator.set_webhook_url(&server.uri());
        client.ring(PHONE).await.unwrap();
        let body = received(&server, 1).await.remove(0);
        let call = simulator.calls().remove(0);
        assert_eq!((&body["id"], &body["status"]), (&json!(call.call_id), &json!("completed")));
        assert_eq!(body["extracted_variables"]["appointment_booked"], true);
        assert_eq!(body["input_variables"]["ref"], format!("token-{PHONE}"));
        assert!(body.get("answered_by").is_none());
        assert_eq!(body["transcript"].is_string(), shape == Shape::Famulor);
        assert_eq!(body.get("formatted_transcript").is_some(), shape == Shape::WhiteLabel);
        assert_eq!(body.get("campaign"), (shape == Shape::Famulor).then_some(&Value::Null));
        let sent = eventually("the record", || async { simulator.webhooks().pop() }).await;
        assert_eq!((sent.call_id, sent.status, sent.fault), (call.call_id, Some(204), None));
        assert!(sent.civil_at > call.completed_at);
    }
}

#[tokio::test]
async fn other_calls_are_reported_only_if_the_assistant_says_so() {
    let server = receiver().await;
    let options = SimulatorOptions { mix: OutcomeMix::only(Fate::Busy), ..options() };
    let (simulator, client) = start(options.with_webhook(&server.uri())).await;
    let everything = AssistantChange { send_webhook_only_on_completed: Some(false), ..AssistantChange::default() };
    assert!(simulator.change_assistants(Some(125), &everything));
    client.ring(PHONE).await.unwrap();
    let (status, _) = client.post(json!({"phone_number": phone(1), "assistant_id": 125})).await;
    assert_eq!(status, 200);
    let bodies = received(&server, 1).await;
    assert_eq!((&bodies[0]["status"], &bodies[0]["customer_phone"]), (&json!("busy"), &json!(phone(1))));
    let much_later = simulator.calls()[0].completed_at + SignedDuration::from_secs(60);
    eventually("a minute", || async { (simulator.clock().now() > much_later).then_some(()) }).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn webhooks_are_lost_doubled_delayed_and_overtaken() {
    let server = receiver().await;
    let timing = Timing { talk: Span::seconds(5, 5), ..Timing::default() };
    let (simulator, client) = start(SimulatorOptions { timing, ..options() }.with_webhook(&server.uri())).await;
    let hit = |fault: Fault| -> Faults { format!("{fault}=1,webhook_late_by=200").parse().unwrap() };
    let sent = |fault| simulator.webhooks().into_iter().rfind(|webhook| webhook.fault == Some(fault));

    simulator.set_faults(hit(Fault::WebhookLost)).unwrap();
    client.ring(&phone(1)).await.unwrap();
    let lost = eventually("the loss", || async { sent(Fault::WebhookLost) }).await;
    assert_eq!(lost.status, None);
    assert_eq!(server.received_requests().await.unwrap().len(), 0);

    simulator.set_faults(hit(Fault::WebhookTwice)).unwrap();
    client.ring(&phone(2)).await.unwrap();
    let twice = received(&server, 2).await;
    assert_eq!(twice[0], twice[1]);

    simulator.set_faults(hit(Fault::WebhookLate)).unwrap();
    client.ring(&phone(3)).await.unwrap();
    let late = eventually("the delay", || async { sent(Fault::WebhookLate) }).await;
    let completed_at = simulator.calls()[2].completed_at;
    assert!(late.civil_at.duration_since(completed_at) >= SignedDuration::from_secs(200), "{late:?}");

    // Held back, and nothing overtakes it: it goes out at the latest moment.
    simulator.set_faults(hit(Fault::WebhookOutOfOrder)).unwrap();
    client.ring(&phone(4)).await.unwrap();
    let alone = eventually("the release", || async { sent(Fault::WebhookOutOfOrder) }).await;
    assert_eq!(alone.call_id, simulator.calls()[3].call_id);

    // Some are held back so long that only another one's webhook can let them out.
    simulator.set_faults("webhook_out_of_order=0.5,webhook_late_by=1000000".parse().unwrap()).unwrap();
    let before = simulator.webhooks().len();
    let mut rung = 4;
    eventually("one that was overtaken", || {
        rung += 1;
        let (simulator, client) = (&simulator, &client);
        async move {
            client.ring(&phone(rung)).await.unwrap();
            let webhooks = simulator.webhooks().split_off(before);
            let overtaken = webhooks.iter().position(|webhook| webhook.fault == Some(Fault::WebhookOutOfOrder))?;
            assert!(webhooks[..overtaken].iter().any(|webhook| webhook.fault.is_none()), "{webhooks:?}");
            Some(())
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_seed_gives_the_same_calls_in_any_order() {
    async fn lives(seed: u64, numbers: impl Iterator<Item = u32>) -> BTreeSet<String> {
        let faults = Faults { slow_for_ms: 1, ..Faults::all(0.02) };
        let (simulator, client) =
            start(SimulatorOptions { seed, faults, mix: OutcomeMix::default(), ..options() }).await;
        for number in numbers {
            let _ = client.ring(&phone(number)).await;
        }
        let life = |call: CallRecord| {
            let took = call.completed_at.duration_since(call.accepted_at);
            format!("{} {} {} {:?} {took}", call.phone, call.rung_before, call.fate, call.fault)
        };
        simulator.calls().into_iter().map(life).collect()
    }
    let forwards = lives(7, (0..60).chain(0..60)).await;
    let backwards = lives(7, (0..60).rev().chain((0..60).rev())).await;
    assert_eq!(forwards, backwards);
    assert!(forwards.len() > 90, "{}", forwards.len());
    assert_ne!(forwards, lives(8, (0..60).chain(0..60)).await);
}

#[tokio::test]
async fn the_oracles_see_what_the_records_hold() {
    let (simulator, client) = start(options()).await;
    client.ring(&phone(1)).await.unwrap();
    client.ring(&phone(2)).await.unwrap();
    assert_eq!(oracle::double_live(&simulator.calls()), []);
    assert_eq!(oracle::same_token(&simulator.calls(), "ref"), []);
    let (slow, of_slow) = start(SimulatorOptions { clock: fast(1), ..options() }).await;
    for number in [1, 2, 1] {
        of_slow.ring(&phone(number)).await.unwrap();
    }
    let (calls, minute) = (slow.calls(), SignedDuration::from_mins(1));
    assert_eq!(oracle::double_live(&calls).len(), 1);
    assert_eq!(oracle::same_token(&calls, "ref").len(), 1);
    assert_eq!(oracle::lines_over(&calls, 2).len(), 1);
    assert_eq!(oracle::starts_over(&calls, 2, minute).len(), 1);
    assert_eq!((oracle::lines_over(&calls, 3), oracle::starts_over(&calls, 3, minute)), (vec![], vec![]));
}

#[tokio::test]
async fn another_process_can_watch_and_change_it_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let log_file = folder.path().join("simulator.jsonl");
    let (simulator, client) = start(SimulatorOptions { log_file: Some(log_file.clone()), ..options() }).await;
    client.ring(&phone(1)).await.unwrap();
    client.ring(&phone(2)).await.unwrap();
    let (_, calls) = client.control(Method::GET, "calls", None).await;
    let calls: Vec<CallRecord> = serde_json::from_value(calls).unwrap();
    assert_eq!(calls, simulator.calls());
    let (_, rest) = client.control(Method::GET, &format!("calls?after={}", calls[0].call_id), None).await;
    assert_eq!(serde_json::from_value::<Vec<CallRecord>>(rest).unwrap(), calls[1..]);
    let (_, seen) = client.control(Method::GET, "requests", None).await;
    let seen: Vec<RequestRecord> = serde_json::from_value(seen).unwrap();
    let placed: Vec<u64> = seen.iter().filter_map(|request| request.call_id).collect();
    assert_eq!(placed, [calls[0].call_id, calls[1].call_id]);

    let (status, _) = client.control(Method::POST, "assistants/123", Some(json!({"active": false}))).await;
    assert_eq!((status, client.ring(PHONE).await.unwrap().status().as_u16()), (204, 403));
    let change = Some(json!({"active": true, "webhook_url": "http://127.0.0.1:1/"}));
    assert_eq!(client.control(Method::POST, "assistants/all", change).await.0, 204);
    assert_eq!(client.control(Method::POST, "assistants/9", Some(json!({}))).await.0, 404);
    assert_eq!(client.control(Method::POST, "balance", Some(json!({"balance": 0}))).await.0, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 422);
    assert_eq!(client.control(Method::POST, "faults", Some(json!({"html": 1.0}))).await.0, 204);
    assert_eq!(client.control(Method::GET, "faults", None).await.1["html"], 1.0);
    assert_eq!(client.control(Method::POST, "faults", Some(json!({"html": 3.0}))).await.0, 422);
    let (_, clock) = client.control(Method::GET, "clock", None).await;
    let other: ScaledClock = clock["clock"].as_str().unwrap().parse().unwrap();
    assert_eq!(other.to_string(), simulator.clock().to_string());

    let read = || -> Vec<Record> {
        let text = std::fs::read_to_string(&log_file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Webhooks that find nobody may be written between the two readings.
    let lines = eventually("a quiet moment", || async {
        let (lines, memory) = (read(), simulator.log());
        (lines == memory).then_some(lines)
    })
    .await;
    let placed = lines.into_iter().filter_map(|line| if let Record::Call(call) = line { Some(call) } else { None });
    assert_eq!(placed.map(|call| CallRecord::clone(&call)).collect::<Vec<_>>(), calls);
}

#[tokio::test]
async fn after_a_shutdown_nobody_answers_and_the_port_is_free() {
    let (simulator, client) = start(options()).await;
    let address = simulator.address;
    client.ring(PHONE).await.unwrap();
    simulator.shutdown().await;
    assert!(client.ring(PHONE).await.is_err());
    Simulator::start(SimulatorOptions { listen: address, ..options() }).await.unwrap().shutdown().await;
}
