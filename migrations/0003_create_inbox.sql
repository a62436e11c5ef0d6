-- Results land here first, raw and committed, and are applied later, at our own pace.

create table inbox (
    inbox_id bigint generated always as identity,
    received_at timestamptz not null,
    account text not null,
    source text not null check (source in ('webhook', 'call')),
    body bytea not null,
    problem text,
    primary key (inbox_id, received_at)
) partition by range (received_at);
comment on table inbox is 'Every webhook and every call object as received. Daily partitions, made and dropped by the daemon.';
comment on column inbox.problem is 'Why it could not be read or matched; such rows can be parsed again.';
create table inbox_default partition of inbox default;

create table inbox_pending (
    inbox_id bigint primary key,
    received_at timestamptz not null,
    account text not null,
    retry_at timestamptz not null,
    attempt_id uuid
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
comment on table inbox_pending is 'Events that are not applied yet. A partition with a pending event is never dropped.';
-- By the next look, so that events which wait for theirs cost a peek nothing, however many they are.
create index inbox_pending_account on inbox_pending (account, retry_at, inbox_id);
create index inbox_pending_attempt on inbox_pending (attempt_id) where attempt_id is not null;
