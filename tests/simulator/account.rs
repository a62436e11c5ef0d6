//! What happens to an account while it is used: money, keys, caps, limits, assistants.

use jiff::SignedDuration;
use outdial::adapter::simulator::{AssistantChange, Quirks, RateLimit, Shape, SimulatorOptions};
use reqwest::Method;
use serde_json::json;

use super::support::*;

#[tokio::test]
async fn money_runs_out_and_comes_back() {
    for shape in [Shape::Famulor, Shape::Sondos, Shape::WhiteLabel] {
        let (simulator, client) = start(SimulatorOptions { balance: 0.01, ..shaped(shape) }).await;
        assert_eq!(client.ring(&phone(1)).await.unwrap().status(), 200);
        let (status, body) = split(client.ring(&phone(2)).await.unwrap()).await;
        assert!(status == 422 && body.get("errors").is_none() && body["message"].is_string(), "{body}");
        assert_eq!(client.get("/user/me").await.1["total_balance"], 0.0, "never below");
        simulator.set_balance(5.0);
        assert_eq!(client.get("/user/me").await.1["total_balance"], 5.0);
        assert_eq!(client.ring(&phone(2)).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_until_it_works_again_in_every_shape() {
    for shape in Shape::ALL {
        let (simulator, client) = start(shaped(shape)).await;
        simulator.set_key_revoked(true);
        let (status, body) = split(client.ring(PHONE).await.unwrap()).await;
        assert!(status == 401 && body["error"].is_string(), "{body}");
        assert_eq!(client.get(client.readable()).await.0, 401);
        simulator.set_key_revoked(false);
        assert_eq!(client.ring(PHONE).await.unwrap().status(), 200);
        assert_eq!(simulator.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_daily_cap_refuses_with_the_chosen_status_in_every_shape() {
    for shape in Shape::ALL {
        let quirks = Quirks { cap_status: 422, ..Quirks::default() };
        let (simulator, client) = start(SimulatorOptions { calls_per_day: Some(2), quirks, ..shaped(shape) }).await;
        let mut statuses = Vec::new();
        for number in 0..3 {
            statuses.push(client.ring(&phone(number)).await.unwrap().status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 422]);
        simulator.set_calls_per_day(None);
        assert_eq!(client.ring(&phone(3)).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_inactive_assistant_refuses_with_the_chosen_status_and_a_deleted_one_is_gone() {
    for shape in Shape::ALL {
        let quirks = Quirks { inactive_status: 409, ..Quirks::default() };
        let (simulator, client) = start(SimulatorOptions { quirks, ..shaped(shape) }).await;
        assert!(simulator.set_assistant_status(123, false));
        assert_eq!(client.ring(PHONE).await.unwrap().status(), 409);
        assert!(simulator.set_assistant_status(123, true));
        assert_eq!(client.ring(PHONE).await.unwrap().status(), 200);
        let deleted = AssistantChange { deleted: Some(true), ..AssistantChange::default() };
        assert!(simulator.change_assistants(Some(123), &deleted));
        assert_eq!(client.ring(PHONE).await.unwrap().status(), 404);
        assert_eq!(simulator.calls().len(), 1);
    }
}

#[tokio::test]
async fn what_an_assistant_says_changes_and_the_lists_show_it() {
    let (simulator, client) = start(options()).await;
    let before = client.get("/user/assistants/outbound").await.1[0].clone();
    let change = AssistantChange {
        system_prompt: Some("Be brief.".to_owned()),
        initial_message: Some("Hello!".to_owned()),
        voice_id: Some(12),
        name: Some("Sales Summer".to_owned()),
        ..AssistantChange::default()
    };
    assert!(simulator.change_assistants(Some(123), &change));
    for path in ["/user/assistants/outbound", "/user/assistants/get"] {
        let (_, list) = client.get(path).await;
        let after = list.get(0).unwrap_or_else(|| &list["data"][0]);
        for (field, value) in [
            ("system_prompt", json!("Be brief.")),
            ("initial_message", json!("Hello!")),
            ("voice_id", json!(12)),
            ("name", json!("Sales Summer")),
        ] {
            assert_eq!((&after[field], before[field] == after[field]), (&value, false));
        }
        assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    }
    let deleted = AssistantChange { deleted: Some(true), ..AssistantChange::default() };
    assert!(simulator.change_assistants(Some(123), &deleted));
    let (_, outbound) = client.get("/user/assistants/outbound").await;
    assert_eq!(outbound[0]["id"], 124);
    let (_, page) = client.get("/user/assistants/get").await;
    assert!(page["data"][0]["deleted_at"].is_string() && page["data"][1]["deleted_at"].is_null());
}

#[tokio::test]
async fn a_request_limit_answers_429_and_counts_down_in_headers() {
    let options = SimulatorOptions { rate: Some(RateLimit::enforced(3)), clock: fast(1), ..options() };
    let (simulator, client) = start(options).await;
    let mut remaining = Vec::new();
    for _ in 0..3 {
        let response = client.request(Method::GET, "/user/me").send().await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-limit"], "3");
        remaining.push(response.headers()["x-ratelimit-remaining"].to_str().unwrap().to_owned());
    }
    assert_eq!(remaining, ["2", "1", "0"]);
    let response = client.ring(PHONE).await.unwrap();
    let reset: i64 = response.headers()["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&(reset - simulator.clock().now().as_second())));
    let (status, body) = split(response).await;
    assert!(status == 429 && (1..=60).contains(&body["retry_after"].as_u64().unwrap()), "{body}");
    assert_eq!(simulator.calls(), []);
    simulator.set_rate_limit(None);
    let response = client.ring(PHONE).await.unwrap();
    assert!(response.status() == 200 && !response.headers().contains_key("x-ratelimit-limit"));
}

#[tokio::test]
async fn famulors_limit_is_told_and_its_burst_enforced_only_if_asked_to() {
    let documented = Shape::Famulor.documented_rate().unwrap();
    for enforced in [false, true] {
        let rate = Some(RateLimit { enforced, ..documented });
        let (simulator, client) = start(SimulatorOptions { rate, clock: fast(1), ..options() }).await;
        let mut served = 0;
        let mut last = None;
        for _ in 0..25 {
            let response = client.request(Method::GET, "/user/me").send().await.unwrap();
            assert_eq!(response.headers()["x-ratelimit-limit"], "100");
            served += u32::from(response.status() == 200);
            last = Some(response);
        }
        let last = last.unwrap();
        let remaining: u32 = last.headers()["x-ratelimit-remaining"].to_str().unwrap().parse().unwrap();
        assert_eq!((served, remaining), if enforced { (20, 80) } else { (25, 75) });
        let (status, body) = split(last).await;
        if enforced {
            assert!(status == 429 && (1..=10).contains(&body["retry_after"].as_u64().unwrap()), "{body}");
            let later = simulator.clock().now() + SignedDuration::from_secs(body["retry_after"].as_i64().unwrap());
            assert!(later > simulator.clock().now());
        }
    }
    for shape in [Shape::Sondos, Shape::WhiteLabel, Shape::HappyRobotV1, Shape::HappyRobotV2] {
        assert_eq!(shape.documented_rate(), None);
    }
}

#[tokio::test]
async fn happyrobot_refuses_too_many_requests_without_a_word_about_how_many() {
    for shape in [Shape::HappyRobotV1, Shape::HappyRobotV2] {
        let rate = Some(RateLimit::enforced(1));
        let (simulator, client) = start(SimulatorOptions { rate, clock: fast(1), ..shaped(shape) }).await;
        assert_eq!(client.get(client.readable()).await.0, 200);
        let response = client.ring(PHONE).await.unwrap();
        assert!(response.status() == 429 && !response.headers().contains_key("x-ratelimit-remaining"));
        assert_eq!(simulator.calls(), []);
    }
}

#[tokio::test]
async fn all_of_it_is_done_over_http_too() {
    let (simulator, client) = start(options()).await;
    let control = async |path: &str, body| client.control(Method::POST, path, Some(body)).await.0;
    assert_eq!(control("key", json!({"revoked": true})).await, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 401);
    assert_eq!(control("key", json!({"revoked": false})).await, 204);
    assert_eq!(control("limits", json!({"calls_per_day": 0})).await, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 403);
    let rate = json!({"per_minute": 1, "burst": {"requests": 1, "seconds": 10}, "enforced": true});
    assert_eq!(control("limits", json!({"rate": rate})).await, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 200);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 429);
    assert_eq!(control("limits", json!({})).await, 204);
    assert_eq!(control("quirks", json!({"inactive_status": 409, "language": "tr"})).await, 204);
    assert_eq!(control("assistants/123", json!({"active": false})).await, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 409);
    assert_eq!(control("quirks", json!({"type_drift": 2})).await, 422);
    assert_eq!(client.control(Method::GET, "quirks", None).await.1["language"], "tr");
    assert_eq!(control("assistants/123", json!({"deleted": true, "system_prompt": "x"})).await, 204);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 404);
    assert_eq!(simulator.calls().len(), 1);
}
