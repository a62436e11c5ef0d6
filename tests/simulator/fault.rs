//! What goes wrong on purpose, for every shape.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use outdial::adapter::simulator::{Fault, Faults, ReadFaults, Shape, SimulatorOptions, Span, Timing};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::*;

/// Faults that tell a client nothing, or too little: whether a call was placed only the record knows.
#[tokio::test]
async fn faults_of_placing_do_what_their_names_say_in_every_shape() {
    for shape in Shape::ALL {
        faults_of_placing_do_what_their_names_say(shape).await;
    }
}

async fn faults_of_placing_do_what_their_names_say(shape: Shape) {
    let only = |fault: Fault| -> Faults { format!("{fault}=1,slow_for_ms=300,retry_after=7").parse().unwrap() };
    let (simulator, client) = start(shaped(shape)).await;
    let placed = |phone: &str| simulator.calls().iter().filter(|call| call.phone == phone).count();
    let mut number = 0;
    let mut next_phone = || {
        number += 1;
        phone(number)
    };
    for (fault, places) in [(Fault::AcceptedThenConnectionLost, 1), (Fault::RefusedThenConnectionLost, 0)] {
        simulator.set_faults(only(fault)).unwrap();
        let phone = next_phone();
        let error = client.ring(&phone).await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout() && !error.is_connect(), "{error:?}");
        assert_eq!(placed(&phone), places, "{fault}");
        let request = requests(&simulator).pop().unwrap();
        assert_eq!((request.status, request.fault, request.phone), (None, Some(fault), Some(phone)));
    }
    for (fault, places) in [(Fault::AcceptedThen500, 1), (Fault::RefusedWith500, 0)] {
        simulator.set_faults(only(fault)).unwrap();
        let phone = next_phone();
        assert_eq!(client.ring(&phone).await.unwrap().status(), 500);
        assert_eq!(placed(&phone), places, "{fault}");
    }

    simulator.set_faults(only(Fault::SlowerThanTimeout)).unwrap();
    let slow = next_phone();
    let hasty = client.dial(&slow).timeout(Duration::from_millis(100));
    assert!(hasty.send().await.unwrap_err().is_timeout());
    assert_eq!(placed(&slow), 1, "the client left, the call stays");
    let since = Instant::now();
    assert_eq!(client.ring(&next_phone()).await.unwrap().status(), 200);
    assert!(since.elapsed() >= Duration::from_millis(300));

    simulator.set_faults(only(Fault::TruncatedJson)).unwrap();
    let cut = next_phone();
    let text = client.ring(&cut).await.unwrap().text().await.unwrap();
    assert!(text.starts_with('{') && serde_json::from_str::<Value>(&text).is_err(), "{text}");
    assert_eq!(placed(&cut), 1);
    simulator.set_faults(only(Fault::RateLimited)).unwrap();
    let limited = next_phone();
    let (status, body) = split(client.ring(&limited).await.unwrap()).await;
    assert_eq!((status, placed(&limited)), (429, 0));
    match shape {
        Shape::Famulor | Shape::Sondos | Shape::WhiteLabel => assert_eq!(body["retry_after"], 7),
        Shape::HappyRobotV1 | Shape::HappyRobotV2 => assert_eq!(body["statusCode"], 429),
    }

    for (fault, statuses) in [(Fault::Html, vec![200]), (Fault::Redirect, vec![302, 307])] {
        simulator.set_faults(only(fault)).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..60 {
            let phone = next_phone();
            let response = client.ring(&phone).await.unwrap();
            assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
            let location = response.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
            match response.status().as_u16() {
                307 => assert!(client.dial(&phone).build().unwrap().url().path() == location.unwrap()),
                302 => assert_eq!(location.as_deref(), Some("/login")),
                _ => assert_eq!(location, None),
            }
            seen.insert((response.status().as_u16(), placed(&phone)));
        }
        let with_and_without: BTreeSet<_> = statuses.iter().flat_map(|status| [(*status, 0), (*status, 1)]).collect();
        assert_eq!(seen, with_and_without, "{fault}");
    }
    assert!(simulator.set_faults(Faults { html: 2.0, ..Faults::default() }).is_err());
}

#[tokio::test]
async fn both_kinds_of_a_429_occur() {
    for shape in Shape::ALL {
        let (simulator, client) = start(shaped(shape)).await;
        simulator.set_faults(Faults { rate_limited: 1.0, ..Faults::default() }).unwrap();
        let mut kinds = BTreeSet::new();
        for number in 0..30 {
            let response = client.ring(&phone(number)).await.unwrap();
            let header = response.headers().contains_key("retry-after");
            let (_, body) = split(response).await;
            kinds.insert((header, body.get("error").is_some(), body.get("retry_after").is_some()));
        }
        let expected = match shape {
            Shape::Famulor | Shape::Sondos | Shape::WhiteLabel => [(false, true, true), (false, false, true)],
            Shape::HappyRobotV1 | Shape::HappyRobotV2 => [(true, true, false), (false, true, false)],
        };
        assert_eq!(kinds, BTreeSet::from(expected), "{shape}");
    }
}

