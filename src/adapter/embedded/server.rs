//! The server process: spawned with a lifeline, stopped by letting go of it.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::error::{At as _, EmbeddedError};
use super::owner::Owner;
use super::program::Programs;
use super::{Home, open_own};

/// Waits for the end of the pipe on its standard input and stops the server then; meanwhile the shell has become the
/// server. `$$` stays the shell's own id inside `( )`, so it is the server's. The watcher is nobody's child, since
/// Postgres would take the death of one it does not know for a crash. A word in the pipe says that the server is gone
/// and its process id means nothing any more. The signals: INT is a fast shutdown, QUIT an immediate one.
const LIFELINE: &str = r#"
exec 3<&0
( (
    trap '' HUP INT QUIT TERM
    exec >/dev/null 2>&1
    read -r word <&3
    [ -z "$word" ] || exit 0
    kill -INT $$
    seconds=0
    while kill -0 $$; do
        [ $seconds -lt 10 ] || kill -QUIT $$
        [ $seconds -lt 15 ] || kill -KILL $$
        seconds=$((seconds + 1))
        sleep 1
    done
) & )
exec "$@" 3<&- </dev/null
"#;

/// The watcher's ten seconds for a fast shutdown and five for an immediate one. Beyond that we kill.
const STOP_WITHIN: Duration = Duration::from_secs(18);

/// A killed process is gone at once, unless the disk holds it.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// The server log is cut at a start when it has grown beyond this, in bytes.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How much of the end of the log goes into an error, in bytes.
const TAIL_BYTES_MAX: u64 = 2_000;

/// Whether what was committed survives a power cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Durability {
    Full,
    /// For data that nobody will look for: several times faster on slow disks.
    None,
}

/// What differs between the servers we start.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) max_connections: u16,
    pub(super) durability: Durability,
}

impl Settings {
    /// Given on the command line, not in a file, so that they follow the daemon's version and not that of the data.
    fn arguments(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=".to_owned(),
            "unix_socket_permissions=0700".to_owned(),
            format!("max_connections={}", self.max_connections),
            "shared_buffers=128MB".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            "log_checkpoints=off".to_owned(),
            "logging_collector=off".to_owned(),
            // Our statements are short: compiling them costs more than it ever gives back.
            "jit=off".to_owned(),
        ];
        match self.durability {
            Durability::Full => {}
            Durability::None => settings.extend(["fsync=off".to_owned(), "full_page_writes=off".to_owned()]),
        }
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }
}

/// A spawned server and our end of its lifeline.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Server {
    pub(super) fn spawn(
        programs: &Programs,
        owner: &Owner,
        home: &Home,
        sockets: &Path,
        settings: &Settings,
    ) -> Result<Self, EmbeddedError> {
        let shell = PathBuf::from("/bin/sh");
        let log = open_own(&home.log_path())?;
        if log.metadata().is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            log.set_len(0).at(&home.log_path())?;
        }
        let errors = log.try_clone().at(&home.log_path())?;
        let mut command = owner.command(&shell);
        command.args(["-c", LIFELINE, "sh"]).arg(programs.path("postgres"));
        command.arg("-D").arg(home.data()).arg("-k").arg(sockets).args(settings.arguments());
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        let mut child = command.spawn().map_err(|error| owner.spawn_error(&shell, error))?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        // An error means that somebody else has reaped our child: it is gone as well.
        let running = matches!(self.child.try_wait(), Ok(None));
        if !running && let Some(mut lifeline) = self.lifeline.take() {
            // Its process id may be given to another process from here on: the watcher must not signal it.
            // If nobody reads the word, the watcher is gone too.
            _ = lifeline.write_all(b"gone\n");
        }
        running
    }

    /// Lets go of the lifeline, waits, and kills the server if it stays.
    pub(super) fn stop(&mut self) -> Result<(), EmbeddedError> {
        if !self.is_running() {
            return Ok(());
        }
        self.lifeline = None;
        if self.ended_within(STOP_WITHIN) {
            // The watcher may have had to go as far as that.
            let killed = self.child.try_wait().is_ok_and(|status| status.is_some_and(|end| end.signal() == Some(9)));
            return if killed { Err(EmbeddedError::Killed) } else { Ok(()) };
        }
        // Bounded as well: root without CAP_KILL may not kill, and must not wait for ever.
        _ = self.child.kill();
        self.ended_within(KILLED_WITHIN);
        Err(EmbeddedError::Killed)
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody is left to tell: the server is gone either way.
        _ = self.stop();
    }
}

/// Process id of the server that is running on this data directory right now, if any.
pub(super) fn live(data: &Path) -> Option<i32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let id: i32 = text.lines().next()?.trim().parse().ok()?;
    if id <= 0 || kill(Pid::from_raw(id), None) == Err(nix::errno::Errno::ESRCH) {
        return None;
    }
    // The number may have gone to another process. A server's working directory is its data directory; where we may
    // not look at that, its name has to do; without /proc any process counts, and Postgres judges for itself.
    let process = PathBuf::from(format!("/proc/{id}"));
    let is_server = match (fs::read_link(process.join("cwd")), fs::canonicalize(data)) {
        (Ok(working), Ok(data)) => working == data,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => match fs::read_to_string(process.join("comm")) {
            Ok(name) => name.trim().starts_with("postgres"),
            Err(_) => !Path::new("/proc/self").exists(),
        },
    };
    is_server.then_some(id)
}

/// The end of the server's log.
pub(super) fn tail(log: &Path) -> String {
    let read = || {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if !text.is_empty() => text,
        Ok(_) => "(nothing)".to_owned(),
        Err(error) => format!("(cannot read {}: {error})", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_with_process(id: u32) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postmaster.pid"), format!("{id}\n{}\n", data.path().display())).unwrap();
        data
    }

    #[test]
    fn only_a_process_that_works_in_the_data_directory_is_its_server() {
        let reused = data_with_process(std::process::id());
        if cfg!(target_os = "linux") {
            assert_eq!(live(reused.path()), None, "our own process is no server, whatever the file says");
        }
        let mut process = std::process::Command::new("sleep").arg("60").current_dir(reused.path()).spawn().unwrap();
        fs::write(reused.path().join("postmaster.pid"), format!("{}\n", process.id())).unwrap();
        assert_eq!(live(reused.path()), i32::try_from(process.id()).ok());
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(live(reused.path()), None, "a dead process serves nothing");
    }

    #[test]
    fn a_data_directory_without_a_process_file_is_free() {
        assert_eq!(live(tempfile::tempdir().unwrap().path()), None);
    }

    #[test]
    fn syncing_is_off_only_for_data_that_nobody_will_look_for() {
        let arguments = |durability| Settings { max_connections: 7, durability }.arguments();
        assert!(!arguments(Durability::Full).iter().any(|argument| argument.contains("fsync")));
        assert!(arguments(Durability::None).contains(&"fsync=off".to_owned()));
        assert!(arguments(Durability::Full).contains(&"max_connections=7".to_owned()));
    }
}
