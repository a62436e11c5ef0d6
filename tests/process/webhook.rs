//! Whatever arrives at the webhook address, and when: the daemon keeps dialing and loses nothing.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::types::Uuid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::judge::{Evidence, misplaced};
use super::support::world::{ACCOUNT, Stage, WEBHOOK_TOKEN, World, dialing_many, eventually};

/// Enough for every attack to happen while calls are placed.
const LEADS: usize = 1_200;
/// How many clients begin to send and never end.
const SLOW_CLIENTS: usize = 100;

struct Sender<'a> {
    http: Client,
    world: &'a World,
}

impl Sender<'_> {
    fn new(world: &World) -> Sender<'_> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Sender { http, world }
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> StatusCode {
        let url = format!("http://{}{path}", self.world.address());
        self.http.post(url).header("content-type", "application/json").body(body).send().await.unwrap().status()
    }

    async fn webhook(&self, body: impl Into<Vec<u8>>) -> StatusCode {
        self.post(&format!("/webhook/{ACCOUNT}/{WEBHOOK_TOKEN}"), body.into()).await
    }

    async fn get(&self, path: &str) -> StatusCode {
        self.http.get(format!("http://{}{path}", self.world.address())).send().await.unwrap().status()
    }
}

async fn ended_calls(world: &World, more_than: i64) {
    eventually("calls end", Duration::from_secs(40), || async {
        let ended: i64 = world.database.value("select count(*) from call_result").await;
        if ended > more_than { Ok(()) } else { Err(format!("{ended} have")) }
    })
    .await;
}

