//! A length of time that is drawn between two bounds.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::dice::Dice;

/// From the shortest to the longest, civil. Written `5..60` (seconds), `0.5..2` or `30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Written")]
pub struct Span {
    shortest_ms: u64,
    longest_ms: u64,
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self::seconds(0, 0);

    /// Longest span that can be asked for: 30 days. Keeps every sum of spans far away from any overflow.
    const MS_MAX: u64 = 30 * 24 * 3_600_000;

    /// From `shortest` to `longest` seconds; the longer one counts twice where they are the wrong way round.
    pub const fn seconds(shortest: u32, longest: u32) -> Self {
        Self::milliseconds(shortest as u64 * 1_000, longest as u64 * 1_000)
    }

    /// From `shortest` to `longest` milliseconds, at most 30 days.
    pub const fn milliseconds(shortest: u64, longest: u64) -> Self {
        let longest = if longest > Self::MS_MAX { Self::MS_MAX } else { longest };
        let shortest = if shortest > longest { longest } else { shortest };
        Self { shortest_ms: shortest, longest_ms: longest }
    }

    /// The longest it can be.
    pub fn longest(self) -> SignedDuration {
        duration(self.longest_ms)
    }

    pub(super) fn draw(self, dice: &mut Dice) -> SignedDuration {
        duration(dice.between(self.shortest_ms, self.longest_ms))
    }
}

fn duration(milliseconds: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(milliseconds).expect("a span is at most 30 days"))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shortest, longest) = (self.shortest_ms as f64 / 1e3, self.longest_ms as f64 / 1e3);
        if self.shortest_ms == self.longest_ms { write!(f, "{shortest}") } else { write!(f, "{shortest}..{longest}") }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// How a span may be written in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Seconds(f64),
}

impl TryFrom<Written> for Span {
    type Error = InvalidSpan;

    fn try_from(written: Written) -> Result<Self, InvalidSpan> {
        match written {
            Written::Text(text) => text.parse(),
            Written::Seconds(seconds) => seconds.to_string().parse(),
        }
    }
}

/// Text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a span in seconds such as 30 or 5..60 (at most 30 days)")]
pub struct InvalidSpan {
    /// What was given.
    pub text: String,
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
        let milliseconds = |part: &str| {
            let seconds: f64 = part.trim().parse().ok()?;
            let milliseconds = (seconds * 1e3).round();
            (0.0..=Self::MS_MAX as f64).contains(&milliseconds).then_some(milliseconds as u64)
        };
        match (milliseconds(shortest), milliseconds(longest)) {
            (Some(shortest_ms), Some(longest_ms)) if shortest_ms <= longest_ms => Ok(Self { shortest_ms, longest_ms }),
            _ => Err(InvalidSpan { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_trip() {
        for (text, span) in
            [("5..60", Span::seconds(5, 60)), ("30", Span::seconds(30, 30)), ("0.5..2", Span::milliseconds(500, 2000))]
        {
            assert_eq!(text.parse(), Ok(span));
            assert_eq!(span.to_string(), text);
        }
        for text in ["", "x", "-1", "9..5", "1..2..3", "1e12", "nan"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn drawn_spans_stay_within_their_bounds() {
        let span = Span::milliseconds(10, 12);
        for number in 0..50 {
            let drawn = span.draw(&mut Dice::new(1, "span", "", number));
            assert!((10..=12).contains(&drawn.as_millis()), "{drawn}");
        }
    }
}
