//! Results: the inbox is read, each event finds its attempt, and what all reports about a call add up to ends it.
//!
//! An event that matches no call yet stays pending: a webhook may be faster than the answer to our own request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::assistant::Assistant;
use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::calibration::Calibration;
use crate::domain::campaign::{Definition, RetryPolicy};
use crate::domain::conclusion::{CallSummary, Conclusion, Received, conclude};
use crate::domain::id::{AccountName, AttemptId, CampaignId, InboxId, ProviderCallId};
use crate::domain::outcome::Outcome;
use crate::domain::report::{CallReport, Phase, Source};
use crate::domain::retry::{AttemptEnd, Ending, NextPlace, PastAttempt, after_attempt};
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{
    Binding, CallKey, CallMatch, CallResult, InboxMark, LateResult, OpenAttempt, OpenChange, PendingEvent, ReplyFact,
    ReplyRecord, Store, StoreError,
};

use super::dispatch::MARK_RESET;
use super::finish::Ended;
use super::{Account, Engine, is_newer, lock};

/// Most events one run looks at.
pub const BATCH_MAX: u32 = 500;
/// How far the mark trails now, real time: as long as storing an event mostly takes at most. One that took longer is found
/// by the next look from the very beginning.
const MARK_TRAILS: Duration = Duration::from_secs(2);
/// How long an event that matches no call is tried again, civil.
const UNMATCHED_MAX: SignedDuration = SignedDuration::from_hours(48);
/// First and longest wait between two looks at such an event, civil.
const UNMATCHED_WAIT: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_mins(10));
/// How long a result waits for its campaign's definition to become valid, civil.
const NO_DEFINITION_WAIT: SignedDuration = SignedDuration::from_secs(60);
/// How far the provider's clock may be behind ours, civil.
pub const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_secs(120);

/// Status words nobody documents of which one is told each; a provider that makes them up must not fill the memory.
const WORDS_MAX: usize = 100;
/// Events that an older version could not read, looked at again at once.
const REREAD_MAX: u32 = 500;
/// This program's version, as it is noted on what it cannot read.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Events looked at.
    pub looked_at: usize,
    /// Attempts ended.
    pub ended: usize,
}

/// What the pass remembers between runs; losing it costs time, never correctness.
#[derive(Debug, Default)]
pub struct Memory {
    /// No pending event was due for a look before.
    mark: Option<Timestamp>,
    mark_reset_at: Option<Instant>,
}

/// A readable event with the attempt it belongs to.
struct Matched {
    event: PendingEvent,
    report: CallReport,
    attempt_id: AttemptId,
    /// On what grounds, where that is to be written down.
    basis: Option<MatchBasis>,
    /// On what grounds, now or before.
    grounds: Option<MatchBasis>,
}

/// What an account knows of calls beyond their ids.
pub(super) struct Witness {
    assistants: Option<Arc<Vec<Assistant>>>,
    calibration: Calibration,
}

/// What a run will write.
#[derive(Default)]
struct Outbox {
    marks: Vec<(InboxId, InboxMark)>,
    bindings: Vec<Binding>,
    replies: Vec<ReplyRecord>,
    changes: Vec<OpenChange>,
    ended: Vec<Ended>,
    late: Vec<(AttemptId, Vec<Matched>)>,
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Looks at pending events, oldest first.
    ///
    /// # Errors
    /// When the database does not answer; events stay pending, and looking again is safe.
    pub async fn collect(&self, name: &AccountName) -> Result<CollectReport, StoreError> {
        let account = &self.accounts[name];
        if !self.knows_campaigns() {
            return Ok(CollectReport::default());
        }
        let now = self.clock.now();
        let events = self.peek_inbox(name, account, now).await?;
        let mut report = CollectReport { looked_at: events.len(), ended: 0 };
        if events.is_empty() {
            return Ok(report);
        }
        let mut outbox = Outbox::default();
        let readable = self.read(account, events, &mut outbox);
        let keys: Vec<CallKey> = readable.iter().map(|(_, report)| self.key_of(report)).collect();
        let matches = if keys.is_empty() { Vec::new() } else { self.store.find_attempts(name, &keys).await? };
        let matched = self.assign(account, readable, &keys, &matches, now, &mut outbox);
        if !matched.is_empty() {
            let ids: BTreeSet<AttemptId> = matched.iter().map(|item| item.attempt_id).collect();
            let open = self.store.open_among(name, &Vec::from_iter(ids)).await?;
            let open: BTreeMap<AttemptId, OpenAttempt> = open.into_iter().map(|open| (open.attempt_id, open)).collect();
            self.add_up(name, matched, &open, now, &mut outbox);
        }
        report.ended = self.write_collected(name, outbox, now).await?;
        Ok(report)
    }

