//! Reads a post-call webhook and a call object.
//!
//! Strict where a mistake would ring somebody again (status, who answered, extracted variables): such a report is
//! undecodable and waits for a person. Lenient elsewhere: an odd cost or recording address is absent, since the raw
//! report is kept anyway.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::wire::{Fields, repair};
use crate::domain::id::{AttemptId, Installation, ProviderCallId};
use crate::domain::outcome::Outcome;
use crate::domain::report::{AnsweredBy, CallReport, Hints, Phase, Source, Undecodable};

/// Longest token kept; ours has 36 characters.
const TOKEN_CHARS_MAX: usize = 100;
/// Longest status word kept.
const STATUS_CHARS_MAX: usize = 60;

/// What a report is read with.
pub(super) struct Reader {
    /// The variable that carries our token.
    pub(super) correlation_variable: String,
    /// Whose tokens are ours.
    pub(super) installation: Installation,
}

impl Reader {
    pub(super) fn read(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        let document = repair(body);
        let document = Fields::read(&document)?;
        let call = unwrapped(document)?;
        let status = call.text("status")?.ok_or_else(|| Undecodable {
            field: call.path_of("status"),
            problem: "expected a string, found nothing".to_owned(),
        })?;
        // A lead that is a list or a number only costs us the lead's variables and number.
        let lead = call.object("lead").ok().flatten();
        let inbound = call.text("type")?.is_some_and(|kind| kind != "outbound");
        let phone = call
            .phone("client_phone_number")
            .or_else(|| call.phone("customer_phone"))
            .or_else(|| lead.as_ref().and_then(|lead| lead.phone("phone_number")))
            // Of an inbound or web call, the number was not rung.
            .filter(|_| !inbound);
        Ok(CallReport {
            source,
            call_id: call.id("id")?.map(ProviderCallId::new),
            token: self.token(&call, lead.as_ref()),
            phone,
            phase: phase(&status),
            status: status.chars().take(STATUS_CHARS_MAX).collect(),
            answered_by: call.text("answered_by")?.map(|word| answered_by(&word)),
            duration_seconds: call.seconds("duration").ok().flatten(),
            created_at: call.instant("created_at"),
            finished_at: call.instant("finished_at"),
            cost: call.decimal("total_cost").ok().flatten(),
            transcript: transcript(&call, "transcript").or_else(|| transcript(&call, "formatted_transcript")),
            recording_url: call.text("recording_url").ok().flatten().filter(|url| !url.is_empty()),
            extracted: self.extracted(source, &call)?,
            hints: Hints {
                assistant_name: call.text("assistant_name").ok().flatten().filter(|name| !name.trim().is_empty()),
                created: call.written("created_at"),
            },
        })
    }

    /// The id alone.
    pub(super) fn call_id(&self, body: &[u8]) -> Option<ProviderCallId> {
        let document = repair(body);
        let call = unwrapped(Fields::read(&document).ok()?).ok()?;
        call.id("id").ok().flatten().map(ProviderCallId::new)
    }

    /// The first token of ours, else the first text under our variable.
    fn token(&self, call: &Fields<'_>, lead: Option<&Fields<'_>>) -> Option<String> {
        let under = |fields: &Fields<'_>, name| {
            let Ok(Some(mut map)) = fields.named_values(name) else { return None };
            match map.remove(&self.correlation_variable) {
                Some(Value::String(text)) => Some(text.trim().chars().take(TOKEN_CHARS_MAX).collect::<String>()),
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => {
                    None
                }
            }
        };
        let mut texts: Vec<_> =
            [under(call, "input_variables"), under(call, "variables"), lead.and_then(|lead| under(lead, "variables"))]
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty())
                .collect();
        let ours = texts.iter().position(|text| {
            Uuid::try_parse(text).is_ok_and(|uuid| AttemptId::recognise(self.installation, uuid).is_some())
        });
        (!texts.is_empty()).then(|| texts.swap_remove(ours.unwrap_or(0)))
    }

    /// A webhook has them under one name; a call object has what was collected during the call and, stronger, what its
    /// evaluation found afterwards.
    fn extracted(&self, source: Source, call: &Fields<'_>) -> Result<Map<String, Value>, Undecodable> {
        let mut extracted = match source {
            Source::Webhook => call.named_values("extracted_variables")?.unwrap_or_default(),
            Source::Call => {
                let mut map = call.named_values("variables")?.unwrap_or_default();
                map.extend(call.named_values("evaluation")?.unwrap_or_default());
                map
            }
        };
        extracted.shift_remove(&self.correlation_variable);
        Ok(extracted)
    }
}

