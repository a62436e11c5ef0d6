//! Changes, walks, phones, suppressions that end, campaigns that close.

use outdial::domain::assistant::{Assistant, AssistantDetails, Fingerprint};
use outdial::domain::campaign::{CampaignState, OnAssistantChange};
use outdial::domain::id::{AssistantId, CampaignId, LeadId};
use outdial::domain::outcome::{Disposition, Outcome};
use outdial::port::store::{
    AssistantChange, AssistantUse, BACKLOG_MAX, CampaignLists, DueKey, EnrolmentAction, EnrolmentDone, EnrolmentStep,
    Place, Store,
};

use super::harness::{DispositionSeen, Harness};
use super::scene::{Scene, at, call_id, phone, verdict};

pub async fn every_kind_of_change_is_seen_oldest_first<H: Harness>(s: &Scene<H>) {
    let [a, b, c] = [
        s.h.insert_lead(s.list, "+49 30 1").await,
        s.h.insert_lead(s.list, "+49 30 2").await,
        s.h.insert_lead(s.list, "+49 30 3").await,
    ];
    assert_eq!(s.changed_leads().await, [a, b, c]);
    s.forget_changes().await;
    assert_eq!(s.changed_leads().await, []);

    s.h.edit_phone(b, "+49 30 22").await;
    s.h.delete_lead(a).await;
    s.h.edit_phone(b, "+49 30 222").await;
    let changes = s.store().peek_lead_changes(10).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.lead_id).collect::<Vec<_>>(), [b, a]);
    assert_eq!(changes[0].change_ids.len(), 2, "all changes of a lead at once");
    assert_eq!(changes[0].lead.as_ref().map(|lead| lead.phone.as_str()), Some("+49 30 222"), "as it is now");
    assert_eq!(changes[1].lead, None, "deleted");
    assert_eq!(s.store().peek_lead_changes(1).await.unwrap().len(), 1);
}

pub async fn a_change_that_comes_after_the_look_is_kept<H: Harness>(s: &Scene<H>) {
    let lead = s.h.insert_lead(s.list, phone(1).e164()).await;
    let seen = s.store().peek_lead_changes(10).await.unwrap();
    s.h.edit_phone(lead, phone(2).e164()).await;
    let steps = [s.step_due(lead, &phone(1), (1, 0))];
    let done = EnrolmentDone::Changes(seen[0].change_ids.clone());
    s.store().apply_enrolment(&steps, done, at(0)).await.unwrap();
    assert_eq!(s.changed_leads().await, [lead]);
}

pub async fn a_change_waits_for_the_end_of_an_open_attempt<H: Harness>(s: &Scene<H>) {
    let id = s.dialing(&phone(1)).await;
    let lead = id.key().lead_id;
    s.h.edit_phone(lead, phone(2).e164()).await;
    let free = s.h.insert_lead(s.list, phone(3).e164()).await;
    assert_eq!(s.changed_leads().await, [free], "it does not block what comes after it either");
    s.store().settle(&[s.ended(id, Outcome::Busy, 1)]).await.unwrap();
    assert_eq!(s.changed_leads().await, [lead, free]);
}

pub async fn a_change_shows_the_leads_place_everywhere<H: Harness>(s: &Scene<H>) {
    let idle = s.h.insert_campaign("idle", CampaignState::Active).await;
    let finished = s.h.insert_campaign("finished", CampaignState::Active).await;
    let lists = [idle, finished].map(|campaign_id| CampaignLists {
        campaign_id,
        version: 1,
        lead_lists: vec!["spring".to_owned()],
    });
    s.store().set_campaign_lists(&lists).await.unwrap();
    s.h.set_state(finished, CampaignState::Finished).await;
    let other_list = s.h.insert_list("autumn").await;
    let due = s.due_lead(&phone(1)).await;

    let places = async |lead: LeadId| {
        let changes = s.store().peek_lead_changes(100).await.unwrap();
        let change = changes.into_iter().find(|change| change.lead_id == lead).expect("the lead has changed");
        let mut places = change.places;
        places.sort_by_key(|place| place.campaign_id);
        places.into_iter().map(|place| (place.campaign_id, place.wanted, place.place)).collect::<Vec<_>>()
    };
    s.h.edit_phone(due.lead_id, phone(9).e164()).await;
    let expected: [(CampaignId, bool, Place); 2] =
        [(s.campaign, true, Place::Due(due.clone())), (idle, true, Place::Nowhere)];
    assert_eq!(places(due.lead_id).await, expected);

    s.h.move_to_list(due.lead_id, other_list).await;
    assert_eq!(places(due.lead_id).await, [(s.campaign, false, Place::Due(due.clone()))]);

    s.store().dispose(&[(due.clone(), verdict(Disposition::Removed))], at(20)).await.unwrap();
    let disposed =
        Place::Disposed { disposition: Disposition::Removed, attempt_no: 1, tries: 0, phone: Some(phone(1)) };
    assert_eq!(places(due.lead_id).await, [(s.campaign, false, disposed.clone())]);
    s.h.delete_lead(due.lead_id).await;
    assert_eq!(places(due.lead_id).await, [(s.campaign, false, disposed)], "deleted, but known here");
}

