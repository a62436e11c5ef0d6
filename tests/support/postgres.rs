//! The suite's window on the store in Postgres: plain SQL, as a user would write it.

use jiff::Timestamp;
use jiff_sqlx::{Timestamp as Stored, ToSqlx};
use sqlx::{PgPool, Row};

use outdial::adapter::postgres::PostgresStore;
use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{
    AccountName, AttemptId, CallingGroupId, CampaignId, InboxId, LeadId, LeadListId, ProviderCallId,
};
use outdial::domain::phone::PhoneNumber;
use outdial::port::store::{DueKey, Stratum};

use super::harness::{AttemptSeen, DispositionSeen, Harness, ResultSeen};

pub struct PostgresHarness {
    pool: PgPool,
    store: PostgresStore,
}

impl PostgresHarness {
    pub async fn new(pool: PgPool) -> Self {
        let store = PostgresStore::open(pool.clone()).await.expect("the database is migrated");
        Self { pool, store }
    }
}

/// Runs a statement with its arguments; every statement of a user is its own transaction.
macro_rules! execute {
    ($self:ident, $sql:literal $(, $argument:expr)*) => {
        sqlx::query($sql)$(.bind($argument))*.execute(&$self.pool).await.expect("a user's statement runs")
    };
}

/// Reads one value; `None` when there is no row.
macro_rules! read {
    ($self:ident, $sql:literal $(, $argument:expr)*) => {
        sqlx::query($sql)$(.bind($argument))*.fetch_optional(&$self.pool).await.expect("a user's statement runs")
    };
}

fn number(value: i32) -> u16 {
    value.try_into().expect("numbers of attempts fit")
}

impl Harness for PostgresHarness {
    type Store = PostgresStore;

    fn store(&self) -> &PostgresStore {
        &self.store
    }

    async fn insert_list(&self, name: &str) -> LeadListId {
        let row = read!(self, "insert into lead_list (name) values ($1) returning lead_list_id", name).unwrap();
        LeadListId(row.get(0))
    }

    async fn insert_lead(&self, list: LeadListId, phone: &str) -> LeadId {
        let row =
            read!(self, "insert into lead (lead_list_id, phone) values ($1, $2) returning lead_id", list.0, phone)
                .unwrap();
        LeadId(row.get(0))
    }

    async fn edit_phone(&self, lead: LeadId, phone: &str) {
        execute!(self, "update lead set phone = $2 where lead_id = $1", lead.0, phone);
    }

    async fn move_to_list(&self, lead: LeadId, list: LeadListId) {
        execute!(self, "update lead set lead_list_id = $2 where lead_id = $1", lead.0, list.0);
    }

    async fn delete_lead(&self, lead: LeadId) {
        execute!(self, "delete from lead where lead_id = $1", lead.0);
    }

    async fn insert_campaign(&self, name: &str, state: CampaignState) -> CampaignId {
        let row = read!(
            self,
            r#"insert into campaign (name, state, definition, finished_at)
               values ($1, $2, '{"edition": 1, "account": "main"}', case when $2 = 'finished' then now() end) returning campaign_id"#,
            name,
            state.as_str()
        )
        .unwrap();
        CampaignId(row.get(0))
    }

    async fn edit_definition(&self, campaign: CampaignId) {
        execute!(
            self,
            "update campaign set definition = jsonb_build_object('edition', version + 1) where campaign_id = $1",
            campaign.0
        );
    }

    async fn set_state(&self, campaign: CampaignId, state: CampaignState) {
        execute!(self, "update campaign set state = $2 where campaign_id = $1", campaign.0, state.as_str());
    }

    async fn suppress(&self, phone: &PhoneNumber, scope: Option<CampaignId>, expires_at: Option<Timestamp>) {
        execute!(
            self,
            "insert into suppression (phone, campaign_id, reason, expires_at) values ($1, $2, 'asked us', $3)",
            phone.e164(),
            scope.map(|campaign| campaign.0),
            expires_at.map(|at| at.to_sqlx())
        );
    }

