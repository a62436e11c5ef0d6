//! What differs between brands: which list of assistants there is, where things are, which examples they print.

use outdial::adapter::provider::brand::{AUTOCALLS, BRANDS, Brand, FAMULOR, RosterSource, SONDOS};
use outdial::config::ApiPaths;
use outdial::port::provider::{CallQuery, Provider, ReadError};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{brand_provider, call_id, fixture, permit};

const OUTBOUND: &str = "/api/user/assistants/outbound";
const GET: &str = "/api/user/assistants/get";
const LIST: &str = r#"[{"id":1,"status":"active"}]"#;
const PAGE: &str = r#"{"data":[{"id":2,"status":"active","type":"outbound"}],"current_page":1,"last_page":1}"#;

async fn serve(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(server).await;
}

fn json(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(text, "application/json")
}

fn of(brand: &'static Brand, server: &MockServer) -> outdial::adapter::provider::AnyProvider {
    brand_provider(brand, &format!("{}/api", server.uri()), ApiPaths::default())
}

/// Asks for the assistants once, and answers with their ids.
async fn ids(provider: &impl Provider) -> Vec<String> {
    let assistants = provider.assistants().await.expect("a roster");
    assistants.into_iter().map(|assistant| assistant.assistant_id.to_string()).collect()
}

async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.expect("requests are recorded");
    requests.iter().map(|request| request.url.path().to_owned()).collect()
}

#[tokio::test]
async fn each_brand_asks_for_the_list_it_documents() {
    for brand in BRANDS {
        let server = MockServer::start().await;
        serve(&server, OUTBOUND, json(LIST)).await;
        serve(&server, GET, json(PAGE)).await;
        let (expected, first) = match brand.roster {
            RosterSource::Outbound => ("1", OUTBOUND),
            RosterSource::Get => ("2", GET),
        };
        assert_eq!(ids(&of(brand, &server)).await, [expected], "{}", brand.name);
        assert_eq!(asked(&server).await, [first], "{}", brand.name);
    }
    assert_eq!((FAMULOR.roster, SONDOS.roster), (RosterSource::Get, RosterSource::Outbound));
}

