//! A campaign from its first lead to its last disposition, with each of the documented shapes of provider.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Weekday;
use outdial::adapter::simulator::{OutcomeMix, Shape, SimulatorOptions};
use serde_json::{Value, json};

use super::support::judge::{Evidence, Limits, Windows, misplaced};
use super::support::world::{Lead, Stage, World, eventually, leads_of};

const ZONES: [Option<&str>; 6] = [
    Some("Europe/London"),
    Some("Europe/Berlin"),
    Some("Europe/Athens"),
    Some("Atlantic/Azores"),
    Some("America/Noronha"),
    None,
];

const ACCOUNT_LIMITS: Limits = Limits { per_minute: 30, per_second: 1, lines: 100 };
const RENEWALS_LIMITS: Limits = Limits { per_minute: 25, per_second: 60, lines: 80 };

/// Leads in several zones; every eleventh has the phone of an earlier one, every fortieth none at all.
fn leads(count: usize) -> Vec<Lead> {
    let phone = |index: usize| format!("+4930555{index:05}");
    (0..count)
        .map(|index| Lead {
            phone: match index {
                _ if index % 40 == 17 => format!("0{index}"),
                _ if index % 11 == 10 => phone(index - 7).replacen('+', "00", 1),
                _ => phone(index),
            },
            time_zone: ZONES[index % ZONES.len()],
            priority: if index % 10 == 0 { 1 } else { 5 },
        })
        .collect()
}

fn definition(list: &str, windows: Value, pacing: Value) -> Value {
    json!({
        "account": "main",
        "assistants": {"names": ["Sales *"], "pick": "round_robin"},
        "lead_lists": [list],
        "schedule": {"time_zone": "lead", "default_time_zone": "Europe/London", "windows": windows},
        "pacing": pacing,
        "retry": {
            "max_attempts": 2,
            "on": {
                "no_answer": {"after": "20m", "jitter": "5m"}, "busy": {"after": "10m"}, "voicemail": {"after": "20m"},
                "failed": {"after": "10m"},
            },
            "goal": {"variable": "appointment_booked", "equals": true},
        },
        "opt_out": {"variable": "do_not_call", "equals": true},
        "finish_when_done": true,
    })
}

/// Dials `count` leads (more in a soak) to the end and judges it.
async fn dial_to_the_end(shape: Shape, echo_variables: bool, count: usize) {
    let (count, longer) = leads_of(count);
    let simulator = SimulatorOptions {
        shape,
        echo_variables,
        mix: OutcomeMix { no_answer: 20.0, failed: 8.0, refused_numbers: 0.02, ..OutcomeMix::default() },
        ..SimulatorOptions::default()
    };
    let mut world = World::set(Stage {
        // A Monday; in winter, so that no zone changes its clocks meanwhile.
        civil_origin: "2026-01-12T08:40:00Z",
        // Slow enough that a busy machine gets through the list in a day.
        factor: 360,
        simulator,
        account: json!({
            "limits": {
                "calls_per_second": ACCOUNT_LIMITS.per_second, "calls_per_minute": ACCOUNT_LIMITS.per_minute,
                "concurrent_calls": ACCOUNT_LIMITS.lines, "calls_per_day": 100_000, "requests_per_minute": 120,
            },
            "list_lag_max": "2m",
            "settle_after": "10m",
            // A second of a busy machine is six minutes here; no call is to count as overdue for that.
            "call_max": "6h",
        }),
        person: json!({"calls_per_day": 4, "min_gap_between_campaigns": "15m"}),
        daemon: json!({}),
    })
    .await;
    let all = leads(count);
    world.add_leads("renewals", &all).await;
    // A third of the persons are in the second campaign, too.
    let shared: Vec<Lead> = all.iter().step_by(6).cloned().collect();
    world.add_leads("winback", &shared).await;
    let parted = json!({"mon-fri": ["09:00-09:40", "10:00-10:30", "11:00-12:30", "13:00-19:30"]});
    let pacing = json!({"calls_per_minute": RENEWALS_LIMITS.per_minute, "concurrent_calls": RENEWALS_LIMITS.lines});
    world.add_campaign("renewals", &definition("renewals", parted, pacing)).await;
    let whole = json!({"mon-sat": "08:00-21:00"});
    world.add_campaign("winback", &definition("winback", whole, json!({"concurrent_calls": 40}))).await;
    world.start().await;
    let world_ref = &world;
    eventually("both campaigns are finished", Duration::from_secs(150) * longer, || async {
        let left: i64 = world_ref.database.value("select count(*) from campaign where state <> 'finished'").await;
        if left == 0 { Ok(()) } else { Err(standing(world_ref).await) }
    })
    .await;
    world.stop().await;

    let workdays = vec![Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];
    let days = workdays.iter().copied().chain([Weekday::Saturday]).collect();
    let minutes = vec![(540, 580), (600, 630), (660, 750), (780, 1170)];
    let windows = BTreeMap::from([
        ("renewals", Windows { days: workdays.clone(), minutes, default_zone: "Europe/London" }),
        ("winback", Windows { days, minutes: vec![(480, 1260)], default_zone: "Europe/London" }),
    ]);
    let mut evidence = Evidence::of(&world).await;
    assert!(evidence.calls.len() > count, "something happened: {} calls", evidence.calls.len());
    evidence
        .nobody_twice()
        .each_call_has_its_attempt()
        .each_call_has_its_result(false)
        .each_moment_is_known()
        .nobody_at_a_wrong_time(&windows)
        .within(&ACCOUNT_LIMITS, None)
        .within(&RENEWALS_LIMITS, Some("renewals"))
        .within(&Limits { lines: 40, ..ACCOUNT_LIMITS }, Some("winback"))
        .opt_outs_are_kept()
        .verdict();
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    let open: i64 =
        world.database.value("select (select count(*) from open_attempt) + (select count(*) from due)").await;
    assert_eq!(open, 0, "nothing is due, open, in doubt or held");
    for disposition in ["goal_met", "exhausted", "suppressed", "invalid_number", "duplicate"] {
        let sql = format!("select count(*) from disposition where disposition = '{disposition}'");
        assert!(world.database.value::<i64>(&sql).await > 0, "nobody ended as {disposition}");
    }
    let removed: i64 = world.database.value("select count(*) from disposition where disposition = 'removed'").await;
    assert_eq!(removed, 0, "the campaigns finished because they were done");
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

async fn standing(world: &World) -> String {
    world
        .database
        .value::<String>(
            "select string_agg(format('%s is %s: %s due, %s open, %s held', name, state, due, open, held), '; ')
             from campaign_progress",
        )
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_reaches_all_its_dispositions() {
    dial_to_the_end(Shape::Famulor, true, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_without_call_ids_is_enough() {
    dial_to_the_end(Shape::WhiteLabel, true, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_echoes_nothing_is_enough() {
    dial_to_the_end(Shape::WhiteLabel, false, 400).await;
}
