//! What goes with time.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::domain::campaign::CampaignState;
use crate::domain::id::{AttemptId, CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
use crate::port::store::{RetainReport, RetentionPolicy};

use super::world::World;

/// Inbox partitions are made this many days ahead.
const PARTITIONS_AHEAD: i64 = 7;

pub(super) fn expire_suppressions(world: &mut World, now: Timestamp) -> u64 {
    let expired: Vec<(PhoneNumber, Option<CampaignId>)> = world
        .suppression
        .iter()
        .filter(|(_, entry)| entry.expires_at.is_some_and(|end| end <= now))
        .map(|(key, _)| *key)
        .collect();
    for key in &expired {
        world.suppression.remove(key);
    }
    for (phone, scope) in &expired {
        world.note_end_of_suppression(phone, *scope);
    }
    expired.len() as u64
}

pub(super) fn retain(world: &mut World, now: Timestamp, policy: RetentionPolicy) -> RetainReport {
    let today = day(now);
    let ahead = (0..=PARTITIONS_AHEAD).map(|days| today.saturating_add(days.days()));
    let partitions_made = ahead.filter(|date| world.inbox_partition.insert(*date)).count();

    let oldest_kept = today.saturating_sub(i64::from(policy.inbox_days).days());
    let pending: BTreeSet<Date> = world.pending.keys().map(|id| day(world.inbox[id].received_at)).collect();
    let dropped = |date: &Date| *date < oldest_kept && !pending.contains(date);
    world.inbox.retain(|_, event| !dropped(&day(event.received_at)));
    let partitions_before = world.inbox_partition.len();
    world.inbox_partition.retain(|date| !dropped(date));
    let partitions_dropped = partitions_before - world.inbox_partition.len();

    let payload_max = SignedDuration::from_hours(24 * i64::from(policy.payload_days));
    let expired_at = now.saturating_sub(payload_max).expect("a duration of hours saturates");
    let mut payloads_removed = 0;
    for record in world.call_result.values_mut().filter(|record| record.recorded_at < expired_at) {
        let result = &mut record.result;
        let had_payload = result.transcript.is_some() || result.recording_url.is_some() || !result.extracted.is_empty();
        result.transcript = None;
        result.recording_url = None;
        result.extracted.clear();
        record.payload_removed = true;
        payloads_removed += u64::from(had_payload);
    }
    let leads_forgotten = policy.history_days.map_or(0, |days| {
        let before = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(days)));
        forget(world, before.expect("a duration of hours saturates"))
    });
    let bounded = |count: usize| u32::try_from(count).expect("there are fewer partitions than days in a calendar");
    RetainReport {
        partitions_made: bounded(partitions_made),
        partitions_dropped: bounded(partitions_dropped),
        payloads_removed,
        leads_forgotten,
    }
}

/// What is left of deleted leads in campaigns that are over.
fn forget(world: &mut World, before: Timestamp) -> u64 {
    let of = |id: &AttemptId| (id.key().campaign_id, id.key().lead_id);
    let young: BTreeSet<_> = world
        .attempt
        .iter()
        .filter(|(_, attempt)| attempt.end.as_ref().is_none_or(|end| end.ended_at >= before))
        .map(|(id, _)| of(id))
        .collect();
    let gone: BTreeSet<(CampaignId, LeadId)> = world
        .disposition
        .iter()
        .filter(|(_, record)| record.disposed_at < before)
        .map(|(key, _)| *key)
        .filter(|(campaign_id, lead_id)| {
            let lives = world.campaign.get(campaign_id).is_some_and(|found| found.state != CampaignState::Finished);
            let kept = world.lead.contains_key(lead_id) || world.lead_change.values().any(|changed| changed == lead_id);
            !lives && !kept && !young.contains(&(*campaign_id, *lead_id))
        })
        .collect();
    let is_gone = |id: &AttemptId| gone.contains(&of(id));
    world.attempt.retain(|id, _| !is_gone(id));
    world.attempts_of_phone.retain(|(_, id)| !is_gone(id));
    world.attempts_by_intent.retain(|(_, id)| !is_gone(id));
    world.call_result.retain(|id, _| !is_gone(id));
    world.provider_call.retain(|_, (id, _)| !is_gone(id));
    world.enrolment.retain(|(campaign_id, _), lead_id| !gone.contains(&(*campaign_id, *lead_id)));
    world.phones_of_lead.retain(|key, _| !gone.contains(key));
    world.disposition.retain(|key, _| !gone.contains(key));
    gone.len() as u64
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}
