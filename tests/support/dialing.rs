//! Leases, control, peek, begin, confirm.

use jiff::SignedDuration;

use outdial::domain::campaign::CampaignState;
use outdial::domain::id::{AccountName, CallingGroupId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::port::store::{
    AccountState, EnrolmentAction, EnrolmentStep, FINISHED_MAX, Lease, LeaseRequest, Probe, StartsOf, Store,
};

use super::harness::Harness;
use super::scene::{GROUP, Scene, TTL, at, call_id, owner, phone};

pub async fn a_held_lease_is_kept_from_others_and_its_epoch_stays<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    assert_eq!(
        s.store().renew_leases(&LeaseRequest::all(owner(1), &accounts, TTL)).await.unwrap(),
        std::slice::from_ref(&s.lease)
    );
    assert_eq!(s.store().renew_leases(&LeaseRequest::all(owner(2), &accounts, TTL)).await.unwrap(), []);
    let other = AccountName::new("other");
    let both = [s.account.clone(), other.clone()];
    let leases = s.store().renew_leases(&LeaseRequest::all(owner(2), &both, TTL)).await.unwrap();
    assert_eq!(leases.iter().map(|lease| &lease.account).collect::<Vec<_>>(), [&other]);
}

pub async fn a_lease_that_ran_out_changes_hands_with_a_higher_epoch<H: Harness>(s: &Scene<H>) {
    let accounts = [s.account.clone()];
    s.h.let_leases_run_out().await;
    let back = s.store().renew_leases(&LeaseRequest::all(owner(1), &accounts, TTL)).await.unwrap();
    assert_eq!(back, std::slice::from_ref(&s.lease), "nobody took it in between");
    s.h.let_leases_run_out().await;
    let taken = s.store().renew_leases(&LeaseRequest::all(owner(2), &accounts, TTL)).await.unwrap();
    assert_eq!(taken[0].owner, owner(2));
    assert!(taken[0].epoch > s.lease.epoch);
    assert_eq!(s.store().renew_leases(&LeaseRequest::all(owner(1), &accounts, TTL)).await.unwrap(), []);
}

pub async fn a_released_lease_is_free_at_once_and_its_epoch_grows<H: Harness>(s: &Scene<H>) {
    let both = [AccountName::new("other"), s.account.clone()];
    s.store().release_leases(owner(2), &both).await.unwrap();
    assert_eq!(
        s.store().renew_leases(&LeaseRequest::all(owner(2), std::slice::from_ref(&s.account), TTL)).await.unwrap(),
        []
    );
    s.store().release_leases(owner(1), &both).await.unwrap();
    let taken =
        s.store().renew_leases(&LeaseRequest::all(owner(2), std::slice::from_ref(&s.account), TTL)).await.unwrap();
    assert!(taken[0].epoch > s.lease.epoch);
}

pub async fn control_shows_what_steers_dialing<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let paused = s.h.insert_campaign("paused", CampaignState::Paused).await;
    let finished = s.h.insert_campaign("over", CampaignState::Finished).await;
    s.h.edit_definition(paused).await;
    s.h.stop(Some(&s.account)).await;
    let state = AccountState {
        account: s.account.clone(),
        problem: Some("no balance".to_owned()),
        since: at(5),
        next_check_at: Some(at(65)),
    };
    s.store().save_account_state(&state).await.unwrap();

    let control = s.store().control().await.unwrap();
    let campaigns: Vec<_> = control.campaigns.iter().map(|row| (row.campaign_id, row.state, row.version)).collect();
    let expected = [
        (s.campaign, CampaignState::Active, 1),
        (paused, CampaignState::Paused, 2),
        (finished, CampaignState::Finished, 1),
    ];
    assert_eq!(campaigns, expected);
    assert_eq!(control.groups, [(due.stratum.calling_group_id, GROUP.to_owned())]);
    assert_eq!(control.strata, [due.stratum]);
    assert_eq!(control.stops.len(), 1);
    assert_eq!(control.stops[0].account.as_ref(), Some(&s.account));
    assert_eq!(control.account_states, std::slice::from_ref(&state));

    let cured = AccountState { problem: None, since: at(70), next_check_at: None, ..state };
    s.store().save_account_state(&cured).await.unwrap();
    let control = s.store().control().await.unwrap();
    assert!(control.account_states.iter().all(|state| state.problem.is_none()));
}

