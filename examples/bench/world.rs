//! One run's world: a durable private Postgres, a daemon and a provider simulator, each a process of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outdial::adapter::embedded::{EmbeddedPostgres, Options};
use outdial::adapter::postgres::command::apply_campaign;
use outdial::adapter::postgres::connect::{PoolPurpose, connect, migrate};
use outdial::cli::database::civil_clock;
use outdial::config::{Sources, load, parse_campaign_file};
use outdial::domain::campaign::CampaignState;
use sqlx::{Connection as _, PgConnection, PgPool};
use tempfile::TempDir;

use super::{AS_OUTDIAL, usage};

/// What has not started in this time will not.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Slower, and something is wrong.
const ENROLLED_PER_SECOND_MIN: u32 = 2_000;

/// The one campaign: one attempt each, no rule that would make it two.
const CAMPAIGN: &str = "
campaigns:
  - name: bench
    account: bench
    assistants: { names: [\"Sales *\"], pick: round_robin }
    lead_lists: [bench]
    schedule: { time_zone: lead, windows: { mon-fri: [\"09:00-20:00\"] } }
    retry: { max_attempts: 1 }
    rules: { purpose: benchmark }
    variables: { company_name: \"Example Renewals\" }
";

/// What a run is made of.
pub(super) struct Plan {
    /// How many civil seconds pass in a real one.
    pub(super) factor: u32,
    /// Lines of the account.
    pub(super) concurrent_calls: u32,
    /// Ringing and talking, civil seconds, as the simulator's options take them.
    pub(super) ring: &'static str,
    /// As above.
    pub(super) talk: &'static str,
}

/// A Postgres server with our schema, and nothing else yet.
pub(super) struct Server {
    pub(super) pool: PgPool,
    pub(super) postgres: EmbeddedPostgres,
    // Last: it is removed when the server is gone.
    pub(super) folder: TempDir,
}

impl Server {
    /// Starts a server that keeps what it commits: `fsync` is on, as for the daemon's own private server.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("outdial-bench-").tempdir().context("make a folder")?;
        let postgres = EmbeddedPostgres::start(folder.path(), &Options::default()).await.context("start Postgres")?;
        let purpose = PoolPurpose { application_name: "bench", connections_max: 2 };
        let pool = connect(&postgres.url().to_owned().into(), purpose).await.context("connect")?;
        migrate(&pool).await.context("migrate")?;
        Ok(Self { postgres, pool, folder })
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        self.postgres.stop().await.context("stop Postgres")?;
        self.folder.close().context("remove the server's folder")
    }
}

/// Everything at work.
pub(super) struct World {
    daemon: Process,
    simulator: Process,
    pub(super) server: Server,
}

impl World {
    /// Starts everything; the campaign is paused and its leads, inserted by `leads`, are enrolled.
    ///
    /// `leads` inserts into the list `$1` as many leads as `$2` says.
    pub(super) async fn start(plan: &Plan, leads: &'static str, count: u32) -> anyhow::Result<Self> {
        let server = Server::start().await?;
        let (webhook_port, provider_port) = (free_port()?, free_port()?);
        let config_file = server.folder.path().join("bench.yaml");
        std::fs::write(&config_file, config(plan, server.postgres.url(), webhook_port, provider_port))?;
        let sources = Sources {
            paths: vec![config_file.clone()],
            environment: Vec::new(),
            state_dir: Some(server.folder.path().to_owned()),
        };
        let config = load(&sources)?;
        let Ok(clock) = civil_clock(&config, &server.pool).await else { anyhow::bail!("the clock cannot be kept") };

        let list: i64 = sqlx::query_scalar("insert into lead_list (name) values ('bench') returning lead_list_id")
            .fetch_one(&server.pool)
            .await?;
        // Not by the pool, whose statements end after the daemon's ten seconds.
        let mut unlimited = PgConnection::connect(server.postgres.url()).await.context("connect for the leads")?;
        sqlx::query(leads)
            .bind(list)
            .bind(i64::from(count))
            .execute(&mut unlimited)
            .await
            .context("insert the leads")?;
        unlimited.close().await?;
        let (name, definition, _) =
            parse_campaign_file(CAMPAIGN, "campaign")?.into_iter().next().context("find the campaign")?;
        apply_campaign(&server.pool, &name, &definition, CampaignState::Paused, clock.now()).await?;

        let port = provider_port;
        let simulator = Process::start(&server, "simulator", |command| {
            command.args(["simulate-provider", "--api-key", "simulated-key", "--mix", "goal_met=7,voicemail=3"]);
            // The brand's documented limit, told in headers, would be obeyed.
            command.args(["--requests-per-minute", "10000000"]);
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--ring", plan.ring, "--talk", plan.talk]);
            command.args(["--webhook", &format!("http://127.0.0.1:{webhook_port}/webhook/bench/{TOKEN}")]);
            command.args(["--clock", &clock.to_string()]);
        })?;
        wait_for_port(provider_port).await?;
        let daemon = Process::start(&server, "daemon", |command| {
            command.arg("run").arg("--config").arg(&config_file);
        })?;
        wait_for_port(webhook_port).await?;
        let world = Self { daemon, simulator, server };
        let within = READY_WITHIN + Duration::from_secs((count / ENROLLED_PER_SECOND_MIN).into());
        let deadline = Instant::now() + within;
        while world.count("select count(*) from due").await? < i64::from(count) {
            ensure!(Instant::now() < deadline, "the leads are not enrolled after {within:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sqlx::query("vacuum analyze").execute(&world.server.pool).await?;
        Ok(world)
    }

    /// Lets the daemon dial.
    pub(super) async fn activate(&self) -> anyhow::Result<()> {
        sqlx::query("update campaign set state = 'active'").execute(&self.server.pool).await.context("activate")?;
        Ok(())
    }

    pub(super) async fn count(&self, query: &'static str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(query).fetch_one(&self.server.pool).await?)
    }

    /// CPU seconds so far of daemon, simulator and Postgres.
    pub(super) fn cpu_seconds(&self) -> [f64; 3] {
        [self.daemon.id(), self.simulator.id(), self.server.postgres.process_id()].map(usage::cpu_seconds)
    }

    /// Largest resident memory of the daemon, MiB.
    pub(super) fn memory_peak_mib(&self) -> f64 {
        usage::memory_peak_mib(self.daemon.id())
    }

    /// Process ids of daemon, simulator and Postgres, for whoever wants to look closer.
    pub(super) fn ids(&self) -> [u32; 3] {
        [self.daemon.id(), self.simulator.id(), self.server.postgres.process_id()]
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.daemon.stop()?;
        self.simulator.stop()?;
        if let Some(kept) = std::env::var_os("OUTDIAL_BENCH_LOGS") {
            for name in ["daemon.log", "simulator.log"] {
                std::fs::copy(self.server.folder.path().join(name), PathBuf::from(&kept).join(name))?;
            }
        }
        self.server.stop().await
    }
}

const TOKEN: &str = "benchmark-webhook-token";

fn config(plan: &Plan, url: &str, webhook_port: u16, provider_port: u16) -> String {
    let Plan { factor, concurrent_calls, .. } = plan;
    format!(
        r#"
database: {{ url: "{url}" }}
accounts:
  bench:
    provider: famulor
    base_url: "http://127.0.0.1:{provider_port}/api"
    api_key: simulated-key
    webhook_token: {TOKEN}
    limits:
      calls_per_second: 1000000
      calls_per_minute: 1000000
      concurrent_calls: {concurrent_calls}
      calls_per_day: 10000000
      requests_per_minute: 10000000
    list_lag_max: 2m
person: {{ calls_per_day: 3, min_gap_between_campaigns: 4h }}
http: {{ listen: "127.0.0.1:{webhook_port}", metrics_listen: null, public_url: "http://127.0.0.1:{webhook_port}" }}
log: {{ format: json, level: info }}
clock: {{ civil_origin: "2026-03-02T09:00:00Z", factor: {factor} }}
"#
    )
}

/// A child process that is `outdial`; it is killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(server: &Server, name: &str, arguments: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        let log = File::create(server.folder.path().join(format!("{name}.log")))?;
        let mut command = Command::new(std::env::current_exe()?);
        arguments(&mut command);
        command.env(AS_OUTDIAL, "1").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().with_context(|| format!("start the {name}"))?))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to be done about an error: either it has ended, or it cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free at this moment; nothing else on a benchmark's machine should want it.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn wait_for_port(port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        ensure!(Instant::now() < deadline, "nobody listens at port {port} after {READY_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
