//! The configuration: what an operator writes, checked and typed.
//!
//! [`load`] merges the compiled-in reference, files and the environment, and either returns a [`Config`] that holds no
//! nonsense or every problem at once. Campaign files are read here too ([`parse_campaign_file`]), because they are YAML
//! as well; what they mean is [`crate::domain::definition`].

mod account;
mod campaign_file;
mod change;
mod effective;
mod happyrobot;
mod layer;
mod reference;
mod schema;
mod secret;
mod section;
mod webhook;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

pub use account::{AccountConfig, AccountLimits, ApiPaths, Authorities, LimitOrigin, LimitOrigins, RequestBurst};
pub use campaign_file::parse_campaign_file;
pub use change::{Applies, Change, changes, taken_over};
pub use effective::{Origins, Setting, fingerprint, settings};
pub use happyrobot::{DeclaredAssistant, HappyRobotApi, HappyRobotConfig};
pub use schema::{DURATION_PATTERN, campaign_schema, config_schema};
pub use section::UNHEARD_TARGET;
pub use webhook::{WebhookConfig, is_public};
pub use yaml::parse_yaml;

use crate::domain::campaign::Day;
use crate::domain::document::{Cursor, Node, Problems, Report};
use crate::domain::id::AccountName;
use crate::domain::outcome::words;

/// Where a configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// Files and folders, in their order; a later one wins.
    pub paths: Vec<PathBuf>,
    /// The environment. Only variables that begin with `OUTDIAL__` count.
    pub environment: Vec<(OsString, OsString)>,
    /// Where state is kept when nothing else is said; `None` when the environment names no such folder.
    pub state_dir: Option<PathBuf>,
}

impl fmt::Debug for Sources {
    /// Leaves out the values of the environment: there are secrets among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("paths", &self.paths)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Files and folders under this process's environment.
    pub fn of_process(paths: Vec<PathBuf>) -> Self {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state_dir = if nix::unistd::geteuid().is_root() {
            Some(PathBuf::from("/var/lib/outdial"))
        } else {
            folder("XDG_STATE_HOME")
                .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
                .map(|state| state.join("outdial"))
        };
        Self { paths, environment: std::env::vars_os().collect(), state_dir }
    }
}

/// Reads the configuration.
///
/// # Errors
/// Every problem: first those of the shape of the layers, then, once they can be merged, all others.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_with_origins(sources).map(|(config, _)| config)
}

/// Reads the configuration, and where each value of it comes from.
///
/// # Errors
/// As [`load`].
pub fn load_with_origins(sources: &Sources) -> Result<(Config, Origins), Problems> {
    let report = Report::default();
    let Some(root) = layer::merged(&sources.paths, &sources.environment, &report) else {
        return report.finish(None);
    };
    let config = section::read(&Cursor::new(&root, "", &report), sources.state_dir.as_deref());
    report.finish(config.map(|config| (config, Origins(root))))
}

/// Every key the reader knows for the sections and accounts of a tree, as paths; what the tree says does not matter.
/// The reference is compared with it.
pub fn known_keys(root: &Node) -> BTreeSet<String> {
    let report = Report::recording();
    // Problems do not matter here: an unread key is known all the same.
    let _ = section::read(&Cursor::new(root, "", &report), None);
    report.known_paths()
}

/// Everything an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Postgres.
    pub database: DatabaseConfig,
    /// Credentials at providers, with their limits. At least one.
    pub accounts: BTreeMap<AccountName, AccountConfig>,
    /// Systems that are told of what happens, by the names that campaigns use.
    pub webhooks: BTreeMap<String, WebhookConfig>,
    /// Limits that protect a person.
    pub person: PersonConfig,
    /// The HTTP side.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// What is told on the page of metrics.
    pub metrics: MetricsConfig,
    /// The daemon's own times.
    pub daemon: DaemonConfig,
    /// How long personal data is kept.
    pub retention: RetentionConfig,
    /// The scaled civil clock; only with providers on this machine.
    pub clock: Option<ClockConfig>,
}

/// Postgres.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Which server.
    pub location: DatabaseLocation,
    /// Most connections for the daemon's passes.
    pub dial_connections: u32,
    /// Most connections for the receiver, what is read at the start, and each command.
    pub connections: u32,
}

/// Which Postgres server.
#[derive(Clone, Debug)]
pub enum DatabaseLocation {
    /// A private server that outdial starts and stops.
    Embedded {
        /// Where it keeps its data.
        data_dir: PathBuf,
    },
    /// A server that is there already, by its `postgres://` URL.
    Url(SecretString),
}

