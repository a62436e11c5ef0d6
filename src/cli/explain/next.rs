//! The next instant at which a lead may be dialed, as far as it can be known.

use jiff::Timestamp;

use crate::domain::calendar::{Blocked, GroupCalendar};
use crate::domain::campaign::Definition;
use crate::domain::gate::{Evidence, Finding, Gate, GateVerdict, WindowFacts, examine};
use crate::domain::lead::LeadFacts;
use crate::domain::person::PersonFacts;

use super::picture::{LeadSide, Picture};

/// Instants that are looked at: each is put off by some gate, and gates take turns rarely.
const STEPS_MAX: usize = 50;

/// When a lead may be dialed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Then, and what must happen by itself besides.
    At { at: Timestamp, besides: Vec<&'static str> },
    /// Never, unless these gates are opened by a change.
    AfterChange(Vec<Finding>),
    /// Not before this instant; beyond it nothing was looked at.
    NotBefore(Timestamp),
}

/// What is known of one lead.
pub(super) struct Case<'a> {
    pub lead: Option<&'a LeadFacts>,
    pub tries: u16,
    pub person: &'a PersonFacts,
    pub calendar: &'a Result<GroupCalendar, Blocked>,
}

impl Case<'_> {
    /// What the calendar says.
    pub(super) fn window(&self, at: Timestamp) -> WindowFacts {
        match self.calendar {
            Ok(calendar) => WindowFacts::Judged(calendar.judge(at)),
            Err(blocked) => WindowFacts::Blocked(*blocked),
        }
    }
}

/// Goes from one instant that is put off to the next, until all gates pass or one waits for a change. What ends by
/// itself at a time that nobody knows, a call or a line in use, is taken to have ended.
pub(super) fn next(picture: &Picture, definition: &Definition, case: &Case<'_>, from: Timestamp) -> Next {
    let mut besides = Vec::new();
    if case.person.open.is_some() {
        besides.push("the open attempt to this person has ended");
    }
    if picture.budget.as_ref().is_some_and(|wait| wait.until.is_none()) {
        besides.push("a line is free");
    }
    let mut at = from.max(picture.now);
    for _ in 0..STEPS_MAX {
        let suppression = case.person.suppression.clone().filter(|entry| entry.expires_at.is_none_or(|end| end > at));
        let person = PersonFacts { suppression, open: None, contacts: case.person.contacts.clone() };
        let budget = picture.budget.as_ref().filter(|wait| wait.until.is_some_and(|until| until > at));
        let window = case.window(at);
        let side = LeadSide { lead: case.lead, tries: case.tries, person: &person, window: &window, budget };
        let findings = examine(&picture.facts(definition, side), at);
        let (mut closed, mut latest) = (Vec::new(), at);
        for finding in findings {
            match (&finding.verdict, &finding.evidence) {
                (GateVerdict::Pass, _) => {}
                (GateVerdict::Defer(until), _) => latest = latest.max(*until),
                (GateVerdict::Dispose(_), Evidence::Suppressed { until: Some(until), .. }) => {
                    latest = latest.max(*until);
                }
                (GateVerdict::Wait | GateVerdict::Dispose(_), _) => closed.push(finding),
            }
        }
        if !closed.is_empty() {
            return Next::AfterChange(closed);
        }
        if latest == at {
            return Next::At { at, besides };
        }
        at = latest;
    }
    Next::NotBefore(at)
}

/// A word for what a gate says.
pub(super) fn verdict_word(verdict: &GateVerdict) -> &'static str {
    match verdict {
        GateVerdict::Pass => "pass",
        GateVerdict::Defer(_) => "defer",
        GateVerdict::Wait => "wait",
        GateVerdict::Dispose(_) => "dispose",
    }
}

/// What opens a gate that waits for a change.
pub(super) fn remedy(finding: &Finding, campaign: &str) -> Option<String> {
    match finding.gate {
        Gate::Campaign => Some(format!("`outdial campaign resume {campaign}`")),
        Gate::Assistant => {
            Some("activate an assistant at the provider, or change the campaign's assistants".to_owned())
        }
        Gate::Window => Some("change the campaign's schedule, or the lead's time zone".to_owned()),
        Gate::Lead | Gate::Suppression | Gate::Tries | Gate::Person | Gate::Account | Gate::Budget => None,
    }
}
