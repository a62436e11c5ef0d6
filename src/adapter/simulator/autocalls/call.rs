//! Calls: the object that is read, the pages of the list, and the post-call webhook.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::adapter::simulator::assistant::Assistant;
use crate::adapter::simulator::call::{CallRecord, Status};
use crate::adapter::simulator::dialect::{ASSISTANT_PHONE, Dialect, Speaker, extend, lines, recording_url, utc, zoned};
use crate::adapter::simulator::shape::Brand;
use crate::adapter::simulator::webhook::Event;

/// A call's status word (`GET /user/calls`, `status` filter, read 2026-11-21). Nothing here can be canceled.
fn word(dialect: &Dialect, call: &CallRecord, now: Timestamp) -> &'static str {
    if let Some(odd) = dialect.odd_status(call, now) {
        return odd;
    }
    match call.status(now) {
        Status::Waiting | Status::Initiated => "initiated",
        Status::Ringing => "ringing",
        Status::InProgress => "in-progress",
        // An even id is as good a coin as any: who hung up changes nothing but the word.
        Status::Ended if call.call_id.is_multiple_of(2) => "ended_by_customer",
        Status::Ended => "ended_by_assistant",
        Status::Completed => "completed",
        Status::NoAnswer => "no-answer",
        Status::Busy => "busy",
        Status::Failed | Status::Canceled => "failed",
    }
}

/// The call object.
pub(super) fn object(
    brand: Brand,
    dialect: &Dialect,
    call: &CallRecord,
    assistant: Option<&Assistant>,
    now: Timestamp,
) -> Value {
    let completed = now >= call.completed_at;
    let extracted = if completed { dialect.extracted(call) } else { Map::new() };
    let mut variables = if dialect.echo_variables { call.variables.clone() } else { Map::new() };
    variables.extend(extracted.clone());
    let micros = if now >= call.ended_at { call.cost_micros() } else { 0 };
    let spoken = if now >= call.ended_at { lines(call) } else { Vec::new() };
    let answered_by = call.answered_at.filter(|at| *at <= now).map(|_| match call.answered_by_person() {
        true => "human",
        false => "machine",
    });
    json!({
        "id": call.call_id,
        "assistant_name": assistant.map(|assistant| &assistant.name),
        "campaign_name": null,
        "type": "outbound",
        "duration": call.talked(now).as_secs(),
        "assistant_phone_number": ASSISTANT_PHONE,
        "client_phone_number": call.phone,
        "status": word(dialect, call, now),
        "transcript": match brand {
            Brand::Famulor => transcript_array(call, &spoken),
            Brand::Sondos | Brand::WhiteLabel => transcript_text(&spoken).into(),
        },
        "variables": map(brand, variables),
        "evaluation": evaluation(brand, extracted),
        "webhook_response": null,
        "carrier_cost": money(brand, micros / 2),
        "total_cost": money(brand, micros),
        "answered_by": answered_by,
        "recording_url": call.answered_at.filter(|_| completed).map(|_| recording_url(call)),
        "created_at": instant(brand, dialect, call.accepted_at),
        "updated_at": instant(brand, dialect, call.updated_at(now)),
    })
}

/// What is reported of a call: its result, once.
pub(in crate::adapter::simulator) fn events(call: &CallRecord) -> Vec<Event> {
    vec![Event { name: "result", at: call.completed_at, is_last: true }]
}

/// The post-call webhook. It never says who answered.
pub(in crate::adapter::simulator) fn webhook(brand: Brand, dialect: &Dialect, call: &CallRecord) -> Value {
    let spoken = lines(call);
    let input = if dialect.echo_variables { call.variables.clone() } else { Map::new() };
    let mut body = json!({
        "id": call.call_id,
        "customer_phone": call.phone,
        "assistant_phone": ASSISTANT_PHONE,
        "duration": call.talked(call.ended_at).as_secs(),
        "status": word(dialect, call, call.completed_at),
        "extracted_variables": dialect.extracted(call),
        "input_variables": input,
    });
    let recording = call.answered_at.map(|_| recording_url(call));
    match brand {
        Brand::Famulor => extend(
            &mut body,
            json!({
                "transcript": transcript_text(&spoken),
                "recording_url": recording,
                "created_at": utc(call.accepted_at, "%Y-%m-%dT%H:%M:%SZ"),
                "finished_at": utc(call.completed_at, "%Y-%m-%dT%H:%M:%SZ"),
                "lead": null,
                "campaign": null,
            }),
        ),
        Brand::Sondos | Brand::WhiteLabel => {
            extend(
                &mut body,
                json!({
                    "transcript": transcript_array(call, &spoken),
                    "formatted_transcript": transcript_text(&spoken),
                    "created_at": utc(call.accepted_at, "%Y-%m-%dT%H:%M:%S.000000Z"),
                    "finished_at": utc(call.completed_at, "%Y-%m-%dT%H:%M:%S.000000Z"),
                    "transfers": [],
                }),
            );
            // An absent recording is null in one variant and left out in the other.
            if let Some(recording) = recording {
                body["recording_url"] = recording.into();
            }
        }
    }
    body
}

