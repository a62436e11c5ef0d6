//! What the demonstration did, judged by the provider's own log.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Context;
use jiff::SignedDuration;
use sqlx::PgPool;

use crate::adapter::postgres::views::{CampaignProgress, outcome_counts};
use crate::adapter::simulator::{CallRecord, oracle};
use crate::cli::Failure;
use crate::cli::output::table;
use crate::config::AccountConfig;
use crate::domain::outcome::Outcome;

/// The summary, and whether everything held.
pub(super) struct Verdict {
    outcomes: Vec<(Option<Outcome>, i64)>,
    progress: CampaignProgress,
    calls: usize,
    checks: Vec<(&'static str, usize)>,
}

pub(super) async fn judge(
    pool: &PgPool,
    progress: &CampaignProgress,
    calls: &[CallRecord],
    account: &AccountConfig,
) -> Result<Verdict, Failure> {
    let outcomes = outcome_counts(pool, progress.campaign_id).await.context("count the outcomes")?;
    let with_result: BTreeSet<String> =
        sqlx::query_scalar!(r#"select p.provider_call_id from provider_call p join call_result r using (attempt_id)"#)
            .fetch_all(pool)
            .await
            .context("read the results")?
            .into_iter()
            .collect();
    let lost = calls.iter().filter(|call| !with_result.contains(&call.call_id.to_string())).count();
    let limits = &account.limits;
    // Judged by when requests arrive, which wavers by what a request takes on its way, in civil time.
    let minute = SignedDuration::from_secs(50);
    let checks = vec![
        ("phones with two calls at once", oracle::double_live(calls).len()),
        ("attempts rung twice", oracle::same_token(calls, &account.correlation_variable).len()),
        ("calls whose result is missing", lost),
        (
            "starts above the minute's limit",
            oracle::starts_over(calls, limits.calls_per_minute.get() as usize, minute).len(),
        ),
        ("calls above the line limit", oracle::lines_over(calls, limits.concurrent_calls.get() as usize).len()),
        ("leads left in no state", usize::from(progress.due != 0 || progress.open != 0)),
    ];
    Ok(Verdict { outcomes, progress: progress.clone(), calls: calls.len(), checks })
}

impl Verdict {
    /// Whether every promise was kept.
    pub(super) fn good(&self) -> bool {
        self.progress.held == 0 && self.checks.iter().all(|(_, count)| *count == 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut attempts = table(&["outcome of attempts", "count"]);
        for (outcome, count) in &self.outcomes {
            attempts.add_row([outcome.map_or("open", Outcome::as_str).to_owned(), count.to_string()]);
        }
        let mut leads = table(&["disposition of leads", "count"]);
        for (disposition, count) in self.progress.disposed {
            leads.add_row([disposition.to_string(), count.to_string()]);
        }
        let mut checks = table(&["by the provider's own log", "found"]);
        checks.add_row(["calls placed".to_owned(), self.calls.to_string()]);
        for (what, count) in &self.checks {
            checks.add_row([(*what).to_owned(), count.to_string()]);
        }
        write!(f, "\n{attempts}\n\n{leads}\n\n{checks}\n")
    }
}
