-- A limit of n in a time is broken where a start comes sooner than that time after the n-th before it. Starts whose
-- moment is only that of the intent, because the process was killed, are left out.
with bound as materialized (
    select *
    from unnest($4::text[], $5::bigint[], $6::text[], $7::interval[], $8::integer[], $9::text[])
        as b (account, campaign_id, span_name, span, starts_max, zone)
), start as materialized (
    -- Sorted once: each limit finds them in their order.
    select attempt_id, campaign_id, account, sent_at as at
    from attempt
    where intent_at >= $3::timestamptz - interval '1 day' and sent_at > intent_at and sent_at >= $3
    order by sent_at, attempt_id
), found as materialized (
    select s.attempt_id, s.at,
        format('%s: start %s in %s, where %s are allowed, since %s',
            coalesce('account ' || b.account, 'campaign ' || b.campaign_id), b.starts_max + 1, b.span_name, b.starts_max,
            s.first_at) as detail
    from bound b
    cross join lateral (
        select attempt_id, at, lag(at, b.starts_max) over (order by at, attempt_id) as first_at
        from start
        where account = b.account or campaign_id = b.campaign_id
    ) s
    where case
        when b.zone is null then s.at - s.first_at < b.span - $10::interval
        else (s.at at time zone b.zone)::date = (s.first_at at time zone b.zone)::date
    end
), shown as (
    select *, count(*) over () as total from (select * from found limit $1) counted order by at, attempt_id limit $2
)
select a.attempt_id as "attempt_id?", a.campaign_id as "campaign_id?", a.lead_id as "lead_id?", a.phone as "phone?",
    s.detail as "detail!", s.total as "total!"
from shown s
join attempt a on a.attempt_id = s.attempt_id
order by s.at, s.attempt_id
