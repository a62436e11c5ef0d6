//! Holds what the daemon tells against what is written about it: each log line against `docs/logs.md`, each series
//! against alerts and dashboard.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use outdial::port::metric::{self, Kind};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The product's own sources with their paths, without tests, the simulator, which has a log of its own, and the store that
/// carries the simulation.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let tests = name.ends_with("/tests") || name.ends_with("/tests.rs") || name.starts_with("src/simulation");
            let other = name.starts_with("src/adapter/simulator") || name.starts_with("src/adapter/memory");
            if tests || other || name.ends_with("/simulate_provider.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                sources.push((name, code));
            }
        }
    }
    assert!(sources.len() > 100, "the walk found {} sources", sources.len());
    sources
}

// ---- Logs --------------------------------------------------------------------------------------------------------

/// A line as the code writes it.
#[derive(Debug)]
struct LogCall {
    place: String,
    level: &'static str,
    /// The message with `…` for what differs.
    message: String,
    fields: BTreeSet<String>,
}

/// Splits at the commas that are in no brackets and no string.
fn arguments(code: &str) -> Vec<String> {
    let (mut found, mut current, mut depth, mut in_string, mut escaped) = (Vec::new(), String::new(), 0, false, false);
    for char in code.chars() {
        match char {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(char);
    }
    found.push(current);
    found.into_iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// The code up to the bracket that closes the one before it.
fn until_closed(code: &str) -> &str {
    let (mut depth, mut in_string, mut escaped) = (1, false, false);
    for (at, char) in code.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[..at];
        }
    }
    panic!("a bracket is not closed: {code}");
}

/// A message without what is put into it.
fn template(literal: &str) -> String {
    let mut text = String::new();
    let mut chars = literal.trim_matches('"').chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            // A line that goes on in the next one.
            '\\' if chars.peek() == Some(&'\n') => while chars.next_if(|next| next.is_whitespace()).is_some() {},
            '{' => {
                while chars.next().is_some_and(|next| next != '}') {}
                text.push('…');
            }
            other => text.push(other),
        }
    }
    text
}

fn log_calls(path: &str, code: &str) -> Vec<LogCall> {
    let mut calls = Vec::new();
    for (word, level) in [("info!(", "INFO"), ("warn!(", "WARN"), ("error!(", "ERROR")] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' {
                continue;
            }
            let arguments = arguments(until_closed(&code[at + word.len()..]));
            let place = format!("{path}:{}", code[..at].matches('\n').count() + 1);
            let position = arguments.iter().position(|argument| argument.starts_with('"'));
            let position = position.unwrap_or_else(|| panic!("{place}: a line without a message"));
            let name = |field: &String| field.split('=').next().unwrap().trim().to_owned();
            let fields = arguments[..position].iter().map(name).collect();
            calls.push(LogCall { place, level, message: template(&arguments[position]), fields });
        }
    }
    calls
}

/// A row of a table of `docs/logs.md`.
#[derive(Debug, PartialEq)]
struct Row {
    level: String,
    begins: String,
    fields: BTreeSet<String>,
    optional: BTreeSet<String>,
}

fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [level, begins, fields, ..] = cells[..] else { continue };
        if !["INFO", "WARN", "ERROR"].contains(&level) {
            continue;
        }
        let (optional, fields): (BTreeSet<_>, BTreeSet<_>) =
            fields.split_whitespace().map(|field| field.trim_matches('`').to_owned()).partition(|it| it.ends_with('?'));
        rows.push(Row {
            level: level.to_owned(),
            begins: begins.trim_matches('`').to_owned(),
            fields,
            optional: optional.iter().map(|field| field.trim_end_matches('?').to_owned()).collect(),
        });
    }
    rows
}

/// What is wrong between the lines of the code and the rows of the page.
fn differences(calls: &[LogCall], rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for call in calls {
        let matching =
            |row: &&Row| row.level == call.level && call.message.starts_with(row.begins.trim_end_matches('…'));
        let Some(row) = rows.iter().filter(matching).max_by_key(|row| row.begins.len()) else {
            found.push(format!("{}: {} {:?} is not in docs/logs.md", call.place, call.level, call.message));
            continue;
        };
        used.insert(&row.begins);
        let known: BTreeSet<_> = row.fields.union(&row.optional).cloned().collect();
        if !row.fields.is_subset(&call.fields) || !call.fields.is_subset(&known) {
            let fields = &call.fields;
            found.push(format!(
                "{}: {:?} has the fields {fields:?}; docs/logs.md says {row:?}",
                call.place, call.message
            ));
        }
    }
    let stale = rows.iter().filter(|row| !used.contains(&row.begins));
    found.extend(stale.map(|row| format!("docs/logs.md: no such line is written: {} {:?}", row.level, row.begins)));
    found
}

