//! Tells other systems what happens. Takes events that wait in the database, posts them, and notes what came of it.
//!
//! Apart from dialing: tasks, connections and a database connection of their own, so that a receiver that hangs costs
//! nobody else anything, not even another receiver. Each event is sent at least once, by one daemon at a time; several
//! daemons share the work. Events of a campaign go out in the order in which they came to be as far as nothing fails; one
//! that has to be sent again is overtaken.

mod letter;
mod sender;
mod standing;
mod sweep;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::adapter::clock::ScaledClock;
use crate::adapter::postgres::backlog::give_up_older;
use crate::adapter::postgres::connect;
use crate::adapter::postgres::outgoing::{Fate, OutgoingEvent, Told, note_told, take_events};
use crate::config::WebhookConfig;
use crate::port::chain::Chain;
use crate::port::metric;
use crate::port::store::StoreError;

pub use sender::SenderError;
use sender::{NotTaken, Sender};
use standing::Standing;
use sweep::Sweep;

/// Connections to the database where there is a webhook: statements are short, and nobody waits for them but receivers.
pub const CONNECTIONS: u32 = 1;
/// Events of one webhook that are on their way at once.
const SENDING_MAX: u32 = 16;
/// Between two looks for events, when there were none: soon enough for people who watch, rare enough to cost nothing.
const IDLE: Duration = Duration::from_millis(500);
/// After a round in which nothing arrived, the next waits; twice as long each time, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Between two tries of the database, which the passes look after.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);
/// An event that was taken belongs to its taker for so long: three times what a round can last.
const TAKEN_FOR: SignedDuration = SignedDuration::from_secs(30);
/// The first wait before an event is sent again; twice as long each time.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: SignedDuration = SignedDuration::from_hours(1);
/// An event that is as old as this and fails again is given up.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Once nothing has arrived for so long, events as old as that are given up untried: a few are tried in each round, and
/// what waits for a receiver that is gone must not grow for ever. A daemon that was off for days tries first.
const UNTRIED_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// How long a stop waits for what is on its way.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// The running tasks.
pub struct Outgoing {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// A connection of its own, where there is anything to send.
    pool: Option<PgPool>,
}

impl Outgoing {
    /// Starts a task for each webhook, which share one more connection to the database of `pool`, and one that sweeps, on
    /// `pool` itself.
    ///
    /// # Errors
    /// When nothing can be sent to a webhook, with its name.
    pub fn start(
        pool: &PgPool,
        clock: ScaledClock,
        webhooks: &BTreeMap<String, WebhookConfig>,
    ) -> Result<Self, (String, SenderError)> {
        let senders = webhooks
            .iter()
            .map(|(name, config)| Ok((name.clone(), Sender::new(config).map_err(|problem| (name.clone(), problem))?)))
            .collect::<Result<Vec<_>, _>>()?;
        let stop = CancellationToken::new();
        let sweep = Sweep::new(pool.clone(), clock, webhooks.keys().cloned().collect());
        let mut tasks = vec![tokio::spawn(sweep.run(stop.clone()))];
        let options = (*pool.connect_options()).clone().application_name("outdial webhooks");
        let pool = (!senders.is_empty()).then(|| connect::pool(options, CONNECTIONS));
        for (name, sender) in senders {
            let pool = pool.clone().expect("there is one where there are senders");
            tasks.push(tokio::spawn(Post { name, sender, pool, clock, stop: stop.clone() }.run()));
        }
        Ok(Self { stop, tasks, pool })
    }

    /// Takes no more events, and waits a little for those on their way; what is cut off is sent again by whoever is next.
    pub async fn stop(self) {
        self.stop.cancel();
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(STOP_WITHIN, join_all(self.tasks)).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
        // A private server cannot stop while somebody is connected.
        if let Some(pool) = self.pool {
            _ = tokio::time::timeout(STOP_WITHIN, pool.close()).await;
        }
    }
}

/// What goes to one webhook.
struct Post {
    name: String,
    sender: Sender,
    pool: PgPool,
    clock: ScaledClock,
    stop: CancellationToken,
}

