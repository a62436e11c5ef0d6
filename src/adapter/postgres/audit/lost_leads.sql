-- Only of lists that are walked to their end, and leads without a change that is to be followed up: whoever is being
-- enrolled at this moment is one or the other.
with found as materialized (
    select w.campaign_id, l.lead_id
    from campaign c
    join campaign_list w on w.campaign_id = c.campaign_id and w.wanted and w.walked and w.version = c.version
    join lead l on l.lead_list_id = w.lead_list_id
    left join due d on d.campaign_id = w.campaign_id and d.lead_id = l.lead_id
    left join open_attempt o on o.campaign_id = w.campaign_id and o.lead_id = l.lead_id
    left join disposition v on v.campaign_id = w.campaign_id and v.lead_id = l.lead_id
    where c.state in ('draft', 'active', 'paused') and d.lead_id is null and o.lead_id is null and v.lead_id is null
        and not exists (select from lead_change x where x.lead_id = l.lead_id)
        -- Who was attempted is in numbers.sql.
        and not exists (
            select from enrolment e join attempt a on a.phone = e.phone and a.campaign_id = e.campaign_id
            where e.lead_id = l.lead_id and e.campaign_id = w.campaign_id and a.lead_id = l.lead_id
        )
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", null::text as "phone?",
    'in a list the campaign dials, and neither due nor open nor disposed' as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
