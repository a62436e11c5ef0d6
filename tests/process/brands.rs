//! Every kind of provider at once: five accounts in one daemon, each with a campaign of its own and every fault there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::Weekday;
use outdial::adapter::simulator::{Faults, OutcomeMix, Quirks, Shape, SimulatorOptions, Span};
use serde_json::{Value, json};

use super::support::judge::{Evidence, Limits, Windows, misplaced, nobody_can_tell};
use super::support::world::{ACCOUNT, Lead, Stage, World, eventually, leads_of, merge};

/// How likely each fault is, by itself.
const FAULT: f64 = 0.03;
const LIMITS: Limits = Limits { per_minute: 4, per_second: 1, lines: 40 };
/// The account of each kind of provider; the first is the stage's own.
const ACCOUNTS: [(&str, Shape); 5] = [
    (ACCOUNT, Shape::Famulor),
    ("sondos", Shape::Sondos),
    ("white-label", Shape::WhiteLabel),
    ("robot-one", Shape::HappyRobotV1),
    ("robot-two", Shape::HappyRobotV2),
];

fn provider(shape: Shape) -> SimulatorOptions {
    let faults = Faults {
        // Longer than the daemon waits.
        slow_for_ms: 3_000,
        list_lag: Span::seconds(5, 60),
        retry_after: 30,
        ..Faults::all(FAULT).with_reads(FAULT)
    };
    let quirks =
        Quirks { type_drift: 0.05, odd_status: 0.02, naive_zone: "Europe/Istanbul".to_owned(), ..Quirks::default() };
    SimulatorOptions {
        shape,
        faults,
        quirks,
        mix: OutcomeMix { refused_numbers: 0.0, ..OutcomeMix::default() },
        ..SimulatorOptions::default()
    }
}

fn account(shape: Shape) -> Value {
    let mut account = json!({
        "limits": {
            "calls_per_second": LIMITS.per_second, "calls_per_minute": LIMITS.per_minute,
            "concurrent_calls": LIMITS.lines, "calls_per_day": 100_000, "requests_per_minute": 60,
        },
        "list_lag_max": "3m",
        "settle_after": "5m",
        "call_max": "40m",
    });
    let assistants = json!([
        {"id": "123", "name": "Sales Spring"}, {"id": "124", "name": "Winback", "active": false},
        {"id": "125", "name": "Sales Renewals"},
    ]);
    match shape {
        Shape::Famulor | Shape::Sondos | Shape::WhiteLabel => {}
        Shape::HappyRobotV1 => merge(&mut account, json!({"assistants": assistants})),
        // Its list shows no numbers, so absence from it proves nothing.
        Shape::HappyRobotV2 => {
            merge(&mut account, json!({"assistants": assistants, "phone_field": "phone_number", "list_lag_max": null}))
        }
    }
    account
}

fn definition(account: &str) -> Value {
    json!({
        "account": account,
        "assistants": {"names": ["Sales *"]},
        "lead_lists": [account],
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_provider_at_once_loses_nothing() {
    let (count, longer) = leads_of_each();
    let mut world = World::set(Stage {
        civil_origin: "2026-01-12T09:00:00Z",
        factor: 300,
        simulator: provider(Shape::Famulor),
        account: account(Shape::Famulor),
        person: json!({"calls_per_day": 4, "min_gap_between_campaigns": "10m"}),
        daemon: json!({"request_timeout": "2s", "connect_timeout": "1s"}),
    })
    .await;
    for (name, shape) in &ACCOUNTS[1..] {
        world.add_account(name, provider(*shape), account(*shape)).await;
    }
    for (number, (name, _)) in ACCOUNTS.iter().enumerate() {
        let lead = |index| Lead {
            phone: format!("+493055{number}{index:05}"),
            time_zone: [Some("Europe/London"), Some("Europe/Berlin"), None][index % 3],
            priority: 5,
        };
        world.add_leads(name, &(0..count).map(lead).collect::<Vec<_>>()).await;
        world.add_campaign(name, &definition(name)).await;
    }
    world.start().await;
    let world_ref = &world;
    eventually("all is disposed, or held for a reason", Duration::from_secs(150) * longer, || async {
        let sql = "select (select count(*) from open_attempt where state <> 'held')
            + (select count(*) from due d where not exists (select from open_attempt o where o.phone = d.phone))
            + (select count(*) from inbox_pending) + (select count(*) from lead_change)
            + (select count(*) from lead) - (select count(*) from enrolment)";
        let left: i64 = world_ref.database.value(sql).await;
        let unjustified = unjustified(world_ref).await;
        let standing: String = world_ref
            .database
            .value(
                "select concat_ws('; ',
                    (select string_agg(format('%s %s of %s', count, state, account), ', ')
                     from (select account, state, count(*) from open_attempt group by 1, 2) o),
                    (select string_agg(format('%s pending of %s', count, account), ', ')
                     from (select account, count(*) from inbox_pending group by 1) i),
                    (select format('%s due', count(*)) from due))",
            )
            .await;
        if left == 0 && unjustified.is_empty() {
            Ok(())
        } else {
            Err(format!("{left} left ({standing}), held although the provider's answers settle them: {unjustified:?}"))
        }
    })
    .await;
    world.stop().await;

    let windows = Windows {
        days: Weekday::Monday.cycle_forward().take(7).collect(),
        minutes: vec![(480, 1260)],
        default_zone: "Europe/London",
    };
    for (name, shape) in ACCOUNTS {
        let mut evidence = Evidence::of_account(&world, name).await;
        assert!(evidence.calls.len() > count, "{shape}: calls happened");
        assert!(
            evidence.calls.iter().filter(|call| call.fault.is_some()).count() > count / 50,
            "{shape}: faults happened"
        );
        evidence
            .nobody_twice()
            .each_call_has_its_attempt()
            .each_call_has_its_result(true)
            .nobody_at_a_wrong_time(&BTreeMap::from([(name, windows.clone())]))
            .within(&LIMITS, None)
            .opt_outs_are_kept()
            .verdict();
        let held: i64 =
            world.database.value(&format!("select count(*) from open_attempt where account = '{name}'")).await;
        println!("{shape}: {} calls, {} attempts, {held} held", evidence.calls.len(), evidence.attempts.len());
    }
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

/// Leads of each account: 500 in a soak.
fn leads_of_each() -> (usize, u32) {
    let (count, longer) = leads_of(600);
    (count / 4, longer)
}

/// Held attempts whose fate the provider's answers tell: phone and reason.
async fn unjustified(world: &World) -> Vec<(String, String)> {
    let held: Vec<(String, String, String)> =
        sqlx::query_as("select account, phone, reason from open_attempt where state = 'held'")
            .fetch_all(&world.database.pool)
            .await
            .unwrap();
    let excused: BTreeMap<&str, BTreeSet<String>> =
        ACCOUNTS.iter().map(|(name, shape)| (*name, nobody_can_tell(*shape, world.provider(name)))).collect();
    held.into_iter()
        .filter(|(account, phone, _)| !excused[account.as_str()].contains(phone))
        .map(|(_, phone, reason)| (phone, reason))
        .collect()
}
