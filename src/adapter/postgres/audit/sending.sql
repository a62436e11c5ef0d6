with found as materialized (
    select a.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when a.sent_at is null then format('ended as %s, and nobody noted when it was sent', a.outcome)
            else format('intended %s, sent %s', a.intent_at, a.sent_at)
        end as detail
    from attempt a
    where a.intent_at >= $3
        and (a.sent_at < a.intent_at
            or a.sent_at > a.intent_at + $4::interval
            -- A result may be faster than the answer to our own request, which brings the moment.
            or (a.sent_at is null and a.outcome in ('answered', 'voicemail', 'no_answer', 'busy')
                and a.intent_at < $5))
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
