//! The provider and the telephone network behind it: takes requests, rings, lists calls, tells results, badly.
//!
//! A request's fate is decided at the moment it leaves, so that a daemon that dies while it waits changes nothing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::domain::assistant::Assistant;
use crate::domain::id::{AssistantId, AttemptId, CampaignId, ProviderCallId};
use crate::domain::outcome::Outcome;
use crate::domain::phone::PhoneNumber;
use crate::domain::report::{AnsweredBy, CallReport, Hints, Phase, Source, Undecodable};
use crate::port::allowance::{RequestGuard, Urgency};
use crate::port::clock::Clock;
use crate::port::permit::{DialPermit, OutboundCall};
use crate::port::provider::{AccountStanding, CallPage, CallQuery, NotPlaced, PlaceReply, Provider, ReadError};

use super::process::Process;
use super::scenario::{ON_THE_WIRE_MAX, pick};
use super::world::{Happening, State, World};

/// The longest a request to place a call may take, real.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// A request that was let go.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub account: usize,
    pub attempt_id: AttemptId,
    pub phone: PhoneNumber,
    pub campaign_id: CampaignId,
    /// When the last look let it go.
    pub at: Timestamp,
    /// Whether the provider took it.
    pub accepted: bool,
}

/// A request on its way whose sender is dead: the one in the books with this index.
pub(super) struct Transit {
    request: usize,
    call: OutboundCall,
}

/// A call at the provider.
pub(super) struct Call {
    pub account: usize,
    pub id: ProviderCallId,
    pub attempt_id: AttemptId,
    pub assistant_id: AssistantId,
    pub phone: PhoneNumber,
    pub made_at: Timestamp,
    /// From when on the list and single reads show it.
    pub shown_at: Timestamp,
    pub over_at: Timestamp,
    /// From when on reads say that it is over.
    pub settled_at: Timestamp,
    pub outcome: Outcome,
    pub extracted: Map<String, Value>,
    pub begun: bool,
}

/// One account, as one replica reaches it.
pub(super) struct SimProvider {
    pub world: Arc<World>,
    pub process: Arc<Process>,
    pub account: usize,
    pub guard: OnceLock<Arc<dyn RequestGuard>>,
}

/// What comes back, and when.
struct Answer {
    after: Duration,
    reply: PlaceReply,
}

impl Provider for SimProvider {
    fn attach(&self, guard: Arc<dyn RequestGuard>) {
        let _ = self.guard.set(guard);
    }

    async fn place(&self, permit: DialPermit) -> PlaceReply {
        let world = &self.world;
        let (call, mut departure) = permit.into_parts();
        self.step("place").await;
        let (connecting, reachable) = {
            let mut state = world.state();
            let faults = if state.calm { 0.0 } else { world.scenario.faults.place };
            let millis = state.dice.random_range(0..100);
            (Duration::from_millis(millis), !state.dice.random_bool(faults * 0.1))
        };
        world.clock.sleep(connecting).await;
        self.process.goes_on().await;
        if !reachable {
            world.state().stats.fault("request: provider unreachable");
            self.step("place: unreachable").await;
            return PlaceReply::NotPlaced(NotPlaced::Unreachable { reason: "injected".to_owned() });
        }
        match departure.depart().await {
            Err(refusal) => {
                self.step(&format!("place: unsent, {refusal}")).await;
                PlaceReply::NotPlaced(NotPlaced::Unsent(refusal))
            }
            Ok(sent_at) => {
                let request = self.leaves(&call, sent_at);
                if !world.at_the_door(&self.process) {
                    world.may_arrive(request, &call);
                }
                self.process.goes_on().await;
                let answer = world.take_request(request, &call);
                world.clock.sleep(answer.after.min(REQUEST_TIMEOUT)).await;
                let waited = world.clock.now();
                self.step(&format!("place {}: {:?}", call.attempt_id.key().lead_id, answer.reply)).await;
                // Whoever was stopped finds both the answer and that its time is over.
                let overslept = world.clock.now() - world.clock.real_to_civil(REQUEST_TIMEOUT) > waited;
                if overslept && world.state().dice.random_bool(0.5) {
                    return PlaceReply::Unknown { reason: "timeout".to_owned(), accepted: false };
                }
                answer.reply
            }
        }
    }

