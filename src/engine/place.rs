//! One permitted call: wait for the slot, take the last look, send once, note what came back.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::id::{AccountName, AssistantId};
use crate::domain::outcome::Disposition;
use crate::domain::retry::{Ending, Verdict};
use crate::port::clock::Clock;
use crate::port::permit::{CommittedIntent, DialPermit, NotSent, OutboundCall};
use crate::port::provider::{AccountStanding, NotPlaced, PlaceReply, Provider};
use crate::port::store::{AccountState, DialIntent, ReplyFact, ReplyRecord, Store};

use super::dispatch::window_is_open;
use super::finish::Ended;
use super::lease::HeldLease;
use super::record::Record;
use super::view::{LiveCampaign, View};
use super::{Account, Engine, back_off, lock};

/// When a call in doubt is looked for first, civil.
const FIRST_SEARCH_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// How long to stay quiet after a 429 that does not say, civil.
const RATE_LIMITED_WAIT: SignedDuration = SignedDuration::from_secs(10);
/// How long to stay quiet when the provider cannot be reached, civil; doubles up to the second.
const UNREACHABLE_WAIT: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(1), SignedDuration::from_secs(60));
/// When an account that cannot place calls is looked at again, civil.
pub const ACCOUNT_CHECK_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Undocumented refusals in a row that put an assistant aside, and for how long, civil.
const ASSISTANT_ASIDE: (u32, SignedDuration) = (3, SignedDuration::from_mins(15));

/// Between two tries to charge a start, real time at least.
const SHORTEST_WAIT: Duration = Duration::from_micros(50);

/// How long a 429 asks us to stay quiet, civil: like the rates it is about.
pub(super) fn rate_limited_wait(retry_after: Option<Duration>) -> SignedDuration {
    retry_after.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or(RATE_LIMITED_WAIT)
}

/// How long to claim nothing after a permit ran out before its request left, real time.
const EXPIRED_WAIT: Duration = Duration::from_secs(1);
/// Numbers refused in a row from which on the numbers are not to blame.
const NUMBERS_REFUSED_MAX: u32 = 5;

/// What a start was granted on.
pub(super) struct Start {
    pub lease: HeldLease,
    pub not_after: Instant,
    pub intent: DialIntent,
    pub campaign: Arc<LiveCampaign>,
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Sends a permitted call in a task of its own, so that nothing which is cancelled can cut it in two.
    pub(super) fn place(
        self: &Arc<Self>,
        name: &AccountName,
        start: Start,
        intent: CommittedIntent,
        call: OutboundCall,
    ) {
        let account = &self.accounts[name];
        account.reserve(start.campaign.campaign_id);
        let engine = Arc::clone(self);
        let name = name.clone();
        self.tasks.spawn(async move {
            let start = Arc::new(start);
            let account = &engine.accounts[&name];
            let permit = DialPermit::new(
                &intent,
                call,
                Box::pin(Arc::clone(&engine).last_look(name.clone(), Arc::clone(&start))),
            );
            let departure = permit.record();
            engine.await_slot(&name, &start).await;
            let reply = account.provider.place(permit).await;
            if departure.sent_at().is_none() {
                // The last look gives the slot back when it charges; a request that never got there does it here.
                account.give_back(start.campaign.campaign_id);
            }
            let record = engine.digest(&name, &start, departure.sent_at(), reply).await;
            let _ = account.records.send(record);
        });
    }

    /// Sleeps until the start's slot is near, so that no connection is opened long before it.
    async fn await_slot(&self, name: &AccountName, start: &Start) {
        let account = &self.accounts[name];
        loop {
            let wait = lock(&account.pacer).wait(start.campaign.campaign_id, self.clock.now());
            let left = start.not_after.saturating_duration_since(self.clock.monotonic());
            if wait <= SignedDuration::ZERO || left.is_zero() {
                return;
            }
            self.clock.sleep(self.clock.civil_to_real(wait).min(left)).await;
        }
    }

    /// The second look at every gate that can have closed, and the charge of the start: called when the request's first
    /// body byte is about to leave.
    async fn last_look(self: Arc<Self>, name: AccountName, start: Arc<Start>) -> Result<Timestamp, NotSent> {
        let account = &self.accounts[&name];
        #[cfg(test)]
        if super::mutation::Mutation::NoLastLook.is_made() {
            account.give_back(start.campaign.campaign_id);
            return Ok(self.clock.now());
        }
        let campaign_id = start.campaign.campaign_id;
        loop {
            let monotonic = self.clock.monotonic();
            if monotonic >= start.not_after {
                return Err(NotSent::PermitExpired);
            }
            if monotonic >= start.lease.deadline {
                return Err(NotSent::LeaseEnded);
            }
            let now = self.clock.now();
            let view = self.view();
            if let Some(problem) = self.account_problem(&view, account, now) {
                return Err(NotSent::GateClosed(problem));
            }
            let campaign = view.campaign(campaign_id).filter(|campaign| campaign.version == start.campaign.version);
            if campaign.is_none_or(|campaign| campaign.dials(&name).is_none()) {
                return Err(NotSent::GateClosed("the campaign was changed or is not active".to_owned()));
            }
            match self.charge(account, &view, &start)? {
                Ok(now) => {
                    account.give_back(campaign_id);
                    return Ok(now);
                }
                Err(wait) => {
                    let left = start.not_after.duration_since(monotonic);
                    // Not `clamp`: less than its lower bound may be left.
                    self.clock.sleep(self.clock.civil_to_real(wait).max(SHORTEST_WAIT).min(left)).await;
                }
            }
        }
    }

