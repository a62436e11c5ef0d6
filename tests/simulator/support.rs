//! A simulator, a client that speaks its shape, a receiver of webhooks.

use std::future::Future;
use std::time::{Duration, Instant};

use outdial::adapter::clock::ScaledClock;
use outdial::adapter::simulator::{
    Fate, OutcomeMix, Record, RequestRecord, Shape, Simulator, SimulatorHandle, SimulatorOptions,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

pub const PHONE: &str = "+12025550100";

/// A simulator that works, and whose calls all reach the goal; a civil hour takes 3.6 real seconds.
pub fn options() -> SimulatorOptions {
    SimulatorOptions { mix: OutcomeMix::only(Fate::GoalMet), clock: fast(1_000), ..SimulatorOptions::default() }
}

/// The same, speaking like this.
pub fn shaped(shape: Shape) -> SimulatorOptions {
    SimulatorOptions { shape, ..options() }
}

pub fn fast(factor: u32) -> ScaledClock {
    ScaledClock::starting_at("2026-03-02T09:00:00Z".parse().expect("an instant"), factor).expect("a factor")
}

pub async fn start(options: SimulatorOptions) -> (SimulatorHandle, Client) {
    let shape = options.shape;
    let simulator = Simulator::start(options).await.expect("the simulator starts");
    let client = Client::new(&simulator, shape);
    (simulator, client)
}

pub struct Client {
    pub http: reqwest::Client,
    pub base: String,
    pub shape: Shape,
    origin: String,
}

impl Client {
    fn new(simulator: &SimulatorHandle, shape: Shape) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .build()
            .expect("a client");
        Self { http, base: simulator.base_url.clone(), shape, origin: format!("http://{}", simulator.address) }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth("simulated-key")
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        split(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        split(self.request(Method::POST, path).json(&body).send().await.expect("an answer")).await
    }

    pub async fn post_empty(&self, path: &str) -> (u16, Value) {
        split(self.request(Method::POST, path).send().await.expect("an answer")).await
    }

    /// A request to ring `phone`, with a token of its own, as this shape says it.
    pub fn dial(&self, phone: &str) -> RequestBuilder {
        let token = json!({"ref": format!("token-{phone}")});
        let (path, body) = match self.shape {
            Shape::Famulor | Shape::Sondos | Shape::WhiteLabel => {
                ("/user/make_call", json!({"phone_number": phone, "assistant_id": 123, "variables": token}))
            }
            Shape::HappyRobotV1 => (
                "/dial/outbound",
                json!({"phone_number": phone, "assistant_id": "123", "params": {"name": "Kim"}, "metadata": token}),
            ),
            Shape::HappyRobotV2 => (
                "/workflows/sales-spring/runs",
                json!({
                    "payload": {"phone_number": phone, "ref": token["ref"], "name": "Kim"},
                    "environment": "staging",
                }),
            ),
        };
        self.request(Method::POST, path).json(&body)
    }

    pub async fn ring(&self, phone: &str) -> reqwest::Result<Response> {
        self.dial(phone).send().await
    }

    /// Something that can be read.
    pub const fn readable(&self) -> &'static str {
        match self.shape {
            Shape::Famulor | Shape::Sondos | Shape::WhiteLabel => "/user/me",
            Shape::HappyRobotV1 => "/calls",
            Shape::HappyRobotV2 => "/workflows/123/runs",
        }
    }

    pub async fn control(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(method, format!("{}/_sim/{path}", self.origin));
        let request = if let Some(body) = body { request.json(&body) } else { request };
        split(request.send().await.expect("an answer")).await
    }
}

pub async fn split(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Waits until `found` finds something, at most ten seconds.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let since = Instant::now();
    loop {
        if let Some(it) = found().await {
            return it;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until what is read there has this status word.
pub async fn with_status(client: &Client, path: &str, status: &str) -> Value {
    eventually(status, || async {
        let (_, call) = client.get(path).await;
        (call["status"] == status).then_some(call)
    })
    .await
}

pub async fn call_with_status(client: &Client, call_id: u64, status: &str) -> Value {
    with_status(client, &format!("/user/calls/{call_id}"), status).await
}

pub fn requests(simulator: &SimulatorHandle) -> Vec<RequestRecord> {
    let records = simulator.log().into_iter();
    records.filter_map(|record| if let Record::Request(request) = record { Some(request) } else { None }).collect()
}

pub fn phone(number: u32) -> String {
    format!("+1202556{number:04}")
}

/// Whether `object` has exactly these fields, or at least them.
#[track_caller]
pub fn assert_fields(object: &Value, expected: &[&str]) {
    let fields = object.as_object().unwrap_or_else(|| panic!("not an object: {object}"));
    let missing: Vec<_> = expected.iter().filter(|name| !fields.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {object}");
}

/// A receiver that keeps what it gets.
pub async fn receiver() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    server
}

pub async fn received(server: &MockServer, count: usize) -> Vec<Value> {
    eventually("the webhook", || async {
        let requests = server.received_requests().await.expect("it records requests");
        (requests.len() >= count).then(|| requests.iter().map(|request| request.body_json().expect("JSON")).collect())
    })
    .await
}
