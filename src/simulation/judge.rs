//! The oracle: what may never have happened, judged from outside, by the plainest means.
//!
//! It reads the tables only where the promise is about them (a durable intent, an open attempt, a recorded result). Windows
//! are judged by looking at the clock on the wall, rates by counting what left.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::adapter::memory::World as Tables;
use crate::domain::attempt::OpenState;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, AttemptId, CampaignId, LeadId};
use crate::domain::outcome::Outcome;
use crate::domain::phone::PhoneNumber;
use crate::port::clock::Clock;
use crate::port::permit::OutboundCall;
use crate::port::store::DueKey;

use super::scenario::CampaignPlan;
use super::telephone::{Call, Sent};
use super::world::{GRACE, LEAD_GRACE, MISSING, State, World};

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

impl World {
    /// A request is let go at this moment; it is not in the books yet.
    pub fn judge_request(&self, state: &mut State, sent: &Sent) {
        for wrong in self.wrongs(state, sent) {
            let key = sent.attempt_id.key();
            let text = format!(
                "request for lead {} of campaign {}, attempt {}, at {}: {wrong}",
                key.lead_id, key.campaign_id, key.attempt_no, sent.at
            );
            self.violation(state, text);
        }
    }

    fn wrongs(&self, state: &State, sent: &Sent) -> Vec<String> {
        let mut wrongs = Vec::new();
        self.judge_intent(state, sent, &mut wrongs);
        self.judge_permission(state, sent, &mut wrongs);
        self.judge_person(state, sent, &mut wrongs);
        self.judge_limits(state, sent, Limits::starts, &mut wrongs);
        wrongs
    }

    /// A request arrives that the provider takes: at once, or much later than it was let go, from a process that was
    /// stopped or has died in between.
    pub fn judge_arrival(&self, state: &mut State, request: usize, call: &OutboundCall) {
        let sent = state.sent[request];
        let now = self.clock.now();
        let mut wrongs = Vec::new();
        let open =
            self.store.inspect(|tables| tables.open_attempt.get(&sent.phone).map(|open| (open.attempt_id, open.state)));
        let lost = self.is_lost(sent.attempt_id);
        if !lost && open.is_none_or(|(attempt_id, state)| attempt_id != sent.attempt_id || state == OpenState::Placed) {
            wrongs.push(format!("the phone's open attempt is {open:?}"));
        }
        if let Some(live) = state.calls.iter().find(|call| call.phone == sent.phone && call.over_at > now) {
            wrongs.push(format!("call {} to this phone is live until {}", live.id, live.over_at));
        }
        self.judge_limits(state, &sent, Limits::lines_and_days, &mut wrongs);
        for wrong in wrongs {
            let lead_id = call.attempt_id.key().lead_id;
            self.violation(state, format!("request for lead {lead_id} of {} arrives at {now}: {wrong}", sent.at));
        }
    }

    fn judge_limits(
        &self,
        state: &State,
        sent: &Sent,
        judge: impl Fn(&Limits, &Sent, &[&Sent], usize, &mut Vec<String>),
        wrongs: &mut Vec<String>,
    ) {
        let now = self.clock.now();
        let account = &self.scenario.accounts[sent.account].settings.limits;
        let of_account: Vec<&Sent> = state.sent.iter().filter(|other| other.account == sent.account).collect();
        let rate = |limit: Option<std::num::NonZeroU32>| limit.map(std::num::NonZeroU32::get);
        let limits = Limits {
            whose: "account",
            per_second: rate(account.calls_per_second),
            per_minute: rate(account.calls_per_minute),
            per_day: rate(account.calls_per_day),
            lines: rate(account.concurrent_calls),
        };
        let live = |of: &dyn Fn(&Call) -> bool| {
            state.calls.iter().filter(|call| call.account == sent.account && of(call) && call.over_at > now).count()
        };
        judge(&limits, sent, &of_account, live(&|_| true), wrongs);
        let of_campaign: Vec<&Sent> =
            of_account.iter().filter(|other| other.campaign_id == sent.campaign_id).copied().collect();
        let plan = state.campaigns[&sent.campaign_id].plan.last();
        let limits = Limits {
            whose: "campaign",
            per_second: plan.per_second,
            per_minute: plan.per_minute,
            per_day: plan.per_day,
            lines: plan.lines,
        };
        let of_it = |call: &Call| call.attempt_id.key().campaign_id == sent.campaign_id;
        judge(&limits, sent, &of_campaign, live(&of_it), wrongs);
    }

