with found as materialized (
    select c.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when a.attempt_id is null then format('call %s of account %s is bound to an attempt that does not exist',
                c.provider_call_id, c.account)
            else format('call %s of account %s is bound to an attempt of account %s', c.provider_call_id, c.account,
                a.account)
        end as detail
    from provider_call c
    left join attempt a on a.attempt_id = c.attempt_id
    where a.attempt_id is null or (a.account <> c.account and a.intent_at >= $3)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
