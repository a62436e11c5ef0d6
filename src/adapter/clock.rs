//! The only place that reads a clock.
//!
//! Everything else takes `now` as an argument. A [`ScaledClock`] turns real time into *civil* time, the time campaigns
//! live in: `civil = civil_origin + (real − real_origin) × factor`. In production both are the same; a demo or a test
//! lets a civil day pass in seconds. The literal form (`Display`, `FromStr`) is handed to other processes, so that a
//! simulator and two daemons agree on the civil time, and a restart does not rewind it.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::port::clock::Clock;

/// Civil time, running `factor` times as fast as real time.
///
/// The identity follows the system clock, corrections included: a daemon that runs for weeks must not judge calling
/// windows by the hour it was started with. Any other clock is tied to the monotonic clock once, so that it never goes
/// back: a correction of a second would move it by `factor` seconds.
#[derive(Clone, Copy, Debug)]
pub struct ScaledClock {
    civil_origin: Timestamp,
    real_origin: Timestamp,
    factor: u32,
    anchor: Option<Anchor>,
}

/// One reading of both system clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    real: Timestamp,
    instant: Instant,
}

impl ScaledClock {
    /// A civil year passes in about five minutes; beyond that, milliseconds of scheduling delay become minutes.
    pub const FACTOR_MAX: u32 = 100_000;

    /// Civil time is real time.
    pub const fn identity() -> Self {
        Self { civil_origin: Timestamp::UNIX_EPOCH, real_origin: Timestamp::UNIX_EPOCH, factor: 1, anchor: None }
    }

    /// Civil time is `civil_origin` at the real instant `real_origin`, and runs `factor` times as fast.
    ///
    /// # Errors
    /// A factor outside of 1 to [`Self::FACTOR_MAX`].
    pub fn new(civil_origin: Timestamp, real_origin: Timestamp, factor: u32) -> Result<Self, InvalidClock> {
        if factor == 0 || factor > Self::FACTOR_MAX {
            return Err(InvalidClock::Factor { factor: factor.to_string() });
        }
        let identity = factor == 1 && civil_origin == real_origin;
        let anchor = (!identity).then(|| Anchor { real: system_now(), instant: Instant::now() });
        Ok(Self { civil_origin, real_origin, factor, anchor })
    }

    /// Civil time is `civil_origin` at this moment, and runs `factor` times as fast.
    ///
    /// # Errors
    /// A factor outside of 1 to [`Self::FACTOR_MAX`].
    pub fn starting_at(civil_origin: Timestamp, factor: u32) -> Result<Self, InvalidClock> {
        Self::new(civil_origin, system_now(), factor)
    }

    /// Whether civil time is real time.
    pub const fn is_identity(&self) -> bool {
        self.anchor.is_none()
    }

    /// The civil time at the real origin.
    pub const fn civil_origin(&self) -> Timestamp {
        self.civil_origin
    }

    /// The real time at the civil origin.
    pub const fn real_origin(&self) -> Timestamp {
        self.real_origin
    }

    /// How many civil seconds pass in a real one.
    pub const fn factor(&self) -> u32 {
        self.factor
    }

    /// The civil time, in whole microseconds (what Postgres can store).
    ///
    /// # Panics
    /// Where civil time leaves the years that jiff knows.
    pub fn now(&self) -> Timestamp {
        truncated(self.civil_at(self.real_now()))
    }

    /// The real time, in whole microseconds; for comparing with what other machines say.
    pub fn real_now(&self) -> Timestamp {
        let real = match self.anchor {
            None => system_now(),
            Some(Anchor { real, instant }) => real + instant.elapsed(),
        };
        truncated(real)
    }

    /// How long to really wait for a civil span; nothing for a negative one. Rounded up, so that a wait never ends
    /// before its civil moment.
    pub fn civil_to_real(&self, civil: SignedDuration) -> Duration {
        let nanos = civil.as_nanos().max(0).unsigned_abs().div_ceil(u128::from(self.factor));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How much civil time passes in a real span.
    pub fn real_to_civil(&self, real: Duration) -> SignedDuration {
        let nanos = real.as_nanos().saturating_mul(u128::from(self.factor));
        SignedDuration::try_from_nanos_i128(i128::try_from(nanos).unwrap_or(i128::MAX)).unwrap_or(SignedDuration::MAX)
    }

    fn civil_at(&self, real: Timestamp) -> Timestamp {
        let nanos = (real.as_nanosecond() - self.real_origin.as_nanosecond()) * i128::from(self.factor);
        Timestamp::from_nanosecond(self.civil_origin.as_nanosecond() + nanos)
            .expect("civil time stays within jiff's years")
    }
}

/// Reads the system clock.
#[expect(clippy::disallowed_methods, reason = "the one place that may read the system clock")]
fn system_now() -> Timestamp {
    Timestamp::now()
}

fn truncated(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).expect("it was a timestamp before it lost its nanoseconds")
}

