//! How many calls may start, and when the next one may.
//!
//! Rates are enforced by governor at the moment a request leaves, in civil time, with a burst of one: the default burst
//! of a quota of 20 a minute lets 39 starts into a minute. With a burst of one the only state of a limit is when the last
//! start left, so a fresh pacer is primed by behaving as if a call had just left.
//!
//! A provider that refuses starts for their number lowers the account's rate ([`Throttle`]), never raises it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};

use crate::domain::campaign::Pacing;
use crate::domain::id::{CampaignId, Epoch};

/// Starts per second and minute of one account and its campaigns.
#[derive(Debug)]
pub struct Pacer {
    limits: Pacing,
    account: Vec<Gauge>,
    campaigns: BTreeMap<CampaignId, (Pacing, Vec<Gauge>)>,
    clock: CivilClock,
    origin: Timestamp,
    throttle: Throttle,
    /// The slow interval at which the throttle lets starts go, and when the next one may.
    base_interval: u64,
    throttled_until: u64,
    /// The share of the rate that was last spoken of.
    told: Share,
}

const UNKNOWN_CAMPAIGN_WAIT: SignedDuration = SignedDuration::from_millis(50);

/// One limit.
#[derive(Debug)]
struct Gauge {
    limiter: RateLimiter<NotKeyed, InMemoryState, CivilClock, NoOpMiddleware<Nanos>>,
    interval: u64,
    next: u64,
}

/// Civil nanoseconds since the pacer was made; set before each question.
#[derive(Clone, Debug)]
struct CivilClock(Arc<AtomicU64>);

impl GovernorClock for CivilClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl Pacer {
    /// A pacer that behaves as if a call had left at `now`.
    pub fn new(limits: &Pacing, now: Timestamp) -> Self {
        let clock = CivilClock(Arc::new(AtomicU64::new(0)));
        let account = gauges(limits, &clock, 0);
        let base_interval = base_interval(&account);
        Self {
            limits: limits.clone(),
            account,
            campaigns: BTreeMap::new(),
            clock,
            origin: now,
            throttle: Throttle::default(),
            base_interval,
            throttled_until: 0,
            told: Share::FULL,
        }
    }

    /// Takes over the account's limits. A change counts as a start: the next one leaves an interval of the new rate later,
    /// whatever the old one had promised. What is left of the rate after refusals stays what it was.
    pub fn set_account(&mut self, limits: &Pacing, now: Timestamp) {
        let at = self.set_clock(now);
        let rates = |limits: &Pacing| (limits.calls_per_second, limits.calls_per_minute);
        if rates(&self.limits) == rates(limits) {
            return;
        }
        self.limits = limits.clone();
        self.account = gauges(limits, &self.clock, at);
        self.base_interval = base_interval(&self.account);
        let share = self.throttle.share(now);
        self.throttled_until = if share == Share::FULL { 0 } else { at + share.stretch(self.base_interval) };
    }

    /// The provider refused a start that left at `sent_at` because there were too many. Answers the new share of the
    /// configured rate, if that makes a difference.
    pub fn refused(&mut self, sent_at: Timestamp, now: Timestamp) -> Option<Share> {
        let share = self.throttle.refused(sent_at, now)?;
        let at = self.set_clock(now);
        self.throttled_until = self.throttled_until.max(at + share.stretch(self.base_interval));
        let news = self.told != share;
        self.told = share;
        news.then_some(share)
    }

    /// Whether the whole rate may be used again; `true` once each time.
    pub fn recovered(&mut self, now: Timestamp) -> bool {
        let whole = self.told != Share::FULL && self.throttle.share(now) == Share::FULL;
        if whole {
            self.told = Share::FULL;
        }
        whole
    }

    /// How many starts a minute a share of the account's rate is.
    pub fn per_minute(&self, share: Share) -> f64 {
        MINUTE.as_secs_f64() / Duration::from_nanos(share.stretch(self.base_interval)).as_secs_f64()
    }

    /// How many starts a minute are allowed now.
    pub fn allowed_per_minute(&self, now: Timestamp) -> f64 {
        self.per_minute(self.throttle.share(now))
    }

    /// Whether less than the whole rate is allowed now.
    pub fn is_throttled(&self, now: Timestamp) -> bool {
        self.throttle.share(now) != Share::FULL
    }

