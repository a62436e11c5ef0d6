//! The sections of a configuration besides the accounts, and what holds between sections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::account::{self, AccountConfig, read_base_url};
use super::secret::{self, beside};
use super::webhook;
use super::{
    ClockConfig, Config, DaemonConfig, DatabaseConfig, DatabaseLocation, HttpConfig, LogConfig, LogFormat, LogLevel,
    MetricsConfig, PersonConfig, RetentionConfig,
};
use crate::domain::definition::read_day;
use crate::domain::document::{Cursor, Fields, show_duration};
use crate::domain::person::CALLS_PER_DAY_MAX;

/// The library that reads phone numbers, whose lines hold them.
pub const UNHEARD_TARGET: &str = "rlibphonenumber";
/// Longest target of log lines.
const TARGET_BYTES_MAX: usize = 200;

/// Reads the merged layers. `state_dir` is where state goes when nothing else is said.
pub(super) fn read(cursor: &Cursor<'_>, state_dir: Option<&Path>) -> Option<Config> {
    let fields = cursor.fields()?;
    let database = fields.required("database", |cursor| read_database(&cursor, state_dir));
    let http = fields.required("http", |cursor| read_http(&cursor));
    // What was written counts, even if it is wrong: one mistake must not show up as two.
    let with_webhooks =
        cursor.node().get("http").and_then(|http| http.get("public_url")).is_some_and(|url| !url.is_null());
    let accounts = match fields.cursor("accounts") {
        Some(cursor) => account::read_all(&cursor, with_webhooks),
        None => cursor.renamed("accounts").problem("names no account", "add one: config/example.yaml shows how"),
    };
    let webhooks = fields.or("webhooks", BTreeMap::new(), |cursor| webhook::read_all(&cursor));
    let person = fields.required("person", |cursor| read_person(&cursor));
    let log = fields.required("log", |cursor| read_log(&cursor));
    let metrics = fields.required("metrics", |cursor| read_metrics(&cursor));
    // Kept short in rehearsals, where nobody is rung: their days take minutes, and so should a lost replica.
    let rehearsal = cursor.node().get("clock").is_some_and(|clock| !clock.is_null());
    let daemon = fields.required("daemon", |cursor| read_daemon(&cursor, rehearsal));
    let retention = fields.required("retention", |cursor| read_retention(&cursor));
    let clock = fields.optional("clock", |cursor| {
        let clock = read_clock(&cursor)?;
        if let Some(accounts) = &accounts {
            check_clock(&cursor, accounts.iter().map(|(name, account)| (name.as_str(), account)))?;
        }
        Some(clock)
    });
    fields.close();
    Some(Config {
        database: database?,
        accounts: accounts?,
        webhooks: webhooks?,
        person: person?,
        http: http?,
        log: log?,
        metrics: metrics?,
        daemon: daemon?,
        retention: retention?,
        clock,
    })
}

fn read_database(cursor: &Cursor<'_>, state_dir: Option<&Path>) -> Option<DatabaseConfig> {
    let fields = cursor.fields()?;
    let data_dir = fields.optional("data_dir", |cursor| Some(beside(&cursor, &cursor.name(4096)?)));
    let location = read_location(&fields, data_dir, state_dir);
    let dial_connections = fields.required("dial_connections", |cursor| cursor.integer(1..=100));
    let connections = fields.required("connections", |cursor| cursor.integer(1..=500));
    fields.close();
    Some(DatabaseConfig { location: location?, dial_connections: dial_connections?, connections: connections? })
}

fn read_location(fields: &Fields<'_>, data_dir: Option<PathBuf>, state_dir: Option<&Path>) -> Option<DatabaseLocation> {
    if fields.cursor("url").is_none() && fields.cursor("url_file").is_none() {
        return fields.missing("url").problem(
            "is missing",
            "write `database: { url: embedded }` for a private server, or postgres://user:password@host/database,\n\
             or name a file that holds the URL with url_file",
        );
    }
    let secret = secret::required(fields, "url", "url_file", "")?;
    if secret.expose() == "embedded" {
        return match data_dir.or_else(|| state_dir.map(|folder| folder.join("postgres"))) {
            Some(data_dir) => Some(DatabaseLocation::Embedded { data_dir }),
            None => {
                secret.cursor.problem("data_dir is missing", "there is no home folder to take as default: set data_dir")
            }
        };
    }
    if let Some(cursor) = fields.cursor("data_dir") {
        return cursor.problem("is only for `url: embedded`", "remove data_dir, or set url to embedded");
    }
    if !secret.expose().starts_with("postgres://") && !secret.expose().starts_with("postgresql://") {
        return secret.cursor.problem(
            "is not the URL of a Postgres database",
            "write postgres://user:password@host:5432/database, or the word embedded for a private server",
        );
    }
    Some(DatabaseLocation::Url(secret.value))
}

