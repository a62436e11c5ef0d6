//! `outdial check`: the configuration, the database and every account, looked at before anything is dialed.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use secrecy::ExposeSecret;

use crate::adapter::postgres::PostgresStore;
use crate::config::{AccountConfig, Config};
use crate::domain::assistant::Assistant;
use crate::domain::document::show_duration;
use crate::domain::id::{AccountName, Installation};
use crate::port::provider::{Provider, ReadError};
use crate::port::store::Store;

use super::database::{Database, Migrations, describe};
use super::output::{count, line, show, table};
use super::{Failure, Outcome, wire};

/// Check the configuration, the database and each account; print the webhook addresses to enter at the provider.
///
/// Each account is asked whether its key is accepted and which assistants are active. Nothing is dialed and nothing is
/// changed; a private database server is started for the time it takes. Everything is checked before the command ends, with
/// exit code 2 if you must change something, else 1 if something does not answer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Write webhook addresses with their secret part. Otherwise it is only shown on a terminal, so that it does not end
    /// up in a log.
    #[arg(long)]
    show_webhook_url: bool,
}

/// What was found so far, worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    #[default]
    Good,
    WorldsTurn,
    UsersTurn,
}

pub(super) async fn run(args: &Args, config: Config, out: &mut dyn Write) -> Outcome {
    crate::telemetry::start(None);
    let show = args.show_webhook_url || std::io::stdout().is_terminal();
    check(&config, show, out).await
}

/// Checks everything before it answers; `show_webhook_token` writes the secret part of webhook addresses.
pub async fn check(config: &Config, show_webhook_token: bool, out: &mut dyn Write) -> Outcome {
    summary(config, out)?;
    let (mut verdict, installation) = database(config, out).await?;
    for (name, account) in &config.accounts {
        line(out, format_args!("\nAccount {name}"))?;
        let found = check_account(config, name, account, installation, show_webhook_token, out).await?;
        verdict = verdict.max(found);
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
    let per_day = config.person.calls_per_day.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
    let gap = show_duration(config.person.min_gap_between_campaigns);
    line(out, format_args!("  a person: {per_day} calls a day, {gap} between campaigns"))?;
    if let Some(clock) = config.clock {
        line(out, format_args!("  clock: a rehearsal, {} civil seconds in each real one", clock.factor))?;
    }
    Ok(())
}

async fn database(config: &Config, out: &mut dyn Write) -> Result<(Verdict, Installation), Failure> {
    // Only calls are marked with it, and none is made here.
    let nobody = Installation::new(0);
    let database = match Database::open(config, Migrations::Require).await {
        Ok(database) => database,
        Err(Failure::User(problem)) => {
            line(out, format_args!("Database: {problem:#}"))?;
            return Ok((Verdict::UsersTurn, nobody));
        }
        Err(Failure::World(problem)) => {
            line(out, format_args!("Database: {problem:#}"))?;
            return Ok((Verdict::WorldsTurn, nobody));
        }
    };
    let store = PostgresStore::open(database.pool.clone()).await;
    let installation = store.as_ref().map_or(nobody, Store::installation);
    let problem = store.err();
    database.close().await?;
    if let Some(problem) = problem {
        line(out, format_args!("Database: {problem}"))?;
        return Ok((Verdict::WorldsTurn, nobody));
    }
    line(out, "Database: good, schema up to date")?;
    Ok((Verdict::Good, installation))
}

async fn check_account(
    config: &Config,
    name: &AccountName,
    account: &AccountConfig,
    installation: Installation,
    show_webhook_token: bool,
    out: &mut dyn Write,
) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::Good;
    line(out, format_args!("  provider: {} at {}", account.provider, account.base_url))?;
    let limits = &account.limits;
    line(
        out,
        format_args!(
            "  limits: {}; {} a second, {} a minute, {} a day; {} requests a minute",
            count(limits.concurrent_calls.get().into(), "line", "lines"),
            count(limits.calls_per_second.get().into(), "call", "calls"),
            limits.calls_per_minute,
            limits.calls_per_day,
            limits.requests_per_minute
        ),
    )?;
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
    if account.list_lag_max.is_none() {
        line(
            out,
            "  warning: without list_lag_max, an attempt without an answer waits for a person (`outdial resolve`)",
        )?;
    }
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
            told = problem.to_string();
            line(out, format_args!("  key: {told}"))?;
            verdict = verdict.max(whose_turn(&problem));
        }
    }
    match provider.assistants().await {
        Ok(assistants) => {
            assistants_table(&assistants, out)?;
            for warning in warnings(&assistants, account, webhook.as_ref()) {
                line(out, format_args!("  warning: {warning}"))?;
            }
            if !assistants.iter().any(|assistant| assistant.active) {
                line(out, "  nothing can be dialed: no outbound assistant is active at the provider")?;
                verdict = verdict.max(Verdict::UsersTurn);
            }
        }
        Err(problem) => {
            let text = problem.to_string();
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
        // An address that answers 404 to a documented request is a wrong address.
        ReadError::AccountStopped(_) | ReadError::NotFound => Verdict::UsersTurn,
        ReadError::RateLimited { .. } | ReadError::Unavailable { .. } | ReadError::Unreadable { .. } => {
            Verdict::WorldsTurn
        }
    }
}

