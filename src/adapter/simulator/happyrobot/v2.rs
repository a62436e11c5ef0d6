//! HappyRobot's second API: runs of a workflow, their sessions, and CloudEvents about them.
//!
//! A run takes any payload: only the workflow knows which field holds a number. What is no number, or one that is
//! refused, therefore starts a run all the same, whose session fails.

use std::sync::Arc;

use axum::http::Uri;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{bad_request, error, instant, instant_of, not_found, oldest_first_of, use_case_id, uuid};
use crate::adapter::simulator::App;
use crate::adapter::simulator::assistant::Assistant;
use crate::adapter::simulator::call::{CallRecord, Status};
use crate::adapter::simulator::dialect::{Dialect, Speaker, lines, recording_url};
use crate::adapter::simulator::log::locked;
use crate::adapter::simulator::message::Message;
use crate::adapter::simulator::mix::Fate;
use crate::adapter::simulator::request::{
    CallRequest, Found, Malformed, Query, Refused, Route, given, is_e164, number_of, query_of,
};
use crate::adapter::simulator::webhook::Event;
use crate::adapter::simulator::world::Filter;

/// Below the origin.
pub(in crate::adapter::simulator) const BASE_PATH: &str = "/api/v2";

/// Kinds of UUIDs.
const RUN: u16 = 1;
const SESSION: u16 = 2;
const VERSION: u16 = 3;
/// The first of several: one kind for each event of a session.
const EVENT: u16 = 0x10;

pub(in crate::adapter::simulator) fn route<'a>(method: &str, path: &[&'a str]) -> Route<'a> {
    match (method, path) {
        ("POST", ["workflows", workflow, "runs"]) => Route::Place(Some(workflow)),
        ("POST", ["runs", run, "cancel"]) => Route::Cancel(run),
        ("GET", ["workflows", _, "runs"] | ["runs", _] | ["runs", _, "sessions" | "recordings"])
        | ("GET", ["sessions", _] | ["sessions", _, "messages"]) => Route::Read,
        _ => Route::Unknown,
    }
}

/// A run's id.
pub(in crate::adapter::simulator) fn wire_id(call_id: u64) -> String {
    uuid(RUN, call_id)
}

/// Reads the body of a run: `payload` and `environment`. A payload that is no object is taken as an empty one.
pub(in crate::adapter::simulator) fn request(
    dialect: &Dialect,
    workflow: &str,
    body: &[u8],
) -> Result<CallRequest, Malformed> {
    let Ok(mut options) = serde_json::from_slice::<Map<String, Value>>(body) else {
        let (status, body) = bad_request("the body is not a JSON object");
        return Err(Malformed { status, body, phone: None });
    };
    let mut variables = match options.shift_remove("payload") {
        Some(Value::Object(payload)) => payload,
        _ => Map::new(),
    };
    let phone = variables.shift_remove(&dialect.quirks.phone_field);
    let phone = phone.and_then(|phone| phone.as_str().map(str::to_owned)).unwrap_or_default();
    Ok(CallRequest { variables, options, ..CallRequest::to(&phone, workflow) })
}

/// The answer to a run that was accepted. None of its fields is required by the document.
pub(in crate::adapter::simulator) fn placed(dialect: &Dialect, call: &CallRecord) -> Value {
    json!({
        "run_id": call.wire_id,
        "queued_run_ids": [call.wire_id],
        "status": "queued",
        "message": dialect.text(Message::CallStarted),
    })
}

/// Cancels a run that has not rung. What is answered after that is undocumented.
pub(in crate::adapter::simulator) fn cancel(app: &App, dialect: &Dialect, run: &str) -> Result<(Value, u64), Refused> {
    let call = one(app, dialect, RUN, run)?;
    match app.cancel(call.call_id) {
        true => Ok((json!({"status": "canceled"}), call.call_id)),
        false => Err((400, error(dialect, 400, Message::CannotCancel))),
    }
}

