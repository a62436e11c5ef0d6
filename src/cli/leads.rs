//! `outdial leads`: imports leads, gives disposed ones fresh tries.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use serde_json::{Map, Value};

use crate::adapter::postgres::command::{NewLead, copy_leads, find_or_make_list, requeue};
use crate::adapter::postgres::inquiry::existing_lists;
use crate::domain::outcome::Disposition;
use crate::domain::phone::PhoneNumber;
use crate::domain::zone::Zone;

use super::csv_file::{CsvOptions, Row, Source, Table};
use super::desk::Desk;
use super::output::{count, grouped, line};
use super::{Failure, Outcome, names};

/// Leads in one statement.
const BATCH: usize = 2_000;
/// Rejected rows that are shown besides being written to the report.
const REJECTS_SHOWN: u64 = 5;
/// Columns with a meaning of their own; every other column is a variable.
const COLUMNS: [&str; 9] =
    ["phone", "name", "time_zone", "postcode", "region", "priority", "not_before", "not_after", "external_ref"];
/// The priority of a lead that names none; the table has the same default.
const PRIORITY_DEFAULT: u8 = 5;

/// Import leads; give leads fresh tries.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "what is flattened brings its own help")]
pub enum LeadsCommand {
    /// Import leads from a CSV file into a list.
    ///
    /// The first line names the columns. `phone` is required; `name`, `time_zone` (IANA, such as Europe/Berlin),
    /// `postcode`, `region`, `priority` (0 first, 9 last), `not_before`, `not_after` (dates or instants) and
    /// `external_ref` are optional; every other column becomes a variable of the call. A second import of the same
    /// external_ref updates that lead. A bad row never fails the file: it goes to a report with its line and the reason.
    Import {
        /// The file; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The list; made if there is none of that name.
        #[arg(long, value_name = "NAME")]
        list: String,
        /// The country in which numbers without a country code are read, two letters.
        #[arg(long, value_name = "COUNTRY")]
        country: Option<String>,
        /// Where rejected rows go; otherwise FILE.rejects.csv. Only written when there are any.
        #[arg(long, value_name = "FILE")]
        rejects: Option<PathBuf>,
        #[command(flatten)]
        csv: CsvOptions,
    },
    /// Give leads that a campaign is done with fresh tries.
    ///
    /// Leads with an open or held attempt are left alone.
    Requeue {
        /// The campaign.
        #[arg(long, value_name = "NAME")]
        campaign: String,
        /// Only leads with this verdict; may be given several times.
        #[arg(long, value_name = "VERDICT", default_value = "exhausted", value_parser = disposition)]
        disposition: Vec<Disposition>,
        /// Only this number.
        #[arg(long, value_name = "PHONE")]
        phone: Option<String>,
    },
}

fn disposition(word: &str) -> Result<Disposition, String> {
    let words: Vec<_> = Disposition::ALL.iter().map(|word| word.as_str()).collect();
    word.parse().map_err(|_| format!("one of {}", words.join(", ")))
}

