with found as materialized (
    select r.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case when a.attempt_id is null then 'a result, and no such attempt' else 'a result, and it has not ended' end as detail
    from call_result r
    left join attempt a on a.attempt_id = r.attempt_id
    where r.recorded_at >= $3 and (a.attempt_id is null or a.ended_at is null)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
