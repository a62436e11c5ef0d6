//! Who dials an account now.
//!
//! The lease makes the pacer exact; what makes dialing safe is the epoch in every intent and the local deadline that is
//! checked when bytes leave. The deadline counts from before the lease was asked for, on a clock that cannot be set.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::id::AccountName;
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{Lease, Store, StoreError};

use super::pacer::Pacer;
use super::{Engine, lock};

/// A lease this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Account, owner, epoch.
    pub lease: Lease,
    /// Until when it is safe to act on it.
    pub deadline: Instant,
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Takes and renews the leases of all accounts.
    ///
    /// # Errors
    /// When the database does not answer; what is held runs out by itself.
    pub async fn renew_leases(&self) -> Result<(), StoreError> {
        let asked_at = self.clock.monotonic();
        let names: Vec<AccountName> = self.accounts.keys().cloned().collect();
        let ttl = self.settings.lease_ttl;
        let leases = self.store.renew_leases(self.settings.owner, &names, ttl).await?;
        // A sixth of the lease stays unused, for clocks that tick differently.
        let deadline = asked_at + (ttl - ttl / 6);
        for (name, account) in &self.accounts {
            let held = leases.iter().find(|lease| lease.account == *name);
            let mut present = lock(&account.lease);
            match (present.as_ref().map(|held| held.lease.epoch), held) {
                (before, Some(lease)) => {
                    if before != Some(lease.epoch) {
                        info!(provider.account = %name, epoch = lease.epoch.0, "Account {name} is dialed by this daemon");
                        // As if a call had left just now: whoever dialed before may have sent one.
                        *lock(&account.pacer) = Pacer::new(&account.settings.limits, self.clock.now());
                        *lock(&account.dispatch_memory) = super::dispatch::Memory::default();
                        account.wakes.poll.notify_one();
                    }
                    *present = Some(HeldLease { lease: lease.clone(), deadline });
                }
                (Some(_), None) => {
                    warn!(provider.account = %name, "Account {name} is dialed by another daemon now");
                    *present = None;
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The account's lease, while it is safe to act on.
    pub(super) fn held_lease(&self, account: &super::Account<P>) -> Option<HeldLease> {
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
        let held = lock(&self.accounts[name].lease).clone();
        held.is_some_and(|held| self.clock.monotonic() < held.deadline)
    }

    /// How often leases are renewed.
    pub(super) fn lease_period(&self) -> Duration {
        self.settings.lease_ttl / 4
    }
}
