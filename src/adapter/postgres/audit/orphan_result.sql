-- Of everything, two indexes tell which results have no attempt, and few attempts have not ended. Of what came lately, each
-- is looked up.
with candidate as materialized (
    select attempt_id from call_result r
    where $4::boolean and not exists (select from attempt a where a.attempt_id = r.attempt_id)
    union all
    select attempt_id from attempt where $4::boolean and ended_at is null
    union all
    select attempt_id from call_result where not $4::boolean and recorded_at >= $3
), found as materialized (
    select r.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case when a.attempt_id is null then 'a result, and no such attempt' else 'a result, and it has not ended' end as detail
    from candidate
    join call_result r on r.attempt_id = candidate.attempt_id
    left join attempt a on a.attempt_id = candidate.attempt_id
    where r.recorded_at >= $3 and a.ended_at is null
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
