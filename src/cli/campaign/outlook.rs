//! What a new definition means for leads: where each is now and where it would be, judged by what the daemon asks when it
//! takes leads in and before it dials them. Reads lists page by page and keeps only counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Map;

use crate::adapter::postgres::outlook::{Holder, LeadSeen, PageOf, groups_of, lead_page, lists};
use crate::cli::desk::Desk;
use crate::cli::{Failure, wire};
use crate::domain::calendar::GroupCalendar;
use crate::domain::campaign::{CampaignState, Definition};
use crate::domain::enrolment::{EnrolmentFacts, decide};
use crate::domain::gate::{CampaignFacts, Facts, Gate, GateVerdict, WindowFacts, first_closed};
use crate::domain::id::{CallingGroupId, CampaignId, LeadId, LeadListId};
use crate::domain::lead::{EnrolmentAction, LeadFacts, LeadPlace, Place};
use crate::domain::outcome::Disposition;
use crate::domain::person::PersonLimits;
use crate::domain::phone::PhoneNumber;
use crate::domain::retry::Verdict;
use crate::domain::zone::GroupEvidence;

/// Leads that are read at once.
const PAGE: u32 = 2_000;
/// Numbers that are remembered to find new leads with the same one; beyond that each is taken to be the only one.
const CLAIMS_MAX: usize = 1_000_000;

/// Where a lead is, as far as it depends on the lead and its campaign: accounts, assistants, lines and the campaign's own
/// state, which are the same for all, are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing stands against a call.
    Callable,
    /// Due, and its time has not come: a retry, or a date of its own.
    Later,
    /// Due, and this gate opens by itself.
    Held(Gate),
    /// Due, and no gate ever opens without a change.
    Blocked,
    /// An attempt is open.
    Calling,
    /// Done with.
    Out(Disposition),
    /// The campaign has nothing to do with it.
    Outside,
    /// The stored definition is invalid, so that it is not dialed.
    Invalid,
}

impl Standing {
    const fn is_out(self) -> bool {
        match self {
            Self::Out(_) | Self::Outside => true,
            Self::Callable | Self::Later | Self::Held(_) | Self::Blocked | Self::Calling | Self::Invalid => false,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Callable => f.write_str("callable"),
            Self::Later => f.write_str("due later"),
            Self::Held(gate) => write!(f, "held by {gate}"),
            Self::Blocked => f.write_str("blocked"),
            Self::Calling => f.write_str("being called"),
            Self::Out(disposition) => write!(f, "out as {disposition}"),
            Self::Outside => f.write_str("not in it"),
            Self::Invalid => f.write_str("not dialed"),
        }
    }
}

/// What a change does to a lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// It may be called now.
    Callable,
    /// It waits, and did not, or for something else.
    Held,
    /// It can never be called without another change.
    Blocked,
    /// It is done with.
    TakenOut,
    /// Nothing.
    Unchanged,
}

impl Effect {
    pub(super) const ALL: [Self; 5] = [Self::Callable, Self::Held, Self::Blocked, Self::TakenOut, Self::Unchanged];

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Callable => "newly callable",
            Self::Held => "newly held",
            Self::Blocked => "newly blocked",
            Self::TakenOut => "taken out",
            Self::Unchanged => "unchanged",
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Callable => "newly_callable",
            Self::Held => "newly_held",
            Self::Blocked => "newly_blocked",
            Self::TakenOut => "taken_out",
            Self::Unchanged => "unchanged",
        }
    }

    pub(super) fn of(now: Standing, then: Standing) -> Self {
        if now == then || now.is_out() && then.is_out() {
            return Self::Unchanged;
        }
        match then {
            Standing::Callable => Self::Callable,
            Standing::Later | Standing::Held(_) => Self::Held,
            Standing::Blocked => Self::Blocked,
            Standing::Out(_) | Standing::Outside => Self::TakenOut,
            // A call that is open now stays open, and what would be written is valid.
            Standing::Calling | Standing::Invalid => Self::Unchanged,
        }
    }
}

