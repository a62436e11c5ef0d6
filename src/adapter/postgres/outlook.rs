//! What a change of a campaign would mean for its leads: plain reads, a page of leads at a time, and nothing is written.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::PgPool;

use super::due::{contacts, suppression};
use super::enrolment::{Pair, places};
use super::failure::reading;
use super::row::{Reading, attempt_id};
use super::storable::storable_json;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
use crate::domain::lead::{LeadRow, Place};
use crate::domain::person::{CALLS_PER_DAY_MAX, PersonFacts};
use crate::domain::phone::PhoneNumber;
use crate::port::store::StoreError;

/// A campaign as it is stored.
#[derive(Clone, Debug)]
pub struct StoredCampaign {
    /// Key.
    pub campaign_id: CampaignId,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Its definition.
    pub definition: Value,
    /// Whether applying the other definition would change it. Asked of the database, which is what decides then.
    pub differs: bool,
}

/// The campaign of that name, compared with a definition; `None` when there is none.
///
/// # Errors
/// When the database cannot be read.
pub async fn compare(pool: &PgPool, name: &str, definition: &Value) -> Result<Option<StoredCampaign>, StoreError> {
    let row = sqlx::query!(
        r#"
        select campaign_id, state, definition, definition is distinct from $2::jsonb as "differs!"
        from campaign where name = $1
        "#,
        name,
        storable_json(definition),
    )
    .fetch_optional(pool)
    .await
    .map_err(reading)?;
    row.map(|row| {
        let at = Reading { table: "campaign", key: row.campaign_id };
        Ok(StoredCampaign {
            campaign_id: CampaignId(row.campaign_id),
            state: at.word(&row.state)?,
            definition: row.definition,
            differs: row.differs,
        })
    })
    .transpose()
}

/// The calling groups in which leads of a campaign ever were, with their evidence.
///
/// # Errors
/// When the database cannot be read.
pub async fn groups_of(pool: &PgPool, campaign_id: CampaignId) -> Result<Vec<(CallingGroupId, String)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select calling_group_id, evidence from calling_group
        where calling_group_id in (select calling_group_id from stratum where campaign_id = $1)
        order by calling_group_id
        "#,
        campaign_id.0,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| (CallingGroupId(row.calling_group_id.into()), row.evidence)).collect())
}

/// Lists of these names, and those that a campaign dials as far as its daemon knows; each with whether it is one of those.
///
/// # Errors
/// When the database cannot be read.
pub async fn lists(
    pool: &PgPool,
    names: &[String],
    campaign_id: CampaignId,
) -> Result<Vec<(LeadListId, String, bool)>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select l.lead_list_id, l.name, w.lead_list_id is not null as "dialed!"
        from lead_list l
        left join campaign_list w on w.lead_list_id = l.lead_list_id and w.campaign_id = $2 and w.wanted
        where l.name = any($1::text[]) or w.lead_list_id is not null
        order by l.lead_list_id
        "#,
        names,
        campaign_id.0,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows.into_iter().map(|row| (LeadListId(row.lead_list_id), row.name, row.dialed)).collect())
}

/// A lead of a list, and what its place in a campaign depends on.
#[derive(Clone, Debug)]
pub struct LeadSeen {
    /// As its owner wrote it.
    pub lead: LeadRow,
    /// Where it is in the campaign.
    pub place: Place,
    /// Its number; `None` when it has none that can be read.
    pub phone: Option<PhoneNumber>,
    /// Who is behind the number.
    pub person: PersonFacts,
    /// Who holds the number in this campaign, if it is another lead.
    pub holder: Option<Holder>,
}

/// A lead that holds a number in a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which one.
    pub lead_id: LeadId,
    /// Its list; `None` when it was deleted.
    pub lead_list_id: Option<LeadListId>,
    /// Whether the number was ever attempted there: then it is kept also when the lead goes.
    pub attempted: bool,
}

/// What a page is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageOf {
    /// The campaign; one that does not exist has no lead anywhere.
    pub campaign_id: CampaignId,
    /// The list.
    pub lead_list_id: LeadListId,
    /// Leads after this one.
    pub after: LeadId,
    /// How many.
    pub limit: u32,
    /// The civil instant.
    pub now: Timestamp,
    /// From when on calls to a person matter.
    pub person_since: Timestamp,
}

