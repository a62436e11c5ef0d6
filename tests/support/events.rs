//! The inbox, whose calls are whose, late evidence.

use jiff::Timestamp;
use outdial::domain::attempt::{MatchBasis, OpenState};
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{AccountName, AttemptId, AttemptKey};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::report::Source;
use outdial::port::store::{
    Binding, CallKey, CallMatch, CallResult, EnrolmentDone, InboxMark, LateResult, RetentionPolicy, Store,
};

use super::harness::Harness;
use super::scene::{Scene, at, call_id, phone, verdict};

pub async fn an_event_is_pending_until_it_is_done<H: Harness>(s: &Scene<H>) {
    let attempt = s.dialing(&phone(1)).await;
    let events = [s.event(Source::Webhook, "{\"a\":1}", None), s.event(Source::Call, "{\"b\":2}", Some(attempt))];
    s.store().append_inbox(&events, at(20)).await.unwrap();
    assert_eq!(
        s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(19), 10).await.unwrap(),
        [],
        "not before it was received"
    );
    assert_eq!(s.store().peek_inbox(&AccountName::new("other"), Timestamp::UNIX_EPOCH, at(20), 10).await.unwrap(), []);
    let seen = s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(20), 10).await.unwrap();
    assert_eq!(seen.iter().map(|event| event.source).collect::<Vec<_>>(), [Source::Webhook, Source::Call]);
    assert_eq!(&seen[0].body[..], b"{\"a\":1}", "byte for byte");
    assert_eq!((seen[0].received_at, seen[0].attempt_id), (at(20), None));
    assert_eq!(seen[1].attempt_id, Some(attempt));
    s.store().mark_inbox(&[(seen[0].inbox_id, InboxMark::Done)], at(21)).await.unwrap();
    let left = s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(21), 10).await.unwrap();
    assert_eq!(left, seen[1..]);
    assert_eq!(s.h.problem(seen[0].inbox_id).await, None);
    assert_eq!(s.h.inbox_count().await, 2, "what is done is still kept");
}

pub async fn events_are_seen_oldest_first_and_bounded<H: Harness>(s: &Scene<H>) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(s.arrive("{}", None).await);
    }
    let later = InboxMark::Later { retry_at: at(50), attempt_id: None };
    s.store().mark_inbox(&[(ids[0], later)], at(21)).await.unwrap();
    let peek = async |now, limit| {
        let seen = s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, now, limit).await.unwrap();
        seen.into_iter().map(|event| event.inbox_id).collect::<Vec<_>>()
    };
    assert_eq!(peek(at(30), 10).await, [ids[1], ids[2]]);
    assert_eq!(peek(at(30), 1).await, [ids[1]]);
    assert_eq!(peek(at(50), 10).await, ids);
}

pub async fn both_halves_of_a_result_are_seen_together<H: Harness>(s: &Scene<H>) {
    let attempt = s.placed(&phone(1), call_id(1)).await;
    let other = s.placed(&phone(2), call_id(2)).await;
    let webhook = s.arrive("{\"half\":1}", None).await;
    let elsewhere = s.arrive("{}", Some(other)).await;
    let put_off = |attempt_id| InboxMark::Later { retry_at: at(500), attempt_id };
    let marks = [(webhook, put_off(Some(attempt))), (elsewhere, put_off(None))];
    s.store().mark_inbox(&marks, at(21)).await.unwrap();
    assert_eq!(s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(30), 10).await.unwrap(), []);
    let read = s.arrive("{\"half\":2}", Some(attempt)).await;
    let seen = s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(30), 1).await.unwrap();
    assert_eq!(seen.iter().map(|event| event.inbox_id).collect::<Vec<_>>(), [webhook, read]);
    assert!(seen.iter().all(|event| event.attempt_id == Some(attempt)));
}

pub async fn a_known_attempt_is_not_forgotten_by_putting_off<H: Harness>(s: &Scene<H>) {
    let attempt = s.placed(&phone(1), call_id(1)).await;
    let event = s.arrive("{}", Some(attempt)).await;
    let later = InboxMark::Later { retry_at: at(50), attempt_id: None };
    s.store().mark_inbox(&[(event, later)], at(21)).await.unwrap();
    let seen = s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(50), 10).await.unwrap();
    assert_eq!(seen[0].attempt_id, Some(attempt));
}

