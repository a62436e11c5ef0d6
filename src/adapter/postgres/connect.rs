//! Connecting and migrating, with errors that say what to do.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Row};

/// The migrations this program was built with.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// How long the first connection may take.
const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a task waits for a connection: longer than a busy pool needs, shorter than a lease lives.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections are closed after this, so that a failover's stale ones do not stay for ever.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long a connection that comes back to the pool may stay silent. What is still under way on it was given up.
const SIGN_OF_LIFE_TIMEOUT: Duration = Duration::from_secs(2);
/// Set on each connection. A statement that takes longer is stuck or wrong, and the watermarks rely on the bound.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A lock that is not granted in this time is held by a person at a psql prompt: better late than stuck.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// What a pool is for.
#[derive(Clone, Copy, Debug)]
pub struct PoolPurpose {
    /// Shown in `pg_stat_activity`.
    pub application_name: &'static str,
    /// Connections at most.
    pub connections_max: u32,
}

/// Connects once, to find out why if that fails, and gives a pool that connects by itself from then on.
///
/// # Errors
/// Named by what a person does about it; never with the password.
pub async fn connect(url: &SecretString, purpose: PoolPurpose) -> Result<PgPool, ConnectError> {
    let options = options(url, purpose.application_name)?;
    let target = Target::of(&options);
    let first = tokio::time::timeout(FIRST_CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    match first {
        Ok(Ok(connection)) => drop(connection.close().await),
        Ok(Err(error)) => return Err(ConnectError::of(target, error)),
        Err(_) => return Err(ConnectError::Silent { target, waited: FIRST_CONNECT_TIMEOUT }),
    }
    Ok(pool(options, purpose.connections_max))
}

/// A pool that connects when it is first used.
pub fn pool(options: PgConnectOptions, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        // The hook below is a round trip that notices a dead connection as well as a ping does.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(end_forgotten_transaction(connection)))
        .after_release(|connection, _| Box::pin(answers(connection)))
        .connect_lazy_with(options)
}

/// sqlx 0.9.0 returns a connection whose `begin()` was cancelled to the pool inside an open transaction: statements that
/// follow answer `Ok` and are never committed (transact-rs/sqlx #4385, #4393, read 2026-11-21). Rolling back first ends
/// whatever is open; where nothing is, it costs a round trip and a warning, which [`options`] silences.
///
/// The same round trip tells whether the session takes writes. One that does not is closed: it keeps the setting it began
/// with, and the next one may find that somebody has changed it back.
async fn end_forgotten_transaction(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("rollback; select not current_setting('transaction_read_only')::boolean")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

/// A statement that was given up leaves a connection on which nobody may ever answer. The pool itself asks each connection
/// that comes back for a sign of life and waits for it without a limit, one place poorer for ever.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(SIGN_OF_LIFE_TIMEOUT, connection.ping()).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => Err(error),
        // An error, because a connection that merely does not suit would be told so, and waited for again.
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Connect options with the limits every session has.
///
/// # Errors
/// When the URL cannot be read.
pub fn options(url: &SecretString, application_name: &str) -> Result<PgConnectOptions, ConnectError> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|_| ConnectError::BadUrl)?;
    Ok(with_limits(options, application_name))
}

/// Adds the limits every session has.
pub fn with_limits(options: PgConnectOptions, application_name: &str) -> PgConnectOptions {
    let ms = |span: Duration| span.as_millis().to_string();
    options
        .application_name(application_name)
        .options([
            ("statement_timeout", ms(STATEMENT_TIMEOUT)),
            ("idle_in_transaction_session_timeout", ms(STATEMENT_TIMEOUT)),
            ("lock_timeout", ms(LOCK_TIMEOUT)),
            ("client_min_messages", "error".to_owned()),
            // Tables grow from nothing to millions of rows under one connection: a plan that was kept from when they
            // were empty reads them whole. Planning a batch anew costs about a millisecond.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            ("jit", "off".to_owned()),
            // What a batch touches is in memory, and every batch finds its rows by key. At the default of 4 a hundred
            // probes look dearer than reading a table of twelve thousand rows, and that is what was planned.
            ("random_page_cost", "1.1".to_owned()),
        ])
        .disable_statement_logging()
}

/// Why the schema is not the one this program knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    /// Not applied yet.
    #[error("migration {version} ({description}) is not applied; run `outdial migrate`")]
    Pending {
        /// Its number.
        version: i64,
        /// Its name.
        description: String,
    },
    /// Applied by a newer program.
    #[error("migration {version} is applied but unknown to this program, which is too old for the database")]
    Unknown {
        /// Its number.
        version: i64,
    },
    /// Applied with another content.
    #[error("migration {version} was applied with another content than this program has")]
    Modified {
        /// Its number.
        version: i64,
    },
}