pub async fn control_keeps_finished_campaigns_while_evidence_may_come<H: Harness>(s: &Scene<H>) {
    let open = s.dialing(&phone(1)).await;
    s.h.set_state(s.campaign, CampaignState::Finished).await;
    let mut later = Vec::new();
    for number in 0..=FINISHED_MAX {
        later.push(s.h.insert_campaign(&format!("over {number}"), CampaignState::Finished).await);
    }
    let shown = async || {
        let control = s.store().control().await.unwrap();
        assert_eq!(control.strata, [], "no lane of a finished campaign");
        control.campaigns.into_iter().map(|row| row.campaign_id).collect::<Vec<_>>()
    };
    let last = &later[1..];
    assert_eq!(shown().await, [&[s.campaign], last].concat(), "its attempt is open; the oldest other has gone");
    let end = s.ended_for_good(open, Outcome::NoAnswer, Disposition::Exhausted, 1);
    s.store().settle(&[end]).await.unwrap();
    assert_eq!(shown().await, last);
}

pub async fn peek_goes_by_date_then_lead_within_its_bounds<H: Harness>(s: &Scene<H>) {
    let [a, b, c, d] = [
        s.due_lead(&phone(1)).await,
        s.due_lead(&phone(2)).await,
        s.due_lead(&phone(3)).await,
        s.due_lead(&phone(4)).await,
    ];
    let moved = [(a.clone(), at(30)), (d.clone(), at(90))];
    assert_eq!(s.store().defer(&moved).await.unwrap(), 2);

    let peek = async |probe: Probe| {
        let candidates = s.store().peek_due(at(60), at(-3600), &[probe]).await.unwrap();
        candidates.into_iter().map(|candidate| candidate.due.lead_id).collect::<Vec<_>>()
    };
    assert_eq!(peek(s.probe(a.stratum, 10)).await, [b.lead_id, c.lead_id, a.lead_id], "what is due later is not seen");
    assert_eq!(peek(s.probe(a.stratum, 2)).await, [b.lead_id, c.lead_id]);
    assert_eq!(peek(Probe { not_before: at(30), ..s.probe(a.stratum, 10) }).await, [a.lead_id], "bounds are inclusive");
    let elsewhere = outdial::port::store::Stratum { priority: 4, ..a.stratum };
    assert_eq!(peek(s.probe(elsewhere, 10)).await, []);
    let nowhere = outdial::port::store::Stratum { calling_group_id: CallingGroupId(4711), ..a.stratum };
    assert_eq!(peek(s.probe(nowhere, 10)).await, []);
    let two = [s.probe(elsewhere, 10), s.probe(a.stratum, 1)];
    assert_eq!(s.store().peek_due(at(60), at(0), &two).await.unwrap().len(), 1, "each probe has a limit of its own");
}

