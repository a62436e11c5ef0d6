//! Gives every pass a period, an early wake-up and a fresh stamp, and brings them to a stop.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::domain::id::AccountName;
use crate::port::chain::Chain;
use crate::port::clock::Clock;
use crate::port::metric;
use crate::port::provider::Provider;
use crate::port::store::{Store, StoreError};

use super::{Engine, lock};

/// Between two runs of a pass while the database does not answer.
const FAILED_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long a pass that writes dates waits in one go for the machine's clock to be compared with the database's.
const UNSETTLED_WAIT: Duration = Duration::from_secs(1);

/// A pass that has not ended well, or found the database away, for its period and so much more stands still.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// When each running pass is to have ended well; what health pages and watchdogs look at.
#[derive(Clone, Default)]
pub struct Freshness(Arc<Mutex<BTreeMap<String, Fresh>>>);

#[derive(Clone, Copy)]
struct Fresh {
    /// The start of the pass, until it has ended well.
    ended_well_at: Instant,
    period: Duration,
}

impl Freshness {
    fn begin(&self, pass: &str, period: Duration, now: Instant) {
        lock(&self.0).insert(pass.to_owned(), Fresh { ended_well_at: now, period });
    }

    fn stamp(&self, pass: &str, now: Instant) {
        if let Some(fresh) = lock(&self.0).get_mut(pass) {
            fresh.ended_well_at = now;
        }
    }

    /// It ended well and rests for longer or shorter than it said at first.
    fn rests(&self, pass: &str, period: Duration, now: Instant) {
        self.begin(pass, period, now);
    }

    /// How long ago each pass should have ended well; nothing for those that are in time.
    pub fn overdue(&self, now: Instant) -> Vec<(String, Duration)> {
        let passes = lock(&self.0);
        let overdue = |fresh: &Fresh| now.saturating_duration_since(fresh.ended_well_at + fresh.period);
        passes.iter().map(|(pass, fresh)| (pass.clone(), overdue(fresh))).collect()
    }

    /// A pass that was told to end does not stand still.
    fn end(&self, pass: &str) {
        lock(&self.0).remove(pass);
    }

    /// The pass that stands still, the one for the longest time if there are several.
    pub fn stale(&self, now: Instant) -> Option<String> {
        lock(&self.0)
            .iter()
            .map(|(pass, fresh)| (fresh.ended_well_at + fresh.period + STALE_AFTER, pass))
            .filter(|(stale_at, _)| now > *stale_at)
            .min()
            .map(|(_, pass)| pass.clone())
    }
}

/// How often a pass runs.
#[derive(Clone, Copy)]
struct Pace {
    /// From the end of a run to the next.
    pause: Duration,
    /// How long a run may wait before it works.
    wait: Duration,
}

impl From<Duration> for Pace {
    fn from(pause: Duration) -> Self {
        Self { pause, wait: Duration::ZERO }
    }
}

/// The running passes.
pub struct Driver {
    soft: CancellationToken,
    stop: CancellationToken,
    loops: TaskTracker,
    /// Those of the loops that may give out permits.
    dispatching: TaskTracker,
    /// When each pass is to have ended well.
    pub freshness: Freshness,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered and every answer recorded.
    Fully,
    /// The bound was reached; what was unanswered is in doubt until the next start.
    Partly {
        /// Attempts whose answer is not recorded.
        unanswered: usize,
    },
}

