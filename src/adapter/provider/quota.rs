//! What an answer's headers say about how much may be asked.
//!
//! Famulor documents `X-RateLimit-Limit`, `-Remaining` and `-Reset`, the last in seconds of the epoch, on every answer
//! (`developers/authentication-guide`, read 2026-11-21); the others of the family publish nothing, but Laravel sends the
//! first two by itself. `Retry-After` is RFC 9110, section 10.2.3.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::port::allowance::{Pause, Quota};

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

/// A `Reset` below this is a number of seconds to wait rather than a moment: the epoch's first years are over.
const EPOCH_FROM: i64 = 1_000_000_000;
/// Windows longer than this are not about requests: a provider that asks for more is asked again after it.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Reads the headers of an answer.
pub(super) fn quota(status: StatusCode, headers: &HeaderMap) -> Quota {
    let limit = number(headers, LIMIT).and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0);
    let used_up = number(headers, REMAINING) == Some(0);
    // A 429 is an answer of its own, with a body that says how long; others that say when they are back are not.
    let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
    let pause = match (used_up, unavailable.then(|| retry_after(headers)).flatten()) {
        (_, Some(seconds)) => Some(Pause { span: Some(bounded(seconds)), until: None }),
        (true, None) => Some(until_reset(headers)),
        (false, None) => None,
    };
    Quota { limit, pause }
}

/// Seconds of the header `Retry-After`; its date form is read against the answer's own `Date`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<f64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(f64::from(seconds));
    }
    Some(instant(text)?.duration_since(answered_at(headers)?).as_secs_f64())
}

fn until_reset(headers: &HeaderMap) -> Pause {
    let Some(reset) = number(headers, RESET) else { return Pause::default() };
    if reset < EPOCH_FROM {
        return Pause { span: Some(bounded(reset as f64)), until: None };
    }
    let until = Timestamp::from_second(reset).ok();
    // By the provider's own clock, which may be ahead of ours or behind.
    let span = until.zip(answered_at(headers)).map(|(until, now)| until.duration_since(now).as_secs());
    let span = span.filter(|seconds| (0..=PAUSE_MAX.as_secs() as i64).contains(seconds));
    Pause { span: span.map(|seconds| bounded(seconds as f64)), until }
}

fn answered_at(headers: &HeaderMap) -> Option<Timestamp> {
    instant(headers.get(DATE)?.to_str().ok()?)
}

fn instant(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

/// The number a header begins with; drafts of a standard append the window, `100;w=60`.
fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn bounded(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, PAUSE_MAX.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: (&str, &str) = ("date", "Sat, 21 Nov 2026 15:00:00 GMT");

    fn read(status: u16, headers: &[(&'static str, &'static str)]) -> Quota {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        quota(StatusCode::from_u16(status).expect("a status"), &HeaderMap::from_iter(headers))
    }

    #[track_caller]
    fn check_pause(status: u16, headers: &[(&'static str, &'static str)], expected: Option<Pause>) {
        assert_eq!(read(status, headers).pause, expected, "{headers:?}");
    }

    fn span(seconds: u64) -> Option<Pause> {
        Some(Pause { span: Some(Duration::from_secs(seconds)), until: None })
    }

    #[test]
    fn limits_are_numbers_above_nothing() {
        let limit = |value| read(200, &[(LIMIT, value)]).limit;
        assert_eq!(limit("100"), Some(100));
        assert_eq!(limit(" 60, 60;w=60"), Some(60));
        assert_eq!(limit("0"), None);
        assert_eq!(limit("-5"), None);
        assert_eq!(limit("many"), None);
        assert_eq!(limit("99999999999999999999"), None);
        assert_eq!(read(200, &[]), Quota::default());
    }

    #[test]
    fn a_used_up_quota_pauses_until_its_reset() {
        // 15:00:40 on the same day.
        let until = Timestamp::from_second(1_795_273_240).ok();
        assert_eq!(until.map(|at| at.to_string()).as_deref(), Some("2026-11-21T15:00:40Z"));
        let by_date = Pause { span: Some(Duration::from_secs(40)), until };
        check_pause(200, &[(REMAINING, "0"), (RESET, "1795273240"), NOW], Some(by_date));
        check_pause(200, &[(REMAINING, "1"), (RESET, "1795273240"), NOW], None);
        check_pause(200, &[(REMAINING, "0"), (RESET, "1795273240")], Some(Pause { span: None, until }));
        check_pause(200, &[(REMAINING, "0"), (RESET, "30"), NOW], span(30));
        check_pause(200, &[(REMAINING, "0"), (RESET, "999999"), NOW], span(3600));
        check_pause(429, &[(REMAINING, "0")], Some(Pause::default()));
        check_pause(200, &[(RESET, "1795273240"), NOW], None);
    }

    #[test]
    fn a_clock_that_cannot_be_the_providers_tells_no_span() {
        let moment = |second| Timestamp::from_second(second).ok();
        for reset in ["1795270000", "1800000000"] {
            let until = moment(reset.parse().expect("a number"));
            check_pause(200, &[(REMAINING, "0"), (RESET, reset), NOW], Some(Pause { span: None, until }));
        }
    }

    #[test]
    fn a_server_that_says_when_it_is_back_is_left_alone() {
        check_pause(503, &[("retry-after", "20")], span(20));
        check_pause(503, &[("retry-after", "99999")], span(3600));
        check_pause(503, &[("retry-after", "Sat, 21 Nov 2026 15:01:00 GMT"), NOW], span(60));
        check_pause(503, &[], None);
        check_pause(200, &[("retry-after", "20")], None);
    }
}
