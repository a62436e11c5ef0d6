-- The hot path. Thin rows, bulk statements in key order, no foreign keys, no counters, mutable columns outside every index.

create table campaign_list (
    campaign_id bigint not null,
    lead_list_id bigint not null,
    wanted boolean not null,
    version bigint not null,
    walked_to bigint not null default 0,
    walked boolean not null default false,
    primary key (campaign_id, lead_list_id)
);
comment on table campaign_list is 'Which lists a campaign dials, and how far the daemon has walked a list that is new to it or gone from it.';
comment on column campaign_list.version is 'The campaign version the list was last walked for; a new version walks it again, because an edit may bring back what it had put out.';
comment on column campaign_list.walked_to is 'Last lead of the walk. Leads that commit behind it are found through lead_change.';

create table calling_group (
    calling_group_id integer generated always as identity primary key,
    evidence text not null unique
);
comment on table calling_group is 'Leads for which the same instants are legal: what is known of where they are, nothing of any campaign.';

create table stratum (
    campaign_id bigint not null,
    calling_group_id integer not null,
    priority smallint not null check (priority between 0 and 9),
    primary key (campaign_id, calling_group_id, priority)
);
comment on table stratum is 'Lanes of the due table that ever had a row; each open lane gets one index probe.';

create table enrolment (
    campaign_id bigint not null,
    phone text not null check (phone ~ '^\+[1-9][0-9]{6,14}$'),
    lead_id bigint not null,
    claim_no bigint generated always as identity,
    primary key (campaign_id, phone)
);
comment on table enrolment is 'A phone is enrolled once per campaign. A phone that was ever attempted there stays, also when its lead gets another one.';
comment on column enrolment.claim_no is 'Grows with each claim: the phone a lead is enrolled with now is its latest.';
create index enrolment_lead on enrolment (lead_id, campaign_id);

create table due (
    campaign_id bigint not null,
    calling_group_id integer not null,
    priority smallint not null check (priority between 0 and 9),
    due_at timestamptz not null,
    lead_id bigint not null,
    attempt_no integer not null check (attempt_no between 1 and 65535),
    tries integer not null check (tries between 0 and 65535 and tries < attempt_no),
    phone text not null,
    primary key (campaign_id, calling_group_id, priority, due_at, lead_id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
comment on table due is 'Exactly one row for each lead that waits for its next attempt, and no row for any other.';
comment on column due.attempt_no is 'Number of the attempt this row becomes; numbers are never reused.';
comment on column due.tries is 'Attempts so far that count against the retry limits.';
create unique index due_lead on due (campaign_id, lead_id);

create table open_attempt (
    phone text primary key,
    attempt_id uuid not null,
    account text not null,
    campaign_id bigint not null,
    lead_id bigint not null,
    assistant_id text not null,
    calling_group_id integer not null,
    priority smallint not null,
    tries integer not null,
    owner uuid not null,
    epoch bigint not null,
    state text not null check (state in ('dialing', 'placed', 'in_doubt', 'held')),
    intent_at timestamptz not null,
    sent_at timestamptz,
    deadline_at timestamptz not null,
    poll_at timestamptz not null,
    provider_call_id text,
    accepted boolean not null default false,
    absence_from timestamptz,
    absent_since timestamptz,
    newest_call_known text,
    reason text,
    constraint reason_if_in_doubt_or_held check (state not in ('in_doubt', 'held') or reason is not null),
    constraint absence_from_if_in_doubt check (state <> 'in_doubt' or absence_from is not null)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
comment on table open_attempt is 'The person mutex: one open attempt per phone, across campaigns and replicas. Small, bounded by concurrency and what is held; the base of every limit of lines, and the only place rescue looks.';
comment on column open_attempt.absence_from is 'From when on the call''s absence from the provider''s list says anything.';
comment on column open_attempt.absent_since is 'First complete read after absence_from that did not show the call.';
create unique index open_attempt_id on open_attempt (attempt_id);

create table attempt (
    attempt_id uuid primary key,
    campaign_id bigint not null,
    lead_id bigint not null,
    attempt_no integer not null,
    tries integer not null,
    phone text not null,
    account text not null,
    assistant_id text not null,
    epoch bigint not null,
    intent_at timestamptz not null,
    evidence text not null,
    sent_at timestamptz,
    ended_at timestamptz,
    outcome text check (outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'rejected', 'canceled', 'not_placed', 'unknown')),
    reason text,
    goal_met boolean,
    refused boolean not null default false,
    constraint outcome_iff_ended check ((outcome is null) = (ended_at is null))
) with (fillfactor = 70);
comment on table attempt is 'One row per intent, for ever. The id packs campaign, lead, number and installation: writing the same intent twice collides, and a lead''s attempts are one range of the key.';
comment on column attempt.evidence is 'Zone, local time, window and tzdb version the instant was judged by.';
comment on column attempt.sent_at is 'When the request''s first body byte left; null when nothing left or nobody can know.';
comment on column attempt.refused is 'The provider refused the request for a reason nobody documents; five in a row end as failed.';
-- Columns of these never change, so updates stay heap-only.
create index attempt_phone on attempt (phone, intent_at);
create index attempt_intent on attempt using brin (intent_at) with (pages_per_range = 32);

create table provider_call (
    account text not null,
    provider_call_id text not null,
    attempt_id uuid not null,
    basis text not null check (basis in ('reply', 'token', 'only_candidate', 'operator')),
    primary key (account, provider_call_id)
);
comment on table provider_call is 'Which attempt a provider''s call is, and on what grounds. Insert only.';

create table disposition (
    campaign_id bigint not null,
    lead_id bigint not null,
    disposition text not null check (disposition in ('reached', 'goal_met', 'exhausted', 'suppressed', 'invalid_number', 'expired', 'removed', 'duplicate')),
    reason text not null,
    attempt_no integer not null check (attempt_no between 1 and 65535),
    tries integer not null check (tries >= 0),
    disposed_at timestamptz not null,
    duplicate_of bigint,
    primary key (campaign_id, lead_id)
);
comment on table disposition is 'The verdict on a lead in a campaign. Reversible ones keep the lead''s numbering for when their cause goes away.';
comment on column disposition.duplicate_of is 'The lead that holds the phone; when it gives the phone up, its duplicates are looked at again.';
create index disposition_duplicate on disposition (duplicate_of, campaign_id) where duplicate_of is not null;
-- Finds a changed lead's campaigns where it is not enrolled. Final verdicts come from attempts, so enrolment finds those.
create index disposition_reversible on disposition (lead_id) where disposition not in ('reached', 'goal_met', 'exhausted');

create table call_result (
    attempt_id uuid primary key,
    provider_call_id text,
    match_basis text,
    status text not null,
    answered_by text,
    duration_seconds integer,
    cost numeric,
    transcript jsonb,
    recording_url text,
    extracted jsonb not null default '{}',
    payload_hash bytea,
    contradicted_by text,
    recorded_at timestamptz not null,
    payload_removed_at timestamptz
);
comment on table call_result is 'What the provider knows of a call. Payload columns are removed after their days; the row stays.';
comment on column call_result.payload_removed_at is 'When transcript, recording and extracted variables were removed for their age.';
create index call_result_payload on call_result (recorded_at) where payload_removed_at is null;
comment on column call_result.payload_hash is 'SHA-256 of the raw events the result was read from, one after the other.';
comment on column call_result.contradicted_by is 'An outcome that late evidence speaks for and that differs from the one recorded.';
