//! A daemon at work has nothing to hide: what it leaves behind at any moment is no violation, and what is one it tells.

use std::time::Duration;

use outdial::adapter::simulator::{Faults, Span};
use serde_json::json;

use super::support::audited::violations;
use super::support::world::{Stage, dialing_many, eventually};

const LEADS: usize = 250;
/// Leads that are done with before something is damaged; few, for a busy machine.
const DONE: i64 = 50;
/// How often everything is judged while it happens.
const LOOKS: u32 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_under_way_is_no_violation_and_a_violation_is_told_once() {
    let mut stage = Stage::busy();
    stage.simulator.faults =
        Faults { slow_for_ms: 500, list_lag: Span::seconds(1, 5), retry_after: 1, ..Faults::all(0.02) };
    stage.daemon["audit_every"] = json!("3s");
    let mut world = dialing_many(stage, LEADS).await;
    for look in 0..LOOKS {
        if look == LOOKS / 2 {
            world.kill().await;
            world.start().await;
        }
        let wrong = violations(&world).await;
        assert!(wrong.is_empty(), "look {look}: {wrong:#?}");
    }
    let pool = world.database.pool.clone();
    eventually("a part of the leads is done", Duration::from_secs(150), || async {
        let done: i64 = sqlx::query_scalar("select count(*) from disposition").fetch_one(&pool).await.unwrap();
        if done >= DONE { Ok(()) } else { Err(format!("{done} of {DONE}")) }
    })
    .await;
    let wrong = violations(&world).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.alarms(), Vec::<String>::new());

    sqlx::query("delete from disposition where lead_id = (select min(lead_id) from disposition)")
        .execute(&pool)
        .await
        .unwrap();
    let told = || world.alarms().into_iter().filter(|line| line.contains("\"places\"")).collect::<Vec<_>>();
    eventually("the daemon tells", Duration::from_secs(30), || async {
        match told().len() {
            0 => Err(format!("{:?}", world.alarms())),
            _ => Ok(()),
        }
    })
    .await;
    sqlx::query("delete from disposition where lead_id = (select max(lead_id) from disposition)")
        .execute(&pool)
        .await
        .unwrap();
    eventually("the daemon tells of another", Duration::from_secs(30), || async {
        match told().len() {
            0 | 1 => Err(format!("{:?}", world.alarms())),
            _ => Ok(()),
        }
    })
    .await;
    // In between it looked more than once, and said it once.
    assert_eq!(told().len(), 2, "{:#?}", told());
    assert!(told()[0].contains("outdial audit"), "{:#?}", told());
    world.strike().await;
}
