with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when a.outcome = 'answered' then 'ended as answered, and its result says a machine did'
            else format('ended as %s, and its call is known: it says %s', a.outcome,
                coalesce(r.contradicted_by, nullif(r.status, ''), 'that it was there'))
        end as detail
    from attempt a
    join call_result r on r.attempt_id = a.attempt_id
    where a.intent_at >= $3
        and ((a.outcome in ('not_placed', 'rejected') and r.contradicted_by is distinct from 'canceled')
            or (a.outcome = 'canceled'
                and r.contradicted_by in ('answered', 'voicemail', 'no_answer', 'busy', 'failed'))
            or (a.outcome = 'answered' and r.answered_by = 'machine' and r.contradicted_by is null))
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
