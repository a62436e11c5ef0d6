//! Leads come and go, events wait and are kept: what the store promises about them, on a real Postgres.

#![cfg(test)]

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::{Span, Timestamp};
use jiff_sqlx::ToSqlx;
use outdial::adapter::postgres::{PostgresStore, command, connect, status, views, whereabouts};
use outdial::domain::attempt::MatchBasis;
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{
    AccountName, AttemptId, AttemptKey, CampaignId, InboxId, LeadId, LeadListId, ProviderCallId,
};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::Source;
use outdial::port::store::{
    Binding, CallKey, CallResult, CampaignLists, EnrolmentAction, EnrolmentDone, EnrolmentStep, InboxEvent, InboxMark,
    LateResult, LeadPlace, LeadRow, Place, RetentionPolicy, Store, Verdict,
};
use serde_json::{Map, Value, json};
use sqlx::{Connection, PgConnection, PgPool};

// ---- a small engine: the plainest rules that use the store as the real one does ------------------------------------

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-03-02T09:00:00Z")
}

fn step(lead: Option<&LeadRow>, place: &LeadPlace) -> Option<EnrolmentStep> {
    let lead_id = match (&place.place, lead) {
        (Place::Due(key), _) => key.lead_id,
        (_, Some(lead)) => lead.lead_id,
        (_, None) => return None,
    };
    let phone = lead.filter(|_| place.wanted).and_then(|lead| PhoneNumber::parse(&lead.phone).ok());
    let group_key = lead.and_then(|lead| lead.time_zone.clone()).unwrap_or_else(|| "unknown".to_owned());
    let removed = Verdict { disposition: Disposition::Removed, reason: "no list of the campaign has it".to_owned() };
    let due = |phone, attempt_no, tries| EnrolmentAction::Due {
        phone,
        group_key: group_key.clone(),
        priority: lead.map_or(5, |lead| lead.priority),
        due_at: now(),
        attempt_no,
        tries,
    };
    let action = match (&place.place, phone) {
        (Place::Nowhere, Some(phone)) => due(phone, 1, 0),
        (Place::Disposed { disposition, attempt_no, tries, .. }, Some(phone)) if !disposition.is_final() => {
            due(phone, *attempt_no, *tries)
        }
        (Place::Due(key), Some(phone)) if key.phone != phone => EnrolmentAction::Move {
            from: key.clone(),
            phone,
            group_key: group_key.clone(),
            priority: key.stratum.priority,
            due_at: key.due_at,
        },
        (Place::Due(key), None) => {
            EnrolmentAction::Dispose { verdict: removed, attempt_no: key.attempt_no, tries: key.tries }
        }
        (Place::Nowhere | Place::Due(_) | Place::Open | Place::Disposed { .. }, _) => return None,
    };
    Some(EnrolmentStep { campaign_id: place.campaign_id, lead_id, action })
}

/// Applies changes and walks lists until nothing is left, as a pass would over time.
async fn enrol(store: &PostgresStore) {
    for _ in 0..100 {
        let changes = store.peek_lead_changes(2_000).await.unwrap();
        let page = store.next_list_page(2).await.unwrap();
        if changes.is_empty() && page.is_none() {
            return;
        }
        let ids = changes.iter().flat_map(|change| change.change_ids.clone()).collect();
        let steps: Vec<_> = changes
            .iter()
            .flat_map(|change| change.places.iter().filter_map(|place| step(change.lead.as_ref(), place)))
            .collect();
        store.apply_enrolment(&steps, EnrolmentDone::Changes(ids), now()).await.unwrap();
        if let Some(page) = page {
            // The changes may have moved its leads; steps that no longer fit are left out.
            let steps: Vec<_> = page.leads.iter().filter_map(|(lead, place)| step(Some(lead), place)).collect();
            let done = EnrolmentDone::Page {
                campaign_id: page.campaign_id,
                lead_list_id: page.lead_list_id,
                after: page.last_lead_id,
                version: page.version,
            };
            store.apply_enrolment(&steps, done, now()).await.unwrap();
        }
    }
    panic!("enrolment must come to an end");
}

struct World {
    pool: PgPool,
    store: PostgresStore,
    campaign: CampaignId,
    list: LeadListId,
}

impl World {
    async fn new(pool: PgPool) -> Self {
        let store = PostgresStore::open(pool.clone()).await.unwrap();
        let list = command::find_or_make_list(&pool, "spring").await.unwrap();
        let applied = command::apply_campaign(
            &pool,
            "renewals",
            &json!({"lead_lists": ["spring"]}),
            CampaignState::Active,
            now(),
        )
        .await
        .unwrap();
        let command::Applied::Created(campaign) = applied else { panic!("must be new, was {applied:?}") };
        let world = Self { pool, store, campaign, list };
        world.dial_lists(1, &["spring"]).await;
        world
    }

