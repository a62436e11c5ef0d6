//! Where one lead is, and everything that binds it.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Map, Value};
use sqlx::PgPool;
use sqlx::types::Json;

use super::enrolment::places;
use super::failure::reading;
use super::row::{Reading, attempt_id};
use crate::domain::attempt::OpenState;
use crate::domain::id::{AssistantId, AttemptId, CampaignId, LeadId, LeadListId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::{Contact, LeadFacts, LeadRow, PersonFacts, Place, StoreError, Suppression};

/// Everything the gates want to know of one lead, wherever it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Whereabouts {
    /// Key.
    pub lead_id: LeadId,
    /// As its owner wrote it; `None` when it was deleted.
    pub row: Option<LeadRow>,
    /// What it says; `None` when it was deleted.
    pub facts: Option<LeadFacts>,
    /// Where it is in the campaign.
    pub place: Place,
    /// Why, if it is disposed, and since when.
    pub disposed: Option<(String, Timestamp)>,
    /// Its open attempt in this campaign, and why it is in doubt or held.
    pub open: Option<(AttemptId, OpenState, Option<String>)>,
    /// The person behind the phone; an open attempt of this very lead is in `open` and not here.
    pub person: PersonFacts,
    /// Who spoke with this lead last.
    pub last_assistant: Option<AssistantId>,
}

/// Finds the lead that holds a phone in a campaign, else one of the campaign's lists that was written with it.
///
/// # Errors
/// When the database cannot be read.
pub async fn find_lead(
    pool: &PgPool,
    campaign_id: CampaignId,
    phone: &PhoneNumber,
    now: Timestamp,
    person_since: Timestamp,
) -> Result<Option<Whereabouts>, StoreError> {
    let found = sqlx::query_scalar!(
        r#"
        select coalesce(
            (select lead_id from enrolment where campaign_id = $1 and phone = $2),
            (select l.lead_id from campaign_list w join lead l on l.lead_list_id = w.lead_list_id
             where w.campaign_id = $1 and l.phone = $2
             order by w.wanted desc, l.lead_id limit 1)
        )
        "#,
        campaign_id.0,
        phone.e164(),
    )
    .fetch_one(pool)
    .await
    .map_err(reading)?;
    let Some(id) = found else {
        return Ok(None);
    };
    let lead_id = LeadId(id);
    let place = places(pool, &[(campaign_id, lead_id)]).await?.into_iter().next().unwrap_or(Place::Nowhere);
    let lead = lead(pool, lead_id).await?;
    let row = sqlx::query!(
        r#"
        select v.reason as "reason?", v.disposed_at as "disposed_at?",
               o.attempt_id as "attempt_id?", o.state as "state?", o.reason as "open_reason?",
               (select assistant_id from attempt a
                where a.phone = $3 and a.campaign_id = $1 and a.lead_id = $2
                order by a.intent_at desc limit 1) as last_assistant,
               (select attempt_id from open_attempt x
                where x.phone = $3 and not (x.campaign_id = $1 and x.lead_id = $2)) as other_open
        from (select 1) one
        left join disposition v on v.campaign_id = $1 and v.lead_id = $2
        left join open_attempt o on o.campaign_id = $1 and o.lead_id = $2
        "#,
        campaign_id.0,
        id,
        phone.e164(),
    )
    .fetch_one(pool)
    .await
    .map_err(reading)?;
    let open = match (row.attempt_id, row.state) {
        (Some(id), Some(state)) => {
            Some((attempt_id(id), Reading { table: "open_attempt", key: id }.word(&state)?, row.open_reason))
        }
        _ => None,
    };
    let person = PersonFacts {
        suppression: suppression_of(pool, campaign_id, phone, now).await?,
        open: row.other_open.map(attempt_id),
        contacts: contacts_of(pool, phone, person_since).await?,
    };
    let (lead_row, facts) = lead.unzip();
    Ok(Some(Whereabouts {
        lead_id,
        row: lead_row,
        facts,
        place,
        disposed: row.reason.zip(row.disposed_at).map(|(reason, at)| (reason, at.to_jiff())),
        open,
        person,
        last_assistant: row.last_assistant.map(AssistantId::new),
    }))
}

async fn lead(pool: &PgPool, lead_id: LeadId) -> Result<Option<(LeadRow, LeadFacts)>, StoreError> {
    let row = sqlx::query!(
        r#"
        select lead_list_id, phone, time_zone, priority, not_before, not_after, version,
               variables as "variables: Json<Map<String, Value>>"
        from lead where lead_id = $1
        "#,
        lead_id.0,
    )
    .fetch_optional(pool)
    .await
    .map_err(reading)?;
    let at = Reading { table: "lead", key: lead_id };
    row.map(|row| {
        let not_before = row.not_before.map(|at| at.to_jiff());
        let not_after = row.not_after.map(|at| at.to_jiff());
        let written = LeadRow {
            lead_id,
            lead_list_id: LeadListId(row.lead_list_id),
            phone: row.phone,
            time_zone: row.time_zone,
            priority: at.number("priority", row.priority)?,
            not_before,
            not_after,
        };
        Ok((written, LeadFacts { version: row.version, not_before, not_after, variables: row.variables.0 }))
    })
    .transpose()
}

async fn suppression_of(
    pool: &PgPool,
    campaign_id: CampaignId,
    phone: &PhoneNumber,
    now: Timestamp,
) -> Result<Option<Suppression>, StoreError> {
    let row = sqlx::query!(
        r#"
        select reason, expires_at from suppression
        where phone = $1 and (campaign_id is null or campaign_id = $2) and (expires_at is null or expires_at > $3)
        order by expires_at desc nulls first limit 1
        "#,
        phone.e164(),
        campaign_id.0,
        now.to_sqlx() as _,
    )
    .fetch_optional(pool)
    .await
    .map_err(reading)?;
    Ok(row.map(|row| Suppression { reason: row.reason, expires_at: row.expires_at.map(|at| at.to_jiff()) }))
}

async fn contacts_of(pool: &PgPool, phone: &PhoneNumber, since: Timestamp) -> Result<Vec<Contact>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select coalesce(sent_at, intent_at) as "at!", campaign_id from attempt
        where phone = $1 and intent_at >= $2
            and (outcome is null or outcome not in ('rejected', 'canceled', 'not_placed'))
        order by 1 desc
        "#,
        phone.e164(),
        since.to_sqlx() as _,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| Contact { at: row.at.to_jiff(), campaign_id: CampaignId(row.campaign_id) }).collect())
}
