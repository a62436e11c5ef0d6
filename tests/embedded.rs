//! The private server with real processes: data kept, nothing left running, nothing left lying about.
//!
//! These tests bring their own servers and need no `DATABASE_URL`. They pass as root and as an ordinary user.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outdial::adapter::embedded::{EmbeddedError, EmbeddedPostgres, Options};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

/// Set in the process that a test starts of itself: where to serve, and that it should stay until it is killed.
const SERVE_IN: &str = "OUTDIAL_TEST_SERVE_IN";

/// A directory that the server's user can reach when the tests run as root.
fn reachable_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

async fn start(dir: &Path) -> EmbeddedPostgres {
    EmbeddedPostgres::start(dir, &Options { max_connections: 10 }).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn scalar(url: &str, sql: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let value = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    value
}

fn wait_until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "still not true after {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_alive(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    if Path::new("/proc/self").exists() {
        // A zombie is dead; who reaps it is the business of process 1.
        return state.is_ok_and(|state| !state.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'));
    }
    let id = nix::unistd::Pid::from_raw(i32::try_from(process).unwrap());
    nix::sys::signal::kill(id, None) != Err(nix::errno::Errno::ESRCH)
}

#[tokio::test]
async fn data_is_kept_over_a_restart() {
    let dir = reachable_dir();
    let data_dir = dir.path().join("made/by/us");
    let postgres = start(&data_dir).await;
    let process = postgres.process_id();
    execute(postgres.url(), "create table kept (what text); insert into kept values ('this')").await;
    assert_eq!(scalar(postgres.url(), "select current_setting('fsync')").await, "on");
    assert_eq!(scalar(postgres.url(), "select current_setting('listen_addresses')").await, "");
    postgres.stop().await.unwrap();
    assert!(!is_alive(process));

    let postgres = start(&data_dir).await;
    assert_eq!(scalar(postgres.url(), "select what from kept").await, "this");
    postgres.stop().await.unwrap();
    let log = std::fs::read_to_string(data_dir.join("postgres/server.log")).unwrap();
    assert!(!log.contains("not properly shut down"), "the stop was not clean:\n{log}");
}

