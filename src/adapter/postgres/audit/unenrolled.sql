with dialed as (
    select attempt_id, campaign_id, lead_id, phone, 'attempted' as what from attempt where intent_at >= $3
    union all
    -- The whole backlog is looked through only when everything is.
    select null, campaign_id, lead_id, phone, 'due' from due where $4::boolean
), found as materialized (
    select d.attempt_id, d.campaign_id, d.lead_id, d.phone,
        case
            when e.lead_id is null then format('%s, and its phone is not enrolled', d.what)
            else format('%s, and its phone is enrolled for lead %s', d.what, e.lead_id)
        end as detail
    from dialed d
    left join enrolment e on e.campaign_id = d.campaign_id and e.phone = d.phone
    where e.lead_id is distinct from d.lead_id
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
