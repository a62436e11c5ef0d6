with named as (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone, a.account, r.provider_call_id
    from attempt a
    join call_result r on r.attempt_id = a.attempt_id
    where a.intent_at >= $3 and r.provider_call_id is not null
    union all
    select o.attempt_id, o.campaign_id, o.lead_id, o.phone, o.account, o.provider_call_id
    from open_attempt o
    where o.provider_call_id is not null
), found as materialized (
    select n.*, format('call %s of account %s is bound to attempt %s', n.provider_call_id, n.account, c.attempt_id) as detail
    from named n
    join provider_call c on c.account = n.account and c.provider_call_id = n.provider_call_id
    where c.attempt_id <> n.attempt_id
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