    /// The intent is durable, and this is its first request.
    fn judge_intent(&self, state: &State, sent: &Sent, wrongs: &mut Vec<String>) {
        let open =
            self.store.inspect(|tables| tables.open_attempt.get(&sent.phone).map(|open| (open.attempt_id, open.state)));
        // Its intent was durable when it was acknowledged.
        if open != Some((sent.attempt_id, OpenState::Dialing)) && !self.is_lost(sent.attempt_id) {
            wrongs.push(format!("no durable intent: the phone's open attempt is {open:?}"));
        }
        // What never arrived, and was forgotten, may have its number given out again.
        let forgetful = self.scenario.faults.goes_back > 0.0;
        let again = |other: &&Sent| other.attempt_id == sent.attempt_id && (other.accepted || !forgetful);
        if state.sent.iter().any(|other| again(&other)) {
            wrongs.push("the second request for one attempt".to_owned());
        }
    }

    /// Campaign, windows, stops, suppressions and the lead itself allow it, or did a moment ago.
    fn judge_permission(&self, state: &State, sent: &Sent, wrongs: &mut Vec<String>) {
        let key = sent.attempt_id.key();
        let from = sent.at - self.clock.real_to_civil(GRACE);
        let lead_from = sent.at - self.clock.real_to_civil(LEAD_GRACE);
        let campaign = &state.campaigns[&sent.campaign_id];
        if !campaign.state.any(from, sent.at, |state| *state == CampaignState::Active) {
            wrongs.push(format!("the campaign is {}", campaign.state.last()));
        }
        if !state.stops.any(from, sent.at, |stops| !stops.contains(&None) && !stops.contains(&Some(sent.account))) {
            wrongs.push("stopped".to_owned());
        }
        for scope in [None, Some(sent.campaign_id)] {
            let Some(entry) = state.suppressed.get(&(sent.phone, scope)) else { continue };
            let free = |until: &Option<Option<Timestamp>>| match until {
                None => true,
                Some(until) => until.is_some_and(|until| until <= sent.at),
            };
            if entry.since() <= from && !entry.any(from, sent.at, free) {
                wrongs.push(format!("suppressed since {}", entry.since()));
            }
        }
        let Some(lead) = state.leads.get(&key.lead_id) else {
            return wrongs.push("no such lead".to_owned());
        };
        if !lead.exists.any(from, sent.at, |exists| *exists) {
            wrongs.push("the lead was deleted".to_owned());
        }
        if !lead.phone.any(lead_from, sent.at, |text| PhoneNumber::parse(text) == Ok(sent.phone)) {
            wrongs.push("the lead has another phone".to_owned());
        }
        if lead.not_before.last().is_some_and(|at| sent.at < at) && !lead.not_before.any(from, sent.at, Option::is_none)
        {
            wrongs.push(format!("not before {:?}", lead.not_before.last()));
        }
        let allowed = campaign
            .plan
            .any(from, sent.at, |plan| lead.zone.any(lead_from, sent.at, |zone| allowed(plan, *zone, sent.at)));
        if !allowed {
            wrongs.push(format!("outside every window, lead in {:?}, {:?}", lead.zone.last(), campaign.plan.last()));
        }
    }

    /// Nobody else is ringing this person, and the person's limits are kept.
    fn judge_person(&self, state: &State, sent: &Sent, wrongs: &mut Vec<String>) {
        let to_person = || state.calls.iter().filter(|call| call.phone == sent.phone);
        if let Some(live) = to_person().find(|call| call.over_at > sent.at) {
            wrongs.push(format!("call {} to this phone is live until {}", live.id, live.over_at));
        }
        let limits = &self.scenario.person;
        if let Some(limit) = limits.calls_per_day {
            let rang = to_person().filter(|call| call.outcome != Outcome::Canceled).count();
            if rang >= limit as usize {
                wrongs.push(format!("the person's {limit} calls of the day were made"));
            }
        }
        let gap = limits.min_gap_between_campaigns - self.clock.real_to_civil(GRACE);
        let near = |other: &&Sent| {
            other.phone == sent.phone
                && other.accepted
                && other.campaign_id != sent.campaign_id
                && sent.at.duration_since(other.at) < gap
                // A withdrawn call rang nobody.
                && !to_person().any(|call| call.attempt_id == other.attempt_id && call.outcome == Outcome::Canceled)
        };
        if let Some(other) = state.sent.iter().find(near) {
            wrongs.push(format!("campaign {} called this person at {}", other.campaign_id, other.at));
        }
    }

