//! Replies, moves of open attempts, ends, history.

use serde_json::json;

use outdial::domain::attempt::{MatchBasis, OpenState};
use outdial::domain::id::{AccountName, AttemptId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::port::store::{CallResult, LeaseRequest, OpenChange, OpenCount, ReplyRecord, Settlement, Store};

use super::harness::{DispositionSeen, Harness};
use super::scene::{Scene, at, call_id, phone};

pub async fn a_placed_reply_binds_its_call<H: Harness>(s: &Scene<H>) {
    let id = s.placed(&phone(1), call_id(1)).await;
    let open = s.open(id).await.unwrap();
    assert_eq!((open.state, open.sent_at, open.poll_at), (OpenState::Placed, Some(at(11)), at(60)));
    assert_eq!(open.call_id, Some(call_id(1)));
    assert_eq!(open.deadline_at, at(600), "the deadline stays");
    assert_eq!(s.h.binding(&s.account, &call_id(1)).await, Some((id, "reply".to_owned())));
    assert_eq!(s.h.attempt(id).await.unwrap().sent_at, Some(at(11)));
}

pub async fn a_placed_reply_may_lack_an_id<H: Harness>(s: &Scene<H>) {
    let id = s.dialing(&phone(1)).await;
    assert_eq!(s.store().record_replies(&[s.reply_placed(id, None)]).await.unwrap(), [id]);
    let open = s.open(id).await.unwrap();
    assert_eq!((open.state, open.call_id), (OpenState::Placed, None));
}

pub async fn a_late_placed_reply_is_still_true<H: Harness>(s: &Scene<H>) {
    let in_doubt = s.in_doubt(&phone(1)).await;
    let held = s.held(&phone(2)).await;
    s.h.let_leases_run_out().await;
    s.store()
        .renew_leases(&LeaseRequest::all(super::scene::owner(2), std::slice::from_ref(&s.account), super::scene::TTL))
        .await
        .unwrap();
    let replies = [s.reply_placed(in_doubt, Some(call_id(1))), s.reply_placed(held, Some(call_id(2)))];
    let mut recorded = s.store().record_replies(&replies).await.unwrap();
    recorded.sort_unstable();
    assert_eq!(recorded, [in_doubt, held], "whoever dials by now");
    assert_eq!(s.open(in_doubt).await.unwrap().state, OpenState::Placed);
    assert_eq!(s.open(held).await.unwrap().state, OpenState::Placed);
}

pub async fn a_placed_attempt_learns_what_it_lacks<H: Harness>(s: &Scene<H>) {
    let id = s.dialing(&phone(1)).await;
    let noticed = OpenChange { poll_at: Some(at(33)), ..s.change(id, OpenState::Dialing, OpenState::Placed) };
    assert_eq!(s.store().change_open(&[noticed]).await.unwrap(), [id]);
    assert_eq!(s.store().record_replies(&[s.reply_placed(id, Some(call_id(1)))]).await.unwrap(), [id]);
    let open = s.open(id).await.unwrap();
    assert_eq!((open.state, open.sent_at, open.call_id), (OpenState::Placed, Some(at(11)), Some(call_id(1))));
}

pub async fn an_ended_attempt_keeps_its_end_and_learns_its_call<H: Harness>(s: &Scene<H>) {
    let id = s.in_doubt(&phone(1)).await;
    s.store().settle(&[s.ended(id, Outcome::NotPlaced, 0)]).await.unwrap();
    assert_eq!(s.store().record_replies(&[s.reply_placed(id, Some(call_id(1)))]).await.unwrap(), []);
    assert_eq!(s.h.attempt(id).await.unwrap().outcome, Some(Outcome::NotPlaced));
    assert_eq!(s.open(id).await, None);
    assert_eq!(s.h.binding(&s.account, &call_id(1)).await, Some((id, "reply".to_owned())), "its webhook is recognised");
}

pub async fn only_a_dialing_attempt_goes_in_doubt<H: Harness>(s: &Scene<H>) {
    let dialing = s.in_doubt(&phone(1)).await;
    let open = s.open(dialing).await.unwrap();
    assert_eq!(open.state, OpenState::InDoubt);
    assert_eq!((open.poll_at, open.deadline_at, open.absence_from), (at(45), at(1500), Some(at(40))));
    assert_eq!((open.reason.as_deref(), open.accepted), (Some("timeout"), false));
    assert_eq!(open.sent_at, Some(at(11)));

    let placed = s.placed(&phone(2), call_id(2)).await;
    let held = s.held(&phone(3)).await;
    let again = [s.reply_in_doubt(dialing), s.reply_in_doubt(placed), s.reply_in_doubt(held)];
    assert_eq!(s.store().record_replies(&again).await.unwrap(), []);
    assert_eq!(s.open(placed).await.unwrap().state, OpenState::Placed);
    assert_eq!(s.open(held).await.unwrap().state, OpenState::Held);
}

pub async fn the_time_of_sending_is_kept_once_known<H: Harness>(s: &Scene<H>) {
    let id = s.in_doubt(&phone(1)).await;
    let later = ReplyRecord { sent_at: Some(at(30)), ..s.reply_placed(id, None) };
    s.store().record_replies(&[later]).await.unwrap();
    assert_eq!(s.open(id).await.unwrap().sent_at, Some(at(11)));
    let end = Settlement { sent_at: Some(at(31)), ..s.ended(id, Outcome::Busy, 1) };
    s.store().settle(&[end]).await.unwrap();
    assert_eq!(s.h.attempt(id).await.unwrap().sent_at, Some(at(11)));
}

pub async fn an_open_attempt_moves_only_from_the_state_it_was_seen_in<H: Harness>(s: &Scene<H>) {
    let id = s.in_doubt(&phone(1)).await;
    let note = OpenChange {
        absent_since: Some(at(50)),
        poll_at: Some(at(80)),
        ..s.change(id, OpenState::InDoubt, OpenState::InDoubt)
    };
    assert_eq!(s.store().change_open(&[note]).await.unwrap(), [id]);
    let open = s.open(id).await.unwrap();
    assert_eq!((open.absent_since, open.poll_at), (Some(at(50)), at(80)));
    assert_eq!((open.absence_from, open.deadline_at), (Some(at(40)), at(1500)), "what is not named stays");
    assert_eq!(open.reason.as_deref(), Some("timeout"));

    let stale = s.change(id, OpenState::Placed, OpenState::Held);
    assert_eq!(s.store().change_open(&[stale]).await.unwrap(), []);
    let hold = s.change(id, OpenState::InDoubt, OpenState::Held);
    assert_eq!(s.store().change_open(std::slice::from_ref(&hold)).await.unwrap(), [id]);
    assert_eq!(s.open(id).await.unwrap().reason.as_deref(), Some("nobody knows"));
    assert_eq!(s.store().change_open(&[hold]).await.unwrap(), [], "once");
}

pub async fn an_attempt_ends_once_and_with_all_effects<H: Harness>(s: &Scene<H>) {
    let id = s.placed(&phone(1), call_id(1)).await;
    let lead = id.key().lead_id;
    let event = s.arrive("{}", Some(id)).await;
    let result = CallResult {
        call_id: Some(call_id(1)),
        match_basis: Some(MatchBasis::Reply),
        status: "completed".to_owned(),
        answered_by: Some("human".to_owned()),
        duration_seconds: Some(42),
        cost: Some("0.125".to_owned()),
        transcript: Some(json!([{"role": "user"}])),
        recording_url: Some("https://example.org/r".to_owned()),
        goal_met: Some(false),
        ..CallResult::default()
    };
    let end = Settlement { result: Some(result), inbox: vec![event], ..s.ended(id, Outcome::Answered, 1) };
    assert_eq!(s.store().settle(std::slice::from_ref(&end)).await.unwrap(), [id]);
    assert_eq!(s.open(id).await, None);
    let attempt = s.h.attempt(id).await.unwrap();
    assert_eq!(
        (attempt.outcome, attempt.ended_at, attempt.goal_met),
        (Some(Outcome::Answered), Some(at(100)), Some(false))
    );
    let seen = s.h.result(id).await.unwrap();
    assert_eq!((seen.status.as_str(), seen.answered_by.as_deref()), ("completed", Some("human")));
    assert_eq!(s.h.pending().await, []);
    let due = s.h.due(s.campaign, lead).await.unwrap();
    assert_eq!((due.due_at, due.attempt_no, due.tries), (at(7200), 2, 1));
    assert_eq!((due.phone, due.stratum.priority), (phone(1), 5), "in the lane it came from");

    let late = s.arrive("{}", Some(id)).await;
    let again = Settlement { inbox: vec![late], outcome: Outcome::Busy, ..end };
    assert_eq!(s.store().settle(&[again]).await.unwrap(), []);
    assert_eq!(s.h.attempt(id).await.unwrap().outcome, Some(Outcome::Answered));
    assert_eq!(s.h.pending().await, [late], "what was not applied stays pending");
}

pub async fn an_end_may_bind_a_call<H: Harness>(s: &Scene<H>) {
    let id = s.in_doubt(&phone(1)).await;
    let result = CallResult {
        call_id: Some(call_id(7)),
        match_basis: Some(MatchBasis::OnlyCandidate),
        status: "no-answer".to_owned(),
        ..CallResult::default()
    };
    let end = Settlement { result: Some(result), ..s.ended(id, Outcome::NoAnswer, 1) };
    assert_eq!(s.store().settle(&[end]).await.unwrap(), [id]);
    assert_eq!(s.h.binding(&s.account, &call_id(7)).await, Some((id, "only_candidate".to_owned())));
}

pub async fn a_lead_that_is_done_is_disposed<H: Harness>(s: &Scene<H>) {
    let id = s.placed(&phone(1), call_id(1)).await;
    let lead = id.key().lead_id;
    let end = s.ended_for_good(id, Outcome::Answered, Disposition::Reached, 1);
    assert_eq!(s.store().settle(&[end]).await.unwrap(), [id]);
    assert_eq!(s.h.due(s.campaign, lead).await, None);
    let expected = DispositionSeen { disposition: Disposition::Reached, attempt_no: 2, tries: 1 };
    assert_eq!(s.h.disposition(s.campaign, lead).await, Some(expected));
}

pub async fn an_attempt_ends_only_as_its_state_allows<H: Harness>(s: &Scene<H>) {
    let placed = s.placed(&phone(1), call_id(1)).await;
    for outcome in [Outcome::NotPlaced, Outcome::Rejected, Outcome::Unknown] {
        assert_eq!(s.store().settle(&[s.ended(placed, outcome, 0)]).await.unwrap(), [], "{outcome}");
    }
    assert_eq!(s.open(placed).await.unwrap().state, OpenState::Placed);
    let in_doubt = s.in_doubt(&phone(2)).await;
    assert_eq!(s.store().settle(&[s.ended(in_doubt, Outcome::Unknown, 1)]).await.unwrap(), []);
    assert_eq!(s.store().settle(&[s.ended(in_doubt, Outcome::NotPlaced, 0)]).await.unwrap(), [in_doubt]);
    let held = s.held(&phone(3)).await;
    let end = s.ended_for_good(held, Outcome::Unknown, Disposition::Exhausted, 1);
    assert_eq!(s.store().settle(&[end]).await.unwrap(), [held]);
    let dialing = s.dialing(&phone(4)).await;
    let end = s.ended_for_good(dialing, Outcome::Rejected, Disposition::InvalidNumber, 0);
    assert_eq!(s.store().settle(&[end]).await.unwrap(), [dialing]);
}

pub async fn an_opt_out_suppresses_for_good<H: Harness>(s: &Scene<H>) {
    let fresh = s.placed(&phone(1), call_id(1)).await;
    let entered = s.placed(&phone(2), call_id(2)).await;
    s.h.suppress(&phone(2), None, Some(at(200))).await;
    let opt_out = |id| Settlement {
        suppress: Some("opted out".to_owned()),
        ..s.ended_for_good(id, Outcome::Answered, Disposition::Reached, 1)
    };
    assert_eq!(s.store().settle(&[opt_out(fresh), opt_out(entered)]).await.unwrap().len(), 2);
    assert_eq!(s.h.suppressed_until(&phone(1)).await, Some(None));
    assert_eq!(s.h.suppressed_until(&phone(2)).await, Some(None), "an entry that would expire no longer does");
    assert_eq!(s.h.suppressed_until(&phone(3)).await, None);
}

pub async fn a_phone_is_free_again_after_the_end<H: Harness>(s: &Scene<H>) {
    let id = s.dialing(&phone(1)).await;
    s.store().settle(&[s.ended(id, Outcome::NotPlaced, 0)]).await.unwrap();
    let due = s.h.due(s.campaign, id.key().lead_id).await.unwrap();
    assert_eq!((due.attempt_no, due.tries), (2, 0), "the number is used up, the try is given back");
    assert_eq!(s.begin(&s.lease, &[s.intent(&due)]).await.len(), 1);
}

pub async fn of_a_batch_each_end_stands_alone<H: Harness>(s: &Scene<H>) {
    let open = s.placed(&phone(1), call_id(1)).await;
    let over = s.placed(&phone(2), call_id(2)).await;
    s.store().settle(&[s.ended(over, Outcome::Busy, 1)]).await.unwrap();
    let ends = [s.ended(over, Outcome::Answered, 1), s.ended(open, Outcome::NoAnswer, 1)];
    assert_eq!(s.store().settle(&ends).await.unwrap(), [open]);
    assert_eq!(s.h.attempt(over).await.unwrap().outcome, Some(Outcome::Busy));
}

pub async fn history_is_what_has_ended_oldest_first<H: Harness>(s: &Scene<H>) {
    let first = s.dialing(&phone(1)).await;
    let lead = (s.campaign, first.key().lead_id);
    assert_eq!(s.store().history(&[lead]).await.unwrap(), [], "what is open has no outcome yet");
    s.store().settle(&[s.ended(first, Outcome::Busy, 1)]).await.unwrap();
    let due = s.h.due(lead.0, lead.1).await.unwrap();
    let second = s.begin(&s.lease, &[s.intent(&due)]).await[0];
    let result = CallResult { status: "done".to_owned(), goal_met: Some(true), ..CallResult::default() };
    let end = Settlement { result: Some(result), ..s.ended(second, Outcome::Answered, 2) };
    s.store().settle(&[end]).await.unwrap();
    let other = s.dialing(&phone(2)).await;
    s.store().settle(&[s.ended(other, Outcome::Failed, 1)]).await.unwrap();

    let past = s.store().history(&[lead]).await.unwrap();
    let brief: Vec<_> = past.iter().map(|past| (past.attempt_id, past.tries, past.outcome, past.goal_met)).collect();
    assert_eq!(brief, [(first, 0, Outcome::Busy, None), (second, 1, Outcome::Answered, Some(true))]);
    assert_eq!(s.store().history(&[lead, (s.campaign, other.key().lead_id)]).await.unwrap().len(), 3);
}

pub async fn open_attempts_are_those_of_the_account_by_id<H: Harness>(s: &Scene<H>) {
    let mut ids = vec![s.dialing(&phone(9)).await, s.placed(&phone(1), call_id(1)).await, s.held(&phone(5)).await];
    ids.sort_unstable();
    let open = s.store().open_attempts(&s.account).await.unwrap();
    assert_eq!(open.iter().map(|open| open.attempt_id).collect::<Vec<_>>(), ids);
    let other = AccountName::new("other");
    assert_eq!(s.store().open_attempts(&other).await.unwrap(), []);

    let among = [ids[2], AttemptId::from_stored(uuid::Uuid::from_u128(7)), ids[0]];
    assert_eq!(s.store().open_among(&s.account, &among).await.unwrap(), [open[0].clone(), open[2].clone()]);
    assert_eq!(s.store().open_among(&s.account, &[]).await.unwrap(), []);
    assert_eq!(s.store().open_among(&other, &among).await.unwrap(), []);
}

pub async fn open_attempts_are_counted_by_what_limits_count<H: Harness>(s: &Scene<H>) {
    for number in [1, 2] {
        s.placed(&phone(number), call_id(number)).await;
    }
    s.held(&phone(5)).await;
    let counts = s.store().open_counts(&s.account).await.unwrap();
    let open = s.store().open_attempts(&s.account).await.unwrap();
    let count =
        |state, count| OpenCount { campaign_id: s.campaign, assistant_id: open[0].assistant_id.clone(), state, count };
    assert_eq!(counts, [count(OpenState::Held, 1), count(OpenState::Placed, 2)]);
    assert_eq!(s.store().open_counts(&AccountName::new("other")).await.unwrap(), []);
}

pub async fn unknown_attempts_are_left_out_of_every_answer<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let never = s.intent(&due).attempt_id;
    let replies = [s.reply_placed(never, None), s.reply_in_doubt(never)];
    assert_eq!(s.store().record_replies(&replies).await.unwrap(), []);
    assert_eq!(s.store().change_open(&[s.change(never, OpenState::Placed, OpenState::Held)]).await.unwrap(), []);
    assert_eq!(s.store().settle(&[s.ended(never, Outcome::Busy, 1)]).await.unwrap(), []);
    assert_eq!(s.store().confirm(&[never], at(20), at(0)).await.unwrap(), []);
    assert_eq!(s.h.due(s.campaign, due.lead_id).await, Some(due), "the lead stays due");
}