pub async fn a_candidate_carries_what_binds_the_person<H: Harness>(s: &Scene<H>) {
    let other = s.h.insert_campaign("other", CampaignState::Active).await;
    let shared = phone(1);
    let first = s.dialing(&shared).await;
    let due = s.due_lead_of(other, &shared).await;

    let peek = async || {
        let candidates = s.store().peek_due(at(60), at(-3600), &[s.probe(due.stratum, 10)]).await.unwrap();
        candidates.into_iter().find(|candidate| candidate.due == due).expect("the lead is still due")
    };
    let candidate = peek().await;
    assert_eq!(candidate.lead.as_ref().map(|lead| lead.version), Some(1));
    assert_eq!(candidate.person.open, Some(first));
    assert_eq!(candidate.person.suppression, None);
    assert_eq!(candidate.last_assistant, None, "the lead itself was never called");
    assert_eq!(candidate.person.contacts.len(), 1, "an open attempt may be ringing");
    assert_eq!((candidate.person.contacts[0].at, candidate.person.contacts[0].campaign_id), (at(10), s.campaign));

    let mut end = s.ended_for_good(first, Outcome::NoAnswer, Disposition::Exhausted, 1);
    end.sent_at = Some(at(12));
    s.store().settle(&[end]).await.unwrap();
    let candidate = peek().await;
    assert_eq!(candidate.person.open, None);
    assert_eq!(candidate.person.contacts[0].at, at(12), "by the moment it was sent");

    s.h.suppress(&shared, Some(s.campaign), None).await;
    assert_eq!(peek().await.person.suppression, None, "an entry of another campaign");
    s.h.suppress(&shared, Some(other), Some(at(60))).await;
    assert_eq!(peek().await.person.suppression, None, "it has expired");
    s.h.suppress(&shared, None, Some(at(61))).await;
    assert_eq!(peek().await.person.suppression.and_then(|entry| entry.expires_at), Some(at(61)));

    s.h.delete_lead(due.lead_id).await;
    assert_eq!(peek().await.lead, None);
}

pub async fn contacts_are_those_that_rang_since_the_asked_moment<H: Harness>(s: &Scene<H>) {
    let to = phone(1);
    let first = s.dialing(&to).await;
    s.store().settle(&[s.ended(first, Outcome::Busy, 1)]).await.unwrap();
    let key = first.key();
    let due = s.h.due(key.campaign_id, key.lead_id).await.unwrap();
    let intent = s.intent(&due);
    let second = s.store().begin_dials(&s.lease, &[intent], None, at(7300)).await.unwrap()[0].attempt_id();
    s.store().settle(&[s.ended(second, Outcome::NotPlaced, 1)]).await.unwrap();

    let due = s.h.due(key.campaign_id, key.lead_id).await.unwrap();
    let peek = async |since| {
        let candidates = s.store().peek_due(at(8000), since, &[s.probe(due.stratum, 10)]).await.unwrap();
        candidates[0].clone()
    };
    let candidate = peek(at(10)).await;
    assert_eq!(candidate.person.contacts.iter().map(|contact| contact.at).collect::<Vec<_>>(), [at(10)]);
    assert_eq!(candidate.last_assistant.map(|id| id.to_string()).as_deref(), Some("anna"));
    assert_eq!(peek(at(11)).await.person.contacts, [], "longer ago than asked");
}

pub async fn a_due_lead_becomes_an_open_attempt<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let intent = s.intent(&due);
    assert_eq!(s.begin(&s.lease, std::slice::from_ref(&intent)).await, [intent.attempt_id]);
    assert_eq!(s.h.due(s.campaign, due.lead_id).await, None);
    let open = s.open(intent.attempt_id).await.expect("it is open");
    assert_eq!(open.phone, due.phone);
    assert_eq!(open.state, outdial::domain::attempt::OpenState::Dialing);
    assert_eq!((open.owner, open.epoch), (s.lease.owner, s.lease.epoch));
    assert_eq!((open.intent_at, open.deadline_at, open.sent_at), (at(10), at(600), None));
    assert_eq!((open.tries, open.priority, open.calling_group_id), (0, 5, due.stratum.calling_group_id));
    assert_eq!(open.newest_call_known, Some(call_id(900)));
    let attempt = s.h.attempt(intent.attempt_id).await.unwrap();
    assert_eq!((attempt.outcome, attempt.evidence.as_str()), (None, "Europe/Berlin 10:00"));
    assert_eq!(s.begin(&s.lease, &[intent]).await, [], "an intent is written once");
}

