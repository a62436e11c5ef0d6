//! Accounts that cannot place calls, assistants that are refused, providers that want fewer requests.

use std::time::Duration;

use jiff::SignedDuration;
use tracing::Level;

use super::stage::{Plan, account, limits, rehearse};
use crate::domain::assistant::Assistant;
use crate::domain::id::AssistantId;
use crate::domain::outcome::Outcome;
use crate::port::allowance::{Pause, Quota};
use crate::port::clock::Clock;
use crate::port::provider::{AccountStanding, NotPlaced, PlaceReply};
use crate::port::store::Store;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn stopped(standing: AccountStanding) -> PlaceReply {
    PlaceReply::NotPlaced(NotPlaced::AccountStopped(standing))
}

fn forbidden() -> AccountStanding {
    AccountStanding::Forbidden { reason: "the plan is used up".to_owned() }
}

fn refused() -> PlaceReply {
    PlaceReply::NotPlaced(NotPlaced::Refused { status: 409, reason: "Conflict".to_owned() })
}

/// Twenty calls are under way when the money runs out.
#[test]
fn many_calls_meet_a_stop_and_one_line_tells_it() {
    rehearse(Plan { leads: 60, ..Plan::default() }, async |stage| {
        {
            let mut script = stage.provider.script();
            script.answer_after = 3 * SECOND;
            let mut count = 0;
            script.answer = Box::new(move |_| {
                count += 1;
                if count == 1 {
                    PlaceReply::Placed { call_id: None }
                } else {
                    stopped(AccountStanding::BalanceExhausted)
                }
            });
            script.standing = Ok(AccountStanding::BalanceExhausted);
        }
        let driver = stage.start();
        stage.wait(20 * SECOND).await;
        let sent = stage.provider.script().sent.len();
        assert_eq!(sent, 20, "one proves the assistant, the others fill the lines");
        assert_eq!(stage.told(Level::WARN, "cannot place calls"), 1);
        assert_eq!(stage.told(Level::INFO, "cannot place calls"), 0);
        assert_eq!(stage.problem().as_deref(), Some("the account's balance is exhausted"));
        let state = stage.attempts(|tables| tables.account_state[&account()].clone());
        assert_eq!(state.next_check_at, Some(state.since + SignedDuration::from_mins(1)));
        stage.attempts(|tables| {
            let ended: Vec<_> = tables.attempt.values().filter_map(|attempt| attempt.outcome()).collect();
            assert_eq!(ended, [Outcome::NotPlaced; 19]);
            assert!(tables.due.values().all(|due| due.tries == 0), "no try is lost");
            assert_eq!(tables.due.len(), 59, "nor a lead");
        });

        stage.wait(3 * MINUTE).await;
        assert_eq!(stage.provider.script().sent.len(), sent, "nothing is dialed while it is stopped");
        let looks = stage.provider.script().asked.iter().filter(|(_, what)| what == "me").count();
        assert_eq!(looks, 3, "one a minute");
        assert_eq!(stage.told(Level::WARN, "cannot place calls"), 1);

        stage.provider.script().standing = Ok(AccountStanding::Good { balance: None });
        stage.provider.script().answer = Box::new(|_| PlaceReply::Placed { call_id: None });
        stage.wait(MINUTE + 10 * SECOND).await;
        assert_eq!(stage.problem(), None);
        assert_eq!(stage.told(Level::INFO, "may place calls again"), 1);
        assert_eq!(stage.told(Level::INFO, "places calls again"), 1);
        assert_eq!(stage.provider.script().sent.len(), sent + 19, "the lines are full again");
        assert_eq!(stage.told(Level::WARN, ""), 1);
        driver.drain(&stage.engine).await;
    });
}

/// A plan limit that only calls meet: every look says that all is well.
#[test]
fn a_stop_that_no_look_confirms_is_tried_less_and_less() {
    rehearse(Plan::default(), async |stage| {
        stage.provider.script().answer = Box::new(|_| stopped(forbidden()));
        let driver = stage.start();
        stage.wait(2 * 60 * MINUTE).await;
        let sent = stage.provider.script().sent.clone();
        assert_eq!(stage.told(Level::WARN, "cannot place calls"), 1, "it is said once");
        // After 1, 2, 4, 8, 16, 32 and 32 minutes; one call each.
        assert_eq!(sent.len(), 8, "{sent:?}");
        assert_eq!(stage.attempts(|tables| tables.due.values().filter(|due| due.tries > 0).count()), 0);
        let state = stage.attempts(|tables| tables.account_state[&account()].clone());
        assert_eq!(state.problem.as_deref(), Some("the provider forbids placing calls: the plan is used up"));
        assert!(state.since.duration_since(sent[0].0) < SignedDuration::from_secs(5), "since the first of them");

        stage.provider.script().answer = Box::new(|_| PlaceReply::Placed { call_id: None });
        stage.wait(40 * MINUTE).await;
        assert_eq!(stage.problem(), None);
        assert!(stage.provider.script().sent.len() >= sent.len() + 20);
        driver.drain(&stage.engine).await;
    });
}

