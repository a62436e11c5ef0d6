with attempted as (
    select attempt_id, intent_at, hashtextextended(phone, 0) as person,
        -- Until when the phone may have rung for it. What is open is judged by begun_while_open.sql.
        -- When one ended that the database had lost is known from its result only.
        case
            when outcome = 'unknown' and evidence = 'found in the provider''s list' then null
            when outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown') then ended_at
        end as until,
        -- Noted as the intent's own moment, because whoever sent it was killed, it may have left a little later.
        case when sent_at > intent_at then sent_at else intent_at + $5::interval end as left_at
    from attempt
    where intent_at >= $3::timestamptz - $4::interval
        and (sent_at is not null or outcome is null
            or outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))
), followed as (
    -- Numbers are sorted many times faster than texts that begin alike.
    select attempt_id, intent_at, left_at, max(until) over (
            partition by person order by intent_at, attempt_id rows between unbounded preceding and 1 preceding
        ) as before_until
    from attempted
), found as materialized (
    select a.campaign_id, a.lead_id, a.phone, f.*
    from followed f
    join attempt a on a.attempt_id = f.attempt_id
    where f.intent_at >= $3 and f.before_until > f.left_at + $6::interval
), shown as (
    select *, count(*) over () as total from (select * from found limit $1) counted order by attempt_id limit $2
)
select s.attempt_id as "attempt_id?", s.campaign_id as "campaign_id?", s.lead_id as "lead_id?", s.phone as "phone?",
    format('left %s, while attempt %s to the same phone lasted until %s', s.left_at, p.attempt_id, s.before_until)
        as "detail!", s.total as "total!"
from shown s
left join lateral (
    select p.attempt_id from attempt p
    where p.phone = s.phone and p.intent_at <= s.intent_at and p.ended_at = s.before_until and p.attempt_id <> s.attempt_id
    limit 1
) p on true
order by s.attempt_id