/// A clock literal that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClock {
    /// Not three parts.
    #[error("clock {literal:?} is not <civil origin>/<real origin>/<factor>")]
    Shape {
        /// What was given.
        literal: String,
    },
    /// One of the origins is no instant.
    #[error("clock origin {origin:?} is not an instant such as 2026-03-02T08:00:00Z")]
    Origin {
        /// What was given.
        origin: String,
    },
    /// The factor is no number, zero or too large.
    #[error("clock factor {factor} is not a whole number from 1 to {}", ScaledClock::FACTOR_MAX)]
    Factor {
        /// What was given.
        factor: String,
    },
}

impl fmt::Display for ScaledClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.civil_origin, self.real_origin, self.factor)
    }
}

impl FromStr for ScaledClock {
    type Err = InvalidClock;

    fn from_str(literal: &str) -> Result<Self, InvalidClock> {
        let parts: Vec<&str> = literal.split('/').collect();
        let [civil, real, factor] = parts[..] else {
            return Err(InvalidClock::Shape { literal: literal.to_owned() });
        };
        let origin =
            |text: &str| text.parse::<Timestamp>().map_err(|_| InvalidClock::Origin { origin: text.to_owned() });
        let factor_number = factor.parse().map_err(|_| InvalidClock::Factor { factor: factor.to_owned() })?;
        Self::new(origin(civil)?, origin(real)?, factor_number)
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn wall(&self) -> Timestamp {
        self.real_now()
    }

    fn monotonic(&self) -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    fn real_to_civil(&self, span: Duration) -> SignedDuration {
        Self::real_to_civil(self, span)
    }

    fn civil_to_real(&self, span: SignedDuration) -> Duration {
        Self::civil_to_real(self, span)
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn identity_is_the_system_clock() {
        let clock = ScaledClock::identity();
        let before = truncated(system_now());
        let now = clock.now();
        assert!(before <= now && now <= system_now(), "{before} {now}");
        assert_eq!(now.as_nanosecond() % 1_000, 0);
        assert!(clock.to_string().parse::<ScaledClock>().unwrap().is_identity());
        assert_eq!(clock.civil_to_real(SignedDuration::from_secs(3)), Duration::from_secs(3));
    }

    #[test]
    fn civil_time_follows_the_formula() {
        let clock = ScaledClock::new(at("2026-03-02T08:00:00Z"), at("2026-11-21T12:00:00Z"), 60).unwrap();
        assert_eq!(clock.civil_at(at("2026-11-21T12:00:00Z")), at("2026-03-02T08:00:00Z"));
        assert_eq!(clock.civil_at(at("2026-11-21T12:01:30Z")), at("2026-03-02T09:30:00Z"));
        assert_eq!(clock.civil_at(at("2026-11-21T11:59:00Z")), at("2026-03-02T07:00:00Z"));
        assert_eq!(clock.civil_to_real(SignedDuration::from_secs(90)), Duration::from_millis(1500));
        assert_eq!(clock.civil_to_real(SignedDuration::from_nanos(61)), Duration::from_nanos(2), "rounded up");
        assert_eq!(clock.civil_to_real(SignedDuration::from_secs(-5)), Duration::ZERO);
        assert_eq!(clock.real_to_civil(Duration::from_millis(1500)), SignedDuration::from_secs(90));
        assert_eq!(clock.real_to_civil(Duration::MAX), SignedDuration::MAX);
    }

    #[test]
    fn two_clocks_with_one_literal_agree() {
        let clock = ScaledClock::starting_at(at("2026-03-02T08:00:00Z"), 1000).unwrap();
        let other: ScaledClock = clock.to_string().parse().unwrap();
        let apart = other.now().duration_since(clock.now()).abs();
        assert!(apart < SignedDuration::from_secs(300), "{apart}: 0.3 real seconds between two readings");
        assert_eq!(other.to_string(), clock.to_string());
        let first = clock.now();
        assert!(clock.now() >= first);
    }

    #[test]
    fn nonsense_is_refused() {
        for literal in ["", "2026-03-02T08:00:00Z", "2026-03-02T08:00:00Z/x/1", "2026-03-02/2026-03-02T08:00:00Z/1"] {
            assert!(literal.parse::<ScaledClock>().is_err(), "{literal}");
        }
        for factor in ["0", "-1", "100001", "1.5", ""] {
            let literal = format!("2026-03-02T08:00:00Z/2026-03-02T08:00:00Z/{factor}");
            assert_eq!(literal.parse::<ScaledClock>().unwrap_err(), InvalidClock::Factor { factor: factor.to_owned() });
        }
    }
}