#[test]
fn a_key_that_is_revoked_and_renewed_stops_and_resumes() {
    rehearse(Plan::default(), async |stage| {
        stage.provider.script().answer = Box::new(|_| stopped(AccountStanding::KeyRefused));
        stage.provider.script().standing = Ok(AccountStanding::KeyRefused);
        let driver = stage.start();
        stage.wait(90 * SECOND).await;
        assert_eq!(stage.problem().as_deref(), Some("the provider refuses the API key"));
        stage.provider.script().standing = Err(500);
        stage.wait(MINUTE).await;
        assert!(stage.problem().is_some(), "a look that fails says nothing");
        stage.provider.script().standing = Ok(AccountStanding::Good { balance: None });
        stage.provider.script().answer = Box::new(|_| PlaceReply::Placed { call_id: None });
        stage.wait(2 * MINUTE).await;
        assert_eq!(stage.problem(), None);
        assert_eq!(stage.told(Level::WARN, "cannot place calls"), 1);
        assert!(stage.provider.script().sent.len() > 10);
        driver.drain(&stage.engine).await;
    });
}

/// An assistant that is inactive answers every call with something nobody documents.
#[test]
fn an_assistant_that_was_never_active_costs_three_attempts() {
    rehearse(Plan::default(), async |stage| {
        stage.provider.script().answer = Box::new(|_| refused());
        let driver = stage.start();
        stage.wait(10 * MINUTE).await;
        assert_eq!(stage.provider.script().sent.len(), 3);
        assert_eq!(stage.refused(), 3);
        assert_eq!(stage.told(Level::WARN, "is put aside"), 1);
        stage.wait(10 * MINUTE).await;
        assert_eq!(stage.provider.script().sent.len(), 4, "tried once after a quarter of an hour");
        driver.drain(&stage.engine).await;
    });
}

/// It is switched off while twenty calls are under way.
#[test]
fn an_assistant_that_goes_inactive_under_load_costs_three_attempts() {
    rehearse(Plan { leads: 100, ..Plan::default() }, async |stage| {
        {
            let mut script = stage.provider.script();
            script.answer_after = 2 * SECOND;
            let mut count = 0;
            script.answer = Box::new(move |_| {
                count += 1;
                if count == 1 { PlaceReply::Placed { call_id: None } } else { refused() }
            });
        }
        let driver = stage.start();
        stage.wait(5 * MINUTE).await;
        // One was placed, nineteen filled the lines and were refused together, two more were tried alone.
        assert_eq!(stage.provider.script().sent.len(), 1 + 19 + 2);
        assert_eq!(stage.refused(), 3, "the others say nothing of their leads");
        assert_eq!(stage.told(Level::WARN, "is put aside"), 1);
        let now = stage.clock.now();
        let waiting = stage.attempts(|tables| tables.due.keys().filter(|(_, due_at, _)| *due_at > now).count());
        assert_eq!(waiting, 3, "only those three wait");
        driver.drain(&stage.engine).await;
    });
}

#[test]
fn another_assistant_speaks_while_one_is_doubted() {
    rehearse(Plan { leads: 100, limits: limits(Some(60), 100), ..Plan::default() }, async |stage| {
        stage.provider.script().assistants = vec!["Ann", "Ben"];
        stage.provider.script().answer = Box::new(|call| match call.assistant_id.as_str() {
            "1" => refused(),
            _ => PlaceReply::Placed { call_id: None },
        });
        let driver = stage.start();
        stage.wait(2 * MINUTE).await;
        assert_eq!(stage.refused(), 3);
        let placed = stage.open().iter().filter(|open| open.assistant_id == AssistantId::new("2")).count();
        assert!(placed > 90, "{placed}");
        driver.drain(&stage.engine).await;
    });
}

#[test]
fn repeated_429_slow_the_starts_down_and_they_recover() {
    rehearse(Plan { leads: 1000, limits: limits(Some(60), 1000), ..Plan::default() }, async |stage| {
        let driver = stage.start();
        stage.wait(MINUTE).await;
        let full = stage.provider.script().sent.len();
        assert!((55..=60).contains(&full), "{full}");
        let limited = || PlaceReply::NotPlaced(NotPlaced::RateLimited { retry_after: Some(Duration::from_secs(1)) });
        stage.provider.script().answer = Box::new(move |_| limited());
        stage.wait(MINUTE).await;
        assert_eq!(stage.told(Level::INFO, "starts at most 30.0 calls a minute"), 1);
        assert!(stage.told(Level::INFO, "starts at most 3.8 calls a minute") >= 1, "the floor");
        stage.provider.script().answer = Box::new(|_| PlaceReply::Placed { call_id: None });
        let before = stage.provider.script().sent.len();
        stage.wait(MINUTE).await;
        let slow = stage.provider.script().sent.len() - before;
        assert!((4..=20).contains(&slow), "{slow}");
        stage.wait(6 * MINUTE).await;
        assert_eq!(stage.told(Level::INFO, "at its full rate again"), 1);
        let before = stage.provider.script().sent.len();
        stage.wait(MINUTE).await;
        let again = stage.provider.script().sent.len() - before;
        assert!((59..=61).contains(&again), "{again}");
        driver.drain(&stage.engine).await;
    });
}

