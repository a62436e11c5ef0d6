//! The JSON of the Autocalls family, in the two shapes its brands are documented with.
//!
//! Sources: Famulor's documentation and the WhatTalk and Autocalls copies, read 2026-11-21. Where the documents are
//! silent the simulator has to choose; those places say "undocumented". Clients must not rely on them.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::{CallRecord, Fate};
use super::world::{Assistant, Filter, Refusal};

/// Whose types and words are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A call id in the answer, transcripts as arrays, money as strings, instants without a zone, `[]` for no variables.
    #[default]
    Famulor,
    /// No call id in the answer, transcripts as text, money as numbers, instants with a zone, localised messages.
    WhiteLabel,
}

/// Not a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a wire shape: famulor or white-label")]
pub struct UnknownShape(String);

impl FromStr for Shape {
    type Err = UnknownShape;

    fn from_str(word: &str) -> Result<Self, UnknownShape> {
        match word {
            "famulor" => Ok(Self::Famulor),
            "white-label" => Ok(Self::WhiteLabel),
            _ => Err(UnknownShape(word.to_owned())),
        }
    }
}

/// What is needed to write calls down.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    pub shape: Shape,
    pub echo_variables: bool,
    pub goal_variable: String,
    pub opt_out_variable: String,
}

/// The answer to a placed call.
pub(super) fn placed(shape: Shape, call_id: u64) -> Value {
    match shape {
        Shape::Famulor => json!({"message": "Call initiated successfully", "call_id": call_id, "status": "initiated"}),
        Shape::WhiteLabel => json!({"message": "Anruf wurde gestartet", "data": {}}),
    }
}

/// Status and body for a request that places nothing.
pub(super) fn refused(shape: Shape, refusal: Refusal) -> (u16, Value) {
    let (status, english, localised) = match refusal {
        Refusal::NoSuchAssistant => {
            (404, "Assistant not found or does not belong to the authenticated user", "Assistent nicht gefunden")
        }
        // Undocumented. A status that no documented answer uses here, so that it is told apart.
        Refusal::AssistantInactive => (403, "Assistant is not active", "Assistent ist nicht aktiv"),
        // What a refused but well-formed number is answered with is undocumented; the format error is the nearest.
        Refusal::NumberRefused => return (400, invalid_number(shape)),
        Refusal::NoBalance => (
            422,
            "Insufficient balance to make call. Please top up your account.",
            "Guthaben reicht nicht aus, bitte aufladen",
        ),
    };
    (status, message(shape, english, localised))
}

/// The body of a 400 for a number that is not E.164.
pub(super) fn invalid_number(shape: Shape) -> Value {
    let english = "Invalid phone number format. Please use E.164 format (e.g. +1234567890)";
    message(shape, english, "Rufnummer muss im Format E.164 angegeben werden")
}

fn message(shape: Shape, english: &str, localised: &str) -> Value {
    json!({"message": match shape {
        Shape::Famulor => english,
        Shape::WhiteLabel => localised,
    }})
}

/// The body of a 422 about the fields of a request.
pub(super) fn invalid_fields(errors: Map<String, Value>) -> Value {
    json!({"message": "The given data was invalid.", "errors": errors})
}

/// A 429 has two documented bodies.
pub(super) fn rate_limited(second_body: bool, retry_after: u32) -> Value {
    if second_body {
        json!({"message": "Too Many Attempts.", "retry_after": retry_after})
    } else {
        let message = "Too many requests. Please try again later.";
        json!({"error": "Rate limit exceeded", "message": message, "retry_after": retry_after})
    }
}

/// An entry of the list of outbound assistants.
pub(super) fn outbound_assistant(assistant: &Assistant) -> Value {
    json!({
        "id": assistant.id,
        "user_id": 1,
        "name": assistant.name,
        "type": if assistant.outbound { "outbound" } else { "inbound" },
        "mode": assistant.mode,
        "status": if assistant.active { "active" } else { "inactive" },
        "voice_id": 8,
        "language_id": assistant.language_id,
        "timezone": assistant.timezone,
        "initial_message": "Good day, do you have a minute?",
        "system_prompt": "Speak politely, ask for an appointment.",
        "variables": assistant.variables,
        "webhook_url": assistant.webhook_url,
        "is_webhook_active": assistant.webhook_url.is_some(),
        "created_at": "2026-01-05T09:00:00.000000Z",
        "updated_at": "2026-02-10T16:30:00.000000Z",
    })
}

