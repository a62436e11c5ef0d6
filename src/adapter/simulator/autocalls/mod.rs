//! The API of the Autocalls family: one Laravel application under many brands.
//!
//! Sources: the seed pages, Famulor's documentation and the WhatTalk and Autocalls copies, read 2026-11-21. Where the
//! documents are silent the simulator has to choose; those places say "undocumented". Clients must not rely on them.

mod assistant;
mod call;
mod request;

use axum::http::Uri;
use serde_json::{Map, Value, json};

pub(super) use self::call::{events, webhook};
pub(super) use self::request::request;
use super::App;
use super::assistant::Assistant;
use super::call::{CallRecord, Status};
use super::dialect::Dialect;
use super::log::locked;
use super::message::Message;
use super::request::{Found, Query, Refused, Route, query_of};
use super::shape::Brand;
use super::world::Refusal;

/// Below the origin.
pub(super) const BASE_PATH: &str = "/api";

pub(super) fn route<'a>(method: &str, path: &[&'a str]) -> Route<'a> {
    match (method, path) {
        ("POST", ["user", "make_call"]) => Route::Place(None),
        ("GET", ["user", "me"])
        | ("GET", ["user", "assistants", "outbound" | "get"])
        | ("GET", ["user", "calls"] | ["user", "calls", _]) => Route::Read,
        _ => Route::Unknown,
    }
}

/// The answer to a placed call.
pub(super) fn placed(brand: Brand, dialect: &Dialect, call: &CallRecord) -> Value {
    let message = dialect.text(Message::CallStarted);
    match brand {
        Brand::Famulor => json!({"message": message, "call_id": call.call_id, "status": "initiated"}),
        Brand::Sondos | Brand::WhiteLabel => json!({"message": message, "data": {}}),
    }
}

/// Status and body for a well-formed request that places nothing.
pub(super) fn refused(dialect: &Dialect, refusal: Refusal) -> Refused {
    let (status, message) = match refusal {
        Refusal::NoSuchAssistant => (404, Message::AssistantUnknown),
        // Undocumented.
        Refusal::AssistantInactive => (dialect.quirks.inactive_status, Message::AssistantInactive),
        // What a refused but well-formed number is answered with is undocumented; the format error is the nearest.
        Refusal::NumberRefused => (400, Message::NumberInvalid),
        Refusal::NoBalance => (422, Message::BalanceEmpty),
        // Undocumented.
        Refusal::CapReached => (dialect.quirks.cap_status, Message::CapReached),
    };
    (status, error(dialect, message))
}

/// A body that only says what is wrong.
pub(super) fn error(dialect: &Dialect, message: Message) -> Value {
    json!({"message": dialect.text(message)})
}

/// The body of a 401.
pub(super) fn unauthorized(dialect: &Dialect, key_missing: bool) -> Value {
    if key_missing {
        json!({"error": "Missing Authorization header", "message": dialect.text(Message::KeyMissing)})
    } else {
        json!({"error": "Invalid API key", "message": dialect.text(Message::KeyInvalid)})
    }
}

/// A 429 has two documented bodies.
pub(super) fn rate_limited(dialect: &Dialect, second_body: bool, retry_after: u32) -> Value {
    if second_body {
        json!({"message": "Too Many Attempts.", "retry_after": retry_after})
    } else {
        let message = dialect.text(Message::TooManyRequests);
        json!({"error": "Rate limit exceeded", "message": message, "retry_after": retry_after})
    }
}

/// Status and body of a 422 about the fields of a request.
fn invalid_fields(dialect: &Dialect, errors: Map<String, Value>) -> Refused {
    (422, json!({"message": dialect.text(Message::FieldsInvalid), "errors": errors}))
}

/// Whether the result of a call is reported to its assistant's webhook.
pub(super) fn reports(assistant: &Assistant, call: &CallRecord) -> bool {
    call.status(call.completed_at) == Status::Completed || !assistant.send_webhook_only_on_completed
}

pub(super) fn read(app: &App, brand: Brand, dialect: &Dialect, uri: &Uri, path: &[&str]) -> Found {
    let query = query_of(uri);
    match path {
        ["user", "me"] => {
            let balance = locked(&app.world).balance_micros.max(0) as f64 / 1e6;
            Ok(json!({"name": "Simulated Account", "email": "owner@example.org", "total_balance": balance}))
        }
        ["user", "assistants", "outbound"] if dialect.quirks.outbound_list => {
            Ok(assistant::outbound(locked(&app.world).assistants.values()))
        }
        ["user", "assistants", "get"] => {
            let (per_page, page) = request::page_of(dialect, &query, 10)?;
            Ok(assistant::page(&locked(&app.world).assistants.values().collect::<Vec<_>>(), per_page, page))
        }
        ["user", "calls"] => calls(app, brand, dialect, &query),
        ["user", "calls", call_id] => one_call(app, brand, dialect, call_id),
        _ => Err((404, error(dialect, Message::RouteUnknown))),
    }
}

fn one_call(app: &App, brand: Brand, dialect: &Dialect, call_id: &str) -> Found {
    let world = locked(&app.world);
    let call = call_id.parse().ok().and_then(|call_id| world.call(call_id)).cloned();
    let call = call.ok_or_else(|| (404, error(dialect, Message::CallUnknown)))?;
    let assistant = world.assistants.get(&call.assistant_id).cloned();
    drop(world);
    Ok(call::object(brand, dialect, &call, assistant.as_ref(), app.clock.now()))
}

fn calls(app: &App, brand: Brand, dialect: &Dialect, query: &Query) -> Found {
    let (filter, per_page, page) = request::filter_of(dialect, query)?;
    let now = app.clock.now();
    let (calls, total, assistants) = {
        let world = locked(&app.world);
        let (calls, total) = world.list(&filter, now);
        (calls, total, world.assistants.clone())
    };
    let object = |call: &CallRecord| call::object(brand, dialect, call, assistants.get(&call.assistant_id), now);
    let data = calls.iter().map(|call| object(call)).collect();
    Ok(call::page(&format!("{}/user/calls", app.base_url), data, per_page, page, total))
}
