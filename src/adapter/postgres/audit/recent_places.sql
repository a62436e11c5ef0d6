with pair as materialized (
    select distinct campaign_id, lead_id from attempt where intent_at >= $3
), found as materialized (
    select p.campaign_id, p.lead_id, (d.lead_id is not null)::integer + 2 * (o.lead_id is not null)::integer
            + 4 * (v.lead_id is not null)::integer as bits
    from pair p
    left join due d on d.campaign_id = p.campaign_id and d.lead_id = p.lead_id
    left join open_attempt o on o.campaign_id = p.campaign_id and o.lead_id = p.lead_id
    left join disposition v on v.campaign_id = p.campaign_id and v.lead_id = p.lead_id
    where (d.lead_id is not null)::integer + (o.lead_id is not null)::integer + (v.lead_id is not null)::integer <> 1
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", null::text as "phone?",
    case bits when 0 then 'attempted, and neither due nor open nor disposed' when 3 then 'due and open'
        when 5 then 'due and disposed' when 6 then 'open and disposed' else 'due, open and disposed' end as "detail!",
    count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
