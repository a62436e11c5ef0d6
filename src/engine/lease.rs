//! Who dials an account now, and who else is there.
//!
//! The lease makes the pacer exact; what makes dialing safe is the epoch in every intent and the local deadline that is
//! checked when bytes leave. The deadline counts from before the lease was asked for, on a clock that cannot be set.
//!
//! Accounts are spread evenly: whoever holds more than its share ends what is under way and gives one back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::id::{AccountName, AttemptId};
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{Beat, Lease, LeaseRequest, Pulse, Store, StoreError};

use super::clock::{COMPARISON_MAX, SKEW_MAX};
use super::pacer::Pacer;
use super::{Account, Engine, lock};

/// How many times as long a pass rests whose work another replica does.
const LEISURE: u32 = 10;
/// How long an acknowledged intent is asked after: what a database loses is younger.
const WITNESS_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// A lease this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Account, owner, epoch.
    pub lease: Lease,
    /// Until when it is safe to act on it.
    pub deadline: Instant,
    /// Civil; nobody else has dialed the account since.
    pub since: Timestamp,
}

/// This process among the others.
#[derive(Debug, Default)]
pub(super) struct Replica {
    beat_no: i64,
    acknowledged: i64,
    /// The civil time of the last beat that was acknowledged.
    acknowledged_at: Option<Timestamp>,
    witness: Option<(AttemptId, Instant)>,
    pulse: Option<Pulse>,
    skew_told: bool,
}

impl Replica {
    /// An intent that the database has acknowledged.
    pub fn saw_committed(&mut self, attempt_id: AttemptId, at: Instant) {
        self.witness = Some((attempt_id, at));
    }

    /// The last acknowledged intent, unless that is long ago.
    pub fn witness(&self, now: Instant) -> Option<AttemptId> {
        self.witness.filter(|(_, at)| now.duration_since(*at) < WITNESS_AGE_MAX).map(|(attempt_id, _)| attempt_id)
    }
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Gives a sign of life, takes and renews leases, and gives back what is more than this replica's share.
    ///
    /// # Errors
    /// When the database does not answer; what is held runs out by itself.
    pub async fn renew_leases(&self) -> Result<(), StoreError> {
        let names: Vec<AccountName> = self.accounts.keys().cloned().collect();
        if !self.clock.is_compared() {
            // A beat is dated, and what is noted with it must not lie in a wrong clock's future.
            self.compare_clocks().await?;
        }
        let replicas = self.beat(&names).await?;
        let share = share_of(names.len(), replicas);
        let asked_at = self.clock.monotonic();
        let ttl = self.settings().lease_ttl;
        let request = LeaseRequest { owner: self.settings().owner, accounts: &names, share, ttl };
        let leases = self.store.renew_leases(&request).await?;
        // A sixth of the lease stays unused, for clocks that tick differently.
        let deadline = asked_at + (ttl - ttl / 6);
        for (name, account) in &self.accounts {
            let held = leases.iter().find(|lease| lease.account == *name);
            self.follow_lease(account, held, deadline);
        }
        self.give_back_surplus(&leases, share).await
    }

    fn follow_lease(&self, account: &Account<P>, lease: Option<&Lease>, deadline: Instant) {
        let name = &account.name;
        let mut present = lock(&account.lease);
        match (present.as_ref().map(|held| (held.lease.epoch, held.since)), lease) {
            (Some((epoch, since)), Some(lease)) if epoch == lease.epoch => {
                *present = Some(HeldLease { lease: lease.clone(), deadline, since });
            }
            (_, Some(lease)) => {
                let now = self.clock.now();
                info!(provider.account = %name, epoch = lease.epoch.0, "Account {name} is dialed by this daemon");
                lock(&account.requests).begin_term(lease.epoch, now);
                // As if a call had left just now: whoever dialed before may have sent one.
                {
                    // Read under the lock, so that limits that are just being changed are not forgotten.
                    let mut pacer = lock(&account.pacer);
                    *pacer = Pacer::new(&account.settings().limits, now);
                }
                *lock(&account.dispatch_memory) = super::dispatch::Memory::default();
                // As read in an earlier term it may be hours old.
                lock(&account.roster).assistants = None;
                account.handing_over.store(false, Ordering::Release);
                *present = Some(HeldLease { lease: lease.clone(), deadline, since: now });
                account.wakes.poll.notify_one();
                account.wakes.roster.notify_one();
            }
            (Some(_), None) => {
                warn!(provider.account = %name, "Account {name} is dialed by another daemon now");
                *present = None;
            }
            (None, None) => {}
        }
    }

