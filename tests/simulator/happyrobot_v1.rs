//! HappyRobot's first API.

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::simulator::{
    AssistantChange, Fate, OutcomeMix, Shape, SimulatorHandle, SimulatorOptions, Span, Timing,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::*;

fn v1() -> SimulatorOptions {
    shaped(Shape::HappyRobotV1)
}

/// Every field of the documented request (seed page, read 2026-11-21).
fn documented_request(phone: &str) -> Value {
    json!({
        "assistant_id": "123", "voice_id": "v-1", "model": "Fast", "number_id": "n-1", "prompt_id": "p-1",
        "use_case_id": "u-1", "agent_id": "a-1", "model_id": "m-1", "phone_number": phone, "language": "en-US",
        "params": {"name": "Kim"}, "metadata": {"clientId": "123", "orderId": "456"}, "campaign_id": "c-1",
        "max_duration_mins": 1,
    })
}

#[tokio::test]
async fn a_dial_is_answered_field_by_field_and_without_a_status() {
    let (simulator, client) = start(v1().with_webhook("http://127.0.0.1:1/hook")).await;
    assert!(client.base.ends_with("/api/v1"));
    let (status, body) = client.post("/dial/outbound", documented_request(PHONE)).await;
    assert_eq!(status, 200, "{body}");
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["id", "organization_id", "metadata", "use_case", "params", "created"]);
    assert_eq!(body["id"].as_str().unwrap().len(), 24);
    let metadata: Vec<&String> = body["metadata"].as_object().unwrap().keys().collect();
    assert_eq!(metadata, ["call_sid", "from", "to", "recording_sid", "tags", "custom"]);
    assert_eq!(body["metadata"]["custom"], json!({"clientId": "123", "orderId": "456"}));
    assert_eq!((&body["metadata"]["to"], &body["params"]["name"]), (&json!(PHONE), &json!("Kim")));
    let use_case: Vec<&String> = body["use_case"].as_object().unwrap().keys().collect();
    assert_eq!(
        use_case,
        [
            "id",
            "organization_id",
            "name",
            "transfer_number",
            "extract_with_ai",
            "classification_tags",
            "language",
            "detailed_work_hours",
            "work_start",
            "work_end",
            "timezone",
            "generic_after_hours_message",
            "enable_detailed_work_hours",
            "keywords",
            "hooks",
            "params",
            "amd",
            "amd_behavior",
            "amd_messages",
            "sample_labels",
            "hidden",
            "evaluation_models",
            "max_duration_mins",
            "recorded_message_inbound",
            "recorded_message_outbound",
            "show_original_caller_id",
            "disable_end_call_after_n_reminders",
            "model",
        ]
    );
    assert_fields(&body["use_case"]["extract_with_ai"][0], &["name", "description", "type", "example", "required"]);
    assert_eq!(body["use_case"]["hooks"][0]["url"], "http://127.0.0.1:1/hook");
    assert!(body["created"].as_str().unwrap().parse::<Timestamp>().is_ok());
    let call = simulator.calls().remove(0);
    assert_eq!((&call.phone, call.assistant_id, &json!(call.wire_id)), (&PHONE.to_owned(), 123, &body["id"]));
    assert_eq!(call.options["campaign_id"], "c-1");
    assert!(call.variables.contains_key("orderId") && call.variables.contains_key("name"));
    let talked = call.ended_at.duration_since(call.answered_at.unwrap());
    assert!(talked <= SignedDuration::from_mins(1), "no longer than max_duration_mins: {talked}");
}

async fn life_of(fate: Fate) -> (SimulatorHandle, Client, String) {
    // Long enough in real time to be seen by somebody who looks all the time.
    let (setup, ring, talk) = (Span::seconds(200, 200), Span::seconds(400, 400), Span::seconds(400, 400));
    let timing = Timing { setup, ring, talk, ..Timing::default() };
    let queue = Span::seconds(400, 400);
    let (simulator, client) = start(SimulatorOptions { mix: OutcomeMix::only(fate), timing, queue, ..v1() }).await;
    let (_, body) = split(client.ring(PHONE).await.unwrap()).await;
    let path = format!("/calls/{}", body["id"].as_str().unwrap());
    (simulator, client, path)
}

