//! Reads JSON as this family sends it: numbers that are sometimes strings, objects that are sometimes `[]`, and now and
//! then bytes that no strict reader takes.
//!
//! Fields are read one by one from their raw text, so that ids and amounts keep every digit and a problem names its
//! field. Problems never quote values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::{Timestamp, Unit};
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::phone::PhoneNumber;
use crate::domain::report::Undecodable;

/// Longest id taken: real ones are numbers or UUIDs.
const ID_BYTES_MAX: usize = 100;
/// Longest amount taken.
const DECIMAL_BYTES_MAX: usize = 40;

/// The fields of one JSON object, each unread. `null` counts as absent.
pub(super) struct Fields<'a> {
    path: String,
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Splits a whole document, repaired by [`repair`].
    pub(super) fn read(document: &'a str) -> Result<Self, Undecodable> {
        let fields = serde_json::from_str(document).map_err(|error| Undecodable {
            field: ".".to_owned(),
            problem: match error.classify() {
                serde_json::error::Category::Data => format!("expected an object, found {}", kind(document)),
                serde_json::error::Category::Eof => "the document ends too early".to_owned(),
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                    format!("not JSON at line {} column {}", error.line(), error.column())
                }
            },
        })?;
        Ok(Self { path: String::new(), fields })
    }

    /// Splits an object inside a document, found at `path`.
    pub(super) fn read_at(path: String, raw: &'a RawValue) -> Result<Self, Undecodable> {
        match serde_json::from_str(raw.get()) {
            Ok(fields) => Ok(Self { path, fields }),
            Err(_) => {
                Err(Undecodable { field: path, problem: format!("expected an object, found {}", kind(raw.get())) })
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Undecodable> {
        self.read_with(name, "a string", |raw| serde_json::from_str(raw).ok())
    }

    /// A string, or what else is a single value, as text. Anything that is not is absent.
    pub(super) fn plain(&self, name: &str) -> Option<String> {
        unquoted(self.get(name)?.get()).map(Cow::into_owned)
    }

    /// A string or a whole number, kept digit by digit. Only characters that are safe in a path.
    pub(super) fn id(&self, name: &str) -> Result<Option<String>, Undecodable> {
        self.read_with(name, "an id", id)
    }

    /// A decimal number, written as number or string; every digit kept.
    pub(super) fn decimal(&self, name: &str) -> Result<Option<String>, Undecodable> {
        self.read_with(name, "a decimal number", decimal)
    }

    /// A whole number, written as number or string.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Undecodable> {
        self.read_with(name, "a whole number", |raw| unquoted(raw)?.trim().parse().ok())
    }

    /// A number of seconds, fractions cut off.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<u32>, Undecodable> {
        self.read_with(name, "a number of seconds", |raw| {
            let seconds: f64 = unquoted(raw)?.trim().parse().ok()?;
            (0.0..f64::from(u32::MAX)).contains(&seconds).then_some(seconds as u32)
        })
    }

    /// A boolean, or 0 or 1, as number or string.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Undecodable> {
        self.read_with(name, "a boolean", |raw| boolean(&unquoted(raw)?))
    }

    /// Anything.
    pub(super) fn value(&self, name: &str) -> Result<Option<Value>, Undecodable> {
        self.read_with(name, "JSON within its limits", |raw| serde_json::from_str(raw).ok())
    }

    /// An object; `[]`, PHP's empty array, counts as absent.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Undecodable> {
        match self.get(name) {
            None => Ok(None),
            Some(raw) if is_empty_array(raw) => Ok(None),
            Some(raw) => Self::read_at(self.path_of(name), raw).map(Some),
        }
    }

    /// Names and values: an object, or a list of `{name, type, value}`, or PHP's `[]`.
    pub(super) fn named_values(&self, name: &str) -> Result<Option<Map<String, Value>>, Undecodable> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let problem = |problem: &str| Undecodable { field: self.path_of(name), problem: problem.to_owned() };
        match value {
            Value::Object(map) => Ok(Some(map)),
            Value::Array(list) => {
                let mut map = Map::new();
                for item in list {
                    let Value::Object(mut item) = item else {
                        return Err(problem("expected a list of objects"));
                    };
                    let Some(Value::String(key)) = item.remove("name") else {
                        return Err(problem("expected a name in each entry"));
                    };
                    map.insert(key, typed(item));
                }
                Ok(Some(map))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(problem("expected an object or a list"))
            }
        }
    }

    /// The names of an object's fields, or of a list's entries. Anything else has none.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        match self.named_values(name) {
            Ok(Some(map)) => map.into_iter().map(|(key, _)| key).collect(),
            Ok(None) | Err(_) => Vec::new(),
        }
    }

    /// An instant. Without a zone there is none: the brands do not say in which zone they write.
    pub(super) fn instant(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name).ok().flatten()?;
        let instant: Timestamp = text.trim().parse().ok()?;
        instant.round(jiff::TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Trunc)).ok()
    }

    /// A time without a zone, as Laravel writes it. Absent where there is a zone.
    pub(super) fn written(&self, name: &str) -> Option<DateTime> {
        let text = self.text(name).ok().flatten()?;
        let text = text.trim();
        let naive = text.parse::<Timestamp>().is_err() && text.len() > "2025-08-04".len();
        text.parse().ok().filter(|_| naive)
    }

    /// A phone number, with or without its `+`. What cannot be read is absent.
    pub(super) fn phone(&self, name: &str) -> Option<PhoneNumber> {
        let text = unquoted(self.get(name)?.get())?;
        let text = text.trim();
        PhoneNumber::parse(text).ok().or_else(|| {
            let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if bare { PhoneNumber::parse(&format!("+{text}")).ok() } else { None }
        })
    }

    /// The path of one field, for messages.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn read_with<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, Undecodable> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        match read(raw.get()) {
            Some(value) => Ok(Some(value)),
            None => Err(Undecodable {
                field: self.path_of(name),
                problem: format!("expected {expected}, found {}", kind(raw.get())),
            }),
        }
    }
}

