//! A private Postgres server: started with the daemon, gone with the daemon.
//!
//! It serves `demo`, small installations (`database: embedded`) and the test suite. It listens on a Unix socket in a
//! directory that only its own user can enter, so it needs neither a port nor a password. Nothing is downloaded: the
//! server programs must be on the machine, and if they are not, the error names the line to type.
//!
//! The server holds on to a *lifeline*, a pipe whose other end is ours. Closing it is the one way the server is ever
//! stopped, and the kernel closes it too when we are killed, so an orderly stop and a SIGKILL take the same path. (A
//! parent-death signal would do the same on Linux only, is bound to the thread that spawned the server, and needs
//! unsafe code.)
//!
//! What it deliberately does not do: upgrade a data directory to another major version, listen on TCP, take backups.

mod error;
mod owner;
mod program;
mod scratch;
mod server;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use error::At as _;
pub use error::EmbeddedError;
use owner::Owner;
use program::Programs;
use scratch::Scratch;
use server::Server;

/// Name of the database that is created for us, and of nothing else.
const DATABASE: &str = "outdial";

/// The server's superuser, whoever runs the process.
const SUPERUSER: &str = "postgres";

/// Longest path of a Unix socket on Linux in bytes (`sun_path` holds 108 with its final zero); macOS has 103.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// A start may have to replay the log of a server that was killed, so it gets longer than a healthy one ever needs.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long a server whose owner was killed gets to leave its data directory before we call it alive.
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(20);

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most connections at once. Each costs some memory even when idle.
    pub max_connections: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_connections: 100 }
    }
}

/// A running private server. Dropping it stops the server, waiting up to the bound of [`EmbeddedPostgres::stop`].
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Order matters: the server stops before its directories are removed and before its lock is given up.
    server: Server,
    url: String,
    version: String,
    log_path: PathBuf,
    _scratch: Vec<Scratch>,
    _lock: Option<File>,
}

impl EmbeddedPostgres {
    /// Starts the server whose data lives under `data_dir`, creating it the first time, and waits until it answers.
    ///
    /// Uses `data_dir/postgres` and nothing else. As root, the server runs as the user `postgres`, else `nobody`.
    ///
    /// # Errors
    /// Every variant of [`EmbeddedError`] is written for the person who has to put it right.
    pub async fn start(data_dir: &Path, options: &Options) -> Result<Self, EmbeddedError> {
        let data_dir = std::path::absolute(data_dir).at(data_dir)?;
        let options = options.clone();
        Self::launch(move || prepare(&data_dir, &options)).await
    }

    /// The connection URL of a server that another process of ours runs on `data_dir` at this moment, if one does:
    /// commands work beside the daemon.
    pub fn running_at(data_dir: &Path) -> Option<String> {
        let data = data_dir.join("postgres").join("data");
        server::live(&data)?;
        // Fifth line: the directory of the socket. PostgreSQL documentation, "postmaster.pid", read 2026-11-21.
        let sockets = fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().nth(4)?.trim().to_owned();
        (!sockets.is_empty()).then(|| url(Path::new(&sockets)))
    }

    /// Starts an empty server that is deleted when it stops, and removes what killed predecessors left behind.
    ///
    /// Its data does not survive a power cut (`fsync` is off), nor anything else: it is for tests and demonstrations.
    ///
    /// # Errors
    /// As [`EmbeddedPostgres::start`].
    pub async fn start_temporary(options: &Options) -> Result<Self, EmbeddedError> {
        let options = options.clone();
        Self::launch(move || prepare_temporary(&options)).await
    }

    async fn launch(
        prepare: impl FnOnce() -> Result<Self, EmbeddedError> + Send + 'static,
    ) -> Result<Self, EmbeddedError> {
        let mut postgres = match tokio::task::spawn_blocking(prepare).await {
            Ok(result) => result?,
            Err(join) => std::panic::resume_unwind(join.into_panic()),
        };
        postgres.wait_until_ready().await?;
        Ok(postgres)
    }

    /// Connection URL of the database `outdial`, for sqlx as for `psql`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Version of the server program, as in `15.9`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where the server writes its own messages.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Process id of the server.
    pub fn process_id(&self) -> u32 {
        self.server.process_id()
    }

    /// Whether the server process is there: false once it has ended for whatever reason.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }

