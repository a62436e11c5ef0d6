//! Replies become rows, in batches.
//!
//! What waits here is no queue in memory: each of these attempts is an open row that says `dialing`, and if this process
//! dies before the reply is written, the row goes in doubt and evidence settles it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::domain::attempt::OpenState;
use crate::domain::id::{AccountName, AttemptId};
use crate::port::chain::Chain;
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{OpenAttempt, OpenChange, ReplyRecord, Store, StoreError};

use super::finish::Ended;
use super::{Engine, lock};

/// Most replies in one statement.
const BATCH_MAX: usize = 200;
/// How long the first reply of a batch waits for company.
const BATCH_WAIT: Duration = Duration::from_millis(4);
/// Between tries while the database does not answer.
const RETRY_WAIT: Duration = Duration::from_millis(250);

/// What is to be written about an attempt.
#[derive(Debug)]
pub enum Record {
    /// The provider took it, or we cannot know.
    Reply(ReplyRecord),
    /// It has ended.
    Ended(Box<Ended>),
}

impl Record {
    fn attempt_id(&self) -> AttemptId {
        match self {
            Self::Reply(reply) => reply.attempt_id,
            Self::Ended(ended) => ended.attempt_id,
        }
    }
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Writes an account's replies until every sender is gone or `stop` says that no more will come.
    pub async fn record_forever(self: Arc<Self>, name: AccountName) {
        let Some(mut inbox) = lock(&self.accounts[&name].inbox).take() else { return };
        let mut batch = Vec::new();
        while inbox.recv_many(&mut batch, BATCH_MAX).await > 0 {
            if batch.len() < BATCH_MAX {
                self.clock.sleep(BATCH_WAIT).await;
                take_ready(&mut inbox, &mut batch);
            }
            self.write(&name, std::mem::take(&mut batch)).await;
        }
    }

    /// Writes until it is written: an answer that the database has not acknowledged is kept.
    async fn write(&self, name: &AccountName, batch: Vec<Record>) {
        let ids: Vec<AttemptId> = batch.iter().map(Record::attempt_id).collect();
        let (mut replies, mut ended) = (Vec::new(), Vec::new());
        for record in batch {
            match record {
                Record::Reply(reply) => replies.push(reply),
                Record::Ended(end) => ended.push(*end),
            }
        }
        if self.until_written(name, &replies, &ended).await.is_err() {
            // One record the database refuses must not take its company with it.
            for reply in replies {
                self.write_alone(name, reply.attempt_id, &[reply], &[]).await;
            }
            for end in ended {
                self.write_alone(name, end.attempt_id, &[], &[end]).await;
            }
        }
        let mut in_flight = self.in_flight();
        for id in &ids {
            in_flight.remove(id);
        }
        drop(in_flight);
        self.accounts[name].wakes.collect.notify_one();
    }

    async fn write_alone(&self, name: &AccountName, attempt_id: AttemptId, replies: &[ReplyRecord], ended: &[Ended]) {
        let Err(problem) = self.until_written(name, replies, ended).await else { return };
        error!(
            provider.account = %name, attempt.id = %attempt_id, error = %Chain(&problem),
            "What became of attempt {attempt_id} could not be written; it is in doubt"
        );
        while let Err(problem) = self.doubt(name, attempt_id).await {
            warn!(attempt.id = %attempt_id, error = %Chain(&problem), "Attempt {attempt_id} could not be put in doubt yet");
            self.clock.sleep(RETRY_WAIT * 20).await;
        }
    }

    /// What is known cannot be written, so evidence has to settle it; only positive evidence, for the call may be placed.
    async fn doubt(&self, name: &AccountName, attempt_id: AttemptId) -> Result<(), StoreError> {
        let now = self.clock.now();
        let open = self.store.open_attempts(name).await?;
        let dialing = |open: &&OpenAttempt| open.attempt_id == attempt_id && open.state == OpenState::Dialing;
        let Some(open) = open.iter().find(dialing) else { return Ok(()) };
        let change = OpenChange {
            reason: Some("what became of it could not be written".to_owned()),
            absence_from: Some(open.deadline_at + self.accounts[name].settings().line_max()),
            poll_at: Some(now),
            ..OpenChange::to(open, OpenState::InDoubt)
        };
        self.store.change_open(&[change]).await.map(drop)
    }

    /// Waits for a database that does not answer; both statements are idempotent, so an unknown commit is tried again.
    ///
    /// # Errors
    /// When the database answers and refuses.
    async fn until_written(
        &self,
        name: &AccountName,
        replies: &[ReplyRecord],
        ended: &[Ended],
    ) -> Result<(), StoreError> {
        let mut told = false;
        loop {
            match self.try_write(name, replies, ended).await {
                Err(StoreError::Unavailable(_) | StoreError::CommitUnknown(_)) => {
                    if !told {
                        warn!(provider.account = %name, "Replies of account {name} wait: the database does not answer");
                        told = true;
                    }
                    self.clock.sleep(RETRY_WAIT).await;
                }
                done @ (Ok(()) | Err(StoreError::Inconsistent { .. } | StoreError::Refused(_))) => return done,
            }
        }
    }

    async fn try_write(&self, name: &AccountName, replies: &[ReplyRecord], ended: &[Ended]) -> Result<(), StoreError> {
        if !replies.is_empty() {
            self.store.record_replies(replies).await?;
        }
        self.finish(name, ended).await.map(drop)
    }
}

fn take_ready(inbox: &mut mpsc::UnboundedReceiver<Record>, batch: &mut Vec<Record>) {
    while batch.len() < BATCH_MAX {
        match inbox.try_recv() {
            Ok(record) => batch.push(record),
            Err(_) => return,
        }
    }
}
