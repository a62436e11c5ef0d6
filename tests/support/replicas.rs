//! Several replicas, and a database that has forgotten something.

use jiff::SignedDuration;
use outdial::domain::attempt::OpenState;
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{AccountName, AssistantId, AttemptId, AttemptKey, LeadId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::phone::PhoneNumber;
use outdial::port::store::{Beat, CallKey, LeaseRequest, LostAttempt, Pulse, Restored, Store};

use super::harness::Harness;
use super::scene::{Scene, TTL, at, call_id, owner, phone};

/// How long a call lasts at most.
const CALL: SignedDuration = SignedDuration::from_secs(400);

fn beat<'a>(who: u128, number: i64, accounts: &'a [AccountName]) -> Beat<'a> {
    Beat {
        owner: owner(who),
        name: "host:1",
        number,
        acknowledged: number - 1,
        known_at: at(100),
        witness: None,
        accounts,
        ttl: TTL,
        now: at(100),
        calls_over_at: at(100) + CALL,
    }
}

fn lost(attempt_id: Option<AttemptId>, to: PhoneNumber) -> LostAttempt {
    LostAttempt {
        attempt_id,
        phone: to,
        assistant_id: AssistantId::new("anna"),
        call_id: Some(call_id(77)),
        made_at: Some(at(40)),
        deadline_at: at(900),
    }
}

impl<H: Harness> Scene<H> {
    async fn beat(&self, beat: &Beat<'_>) -> Pulse {
        self.store().beat(beat).await.unwrap()
    }

    async fn restore(&self, lost: &LostAttempt) -> Restored {
        self.store().restore_attempt(&self.lease, lost, at(50)).await.unwrap()
    }

    fn numbered(&self, lead_id: LeadId, attempt_no: u16) -> AttemptId {
        let key = AttemptKey { campaign_id: self.campaign, lead_id, attempt_no };
        AttemptId::derive(self.store().installation(), key)
    }

    async fn missing_accounts(&self) -> Vec<AccountName> {
        self.store().control().await.unwrap().reconciliations.into_iter().map(|it| it.account).collect()
    }
}

pub async fn replicas_know_how_many_share_their_accounts<H: Harness>(s: &Scene<H>) {
    let (main, both) = ([AccountName::new("main")], [AccountName::new("other"), AccountName::new("main")]);
    let pulse = s.beat(&beat(5, 1, &main)).await;
    assert_eq!((pulse.replicas, pulse.rank, pulse.went_back), (1, 0, None));
    let pulse = s.beat(&beat(3, 1, &main)).await;
    assert_eq!((pulse.replicas, pulse.rank), (2, 0));
    let pulse = s.beat(&beat(5, 2, &main)).await;
    assert_eq!((pulse.replicas, pulse.rank), (2, 1));
    let pulse = s.beat(&beat(9, 1, &both)).await;
    assert_eq!((pulse.replicas, pulse.rank), (1, 2), "others have other accounts");
    let vanished = Beat { ttl: std::time::Duration::ZERO, ..beat(5, 3, &main) };
    assert_eq!(s.beat(&vanished).await.replicas, 1, "whoever has not beaten for so long is gone");
}

pub async fn whoever_leaves_is_not_counted_and_keeps_nothing<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    s.beat(&beat(1, 1, &accounts)).await;
    assert_eq!(s.beat(&beat(2, 1, &accounts)).await.replicas, 2);
    s.store().leave(owner(1)).await.unwrap();
    assert_eq!(s.beat(&beat(2, 2, &accounts)).await.replicas, 1);
    let taken = s.store().renew_leases(&LeaseRequest::all(owner(2), &accounts, TTL)).await.unwrap();
    assert!(taken[0].epoch > s.lease.epoch);
}

