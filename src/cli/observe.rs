//! What a running daemon tells those who watch it: numbers for Prometheus, a line for each minute, how many lines were
//! left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use metrics_exporter_prometheus::PrometheusHandle;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::adapter::metrics;
use crate::adapter::postgres::reading::readings;
use crate::adapter::postgres::status::AccountStatus;
use crate::config::{Config, MetricsConfig};
use crate::domain::attempt::OpenState;
use crate::domain::id::{AccountName, CampaignId};
use crate::port::chain::Chain;
use crate::port::clock::Clock;
use crate::port::metric;
use crate::port::reading::Readings;
use crate::telemetry::repeat;

use super::database::Database;
use super::wire::{Engine, Freshness, Minutes, WaitsFor};

/// Between two refreshes, real time: Prometheus reads every 15 s or more rarely.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// Civil time between two summaries.
const SUMMARY_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// The shortest time between two refreshes on a scaled clock.
const REFRESH_EVERY_MIN: Duration = Duration::from_secs(1);
/// How long the database may take for all statements of one refresh.
const READ_WITHIN: Duration = Duration::from_secs(8);
/// How long the probe waits for a connection; more is as bad as that.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);
/// How long the last look may take, at the end of the daemon.
const LAST_LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Most due leads that are counted in a lane for a number, and for a summary.
const LANE_CAPS: (u32, u32) = (1_000, 10_000);
/// What campaigns are called that have no series of their own.
const OTHER: &str = "other";

/// The tasks of a running daemon that watch it.
pub(super) struct Observation {
    stop: CancellationToken,
    watcher: JoinHandle<()>,
    page: Option<JoinHandle<std::io::Result<()>>>,
}

impl Observation {
    /// Begins to watch. With a listener, the numbers are shown there.
    pub(super) fn start(
        config: &Config,
        engine: &Arc<Engine>,
        freshness: Freshness,
        database: &Database,
        listener: Option<TcpListener>,
        postgres: &str,
    ) -> Self {
        let stop = CancellationToken::new();
        let (page, handle) = match listener {
            Some(listener) => {
                let handle = metrics::collect();
                let page = tokio::spawn(metrics::serve(listener, handle.clone(), stop.clone()));
                (Some(page), Some(handle))
            }
            None => (None, None),
        };
        metric::BUILD.set([env!("CARGO_PKG_VERSION"), crate::domain::zone::tzdb_version(), postgres], 1.0);
        tell_config(None, config);
        let watcher = Watcher {
            engine: Arc::clone(engine),
            freshness,
            pools: [("commands", database.pool.clone()), ("passes", database.dial_pool.clone())],
            handle,
            campaigns: CampaignSeries::new(config.metrics),
            minutes: Minutes::default(),
            shown: BTreeSet::new(),
        };
        let watcher = tokio::spawn(watcher.run(stop.clone()));
        Self { stop, watcher, page }
    }

    /// Tells what is left to tell, and ends.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.watcher.await.is_err() {
            error!("What watches the daemon failed: please report it");
        }
        if let Some(page) = self.page
            && let Ok(Err(problem)) = page.await
        {
            error!("The page of metrics failed: {problem}");
        }
        repeat::tell(true);
    }
}

/// Says which configuration runs, and no longer which did before.
pub(super) fn tell_config(before: Option<&Config>, config: &Config) {
    if let Some(before) = before {
        metric::CONFIG.set([&fingerprint(before)], 0.0);
    }
    metric::CONFIG.set([&fingerprint(config)], 1.0);
}

