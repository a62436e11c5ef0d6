//! `outdial migrate`: brings the database's schema up to date.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::adapter::postgres::connect::pending_or_unknown;
use crate::config::Config;

use super::Outcome;
use super::database::{Database, Migrations, describe};
use super::output::line;

/// Apply the migrations that the database lacks.
///
/// Safe beside other daemons: one applies them, the others wait.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(config: Config, out: &mut dyn Write) -> Outcome {
    crate::telemetry::start(None);
    let database = Database::open(&config, Migrations::Apply).await?;
    let left = pending_or_unknown(&database.pool).await.context("read the applied migrations");
    database.close().await?;
    if left?.is_empty() {
        line(out, format_args!("The schema of {} is up to date", describe(&config.database.location)))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}
