//! The HTTP side: webhooks in, health out.
//!
//! A webhook's address holds the account's token, because the Autocalls family signs nothing. What comes with the right
//! token is stored as it is, committed, and only then acknowledged; whether it can be read, and whose call it is, is
//! found out later. When it cannot be stored the answer is 503, so that a provider that tries again does.
//!
//! The address may be known to anybody, so everything a stranger can do is bounded: how many connections there are, how
//! long one may take to ask, how much it may say before its token was looked at.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
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

/// How long accepting rests when the system has no connection left to give.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);
/// Between two words about connections that wait.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What all clients together, and each of them, may take.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverLimits {
    /// Connections at once; more wait with the system until one ends. Half of the 1,024 files that a process may open
    /// unless told otherwise: the rest is for providers and the database.
    pub connections_max: usize,
    /// Above this share of them, in percent, a connection is closed after its answer instead of being kept.
    pub kept_percent: usize,
    /// From connecting to the end of the first request's head: a provider sends at once.
    pub first_request_within: Duration,
    /// From one answer to the end of the next request's head. Longer than the 60 s for which reverse proxies keep
    /// connections, so that it is not us who close one they are just using.
    pub idle_max: Duration,
    /// Largest head of a request, bytes: the address, and the few headers a provider and two proxies add.
    pub head_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            kept_percent: 75,
            first_request_within: Duration::from_secs(10),
            idle_max: Duration::from_secs(75),
            head_bytes_max: 16 * 1024,
            headers_max: 64,
        }
    }
}

/// What the receiver needs to know.
pub struct ReceiverOptions {
    /// Each account that receives webhooks, with its token.
    pub tokens: BTreeMap<AccountName, SecretString>,
    /// Largest body, bytes.
    pub body_max: usize,
    /// What clients may take.
    pub limits: ReceiverLimits,
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
pub async fn serve<S: Store, C: Clock>(
    listener: TcpListener,
    store: Arc<S>,
    clock: C,
    options: ReceiverOptions,
    stop: CancellationToken,
) {
    let (events, queue) = mpsc::channel(WAITING_MAX);
    let batcher = tokio::spawn(store_events(store, clock.clone(), queue, options.stored));
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
    let door = Door { router, clock, limits: options.limits, stop };
    door.serve(listener).await;
    drop(door);
    // The router is gone, and with it the last sender: what waits is stored, then the batcher ends.
    let _ = batcher.await;
}

/// Lets connections in, one task each.
struct Door<C> {
    router: Router,
    clock: C,
    limits: ReceiverLimits,
    stop: CancellationToken,
}

impl<C: Clock> Door<C> {
    async fn serve(&self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.limits.connections_max));
        let connections = TaskTracker::new();
        let mut told_at = None;
        while let Some((stream, slot)) = self.next(&listener, &slots, &mut told_at).await {
            let (slots, max) = (Arc::clone(&slots), self.limits.connections_max);
            let kept_max = max * self.limits.kept_percent / 100;
            // One slot is held for the connection that is accepted next.
            let kept = move || max.saturating_sub(slots.available_permits() + 1) <= kept_max;
            connections.spawn(self.attend(stream, slot, kept));
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// The next connection, with its slot; `None` at the end.
    async fn next(
        &self,
        listener: &TcpListener,
        slots: &Arc<Semaphore>,
        told_at: &mut Option<Instant>,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        if slots.available_permits() == 0 && self.may_tell(told_at) {
            warn!("Connections wait: {} are open, which is the most", self.limits.connections_max);
        }
        let slot = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            slot = Arc::clone(slots).acquire_owned() => slot.expect("nobody closes it"),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => return Some((stream, slot)),
                // Gone before it was looked at, or no file left; either passes.
                Err(problem) => {
                    if self.may_tell(told_at) {
                        warn!("A connection cannot be accepted: {problem}");
                    }
                    self.clock.sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    /// Whether the last word about connections is old enough for another one.
    fn may_tell(&self, told_at: &mut Option<Instant>) -> bool {
        let now = self.clock.monotonic();
        let may = told_at.is_none_or(|at| now >= at + TELL_EVERY);
        if may {
            *told_at = Some(now);
        }
        may
    }

    /// Serves one connection to its end; keeps it after an answer only while `kept` says so.
    fn attend(
        &self,
        stream: TcpStream,
        slot: OwnedSemaphorePermit,
        kept: impl Fn() -> bool + Send + Sync + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (clock, limits, stop) = (self.clock.clone(), self.limits, self.stop.clone());
        let router = TowerToHyperService::new(self.router.clone());
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let asked = Arc::clone(&asked);
            service_fn(move |request: hyper::Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let (answer, kept) = (router.call(request), kept());
                async move {
                    let mut answer = answer.await?;
                    if !kept {
                        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(answer)
                }
            })
        };
        async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(limits.idle_max)
                .max_buf_size(limits.head_bytes_max)
                .max_headers(limits.headers_max);
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            let (mut stopping, mut looked) = (false, false);
            loop {
                tokio::select! {
                    biased;
                    // Whatever a client does wrong is its own affair.
                    _ = connection.as_mut() => break,
                    () = stop.cancelled(), if !stopping => {
                        stopping = true;
                        if !asked.load(Ordering::Relaxed) {
                            break;
                        }
                        connection.as_mut().graceful_shutdown();
                    }
                    () = clock.sleep(limits.first_request_within), if !looked => {
                        looked = true;
                        if !asked.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            }
            drop(slot);
        }
    }
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

/// Looks at the token before it reads the body: a stranger's takes no memory.
async fn receive(
    State(shared): State<Arc<Shared>>,
    Path((account, token)): Path<(String, String)>,
    request: Request,
) -> Response {
    let account = AccountName::new(&account);
    let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    // An unknown account and a wrong token look the same, also to a clock.
    let known = shared.tokens.get(&account).copied();
    let right = bool::from(known.unwrap_or([0; 32]).ct_eq(&given)) && known.is_some();
    if !right {
        metric::WEBHOOKS.add(["", "unknown_address"], 1);
        return (StatusCode::NOT_FOUND, "no such address\n").into_response();
    }
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    store(&shared, account, body).await.into_response()
}

async fn store(shared: &Shared, account: AccountName, body: Bytes) -> (StatusCode, &'static str) {
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
