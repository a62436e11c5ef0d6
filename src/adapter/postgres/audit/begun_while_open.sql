with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('begun %s, while attempt %s to the same phone is %s since %s', a.intent_at, o.attempt_id,
            replace(o.state, '_', ' '), o.intent_at) as detail
    from open_attempt o
    join attempt a on a.phone = o.phone and a.intent_at > o.intent_at
    where a.attempt_id <> o.attempt_id and (a.sent_at is not null or a.outcome is null)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