/// A page of calls, as Laravel's length-aware paginator writes it.
pub(super) fn page(path: &str, data: Vec<Value>, per_page: usize, page: usize, total: usize) -> Value {
    let last_page = total.div_ceil(per_page).max(1);
    let url = |page: usize| format!("{path}?page={page}");
    let before = (page > 1).then(|| url(page - 1));
    let after = (page < last_page).then(|| url(page + 1));
    let first = per_page.saturating_mul(page - 1) + 1;
    let (from, to) = if data.is_empty() { (None, None) } else { (Some(first), Some(first + data.len() - 1)) };
    json!({
        "current_page": page,
        "data": data,
        "first_page_url": url(1),
        "from": from,
        "last_page": last_page,
        "last_page_url": url(last_page),
        "links": [
            {"url": before.clone(), "label": "&laquo; Previous", "active": false},
            {"url": url(page), "label": page.to_string(), "active": true},
            {"url": after.clone(), "label": "Next &raquo;", "active": false},
        ],
        "next_page_url": after,
        "path": path,
        "per_page": per_page,
        "prev_page_url": before,
        "to": to,
        "total": total,
    })
}

fn evaluation(brand: Brand, extracted: Map<String, Value>) -> Value {
    match brand {
        Brand::WhiteLabel => Value::Object(extracted),
        Brand::Sondos => map(brand, extracted),
        Brand::Famulor => extracted
            .into_iter()
            .map(|(name, value)| {
                let kind = if value.is_boolean() { "bool" } else { "string" };
                json!({"name": name, "type": kind, "value": value, "description": ""})
            })
            .collect(),
    }
}

/// PHP writes an empty map as an empty array, unless somebody took care.
fn map(brand: Brand, map: Map<String, Value>) -> Value {
    match brand {
        Brand::Famulor | Brand::Sondos if map.is_empty() => json!([]),
        Brand::Famulor | Brand::Sondos | Brand::WhiteLabel => Value::Object(map),
    }
}

fn money(brand: Brand, micros: i64) -> Value {
    match brand {
        Brand::Famulor => format!("{}.{:06}00", micros / 1_000_000, micros % 1_000_000).into(),
        Brand::Sondos | Brand::WhiteLabel => (micros as f64 / 1e6).into(),
    }
}

/// The zone of Famulor's instants is undocumented.
fn instant(brand: Brand, dialect: &Dialect, at: Timestamp) -> String {
    match brand {
        Brand::Famulor => zoned(at, &dialect.zone, "%Y-%m-%d %H:%M:%S"),
        Brand::Sondos => utc(at, "%Y-%m-%dT%H:%M:%S.000000Z"),
        Brand::WhiteLabel => utc(at, "%Y-%m-%dT%H:%M:%SZ"),
    }
}

fn transcript_text(lines: &[(Speaker, &str)]) -> String {
    let line = |(speaker, text): &(Speaker, &str)| match speaker {
        Speaker::Assistant => format!("AI: {text}"),
        Speaker::Customer => format!("Customer: {text}"),
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn transcript_array(call: &CallRecord, lines: &[(Speaker, &str)]) -> Value {
    let start = call.answered_at.unwrap_or(call.accepted_at).as_millisecond() as f64 / 1e3;
    let entry = |(number, (speaker, text)): (usize, &(Speaker, &str))| {
        let sender = match speaker {
            Speaker::Assistant => "bot",
            Speaker::Customer => "human",
        };
        json!({"text": text, "type": "transcript", "sender": sender, "timestamp": start + number as f64})
    };
    lines.iter().enumerate().map(entry).collect()
}
