-- By the moment of sending, which is after the moment at which the gate counted: it counted at least as many as this.
with contact as materialized (
    select attempt_id, campaign_id, lead_id, phone, intent_at, sent_at, coalesce(sent_at, intent_at) as at,
        outcome is null or outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown') as rang
    from attempt
    where intent_at >= $3::timestamptz - $4::interval and (sent_at is not null or outcome is null
        or outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))
), counted as (
    select *, count(*) filter (where rang) over (
            partition by phone, case when $5::text is not null then (at at time zone $5)::date end
            order by at
            range between '23:59:59.999999' preceding and '0.000001' preceding
        ) as earlier
    from contact
), close as (
    -- A join of its own: within an `or`, each attempt would look through all the others.
    select x.attempt_id, x.campaign_id, x.lead_id, x.phone, x.sent_at
    from contact x
    join contact c on c.phone = x.phone
    where x.intent_at >= $3 and x.sent_at > x.intent_at and c.rang and c.campaign_id <> x.campaign_id
        and c.at > x.sent_at - $7::interval and c.at < x.sent_at
), found as materialized (
    select x.attempt_id, x.campaign_id, x.lead_id, x.phone,
        format('sent %s, after %s others in the day', x.sent_at, x.earlier) as detail
    from counted x
    where x.intent_at >= $3 and x.sent_at > x.intent_at and x.earlier >= $6
    union
    select x.attempt_id, x.campaign_id, x.lead_id, x.phone,
        format('sent %s, too soon after a call of another campaign', x.sent_at) as detail
    from close x
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
