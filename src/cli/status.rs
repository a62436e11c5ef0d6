//! `outdial status`: what every account and campaign is doing.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::adapter::postgres::backlog::{COUNTED_MAX, WebhookBacklog, backlogs};
use crate::adapter::postgres::status::{AccountStatus, account_statuses};
use crate::adapter::postgres::views::{CampaignProgress, campaign_progress};
use crate::config::AccountConfig;
use crate::domain::campaign::{CampaignState, Day};
use crate::domain::document::show_duration;
use crate::domain::id::{AccountName, Epoch};
use crate::port::store::{StartsOf, Store};

use super::desk::Desk;
use super::output::{Format, Listing, counted, grouped, json as write_json, line, show, table, utc};
use super::{Failure, Outcome, campaign};

/// How often a watched status is read.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Show what every account, campaign and webhook is doing.
///
/// For accounts: who dials, lines in use, starts in the last minute and in the day with their limits, attempts in doubt and
/// held, events that are not applied yet. For campaigns: where their leads are. For webhooks: what waits to be told, and
/// what was given up.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Show it again every second until interrupted.
    #[arg(long)]
    watch: bool,
    /// Show finished campaigns too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(args: &Args, desk: &Desk, out: &mut dyn Write) -> Outcome {
    if !args.watch {
        let status = Status::read(desk, args.all, desk.now).await?;
        status.write(args.listing.output, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let clear = args.listing.output == Format::Table && std::io::stdout().is_terminal();
    loop {
        let status = Status::read(desk, args.all, desk.clock.now()).await?;
        if clear {
            write!(out, "{CLEAR}").context("write the output")?;
        }
        match args.listing.output {
            Format::Table => status.write(Format::Table, out)?,
            // One value on each line, for programs that read along.
            Format::Json => line(out, status.as_json())?,
        }
        out.flush().context("write the output")?;
        tokio::select! {
            () = super::run::interrupted() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}

/// What one account is doing.
struct AccountLine {
    name: AccountName,
    limits: Option<AccountConfig>,
    status: Option<AccountStatus>,
    starts_minute: u32,
    starts_day: u32,
}

struct Status {
    now: Timestamp,
    accounts: Vec<AccountLine>,
    campaigns: Vec<CampaignProgress>,
    webhooks: Vec<WebhookBacklog>,
    /// The clock of webhooks.
    real_now: Timestamp,
    /// Those that the configuration has.
    configured: BTreeSet<String>,
}

impl Status {
    async fn read(desk: &Desk, all: bool, now: Timestamp) -> Result<Self, Failure> {
        let store = desk.store().await?;
        let mut statuses = account_statuses(&desk.pool).await.context("read the accounts")?;
        let mut names: Vec<_> = desk.config.accounts.keys().cloned().collect();
        names.extend(statuses.iter().map(|status| status.account.clone()));
        names.sort();
        names.dedup();
        let mut accounts = Vec::new();
        for name in names {
            let limits = desk.config.accounts.get(&name).cloned();
            let minute = now - SignedDuration::from_mins(1);
            let day = limits.as_ref().map(|account| account.limits.day.clone()).unwrap_or_default().begins_at(now);
            let starts = |since| store.starts_since(StartsOf::Account(&name), since, u32::MAX);
            let starts_minute = starts(minute).await.context("count the starts")?;
            let starts_day = starts(day).await.context("count the starts")?;
            let position = statuses.iter().position(|status| status.account == name);
            let status = position.map(|position| statuses.remove(position));
            accounts.push(AccountLine { name, limits, status, starts_minute, starts_day });
        }
        let mut campaigns = campaign_progress(&desk.pool, None).await.context("read the campaigns")?;
        campaigns.retain(|campaign| all || campaign.state != CampaignState::Finished);
        let names: Vec<_> = desk.config.webhooks.keys().cloned().collect();
        let webhooks = backlogs(&desk.pool, &names).await.context("read the webhooks")?;
        let (real_now, configured) = (desk.clock.real_now(), names.into_iter().collect());
        Ok(Self { now, accounts, campaigns, webhooks, real_now, configured })
    }

    fn write(&self, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
        if format == Format::Json {
            return write_json(out, &self.as_json());
        }
        line(out, format_args!("{} UTC", utc(self.now)))?;
        let mut accounts = table(&["account", "dialed by", "lines", "minute", "day", "doubt", "held", "events"]);
        super::output::numbers(&mut accounts, 2..=7);
        for account in &self.accounts {
            accounts.add_row(account.row());
        }
        show(out, &accounts)?;
        for account in &self.accounts {
            for problem in account.problems(self.now) {
                line(out, format_args!("Account {}: {problem}", account.name))?;
            }
        }
        if self.campaigns.is_empty() {
            line(out, "No campaigns")?;
        } else {
            line(out, "")?;
            show(out, &campaign::overview(&self.campaigns))?;
        }
        self.write_webhooks(out)
    }

    fn write_webhooks(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.webhooks.is_empty() {
            return Ok(());
        }
        let mut webhooks = table(&["webhook", "campaigns", "waiting", "for", "given up", "problem"]);
        super::output::numbers(&mut webhooks, 1..=4);
        // More are not counted.
        let number = |count: u64| if count < COUNTED_MAX { grouped(count) } else { format!("{}+", grouped(count)) };
        for webhook in &self.webhooks {
            let waits_for = webhook.oldest_at.map(|oldest_at| self.real_now.duration_since(oldest_at));
            let problem = if self.configured.contains(&webhook.webhook) {
                webhook.problem.clone().unwrap_or_default()
            } else {
                "it is not in the configuration".to_owned()
            };
            webhooks.add_row([
                webhook.webhook.clone(),
                grouped(webhook.campaigns),
                number(webhook.waiting),
                waits_for.map(roughly).unwrap_or_default(),
                number(webhook.given_up),
                problem,
            ]);
        }
        line(out, "")?;
        show(out, &webhooks)
    }

    fn as_json(&self) -> Value {
        json!({
            "at": self.now,
            "accounts": self.accounts.iter().map(|account| account.as_json(self.now)).collect::<Vec<_>>(),
            "campaigns": self.campaigns.iter().map(campaign::as_json).collect::<Vec<_>>(),
            "webhooks": self.webhooks.iter().map(|webhook| self.webhook_json(webhook)).collect::<Vec<_>>(),
        })
    }
}

/// A span in minutes, once it is one.
fn roughly(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    show_duration(SignedDuration::from_secs(if seconds < 60 { seconds } else { seconds - seconds % 60 }))
}

impl Status {
    fn webhook_json(&self, webhook: &WebhookBacklog) -> Value {
        json!({
            "webhook": webhook.webhook,
            "configured": self.configured.contains(&webhook.webhook),
            "campaigns": webhook.campaigns,
            "waiting": webhook.waiting,
            "waiting_since": webhook.oldest_at,
            "given_up": webhook.given_up,
            "problem": webhook.problem,
        })
    }
}

impl AccountLine {
    fn of_limit(used: u64, limit: Option<u32>) -> String {
        limit.map_or_else(|| grouped(used), |limit| format!("{}/{}", grouped(used), grouped(limit.into())))
    }

    fn count(&self, of: fn(&AccountStatus) -> i64) -> u64 {
        self.status.as_ref().map_or(0, |status| counted(of(status)))
    }

    fn lines(&self) -> u64 {
        self.count(|status| status.dialing + status.placed + status.in_doubt)
    }

    fn holder(&self) -> Option<(String, Epoch)> {
        let (owner, epoch) = self.status.as_ref()?.holder?;
        Some((owner.to_string(), epoch))
    }

    /// Host and process of the daemon, as it called itself.
    fn dialed_by(&self) -> String {
        let Some((owner, _)) = self.holder() else { return "nobody".to_owned() };
        let name = self.status.as_ref().and_then(|status| status.holder_name.clone());
        name.unwrap_or_else(|| owner.chars().take(8).collect())
    }

    fn row(&self) -> [String; 8] {
        let limits = self.limits.as_ref().map(|account| &account.limits);
        let limit = |of: fn(&crate::config::AccountLimits) -> u32| limits.map(of);
        [
            self.name.to_string(),
            self.dialed_by(),
            Self::of_limit(self.lines(), limit(|limits| limits.concurrent_calls.get())),
            Self::of_limit(self.starts_minute.into(), limit(|limits| limits.calls_per_minute.get())),
            Self::of_limit(self.starts_day.into(), limit(|limits| limits.calls_per_day.get())),
            grouped(self.count(|status| status.in_doubt)),
            grouped(self.count(|status| status.held)),
            grouped(self.count(|status| status.pending_events)),
        ]
    }

    fn problems(&self, now: Timestamp) -> Vec<String> {
        let mut problems = Vec::new();
        let open = self.lines() + self.count(|status| status.held);
        if self.limits.is_none() && open > 0 {
            problems.push(format!("not in the configuration, with {open} open attempts: bring it back"));
        } else if self.holder().is_none() && self.limits.is_some() {
            problems.push("no daemon dials it".to_owned());
        }
        let Some(status) = &self.status else { return problems };
        if let Some(reason) = &status.stopped {
            problems.push(format!("stopped: {reason}"));
        }
        if let Some((reason, since)) = &status.missing {
            problems.push(format!(
                "attempts since {} UTC may be missing, so the provider's calls are compared first: {reason}",
                utc(*since)
            ));
        } else if let Some((account, until)) = status.waits_for(now) {
            problems.push(format!(
                "calls of account {account} may be missing and ring until {} UTC at most: nobody is called before it is known \
                 whom they ring",
                utc(*until)
            ));
        }
        if let Some((problem, since, next_check_at)) = &status.problem {
            let next = next_check_at.map_or_else(String::new, |at| format!(", looked at again {} UTC", utc(at)));
            problems.push(format!("{problem} (since {} UTC{next})", utc(*since)));
        }
        if let Some(limits) = self.limits.as_ref().map(|account| &account.limits)
            && self.starts_day >= limits.calls_per_day.get()
        {
            let cap = limits.calls_per_day.get();
            let next = match &limits.day {
                Day::Rolling => "it goes on as its calls get older than a day".to_owned(),
                Day::Civil(zone) => format!("it goes on at midnight in {}", zone.name()),
            };
            problems.push(format!("all {} calls of the day are started; {next}", grouped(cap.into())));
        }
        if status.held > 0 {
            let held = super::output::count(counted(status.held), "attempt is", "attempts are");
            problems.push(format!("{held} held: see `outdial resolve`"));
        }
        problems
    }

    fn as_json(&self, now: Timestamp) -> Value {
        let limits = self.limits.as_ref().map(|account| &account.limits);
        let status = self.status.as_ref();
        json!({
            "account": self.name,
            "configured": self.limits.is_some(),
            "holder": self.holder().map(|(owner, _)| owner),
            "holder_name": status.and_then(|status| status.holder_name.as_ref()),
            "epoch": self.holder().map(|(_, epoch)| epoch),
            "dialing": self.count(|status| status.dialing),
            "placed": self.count(|status| status.placed),
            "in_doubt": self.count(|status| status.in_doubt),
            "held": self.count(|status| status.held),
            "lines_in_use": self.lines(),
            "concurrent_calls": limits.map(|limits| limits.concurrent_calls),
            "starts_last_minute": self.starts_minute,
            "calls_per_minute": limits.map(|limits| limits.calls_per_minute),
            "starts_today": self.starts_day,
            "calls_per_day": limits.map(|limits| limits.calls_per_day),
            "stopped": status.and_then(|status| status.stopped.as_ref()),
            "problem": status.and_then(|status| status.problem.as_ref()).map(|(problem, since, next_check_at)| {
                json!({ "problem": problem, "since": since, "next_check_at": next_check_at })
            }),
            "missing": status.and_then(|status| status.missing.as_ref()).map(|(reason, since)| {
                json!({ "reason": reason, "since": since })
            }),
            "waits_for": status.and_then(|status| status.waits_for(now)).map(|(account, until)| {
                json!({ "account": account, "until": until })
            }),
            "pending_events": self.count(|status| status.pending_events),
        })
    }
}
