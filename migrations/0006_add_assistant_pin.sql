-- What assistants were when campaigns began to use them, so that a change at the provider is noticed.

alter table assistant add column fingerprint text check (length(fingerprint) <= 200);
comment on column assistant.fingerprint is 'Digest of prompt, first message, voice, language, mode and variables; null where the provider does not tell them.';

create table assistant_pin (
    campaign_id bigint not null references campaign (campaign_id) on delete cascade,
    account text not null,
    assistant_id text not null,
    fingerprint text not null check (length(fingerprint) <= 200),
    pinned_at timestamptz not null,
    primary key (campaign_id, account, assistant_id)
);
comment on table assistant_pin is 'The assistants that each campaign uses, as they were when it began to use them, or was told to go on with them.';
comment on column assistant_pin.fingerprint is 'As assistant.fingerprint was then.';

alter table campaign add column paused_because text,
    add constraint paused_because_only_while_paused check (paused_because is null or state = 'paused');
comment on column campaign.paused_because is 'Why the daemon paused the campaign; null when a person did. Cleared by itself when the campaign leaves that state.';

create function campaign_forget_pause() returns trigger language plpgsql as $$
begin
    new.paused_because := null;
    return new;
end $$;
create trigger campaign_forget_pause before update of state on campaign
    for each row when (old.paused_because is not null and new.state <> 'paused') execute function campaign_forget_pause();

-- Whoever resumes the campaign, by the command or by plain SQL, accepts its assistants as they were last read.
create function campaign_pin_anew() returns trigger language plpgsql as $$
begin
    update assistant_pin p set fingerprint = a.fingerprint, pinned_at = a.seen_at
    from assistant a
    where p.campaign_id = new.campaign_id and a.account = p.account and a.assistant_id = p.assistant_id
        and a.fingerprint is not null;
    return null;
end $$;
create trigger campaign_pin_anew after update of state on campaign
    for each row when (old.paused_because is not null and new.state = 'active') execute function campaign_pin_anew();

create or replace view campaign_progress as
select c.campaign_id, c.name, c.state, coalesce(c.paused_because, c.note) as note, c.version,
    (select count(*) from due d where d.campaign_id = c.campaign_id) as due,
    coalesce(o.open, 0) as open,
    coalesce(o.held, 0) as held,
    coalesce(v.reached, 0) as reached,
    coalesce(v.goal_met, 0) as goal_met,
    coalesce(v.exhausted, 0) as exhausted,
    coalesce(v.suppressed, 0) as suppressed,
    coalesce(v.invalid_number, 0) as invalid_number,
    coalesce(v.expired, 0) as expired,
    coalesce(v.removed, 0) as removed,
    coalesce(v.duplicate, 0) as duplicate,
    exists (select from campaign_list w where w.campaign_id = c.campaign_id and not w.walked) as enrolling,
    c.changed_at, c.finished_at
from campaign c
left join lateral (
    select count(*) filter (where a.state <> 'held') as open, count(*) filter (where a.state = 'held') as held
    from open_attempt a where a.campaign_id = c.campaign_id
) o on true
left join lateral (
    select count(*) filter (where d.disposition = 'reached') as reached,
        count(*) filter (where d.disposition = 'goal_met') as goal_met,
        count(*) filter (where d.disposition = 'exhausted') as exhausted,
        count(*) filter (where d.disposition = 'suppressed') as suppressed,
        count(*) filter (where d.disposition = 'invalid_number') as invalid_number,
        count(*) filter (where d.disposition = 'expired') as expired,
        count(*) filter (where d.disposition = 'removed') as removed,
        count(*) filter (where d.disposition = 'duplicate') as duplicate
    from disposition d where d.campaign_id = c.campaign_id
) v on true;
comment on column campaign_progress.note is 'Why it is not dialed right now, or why the daemon paused it, in words; null when neither holds.';
