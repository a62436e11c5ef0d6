//! Writes whose caller goes away in the midst of them: each is whole or absent, and what is written later is kept.

use std::time::Duration;

use bytes::Bytes;
use outdial::adapter::postgres::connect;
use outdial::domain::id::AttemptId;
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::report::Source;
use outdial::port::store::{DueKey, InboxEvent, NextPlace, Settlement, Store, Verdict};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::fixture::{MINUTE, World, account, now};

/// Each is cut off a little later than the one before: from before it is sent until after it is answered.
const ROUNDS: i64 = 60;
const STEP: Duration = Duration::from_micros(60);
/// A statement that was cut off ends within milliseconds.
const TRIES_MAX: u32 = 1_000;
/// Rows of a batch.
const BATCH: i64 = 3;

/// How many of a round's leads are due, open, attempted, ended and disposed of, at one instant.
async fn places(pool: &PgPool, due: &[DueKey]) -> [i64; 5] {
    let leads: Vec<i64> = due.iter().map(|due| due.lead_id.0).collect();
    let row: (i64, i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from due where lead_id = any($1)),
            (select count(*) from open_attempt where lead_id = any($1)),
            (select count(*) from attempt where lead_id = any($1)),
            (select count(*) from attempt where lead_id = any($1) and ended_at is not null),
            (select count(*) from disposition where lead_id = any($1))",
    )
    .bind(&leads)
    .fetch_one(pool)
    .await
    .unwrap();
    row.into()
}

fn ended(attempt_id: AttemptId) -> Settlement {
    Settlement {
        attempt_id,
        outcome: Outcome::Failed,
        ended_at: now() + MINUTE,
        sent_at: None,
        reason: "as the provider says".into(),
        refused: false,
        result: None,
        next: NextPlace::Disposed {
            verdict: Verdict::new(Disposition::Exhausted, "no tries left"),
            attempt_no: 2,
            tries: 1,
        },
        suppress: None,
        inbox: Vec::new(),
    }
}

fn event(body: &'static str) -> InboxEvent {
    let body = Bytes::from_static(body.as_bytes());
    InboxEvent { account: account(), source: Source::Webhook, body, attempt_id: None }
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn writes_that_are_cut_off_are_whole_or_absent(_pool: PgPoolOptions, options: PgConnectOptions) {
    let world = World::new(connect::pool(connect::with_limits(options.clone(), "test"), 3)).await;
    let (mut begun_early, mut ended_early, mut appended_early) = (0, 0, 0);
    for round in 0..ROUNDS {
        let cut = STEP * u32::try_from(round).unwrap();
        let due = world.due_leads(1 + round * BATCH, BATCH).await;

        let intents = world.intents(&due);
        let begin = tokio::time::timeout(cut, world.store.begin_dials(&world.lease, &intents, None, now())).await;
        begun_early += u32::from(begin.is_err());
        let found = places(&world.pool, &due).await;
        assert!(matches!(found, [3, 0, 0, 0, 0] | [0, 3, 3, 0, 0]), "round {round}: {found:?}");
        // The server may still be at it, and rows it has locked are skipped. Doing it again does what is left.
        let mut tries = 0;
        while places(&world.pool, &due).await != [0, 3, 3, 0, 0] {
            assert!(tries < TRIES_MAX, "round {round}: never begun");
            tries += 1;
            world.begin(&due).await;
        }

        let ends: Vec<Settlement> = due.iter().map(|due| ended(world.id(due))).collect();
        let settle = tokio::time::timeout(cut, world.store.settle(&ends)).await;
        ended_early += u32::from(settle.is_err());
        let found = places(&world.pool, &due).await;
        assert!(matches!(found, [0, 3, 3, 0, 0] | [0, 0, 3, 3, 3]), "round {round}: {found:?}");
        world.store.settle(&ends).await.unwrap();
        assert_eq!(places(&world.pool, &due).await, [0, 0, 3, 3, 3], "round {round}");

        let events = [event("cut"), event("cut"), event("cut")];
        let append = tokio::time::timeout(cut, world.store.append_inbox(&events, now())).await;
        appended_early += u32::from(append.is_err());
        world.store.append_inbox(&[event("kept")], now()).await.unwrap();
    }
    for (what, cut) in [("begin_dials", begun_early), ("settle", ended_early), ("append_inbox", appended_early)] {
        assert!(cut > 0 && i64::from(cut) < ROUNDS, "{cut} of {ROUNDS} {what} were cut off: the test shows nothing");
    }
    world.pool.close().await;

    // By another connection: what was only ever seen by ours is lost.
    let mut other = PgConnection::connect_with(&options).await.unwrap();
    let kept: (i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from inbox where body = 'kept'), (select count(*) from inbox where body = 'cut') % 3,
            (select count(*) from inbox full join inbox_pending p using (inbox_id)
             where p.inbox_id is null or inbox.inbox_id is null),
            (select count(*) from disposition)",
    )
    .fetch_one(&mut other)
    .await
    .unwrap();
    assert_eq!(kept, (ROUNDS, 0, 0, ROUNDS * BATCH));
}
