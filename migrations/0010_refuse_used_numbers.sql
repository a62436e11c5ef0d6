-- Two daemons may decide from what each has read that a lead becomes due. If the attempt of the first begins before the
-- second has written, nothing is in the second's way any more: it would make the lead due with the number of an attempt
-- that exists, which never begins. An insert that sees the tables as they were when it began cannot know; what comes after
-- it can.

create function attempt_id_of(installation bigint, campaign_id bigint, lead_id bigint, attempt_no bigint) returns uuid
language sql immutable parallel safe as $$
    select encode(
        int8send((campaign_id << 32) | ((lead_id >> 32) << 16) | 32768 | ((lead_id >> 20) & 4095))
        || int8send((-9223372036854775808) | ((lead_id & 1048575) << 42) | (attempt_no << 26) | installation), 'hex')::uuid
$$;
comment on function attempt_id_of(bigint, bigint, bigint, bigint) is
    'The id of an attempt, made of its installation''s number, campaign, lead and number.';

create function due_refuse_used_numbers() returns trigger language plpgsql as $$
begin
    with used as materialized (
        -- Row by row through the primary key, however many rows the planner expects.
        select e.campaign_id, e.lead_id, e.attempt_no
        from entered e
        cross join installation i
        where exists (
            select from attempt a
            where a.attempt_id = attempt_id_of(i.number, e.campaign_id, e.lead_id, e.attempt_no)
            offset 0
        )
    ), refused as (
        delete from due d
        using used u
        where d.campaign_id = u.campaign_id and d.lead_id = u.lead_id and d.attempt_no = u.attempt_no
        returning d.lead_id
    )
    -- Whatever was read of the lead is looked at again when its attempt is over.
    insert into lead_change (lead_id) select lead_id from refused;
    return null;
end $$;
comment on function due_refuse_used_numbers() is 'Takes out due rows whose attempt exists; their leads are looked at again.';
create trigger due_refuse_used_numbers after insert on due
    referencing new table as entered for each statement execute function due_refuse_used_numbers();
