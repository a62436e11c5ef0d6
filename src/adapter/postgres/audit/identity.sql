-- The id packs campaign, lead, number and installation, see AttemptId: 16 bytes put together from two integers, which is
-- much faster than any text.
with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        format('its id is not made of campaign %s, lead %s, number %s and this installation', a.campaign_id, a.lead_id,
            a.attempt_no) as detail
    from attempt a
    cross join (select number::bigint as installation from installation) i
    where a.intent_at >= $3
        and uuid_send(a.attempt_id) <>
            int8send((a.campaign_id << 32) | ((a.lead_id >> 32) << 16) | 32768 | ((a.lead_id >> 20) & 4095))
            || int8send((-9223372036854775808) | ((a.lead_id & 1048575) << 42) | (a.attempt_no::bigint << 26)
                | i.installation)
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
