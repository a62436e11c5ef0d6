-- Small: as many rows as attempts are open.
with found as materialized (
    select o.attempt_id, o.campaign_id, o.lead_id, o.phone,
        case
            when a.attempt_id is null then format('open (%s) without a row in attempt', o.state)
            when a.ended_at is not null then format('open (%s) although it ended as %s', o.state, a.outcome)
            else 'the open row names another campaign, lead, phone or account than the attempt'
        end as detail
    from open_attempt o
    left join attempt a on a.attempt_id = o.attempt_id
    where a.attempt_id is null or a.ended_at is not null
        or (a.campaign_id, a.lead_id, a.phone, a.account) <> (o.campaign_id, o.lead_id, o.phone, o.account)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
