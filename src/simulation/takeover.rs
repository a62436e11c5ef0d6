//! Who dials an account: never two replicas at once, and never nobody for long while a replica could.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::id::{Epoch, OwnerId};

use super::process::Process;
use super::replica::Replica;
use super::world::{State, World};

/// How long an account may be without a replica that dials it, while there is one that could.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
/// The same after it was given up: whoever leaves is not counted among the living from then on.
const HANDOVER_MAX: Duration = Duration::from_secs(3);

/// What the watch knows of an account.
#[derive(Default)]
pub(super) struct Watch {
    epoch: Option<Epoch>,
    nobody_since: Option<Duration>,
    /// How many could dial it when it was last looked at.
    acting: usize,
    given_up_at: Option<Duration>,
}

impl World {
    /// Looks at the leases; called once a second and whenever something happens.
    pub fn watch_leases(&self, replicas: &[&Replica]) {
        let mut guard = self.state();
        let state = &mut *guard;
        let elapsed = self.clock.elapsed();
        for machine in &mut state.machines {
            let acts = machine.acting().is_some();
            machine.acting_since = if acts { machine.acting_since.or(Some(elapsed)) } else { None };
        }
        let faults = &self.scenario.faults;
        let is_well = state.calm || (faults.store == 0.0 && !faults.slow);
        let acting = state.machines.iter().filter(|machine| machine.acting().is_some()).count();
        let acted_since = state.machines.iter().filter_map(|machine| machine.acting_since).min();
        for account in 0..self.scenario.accounts.len() {
            let name = &self.scenario.accounts[account].settings.name;
            let dialing: Vec<_> = replicas
                .iter()
                .filter(|replica| !replica.process.is_dead() && !replica.is_draining())
                .filter(|replica| replica.engine.dials_account(name))
                .map(|replica| replica.process.name())
                .collect();
            // A database that goes back gives an account away twice; what it forgot keeps both from dialing.
            if dialing.len() > 1 && faults.goes_back == 0.0 {
                self.violation(state, format!("{name} is dialed by several replicas at once: {dialing:?}"));
            }
            let (owner, epoch) = self.holder(account, elapsed);
            let held = owner.is_some_and(|owner| state.machines.iter().any(|machine| machine.acting() == Some(owner)));
            let watch = &mut state.watches[account];
            if watch.epoch.is_some() && watch.epoch != epoch {
                state.stats.takeovers += 1;
            }
            // Whoever took it over may have died since: another lease has to run out.
            let changed = std::mem::replace(&mut watch.epoch, epoch) != epoch;
            // So may whoever would have taken it: the others leave it to that one's share for as long as a lease lasts.
            let changed = changed | (std::mem::replace(&mut watch.acting, acting) > acting);
            watch.nobody_since = if held || changed || !is_well { None } else { watch.nobody_since.or(Some(elapsed)) };
            let Some(nobody_since) = watch.nobody_since else {
                watch.given_up_at = None;
                continue;
            };
            let given_up_at = watch.given_up_at;
            let late = |since: Duration, max: Duration| {
                elapsed > since + max && acted_since.is_some_and(|acted| elapsed > acted + max)
            };
            if late(nobody_since, TAKEOVER_MAX) {
                self.violation(state, format!("nobody has dialed {name} since {nobody_since:?}, and somebody could"));
            } else if given_up_at.is_some_and(|at| late(at, HANDOVER_MAX)) {
                self.violation(state, format!("{name} was given up at {given_up_at:?}, and nobody took it over"));
            }
        }
    }

    /// A drained replica gives up what it dialed.
    pub fn gives_up(&self, state: &mut State, process: &Process) {
        let elapsed = self.clock.elapsed();
        for account in 0..self.scenario.accounts.len() {
            let name = &self.scenario.accounts[account].settings.name;
            let owner = self.store.inspect(|tables| tables.lease.get(name).map(|lease| lease.owner));
            if owner == Some(process.owner) {
                state.watches[account].given_up_at = Some(elapsed);
            }
        }
    }

    fn holder(&self, account: usize, elapsed: Duration) -> (Option<OwnerId>, Option<Epoch>) {
        let name = &self.scenario.accounts[account].settings.name;
        self.store.inspect(|tables| match tables.lease.get(name) {
            None => (None, None),
            Some(lease) => (Some(lease.owner).filter(|_| lease.expires_at > elapsed), Some(lease.epoch)),
        })
    }
}

/// A machine, and the replica that runs on it, if one does.
#[derive(Default)]
pub(super) struct Machine {
    pub wall: super::process::Wall,
    pub process: Option<Arc<Process>>,
    pub draining: bool,
    /// Steps of its present process; those that wrote something or asked the provider.
    pub steps: u64,
    pub busy_steps: u64,
    /// The busy step at which the process dies.
    pub kill_at: Option<u64>,
    /// The step at which it is stopped.
    pub stop_at: Option<u64>,
    /// Not stopped before.
    pub runs_until: Duration,
    /// How often it was stopped.
    pub stops: u64,
    pub acting_since: Option<Duration>,
}

impl Machine {
    /// The replica on it, if that runs and dials.
    pub fn acting(&self) -> Option<OwnerId> {
        let process = self.process.as_ref().filter(|process| !process.is_dead() && !process.is_stopped())?;
        (!self.draining).then_some(process.owner)
    }
}
