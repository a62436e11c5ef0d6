//! What clients of this family ask for, taken apart; refused field by field as Laravel does.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use super::{error, invalid_fields};
use crate::adapter::simulator::call::Status;
use crate::adapter::simulator::dialect::Dialect;
use crate::adapter::simulator::message::Message;
use crate::adapter::simulator::request::{CallRequest, Malformed, Query, Refused, given, is_e164, number_of};
use crate::adapter::simulator::world::Filter;

/// Reads the body of `make_call`; or says what is wrong with it, field by field.
pub(in crate::adapter::simulator) fn request(dialect: &Dialect, body: &[u8]) -> Result<CallRequest, Malformed> {
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
    let (Some(phone), Some(assistant_id), Some(variables)) = (phone, assistant_id, variables) else {
        let (status, body) = invalid_fields(dialect, errors);
        return Err(Malformed { status, body, phone: None });
    };
    if !is_e164(&phone) {
        return Err(Malformed { status: 400, body: error(dialect, Message::NumberInvalid), phone: Some(phone) });
    }
    Ok(CallRequest { variables, ..CallRequest::to(&phone, &assistant_id.to_string()) })
}

fn invalid(dialect: &Dialect, field: &str, problem: String) -> Refused {
    invalid_fields(dialect, Map::from_iter([(field.to_owned(), json!([problem]))]))
}

/// `per_page` (1 to 100) and `page` (from 1).
pub(super) fn page_of(dialect: &Dialect, query: &Query, per_page_default: usize) -> Result<(usize, usize), Refused> {
    let number = |field: &str, default: usize, max: usize| {
        let problem = || invalid(dialect, field, format!("The {field} must be between 1 and {max}."));
        number_of(query, field, default, (1, max)).ok_or_else(problem)
    };
    Ok((number("per_page", per_page_default, 100)?, number("page", 1, 1_000_000_000)?))
}

/// The documented values of the `status` filter. No simulated call is ever just `ended`.
fn statuses_of(word: &str) -> Option<Vec<Status>> {
    Some(match word {
        "initiated" => vec![Status::Waiting, Status::Initiated],
        "ringing" => vec![Status::Ringing],
        "busy" => vec![Status::Busy],
        "in-progress" => vec![Status::InProgress],
        "ended" => vec![],
        "completed" => vec![Status::Completed],
        "ended_by_customer" | "ended_by_assistant" => vec![Status::Ended],
        "no-answer" => vec![Status::NoAnswer],
        "failed" => vec![Status::Failed],
        _ => return None,
    })
}

/// What `GET /user/calls` asks for, with `per_page` and `page`.
pub(super) fn filter_of(dialect: &Dialect, query: &Query) -> Result<(Filter, usize, usize), Refused> {
    let (per_page, page) = page_of(dialect, query, 15)?;
    let invalid = |field: &str| invalid(dialect, field, format!("The selected {field} is invalid."));
    let statuses = given(query, "status").map(|word| statuses_of(word).ok_or_else(|| invalid("status"))).transpose()?;
    let assistant_id =
        given(query, "assistant_id").map(|id| id.parse().map_err(|_| invalid("assistant_id"))).transpose()?;
    // Whole days; their zone is undocumented.
    let midnight = |field: &str, days: i64| -> Result<Option<Timestamp>, Refused> {
        let Some(text) = given(query, field) else { return Ok(None) };
        let date: Date = text.parse().map_err(|_| invalid(field))?;
        let date = date.checked_add(days.days()).map_err(|_| invalid(field))?;
        Ok(Some(date.to_zoned(dialect.zone.clone()).map_err(|_| invalid(field))?.timestamp()))
    };
    let filter = Filter {
        statuses,
        nothing: given(query, "campaign_id").is_some() || given(query, "type").is_some_and(|kind| kind != "outbound"),
        phone: given(query, "phone_number").cloned(),
        assistant_id,
        from: midnight("date_from", 0)?,
        until: midnight("date_to", 1)?,
        oldest_first: false,
        skip: per_page.saturating_mul(page - 1),
        limit: per_page,
    };
    Ok((filter, per_page, page))
}
