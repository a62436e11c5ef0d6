-- Of which there is no attempt: two indexes tell, and nothing else is read. Whether a call is its attempt's account's is
-- asked by attempts.sql.
with nowhere as materialized (
    select distinct attempt_id from provider_call c where not exists (select from attempt a where a.attempt_id = c.attempt_id)
), found as materialized (
    select c.attempt_id,
        format('call %s of account %s is bound to an attempt that does not exist', c.provider_call_id, c.account) as detail
    from nowhere
    join provider_call c on c.attempt_id = nowhere.attempt_id
)
select attempt_id as "attempt_id?", null::bigint as "campaign_id?", null::bigint as "lead_id?", null::text as "phone?",
    detail as "detail!", count(*) over () as "total!"
from (select * from found limit $1) counted
order by attempt_id
limit $2
