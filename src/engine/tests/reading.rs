//! Calls are read: many of them, odd ones, and again by a version that knows more.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::Level;

use super::stage::{Plan, Stage, account, attempt, call_id, limits, phone, rehearse};
use crate::domain::id::LeadId;
use crate::domain::outcome::Outcome;
use crate::domain::report::{Phase, Source};
use crate::port::store::{InboxEvent, InboxMark, Store};

/// The call of a lead, as the provider lists it.
fn call(lead: u32, status: &str) -> Value {
    json!({ "id": call_id(LeadId(lead.into())).as_str(), "phone": phone(lead).e164(), "status": status })
}

/// Polls until every one of so many calls is in the inbox; answers how many runs that took.
async fn poll_until(stage: &Stage, wanted: usize, runs_max: usize) -> usize {
    for run in 1..=runs_max {
        stage.engine.poll(&account()).await.unwrap();
        if read_of(stage).len() == wanted {
            return run;
        }
        stage.wait(Duration::from_millis(250)).await;
    }
    panic!("{} of {wanted} calls were read in {runs_max} runs", read_of(stage).len());
}

fn read_of(stage: &Stage) -> BTreeSet<Vec<u8>> {
    stage.attempts(|tables| tables.inbox.values().map(|event| event.body.to_vec()).collect())
}

#[test]
fn five_thousand_open_calls_are_all_read() {
    rehearse(Plan { leads: 5_000, limits: limits(None, 10_000), ..Plan::default() }, async |stage| {
        stage.prepare().await;
        stage.placed(5_000).await;
        stage.provider.script().calls = (1..=5_000).rev().map(|lead| call(lead, "busy")).collect();
        let runs = poll_until(stage, 5_000, 4).await;
        assert_eq!(runs, 3, "twenty pages a run");
        let pages = stage.provider.script().asked.iter().filter(|(_, what)| what.starts_with("list")).count();
        assert!(pages <= 51, "no page is read twice: {pages}");
    });
}

/// What lies behind the pages of one run is neither forgotten nor dated as if it had been read.
#[test]
fn the_oldest_calls_do_not_starve_behind_those_that_go_on() {
    rehearse(Plan { leads: 3_000, limits: limits(None, 10_000), ..Plan::default() }, async |stage| {
        stage.prepare().await;
        stage.placed(3_000).await;
        let of = |lead: u32| call(lead, if lead <= 100 { "busy" } else { "ringing" });
        stage.provider.script().calls = (1..=3_000).rev().map(of).collect();
        poll_until(stage, 100, 3).await;
    });
}

#[test]
fn a_short_budget_walks_on_where_it_ended() {
    let plan = Plan { leads: 2_000, limits: limits(Some(1), 10_000), requests_per_minute: Some(10), ..Plan::default() };
    rehearse(plan, async |stage| {
        stage.prepare().await;
        stage.placed(2_000).await;
        stage.provider.script().calls = (1..=2_000).rev().map(|lead| call(lead, "busy")).collect();
        let mut runs = 0;
        while read_of(stage).len() < 2_000 {
            runs += 1;
            assert!(runs < 1_000, "{} were read", read_of(stage).len());
            stage.engine.renew_leases().await.unwrap();
            stage.engine.poll(&account()).await.unwrap();
            stage.wait(Duration::from_secs(1)).await;
        }
        assert!(runs > 60, "twenty pages at nine a minute");
        let script = stage.provider.script();
        let pages = script.asked.iter().filter(|(_, what)| what.starts_with("list")).count();
        assert!(pages <= 22, "{pages}");
    });
}

/// Calls the list never shows are read by themselves, each in its turn.
#[test]
fn calls_that_no_page_shows_have_their_turn() {
    rehearse(Plan { leads: 60, limits: limits(None, 100), ..Plan::default() }, async |stage| {
        stage.prepare().await;
        stage.placed(60).await;
        // Single reads know them, and the list shows none.
        stage.provider.script().calls = (1..=60).map(|lead| call(lead, "busy")).collect();
        stage.provider.script().lists = false;
        let mut runs = 0;
        while read_of(stage).len() < 60 {
            runs += 1;
            assert!(runs < 1_000, "{} were read", read_of(stage).len());
            stage.engine.renew_leases().await.unwrap();
            stage.engine.poll(&account()).await.unwrap();
            stage.wait(Duration::from_millis(250)).await;
        }
    });
}