#[tokio::test]
async fn faults_of_reading_have_a_switch_of_their_own_in_every_shape() {
    for shape in Shape::ALL {
        faults_of_reading_have_a_switch_of_their_own(shape).await;
    }
}

async fn faults_of_reading_have_a_switch_of_their_own(shape: Shape) {
    let (simulator, client) = start(shaped(shape)).await;
    let reading = |reads| Faults { reads, ..Faults::default() };
    let ask = || client.request(Method::GET, client.readable()).send();
    simulator.set_faults(reading(ReadFaults { server_error: 1.0, ..ReadFaults::default() })).unwrap();
    assert_eq!(ask().await.unwrap().status(), 500);
    assert_eq!(client.ring(PHONE).await.unwrap().status(), 200, "placing is untouched");
    simulator.set_faults(reading(ReadFaults { html: 1.0, ..ReadFaults::default() })).unwrap();
    assert!(ask().await.unwrap().text().await.unwrap().starts_with("<!DOCTYPE"));
    simulator.set_faults(reading(ReadFaults { truncated_json: 1.0, ..ReadFaults::default() })).unwrap();
    assert!(ask().await.unwrap().json::<Value>().await.is_err());
    simulator.set_faults(reading(ReadFaults { rate_limited: 1.0, ..ReadFaults::default() })).unwrap();
    assert_eq!(ask().await.unwrap().status(), 429);
    simulator.set_faults(reading(ReadFaults { connection_lost: 1.0, ..ReadFaults::default() })).unwrap();
    assert!(ask().await.is_err());
    simulator.set_faults(Faults::all(0.1)).unwrap();
    assert_eq!(ask().await.unwrap().status(), 200, "faults of placing do not touch reads");
}

#[tokio::test]
async fn webhooks_are_lost_doubled_delayed_and_overtaken() {
    let server = receiver().await;
    let timing = Timing { talk: Span::seconds(5, 5), ..Timing::default() };
    let (simulator, client) = start(SimulatorOptions { timing, ..options() }.with_webhook(&server.uri())).await;
    let hit = |fault: Fault| -> Faults { format!("{fault}=1,webhook_late_by=200").parse().unwrap() };
    let sent = |fault| simulator.webhooks().into_iter().rfind(|webhook| webhook.fault == Some(fault));

    simulator.set_faults(hit(Fault::WebhookLost)).unwrap();
    client.ring(&phone(1)).await.unwrap();
    let lost = eventually("the loss", || async { sent(Fault::WebhookLost) }).await;
    assert_eq!(lost.status, None);
    assert_eq!(server.received_requests().await.unwrap().len(), 0);

    simulator.set_faults(hit(Fault::WebhookTwice)).unwrap();
    client.ring(&phone(2)).await.unwrap();
    let twice = received(&server, 2).await;
    assert_eq!(twice[0], twice[1]);

    simulator.set_faults(hit(Fault::WebhookLate)).unwrap();
    client.ring(&phone(3)).await.unwrap();
    let late = eventually("the delay", || async { sent(Fault::WebhookLate) }).await;
    let completed_at = simulator.calls()[2].completed_at;
    assert!(late.civil_at.duration_since(completed_at) >= SignedDuration::from_secs(200), "{late:?}");

    // Held back, and nothing overtakes it: it goes out at the latest moment.
    simulator.set_faults(hit(Fault::WebhookOutOfOrder)).unwrap();
    client.ring(&phone(4)).await.unwrap();
    let alone = eventually("the release", || async { sent(Fault::WebhookOutOfOrder) }).await;
    assert_eq!(alone.call_id, simulator.calls()[3].call_id);

    // Some are held back so long that only another one's webhook can let them out.
    simulator.set_faults("webhook_out_of_order=0.5,webhook_late_by=1000000".parse().unwrap()).unwrap();
    let before = simulator.webhooks().len();
    let mut rung = 4;
    eventually("one that was overtaken", || {
        rung += 1;
        let (simulator, client) = (&simulator, &client);
        async move {
            client.ring(&phone(rung)).await.unwrap();
            let webhooks = simulator.webhooks().split_off(before);
            let overtaken = webhooks.iter().position(|webhook| webhook.fault == Some(Fault::WebhookOutOfOrder))?;
            assert!(webhooks[..overtaken].iter().any(|webhook| webhook.fault.is_none()), "{webhooks:?}");
            Some(())
        }
    })
    .await;
}