#[tokio::test]
async fn calls_pass_through_the_words_of_this_api() {
    let (_simulator, client, path) = life_of(Fate::GoalMet).await;
    assert_eq!(client.get(&path).await.1["status"], "Queued");
    for word in ["Ringing", "In progress", "Completed"] {
        with_status(&client, &path, word).await;
    }
    let call = eventually("the extraction", || async {
        let (_, call) = client.get(&path).await;
        (call["extraction"]["appointment_booked"] == true).then_some(call)
    })
    .await;
    assert_fields(
        &call,
        &[
            "id",
            "organization_id",
            "type",
            "status",
            "provider",
            "metadata",
            "use_case",
            "prompt_id",
            "agent",
            "language",
            "params",
            "extraction",
            "classification",
            "created",
            "duration",
            "viewed_by",
            "parent_call_id",
            "notes",
            "samples",
            "ratings",
        ],
    );
    assert_eq!((&call["type"], &call["metadata"]["to"]), (&json!("Outbound"), &json!(PHONE)));
    assert_eq!(call["metadata"]["custom"]["ref"], format!("token-{PHONE}"));
    assert!(call["duration"].as_i64().unwrap() >= 15);
    let (_, transcript) = client.get(&format!("{path}/transcript")).await;
    assert_eq!((&transcript["call_id"], &transcript["messages"][1]["role"]), (&call["id"], &json!("user")));
    for (fate, word) in [
        (Fate::Voicemail, "AMD Terminated"),
        (Fate::NoAnswer, "No answer"),
        (Fate::Busy, "Busy"),
        (Fate::Failed, "Failed"),
    ] {
        let (_simulator, client, path) = life_of(fate).await;
        let call = with_status(&client, &path, word).await;
        assert_eq!(call["extraction"], json!({}), "{word}");
    }
}

#[tokio::test]
async fn a_call_for_later_is_scheduled_and_dialed_then() {
    let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..v1() }).await;
    let mut request = documented_request(PHONE);
    request["scheduled_for"] = "2026-03-02T11:00:00Z".into();
    let (_, body) = client.post("/dial/outbound", request).await;
    let (_, call) = client.get(&format!("/calls/{}", body["id"].as_str().unwrap())).await;
    assert_eq!(call["status"], "Scheduled");
    assert_eq!(simulator.calls()[0].starts_at, "2026-03-02T11:00:00Z".parse().unwrap());
}

