//! Every number the daemon tells of itself: one closed list of names, kinds, labels and meanings.
//!
//! A call here costs next to nothing while nobody has asked for metrics. Labels are bounded: accounts, words of closed
//! vocabularies, passes and pools, never a lead, an attempt or a phone; campaigns only where the configuration says so.

use metrics::{Key, Label, Level, Metadata};

/// What a series is, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts what was measured in buckets with these upper bounds, seconds.
    Histogram(&'static [f64]),
}

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// A number that only grows, with `N` labels.
pub struct Counter<const N: usize>(Description);

/// A number that goes up and down, with `N` labels.
pub struct Gauge<const N: usize>(Description);

/// Measured spans of seconds, with `N` labels.
pub struct Histogram<const N: usize>(Description);

impl<const N: usize> Counter<N> {
    /// Adds to it. Label values come in the order of the list.
    pub fn add(&self, values: [&str; N], count: u64) {
        let key = key(&self.0, &values);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA).increment(count));
    }

    /// Says what it has grown to, where somebody else counts.
    pub fn grown_to(&self, values: [&str; N], total: u64) {
        let key = key(&self.0, &values);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA).absolute(total));
    }
}

impl<const N: usize> Gauge<N> {
    /// Sets it.
    pub fn set(&self, values: [&str; N], value: f64) {
        let key = key(&self.0, &values);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).set(value));
    }

    /// Sets it to a number of things.
    pub fn count(&self, values: [&str; N], count: u64) {
        // What is counted here stays far below 2^52.
        self.set(values, count as f64);
    }

    /// Sets it to 1 or 0.
    pub fn flag(&self, values: [&str; N], holds: bool) {
        self.set(values, f64::from(u8::from(holds)));
    }
}

impl<const N: usize> Histogram<N> {
    /// Adds one measured span, in seconds.
    pub fn record(&self, values: [&str; N], seconds: f64) {
        let key = key(&self.0, &values);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA).record(seconds));
    }
}

const METADATA: Metadata<'static> = Metadata::new("outdial", Level::INFO, None);

fn key(description: &Description, values: &[&str]) -> Key {
    let labels = description.labels.iter().zip(values);
    let labels: Vec<Label> = labels.map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(description.name, labels)
}

/// Answers and passes: from a millisecond to longer than any timeout.
const SPANS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Lateness: from what the dispatch pass can do at best to a working day.
const WAITS: &[f64] =
    &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 36_000.0];

macro_rules! kind {
    (Counter) => {
        Kind::Counter
    };
    (Gauge) => {
        Kind::Gauge
    };
    (Histogram $buckets:ident) => {
        Kind::Histogram($buckets)
    };
}

macro_rules! list {
    ($($item:ident = $kind:ident $($buckets:ident)? $name:literal [$($label:literal),*] $help:literal)+) => {
        $(
            #[doc = $help]
            pub static $item: $kind<{ <[&str]>::len(&[$($label),*]) }> = $kind(Description {
                name: $name,
                kind: kind!($kind $($buckets)?),
                labels: &[$($label),*],
                help: $help,
            });
        )+

        /// The whole list.
        pub const fn all() -> &'static [Description] {
            const ALL: &[Description] = &[$(Description {
                name: $name,
                kind: kind!($kind $($buckets)?),
                labels: &[$($label),*],
                help: $help,
            }),+];
            ALL
        }
    };
}

