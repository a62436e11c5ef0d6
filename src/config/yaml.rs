//! YAML text to a [`Node`] tree with the place of every value.
//!
//! Deliberately less than YAML: one document, text keys, each key once, no custom tags, no merge keys. A plain scalar
//! is a number only when it reads back exactly as it was written, so that `+4930123`, `0176` and `1.50` stay text:
//! a phone number must not lose its plus sign. `true`, `false` and `null` are the only words with a meaning; `no` is a
//! country.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::Number;

use crate::domain::document::{Content, Entry, Node, Place, Problem, Report};

/// Deepest nesting of lists and maps; real documents need less than ten levels.
const DEPTH_MAX: usize = 32;
/// Most values in one document, counted after aliases are expanded, so that a few lines cannot fill the memory.
const NODES_MAX: usize = 100_000;

/// Reads a file; an empty file is an empty map. `None` means that the text is not YAML and the report says why. A key
/// that is written twice is reported too, and reading goes on with the first.
pub fn parse_yaml(text: &str, file: &str, report: &Report) -> Option<Node> {
    let file: Arc<str> = Arc::from(file);
    let mut reading = Reading {
        events: Parser::new_from_str(text.trim_start_matches('\u{feff}')),
        file: Arc::clone(&file),
        anchors: BTreeMap::new(),
        nodes: 0,
        path: Vec::new(),
        report,
    };
    match reading.document() {
        Ok(node) => Some(node),
        Err(stop) => {
            let (marker, message, remedy) = match stop {
                Stop::Syntax(error) => (*error.marker(), format!("is not valid YAML: {}", error.info()), SYNTAX_REMEDY),
                Stop::Refused(marker, message, remedy) => (marker, message.to_owned(), remedy),
            };
            report.add(Problem {
                place: Some(place(&file, marker)),
                path: reading.path.join("."),
                found: None,
                message,
                remedy: (!remedy.is_empty()).then(|| remedy.to_owned()),
            });
            None
        }
    }
}

const SYNTAX_REMEDY: &str =
    "look at this line and the one above: indentation, a missing `:` or quote, a tab instead of spaces";

/// Why reading cannot go on.
enum Stop {
    Syntax(ScanError),
    Refused(Marker, &'static str, &'static str),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

struct Reading<'t, 'r> {
    events: Parser<'t, StrInput<'t>>,
    file: Arc<str>,
    /// Finished values by anchor, with the number of nodes in each.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    path: Vec<String>,
    report: &'r Report,
}

impl<'t> Reading<'t, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut document = None;
        while let Some(event) = self.events.next_event() {
            let (event, span) = event?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => {
                    if document.is_some() {
                        return Err(Stop::Refused(
                            span.start,
                            "begins a second document",
                            "remove the `---`, or write the second document to a file of its own",
                        ));
                    }
                    let (event, span) = self.next()?;
                    document = Some(self.value(event, span, 0)?);
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    return Err(Stop::Refused(span.start, "is not valid YAML here", SYNTAX_REMEDY));
                }
            }
        }
        let empty = || Node { content: Content::Map(Vec::new()), place: Some(Place::File(Arc::clone(&self.file))) };
        Ok(match document {
            Some(node) if !node.is_null() => node,
            Some(_) | None => empty(),
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.events.next_event() {
            Some(event) => Ok(event?),
            None => Err(Stop::Refused(Marker::new(0, 1, 0), "ends in the middle of a value", SYNTAX_REMEDY)),
        }
    }

    fn value(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Refused(span.start, "is nested too deeply", "32 levels are the most"));
        }
        let before = self.nodes;
        self.count(1, span)?;
        let (anchor, content) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, self.scalar(text, style, tag.as_deref(), span)?),
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", span)?;
                (anchor, Content::List(self.list(depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", span)?;
                (anchor, Content::Map(self.map(depth)?))
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Stop::Refused(span.start, "refers to a value that contains it", "write the value out"));
                };
                self.count(size, span)?;
                return Ok(node);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(Stop::Refused(span.start, "is not valid YAML here", SYNTAX_REMEDY)),
        };
        let node = Node { content, place: Some(place(&self.file, span.start)) };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(Stop::Refused(span.start, "makes the document too large", "100000 values are the most"));
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.value(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, ..) => text.into_owned(),
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..) => {
                    return Err(Stop::Refused(span.start, "a key must be text", "put it in quotes"));
                }
            };
            let key_place = place(&self.file, span.start);
            self.path.push(key.clone());
            let (event, span) = self.next()?;
            let node = self.value(event, span, depth + 1)?;
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let first = first.place.as_ref().map_or_else(String::new, |place| format!(", first at {place}"));
                self.report.add(Problem {
                    place: Some(key_place),
                    path: self.path.join("."),
                    found: None,
                    message: format!("is written twice{first}"),
                    remedy: Some("keep one of them".to_owned()),
                });
            } else {
                entries.push(Entry { key, place: Some(key_place), node });
            }
            self.path.pop();
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Content, Stop> {
        if tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str") {
            return Ok(Content::Text(text.into_owned()));
        }
        refuse_tag(tag, "str", span)?;
        Ok(if style == ScalarStyle::Plain { plain(&text) } else { Content::Text(text.into_owned()) })
    }
}

