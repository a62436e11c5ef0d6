//! The JSON Schema of the configuration and of campaign files, for editors.
//!
//! Nothing is declared twice: the reader says what it accepts while it reads a documented file in which every key is
//! written, and that file's comments are the descriptions. What a schema cannot say (sums, other keys, files that are not
//! there) is left to `outdial check`; so everything that is accepted fits the schema, and not the other way round.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::campaign_file::read_file;
use super::layer::DEFAULT;
use super::reference::{Comment, ITEM, Reference};
use super::section;
use crate::domain::document::{Cursor, Known, KnownPlaces, Node, Report, Shape, show_duration};

/// The documented campaign.
pub(super) const CAMPAIGN: &str = include_str!("../../config/campaign.example.yaml");

/// draft-07, because that is what editors know best.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";
/// How a duration is written: each unit once, the largest first.
pub const DURATION_PATTERN: &str = "^\\s*([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?\\s*$";

/// The schema of the files given by `--config`.
pub fn config_schema() -> Value {
    let reference = Reference::read(DEFAULT);
    let report = Report::recording();
    // What the reader thinks of the values does not matter; it says all the same what it would accept.
    let _ = section::read(&Cursor::new(&reference.root, "", &report), None);
    let about = "A configuration of outdial. Each file holds only what it changes: what must be there at all is known once \
                 all layers are merged, and `outdial check` says it.";
    document("outdial configuration", about, &report.known_places(), &reference, Missing::LaterLayers)
}

/// The schema of the files given to `campaign apply`.
pub fn campaign_schema() -> Value {
    let reference = Reference::read(CAMPAIGN);
    let report = Report::recording();
    let _ = read_file(&Cursor::new(&reference.root, "", &report));
    let about = "Campaigns of outdial, applied by `outdial campaign apply FILE`.";
    document("outdial campaigns", about, &report.known_places(), &reference, Missing::Refused)
}

/// What a missing key means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Another file may have it.
    LaterLayers,
    /// The file is refused.
    Refused,
}

fn document(title: &str, about: &str, known: &KnownPlaces, reference: &Reference, missing: Missing) -> Value {
    let schema = Tree::of(known, reference).schema(missing, Null::Refused);
    let Value::Object(mut schema) = schema else { unreachable!("a document has keys") };
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!(DIALECT));
    root.insert("title".to_owned(), json!(title));
    root.insert("description".to_owned(), json!(about));
    root.append(&mut schema);
    Value::Object(root)
}

/// Whether a value may be null, which counts as not written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Null {
    Accepted,
    Refused,
}

/// Everything known of a place and of what is below it.
#[derive(Clone, Default)]
struct Tree {
    known: Known,
    comment: Comment,
    /// What the documented file says there, if that is one value.
    value: Option<Value>,
    below: BTreeMap<String, Tree>,
}

impl Tree {
    fn of(known: &KnownPlaces, reference: &Reference) -> Self {
        let mut tree = Self::default();
        for (path, known) in known {
            let segments = segments(path);
            let mut place = &mut tree;
            for segment in &segments {
                place = place.below.entry(segment.clone()).or_default();
            }
            place.merge_known(known);
            if let Some(comment) = reference.comments.get(&segments) {
                place.comment = comment.clone();
            }
            place.value = at(&reference.root, &segments).map(Node::to_json).filter(is_plain);
        }
        tree
    }

    fn merge_known(&mut self, other: &Known) {
        for shape in &other.shapes {
            if !self.known.shapes.contains(shape) {
                self.known.shapes.push(shape.clone());
            }
        }
        self.known.required |= other.required;
        self.known.depends |= other.depends;
    }

    /// Two places that follow the same rules; what the first says of itself stands.
    fn merge(&mut self, other: &Self) {
        // A key that only some ask for is optional for all.
        let required = self.known.required && other.known.required;
        self.merge_known(&other.known);
        self.known.required = required;
        if self.comment.text.is_empty() {
            self.comment = other.comment.clone();
        }
        for (key, tree) in &other.below {
            match self.below.get_mut(key) {
                Some(present) => present.merge(tree),
                None => {
                    self.below.insert(key.clone(), tree.clone());
                }
            }
        }
    }

    /// What the values under free keys have in common.
    fn any_entry(&self) -> Option<Self> {
        let mut entries = self.below.iter().filter(|(key, _)| *key != ITEM).map(|(_, tree)| tree);
        let mut any = entries.next()?.clone();
        entries.for_each(|entry| any.merge(entry));
        any.comment = Comment::default();
        Some(any)
    }

    fn schema(&self, missing: Missing, null: Null) -> Value {
        let mut kinds: Vec<Map<String, Value>> =
            self.known.shapes.iter().map(|shape| self.kind(shape, missing)).collect();
        let mut schema = Map::new();
        let description = self.description();
        if !description.is_empty() {
            schema.insert("description".to_owned(), json!(description));
        }
        match (&self.value, self.comment.in_force) {
            (Some(value), true) if missing == Missing::LaterLayers => {
                schema.insert("default".to_owned(), value.clone());
            }
            (Some(value), _) => {
                schema.insert("examples".to_owned(), json!([value]));
            }
            (None, _) => {}
        }
        if null == Null::Accepted && kinds.len() == 1 {
            accept_null(&mut kinds[0]);
        } else if null == Null::Accepted && !kinds.is_empty() {
            kinds.push(Map::from_iter([("type".to_owned(), json!("null"))]));
        }
        if kinds.len() == 1 {
            schema.append(&mut kinds[0]);
        } else if !kinds.is_empty() {
            schema.insert("anyOf".to_owned(), kinds.into_iter().map(Value::Object).collect());
        }
        Value::Object(schema)
    }