    async fn read_call(&self, id: &ProviderCallId) -> Result<Bytes, ReadError> {
        self.before_read(&format!("read {id}"), Urgency::Read).await?;
        let now = self.world.clock.now();
        let body = {
            let state = self.world.state();
            state
                .calls
                .iter()
                .find(|call| call.account == self.account && call.id == *id && call.shown_at <= now)
                .map(|call| self.body(call, call.settled_at <= now, true))
        };
        self.after_read().await;
        body.ok_or(ReadError::NotFound)
    }

    async fn list_calls(&self, query: &CallQuery) -> Result<CallPage, ReadError> {
        self.before_read("list", Urgency::Read).await?;
        let now = self.world.clock.now();
        let plan = &self.world.scenario.accounts[self.account];
        let day = jiff::SignedDuration::from_hours(24);
        let page = {
            let state = self.world.state();
            let mut bodies: Vec<Bytes> = state
                .calls
                .iter()
                .filter(|call| call.account == self.account && call.begun && call.shown_at <= now)
                .filter(|call| query.phone.is_none_or(|phone| phone == call.phone))
                .filter(|call| call.made_at >= query.since - day)
                .map(|call| self.body(call, call.settled_at <= now, true))
                .collect();
            bodies.reverse();
            if plan.former_calls && query.phone.is_none() {
                bodies.push(Bytes::from_static(b"{\"id\":\"900\",\"phase\":\"answered\"}"));
            }
            let skipped = (query.page as usize - 1) * plan.page_size;
            let more = bodies.len() > skipped + plan.page_size;
            CallPage { calls: bodies.into_iter().skip(skipped).take(plan.page_size).collect(), more }
        };
        self.after_read().await;
        Ok(page)
    }

    async fn assistants(&self) -> Result<Vec<Assistant>, ReadError> {
        self.before_read("assistants", Urgency::Read).await?;
        let now = self.world.clock.now();
        let idle = self.world.state().accounts[self.account].idle_until.is_some_and(|until| now < until);
        let assistant = |number: u32| Assistant {
            assistant_id: AssistantId::new(number.to_string()),
            name: format!("Assistant {number}"),
            active: !idle,
            status: if idle { "inactive" } else { "active" }.to_owned(),
            mode: None,
            language_id: None,
            webhook_url: None,
            variables: Vec::new(),
            details: crate::domain::assistant::AssistantDetails::default(),
        };
        let roster = (1..=self.world.scenario.accounts[self.account].assistants).map(assistant).collect();
        self.after_read().await;
        Ok(roster)
    }

    async fn health(&self) -> Result<AccountStanding, ReadError> {
        self.before_read("health", Urgency::Verdict).await?;
        let now = self.world.clock.now();
        let broken = self.world.state().accounts[self.account].broken_until.is_some_and(|until| now < until);
        self.after_read().await;
        Ok(if broken { AccountStanding::BalanceExhausted } else { AccountStanding::Good { balance: None } })
    }

    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        decode(source, body)
    }
}

impl World {
    /// The sender died with a request in its hands: perhaps it is on the wire nevertheless, and takes its time.
    fn may_arrive(&self, request: usize, call: &OutboundCall) {
        let mut state = self.state();
        if state.dice.random_bool(0.3) {
            return;
        }
        let longest = ON_THE_WIRE_MAX.as_millis() as u64;
        let span = Duration::from_millis(state.dice.random_range(0..longest));
        state.stats.fault("request: outlives its sender");
        let transit = state.transits.len();
        state.transits.push(Transit { request, call: call.clone() });
        let at = self.clock.now() + self.clock.real_to_civil(span);
        state.will_happen(at, Happening::Arrival { transit });
    }

    /// A request arrives whose sender is dead; nobody hears the answer.
    pub fn arrives(&self, transit: usize) {
        let (request, call) = {
            let state = self.state();
            let transit = &state.transits[transit];
            (transit.request, transit.call.clone())
        };
        self.take_request(request, &call);
    }

