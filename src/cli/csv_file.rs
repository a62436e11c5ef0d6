//! CSV as it comes from spreadsheets: a byte order mark, semicolons, quoted line breaks, one broken row among a million.
//! Rows are read one at a time, so a file may be as long as it likes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use csv::{ByteRecord, StringRecord};
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// A head must end within so many bytes; what is longer is no table.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A longer row is a quote that nobody closed.
const ROW_BYTES_MAX: usize = 1 << 20;
/// What may separate columns.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How CSV is read, as options.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CsvOptions {
    /// What separates columns; otherwise found out from the first line: comma, semicolon, tab or bar.
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    pub delimiter: Option<u8>,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" | b"tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && *byte != b'"' => Ok(*byte),
        _ => Err("write one sign such as ; or the word tab".to_owned()),
    }
}

/// Where CSV comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// `-` is standard input.
    pub fn of(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdin } else { Self::File(path.to_owned()) }
    }

    /// Its name, for people.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Reads the head. Names of `known` columns are recognised in any letter case; with `bare`, a file whose first line
    /// begins with a phone number is taken to be one without a head, its first column the first of `known`.
    pub(super) fn open(&self, options: &CsvOptions, known: &[&str], bare: bool) -> Result<Table, Failure> {
        let (input, progress): (Box<dyn Read>, ProgressBar) = match self {
            Self::Stdin => {
                let bar = ProgressBar::new_spinner();
                (Box::new(bar.wrap_read(io::stdin())), bar)
            }
            Self::File(path) => {
                let problem = || format!("open {}", path.display());
                let file = File::open(path).with_context(problem).map_err(Failure::user)?;
                let metadata = file.metadata().with_context(problem).map_err(Failure::user)?;
                if metadata.is_dir() {
                    return Err(Failure::user(anyhow!("{} is a folder", path.display())));
                }
                let bar = ProgressBar::new(metadata.len());
                if let Ok(style) = ProgressStyle::with_template("[{bar:40}] {percent}% {msg} ({eta} left)") {
                    bar.set_style(style.progress_chars("=> "));
                }
                (Box::new(bar.wrap_read(file)), bar)
            }
        };
        Table::open(self.name(), input, progress, options, known, bare)
    }
}

/// A table that is read row by row.
pub(super) struct Table {
    /// Names of the columns; an empty one has none.
    pub head: Vec<String>,
    /// How far it is.
    pub progress: ProgressBar,
    name: String,
    reader: csv::Reader<Box<dyn Read>>,
    record: ByteRecord,
    first: Option<Row>,
    /// Whether lines end with CR LF.
    cr_lf: bool,
}

/// One row.
pub(super) struct Row {
    /// Where it begins; the first line is 1.
    pub line: u64,
    record: StringRecord,
    problem: Option<String>,
}

impl Row {
    /// Its fields, as far as they could be read.
    pub(super) fn fields(&self) -> Option<&StringRecord> {
        Some(&self.record)
    }

    /// Why it is no row of this table.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }
}

impl Table {
    pub(super) fn open(
        name: String,
        mut input: Box<dyn Read>,
        progress: ProgressBar,
        options: &CsvOptions,
        known: &[&str],
        bare: bool,
    ) -> Result<Self, Failure> {
        let begin = beginning(&mut input).with_context(|| format!("read {name}"))?;
        if begin.starts_with(&[0xff, 0xfe]) || begin.starts_with(&[0xfe, 0xff]) {
            return Err(Failure::user(anyhow!("{name} is UTF-16: save it as \"CSV UTF-8\"")));
        }
        let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&begin).to_vec();
        let delimiter = options.delimiter.unwrap_or_else(|| sniff(&begin));
        let cr_lf = begin.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"\r"));
        let input: Box<dyn Read> = Box::new(io::Cursor::new(begin).chain(input));
        let reader =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(input);
        let head = Vec::new();
        let mut table = Self { head, progress, name, reader, record: ByteRecord::new(), first: None, cr_lf };
        let Some(mut row) = table.read()? else {
            return Err(Failure::user(anyhow!("{} is empty: its first line must name the columns", table.name)));
        };
        let first = row.record.get(0).unwrap_or("").trim();
        if bare && looks_like_a_number(first) {
            table.head =
                (0..row.record.len())
                    .map(|index| {
                        if index == 0 {
                            known.first().map_or(String::new(), ToString::to_string)
                        } else {
                            String::new()
                        }
                    })
                    .collect();
            row.problem = None;
            table.first = Some(row);
            return Ok(table);
        }
        table.head = row.record.iter().map(|text| column_name(text, known)).collect();
        for (index, column) in table.head.iter().enumerate() {
            if !column.is_empty() && table.head[..index].contains(column) {
                return Err(Failure::user(anyhow!("{} names the column {column:?} twice", table.name)));
            }
        }
        Ok(table)
    }

    /// The refusal of a table that has no column `phone`.
    pub(super) fn without_phone(&self) -> Failure {
        let columns: Vec<_> =
            self.head.iter().filter(|name| !name.is_empty()).map(|name| format!("{name:?}")).collect();
        let found = if columns.is_empty() { "no columns at all".to_owned() } else { columns.join(", ") };
        Failure::user(anyhow!(
            "{} has no column \"phone\"; its first line names {found} (if they look glued together, give --delimiter)",
            self.name
        ))
    }

    /// The next row that is not empty; `None` at the end.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(row) = self.read()? {
            if row.problem.is_some() || row.record.iter().any(|field| !field.trim().is_empty()) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Row>, Failure> {
        let more = self.reader.read_byte_record(&mut self.record).with_context(|| format!("read {}", self.name))?;
        if !more {
            return Ok(None);
        }
        // Where lines end with CR LF, the reader counts a line only when it has passed the LF, in the next record.
        let behind = |position: &csv::Position| u64::from(self.cr_lf && position.record() > 0);
        let line = self.record.position().map_or(0, |position| position.line() + behind(position));
        let bytes = self.record.as_slice().len();
        if bytes > ROW_BYTES_MAX {
            let problem = Some("is longer than 1 MiB: a quote is probably not closed".to_owned());
            return Ok(Some(Row { line, record: StringRecord::new(), problem }));
        }
        let (record, mut problem) = match StringRecord::from_byte_record(self.record.clone()) {
            Ok(record) => (record, None),
            Err(error) => {
                let problem = "is not UTF-8: save the file as \"CSV UTF-8\"".to_owned();
                (StringRecord::from_byte_record_lossy(error.into_byte_record()), Some(problem))
            }
        };
        if !self.head.is_empty() && record.len() != self.head.len() {
            let (found, wanted) = (record.len(), self.head.len());
            problem.get_or_insert_with(|| {
                format!(
                    "has {} where the first line has {wanted}",
                    super::output::count(found as u64, "field", "fields")
                )
            });
        }
        Ok(Some(Row { line, record, problem }))
    }
}

