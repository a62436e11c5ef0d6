//! The steps of replicas: each call of the store or the provider. Before and after its effect the world looks at the
//! invariants, injects a fault, and kills or stops the process. What a killed process asks for has no effect any more; a
//! stopped one goes on later as if nothing had happened.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::adapter::memory::{Fault, Network, Point};
use crate::port::clock::Clock;

use super::process::Process;
use super::timeline::Timeline;
use super::world::{State, World};

/// Writes between two looks at every invariant of the tables.
const CHECK_EVERY: u64 = 20;
/// How long a process runs at least between two stops.
const RUNS_FOR: Duration = Duration::from_millis(500);
/// How likely a process is killed, or stopped, just when a request has been let go and is not on the wire yet; if it is
/// to be killed or stopped at all.
const STRUCK_AT_THE_DOOR: (f64, f64) = (0.05, 0.1);
/// How likely a process is stopped while what it found out is on its way to the database, for others to find out, too.
const STOPPED_AT_THE_END: f64 = 0.08;

/// What lies between one process and the database.
pub(super) struct Wire {
    pub world: Arc<World>,
    pub process: Arc<Process>,
}

impl Network for Wire {
    fn carry(&self, method: &'static str, point: Point) -> Pin<Box<dyn Future<Output = Fault> + Send + '_>> {
        Box::pin(self.world.store_step(&self.process, method, point))
    }
}

impl World {
    /// One side of one statement.
    async fn store_step(&self, process: &Process, method: &'static str, point: Point) -> Fault {
        process.goes_on().await;
        let (fault, wait) = self.carried(process, method, point);
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
        process.goes_on().await;
        fault
    }

    /// What becomes of it, and how long it takes.
    fn carried(&self, process: &Process, method: &'static str, point: Point) -> (Fault, Duration) {
        let mut guard = self.state();
        let state = &mut *guard;
        let elapsed = self.clock.elapsed();
        state.stats.steps += 1;
        state.trace.quiet(elapsed, method);
        let rate = if state.calm { 0.0 } else { self.scenario.faults.store };
        let fault = match rate > 0.0 && state.dice.random_bool(rate) {
            false => Fault::None,
            true if state.dice.random_bool(0.5) => Fault::CommitUnknown,
            true => Fault::Unavailable,
        };
        let busy = busy(method);
        if busy {
            state.busy_steps += 1;
            // A held attempt is looked for again and again, and so is whoever waits for its person.
            if !matches!(method, "defer" | "change_open" | "find_attempts") {
                state.busy_at = elapsed;
            }
            state.trace.line(elapsed, &format!("{} {method} {point:?}", process.name()));
            self.follow(state, method, point);
            if state.busy_steps.is_multiple_of(CHECK_EVERY) {
                self.check_tables(state);
            }
        }
        if fault != Fault::None {
            state.stats.fault(match (fault, point) {
                (Fault::Unavailable, Point::Before) => "store: unavailable",
                _ => "store: commit unknown",
            });
            state.trace.line(elapsed, &format!("{} {method} {point:?}: {fault:?}", process.name()));
        }
        self.read_logs(state);
        if self.strike(state, process, busy) {
            return (Fault::None, Duration::ZERO);
        }
        let ends = matches!(method, "settle" | "apply_late") && point == Point::Before;
        if ends && state.machines[process.machine].stop_at.is_some() && state.dice.random_bool(STOPPED_AT_THE_END) {
            self.stop(state, process);
        }
        if (method, point, fault) == ("peek_due", Point::After, Fault::None) && self.somebody_minds(state) {
            return (fault, Duration::from_millis(state.dice.random_range(500..3_000)));
        }
        (fault, self.slowness(state))
    }

    /// Most statements take no time. Some let others overtake them, and on a bad day some take seconds.
    fn slowness(&self, state: &mut State) -> Duration {
        let faults = &self.scenario.faults;
        if faults.late == 0.0 || !state.dice.random_bool(faults.late) {
            return Duration::ZERO;
        }
        let longest = if faults.slow && !state.calm && state.dice.random_bool(0.05) { 3_000 } else { 30 };
        state.stats.fault(if longest > 30 { "store: slow" } else { "store: overtaken" });
        Duration::from_millis(state.dice.random_range(1..=longest))
    }