pub(in crate::adapter::simulator) fn read(app: &App, dialect: &Dialect, uri: &Uri, path: &[&str]) -> Found {
    let (query, now) = (query_of(uri), app.clock.now());
    match path {
        ["workflows", workflow, "runs"] => runs(app, dialect, &query, workflow),
        ["runs", run] => Ok(run_object(&*one(app, dialect, RUN, run)?, now)),
        ["runs", run, "sessions"] => {
            let call = one(app, dialect, RUN, run)?;
            let sessions = session(dialect, &call, now).into_iter().collect();
            paginated(sessions, page_of(&query, 50, 100)?)
        }
        ["runs", run, "recordings"] => {
            let call = one(app, dialect, RUN, run)?;
            let recorded = call.answered_at.is_some() && now >= call.completed_at;
            let recording = || json!({"session_id": uuid(SESSION, call.call_id), "url": recording_url(&call)});
            Ok(json!({"recordings": recorded.then(recording).into_iter().collect::<Vec<_>>()}))
        }
        ["sessions", id] => {
            let call = one(app, dialect, SESSION, id)?;
            session(dialect, &call, now).ok_or_else(|| not_found(dialect, Message::CallUnknown))
        }
        ["sessions", id, "messages"] => {
            let call = one(app, dialect, SESSION, id)?;
            paginated(messages(&call, now), page_of(&query, 50, 100)?)
        }
        _ => Err(not_found(dialect, Message::RouteUnknown)),
    }
}

/// The call behind an id of this kind.
fn one(app: &App, dialect: &Dialect, kind: u16, id: &str) -> Result<Arc<CallRecord>, Refused> {
    let number = super::number_of(kind, id);
    let call = number.and_then(|number| locked(&app.world).call(number).cloned());
    call.ok_or_else(|| not_found(dialect, Message::CallUnknown))
}

/// `page`, `page_size`, `sort`, `status`, `start_date`, `end_date`.
fn runs(app: &App, dialect: &Dialect, query: &Query, workflow: &str) -> Found {
    let (page, size) = page_of(query, 100, 2_000)?;
    let statuses = match given(query, "status") {
        None => None,
        Some(word) => Some(statuses_of(word).ok_or_else(|| bad_request("status is unknown"))?),
    };
    let now = app.clock.now();
    let (calls, total) = {
        let world = locked(&app.world);
        let assistant = world.assistant(workflow).ok_or_else(|| not_found(dialect, Message::AssistantUnknown))?;
        let filter = Filter {
            statuses,
            nothing: false,
            phone: None,
            assistant_id: Some(assistant.id),
            from: instant_of(query, "start_date")?,
            until: instant_of(query, "end_date")?,
            oldest_first: oldest_first_of(query)?,
            skip: size.saturating_mul(page - 1),
            limit: size,
        };
        world.list(&filter, now)
    };
    let data: Vec<Value> = calls.iter().map(|call| run_entry(dialect, call, now)).collect();
    let pages = total.div_ceil(size);
    // Spelled otherwise than every other list of this API.
    Ok(json!({
        "data": data,
        "pagination": {
            "page": page, "pageSize": size, "totalPages": pages, "totalRecords": total,
            "hasNextPage": page < pages, "hasPreviousPage": page > 1,
        },
    }))
}

/// A run by itself. It does not say whom it calls.
fn run_object(call: &CallRecord, now: Timestamp) -> Value {
    json!({
        "id": call.wire_id,
        "org_id": super::ORGANIZATION,
        "workflow_id": use_case_id(call.assistant_id),
        "version_id": uuid(VERSION, call.assistant_id),
        "status": run_word(call, now),
        "annotation": null,
        "timestamp": instant(call.accepted_at),
        "completed_at": completed_at(call, now),
        "execution_environment": call.options.get("environment").cloned().unwrap_or_else(|| "production".into()),
    })
}

