//! What can go wrong between a client and the provider, and how often.
//!
//! Each probability is a number from 0 to 1. The faults of placing a call exclude each other, so their sum may not
//! exceed 1; the same holds for the faults of reading and for the faults of a webhook. Which request to place a call is
//! hit depends on the seed, the phone and how often that phone was asked for, not on when it arrives; which webhook, on
//! the seed, the phone and how often it was rung before; which read, on the seed and how many reads came before.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::span::Span;
use crate::domain::outcome::words;

words!(
    /// What happened to one request or one webhook.
    Fault {
        /// The call was placed; the connection was closed without an answer.
        AcceptedThenConnectionLost = "accepted_then_connection_lost",
        /// The call was placed; the answer was a 500.
        AcceptedThen500 = "accepted_then_500",
        /// Nothing was placed; the connection was closed without an answer.
        RefusedThenConnectionLost = "refused_then_connection_lost",
        /// Nothing was placed; the answer was a 500.
        RefusedWith500 = "refused_with_500",
        /// The call was placed at once; the answer came after `slow_for_ms`.
        SlowerThanTimeout = "slower_than_timeout",
        /// The call was placed; the answer is JSON that ends in the middle.
        TruncatedJson = "truncated_json",
        /// The answer is a page for people, status 200. A call may have been placed: the record says.
        Html = "html",
        /// The answer is a redirect (302 to a login page, or 307 to the same address). A call may have been placed.
        Redirect = "redirect",
        /// Nothing was placed; the answer was a 429, in one of its two documented bodies.
        RateLimited = "rate_limited",
        /// A read was answered with a 500.
        ServerError = "server_error",
        /// A read was answered by closing the connection.
        ConnectionLost = "connection_lost",
        /// The webhook was never sent.
        WebhookLost = "webhook_lost",
        /// The webhook was sent two times.
        WebhookTwice = "webhook_twice",
        /// The webhook was sent `webhook_late_by` after its time.
        WebhookLate = "webhook_late",
        /// The webhook was held back until another one had been sent.
        WebhookOutOfOrder = "webhook_out_of_order",
    }
);

/// How often which fault happens. The default is a provider that works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Probability of [`Fault::AcceptedThenConnectionLost`].
    pub accepted_then_connection_lost: f64,
    /// Probability of [`Fault::AcceptedThen500`].
    pub accepted_then_500: f64,
    /// Probability of [`Fault::RefusedThenConnectionLost`].
    pub refused_then_connection_lost: f64,
    /// Probability of [`Fault::RefusedWith500`].
    pub refused_with_500: f64,
    /// Probability of [`Fault::SlowerThanTimeout`].
    pub slower_than_timeout: f64,
    /// How long a slow answer takes, in real milliseconds: it has to outlast the client's timeout, which is real.
    pub slow_for_ms: u64,
    /// Probability of [`Fault::TruncatedJson`].
    pub truncated_json: f64,
    /// Probability of [`Fault::Html`].
    pub html: f64,
    /// Probability of [`Fault::Redirect`].
    pub redirect: f64,
    /// Probability of [`Fault::RateLimited`].
    pub rate_limited: f64,
    /// The `retry_after` of a 429 that is a fault, in civil seconds.
    pub retry_after: u32,
    /// How late the call list shows a call, civil; drawn for each call.
    pub list_lag: Span,
    /// Probability of [`Fault::WebhookLost`].
    pub webhook_lost: f64,
    /// Probability of [`Fault::WebhookTwice`].
    pub webhook_twice: f64,
    /// Probability of [`Fault::WebhookLate`].
    pub webhook_late: f64,
    /// How late a late webhook is, civil; also the longest that one out of order waits for another.
    pub webhook_late_by: Span,
    /// Probability of [`Fault::WebhookOutOfOrder`].
    pub webhook_out_of_order: f64,
    /// Faults of reading: assistants, calls, balance; also of canceling.
    pub reads: ReadFaults,
}

