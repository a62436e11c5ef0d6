//! A simulated provider, for demonstrations, tests, benchmarks: the Autocalls family (Famulor, Sondos, white labels) and
//! HappyRobot.
//!
//! It speaks the documented wire APIs over HTTP/1.1, one at a time, rings imaginary phones in civil time, sends webhooks, and goes
//! wrong as often as it is told to. What becomes of a call depends on the seed, the phone and how often that phone
//! was rung before, never on timing: two dialers that ring the same phones get the same results. Its log holds every
//! call that was really placed, whatever the client was told; [`oracle`] judges from it what the client did.
//!
//! It does not enforce a dialer's promises: it lets itself be asked to ring a phone twice, and writes it down.
//!
//! Reading order: `call` decides a call's life, `world` keeps the calls, `api` answers, `family` asks `autocalls` or
//! `happyrobot` how, `fault` names what goes wrong, `quirk` what is only odd, `webhook` sends results, `control` and
//! `log` are for the observer.

mod api;
mod assistant;
mod autocalls;
mod call;
mod control;
mod dialect;
mod dice;
mod drift;
mod family;
mod fault;
mod happyrobot;
mod line;
mod log;
mod message;
mod mix;
pub mod oracle;
mod quirk;
mod rate;
mod request;
mod shape;
mod span;
mod webhook;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{any, get, post};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::assistant::{Assistant, AssistantChange};
pub use self::call::{CallRecord, Timing};
use self::dialect::Dialect;
pub use self::fault::{Fault, Faults, InvalidFaults, ReadFaults};
use self::line::{CuttableListener, Cutter};
use self::log::{Log, locked};
pub use self::log::{Record, RequestRecord, WebhookRecord};
pub use self::message::Language;
pub use self::mix::{Fate, InvalidMix, OutcomeMix};
pub use self::quirk::{InvalidQuirks, Quirks};
pub use self::rate::{Burst, RateLimit};
pub use self::shape::{Shape, UnknownShape};
pub use self::span::{InvalidSpan, Span};
use self::world::{Nature, World};
use crate::adapter::clock::ScaledClock;

/// Largest request that is read; a request to place a call with its variables is a few kilobytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// How long a shutdown waits for answers that are on their way.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// How the simulated provider is.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whose paths, types and words it speaks.
    pub shape: Shape,
    /// The key it accepts as `Authorization: Bearer …`.
    pub api_key: String,
    /// What chance depends on.
    pub seed: u64,
    /// The civil time it lives in.
    pub clock: ScaledClock,
    /// The account's assistants.
    pub assistants: Vec<Assistant>,
    /// The account's money at the start.
    pub balance: f64,
    /// How calls end.
    pub mix: OutcomeMix,
    /// How long calls take.
    pub timing: Timing,
    /// How long a call waits until the provider begins to dial, civil. Until it rings, HappyRobot v2 can cancel it.
    pub queue: Span,
    /// What goes wrong.
    pub faults: Faults,
    /// What it does that no document says.
    pub quirks: Quirks,
    /// Whether what a request said comes back in the call object and the webhook: variables; `metadata` (HappyRobot v1),
    /// columns (v2). Not documented for the Autocalls family, so a client has to cope with both.
    pub echo_variables: bool,
    /// The extracted variable that says that the goal was met.
    pub goal_variable: String,
    /// The extracted variable that says that the person opted out.
    pub opt_out_variable: String,
    /// The limit of requests; none for no limit and no headers about it. [`Shape::documented_rate`] knows the brands'.
    pub rate: Option<RateLimit>,
    /// How many calls a rolling civil day may have; [`Quirks::cap_status`] answers one too many.
    pub calls_per_day: Option<u32>,
    /// Where every record is appended as a line of JSON.
    pub log_file: Option<PathBuf>,
    /// How many records stay in memory, the newest ones. Calls are kept in any case.
    pub log_records_max: usize,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        let inactive = Assistant { active: false, mode: "multimodal".to_owned(), ..Assistant::new(124, "Winback") };
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            shape: Shape::Famulor,
            api_key: "simulated-key".to_owned(),
            seed: 1,
            clock: ScaledClock::identity(),
            assistants: vec![Assistant::new(123, "Sales Spring"), inactive, Assistant::new(125, "Sales Renewals")],
            balance: 1_000_000.0,
            mix: OutcomeMix::default(),
            timing: Timing::default(),
            queue: Span::ZERO,
            faults: Faults::default(),
            quirks: Quirks::default(),
            echo_variables: true,
            goal_variable: "appointment_booked".to_owned(),
            opt_out_variable: "do_not_call".to_owned(),
            rate: None,
            calls_per_day: None,
            log_file: None,
            log_records_max: 500_000,
        }
    }
}

