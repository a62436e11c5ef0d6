with found as materialized (
    select p.attempt_id, a.campaign_id, a.lead_id, a.phone,
        case
            when i.inbox_id is null then format('event %s of account %s is pending, and its text is gone', p.inbox_id,
                p.account)
            when p.attempt_id is not null and a.attempt_id is null then
                format('event %s of account %s waits for an attempt that does not exist', p.inbox_id, p.account)
            else format('event %s of account %s is pending since %s', p.inbox_id, p.account, p.received_at)
        end as detail, p.inbox_id
    from inbox_pending p
    left join inbox i on i.inbox_id = p.inbox_id and i.received_at = p.received_at
    left join attempt a on a.attempt_id = p.attempt_id
    where i.inbox_id is null or (p.attempt_id is not null and a.attempt_id is null) or p.received_at < $3
)
select attempt_id as "attempt_id?", campaign_id as "campaign_id?", lead_id as "lead_id?", phone as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by inbox_id
limit $2