/// A value as its `type` says: models that fill such lists write booleans and numbers as strings at times.
fn typed(mut item: Map<String, Value>) -> Value {
    let value = item.remove("value").unwrap_or(Value::Null);
    let declared = item.get("type").and_then(Value::as_str).unwrap_or_default();
    let as_text = match &value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return value,
    };
    let converted = match declared {
        "bool" | "boolean" => boolean(&as_text).map(Value::Bool),
        "number" | "integer" | "float" => serde_json::from_str(&as_text).ok().filter(Value::is_number),
        _ => None,
    };
    converted.unwrap_or(value)
}

/// An id from its raw JSON.
fn id(raw: &str) -> Option<String> {
    let text = unquoted(raw)?;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(safe);
    let whole = raw.starts_with('"') || text.bytes().all(|byte| byte.is_ascii_digit());
    (fits && whole).then(|| text.into_owned())
}

/// A decimal number from its raw JSON, as digits with a point.
fn decimal(raw: &str) -> Option<String> {
    let text = unquoted(raw)?;
    let text = text.trim();
    if text.len() > DECIMAL_BYTES_MAX {
        return None;
    }
    if text.contains(['e', 'E']) {
        return Decimal::from_scientific(text).ok().map(|number| number.to_string());
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| text.to_owned())
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The text of a JSON string, or the raw text of a number or boolean.
fn unquoted(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        b'{' | b'[' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Whether this is PHP's way to write an empty object.
fn is_empty_array(raw: &RawValue) -> bool {
    raw.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|inner| inner.trim().is_empty())
}

/// What kind of JSON a raw text is, in words.
pub(super) fn kind(raw: &str) -> &'static str {
    match raw.trim_start().as_bytes().first() {
        None => "nothing",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        Some(b'<') => "markup",
        Some(_) => "something else",
    }
}

const REPLACEMENT: &str = "\\ufffd";

/// Makes a document readable that a strict reader, or Postgres, would refuse as a whole because of one character in one
/// string: half a surrogate pair (an emoji cut in two), an escaped NUL, or bytes that are not UTF-8.
pub(super) fn repair(body: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let mut repaired = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while let Some(step) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += step;
        let length = match escape(bytes, at) {
            None => 2,
            Some(0xd800..=0xdbff) if matches!(escape(bytes, at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0 | 0xd800..=0xdfff) => {
                repaired.push_str(&text[copied..at]);
                repaired.push_str(REPLACEMENT);
                copied = at + 6;
                6
            }
            Some(_) => 6,
        };
        at = (at + length).min(bytes.len());
    }
    if copied == 0 {
        return text;
    }
    repaired.push_str(&text[copied..]);
    Cow::Owned(repaired)
}

