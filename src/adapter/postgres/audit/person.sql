-- By the moment of sending, which is after the moment at which the gate counted: it counted at least as many as this.
with contact as materialized (
    select attempt_id, campaign_id, intent_at, sent_at, coalesce(sent_at, intent_at) as at,
        outcome is null or outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown') as rang, phone,
        -- Numbers are sorted many times faster than texts that begin alike.
        hashtextextended(phone, 0) as person
    from attempt
    where intent_at >= $3::timestamptz - $4::interval and (sent_at is not null or outcome is null
        or outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))
), again as materialized (
    -- Most are called once in this time, and once is never too often.
    select c.*
    from (select person from contact group by person having count(*) > 1 or $6::bigint < 1) several
    join contact c on c.person = several.person
), counted as (
    select *, count(*) filter (where rang) over (
            partition by person, phone, case when $5::text is not null then (at at time zone $5)::date end
            order by at
            range between '23:59:59.999999' preceding and '0.000001' preceding
        ) as earlier
    from again
), close as (
    -- A join of its own: within an `or`, each attempt would look through all the others.
    select x.attempt_id, x.sent_at
    from again x
    join again c on c.person = x.person and c.phone = x.phone
    where x.intent_at >= $3 and x.sent_at > x.intent_at and c.rang and c.campaign_id <> x.campaign_id
        and c.at > x.sent_at - $7::interval and c.at < x.sent_at
), found as materialized (
    select x.attempt_id, format('sent %s, after %s others in the day', x.sent_at, x.earlier) as detail
    from counted x
    where x.intent_at >= $3 and x.sent_at > x.intent_at and x.earlier >= $6
    union
    select x.attempt_id, format('sent %s, too soon after a call of another campaign', x.sent_at)
    from close x
), shown as (
    select *, count(*) over () as total from (select * from found limit $1) counted order by attempt_id limit $2
)
select a.attempt_id as "attempt_id?", a.campaign_id as "campaign_id?", a.lead_id as "lead_id?", a.phone as "phone?",
    s.detail as "detail!", s.total as "total!"
from shown s
join attempt a on a.attempt_id = s.attempt_id
order by s.attempt_id
