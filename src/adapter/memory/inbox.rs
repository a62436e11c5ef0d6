//! Raw events, and whose they are.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::id::{AccountName, InboxId};
use crate::port::store::{Binding, CallKey, CallMatch, InboxEvent, InboxMark, PendingEvent};

use super::dial::learn_call;
use super::world::{InboxRecord, PendingRecord, World};

/// What is written next to an event that matched no call in all its time.
const UNMATCHED: &str = "matched no call";

pub(super) fn append(world: &mut World, events: &[InboxEvent], now: Timestamp) {
    for event in events {
        let inbox_id = InboxId(world.next_key("inbox"));
        let InboxEvent { account, source, body, attempt_id } = event.clone();
        let record = InboxRecord {
            received_at: now,
            account: account.clone(),
            source,
            body,
            problem: None,
            quarantined_by: None,
        };
        world.inbox.insert(inbox_id, record);
        world.pending.insert(inbox_id, PendingRecord { account, retry_at: now, attempt_id });
    }
}

pub(super) fn peek(
    world: &World,
    account: &AccountName,
    not_before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Vec<PendingEvent> {
    let pending = || world.pending.iter().filter(|(_, record)| record.account == *account);
    let ripe = |retry_at: Timestamp| retry_at >= not_before && retry_at <= now;
    let due: BTreeSet<InboxId> =
        pending().filter(|(_, record)| ripe(record.retry_at)).map(|(id, _)| *id).take(limit as usize).collect();
    let attempts: BTreeSet<_> = due.iter().filter_map(|id| world.pending[id].attempt_id).collect();
    pending()
        .filter(|(id, record)| due.contains(id) || record.attempt_id.is_some_and(|id| attempts.contains(&id)))
        .map(|(id, record)| {
            let event = &world.inbox[id];
            PendingEvent {
                inbox_id: *id,
                source: event.source,
                received_at: event.received_at,
                body: event.body.clone(),
                attempt_id: record.attempt_id,
                retry_at: record.retry_at,
            }
        })
        .collect()
}

pub(super) fn find_attempts(world: &World, account: &AccountName, calls: &[CallKey]) -> Vec<CallMatch> {
    calls.iter().map(|call| find_one(world, account, call)).collect()
}

fn find_one(world: &World, account: &AccountName, call: &CallKey) -> CallMatch {
    let bound =
        call.call_id.as_ref().and_then(|call_id| world.provider_call.get(&(account.clone(), call_id.clone()))).copied();
    let (bound, basis) = bound.unzip();
    let by_token = call.token.filter(|token| world.attempt.get(token).is_some_and(|found| found.account == *account));
    let open_unbound = call
        .phone
        .as_ref()
        .and_then(|phone| world.open_attempt.get(phone))
        .filter(|open| open.account == *account && open.call_id.is_none());
    CallMatch {
        bound,
        basis,
        token_exists: by_token.is_some(),
        open_unbound: open_unbound.cloned(),
        ended: bound.or(by_token).is_some_and(|id| world.attempt[&id].end.is_some()),
    }
}

pub(super) fn bind(world: &mut World, account: &AccountName, bindings: &[Binding]) {
    for binding in bindings {
        // A database that went back since the attempt was found does not know it.
        if world.attempt.get(&binding.attempt_id).is_none_or(|attempt| attempt.account != *account) {
            continue;
        }
        learn_call(world, binding.attempt_id, &binding.call_id, binding.basis);
    }
}

pub(super) fn mark(world: &mut World, marks: &[(InboxId, InboxMark)]) {
    for (inbox_id, mark) in marks {
        let Some(pending) = world.pending.get_mut(inbox_id) else {
            continue;
        };
        match mark {
            InboxMark::Later { retry_at, attempt_id } => {
                pending.retry_at = *retry_at;
                pending.attempt_id = attempt_id.or(pending.attempt_id);
            }
            InboxMark::Done => close(world, *inbox_id, None, None),
            InboxMark::Quarantined { problem, version } => {
                close(world, *inbox_id, Some(problem.clone()), Some(version.clone()));
            }
            InboxMark::Unmatched => close(world, *inbox_id, Some(UNMATCHED.to_owned()), None),
        }
    }
}

fn close(world: &mut World, inbox_id: InboxId, problem: Option<String>, quarantined_by: Option<String>) {
    world.pending.remove(&inbox_id);
    if let (Some(event), true) = (world.inbox.get_mut(&inbox_id), problem.is_some()) {
        event.problem = problem;
        event.quarantined_by = quarantined_by;
    }
}

pub(super) fn reread(world: &mut World, version: &str, limit: u32, now: Timestamp) -> u32 {
    let other = |event: &InboxRecord| event.quarantined_by.as_deref().is_some_and(|by| by != version);
    let World { inbox, pending, .. } = world;
    let mut count = 0;
    for (inbox_id, event) in inbox.iter_mut().filter(|(_, event)| other(event)).take(limit as usize) {
        event.problem = None;
        event.quarantined_by = None;
        let account = event.account.clone();
        pending.insert(*inbox_id, PendingRecord { account, retry_at: now, attempt_id: None });
        count += 1;
    }
    count
}