/// How often a read goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadFaults {
    /// Probability of [`Fault::TruncatedJson`].
    pub truncated_json: f64,
    /// Probability of [`Fault::Html`].
    pub html: f64,
    /// Probability of [`Fault::ServerError`].
    pub server_error: f64,
    /// Probability of [`Fault::ConnectionLost`].
    pub connection_lost: f64,
    /// Probability of [`Fault::RateLimited`].
    pub rate_limited: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            accepted_then_connection_lost: 0.0,
            accepted_then_500: 0.0,
            refused_then_connection_lost: 0.0,
            refused_with_500: 0.0,
            slower_than_timeout: 0.0,
            slow_for_ms: 15_000,
            truncated_json: 0.0,
            html: 0.0,
            redirect: 0.0,
            rate_limited: 0.0,
            retry_after: 5,
            list_lag: Span::ZERO,
            webhook_lost: 0.0,
            webhook_twice: 0.0,
            webhook_late: 0.0,
            webhook_late_by: Span::seconds(60, 300),
            webhook_out_of_order: 0.0,
            reads: ReadFaults::default(),
        }
    }
}

impl Faults {
    /// Every fault of placing and of webhooks with the same probability; reads work. `p` may be at most 1/9.
    pub fn all(p: f64) -> Self {
        Self {
            accepted_then_connection_lost: p,
            accepted_then_500: p,
            refused_then_connection_lost: p,
            refused_with_500: p,
            slower_than_timeout: p,
            truncated_json: p,
            html: p,
            redirect: p,
            rate_limited: p,
            webhook_lost: p,
            webhook_twice: p,
            webhook_late: p,
            webhook_out_of_order: p,
            ..Self::default()
        }
    }

    /// The same faults with every read fault at probability `p`.
    #[must_use]
    pub fn with_reads(self, p: f64) -> Self {
        let reads = ReadFaults { truncated_json: p, html: p, server_error: p, connection_lost: p, rate_limited: p };
        Self { reads, ..self }
    }

    /// Refuses probabilities that are none.
    ///
    /// # Errors
    /// A probability outside of 0 to 1, or faults that exclude each other and together exceed 1.
    pub fn validate(&self) -> Result<(), InvalidFaults> {
        for odds in [&self.placing()[..], &self.reading(), &self.webhook()] {
            if let Some((fault, probability)) = odds.iter().find(|(_, p)| !(0.0..=1.0).contains(p)) {
                return Err(InvalidFaults::Probability { fault: *fault, probability: *probability });
            }
            let sum: f64 = odds.iter().map(|(_, p)| p).sum();
            if sum > 1.0 + 1e-9 {
                return Err(InvalidFaults::Sum { first: odds[0].0, sum });
            }
        }
        Ok(())
    }

    /// What goes wrong with one request to place a call.
    pub(super) fn of_placing(&self, dice: &mut Dice) -> Option<Fault> {
        dice.pick(&self.placing(), 1.0)
    }

    /// What goes wrong with one read.
    pub(super) fn of_reading(&self, dice: &mut Dice) -> Option<Fault> {
        dice.pick(&self.reading(), 1.0)
    }

    /// What goes wrong with one webhook.
    pub(super) fn of_webhook(&self, dice: &mut Dice) -> Option<Fault> {
        dice.pick(&self.webhook(), 1.0)
    }

    fn placing(&self) -> [(Fault, f64); 9] {
        [
            (Fault::AcceptedThenConnectionLost, self.accepted_then_connection_lost),
            (Fault::AcceptedThen500, self.accepted_then_500),
            (Fault::RefusedThenConnectionLost, self.refused_then_connection_lost),
            (Fault::RefusedWith500, self.refused_with_500),
            (Fault::SlowerThanTimeout, self.slower_than_timeout),
            (Fault::TruncatedJson, self.truncated_json),
            (Fault::Html, self.html),
            (Fault::Redirect, self.redirect),
            (Fault::RateLimited, self.rate_limited),
        ]
    }

