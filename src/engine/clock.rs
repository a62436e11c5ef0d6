//! The machine's clock, held against the database's: what the engine takes for the time.
//!
//! A clock on the wall may be set, wrong and right again. Instants that are written down outlive that: a date to read a
//! call that lies two hours ahead keeps its lead waiting for two hours, one that lies behind proves an absence too early.
//! So the engine reads the machine's clock only while it agrees with the database's. While it does not, time goes on
//! from the last moment at which both agreed, by the clock that cannot be set; a process that has never seen them agree
//! goes by the database's, which all replicas share. Nothing is dialed meanwhile (see `clock_problem`).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::port::clock::Clock;

use super::lock;

/// How far the machine's clock may lie from the database's. Calling windows are judged by the former.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(1);
/// A comparison of clocks that took longer than this says too little to replace a better one.
pub(super) const COMPARISON_MAX: Duration = Duration::from_secs(1);
/// How long a comparison is good for: monotonic clocks run wrong by less than a tenth of a second in that time.
const COMPARISON_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// The time, as far as two clocks agree on it. Clones share what is known.
#[derive(Clone, Debug)]
pub struct AgreedClock<C> {
    machine: C,
    known: Arc<Mutex<Known>>,
    compared: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    comparison: Option<Comparison>,
    /// By how much the machine's clock was ahead of the database's at the last comparison, whether that was good or not.
    last_ahead: SignedDuration,
    /// What the machine's clock showed when both were last seen to agree.
    agreed: Option<(Instant, Timestamp)>,
}

/// The database's clock and the monotonic one, read at the same moment.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    at: Instant,
    database: Timestamp,
    /// The two readings may lie so far apart, either way.
    uncertainty: Duration,
}

impl Comparison {
    /// How far a clock that shows `wall` is ahead at `at`; behind, if negative.
    fn ahead(&self, at: Instant, wall: Timestamp) -> SignedDuration {
        wall.duration_since(later(self.database, at.saturating_duration_since(self.at)))
    }

    /// By how much it is certainly wrong.
    fn skew(&self, at: Instant, wall: Timestamp) -> Duration {
        self.ahead(at, wall).unsigned_abs().saturating_sub(self.uncertainty)
    }
}

impl Known {
    /// By how much the machine's clock is to be corrected.
    fn correction(&self, at: Instant, wall: Timestamp) -> SignedDuration {
        let Some(comparison) = self.comparison.filter(|known| known.skew(at, wall) > SKEW_MAX) else {
            return SignedDuration::ZERO;
        };
        let (since, then) = self.agreed.unwrap_or((comparison.at, comparison.database));
        later(then, at.saturating_duration_since(since)).duration_since(wall)
    }

    /// Whether the machine's clock agrees, or goes as wrong as it went when the two were last compared. Otherwise it was
    /// set since, or the machine was asleep: the next comparison tells which.
    fn is_settled(&self, at: Instant, wall: Timestamp) -> bool {
        self.comparison.is_some_and(|known| {
            let set_by = (known.ahead(at, wall) - self.last_ahead).unsigned_abs();
            known.skew(at, wall) <= SKEW_MAX || set_by <= SKEW_MAX + known.uncertainty * 2
        })
    }
}

impl<C: Clock> AgreedClock<C> {
    /// A clock that has not been compared yet, and shows what the machine's does.
    pub(super) fn new(machine: C) -> Self {
        Self { machine, known: Arc::default(), compared: Arc::default() }
    }

    /// The database said what its clock shows; it was asked at `asked_at`, and its answer is here.
    pub(super) fn compare(&self, asked_at: Instant, database: Timestamp) {
        let (at, wall) = (self.machine.monotonic(), self.machine.wall());
        let took = at.duration_since(asked_at);
        let fresh = Comparison { at: asked_at + took / 2, database, uncertainty: took / 2 };
        let mut known = lock(&self.known);
        let outdated = known.comparison.is_none_or(|present| present.at + COMPARISON_AGE_MAX < asked_at);
        if took <= COMPARISON_MAX || outdated || !known.is_settled(at, wall) {
            known.comparison = Some(fresh);
            known.last_ahead = fresh.ahead(at, wall);
            if fresh.skew(at, wall) <= SKEW_MAX {
                known.agreed = Some((at, wall));
            }
        }
        drop(known);
        self.compared.notify_waiters();
    }

    /// Whether it has been compared with the database's clock.
    pub fn is_compared(&self) -> bool {
        lock(&self.known).comparison.is_some()
    }

    /// Whether what it shows can be written down: nothing has happened to the machine's clock since the last comparison.
    pub(super) fn is_settled(&self) -> bool {
        lock(&self.known).is_settled(self.machine.monotonic(), self.machine.wall())
    }

    /// Waits until nothing has happened to the machine's clock that was not compared; `limit` at most.
    pub(super) async fn settled(&self, limit: Duration) {
        let until = self.monotonic() + limit;
        loop {
            let compared = self.compared.notified();
            let left = until.saturating_duration_since(self.monotonic());
            if self.is_settled() || left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = compared => {}
                () = self.machine.sleep(left) => {}
            }
        }
    }

    /// By how much the machine's clock is certainly off the database's; `None` before the first comparison.
    pub(super) fn skew(&self) -> Option<Duration> {
        let comparison = lock(&self.known).comparison?;
        Some(comparison.skew(self.machine.monotonic(), self.machine.wall()))
    }
}

