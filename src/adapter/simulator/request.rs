//! What clients ask for, taken apart; refused field by field as Laravel does.

use std::collections::BTreeMap;

use axum::http::Uri;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use super::wire;
use super::world::Filter;

/// The parameters of a request.
pub(super) type Query = BTreeMap<String, String>;

/// Status and body of an answer that refuses.
pub(super) type Refused = (u16, Value);

/// A request to place a call.
#[derive(Debug)]
pub(super) struct CallRequest {
    pub phone: String,
    pub assistant_id: u64,
    pub variables: Map<String, Value>,
}

impl CallRequest {
    /// Reads a body; or says what is wrong with it, field by field.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Map<String, Value>> {
        // What is no JSON object counts as having no fields at all.
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let mut errors = Map::new();
        let mut wrong = |field: &str, problem: &str| {
            errors.insert(field.to_owned(), json!([format!("The {} field {problem}.", field.replace('_', " "))]));
        };
        let phone = match fields.get("phone_number") {
            Some(Value::String(phone)) if !phone.is_empty() => Some(phone.clone()),
            None | Some(Value::Null | Value::String(_)) => {
                wrong("phone_number", "is required");
                None
            }
            Some(_) => {
                wrong("phone_number", "must be a string");
                None
            }
        };
        let assistant_id = match fields.get("assistant_id") {
            None | Some(Value::Null) => {
                wrong("assistant_id", "is required");
                None
            }
            Some(given) => {
                let number = given.as_u64().or_else(|| given.as_str().and_then(|digits| digits.parse().ok()));
                if number.is_none() {
                    wrong("assistant_id", "must be an integer");
                }
                number
            }
        };
        let variables = match fields.get("variables") {
            None | Some(Value::Null) => Some(Map::new()),
            Some(Value::Object(variables)) => Some(variables.clone()),
            // PHP cannot tell an empty array from an empty object.
            Some(Value::Array(empty)) if empty.is_empty() => Some(Map::new()),
            Some(_) => {
                wrong("variables", "must be an object");
                None
            }
        };
        match (phone, assistant_id, variables) {
            (Some(phone), Some(assistant_id), Some(variables)) => Ok(Self { phone, assistant_id, variables }),
            _ => Err(errors),
        }
    }
}

/// The parameters behind the question mark; of a parameter given twice the last counts.
pub(super) fn query_of(uri: &Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default()
}

fn invalid(field: &str, problem: String) -> Refused {
    (422, wire::invalid_fields(Map::from_iter([(field.to_owned(), json!([problem]))])))
}

/// `+`, then 7 to 15 digits, the first of them not 0.
pub(super) fn is_e164(phone: &str) -> bool {
    let digits = phone.strip_prefix('+').unwrap_or_default().as_bytes();
    (7..=15).contains(&digits.len()) && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit)
}

/// `per_page` (1 to 100) and `page` (from 1).
pub(super) fn page_of(query: &Query, per_page_default: usize) -> Result<(usize, usize), Refused> {
    let number = |field: &str, default: usize, max: usize| match query.get(field).map(|text| text.parse()) {
        None => Ok(default),
        Some(Ok(number)) if (1..=max).contains(&number) => Ok(number),
        Some(_) => Err(invalid(field, format!("The {field} must be between 1 and {max}."))),
    };
    Ok((number("per_page", per_page_default, 100)?, number("page", 1, 1_000_000_000)?))
}

/// The documented values of the `status` filter.
const STATUSES: [&str; 10] = [
    "initiated",
    "ringing",
    "busy",
    "in-progress",
    "ended",
    "completed",
    "ended_by_customer",
    "ended_by_assistant",
    "no-answer",
    "failed",
];

pub(super) fn filter_of(query: &Query) -> Result<Filter, Refused> {
    let (per_page, page) = page_of(query, 15)?;
    let given = |field: &str| query.get(field).filter(|text| !text.is_empty());
    let invalid = |field: &str| invalid(field, format!("The selected {field} is invalid."));
    if given("status").is_some_and(|status| !STATUSES.contains(&status.as_str())) {
        return Err(invalid("status"));
    }
    let assistant_id = given("assistant_id").map(|id| id.parse().map_err(|_| invalid("assistant_id"))).transpose()?;
    // Whole days; their zone is undocumented, here it is UTC.
    let midnight = |field: &str, days: i64| -> Result<Option<Timestamp>, Refused> {
        let Some(text) = given(field) else { return Ok(None) };
        let date: Date = text.parse().map_err(|_| invalid(field))?;
        let date = date.checked_add(days.days()).map_err(|_| invalid(field))?;
        Ok(Some(date.to_zoned(TimeZone::UTC).map_err(|_| invalid(field))?.timestamp()))
    };
    Ok(Filter {
        status: given("status").cloned(),
        nothing: given("campaign_id").is_some() || given("type").is_some_and(|kind| kind != "outbound"),
        phone: given("phone_number").cloned(),
        assistant_id,
        from: midnight("date_from", 0)?,
        until: midnight("date_to", 1)?,
        per_page,
        page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_is_dialed() {
        for phone in ["+12025550100", "+4930123456", "+1234567"] {
            assert!(is_e164(phone), "{phone}");
        }
        for phone in
            ["12025550100", "+02025550100", "+123456", "+1234567890123456", "+1202555O100", "+", "", "++1202555"]
        {
            assert!(!is_e164(phone), "{phone}");
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let errors = |body: &str| CallRequest::parse(body.as_bytes()).unwrap_err().keys().cloned().collect::<Vec<_>>();
        assert_eq!(errors("not json"), ["phone_number", "assistant_id"]);
        assert_eq!(
            errors(r#"{"phone_number": 12, "assistant_id": "x", "variables": 1}"#),
            ["phone_number", "assistant_id", "variables"]
        );
        let request = CallRequest::parse(br#"{"phone_number": "+1", "assistant_id": "123", "variables": []}"#).unwrap();
        assert_eq!((request.phone.as_str(), request.assistant_id, request.variables.len()), ("+1", 123, 0));
    }
}
