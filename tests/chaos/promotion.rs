//! The database is lost and its standby becomes the primary, with everything that was committed or without the last of it.

use std::collections::BTreeMap;
use std::time::Duration;

use outdial::adapter::simulator::{Shape, SimulatorOptions};
use serde_json::json;

use super::fleet::{Accounts, Fleet, REPLICAS};
use super::proxy::{Link, Mode};
use super::servers::Server;
use crate::support::audited::violations;
use crate::support::judge::{Evidence, misplaced};
use crate::support::world::{ACCOUNT, Lead, Stage, eventually, merge};

const ACCOUNTS: Accounts = &[(ACCOUNT, Shape::Famulor), ("sondos", Shape::Sondos)];
const LEADS: usize = 1_500;
const PATIENCE: Duration = Duration::from_secs(90);

fn stage() -> Stage {
    let mut stage = Stage { factor: 60, ..Stage::busy() };
    let limits = json!({"calls_per_second": 1, "calls_per_minute": 12, "requests_per_minute": 120});
    merge(&mut stage.account, json!({"limits": limits, "list_lag_max": "1m", "settle_after": "10m"}));
    merge(&mut stage.daemon, json!({"lease_ttl": "2s", "zombie_horizon": "6s"}));
    stage.simulator.mix.refused_numbers = 0.0;
    stage
}

/// Three replicas that dial each lead once, and a standby that follows their database through a link.
async fn dialing() -> (Fleet, Server, Link) {
    let provider = |shape| SimulatorOptions { shape, ..stage().simulator };
    let fleet = Fleet::set(stage(), ACCOUNTS, provider).await;
    for (number, (account, _)) in ACCOUNTS.iter().enumerate() {
        let lead = |index| Lead {
            phone: format!("+49305580{number}{index:05}"),
            time_zone: Some("Europe/London"),
            priority: 5,
        };
        let definition = json!({
            "account": account, "lead_lists": [account],
            "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": "09:00-20:00"}},
        });
        fleet.add_campaign(account, &(0..LEADS).map(lead).collect::<Vec<_>>(), &definition).await;
    }
    let replication = Link::to(vec![fleet.server.target()]).await;
    let standby = Server::following(&fleet.server, &replication).await;
    (fleet, standby, replication)
}

/// The primary quits at once, the standby is promoted, and every replica is led to it.
async fn promote(fleet: &mut Fleet, standby: Server) {
    fleet.server.crash().await;
    standby.promote().await;
    for link in &fleet.database {
        link.turn_to(vec![standby.target()]);
        link.cut();
    }
    fleet.world.database.pool = standby.pool();
    fleet.server = standby;
}

/// No phone has more than one call: every lead is dialed once, whatever was lost.
#[track_caller]
fn each_phone_rang_once(fleet: &Fleet) {
    for (account, _, simulator) in fleet.simulators() {
        let mut rung: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for call in simulator.calls() {
            rung.entry(call.phone).or_default().push(call.call_id);
        }
        let twice: Vec<_> = rung.iter().filter(|(_, calls)| calls.len() > 1).collect();
        assert!(twice.is_empty(), "{account}: {} phones rang again, among them {:?}", twice.len(), twice.first());
    }
}

async fn dials_on(fleet: &Fleet) {
    let before = fleet.calls();
    fleet.calls_reach(before + 40, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_takes_over_and_nothing_is_lost() {
    let (mut fleet, standby, _replication) = dialing().await;
    for sql in ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"] {
        fleet.server.administer(sql).await;
    }
    let server = &fleet.server;
    eventually("commits wait for the standby", PATIENCE, || async {
        let waits = server.value("select count(*) from pg_stat_replication where sync_state = 'sync'").await;
        if waits == 1 { Ok(()) } else { Err("they do not".to_owned()) }
    })
    .await;
    fleet.start_all().await;
    fleet.calls_reach(150, PATIENCE).await;
    promote(&mut fleet, standby).await;
    dials_on(&fleet).await;
    fleet.settle(PATIENCE * 2).await;
    for replica in REPLICAS {
        fleet.stop(replica).await;
    }
    each_phone_rang_once(&fleet);
    for (account, _) in ACCOUNTS {
        let mut evidence = Evidence::of_account(&fleet.world, account).await;
        evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    }
    assert_eq!(misplaced(&fleet.world).await, Vec::<String>::new());
    assert_eq!(violations(&fleet.world).await, []);
    assert_eq!(fleet.world.alarms(), Vec::<String>::new());
    fleet.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_a_promotion_loses_ring_nobody_twice() {
    let (mut fleet, standby, replication) = dialing().await;
    fleet.start_all().await;
    fleet.calls_reach(100, PATIENCE).await;
    // From here on the standby hears nothing, and nobody waits for it.
    replication.set(Mode::BlackHole);
    let heard = standby.value("select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint").await;
    let before = fleet.calls();
    fleet.calls_reach(before + 100, PATIENCE).await;
    let written = fleet.server.value("select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint").await;
    assert!(written > heard, "the primary has committed what the standby has not");
    let committed: i64 = fleet.world.database.value("select count(*) from attempt").await;
    promote(&mut fleet, standby).await;
    let kept: i64 = fleet.world.database.value("select count(*) from attempt").await;
    println!("{} committed intents are missing after the promotion", committed - kept);
    assert!(kept + 40 < committed, "{kept} of {committed} intents are still there: nothing was lost");
    dials_on(&fleet).await;
    fleet.settle(PATIENCE * 2).await;
    for replica in REPLICAS {
        fleet.stop(replica).await;
    }
    each_phone_rang_once(&fleet);
    for (account, _) in ACCOUNTS {
        let mut evidence = Evidence::of_account(&fleet.world, account).await;
        // What the lost calls came to is in the provider's list, so it is known again.
        evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    }
    assert_eq!(misplaced(&fleet.world).await, Vec::<String>::new());
    assert_eq!(violations(&fleet.world).await, []);
    let told = |words| !fleet.world.warnings(words).is_empty();
    assert!(told("calls were compared with the attempts"), "no daemon says that the database went back in time");
    assert!(told("was missing in the database and is restored"), "no daemon says what it has restored");
    assert_eq!(fleet.world.alarms(), Vec::<String>::new());
    fleet.strike().await;
}