/// Limits that protect a person, across campaigns and accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonConfig {
    /// Attempts in a day that rang or may have; `None` is no limit.
    pub calls_per_day: Option<NonZeroU32>,
    /// What a day is.
    pub day: Day,
    /// Least time between attempts of two campaigns.
    pub min_gap_between_campaigns: SignedDuration,
}

/// The HTTP side: webhooks and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the page of metrics is shown; `None` when it is not.
    pub metrics_listen: Option<SocketAddr>,
    /// How providers reach it, without a slash at the end; `None` when results are polled only.
    pub public_url: Option<String>,
    /// Largest request body, in bytes.
    pub body_max: usize,
}

/// What is told on the page of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether campaigns have series of their own.
    pub per_campaign: bool,
    /// How many campaigns at most; the others share one name.
    pub campaigns_max: u16,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// The least important line that is written.
    pub level: LogLevel,
    /// The same for parts of the program, by the target of their lines and of what is below it.
    pub targets: BTreeMap<String, LogLevel>,
}

words!(
    /// How a log line looks.
    LogFormat {
        /// One JSON object per line.
        Json = "json",
        /// For people.
        Text = "text",
    }
);

words!(
    /// The least important line that is written.
    LogLevel {
        /// A person must act.
        Error = "error",
        /// Odd, we carried on.
        Warn = "warn",
        /// What an operator would tell a colleague.
        Info = "info",
        /// Why.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
);

/// The daemon's own times. Real time, never scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// How long a replica keeps an account after its last beat.
    pub lease_ttl: SignedDuration,
    /// How long a stopping daemon waits for requests under way.
    pub drain_max: SignedDuration,
    /// How long a sender that vanished may still act.
    pub zombie_horizon: SignedDuration,
    /// Longest wait for a provider's answer.
    pub request_timeout: SignedDuration,
    /// Longest wait for a connection to a provider.
    pub connect_timeout: SignedDuration,
    /// How often the daemon checks the invariants of what happened lately; never if `None`.
    pub audit_every: Option<SignedDuration>,
}

/// How long personal data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Days for raw webhooks and answers.
    pub inbox_days: u16,
    /// Days for transcripts, recording addresses and extracted variables.
    pub call_result_days: u16,
    /// Days for what is left of deleted leads in finished campaigns; `None` keeps it.
    pub history_days: Option<u16>,
}

/// The scaled civil clock of rehearsals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockConfig {
    /// The instant at which civil time begins.
    pub civil_origin: Timestamp,
    /// Civil seconds in a real one.
    pub factor: u32,
}

words!(
    /// The providers that are supported.
    ProviderKind {
        /// Famulor, a brand of the Autocalls family.
        Famulor = "famulor",
        /// Sondos AI, a brand of the Autocalls family.
        Sondos = "sondos",
        /// Any other brand of the Autocalls family.
        Autocalls = "autocalls",
        /// HappyRobot, in either version of its API.
        Happyrobot = "happyrobot",
    }
);

impl ProviderKind {
    /// The documented address of the API; `None` when it differs from customer to customer, or between versions.
    // Sources: Famulor docs, en/api-reference; docs.sondos-ai.com; read 2026-11-21.
    pub const fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::Famulor => Some("https://app.famulor.de/api"),
            Self::Sondos => Some("https://app.sondos-ai.com/api"),
            Self::Autocalls | Self::Happyrobot => None,
        }
    }

    /// The limits its documentation states; an account has them unless its configuration says otherwise.
    // Source: Famulor docs, developers/authentication-guide: 100 requests a minute, of which at most 20 in 10 s; "about
    // 1000" calls in rolling 24 h for a workspace on the shared carrier. The others publish none. Read 2026-11-21.
    pub const fn documented_limits(self) -> DocumentedLimits {
        match self {
            Self::Famulor => DocumentedLimits {
                requests_per_minute: Some(100),
                requests_burst: Some(RequestBurst {
                    requests: NonZeroU32::new(20).expect("it is not zero"),
                    within: SignedDuration::from_secs(10),
                }),
                calls_per_day: Some(1000),
            },
            Self::Sondos | Self::Autocalls | Self::Happyrobot => DocumentedLimits::NONE,
        }
    }
}

/// What a provider's documentation says an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentedLimits {
    /// Requests of any kind in any minute.
    pub requests_per_minute: Option<u32>,
    /// How many of them in a shorter time.
    pub requests_burst: Option<RequestBurst>,
    /// Calls in a day.
    pub calls_per_day: Option<u32>,
}

impl DocumentedLimits {
    /// It says nothing.
    pub const NONE: Self = Self { requests_per_minute: None, requests_burst: None, calls_per_day: None };
}
