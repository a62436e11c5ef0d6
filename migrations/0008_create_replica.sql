-- Several daemons on one database: who is alive, and whether the database still knows what it once acknowledged.

create table replica (
    owner uuid primary key,
    name text not null check (length(name) <= 200),
    accounts text[] not null,
    beat_no bigint not null check (beat_no > 0),
    beat_at timestamptz not null,
    civil_at timestamptz not null
);
comment on table replica is 'Daemons and their last signs of life. Each beat has a number: a database without a beat it has acknowledged went back in time.';
comment on column replica.owner is 'Random for each start of a daemon.';
comment on column replica.accounts is 'The accounts of its configuration. Replicas with the same ones share them evenly.';
comment on column replica.beat_at is 'By the database''s own clock.';
comment on column replica.civil_at is 'The same moment by the daemon''s clock, which campaigns follow.';

-- A standby that is promoted, and a backup that is restored, begin another timeline; a dump is read into another system.
create function current_line() returns text language plpgsql stable as $$
begin
    return (select system_identifier from pg_control_system()) || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
exception when others then
    -- Servers that are only like Postgres do not tell. Beats still do.
    return null;
end $$;
comment on function current_line() is 'Which history of which server this is; null where the server does not tell.';

create table database_line (
    database_line_id smallint primary key default 1 check (database_line_id = 1),
    line text,
    since timestamptz not null default now()
);
comment on table database_line is 'The history that daemons have dialed on. On another one no intent is written before the provider''s calls were compared.';
insert into database_line (line) select current_line();

create table reconciliation (
    account text primary key,
    since timestamptz not null,
    noted_at timestamptz not null,
    reason text not null
);
comment on table reconciliation is 'Accounts that do not dial because attempts may be missing, until the provider''s calls were compared.';
comment on column reconciliation.since is 'Civil time; what happened before it is known.';
comment on column reconciliation.noted_at is 'Civil time; what happened after it is known.';

-- What was lost may have used keys that are free again, and tokens at the provider hold such keys.
create function skip_lost_keys() returns bigint language sql as $$
    select setval(lead, nextval(lead) + 1000000) + setval(campaign, nextval(campaign) + 1000)
    from pg_get_serial_sequence('lead', 'lead_id') as lead, pg_get_serial_sequence('campaign', 'campaign_id') as campaign
$$;
comment on function skip_lost_keys() is 'Leaves out keys that rows of a lost history may have had.';
