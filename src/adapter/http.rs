//! The HTTP side: webhooks in, health out.
//!
//! A webhook's address holds the account's token, because the Autocalls family signs nothing. What comes with the right
//! token is stored as it is, committed, and only then acknowledged; whether it can be read, and whose call it is, is
//! found out later. When it cannot be stored the answer is 503, so that a provider that tries again does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;
use tracing::{info, warn};

use crate::domain::id::AccountName;
use crate::domain::report::Source;
use crate::port::chain::Chain;
use crate::port::clock::Clock;
use crate::port::metric;
use crate::port::store::{InboxEvent, Store, StoreError};

/// Webhooks that may wait for their commit; more are answered 503, which costs the provider a retry and us no memory.
const WAITING_MAX: usize = 1_000;
/// Most webhooks in one statement.
const BATCH_MAX: usize = 200;
/// How long the first webhook of a batch waits for company.
const BATCH_WAIT: Duration = Duration::from_millis(3);
/// The longest a request may take, body and commit included.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// What the receiver needs to know.
pub struct ReceiverOptions {
    /// Each account that receives webhooks, with its token.
    pub tokens: BTreeMap<AccountName, SecretString>,
    /// Largest body, bytes.
    pub body_max: usize,
    /// Called after events of an account were stored.
    pub stored: Box<dyn Fn(&AccountName) + Send + Sync>,
    /// Whether the daemon can work: the database answers and the schema fits.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether the passes make progress.
    pub live: Box<dyn Fn() -> bool + Send + Sync>,
}

struct Shared {
    tokens: BTreeMap<AccountName, [u8; 32]>,
    events: mpsc::Sender<Waiting>,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    live: Box<dyn Fn() -> bool + Send + Sync>,
}

struct Waiting {
    event: InboxEvent,
    stored: oneshot::Sender<bool>,
}

/// Serves until `stop`; webhooks that are being stored then are still answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve<S: Store, C: Clock>(
    listener: TcpListener,
    store: Arc<S>,
    clock: C,
    options: ReceiverOptions,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let (events, queue) = mpsc::channel(WAITING_MAX);
    let batcher = tokio::spawn(store_events(store, clock, queue, options.stored));
    let tokens = options
        .tokens
        .into_iter()
        .map(|(account, token)| (account, Sha256::digest(token.expose_secret().as_bytes()).into()))
        .collect();
    let shared = Arc::new(Shared { tokens, events, ready: options.ready, live: options.live });
    let router = Router::new()
        .route("/webhook/{account}/{token}", post(receive))
        .route(
            "/livez",
            get(async |State(shared): State<Arc<Shared>>| health((shared.live)(), "the passes stand still")),
        )
        .route(
            "/readyz",
            get(async |State(shared): State<Arc<Shared>>| {
                health((shared.ready)(), "the database does not answer or takes no writes")
            }),
        )
        .layer(DefaultBodyLimit::max(options.body_max))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_MAX))
        .with_state(shared);
    if let Ok(address) = listener.local_addr() {
        info!("Listening on {address}");
    }
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    // The router is gone, and with it the last sender: what waits is stored, then the batcher ends.
    let _ = batcher.await;
    Ok(())
}

/// Binds the listener of a key of the configuration.
///
/// # Errors
/// When the address is taken or not this machine's; the message says which.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() == std::io::ErrorKind::AddrInUse {
        true => BindError::Occupied { key, address },
        false => BindError::Other { key, address, source },
    })
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something else listens there.
    #[error("{key} {address} is occupied by another process: stop it or choose another port")]
    Occupied {
        /// What the configuration calls it.
        key: &'static str,
        /// Where.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("{key} {address} cannot be listened on")]
    Other {
        /// What the configuration calls it.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

fn health(good: bool, why_not: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, why_not) }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Path((account, token)): Path<(String, String)>,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let account = AccountName::new(&account);
    let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    // An unknown account and a wrong token look the same, also to a clock.
    let known = shared.tokens.get(&account).copied();
    let right = bool::from(known.unwrap_or([0; 32]).ct_eq(&given)) && known.is_some();
    if !right {
        metric::WEBHOOKS.add(["", "unknown_address"], 1);
        return (StatusCode::NOT_FOUND, "no such address\n");
    }
    let (stored, answer) = oneshot::channel();
    let event = InboxEvent { account: account.clone(), source: Source::Webhook, body, attempt_id: None };
    if shared.events.try_send(Waiting { event, stored }).is_err() {
        metric::WEBHOOKS.add([account.as_str(), "overloaded"], 1);
        return (StatusCode::SERVICE_UNAVAILABLE, "too many events are waiting; send it again\n");
    }
    match answer.await {
        Ok(true) => {
            metric::WEBHOOKS.add([account.as_str(), "stored"], 1);
            (StatusCode::OK, "stored\n")
        }
        Ok(false) | Err(_) => {
            metric::WEBHOOKS.add([account.as_str(), "not_stored"], 1);
            (StatusCode::SERVICE_UNAVAILABLE, "it could not be stored; send it again\n")
        }
    }
}

/// Stores events in batches; each is answered after its commit.
async fn store_events<S: Store, C: Clock>(
    store: Arc<S>,
    clock: C,
    mut queue: mpsc::Receiver<Waiting>,
    stored: Box<dyn Fn(&AccountName) + Send + Sync>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if batch.len() < BATCH_MAX {
            clock.sleep(BATCH_WAIT).await;
            while batch.len() < BATCH_MAX
                && let Ok(waiting) = queue.try_recv()
            {
                batch.push(waiting);
            }
        }
        let events: Vec<InboxEvent> = batch.iter().map(|waiting| waiting.event.clone()).collect();
        let outcome = store.append_inbox(&events, clock.now()).await;
        if let Err(problem) = &outcome {
            // After an unknown commit the event may come twice, which changes nothing.
            let count = events.len();
            warn!(error = %Chain(problem), "{count} webhooks could not be stored; the provider is asked to send them again");
            if matches!(problem, StoreError::Refused(_) | StoreError::Inconsistent { .. }) && events.len() > 1 {
                // One event the database refuses must not take its company with it.
                store_one_by_one(&*store, &clock, std::mem::take(&mut batch), &*stored).await;
                continue;
            }
        }
        let accounts: std::collections::BTreeSet<AccountName> = events.into_iter().map(|event| event.account).collect();
        for waiting in batch.drain(..) {
            let _ = waiting.stored.send(outcome.is_ok());
        }
        accounts.iter().for_each(&*stored);
    }
}

async fn store_one_by_one<S: Store, C: Clock>(
    store: &S,
    clock: &C,
    batch: Vec<Waiting>,
    stored: &(dyn Fn(&AccountName) + Send + Sync),
) {
    for waiting in batch {
        let outcome = store.append_inbox(std::slice::from_ref(&waiting.event), clock.now()).await;
        stored(&waiting.event.account);
        let _ = waiting.stored.send(outcome.is_ok());
    }
}
