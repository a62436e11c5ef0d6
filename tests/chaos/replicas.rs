//! What three replicas do for each other while the providers are well: one goes, another dials on.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use outdial::adapter::simulator::{CallRecord, Shape, SimulatorOptions};
use serde_json::{Value, json};

use super::fleet::{Accounts, Fleet, REPLICAS};
use super::proxy::{Mode, Way};
use crate::support::audited::violations;
use crate::support::judge::{Evidence, Limits, Windows, misplaced};
use crate::support::world::{ACCOUNT, Lead, Stage, eventually, merge};

const ACCOUNTS: Accounts = &[(ACCOUNT, Shape::Famulor), ("sondos", Shape::Sondos)];
/// Civil seconds in a real one: twenty calls start in each, of each account.
const FACTOR: u32 = 60;
const LIMITS: Limits = Limits { per_minute: 20, per_second: 1, lines: 500 };
const LEADS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// How late a machine with more to do than it can may be.
const BUSY: Duration = Duration::from_secs(2);

fn stage(daemon: Value) -> Stage {
    let mut stage = Stage { factor: FACTOR, ..Stage::busy() };
    let limits = json!({
        "calls_per_second": LIMITS.per_second, "calls_per_minute": LIMITS.per_minute,
        "concurrent_calls": LIMITS.lines, "requests_per_minute": LIMITS.per_minute * 10,
    });
    merge(&mut stage.account, json!({"limits": limits, "list_lag_max": "1m", "settle_after": "10m"}));
    // Longer than any process is stopped here.
    merge(&mut stage.daemon, json!({"zombie_horizon": "25s"}));
    merge(&mut stage.daemon, daemon);
    stage.simulator.mix.refused_numbers = 0.0;
    stage
}

/// Three replicas that dial, each lead once, anybody at any time of this stage.
async fn dialing(daemon: Value) -> Fleet {
    let provider = |shape| SimulatorOptions { shape, ..stage(json!({})).simulator };
    let mut fleet = Fleet::set(stage(daemon), ACCOUNTS, provider).await;
    for (number, (account, _)) in ACCOUNTS.iter().enumerate() {
        let lead = |index| Lead {
            phone: format!("+49305570{number}{index:05}"),
            time_zone: Some("Europe/London"),
            priority: 5,
        };
        let definition = json!({
            "account": account, "lead_lists": [account],
            "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": "09:00-20:00"}},
        });
        fleet.add_campaign(account, &(0..LEADS).map(lead).collect::<Vec<_>>(), &definition).await;
    }
    fleet.start_all().await;
    fleet.calls_reach(60, PATIENCE).await;
    fleet
}

/// Nobody was rung twice, late or at a wrong time, nothing is lost, all replicas end well.
async fn judge(mut fleet: Fleet) {
    fleet.settle(PATIENCE * 2).await;
    for replica in REPLICAS {
        fleet.stop(replica).await;
    }
    let windows =
        Windows { days: vec![jiff::civil::Weekday::Monday], minutes: vec![(540, 1200)], default_zone: "Europe/London" };
    for (account, _) in ACCOUNTS {
        let mut evidence = Evidence::of_account(&fleet.world, account).await;
        let windows = [(*account, windows.clone())].into();
        evidence
            .nobody_twice()
            .each_call_has_its_attempt()
            .each_call_has_its_result(false)
            .nobody_at_a_wrong_time(&windows)
            .within(&LIMITS, None)
            .verdict();
    }
    assert_eq!(misplaced(&fleet.world).await, Vec::<String>::new());
    assert_eq!(violations(&fleet.world).await, []);
    assert_eq!(fleet.world.alarms(), Vec::<String>::new());
    fleet.strike().await;
}

