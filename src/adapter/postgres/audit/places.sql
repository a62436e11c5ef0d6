-- Each place is a bit, an attempt is none of them: the sum says where a lead is that was ever attempted or is anywhere.
with place as (
    select campaign_id, lead_id, 1 as bit from due
    union all
    select campaign_id, lead_id, 2 from open_attempt
    union all
    select campaign_id, lead_id, 4 from disposition
    union all
    select campaign_id, lead_id, 0 from attempt
), found as materialized (
    select campaign_id, lead_id, sum(bit) as bits
    from place
    group by campaign_id, lead_id
    having sum(bit) not in (1, 2, 4)
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", null::text as "phone?",
    case bits when 0 then 'attempted, and neither due nor open nor disposed' when 3 then 'due and open'
        when 5 then 'due and disposed' when 6 then 'open and disposed' else 'due, open and disposed' end as "detail!",
    count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
