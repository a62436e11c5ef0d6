//! Violations as SQL, and the check that has to find each.
//!
//! In the world they are planted in, leads 1 to 800 were attempted; 1 to 200 a second time, on the last two days, 101 to
//! 200 on the last. Every fiftieth from 250 on was not placed and is due again. 801 is being called, 802 is held, 803 is
//! due. Numbers of campaigns are the remainder of the lead by four, and one.

use outdial::adapter::postgres::audit::Check;

/// Which check, what is wrong, and how it comes about.
pub const PLANTED: &[(Check, &str, &str)] = &[
    (
        Check::OpenRows,
        "an open attempt that has ended",
        "update attempt set ended_at = intent_at + interval '1 minute', outcome = 'unknown' where lead_id = 801",
    ),
    (
        Check::OpenRows,
        "an open row of another lead's phone",
        "update open_attempt set phone = '+4930999' where lead_id = 802",
    ),
    (
        Check::Unended,
        "an attempt that was forgotten",
        "delete from open_attempt where lead_id = 802;
         insert into disposition values (1, 802, 'removed', 'planted', 2, 1, '2026-03-11')",
    ),
    (
        Check::Identity,
        "a number that is used twice",
        "insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch,
            intent_at, evidence, ended_at, outcome)
         select gen_random_uuid(), campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch, intent_at,
            evidence, ended_at, outcome
         from attempt where lead_id = 250",
    ),
    (
        Check::Numbering,
        "a second attempt without a first",
        "delete from call_result where attempt_id in (select attempt_id from attempt where lead_id = 7 and attempt_no = 1);
         delete from provider_call where attempt_id in (select attempt_id from attempt where lead_id = 7 and attempt_no = 1);
         delete from attempt where lead_id = 7 and attempt_no = 1",
    ),
    (
        Check::Numbering,
        "a try that is counted before there was one",
        "update attempt set tries = 1 where lead_id = 250",
    ),
    (
        Check::Sending,
        "a request that left before its intent",
        "update attempt set sent_at = intent_at - interval '1 second' where lead_id = 300 - 1",
    ),
    (
        Check::Sending,
        "a request that left five minutes after its intent",
        "update attempt set sent_at = intent_at + interval '5 minutes' where lead_id = 301",
    ),
    (
        Check::Sending,
        "an answered call that nobody sent",
        "update attempt set sent_at = null where lead_id = (select min(lead_id) from attempt where outcome = 'answered')
            and outcome = 'answered'",
    ),
    (
        Check::TwoCalls,
        "an attempt with two calls",
        "insert into provider_call (account, provider_call_id, attempt_id, basis)
         select account, 'another', attempt_id, 'token' from attempt where lead_id = 301",
    ),
    (
        Check::ForeignCall,
        "a result read from another attempt's call",
        "update call_result set provider_call_id = (
            select provider_call_id from provider_call c join attempt a using (attempt_id) where a.lead_id = 302)
         where attempt_id = (select attempt_id from attempt where lead_id = 301)",
    ),
    (
        Check::UnknownCall,
        "a call of an attempt that is not here",
        "insert into provider_call values ('audited', 'ghost', gen_random_uuid(), 'token')",
    ),
    (
        Check::UnknownCall,
        "a call of another account's attempt",
        "update provider_call set account = 'other'
         where attempt_id = (select attempt_id from attempt where lead_id = 301)",
    ),
    (
        Check::Overlap,
        "a call that began before the one before it was over",
        "update attempt set ended_at = (select sent_at + interval '30 seconds' from attempt where lead_id = 9 and attempt_no = 2)
         where lead_id = 9 and attempt_no = 1",
    ),
    (
        Check::BegunWhileOpen,
        "a call to a person whose last one is held",
        FOLLOWED,
    ),
    (
        Check::Evidence,
        "a call outside of its window",
        "update attempt set evidence = replace(evidence, 'window 09:00-20:00', 'window 14:00-20:00') where lead_id = 301",
    ),
    (
        Check::Evidence,
        "a call at nine in the evening",
        "update attempt set intent_at = '2026-03-06 20:00Z', sent_at = '2026-03-06 20:00:00.2Z', ended_at = '2026-03-06 20:02Z',
            evidence = 'Fri 2026-03-06 21:00 in Europe/Berlin, window 09:00-22:00, legal 09:00-20:00; tzdb 2025b'
         where lead_id = 301",
    ),
    (
        Check::Evidence,
        "a call in a window judged an hour before",
        "update attempt set intent_at = intent_at + interval '1 hour', sent_at = sent_at + interval '1 hour',
            ended_at = ended_at + interval '1 hour'
         where lead_id = 301",
    ),
    (Check::Evidence, "a call without evidence", "update attempt set evidence = '' where lead_id = 301"),
    (
        Check::Suppressed,
        "a call to a suppressed person",
        "insert into suppression (phone, reason, created_at)
         select phone, 'asked us', sent_at - interval '1 minute' from attempt where lead_id = 301",
    ),
    (
        Check::Suppressed,
        "a call to a person who was suppressed in this campaign for a day",
        "insert into suppression (phone, campaign_id, reason, created_at, expires_at)
         select phone, campaign_id, 'asked us', sent_at - interval '1 hour', sent_at + interval '1 day'
         from attempt where lead_id = 301",
    ),
    (Check::Person, "a call of another campaign an hour later", SAME_DAY),
    (
        Check::Starts,
        "four starts in a second, where three are allowed",
        // Eighteen seconds lie between the intents, so the first of them leaves within its minute.
        "update attempt set sent_at = (select max(intent_at) from attempt where lead_id = 123)
            + lead_id * interval '1 millisecond'
         where lead_id between 120 and 123 and attempt_no = 2",
    ),
    (
        Check::Lines,
        "twelve calls at once, where ten are allowed",
        "update attempt set ended_at = ended_at + interval '10 minutes' where lead_id between 120 and 131 and attempt_no = 2;
         update call_result set duration_seconds = 660
         where attempt_id in (select attempt_id from attempt where lead_id between 120 and 131 and attempt_no = 2)",
    ),
    (
        Check::NoResult,
        "an answered call without a result",
        "delete from call_result where attempt_id = (select min(attempt_id::text)::uuid from attempt where outcome = 'answered')",
    ),
    (
        Check::SilentCall,
        "a failed attempt with a call and without a result",
        "delete from call_result where attempt_id = (select min(attempt_id::text)::uuid from attempt where outcome = 'failed')",
    ),
    (
        Check::OrphanResult,
        "a result of a call that goes on",
        "insert into call_result (attempt_id, status, recorded_at)
         select attempt_id, 'completed', '2026-03-11' from attempt where lead_id = 801",
    ),
    (
        Check::OrphanResult,
        "a result of nobody's",
        "insert into call_result (attempt_id, status, recorded_at) values (gen_random_uuid(), 'completed', '2026-03-11')",
    ),
    (
        Check::Contradiction,
        "an attempt that rang although it was not placed",
        "insert into call_result (attempt_id, status, contradicted_by, recorded_at)
         select attempt_id, 'completed', 'answered', '2026-03-11' from attempt where lead_id = 250",
    ),
    (
        Check::Contradiction,
        "a machine that counts as a person",
        "update call_result set answered_by = 'machine'
         where attempt_id = (select min(attempt_id::text)::uuid from attempt where outcome = 'answered')",
    ),
    (
        Check::Events,
        "an event that is pending for three days",
        "update inbox set received_at = '2026-03-08 18:00Z'; update inbox_pending set received_at = '2026-03-08 18:00Z'",
    ),
    (Check::Events, "an event whose text is gone", "delete from inbox"),
    (
        Check::Places,
        "a lead that is due after its verdict",
        "insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
         select v.campaign_id, 1, 5, '2026-03-12', v.lead_id, v.attempt_no, v.tries, a.phone
         from disposition v join attempt a using (campaign_id, lead_id) where lead_id = 301",
    ),
    (
        Check::Places,
        "a lead that was called and is nowhere now",
        "delete from disposition where lead_id = 301 and disposition <> 'removed'",
    ),
    (Check::LostLeads, "a lead that was never called and is nowhere", "delete from due where lead_id = 803"),
    (
        Check::LostLeads,
        "an imported lead that nobody noted",
        "insert into lead (lead_list_id, phone) values (1, '+49305550100'); delete from lead_change",
    ),
    (
        Check::PlaceNumbers,
        "a due lead that would repeat its number",
        "update due set attempt_no = 1 where lead_id = 250",
    ),
    (
        Check::PlaceNumbers,
        "a verdict after more tries than there were",
        "update disposition set tries = tries + 1 where lead_id = 301 and disposition <> 'removed'",
    ),
    (
        Check::FinishedDue,
        "a due lead of a finished campaign",
        "update campaign set state = 'finished' where campaign_id = 1",
    ),
    (
        Check::Unenrolled,
        "an attempted phone that anybody may claim",
        "delete from enrolment where lead_id = 301",
    ),
];

