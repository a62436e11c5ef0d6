//! Finding the database, and the schema in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use tracing::{info, warn};

use crate::adapter::clock::ScaledClock;
use crate::adapter::embedded::{EmbeddedPostgres, Options};
use crate::adapter::outgoing;
use crate::adapter::postgres::connect::{
    self, ConnectError, PoolPurpose, SchemaProblem, connect, migrate, pending_or_unknown,
};
use crate::adapter::postgres::finding::{Finding, ServerFacts, server_facts};
use crate::config::{Config, DatabaseLocation};

use super::Failure;

/// Connections for leases and control tables: two passes, one statement each at a time.
pub const STEERING_CONNECTIONS: u32 = 2;

/// An open database, with the private server behind it if there is one.
pub struct Database {
    /// Connections of commands, of the receiver and of what is read at the start.
    pub pool: PgPool,
    /// Connections of the daemon's passes, apart from the rest; none is made before the first pass asks for one.
    pub dial_pool: PgPool,
    /// Connections for leases and control tables.
    pub steering_pool: PgPool,
    /// The private server that this process started, to be stopped last.
    pub server: Option<EmbeddedPostgres>,
}

/// How long connections may take to end in good order.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// What to do about migrations that are not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrations {
    /// Apply them.
    Apply,
    /// Refuse to go on, and say what to type.
    Require,
}

impl Database {
    /// Connects, starting the private server if the configuration asks for one. The schema of a private server is always
    /// brought up to date: nobody else uses it.
    pub async fn open(config: &Config, migrations: Migrations) -> Result<Self, Failure> {
        let (url, server) = match &config.database.location {
            DatabaseLocation::Url(url) => (url.clone(), None),
            DatabaseLocation::Embedded { data_dir } => start_private(data_dir).await?,
        };
        let failure = |error: ConnectError| {
            let remedy = error.remedy();
            Failure::world(anyhow!("{error}; {remedy}"))
        };
        let purpose = PoolPurpose { application_name: "outdial", connections_max: config.database.connections };
        let pool = connect(&url, purpose).await.map_err(failure)?;
        let dial_pool =
            connect::pool(connect::options(&url, "outdial passes").map_err(failure)?, config.database.dial_connections);
        let steering_pool =
            connect::pool(connect::options(&url, "outdial steering").map_err(failure)?, STEERING_CONNECTIONS);
        let apply = migrations == Migrations::Apply || server.is_some();
        let database = Self { pool, dial_pool, steering_pool, server };
        database.check_schema(apply).await?;
        Ok(database)
    }

    async fn check_schema(&self, apply: bool) -> Result<(), Failure> {
        let problems = match pending_or_unknown(&self.pool).await {
            Err(problem) if loses_statements(&problem) => {
                let remedy = "it must be PgBouncer 1.21 or newer with max_prepared_statements above 0; use its session \
                              mode otherwise (README, Behind PgBouncer)";
                let problem = anyhow!(problem);
                return Err(Failure::user(
                    problem.context(format!("the pooler before the database mixes sessions: {remedy}")),
                ));
            }
            problems => problems.context("read the applied migrations")?,
        };
        if problems.is_empty() {
            return Ok(());
        }
        let unknown = problems.iter().any(|problem| !matches!(problem, SchemaProblem::Pending { .. }));
        if apply && !unknown {
            migrate(&self.pool).await.context("apply migrations")?;
            info!("Applied {} migrations", problems.len());
            return Ok(());
        }
        if !unknown {
            let lacks = super::output::count(problems.len() as u64, "migration", "migrations");
            return Err(Failure::user(anyhow!(
                "the database lacks {lacks}: run `outdial migrate`, or start the daemon with `--migrate`"
            )));
        }
        let list: Vec<_> = problems
            .iter()
            .filter(|problem| !matches!(problem, SchemaProblem::Pending { .. }))
            .map(ToString::to_string)
            .collect();
        let remedy = "this outdial is older than the database: use the newer one";
        Err(Failure::user(anyhow!("the database's schema does not fit: {}; {remedy}", list.join("; "))))
    }

    /// What about the server would break our promises, or soon will.
    pub async fn findings(&self, config: &Config) -> Result<(ServerFacts, Vec<Finding>), Failure> {
        let facts = server_facts(&self.pool).await.context("read the server's settings")?;
        let database = &config.database;
        let telling = if config.webhooks.is_empty() { 0 } else { outgoing::CONNECTIONS };
        let connections = database.connections + database.dial_connections + STEERING_CONNECTIONS + telling;
        let findings = facts.findings(connections);
        Ok((facts, findings))
    }

    /// Closes the connections and stops the private server.
    pub async fn close(self) -> Result<(), Failure> {
        // A connection whose other end vanished keeps its statement for up to a minute; nobody waits for its answer now.
        let pools = async { tokio::join!(self.dial_pool.close(), self.steering_pool.close(), self.pool.close()) };
        if tokio::time::timeout(CLOSE_MAX, pools).await.is_err() {
            warn!("Connections to the database that do not answer are cut");
        }
        if let Some(server) = self.server {
            server.stop().await.context("stop the private database server")?;
        }
        Ok(())
    }
}

/// A statement that was prepared is not there, or one is that was not: a pooler has changed the session in between.
fn loses_statements(problem: &sqlx::Error) -> bool {
    let code = problem.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42P05" | "26000"))
}

async fn start_private(data_dir: &Path) -> Result<(SecretString, Option<EmbeddedPostgres>), Failure> {
    if let Some(url) = EmbeddedPostgres::running_at(data_dir) {
        // A daemon has it running: commands work beside it.
        return Ok((SecretString::from(url), None));
    }
    let server = EmbeddedPostgres::start(data_dir, &Options::default()).await.map_err(Failure::world)?;
    info!("Private database server {} runs in {}", server.version(), data_dir.display());
    Ok((SecretString::from(server.url().to_owned()), Some(server)))
}

/// The civil clock of this database: the system's, or the scaled one that the configuration asks for. Its origin is
/// stored with the first start, so that a restart does not rewind it.
pub async fn civil_clock(config: &Config, pool: &PgPool) -> Result<ScaledClock, Failure> {
    let Some(wanted) = config.clock else {
        return Ok(ScaledClock::identity());
    };
    let fresh = ScaledClock::starting_at(wanted.civil_origin, wanted.factor).map_err(Failure::user)?;
    Ok(crate::adapter::postgres::clock::keep(pool, &fresh).await.context("keep the civil clock")?)
}

/// The database's URL, for messages: without its secrets.
pub fn describe(location: &DatabaseLocation) -> String {
    match location {
        DatabaseLocation::Embedded { data_dir } => format!("a private server in {}", data_dir.display()),
        DatabaseLocation::Url(url) => {
            let text = url.expose_secret();
            reqwest::Url::parse(text).map_or_else(
                |_| "a database".to_owned(),
                |url| format!("{}{}", url.host_str().unwrap_or("a socket"), url.path()),
            )
        }
    }
}