    /// A request has arrived, or is lost on its way: decides everything, and lets the judge look at it.
    fn take_request(&self, request: usize, call: &OutboundCall) -> Answer {
        let world = self;
        let mut guard = world.state();
        let state = &mut *guard;
        let Sent { account, at: sent_at, .. } = state.sent[request];
        let plan = &world.scenario.accounts[account];
        let now = world.clock.now();
        let faults = if state.calm { 0.0 } else { world.scenario.faults.place };
        let fault = if state.dice.random_bool(faults) { state.dice.random_range(1..=12) } else { 0 };
        let after = Duration::from_millis(state.dice.random_range(1..400));
        let unknown = |reason: &str, accepted| PlaceReply::Unknown { reason: reason.to_owned(), accepted };
        let broken = state.accounts[account].broken_until.is_some_and(|until| now < until);
        let lag = plan.settings.list_lag_max.is_some();
        let mut late = 0.0;
        let (accepted, reply) = match fault {
            _ if broken => (false, PlaceReply::NotPlaced(NotPlaced::AccountStopped(AccountStanding::BalanceExhausted))),
            1 => (true, unknown("connection reset", false)),
            2 => (true, unknown("HTTP 500", false)),
            3 => (true, unknown("unreadable answer", true)),
            4 | 5 => (false, unknown("connection reset", false)),
            6 | 7 => {
                late = state.dice.random_range(3.5..if lag { 7.0 } else { 6.0 });
                (true, unknown("timeout", false))
            }
            8 => {
                let wait = Duration::from_millis(state.dice.random_range(200..3000));
                (false, PlaceReply::NotPlaced(NotPlaced::RateLimited { retry_after: Some(wait) }))
            }
            9 => {
                let reason = "refused".to_owned();
                (false, PlaceReply::NotPlaced(NotPlaced::Refused { status: 418, reason }))
            }
            10 if state.dice.random_bool(0.3) => {
                state.accounts[account].broken_until = Some(now + world.units(20.0));
                (false, PlaceReply::NotPlaced(NotPlaced::AccountStopped(AccountStanding::BalanceExhausted)))
            }
            11 => {
                let suppressed = state.dice.random_bool(0.5);
                let reason = "number refused".to_owned();
                (false, PlaceReply::NotPlaced(NotPlaced::NumberRefused { reason, suppressed }))
            }
            _ => (true, PlaceReply::Placed { call_id: None }),
        };
        let kind = match fault {
            _ if broken => Some("request: account out of balance"),
            1 => Some("request: answer lost"),
            2 => Some("request: HTTP 500, taken"),
            3 => Some("request: answer unreadable"),
            4 | 5 => Some("request: lost on its way"),
            6 | 7 => Some("request: timeout, taken late"),
            8 => Some("request: too many"),
            9 => Some("request: refused"),
            10 if !accepted => Some("request: account out of balance"),
            11 => Some("request: number refused"),
            _ => None,
        };
        if let Some(kind) = kind {
            state.stats.fault(kind);
        }
        let after = if matches!(fault, 6 | 7) { REQUEST_TIMEOUT } else { after };
        if matches!(reply, PlaceReply::Unknown { .. }) {
            state.stats.unknown += 1;
        }
        let mut reply = reply;
        if accepted {
            world.judge_arrival(state, request, call);
            state.sent[request].accepted = true;
            let made_at = now + world.units(late) + world.clock.real_to_civil(after / 2).min(world.units(1.0));
            let id = world.make_call(state, account, call, made_at);
            if let PlaceReply::Placed { call_id } = &mut reply {
                *call_id = plan.ids.then_some(id);
            }
        }
        world.note(state, &format!("sent {} at {sent_at}, fault {fault}", call.attempt_id.key().lead_id));
        state.stats.late += u32::from(sent_at < now);
        Answer { after, reply }
    }

