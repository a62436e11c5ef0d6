with twice as materialized (
    -- In the order of an index, of which nothing else is read.
    select distinct attempt_id
    from (
        select attempt_id, lag(attempt_id) over (order by attempt_id) as before from provider_call
    ) called
    where attempt_id = before
), found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('%s calls of account %s: %s and %s', c.calls, a.account, c.first, c.last) as detail
    from twice
    join attempt a on a.attempt_id = twice.attempt_id
    cross join lateral (
        select count(*) as calls, min(provider_call_id) as first, max(provider_call_id) as last
        from provider_call
        where attempt_id = twice.attempt_id
    ) c
    where a.intent_at >= $3
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
