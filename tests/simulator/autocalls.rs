//! The Autocalls family in the shapes of its brands.

use jiff::SignedDuration;
use outdial::adapter::simulator::{
    Assistant, AssistantChange, Fate, Faults, OutcomeMix, Shape, SimulatorOptions, Span, Timing,
};
use serde_json::{Value, json};

use super::support::*;

#[tokio::test]
async fn a_call_is_placed_and_goes_through_its_life_in_famulors_shape() {
    let (simulator, client) = start(options()).await;
    let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
    assert_eq!((status, &body["status"]), (200, &json!("initiated")));
    let call_id = body["call_id"].as_u64().unwrap();
    let call = call_with_status(&client, call_id, "completed").await;
    assert_eq!(call["client_phone_number"], PHONE);
    assert_eq!((&call["answered_by"], &call["type"]), (&json!("human"), &json!("outbound")));
    assert_eq!(call["assistant_name"], "Sales Spring");
    assert!(call["duration"].as_i64().unwrap() >= 15);
    assert!(call["transcript"].as_array().unwrap().iter().any(|line| line["sender"] == "human"));
    assert_eq!(call["variables"]["ref"], format!("token-{PHONE}"));
    let booked = call["evaluation"].as_array().unwrap().iter().find(|entry| entry["name"] == "appointment_booked");
    assert_eq!(booked.unwrap()["value"], true);
    let cost = call["total_cost"].as_str().unwrap();
    assert!(cost.len() == "0.02000000".len() && cost.parse::<f64>().unwrap() > 0.0, "{cost}");
    let created_at = call["created_at"].as_str().unwrap();
    assert!(created_at.starts_with("2026-03-02 ") && created_at.len() == 19, "no zone: {created_at}");
    let balance = client.get("/user/me").await.1["total_balance"].as_f64().unwrap();
    assert!(balance < 1_000_000.0, "{balance}");
    let placed = simulator.calls();
    assert_eq!((placed.len(), placed[0].call_id, placed[0].fate), (1, call_id, Fate::GoalMet));
    simulator.shutdown().await;
}