/// A word nobody documents goes on ringing, is kept as it came, is told once, and is understood after an upgrade.
#[test]
fn an_odd_word_is_kept_told_once_and_read_again_by_another_version() {
    rehearse(Plan { leads: 2, limits: limits(None, 10), ..Plan::default() }, async |stage| {
        stage.prepare().await;
        stage.placed(2).await;
        stage.provider.script().calls = vec![call(1, "on-hold"), call(2, "on-hold")];
        for _ in 0..10 {
            stage.engine.renew_leases().await.unwrap();
            stage.engine.poll(&account()).await.unwrap();
            stage.engine.collect(&account()).await.unwrap();
            stage.wait(Duration::from_secs(30)).await;
        }
        assert_eq!(stage.told(Level::WARN, "on-hold"), 1);
        assert_eq!(stage.open().len(), 2, "they count as running");
        let kept = stage.attempts(|tables| tables.inbox.values().cloned().collect::<Vec<_>>());
        assert_eq!(kept.len(), 2, "each is kept once, however often it was read");
        let version = env!("CARGO_PKG_VERSION");
        assert!(kept.iter().all(|event| event.quarantined_by.as_deref() == Some(version)));
        assert!(!stage.engine.reread_quarantined().await.unwrap());
        stage.attempts(|tables| assert!(tables.pending.is_empty(), "this version would not know more"));

        // As if an older one had kept them; the provider has forgotten the calls since.
        stage.provider.script().calls.clear();
        let ids = stage.attempts(|tables| tables.inbox.keys().copied().collect::<Vec<_>>());
        let now = kept[0].received_at;
        stage.store.reread_quarantined("another", 10, now).await.unwrap();
        let marks: Vec<_> = ids
            .iter()
            .map(|id| (*id, InboxMark::Quarantined { problem: "a word".to_owned(), version: "0.0.1".to_owned() }))
            .collect();
        stage.store.mark_inbox(&marks, now).await.unwrap();
        stage.provider.script().understood.insert("on-hold", Phase::NotReached(Outcome::Busy));
        stage.engine.reread_quarantined().await.unwrap();
        stage.attempts(|tables| assert!(tables.pending.is_empty(), "once after each start"));
        stage.engine.forget_reread();
        assert!(!stage.engine.reread_quarantined().await.unwrap());
        stage.engine.collect(&account()).await.unwrap();
        assert_eq!(stage.open().len(), 0);
        let outcomes = stage
            .attempts(|tables| tables.attempt.values().filter_map(|attempt| attempt.outcome()).collect::<Vec<_>>());
        assert_eq!(outcomes, [Outcome::Busy, Outcome::Busy]);
    });
}

#[test]
fn an_odd_word_is_held_when_the_call_must_be_over() {
    rehearse(Plan { leads: 1, limits: limits(None, 10), ..Plan::default() }, async |stage| {
        stage.prepare().await;
        stage.placed(1).await;
        stage.provider.script().calls = vec![call(1, "on-hold")];
        for _ in 0..130 {
            stage.engine.renew_leases().await.unwrap();
            stage.engine.poll(&account()).await.unwrap();
            stage.engine.collect(&account()).await.unwrap();
            stage.wait(Duration::from_secs(60)).await;
        }
        let open = stage.open();
        assert_eq!(open[0].state, crate::domain::attempt::OpenState::Held);
        assert_eq!(stage.told(Level::WARN, "is held"), 1);
        assert_eq!(stage.told(Level::WARN, "on-hold"), 1);
    });
}

#[test]
fn many_odd_words_are_not_all_told() {
    rehearse(Plan { leads: 1, ..Plan::default() }, async |stage| {
        stage.prepare().await;
        let event = |number: u32| InboxEvent {
            account: account(),
            source: Source::Webhook,
            body: json!({ "status": format!("word {number}") }).to_string().into(),
            attempt_id: Some(attempt(stage.campaign_id, LeadId(1))),
        };
        let events: Vec<_> = (0..300).map(event).collect();
        stage.store.append_inbox(&events, super::stage::ORIGIN.parse().unwrap()).await.unwrap();
        stage.engine.collect(&account()).await.unwrap();
        assert_eq!(stage.told(Level::WARN, "is documented nowhere"), 100);
    });
}