#[tokio::test]
async fn calls_are_listed_by_limit_and_skip() {
    let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..v1() }).await;
    for number in 0..5 {
        client.ring(&phone(number)).await.unwrap();
    }
    let newest: Vec<String> = simulator.calls().iter().rev().map(|call| call.wire_id.clone()).collect();
    let ids = |page: &Value| -> Vec<String> {
        page["calls"].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = client.get("/calls?type=outbound").await;
    assert_eq!(
        (ids(&all), &all["count"], &all["limit"], &all["offset"]),
        (newest.clone(), &json!(5), &json!(2000), &json!(0))
    );
    let (_, page) = client.get("/calls?limit=2&skip=1&sort=desc").await;
    assert_eq!(
        (ids(&page), &page["count"], &page["limit"], &page["offset"]),
        (newest[1..3].to_vec(), &json!(5), &json!(2), &json!(1))
    );
    let (_, oldest) = client.get("/calls?limit=1&sort=asc").await;
    assert_eq!(ids(&oldest), newest[4..]);
    let encoded = phone(3).replace('+', "%2B");
    let (_, found) = client.get(&format!("/calls?search={encoded}&from=2026-03-02T00:00:00Z&to=2026-03-03")).await;
    assert_eq!(ids(&found), newest[1..2]);
    for nothing in ["type=Inbound", "from=2026-03-03", "to=2026-03-02", "use_cases=x", "statuses=Busy,Failed"] {
        let (status, page) = client.get(&format!("/calls?{nothing}")).await;
        assert_eq!((status, &page["count"]), (200, &json!(0)), "{nothing}");
    }
    for wrong in ["limit=x", "sort=up", "from=yesterday", "statuses=Gone"] {
        assert_eq!(client.get(&format!("/calls?{wrong}")).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_answered_with_a_body() {
    let (simulator, client) = start(v1()).await;
    let dial = |change: Value| {
        let mut request = documented_request(PHONE);
        for (name, value) in change.as_object().unwrap() {
            request[name] = value.clone();
        }
        client.post("/dial/outbound", request)
    };
    for (change, expected) in [
        (json!({"phone_number": "0221 55"}), 400),
        (json!({"phone_number": null}), 400),
        (json!({"assistant_id": null, "agent_id": null, "use_case_id": null}), 400),
        (json!({"metadata": "x"}), 400),
        (json!({"scheduled_for": "soon"}), 400),
        (json!({"max_duration_mins": "long"}), 400),
        (json!({"assistant_id": "999"}), 404),
        (json!({"assistant_id": "124"}), 403),
    ] {
        let (status, body) = dial(change.clone()).await;
        assert_eq!((status, &body["statusCode"]), (expected, &json!(expected)), "{change}: {body}");
        assert!(body["error"].is_string() && body["message"].is_string(), "{body}");
    }
    simulator.set_balance(0.0);
    assert_eq!(dial(json!({})).await.0, 402);
    for path in ["/calls/480001", "/user/me", "/calls/x/stop"] {
        assert_eq!(client.get(path).await.0, 404, "{path}");
    }
    let outside = client.http.get(client.base.replace("/api/v1", "/api/user/me")).bearer_auth("simulated-key");
    assert_eq!(outside.send().await.unwrap().status(), 404);
    let keyless = client.http.get(format!("{}/calls", client.base));
    let (status, body) = split(keyless.bearer_auth("wrong").send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (401, &json!("Unauthorized")));
    assert_eq!(simulator.calls(), []);
    let answer = client.request(Method::GET, "/calls").send().await.unwrap();
    assert!(!answer.headers().contains_key("x-ratelimit-limit"));
}

#[tokio::test]
async fn hooks_tell_of_the_start_and_the_end_with_the_headers_of_the_use_case() {
    let server = receiver().await;
    let (simulator, client) = start(v1().with_webhook(&server.uri())).await;
    let headers = [("x-secret".to_owned(), "open sesame".to_owned())].into();
    let change = AssistantChange { webhook_headers: Some(headers), ..AssistantChange::default() };
    assert!(simulator.change_assistants(None, &change));
    client.ring(PHONE).await.unwrap();
    let hooks = received(&server, 2).await;
    let told: Vec<_> = hooks.iter().map(|hook| (hook["type"].clone(), hook["call"]["status"].clone())).collect();
    assert_eq!(told, [(json!("start"), json!("Ringing")), (json!("end"), json!("Completed"))]);
    assert_eq!(hooks[1]["call"]["extraction"]["appointment_booked"], true);
    assert_eq!(hooks[1]["call"]["id"], simulator.calls()[0].wire_id);
    let requests = server.received_requests().await.unwrap();
    assert!(requests.iter().all(|request| request.headers["x-secret"] == "open sesame"));
    let events = eventually("the records", || async {
        let events: Vec<String> = simulator.webhooks().into_iter().map(|webhook| webhook.event).collect();
        (events.len() == 2).then_some(events)
    })
    .await;
    assert_eq!(events, ["start", "end"]);
}
