-- Each attempt's forerunner has the number before it. Only who was called more than once has one, so the rest costs no
-- look-up.
with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when p.attempt_id is null then format('number %s, and there is no number %s', a.attempt_no, a.attempt_no - 1)
            else format('number %s has %s tries before it; number %s ended as %s with %s', a.attempt_no, a.tries,
                p.attempt_no, coalesce(p.outcome, 'nothing'), p.tries)
        end as detail
    from attempt a
    cross join (select number::bigint as installation from installation) i
    left join attempt p on p.attempt_id = attempt_id_of(i.installation, a.campaign_id, a.lead_id, a.attempt_no - 1)
    where a.intent_at >= $3 and a.attempt_no > 1
        -- What the database had lost and the provider's list gave back came without its tries.
        and 'found in the provider''s list' not in (a.evidence, coalesce(p.evidence, ''))
        -- Who is put back by hand begins with 0 tries again.
        and (p.outcome is null or a.tries not in (0, p.tries
            + (p.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))::integer))
    union all
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone, format('the first attempt, with %s tries before it', a.tries)
    from attempt a
    where a.intent_at >= $3 and a.attempt_no = 1 and a.tries <> 0
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
