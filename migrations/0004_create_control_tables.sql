-- Who dials, what is stopped, who must not be called.

create table account_lease (
    account text primary key,
    owner uuid not null,
    epoch bigint not null check (epoch > 0),
    expires_at timestamptz not null
);
comment on table account_lease is 'Who dials an account now. Times are the database''s own; the epoch grows when the lease changes hands and is in every intent.';

create table account_state (
    account text primary key,
    problem text,
    since timestamptz not null,
    next_check_at timestamptz
);
comment on table account_state is 'Why an account cannot place calls, as the provider says; written by the daemon, cleared by itself.';

create table assistant (
    account text not null,
    assistant_id text not null,
    name text not null,
    active boolean not null,
    status text not null,
    mode text,
    language_id bigint,
    webhook_url text,
    variables text[] not null default '{}',
    seen_at timestamptz not null,
    primary key (account, assistant_id)
);
comment on table assistant is 'The provider''s assistants as last read.';

create table stop_order (
    stop_order_id bigint generated always as identity primary key,
    account text,
    reason text not null,
    stopped_at timestamptz not null default now()
);
comment on table stop_order is 'Panic stops; a null account stops everything. In effect within a second, kept over restarts.';
create unique index stop_order_account on stop_order (coalesce(account, ''));

create table suppression (
    suppression_id bigint generated always as identity primary key,
    phone text not null check (phone ~ '^\+[1-9][0-9]{6,14}$'),
    campaign_id bigint,
    reason text not null check (length(reason) between 1 and 500),
    expires_at timestamptz,
    created_at timestamptz not null default now()
);
comment on table suppression is 'Do-not-call numbers: everywhere, or in one campaign. Looked up at the last moment.';
create unique index suppression_phone on suppression (phone, coalesce(campaign_id, 0));
create index suppression_expiry on suppression (expires_at) where expires_at is not null;

-- A suppression that ends makes the leads it disposed of due again: their change is noted in the same statement.
create function suppression_note_end() returns trigger language plpgsql as $$
begin
    insert into lead_change (lead_id)
    select distinct e.lead_id
    from gone g
    join enrolment e on e.phone = g.phone and (g.campaign_id is null or g.campaign_id = e.campaign_id)
    join disposition d on d.campaign_id = e.campaign_id and d.lead_id = e.lead_id and d.disposition = 'suppressed';
    return null;
end $$;
create index enrolment_phone on enrolment (phone);
create trigger suppression_note_delete after delete on suppression
    referencing old table as gone for each statement execute function suppression_note_end();
create trigger suppression_note_update after update on suppression
    referencing old table as gone for each statement execute function suppression_note_end();

create table civil_clock (
    civil_clock_id smallint primary key default 1 check (civil_clock_id = 1),
    civil_origin timestamptz not null,
    real_origin timestamptz not null,
    factor double precision not null check (factor > 0)
);
comment on table civil_clock is 'A scaled clock''s origin, so that a restart does not rewind it. Empty in production.';