    /// Takes over a campaign's limits; a change counts as a start, so that it cannot be used to jump the queue.
    pub fn set_campaign(&mut self, campaign_id: CampaignId, limits: &Pacing, now: Timestamp) {
        let at = self.set_clock(now);
        let same = self.campaigns.get(&campaign_id).is_some_and(|(present, _)| {
            (present.calls_per_second, present.calls_per_minute) == (limits.calls_per_second, limits.calls_per_minute)
        });
        if !same {
            let gauges = gauges(limits, &self.clock, at);
            self.campaigns.insert(campaign_id, (limits.clone(), gauges));
        }
    }

    /// How many starts of a campaign fit into the time from `now` to `now + horizon`, `reserved` of which are given away.
    pub fn slots(&mut self, campaign_id: CampaignId, now: Timestamp, horizon: SignedDuration, reserved: u32) -> u32 {
        let at = self.set_clock(now);
        let Some((_, campaign)) = self.campaigns.get(&campaign_id) else { return 0 };
        slots_of(campaign, at, horizon, reserved)
    }

    /// How many starts of the account fit, as above.
    pub fn account_slots(&mut self, now: Timestamp, horizon: SignedDuration, reserved: u32) -> u32 {
        let at = self.set_clock(now);
        let slots = slots_of(&self.account, at, horizon, reserved);
        let share = self.throttle.share(now);
        if share == Share::FULL {
            return slots;
        }
        let slow = (self.throttled_until, share.stretch(self.base_interval));
        slots.min(fit(slow, at, at + nanos(horizon)).saturating_sub(reserved))
    }

    /// How long a campaign's next start has to wait at least.
    pub fn wait(&mut self, campaign_id: CampaignId, now: Timestamp) -> SignedDuration {
        let at = self.set_clock(now);
        let Some((_, campaign)) = self.campaigns.get(&campaign_id) else { return UNKNOWN_CAMPAIGN_WAIT };
        let next = self.account.iter().chain(campaign).map(|gauge| gauge.next).max().unwrap_or(0);
        let next = next.max(self.throttled_until);
        SignedDuration::from_nanos(i64::try_from(next.saturating_sub(at)).unwrap_or(i64::MAX))
    }

    /// Charges a start to every limit, or says how much civil time to wait.
    ///
    /// # Errors
    /// When a limit has no room at `now`; nothing is charged then.
    pub fn charge(&mut self, campaign_id: CampaignId, now: Timestamp) -> Result<(), SignedDuration> {
        let at = self.set_clock(now);
        let Some((_, campaign)) = self.campaigns.get_mut(&campaign_id) else {
            // A fresh pacer has not been told the campaign's limits yet; it is, with the next reading of the tables.
            return Err(UNKNOWN_CAMPAIGN_WAIT);
        };
        let mut gauges: Vec<&mut Gauge> = self.account.iter_mut().chain(campaign).collect();
        let next = gauges.iter().map(|gauge| gauge.next).max().unwrap_or(0).max(self.throttled_until);
        if next > at {
            return Err(SignedDuration::from_nanos(i64::try_from(next - at).unwrap_or(i64::MAX)));
        }
        for gauge in &mut gauges {
            if gauge.limiter.check().is_err() {
                // governor and our forecast agree to the nanosecond; should they not, the stricter one wins.
                gauge.next = at + gauge.interval;
                return Err(SignedDuration::from_nanos(i64::try_from(gauge.interval).unwrap_or(i64::MAX)));
            }
            gauge.next = at + gauge.interval;
        }
        let share = self.throttle.share(now);
        self.throttled_until = if share == Share::FULL { 0 } else { at + share.stretch(self.base_interval) };
        Ok(())
    }

    fn set_clock(&mut self, now: Timestamp) -> u64 {
        let at = u64::try_from(now.duration_since(self.origin).as_nanos()).unwrap_or(0);
        self.clock.0.fetch_max(at, Ordering::Relaxed).max(at)
    }
}

fn gauges(limits: &Pacing, clock: &CivilClock, at: u64) -> Vec<Gauge> {
    let per = |count: Option<NonZeroU32>, span: Duration| {
        let interval = span.checked_div(count?.get())?.max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval)?.allow_burst(NonZeroU32::MIN);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        let interval = u64::try_from(interval.as_nanos()).ok()?;
        // Primed: as if a call had left just now.
        let _ = limiter.check();
        Some(Gauge { limiter, interval, next: at + interval })
    };
    [per(limits.calls_per_second, Duration::from_secs(1)), per(limits.calls_per_minute, Duration::from_secs(60))]
        .into_iter()
        .flatten()
        .collect()
}

