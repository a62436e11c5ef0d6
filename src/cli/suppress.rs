//! `outdial suppress`: do-not-call numbers.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::adapter::postgres::command::{NewSuppression, suppress, unsuppress};
use crate::adapter::postgres::status::{SuppressionRow, suppressions};
use crate::domain::id::CampaignId;
use crate::domain::phone::PhoneNumber;

use super::csv_file::{CsvOptions, Source};
use super::desk::Desk;
use super::output::{Format, Listing, Phones, count, json as write_json, line, show, table, utc};
use super::{Failure, Outcome, names};

/// Entries in one statement.
const BATCH: usize = 5_000;
/// Longest reason; the table has the same bound.
const REASON_CHARS_MAX: usize = 500;
/// Rejected rows of an import that are shown.
const REJECTS_SHOWN: u64 = 10;

/// Keep numbers from being called, everywhere or in one campaign.
///
/// In effect within a second.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "what is flattened brings its own help")]
pub enum SuppressCommand {
    /// Add numbers, or change their reason and expiry.
    Add {
        /// The numbers, with their country codes.
        #[arg(required = true, value_name = "PHONE")]
        phones: Vec<String>,
        #[command(flatten)]
        entry: Entry,
    },
    /// Remove numbers. Leads that were taken out because of them become due again, unless their campaign is over.
    Remove {
        /// The numbers, with their country codes.
        #[arg(required = true, value_name = "PHONE")]
        phones: Vec<String>,
        /// Only the entries of this campaign; otherwise the ones that hold everywhere.
        #[arg(long, value_name = "NAME")]
        campaign: Option<String>,
        /// The country in which numbers without a country code are read, two letters.
        #[arg(long, value_name = "COUNTRY")]
        country: Option<String>,
    },
    /// Add many numbers from a CSV file.
    ///
    /// The first line names the columns: `phone`, and `reason` and `until` if they differ from line to line. A file without
    /// such a line, one number on each, is read too. Rows that hold no number are told, and make the exit code 1.
    Import {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        entry: Entry,
        #[command(flatten)]
        csv: CsvOptions,
    },
    /// List the entries, oldest first.
    List {
        /// Only this number.
        #[arg(long, value_name = "PHONE")]
        phone: Option<String>,
        /// Only the entries of this campaign.
        #[arg(long, value_name = "NAME")]
        campaign: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 1000, value_name = "COUNT")]
        limit: usize,
        #[command(flatten)]
        phones: Phones,
        #[command(flatten)]
        listing: Listing,
    },
}

/// What all entries of one order share.
#[derive(Clone, Debug, clap::Args)]
pub struct Entry {
    /// In this campaign only; otherwise everywhere.
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Why.
    #[arg(long, default_value = "do not call", value_name = "TEXT")]
    reason: String,
    /// Until when: a date, which is included, or an instant. Otherwise for good.
    #[arg(long, value_name = "DATE", value_parser = names::until)]
    until: Option<Timestamp>,
    /// The country in which numbers without a country code are read, two letters.
    #[arg(long, value_name = "COUNTRY")]
    country: Option<String>,
}

