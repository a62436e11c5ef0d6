-- Each attempt's forerunner has the number before it; its key is put together as in identity.sql. Only who was called
-- more than once has one, so the rest costs no look-up.
with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when p.attempt_id is null then format('number %s, and there is no number %s', a.attempt_no, a.attempt_no - 1)
            else format('number %s has %s tries before it; number %s ended as %s with %s', a.attempt_no, a.tries,
                p.attempt_no, coalesce(p.outcome, 'nothing'), p.tries)
        end as detail
    from attempt a
    cross join (select number::bigint as installation from installation) i
    left join attempt p on p.attempt_id = encode(
        int8send((a.campaign_id << 32) | ((a.lead_id >> 32) << 16) | 32768 | ((a.lead_id >> 20) & 4095))
        || int8send((-9223372036854775808) | ((a.lead_id & 1048575) << 42) | ((a.attempt_no::bigint - 1) << 26)
            | i.installation), 'hex')::uuid
    where a.intent_at >= $3 and a.attempt_no > 1
        -- Who is put back by hand begins with 0 tries again.
        and (p.outcome is null or a.tries not in (0, p.tries
            + (p.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer))
    union all
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone, format('the first attempt, with %s tries before it', a.tries)
    from attempt a
    where a.intent_at >= $3 and a.attempt_no = 1 and a.tries <> 0
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
