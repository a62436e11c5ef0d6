//! Replies become rows, in batches.
//!
//! What waits here is no queue in memory: each of these attempts is an open row that says `dialing`, and if this process
//! dies before the reply is written, the row goes in doubt and evidence settles it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::domain::id::{AccountName, AttemptId};
use crate::port::chain::Chain;
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{ReplyRecord, Store, StoreError};

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
        let mut told = false;
        while let Err(problem) = self.try_write(name, &replies, &ended).await {
            match problem {
                // Both statements are idempotent, so an unknown commit is simply tried again.
                StoreError::Unavailable(_) | StoreError::CommitUnknown(_) => {
                    if !told {
                        warn!(provider.account = %name, "Replies of account {name} wait: the database does not answer");
                        told = true;
                    }
                    self.clock.sleep(RETRY_WAIT).await;
                }
                StoreError::Inconsistent { .. } | StoreError::Refused(_) => {
                    // Their rows stay `dialing` and count as in flight, so that nobody takes them for never sent; the next
                    // process finds them in doubt, and the evidence settles them.
                    error!(provider.account = %name, error = %Chain(&problem), "Replies of account {name} could not be written");
                    return;
                }
            }
        }
        let mut in_flight = self.in_flight();
        for id in &ids {
            in_flight.remove(id);
        }
        drop(in_flight);
        self.accounts[name].wakes.collect.notify_one();
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
