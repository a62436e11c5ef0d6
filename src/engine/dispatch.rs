//! Due leads become permits.
//!
//! Permits before claims: the pacer says how many starts fit into the next quarter second, and at most that many leads
//! are taken. The gate judges each candidate on facts read in one statement; the intent is made durable; then, under the
//! person's mutex, suppression and the person's limits are read once more. Only then is there a permit, good for a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::domain::assistant::{Assistant, PickFacts, pick};
use crate::domain::attempt::OpenState;
use crate::domain::call_options::CallOptions;
use crate::domain::campaign::{Day, Definition, Pick};
use crate::domain::gate::{self, BudgetWait, CampaignFacts, Facts, Gate, GateVerdict, WindowFacts};
use crate::domain::id::{AccountName, AssistantId, AttemptId, AttemptKey, CallingGroupId, CampaignId};
use crate::domain::lead::Stratum;
use crate::domain::retry::{Ending, Verdict};
use crate::port::clock::Clock;
use crate::port::permit::{CommittedIntent, OutboundCall};
use crate::port::provider::Provider;
use crate::port::store::{Candidate, DialIntent, DueKey, OpenCount, PersonFacts, Probe, StartsOf, Store, StoreError};

use super::finish::Ended;
use super::lease::HeldLease;
use super::record::Record;
use super::view::{LiveCampaign, View};
use super::{Account, Engine, lock};

/// How far ahead leads are taken, real time: what is claimed and not yet sent is what a crash leaves in doubt.
pub const HORIZON: Duration = Duration::from_millis(250);
/// How long a permit is good for, real time: the facts it was granted on are at most this old when bytes leave.
pub const PERMIT_VALID: Duration = Duration::from_secs(1);
/// Most leads one pass takes: bounds the statement, and what a crash leaves in doubt.
pub const BATCH_MAX: u32 = 200;
/// How far the watermark trails now, real time: statement timeout plus clock skew, so that no insert lands behind it.
const MARK_TRAILS: Duration = Duration::from_secs(11);
/// How often every lane is probed from its very beginning, real time.
pub(super) const MARK_RESET: Duration = Duration::from_secs(30);

/// What the pass remembers between runs; losing it costs time, never correctness.
#[derive(Debug, Default)]
pub struct Memory {
    marks: BTreeMap<Stratum, Timestamp>,
    marks_reset_at: Option<Instant>,
    day_counts: BTreeMap<Option<CampaignId>, DayCount>,
    /// Since when a calling group of a campaign has been seen open.
    open_since: BTreeMap<(CampaignId, CallingGroupId), Timestamp>,
    /// Whether it was said that the account's day is used up.
    day_told: bool,
}

/// Starts counted in rows, and those begun since: never fewer than the true number.
#[derive(Debug)]
struct DayCount {
    counted_at: Instant,
    day_begins_at: Timestamp,
    cap: u32,
    starts: u32,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatchReport {
    /// Leads looked at.
    pub peeked: usize,
    /// Leads re-dated or taken out.
    pub moved: usize,
    /// Intents made durable.
    pub begun: usize,
    /// Permits given out.
    pub permitted: usize,
}

/// A campaign that may start calls now.
struct Turn<'a> {
    campaign: &'a Arc<LiveCampaign>,
    definition: &'a Arc<Definition>,
    eligible: Vec<&'a Assistant>,
    room: u32,
}

/// A candidate the gate let through, with everything the request needs.
struct Plan {
    intent: DialIntent,
    campaign: Arc<LiveCampaign>,
    /// Since when it has been due and its calling window open.
    ready_at: Timestamp,
    variables: Map<String, Value>,
    options: CallOptions,
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Why an account starts no calls at the moment, except for its rates and lines.
    pub fn account_problem(&self, view: &View, account: &Account<P>, now: Timestamp) -> Option<String> {
        if self.draining() {
            return Some("the daemon is draining".to_owned());
        }
        if !self.view_is_fresh(view) {
            return Some("the database has not answered for more than a second".to_owned());
        }
        let standing = || lock(&account.health).problem().map(str::to_owned);
        let lease = || match self.held_lease(account) {
            None => Some("another daemon holds the account's lease".to_owned()),
            Some(_) if account.handing_over.load(Ordering::Acquire) => {
                Some("the account is about to be dialed by another daemon".to_owned())
            }
            Some(_) => None,
        };
        view.account_problem(&account.name, now)
            .or_else(|| self.clock_problem())
            .or_else(standing)
            .or_else(|| account.held_back(now))
            .or_else(lease)
    }

