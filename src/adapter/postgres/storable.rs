//! What outsiders send, made fit to be stored.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// A cost that is no number is left out rather than holding up the whole result.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    text.trim().parse().ok()
}

/// Postgres cannot store the character NUL, and what providers send may contain it.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "")
}

/// As [`storable`], for all of a JSON value.
pub(super) fn storable_json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(text)),
        Value::Array(items) => Value::Array(items.iter().map(storable_json).collect()),
        Value::Object(map) => storable_map(map),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// As [`storable_json`], for an object.
pub(super) fn storable_map(map: &Map<String, Value>) -> Value {
    Value::Object(map.iter().map(|(name, value)| (storable(name), storable_json(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_postgres_cannot_store_is_left_out() {
        assert_eq!(storable("a\0b"), "ab");
        assert_eq!(storable_json(&json!({"k\0": ["x\0", 1, null]})), json!({"k": ["x", 1, null]}));
        assert_eq!(decimal(" 0.0375 ").map(|d| d.to_string()), Some("0.0375".to_owned()));
        assert_eq!(decimal("free"), None);
    }
}