/// A page of the leads of a list, in the order of their keys.
///
/// # Errors
/// When the database cannot be read.
pub async fn lead_page(pool: &PgPool, of: PageOf) -> Result<Vec<LeadSeen>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select lead_id, phone, time_zone, priority, not_before, not_after
        from lead
        where lead_list_id = $1 and lead_id > $2
        order by lead_id
        limit $3
        "#,
        of.lead_list_id.0,
        of.after.0,
        i64::from(of.limit),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    let leads: Vec<LeadRow> = rows
        .into_iter()
        .map(|row| {
            Ok(LeadRow {
                lead_id: LeadId(row.lead_id),
                lead_list_id: of.lead_list_id,
                priority: Reading { table: "lead", key: row.lead_id }.number("priority", row.priority)?,
                phone: row.phone,
                time_zone: row.time_zone,
                not_before: row.not_before.map(|at| at.to_jiff()),
                not_after: row.not_after.map(|at| at.to_jiff()),
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let pairs: Vec<Pair> = leads.iter().map(|lead| (of.campaign_id, lead.lead_id)).collect();
    let places = places(pool, &pairs).await?;
    let phones: Vec<Option<PhoneNumber>> = leads.iter().map(|lead| PhoneNumber::parse(&lead.phone).ok()).collect();
    let people = people(pool, of, &leads, &phones).await?;
    let seen = leads.into_iter().zip(places).zip(phones.into_iter().zip(people));
    Ok(seen.map(|((lead, place), (phone, (person, holder)))| LeadSeen { lead, place, phone, person, holder }).collect())
}

/// The person behind each lead's number, and who else holds the number in the campaign. In the order of the leads.
async fn people(
    pool: &PgPool,
    of: PageOf,
    leads: &[LeadRow],
    phones: &[Option<PhoneNumber>],
) -> Result<Vec<(PersonFacts, Option<Holder>)>, StoreError> {
    let ids: Vec<i64> = leads.iter().map(|lead| lead.lead_id.0).collect();
    let numbers: Vec<Option<&str>> = phones.iter().map(|phone| phone.as_ref().map(PhoneNumber::e164)).collect();
    let rows = sqlx::query!(
        r#"
        select o.attempt_id as "open_attempt_id?", e.lead_id as "holder?", h.lead_list_id as "holder_list?",
            exists (
                select from attempt a
                where a.phone = e.phone and a.campaign_id = e.campaign_id and a.lead_id = e.lead_id
            ) as "holder_attempted!",
            s.reason as "suppression_reason?", s.expires_at as "suppression_expires_at?",
            contact.at as "contact_at!: Vec<jiff_sqlx::Timestamp>", contact.campaigns as "contact_campaigns!: Vec<i64>"
        from unnest($1::bigint[], $2::text[]) with ordinality as q (lead_id, phone, position)
        left join open_attempt o on o.phone = q.phone and not (o.campaign_id = $3 and o.lead_id = q.lead_id)
        left join enrolment e on e.campaign_id = $3 and e.phone = q.phone and e.lead_id <> q.lead_id
        left join lead h on h.lead_id = e.lead_id
        left join lateral (
            select x.reason, x.expires_at
            from suppression x
            where x.phone = q.phone and (x.campaign_id is null or x.campaign_id = $3)
                and (x.expires_at is null or x.expires_at > $4)
            order by x.expires_at desc nulls first
            limit 1
        ) as s on true
        -- As the daemon looks at them before it dials.
        cross join lateral (
            select coalesce(array_agg(c.at order by c.at desc), '{}') as at,
                coalesce(array_agg(c.campaign_id order by c.at desc), '{}') as campaigns
            from (
                select coalesce(a.sent_at, a.intent_at) as at, a.campaign_id
                from attempt a
                where a.phone = q.phone and a.intent_at >= $5
                    and (a.outcome is null
                        or a.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))
                order by a.intent_at desc
                limit $6
            ) as c
        ) as contact
        order by q.position
        "#,
        &ids,
        &numbers as _,
        of.campaign_id.0,
        of.now.to_sqlx() as _,
        of.person_since.to_sqlx() as _,
        i64::from(CALLS_PER_DAY_MAX),
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let person = PersonFacts {
                suppression: suppression(row.suppression_reason, row.suppression_expires_at),
                open: row.open_attempt_id.map(attempt_id),
                contacts: contacts(&row.contact_at, &row.contact_campaigns),
            };
            let (lead_list_id, attempted) = (row.holder_list.map(LeadListId), row.holder_attempted);
            let holder = row.holder.map(|id| Holder { lead_id: LeadId(id), lead_list_id, attempted });
            (person, holder)
        })
        .collect())
}