/// Lets the campaign go on to its end and judges it.
async fn judge_the_end(mut world: World) {
    let world_ref = &world;
    eventually("all leads are disposed of", Duration::from_secs(90), || async {
        let sql = "select (select count(*) from due) + (select count(*) from open_attempt)";
        let left: i64 = world_ref.database.value(sql).await;
        if left == 0 { Ok(()) } else { Err(format!("{left} are due or open")) }
    })
    .await;
    world.stop().await;
    Evidence::of(&world).await.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(true).verdict();
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_webhooks_change_nothing() {
    let world = dialing_many(Stage::busy(), LEADS).await;
    let sender = Sender::new(&world);
    ended_calls(&world, 0).await;

    // Begun and never ended: they must not keep anybody else out.
    let mut slow = Vec::new();
    for _ in 0..SLOW_CLIENTS {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        let head = format!(
            "POST /webhook/{ACCOUNT}/{WEBHOOK_TOKEN} HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\n{{\"id\": 480"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }

    let good = json!({"id": 480_001, "status": "completed"}).to_string();
    for path in [
        format!("/webhook/{ACCOUNT}/another-token-for-these"),
        format!("/webhook/{ACCOUNT}/"),
        format!("/webhook/nobody/{WEBHOOK_TOKEN}"),
        format!("/webhook/{ACCOUNT}/{WEBHOOK_TOKEN}/more"),
        "/webhook".to_owned(),
    ] {
        assert_eq!(sender.post(&path, good.clone().into()).await, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(sender.get(&format!("/webhook/{ACCOUNT}/{WEBHOOK_TOKEN}")).await, StatusCode::METHOD_NOT_ALLOWED);
    too_large(&sender).await;

    quarantined(&sender, b"this is not JSON").await;
    quarantined(&sender, b"").await;
    quarantined(&sender, b"[[[[").await;
    quarantined(&sender, &[0, 159, 146, 150, 0]).await;
    quarantined(&sender, "[".repeat(100_000).as_bytes()).await;

    unknown_call_waits(&sender).await;
    sql_is_only_text(&sender).await;
    replayed(&sender).await;
    at_once(&sender, 1_000).await;

    let before = world.simulator.calls().len();
    eventually("the daemon still dials", Duration::from_secs(10), || async {
        if world.simulator.calls().len() > before { Ok(()) } else { Err(format!("{before} calls")) }
    })
    .await;
    for mut stream in slow {
        // Answered with an error after its time, or cut.
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        read.expect("a client that sends nothing is given up").ok();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    judge_the_end(world).await;
}

/// Refused as soon as it is larger than it may be, whatever is still to come.
async fn too_large(sender: &Sender<'_>) {
    let mut stream = TcpStream::connect(sender.world.address()).await.unwrap();
    let head = format!(
        "POST /webhook/{ACCOUNT}/{WEBHOOK_TOKEN} HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n\r\n",
        10 << 20
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // One byte more than `http.body_max` allows by default, and then silence.
    stream.write_all(&vec![b' '; (2 << 20) + 1]).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await;
    read.expect("it is not waited for").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // A client that goes on sending sees the refusal, or that nobody reads on.
    let url = format!("http://{}/webhook/{ACCOUNT}/{WEBHOOK_TOKEN}", sender.world.address());
    if let Ok(answer) = sender.http.post(url).body(vec![b' '; 10 << 20]).send().await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}

/// It is taken, kept as it came, and put aside with the reason.
async fn quarantined(sender: &Sender<'_>, body: &[u8]) {
    assert_eq!(sender.webhook(body).await, StatusCode::OK);
    eventually("it is put aside", Duration::from_secs(10), || async {
        let problem: Option<(Option<String>, bool)> = sqlx::query_as(
            "select i.problem, p.inbox_id is not null from inbox i left join inbox_pending p using (inbox_id)
             where i.body = $1",
        )
        .bind(body)
        .fetch_optional(&sender.world.database.pool)
        .await
        .unwrap();
        match problem {
            Some((Some(problem), false)) if !problem.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// A webhook may be faster than the answer to our request: it waits.
async fn unknown_call_waits(sender: &Sender<'_>) {
    let body = json!({"id": 999_999_999, "customer_phone": "+493012345678", "status": "completed"}).to_string();
    assert_eq!(sender.webhook(body.clone()).await, StatusCode::OK);
    eventually("it was looked at and waits", Duration::from_secs(10), || async {
        let waits: bool = sqlx::query_scalar(
            "select exists (select from inbox i join inbox_pending p using (inbox_id)
             where i.body = $1 and i.problem is null and p.retry_at > i.received_at)",
        )
        .bind(body.as_bytes())
        .fetch_one(&sender.world.database.pool)
        .await
        .unwrap();
        if waits { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
}

/// Statements in every field, of an invented call and on top of a real webhook.
async fn sql_is_only_text(sender: &Sender<'_>) {
    let statement = "'); drop table due; delete from attempt; --\u{0}\\x00";
    let (_, mut real) = real_webhook(sender.world).await;
    let text = |fields: &mut Value| {
        for (name, value) in fields.as_object_mut().unwrap() {
            if name != "id" {
                *value = json!(statement);
            }
        }
    };
    text(&mut real);
    assert_eq!(sender.webhook(real.to_string()).await, StatusCode::OK);
    let invented = json!({"id": statement, "call_id": statement, "customer_phone": statement, "status": statement});
    assert_eq!(sender.webhook(invented.to_string()).await, StatusCode::OK);
    let tables: i64 = sender.world.database.value("select count(*) from attempt where attempt_no = 1").await;
    assert!(tables > 0, "the tables are there");
}

/// A webhook of a call whose attempt has ended.
async fn real_webhook(world: &World) -> (Uuid, Value) {
    let (attempt_id, body): (Uuid, Vec<u8>) = eventually("a webhook was applied", Duration::from_secs(20), || async {
        let row = sqlx::query_as(
            "select p.attempt_id, i.body from inbox i
             join provider_call p on position(convert_to(p.provider_call_id, 'utf8') in i.body) > 0
             join attempt a on a.attempt_id = p.attempt_id
             where i.source = 'webhook' and i.problem is null and a.outcome = 'answered'
             order by i.inbox_id limit 1",
        )
        .fetch_optional(&world.database.pool)
        .await
        .unwrap();
        row.ok_or_else(|| "none".to_owned())
    })
    .await;
    (attempt_id, serde_json::from_slice(&body).unwrap())
}

/// The same event fifty times leaves the result as it was.
async fn replayed(sender: &Sender<'_>) {
    let (attempt_id, body) = real_webhook(sender.world).await;
    let result = || async {
        let row: (String, i64) = sqlx::query_as(
            "select row_to_json(l)::text, (select count(*) from call_result r where r.attempt_id = $1)
             from call_log l where l.attempt_id = $1",
        )
        .bind(attempt_id)
        .fetch_one(&sender.world.database.pool)
        .await
        .unwrap();
        row
    };
    let before = result().await;
    let answers = join_all((0..50).map(|_| sender.webhook(body.to_string()))).await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
    eventually("all fifty were looked at", Duration::from_secs(10), || async {
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from inbox i join inbox_pending p using (inbox_id) where i.body = $1")
                .bind(body.to_string().into_bytes())
                .fetch_one(&sender.world.database.pool)
                .await
                .unwrap();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    assert_eq!(result().await, before);
    assert_eq!(before.1, 1);
}

/// Each is stored or refused; what was answered with 200 is there.
async fn at_once(sender: &Sender<'_>, count: usize) {
    let body = |number: usize| json!({"id": 900_000_000 + number, "status": "completed", "flood": true}).to_string();
    let answers = join_all((0..count).map(|number| sender.webhook(body(number)))).await;
    let stored = answers.iter().filter(|status| **status == StatusCode::OK).count();
    let refused = answers.iter().filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE).count();
    assert_eq!(stored + refused, count, "{answers:?}");
    assert!(stored > count / 2, "{stored} of {count} were taken");
    let kept: i64 = sender
        .world
        .database
        .value("select count(*) from inbox where position('\"flood\":true'::bytea in body) > 0")
        .await;
    assert!(usize::try_from(kept).unwrap() >= stored, "{stored} were answered with 200, {kept} are kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_it_takes_nothing_and_dials_nobody() {
    let world = dialing_many(Stage::busy(), LEADS).await;
    let sender = Sender::new(&world);
    ended_calls(&world, 50).await;
    let (_, body) = real_webhook(&world).await;
    assert_eq!(sender.get("/readyz").await, StatusCode::OK);

    world.database.shut().await;
    let gone = world.clock.now();
    assert_eq!(sender.webhook(body.to_string()).await, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(sender.get("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sender.get("/livez").await, StatusCode::OK, "restarting it would not bring the database back");
    // What is known of pauses and stops is a second old at most when a call leaves; then the call has to arrive.
    let limit = gone + world.clock.real_to_civil(Duration::from_millis(1_500));
    let late: Vec<_> = world.simulator.calls().into_iter().filter(|call| call.accepted_at > limit).collect();
    assert!(late.is_empty(), "{} calls without a database: {late:?}", late.len());
    let calls = world.simulator.calls().len();

    world.database.reopen().await;
    eventually("it dials again", Duration::from_secs(20), || async {
        if world.simulator.calls().len() > calls { Ok(()) } else { Err(format!("{calls} calls")) }
    })
    .await;
    assert_eq!(sender.webhook(body.to_string()).await, StatusCode::OK);
    assert_eq!(sender.get("/readyz").await, StatusCode::OK);
    judge_the_end(world).await;
}
