//! Tells other systems what happens. Takes events that wait in the database, posts them, and notes what came of it.
//!
//! Apart from dialing: tasks, connections and a database connection of their own, so that a receiver that hangs costs
//! nobody else anything, not even another receiver. Each event is sent at least once, by one daemon at a time; several
//! daemons share the work. Events of a campaign go out in the order in which they came to be as far as nothing fails; one
//! that has to be sent again is overtaken.

mod letter;
mod sender;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::adapter::clock::ScaledClock;
use crate::adapter::postgres::connect;
use crate::adapter::postgres::outgoing::{Fate, OutgoingEvent, Told, note_told, sweep_events, take_events};
use crate::config::WebhookConfig;
use crate::port::store::StoreError;

pub use sender::SenderError;
use sender::{NotTaken, Sender};

/// Events of one webhook that are on their way at once.
const SENDING_MAX: u32 = 16;
/// Between two looks for events, when there were none: soon enough for people who watch, rare enough to cost nothing.
const IDLE: Duration = Duration::from_millis(500);
/// After a round in which nothing arrived, the next waits; twice as long each time, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// An event that was taken belongs to its taker for so long: three times what a round can last.
const TAKEN_FOR: SignedDuration = SignedDuration::from_secs(30);
/// The first wait before an event is sent again; twice as long each time.
const RETRY_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: SignedDuration = SignedDuration::from_hours(1);
/// An event that is as old as this and fails again is given up.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long a stop waits for what is on its way.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// The running tasks.
pub struct Outgoing {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    pool: PgPool,
}

impl Outgoing {
    /// Starts a task for each webhook, and one that sweeps. `pool` only says where the database is.
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
        let options = (*pool.connect_options()).clone().application_name("outdial webhooks");
        let pool = connect::pool(options, 1);
        let stop = CancellationToken::new();
        let names: Vec<String> = webhooks.keys().cloned().collect();
        let mut tasks = vec![tokio::spawn(sweep(pool.clone(), clock, names, stop.clone()))];
        for (name, sender) in senders {
            let post = Post { name, sender, pool: pool.clone(), clock, stop: stop.clone() };
            tasks.push(tokio::spawn(Arc::new(post).run()));
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
        _ = tokio::time::timeout(STOP_WITHIN, self.pool.close()).await;
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
    async fn run(self: Arc<Self>) {
        let mut standing = Standing::default();
        loop {
            let pause = match self.round(&mut standing).await {
                Ok(pause) => pause,
                Err(problem) => {
                    // The passes tell of a database that is away; nothing is lost.
                    debug!(webhook = %self.name, "Events for webhook {} wait: {problem}", self.name);
                    PAUSE_MAX.min(IDLE * 4)
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
        let given_up = told.iter().filter(|told| matches!(told.fate, Fate::GivenUp { .. })).count();
        let problem = sent.iter().find_map(|sent| sent.as_ref().err());
        if given_up > 0 {
            let why = problem.map(ToString::to_string).unwrap_or_default();
            error!(
                webhook = %self.name, given_up,
                "Webhook {} was not reached for a day: {given_up} events are given up: {why}", self.name
            );
        }
        let delivered = sent.iter().filter(|sent| sent.is_ok()).count();
        Ok(standing.after(&self.name, events.len(), delivered, problem))
    }

    async fn send(&self, event: &OutgoingEvent) -> Result<(), NotTaken> {
        let body = Bytes::from(letter::body(event).to_string());
        self.sender.send(event.event_id, event.kind, body, self.clock.real_now()).await
    }
}

/// What is known of a receiver.
#[derive(Default)]
struct Standing {
    /// Rounds in a row in which nothing arrived.
    failed: u32,
}

impl Standing {
    /// Takes in a round, tells what has changed, and says how long to wait.
    fn after(&mut self, name: &str, taken: usize, delivered: usize, problem: Option<&NotTaken>) -> Duration {
        if delivered > 0 {
            if self.failed > 0 {
                info!(webhook = %name, "Webhook {name} takes events again");
            }
            self.failed = 0;
            return if taken >= SENDING_MAX as usize { Duration::ZERO } else { IDLE };
        }
        if self.failed == 0
            && let Some(problem) = problem
        {
            warn!(webhook = %name, "Webhook {name} takes no events; they are sent again for a day: {problem}");
        }
        self.failed = self.failed.saturating_add(1);
        (IDLE * 2_u32.saturating_pow(self.failed)).min(PAUSE_MAX)
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

async fn sweep(pool: PgPool, clock: ScaledClock, webhooks: Vec<String>, stop: CancellationToken) {
    loop {
        match sweep_events(&pool, &webhooks, clock.real_now()).await {
            Ok(0) => {}
            Ok(given_up) => {
                error!(given_up, "{given_up} events are given up: no daemon has the webhook that their campaigns name");
            }
            Err(problem) => debug!("Old events are removed later: {problem}"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
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

    #[test]
    fn a_receiver_that_is_down_is_asked_ever_more_rarely() {
        let problem = NotTaken { problem: "down".to_owned(), retry_after: None };
        let mut standing = Standing::default();
        let pauses: Vec<_> = (0..8).map(|_| standing.after("crm", 16, 0, Some(&problem)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(standing.after("crm", 16, 1, Some(&problem)), Duration::ZERO, "there may be more");
        assert_eq!(standing.after("crm", 3, 3, None), IDLE);
    }
}
