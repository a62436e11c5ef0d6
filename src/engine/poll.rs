//! Open attempts: calls are read, deadlines pass, and what a lost process left is rescued; [`super::resolve`] looks after
//! calls in doubt.
//!
//! This is the only place rescue looks, and it never makes anything due that may have rung.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tracing::{debug, warn};

use crate::domain::attempt::{MatchBasis, OpenState};
use crate::domain::id::{AccountName, AttemptId, ProviderCallId};
use crate::domain::report::{CallReport, Phase, Source};
use crate::domain::retry::Ending;
use crate::port::clock::Clock;
use crate::port::provider::{CallQuery, Provider, ReadError, ResultReads};
use crate::port::store::{InboxEvent, OpenAttempt, OpenChange, Store, StoreError};

use super::collect::attempt_of;
use super::dispatch::PERMIT_VALID;
use super::finish::Ended;
use super::lease::HeldLease;
use super::place::rate_limited_wait;
use super::resolve::absence_tells;
use super::{Account, Engine, is_newer, lock};

/// Calls to read at once from which on whole pages of the list are cheaper than single calls.
const SINGLE_READS_MAX: usize = 3;
/// Calls read by themselves in one run at most, and at the same time.
const ALONE_MAX: usize = 32;
const ALONE_AT_ONCE: usize = 8;
/// Odd status words remembered as kept; one more forgets them all, and they are kept once more.
const ODD_MAX: usize = 10_000;
/// Most pages one run reads of the list; at 100 calls a page.
pub(super) const PAGES_MAX: u32 = 20;
/// Shortest and longest time between two reads of a call, civil; a quarter of its age lies in between.
pub(super) const READ_AGAIN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(10), SignedDuration::from_secs(60));
/// Between two looks at a held attempt, civil: late evidence may still settle it.
pub(super) const HELD_AGAIN: SignedDuration = SignedDuration::from_mins(30);
/// The same when the provider could not be read, civil.
const HELD_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(5);

/// How long an intent is remembered as never permitted that is not open, real time: a statement whose connection broke may
/// be executed as late as the server grants one.
const UNPERMITTED_KEPT: Duration = Duration::from_secs(60);

/// How long after its deadline an attempt in doubt still waits for its absence to be proven, civil: a provider whose list
/// cannot be read for an hour must not keep lines for ever.
const ABSENCE_PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollReport {
    /// Open attempts.
    pub open: usize,
    /// Reads made.
    pub reads: usize,
    /// Attempts that went in doubt or were held.
    pub moved: usize,
    /// Attempts that ended as not placed.
    pub ended: usize,
}

/// A call of the provider's list, as far as its id: most of a list is about calls nobody asked for.
pub(super) struct Listed {
    call_id: Option<ProviderCallId>,
    body: Bytes,
}

/// What a read brought of a call.
pub(super) struct News {
    call_id: Option<ProviderCallId>,
    pub body: Bytes,
    /// Whether it says that the call is over. What cannot be read counts as that: it is quarantined, with the reason, by
    /// whoever reads the inbox.
    over: bool,
    /// Whether the provider has it and has not begun to dial.
    queued: bool,
    /// The status word, if nobody documents it.
    odd: Option<String>,
    /// Whether it is the attempt's only because no other call is.
    only_candidate: bool,
}

impl News {
    fn of<P: Provider>(account: &Account<P>, body: Bytes) -> Self {
        match account.provider.decode(Source::Call, &body) {
            Ok(report) => Self::read(report, body, false),
            Err(_) => Self { call_id: None, body, over: true, queued: false, odd: None, only_candidate: false },
        }
    }

    fn read(report: CallReport, body: Bytes, only_candidate: bool) -> Self {
        let (over, queued) = (report.phase.is_over(), report.phase == Phase::Queued);
        let odd = (report.phase == Phase::Unrecognised).then_some(report.status);
        Self { call_id: report.call_id, body, over, queued, odd, only_candidate }
    }
}