list! {
    STARTS = Counter "outdial_starts_total" ["account"]
        "Requests for calls whose first byte has left."
    REPLIES = Counter "outdial_replies_total" ["account", "reply"]
        "What became of requests for calls: placed, in_doubt, or the reason why certainly nothing rang."
    FINISHED = Counter "outdial_attempts_finished_total" ["account", "outcome"]
        "Attempts that this replica has ended, by outcome."
    WEBHOOKS = Counter "outdial_webhooks_total" ["account", "result"]
        "Webhooks by what became of them: stored, not_stored, overloaded, or unknown_address with no account."
    OUTGOING = Counter "outdial_outgoing_events_total" ["webhook", "result"]
        "Events that this replica has told receivers, each sending: delivered, not_taken, given_up."
    OUTGOING_WAITING = Gauge "outdial_outgoing_waiting_events" ["webhook"]
        "Events that wait to be told, at most 10000 counted; looked at once a minute."
    OUTGOING_LAG = Gauge "outdial_outgoing_lag_seconds" ["webhook"]
        "Age of the oldest event that waits to be told; 0 when none does."
    PASS_FAILURES = Counter "outdial_pass_failures_total" ["pass"]
        "Runs of a pass that failed; each is tried again."
    LATENESS = Histogram WAITS "outdial_start_lateness_seconds" ["account"]
        "How long after a lead was due and its calling window open its request left, civil time; waiting for rates and lines counts."
    PROVIDER_REQUESTS = Histogram SPANS "outdial_provider_request_duration_seconds" ["account", "operation", "result"]
        "Time to the provider's answer by operation: place, read, list, assistants, standing, cancel."
    PASS_DURATION = Histogram SPANS "outdial_pass_duration_seconds" ["pass"]
        "How long a run of a pass took."
    DATABASE_ACQUIRE = Histogram SPANS "outdial_database_acquire_duration_seconds" ["pool"]
        "How long a probe waited for a connection of the pool, one probe for each refresh."
    OPEN_ATTEMPTS = Gauge "outdial_open_attempts" ["account", "state"]
        "Open attempts: dialing, placed, in_doubt, held."
    IN_DOUBT_OLDEST = Gauge "outdial_in_doubt_oldest_seconds" ["account"]
        "Age of the oldest attempt in doubt, civil time; 0 when there is none."
    LINES_IN_USE = Gauge "outdial_lines_in_use" ["account"]
        "Calls that occupy a line."
    LINES_LIMIT = Gauge "outdial_lines_limit" ["account"]
        "Calls at once that the configuration allows."
    STARTS_LIMIT = Gauge "outdial_starts_per_minute_limit" ["account"]
        "Starts in a minute that this replica allows itself now: the configured rate, or less while the provider refuses more."
    BACKLOG = Gauge "outdial_backlog_leads" ["account", "reason"]
        "Leads that are due, by what they wait for: ready, window, blocked, campaign, account. At most 1000 are counted in each lane."
    INBOX_PENDING = Gauge "outdial_inbox_pending_events" ["account"]
        "Events that are not applied yet, those that wait for their call included."
    INBOX_LAG = Gauge "outdial_inbox_lag_seconds" ["account"]
        "How long the oldest event that is due for a look has waited for it, civil time."
    LEASE_HELD = Gauge "outdial_lease_held" ["account"]
        "1 where this replica dials the account, else 0."
    ACCOUNT_STOPPED = Gauge "outdial_account_stopped" ["account", "reason"]
        "1 while the account is stopped by an order, by its provider, or for a reconciliation; else 0."
    REPLICAS = Gauge "outdial_replicas_alive" []
        "Replicas with the same accounts that are alive, this one included."
    CLOCK_SKEW = Gauge "outdial_clock_skew_seconds" []
        "By how much this machine's clock is certainly off the database's. Above a second nothing is dialed."
    PASS_OVERDUE = Gauge "outdial_pass_overdue_seconds" ["pass", "account"]
        "How long ago a pass should have ended well; 0 while it is in time. Above 60 the daemon counts as standing still."
    DATABASE_UP = Gauge "outdial_database_up" []
        "1 if the last refresh of the numbers that come from the database worked, else 0; they are older then."
    DATABASE_CONNECTIONS = Gauge "outdial_database_connections" ["pool", "state"]
        "Connections of a pool: idle or in_use."
    DATABASE_CONNECTIONS_LIMIT = Gauge "outdial_database_connections_limit" ["pool"]
        "Most connections of a pool."
    BUILD = Gauge "outdial_build_info" ["version", "tzdb", "postgres"]
        "Always 1; the labels say what runs: outdial, its time zone data, the Postgres server."
    CONFIG = Gauge "outdial_config_info" ["hash"]
        "Always 1; the label changes with the configuration, secrets left out."
    CAMPAIGN_STARTS = Counter "outdial_campaign_starts_total" ["campaign"]
        "Requests for calls whose first byte has left, by campaign. Only with metrics.per_campaign."
    CAMPAIGN_FINISHED = Counter "outdial_campaign_attempts_finished_total" ["campaign", "outcome"]
        "Attempts that this replica has ended, by campaign and outcome. Only with metrics.per_campaign."
    CAMPAIGN_BACKLOG = Gauge "outdial_campaign_backlog_leads" ["campaign", "reason"]
        "As outdial_backlog_leads, by campaign. Only with metrics.per_campaign."
}
