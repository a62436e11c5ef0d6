//! Due leads: looked at, re-dated, taken out with a verdict.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Map, Value};
use sqlx::types::{Json, Uuid};
use sqlx::{PgPool, query, query_file_as};

use crate::domain::id::{AssistantId, AttemptId, AttemptKey, CallingGroupId, CampaignId, Installation, LeadId};
use crate::domain::person::CALLS_PER_DAY_MAX;
use crate::port::store::{
    Candidate, Contact, DueKey, LeadFacts, PersonFacts, Probe, StoreError, Stratum, Suppression, Verdict,
};

use super::failure::{acquire, reading, writing};
use super::row::{Reading, attempt_id, group_column};

/// Contacts of a person that are read at most, newest first: as many as the largest limit of calls per person counts.
pub(super) const CONTACTS_MAX: i64 = CALLS_PER_DAY_MAX as i64;

/// The next due leads of each lane with the lead and the person behind it: one index probe for each.
pub(super) async fn peek_due(
    pool: &PgPool,
    installation: Installation,
    now: Timestamp,
    person_since: Timestamp,
    probes: &[Probe],
) -> Result<Vec<Candidate>, StoreError> {
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    let campaigns: Vec<i64> = probes.iter().map(|probe| probe.stratum.campaign_id.0).collect();
    let groups: Vec<i32> = probes.iter().map(|probe| group_column(probe.stratum.calling_group_id)).collect();
    let priorities: Vec<i16> = probes.iter().map(|probe| probe.stratum.priority.into()).collect();
    let not_before: Vec<jiff_sqlx::Timestamp> = probes.iter().map(|probe| probe.not_before.to_sqlx()).collect();
    let limits: Vec<i64> = probes.iter().map(|probe| probe.limit.into()).collect();
    let mut rows = query_file_as!(
        PeekRow,
        "src/adapter/postgres/peek_due.sql",
        &campaigns,
        &groups,
        &priorities,
        &not_before as _,
        &limits,
        now.to_sqlx(),
        person_since.to_sqlx(),
        CONTACTS_MAX,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    // The index gives this order already; the joins do not promise to keep it.
    rows.sort_by_key(|row| (row.probe_no, row.due_at.to_jiff(), row.lead_id));

    let spoke_last = last_assistants(pool, installation, &rows).await?;
    rows.into_iter()
        .map(|row| {
            let last_assistant = spoke_last.get(&(row.campaign_id, row.lead_id)).cloned();
            Ok(Candidate { last_assistant, ..Candidate::try_from(row)? })
        })
        .collect()
}

/// Who was to speak in the latest attempt of each lead that had one.
async fn last_assistants(
    pool: &PgPool,
    installation: Installation,
    rows: &[PeekRow],
) -> Result<BTreeMap<(i64, i64), AssistantId>, StoreError> {
    let tried_before = rows.iter().filter(|row| row.attempt_no > 1);
    let (first, last): (Vec<Uuid>, Vec<Uuid>) = tried_before
        .map(|row| AttemptId::range_of_lead(installation, CampaignId(row.campaign_id), LeadId(row.lead_id)))
        .map(|(first, last)| (first.uuid(), last.uuid()))
        .unzip();
    if first.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = query!(
        r#"
        select latest.attempt_id as "attempt_id!", latest.assistant_id as "assistant_id!"
        from unnest($1::uuid[], $2::uuid[]) as lead (first_id, last_id)
        cross join lateral (
            select attempt_id, assistant_id
            from attempt
            where attempt_id between lead.first_id and lead.last_id
            order by attempt_id desc
            limit 1
        ) as latest
        "#,
        &first,
        &last,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(found
        .into_iter()
        .map(|row| {
            let AttemptKey { campaign_id, lead_id, .. } = attempt_id(row.attempt_id).key();
            ((campaign_id.0, lead_id.0), AssistantId::new(row.assistant_id))
        })
        .collect())
}

/// Re-dates rows that are exactly where they were seen. A row that someone else has in hand is left to them.
pub(super) async fn defer(pool: &PgPool, deferrals: &[(DueKey, Timestamp)]) -> Result<u64, StoreError> {
    if deferrals.is_empty() {
        return Ok(0);
    }
    let at = Places::of(deferrals.iter().map(|(due, _)| due));
    let due_at: Vec<jiff_sqlx::Timestamp> = deferrals.iter().map(|(_, at)| at.to_sqlx()).collect();
    let mut connection = acquire(pool).await?;
    let result = query!(
        r#"
        with seen as materialized (
            select d.campaign_id, d.lead_id, s.new_due_at
            from unnest($1::bigint[], $2::integer[], $3::smallint[], $4::timestamptz[], $5::bigint[], $6::integer[],
                    $7::timestamptz[])
                as s (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, new_due_at)
            join due d using (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no)
            order by d.campaign_id, d.calling_group_id, d.priority, d.due_at, d.lead_id
            for update of d skip locked
        )
        update due d set due_at = seen.new_due_at
        from seen
        where d.campaign_id = seen.campaign_id and d.lead_id = seen.lead_id
        "#,
        &at.campaigns,
        &at.groups,
        &at.priorities,
        &at.due_at as _,
        &at.leads,
        &at.attempt_nos,
        &due_at as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(result.rows_affected())
}

/// Takes rows out that are exactly where they were seen, each with its verdict, in one statement.
pub(super) async fn dispose(pool: &PgPool, verdicts: &[(DueKey, Verdict)], now: Timestamp) -> Result<u64, StoreError> {
    if verdicts.is_empty() {
        return Ok(0);
    }
    let at = Places::of(verdicts.iter().map(|(due, _)| due));
    let dispositions: Vec<String> =
        verdicts.iter().map(|(_, verdict)| verdict.disposition.as_str().to_owned()).collect();
    let reasons: Vec<String> = verdicts.iter().map(|(_, verdict)| verdict.reason.clone()).collect();
    let mut connection = acquire(pool).await?;
    let result = query!(
        r#"
        with seen as materialized (
            select d.campaign_id, d.lead_id, d.attempt_no, d.tries, s.disposition, s.reason
            from unnest($1::bigint[], $2::integer[], $3::smallint[], $4::timestamptz[], $5::bigint[], $6::integer[],
                    $7::text[], $8::text[])
                as s (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, disposition, reason)
            join due d using (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no)
            order by d.campaign_id, d.calling_group_id, d.priority, d.due_at, d.lead_id
            for update of d skip locked
        ), taken as (
            delete from due d
            using seen
            where d.campaign_id = seen.campaign_id and d.lead_id = seen.lead_id
            returning d.campaign_id, d.lead_id, d.attempt_no, d.tries, seen.disposition, seen.reason
        )
        insert into disposition as old (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
        select campaign_id, lead_id, disposition, reason, attempt_no, tries, $9
        from taken
        order by campaign_id, lead_id
        on conflict (campaign_id, lead_id) do update
        set disposition = excluded.disposition, reason = excluded.reason, attempt_no = excluded.attempt_no,
            tries = excluded.tries, disposed_at = excluded.disposed_at
        "#,
        &at.campaigns,
        &at.groups,
        &at.priorities,
        &at.due_at as _,
        &at.leads,
        &at.attempt_nos,
        &dispositions,
        &reasons,
        now.to_sqlx(),
    )
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(result.rows_affected())
}

/// Where due rows were seen, column by column.
#[derive(Default)]
pub(super) struct Places {
    pub(super) campaigns: Vec<i64>,
    pub(super) groups: Vec<i32>,
    pub(super) priorities: Vec<i16>,
    pub(super) due_at: Vec<jiff_sqlx::Timestamp>,
    pub(super) leads: Vec<i64>,
    pub(super) attempt_nos: Vec<i32>,
}

impl Places {
    pub(super) fn of<'a>(keys: impl Iterator<Item = &'a DueKey>) -> Self {
        let mut places = Self::default();
        for key in keys {
            places.campaigns.push(key.stratum.campaign_id.0);
            places.groups.push(group_column(key.stratum.calling_group_id));
            places.priorities.push(key.stratum.priority.into());
            places.due_at.push(key.due_at.to_sqlx());
            places.leads.push(key.lead_id.0);
            places.attempt_nos.push(key.attempt_no.into());
        }
        places
    }
}

struct PeekRow {
    probe_no: i64,
    campaign_id: i64,
    calling_group_id: i32,
    priority: i16,
    due_at: jiff_sqlx::Timestamp,
    lead_id: i64,
    attempt_no: i32,
    tries: i32,
    phone: String,
    lead_version: Option<i64>,
    lead_not_before: Option<jiff_sqlx::Timestamp>,
    lead_not_after: Option<jiff_sqlx::Timestamp>,
    lead_variables: Option<Json<Map<String, Value>>>,
    open_attempt_id: Option<Uuid>,
    suppression_reason: Option<String>,
    suppression_expires_at: Option<jiff_sqlx::Timestamp>,
    contact_at: Vec<jiff_sqlx::Timestamp>,
    contact_campaigns: Vec<i64>,
}

impl TryFrom<PeekRow> for Candidate {
    type Error = StoreError;

    fn try_from(row: PeekRow) -> Result<Self, StoreError> {
        let reading = Reading { table: "due", key: format!("{}/{}", row.campaign_id, row.lead_id) };
        let lead = row.lead_version.map(|version| LeadFacts {
            version,
            not_before: row.lead_not_before.map(jiff_sqlx::Timestamp::to_jiff),
            not_after: row.lead_not_after.map(jiff_sqlx::Timestamp::to_jiff),
            variables: row.lead_variables.map(|Json(variables)| variables).unwrap_or_default(),
        });
        Ok(Self {
            due: DueKey {
                stratum: Stratum {
                    campaign_id: CampaignId(row.campaign_id),
                    calling_group_id: CallingGroupId(row.calling_group_id.into()),
                    priority: reading.number("priority", row.priority)?,
                },
                due_at: row.due_at.to_jiff(),
                lead_id: LeadId(row.lead_id),
                attempt_no: reading.number("attempt_no", row.attempt_no)?,
                tries: reading.number("tries", row.tries)?,
                phone: reading.phone(&row.phone)?,
            },
            lead,
            person: PersonFacts {
                suppression: suppression(row.suppression_reason, row.suppression_expires_at),
                open: row.open_attempt_id.map(attempt_id),
                contacts: contacts(&row.contact_at, &row.contact_campaigns),
            },
            last_assistant: None,
        })
    }
}

/// The do-not-call entry of a row that may have none.
pub(super) fn suppression(reason: Option<String>, expires_at: Option<jiff_sqlx::Timestamp>) -> Option<Suppression> {
    reason.map(|reason| Suppression { reason, expires_at: expires_at.map(jiff_sqlx::Timestamp::to_jiff) })
}

/// Contacts from two parallel columns.
pub(super) fn contacts(at: &[jiff_sqlx::Timestamp], campaigns: &[i64]) -> Vec<Contact> {
    at.iter()
        .zip(campaigns)
        .map(|(at, campaign_id)| Contact { at: at.to_jiff(), campaign_id: CampaignId(*campaign_id) })
        .collect()
}
