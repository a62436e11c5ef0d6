//! May this phone be rung now?
//!
//! Every gate is one small check over [`Facts`]; the order is cheapest and most final first. The engine stops at the
//! first gate that does not pass, `explain` shows them all, and both call the same functions.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::calendar::{Blocked, ClosedBy, Openness};
use super::campaign::CampaignState;
use super::id::{AttemptId, CampaignId};
use super::lead::LeadFacts;
use super::outcome::{Disposition, words};
use super::person::{PersonFacts, PersonLimits, PersonWait};
use super::retry::Verdict;

words!(
    /// The checks, in their order.
    Gate {
        /// The lead exists and its own dates allow it.
        Lead = "lead",
        /// The person is on no do-not-call list.
        Suppression = "suppression",
        /// The campaign is active and not over.
        Campaign = "campaign",
        /// Tries are left.
        Tries = "tries",
        /// Nobody else is ringing or may be ringing this person, and the person's limits allow another call.
        Person = "person",
        /// The calling windows and the legal bound, in every candidate zone.
        Window = "window",
        /// An active assistant that the campaign may use.
        Assistant = "assistant",
        /// The account is not stopped, can place calls, and is dialed by this daemon.
        Account = "account",
        /// Starts and lines are free.
        Budget = "budget",
    }
);

/// Everything a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The lead; `None` when it was deleted.
    pub lead: Option<&'a LeadFacts>,
    /// Tries so far.
    pub tries: u16,
    /// The person behind the phone.
    pub person: &'a PersonFacts,
    /// How often a person may be called.
    pub person_limits: &'a PersonLimits,
    /// The campaign.
    pub campaign: CampaignFacts<'a>,
    /// What the calendar says of the lead's calling group.
    pub window: &'a WindowFacts,
    /// Active assistants the campaign may use.
    pub assistants: usize,
    /// Why the account cannot place calls, if it cannot.
    pub account_problem: Option<&'a str>,
    /// What limits starts and lines at the moment, if anything does.
    pub budget: Option<&'a BudgetWait>,
}

/// The campaign's share in the facts.
#[derive(Clone, Copy, Debug)]
pub struct CampaignFacts<'a> {
    /// Which one.
    pub campaign_id: CampaignId,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Why it is not dialed although it is active, an invalid definition say; or why the daemon paused it.
    pub problem: Option<&'a str>,
    /// Tries in all.
    pub max_attempts: u16,
}

/// What the calendar says of a calling group at one instant.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowFacts {
    /// No instant can ever be legal without a change.
    Blocked(Blocked),
    /// Open or closed.
    Judged(Openness),
}

/// A limit on starts or lines that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetWait {
    /// The limit's name in the configuration, with whose it is.
    pub limit: String,
    /// When it frees, if time alone frees it.
    pub until: Option<Timestamp>,
}

/// What one gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Nothing against the call.
    Pass,
    /// Not before this instant.
    Defer(Timestamp),
    /// Not now, and only a change of something opens it: the lead stays where it is.
    Wait,
    /// Never, as things stand.
    Dispose(Verdict),
}

/// What one gate says, and on what evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which gate.
    pub gate: Gate,
    /// What it says.
    pub verdict: GateVerdict,
    /// On what evidence.
    pub evidence: Evidence,
}