pub async fn what_cannot_be_read_or_matched_is_kept_and_flagged<H: Harness>(s: &Scene<H>) {
    let unreadable = s.arrive("<html>", None).await;
    let unmatched = s.arrive("{}", None).await;
    let marks = [
        (unreadable, InboxMark::Quarantined { problem: "field .: not JSON".to_owned(), version: "1.0".to_owned() }),
        (unmatched, InboxMark::Unmatched),
    ];
    s.store().mark_inbox(&marks, at(30)).await.unwrap();
    assert_eq!(s.h.pending().await, []);
    assert_eq!(s.h.problem(unreadable).await.as_deref(), Some("field .: not JSON"));
    assert!(s.h.problem(unmatched).await.is_some());
    assert_eq!(s.h.inbox_count().await, 2);
}

pub async fn what_another_version_could_not_read_is_read_again<H: Harness>(s: &Scene<H>) {
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(s.arrive("{\"status\":\"new word\"}", None).await);
    }
    let quarantined =
        |version: &str| InboxMark::Quarantined { problem: "a word".to_owned(), version: version.to_owned() };
    let marks = [
        (ids[0], quarantined("1.0")),
        (ids[1], quarantined("1.1")),
        (ids[2], quarantined("1.0")),
        (ids[3], InboxMark::Unmatched),
    ];
    s.store().mark_inbox(&marks, at(30)).await.unwrap();
    assert_eq!(s.store().reread_quarantined("1.1", 1, at(40)).await.unwrap(), 1, "bounded");
    assert_eq!(s.h.pending().await, [ids[0]]);
    assert_eq!(s.store().reread_quarantined("1.1", 10, at(40)).await.unwrap(), 1);
    assert_eq!(s.store().reread_quarantined("1.1", 10, at(40)).await.unwrap(), 0);
    assert_eq!(s.h.pending().await, [ids[0], ids[2]]);
    assert_eq!(s.h.problem(ids[0]).await, None);
    assert_eq!(s.h.problem(ids[1]).await.as_deref(), Some("a word"), "this version has seen it");
    assert!(s.h.problem(ids[3]).await.is_some(), "it was readable");
    let seen = s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(40), 10).await.unwrap();
    assert_eq!(seen.iter().map(|event| (event.inbox_id, event.received_at)).collect::<Vec<_>>()[0], (ids[0], at(20)));
    s.store().mark_inbox(&[(ids[0], quarantined("1.1")), (ids[2], InboxMark::Done)], at(41)).await.unwrap();
    assert_eq!(s.h.pending().await, []);
    assert_eq!(s.store().reread_quarantined("1.1", 10, at(50)).await.unwrap(), 0, "read once more and no better");
}

fn key() -> CallKey {
    CallKey { call_id: None, token: None, phone: None }
}

pub async fn attempts_are_found_by_call_by_token_and_by_phone<H: Harness>(s: &Scene<H>) {
    let bound = s.placed(&phone(1), call_id(1)).await;
    let unbound = s.in_doubt(&phone(2)).await;
    let ended = s.placed(&phone(3), call_id(3)).await;
    s.store().settle(&[s.ended(ended, Outcome::Busy, 1)]).await.unwrap();
    let calls = [
        CallKey { call_id: Some(call_id(404)), ..key() },
        CallKey { call_id: Some(call_id(1)), ..key() },
        CallKey { token: Some(unbound), ..key() },
        CallKey { phone: Some(phone(2)), ..key() },
        CallKey { phone: Some(phone(1)), ..key() },
        CallKey { call_id: Some(call_id(3)), ..key() },
        CallKey { token: Some(ended), ..key() },
        CallKey { call_id: Some(call_id(1)), token: Some(ended), phone: Some(phone(2)) },
        key(),
    ];
    let found = s.store().find_attempts(&s.account, &calls).await.unwrap();
    let nothing = CallMatch::default();
    let open = s.open(unbound).await;
    assert_eq!(found[0], nothing);
    assert_eq!(found[1], CallMatch { bound: Some(bound), basis: Some(MatchBasis::Reply), ..nothing.clone() });
    assert_eq!(found[2], CallMatch { token_exists: true, ..nothing.clone() });
    assert_eq!(found[3], CallMatch { open_unbound: open.clone(), ..nothing.clone() });
    assert_eq!(found[4], nothing, "the phone's attempt has its call");
    assert_eq!(
        found[5],
        CallMatch { bound: Some(ended), basis: Some(MatchBasis::Reply), ended: true, ..nothing.clone() }
    );
    assert_eq!(found[6], CallMatch { token_exists: true, ended: true, ..nothing.clone() });
    let basis = Some(MatchBasis::Reply);
    let all = CallMatch { bound: Some(bound), basis, token_exists: true, open_unbound: open, ended: false };
    assert_eq!(found[7], all, "the binding goes before the token");
    assert_eq!(found[8], nothing);
    assert_eq!(found.len(), calls.len());
}