pub async fn a_new_list_is_walked_page_by_page<H: Harness>(s: &Scene<H>) {
    let mut leads = Vec::new();
    for n in 0..5 {
        leads.push(s.h.insert_lead(s.list, phone(n).e164()).await);
    }
    let second = s.h.insert_campaign("second", CampaignState::Active).await;
    assert_eq!(s.store().next_list_page(10).await.unwrap(), None, "the scene's own list is walked");
    let lists = CampaignLists {
        campaign_id: second,
        version: 1,
        lead_lists: vec!["spring".to_owned(), "not there yet".to_owned()],
    };
    s.store().set_campaign_lists(std::slice::from_ref(&lists)).await.unwrap();
    assert!(s.store().backlog(second).await.unwrap().enrolling);
    assert_eq!(walk(s, second, 2).await, leads);
    s.store().set_campaign_lists(std::slice::from_ref(&lists)).await.unwrap();
    assert_eq!(s.store().next_list_page(10).await.unwrap(), None, "once for each version");
    s.h.insert_list("not there yet").await;
    s.store().set_campaign_lists(&[lists]).await.unwrap();
    assert!(s.store().next_list_page(10).await.unwrap().is_some(), "a name that has come to be is walked");
}

/// Walks to the end and answers the leads that were shown; each must be nowhere and wanted.
async fn walk<H: Harness>(s: &Scene<H>, campaign: CampaignId, limit: u32) -> Vec<LeadId> {
    let mut seen = Vec::new();
    while let Some(page) = s.store().next_list_page(limit).await.unwrap() {
        assert_eq!(page.campaign_id, campaign);
        assert!(page.leads.len() <= limit as usize);
        for (lead, place) in &page.leads {
            assert!(place.wanted, "the campaign dials this list");
            assert_eq!((place.campaign_id, &place.place), (campaign, &Place::Nowhere));
            seen.push(lead.lead_id);
        }
        let done = EnrolmentDone::Page {
            campaign_id: campaign,
            lead_list_id: page.lead_list_id,
            after: page.last_lead_id,
            version: page.version,
        };
        s.store().apply_enrolment(&[], done, at(0)).await.unwrap();
        assert!(seen.len() <= 1000, "a walk comes to its end");
    }
    seen
}