/// A run in the list. Its `data` has the columns people gave the table: here the payload, unless variables are not
/// echoed, and what was extracted.
fn run_entry(dialect: &Dialect, call: &CallRecord, now: Timestamp) -> Value {
    let mut columns = Map::new();
    if dialect.echo_variables {
        columns.insert(dialect.quirks.phone_field.clone(), call.phone.clone().into());
        columns.extend(call.variables.clone());
    }
    if now >= call.completed_at {
        columns.extend(dialect.extracted(call));
    }
    json!({
        "id": call.wire_id,
        "status": run_word(call, now),
        "org_id": super::ORGANIZATION,
        "timestamp": instant(call.accepted_at),
        "use_case_id": use_case_id(call.assistant_id),
        "version_id": uuid(VERSION, call.assistant_id),
        "annotation": null,
        "completed_at": completed_at(call, now),
        "input_tokens": null,
        "output_tokens": null,
        "data": columns,
    })
}

fn completed_at(call: &CallRecord, now: Timestamp) -> Option<String> {
    (now >= call.completed_at).then(|| instant(call.completed_at))
}

/// A run's status. A run whose call reached nobody is completed, too: it did what the workflow says.
fn run_word(call: &CallRecord, now: Timestamp) -> &'static str {
    match call.status(now) {
        Status::Waiting => "scheduled",
        Status::Initiated | Status::Ringing | Status::InProgress | Status::Ended => "running",
        Status::Failed if call.phone.is_empty() => "failed",
        Status::Completed | Status::NoAnswer | Status::Busy | Status::Failed => "completed",
        Status::Canceled => "canceled",
    }
}

fn statuses_of(word: &str) -> Option<Vec<Status>> {
    Some(match word {
        "scheduled" => vec![Status::Waiting],
        "running" => vec![Status::Initiated, Status::Ringing, Status::InProgress, Status::Ended],
        "completed" => vec![Status::Completed, Status::NoAnswer, Status::Busy, Status::Failed],
        "canceled" => vec![Status::Canceled],
        // Only a run without a number fails, and it is found under `completed`.
        "failed" => vec![],
        _ => return None,
    })
}

/// The call of a run. There is none before the run comes to it, nor ever without a number.
fn session(dialect: &Dialect, call: &CallRecord, now: Timestamp) -> Option<Value> {
    if !has_session(call) || now < call.starts_at {
        return None;
    }
    let word = dialect.odd_status(call, now).unwrap_or_else(|| session_word(call, now));
    let over = now >= call.ended_at;
    let (sip_code, sip_reason) = match call.status(now) {
        Status::Busy => (Some("486"), Some("Busy Here")),
        Status::NoAnswer => (Some("480"), Some("Temporarily Unavailable")),
        Status::Failed if is_e164(&call.phone) => (Some("503"), Some("Service Unavailable")),
        Status::Failed => (Some("404"), Some("Not Found")),
        Status::Ended | Status::Completed => (Some("200"), Some("OK")),
        Status::Waiting | Status::Initiated | Status::Ringing | Status::InProgress | Status::Canceled => (None, None),
    };
    Some(json!({
        "id": uuid(SESSION, call.call_id),
        "org_id": super::ORGANIZATION,
        "use_case_id": use_case_id(call.assistant_id),
        "version_id": uuid(VERSION, call.assistant_id),
        "run_id": call.wire_id,
        "user_number": call.phone,
        "status": word,
        "type": "outbound",
        "duration": over.then(|| call.talked(now).as_secs()),
        "timestamp": instant(call.starts_at),
        "call_connected_at": call.answered_at.filter(|at| *at <= now).map(instant),
        "sip_code": sip_code,
        "sip_reason": sip_reason,
        "failure_reason": (call.status(now) == Status::Failed).then_some("call_failed"),
        "llm_model": "fast",
        "stt_model": null,
        "tts_model": null,
        "voice_id": null,
        "languages": ["en-US"],
    }))
}

/// A run that was canceled before it came to its call has none.
fn has_session(call: &CallRecord) -> bool {
    !call.phone.is_empty() && call.canceled_at.is_none_or(|at| call.starts_at < at)
}

