//! How the daemon ends, and how it refuses to begin.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outdial::adapter::embedded::{EmbeddedPostgres, Options};
use outdial::adapter::simulator::{Faults, SimulatorOptions};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::support::daemon::{Daemon, outdial};
use super::support::database::TestDatabase;
use super::support::judge::Evidence;
use super::support::world::{Stage, World, dialing_many, eventually};

async fn dialing(stage: Stage) -> World {
    let world = dialing_many(stage, 2_000).await;
    let world_ref = &world;
    eventually("calls are placed", Duration::from_secs(30), || async {
        let calls = world_ref.simulator.calls().len();
        if calls > 50 { Ok(()) } else { Err(format!("{calls} calls")) }
    })
    .await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_leaves_nothing_in_doubt() {
    let mut world = dialing(Stage::busy()).await;
    let asked = Instant::now();
    // Asserts that it exits with 0.
    world.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
    let calls = world.simulator.calls().len();
    let mut evidence = Evidence::of(&world).await;
    let states: Vec<&str> = evidence.attempts.iter().filter_map(|attempt| attempt.open_state.as_deref()).collect();
    assert!(states.iter().all(|state| *state == "placed"), "{states:?}");
    evidence.nobody_twice().each_call_has_its_attempt().verdict();
    let leased: i64 =
        world.database.value("select count(*) from account_lease where expires_at > clock_timestamp()").await;
    assert_eq!(leased, 0, "the next daemon need not wait for this one's lease");
    // The next one collects what the first left with the provider, and goes on.
    world.start().await;
    let world_ref = &world;
    eventually("the calls of the first are settled", Duration::from_secs(90), || async {
        let sql = format!(
            "select count(*) from (select provider_call_id::bigint as id, attempt_id from provider_call
             where provider_call_id::bigint < 480001 + {calls}) p join attempt a using (attempt_id)
             where a.outcome is null"
        );
        let left: i64 = world_ref.database.value(&sql).await;
        if left == 0 { Ok(()) } else { Err(format!("{left} calls have no result")) }
    })
    .await;
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_sigterm_ends_it_at_once() {
    let stage = Stage::busy();
    // Answers that outlast the test: the drain has something to wait for.
    let faults = Faults { slower_than_timeout: 0.2, slow_for_ms: 60_000, ..Faults::default() };
    let simulator = SimulatorOptions { faults, ..stage.simulator };
    let daemon =
        json!({"request_timeout": "60s", "connect_timeout": "5s", "drain_max": "120s", "zombie_horizon": "61s"});
    let mut world = dialing(Stage { simulator, daemon, ..stage }).await;
    let mut daemon = world.take_daemon();
    daemon.signal(Signal::SIGTERM);
    eventually("it drains", Duration::from_secs(10), || async {
        let lines = daemon.log().lines();
        if lines.iter().any(|line| line.contains("Draining")) { Ok(()) } else { Err("no such line".to_owned()) }
    })
    .await;
    // The first is only counted once it is seen; a moment later the second is asked for.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let status = daemon.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(2), "took {:?}", asked.elapsed());
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_private_server_goes_with_a_killed_daemon_and_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    reachable(folder.path());
    let data_dir = folder.path().join("state");
    let config = write(folder.path(), &config(&json!({"url": "embedded", "data_dir": data_dir}), "127.0.0.1:0"));
    let daemon = Daemon::start(&config, &[]).await;
    let url = EmbeddedPostgres::running_at(&data_dir).expect("the server runs");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("insert into lead_list (name) values ('kept')").execute(&mut connection).await.unwrap();
    let server: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    daemon.kill().await;
    eventually("the server is gone", Duration::from_secs(10), || async {
        let backend = Path::new("/proc").join(server.to_string());
        match EmbeddedPostgres::running_at(&data_dir) {
            None if !backend.exists() => Ok(()),
            _ => Err("it runs".to_owned()),
        }
    })
    .await;
    let server = EmbeddedPostgres::start(&data_dir, &Options::default()).await.unwrap();
    let mut connection = PgConnection::connect(server.url()).await.unwrap();
    let kept: i64 = sqlx::query_scalar("select count(*) from lead_list where name = 'kept'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 1);
    connection.close().await.unwrap();
    server.stop().await.unwrap();
}

/// When the tests run as root, the server is another user's.
fn reachable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
}

fn config(database: &Value, listen: &str) -> Value {
    json!({
        "database": database,
        "accounts": {"main": {"provider": "famulor", "base_url": "http://127.0.0.1:9/api", "api_key": "a-key"}},
        "http": {"listen": listen, "metrics_listen": null},
    })
}

fn write(folder: &Path, config: &Value) -> PathBuf {
    let file = folder.join("outdial.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

/// Runs the daemon that must refuse to, and says how: its exit code and what it told.
fn refusal(folder: &Path, config: &Value, hide: &[(&str, &str)]) -> String {
    let file = write(folder, config);
    let output = outdial(&file).arg("run").stdout(Stdio::null()).output().unwrap();
    let mut told = String::from_utf8(output.stderr).unwrap();
    for (what, instead) in hide {
        told = told.replace(what, instead);
    }
    // The column depends on how long the database's address is.
    if let Some(at) = told.find(".yaml:1:").map(|at| at + ".yaml:1:".len()) {
        let digits = told[at..].bytes().take_while(u8::is_ascii_digit).count();
        told.replace_range(at..at + digits, "COLUMN");
    }
    assert_eq!(told.matches("outdial: ").count(), 1, "said once: {told}");
    format!("exit code {}\n{told}", output.status.code().expect("it ended by itself"))
        .replace(folder.to_str().unwrap(), "FOLDER")
}

#[tokio::test]
async fn it_says_why_it_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().await;
    let here = json!({"url": database.url});

    let pending = refusal(folder.path(), &config(&here, "127.0.0.1:0"), &[]);
    insta::assert_snapshot!("pending_migrations", pending);

    database.migrate().await;
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let refused = refusal(folder.path(), &config(&here, &address), &[(&address, "ADDRESS")]);
    insta::assert_snapshot!("occupied_address", refused);

    // A port of which nobody else can know that it is free again.
    drop(occupied);
    let nowhere = json!({"url": format!("postgres://nobody:secret@{address}/nothing")});
    let host = address.replace(':', " port ");
    let refused =
        refusal(folder.path(), &config(&nowhere, "127.0.0.1:0"), &[(&address, "ADDRESS"), (&host, "ADDRESS")]);
    assert!(!refused.contains("secret"), "{refused}");
    insta::assert_snapshot!("unreachable_database", refused);

    let mut missing = config(&here, "127.0.0.1:0");
    missing["accounts"]["main"].as_object_mut().unwrap().remove("api_key");
    missing["accounts"]["main"]["api_key_file"] = json!(folder.path().join("no-such-key"));
    insta::assert_snapshot!("missing_key_file", refusal(folder.path(), &missing, &[]));

    let file = folder.path().join("broken.yaml");
    std::fs::write(&file, "database: { url: embedded }\nhttp:\n  listen: [\n").unwrap();
    let output = outdial(&file).arg("run").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap().replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!("broken_yaml", format!("exit code {}\n{told}", output.status.code().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_migrates_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().await;
    let file = write(folder.path(), &config(&json!({"url": database.url}), "127.0.0.1:0"));
    let daemon = Daemon::start(&file, &["--migrate"]).await;
    assert_eq!(database.value::<i64>("select count(*) from campaign_progress").await, 0);
    let (status, _) = daemon.stop(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
    // The second start finds nothing to do and needs no leave.
    let daemon = Daemon::start(&file, &[]).await;
    let (status, _) = daemon.stop(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
}