    /// Charges a start to every limit and says at which moment, or how much civil time to wait. The clock is read while the
    /// limits are locked: a moment read earlier may lie before that of a start which overtook this one.
    fn charge(
        &self,
        account: &Account<P>,
        view: &View,
        start: &Start,
    ) -> Result<Result<Timestamp, SignedDuration>, NotSent> {
        let campaign_id = start.campaign.campaign_id;
        let mut requests = lock(&account.requests);
        let mut pacer = lock(&account.pacer);
        let now = self.clock.now();
        let window = view.window(campaign_id, start.intent.due.stratum.calling_group_id, now);
        if !window_is_open(window.as_ref()) {
            return Err(NotSent::GateClosed("the calling window has closed".to_owned()));
        }
        let wait = pacer.wait(campaign_id, now);
        if wait > SignedDuration::ZERO {
            // Nothing is taken out of the request budget for a start that cannot leave yet.
            return Ok(Err(wait));
        }
        Ok(requests.start(now).and_then(|()| pacer.charge(campaign_id, now)).map(|()| now))
    }

    /// What a reply means for the attempt, and for everyone else.
    async fn digest(&self, name: &AccountName, start: &Start, sent_at: Option<Timestamp>, reply: PlaceReply) -> Record {
        let account = &self.accounts[name];
        let now = self.clock.now();
        let attempt_id = start.intent.attempt_id;
        let assistant_id = &start.intent.assistant_id;
        let not_placed = match reply {
            PlaceReply::Placed { call_id } => {
                self.note_success(name, assistant_id);
                if let Some(call_id) = &call_id {
                    account.saw_call(call_id);
                    *lock(&account.known_phone) = Some((start.intent.due.phone, now));
                }
                let reply = ReplyFact::Placed { call_id, poll_at: now + account.first_read_after(assistant_id) };
                return Record::Reply(ReplyRecord { attempt_id, sent_at, reply });
            }
            PlaceReply::Unknown { reason, accepted } => {
                warn!(attempt.id = %attempt_id, provider.account = %name, "Attempt {attempt_id} is in doubt: {reason}");
                account.wakes.poll.notify_one();
                let reply = ReplyFact::InDoubt {
                    reason,
                    accepted,
                    // Whoever stands between us and the provider may give up long before the provider does.
                    absence_from: sent_at.unwrap_or(now).max(now)
                        + self.clock.real_to_civil(self.settings.request_timeout),
                    poll_at: now + FIRST_SEARCH_AFTER,
                    deadline_at: now + self.line_max(account, assistant_id),
                };
                return Record::Reply(ReplyRecord { attempt_id, sent_at, reply });
            }
            PlaceReply::NotPlaced(reason) => reason,
        };
        let again = |retry_at: Timestamp| Ending::NotPlaced { retry_at };
        let (ending, reason) = match not_placed {
            NotPlaced::Unsent(reason) => {
                if reason == NotSent::PermitExpired {
                    // Claims that cannot be sent in time are not worth making at this rate.
                    account.hold_until(now + self.clock.real_to_civil(EXPIRED_WAIT), "requests do not leave in time");
                }
                (again(now), reason.to_string())
            }
            NotPlaced::Unreachable { reason } => (again(self.note_unreachable(name, &reason, now)), reason),
            NotPlaced::RateLimited { retry_after } => {
                let wait = rate_limited_wait(retry_after);
                warn!(provider.account = %name, "Account {name} pauses for {wait:#}: the provider wants fewer requests");
                account.hold_until(now + wait, "the provider wants fewer requests");
                (again(now + wait), "the provider wants fewer requests".to_owned())
            }
            NotPlaced::NumberRefused { reason, suppressed } => {
                if self.note_number_refused(name, assistant_id, now) {
                    let ended = Ended::unsent(&start.intent, &start.campaign, Ending::Refused, now, reason);
                    return Record::Ended(Box::new(Ended { sent_at, ..ended }));
                }
                let disposition = if suppressed { Disposition::Suppressed } else { Disposition::InvalidNumber };
                (
                    Ending::Rejected(Verdict::new(disposition, format!("the provider refuses the number: {reason}"))),
                    reason,
                )
            }
            NotPlaced::AccountStopped(standing) => {
                self.stop_account(name, &standing, now).await;
                (again(now), standing.sentence())
            }
            NotPlaced::AssistantGone { reason } => {
                warn!(provider.account = %name, assistant.id = %assistant_id, "Assistant {assistant_id} is put aside: {reason}");
                lock(&account.roster).aside.insert(assistant_id.clone(), now + ASSISTANT_ASIDE.1);
                account.wakes.roster.notify_one();
                (again(now), format!("the assistant is gone: {reason}"))
            }
            NotPlaced::Refused { status, reason } => {
                self.note_refusal(name, assistant_id, status, now);
                (Ending::Refused, format!("HTTP {status}: {reason}"))
            }
        };
        let mut ended = Ended::unsent(&start.intent, &start.campaign, ending, now, reason);
        ended.sent_at = sent_at;
        Record::Ended(Box::new(ended))
    }

