//! What a user's own SQL orders is in effect within one real second.
//!
//! Civil time runs as fast as real time here, on a Monday at noon; every instant below is the provider's own.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::simulator::{CallRecord, SimulatorOptions, Span, Timing};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::support::world::{Lead, Stage, World, eventually};

/// The promise.
const WITHIN: SignedDuration = SignedDuration::from_secs(1);
/// How long calls are watched for after the promise must hold.
const WATCHED: Duration = Duration::from_millis(1_500);
/// A start every fiftieth of a second: a queue of waiting starts is always there.
const CALLS_PER_SECOND: u32 = 50;

fn definition() -> Value {
    json!({
        "account": "main",
        "lead_lists": ["people"],
        "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": "09:00-18:00"}},
    })
}

/// A daemon that dials `count` leads, calls of half a second; returns while it dials.
async fn dialing(count: usize) -> World {
    let timing = Timing {
        setup: Span::milliseconds(20, 50),
        ring: Span::milliseconds(50, 100),
        ring_out: Span::milliseconds(300, 400),
        talk: Span::milliseconds(200, 400),
        evaluation: Span::milliseconds(10, 30),
        webhook_delay: Span::milliseconds(10, 30),
    };
    let mut assistants = SimulatorOptions::default().assistants;
    for assistant in &mut assistants {
        assistant.send_webhook_only_on_completed = false;
    }
    let mut world = World::set(Stage {
        civil_origin: "2026-01-12T12:00:00Z",
        factor: 1,
        simulator: SimulatorOptions { timing, assistants, ..SimulatorOptions::default() },
        account: json!({
            "limits": {
                "calls_per_second": CALLS_PER_SECOND, "calls_per_minute": 60 * CALLS_PER_SECOND,
                "concurrent_calls": 1_000, "calls_per_day": 100_000, "requests_per_minute": 20_000,
            },
            "settle_after": "1s",
        }),
        person: json!({"calls_per_day": null, "min_gap_between_campaigns": "0s"}),
        daemon: json!({}),
    })
    .await;
    world.add_leads("people", &leads(0..count)).await;
    world.add_campaign("calls", &definition()).await;
    world.start().await;
    if count > 0 {
        dials(&world).await;
    } else {
        daemon_is_ready(&world).await;
    }
    world
}

fn leads(numbers: std::ops::Range<usize>) -> Vec<Lead> {
    numbers.map(|number| Lead { phone: phone(number), time_zone: Some("Europe/London"), priority: 5 }).collect()
}

fn phone(number: usize) -> String {
    format!("+4930557{number:05}")
}

/// Waits until a call is accepted that was not there before.
async fn dials(world: &World) -> CallRecord {
    let before = world.simulator.calls().len();
    eventually("a new call", Duration::from_secs(20), || async {
        world.simulator.calls().get(before).cloned().ok_or_else(|| format!("{before} calls"))
    })
    .await
}