/// The first line and whatever came with it.
fn beginning(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut begin = vec![0; HEAD_BYTES_MAX];
    let mut length = 0;
    while length < begin.len() && !begin[..length].contains(&b'\n') {
        match input.read(&mut begin[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    begin.truncate(length);
    Ok(begin)
}

/// The sign that occurs most in the first line, outside of quotes.
fn sniff(begin: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in begin {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            byte if !quoted => {
                if let Some(index) = DELIMITERS.iter().position(|sign| sign == byte) {
                    counts[index] += 1;
                }
            }
            _ => {}
        }
    }
    // The first of equals wins, so a file of one column counts as separated by commas.
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).map_or(b',', |index| DELIMITERS[index])
}

fn looks_like_a_number(text: &str) -> bool {
    text.chars().filter(char::is_ascii_digit).count() >= 5 && !text.chars().any(char::is_alphabetic)
}

fn column_name(text: &str, known: &[&str]) -> String {
    let text = text.trim();
    let plain = text.to_lowercase().replace([' ', '-'], "_");
    if known.contains(&plain.as_str()) { plain } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &[u8], bare: bool) -> Result<Table, String> {
        let input = Box::new(io::Cursor::new(text.to_vec()));
        Table::open("x".to_owned(), input, ProgressBar::hidden(), &CsvOptions::default(), &["phone", "time_zone"], bare)
            .map_err(|failure| match failure {
                Failure::User(error) | Failure::World(error) => format!("{error:#}"),
            })
    }

    #[track_caller]
    fn check(text: &[u8], head: &[&str], rows: &[(u64, &[&str])]) {
        let mut table = open(text, false).unwrap();
        assert_eq!(table.head, head);
        for (line, fields) in rows {
            let Ok(Some(row)) = table.next_row() else { panic!("line {line} is missing") };
            assert_eq!((row.line, row.record.iter().collect::<Vec<_>>()), (*line, fields.to_vec()));
            assert_eq!(row.problem, None);
        }
        assert!(matches!(table.next_row(), Ok(None)));
    }

    #[test]
    fn tables_are_read_as_spreadsheets_write_them() {
        check(b"phone,name\n1,A\n", &["phone", "name"], &[(2, &["1", "A"])]);
        check(
            b"\xef\xbb\xbfPhone;Time Zone\r\n1;A\r\n;\r\n2;B",
            &["phone", "time_zone"],
            &[(2, &["1", "A"]), (4, &["2", "B"])],
        );
        check(b"\"phone\",\"a;b;c\"\n1,\"x\ny\"\n2,z\n", &["phone", "a;b;c"], &[(2, &["1", "x\ny"]), (4, &["2", "z"])]);
        check(b"phone\tCity\n1\tBonn", &["phone", "City"], &[(2, &["1", "Bonn"])]);
        check(b"phone\n1\n", &["phone"], &[(2, &["1"])]);
    }

    #[test]
    fn a_broken_row_says_what_is_wrong_and_the_next_one_is_read() {
        let mut table = open(b"phone,name\n1\n2,\xff\n3,c,d\n4,e\n", false).unwrap();
        let mut problems = Vec::new();
        while let Ok(Some(row)) = table.next_row() {
            problems.push((row.line, row.problem));
        }
        let expected = [
            (2, Some("has 1 field where the first line has 2")),
            (3, Some("is not UTF-8: save the file as \"CSV UTF-8\"")),
            (4, Some("has 3 fields where the first line has 2")),
            (5, None),
        ];
        assert_eq!(problems, expected.map(|(line, problem)| (line, problem.map(str::to_owned))));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(open(b"", false).err().unwrap().contains("is empty"));
        assert!(open(b"\xff\xfep\0", false).err().unwrap().contains("UTF-16"));
        assert!(open(b"phone,PHONE\n", false).err().unwrap().contains("twice"));
    }

    #[test]
    fn numbers_alone_need_no_head() {
        let mut table = open(b"+49 30 1234567\n+49 30 1234568\n", true).unwrap();
        assert_eq!(table.head, ["phone"]);
        assert_eq!(table.next_row().ok().flatten().map(|row| row.line), Some(1));
        assert_eq!(table.next_row().ok().flatten().map(|row| row.line), Some(2));
    }
}
