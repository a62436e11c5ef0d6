//! Types that drift: the same answer, written otherwise, as weakly typed providers do from one version to the next.
//!
//! Values people chose (variables, metadata, columns) stay as they are, except where the provider wraps them in a list
//! that declares their type. What a value means never changes.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Number, Value, json};

use super::dialect::{utc, zoned};
use super::dice::Dice;

/// Rewrites values of a document, each with this probability. `zone` is that of instants without one.
pub(super) struct Drift<'a> {
    pub probability: f64,
    pub zone: &'a TimeZone,
    pub dice: Dice,
}

/// Instants.
const INSTANTS: [&str; 8] = [
    "created_at",
    "updated_at",
    "finished_at",
    "deleted_at",
    "created",
    "timestamp",
    "completed_at",
    "call_connected_at",
];
/// Decimal numbers.
const AMOUNTS: [&str; 3] = ["carrier_cost", "total_cost", "total_balance"];
/// Objects whose fields belong to people; also those that PHP writes as `[]` when empty.
const MAPS: [&str; 7] =
    ["variables", "extracted_variables", "input_variables", "evaluation", "params", "custom", "extraction"];

impl Drift<'_> {
    /// Rewrites a whole document.
    pub(super) fn document(&mut self, document: &mut Value) {
        if self.probability > 0.0 {
            self.field("", document);
        }
    }

    fn field(&mut self, name: &str, value: &mut Value) {
        match value {
            Value::Null => {}
            Value::Bool(flag) => {
                if self.drifts() {
                    *value = u8::from(*flag).into();
                }
            }
            Value::Number(number) => {
                if (is_id(name) || name == "duration" || AMOUNTS.contains(&name)) && self.drifts() {
                    *value = number.to_string().into();
                }
            }
            Value::String(text) => {
                if let Some(other) = self.other_text(name, text).filter(|_| self.drifts()) {
                    *value = other;
                }
            }
            Value::Array(list) => {
                let other = match name {
                    "transcript" => transcript_text(list).map(Value::String),
                    "evaluation" if list.is_empty() => Some(json!({})),
                    "evaluation" => evaluation_object(list).map(Value::Object),
                    name if MAPS.contains(&name) && list.is_empty() => Some(json!({})),
                    _ => None,
                };
                match other {
                    Some(other) if self.drifts() => *value = other,
                    _ => list.iter_mut().for_each(|item| self.field("", item)),
                }
            }
            Value::Object(object) => {
                if MAPS.contains(&name) || is_columns(name, object) {
                    let other = if object.is_empty() {
                        Some(json!([]))
                    } else {
                        (name == "evaluation").then(|| evaluation_list(object))
                    };
                    if let Some(other) = other.filter(|_| self.drifts()) {
                        *value = other;
                    }
                    return;
                }
                // Neither id of an accepted run is a required field of the document.
                if object.contains_key("queued_run_ids") && object.contains_key("run_id") && self.drifts() {
                    object.shift_remove("run_id");
                }
                object.iter_mut().for_each(|(name, value)| self.field(name, value));
            }
        }
    }

    fn drifts(&mut self) -> bool {
        self.dice.chance(self.probability)
    }

    fn other_text(&self, name: &str, text: &str) -> Option<Value> {
        if name == "transcript" {
            return Some(transcript_list(text));
        }
        if AMOUNTS.contains(&name) {
            return text.parse().ok().and_then(Number::from_f64).map(Value::Number);
        }
        if is_id(name) {
            return text.parse::<u64>().ok().map(Value::from);
        }
        if !INSTANTS.contains(&name) {
            return None;
        }
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(zoned(instant, self.zone, "%Y-%m-%d %H:%M:%S").into());
        }
        let naive: DateTime = text.parse().ok()?;
        let instant = naive.to_zoned(self.zone.clone()).ok()?.timestamp();
        Some(utc(instant, "%Y-%m-%dT%H:%M:%SZ").into())
    }
}

fn is_id(name: &str) -> bool {
    name == "id" || name.ends_with("_id")
}

/// The columns of a run, in contrast to the data of an event.
fn is_columns(name: &str, object: &Map<String, Value>) -> bool {
    name == "data" && !object.contains_key("schema_version")
}

