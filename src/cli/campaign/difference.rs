//! What differs between two definitions, key by key.

use serde_json::Value;

/// A key whose values differ; `None` where it is not written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The keys that lead there, with dots between them.
    pub key: String,
    /// In the database.
    pub stored: Option<Value>,
    /// In the file.
    pub written: Option<Value>,
}

/// All differences, in the order of their keys. Maps are compared key by key, lists as a whole: their order counts.
pub(super) fn differences(stored: &Value, written: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(stored), Some(written), &mut found);
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found
}

fn compare(key: &str, stored: Option<&Value>, written: Option<&Value>, found: &mut Vec<Difference>) {
    let (Some(Value::Object(before)), Some(Value::Object(after))) = (stored, written) else {
        if stored != written {
            found.push(Difference { key: key.to_owned(), stored: stored.cloned(), written: written.cloned() });
        }
        return;
    };
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    for (name, value) in before {
        compare(&below(name), Some(value), after.get(name), found);
    }
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        compare(&below(name), None, Some(value), found);
    }
}

/// A value as it fits into a table: one line, as YAML would write it in a flow.
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None => "(not written)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => flow(value),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_key_that_differs_is_named_once() {
        let stored =
            json!({"account": "main", "retry": {"max_attempts": 3, "on": {"busy": {"after": "1h"}}}, "old": 1});
        let written =
            json!({"retry": {"on": {"busy": {"after": "1h"}}, "max_attempts": 4, "goal": {"a": 1}}, "account": "main"});
        let found: Vec<_> = differences(&stored, &written)
            .into_iter()
            .map(|difference| (difference.key, shown(difference.stored.as_ref()), shown(difference.written.as_ref())))
            .collect();
        let expected = [
            ("old", "1", "(not written)"),
            ("retry.goal", "(not written)", "{a: 1}"),
            ("retry.max_attempts", "3", "4"),
        ];
        assert_eq!(found, expected.map(|(key, one, other)| (key.to_owned(), one.to_owned(), other.to_owned())));
    }

    #[test]
    fn order_counts_in_lists_only() {
        assert_eq!(differences(&json!({"a": 1, "b": 2}), &json!({"b": 2, "a": 1})), []);
        assert_eq!(differences(&json!({"a": [1, 2]}), &json!({"a": [2, 1]})).len(), 1);
        assert_eq!(differences(&json!({"a": {"b": 1}}), &json!({"a": 1})).len(), 1);
        assert_eq!(differences(&json!({}), &json!({"a": null})).len(), 1, "it would be written");
    }
}