pub async fn without_the_lease_nothing_begins<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let intent = [s.intent(&due)];
    let wrong_epoch = Lease { epoch: outdial::domain::id::Epoch(s.lease.epoch.0 + 1), ..s.lease.clone() };
    assert_eq!(s.begin(&wrong_epoch, &intent).await, []);
    let wrong_owner = Lease { owner: owner(2), ..s.lease.clone() };
    assert_eq!(s.begin(&wrong_owner, &intent).await, []);
    let wrong_account = Lease { account: AccountName::new("other"), ..s.lease.clone() };
    assert_eq!(s.begin(&wrong_account, &intent).await, []);
    s.h.let_leases_run_out().await;
    assert_eq!(s.begin(&s.lease, &intent).await, []);
    s.store().renew_leases(&LeaseRequest::all(owner(1), std::slice::from_ref(&s.account), TTL)).await.unwrap();
    assert_eq!(s.begin(&s.lease, &intent).await.len(), 1);
}

pub async fn while_stopped_nothing_begins<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let intent = [s.intent(&due)];
    s.h.stop(Some(&s.account)).await;
    assert_eq!(s.begin(&s.lease, &intent).await, []);
    s.h.start(Some(&s.account)).await;
    s.h.stop(None).await;
    assert_eq!(s.begin(&s.lease, &intent).await, []);
    s.h.start(None).await;
    s.h.stop(Some(&AccountName::new("other"))).await;
    assert_eq!(s.begin(&s.lease, &intent).await.len(), 1);
}

pub async fn only_an_active_campaign_of_the_judged_version_dials<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let intent = s.intent(&due);
    for state in [CampaignState::Paused, CampaignState::Finishing, CampaignState::Draft] {
        s.h.set_state(s.campaign, state).await;
        assert_eq!(s.begin(&s.lease, std::slice::from_ref(&intent)).await, [], "{state}");
    }
    s.h.set_state(s.campaign, CampaignState::Active).await;
    s.h.edit_definition(s.campaign).await;
    assert_eq!(s.begin(&s.lease, std::slice::from_ref(&intent)).await, []);
    let judged_again = outdial::port::store::DialIntent { campaign_version: 2, ..intent };
    assert_eq!(s.begin(&s.lease, &[judged_again]).await.len(), 1);
}

pub async fn a_lead_that_changed_or_is_gone_is_not_dialed<H: Harness>(s: &Scene<H>) {
    let changed = s.due_lead(&phone(1)).await;
    let gone = s.due_lead(&phone(2)).await;
    s.h.edit_phone(changed.lead_id, "+49301239999").await;
    s.h.delete_lead(gone.lead_id).await;
    assert_eq!(s.begin(&s.lease, &[s.intent(&changed), s.intent(&gone)]).await, []);
    assert!(s.h.due(s.campaign, changed.lead_id).await.is_some(), "it stays due until the change is applied");
}

pub async fn a_lead_whose_change_is_not_applied_is_not_dialed<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let other = s.due_lead(&phone(2)).await;
    s.h.edit_phone(due.lead_id, "+49301239999").await;
    let judged_on_the_new = outdial::port::store::DialIntent { lead_version: 2, ..s.intent(&due) };
    let begun = s.begin(&s.lease, &[judged_on_the_new.clone(), s.intent(&other)]).await;
    assert_eq!(begun, [s.intent(&other).attempt_id], "the due row still has the old phone");
    s.forget_changes().await;
    assert_eq!(s.begin(&s.lease, &[judged_on_the_new]).await.len(), 1);
}

pub async fn a_due_row_that_moved_is_not_dialed<H: Harness>(s: &Scene<H>) {
    let seen = s.due_lead(&phone(1)).await;
    s.store().defer(&[(seen.clone(), at(5))]).await.unwrap();
    assert_eq!(s.begin(&s.lease, &[s.intent(&seen)]).await, []);
    let now = s.h.due(s.campaign, seen.lead_id).await.unwrap();
    assert_eq!(s.begin(&s.lease, &[s.intent(&now)]).await.len(), 1);
}