fn transcript_text(list: &[Value]) -> Option<String> {
    let line = |line: &Value| {
        let sender = if line.get("sender")? == "bot" { "AI" } else { "Customer" };
        Some(format!("{sender}: {}", line.get("text")?.as_str()?))
    };
    list.iter().map(line).collect::<Option<Vec<_>>>().map(|lines| lines.join("\n"))
}

fn transcript_list(text: &str) -> Value {
    let lines = text.lines().filter_map(|line| line.split_once(": ")).enumerate();
    lines
        .map(|(number, (sender, text))| {
            let sender = if sender == "AI" { "bot" } else { "human" };
            json!({"text": text, "type": "transcript", "sender": sender, "timestamp": number as f64})
        })
        .collect()
}

fn evaluation_object(list: &[Value]) -> Option<Map<String, Value>> {
    list.iter().map(|entry| Some((entry.get("name")?.as_str()?.to_owned(), entry.get("value")?.clone()))).collect()
}

/// The list declares the types, and then does not keep to them: booleans as words.
fn evaluation_list(object: &Map<String, Value>) -> Value {
    let entry = |(name, value): (&String, &Value)| {
        let (kind, value) = match value.as_bool() {
            Some(flag) => ("bool", flag.to_string().into()),
            None => ("string", value.clone()),
        };
        json!({"name": name, "type": kind, "value": value, "description": ""})
    };
    object.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drifted(mut document: Value) -> Value {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        Drift { probability: 1.0, zone: &zone, dice: Dice::new(1, "drift", "", 0) }.document(&mut document);
        document
    }

    #[track_caller]
    fn check(document: Value, expected: &Value) {
        assert_eq!(&drifted(document), expected);
    }

    #[test]
    fn every_kind_of_value_is_written_in_its_other_form() {
        check(json!({"id": 9_007_199_254_740_993_u64}), &json!({"id": "9007199254740993"}));
        check(json!({"call_id": "9007199254740993"}), &json!({"call_id": 9_007_199_254_740_993_u64}));
        check(json!({"id": "0195d9a8-2a6d"}), &json!({"id": "0195d9a8-2a6d"}));
        check(json!({"total_cost": "0.04000000"}), &json!({"total_cost": 0.04}));
        check(json!({"total_cost": 0.04, "page": 2}), &json!({"total_cost": "0.04", "page": 2}));
        check(json!({"record": true, "hidden": false}), &json!({"record": 1, "hidden": 0}));
        check(json!({"variables": {}}), &json!({"variables": []}));
        check(json!({"variables": [], "tools": []}), &json!({"variables": {}, "tools": []}));
        check(json!({"created_at": "2026-07-01T10:00:00Z"}), &json!({"created_at": "2026-07-01 12:00:00"}));
        check(json!({"created_at": "2026-07-01 12:00:00"}), &json!({"created_at": "2026-07-01T10:00:00Z"}));
        let spoken = json!([{"text": "Yes", "type": "transcript", "sender": "human", "timestamp": 0.0}]);
        check(json!({"transcript": "Customer: Yes"}), &json!({"transcript": spoken}));
        check(json!({"transcript": spoken}), &json!({"transcript": "Customer: Yes"}));
        check(json!({"transcript": ""}), &json!({"transcript": []}));
        let booked = json!([{"name": "booked", "type": "bool", "value": "true", "description": ""}]);
        check(json!({"evaluation": {"booked": true}}), &json!({"evaluation": booked}));
        check(json!({"evaluation": booked}), &json!({"evaluation": {"booked": "true"}}));
        check(json!({"run_id": "r", "queued_run_ids": ["r"]}), &json!({"queued_run_ids": ["r"]}));
    }

    #[test]
    fn what_people_chose_stays() {
        let chosen = json!({"variables": {"id": 7, "vip": true}, "metadata": {"custom": {"created_at": "2026-07-01"}}});
        check(chosen.clone(), &chosen);
        let columns = json!([{"data": {"booked": true}}]);
        check(columns.clone(), &columns);
        let event = json!({"data": {"schema_version": "2025-07-08", "flag": true}});
        check(event, &json!({"data": {"schema_version": "2025-07-08", "flag": 1}}));
    }

    #[test]
    fn nothing_drifts_by_itself() {
        let document = json!({"id": 1, "record": true, "variables": {}});
        let mut same = document.clone();
        Drift { probability: 0.0, zone: &TimeZone::UTC, dice: Dice::new(1, "drift", "", 0) }.document(&mut same);
        assert_eq!(same, document);
    }
}
