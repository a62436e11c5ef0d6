//! `outdial calls`: attempts and their results, listed, shown and exported.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::adapter::postgres::views::{self, CallFilter, CallLogRow, call_log_page, recent_calls};
use crate::domain::id::AttemptId;
use crate::domain::outcome::Outcome as CallOutcome;

use super::desk::Desk;
use super::names::{Since, since};
use super::output::{Format, Listing, Phones, json as write_json, line, show as show_table, table, unbroken, utc};
use super::{Failure, Outcome, names};

/// Rows of an export that are read at once.
const PAGE: u32 = 2_000;
/// An instant to the minute, as far as it is written in a list.
const MINUTE_CHARS: usize = "2026-03-01 09:00".len();
/// How far back a list reaches when nothing is said.
const LIST_SINCE: &str = "24h";

/// Look at attempts and their results.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "what is flattened brings its own help")]
pub enum CallsCommand {
    /// List attempts, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: u32,
        #[command(flatten)]
        phones: Phones,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show everything about one attempt, transcript included.
    Show {
        /// The attempt's id.
        #[arg(value_name = "ATTEMPT")]
        attempt: Uuid,
        #[command(flatten)]
        phones: Phones,
        #[command(flatten)]
        listing: Listing,
    },
    /// Write attempts with their results to standard output, all of them unless restricted.
    ///
    /// An export is your own data file: it holds whole phone numbers, transcripts and extracted variables.
    Export {
        /// The format.
        #[arg(long, value_enum, default_value_t)]
        format: ExportFormat,
        #[command(flatten)]
        filter: Filter,
    },
}

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated, with a head; extracted variables and transcript as JSON in their columns.
    #[default]
    Csv,
    /// One JSON object on each line.
    Jsonl,
}

/// Which attempts.
#[derive(Clone, Debug, clap::Args)]
pub struct Filter {
    /// Of this campaign.
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// To this number.
    #[arg(long, value_name = "PHONE")]
    phone: Option<String>,
    /// Begun at or after this: how long ago (24h, 7d), a date or an instant. `list` looks back 24h unless told.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// Ended so.
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    outcome: Option<CallOutcome>,
}

fn outcome(word: &str) -> Result<CallOutcome, String> {
    let words: Vec<_> = CallOutcome::ALL.iter().map(|word| word.as_str()).collect();
    word.parse().map_err(|_| format!("one of {}", words.join(", ")))
}

impl Filter {
    async fn read(&self, desk: &Desk) -> Result<CallFilter, Failure> {
        let campaign_id = match &self.campaign {
            Some(name) => Some(names::campaign(desk, name).await?.0),
            None => None,
        };
        Ok(CallFilter {
            campaign_id,
            phone: self.phone.as_deref().map(|phone| names::phone(phone, None)).transpose()?,
            since: self.since.map(|since| since.at(desk.now)),
            outcome: self.outcome,
        })
    }
}

pub(super) async fn run(command: &CallsCommand, desk: &Desk, out: &mut dyn Write) -> Outcome {
    match command {
        CallsCommand::List { filter, limit, phones, listing } => {
            list(filter, *limit, *phones, listing.output, desk, out).await
        }
        CallsCommand::Show { attempt, phones, listing } => show(*attempt, *phones, listing.output, desk, out).await,
        CallsCommand::Export { format, filter } => export(*format, &filter.read(desk).await?, desk, out).await,
    }
}

