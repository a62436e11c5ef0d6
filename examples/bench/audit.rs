//! How long `outdial audit` takes: a database of finished attempts, and the command a person would type.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Executor};

use super::AS_OUTDIAL;
use super::world::Server;

/// A person waits that long and no longer, at the number of attempts below.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How many finished attempts there are; a multiple of ten.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { attempts: 1_000_000 }
    }
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let attempts = options.attempts;
    let server = Server::start().await?;
    let started = Instant::now();
    let text = include_str!("audit.sql");
    let mut connection = server.pool.acquire().await?.detach();
    connection.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0").await?;
    let sql = format!("set audit.attempts = '{attempts}'; {text}");
    connection.execute(AssertSqlSafe(sql)).await.context("make the attempts")?;
    connection.execute("vacuum analyze").await?;
    drop(connection);
    println!("audit: {attempts} attempts made in {:.0} s", started.elapsed().as_secs_f64());

    let config_file = server.folder.path().join("audit.yaml");
    std::fs::write(&config_file, config(server.postgres.url(), attempts))?;
    let mut slowest = Duration::ZERO;
    // What the disk has to bring is part of the first one.
    for (what, since) in [("everything, first", None), ("everything, again", None), ("the last hours", Some("5h"))] {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(AS_OUTDIAL, "1").arg("audit").arg("--config").arg(&config_file);
        command.args(since.map(|since| format!("--since={since}")));
        let started = Instant::now();
        let output = command.output().context("run the audit")?;
        let elapsed = started.elapsed();
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "a sound world is found to be none:\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{said}audit: {what}: {:.2} s", elapsed.as_secs_f64());
        slowest = slowest.max(elapsed);
    }
    if attempts <= 1_000_000 && slowest >= ANSWERED_WITHIN {
        println!("audit: slower than the {ANSWERED_WITHIN:?} it is meant to take; was the machine busy?");
    }
    server.stop().await
}

/// Limits that are just kept: there is a start every 0.36 s at a million attempts, and each call lasts 90 s.
fn config(url: &str, attempts: u32) -> String {
    let lines = 20 + attempts / 4_000;
    let starts_minute = 20 + attempts / 5_000;
    let starts_day = 100 + attempts / 10;
    format!(
        r#"
database: {{ url: "{url}" }}
accounts:
  audited:
    provider: autocalls
    base_url: "http://127.0.0.1:9/api"
    api_key: simulated-key
    webhook_token: benchmark-webhook-token
    limits:
      calls_per_second: {starts_minute}
      calls_per_minute: {starts_minute}
      concurrent_calls: {lines}
      calls_per_day: {starts_day}
      requests_per_minute: 10000000
    list_lag_max: 2m
clock: {{ civil_origin: "2026-03-11T18:30:00Z", factor: 1 }}
"#
    )
}
