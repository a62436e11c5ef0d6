-- A world in which everything holds: as many attempts as `audit.attempts` says, over ten days, a fifth of them second
-- ones, with results, calls, verdicts and enrolments, and a few leads in every other place. Times are so dense that the
-- limits of its account are just kept: three starts in a second, 250 lines at a million attempts.

insert into lead_list (name) values ('audited');

insert into campaign (name, definition)
select 'audited-' || n, jsonb_build_object(
    'account', 'audited', 'lead_lists', jsonb_build_array('audited'),
    'schedule', '{"time_zone": "Europe/Berlin", "windows": {"daily": "09:00-20:00"}}'::jsonb,
    'pacing', '{"calls_per_minute": 100}'::jsonb,
    'retry', '{"max_attempts": 2, "on": {"no_answer": {"after": "1d"}}}'::jsonb)
from generate_series(1, 4) n;

insert into campaign_list (campaign_id, lead_list_id, wanted, version, walked)
select campaign_id, lead_list_id, true, 1, true from campaign, lead_list;

insert into calling_group (evidence) values ('Europe/Berlin');
insert into stratum (campaign_id, calling_group_id, priority) select campaign_id, 1, 5 from campaign;

-- Leads are dialed by one campaign each. The last ten were not dialed by then.
insert into lead (lead_list_id, phone, time_zone)
select 1, '+4930' || lpad(i::text, 8, '0'), 'Europe/Berlin'
from generate_series(1, current_setting('audit.attempts')::integer * 4 / 5 + 10) i;
truncate lead_change;

create temporary table made as
with size as (
    select current_setting('audit.attempts')::integer as attempts, current_setting('audit.attempts')::integer * 4 / 5 as leads
), numbered as (
    select k, case when k < leads then k + 1 else k - leads + 1 end as lead_id, case when k < leads then 1 else 2 end as attempt_no,
        attempts / 5 as twice,
        timestamptz '2026-03-02 08:00Z' + (k / (attempts / 10)) * interval '1 day'
            + (k % (attempts / 10)) * least(18, 360000.0 / attempts) * interval '1 second' as intent_at
    from size, generate_series(0, attempts - 1) k
), judged as (
    select *, 1 + lead_id % 4 as campaign_id,
        case
            when attempt_no = 1 and lead_id <= twice then 'no_answer'
            when attempt_no = 1 and lead_id % 50 = 0 then 'not_placed'
            else (array['answered', 'voicemail', 'no_answer', 'busy', 'failed'])[1 + (lead_id / 4) % 5]
        end as outcome
    from numbered
)
select encode(
        int8send((campaign_id::bigint << 32) | ((lead_id::bigint >> 32) << 16) | 32768 | ((lead_id::bigint >> 20) & 4095))
        || int8send((-9223372036854775808) | ((lead_id::bigint & 1048575) << 42) | (attempt_no::bigint << 26)
            | (select number from installation)), 'hex')::uuid as attempt_id,
    *, '+4930' || lpad(lead_id::text, 8, '0') as phone
from judged;

insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch, intent_at,
    evidence, sent_at, ended_at, outcome, reason)
select attempt_id, campaign_id, lead_id, attempt_no, attempt_no - 1, phone, 'audited', '11', 1, intent_at,
    to_char(intent_at at time zone 'Europe/Berlin', 'Dy YYYY-MM-DD HH24:MI')
        || ' in Europe/Berlin, window 09:00-20:00, legal 09:00-20:00; tzdb 2025b',
    case when outcome <> 'not_placed' then intent_at + interval '0.2 seconds' end, intent_at + interval '90 seconds', outcome,
    'made up'
from made
order by intent_at;

insert into provider_call (account, provider_call_id, attempt_id, basis)
select 'audited', (1000000000 + k)::text, attempt_id, 'reply' from made where outcome <> 'not_placed';

insert into call_result (attempt_id, provider_call_id, match_basis, status, answered_by, duration_seconds, cost, transcript,
    extracted, recorded_at)
