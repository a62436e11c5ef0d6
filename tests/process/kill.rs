//! The daemon is killed again and again while the provider does everything wrong that it can.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Weekday;
use outdial::adapter::simulator::{Faults, OutcomeMix, Shape, SimulatorOptions, Span};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::support::judge::{Evidence, Limits, Windows, misplaced, nobody_can_tell};
use super::support::world::{Lead, Stage, World, eventually, leads_of};

const LIMITS: Limits = Limits { per_minute: 16, per_second: 1, lines: 80 };
const KILLS: u32 = 5;
/// Decides the moments of the kills; the provider has its own.
const SEED: u64 = 20_260_112;
/// How likely each fault is, by itself.
const FAULT: f64 = 0.02;

fn leads(count: usize) -> Vec<Lead> {
    let zones = [Some("Europe/London"), Some("Europe/Berlin"), None];
    (0..count)
        .map(|index| Lead { phone: format!("+4930556{index:05}"), time_zone: zones[index % 3], priority: 5 })
        .collect()
}

fn definition(list: &str) -> Value {
    json!({
        "account": "main",
        "lead_lists": [list],
        "schedule": {"time_zone": "lead", "default_time_zone": "Europe/London", "windows": {"mon-sun": "08:00-21:00"}},
        "retry": {
            "max_attempts": 2,
            "on": {
                "no_answer": {"after": "10m"}, "busy": {"after": "5m"}, "voicemail": {"after": "10m"},
                "failed": {"after": "5m"},
            },
            "goal": {"variable": "appointment_booked", "equals": true},
        },
        "opt_out": {"variable": "do_not_call", "equals": true},
    })
}

async fn killed_again_and_again(shape: Shape, count: usize) {
    let (count, longer) = leads_of(count);
    let faults = Faults {
        // Longer than the daemon waits.
        slow_for_ms: 3_000,
        list_lag: Span::seconds(5, 60),
        retry_after: 30,
        ..Faults::all(FAULT).with_reads(FAULT)
    };
    let mut world = World::set(Stage {
        civil_origin: "2026-01-12T09:00:00Z",
        factor: 300,
        simulator: SimulatorOptions {
            shape,
            faults,
            mix: OutcomeMix { refused_numbers: 0.0, ..OutcomeMix::default() },
            ..SimulatorOptions::default()
        },
        account: json!({
            "limits": {
                "calls_per_second": LIMITS.per_second, "calls_per_minute": LIMITS.per_minute,
                "concurrent_calls": LIMITS.lines, "calls_per_day": 100_000, "requests_per_minute": 60,
            },
            "list_lag_max": "3m",
            "settle_after": "5m",
            // Nobody looks after calls while the daemon is dead, for a quarter of an hour each time.
            "call_max": "40m",
        }),
        person: json!({"calls_per_day": 4, "min_gap_between_campaigns": "10m"}),
        daemon: json!({"request_timeout": "2s", "connect_timeout": "1s", "zombie_horizon": "3s", "lease_ttl": "2s"}),
    })
    .await;
    let all = leads(count);
    world.add_leads("first", &all).await;
    world.add_leads("second", &all[..count / 4]).await;
    world.add_campaign("first", &definition("first")).await;
    world.add_campaign("second", &definition("second")).await;

    let mut chance = ChaCha8Rng::seed_from_u64(SEED);
    for kill in 0..KILLS {
        let before = world.simulator.calls().len();
        world.start().await;
        let world_ref = &world;
        eventually("the daemon dials again", Duration::from_secs(30), || async {
            let calls = world_ref.simulator.calls().len();
            if calls > before { Ok(()) } else { Err(format!("{before} calls, as before kill {kill}")) }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(chance.random_range(100..2_500)) * longer).await;
        world.kill().await;
    }
    world.start().await;
    let world_ref = &world;
    eventually("all is disposed, or held for a reason", Duration::from_secs(90) * longer, || async {
        // A lead whose person is locked by a held attempt waits for a person.
        let sql = "select (select count(*) from open_attempt where state <> 'held')
            + (select count(*) from due d where not exists (select from open_attempt o where o.phone = d.phone))
            + (select count(*) from inbox_pending) + (select count(*) from lead_change)";
        let left: i64 = world_ref.database.value(sql).await;
        let held: Vec<(String, String)> = sqlx::query_as("select phone, reason from open_attempt where state = 'held'")
            .fetch_all(&world_ref.database.pool)
            .await
            .unwrap();
        let unreadable = nobody_can_tell(shape, &world_ref.simulator);
        let unjustified: Vec<_> = held.iter().filter(|(phone, _)| !unreadable.contains(phone)).collect();
        if left == 0 && unjustified.is_empty() {
            Ok(())
        } else {
            Err(format!("{left} left, held although the provider's answers settle them: {unjustified:?}"))
        }
    })
    .await;
    world.stop().await;

    let windows = Windows {
        days: Weekday::Monday.cycle_forward().take(7).collect(),
        minutes: vec![(480, 1260)],
        default_zone: "Europe/London",
    };
    let mut evidence = Evidence::of(&world).await;
    assert!(evidence.calls.iter().filter(|call| call.fault.is_some()).count() > 20, "faults happened");
    assert!(world.simulator.calls().len() > count, "calls happened");
    evidence
        .nobody_twice()
        .each_call_has_its_attempt()
        .each_call_has_its_result(true)
        .nobody_at_a_wrong_time(&BTreeMap::from([("first", windows.clone()), ("second", windows)]))
        .within(&LIMITS, None)
        .opt_outs_are_kept()
        .verdict();
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_and_every_fault_lose_nothing() {
    killed_again_and_again(Shape::Famulor, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_and_every_fault_lose_nothing_without_call_ids() {
    killed_again_and_again(Shape::WhiteLabel, 300).await;
}
