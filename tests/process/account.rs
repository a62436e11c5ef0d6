//! What stops an account or an assistant stops the dialing and nothing else: no lead loses a try, and it goes on by itself.

use std::time::Duration;

use outdial::adapter::simulator::{Quirks, SimulatorOptions};
use serde_json::json;

use super::support::judge::{Evidence, misplaced};
use super::support::world::{Stage, World, dialing_many, eventually, merge};

const PATIENCE: Duration = Duration::from_secs(90);
/// The assistants of the simulator's account that are active.
const SALES: [u64; 2] = [123, 125];

/// Sixty calls start in a second, which is a minute here; one try each.
fn stage(account: serde_json::Value) -> Stage {
    let mut stage = Stage { factor: 60, ..Stage::busy() };
    merge(&mut stage.account, json!({"limits": {"calls_per_second": 1, "calls_per_minute": 60}}));
    // A busy machine reads calls seconds after their webhooks, which are minutes here.
    merge(&mut stage.account, json!({"settle_after": "2m"}));
    merge(&mut stage.account, account);
    stage.simulator.mix.refused_numbers = 0.0;
    stage
}

/// Waits until so many calls were placed.
async fn calls(world: &World, count: usize) {
    eventually("the calls are placed", PATIENCE, || async {
        let calls = world.simulator.calls().len();
        if calls >= count { Ok(()) } else { Err(format!("{calls} of {count} calls")) }
    })
    .await;
}

async fn all_disposed(world: &World) {
    eventually("all leads are disposed of", PATIENCE, || async {
        let left: i64 =
            world.database.value("select (select count(*) from due) + (select count(*) from open_attempt)").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} leads are left")) }
    })
    .await;
}

/// Each lead was rung once and lost no try to what stopped.
async fn each_was_rung_once(world: &World, count: usize) {
    let mut evidence = Evidence::of(world).await;
    assert_eq!(evidence.calls.len(), count, "each lead has one call");
    evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    assert_eq!(misplaced(world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_balance_stops_the_account_until_it_is_topped_up() {
    const LEADS: usize = 300;
    let mut world = dialing_many(stage(json!({})), LEADS).await;
    calls(&world, LEADS / 4).await;
    world.simulator.set_balance(0.0);
    let world_ref = &world;
    let problem = eventually("the account says what is wrong", PATIENCE, || async {
        let problem: Option<String> =
            world_ref.database.value("select max(problem) from account_state where account = 'main'").await;
        problem.ok_or_else(|| "no problem is known".to_owned())
    })
    .await;
    assert_eq!(problem, "the account's balance is exhausted");
    eventually("running requests are answered", PATIENCE, || async {
        let dialing: i64 = world_ref.database.value("select count(*) from open_attempt where state = 'dialing'").await;
        if dialing == 0 { Ok(()) } else { Err(format!("{dialing} are on their way")) }
    })
    .await;
    let placed = world.simulator.calls().len();
    // Longer than the time after which the account is looked at again, a civil minute.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.simulator.calls().len(), placed, "nothing is placed without money");
    let refused: i64 =
        world.database.value("select count(*) from attempt where outcome = 'not_placed' and sent_at is not null").await;
    world.simulator.set_balance(1_000.0);
    all_disposed(&world).await;
    world.stop().await;
    each_was_rung_once(&world, LEADS).await;
    let said = world.warnings("balance is exhausted");
    assert_eq!(said.len(), 1, "one line says so: {said:#?}");
    println!("{refused} requests were refused for want of money");
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_nobody_documents_costs_three_attempts_and_not_the_list() {
    const LEADS: usize = 200;
    let mut setting = stage(json!({"roster_period": "1h"}));
    setting.simulator =
        SimulatorOptions { quirks: Quirks { inactive_status: 409, ..Quirks::default() }, ..setting.simulator };
    let mut world = dialing_many(setting, LEADS).await;
    calls(&world, LEADS / 4).await;
    // The daemon does not learn of it: it reads its assistants again in an hour.
    assert!(world.simulator.set_assistant_status(SALES[0], false));
    all_disposed(&world).await;
    world.stop().await;
    let refused: i64 = world.database.value("select count(*) from attempt where refused").await;
    assert!((1..=3).contains(&refused), "{refused} attempts were put back for the assistant");
    let put_back: i64 =
        world.database.value("select count(*) from attempt where outcome = 'not_placed' and reason like '%409%'").await;
    // Sixty leave in a second: a few were on their way when the first answer came, and are not held against anybody.
    assert!(put_back <= refused + 12, "{put_back} attempts were put back, {refused} of them for the assistant");
    each_was_rung_once(&world, LEADS).await;
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assistant_that_is_switched_off_is_not_used_until_it_is_on_again() {
    const LEADS: usize = 600;
    let mut world = dialing_many(stage(json!({"roster_period": "1s"})), LEADS).await;
    calls(&world, LEADS / 6).await;
    for assistant in SALES {
        assert!(world.simulator.set_assistant_status(assistant, false));
    }
    // One period, and what a read takes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let placed = world.simulator.calls().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.simulator.calls().len(), placed, "no assistant is active, and calls are placed");
    assert!(placed < LEADS, "the list was done before anything was switched off");
    assert!(world.simulator.set_assistant_status(SALES[1], true));
    let world_ref = &world;
    eventually("the assistant is used again", Duration::from_secs(20), || async {
        let calls = world_ref.simulator.calls().len();
        if calls > placed + 10 { Ok(()) } else { Err(format!("{calls} calls")) }
    })
    .await;
    let later: Vec<u64> = world.simulator.calls()[placed..].iter().map(|call| call.assistant_id).collect();
    assert!(later.iter().all(|id| *id == SALES[1]), "only the active one speaks: {later:?}");
    all_disposed(&world).await;
    world.stop().await;
    let mut evidence = Evidence::of(&world).await;
    evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}
