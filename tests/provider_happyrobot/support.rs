//! Clients of both versions, permits and fixtures.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::provider::{AnyProvider, HappyRobot, HappyRobotOptions};
use outdial::config::{DeclaredAssistant, HappyRobotApi, HappyRobotConfig};
use outdial::domain::call_options::CallOptions;
use outdial::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CampaignId, Installation, LeadId, ProviderCallId,
};
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::{CallReport, Source};
use outdial::port::permit::{CommittedIntent, DepartureRecord, DialPermit, OutboundCall};
use outdial::port::provider::{CallQuery, NotPlaced, PlaceReply, Provider};
use serde_json::{Map, Value, json};
use wiremock::{MockServer, ResponseTemplate};

pub const PHONE: &str = "+14155550132";
pub const API_KEY: &str = "hr_verysecretkey";
pub const VARIABLE: &str = "outdial_attempt";
pub const RUN: &str = "5d0cba55-0f65-4f0b-8e7c-3b9f0a4e1c01";
pub const CALL: &str = "0b6c1f0e-5c0f-4e57-9a3a-2f4c6f1f7d01";
/// Long enough for a loaded machine, short enough to wait for in the test of timeouts.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
const INSTALLATION: Installation = Installation::new(77);

pub fn account(base_url: &str, api: HappyRobotApi, assistants: Vec<DeclaredAssistant>) -> AnyProvider {
    let options = HappyRobotOptions {
        account: AccountName::new("main"),
        config: HappyRobotConfig { api, assistants },
        base_url: base_url.to_owned(),
        authorities: Vec::new(),
        api_key: API_KEY.into(),
        correlation_variable: VARIABLE.to_owned(),
        installation: INSTALLATION,
        call_max: SignedDuration::from_mins(20),
        request_timeout: REQUEST_TIMEOUT,
        connect_timeout: REQUEST_TIMEOUT,
    };
    AnyProvider::HappyRobot(Box::new(HappyRobot::new(options).expect("a client")))
}

/// An account with one assistant, and nothing else said.
pub fn v1(server: &MockServer) -> AnyProvider {
    let api = HappyRobotApi::V1 { call: Box::default(), call_path: None, cancel_path: None };
    account(&format!("{}/api/v1", server.uri()), api, vec![assistant("as-1")])
}

/// An account with two workflows.
pub fn v2(server: &MockServer) -> AnyProvider {
    let api = HappyRobotApi::V2 {
        environment: Some("staging".to_owned()),
        phone_field: "phone_number".to_owned(),
        variables_field: None,
    };
    account(&format!("{}/api/v2", server.uri()), api, vec![assistant("renewals"), assistant("surveys")])
}

pub fn assistant(id: &str) -> DeclaredAssistant {
    DeclaredAssistant {
        assistant_id: AssistantId::new(id),
        name: "Sales".to_owned(),
        active: true,
        variables: Map::new(),
        call: CallOptions::default(),
    }
}

pub fn attempt() -> AttemptId {
    AttemptId::derive(INSTALLATION, AttemptKey { campaign_id: CampaignId(3), lead_id: LeadId(42), attempt_no: 1 })
}

pub fn call(assistant: &str) -> OutboundCall {
    OutboundCall {
        attempt_id: attempt(),
        phone: phone(),
        assistant_id: AssistantId::new(assistant),
        variables: Map::from_iter([
            ("customer_name".to_owned(), json!("Ann")),
            (VARIABLE.to_owned(), json!("a lead's variable never replaces the token")),
        ]),
        options: CallOptions::default(),
        scheduled_for: None,
    }
}

pub fn permit(call: OutboundCall) -> (DialPermit, DepartureRecord) {
    let intent = CommittedIntent::acknowledged_by_database(call.attempt_id);
    let permit = DialPermit::new(&intent, call, Box::pin(std::future::ready(Ok(Timestamp::UNIX_EPOCH))));
    let record = permit.record();
    (permit, record)
}

/// Places a call and returns what was answered and what was sent.
pub async fn place(provider: &AnyProvider, server: &MockServer, call: OutboundCall) -> (PlaceReply, Value) {
    let (permit, record) = permit(call);
    let reply = provider.place(permit).await;
    assert!(record.sent_at().is_some(), "the request was sent");
    let requests = server.received_requests().await.expect("recorded");
    let [request] = requests.as_slice() else { panic!("one request expected, found {}", requests.len()) };
    assert_eq!(header(request, "authorization"), Some(format!("Bearer {API_KEY}")));
    (reply, request.body_json().expect("JSON"))
}

pub fn header(request: &wiremock::Request, name: &str) -> Option<String> {
    request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

pub fn refusal(reply: PlaceReply) -> NotPlaced {
    match reply {
        PlaceReply::NotPlaced(why) => why,
        other @ (PlaceReply::Placed { .. } | PlaceReply::Unknown { .. }) => panic!("expected a refusal, got {other:?}"),
    }
}

/// Whether it is in doubt, and if so, whether a 2xx came.
pub fn doubt(reply: &PlaceReply) -> Option<bool> {
    match reply {
        PlaceReply::Unknown { accepted, .. } => Some(*accepted),
        PlaceReply::Placed { .. } | PlaceReply::NotPlaced(_) => None,
    }
}

pub fn phone() -> PhoneNumber {
    PhoneNumber::parse(PHONE).expect("a number")
}

pub fn call_id(text: &str) -> ProviderCallId {
    ProviderCallId::new(text)
}

pub fn query(page: u32) -> CallQuery {
    CallQuery { phone: None, since: at("2026-03-02T09:00:00Z"), until: at("2026-03-02T10:00:00Z"), page }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

pub fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/happyrobot/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.replace("TOKEN", &attempt().to_string())
}

pub fn answer(status: u16, name: &str) -> ResponseTemplate {
    text(status, &fixture(name))
}

pub fn text(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body.to_owned(), "application/json")
}

/// Decodes without a server: decoding touches no network.
pub fn decoded(provider: &AnyProvider, source: Source, body: &str) -> CallReport {
    provider.decode(source, body.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}
