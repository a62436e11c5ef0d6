//! The real binary as a child process, its log, and what a test does to it.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a start may take on a busy machine: the first lines come within a second on a quiet one.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How many lines of the log a failed test shows.
const TAIL_LINES: usize = 60;

/// `outdial run` in a process of its own; killed when dropped.
pub struct Daemon {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

/// Every line a process wrote, on either stream.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The messages of a level, of a log in JSON.
    pub fn messages(&self, level: &str) -> Vec<String> {
        let lines = self.lines();
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["level"] == level).map(|event| event.to_string()).collect()
    }

    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                log.0.lock().unwrap().push(line);
            }
        })
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// A command of the binary under test, with nothing of the caller's own configuration.
pub fn outdial(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outdial"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTDIAL") {
            command.env_remove(name);
        }
    }
    command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Daemon {
    /// Starts it and waits until it listens.
    pub async fn start(config: &Path, arguments: &[&str]) -> Self {
        let mut child = outdial(config).arg("run").args(arguments).spawn().unwrap();
        let log = Log::default();
        let readers = vec![log.follow(child.stdout.take().unwrap()), log.follow(child.stderr.take().unwrap())];
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let address = log.lines().iter().find_map(|line| listening(line));
            if let Some(address) = address {
                return Self { address, child, log, readers };
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon ended before it listened: {status}\n{}", log.tail());
            }
            assert!(Instant::now() < deadline, "the daemon does not listen:\n{}", log.tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it has written so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(id, signal).unwrap();
    }

    /// SIGKILL, and everything it wrote before.
    pub async fn kill(mut self) -> Log {
        self.signal(Signal::SIGKILL);
        let status = self.ended(Duration::from_secs(10)).await;
        assert_eq!(status.signal(), Some(9), "it ended by itself before it was killed: {status}\n{}", self.log.tail());
        self.read_all()
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(mut self, within: Duration) -> (ExitStatus, Log) {
        self.signal(Signal::SIGTERM);
        let status = self.ended(within).await;
        (status, self.read_all())
    }

    /// Waits for its end.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon still runs after {within:?}:\n{}", self.log.tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn read_all(&mut self) -> Log {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.log.clone()
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let event: Value = serde_json::from_str(line).ok()?;
    event["message"].as_str()?.strip_prefix("Listening on ")?.parse().ok()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already dead where a test has killed or stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the end of the daemon's log\n{}\n---", self.log.tail());
        }
    }
}
