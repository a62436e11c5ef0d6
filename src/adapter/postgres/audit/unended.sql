with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('begun %s, neither open nor ended', a.intent_at) as detail
    from attempt a
    where a.intent_at >= $3 and a.outcome is null
        and not exists (select from open_attempt o where o.attempt_id = a.attempt_id)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
