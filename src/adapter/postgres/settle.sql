with item as materialized (
    select *
    from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::boolean[], $7::text[],
            $8::timestamptz[], $9::text[], $10::text[], $11::integer[], $12::integer[], $25::boolean[])
        as i (attempt_id, outcome, ended_at, sent_at, reason, goal_met, suppress,
            due_at, disposition, verdict, next_attempt_no, next_tries, refused)
), result as materialized (
    select *
    from unnest($13::uuid[], $14::text[], $15::text[], $16::text[], $17::text[], $18::integer[], $19::numeric[],
            $20::jsonb[], $21::text[], $22::jsonb[])
        as r (attempt_id, call_id, match_basis, status, answered_by, duration_seconds, cost,
            transcript, recording_url, extracted)
), evidence as materialized (
    -- What the result was read from, so that a payload can be proven after its removal.
    select x.attempt_id, sha256(string_agg(b.body, ''::bytea order by b.inbox_id)) as payload_hash
    from unnest($23::bigint[], $24::uuid[]) as x (inbox_id, attempt_id)
    join inbox_pending p using (inbox_id)
    join inbox b on b.inbox_id = p.inbox_id and b.received_at = p.received_at
    group by x.attempt_id
), target as materialized (
    -- The decision was made on what was seen then: what the provider has taken by now did ring, or may have, and only a
    -- person may end a held attempt as unknown.
    select o.attempt_id
    from item i
    join open_attempt o using (attempt_id)
    where case
        when i.outcome in ('not_placed', 'rejected') then o.state <> 'placed'
        when i.outcome = 'unknown' then o.state = 'held'
        else true
    end
    order by o.attempt_id
    for update of o
), ended as (
    delete from open_attempt o
    using target t
    where o.attempt_id = t.attempt_id
    returning o.*
), closed as (
    update attempt a
    set ended_at = i.ended_at, outcome = i.outcome, reason = i.reason, goal_met = i.goal_met,
        refused = i.refused, sent_at = coalesce(a.sent_at, i.sent_at, e.sent_at)
    from ended e
    join item i using (attempt_id)
    where a.attempt_id = e.attempt_id and a.outcome is null
), bound as (
    insert into provider_call (account, provider_call_id, attempt_id, basis)
    select e.account, r.call_id, e.attempt_id, coalesce(r.match_basis, 'reply')
    from ended e
    join result r using (attempt_id)
    where r.call_id is not null
    order by e.account, r.call_id
    on conflict do nothing
), kept as (
    insert into call_result (attempt_id, provider_call_id, match_basis, status, answered_by, duration_seconds, cost,
        transcript, recording_url, extracted, payload_hash, recorded_at)
    select e.attempt_id, coalesce(r.call_id, e.provider_call_id), r.match_basis, r.status, r.answered_by,
        r.duration_seconds, r.cost, r.transcript, r.recording_url, r.extracted, v.payload_hash, i.ended_at
    from ended e
    join item i using (attempt_id)
    join result r using (attempt_id)
    left join evidence v using (attempt_id)
    order by e.attempt_id
    on conflict do nothing
), due_again as (
    insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
    select e.campaign_id, e.calling_group_id, e.priority, i.due_at, e.lead_id, i.next_attempt_no, i.next_tries, e.phone
    from ended e
    join item i using (attempt_id)
    where i.due_at is not null
    order by e.campaign_id, e.calling_group_id, e.priority, i.due_at, e.lead_id
    on conflict do nothing
), disposed as (
    insert into disposition (campaign_id, lead_id, disposition, reason, attempt_no, tries, disposed_at)
    select e.campaign_id, e.lead_id, i.disposition, i.verdict, i.next_attempt_no, i.next_tries, i.ended_at
    from ended e
    join item i using (attempt_id)
    where i.disposition is not null
    order by e.campaign_id, e.lead_id
    on conflict (campaign_id, lead_id) do update
    set disposition = excluded.disposition, reason = excluded.reason, attempt_no = excluded.attempt_no,
        tries = excluded.tries, disposed_at = excluded.disposed_at
), suppressed as (
    insert into suppression as old (phone, campaign_id, reason)
    select e.phone, null, i.suppress
    from ended e
    join item i using (attempt_id)
    where i.suppress is not null
    order by e.phone
    -- A person's own word has no expiry; an older entry's must not end it.
    on conflict (phone, coalesce(campaign_id, 0)) do update
    set reason = excluded.reason, expires_at = null
    where old.expires_at is not null
), applied as (
    delete from inbox_pending p
    using unnest($23::bigint[], $24::uuid[]) as x (inbox_id, attempt_id)
    join ended using (attempt_id)
    where p.inbox_id = x.inbox_id
)
select attempt_id from ended
