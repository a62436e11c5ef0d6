//! The end of an attempt, and what is remembered of those that have ended.

use std::collections::BTreeSet;

use jiff_sqlx::ToSqlx;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::types::Uuid;
use sqlx::{PgPool, query, query_file_scalar};

use crate::domain::id::{AttemptId, CampaignId, Installation, LeadId};
use crate::port::store::{CallResult, NextPlace, PastAttempt, Settlement, StoreError};

use super::failure::{acquire, reading, writing};
use super::row::{Reading, attempt_id, storable, storable_json, storable_map};

/// The bound of `suppression.reason`.
const SUPPRESSION_REASON_CHARS_MAX: usize = 500;

/// Ends open attempts with all that follows, in one statement; see `settle.sql`. Of several settlements of one attempt,
/// the first counts.
pub(super) async fn settle(pool: &PgPool, settlements: &[Settlement]) -> Result<Vec<AttemptId>, StoreError> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = BTreeSet::new();
    let mut items = ItemColumns::default();
    let mut results = ResultColumns::default();
    let mut inbox_ids: Vec<i64> = Vec::new();
    let mut inbox_attempts: Vec<Uuid> = Vec::new();
    for settlement in settlements.iter().filter(|settlement| seen.insert(settlement.attempt_id)) {
        items.push(settlement);
        if let Some(result) = &settlement.result {
            results.push(settlement.attempt_id, result);
        }
        for inbox_id in &settlement.inbox {
            inbox_ids.push(inbox_id.0);
            inbox_attempts.push(settlement.attempt_id.uuid());
        }
    }
    let mut connection = acquire(pool).await?;
    let ended = query_file_scalar!(
        "src/adapter/postgres/settle.sql",
        &items.ids,
        &items.outcomes,
        &items.ended_at as _,
        &items.sent_at as _,
        &items.reasons,
        &items.goal_met as _,
        &items.suppress as _,
        &items.due_at as _,
        &items.dispositions as _,
        &items.verdicts as _,
        &items.next_attempt_nos,
        &items.next_tries,
        &results.ids,
        &results.call_ids as _,
        &results.match_bases as _,
        &results.statuses,
        &results.answered_by as _,
        &results.duration_seconds as _,
        &results.costs as _,
        &results.transcripts as _,
        &results.recording_urls as _,
        &results.extracted as _,
        &inbox_ids,
        &inbox_attempts,
        &items.refused,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(ended.into_iter().map(attempt_id).collect())
}

/// What became of these leads' earlier attempts: a range of the primary key for each lead.
pub(super) async fn history(
    pool: &PgPool,
    installation: Installation,
    leads: &[(CampaignId, LeadId)],
) -> Result<Vec<PastAttempt>, StoreError> {
    let (first, last): (Vec<Uuid>, Vec<Uuid>) = leads
        .iter()
        .map(|(campaign_id, lead_id)| AttemptId::range_of_lead(installation, *campaign_id, *lead_id))
        .map(|(first, last)| (first.uuid(), last.uuid()))
        .unzip();
    query!(
        r#"
        select past.attempt_id as "attempt_id!", past.tries as "tries!", past.outcome as "outcome!", past.goal_met,
            past.refused as "refused!"
        from (select distinct * from unnest($1::uuid[], $2::uuid[]) as l (first_id, last_id)) as lead
        cross join lateral (
            select a.attempt_id, a.tries, a.outcome, a.goal_met, a.refused
            from attempt a
            where a.attempt_id between lead.first_id and lead.last_id and a.outcome is not null
            -- Attempt numbers have 16 bits: all of a lead's. Without a limit the planner takes this for a join, of which it
            -- expects a ninth of all attempts, and reads the whole table.
            order by a.attempt_id
            limit 65536
        ) as past
        order by past.attempt_id
        "#,
        &first,
        &last,
    )
    .fetch_all(pool)
    .await
    .map_err(reading)?
    .into_iter()
    .map(|row| {
        let reading = Reading { table: "attempt", key: row.attempt_id };
        Ok(PastAttempt {
            attempt_id: attempt_id(row.attempt_id),
            tries: reading.number("tries", row.tries)?,
            outcome: reading.word(&row.outcome)?,
            goal_met: row.goal_met,
            refused: row.refused,
        })
    })
    .collect()
}

