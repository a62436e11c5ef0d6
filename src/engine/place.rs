//! One permitted call: wait for the slot, take the last look, send once, note what came back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::domain::id::AccountName;
use crate::domain::outcome::Disposition;
use crate::domain::retry::{Ending, Verdict};
use crate::port::clock::Clock;
use crate::port::permit::{CommittedIntent, DialPermit, NotSent, OutboundCall};
use crate::port::provider::{NotPlaced, PlaceReply, Provider};
use crate::port::store::{DialIntent, ReplyFact, ReplyRecord, Store};

use super::dispatch::window_is_open;
use super::finish::Ended;
use super::lease::HeldLease;
use super::record::Record;
use super::trust::{Doubts, NUMBERS_REFUSED_MAX, REFUSALS_MAX, Refusal};
use super::view::{LiveCampaign, View};
use super::{Account, Engine, back_off, lock};

/// When a call in doubt is looked for first, civil.
const FIRST_SEARCH_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// How long to stay quiet after a 429 that does not say, civil.
pub(super) const RATE_LIMITED_WAIT: SignedDuration = SignedDuration::from_secs(10);
/// How long to stay quiet when the provider cannot be reached, civil; doubles up to the second.
const UNREACHABLE_WAIT: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(1), SignedDuration::from_secs(60));
/// Between two tries to charge a start, real time at least.
const SHORTEST_WAIT: Duration = Duration::from_micros(50);

/// How long a 429 asks us to stay quiet, civil: like the rates it is about.
pub(super) fn rate_limited_wait(retry_after: Option<Duration>) -> SignedDuration {
    retry_after.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or(RATE_LIMITED_WAIT)
}

/// How long to claim nothing after a permit ran out before its request left, real time.
const EXPIRED_WAIT: Duration = Duration::from_secs(1);

