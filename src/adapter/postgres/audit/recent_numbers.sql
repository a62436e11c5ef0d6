-- As place_numbers.sql, of leads that were attempted lately.
with pair as materialized (
    select distinct campaign_id, lead_id from attempt where intent_at >= $3
), place as (
    select d.campaign_id, d.lead_id, d.attempt_no, d.tries, 'due' as place
    from pair join due d on d.campaign_id = pair.campaign_id and d.lead_id = pair.lead_id
    union all
    select v.campaign_id, v.lead_id, v.attempt_no, v.tries, v.disposition
    from pair join disposition v on v.campaign_id = pair.campaign_id and v.lead_id = pair.lead_id
), found as materialized (
    select q.campaign_id, q.lead_id,
        case
            when x.attempt_id is not null then format('%s for number %s, which was made already', q.place, q.attempt_no)
            when q.attempt_no > 1 and p.attempt_id is null then
                format('%s for number %s, and there is no number %s', q.place, q.attempt_no, q.attempt_no - 1)
            else format('%s with %s tries; number %s began with %s and ended as %s', q.place, q.tries, q.attempt_no - 1,
                coalesce(p.tries, 0), coalesce(p.outcome, 'nothing'))
        end as detail
    from place q
    cross join (select number::bigint as installation from installation) i
    left join attempt p on q.attempt_no > 1 and p.attempt_id = attempt_id_of(i.installation, q.campaign_id, q.lead_id, q.attempt_no - 1)
    left join attempt x on x.attempt_id = attempt_id_of(i.installation, q.campaign_id, q.lead_id, q.attempt_no)
    where x.attempt_id is not null
        or case
            when q.attempt_no = 1 then q.tries <> 0
            when p.attempt_id is null then true
            -- An open one and a second place: places.sql tells.
            when p.outcome is null then false
            -- What the database had lost and the provider's list gave back came without its tries.
            when p.evidence = 'found in the provider''s list' then false
            -- Who is put back by hand begins with 0 tries again.
            else q.tries not in (0, p.tries
                + (p.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer)
        end
)
select null::uuid as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", null::text as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by campaign_id, lead_id
limit $2