pub async fn nobody_takes_more_than_its_share<H: Harness>(s: &Scene<H>) {
    let accounts = ["main", "a", "b", "c"].map(AccountName::new);
    let ask = async |who: u128, share| {
        let request = LeaseRequest { owner: owner(who), accounts: &accounts, share, ttl: TTL };
        let leases = s.store().renew_leases(&request).await.unwrap();
        let mut names: Vec<_> = leases.iter().map(|lease| lease.account.as_str().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(ask(2, 2).await, ["a", "b"], "the fourth is held by another");
    assert_eq!(ask(2, 1).await, ["a", "b"], "what is held is renewed all the same");
    assert_eq!(ask(1, 2).await, ["c", "main"]);
    s.store().release_leases(owner(2), &[AccountName::new("b")]).await.unwrap();
    assert_eq!(s.store().control().await.unwrap().free_leases, [AccountName::new("b")]);
    assert_eq!(ask(1, 2).await, ["c", "main"], "its share is full");
    assert_eq!(ask(2, 2).await, ["a", "b"]);
}

pub async fn what_was_acknowledged_and_is_gone_stops_every_account<H: Harness>(s: &Scene<H>) {
    let accounts = [AccountName::new("main"), AccountName::new("second")];
    let due = s.due_lead(&phone(1)).await;
    assert_eq!(s.beat(&beat(1, 1, &accounts)).await.went_back, None);
    assert_eq!(s.beat(&Beat { acknowledged: 0, ..beat(1, 3, &accounts) }).await.went_back, None);
    assert_eq!(s.missing_accounts().await, []);

    let found = s.beat(&Beat { acknowledged: 9, now: at(200), ..beat(1, 10, &accounts) }).await.went_back;
    assert!(found.is_some_and(|problem| problem.contains("sign of life")));
    assert_eq!(s.missing_accounts().await, accounts);
    assert_eq!(s.begin(&s.lease, &[s.intent(&due)]).await, [], "nothing begins until it is known what is missing");
    assert_eq!(s.beat(&beat(1, 11, &accounts)).await.went_back, None, "it is told once");

    let tasks = s.store().control().await.unwrap().reconciliations;
    assert!(tasks[0].since < at(100) && tasks[0].noted_at == at(200), "since the last moment that is known: {tasks:?}");
    let mut outdated = tasks[0].clone();
    outdated.noted_at = at(150);
    assert!(!s.store().end_reconciliation(&outdated, None).await.unwrap(), "it was noted anew since");
    assert!(s.store().end_reconciliation(&tasks[0], None).await.unwrap());
    assert_eq!(s.missing_accounts().await, [accounts[1].clone()]);
    assert!(s.store().end_reconciliation(&tasks[1], Some("look at the provider")).await.unwrap());
    let stops = s.store().control().await.unwrap().stops;
    assert_eq!(stops[0].account.as_ref(), Some(&accounts[1]));
    assert!(!s.store().end_reconciliation(&tasks[1], None).await.unwrap(), "it was given up");
}

/// The person whom a lost call of one account rings may be the next lead of another.
pub async fn while_calls_of_one_account_are_unknown_no_other_dials<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone(), AccountName::new("second")];
    let due = [s.due_lead(&phone(1)).await, s.due_lead(&phone(2)).await, s.due_lead(&phone(3)).await];
    let begin = async |due, second| {
        let begun = s.store().begin_dials(&s.lease, &[s.intent(due)], None, at(second)).await.unwrap();
        begun.len()
    };
    s.beat(&Beat { acknowledged: 0, ..beat(1, 1, &accounts) }).await;
    assert!(s.beat(&Beat { acknowledged: 9, ..beat(1, 10, &accounts) }).await.went_back.is_some());
    let tasks = s.store().control().await.unwrap().reconciliations;
    assert!(s.store().end_reconciliation(&tasks[0], None).await.unwrap());
    assert_eq!(begin(&due[0], 499).await, 0, "the other's calls were not compared, and may ring");
    assert_eq!(begin(&due[0], 501).await, 1, "all of them are over");

    assert!(s.store().end_reconciliation(&tasks[1], Some("look at the provider")).await.unwrap());
    assert_eq!(begin(&due[1], 499).await, 0, "nobody knows whom they ring");
    assert_eq!(begin(&due[1], 501).await, 1);
    s.h.start(Some(&accounts[1])).await;
    assert_eq!(begin(&due[2], 499).await, 1, "a person has looked");
}