    /// Starts what is due and allowed, as far as rates and lines reach.
    ///
    /// # Errors
    /// When the database does not answer; nothing has been sent then.
    pub async fn dispatch(self: &Arc<Self>, name: &AccountName) -> Result<DispatchReport, StoreError> {
        let mut report = DispatchReport::default();
        let account = &self.accounts[name];
        let view = self.view();
        let now = self.clock.now();
        let Some(lease) = self.held_lease(account) else { return Ok(report) };
        let Some(assistants) = lock(&account.roster).assistants.clone() else { return Ok(report) };
        if self.account_problem(&view, account, now).is_some() {
            return Ok(report);
        }
        if lock(&account.pacer).recovered(now) {
            info!(provider.account = %name, "Account {name} starts calls at its full rate again");
        }
        let open_lanes: Vec<Stratum> = self.open_lanes(&view, name, now);
        note_open(&mut lock(&account.dispatch_memory).open_since, &open_lanes, now);
        if open_lanes.is_empty() {
            return Ok(report);
        }
        let reserved: u32 = lock(&account.reserved).values().sum();
        let requests = lock(&account.requests).left(now).saturating_sub(reserved);
        let slots = lock(&account.pacer).account_slots(now, self.clock.real_to_civil(HORIZON), reserved);
        let mut room = slots.min(requests).min(BATCH_MAX);
        if room == 0 {
            return Ok(report);
        }
        let open = self.store.open_counts(name).await?;
        let settings = account.settings();
        let limits = &settings.limits;
        room = room.min(lines_free(limits.concurrent_calls, open.iter()));
        if lock(&account.health).is_on_probation() {
            // One call tells whether the account is what it was.
            let under_way = lock(&account.roster).trusts.under_way();
            room = room.min(u32::from(under_way == 0));
        }
        if room > 0
            && let Some(cap) = limits.calls_per_day
        {
            let left = self.day_room(account, None, cap.get(), &limits.day, now).await?;
            self.note_day(account, left, cap.get());
            room = room.min(left);
        }
        if room == 0 {
            return Ok(report);
        }
        let available = self.available(account, &assistants, now);
        let mut turns = Vec::new();
        for campaign in view.campaigns() {
            let Some(definition) = campaign.dials(name) else { continue };
            if account.misfit(definition).is_some() {
                continue;
            }
            let eligible = definition.assistants.eligible(&available);
            if eligible.is_empty() || !open_lanes.iter().any(|lane| lane.campaign_id == campaign.campaign_id) {
                continue;
            }
            let room = self.campaign_room(account, campaign, definition, &open, room, now).await?;
            if room > 0 {
                turns.push(Turn { campaign, definition, eligible, room });
            }
        }
        let candidates = self.peek(account, &turns, &open_lanes, now).await?;
        report.peeked = candidates.len();
        let plans = self.judge(account, &view, &turns, &open, candidates, room, now, &mut report).await?;
        if plans.is_empty() {
            return Ok(report);
        }
        self.begin(name, &lease, plans, now, &mut report).await?;
        Ok(report)
    }

    /// Lanes whose calendar is open. A closed group costs nothing beyond this.
    fn open_lanes(&self, view: &View, account: &AccountName, now: Timestamp) -> Vec<Stratum> {
        let mut lanes = Vec::new();
        for campaign in view.campaigns().filter(|campaign| campaign.dials(account).is_some()) {
            let mut judged = BTreeMap::new();
            for lane in view.strata(campaign.campaign_id) {
                let open = *judged.entry(lane.calling_group_id).or_insert_with(|| {
                    view.calendar(lane.campaign_id, lane.calling_group_id)
                        .is_some_and(|calendar| calendar.as_ref().as_ref().is_ok_and(|calendar| calendar.is_open(now)))
                });
                if open {
                    lanes.push(*lane);
                }
            }
        }
        lanes
    }