    async fn dial_lists(&self, version: i64, lists: &[&str]) {
        let lists = lists.iter().map(|&name| name.to_owned()).collect();
        let lists = [CampaignLists { campaign_id: self.campaign, version, lead_lists: lists }];
        self.store.set_campaign_lists(&lists).await.unwrap();
    }

    async fn add(&self, phone: &str) -> LeadId {
        let id =
            sqlx::query_scalar::<_, i64>("insert into lead (lead_list_id, phone) values ($1, $2) returning lead_id")
                .bind(self.list.0)
                .bind(phone)
                .fetch_one(&self.pool)
                .await
                .unwrap();
        LeadId(id)
    }

    async fn sql(&self, statement: &'static str, lead: LeadId) {
        sqlx::query(statement).bind(lead.0).execute(&self.pool).await.unwrap();
    }

    /// Every lead's place in words, such as `due 2/1 +12125550001` or `removed 1/0`.
    async fn places(&self) -> BTreeMap<i64, String> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "select lead_id, 'due ' || attempt_no || '/' || tries || ' ' || phone from due
             union all select lead_id, disposition || ' ' || attempt_no || '/' || tries from disposition
             union all select lead_id, 'open ' || phone from open_attempt",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let count = rows.len();
        let places: BTreeMap<_, _> = rows.into_iter().collect();
        assert_eq!(places.len(), count, "a lead is in one place only");
        places
    }

    #[track_caller]
    fn attempt_id(&self, lead: LeadId, attempt_no: u16) -> AttemptId {
        let key = AttemptKey { campaign_id: self.campaign, lead_id: lead, attempt_no };
        AttemptId::derive(self.store.installation(), key)
    }

    /// Turns a due lead into an open attempt, as a dial does.
    async fn dial(&self, lead: LeadId) -> AttemptId {
        let (no,): (i32,) = sqlx::query_as("select attempt_no from due where lead_id = $1")
            .bind(lead.0)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let id = self.attempt_id(lead, u16::try_from(no).unwrap());
        sqlx::query(
            "with d as (delete from due where lead_id = $2 returning *),
             o as (insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id,
                    calling_group_id, priority, tries, owner, epoch, state, intent_at, deadline_at, poll_at)
                   select phone, $1, 'main', campaign_id, lead_id, 'a', calling_group_id, priority, tries,
                    gen_random_uuid(), 1, 'dialing', $3, $3, $3 from d)
             insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id,
                    epoch, intent_at, evidence)
             select $1, campaign_id, lead_id, attempt_no, tries, phone, 'main', 'a', 1, $3, 'UTC' from d",
        )
        .bind(id.uuid())
        .bind(lead.0)
        .bind(now().to_sqlx())
        .execute(&self.pool)
        .await
        .unwrap();
        id
    }

    /// Ends an open attempt; the lead becomes due with the next number.
    async fn end_and_retry(&self, lead: LeadId) {
        sqlx::query(
            "with o as (delete from open_attempt where lead_id = $1 returning *),
             a as (update attempt a set ended_at = $2, outcome = 'no_answer' from o where a.attempt_id = o.attempt_id
                   returning a.attempt_no)
             insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
             select campaign_id, calling_group_id, priority, $2, lead_id, attempt_no + 1, tries + 1, phone from o, a",
        )
        .bind(lead.0)
        .bind(now().to_sqlx())
        .execute(&self.pool)
        .await
        .unwrap();
    }

    async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }
}

macro_rules! places {
    ($($lead:expr => $place:expr),* $(,)?) => { BTreeMap::from([$(($lead.0, $place.to_owned())),*]) };
}

const A: &str = "+12125550001";
const B: &str = "+12125550002";

