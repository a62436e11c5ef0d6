//! Due leads become attempts: once, under a valid lease, on facts that still hold.

use std::time::Duration;

use outdial::domain::id::{CampaignId, Epoch, OwnerId};
use outdial::port::store::{EnrolmentAction, EnrolmentDone, EnrolmentStep, Lease, LeaseRequest, Store};
use sqlx::PgPool;
use uuid::Uuid;

use crate::fixture::{MINUTE, World, account, ids, now};

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn rows_that_two_take_at_once_are_taken_once(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 60).await;
    let forward = world.intents(&due);
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    let (a, b, c) = tokio::join!(
        world.store.begin_dials(&world.lease, &forward, None, now()),
        world.store.begin_dials(&world.lease, &backward, None, now()),
        world.store.begin_dials(&world.lease, &forward, None, now()),
    );
    let mut begun: Vec<_> = [a, b, c].into_iter().flat_map(|committed| ids(committed.unwrap())).collect();
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), 60);
    assert_eq!(world.count("select count(*) from attempt").await, 60);
    assert_eq!(world.count("select count(*) from open_attempt").await, 60);
    assert_eq!(world.count("select count(*) from due").await, 0);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn an_answer_lists_each_intent_at_most_once_over_all_takers(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 40).await;
    let intents = world.intents(&due);
    let rounds = (0..4).map(|_| world.store.begin_dials(&world.lease, &intents, None, now()));
    let answers = futures::future::join_all(rounds).await;
    let listed: usize = answers.into_iter().map(|answer| answer.unwrap().len()).sum();
    assert_eq!(listed, 40, "two permits for one attempt ring one person twice");
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_person_has_one_open_attempt_whichever_campaign_asks(pool: PgPool) {
    let world = World::new(pool).await;
    world.campaign(2).await;
    let one = world.due_lead(1, 1, "+493012345678").await;
    let two = world.due_lead(2, 1, "+493012345678").await;
    // In one batch the first gets in; the other stays due.
    assert_eq!(world.begin(&[two.clone(), one.clone()]).await, [world.id(&two)]);
    // In another batch nobody gets in.
    assert_eq!(world.begin(&[one]).await, []);
    assert_eq!(world.count("select count(*) from open_attempt").await, 1);
    assert_eq!(world.count("select count(*) from attempt").await, 1);
    assert_eq!(world.count("select count(*) from due where campaign_id = 1").await, 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn two_campaigns_that_want_the_same_persons_at_once_never_deadlock_or_share(pool: PgPool) {
    let world = World::new(pool).await;
    world.campaign(2).await;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for lead_id in 1..=40 {
        let phone = format!("+4930{:07}", 2_000_000 + lead_id);
        first.push(world.due_lead(1, lead_id, &phone).await);
        second.push(world.due_lead(2, lead_id, &phone).await);
    }
    second.reverse();
    let (a, b) = tokio::join!(world.begin(&first), world.begin(&second));
    assert_eq!(a.len() + b.len(), 40);
    assert_eq!(world.count("select count(*) from due").await, 40);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn without_the_lease_nothing_is_dialed(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 1).await;
    let intents = world.intents(&due);
    let stranger = Lease { owner: OwnerId(Uuid::new_v4()), ..world.lease.clone() };
    let former = Lease { epoch: Epoch(world.lease.epoch.0 - 1), ..world.lease.clone() };
    for lease in [stranger, former] {
        assert_eq!(world.store.begin_dials(&lease, &intents, None, now()).await.unwrap(), []);
    }
    world.run("update account_lease set expires_at = clock_timestamp()").await;
    assert_eq!(world.begin(&due).await, []);
    // The same owner gets its term back, and everything is as before.
    assert_eq!(crate::fixture::lease(&world.store, world.lease.owner).await, world.lease);
    assert_eq!(world.begin(&due).await.len(), 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_lease_that_moves_while_we_wait_for_it_fences_us(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let due = world.due_leads(1, 1).await;
    let mut taker = pool.begin().await.unwrap();
    sqlx::query("update account_lease set owner = gen_random_uuid(), epoch = epoch + 1")
        .execute(&mut *taker)
        .await
        .unwrap();
    let (begun, ()) = tokio::join!(world.begin(&due), async {
        world.until_someone_waits().await;
        taker.commit().await.unwrap();
    });
    assert_eq!(begun, []);
    assert_eq!(world.count("select count(*) from due").await, 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_row_that_is_re_dated_or_taken_while_we_wait_is_left_alone(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let due = world.due_leads(1, 3).await;
    let mut renewal = pool.begin().await.unwrap();
    sqlx::query("update account_lease set expires_at = expires_at + interval '1 second'")
        .execute(&mut *renewal)
        .await
        .unwrap();
    // Our statement has its snapshot and waits for the lease row; the world moves on behind it.
    let (begun, ()) = tokio::join!(world.begin(&due), async {
        world.until_someone_waits().await;
        assert_eq!(world.store.defer(&[(due[0].clone(), now() + MINUTE)]).await.unwrap(), 1);
        world.run("delete from due where lead_id = 2").await;
        renewal.commit().await.unwrap();
    });
    assert_eq!(begun, [world.id(&due[2])]);
    assert_eq!(world.count("select count(*) from due where lead_id = 1").await, 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_stop_of_the_account_or_of_everything_stops(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 1).await;
    world.run("insert into stop_order (account, reason) values (null, 'test')").await;
    assert_eq!(world.begin(&due).await, []);
    world.run("update stop_order set account = 'main'").await;
    assert_eq!(world.begin(&due).await, []);
    world.run("update stop_order set account = 'other'").await;
    assert_eq!(world.begin(&due).await.len(), 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn facts_that_changed_since_the_gate_judged_them_leave_a_lead_due(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 1).await;
    for (change, undo) in [
        ("update campaign set state = 'paused'", "update campaign set state = 'active'"),
        ("update campaign set definition = '{\"a\": 1}'", "update campaign set version = 1"),
        ("update lead set name = 'Grace'", "alter table lead disable trigger all; update lead set version = 1"),
        ("update due set tries = 0, attempt_no = 2", "update due set attempt_no = 1"),
        ("update due set phone = '+493099999999'", "update due set phone = '+49301000001'"),
        ("delete from lead", "insert into lead (lead_id, lead_list_id, phone) values (1, 1, '+49301000001')"),
    ] {
        world.run(change).await;
        assert_eq!(world.begin(&due).await, [], "after {change}");
        world.run(undo).await;
    }
    // The rows are as they were, and a change of the lead is noted: nobody has looked at it yet.
    assert_eq!(world.begin(&due).await, []);
    world.run("delete from lead_change").await;
    assert_eq!(world.begin(&due).await.len(), 1);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_due_row_whose_attempt_exists_is_put_off_and_harms_nobody(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 3).await;
    let stray = world.begin(&due[1..2]).await[0];
    // Nothing makes such a row any more; this is one from before.
    world.run("delete from open_attempt; alter table due disable trigger due_refuse_used_numbers").await;
    world.insert_due(&due[1]).await;
    assert_eq!(world.begin(&due).await, [world.id(&due[0]), world.id(&due[2])]);
    assert_eq!(stray, world.id(&due[1]));
    assert_eq!(world.count("select count(*) from due where due_at = '2026-03-02T10:00:00Z'").await, 1);
}

/// Two daemons read that a lead is nowhere; the first has enrolled it, and dials it while the second enrols it.
#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_lead_that_another_dials_while_we_enrol_it_is_not_due_as_well(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let due = world.due_leads(1, 1).await;
    world.run("insert into enrolment (campaign_id, phone, lead_id) select campaign_id, phone, lead_id from due").await;
    let mut other = pool.begin().await.unwrap();
    let attempt =
        "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id,
            epoch, intent_at, evidence)
        select $1, campaign_id, lead_id, 1, 0, phone, 'main', '7', 1, now(), '' from due";
    sqlx::query(attempt).bind(world.id(&due[0]).uuid()).execute(&mut *other).await.unwrap();
    sqlx::query("delete from due").execute(&mut *other).await.unwrap();
    let step = EnrolmentStep {
        campaign_id: CampaignId(1),
        lead_id: due[0].lead_id,
        action: EnrolmentAction::Due {
            phone: due[0].phone,
            group_key: "Europe/Berlin".to_owned(),
            priority: 5,
            due_at: now(),
            attempt_no: 1,
            tries: 0,
        },
    };
    let steps = [step];
    let (enrolled, ()) =
        tokio::join!(world.store.apply_enrolment(&steps, EnrolmentDone::Changes(Vec::new()), now()), async {
            world.until_someone_waits().await;
            other.commit().await.unwrap();
        });
    enrolled.unwrap();
    assert_eq!(world.count("select count(*) from due").await, 0);
    assert_eq!(world.count("select count(*) from lead_change").await, 1, "it is looked at again");
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_batch_that_is_dropped_midway_is_there_whole_or_not_at_all(pool: PgPool) {
    let world = World::new(pool).await;
    let mut first = 1;
    let (mut whole, mut none) = (0, 0);
    for round in 0..60u64 {
        let due = world.due_leads(first, 5).await;
        let intents = world.intents(&due);
        let begin = world.store.begin_dials(&world.lease, &intents, None, now());
        drop(tokio::time::timeout(Duration::from_micros(round * 60), begin).await);
        // One snapshot: the server may still be about to carry out what it was sent.
        let seen: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from due), (select count(*) from open_attempt),
                (select count(*) from attempt where lead_id >= $1)",
        )
        .bind(first)
        .fetch_one(&world.pool)
        .await
        .unwrap();
        match seen {
            (0, 5, 5) => whole += 1,
            (5, 0, 0) => none += 1,
            torn => panic!("(due, open, attempts) is {torn:?} in round {round}"),
        }
        world.run("delete from due; delete from open_attempt").await;
        first += 5;
    }
    assert!(whole > 0 && none > 0, "the cuts must fall on both sides: {whole} whole, {none} none");
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_lease_changes_hands_only_when_it_has_run_out_and_its_epoch_only_grows(pool: PgPool) {
    let world = World::new(pool).await;
    let ttl = Duration::from_secs(60);
    let rival = OwnerId(Uuid::new_v4());
    assert_eq!(world.store.renew_leases(&LeaseRequest::all(rival, &[account()], ttl)).await.unwrap(), []);
    assert_eq!(
        world.store.renew_leases(&LeaseRequest::all(world.lease.owner, &[account(), account()], ttl)).await.unwrap(),
        std::slice::from_ref(&world.lease)
    );
    world.store.release_leases(world.lease.owner, &[account()]).await.unwrap();
    let taken = world.store.renew_leases(&LeaseRequest::all(rival, &[account()], ttl)).await.unwrap();
    assert_eq!(taken, [Lease { account: account(), owner: rival, epoch: Epoch(world.lease.epoch.0 + 1) }]);
    assert_eq!(world.store.renew_leases(&LeaseRequest::all(world.lease.owner, &[account()], ttl)).await.unwrap(), []);
}
