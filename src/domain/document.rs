//! What people write, with the place of every value, and the problems found while reading it.
//!
//! A [`Node`] is a tree of plain values. It knows nothing of YAML or JSON: whoever parses a file says where each value
//! stands, and a document that comes back from Postgres has one [`Place`] for everything. Reading ([`Cursor`],
//! [`Fields`]) never stops at the first mistake: each one becomes a [`Problem`], and all are shown together.

mod duration;
mod fields;
mod problem;
mod reader;
mod report;
mod shape;

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

pub use duration::{DurationError, parse_duration, show_duration};
pub use fields::{Fields, closest};
pub use problem::{Problem, Problems};
pub use reader::Cursor;
pub use report::Report;
pub use shape::{Known, KnownPlaces, Shape};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub content: Content,
    /// Where it stands; `None` for values nobody wrote.
    pub place: Option<Place>,
}

/// A value as people write it.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing: the same as leaving the key out.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// Text from a place that has no types, an environment variable: whatever type is expected there is tried.
    Untyped(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order they were written, each key once.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Option<Place>,
    /// Its value.
    pub node: Node,
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    Line {
        /// The file as the person named it.
        file: Arc<str>,
        /// Counts from 1.
        line: u32,
        /// Counts from 1, in characters.
        column: u32,
    },
    /// In a file as a whole.
    File(Arc<str>),
    /// In an environment variable of this name.
    Environment(Arc<str>),
    /// In the database; says what, for example `campaign spring in the database`.
    Stored(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::File(file) => f.write_str(file),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Stored(what) => f.write_str(what),
        }
    }
}

impl Node {
    /// The tree of a JSON value, all of it at one place.
    pub fn from_json(value: &Value, place: &Place) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(boolean) => Content::Boolean(*boolean),
            Value::Number(number) => Content::Number(number.clone()),
            Value::String(text) => Content::Text(text.clone()),
            Value::Array(items) => Content::List(items.iter().map(|item| Self::from_json(item, place)).collect()),
            Value::Object(map) => Content::Map(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        place: Some(place.clone()),
                        node: Self::from_json(value, place),
                    })
                    .collect(),
            ),
        };
        Self { content, place: Some(place.clone()) }
    }

    /// The same tree as JSON, without places, in the order it was written.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Boolean(boolean) => Value::Bool(*boolean),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) | Content::Untyped(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    /// The value under a key; `None` when there is none or this is not a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The key and the value under it; `None` when there is none or this is not a map.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Content::Null
            | Content::Boolean(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::Untyped(_)
            | Content::List(_) => None,
        }
    }

    /// Whether this is as good as not written.
    pub fn is_null(&self) -> bool {
        self.content == Content::Null
    }
}

/// The form in which two documents are compared: keys sorted, keys without a value left out.
///
/// Postgres sorts the keys of `jsonb` and people reorder their files; neither is a change.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by(|one, other| one.0.cmp(other.0));
            Value::Object(
                entries.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_survives_the_way_through_a_tree() {
        let value = json!({"z": 1, "a": [true, null, 1.5, "x", {"k": {}}]});
        let node = Node::from_json(&value, &Place::Stored("campaign x in the database".into()));
        assert_eq!(node.to_json(), value);
        assert_eq!(node.get("z").map(Node::to_json), Some(json!(1)));
        assert_eq!(node.get("y"), None);
    }

    #[test]
    fn order_and_empty_keys_do_not_make_documents_differ() {
        let one = json!({"a": 1, "b": {"c": [1, 2], "d": null}});
        let other = json!({"b": {"c": [1, 2]}, "a": 1});
        assert_eq!(canonical(&one).to_string(), canonical(&other).to_string());
        assert_ne!(canonical(&one), canonical(&json!({"a": 1, "b": {"c": [2, 1]}})), "the order of a list counts");
    }
}
