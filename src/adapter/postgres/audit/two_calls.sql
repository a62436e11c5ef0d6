with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('%s calls of account %s: %s and %s', c.calls, a.account, c.first, c.last) as detail
    from (
        select attempt_id, count(*) as calls, min(provider_call_id) as first, max(provider_call_id) as last
        from provider_call
        group by attempt_id
        having count(*) > 1
    ) c
    join attempt a on a.attempt_id = c.attempt_id
    where a.intent_at >= $3
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
