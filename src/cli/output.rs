//! Tables and numbers as people read them, and JSON for their programs.

use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::domain::phone::PhoneNumber;

use super::Failure;

/// Tables never get wider than this.
pub const WIDTH_MAX: u16 = 100;

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, at most 100 columns wide.
    #[default]
    Table,
    /// For programs: one JSON value.
    Json,
}

/// How a list is written, as an option.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Listing {
    /// How to write it.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// How phone numbers are written, as an option.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Phones {
    /// Write whole phone numbers. Otherwise they look like +49*****67.
    #[arg(long)]
    pub full_phones: bool,
}

impl Phones {
    /// A number as it is to be written.
    pub fn show(self, phone: &PhoneNumber) -> String {
        if self.full_phones { phone.e164().to_owned() } else { phone.to_string() }
    }
}

/// A line below the head and nothing else: what is shown is data, not boxes.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// An empty table with a head.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH_MAX);
    table.set_header(head.iter().copied());
    table
}

/// Puts columns of numbers to the right.
pub fn numbers(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Keeps columns from being broken: an id that is cut in two cannot be copied.
pub fn unbroken(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// Writes a table.
pub fn show(out: &mut dyn Write, table: &Table) -> Result<(), Failure> {
    line(out, table.trim_fmt())
}

/// Writes a line.
pub fn line(out: &mut dyn Write, text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(out, "{text}").context("write the output")?;
    Ok(())
}

/// Writes a JSON value.
pub fn json(out: &mut dyn Write, value: &Value) -> Result<(), Failure> {
    line(out, format_args!("{value:#}"))
}

/// An instant in UTC, to the second.
pub fn utc(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A count with its noun.
pub fn count(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {many}", grouped(count)) }
}

/// `1000000` as `1,000,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count from the database, which are never negative.
pub fn counted(number: i64) -> u64 {
    number.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(count(1, "lead", "leads"), "1 lead");
        assert_eq!(count(0, "lead", "leads"), "0 leads");
    }
}