    fn note_success(&self, name: &AccountName, assistant_id: &AssistantId) {
        let account = &self.accounts[name];
        let mut roster = lock(&account.roster);
        roster.refusals.remove(assistant_id);
        roster.numbers_refused.remove(assistant_id);
        drop(roster);
        lock(&account.hold).unreachable = 0;
    }

    /// Counts refused numbers. Our numbers have been checked, so many in a row are no fault of the leads: an assistant
    /// without a number of its own, say, is refused with the same status. Such leads are put back, not out, and the
    /// assistant is put aside.
    fn note_number_refused(&self, name: &AccountName, assistant_id: &AssistantId, now: Timestamp) -> bool {
        let mut roster = lock(&self.accounts[name].roster);
        let in_a_row = roster.numbers_refused.entry(assistant_id.clone()).or_default();
        *in_a_row += 1;
        let too_many = *in_a_row >= NUMBERS_REFUSED_MAX;
        if too_many && roster.aside.insert(assistant_id.clone(), now + ASSISTANT_ASIDE.1).is_none() {
            warn!(
                provider.account = %name, assistant.id = %assistant_id,
                "Assistant {assistant_id} is put aside: {NUMBERS_REFUSED_MAX} numbers in a row were refused"
            );
        }
        too_many
    }

    fn note_unreachable(&self, name: &AccountName, reason: &str, now: Timestamp) -> Timestamp {
        let account = &self.accounts[name];
        let failures = {
            let mut hold = lock(&account.hold);
            hold.unreachable = hold.unreachable.saturating_add(1);
            hold.unreachable
        };
        let until = now + back_off(UNREACHABLE_WAIT.0, failures, UNREACHABLE_WAIT.1);
        if failures == 1 {
            warn!(provider.account = %name, "The provider of account {name} cannot be reached: {reason}");
        }
        account.hold_until(until, "the provider cannot be reached");
        until
    }

    fn note_refusal(&self, name: &AccountName, assistant_id: &AssistantId, status: u16, now: Timestamp) {
        let account = &self.accounts[name];
        let mut roster = lock(&account.roster);
        let in_a_row = roster.refusals.entry(assistant_id.clone()).or_default();
        *in_a_row += 1;
        if *in_a_row >= ASSISTANT_ASIDE.0 {
            *in_a_row = 0;
            roster.aside.insert(assistant_id.clone(), now + ASSISTANT_ASIDE.1);
            warn!(
                provider.account = %name, assistant.id = %assistant_id,
                "Assistant {assistant_id} is put aside: {} refusals in a row, the last with HTTP {status}", ASSISTANT_ASIDE.0
            );
        }
    }

    /// Stops an account that cannot place calls; the leads stay untouched, and the roster pass looks again.
    pub(super) async fn stop_account(&self, name: &AccountName, standing: &AccountStanding, now: Timestamp) {
        let account = &self.accounts[name];
        let problem = standing.sentence();
        account.hold_until(now + ACCOUNT_CHECK_AFTER, problem.clone());
        if self.view().account_state(name).is_some_and(|state| state.problem.as_ref() == Some(&problem)) {
            return;
        }
        warn!(provider.account = %name, "Account {name} cannot place calls: {problem}");
        let state = AccountState {
            account: name.clone(),
            problem: Some(problem),
            since: now,
            next_check_at: Some(now + ACCOUNT_CHECK_AFTER),
        };
        if let Err(error) = self.store.save_account_state(&state).await {
            // Held back in memory anyway; the next refused call tries again.
            warn!(provider.account = %name, "The state of account {name} could not be saved: {error}");
        }
    }

    /// Ends an account's stop.
    pub(super) async fn resume_account(
        &self,
        name: &AccountName,
        now: Timestamp,
    ) -> Result<(), crate::port::store::StoreError> {
        let state = AccountState { account: name.clone(), problem: None, since: now, next_check_at: None };
        self.store.save_account_state(&state).await?;
        lock(&self.accounts[name].hold).until = None;
        info!(provider.account = %name, "Account {name} can place calls again");
        Ok(())
    }
}
