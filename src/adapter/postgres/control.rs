//! What steers dialing: campaigns, lanes, stops, open attempts, starts.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::pool::PoolConnection;
use sqlx::types::Uuid;
use sqlx::{PgPool, Postgres, query, query_as, query_scalar};

use crate::domain::id::{
    AccountName, AssistantId, AttemptId, CallingGroupId, CampaignId, Epoch, Installation, OwnerId, ProviderCallId,
};
use crate::port::store::{
    AccountState, CampaignRow, Control, FINISHED_MAX, OpenAttempt, OpenCount, Reconciliation, StartsOf, Stop,
    StoreError, Stratum,
};

use super::failure::reading;
use super::floor::Floors;
use super::row::{Reading, attempt_id};

/// Civil time that may lie between an intent and its request. A permit lives one second of real time; a scaled clock
/// makes minutes of it.
const INTENT_TO_REQUEST_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Which database this is.
pub(super) async fn installation(pool: &PgPool) -> Result<Installation, StoreError> {
    let number = query_scalar!("select number from installation").fetch_one(pool).await.map_err(reading)?;
    let row = Reading { table: "installation", key: 1 };
    Ok(Installation::new(row.number("number", number)?))
}

/// A standby, and a database that somebody has set to be read only, still answer; what is to be dialed cannot be written
/// there.
async fn takes_writes(connection: &mut PoolConnection<Postgres>) -> Result<(), StoreError> {
    let read_only = query_scalar!(r#"select current_setting('transaction_read_only')::boolean as "read_only!""#)
        .fetch_one(&mut **connection)
        .await
        .map_err(reading)?;
    if read_only {
        return Err(StoreError::Unavailable("the database takes no writes".into()));
    }
    Ok(())
}

/// Small tables only, each read whole but for the campaigns that finished long ago. Lanes are read before groups, so
/// that every lane's group is among the groups.
pub(super) async fn control(pool: &PgPool) -> Result<Control, StoreError> {
    let mut connection = pool.acquire().await.map_err(reading)?;
    takes_writes(&mut connection).await?;
    let strata = query!(
        r#"
        select s.campaign_id, s.calling_group_id, s.priority
        from stratum s
        join campaign c on c.campaign_id = s.campaign_id and c.state <> 'finished'
        order by s.campaign_id, s.calling_group_id, s.priority
        "#
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(reading)?;
    let groups = query!("select calling_group_id, evidence from calling_group order by calling_group_id")
        .fetch_all(&mut *connection)
        .await
        .map_err(reading)?;
    let campaigns = query!(
        r#"
        select campaign_id, name, state, version, definition
        from campaign
        where state <> 'finished'
            or campaign_id in (
                select campaign_id from campaign
                where state = 'finished'
                order by finished_at desc, campaign_id desc
                limit $1
            )
            -- Evidence about a call may come after the end of its campaign. Last, so that open attempts, among which may be
            -- many dead ones, are only read where more campaigns have finished than that.
            or campaign_id in (select campaign_id from open_attempt)
        order by campaign_id
        "#,
        i64::from(FINISHED_MAX),
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(reading)?;
    let stops = query!("select account, reason from stop_order order by stop_order_id")
        .fetch_all(&mut *connection)
        .await
        .map_err(reading)?;
    let account_states = query!(
        "select account, problem, since, next_check_at from account_state where problem is not null order by account"
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(reading)?;

    let reconciliations =
        query!("select account, since, noted_at, reason, calls_over_at, given_up from reconciliation order by account")
            .fetch_all(&mut *connection)
            .await
            .map_err(reading)?;
    let free_leases =
        query_scalar!("select account from account_lease where expires_at <= clock_timestamp() order by account")
            .fetch_all(&mut *connection)
            .await
            .map_err(reading)?;

    Ok(Control {
        reconciliations: reconciliations
            .into_iter()
            .map(|row| Reconciliation {
                account: AccountName::new(row.account),
                since: row.since.to_jiff(),
                noted_at: row.noted_at.to_jiff(),
                reason: row.reason,
                calls_over_at: row.calls_over_at.to_jiff(),
                given_up: row.given_up,
            })
            .collect(),
        free_leases: free_leases.into_iter().map(AccountName::new).collect(),
        campaigns: campaigns
            .into_iter()
            .map(|row| {
                let reading = Reading { table: "campaign", key: row.campaign_id };
                Ok(CampaignRow {
                    campaign_id: CampaignId(row.campaign_id),
                    name: row.name,
                    state: reading.word(&row.state)?,
                    version: row.version,
                    definition: Arc::new(row.definition),
                })
            })
            .collect::<Result<_, StoreError>>()?,
        groups: groups.into_iter().map(|row| (CallingGroupId(row.calling_group_id.into()), row.evidence)).collect(),
        strata: strata
            .into_iter()
            .map(|row| {
                let reading = Reading { table: "stratum", key: row.campaign_id };
                Ok(Stratum {
                    campaign_id: CampaignId(row.campaign_id),
                    calling_group_id: CallingGroupId(row.calling_group_id.into()),
                    priority: reading.number("priority", row.priority)?,
                })
            })
            .collect::<Result<_, StoreError>>()?,
        stops: stops
            .into_iter()
            .map(|row| Stop { account: row.account.map(AccountName::new), reason: row.reason })
            .collect(),
        account_states: account_states
            .into_iter()
            .map(|row| AccountState {
                account: AccountName::new(row.account),
                problem: row.problem,
                since: row.since.to_jiff(),
                next_check_at: row.next_check_at.map(jiff_sqlx::Timestamp::to_jiff),
            })
            .collect(),
    })
}

/// Reads all of an account's: they are bounded by concurrency and what is held. See [`super::floor`].
pub(super) async fn open_attempts(
    pool: &PgPool,
    floors: &Floors,
    account: &AccountName,
) -> Result<Vec<OpenAttempt>, StoreError> {
    let floor = floors.of_learner(account);
    let rows = query_as!(
        OpenRow,
        r#"
        select phone as "phone!", attempt_id as "attempt_id!", account as "account!",
            calling_group_id as "calling_group_id!", priority as "priority!", tries as "tries!",
            assistant_id as "assistant_id!", owner as "owner!", epoch as "epoch!", state as "state!",
            intent_at as "intent_at!", sent_at, deadline_at as "deadline_at!", poll_at as "poll_at!", provider_call_id,
            accepted as "accepted!", absence_from, absent_since, newest_call_known, reason, open_no as "open_no!"
        from (
            select * from open_attempt where account = $1 and open_no > $2
            union all
            -- `offset 0`: by id, and then the rest; no other index knows where dead entries end.
            select * from (select * from open_attempt where attempt_id = any($3) offset 0) as known
            where account = $1 and open_no <= $2
        ) as o
        order by attempt_id
        "#,
        account.as_str(),
        floor.above,
        &floor.below,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    floors.learn(account, rows.iter().map(|row| (row.open_no, row.attempt_id)).collect());
    rows.into_iter().map(OpenAttempt::try_from).collect()
}

/// One index probe each: a look at some costs nothing for the others.
pub(super) async fn open_among(
    pool: &PgPool,
    account: &AccountName,
    attempts: &[AttemptId],
) -> Result<Vec<OpenAttempt>, StoreError> {
    let ids: Vec<Uuid> = attempts.iter().map(|id| id.uuid()).collect();
    query_as!(
        OpenRow,
        r#"
        select phone, attempt_id, account, calling_group_id, priority, tries, assistant_id, owner, epoch, state,
            intent_at, sent_at, deadline_at, poll_at, provider_call_id, accepted, absence_from, absent_since,
            newest_call_known, reason, open_no
        from open_attempt
        where attempt_id = any($2) and account = $1
        order by attempt_id
        "#,
        account.as_str(),
        &ids,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?
    .into_iter()
    .map(OpenAttempt::try_from)
    .collect()
}

/// Counted where they are: a dispatch needs no more of thousands of open attempts than their number.
pub(super) async fn open_counts(
    pool: &PgPool,
    floors: &Floors,
    account: &AccountName,
) -> Result<Vec<OpenCount>, StoreError> {
    let floor = floors.of(account);
    query!(
        r#"
        select campaign_id as "campaign_id!", assistant_id as "assistant_id!", state as "state!", count(*) as "count!"
        from (
            select campaign_id, assistant_id, state from open_attempt where account = $1 and open_no > $2
            union all
            select campaign_id, assistant_id, state
            from (select * from open_attempt where attempt_id = any($3) offset 0) as known
            where account = $1 and open_no <= $2
        ) as o
        group by campaign_id, assistant_id, state
        order by campaign_id, assistant_id collate "C", state collate "C"
        "#,
        account.as_str(),
        floor.above,
        &floor.below,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?
    .into_iter()
    .map(|row| {
        let reading = Reading { table: "open_attempt", key: row.campaign_id };
        Ok(OpenCount {
            campaign_id: CampaignId(row.campaign_id),
            state: reading.word(&row.state)?,
            count: reading.number("count(*)", row.count)?,
            assistant_id: AssistantId::new(row.assistant_id),
        })
    })
    .collect()
}

/// Counts by the time of the request, or of the intent where the request's is unknown. What certainly sent nothing has
/// ended, by a verdict that nothing was placed, and has no time of sending.
pub(super) async fn starts_since(
    pool: &PgPool,
    whose: StartsOf<'_>,
    since: Timestamp,
    at_most: u32,
) -> Result<u32, StoreError> {
    let (account, campaign_id) = match whose {
        StartsOf::Account(account) => (Some(account.as_str()), None),
        StartsOf::Campaign(campaign_id) => (None, Some(campaign_id.0)),
    };
    // The index is on the intent's time, which never changes.
    let intents_since = since.saturating_sub(INTENT_TO_REQUEST_MAX).expect("a span of hours always saturates");
    let count = query_scalar!(
        r#"
        select count(*) as "count!"
        from (
            select 1
            from attempt
            where intent_at >= $1
                and coalesce(sent_at, intent_at) >= $2
                and ($3::text is null or account = $3)
                and ($4::bigint is null or campaign_id = $4)
                and (sent_at is not null or outcome is null or outcome not in ('not_placed', 'rejected', 'canceled'))
            limit $5
        ) as start
        "#,
        intents_since.to_sqlx(),
        since.to_sqlx(),
        account,
        campaign_id,
        i64::from(at_most),
    )
    .fetch_one(pool)
    .await
    .map_err(reading)?;
    Ok(u32::try_from(count).expect("the count is limited by a u32"))
}

/// A row of `open_attempt`.
pub(super) struct OpenRow {
    pub(super) phone: String,
    pub(super) attempt_id: Uuid,
    pub(super) account: String,
    pub(super) calling_group_id: i32,
    pub(super) priority: i16,
    pub(super) tries: i32,
    pub(super) assistant_id: String,
    pub(super) owner: Uuid,
    pub(super) epoch: i64,
    pub(super) state: String,
    pub(super) intent_at: jiff_sqlx::Timestamp,
    pub(super) sent_at: Option<jiff_sqlx::Timestamp>,
    pub(super) deadline_at: jiff_sqlx::Timestamp,
    pub(super) poll_at: jiff_sqlx::Timestamp,
    pub(super) provider_call_id: Option<String>,
    pub(super) accepted: bool,
    pub(super) absence_from: Option<jiff_sqlx::Timestamp>,
    pub(super) absent_since: Option<jiff_sqlx::Timestamp>,
    pub(super) newest_call_known: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) open_no: i64,
}

impl TryFrom<OpenRow> for OpenAttempt {
    type Error = StoreError;

    fn try_from(row: OpenRow) -> Result<Self, StoreError> {
        let reading = Reading { table: "open_attempt", key: row.attempt_id };
        Ok(Self {
            attempt_id: attempt_id(row.attempt_id),
            phone: reading.phone(&row.phone)?,
            account: AccountName::new(row.account),
            assistant_id: AssistantId::new(row.assistant_id),
            tries: reading.number("tries", row.tries)?,
            owner: OwnerId(row.owner),
            epoch: Epoch(row.epoch),
            state: reading.word(&row.state)?,
            intent_at: row.intent_at.to_jiff(),
            sent_at: row.sent_at.map(jiff_sqlx::Timestamp::to_jiff),
            deadline_at: row.deadline_at.to_jiff(),
            poll_at: row.poll_at.to_jiff(),
            call_id: row.provider_call_id.map(ProviderCallId::new),
            accepted: row.accepted,
            absence_from: row.absence_from.map(jiff_sqlx::Timestamp::to_jiff),
            absent_since: row.absent_since.map(jiff_sqlx::Timestamp::to_jiff),
            newest_call_known: row.newest_call_known.map(ProviderCallId::new),
            reason: row.reason,
            calling_group_id: CallingGroupId(row.calling_group_id.into()),
            priority: reading.number("priority", row.priority)?,
        })
    }
}
