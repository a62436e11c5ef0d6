with entry as (
    -- The column's default is the database's own time; attempts live in civil time.
    select phone, campaign_id, expires_at,
        $4::timestamptz + (created_at - $5::timestamptz) * $6::double precision as known_at
    from suppression
), found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('sent %s, suppressed since %s', a.sent_at, s.known_at) as detail
    from entry s
    join attempt a on a.phone = s.phone and (s.campaign_id is null or s.campaign_id = a.campaign_id)
    where a.intent_at >= $3
        and a.sent_at > s.known_at + $7::interval
        and (s.expires_at is null or a.sent_at < s.expires_at)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