/// A session's status: queued, in-progress, completed, busy, missed, canceled, failed, voicemail. There is no word for
/// ringing.
fn session_word(call: &CallRecord, now: Timestamp) -> &'static str {
    match call.status(now) {
        Status::Waiting | Status::Initiated => "queued",
        Status::Ringing | Status::InProgress => "in-progress",
        Status::Ended | Status::Completed if call.fate == Fate::Voicemail => "voicemail",
        Status::Ended | Status::Completed => "completed",
        Status::NoAnswer => "missed",
        Status::Busy => "busy",
        Status::Failed => "failed",
        Status::Canceled => "canceled",
    }
}

fn messages(call: &CallRecord, now: Timestamp) -> Vec<Value> {
    let spoken = if now >= call.ended_at { lines(call) } else { Vec::new() };
    let at = instant(call.answered_at.unwrap_or(call.accepted_at));
    let message = |(number, (speaker, text)): (u16, (Speaker, &str))| {
        let role = match speaker {
            Speaker::Assistant => "assistant",
            Speaker::Customer => "user",
        };
        json!({
            "id": uuid(0x100 + number, call.call_id), "session_id": uuid(SESSION, call.call_id), "role": role,
            "status": null, "content": text, "timestamp": at, "is_filler": false, "is_interrupted": false,
            "tool_calls": null, "artifacts": null, "turn_index": number,
        })
    };
    (0..).zip(spoken).map(message).collect()
}

/// `page` (from 1) and `page_size`.
fn page_of(query: &Query, size_default: usize, size_max: usize) -> Result<(usize, usize), Refused> {
    let number = |field: &str, default: usize, max: usize| {
        let problem = || bad_request(&format!("{field} is not a number from 1 to {max}"));
        number_of(query, field, default, (1, max)).ok_or_else(problem)
    };
    Ok((number("page", 1, 1_000_000_000)?, number("page_size", size_default, size_max)?))
}

fn paginated(all: Vec<Value>, (page, size): (usize, usize)) -> Found {
    let (total, pages) = (all.len(), all.len().div_ceil(size));
    let data: Vec<Value> = all.into_iter().skip(size.saturating_mul(page - 1)).take(size).collect();
    Ok(json!({
        "data": data,
        "pagination": {
            "page": page, "page_size": size, "total_pages": pages, "total_records": total,
            "has_next_page": page < pages, "has_previous_page": page > 1,
        },
    }))
}

/// Every change of a session's status.
pub(in crate::adapter::simulator) fn events(call: &CallRecord) -> Vec<Event> {
    if !has_session(call) {
        return Vec::new();
    }
    let rings = call.ringing_at.map(|at| Event { name: "in-progress", at, is_last: false });
    let ends = Event { name: session_word(call, call.ended_at), at: call.ended_at, is_last: true };
    rings.into_iter().chain([ends]).collect()
}

/// A CloudEvent. One event has one id, however often it is sent.
pub(in crate::adapter::simulator) fn webhook(
    dialect: &Dialect,
    call: &CallRecord,
    event: &Event,
    assistant: &Assistant,
) -> Value {
    let (previous, kind) = match (event.is_last, call.ringing_at) {
        (false, _) => ("queued", EVENT),
        (true, None) => ("queued", EVENT + 1),
        (true, Some(_)) => ("in-progress", EVENT + 1),
    };
    let current = dialect.odd_status(call, event.at).filter(|_| !event.is_last).unwrap_or(event.name);
    json!({
        "specversion": "1.0",
        "id": uuid(kind, call.call_id),
        "source": "https://platform.happyrobot.ai",
        "type": "session.status_changed",
        "time": instant(event.at),
        "datacontenttype": "application/json",
        "data": {
            "schema_version": "2025-07-08",
            "org_id": super::ORGANIZATION,
            "run_id": call.wire_id,
            "session_id": uuid(SESSION, call.call_id),
            "use_case_id": use_case_id(call.assistant_id),
            "version_id": uuid(VERSION, call.assistant_id),
            "status": {"previous": previous, "current": current, "updated_at": instant(event.at)},
            "org": {"name": "Simulated Account"},
            "use_case": {"name": assistant.name, "version": "1"},
        },
    })
}
