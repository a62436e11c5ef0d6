//! Whether an account can place calls: it stops with a reason, is looked at again, and resumes by itself.
//!
//! The leads stay untouched: an attempt that met the stop ends as not placed and costs no try. Many calls may meet it at
//! once, and a provider may refuse calls though its own look at the account finds nothing wrong; neither is told more
//! than once, and the second is tried with one call at a time, at growing intervals.

use std::sync::Weak;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::domain::id::AccountName;
use crate::port::allowance::{Pause, Quota, RequestGuard, Urgency};
use crate::port::chain::Chain;
use crate::port::clock::Clock;
use crate::port::provider::{AccountStanding, Provider, ReadError};
use crate::port::store::{AccountState, Store, StoreError};

use super::place::RATE_LIMITED_WAIT;
use super::{Account, Engine, back_off, lock};

/// When an account that cannot place calls is looked at again, civil: what its owner repairs works within a minute.
const CHECK_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The longest such wait, civil, for an account whose look says that all is well and whose calls say otherwise.
const CHECK_AFTER_MAX: SignedDuration = SignedDuration::from_mins(32);
/// The longest the provider's word keeps an account quiet, civil.
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(1);

/// What this process knows of an account's standing.
#[derive(Debug, Default)]
pub(super) struct Health {
    stopped: Option<Stopped>,
    resumed: Option<Resumed>,
}

/// It cannot place calls.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stopped {
    problem: String,
    /// Since when, resumptions that failed left out.
    since: Timestamp,
    next_check_at: Timestamp,
    /// How long a check is waited for. Doubles with each look that says all is well and is wrong.
    wait: SignedDuration,
    /// Whether the database knows.
    saved: bool,
}

/// It was stopped, and a look said that all is well.
#[derive(Debug)]
struct Resumed {
    at: Timestamp,
    /// Views read before this still show the stop.
    seen_at: Instant,
    since: Timestamp,
    wait: SignedDuration,
    placed: bool,
}

/// What a refusal for the account's own reason means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It was in good standing.
    Stopped,
    /// The look that let it resume was wrong.
    StillStopped,
    /// It is known.
    Nothing,
}

impl Health {
    /// Why it places no calls.
    pub fn problem(&self) -> Option<&str> {
        self.stopped.as_ref().map(|stopped| stopped.problem.as_str())
    }

    /// Whether only one call at a time may go, because none was placed since the account resumed.
    pub fn is_on_probation(&self) -> bool {
        self.resumed.as_ref().is_some_and(|resumed| !resumed.placed)
    }

    /// When to look again; `None` while nothing is wrong.
    fn next_check_at(&self) -> Option<Timestamp> {
        self.stopped.as_ref().map(|stopped| stopped.next_check_at)
    }

    /// What was wrong may have been repaired.
    pub fn check_at(&mut self, at: Timestamp) {
        if let Some(stopped) = &mut self.stopped {
            stopped.next_check_at = stopped.next_check_at.min(at);
        }
    }

    fn refused(&mut self, problem: String, now: Timestamp) -> News {
        if self.stopped.is_some() {
            return News::Nothing;
        }
        // It has lasted when a call was placed and the wait is over that it had cost: what can list no calls, say, is
        // stopped by a read soon after each resumption, whatever was placed in between.
        let resumed = self.resumed.take();
        let lasted = |resumed: &Resumed| resumed.placed && now >= resumed.at + resumed.wait;
        let (news, since, wait) = match resumed.filter(|resumed| !lasted(resumed)) {
            Some(resumed) => (News::StillStopped, resumed.since, back_off(resumed.wait, 2, CHECK_AFTER_MAX)),
            None => (News::Stopped, now, CHECK_AFTER),
        };
        self.stopped = Some(Stopped { problem, since, next_check_at: now + wait, wait, saved: false });
        news
    }

