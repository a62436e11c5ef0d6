//! What an answer to a request for a call means: did the call leave the building?
//!
//! Only status and shape decide. The words of `message` are translated by some brands and are never matched.

use std::sync::RwLock;
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::http::{Answer, Sent};
use super::quota;
use super::wire::{Fields, repair};
use crate::domain::id::ProviderCallId;
use crate::port::provider::{AccountStanding, NotPlaced, PlaceReply};

/// A provider that wants less than this would get the next request while it still refuses.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// A provider that wants more is asked again after this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Longest quotation of a provider's words.
const WORDS_CHARS_MAX: usize = 200;
/// As many digits may be part of a phone number.
const DIGITS_SHOWN_MAX: usize = 5;

/// What an answer means, as far as it says.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// All is known.
    Clear(PlaceReply),
    /// Nothing rang; whether for want of money only the balance tells.
    PerhapsBalance { status: u16, reason: String },
}

/// Judges what came of a request for a call.
pub(super) fn judge(sent: Sent, words: &Words) -> Meaning {
    Meaning::Clear(match sent {
        Sent::Unsent(reason) => PlaceReply::NotPlaced(NotPlaced::Unsent(reason)),
        Sent::Unreachable { reason } => PlaceReply::NotPlaced(NotPlaced::Unreachable { reason }),
        Sent::Lost { reason } => PlaceReply::Unknown { reason, accepted: false },
        Sent::Answered(answer) if answer.status.is_success() => accepted(&answer),
        Sent::Answered(answer) => return refused(&answer, words),
    })
}

/// A 2xx. Famulor tells the call's id; other brands answer `data: {}`.
/// Famulor docs, `calls/make`; Autocalls docs, `calls/make-phone-call`; read 2026-11-21.
fn accepted(answer: &Answer) -> PlaceReply {
    let unreadable = |problem: &str| PlaceReply::Unknown {
        reason: format!("HTTP {}, but {problem}", answer.status.as_u16()),
        accepted: true,
    };
    let body = match &answer.body {
        Ok(body) => repair(body),
        Err(problem) => return unreadable(problem),
    };
    if serde_json::from_str::<serde::de::IgnoredAny>(&body).is_err() {
        return unreadable("the answer is not JSON");
    }
    let Ok(fields) = Fields::read(&body) else {
        return PlaceReply::Placed { call_id: None };
    };
    let id = |fields: &Fields<'_>, name: &str| fields.id(name).ok().flatten().filter(|id| id != "0");
    let data = fields.object("data").ok().flatten();
    let call_id = id(&fields, "call_id")
        .or_else(|| data.as_ref().and_then(|data| id(data, "call_id").or_else(|| id(data, "id"))))
        .map(ProviderCallId::new);
    PlaceReply::Placed { call_id }
}

fn refused(answer: &Answer, words: &Words) -> Meaning {
    let status = answer.status;
    if status == StatusCode::REQUEST_TIMEOUT || !status.is_client_error() {
        return Meaning::Clear(PlaceReply::Unknown { reason: format!("HTTP {}", status.as_u16()), accepted: false });
    }
    let body = answer.body.as_deref().map(repair).unwrap_or_default();
    let fields = Fields::read(&body).ok();
    let reason = words.of(fields.as_ref());
    // A proxy's own page speaks for the way there, not for the call.
    let from_provider = fields.is_some();
    let not_placed = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if names_phone(fields.as_ref()) => {
            NotPlaced::NumberRefused { reason, suppressed: false }
        }
        StatusCode::BAD_REQUEST if from_provider && !has_errors(fields.as_ref()) => {
            NotPlaced::NumberRefused { reason, suppressed: false }
        }
        StatusCode::UNAUTHORIZED => NotPlaced::AccountStopped(AccountStanding::KeyRefused),
        StatusCode::FORBIDDEN => NotPlaced::AccountStopped(AccountStanding::Forbidden { reason }),
        StatusCode::NOT_FOUND if from_provider => NotPlaced::AssistantGone { reason },
        StatusCode::PAYMENT_REQUIRED | StatusCode::UNPROCESSABLE_ENTITY
            if from_provider && !has_errors(fields.as_ref()) =>
        {
            return Meaning::PerhapsBalance { status: status.as_u16(), reason };
        }
        StatusCode::TOO_MANY_REQUESTS => NotPlaced::RateLimited { retry_after: retry_after(answer) },
        _ => NotPlaced::Refused { status: status.as_u16(), reason },
    };
    Meaning::Clear(PlaceReply::NotPlaced(not_placed))
}

/// Whether a validation error is there at all, whatever its shape; `[]` and `{}` are none.
fn has_errors(fields: Option<&Fields<'_>>) -> bool {
    fields.and_then(|fields| fields.get("errors")).is_some_and(|raw| {
        let inner: String = raw.get().split_whitespace().collect();
        inner != "[]" && inner != "{}"
    })
}

fn names_phone(fields: Option<&Fields<'_>>) -> bool {
    let errors = fields.and_then(|fields| fields.object("errors").ok().flatten());
    errors.is_some_and(|errors| errors.get("phone_number").is_some())
}