impl Post {
    async fn run(self) {
        let mut standing = Standing::default();
        loop {
            let pause = match self.round(&mut standing).await {
                Ok(pause) => pause,
                // The passes tell of a database that is away; nothing is lost.
                Err(problem @ (StoreError::Unavailable(_) | StoreError::CommitUnknown(_))) => {
                    debug!(error = %Chain(&problem), webhook = %self.name, "Events for webhook {} wait", self.name);
                    DATABASE_PAUSE
                }
                Err(problem @ (StoreError::Inconsistent { .. } | StoreError::Refused(_))) => {
                    error!(
                        error = %Chain(&problem), webhook = %self.name,
                        "Events for webhook {} wait: a person must look", self.name
                    );
                    PAUSE_MAX
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sends what waits, a handful at most, and says how long to wait before the next round.
    async fn round(&self, standing: &mut Standing) -> Result<Duration, StoreError> {
        let now = self.clock.real_now();
        let events = take_events(&self.pool, &self.name, SENDING_MAX, now, now + TAKEN_FOR).await?;
        if events.is_empty() {
            return Ok(IDLE);
        }
        let sent = join_all(events.iter().map(|event| self.send(event))).await;
        let now = self.clock.real_now();
        let told: Vec<Told> = events
            .iter()
            .zip(&sent)
            .map(|(event, sent)| Told { key: event.key, sendings: event.sendings, fate: fate(event, sent, now) })
            .collect();
        note_told(&self.pool, &told, now).await?;
        let problem = sent.iter().find_map(|sent| sent.as_ref().err());
        let delivered = self.count(&told);
        let given_up = told.iter().filter(|told| matches!(told.fate, Fate::GivenUp { .. })).count() as u64;
        self.tell_given_up(given_up, problem);
        let pause = standing.after(&self.name, now, events.len(), delivered, problem);
        if standing.failing_for(now) >= UNTRIED_AFTER {
            let why = problem.map(ToString::to_string).unwrap_or_default();
            let given_up = give_up_older(&self.pool, &self.name, now - GIVE_UP_AFTER, now, &why).await?;
            metric::OUTGOING.add([&self.name, "given_up"], given_up);
            self.tell_given_up(given_up, problem);
        }
        Ok(pause)
    }

    /// Counts what became of a round, and answers how many were delivered.
    fn count(&self, told: &[Told]) -> usize {
        let (mut delivered, mut not_taken, mut given_up) = (0, 0, 0);
        for told in told {
            match told.fate {
                Fate::Delivered => delivered += 1,
                Fate::Again { .. } => not_taken += 1,
                Fate::GivenUp { .. } => given_up += 1,
            }
        }
        for (result, count) in [("delivered", delivered), ("not_taken", not_taken), ("given_up", given_up)] {
            metric::OUTGOING.add([&self.name, result], count as u64);
        }
        delivered
    }

    fn tell_given_up(&self, given_up: u64, problem: Option<&NotTaken>) {
        if given_up == 0 {
            return;
        }
        let why = problem.map(ToString::to_string).unwrap_or_default();
        error!(
            webhook = %self.name, given_up,
            "Webhook {} did not take {given_up} events within a day; they are given up: {why}", self.name
        );
    }

    async fn send(&self, event: &OutgoingEvent) -> Result<(), NotTaken> {
        let body = Bytes::from(letter::body(event).to_string());
        self.sender.send(event.event_id, event.kind, body, self.clock.real_now()).await
    }
}

/// What follows a sending.
fn fate(event: &OutgoingEvent, sent: &Result<(), NotTaken>, now: Timestamp) -> Fate {
    let Err(NotTaken { problem, retry_after }) = sent else { return Fate::Delivered };
    let problem = problem.clone();
    if now.duration_since(event.created_at) >= GIVE_UP_AFTER {
        return Fate::GivenUp { problem };
    }
    let asked = retry_after.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or_default();
    Fate::Again { at: now + wait_after(event.sendings).max(asked), problem }
}

/// How long to wait after so many sendings.
fn wait_after(sendings: u32) -> SignedDuration {
    let factor = 1_i32 << sendings.saturating_sub(1).min(12);
    (RETRY_FIRST * factor).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notice::NoticeKind;
    use serde_json::json;

    #[test]
    fn waits_double_from_a_second_to_an_hour() {
        let waits: Vec<i64> = (1..=14).map(|sendings| wait_after(sendings).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 3_600, 3_600]);
        assert_eq!(wait_after(u32::MAX), RETRY_MAX);
    }

    fn event(sendings: u32) -> OutgoingEvent {
        OutgoingEvent {
            key: 1,
            event_id: uuid::Uuid::nil(),
            kind: NoticeKind::CampaignFinished,
            happened_at: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            sendings,
            detail: json!({}),
            campaign_id: 1,
            campaign: None,
            notify: None,
            lead: None,
            attempt: None,
        }
    }

    #[test]
    fn an_event_is_given_up_after_a_day_and_never_untried() {
        let failed = |retry_after| Err(NotTaken { problem: "it answered HTTP 500".to_owned(), retry_after });
        let at = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        assert!(matches!(fate(&event(1), &failed(None), at(25)), Fate::GivenUp { .. }));
        assert!(matches!(fate(&event(30), &failed(None), at(23)), Fate::Again { at: again, .. } if again == at(24)));
        assert_eq!(fate(&event(1), &Ok(()), at(48)), Fate::Delivered);
        let asked = fate(&event(1), &failed(Some(Duration::from_secs(60))), at(0));
        assert!(matches!(asked, Fate::Again { at: again, .. } if again == at(0) + SignedDuration::from_mins(1)));
    }
}