pub(super) async fn run(command: &SuppressCommand, desk: &Desk, out: &mut dyn Write) -> Outcome {
    match command {
        SuppressCommand::Add { phones, entry } => add(phones, entry, desk, out).await,
        SuppressCommand::Remove { phones, campaign, country } => {
            let campaign_id = scope(desk, campaign.as_deref()).await?;
            let phones = numbers(phones, country.as_deref())?;
            let removed = unsuppress(&desk.pool, &phones, campaign_id).await.context("remove the entries")?;
            line(out, format_args!("Removed {}", count(removed, "entry", "entries")))?;
            if removed < phones.len() as u64 {
                let left = phones.len() as u64 - removed;
                line(out, format_args!("{} had none in this scope", count(left, "number", "numbers")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        SuppressCommand::Import { file, entry, csv } => import(&Source::of(file), entry, csv, desk, out).await,
        SuppressCommand::List { phone, campaign, limit, phones, listing } => {
            let phone = phone.as_deref().map(|phone| names::phone(phone, None)).transpose()?;
            if let Some(name) = campaign {
                names::campaign(desk, name).await?;
            }
            let found = found(desk, phone, campaign.as_deref(), *limit).await?;
            list(&found, *limit, *phones, listing.output, out)
        }
    }
}

async fn scope(desk: &Desk, campaign: Option<&str>) -> Result<Option<CampaignId>, Failure> {
    match campaign {
        Some(name) => Ok(Some(names::campaign(desk, name).await?.0)),
        None => Ok(None),
    }
}

/// All of them, or what is wrong with every one that is none.
fn numbers(texts: &[String], country: Option<&str>) -> Result<Vec<PhoneNumber>, Failure> {
    let (good, bad): (Vec<_>, Vec<_>) = texts
        .iter()
        .map(|text| PhoneNumber::parse_in(text, country).map_err(|problem| (text, problem)))
        .partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(good.into_iter().flatten().collect());
    }
    let bad: Vec<_> = bad.into_iter().filter_map(Result::err).map(|(text, why)| format!("{text:?}: {why}")).collect();
    Err(Failure::user(anyhow!("{}; nothing was changed", bad.join("; "))))
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("the reason is empty".to_owned()),
        1..=REASON_CHARS_MAX => Ok(text.to_owned()),
        _ => Err(format!("the reason has more than {REASON_CHARS_MAX} characters")),
    }
}

async fn add(phones: &[String], entry: &Entry, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let campaign_id = scope(desk, entry.campaign.as_deref()).await?;
    let reason = reason(&entry.reason).map_err(|problem| Failure::user(anyhow!("--reason: {problem}")))?;
    let entries: Vec<_> = numbers(phones, entry.country.as_deref())?
        .into_iter()
        .map(|phone| NewSuppression { phone, campaign_id, reason: reason.clone(), expires_at: entry.until })
        .collect();
    let written = suppress(&desk.pool, &entries).await.context("write the entries")?;
    let place = entry.campaign.as_ref().map_or_else(|| "everywhere".to_owned(), |name| format!("in campaign {name}"));
    let until = entry.until.map_or_else(String::new, |at| format!(" until {} UTC", utc(at)));
    line(out, format_args!("Suppressed {place}{until}: {} new or changed", count(written, "entry", "entries")))?;
    Ok(ExitCode::SUCCESS)
}

async fn import(source: &Source, entry: &Entry, csv: &CsvOptions, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let campaign_id = scope(desk, entry.campaign.as_deref()).await?;
    let default_reason = reason(&entry.reason).map_err(|problem| Failure::user(anyhow!("--reason: {problem}")))?;
    let mut table = source.open(csv, &["phone", "reason", "until"], true)?;
    let column = |name: &str| table.head.iter().position(|head| head == name);
    let Some(phone_column) = column("phone") else { return Err(table.without_phone()) };
    let (reason_column, until_column) = (column("reason"), column("until"));
    let (mut read, mut written, mut rejected) = (0_u64, 0_u64, 0_u64);
    let mut batch = Vec::new();
    loop {
        let row = table.next_row()?;
        let done = row.is_none();
        if let Some(row) = row {
            read += 1;
            let field = |column: Option<usize>| {
                row.fields().and_then(|fields| fields.get(column?).map(str::trim)).filter(|text| !text.is_empty())
            };
            let entry = row.problem().map_or(Ok(()), Err).and_then(|()| {
                let phone = PhoneNumber::parse_in(field(Some(phone_column)).unwrap_or(""), entry.country.as_deref())
                    .map_err(|problem| problem.to_string())?;
                let reason = field(reason_column).map_or_else(|| Ok(default_reason.clone()), reason)?;
                let expires_at = field(until_column).map(names::until).transpose()?.or(entry.until);
                Ok(NewSuppression { phone, campaign_id, reason, expires_at })
            });
            match entry {
                Ok(entry) => batch.push(entry),
                Err(problem) => {
                    rejected += 1;
                    if rejected <= REJECTS_SHOWN {
                        line(out, format_args!("line {}: {problem}", row.line))?;
                    }
                }
            }
        }
        if batch.len() >= BATCH || (done && !batch.is_empty()) {
            written += suppress(&desk.pool, &std::mem::take(&mut batch)).await.context("write the entries")?;
        }
        if done {
            break;
        }
    }
    line(
        out,
        format_args!(
            "Read {}: {} new or changed, {} rejected",
            count(read, "row", "rows"),
            count(written, "entry", "entries"),
            count(rejected, "row", "rows")
        ),
    )?;
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn found(
    desk: &Desk,
    phone: Option<PhoneNumber>,
    campaign: Option<&str>,
    limit: usize,
) -> Result<Vec<SuppressionRow>, Failure> {
    let mut found = Vec::new();
    let mut after = 0;
    while found.len() <= limit {
        let page = suppressions(&desk.pool, after, 5_000).await.context("read the entries")?;
        let Some(last) = page.last() else { break };
        after = last.suppression_id;
        found.extend(page.into_iter().filter(|row| {
            phone.is_none_or(|phone| row.phone == phone)
                && campaign.is_none_or(|campaign| row.campaign.as_deref() == Some(campaign))
        }));
    }
    Ok(found)
}

fn list(found: &[SuppressionRow], limit: usize, phones: Phones, format: Format, out: &mut dyn Write) -> Outcome {
    let shown = &found[..found.len().min(limit)];
    match format {
        Format::Json => {
            let rows = shown.iter().map(|row| {
                json!({
                    "phone": phones.show(&row.phone),
                    "campaign": row.campaign,
                    "reason": row.reason,
                    "expires_at": row.expires_at,
                })
            });
            write_json(out, &Value::Array(rows.collect()))?;
        }
        Format::Table if found.is_empty() => line(out, "No number is suppressed")?,
        Format::Table => {
            let mut table = table(&["phone", "where", "until (UTC)", "reason"]);
            for row in shown {
                table.add_row([
                    phones.show(&row.phone),
                    row.campaign.clone().unwrap_or_else(|| "everywhere".to_owned()),
                    row.expires_at.map_or_else(|| "for good".to_owned(), utc),
                    row.reason.clone(),
                ]);
            }
            show(out, &table)?;
            if found.len() > limit {
                line(out, format_args!("There are more; --limit {limit} was reached"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
