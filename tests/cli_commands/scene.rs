//! A desk with a campaign on it, and people who type.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::postgres::PostgresStore;
use outdial::cli::desk::Desk;
use outdial::cli::{Cli, Command, Failure, obey, wire};
use outdial::config::{Config, Sources};
use outdial::domain::id::{AttemptId, AttemptKey, CampaignId, LeadId};
use outdial::port::store::Store;
use sqlx::PgPool;

/// Monday, 10:00 in Berlin and 04:00 in New York.
pub const NOW: &str = "2026-03-02T09:00:00Z";

pub const CONFIG: &str = r#"
database: { url: "postgres://localhost/unused" }
accounts:
  main:
    provider: famulor
    base_url: BASE_URL
    api_key: simulated-key
    webhook_token: a-webhook-token-of-main
    limits: { concurrent_calls: 2, calls_per_day: 100 }
  spare:
    provider: famulor
    base_url: "http://127.0.0.1:1/api"
    api_key: another-key
    webhook_token: a-webhook-token-of-spare
http: { public_url: "https://dial.example.org" }
"#;

pub const CAMPAIGN: &str = r#"
campaigns:
  - name: spring-renewals
    account: main
    lead_lists: [spring]
    schedule: { time_zone: lead, windows: { mon-fri: ["09:00-12:00", "13:00-18:00"] } }
    retry: { max_attempts: 3, on: { no_answer: { after: 2h } } }
"#;

pub struct Scene {
    pub desk: Desk,
    pub folder: tempfile::TempDir,
    pub store: PostgresStore,
}

/// Reads a configuration from text.
pub fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outdial.yaml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { paths: vec![file], environment: Vec::new(), state_dir: None };
    outdial::config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

impl Scene {
    pub async fn new(pool: PgPool) -> Self {
        Self::with_provider(pool, "http://127.0.0.1:1/api").await
    }

    pub async fn with_provider(pool: PgPool, base_url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Ids of attempts contain it.
        sqlx::query("update installation set number = 7").execute(&pool).await.unwrap();
        let now: Timestamp = NOW.parse().unwrap();
        let config = config(&CONFIG.replace("BASE_URL", &format!("{base_url:?}")));
        let store = PostgresStore::open(pool.clone()).await.unwrap();
        let clock = ScaledClock::starting_at(now, 1).unwrap();
        Self { desk: Desk { config, pool, clock, now }, folder: tempfile::tempdir().unwrap(), store }
    }