    fn reading(&self) -> [(Fault, f64); 5] {
        let reads = &self.reads;
        [
            (Fault::TruncatedJson, reads.truncated_json),
            (Fault::Html, reads.html),
            (Fault::ServerError, reads.server_error),
            (Fault::ConnectionLost, reads.connection_lost),
            (Fault::RateLimited, reads.rate_limited),
        ]
    }

    fn webhook(&self) -> [(Fault, f64); 4] {
        [
            (Fault::WebhookLost, self.webhook_lost),
            (Fault::WebhookTwice, self.webhook_twice),
            (Fault::WebhookLate, self.webhook_late),
            (Fault::WebhookOutOfOrder, self.webhook_out_of_order),
        ]
    }
}

/// Why faults cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidFaults {
    /// Not a probability.
    #[error("probability {probability} of {fault} is not between 0 and 1")]
    Probability {
        /// Whose.
        fault: Fault,
        /// What was given.
        probability: f64,
    },
    /// Faults that exclude each other.
    #[error("the probabilities of {first} and the faults it excludes add up to {sum}, more than 1")]
    Sum {
        /// The first fault of the group.
        first: Fault,
        /// What they add up to.
        sum: f64,
    },
    /// Not a list of settings.
    #[error("faults {text:?}: {problem}")]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl FromStr for Faults {
    type Err = InvalidFaults;

    /// Reads `html=0.1,slow_for_ms=500,reads.html=0.2`; `all=0.05` and `reads=0.05` set a whole group first.
    fn from_str(text: &str) -> Result<Self, InvalidFaults> {
        let invalid = |problem: String| InvalidFaults::Text { text: text.to_owned(), problem };
        let pairs = super::settings(text).map_err(invalid)?;
        let number = |name: &str| {
            let value = pairs.get(name);
            value.map(|v| v.as_f64().ok_or_else(|| invalid(format!("{name} is not a probability")))).transpose()
        };
        let mut faults = Self::all(number("all")?.unwrap_or(0.0)).with_reads(number("reads")?.unwrap_or(0.0));
        let mut tree = serde_json::to_value(&faults).map_err(|error| invalid(error.to_string()))?;
        for (name, value) in pairs.into_iter().filter(|(name, _)| name != "all" && name != "reads") {
            match name.strip_prefix("reads.") {
                Some(read) => tree["reads"][read] = value,
                None => tree[name.as_str()] = value,
            }
        }
        faults = serde_json::from_value(tree).map_err(|error| invalid(error.to_string()))?;
        faults.validate()?;
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_settings_is_read() {
        let faults: Faults = "all=0.05,html=0.2,slow_for_ms=500,reads.html=0.3,list_lag=5..60".parse().unwrap();
        let reads = ReadFaults { html: 0.3, ..ReadFaults::default() };
        let list_lag = Span::seconds(5, 60);
        assert_eq!(faults, Faults { html: 0.2, slow_for_ms: 500, reads, list_lag, ..Faults::all(0.05) });
        assert_eq!("".parse(), Ok(Faults::default()));
        assert_eq!("reads=0.1".parse(), Ok(Faults::default().with_reads(0.1)));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for text in ["html=1.5", "html=-0.1", "htlm=0.1", "html", "html=often", "all=0.2", "reads.soup=0.1", "all=x"] {
            assert!(text.parse::<Faults>().is_err(), "{text}");
        }
        let nan = Faults { html: f64::NAN, ..Faults::default() };
        assert!(nan.validate().is_err());
        assert_eq!(Faults::all(1.0 / 9.0).validate(), Ok(()));
    }

    #[test]
    fn certain_faults_always_happen_and_absent_ones_never() {
        for number in 0..100 {
            let mut dice = Dice::new(1, "fault", "", number);
            assert_eq!(Faults::default().of_placing(&mut dice), None);
            let certain = Faults { redirect: 1.0, ..Faults::default() };
            assert_eq!(certain.of_placing(&mut dice), Some(Fault::Redirect));
        }
    }
}
