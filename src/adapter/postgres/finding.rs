//! What about a server would break our promises, or soon will: read once, by `check` and at the start of a daemon.
//!
//! Everything is asked without prepared statements, so that it also works where those do not.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool, Row};

use super::connect::{LOCK_TIMEOUT, STATEMENT_TIMEOUT};

/// The oldest major version whose makers still mend it (postgresql.org/support/versioning, read 2026-11-21).
const MAJOR_VERSION_MIN: i32 = 14;
/// How many daemons should fit beside each other while one takes over from another.
const REPLICAS: i64 = 3;

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether a promise breaks as long as it is so; otherwise it is worth a thought.
    pub breaks_promise: bool,
    /// What it is, and what to do.
    pub text: String,
}

impl Finding {
    fn breaks(text: impl Into<String>) -> Self {
        Self { breaks_promise: true, text: text.into() }
    }

    fn worth(text: impl Into<String>) -> Self {
        Self { breaks_promise: false, text: text.into() }
    }
}

/// What a session of ours sees of the server.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// As in `15.18`.
    pub version: String,
    version_number: i32,
    role: String,
    database: String,
    synchronous_commit: String,
    synchronous_standbys: bool,
    fsync: bool,
    full_page_writes: bool,
    read_only: bool,
    standby: bool,
    statement_timeout_ms: i64,
    lock_timeout_ms: i64,
    idle_in_transaction_ms: i64,
    /// Connections that our role may have in this database, by whichever limit is the lowest.
    connections: i64,
    /// Two connections that are open at once are one session of the server.
    shared_sessions: bool,
}

/// Reads the facts through two connections of its own.
///
/// # Errors
/// When the database does not answer.
pub async fn server_facts(pool: &PgPool) -> Result<ServerFacts, sqlx::Error> {
    let options: PgConnectOptions = (*pool.connect_options()).clone();
    let mut first = PgConnection::connect_with(&options).await?;
    let mut second = PgConnection::connect_with(&options).await?;
    let session = async |connection: &mut PgConnection| -> Result<i32, sqlx::Error> {
        sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
    };
    let shared_sessions = session(&mut first).await? == session(&mut second).await?;
    second.close().await?;
    let row = sqlx::raw_sql(
        "select current_setting('server_version') as version,
            current_setting('server_version_num')::integer as version_number,
            current_user::text as role, current_database()::text as database,
            current_setting('synchronous_commit') as synchronous_commit,
            current_setting('synchronous_standby_names') <> '' as synchronous_standbys,
            current_setting('fsync')::boolean as fsync, current_setting('full_page_writes')::boolean as full_page_writes,
            current_setting('transaction_read_only')::boolean as read_only, pg_is_in_recovery() as standby,
            (select setting::bigint from pg_settings where name = 'statement_timeout') as statement_timeout_ms,
            (select setting::bigint from pg_settings where name = 'lock_timeout') as lock_timeout_ms,
            (select setting::bigint from pg_settings where name = 'idle_in_transaction_session_timeout') as idle_ms,
            least(
                current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,
                (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user and not rolsuper),
                (select nullif(datconnlimit, -1) from pg_database where datname = current_database())
            ) as connections",
    )
    .fetch_one(&mut first)
    .await?;
    first.close().await?;
    Ok(ServerFacts {
        version: row.try_get("version")?,
        version_number: row.try_get("version_number")?,
        role: row.try_get("role")?,
        database: row.try_get("database")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        synchronous_standbys: row.try_get("synchronous_standbys")?,
        fsync: row.try_get("fsync")?,
        full_page_writes: row.try_get("full_page_writes")?,
        read_only: row.try_get("read_only")?,
        standby: row.try_get("standby")?,
        statement_timeout_ms: row.try_get("statement_timeout_ms")?,
        lock_timeout_ms: row.try_get("lock_timeout_ms")?,
        idle_in_transaction_ms: row.try_get("idle_ms")?,
        connections: row.try_get("connections")?,
        shared_sessions,
    })
}