    /// Looks from where the oldest pending event was: index entries of those before it may still be there.
    async fn peek_inbox(
        &self,
        name: &AccountName,
        account: &Account<P>,
        now: Timestamp,
    ) -> Result<Vec<PendingEvent>, StoreError> {
        let monotonic = self.clock.monotonic();
        let not_before = {
            let mut memory = lock(&account.collect_memory);
            if memory.mark_reset_at.is_none_or(|at| monotonic.duration_since(at) >= MARK_RESET) {
                *memory = Memory { mark: None, mark_reset_at: Some(monotonic) };
            }
            memory.mark.unwrap_or(Timestamp::UNIX_EPOCH)
        };
        let events = self.store.peek_inbox(name, not_before, now, BATCH_MAX).await?;
        let trailing = now - self.clock.real_to_civil(MARK_TRAILS);
        let head = events.iter().map(|event| event.retry_at).min();
        lock(&account.collect_memory).mark = Some(head.map_or(trailing, |head| head.min(trailing)));
        Ok(events)
    }

    /// Decodes; what cannot be read is quarantined, not dropped.
    fn read(
        &self,
        account: &Account<P>,
        events: Vec<PendingEvent>,
        outbox: &mut Outbox,
    ) -> Vec<(PendingEvent, CallReport)> {
        let mut readable = Vec::with_capacity(events.len());
        for event in events {
            match account.provider.decode(event.source, &event.body) {
                Ok(report) => {
                    // Webhooks are not signed: only what was read tells how far the provider has counted.
                    if let (Source::Call, Some(call_id)) = (report.source, &report.call_id) {
                        account.saw_call(call_id);
                    }
                    if report.phase == Phase::Unrecognised && account.is_new_word(&report.status) {
                        warn!(
                            provider.account = %account.settings.name,
                            "Status word {:?} is documented nowhere: such calls count as running until their deadline",
                            without_digits(&report.status)
                        );
                    }
                    readable.push((event, report));
                }
                Err(problem) => {
                    let (id, name) = (event.inbox_id, &account.settings.name);
                    warn!(provider.account = %name, inbox.id = id.0, "Event {id} is quarantined: {problem}");
                    outbox.marks.push((event.inbox_id, quarantined(problem.to_string())));
                }
            }
        }
        readable
    }

    pub(super) fn key_of(&self, report: &CallReport) -> CallKey {
        let token = report.token.as_deref().and_then(|token| uuid::Uuid::parse_str(token).ok());
        CallKey {
            call_id: report.call_id.clone(),
            token: token.and_then(|token| AttemptId::recognise(self.store.installation(), token)),
            phone: report.phone,
        }
    }

