//! What happens is told to another system: each fact once, signed, sent again until it is taken, and nothing to an address
//! that it must not go to. On a real Postgres, to a receiver on this machine.

#![expect(clippy::unwrap_used, reason = "in a test a failure to set the stage is a failure")]

#[expect(dead_code, reason = "the stage is shared with other tests")]
#[path = "store_postgres/fixture.rs"]
mod fixture;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "support/receiver.rs"]
mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fixture::{MINUTE, World, account, now};
use jiff::{SignedDuration, Timestamp};
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::outgoing::Outgoing;
use outdial::adapter::postgres::backlog::{backlogs, give_up_older, sweep_events};
use outdial::adapter::postgres::connect::MIGRATOR;
use outdial::adapter::postgres::outgoing::{Fate, Told, note_told, take_events};
use outdial::config::{Authorities, WebhookConfig};
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::CampaignId;
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::port::store::{AccountState, CallResult, NextPlace, Settlement, Store, Verdict};
use receiver::{Manner, Receiver, SECRET};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A stage whose campaign 1 tells `crm` what it is told to.
async fn telling(pool: PgPool, notify: Value) -> World {
    let world = World::new(pool).await;
    sqlx::query("update campaign set definition = $1 where campaign_id = 1")
        .bind(json!({"account": "main", "notify": notify}))
        .execute(&world.pool)
        .await
        .unwrap();
    // Intents of the stage are judged on the first version.
    world.run("update campaign set version = 1").await;
    world
}

fn webhook(url: String, allow_private: bool) -> WebhookConfig {
    let (url, secret) = (SecretString::from(url), SecretString::from(SECRET));
    WebhookConfig { url, secret, allow_private, authorities: None }
}

fn post(world: &World, webhooks: &[(&str, &Receiver)]) -> Outgoing {
    let webhooks: BTreeMap<_, _> =
        webhooks.iter().map(|(name, receiver)| ((*name).to_owned(), webhook(receiver.url(), true))).collect();
    Outgoing::start(&world.pool, ScaledClock::identity(), &webhooks).ok().unwrap()
}

/// Facts that wait to be told, of campaign 1.
async fn add_events(world: &World, webhook: &str, count: i32) {
    sqlx::query(
        "insert into outgoing_event (campaign_id, webhook, kind, happened_at)
         select 1, $1, 'campaign_finished', '2026-03-02T09:00:00Z' from generate_series(1, $2)",
    )
    .bind(webhook)
    .bind(count)
    .execute(&world.pool)
    .await
    .unwrap();
}

async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn delivered(world: &World, count: i64) {
    until("events are delivered", Duration::from_secs(20), async || {
        world.count("select count(*) from outgoing_event where delivered_at is not null").await == count
    })
    .await;
}