    async fn unsuppress(&self, phone: &PhoneNumber, scope: Option<CampaignId>) {
        execute!(
            self,
            "delete from suppression where phone = $1 and campaign_id is not distinct from $2",
            phone.e164(),
            scope.map(|campaign| campaign.0)
        );
    }

    async fn stop(&self, account: Option<&AccountName>) {
        let account = account.map(AccountName::as_str);
        execute!(self, "insert into stop_order (account, reason) values ($1, 'stopped')", account);
    }

    async fn start(&self, account: Option<&AccountName>) {
        let account = account.map(AccountName::as_str);
        execute!(self, "delete from stop_order where account is not distinct from $1", account);
    }

    async fn let_leases_run_out(&self) {
        execute!(self, "update account_lease set expires_at = clock_timestamp() - interval '1 second'");
    }

    async fn promote_a_standby(&self) {
        // What a promotion changes is the server's line; here the other one of the two that are compared.
        execute!(self, "update database_line set line = '1/00000000'");
    }

    async fn renumber_due(&self, campaign: CampaignId, lead: LeadId, attempt_no: u16, tries: u16) {
        execute!(
            self,
            "update due set attempt_no = $3, tries = $4 where campaign_id = $1 and lead_id = $2",
            campaign.0,
            lead.0,
            i32::from(attempt_no),
            i32::from(tries)
        );
    }

    async fn due(&self, campaign: CampaignId, lead: LeadId) -> Option<DueKey> {
        let row = read!(
            self,
            "select calling_group_id, priority, due_at, attempt_no, tries, phone from due
             where campaign_id = $1 and lead_id = $2",
            campaign.0,
            lead.0
        )?;
        Some(DueKey {
            stratum: Stratum {
                campaign_id: campaign,
                calling_group_id: CallingGroupId(row.get::<i32, _>(0).into()),
                priority: row.get::<i16, _>(1).try_into().expect("a priority is one digit"),
            },
            due_at: row.get::<Stored, _>(2).to_jiff(),
            lead_id: lead,
            attempt_no: number(row.get(3)),
            tries: number(row.get(4)),
            phone: PhoneNumber::from_stored(row.get(5)).expect("stored phones are E.164"),
        })
    }

    async fn disposition(&self, campaign: CampaignId, lead: LeadId) -> Option<DispositionSeen> {
        let row = read!(
            self,
            "select disposition, attempt_no, tries from disposition where campaign_id = $1 and lead_id = $2",
            campaign.0,
            lead.0
        )?;
        Some(DispositionSeen {
            disposition: row.get::<&str, _>(0).parse().expect("a word of ours"),
            attempt_no: number(row.get(1)),
            tries: number(row.get(2)),
        })
    }

    async fn attempt(&self, attempt: AttemptId) -> Option<AttemptSeen> {
        let row = read!(
            self,
            "select outcome, sent_at, ended_at, goal_met, evidence from attempt where attempt_id = $1",
            attempt.uuid()
        )?;
        Some(AttemptSeen {
            outcome: row.get::<Option<&str>, _>(0).map(|word| word.parse().expect("a word of ours")),
            sent_at: row.get::<Option<Stored>, _>(1).map(Stored::to_jiff),
            ended_at: row.get::<Option<Stored>, _>(2).map(Stored::to_jiff),
            goal_met: row.get(3),
            evidence: row.get(4),
        })
    }

    async fn binding(&self, account: &AccountName, call: &ProviderCallId) -> Option<(AttemptId, String)> {
        let row = read!(
            self,
            "select attempt_id, basis from provider_call where account = $1 and provider_call_id = $2",
            account.as_str(),
            call.as_str()
        )?;
        Some((AttemptId::from_stored(row.get(0)), row.get(1)))
    }

    async fn result(&self, attempt: AttemptId) -> Option<ResultSeen> {
        let row = read!(
            self,
            "select status, answered_by, recording_url, contradicted_by from call_result where attempt_id = $1",
            attempt.uuid()
        )?;
        Some(ResultSeen {
            status: row.get(0),
            answered_by: row.get(1),
            recording_url: row.get(2),
            contradicted_by: row.get(3),
        })
    }

