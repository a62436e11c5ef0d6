//! What no document says: types that drift, odd words, languages, lists that are missing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use outdial::adapter::simulator::{Assistant, Language, Quirks, Shape, SimulatorOptions};
use serde_json::{Value, json};

use super::support::*;

fn quirky(shape: Shape, quirks: Quirks) -> SimulatorOptions {
    SimulatorOptions { quirks, ..shaped(shape) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The kinds a field has over many readings.
async fn kinds(client: &Client, path: &str, pointer: &str) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    for _ in 0..60 {
        kinds.insert(kind(client.get(path).await.1.pointer(pointer).unwrap()));
    }
    kinds
}

#[tokio::test]
async fn types_drift_in_the_autocalls_family_and_ids_outgrow_doubles() {
    for shape in [Shape::Famulor, Shape::Sondos, Shape::WhiteLabel] {
        let quirks = Quirks { type_drift: 0.5, naive_zone: "Asia/Kolkata".to_owned(), ..Quirks::default() };
        let (simulator, client) = start(quirky(shape, quirks)).await;
        client.ring(PHONE).await.unwrap();
        let call = simulator.calls().remove(0);
        assert!(call.call_id > 1 << 53);
        let path = format!("/user/calls/{}", call.wire_id);
        with_status(&client, &path, "completed").await;
        for (field, expected) in [
            ("/id", ["number", "string"]),
            ("/total_cost", ["number", "string"]),
            ("/duration", ["number", "string"]),
            ("/transcript", ["array", "string"]),
            ("/evaluation", ["array", "object"]),
        ] {
            assert_eq!(kinds(&client, &path, field).await, BTreeSet::from(expected), "{shape} {field}");
        }
        let mut forms = BTreeSet::new();
        for _ in 0..60 {
            let (_, read) = client.get(&path).await;
            assert_eq!(read["id"].to_string().trim_matches('"'), call.wire_id, "every digit");
            assert_eq!(read["client_phone_number"], PHONE);
            forms.insert(read["created_at"].as_str().unwrap().to_owned());
        }
        assert_eq!(forms.len(), 2, "{forms:?}");
        let [naive, zoned] = [false, true].map(|zoned| forms.iter().find(|form| form.ends_with('Z') == zoned).unwrap());
        let in_india = call.accepted_at.in_tz("Asia/Kolkata").unwrap();
        assert_eq!(*naive, in_india.strftime("%Y-%m-%d %H:%M:%S").to_string());
        assert_eq!(zoned.parse::<Timestamp>().unwrap().as_second(), call.accepted_at.as_second());
        let (_, list) = client.get("/user/assistants/outbound").await;
        assert_eq!(list.as_array().unwrap().len(), 3);
        let flags = kinds(&client, "/user/assistants/outbound", "/0/is_webhook_active").await;
        assert_eq!(flags, BTreeSet::from(["bool", "number"]));
        let balances = kinds(&client, "/user/me", "/total_balance").await;
        assert_eq!(balances, BTreeSet::from(["number", "string"]));
    }
}

#[tokio::test]
async fn types_drift_at_happyrobot_and_the_run_is_still_found() {
    let quirks = Quirks { type_drift: 0.5, ..Quirks::default() };
    let (simulator, client) = start(quirky(Shape::HappyRobotV2, quirks.clone())).await;
    let mut answers = BTreeSet::new();
    for number in 0..30 {
        let (_, body) = split(client.ring(&phone(number)).await.unwrap()).await;
        let run = body.get("run_id").unwrap_or(&body["queued_run_ids"][0]);
        assert_eq!(run.as_str().unwrap(), simulator.calls()[usize::try_from(number).unwrap()].wire_id);
        answers.insert(body.get("run_id").is_some());
    }
    assert_eq!(answers.len(), 2);
    let path = "/workflows/123/runs";
    assert_eq!(kinds(&client, path, "/pagination/hasNextPage").await, BTreeSet::from(["bool", "number"]));
    let quirks = Quirks { type_drift: 1.0, ..quirks };
    let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..quirky(Shape::HappyRobotV1, quirks) }).await;
    client.ring(PHONE).await.unwrap();
    let (_, call) = client.get(&format!("/calls/{}", simulator.calls()[0].wire_id)).await;
    assert_eq!((&call["extraction"], &call["duration"]), (&json!([]), &json!("0")));
    assert_eq!(call["metadata"]["custom"]["ref"], format!("token-{PHONE}"));
    assert_eq!(call["use_case"]["amd"], 1);
}