select attempt_id, (1000000000 + k)::text, 'reply', case when outcome = 'answered' then 'completed' else outcome end,
    case outcome when 'answered' then 'human' when 'voicemail' then 'machine' end,
    case when outcome in ('answered', 'voicemail') then 60 end, 0.05, '["hello"]', '{"booked": true}',
    intent_at + interval '90 seconds'
from made
where outcome <> 'not_placed';

insert into enrolment (campaign_id, phone, lead_id) select distinct campaign_id, phone, lead_id from made;

insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
select campaign_id, lead_id, case outcome when 'answered' then 'reached' else 'exhausted' end, 'made up', attempt_no + 1,
    attempt_no, intent_at + interval '90 seconds'
from made
where outcome <> 'not_placed' and (attempt_no = 2 or lead_id > twice);

insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
select campaign_id, 1, 5, intent_at + interval '90 seconds', lead_id, attempt_no + 1, attempt_no - 1, phone
from made
where outcome = 'not_placed';

-- The ten: one is placed, one held, one due, one suppressed; the rest are duplicates of the third. Every other campaign
-- has found them, and those above, to be somebody else's.
create temporary table late as
select l.lead_id, l.phone, l.lead_id - current_setting('audit.attempts')::integer * 4 / 5 as n, encode(
        int8send((1::bigint << 32) | ((l.lead_id >> 32) << 16) | 32768 | ((l.lead_id >> 20) & 4095))
        || int8send((-9223372036854775808) | ((l.lead_id & 1048575) << 42) | (1::bigint << 26)
            | (select number from installation)), 'hex')::uuid as attempt_id
from lead l
where l.lead_id > current_setting('audit.attempts')::integer * 4 / 5;

insert into enrolment (campaign_id, phone, lead_id) select 1, phone, lead_id from late where n <= 4;
insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch, intent_at,
    evidence, sent_at)
select attempt_id, 1, lead_id, 1, 0, phone, 'audited', '11', 1, timestamptz '2026-03-10 18:00Z' + n * interval '5 minutes',
    to_char(timestamp '2026-03-10 19:00' + n * interval '5 minutes', 'Dy YYYY-MM-DD HH24:MI')
        || ' in Europe/Berlin, window 09:00-20:00, legal 09:00-20:00; tzdb 2025b',
    timestamptz '2026-03-10 18:00:00.3Z' + n * interval '5 minutes'
from late
where n <= 2;
insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id, priority, tries,
    owner, epoch, state, intent_at, sent_at, deadline_at, poll_at, provider_call_id, reason)
select phone, attempt_id, 'audited', 1, lead_id, '11', 1, 5, 0, '00000000-0000-4000-8000-000000000001', 1,
    case n when 1 then 'placed' else 'held' end, timestamptz '2026-03-10 18:00Z' + n * interval '5 minutes',
    timestamptz '2026-03-10 18:00:00.3Z' + n * interval '5 minutes', '2026-03-10 19:00Z', '2026-03-10 19:00Z',
    case n when 1 then 'open-call' end, 'nobody knows'
from late
where n <= 2;
insert into provider_call (account, provider_call_id, attempt_id, basis)
select 'audited', 'open-call', attempt_id, 'reply' from late where n = 1;
insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
select 1, 1, 5, '2026-03-11 08:00Z', lead_id, 1, 0, phone from late where n = 3;
insert into suppression (phone, reason, created_at) select phone, 'asked us', '2026-03-05' from late where n = 4;
insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
select 1, lead_id, 'suppressed', 'asked us', 1, 0, '2026-03-05' from late where n = 4;
insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at, duplicate_of)
select 1, lead_id, 'duplicate', 'made up', 1, 0, '2026-03-05', (select lead_id from late where n = 3) from late where n > 4;
-- The list is dialed by the first campaign only from here on; what the others dialed of it stays theirs.
update campaign_list set wanted = campaign_id = 1;
insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
select 1, lead_id, 'removed', 'made up', 1, 0, '2026-03-02' from made where campaign_id <> 1 and attempt_no = 1;

insert into inbox (received_at, account, source, body) values ('2026-03-11 18:00Z', 'audited', 'webhook', '{}');
insert into inbox_pending (inbox_id, received_at, account, retry_at)
select inbox_id, received_at, account, received_at from inbox;
drop table made;
drop table late;
