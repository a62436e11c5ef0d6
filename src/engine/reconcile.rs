//! After the database went back in time: the provider's calls say which attempts are missing.
//!
//! Until that is known the account does not dial; `begin_dials` sees to it. The list is read until a complete walk began
//! so late that it must show every call that can have been asked for, and nothing of what it shows is left to restore.

use bytes::Bytes;
use jiff::Timestamp;
use tracing::{error, info, warn};

use crate::domain::attempt::OpenState;
use crate::domain::id::{AccountName, AssistantId};
use crate::domain::report::{Hints, Source};
use crate::port::clock::Clock;
use crate::port::provider::{CallQuery, Provider};
use crate::port::store::{InboxEvent, LostAttempt, Reconciliation, Restored, Store, StoreError};

use super::lease::HeldLease;
use super::poll::{PollReport, READ_AGAIN};
use super::{Account, Engine, lock};

/// Pages of one walk at most. A provider with more calls since then is for a person.
const PAGES_MAX: u32 = 2_000;
/// Who spoke, where the provider does not say.
const NOBODY: &str = "unknown";

/// How far the comparison has come; losing it costs reads, never correctness.
#[derive(Debug, Default)]
pub(super) struct Memory {
    walk: Option<Walk>,
    /// No new walk before this.
    rest_until: Option<Timestamp>,
}

/// One walk through the provider's list. Nobody dials meanwhile, so pages move only for calls of others, and those push
/// what was not seen further back.
#[derive(Clone, Copy, Debug)]
struct Walk {
    noted_at: Timestamp,
    began_at: Timestamp,
    next_page: u32,
    /// Lost attempts that cannot be restored yet.
    waiting: usize,
    /// Entries that cannot be read, and may be anyone's.
    unreadable: usize,
    /// Calls that may be one of several attempts'.
    ambiguous: usize,
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Compares an account's attempts with its provider's calls, if that is to be done.
    pub(super) async fn reconcile(
        &self,
        name: &AccountName,
        lease: &HeldLease,
        now: Timestamp,
        report: &mut PollReport,
    ) -> Result<(), StoreError> {
        let view = self.view();
        let account = &self.accounts[name];
        let Some(task) = view.reconciliation(name) else {
            *lock(&account.reconcile_memory) = Memory::default();
            return Ok(());
        };
        let Some(mut walk) = self.next_walk(account, task, now) else { return Ok(()) };
        while walk.next_page <= PAGES_MAX {
            if !account.may_list(now) {
                lock(&account.reconcile_memory).walk = Some(walk);
                return Ok(());
            }
            report.reads += 1;
            let query = CallQuery { phone: None, since: task.since, until: walk.began_at, page: walk.next_page };
            let page = match account.provider.list_calls(&query).await {
                Ok(page) => page,
                Err(error) => {
                    self.note_read_error(name, &error).await;
                    let mut memory = lock(&account.reconcile_memory);
                    memory.walk = Some(walk);
                    memory.rest_until = Some(now + READ_AGAIN.0);
                    return Ok(());
                }
            };
            account.saw_list(&page);
            self.restore(name, lease, task, &page.calls, &mut walk, now).await?;
            walk.next_page += 1;
            if !page.more {
                return self.end_walk(name, lease, task, walk, now).await;
            }
        }
        let problem = format!("more than {PAGES_MAX} pages of calls since {}", task.since);
        self.leave_to_a_person(name, task, &problem).await
    }

    /// The walk to go on with, or a new one when that is due.
    fn next_walk(&self, account: &Account<P>, task: &Reconciliation, now: Timestamp) -> Option<Walk> {
        let mut memory = lock(&account.reconcile_memory);
        if memory.rest_until.is_some_and(|until| now < until) {
            return None;
        }
        memory.rest_until = None;
        let going_on = memory.walk.take().filter(|walk| walk.noted_at == task.noted_at);
        let fresh =
            Walk { noted_at: task.noted_at, began_at: now, next_page: 1, waiting: 0, unreadable: 0, ambiguous: 0 };
        Some(going_on.unwrap_or(fresh))
    }