impl<C: Clock> Clock for AgreedClock<C> {
    fn now(&self) -> Timestamp {
        let correction = lock(&self.known).correction(self.machine.monotonic(), self.machine.wall());
        let now = self.machine.now();
        if correction.is_zero() {
            return now;
        }
        let civil = self.real_to_civil(correction.unsigned_abs());
        let right = if correction.is_negative() { now.saturating_sub(civil) } else { now.saturating_add(civil) };
        let right = right.expect("a signed duration saturates");
        Timestamp::from_microsecond(right.as_microsecond()).expect("it was a timestamp before it lost its nanoseconds")
    }

    fn wall(&self) -> Timestamp {
        self.machine.wall()
    }

    fn monotonic(&self) -> Instant {
        self.machine.monotonic()
    }

    fn real_to_civil(&self, span: Duration) -> SignedDuration {
        self.machine.real_to_civil(span)
    }

    fn civil_to_real(&self, span: SignedDuration) -> Duration {
        self.machine.civil_to_real(span)
    }

    async fn sleep(&self, span: Duration) {
        self.machine.sleep(span).await;
    }
}

fn later(then: Timestamp, passed: Duration) -> Timestamp {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    then.saturating_add(passed).expect("a signed duration saturates")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose clock is `ahead` of true time, ten times as fast in civil time.
    #[derive(Clone)]
    struct Machine {
        start: Instant,
        ahead: Arc<Mutex<SignedDuration>>,
    }

    impl Machine {
        fn new() -> Self {
            Self { start: Instant::now(), ahead: Arc::default() }
        }

        fn set(&self, seconds: i64) {
            *lock(&self.ahead) = SignedDuration::from_secs(seconds);
        }

        fn truth(&self) -> Timestamp {
            later(Timestamp::UNIX_EPOCH, self.start.elapsed())
        }
    }

    impl Clock for Machine {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + self.wall().duration_since(Timestamp::UNIX_EPOCH) * 10
        }

        fn wall(&self) -> Timestamp {
            self.truth() + *lock(&self.ahead)
        }

        fn monotonic(&self) -> Instant {
            Instant::now()
        }

        fn real_to_civil(&self, span: Duration) -> SignedDuration {
            SignedDuration::try_from(span).unwrap() * 10
        }

        fn civil_to_real(&self, span: SignedDuration) -> Duration {
            Duration::try_from(span).unwrap_or_default() / 10
        }

        async fn sleep(&self, span: Duration) {
            tokio::time::sleep(span).await;
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[test]
    fn a_clock_is_wrong_by_what_the_comparison_cannot_explain() {
        let at = Instant::now();
        let database: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let comparison = Comparison { at, database, uncertainty: Duration::from_millis(200) };
        let later = at + Duration::from_secs(60);
        let wall = |millis: i64| database + SignedDuration::from_secs(60) + SignedDuration::from_millis(millis);
        assert_eq!(comparison.skew(later, wall(0)), Duration::ZERO);
        assert_eq!(comparison.skew(later, wall(-150)), Duration::ZERO);
        assert_eq!(comparison.skew(later, wall(1_500)), Duration::from_millis(1_300));
        assert_eq!(comparison.skew(later, wall(-3_600_000)), Duration::from_millis(3_599_800));
    }

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_while_the_clock_on_the_wall_is_wrong() {
        let machine = Machine::new();
        let clock = AgreedClock::new(machine.clone());
        assert!(!clock.is_compared() && !clock.is_settled());
        pass(30).await;
        clock.compare(Instant::now(), machine.truth());
        assert_eq!(clock.now(), machine.now());
        for ahead in [7_200, -7_200] {
            machine.set(ahead);
            pass(10).await;
            let right = Timestamp::UNIX_EPOCH + machine.truth().duration_since(Timestamp::UNIX_EPOCH) * 10;
            assert_eq!(clock.now(), right, "{ahead} s ahead");
            assert!(!clock.is_settled(), "until the next comparison it might be the machine that slept");
            clock.compare(Instant::now(), machine.truth());
            assert!(clock.is_settled() && clock.skew() == Some(Duration::from_secs(7_200)));
            assert_eq!(clock.now(), right);
        }
        machine.set(0);
        assert_eq!((clock.now(), clock.skew()), (machine.now(), Some(Duration::ZERO)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_wrong_from_the_start_gives_way_to_the_databases() {
        let machine = Machine::new();
        machine.set(-3_600);
        let clock = AgreedClock::new(machine.clone());
        pass(5).await;
        clock.compare(Instant::now(), machine.truth());
        pass(5).await;
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100));
        assert!(clock.is_settled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_whose_clock_is_set_moves_nobody() {
        let machine = Machine::new();
        let clock = AgreedClock::new(machine.clone());
        clock.compare(Instant::now(), machine.truth());
        pass(5).await;
        clock.compare(Instant::now(), machine.truth() + SignedDuration::from_hours(2));
        assert_eq!(clock.skew(), Some(Duration::from_secs(7_200)), "nothing is dialed");
        assert_eq!(clock.now(), machine.now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_slept_is_right_with_the_next_comparison() {
        let machine = Machine::new();
        let clock = AgreedClock::new(machine.clone());
        clock.compare(Instant::now(), machine.truth());
        // Its monotonic clock did not go on meanwhile, both others did.
        machine.set(3_600);
        assert!(!clock.is_settled());
        clock.compare(Instant::now(), machine.wall());
        assert!(clock.is_settled());
        assert_eq!(clock.now(), machine.now());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_comparison_waits_no_longer_than_that() {
        let machine = Machine::new();
        let clock = AgreedClock::new(machine.clone());
        let began = Instant::now();
        let compares = async {
            pass(2).await;
            clock.compare(Instant::now(), machine.truth());
        };
        tokio::join!(clock.settled(Duration::from_secs(60)), compares);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        machine.set(60);
        clock.settled(Duration::from_secs(6)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(8), "at most so long");
    }
}
