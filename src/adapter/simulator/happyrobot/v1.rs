//! HappyRobot's first API: `POST /dial/outbound`, calls, hooks.

use axum::http::Uri;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{bad_request, instant, instant_of, not_found, oldest_first_of, use_case_id};
use crate::adapter::simulator::App;
use crate::adapter::simulator::assistant::Assistant;
use crate::adapter::simulator::call::{CallRecord, Status};
use crate::adapter::simulator::dialect::{ASSISTANT_PHONE, Dialect, Speaker, extend, lines};
use crate::adapter::simulator::log::locked;
use crate::adapter::simulator::message::Message;
use crate::adapter::simulator::mix::Fate;
use crate::adapter::simulator::request::{
    CallRequest, Found, Malformed, Query, Refused, Route, given, is_e164, number_of, query_of,
};
use crate::adapter::simulator::webhook::Event;
use crate::adapter::simulator::world::Filter;

/// Below the origin.
pub(in crate::adapter::simulator) const BASE_PATH: &str = "/api/v1";

/// The longest page; more is cut to it. Only the default is documented, and it is the same.
const LIMIT_MAX: usize = 2_000;

pub(in crate::adapter::simulator) fn route<'a>(method: &str, path: &[&'a str]) -> Route<'a> {
    match (method, path) {
        ("POST", ["dial", "outbound"]) => Route::Place(None),
        ("GET", ["calls"] | ["calls", _] | ["calls", _, "transcript"]) => Route::Read,
        _ => Route::Unknown,
    }
}

/// The 24 characters of a call's id, as documented for its transcript.
pub(in crate::adapter::simulator) fn wire_id(call_id: u64) -> String {
    format!("65e0{call_id:020x}")
}

/// Reads the body of a dial. Every field is shown without a mark whether it is required; that a number and somebody to
/// call are, and what is answered without them, is undocumented.
pub(in crate::adapter::simulator) fn request(dialect: &Dialect, body: &[u8]) -> Result<CallRequest, Malformed> {
    let mut options: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let malformed = |message: &str, phone: Option<String>| {
        let (status, body) = bad_request(message);
        Malformed { status, body, phone }
    };
    let Some(Value::String(phone)) = options.shift_remove("phone_number") else {
        return Err(malformed("phone_number is required", None));
    };
    if !is_e164(&phone) {
        return Err(malformed(dialect.text(Message::NumberInvalid), Some(phone)));
    }
    let named = ["assistant_id", "agent_id", "use_case_id"].iter().find_map(|field| options.get(*field)?.as_str());
    let Some(assistant) = named.map(str::to_owned) else {
        return Err(malformed("assistant_id, agent_id or use_case_id is required", Some(phone)));
    };
    let mut variables = Map::new();
    for field in ["params", "metadata"] {
        match options.get(field) {
            Some(Value::Object(given)) => variables.extend(given.clone()),
            Some(_) if field == "metadata" => return Err(malformed("metadata is not an object", Some(phone))),
            Some(_) | None => {}
        }
    }
    let not_before = match options.get("scheduled_for") {
        None | Some(Value::Null) => None,
        Some(given) => match given.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
            Some(at) => Some(at),
            None => return Err(malformed("scheduled_for is not a date", Some(phone))),
        },
    };
    let talk_max = match options.get("max_duration_mins") {
        None | Some(Value::Null) => None,
        Some(given) => match given.as_f64().filter(|minutes| (0.0..=1e6).contains(minutes)) {
            Some(minutes) => Some(SignedDuration::from_secs((minutes * 60.0) as i64)),
            None => return Err(malformed("max_duration_mins is not a number of minutes", Some(phone))),
        },
    };
    Ok(CallRequest { variables, options, not_before, talk_max, ..CallRequest::to(&phone, &assistant) })
}

/// The answer to a dial. It has no status.
pub(in crate::adapter::simulator) fn placed(dialect: &Dialect, call: &CallRecord, assistant: &Assistant) -> Value {
    json!({
        "id": call.wire_id,
        "organization_id": super::ORGANIZATION,
        "metadata": metadata(dialect, call, call.accepted_at),
        "use_case": use_case(dialect, assistant),
        "params": params(call),
        "created": instant(call.accepted_at),
    })
}

pub(in crate::adapter::simulator) fn read(app: &App, dialect: &Dialect, uri: &Uri, path: &[&str]) -> Found {
    match path {
        ["calls"] => calls(app, dialect, &query_of(uri)),
        ["calls", id] => {
            let (call, assistant) = one(app, dialect, id)?;
            Ok(object(dialect, &call, &assistant, app.clock.now()))
        }
        ["calls", id, "transcript"] => {
            let (call, _) = one(app, dialect, id)?;
            Ok(transcript(&call, app.clock.now()))
        }
        _ => Err(not_found(dialect, Message::RouteUnknown)),
    }
}