    /// A look found it as it was, or could not be taken.
    fn put_off(&mut self, problem: Option<String>, now: Timestamp) {
        if let Some(stopped) = &mut self.stopped {
            let changed = problem.filter(|problem| *problem != stopped.problem);
            stopped.problem = changed.unwrap_or_else(|| std::mem::take(&mut stopped.problem));
            stopped.next_check_at = now + CHECK_AFTER;
            stopped.saved = false;
        }
    }

    /// A look found that all is well.
    fn resume(&mut self, now: Timestamp, seen_at: Instant) {
        if let Some(Stopped { since, wait, .. }) = self.stopped.take() {
            self.resumed = Some(Resumed { at: now, seen_at, since, wait, placed: false });
        }
    }

    /// A call was placed. Answers whether that ends a probation.
    fn placed(&mut self) -> bool {
        self.resumed.as_mut().is_some_and(|resumed| !std::mem::replace(&mut resumed.placed, true))
    }

    /// What another process left in the tables, unless this one has moved on since they were read.
    fn adopt(&mut self, state: &AccountState, read_at: Instant) {
        let known = self.stopped.is_some() || self.resumed.as_ref().is_some_and(|resumed| read_at <= resumed.seen_at);
        if let (false, Some(problem)) = (known, &state.problem) {
            self.stopped = Some(Stopped {
                problem: problem.clone(),
                since: state.since,
                next_check_at: state.next_check_at.unwrap_or(state.since),
                wait: CHECK_AFTER,
                saved: true,
            });
        }
    }

    fn state(&self, account: &AccountName) -> Option<AccountState> {
        self.stopped.as_ref().map(|stopped| AccountState {
            account: account.clone(),
            problem: Some(stopped.problem.clone()),
            since: stopped.since,
            next_check_at: Some(stopped.next_check_at),
        })
    }
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Stops an account that cannot place calls; the leads stay untouched, and the roster pass looks again.
    pub(super) async fn stop_account(&self, name: &AccountName, standing: &AccountStanding, now: Timestamp) {
        let account = &self.accounts[name];
        let problem = standing.sentence();
        let news = lock(&account.health).refused(problem.clone(), now);
        match news {
            News::Nothing => {
                debug!(provider.account = %name, "Account {name} is stopped already: {problem}");
                return;
            }
            News::Stopped => warn!(provider.account = %name, "Account {name} cannot place calls: {problem}"),
            News::StillStopped => {
                info!(provider.account = %name, "Account {name} still cannot place calls: {problem}");
            }
        }
        if let Err(error) = self.save_health(name).await {
            // Held back in memory anyway; the roster pass writes it.
            debug!(provider.account = %name, error = %Chain(&error), "The state of account {name} is not saved yet");
        }
        account.wakes.roster.notify_one();
    }

    /// A call was placed.
    pub(super) fn note_placed(&self, name: &AccountName) {
        let account = &self.accounts[name];
        lock(&account.hold).unreachable = 0;
        if lock(&account.health).placed() {
            info!(provider.account = %name, "Account {name} places calls again");
        }
    }

