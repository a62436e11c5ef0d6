//! One run: replicas that come and go in one runtime, until nothing is left to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::runtime::Builder;
use tracing::Level;

use crate::domain::attempt::OpenState;
use crate::port::clock::Clock;

use super::judge::due_rows;
use super::replica::Replica;
use super::trace::LogEvents;
use super::world::{Stats, World};

/// Between two looks at whether anything is left to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long nothing must have happened at the end; longer than the daemon puts off any lead that could be called.
const QUIET_FOR: Duration = Duration::from_secs(6);

/// What a run showed.
pub(super) struct Report {
    pub violations: Vec<String>,
    pub trace: String,
    pub stats: Stats,
}

thread_local! {
    /// Panics of this thread's run; tokio keeps those of a task to itself.
    static PANICS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn note_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            before(panic);
        }));
    });
    PANICS.with_borrow_mut(Vec::clear);
}

/// Plays one seed. A run ends where a promise is broken.
pub(super) fn play(seed: u64, keep_trace: bool) -> Report {
    note_panics();
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime can be built");
    let logs = LogEvents::default();
    let level = if keep_trace { Level::INFO } else { Level::WARN };
    logs.collect(level, || {
        let played = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let world = World::new(seed, keep_trace, logs.clone());
                Director::new(&world).run().await;
                conclude(&world)
            })
        }));
        // A panic with the tables in hand leaves nothing to conclude from.
        let report = played.unwrap_or_else(|_| Report {
            violations: PANICS.with_borrow_mut(std::mem::take),
            trace: String::new(),
            stats: Stats::default(),
        });
        // Every task is dropped where it stands.
        drop(runtime);
        report
    })
}

fn conclude(world: &World) -> Report {
    let mut state = world.state();
    world.read_logs(&mut state);
    let panics = PANICS.with_borrow_mut(std::mem::take);
    if panics.is_empty() && state.violations.is_empty() {
        world.judge_end(&mut state);
    }
    for panic in panics {
        world.violation(&mut state, panic);
    }
    Report {
        violations: std::mem::take(&mut state.violations),
        trace: state.trace.text(),
        stats: std::mem::take(&mut state.stats),
    }
}

/// Starts, drains and replaces replicas, and lets the world happen meanwhile.
struct Director<'a> {
    world: &'a Arc<World>,
    places: Vec<Place>,
}

/// Where one replica runs after the other.
#[derive(Default)]
struct Place {
    boots: u32,
    replica: Option<Replica>,
    /// Real time since the start of the run; `None`: never again.
    boot_at: Option<Duration>,
    drain_at: Option<Duration>,
}

impl<'a> Director<'a> {
    fn new(world: &'a Arc<World>) -> Self {
        let mut state = world.state();
        let mut places = Vec::new();
        for machine in 0..world.scenario.replicas {
            let millis = if machine == 0 { 0 } else { state.dice.random_range(0..8_000) };
            places.push(Place { boot_at: Some(Duration::from_millis(millis)), ..Place::default() });
        }
        drop(state);
        Self { world, places }
    }

    async fn run(mut self) {
        let mut looked_at = Duration::ZERO;
        loop {
            for machine in 0..self.places.len() {
                self.turn(machine);
            }
            let now = self.world.clock.now();
            let next = self.world.next_at().map(|at| self.world.clock.civil_to_real(at.duration_since(now)));
            let elapsed = self.world.clock.elapsed();
            let waits = self.places.iter().flat_map(|place| [place.boot_at, place.drain_at]).flatten();
            let wait = waits.map(|at| at.saturating_sub(elapsed)).chain(next).min().unwrap_or(LOOK_EVERY);
            tokio::select! {
                biased;
                () = self.world.changed.notified() => {}
                () = self.world.clock.sleep(wait.clamp(Duration::from_millis(1), LOOK_EVERY)) => {}
            }
            let replicas: Vec<&Replica> = self.places.iter().filter_map(|place| place.replica.as_ref()).collect();
            self.world.let_happen(&replicas);
            let elapsed = self.world.clock.elapsed();
            if elapsed - looked_at >= LOOK_EVERY {
                looked_at = elapsed;
                self.world.watch_leases(&replicas);
                let all_up = self.places.iter().all(|place| place.replica.is_some() || place.boot_at.is_none());
                if !PANICS.with_borrow(Vec::is_empty) || is_over(self.world, all_up, elapsed) {
                    return;
                }
            }
        }
    }