    /// Finds each event's attempt; what has none yet waits.
    fn assign(
        &self,
        account: &Account<P>,
        readable: Vec<(PendingEvent, CallReport)>,
        keys: &[CallKey],
        matches: &[CallMatch],
        now: Timestamp,
        outbox: &mut Outbox,
    ) -> Vec<Matched> {
        let witness = account.witness();
        // Two unbound calls that could both be one attempt's are told apart by nobody.
        let mut claims: BTreeMap<AttemptId, BTreeSet<&ProviderCallId>> = BTreeMap::new();
        for ((_, report), (key, found)) in readable.iter().zip(keys.iter().zip(matches)) {
            if let (Some((attempt_id, Some(MatchBasis::OnlyCandidate))), Some(call_id)) =
                (attempt_of(key, found, report, &witness), &report.call_id)
            {
                claims.entry(attempt_id).or_default().insert(call_id);
            }
        }
        let ambiguous: BTreeSet<AttemptId> =
            claims.into_iter().filter(|(_, calls)| calls.len() > 1).map(|(attempt_id, _)| attempt_id).collect();
        let mut matched = Vec::with_capacity(readable.len());
        for ((event, report), (key, found)) in readable.into_iter().zip(keys.iter().zip(matches)) {
            let whose = attempt_of(key, found, &report, &witness).or(event.attempt_id.map(|id| (id, None)));
            match whose.filter(|(id, basis)| *basis != Some(MatchBasis::OnlyCandidate) || !ambiguous.contains(id)) {
                Some((attempt_id, basis)) => {
                    let grounds = basis.or(found.basis.filter(|_| found.bound == Some(attempt_id)));
                    matched.push(Matched { event, report, attempt_id, basis, grounds });
                }
                None => {
                    if let (Source::Webhook, None, Some(open)) = (report.source, &report.token, &found.open_unbound)
                        && open.state != OpenState::Dialing
                    {
                        // Perhaps ours: a read of all calls to the number tells.
                        outbox.changes.push(OpenChange { poll_at: Some(now), ..OpenChange::note(open) });
                    }
                    outbox.marks.push((event.inbox_id, unmatched(&event, now)));
                }
            }
        }
        matched
    }

    /// Adds up the reports of each attempt.
    fn add_up(
        &self,
        name: &AccountName,
        matched: Vec<Matched>,
        open: &BTreeMap<AttemptId, OpenAttempt>,
        now: Timestamp,
        outbox: &mut Outbox,
    ) {
        let account = &self.accounts[name];
        let mut by_attempt: BTreeMap<AttemptId, Vec<Matched>> = BTreeMap::new();
        for item in matched {
            if let (Some(basis), Some(call_id)) = (item.basis, &item.report.call_id) {
                outbox.bindings.push(Binding { call_id: call_id.clone(), attempt_id: item.attempt_id, basis });
            }
            by_attempt.entry(item.attempt_id).or_default().push(item);
        }
        for (attempt_id, items) in by_attempt {
            let Some(open) = open.get(&attempt_id) else {
                let (odd, items): (Vec<_>, Vec<_>) =
                    items.into_iter().partition(|item| item.report.phase == Phase::Unrecognised);
                outbox.marks.extend(odd.iter().map(|item| (item.event.inbox_id, item.aside())));
                if !items.is_empty() {
                    outbox.late.push((attempt_id, items));
                }
                continue;
            };
            self.learn_times(name, open, &items);
            let reports: Vec<_> = items
                .iter()
                .map(|item| Received { report: &item.report, received_at: item.event.received_at })
                .collect();
            let call_id = items.iter().find_map(|item| item.report.call_id.clone());
            match conclude(&reports, now, account.settings.settle_after) {
                Conclusion::Live => {
                    outbox.marks.extend(items.iter().map(|item| (item.event.inbox_id, item.aside())));
                    if open.state != OpenState::Placed {
                        // Evidence that it rang or rings: no longer in doubt.
                        let poll_at = now + account.first_read_after(&open.assistant_id);
                        let unanswered = open.state == OpenState::Dialing;
                        let deadline_at = unanswered.then(|| now + self.line_max(account, &open.assistant_id));
                        let reply = ReplyFact::Placed { call_id, poll_at, deadline_at };
                        outbox.replies.push(ReplyRecord { attempt_id, sent_at: None, reply });
                    }
                }
                Conclusion::Waiting { until, read_wanted } => {
                    let later = |item: &Matched| {
                        (item.event.inbox_id, InboxMark::Later { retry_at: until, attempt_id: Some(attempt_id) })
                    };
                    outbox.marks.extend(items.iter().map(later));
                    if open.state != OpenState::Placed {
                        // What only the other half can complete is not read again for it.
                        let poll_at = if read_wanted { now } else { until };
                        let reply = ReplyFact::Placed { call_id, poll_at, deadline_at: None };
                        outbox.replies.push(ReplyRecord { attempt_id, sent_at: None, reply });
                    } else if read_wanted {
                        outbox.changes.push(OpenChange { poll_at: Some(now), ..OpenChange::note(open) });
                    }
                }
                Conclusion::Over(summary) => {
                    let view = self.view();
                    let campaign = view.campaign(attempt_id.key().campaign_id);
                    if campaign.is_some_and(|campaign| campaign.definition.is_none()) {
                        // Nobody can say what follows, nor whether the person opted out.
                        let later = now + NO_DEFINITION_WAIT;
                        let mark = |item: &Matched| {
                            (item.event.inbox_id, InboxMark::Later { retry_at: later, attempt_id: Some(attempt_id) })
                        };
                        outbox.marks.extend(items.iter().map(mark));
                        continue;
                    }
                    let basis = items.iter().find_map(|item| item.grounds);
                    let inbox = items.iter().map(|item| item.event.inbox_id).collect();
                    outbox.ended.push(self.ended(open, *summary, basis, inbox));
                }
            }
        }
    }

