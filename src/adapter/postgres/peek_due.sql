select probe.probe_no as "probe_no!", d.campaign_id as "campaign_id!", d.calling_group_id as "calling_group_id!",
    d.priority as "priority!", d.due_at as "due_at!", d.lead_id as "lead_id!", d.attempt_no as "attempt_no!",
    d.tries as "tries!", d.phone as "phone!",
    l.version as "lead_version?", l.not_before as "lead_not_before?", l.not_after as "lead_not_after?",
    l.variables as "lead_variables?: Json<Map<String, Value>>",
    o.attempt_id as "open_attempt_id?",
    s.reason as "suppression_reason?", s.expires_at as "suppression_expires_at?",
    contact.at as "contact_at!: Vec<jiff_sqlx::Timestamp>", contact.campaigns as "contact_campaigns!: Vec<i64>"
from unnest($1::bigint[], $2::integer[], $3::smallint[], $4::timestamptz[], $5::bigint[]) with ordinality
    as probe (campaign_id, calling_group_id, priority, not_before, row_limit, probe_no)
-- One index probe per lane: looking for all groups at once would sort the backlog. The lower bound keeps the probe away
-- from index entries of rows that are gone and not yet vacuumed.
cross join lateral (
    select *
    from due
    where due.campaign_id = probe.campaign_id
        and due.calling_group_id = probe.calling_group_id
        and due.priority = probe.priority
        and due.due_at >= probe.not_before
        and due.due_at <= $6
    order by due.due_at, due.lead_id
    limit probe.row_limit
) as d
left join lead l on l.lead_id = d.lead_id
left join open_attempt o on o.phone = d.phone
-- The entry that lasts longest.
left join lateral (
    select suppression.reason, suppression.expires_at
    from suppression
    where suppression.phone = d.phone
        and (suppression.campaign_id is null or suppression.campaign_id = d.campaign_id)
        and (suppression.expires_at is null or suppression.expires_at > $6)
    order by suppression.expires_at desc nulls first
    limit 1
) as s on true
-- What rang or may have: an attempt without an outcome may be ringing.
cross join lateral (
    select coalesce(array_agg(c.at order by c.at desc), '{}') as at,
        coalesce(array_agg(c.campaign_id order by c.at desc), '{}') as campaigns
    from (
        select coalesce(a.sent_at, a.intent_at) as at, a.campaign_id
        from attempt a
        where a.phone = d.phone
            and a.intent_at >= $7
            and (a.outcome is null or a.outcome in ('answered', 'voicemail', 'no_answer', 'busy', 'failed', 'unknown'))
        order by a.intent_at desc
        limit $8
    ) as c
) as contact