    async fn holder(&self, campaign: CampaignId, phone: &PhoneNumber) -> Option<LeadId> {
        let row = read!(
            self,
            "select lead_id from enrolment where campaign_id = $1 and phone = $2",
            campaign.0,
            phone.e164()
        )?;
        Some(LeadId(row.get(0)))
    }

    async fn pending(&self) -> Vec<InboxId> {
        let rows = sqlx::query("select inbox_id from inbox_pending order by inbox_id").fetch_all(&self.pool).await;
        rows.unwrap().into_iter().map(|row| InboxId(row.get(0))).collect()
    }

    async fn problem(&self, event: InboxId) -> Option<String> {
        read!(self, "select problem from inbox where inbox_id = $1", event.0).expect("the event is kept").get(0)
    }

    async fn inbox_count(&self) -> u64 {
        let count: i64 = read!(self, "select count(*) from inbox").unwrap().get(0);
        count.try_into().expect("a count is positive")
    }

    async fn suppressed_until(&self, phone: &PhoneNumber) -> Option<Option<Timestamp>> {
        let row =
            read!(self, "select expires_at from suppression where phone = $1 and campaign_id is null", phone.e164())?;
        Some(row.get::<Option<Stored>, _>(0).map(Stored::to_jiff))
    }

    async fn note(&self, campaign: CampaignId) -> Option<String> {
        let note = read!(self, "select note from campaign_progress where campaign_id = $1", campaign.0);
        note.expect("it is there").get(0)
    }

    async fn roster_ids(&self, account: &AccountName) -> Vec<String> {
        let rows = sqlx::query("select assistant_id from assistant where account = $1 order by assistant_id")
            .bind(account.as_str())
            .fetch_all(&self.pool)
            .await;
        rows.unwrap().into_iter().map(|row| row.get(0)).collect()
    }

    /// The invariants as queries; one row for each offence.
    async fn broken_invariants(&self) -> Vec<String> {
        let rows = sqlx::query(
            r#"
            with place as (
                select campaign_id, lead_id from due
                union all select campaign_id, lead_id from open_attempt
                union all select campaign_id, lead_id from disposition
            )
            select 'lead ' || lead_id || ' of campaign ' || campaign_id || ' has ' || count(*) || ' places'
            from place group by campaign_id, lead_id having count(*) > 1
            union all
            select 'enrolled lead ' || e.lead_id || ' of campaign ' || e.campaign_id || ' has no place'
            from enrolment e
            where not exists (select from place p where p.campaign_id = e.campaign_id and p.lead_id = e.lead_id)
            union all
            select 'attempt ' || a.attempt_id || ' is open and has ended, or neither'
            from attempt a full join open_attempt o using (attempt_id)
            where (o.attempt_id is null) <> (a.ended_at is not null)
            union all
            select 'lead ' || d.lead_id || ' of campaign ' || d.campaign_id || ' has number ' || d.attempt_no
            from (select campaign_id, lead_id, attempt_no from due
                  union all select campaign_id, lead_id, attempt_no from disposition) d
            where d.attempt_no <> 1 + (
                select coalesce(max(a.attempt_no), 0) from attempt a
                where a.campaign_id = d.campaign_id and a.lead_id = d.lead_id
            )
            union all
            select 'attempt ' || a.attempt_id || ' follows one that is ' || o.state
            from open_attempt o join attempt a on a.phone = o.phone and a.intent_at > o.intent_at
            union all
            select 'call ' || c.provider_call_id || ' has no attempt'
            from provider_call c
            where not exists (select from attempt a where a.attempt_id = c.attempt_id and a.account = c.account)
            union all
            select 'event ' || p.inbox_id || ' is pending and gone'
            from inbox_pending p where not exists (select from inbox i where i.inbox_id = p.inbox_id)
            union all
            select 'lead ' || d.lead_id || ' of campaign ' || d.campaign_id || ' is due with a phone that is not its own'
            from due d
            where not exists (
                select from enrolment e
                where e.campaign_id = d.campaign_id and e.phone = d.phone and e.lead_id = d.lead_id
            )
            "#,
        )
        .fetch_all(&self.pool)
        .await;
        rows.unwrap().into_iter().map(|row| row.get(0)).collect()
    }
}