async fn list(
    filter: &Filter,
    limit: u32,
    phones: Phones,
    format: Format,
    desk: &Desk,
    out: &mut dyn Write,
) -> Outcome {
    let mut read = filter.read(desk).await?;
    let defaulted = read.since.is_none() && read.phone.is_none();
    if defaulted {
        read.since = since(LIST_SINCE).ok().map(|since| since.at(desk.now));
    }
    let mut rows = recent_calls(&desk.pool, &read, limit.saturating_add(1)).await.context("read the attempts")?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    match format {
        Format::Json => {
            let rows = rows.iter().map(|row| summary(row, &phones.show(&row.phone)));
            write_json(out, &Value::Array(rows.collect()))?;
        }
        Format::Table if rows.is_empty() => {
            let hint = if defaulted { " in the last 24 hours; --since 7d looks further back" } else { "" };
            line(out, format_args!("No attempts{hint}"))?;
        }
        Format::Table => {
            let mut table = table(&["begun (UTC)", "phone", "result", "campaign", "attempt"]);
            unbroken(&mut table, [0, 1, 4]);
            for row in &rows {
                table.add_row([
                    utc(row.intent_at).chars().take(MINUTE_CHARS).collect(),
                    phones.show(&row.phone),
                    standing(row),
                    row.campaign.clone().unwrap_or_default(),
                    row.attempt_id.to_string(),
                ]);
            }
            show_table(out, &table)?;
            if more {
                line(out, format_args!("There are more; --limit {limit} was reached"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How an attempt ended, or where it stands.
pub(super) fn standing(row: &CallLogRow) -> String {
    let seconds = row.duration_seconds.map_or_else(String::new, |seconds| format!(" {seconds} s"));
    match (row.outcome, row.open_state, row.goal_met) {
        (Some(outcome), _, Some(true)) => format!("{outcome}{seconds}, goal met"),
        (Some(outcome), ..) => format!("{outcome}{seconds}"),
        (None, Some(state), _) => state.as_str().replace('_', " "),
        (None, None, _) => "open".to_owned(),
    }
}

fn summary(row: &CallLogRow, phone: &str) -> Value {
    json!({
        "attempt_id": row.attempt_id.to_string(),
        "campaign": row.campaign,
        "lead_id": row.lead_id,
        "attempt_no": row.attempt_no,
        "phone": phone,
        "account": row.account,
        "assistant_id": row.assistant_id,
        "provider_call_id": row.provider_call_id,
        "match_basis": row.match_basis,
        "open_state": row.open_state,
        "intent_at": row.intent_at,
        "sent_at": row.sent_at,
        "ended_at": row.ended_at,
        "outcome": row.outcome,
        "reason": row.reason,
        "goal_met": row.goal_met,
        "answered_by": row.answered_by,
        "duration_seconds": row.duration_seconds,
        "cost": row.cost,
        "contradicted_by": row.contradicted_by,
    })
}

fn everything(row: &CallLogRow, phone: &str) -> Value {
    let mut value = summary(row, phone);
    value["recording_url"] = json!(row.recording_url);
    value["extracted"] = json!(row.extracted);
    value["transcript"] = json!(row.transcript);
    value["evidence"] = json!(row.evidence);
    value
}

async fn show(id: Uuid, phones: Phones, format: Format, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let row = views::call(&desk.pool, AttemptId::from_stored(id)).await.context("read the attempt")?;
    let row = row.ok_or_else(|| Failure::user(anyhow!("there is no attempt {id}; `outdial calls list` shows them")))?;
    let value = everything(&row, &phones.show(&row.phone));
    if format == Format::Json {
        write_json(out, &value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["what", "value"]);
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => format!("{value:#}"),
        };
        table.add_row([name.replace('_', " "), text]);
    }
    show_table(out, &table)?;
    Ok(ExitCode::SUCCESS)
}

// ---- export --------------------------------------------------------------------------------------------------------

const COLUMNS: [&str; 24] = [
    "attempt_id",
    "campaign",
    "lead_id",
    "attempt_no",
    "phone",
    "account",
    "assistant_id",
    "provider_call_id",
    "match_basis",
    "open_state",
    "intent_at",
    "sent_at",
    "ended_at",
    "outcome",
    "reason",
    "goal_met",
    "answered_by",
    "duration_seconds",
    "cost",
    "contradicted_by",
    "recording_url",
    "extracted",
    "transcript",
    "evidence",
];

/// Page by page after the last key: memory stays small however much there is, and no row is written twice.
async fn export(format: ExportFormat, filter: &CallFilter, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let mut out = std::io::BufWriter::new(out);
    if format == ExportFormat::Csv {
        write_csv(&mut out, COLUMNS.iter().map(ToString::to_string))?;
    }
    let mut after = None;
    loop {
        let page = call_log_page(&desk.pool, filter, after, PAGE).await.context("read the attempts")?;
        let Some(last) = page.last() else { break };
        after = Some(last.attempt_id);
        for row in &page {
            let value = everything(row, row.phone.e164());
            match format {
                ExportFormat::Jsonl => line(&mut out, &value)?,
                ExportFormat::Csv => write_csv(&mut out, COLUMNS.iter().map(|name| cell(&value[*name])))?,
            }
        }
    }
    out.flush().context("write the output")?;
    Ok(ExitCode::SUCCESS)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // A spreadsheet would take these for formulas. Phone numbers begin with + and are digits only.
        Value::String(text) if text.starts_with(['=', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn write_csv(out: &mut dyn Write, fields: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(fields).context("write a row")?;
    let bytes = writer.into_inner().map_err(|problem| anyhow!("write a row: {}", problem.error()))?;
    out.write_all(&bytes).context("write the output")?;
    Ok(())
}
