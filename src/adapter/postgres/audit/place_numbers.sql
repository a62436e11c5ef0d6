-- Keys are put together as in identity.sql.
with place as (
    select campaign_id, lead_id, attempt_no, tries, 'due' as place from due
    union all
    select campaign_id, lead_id, attempt_no, tries, disposition from disposition
), found as materialized (
    select q.campaign_id, q.lead_id,
        case
            when x.attempt_id is not null then format('%s for number %s, which was made already', q.place, q.attempt_no)
            when q.attempt_no > 1 and p.attempt_id is null then
                format('%s for number %s, and there is no number %s', q.place, q.attempt_no, q.attempt_no - 1)
            else format('%s with %s tries; number %s began with %s and ended as %s', q.place, q.tries, q.attempt_no - 1,
                coalesce(p.tries, 0), coalesce(p.outcome, 'nothing'))
        end as detail
    from place q
    cross join (select number::bigint as installation from installation) i
    left join attempt p on q.attempt_no > 1 and p.attempt_id = encode(
        int8send((q.campaign_id << 32) | ((q.lead_id >> 32) << 16) | 32768 | ((q.lead_id >> 20) & 4095))
        || int8send((-9223372036854775808) | ((q.lead_id & 1048575) << 42) | ((q.attempt_no::bigint - 1) << 26)
            | i.installation), 'hex')::uuid
    left join attempt x on x.attempt_id = encode(
        int8send((q.campaign_id << 32) | ((q.lead_id >> 32) << 16) | 32768 | ((q.lead_id >> 20) & 4095))
        || int8send((-9223372036854775808) | ((q.lead_id & 1048575) << 42) | (q.attempt_no::bigint << 26)
            | i.installation), 'hex')::uuid
    where x.attempt_id is not null
        or case
            when q.attempt_no = 1 then q.tries <> 0
            when p.attempt_id is null then true
            -- An open one and a second place: places.sql tells.
            when p.outcome is null then false
            -- Who is put back by hand begins with 0 tries again.
            else q.tries not in (0, p.tries
                + (p.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer)
        end
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", null::text as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