pub async fn a_phone_has_one_open_attempt_across_campaigns<H: Harness>(s: &Scene<H>) {
    let other = s.h.insert_campaign("other", CampaignState::Active).await;
    let mine = s.due_lead(&phone(1)).await;
    let theirs = s.due_lead_of(other, &phone(1)).await;
    let begun = s.begin(&s.lease, &[s.intent(&mine), s.intent(&theirs)]).await;
    assert_eq!(begun.len(), 1, "of two intents for one phone one is taken");
    let left = if begun[0].key().campaign_id == other { mine } else { theirs };
    assert_eq!(s.h.due(left.stratum.campaign_id, left.lead_id).await, Some(left.clone()));
    assert_eq!(s.begin(&s.lease, &[s.intent(&left)]).await, [], "nor later, while the first is open");
}

pub async fn a_number_that_was_used_is_put_off_and_harms_nobody<H: Harness>(s: &Scene<H>) {
    let first = s.dialing(&phone(1)).await;
    s.store().settle(&[s.ended(first, Outcome::NoAnswer, 1)]).await.unwrap();
    let lead = first.key().lead_id;
    s.h.renumber_due(s.campaign, lead, 1, 0).await;
    let damaged = s.h.due(s.campaign, lead).await.unwrap();
    let healthy = s.due_lead(&phone(2)).await;
    let begun = s.begin(&s.lease, &[s.intent(&damaged), s.intent(&healthy)]).await;
    assert_eq!(begun, [s.intent(&healthy).attempt_id]);
    let put_off = s.h.due(s.campaign, lead).await.unwrap();
    assert_eq!(put_off.due_at, at(10) + SignedDuration::from_hours(1));
    assert_eq!(s.h.attempt(first).await.unwrap().outcome, Some(Outcome::NoAnswer), "the old attempt is untouched");
    s.h.renumber_due(s.campaign, lead, 2, 1).await;
}

pub async fn confirm_reads_the_person_behind_open_attempts<H: Harness>(s: &Scene<H>) {
    let one = s.dialing(&phone(1)).await;
    let two = s.dialing(&phone(2)).await;
    let over = s.dialing(&phone(3)).await;
    s.store().settle(&[s.ended(over, Outcome::Busy, 1)]).await.unwrap();
    s.h.suppress(&phone(2), None, None).await;
    let facts = s.store().confirm(&[one, over, two], at(11), at(-3600)).await.unwrap();
    assert_eq!(facts.iter().map(|(id, _)| *id).collect::<std::collections::BTreeSet<_>>(), [one, two].into());
    let of = |id| &facts.iter().find(|(found, _)| *found == id).unwrap().1;
    assert_eq!(of(one).suppression, None);
    assert_eq!(of(two).suppression.as_ref().map(|entry| entry.expires_at), Some(None));
    assert_eq!(of(one).open, None, "its own attempt is none of another");
    assert_eq!(of(one).contacts, [], "nor a contact");
}

pub async fn confirm_counts_contacts_of_other_attempts<H: Harness>(s: &Scene<H>) {
    let first = s.dialing(&phone(1)).await;
    s.store().settle(&[s.ended(first, Outcome::Voicemail, 1)]).await.unwrap();
    let due = s.h.due(s.campaign, first.key().lead_id).await.unwrap();
    let second = s.begin(&s.lease, &[s.intent(&due)]).await[0];
    let facts = s.store().confirm(&[second], at(11), at(0)).await.unwrap();
    assert_eq!(facts[0].1.contacts.len(), 1);
    assert_eq!(facts[0].1.contacts[0].at, at(10));
}