// ---- leads ---------------------------------------------------------------------------------------------------------

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn transactions_that_commit_in_the_other_order_are_both_enrolled(pool: PgPool) {
    let world = World::new(pool).await;
    let mut first = PgConnection::connect_with(&world.pool.connect_options()).await.unwrap();
    let mut first = first.begin().await.unwrap();
    let early: i64 = sqlx::query_scalar("insert into lead (lead_list_id, phone) values ($1, $2) returning lead_id")
        .bind(world.list.0)
        .bind(A)
        .fetch_one(&mut *first)
        .await
        .unwrap();
    let late = world.add(B).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { late => format!("due 1/0 {B}") });
    first.commit().await.unwrap();
    enrol(&world.store).await;
    assert_eq!(
        world.places().await,
        places! { LeadId(early) => format!("due 1/0 {A}"), late => format!("due 1/0 {B}") }
    );
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_phone_is_enrolled_once_and_waits_for_whoever_gives_it_up(pool: PgPool) {
    let world = World::new(pool).await;
    let (first, second, third) = (world.add(A).await, world.add(A).await, world.add(A).await);
    enrol(&world.store).await;
    assert_eq!(
        world.places().await,
        places! { first => format!("due 1/0 {A}"), second => "duplicate 1/0", third => "duplicate 1/0" }
    );
    let reasons: Vec<String> =
        sqlx::query_scalar("select distinct reason from disposition").fetch_all(&world.pool).await.unwrap();
    assert_eq!(reasons, [Verdict::duplicate_of(first).reason]);

    world.sql("delete from lead where lead_id = $1", first).await;
    enrol(&world.store).await;
    assert_eq!(
        world.places().await,
        places! { first => "removed 1/0", second => format!("due 1/0 {A}"), third => "duplicate 1/0" }
    );

    // Attempted by now: nobody else gets it.
    world.dial(second).await;
    world.end_and_retry(second).await;
    world.sql("delete from lead where lead_id = $1", second).await;
    enrol(&world.store).await;
    assert_eq!(
        world.places().await,
        places! { first => "removed 1/0", second => "removed 2/1", third => "duplicate 1/0" }
    );
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_phone_edit_gives_up_the_old_phone_only_if_it_was_never_attempted(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    enrol(&world.store).await;
    world.sql("update lead set phone = '+12125550002' where lead_id = $1", lead).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { lead => format!("due 1/0 {B}") });
    assert_eq!(world.count("select count(*) from enrolment").await, 1);

    world.dial(lead).await;
    world.sql("update lead set phone = '+12125550003' where lead_id = $1", lead).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { lead => format!("open {B}") });
    assert_eq!(world.count("select count(*) from lead_change").await, 1, "the change waits for the attempt's end");

    world.end_and_retry(lead).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { lead => "due 2/1 +12125550003" });
    assert_eq!(world.count("select count(*) from enrolment").await, 2, "an attempted phone stays claimed");
    assert_eq!(world.count("select count(*) from lead_change").await, 0);

    // Back to the old one, then away by a verdict: the phone it has now is told, not the one it had first.
    world.sql("update lead set phone = '+12125550002' where lead_id = $1", lead).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { lead => format!("due 2/1 {B}") });
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_disposed_lead_tells_the_phone_it_was_enrolled_with_last(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    enrol(&world.store).await;
    world.dial(lead).await;
    world.end_and_retry(lead).await;
    world.sql("update lead set phone = '+12125550002' where lead_id = $1", lead).await;
    enrol(&world.store).await;
    sqlx::query(
        "with d as (delete from due returning *)
         insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
         select campaign_id, lead_id, 'invalid_number', 'refused', attempt_no, tries, now() from d",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    world.sql("update lead set name = 'x' where lead_id = $1", lead).await;
    let changes = world.store.peek_lead_changes(10).await.unwrap();
    let place = &changes[0].places[0].place;
    let expected = Place::Disposed {
        disposition: Disposition::InvalidNumber,
        attempt_no: 2,
        tries: 1,
        phone: Some(PhoneNumber::parse(B).unwrap()),
    };
    assert_eq!(*place, expected);
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_list_that_leaves_and_returns_keeps_the_numbering(pool: PgPool) {
    let world = World::new(pool).await;
    let (one, two, three) = (world.add(A).await, world.add(B).await, world.add("+12125550003").await);
    enrol(&world.store).await;
    world.dial(one).await;
    world.end_and_retry(one).await;
    world.dial_lists(2, &[]).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { one => "removed 2/1", two => "removed 1/0", three => "removed 1/0" });
    world.dial_lists(3, &["spring", "not there yet"]).await;
    world.dial_lists(3, &["spring", "not there yet"]).await;
    enrol(&world.store).await;
    assert_eq!(
        world.places().await,
        places! {
            one => format!("due 2/1 {A}"), two => format!("due 1/0 {B}"), three => "due 1/0 +12125550003",
        }
    );
    assert!(!world.store.backlog(world.campaign).await.unwrap().enrolling);
    world.add("+12125550004").await;
    assert!(world.store.backlog(world.campaign).await.unwrap().enrolling);
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_suppression_that_ends_makes_its_leads_due_again_with_their_numbering(pool: PgPool) {
    let world = World::new(pool).await;
    let (removed, expired) = (world.add(A).await, world.add(B).await);
    enrol(&world.store).await;
    world.dial(removed).await;
    world.end_and_retry(removed).await;
    let phones = [PhoneNumber::parse(A).unwrap(), PhoneNumber::parse(B).unwrap()];
    let entries = phones.map(|phone| command::NewSuppression {
        phone,
        campaign_id: None,
        reason: "asked".to_owned(),
        expires_at: Some(now() + Span::new().hours(1)),
    });
    assert_eq!(command::suppress(&world.pool, &entries).await.unwrap(), 2);
    assert_eq!(command::suppress(&world.pool, &entries).await.unwrap(), 0);
    sqlx::query(
        "with d as (delete from due returning *)
         insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
         select campaign_id, lead_id, 'suppressed', 'asked', attempt_no, tries, now() from d",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { removed => "suppressed 2/1", expired => "suppressed 1/0" });

    assert_eq!(command::unsuppress(&world.pool, &phones[..1], None).await.unwrap(), 1);
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { removed => format!("due 2/1 {A}"), expired => "suppressed 1/0" });

    assert_eq!(world.store.expire_suppressions(now() + Span::new().hours(2)).await.unwrap(), 1);
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { removed => format!("due 2/1 {A}"), expired => format!("due 1/0 {B}") });
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_step_that_was_overtaken_is_left_out_and_its_lead_looked_at_again(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    enrol(&world.store).await;
    world.sql("delete from lead where lead_id = $1", lead).await;
    let changes = world.store.peek_lead_changes(10).await.unwrap();
    let steps: Vec<_> = changes[0].places.iter().filter_map(|place| step(None, place)).collect();
    assert_eq!(steps.len(), 1);
    world.dial(lead).await;
    let done = EnrolmentDone::Changes(changes[0].change_ids.clone());
    world.store.apply_enrolment(&steps, done, now()).await.unwrap();
    assert_eq!(world.places().await, places! { lead => format!("open {A}") });
    assert_eq!(world.count("select count(*) from lead_change").await, 1);
    assert_eq!(world.store.peek_lead_changes(10).await.unwrap(), []);
    world.end_and_retry(lead).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { lead => "removed 2/1" });
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn applying_steps_twice_changes_nothing(pool: PgPool) {
    let world = World::new(pool).await;
    let (one, two) = (world.add(A).await, world.add(A).await);
    let changes = world.store.peek_lead_changes(10).await.unwrap();
    let steps: Vec<_> = changes
        .iter()
        .flat_map(|change| change.places.iter().filter_map(|place| step(change.lead.as_ref(), place)))
        .collect();
    for _ in 0..2 {
        world.store.apply_enrolment(&steps, EnrolmentDone::Changes(Vec::new()), now()).await.unwrap();
        assert_eq!(world.places().await, places! { one => format!("due 1/0 {A}"), two => "duplicate 1/0" });
    }
    // A verdict that is final stays, whatever an old step says.
    sqlx::query("delete from due").execute(&world.pool).await.unwrap();
    sqlx::query("insert into disposition values ($1, $2, 'reached', 'spoke', 2, 1, now())")
        .bind(world.campaign.0)
        .bind(one.0)
        .execute(&world.pool)
        .await
        .unwrap();
    world.store.apply_enrolment(&steps, EnrolmentDone::Changes(Vec::new()), now()).await.unwrap();
    assert_eq!(world.places().await, places! { one => "reached 2/1", two => "duplicate 1/0" });
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_phone_that_changes_hands_within_one_step_finds_its_new_lead(pool: PgPool) {
    let world = World::new(pool).await;
    let (mover, leaver) = (world.add(A).await, world.add(B).await);
    enrol(&world.store).await;
    world.sql("update lead set phone = '+12125550003' where lead_id = $1", mover).await;
    world.sql("delete from lead where lead_id = $1", leaver).await;
    let (first, second) = (world.add(A).await, world.add(B).await);
    assert_eq!(world.store.peek_lead_changes(10).await.unwrap().len(), 4);
    enrol(&world.store).await;
    assert_eq!(
        world.places().await,
        places! {
            mover => "due 1/0 +12125550003", leaver => "removed 1/0",
            first => format!("due 1/0 {A}"), second => format!("due 1/0 {B}"),
        }
    );
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_campaign_that_is_finishing_enrols_nobody_and_claims_no_phone(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    let changes = world.store.peek_lead_changes(10).await.unwrap();
    let steps: Vec<_> = changes[0].places.iter().filter_map(|place| step(changes[0].lead.as_ref(), place)).collect();
    assert_eq!(steps.len(), 1);
    let (from, to) = (CampaignState::Active, CampaignState::Finishing);
    assert!(world.store.advance_campaign(world.campaign, from, to, now()).await.unwrap());
    let done = EnrolmentDone::Changes(changes[0].change_ids.clone());
    world.store.apply_enrolment(&steps, done, now()).await.unwrap();
    assert_eq!(world.places().await, BTreeMap::new());
    assert_eq!(world.count("select count(*) from enrolment").await, 0);
    assert_eq!(world.store.peek_lead_changes(10).await.unwrap()[0].lead_id, lead);
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_page_notes_its_open_leads_and_is_forgotten_only_for_its_version(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    enrol(&world.store).await;
    world.dial(lead).await;
    world.dial_lists(2, &[]).await;
    let page = world.store.next_list_page(10).await.unwrap().unwrap();
    assert_eq!((page.version, page.last_lead_id), (2, None));
    assert_eq!(page.leads[0].1, LeadPlace { campaign_id: world.campaign, wanted: false, place: Place::Open });
    world.dial_lists(1, &["spring"]).await;
    assert_eq!(world.store.next_list_page(10).await.unwrap().unwrap().version, 2, "an older version changes nothing");
    let done = |version| EnrolmentDone::Page {
        campaign_id: page.campaign_id,
        lead_list_id: page.lead_list_id,
        after: None,
        version,
    };
    world.store.apply_enrolment(&[], done(1), now()).await.unwrap();
    assert!(world.store.next_list_page(10).await.unwrap().is_some());
    assert_eq!(world.count("select count(*) from lead_change").await, 0);
    world.store.apply_enrolment(&[], done(2), now()).await.unwrap();
    assert!(world.store.next_list_page(10).await.unwrap().is_none());
    world.end_and_retry(lead).await;
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { lead => "removed 2/1" });
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn requeued_leads_get_fresh_tries_and_held_ones_never(pool: PgPool) {
    let world = World::new(pool).await;
    let (done, held) = (world.add(A).await, world.add(B).await);
    enrol(&world.store).await;
    world.dial(done).await;
    world.end_and_retry(done).await;
    let verdict = Verdict { disposition: Disposition::Exhausted, reason: "no try left".to_owned() };
    world.dial(held).await;
    assert_eq!(world.store.dispose_all_due(world.campaign, &verdict, 10, now()).await.unwrap(), 1);
    let requeued = command::requeue(&world.pool, world.campaign, &[Disposition::Exhausted], None, now()).await.unwrap();
    assert_eq!(requeued, 1);
    enrol(&world.store).await;
    assert_eq!(world.places().await, places! { done => format!("due 2/0 {A}"), held => format!("open {B}") });
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn two_thousand_leads_are_enrolled_in_one_step(pool: PgPool) {
    let world = World::new(pool).await;
    let leads: Vec<_> = (0..2_000)
        .map(|n| command::NewLead { phone: format!("+1212{n:07}"), priority: 5, ..command::NewLead::default() })
        .collect();
    assert_eq!(command::copy_leads(&world.pool, world.list, &leads).await.unwrap(), 2_000);
    let changes = world.store.peek_lead_changes(2_000).await.unwrap();
    assert_eq!(changes.len(), 2_000);
    let steps: Vec<_> = changes
        .iter()
        .flat_map(|change| change.places.iter().filter_map(|place| step(change.lead.as_ref(), place)))
        .collect();
    let ids = changes.iter().flat_map(|change| change.change_ids.clone()).collect();
    world.store.apply_enrolment(&steps, EnrolmentDone::Changes(ids), now()).await.unwrap();
    assert_eq!(world.count("select count(*) from due").await, 2_000);
    assert_eq!(world.count("select count(*) from stratum").await, 1);
    assert_eq!(world.count("select count(*) from lead_change").await, 0);
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn an_import_repeated_by_reference_changes_only_what_is_different(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = |phone: &str, name: &str| command::NewLead {
        phone: phone.to_owned(),
        external_ref: Some(name.to_owned()),
        priority: 5,
        ..command::NewLead::default()
    };
    let copy = |leads: Vec<command::NewLead>| {
        let pool = world.pool.clone();
        async move { command::copy_leads(&pool, world.list, &leads).await.unwrap() }
    };
    assert_eq!(copy(vec![lead(A, "a"), lead(B, "b"), lead(A, "a")]).await, 2);
    assert_eq!(copy(vec![lead(A, "a"), lead(B, "b")]).await, 0);
    assert_eq!(copy(vec![lead(A, "a"), lead("+12125550009", "b")]).await, 1);
    assert_eq!(copy(vec![]).await, 0);
}

// ---- events --------------------------------------------------------------------------------------------------------

fn event(body: &str, attempt_id: Option<AttemptId>) -> InboxEvent {
    InboxEvent {
        account: AccountName::new("main"),
        source: Source::Webhook,
        body: Bytes::copy_from_slice(body.as_bytes()),
        attempt_id,
    }
}

async fn peek(world: &World, now: Timestamp) -> Vec<(InboxId, String)> {
    let events = world.store.peek_inbox(&AccountName::new("main"), Timestamp::UNIX_EPOCH, now, 10).await.unwrap();
    events.into_iter().map(|event| (event.inbox_id, String::from_utf8_lossy(&event.body).into_owned())).collect()
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn events_are_seen_until_something_is_decided_about_them(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    let attempt = world.attempt_id(lead, 1);
    let events = [event("one", Some(attempt)), event("two", None), event("three", None), event("four", None)];
    world.store.append_inbox(&events, now()).await.unwrap();
    let seen = peek(&world, now()).await;
    assert_eq!(seen.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    let later = now() + Span::new().seconds(30);
    let marks = [
        (seen[0].0, InboxMark::Later { retry_at: later, attempt_id: None }),
        (seen[1].0, InboxMark::Later { retry_at: later, attempt_id: Some(attempt) }),
        (seen[2].0, InboxMark::Done),
        (seen[3].0, InboxMark::Quarantined { problem: "status: a \0 number".to_owned(), version: "1".to_owned() }),
    ];
    world.store.mark_inbox(&marks, now()).await.unwrap();
    world.store.mark_inbox(&marks, now()).await.unwrap();
    assert_eq!(peek(&world, now()).await, []);
    assert_eq!(world.count("select count(*) from inbox where problem = 'status: a  number'").await, 1);

    // One half becomes ripe: the other comes along.
    let mark = [(seen[0].0, InboxMark::Later { retry_at: now(), attempt_id: None })];
    world.store.mark_inbox(&mark, now()).await.unwrap();
    assert_eq!(peek(&world, now()).await.len(), 2);
    world.store.mark_inbox(&[(seen[0].0, InboxMark::Unmatched), (seen[1].0, InboxMark::Done)], now()).await.unwrap();
    assert_eq!(peek(&world, later).await, []);
    assert_eq!(world.count("select count(*) from inbox").await, 4);
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn calls_find_their_attempts_by_call_token_and_phone(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    enrol(&world.store).await;
    let attempt = world.dial(lead).await;
    let account = AccountName::new("main");
    let call = |id: &str| Some(ProviderCallId::new(id));
    let phone = Some(PhoneNumber::parse(A).unwrap());
    let keys = [
        CallKey { call_id: call("77"), token: None, phone: None },
        CallKey { call_id: None, token: Some(attempt), phone: None },
        CallKey { call_id: None, token: None, phone },
    ];
    let found = world.store.find_attempts(&account, &keys).await.unwrap();
    assert_eq!((found[0].bound, found[0].token_exists, found[0].ended), (None, false, false));
    assert_eq!((found[1].bound, found[1].token_exists), (None, true));
    assert_eq!(found[2].open_unbound.as_ref().map(|open| open.attempt_id), Some(attempt));
    let elsewhere = world.store.find_attempts(&AccountName::new("other"), &keys).await.unwrap();
    assert!(elsewhere.iter().all(|found| !found.token_exists && found.open_unbound.is_none()));

    let binding = Binding { call_id: ProviderCallId::new("77"), attempt_id: attempt, basis: MatchBasis::Token };
    let other = Binding { attempt_id: world.attempt_id(lead, 9), ..binding.clone() };
    world.store.bind_calls(&account, &[binding]).await.unwrap();
    world.store.bind_calls(&account, &[other]).await.unwrap();
    world.end_and_retry(lead).await;
    let found = world.store.find_attempts(&account, &keys).await.unwrap();
    assert_eq!((found[0].bound, found[0].ended), (Some(attempt), true));
    assert!(found[1].ended);
    assert_eq!(found[2].open_unbound, None);
}

fn late(attempt_id: AttemptId, inbox_id: InboxId, verdict: Option<Disposition>) -> LateResult {
    LateResult {
        attempt_id,
        inbox_id,
        result: CallResult {
            status: "completed".to_owned(),
            transcript: Some(json!([{"text": "hello \0 there"}])),
            cost: Some("0.05".to_owned()),
            extracted: Map::from_iter([("booked".to_owned(), json!(true))]),
            ..CallResult::default()
        },
        contradicts: Some(Outcome::Answered),
        verdict: verdict.map(|disposition| Verdict { disposition, reason: "reached after all".to_owned() }),
        suppress: None,
    }
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn late_evidence_takes_a_lead_out_of_due_and_never_puts_it_in(pool: PgPool) {
    let world = World::new(pool).await;
    let (lead, busy) = (world.add(A).await, world.add(B).await);
    enrol(&world.store).await;
    let attempt = world.dial(lead).await;
    world.end_and_retry(lead).await;
    let first = world.dial(busy).await;
    world.end_and_retry(busy).await;
    world.dial(busy).await;
    world.store.append_inbox(&[event("a", None), event("b", None), event("c", None)], now()).await.unwrap();
    let seen = peek(&world, now()).await;
    let mut second = late(attempt, seen[1].0, None);
    second.result.recording_url = Some("https://example.org/r".to_owned());
    second.result.transcript = Some(json!("another"));
    second.suppress = Some("said never again".to_owned());
    let all = [
        late(attempt, seen[0].0, Some(Disposition::Reached)),
        second,
        late(first, seen[2].0, Some(Disposition::Reached)),
    ];
    world.store.apply_late(&all, now()).await.unwrap();
    world.store.apply_late(&all, now()).await.unwrap();
    assert_eq!(world.places().await, places! { lead => "reached 2/1", busy => format!("open {B}") });
    assert_eq!(peek(&world, now()).await, []);
    assert_eq!(world.count("select count(*) from suppression where phone = '+12125550001'").await, 1);

    let row = views::call(&world.pool, attempt).await.unwrap().unwrap();
    assert_eq!(row.transcript, Some(json!([{"text": "hello  there"}])), "what is known stays");
    assert_eq!(row.recording_url.as_deref(), Some("https://example.org/r"));
    assert_eq!((row.cost.as_deref(), row.contradicted_by.as_deref()), (Some("0.05"), Some("answered")));
    assert_eq!(row.outcome, Some(Outcome::NoAnswer));

    let page = views::call_log_page(&world.pool, &views::CallFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.len(), 3);
    let filter =
        views::CallFilter { campaign_id: Some(world.campaign), outcome: Some(Outcome::NoAnswer), ..Default::default() };
    let next = views::call_log_page(&world.pool, &filter, Some(page[0].attempt_id), 10).await.unwrap();
    assert_eq!(next.len(), 1);
    assert_eq!(views::recent_calls(&world.pool, &filter, 10).await.unwrap().len(), 2);
}

// ---- house keeping -------------------------------------------------------------------------------------------------

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_pending_event_is_never_dropped_with_its_day(pool: PgPool) {
    let world = World::new(pool).await;
    let policy = RetentionPolicy { inbox_days: 2, payload_days: 30, history_days: None };
    // Before any partition is made: the events lie in the default one.
    world.store.append_inbox(&[event("waits", None), event("done", None)], now()).await.unwrap();
    world.store.append_inbox(&[event("tomorrow", None)], now() + Span::new().hours(24)).await.unwrap();
    let report = world.store.retain(now(), policy).await.unwrap();
    assert_eq!((report.partitions_made, report.partitions_dropped), (8, 0));
    assert_eq!(world.count("select count(*) from inbox_default").await, 0, "strays are moved");
    assert_eq!(world.store.retain(now(), policy).await.unwrap().partitions_made, 0);

    let much_later = now() + Span::new().hours(24 * 20);
    let seen = peek(&world, much_later).await;
    assert_eq!(seen.len(), 3);
    world.store.mark_inbox(&[(seen[1].0, InboxMark::Done), (seen[2].0, InboxMark::Done)], much_later).await.unwrap();
    let report = world.store.retain(much_later, policy).await.unwrap();
    assert_eq!(report.partitions_dropped, 7, "all but the one with the event that waits");
    assert_eq!(peek(&world, much_later).await, [(seen[0].0, "waits".to_owned())]);
    world.store.mark_inbox(&[(seen[0].0, InboxMark::Done)], much_later).await.unwrap();
    assert_eq!(world.store.retain(much_later, policy).await.unwrap().partitions_dropped, 1);
    assert_eq!(world.count("select count(*) from inbox").await, 0);
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn payloads_are_removed_past_their_days_and_do_not_come_back(pool: PgPool) {
    let world = World::new(pool).await;
    let lead = world.add(A).await;
    enrol(&world.store).await;
    let attempt = world.dial(lead).await;
    world.end_and_retry(lead).await;
    world.store.apply_late(&[late(attempt, InboxId(0), None)], now()).await.unwrap();
    let policy = RetentionPolicy { inbox_days: 30, payload_days: 10, history_days: None };
    assert_eq!(world.store.retain(now() + Span::new().hours(24 * 9), policy).await.unwrap().payloads_removed, 0);
    let after = now() + Span::new().hours(24 * 12);
    assert_eq!(world.store.retain(after, policy).await.unwrap().payloads_removed, 1);
    assert_eq!(world.store.retain(after, policy).await.unwrap().payloads_removed, 0);
    world.store.apply_late(&[late(attempt, InboxId(0), None)], after).await.unwrap();
    let row = views::call(&world.pool, attempt).await.unwrap().unwrap();
    assert_eq!((row.transcript, row.extracted), (None, Some(json!({}))));
    assert_eq!(row.cost.as_deref(), Some("0.05"), "what is no personal data stays");
}

// ---- campaigns and what people ask ---------------------------------------------------------------------------------

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn campaigns_are_applied_by_name_and_move_from_the_state_they_are_in(pool: PgPool) {
    let world = World::new(pool).await;
    let apply = |definition: Value| {
        let pool = world.pool.clone();
        async move { command::apply_campaign(&pool, "renewals", &definition, CampaignState::Draft, now()).await.unwrap() }
    };
    assert_eq!(apply(json!({"lead_lists": ["spring"]})).await, command::Applied::Unchanged(world.campaign));
    assert_eq!(apply(json!({"lead_lists": ["autumn"]})).await, command::Applied::Changed(world.campaign));
    use CampaignState::{Active, Finished, Finishing, Paused};
    let set = |from: Vec<CampaignState>, to| {
        let pool = world.pool.clone();
        async move { command::set_campaign_state(&pool, "renewals", &from, to, now()).await.unwrap() }
    };
    assert_eq!(set(vec![Active], Paused).await, Some(Active));
    assert_eq!(set(vec![Active], Paused).await, Some(Paused));
    assert!(!world.store.advance_campaign(world.campaign, Active, Finishing, now()).await.unwrap());
    assert!(world.store.advance_campaign(world.campaign, Paused, Finished, now()).await.unwrap());
    world.store.note_campaigns(&[(world.campaign, Some("no usable zone".to_owned()))]).await.unwrap();
    let progress = views::campaign_progress(&world.pool, Some("renewals")).await.unwrap();
    assert_eq!(progress.len(), 1);
    assert_eq!((progress[0].state, progress[0].version), (Finished, 2));
    assert_eq!(progress[0].finished_at, Some(now()));
    assert_eq!(progress[0].note.as_deref(), Some("no usable zone"));
}

#[sqlx::test(migrator = "connect::MIGRATOR")]
async fn a_lead_is_found_by_its_phone_with_all_that_binds_it(pool: PgPool) {
    let world = World::new(pool).await;
    let phone = PhoneNumber::parse(A).unwrap();
    let find = || whereabouts::find_lead(&world.pool, world.campaign, &phone, now(), now() - Span::new().hours(24));
    assert_eq!(find().await.unwrap(), None);
    let lead = world.add(A).await;
    assert_eq!(find().await.unwrap().map(|found| found.place), Some(Place::Nowhere));
    enrol(&world.store).await;
    world.dial(lead).await;
    let found = find().await.unwrap().unwrap();
    assert_eq!((found.lead_id, found.place, found.person.open), (lead, Place::Open, None));
    world.end_and_retry(lead).await;
    let found = find().await.unwrap().unwrap();
    assert!(matches!(found.place, Place::Due(key) if key.attempt_no == 2));
    assert_eq!(found.person.contacts.len(), 1);
    assert_eq!(found.last_assistant.as_ref().map(|id| id.as_str()), Some("a"));

    let account = AccountName::new("main");
    command::stop(&world.pool, None, "alarm", now()).await.unwrap();
    command::stop(&world.pool, Some(&account), "only this", now()).await.unwrap();
    let status = status::account_statuses(&world.pool).await.unwrap();
    assert_eq!((status.len(), status[0].stopped.as_deref()), (1, Some("alarm")));
    assert!(command::lift_stop(&world.pool, None).await.unwrap());
    assert!(!command::lift_stop(&world.pool, None).await.unwrap());
    assert_eq!(status::open_questions(&world.pool, 10).await.unwrap(), []);
    assert_eq!(views::outcome_counts(&world.pool, world.campaign).await.unwrap(), [(Some(Outcome::NoAnswer), 1)]);
}