/// What the pass remembers between runs; losing it costs reads, never correctness.
#[derive(Debug, Default)]
pub struct Memory {
    walk: Option<Walk>,
    /// The attempt that was read by itself last; the next one in the order of ids is the next.
    last_alone: Option<AttemptId>,
    /// Calls whose odd status word is kept already, with the word.
    odd_kept: BTreeSet<(AttemptId, String)>,
}

/// A walk through the provider's list. One that is long takes several runs, and goes on where it was: new calls push
/// those that it has not seen further back, never forward.
#[derive(Clone, Copy, Debug)]
struct Walk {
    next_page: u32,
    /// Calls that were due for a read by then are seen when the walk is over.
    began_at: Timestamp,
}

/// What a run saw of a walk.
#[derive(Default)]
struct Walked {
    found: BTreeMap<AttemptId, News>,
    /// Wanted attempts that the walk has shown, or would have, had the list their call.
    covered: BTreeSet<AttemptId>,
    /// The list could not be read.
    failed: bool,
}

/// One call for each attempt, those left out that are claimed only for want of another one and are several.
pub(super) fn unambiguous(all: Vec<(AttemptId, News)>) -> BTreeMap<AttemptId, News> {
    let mut candidates: BTreeMap<AttemptId, BTreeSet<Option<ProviderCallId>>> = BTreeMap::new();
    for (attempt_id, news) in all.iter().filter(|(_, news)| news.only_candidate) {
        candidates.entry(*attempt_id).or_default().insert(news.call_id.clone());
    }
    let mut one = BTreeMap::new();
    for (attempt_id, news) in all {
        let several = candidates.get(&attempt_id).is_some_and(|calls| calls.len() > 1);
        if !(news.only_candidate && several) {
            one.entry(attempt_id).or_insert(news);
        }
    }
    one
}

/// Reads the ids of the entries of a list.
pub(super) fn listed<P: Provider>(account: &Account<P>, bodies: Vec<Bytes>) -> Vec<Listed> {
    let read = |body: Bytes| Listed { call_id: account.provider.call_id(&body), body };
    let listed: Vec<Listed> = bodies.into_iter().map(read).collect();
    for call_id in listed.iter().filter_map(|call| call.call_id.as_ref()) {
        account.saw_call(call_id);
    }
    listed
}

