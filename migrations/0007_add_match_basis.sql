-- On what grounds a call is an attempt's, from the moment it is known; and which version could not read an event.

alter table inbox add column quarantined_by text;
comment on column inbox.quarantined_by is 'The version of outdial that could not read this event, or did not know its status word; another version reads it again when it starts. Empty where that was not noted yet.';
update inbox set quarantined_by = '' where problem is not null and problem <> 'matched no call';
-- Few rows; a start looks for those of other versions.
create index inbox_quarantined on inbox (inbox_id) where quarantined_by is not null;

create or replace view call_log as
select a.attempt_id, a.campaign_id, c.name as campaign, a.lead_id, a.attempt_no, a.phone, a.account, a.assistant_id,
    coalesce(r.provider_call_id, o.provider_call_id) as provider_call_id, coalesce(r.match_basis, b.basis) as match_basis,
    o.state as open_state, a.intent_at, a.sent_at, a.ended_at, a.outcome, coalesce(a.reason, o.reason) as reason,
    a.goal_met, r.status as provider_status, r.answered_by, r.duration_seconds, r.cost, r.recording_url, r.transcript,
    r.extracted, r.contradicted_by, a.evidence
from attempt a
left join campaign c on c.campaign_id = a.campaign_id
left join call_result r on r.attempt_id = a.attempt_id
left join open_attempt o on o.attempt_id = a.attempt_id
left join provider_call b on b.account = a.account
    and b.provider_call_id = coalesce(r.provider_call_id, o.provider_call_id) and b.attempt_id = a.attempt_id;
comment on column call_log.match_basis is 'On what grounds the call is this attempt''s: reply (the answer to our request had its id), token (a report carried ours), only_candidate (the one newer call to the number by this assistant), operator; null while no call is known, or a webhook told its id only.';