/// Leads that go the same way.
#[derive(Default)]
pub(super) struct Way {
    pub leads: u64,
    /// The first of them.
    pub examples: Vec<LeadId>,
    /// Why the first of them stands where it then stands.
    pub why: String,
}

/// The effect of a change on all leads.
#[derive(Default)]
pub(super) struct Outlook {
    pub ways: BTreeMap<(Standing, Standing), Way>,
    /// Tries that leads have left, now and then.
    pub tries_now: u64,
    pub tries_then: u64,
    /// Tries that single leads lose, added up.
    pub tries_lost: u64,
    /// Whether the campaign's last day would be over.
    pub over_then: bool,
}

impl Outlook {
    pub(super) fn leads(&self) -> u64 {
        self.ways.values().map(|way| way.leads).sum()
    }

    pub(super) fn effect(&self, effect: Effect) -> u64 {
        self.ways.iter().filter(|((now, then), _)| Effect::of(*now, *then) == effect).map(|(_, way)| way.leads).sum()
    }
}

/// What is to be compared.
pub(super) struct Change<'a> {
    /// The campaign; 0 for one that does not exist.
    pub campaign_id: CampaignId,
    pub state: CampaignState,
    /// The stored definition; `None` when there is none, or none that is valid.
    pub now: Option<&'a Definition>,
    /// Whether the campaign is new.
    pub new: bool,
    pub then: &'a Definition,
    /// Leads that are named for each way.
    pub examples: usize,
}

/// Looks at every lead of every list that is or would be dialed.
pub(super) async fn look_ahead(change: &Change<'_>, desk: &Desk) -> Result<Outlook, Failure> {
    let mut names = change.then.lead_lists.clone();
    names.extend(change.now.into_iter().flat_map(|now| now.lead_lists.iter().cloned()));
    let lists = lists(&desk.pool, &names, change.campaign_id).await.context("read the lead lists")?;
    let groups: BTreeMap<_, _> =
        groups_of(&desk.pool, change.campaign_id).await.context("read the calling groups")?.into_iter().collect();
    let dialed = |definition: &Definition| -> BTreeSet<LeadListId> {
        lists.iter().filter(|(_, name, _)| definition.lead_lists.contains(name)).map(|(id, _, _)| *id).collect()
    };
    let person_limits = wire::person_limits(&desk.config);
    let judge = |definition| Judge {
        definition,
        lists: dialed(definition),
        over: is_over(definition, &groups, desk.now),
        windows: BTreeMap::new(),
        claimed: HashSet::new(),
        change,
        groups: &groups,
        person_limits: &person_limits,
        at: desk.now,
    };
    let mut now = change.now.map(&judge);
    let mut then = judge(change.then);
    let mut outlook = Outlook { over_then: then.over, ..Outlook::default() };
    for (lead_list_id, _, _) in &lists {
        let mut after = LeadId(i64::MIN);
        loop {
            let page = PageOf {
                campaign_id: change.campaign_id,
                lead_list_id: *lead_list_id,
                after,
                limit: PAGE,
                now: desk.now,
                person_since: person_limits.since(desk.now),
            };
            let leads = lead_page(&desk.pool, page).await.context("read the leads")?;
            for seen in &leads {
                outlook.add(seen, now.as_mut(), &mut then);
            }
            match leads.last() {
                Some(last) if leads.len() >= PAGE as usize => after = last.lead.lead_id,
                Some(_) | None => break,
            }
        }
    }
    Ok(outlook)
}