/// A call than which none of the wanted ones is older; `None` where nothing is known of one, or ids do not count.
fn oldest_call<'a>(wanted: &[&'a OpenAttempt]) -> Option<&'a ProviderCallId> {
    let mut ids = wanted.iter().map(|attempt| attempt.call_id.as_ref().or(attempt.newest_call_known.as_ref()));
    let first = ids.next()??;
    ids.try_fold(first, |oldest, id| Some(if is_newer(oldest, id?)? { id? } else { oldest }))
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Looks after every open attempt of an account this daemon dials.
    ///
    /// # Errors
    /// When the database does not answer; running it again is safe.
    pub async fn poll(&self, name: &AccountName) -> Result<PollReport, StoreError> {
        let mut report = PollReport::default();
        let account = &self.accounts[name];
        let Some(lease) = self.held_lease(account).filter(|_| self.knows_campaigns()) else { return Ok(report) };
        // Before the rows: what is recorded and let go in between is still `dialing` in rows that were read earlier.
        let in_flight = self.in_flight().clone();
        let open = self.store.open_attempts(name).await?;
        report.open = open.len();
        let now = self.clock.now();
        // By a clock that is hours ahead, absence is proven and lines are free before their time.
        if self.clock_problem().is_none() {
            self.rescue(name, &lease, &in_flight, &open, now, &mut report).await?;
            self.forget_unpermitted(name, &open);
            self.reconcile(name, &lease, now, &mut report).await?;
            self.pass_deadlines(name, &open, now, &mut report).await?;
            // First what keeps people locked and lines occupied: the budget may not reach for both.
            self.search_doubts(name, &open, now, &mut report).await?;
        }
        self.read_calls(name, &open, now, &mut report).await?;
        Ok(report)
    }

    /// Intents nobody answers for any more: of an older epoch or another process they go in doubt; our own that were never
    /// permitted certainly were not sent.
    async fn rescue(
        &self,
        name: &AccountName,
        lease: &HeldLease,
        in_flight: &BTreeMap<AttemptId, AccountName>,
        open: &[OpenAttempt],
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let horizon = self.clock.real_to_civil(self.settings.zombie_horizon);
        // A batch may be committed and not yet permitted: its permits are void by then.
        let patience = self.clock.real_to_civil(PERMIT_VALID * 3);
        let sending = self.clock.real_to_civil(self.settings.request_timeout);
        let mut changes = Vec::new();
        for attempt in open.iter().filter(|attempt| attempt.state == OpenState::Dialing) {
            #[cfg(test)]
            if attempt.owner != lease.lease.owner && crate::port::mutation::Mutation::RescueRequeues.is_made() {
                let campaign = self.campaign_name(attempt.attempt_id.key().campaign_id);
                let again = Ending::NotPlaced { retry_at: now };
                self.finish(name, &[Ended::of_open(attempt, campaign, again, now, String::new())]).await?;
                continue;
            }
            let (reason, horizon) = if attempt.owner != lease.lease.owner {
                ("the process that dialed it is gone", horizon)
            } else if self.is_forgotten(attempt, in_flight) && attempt.intent_at + patience < now {
                // Recorded and acknowledged, and no longer there: the database went back in time.
                ("what became of it was recorded, and the database has lost that", sending)
            } else {
                continue;
            };
            changes.push(OpenChange {
                reason: Some(reason.to_owned()),
                absence_from: Some(now + horizon),
                deadline_at: Some(attempt.deadline_at.max(now + horizon) + account.settings.line_max()),
                poll_at: Some(now),
                ..OpenChange::to(attempt, OpenState::InDoubt)
            });
        }
        if !changes.is_empty() {
            let moved = self.store.change_open(&changes).await?;
            report.moved += moved.len();
            warn!(provider.account = %name, "{} attempts are in doubt: nobody knows what became of them", moved.len());
        }
        let unpermitted = open.iter().filter(|attempt| attempt.intent_at + patience < now);
        report.ended += self.end_unpermitted(name, unpermitted, in_flight, now).await?;
        Ok(())
    }

    /// Ends our own intents that were made durable and never permitted. `in_flight` was taken before the rows were read.
    async fn end_unpermitted(
        &self,
        name: &AccountName,
        open: impl Iterator<Item = &OpenAttempt>,
        in_flight: &BTreeMap<AttemptId, AccountName>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let unpermitted = lock(&self.unpermitted).clone();
        let ours = |attempt: &&OpenAttempt| {
            attempt.state == OpenState::Dialing
                && attempt.owner == self.settings.owner
                && unpermitted.contains_key(&attempt.attempt_id)
                && !in_flight.contains_key(&attempt.attempt_id)
        };
        let ended: Vec<Ended> = open
            .filter(ours)
            .map(|attempt| {
                let reason = "it was never permitted to leave".to_owned();
                let campaign = self.campaign_name(attempt.attempt_id.key().campaign_id);
                Ended::of_open(attempt, campaign, Ending::NotPlaced { retry_at: now }, now, reason)
            })
            .collect();
        self.finish(name, &ended).await
    }

    /// Whether an intent of our own is neither under way, then or now, nor known as never permitted: it was sent, then.
    fn is_forgotten(&self, attempt: &OpenAttempt, in_flight: &BTreeMap<AttemptId, AccountName>) -> bool {
        let id = &attempt.attempt_id;
        !in_flight.contains_key(id) && !self.in_flight().contains_key(id) && !lock(&self.unpermitted).contains_key(id)
    }

    /// Forgets those that are not open and, as old as they are, never will be.
    fn forget_unpermitted(&self, name: &AccountName, open: &[OpenAttempt]) {
        let now = self.clock.monotonic();
        let is_open = |attempt_id: &AttemptId| open.iter().any(|attempt| attempt.attempt_id == *attempt_id);
        lock(&self.unpermitted).retain(|attempt_id, (account, since)| {
            account != name || now.duration_since(*since) < UNPERMITTED_KEPT || is_open(attempt_id)
        });
    }

    /// Ends what a commit of unknown fate left behind. For the end of a drain, when nothing can be permitted any more:
    /// the next process could only take it for a call in doubt.
    pub(super) async fn end_all_unpermitted(&self, name: &AccountName) -> Result<usize, StoreError> {
        let in_flight = self.in_flight().clone();
        let open = self.store.open_attempts(name).await?;
        self.end_unpermitted(name, open.iter(), &in_flight, self.clock.now()).await
    }

    /// What has occupied a line for as long as a call can last is held: only evidence or a person can settle it.
    async fn pass_deadlines(
        &self,
        name: &AccountName,
        open: &[OpenAttempt],
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let lag = self.accounts[name].absence_lag();
        let held: Vec<OpenChange> = open
            .iter()
            .filter(|attempt| match attempt.state {
                OpenState::Placed => attempt.deadline_at <= now,
                // Absence may still prove it; for so long the line stays occupied.
                OpenState::InDoubt if !attempt.accepted && lag.is_some() => {
                    attempt.deadline_at + ABSENCE_PATIENCE <= now
                }
                OpenState::InDoubt => attempt.deadline_at <= now,
                OpenState::Dialing | OpenState::Held => false,
            })
            .map(|attempt| {
                let reason = match (attempt.state, &attempt.reason) {
                    (OpenState::InDoubt, Some(reason)) => format!("no evidence came: {reason}"),
                    _ => "the provider never said how the call ended".to_owned(),
                };
                // A call that is known is read once more at its time: perhaps it has only just been found.
                let again = now + HELD_AGAIN;
                let poll_at = if attempt.state == OpenState::Placed { attempt.poll_at.min(again) } else { again };
                OpenChange { reason: Some(reason), poll_at: Some(poll_at), ..OpenChange::to(attempt, OpenState::Held) }
            })
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        for id in self.store.change_open(&held).await? {
            report.moved += 1;
            let key = id.key();
            warn!(
                attempt.id = %id, lead.id = key.lead_id.0, campaign.id = key.campaign_id.0,
                "Attempt {id} is held: the person is not called again until evidence or `outdial resolve` settles it"
            );
        }
        Ok(())
    }

    /// Reads placed calls that are due for it: one by one, or by pages of the list when there are many.
    async fn read_calls(
        &self,
        name: &AccountName,
        open: &[OpenAttempt],
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let lag = account.absence_lag();
        let results = account.provider.abilities().results;
        let due = |attempt: &&OpenAttempt| {
            attempt.poll_at <= now
                && matches!(attempt.state, OpenState::Placed | OpenState::Held)
                && !absence_tells(attempt, lag)
        };
        let wanted: Vec<&OpenAttempt> = open.iter().filter(due).collect();
        // What is held may be days old: no walk goes back so far for it, where there is another way.
        let placed: Vec<&OpenAttempt> = wanted
            .iter()
            .copied()
            .filter(|attempt| attempt.state == OpenState::Placed || results == ResultReads::List)
            .collect();
        let few = placed.len() <= SINGLE_READS_MAX && placed.iter().all(|attempt| attempt.call_id.is_some());
        let walks = match results {
            ResultReads::CallOrList => !few,
            ResultReads::Call => false,
            ResultReads::List => !placed.is_empty(),
        };
        let mut walked = if walks {
            self.walk(name, &placed, now, report).await?
        } else {
            lock(&account.poll_memory).walk = None;
            Walked::default()
        };
        let readable = |attempt: &OpenAttempt| attempt.call_id.is_none() || results != ResultReads::List;
        let alone = wanted.iter().copied().filter(|attempt| {
            !walked.found.contains_key(&attempt.attempt_id)
                && readable(attempt)
                && (!walks
                    || walked.failed
                    || attempt.state == OpenState::Held
                    || walked.covered.contains(&attempt.attempt_id))
        });
        let mut alone = in_turn(alone.collect(), lock(&account.poll_memory).last_alone);
        alone.truncate(ALONE_MAX);
        let mut read_alone = BTreeSet::new();
        for some in alone.chunks(ALONE_AT_ONCE) {
            for (attempt, read) in self.read_some(name, some, now, report).await? {
                lock(&account.poll_memory).last_alone = Some(attempt.attempt_id);
                match read {
                    Ok(news) => {
                        read_alone.insert(attempt.attempt_id);
                        walked.found.extend(news.map(|news| (attempt.attempt_id, news)));
                    }
                    // This call's own fault, not the provider's: it has had its turn.
                    Err(error @ (ReadError::Unreadable { .. } | ReadError::NotFound)) => {
                        read_alone.insert(attempt.attempt_id);
                        self.note_read_error(name, &error).await;
                    }
                    Err(error) => {
                        walked.failed = true;
                        self.note_read_error(name, &error).await;
                    }
                }
            }
            if walked.failed {
                break;
            }
        }
        let queued = wanted.iter().filter(|it| walked.found.get(&it.attempt_id).is_some_and(|news| news.queued));
        self.take_back(name, open, &queued.copied().collect::<Vec<_>>(), now).await?;
        // Reading takes its time, and what is dated from its beginning would be due again too early.
        self.keep_news(name, &wanted, walked, &read_alone, self.clock.now()).await
    }

    /// Reads some calls by themselves, as far as the budget reaches: those whose ids are known at once, the others one
    /// after the other by their numbers.
    async fn read_some<'a>(
        &self,
        name: &AccountName,
        some: &[&'a OpenAttempt],
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<Vec<(&'a OpenAttempt, Result<Option<News>, ReadError>)>, StoreError> {
        let account = &self.accounts[name];
        let room = account.reads_left(now) / account.provider.abilities().read_requests.max(1);
        let known = some.iter().filter_map(|attempt| Some((*attempt, attempt.call_id.as_ref()?)));
        let known: Vec<_> = known.take(room as usize).collect();
        report.reads += known.len();
        let answers = known.iter().map(|(_, call_id)| account.provider.read_call(call_id));
        let answers = futures::future::join_all(answers).await;
        let mut read = Vec::with_capacity(some.len());
        for ((attempt, _), answer) in known.into_iter().zip(answers) {
            let news = match answer {
                Ok(body) => Ok(Some(News::of(account, body))),
                Err(ReadError::NotFound) => {
                    debug!(attempt.id = %attempt.attempt_id, "The provider does not show the call yet");
                    Ok(None)
                }
                Err(error) => Err(error),
            };
            read.push((attempt, news));
        }
        for attempt in some.iter().filter(|attempt| attempt.call_id.is_none()) {
            if !account.may_list(now) {
                break;
            }
            let news = match self.search(account, attempt, now, report).await {
                // The number's other calls are other attempts', and told already.
                Ok(bodies) => {
                    let mut mine = unambiguous(self.whose(name, &[attempt], listed(account, bodies)).await?);
                    Ok(mine.remove(&attempt.attempt_id))
                }
                Err(error) => Err(error),
            };
            let failed = news.is_err();
            read.push((attempt, news));
            if failed {
                break;
            }
        }
        Ok(read)
    }

    /// Stores what a read brought and dates the next one. What was not looked for stays due.
    async fn keep_news(
        &self,
        name: &AccountName,
        wanted: &[&OpenAttempt],
        walked: Walked,
        read_alone: &BTreeSet<AttemptId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let mut events = Vec::new();
        let mut changes = Vec::new();
        let mut odd = Vec::new();
        let by_itself = account.provider.abilities().results != ResultReads::List;
        for attempt in wanted {
            let id = attempt.attempt_id;
            let news = walked.found.get(&id);
            let over = news.filter(|news| news.over);
            let again = match attempt.state {
                OpenState::Held => HELD_AGAIN,
                OpenState::Dialing | OpenState::Placed | OpenState::InDoubt => {
                    (now.duration_since(attempt.intent_at) / 4).clamp(READ_AGAIN.0, READ_AGAIN.1)
                }
            };
            let again = match (news, walked.covered.contains(&id)) {
                // It may still be taken back, whenever that becomes necessary.
                (Some(news), _) if news.queued => READ_AGAIN.0,
                // Its end is stored then: until that is weighed, another read would bring the same once more.
                (Some(_), _) if over.is_some() => again.max(account.settings.settle_after),
                (Some(_), _) => again,
                (None, _) if read_alone.contains(&id) => again,
                // The list does not show it: its turn to be read by itself comes, where it can be.
                (None, true) if attempt.call_id.is_none() || by_itself => READ_AGAIN.0,
                (None, true) => again,
                (None, false) if walked.failed && attempt.state == OpenState::Held => HELD_AFTER_FAILURE,
                (None, false) if walked.failed => READ_AGAIN.0,
                (None, false) => continue,
            };
            let word = news.and_then(|news| news.odd.clone());
            let kept =
                word.as_ref().is_some_and(|word| lock(&account.poll_memory).odd_kept.contains(&(id, word.clone())));
            // That the call of a held attempt is known settles it, whatever the call says of itself yet.
            let settles = attempt.state == OpenState::Held && attempt.call_id.is_none();
            if let Some(news) = news.filter(|news| news.over || settles || (news.odd.is_some() && !kept)) {
                let attempt_id = Some(id).filter(|_| attempt.call_id.is_some());
                events.push(InboxEvent {
                    account: name.clone(),
                    source: Source::Call,
                    body: news.body.clone(),
                    attempt_id,
                });
                odd.extend(word.map(|word| (id, word)));
            }
            changes.push(OpenChange { poll_at: Some(now + again), ..OpenChange::note(attempt) });
        }
        if !events.is_empty() {
            self.store.append_inbox(&events, now).await?;
            account.wakes.collect.notify_one();
        }
        if !odd.is_empty() {
            let mut memory = lock(&account.poll_memory);
            if memory.odd_kept.len() + odd.len() > ODD_MAX {
                memory.odd_kept.clear();
            }
            memory.odd_kept.extend(odd);
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.store.change_open(&changes).await.map(drop)
    }

    /// Walks the list, newest first, until every wanted call is seen or the calls are older than all of them; goes on where
    /// the last run ended, if that was not at the end.
    async fn walk(
        &self,
        name: &AccountName,
        wanted: &[&OpenAttempt],
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<Walked, StoreError> {
        let account = &self.accounts[name];
        let walk = lock(&account.poll_memory).walk.take().unwrap_or(Walk { next_page: 1, began_at: now });
        let oldest_call = oldest_call(wanted);
        let oldest = wanted.iter().map(|attempt| attempt.intent_at).min().unwrap_or(now);
        let mut walked = Walked::default();
        let mut all = Vec::new();
        let mut certain = BTreeSet::new();
        let mut page = walk.next_page;
        let over = loop {
            if page >= walk.next_page.saturating_add(PAGES_MAX) || !account.may_list(now) {
                break false;
            }
            report.reads += 1;
            let query = CallQuery { phone: None, since: oldest, until: now, page };
            let calls = match account.provider.list_calls(&query).await {
                Ok(calls) => calls,
                Err(error) => {
                    self.note_read_error(name, &error).await;
                    walked.failed = true;
                    break false;
                }
            };
            page += 1;
            account.saw_list(&calls);
            let calls_listed = listed(account, calls.calls);
            let is_older = |call: &Listed| is_newer(oldest_call?, call.call_id.as_ref()?);
            let more = calls.more && !calls_listed.iter().any(|call| is_older(call) == Some(true));
            let mine = self.whose(name, wanted, calls_listed).await?;
            certain.extend(mine.iter().filter(|(_, news)| !news.only_candidate).map(|(id, _)| *id));
            all.extend(mine);
            if !more || certain.len() >= wanted.len() {
                break true;
            }
        };
        if !over && !walked.failed {
            lock(&account.poll_memory).walk = Some(Walk { next_page: page, ..walk });
        }
        // That a call is the only one that may be an attempt's shows in the whole list.
        let whole = over && walk.next_page == 1;
        all.retain(|(_, news)| whole || !news.only_candidate);
        walked.found = unambiguous(all);
        if over {
            let due_then = wanted.iter().filter(|attempt| attempt.poll_at <= walk.began_at);
            walked.covered = due_then.map(|attempt| attempt.attempt_id).collect();
        }
        Ok(walked)
    }

    /// Which of the listed calls belong to which wanted attempt.
    pub(super) async fn whose(
        &self,
        name: &AccountName,
        wanted: &[&OpenAttempt],
        listed: Vec<Listed>,
    ) -> Result<Vec<(AttemptId, News)>, StoreError> {
        let account = &self.accounts[name];
        let witness = account.witness();
        let by_id: BTreeMap<_, _> =
            wanted.iter().filter_map(|attempt| Some((attempt.call_id.as_ref()?, attempt.attempt_id))).collect();
        let mut mine = Vec::new();
        let mut unclear = Vec::new();
        let any_without_id = wanted.iter().any(|attempt| attempt.call_id.is_none());
        for call in listed {
            match call.call_id.as_ref().and_then(|id| by_id.get(id)) {
                Some(attempt_id) => mine.push((*attempt_id, News::of(account, call.body))),
                None if any_without_id => {
                    let report = account.provider.decode(Source::Call, &call.body);
                    unclear.extend(report.ok().map(|report| (report, call.body)));
                }
                None => {}
            }
        }
        if unclear.is_empty() {
            return Ok(mine);
        }
        let keys: Vec<_> = unclear.iter().map(|(report, _)| self.key_of(report)).collect();
        let matches = self.store.find_attempts(name, &keys).await?;
        for ((report, body), (key, found)) in unclear.into_iter().zip(keys.iter().zip(&matches)) {
            if let Some((attempt_id, basis)) = attempt_of(key, found, &report, &witness)
                && wanted.iter().any(|attempt| attempt.attempt_id == attempt_id)
            {
                let only_candidate = basis == Some(MatchBasis::OnlyCandidate);
                mine.push((attempt_id, News::read(report, body, only_candidate)));
            }
        }
        Ok(mine)
    }

    pub(super) async fn note_read_error(&self, name: &AccountName, error: &ReadError) {
        let account = &self.accounts[name];
        let now = self.clock.now();
        match error {
            ReadError::RateLimited { retry_after } => {
                let wait = rate_limited_wait(*retry_after);
                account.hold_until(now + wait, "the provider wants fewer requests");
            }
            ReadError::AccountStopped(standing) => self.stop_account(name, standing, now).await,
            ReadError::NotFound => {}
            ReadError::Unavailable { .. } | ReadError::Unreadable { .. } => {
                debug!(provider.account = %name, "A read failed and is tried again: {error}");
            }
        }
    }
}

/// The attempts in the order of their ids, beginning after `last`: so each has its turn, however many there are.
fn in_turn(mut attempts: Vec<&OpenAttempt>, last: Option<AttemptId>) -> Vec<&OpenAttempt> {
    attempts.sort_by_key(|attempt| (last.is_some_and(|last| attempt.attempt_id <= last), attempt.attempt_id));
    attempts
}