impl SimulatorOptions {
    /// The same, with the results of every assistant sent to `url`.
    #[must_use]
    pub fn with_webhook(mut self, url: &str) -> Self {
        for assistant in &mut self.assistants {
            assistant.webhook_url = Some(url.to_owned());
        }
        self
    }
}

/// Why a simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be used.
    #[error("cannot listen on {listen}")]
    Listen {
        /// Which.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log file cannot be opened.
    #[error("cannot open the log file")]
    Log(#[source] io::Error),
    /// The faults are none.
    #[error("faults cannot be used")]
    Faults(#[from] InvalidFaults),
    /// The mix is none.
    #[error("outcomes cannot be drawn")]
    Mix(#[from] InvalidMix),
    /// The quirks are none.
    #[error("quirks cannot be used")]
    Quirks(#[from] InvalidQuirks),
    /// The HTTP client for webhooks cannot be made.
    #[error("cannot make the webhook client")]
    Client(#[source] reqwest::Error),
}

/// The simulated provider.
pub struct Simulator;

impl Simulator {
    /// Starts it inside of the current tokio runtime.
    ///
    /// # Errors
    /// An address, a log file, faults, quirks or a mix that cannot be used.
    pub async fn start(options: SimulatorOptions) -> Result<SimulatorHandle, StartError> {
        options.faults.validate()?;
        options.mix.validate()?;
        let dialect = Dialect {
            shape: options.shape,
            seed: options.seed,
            zone: options.quirks.zone()?,
            quirks: Quirks::default(),
            echo_variables: options.echo_variables,
            goal_variable: options.goal_variable,
            opt_out_variable: options.opt_out_variable,
        }
        .with_quirks(options.quirks)?;
        let log = Log::open(options.log_file.as_deref(), options.log_records_max).map_err(StartError::Log)?;
        let client = webhook_client().map_err(StartError::Client)?;
        let listen_error = |source| StartError::Listen { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (webhooks, due) = mpsc::unbounded_channel();
        let family = options.shape.family();
        let (seed, mix, timing, queue) = (options.seed, options.mix, options.timing, options.queue);
        let nature = Nature { family, seed, mix, timing, queue };
        let mut world = World::new(nature, dialect, options.assistants, options.faults);
        world.balance_micros = micros(options.balance);
        world.calls_per_day = options.calls_per_day;
        world.set_rate_limit(options.rate);
        let app = Arc::new(App {
            base_url: format!("http://{address}{}", family.base_path()),
            api_key: options.api_key,
            clock: options.clock,
            world: Mutex::new(world),
            log,
            client,
            webhooks,
            closing: CancellationToken::new(),
        });
        webhook::start(app.clone(), due, app.closing.clone());
        let server = axum::serve(
            CuttableListener(listener),
            router(app.clone()).into_make_service_with_connect_info::<Cutter>(),
        )
        .with_graceful_shutdown(app.closing.clone().cancelled_owned());
        let server = tokio::spawn(async move { server.await });
        Ok(SimulatorHandle { base_url: app.base_url.clone(), address, app, server })
    }
}

fn router(app: Arc<App>) -> Router {
    let controls = Router::new()
        .route("/calls", get(control::calls))
        .route("/requests", get(control::requests))
        .route("/webhooks", get(control::webhooks))
        .route("/clock", get(control::clock))
        .route("/assistants/{id}", post(control::assistant))
        .route("/balance", post(control::balance))
        .route("/key", post(control::key))
        .route("/limits", post(control::limits))
        .route("/faults", get(control::faults).post(control::set_faults))
        .route("/quirks", get(control::quirks).post(control::set_quirks))
        .layer(middleware::from_fn(control::only_from_here));
    Router::new()
        .route("/api/{*path}", any(api::serve))
        .route("/login", any(api::login))
        .nest("/_sim", controls)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

fn webhook_client() -> Result<reqwest::Client, reqwest::Error> {
    // Somebody else in this process may have installed the same provider; only one can.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .build()
}

/// What all parts share.
struct App {
    base_url: String,
    api_key: String,
    clock: ScaledClock,
    world: Mutex<World>,
    log: Log,
    client: reqwest::Client,
    webhooks: mpsc::UnboundedSender<webhook::Due>,
    closing: CancellationToken,
}

/// A running simulator. It stops when this is dropped; [`SimulatorHandle::shutdown`] waits for that.
pub struct SimulatorHandle {
    /// What a client uses as the provider's base URL, `/api` (or `/api/v1`, `/api/v2`) included.
    pub base_url: String,
    /// Where it listens.
    pub address: SocketAddr,
    app: Arc<App>,
    server: JoinHandle<io::Result<()>>,
}

impl SimulatorHandle {
    /// Every call that was placed, in the order of acceptance.
    pub fn calls(&self) -> Vec<CallRecord> {
        locked(&self.app.world).calls().iter().map(|call| CallRecord::clone(call)).collect()
    }

    /// The newest records: requests, calls, webhooks.
    pub fn log(&self) -> Vec<Record> {
        self.app.log.records()
    }

    /// The newest webhooks that were sent, or lost on purpose.
    pub fn webhooks(&self) -> Vec<WebhookRecord> {
        let records = self.log().into_iter();
        records.filter_map(|record| if let Record::Webhook(webhook) = record { Some(webhook) } else { None }).collect()
    }

    /// The civil time it lives in.
    pub fn clock(&self) -> ScaledClock {
        self.app.clock
    }

    /// Activates or deactivates an assistant; false where there is none.
    pub fn set_assistant_status(&self, id: u64, active: bool) -> bool {
        self.app.change_assistants(Some(id), &AssistantChange { active: Some(active), ..AssistantChange::default() })
    }

    /// Changes one assistant, or all; false where there is none.
    pub fn change_assistants(&self, id: Option<u64>, change: &AssistantChange) -> bool {
        self.app.change_assistants(id, change)
    }

    /// Sends the results of every assistant to `url`, those of calls that are live included.
    pub fn set_webhook_url(&self, url: &str) {
        self.app.change_assistants(
            None,
            &AssistantChange { webhook_url: Some(url.to_owned()), ..AssistantChange::default() },
        );
    }

    /// Sets the account's money.
    pub fn set_balance(&self, balance: f64) {
        locked(&self.app.world).balance_micros = micros(balance);
    }

    /// Revokes the key, or makes it work again.
    pub fn set_key_revoked(&self, revoked: bool) {
        locked(&self.app.world).key_revoked = revoked;
    }

    /// Sets how many calls a rolling civil day may have.
    pub fn set_calls_per_day(&self, calls_per_day: Option<u32>) {
        locked(&self.app.world).calls_per_day = calls_per_day;
    }

    /// Replaces the limit of requests; counting begins anew.
    pub fn set_rate_limit(&self, limit: Option<RateLimit>) {
        locked(&self.app.world).set_rate_limit(limit);
    }

    /// Replaces the quirks. Ids keep their size.
    ///
    /// # Errors
    /// Quirks that cannot be.
    pub fn set_quirks(&self, quirks: Quirks) -> Result<(), InvalidQuirks> {
        self.app.set_quirks(quirks)
    }

    /// Replaces the faults.
    ///
    /// # Errors
    /// Probabilities that are none.
    pub fn set_faults(&self, faults: Faults) -> Result<(), InvalidFaults> {
        faults.validate()?;
        locked(&self.app.world).set_faults(faults);
        Ok(())
    }

    /// Stops: answers on their way are finished, webhooks that are not due yet are never sent.
    pub async fn shutdown(mut self) {
        self.app.closing.cancel();
        if tokio::time::timeout(SHUTDOWN_MAX, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }

    /// Waits until the server ends by itself, which it only does when accepting connections is impossible.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn wait(mut self) -> io::Result<()> {
        (&mut self.server).await.map_err(io::Error::other)?
    }
}

impl Drop for SimulatorHandle {
    fn drop(&mut self) {
        self.app.closing.cancel();
    }
}

/// Money in millionths. A number without bounds becomes the largest there is.
fn micros(balance: f64) -> i64 {
    (balance * 1e6) as i64
}

/// Reads `name=value,name=value`; what is no number is text.
fn settings(text: &str) -> Result<Map<String, Value>, String> {
    let mut settings = Map::new();
    for setting in text.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("{setting:?} is not name=value"))?;
        let value = value.trim();
        let parsed = serde_json::from_str::<Value>(value).ok().filter(Value::is_number);
        settings.insert(name.trim().to_owned(), parsed.unwrap_or_else(|| value.into()));
    }
    Ok(settings)
}
