//! One virtual time for everybody, and how each machine reads it: its clock on the wall may be set, and a process that is
//! stopped sleeps on.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::port::clock::Clock;

use super::process::Process;

/// The time of one run, as the world knows it or as one process reads it. Clones share it.
#[derive(Clone)]
pub(super) struct SimClock {
    origin: Timestamp,
    factor: u32,
    began: Instant,
    process: Option<Arc<Process>>,
}

impl SimClock {
    /// Civil time is `origin` at this moment of the runtime, and runs `factor` times as fast as real time.
    pub fn new(origin: Timestamp, factor: u32) -> Self {
        Self { origin, factor, began: Instant::now(), process: None }
    }

    /// The same time as a process reads it.
    pub fn of_process(&self, process: &Arc<Process>) -> Self {
        Self { process: Some(Arc::clone(process)), ..self.clone() }
    }

    /// Real time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let ahead = self.process.as_ref().map_or(SignedDuration::ZERO, |process| process.wall_ahead());
        let at = self.origin
            + self.real_to_civil(self.elapsed())
            + ahead * i32::try_from(self.factor).expect("a small factor");
        Timestamp::from_microsecond(at.as_microsecond()).expect("it was a timestamp before it lost its nanoseconds")
    }

    fn wall(&self) -> Timestamp {
        // As the database's clock does, it counts from the start of the run.
        let ahead = self.process.as_ref().map_or(SignedDuration::ZERO, |process| process.wall_ahead());
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.elapsed()).expect("runs are short") + ahead
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
        if let Some(process) = &self.process {
            process.goes_on().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::OwnerId;
    use crate::simulation::process::Wall;

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_is_set_moves_no_other_one() {
        let world = SimClock::new("2026-03-02T09:00:00Z".parse().unwrap(), 4);
        let wall = Wall::default();
        let process = Arc::new(Process::new(0, 1, OwnerId(uuid::Uuid::nil()), wall.clone()));
        let (own, another) = (world.of_process(&process), world.clone());
        let monotonic = own.monotonic();
        wall.set(SignedDuration::from_mins(-30));
        own.sleep(Duration::from_secs(15)).await;
        assert_eq!(own.now().to_string(), "2026-03-02T07:01:00Z", "civil time is made from it");
        assert_eq!(own.wall().to_string(), "1969-12-31T23:30:15Z");
        assert_eq!(another.now().to_string(), "2026-03-02T09:01:00Z");
        assert_eq!(own.monotonic() - monotonic, Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_process_sleeps_on_and_a_dead_one_for_ever() {
        let world = SimClock::new("2026-03-02T09:00:00Z".parse().unwrap(), 1);
        let process = Arc::new(Process::new(0, 1, OwnerId(uuid::Uuid::nil()), Wall::default()));
        let own = world.of_process(&process);
        process.stop(Duration::from_secs(60));
        own.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.elapsed(), Duration::from_secs(60));
        own.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.elapsed(), Duration::from_secs(61));
        process.die();
        let slept = tokio::time::timeout(Duration::from_secs(3600), own.sleep(Duration::from_secs(1))).await;
        assert!(slept.is_err(), "nothing of a dead process goes on");
    }
}