#[tokio::test]
async fn a_client_that_stays_does_not_hold_up_the_stop() {
    let dir = reachable_dir();
    let postgres = start(dir.path()).await;
    let _client = PgConnection::connect(postgres.url()).await.unwrap();
    let asked = Instant::now();
    postgres.stop().await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(9), "took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_data_directory_is_served_once() {
    let dir = reachable_dir();
    let postgres = start(dir.path()).await;
    let error = EmbeddedPostgres::start(dir.path(), &Options::default()).await.unwrap_err();
    let EmbeddedError::AlreadyServed { server, .. } = &error else { panic!("{error}") };
    assert_eq!(*server, i32::try_from(postgres.process_id()).ok());
    assert!(error.to_string().contains("already served by a running PostgreSQL (process"), "{error}");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_dead_server_wrote_about_itself_is_no_obstacle() {
    let dir = reachable_dir();
    let postgres = start(dir.path()).await;
    execute(postgres.url(), "create table kept (what text); insert into kept values ('this')").await;
    postgres.stop().await.unwrap();
    // As after a power cut, with the process id given to somebody else since: here, to this test.
    let pid_file = dir.path().join("postgres/data/postmaster.pid");
    std::fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
    std::fs::create_dir(dir.path().join("postgres/run")).ok();
    std::fs::write(dir.path().join("postgres/run/.s.PGSQL.5432"), "").unwrap();

    let postgres = start(dir.path()).await;
    assert_eq!(scalar(postgres.url(), "select what from kept").await, "this");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn data_of_another_major_version_is_refused_by_name() {
    let dir = reachable_dir();
    start(dir.path()).await.stop().await.unwrap();
    let version = dir.path().join("postgres/data/PG_VERSION");
    std::fs::write(&version, "8\n").unwrap();
    let error = EmbeddedPostgres::start(dir.path(), &Options::default()).await.unwrap_err();
    assert!(matches!(&error, EmbeddedError::VersionMismatch { data: 8, installed, .. } if !installed.is_empty()));
    assert!(error.to_string().contains("was written by PostgreSQL 8"), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_start_is_quoted() {
    let dir = reachable_dir();
    start(dir.path()).await.stop().await.unwrap();
    let settings = dir.path().join("postgres/data/postgresql.conf");
    std::fs::write(&settings, "no_such_setting = 1\n").unwrap();
    let error = EmbeddedPostgres::start(dir.path(), &Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_directory_that_keeps_the_server_out_is_named() {
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let started = EmbeddedPostgres::start(&closed.path().join("data"), &Options::default()).await;
    if nix::unistd::geteuid().is_root() {
        let error = started.unwrap_err();
        let EmbeddedError::Unreachable { barrier, .. } = &error else { panic!("{error}") };
        assert_eq!(barrier, closed.path());
    } else {
        // The server is run by the same user, who may enter.
        started.unwrap().stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let dir = reachable_dir();
    let deep = dir.path().join("a-rather-long-name-of-a-directory".repeat(4));
    let postgres = start(&deep).await;
    assert_eq!(scalar(postgres.url(), "select current_database()::text").await, "outdial");
    let sockets = PathBuf::from(scalar(postgres.url(), "select current_setting('unix_socket_directories')").await);
    assert!(!sockets.starts_with(&deep) && sockets.exists());
    postgres.stop().await.unwrap();
    assert!(!sockets.exists());
}

#[tokio::test]
async fn a_temporary_server_leaves_nothing_behind() {
    let postgres = EmbeddedPostgres::start_temporary(&Options::default()).await.unwrap();
    let data = PathBuf::from(scalar(postgres.url(), "select current_setting('data_directory')").await);
    assert_eq!(scalar(postgres.url(), "select current_setting('fsync')").await, "off");
    let (process, scratch) = (postgres.process_id(), data.parent().unwrap().parent().unwrap().to_owned());
    assert!(scratch.exists() && is_alive(process));
    postgres.stop().await.unwrap();
    assert!(!is_alive(process) && !scratch.exists());

    let dropped = EmbeddedPostgres::start_temporary(&Options::default()).await.unwrap();
    let process = dropped.process_id();
    drop(dropped);
    assert!(!is_alive(process));
}

/// On its own, a plain test. Started by the next one it serves a given directory and then waits for its end.
#[tokio::test]
async fn a_server_answers() {
    let given = std::env::var_os(SERVE_IN).map(PathBuf::from);
    let own = given.is_none().then(reachable_dir);
    let dir = given.clone().or(own.as_ref().map(|own| own.path().to_owned())).unwrap();
    let postgres = start(&dir).await;
    assert_eq!(scalar(postgres.url(), "select 'yes'").await, "yes");
    if given.is_some() {
        let temporary = EmbeddedPostgres::start_temporary(&Options::default()).await.unwrap();
        let data = scalar(temporary.url(), "select current_setting('data_directory')").await;
        execute(postgres.url(), "create table kept (what text); insert into kept values ('this')").await;
        let report = format!("{}\n{}\n{data}\n", postgres.process_id(), temporary.process_id());
        std::fs::write(dir.join("ready.partial"), report).unwrap();
        std::fs::rename(dir.join("ready.partial"), dir.join("ready")).unwrap();
        std::future::pending::<()>().await;
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_owner_takes_its_servers_along_and_loses_nothing() {
    let dir = reachable_dir();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_answers", "--nocapture"])
        .env(SERVE_IN, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = dir.path().join("ready");
    wait_until("both servers answer", Duration::from_secs(120), || ready.exists());
    let report = std::fs::read_to_string(&ready).unwrap();
    let mut lines = report.lines();
    let servers: Vec<u32> = lines.by_ref().take(2).map(|line| line.parse().unwrap()).collect();
    let scratch = Path::new(lines.next().unwrap()).parent().unwrap().parent().unwrap().to_owned();
    assert!(servers.iter().all(|server| is_alive(*server)), "{servers:?}");

    owner.kill().unwrap();
    owner.wait().unwrap();
    // A start at once waits for the old server to leave; the other one has to leave without anybody asking.
    let postgres = start(dir.path()).await;
    assert_eq!(scalar(postgres.url(), "select what from kept").await, "this");
    postgres.stop().await.unwrap();
    let limit = Duration::from_secs(20);
    wait_until("both servers are gone", limit, || !servers.iter().any(|server| is_alive(*server)));

    EmbeddedPostgres::start_temporary(&Options::default()).await.unwrap().stop().await.unwrap();
    assert!(!scratch.exists(), "the next temporary server sweeps");
}
