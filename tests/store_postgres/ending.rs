//! What is learnt while an attempt is open, and its end: once, and only where the state allows it.

use jiff::Timestamp;
use outdial::domain::attempt::{MatchBasis, OpenState};
use outdial::domain::id::{AttemptId, CampaignId, InboxId, LeadId, ProviderCallId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::port::store::{CallResult, NextPlace, OpenChange, ReplyFact, ReplyRecord, Settlement, Store, Verdict};
use sqlx::PgPool;

use crate::fixture::{MINUTE, World, account, now};

fn placed(attempt_id: AttemptId, call_id: &str) -> ReplyRecord {
    let reply =
        ReplyFact::Placed { call_id: Some(ProviderCallId::new(call_id)), poll_at: now() + MINUTE, deadline_at: None };
    ReplyRecord { attempt_id, sent_at: Some(now()), reply }
}

fn in_doubt(attempt_id: AttemptId) -> ReplyRecord {
    let reply = ReplyFact::InDoubt {
        reason: "timeout".into(),
        accepted: false,
        absence_from: now() + MINUTE,
        poll_at: now() + MINUTE,
        deadline_at: now() + MINUTE * 30,
    };
    ReplyRecord { attempt_id, sent_at: Some(now()), reply }
}

fn note(attempt_id: AttemptId, from: OpenState, to: OpenState) -> OpenChange {
    OpenChange {
        attempt_id,
        from,
        to,
        reason: None,
        poll_at: None,
        deadline_at: None,
        absence_from: None,
        absent_since: None,
    }
}

fn due_again(due_at: Timestamp, tries: u16) -> NextPlace {
    NextPlace::Due { due_at, attempt_no: 2, tries }
}

fn settlement(attempt_id: AttemptId, outcome: Outcome, next: NextPlace) -> Settlement {
    Settlement {
        attempt_id,
        outcome,
        ended_at: now() + MINUTE * 2,
        sent_at: None,
        reason: "as the provider says".into(),
        refused: false,
        result: None,
        next,
        suppress: None,
        inbox: Vec::new(),
    }
}

async fn state(world: &World, attempt_id: AttemptId) -> Option<OpenState> {
    let open = world.store.open_attempts(&account()).await.unwrap();
    open.into_iter().find(|open| open.attempt_id == attempt_id).map(|open| open.state)
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_late_answer_takes_an_attempt_out_of_doubt_and_no_doubt_follows_an_answer(pool: PgPool) {
    let world = World::new(pool).await;
    let id = world.dialing(1).await;
    assert_eq!(world.store.record_replies(&[in_doubt(id)]).await.unwrap(), [id]);
    assert_eq!(state(&world, id).await, Some(OpenState::InDoubt));
    assert_eq!(world.store.record_replies(&[placed(id, "call-1")]).await.unwrap(), [id]);
    assert_eq!(world.store.record_replies(&[in_doubt(id)]).await.unwrap(), []);

    let open = world.store.open_attempts(&account()).await.unwrap().remove(0);
    assert_eq!(open.state, OpenState::Placed);
    assert_eq!(open.call_id, Some(ProviderCallId::new("call-1")));
    assert_eq!((open.sent_at, open.accepted, open.reason), (Some(now()), true, None));
    assert_eq!(world.count("select count(*) from provider_call where basis = 'reply'").await, 1);
    assert_eq!(world.count("select count(*) from attempt where sent_at is not null").await, 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn the_same_answer_again_changes_nothing_and_a_call_of_another_attempt_stays_there(pool: PgPool) {
    let world = World::new(pool).await;
    let (one, two) = (world.dialing(1).await, world.dialing(2).await);
    world.store.record_replies(&[placed(one, "call-1")]).await.unwrap();
    world.run("update open_attempt set poll_at = '2026-03-02T12:00:00Z' where provider_call_id = 'call-1'").await;
    let before = world.store.open_attempts(&account()).await.unwrap();
    assert_eq!(world.store.record_replies(&[placed(one, "call-1")]).await.unwrap(), [one]);
    assert_eq!(world.store.open_attempts(&account()).await.unwrap(), before);

    assert_eq!(world.store.record_replies(&[placed(two, "call-1")]).await.unwrap(), [two]);
    let open = world.store.open_attempts(&account()).await.unwrap();
    assert_eq!((open[1].state, &open[1].call_id), (OpenState::Placed, &None));
    assert_eq!(world.count("select count(*) from provider_call").await, 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_refusal_is_remembered_with_the_attempt(pool: PgPool) {
    let world = World::new(pool).await;
    let id = world.dialing(1).await;
    let end = Settlement { refused: true, ..settlement(id, Outcome::NotPlaced, due_again(now() + MINUTE, 0)) };
    world.store.settle(&[end]).await.unwrap();
    assert!(world.store.history(&[(CampaignId(1), LeadId(1))]).await.unwrap()[0].refused);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn of_two_answers_in_one_batch_the_one_that_knows_more_counts(pool: PgPool) {
    let world = World::new(pool).await;
    let id = world.dialing(1).await;
    assert_eq!(world.store.record_replies(&[in_doubt(id), placed(id, "call-1")]).await.unwrap(), [id]);
    assert_eq!(state(&world, id).await, Some(OpenState::Placed));
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn an_answer_after_the_end_is_still_true(pool: PgPool) {
    let world = World::new(pool).await;
    let id = world.dialing(1).await;
    let end = settlement(id, Outcome::Answered, due_again(now() + MINUTE, 1));
    assert_eq!(world.store.settle(&[end]).await.unwrap(), [id]);
    assert_eq!(world.store.record_replies(&[placed(id, "call-1")]).await.unwrap(), []);
    assert_eq!(world.count("select count(*) from provider_call where provider_call_id = 'call-1'").await, 1);
    assert_eq!(world.count("select count(*) from attempt where sent_at is not null").await, 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_change_is_made_only_from_the_state_it_was_decided_on(pool: PgPool) {
    let world = World::new(pool).await;
    let (one, two) = (world.dialing(1).await, world.dialing(2).await);
    world.store.record_replies(&[in_doubt(one), placed(two, "call-2")]).await.unwrap();
    let held = |id| OpenChange { reason: Some("no evidence".into()), ..note(id, OpenState::InDoubt, OpenState::Held) };
    assert_eq!(world.store.change_open(&[held(two), held(one)]).await.unwrap(), [one]);
    assert_eq!(state(&world, one).await, Some(OpenState::Held));
    assert_eq!(state(&world, two).await, Some(OpenState::Placed));

    let before = world.store.open_attempts(&account()).await.unwrap();
    let later = OpenChange { poll_at: Some(now() + MINUTE * 9), ..note(two, OpenState::Placed, OpenState::Placed) };
    world.store.change_open(&[later]).await.unwrap();
    let mut expected = before;
    expected[1].poll_at = now() + MINUTE * 9;
    assert_eq!(world.store.open_attempts(&account()).await.unwrap(), expected);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn settling_twice_has_its_effect_once(pool: PgPool) {
    let world = World::new(pool).await;
    let id = world.dialing(1).await;
    world
        .run(
            "insert into inbox_pending (inbox_id, received_at, account, retry_at)
         select n, '2026-03-02', 'main', '2026-03-02' from generate_series(1, 3) n",
        )
        .await;
    let result = CallResult {
        call_id: Some(ProviderCallId::new("call-1")),
        match_basis: Some(MatchBasis::Token),
        status: "completed".into(),
        answered_by: Some("human".into()),
        duration_seconds: Some(61),
        cost: Some("0.125".into()),
        transcript: Some(serde_json::json!([{"role": "user", "text": "hello \0"}])),
        recording_url: None,
        extracted: serde_json::from_value(serde_json::json!({"mood\0": "fine"})).unwrap(),
        goal_met: Some(false),
    };
    let first = Settlement {
        result: Some(result),
        inbox: vec![InboxId(1), InboxId(2)],
        suppress: Some(String::new()),
        ..settlement(id, Outcome::Answered, due_again(now() + MINUTE * 60, 1))
    };
    let disposed = NextPlace::Disposed {
        verdict: Verdict { disposition: Disposition::Exhausted, reason: "no more tries".into() },
        attempt_no: 2,
        tries: 1,
    };
    let second = Settlement { inbox: vec![InboxId(3)], refused: true, ..settlement(id, Outcome::Busy, disposed) };
    // Twice in one batch, twice at once, and once more.
    let both = [first, second.clone()];
    let (a, b) = tokio::join!(world.store.settle(&both), world.store.settle(&both));
    assert_eq!(a.unwrap().len() + b.unwrap().len(), 1);
    assert_eq!(world.store.settle(&[second]).await.unwrap(), []);

    assert_eq!(world.count("select count(*) from open_attempt").await, 0);
    assert_eq!(world.count("select count(*) from attempt where outcome = 'answered' and not goal_met").await, 1);
    assert_eq!(world.count("select count(*) from due where attempt_no = 2 and tries = 1").await, 1);
    assert_eq!(world.count("select count(*) from disposition").await, 0);
    assert_eq!(world.count("select sum(inbox_id)::bigint from inbox_pending").await, 3);
    assert_eq!(world.count("select count(*) from call_result where cost = 0.125 and duration_seconds = 61").await, 1);
    assert_eq!(world.count("select count(*) from provider_call where basis = 'token'").await, 1);
    assert_eq!(world.count("select count(*) from suppression where campaign_id is null").await, 1);
    let past = world.store.history(&[(CampaignId(1), LeadId(1)), (CampaignId(1), LeadId(2))]).await.unwrap();
    assert_eq!(past.len(), 1);
    assert_eq!((past[0].attempt_id, past[0].outcome, past[0].goal_met), (id, Outcome::Answered, Some(false)));
    assert!(!past[0].refused);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn an_attempt_ends_only_as_its_state_allows_at_that_moment(pool: PgPool) {
    let world = World::new(pool).await;
    let mut lead_id = 0;
    for state in OpenState::ALL {
        for outcome in Outcome::ALL {
            lead_id += 1;
            let id = world.dialing(lead_id).await;
            sqlx::query("update open_attempt set state = $1, reason = '', absence_from = now() where attempt_id = $2")
                .bind(state.as_str())
                .bind(id.uuid())
                .execute(&world.pool)
                .await
                .unwrap();
            let end = settlement(id, *outcome, due_again(now(), u16::from(outcome.counts_as_try())));
            let ended = world.store.settle(&[end]).await.unwrap();
            assert_eq!(ended == [id], state.may_end_as(*outcome), "{state} as {outcome}");
        }
    }
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn an_absence_that_is_overtaken_by_the_answer_gives_no_try_back(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let id = world.dialing(1).await;
    world.store.record_replies(&[in_doubt(id)]).await.unwrap();
    let mut answer = pool.begin().await.unwrap();
    sqlx::query("update open_attempt set state = 'placed'").execute(&mut *answer).await.unwrap();
    let end = [settlement(id, Outcome::NotPlaced, due_again(now(), 0))];
    let (ended, ()) = tokio::join!(world.store.settle(&end), async {
        world.until_someone_waits().await;
        answer.commit().await.unwrap();
    });
    assert_eq!(ended.unwrap(), []);
    assert_eq!(world.count("select count(*) from due").await, 0, "the phone is ringing");
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_persons_own_word_outlasts_an_older_entry_that_would_expire(pool: PgPool) {
    let world = World::new(pool).await;
    let id = world.dialing(1).await;
    world.run(
        "insert into suppression (phone, reason, expires_at) select phone, 'holiday', '2026-04-01' from open_attempt",
    )
    .await;
    let end = Settlement {
        suppress: Some("asked on the phone".into()),
        ..settlement(id, Outcome::Answered, due_again(now(), 1))
    };
    world.store.settle(&[end]).await.unwrap();
    assert_eq!(
        world
            .count("select count(*) from suppression where expires_at is null and reason = 'asked on the phone'")
            .await,
        1
    );
}