    /// Looks after one machine.
    fn turn(&mut self, machine: usize) {
        let elapsed = self.world.clock.elapsed();
        let place = &mut self.places[machine];
        if place.replica.as_ref().is_some_and(|replica| replica.process.is_dead()) {
            place.replica = None;
            place.drain_at = None;
            let mut state = self.world.state();
            state.machines[machine].process = None;
            // The only place is never given up.
            let for_good = machine > 0 && !state.calm && state.dice.random_bool(0.1);
            let millis = if state.dice.random_bool(0.5) { 3_000 } else { 15_000 };
            let pause = Duration::from_millis(state.dice.random_range(0..millis));
            place.boot_at = (!for_good).then_some(elapsed + pause);
        }
        if place.boot_at.is_some_and(|at| elapsed >= at) {
            self.boot(machine, elapsed);
        } else if place.drain_at.is_some_and(|at| elapsed >= at)
            && let Some(replica) = &mut place.replica
        {
            place.drain_at = None;
            replica.drain(self.world);
            let mut state = self.world.state();
            self.world.note(&mut state, &format!("{} drains", replica.process.name()));
            let stubborn = state.dice.random_bool(0.8);
            let busy_steps = state.machines[machine].busy_steps;
            let more = state.dice.random_range(1..30);
            let calm = state.calm;
            let machine = &mut state.machines[machine];
            machine.draining = true;
            machine.kill_at = (!calm && !stubborn).then_some(busy_steps + more);
        }
    }

    fn boot(&mut self, machine: usize, elapsed: Duration) {
        let place = &mut self.places[machine];
        place.boots += 1;
        place.boot_at = None;
        let replica = Replica::boot(self.world, machine, place.boots);
        let mut state = self.world.state();
        self.world.note(&mut state, &format!("{} boots", replica.process.name()));
        let last = place.boots > self.world.scenario.faults.boots || state.calm;
        let drains = state.dice.random_bool(0.3);
        let kill_at = state.dice.random_range(1..150);
        let drain_after = Duration::from_millis(state.dice.random_range(500..30_000));
        let stop_at = state.dice.random_range(20..1_000);
        let stops = !state.calm && !self.world.scenario.stop_max.is_zero();
        place.drain_at = (!last && drains).then_some(elapsed + drain_after);
        let present = &mut state.machines[machine];
        present.process = Some(Arc::clone(&replica.process));
        present.draining = false;
        present.steps = 0;
        present.busy_steps = 0;
        present.kill_at = (!last && !drains).then_some(kill_at);
        present.stop_at = stops.then_some(stop_at);
        place.replica = Some(replica);
    }
}

/// Nothing happens any more, or the run has lasted long enough.
fn is_over(world: &World, all_up: bool, elapsed: Duration) -> bool {
    let mut state = world.state();
    if !state.violations.is_empty() {
        return true;
    }
    if !state.calm {
        return false;
    }
    if elapsed >= world.scenario.chaos_for + world.scenario.calm_for {
        state.stats.unfinished += 1;
        world.note(&mut state, "unfinished");
        return true;
    }
    let all_act = state.machines.iter().all(|machine| machine.process.is_none() || machine.acting().is_some());
    if !all_up || !all_act || state.deliveries > 0 || !state.happenings.is_empty() {
        return false;
    }
    if elapsed < state.busy_at.max(world.scenario.chaos_for) + QUIET_FOR {
        return false;
    }
    world.store.inspect(|tables| {
        tables.open_attempt.values().all(|open| open.state == OpenState::Held)
            && due_rows(tables)
                .iter()
                .all(|due| world.waits_for(&state, tables, due).is_some_and(|why| why != "the account"))
    })
}