/// What a start was granted on.
pub(super) struct Start {
    pub lease: HeldLease,
    pub not_after: Instant,
    pub intent: DialIntent,
    pub campaign: Arc<LiveCampaign>,
    /// Since when it has been due and its calling window open.
    pub ready_at: Timestamp,
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
        let granted = lock(&account.roster).trusts.begin(&start.intent.assistant_id);
        let engine = Arc::clone(self);
        let name = name.clone();
        self.tasks.spawn(async move {
            let start = Arc::new(start);
            let account = &engine.accounts[&name];
            let permit = DialPermit::new(
                &intent,
                call,
                Box::pin(Arc::clone(&engine).last_look(name.clone(), Arc::clone(&start), granted)),
            );
            let departure = permit.record();
            engine.await_slot(&name, &start).await;
            // A panic would leave the slot reserved and the assistant with a call under way for ever.
            let reply = match AssertUnwindSafe(account.provider.place(permit)).catch_unwind().await {
                Ok(reply) => reply,
                Err(_) => {
                    let id = start.intent.attempt_id;
                    error!(
                        attempt.id = %id, provider.account = %name,
                        "The client of account {name} failed at attempt {id}: please report it"
                    );
                    // It may have failed at the very answer that said that the call was taken.
                    PlaceReply::Unknown { reason: "our own client failed".to_owned(), accepted: true }
                }
            };
            if departure.sent_at().is_none() {
                // The last look gives the slot back when it charges; a request that never got there does it here.
                account.give_back(start.campaign.campaign_id);
            }
            let record = engine.digest(&name, &start, granted, departure.sent_at(), reply).await;
            lock(&account.roster).trusts.end(&start.intent.assistant_id);
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
    async fn last_look(
        self: Arc<Self>,
        name: AccountName,
        start: Arc<Start>,
        granted: Doubts,
    ) -> Result<Timestamp, NotSent> {
        let account = &self.accounts[&name];
        #[cfg(test)]
        if crate::port::mutation::Mutation::NoLastLook.is_made() {
            account.give_back(start.campaign.campaign_id);
            return Ok(self.clock.now());
        }
        let campaign_id = start.campaign.campaign_id;
        loop {
            let monotonic = self.clock.monotonic();
            if monotonic >= start.not_after {
                return Err(NotSent::PermitExpired);
            }
            let lease_ended = monotonic >= start.lease.deadline;
            #[cfg(test)]
            let lease_ended = lease_ended && !crate::port::mutation::Mutation::LeaseFenceOff.is_made();
            if lease_ended {
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
            if !lock(&account.roster).trusts.may_leave(&start.intent.assistant_id, granted, now) {
                return Err(NotSent::GateClosed("the provider has refused its assistant meanwhile".to_owned()));
            }
            match self.charge(account, &view, &start)? {
                Ok(now) => {
                    account.give_back(campaign_id);
                    self.note_start(&name, campaign_id, start.ready_at, now);
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
    async fn digest(
        &self,
        name: &AccountName,
        start: &Start,
        granted: Doubts,
        sent_at: Option<Timestamp>,
        reply: PlaceReply,
    ) -> Record {
        self.note_reply(name, sent_at, &reply);
        let account = &self.accounts[name];
        if !matches!(reply, PlaceReply::NotPlaced(_)) {
            // A machine that slept meanwhile does not know how late it is, and absence is proven from here on.
            self.clock.settled(self.settings().lease_ttl).await;
        }
        let now = self.clock.now();
        let attempt_id = start.intent.attempt_id;
        let assistant_id = &start.intent.assistant_id;
        // Never less than was known before: the machine's clock may have been set back since.
        let answered_at = sent_at.unwrap_or(now).max(now);
        let line_until = start.intent.deadline_at.max(answered_at + self.line_max(account, assistant_id));
        #[cfg(test)]
        let reply = match &reply {
            PlaceReply::Unknown { reason, .. } if crate::port::mutation::Mutation::NoDoubt.is_made() => {
                PlaceReply::NotPlaced(NotPlaced::Unreachable { reason: reason.clone() })
            }
            PlaceReply::Placed { .. } | PlaceReply::NotPlaced(_) | PlaceReply::Unknown { .. } => reply,
        };
        let not_placed = match reply {
            PlaceReply::Placed { call_id } => {
                lock(&account.roster).trusts.placed(assistant_id, granted);
                self.note_placed(name);
                if let Some(call_id) = &call_id {
                    account.saw_call(call_id);
                    *lock(&account.known_phone) = Some((start.intent.due.phone, now));
                }
                let reply = ReplyFact::Placed {
                    call_id,
                    poll_at: now + account.first_read_after(assistant_id),
                    deadline_at: Some(line_until),
                };
                return Record::Reply(ReplyRecord { attempt_id, sent_at, reply });
            }
            PlaceReply::Unknown { reason, accepted } => {
                warn!(attempt.id = %attempt_id, provider.account = %name, "Attempt {attempt_id} is in doubt: {reason}");
                account.wakes.poll.notify_one();
                let reply = ReplyFact::InDoubt {
                    reason,
                    accepted,
                    // Whoever stands between us and the provider may give up long before the provider does.
                    absence_from: answered_at + self.clock.real_to_civil(self.settings().request_timeout),
                    poll_at: now + FIRST_SEARCH_AFTER,
                    deadline_at: line_until,
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
                self.slow_down(name, sent_at.unwrap_or(now), now);
                (again(now + wait), "the provider wants fewer requests".to_owned())
            }
            NotPlaced::NumberRefused { reason, suppressed } => {
                // Our numbers have been checked, so many in a row are no fault of the leads: an assistant without a number
                // of its own, say, is refused with the same status. Such leads are put back, not out.
                let (too_many, news) = lock(&account.roster).trusts.number_refused(assistant_id, now);
                if news {
                    warn!(
                        provider.account = %name, assistant.id = %assistant_id,
                        "Assistant {assistant_id} is put aside: {NUMBERS_REFUSED_MAX} numbers in a row were refused"
                    );
                }
                if too_many {
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
                if lock(&account.roster).trusts.put_aside(assistant_id, now) {
                    warn!(
                        provider.account = %name, assistant.id = %assistant_id,
                        "Assistant {assistant_id} is put aside: {reason}"
                    );
                    account.wakes.roster.notify_one();
                }
                (again(now), format!("the assistant is gone: {reason}"))
            }
            NotPlaced::Refused { status, reason } => {
                let refusal = lock(&account.roster).trusts.refused(assistant_id, granted, now);
                if refusal == Refusal::Aside {
                    warn!(
                        provider.account = %name, assistant.id = %assistant_id,
                        "Assistant {assistant_id} is put aside: {REFUSALS_MAX} refusals in a row, the last with HTTP {status}"
                    );
                    account.wakes.roster.notify_one();
                }
                let ending = match refusal {
                    // It left before anybody knew, and says nothing of the lead.
                    Refusal::KnownBefore => again(now),
                    Refusal::Counted | Refusal::Aside => Ending::Refused,
                };
                (ending, format!("HTTP {status}: {reason}"))
            }
        };
        let mut ended = Ended::unsent(&start.intent, &start.campaign, ending, now, reason);
        ended.sent_at = sent_at;
        Record::Ended(Box::new(ended))
    }

    /// Fewer starts from now on: the provider has refused one that left at `sent_at` for their number.
    fn slow_down(&self, name: &AccountName, sent_at: Timestamp, now: Timestamp) {
        let mut pacer = lock(&self.accounts[name].pacer);
        if let Some(share) = pacer.refused(sent_at, now) {
            let rate = pacer.per_minute(share);
            info!(
                provider.account = %name,
                "Account {name} starts at most {rate:.1} calls a minute for now, as the provider refuses more"
            );
        }
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
}
