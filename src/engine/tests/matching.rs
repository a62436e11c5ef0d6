//! Calls without ids find their attempts, or nobody guesses.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tracing::Level;

use super::stage::{Plan, Stage, account, limits, phone, rehearse};
use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::outcome::Outcome;
use crate::port::clock::Clock;
use crate::port::provider::PlaceReply;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A call as a brand writes it whose ids do not count and whose times have no zone; it is two hours ahead of UTC.
fn call(id: &str, number: u32, made_at: Timestamp, assistant: &str) -> Value {
    let written = (made_at + SignedDuration::from_hours(2)).to_zoned(jiff::tz::TimeZone::UTC).datetime();
    json!({
        "id": id, "phone": phone(number).e164(), "status": "busy", "created": written.to_string(),
        "assistant": assistant,
    })
}

fn plan(leads: u32) -> Plan {
    Plan { leads, limits: limits(None, 20), ..Plan::default() }
}

/// Dials everybody: the first `known` calls come with their ids, the answers to all others are lost.
async fn dial(stage: &Stage, known: usize) -> Vec<(Timestamp, u32)> {
    let mut count = 0;
    stage.provider.script().answer = Box::new(move |call| {
        count += 1;
        if count <= known {
            let id = format!("known-{}", call.attempt_id.key().lead_id);
            PlaceReply::Placed { call_id: Some(crate::domain::id::ProviderCallId::new(id)) }
        } else {
            PlaceReply::Unknown { reason: "timeout".to_owned(), accepted: false }
        }
    });
    let driver = stage.start();
    stage.wait(20 * SECOND).await;
    let sent: Vec<(Timestamp, u32)> =
        stage.provider.script().sent.iter().map(|(at, id)| (*at, u32::try_from(id.key().lead_id.0).unwrap())).collect();
    // The passes go on; what the provider lists is up to the test.
    std::mem::forget(driver);
    sent
}

fn outcome_of(stage: &Stage, number: u32) -> Option<Outcome> {
    stage.attempts(|tables| {
        tables.attempt.values().find(|attempt| attempt.phone == phone(number)).and_then(|attempt| attempt.outcome())
    })
}

fn basis_of(stage: &Stage, call: &str) -> Option<MatchBasis> {
    let id = crate::domain::id::ProviderCallId::new(call);
    stage.attempts(|tables| tables.provider_call.get(&(account(), id)).map(|(_, basis)| *basis))
}

fn state_of(stage: &Stage, number: u32) -> Option<OpenState> {
    stage.open().iter().find(|open| open.phone == phone(number)).map(|open| open.state)
}

#[test]
fn times_without_a_zone_count_once_three_calls_have_told_what_they_mean() {
    rehearse(plan(4), async |stage| {
        let sent = dial(stage, 3).await;
        assert_eq!(sent.len(), 4);
        let (doubt_at, doubt) = sent[3];
        assert_eq!(state_of(stage, doubt), Some(OpenState::InDoubt));
        let listed =
            |id: String, (at, lead): (Timestamp, u32)| call(&id, lead, at + SignedDuration::from_secs(2), "Ann");
        stage.provider.script().calls = sent
            .iter()
            .map(|sent| listed(if sent.1 == doubt { "x".to_owned() } else { format!("known-{}", sent.1) }, *sent))
            .collect();
        stage.wait(3 * MINUTE).await;
        assert_eq!(stage.told(Level::INFO, "2h ahead of UTC"), 1);
        assert_eq!(outcome_of(stage, doubt), Some(Outcome::Busy), "{doubt_at}");
        assert_eq!(basis_of(stage, "x"), Some(MatchBasis::OnlyCandidate));
        let result = stage
            .attempts(|tables| tables.call_result.values().map(|result| result.result.match_basis).collect::<Vec<_>>());
        assert_eq!(result.iter().filter(|basis| **basis == Some(MatchBasis::Reply)).count(), 3);
        assert_eq!(result.iter().filter(|basis| **basis == Some(MatchBasis::OnlyCandidate)).count(), 1);
    });
}

#[test]
fn before_that_they_mean_nothing() {
    rehearse(plan(3), async |stage| {
        let sent = dial(stage, 2).await;
        let doubt = sent[2].1;
        stage.provider.script().calls = sent
            .iter()
            .map(|(at, lead)| {
                call(&if *lead == doubt { "x".to_owned() } else { format!("known-{lead}") }, *lead, *at, "Ann")
            })
            .collect();
        stage.wait(5 * MINUTE).await;
        assert_eq!(outcome_of(stage, doubt), None);
        assert_eq!(basis_of(stage, "x"), None);
        assert_eq!(stage.told(Level::INFO, "ahead of UTC"), 0);
        stage.wait(90 * MINUTE).await;
        assert_eq!(state_of(stage, doubt), Some(OpenState::Held), "nobody can tell, so a person must");
    });
}

