//! What most commands work with: the configuration, the database, and the civil time.

use std::io::Write;

use anyhow::Context;
use jiff::Timestamp;
use sqlx::PgPool;

use crate::adapter::clock::ScaledClock;
use crate::adapter::postgres::{PostgresStore, clock};
use crate::config::Config;

use super::database::{Database, Migrations};
use super::{DeskCommand, Failure, Outcome};

/// What a command works with.
#[derive(Debug)]
pub struct Desk {
    /// The configuration.
    pub config: Config,
    /// The database, its schema up to date.
    pub pool: PgPool,
    /// Civil time.
    pub clock: ScaledClock,
    /// The civil instant at which the command began.
    pub now: Timestamp,
}

impl Desk {
    /// The store behind the pool.
    pub async fn store(&self) -> Result<PostgresStore, Failure> {
        Ok(PostgresStore::open(self.pool.clone()).await.context("open the store")?)
    }
}

/// Opens the database, runs the command, closes the database whatever came of it.
pub(super) async fn at_desk(config: Config, command: &DeskCommand, out: &mut dyn Write) -> Outcome {
    crate::telemetry::start(None);
    let database = Database::open(&config, Migrations::Require).await?;
    let outcome = work(config, &database, command, out).await;
    let closed = database.close().await;
    let code = outcome?;
    closed.map(|()| code)
}

async fn work(config: Config, database: &Database, command: &DeskCommand, out: &mut dyn Write) -> Outcome {
    let clock = civil_clock(&config, &database.pool).await?;
    let desk = Desk { config, pool: database.pool.clone(), clock, now: clock.now() };
    Box::pin(super::obey(command, &desk, out)).await
}

/// The daemon's civil clock. It is only read: a command that looks at a rehearsal must not begin another one.
async fn civil_clock(config: &Config, pool: &PgPool) -> Result<ScaledClock, Failure> {
    let Some(wanted) = config.clock else {
        return Ok(ScaledClock::identity());
    };
    let kept = clock::kept(pool).await.context("read the civil clock")?;
    match kept.filter(|kept| (kept.civil_origin(), kept.factor()) == (wanted.civil_origin, wanted.factor)) {
        Some(kept) => Ok(kept),
        // No daemon has started with it yet.
        None => ScaledClock::starting_at(wanted.civil_origin, wanted.factor).map_err(Failure::user),
    }
}