/// An entry of the paginated list of all assistants: more fields, some as 0/1 and some numbers as text.
pub(super) fn full_assistant(assistant: &Assistant) -> Value {
    let mut entry = outbound_assistant(assistant);
    let more = json!({
        "phone_number_id": 11, "engine_id": 1, "synthesizer_id": 1, "transcriber_id": 1, "instance_id": null,
        "post_call_evaluation": true, "fillers": 0, "post_call_schema": [], "tools": [], "inbound_webhook_url": null,
        "language": "English", "max_duration": 600, "record": true, "flows_platform_id": null,
        "max_silence_duration": 40, "reengagement_interval": 30, "deleted_at": null, "end_call_on_voicemail": 1,
        "llm_temperature": "0.70", "voice_stability": "0.50", "voice_similarity": "0.75", "allow_interruptions": true,
        "enable_noise_cancellation": true, "endpoint_sensitivity": 0.5, "speech_speed": "1.00", "endpoint_type": "vad",
        "wait_for_customer": false, "ambient_sound": null, "uuid": format!("00000000-0000-4000-8000-{:012}", assistant.id),
        "send_webhook_only_on_completed": assistant.send_webhook_only_on_completed,
        "include_recording_in_webhook": true,
    });
    if let (Value::Object(entry), Value::Object(more)) = (&mut entry, more) {
        entry.extend(more);
    }
    entry
}

/// A page of assistants.
pub(super) fn assistants_page(all: &[&Assistant], per_page: usize, page: usize) -> Value {
    let skip = per_page.saturating_mul(page - 1);
    let data: Vec<Value> = all.iter().skip(skip).take(per_page).map(|assistant| full_assistant(assistant)).collect();
    let last_page = all.len().div_ceil(per_page).max(1);
    json!({"data": data, "current_page": page, "per_page": per_page, "total": all.len(), "last_page": last_page})
}