/// How far starts lie apart at the full rate.
fn base_interval(account: &[Gauge]) -> u64 {
    account.iter().map(|gauge| gauge.interval).max().unwrap_or(UNLIMITED_INTERVAL)
}

fn slots_of(gauges: &[Gauge], at: u64, horizon: SignedDuration, reserved: u32) -> u32 {
    let end = at + nanos(horizon);
    gauges
        .iter()
        .map(|gauge| fit((gauge.next, gauge.interval), at, end))
        .min()
        .unwrap_or(u32::MAX)
        .saturating_sub(reserved)
}

/// How many starts that go at `next` and an interval apart fit between `at` and `end`.
fn fit((next, interval): (u64, u64), at: u64, end: u64) -> u32 {
    let first = next.max(at);
    if first > end {
        return 0;
    }
    u32::try_from((end - first) / interval).unwrap_or(u32::MAX).saturating_add(1)
}

fn nanos(span: SignedDuration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(0)
}

/// What a throttled account without a rate of its own is slowed down from: twenty starts a second.
const UNLIMITED_INTERVAL: u64 = 50_000_000;

/// A share of the configured rate, in sixteenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// All of it.
    pub const FULL: Self = Self(16);
    /// The least that is left: a rate that grows from nothing would never be found out to be welcome again.
    pub const FLOOR: Self = Self(1);

    fn halved(self) -> Self {
        Self(self.0 / 2).max(Self::FLOOR)
    }

    fn grown(self, steps: i64) -> Self {
        let steps = u8::try_from(steps.clamp(0, i64::from(Self::FULL.0))).unwrap_or(Self::FULL.0);
        Self(self.0 + steps).min(Self::FULL)
    }

    /// An interval between starts at the full rate, at this one.
    fn stretch(self, interval: u64) -> u64 {
        interval.saturating_mul(u64::from(Self::FULL.0)) / u64::from(self.0)
    }
}

/// How long the rate has to be borne until it grows by a sixteenth, civil.
pub const RECOVERY_STEP: SignedDuration = SignedDuration::from_secs(20);

/// What is left of the start rate of an account whose provider has refused starts for their number: halved by a refusal,
/// grown by steps while none comes. Refusals of starts that left before the last cut speak of the rate before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    cut: Option<(Share, Timestamp)>,
}

impl Throttle {
    /// What is left at `now`.
    pub fn share(&self, now: Timestamp) -> Share {
        self.cut.map_or(Share::FULL, |(share, at)| {
            share.grown(now.duration_since(at).as_millis() as i64 / RECOVERY_STEP.as_millis() as i64)
        })
    }

    /// A start that left at `sent_at` was refused. Answers what is left, unless that was known.
    pub fn refused(&mut self, sent_at: Timestamp, now: Timestamp) -> Option<Share> {
        if self.cut.is_some_and(|(_, at)| sent_at <= at) {
            return None;
        }
        let share = self.share(now).halved();
        self.cut = Some((share, now));
        Some(share)
    }
}

/// All requests to an account's provider, in any minute and in any shorter time its provider bounds; starts go first.
#[derive(Debug)]
pub struct RequestBudget {
    spans: Vec<Span>,
    sent: VecDeque<Timestamp>,
    starts_per_minute: u32,
    /// The fewest a minute that the provider has said it allows.
    told: Option<u32>,
    term: Option<Epoch>,
    /// When it began to fill, if somebody else may have used it up before.
    fills_since: Option<Timestamp>,
}

/// So many requests in any time of a length.
#[derive(Debug)]
struct Span {
    length: SignedDuration,
    limit: usize,
    /// What reads leave to starts.
    reserve: usize,
}

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

impl Span {
    /// Reads leave room for as many starts as may come in its length; half of the limit at most.
    fn new(limit: u32, length: SignedDuration, starts_per_minute: u32) -> Self {
        let starts = (f64::from(starts_per_minute) * length.as_secs_f64() / MINUTE.as_secs_f64()).ceil();
        let limit = limit as usize;
        Self { length, limit, reserve: (limit / 2).min(starts as usize) }
    }