    /// The roster without assistants that are put aside.
    pub(super) fn available(&self, account: &Account<P>, assistants: &[Assistant], now: Timestamp) -> Vec<Assistant> {
        let roster = lock(&account.roster);
        assistants.iter().filter(|assistant| !roster.trusts.is_aside(&assistant.assistant_id, now)).cloned().collect()
    }

    async fn campaign_room(
        &self,
        account: &Account<P>,
        campaign: &LiveCampaign,
        definition: &Definition,
        open: &[OpenCount],
        room: u32,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let id = campaign.campaign_id;
        let pacing = &definition.pacing;
        let of_campaign = open.iter().filter(|alike| alike.campaign_id == id);
        let mut room = room.min(lines_free(pacing.concurrent_calls, of_campaign));
        room = room.min({
            let mut pacer = lock(&account.pacer);
            pacer.set_campaign(id, pacing, now);
            pacer.slots(id, now, self.clock.real_to_civil(HORIZON), account.reserved(id).0)
        });
        if room > 0
            && let Some(cap) = pacing.calls_per_day
        {
            room = room.min(self.day_room(account, Some(id), cap.get(), &pacing.day, now).await?);
        }
        Ok(room)
    }

    /// How many more requests the day allows. Rows are counted only when the last count plus what was begun since might
    /// reach the cap, at most once a second.
    async fn day_room(
        &self,
        account: &Account<P>,
        campaign_id: Option<CampaignId>,
        cap: u32,
        day: &Day,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let day_begins_at = day.begins_at(now);
        let room_left = |count: &DayCount| cap.saturating_sub(count.starts);
        {
            let memory = lock(&account.dispatch_memory);
            if let Some(count) = memory.day_counts.get(&campaign_id) {
                let same_day = *day == Day::Rolling || count.day_begins_at == day_begins_at;
                let fresh = self.clock.monotonic().duration_since(count.counted_at) < Duration::from_secs(1);
                if same_day && count.cap == cap && (room_left(count) >= BATCH_MAX || fresh) {
                    return Ok(room_left(count));
                }
            }
        }
        let whose = campaign_id.map_or(StartsOf::Account(&account.name), StartsOf::Campaign);
        let counted_at = self.clock.monotonic();
        let starts = self.store.starts_since(whose, day_begins_at, cap).await?;
        let count = DayCount { counted_at, day_begins_at, cap, starts };
        let room = room_left(&count);
        lock(&account.dispatch_memory).day_counts.insert(campaign_id, count);
        Ok(room)
    }

    /// Says once that an account's day is used up. In a rolling day there is room again for one call after the other; that
    /// is not worth a word each.
    fn note_day(&self, account: &Account<P>, left: u32, cap: u32) {
        let name = &account.name;
        let told = &mut lock(&account.dispatch_memory).day_told;
        match (left, *told) {
            (0, false) => {
                *told = true;
                warn!(provider.account = %name, "Account {name} has started its {cap} calls of the day and waits");
            }
            (left, true) if left > cap / 10 => {
                *told = false;
                info!(provider.account = %name, "Account {name} has {left} calls of the day left again");
            }
            _ => {}
        }
    }