    /// Learns in which zone the provider writes, from calls that are known to be ours by more than their time.
    fn learn_times(&self, name: &AccountName, open: &OpenAttempt, items: &[Matched]) {
        let Some(sent_at) = open.sent_at else { return };
        let account = &self.accounts[name];
        // Webhooks are not signed.
        let known = |item: &&Matched| {
            item.report.source == Source::Call
                && matches!(item.grounds, Some(MatchBasis::Reply | MatchBasis::Token | MatchBasis::Operator))
        };
        // One call is one sample, however often it was read.
        let Some(written) = items.iter().filter(known).find_map(|item| item.report.hints.created) else { return };
        let mut calibration = lock(&account.calibration);
        if calibration.observe(sent_at, written) {
            match calibration.offset() {
                Some(offset) => {
                    info!(provider.account = %name, "Times without a zone of account {name} are {offset:#} ahead of UTC");
                }
                None => info!(provider.account = %name, "Times without a zone of account {name} mean nothing for now"),
            }
        }
    }

    /// Lets what another version could not read be looked at again, once after the start; answers whether there may be
    /// more.
    ///
    /// # Errors
    /// When the database does not answer; running it again is safe.
    pub async fn reread_quarantined(&self) -> Result<bool, StoreError> {
        if self.reread_done.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let count = self.store.reread_quarantined(VERSION, REREAD_MAX, self.clock.now()).await?;
        if count > 0 {
            info!("{count} events that another version could not read are looked at again");
        }
        let more = count >= REREAD_MAX;
        // Replicas of two versions would hand them to each other for ever.
        self.reread_done.store(!more, Ordering::Relaxed);
        Ok(more)
    }

    /// As after a start.
    #[cfg(test)]
    pub(super) fn forget_reread(&self) {
        self.reread_done.store(false, Ordering::Relaxed);
    }

    fn ended(&self, open: &OpenAttempt, summary: CallSummary, basis: Option<MatchBasis>, inbox: Vec<InboxId>) -> Ended {
        let campaign_id = open.attempt_id.key().campaign_id;
        let definition = self.definition(campaign_id);
        let goal_met = goal_met(definition.as_deref(), &summary);
        let ending = ending_of(&summary, goal_met);
        let reason = format!("the provider says {}", summary.status);
        let suppress = opt_out(definition.as_deref(), &summary.extracted);
        let mut ended = Ended::of_open(open, self.campaign_name(campaign_id), ending, summary.ended_at, reason);
        // A call that exists was asked for, within a second of its intent; without a moment it would not count as a start.
        // While our own request is not answered, its record brings the true one.
        let unanswered = self.in_flight().contains_key(&open.attempt_id);
        ended.sent_at = ended.sent_at.or_else(|| (!unanswered).then_some(open.intent_at));
        ended.suppress = suppress;
        ended.inbox = inbox;
        ended.result = Some(result_of(summary, basis, goal_met));
        ended
    }

