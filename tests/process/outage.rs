//! A database that goes away, turns everybody out, takes no writes, or answers late: nothing is lost, nobody is rung
//! twice, and the daemon goes on by itself.
//!
//! Each test has a Postgres server of its own and a role that is no superuser, since limits do not hold for those.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outdial::adapter::embedded::{EmbeddedPostgres, Options};
use reqwest::{Client, StatusCode};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

use super::support::database::TestDatabase;
use super::support::judge::{Evidence, misplaced};
use super::support::world::{ACCOUNT, Lead, Stage, WEBHOOK_TOKEN, World, eventually};

/// More than are called before the trouble is over.
const LEADS: usize = 700;
/// The daemon's role.
const ROLE: &str = "od_daemon";
/// How long a trouble lasts: longer than what is known of stops is believed, shorter than the lease.
const OUTAGE: Duration = Duration::from_secs(4);
/// Dialing goes on by itself: the longest wait between two runs of a pass is 2 s, and a busy machine takes its time.
const RESUMES_WITHIN: Duration = Duration::from_secs(20);
/// Warnings in all: each pass says once per trouble that it failed, and the receiver once per batch it could not store.
const WARNINGS_MAX: usize = 150;

/// A server, a daemon that dials, and somebody who sends webhooks.
struct Scene {
    world: World,
    postgres: Option<EmbeddedPostgres>,
    folder: TempDir,
    http: Client,
}

