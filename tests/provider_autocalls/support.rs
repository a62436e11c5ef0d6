//! A client, permits, fixtures, and a TCP server that does exactly what a test says.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use outdial::adapter::provider::brand::{AUTOCALLS, Brand};
use outdial::adapter::provider::{AnyProvider, Autocalls, AutocallsOptions};
use outdial::config::ApiPaths;
use outdial::domain::call_options::CallOptions;
use outdial::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CampaignId, Installation, LeadId, ProviderCallId,
};
use outdial::domain::phone::PhoneNumber;
use outdial::port::permit::{CommittedIntent, DepartureRecord, DialPermit, NotSent, OutboundCall};
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const PHONE: &str = "+14155550132";
pub const API_KEY: &str = "12|verysecretkey";
pub const VARIABLE: &str = "outdial_attempt";
/// Long enough for a loaded machine, short enough to wait for in the tests of timeouts.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
const INSTALLATION: Installation = Installation::new(77);

pub fn provider(base_url: &str) -> AnyProvider {
    provider_with(base_url, REQUEST_TIMEOUT)
}

pub fn patient_provider(base_url: &str) -> AnyProvider {
    provider_with(base_url, Duration::from_secs(30))
}

fn provider_with(base_url: &str, request_timeout: Duration) -> AnyProvider {
    AnyProvider::Autocalls(Box::new(Autocalls::new(options(base_url, request_timeout)).expect("a client")))
}

/// A client of a brand, with paths of its own.
pub fn brand_provider(brand: &'static Brand, base_url: &str, paths: ApiPaths) -> AnyProvider {
    let options = AutocallsOptions { brand, paths, ..options(base_url, REQUEST_TIMEOUT) };
    AnyProvider::Autocalls(Box::new(Autocalls::new(options).expect("a client")))
}

pub fn options(base_url: &str, request_timeout: Duration) -> AutocallsOptions {
    AutocallsOptions {
        account: AccountName::new("main"),
        brand: &AUTOCALLS,
        base_url: Some(base_url.to_owned()),
        paths: ApiPaths::default(),
        authorities: Vec::new(),
        api_key: API_KEY.into(),
        correlation_variable: VARIABLE.to_owned(),
        installation: INSTALLATION,
        request_timeout,
        connect_timeout: request_timeout,
    }
}

pub fn attempt(attempt_no: u16) -> AttemptId {
    AttemptId::derive(INSTALLATION, AttemptKey { campaign_id: CampaignId(3), lead_id: LeadId(42), attempt_no })
}

pub fn permit(attempt_no: u16) -> (DialPermit, DepartureRecord) {
    permit_for(attempt_no, "123", Ok(()))
}

pub fn permit_for(attempt_no: u16, assistant: &str, verdict: Result<(), NotSent>) -> (DialPermit, DepartureRecord) {
    make_permit(attempt_no, assistant, Box::new(move || verdict.map(|()| Timestamp::UNIX_EPOCH)))
}

pub type LastLook = Box<dyn FnOnce() -> Result<Timestamp, NotSent> + Send>;

pub fn permit_looking(attempt_no: u16, look: LastLook) -> (DialPermit, DepartureRecord) {
    make_permit(attempt_no, "123", look)
}

fn make_permit(attempt_no: u16, assistant: &str, look: LastLook) -> (DialPermit, DepartureRecord) {
    let attempt_id = attempt(attempt_no);
    let call = OutboundCall {
        attempt_id,
        phone: PhoneNumber::parse(PHONE).expect("a number"),
        assistant_id: AssistantId::new(assistant),
        variables: Map::from_iter([
            ("customer_name".to_owned(), json!("Ann")),
            ("visits".to_owned(), json!(3)),
            (VARIABLE.to_owned(), json!("a lead's variable never replaces the token")),
        ]),
        options: CallOptions::default(),
        scheduled_for: None,
    };
    let intent = CommittedIntent::acknowledged_by_database(attempt_id);
    let permit = DialPermit::new(&intent, call, Box::pin(async move { look() }));
    let record = permit.record();
    (permit, record)
}

pub fn call_id(text: &str) -> ProviderCallId {
    ProviderCallId::new(text)
}

pub fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/autocalls/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.replace("TOKEN", &attempt(1).to_string())
}

/// What a server received, one entry for each connection.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<Vec<u8>>>>);

impl Received {
    fn open(&self) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Vec::new());
        all.len() - 1
    }

    fn append(&self, connection: usize, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[connection].extend_from_slice(bytes);
    }

    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Body bytes of a server's first connection: what follows the first blank line.
    pub fn first_body(&self) -> Vec<u8> {
        let connections = self.connections();
        let bytes = connections.first().map(Vec::as_slice).unwrap_or_default();
        head_end(bytes).map(|end| bytes[end..].to_vec()).unwrap_or_default()
    }

    /// How many complete requests for this attempt arrived. The token stands at the very end of the body.
    pub fn whole_bodies(&self, attempt_no: u16) -> usize {
        let end = format!("\"{VARIABLE}\":\"{}\"}}}}", attempt(attempt_no));
        let connections = self.connections();
        connections.iter().map(|bytes| String::from_utf8_lossy(bytes).matches(&end).count()).sum()
    }
}

/// One connection of a [`server`]; everything read is remembered.
pub struct Peer {
    pub stream: TcpStream,
    connection: usize,
    received: Received,
    unread: Vec<u8>,
}

impl Peer {
    /// Reads some bytes; 0 at the end.
    pub async fn read_some(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.received.append(self.connection, &buffer[..length]);
        self.unread.extend_from_slice(&buffer[..length]);
        length
    }

    /// Reads one request to the end of its head.
    pub async fn read_head(&mut self) -> bool {
        while head_end(&self.unread).is_none() {
            if self.read_some().await == 0 {
                return false;
            }
        }
        true
    }

    /// Reads one request to the end of its body. False when the peer closed before.
    pub async fn read_request(&mut self) -> bool {
        if !self.read_head().await {
            return false;
        }
        let end = head_end(&self.unread).expect("a head was read");
        let head = String::from_utf8_lossy(&self.unread[..end]).to_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().expect("a length"));
        while self.unread.len() < end + length {
            if self.read_some().await == 0 {
                return false;
            }
        }
        self.unread.drain(..end + length);
        true
    }

    /// Reads until the peer closes.
    pub async fn read_to_end(&mut self) {
        while self.read_some().await > 0 {}
    }

    pub async fn write(&mut self, text: &str) {
        // The peer may be gone, which some tests want.
        drop(self.stream.write_all(text.as_bytes()).await);
    }

    /// A complete answer that keeps the connection open.
    pub async fn answer(&mut self, status: &str, body: &str) {
        self.write(&format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// Closes with a reset instead of an end.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a connected socket");
    }
}

/// Serves every connection with `script`, until the test ends.
pub async fn server<F, S>(script: S) -> (String, Received)
where
    S: Fn(Peer, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/api", listener.local_addr().expect("an address"));
    let received = Received::default();
    let log = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = log.open();
            let peer = Peer { stream, connection, received: log.clone(), unread: Vec::new() };
            tokio::spawn(script(peer, connection));
        }
    });
    (url, received)
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
