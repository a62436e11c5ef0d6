//! What the engine is told at its start; checked elsewhere, trusted here.

use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::campaign::Pacing;
use crate::domain::id::{AccountName, OwnerId};
use crate::domain::person::PersonLimits;
use crate::port::store::RetentionPolicy;

/// What concerns the daemon as a whole. `Duration`s are real time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This replica, random for each boot.
    pub owner: OwnerId,
    /// How long a lease lasts without renewal; also how long others wait after this replica dies.
    pub lease_ttl: Duration,
    /// How long after a replica vanished a request of its may still leave: bounds a stopped and continued process.
    pub zombie_horizon: Duration,
    /// The longest a request to place a call may take, connection included.
    pub request_timeout: Duration,
    /// The longest a drain may take.
    pub drain_max: Duration,
    /// How often a person may be called.
    pub person: PersonLimits,
    /// How long what is kept.
    pub retention: RetentionPolicy,
    /// How often the passes run.
    pub periods: Periods,
}

/// How often each pass runs when nothing wakes it.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// Control tables: bounds how late a pause, a stop or an edit takes effect.
    pub control: Duration,
    /// Due leads.
    pub dispatch: Duration,
    /// Inbox.
    pub collect: Duration,
    /// Open attempts: reads, doubts, deadlines.
    pub poll: Duration,
    /// Lead changes.
    pub enrol: Duration,
    /// Campaigns opening and closing.
    pub campaign: Duration,
    /// Partitions and old payloads.
    pub retain: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            control: Duration::from_millis(200),
            dispatch: Duration::from_millis(40),
            collect: Duration::from_millis(50),
            poll: Duration::from_millis(250),
            enrol: Duration::from_millis(200),
            campaign: Duration::from_millis(500),
            retain: Duration::from_secs(60),
        }
    }
}

/// What concerns one account. `SignedDuration`s are civil time.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Its name in the configuration.
    pub name: AccountName,
    /// Limits on starts and lines.
    pub limits: Pacing,
    /// All requests to the provider in any minute.
    pub requests_per_minute: Option<u32>,
    /// How late the provider's list may show a call; `None`: absence from it proves nothing.
    pub list_lag_max: Option<SignedDuration>,
    /// How long a phone may ring.
    pub ring_max: SignedDuration,
    /// How long a call may last.
    pub call_max: SignedDuration,
    /// How long to wait for the other half of a result.
    pub settle_after: SignedDuration,
    /// How often the assistants are read, real time.
    pub roster_period: Duration,
}

impl AccountSettings {
    /// How long an attempt may occupy a line at most.
    pub fn line_max(&self) -> SignedDuration {
        self.ring_max + self.call_max + self.list_lag_max.unwrap_or(SignedDuration::ZERO)
    }
}