/// The configuration in a few characters, its secrets left out: they print as redacted.
pub(super) fn fingerprint(config: &Config) -> String {
    let digest = Sha256::digest(format!("{config:?}"));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

struct Watcher {
    engine: Arc<Engine>,
    freshness: Freshness,
    /// What they are called, the first of which is for this.
    pools: [(&'static str, PgPool); 2],
    handle: Option<PrometheusHandle>,
    campaigns: CampaignSeries,
    minutes: Minutes,
    /// Series that are to be 0 when nothing of theirs waits any more.
    shown: BTreeSet<(AccountName, WaitsFor)>,
}

impl Watcher {
    async fn run(mut self, stop: CancellationToken) {
        let minute = self.engine.clock.civil_to_real(SUMMARY_EVERY).max(REFRESH_EVERY_MIN);
        let every = if self.handle.is_some() { REFRESH_EVERY.min(minute) } else { minute };
        let mut told_at = self.engine.clock.monotonic();
        loop {
            let ends = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                () = self.engine.clock.sleep(every) => false,
            };
            // Nothing is skipped for a refresh that came a little early.
            let minute_is_over = self.engine.clock.monotonic().duration_since(told_at) + every / 2 >= minute;
            if minute_is_over {
                told_at = self.engine.clock.monotonic();
            }
            // What is left to say is worth a moment of the end, not more.
            let within = if ends { LAST_LOOK_WITHIN } else { Duration::MAX };
            let _ = timeout(within, self.look(ends || minute_is_over)).await;
            repeat::tell(false);
            if ends {
                return;
            }
        }
    }

    async fn look(&mut self, for_summary: bool) {
        self.engine.set_gauges(&self.freshness);
        for (name, pool) in &self.pools {
            watch_pool(name, pool).await;
        }
        let cap = if for_summary { LANE_CAPS.1 } else { LANE_CAPS.0 };
        let now = self.engine.clock.now();
        let read = timeout(READ_WITHIN, readings(&self.pools[0].1, now, cap)).await;
        let (statuses, readings) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(problem)) => {
                debug!(error = %Chain(&problem), "What is told of the tables could not be read");
                return metric::DATABASE_UP.flag([], false);
            }
            Err(_) => return metric::DATABASE_UP.flag([], false),
        };
        metric::DATABASE_UP.flag([], true);
        if self.handle.is_some() {
            self.tell_tables(&statuses, &readings);
        }
        if for_summary {
            self.engine.tell_minute(&readings, &mut self.minutes);
        }
        if let Some(handle) = &self.handle {
            handle.run_upkeep();
        }
    }

    fn tell_tables(&mut self, statuses: &[AccountStatus], readings: &Readings) {
        let now = self.engine.clock.now();
        for name in self.engine.accounts.keys() {
            let label = name.as_str();
            for state in OpenState::ALL {
                metric::OPEN_ATTEMPTS.count([label, state.as_str()], readings.in_state(name, *state).0);
            }
            metric::LINES_IN_USE.count([label], readings.lines(name));
            let oldest = readings.in_state(name, OpenState::InDoubt).1;
            let age = oldest.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
            metric::IN_DOUBT_OLDEST.set([label], age);
            let lag = readings.inbox_lag.get(name).map_or(0.0, SignedDuration::as_secs_f64);
            metric::INBOX_LAG.set([label], lag);
            let status = statuses.iter().find(|status| status.account == *name);
            let pending = status.map_or(0, |status| status.pending_events.unsigned_abs());
            metric::INBOX_PENDING.count([label], pending);
            let stopped = |is: fn(&AccountStatus) -> bool| status.is_some_and(is);
            metric::ACCOUNT_STOPPED.flag([label, "order"], stopped(|status| status.stopped.is_some()));
            metric::ACCOUNT_STOPPED.flag([label, "provider"], stopped(|status| status.problem.is_some()));
            let unknown = |status: &AccountStatus| status.missing.is_some() || status.waits_for(now).is_some();
            metric::ACCOUNT_STOPPED.flag([label, "reconciliation"], status.is_some_and(unknown));
        }
        let waiting = self.engine.waiting(readings);
        let mut by_account: BTreeMap<(AccountName, WaitsFor), u64> = BTreeMap::new();
        for ((account, _, waits_for), count) in &waiting {
            *by_account.entry((account.clone(), *waits_for)).or_default() += count;
        }
        self.shown.extend(by_account.keys().cloned());
        for (account, waits_for) in &self.shown {
            let count = by_account.get(&(account.clone(), *waits_for)).copied().unwrap_or(0);
            metric::BACKLOG.count([account.as_str(), waits_for.as_str()], count);
        }
        self.campaigns.tell(&self.engine, &waiting);
    }
}