    /// Whether the database went back and does not know an attempt.
    fn is_lost(&self, attempt_id: AttemptId) -> bool {
        self.scenario.faults.goes_back > 0.0 && self.store.inspect(|tables| !tables.attempt.contains_key(&attempt_id))
    }

    /// A call begins: its phone rings, or will.
    pub fn call_begins(&self, state: &mut State, index: usize) {
        let call = &state.calls[index];
        let (attempt_id, phone) = (call.attempt_id, call.phone);
        let open = self.store.inspect(|tables| tables.open(attempt_id).map(|open| open.state));
        let mut wrongs = Vec::new();
        if open.is_none() && !self.is_lost(attempt_id) {
            wrongs.push("its attempt is not open: the daemon took it for not placed, or never knew it".to_owned());
        }
        if let Some(other) =
            state.calls.iter().find(|other| other.begun && other.phone == phone && other.over_at > call.made_at)
        {
            wrongs.push(format!("call {} to this phone is live", other.id));
        }
        if state.calls.iter().any(|other| other.begun && other.attempt_id == attempt_id) {
            wrongs.push("the second ring of one attempt".to_owned());
        }
        let text = format!("call {} of lead {} begins, attempt {open:?}", call.id, attempt_id.key().lead_id);
        state.calls[index].begun = true;
        self.note(state, &text);
        for wrong in wrongs {
            self.violation(state, format!("{text}: {wrong}"));
        }
    }

    /// The run is over: nothing may be lost, and nothing may wait without a reason.
    pub fn judge_end(&self, state: &mut State) {
        self.check_tables(state);
        let mut wrongs = Vec::new();
        self.store.inspect(|tables| {
            self.judge_results(state, tables, &mut wrongs);
            self.judge_open(tables, &mut wrongs);
            self.judge_leads(state, tables, &mut wrongs);
            for due in due_rows(tables) {
                if self.waits_for(state, tables, &due).is_none() {
                    wrongs.push(format!(
                        "lead {} of campaign {} is due since {} and nothing holds it back",
                        due.lead_id, due.stratum.campaign_id, due.due_at
                    ));
                }
            }
        });
        for wrong in wrongs {
            self.violation(state, format!("at the end: {wrong}"));
        }
    }

    /// Every call has its result in exactly one attempt, or its attempt is held.
    fn judge_results(&self, state: &State, tables: &Tables, wrongs: &mut Vec<String>) {
        for call in &state.calls {
            let Some(attempt) = tables.attempt.get(&call.attempt_id) else {
                let name = &self.scenario.accounts[call.account].settings.name;
                if is_left_to_a_person(tables, Some(name)) || self.stands_in(tables, call).is_some() {
                    continue;
                }
                wrongs.push(format!("call {} has no attempt", call.id));
                continue;
            };
            let contradicted = tables.call_result.get(&call.attempt_id).and_then(|result| result.contradicted_by);
            let told = match attempt.outcome() {
                None => tables.open(call.attempt_id).is_some_and(|open| open.state == OpenState::Held),
                // The call object, which alone tells a machine from a person, may come after the settle time.
                Some(Outcome::Answered) if call.outcome == Outcome::Voicemail => true,
                // It was lost, and noted while its call went on.
                Some(Outcome::Unknown) if self.scenario.faults.goes_back > 0.0 => true,
                Some(outcome) => outcome == call.outcome || contradicted == Some(call.outcome),
            };
            if !told {
                wrongs.push(format!(
                    "call {} of lead {} ended as {}, its attempt is {:?}, {:?}",
                    call.id,
                    call.attempt_id.key().lead_id,
                    call.outcome,
                    attempt.end,
                    tables.open(call.attempt_id).map(|open| (open.state, &open.reason)),
                ));
            }
            if let Some((bound, _)) = tables.provider_call.get(&(attempt.account.clone(), call.id.clone()))
                && *bound != call.attempt_id
                && self.stands_in(tables, call).is_none()
            {
                wrongs.push(format!("call {} is bound to a foreign attempt, {bound}", call.id));
            }
        }
        for (id, attempt) in &tables.attempt {
            let rang =
                state.calls.iter().any(|call| call.attempt_id == *id || self.stands_in(tables, call) == Some(*id));
            if attempt.outcome().is_some_and(|outcome| outcome.may_have_rung() && outcome != Outcome::Failed) && !rang {
                wrongs.push(format!("attempt {id} ended as {:?}, and no phone rang", attempt.outcome()));
            }
        }
    }