#[tokio::test]
async fn a_list_that_is_missing_is_replaced_by_the_other_and_not_asked_for_again() {
    for (brand, missing, present, answer, expected) in [
        (&AUTOCALLS, GET, OUTBOUND, LIST, "1"),
        (&FAMULOR, GET, OUTBOUND, LIST, "1"),
        (&SONDOS, OUTBOUND, GET, PAGE, "2"),
    ] {
        for status in [404, 405] {
            let server = MockServer::start().await;
            serve(&server, missing, ResponseTemplate::new(status)).await;
            serve(&server, present, json(answer)).await;
            let provider = of(brand, &server);
            assert_eq!(ids(&provider).await, [expected]);
            assert_eq!(ids(&provider).await, [expected]);
            assert_eq!(asked(&server).await, [missing, present, present], "{} {status}", brand.name);
        }
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_once_is_asked_for_again() {
    let server = MockServer::start().await;
    serve(&server, GET, json("{\"data\":7}")).await;
    serve(&server, OUTBOUND, json(LIST)).await;
    let provider = of(&FAMULOR, &server);
    assert_eq!(ids(&provider).await, ["1"]);
    assert_eq!(ids(&provider).await, ["1"]);
    assert_eq!(asked(&server).await, [GET, OUTBOUND, GET, OUTBOUND]);
}

#[tokio::test]
async fn where_neither_list_is_there_the_brands_own_is_complained_about() {
    let server = MockServer::start().await;
    serve(&server, GET, json("<html>login</html>")).await;
    let error = of(&FAMULOR, &server).assistants().await.expect_err("no roster");
    assert!(matches!(&error, ReadError::Unreadable { reason } if reason.contains("web page")), "{error}");
    let nothing = MockServer::start().await;
    assert!(matches!(of(&SONDOS, &nothing).assistants().await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn a_provider_that_wants_fewer_requests_is_not_asked_for_the_other_list() {
    let server = MockServer::start().await;
    serve(&server, GET, ResponseTemplate::new(429).set_body_string("{\"retry_after\":60}")).await;
    let error = of(&FAMULOR, &server).assistants().await.expect_err("no roster");
    assert!(matches!(error, ReadError::RateLimited { .. }), "{error}");
    assert_eq!(asked(&server).await, [GET]);
}

#[tokio::test]
async fn a_white_labels_own_paths_are_used_for_everything() {
    let server = MockServer::start().await;
    let own = |text: &str| Some(format!("v2/{text}"));
    let paths = ApiPaths {
        assistants_outbound: own("outbound"),
        assistants_get: own("all"),
        make_call: own("dial"),
        calls: own("log/calls"),
        me: own("account"),
    };
    serve(&server, "/api/v2/outbound", json(LIST)).await;
    serve(&server, "/api/v2/log/calls", json("[]")).await;
    serve(&server, "/api/v2/log/calls/7", json("{\"id\":7,\"status\":\"completed\"}")).await;
    serve(&server, "/api/v2/account", json("{\"total_balance\":1}")).await;
    let provider = brand_provider(&AUTOCALLS, &format!("{}/api", server.uri()), paths);
    assert_eq!(ids(&provider).await, ["1"]);
    let epoch = jiff::Timestamp::UNIX_EPOCH;
    let query = CallQuery { phone: None, since: epoch, until: epoch, page: 1 };
    assert!(provider.list_calls(&query).await.expect("a page").calls.is_empty());
    assert!(provider.read_call(&call_id("7")).await.is_ok());
    assert!(provider.health().await.is_ok_and(|standing| standing.is_good()));
    let _ = provider.place(permit(1).0).await;
    let expected = [
        "/api/v2/all",
        "/api/v2/outbound",
        "/api/v2/log/calls",
        "/api/v2/log/calls/7",
        "/api/v2/account",
        "/api/v2/dial",
    ];
    assert_eq!(asked(&server).await, expected);
}

/// The examples of the documentation, byte for byte: an editor that tidies them up would take their quirks away.
#[test]
fn the_documented_examples_are_as_they_were_printed() {
    for (name, digest) in [
        ("assistants_outbound_example_tr.json", "5e303a064dfb41e5b093b92bca845e49123342c655fa0f3a0138acedd98e20af"),
        ("assistants_outbound_famulor.json", "58391a1858df9298d9e1f50694b858bb10e39deda060da90c1f063db7b4baee6"),
        ("assistants_outbound_sondos.json", "80ca70362de2d68d3ee283c6d63d861ac134dbc086dbff89ace3641ba0dabefc"),
    ] {
        let found: String = Sha256::digest(fixture(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name}");
    }
}

/// Every field of the page about `assistants/get`, which prints no example. Read 2026-11-21.
const DOCUMENTED_FIELDS: &str = "
    id user_id phone_number_id engine_id synthesizer_id transcriber_id voice_id instance_id name variables
    post_call_evaluation fillers post_call_schema type tools is_webhook_active webhook_url inbound_webhook_url
    language status max_duration record initial_message system_prompt flows_platform_id timezone created_at
    updated_at max_silence_duration reengagement_interval deleted_at end_call_on_voicemail llm_temperature
    voice_stability voice_similarity allow_interruptions enable_noise_cancellation endpoint_sensitivity
    speech_speed endpoint_type wait_for_customer mode language_id transcriber_provider_id synthesizer_provider_id
    llm_model_id multimodal_model_id ambient_sound uuid send_webhook_only_on_completed
    include_recording_in_webhook interrupt_sensitivity filler_config knowledgebase_id knowledgebase_mode
    min_interrupt_words ambient_sound_volume widget_settings
";

#[test]
fn the_fixture_of_all_assistants_has_every_documented_field_and_no_other() {
    let page: Value = serde_json::from_str(&fixture("assistants_get_page_1.json")).expect("JSON");
    for entry in page["data"].as_array().expect("a list") {
        let mut found: Vec<_> = entry.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut documented: Vec<_> = DOCUMENTED_FIELDS.split_whitespace().collect();
        found.sort_unstable();
        documented.sort_unstable();
        assert_eq!(found, documented);
    }
    for field in ["current_page", "per_page", "total", "last_page"] {
        assert!(page[field].is_u64(), "{field}");
    }
}

#[tokio::test]
async fn a_paginator_with_links_and_fields_of_other_shapes_is_read() {
    // WhatTalk docs print Laravel's whole paginator; Famulor docs `tools` as names, `filler_config` with a flag, and a
    // `max_duration` above the documented bound. Both `assistants/get`, read 2026-11-21.
    let entry = r#"{"id":127,"engine_id":null,"name":"Outreach","variables":{"rep_name":"Ann","lead":null},"tools":["crm"],
        "filler_config":{"enabled":true,"phrases":["Hm"]},"is_webhook_active":1,"webhook_url":"https://x.example.org/h",
        "language":null,"type":"outbound","status":"active","max_duration":1800,"initial_message":"Hi {{lead}}",
        "system_prompt":"You are {rep_name}.","deleted_at":null,"send_webhook_only_on_completed":false,"ringing_time":30}"#;
    let body = format!(
        r#"{{"current_page":1,"data":[{entry}],"first_page_url":"u?page=1","from":1,"last_page":1,"last_page_url":"u?page=1",
        "links":[{{"url":null,"label":"&laquo; Previous","active":false}}],"next_page_url":null,"path":"u","per_page":100,
        "prev_page_url":null,"to":1,"total":1}}"#
    );
    let server = MockServer::start().await;
    serve(&server, GET, json(&body)).await;
    let [outreach] = &of(&AUTOCALLS, &server).assistants().await.expect("a roster")[..] else {
        panic!("one assistant")
    };
    assert!(outreach.active);
    assert_eq!(outreach.variables, ["rep_name", "lead"]);
    assert_eq!(outreach.details.named_variables, ["lead", "rep_name"]);
    assert_eq!(outreach.details.filled_variables, ["rep_name"]);
    assert_eq!(outreach.details.call_max, Some(jiff::SignedDuration::from_mins(30)));
    assert!(outreach.reports_every_end(Some("https://x.example.org/")));
}

#[tokio::test]
async fn which_list_answered_makes_no_difference_to_the_fingerprint() {
    let roster = serde_json::from_str::<Vec<Value>>(&fixture("assistants_outbound_famulor.json")).expect("a list");
    let mut full = roster.clone();
    for entry in &mut full {
        let more = serde_json::json!({"max_duration": 600, "language": "en", "voice_id": "8", "deleted_at": null});
        if entry["voice_id"] == 8 {
            entry.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        }
    }
    let (short, long) = (MockServer::start().await, MockServer::start().await);
    serve(&short, OUTBOUND, json(&Value::from(roster).to_string())).await;
    serve(&long, GET, json(&serde_json::json!({"data": full, "last_page": 1}).to_string())).await;
    let (short, long) = (of(&AUTOCALLS, &short).assistants().await, of(&AUTOCALLS, &long).assistants().await);
    let prints = |roster: Result<Vec<outdial::domain::assistant::Assistant>, ReadError>| -> Vec<_> {
        roster.expect("a roster").into_iter().map(|assistant| assistant.details.fingerprint).collect()
    };
    let (short, long) = (prints(short), prints(long));
    assert!(short.iter().all(Option::is_some) && short[0] != short[1]);
    assert_eq!(short, long);
}

#[tokio::test]
async fn nothing_that_an_assistant_says_is_kept_or_shown() {
    let server = MockServer::start().await;
    serve(&server, OUTBOUND, json(&fixture("assistants_outbound_famulor.json"))).await;
    let roster = of(&SONDOS, &server).assistants().await.expect("a roster");
    let shown = format!("{roster:?}");
    for words in ["Sarah", "sales representative", "Premium Services", "5_minutes"] {
        assert!(!shown.contains(words), "{words} in {shown}");
    }
}