/// The address at which a provider reports an account's results.
struct Webhook {
    before_token: String,
    token: String,
}

impl Webhook {
    fn of(config: &Config, name: &AccountName, account: &AccountConfig) -> Option<Self> {
        let public_url = config.http.public_url.as_deref()?;
        let token = account.webhook_token.as_ref()?.expose_secret().to_owned();
        Some(Self { before_token: format!("{public_url}/webhook/{name}/"), token })
    }

    fn show(&self, with_token: bool) -> String {
        let token = if with_token { self.token.as_str() } else { "********" };
        format!("{}{token}", self.before_token)
    }
}

fn assistants_table(assistants: &[Assistant], out: &mut dyn Write) -> Result<(), Failure> {
    if assistants.is_empty() {
        return line(out, "  assistants: none for outbound calls");
    }
    let mut sorted: Vec<_> = assistants.iter().collect();
    sorted.sort_by(|a, b| b.active.cmp(&a.active).then_with(|| a.name.cmp(&b.name)));
    let mut table = table(&["assistant", "name", "active", "status", "mode", "language"]);
    for assistant in sorted {
        table.add_row([
            assistant.assistant_id.to_string(),
            assistant.name.clone(),
            if assistant.active { "yes" } else { "no" }.to_owned(),
            assistant.status.clone(),
            assistant.mode.clone().unwrap_or_default(),
            assistant.language_id.map_or_else(String::new, |id| id.to_string()),
        ]);
    }
    show(out, &table)
}

/// What would make results late or lose their way; only of assistants that dial.
fn warnings(assistants: &[Assistant], account: &AccountConfig, webhook: Option<&Webhook>) -> Vec<String> {
    let mut warnings = Vec::new();
    if account.happyrobot.is_some() {
        // Declared by the configuration: nobody told where their results go.
        return warnings;
    }
    for assistant in assistants.iter().filter(|assistant| assistant.active) {
        let (id, name) = (&assistant.assistant_id, &assistant.name);
        let variable = &account.correlation_variable;
        if !assistant.variables.contains(variable) {
            warnings.push(format!(
                "assistant {id} ({name}) does not declare the variable {variable}: results may lose their attempt"
            ));
        }
        let Some(webhook) = webhook else { continue };
        let ours = format!("{}{}", webhook.before_token, webhook.token);
        match assistant.webhook_url.as_deref().map(str::trim).filter(|url| !url.is_empty()) {
            None => warnings.push(format!("assistant {id} ({name}) has no webhook: its results are polled")),
            Some(url) if url.trim_end_matches('/') != ours => {
                // Of a foreign address only the host is shown: its path may be a secret of someone else's.
                let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
                let host = host.unwrap_or_else(|| "somewhere else".to_owned());
                warnings.push(format!("assistant {id} ({name}) sends its results to another address, at {host}"));
            }
            Some(_) => {}
        }
    }
    warnings
}
