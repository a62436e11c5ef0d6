//! Postgres servers of a test's own, which crash, come back, and follow each other.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outdial::adapter::embedded::{EmbeddedPostgres, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tempfile::TempDir;

use super::proxy::{Link, Target};
use crate::support::world::eventually;

/// Who the daemons are: an ordinary role, because limits of connections do not hold for a superuser.
pub const ROLE: &str = "outdial";
/// The most connections a server takes; few, so that a test can use them up.
pub const CONNECTIONS_MAX: u16 = 60;
const PATIENCE: Duration = Duration::from_secs(60);

/// One server and its data.
pub struct Server {
    // Ends before its data is removed.
    running: Option<EmbeddedPostgres>,
    options: PgConnectOptions,
    folder: TempDir,
}

impl Server {
    /// A fresh server with an empty database that belongs to [`ROLE`].
    pub async fn start() -> Self {
        let folder = reachable_folder();
        let server = Self::run(folder).await;
        // What a killed server has acknowledged survives; only the machine must not go down.
        for sql in ["alter system set fsync = off", "select pg_reload_conf()"] {
            server.administer(sql).await;
        }
        server.administer(&format!("create role {ROLE} login")).await;
        server.administer(&format!("alter database outdial owner to {ROLE}")).await;
        server
    }

    /// A copy of `primary` that follows it through `link`, and is not waited for.
    pub async fn following(primary: &Self, link: &Link) -> Self {
        let folder = reachable_folder();
        let home = folder.path().join("postgres");
        let owner = fs::metadata(primary.data()).unwrap();
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&home, Some(owner.uid()), Some(owner.gid())).unwrap();
        let mut copy = Command::new(primary.program("pg_basebackup"));
        // As the server's own user, which root has to become.
        copy.uid(owner.uid()).gid(owner.gid()).current_dir("/").env_clear().env("LC_ALL", "C");
        copy.args(["-h", "127.0.0.1", "-p", &link.address.port().to_string(), "-U", "postgres"]);
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--pgdata"]);
        copy.arg(home.join("data"));
        let output = tokio::task::spawn_blocking(move || copy.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let standby = Self::run(folder).await;
        let sql = "select count(*) from pg_stat_replication where state = 'streaming'";
        eventually("the standby follows", PATIENCE, || async {
            if primary.value(sql).await == 1 { Ok(()) } else { Err("it does not".to_owned()) }
        })
        .await;
        standby
    }

    async fn run(folder: TempDir) -> Self {
        let running = launch(folder.path()).await;
        let options: PgConnectOptions = running.url().parse().unwrap();
        Self { running: Some(running), options: options.disable_statement_logging(), folder }
    }

    /// Where it takes connections.
    pub fn target(&self) -> Target {
        let directory = self.options.get_socket().expect("it listens on a socket");
        Target::Socket(directory.join(".s.PGSQL.5432"))
    }

    /// Connections of the test's own to the database, as superuser.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(3).connect_lazy_with(self.options.clone())
    }

    /// Connections to the database as the daemons have them.
    pub fn options_of_daemons(&self) -> PgConnectOptions {
        self.options.clone().username(ROLE)
    }

    /// `pg_ctl stop -m immediate`: every process of the server quits, nothing is written.
    pub async fn crash(&mut self) {
        let mut server = self.running.take().expect("it runs");
        kill(Pid::from_raw(i32::try_from(server.process_id()).unwrap()), Signal::SIGQUIT).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while server.is_running() {
            assert!(Instant::now() < deadline, "the server does not quit");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it again after a crash; it replays its log.
    pub async fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs");
        self.running = Some(launch(self.folder.path()).await);
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) {
        self.administer("select pg_promote(true)").await;
    }

    /// A connection of the superuser, to a database that no daemon uses.
    pub async fn admin(&self) -> PgConnection {
        self.options.clone().database("postgres").connect().await.unwrap()
    }

    /// Runs one statement as superuser.
    pub async fn administer(&self, sql: &str) {
        let mut admin = self.admin().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        admin.close().await.unwrap();
    }

    /// Reads a number as superuser.
    pub async fn value(&self, sql: &str) -> i64 {
        let mut admin = self.admin().await;
        let value = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        value
    }

    /// Ends every connection of the daemons.
    pub async fn terminate(&self) {
        let sql = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ROLE}'");
        self.administer(&sql).await;
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("postgres/data")
    }

    /// A program that was installed together with the server that runs.
    fn program(&self, name: &str) -> OsString {
        let id = self.running.as_ref().expect("it runs").process_id();
        let server = fs::read_link(format!("/proc/{id}/exe")).ok();
        let beside = server.and_then(|server| Some(server.parent()?.join(name))).filter(|path| path.exists());
        beside.map_or_else(|| name.into(), PathBuf::into_os_string)
    }
}

async fn launch(folder: &Path) -> EmbeddedPostgres {
    let options = Options { max_connections: CONNECTIONS_MAX };
    EmbeddedPostgres::start(folder, &options).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A folder that the server's user can pass through when the tests run as root.
fn reachable_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}
