//! The provider's limit of requests, counted over its whole API, in civil time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How many requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests in a civil minute.
    pub per_minute: u32,
    /// The most of them at once.
    #[serde(default)]
    pub burst: Option<Burst>,
    /// Whether more are answered with 429. Otherwise the headers count down to nothing and every request is served.
    pub enforced: bool,
}

/// The most requests at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// How many.
    pub requests: u32,
    /// Within how many civil seconds.
    pub seconds: u32,
}

impl RateLimit {
    /// A limit for a minute that is enforced, without one for bursts.
    pub const fn enforced(per_minute: u32) -> Self {
        Self { per_minute, burst: None, enforced: true }
    }
}

/// Where a request stands. The headers speak of the minute only, as documented; a burst is refused without a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throttled {
    pub limit: u32,
    pub remaining: u32,
    pub reset_at: Timestamp,
    /// Civil seconds to wait; none where the request is served.
    pub retry_after: Option<u32>,
}

/// Counts requests in windows that begin with their first request.
pub(super) struct Throttle {
    limit: Option<RateLimit>,
    minute: Window,
    burst: Window,
}

impl Throttle {
    pub(super) fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, minute: Window::default(), burst: Window::default() }
    }

    /// Counts one request; none where there is no limit. A request that is refused uses nothing up.
    pub(super) fn count(&mut self, now: Timestamp) -> Option<Throttled> {
        let limit = self.limit?;
        let minute_ends = self.minute.ends_at(now, 60);
        let mut free_at = (self.minute.used >= limit.per_minute).then_some(minute_ends);
        if let Some(burst) = limit.burst {
            let burst_ends = self.burst.ends_at(now, burst.seconds);
            free_at = free_at.max((self.burst.used >= burst.requests).then_some(burst_ends));
        }
        let refused_until = free_at.filter(|_| limit.enforced);
        if refused_until.is_none() {
            self.minute.used = self.minute.used.saturating_add(1);
            self.burst.used = self.burst.used.saturating_add(1);
        }
        let retry_after = refused_until.map(|until| {
            let wait = until.duration_since(now).as_secs().saturating_add(1);
            u32::try_from(wait).unwrap_or(u32::MAX)
        });
        let remaining = limit.per_minute.saturating_sub(self.minute.used);
        Some(Throttled { limit: limit.per_minute, remaining, reset_at: minute_ends, retry_after })
    }
}

/// Requests since the first one of a window.
struct Window {
    since: Timestamp,
    used: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { since: Timestamp::MIN, used: 0 }
    }
}

impl Window {
    /// When this window ends, after a new one was begun if the last is over.
    fn ends_at(&mut self, now: Timestamp, seconds: u32) -> Timestamp {
        let length = SignedDuration::from_secs(seconds.into());
        if now.duration_since(self.since) >= length {
            (self.since, self.used) = (now, 0);
        }
        self.since + length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn the_throttle_counts_by_windows() {
        let mut throttle = Throttle::new(Some(RateLimit::enforced(2)));
        let retry_after = |throttled: Option<Throttled>| throttled.unwrap().retry_after;
        assert_eq!(throttle.count(second(0)).unwrap().remaining, 1);
        assert_eq!(retry_after(throttle.count(second(10))), None);
        assert_eq!(retry_after(throttle.count(second(50))), Some(11));
        assert_eq!(retry_after(throttle.count(second(60))), None);
        assert_eq!(Throttle::new(None).count(second(0)), None);
    }

    #[test]
    fn a_burst_is_refused_while_the_minute_still_has_room() {
        let burst = Some(Burst { requests: 2, seconds: 10 });
        let mut throttle = Throttle::new(Some(RateLimit { per_minute: 5, burst, enforced: true }));
        let mut count = |at| {
            let throttled = throttle.count(second(at)).unwrap();
            (throttled.remaining, throttled.retry_after)
        };
        let counted = [0, 1, 2, 10, 11, 12, 20, 21, 60].map(&mut count);
        assert_eq!(
            counted,
            [
                (4, None),
                (3, None),
                (3, Some(9)),
                (2, None),
                (1, None),
                (1, Some(9)),
                (0, None),
                (0, Some(40)),
                (4, None),
            ]
        );
    }

    #[test]
    fn a_limit_that_is_not_enforced_only_counts_down() {
        let mut throttle = Throttle::new(Some(RateLimit { per_minute: 1, burst: None, enforced: false }));
        for _ in 0..3 {
            let throttled = throttle.count(second(0)).unwrap();
            assert_eq!((throttled.remaining, throttled.retry_after), (0, None));
        }
    }
}