impl Driver {
    /// Starts every pass of an engine.
    pub fn start<S: Store, P: Provider, C: Clock>(engine: &Arc<Engine<S, P, C>>) -> Self {
        let driver = Self {
            soft: CancellationToken::new(),
            stop: CancellationToken::new(),
            loops: TaskTracker::new(),
            dispatching: TaskTracker::new(),
            freshness: Freshness::default(),
        };
        let periods = engine.settings().periods;
        let lease_period = engine.lease_period();
        driver.spawn(
            engine,
            "lease".to_owned(),
            lease_period.into(),
            |engine| async move { engine.renew_leases().await.map(|()| false) },
            |engine| Some(&engine.lease_wake),
        );
        driver.run(
            engine,
            "control",
            periods.control,
            |engine| async move { engine.refresh_view().await.map(|()| false) },
        );
        driver.run(engine, "enrol", periods.enrol, |engine| async move { engine.enrol().await.map(|count| count > 0) });
        driver.run(engine, "campaign", periods.campaign, |engine| async move {
            engine.turn_campaigns().await.map(|()| false)
        });
        driver.run(engine, "retain", periods.retain, |engine| async move {
            let policy = engine.settings().retention;
            engine.store.retain(engine.clock.now(), policy).await.map(|_| false)
        });
        driver.run(engine, "reread", periods.retain, |engine| async move { engine.reread_quarantined().await });
        for name in engine.accounts.keys() {
            driver.start_account(engine, name);
        }
        driver
    }

    fn start_account<S: Store, P: Provider, C: Clock>(&self, engine: &Arc<Engine<S, P, C>>, name: &AccountName) {
        let periods = engine.settings().periods;
        let roster_period = engine.accounts[name].settings().roster_period;
        // Recording outlives the passes: it ends when nothing can be recorded any more.
        let recorder = Arc::clone(engine);
        let account = name.clone();
        tokio::spawn(async move { recorder.record_forever(account).await });
        let pass = |pass: &str| format!("{pass} {name}");
        self.run_account(engine, name, &pass("dispatch"), periods.dispatch.into(), |engine, name| async move {
            engine.dispatch(&name).await.map(|report| report.permitted > 0)
        });
        self.run_account(engine, name, &pass("collect"), periods.collect.into(), |engine, name| async move {
            engine.collect(&name).await.map(|report| report.looked_at as u32 >= super::collect::BATCH_MAX)
        });
        self.run_account(engine, name, &pass("poll"), periods.poll.into(), |engine, name| async move {
            engine.poll(&name).await.map(|_| false)
        });
        let until_read = Pace { pause: periods.campaign.min(roster_period), wait: roster_period };
        let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
        self.run_account(engine, name, &pass("roster"), until_read, move |engine, name| {
            let first = Arc::clone(&first);
            async move {
                let relaxed = std::sync::atomic::Ordering::Relaxed;
                if !first.load(relaxed) {
                    let woken = &engine.accounts[&name].wakes.roster;
                    tokio::select! {
                        biased;
                        () = woken.notified() => {}
                        () = engine.clock.sleep(engine.roster_wait(&name)) => {}
                    }
                }
                let ready = engine.read_roster(&name).await?;
                first.store(!ready, relaxed);
                Ok(false)
            }
        });
    }

    fn run_account<S, P, C, F>(
        &self,
        engine: &Arc<Engine<S, P, C>>,
        name: &AccountName,
        pass: &str,
        pace: Pace,
        work: impl Fn(Arc<Engine<S, P, C>>, AccountName) -> F + Send + Sync + 'static,
    ) where
        S: Store,
        P: Provider,
        C: Clock,
        F: Future<Output = Result<bool, StoreError>> + Send,
    {
        let account = name.clone();
        let name = name.clone();
        let wake = match pass.split(' ').next() {
            Some("dispatch") => Wake::Dispatch,
            Some("collect") => Wake::Collect,
            Some("poll") => Wake::Poll,
            Some("roster") => Wake::Roster,
            _ => Wake::Never,
        };
        self.spawn(
            engine,
            pass.to_owned(),
            pace,
            move |engine| work(engine, name.clone()),
            move |engine| {
                let wakes = &engine.accounts[&account].wakes;
                match wake {
                    Wake::Dispatch => Some(&wakes.dispatch),
                    Wake::Collect => Some(&wakes.collect),
                    Wake::Poll => Some(&wakes.poll),
                    Wake::Roster => Some(&wakes.roster),
                    Wake::Never => None,
                }
            },
        );
    }