    /// The attempt that a call without a token was taken for, when its own was lost: another one to the same number.
    fn stands_in(&self, tables: &Tables, call: &Call) -> Option<AttemptId> {
        let plan = &self.scenario.accounts[call.account];
        let (bound, _) = tables.provider_call.get(&(plan.settings.name.clone(), call.id.clone()))?;
        let is_to_it = tables.attempt.get(bound).is_some_and(|attempt| attempt.phone == call.phone);
        (self.scenario.faults.goes_back > 0.0 && !plan.echo && is_to_it).then_some(*bound)
    }

    /// What is open is held, for a reason that nothing but a person or late evidence can take away.
    fn judge_open(&self, tables: &Tables, wrongs: &mut Vec<String>) {
        for open in tables.open_attempt.values() {
            let account = self.scenario.accounts.iter().find(|plan| plan.settings.name == open.account);
            let provable = account.is_some_and(|plan| plan.settings.list_lag_max.is_some());
            let ambiguous = open.reason.as_deref().is_some_and(|reason| reason.contains("may be this one"));
            if open.state != OpenState::Held || (provable && !open.accepted && !ambiguous) {
                wrongs.push(format!(
                    "attempt {} is {} since {}: {:?}",
                    open.attempt_id, open.state, open.intent_at, open.reason
                ));
            }
        }
    }

    /// Every lead of a campaign's lists has a place in it.
    fn judge_leads(&self, state: &State, tables: &Tables, wrongs: &mut Vec<String>) {
        for (campaign_id, campaign) in &state.campaigns {
            let plan = campaign.plan.last();
            let closing =
                matches!(tables.campaign[campaign_id].state, CampaignState::Finishing | CampaignState::Finished);
            for (lead_id, lead) in state.leads.iter().filter(|(_, lead)| plan.lists.contains(&lead.list)) {
                let placed = tables.due_of(*campaign_id, *lead_id).is_some()
                    // A lead with an open attempt, in whatever campaign, stays where it is until that ends.
                    || tables.has_open_attempt(*lead_id)
                    || tables.disposition.contains_key(&(*campaign_id, *lead_id));
                if *lead.exists.last() && !placed && !closing {
                    wrongs.push(format!("lead {lead_id} of campaign {campaign_id} has no place"));
                }
                if tables.campaign[campaign_id].state == CampaignState::Finished
                    && tables.due_of(*campaign_id, *lead_id).is_some()
                {
                    wrongs.push(format!("lead {lead_id} is due in campaign {campaign_id}, which has finished"));
                }
                // A change that is noted will be followed; until then the gate lets no deleted lead through.
                let noted = tables.lead_change.values().any(|changed| changed == lead_id);
                if !lead.exists.last() && !noted && tables.due_of(*campaign_id, *lead_id).is_some() {
                    wrongs.push(format!("lead {lead_id} of campaign {campaign_id} was deleted and is due"));
                }
            }
        }
    }

