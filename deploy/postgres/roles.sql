-- Three roles with as few rights as their work needs, in a database that is outdial's alone (schema public):
--
--   outdial_owner   owns the tables and applies migrations: the URL of `outdial migrate`
--   outdial         the daemon and people's commands: the URL of everything else
--   outdial_report  reads what docs/sql.md describes, and nothing else
--
-- Run it as a superuser, before the first `outdial migrate` and after each; it may be repeated:
--
--   psql -v ON_ERROR_STOP=1 --single-transaction -d outdial -f deploy/postgres/roles.sql
--
-- The roles have no passwords until you give them some: \password outdial_owner, and so on.

do $$
begin
    if not exists (select from pg_roles where rolname = 'outdial_owner') then
        create role outdial_owner login;
    end if;
    if not exists (select from pg_roles where rolname = 'outdial') then
        create role outdial login;
    end if;
    if not exists (select from pg_roles where rolname = 'outdial_report') then
        create role outdial_report login;
    end if;
end $$;

-- The daemon makes and drops the days of the inbox, which only an owner may: it owns that table and its parts. So that
-- migrations may change them all the same, the owner is a member of the daemon's role; not the other way round.
grant outdial to outdial_owner;

-- A report must not keep dead rows alive for hours.
alter role outdial_report set default_transaction_read_only = on;
alter role outdial_report set statement_timeout = '5min';
alter role outdial_report set idle_in_transaction_session_timeout = '1min';

revoke create on schema public from public;
grant usage, create on schema public to outdial_owner;
-- create: for the days of the inbox. The daemon may thus make tables; it can neither change nor drop those of others.
grant usage, create on schema public to outdial;
grant usage on schema public to outdial_report;

do $$
declare
    thing record;
begin
    execute format('revoke connect, temporary on database %I from public', current_database());
    execute format('grant connect on database %I to outdial_owner, outdial, outdial_report', current_database());
    for thing in
        select c.oid::regclass as name, p.wanted
        from pg_class c
        left join pg_inherits i on i.inhrelid = c.oid
        cross join lateral (
            select case when c.oid = to_regclass('public.inbox') or i.inhparent = to_regclass('public.inbox')
                then 'outdial' else 'outdial_owner' end as wanted
        ) p
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
            and pg_get_userbyid(c.relowner) <> p.wanted
    loop
        execute format('alter table %s owner to %I', thing.name, thing.wanted);
    end loop;
    for thing in
        select p.oid::regprocedure as name from pg_proc p
        where p.pronamespace = 'public'::regnamespace and pg_get_userbyid(p.proowner) <> 'outdial_owner'
    loop
        execute format('alter function %s owner to outdial_owner', thing.name);
    end loop;
end $$;

-- Every table is written by a pass or a command; none is emptied, altered or dropped by one. The sequences: keys, and
-- skip_lost_keys(), which sets three of them onwards after a restore.
grant select, insert, update, delete on all tables in schema public to outdial;
grant usage, select, update on all sequences in schema public to outdial;
-- What a later migration adds.
alter default privileges for role outdial_owner in schema public
    grant select, insert, update, delete on tables to outdial;
alter default privileges for role outdial_owner in schema public grant usage, select, update on sequences to outdial;

-- Which migrations there are, and which database this is, the daemon only reads.
do $$
declare
    name text;
begin
    foreach name in array array['_sqlx_migrations', 'installation'] loop
        if to_regclass('public.' || name) is not null then
            execute format('revoke insert, update, delete on %I from outdial', name);
        end if;
    end loop;
    foreach name in array
        array['lead_list', 'lead', 'campaign', 'suppression', 'stop_order', 'campaign_progress', 'call_log', 'outgoing_event']
    loop
        if to_regclass('public.' || name) is not null then
            execute format('grant select on %I to outdial_report', name);
        end if;
    end loop;
end $$;
