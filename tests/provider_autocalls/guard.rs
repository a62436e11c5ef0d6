//! Every request that places no call asks first, and every answer's limits are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use outdial::port::allowance::{Pause, Quota, RequestGuard, Urgency};
use outdial::port::provider::{AccountStanding, CallQuery, NotPlaced, PlaceReply, Provider, ReadError};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{call_id, fixture, permit, provider};

/// A budget of so many requests, and what it heard.
struct Budget {
    left: AtomicUsize,
    asked: Mutex<Vec<Urgency>>,
    told: Mutex<Vec<Quota>>,
}

impl Budget {
    fn of(left: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(left), asked: Mutex::default(), told: Mutex::default() })
    }

    fn asked(&self) -> Vec<Urgency> {
        std::mem::take(&mut self.asked.lock().expect("no test panics here"))
    }

    fn told(&self) -> Vec<Quota> {
        std::mem::take(&mut self.told.lock().expect("no test panics here"))
    }
}

impl RequestGuard for Budget {
    fn take(&self, urgency: Urgency) -> bool {
        self.asked.lock().expect("no test panics here").push(urgency);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn told(&self, quota: Quota) {
        self.told.lock().expect("no test panics here").push(quota);
    }
}

async fn get(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(server).await;
}

fn json(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body.to_owned(), "application/json")
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.expect("recorded").len()
}

fn today() -> CallQuery {
    CallQuery { phone: None, since: Timestamp::UNIX_EPOCH, until: Timestamp::UNIX_EPOCH, page: 1 }
}

#[tokio::test]
async fn each_request_is_asked_for_a_second_list_included() {
    let server = MockServer::start().await;
    get(&server, "/api/user/me", json(200, r#"{"total_balance":1}"#)).await;
    get(&server, "/api/user/calls", json(200, "[]")).await;
    get(&server, "/api/user/calls/7", json(200, r#"{"id":7}"#)).await;
    // A brand without this address has the other one.
    get(&server, "/api/user/assistants/get", json(404, r#"{"message":"no"}"#)).await;
    get(&server, "/api/user/assistants/outbound", json(200, "[]")).await;
    let (provider, budget) = (provider(&format!("{}/api", server.uri())), Budget::of(100));
    provider.attach(budget.clone());
    provider.health().await.expect("a standing");
    assert_eq!(budget.asked(), [Urgency::Verdict]);
    provider.list_calls(&today()).await.expect("a page");
    provider.read_call(&call_id("7")).await.expect("a call");
    assert_eq!(budget.asked(), [Urgency::Read; 2]);
    provider.assistants().await.expect("none");
    assert_eq!(budget.asked(), [Urgency::Read; 2], "one for each list");
    assert_eq!(requests(&server).await, 5);
}

#[tokio::test]
async fn what_is_not_allowed_is_not_sent() {
    let server = MockServer::start().await;
    let (provider, budget) = (provider(&format!("{}/api", server.uri())), Budget::of(0));
    provider.attach(budget);
    assert!(matches!(provider.health().await, Err(ReadError::Unavailable { .. })));
    assert!(matches!(provider.list_calls(&today()).await, Err(ReadError::Unavailable { .. })));
    assert!(matches!(provider.assistants().await, Err(ReadError::Unavailable { .. })));
    assert_eq!(requests(&server).await, 0);
}

#[tokio::test]
async fn calls_that_are_refused_together_share_a_look_at_the_balance() {
    let server = MockServer::start().await;
    let refused = json(422, &fixture("make_call_422_balance.json"));
    Mock::given(method("POST")).and(path("/api/user/make_call")).respond_with(refused).mount(&server).await;
    let me = json(200, r#"{"total_balance":0}"#).set_delay(Duration::from_millis(400));
    get(&server, "/api/user/me", me).await;
    let (provider, budget) = (Arc::new(provider(&format!("{}/api", server.uri()))), Budget::of(100));
    provider.attach(budget.clone());
    let calls: Vec<_> = (1..=20)
        .map(|number| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.place(permit(number).0).await })
        })
        .collect();
    for call in calls {
        let stopped = PlaceReply::NotPlaced(NotPlaced::AccountStopped(AccountStanding::BalanceExhausted));
        assert_eq!(call.await.expect("it ends"), stopped);
    }
    let looks = budget.asked();
    assert!(looks.len() <= 3 && looks.iter().all(|look| *look == Urgency::Verdict), "{looks:?}");
}

#[tokio::test]
async fn the_limits_of_every_answer_are_told() {
    let server = MockServer::start().await;
    let headers = |answer: ResponseTemplate| {
        answer
            .insert_header("x-ratelimit-limit", "60")
            .insert_header("x-ratelimit-remaining", "0")
            .insert_header("x-ratelimit-reset", "25")
    };
    let placed = headers(json(200, &fixture("make_call_200_famulor.json")));
    Mock::given(method("POST")).and(path("/api/user/make_call")).respond_with(placed).mount(&server).await;
    get(&server, "/api/user/me", headers(json(200, r#"{"total_balance":1}"#))).await;
    get(&server, "/api/user/calls", json(503, "{}").insert_header("retry-after", "9")).await;
    let (provider, budget) = (provider(&format!("{}/api", server.uri())), Budget::of(100));
    provider.attach(budget.clone());
    let quota = Quota { limit: Some(60), pause: Some(Pause { span: Some(Duration::from_secs(25)), until: None }) };
    provider.place(permit(1).0).await;
    assert_eq!(budget.told(), [quota]);
    assert_eq!(budget.asked(), [], "its last look has charged it");
    provider.health().await.expect("a standing");
    assert_eq!(budget.told(), [quota]);
    provider.list_calls(&today()).await.expect_err("it is away");
    let away = Quota { limit: None, pause: Some(Pause { span: Some(Duration::from_secs(9)), until: None }) };
    assert_eq!(budget.told(), [away]);
}
