//! A database with one list, campaigns and due leads.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use outdial::adapter::postgres::PostgresStore;
use outdial::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CallingGroupId, CampaignId, LeadId, OwnerId,
};
use outdial::domain::phone::PhoneNumber;
use outdial::port::permit::CommittedIntent;
use outdial::port::store::{DialIntent, DueKey, Lease, LeaseRequest, Store, Stratum};
use sqlx::PgPool;
use uuid::Uuid;

pub struct World {
    pub store: PostgresStore,
    pub pool: PgPool,
    pub lease: Lease,
}

pub const ACCOUNT: &str = "main";
pub const MINUTE: SignedDuration = SignedDuration::from_mins(1);

pub fn now() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

pub fn account() -> AccountName {
    AccountName::new(ACCOUNT)
}

impl World {
    /// Campaign 1, one list, one lease.
    pub async fn new(pool: PgPool) -> Self {
        let store = PostgresStore::open(pool.clone()).await.unwrap();
        sqlx::raw_sql(
            "insert into lead_list (lead_list_id, name) values (1, 'list');
             insert into calling_group (evidence) values ('Europe/Berlin');",
        )
        .execute(&pool)
        .await
        .unwrap();
        let lease = lease(&store, OwnerId(Uuid::new_v4())).await;
        let world = Self { store, pool, lease };
        world.campaign(1).await;
        world
    }

    pub async fn campaign(&self, campaign_id: i64) {
        sqlx::query("insert into campaign (campaign_id, name, definition) values ($1, $1::text, '{}')")
            .bind(campaign_id)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// A lead that is due since a minute.
    pub async fn due_lead(&self, campaign_id: i64, lead_id: i64, phone: &str) -> DueKey {
        sqlx::query(
            "insert into lead (lead_id, lead_list_id, phone, variables) values ($1, 1, $2, '{\"name\": \"Ada\"}')
             on conflict do nothing",
        )
        .bind(lead_id)
        .bind(phone)
        .execute(&self.pool)
        .await
        .unwrap();
        // As if enrolment had seen to it.
        sqlx::query("delete from lead_change where lead_id = $1").bind(lead_id).execute(&self.pool).await.unwrap();
        let due = DueKey {
            stratum: Stratum { campaign_id: CampaignId(campaign_id), calling_group_id: CallingGroupId(1), priority: 5 },
            due_at: now() - MINUTE,
            lead_id: LeadId(lead_id),
            attempt_no: 1,
            tries: 0,
            phone: PhoneNumber::parse(phone).unwrap(),
        };
        self.insert_due(&due).await;
        due
    }

    pub async fn insert_due(&self, due: &DueKey) {
        sqlx::query(
            "insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
             values ($1, 1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(due.stratum.campaign_id.0)
        .bind(i16::from(due.stratum.priority))
        .bind(due.due_at.to_sqlx())
        .bind(due.lead_id.0)
        .bind(i32::from(due.attempt_no))
        .bind(i32::from(due.tries))
        .bind(due.phone.e164())
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// `count` due leads of campaign 1, numbered from `first`.
    pub async fn due_leads(&self, first: i64, count: i64) -> Vec<DueKey> {
        let mut due = Vec::new();
        for lead_id in first..first + count {
            due.push(self.due_lead(1, lead_id, &format!("+4930{:07}", 1_000_000 + lead_id)).await);
        }
        due
    }

    pub fn id(&self, due: &DueKey) -> AttemptId {
        AttemptId::derive(
            self.store.installation(),
            AttemptKey { campaign_id: due.stratum.campaign_id, lead_id: due.lead_id, attempt_no: due.attempt_no },
        )
    }

    pub fn intent(&self, due: &DueKey) -> DialIntent {
        DialIntent {
            attempt_id: self.id(due),
            due: due.clone(),
            campaign_version: 1,
            lead_version: 1,
            assistant_id: AssistantId::new("7"),
            deadline_at: now() + MINUTE * 20,
            newest_call_known: None,
            evidence: "Europe/Berlin 10:00".into(),
        }
    }

    pub fn intents(&self, due: &[DueKey]) -> Vec<DialIntent> {
        due.iter().map(|due| self.intent(due)).collect()
    }

    pub async fn begin(&self, due: &[DueKey]) -> Vec<AttemptId> {
        ids(self.store.begin_dials(&self.lease, &self.intents(due), None, now()).await.unwrap())
    }

    /// One due lead that is now being dialed.
    pub async fn dialing(&self, lead_id: i64) -> AttemptId {
        let due = self.due_leads(lead_id, 1).await;
        let begun = self.begin(&due).await;
        assert_eq!(begun.len(), 1);
        begun[0]
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// Waits until someone waits for a lock.
    pub async fn until_someone_waits(&self) {
        for _ in 0..500 {
            let waiting = self
                .count("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
                .await;
            if waiting > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody waited for a lock within five seconds");
    }
}

pub async fn lease(store: &PostgresStore, owner: OwnerId) -> Lease {
    let leases = store.renew_leases(&LeaseRequest::all(owner, &[account()], Duration::from_secs(60))).await.unwrap();
    leases.into_iter().next().expect("the lease is free")
}

pub fn ids(committed: Vec<CommittedIntent>) -> Vec<AttemptId> {
    committed.iter().map(CommittedIntent::attempt_id).collect()
}