/// How long to wait after a 429: `retry_after` of the body, else the header `Retry-After`.
///
/// Body: Famulor docs, `developers/authentication-guide` and `ai-replies/generate-reply`, read 2026-11-21. Header:
/// RFC 9110, section 10.2.3; its date form is read against the answer's own `Date`.
pub(super) fn retry_after(answer: &Answer) -> Option<Duration> {
    let from_body = || {
        let body = repair(answer.body.as_deref().ok()?);
        let seconds: f64 = Fields::read(&body).ok()?.decimal("retry_after").ok().flatten()?.parse().ok()?;
        Some(seconds)
    };
    let seconds = from_body().or_else(|| quota::retry_after(&answer.headers))?;
    let (min, max) = (RETRY_AFTER_MIN.as_secs_f64(), RETRY_AFTER_MAX.as_secs_f64());
    Some(Duration::from_secs_f64(seconds.clamp(min, max).ceil()))
}

/// Quotes a provider without repeating secrets or numbers it quotes back.
pub(super) struct Words {
    /// The key, and the one before it: requests with that may still be answered.
    api_keys: RwLock<[SecretString; 2]>,
}

impl Words {
    pub(super) fn new(api_key: SecretString) -> Self {
        Self { api_keys: RwLock::new([api_key.clone(), api_key]) }
    }

    pub(super) fn set_key(&self, api_key: SecretString) {
        let mut keys = self.api_keys.write().expect("no reader panics");
        keys.rotate_right(1);
        keys[0] = api_key;
    }

    /// The `message`, or else the `error`, of an answer.
    pub(super) fn of(&self, fields: Option<&Fields<'_>>) -> String {
        let text = |name| fields.and_then(|fields| fields.text(name).ok().flatten()).filter(|text| !text.is_empty());
        text("message").or_else(|| text("error")).map_or_else(|| "no reason given".to_owned(), |text| self.clean(&text))
    }

    fn clean(&self, text: &str) -> String {
        let keys = self.api_keys.read().expect("no writer panics");
        let text = keys.iter().fold(text.to_owned(), |text, key| text.replace(key.expose_secret().trim(), "…"));
        let text = without_numbers(&text);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut short: String = text.chars().take(WORDS_CHARS_MAX).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    }
}

/// Replaces what may be a phone number: six digits or more with nothing but separators between them.
fn without_numbers(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut run = String::new();
    let flush = |run: &mut String, clean: &mut String| {
        let digits = run.chars().filter(|c| c.is_numeric()).count();
        if digits > DIGITS_SHOWN_MAX {
            // What surrounds the number is kept, a space or a full stop say.
            let number = run.trim_matches(|c: char| !c.is_numeric());
            clean.push_str(&run.replace(number, "…"));
        } else {
            clean.push_str(run);
        }
        run.clear();
    };
    for c in text.chars() {
        if c.is_numeric() || matches!(c, ' ' | '\u{a0}' | '+' | '-' | '.' | '/' | '(' | ')') {
            run.push(c);
        } else {
            flush(&mut run, &mut clean);
            clean.push(c);
        }
    }
    flush(&mut run, &mut clean);
    clean
}

#[cfg(test)]
mod tests {
    use reqwest::header::{DATE, RETRY_AFTER};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Words::new(SecretString::from("12|secretkey")).clean(text), expected);
    }

    #[test]
    fn quotations_hold_no_number_and_no_key() {
        check("The number +49 (170) 123-4567 is blacklisted.", "The number +… is blacklisted.");
        check("491701234567", "…");
        check("assistant 12345 is inactive", "assistant 12345 is inactive");
        check("key 12|secretkey is revoked", "key … is revoked");
        check("two\nlines\u{1b}[31m", "two lines [31m");
        check(&"ä".repeat(300), &format!("{}…", "ä".repeat(200)));
    }

    #[track_caller]
    fn check_wait(headers: &[(reqwest::header::HeaderName, &'static str)], body: &'static str, seconds: Option<u64>) {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect();
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Ok(body.into()) };
        assert_eq!(retry_after(&answer), seconds.map(Duration::from_secs), "{body}");
    }

    #[test]
    fn waits_are_read_from_body_or_header_and_bounded() {
        check_wait(&[], r#"{"retry_after":60}"#, Some(60));
        check_wait(&[], r#"{"retry_after":"90"}"#, Some(90));
        check_wait(&[], r#"{"retry_after":1.2}"#, Some(2));
        check_wait(&[], r#"{"retry_after":0}"#, Some(1));
        check_wait(&[], r#"{"retry_after":-5}"#, Some(1));
        check_wait(&[], r#"{"retry_after":999999}"#, Some(3600));
        check_wait(&[], r#"{"message":"Too Many Attempts."}"#, None);
        check_wait(&[], "<html>", None);
        check_wait(&[(RETRY_AFTER, "7")], "<html>", Some(7));
        check_wait(&[(RETRY_AFTER, "7")], r#"{"retry_after":60}"#, Some(60));
        let date = (DATE, "Sat, 21 Nov 2026 15:00:00 GMT");
        check_wait(&[(RETRY_AFTER, "Sat, 21 Nov 2026 15:02:00 GMT"), date.clone()], "", Some(120));
        check_wait(&[(RETRY_AFTER, "Sat, 21 Nov 2026 14:00:00 GMT"), date], "", Some(1));
        check_wait(&[(RETRY_AFTER, "soon")], "", None);
    }
}
