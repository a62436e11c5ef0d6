//! What can go wrong with the private server, in words for the person who has to put it right.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the private server is not there. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No directory holds both `initdb` and `postgres`.
    #[error(
        "no PostgreSQL server programs on this machine (looked for initdb and postgres in PATH and the usual places)\n\
         \x20 Debian, Ubuntu: sudo apt-get install postgresql\n\
         \x20 Fedora, RHEL:   sudo dnf install postgresql-server\n\
         \x20 macOS:          brew install postgresql@17\n\
         or set OUTDIAL_PG_BIN to the directory that holds them, or use a server of your own: `database.url` in the \
         config"
    )]
    ProgramsNotFound,

    /// `OUTDIAL_PG_BIN` is set and wrong.
    #[error("OUTDIAL_PG_BIN is {}, but there is no initdb and postgres in that directory", directory.display())]
    ProgramsNotThere {
        /// What the variable says.
        directory: PathBuf,
    },

    /// The data was written by a major version that is not installed.
    #[error(
        "the data in {} was written by PostgreSQL {data}, installed here: {}; install PostgreSQL {data}, or move the \
         data with pg_dump and a fresh data directory", directory.display(), installed.join(", ")
    )]
    VersionMismatch {
        /// The data directory.
        directory: PathBuf,
        /// Major version of the data.
        data: u32,
        /// Versions found on the machine.
        installed: Vec<String>,
    },

    /// `PG_VERSION` holds no number.
    #[error("{} does not hold a version number but {text:?}: not a PostgreSQL data directory", path.display())]
    UnreadableVersion {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },

    /// Another process of ours serves this data directory.
    #[error(
        "the data in {} is already served by a running PostgreSQL{}: stop that outdial first{}",
        data_dir.display(),
        server.map_or(String::new(), |pid| format!(" (process {pid})")),
        server.map_or(String::new(), |pid| format!(", or the server alone with `kill -INT {pid}`"))
    )]
    AlreadyServed {
        /// The data directory.
        data_dir: PathBuf,
        /// Process id of the server, if known.
        server: Option<i32>,
    },

    /// We are root, and neither `postgres` nor `nobody` exists.
    #[error(
        "PostgreSQL refuses to run as root, and this system has neither a user `postgres` nor `nobody` to run it as: \
         create one (useradd --system postgres), or start outdial as an ordinary user"
    )]
    NoUserToRunAs,

    /// `initdb` looks its user up and does not find it.
    #[error(
        "user id {uid} has no passwd entry, and initdb needs one: run as a user known to the system, add a line \
         `outdial:x:{uid}:{uid}::/:/sbin/nologin` to /etc/passwd, or use a server of your own: `database.url`"
    )]
    NoPasswdEntry {
        /// Our user id.
        uid: u32,
    },

    /// We are root without the right to become somebody else.
    #[error(
        "PostgreSQL refuses to run as root, and this process may not become the user `{user}` (no CAP_SETUID and \
         CAP_SETGID): start outdial as an ordinary user, or grant both capabilities"
    )]
    NoSetuid {
        /// Who the server should have run as.
        user: String,
    },

    /// The server's user cannot get to the data directory.
    #[error(
        "the server runs as user `{user}`, who cannot enter {}: choose another data directory, or let others pass \
         with `chmod o+x {}`", barrier.display(), barrier.display()
    )]
    Unreachable {
        /// Who the server runs as.
        user: String,
        /// The first directory on the way that keeps that user out.
        barrier: PathBuf,
    },

    /// The server's user cannot run the programs.
    #[error("user `{user}` may not run {}: install PostgreSQL where everybody can reach it", program.display())]
    NotExecutable {
        /// Who should have run it.
        user: String,
        /// The program.
        program: PathBuf,
    },

    /// A directory belongs to somebody else.
    #[error(
        "{} belongs to user id {found}, but the server runs as `{user}` ({expected}): \
         chown -R {user} {}", path.display(), path.display()
    )]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// Who the server runs as.
        user: String,
        /// That user's id.
        expected: u32,
    },

    /// Others may look into a directory of the server.
    #[error("{} may be entered by others (mode {mode:04o}), which PostgreSQL refuses: chmod 0700 {}", path.display(), path.display())]
    WrongMode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// `initdb` failed for a reason of its own.
    #[error("initdb failed:\n{log}")]
    InitFailed {
        /// What it said.
        log: String,
    },

    /// The server ended before it answered.
    #[error("the private PostgreSQL ended while starting; its last words:\n{log}")]
    DidNotStart {
        /// End of the server's log.
        log: String,
    },

    /// The server is there and does not answer.
    #[error("the private PostgreSQL did not answer within {} s", within.as_secs())]
    NotReady {
        /// How long we waited.
        within: Duration,
        /// What the last connection said.
        source: sqlx::Error,
    },

    /// The server answers, but its database cannot be made ready.
    #[error("cannot prepare the database on the private PostgreSQL")]
    Database(#[source] sqlx::Error),

    /// The server had to be killed.
    #[error("the private PostgreSQL did not stop in time and was killed; its next start replays its log")]
    Killed,

    /// A file or directory is not as we need it.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Says which path an I/O error is about.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, EmbeddedError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, EmbeddedError> {
        self.map_err(|source| EmbeddedError::Io { path: path.to_owned(), source })
    }
}