/// An attempt of campaign 2 to the phone of lead 802, whose attempt is held for ten minutes: a request that
/// left and was refused, on an evening when the limits of a person are not judged yet.
const FOLLOWED: &str = "
    insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch, intent_at,
        evidence, sent_at, ended_at, outcome)
    select encode(
            int8send((2::bigint << 32) | 32768) || int8send((-9223372036854775808) | (802::bigint << 42) | (1::bigint << 26) | 7),
            'hex')::uuid,
        2, lead_id, 1, 0, phone, account, assistant_id, epoch, '2026-03-10 18:20Z',
        'Tue 2026-03-10 19:20 in Europe/Berlin, window 09:00-20:00, legal 09:00-20:00; tzdb 2025b', '2026-03-10 18:20:00.2Z',
        '2026-03-10 18:21Z', 'not_placed'
    from attempt where lead_id = 802;
    insert into enrolment (campaign_id, phone, lead_id) select 2, phone, 802 from attempt where lead_id = 802 limit 1;
    insert into disposition values (2, 802, 'removed', 'planted', 2, 0, '2026-03-11')";

/// A failed attempt of another campaign to the phone of lead 111, an hour after its own of the last day.
const SAME_DAY: &str = "
    insert into attempt (attempt_id, campaign_id, lead_id, attempt_no, tries, phone, account, assistant_id, epoch, intent_at,
        evidence, sent_at, ended_at, outcome)
    select encode(
            int8send((3::bigint << 32) | 32768) || int8send((-9223372036854775808) | (111::bigint << 42) | (1::bigint << 26) | 7),
            'hex')::uuid,
        3, lead_id, 1, 0, phone, account, assistant_id, epoch, intent_at + interval '1 hour',
        to_char((intent_at + interval '1 hour') at time zone 'Europe/Berlin', 'Dy YYYY-MM-DD HH24:MI')
            || ' in Europe/Berlin, window 09:00-20:00, legal 09:00-20:00; tzdb 2025b',
        sent_at + interval '1 hour', ended_at + interval '1 hour', 'failed'
    from attempt where lead_id = 111 and attempt_no = 2;
    insert into enrolment (campaign_id, phone, lead_id) select 3, phone, 111 from attempt where lead_id = 111 limit 1;
    insert into disposition values (3, 111, 'exhausted', 'planted', 2, 1, '2026-03-11')";