pub async fn a_new_version_walks_its_lists_again<H: Harness>(s: &Scene<H>) {
    let lead = s.h.insert_lead(s.list, phone(1).e164()).await;
    let lists = |version, names: &[&str]| CampaignLists {
        campaign_id: s.campaign,
        version,
        lead_lists: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    s.store().set_campaign_lists(&[lists(2, &["spring"])]).await.unwrap();
    assert_eq!(walk(s, s.campaign, 10).await, [lead]);
    s.store().set_campaign_lists(&[lists(1, &[])]).await.unwrap();
    assert_eq!(s.store().next_list_page(10).await.unwrap(), None, "an older version changes nothing");

    s.store().set_campaign_lists(&[lists(3, &[])]).await.unwrap();
    let page = s.store().next_list_page(10).await.unwrap().expect("a list that is gone is walked, too");
    assert_eq!(page.leads.len(), 1);
    assert!(!page.leads[0].1.wanted);
    s.walk().await;
    s.store().set_campaign_lists(&[lists(4, &["spring"])]).await.unwrap();
    assert_eq!(walk(s, s.campaign, 10).await, [lead], "and so is one that is back");
}

pub async fn a_page_of_an_older_version_does_not_end_the_new_walk<H: Harness>(s: &Scene<H>) {
    let lead = s.h.insert_lead(s.list, phone(1).e164()).await;
    let lists = |version| CampaignLists { campaign_id: s.campaign, version, lead_lists: vec!["spring".to_owned()] };
    s.store().set_campaign_lists(&[lists(2)]).await.unwrap();
    let stale = s.store().next_list_page(10).await.unwrap().unwrap();
    s.store().set_campaign_lists(&[lists(3)]).await.unwrap();
    let done = EnrolmentDone::Page {
        campaign_id: stale.campaign_id,
        lead_list_id: stale.lead_list_id,
        after: stale.last_lead_id,
        version: stale.version,
    };
    s.store().apply_enrolment(&[], done, at(0)).await.unwrap();
    assert_eq!(walk(s, s.campaign, 10).await, [lead]);
}

pub async fn a_pages_open_lead_is_looked_at_after_its_end<H: Harness>(s: &Scene<H>) {
    let id = s.dialing(&phone(1)).await;
    let lists = CampaignLists { campaign_id: s.campaign, version: 2, lead_lists: Vec::new() };
    s.store().set_campaign_lists(&[lists]).await.unwrap();
    let page = s.store().next_list_page(10).await.unwrap().unwrap();
    assert_eq!(page.leads[0].1.place, Place::Open);
    s.walk().await;
    assert_eq!(s.changed_leads().await, []);
    s.store().settle(&[s.ended(id, Outcome::Busy, 1)]).await.unwrap();
    assert_eq!(s.changed_leads().await, [id.key().lead_id]);
}

pub async fn a_step_that_comes_too_late_is_left_alone_and_looked_at_again<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    s.h.edit_phone(due.lead_id, phone(2).e164()).await;
    let seen = s.store().peek_lead_changes(10).await.unwrap();
    let intent = outdial::port::store::DialIntent { lead_version: 2, ..s.intent(&due) };
    // Another daemon has seen to the change and dials; then the lead changes again.
    s.forget_changes().await;
    let id = s.begin(&s.lease, &[intent]).await[0];
    s.h.edit_phone(due.lead_id, phone(3).e164()).await;
    let step = s.step_dispose(due.lead_id, Disposition::Removed, (1, 0));
    let done = EnrolmentDone::Changes(seen[0].change_ids.clone());
    s.store().apply_enrolment(&[step], done, at(0)).await.unwrap();
    assert!(s.open(id).await.is_some());
    assert_eq!(s.h.disposition(s.campaign, due.lead_id).await, None);
    s.store().settle(&[s.ended(id, Outcome::Busy, 1)]).await.unwrap();
    assert_eq!(s.changed_leads().await, [due.lead_id]);
}

pub async fn a_page_notes_a_lead_that_moved_meanwhile<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let lists = CampaignLists { campaign_id: s.campaign, version: 2, lead_lists: Vec::new() };
    s.store().set_campaign_lists(&[lists]).await.unwrap();
    let page = s.store().next_list_page(10).await.unwrap().unwrap();
    s.store().defer(&[(due.clone(), at(700))]).await.unwrap();
    let step = step_move(s, &due, 300);
    let done = EnrolmentDone::Page {
        campaign_id: page.campaign_id,
        lead_list_id: page.lead_list_id,
        after: page.last_lead_id,
        version: page.version,
    };
    s.store().apply_enrolment(&[step], done, at(0)).await.unwrap();
    assert_eq!(s.h.due(s.campaign, due.lead_id).await.map(|due| due.due_at), Some(at(700)));
    assert_eq!(s.changed_leads().await, [due.lead_id]);
}

fn step_move<H: Harness>(s: &Scene<H>, from: &DueKey, due_at: i64) -> EnrolmentStep {
    let action = EnrolmentAction::Move {
        from: from.clone(),
        phone: from.phone,
        group_key: "US-NY".to_owned(),
        priority: 1,
        due_at: at(due_at),
    };
    EnrolmentStep { campaign_id: s.campaign, lead_id: from.lead_id, action }
}