#[tokio::test]
async fn a_white_label_says_less_and_types_it_differently() {
    let (simulator, client) = start(SimulatorOptions { shape: Shape::WhiteLabel, ..options() }).await;
    let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
    assert_eq!((status, &body["data"]), (200, &json!({})));
    assert!(body.get("call_id").is_none() && body["message"] != "Call initiated successfully", "{body}");
    let call = call_with_status(&client, simulator.calls()[0].call_id, "completed").await;
    assert!(call["transcript"].as_str().unwrap().contains("Customer: "));
    assert_eq!(call["evaluation"]["appointment_booked"], true);
    assert!(call["total_cost"].as_f64().unwrap() > 0.0);
    assert!(call["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn sondos_mixes_the_two_and_speaks_english() {
    // Two real seconds: the first reading comes before the end.
    let timing = Timing { talk: Span::seconds(2_000, 2_000), ..Timing::default() };
    let (simulator, client) = start(SimulatorOptions { timing, echo_variables: false, ..shaped(Shape::Sondos) }).await;
    let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
    assert_eq!((status, body), (200, json!({"message": "Call initiated successfully", "data": {}})));
    let path = format!("/user/calls/{}", simulator.calls()[0].call_id);
    let early = client.get(&path).await.1;
    assert_eq!((&early["variables"], &early["evaluation"]), (&json!([]), &json!([])));
    let call = with_status(&client, &path, "completed").await;
    assert!(call["transcript"].is_string() && call["total_cost"].is_f64(), "{call}");
    assert_eq!(call["evaluation"]["appointment_booked"], true);
    assert!(call["created_at"].as_str().unwrap().ends_with(".000000Z"));
}

#[tokio::test]
async fn variables_come_back_only_if_told_to_and_empty_ones_are_an_array_at_famulor() {
    for (shape, empty) in [(Shape::Famulor, json!([])), (Shape::WhiteLabel, json!({}))] {
        let mix = OutcomeMix::only(Fate::Voicemail);
        let (simulator, client) = start(SimulatorOptions { shape, mix, echo_variables: false, ..options() }).await;
        client.ring(PHONE).await.unwrap();
        let call = call_with_status(&client, simulator.calls()[0].call_id, "completed").await;
        assert_eq!((&call["variables"], &call["evaluation"]), (&empty, &empty));
        assert_eq!(call["answered_by"], "machine");
    }
}

#[tokio::test]
async fn calls_that_reach_nobody_end_in_their_own_status() {
    for (fate, status) in [(Fate::NoAnswer, "no-answer"), (Fate::Busy, "busy"), (Fate::Failed, "failed")] {
        let (simulator, client) = start(SimulatorOptions { mix: OutcomeMix::only(fate), ..options() }).await;
        client.ring(PHONE).await.unwrap();
        let call = call_with_status(&client, simulator.calls()[0].call_id, status).await;
        assert_eq!((&call["answered_by"], &call["duration"]), (&Value::Null, &json!(0)));
        assert_eq!(call["total_cost"], "0.00000000");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_served_get_their_documented_answers() {
    let mix = OutcomeMix { refused_numbers: 1.0, ..OutcomeMix::default() };
    let (refusing, refused) = start(SimulatorOptions { mix, ..options() }).await;
    assert_eq!(refused.ring(PHONE).await.unwrap().status(), 400);
    let (simulator, client) = start(options()).await;
    for (body, status, field) in [
        (json!({"phone_number": "0221 55", "assistant_id": 123}), 400, None),
        (json!({"phone_number": PHONE, "assistant_id": 999}), 404, None),
        (json!({"phone_number": PHONE, "assistant_id": 124}), 403, None),
        (json!({"assistant_id": 123}), 422, Some("phone_number")),
        (json!({"phone_number": PHONE, "assistant_id": "Sales"}), 422, Some("assistant_id")),
        (json!({"phone_number": PHONE, "assistant_id": 123, "variables": 5}), 422, Some("variables")),
    ] {
        let (got, answer) = client.post("/user/make_call", body.clone()).await;
        assert_eq!(got, status, "{body}");
        assert!(answer["message"].is_string(), "{answer}");
        let errors = answer.get("errors").and_then(Value::as_object);
        assert_eq!(errors.and_then(|errors| errors.keys().next()).map(String::as_str), field);
    }
    simulator.set_balance(0.0);
    let (status, answer) = split(client.ring(PHONE).await.unwrap()).await;
    assert!(status == 422 && answer.get("errors").is_none(), "{answer}");
    assert_eq!(client.get("/user/calls/1").await, (404, json!({"message": "Call not found"})));
    assert_eq!(client.get("/user/nothing").await.0, 404);
    for key in [None, Some("wrong")] {
        let request = client.http.get(format!("{}/user/me", client.base));
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        let (status, answer) = split(request.send().await.unwrap()).await;
        assert!(status == 401 && answer["error"].is_string(), "{answer}");
    }
    assert_eq!((simulator.calls(), refusing.calls()), (vec![], vec![]));
}

/// What an entry of either list has (the pages of the lists, read 2026-11-21).
const OUTBOUND_FIELDS: &[&str] = &[
    "id",
    "user_id",
    "name",
    "type",
    "mode",
    "status",
    "voice_id",
    "language_id",
    "timezone",
    "initial_message",
    "system_prompt",
    "variables",
    "webhook_url",
    "is_webhook_active",
    "created_at",
    "updated_at",
];

/// What an entry of the paginated list has besides (its page, read 2026-11-21).
const FURTHER_FIELDS: &[&str] = &[
    "phone_number_id",
    "engine_id",
    "synthesizer_id",
    "transcriber_id",
    "instance_id",
    "post_call_evaluation",
    "fillers",
    "post_call_schema",
    "tools",
    "inbound_webhook_url",
    "language",
    "max_duration",
    "record",
    "flows_platform_id",
    "max_silence_duration",
    "reengagement_interval",
    "deleted_at",
    "end_call_on_voicemail",
    "llm_temperature",
    "voice_stability",
    "voice_similarity",
    "allow_interruptions",
    "enable_noise_cancellation",
    "endpoint_sensitivity",
    "speech_speed",
    "endpoint_type",
    "wait_for_customer",
    "transcriber_provider_id",
    "synthesizer_provider_id",
    "llm_model_id",
    "multimodal_model_id",
    "ambient_sound",
    "uuid",
    "send_webhook_only_on_completed",
    "include_recording_in_webhook",
    "interrupt_sensitivity",
    "filler_config",
    "knowledgebase_id",
    "knowledgebase_mode",
    "min_interrupt_words",
    "ambient_sound_volume",
    "widget_settings",
];

#[tokio::test]
async fn assistants_are_listed_in_both_ways() {
    let mut options = options().with_webhook("http://127.0.0.1:1/hook");
    options.assistants.push(Assistant { outbound: false, ..Assistant::new(200, "Reception") });
    let (simulator, client) = start(options).await;
    let statuses = |list: &Value| -> Vec<(u64, String)> {
        let entries = list.as_array().unwrap().iter();
        entries.map(|entry| (entry["id"].as_u64().unwrap(), entry["status"].as_str().unwrap().to_owned())).collect()
    };
    let expected = |first: &str| {
        [(123, first), (124, "inactive"), (125, "active")].map(|(id, status)| (id, status.to_owned())).to_vec()
    };
    let (_, outbound) = client.get("/user/assistants/outbound").await;
    assert_eq!(statuses(&outbound), expected("active"));
    assert_eq!(outbound[0]["webhook_url"], "http://127.0.0.1:1/hook");
    assert!(simulator.set_assistant_status(123, false) && !simulator.set_assistant_status(999, false));
    let (_, outbound) = client.get("/user/assistants/outbound").await;
    assert_eq!(statuses(&outbound), expected("inactive"));
    let (_, page) = client.get("/user/assistants/get?per_page=3&page=2").await;
    assert_eq!((&page["total"], &page["last_page"], &page["current_page"]), (&json!(4), &json!(2), &json!(2)));
    assert_eq!((&page["data"][0]["id"], &page["data"][0]["type"]), (&json!(200), &json!("inbound")));
    assert!(page["data"][0]["fillers"].is_u64() && page["data"][0]["llm_temperature"].is_string());
    assert_fields(&outbound[0], OUTBOUND_FIELDS);
    assert_fields(&page["data"][0], OUTBOUND_FIELDS);
    assert_fields(&page["data"][0], FURTHER_FIELDS);
    assert_fields(&page["data"][0]["filler_config"], &["neutral", "negative", "positive", "question"]);
    assert_fields(&page["data"][0]["post_call_schema"][0], &["name", "type", "description"]);
    assert_eq!(client.get("/user/assistants/get?per_page=101").await.0, 422);
}

#[tokio::test]
async fn calls_are_listed_newest_first_by_page_and_filter() {
    let (simulator, client) = start(options()).await;
    for number in 0..23 {
        client.ring(&phone(number)).await.unwrap();
    }
    client.ring(&phone(3)).await.unwrap();
    let ids = |page: &Value| -> Vec<u64> {
        page["data"].as_array().unwrap().iter().map(|call| call["id"].as_u64().unwrap()).collect()
    };
    let newest: Vec<u64> = simulator.calls().iter().rev().map(|call| call.call_id).collect();
    let (_, first) = client.get("/user/calls").await;
    assert_eq!(ids(&first), newest[..15]);
    assert_eq!((&first["total"], &first["last_page"], &first["per_page"]), (&json!(24), &json!(2), &json!(15)));
    assert!(first["next_page_url"].as_str().unwrap().ends_with("/api/user/calls?page=2"));
    let (_, third) = client.get("/user/calls?per_page=10&page=3").await;
    assert_eq!(ids(&third), newest[20..]);
    assert_eq!((&third["from"], &third["to"], &third["next_page_url"]), (&json!(21), &json!(24), &Value::Null));
    let encoded = phone(3).replace('+', "%2B");
    let query = format!("/user/calls?type=outbound&assistant_id=123&phone_number={encoded}&date_from=2026-03-01");
    let (_, of_phone) = client.get(&query).await;
    assert_eq!(ids(&of_phone), [newest[0], newest[20]]);
    for nothing in ["assistant_id=125", "type=inbound", "campaign_id=1", "date_to=2026-03-01", "status=busy", "page=9"]
    {
        let (status, page) = client.get(&format!("/user/calls?{nothing}")).await;
        assert!(status == 200 && ids(&page).is_empty() && page["from"].is_null(), "{nothing}: {page}");
    }
    for wrong in ["per_page=0", "per_page=101", "page=0", "status=voicemail", "date_from=yesterday", "assistant_id=x"] {
        assert_eq!(client.get(&format!("/user/calls?{wrong}")).await.0, 422, "{wrong}");
    }
}

#[tokio::test]
async fn the_list_shows_a_call_late_while_its_own_page_shows_it_at_once() {
    let (simulator, client) = start(options()).await;
    simulator.set_faults(Faults { list_lag: Span::seconds(900, 900), ..Faults::default() }).unwrap();
    client.ring(PHONE).await.unwrap();
    let call = simulator.calls().remove(0);
    assert_eq!(call.listed_at.duration_since(call.accepted_at), SignedDuration::from_secs(900));
    assert_eq!(client.get(&format!("/user/calls/{}", call.call_id)).await.0, 200);
    eventually("the listing", || async {
        let before = simulator.clock().now();
        let total = client.get("/user/calls?phone_number=%2B12025550100").await.1["total"].as_u64().unwrap();
        let after = simulator.clock().now();
        assert!(total == 1 || before < call.listed_at, "not listed at {before}");
        assert!(total == 0 || after >= call.listed_at, "listed at {after}");
        (total == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn completed_calls_are_reported_in_both_variants() {
    for shape in [Shape::Famulor, Shape::WhiteLabel] {
        let server = receiver().await;
        let (simulator, client) = start(SimulatorOptions { shape, ..options() }).await;
        simulator.set_webhook_url(&server.uri());
        client.ring(PHONE).await.unwrap();
        let body = received(&server, 1).await.remove(0);
        let call = simulator.calls().remove(0);
        assert_eq!((&body["id"], &body["status"]), (&json!(call.call_id), &json!("completed")));
        assert_eq!(body["extracted_variables"]["appointment_booked"], true);
        assert_eq!(body["input_variables"]["ref"], format!("token-{PHONE}"));
        assert!(body.get("answered_by").is_none());
        assert_eq!(body["transcript"].is_string(), shape == Shape::Famulor);
        assert_eq!(body.get("formatted_transcript").is_some(), shape == Shape::WhiteLabel);
        assert_eq!(body.get("campaign"), (shape == Shape::Famulor).then_some(&Value::Null));
        let sent = eventually("the record", || async { simulator.webhooks().pop() }).await;
        assert_eq!((sent.call_id, sent.status, sent.fault), (call.call_id, Some(204), None));
        assert!(sent.civil_at > call.completed_at);
    }
}

#[tokio::test]
async fn other_calls_are_reported_only_if_the_assistant_says_so() {
    let server = receiver().await;
    let options = SimulatorOptions { mix: OutcomeMix::only(Fate::Busy), ..options() };
    let (simulator, client) = start(options.with_webhook(&server.uri())).await;
    let everything = AssistantChange { send_webhook_only_on_completed: Some(false), ..AssistantChange::default() };
    assert!(simulator.change_assistants(Some(125), &everything));
    client.ring(PHONE).await.unwrap();
    let (status, _) = client.post("/user/make_call", json!({"phone_number": phone(1), "assistant_id": 125})).await;
    assert_eq!(status, 200);
    let bodies = received(&server, 1).await;
    assert_eq!((&bodies[0]["status"], &bodies[0]["customer_phone"]), (&json!("busy"), &json!(phone(1))));
    let much_later = simulator.calls()[0].completed_at + SignedDuration::from_secs(60);
    eventually("a minute", || async { (simulator.clock().now() > much_later).then_some(()) }).await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}
