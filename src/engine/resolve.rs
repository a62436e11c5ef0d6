//! Calls in doubt: they are looked for in the provider's list. What is found settles them; complete absence, seen twice,
//! proves that nothing was placed; everything else is held, for evidence or a person.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::domain::attempt::OpenState;
use crate::domain::id::{AccountName, AttemptId};
use crate::domain::phone::PhoneNumber;
use crate::domain::report::Source;
use crate::domain::retry::Ending;
use crate::port::clock::Clock;
use crate::port::provider::{CallQuery, Provider, ReadError};
use crate::port::store::{InboxEvent, OpenAttempt, OpenChange, Store, StoreError};

use super::collect::is_newer_call;
use super::finish::Ended;
use super::poll::{HELD_AGAIN, News, PAGES_MAX, PollReport, READ_AGAIN, listed, unambiguous};
use super::{Account, Engine, lock};

/// How far before the intent a search begins, civil: dates are whole days in a zone nobody states.
const SEARCH_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// The same where the list shows instants and only our token finds a call in it: what clocks may lie apart, and more.
const SEARCH_AROUND: SignedDuration = SignedDuration::from_mins(10);

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Looks for calls in doubt in the provider's list. What is found settles them; complete absence, seen twice with the
    /// list's lag in between, proves that nothing was placed.
    pub(super) async fn search_doubts(
        &self,
        name: &AccountName,
        open: &[OpenAttempt],
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let lag = account.absence_lag();
        let list_shows = account.provider.abilities().list_proves_absence;
        let doubtful = |attempt: &&OpenAttempt| attempt.state == OpenState::InDoubt || absence_tells(attempt, lag);
        let mut doubts: Vec<&OpenAttempt> =
            open.iter().filter(doubtful).filter(|attempt| attempt.poll_at <= now).collect();
        // The longest overdue first, and half of what may be read: calls under way are not to wait for all doubts.
        doubts.sort_by_key(|attempt| attempt.poll_at);
        let kept = account.reads_left(now) / 2;
        for attempt in doubts {
            if !account.may_list(now) || account.reads_left(now) < kept {
                break;
            }
            let found = match self.search(account, attempt, now, report).await {
                Ok(bodies) => bodies,
                Err(error) => {
                    self.note_read_error(name, &error).await;
                    // Others are looked for meanwhile, and the provider is not asked the same all the time.
                    let later = OpenChange { poll_at: Some(now + READ_AGAIN.1), ..OpenChange::note(attempt) };
                    self.store.change_open(&[later]).await?;
                    break;
                }
            };
            let mine = unambiguous(self.whose(name, &[attempt], listed(account, found.clone())).await?);
            if !mine.is_empty() {
                info!(attempt.id = %attempt.attempt_id, "Attempt {} was placed: the provider lists its call", attempt.attempt_id);
                let events: Vec<_> = mine
                    .into_iter()
                    .map(|(_, News { body, .. })| InboxEvent {
                        account: name.clone(),
                        source: Source::Call,
                        body,
                        attempt_id: None,
                    })
                    .collect();
                self.store.append_inbox(&events, now).await?;
                account.wakes.collect.notify_one();
                let again = OpenChange { poll_at: Some(now + READ_AGAIN.0), ..OpenChange::note(attempt) };
                self.store.change_open(&[again]).await?;
                continue;
            }
            // A list that shows neither numbers nor tokens says nothing about this one, neither way.
            if list_shows && self.may_be_shown(name, attempt, &found).await? {
                self.note_ambiguity(attempt, now, report).await?;
            } else {
                self.note_absence(name, attempt, lag, now, report).await?;
            }
        }
        Ok(())
    }

    async fn note_absence(
        &self,
        name: &AccountName,
        attempt: &OpenAttempt,
        lag: Option<SignedDuration>,
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let absence_from = attempt.absence_from.unwrap_or(attempt.deadline_at);
        #[cfg(test)]
        let (absence_from, lag) = match crate::port::mutation::Mutation::AbsenceWithoutLag.is_made() {
            true => (Timestamp::MIN, lag.map(|_| SignedDuration::ZERO)),
            false => (absence_from, lag),
        };
        let again = |at: Timestamp| OpenChange { poll_at: Some(at), ..OpenChange::note(attempt) };
        let (Some(lag), false) = (lag, attempt.accepted) else {
            // Absence proves nothing here; only positive evidence helps.
            return self.store.change_open(&[again(now + READ_AGAIN.1)]).await.map(drop);
        };
        match attempt.absent_since {
            _ if now < absence_from => {
                let next = absence_from.min(now + READ_AGAIN.1);
                self.store.change_open(&[again(next)]).await.map(drop)
            }
            None => {
                let change = OpenChange { absent_since: Some(now), ..again(now + lag) };
                self.store.change_open(&[change]).await.map(drop)
            }
            Some(since) if now < since + lag => self.store.change_open(&[again(since + lag)]).await.map(drop),
            Some(_) => {
                let reason = format!(
                    "the provider's list did not show it twice, {lag:#} apart; before that: {}",
                    attempt.reason.as_deref().unwrap_or("in doubt")
                );
                let campaign = self.campaign_name(attempt.attempt_id.key().campaign_id);
                let ended = Ended::of_open(attempt, campaign, Ending::NotPlaced { retry_at: now }, now, reason);
                report.ended += self.finish(name, &[ended]).await?;
                Ok(())
            }
        }
    }

    /// All calls to the attempt's number since its intent, complete or an error.
    pub(super) async fn search(
        &self,
        account: &Account<P>,
        attempt: &OpenAttempt,
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<Vec<Bytes>, ReadError> {
        if !account.provider.abilities().list_proves_absence {
            // Nobody is looked for but by our token, and the call was made when it was asked for, if it was.
            let span = (attempt.intent_at - SEARCH_AROUND, now.min(attempt.intent_at + SEARCH_AROUND));
            return self.list_all(account, None, span, now, report).await;
        }
        let span = (attempt.intent_at - SEARCH_MARGIN, now);
        let bodies = self.list_all(account, Some(attempt.phone), span, now, report).await?;
        let finds = shows_a_call_to(account, &bodies, attempt.phone);
        if finds {
            account.phone_filter_works.store(true, Ordering::Relaxed);
        }
        let works = finds || account.phone_filter_works.load(Ordering::Relaxed);
        if works || (bodies.is_empty() && self.phone_filter_finds(account, now, report).await?) {
            return Ok(bodies);
        }
        // How a provider compares numbers is documented nowhere, and some search more than numbers. Until its filter has
        // found a call to the number once, what it finds says nothing, and only the whole list does.
        let mut bodies = self.list_all(account, None, span, now, report).await?;
        let believed = account.provider.abilities().empty_list_is_believed;
        if !believed && !account.list_shows_calls.load(Ordering::Relaxed) {
            // As much as a list that is empty for want of calls, it may be one that is asked for in a wrong way.
            return Err(ReadError::Unavailable { reason: "the provider's list has never shown a call".to_owned() });
        }
        bodies.retain(|body| {
            let report = account.provider.decode(Source::Call, body);
            // What cannot be read may be the one.
            !report.is_ok_and(|report| report.phone.is_some_and(|phone| phone != attempt.phone))
        });
        Ok(bodies)
    }

    /// Tries the filter with a number that was called for certain and must be listed by now.
    async fn phone_filter_finds(
        &self,
        account: &Account<P>,
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<bool, ReadError> {
        let Some(lag) = account.settings.list_lag_max else { return Ok(false) };
        let known = *lock(&account.known_phone);
        let Some((phone, _)) = known.filter(|(_, at)| *at + lag <= now) else { return Ok(false) };
        report.reads += 1;
        let query = CallQuery { phone: Some(phone), since: now - SEARCH_MARGIN, until: now, page: 1 };
        let finds = shows_a_call_to(account, &account.provider.list_calls(&query).await?.calls, phone);
        if finds {
            account.phone_filter_works.store(true, Ordering::Relaxed);
        }
        Ok(finds)
    }

    async fn list_all(
        &self,
        account: &Account<P>,
        phone: Option<PhoneNumber>,
        (since, until): (Timestamp, Timestamp),
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut bodies = Vec::new();
        for page in 1..=PAGES_MAX {
            if page > 1 && !account.may_list(now) {
                return Err(ReadError::Unavailable { reason: "the minute's requests are used up".to_owned() });
            }
            report.reads += 1;
            let calls = account.provider.list_calls(&CallQuery { phone, since, until, page }).await?;
            if phone.is_none() {
                account.saw_list(&calls);
            }
            bodies.extend(calls.calls);
            if !calls.more {
                return Ok(bodies);
            }
        }
        Err(ReadError::Unavailable { reason: format!("more than {PAGES_MAX} pages of calls in a day") })
    }

    /// Whether a complete search may have shown the attempt's call without anyone being able to tell: a call to the number
    /// that is nobody's and not certainly older, or one that cannot be read. Then nothing is absent.
    async fn may_be_shown(
        &self,
        name: &AccountName,
        attempt: &OpenAttempt,
        bodies: &[Bytes],
    ) -> Result<bool, StoreError> {
        let account = &self.accounts[name];
        let (provider, witness) = (&account.provider, account.witness());
        let mut reports = Vec::new();
        for body in bodies {
            match provider.decode(Source::Call, body) {
                Ok(report) => reports.push(report),
                Err(_) => return Ok(true),
            }
        }
        if reports.is_empty() {
            return Ok(false);
        }
        let keys: Vec<_> = reports.iter().map(|report| self.key_of(report)).collect();
        let matches = self.store.find_attempts(name, &keys).await?;
        Ok(reports.iter().zip(&matches).any(|(report, found)| {
            // Somebody else's attempt is not ours; any other text under our variable's name says nothing.
            let anothers = report.token.as_deref().is_some_and(AttemptId::is_one);
            found.bound.is_none() && !anothers && is_newer_call(attempt, report, &witness) != Some(false)
        }))
    }

    /// Waits for evidence that tells more, at most until the deadline: then it is held.
    async fn note_ambiguity(
        &self,
        attempt: &OpenAttempt,
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let reason = "the provider lists a call to the number that may be this one".to_owned();
        let held = attempt.state == OpenState::Held || attempt.deadline_at <= now;
        let to = if held { OpenState::Held } else { OpenState::InDoubt };
        let again = if to == OpenState::Held { HELD_AGAIN } else { READ_AGAIN.0 };
        let change = OpenChange { reason: Some(reason), poll_at: Some(now + again), ..OpenChange::to(attempt, to) };
        let moved = self.store.change_open(&[change]).await?;
        if to == OpenState::Held {
            report.moved += moved.len();
            let id = attempt.attempt_id;
            warn!(attempt.id = %id, "Attempt {id} is held: the provider lists a call that may be its own");
        }
        Ok(())
    }
}

/// Whether one of the calls went to the number.
fn shows_a_call_to<P: Provider>(account: &Account<P>, bodies: &[Bytes], phone: PhoneNumber) -> bool {
    let to = |body: &Bytes| account.provider.decode(Source::Call, body).ok().and_then(|report| report.phone);
    bodies.iter().any(|body| to(body) == Some(phone))
}

/// Whether an attempt is held although its absence from the list would still prove that nothing was placed: nobody could
/// look for it in time, which says nothing about the call.
pub(super) fn absence_tells(attempt: &OpenAttempt, lag: Option<SignedDuration>) -> bool {
    attempt.state == OpenState::Held && !attempt.accepted && attempt.absence_from.is_some() && lag.is_some()
}