    /// A campaign that dials a list of three leads, two in Berlin and one in New York, all enrolled.
    pub async fn with_campaign(pool: PgPool) -> Self {
        let scene = Self::new(pool).await;
        let leads = scene.file(
            "leads.csv",
            "phone,time_zone\n+49 30 1234501,Europe/Berlin\n+49 30 1234502,Europe/Berlin\n+1 212 555 0103,America/New_York\n",
        );
        scene.ask(&["leads", "import", &leads, "--list", "spring"]).await;
        let campaign = scene.file("campaign.yaml", CAMPAIGN);
        scene.ask(&["campaign", "apply", &campaign]).await;
        scene.enrol().await;
        scene
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// What a daemon does about leads, at the scene's instant.
    pub async fn enrol(&self) {
        let engine = wire::engine(&self.desk.config, self.store.clone(), self.desk.clock).ok().unwrap();
        engine.refresh_view().await.unwrap();
        engine.turn_campaigns().await.unwrap();
        engine.enrol().await.unwrap();
        // The engine's clock runs on from the scene's instant.
        let late = self.desk.now - SignedDuration::from_mins(30);
        sqlx::query("update due set due_at = $1").bind(late.to_sqlx()).execute(&self.desk.pool).await.unwrap();
    }

    /// A daemon that holds the account `main`, and has read its one active assistant.
    pub async fn daemon(&self) {
        sqlx::query(
            "insert into account_lease (account, owner, epoch, expires_at)
             values ('main', '00000000-0000-4000-8000-000000000001', 1, now() + interval '1 hour')",
        )
        .execute(&self.desk.pool)
        .await
        .unwrap();
        sqlx::query(
            "insert into assistant (account, assistant_id, name, active, status, seen_at)
             values ('main', '11', 'Sales', true, 'active', $1), ('main', '12', 'Old', false, 'inactive', $1)",
        )
        .bind(self.desk.now.to_sqlx())
        .execute(&self.desk.pool)
        .await
        .unwrap();
    }

    /// Makes a lead's first attempt open in a state, begun ten minutes ago.
    pub async fn open(&self, lead: i64, state: &str) -> AttemptId {
        let key = AttemptKey { campaign_id: CampaignId(1), lead_id: LeadId(lead), attempt_no: 1 };
        let id = AttemptId::derive(self.store.installation(), key);
        let at = self.desk.now - SignedDuration::from_mins(10);
        for statement in [
            "insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id,
                priority, tries, owner, epoch, state, intent_at, deadline_at, poll_at, reason, absence_from)
             select phone, $1, 'main', campaign_id, lead_id, '11', calling_group_id, priority, tries,
                '00000000-0000-4000-8000-000000000001', 1, $3, $4, $4, $4,
                case when $3 in ('in_doubt', 'held') then 'the answer timed out' end,
                case when $3 = 'in_doubt' then $4 end
             from due where lead_id = $2",
            "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
                intent_at, evidence, sent_at)
             select $1, campaign_id, lead_id, 1, 0, phone, 'main', '11', 1, $4, 'Europe/Berlin 10:00', $4
             from due where lead_id = $2 and $3 <> ''",
            "delete from due where lead_id = $2 and $1 is not null and $3 <> '' and $4::timestamptz is not null",
        ] {
            sqlx::query(statement)
                .bind(id.uuid())
                .bind(lead)
                .bind(state)
                .bind(at.to_sqlx())
                .execute(&self.desk.pool)
                .await
                .unwrap();
        }
        id
    }

    /// What a command says, errors included; the exit code stands below if it is not 0.
    pub async fn ask(&self, words: &[&str]) -> String {
        ask(&self.desk, words).await
    }
}

/// As above, at any desk.
pub async fn ask(desk: &Desk, words: &[&str]) -> String {
    let words = std::iter::once("outdial").chain(words.iter().copied());
    let command = match Cli::try_parse_from(words) {
        Ok(Cli { command: Command::Desk(command), .. }) => command,
        Ok(_) => panic!("a command without a desk"),
        Err(problem) => return problem.to_string(),
    };
    let mut out = Vec::new();
    let outcome = Box::pin(obey(&command, desk, &mut out)).await;
    let mut text = String::from_utf8(out).unwrap();
    let code = match outcome {
        Ok(code) => code,
        Err(Failure::User(problem)) => {
            text.push_str(&format!("outdial: {problem:#}\n"));
            ExitCode::from(2)
        }
        Err(Failure::World(problem)) => {
            text.push_str(&format!("outdial: {problem:#}\n"));
            ExitCode::from(1)
        }
    };
    for line in text.lines() {
        let table = line.starts_with([' ', '─']);
        assert!(!table || line.chars().count() <= 100, "a table is wider than 100 columns: {line}");
    }
    if code != ExitCode::SUCCESS {
        let number = if code == ExitCode::from(2) { 2 } else { 1 };
        text.push_str(&format!("(exit {number})\n"));
    }
    text
}

/// Compares with a snapshot; the folder of the files is left out, as it differs from run to run.
#[macro_export]
macro_rules! looks_like {
    ($scene:expr, $name:literal, $text:expr) => {
        insta::with_settings!({
            snapshot_path => "../snapshots",
            prepend_module_to_snapshot => false,
            filters => vec![(regex_of(&$scene.folder.path().display().to_string()).as_str(), "FOLDER")],
        }, {
            insta::assert_snapshot!($name, $text)
        })
    };
}

/// A text as a pattern that matches nothing else.
pub fn regex_of(text: &str) -> String {
    text.chars()
        .map(|sign| if sign.is_alphanumeric() || sign == '/' { sign.to_string() } else { format!("\\{sign}") })
        .collect()
}

/// An engine with its driver, for tests that really dial.
pub fn engine(desk: &Desk, store: PostgresStore) -> Arc<wire::Engine> {
    wire::engine(&desk.config, store, desk.clock).ok().unwrap()
}
