//! Runs a command with a private, empty Postgres server: `with_postgres [--migrate DIR] [--] COMMAND [ARGUMENT]…`.
//!
//! The command finds the server in `DATABASE_URL`. The server is deleted when the command ends; its exit code becomes
//! ours. Used by `make test` and `make prepare`, and handy for a look around: `… -- sh -c 'psql "$DATABASE_URL"'`.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outdial::adapter::embedded::{EmbeddedPostgres, Options};
use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use tokio::signal::unix::{SignalKind, signal};

/// Every `#[sqlx::test]` opens a small pool, and as many run at once as there are cores.
const CONNECTIONS_MAX: u16 = 300;

/// What a shell says when it cannot do what it was asked to.
const FAILED_TO_RUN: u8 = 125;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("with_postgres: {error:#}");
            ExitCode::from(FAILED_TO_RUN)
        }
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    let request = Request::parse(std::env::args_os().skip(1))?;
    // Before the server is there: a signal from here on ends the command, and then the server, in that order.
    let mut signals =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let postgres = EmbeddedPostgres::start_temporary(&Options { max_connections: CONNECTIONS_MAX }).await?;
    if let Some(migrations) = &request.migrations {
        migrate(migrations, postgres.url()).await?;
    }
    let mut command = tokio::process::Command::new(&request.program);
    command.args(&request.arguments).env("DATABASE_URL", postgres.url());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_cargo_run(name)) {
        command.env_remove(name);
    }
    let mut child = command.spawn().with_context(|| format!("run {}", request.program.display()))?;
    let status = loop {
        let forward = tokio::select! {
            status = child.wait() => break status?,
            // At a terminal, Ctrl-C reaches the command by itself, and twice means something else than once.
            _ = signals.0.recv() => (!std::io::stdin().is_terminal()).then_some(Signal::SIGINT),
            _ = signals.1.recv() => Some(Signal::SIGTERM),
            _ = signals.2.recv() => Some(Signal::SIGHUP),
        };
        if let (Some(signal), Some(id)) = (forward, child.id()) {
            // It may have ended in between; the next turn of the loop notices.
            _ = kill(Pid::from_raw(i32::try_from(id)?), signal);
        }
    };
    if let Err(error) = postgres.stop().await {
        // Worth a word, but what the command found out counts for more.
        eprintln!("with_postgres: {error}");
    }
    Ok(exit_code(status))
}

async fn migrate(directory: &Path, url: &str) -> anyhow::Result<()> {
    let migrator = Migrator::new(directory).await.with_context(|| format!("read {}", directory.display()))?;
    let mut connection = PgConnection::connect(url).await.context("connect to the private server")?;
    migrator.run(&mut connection).await.context("apply the migrations")?;
    connection.close().await.context("close the connection")
}

struct Request {
    migrations: Option<PathBuf>,
    program: OsString,
    arguments: Vec<OsString>,
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Self> {
        const USAGE: &str = "usage: with_postgres [--migrate DIR] [--] COMMAND [ARGUMENT]…";
        let mut migrations = None;
        let program = loop {
            let argument = arguments.next().context(USAGE)?;
            if argument == "--migrate" {
                migrations = Some(PathBuf::from(arguments.next().context(USAGE)?));
            } else if argument == "--" {
                break arguments.next().context(USAGE)?;
            } else if argument.as_encoded_bytes().starts_with(b"-") {
                bail!("unknown argument {}; {USAGE}", argument.display());
            } else {
                break argument;
            }
        };
        Ok(Self { migrations, program, arguments: arguments.collect() })
    }
}

/// What `cargo run` tells us about our package. A cargo below us would take it for a change of the environment and
/// build again every dependency whose build script asks for it.
fn is_of_cargo_run(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name == b"CARGO" || name == b"OUT_DIR" || name.starts_with(b"CARGO_PKG_") || name.starts_with(b"CARGO_MANIFEST_")
}

/// As shells do it: a command that died of signal n has exit code 128 + n.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