    fn make_call(
        &self,
        state: &mut State,
        account: usize,
        request: &OutboundCall,
        made_at: Timestamp,
    ) -> ProviderCallId {
        let world = self;
        let dice = &mut state.dice;
        let outcome = pick(
            dice,
            &[
                Outcome::Answered,
                Outcome::Answered,
                Outcome::Answered,
                Outcome::Voicemail,
                Outcome::NoAnswer,
                Outcome::NoAnswer,
                Outcome::Busy,
                Outcome::Failed,
                Outcome::Canceled,
            ],
        );
        let (ring, talk) = match outcome {
            Outcome::Answered | Outcome::Voicemail => (dice.random_range(0.5..8.0), dice.random_range(0.5..24.0)),
            Outcome::NoAnswer => (8.0, 0.0),
            Outcome::Busy
            | Outcome::Failed
            | Outcome::Rejected
            | Outcome::Canceled
            | Outcome::NotPlaced
            | Outcome::Unknown => (dice.random_range(0.1..2.0), 0.0),
        };
        let over_at = made_at + world.units(ring + talk);
        let lag = dice.random_range(0.0..4.0);
        let mut extracted = Map::new();
        if outcome == Outcome::Answered {
            extracted.insert("booked".to_owned(), json!(dice.random_bool(0.5)));
            extracted.insert("do_not_call".to_owned(), json!(if dice.random_bool(0.05) { "true" } else { "false" }));
        }
        let settled_at = over_at + world.units(dice.random_range(0.0..2.0));
        state.accounts[account].call_no += 1;
        let id = ProviderCallId::new(state.accounts[account].call_no.to_string());
        let call = state.calls.len();
        state.calls.push(Call {
            account,
            id: id.clone(),
            attempt_id: request.attempt_id,
            assistant_id: request.assistant_id.clone(),
            phone: request.phone,
            made_at,
            shown_at: made_at + world.units(lag),
            over_at,
            settled_at,
            outcome,
            extracted,
            begun: false,
        });
        state.stats.calls += 1;
        state.will_happen(made_at, Happening::CallMade { call });
        id
    }
}

impl SimProvider {
    async fn step(&self, what: &str) {
        self.world.provider_step(&self.process, what).await;
    }

    /// The last look has let a request go: books it, and lets the judge look at it.
    fn leaves(&self, call: &OutboundCall, sent_at: Timestamp) -> usize {
        let world = &self.world;
        let mut guard = world.state();
        let state = &mut *guard;
        state.stats.sent += 1;
        let sent = Sent {
            account: self.account,
            attempt_id: call.attempt_id,
            phone: call.phone,
            campaign_id: call.attempt_id.key().campaign_id,
            at: world.clock.now(),
            accepted: false,
        };
        if sent_at != world.clock.of_process(&self.process).now() {
            world.violation(state, format!("attempt {} is sent at {sent_at}, which is not now", sent.attempt_id));
        }
        world.judge_request(state, &sent);
        state.sent.push(sent);
        state.sent.len() - 1
    }

    async fn before_read(&self, what: &str, urgency: Urgency) -> Result<(), ReadError> {
        let world = &self.world;
        self.step(what).await;
        if !self.guard.get().expect("an engine attaches its guard first").take(urgency) {
            return Err(ReadError::Unavailable { reason: "no request is left".to_owned() });
        }
        let (wait, fault) = {
            let mut state = world.state();
            let faults = if state.calm { 0.0 } else { world.scenario.faults.read };
            let fault = if state.dice.random_bool(faults) { state.dice.random_range(1..=8) } else { 0 };
            match fault {
                0 => {}
                1 => state.stats.fault("read: not found"),
                2 => state.stats.fault("read: too many"),
                3 => state.stats.fault("read: unreadable"),
                _ => state.stats.fault("read: unavailable"),
            }
            (Duration::from_millis(state.dice.random_range(0..100)), fault)
        };
        world.clock.sleep(wait).await;
        self.process.goes_on().await;
        let reason = "injected".to_owned();
        match fault {
            0 => Ok(()),
            1 => Err(ReadError::NotFound),
            2 => Err(ReadError::RateLimited { retry_after: Some(Duration::from_millis(700)) }),
            3 => Err(ReadError::Unreadable { reason }),
            4..=5 => {
                world.clock.sleep(Duration::from_secs(2)).await;
                Err(ReadError::Unavailable { reason })
            }
            _ => Err(ReadError::Unavailable { reason }),
        }
    }

    async fn after_read(&self) {
        let wait = Duration::from_millis(self.world.state().dice.random_range(0..150));
        self.world.clock.sleep(wait).await;
        self.step("read").await;
    }