fn one(app: &App, dialect: &Dialect, id: &str) -> Result<(CallRecord, Assistant), Refused> {
    let number = id.strip_prefix("65e0").filter(|digits| digits.len() == 20);
    let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let world = locked(&app.world);
    let call = number.and_then(|number| world.call(number)).map(|call| CallRecord::clone(call));
    let call = call.ok_or_else(|| not_found(dialect, Message::CallUnknown))?;
    let assistant = world.assistants[&call.assistant_id].clone();
    Ok((call, assistant))
}

/// `type`, `limit`, `skip`, `statuses`, `use_cases`, `from`, `to`, `sort` and `search`, which finds a number.
fn calls(app: &App, dialect: &Dialect, query: &Query) -> Found {
    let number = |field: &str, default: usize| {
        let problem = || bad_request(&format!("{field} is not a whole number"));
        number_of(query, field, default, (0, usize::MAX)).ok_or_else(problem)
    };
    let (limit, skip) = (number("limit", LIMIT_MAX)?.min(LIMIT_MAX), number("skip", 0)?);
    let statuses = match given(query, "statuses") {
        None => None,
        Some(words) => {
            let known = words.split(',').map(|word| status_of(word.trim())).collect::<Option<Vec<_>>>();
            Some(known.ok_or_else(|| bad_request("statuses has an unknown one"))?)
        }
    };
    let now = app.clock.now();
    let (calls, count, assistants) = {
        let world = locked(&app.world);
        // Of several use cases the simulator only knows one at a time.
        let use_case = given(query, "use_cases").map(|key| world.assistant(key).map(|assistant| assistant.id));
        let inbound = given(query, "type").is_some_and(|kind| !kind.eq_ignore_ascii_case("outbound"));
        let filter = Filter {
            statuses,
            nothing: inbound || use_case == Some(None) || given(query, "campaigns").is_some(),
            phone: given(query, "search").cloned(),
            assistant_id: use_case.flatten(),
            from: instant_of(query, "from")?,
            until: instant_of(query, "to")?,
            oldest_first: oldest_first_of(query)?,
            skip,
            limit,
        };
        let (calls, count) = world.list(&filter, now);
        (calls, count, world.assistants.clone())
    };
    let calls: Vec<Value> =
        calls.iter().map(|call| object(dialect, call, &assistants[&call.assistant_id], now)).collect();
    Ok(json!({"calls": calls, "count": count, "limit": limit, "offset": skip}))
}

/// The call object.
fn object(dialect: &Dialect, call: &CallRecord, assistant: &Assistant, now: Timestamp) -> Value {
    let completed = now >= call.completed_at;
    let extraction = if completed { dialect.extracted(call) } else { Map::new() };
    let tag = extraction.get(&dialect.goal_variable).map(|met| if *met == true { "interested" } else { "declined" });
    json!({
        "id": call.wire_id,
        "organization_id": super::ORGANIZATION,
        "type": "Outbound",
        "status": word(dialect, call, now),
        "provider": "Twilio",
        "metadata": metadata(dialect, call, now),
        "use_case": use_case(dialect, assistant),
        "prompt_id": "65e0aaaa0000000000000001",
        "agent": {"id": assistant.id.to_string(), "name": assistant.name},
        "language": call.options.get("language").cloned().unwrap_or_else(|| "en-US".into()),
        "params": params(call),
        "extraction": extraction,
        "classification": tag.map(|tag| json!({"tag": tag, "reasoning": "What the customer said"})),
        "created": instant(call.accepted_at),
        "duration": call.talked(now).as_secs(),
        "viewed_by": [],
        "parent_call_id": null,
        "notes": [],
        "samples": [],
        "ratings": [],
    })
}

/// A call's status word (list of calls, read 2026-11-21). A machine is hung up on, as the use case says.
fn word(dialect: &Dialect, call: &CallRecord, now: Timestamp) -> &'static str {
    if let Some(odd) = dialect.odd_status(call, now) {
        return odd;
    }
    match call.status(now) {
        Status::Waiting if call.options.contains_key("scheduled_for") => "Scheduled",
        Status::Waiting => "Queued",
        Status::Initiated => "Initiated",
        Status::Ringing => "Ringing",
        Status::InProgress => "In progress",
        Status::Ended | Status::Completed if call.fate == Fate::Voicemail => "AMD Terminated",
        Status::Ended | Status::Completed => "Completed",
        Status::NoAnswer => "No answer",
        Status::Busy => "Busy",
        Status::Failed => "Failed",
        Status::Canceled => "Canceled",
    }
}

