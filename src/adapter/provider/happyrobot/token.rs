//! Finds the attempt id that went along with a request in what comes back.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::id::{AttemptId, Installation};

/// Longest token kept; ours has 36 characters.
const TOKEN_CHARS_MAX: usize = 100;
/// How deep values are searched: columns of a runs table hold values of any shape.
const DEPTH_MAX: u32 = 4;

/// What tokens are looked for.
pub(super) struct Tokens {
    /// The name they go along under.
    pub(super) variable: String,
    /// Whose are ours.
    pub(super) installation: Installation,
}

impl Tokens {
    /// The first token of ours under our name, else the first text there.
    pub(super) fn among<'m>(&self, maps: impl IntoIterator<Item = &'m Map<String, Value>>) -> Option<String> {
        let texts: Vec<&str> = maps
            .into_iter()
            .filter_map(|map| map.get(&self.variable).and_then(Value::as_str))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        let ours = texts.iter().find(|text| self.is_ours(text));
        ours.or(texts.first()).map(|text| text.chars().take(TOKEN_CHARS_MAX).collect())
    }

    /// A token of ours anywhere in a value, whatever its name: who lays out a runs table names its columns.
    pub(super) fn anywhere(&self, value: &Value) -> Option<String> {
        self.search(value, DEPTH_MAX)
    }

    fn search(&self, value: &Value, depth: u32) -> Option<String> {
        match value {
            Value::String(text) => self.is_ours(text.trim()).then(|| text.trim().to_owned()),
            Value::Array(items) if depth > 0 => items.iter().find_map(|item| self.search(item, depth - 1)),
            Value::Object(map) if depth > 0 => map.values().find_map(|item| self.search(item, depth - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn is_ours(&self, text: &str) -> bool {
        Uuid::try_parse(text).is_ok_and(|uuid| AttemptId::recognise(self.installation, uuid).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{AttemptKey, CampaignId, LeadId};
    use serde_json::json;

    const OURS: Installation = Installation::new(7);

    fn token(installation: Installation) -> String {
        let key = AttemptKey { campaign_id: CampaignId(1), lead_id: LeadId(2), attempt_no: 3 };
        AttemptId::derive(installation, key).to_string()
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn our_own_token_comes_before_any_other_text() {
        let tokens = Tokens { variable: "ref".to_owned(), installation: OURS };
        let (ours, theirs) = (token(OURS), token(Installation::new(8)));
        let maps = [map(json!({"ref": theirs})), map(json!({"ref": ours}))];
        assert_eq!(tokens.among(&maps), Some(ours.clone()));
        assert_eq!(tokens.among(&maps[..1]), Some(theirs.clone()));
        assert_eq!(tokens.among(&[map(json!({"ref": " "})), map(json!({"other": ours}))]), None);
    }

    #[test]
    fn only_our_own_token_is_found_under_any_name() {
        let tokens = Tokens { variable: "ref".to_owned(), installation: OURS };
        let ours = token(OURS);
        assert_eq!(tokens.anywhere(&json!({"a": [{"Attempt": ours}]})), Some(ours));
        assert_eq!(tokens.anywhere(&json!({"a": token(Installation::new(8)), "b": 7})), None);
    }
}