pub async fn a_due_lead_moves_to_another_lane<H: Harness>(s: &Scene<H>) {
    let from = s.due_lead(&phone(1)).await;
    s.apply(&[step_move(s, &from, 300)]).await;
    let to = s.h.due(s.campaign, from.lead_id).await.unwrap();
    assert_eq!((to.stratum.priority, to.due_at, to.attempt_no, to.tries), (1, at(300), 1, 0));
    assert_ne!(to.stratum.calling_group_id, from.stratum.calling_group_id);
    assert!(s.store().control().await.unwrap().strata.contains(&to.stratum));
}

pub async fn steps_may_be_repeated<H: Harness>(s: &Scene<H>) {
    let lead = s.h.insert_lead(s.list, phone(1).e164()).await;
    let enrol = s.step_due(lead, &phone(1), (1, 0));
    s.apply(std::slice::from_ref(&enrol)).await;
    let due = s.h.due(s.campaign, lead).await;
    s.apply(std::slice::from_ref(&enrol)).await;
    assert_eq!(s.h.due(s.campaign, lead).await, due);
    let dispose = s.step_dispose(lead, Disposition::Removed, (1, 0));
    s.apply(std::slice::from_ref(&dispose)).await;
    s.apply(&[dispose]).await;
    let expected = DispositionSeen { disposition: Disposition::Removed, attempt_no: 1, tries: 0 };
    assert_eq!(s.h.disposition(s.campaign, lead).await, Some(expected));
    assert_eq!(s.h.due(s.campaign, lead).await, None);
}

pub async fn of_two_leads_with_one_phone_one_is_a_duplicate<H: Harness>(s: &Scene<H>) {
    let a = s.h.insert_lead(s.list, "+4930 12300001").await;
    let b = s.h.insert_lead(s.list, phone(1).e164()).await;
    let steps = [s.step_due(b, &phone(1), (1, 0)), s.step_due(a, &phone(1), (1, 0))];
    s.apply(&steps).await;
    let holder = s.h.holder(s.campaign, &phone(1)).await.unwrap();
    let other = if holder == a { b } else { a };
    assert!(s.h.due(s.campaign, holder).await.is_some());
    assert_eq!(s.h.due(s.campaign, other).await, None);
    let disposed = s.h.disposition(s.campaign, other).await.unwrap();
    assert_eq!((disposed.disposition, disposed.attempt_no, disposed.tries), (Disposition::Duplicate, 1, 0));

    s.h.delete_lead(holder).await;
    s.apply(&[s.step_dispose(holder, Disposition::Removed, (1, 0))]).await;
    assert_eq!(s.h.holder(s.campaign, &phone(1)).await, None, "a phone that was never attempted is given up");
    assert_eq!(s.changed_leads().await, [other], "and who waited for it is looked at again");
    s.apply(&[s.step_due(other, &phone(1), (1, 0))]).await;
    assert!(s.h.due(s.campaign, other).await.is_some());
    assert_eq!(s.h.disposition(s.campaign, other).await, None);
}

pub async fn a_phone_edit_gives_up_what_was_never_attempted<H: Harness>(s: &Scene<H>) {
    let due = s.due_lead(&phone(1)).await;
    let moved = |from: &DueKey, to| {
        let action = EnrolmentAction::Move {
            from: from.clone(),
            phone: phone(to),
            group_key: super::scene::GROUP.to_owned(),
            priority: 5,
            due_at: at(0),
        };
        EnrolmentStep { campaign_id: s.campaign, lead_id: from.lead_id, action }
    };
    s.apply(&[moved(&due, 2)]).await;
    let due = s.h.due(s.campaign, due.lead_id).await.unwrap();
    assert_eq!(due.phone, phone(2));
    assert_eq!(s.h.holder(s.campaign, &phone(1)).await, None);
    assert_eq!(s.h.holder(s.campaign, &phone(2)).await, Some(due.lead_id));

    let id = s.begin(&s.lease, &[s.intent(&due)]).await[0];
    s.store().settle(&[s.ended(id, Outcome::Busy, 1)]).await.unwrap();
    let due = s.h.due(s.campaign, due.lead_id).await.unwrap();
    s.apply(&[moved(&due, 3)]).await;
    assert_eq!(s.h.holder(s.campaign, &phone(2)).await, Some(due.lead_id), "an attempted phone stays the lead's");
    assert_eq!(s.h.holder(s.campaign, &phone(3)).await, Some(due.lead_id));
    let second = s.h.insert_lead(s.list, phone(2).e164()).await;
    s.apply(&[s.step_due(second, &phone(2), (1, 0))]).await;
    assert_eq!(s.h.disposition(s.campaign, second).await.unwrap().disposition, Disposition::Duplicate);
}

