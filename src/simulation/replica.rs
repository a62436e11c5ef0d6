//! One boot of a replica: the real engine and its driver, with its own way to the database and to the provider.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::adapter::memory::MemoryStore;
use crate::domain::attempt::OpenState;
use crate::domain::id::OwnerId;
use crate::engine::Engine;
use crate::engine::driver::{Drained, Driver};
use crate::engine::settings::{Periods, Settings};
use crate::port::store::RetentionPolicy;

use super::clock::SimClock;
use super::process::Process;
use super::step::Wire;
use super::telephone::{REQUEST_TIMEOUT, SimProvider};
use super::world::World;

/// How long a lease lasts.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(6);

pub(super) type SimEngine = Engine<MemoryStore, SimProvider, SimClock>;

/// A replica that was started and has not ended.
pub(super) struct Replica {
    pub process: Arc<Process>,
    pub engine: Arc<SimEngine>,
    /// Until it drains.
    driver: Option<Driver>,
}

impl Replica {
    pub fn boot(world: &Arc<World>, machine: usize, boot: u32) -> Self {
        let owner = OwnerId(uuid::Uuid::from_u128(u128::from(boot) << 64 | (machine as u128) << 8 | 7));
        let wall = world.state().machines[machine].wall.clone();
        let process = Arc::new(Process::new(machine, boot, owner, wall));
        let wire = Wire { world: Arc::clone(world), process: Arc::clone(&process) };
        let accounts = world.scenario.accounts.iter().enumerate().map(|(account, plan)| {
            let process = Arc::clone(&process);
            let guard = OnceLock::new();
            (plan.settings.clone(), SimProvider { world: Arc::clone(world), process, account, guard })
        });
        let engine = Engine::new(
            world.store.through(Arc::new(wire)),
            world.clock.of_process(&process),
            settings(world, owner),
            accounts.collect(),
        );
        let driver = Some(Driver::start(&engine));
        Self { process, engine, driver }
    }

    pub fn is_draining(&self) -> bool {
        self.driver.is_none()
    }

    /// Begins to drain; the process ends when that is done.
    pub fn drain(&mut self, world: &Arc<World>) {
        let Some(driver) = self.driver.take() else { return };
        let (world, process, engine) = (Arc::clone(world), Arc::clone(&self.process), Arc::clone(&self.engine));
        tokio::spawn(async move {
            process.goes_on().await;
            let stops = world.state().machines[process.machine].stops;
            let drained = driver.drain(&engine).await;
            process.goes_on().await;
            world.judge_drain(&process, drained, stops);
            process.die();
            world.changed.notify_one();
        });
    }
}

impl World {
    /// Nothing a drained replica has begun will be in doubt, if the drain was left alone.
    fn judge_drain(&self, process: &Process, drained: Drained, stops_before: u64) {
        let left: Vec<_> = self.store.inspect(|tables| {
            let open = tables.open_attempt.values();
            open.filter(|open| open.owner == process.owner && open.state == OpenState::Dialing)
                .map(|open| open.attempt_id)
                .collect()
        });
        let mut state = self.state();
        self.note(&mut state, &format!("{} has drained: {drained:?}", process.name()));
        state.stats.drains += 1;
        state.stats.fault("process: drained");
        let was_stopped = state.machines[process.machine].stops != stops_before;
        if drained != Drained::Fully {
            if !was_stopped {
                self.violation(&mut state, format!("the drain took too long: {drained:?}"));
            }
        } else if !left.is_empty() {
            self.violation(&mut state, format!("a full drain leaves attempts that will be in doubt: {left:?}"));
        }
        self.gives_up(&mut state, process);
    }
}

fn settings(world: &World, owner: OwnerId) -> Settings {
    Settings {
        owner,
        name: format!("simulated-{owner:?}"),
        lease_ttl: LEASE_TTL,
        zombie_horizon: world.scenario.zombie_horizon,
        request_timeout: REQUEST_TIMEOUT,
        drain_max: Duration::from_secs(30),
        person: world.scenario.person.clone(),
        retention: RetentionPolicy { inbox_days: 30, payload_days: 30, history_days: None },
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