    fn body(&self, call: &Call, over: bool, object: bool) -> Bytes {
        body(&self.world, call, over, object)
    }
}

/// A report about a call, as the account's brand writes it.
pub(super) fn body(world: &World, call: &Call, over: bool, object: bool) -> Bytes {
    let plan = &world.scenario.accounts[call.account];
    let mut body = json!({ "id": call.id.as_str(), "phone": call.phone.e164(), "phase": "live" });
    if plan.echo {
        body["token"] = json!(call.attempt_id.to_string());
    }
    body["assistant"] = json!(format!("Assistant {}", call.assistant_id));
    if plan.dated {
        body["made_at"] = json!(call.made_at.to_string());
    } else if plan.page_size == 5 {
        // A brand that writes its own zone's time and does not say which.
        let ahead = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        body["made_at_somewhere"] = json!(call.made_at.to_zoned(ahead).datetime().to_string());
    }
    if over {
        body["phase"] = json!(match call.outcome {
            Outcome::Answered | Outcome::Voicemail => "answered",
            other @ (Outcome::NoAnswer
            | Outcome::Busy
            | Outcome::Failed
            | Outcome::Rejected
            | Outcome::Canceled
            | Outcome::NotPlaced
            | Outcome::Unknown) => other.as_str(),
        });
        // What was canceled did not ring.
        let rang = call.outcome != Outcome::Canceled;
        body["seconds"] = json!(if rang { call.over_at.duration_since(call.made_at).as_secs() } else { 0 });
        if plan.dated {
            body["over_at"] = json!(call.over_at.to_string());
        }
        body["extracted"] = Value::Object(call.extracted.clone());
        if object && matches!(call.outcome, Outcome::Answered | Outcome::Voicemail) {
            body["by"] = json!(if call.outcome == Outcome::Voicemail { "machine" } else { "human" });
        }
    }
    Bytes::from(body.to_string())
}

fn decode(source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
    let wrong = |field: &str| Undecodable { field: field.to_owned(), problem: "not as documented".to_owned() };
    let body: Value = serde_json::from_slice(body).map_err(|_| wrong("."))?;
    let text = |field: &str| body[field].as_str();
    let time = |field: &str| text(field).and_then(|text| text.parse::<Timestamp>().ok());
    let status = text("phase").ok_or_else(|| wrong("phase"))?;
    let phase = match status {
        "live" => Phase::Live,
        "answered" => Phase::AnsweredOver,
        word => Phase::NotReached(word.parse().map_err(|_| wrong("phase"))?),
    };
    Ok(CallReport {
        source,
        call_id: text("id").map(ProviderCallId::new),
        token: text("token").map(str::to_owned),
        phone: text("phone").and_then(|phone| PhoneNumber::from_stored(phone).ok()),
        phase,
        status: status.to_owned(),
        answered_by: match text("by") {
            Some("machine") => Some(AnsweredBy::Machine),
            Some(_) => Some(AnsweredBy::Human),
            None => None,
        },
        duration_seconds: body["seconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok()),
        created_at: time("made_at"),
        finished_at: time("over_at"),
        cost: None,
        transcript: None,
        recording_url: None,
        extracted: body["extracted"].as_object().cloned().unwrap_or_default(),
        hints: Hints {
            assistant_name: text("assistant").map(str::to_owned),
            created: text("made_at_somewhere").and_then(|text| text.parse().ok()),
        },
    })
}

/// When webhooks of a call come: none, one, several; late; in any order.
pub(super) fn webhooks(dice: &mut ChaCha8Rng, faults: f64) -> Vec<(bool, f64)> {
    let mut hooks = Vec::new();
    if dice.random_bool(0.3) {
        hooks.push((false, dice.random_range(0.0..40.0)));
    }
    if dice.random_bool(faults * 0.5) {
        match dice.random_range(0..3) {
            0 => {}
            1 => hooks.extend([(true, dice.random_range(0.0..3.0)), (true, dice.random_range(0.0..20.0))]),
            _ => hooks.push((true, dice.random_range(5.0..30.0))),
        }
    } else {
        hooks.push((true, dice.random_range(0.0..2.0)));
    }
    hooks
}
