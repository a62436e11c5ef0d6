//! The two APIs of HappyRobot, and what they share.
//!
//! Sources: the seed page of `POST /dial/outbound`, docs.happyrobot.ai as archived, and the public OpenAPI document of
//! the platform as collected by api-evangelist, all read 2026-11-21. Where they are silent the simulator has to choose;
//! those places say "undocumented". Clients must not rely on them.

pub(super) mod v1;
pub(super) mod v2;

use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::assistant::Assistant;
use super::dialect::{Dialect, utc};
use super::message::Message;
use super::request::{Query, Refused, given};
use super::world::Refusal;

/// The organization a key belongs to.
const ORGANIZATION: &str = "d96943ed-0000-4000-8000-000000000001";

/// The error envelope of the platform: only `error` is certain, its words are not listed anywhere. That the first API
/// uses the same is undocumented.
pub(super) fn error(dialect: &Dialect, status: u16, message: Message) -> Value {
    failure(status, dialect.text(message))
}

fn failure(status: u16, message: &str) -> Value {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    json!({"error": reason, "message": message, "statusCode": status, "details": null})
}

/// Status and body for a well-formed request that places nothing. Only the 404 is documented.
pub(super) fn refused(dialect: &Dialect, refusal: Refusal) -> Refused {
    let (status, message) = match refusal {
        Refusal::NoSuchAssistant => (404, Message::AssistantUnknown),
        Refusal::AssistantInactive => (dialect.quirks.inactive_status, Message::AssistantInactive),
        Refusal::NumberRefused => (400, Message::NumberInvalid),
        Refusal::NoBalance => (402, Message::BalanceEmpty),
        Refusal::CapReached => (dialect.quirks.cap_status, Message::CapReached),
    };
    (status, error(dialect, status, message))
}

fn not_found(dialect: &Dialect, message: Message) -> Refused {
    (404, error(dialect, 404, message))
}

fn bad_request(message: &str) -> Refused {
    (400, failure(400, message))
}

/// An instant as both APIs write it.
fn instant(at: Timestamp) -> String {
    utc(at, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// A parameter that is an instant, or a day in UTC.
fn instant_of(query: &Query, field: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(text) = given(query, field) else { return Ok(None) };
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let at = text.parse().ok().or_else(|| day().map(|day| day.timestamp()));
    at.map(Some).ok_or_else(|| bad_request(&format!("{field} is not a date")))
}

/// Whether the oldest come first.
fn oldest_first_of(query: &Query) -> Result<bool, Refused> {
    match given(query, "sort").map(String::as_str) {
        None | Some("desc") => Ok(false),
        Some("asc") => Ok(true),
        Some(_) => Err(bad_request("sort is asc or desc")),
    }
}

/// The name of a use case as it stands in addresses.
pub(super) fn slug(assistant: &Assistant) -> String {
    let kept = assistant.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let kept: String = kept.collect();
    kept.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// The UUID of a use case, which the platform calls a workflow, too.
pub(super) fn use_case_id(assistant_id: u64) -> String {
    uuid(0, assistant_id)
}

/// A UUID of one kind of thing.
fn uuid(kind: u16, number: u64) -> String {
    format!("0195d9a8-{kind:04x}-7000-8000-{:012x}", number & 0xffff_ffff_ffff)
}

/// The number in a UUID of this kind.
fn number_of(kind: u16, uuid: &str) -> Option<u64> {
    let digits = uuid.strip_prefix(&format!("0195d9a8-{kind:04x}-7000-8000-"))?;
    (digits.len() == 12).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_uuids_of_their_kind() {
        assert_eq!(number_of(3, &uuid(3, 480_001)), Some(480_001));
        assert_eq!((number_of(2, &uuid(3, 480_001)), number_of(3, "480001")), (None, None));
    }

    #[test]
    fn slugs_are_made_of_names() {
        assert_eq!(slug(&Assistant::new(1, "Sales  Spring (EU)")), "sales-spring-eu");
    }
}
