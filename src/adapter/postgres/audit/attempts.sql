-- What an attempt's own row, its result and its calls tell of it: one pass for all of them, because each of these tables
-- takes longer to read than all that is asked of it.
with judged as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone, a.attempt_no, a.account, a.outcome, a.intent_at, a.sent_at,
        r.provider_call_id as result_of, r.status, r.contradicted_by, c.account as bound_account,
        c.provider_call_id as bound_call, is_wrong.*
    from attempt a
    cross join (select number::bigint as installation from installation) i
    left join call_result r on r.attempt_id = a.attempt_id
    left join provider_call c on c.attempt_id = a.attempt_id
    cross join lateral (
        select a.outcome is null as unended,
            -- The id packs campaign, lead, number and installation, see AttemptId: 16 bytes put together from two
            -- integers, which is much faster than any text.
            uuid_send(a.attempt_id) <>
                int8send((a.campaign_id << 32) | ((a.lead_id >> 32) << 16) | 32768 | ((a.lead_id >> 20) & 4095))
                || int8send((-9223372036854775808) | ((a.lead_id & 1048575) << 42) | (a.attempt_no::bigint << 26)
                    | i.installation) as identity,
            a.sent_at < a.intent_at
                or a.sent_at > a.intent_at + $4::interval
                -- A result may be faster than the answer to our own request, which brings the moment.
                or (a.sent_at is null and a.outcome in ('answered', 'voicemail', 'no_answer', 'busy')
                    and a.intent_at < $5) as sending,
            r.attempt_id is null and a.outcome in ('answered', 'voicemail', 'no_answer', 'busy') as no_result,
            -- What no_result says nothing of: outcomes that a refusal, too, could have, or a person.
            r.attempt_id is null and c.attempt_id is not null
                and a.outcome in ('failed', 'canceled', 'rejected', 'not_placed')
                and (a.reason is null or a.reason not like 'settled by hand%') as silent_call,
            r.attempt_id is not null
                and ((a.outcome in ('not_placed', 'rejected') and r.contradicted_by is distinct from 'canceled')
                    or (a.outcome = 'canceled'
                        and r.contradicted_by in ('answered', 'voicemail', 'no_answer', 'busy', 'failed'))
                    or (a.outcome = 'answered' and r.answered_by = 'machine' and r.contradicted_by is null))
                as contradiction,
            c.account <> a.account as unknown_call,
            -- A call is bound once: where it is bound to this attempt, it is bound to no other.
            r.provider_call_id is not null
                and (c.account, c.provider_call_id) is distinct from (a.account, r.provider_call_id) as elsewhere
    ) is_wrong
    where a.intent_at >= $3
        and (unended or identity or sending or no_result or silent_call or contradiction or unknown_call or elsewhere)
), named as (
    select attempt_id, campaign_id, lead_id, phone, account, result_of as provider_call_id from judged where elsewhere
    union all
    select attempt_id, campaign_id, lead_id, phone, account, provider_call_id
    from open_attempt
    where provider_call_id is not null
), found (check_name, attempt_id, campaign_id, lead_id, phone, detail) as (
    (select 'unended', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        format('begun %s, neither open nor ended', j.intent_at)
    from judged j
    where j.unended and not exists (select from open_attempt o where o.attempt_id = j.attempt_id)
    limit $1)
    union all
    (select 'identity', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        format('its id is not made of campaign %s, lead %s, number %s and this installation', j.campaign_id, j.lead_id,
            j.attempt_no)
    from judged j where j.identity
    limit $1)
    union all
    (select 'sending', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        case
            when j.sent_at is null then format('ended as %s, and nobody noted when it was sent', j.outcome)
            else format('intended %s, sent %s', j.intent_at, j.sent_at)
        end
    from judged j where j.sending
    limit $1)
    union all
    (select 'no_result', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        format('ended as %s, and no result is kept', j.outcome)
    from judged j where j.no_result
    limit $1)
    union all
    (select 'silent_call', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        format('ended as %s, and call %s of account %s is bound to it', j.outcome, j.bound_call, j.bound_account)
    from judged j where j.silent_call
    limit $1)
    union all
    (select 'contradiction', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        case
            when j.outcome = 'answered' then 'ended as answered, and its result says a machine did'
            else format('ended as %s, and its call is known: it says %s', j.outcome,
                coalesce(j.contradicted_by, nullif(j.status, ''), 'that it was there'))
        end
    from judged j where j.contradiction
    limit $1)
    union all
    (select 'unknown_call', j.attempt_id, j.campaign_id, j.lead_id, j.phone,
        format('call %s of account %s is bound to an attempt of account %s', j.bound_call, j.bound_account, j.account)
    from judged j where j.unknown_call
    limit $1)
    union all
    (select 'foreign_call', n.attempt_id, n.campaign_id, n.lead_id, n.phone,
        format('call %s of account %s is bound to attempt %s', n.provider_call_id, n.account, c.attempt_id)
    from named n
    join provider_call c on c.account = n.account and c.provider_call_id = n.provider_call_id
    where c.attempt_id <> n.attempt_id
    limit $1)
), counted as (
    -- An attempt with two calls is there twice.
    select *, count(*) over (partition by check_name) as total,
        row_number() over (partition by check_name order by attempt_id) as place
    from (select distinct * from found) found
)
select check_name as "check_name!", attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?",
    phone as "phone?", detail as "detail!", total as "total!"
from counted
where place <= $2
order by check_name, place