fn refuse_tag(tag: Option<&Tag>, expected: &str, span: Span) -> Result<(), Stop> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(Stop::Refused(span.start, "has a tag", "remove the word that begins with `!`"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The value of an unquoted scalar.
fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Boolean(true),
        "false" | "False" | "FALSE" => return Content::Boolean(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Content::Number(number.into());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
        && let Ok(number) = text.parse::<f64>()
        && format!("{number:?}") == text
        && let Some(number) = Number::from_f64(number)
    {
        return Content::Number(number);
    }
    Content::Text(text.to_owned())
}

fn place(file: &Arc<str>, marker: Marker) -> Place {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place::Line { file: Arc::clone(file), line: number(marker.line()), column: number(marker.col() + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(text: &str) -> Result<Node, String> {
        let report = Report::default();
        let node = parse_yaml(text, "t.yaml", &report);
        report.finish(node).map_err(|problems| problems.to_string())
    }

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(parse(text).map(|node| node.to_json()), Ok(expected));
    }

    #[test]
    fn values_read_as_people_mean_them() {
        check("", json!({}));
        check("# only a comment\n", json!({}));
        check("a: 1\nb: [x, 'y', \"z\"]\n", json!({"a": 1, "b": ["x", "y", "z"]}));
        check(
            "a: no\nb: 09:00-12:00\nc: 2026-03-01\nd: 1e3\n",
            json!({"a": "no", "b": "09:00-12:00", "c": "2026-03-01", "d": "1e3"}),
        );
        check(
            "a: +4930123\nb: 0176123\nc: 1.50\nd: 1.5\ne: -3\n",
            json!({"a": "+4930123", "b": "0176123", "c": "1.50", "d": 1.5, "e": -3}),
        );
        check(
            "a: true\nb: 'true'\nc: ~\nd:\ne: 99999999999999999999\n",
            json!({"a": true, "b": "true", "c": null, "d": null, "e": "99999999999999999999"}),
        );
        check("a: &x {k: 1}\nb: *x\n", json!({"a": {"k": 1}, "b": {"k": 1}}));
        check("a: |\n  two\n  lines\nb: !!str 5\n", json!({"a": "two\nlines\n", "b": "5"}));
        check("\u{feff}a: 1\n", json!({"a": 1}));
        check("---\na: 1\n...\n", json!({"a": 1}));
        check("1: one\n", json!({"1": "one"}));
    }

    #[test]
    fn every_value_has_its_place() {
        let node = parse("a:\n  - b: 1\n    ß: x\n").unwrap();
        let Content::List(items) = &node.get("a").unwrap().content else { panic!("a is a list") };
        assert_eq!(items[0].get("b").unwrap().place.as_ref().unwrap().to_string(), "t.yaml:2:8");
        assert_eq!(items[0].entry("ß").unwrap().place.as_ref().unwrap().to_string(), "t.yaml:3:5");
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let problems = parse(text).unwrap_err();
        assert!(problems.contains(expected), "{problems}");
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        refused("a: 1\nb: 2\na: 3\n", "t.yaml:3:1  a\n  is written twice, first at t.yaml:1:1");
        refused("a: {b: 1, b: 2}\nc: {d: 1, d: 2}\n", "2 problems");
        refused("a: 1\n---\nb: 2\n", "t.yaml:2:1\n  begins a second document");
        refused("a: !secret x\n", "has a tag");
        refused("? [1]\n: 2\n", "a key must be text");
        refused("a: [1\nb: 2\n", "is not valid YAML");
        refused("a: 'x\n", "is not valid YAML");
        refused("a:\n\tb: 1\n", "is not valid YAML");
        refused("a: &x [*x]\n", "refers to a value that contains it");
        refused(&format!("a: {}1{}\n", "[".repeat(40), "]".repeat(40)), "is nested too deeply");
    }

    #[test]
    fn a_few_lines_cannot_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let item = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", [item.as_str(); 10].join(", ")));
        }
        refused(&text, "makes the document too large");
    }
}