    async fn peek(
        &self,
        account: &Account<P>,
        turns: &[Turn<'_>],
        open_lanes: &[Stratum],
        now: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError> {
        let monotonic = self.clock.monotonic();
        let probes: Vec<Probe> = {
            let mut memory = lock(&account.dispatch_memory);
            if memory.marks_reset_at.is_none_or(|at| monotonic.duration_since(at) >= MARK_RESET) {
                memory.marks.clear();
                memory.marks_reset_at = Some(monotonic);
            }
            open_lanes
                .iter()
                .filter_map(|lane| {
                    let turn = turns.iter().find(|turn| turn.campaign.campaign_id == lane.campaign_id)?;
                    let not_before = memory.marks.get(lane).copied().unwrap_or(Timestamp::UNIX_EPOCH);
                    Some(Probe { stratum: *lane, not_before, limit: turn.room })
                })
                .collect()
        };
        if probes.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = self.store.peek_due(now, self.person_since(now), &probes).await?;
        let trailing = now - self.clock.real_to_civil(MARK_TRAILS);
        let mut memory = lock(&account.dispatch_memory);
        for probe in &probes {
            let head = candidates
                .iter()
                .filter(|found| found.due.stratum == probe.stratum)
                .map(|found| found.due.due_at)
                .min();
            let mark = head.map_or(trailing, |head| head.min(trailing));
            memory.marks.insert(probe.stratum, mark);
        }
        Ok(candidates)
    }

    /// From when on contacts matter. They are found by when they were intended and counted by when they were sent, which
    /// may be as much later as a permit is good for.
    fn person_since(&self, now: Timestamp) -> Timestamp {
        self.settings().person.since(now) - self.clock.real_to_civil(PERMIT_VALID)
    }

    /// Lets the gate judge the candidates, campaign by campaign in turn, until the room is used up.
    #[expect(clippy::too_many_arguments, reason = "facts of one decision; a struct for them would have one use")]
    async fn judge(
        &self,
        account: &Account<P>,
        view: &View,
        turns: &[Turn<'_>],
        open: &[OpenCount],
        candidates: Vec<Candidate>,
        room: u32,
        now: Timestamp,
        report: &mut DispatchReport,
    ) -> Result<Vec<Plan>, StoreError> {
        let settings = self.settings();
        let mut deferrals: Vec<(DueKey, Timestamp)> = Vec::new();
        let mut verdicts: Vec<(DueKey, Verdict)> = Vec::new();
        let mut plans: Vec<Plan> = Vec::new();
        let mut taken: BTreeMap<CampaignId, u32> = BTreeMap::new();
        let mut busy: BTreeMap<AssistantId, u32> = BTreeMap::new();
        for alike in open {
            *busy.entry(alike.assistant_id.clone()).or_default() += alike.count;
        }
        let mut trusted: BTreeMap<&AssistantId, u32> = {
            let roster = lock(&account.roster);
            let eligible = turns.iter().flat_map(|turn| &turn.eligible);
            eligible.map(|one| (&one.assistant_id, roster.trusts.room(&one.assistant_id, now))).collect()
        };
        for candidate in in_turn(candidates, turns.len()) {
            let campaign_id = candidate.due.stratum.campaign_id;
            let Some(turn) = turns.iter().find(|turn| turn.campaign.campaign_id == campaign_id) else { continue };
            let Some(window) = view.window(campaign_id, candidate.due.stratum.calling_group_id, now) else { continue };
            let used = taken.entry(campaign_id).or_default();
            let full = *used >= turn.room || plans.len() >= room as usize;
            let budget = full.then(|| BudgetWait { limit: "pacing".to_owned(), until: None });
            let facts = Facts {
                lead: candidate.lead.as_ref(),
                tries: candidate.due.tries,
                person: &candidate.person,
                person_limits: &settings.person,
                campaign: CampaignFacts {
                    campaign_id,
                    state: turn.campaign.state,
                    problem: None,
                    max_attempts: turn.definition.retry.max_attempts,
                },
                window: &window,
                assistants: turn.eligible.len(),
                account_problem: None,
                budget: budget.as_ref(),
            };
            match gate::first_closed(&facts, now) {
                None => {
                    let facts = PickFacts {
                        lead_id: candidate.due.lead_id,
                        last: candidate.last_assistant.as_ref(),
                        turn: account.turn.fetch_add(1, Ordering::Relaxed),
                        busy: &busy,
                    };
                    let Some(assistant) = pick_trusted(turn, &trusted, facts) else {
                        // Its turn comes when the call is answered on which it depends whether the assistant is used.
                        continue;
                    };
                    if let Some(room) = trusted.get_mut(&assistant.assistant_id) {
                        *room = room.saturating_sub(1);
                    }
                    *busy.entry(assistant.assistant_id.clone()).or_default() += 1;
                    *used += 1;
                    let assistant_id = assistant.assistant_id.clone();
                    plans.push(self.plan(account, view, turn, candidate, assistant_id, now));
                }
                Some(finding) => match finding.verdict {
                    GateVerdict::Defer(_) | GateVerdict::Wait
                        if matches!(finding.gate, Gate::Window | Gate::Budget) =>
                    {
                        // The lane or the budget opens by itself: nothing is rewritten.
                    }
                    GateVerdict::Defer(until) => deferrals.push((candidate.due, until.max(now))),
                    GateVerdict::Dispose(verdict) => verdicts.push((candidate.due, verdict)),
                    GateVerdict::Wait | GateVerdict::Pass => {}
                },
            }
        }
        if !deferrals.is_empty() {
            report.moved += deferrals.len();
            self.store.defer(&deferrals).await?;
        }
        if !verdicts.is_empty() {
            report.moved += verdicts.len();
            self.store.dispose(&verdicts, now).await?;
        }
        Ok(plans)
    }

    fn plan(
        &self,
        account: &Account<P>,
        view: &View,
        turn: &Turn<'_>,
        candidate: Candidate,
        assistant_id: AssistantId,
        now: Timestamp,
    ) -> Plan {
        let due = candidate.due;
        let campaign_id = due.stratum.campaign_id;
        let lead = candidate.lead.expect("the gate lets no deleted lead through");
        let key = AttemptKey { campaign_id, lead_id: due.lead_id, attempt_no: due.attempt_no };
        let evidence = view
            .calendar(campaign_id, due.stratum.calling_group_id)
            .and_then(|calendar| calendar.as_ref().as_ref().ok().map(|calendar| calendar.evidence(now)))
            .unwrap_or_default();
        let mut variables = turn.definition.variables.clone();
        variables.extend(lead.variables);
        let opened =
            lock(&account.dispatch_memory).open_since.get(&(campaign_id, due.stratum.calling_group_id)).copied();
        Plan {
            ready_at: opened.map_or(due.due_at, |opened| opened.max(due.due_at)),
            intent: DialIntent {
                attempt_id: AttemptId::derive(self.store.installation(), key),
                campaign_version: turn.campaign.version,
                lead_version: lead.version,
                deadline_at: now + self.line_max(account, &assistant_id),
                assistant_id,
                newest_call_known: lock(&account.newest_call).clone(),
                evidence,
                due,
            },
            campaign: Arc::clone(turn.campaign),
            variables,
            options: turn.definition.call.clone(),
        }
    }

    /// Makes the intents durable, looks at the persons again, and sends those that still may go.
    async fn begin(
        self: &Arc<Self>,
        name: &AccountName,
        lease: &HeldLease,
        plans: Vec<Plan>,
        now: Timestamp,
        report: &mut DispatchReport,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let intents: Vec<DialIntent> = plans.iter().map(|plan| plan.intent.clone()).collect();
        // Known as ours from before the commit, so that no other pass takes them for left behind.
        let mut mine = InFlight::add(self, name, intents.iter().map(|intent| intent.attempt_id));
        let permits_since = self.clock.monotonic();
        // Reading and judging took their time, and an attempt is as old as its intent.
        let now = self.clock.now().max(now);
        let witness = lock(&self.replica).witness(permits_since);
        #[cfg(test)]
        if crate::port::mutation::Mutation::IntentAfterRequest.is_made() {
            for plan in plans {
                mine.keep(plan.intent.attempt_id);
                let intent = CommittedIntent::acknowledged_by_database(plan.intent.attempt_id);
                self.send(name, lease.clone(), intent, plan, permits_since + PERMIT_VALID);
            }
            self.clock.sleep(PERMIT_VALID / 4).await;
            return self.store.begin_dials(&lease.lease, &intents, witness, now).await.map(drop);
        }
        let committed = match self.store.begin_dials(&lease.lease, &intents, witness, now).await {
            Ok(committed) => committed,
            Err(StoreError::CommitUnknown(source)) => {
                // Whatever is there was never permitted: the poll pass finds it and ends it as not placed.
                warn!(provider.account = %name, "It is unknown whether {} intents are durable; none is dialed", intents.len());
                return Err(StoreError::CommitUnknown(source));
            }
            Err(error) => return Err(error),
        };
        report.begun = committed.len();
        self.count_begun(account, &intents, &committed);
        let ids: Vec<AttemptId> = committed.iter().map(CommittedIntent::attempt_id).collect();
        mine.forget_all_but(&ids);
        let Some(last) = ids.last() else { return Ok(()) };
        lock(&self.replica).saw_committed(*last, self.clock.monotonic());
        let now = self.clock.now();
        let persons: BTreeMap<AttemptId, PersonFacts> =
            self.store.confirm(&ids, now, self.person_since(now)).await?.into_iter().collect();
        let mut plans: BTreeMap<AttemptId, Plan> =
            plans.into_iter().map(|plan| (plan.intent.attempt_id, plan)).collect();
        for intent in committed {
            let attempt_id = intent.attempt_id();
            let (Some(plan), Some(person)) = (plans.remove(&attempt_id), persons.get(&attempt_id)) else {
                debug!(attempt.id = %attempt_id, "Attempt {attempt_id} is no longer open");
                continue;
            };
            mine.keep(attempt_id);
            let confirmed = self.confirmed(&plan, person, now);
            #[cfg(test)]
            let confirmed = if crate::port::mutation::Mutation::NoConfirm.is_made() { Ok(()) } else { confirmed };
            match confirmed {
                Ok(()) => {
                    report.permitted += 1;
                    self.send(name, lease.clone(), intent, plan, permits_since + PERMIT_VALID);
                }
                Err(ended) => {
                    let _ = account.records.send(Record::Ended(ended));
                }
            }
        }
        Ok(())
    }

    /// The person's gates once more, now that nobody else can open an attempt to this phone.
    fn confirmed(&self, plan: &Plan, person: &PersonFacts, now: Timestamp) -> Result<(), Box<Ended>> {
        let campaign_id = plan.campaign.campaign_id;
        let end =
            |ending, reason: String| Err(Box::new(Ended::unsent(&plan.intent, &plan.campaign, ending, now, reason)));
        if let Some(entry) = &person.suppression {
            let verdict = Verdict::new(crate::domain::outcome::Disposition::Suppressed, entry.reason.clone());
            return end(Ending::Rejected(verdict), format!("suppressed before the request left: {}", entry.reason));
        }
        match self.settings().person.next_allowed(&person.contacts, campaign_id, now) {
            Some(wait) => end(
                Ending::NotPlaced { retry_at: wait.until },
                format!("person.{} was reached before the request left", wait.limit),
            ),
            None => Ok(()),
        }
    }

    fn send(
        self: &Arc<Self>,
        name: &AccountName,
        lease: HeldLease,
        intent: CommittedIntent,
        plan: Plan,
        not_after: Instant,
    ) {
        let options = plan.options;
        let call = OutboundCall {
            attempt_id: plan.intent.attempt_id,
            phone: plan.intent.due.phone,
            assistant_id: plan.intent.assistant_id.clone(),
            variables: plan.variables,
            // A permit is good for a second, so the moment is past when the request arrives: the call is due at once.
            scheduled_for: options.scheduled_at_departure.then(|| self.clock.now()),
            options,
        };
        self.place(
            name,
            super::place::Start {
                lease,
                not_after,
                intent: plan.intent,
                campaign: plan.campaign,
                ready_at: plan.ready_at,
            },
            intent,
            call,
        );
    }

    fn count_begun(&self, account: &Account<P>, intents: &[DialIntent], committed: &[CommittedIntent]) {
        let mut memory = lock(&account.dispatch_memory);
        let committed: BTreeSet<AttemptId> = committed.iter().map(CommittedIntent::attempt_id).collect();
        for intent in intents.iter().filter(|intent| committed.contains(&intent.attempt_id)) {
            for key in [None, Some(intent.due.stratum.campaign_id)] {
                if let Some(count) = memory.day_counts.get_mut(&key) {
                    count.starts = count.starts.saturating_add(1);
                }
            }
        }
    }
}

/// Attempts of one batch that this process answers for; those not kept are given up when the batch is done, and known as
/// never permitted from then on.
struct InFlight<'a, S: Store, P: Provider, C: Clock> {
    engine: &'a Engine<S, P, C>,
    account: AccountName,
    pending: BTreeSet<AttemptId>,
}

impl<'a, S: Store, P: Provider, C: Clock> InFlight<'a, S, P, C> {
    fn add(engine: &'a Engine<S, P, C>, account: &AccountName, attempts: impl Iterator<Item = AttemptId>) -> Self {
        let pending: BTreeSet<_> = attempts.collect();
        engine.in_flight().extend(pending.iter().map(|attempt_id| (*attempt_id, account.clone())));
        Self { engine, account: account.clone(), pending }
    }

    /// The others were certainly not begun.
    fn forget_all_but(&mut self, begun: &[AttemptId]) {
        let mut in_flight = self.engine.in_flight();
        self.pending.retain(|attempt_id| begun.contains(attempt_id) || in_flight.remove(attempt_id).is_none());
    }

    /// This one's end will be recorded; whoever records it takes it out.
    fn keep(&mut self, attempt_id: AttemptId) {
        self.pending.remove(&attempt_id);
    }
}

impl<S: Store, P: Provider, C: Clock> Drop for InFlight<'_, S, P, C> {
    fn drop(&mut self) {
        let now = self.engine.clock.monotonic();
        // Known as unpermitted before it is no longer in flight, so that nobody finds it in between.
        let given_up = self.pending.iter().map(|attempt_id| (*attempt_id, (self.account.clone(), now)));
        lock(&self.engine.unpermitted).extend(given_up);
        let mut in_flight = self.engine.in_flight();
        for attempt_id in &self.pending {
            in_flight.remove(attempt_id);
        }
    }
}

/// Picks among the assistants that may have one more call now. One that keeps its leads is waited for.
fn pick_trusted<'a>(
    turn: &Turn<'a>,
    trusted: &BTreeMap<&AssistantId, u32>,
    facts: PickFacts<'_>,
) -> Option<&'a Assistant> {
    let has_room = |id: &AssistantId| trusted.get(id).is_some_and(|room| *room > 0);
    let how = turn.definition.assistants.pick;
    let kept = facts.last.filter(|_| how == Pick::Sticky);
    if kept.is_some_and(|last| turn.eligible.iter().any(|one| one.assistant_id == *last) && !has_room(last)) {
        return None;
    }
    let free: Vec<&Assistant> = turn.eligible.iter().copied().filter(|one| has_room(&one.assistant_id)).collect();
    pick(how, &free, facts)
}