/// A list that proves no absence settles nothing, however long ago the request was.
#[test]
fn without_evidence_an_attempt_is_held_at_its_deadline_and_its_lead_is_not_due() {
    rehearse(Plan { list_lag_max: None, ..plan(3) }, async |stage| {
        let sent = dial(stage, 2).await;
        let doubt = sent[2].1;
        assert_eq!(state_of(stage, doubt), Some(OpenState::InDoubt));
        stage.wait(180 * MINUTE).await;
        assert_eq!((outcome_of(stage, doubt), state_of(stage, doubt)), (None, Some(OpenState::Held)));
        stage.attempts(|tables| assert!(tables.due.values().all(|due| due.phone != phone(doubt)), "it is locked"));
    });
}

#[test]
fn the_call_of_another_assistant_is_not_ours_and_proves_nothing_either() {
    rehearse(plan(4), async |stage| {
        stage.provider.script().assistants = vec!["Ann", "Ben"];
        let sent = dial(stage, 3).await;
        let (doubt_at, doubt) = sent[3];
        let spoke = stage.open().iter().find(|open| open.phone == phone(doubt)).map(|open| open.assistant_id.clone());
        let other = if spoke.is_some_and(|id| id.as_str() == "1") { "Ben" } else { "Ann" };
        let mut calls: Vec<Value> =
            sent[..3].iter().map(|(at, lead)| call(&format!("known-{lead}"), *lead, *at, "Ann")).collect();
        calls.push(call("x", doubt, doubt_at, other));
        stage.provider.script().calls = calls;
        stage.wait(10 * MINUTE).await;
        assert_eq!(basis_of(stage, "x"), None);
        assert_eq!(outcome_of(stage, doubt), None, "it may be ours under a name it has since lost");
        let own = if other == "Ann" { "Ben" } else { "Ann" };
        stage.provider.script().calls.push(call("y", doubt, doubt_at, own));
        stage.wait(5 * MINUTE).await;
        assert_eq!(
            basis_of(stage, "y"),
            Some(MatchBasis::OnlyCandidate),
            "the one of its own assistant is the only one"
        );
        assert_eq!(outcome_of(stage, doubt), Some(Outcome::Busy));
    });
}

#[test]
fn two_calls_that_might_both_be_ours_are_held() {
    rehearse(plan(4), async |stage| {
        let sent = dial(stage, 3).await;
        let (doubt_at, doubt) = sent[3];
        let mut calls: Vec<Value> =
            sent[..3].iter().map(|(at, lead)| call(&format!("known-{lead}"), *lead, *at, "Ann")).collect();
        calls.push(call("x", doubt, doubt_at, "Ann"));
        calls.push(call("y", doubt, doubt_at + SignedDuration::from_secs(9), "Ann"));
        stage.provider.script().calls = calls;
        stage.wait(90 * MINUTE).await;
        assert_eq!((basis_of(stage, "x"), basis_of(stage, "y")), (None, None));
        assert_eq!(state_of(stage, doubt), Some(OpenState::Held));
    });
}

/// A brand that gives no ids away: calls that were accepted find theirs by number alone, and not where there are two.
#[test]
fn accepted_calls_without_ids_are_told_apart_or_left_alone() {
    rehearse(plan(8), async |stage| {
        stage.provider.script().answer = Box::new(|_| PlaceReply::Placed { call_id: None });
        let driver = stage.start();
        stage.wait(20 * SECOND).await;
        let sent = stage.provider.script().sent.clone();
        assert_eq!(sent.len(), 8);
        let dated = |id: String, lead: u32, at: Timestamp| {
            let phone = phone(lead);
            json!({ "id": id, "phone": phone.e164(), "status": "busy", "created_at": at.to_string() })
        };
        let mut calls = Vec::new();
        for (at, id) in &sent {
            let lead = u32::try_from(id.key().lead_id.0).unwrap();
            calls.push(dated(format!("a-{lead}"), lead, *at));
            if lead == 5 {
                calls.push(dated(format!("b-{lead}"), lead, *at + SignedDuration::from_secs(3)));
            }
        }
        stage.provider.script().calls = calls;
        stage.wait(3 * MINUTE).await;
        for lead in (1..=8).filter(|lead| *lead != 5) {
            assert_eq!(basis_of(stage, &format!("a-{lead}")), Some(MatchBasis::OnlyCandidate), "lead {lead}");
            assert_eq!(outcome_of(stage, lead), Some(Outcome::Busy), "lead {lead}");
        }
        assert_eq!((basis_of(stage, "a-5"), basis_of(stage, "b-5")), (None, None));
        assert_eq!(state_of(stage, 5), Some(OpenState::Placed));
        let late = stage.clock.now() + SignedDuration::from_mins(30);
        stage.wait(30 * MINUTE).await;
        assert!(stage.clock.now() >= late);
        assert_eq!(state_of(stage, 5), Some(OpenState::Held), "nobody can tell");
        driver.drain(&stage.engine).await;
    });
}