pub async fn an_edit_to_a_taken_phone_makes_a_duplicate<H: Harness>(s: &Scene<H>) {
    let first = s.due_lead(&phone(1)).await;
    let second = s.due_lead(&phone(2)).await;
    let action = EnrolmentAction::Move {
        from: second.clone(),
        phone: phone(1),
        group_key: super::scene::GROUP.to_owned(),
        priority: 5,
        due_at: at(0),
    };
    s.apply(&[EnrolmentStep { campaign_id: s.campaign, lead_id: second.lead_id, action }]).await;
    assert_eq!(s.h.due(s.campaign, second.lead_id).await, None);
    assert_eq!(s.h.disposition(s.campaign, second.lead_id).await.unwrap().disposition, Disposition::Duplicate);
    assert_eq!(s.h.due(s.campaign, first.lead_id).await, Some(first));
    assert_eq!(s.h.holder(s.campaign, &phone(2)).await, None, "it is no longer the lead's phone");
}

pub async fn a_reversible_verdict_keeps_the_numbering<H: Harness>(s: &Scene<H>) {
    let id = s.dialing(&phone(1)).await;
    let lead = id.key().lead_id;
    s.store().settle(&[s.ended(id, Outcome::Busy, 1)]).await.unwrap();
    s.apply(&[s.step_dispose(lead, Disposition::Removed, (2, 1))]).await;
    let expected = DispositionSeen { disposition: Disposition::Removed, attempt_no: 2, tries: 1 };
    assert_eq!(s.h.disposition(s.campaign, lead).await, Some(expected));
    s.apply(&[s.step_due(lead, &phone(1), (2, 1))]).await;
    let due = s.h.due(s.campaign, lead).await.unwrap();
    assert_eq!((due.attempt_no, due.tries), (2, 1));
    assert_eq!(s.h.disposition(s.campaign, lead).await, None);
}

pub async fn a_final_verdict_stays<H: Harness>(s: &Scene<H>) {
    let id = s.placed(&phone(1), call_id(1)).await;
    let lead = id.key().lead_id;
    s.store().settle(&[s.ended_for_good(id, Outcome::Answered, Disposition::Reached, 1)]).await.unwrap();
    s.apply(&[s.step_due(lead, &phone(1), (2, 1))]).await;
    s.apply(&[s.step_dispose(lead, Disposition::Removed, (2, 1))]).await;
    assert_eq!(s.h.due(s.campaign, lead).await, None);
    assert_eq!(s.h.disposition(s.campaign, lead).await.unwrap().disposition, Disposition::Reached);
}

pub async fn in_a_closing_campaign_nothing_becomes_due<H: Harness>(s: &Scene<H>) {
    let lead = s.h.insert_lead(s.list, phone(1).e164()).await;
    for state in [CampaignState::Finishing, CampaignState::Finished] {
        s.h.set_state(s.campaign, state).await;
        s.apply(&[s.step_due(lead, &phone(1), (1, 0))]).await;
        assert_eq!(s.h.due(s.campaign, lead).await, None, "{state}");
    }
    s.h.set_state(s.campaign, CampaignState::Finishing).await;
    s.apply(&[s.step_dispose(lead, Disposition::Expired, (1, 0))]).await;
    assert_eq!(s.h.disposition(s.campaign, lead).await.unwrap().disposition, Disposition::Expired);
}

