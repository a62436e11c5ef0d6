//! Webhooks: one task keeps the times, one sends, at most [`SENDING_MAX`] at once over kept connections.
//!
//! A webhook is sent once and never again, whatever the receiver answers: no retry is documented for this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::App;
use super::drift::Drift;
use super::fault::Fault;
use super::log::{Record, WebhookRecord, locked};

/// How many webhooks are on their way at once; enough for a receiver that takes 50 ms at 1,000 calls a second.
const SENDING_MAX: usize = 64;

/// How long a receiver may take, real. Undocumented for this provider; others give 10 to 20 seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A moment of a call's life that is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name in the log.
    pub name: &'static str,
    /// When it happened, civil.
    pub at: Timestamp,
    /// Whether nothing is reported after it.
    pub is_last: bool,
}

/// A webhook and when it is due, civil.
pub(super) struct Due {
    pub at: Timestamp,
    pub call_id: u64,
    pub event: Event,
}

/// A webhook on its way.
#[derive(Clone)]
struct Sending {
    call_id: u64,
    event: Event,
    fault: Option<Fault>,
}

/// Starts both tasks; they end when `closing` is cancelled.
pub(super) fn start(app: Arc<App>, due: mpsc::UnboundedReceiver<Due>, closing: CancellationToken) {
    let (outbox, sendings) = mpsc::unbounded_channel();
    tokio::spawn(closing.clone().run_until_cancelled_owned(keep_times(app.clone(), due, outbox)));
    tokio::spawn(closing.run_until_cancelled_owned(send_all(app, sendings)));
}

async fn keep_times(app: Arc<App>, mut due: mpsc::UnboundedReceiver<Due>, outbox: mpsc::UnboundedSender<Sending>) {
    let mut timetable = Timetable::default();
    loop {
        let now = app.clock.now();
        while let Some((at, step)) = timetable.pop_due(now) {
            for sending in timetable.take(&app, at, step) {
                if outbox.send(sending).is_err() {
                    return;
                }
            }
        }
        let arrived = match timetable.next_at() {
            None => due.recv().await,
            Some(at) => tokio::select! {
                biased;
                arrived = due.recv() => arrived,
                () = tokio::time::sleep(app.clock.civil_to_real(at.duration_since(app.clock.now()))) => continue,
            },
        };
        let Some(Due { at, call_id, event }) = arrived else { return };
        timetable.add(at, Step::Decide(Sending { call_id, event, fault: None }));
    }
}

/// A step of one webhook's way.
enum Step {
    /// Its time has come: what goes wrong with it is decided.
    Decide(Sending),
    /// It goes out, with this already done to it.
    Send(Sending),
    /// It was held back for another, under this number: it goes out if none came.
    Release(u64),
}

/// What happens next, and the webhooks that wait for another one to overtake them.
#[derive(Default)]
struct Timetable {
    /// The number keeps steps of one instant apart and in order.
    steps: BTreeMap<(Timestamp, u64), Step>,
    number: u64,
    held: Vec<(u64, Sending)>,
}

impl Timetable {
    fn add(&mut self, at: Timestamp, step: Step) {
        self.number += 1;
        self.steps.insert((at, self.number), step);
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.steps.first_key_value().map(|((at, _), _)| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Step)> {
        let next = self.steps.first_entry().filter(|next| next.key().0 <= now)?;
        let ((at, _), step) = next.remove_entry();
        Some((at, step))
    }

    /// Takes one step; says what is to be sent at once, in this order.
    fn take(&mut self, app: &App, at: Timestamp, step: Step) -> Vec<Sending> {
        match step {
            Step::Decide(sending) => self.decide(app, at, sending),
            Step::Send(sending) => vec![sending],
            Step::Release(number) => {
                let position = self.held.iter().position(|(held, _)| *held == number);
                position.map(|position| self.held.remove(position).1).into_iter().collect()
            }
        }
    }

    fn decide(&mut self, app: &App, at: Timestamp, sending: Sending) -> Vec<Sending> {
        let (fault, late_by) = {
            let world = locked(&app.world);
            let Some((call, _)) = world.reported(sending.call_id, &sending.event) else { return Vec::new() };
            world.fate_of_webhook(&call, &sending.event)
        };
        let sending = Sending { fault, ..sending };
        match fault {
            Some(Fault::WebhookLost) => {
                app.log_webhook(sending, None);
                Vec::new()
            }
            Some(Fault::WebhookLate) => {
                self.add(at + late_by, Step::Send(sending));
                Vec::new()
            }
            Some(Fault::WebhookOutOfOrder) => {
                // The number this step is about to get.
                let number = self.number + 1;
                self.add(at + late_by, Step::Release(number));
                self.held.push((number, sending));
                Vec::new()
            }
            // At once after each other, so that the receiver may see both at the same time.
            Some(Fault::WebhookTwice) => vec![sending.clone(), sending],
            _ => {
                let overtaken = self.held.drain(..).map(|(_, held)| held);
                std::iter::once(sending).chain(overtaken).collect()
            }
        }
    }
}

async fn send_all(app: Arc<App>, sendings: mpsc::UnboundedReceiver<Sending>) {
    let stream = futures::stream::unfold(sendings, async |mut sendings| {
        let sending = sendings.recv().await?;
        Some((sending, sendings))
    });
    stream.for_each_concurrent(SENDING_MAX, |sending| send_one(&app, sending)).await;
}

async fn send_one(app: &App, sending: Sending) {
    let (reported, dialect, dice) = {
        let world = locked(&app.world);
        let Some(reported) = world.reported(sending.call_id, &sending.event) else { return };
        let dice = world.dice_of(&reported.0, &sending.event, "webhook types");
        (reported, world.dialect.clone(), dice)
    };
    let (call, assistant) = reported;
    let mut body = dialect.family().webhook(&dialect, &call, &sending.event, &assistant);
    Drift { probability: dialect.quirks.type_drift, zone: &dialect.zone, dice }.document(&mut body);
    let mut request = app.client.post(assistant.webhook_url.unwrap_or_default()).json(&body).timeout(TIMEOUT);
    for (name, value) in &assistant.webhook_headers {
        request = request.header(name, value);
    }
    let status = match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            // Read to its end, so that the connection can be used again; what it says changes nothing.
            let _ = answer.bytes().await;
            Some(status)
        }
        Err(error) => {
            tracing::debug!(%error, sending.call_id, "Simulator got no answer to a webhook");
            None
        }
    };
    app.log_webhook(sending, status);
}

impl App {
    fn log_webhook(&self, sending: Sending, status: Option<u16>) {
        self.log.write(Record::Webhook(WebhookRecord {
            civil_at: self.clock.now(),
            real_at: self.clock.real_now(),
            call_id: sending.call_id,
            event: sending.event.name.to_owned(),
            status,
            fault: sending.fault,
        }));
    }
}