    /// Why a due lead is not called now; `None` when nothing stands against it.
    pub fn waits_for(&self, state: &State, tables: &Tables, due: &DueKey) -> Option<&'static str> {
        let now = self.clock.now();
        let campaign_id = due.stratum.campaign_id;
        let campaign = &state.campaigns[&campaign_id];
        let plan = campaign.plan.last();
        let settings = &self.scenario.accounts[plan.account].settings;
        if due.due_at > now {
            return Some("its date");
        }
        if *campaign.state.last() != CampaignState::Active || plan.invalid {
            return Some("the campaign");
        }
        if is_left_to_a_person(tables, Some(&settings.name)) {
            return Some("a person");
        }
        let lead = state.leads.get(&due.lead_id)?;
        let noted = tables.lead_change.values().any(|changed| *changed == due.lead_id);
        if noted && tables.has_open_attempt(due.lead_id) {
            return Some("a change that waits for its open attempt");
        }
        if !allowed(plan, *lead.zone.last(), now) {
            return Some("the window");
        }
        if tables.account_state.get(&settings.name).is_some_and(|state| state.problem.is_some()) {
            return Some("the account");
        }
        let day = now - SignedDuration::from_hours(24);
        let starts = |of: &dyn Fn(CampaignId) -> bool| {
            let counts = |(id, attempt): &(_, &crate::adapter::memory::AttemptRecord)| {
                let id: &crate::domain::id::AttemptId = id;
                attempt.account == settings.name
                    && of(id.key().campaign_id)
                    && attempt.may_have_been_sent()
                    && attempt.at() > day
            };
            u32::try_from(tables.attempt.iter().map(|(id, attempt)| (*id, attempt)).filter(counts).count()).unwrap()
        };
        if settings.limits.calls_per_day.is_some_and(|cap| starts(&|_| true) >= cap.get())
            || plan.per_day.is_some_and(|cap| starts(&|id| id == campaign_id) >= cap)
        {
            return Some("the day's cap");
        }
        None
    }
}

/// Rates and lines of an account or a campaign.
struct Limits {
    whose: &'static str,
    per_second: Option<u32>,
    per_minute: Option<u32>,
    per_day: Option<u32>,
    lines: Option<u32>,
}

impl Limits {
    /// How many are let go in any span, whoever does it.
    fn starts(&self, sent: &Sent, others: &[&Sent], _live: usize, wrongs: &mut Vec<String>) {
        let within = |span: SignedDuration| others.iter().filter(|other| other.at + span > sent.at).count();
        for (limit, span, what) in [(self.per_second, SECOND, "second"), (self.per_minute, MINUTE, "minute")] {
            if let Some(limit) = limit.filter(|limit| within(span) >= *limit as usize) {
                wrongs.push(format!("more than {limit} starts of the {} in a {what}", self.whose));
            }
        }
    }

    /// How many the provider has taken. What it never took, and nobody could know of, is no call of the day.
    fn lines_and_days(&self, _sent: &Sent, others: &[&Sent], live: usize, wrongs: &mut Vec<String>) {
        let today = others.iter().filter(|other| other.accepted).count();
        if let Some(limit) = self.per_day.filter(|limit| today >= *limit as usize) {
            wrongs.push(format!("more than {limit} calls of the {} in a day", self.whose));
        }
        if let Some(limit) = self.lines.filter(|limit| live >= *limit as usize) {
            wrongs.push(format!("more than {limit} calls of the {} at once", self.whose));
        }
    }
}

/// Whether a lead in `zone` may be called under a plan, by the clocks on the walls.
pub(super) fn allowed(plan: &CampaignPlan, zone: Option<&str>, at: Timestamp) -> bool {
    if plan.invalid {
        return false;
    }
    let fallback = plan.fixed_zone.or(plan.default_zone);
    let Some(lead_zone) = zone.or(fallback) else { return false };
    let minutes = |zone: &str| {
        let clock = at.to_zoned(TimeZone::get(zone).ok()?).time();
        Some((i64::from(clock.hour()) * 60 + i64::from(clock.minute()), i64::from(clock.minute())))
    };
    let Some((lead_time, _)) = minutes(lead_zone) else { return false };
    let Some((time, minute)) = minutes(plan.fixed_zone.unwrap_or(lead_zone)) else { return false };
    (540..1200).contains(&lead_time)
        && plan.windows.iter().any(|(from, to)| (*from..*to).contains(&time))
        && plan.runs.is_none_or(|(every, run_for)| minute % every < run_for)
}

/// Whether an account is stopped until somebody has seen at its provider which attempts the database has lost.
pub(super) fn is_left_to_a_person(tables: &Tables, whose: Option<&AccountName>) -> bool {
    tables.stop.get(&whose.cloned()).is_some_and(|reason| reason.contains(MISSING))
}

/// Every due row.
pub(super) fn due_rows(tables: &Tables) -> Vec<DueKey> {
    let leads: Vec<(CampaignId, LeadId)> =
        tables.due.keys().map(|(stratum, _, lead_id)| (stratum.campaign_id, *lead_id)).collect();
    leads.into_iter().filter_map(|(campaign_id, lead_id)| tables.due_of(campaign_id, lead_id)).collect()
}