/// The code of a `\uXXXX` escape that begins at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + u16::try_from(char::from(*digit).to_digit(16)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_id(raw: &str, expected: Option<&str>) {
        assert_eq!(id(raw).as_deref(), expected, "{raw}");
    }

    #[test]
    fn ids_keep_every_digit_and_never_leave_their_path_segment() {
        check_id("480337", Some("480337"));
        check_id("\"480337\"", Some("480337"));
        check_id("9007199254740993", Some("9007199254740993"));
        check_id("123456789012345678901234567890", Some("123456789012345678901234567890"));
        check_id("\"3f2a-b\"", Some("3f2a-b"));
        check_id("\"../me\"", None);
        check_id("\"..\"", None);
        check_id("\"\"", None);
        check_id("1.5", None);
        check_id("-1", None);
        check_id("1e3", None);
        check_id("true", None);
        check_id("{}", None);
    }

    #[track_caller]
    fn check_decimal(raw: &str, expected: Option<&str>) {
        assert_eq!(decimal(raw).as_deref(), expected, "{raw}");
    }

    #[test]
    fn amounts_keep_every_digit() {
        check_decimal("\"0.02000000\"", Some("0.02000000"));
        check_decimal("0.0156", Some("0.0156"));
        check_decimal("12", Some("12"));
        check_decimal("-3.5", Some("-3.5"));
        check_decimal("-3", Some("-3"));
        check_decimal("1.5e-5", Some("0.000015"));
        check_decimal("\"\"", None);
        check_decimal("\"1,50\"", None);
        check_decimal("\".5\"", None);
        check_decimal("\"--5\"", None);
        check_decimal("true", None);
    }

    #[test]
    fn one_bad_character_does_not_cost_the_document() {
        assert_eq!(repair(br#"{"a":"x\ud83dy\u0000"}"#), r#"{"a":"x\ufffdy\ufffd"}"#);
        assert_eq!(repair(br#"{"a":"\ud83d\ude00 \u00e4 \\u0000"}"#), r#"{"a":"\ud83d\ude00 \u00e4 \\u0000"}"#);
        assert_eq!(repair(br#"{"a":"\ude00\ud83d"}"#), r#"{"a":"\ufffd\ufffd"}"#);
        assert_eq!(repair(b"{\"a\":\"\xff\"}"), "{\"a\":\"\u{fffd}\"}");
        assert_eq!(repair(b"\xef\xbb\xbf{}"), "{}");
        assert_eq!(repair(b"\\"), "\\");
        assert_eq!(repair(b"\\u12"), "\\u12");
    }

    #[test]
    fn a_time_has_a_zone_or_is_only_written() {
        let document = r#"{"a":"2025-08-04 14:30:00","b":"2024-01-15T10:30:00Z","c":"2025-08-04","d":7,"e":"soon"}"#;
        let fields = Fields::read(document).expect("an object");
        assert_eq!(fields.written("a"), Some(jiff::civil::date(2025, 8, 4).at(14, 30, 0, 0)));
        assert_eq!(fields.instant("a"), None);
        for other in ["b", "c", "d", "e", "f"] {
            assert_eq!(fields.written(other), None, "{other}");
        }
        assert!(fields.instant("b").is_some());
    }

    #[test]
    fn problems_name_the_field_and_not_the_value() {
        let document = r#"{"lead":{"id":{"x":"+14155550132"}},"status":7}"#;
        let fields = Fields::read(document).expect("an object");
        let lead = fields.object("lead").expect("an object").expect("present");
        let problem = lead.id("id").expect_err("not an id");
        assert_eq!(problem.to_string(), "cannot read field lead.id: expected an id, found an object");
        let problem = fields.text("status").expect_err("not a string");
        assert_eq!(problem.to_string(), "cannot read field status: expected a string, found a number");
        let problem = |document| Fields::read(document).err().expect("unreadable").to_string();
        assert_eq!(problem("[1]"), "cannot read field .: expected an object, found a list");
        assert_eq!(problem("{\"a\":"), "cannot read field .: the document ends too early");
        assert_eq!(problem("<html>"), "cannot read field .: not JSON at line 1 column 1");
    }
}