    /// Writes what the database does not know.
    async fn save_health(&self, name: &AccountName) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let state = {
            let health = lock(&account.health);
            let unsaved = health.stopped.as_ref().is_some_and(|stopped| !stopped.saved);
            if unsaved { health.state(name) } else { None }
        };
        let Some(state) = state else { return Ok(()) };
        self.store.save_account_state(&state).await?;
        if let Some(stopped) = &mut lock(&account.health).stopped {
            // What has changed meanwhile is written by the next look.
            stopped.saved = Some(stopped.next_check_at) == state.next_check_at;
        }
        Ok(())
    }

    /// Looks again at an account that could not place calls.
    ///
    /// # Errors
    /// When the database does not answer; the account stays stopped, and looking again is safe.
    pub(super) async fn recheck_account(&self, name: &AccountName) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        self.adopt_stop(name);
        if self.held_lease(account).is_none() {
            return Ok(());
        }
        self.save_health(name).await?;
        let due = lock(&account.health).next_check_at().is_some_and(|at| at <= self.clock.now());
        if !due {
            return Ok(());
        }
        let problem = match account.provider.health().await {
            Ok(standing) if standing.is_good() => return self.resume_account(name).await,
            Ok(standing) | Err(ReadError::AccountStopped(standing)) => Some(standing.sentence()),
            Err(error) => {
                debug!(provider.account = %name, "Account {name} could not be looked at: {error}");
                None
            }
        };
        let now = self.clock.now();
        lock(&account.health).put_off(problem, now);
        self.save_health(name).await
    }

    /// Takes over a stop that another process left.
    fn adopt_stop(&self, name: &AccountName) {
        let view = self.view();
        if let Some(state) = view.account_state(name) {
            lock(&self.accounts[name].health).adopt(state, view.read_at());
        }
    }

    /// Ends an account's stop. Its next calls go one at a time until one is placed.
    async fn resume_account(&self, name: &AccountName) -> Result<(), StoreError> {
        let now = self.clock.now();
        let state = AccountState { account: name.clone(), problem: None, since: now, next_check_at: None };
        self.store.save_account_state(&state).await?;
        let account = &self.accounts[name];
        lock(&account.health).resume(now, self.clock.monotonic());
        info!(provider.account = %name, "Account {name} may place calls again");
        account.wakes.dispatch.notify_one();
        Ok(())
    }

    /// How long the roster pass may rest: a stopped account is looked at when its stop says so.
    pub(super) fn roster_wait(&self, name: &AccountName) -> std::time::Duration {
        let account = &self.accounts[name];
        let period = account.settings().roster_period;
        self.adopt_stop(name);
        // Whoever does not dial it does not look either.
        let at = self.held_lease(account).and_then(|_| lock(&account.health).next_check_at());
        at.map_or(period, |at| {
            let left = self.clock.civil_to_real(at.duration_since(self.clock.now()));
            left.clamp(self.settings().periods.campaign.min(period), period)
        })
    }

    /// What an answer said about how much may be asked.
    fn obey(&self, name: &AccountName, quota: Quota) {
        let account = &self.accounts[name];
        // A limit of a second, or of one path, must not leave the account without reads.
        if let Some(limit) = quota.limit.map(|limit| limit.max(LOWEST_LIMIT))
            && lock(&account.requests).lower(limit)
        {
            warn!(
                provider.account = %name,
                "Account {name} sends at most {limit} requests a minute from now on: the provider says that it allows \
                 no more; set requests_per_minute so"
            );
        }
        if let Some(pause) = quota.pause {
            let now = self.clock.now();
            account.hold_until(now + span_of(pause, now), "the provider's requests are used up for now");
        }
    }
}

/// How long a pause lasts, civil. By the provider's own clock where that can be told, else by ours.
fn span_of(pause: Pause, now: Timestamp) -> SignedDuration {
    let plausible = |span: SignedDuration| (span > SignedDuration::ZERO && span <= PAUSE_MAX).then_some(span);
    let by_date = pause.span.and_then(|span| SignedDuration::try_from(span).ok()).map(|span| span.min(PAUSE_MAX));
    let by_us = || pause.until.and_then(|until| plausible(until.duration_since(now)));
    by_date.or_else(by_us).unwrap_or(RATE_LIMITED_WAIT)
}

/// Fewest requests a minute that a provider's word can leave an account with.
const LOWEST_LIMIT: u32 = 10;

/// The account's budget for its own client.
pub(super) struct Guard<S, P, C> {
    engine: Weak<Engine<S, P, C>>,
    account: AccountName,
}

impl<S: Store, P: Provider, C: Clock> Guard<S, P, C> {
    pub(super) fn new(engine: Weak<Engine<S, P, C>>, account: AccountName) -> Self {
        Self { engine, account }
    }
}

impl<S: Store, P: Provider, C: Clock> RequestGuard for Guard<S, P, C> {
    fn take(&self, urgency: Urgency) -> bool {
        let Some(engine) = self.engine.upgrade() else { return false };
        let account: &Account<P> = &engine.accounts[&self.account];
        let now = engine.clock.now();
        match urgency {
            Urgency::Read => account.held_back(now).is_none() && lock(&account.requests).read(now),
            Urgency::Verdict => lock(&account.requests).start(now).is_ok(),
        }
    }