/// The call itself, where an answer wraps it in `data`.
fn unwrapped(document: Fields<'_>) -> Result<Fields<'_>, Undecodable> {
    if document.get("status").is_some() {
        return Ok(document);
    }
    Ok(document.object("data").ok().flatten().unwrap_or(document))
}

/// The status words, hyphens, underscores and case aside.
///
/// Vocabulary: filter of the calls list in the Famulor, WhatTalk and Autocalls docs, read 2026-11-21; `canceled` in both
/// spellings is not in it, but means one thing only.
fn phase(status: &str) -> Phase {
    match status.trim().to_ascii_lowercase().replace(['_', ' '], "-").as_str() {
        "initiated" | "ringing" | "in-progress" => Phase::Live,
        "completed" | "ended" | "ended-by-customer" | "ended-by-assistant" => Phase::AnsweredOver,
        "busy" => Phase::NotReached(Outcome::Busy),
        "no-answer" => Phase::NotReached(Outcome::NoAnswer),
        "failed" => Phase::NotReached(Outcome::Failed),
        "canceled" | "cancelled" => Phase::NotReached(Outcome::Canceled),
        _ => Phase::Unrecognised,
    }
}

fn answered_by(word: &str) -> AnsweredBy {
    let word = word.trim().to_ascii_lowercase();
    match word.as_str() {
        "human" => AnsweredBy::Human,
        "voicemail" => AnsweredBy::Machine,
        // The carrier beneath has finer words, machine_start say.
        _ if word.starts_with("machine") => AnsweredBy::Machine,
        _ => AnsweredBy::Unknown,
    }
}

fn transcript(call: &Fields<'_>, name: &str) -> Option<Value> {
    call.value(name).ok().flatten().filter(|value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &str, expected: Phase) {
        assert_eq!(phase(status), expected, "{status:?}");
    }

    #[test]
    fn status_words_mean_what_the_documentation_says() {
        for live in ["initiated", "ringing", "in-progress", "in_progress", "In Progress"] {
            check(live, Phase::Live);
        }
        for over in ["completed", "ended", "ended_by_customer", "ended_by_assistant", "ended-by-customer", "COMPLETED"]
        {
            check(over, Phase::AnsweredOver);
        }
        for no_answer in ["no-answer", "no_answer", "NO-ANSWER"] {
            check(no_answer, Phase::NotReached(Outcome::NoAnswer));
        }
        check("busy", Phase::NotReached(Outcome::Busy));
        check("failed", Phase::NotReached(Outcome::Failed));
        check("canceled", Phase::NotReached(Outcome::Canceled));
        check("cancelled", Phase::NotReached(Outcome::Canceled));
        for unknown in ["", "voicemail", "queued", "completed!", "noanswer"] {
            check(unknown, Phase::Unrecognised);
        }
    }

    #[test]
    fn who_answered_is_never_guessed() {
        assert_eq!(answered_by("human"), AnsweredBy::Human);
        assert_eq!(answered_by("Machine"), AnsweredBy::Machine);
        assert_eq!(answered_by("machine_end_beep"), AnsweredBy::Machine);
        assert_eq!(answered_by("voicemail"), AnsweredBy::Machine);
        assert_eq!(answered_by("fax"), AnsweredBy::Unknown);
        assert_eq!(answered_by(""), AnsweredBy::Unknown);
    }
}
