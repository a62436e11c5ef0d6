//! Another system is told what happens, and never holds up a call: not while it hangs, nor when the daemon dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::support::world::{ACCOUNT, Lead, Stage, World, eventually};
use crate::receiver::{Got, Manner, Receiver, SECRET};

const LEADS: usize = 40;

async fn ended(world: &World) -> i64 {
    world.database.value("select count(*) from attempt where outcome is not null").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialing_goes_on_while_the_receiver_hangs_and_nothing_is_lost_with_the_daemon() {
    let receiver = Receiver::start(Manner::Hang).await;
    let mut world = World::set(Stage::busy()).await;
    world.config["webhooks"] = json!({"crm": {"url": receiver.url(), "secret": SECRET, "allow_private": true}});
    let lead = |number| Lead { phone: format!("+4930551{number:05}"), time_zone: Some("Europe/London"), priority: 5 };
    world.add_leads("people", &(0..LEADS).map(lead).collect::<Vec<_>>()).await;
    let definition = json!({
        "account": ACCOUNT, "lead_lists": ["people"],
        "schedule": {"time_zone": "Europe/London", "windows": {"mon-sun": "09:00-18:00"}},
        "notify": {"webhook": "crm", "events": ["attempt_finished"]},
    });
    world.add_campaign("calls", &definition).await;
    world.start().await;
    let world_ref = &world;
    eventually("the receiver hangs with all it is given", Duration::from_secs(30), || async {
        if receiver.got().len() >= 16 { Ok(()) } else { Err(format!("{} requests", receiver.got().len())) }
    })
    .await;
    // Nobody has answered, and every call is made and recorded all the same.
    eventually("every lead is called", Duration::from_secs(60), || async {
        let ended = ended(world_ref).await;
        if ended >= LEADS as i64 { Ok(()) } else { Err(format!("{ended} attempts have ended")) }
    })
    .await;
    let delivered: i64 =
        world.database.value("select count(*) from outgoing_event where delivered_at is not null").await;
    assert_eq!(delivered, 0, "it hung");

    world.kill().await;
    let before = receiver.got().len();
    // Killed once more between answers of the receiver and their record.
    receiver.turn(Manner::Slow(200, 200));
    world.start().await;
    eventually("some arrive", Duration::from_secs(60), || async {
        let arrived = receiver.got().len() - before;
        if arrived > 0 { Ok(()) } else { Err("nothing arrived".to_owned()) }
    })
    .await;
    world.kill().await;
    receiver.turn(Manner::Status(200));
    world.start().await;
    let world_ref = &world;
    eventually("all is told", Duration::from_secs(90), || async {
        let left: i64 =
            world_ref.database.value("select count(*) from outgoing_event where delivered_at is null").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} events wait")) }
    })
    .await;
    let got = receiver.got();
    got.iter().for_each(Got::assert_signed);
    // At least once each, and whatever came twice says that it is the same.
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in &got[before..] {
        ids.entry(event.json()["attempt"]["id"].as_str().unwrap().to_owned()).or_default().insert(event.id());
    }
    assert_eq!(ids.len() as i64, ended(&world).await);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:#?}");
    assert_eq!(world.alarms(), [] as [String; 0]);
    let written = format!("{:?}", world.warnings(""));
    assert!(!written.contains("hidden") && !written.contains(SECRET), "{written}");
    world.strike().await;
}