    /// Restores what a page shows and the database does not know.
    async fn restore(
        &self,
        name: &AccountName,
        lease: &HeldLease,
        task: &Reconciliation,
        calls: &[Bytes],
        walk: &mut Walk,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        let mut reports = Vec::new();
        for body in calls {
            match account.provider.decode(Source::Call, body) {
                Ok(report) => reports.push((report, body)),
                Err(_) => walk.unreadable += 1,
            }
        }
        if reports.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = reports.iter().map(|(report, _)| self.key_of(report)).collect();
        let matches = self.store.find_attempts(name, &keys).await?;
        let witness = account.witness();
        let mut lost: Vec<(LostAttempt, &Bytes)> = Vec::new();
        let mut news = Vec::new();
        for (((report, body), key), found) in reports.iter().zip(&keys).zip(&matches) {
            let made_at = witness.made_at(report);
            let older = made_at.is_some_and(|at| at < task.since);
            let another_token = report.token.is_some() && key.token.is_none();
            if found.bound.is_some() || found.token_exists || older || another_token {
                continue;
            }
            if let (None, Some(open)) = (key.token, &found.open_unbound) {
                // It may be this one's, or that of one which is missing: what settles the open one tells.
                match open.state {
                    OpenState::Held => walk.ambiguous += 1,
                    OpenState::Dialing | OpenState::Placed | OpenState::InDoubt => walk.waiting += 1,
                }
                continue;
            }
            let Some(phone) = report.phone.or(key.phone) else {
                // Nobody can say whom it rang.
                walk.unreadable += usize::from(key.token.is_some());
                continue;
            };
            let assistant_id = who_spoke(account, &report.hints);
            let one = LostAttempt {
                attempt_id: key.token,
                phone,
                deadline_at: now + self.line_max(account, &assistant_id),
                assistant_id,
                call_id: report.call_id.clone(),
                made_at,
            };
            lost.push((one, *body));
        }
        // The numbers of a lead in their order: the second of two can only be restored after the first.
        lost.sort_by_key(|(lost, _)| (lost.attempt_id, lost.made_at));
        for (lost, body) in lost {
            match self.store.restore_attempt(&lease.lease, &lost, now).await? {
                Restored::Open(id) => warn!(
                    attempt.id = %id, provider.account = %name,
                    "Attempt {id} was missing in the database and is restored from the provider's list"
                ),
                Restored::Noted(id) => {
                    warn!(
                        attempt.id = %id, provider.account = %name,
                        "Attempt {id} was missing in the database and is noted as ended: its lead has moved on"
                    );
                    // Nobody reads the call of an attempt that has ended.
                    let (account, source) = (name.clone(), Source::Call);
                    news.push(InboxEvent { account, source, body: body.clone(), attempt_id: Some(id) });
                }
                Restored::Orphan(id) => warn!(
                    attempt.id = %id, provider.account = %name,
                    "Attempt {id} is missing in the database, and so is its lead: it cannot be restored"
                ),
                Restored::Waits(_) | Restored::Fenced => walk.waiting += 1,
                Restored::Ambiguous => walk.ambiguous += 1,
                Restored::Known(_) | Restored::Nobodys => {}
            }
        }
        if !news.is_empty() {
            self.store.append_inbox(&news, now).await?;
            account.wakes.collect.notify_one();
        }
        Ok(())
    }

    /// Ends the comparison if this walk must have shown everything.
    async fn end_walk(
        &self,
        name: &AccountName,
        lease: &HeldLease,
        task: &Reconciliation,
        walk: Walk,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let account = &self.accounts[name];
        if walk.unreadable > 0 {
            let problem = format!("{} of the provider's calls cannot be read", walk.unreadable);
            return self.leave_to_a_person(name, task, &problem).await;
        }
        if walk.ambiguous > 0 {
            let problem = format!("{} of the provider's calls may be several leads'", walk.ambiguous);
            return self.leave_to_a_person(name, task, &problem).await;
        }
        let Some(lag) = account.absence_lag() else {
            return if walk.waiting == 0 {
                self.leave_to_a_person(name, task, "the provider's list does not prove that it shows all calls").await
            } else {
                self.rest(account, now + READ_AGAIN.0);
                Ok(())
            };
        };
        // Nobody else has dialed it meanwhile, or whoever has may still be sending what it had begun.
        let sending = match lease.since <= task.since {
            true => self.settings().request_timeout,
            false => self.settings().zombie_horizon,
        };
        let shows_all_from = task.noted_at + self.clock.real_to_civil(sending) + lag;
        if walk.began_at < shows_all_from || walk.waiting > 0 {
            let soon = now + READ_AGAIN.0;
            self.rest(account, if walk.waiting > 0 { soon } else { soon.max(shows_all_from.min(now + READ_AGAIN.1)) });
            return Ok(());
        }
        if self.store.end_reconciliation(task, None).await? {
            info!(provider.account = %name, "Account {name} dials again: its attempts agree with the provider's calls");
        }
        Ok(())
    }

    fn rest(&self, account: &Account<P>, until: Timestamp) {
        lock(&account.reconcile_memory).rest_until = Some(until);
    }

    /// Stops the account until a person starts it.
    async fn leave_to_a_person(
        &self,
        name: &AccountName,
        task: &Reconciliation,
        problem: &str,
    ) -> Result<(), StoreError> {
        let reason = format!(
            "attempts since {} may be missing in the database ({}), and {problem}: see at the provider who was called since, \
             take those leads out, then `outdial start {name}`",
            task.since, task.reason
        );
        if self.store.end_reconciliation(task, Some(&reason)).await? {
            error!(provider.account = %name, "Account {name} is stopped: {reason}");
        }
        Ok(())
    }
}

/// The assistant by its name, where one of the account's has it.
fn who_spoke<P: Provider>(account: &Account<P>, hints: &Hints) -> AssistantId {
    let assistants = lock(&account.roster).assistants.clone().unwrap_or_default();
    let named = assistants.iter().find(|one| hints.assistant_name.as_ref() == Some(&one.name));
    named.map_or_else(|| AssistantId::new(NOBODY), |one| one.assistant_id.clone())
}
