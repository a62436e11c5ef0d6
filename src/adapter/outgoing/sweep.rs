//! The house keeping of outgoing events: what is done with goes, what nobody sends is given up, what waits is counted.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::adapter::clock::ScaledClock;
use crate::adapter::postgres::backlog::{backlogs, sweep_events};
use crate::port::chain::Chain;
use crate::port::metric;
use crate::port::store::StoreError;

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What sweeps, also where nothing is configured: rows of webhooks that were taken out of the configuration have to go.
pub(super) struct Sweep {
    pool: PgPool,
    clock: ScaledClock,
    /// Webhooks of our configuration.
    names: Vec<String>,
    /// Webhooks that campaigns name and that we do not have, as told last.
    missing: BTreeSet<String>,
}

impl Sweep {
    pub(super) fn new(pool: PgPool, clock: ScaledClock, names: Vec<String>) -> Self {
        Self { pool, clock, names, missing: BTreeSet::new() }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            if let Err(problem) = self.round().await {
                debug!(error = %Chain(&problem), "Old outgoing events are removed later");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let now = self.clock.real_now();
        let given_up = sweep_events(&self.pool, &self.names, now).await?;
        if given_up > 0 {
            error!(given_up, "{given_up} events are given up: no daemon has the webhook that their campaigns name");
        }
        let mut missing = BTreeSet::new();
        for backlog in backlogs(&self.pool, &self.names).await? {
            let name = backlog.webhook;
            if self.names.contains(&name) {
                let lag = backlog.oldest_at.map_or(0.0, |oldest_at| now.duration_since(oldest_at).as_secs_f64());
                metric::OUTGOING_WAITING.count([&name], backlog.waiting);
                metric::OUTGOING_LAG.set([&name], lag.max(0.0));
                continue;
            }
            if !self.missing.contains(&name) {
                warn!(
                    webhook = %name,
                    "Webhook {name} is named by campaigns and not in the configuration: its events wait for two days"
                );
            }
            missing.insert(name);
        }
        self.missing = missing;
        Ok(())
    }
}
