//! Durations with units: `90s`, `15m`, `2h`, `1d`, `1h30m`.

use jiff::SignedDuration;

/// Units from the largest down, with their length in seconds. A day is 24 hours, whatever the clocks do.
const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Only a number.
    #[error("has no unit")]
    NoUnit,
    /// Not numbers followed by units.
    #[error("is not a duration")]
    Malformed,
    /// `30m1h` or `1h2h`.
    #[error("must name each unit once, the largest first")]
    Order,
    /// Does not fit.
    #[error("is too long")]
    TooLong,
}

/// Reads a duration: whole numbers with the units d, h, m and s, the largest first, each at most once.
///
/// # Errors
/// When the text is anything else.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(DurationError::Malformed);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::NoUnit);
    }
    let mut seconds: i64 = 0;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letter = tail.chars().next().filter(|_| digits > 0).ok_or(DurationError::Malformed)?;
        if !UNITS.iter().any(|(unit, _)| *unit == letter) {
            return Err(DurationError::Malformed);
        }
        let (_, length) = units.find(|(unit, _)| *unit == letter).ok_or(DurationError::Order)?;
        let number: i64 = number.parse().map_err(|_| DurationError::TooLong)?;
        seconds =
            number.checked_mul(*length).and_then(|part| seconds.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = &tail[letter.len_utf8()..];
    }
    Ok(SignedDuration::from_secs(seconds))
}

/// Writes a duration as [`parse_duration`] reads it; parts of a second are dropped.
pub fn show_duration(duration: SignedDuration) -> String {
    let mut seconds = duration.as_secs();
    let mut text = String::new();
    for (unit, length) in UNITS {
        if seconds >= length {
            text.push_str(&format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<i64, DurationError>) {
        assert_eq!(parse_duration(text), expected.map(SignedDuration::from_secs), "{text}");
    }

    #[test]
    fn durations_are_numbers_with_units() {
        check("90s", Ok(90));
        check("15m", Ok(900));
        check("2h", Ok(7_200));
        check("1d", Ok(86_400));
        check("1h30m", Ok(5_400));
        check(" 1d2h3m4s ", Ok(93_784));
        check("0s", Ok(0));
        check("90", Err(DurationError::NoUnit));
        check("", Err(DurationError::Malformed));
        check("h", Err(DurationError::Malformed));
        check("-1h", Err(DurationError::Malformed));
        check("1.5h", Err(DurationError::Malformed));
        check("1w", Err(DurationError::Malformed));
        check("2 hours", Err(DurationError::Malformed));
        check("1h30", Err(DurationError::Malformed));
        check("30m1h", Err(DurationError::Order));
        check("1h1h", Err(DurationError::Order));
        check("99999999999999999999s", Err(DurationError::TooLong));
        check("9223372036854775807d", Err(DurationError::TooLong));
        check("5µ", Err(DurationError::Malformed));
    }

    #[test]
    fn a_duration_is_shown_as_it_is_read() {
        for seconds in [0, 1, 59, 60, 61, 3_599, 3_600, 5_400, 86_399, 86_400, 93_784, 31_536_000] {
            let duration = SignedDuration::from_secs(seconds);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        assert_eq!(show_duration(SignedDuration::from_secs(5_400)), "1h30m");
    }
}