/// What a status word filters by. Nothing is ever transferred; machines are found under `Completed`.
fn status_of(word: &str) -> Option<Status> {
    Some(match word {
        "Scheduled" | "Queued" => Status::Waiting,
        "Initiated" => Status::Initiated,
        "Ringing" => Status::Ringing,
        "In progress" => Status::InProgress,
        "Completed" => Status::Completed,
        "Busy" => Status::Busy,
        "No answer" => Status::NoAnswer,
        "Canceled" => Status::Canceled,
        "Failed" => Status::Failed,
        _ => return None,
    })
}

fn metadata(dialect: &Dialect, call: &CallRecord, now: Timestamp) -> Value {
    let custom = call.options.get("metadata").filter(|_| dialect.echo_variables).cloned();
    let recorded = call.answered_at.is_some() && now >= call.completed_at;
    json!({
        "call_sid": format!("CA{:032x}", call.call_id),
        "from": ASSISTANT_PHONE,
        "to": call.phone,
        "recording_sid": recorded.then(|| format!("RE{:032x}", call.call_id)),
        "tags": [],
        "custom": custom.unwrap_or_else(|| json!({})),
    })
}

fn params(call: &CallRecord) -> Value {
    call.options.get("params").cloned().unwrap_or_else(|| json!({}))
}

fn use_case(dialect: &Dialect, assistant: &Assistant) -> Value {
    let headers: Vec<Value> =
        assistant.webhook_headers.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let hooks: Vec<Value> =
        assistant.webhook_url.iter().map(|url| json!({"url": url, "headers": headers.clone()})).collect();
    let extract =
        |name: &str| json!({"name": name, "description": "", "type": "boolean", "example": "true", "required": true});
    let mut use_case = json!({
        "id": use_case_id(assistant.id),
        "organization_id": super::ORGANIZATION,
        "name": assistant.name,
        "transfer_number": null,
        "extract_with_ai": [extract(&dialect.goal_variable), extract(&dialect.opt_out_variable)],
        "classification_tags": [{"name": "interested", "description": ""}, {"name": "declined", "description": ""}],
        "language": "en-US",
        "detailed_work_hours": {},
        "work_start": "09:00",
        "work_end": "17:00",
        "timezone": assistant.timezone,
        "generic_after_hours_message": "Please call again tomorrow.",
        "enable_detailed_work_hours": false,
        "keywords": [],
        "hooks": hooks,
        "params": {},
    });
    extend(
        &mut use_case,
        json!({
            "amd": true,
            "amd_behavior": "Hangup",
            "amd_messages": {},
            "sample_labels": [{"name": "good", "color": "slate"}],
            "hidden": false,
            "evaluation_models": [],
            "max_duration_mins": 10,
            "recorded_message_inbound": false,
            "recorded_message_outbound": true,
            "show_original_caller_id": false,
            "disable_end_call_after_n_reminders": false,
            "model": "Fast",
        }),
    );
    use_case
}

fn transcript(call: &CallRecord, now: Timestamp) -> Value {
    let spoken = if now >= call.ended_at { lines(call) } else { Vec::new() };
    let start = call.answered_at.unwrap_or(call.accepted_at).as_second();
    let message = |(number, (speaker, text)): (i64, (Speaker, &str))| {
        let role = match speaker {
            Speaker::Assistant => "assistant",
            Speaker::Customer => "user",
        };
        let id = format!("{}-{number}", call.wire_id);
        json!({"id": id, "role": role, "content": text, "start": start + number, "end": start + number + 1})
    };
    let messages: Vec<Value> = (0..).zip(spoken).map(message).collect();
    json!({
        "id": format!("{}-transcript", call.wire_id),
        "organization_id": super::ORGANIZATION,
        "call_id": call.wire_id,
        "start_time": start,
        "messages": messages,
    })
}

/// The hooks of a use case: one when the call starts, one when it is over and its result complete. What exactly counts
/// as the start is undocumented.
pub(in crate::adapter::simulator) fn events(call: &CallRecord) -> Vec<Event> {
    let starts_at = call.ringing_at.unwrap_or(call.starts_at);
    vec![
        Event { name: "start", at: starts_at, is_last: false },
        Event { name: "end", at: call.completed_at, is_last: true },
    ]
}

/// A hook. It shows the call as it was at its moment, however late it is sent.
pub(in crate::adapter::simulator) fn webhook(
    dialect: &Dialect,
    call: &CallRecord,
    event: &Event,
    assistant: &Assistant,
) -> Value {
    json!({"type": event.name, "call": object(dialect, call, assistant, event.at)})
}