async fn daemon_is_ready(world: &World) {
    eventually("the daemon holds the lease and knows assistants and lists", Duration::from_secs(20), || async {
        let sql = "select exists (select from account_lease) and exists (select from assistant)
            and exists (select from campaign_list where walked)";
        if world.database.value(sql).await { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
}

/// Between which instants an order was committed.
#[derive(Clone, Copy)]
struct Order {
    after: Timestamp,
    before: Timestamp,
}

/// Takes the time of what a user does.
async fn timed(world: &World, order: impl Future<Output = ()>) -> Order {
    let after = world.clock.now();
    order.await;
    Order { after, before: world.clock.now() }
}

/// Runs a user's statement.
async fn committed(world: &World, sql: &str) -> Order {
    timed(world, world.database.execute(sql)).await
}

/// Nobody of `whom` is called later than a second after `order`, and somebody was called before it.
async fn assert_quiet(world: &World, order: Order, whom: impl Fn(&CallRecord) -> bool) {
    tokio::time::sleep(Duration::try_from(WITHIN).unwrap() + WATCHED).await;
    let calls = world.simulator.calls();
    assert!(calls.iter().any(|call| call.accepted_at < order.after), "calls were placed before the order");
    let late: Vec<_> = calls
        .iter()
        .filter(|call| call.accepted_at > order.before + WITHIN && whom(call))
        .map(|call| (call.call_id, call.accepted_at.duration_since(order.before)))
        .collect();
    assert!(late.is_empty(), "{} calls later than a second after the order: {late:?}", late.len());
}

/// Somebody of `whom` is called within a second after `order`.
async fn assert_called(world: &World, order: Order, whom: impl Fn(&CallRecord) -> bool) {
    let called = eventually("the call that was ordered", Duration::from_secs(20), || async {
        let calls = world.simulator.calls().into_iter();
        let mut wanted = calls.filter(|call| call.accepted_at > order.after && whom(call));
        wanted.next().ok_or_else(|| "not called".to_owned())
    })
    .await;
    let after = called.accepted_at.duration_since(order.before);
    assert!(after <= WITHIN, "called {after:#} after the order");
}

/// Nothing went wrong that a person would have to look at.
async fn ended_well(world: World) {
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inserted_lead_is_called_within_a_second() {
    let world = dialing(0).await;
    for number in 0..5 {
        let order = timed(&world, world.add_leads("people", &leads(number..number + 1))).await;
        assert_called(&world, order, |call| call.phone == phone(number)).await;
    }
    ended_well(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_that_commit_in_reverse_order_of_their_ids_are_all_called() {
    let world = dialing(0).await;
    let insert = |phone: String| {
        AssertSqlSafe(format!(
            "insert into lead (lead_list_id, phone) select lead_list_id, '{phone}' from lead_list returning lead_id"
        ))
    };
    let mut early = PgConnection::connect(&world.database.url).await.unwrap();
    let mut open = early.begin().await.unwrap();
    let lower: i64 = sqlx::query_scalar(insert(phone(1))).fetch_one(&mut *open).await.unwrap();
    let mut higher = 0;
    let second = async { higher = sqlx::query_scalar(insert(phone(2))).fetch_one(&world.database.pool).await.unwrap() };
    let order = timed(&world, second).await;
    assert!(lower < higher, "{lower} {higher}");
    assert_called(&world, order, |call| call.phone == phone(2)).await;
    let order = timed(&world, async { open.commit().await.unwrap() }).await;
    assert_called(&world, order, |call| call.phone == phone(1)).await;
    early.close().await.unwrap();
    ended_well(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_window_closes_and_opens_within_a_second() {
    let world = dialing(1_000).await;
    let edit = |windows: &str| {
        format!("update campaign set definition = jsonb_set(definition, '{{schedule,windows}}', '{windows}')")
    };
    // It is noon on a Monday.
    let order = committed(&world, &edit(r#"{"mon-sun": "13:30-18:00"}"#)).await;
    assert_quiet(&world, order, |_| true).await;
    let order = committed(&world, &edit(r#"{"mon": "11:00-12:30"}"#)).await;
    assert_called(&world, order, |_| true).await;
    let order = committed(&world, &edit(r#"{"tue-sun": "09:00-18:00"}"#)).await;
    assert_quiet(&world, order, |_| true).await;
    ended_well(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_campaign_is_quiet_within_a_second() {
    let world = dialing(1_000).await;
    let order = committed(&world, "update campaign set state = 'paused'").await;
    assert_quiet(&world, order, |_| true).await;
    let order = committed(&world, "update campaign set state = 'active'").await;
    assert_called(&world, order, |_| true).await;
    ended_well(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_stop_stops_everything_within_a_second() {
    let world = dialing(1_000).await;
    for account in ["null", "'main'"] {
        let sql = format!("insert into stop_order (account, reason) values ({account}, 'a test')");
        let order = committed(&world, &sql).await;
        assert_quiet(&world, order, |_| true).await;
        let order = committed(&world, "delete from stop_order").await;
        assert_called(&world, order, |_| true).await;
    }
    ended_well(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suppressed_number_is_not_called_a_second_later() {
    let world = dialing(500).await;
    // In the midst of dialing, so that some of these are claimed and not yet sent, and again while others are.
    let mut suppressed = BTreeSet::new();
    let mut orders = Vec::new();
    for part in 0..4 {
        let sql = format!(
            "insert into suppression (phone, reason)
             select phone, 'a test' from due where lead_id % 8 = {part} on conflict do nothing returning phone"
        );
        let mut phones: Vec<String> = Vec::new();
        let suppress = async {
            phones = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&world.database.pool).await.unwrap();
        };
        let order = timed(&world, suppress).await;
        assert!(phones.len() > 10, "part {part} still waits: {}", phones.len());
        orders.push((order, phones.clone()));
        suppressed.extend(phones);
        dials(&world).await;
    }
    for (order, phones) in orders {
        assert_quiet(&world, order, |call| phones.contains(&call.phone)).await;
    }
    // Those that no call was on its way to are disposed of as their turn comes.
    let world_ref = &world;
    eventually("all leads had their turn", Duration::from_secs(40), || async {
        let sql = "select (select count(*) from due) + (select count(*) from open_attempt)";
        let left: i64 = world_ref.database.value(sql).await;
        if left == 0 { Ok(()) } else { Err(format!("{left} are due or open")) }
    })
    .await;
    let called: BTreeSet<String> = world.simulator.calls().into_iter().map(|call| call.phone).collect();
    let disposed: Vec<String> = sqlx::query_scalar(
        "select e.phone from disposition d join enrolment e using (campaign_id, lead_id)
         where d.disposition = 'suppressed'",
    )
    .fetch_all(&world.database.pool)
    .await
    .unwrap();
    let disposed: BTreeSet<String> = disposed.into_iter().collect();
    let forgotten: Vec<_> = suppressed.iter().filter(|it| !called.contains(*it) && !disposed.contains(*it)).collect();
    assert_eq!(forgotten, Vec::<&String>::new(), "neither called before nor disposed of");
    assert!(disposed.len() > 20, "{} were suppressed", disposed.len());
    ended_well(world).await;
}
