//! Small questions of the command line: which names there are, what was last seen of assistants, how many leads are due.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgPool;

use super::failure::reading;
use super::row::Reading;
use crate::domain::assistant::{Assistant, AssistantDetails};
use crate::domain::id::{AccountName, AssistantId, CallingGroupId, CampaignId, LeadId, LeadListId};
use crate::domain::lead::Stratum;
use crate::domain::phone::PhoneNumber;
use crate::port::store::StoreError;

/// Names that are read at most, for suggestions.
const NAMES_MAX: i64 = 1_000;
/// Leads with one phone that are shown at most.
const HOLDERS_MAX: i64 = 10;

/// Names of campaigns, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn campaign_names(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select name from campaign order by name limit $1", NAMES_MAX)
        .fetch_all(pool)
        .await
        .map_err(reading)
}

/// Names of lead lists, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn list_names(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select name from lead_list order by name limit $1", NAMES_MAX)
        .fetch_all(pool)
        .await
        .map_err(reading)
}

/// Which of these names are names of lists.
///
/// # Errors
/// When the database cannot be read.
pub async fn existing_lists(pool: &PgPool, names: &[String]) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!("select name from lead_list where name = any($1::text[])", names)
        .fetch_all(pool)
        .await
        .map_err(reading)
}

/// The name of a list.
///
/// # Errors
/// When the database cannot be read.
pub async fn list_name(pool: &PgPool, id: LeadListId) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar!("select name from lead_list where lead_list_id = $1", id.0)
        .fetch_optional(pool)
        .await
        .map_err(reading)
}

/// Leads that were written with exactly this number, with the names of their lists; some of them when there are many.
/// Reads every lead: there is no index on what users write.
///
/// # Errors
/// When the database cannot be read.
pub async fn holders_of(pool: &PgPool, phone: &PhoneNumber) -> Result<Vec<(LeadId, String)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select l.lead_id, t.name from lead l join lead_list t on t.lead_list_id = l.lead_list_id
        where l.phone = $1 limit $2
        "#,
        phone.e164(),
        HOLDERS_MAX,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| (LeadId(row.lead_id), row.name)).collect())
}

/// An account's assistants as the daemon last saw them, and when; `None` when it never has.
///
/// # Errors
/// When the database cannot be read.
pub async fn roster(pool: &PgPool, account: &AccountName) -> Result<Option<(Vec<Assistant>, Timestamp)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select assistant_id, name, active, status, mode, language_id, webhook_url, variables, seen_at
        from assistant where account = $1 order by assistant_id
        "#,
        account.as_str(),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    let Some(seen_at) = rows.iter().map(|row| row.seen_at.to_jiff()).min() else { return Ok(None) };
    let assistants = rows
        .into_iter()
        .map(|row| Assistant {
            assistant_id: AssistantId::new(row.assistant_id),
            name: row.name,
            active: row.active,
            status: row.status,
            mode: row.mode,
            language_id: row.language_id,
            webhook_url: row.webhook_url,
            variables: row.variables,
            details: AssistantDetails::default(),
        })
        .collect();
    Ok(Some((assistants, seen_at)))
}

/// Why the daemon paused a campaign; `None` when it did not.
///
/// # Errors
/// When the database cannot be read.
pub async fn paused_because(pool: &PgPool, campaign_id: CampaignId) -> Result<Option<String>, StoreError> {
    let reason = sqlx::query_scalar!("select paused_because from campaign where campaign_id = $1", campaign_id.0)
        .fetch_optional(pool)
        .await
        .map_err(reading)?;
    Ok(reason.flatten())
}

/// How many leads of some lists, the newest of each, have a value for a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledCount {
    /// The variable.
    pub variable: String,
    /// Leads that were looked at.
    pub leads: u64,
    /// Those of them that have a value for it.
    pub filled: u64,
}

/// Looks at the newest `leads_max` leads of each list. In the order of the variables.
///
/// # Errors
/// When the database cannot be read.
pub async fn filled_counts(
    pool: &PgPool,
    lists: &[String],
    variables: &[String],
    leads_max: u32,
) -> Result<Vec<FilledCount>, StoreError> {
    let rows = sqlx::query!(
        r#"
        with sample as materialized (
            select newest.variables
            from lead_list t
            cross join lateral (
                select l.variables from lead l
                where l.lead_list_id = t.lead_list_id
                order by l.lead_list_id desc, l.lead_id desc
                limit $3
            ) newest
            where t.name = any($1::text[])
        )
        select v.variable as "variable!", count(s.variables) as "leads!",
               count(*) filter (where s.variables ->> v.variable <> '') as "filled!"
        from unnest($2::text[]) with ordinality as v (variable, position)
        left join sample s on true
        group by v.variable, v.position
        order by v.position
        "#,
        lists,
        variables,
        i64::from(leads_max),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    rows.into_iter()
        .map(|row| {
            let at = Reading { table: "lead", key: &row.variable };
            Ok(FilledCount {
                leads: at.number("leads", row.leads)?,
                filled: at.number("filled", row.filled)?,
                variable: row.variable.clone(),
            })
        })
        .collect()
}

/// Leads of a lane that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount {
    /// Which lane.
    pub stratum: Stratum,
    /// Those whose time has come.
    pub due: u64,
    /// Those whose time lies ahead.
    pub later: u64,
}

/// How many leads wait in each lane of a campaign; lanes without any are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn lane_counts(pool: &PgPool, campaign_id: CampaignId, now: Timestamp) -> Result<Vec<LaneCount>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select calling_group_id, priority, count(*) filter (where due_at <= $2) as "due!",
               count(*) filter (where due_at > $2) as "later!"
        from due where campaign_id = $1
        group by calling_group_id, priority order by priority, calling_group_id
        "#,
        campaign_id.0,
        now.to_sqlx() as _,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    let at = Reading { table: "due", key: campaign_id };
    rows.into_iter()
        .map(|row| {
            Ok(LaneCount {
                stratum: Stratum {
                    campaign_id,
                    calling_group_id: CallingGroupId(row.calling_group_id.into()),
                    priority: at.number("priority", row.priority)?,
                },
                due: at.number("count", row.due)?,
                later: at.number("count", row.later)?,
            })
        })
        .collect()
}