    fn definition(&self, campaign_id: CampaignId) -> Option<Arc<Definition>> {
        self.view().campaign(campaign_id).and_then(|campaign| campaign.definition.clone())
    }

    /// Bindings first: with them every later step can be repeated and finds the same attempts.
    async fn write_collected(&self, name: &AccountName, outbox: Outbox, now: Timestamp) -> Result<usize, StoreError> {
        if !outbox.bindings.is_empty() {
            self.store.bind_calls(name, &outbox.bindings).await?;
        }
        if !outbox.replies.is_empty() {
            self.store.record_replies(&outbox.replies).await?;
        }
        if !outbox.changes.is_empty() {
            self.store.change_open(&outbox.changes).await?;
        }
        let late = self.late_results(outbox.late, now).await?;
        let ended = self.finish(name, &outbox.ended).await?;
        if !late.is_empty() {
            self.store.apply_late(&late, now).await?;
        }
        if !outbox.marks.is_empty() {
            self.store.mark_inbox(&outbox.marks, now).await?;
        }
        if !outbox.changes.is_empty() || !outbox.replies.is_empty() {
            self.accounts[name].wakes.poll.notify_one();
        }
        Ok(ended)
    }

    /// Evidence about attempts that have ended: it completes them, and where it says that the person was reached after
    /// all, it takes the lead out of due.
    async fn late_results(
        &self,
        late: Vec<(AttemptId, Vec<Matched>)>,
        now: Timestamp,
    ) -> Result<Vec<LateResult>, StoreError> {
        if late.is_empty() {
            return Ok(Vec::new());
        }
        let leads: BTreeSet<_> = late.iter().map(|(id, _)| (id.key().campaign_id, id.key().lead_id)).collect();
        let history = self.store.history(&Vec::from_iter(leads)).await?;
        let mut results = Vec::new();
        for (attempt_id, items) in late {
            let Some(recorded) = history.iter().find(|past| past.attempt_id == attempt_id) else {
                // It ended between two statements of this run; the next run sees it.
                continue;
            };
            let reports: Vec<_> = items
                .iter()
                .map(|item| Received { report: &item.report, received_at: item.event.received_at })
                .collect();
            // An ended attempt waits for nothing.
            let Conclusion::Over(summary) = conclude(&reports, now, SignedDuration::ZERO) else {
                results.extend(items.iter().map(|item| LateResult::nothing(attempt_id, item.event.inbox_id)));
                continue;
            };
            let basis = items.iter().find_map(|item| item.grounds);
            let result = self.late_result(recorded, &history, *summary, basis, items[0].event.inbox_id);
            results.push(result);
            results.extend(items[1..].iter().map(|item| LateResult::nothing(attempt_id, item.event.inbox_id)));
        }
        Ok(results)
    }

    fn late_result(
        &self,
        recorded: &PastAttempt,
        history: &[PastAttempt],
        summary: CallSummary,
        basis: Option<MatchBasis>,
        inbox_id: InboxId,
    ) -> LateResult {
        let attempt_id = recorded.attempt_id;
        let definition = self.definition(attempt_id.key().campaign_id);
        let goal_met = goal_met(definition.as_deref(), &summary);
        let contradicts = (summary.outcome != recorded.outcome && !only_lacks_the_machine(recorded, &summary))
            .then_some(summary.outcome);
        if let Some(outcome) = contradicts {
            warn!(
                attempt.id = %attempt_id, outcome = outcome.as_str(),
                "Attempt {attempt_id} ended as {}, and late evidence says {outcome}", recorded.outcome
            );
        } else {
            info!(attempt.id = %attempt_id, "Attempt {attempt_id} got the rest of its result late");
        }
        let verdict = definition
            .as_deref()
            .and_then(|definition| reached(&definition.retry, recorded, history, &summary, goal_met));
        let suppress = opt_out(definition.as_deref(), &summary.extracted);
        LateResult { attempt_id, inbox_id, contradicts, verdict, suppress, result: result_of(summary, basis, goal_met) }
    }
}

