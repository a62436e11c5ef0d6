//! The stage of a test: a database, a simulated provider, a configuration, and a daemon that comes and goes.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::postgres::clock;
use outdial::adapter::simulator::{Shape, Simulator, SimulatorHandle, SimulatorOptions, Span, Timing};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::daemon::{Daemon, Log};
use super::database::TestDatabase;

/// The only account of a test.
pub const ACCOUNT: &str = "main";
/// The secret part of its webhook address.
pub const WEBHOOK_TOKEN: &str = "a-token-for-these-tests";
/// The only daemon of most tests.
const ONLY: usize = 0;

/// What differs from test to test.
pub struct Stage {
    /// Where civil time begins.
    pub civil_origin: &'static str,
    /// How many civil seconds pass in a real one.
    pub factor: u32,
    /// The provider; its clock is set here.
    pub simulator: SimulatorOptions,
    /// Keys of the account besides the obvious ones.
    pub account: Value,
    /// The section `person`.
    pub person: Value,
    /// The section `daemon`.
    pub daemon: Value,
}

impl Stage {
    /// Calls that take half a real second, a hundred of which may start in each, on a Monday at noon.
    pub fn busy() -> Self {
        let timing = Timing {
            setup: Span::milliseconds(200, 500),
            ring: Span::milliseconds(500, 1_000),
            ring_out: Span::seconds(3, 4),
            talk: Span::seconds(2, 4),
            evaluation: Span::milliseconds(100, 300),
            webhook_delay: Span::milliseconds(100, 300),
        };
        let mut assistants = SimulatorOptions::default().assistants;
        for assistant in &mut assistants {
            assistant.send_webhook_only_on_completed = false;
        }
        Self {
            civil_origin: "2026-01-12T12:00:00Z",
            factor: 10,
            simulator: SimulatorOptions { timing, assistants, ..SimulatorOptions::default() },
            account: json!({
                "limits": {
                    "calls_per_second": 10, "calls_per_minute": 600, "concurrent_calls": 1_000,
                    "calls_per_day": 100_000, "requests_per_minute": 6_000,
                },
                "settle_after": "10s",
            }),
            person: json!({"calls_per_day": null, "min_gap_between_campaigns": "0s"}),
            daemon: json!({"request_timeout": "5s", "connect_timeout": "1s", "drain_max": "10s"}),
        }
    }
}

/// A daemon that has begun to dial `count` leads, each once.
pub async fn dialing_many(stage: Stage, count: usize) -> World {
    let mut world = World::set(stage).await;
    let lead = |number| Lead { phone: format!("+4930559{number:05}"), time_zone: Some("Europe/London"), priority: 5 };
    world.add_leads("people", &(0..count).map(lead).collect::<Vec<_>>()).await;
    let definition = json!({
        "account": ACCOUNT, "lead_lists": ["people"],
        "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": "09:00-18:00"}},
    });
    world.add_campaign("calls", &definition).await;
    world.start().await;
    world
}

/// A stage that is set.
pub struct World {
    // Dropped first: a daemon whose database goes away writes a log that hides what went wrong.
    replicas: BTreeMap<usize, Daemon>,
    pub database: TestDatabase,
    pub simulator: SimulatorHandle,
    /// Providers of further accounts, by account.
    pub others: BTreeMap<&'static str, SimulatorHandle>,
    pub clock: ScaledClock,
    pub config: Value,
    folder: TempDir,
    logs: Vec<Log>,
}

/// One lead as a user's own SQL inserts it.
#[derive(Clone, Debug, Default)]
pub struct Lead {
    pub phone: String,
    pub time_zone: Option<&'static str>,
    pub priority: i16,
}

impl World {
    /// A migrated database, a running provider, no daemon yet.
    pub async fn set(stage: Stage) -> Self {
        let database = TestDatabase::create().await;
        database.migrate().await;
        Self::set_on(database, stage).await
    }