/// Remembers since when each calling group has been open.
fn note_open(open_since: &mut BTreeMap<(CampaignId, CallingGroupId), Timestamp>, lanes: &[Stratum], now: Timestamp) {
    let open: BTreeSet<_> = lanes.iter().map(|lane| (lane.campaign_id, lane.calling_group_id)).collect();
    open_since.retain(|group, _| open.contains(group));
    for group in open {
        open_since.entry(group).or_insert(now);
    }
}

impl<P: Provider> Account<P> {
    /// Whether as many starts as a day allows are known of the account or a campaign, as far as anybody has counted.
    pub(super) fn day_is_used(&self, campaign_id: Option<CampaignId>, cap: u32) -> bool {
        lock(&self.dispatch_memory).day_counts.get(&campaign_id).is_some_and(|count| count.starts >= cap)
    }
}

/// Whether a window lets a call through; used for the last look.
pub(super) fn window_is_open(window: Option<&WindowFacts>) -> bool {
    matches!(window, Some(WindowFacts::Judged(crate::domain::calendar::Openness::Open { .. })))
}

fn lines_free<'a>(limit: Option<std::num::NonZeroU32>, open: impl Iterator<Item = &'a OpenCount>) -> u32 {
    let Some(limit) = limit else { return u32::MAX };
    let used: u32 = open.filter(|alike| OpenState::occupies_line(alike.state)).map(|alike| alike.count).sum();
    limit.get().saturating_sub(used)
}

/// Campaigns take turns; within a campaign the lower priority number goes first, then the longer wait.
fn in_turn(candidates: Vec<Candidate>, campaigns: usize) -> Vec<Candidate> {
    let mut by_campaign: BTreeMap<CampaignId, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_campaign.entry(candidate.due.stratum.campaign_id).or_default().push(candidate);
    }
    let mut queues: Vec<_> = by_campaign
        .into_values()
        .map(|mut candidates| {
            candidates.sort_by_key(|found| (found.due.stratum.priority, found.due.due_at, found.due.lead_id));
            candidates.into_iter()
        })
        .collect();
    let mut ordered = Vec::with_capacity(campaigns);
    loop {
        let before = ordered.len();
        ordered.extend(queues.iter_mut().filter_map(Iterator::next));
        if ordered.len() == before {
            return ordered;
        }
    }
}