pub async fn a_suppression_that_ends_brings_its_leads_back<H: Harness>(s: &Scene<H>) {
    let [a, b, c, d] = [
        s.due_lead(&phone(1)).await,
        s.due_lead(&phone(2)).await,
        s.due_lead(&phone(3)).await,
        s.due_lead(&phone(4)).await,
    ];
    for (n, expires_at) in [(1, Some(at(100))), (2, Some(at(200))), (3, None), (4, Some(at(100)))] {
        s.h.suppress(&phone(n), None, expires_at).await;
    }
    let verdicts: Vec<_> =
        [&a, &b, &c].into_iter().map(|due| (due.clone(), verdict(Disposition::Suppressed))).collect();
    assert_eq!(s.store().dispose(&verdicts, at(20)).await.unwrap(), 3);
    s.forget_changes().await;

    assert_eq!(s.store().expire_suppressions(at(99)).await.unwrap(), 0);
    assert_eq!(s.store().expire_suppressions(at(100)).await.unwrap(), 2);
    assert_eq!(s.h.suppressed_until(&phone(1)).await, None);
    assert_eq!(s.h.suppressed_until(&phone(2)).await, Some(Some(at(200))));
    assert_eq!(s.changed_leads().await, [a.lead_id], "only who was disposed of by it");
    s.forget_changes().await;
    s.h.unsuppress(&phone(3), None).await;
    assert_eq!(s.changed_leads().await, [c.lead_id]);
    assert!(s.h.due(s.campaign, d.lead_id).await.is_some());
}

pub async fn backlog_counts_what_is_left<H: Harness>(s: &Scene<H>) {
    let empty = s.store().backlog(s.campaign).await.unwrap();
    assert_eq!(empty, outdial::port::store::Backlog::default());
    s.due_lead(&phone(1)).await;
    s.due_lead(&phone(2)).await;
    s.dialing(&phone(3)).await;
    s.placed(&phone(4), call_id(4)).await;
    let held = s.held(&phone(5)).await;
    let backlog = s.store().backlog(s.campaign).await.unwrap();
    assert_eq!((backlog.due, backlog.open, backlog.held, backlog.enrolling), (2, 2, 1, false));

    s.h.edit_phone(held.key().lead_id, phone(6).e164()).await;
    assert!(!s.store().backlog(s.campaign).await.unwrap().enrolling, "a change that waits for a held attempt");
    s.h.insert_lead(s.list, phone(7).e164()).await;
    assert!(s.store().backlog(s.campaign).await.unwrap().enrolling);
    s.forget_changes().await;
    let elsewhere = s.h.insert_list("elsewhere").await;
    s.h.insert_lead(elsewhere, phone(8).e164()).await;
    assert!(!s.store().backlog(s.campaign).await.unwrap().enrolling, "a lead of a list it does not dial");
}

pub async fn a_backlog_is_counted_up_to_a_bound<H: Harness>(s: &Scene<H>) {
    let mut steps = Vec::new();
    for number in 0..=BACKLOG_MAX {
        let to = phone(number);
        steps.push(s.step_due(s.h.insert_lead(s.list, to.e164()).await, &to, (1, 0)));
    }
    s.apply(&steps).await;
    s.forget_changes().await;
    assert_eq!(s.store().backlog(s.campaign).await.unwrap().due, u64::from(BACKLOG_MAX));
}

pub async fn a_closing_campaign_lets_go_of_what_is_due<H: Harness>(s: &Scene<H>) {
    for n in 0..5 {
        s.due_lead(&phone(n)).await;
    }
    let other = s.h.insert_campaign("other", CampaignState::Active).await;
    let theirs = s.due_lead_of(other, &phone(9)).await;
    let expired = verdict(Disposition::Expired);
    assert_eq!(s.store().dispose_all_due(s.campaign, &expired, 3, at(50)).await.unwrap(), 3);
    assert_eq!(s.store().dispose_all_due(s.campaign, &expired, 3, at(50)).await.unwrap(), 2);
    assert_eq!(s.store().dispose_all_due(s.campaign, &expired, 3, at(50)).await.unwrap(), 0);
    assert_eq!(s.store().backlog(s.campaign).await.unwrap().due, 0);
    assert_eq!(s.h.due(other, theirs.lead_id).await, Some(theirs));
}

