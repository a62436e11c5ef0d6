//! `outdial audit`: the invariants, asked of live data, by a person or by the daemon itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use crate::adapter::clock::ScaledClock;
use crate::adapter::postgres::audit::{
    COUNT_MAX, CampaignLimits, Finding, Offence, Subject, Told, audit, campaign_limits,
};
use crate::config::Config;
use crate::domain::id::CampaignId;
use crate::port::store::StoreError;

use super::desk::Desk;
use super::names::{Since, since};
use super::output::{Format, Listing, count, grouped, json as write_json, line, numbers, show, table};
use super::{Failure, Outcome, wire};

/// How far back starts, lines and persons are judged unless told otherwise: limits change, and are judged as they are.
const LIMITS_SINCE: SignedDuration = SignedDuration::from_hours(24);
/// How much further than two of its periods the daemon's own pass looks back, real time: attempts that were still open
/// when it last looked have ended by then.
const LOOK_BACK: Duration = Duration::from_secs(3_600);
/// Violations whose ids are logged.
const LOGGED_MAX: usize = 3;
/// What cannot be asked here.
const NOT_JUDGED: &str = "Not judged: invariant 8, what must never be logged, for logs are not in the database.";

/// Check on live data that every invariant holds: nobody rung twice or at a wrong time, no result lost.
///
/// Reads only, and may run beside daemons at any time. Everything is judged, and starts, lines and persons of the last
/// 24 hours by the limits of today. Exit code 0: nothing is wrong. 1: something is, or could not be judged. The daemon
/// asks the same of what happened lately, see `daemon.audit_every`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Judge only attempts begun at or after this, and the limits since: how long ago (24h, 7d), a date or an instant.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(args: &Args, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let since = args.since.map(|since| since.at(desk.now));
    let limits = campaign_limits(&desk.pool).await.context("read the campaigns")?;
    let subject = Subject {
        since,
        limits_since: since.unwrap_or(desk.now - LIMITS_SINCE),
        recent_only: false,
        campaigns: limits.into_iter().map(|limits| (limits.campaign_id, limits.pacing)).collect(),
        ..subject(&desk.config, desk.clock, desk.now)
    };
    let findings = audit(&desk.pool, &subject).await.context("ask the database")?;
    let sound = findings.iter().all(|finding| finding.violations == 0 && finding.unanswered.is_none());
    match args.listing.output {
        Format::Json => write_json(out, &as_json(&findings, &subject))?,
        Format::Table => write_table(&findings, out)?,
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn subject(config: &Config, clock: ScaledClock, now: Timestamp) -> Subject {
    let accounts = config.accounts.iter();
    Subject {
        now,
        since: None,
        limits_since: now,
        recent_only: true,
        clock,
        accounts: accounts
            .map(|(name, account)| (name.clone(), wire::pacing(&account.limits), account.ring_max))
            .collect(),
        campaigns: Vec::new(),
        person: wire::person_limits(config),
    }
}

fn write_table(findings: &[Finding], out: &mut dyn Write) -> Result<(), Failure> {
    let mut overview = table(&["no", "what holds", "looked at", "violations", "ms"]);
    numbers(&mut overview, [0, 2, 3, 4]);
    for finding in findings {
        let about = finding.check.about();
        overview.add_row([
            about.invariant.to_string(),
            about.holds.to_owned(),
            grouped(finding.looked_at),
            if finding.unanswered.is_some() { "?".to_owned() } else { violations(finding) },
            grouped(finding.elapsed.as_millis().try_into().unwrap_or(u64::MAX)),
        ]);
    }
    show(out, &overview)?;
    line(out, NOT_JUDGED)?;
    for finding in findings.iter().filter(|finding| finding.violations > 0 || finding.unanswered.is_some()) {
        let about = finding.check.about();
        line(out, "")?;
        if let Some(why) = &finding.unanswered {
            line(out, format_args!("Invariant {}, {}: could not be judged: {why}", about.invariant, about.holds))?;
            continue;
        }
        line(out, format_args!("Invariant {}, {}: {} violated", about.invariant, about.holds, violations(finding)))?;
        line(out, format_args!("{} {}", about.means, about.remedy))?;
        for offence in &finding.offences {
            line(out, format_args!("- {}", sentence(offence)))?;
        }
        let more = finding.violations.saturating_sub(finding.offences.len() as u64);
        if more > 0 {
            line(out, format_args!("- and {}", count(more, "other", "others")))?;
        }
    }
    let wrong = findings.iter().filter(|finding| finding.violations > 0).count() as u64;
    let unanswered = findings.iter().filter(|finding| finding.unanswered.is_some()).count() as u64;
    line(out, "")?;
    match (wrong, unanswered) {
        (0, 0) => line(out, "Every invariant holds"),
        (0, _) => line(out, format_args!("{} could not be judged", count(unanswered, "check", "checks"))),
        (_, _) => line(out, format_args!("{} found violations", count(wrong, "check", "checks"))),
    }
}

fn violations(finding: &Finding) -> String {
    let more = if finding.violations >= COUNT_MAX { " or more" } else { "" };
    format!("{}{more}", grouped(finding.violations))
}

/// Whose it is, and what is wrong.
fn sentence(offence: &Offence) -> String {
    let mut whose = Vec::new();
    whose.extend(offence.attempt_id.map(|id| format!("attempt {id}")));
    whose.extend(offence.lead_id.map(|lead| format!("lead {lead}")));
    whose.extend(offence.campaign_id.map(|campaign| format!("campaign {campaign}")));
    whose.extend(offence.phone.clone());
    match whose.is_empty() {
        true => offence.detail.clone(),
        false => format!("{}: {}", whose.join(", "), offence.detail),
    }
}

fn as_json(findings: &[Finding], subject: &Subject) -> Value {
    let offence = |offence: &Offence| {
        json!({
            "attempt_id": offence.attempt_id.map(|id| id.to_string()),
            "campaign_id": offence.campaign_id,
            "lead_id": offence.lead_id,
            "phone": offence.phone,
            "detail": offence.detail,
        })
    };
    let finding = |finding: &Finding| {
        let about = finding.check.about();
        json!({
            "check": finding.check,
            "invariant": about.invariant,
            "holds": about.holds,
            "means": about.means,
            "remedy": about.remedy,
            "looked_at": finding.looked_at,
            "violations": finding.violations,
            "counted_all": finding.violations < COUNT_MAX,
            "unanswered": finding.unanswered,
            "elapsed_ms": u64::try_from(finding.elapsed.as_millis()).unwrap_or(u64::MAX),
            "rows": finding.offences.iter().map(offence).collect::<Vec<_>>(),
        })
    };
    json!({
        "at": subject.now,
        "since": subject.since,
        "limits_since": subject.limits_since,
        "checks": findings.iter().map(finding).collect::<Vec<_>>(),
        "not_judged": [8],
    })
}

/// The daemon's own pass: asks what can be asked of what happened lately, and logs an ERROR for each check that finds
/// something new. Every daemon has one: it only reads, and whichever replica is left goes on.
pub(super) fn watch(config: &Config, pool: PgPool, clock: ScaledClock) -> Option<JoinHandle<()>> {
    let every = Duration::try_from(config.daemon.audit_every?).ok()?;
    let config = config.clone();
    Some(tokio::spawn(async move {
        let mut watch = Watch { config, pool, clock, every, told: Told::default(), judged_from: None };
        loop {
            if let Err(problem) = watch.look().await {
                warn!("The invariants could not be checked: {problem}");
            }
            tokio::time::sleep(every).await;
        }
    }))
}

struct Watch {
    config: Config,
    pool: PgPool,
    clock: ScaledClock,
    every: Duration,
    told: Told,
    /// When the campaigns' versions were last read, and which they were: limits that changed since judge nobody.
    judged_from: Option<(Timestamp, BTreeMap<CampaignId, i64>)>,
}

impl Watch {
    async fn look(&mut self) -> Result<(), StoreError> {
        let limits = campaign_limits(&self.pool).await?;
        let now = self.clock.now();
        let versions = limits.iter().map(|limits| (limits.campaign_id, limits.version)).collect();
        let Some((limits_since, before)) = self.judged_from.replace((now, versions)) else {
            // A daemon that has just started has done nothing yet, and what came before was judged by others.
            return Ok(());
        };
        let unchanged = |limits: &CampaignLimits| before.get(&limits.campaign_id) == Some(&limits.version);
        let subject = Subject {
            since: Some(now - self.clock.real_to_civil(self.every * 2 + LOOK_BACK)),
            limits_since,
            campaigns: limits.into_iter().filter(unchanged).map(|limits| (limits.campaign_id, limits.pacing)).collect(),
            ..subject(&self.config, self.clock, now)
        };
        for finding in audit(&self.pool, &subject).await? {
            self.tell(&finding);
        }
        Ok(())
    }

    fn tell(&mut self, finding: &Finding) {
        let about = finding.check.about();
        let (check, elapsed_ms) = (finding.check.as_str(), finding.elapsed.as_millis());
        if let Some(why) = &finding.unanswered {
            warn!(check, elapsed_ms, "Invariant {} ({}) could not be checked: {why}", about.invariant, about.holds);
        } else if self.told.is_news(finding) {
            let ids: Vec<String> = finding.offences.iter().take(LOGGED_MAX).map(subject_of).collect();
            let ids = ids.join("; ");
            error!(
                invariant = about.invariant,
                check,
                violations = finding.violations,
                elapsed_ms,
                ids,
                "Invariant {} is violated {} times ({}): {}; run `outdial audit`",
                about.invariant,
                finding.violations,
                about.holds,
                ids
            );
        } else {
            debug!(
                check,
                looked_at = finding.looked_at,
                violations = finding.violations,
                elapsed_ms,
                "Checked: {}",
                about.holds
            );
        }
    }
}

/// Whose it is, for the log: ids only.
fn subject_of(offence: &Offence) -> String {
    match (offence.attempt_id, offence.campaign_id, offence.lead_id) {
        (Some(attempt), _, _) => format!("attempt {attempt}"),
        (None, Some(campaign), Some(lead)) => format!("lead {lead} of campaign {campaign}"),
        (None, _, _) => offence.detail.clone(),
    }
}