/// Ends an attempt as answered, and its lead as reached.
fn reached(attempt_id: outdial::domain::id::AttemptId) -> Settlement {
    let extracted: Map<String, Value> = serde_json::from_value(json!({"booked": true, "illness": "flu"})).unwrap();
    Settlement {
        attempt_id,
        outcome: Outcome::Answered,
        ended_at: now() + MINUTE * 2,
        sent_at: Some(now()),
        reason: "the call is over".into(),
        refused: false,
        result: Some(CallResult {
            call_id: None,
            match_basis: None,
            status: "completed".into(),
            answered_by: Some("human".into()),
            duration_seconds: Some(61),
            cost: Some("0.125".into()),
            transcript: Some(json!([{"role": "user", "text": "hello"}])),
            recording_url: None,
            extracted,
            goal_met: None,
        }),
        next: NextPlace::Disposed {
            verdict: Verdict { disposition: Disposition::Reached, reason: "a person was reached".into() },
            attempt_no: 2,
            tries: 1,
        },
        suppress: None,
        inbox: Vec::new(),
    }
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn each_fact_is_told_once_and_signed(pool: PgPool) {
    let notify =
        json!({"webhook": "crm", "send": ["phone", "transcript"], "variables": ["name"], "extracted": ["booked"]});
    let world = telling(pool, notify).await;
    let receiver = Receiver::start(Manner::Status(204)).await;
    let outgoing = post(&world, &[("crm", &receiver)]);

    let attempt = world.dialing(1).await;
    let due = world.due_leads(2, 1).await;
    world.store.settle(&[reached(attempt)]).await.unwrap();
    assert_eq!(world.store.settle(&[reached(attempt)]).await.unwrap(), []);
    let verdict = Verdict { disposition: Disposition::Expired, reason: "too late".into() };
    world.store.dispose(&[(due[0].clone(), verdict)], now()).await.unwrap();
    let mut state = AccountState { account: account(), problem: None, since: now(), next_check_at: None };
    for problem in [None, Some("no balance"), Some("no balance at all"), None] {
        state.problem = problem.map(str::to_owned);
        world.store.save_account_state(&state).await.unwrap();
    }
    let (one, steps) = (CampaignId(1), [CampaignState::Active, CampaignState::Finishing, CampaignState::Finished]);
    for step in steps.windows(2) {
        assert!(world.store.advance_campaign(one, step[0], step[1], now()).await.unwrap());
    }
    delivered(&world, 5).await;
    outgoing.stop().await;

    let got = receiver.got();
    got.iter().for_each(receiver::Got::assert_signed);
    let of = |kind: &str| got.iter().filter(|got| got.kind() == kind).map(receiver::Got::json).collect::<Vec<_>>();
    assert_eq!(got.len(), 5, "{got:#?}");
    assert_eq!(got.iter().map(receiver::Got::id).collect::<BTreeSet<_>>().len(), 5);
    let [finished] = &of("attempt_finished")[..] else { panic!("{got:#?}") };
    assert_eq!(finished["attempt"]["id"], attempt.to_string());
    assert_eq!(finished["attempt"]["outcome"], "answered");
    assert_eq!(finished["attempt"]["transcript"][0]["text"], "hello");
    assert_eq!(finished["attempt"]["extracted"], json!({"booked": true}));
    assert_eq!(
        finished["lead"],
        json!({"id": 1, "external_ref": null, "phone": "+49301000001", "variables": {"name": "Ada"}})
    );
    assert_eq!(finished["happened_at"], (now() + MINUTE * 2).to_string());
    assert_eq!(finished["campaign"], json!({"id": 1, "name": "1"}));
    let verdicts: BTreeSet<_> = of("lead_disposed")
        .iter()
        .map(|body| format!("{} {}", body["lead"]["id"], body["verdict"]["disposition"].as_str().unwrap()))
        .collect();
    assert_eq!(verdicts, BTreeSet::from(["1 reached".to_owned(), "2 expired".to_owned()]));
    assert_eq!(of("account_stopped")[0]["account"]["reason"], "no balance");
    assert_eq!(of("campaign_finished").len(), 1);
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn nothing_is_written_that_nobody_asked_for(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm", "events": ["campaign_finished"]})).await;
    let first = world.dialing(1).await;
    world.store.settle(&[reached(first)]).await.unwrap();
    assert_eq!(world.count("select count(*) from outgoing_event").await, 0);
    // A definition that is no sensible one is not refused here: the daemon says what is wrong with it.
    for notify in [json!(null), json!([]), json!({"webhook": 7}), json!("crm")] {
        sqlx::query("update campaign set definition = $1 where campaign_id = 1")
            .bind(json!({"notify": notify}))
            .execute(&world.pool)
            .await
            .unwrap();
        assert_eq!(world.count("select count(*) from campaign_notice").await, 0, "{notify}");
    }
    world.run("update campaign set version = 1").await;
    let second = world.dialing(2).await;
    world.store.settle(&[reached(second)]).await.unwrap();
    world.run("update campaign set state = 'finished'").await;
    assert_eq!(world.count("select count(*) from outgoing_event").await, 0);
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_is_not_taken_is_sent_again_until_it_is(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    let elsewhere = Receiver::start(Manner::Status(200)).await;
    let receiver = Receiver::start(Manner::Status(500)).await;
    add_events(&world, "crm", 1).await;
    let outgoing = post(&world, &[("crm", &receiver)]);
    let problem = async |words: &str| {
        until(words, Duration::from_secs(20), async || {
            let found: Option<String> =
                sqlx::query_scalar("select problem from outgoing_event").fetch_one(&world.pool).await.unwrap();
            found.is_some_and(|problem| problem.contains(words) && !problem.contains("hidden"))
        })
        .await;
    };
    problem("HTTP 500").await;
    receiver.turn(Manner::Redirect(elsewhere.url()));
    problem("redirects are not followed").await;
    receiver.turn(Manner::Babble);
    delivered(&world, 1).await;
    outgoing.stop().await;
    assert!(elsewhere.got().is_empty(), "a redirect was followed");
    let got = receiver.got();
    assert!(got.len() >= 3);
    assert_eq!(got.iter().map(receiver::Got::id).collect::<BTreeSet<_>>().len(), 1, "one event, one id");
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_receiver_that_hangs_is_left_after_a_while_and_holds_up_no_other(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    let (hanging, good) = (Receiver::start(Manner::Hang).await, Receiver::start(Manner::Status(200)).await);
    add_events(&world, "hanging", 40).await;
    let outgoing = post(&world, &[("hanging", &hanging), ("good", &good)]);
    until("it hangs", Duration::from_secs(10), async || !hanging.got().is_empty()).await;
    add_events(&world, "good", 40).await;
    until("the other has all", Duration::from_secs(8), async || good.got().len() == 40).await;
    assert!(hanging.got().len() <= 16, "too many at once");
    until("it is left", Duration::from_secs(20), async || {
        world.count("select count(*) from outgoing_event where problem = 'it did not answer in time'").await > 0
    })
    .await;
    outgoing.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn nobody_connects_to_an_address_that_is_not_public(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    let receiver = Receiver::start(Manner::Status(200)).await;
    let port = receiver.address.port();
    let urls = [("literal", format!("http://127.0.0.1:{port}/")), ("name", format!("http://localhost:{port}/"))];
    let webhooks = urls.map(|(name, url)| (name.to_owned(), webhook(url, false)));
    for (name, _) in &webhooks {
        add_events(&world, name, 1).await;
    }
    let outgoing = Outgoing::start(&world.pool, ScaledClock::identity(), &BTreeMap::from(webhooks)).ok().unwrap();
    until("both are refused", Duration::from_secs(20), async || {
        world.count("select count(*) from outgoing_event where problem like '%not public%'").await == 2
    })
    .await;
    outgoing.stop().await;
    assert!(receiver.got().is_empty());
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn several_daemons_share_the_work(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    let receiver = Receiver::start(Manner::Status(200)).await;
    add_events(&world, "crm", 100).await;
    let (one, other) = (post(&world, &[("crm", &receiver)]), post(&world, &[("crm", &receiver)]));
    delivered(&world, 100).await;
    one.stop().await;
    other.stop().await;
    let ids: Vec<_> = receiver.got().iter().map(receiver::Got::id).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (100, 100));
}

/// A day that is after anything the database's clock says.
fn day() -> Timestamp {
    "2100-01-01T00:00:00Z".parse().unwrap()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_a_lost_daemon_had_is_taken_over(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    add_events(&world, "crm", 1).await;
    let second = |seconds| day() + SignedDuration::from_secs(seconds);
    let take = async |at: i64| take_events(&world.pool, "crm", 10, second(at), second(at + 30)).await.unwrap();
    assert!(take_events(&world.pool, "other", 10, day(), day()).await.unwrap().is_empty());
    let lost = take(0).await;
    assert_eq!((lost.len(), lost[0].sendings), (1, 1));
    assert!(take(29).await.is_empty(), "it is on its way");
    let again = take(30).await;
    assert_eq!((again[0].event_id, again[0].sendings), (lost[0].event_id, 2));
    // The lost one was only slow. What it says of a failure is old news, of a delivery a fact.
    let told = |sendings, fate| [Told { key: lost[0].key, sendings, fate }];
    let failed = Fate::GivenUp { problem: "down".to_owned() };
    note_told(&world.pool, &told(1, failed.clone()), second(40)).await.unwrap();
    assert_eq!(world.count("select count(*) from outgoing_event where retry_at is not null").await, 1);
    note_told(&world.pool, &told(1, Fate::Delivered), second(41)).await.unwrap();
    note_told(&world.pool, &told(2, failed), second(42)).await.unwrap();
    assert_eq!(world.count("select count(*) from outgoing_event where delivered_at is not null").await, 1);
    assert!(take(100).await.is_empty());
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn old_events_go_and_those_of_nobody_are_given_up(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    add_events(&world, "crm", 3).await;
    add_events(&world, "nobodys", 1).await;
    let start: jiff_sqlx::Timestamp =
        sqlx::query_scalar("select max(created_at) from outgoing_event").fetch_one(&world.pool).await.unwrap();
    let hour = |hours| start.to_jiff() + SignedDuration::from_hours(hours) + SignedDuration::from_secs(1);
    let taken = take_events(&world.pool, "crm", 2, hour(0), hour(1)).await.unwrap();
    let fates = [Fate::Delivered, Fate::GivenUp { problem: "down".to_owned() }];
    let told: Vec<_> =
        taken.iter().zip(fates).map(|(event, fate)| Told { key: event.key, sendings: 1, fate }).collect();
    note_told(&world.pool, &told, hour(0)).await.unwrap();
    let ours = ["crm".to_owned()];
    let sweep = async |hours| sweep_events(&world.pool, &ours, hour(hours)).await.unwrap();
    assert_eq!(sweep(47).await, 0);
    assert_eq!(sweep(49).await, 1, "no configuration has it");
    assert_eq!(world.count("select count(*) from outgoing_event").await, 4);
    sweep(24 * 8).await;
    assert_eq!(world.count("select count(*) from outgoing_event where delivered_at is not null").await, 0);
    assert_eq!(world.count("select count(*) from outgoing_event").await, 3, "those that were given up stay longer");
    sweep(24 * 31).await;
    assert_eq!(world.count("select count(*) from outgoing_event").await, 1, "one still waits");
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_waits_for_a_receiver_that_is_gone_does_not_grow_for_ever(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    let now: jiff_sqlx::Timestamp =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&world.pool).await.unwrap();
    let now = now.to_jiff();
    let day_ago = now - SignedDuration::from_hours(24);
    for (webhook, count) in [("crm", 3), ("other", 1)] {
        add_events(&world, webhook, count).await;
    }
    world
        .run(
            "update outgoing_event set created_at = created_at - interval '25 hours',
                retry_at = retry_at - case when outgoing_event_id = 1 then interval '1 hour' else interval '25 hours' end",
        )
        .await;
    add_events(&world, "crm", 1).await;
    assert_eq!(give_up_older(&world.pool, "crm", day_ago, now, "down").await.unwrap(), 2);
    let found = backlogs(&world.pool, &["crm".to_owned(), "idle".to_owned()]).await.unwrap();
    let [crm, idle] = &found[..] else { panic!("{found:?}") };
    assert_eq!((crm.campaigns, crm.waiting, crm.given_up, crm.problem.as_deref()), (1, 2, 2, Some("down")));
    assert!(crm.oldest_at.is_some_and(|oldest_at| oldest_at < day_ago), "one is on its way to be sent again: {crm:?}");
    assert_eq!((idle.campaigns, idle.waiting, idle.given_up, idle.oldest_at), (0, 0, 0, None));
    // One that campaigns name is found without the configuration, too, as long as they go on.
    assert_eq!(backlogs(&world.pool, &[]).await.unwrap().len(), 1);
    world.run("update campaign set state = 'finished'").await;
    assert!(backlogs(&world.pool, &[]).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn an_attempt_that_is_written_down_ended_is_told_too(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    world
        .run(
            "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
                intent_at, evidence, ended_at, outcome)
             select md5(n::text)::uuid, 1, n, 1, 0, '+4930100000' || n, 'main', '1', 1, now(), 'x',
                case when n = 1 then now() end, case when n = 1 then 'unknown' end
             from generate_series(1, 2) n",
        )
        .await;
    assert_eq!(world.count("select count(*) from outgoing_event where lead_id = 1").await, 1);
    assert_eq!(world.count("select count(*) from outgoing_event").await, 1);
}

/// A receiver with a certificate of a private authority.
async fn private_receiver() -> std::net::SocketAddr {
    use rustls::pki_types::pem::PemObject;
    let certificate =
        rustls::pki_types::CertificateDer::from_pem_slice(include_bytes!("fixtures/tls/server.pem")).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/tls/server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us goes away during the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 8192];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_certificate_is_believed_only_with_its_authority(pool: PgPool) {
    let world = telling(pool, json!({"webhook": "crm"})).await;
    let url = format!("https://{}/", private_receiver().await);
    let strict = webhook(url.clone(), true);
    let authorities = reqwest::Certificate::from_pem_bundle(include_bytes!("fixtures/tls/authority.pem")).unwrap();
    let authorities = Authorities { certificates: authorities, fingerprint: "sha256:00000000".to_owned() };
    let trusting = WebhookConfig { authorities: Some(authorities), ..webhook(url, true) };
    add_events(&world, "strict", 1).await;
    add_events(&world, "trusting", 1).await;
    let webhooks = BTreeMap::from([("strict".to_owned(), strict), ("trusting".to_owned(), trusting)]);
    let outgoing = Outgoing::start(&world.pool, ScaledClock::identity(), &webhooks).ok().unwrap();
    delivered(&world, 1).await;
    until("the certificate is refused", Duration::from_secs(20), async || {
        let refused = "select count(*) from outgoing_event
            where webhook = 'strict' and problem like '%certificate%' and delivered_at is null";
        world.count(refused).await == 1
    })
    .await;
    outgoing.stop().await;
}
