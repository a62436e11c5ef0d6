//! `check` against the provider simulator, and a test call through a running engine.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::postgres::PostgresStore;
use outdial::adapter::simulator::{Fate, OutcomeMix, Simulator, SimulatorOptions};
use outdial::cli::check::check;
use outdial::cli::desk::Desk;
use outdial::cli::wire::Driver;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::scene::{self, CONFIG, NOW, Scene, regex_of};
use crate::looks_like;

async fn checked(scene: &Scene, config: &str, base_url: &str, show: bool) -> String {
    let url = scene.desk.pool.connect_options().to_url_lossy();
    let text =
        config.replace("BASE_URL", &format!("{base_url:?}")).replace("postgres://localhost/unused", url.as_str());
    let config = scene::config(&text);
    let mut out = Vec::new();
    let code = check(&config, show, &mut out).await.ok().unwrap();
    let text = String::from_utf8(out).unwrap();
    let number = [0, 1, 2].into_iter().find(|number| code == ExitCode::from(*number)).unwrap();
    // What depends on the server that the tests run on.
    let of_server = ["  database:", "  server: PostgreSQL", "  warning: fsync", "  warning: full_page_writes"];
    let kept = text.lines().filter(|line| !of_server.iter().any(|start| line.starts_with(start)));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    format!("{}(exit {number})\n", kept.replace(base_url, "BASE_URL"))
}

#[sqlx::test]
async fn check_looks_at_everything_before_it_ends(pool: PgPool) {
    let simulator = Simulator::start(SimulatorOptions::default()).await.ok().unwrap();
    let scene = Scene::with_provider(pool, &simulator.base_url).await;
    let one =
        CONFIG.split("  spare:").next().unwrap().to_owned() + "http: { public_url: \"https://dial.example.org\" }\n";
    let mut said = checked(&scene, &one, &simulator.base_url, true).await;
    // The second account does not answer, and the first one's key is wrong.
    said += "\n=====\n";
    said += &checked(&scene, &CONFIG.replace("simulated-key", "wrong-key"), &simulator.base_url, false).await;
    simulator.shutdown().await;
    looks_like!(scene, "cli_check", said);
}

const ONE_ACCOUNT: &str = r#"
database: { url: "postgres://localhost/unused" }
accounts:
  main:
    provider: PROVIDER
    base_url: BASE_URL
    api_key: simulated-key
    webhook_token: a-webhook-token-of-main
    limits: { concurrent_calls: 2 }
    list_lag_max: 2m
http: { public_url: "https://dial.example.org" }
"#;

/// What `check` says of an account and of what follows.
fn account_of(said: &str) -> String {
    said.split_once("\nAccount ").map(|(_, account)| format!("Account {account}")).unwrap()
}

async fn serve(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET")).and(path(format!("/api/user/{at}"))).respond_with(answer).mount(server).await;
}

