//! `outdial run`: the daemon.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::adapter::clock::ScaledClock;
use crate::adapter::http::{self, ReceiverLimits, ReceiverOptions, Tokens};
use crate::adapter::outgoing::Outgoing;
use crate::adapter::postgres::PostgresStore;
use crate::adapter::postgres::reading::server_version;
use crate::adapter::postgres::status::account_statuses;
use crate::config::{Config, Sources};
use crate::domain::zone::tzdb_version;
use crate::port::clock::Clock;

use super::audit;
use super::database::{Database, Migrations, civil_clock};
use super::observe::{Observation, fingerprint};
use super::reload::Reloader;
use super::supervise::Supervision;
use super::wire::{self, Drained, Driver, Engine, Freshness};
use super::{Failure, Outcome};

/// Run the daemon until SIGTERM or Ctrl-C. The first one drains: no new dials, running requests finish, results are
/// recorded. The second ends it at once.
///
/// The configuration is followed while it runs: limits of accounts and persons, keys, webhook tokens, log levels and
/// retention change within seconds after a file has changed, and at once on SIGHUP (except in a terminal, where that means
/// that the terminal was closed). A configuration with a problem changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Apply pending migrations first.
    #[arg(long)]
    migrate: bool,
}

pub(super) async fn run(args: Args, config: Config, sources: Sources) -> Outcome {
    crate::telemetry::start(Some(&config.log));
    // Listened to from the very start: whoever asks for a reload too early must not end the daemon.
    let hangup = if std::io::stdin().is_terminal() { None } else { Some(signal(SignalKind::hangup())?) };
    let migrations = if args.migrate { Migrations::Apply } else { Migrations::Require };
    let database = Database::open(&config, migrations).await?;
    for finding in database.findings(&config).await?.1 {
        warn!("About the database: {}", finding.text);
    }
    let clock = civil_clock(&config, &database.pool).await?;
    let daemon = Daemon::start(&config, &database, clock).await?;
    let supervision = Supervision::start(&daemon, database.pool.clone());
    let reloader = Reloader {
        sources,
        running: daemon.running.clone(),
        engine: Arc::clone(&daemon.engine),
        tokens: daemon.tokens.clone(),
        supervisor: supervision.supervisor(),
    };
    let reloading = reloader.start(hangup);
    interrupted().await;
    reloading.abort();
    supervision.stopping();
    let hard = tokio::spawn(async {
        interrupted().await;
        warn!("Stopped at once; what was unanswered is in doubt until the next start");
        std::process::exit(1);
    });
    let drained = daemon.stop().await;
    hard.abort();
    drop(supervision);
    database.close().await?;
    Ok(match drained {
        Drained::Fully => {
            info!("Stopped");
            ExitCode::SUCCESS
        }
        Drained::Partly { unanswered } => {
            warn!(unanswered, "Stopped with {unanswered} calls unanswered; they are in doubt until the next start");
            ExitCode::from(1)
        }
    })
}

/// A running daemon.
pub(super) struct Daemon {
    /// The passes' shared state.
    pub engine: Arc<Engine>,
    /// Where webhooks arrive.
    pub address: std::net::SocketAddr,
    /// What webhooks must bring.
    pub tokens: Tokens,
    /// The configuration it runs with.
    pub running: Sender<Arc<Config>>,
    driver: Driver,
    outgoing: Outgoing,
    observation: Observation,
    receiver: JoinHandle<()>,
    audit: Option<JoinHandle<()>>,
    stop_receiver: CancellationToken,
}

