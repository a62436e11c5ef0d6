-- Read models for people and their tools: a documented interface. Columns are added, never renamed or removed.

create view campaign_progress as
select c.campaign_id, c.name, c.state, c.note, c.version,
    (select count(*) from due d where d.campaign_id = c.campaign_id) as due,
    coalesce(o.open, 0) as open,
    coalesce(o.held, 0) as held,
    coalesce(v.reached, 0) as reached,
    coalesce(v.goal_met, 0) as goal_met,
    coalesce(v.exhausted, 0) as exhausted,
    coalesce(v.suppressed, 0) as suppressed,
    coalesce(v.invalid_number, 0) as invalid_number,
    coalesce(v.expired, 0) as expired,
    coalesce(v.removed, 0) as removed,
    coalesce(v.duplicate, 0) as duplicate,
    exists (select from campaign_list w where w.campaign_id = c.campaign_id and not w.walked) as enrolling,
    c.changed_at, c.finished_at
from campaign c
left join lateral (
    select count(*) filter (where a.state <> 'held') as open, count(*) filter (where a.state = 'held') as held
    from open_attempt a where a.campaign_id = c.campaign_id
) o on true
left join lateral (
    select count(*) filter (where d.disposition = 'reached') as reached,
        count(*) filter (where d.disposition = 'goal_met') as goal_met,
        count(*) filter (where d.disposition = 'exhausted') as exhausted,
        count(*) filter (where d.disposition = 'suppressed') as suppressed,
        count(*) filter (where d.disposition = 'invalid_number') as invalid_number,
        count(*) filter (where d.disposition = 'expired') as expired,
        count(*) filter (where d.disposition = 'removed') as removed,
        count(*) filter (where d.disposition = 'duplicate') as duplicate
    from disposition d where d.campaign_id = c.campaign_id
) v on true;
comment on view campaign_progress is 'One row per campaign: where it stands and where its leads are. Each enrolled lead is counted once, in exactly one of the columns due to duplicate.';
comment on column campaign_progress.campaign_id is 'Key of the campaign.';
comment on column campaign_progress.name is 'Its unique name.';
comment on column campaign_progress.state is 'draft, active, paused, finishing or finished.';
comment on column campaign_progress.note is 'Why it is not dialed right now, in words; null when it is.';
comment on column campaign_progress.version is 'Grows with each change of the definition.';
comment on column campaign_progress.due is 'Leads that wait for their next attempt, those that nothing but a change can open included.';
comment on column campaign_progress.open is 'Attempts under way, held ones left out.';
comment on column campaign_progress.held is 'Attempts that only evidence or a person can settle; see outdial resolve.';
comment on column campaign_progress.reached is 'Leads that were reached; the campaign has no goal.';
comment on column campaign_progress.goal_met is 'Leads with which the goal was met.';
comment on column campaign_progress.exhausted is 'Leads that no retry rule gives another try.';
comment on column campaign_progress.suppressed is 'Leads on a do-not-call list.';
comment on column campaign_progress.invalid_number is 'Leads whose phone is no number, or one the provider refuses.';
comment on column campaign_progress.expired is 'Leads whose, or whose campaign''s, last moment has passed.';
comment on column campaign_progress.removed is 'Leads that were deleted or moved, or whose campaign was finished.';
comment on column campaign_progress.duplicate is 'Leads whose phone another lead of the campaign has.';
comment on column campaign_progress.enrolling is 'Whether leads of a new, changed or removed list are still being taken in or out.';
comment on column campaign_progress.changed_at is 'Last change of the campaign.';
comment on column campaign_progress.finished_at is 'When it was finished.';

create view call_log as
select a.attempt_id, a.campaign_id, c.name as campaign, a.lead_id, a.attempt_no, a.phone, a.account, a.assistant_id,
    coalesce(r.provider_call_id, o.provider_call_id) as provider_call_id, r.match_basis, o.state as open_state,
    a.intent_at, a.sent_at, a.ended_at, a.outcome, coalesce(a.reason, o.reason) as reason, a.goal_met,
    r.status as provider_status, r.answered_by, r.duration_seconds, r.cost, r.recording_url, r.transcript, r.extracted,
    r.contradicted_by, a.evidence
from attempt a
left join campaign c on c.campaign_id = a.campaign_id
left join call_result r on r.attempt_id = a.attempt_id
left join open_attempt o on o.attempt_id = a.attempt_id;
comment on view call_log is 'One row per attempt, open ones included.';
comment on column call_log.attempt_id is 'Key of the attempt; goes to the provider as the correlation token.';
comment on column call_log.campaign_id is 'Key of the campaign.';
comment on column call_log.campaign is 'Name of the campaign.';
comment on column call_log.lead_id is 'Key of the lead.';
comment on column call_log.attempt_no is 'Number of the attempt for this lead in this campaign; counts from 1, never reused.';
comment on column call_log.phone is 'The number that was dialed, E.164.';
comment on column call_log.account is 'The account that dialed.';
comment on column call_log.assistant_id is 'The assistant that spoke, or was to.';
comment on column call_log.provider_call_id is 'The call at the provider, where one is known.';
comment on column call_log.match_basis is 'On what grounds the call is this attempt''s: reply, token, only_candidate or operator.';
comment on column call_log.open_state is 'dialing, placed, in_doubt or held while the attempt is open; null once it has ended.';
comment on column call_log.intent_at is 'When the intent became durable.';
comment on column call_log.sent_at is 'When the request left; null when nothing left or nobody can know.';
comment on column call_log.ended_at is 'When it ended.';
comment on column call_log.outcome is 'answered, voicemail, no_answer, busy, failed, rejected, canceled, not_placed or unknown; null while open.';
comment on column call_log.reason is 'A sentence: why it ended so, or why it is in doubt or held.';
comment on column call_log.goal_met is 'Whether the campaign''s goal was met; null without a goal or without an answer.';
comment on column call_log.provider_status is 'The provider''s own status word.';
comment on column call_log.answered_by is 'human, machine or unknown, where the provider tells.';
comment on column call_log.duration_seconds is 'Length of the call, seconds.';
comment on column call_log.cost is 'Cost in the account''s currency.';
comment on column call_log.recording_url is 'Where the recording is; removed after its days.';
comment on column call_log.transcript is 'As the provider shapes it; removed after its days.';
comment on column call_log.extracted is 'Variables extracted from the conversation; removed after their days.';
comment on column call_log.contradicted_by is 'An outcome that late evidence speaks for and that differs from the one recorded.';
comment on column call_log.evidence is 'Zone, window and rule versions the moment was judged by.';