impl Scene {
    async fn dialing() -> Self {
        let folder = tempfile::tempdir().unwrap();
        reachable(folder.path());
        let postgres = EmbeddedPostgres::start(folder.path(), &Options::default()).await.unwrap();
        let mut admin = PgConnection::connect(postgres.url()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("create role {ROLE} login"))).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        let database = TestDatabase::create_on(postgres.url().to_owned(), Some(ROLE)).await;
        database.migrate().await;
        let mut world = World::set_on(database, Stage::busy()).await;
        let lead =
            |number| Lead { phone: format!("+4930554{number:05}"), time_zone: Some("Europe/London"), priority: 5 };
        world.add_leads("people", &(0..LEADS).map(lead).collect::<Vec<_>>()).await;
        let definition = json!({
            "account": ACCOUNT, "lead_lists": ["people"],
            "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": "09:00-18:00"}},
        });
        world.add_campaign("calls", &definition).await;
        world.start().await;
        let world_ref = &world;
        eventually("results come", Duration::from_secs(30), || async {
            let results: i64 = world_ref.database.value("select count(*) from call_result").await;
            if results > 20 { Ok(()) } else { Err(format!("{results} results")) }
        })
        .await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { world, postgres: Some(postgres), folder, http }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.http.get(format!("http://{}{path}", self.world.address())).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// What the provider would be told: the body is a real call's, so it is known and changes nothing.
    async fn webhook(&self) -> StatusCode {
        let call = self.world.simulator.calls().remove(0);
        let body = json!({"id": call.call_id, "status": "completed"}).to_string();
        let url = format!("http://{}/webhook/{ACCOUNT}/{WEBHOOK_TOKEN}", self.world.address());
        self.http.post(url).header("content-type", "application/json").body(body).send().await.unwrap().status()
    }

    /// For the time of an outage: nothing is taken that cannot be kept, and the daemon says so, and stays.
    async fn takes_nothing(&self) {
        let began = Instant::now();
        eventually("it says that it is not ready", Duration::from_secs(3), || async {
            let (status, why) = self.get("/readyz").await;
            let why_not = why.contains("database") && status == StatusCode::SERVICE_UNAVAILABLE;
            if why_not { Ok(()) } else { Err(format!("{status} {why}")) }
        })
        .await;
        while began.elapsed() < OUTAGE {
            assert_eq!(self.webhook().await, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(self.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(self.get("/livez").await.0, StatusCode::OK, "a restart would not help");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The trouble is over: it takes results again, calls again, and the campaign comes to its end.
    async fn goes_on(mut self) {
        let calls = self.world.simulator.calls().len();
        let this = &self;
        eventually("it is ready and stores webhooks", RESUMES_WITHIN, || async {
            let (ready, stored) = (this.get("/readyz").await.0, this.webhook().await);
            if ready == StatusCode::OK && stored == StatusCode::OK { Ok(()) } else { Err(format!("{ready}, {stored}")) }
        })
        .await;
        eventually("it dials again", RESUMES_WITHIN, || async {
            let now = this.world.simulator.calls().len();
            if now > calls { Ok(()) } else { Err(format!("{calls} calls")) }
        })
        .await;
        eventually("all leads have their result", Duration::from_secs(120), || async {
            let sql = "select (select count(*) from due) + (select count(*) from open_attempt)
                + (select count(*) from inbox_pending)";
            let left: i64 = this.world.database.value(sql).await;
            if left == 0 { Ok(()) } else { Err(format!("{left} are due, open or pending")) }
        })
        .await;
        self.world.stop().await;
        Evidence::of(&self.world)
            .await
            .nobody_twice()
            .each_call_has_its_attempt()
            .each_call_has_its_result(true)
            .verdict();
        assert_eq!(misplaced(&self.world).await, Vec::<String>::new());
        assert_eq!(self.world.alarms(), Vec::<String>::new());
        let warnings = self.world.warnings("");
        assert!(warnings.len() <= WARNINGS_MAX, "{} warnings: {:#?}", warnings.len(), &warnings[..WARNINGS_MAX / 4]);
        self.world.strike().await;
        self.postgres.take().expect("it runs").stop().await.unwrap();
    }

    /// Turns the daemon out; what it finds when it comes back was changed before.
    async fn turn_out(&self) {
        let sql = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ROLE}'");
        self.world.database.administer(&sql).await;
    }

    async fn alter_database(&self, change: &str) {
        self.world.database.administer(&format!("alter database {} {change}", self.world.database.own_name())).await;
    }
}

/// When the tests run as root, the server is another user's.
fn reachable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_and_comes_back_costs_nothing() {
    let mut scene = Scene::dialing().await;
    let mut postgres = scene.postgres.take().unwrap();
    let url = postgres.url().to_owned();
    // An immediate shutdown, as `pg_ctl stop -m immediate`: no goodbye, and its log is replayed at the start.
    kill(Pid::from_raw(i32::try_from(postgres.process_id()).unwrap()), Signal::SIGQUIT).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while postgres.is_running() {
        assert!(Instant::now() < deadline, "the server still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(postgres);
    scene.takes_nothing().await;
    let again = EmbeddedPostgres::start(scene.folder.path(), &Options::default()).await.unwrap();
    assert_eq!(again.url(), url);
    scene.postgres = Some(again);
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_is_not_ready() {
    let scene = Scene::dialing().await;
    scene.alter_database("set default_transaction_read_only = on").await;
    scene.turn_out().await;
    scene.takes_nothing().await;
    scene.alter_database("reset default_transaction_read_only").await;
    // Sessions keep what they began with until they are found out or turned out.
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_connections_waits_for_some() {
    let scene = Scene::dialing().await;
    let limit = async |limit: i32| {
        scene.world.database.administer(&format!("alter role {ROLE} connection limit {limit}")).await;
        scene.turn_out().await;
    };
    limit(0).await;
    scene.takes_nothing().await;
    // One for all is too few to work well, and no reason to fall over.
    limit(1).await;
    tokio::time::sleep(OUTAGE).await;
    assert_eq!(scene.get("/livez").await.0, StatusCode::OK);
    limit(-1).await;
    scene.goes_on().await;
}

/// Locks a table for as long as a statement may just wait, while `meanwhile` looks.
async fn locked<F: Future<Output = ()>>(scene: &Scene, table: &str, meanwhile: F) {
    let mut other = PgConnection::connect(&scene.world.database.url).await.unwrap();
    let mut holder = other.begin().await.unwrap();
    let sql = format!("lock table {table} in access exclusive mode");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut *holder).await.unwrap();
    let hold = async {
        tokio::time::sleep(OUTAGE).await;
        holder.rollback().await.unwrap();
    };
    tokio::join!(hold, meanwhile);
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_locks_is_waited_for() {
    let scene = Scene::dialing().await;
    locked(&scene, "open_attempt", async {
        assert_eq!(scene.get("/livez").await.0, StatusCode::OK);
        assert_eq!(scene.webhook().await, StatusCode::OK, "results are still taken");
    })
    .await;
    let waits = async {
        let asked = Instant::now();
        assert_eq!(scene.webhook().await, StatusCode::OK);
        assert!(asked.elapsed() > OUTAGE / 2, "it was stored while the table was locked");
    };
    locked(&scene, "inbox", waits).await;
    scene.goes_on().await;
}
