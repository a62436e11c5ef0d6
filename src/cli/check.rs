//! `outdial check`: the configuration, the database and every account, looked at before anything is dialed.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use secrecy::ExposeSecret;

use crate::adapter::postgres::PostgresStore;
use crate::config::{AccountConfig, AccountLimits, Config, HappyRobotApi, LimitOrigin, Origins};
use crate::domain::document::show_duration;
use crate::domain::id::{AccountName, Installation};
use crate::port::provider::{Provider, ReadError};
use crate::port::store::Store;

use super::database::{Database, Migrations, describe};
use super::output::{count, line};
use super::{Failure, Outcome, wire};
use assistants::{Campaign, campaigns};

mod assistants;
pub mod print;

/// Check the configuration, the database and each account; print the webhook addresses to enter at the provider.
///
/// Each account is asked whether its key is accepted and which assistants are active, and what these say is compared with
/// what your campaigns and leads give them. Nothing is dialed and nothing is
/// changed; a private database server is started for the time it takes. Everything is checked before the command ends, with
/// exit code 2 if you must change something, else 1 if something does not answer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Write webhook addresses with their secret part. Otherwise it is only shown on a terminal, so that it does not end
    /// up in a log.
    #[arg(long)]
    show_webhook_url: bool,
    /// Only print the configuration as it is understood: every key with its value and where that comes from (default,
    /// file and line, environment, the provider's documentation). Secrets are shown by eight digits of their SHA-256.
    #[arg(long)]
    print: bool,
}

/// What was found so far, worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    #[default]
    Good,
    WorldsTurn,
    UsersTurn,
}

