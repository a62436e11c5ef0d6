//! Where the configuration, the adapters and the engine meet; the only file that knows both of the latter.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::adapter::clock::ScaledClock;
use crate::adapter::postgres::PostgresStore;
use crate::adapter::provider::brand;
use crate::adapter::provider::{AnyProvider, Autocalls, AutocallsOptions, HappyRobot, HappyRobotOptions};
use crate::config::{AccountConfig, AccountLimits, Config, ProviderKind};
use crate::domain::campaign::Pacing;
use crate::domain::id::{AccountName, Installation, OwnerId};
use crate::domain::person::PersonLimits;
use crate::engine::settings::{AccountSettings, Periods, Settings};
use crate::port::store::{RetentionPolicy, Store, StoreError};

pub use crate::engine::driver::{Drained, Driver, Freshness};
pub use crate::engine::observe::{Minutes, WaitsFor};
pub use crate::engine::view::View;

use super::Failure;

/// The engine as the daemon runs it.
pub type Engine = crate::engine::Engine<PostgresStore, AnyProvider, ScaledClock>;

/// Builds the engine of a configuration.
pub fn engine(config: &Config, store: PostgresStore, clock: ScaledClock) -> Result<Arc<Engine>, Failure> {
    let installation = store.installation();
    let mut accounts = Vec::new();
    for (name, account) in &config.accounts {
        accounts.push((account_settings(config, name, account), provider(config, name, account, installation)?));
    }
    Ok(Engine::new(store, clock, settings(config), accounts))
}

/// What may be dialed and what stops it, as a daemon would see it now.
pub async fn view(store: &PostgresStore) -> Result<View, StoreError> {
    Ok(View::build(store.control().await?, None, tokio::time::Instant::now()))
}

/// The provider client of an account.
pub fn provider(
    config: &Config,
    name: &AccountName,
    account: &AccountConfig,
    installation: Installation,
) -> Result<AnyProvider, Failure> {
    let brand = match account.provider {
        ProviderKind::Famulor => &brand::FAMULOR,
        ProviderKind::Sondos => &brand::SONDOS,
        ProviderKind::Autocalls => &brand::AUTOCALLS,
        ProviderKind::Happyrobot => return happyrobot(config, name, account, installation),
    };
    let options = AutocallsOptions {
        account: name.clone(),
        brand,
        base_url: Some(account.base_url.clone()),
        paths: account.paths.clone(),
        authorities: account.authorities.clone(),
        api_key: account.api_key.clone(),
        correlation_variable: account.correlation_variable.clone(),
        installation,
        request_timeout: real(config.daemon.request_timeout),
        connect_timeout: real(config.daemon.connect_timeout),
    };
    let client = Autocalls::new(options).with_context(|| format!("set up account {name}")).map_err(Failure::user)?;
    Ok(AnyProvider::Autocalls(Box::new(client)))
}

fn happyrobot(
    config: &Config,
    name: &AccountName,
    account: &AccountConfig,
    installation: Installation,
) -> Result<AnyProvider, Failure> {
    let options = HappyRobotOptions {
        account: name.clone(),
        config: account.happyrobot.clone().expect("accounts of this provider are read with it"),
        base_url: account.base_url.clone(),
        authorities: account.authorities.clone(),
        api_key: account.api_key.clone(),
        correlation_variable: account.correlation_variable.clone(),
        installation,
        call_max: account.call_max,
        request_timeout: real(config.daemon.request_timeout),
        connect_timeout: real(config.daemon.connect_timeout),
    };
    let client = HappyRobot::new(options).with_context(|| format!("set up account {name}")).map_err(Failure::user)?;
    Ok(AnyProvider::HappyRobot(Box::new(client)))
}

/// How often a person may be called.
pub fn person_limits(config: &Config) -> PersonLimits {
    PersonLimits {
        calls_per_day: config.person.calls_per_day.map(NonZeroU32::get),
        day: config.person.day.clone(),
        min_gap_between_campaigns: config.person.min_gap_between_campaigns,
    }
}

fn settings(config: &Config) -> Settings {
    let daemon = &config.daemon;
    Settings {
        owner: OwnerId(Uuid::new_v4()),
        name: replica_name(),
        lease_ttl: real(daemon.lease_ttl),
        zombie_horizon: real(daemon.zombie_horizon),
        request_timeout: real(daemon.request_timeout),
        drain_max: real(daemon.drain_max),
        person: person_limits(config),
        retention: RetentionPolicy {
            inbox_days: config.retention.inbox_days,
            payload_days: config.retention.call_result_days,
            history_days: config.retention.history_days,
        },
        periods: Periods::default(),
    }
}

/// Host and process, as an operator looks for them.
fn replica_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let host: String = host.unwrap_or_else(|| "unknown".to_owned()).chars().take(180).collect();
    format!("{host}:{}", std::process::id())
}

fn account_settings(config: &Config, name: &AccountName, account: &AccountConfig) -> AccountSettings {
    AccountSettings {
        name: name.clone(),
        limits: pacing(&account.limits),
        requests_per_minute: Some(account.limits.requests_per_minute.get()),
        requests_burst: account.limits.requests_burst.map(|burst| (burst.requests.get(), burst.within)),
        webhook_address: webhook_address(config, name),
        list_lag_max: account.list_lag_max,
        ring_max: account.ring_max,
        call_max: account.call_max,
        settle_after: account.settle_after,
        roster_period: real(account.roster_period),
    }
}

/// Where an account's webhooks are received, up to the secret part; `None` without a public address.
pub(super) fn webhook_address(config: &Config, name: &AccountName) -> Option<String> {
    config.http.public_url.as_deref().map(|public_url| format!("{public_url}/webhook/{name}/"))
}

pub(super) fn pacing(limits: &AccountLimits) -> Pacing {
    Pacing {
        calls_per_second: Some(limits.calls_per_second),
        calls_per_minute: Some(limits.calls_per_minute),
        concurrent_calls: Some(limits.concurrent_calls),
        calls_per_day: Some(limits.calls_per_day),
        day: limits.day.clone(),
    }
}

fn real(span: SignedDuration) -> Duration {
    Duration::try_from(span).unwrap_or(Duration::ZERO)
}