pub async fn an_intent_needs_the_one_before_it<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    let (first, second) = (s.due_lead(&phone(1)).await, s.due_lead(&phone(2)).await);
    let gone = s.numbered(LeadId(4711), 1);
    let begin = async |due, witness| s.store().begin_dials(&s.lease, &[s.intent(due)], witness, at(10)).await.unwrap();
    assert_eq!(begin(&first, Some(gone)).await, []);
    let known = begin(&first, None).await[0].attempt_id();
    assert_eq!(begin(&second, Some(known)).await.len(), 1);
    assert_eq!(s.beat(&Beat { witness: Some(known), ..beat(1, 1, &accounts) }).await.went_back, None);
    let found = s.beat(&Beat { witness: Some(gone), ..beat(1, 2, &accounts) }).await.went_back;
    assert!(found.is_some_and(|problem| problem.contains("an attempt")));
}

pub async fn on_another_history_nothing_begins_before_a_beat_has_seen_it<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    let due = s.due_lead(&phone(1)).await;
    s.beat(&Beat { now: at(30), ..beat(7, 1, &accounts) }).await;
    s.h.promote_a_standby().await;
    assert_eq!(s.begin(&s.lease, &[s.intent(&due)]).await, []);
    let found = s.beat(&Beat { acknowledged: 0, ..beat(8, 1, &accounts) }).await.went_back;
    assert!(found.is_some_and(|problem| problem.contains("another history")));
    let task = s.store().control().await.unwrap().reconciliations.remove(0);
    assert!(task.since < at(30) && task.since > at(-400), "since somebody's last sign of life: {task:?}");
    assert_eq!(s.beat(&beat(8, 2, &accounts)).await.went_back, None);
}

pub async fn what_is_missing_is_looked_for_from_a_moment_that_is_known<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    s.beat(&Beat { now: at(30), ..beat(7, 1, &accounts) }).await;
    s.beat(&Beat { now: at(60), ..beat(8, 1, &accounts) }).await;
    // The ninth gave its signs of life after all that was kept. The tenth began after the loss and knows of nothing.
    s.beat(&Beat { now: at(900), ..beat(10, 1, &accounts) }).await;
    let forgotten = Beat { acknowledged: 4, known_at: at(800), now: at(901), ..beat(9, 5, &accounts) };
    assert!(s.beat(&forgotten).await.went_back.is_some());
    let task = s.store().control().await.unwrap().reconciliations.remove(0);
    assert!(task.since < at(60) && task.since > at(-400), "by the last one before the loss: {task:?}");
}

pub async fn without_any_sign_of_life_everything_is_looked_for<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    let forgotten = Beat { acknowledged: 4, now: at(200), ..beat(9, 5, &accounts) };
    assert!(s.beat(&forgotten).await.went_back.is_some());
    let task = s.store().control().await.unwrap().reconciliations.remove(0);
    assert!(task.since < at(0) - SignedDuration::from_hours(24 * 365), "{task:?}");
}