    /// One side of a request to the provider.
    pub async fn provider_step(&self, process: &Process, what: &str) {
        process.goes_on().await;
        {
            let mut guard = self.state();
            let state = &mut *guard;
            state.stats.steps += 1;
            state.busy_steps += 1;
            self.note(state, &format!("{} {what}", process.name()));
            self.read_logs(state);
            self.strike(state, process, true);
        }
        process.goes_on().await;
        tokio::task::yield_now().await;
    }

    /// The last look is taken, and the bytes are not on the wire yet. Answers whether the process lives.
    pub fn at_the_door(&self, process: &Process) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let (kill, stop) = STRUCK_AT_THE_DOOR;
        let machine = &state.machines[process.machine];
        let (may_die, may_stop) = (machine.kill_at.is_some(), machine.stop_at.is_some());
        if may_die && state.dice.random_bool(kill) {
            self.kill(state, process);
            return false;
        }
        if may_stop && state.dice.random_bool(stop) {
            self.stop(state, process);
        }
        true
    }

    /// Counts a step; kills or stops the process when its time has come. Answers whether it is dead.
    fn strike(&self, state: &mut State, process: &Process, busy: bool) -> bool {
        if process.is_dead() {
            return true;
        }
        let machine = &mut state.machines[process.machine];
        machine.steps += 1;
        machine.busy_steps += u64::from(busy);
        if machine.kill_at.is_some_and(|at| machine.busy_steps >= at) {
            self.kill(state, process);
            return true;
        }
        if machine.stop_at.is_some_and(|at| machine.steps >= at) {
            self.stop(state, process);
        }
        false
    }

    fn kill(&self, state: &mut State, process: &Process) {
        self.note(state, &format!("{} is killed", process.name()));
        process.die();
        state.machines[process.machine].kill_at = None;
        state.stats.kills += 1;
        state.stats.fault("process: killed");
        self.changed.notify_one();
    }

    fn stop(&self, state: &mut State, process: &Process) {
        let elapsed = self.clock.elapsed();
        if elapsed < state.machines[process.machine].runs_until {
            return;
        }
        let longest = self.scenario.stop_max.as_millis() as u64;
        let longest = match state.dice.random_range(0..3) {
            0 => 1_500.min(longest),
            1 => 9_000.min(longest),
            _ => longest,
        };
        let span = Duration::from_millis(state.dice.random_range(20..=longest));
        self.note(state, &format!("{} is stopped for {span:?}", process.name()));
        process.stop(span);
        let next = state.dice.random_range(50..1_500);
        let machine = &mut state.machines[process.machine];
        machine.stop_at = Some(machine.steps + next);
        machine.runs_until = elapsed + span + RUNS_FOR;
        machine.stops += 1;
        state.stats.stops += 1;
        state.stats.fault("process: stopped");
    }

    /// What daemons themselves changed that later calls are judged by.
    fn follow(&self, state: &mut State, method: &'static str, point: Point) {
        if point == Point::Before {
            return;
        }
        let now = self.clock.now();
        match method {
            "advance_campaign" => self.store.inspect(|tables| {
                for (id, life) in &mut state.campaigns {
                    let present = tables.campaign[id].state;
                    if *life.state.last() != present {
                        life.state.set(now, present);
                    }
                }
            }),
            "settle" | "apply_late" => self.store.inspect(|tables| {
                for (key, entry) in &tables.suppression {
                    let lasting = Some(entry.expires_at);
                    let known = state.suppressed.entry(*key).or_insert_with(|| Timeline::new(now, lasting));
                    if *known.last() != lasting {
                        known.set(now, lasting);
                    }
                }
            }),
            _ => {}
        }
    }
}

/// Steps that are worth a line and a crash.
fn busy(method: &str) -> bool {
    matches!(
        method,
        "begin_dials"
            | "confirm"
            | "record_replies"
            | "change_open"
            | "settle"
            | "defer"
            | "dispose"
            | "append_inbox"
            | "find_attempts"
            | "bind_calls"
            | "mark_inbox"
            | "apply_late"
            | "apply_enrolment"
            | "dispose_all_due"
            | "advance_campaign"
            | "save_account_state"
            | "release_leases"
            | "leave"
    )
}