    fn run<S, P, C, F>(
        &self,
        engine: &Arc<Engine<S, P, C>>,
        pass: &str,
        period: Duration,
        work: impl Fn(Arc<Engine<S, P, C>>) -> F + Send + Sync + 'static,
    ) where
        S: Store,
        P: Provider,
        C: Clock,
        F: Future<Output = Result<bool, StoreError>> + Send,
    {
        self.spawn(engine, pass.to_owned(), period.into(), work, |_| None);
    }

    /// Runs a pass until the end: again at once while it says there is more, else after its period or when woken.
    fn spawn<S, P, C, F>(
        &self,
        engine: &Arc<Engine<S, P, C>>,
        pass: String,
        pace: Pace,
        work: impl Fn(Arc<Engine<S, P, C>>) -> F + Send + Sync + 'static,
        wake: impl for<'a> Fn(&'a Engine<S, P, C>) -> Option<&'a Notify> + Send + Sync + 'static,
    ) where
        S: Store,
        P: Provider,
        C: Clock,
        F: Future<Output = Result<bool, StoreError>> + Send,
    {
        // Passes that start something end with the soft token; those that bring results home end last.
        let ends_early =
            pass.starts_with("dispatch") || pass == "enrol" || pass == "campaign" || pass.starts_with("roster");
        let stop = if ends_early { self.soft.clone() } else { self.stop.clone() };
        // A statement that makes intents durable is not to be left without knowing what it did.
        let finishes_run = pass.starts_with("dispatch");
        let tracker = if finishes_run { &self.dispatching } else { &self.loops };
        // Those two write nothing that is dated by the machine's clock, and one of them compares it.
        let needs_time = pass != "lease" && pass != "control";
        let engine = Arc::clone(engine);
        let freshness = self.freshness.clone();
        freshness.begin(&pass, pace.pause + pace.wait, engine.clock.monotonic());
        tracker.spawn(async move {
            let mut failures = 0u32;
            loop {
                if stop.is_cancelled() {
                    break;
                }
                if needs_time && !engine.clock.is_settled() {
                    // Whoever compares the clocks says what is wrong.
                    freshness.stamp(&pass, engine.clock.monotonic());
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = engine.clock.settled(UNSETTLED_WAIT) => continue,
                    }
                }
                let began = engine.clock.monotonic();
                let again = tokio::select! {
                    biased;
                    () = stop.cancelled(), if !finishes_run => break,
                    again = work(Arc::clone(&engine)) => again,
                };
                let pause = match again {
                    Ok(more) => {
                        failures = 0;
                        let pause = if more { Duration::ZERO } else { pace.pause * engine.leisure(&pass) };
                        let now = engine.clock.monotonic();
                        freshness.rests(&pass, pace.pause.max(pause) + pace.wait, now);
                        if pace.wait.is_zero() {
                            metric::PASS_DURATION.record([kind_of(&pass)], now.duration_since(began).as_secs_f64());
                        }
                        pause
                    }
                    Err(problem) => {
                        failures += 1;
                        metric::PASS_FAILURES.add([kind_of(&pass)], 1);
                        tell_failure(&pass, failures, &problem);
                        // A pass that says that the database is away does not stand still, and a restart would lose
                        // the answers that wait to be recorded.
                        if matches!(problem, StoreError::Unavailable(_) | StoreError::CommitUnknown(_)) {
                            freshness.stamp(&pass, engine.clock.monotonic());
                        }
                        FAILED_WAIT.0.saturating_mul(1 << failures.min(10)).min(FAILED_WAIT.1)
                    }
                };
                if pause.is_zero() {
                    tokio::task::yield_now().await;
                    continue;
                }
                // Resting as long as it worked: what wakes a busy pass again and again then waits and shares one run.
                let rest = engine.clock.monotonic().duration_since(began).min(pace.pause);
                let woken = async {
                    match wake(&engine) {
                        Some(notify) if failures == 0 => {
                            engine.clock.sleep(rest).await;
                            notify.notified().await;
                        }
                        _ => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = woken => {}
                    () = engine.clock.sleep(pause) => {}
                }
            }
            freshness.end(&pass);
        });
    }

    /// Ends new dials, lets running requests finish, records what they brought, gives up the leases; bounded.
    pub async fn drain<S: Store, P: Provider, C: Clock>(self, engine: &Arc<Engine<S, P, C>>) -> Drained {
        info!("Draining: no new dials; running requests finish and are recorded");
        engine.draining.store(true, std::sync::atomic::Ordering::Release);
        self.soft.cancel();
        let deadline = engine.clock.monotonic() + engine.settings().drain_max;
        engine.tasks.close();
        self.dispatching.close();
        let quiet = async {
            self.dispatching.wait().await;
            engine.tasks.wait().await;
            while !engine.in_flight().is_empty() {
                engine.clock.sleep(Duration::from_millis(10)).await;
            }
            for name in engine.accounts.keys() {
                while let Err(problem) = engine.end_all_unpermitted(name).await {
                    debug!(error = %Chain(&problem), "Intents that never left could not be ended yet");
                    engine.clock.sleep(FAILED_WAIT.0).await;
                }
            }
            // Events that wait for nothing are applied before the end; the rest stays pending in the database.
            for name in engine.accounts.keys() {
                if let Err(problem) = engine.collect(name).await {
                    warn!(error = %Chain(&problem), "The last look at the inbox failed; events stay pending");
                }
            }
        };
        let left = deadline.saturating_duration_since(engine.clock.monotonic());
        let drained = tokio::select! {
            biased;
            () = quiet => Drained::Fully,
            () = engine.clock.sleep(left) => Drained::Partly { unanswered: engine.in_flight().len() },
        };
        self.stop.cancel();
        self.loops.close();
        self.loops.wait().await;
        if let Err(problem) = engine.store.leave(engine.settings().owner).await {
            warn!(error = %Chain(&problem), "The leases could not be given up and run out by themselves");
        }
        drained
    }
}