    /// The same on a database that is there and migrated.
    pub async fn set_on(database: TestDatabase, stage: Stage) -> Self {
        let civil_origin: Timestamp = stage.civil_origin.parse().unwrap();
        let fresh = ScaledClock::starting_at(civil_origin, stage.factor).unwrap();
        // As a daemon's first start does it; the daemons of this test then find it.
        let clock = clock::keep(&database.pool, &fresh).await.unwrap();
        let shape = stage.simulator.shape;
        let simulator = Simulator::start(SimulatorOptions { clock, ..stage.simulator }).await.unwrap();
        let account = account_block(shape, &simulator.base_url, ACCOUNT, stage.account);
        let config = json!({
            "database": {"url": database.url, "connections": 3, "dial_connections": 6},
            "accounts": {ACCOUNT: account},
            "person": stage.person,
            "http": {"listen": "127.0.0.1:0", "metrics_listen": null, "public_url": "http://127.0.0.1:9"},
            "log": {"format": "json", "level": "info"},
            "daemon": stage.daemon,
            "clock": {"civil_origin": stage.civil_origin, "factor": stage.factor},
        });
        let folder = tempfile::tempdir().unwrap();
        let others = BTreeMap::new();
        Self { database, simulator, others, clock, config, replicas: BTreeMap::new(), folder, logs: Vec::new() }
    }

    /// One more account, at a provider of its own.
    pub async fn add_account(&mut self, name: &'static str, simulator: SimulatorOptions, account: Value) {
        let shape = simulator.shape;
        let api_key = format!("simulated-key-of-{name}");
        let options = SimulatorOptions { clock: self.clock, api_key, ..simulator };
        let simulator = Simulator::start(options).await.unwrap();
        let block = account_block(shape, &simulator.base_url, name, account);
        merge(&mut self.config["accounts"], json!({ name: block }));
        self.others.insert(name, simulator);
    }

    /// The provider of an account.
    pub fn provider(&self, account: &str) -> &SimulatorHandle {
        self.others.get(account).unwrap_or(&self.simulator)
    }

    /// Starts the daemon, and tells the provider where it listens.
    pub async fn start(&mut self) {
        self.start_replica(ONLY, json!({})).await;
        let address = self.address();
        self.simulator.set_webhook_url(&format!("http://{address}/webhook/{ACCOUNT}/{WEBHOOK_TOKEN}"));
        for (account, simulator) in &self.others {
            let token = webhook_token(account);
            simulator.set_webhook_url(&format!("http://{address}/webhook/{account}/{token}"));
        }
    }

    /// Starts one of several daemons, whose configuration differs from the common one by `changes`. Who receives webhooks
    /// is not its business.
    pub async fn start_replica(&mut self, number: usize, changes: Value) {
        assert!(!self.replicas.contains_key(&number), "replica {number} runs");
        let mut config = self.config.clone();
        merge(&mut config, changes);
        let file = self.folder.path().join(format!("replica-{number}.yaml"));
        std::fs::write(&file, config.to_string()).unwrap();
        let daemon = Daemon::start(&file, &[]).await;
        self.replicas.insert(number, daemon);
    }

    /// One of several daemons.
    pub fn replica(&self, number: usize) -> &Daemon {
        self.replicas.get(&number).expect("the daemon runs")
    }

    /// Takes one of several daemons away; its log comes back by [`World::keep`].
    pub fn take_replica(&mut self, number: usize) -> Daemon {
        self.replicas.remove(&number).expect("the daemon runs")
    }

    /// Keeps the log of a daemon that has ended, to be judged.
    pub fn keep(&mut self, log: Log) {
        self.logs.push(log);
    }

    /// Where the daemon listens.
    pub fn address(&self) -> SocketAddr {
        self.replica(ONLY).address
    }

    /// Takes the daemon away, to end it in a way of the test's own.
    pub fn take_daemon(&mut self) -> Daemon {
        self.take_replica(ONLY)
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        let log = self.take_daemon().kill().await;
        self.keep(log);
    }

    /// SIGTERM; the daemon must drain and say that all is well.
    pub async fn stop(&mut self) {
        let (status, log) = self.take_daemon().stop(Duration::from_secs(30)).await;
        assert!(status.success(), "{status}: {:#?}", log.messages("WARN"));
        self.keep(log);
    }

    /// What every daemon has written so far, those that have ended first.
    fn logs(&self) -> impl Iterator<Item = &Log> {
        self.logs.iter().chain(self.replicas.values().map(Daemon::log))
    }

