-- Two places are looked for pair by pair, which the smaller of both tables bounds; none at all by a lead's first attempt.
with found as materialized (
    select d.campaign_id, d.lead_id, 'due and disposed' as detail
    from due d
    join disposition v on v.campaign_id = d.campaign_id and v.lead_id = d.lead_id
    union all
    select o.campaign_id, o.lead_id, 'due and open'
    from open_attempt o
    join due d on d.campaign_id = o.campaign_id and d.lead_id = o.lead_id
    union all
    select o.campaign_id, o.lead_id, 'open and disposed'
    from open_attempt o
    join disposition v on v.campaign_id = o.campaign_id and v.lead_id = o.lead_id
    union all
    select a.campaign_id, a.lead_id, 'attempted, and neither due nor open nor disposed'
    from attempt a
    left join disposition v on v.campaign_id = a.campaign_id and v.lead_id = a.lead_id
    left join due d on d.campaign_id = a.campaign_id and d.lead_id = a.lead_id
    left join open_attempt o on o.campaign_id = a.campaign_id and o.lead_id = a.lead_id
    where a.attempt_no = 1 and v.lead_id is null and d.lead_id is null and o.lead_id is null
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", null::text as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
