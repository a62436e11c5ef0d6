//! The daemon as systemd has it: what it says on the notification socket, and how its lines reach the journal.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::support::daemon::outdial;
use super::support::database::TestDatabase;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

struct Supervised {
    child: Child,
    socket: UnixDatagram,
}

impl Supervised {
    /// Starts the daemon with a notification socket, a watchdog, and a file that stands for the journal.
    fn start(folder: &Path, database: &Value) -> Self {
        let account = json!({"provider": "famulor", "base_url": "http://127.0.0.1:9/api", "api_key": "a-key"});
        let http = json!({"listen": "127.0.0.1:0", "metrics_listen": null});
        let config = json!({"database": database, "accounts": {"main": account}, "http": http});
        let file = folder.join("outdial.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        let journal = File::create(folder.join("journal")).unwrap();
        let stream = journal.metadata().unwrap();
        let mut command = outdial(&file);
        command
            .arg("run")
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .env("WATCHDOG_USEC", "1000000")
            .env_remove("WATCHDOG_PID")
            .env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()))
            .stdout(journal.try_clone().unwrap())
            .stderr(journal);
        let child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        Self { child, socket }
    }

    async fn hears(&self) -> Option<String> {
        let mut buffer = [0; 1_024];
        let length = timeout(SOON, self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a message that begins so; gives what came before it.
    async fn until(&self, wanted: &str) -> Vec<String> {
        let deadline = Instant::now() + SOON;
        let mut before = Vec::new();
        loop {
            let heard = timeout_at(deadline, self.hears()).await.ok().flatten();
            match heard {
                Some(heard) if heard.starts_with(wanted) => return before,
                Some(heard) => before.push(heard),
                None => panic!("{wanted} was not heard within {SOON:?}, but {before:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_how_it_is_from_its_start_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().await;
    database.migrate().await;
    let mut daemon = Supervised::start(folder.path(), &json!({"url": database.url}));

    let before = daemon.until("READY=1").await;
    assert!(before.iter().all(|message| message == "WATCHDOG=1"), "{before:?}");
    daemon.until("STATUS=Dialing 1 of 1 accounts, 0 calls open, 0 in doubt, 0 held; the database answers").await;

    let process = Pid::from_raw(i32::try_from(daemon.child.id().expect("it runs")).unwrap());
    kill(process, Signal::SIGHUP).unwrap();
    daemon.until("RELOADING=1\nMONOTONIC_USEC=").await;
    daemon.until("READY=1").await;

    // A daemon without its database cannot work, but it lives: a restart would not bring the database back.
    database.shut().await;
    daemon.until("STATUS=The database does not answer").await;
    daemon.until("WATCHDOG=1").await;
    daemon.until("WATCHDOG=1").await;
    database.reopen().await;
    daemon.until("STATUS=Dialing 1 of 1 accounts").await;

    kill(process, Signal::SIGTERM).unwrap();
    daemon.until("STOPPING=1").await;
    daemon.until("STATUS=Draining").await;
    let status = timeout(SOON, daemon.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");

    let journal = fs::read_to_string(folder.path().join("journal")).unwrap();
    let priority = |words: &str| {
        let line = journal.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words}: {journal}"));
        let (priority, rest) = line.split_at(3);
        serde_json::from_str::<Value>(rest).unwrap_or_else(|problem| panic!("{problem}: {line}"));
        priority.to_owned()
    };
    assert_eq!(priority("Listening on"), "<6>");
    assert_eq!(priority("failed and is tried again"), "<4>");
    assert_eq!(priority("Stopped"), "<6>");
    assert!(journal.lines().all(|line| line.starts_with('<')), "{journal}");
}

#[tokio::test]
async fn the_journal_shows_as_errors_why_it_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Supervised::start(folder.path(), &json!({"url": "mysql://here"}));
    let status = timeout(SOON, daemon.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(2), "which systemd does not start again");
    let journal = fs::read_to_string(folder.path().join("journal")).unwrap();
    assert!(journal.contains("database.url"), "{journal}");
    assert!(journal.lines().all(|line| line.starts_with("<3>")), "{journal}");
}