/// Connections of a pool, and how long one more is waited for.
async fn watch_pool(name: &str, pool: &PgPool) {
    let idle = u64::try_from(pool.num_idle()).unwrap_or(u64::MAX);
    metric::DATABASE_CONNECTIONS.count([name, "idle"], idle);
    metric::DATABASE_CONNECTIONS.count([name, "in_use"], u64::from(pool.size()).saturating_sub(idle));
    metric::DATABASE_CONNECTIONS_LIMIT.count([name], pool.options().get_max_connections().into());
    let began = Instant::now();
    // What comes of it does not matter: a database that is away is told by other numbers.
    let _ = timeout(ACQUIRE_WITHIN, pool.acquire()).await;
    metric::DATABASE_ACQUIRE.record([name], began.elapsed().as_secs_f64());
}

/// Series by campaign, of which there are only so many.
struct CampaignSeries {
    config: MetricsConfig,
    /// Their labels. A campaign keeps its own.
    names: BTreeMap<CampaignId, String>,
}

impl CampaignSeries {
    fn new(config: MetricsConfig) -> Self {
        Self { config, names: BTreeMap::new() }
    }

    fn tell(&mut self, engine: &Engine, waiting: &BTreeMap<(AccountName, CampaignId, WaitsFor), u64>) {
        if !self.config.per_campaign {
            return;
        }
        for campaign in engine.view().campaigns() {
            self.name(campaign.campaign_id, &campaign.name);
        }
        let mut starts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut ends: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let tallies = engine.tallies();
        for ((_, campaign_id), tally) in &tallies {
            let name = self.names.get(campaign_id).map_or(OTHER, String::as_str);
            *starts.entry(name).or_default() += tally.starts;
            for (outcome, count) in &tally.outcomes {
                *ends.entry((name, outcome.as_str())).or_default() += count;
            }
        }
        let mut backlog: BTreeMap<(&str, WaitsFor), u64> = BTreeMap::new();
        for name in self.names.values() {
            backlog.extend(WaitsFor::ALL.iter().map(|waits_for| ((name.as_str(), *waits_for), 0)));
        }
        for ((_, campaign_id, waits_for), count) in waiting {
            let name = self.names.get(campaign_id).map_or(OTHER, String::as_str);
            *backlog.entry((name, *waits_for)).or_default() += count;
        }
        for (name, total) in starts {
            metric::CAMPAIGN_STARTS.grown_to([name], total);
        }
        for ((name, outcome), total) in ends {
            metric::CAMPAIGN_FINISHED.grown_to([name, outcome], total);
        }
        for ((name, waits_for), count) in backlog {
            metric::CAMPAIGN_BACKLOG.count([name, waits_for.as_str()], count);
        }
    }

    /// Gives a campaign its name while there is room. A campaign that is seen later than the bound allows stays among the
    /// others for good, as what they have grown to must never shrink.
    fn name(&mut self, campaign_id: CampaignId, name: &str) {
        let room = self.names.values().filter(|name| *name != OTHER).count() < usize::from(self.config.campaigns_max);
        self.names.entry(campaign_id).or_insert_with(|| if room { name.to_owned() } else { OTHER.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaigns_beyond_the_bound_share_a_name_and_keep_it() {
        let mut series = CampaignSeries::new(MetricsConfig { per_campaign: true, campaigns_max: 2 });
        for (id, name) in [(1, "spring"), (2, "summer"), (3, "autumn"), (1, "renamed"), (3, "autumn")] {
            series.name(CampaignId(id), name);
        }
        let names: Vec<&str> = series.names.values().map(String::as_str).collect();
        assert_eq!(names, ["spring", "summer", OTHER]);
    }
}