    /// Asks the database for its time. Until that has been done once, nothing that has a date may be written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn compare_clocks(&self) -> Result<(), StoreError> {
        let asked_at = self.clock.monotonic();
        self.clock.compare(asked_at, self.store.database_now().await?);
        Ok(())
    }

    /// A sign of life; answers how many replicas are alive.
    async fn beat(&self, accounts: &[AccountName]) -> Result<u32, StoreError> {
        let asked_at = self.clock.monotonic();
        let now = self.clock.now();
        // Another replica's clock may lie as far on the other side.
        let apart = self.clock.real_to_civil((SKEW_MAX + COMPARISON_MAX) * 2);
        let (number, acknowledged, known_at, witness) = {
            let mut replica = lock(&self.replica);
            replica.beat_no += 1;
            let known_at = replica.acknowledged_at.map_or(now, |at| at - apart);
            (replica.beat_no, replica.acknowledged, known_at, replica.witness(asked_at))
        };
        let settings = self.settings();
        let beat = Beat {
            owner: settings.owner,
            name: &settings.name,
            number,
            acknowledged,
            known_at,
            witness,
            accounts,
            ttl: settings.lease_ttl,
            now,
            calls_over_at: now + self.longest_call(),
        };
        let pulse = self.store.beat(&beat).await?;
        self.clock.compare(asked_at, pulse.database_now);
        if let Some(problem) = &pulse.went_back {
            warn!(
                "No account dials until the providers' calls were compared with the attempts: {problem}. What was \
                 committed last may be missing"
            );
        }
        let mut replica = lock(&self.replica);
        replica.acknowledged = number;
        replica.acknowledged_at = Some(now);
        if pulse.went_back.is_some() {
            // It is known, and is not to be found again.
            replica.witness = None;
        }
        let replicas = pulse.replicas;
        replica.pulse = Some(pulse);
        drop(replica);
        self.tell_skew();
        Ok(replicas)
    }

    /// How long after its intent a call of any account may last.
    fn longest_call(&self) -> SignedDuration {
        let longest = self.accounts.values().map(|account| account.settings().line_max()).max();
        longest.unwrap_or_default() + self.clock.real_to_civil(self.settings().request_timeout)
    }

    fn tell_skew(&self) {
        let problem = self.clock_problem();
        let mut replica = lock(&self.replica);
        if replica.skew_told != problem.is_some() {
            replica.skew_told = problem.is_some();
            match problem {
                Some(problem) => warn!("Nothing is dialed: {problem}"),
                None => info!("The machine's clock agrees with the database's again"),
            }
        }
    }

    /// Why this machine's clock cannot be trusted with calling windows. Looks at the clock itself, so that one that was
    /// just set is noticed before the next call leaves.
    pub(super) fn clock_problem(&self) -> Option<String> {
        let Some(skew) = self.clock.skew() else {
            return Some("the machine's clock has not been compared with the database's yet".to_owned());
        };
        (skew > SKEW_MAX).then(|| {
            let seconds = skew.as_secs_f64();
            format!("the machine's clock is {seconds:.1} s off the database's; set both by NTP")
        })
    }

    /// Replicas that are alive and have the same accounts, this one included; 0 before the first beat.
    pub(super) fn replicas_alive(&self) -> u32 {
        lock(&self.replica).pulse.as_ref().map_or(0, |pulse| pulse.replicas)
    }

    /// Gives back what is more than this replica's share, each account once nothing of it is under way.
    async fn give_back_surplus(&self, leases: &[Lease], share: u32) -> Result<(), StoreError> {
        let mut held: Vec<&AccountName> = leases.iter().map(|lease| &lease.account).collect();
        held.sort();
        let mut given_back = Vec::new();
        for (index, name) in held.into_iter().enumerate() {
            let leaves = index >= share as usize;
            // A batch that was begun before may become durable while the lease is given back: one beat later none can.
            let was_leaving = self.accounts[name].handing_over.swap(leaves, Ordering::AcqRel);
            if leaves && was_leaving && !self.is_busy(name) {
                given_back.push(name.clone());
            }
        }
        if given_back.is_empty() {
            return Ok(());
        }
        for name in &given_back {
            // Not used from here on, whatever becomes of the statement.
            *lock(&self.accounts[name].lease) = None;
            info!(provider.account = %name, "Account {name} is left to another daemon");
        }
        self.store.release_leases(self.settings().owner, &given_back).await
    }

    /// Whether intents of the account are under way here.
    fn is_busy(&self, name: &AccountName) -> bool {
        self.in_flight().values().any(|account| account == name)
    }

    /// The account's lease, while it is safe to act on.
    pub(super) fn held_lease(&self, account: &Account<P>) -> Option<HeldLease> {
        let held = lock(&account.lease).clone();
        #[cfg(test)]
        if crate::port::mutation::Mutation::LeaseFenceOff.is_made() {
            return held;
        }
        held.filter(|held| self.clock.monotonic() < held.deadline)
    }

    /// Whether this replica takes itself for the one that dials the account.
    #[cfg(test)]
    pub(crate) fn dials_account(&self, name: &AccountName) -> bool {
        self.held_lease(&self.accounts[name]).is_some()
    }

    /// Whether somebody else is first in line for what any replica may do, so that this one need not hurry.
    fn is_second(&self) -> bool {
        lock(&self.replica).pulse.as_ref().is_some_and(|pulse| pulse.rank > 0)
    }

    /// How many times as long a pass may rest here, because another replica does its work at the ordinary pace. It is no
    /// duty of one replica alone: nothing waits for a lost one longer than that.
    pub(super) fn leisure(&self, pass: &str) -> u32 {
        match pass.split_once(' ') {
            None => match pass {
                "enrol" | "campaign" | "retain" | "reread" if self.is_second() => LEISURE,
                _ => 1,
            },
            Some(("collect", name)) => {
                let account = self.accounts.get(&AccountName::new(name));
                let elsewhere = account.is_some_and(|account| self.held_lease(account).is_none());
                if elsewhere { LEISURE } else { 1 }
            }
            Some(_) => 1,
        }
    }

    /// How often leases are renewed.
    pub(super) fn lease_period(&self) -> Duration {
        self.settings().lease_ttl / 4
    }
}

/// How many of the accounts each of the replicas dials at most.
fn share_of(accounts: usize, replicas: u32) -> u32 {
    u32::try_from(accounts).unwrap_or(u32::MAX).div_ceil(replicas.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_accounts_evenly() {
        assert_eq!([share_of(0, 1), share_of(1, 3), share_of(3, 3), share_of(4, 3), share_of(5, 0)], [0, 1, 1, 2, 5]);
    }
}
