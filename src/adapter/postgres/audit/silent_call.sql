-- What no_result.sql says nothing of: outcomes that a refusal, too, could have, or a person.
with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('ended as %s, and call %s of account %s is bound to it', a.outcome, c.provider_call_id,
            c.account) as detail
    from attempt a
    join provider_call c on c.attempt_id = a.attempt_id
    left join call_result r on r.attempt_id = a.attempt_id
    where a.intent_at >= $3 and a.outcome in ('failed', 'canceled', 'rejected', 'not_placed') and r.attempt_id is null
        and (a.reason is null or a.reason not like 'settled by hand%')
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
