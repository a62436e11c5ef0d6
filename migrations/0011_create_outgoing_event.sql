-- Facts that a campaign's owner wants to be told of, by HTTP. They are written by triggers, so that whatever makes a fact,
-- the daemon or a user's own SQL, tells of it in the same statement. Where no campaign asks, a look into an empty table for
-- each statement is all it costs, which was not measurable; a trigger for each row doubled the time of ending an attempt.

create table campaign_notice (
    campaign_id bigint primary key references campaign (campaign_id) on delete cascade,
    account text,
    webhook text not null,
    events text[] not null
);
comment on table campaign_notice is 'What campaigns want told, and to which webhook of the configuration: their definition''s section notify, kept by a trigger.';

create table outgoing_event (
    outgoing_event_id bigint generated always as identity primary key,
    event_id uuid not null default gen_random_uuid(),
    campaign_id bigint not null,
    webhook text not null,
    kind text not null check (kind in ('attempt_finished', 'lead_disposed', 'campaign_finished', 'account_stopped')),
    lead_id bigint,
    attempt_id uuid,
    detail jsonb not null default '{}' check (jsonb_typeof(detail) = 'object'),
    happened_at timestamptz not null,
    created_at timestamptz not null default now(),
    sendings integer not null default 0 check (sendings >= 0),
    retry_at timestamptz default now(),
    delivered_at timestamptz,
    given_up_at timestamptz,
    problem text,
    constraint retry_at_iff_under_way check ((retry_at is not null) = (delivered_at is null and given_up_at is null)),
    constraint delivered_or_given_up check (delivered_at is null or given_up_at is null)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
comment on table outgoing_event is 'Facts to be told, with how far that has come. Delivered rows go after a week, those given up after a month.';
comment on column outgoing_event.event_id is 'Goes along with each sending, so that a receiver knows one it has already had.';
comment on column outgoing_event.detail is 'What the tables may not tell any more when the event is sent; nothing personal.';
comment on column outgoing_event.happened_at is 'Civil time, as campaigns know it; the other times are real.';
comment on column outgoing_event.sendings is 'How often it was sent, or was about to be.';
comment on column outgoing_event.retry_at is 'Not sent before this. A daemon that sends it puts it off until it must have come to an end, so that another one takes over what a lost one had.';
comment on column outgoing_event.given_up_at is 'Since when nobody tries any more; problem says why.';
create index outgoing_event_waiting on outgoing_event (webhook, retry_at, outgoing_event_id) where retry_at is not null;
create index outgoing_event_done on outgoing_event (created_at) where retry_at is null;
create index outgoing_event_given_up on outgoing_event (webhook, given_up_at) where given_up_at is not null;

-- A definition may be anything: an invalid one is told of elsewhere and must not fail here.
create function campaign_keep_notice() returns trigger language plpgsql as $$
declare
    wish jsonb := new.definition -> 'notify';
begin
    if jsonb_typeof(wish -> 'webhook') is distinct from 'string' then
        delete from campaign_notice where campaign_id = new.campaign_id;
        return null;
    end if;
    insert into campaign_notice as n (campaign_id, account, webhook, events)
    values (
        new.campaign_id,
        new.definition ->> 'account',
        wish ->> 'webhook',
        case jsonb_typeof(wish -> 'events')
            when 'array' then array(select jsonb_array_elements_text(wish -> 'events'))
            else array['attempt_finished', 'lead_disposed', 'campaign_finished', 'account_stopped']
        end
    )
    on conflict (campaign_id) do update set
        account = excluded.account, webhook = excluded.webhook, events = excluded.events
        where (n.account, n.webhook, n.events) is distinct from (excluded.account, excluded.webhook, excluded.events);
    return null;
end $$;
create trigger campaign_keep_notice after insert or update of definition on campaign
    for each row execute function campaign_keep_notice();

create function attempt_tell_end() returns trigger language plpgsql as $$
begin
    if exists (select from campaign_notice) then
        insert into outgoing_event (campaign_id, webhook, kind, lead_id, attempt_id, happened_at)
        select n.campaign_id, n.webhook, 'attempt_finished', c.lead_id, c.attempt_id, c.ended_at
        from changed c
        join was w on w.attempt_id = c.attempt_id
        join campaign_notice n on n.campaign_id = c.campaign_id
        where w.outcome is null and c.outcome is not null and 'attempt_finished' = any(n.events)
        order by c.attempt_id;
    end if;
    return null;
end $$;
create trigger attempt_tell_end after update on attempt
    referencing old table as was new table as changed for each statement execute function attempt_tell_end();

-- What a restored database had lost may be written down ended.
create function attempt_tell_found() returns trigger language plpgsql as $$
begin
    insert into outgoing_event (campaign_id, webhook, kind, lead_id, attempt_id, happened_at)
    select n.campaign_id, n.webhook, 'attempt_finished', new.lead_id, new.attempt_id, new.ended_at
    from campaign_notice n
    where n.campaign_id = new.campaign_id and 'attempt_finished' = any(n.events);
    return null;
end $$;
create trigger attempt_tell_found after insert on attempt
    for each row when (new.outcome is not null) execute function attempt_tell_found();

create function disposition_tell_insert() returns trigger language plpgsql as $$
begin
    if exists (select from campaign_notice) then
        insert into outgoing_event (campaign_id, webhook, kind, lead_id, detail, happened_at)
        select n.campaign_id, n.webhook, 'lead_disposed', c.lead_id,
            jsonb_build_object('disposition', c.disposition, 'reason', c.reason, 'attempt_no', c.attempt_no,
                'tries', c.tries),
            c.disposed_at
        from changed c
        join campaign_notice n on n.campaign_id = c.campaign_id
        where 'lead_disposed' = any(n.events)
        order by c.campaign_id, c.lead_id;
    end if;
    return null;
end $$;
create function disposition_tell_update() returns trigger language plpgsql as $$
begin
    if exists (select from campaign_notice) then
        insert into outgoing_event (campaign_id, webhook, kind, lead_id, detail, happened_at)
        select n.campaign_id, n.webhook, 'lead_disposed', c.lead_id,
            jsonb_build_object('disposition', c.disposition, 'reason', c.reason, 'attempt_no', c.attempt_no,
                'tries', c.tries),
            c.disposed_at
        from changed c
        join was w on w.campaign_id = c.campaign_id and w.lead_id = c.lead_id
        join campaign_notice n on n.campaign_id = c.campaign_id
        where w.disposition <> c.disposition and 'lead_disposed' = any(n.events)
        order by c.campaign_id, c.lead_id;
    end if;
    return null;
end $$;
create trigger disposition_tell_insert after insert on disposition
    referencing new table as changed for each statement execute function disposition_tell_insert();
create trigger disposition_tell_update after update on disposition
    referencing old table as was new table as changed for each statement execute function disposition_tell_update();

create function campaign_tell_end() returns trigger language plpgsql as $$
begin
    insert into outgoing_event (campaign_id, webhook, kind, happened_at)
    select n.campaign_id, n.webhook, 'campaign_finished', new.finished_at
    from campaign_notice n
    where n.campaign_id = new.campaign_id and 'campaign_finished' = any(n.events);
    return null;
end $$;
create trigger campaign_tell_end after update of state on campaign
    for each row when (new.state = 'finished' and old.state <> 'finished') execute function campaign_tell_end();

-- Told to each campaign of the account that may still dial.
create function tell_account_stopped(stopped text, cause text, why text, moment timestamptz) returns void language sql as $$
    insert into outgoing_event (campaign_id, webhook, kind, detail, happened_at)
    select n.campaign_id, n.webhook, 'account_stopped',
        jsonb_build_object('account', n.account, 'cause', cause, 'reason', why), moment
    from campaign_notice n
    join campaign c on c.campaign_id = n.campaign_id and c.state in ('draft', 'active', 'paused')
    where (stopped is null or n.account = stopped) and 'account_stopped' = any(n.events)
    order by n.campaign_id
$$;
create function account_state_tell() returns trigger language plpgsql as $$
begin
    perform tell_account_stopped(new.account, 'problem', new.problem, new.since);
    return null;
end $$;
create trigger account_state_tell_insert after insert on account_state
    for each row when (new.problem is not null) execute function account_state_tell();
create trigger account_state_tell_update after update on account_state
    for each row when (new.problem is not null and old.problem is null) execute function account_state_tell();
create function stop_order_tell() returns trigger language plpgsql as $$
begin
    perform tell_account_stopped(new.account, 'order', new.reason, new.stopped_at);
    return null;
end $$;
create trigger stop_order_tell after insert on stop_order for each row execute function stop_order_tell();