    /// How much of `count`, its limit or its reserve, has filled in at `now`.
    fn filled(&self, count: usize, fills_since: Option<Timestamp>, now: Timestamp) -> usize {
        let Some(since) = fills_since.filter(|since| now < *since + self.length) else { return count };
        let passed = now.duration_since(since).as_nanos().max(0).unsigned_abs() * count as u128;
        (passed / self.length.as_nanos().unsigned_abs()) as usize
    }

    /// When `count` requests will have filled in.
    fn filled_at(&self, count: usize, since: Timestamp) -> Timestamp {
        let nanos = (self.length.as_nanos() * count as i128).unsigned_abs().div_ceil(self.limit as u128);
        // Clocks show microseconds.
        since + SignedDuration::from_micros(nanos.div_ceil(1_000) as i64)
    }

    /// How many of `sent` it holds at `now`.
    fn used(&self, sent: &VecDeque<Timestamp>, now: Timestamp) -> usize {
        sent.len() - sent.partition_point(|at| *at + self.length <= now)
    }
}

impl RequestBudget {
    /// A budget of `limit` requests a minute, at most `burst` of them within its time, of which reads leave what
    /// `starts_per_minute` may need (half at most) to starts.
    pub fn new(limit: Option<u32>, burst: Option<(u32, SignedDuration)>, starts_per_minute: u32) -> Self {
        let mut budget = Self {
            spans: Vec::new(),
            sent: VecDeque::new(),
            starts_per_minute,
            told: None,
            term: None,
            fills_since: None,
        };
        budget.set(limit, burst, starts_per_minute);
        budget
    }

    /// Takes over other limits; what was sent still counts, and so does what the provider has said.
    pub fn set(&mut self, limit: Option<u32>, burst: Option<(u32, SignedDuration)>, starts_per_minute: u32) {
        let spans = limit.map(|limit| (limit, MINUTE)).into_iter().chain(burst);
        self.spans = spans.map(|(limit, length)| Span::new(limit, length, starts_per_minute)).collect();
        self.starts_per_minute = starts_per_minute;
        if let Some(told) = self.told {
            self.lower(told);
        }
    }

    /// The account is dialed by this replica from `now` on, for a term of its lease. Whoever had an earlier term may just
    /// have used up everything, and its reads are counted nowhere: unless the account was never dialed, or nobody else has
    /// dialed it meanwhile, the budget is empty, and fills in the time it is for.
    pub fn begin_term(&mut self, term: Epoch, now: Timestamp) {
        if self.term != Some(term) && term > Epoch(1) {
            self.fills_since = Some(now);
        }
        self.term = Some(term);
    }

    /// Takes a start's request, or says how much civil time to wait.
    ///
    /// # Errors
    /// When the requests of the minute, or of a shorter time, are used up.
    pub fn start(&mut self, now: Timestamp) -> Result<(), SignedDuration> {
        self.forget(now);
        let fills = self.fills_since;
        let full = |span: &&Span| span.used(&self.sent, now) >= span.filled(span.limit, fills, now);
        let free_at = |span: &Span| match (span.used(&self.sent, now), fills) {
            (used, Some(since)) if used < span.limit => span.filled_at(used + 1, since),
            _ => self.sent[self.sent.len() - span.limit] + span.length,
        };
        match self.spans.iter().filter(full).map(free_at).max() {
            Some(free_at) => Err(free_at.duration_since(now)),
            None => {
                self.note(now);
                Ok(())
            }
        }
    }