#[derive(Default)]
struct ItemColumns {
    ids: Vec<Uuid>,
    outcomes: Vec<String>,
    ended_at: Vec<jiff_sqlx::Timestamp>,
    sent_at: Vec<Option<jiff_sqlx::Timestamp>>,
    reasons: Vec<String>,
    goal_met: Vec<Option<bool>>,
    suppress: Vec<Option<String>>,
    due_at: Vec<Option<jiff_sqlx::Timestamp>>,
    dispositions: Vec<Option<String>>,
    verdicts: Vec<Option<String>>,
    next_attempt_nos: Vec<i32>,
    next_tries: Vec<i32>,
    refused: Vec<bool>,
}

impl ItemColumns {
    fn push(&mut self, settlement: &Settlement) {
        self.ids.push(settlement.attempt_id.uuid());
        self.outcomes.push(settlement.outcome.as_str().to_owned());
        self.ended_at.push(settlement.ended_at.to_sqlx());
        self.sent_at.push(settlement.sent_at.map(ToSqlx::to_sqlx));
        self.reasons.push(storable(&settlement.reason));
        self.goal_met.push(settlement.result.as_ref().and_then(|result| result.goal_met));
        self.refused.push(settlement.refused);
        self.suppress.push(settlement.suppress.as_deref().map(suppression_reason));
        let (attempt_no, tries) = match &settlement.next {
            NextPlace::Due { due_at, attempt_no, tries } => {
                self.due_at.push(Some(due_at.to_sqlx()));
                self.dispositions.push(None);
                self.verdicts.push(None);
                (attempt_no, tries)
            }
            NextPlace::Disposed { verdict, attempt_no, tries } => {
                self.due_at.push(None);
                self.dispositions.push(Some(verdict.disposition.as_str().to_owned()));
                self.verdicts.push(Some(storable(&verdict.reason)));
                (attempt_no, tries)
            }
        };
        self.next_attempt_nos.push((*attempt_no).into());
        self.next_tries.push((*tries).into());
    }
}

#[derive(Default)]
struct ResultColumns {
    ids: Vec<Uuid>,
    call_ids: Vec<Option<String>>,
    match_bases: Vec<Option<String>>,
    statuses: Vec<String>,
    answered_by: Vec<Option<String>>,
    duration_seconds: Vec<Option<i32>>,
    costs: Vec<Option<Decimal>>,
    transcripts: Vec<Option<Value>>,
    recording_urls: Vec<Option<String>>,
    extracted: Vec<Value>,
}

impl ResultColumns {
    fn push(&mut self, attempt_id: AttemptId, result: &CallResult) {
        self.ids.push(attempt_id.uuid());
        self.call_ids.push(result.call_id.as_ref().map(|id| storable(id.as_str())));
        self.match_bases.push(result.match_basis.map(|basis| basis.as_str().to_owned()));
        self.statuses.push(storable(&result.status));
        self.answered_by.push(result.answered_by.as_deref().map(storable));
        self.duration_seconds.push(result.duration_seconds.map(seconds_column));
        self.costs.push(result.cost.as_deref().and_then(cost_column));
        self.transcripts.push(result.transcript.as_ref().map(storable_json));
        self.recording_urls.push(result.recording_url.as_deref().map(storable));
        self.extracted.push(Value::Object(storable_map(&result.extracted)));
    }
}

/// A reason as the column holds it: 1 to 500 characters. A person's wish must not fail for its wording.
pub(super) fn suppression_reason(reason: &str) -> String {
    let reason: String = storable(reason).chars().take(SUPPRESSION_REASON_CHARS_MAX).collect();
    if reason.is_empty() { "asked not to be called".into() } else { reason }
}

/// Seconds as the column holds them: sixty-eight years at most.
pub(super) fn seconds_column(seconds: u32) -> i32 {
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// A cost as a decimal number. One that is none is dropped: it must not keep a result out, and the raw event still has it.
pub(super) fn cost_column(cost: &str) -> Option<Decimal> {
    cost.parse().or_else(|_| Decimal::from_scientific(cost)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_read_as_written_or_not_at_all() {
        assert_eq!(cost_column("0.0125").map(|cost| cost.to_string()), Some("0.0125".into()));
        assert_eq!(cost_column("1.5e-3").map(|cost| cost.to_string()), Some("0.0015".into()));
        assert_eq!(cost_column("free"), None);
    }
}
