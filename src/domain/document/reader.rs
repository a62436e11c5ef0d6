//! Reading a tree into typed values while collecting every problem.
//!
//! A reading function takes a [`Cursor`] and returns `Option`: `None` means that at least one problem was reported.
//! The keys it asks for are the keys that exist, so what it never asks for is reported as unknown.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::SignedDuration;

use super::{Content, Entry, Fields, Node, Place, Problem, Report, Shape, closest, parse_duration, show_duration};

/// Longest piece of a wrong value that is shown, in characters: enough to find it, too short to flood a terminal.
const FOUND_CHARS_MAX: usize = 60;
/// Shown instead of a secret.
const HIDDEN: &str = "«hidden»";

/// A value, the way to it, and where to report what is wrong with it.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    node: &'a Node,
    path: String,
    key_place: Option<&'a Place>,
    report: &'a Report,
}

impl<'a> Cursor<'a> {
    /// At the top of a document; `path` is empty or says where the document hangs.
    pub fn new(node: &'a Node, path: impl Into<String>, report: &'a Report) -> Self {
        Self { node, path: path.into(), key_place: None, report }
    }

    /// The value.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Where the value stands.
    pub fn place(&self) -> Option<&'a Place> {
        self.node.place.as_ref()
    }

    /// The keys that lead here.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The report this cursor writes to.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// The same value under another path, for lists whose items have names.
    pub fn renamed(&self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    pub(super) fn with_node(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    /// Whether nothing is here, and only what would be accepted is to be told.
    fn only_tells(&self) -> bool {
        self.report.is_recording() && self.node.is_null()
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        Self { node, path: format!("{}[{index}]", self.path), key_place: None, report: self.report }
    }

    /// Reports that this value is wrong, showing it. Returns `None` to end a reading function with.
    pub fn wrong<T>(&self, message: impl Display, remedy: impl Display) -> Option<T> {
        self.add(Some(self.found()), message, remedy)
    }

    /// Reports a problem here without showing the value.
    pub fn problem<T>(&self, message: impl Display, remedy: impl Display) -> Option<T> {
        self.add(None, message, remedy)
    }

    /// Reports a problem with the key that leads here rather than with the value.
    pub fn key_problem<T>(&self, message: impl Display, remedy: impl Display) -> Option<T> {
        self.add_at(self.key_place.or(self.place()), None, message, remedy)
    }

    fn add<T>(&self, found: Option<String>, message: impl Display, remedy: impl Display) -> Option<T> {
        self.add_at(self.place(), found, message, remedy)
    }

    fn add_at<T>(
        &self,
        place: Option<&Place>,
        found: Option<String>,
        message: impl Display,
        remedy: impl Display,
    ) -> Option<T> {
        let remedy = remedy.to_string();
        self.report.add(Problem {
            place: place.cloned(),
            path: self.path.clone(),
            found,
            message: message.to_string(),
            remedy: (!remedy.is_empty()).then_some(remedy),
        });
        None
    }

    /// Says that such a value is accepted here, for reading functions that look at the value themselves.
    pub fn accepts(&self, shape: impl FnOnce() -> Shape) {
        self.report.note(|| self.path.clone(), |known| known.accept(shape()));
    }

    /// Says that this map is refused without a key.
    pub fn requires(&self, key: &str) {
        self.report.note(|| self.below(key), |known| known.required = true);
    }

    /// The same value under a key that need not be there, to say what would be accepted.
    pub fn at_key(&self, key: &str) -> Self {
        self.renamed(self.below(key))
    }

    /// Text.
    pub fn text(&self) -> Option<String> {
        self.accepts(|| Shape::Text);
        self.any_text()
    }

    fn any_text(&self) -> Option<String> {
        match &self.node.content {
            Content::Text(text) | Content::Untyped(text) => Some(text.clone()),
            Content::Number(_) | Content::Boolean(_) => self.wrong("must be text", "put it in quotes"),
            Content::Null | Content::List(_) | Content::Map(_) => {
                self.wrong("must be text", "write one value, without brackets and keys of its own")
            }
        }
    }

    /// Text of 1 to `max` characters that does not begin or end with a space.
    pub fn name(&self, max: usize) -> Option<String> {
        self.accepts(|| Shape::Name { chars_max: max });
        let text = self.any_text()?;
        if text.is_empty() {
            return self.wrong("must not be empty", "write something, or remove the key");
        }
        if text.trim() != text {
            return self.wrong("begins or ends with a space", "remove the space");
        }
        if text.chars().count() > max {
            return self.wrong(format_args!("must not be longer than {max} characters"), "shorten it");
        }
        if text.chars().any(char::is_control) {
            return self.wrong("contains a line break or another control character", "write it on one line");
        }
        Some(text)
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.accepts(|| Shape::Boolean);
        match &self.node.content {
            Content::Boolean(boolean) => Some(*boolean),
            Content::Untyped(text) if text == "true" => Some(true),
            Content::Untyped(text) if text == "false" => Some(false),
            Content::Null
            | Content::Number(_)
            | Content::Text(_)
            | Content::Untyped(_)
            | Content::List(_)
            | Content::Map(_) => self.wrong("must be true or false", "write true or false, without quotes"),
        }
    }

    /// A whole number within bounds.
    pub fn integer<T: TryFrom<i64> + Display + Copy>(&self, bounds: RangeInclusive<i64>) -> Option<T> {
        self.accepts(|| Shape::Integer { min: *bounds.start(), max: *bounds.end() });
        let possible = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
        let number = match &self.node.content {
            Content::Number(number) => number.as_i64(),
            Content::Untyped(text) => text.trim().parse().ok(),
            Content::Text(text) if text.trim().parse::<i64>().is_ok() => {
                return self.wrong("must be a number", "remove the quotes");
            }
            Content::Null | Content::Boolean(_) | Content::Text(_) | Content::List(_) | Content::Map(_) => {
                return self.wrong("must be a whole number", possible);
            }
        };
        let Some(number) = number else {
            return self.wrong("must be a whole number", possible);
        };
        if number < *bounds.start() {
            return self.wrong(format_args!("must be at least {}", bounds.start()), possible);
        }
        if number > *bounds.end() {
            return self.wrong(format_args!("must be at most {}", bounds.end()), possible);
        }
        match T::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => self.wrong("does not fit", possible),
        }
    }

    /// A limit: at least 1. `instead` says what to do for people who meant to forbid everything or nothing.
    pub fn limit(&self, instead: &str) -> Option<NonZeroU32> {
        // No provider and no database comes near it; a slip of the finger does.
        const LIMIT_MAX: i64 = 10_000_000;
        let none = match &self.node.content {
            Content::Number(number) => number.as_i64() == Some(0),
            Content::Untyped(text) => text.trim() == "0",
            Content::Null | Content::Boolean(_) | Content::Text(_) | Content::List(_) | Content::Map(_) => false,
        };
        if none {
            return self.wrong("must be at least 1", instead);
        }
        NonZeroU32::new(self.integer(1..=LIMIT_MAX)?)
    }

    /// A duration with a unit, within bounds.
    pub fn duration(&self, bounds: RangeInclusive<SignedDuration>) -> Option<SignedDuration> {
        self.accepts(|| Shape::Duration { min: *bounds.start(), max: *bounds.end() });
        const REMEDY: &str = "write a number with a unit: 90s, 15m, 2h, 1d or 1h30m";
        let text = match &self.node.content {
            Content::Text(text) | Content::Untyped(text) => text,
            Content::Number(_) => return self.wrong("has no unit", REMEDY),
            Content::Null | Content::Boolean(_) | Content::List(_) | Content::Map(_) => {
                return self.wrong("is not a duration", REMEDY);
            }
        };
        let duration = match parse_duration(text) {
            Ok(duration) => duration,
            Err(error) => return self.wrong(error, REMEDY),
        };
        let (min, max) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
        if duration < *bounds.start() {
            return self
                .wrong(format_args!("must be at least {min}"), format_args!("write a time from {min} to {max}"));
        }
        if duration > *bounds.end() {
            return self.wrong(format_args!("must be at most {max}"), format_args!("write a time from {min} to {max}"));
        }
        Some(duration)
    }

    /// One word of a closed vocabulary.
    pub fn word<T: FromStr + Copy>(&self, words: &[&str]) -> Option<T> {
        self.accepts(|| Shape::Word(words.iter().map(|word| (*word).to_owned()).collect()));
        let text = self.any_text()?;
        match text.parse() {
            Ok(word) => Some(word),
            Err(_) => {
                let guess = closest(&text, words.iter().copied());
                let guess = guess.map_or_else(String::new, |word| format!("did you mean {word}? "));
                self.wrong("is not one of the possible words", format_args!("{guess}possible: {}", words.join(", ")))
            }
        }
    }

    /// Text that a type reads itself; its error says what is wrong.
    pub fn parsed<T: FromStr<Err: Display>>(&self, remedy: impl Display) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => self.wrong(error, remedy),
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Cursor<'a>>> {
        self.accepts(|| Shape::List);
        match &self.node.content {
            Content::List(items) => {
                Some(items.iter().enumerate().map(|(index, node)| self.item(index, node)).collect())
            }
            Content::Null if self.only_tells() => Some(vec![self.item(0, self.node)]),
            Content::Null
            | Content::Boolean(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::Untyped(_)
            | Content::Map(_) => {
                self.wrong("must be a list", "write it as [one, two], or one item per line with a dash")
            }
        }
    }

    /// The items of a list, or a single value as a list of one.
    pub fn items_or_one(&self) -> Option<Vec<Cursor<'a>>> {
        match &self.node.content {
            Content::List(_) => self.items(),
            Content::Null
            | Content::Boolean(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::Untyped(_)
            | Content::Map(_) => Some(vec![self.clone()]),
        }
    }

    /// The entries of a map whose keys are free.
    pub fn entries(&self) -> Option<Vec<(&'a str, Cursor<'a>)>> {
        self.accepts(|| Shape::Entries(None));
        self.any_entries()
    }

    /// The entries of a map whose keys are some of these words; which of them are there is for the caller to see.
    pub fn entries_by(&self, words: &[&str]) -> Option<Vec<(&'a str, Cursor<'a>)>> {
        self.accepts(|| Shape::Entries(Some(words.iter().map(|word| (*word).to_owned()).collect())));
        self.any_entries()
    }

    fn any_entries(&self) -> Option<Vec<(&'a str, Cursor<'a>)>> {
        match &self.node.content {
            Content::Map(entries) => {
                Some(entries.iter().map(|entry| (entry.key.as_str(), self.entry(entry))).collect())
            }
            Content::Null if self.only_tells() => Some(Vec::new()),
            Content::Null
            | Content::Boolean(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::Untyped(_)
            | Content::List(_) => {
                // A value here is often a secret under the wrong name: only its kind is shown.
                let found = match &self.node.content {
                    Content::Text(_) | Content::Untyped(_) => "text".to_owned(),
                    Content::Null | Content::Boolean(_) | Content::Number(_) | Content::List(_) | Content::Map(_) => {
                        self.found()
                    }
                };
                self.add(Some(found), "must have keys of its own", "write it as { key: value }, or one key per line")
            }
        }
    }

    /// The fields of a map whose keys are fixed.
    pub fn fields(&self) -> Option<Fields<'a>> {
        self.accepts(|| Shape::Fields);
        self.any_entries()?;
        Some(Fields::new(self.clone()))
    }

    pub(super) fn entry(&self, entry: &'a Entry) -> Cursor<'a> {
        Cursor { path: self.below(&entry.key), node: &entry.node, key_place: entry.place.as_ref(), report: self.report }
    }

    pub(super) fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn found(&self) -> String {
        match &self.node.content {
            Content::Null => "nothing".to_owned(),
            Content::List(items) if items.is_empty() => "an empty list".to_owned(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(entries) if entries.is_empty() => "no keys".to_owned(),
            Content::Map(_) => "keys and values".to_owned(),
            Content::Boolean(_) | Content::Number(_) | Content::Text(_) | Content::Untyped(_) if self.is_secret() => {
                HIDDEN.to_owned()
            }
            Content::Boolean(boolean) => boolean.to_string(),
            Content::Number(number) => number.to_string(),
            Content::Text(text) | Content::Untyped(text) => shown(text),
        }
    }

    fn is_secret(&self) -> bool {
        let key = self.path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        ["key", "token", "password", "secret"].iter().any(|ending| key.ends_with(ending))
    }
}

/// Quotes a text, shortens it, and hides it when it is a URL with a password.
fn shown(text: &str) -> String {
    if text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
        return HIDDEN.to_owned();
    }
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::super::Problems;
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn read<T>(value: Value, read: impl FnOnce(Cursor<'_>) -> Option<T>) -> Result<T, Problems> {
        let node = Node::from_json(&value, &Place::Stored("campaign x in the database".into()));
        let report = Report::default();
        let value = read(Cursor::new(&node, "", &report));
        report.finish(value)
    }

    fn limits(cursor: Cursor<'_>) -> Option<(u32, bool)> {
        let fields = cursor.fields()?;
        let number = fields.required_like("calls_per_minute", "calls_per_minute: 20", |cursor| cursor.integer(1..=100));
        let flag = fields.or("finish_when_done", false, |cursor| cursor.boolean());
        fields.close();
        Some((number?, flag?))
    }

    #[test]
    fn all_problems_of_a_map_are_reported_together() {
        assert_eq!(read(json!({"calls_per_minute": 7}), limits), Ok((7, false)));
        let problems = read(json!({"calls_per_minut": 7, "finish_when_done": "yes", "zebra": 1}), limits);
        insta::assert_snapshot!(problems.unwrap_err(), @r#"
        campaign x in the database  calls_per_minute
          is missing
          add it, for example `calls_per_minute: 20`

        campaign x in the database  finish_when_done
          found "yes"
          must be true or false
          write true or false, without quotes

        campaign x in the database  calls_per_minut
          is not a known key
          did you mean calls_per_minute?

        campaign x in the database  zebra
          is not a known key
          known here: calls_per_minute, finish_when_done

        4 problems; nothing was changed
        "#);
    }

    #[test]
    fn secrets_are_never_shown() {
        for key in ["api_key", "webhook_token", "PASSWORD", "client_secret"] {
            let report = Report::default();
            let node = Node { content: Content::Untyped("s3cr3t".to_owned()), place: None };
            let cursor = Cursor::new(&node, format!("accounts.main.{key}"), &report);
            assert_eq!(cursor.integer::<i64>(0..=1), None);
            let shown = report.finish(None::<()>).unwrap_err().to_string();
            assert!(shown.contains(HIDDEN) && !shown.contains("s3cr3t"), "{shown}");
        }
        assert_eq!(shown("postgres://user:s3cr3t@db/outdial"), HIDDEN);
        assert_eq!(shown("https://example.org/"), "\"https://example.org/\"");
    }

    #[test]
    fn a_value_in_place_of_a_map_may_be_a_secret() {
        let shown = read(json!("sk-live-1"), limits).unwrap_err().to_string();
        assert!(shown.contains("found text") && !shown.contains("sk-live-1"), "{shown}");
    }

    #[test]
    fn untyped_text_takes_the_type_that_is_expected() {
        let report = Report::default();
        let at = |text: &str| Node { content: Content::Untyped(text.to_owned()), place: None };
        assert_eq!(Cursor::new(&at("12"), "", &report).integer::<u16>(1..=20), Some(12));
        assert_eq!(Cursor::new(&at("true"), "", &report).boolean(), Some(true));
        assert_eq!(Cursor::new(&at("12"), "", &report).text().as_deref(), Some("12"));
        assert!(report.is_clean());
    }
}