#[tokio::test]
async fn what_webhooks_say_drifts_without_changing_its_meaning() {
    let server = receiver().await;
    let quirks = Quirks { type_drift: 1.0, ..Quirks::default() };
    let (simulator, client) = start(quirky(Shape::Famulor, quirks).with_webhook(&server.uri())).await;
    client.ring(PHONE).await.unwrap();
    let body = received(&server, 1).await.remove(0);
    assert_eq!(body["id"], simulator.calls()[0].wire_id, "as a string");
    assert!(body["transcript"].is_array() && body["duration"].is_string(), "{body}");
    assert_eq!(body["extracted_variables"]["appointment_booked"], true);
    assert_eq!(body["customer_phone"], PHONE);
}

#[tokio::test]
async fn instants_without_a_zone_stand_in_the_configured_one_and_so_do_days() {
    let quirks = Quirks { naive_zone: "Pacific/Auckland".to_owned(), ..Quirks::default() };
    let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..quirky(Shape::Famulor, quirks) }).await;
    client.ring(PHONE).await.unwrap();
    let (_, call) = client.get(&format!("/user/calls/{}", simulator.calls()[0].call_id)).await;
    assert!(call["created_at"].as_str().unwrap().starts_with("2026-03-02 22:0"), "{call}");
    // Two o'clock in the afternoon in Auckland is the day before in UTC.
    for (day, total) in [("2026-03-02", 1), ("2026-03-01", 0), ("2026-03-03", 0)] {
        let (_, page) = client.get(&format!("/user/calls?date_from={day}&date_to={day}")).await;
        assert_eq!(page["total"], total, "{day}");
    }
    let quirks = Quirks { naive_zone: "Nowhere".to_owned(), ..Quirks::default() };
    assert!(simulator.set_quirks(quirks).is_err());
}

#[tokio::test]
async fn a_live_call_shows_a_word_nobody_knows_and_then_its_own() {
    const KNOWN: [&str; 5] = ["initiated", "ringing", "in-progress", "ended_by_customer", "ended_by_assistant"];
    let quirks = Quirks { odd_status: 1.0, ..Quirks::default() };
    let (simulator, client) = start(quirky(Shape::Famulor, quirks.clone())).await;
    client.ring(PHONE).await.unwrap();
    let path = format!("/user/calls/{}", simulator.calls()[0].call_id);
    let mut odd = BTreeSet::new();
    eventually("the end", || async {
        let word = client.get(&path).await.1["status"].as_str().unwrap().to_owned();
        (word == "completed").then_some(()).or_else(|| {
            assert!(!KNOWN.contains(&word.as_str()), "{word}");
            None
        })
    })
    .await;
    for (shape, path, pointer) in [
        (Shape::HappyRobotV1, "/calls/{id}", "/status"),
        (Shape::HappyRobotV2, "/runs/{id}/sessions", "/data/0/status"),
    ] {
        let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..quirky(shape, quirks.clone()) }).await;
        client.ring(PHONE).await.unwrap();
        let path = path.replace("{id}", &simulator.calls()[0].wire_id);
        odd.insert(client.get(&path).await.1.pointer(pointer).unwrap().as_str().unwrap().to_owned());
    }
    assert!(odd.iter().all(|word| word.contains('_') || word == "connecting"), "{odd:?}");
}

#[tokio::test]
async fn messages_come_in_three_languages() {
    let mut started = BTreeSet::new();
    for shape in Shape::ALL {
        for language in [None, Some(Language::En), Some(Language::De), Some(Language::Tr)] {
            let (_simulator, client) = start(quirky(shape, Quirks { language, ..Quirks::default() })).await;
            let (_, body) = split(client.ring(PHONE).await.unwrap()).await;
            if let Some(message) = body.get("message") {
                started.insert(message.as_str().unwrap().to_owned());
            }
            let (status, body) = split(client.dial("0221 55").send().await.unwrap()).await;
            assert_eq!(status, if shape == Shape::HappyRobotV2 { 200 } else { 400 });
            assert!(body["message"].is_string());
        }
    }
    assert_eq!(started.len(), 3, "{started:?}");
}

#[tokio::test]
async fn a_brand_may_lack_the_list_of_outbound_assistants() {
    let quirks = Quirks { outbound_list: false, ..Quirks::default() };
    let mut options = quirky(Shape::WhiteLabel, quirks);
    options.assistants.push(Assistant { outbound: false, ..Assistant::new(200, "Reception") });
    let (simulator, client) = start(options).await;
    assert_eq!(client.get("/user/assistants/outbound").await.0, 404);
    let (status, page) = client.get("/user/assistants/get").await;
    assert_eq!((status, &page["total"]), (200, &json!(4)));
    simulator.set_quirks(Quirks::default()).unwrap();
    assert_eq!(client.get("/user/assistants/outbound").await.0, 200);
}
