//! Post-call webhooks: one task keeps the times, one sends, at most [`SENDING_MAX`] at once over kept connections.
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
use super::call::CallRecord;
use super::fault::Fault;
use super::log::{Record, WebhookRecord, locked};
use super::world::webhook_target;

/// How many webhooks are on their way at once; enough for a receiver that takes 50 ms at 1,000 calls a second.
const SENDING_MAX: usize = 64;

/// How long a receiver may take, real. Undocumented for this provider; others give 10 to 20 seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A call's webhook and when it is due, civil.
pub(super) struct Due {
    pub at: Timestamp,
    pub call: Arc<CallRecord>,
}

/// A webhook on its way.
struct Sending {
    call: Arc<CallRecord>,
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
        let Some(Due { at, call }) = arrived else { return };
        timetable.add(at, Step::Decide(call));
    }
}

/// A step of one webhook's way.
enum Step {
    /// Its time has come: what goes wrong with it is decided.
    Decide(Arc<CallRecord>),
    /// It goes out, with this already done to it.
    Send(Sending),
    /// It was held back for another: it goes out if none came.
    Release(u64),
}

/// What happens next, and the webhooks that wait for another one to overtake them.
#[derive(Default)]
struct Timetable {
    /// The number keeps steps of one instant apart and in order.
    steps: BTreeMap<(Timestamp, u64), Step>,
    number: u64,
    held: Vec<Arc<CallRecord>>,
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
            Step::Decide(call) => self.decide(app, at, call),
            Step::Send(sending) => vec![sending],
            Step::Release(call_id) => {
                let position = self.held.iter().position(|call| call.call_id == call_id);
                let released = position.map(|position| self.held.remove(position));
                released.map(out_of_order).into_iter().collect()
            }
        }
    }

    fn decide(&mut self, app: &App, at: Timestamp, call: Arc<CallRecord>) -> Vec<Sending> {
        let (fault, late_by) = {
            let world = locked(&app.world);
            if world.assistants.get(&call.assistant_id).and_then(|to| webhook_target(to, &call)).is_none() {
                return Vec::new();
            }
            world.fate_of_webhook(&call)
        };
        match fault {
            Some(Fault::WebhookLost) => {
                app.log_webhook(&call, None, fault);
                Vec::new()
            }
            Some(Fault::WebhookLate) => {
                self.add(at + late_by, Step::Send(Sending { call, fault }));
                Vec::new()
            }
            Some(Fault::WebhookOutOfOrder) => {
                self.add(at + late_by, Step::Release(call.call_id));
                self.held.push(call);
                Vec::new()
            }
            // At once after each other, so that the receiver may see both at the same time.
            Some(Fault::WebhookTwice) => vec![Sending { call: call.clone(), fault }, Sending { call, fault }],
            _ => {
                let overtaken = self.held.drain(..).map(out_of_order);
                std::iter::once(Sending { call, fault: None }).chain(overtaken).collect()
            }
        }
    }
}

fn out_of_order(call: Arc<CallRecord>) -> Sending {
    Sending { call, fault: Some(Fault::WebhookOutOfOrder) }
}

async fn send_all(app: Arc<App>, sendings: mpsc::UnboundedReceiver<Sending>) {
    let stream = futures::stream::unfold(sendings, async |mut sendings| {
        let sending = sendings.recv().await?;
        Some((sending, sendings))
    });
    stream.for_each_concurrent(SENDING_MAX, |sending| send_one(&app, sending)).await;
}

async fn send_one(app: &App, Sending { call, fault }: Sending) {
    let target = {
        let world = locked(&app.world);
        let assistant = world.assistants.get(&call.assistant_id);
        assistant.and_then(|assistant| webhook_target(assistant, &call)).map(str::to_owned)
    };
    let Some(url) = target else { return };
    let answer = app.client.post(url).json(&app.dialect.webhook(&call)).timeout(TIMEOUT).send().await;
    let status = match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            // Read to its end, so that the connection can be used again; what it says changes nothing.
            let _ = answer.bytes().await;
            Some(status)
        }
        Err(error) => {
            tracing::debug!(%error, call_id = call.call_id, "Simulator got no answer to a webhook");
            None
        }
    };
    app.log_webhook(&call, status, fault);
}

impl App {
    fn log_webhook(&self, call: &CallRecord, status: Option<u16>, fault: Option<Fault>) {
        self.log.write(Record::Webhook(WebhookRecord {
            civil_at: self.clock.now(),
            real_at: self.clock.real_now(),
            call_id: call.call_id,
            status,
            fault,
        }));
    }
}