pub(super) async fn run(command: &LeadsCommand, desk: &Desk, out: &mut dyn Write) -> Outcome {
    match command {
        LeadsCommand::Import { file, list, country, rejects, csv } => {
            let source = Source::of(file);
            let rejects = rejects.clone().unwrap_or_else(|| match &source {
                Source::File(path) => with_suffix(path, ".rejects.csv"),
                Source::Stdin => PathBuf::from("stdin.rejects.csv"),
            });
            let import = Import { source, list, country: country.as_deref(), rejects, csv };
            import.run(desk, out).await
        }
        LeadsCommand::Requeue { campaign, disposition, phone } => {
            let (id, state, _) = names::campaign(desk, campaign).await?;
            let phone = phone.as_deref().map(|phone| names::phone(phone, None)).transpose()?;
            let again =
                requeue(&desk.pool, id, disposition, phone.as_ref(), desk.now).await.context("requeue the leads")?;
            line(out, format_args!("Fresh tries for {} of campaign {campaign}", count(again, "lead", "leads")))?;
            if again > 0 {
                line(out, format_args!("The campaign is {state}; its daemon takes them in within a second"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

struct Import<'a> {
    source: Source,
    list: &'a str,
    country: Option<&'a str>,
    rejects: PathBuf,
    csv: &'a CsvOptions,
}

#[derive(Default)]
struct Tally {
    read: u64,
    written: u64,
    rejected: u64,
}

impl Import<'_> {
    async fn run(self, desk: &Desk, out: &mut dyn Write) -> Outcome {
        if let Some(country) = self.country {
            // Any number would do: the question is whether the country exists.
            if PhoneNumber::parse_in("0", Some(country)) == Err(crate::domain::phone::PhoneError::UnknownCountry) {
                return Err(Failure::user(anyhow!("--country {country:?}: write its two letters, such as DE or US")));
            }
        }
        if self.list.trim().is_empty() || self.list.chars().count() > 200 {
            return Err(Failure::user(anyhow!("--list: a list's name has 1 to 200 characters")));
        }
        let mut table = self.source.open(self.csv, &COLUMNS, false)?;
        let Some(columns) = Columns::of(&table.head) else { return Err(table.without_phone()) };
        let is_new =
            existing_lists(&desk.pool, &[self.list.to_owned()]).await.context("read the lead lists")?.is_empty();
        let list = find_or_make_list(&desk.pool, self.list).await.context("make the lead list")?;
        let mut tally = Tally::default();
        let mut report: Option<csv::Writer<File>> = None;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(row) = table.next_row()? {
            tally.read += 1;
            match self.lead(&columns, &row) {
                Ok(lead) => batch.push(lead),
                Err(reason) => {
                    tally.rejected += 1;
                    if tally.rejected <= REJECTS_SHOWN {
                        table.progress.suspend(|| line(out, format_args!("line {}: {reason}", row.line)))?;
                    }
                    self.reject(&mut report, &table.head, &row, &reason)?;
                }
            }
            if batch.len() == BATCH {
                tally.written += copy_leads(&desk.pool, list, &batch).await.context("write the leads")?;
                batch.clear();
                table.progress.set_message(format!("{} rows", grouped(tally.read)));
            }
        }
        if !batch.is_empty() {
            tally.written += copy_leads(&desk.pool, list, &batch).await.context("write the leads")?;
        }
        if let Some(report) = &mut report {
            report.flush().with_context(|| format!("write {}", self.rejects.display()))?;
        }
        table.progress.finish_and_clear();
        self.tell(&tally, is_new, out)
    }

    fn tell(&self, tally: &Tally, is_new: bool, out: &mut dyn Write) -> Outcome {
        let unchanged = tally.read - tally.rejected - tally.written;
        let new = if is_new { "new list" } else { "list" };
        line(
            out,
            format_args!(
                "Read {} from {}: {} new or changed in {new} {:?}, {} unchanged or repeated, {} rejected",
                count(tally.read, "row", "rows"),
                self.source.name(),
                count(tally.written, "lead", "leads"),
                self.list,
                grouped(unchanged),
                grouped(tally.rejected)
            ),
        )?;
        if tally.rejected > 0 {
            line(out, format_args!("Rejected rows with their reasons: {}", self.rejects.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Appends a row to the report; the file is made with the first one. It holds personal data: for its owner only.
    fn reject(
        &self,
        report: &mut Option<csv::Writer<File>>,
        head: &[String],
        row: &Row,
        reason: &str,
    ) -> Result<(), Failure> {
        let problem = || format!("write {}", self.rejects.display());
        if report.is_none() {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&self.rejects)
                .with_context(problem)?;
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(file);
            let names = ["line", "reason"].into_iter().chain(head.iter().map(String::as_str));
            writer.write_record(names).with_context(problem)?;
            *report = Some(writer);
        }
        if let Some(writer) = report {
            let number = row.line.to_string();
            let fields = row.fields().into_iter().flatten();
            writer.write_record([number.as_str(), reason].into_iter().chain(fields)).with_context(problem)?;
        }
        Ok(())
    }

    fn lead(&self, columns: &Columns, row: &Row) -> Result<NewLead, String> {
        if let Some(problem) = row.problem() {
            return Err(problem);
        }
        let text = |index: Option<usize>| {
            let field = row.fields()?.get(index?)?.trim();
            (!field.is_empty()).then(|| field.to_owned())
        };
        let bounded = |what: &str, index: Option<usize>, max: usize| match text(index) {
            Some(value) if value.chars().count() > max => Err(format!("{what} has more than {max} characters")),
            value => Ok(value),
        };
        let phone = PhoneNumber::parse_in(&text(Some(columns.phone)).unwrap_or_default(), self.country)
            .map_err(|problem| format!("phone: {problem}"))?;
        let zone = text(columns.time_zone)
            .map(|name| Zone::parse(&name))
            .transpose()
            .map_err(|problem| problem.to_string())?;
        let priority = match text(columns.priority) {
            None => PRIORITY_DEFAULT,
            Some(text) => {
                text.parse().ok().filter(|priority| *priority <= 9).ok_or("priority is not a number from 0 to 9")?
            }
        };
        let not_before =
            text(columns.not_before).map(|text| moment("not_before", &text, zone.as_ref(), Edge::Start)).transpose()?;
        let not_after =
            text(columns.not_after).map(|text| moment("not_after", &text, zone.as_ref(), Edge::End)).transpose()?;
        if let (Some(not_before), Some(not_after)) = (not_before, not_after)
            && not_after <= not_before
        {
            return Err("not_after does not lie behind not_before".to_owned());
        }
        let mut variables = Map::new();
        for (index, name) in &columns.variables {
            // An empty cell is no value, so that the campaign's own default holds.
            if let Some(value) = text(Some(*index)) {
                variables.insert(name.clone(), Value::String(value));
            }
        }
        Ok(NewLead {
            phone: phone.e164().to_owned(),
            name: bounded("name", columns.name, 500)?,
            time_zone: zone.map(|zone| zone.name().to_owned()),
            postcode: bounded("postcode", columns.postcode, 32)?,
            region: bounded("region", columns.region, 64)?,
            priority,
            not_before,
            not_after,
            external_ref: bounded("external_ref", columns.external_ref, 200)?,
            variables,
        })
    }
}

/// Reads a table as an import does, and writes nothing: how many rows are leads and how many are not; `None` when it is no
/// table of leads. For the fuzzer.
#[doc(hidden)]
pub fn judge_table(bytes: Vec<u8>, country: Option<&str>) -> Option<(u64, u64)> {
    let (csv, input) = (CsvOptions::default(), Box::new(std::io::Cursor::new(bytes)));
    let progress = indicatif::ProgressBar::hidden();
    let mut table = Table::open("leads.csv".to_owned(), input, progress, &csv, &COLUMNS, false).ok()?;
    let columns = Columns::of(&table.head)?;
    let import = Import { source: Source::Stdin, list: "leads", country, rejects: PathBuf::new(), csv: &csv };
    let (mut good, mut bad) = (0, 0);
    while let Some(row) = table.next_row().ok()? {
        match import.lead(&columns, &row) {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
    }
    Some((good, bad))
}

/// Where each column stands.
struct Columns {
    phone: usize,
    name: Option<usize>,
    time_zone: Option<usize>,
    postcode: Option<usize>,
    region: Option<usize>,
    priority: Option<usize>,
    not_before: Option<usize>,
    not_after: Option<usize>,
    external_ref: Option<usize>,
    variables: Vec<(usize, String)>,
}

impl Columns {
    fn of(head: &[String]) -> Option<Self> {
        let at = |name: &str| head.iter().position(|column| column == name);
        let variables = head
            .iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty() && !COLUMNS.contains(&name.as_str()))
            .map(|(index, name)| (index, name.clone()))
            .collect();
        Some(Self {
            phone: at("phone")?,
            name: at("name"),
            time_zone: at("time_zone"),
            postcode: at("postcode"),
            region: at("region"),
            priority: at("priority"),
            not_before: at("not_before"),
            not_after: at("not_after"),
            external_ref: at("external_ref"),
            variables,
        })
    }
}

/// Which end of a date is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Start,
    End,
}

/// Reads an instant, or a date or time of the lead's own clock. A date without a zone is the span that is that date
/// everywhere on Earth: never too early, never too late.
fn moment(what: &str, text: &str, zone: Option<&Zone>, edge: Edge) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let refuse = || format!("{what} is neither a date such as 2026-03-01 nor an instant such as 2026-03-01T09:00:00Z");
    let is_date = text.len() <= "2026-03-01".len();
    if is_date {
        let date: Date = text.parse().map_err(|_| refuse())?;
        let day = if edge == Edge::End { date.tomorrow().map_err(|_| refuse())? } else { date };
        let zone = match (zone, edge) {
            (Some(zone), _) => zone.tz().clone(),
            (None, Edge::Start) => TimeZone::fixed(Offset::constant(-12)),
            (None, Edge::End) => TimeZone::fixed(Offset::constant(14)),
        };
        return day.to_zoned(zone).map(|start| start.timestamp()).map_err(|_| refuse());
    }
    let local: DateTime = text.parse().map_err(|_| refuse())?;
    let zone = zone.ok_or_else(|| format!("{what} has a time without an offset, and the lead has no time_zone"))?;
    zone.first_instant(local).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, zone: Option<&str>, edge: Edge, expected: Option<&str>) {
        let zone = zone.map(|name| Zone::parse(name).unwrap());
        let found = moment("x", text, zone.as_ref(), edge);
        assert_eq!(found.ok(), expected.map(|at| at.parse().unwrap()), "{text}");
    }

    #[test]
    fn moments_are_never_too_early_and_never_too_late() {
        let berlin = Some("Europe/Berlin");
        check("2026-03-01T09:00:00Z", None, Edge::Start, Some("2026-03-01T09:00:00Z"));
        check("2026-03-01T09:00:00+01:00", berlin, Edge::End, Some("2026-03-01T08:00:00Z"));
        check("2026-03-01", berlin, Edge::Start, Some("2026-02-28T23:00:00Z"));
        check("2026-03-01", berlin, Edge::End, Some("2026-03-01T23:00:00Z"));
        check("2026-03-01", None, Edge::Start, Some("2026-03-01T12:00:00Z"));
        check("2026-03-01", None, Edge::End, Some("2026-03-01T10:00:00Z"));
        check("2026-03-01 09:00", berlin, Edge::Start, Some("2026-03-01T08:00:00Z"));
        check("2026-03-01 09:00", None, Edge::Start, None);
        check("01.03.2026", berlin, Edge::Start, None);
    }
}