#[test]
fn every_line_of_the_log_is_described_and_no_other() {
    let calls: Vec<LogCall> = sources().iter().flat_map(|(path, code)| log_calls(path, code)).collect();
    assert!(calls.len() > 80, "{} lines were found", calls.len());
    let rows = rows(&read("docs/logs.md"));
    let different = differences(&calls, &rows);
    assert!(different.is_empty(), "{}", different.join("\n"));
    let short: Vec<_> = rows.iter().filter(|row| row.begins.trim_matches('…').len() < 6).collect();
    assert!(short.is_empty(), "these would match anything: {short:?}");
}

#[test]
fn a_line_that_is_not_described_is_found() {
    let code = "fn f() {\n    tracing::warn!(a.b = %x(1, \"y\"), pass, \"Pass {pass} is \\\n        {}, and \\\"odd\\\" ones\", z);\n}";
    let calls = log_calls("src/x.rs", code);
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].level, calls[0].message.as_str()), ("WARN", "Pass … is …, and \\\"odd\\\" ones"));
    let count = |page: &str| differences(&calls, &rows(page)).len();
    assert_eq!(count("| WARN | `Pass … is …, and` | `a.b` `pass` | x | y |"), 0);
    assert_eq!(count("| WARN | `Pass … is …, and` | `pass` `a.b` `c?` | x | y |"), 0);
    assert_eq!(count("| WARN | `Pass … is …, and` | `pass` | x | y |"), 1, "a field is not described");
    assert_eq!(count("| WARN | `Pass … is …, and` | `pass` `a.b` `c` | x | y |"), 1, "a field is not there");
    assert_eq!(count("| INFO | `Pass … is …, and` | `a.b` `pass` | x | y |"), 2, "another level, and a stale row");
    assert_eq!(count(""), 1);
}

#[test]
fn every_reason_has_a_row() {
    let page = read("docs/logs.md");
    let (_, code) = sources().into_iter().find(|(path, _)| path == "src/engine/observe.rs").unwrap();
    let squeezed: String = code.split_whitespace().collect::<Vec<_>>().join("");
    let words: BTreeSet<&str> =
        squeezed.split("Why::new(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(words.len() > 15, "{words:?}");
    let section = page.split("### Reasons").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: BTreeSet<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(words, rows);
}

// ---- Metrics -----------------------------------------------------------------------------------------------------

/// Names of series in a text. A histogram's parts are its own.
fn named(text: &str) -> BTreeSet<String> {
    let histograms = metric::all().iter().filter(|series| matches!(series.kind, Kind::Histogram(_)));
    let parts: BTreeMap<String, &str> = histograms
        .flat_map(|series| ["_bucket", "_sum", "_count"].map(|end| (format!("{}{end}", series.name), series.name)))
        .collect();
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let names = words.filter(|word| word.starts_with("outdial_") && *word != "outdial_ref");
    names.map(|name| parts.get(name).map_or(name, |whole| whole).to_owned()).collect()
}

#[test]
fn alerts_and_dashboard_name_series_that_exist() {
    let known: BTreeSet<String> = metric::all().iter().map(|series| series.name.to_owned()).collect();
    for path in ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts_test.yaml", "deploy/grafana/outdial.json"] {
        let names = named(&read(path));
        let unknown: Vec<_> = names.difference(&known).collect();
        assert!(names.len() > 10 && unknown.is_empty(), "{path} names {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana/outdial.json")).unwrap();
    let shown = named(&dashboard.to_string());
    let unseen: Vec<_> = known.difference(&shown).collect();
    assert!(unseen.is_empty(), "the dashboard does not show {unseen:?}");
    assert_eq!(named("rate(outdial_start_lateness_seconds_bucket[5m]) outdial_startz_total").len(), 2);
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let names = |path: &str, key: &str| -> Vec<String> {
        let text = read(path);
        let found = text.lines().filter_map(|line| line.split(key).nth(1));
        found.map(|name| name.trim().trim_end_matches(" }").to_owned()).collect()
    };
    let alerts = names("deploy/prometheus/alerts.yaml", "alert:");
    let tests = names("deploy/prometheus/alerts_test.yaml", "alertname:");
    assert!(alerts.len() > 10);
    for alert in &alerts {
        assert!(tests.iter().filter(|name| *name == alert).count() >= 2, "{alert} is not tested firing and silent");
    }
    assert!(tests.iter().all(|name| alerts.contains(name)));
}

#[test]
fn every_series_is_told_by_the_product() {
    let list = read("src/port/metric.rs");
    let sources = sources();
    for series in metric::all() {
        let line = list.lines().find(|line| line.contains(&format!("\"{}\"", series.name))).unwrap();
        let item = line.split_whitespace().next().unwrap();
        let told = sources.iter().any(|(_, code)| code.contains(&format!("metric::{item}.")));
        assert!(told, "nobody tells {}", series.name);
    }
}