#[tokio::test]
async fn hooks_of_happyrobot_v1_are_hit_one_by_one() {
    webhooks_are_hit_one_by_one(Shape::HappyRobotV1, "/type").await;
}

#[tokio::test]
async fn events_of_happyrobot_v2_are_hit_one_by_one() {
    webhooks_are_hit_one_by_one(Shape::HappyRobotV2, "/data/status/current").await;
}

/// Every event of a call is lost, doubled or late by itself. What is at `path` tells the events of a call apart.
async fn webhooks_are_hit_one_by_one(shape: Shape, path: &str) {
    let server = receiver().await;
    let timing = Timing { talk: Span::seconds(5, 5), ..Timing::default() };
    let (simulator, client) = start(SimulatorOptions { timing, ..shaped(shape) }.with_webhook(&server.uri())).await;
    let hit = |fault: Fault| -> Faults { format!("{fault}=1,webhook_late_by=200").parse().unwrap() };
    simulator.set_faults(hit(Fault::WebhookLost)).unwrap();
    client.ring(&phone(1)).await.unwrap();
    eventually("both losses", || async { (simulator.webhooks().len() == 2).then_some(()) }).await;
    assert!(simulator.webhooks().iter().all(|lost| lost.status.is_none() && lost.fault == Some(Fault::WebhookLost)));

    simulator.set_faults(hit(Fault::WebhookTwice)).unwrap();
    client.ring(&phone(2)).await.unwrap();
    let twice = received(&server, 4).await;
    let (mut kinds, whole): (Vec<_>, BTreeSet<_>) =
        twice.iter().map(|body| (body.pointer(path).unwrap().to_string(), body.to_string())).unzip();
    kinds.dedup();
    assert_eq!((kinds.len(), whole.len()), (2, 2), "{twice:?}");

    // The first event of the call arrives long after its last.
    simulator.set_faults("webhook_late=0.5,webhook_late_by=500".parse().unwrap()).unwrap();
    let mut number = 10;
    eventually("events the wrong way round", || {
        number += 1;
        let (simulator, client) = (&simulator, &client);
        async move {
            client.ring(&phone(number)).await.unwrap();
            let sent = simulator.webhooks();
            sent.iter().enumerate().find(|(at, webhook)| {
                let later = &sent[at + 1..];
                webhook.fault.is_none()
                    && later
                        .iter()
                        .any(|other| other.call_id == webhook.call_id && other.fault == Some(Fault::WebhookLate))
            })?;
            Some(())
        }
    })
    .await;
}

#[tokio::test]
async fn the_list_is_late_in_every_shape() {
    for shape in Shape::ALL {
        let (simulator, client) = start(SimulatorOptions { clock: fast(1), ..shaped(shape) }).await;
        simulator.set_faults(Faults { list_lag: Span::seconds(900, 900), ..Faults::default() }).unwrap();
        client.ring(PHONE).await.unwrap();
        let (list, items, one) = match shape {
            Shape::Famulor | Shape::Sondos | Shape::WhiteLabel => ("/user/calls", "data", "/user/calls"),
            Shape::HappyRobotV1 => ("/calls", "calls", "/calls"),
            Shape::HappyRobotV2 => ("/workflows/123/runs", "data", "/runs"),
        };
        let (_, page) = client.get(list).await;
        assert_eq!(page[items], json!([]), "{shape}");
        assert_eq!(client.get(&format!("{one}/{}", simulator.calls()[0].wire_id)).await.0, 200, "{shape}");
    }
}

#[tokio::test]
async fn a_cancel_that_is_not_answered_may_have_canceled() {
    for (reads, canceled) in [
        (ReadFaults { connection_lost: 1.0, ..ReadFaults::default() }, true),
        (ReadFaults { truncated_json: 1.0, ..ReadFaults::default() }, true),
        (ReadFaults { server_error: 1.0, ..ReadFaults::default() }, false),
        (ReadFaults { html: 1.0, ..ReadFaults::default() }, false),
    ] {
        let queue = Span::seconds(600, 600);
        let options = SimulatorOptions { queue, clock: fast(1), ..shaped(Shape::HappyRobotV2) };
        let (simulator, client) = start(options).await;
        client.ring(PHONE).await.unwrap();
        simulator.set_faults(Faults { reads, ..Faults::default() }).unwrap();
        let path = format!("/runs/{}/cancel", simulator.calls()[0].wire_id);
        // What comes back, if anything, is not what says so.
        let _ = client.request(Method::POST, &path).send().await;
        assert_eq!(simulator.calls()[0].canceled_at.is_some(), canceled);
    }
}