    /// Lines by which a daemon asked for a person, and panics.
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        for log in self.logs() {
            alarms.extend(log.messages("ERROR"));
            alarms.extend(log.lines().into_iter().filter(|line| line.contains("panicked")));
        }
        alarms
    }

    /// Every line the daemons wrote.
    pub fn lines(&self) -> Vec<String> {
        self.logs().flat_map(Log::lines).collect()
    }

    /// Warnings that contain these words.
    pub fn warnings(&self, words: &str) -> Vec<String> {
        self.logs().flat_map(|log| log.messages("WARN")).filter(|message| message.contains(words)).collect()
    }

    /// Inserts leads into a list, which it makes if there is none.
    pub async fn add_leads(&self, list: &str, leads: &[Lead]) {
        let phones: Vec<&str> = leads.iter().map(|lead| lead.phone.as_str()).collect();
        let zones: Vec<Option<&str>> = leads.iter().map(|lead| lead.time_zone).collect();
        let priorities: Vec<i16> = leads.iter().map(|lead| lead.priority).collect();
        sqlx::query(
            "with list as (
                insert into lead_list (name) values ($1) on conflict (name) do update set name = excluded.name
                returning lead_list_id)
             insert into lead (lead_list_id, phone, time_zone, priority)
             select list.lead_list_id, l.phone, l.time_zone, l.priority
             from list, unnest($2::text[], $3::text[], $4::smallint[]) as l (phone, time_zone, priority)",
        )
        .bind(list)
        .bind(&phones)
        .bind(&zones)
        .bind(&priorities)
        .execute(&self.database.pool)
        .await
        .unwrap();
    }

    pub async fn add_campaign(&self, name: &str, definition: &Value) {
        sqlx::query("insert into campaign (name, definition) values ($1, $2)")
            .bind(name)
            .bind(definition)
            .execute(&self.database.pool)
            .await
            .unwrap();
    }

    /// Stops what still runs; the database goes with the stage.
    pub async fn strike(mut self) {
        for daemon in std::mem::take(&mut self.replicas).into_values() {
            daemon.kill().await;
        }
        self.simulator.shutdown().await;
        for simulator in self.others.into_values() {
            simulator.shutdown().await;
        }
        self.database.pool.close().await;
    }
}

/// The secret part of an account's webhook address.
pub fn webhook_token(account: &str) -> String {
    if account == ACCOUNT { WEBHOOK_TOKEN.to_owned() } else { format!("{WEBHOOK_TOKEN}-of-{account}") }
}

/// The account block of a simulated provider.
fn account_block(shape: Shape, base_url: &str, name: &str, keys: Value) -> Value {
    let mut account = match shape {
        Shape::Famulor => json!({"provider": "famulor"}),
        Shape::Sondos => json!({"provider": "sondos"}),
        Shape::WhiteLabel => json!({"provider": "autocalls"}),
        Shape::HappyRobotV1 => json!({"provider": "happyrobot", "api": "v1"}),
        Shape::HappyRobotV2 => json!({"provider": "happyrobot", "api": "v2"}),
    };
    let api_key = if name == ACCOUNT { "simulated-key".to_owned() } else { format!("simulated-key-of-{name}") };
    merge(&mut account, json!({"base_url": base_url, "api_key": api_key, "webhook_token": webhook_token(name)}));
    merge(&mut account, keys);
    account
}

/// Lays `over` on top of `base`, objects key by key.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// How many leads a campaign has: `short` of them, or all 2,000 when `OUTDIAL_SOAK` is set; and how much longer to wait.
pub fn leads_of(short: usize) -> (usize, u32) {
    const LEADS: usize = 2_000;
    if std::env::var_os("OUTDIAL_SOAK").is_some_and(|word| word == "1") {
        (LEADS, u32::try_from(LEADS.div_ceil(short)).expect("a small number"))
    } else {
        (short, 1)
    }
}

/// Waits until `probe` answers, for at most `within`; looks often, and says what it waited for.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(instead) => assert!(started.elapsed() < within, "{what}: not within {within:?}; {instead}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
