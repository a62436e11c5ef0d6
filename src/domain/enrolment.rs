//! A lead was inserted, changed or deleted, or a campaign began or ceased to dial its list: where does it belong now?

use jiff::Timestamp;

use super::campaign::CampaignState;
use super::lead::{DueKey, EnrolmentAction, LeadPlace, LeadRow, Place};
use super::outcome::Disposition;
use super::phone::PhoneNumber;
use super::retry::Verdict;
use super::zone::GroupEvidence;

/// What a lead's place depends on besides the lead.
#[derive(Clone, Copy, Debug)]
pub struct EnrolmentFacts<'a> {
    /// Where the campaign is in its life.
    pub state: CampaignState,
    /// Whether its last day is over for the lead's calling group.
    pub over: bool,
    /// Key of the calling group that a due lead is in now, if the caller knows it.
    pub due_group_key: Option<&'a str>,
}

/// Where a lead goes; `None` leaves it where it is. Leads with an open attempt are never asked about.
pub fn decide(
    lead: Option<&LeadRow>,
    place: &LeadPlace,
    campaign: EnrolmentFacts<'_>,
    now: Timestamp,
) -> Option<EnrolmentAction> {
    let (attempt_no, tries) = match &place.place {
        Place::Open => return None,
        Place::Disposed { disposition, .. } if disposition.is_final() => return None,
        Place::Nowhere => (1, 0),
        Place::Due(due) => (due.attempt_no, due.tries),
        Place::Disposed { attempt_no, tries, .. } => (*attempt_no, *tries),
    };
    let put_out = |disposition, reason: &str| {
        let same = matches!(&place.place, Place::Disposed { disposition: found, .. } if *found == disposition);
        let nothing_to_do = same || matches!(place.place, Place::Nowhere) && disposition == Disposition::Removed;
        (!nothing_to_do).then(|| EnrolmentAction::Dispose {
            verdict: Verdict::new(disposition, reason),
            attempt_no,
            tries,
        })
    };
    let Some(lead) = lead else {
        return put_out(Disposition::Removed, "the lead was deleted");
    };
    if !place.wanted {
        return put_out(Disposition::Removed, "the campaign does not dial the lead's list");
    }
    match campaign.state {
        CampaignState::Draft | CampaignState::Active | CampaignState::Paused => {}
        // The closing pass takes out what is due; nothing new comes in.
        CampaignState::Finishing | CampaignState::Finished => return None,
    }
    let phone = match PhoneNumber::parse(&lead.phone) {
        Ok(phone) => phone,
        Err(problem) => return put_out(Disposition::InvalidNumber, &problem.to_string()),
    };
    if lead.not_after.is_some_and(|not_after| not_after <= now) {
        return put_out(Disposition::Expired, "the lead's not_after has passed");
    }
    if campaign.over {
        return put_out(Disposition::Expired, "the campaign's last day is over");
    }
    let group_key = GroupEvidence::from_lead(lead.time_zone.as_deref()).key();
    let not_before = lead.not_before.map_or(now, |not_before| not_before.max(now));
    // Before the first attempt only the lead's own date tells a lead to wait; what else stops it is judged when it is due.
    let waits_too_long = |due: &DueKey| due.attempt_no == 1 && due.due_at > not_before;
    match &place.place {
        Place::Nowhere => Some(EnrolmentAction::Due {
            phone,
            group_key,
            priority: lead.priority,
            due_at: not_before,
            attempt_no,
            tries,
        }),
        Place::Due(due)
            if due.phone == phone
                && due.stratum.priority == lead.priority
                && due.due_at >= lead.not_before.unwrap_or(due.due_at)
                && !waits_too_long(due)
                && campaign.due_group_key == Some(&group_key) =>
        {
            None
        }
        Place::Due(due) => Some(EnrolmentAction::Move {
            from: due.clone(),
            phone,
            group_key,
            priority: lead.priority,
            due_at: if waits_too_long(due) { not_before } else { due.due_at.max(not_before) },
        }),
        Place::Disposed { disposition, phone: enrolled, .. } => {
            let again = match disposition {
                // The provider refused this very number: only another one is a change.
                Disposition::InvalidNumber => enrolled.as_ref() != Some(&phone),
                // The store claims the phone again, or finds that another lead still has it; a suppressed person who
                // still is suppressed is stopped by the gate.
                Disposition::Suppressed | Disposition::Expired | Disposition::Removed | Disposition::Duplicate => true,
                Disposition::Reached | Disposition::GoalMet | Disposition::Exhausted => false,
            };
            again.then_some(EnrolmentAction::Due {
                phone,
                group_key,
                priority: lead.priority,
                due_at: not_before,
                attempt_no,
                tries,
            })
        }
        Place::Open => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
    use crate::domain::lead::Stratum;
    use jiff::SignedDuration;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn lead() -> LeadRow {
        LeadRow {
            lead_id: LeadId(1),
            lead_list_id: LeadListId(1),
            phone: "+49 30 901820".to_owned(),
            time_zone: Some("Europe/Berlin".to_owned()),
            priority: 5,
            not_before: None,
            not_after: None,
        }
    }

    fn place(place: Place) -> LeadPlace {
        LeadPlace { campaign_id: CampaignId(1), wanted: true, place }
    }

    fn disposed(disposition: Disposition) -> Place {
        Place::Disposed { disposition, attempt_no: 3, tries: 2, phone: None }
    }

    const ACTIVE: EnrolmentFacts<'static> =
        EnrolmentFacts { state: CampaignState::Active, over: false, due_group_key: Some("") };

    fn outcome(
        lead: Option<&LeadRow>,
        place: &LeadPlace,
        campaign: EnrolmentFacts<'_>,
    ) -> Option<Result<(u16, u16), Disposition>> {
        decide(lead, place, campaign, NOW).map(|action| match action {
            EnrolmentAction::Due { attempt_no, tries, .. } => Ok((attempt_no, tries)),
            EnrolmentAction::Move { from, .. } => Ok((from.attempt_no, from.tries)),
            EnrolmentAction::Dispose { verdict, .. } => Err(verdict.disposition),
        })
    }

    #[test]
    fn a_new_lead_becomes_due_and_an_impossible_one_says_why() {
        let nowhere = place(Place::Nowhere);
        assert_eq!(outcome(Some(&lead()), &nowhere, ACTIVE), Some(Ok((1, 0))));
        let bad = LeadRow { phone: "12".to_owned(), ..lead() };
        assert_eq!(outcome(Some(&bad), &nowhere, ACTIVE), Some(Err(Disposition::InvalidNumber)));
        let late = LeadRow { not_after: Some(NOW), ..lead() };
        assert_eq!(outcome(Some(&late), &nowhere, ACTIVE), Some(Err(Disposition::Expired)));
        assert_eq!(outcome(None, &nowhere, ACTIVE), None);
        let finishing = EnrolmentFacts { state: CampaignState::Finishing, ..ACTIVE };
        assert_eq!(outcome(Some(&lead()), &nowhere, finishing), None);
    }

    #[test]
    fn reversible_verdicts_are_undone_with_the_numbering_kept() {
        for disposition in Disposition::ALL {
            let expected = if disposition.is_final() { None } else { Some(Ok((3, 2))) };
            assert_eq!(outcome(Some(&lead()), &place(disposed(*disposition)), ACTIVE), expected, "{disposition}");
        }
    }

    #[test]
    fn a_number_the_provider_refused_stays_out_until_it_changes() {
        let refused = |phone: &str| {
            place(Place::Disposed {
                disposition: Disposition::InvalidNumber,
                attempt_no: 2,
                tries: 0,
                phone: PhoneNumber::parse(phone).ok(),
            })
        };
        assert_eq!(outcome(Some(&lead()), &refused("+4930901820"), ACTIVE), None);
        assert_eq!(outcome(Some(&lead()), &refused("+4930901821"), ACTIVE), Some(Ok((2, 0))));
    }

    #[test]
    fn a_deleted_or_unlisted_lead_goes_out_once() {
        let unlisted = LeadPlace { wanted: false, ..place(disposed(Disposition::Expired)) };
        assert_eq!(outcome(Some(&lead()), &unlisted, ACTIVE), Some(Err(Disposition::Removed)));
        let removed = LeadPlace { wanted: false, ..place(disposed(Disposition::Removed)) };
        assert_eq!(outcome(Some(&lead()), &removed, ACTIVE), None);
        assert_eq!(outcome(None, &place(disposed(Disposition::Reached)), ACTIVE), None);
    }

    #[test]
    fn dates_ahead_make_the_lead_due_later() {
        let at = NOW + SignedDuration::from_hours(5);
        let later = LeadRow { not_before: Some(at), ..lead() };
        let Some(EnrolmentAction::Due { due_at, .. }) = decide(Some(&later), &place(Place::Nowhere), ACTIVE, NOW)
        else {
            panic!("a new lead becomes due")
        };
        assert_eq!(due_at, at);
    }

    /// Where a due lead of attempt number `attempt_no` goes, in hours from now.
    #[track_caller]
    fn check_due(attempt_no: u16, due_at: i64, not_before: Option<i64>, expected: Option<i64>) {
        let hours = |hours| NOW + SignedDuration::from_hours(hours);
        let lead = LeadRow { not_before: not_before.map(hours), ..lead() };
        let key = GroupEvidence::from_lead(lead.time_zone.as_deref()).key();
        let due = DueKey {
            stratum: Stratum { campaign_id: CampaignId(1), calling_group_id: CallingGroupId(1), priority: 5 },
            due_at: hours(due_at),
            lead_id: lead.lead_id,
            attempt_no,
            tries: attempt_no - 1,
            phone: PhoneNumber::parse(&lead.phone).unwrap(),
        };
        let facts = EnrolmentFacts { due_group_key: Some(&key), ..ACTIVE };
        let found = decide(Some(&lead), &place(Place::Due(due)), facts, NOW).map(|action| match action {
            EnrolmentAction::Move { due_at, .. } => due_at,
            EnrolmentAction::Due { .. } | EnrolmentAction::Dispose { .. } => panic!("a due lead moves: {action:?}"),
        });
        assert_eq!(found, expected.map(hours));
    }

    #[test]
    fn an_earlier_date_brings_a_lead_forward_before_its_first_attempt() {
        check_due(1, 5, Some(2), Some(2));
        check_due(1, 5, Some(-2), Some(0));
        check_due(1, 5, None, Some(0));
        check_due(1, 5, Some(7), Some(7));
        // Nothing to do: due as its date says, or long since.
        check_due(1, 5, Some(5), None);
        check_due(1, 0, None, None);
        check_due(1, -3, None, None);
        check_due(1, -3, Some(-4), None);
        // A retry waits as its rule says.
        check_due(2, 5, Some(2), None);
        check_due(2, 5, None, None);
        check_due(2, 5, Some(7), Some(7));
    }
}