impl ServerFacts {
    /// What is wrong with it, for a daemon with so many connections.
    pub fn findings(&self, connections: u32) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Self { role, database, .. } = self;
        if self.standby {
            findings.push(Finding::breaks("this server is a standby and takes no writes: connect to the primary"));
        } else if self.read_only {
            findings.push(Finding::breaks(format!(
                "sessions are read only: `alter database {database} reset default_transaction_read_only`, and the same \
                 for role {role}"
            )));
        }
        if self.synchronous_commit == "off" {
            findings.push(Finding::breaks(format!(
                "synchronous_commit is off: a crash of the server forgets calls it has acknowledged, and people are \
                 rung again; `alter role {role} set synchronous_commit = on`"
            )));
        } else if self.synchronous_commit == "local" && self.synchronous_standbys {
            findings.push(Finding::breaks(format!(
                "synchronous_commit is local: a failover forgets calls that were acknowledged, and people are rung \
                 again; `alter role {role} set synchronous_commit = on`"
            )));
        }
        for (name, on) in [("fsync", self.fsync), ("full_page_writes", self.full_page_writes)] {
            if !on {
                findings.push(Finding::worth(format!(
                    "{name} is off: a power cut may destroy the database; on for anything but a rehearsal"
                )));
            }
        }
        if self.shared_sessions {
            findings.push(Finding::worth(
                "a pooler in transaction mode stands before the server: it must be PgBouncer 1.21 or newer with \
                 max_prepared_statements above 0; use its session mode otherwise (README, Behind PgBouncer)",
            ));
        }
        findings.extend(self.limits_missing());
        if self.version_number / 10_000 < MAJOR_VERSION_MIN {
            findings.push(Finding::worth(format!(
                "PostgreSQL {} is no longer mended by its makers: {MAJOR_VERSION_MIN} is the oldest that is",
                self.version
            )));
        }
        findings.extend(self.too_few_connections(i64::from(connections)));
        findings
    }

    /// Limits that we ask for with each connection and that did not arrive.
    fn limits_missing(&self) -> Option<Finding> {
        let role = &self.role;
        let wanted = [
            ("statement_timeout", self.statement_timeout_ms, STATEMENT_TIMEOUT),
            ("lock_timeout", self.lock_timeout_ms, LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", self.idle_in_transaction_ms, STATEMENT_TIMEOUT),
        ];
        let missing: Vec<String> = wanted
            .iter()
            .filter(|(_, actual, most)| *actual == 0 || u128::from(actual.unsigned_abs()) > most.as_millis())
            .map(|(name, _, most)| format!("`alter role {role} set {name} = '{}s'`", most.as_secs()))
            .collect();
        (!missing.is_empty()).then(|| {
            Finding::breaks(format!(
                "the limits of our sessions do not reach the server, so a stuck statement may end after others that \
                 rely on its end; give them to the role: {}, and with them client_min_messages = error, \
                 plan_cache_mode = force_custom_plan, jit = off, random_page_cost = 1.1 (README, Behind PgBouncer)",
                missing.join(", ")
            ))
        })
    }

    fn too_few_connections(&self, each: i64) -> Option<Finding> {
        let fit = self.connections / each.max(1);
        let why = "raise max_connections and the limits of role and database, or lower database.connections and \
                   database.dial_connections";
        if fit >= REPLICAS {
            return None;
        }
        let has =
            format!("role {} may have {} connections, and a daemon has up to {each}", self.role, self.connections);
        Some(match fit {
            0 => Finding::breaks(format!("{has}: {why}")),
            _ => Finding::worth(format!("{has}: {fit} at once and no more; for replicas, {why}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ServerFacts {
        ServerFacts {
            version: "15.18".into(),
            version_number: 150_018,
            role: "outdial".into(),
            database: "calls".into(),
            synchronous_commit: "on".into(),
            synchronous_standbys: false,
            fsync: true,
            full_page_writes: true,
            read_only: false,
            standby: false,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 5_000,
            idle_in_transaction_ms: 10_000,
            connections: 97,
            shared_sessions: false,
        }
    }

    fn said(facts: &ServerFacts) -> Vec<String> {
        let mark = |found: Finding| format!("{} {}", if found.breaks_promise { "!" } else { "-" }, found.text);
        facts.findings(12).into_iter().map(mark).collect()
    }

    #[test]
    fn a_good_server_is_not_talked_about() {
        assert_eq!(said(&good()), Vec::<String>::new());
        let stricter = ServerFacts { statement_timeout_ms: 3_000, synchronous_commit: "remote_apply".into(), ..good() };
        assert_eq!(said(&stricter), Vec::<String>::new());
    }

    #[test]
    fn each_finding_says_what_to_do() {
        let worst = ServerFacts {
            version: "12.3".into(),
            version_number: 120_003,
            synchronous_commit: "off".into(),
            fsync: false,
            full_page_writes: false,
            read_only: true,
            statement_timeout_ms: 0,
            lock_timeout_ms: 60_000,
            idle_in_transaction_ms: 0,
            connections: 11,
            shared_sessions: true,
            ..good()
        };
        let expected = [
            "! sessions are read only: `alter database calls reset default_transaction_read_only`",
            "! synchronous_commit is off: a crash of the server forgets calls it has acknowledged",
            "- fsync is off",
            "- full_page_writes is off",
            "- a pooler in transaction mode stands before the server: it must be PgBouncer 1.21 or newer",
            "! the limits of our sessions do not reach the server",
            "- PostgreSQL 12.3 is no longer mended by its makers: 14 is the oldest that is",
            "! role outdial may have 11 connections, and a daemon has up to 12: raise max_connections",
        ];
        let said = said(&worst);
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said}");
        }
        for limit in ["statement_timeout = '10s'", "lock_timeout = '5s'", "idle_in_transaction_session_timeout = '10s'"]
        {
            assert!(said[5].contains(&format!("`alter role outdial set {limit}`")), "{}", said[5]);
        }
    }

    #[test]
    fn acknowledged_calls_must_outlive_a_crash_and_a_failover() {
        let breaks = |facts: ServerFacts| facts.findings(12).iter().filter(|found| found.breaks_promise).count();
        let local = ServerFacts { synchronous_commit: "local".into(), ..good() };
        assert_eq!(breaks(local.clone()), 0, "there is nobody to fail over to");
        assert_eq!(breaks(ServerFacts { synchronous_standbys: true, ..local }), 1);
        assert_eq!(breaks(ServerFacts { standby: true, read_only: true, ..good() }), 1);
    }

    #[test]
    fn connections_are_counted_in_daemons() {
        let with = |connections| said(&ServerFacts { connections, ..good() });
        assert_eq!(with(36), Vec::<String>::new());
        assert!(with(35)[0].starts_with("- role outdial may have 35 connections"), "{:?}", with(35));
        assert!(with(11)[0].starts_with("! role outdial may have 11 connections"), "{:?}", with(11));
    }
}
