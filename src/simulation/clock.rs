//! Virtual time that outlives the daemon: each boot has a paused runtime of its own, and what has passed is carried on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::port::clock::Clock;

/// The time of one run. Clones share it.
#[derive(Clone)]
pub(super) struct SimClock {
    origin: Timestamp,
    factor: u32,
    passed: Arc<Mutex<Passed>>,
}

/// What has passed, real time: all earlier boots and pauses, and since when the present boot runs.
struct Passed {
    carried: Duration,
    boot: Option<Instant>,
}

impl SimClock {
    /// Civil time is `origin` at the start and runs `factor` times as fast as real time.
    pub fn new(origin: Timestamp, factor: u32) -> Self {
        Self { origin, factor, passed: Arc::new(Mutex::new(Passed { carried: Duration::ZERO, boot: None })) }
    }

    /// A boot begins; call it inside its runtime.
    pub fn begin_boot(&self) {
        self.passed.lock().unwrap().boot = Some(Instant::now());
    }

    /// The boot ends; call it inside its runtime.
    pub fn end_boot(&self) {
        let mut passed = self.passed.lock().unwrap();
        let boot = passed.boot.take().expect("a boot was begun");
        passed.carried += boot.elapsed();
    }

    /// Time passes while no daemon runs.
    pub fn pass(&self, span: Duration) {
        self.passed.lock().unwrap().carried += span;
    }

    /// Real time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        let passed = self.passed.lock().unwrap();
        passed.carried + passed.boot.map_or(Duration::ZERO, |boot| boot.elapsed())
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let at = self.origin + self.real_to_civil(self.elapsed());
        Timestamp::from_microsecond(at.as_microsecond()).expect("it was a timestamp before it lost its nanoseconds")
    }

    fn wall(&self) -> Timestamp {
        // As the database's clock does, it counts from the start of the run.
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.elapsed()).expect("runs are short")
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn real_to_civil(&self, span: Duration) -> SignedDuration {
        SignedDuration::try_from(span).expect("runs are short") * i32::try_from(self.factor).expect("a small factor")
    }

    fn civil_to_real(&self, span: SignedDuration) -> Duration {
        span.try_into().unwrap_or(Duration::ZERO) / self.factor
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
