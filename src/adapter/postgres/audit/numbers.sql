-- How a lead's attempts and its place follow one another. First whose do not, by one join of everything with what follows
-- it; then, of these leads or of those that were attempted lately, what is wrong. In a sound world there is nothing left
-- for the second half.
with pair as materialized (
    -- Each attempt is followed by the next one or by the lead's place; each of these follows an attempt, or is the first.
    -- By the columns and not by keys: that the columns are the key's is a check of its own.
    select coalesce(p.campaign_id, n.campaign_id) as campaign_id, coalesce(p.lead_id, n.lead_id) as lead_id
    from (
        -- Without tries where they are wrong, or where the attempt goes on.
        select campaign_id, lead_id, attempt_no + 1 as attempt_no,
            case when attempt_no > 1 or tries = 0 then
                tries + (outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer
            end as tries
        from attempt
    ) p
    full join (
        select campaign_id, lead_id, attempt_no, tries from attempt where attempt_no > 1
        union all
        select campaign_id, lead_id, attempt_no, tries from due
        union all
        select campaign_id, lead_id, attempt_no, tries from disposition
    ) n on n.campaign_id = p.campaign_id and n.lead_id = p.lead_id and n.attempt_no = p.attempt_no
    where $4::boolean
        -- As a number, for of truths the planner takes half to be wrong, and would prepare for as many.
        and case
            when n.lead_id is null
                and (p.campaign_id, p.lead_id) in (select campaign_id, lead_id from open_attempt) then 0
            when n.lead_id is null then 1
            when p.lead_id is null then (n.attempt_no > 1 or n.tries <> 0)::integer
            else (p.tries is null or n.tries not in (0, p.tries))::integer
        end = 1
    union
    -- Two places are looked for pair by pair, which the smaller of both tables bounds.
    select d.campaign_id, d.lead_id
    from due d
    join disposition v on v.campaign_id = d.campaign_id and v.lead_id = d.lead_id
    where $4::boolean
    union
    select o.campaign_id, o.lead_id
    from open_attempt o
    join due d on d.campaign_id = o.campaign_id and d.lead_id = o.lead_id
    where $4::boolean
    union
    select o.campaign_id, o.lead_id
    from open_attempt o
    join disposition v on v.campaign_id = o.campaign_id and v.lead_id = o.lead_id
    where $4::boolean
    union
    select campaign_id, lead_id from attempt where intent_at >= $3 and not $4::boolean
), place as materialized (
    select d.campaign_id, d.lead_id, d.attempt_no, d.tries, 'due' as place
    from pair join due d on d.campaign_id = pair.campaign_id and d.lead_id = pair.lead_id
    union all
    select v.campaign_id, v.lead_id, v.attempt_no, v.tries, v.disposition
    from pair join disposition v on v.campaign_id = pair.campaign_id and v.lead_id = pair.lead_id
), whereabouts as (
    select p.campaign_id, p.lead_id, coalesce(bit_or(x.bit), 0) as bits
    from pair p
    left join (
        select campaign_id, lead_id, case place when 'due' then 1 else 4 end as bit from place
        union all
        select campaign_id, lead_id, 2 from open_attempt
    ) x on x.campaign_id = p.campaign_id and x.lead_id = p.lead_id
    group by p.campaign_id, p.lead_id
), found (check_name, attempt_id, campaign_id, lead_id, phone, detail) as (
    -- Each attempt's forerunner has the number before it.
    (select 'numbering', a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when a.attempt_no = 1 then format('the first attempt, with %s tries before it', a.tries)
            when p.attempt_id is null then format('number %s, and there is no number %s', a.attempt_no, a.attempt_no - 1)
            else format('number %s has %s tries before it; number %s ended as %s with %s', a.attempt_no, a.tries,
                p.attempt_no, coalesce(p.outcome, 'nothing'), p.tries)
        end
    from pair
    join attempt a on a.campaign_id = pair.campaign_id and a.lead_id = pair.lead_id
    cross join (select number::bigint as installation from installation) i
    left join attempt p on a.attempt_no > 1
        and p.attempt_id = attempt_id_of(i.installation, a.campaign_id, a.lead_id, a.attempt_no - 1)
    where a.intent_at >= $3
        and case
            when a.attempt_no = 1 then a.tries <> 0
            -- What the database had lost and the provider's list gave back came without its tries.
            when 'found in the provider''s list' in (a.evidence, coalesce(p.evidence, '')) then false
            -- Who is put back by hand begins with 0 tries again.
            else p.outcome is null or a.tries not in (0, p.tries
                + (p.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer)
        end
    limit $1)
    union all
    (select 'places', null, w.campaign_id, w.lead_id, null,
        case w.bits when 0 then 'attempted, and neither due nor open nor disposed' when 3 then 'due and open'
            when 5 then 'due and disposed' when 6 then 'open and disposed' else 'due, open and disposed' end
    from whereabouts w
    where w.bits not in (1, 2, 4)
    limit $1)
    union all
    (select 'place_numbers', null, q.campaign_id, q.lead_id, null,
        case
            when x.attempt_id is not null then format('%s for number %s, which was made already', q.place, q.attempt_no)
            when q.attempt_no > 1 and p.attempt_id is null then
                format('%s for number %s, and there is no number %s', q.place, q.attempt_no, q.attempt_no - 1)
            else format('%s with %s tries; number %s began with %s and ended as %s', q.place, q.tries, q.attempt_no - 1,
                coalesce(p.tries, 0), coalesce(p.outcome, 'nothing'))
        end
    from place q
    cross join (select number::bigint as installation from installation) i
    left join attempt p on q.attempt_no > 1
        and p.attempt_id = attempt_id_of(i.installation, q.campaign_id, q.lead_id, q.attempt_no - 1)
    left join attempt x on x.attempt_id = attempt_id_of(i.installation, q.campaign_id, q.lead_id, q.attempt_no)
    where x.attempt_id is not null
        or case
            when q.attempt_no = 1 then q.tries <> 0
            when p.attempt_id is null then true
            -- An open one and a second place: found above.
            when p.outcome is null then false
            -- What the database had lost and the provider's list gave back came without its tries.
            when p.evidence = 'found in the provider''s list' then false
            -- Who is put back by hand begins with 0 tries again.
            else q.tries not in (0, p.tries
                + (p.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer)
        end
    limit $1)
), counted as (
    select *, count(*) over (partition by check_name) as total,
        row_number() over (partition by check_name order by campaign_id, lead_id, attempt_id) as place
    from found
)
select check_name as "check_name!", attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?",
    phone as "phone?", detail as "detail!", total as "total!"
from counted
where place <= $2
order by check_name, place