pub async fn another_accounts_calls_are_not_found<H: Harness>(s: &Scene<H>) {
    let bound = s.placed(&phone(1), call_id(1)).await;
    let unbound = s.in_doubt(&phone(2)).await;
    let calls = [
        CallKey { call_id: Some(call_id(1)), token: Some(bound), phone: Some(phone(1)) },
        CallKey { call_id: None, token: Some(unbound), phone: Some(phone(2)) },
    ];
    let found = s.store().find_attempts(&AccountName::new("other"), &calls).await.unwrap();
    assert_eq!(found, [CallMatch::default(), CallMatch::default()]);
}

pub async fn a_binding_is_for_good<H: Harness>(s: &Scene<H>) {
    let one = s.in_doubt(&phone(1)).await;
    let two = s.in_doubt(&phone(2)).await;
    let to = |attempt_id, basis| Binding { call_id: call_id(1), attempt_id, basis };
    s.store().bind_calls(&s.account, &[to(one, MatchBasis::Token)]).await.unwrap();
    s.store().bind_calls(&s.account, &[to(one, MatchBasis::Token)]).await.unwrap();
    s.store().bind_calls(&s.account, &[to(two, MatchBasis::OnlyCandidate)]).await.unwrap();
    assert_eq!(s.h.binding(&s.account, &call_id(1)).await, Some((one, "token".to_owned())));
    let open = s.open(one).await.unwrap();
    assert_eq!((open.call_id, open.state), (Some(call_id(1)), OpenState::InDoubt), "the state stays");
    assert_eq!(s.open(two).await.unwrap().call_id, None, "the call is not its own");
}

/// Else reconciliation takes the call for known, and the attempt that a failover lost is never restored.
pub async fn a_call_is_bound_to_no_attempt_that_is_gone<H: Harness>(s: &Scene<H>) {
    let one = s.in_doubt(&phone(1)).await;
    let never = AttemptKey { attempt_no: 9, ..one.key() };
    let gone = AttemptId::derive(s.store().installation(), never);
    let to = |call, attempt_id| Binding { call_id: call_id(call), attempt_id, basis: MatchBasis::Token };
    s.store().bind_calls(&s.account, &[to(1, gone), to(2, one)]).await.unwrap();
    assert_eq!(s.h.binding(&s.account, &call_id(1)).await, None);
    assert_eq!(s.h.binding(&s.account, &call_id(2)).await, Some((one, "token".to_owned())));
    s.store().bind_calls(&AccountName::new("other"), &[to(3, one)]).await.unwrap();
    assert_eq!(s.h.binding(&AccountName::new("other"), &call_id(3)).await, None, "it is another account's");
}

fn late(attempt_id: outdial::domain::id::AttemptId, inbox_id: outdial::domain::id::InboxId) -> LateResult {
    LateResult {
        attempt_id,
        inbox_id,
        result: CallResult {
            status: "completed".to_owned(),
            answered_by: Some("human".to_owned()),
            recording_url: Some("https://example.org/late".to_owned()),
            ..CallResult::default()
        },
        contradicts: None,
        verdict: None,
        suppress: None,
    }
}

pub async fn late_evidence_adds_and_never_overwrites<H: Harness>(s: &Scene<H>) {
    let id = s.placed(&phone(1), call_id(1)).await;
    let early =
        CallResult { status: "ended".to_owned(), answered_by: Some("machine".to_owned()), ..CallResult::default() };
    let end = outdial::port::store::Settlement { result: Some(early), ..s.ended(id, Outcome::Voicemail, 1) };
    s.store().settle(&[end]).await.unwrap();
    let event = s.arrive("{}", Some(id)).await;
    let evidence = LateResult { contradicts: Some(Outcome::Answered), ..late(id, event) };
    s.store().apply_late(&[evidence], at(200)).await.unwrap();
    let result = s.h.result(id).await.unwrap();
    assert_eq!((result.status.as_str(), result.answered_by.as_deref()), ("ended", Some("machine")));
    assert_eq!(result.recording_url.as_deref(), Some("https://example.org/late"));
    assert_eq!(result.contradicted_by.as_deref(), Some("answered"));
    assert_eq!(s.h.attempt(id).await.unwrap().outcome, Some(Outcome::Voicemail), "an outcome is for good");
    assert_eq!(s.h.pending().await, []);
}

