-- A limit of n in a time is broken where a start comes sooner than that time after the n-th before it. Starts whose
-- moment is only that of the intent, because the process was killed, are left out.
with bound as (
    select *
    from unnest($4::text[], $5::bigint[], $6::text[], $7::interval[], $8::integer[], $9::text[]) with ordinality
        as b (account, campaign_id, span_name, span, starts_max, zone, bound_no)
), start as materialized (
    select attempt_id, campaign_id, lead_id, phone, account, sent_at as at
    from attempt
    where intent_at >= $3::timestamptz - interval '1 day' and sent_at > intent_at and sent_at >= $3
), counted as (
    select s.attempt_id, s.campaign_id, s.lead_id, s.phone, s.at, b.span_name, b.span, b.starts_max, b.zone,
        'account ' || b.account as whose,
        lag(s.at, b.starts_max) over (partition by b.bound_no order by s.at, s.attempt_id) as first_at
    from bound b
    join start s on s.account = b.account
    union all
    select s.attempt_id, s.campaign_id, s.lead_id, s.phone, s.at, b.span_name, b.span, b.starts_max, b.zone,
        'campaign ' || b.campaign_id as whose,
        lag(s.at, b.starts_max) over (partition by b.bound_no order by s.at, s.attempt_id) as first_at
    from bound b
    join start s on s.campaign_id = b.campaign_id
), found as materialized (
    select *, format('%s: start %s in %s, where %s are allowed, since %s', whose, starts_max + 1, span_name, starts_max,
            first_at) as detail
    from counted
    where case
        when zone is null then at - first_at < span - $10::interval
        else (at at time zone zone)::date = (first_at at time zone zone)::date
    end
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by at, attempt_id
limit $2