impl Outlook {
    fn add(&mut self, seen: &LeadSeen, now: Option<&mut Judge<'_>>, then: &mut Judge<'_>) {
        let before = match now {
            Some(judge) => judge.as_it_is(seen),
            None if then.change.new => Judged::plain(Standing::Outside),
            None => Judged::plain(where_it_is(&seen.place)),
        };
        let after = then.as_it_would_be(seen);
        self.tries_now += u64::from(before.tries_left);
        self.tries_then += u64::from(after.tries_left);
        self.tries_lost += u64::from(before.tries_left.saturating_sub(after.tries_left));
        let way = self.ways.entry((before.standing, after.standing)).or_default();
        way.leads += 1;
        if way.examples.is_empty() {
            way.why = after.why;
        }
        if way.examples.len() < then.change.examples {
            way.examples.push(seen.lead.lead_id);
        }
    }
}

/// The place alone, where no definition tells more.
fn where_it_is(place: &Place) -> Standing {
    match place {
        Place::Nowhere => Standing::Outside,
        Place::Due(_) => Standing::Invalid,
        Place::Open => Standing::Calling,
        Place::Disposed { disposition, .. } => Standing::Out(*disposition),
    }
}

/// As the daemon sees it: over once it is over for every group that it has leads in.
fn is_over(definition: &Definition, groups: &BTreeMap<CallingGroupId, String>, at: Timestamp) -> bool {
    let mut calendars = groups
        .values()
        .filter_map(|key| GroupCalendar::new(&definition.schedule, &GroupEvidence::from_key(key)).ok())
        .peekable();
    calendars.peek().is_some() && calendars.all(|calendar| calendar.is_over(at))
}

/// What is found of a lead under a definition.
struct Judged {
    standing: Standing,
    why: String,
    tries_left: u16,
}

impl Judged {
    fn plain(standing: Standing) -> Self {
        Self { standing, why: String::new(), tries_left: 0 }
    }

    fn out(verdict: Verdict) -> Self {
        Self { standing: Standing::Out(verdict.disposition), why: verdict.reason, tries_left: 0 }
    }
}

/// One definition, and what was found out under it.
struct Judge<'a> {
    definition: &'a Definition,
    lists: BTreeSet<LeadListId>,
    over: bool,
    windows: BTreeMap<String, WindowFacts>,
    /// Numbers of leads that would come in.
    claimed: HashSet<PhoneNumber>,
    change: &'a Change<'a>,
    groups: &'a BTreeMap<CallingGroupId, String>,
    person_limits: &'a PersonLimits,
    at: Timestamp,
}