impl Daemon {
    /// Starts the passes and the receiver.
    pub(super) async fn start(config: &Config, database: &Database, clock: ScaledClock) -> Result<Self, Failure> {
        let listener = http::bind("http.listen", config.http.listen).await.map_err(Failure::world)?;
        let metrics_listener = match config.http.metrics_listen {
            Some(address) => Some(http::bind("http.metrics_listen", address).await.map_err(Failure::world)?),
            None => None,
        };
        let address = listener.local_addr().context("read the address of http.listen")?;
        let store = PostgresStore::open(database.dial_pool.clone()).await.context("open the store")?;
        let store = store.steered_by(database.steering_pool.clone());
        let inbox = PostgresStore::open(database.pool.clone()).await.context("open the store of the receiver")?;
        let postgres = server_version(&database.pool).await.context("read the server's version")?;
        info!("Until rule packs are built, nobody is called outside 09:00-20:00 of their own time");
        if !clock.is_identity() {
            warn!("The civil clock is scaled: {clock}");
        }
        tell_forgotten_accounts(config, database).await?;
        let engine = wire::engine(config, store, clock)?;
        tell_start(config, &postgres, &engine.settings().name);
        // A webhook is dated when it is received.
        engine.compare_clocks().await.context("ask the database for its time")?;
        let outgoing = Outgoing::start(&database.pool, clock, &config.webhooks)
            .map_err(|(name, problem)| Failure::user(anyhow!(problem).context(format!("set up webhook {name}"))))?;
        let driver = Driver::start(&engine);
        let freshness = driver.freshness.clone();
        let observation = Observation::start(config, &engine, freshness, database, metrics_listener, &postgres);
        let stop_receiver = CancellationToken::new();
        let options = receiver_options(config, &engine, &driver);
        let tokens = options.tokens.clone();
        let receiver =
            tokio::spawn(http::serve(listener, Arc::new(inbox), engine.clock.clone(), options, stop_receiver.clone()));
        let running = Sender::new(Arc::new(config.clone()));
        let audit = audit::watch(running.subscribe(), database.pool.clone(), clock);
        Ok(Self { engine, address, tokens, running, driver, outgoing, observation, receiver, audit, stop_receiver })
    }

    /// When each pass is to have ended well.
    pub(super) fn freshness(&self) -> Freshness {
        self.driver.freshness.clone()
    }

    /// Drains and stops. Webhooks are received until the very end.
    pub(super) async fn stop(self) -> Drained {
        // It only reads: nothing is lost in the middle of it.
        if let Some(audit) = &self.audit {
            audit.abort();
        }
        let drained = self.driver.drain(&self.engine).await;
        self.outgoing.stop().await;
        self.observation.stop().await;
        self.stop_receiver.cancel();
        match tokio::time::timeout(Duration::from_secs(5), self.receiver).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(problem)) => error!("The receiver failed: {problem}"),
        }
        drained
    }
}

/// What runs, where: the first thing to know when reading a log.
fn tell_start(config: &Config, postgres: &str, replica: &str) {
    let (version, tzdb, hash) = (env!("CARGO_PKG_VERSION"), tzdb_version(), fingerprint(config));
    info!(
        event = "started",
        version,
        postgres,
        tzdb,
        config.hash = %hash,
        replica,
        "outdial {version} starts as {replica}: Postgres {postgres}, time zone data {tzdb}, configuration {hash}"
    );
}

fn receiver_options(config: &Config, engine: &Arc<Engine>, driver: &Driver) -> ReceiverOptions {
    let tokens = Tokens::default();
    tokens.replace(config.accounts.iter().filter_map(|(name, account)| Some((name, account.webhook_token.as_ref()?))));
    let wake = Arc::clone(engine);
    let ready = Arc::clone(engine);
    let live = Arc::clone(engine);
    let freshness = driver.freshness.clone();
    let told = AtomicBool::new(false);
    ReceiverOptions {
        tokens,
        body_max: config.http.body_max,
        limits: ReceiverLimits::default(),
        stored: Box::new(move |account| {
            if let Some(account) = wake.accounts.get(account) {
                account.wake_collect();
            }
        }),
        ready: Box::new(move || ready.view_is_fresh(&ready.view())),
        live: Box::new(move || {
            let stale = freshness.stale(live.clock.monotonic());
            if let Some(pass) = &stale
                && !told.swap(true, Ordering::Relaxed)
            {
                error!(pass, "Pass {pass} should have ended well a minute ago");
            }
            if stale.is_none() {
                told.store(false, Ordering::Relaxed);
            }
            stale.is_none()
        }),
    }
}

/// An account that left the configuration with attempts open: nobody reads how they end.
async fn tell_forgotten_accounts(config: &Config, database: &Database) -> Result<(), Failure> {
    for status in account_statuses(&database.pool).await.context("read the accounts")? {
        let (account, open) = (&status.account, status.dialing + status.placed + status.in_doubt + status.held);
        if open > 0 && !config.accounts.contains_key(account) {
            error!(
                provider.account = %account, open,
                "Account {account} is not in the configuration and has {open} open attempts: bring it back until they end"
            );
        }
    }
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn interrupted() {
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(problem), _) | (_, Err(problem)) => {
            error!("Signals cannot be received: {problem}");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