    /// How many requests are left for starts.
    pub fn left(&mut self, now: Timestamp) -> u32 {
        self.forget(now);
        let fills = self.fills_since;
        let left = |span: &Span| span.filled(span.limit, fills, now).saturating_sub(span.used(&self.sent, now));
        self.spans.iter().map(left).min().map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Takes a read's request, if reads may have one.
    pub fn read(&mut self, now: Timestamp) -> bool {
        let room = self.left_for_reads(now) > 0;
        if room {
            self.note(now);
        }
        room
    }

    /// How many requests are left for reads.
    pub fn left_for_reads(&mut self, now: Timestamp) -> u32 {
        self.forget(now);
        let fills = self.fills_since;
        let left = |span: &Span| {
            let reserve = span.filled(span.reserve, fills, now);
            span.filled(span.limit, fills, now).saturating_sub(span.used(&self.sent, now) + reserve)
        };
        self.spans.iter().map(left).min().map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// The provider allows so many requests a minute; fewer than before are obeyed, more are not used. Answers whether
    /// that changes anything.
    pub fn lower(&mut self, limit: u32) -> bool {
        self.told = Some(self.told.map_or(limit, |told| told.min(limit)));
        let lower = Span::new(limit.max(1), MINUTE, self.starts_per_minute);
        match self.spans.iter_mut().find(|span| span.length == MINUTE) {
            Some(present) if present.limit <= lower.limit => false,
            Some(present) => {
                *present = lower;
                true
            }
            None => {
                self.spans.push(lower);
                true
            }
        }
    }

    fn note(&mut self, now: Timestamp) {
        if !self.spans.is_empty() {
            // A pass may ask with the moment it began at. Later than true is safe, and keeps the order.
            let latest = self.sent.back().map_or(now, |latest| now.max(*latest));
            self.sent.push_back(latest);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let longest = self.spans.iter().map(|span| span.length).max().unwrap_or_default();
        while self.sent.front().is_some_and(|at| *at + longest <= now) {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: CampaignId = CampaignId(1);
    const QUARTER: SignedDuration = SignedDuration::from_millis(250);

    fn at(millis: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(millis)
    }

    fn limits(per_second: Option<u32>, per_minute: Option<u32>) -> Pacing {
        Pacing {
            calls_per_second: per_second.and_then(NonZeroU32::new),
            calls_per_minute: per_minute.and_then(NonZeroU32::new),
            ..Pacing::default()
        }
    }

    /// A pacer for an account with `limits` and a campaign without any.
    fn pacer(limits: &Pacing) -> Pacer {
        let mut pacer = Pacer::new(limits, at(0));
        pacer.set_campaign(ONE, &Pacing::default(), at(0));
        pacer
    }

    #[test]
    fn a_minute_of_twenty_has_twenty_starts_wherever_it_begins() {
        let mut pacer = pacer(&limits(None, Some(20)));
        let starts: Vec<i64> = (0..300_000).step_by(7).filter(|ms| pacer.charge(ONE, at(*ms)).is_ok()).collect();
        for (index, start) in starts.iter().enumerate() {
            let in_minute = starts[index..].iter().take_while(|other| **other < start + 60_000).count();
            assert!(in_minute <= 20, "{in_minute} starts from {start} ms");
        }
        assert!(starts.len() >= 99, "the limit is used: {}", starts.len());
    }

    #[test]
    fn the_strictest_of_account_and_campaign_holds_and_nothing_is_charged_in_vain() {
        let mut pacer = Pacer::new(&limits(Some(10), None), at(0));
        pacer.set_campaign(ONE, &limits(Some(2), None), at(0));
        pacer.set_campaign(CampaignId(2), &Pacing::default(), at(0));
        assert!(pacer.charge(CampaignId(3), at(100)).is_err(), "a campaign whose limits are unknown does not start");
        assert!(pacer.charge(ONE, at(100)).is_err(), "the campaign has room from 500 ms on");
        assert!(pacer.charge(CampaignId(2), at(100)).is_ok(), "the account's slot was not used up by the refusal");
        assert!(pacer.charge(ONE, at(500)).is_ok());
        assert_eq!(pacer.charge(ONE, at(500)), Err(SignedDuration::from_millis(500)));
    }

    #[test]
    fn slots_count_what_fits_and_what_is_given_away() {
        let mut pacer = pacer(&limits(Some(10), None));
        assert_eq!(pacer.account_slots(at(0), QUARTER, 0), 2);
        assert_eq!(pacer.account_slots(at(1000), QUARTER, 0), 3);
        assert_eq!(pacer.account_slots(at(1000), QUARTER, 2), 1);
        assert_eq!(pacer.slots(ONE, at(0), QUARTER, 0), u32::MAX, "a campaign without limits of its own");
        let mut slow = Pacer::new(&limits(None, Some(20)), at(0));
        assert_eq!(slow.account_slots(at(100), QUARTER, 0), 0);
        assert_eq!(slow.account_slots(at(2900), QUARTER, 0), 1);
    }

    #[test]
    fn reads_leave_room_for_starts() {
        let mut budget = RequestBudget::new(Some(10), None, 4);
        assert_eq!((0..20).filter(|_| budget.read(at(0))).count(), 6);
        assert_eq!((0..20).filter(|_| budget.start(at(1000)).is_ok()).count(), 4);
        assert_eq!(budget.start(at(1000)), Err(SignedDuration::from_secs(59)));
        assert!(budget.start(at(60_000)).is_ok());
        assert!(RequestBudget::new(None, None, 0).read(at(0)));
    }

    #[test]
    fn a_burst_is_bounded_inside_the_minute() {
        let mut budget = RequestBudget::new(Some(100), Some((20, SignedDuration::from_secs(10))), 20);
        assert_eq!(budget.left(at(0)), 20);
        assert_eq!((0..50).filter(|_| budget.read(at(0))).count(), 16, "four starts may come in ten seconds");
        assert_eq!((0..50).filter(|_| budget.start(at(500)).is_ok()).count(), 4);
        assert_eq!(budget.left(at(500)), 0);
        assert_eq!(budget.start(at(500)), Err(SignedDuration::from_millis(9_500)));
        assert_eq!(budget.left(at(10_000)), 16);
        assert!(budget.start(at(10_000)).is_ok());
        let alone = RequestBudget::new(None, Some((2, SignedDuration::from_secs(10))), 0).left(at(0));
        assert_eq!(alone, 2, "a burst may be all that is bounded");
    }

    #[test]
    fn a_lower_limit_is_obeyed_and_a_higher_one_not_used() {
        let mut budget = RequestBudget::new(Some(10), None, 2);
        assert!(budget.lower(4));
        assert!(!budget.lower(4), "told once");
        assert!(!budget.lower(1000));
        assert_eq!((0..20).filter(|_| budget.read(at(0))).count(), 2);
        assert_eq!((0..20).filter(|_| budget.start(at(1)).is_ok()).count(), 2);
        assert_eq!(budget.left(at(2)), 0);
        let mut unlimited = RequestBudget::new(None, None, 20);
        assert!(unlimited.lower(6));
        assert_eq!((0..20).filter(|_| unlimited.start(at(0)).is_ok()).count(), 6);
    }

    #[test]
    fn what_was_sent_under_a_higher_limit_counts_under_a_lower_one() {
        let mut budget = RequestBudget::new(Some(10), None, 0);
        assert_eq!((0..10).filter(|second| budget.start(at(second * 1000)).is_ok()).count(), 10);
        assert!(budget.lower(5));
        assert_eq!(budget.start(at(10_000)), Err(SignedDuration::from_secs(55)), "until five of the ten are left");
    }

    #[test]
    fn a_new_rate_holds_from_its_first_start_without_a_burst() {
        let mut pacer = pacer(&limits(None, Some(1)));
        let run = |pacer: &mut Pacer, from: i64, until: i64| -> Vec<i64> {
            (from..until).step_by(10).filter(|ms| pacer.charge(ONE, at(*ms)).is_ok()).collect()
        };
        assert_eq!(run(&mut pacer, 0, 70_000), [60_000]);
        pacer.set_account(&limits(None, Some(60)), at(70_000));
        assert_eq!(run(&mut pacer, 70_000, 73_010), [71_000, 72_000, 73_000], "a second apart, from a second on");
        pacer.set_account(&limits(None, Some(60)), at(73_500));
        assert_eq!(run(&mut pacer, 73_500, 74_010), [74_000], "the same rate is no change");
        pacer.set_account(&limits(Some(1), Some(6)), at(74_500));
        assert_eq!(run(&mut pacer, 74_500, 95_000), [84_500, 94_500], "the slower one holds at once, too");
        pacer.set_account(&limits(None, None), at(95_000));
        assert_eq!(run(&mut pacer, 95_000, 95_020), [95_000, 95_010]);
    }

    #[test]
    fn a_new_rate_does_not_undo_what_refusals_have_cost() {
        let mut pacer = pacer(&limits(None, Some(60)));
        assert!(pacer.charge(ONE, at(1_000)).is_ok());
        pacer.refused(at(1_000), at(1_200)).expect("news");
        pacer.set_account(&limits(None, Some(120)), at(1_300));
        assert!(pacer.charge(ONE, at(2_299)).is_err(), "half of the new rate");
        assert!(pacer.charge(ONE, at(2_300)).is_ok());
    }

    #[test]
    fn another_budget_remembers_what_was_sent_and_what_the_provider_said() {
        let mut budget = RequestBudget::new(Some(60), None, 0);
        assert!((0..60).all(|_| budget.read(at(0))) && !budget.read(at(0)));
        budget.set(Some(80), None, 0);
        assert_eq!(budget.left(at(1_000)), 20);
        assert!(budget.lower(70));
        budget.set(Some(100), None, 0);
        assert_eq!(budget.left(at(1_000)), 10, "the provider allows 70");
        budget.set(Some(65), Some((3, SignedDuration::from_secs(10))), 0);
        assert_eq!((budget.left(at(1_000)), budget.left(at(11_000))), (0, 3));
    }

    #[test]
    fn whoever_takes_an_account_over_begins_with_an_empty_budget() {
        let mut first = RequestBudget::new(Some(60), None, 30);
        first.begin_term(Epoch(1), at(0));
        assert_eq!(first.left(at(0)), 60, "nobody has dialed it before");
        first.begin_term(Epoch(1), at(5_000));
        assert_eq!(first.left(at(5_000)), 60, "nor meanwhile");

        let mut budget = RequestBudget::new(Some(60), None, 30);
        budget.begin_term(Epoch(2), at(0));
        assert_eq!((budget.left(at(0)), budget.left_for_reads(at(0))), (0, 0));
        assert_eq!(budget.start(at(0)), Err(SignedDuration::from_secs(1)));
        assert!(budget.start(at(1_000)).is_ok());
        assert_eq!(budget.start(at(1_000)), Err(SignedDuration::from_secs(1)));
        assert_eq!((1_000..32_000).step_by(100).filter(|ms| budget.read(at(*ms))).count(), 15, "half is the starts'");
        assert_eq!((32_000..60_000).step_by(100).filter(|ms| budget.start(at(*ms)).is_ok()).count(), 59 - 16);
        assert!(budget.start(at(60_000)).is_ok(), "the sixtieth of the minute");
        assert_eq!(budget.start(at(60_000)), Err(SignedDuration::from_secs(1)), "as ever");
        let mut burst = RequestBudget::new(None, Some((20, SignedDuration::from_secs(10))), 0);
        burst.begin_term(Epoch(7), at(0));
        assert_eq!((burst.left(at(5_000)), burst.left(at(10_000))), (10, 20));
    }

    #[test]
    fn one_burst_of_refusals_halves_the_rate_once() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.refused(at(0), at(500)), Some(Share(8)));
        for sent in [0, 100, 499, 500] {
            assert_eq!(throttle.refused(at(sent), at(900)), None, "it left before the cut");
        }
        assert_eq!(throttle.refused(at(501), at(1000)), Some(Share(4)));
        assert_eq!(throttle.share(at(1000)), Share(4));
        let step = RECOVERY_STEP.as_millis() as i64;
        assert_eq!(throttle.share(at(999 + step)), Share(4));
        assert_eq!(throttle.share(at(1000 + step)), Share(5));
        assert_eq!(throttle.share(at(1000 + 12 * step)), Share::FULL);
        assert_eq!(throttle.share(at(0)), Share(4), "a clock that steps back changes nothing");
    }

    #[test]
    fn a_throttled_account_is_slow_and_says_when_it_is_itself_again() {
        let mut pacer = pacer(&limits(None, Some(60)));
        assert!(pacer.charge(ONE, at(1000)).is_ok());
        let share = pacer.refused(at(1000), at(1200)).expect("news");
        assert_eq!(pacer.per_minute(share), 30.0);
        assert_eq!(pacer.wait(ONE, at(1200)), SignedDuration::from_secs(2));
        assert_eq!(pacer.account_slots(at(2100), SignedDuration::from_secs(1), 0), 0);
        assert_eq!(pacer.account_slots(at(2400), SignedDuration::from_secs(1), 0), 1);
        assert!(pacer.charge(ONE, at(3199)).is_err());
        assert!(pacer.charge(ONE, at(3200)).is_ok());
        assert!(pacer.charge(ONE, at(5199)).is_err());
        assert!(pacer.charge(ONE, at(5200)).is_ok());
        assert!(!pacer.recovered(at(6000)));
        let whole = 1200 + 8 * RECOVERY_STEP.as_millis() as i64;
        assert!(pacer.recovered(at(whole)));
        assert!(!pacer.recovered(at(whole)), "said once");
        assert!(pacer.charge(ONE, at(whole)).is_ok());
        assert!(pacer.charge(ONE, at(whole + 1000)).is_ok());
    }

    #[test]
    fn an_account_without_a_rate_is_throttled_too() {
        let mut pacer = pacer(&Pacing::default());
        assert!(pacer.charge(ONE, at(0)).is_ok() && pacer.charge(ONE, at(0)).is_ok());
        pacer.refused(at(0), at(1)).expect("news");
        assert!(pacer.charge(ONE, at(2)).is_err());
        assert!(pacer.charge(ONE, at(101)).is_ok());
    }

    proptest! {
        #[test]
        fn no_burst_and_no_minute_holds_more_requests_than_its_limit(
            gaps in prop::collection::vec((0i64..900, any::<bool>()), 1..400),
        ) {
            let mut budget = RequestBudget::new(Some(60), Some((15, SignedDuration::from_secs(10))), 12);
            let (mut now, mut sent) = (0, Vec::new());
            for (gap, start) in gaps {
                now += gap;
                let left = budget.left(at(now));
                let taken = if start { budget.start(at(now)).is_ok() } else { budget.read(at(now)) };
                prop_assert!(!taken || left > 0);
                if taken {
                    sent.push(now);
                }
            }
            for (index, from) in sent.iter().enumerate() {
                let within = |span| sent[index..].iter().take_while(|other| **other < from + span).count();
                prop_assert!(within(10_000) <= 15);
                prop_assert!(within(60_000) <= 60);
            }
        }

        #[test]
        fn a_throttle_has_a_floor_and_a_ceiling_and_recovers(
            steps in prop::collection::vec((0i64..120_000, prop::bool::ANY), 1..60),
        ) {
            let mut throttle = Throttle::default();
            let mut now = 0;
            for (gap, refused) in steps {
                let before = throttle.share(at(now));
                now += gap;
                let grown = throttle.share(at(now));
                prop_assert!(grown >= before && grown <= Share::FULL);
                // Additive: a sixteenth for each step, and the part of one that was begun before.
                let steps = gap / RECOVERY_STEP.as_millis() as i64 + 1;
                prop_assert!(i64::from(grown.0 - before.0) <= steps);
                if refused && let Some(share) = throttle.refused(at(now), at(now)) {
                    prop_assert!(share >= Share::FLOOR && share.0 <= (grown.0 / 2).max(Share::FLOOR.0));
                    prop_assert_eq!(throttle.share(at(now)), share);
                }
            }
            let recovered = at(now) + RECOVERY_STEP * 16;
            prop_assert_eq!(throttle.share(recovered), Share::FULL);
        }

        #[test]
        fn refusals_never_let_more_start(
            per_second in 1u32..20, per_minute in 1u32..200,
            steps in prop::collection::vec((0i64..700, prop::bool::weighted(0.1)), 1..300),
        ) {
            let limits = limits(Some(per_second), Some(per_minute));
            let mut throttled = pacer(&limits);
            let (mut now, mut starts) = (0, Vec::new());
            for (gap, refused) in steps {
                now += gap;
                let wait = throttled.wait(ONE, at(now));
                let charged = throttled.charge(ONE, at(now));
                prop_assert_eq!(charged.is_ok(), wait <= SignedDuration::ZERO);
                if charged.is_ok() {
                    starts.push(now);
                    if refused {
                        throttled.refused(at(now), at(now));
                    }
                }
            }
            for (index, start) in starts.iter().enumerate() {
                let within = |span| starts[index..].iter().take_while(|other| **other < start + span).count();
                prop_assert!(within(1000) <= per_second as usize);
                prop_assert!(within(60_000) <= per_minute as usize);
            }
        }

        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            per_second in 1u32..20, per_minute in 1u32..200, gaps in prop::collection::vec(0i64..700, 1..300),
        ) {
            let mut pacer = pacer(&limits(Some(per_second), Some(per_minute)));
            let mut now = 0;
            let mut starts = Vec::new();
            for gap in gaps {
                now += gap;
                if pacer.charge(ONE, at(now)).is_ok() {
                    starts.push(now);
                }
            }
            for (index, start) in starts.iter().enumerate() {
                let within = |span| starts[index..].iter().take_while(|other| **other < start + span).count();
                prop_assert!(within(1000) <= per_second as usize);
                prop_assert!(within(60_000) <= per_minute as usize);
            }
        }
    }
}