/// What stands between the database's schema and this program's, in the order of versions; empty when they agree.
///
/// # Errors
/// When the database cannot be read.
pub async fn pending_or_unknown(pool: &PgPool) -> Result<Vec<SchemaProblem>, sqlx::Error> {
    let table_exists: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(pool).await?;
    let applied: Vec<(i64, Vec<u8>)> = if table_exists {
        sqlx::query_as("select version, checksum from _sqlx_migrations where success order by version")
            .fetch_all(pool)
            .await?
    } else {
        Vec::new()
    };
    let mut problems = Vec::new();
    for migration in MIGRATOR.iter() {
        let version = migration.version;
        match applied.iter().find(|(applied, _)| *applied == version) {
            None => problems
                .push((version, SchemaProblem::Pending { version, description: migration.description.to_string() })),
            Some((_, checksum)) if checksum[..] != migration.checksum[..] => {
                problems.push((version, SchemaProblem::Modified { version }));
            }
            Some(_) => {}
        }
    }
    let unknown = applied.iter().filter(|(version, _)| !MIGRATOR.version_exists(*version));
    problems.extend(unknown.map(|(version, _)| (*version, SchemaProblem::Unknown { version: *version })));
    problems.sort_by_key(|(version, _)| *version);
    Ok(problems.into_iter().map(|(_, problem)| problem).collect())
}

/// Applies pending migrations under sqlx's advisory lock, so that replicas that start together do it once.
///
/// # Errors
/// When a migration fails, or the database holds others than this program knows.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // A connection of its own: building an index, or waiting for the replica that does, may take longer than a session's limits allow.
    let mut connection = pool.acquire().await?.detach();
    connection.execute("set statement_timeout = 0; set lock_timeout = 0").await?;
    MIGRATOR.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Where a connection was to go; without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port, or the socket's directory.
    pub server: String,
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
}

impl Target {
    fn of(options: &PgConnectOptions) -> Self {
        let host =
            options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string());
        Self {
            server: format!("{host}:{}", options.get_port()),
            user: options.get_username().to_owned(),
            database: options.get_database().unwrap_or(options.get_username()).to_owned(),
        }
    }
}

/// Why the database cannot be used, by what a person does about it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is none.
    #[error("the database URL cannot be read")]
    BadUrl,
    /// Nobody listens there.
    #[error("no database server answers at {}", target.server)]
    Unreachable {
        /// Where.
        target: Target,
        /// What the network said.
        source: sqlx::Error,
    },
    /// Somebody listens but says nothing.
    #[error("the database server at {} did not answer within {} s", target.server, waited.as_secs())]
    Silent {
        /// Where.
        target: Target,
        /// How long we waited.
        waited: Duration,
    },
    /// The password, or the way of authentication, does not suit the server.
    #[error("the database server at {} does not let user {:?} in", target.server, target.user)]
    NotLetIn {
        /// Where and as whom.
        target: Target,
        /// What the server said.
        source: sqlx::Error,
    },
    /// No such database.
    #[error("the database server at {} has no database {:?}", target.server, target.database)]
    MissingDatabase {
        /// Where.
        target: Target,
        /// What the server said.
        source: sqlx::Error,
    },
    /// It is starting, stopping or full.
    #[error("the database server at {} does not take connections at the moment", target.server)]
    Busy {
        /// Where.
        target: Target,
        /// What the server said.
        source: sqlx::Error,
    },
    /// Encryption could not be agreed.
    #[error("no encrypted connection to the database server at {}", target.server)]
    Encryption {
        /// Where.
        target: Target,
        /// What the library said.
        source: sqlx::Error,
    },
    /// A pooler that does not know what we ask of a session.
    #[error("the pooler at {} does not take what we ask of a session", target.server)]
    Pooler {
        /// Where.
        target: Target,
        /// What the pooler said.
        source: sqlx::Error,
    },
    /// Anything else.
    #[error("cannot connect to the database server at {}", target.server)]
    Other {
        /// Where.
        target: Target,
        /// What was seen.
        source: sqlx::Error,
    },
}

impl ConnectError {
    fn of(target: Target, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        match code.as_str() {
            "28P01" | "28000" => Self::NotLetIn { target, source },
            "3D000" => Self::MissingDatabase { target, source },
            "53300" | "57P01" | "57P02" | "57P03" => Self::Busy { target, source },
            // PgBouncer 1.18, tried 2026-11-21.
            "08P01" if source.to_string().contains("unsupported startup parameter") => Self::Pooler { target, source },
            _ if matches!(source, sqlx::Error::Tls(_)) => Self::Encryption { target, source },
            _ if matches!(source, sqlx::Error::Io(_)) => Self::Unreachable { target, source },
            _ => Self::Other { target, source },
        }
    }

    /// What to do about it, in a sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::BadUrl => "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %XX".into(),
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "check host and port in database.url, and that the server runs and accepts connections from here".into()
            }
            Self::NotLetIn { target, .. } => {
                format!("check the password in database.url, and what pg_hba.conf says about user {:?}", target.user)
            }
            Self::MissingDatabase { target, .. } => {
                format!("create it: createdb --owner {} {}", target.user, target.database)
            }
            Self::Busy { .. } => "wait a moment; if it stays so, raise max_connections or stop other clients".into(),
            Self::Encryption { .. } => {
                "check sslmode and sslrootcert in database.url against the server's certificate".into()
            }
            Self::Pooler { .. } => {
                "set ignore_startup_parameters = extra_float_digits, options in pgbouncer.ini (README, Behind PgBouncer)"
                    .into()
            }
            Self::Other { .. } => "see the cause".into(),
        }
    }

    /// Whether trying again later may help without anyone's doing.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Busy { .. } => true,
            Self::BadUrl
            | Self::NotLetIn { .. }
            | Self::MissingDatabase { .. }
            | Self::Encryption { .. }
            | Self::Pooler { .. }
            | Self::Other { .. } => false,
        }
    }
}