    fn told(&self, quota: Quota) {
        if let Some(engine) = self.engine.upgrade() {
            engine.obey(&self.account, quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn main() -> AccountName {
        AccountName::new("main")
    }

    #[test]
    fn a_stop_is_news_once_and_ends_with_a_look_and_a_call() {
        let mut health = Health::default();
        assert_eq!(health.refused("no balance".to_owned(), at(0)), News::Stopped);
        for second in 0..20 {
            assert_eq!(health.refused("another word".to_owned(), at(second)), News::Nothing);
        }
        assert_eq!(health.problem(), Some("no balance"));
        assert_eq!(health.next_check_at(), Some(at(60)));
        health.put_off(Some("no balance".to_owned()), at(60));
        assert_eq!(health.next_check_at(), Some(at(120)));
        health.resume(at(120), Instant::now());
        assert!(health.problem().is_none() && health.is_on_probation());
        assert!(health.placed());
        assert!(!health.placed(), "said once");
        assert!(!health.is_on_probation());
        assert_eq!(health.refused("no balance".to_owned(), at(180)), News::Stopped, "a new stop");
    }

    #[test]
    fn a_look_that_is_wrong_is_believed_less_and_less() {
        let mut health = Health::default();
        let mut now = at(0);
        assert_eq!(health.refused("forbidden".to_owned(), now), News::Stopped);
        for minutes in [2, 4, 8, 16, 32, 32, 32] {
            now = health.next_check_at().expect("it is stopped");
            health.resume(now, Instant::now());
            now += SignedDuration::from_secs(1);
            assert_eq!(health.refused("forbidden".to_owned(), now), News::StillStopped);
            assert_eq!(health.next_check_at(), Some(now + SignedDuration::from_mins(minutes)));
        }
        let state = health.state(&main()).expect("it is stopped");
        assert_eq!(state.since, at(0), "since the first");
    }

    #[test]
    fn what_is_stopped_right_after_each_call_it_places_is_not_told_each_time() {
        let mut health = Health::default();
        assert_eq!(health.refused("no listing".to_owned(), at(0)), News::Stopped);
        health.resume(at(60), Instant::now());
        assert!(health.placed());
        assert_eq!(health.refused("no listing".to_owned(), at(70)), News::StillStopped);
        health.resume(at(200), Instant::now());
        assert!(health.placed());
        assert_eq!(health.refused("no listing".to_owned(), at(400)), News::Stopped, "it had lasted");
    }

    #[test]
    fn an_older_view_does_not_bring_a_stop_back() {
        let state = AccountState {
            account: main(),
            problem: Some("no balance".to_owned()),
            since: at(-5),
            next_check_at: Some(at(10)),
        };
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::default();
        health.adopt(&state, later(1));
        assert_eq!((health.problem(), health.next_check_at()), (Some("no balance"), Some(at(10))));
        health.resume(at(10), later(2));
        health.adopt(&state, later(1));
        assert_eq!(health.problem(), None, "the view is from before");
        health.adopt(&state, later(3));
        assert_eq!(health.problem(), Some("no balance"), "somebody else stopped it since");
    }

    #[test]
    fn a_pause_follows_the_providers_clock_else_ours_else_a_guess() {
        let pause = |span, until| span_of(Pause { span, until }, at(0));
        let seconds = SignedDuration::from_secs;
        assert_eq!(pause(Some(Duration::from_secs(40)), Some(at(50))), seconds(40));
        assert_eq!(pause(None, Some(at(50))), seconds(50));
        assert_eq!(pause(None, Some(at(-50))), RATE_LIMITED_WAIT);
        assert_eq!(pause(None, Some(at(86_400))), RATE_LIMITED_WAIT);
        assert_eq!(pause(None, None), RATE_LIMITED_WAIT);
        assert_eq!(pause(Some(Duration::from_secs(90_000)), None), PAUSE_MAX);
    }
}