/// A page of calls, as Laravel's length-aware paginator writes it.
pub(super) fn calls_page(path: &str, data: Vec<Value>, filter: &Filter, total: usize) -> Value {
    let Filter { per_page, page, .. } = *filter;
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

impl Dialect {
    /// The call object.
    pub(super) fn call(&self, call: &CallRecord, assistant: Option<&Assistant>, now: Timestamp) -> Value {
        let completed = now >= call.completed_at;
        let extracted = if completed { self.extracted(call) } else { Map::new() };
        let mut variables = if self.echo_variables { call.variables.clone() } else { Map::new() };
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
            "status": call.status(now).as_str(),
            "transcript": match self.shape {
                Shape::Famulor => transcript_array(call, &spoken),
                Shape::WhiteLabel => transcript_text(&spoken).into(),
            },
            "variables": self.object(variables),
            "evaluation": self.evaluation(extracted),
            "webhook_response": null,
            "carrier_cost": self.money(micros / 2),
            "total_cost": self.money(micros),
            "answered_by": answered_by,
            "recording_url": call.answered_at.filter(|_| completed).map(|_| recording_url(call)),
            "created_at": self.instant(call.accepted_at),
            "updated_at": self.instant(call.updated_at(now)),
        })
    }

    /// The post-call webhook. It never says who answered.
    pub(super) fn webhook(&self, call: &CallRecord) -> Value {
        let spoken = lines(call);
        let input = if self.echo_variables { call.variables.clone() } else { Map::new() };
        let mut body = json!({
            "id": call.call_id,
            "customer_phone": call.phone,
            "assistant_phone": ASSISTANT_PHONE,
            "duration": call.talked(call.ended_at).as_secs(),
            "status": call.status(call.completed_at).as_str(),
            "extracted_variables": self.extracted(call),
            "input_variables": input,
        });
        let recording = call.answered_at.map(|_| recording_url(call));
        let more = match self.shape {
            Shape::Famulor => json!({
                "transcript": transcript_text(&spoken),
                "recording_url": recording,
                "created_at": zoned(call.accepted_at, "%Y-%m-%dT%H:%M:%SZ"),
                "finished_at": zoned(call.completed_at, "%Y-%m-%dT%H:%M:%SZ"),
                "lead": null,
                "campaign": null,
            }),
            Shape::WhiteLabel => json!({
                "transcript": transcript_array(call, &spoken),
                "formatted_transcript": transcript_text(&spoken),
                "recording_url": recording.unwrap_or_default(),
                "created_at": zoned(call.accepted_at, "%Y-%m-%dT%H:%M:%S.000000Z"),
                "finished_at": zoned(call.completed_at, "%Y-%m-%dT%H:%M:%S.000000Z"),
                "transfers": [],
            }),
        };
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
            // An absent recording is null in one variant and left out in the other.
            if self.shape == Shape::WhiteLabel && call.answered_at.is_none() {
                body.shift_remove("recording_url");
            }
        }
        body
    }

    /// What the evaluation found in a conversation.
    fn extracted(&self, call: &CallRecord) -> Map<String, Value> {
        let (goal_met, opted_out, summary) = match call.fate {
            Fate::GoalMet => (true, false, "The customer agreed to an appointment."),
            Fate::Declined => (false, false, "The customer is not interested at the moment."),
            Fate::OptOut => (false, true, "The customer does not want to be called again."),
            Fate::Voicemail | Fate::NoAnswer | Fate::Busy | Fate::Failed => return Map::new(),
        };
        Map::from_iter([
            (self.goal_variable.clone(), goal_met.into()),
            (self.opt_out_variable.clone(), opted_out.into()),
            ("summary".to_owned(), summary.into()),
        ])
    }

    fn evaluation(&self, extracted: Map<String, Value>) -> Value {
        match self.shape {
            Shape::WhiteLabel => Value::Object(extracted),
            Shape::Famulor => extracted
                .into_iter()
                .map(|(name, value)| {
                    let kind = if value.is_boolean() { "bool" } else { "string" };
                    json!({"name": name, "type": kind, "value": value, "description": ""})
                })
                .collect(),
        }
    }

    /// PHP writes an empty map as an empty array.
    fn object(&self, map: Map<String, Value>) -> Value {
        match self.shape {
            Shape::Famulor if map.is_empty() => json!([]),
            Shape::Famulor | Shape::WhiteLabel => Value::Object(map),
        }
    }

    fn money(&self, micros: i64) -> Value {
        match self.shape {
            Shape::Famulor => format!("{}.{:06}00", micros / 1_000_000, micros % 1_000_000).into(),
            Shape::WhiteLabel => (micros as f64 / 1e6).into(),
        }
    }

    /// The zone of Famulor's call timestamps is undocumented; here it is UTC.
    fn instant(&self, at: Timestamp) -> String {
        match self.shape {
            Shape::Famulor => zoned(at, "%Y-%m-%d %H:%M:%S"),
            Shape::WhiteLabel => zoned(at, "%Y-%m-%dT%H:%M:%SZ"),
        }
    }
}

const ASSISTANT_PHONE: &str = "+12025550199";

fn zoned(at: Timestamp, format: &str) -> String {
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

fn recording_url(call: &CallRecord) -> String {
    format!("https://recordings.example/call-{}.mp3", call.call_id)
}

/// What was said, the assistant first.
fn lines(call: &CallRecord) -> Vec<(&'static str, &'static str)> {
    let answer = match call.fate {
        Fate::GoalMet => "Tuesday at ten would suit me.",
        Fate::Declined => "No, thank you.",
        Fate::OptOut => "Please take me off your list.",
        Fate::Voicemail => "Please leave a message after the tone.",
        Fate::NoAnswer | Fate::Busy | Fate::Failed => return Vec::new(),
    };
    vec![("bot", "Good day, do you have a minute?"), ("human", answer), ("bot", "Thank you, goodbye.")]
}

fn transcript_text(lines: &[(&str, &str)]) -> String {
    let line = |(sender, text): &(&str, &str)| format!("{}: {text}", if *sender == "bot" { "AI" } else { "Customer" });
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn transcript_array(call: &CallRecord, lines: &[(&str, &str)]) -> Value {
    let start = call.answered_at.unwrap_or(call.accepted_at).as_millisecond() as f64 / 1e3;
    let mut entries = Vec::with_capacity(lines.len());
    for (number, (sender, text)) in lines.iter().enumerate() {
        let at = start + number as f64;
        entries.push(json!({ "text": text, "type": "transcript", "sender": sender, "timestamp": at }));
    }
    Value::Array(entries)
}
