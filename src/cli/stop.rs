//! `outdial stop` and `outdial start`: the panic stop.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow};

use crate::adapter::postgres::command;
use crate::adapter::postgres::status::account_statuses;
use crate::domain::id::AccountName;

use super::desk::Desk;
use super::output::{count, counted, line};
use super::{Failure, Outcome, names};

/// Which account, or all of them.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

/// Stop an account or everything, at once.
///
/// In effect within a second on every replica, and kept over restarts until `outdial start`. Calls under way end by
/// themselves; no lead is lost.
#[derive(Clone, Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    whose: Whose,
    /// Why; shown wherever somebody asks.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Lift the stop of an account, or that of everything.
#[derive(Clone, Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn stop(args: &StopArgs, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(Failure::user(anyhow!("--reason is empty: say why, someone will ask")));
    }
    let account = args.whose.find(desk).await?;
    command::stop(&desk.pool, account.as_ref(), reason, desk.now).await.context("write the stop")?;
    let open: i64 = account_statuses(&desk.pool)
        .await
        .context("read the accounts")?
        .iter()
        .filter(|status| account.as_ref().is_none_or(|account| *account == status.account))
        .map(|status| status.dialing + status.placed)
        .sum();
    line(out, format_args!("{} stopped: {reason}", subject(account.as_ref())))?;
    let under_way = match open {
        0 => "No call is under way".to_owned(),
        open => count(counted(open), "call under way ends by itself", "calls under way end by themselves"),
    };
    line(out, format_args!("No new call starts from one second on. {under_way}"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn start(args: &StartArgs, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let account = args.whose.find(desk).await?;
    let lifted = command::lift_stop(&desk.pool, account.as_ref()).await.context("lift the stop")?;
    match (lifted, &account) {
        (true, None) => line(out, "The stop of everything is lifted")?,
        (true, Some(account)) => line(out, format_args!("The stop of account {account} is lifted"))?,
        (false, None) => line(out, "There was no stop of everything")?,
        (false, Some(account)) => line(out, format_args!("Account {account} had no stop of its own"))?,
    }
    let statuses = account_statuses(&desk.pool).await.context("read the accounts")?;
    for status in statuses {
        let concerned = account.as_ref().is_none_or(|account| *account == status.account);
        if let Some(reason) = status.stopped.filter(|_| concerned) {
            line(out, format_args!("Account {} is still stopped: {reason}", status.account))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Whose {
    async fn find(&self, desk: &Desk) -> Result<Option<AccountName>, Failure> {
        match &self.account {
            Some(name) => names::account_heard_of(desk, name).await.map(Some),
            None => Ok(None),
        }
    }
}

fn subject(account: Option<&AccountName>) -> String {
    account.map_or_else(|| "Everything is".to_owned(), |account| format!("Account {account} is"))
}