#[derive(Clone, Copy)]
enum Wake {
    Dispatch,
    Collect,
    Poll,
    Roster,
    Never,
}

/// A pass without its account.
fn kind_of(pass: &str) -> &str {
    pass.split(' ').next().unwrap_or(pass)
}

fn tell_failure(pass: &str, failures: u32, problem: &StoreError) {
    match problem {
        StoreError::Unavailable(_) | StoreError::CommitUnknown(_) if failures == 1 => {
            warn!(pass, error = %Chain(problem), "Pass {pass} failed and is tried again");
        }
        StoreError::Unavailable(_) | StoreError::CommitUnknown(_) => {}
        StoreError::Inconsistent { .. } | StoreError::Refused(_) => {
            error!(pass, error = %Chain(problem), "Pass {pass} failed: a person must look");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_stale_a_minute_after_its_period() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let freshness = Freshness::default();
        freshness.begin("control", Duration::from_secs(1), start);
        freshness.begin("roster main", Duration::from_secs(300), start);
        assert_eq!(freshness.stale(after(61)), None);
        assert_eq!(freshness.stale(after(62)).as_deref(), Some("control"), "it has never ended well");

        freshness.stamp("control", after(350));
        assert_eq!(freshness.stale(after(360)), None, "the other one sleeps for five minutes");
        assert_eq!(freshness.stale(after(361)).as_deref(), Some("roster main"));
        assert_eq!(freshness.stale(after(500)).as_deref(), Some("roster main"), "the one that stands still for longer");

        assert_eq!(
            freshness.overdue(after(360)),
            [("control".to_owned(), Duration::from_secs(9)), ("roster main".to_owned(), Duration::from_secs(60)),]
        );

        freshness.end("roster main");
        freshness.stamp("roster main", after(500));
        assert_eq!(freshness.stale(after(411)), None);
        assert_eq!(freshness.stale(after(1_000)).as_deref(), Some("control"));
    }

    #[test]
    fn a_pass_that_rests_longer_because_another_replica_works_is_not_stale() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let freshness = Freshness::default();
        freshness.begin("retain", Duration::from_secs(60), start);
        freshness.rests("retain", Duration::from_secs(600), after(1));
        assert_eq!(freshness.stale(after(660)), None);
        assert_eq!(freshness.stale(after(662)).as_deref(), Some("retain"));
    }
}
