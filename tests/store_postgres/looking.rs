//! Reading due leads: every fact, the right order, and never more of the table than asked for.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use outdial::domain::id::{AssistantId, CampaignId, LeadId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::report::Source;
use outdial::port::store::{
    Candidate, Contact, DueKey, InboxEvent, NextPlace, Probe, Settlement, StartsOf, Store, Suppression, Verdict,
};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::fixture::{MINUTE, World, account, now};

fn probe(due: &DueKey, limit: u32) -> Probe {
    Probe { stratum: due.stratum, not_before: now() - MINUTE * 60, limit }
}

async fn peek(world: &World, probe: Probe) -> Vec<Candidate> {
    world.store.peek_due(now(), now() - MINUTE * 60 * 24, &[probe]).await.unwrap()
}

fn ended(id: outdial::domain::id::AttemptId, outcome: Outcome, due_at: Timestamp) -> Settlement {
    Settlement {
        attempt_id: id,
        outcome,
        ended_at: now(),
        sent_at: None,
        reason: "test".into(),
        refused: false,
        result: None,
        next: NextPlace::Due { due_at, attempt_no: 2, tries: u16::from(outcome.counts_as_try()) },
        suppress: None,
        inbox: Vec::new(),
    }
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_peek_sees_what_is_due_between_its_bounds_in_order(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 5).await;
    let moved = [
        (due[0].clone(), now() + MINUTE),
        (due[1].clone(), now() - MINUTE * 61),
        (due[2].clone(), now()),
        (due[3].clone(), now() - MINUTE * 60),
    ];
    assert_eq!(world.store.defer(&moved).await.unwrap(), 4);
    assert_eq!(world.store.defer(&moved).await.unwrap(), 0, "they are no longer where they were seen");
    let seen: Vec<_> = peek(&world, probe(&due[0], 9)).await.iter().map(|seen| seen.due.lead_id.0).collect();
    assert_eq!(seen, [4, 5, 3]);
    let first: Vec<_> = peek(&world, probe(&due[0], 1)).await.iter().map(|seen| seen.due.lead_id.0).collect();
    assert_eq!(first, [4]);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_candidate_carries_every_fact_of_its_person(pool: PgPool) {
    let world = World::new(pool).await;
    world.campaign(2).await;
    let due = world.due_lead(1, 1, "+493012345678").await;
    let other = world.due_lead(2, 1, "+493012345678").await;

    let plain = peek(&world, probe(&due, 9)).await.remove(0);
    assert_eq!(plain.due, due);
    assert_eq!(plain.lead.as_ref().map(|lead| lead.version), Some(1));
    assert_eq!(plain.lead.map(|lead| Value::Object(lead.variables)), Some(serde_json::json!({"name": "Ada"})));
    assert_eq!(plain.person, Default::default());
    assert_eq!(plain.last_assistant, None);

    // While the other campaign rings the person, the open attempt is known, and counts as a contact.
    let begun = world.begin(std::slice::from_ref(&other)).await;
    let seen = peek(&world, probe(&due, 9)).await.remove(0);
    assert_eq!(seen.person.open, Some(world.id(&other)));
    let contact = Contact { at: now(), campaign_id: CampaignId(2) };
    assert_eq!(seen.person.contacts, [contact]);
    // The one that asks is no contact of its own.
    let confirmed = world.store.confirm(&begun, now(), now() - MINUTE).await.unwrap();
    assert_eq!(confirmed, [(world.id(&other), Default::default())]);

    // It rang nobody: no contact. Suppressed in another campaign: nothing. Here, and not yet expired: something.
    world.store.settle(&[ended(begun[0], Outcome::NotPlaced, now() - MINUTE)]).await.unwrap();
    world.run("insert into suppression (phone, campaign_id, reason) values ('+493012345678', 2, 'there')").await;
    world
        .run("insert into suppression (phone, campaign_id, reason, expires_at) values ('+493012345678', 1, 'here', '2026-03-02T09:00:01Z')")
        .await;
    let seen = peek(&world, probe(&due, 9)).await.remove(0);
    assert_eq!((seen.person.open, seen.person.contacts), (None, Vec::new()));
    let here = Suppression { reason: "here".into(), expires_at: Some("2026-03-02T09:00:01Z".parse().unwrap()) };
    assert_eq!(seen.person.suppression, Some(here));
    let at_expiry = "2026-03-02T09:00:01Z".parse().unwrap();
    let seen = world.store.peek_due(at_expiry, at_expiry, &[probe(&due, 9)]).await.unwrap();
    assert_eq!(seen[0].person.suppression, None);

    // Who spoke last in the other campaign is known there, and a deleted lead is told from a changed one.
    world.run("delete from lead").await;
    let again = peek(&world, probe(&other, 9)).await.remove(0);
    assert_eq!((again.lead, again.last_assistant), (None, Some(AssistantId::new("7"))));
    assert_eq!(again.due.attempt_no, 2);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_disposed_lead_is_no_longer_due_and_says_why(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 2).await;
    let verdict = Verdict { disposition: Disposition::Expired, reason: "its last moment has passed".into() };
    let gone = DueKey { attempt_no: 9, ..due[1].clone() };
    let verdicts = [(due[0].clone(), verdict.clone()), (gone, verdict)];
    assert_eq!(world.store.dispose(&verdicts, now()).await.unwrap(), 1);
    assert_eq!(world.count("select count(*) from due").await, 1);
    assert_eq!(
        world
            .count("select count(*) from disposition where lead_id = 1 and disposition = 'expired' and attempt_no = 1")
            .await,
        1
    );
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn starts_are_what_was_sent_or_may_have_been(pool: PgPool) {
    let world = World::new(pool).await;
    let due = world.due_leads(1, 4).await;
    let ids = world.begin(&due).await;
    let by_account =
        async |since, at_most| world.store.starts_since(StartsOf::Account(&account()), since, at_most).await.unwrap();
    assert_eq!(by_account(now(), 100).await, 4, "an intent without an answer may have been sent");
    assert_eq!(by_account(now(), 3).await, 3);
    // Nothing left the building; a refusal that was sent; a call.
    world.store.settle(&[ended(ids[0], Outcome::NotPlaced, now())]).await.unwrap();
    let refused = Settlement { sent_at: Some(now() + MINUTE), ..ended(ids[1], Outcome::NotPlaced, now()) };
    world.store.settle(&[refused, ended(ids[2], Outcome::Busy, now())]).await.unwrap();
    assert_eq!(by_account(now(), 100).await, 3);
    assert_eq!(by_account(now() + MINUTE, 100).await, 1, "the time of sending counts, not the intent's");
    let campaign = |id| StartsOf::Campaign(CampaignId(id));
    assert_eq!(world.store.starts_since(campaign(1), now(), 100).await.unwrap(), 3);
    assert_eq!(world.store.starts_since(campaign(2), now(), 100).await.unwrap(), 0);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn control_shows_finished_campaigns_without_lanes(pool: PgPool) {
    let world = World::new(pool).await;
    world.campaign(2).await;
    world.run("update campaign set state = 'finished' where campaign_id = 2").await;
    world.run("insert into stratum select c, 1, 5 from generate_series(1, 2) c").await;
    world.run("insert into stop_order (account, reason) values ('main', 'fire drill')").await;
    world
        .run("insert into account_state values ('main', 'key refused', '2026-03-02', null), ('fine', null, '2026-03-02', null)")
        .await;
    let control = world.store.control().await.unwrap();
    // Late evidence may need the definition of one that finished.
    assert_eq!(control.campaigns.iter().map(|row| row.campaign_id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(control.strata.iter().map(|lane| lane.campaign_id.0).collect::<Vec<_>>(), [1]);
    assert_eq!(control.groups.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["Europe/Berlin"]);
    assert_eq!(control.stops[0].account, Some(account()));
    assert_eq!(control.account_states.iter().map(|state| state.account.as_str()).collect::<Vec<_>>(), ["main"]);
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn a_peek_reads_the_head_of_each_lane_by_index_and_never_sorts_the_backlog(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    world
        .run(
            "insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
             select 1, 1 + n % 3, n % 2, '2026-03-02T08:00:00Z'::timestamptz + n * interval '100 ms', n, 1, 0,
                 '+4930' || 1000000 + n
             from generate_series(1, 30000) n;
             insert into lead (lead_id, lead_list_id, phone) select n, 1, '+4930' || 1000000 + n from generate_series(1, 30000) n;
             insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
                 intent_at, evidence)
             select gen_random_uuid(), 1, n, 1, 0, '+4930' || 1000000 + n, 'main', '7', 1, '2026-03-01', ''
             from generate_series(1, 30000) n;
             insert into suppression (phone, reason) select '+4930' || 1000000 + n, 'x' from generate_series(1, 30000, 3) n;
             analyze",
        )
        .await;
    let explain = concat!("explain (format json) ", include_str!("../../src/adapter/postgres/peek_due.sql"));
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let mut connection = pool.acquire().await.unwrap().detach();
        sqlx::query("select set_config('plan_cache_mode', $1, false)")
            .bind(mode)
            .execute(&mut connection)
            .await
            .unwrap();
        let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
            .bind(vec![1i64; 6])
            .bind(vec![1i32, 2, 3, 1, 2, 3])
            .bind(vec![0i16, 0, 0, 1, 1, 1])
            .bind(vec![(now() - MINUTE * 60).to_sqlx(); 6])
            .bind(vec![20i64; 6])
            .bind(now().to_sqlx())
            .bind((now() - MINUTE * 60 * 24).to_sqlx())
            .bind(20i64)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let mut scans = Vec::new();
        walk(&plan[0]["Plan"], "", &mut scans);
        let scan = |table| {
            let found: Vec<_> = scans.iter().filter(|scan| scan.table == table).collect();
            assert_eq!(found.len(), 1, "one scan of {table} in {plan:#}");
            found[0]
        };
        let due = scan("due");
        assert_eq!((due.node.as_str(), due.index.as_str(), due.parent.as_str()), ("Index Scan", "due_pkey", "Limit"));
        for table in ["lead", "attempt", "suppression"] {
            assert!(scan(table).node.contains("Index"), "{mode}: {table} is read whole: {plan:#}");
        }
    }
}

struct Scan {
    table: String,
    node: String,
    index: String,
    parent: String,
}

fn walk(node: &Value, parent: &str, scans: &mut Vec<Scan>) {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    if node["Relation Name"].is_string() {
        scans.push(Scan {
            table: text("Relation Name"),
            node: text("Node Type"),
            index: text("Index Name"),
            parent: parent.to_owned(),
        });
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        walk(child, &text("Node Type"), scans);
    }
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn an_open_attempt_is_no_part_of_the_history(pool: PgPool) {
    let world = World::new(pool).await;
    world.dialing(1).await;
    assert_eq!(world.store.history(&[(CampaignId(1), LeadId(1))]).await.unwrap(), []);
}

/// Blocks of a table and its indexes that a read touches.
async fn blocks_of(admin: &PgPool, table: &str, read: impl AsyncFn()) -> i64 {
    let touched = async || -> i64 {
        sqlx::query_scalar(
            "select (coalesce(heap_blks_hit, 0) + coalesce(heap_blks_read, 0) + coalesce(idx_blks_hit, 0)
                + coalesce(idx_blks_read, 0))::bigint
             from pg_statio_user_tables where relname = $1",
        )
        .bind(table)
        .fetch_one(admin)
        .await
        .unwrap()
    };
    // What was read before is told when its session ends, which may take a moment.
    let (mut before, mut same) = (touched().await, 0);
    while same < 30 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = touched().await;
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    read().await;
    // A session tells the statistics when it ends.
    let mut after = before;
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        after = touched().await;
        if after > before {
            break;
        }
    }
    after - before
}

#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn dead_rows_that_a_snapshot_holds_cost_readers_nothing(_pool: PgPoolOptions, options: PgConnectOptions) {
    let admin = PgPoolOptions::new().max_connections(2).connect_with(options.clone()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await.unwrap();
    let world = World::new(pool).await;
    // One that was opened long ago, and a few that are young.
    world.dialing(1).await;
    let mut holder = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("begin isolation level repeatable read; select 1").execute(&mut holder).await.unwrap();
    sqlx::raw_sql(
        "insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id,
            priority, tries, owner, epoch, state, intent_at, deadline_at, poll_at)
         select '+4931' || i, gen_random_uuid(), 'main', 1, i, '7', 1, 5, 0, gen_random_uuid(), 1, 'dialing', now(), now(),
            now()
         from generate_series(10000, 29999) i;
         delete from open_attempt where phone like '+4931%';
         insert into inbox_pending (inbox_id, received_at, account, retry_at)
         select -i, timestamptz '2026-03-02 08:00Z', 'main', timestamptz '2026-03-02 08:00Z'
         from generate_series(1, 20000) i;
         delete from inbox_pending;
         -- As autovacuum does.
         analyze open_attempt, inbox_pending;",
    )
    .execute(&admin)
    .await
    .unwrap();
    for lead_id in 2..5 {
        world.dialing(lead_id).await;
    }
    let event = InboxEvent { account: account(), source: Source::Webhook, body: "{}".into(), attempt_id: None };
    world.store.append_inbox(&[event], now()).await.unwrap();
    // It learns where the live ones are.
    assert_eq!(world.store.open_attempts(&account()).await.unwrap().len(), 4);

    let flush = async || world.pool.acquire().await.unwrap().detach().close().await.unwrap();
    flush().await;
    let attempts = blocks_of(&admin, "open_attempt", async || {
        assert_eq!(world.store.open_attempts(&account()).await.unwrap().len(), 4);
        assert_eq!(world.store.open_counts(&account()).await.unwrap()[0].count, 4);
        flush().await;
    });
    let attempts = attempts.await;
    let events = blocks_of(&admin, "inbox_pending", async || {
        assert_eq!(world.store.peek_inbox(&account(), now(), now(), 10).await.unwrap().len(), 1);
        flush().await;
    });
    let events = events.await;
    assert!(attempts < 60, "{attempts} blocks for four open attempts");
    assert!(events < 60, "{events} blocks for one event");
    holder.close().await.unwrap();
}

/// A range of ids that is taken for a join makes each settlement of a retry read all attempts there are.
#[sqlx::test(migrator = "outdial::adapter::postgres::connect::MIGRATOR")]
async fn the_history_of_a_few_leads_costs_no_more_among_many_attempts(_pool: PgPoolOptions, options: PgConnectOptions) {
    let admin = PgPoolOptions::new().max_connections(2).connect_with(options.clone()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let world = World::new(pool).await;
    sqlx::raw_sql(
        "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
            intent_at, evidence, sent_at, ended_at, outcome)
         select attempt_id_of((select number from installation), 1, i, 1), 1, i, 1, 0, '+49305' || lpad(i::text, 7, '0'),
            'main', '7', 1, at, '', at, at, 'no_answer'
         from generate_series(1, 30000) i, (select timestamptz '2026-03-02 08:00Z' as at) a;
         analyze attempt;",
    )
    .execute(&admin)
    .await
    .unwrap();
    let leads: Vec<_> = (1..=300).map(|number| (CampaignId(1), LeadId(number * 100))).collect();
    let flush = async || world.pool.acquire().await.unwrap().detach().close().await.unwrap();
    flush().await;
    let blocks = blocks_of(&admin, "attempt", async || {
        // Often enough for a statement to be planned without its values.
        for some in leads.chunks(30) {
            assert_eq!(world.store.history(some).await.unwrap().len(), 30);
        }
        flush().await;
    });
    let blocks = blocks.await;
    assert!(blocks < 3_000, "{blocks} blocks for 300 attempts");
}
