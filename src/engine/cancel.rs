//! Calls that the provider has not begun to dial, and that must not ring any more, are taken back.
//!
//! A provider may queue what we asked for. If the calling window closes meanwhile, the account is stopped or the person
//! is suppressed, the provider is asked to take the call back, once. What becomes of it is learnt by reading it, as ever:
//! the answer to this request settles nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::domain::calendar::Openness;
use crate::domain::gate::WindowFacts;
use crate::domain::id::{AccountName, AttemptId};
use crate::port::clock::Clock;
use crate::port::provider::{CancelError, Provider};
use crate::port::store::{OpenAttempt, Store, StoreError};

use super::view::View;
use super::{Engine, lock};

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Takes back those of the `queued` calls that must not ring any more. `open` are all open attempts of the account.
    pub(super) async fn take_back(
        &self,
        name: &AccountName,
        open: &[OpenAttempt],
        queued: &[&OpenAttempt],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        if queued.is_empty() || !account.provider.abilities().cancels {
            return Ok(());
        }
        let asked: BTreeSet<AttemptId> = {
            let mut asked = lock(&account.canceled);
            asked.retain(|id| open.iter().any(|attempt| attempt.attempt_id == *id));
            asked.clone()
        };
        let fresh: Vec<&OpenAttempt> =
            queued.iter().filter(|attempt| !asked.contains(&attempt.attempt_id)).copied().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let ids: Vec<AttemptId> = fresh.iter().map(|attempt| attempt.attempt_id).collect();
        let persons = self.store.confirm(&ids, now, now).await?;
        let view = self.view();
        for attempt in fresh {
            let suppressed = persons
                .iter()
                .any(|(id, person)| *id == attempt.attempt_id && person.suppression.is_some())
                .then_some("the person was suppressed");
            let Some(why) = suppressed.or_else(|| why_not_now(&view, name, attempt, now)) else { continue };
            let Some(call_id) = &attempt.call_id else { continue };
            if !account.may_read(now) {
                break;
            }
            let id = attempt.attempt_id;
            match account.provider.cancel(call_id).await {
                Ok(()) => {
                    lock(&account.canceled).insert(id);
                    info!(attempt.id = %id, "The provider was asked to take back the call of attempt {id}: {why}");
                }
                Err(CancelError::Read(error)) => self.note_read_error(name, &error).await,
                Err(error @ (CancelError::NotSupported | CancelError::Refused { .. })) => {
                    lock(&account.canceled).insert(id);
                    warn!(attempt.id = %id, "The call of attempt {id} may still ring although {why}: {error}");
                }
            }
        }
        Ok(())
    }
}

/// Why a call that has not begun must not ring now, as far as the control tables say.
fn why_not_now(view: &View, name: &AccountName, attempt: &OpenAttempt, now: Timestamp) -> Option<&'static str> {
    if view.stop(name).is_some() {
        return Some("the account is stopped");
    }
    match view.window(attempt.attempt_id.key().campaign_id, attempt.calling_group_id, now) {
        Some(WindowFacts::Judged(Openness::Open { .. })) => None,
        Some(WindowFacts::Judged(_) | WindowFacts::Blocked(_)) => Some("the calling window has closed"),
        // Nothing is known of its calendar, so nothing says that it closed.
        None => None,
    }
}
