-- By the columns and not by keys: one join of whole tables, and identity.sql sees that the columns are the key's.
with place as (
    select campaign_id, lead_id, attempt_no, tries, 'due' as place from due
    union all
    select campaign_id, lead_id, attempt_no, tries, disposition from disposition
), found as materialized (
    select q.campaign_id, q.lead_id,
        case
            when p.attempt_no >= q.attempt_no then format('%s for number %s, and number %s was made already', q.place,
                q.attempt_no, p.attempt_no)
            when q.attempt_no > 1 and p.attempt_id is null then
                format('%s for number %s, and there is no number %s', q.place, q.attempt_no, q.attempt_no - 1)
            else format('%s with %s tries; number %s began with %s and ended as %s', q.place, q.tries, q.attempt_no - 1,
                coalesce(p.tries, 0), coalesce(p.outcome, 'nothing'))
        end as detail
    from place q
    left join attempt p on p.campaign_id = q.campaign_id and p.lead_id = q.lead_id and p.attempt_no >= q.attempt_no - 1
    where case
        when p.attempt_no >= q.attempt_no then true
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
