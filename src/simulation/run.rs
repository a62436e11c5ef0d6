//! One run: boots of the daemon, each in a runtime of its own, until nothing is left to do.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::RngExt;
use tokio::runtime::Builder;
use tracing::Level;

use crate::adapter::memory::MemoryStore;
use crate::domain::attempt::OpenState;
use crate::domain::id::OwnerId;
use crate::engine::Engine;
use crate::engine::driver::{Drained, Driver};
use crate::engine::settings::{Periods, Settings};
use crate::port::clock::Clock;
use crate::port::store::RetentionPolicy;

use super::clock::SimClock;
use super::judge::due_rows;
use super::telephone::{REQUEST_TIMEOUT, SimProvider};
use super::world::{Stats, World};

/// How long a lease lasts.
const LEASE_TTL: Duration = Duration::from_secs(6);
/// How long after a daemon died a request of its may still arrive at the provider.
const ZOMBIE_HORIZON: Duration = Duration::from_secs(15);
/// Between two looks at whether anything is left to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long nothing must have happened at the end; longer than the daemon puts off any lead that could be called.
const QUIET_FOR: Duration = Duration::from_secs(6);

type SimEngine = Engine<MemoryStore, SimProvider, SimClock>;

/// What a run showed.
pub(super) struct Report {
    pub violations: Vec<String>,
    pub trace: String,
    pub stats: Stats,
}

/// How a boot ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    Drained,
    Done,
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

/// Plays one seed.
pub(super) fn play(seed: u64, keep_trace: bool) -> Report {
    note_panics();
    let world = World::new(seed, keep_trace);
    let logs = world.logs.clone();
    let level = if keep_trace { Level::INFO } else { Level::WARN };
    logs.collect(level, || {
        let mut boots = 0;
        loop {
            boots += 1;
            match boot(&world, boots) {
                _ if !PANICS.with_borrow(Vec::is_empty) => break,
                End::Done => break,
                End::Killed | End::Drained => pause(&world),
            }
        }
        let mut state = world.state();
        world.read_logs(&mut state);
        let panics = PANICS.with_borrow_mut(std::mem::take);
        if panics.is_empty() {
            world.judge_end(&mut state);
        }
        for panic in panics {
            world.violation(&mut state, panic);
        }
    });
    let state = world.state();
    Report { violations: state.violations.clone(), trace: state.trace.text(), stats: state.stats }
}

/// No daemon runs for a while, shorter or longer than its lease.
fn pause(world: &Arc<World>) {
    let span = {
        let mut state = world.state();
        state.dead = false;
        let millis = if state.dice.random_bool(0.5) { 3_000 } else { 15_000 };
        Duration::from_millis(state.dice.random_range(0..millis))
    };
    let until = world.clock.elapsed() + span;
    let runtime = Builder::new_current_thread().build().expect("a runtime can be built");
    loop {
        let now = world.clock.now();
        let left = until.saturating_sub(world.clock.elapsed());
        let next = world.next_at().map(|at| world.clock.civil_to_real(at.duration_since(now)));
        world.clock.pass(next.unwrap_or(left).max(Duration::from_micros(50)).min(left));
        runtime.block_on(world.let_happen(None::<&MemoryStore>));
        if left.is_zero() {
            return;
        }
    }
}

fn boot(world: &Arc<World>, boots: u32) -> End {
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime can be built");
    let end = runtime.block_on(async {
        world.clock.begin_boot();
        let end = live(world, boots).await;
        world.clock.end_boot();
        end
    });
    // Every task is dropped where it stands.
    drop(runtime);
    world.state().up = false;
    world.logs.take();
    end
}