pub async fn starts_are_what_may_have_been_sent<H: Harness>(s: &Scene<H>) {
    let count =
        async |whose: StartsOf<'_>, since, at_most| s.store().starts_since(whose, since, at_most).await.unwrap();
    let mine = StartsOf::Account(&s.account);
    let dialing = s.dialing(&phone(1)).await;
    assert_eq!(count(mine, at(0), 100).await, 1, "it may be on its way");
    let unsent = s.dialing(&phone(2)).await;
    let refused = s.dialing(&phone(3)).await;
    let answered = s.placed(&phone(4), call_id(4)).await;
    let limited = outdial::port::store::Settlement { sent_at: Some(at(11)), ..s.ended(refused, Outcome::NotPlaced, 0) };
    let ends = [s.ended(unsent, Outcome::NotPlaced, 0), limited, s.ended(answered, Outcome::Answered, 1)];
    assert_eq!(s.store().settle(&ends).await.unwrap().len(), 3);
    assert_eq!(count(mine, at(0), 100).await, 3, "what certainly sent nothing does not count, a refused request does");
    assert_eq!(count(StartsOf::Campaign(s.campaign), at(0), 100).await, 3);
    assert_eq!(count(mine, at(0), 2).await, 2, "counting stops");
    assert_eq!(count(mine, at(11), 100).await, 2, "by the moment of sending: the one on its way was meant for earlier");
    assert_eq!(count(mine, at(12), 100).await, 0);
    assert_eq!(count(StartsOf::Account(&AccountName::new("other")), at(0), 100).await, 0);
    assert!(s.open(dialing).await.is_some());
}

pub async fn a_deferred_lead_moves_only_from_where_it_was_seen<H: Harness>(s: &Scene<H>) {
    let seen = s.due_lead(&phone(1)).await;
    assert_eq!(s.store().defer(&[(seen.clone(), at(500))]).await.unwrap(), 1);
    assert_eq!(s.store().defer(&[(seen.clone(), at(900))]).await.unwrap(), 0);
    let now = s.h.due(s.campaign, seen.lead_id).await.unwrap();
    assert_eq!(now, outdial::port::store::DueKey { due_at: at(500), ..seen });
}

pub async fn a_disposed_lead_is_taken_only_from_where_it_was_seen<H: Harness>(s: &Scene<H>) {
    let seen = s.due_lead(&phone(1)).await;
    let verdict = super::scene::verdict(Disposition::Expired);
    let stale = outdial::port::store::DueKey { due_at: at(1), ..seen.clone() };
    assert_eq!(s.store().dispose(&[(stale, verdict.clone())], at(20)).await.unwrap(), 0);
    assert_eq!(s.store().dispose(&[(seen.clone(), verdict.clone())], at(20)).await.unwrap(), 1);
    assert_eq!(s.store().dispose(&[(seen.clone(), verdict)], at(20)).await.unwrap(), 0);
    assert_eq!(s.h.due(s.campaign, seen.lead_id).await, None);
    let disposed = s.h.disposition(s.campaign, seen.lead_id).await.unwrap();
    assert_eq!((disposed.disposition, disposed.attempt_no, disposed.tries), (Disposition::Expired, 1, 0));
}

pub async fn a_lane_is_known_from_its_first_lead_on<H: Harness>(s: &Scene<H>) {
    let lead = s.h.insert_lead(s.list, phone(1).e164()).await;
    let action = EnrolmentAction::Due {
        phone: phone(1),
        group_key: "US-NY".to_owned(),
        priority: 0,
        due_at: at(0),
        attempt_no: 1,
        tries: 0,
    };
    s.apply(&[EnrolmentStep { campaign_id: s.campaign, lead_id: lead, action }]).await;
    let same_group = s.h.insert_lead(s.list, phone(2).e164()).await;
    s.apply(&[s.step_due(same_group, &phone(2), (1, 0))]).await;
    let control = s.store().control().await.unwrap();
    assert_eq!(control.groups.len(), 2);
    assert_eq!(control.strata.iter().map(|stratum| stratum.priority).collect::<Vec<_>>().len(), 2);
    let due = s.h.due(s.campaign, lead).await.unwrap();
    s.begin(&s.lease, &[s.intent(&due)]).await;
    assert!(s.store().control().await.unwrap().strata.contains(&due.stratum), "and stays known");
}