fn read_http(cursor: &Cursor<'_>) -> Option<HttpConfig> {
    let fields = cursor.fields()?;
    let listen = fields.required("listen", |cursor| read_address(&cursor, 8080));
    let metrics_listen = fields.optional("metrics_listen", |cursor| read_address(&cursor, 9464));
    let public_url = fields.optional("public_url", |cursor| read_base_url(&cursor)).map(|(url, _)| url);
    let body_max = fields.required("body_max", |cursor| read_bytes(&cursor));
    fields.close();
    Some(HttpConfig { listen: listen?, metrics_listen, public_url, body_max: body_max? })
}

fn read_address(cursor: &Cursor<'_>, port: u16) -> Option<SocketAddr> {
    match cursor.text()?.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => cursor.wrong(
            "is not an address with a port",
            format_args!("for example 127.0.0.1:{port}, or 0.0.0.0:{port} for all"),
        ),
    }
}

/// A number of bytes: `512KiB`, `2MiB`.
fn read_bytes(cursor: &Cursor<'_>) -> Option<usize> {
    const REMEDY: &str = "write a number with KiB or MiB, for example 2MiB; 16KiB to 64MiB";
    let text = cursor.name(20)?;
    let size = [("KiB", 1_usize << 10), ("MiB", 1 << 20)]
        .into_iter()
        .find_map(|(unit, bytes)| text.strip_suffix(unit)?.trim_end().parse::<usize>().ok()?.checked_mul(bytes));
    match size {
        Some(size) if (16 << 10..=64 << 20).contains(&size) => Some(size),
        Some(_) => cursor.wrong("is out of bounds", REMEDY),
        None => cursor.wrong("is not a size", REMEDY),
    }
}

fn read_person(cursor: &Cursor<'_>) -> Option<PersonConfig> {
    let fields = cursor.fields()?;
    let calls_per_day = fields.optional("calls_per_day", |cursor| match cursor.limit("null lifts the limit")? {
        limit if limit.get() > CALLS_PER_DAY_MAX => {
            cursor.wrong(format_args!("must be at most {CALLS_PER_DAY_MAX}"), "null lifts the limit")
        }
        limit => Some(limit),
    });
    let day = fields.required("day", |cursor| read_day(&cursor));
    let min_gap_between_campaigns = fields.required("min_gap_between_campaigns", |cursor| {
        cursor.duration(SignedDuration::ZERO..=SignedDuration::from_hours(24 * 365))
    });
    fields.close();
    Some(PersonConfig { calls_per_day, day: day?, min_gap_between_campaigns: min_gap_between_campaigns? })
}

fn read_log(cursor: &Cursor<'_>) -> Option<LogConfig> {
    let fields = cursor.fields()?;
    let formats: Vec<_> = LogFormat::ALL.iter().map(|word| word.as_str()).collect();
    let levels: Vec<_> = LogLevel::ALL.iter().map(|word| word.as_str()).collect();
    let format = fields.required("format", |cursor| cursor.word(&formats));
    let level = fields.required("level", |cursor| cursor.word(&levels));
    let targets = fields.or("targets", BTreeMap::new(), |cursor| read_targets(&cursor, &levels));
    fields.close();
    Some(LogConfig { format: format?, level: level?, targets: targets? })
}

/// Levels by target: the path of a module, from its crate on.
fn read_targets(cursor: &Cursor<'_>, levels: &[&str]) -> Option<BTreeMap<String, LogLevel>> {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with(|first: char| first.is_ascii_digit())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let entries = cursor.entries()?;
    let count = entries.len();
    let targets: BTreeMap<_, _> = entries
        .into_iter()
        .filter_map(|(target, cursor)| {
            let fits = target.len() <= TARGET_BYTES_MAX && target.split("::").all(word);
            if !fits {
                return cursor.key_problem(
                    "is not a part of the program",
                    "write it as it stands in the field target of JSON lines, for example \"outdial::engine::poll\" or sqlx",
                );
            }
            if target.split("::").next() == Some(UNHEARD_TARGET) {
                return cursor.key_problem("writes out phone numbers, so it is never heard", "remove it");
            }
            Some((target.to_owned(), cursor.word(levels)?))
        })
        .collect();
    (targets.len() == count).then_some(targets)
}