pub(super) async fn run(args: &Args, config: Config, origins: &Origins, out: &mut dyn Write) -> Outcome {
    crate::telemetry::start(None);
    if args.print {
        print::print(&config, origins, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let show = args.show_webhook_url || std::io::stdout().is_terminal();
    check(&config, show, out).await
}

/// Checks everything before it answers; `show_webhook_token` writes the secret part of webhook addresses.
pub async fn check(config: &Config, show_webhook_token: bool, out: &mut dyn Write) -> Outcome {
    summary(config, out)?;
    let (mut verdict, found) = database(config, out).await?;
    for (name, account) in &config.accounts {
        line(out, format_args!("\nAccount {name}"))?;
        let found = check_account(config, name, account, found.as_ref(), show_webhook_token, out).await?;
        verdict = verdict.max(found);
    }
    if let Some(found) = found {
        found.database.close().await?;
    }
    line(out, "")?;
    Ok(match verdict {
        Verdict::Good => {
            line(out, "All good")?;
            ExitCode::SUCCESS
        }
        Verdict::WorldsTurn => {
            line(out, "Something does not answer; see above")?;
            ExitCode::from(1)
        }
        Verdict::UsersTurn => {
            line(out, "Something must be changed; see above")?;
            ExitCode::from(2)
        }
    })
}

fn summary(config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let accounts: Vec<_> = config.accounts.keys().map(ToString::to_string).collect();
    line(out, "Configuration: good")?;
    line(out, format_args!("  accounts: {}", accounts.join(", ")))?;
    line(out, format_args!("  database: {}", describe(&config.database.location)))?;
    let public = config.http.public_url.as_deref().unwrap_or("no public_url, so results are polled only");
    line(out, format_args!("  http: listens on {}, {public}", config.http.listen))?;
    if !config.webhooks.is_empty() {
        let names: Vec<_> = config.webhooks.keys().map(String::as_str).collect();
        line(out, format_args!("  webhooks: {}", names.join(", ")))?;
    }
    let per_day = config.person.calls_per_day.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
    let gap = show_duration(config.person.min_gap_between_campaigns);
    line(out, format_args!("  a person: {per_day} calls a day, {gap} between campaigns"))?;
    if let Some(clock) = config.clock {
        line(out, format_args!("  clock: a rehearsal, {} civil seconds in each real one", clock.factor))?;
    }
    Ok(())
}

/// An open database, and what it says about the accounts.
struct Found {
    database: Database,
    installation: Installation,
    campaigns: Vec<Campaign>,
}

async fn database(config: &Config, out: &mut dyn Write) -> Result<(Verdict, Option<Found>), Failure> {
    let database = match Database::open(config, Migrations::Require).await {
        Ok(database) => database,
        Err(Failure::User(problem)) => {
            line(out, format_args!("Database: {problem:#}"))?;
            return Ok((Verdict::UsersTurn, None));
        }
        Err(Failure::World(problem)) => {
            line(out, format_args!("Database: {problem:#}"))?;
            return Ok((Verdict::WorldsTurn, None));
        }
    };
    let read = async {
        let store = PostgresStore::open(database.pool.clone()).await?;
        Ok((store.installation(), campaigns(store.control().await?)))
    };
    let read: Result<_, crate::port::store::StoreError> = read.await;
    match read {
        Ok((installation, campaigns)) => {
            let (facts, findings) = database.findings(config).await?;
            let breaks = findings.iter().any(|finding| finding.breaks_promise);
            let how = if breaks { "something must be changed" } else { "good" };
            line(out, format_args!("Database: {how}, schema up to date"))?;
            line(out, format_args!("  server: PostgreSQL {}", facts.version))?;
            for finding in findings {
                let kind = if finding.breaks_promise { "problem" } else { "warning" };
                line(out, format_args!("  {kind}: {}", finding.text))?;
            }
            for (name, webhook) in unknown_webhooks(config, &campaigns) {
                line(
                    out,
                    format_args!(
                        "  warning: campaign {name} tells webhook {webhook}, which is not in the configuration"
                    ),
                )?;
            }
            let verdict = if breaks { Verdict::UsersTurn } else { Verdict::Good };
            Ok((verdict, Some(Found { database, installation, campaigns })))
        }
        Err(problem) => {
            database.close().await?;
            line(out, format_args!("Database: {problem}"))?;
            Ok((Verdict::WorldsTurn, None))
        }
    }
}

/// Campaigns that want to tell somebody whom nobody knows.
fn unknown_webhooks<'a>(config: &Config, campaigns: &'a [Campaign]) -> Vec<(&'a str, &'a str)> {
    let wishes = campaigns.iter().filter_map(|campaign| Some((campaign, campaign.definition.notify.as_ref()?)));
    wishes
        .filter(|(_, notify)| !config.webhooks.contains_key(&notify.webhook))
        .map(|(campaign, notify)| (campaign.name.as_str(), notify.webhook.as_str()))
        .collect()
}

async fn check_account(
    config: &Config,
    name: &AccountName,
    account: &AccountConfig,
    found: Option<&Found>,
    show_webhook_token: bool,
    out: &mut dyn Write,
) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::Good;
    line(out, format_args!("  provider: {} at {}", account.provider, account.base_url))?;
    write_limits(account, out)?;
    let webhook = Webhook::of(config, name, account);
    match &webhook {
        Some(webhook) => {
            line(out, format_args!("  webhook: enter this address at the provider, for each assistant:"))?;
            line(out, format_args!("    {}", webhook.show(show_webhook_token)))?;
            if !show_webhook_token {
                line(out, "    (--show-webhook-url shows it whole)")?;
            }
        }
        None => line(out, "  webhook: none, results are polled; set http.public_url to hear of them at once")?,
    }
    let waits = "an attempt without an answer waits for a person (`outdial resolve`)";
    if let Some(HappyRobotApi::V2 { .. }) = account.happyrobot.as_ref().map(|config| &config.api) {
        let column = &account.correlation_variable;
        line(out, format_args!("  warning: unless its workflows' runs have a column {column}, {waits}"))?;
    } else if account.list_lag_max.is_none() {
        line(out, format_args!("  warning: without list_lag_max, {waits}"))?;
    }
    // Only calls are marked with it, and none is made here.
    let installation = found.map_or(Installation::new(0), |found| found.installation);
    let provider = wire::provider(config, name, account, installation)?;
    let mut told = String::new();
    match provider.health().await {
        Ok(standing) if standing.is_good() => {
            line(out, format_args!("  key: accepted, {}", standing.sentence()))?;
        }
        Ok(standing) => {
            told = standing.sentence();
            line(out, format_args!("  key: {told}"))?;
            verdict = verdict.max(Verdict::UsersTurn);
        }
        Err(problem) => {
            told = what_is_wrong(&problem, account);
            line(out, format_args!("  key: {told}"))?;
            verdict = verdict.max(whose_turn(&problem));
        }
    }
    match provider.assistants().await {
        Ok(assistants) => {
            assistants::write_table(&assistants, out)?;
            let ours = webhook.as_ref().map(|webhook| webhook.show(true));
            let mut warnings = match account.happyrobot {
                // Declared by the configuration: nobody told where their results go.
                Some(_) => Vec::new(),
                None => assistants::warnings(&assistants, account, ours.as_deref()),
            };
            if let Some(Found { database, campaigns, .. }) = found {
                let of_account = campaigns.iter().filter(|campaign| campaign.definition.account == *name);
                for campaign in of_account {
                    let found = campaign.warnings(&database.pool, &assistants, &account.correlation_variable).await;
                    warnings.extend(found.context("read the variables of leads")?);
                }
            }
            for warning in warnings {
                line(out, format_args!("  warning: {warning}"))?;
            }
            if !assistants.iter().any(|assistant| assistant.active) {
                line(out, "  nothing can be dialed: no outbound assistant is active at the provider")?;
                verdict = verdict.max(Verdict::UsersTurn);
            }
        }
        Err(problem) => {
            let text = what_is_wrong(&problem, account);
            // Once is enough for what stops both questions.
            if !text.ends_with(&told) || told.is_empty() {
                line(out, format_args!("  assistants: {text}"))?;
            }
            verdict = verdict.max(whose_turn(&problem));
        }
    }
    Ok(verdict)
}