impl<P: Provider> Account<P> {
    /// What it knows of calls beyond their ids.
    pub(super) fn witness(&self) -> Witness {
        Witness { assistants: lock(&self.roster).assistants.clone(), calibration: *lock(&self.calibration) }
    }

    /// Whether a status word has not been told of yet.
    fn is_new_word(&self, word: &str) -> bool {
        let mut seen = lock(&self.words_seen);
        seen.len() < WORDS_MAX && seen.insert(word.to_owned())
    }
}

impl Witness {
    /// When a call was made, as far as its report says so in a way that is understood.
    pub(super) fn made_at(&self, report: &CallReport) -> Option<Timestamp> {
        report.created_at.or_else(|| self.calibration.instant(report.hints.created?))
    }

    /// Whether a call names an assistant that is not an attempt's.
    fn names_another(&self, open: &OpenAttempt, report: &CallReport) -> bool {
        let (Some(assistants), Some(name)) = (&self.assistants, &report.hints.assistant_name) else { return false };
        let own = assistants.iter().find(|assistant| assistant.assistant_id == open.assistant_id);
        own.is_some_and(|own| !own.name.trim().eq_ignore_ascii_case(name.trim()))
    }
}

impl Matched {
    /// What becomes of an event that ends nothing: one with a word nobody documents is kept for a version that knows it.
    fn aside(&self) -> InboxMark {
        match self.report.phase {
            Phase::Unrecognised => {
                quarantined(format!("status word {:?} is documented nowhere", without_digits(&self.report.status)))
            }
            Phase::Queued | Phase::Live | Phase::PartOver | Phase::AnsweredOver | Phase::NotReached(_) => {
                InboxMark::Done
            }
        }
    }
}

/// A status word as it may be told: a webhook is not signed, and whatever stands there may hold a number.
fn without_digits(word: &str) -> String {
    word.chars().map(|c| if c.is_numeric() { '#' } else { c }).collect()
}

fn quarantined(problem: String) -> InboxMark {
    InboxMark::Quarantined { problem, version: VERSION.to_owned() }
}

/// A webhook alone cannot tell a machine from a person; that it says `answered` contradicts no voicemail.
fn only_lacks_the_machine(recorded: &PastAttempt, summary: &CallSummary) -> bool {
    recorded.outcome == Outcome::Voicemail && summary.outcome == Outcome::Answered && summary.answered_by.is_none()
}

/// The verdict on a lead that late evidence says was reached.
fn reached(
    policy: &RetryPolicy,
    recorded: &PastAttempt,
    history: &[PastAttempt],
    summary: &CallSummary,
    goal_met: Option<bool>,
) -> Option<crate::domain::retry::Verdict> {
    if summary.outcome != Outcome::Answered {
        return None;
    }
    let key = recorded.attempt_id.key();
    let same_lead = |past: &&PastAttempt| {
        let other = past.attempt_id.key();
        (other.campaign_id, other.lead_id) == (key.campaign_id, key.lead_id)
    };
    let newest = history.iter().filter(same_lead).map(|past| past.attempt_id).max();
    let earlier: Vec<_> =
        history.iter().filter(same_lead).filter(|past| past.attempt_id < recorded.attempt_id).cloned().collect();
    let end = AttemptEnd {
        attempt_id: newest.unwrap_or(recorded.attempt_id),
        tries: recorded.tries,
        ended_at: summary.ended_at,
        ending: Ending::Answered { goal_met },
    };
    match after_attempt(policy, &earlier, &end).1 {
        NextPlace::Disposed { verdict, .. } => Some(verdict),
        NextPlace::Due { .. } => None,
    }
}