    /// Stops the server: clients are disconnected, everything committed is on disk. Takes about 20 s at most, after
    /// which the server is killed; its next start then replays its log.
    ///
    /// # Errors
    /// [`EmbeddedError::Killed`] if the server had to be killed. It is gone in either case.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        match tokio::task::spawn_blocking(move || self.server.stop()).await {
            Ok(result) => result,
            Err(join) => std::panic::resume_unwind(join.into_panic()),
        }
    }

    async fn wait_until_ready(&mut self) -> Result<(), EmbeddedError> {
        let options: PgConnectOptions = self.url.parse().expect("our own URL is well formed");
        let options = options.database(SUPERUSER).disable_statement_logging();
        let deadline = Instant::now() + READY_WITHIN;
        let mut connection = loop {
            match options.connect().await {
                Ok(connection) => break connection,
                Err(error) => {
                    if !self.server.is_running() {
                        return Err(EmbeddedError::DidNotStart { log: server::tail(&self.log_path) });
                    }
                    if Instant::now() > deadline {
                        return Err(EmbeddedError::NotReady { within: READY_WITHIN, source: error });
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        // Two statements, as `create database` cannot run inside a transaction; nobody else is here to race with.
        let known: Option<i32> = sqlx::query_scalar("select 1 from pg_database where datname = 'outdial'")
            .fetch_optional(&mut connection)
            .await
            .map_err(EmbeddedError::Database)?;
        if known.is_none() {
            sqlx::query("create database outdial").execute(&mut connection).await.map_err(EmbeddedError::Database)?;
        }
        connection.close().await.map_err(EmbeddedError::Database)
    }
}

/// Everything of a start that blocks, for a server that stays.
fn prepare(data_dir: &Path, options: &Options) -> Result<EmbeddedPostgres, EmbeddedError> {
    let owner = Owner::find()?;
    if !data_dir.is_dir() {
        fs::create_dir_all(data_dir).at(data_dir)?;
        owner.let_through(data_dir)?;
    }
    let home = Home::create(data_dir, &owner)?;
    let lock = home.lock()?;
    home.wait_for_predecessor()?;
    let mut scratch = Vec::new();
    let sockets = home.sockets(&owner, &mut scratch)?;
    let programs = Programs::find(&owner, home.data_version()?)?;
    home.initialise(&programs, &owner, server::Durability::Full)?;
    let settings = server::Settings { max_connections: options.max_connections, durability: server::Durability::Full };
    let server = Server::spawn(&programs, &owner, &home, &sockets, &settings)?;
    Ok(EmbeddedPostgres {
        server,
        url: url(&sockets),
        version: programs.version,
        log_path: home.log_path(),
        _scratch: scratch,
        _lock: Some(lock),
    })
}

/// Everything of a start that blocks, for a server that is deleted when it stops.
fn prepare_temporary(options: &Options) -> Result<EmbeddedPostgres, EmbeddedError> {
    let owner = Owner::find()?;
    scratch::sweep();
    let programs = Programs::find(&owner, None)?;
    let scratch = Scratch::create(&owner)?;
    let home = Home::create(scratch.path(), &owner)?;
    let sockets = home.root.join("run");
    owner.create_dir(&sockets)?;
    home.initialise(&programs, &owner, server::Durability::None)?;
    let settings = server::Settings { max_connections: options.max_connections, durability: server::Durability::None };
    let server = Server::spawn(&programs, &owner, &home, &sockets, &settings)?;
    Ok(EmbeddedPostgres {
        server,
        url: url(&sockets),
        version: programs.version,
        log_path: home.log_path(),
        _scratch: vec![scratch],
        _lock: None,
    })
}

/// The directory that belongs to the server: `data` (the cluster), `run` (the socket), `server.log`, `lock`.
#[derive(Debug)]
struct Home {
    root: PathBuf,
}

impl Home {
    fn create(data_dir: &Path, owner: &Owner) -> Result<Self, EmbeddedError> {
        let root = data_dir.join("postgres");
        owner.create_dir(&root)?;
        owner.check_reachable(&root)?;
        Ok(Self { root })
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Takes the directory for this process. The kernel gives the lock back when we end, however we end.
    fn lock(&self) -> Result<File, EmbeddedError> {
        let path = self.root.join("lock");
        let file = open_own(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(EmbeddedError::AlreadyServed { data_dir: self.data(), server: server::live(&self.data()) })
            }
            Err(TryLockError::Error(error)) => Err(error).at(&path),
        }
    }

    /// A server whose owner was killed takes a moment to leave. What a dead server wrote about itself is removed,
    /// as Postgres refuses to start when another process happens to have got the old process id.
    fn wait_for_predecessor(&self) -> Result<(), EmbeddedError> {
        let data = self.data();
        let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
        while let Some(server) = server::live(&data) {
            if Instant::now() > deadline {
                return Err(EmbeddedError::AlreadyServed { data_dir: data, server: Some(server) });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let pid_file = data.join("postmaster.pid");
        if pid_file.exists() {
            fs::remove_file(&pid_file).at(&pid_file)?;
        }
        Ok(())
    }

    /// The directory of the socket: our own, or a temporary one where the path would be too long for the kernel or
    /// holds characters that Postgres reads as a list.
    fn sockets(&self, owner: &Owner, scratch: &mut Vec<Scratch>) -> Result<PathBuf, EmbeddedError> {
        let own = self.root.join("run");
        if own.exists() {
            fs::remove_dir_all(&own).at(&own)?;
        }
        let bytes = own.as_os_str().as_bytes();
        if bytes.len() + "/.s.PGSQL.5432".len() <= SOCKET_PATH_MAX && !bytes.iter().any(|byte| b",\"' ".contains(byte))
        {
            owner.create_dir(&own)?;
            return Ok(own);
        }
        scratch::sweep();
        let elsewhere = Scratch::create(owner)?;
        let sockets = elsewhere.path().join("run");
        owner.create_dir(&sockets)?;
        scratch.push(elsewhere);
        Ok(sockets)
    }

    /// Major version that wrote the data, or nothing if there is no data yet.
    fn data_version(&self) -> Result<Option<(PathBuf, u32)>, EmbeddedError> {
        let path = self.data().join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some((self.data(), major))),
                Err(_) => Err(EmbeddedError::UnreadableVersion { path, text }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at(&path),
        }
    }

    /// Runs `initdb` unless the data is there. It works on a directory of another name that is renamed at the end, so
    /// a half-made cluster is never taken for a whole one.
    fn initialise(
        &self,
        programs: &Programs,
        owner: &Owner,
        durability: server::Durability,
    ) -> Result<(), EmbeddedError> {
        let data = self.data();
        if data.is_dir() {
            return owner.check_data(&data);
        }
        owner.check_passwd_entry()?;
        let partial = self.root.join("data.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).at(&partial)?;
        }
        let mut command = programs.command("initdb", owner);
        command.arg("--pgdata").arg(&partial);
        command.args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
        match durability {
            server::Durability::None => _ = command.arg("--no-sync"),
            server::Durability::Full => {}
        }
        let output = command.output().map_err(|error| owner.spawn_error(&programs.path("initdb"), error))?;
        if !output.status.success() {
            return Err(EmbeddedError::InitFailed { log: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
        }
        fs::rename(&partial, &data).at(&data)
    }
}

/// Opens or creates a file in a directory that the server's user can write, without following a link planted there.
fn open_own(path: &Path) -> Result<File, EmbeddedError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(path)
        .at(path)
}

/// `port` and `user` are spelled out, as clients fill gaps from `PGPORT` and `PGUSER`.
fn url(sockets: &Path) -> String {
    let mut url = format!("postgres:///{DATABASE}?host=");
    for &byte in sockets.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url.push_str(&format!("&port=5432&user={SUPERUSER}&sslmode=disable"));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_everything_a_client_would_otherwise_take_from_its_environment() {
        let url = url(Path::new("/tmp/a b&c/run"));
        assert_eq!(url, "postgres:///outdial?host=/tmp/a%20b%26c/run&port=5432&user=postgres&sslmode=disable");
        let options: PgConnectOptions = url.parse().unwrap();
        assert_eq!(options.get_socket(), Some(&PathBuf::from("/tmp/a b&c/run")));
        assert_eq!(options.get_port(), 5432);
        assert_eq!(options.get_username(), "postgres");
        assert_eq!(options.get_database(), Some("outdial"));
    }
}