    fn kind(&self, shape: &Shape, missing: Missing) -> Map<String, Value> {
        let kind = match shape {
            Shape::Text => json!({"type": "string"}),
            Shape::Name { chars_max } => json!({"type": "string", "minLength": 1, "maxLength": chars_max}),
            Shape::Boolean => json!({"type": "boolean"}),
            Shape::Number => json!({"type": "number"}),
            Shape::Integer { min, max } => {
                let mut kind = json!({"type": "integer"});
                if *min > i64::MIN {
                    kind["minimum"] = json!(min);
                }
                if *max < i64::MAX {
                    kind["maximum"] = json!(max);
                }
                kind
            }
            Shape::Duration { .. } => json!({"type": "string", "minLength": 2, "pattern": DURATION_PATTERN}),
            Shape::Word(words) => json!({"type": "string", "enum": words}),
            Shape::List => {
                let items = self.below.get(ITEM);
                // Layers replace lists as a whole, so whatever is missing from an item stays missing.
                json!({"type": "array", "items": items.map_or_else(|| json!({}), |items| {
                    items.schema(Missing::Refused, Null::Refused)
                })})
            }
            Shape::Fields => self.fields(missing),
            Shape::Entries(None) => {
                let any = self.any_entry().map_or_else(|| json!(true), |any| any.schema(missing, Null::Refused));
                json!({"type": "object", "additionalProperties": any})
            }
            Shape::Entries(Some(words)) => {
                let any = self.any_entry().map_or_else(|| json!({}), |any| any.schema(missing, Null::Refused));
                let of_word = |word: &String| {
                    let mut schema = any.clone();
                    let text = self.below.get(word).map_or("", |tree| tree.comment.text.as_str());
                    if let Some(schema) = schema.as_object_mut().filter(|_| !text.is_empty()) {
                        schema.shift_insert(0, "description".to_owned(), json!(text));
                    }
                    (word.clone(), schema)
                };
                let properties: Map<String, Value> = words.iter().map(of_word).collect();
                json!({"type": "object", "properties": properties, "additionalProperties": false})
            }
        };
        let Value::Object(kind) = kind else { unreachable!("each of them is an object") };
        kind
    }

    fn fields(&self, missing: Missing) -> Value {
        let mut keys: Vec<(&String, &Self)> = self.below.iter().filter(|(key, _)| *key != ITEM).collect();
        keys.sort_by_key(|(key, tree)| (tree.comment.line, *key));
        let is_required = |tree: &Self| missing == Missing::Refused && tree.known.required && !tree.known.depends;
        let properties: Map<String, Value> = keys
            .iter()
            .map(|(key, tree)| {
                let null = if is_required(tree) { Null::Refused } else { Null::Accepted };
                ((*key).clone(), tree.schema(missing, null))
            })
            .collect();
        let required: Vec<&String> = keys.iter().filter(|(_, tree)| is_required(tree)).map(|(key, _)| *key).collect();
        let mut fields = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            fields["required"] = json!(required);
        }
        fields
    }

    fn description(&self) -> String {
        let bounds = self.known.shapes.iter().find_map(|shape| match shape {
            Shape::Duration { min, max } => Some(format!("From {} to {}.", show_duration(*min), show_duration(*max))),
            Shape::Text
            | Shape::Name { .. }
            | Shape::Boolean
            | Shape::Number
            | Shape::Integer { .. }
            | Shape::Word(_)
            | Shape::List
            | Shape::Fields
            | Shape::Entries(_) => None,
        });
        [self.comment.text.clone(), bounds.unwrap_or_default()].join(" ").trim().to_owned()
    }
}

/// `campaigns[spring].schedule` as its keys; whatever stands in brackets is an item.
fn segments(path: &str) -> Vec<String> {
    let mut segments = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, items) = part.split_once('[').map_or((part, 0), |(key, rest)| (key, 1 + rest.matches('[').count()));
        segments.push(key.to_owned());
        segments.extend((0..items).map(|_| ITEM.to_owned()));
    }
    segments
}

fn at<'n>(root: &'n Node, segments: &[String]) -> Option<&'n Node> {
    segments.iter().try_fold(root, |node, segment| node.get(segment))
}

/// Whether a value is worth showing: one value, and not a placeholder.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('…'),
        Value::Bool(_) | Value::Number(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn accept_null(kind: &mut Map<String, Value>) {
    if let Some(word) = kind.get("type").cloned() {
        kind.insert("type".to_owned(), json!([word, "null"]));
    }
    if let Some(Value::Array(words)) = kind.get_mut("enum") {
        words.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(segments(""), Vec::<String>::new());
        assert_eq!(segments("campaigns[spring renewals].schedule"), ["campaigns", "[]", "schedule"]);
        assert_eq!(segments("a[0][1]"), ["a", "[]", "[]"]);
        assert_eq!(segments("log.targets.outdial::engine"), ["log", "targets", "outdial::engine"]);
    }
}