/// Whose call it is: a binding stands for ever, our token is proof, and the only unbound newer call to the number of an
/// open attempt can be nobody else's.
pub(super) fn attempt_of(
    key: &CallKey,
    found: &CallMatch,
    report: &CallReport,
    witness: &Witness,
) -> Option<(AttemptId, Option<MatchBasis>)> {
    if let Some(bound) = found.bound {
        return Some((bound, None));
    }
    if let Some(token) = key.token.filter(|_| found.token_exists) {
        return Some((token, Some(MatchBasis::Token)));
    }
    if key.token.is_some() || report.token.is_some() {
        // Somebody's token, and not one of ours: the call is another daemon's.
        return None;
    }
    let open = found.open_unbound.as_ref()?;
    key.call_id.as_ref()?;
    // A lone webhook may be the first of several calls to this number; a read shows them all at once.
    if report.source == Source::Webhook {
        return None;
    }
    // Not ours by its words; whether it is by its time is nobody's guess (see `is_newer_call`).
    if witness.names_another(open, report) {
        return None;
    }
    // While the answer to our request is on its way, it may bring the id itself.
    let answered = open.state != OpenState::Dialing;
    (answered && is_newer_call(open, report, witness) == Some(true))
        .then_some((open.attempt_id, Some(MatchBasis::OnlyCandidate)))
}

/// Whether a call was made after an attempt's intent; `None` when neither ids nor dates tell, or it was made when the
/// attempt's own must have been long over.
pub(super) fn is_newer_call(open: &OpenAttempt, report: &CallReport, witness: &Witness) -> Option<bool> {
    let known = open.newest_call_known.as_ref();
    let newer_id = known.zip(report.call_id.as_ref()).and_then(|(known, call_id)| is_newer(call_id, known));
    let made_at = witness.made_at(report);
    if made_at.is_some_and(|at| at > open.deadline_at + CLOCK_SKEW_MAX) {
        return None;
    }
    let made_after = made_at.map(|at| at + CLOCK_SKEW_MAX >= open.intent_at);
    match (newer_id, made_after) {
        (Some(by_id), Some(by_date)) if by_id != by_date => None,
        (Some(newer), _) | (None, Some(newer)) => Some(newer),
        (None, None) => None,
    }
}

fn unmatched(event: &PendingEvent, now: Timestamp) -> InboxMark {
    let age = now.duration_since(event.received_at);
    if age >= UNMATCHED_MAX {
        warn!(inbox.id = event.inbox_id.0, "Event {} matched no call in 48 hours and is kept aside", event.inbox_id);
        return InboxMark::Unmatched;
    }
    InboxMark::Later { retry_at: now + age.clamp(UNMATCHED_WAIT.0, UNMATCHED_WAIT.1), attempt_id: event.attempt_id }
}

fn goal_met(definition: Option<&Definition>, summary: &CallSummary) -> Option<bool> {
    let goal = definition?.retry.goal.as_ref()?;
    (summary.outcome == Outcome::Answered).then(|| goal.test.holds(&summary.extracted))
}

fn opt_out(definition: Option<&Definition>, extracted: &Map<String, Value>) -> Option<String> {
    let test = definition?.opt_out.as_ref()?;
    test.holds(extracted).then(|| format!("asked not to be called ({})", test.variable))
}

fn ending_of(summary: &CallSummary, goal_met: Option<bool>) -> Ending {
    match summary.outcome {
        Outcome::Answered => Ending::Answered { goal_met },
        Outcome::Canceled => Ending::Canceled,
        Outcome::Voicemail | Outcome::NoAnswer | Outcome::Busy | Outcome::Failed => Ending::Unreached(summary.outcome),
        Outcome::Rejected | Outcome::NotPlaced | Outcome::Unknown => Ending::Unreached(Outcome::Failed),
    }
}

fn result_of(summary: CallSummary, match_basis: Option<MatchBasis>, goal_met: Option<bool>) -> CallResult {
    CallResult {
        call_id: summary.call_id,
        match_basis,
        status: summary.status,
        answered_by: summary.answered_by.map(|who| who.as_str().to_owned()),
        duration_seconds: summary.duration_seconds,
        cost: summary.cost,
        transcript: summary.transcript,
        recording_url: summary.recording_url,
        extracted: summary.extracted,
        goal_met,
    }
}
