//! What an observer sees and changes: records, judges, controls over HTTP.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::simulator::{
    CallRecord, Faults, OutcomeMix, Record, RequestRecord, Shape, Simulator, SimulatorOptions, oracle,
};
use reqwest::Method;
use serde_json::json;

use super::support::*;

#[tokio::test]
async fn the_same_seed_gives_the_same_calls_in_any_order() {
    async fn lives(seed: u64, numbers: impl Iterator<Item = u32>) -> BTreeSet<String> {
        let faults = Faults { slow_for_ms: 1, ..Faults::all(0.02) };
        let (simulator, client) =
            start(SimulatorOptions { seed, faults, mix: OutcomeMix::default(), ..options() }).await;
        for number in numbers {
            let _ = client.ring(&phone(number)).await;
        }
        let life = |call: CallRecord| {
            let took = call.completed_at.duration_since(call.accepted_at);
            format!("{} {} {} {:?} {took}", call.phone, call.rung_before, call.fate, call.fault)
        };
        simulator.calls().into_iter().map(life).collect()
    }
    let forwards = lives(7, (0..60).chain(0..60)).await;
    let backwards = lives(7, (0..60).rev().chain((0..60).rev())).await;
    assert_eq!(forwards, backwards);
    assert!(forwards.len() > 90, "{}", forwards.len());
    assert_ne!(forwards, lives(8, (0..60).chain(0..60)).await);
}

#[tokio::test]
async fn the_oracles_see_what_the_records_hold_in_every_shape() {
    for shape in Shape::ALL {
        let (simulator, client) = start(shaped(shape)).await;
        client.ring(&phone(1)).await.unwrap();
        client.ring(&phone(2)).await.unwrap();
        assert_eq!(oracle::double_live(&simulator.calls()), []);
        assert_eq!(oracle::same_token(&simulator.calls(), "ref"), []);
        let (slow, of_slow) = start(SimulatorOptions { clock: fast(1), ..shaped(shape) }).await;
        for number in [1, 2, 1] {
            assert_eq!(of_slow.ring(&phone(number)).await.unwrap().status(), 200);
        }
        let (calls, minute) = (slow.calls(), SignedDuration::from_mins(1));
        assert_eq!(oracle::double_live(&calls).len(), 1);
        assert_eq!(oracle::same_token(&calls, "ref").len(), 1);
        assert_eq!(oracle::lines_over(&calls, 2).len(), 1);
        assert_eq!(oracle::starts_over(&calls, 2, minute).len(), 1);
        assert_eq!((oracle::lines_over(&calls, 3), oracle::starts_over(&calls, 3, minute)), (vec![], vec![]));
    }
}

#[tokio::test]
async fn outcomes_depend_on_seed_and_phone_and_not_on_the_shape() {
    let mut fates = BTreeSet::new();
    for shape in Shape::ALL {
        let mix = OutcomeMix { refused_numbers: 0.0, ..OutcomeMix::default() };
        let (simulator, client) = start(SimulatorOptions { mix, ..shaped(shape) }).await;
        for number in 0..20 {
            assert_eq!(client.ring(&phone(number)).await.unwrap().status(), 200);
        }
        fates.insert(simulator.calls().iter().map(|call| call.fate).collect::<Vec<_>>());
    }
    assert_eq!(fates.len(), 1, "{fates:?}");
}

#[tokio::test]
async fn another_process_can_watch_and_change_it_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let log_file = folder.path().join("simulator.jsonl");
    let (simulator, client) = start(SimulatorOptions { log_file: Some(log_file.clone()), ..options() }).await;
    client.ring(&phone(1)).await.unwrap();
    client.ring(&phone(2)).await.unwrap();
    let (_, calls) = client.control(Method::GET, "calls", None).await;
    let calls: Vec<CallRecord> = serde_json::from_value(calls).unwrap();
    assert_eq!(calls, simulator.calls());
    let (_, rest) = client.control(Method::GET, &format!("calls?after={}", calls[0].call_id), None).await;
    assert_eq!(serde_json::from_value::<Vec<CallRecord>>(rest).unwrap(), calls[1..]);
    let (_, seen) = client.control(Method::GET, "requests", None).await;
    let seen: Vec<RequestRecord> = serde_json::from_value(seen).unwrap();
    let placed: Vec<u64> = seen.iter().filter_map(|request| request.call_id).collect();
    assert_eq!(placed, [calls[0].call_id, calls[1].call_id]);

    let (status, _) = client.control(Method::POST, "assistants/123", Some(json!({"active": false}))).await;
    assert_eq!((status, client.ring(PHONE).await.unwrap().status().as_u16()), (204, 403));
    let change = Some(json!({"active": true, "webhook_url": "http://127.0.0.1:1/"}));
    assert_eq!(client.control(Method::POST, "assistants/all", change).await.0, 204);
    assert_eq!(client.control(Method::POST, "assistants/9", Some(json!({}))).await.0, 404);
    assert_eq!(client.control(Method::POST, "balance", Some(json!({"balance": 0}))).await.0, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 422);
    assert_eq!(client.control(Method::POST, "faults", Some(json!({"html": 1.0}))).await.0, 204);
    assert_eq!(client.control(Method::GET, "faults", None).await.1["html"], 1.0);
    assert_eq!(client.control(Method::POST, "faults", Some(json!({"html": 3.0}))).await.0, 422);
    let (_, clock) = client.control(Method::GET, "clock", None).await;
    let other: ScaledClock = clock["clock"].as_str().unwrap().parse().unwrap();
    assert_eq!(other.to_string(), simulator.clock().to_string());

    let read = || -> Vec<Record> {
        let text = std::fs::read_to_string(&log_file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Webhooks that find nobody may be written between the two readings.
    let lines = eventually("a quiet moment", || async {
        let (lines, memory) = (read(), simulator.log());
        (lines == memory).then_some(lines)
    })
    .await;
    let placed = lines.into_iter().filter_map(|line| if let Record::Call(call) = line { Some(call) } else { None });
    assert_eq!(placed.map(|call| CallRecord::clone(&call)).collect::<Vec<_>>(), calls);
}

#[tokio::test]
async fn after_a_shutdown_nobody_answers_and_the_port_is_free() {
    let (simulator, client) = start(options()).await;
    let address = simulator.address;
    client.ring(PHONE).await.unwrap();
    simulator.shutdown().await;
    assert!(client.ring(PHONE).await.is_err());
    Simulator::start(SimulatorOptions { listen: address, ..options() }).await.unwrap().shutdown().await;
}