pub async fn a_lost_attempt_is_open_again_with_its_call<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let attempt_id = s.intent(&due).attempt_id;
    let fenced = outdial::port::store::Lease { owner: owner(2), ..s.lease.clone() };
    let none = s.store().restore_attempt(&fenced, &lost(Some(attempt_id), phone(1)), at(50)).await.unwrap();
    assert_eq!(none, Restored::Fenced);
    assert_eq!(s.restore(&lost(Some(attempt_id), phone(1))).await, Restored::Open(attempt_id));
    assert_eq!(s.restore(&lost(Some(attempt_id), phone(1))).await, Restored::Known(attempt_id));
    assert_eq!(s.h.due(s.campaign, due.lead_id).await, None, "it is not due as well");
    let open = s.store().open_attempts(&s.account).await.unwrap().remove(0);
    assert_eq!((open.attempt_id, open.state, open.call_id), (attempt_id, OpenState::Placed, Some(call_id(77))));
    assert_eq!((open.sent_at, open.deadline_at), (Some(at(40)), at(900)));
    let (bound, basis) = s.h.binding(&s.account, &call_id(77)).await.unwrap();
    assert_eq!((bound, basis.as_str()), (attempt_id, "token"));
    let end = s.ended_for_good(attempt_id, Outcome::Answered, Disposition::Reached, 1);
    assert_eq!(s.store().settle(&[end]).await.unwrap(), [attempt_id]);
}

pub async fn a_lost_attempt_may_have_a_higher_number<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let third = s.numbered(due.lead_id, 3);
    assert_eq!(s.restore(&lost(Some(third), phone(1))).await, Restored::Open(third));
}

pub async fn a_lost_attempt_waits_for_its_person_and_its_lead<H: Harness>(s: &Scene<H>) {
    let open = s.dialing(&phone(1)).await;
    let next = s.numbered(open.key().lead_id, 2);
    assert_eq!(s.restore(&lost(Some(next), phone(1))).await, Restored::Waits(next), "its lead has an open attempt");
    assert_eq!(s.restore(&lost(None, phone(1))).await, Restored::Waits(open), "nor is it known what comes next");
    let other = s.h.insert_campaign("other", CampaignState::Active).await;
    let same_person = s.due_lead_of(other, &phone(1)).await;
    let locked = s.intent(&same_person).attempt_id;
    assert_eq!(s.restore(&lost(Some(locked), phone(1))).await, Restored::Waits(locked), "its person has one");
    let lead = s.h.insert_lead(s.list, phone(2).e164()).await;
    let early = s.numbered(lead, 1);
    assert_eq!(s.restore(&lost(Some(early), phone(2))).await, Restored::Waits(early), "it is not enrolled yet");
    let orphan = s.numbered(LeadId(4711), 1);
    assert_eq!(s.restore(&lost(Some(orphan), phone(3))).await, Restored::Orphan(orphan));
    s.forget_changes().await;
}

pub async fn a_lost_attempt_of_a_lead_that_is_done_is_noted<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    s.store().dispose(&[(due.clone(), super::scene::verdict(Disposition::Suppressed))], at(20)).await.unwrap();
    let second = s.numbered(due.lead_id, 2);
    assert_eq!(s.restore(&lost(Some(second), phone(1))).await, Restored::Noted(second));
    let seen = s.h.attempt(second).await.unwrap();
    assert_eq!((seen.outcome, seen.sent_at), (Some(Outcome::Unknown), Some(at(40))));
    let disposed = s.h.disposition(s.campaign, due.lead_id).await.unwrap();
    assert_eq!(disposed.attempt_no, 3, "its number is not used again");
    let key = CallKey { call_id: Some(call_id(77)), token: None, phone: None };
    let found = s.store().find_attempts(&s.account, &[key]).await.unwrap().remove(0);
    assert_eq!((found.bound, found.ended), (Some(second), true));
}

pub async fn without_a_token_the_waiting_lead_with_the_phone_is_meant<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let attempt_id = s.intent(&due).attempt_id;
    assert_eq!(s.restore(&lost(None, phone(2))).await, Restored::Nobodys);
    assert_eq!(s.restore(&lost(None, phone(1))).await, Restored::Open(attempt_id));
    let (bound, basis) = s.h.binding(&s.account, &call_id(77)).await.unwrap();
    assert_eq!((bound, basis.as_str()), (attempt_id, "only_candidate"));
}
