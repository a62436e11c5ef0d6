-- Readers of open attempts begin where the live ones do, not at rows that died while somebody held a snapshot.

alter table open_attempt add column open_no bigint generated always as identity;
comment on column open_attempt.open_no is 'Grows with each attempt that opens: readers know which are left of those below a number and read the others from there.';
-- The number never changes, so updates stay heap-only. Without the account, or joins would find their way to all of an
-- account's dead entries by it.
create index open_attempt_no on open_attempt (open_no);

-- Tables that grow for years: vacuum after a twentieth of new rows, not a fifth, keeps their visibility maps, and a fiftieth
-- of dead ones stays few.
alter table attempt set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table call_result set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table provider_call set (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table disposition set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table enrolment set (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

-- All calls of an attempt, for when it is forgotten; an attempt's calls never change.
create index provider_call_attempt on provider_call (attempt_id);

-- Numbers of a lost history are not used again either: readers remember where they were.
create or replace function skip_lost_keys() returns bigint language sql as $$
    select setval(lead, nextval(lead) + 1000000) + setval(campaign, nextval(campaign) + 1000)
        + setval(open_no, nextval(open_no) + 1000000)
    from pg_get_serial_sequence('lead', 'lead_id') as lead, pg_get_serial_sequence('campaign', 'campaign_id') as campaign,
        pg_get_serial_sequence('open_attempt', 'open_no') as open_no
$$;

-- Without the event's id: with it, a planner whose statistics come from an empty moment took this index for the primary key
-- and walked all of it for one event.
drop index inbox_pending_account;
create index inbox_pending_account on inbox_pending (account, retry_at);
