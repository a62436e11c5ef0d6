with intent as materialized (
    select *
    from unnest($5::uuid[], $6::bigint[], $7::integer[], $8::smallint[], $9::timestamptz[], $10::bigint[],
            $11::integer[], $12::integer[], $13::text[], $14::bigint[], $15::bigint[], $16::text[],
            $17::timestamptz[], $18::text[], $19::text[])
        with ordinality
        as i (attempt_id, campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone,
            campaign_version, lead_version, assistant_id, deadline_at, newest_call_known, evidence, position)
), lease as materialized (
    -- Held to the end of the statement: who takes the account over waits for us, and then sees what we wrote.
    select 1
    from account_lease
    where account = $1 and owner = $2 and epoch = $3 and expires_at > clock_timestamp()
    for share
), claimed as materialized (
    select i.*
    from intent i
    join due d on d.campaign_id = i.campaign_id and d.calling_group_id = i.calling_group_id
        and d.priority = i.priority and d.due_at = i.due_at and d.lead_id = i.lead_id
        and d.attempt_no = i.attempt_no and d.tries = i.tries and d.phone = i.phone
    where exists (select from lease)
        and not exists (select from stop_order where account is null or account = $1)
        -- A call that was lost may ring the very person: no other account dials until it is known, or over.
        and not exists (select from reconciliation where (account = $1 and not given_up) or calls_over_at > $4)
        -- On a history nobody has looked at, or without what was acknowledged last, intents may be missing.
        and not exists (select from database_line where line <> current_line())
        and ($20::uuid is null or exists (select from attempt where attempt_id = $20))
        and exists (
            select from campaign c
            where c.campaign_id = i.campaign_id and c.state = 'active' and c.version = i.campaign_version
        )
        and exists (select from lead l where l.lead_id = i.lead_id and l.version = i.lead_version)
        -- The version may be the newest while the due row still holds the lead's old phone, group or priority.
        and not exists (select from lead_change x where x.lead_id = i.lead_id)
        -- Numbers are never reused. Left out here, such a row cannot harm the others.
        and not exists (select from attempt a where a.attempt_id = i.attempt_id)
    order by d.campaign_id, d.calling_group_id, d.priority, d.due_at, d.lead_id
    for update of d skip locked
), opened as (
    -- The person mutex. In the order of phones, so that replicas which want the same persons never deadlock; of two
    -- leads with one phone the first in the batch gets in.
    insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id,
        priority, tries, owner, epoch, state, intent_at, deadline_at, poll_at, newest_call_known)
    select phone, attempt_id, $1, campaign_id, lead_id, assistant_id, calling_group_id,
        priority, tries, $2, $3, 'dialing', $4, deadline_at, deadline_at, newest_call_known
    from claimed
    order by phone, position
    on conflict do nothing
    returning attempt_id, campaign_id, lead_id
), taken as (
    delete from due d
    using opened o
    where d.campaign_id = o.campaign_id and d.lead_id = o.lead_id
)
insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch, intent_at,
    evidence)
select c.attempt_id, c.campaign_id, c.lead_id, c.attempt_no, c.tries, c.phone, $1, c.assistant_id, $3, $4, c.evidence
from claimed c
join opened using (attempt_id)
order by c.attempt_id
returning attempt_id