pub async fn late_evidence_is_kept_where_there_was_no_result<H: Harness>(s: &Scene<H>) {
    let id = s.in_doubt(&phone(1)).await;
    s.store().settle(&[s.ended(id, Outcome::NotPlaced, 0)]).await.unwrap();
    let event = s.arrive("{}", Some(id)).await;
    let evidence = LateResult { contradicts: Some(Outcome::Answered), ..late(id, event) };
    s.store().apply_late(&[evidence], at(200)).await.unwrap();
    let result = s.h.result(id).await.unwrap();
    assert_eq!((result.status.as_str(), result.contradicted_by.as_deref()), ("completed", Some("answered")));
}

pub async fn late_evidence_takes_a_lead_out_of_due_and_never_puts_it_in<H: Harness>(s: &Scene<H>) {
    let due = s.placed(&phone(1), call_id(1)).await;
    s.store().settle(&[s.ended(due, Outcome::NoAnswer, 1)]).await.unwrap();
    let done = s.placed(&phone(2), call_id(2)).await;
    s.store().settle(&[s.ended_for_good(done, Outcome::Busy, Disposition::Exhausted, 1)]).await.unwrap();
    for id in [due, done] {
        let event = s.arrive("{}", Some(id)).await;
        let evidence = LateResult {
            verdict: Some(verdict(Disposition::Reached)),
            suppress: Some("opted out".to_owned()),
            ..late(id, event)
        };
        s.store().apply_late(&[evidence], at(200)).await.unwrap();
    }
    let lead = due.key().lead_id;
    assert_eq!(s.h.due(s.campaign, lead).await, None);
    let disposed = s.h.disposition(s.campaign, lead).await.unwrap();
    assert_eq!((disposed.disposition, disposed.attempt_no, disposed.tries), (Disposition::Reached, 2, 1));
    let other = s.h.disposition(s.campaign, done.key().lead_id).await.unwrap();
    assert_eq!(other.disposition, Disposition::Exhausted, "a verdict that is there stays");
    assert_eq!(s.h.suppressed_until(&phone(1)).await, Some(None));
    assert_eq!(s.h.pending().await, []);
}

pub async fn late_evidence_does_not_disturb_the_next_attempt<H: Harness>(s: &Scene<H>) {
    let first = s.placed(&phone(1), call_id(1)).await;
    s.store().settle(&[s.ended(first, Outcome::NoAnswer, 1)]).await.unwrap();
    let due = s.h.due(s.campaign, first.key().lead_id).await.unwrap();
    let second = s.begin(&s.lease, &[s.intent(&due)]).await[0];
    let event = s.arrive("{}", Some(first)).await;
    let evidence = LateResult { verdict: Some(verdict(Disposition::Reached)), ..late(first, event) };
    s.store().apply_late(&[evidence], at(200)).await.unwrap();
    assert!(s.open(second).await.is_some());
    assert_eq!(s.h.disposition(s.campaign, first.key().lead_id).await, None);
}

pub async fn evidence_about_an_open_attempt_stays_pending<H: Harness>(s: &Scene<H>) {
    let id = s.placed(&phone(1), call_id(1)).await;
    let event = s.arrive("{}", Some(id)).await;
    s.store().apply_late(&[late(id, event)], at(30)).await.unwrap();
    assert_eq!(s.h.result(id).await, None);
    assert_eq!(s.h.pending().await, [event]);
}

