//! `outdial demo`: the whole system on one machine. A private Postgres, the provider simulator and the real daemon dial
//! a sample campaign on a clock on which a civil day takes a minute, and the simulator's log judges the result.

mod leads;
mod verdict;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use sqlx::PgPool;

use crate::adapter::clock::ScaledClock;
use crate::adapter::embedded::{EmbeddedPostgres, Options};
use crate::adapter::postgres::command::{NewSuppression, apply_campaign, copy_leads, find_or_make_list, suppress};
use crate::adapter::postgres::views::{CampaignProgress, campaign_progress};
use crate::adapter::simulator::{OutcomeMix, Simulator, SimulatorHandle, SimulatorOptions};
use crate::config::{Config, DatabaseLocation, LogLevel, Sources, parse_campaign_file};
use crate::domain::campaign::CampaignState;
use crate::domain::id::AccountName;

use super::database::{Database, Migrations};
use super::run::Daemon;
use super::{Failure, Outcome};

/// The demonstration must end by then, real time; a machine on which it does not is told so.
const TIME_MAX: Duration = Duration::from_secs(180);
/// How often progress is read.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Show the whole system at work on this machine: nothing to prepare, nobody is rung.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many leads to dial.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(20..=5000))]
    leads: u32,
    /// Decides every outcome: the same seed gives the same outcomes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much of the daemon's log to show: error, warn, info, debug or trace.
    #[arg(long, default_value = "warn")]
    log: LogLevel,
}

pub(super) async fn run(args: Args) -> Outcome {
    let mut config = load()?;
    config.log.level = args.log;
    crate::telemetry::start(Some(&config.log));
    println!("Starting a private Postgres and the provider simulator");
    let server = EmbeddedPostgres::start_temporary(&Options::default()).await.map_err(Failure::world)?;
    config.database.location = DatabaseLocation::Url(server.url().to_owned().into());
    let database = Database::open(&config, Migrations::Apply).await?;
    let clock = super::database::civil_clock(&config, &database.pool).await?;
    let simulator = start_simulator(&args, clock).await?;
    let name = AccountName::new("demo");
    let account = config.accounts.get_mut(&name).context("find the account of the demonstration")?;
    account.base_url.clone_from(&simulator.base_url);
    load_campaign(&database.pool, args.leads, clock.now()).await?;
    let daemon = Daemon::start(&config, &database, clock).await?;
    simulator.set_webhook_url(&format!("http://{}/webhook/demo/demonstration-webhook-token", daemon.address));
    println!(
        "Dialing {} leads; it is {} and a civil hour takes {:.1} seconds",
        args.leads,
        hour(clock.now()),
        3600.0 / f64::from(clock.factor())
    );
    let started = std::time::Instant::now();
    let watched = watch(&database.pool, &clock, args.leads).await;
    daemon.stop().await;
    let progress = watched?;
    let calls = simulator.calls();
    simulator.shutdown().await;
    let verdict = verdict::judge(&database.pool, &progress, &calls, &config.accounts[&name]).await?;
    println!("{verdict}");
    println!("Finished in {:.0} seconds, at {} civil time", started.elapsed().as_secs_f64(), hour(clock.now()));
    database.close().await?;
    server.stop().await.map_err(Failure::world)?;
    Ok(if verdict.good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn load() -> Result<Config, Failure> {
    let folder = tempdir().context("make a temporary folder")?;
    let file = folder.join("demo.yaml");
    std::fs::write(&file, include_str!("demo.yaml")).context("write the configuration of the demonstration")?;
    let sources = Sources { paths: vec![file], environment: Vec::new(), state_dir: Some(folder.clone()) };
    let config = crate::config::load(&sources).map_err(Failure::world);
    let _ = std::fs::remove_dir_all(&folder);
    config
}

fn tempdir() -> std::io::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("outdial-demo-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

async fn start_simulator(args: &Args, clock: ScaledClock) -> Result<SimulatorHandle, Failure> {
    let mix = OutcomeMix { failed: 8.0, refused_numbers: 0.02, ..OutcomeMix::default() };
    let options = SimulatorOptions { seed: args.seed, clock, mix, ..SimulatorOptions::default() };
    Simulator::start(options).await.map_err(Failure::world)
}

async fn load_campaign(pool: &PgPool, count: u32, now: Timestamp) -> Result<(), Failure> {
    let sample = leads::sample(count);
    let list = find_or_make_list(pool, "demo").await?;
    copy_leads(pool, list, &sample.leads).await.context("write the sample leads")?;
    let entries: Vec<NewSuppression> = sample
        .do_not_call
        .into_iter()
        .map(|phone| NewSuppression {
            phone,
            campaign_id: None,
            reason: "asked not to be called".to_owned(),
            expires_at: None,
        })
        .collect();
    suppress(pool, &entries).await.context("write the sample do-not-call list")?;
    let campaigns = parse_campaign_file(include_str!("campaign.yaml"), "campaign.yaml").map_err(Failure::world)?;
    for (name, definition, _) in campaigns {
        apply_campaign(pool, &name, &definition, CampaignState::Active, now)
            .await
            .context("write the sample campaign")?;
    }
    Ok(())
}

/// Shows progress until the campaign is finished.
async fn watch(pool: &PgPool, clock: &ScaledClock, leads: u32) -> Result<CampaignProgress, Failure> {
    let bar = ProgressBar::new(u64::from(leads));
    let style = ProgressStyle::with_template("{msg:.cyan} [{bar:40}] {pos}/{len} leads done {prefix}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    bar.set_style(style);
    let quiet = !std::io::stderr().is_terminal();
    let deadline = tokio::time::Instant::now() + TIME_MAX;
    let mut told = 0;
    loop {
        let progress =
            campaign_progress(pool, Some("demo-renewals")).await?.pop().context("find the sample campaign")?;
        let done: i64 = progress.disposed.iter().map(|(_, count)| count).sum();
        bar.set_position(done.unsigned_abs());
        bar.set_message(hour(clock.now()));
        bar.set_prefix(format!("| {} due, {} calling", progress.due, progress.open));
        if quiet && done >= told + i64::from(leads) / 10 {
            told = done;
            println!(
                "{}  {done} of {leads} leads done, {} due, {} calling",
                hour(clock.now()),
                progress.due,
                progress.open
            );
        }
        if progress.state == CampaignState::Finished {
            bar.finish_and_clear();
            return Ok(progress);
        }
        if tokio::time::Instant::now() >= deadline {
            bar.abandon();
            return Err(Failure::world(anyhow!(
                "after {} seconds {} leads are still due and {} calls open: this machine is too slow for the demonstration",
                TIME_MAX.as_secs(),
                progress.due,
                progress.open
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn hour(now: Timestamp) -> String {
    now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %H:%M UTC").to_string()
}