#[sqlx::test]
async fn check_compares_assistants_with_campaigns_and_leads(pool: PgPool) {
    let server = MockServer::start().await;
    let assistant = |id: u32, name: &str, more: Value| {
        let mut entry = json!({
            "id": id, "name": name, "type": "outbound", "status": "active", "mode": "pipeline", "language_id": 1,
            "webhook_url": "https://dial.example.org/webhook/main/a-webhook-token-of-main", "is_webhook_active": true,
            "variables": { "outdial_ref": "" },
        });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let list = json!({ "last_page": 1, "data": [
        assistant(1, "Ready", json!({
            "max_duration": "300", "end_call_on_voicemail": 1, "phone_number_id": 7, "timezone": "Europe/Berlin",
            "system_prompt": "You call for {{company}}.", "initial_message": "Hi {first_name}!",
        })),
        assistant(2, "Asks much", json!({
            "initial_message": "Hello {{ first_name }} of {town}, about {offer}",
            "variables": { "outdial_ref": "", "offer": "a flat rate", "company": "" },
        })),
        assistant(3, "Elsewhere", json!({ "webhook_url": "https://hooks.example.com/x/secret" })),
        assistant(4, "Silent", json!({ "is_webhook_active": 0, "max_duration": 1800, "end_call_on_voicemail": 0 })),
        assistant(5, "Mute", json!({ "webhook_url": null, "variables": [] })),
        assistant(6, "Idle", json!({ "status": "inactive", "variables": [], "initial_message": "{nobody_asks}" })),
    ]});
    serve(&server, "assistants/get", ResponseTemplate::new(200).set_body_json(list)).await;
    serve(&server, "me", ResponseTemplate::new(200).set_body_json(json!({ "total_balance": 12.5 }))).await;
    let scene = Scene::new(pool).await;
    let leads = scene.file(
        "leads.csv",
        "phone,time_zone,first_name,town\n+49 30 1234501,Europe/Berlin,Ann,\n+49 30 1234502,Europe/Berlin,Bo,Köln\n",
    );
    scene.ask(&["leads", "import", &leads, "--list", "spring"]).await;
    let campaign = |name: &str, rest: &str| {
        format!(
            "  - name: {name}\n    account: main\n    lead_lists: [spring]\n    \
             schedule: {{ windows: {{ mon-fri: \"09:00-18:00\" }} }}\n    {rest}\n"
        )
    };
    let campaigns = format!(
        "campaigns:\n{}{}{}",
        campaign("all", "variables: { company: Acme }"),
        campaign("flat-rates", "assistants: { ids: [2] }"),
        campaign("nobody", "assistants: { ids: [6] }")
    );
    let file = scene.file("campaigns.yaml", &campaigns);
    scene.ask(&["campaign", "apply", &file]).await;
    let said =
        checked(&scene, &ONE_ACCOUNT.replace("PROVIDER", "famulor"), &format!("{}/api", server.uri()), true).await;
    looks_like!(scene, "cli_check_assistants", account_of(&said));
}

#[sqlx::test]
async fn check_names_what_is_wrong_in_one_line_each(pool: PgPool) {
    let scene = Scene::new(pool).await;
    let answer = |status| ResponseTemplate::new(status);
    let cases = [
        ("the base URL is the web site's", answer(200).set_body_raw("<!doctype html><p>Log in", "text/html")),
        ("the base URL is an old one", answer(301).insert_header("location", "https://www.example.org/en/?token=1")),
        ("the base URL lacks /api", answer(404).set_body_raw("<h1>Not found</h1>", "text/html")),
        ("the key is wrong", answer(401).set_body_json(json!({ "error": "Invalid API key" }))),
        ("the key may not do this", answer(403).set_body_json(json!({ "message": "This key may not read" }))),
        ("something else answers", answer(200).set_body_string("pong")),
        ("another JSON API answers", answer(200).set_body_json(json!([1, 2]))),
        ("the provider is down", answer(503).set_body_string("try later")),
        ("too many requests", answer(429).set_body_json(json!({ "retry_after": 60 }))),
    ];
    let mut said = String::new();
    for (name, answer) in cases {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        let config = ONE_ACCOUNT.replace("PROVIDER", "sondos");
        let text = account_of(&checked(&scene, &config, &format!("{}/api", server.uri()), false).await);
        let lines =
            text.lines().filter(|line| ["  key:", "  assistants:", "(exit"].iter().any(|it| line.starts_with(it)));
        said += &format!("{name}\n{}\n\n", lines.collect::<Vec<_>>().join("\n"));
    }
    looks_like!(scene, "cli_check_wrong", said);
}

#[sqlx::test]
async fn a_test_call_goes_through_all_gates(pool: PgPool) {
    let origin: Timestamp = NOW.parse().unwrap();
    let clock = ScaledClock::starting_at(origin, 60).unwrap();
    let mix = OutcomeMix::only(Fate::GoalMet);
    let simulator =
        Simulator::start(SimulatorOptions { clock, mix, ..SimulatorOptions::default() }).await.ok().unwrap();
    let Scene { desk, folder, store } = Scene::with_provider(pool, &simulator.base_url).await;
    let desk = Desk { clock, now: clock.now(), ..desk };
    let refused = scene::ask(&desk, &["call", "--to", "+49 30 1234501", "--account", "main"]).await;
    assert!(refused.contains("--zone Europe/Berlin") && refused.contains("(exit 2)"), "{refused}");
    let queued = ["call", "--to", "+49 30 1234501", "--account", "main", "--zone", "Europe/Berlin", "--no-wait"];
    let waiting = scene::ask(&desk, &queued).await;
    assert!(waiting.contains("no daemon dials account main") || waiting.contains("no active assistant"), "{waiting}");
    let engine = scene::engine(&desk, PostgresStore::clone(&store));
    let driver = Driver::start(&engine);
    let words = ["call", "--to", "+49 30 1234502", "--account", "main", "--zone", "Europe/Berlin", "--within", "6h"];
    let said = tokio::time::timeout(Duration::from_secs(60), scene::ask(&desk, &words)).await.unwrap();
    assert!(said.contains("Queued a test call to +49*****02") && said.contains("The call ended"), "{said}");
    assert!(said.contains("answered") && !said.contains("(exit"), "{said}");
    let night = ["call", "--to", "+49 30 1234503", "--account", "main", "--zone", "America/New_York", "--within", "2m"];
    let said = tokio::time::timeout(Duration::from_secs(60), scene::ask(&desk, &night)).await.unwrap();
    assert!(said.contains("did not go out") && said.contains("(exit 1)"), "{said}");
    driver.drain(&engine).await;
    simulator.shutdown().await;
    drop(folder);
}