/// Else a lead whose held attempt ends in the moment its campaign finishes stays due for ever.
pub async fn a_finished_campaign_with_due_leads_is_told<H: Harness>(s: &Scene<H>) {
    use CampaignState::{Active, Finished, Finishing};
    let due = s.due_lead(&phone(1)).await;
    let emptied = s.h.insert_campaign("emptied", Finished).await;
    assert_eq!(s.store().finished_with_due().await.unwrap(), [], "campaign {emptied} has none, the other dials");
    assert!(s.store().advance_campaign(s.campaign, Active, Finishing, at(1)).await.unwrap());
    assert_eq!(s.store().finished_with_due().await.unwrap(), [], "finishing campaigns are emptied before they finish");
    assert!(s.store().advance_campaign(s.campaign, Finishing, Finished, at(2)).await.unwrap());
    assert_eq!(s.store().finished_with_due().await.unwrap(), [s.campaign]);
    assert_eq!(s.store().dispose_all_due(s.campaign, &verdict(Disposition::Removed), 10, at(3)).await.unwrap(), 1);
    assert_eq!(s.store().finished_with_due().await.unwrap(), []);
    assert_eq!(s.h.due(s.campaign, due.lead_id).await, None);
}

pub async fn a_campaign_advances_only_from_where_it_was<H: Harness>(s: &Scene<H>) {
    use CampaignState::{Active, Finished, Finishing};
    assert!(!s.store().advance_campaign(s.campaign, Finishing, Finished, at(1)).await.unwrap());
    assert!(s.store().advance_campaign(s.campaign, Active, Finishing, at(1)).await.unwrap());
    assert!(!s.store().advance_campaign(s.campaign, Active, Finishing, at(1)).await.unwrap());
    assert!(s.store().advance_campaign(s.campaign, Finishing, Finished, at(2)).await.unwrap());
    let campaigns = s.store().control().await.unwrap().campaigns;
    assert_eq!(campaigns.iter().map(|row| row.state).collect::<Vec<_>>(), [Finished]);
}

pub async fn a_finished_campaign_is_not_walked<H: Harness>(s: &Scene<H>) {
    s.h.insert_lead(s.list, phone(1).e164()).await;
    let lists = CampaignLists { campaign_id: s.campaign, version: 2, lead_lists: vec!["spring".to_owned()] };
    s.store().set_campaign_lists(&[lists]).await.unwrap();
    s.h.set_state(s.campaign, CampaignState::Finished).await;
    assert_eq!(s.store().next_list_page(10).await.unwrap(), None);
}

pub async fn a_campaign_says_why_it_is_not_dialed<H: Harness>(s: &Scene<H>) {
    let note = Some("no assistant matches".to_owned());
    s.store().note_campaigns(&[(s.campaign, note.clone())]).await.unwrap();
    assert_eq!(s.h.note(s.campaign).await, note);
    s.store().note_campaigns(&[(s.campaign, None)]).await.unwrap();
    assert_eq!(s.h.note(s.campaign).await, None);
    let version = s.store().control().await.unwrap().campaigns[0].version;
    assert_eq!(version, 1, "a note is no new version");
}

pub async fn a_roster_replaces_the_one_before<H: Harness>(s: &Scene<H>) {
    let assistant = |id: &str| Assistant {
        assistant_id: AssistantId::new(id),
        name: format!("Assistant {id}"),
        active: true,
        status: "active".to_owned(),
        mode: None,
        language_id: Some(1),
        webhook_url: None,
        variables: vec!["name".to_owned()],
        details: AssistantDetails::default(),
    };
    s.store().save_roster(&s.account, &[assistant("b"), assistant("a")], at(1)).await.unwrap();
    assert_eq!(s.h.roster_ids(&s.account).await, ["a", "b"]);
    s.store().save_roster(&s.account, &[assistant("b"), assistant("c")], at(2)).await.unwrap();
    assert_eq!(s.h.roster_ids(&s.account).await, ["b", "c"]);
    s.store().save_roster(&s.account, &[], at(3)).await.unwrap();
    assert_eq!(s.h.roster_ids(&s.account).await, Vec::<String>::new());
}

