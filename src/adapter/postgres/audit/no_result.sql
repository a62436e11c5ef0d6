with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone, format('ended as %s, and no result is kept', a.outcome) as detail
    from attempt a
    left join call_result r on r.attempt_id = a.attempt_id
    where a.intent_at >= $3 and a.outcome in ('answered', 'voicemail', 'no_answer', 'busy') and r.attempt_id is null
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
