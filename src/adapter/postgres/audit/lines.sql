-- How long a line was surely in use: to the attempt's end, but an attempt that was held in between had given its line
-- back, no sooner than the phone can ring and the call lasted.
with bound as (
    select *
    from unnest($4::text[], $5::bigint[], $6::integer[]) with ordinality as b (account, campaign_id, lines, bound_no)
), ringing as (
    select * from unnest($7::text[], $8::interval[]) as r (account, ring_max)
), used as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone, a.account, a.sent_at as from_at,
        least(a.ended_at,
            case when o.state <> 'held' then 'infinity'::timestamptz
            else greatest(a.intent_at + coalesce(g.ring_max, '0'), a.sent_at + r.duration_seconds * interval '1 second')
            end) - $9::interval as to_at
    from attempt a
    left join open_attempt o on o.attempt_id = a.attempt_id
    left join call_result r on r.attempt_id = a.attempt_id
    left join ringing g on g.account = a.account
    where a.intent_at >= $3::timestamptz - interval '1 day' and a.sent_at > a.intent_at and a.sent_at >= $3
), belongs as (
    select b.bound_no, b.lines, 'account ' || b.account as whose, u.*
    from bound b
    join used u on u.account = b.account
    where u.to_at > u.from_at
    union all
    select b.bound_no, b.lines, 'campaign ' || b.campaign_id as whose, u.*
    from bound b
    join used u on u.campaign_id = b.campaign_id
    where u.to_at > u.from_at
), step as (
    select bound_no, lines, whose, attempt_id, campaign_id, lead_id, phone, from_at as at, 1 as change from belongs
    union all
    select bound_no, lines, whose, attempt_id, campaign_id, lead_id, phone, to_at, -1 from belongs
), counted as (
    select *, sum(change) over (partition by bound_no order by at, change rows unbounded preceding) as busy
    from step
), found as materialized (
    select *, format('%s: line %s in use, where %s are allowed, at %s', whose, busy, lines, at) as detail
    from counted
    where change = 1 and busy > lines
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by at, attempt_id
limit $2