pub async fn a_changed_assistant_is_noticed_once_or_pauses_until_resumed<H: Harness>(s: &Scene<H>) {
    let (calm, careful) = (s.campaign, s.h.insert_campaign("careful", CampaignState::Active).await);
    let used = |campaign_id, on_change, id: &str, edition: &str| AssistantUse {
        campaign_id,
        assistant_id: AssistantId::new(id),
        fingerprint: Fingerprint::new(edition),
        on_change,
        reason: format!("assistant {id} was changed"),
    };
    let uses = |a: &str, b: &str| {
        [
            used(calm, OnAssistantChange::Warn, "a", a),
            used(careful, OnAssistantChange::Pause, "a", a),
            used(careful, OnAssistantChange::Pause, "b", b),
        ]
    };
    let pin =
        async |uses: &[AssistantUse], seconds| s.store().pin_assistants(&s.account, uses, at(seconds)).await.unwrap();
    let state = async |id: CampaignId| {
        let control = s.store().control().await.unwrap();
        control.campaigns.into_iter().find(|campaign| campaign.campaign_id == id).map(|campaign| campaign.state)
    };
    let changed = |campaign_id, id: &str, seconds, paused| AssistantChange {
        campaign_id,
        assistant_id: AssistantId::new(id),
        pinned_at: at(seconds),
        paused,
    };
    assert_eq!(pin(&uses("a1", "b1"), 1).await, [], "the first look pins");
    assert_eq!(pin(&uses("a1", "b1"), 2).await, []);
    assert_eq!(pin(&[], 2).await, []);

    // Both assistants of the careful campaign change, and the calm one shares the first.
    let expected = [changed(calm, "a", 1, false), changed(careful, "a", 1, true), changed(careful, "b", 1, true)];
    assert_eq!(pin(&uses("a2", "b2"), 3).await, expected);
    assert_eq!((state(calm).await, state(careful).await), (Some(CampaignState::Active), Some(CampaignState::Paused)));
    let reason = "assistant a was changed; assistant b was changed";
    assert_eq!(s.h.note(careful).await.as_deref(), Some(reason));
    s.store().note_campaigns(&[(careful, None)]).await.unwrap();
    assert_eq!(s.h.note(careful).await.as_deref(), Some(reason), "a restarted daemon's notes do not hide the reason");
    assert_eq!(s.h.note(calm).await, None);
    let again = [changed(careful, "a", 1, false), changed(careful, "b", 1, false)];
    assert_eq!(pin(&uses("a2", "b2"), 4).await, again, "told once; what paused stays pinned as it was");

    // Resuming accepts what was read last; a further change is noticed.
    let assistant = |id: &str, edition: &str| Assistant {
        assistant_id: AssistantId::new(id),
        name: id.to_owned(),
        active: true,
        status: "active".to_owned(),
        mode: None,
        language_id: None,
        webhook_url: None,
        variables: Vec::new(),
        details: AssistantDetails { fingerprint: Some(Fingerprint::new(edition)), ..AssistantDetails::default() },
    };
    s.store().save_roster(&s.account, &[assistant("a", "a2"), assistant("b", "b2")], at(5)).await.unwrap();
    s.h.set_state(careful, CampaignState::Active).await;
    assert_eq!(s.h.note(careful).await, None);
    assert_eq!(pin(&uses("a2", "b2"), 6).await, []);
    let changes = pin(&uses("a2", "b3"), 7).await;
    assert_eq!(changes.iter().map(|change| (change.campaign_id, change.paused)).collect::<Vec<_>>(), [(careful, true)]);

    // A person's own pause accepts nothing.
    s.h.set_state(careful, CampaignState::Active).await;
    assert_eq!(pin(&uses("a2", "b2"), 8).await, []);
    s.h.set_state(careful, CampaignState::Paused).await;
    s.store().save_roster(&s.account, &[assistant("a", "a3"), assistant("b", "b2")], at(9)).await.unwrap();
    s.h.set_state(careful, CampaignState::Active).await;
    let changes = pin(&uses("a3", "b2")[1..], 10).await;
    assert_eq!(changes.iter().map(|change| change.paused).collect::<Vec<_>>(), [true]);
    let gone = AssistantUse { campaign_id: CampaignId(4_000_000_000), ..uses("a1", "b1")[0].clone() };
    assert_eq!(pin(&[gone], 11).await, [], "a campaign that was deleted meanwhile harms nobody");
}