async fn live(world: &Arc<World>, boots: u32) -> End {
    let drained_after = {
        let mut state = world.state();
        state.up = true;
        world.note(&mut state, &format!("boot {boots}"));
        let last = boots > world.scenario.faults.boots || state.calm;
        let drains = state.dice.random_bool(0.3);
        let kill_at = state.busy_steps + state.dice.random_range(1..150);
        state.kill_at = (!last && !drains).then_some(kill_at);
        let millis = state.dice.random_range(500..30_000);
        (!last && drains).then(|| Duration::from_millis(millis))
    };
    let hooked = Arc::clone(world);
    let store = world.store.with_faults(Arc::new(move |method, point| hooked.store_step(method, point)));
    let owner = OwnerId(uuid::Uuid::from_u128(u128::from(boots) << 64 | 7));
    let accounts = world.scenario.accounts.iter().enumerate().map(|(account, plan)| {
        (plan.settings.clone(), SimProvider { world: Arc::clone(world), account, guard: OnceLock::new() })
    });
    let engine = Engine::new(store.clone(), world.clock.clone(), settings(world, owner), accounts.collect());
    let driver = Driver::start(&engine);
    let began = world.clock.elapsed();
    let mut looked_at = began;
    loop {
        let now = world.clock.now();
        let next = world.next_at().map_or(LOOK_EVERY, |at| world.clock.civil_to_real(at.duration_since(now)));
        tokio::select! {
            biased;
            () = world.killed.notified() => return End::Killed,
            () = world.clock.sleep(next.clamp(Duration::from_millis(1), LOOK_EVERY)) => {}
        }
        for account in world.let_happen(Some(&store)).await {
            engine.accounts[&world.scenario.accounts[account].settings.name].wake_collect();
        }
        if world.state().dead {
            continue;
        }
        let elapsed = world.clock.elapsed();
        if drained_after.is_some_and(|after| elapsed >= began + after) {
            return drain(world, driver, &engine, owner).await;
        }
        if elapsed - looked_at >= LOOK_EVERY {
            looked_at = elapsed;
            if !PANICS.with_borrow(Vec::is_empty) || is_over(world, elapsed) {
                return End::Done;
            }
        }
    }
}

/// Drains the daemon; webhooks and calls go on meanwhile.
async fn drain(world: &Arc<World>, driver: Driver, engine: &Arc<SimEngine>, owner: OwnerId) -> End {
    {
        let mut state = world.state();
        world.note(&mut state, "drain");
        state.kill_at = None;
        state.stats.drains += 1;
    }
    let happening = async {
        loop {
            world.clock.sleep(Duration::from_millis(50)).await;
            world.let_happen(Some(&engine.store)).await;
        }
    };
    let drained = tokio::select! {
        biased;
        drained = driver.drain(engine) => drained,
        () = happening => unreachable!("it goes on for ever"),
    };
    let left: Vec<_> = world.store.inspect(|tables| {
        let open = tables.open_attempt.values();
        open.filter(|open| open.owner == owner && open.state == OpenState::Dialing)
            .map(|open| open.attempt_id)
            .collect()
    });
    let mut state = world.state();
    world.note(&mut state, &format!("drained: {drained:?}"));
    if drained != Drained::Fully {
        world.violation(&mut state, format!("the drain took too long: {drained:?}"));
    } else if !left.is_empty() {
        world.violation(&mut state, format!("a full drain leaves attempts that will be in doubt: {left:?}"));
    }
    End::Drained
}

/// Nothing happens any more, or the run has lasted long enough.
fn is_over(world: &World, elapsed: Duration) -> bool {
    let mut state = world.state();
    if !state.calm {
        return false;
    }
    if elapsed >= world.scenario.chaos_for + world.scenario.calm_for {
        state.stats.unfinished += 1;
        world.note(&mut state, "unfinished");
        return true;
    }
    if !state.happenings.is_empty() || elapsed < state.busy_at.max(world.scenario.chaos_for) + QUIET_FOR {
        return false;
    }
    world.store.inspect(|tables| {
        tables.open_attempt.values().all(|open| open.state == OpenState::Held)
            && due_rows(tables)
                .iter()
                .all(|due| world.waits_for(&state, tables, due).is_some_and(|why| why != "the account"))
    })
}

fn settings(world: &World, owner: OwnerId) -> Settings {
    Settings {
        owner,
        name: "simulated".to_owned(),
        lease_ttl: LEASE_TTL,
        zombie_horizon: ZOMBIE_HORIZON,
        request_timeout: REQUEST_TIMEOUT,
        drain_max: Duration::from_secs(30),
        person: world.scenario.person.clone(),
        retention: RetentionPolicy { inbox_days: 30, payload_days: 30 },
        periods: Periods {
            // A view may be a second old at most.
            control: Duration::from_millis(700),
            dispatch: Duration::from_secs(1),
            collect: Duration::from_millis(1100),
            poll: Duration::from_millis(1300),
            enrol: Duration::from_millis(900),
            campaign: Duration::from_millis(1700),
            retain: Duration::from_secs(60),
        },
    }
}