impl Judge<'_> {
    /// Where a lead is: where it was put stays true until something changes.
    fn as_it_is(&mut self, seen: &LeadSeen) -> Judged {
        match &seen.place {
            Place::Due(due) => self.ask_gates(seen, due.tries, due.due_at),
            Place::Open | Place::Disposed { .. } => Judged::plain(where_it_is(&seen.place)),
            // A daemon takes it in within a second.
            Place::Nowhere => self.as_it_would_be(seen),
        }
    }

    /// Where it would be once the campaign's lists were walked under this definition.
    fn as_it_would_be(&mut self, seen: &LeadSeen) -> Judged {
        let wanted = self.lists.contains(&seen.lead.lead_list_id);
        let place = LeadPlace { campaign_id: self.change.campaign_id, wanted, place: seen.place.clone() };
        let due_group_key = match &seen.place {
            Place::Due(due) => self.groups.get(&due.stratum.calling_group_id).map(String::as_str),
            Place::Nowhere | Place::Open | Place::Disposed { .. } => None,
        };
        let facts = EnrolmentFacts { state: self.change.state, over: self.over, due_group_key };
        match (decide(Some(&seen.lead), &place, facts, self.at), &seen.place) {
            (Some(EnrolmentAction::Dispose { verdict, .. }), _) => Judged::out(verdict),
            (Some(EnrolmentAction::Due { phone, due_at, tries, .. }), _) => {
                if let Some(holder) = seen.holder.filter(|holder| self.keeps(holder)) {
                    return Judged::out(Verdict::duplicate_of(holder.lead_id));
                }
                if !self.claim(phone) {
                    let why = "another lead that would come in has the number";
                    return Judged::out(Verdict::new(Disposition::Duplicate, why));
                }
                self.ask_gates(seen, tries, due_at)
            }
            (Some(EnrolmentAction::Move { from, due_at, .. }), _) => self.ask_gates(seen, from.tries, due_at),
            (None, Place::Due(due)) => self.ask_gates(seen, due.tries, due.due_at),
            (None, place) => Judged::plain(where_it_is(place)),
        }
    }

    /// Whether a lead keeps its number: one that goes gives it up, unless it was attempted.
    fn keeps(&self, holder: &Holder) -> bool {
        holder.attempted || holder.lead_list_id.is_some_and(|list| self.lists.contains(&list))
    }

    /// Whether a number is still free.
    fn claim(&mut self, phone: PhoneNumber) -> bool {
        if self.claimed.len() >= CLAIMS_MAX {
            return !self.claimed.contains(&phone);
        }
        self.claimed.insert(phone)
    }

    /// What the gates say of a lead that is due, as soon as its time has come.
    fn ask_gates(&mut self, seen: &LeadSeen, tries: u16, due_at: Timestamp) -> Judged {
        let lead = LeadFacts {
            version: 0,
            not_before: seen.lead.not_before,
            not_after: seen.lead.not_after,
            variables: Map::new(),
        };
        let evidence = GroupEvidence::from_lead(seen.lead.time_zone.as_deref());
        let window = self.windows.entry(evidence.key()).or_insert_with(|| {
            match GroupCalendar::new(&self.definition.schedule, &evidence) {
                Ok(calendar) => WindowFacts::Judged(calendar.judge(self.at)),
                Err(blocked) => WindowFacts::Blocked(blocked),
            }
        });
        let facts = Facts {
            lead: Some(&lead),
            tries,
            person: &seen.person,
            person_limits: self.person_limits,
            campaign: CampaignFacts {
                campaign_id: self.change.campaign_id,
                state: CampaignState::Active,
                problem: None,
                max_attempts: self.definition.retry.max_attempts,
            },
            window,
            assistants: 1,
            account_problem: None,
            budget: None,
        };
        let tries_left = self.definition.retry.max_attempts.saturating_sub(tries);
        let finding = first_closed(&facts, self.at);
        let why = finding.as_ref().map_or_else(String::new, |finding| finding.evidence.to_string());
        let standing = match finding.map(|finding| (finding.gate, finding.verdict)) {
            Some((_, GateVerdict::Dispose(verdict))) => return Judged::out(verdict),
            Some((_, GateVerdict::Wait)) => Standing::Blocked,
            Some(_) | None if due_at > self.at => {
                return Judged { standing: Standing::Later, why: format!("due at {due_at}"), tries_left };
            }
            Some((gate, GateVerdict::Defer(_) | GateVerdict::Pass)) => Standing::Held(gate),
            None => Standing::Callable,
        };
        Judged { standing, why, tries_left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_what_changes_for_the_person() {
        let out = Standing::Out(Disposition::Expired);
        let window = Standing::Held(Gate::Window);
        for (now, then, effect) in [
            (window, Standing::Callable, Effect::Callable),
            (Standing::Outside, Standing::Callable, Effect::Callable),
            (Standing::Callable, window, Effect::Held),
            (window, Standing::Held(Gate::Person), Effect::Held),
            (Standing::Outside, Standing::Later, Effect::Held),
            (window, Standing::Blocked, Effect::Blocked),
            (Standing::Callable, out, Effect::TakenOut),
            (Standing::Invalid, Standing::Outside, Effect::TakenOut),
            (window, window, Effect::Unchanged),
            (out, Standing::Out(Disposition::Removed), Effect::Unchanged),
            (Standing::Calling, Standing::Calling, Effect::Unchanged),
        ] {
            assert_eq!(Effect::of(now, then), effect, "{now} to {then}");
        }
    }
}
