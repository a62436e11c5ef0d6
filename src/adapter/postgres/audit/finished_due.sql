with found as materialized (
    select d.campaign_id, d.lead_id, d.phone, format('due %s in a campaign that is finished', d.due_at) as detail
    from campaign c
    join due d on d.campaign_id = c.campaign_id
    where c.state = 'finished'
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