fn read_metrics(cursor: &Cursor<'_>) -> Option<MetricsConfig> {
    let fields = cursor.fields()?;
    let per_campaign = fields.required("per_campaign", |cursor| cursor.boolean());
    let campaigns_max = fields.required("campaigns_max", |cursor| cursor.integer(1..=1_000));
    fields.close();
    Some(MetricsConfig { per_campaign: per_campaign?, campaigns_max: campaigns_max? })
}

fn read_daemon(cursor: &Cursor<'_>, rehearsal: bool) -> Option<DaemonConfig> {
    let fields = cursor.fields()?;
    let time = |key, min, max| {
        let bounds = SignedDuration::from_secs(min)..=SignedDuration::from_secs(max);
        fields.required(key, |cursor| cursor.duration(bounds))
    };
    let lease_ttl = time("lease_ttl", if rehearsal { 1 } else { 3 }, 300);
    let drain_max = time("drain_max", 1, 3_600);
    let zombie_horizon = time("zombie_horizon", if rehearsal { 1 } else { 60 }, 86_400);
    let request_timeout = time("request_timeout", 1, 300);
    let connect_timeout = time("connect_timeout", 1, 60);
    // Real time, so a rehearsal wants it sooner.
    let audit_bounds = SignedDuration::from_secs(if rehearsal { 1 } else { 60 })..=SignedDuration::from_hours(24 * 7);
    let audit_every = fields.optional("audit_every", |cursor| cursor.duration(audit_bounds));
    let above = |key: &str, value: Option<SignedDuration>, other: &str, bound: Option<SignedDuration>, why: &str| {
        let (Some(value), Some(bound)) = (value, bound) else { return Some(()) };
        if value > bound {
            return Some(());
        }
        fields.at(key).wrong(format_args!("must be longer than {other} ({})", show_duration(bound)), why)
    };
    let relations = [
        above("drain_max", drain_max, "request_timeout", request_timeout, "else a stop leaves calls in doubt"),
        above(
            "zombie_horizon",
            zombie_horizon,
            "request_timeout",
            request_timeout,
            "a vanished sender may still be waiting",
        ),
        above(
            "request_timeout",
            request_timeout,
            "connect_timeout",
            connect_timeout,
            "connecting is part of the request",
        ),
    ];
    fields.close();
    relations.into_iter().collect::<Option<Vec<()>>>()?;
    Some(DaemonConfig {
        lease_ttl: lease_ttl?,
        drain_max: drain_max?,
        zombie_horizon: zombie_horizon?,
        request_timeout: request_timeout?,
        connect_timeout: connect_timeout?,
        audit_every,
    })
}

fn read_retention(cursor: &Cursor<'_>) -> Option<RetentionConfig> {
    let fields = cursor.fields()?;
    // An event that matches no call waits 48 hours for it.
    let inbox_days = fields.required("inbox_days", |cursor| cursor.integer(3..=3_650));
    let call_result_days = fields.required("call_result_days", |cursor| cursor.integer(1..=3_650));
    // Limits per person look back for days, not for months.
    let history_days = fields.optional("history_days", |cursor| cursor.integer(90..=36_500));
    fields.close();
    Some(RetentionConfig { inbox_days: inbox_days?, call_result_days: call_result_days?, history_days })
}

fn read_clock(cursor: &Cursor<'_>) -> Option<ClockConfig> {
    let fields = cursor.fields()?;
    let civil_origin = fields.required_like("civil_origin", "civil_origin: \"2026-03-02T08:55:00Z\"", |cursor| {
        match cursor.text()?.parse::<Timestamp>() {
            Ok(instant) => Some(instant),
            Err(_) => {
                cursor.wrong("is not an instant", "write date, time and offset, for example 2026-03-02T08:55:00Z")
            }
        }
    });
    let factor = fields.required_like("factor", "factor: 60", |cursor| cursor.integer(1..=100_000));
    fields.close();
    Some(ClockConfig { civil_origin: civil_origin?, factor: factor? })
}

/// A scaled clock with a real provider would ring real people at wrong times.
fn check_clock<'c>(cursor: &Cursor<'_>, accounts: impl Iterator<Item = (&'c str, &'c AccountConfig)>) -> Option<()> {
    let outside: Vec<&str> = accounts.filter(|(_, account)| !account.loopback).map(|(name, _)| name).collect();
    if outside.is_empty() {
        return Some(());
    }
    cursor.problem(
        format_args!("is for rehearsals, but these accounts would ring real phones: {}", outside.join(", ")),
        "remove the section clock, or point every base_url to this machine",
    )
}