fn whose_turn(problem: &ReadError) -> Verdict {
    match problem {
        // An address that answers 404 to a documented request is a wrong address; so is mostly one that answers with a
        // redirect, a web page, or JSON of another kind.
        ReadError::AccountStopped(_) | ReadError::NotFound | ReadError::Unreadable { .. } => Verdict::UsersTurn,
        ReadError::RateLimited { .. } | ReadError::Unavailable { .. } => Verdict::WorldsTurn,
    }
}

/// One line: what is wrong, and where to look.
fn what_is_wrong(problem: &ReadError, account: &AccountConfig) -> String {
    let base_url = &account.base_url;
    match problem {
        ReadError::NotFound => {
            format!(
                "nothing is there (404): is base_url right, {base_url}? If it is, `paths` says what differs below it"
            )
        }
        ReadError::Unreadable { reason } => format!("{reason}: is base_url right, {base_url}?"),
        ReadError::AccountStopped(standing) => standing.sentence(),
        ReadError::RateLimited { .. } | ReadError::Unavailable { .. } => problem.to_string(),
    }
}

/// What holds, and who says so.
fn write_limits(account: &AccountConfig, out: &mut dyn Write) -> Result<(), Failure> {
    let limits = &account.limits;
    let burst = limits
        .requests_burst
        .map_or_else(String::new, |burst| format!(", {} in {}", burst.requests, show_duration(burst.within)));
    line(
        out,
        format_args!(
            "  limits: {}; {} a second, {} a minute, {} a day; {} requests a minute{burst}",
            count(limits.concurrent_calls.get().into(), "line", "lines"),
            count(limits.calls_per_second.get().into(), "call", "calls"),
            limits.calls_per_minute,
            limits.calls_per_day,
            limits.requests_per_minute
        ),
    )?;
    let from = |origin| {
        let keys = AccountLimits::KEYS.into_iter().filter(|key| account.limit_origins.get(key) == Some(&origin));
        keys.collect::<Vec<_>>().join(", ")
    };
    let origins = [
        ("configured", from(LimitOrigin::Configuration)),
        (&format!("documented by {}", account.provider), from(LimitOrigin::Documentation)),
        ("defaults", from(LimitOrigin::Default)),
    ];
    let told: Vec<_> =
        origins.iter().filter(|(_, keys)| !keys.is_empty()).map(|(origin, keys)| format!("{origin}: {keys}")).collect();
    line(out, format_args!("    {}", told.join("; ")))
}

/// The address at which a provider reports an account's results.
struct Webhook {
    before_token: String,
    token: String,
}

impl Webhook {
    fn of(config: &Config, name: &AccountName, account: &AccountConfig) -> Option<Self> {
        let before_token = wire::webhook_address(config, name)?;
        let token = account.webhook_token.as_ref()?.expose_secret().to_owned();
        Some(Self { before_token, token })
    }

    fn show(&self, with_token: bool) -> String {
        let token = if with_token { self.token.as_str() } else { "********" };
        format!("{}{token}", self.before_token)
    }
}