/// The longest real time without a call between two moments, of one account.
fn longest_gap(calls: &[CallRecord], since: Timestamp, until: Timestamp) -> Duration {
    let mut moments: Vec<Timestamp> = calls.iter().map(|call| call.accepted_at).collect();
    moments.retain(|at| since <= *at && *at <= until);
    moments.extend([since, until]);
    moments.sort_unstable();
    let longest = moments.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().expect("two moments");
    longest.unsigned_abs() / FACTOR
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_dials_on() {
    const LEASE: Duration = Duration::from_secs(2);
    let mut fleet = dialing(json!({"lease_ttl": "2s"})).await;
    let since = fleet.world.clock.now();
    let mut busy = Duration::ZERO;
    for replica in REPLICAS {
        // Asserts that it exits with 0.
        fleet.stop(replica).await;
        let started = Instant::now();
        fleet.start(replica).await;
        busy = busy.max(started.elapsed());
    }
    tokio::time::sleep(LEASE).await;
    let until = fleet.world.clock.now();
    let doubtful: i64 = fleet.world.database.value("select count(*) from open_attempt where state = 'in_doubt'").await;
    assert_eq!(doubtful, 0, "a restart leaves nothing in doubt");
    for (account, _, simulator) in fleet.simulators() {
        let gap = longest_gap(&simulator.calls(), since, until);
        println!("{account}: {gap:?} without a call at most; a start took {busy:?}");
        // Leases are given up at the end of a drain, and looked for every quarter of their time. A machine on which a
        // process takes seconds to start takes as long for everything else: for a drain, and for whoever takes over, who
        // reads the assistants and waits for the answer to its first call.
        let bound = Duration::from_secs(1) + LEASE / 4 + busy * 4;
        assert!(gap < bound, "{account}: nothing started for {gap:?}, more than {bound:?}");
    }
    judge(fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_is_replaced_within_ten_seconds() {
    // With the lease that is the default.
    let mut fleet = dialing(json!({})).await;
    let dialer = fleet.dialer_of(ACCOUNT).expect("somebody dials");
    fleet.kill(dialer).await;
    let (killed, since) = (Instant::now(), fleet.world.clock.now());
    let fleet_ref = &fleet;
    eventually("another replica dials", Duration::from_secs(10), || async {
        let calls = fleet_ref.world.simulator.calls();
        // What the dead one had sent arrives within a moment.
        let later = calls.iter().any(|call| call.accepted_at.duration_since(since).unsigned_abs() / FACTOR > BUSY / 4);
        let newest = calls.last().is_some_and(|call| call.accepted_at > since);
        if later && newest && takeover(fleet_ref, dialer) { Ok(()) } else { Err("nobody does".to_owned()) }
    })
    .await;
    println!("taken over after {:?}", killed.elapsed());
    fleet.start(dialer).await;
    judge(fleet).await;
}

fn takeover(fleet: &Fleet, from: usize) -> bool {
    fleet.dialer_of(ACCOUNT).is_some_and(|dialer| dialer != from)
}

/// Connections on which nothing is ever answered again, and nobody says so: what was under way is given up, the pools are
/// filled anew, and a stop does not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_given_up() {
    let fleet = dialing(json!({"lease_ttl": "2s"})).await;
    for silence in [Mode::HalfOpen(Way::Back), Mode::BlackHole] {
        for link in &fleet.database {
            link.set(silence);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for link in &fleet.database {
            link.set(Mode::Open);
        }
        let before = fleet.calls();
        fleet.calls_reach(before + 40, PATIENCE).await;
    }
    judge(fleet).await;
}

/// A stop that outlasts the lease: when the process goes on, its permits are void and another one dials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_replica_lets_its_permits_go() {
    let (lasts, lease) = match std::env::var_os("OUTDIAL_CHAOS_MINUTES") {
        Some(_) => (60, 6),
        None => (12, 2),
    };
    let lasts = Duration::from_secs(lasts);
    // A lost process counts as gone only after the stop: what it had sent already must not look absent.
    let horizon = format!("{}s", lasts.as_secs() + 5);
    let fleet = dialing(json!({"lease_ttl": format!("{lease}s"), "zombie_horizon": horizon})).await;
    let (dialer, permitted) = stop_with_permits(&fleet).await;
    println!("replica {dialer} is stopped with {} requests that have not left", permitted.len());
    let before = fleet.calls();
    tokio::time::sleep(lasts - BUSY).await;
    assert!(takeover(&fleet, dialer), "another replica dials");
    assert!(fleet.calls() > before + 20, "and calls are placed");
    tokio::time::sleep(BUSY).await;
    fleet.world.replica(dialer).signal(Signal::SIGCONT);
    tokio::time::sleep(BUSY).await;
    let rung = fleet.world.simulator.calls();
    let late: Vec<_> = rung.iter().filter(|call| permitted.contains(&call.phone)).collect();
    assert!(late.is_empty(), "sent with permits that were void: {late:#?}");
    judge(fleet).await;
}

/// Stops the replica that dials, at a moment at which it has intents whose requests have not arrived.
async fn stop_with_permits(fleet: &Fleet) -> (usize, Vec<String>) {
    for _ in 0..200 {
        let dialer = fleet.dialer_of(ACCOUNT).expect("somebody dials");
        fleet.world.replica(dialer).signal(Signal::SIGSTOP);
        // What it had sent arrives meanwhile.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let sql = format!("select phone from open_attempt where account = '{ACCOUNT}' and state = 'dialing'");
        let mut waiting: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&fleet.world.database.pool).await.unwrap();
        let rung = fleet.world.simulator.calls();
        waiting.retain(|phone| rung.iter().all(|call| call.phone != *phone));
        if !waiting.is_empty() {
            return (dialer, waiting);
        }
        fleet.world.replica(dialer).signal(Signal::SIGCONT);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never has intents whose requests have not left");
}
