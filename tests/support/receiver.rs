//! A receiver of webhooks on this machine that behaves as it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

pub const SECRET: &str = "a-secret-for-these-tests";

/// What it does with what it gets.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status after so many milliseconds.
    Slow(u16, u64),
    /// Sends elsewhere.
    Redirect(String),
    /// Never answers.
    Hang,
    /// Takes it, and then talks without end.
    Babble,
}

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn kind(&self) -> String {
        self.json()["event"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Does what docs/webhooks.md tells receivers to do.
    pub fn assert_signed(&self) {
        let parts: BTreeMap<_, _> =
            self.header("x-outdial-signature").split(',').filter_map(|part| part.split_once('=')).collect();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(parts["t"].as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(parts["v1"], expected);
        assert_eq!(self.header("x-outdial-event-id"), self.id());
        assert_eq!(self.header("x-outdial-event"), self.kind());
        assert_eq!(self.header("content-type"), "application/json");
    }
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    manner: Mutex<Manner>,
    got: Mutex<Vec<Got>>,
}

impl Receiver {
    pub async fn start(manner: Manner) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { manner: Mutex::new(manner), got: Mutex::default() });
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=hidden", self.address)
    }

    pub fn turn(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// All that arrived so far, taken or not.
    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let manner = shared.manner.lock().unwrap().clone();
    shared.got.lock().unwrap().push(Got { headers, body });
    match manner {
        Manner::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Manner::Slow(status, wait_ms) => {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
            StatusCode::from_u16(status).unwrap().into_response()
        }
        Manner::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
        Manner::Hang => std::future::pending().await,
        Manner::Babble => {
            let chunks =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 8 * 1024])));
            Body::from_stream(chunks).into_response()
        }
    }
}