#[test]
fn a_quota_that_is_used_up_holds_the_account_until_its_reset() {
    rehearse(Plan { leads: 1000, limits: limits(Some(60), 1000), ..Plan::default() }, async |stage| {
        let driver = stage.start();
        stage.wait(30 * SECOND).await;
        let until = stage.clock.now() + SignedDuration::from_secs(60);
        let pause = Some(Pause { span: None, until: Some(until) });
        stage.provider.script().quota = Quota { limit: None, pause };
        stage.wait(3 * SECOND).await;
        stage.provider.script().quota = Quota::default();
        let requests = |stage: &super::stage::Stage| {
            let script = stage.provider.script();
            script.sent.len() + script.asked.len()
        };
        let before = requests(stage);
        stage.wait(55 * SECOND).await;
        assert_eq!(requests(stage), before, "nothing is asked");
        stage.wait(10 * SECOND).await;
        assert!(requests(stage) > before);
        driver.drain(&stage.engine).await;
    });
}

#[test]
fn a_lower_limit_of_the_provider_is_obeyed_and_told_once() {
    let plan = Plan { leads: 1000, limits: limits(Some(60), 1000), requests_per_minute: Some(200), ..Plan::default() };
    rehearse(plan, async |stage| {
        stage.provider.script().quota = Quota { limit: Some(30), pause: None };
        let driver = stage.start();
        for _ in 0..10 {
            stage.wait(MINUTE).await;
            let now = stage.clock.now();
            let requests = stage.provider.script().requests_before(now);
            assert!((25..=30).contains(&requests), "{requests}");
        }
        assert_eq!(stage.told(Level::WARN, "at most 30 requests a minute"), 1);
        driver.drain(&stage.engine).await;
    });
}

/// Whatever is asked and on whatever occasion: starts, reads, looks at the account, lists.
#[test]
fn every_request_is_charged_to_the_budget() {
    let plan = Plan { leads: 500, limits: limits(Some(20), 100), requests_per_minute: Some(40), ..Plan::default() };
    rehearse(plan, async |stage| {
        let mut count = 0u32;
        stage.provider.script().answer = Box::new(move |call| {
            count += 1;
            match count % 7 {
                3 => stopped(AccountStanding::BalanceExhausted),
                5 => PlaceReply::Unknown { reason: "timeout".to_owned(), accepted: false },
                _ => PlaceReply::Placed { call_id: Some(super::stage::call_id(call.attempt_id.key().lead_id)) },
            }
        });
        let driver = stage.start();
        let mut most = 0;
        for _ in 0..600 {
            stage.wait(SECOND).await;
            most = most.max(stage.provider.script().requests_before(stage.clock.now()));
        }
        assert!((20..=40).contains(&most), "{most}");
        driver.drain(&stage.engine).await;
    });
}

#[test]
fn a_day_that_is_used_up_is_told_once() {
    let limits =
        crate::domain::campaign::Pacing { calls_per_day: std::num::NonZeroU32::new(10), ..limits(Some(60), 100) };
    rehearse(Plan { limits, ..Plan::default() }, async |stage| {
        let driver = stage.start();
        stage.wait(5 * MINUTE).await;
        assert_eq!(stage.provider.script().sent.len(), 10);
        assert_eq!(stage.told(Level::WARN, "has started its 10 calls of the day"), 1);
        driver.drain(&stage.engine).await;
    });
}

/// What the database could not be told at once is told later.
#[test]
fn a_stop_outlives_the_process_that_met_it() {
    rehearse(Plan::default(), async |stage| {
        let state = crate::port::store::AccountState {
            account: account(),
            problem: Some("no balance".to_owned()),
            since: stage.clock.now(),
            next_check_at: Some(stage.clock.now() + SignedDuration::from_secs(40)),
        };
        stage.store.save_account_state(&state).await.unwrap();
        let driver = stage.start();
        stage.wait(30 * SECOND).await;
        assert_eq!(stage.provider.script().sent.len(), 0);
        stage.wait(30 * SECOND).await;
        assert_eq!(stage.problem(), None);
        assert!(!stage.provider.script().sent.is_empty());
        let assistants: Option<Vec<Assistant>> = stage.attempts(|tables| tables.roster.get(&account()).cloned());
        assert_eq!(assistants.map(|all| all.len()), Some(1));
        driver.drain(&stage.engine).await;
    });
}