pub async fn old_events_go_but_never_a_pending_one<H: Harness>(s: &Scene<H>) {
    const DAY: i64 = 86_400;
    let policy = RetentionPolicy { inbox_days: 3, payload_days: 3, history_days: None };
    s.store().retain(at(0), policy).await.unwrap();
    let old = s.arrive("{}", None).await;
    s.store().append_inbox(&[s.event(Source::Webhook, "{}", None)], at(2 * DAY)).await.unwrap();
    let pending: Vec<_> = s.h.pending().await.into_iter().filter(|id| *id != old).collect();
    s.store().mark_inbox(&[(pending[0], InboxMark::Done)], at(2 * DAY)).await.unwrap();

    s.store().retain(at(10 * DAY), policy).await.unwrap();
    assert_eq!(s.h.inbox_count().await, 1, "what is done and old is gone");
    assert_eq!(s.h.pending().await, [old]);
    assert_eq!(s.store().peek_inbox(&s.account, Timestamp::UNIX_EPOCH, at(10 * DAY), 10).await.unwrap().len(), 1);
    s.store().mark_inbox(&[(old, InboxMark::Done)], at(10 * DAY)).await.unwrap();
    s.store().retain(at(11 * DAY), policy).await.unwrap();
    assert_eq!(s.h.inbox_count().await, 0);
}

pub async fn payloads_go_after_their_days_and_the_row_stays<H: Harness>(s: &Scene<H>) {
    const DAY: i64 = 86_400;
    let id = s.placed(&phone(1), call_id(1)).await;
    let result = CallResult {
        status: "completed".to_owned(),
        recording_url: Some("https://example.org/r".to_owned()),
        ..CallResult::default()
    };
    let end = outdial::port::store::Settlement { result: Some(result), ..s.ended(id, Outcome::Answered, 1) };
    s.store().settle(&[end]).await.unwrap();
    let policy = RetentionPolicy { inbox_days: 3, payload_days: 5, history_days: None };
    assert_eq!(s.store().retain(at(4 * DAY), policy).await.unwrap().payloads_removed, 0);
    assert_eq!(s.store().retain(at(6 * DAY), policy).await.unwrap().payloads_removed, 1);
    let seen = s.h.result(id).await.unwrap();
    assert_eq!((seen.status.as_str(), seen.recording_url), ("completed", None));
    assert_eq!(s.store().retain(at(6 * DAY), policy).await.unwrap().payloads_removed, 0, "once");
    let event = s.arrive("{}", Some(id)).await;
    s.store().apply_late(&[late(id, event)], at(6 * DAY)).await.unwrap();
    let seen = s.h.result(id).await.unwrap();
    assert_eq!((seen.answered_by.as_deref(), seen.recording_url), (Some("human"), None), "nor do they come back");
}

pub async fn deleted_leads_of_finished_campaigns_are_forgotten_after_their_days<H: Harness>(s: &Scene<H>) {
    const DAY: i64 = 86_400;
    let (kept, gone) = (s.placed(&phone(1), call_id(1)).await, s.placed(&phone(2), call_id(2)).await);
    let ends = [kept, gone].map(|id| s.ended_for_good(id, Outcome::Answered, Disposition::Reached, 1));
    s.store().settle(&ends).await.unwrap();
    let lead = gone.key().lead_id;
    s.h.delete_lead(lead).await;
    let policy = RetentionPolicy { inbox_days: 3, payload_days: 3, history_days: Some(100) };
    let forgotten = async |days: i64, policy| s.store().retain(at(days * DAY), policy).await.unwrap().leads_forgotten;
    assert_eq!(forgotten(200, policy).await, 0, "its deletion is not followed up yet, and the campaign goes on");
    let changes = s.store().peek_lead_changes(10).await.unwrap().into_iter().flat_map(|change| change.change_ids);
    s.store().apply_enrolment(&[], EnrolmentDone::Changes(changes.collect()), at(0)).await.unwrap();
    assert_eq!(forgotten(200, policy).await, 0, "the campaign goes on");
    s.h.set_state(s.campaign, CampaignState::Finished).await;
    assert_eq!(forgotten(99, policy).await, 0, "not yet");
    assert_eq!(forgotten(200, RetentionPolicy { history_days: None, ..policy }).await, 0);

    assert_eq!(forgotten(200, policy).await, 1);
    assert!(s.h.attempt(gone).await.is_none() && s.h.disposition(s.campaign, lead).await.is_none());
    assert_eq!(s.h.binding(&s.account, &call_id(2)).await, None);
    assert_eq!(s.h.holder(s.campaign, &phone(2)).await, None);
    assert!(s.h.attempt(kept).await.is_some(), "its lead is there");
    assert_eq!(s.h.broken_invariants().await, Vec::<String>::new());
    assert_eq!(forgotten(201, policy).await, 0, "once");
}