/// Why a gate says what it says; prints as a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Nothing worth a word.
    Clear(&'static str),
    /// The lead row is gone.
    LeadDeleted,
    /// The lead's `not_before` lies ahead.
    NotBefore(Timestamp),
    /// The lead's `not_after` has passed.
    NotAfter(Timestamp),
    /// On a do-not-call list.
    Suppressed {
        /// Why.
        reason: String,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// The campaign does not dial.
    CampaignState(CampaignState),
    /// The campaign cannot be dialed.
    CampaignProblem(String),
    /// Tries made and allowed.
    Tries {
        /// Made.
        made: u16,
        /// Allowed.
        max: u16,
    },
    /// Another attempt to this person is open.
    PersonBusy(AttemptId),
    /// A limit of the person is reached.
    PersonLimit(PersonWait),
    /// No instant can ever be legal.
    Blocked(Blocked),
    /// The window is open.
    Open {
        /// Until when.
        until: Timestamp,
    },
    /// The window is closed.
    Closed(ClosedBy),
    /// How many assistants there are.
    Assistants(usize),
    /// The account cannot place calls.
    AccountProblem(String),
    /// A limit is used up.
    Budget(BudgetWait),
}

/// How long a lead whose person is busy waits before it is looked at again: long enough to cost nothing, short enough to
/// go unnoticed among calls of a minute or more.
pub const PERSON_BUSY_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// The first gate that does not pass; `None` means the phone may be rung now.
pub fn first_closed(facts: &Facts<'_>, now: Timestamp) -> Option<Finding> {
    Gate::ALL.iter().map(|gate| check(*gate, facts, now)).find(|finding| finding.verdict != GateVerdict::Pass)
}

/// What every gate says, in order.
pub fn examine(facts: &Facts<'_>, now: Timestamp) -> Vec<Finding> {
    Gate::ALL.iter().map(|gate| check(*gate, facts, now)).collect()
}

/// What one gate says.
pub fn check(gate: Gate, facts: &Facts<'_>, now: Timestamp) -> Finding {
    let (verdict, evidence) = match gate {
        Gate::Lead => check_lead(facts, now),
        Gate::Suppression => check_suppression(facts.person),
        Gate::Campaign => check_campaign(&facts.campaign),
        Gate::Tries => check_tries(facts),
        Gate::Person => check_person(facts, now),
        Gate::Window => check_window(facts.window),
        Gate::Assistant => {
            let verdict = if facts.assistants == 0 { GateVerdict::Wait } else { GateVerdict::Pass };
            (verdict, Evidence::Assistants(facts.assistants))
        }
        Gate::Account => match facts.account_problem {
            Some(problem) => (GateVerdict::Wait, Evidence::AccountProblem(problem.to_owned())),
            None => (GateVerdict::Pass, Evidence::Clear("the account can place calls")),
        },
        Gate::Budget => match facts.budget {
            Some(wait) => (wait.until.map_or(GateVerdict::Wait, GateVerdict::Defer), Evidence::Budget(wait.clone())),
            None => (GateVerdict::Pass, Evidence::Clear("starts and lines are free")),
        },
    };
    Finding { gate, verdict, evidence }
}

fn check_lead(facts: &Facts<'_>, now: Timestamp) -> (GateVerdict, Evidence) {
    let Some(lead) = facts.lead else {
        let verdict = Verdict::new(Disposition::Removed, "the lead was deleted");
        return (GateVerdict::Dispose(verdict), Evidence::LeadDeleted);
    };
    match (lead.not_before, lead.not_after) {
        (_, Some(not_after)) if not_after <= now => {
            let verdict = Verdict::new(Disposition::Expired, format!("the lead's not_after {not_after} has passed"));
            (GateVerdict::Dispose(verdict), Evidence::NotAfter(not_after))
        }
        (Some(not_before), _) if now < not_before => (GateVerdict::Defer(not_before), Evidence::NotBefore(not_before)),
        _ => (GateVerdict::Pass, Evidence::Clear("the lead's own dates allow it")),
    }
}

fn check_suppression(person: &PersonFacts) -> (GateVerdict, Evidence) {
    match &person.suppression {
        None => (GateVerdict::Pass, Evidence::Clear("on no do-not-call list")),
        Some(entry) => {
            let verdict = Verdict::new(Disposition::Suppressed, entry.reason.clone());
            let evidence = Evidence::Suppressed { reason: entry.reason.clone(), until: entry.expires_at };
            (GateVerdict::Dispose(verdict), evidence)
        }
    }
}

fn check_campaign(campaign: &CampaignFacts<'_>) -> (GateVerdict, Evidence) {
    match (campaign.state, campaign.problem) {
        (CampaignState::Active, None) => (GateVerdict::Pass, Evidence::Clear("the campaign is active")),
        (CampaignState::Active, Some(problem)) => (GateVerdict::Wait, Evidence::CampaignProblem(problem.to_owned())),
        (CampaignState::Paused, Some(reason)) => {
            (GateVerdict::Wait, Evidence::CampaignProblem(format!("the campaign is paused: {reason}")))
        }
        (state, _) => (GateVerdict::Wait, Evidence::CampaignState(state)),
    }
}

fn check_tries(facts: &Facts<'_>) -> (GateVerdict, Evidence) {
    let (made, max) = (facts.tries, facts.campaign.max_attempts);
    let verdict = if made < max {
        GateVerdict::Pass
    } else {
        GateVerdict::Dispose(Verdict::new(Disposition::Exhausted, format!("{made} of {max} tries made")))
    };
    (verdict, Evidence::Tries { made, max })
}

fn check_person(facts: &Facts<'_>, now: Timestamp) -> (GateVerdict, Evidence) {
    if let Some(open) = facts.person.open {
        return (GateVerdict::Defer(now + PERSON_BUSY_WAIT), Evidence::PersonBusy(open));
    }
    match facts.person_limits.next_allowed(&facts.person.contacts, facts.campaign.campaign_id, now) {
        Some(wait) => (GateVerdict::Defer(wait.until), Evidence::PersonLimit(wait)),
        None => (GateVerdict::Pass, Evidence::Clear("the person's limits allow it")),
    }
}

fn check_window(window: &WindowFacts) -> (GateVerdict, Evidence) {
    match window {
        WindowFacts::Blocked(blocked) => (GateVerdict::Wait, Evidence::Blocked(*blocked)),
        WindowFacts::Judged(Openness::Open { until }) => (GateVerdict::Pass, Evidence::Open { until: *until }),
        WindowFacts::Judged(Openness::Closed { opens_at, why }) => {
            (opens_at.map_or(GateVerdict::Wait, GateVerdict::Defer), Evidence::Closed(why.clone()))
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(text) => f.write_str(text),
            Self::LeadDeleted => f.write_str("the lead was deleted"),
            Self::NotBefore(at) => write!(f, "the lead's not_before is {at}"),
            Self::NotAfter(at) => write!(f, "the lead's not_after {at} has passed"),
            Self::Suppressed { reason, until: None } => write!(f, "do not call: {reason}"),
            Self::Suppressed { reason, until: Some(until) } => write!(f, "do not call until {until}: {reason}"),
            Self::CampaignState(state) => write!(f, "the campaign is {state}"),
            Self::CampaignProblem(problem) => f.write_str(problem),
            Self::Tries { made, max } => write!(f, "{made} of {max} tries made"),
            Self::PersonBusy(attempt) => write!(f, "attempt {attempt} to this phone is open"),
            Self::PersonLimit(wait) => write!(f, "person.{} is reached", wait.limit),
            Self::Blocked(blocked) => write!(f, "blocked: {blocked}"),
            Self::Open { until } => write!(f, "open until {until}"),
            Self::Closed(why) => why.fmt(f),
            Self::Assistants(0) => f.write_str("no active assistant matches the campaign"),
            Self::Assistants(1) => f.write_str("1 active assistant"),
            Self::Assistants(count) => write!(f, "{count} active assistants"),
            Self::AccountProblem(problem) => f.write_str(problem),
            Self::Budget(wait) => write!(f, "{} is used up", wait.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::campaign::Day;
    use crate::domain::person::{Contact, Suppression};
    use serde_json::Map;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn lead() -> LeadFacts {
        LeadFacts { version: 1, not_before: None, not_after: None, variables: Map::new() }
    }

    fn limits() -> PersonLimits {
        PersonLimits {
            calls_per_day: Some(1),
            day: Day::Rolling,
            min_gap_between_campaigns: SignedDuration::from_hours(4),
        }
    }

    const CAMPAIGN: CampaignFacts<'static> =
        CampaignFacts { campaign_id: CampaignId(1), state: CampaignState::Active, problem: None, max_attempts: 3 };

    fn leak<T>(value: T) -> &'static T {
        Box::leak(Box::new(value))
    }

    /// All gates pass; each case changes one fact.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts<'static>), expected: Option<(Gate, GateVerdict)>) {
        let mut facts = Facts {
            lead: Some(leak(lead())),
            tries: 0,
            person: leak(PersonFacts::default()),
            person_limits: leak(limits()),
            campaign: CAMPAIGN,
            window: leak(WindowFacts::Judged(Openness::Open { until: at(60) })),
            assistants: 1,
            account_problem: None,
            budget: None,
        };
        change(&mut facts);
        assert_eq!(first_closed(&facts, at(0)).map(|finding| (finding.gate, finding.verdict)), expected);
        assert_eq!(examine(&facts, at(0)).len(), Gate::ALL.len());
    }

    #[test]
    fn every_gate_can_close() {
        check(|_| {}, None);
        check(
            |facts| facts.lead = None,
            Some((Gate::Lead, GateVerdict::Dispose(Verdict::new(Disposition::Removed, "the lead was deleted")))),
        );
        let later = leak(LeadFacts { not_before: Some(at(5)), ..lead() });
        check(|facts| facts.lead = Some(later), Some((Gate::Lead, GateVerdict::Defer(at(5)))));
        let suppression = Some(Suppression { reason: "asked".to_owned(), expires_at: None });
        let suppressed = leak(PersonFacts { suppression, ..PersonFacts::default() });
        check(
            |facts| facts.person = suppressed,
            Some((Gate::Suppression, GateVerdict::Dispose(Verdict::new(Disposition::Suppressed, "asked")))),
        );
        for state in [CampaignState::Draft, CampaignState::Paused, CampaignState::Finishing, CampaignState::Finished] {
            check(|facts| facts.campaign.state = state, Some((Gate::Campaign, GateVerdict::Wait)));
        }
        check(|facts| facts.campaign.problem = Some("invalid"), Some((Gate::Campaign, GateVerdict::Wait)));
        check(
            |facts| facts.tries = 3,
            Some((Gate::Tries, GateVerdict::Dispose(Verdict::new(Disposition::Exhausted, "3 of 3 tries made")))),
        );
        let contacts = vec![Contact { at: at(-1), campaign_id: CampaignId(2) }];
        let called = leak(PersonFacts { contacts, ..PersonFacts::default() });
        check(|facts| facts.person = called, Some((Gate::Person, GateVerdict::Defer(at(-1 + 24 * 60)))));
        let blocked = leak(WindowFacts::Blocked(Blocked::NoZone));
        check(|facts| facts.window = blocked, Some((Gate::Window, GateVerdict::Wait)));
        check(|facts| facts.assistants = 0, Some((Gate::Assistant, GateVerdict::Wait)));
        check(|facts| facts.account_problem = Some("stopped"), Some((Gate::Account, GateVerdict::Wait)));
        let budget = leak(BudgetWait { limit: "concurrent_calls".to_owned(), until: None });
        check(|facts| facts.budget = Some(budget), Some((Gate::Budget, GateVerdict::Wait)));
    }
}
