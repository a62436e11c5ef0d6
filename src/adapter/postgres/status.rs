//! What people ask about accounts, attempts that wait for a person, and do-not-call entries.

use jiff::Timestamp;
use sqlx::{PgExecutor, PgPool};

use super::failure::reading;
use super::row::{Reading, attempt_id};
use crate::domain::attempt::OpenState;
use crate::domain::id::{AccountName, AttemptId, Epoch, OwnerId, ProviderCallId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::StoreError;

/// What an account is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Which.
    pub account: AccountName,
    /// Open attempts by state.
    pub dialing: i64,
    /// As above.
    pub placed: i64,
    /// As above.
    pub in_doubt: i64,
    /// As above.
    pub held: i64,
    /// Who dials it, in which term; `None` when nobody holds a lease that has not run out.
    pub holder: Option<(OwnerId, Epoch)>,
    /// What people call that daemon: host and process.
    pub holder_name: Option<String>,
    /// Why attempts of it may be missing, and since when.
    pub missing: Option<(String, Timestamp)>,
    /// An account, another or this one when it was given up, some of whose calls may be missing, and until when at most they
    /// last. It may have passed.
    pub waits_for: Option<(AccountName, Timestamp)>,
    /// Why it is stopped, by its own stop or one of everything.
    pub stopped: Option<String>,
    /// Why the provider does not let it place calls, since when, and when the daemon looks again.
    pub problem: Option<(String, Timestamp, Option<Timestamp>)>,
    /// Events that are not applied yet.
    pub pending_events: i64,
}

impl AccountStatus {
    /// Whose calls may be missing and still ring, and until when at most: before, no account dials.
    pub fn waits_for(&self, now: Timestamp) -> Option<&(AccountName, Timestamp)> {
        self.waits_for.as_ref().filter(|(_, until)| *until > now)
    }
}

/// Every account the database has heard of, by name; the configuration may know more.
///
/// # Errors
/// When the database cannot be read.
pub async fn account_statuses<'e>(executor: impl PgExecutor<'e>) -> Result<Vec<AccountStatus>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with known as (
            select account from account_lease union select account from account_state
            union select account from open_attempt union select account from stop_order where account is not null
        )
        select k.account as "account!", o.dialing as "dialing!", o.placed as "placed!", o.in_doubt as "in_doubt!",
               o.held as "held!", l.owner as "owner?", l.epoch as "epoch?",
               p.name as "name?", m.reason as "missing?", m.since as "missing_since?", x.reason as "stopped?",
               w.account as "waits_for?", w.calls_over_at as "waits_until?",
               s.problem as "problem?", s.since as "since?", s.next_check_at as "next_check_at?",
               (select count(*) from inbox_pending p where p.account = k.account) as "pending_events!"
        from known k
        cross join lateral (
            select count(*) filter (where state = 'dialing') as dialing, count(*) filter (where state = 'placed') as placed,
                   count(*) filter (where state = 'in_doubt') as in_doubt, count(*) filter (where state = 'held') as held
            from open_attempt a where a.account = k.account
        ) o
        -- Leases live by the database's own clock.
        left join account_lease l on l.account = k.account and l.expires_at > clock_timestamp()
        left join replica p on p.owner = l.owner
        left join reconciliation m on m.account = k.account and not m.given_up
        left join lateral (
            select r.account, r.calls_over_at from reconciliation r
            where r.account <> k.account or r.given_up
            order by r.calls_over_at desc
            limit 1
        ) w on true
        left join account_state s on s.account = k.account
        left join lateral (
            select reason from stop_order t where t.account is null or t.account = k.account
            order by t.account nulls first limit 1
        ) x on true
        order by k.account
        "#
    )
    .fetch_all(executor)
    .await
    .map_err(reading)?;
    Ok(rows
        .into_iter()
        .map(|row| AccountStatus {
            account: AccountName::new(row.account),
            dialing: row.dialing,
            placed: row.placed,
            in_doubt: row.in_doubt,
            held: row.held,
            holder_name: row.name,
            missing: row.missing.zip(row.missing_since).map(|(reason, since)| (reason, since.to_jiff())),
            waits_for: row.waits_for.zip(row.waits_until).map(|(of, until)| (AccountName::new(of), until.to_jiff())),
            holder: row.owner.zip(row.epoch).map(|(owner, epoch)| (OwnerId(owner), Epoch(epoch))),
            stopped: row.stopped,
            problem: row
                .problem
                .zip(row.since)
                .map(|(problem, since)| (problem, since.to_jiff(), row.next_check_at.map(|at| at.to_jiff()))),
            pending_events: row.pending_events,
        })
        .collect())
}

/// An attempt that is in doubt or held, for people who look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenQuestion {
    /// Key.
    pub attempt_id: AttemptId,
    /// Whom.
    pub phone: PhoneNumber,
    /// Who dialed.
    pub account: AccountName,
    /// For which campaign.
    pub campaign: Option<String>,
    /// `in_doubt` or `held`.
    pub state: OpenState,
    /// When the intent became durable.
    pub intent_at: Timestamp,
    /// When the request left.
    pub sent_at: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The call at the provider.
    pub provider_call_id: Option<ProviderCallId>,
}

/// Attempts that are in doubt or held, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open_questions(pool: &PgPool, limit: u32) -> Result<Vec<OpenQuestion>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select o.attempt_id, o.phone, o.account, c.name as "campaign?", o.state, o.intent_at, o.sent_at, o.reason,
               o.provider_call_id
        from open_attempt o
        left join campaign c on c.campaign_id = o.campaign_id
        where o.state in ('in_doubt', 'held')
        order by o.intent_at, o.attempt_id
        limit $1
        "#,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            let at = Reading { table: "open_attempt", key: row.attempt_id };
            Ok(OpenQuestion {
                attempt_id: attempt_id(row.attempt_id),
                phone: at.phone(&row.phone)?,
                account: AccountName::new(row.account),
                campaign: row.campaign,
                state: at.word(&row.state)?,
                intent_at: row.intent_at.to_jiff(),
                sent_at: row.sent_at.map(|at| at.to_jiff()),
                reason: row.reason.unwrap_or_default(),
                provider_call_id: row.provider_call_id.map(ProviderCallId::new),
            })
        })
        .collect()
}

/// A do-not-call entry as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRow {
    /// Key, for the next page.
    pub suppression_id: i64,
    /// Whom.
    pub phone: PhoneNumber,
    /// In this campaign only; everywhere if absent.
    pub campaign: Option<String>,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

/// Do-not-call entries after a key, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn suppressions(pool: &PgPool, after: i64, limit: u32) -> Result<Vec<SuppressionRow>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select s.suppression_id, s.phone, coalesce(c.name, s.campaign_id::text) as campaign, s.reason, s.expires_at
        from suppression s
        left join campaign c on c.campaign_id = s.campaign_id
        where s.suppression_id > $1
        order by s.suppression_id
        limit $2
        "#,
        after,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            Ok(SuppressionRow {
                suppression_id: row.suppression_id,
                phone: Reading { table: "suppression", key: row.suppression_id }.phone(&row.phone)?,
                campaign: row.campaign,
                reason: row.reason,
                expires_at: row.expires_at.map(|at| at.to_jiff()),
            })
        })
        .collect()
}
