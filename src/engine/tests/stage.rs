//! One account, one campaign, one list; a provider on strings; a clock that stands still until everybody waits.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::time::Instant;
use tracing::Level;

use crate::adapter::memory::{Fault, MemoryStore, NewLead, World};
use crate::domain::assistant::{Assistant, AssistantDetails};
use crate::domain::attempt::OpenState;
use crate::domain::campaign::{CampaignState, Day, Pacing};
use crate::domain::id::{
    AccountName, AssistantId, AttemptId, AttemptKey, CampaignId, Installation, LeadId, OwnerId, ProviderCallId,
};
use crate::domain::outcome::Outcome;
use crate::domain::person::PersonLimits;
use crate::domain::phone::PhoneNumber;
use crate::domain::report::{CallReport, Hints, Phase, Source, Undecodable};
use crate::engine::Engine;
use crate::engine::driver::Driver;
use crate::engine::settings::{AccountSettings, Periods, Settings};
use crate::port::allowance::{Quota, RequestGuard, Urgency};
use crate::port::clock::Clock;
use crate::port::permit::{DialPermit, OutboundCall};
use crate::port::provider::{AccountStanding, CallPage, CallQuery, NotPlaced, PlaceReply, Provider, ReadError};
use crate::port::store::{OpenAttempt, RetentionPolicy, Store};
use crate::simulation::trace::LogEvents;

/// Monday, 10:00 in Berlin.
pub const ORIGIN: &str = "2026-03-02T09:00:00Z";
const INSTALLATION: Installation = Installation::new(7);

/// Virtual time, at its own pace.
#[derive(Clone)]
pub struct TestClock {
    origin: Timestamp,
    start: Instant,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let at = self.origin + SignedDuration::try_from(self.start.elapsed()).expect("tests are short");
        Timestamp::from_microsecond(at.as_microsecond()).expect("it was a timestamp before it lost its nanoseconds")
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.start.elapsed()).expect("tests are short")
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn real_to_civil(&self, span: Duration) -> SignedDuration {
        SignedDuration::try_from(span).expect("tests are short")
    }

    fn civil_to_real(&self, span: SignedDuration) -> Duration {
        span.try_into().unwrap_or(Duration::ZERO)
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// Decides the answer to a request for a call.
pub type Answering = Box<dyn FnMut(&OutboundCall) -> PlaceReply + Send>;

/// What the provider does and has seen.
pub struct Script {
    pub answer: Answering,
    pub answer_after: Duration,
    pub standing: Result<AccountStanding, u16>,
    pub assistants: Vec<&'static str>,
    /// The calls it lists, newest first.
    pub calls: Vec<Value>,
    /// Whether the filter by number works.
    pub lists: bool,
    /// Words of the status that it takes for the end of a call, and what it says then.
    pub understood: BTreeMap<&'static str, Phase>,
    /// What every answer says about its limits.
    pub quota: Quota,
    pub sent: Vec<(Timestamp, AttemptId)>,
    pub asked: Vec<(Timestamp, String)>,
}

impl Script {
    /// Requests of all kinds that were sent in the minute before a moment.
    pub fn requests_before(&self, at: Timestamp) -> usize {
        let from = at - SignedDuration::from_mins(1);
        let sent = self.sent.iter().map(|(at, _)| *at);
        sent.chain(self.asked.iter().map(|(at, _)| *at)).filter(|when| from < *when && *when <= at).count()
    }
}

/// The provider. Clones share the script.
#[derive(Clone)]
pub struct Stub {
    script: Arc<Mutex<Script>>,
    guard: Arc<OnceLock<Arc<dyn RequestGuard>>>,
    clock: TestClock,
}

impl Stub {
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn ask(&self, what: &str, urgency: Urgency) -> Result<MutexGuard<'_, Script>, ReadError> {
        let guard = self.guard.get().expect("an engine attaches its guard first");
        if !guard.take(urgency) {
            return Err(ReadError::Unavailable { reason: "no request is left".to_owned() });
        }
        let quota = self.script().quota;
        guard.told(quota);
        let mut script = self.script();
        script.asked.push((self.clock.now(), what.to_owned()));
        Ok(script)
    }
}

impl Provider for Stub {
    fn attach(&self, guard: Arc<dyn RequestGuard>) {
        assert!(self.guard.set(guard).is_ok(), "an account has one engine");
    }

    async fn place(&self, permit: DialPermit) -> PlaceReply {
        let (call, mut departure) = permit.into_parts();
        let sent_at = match departure.depart().await {
            Ok(sent_at) => sent_at,
            Err(refusal) => return PlaceReply::NotPlaced(NotPlaced::Unsent(refusal)),
        };
        let (reply, after, quota) = {
            let mut script = self.script();
            script.sent.push((sent_at, call.attempt_id));
            ((script.answer)(&call), script.answer_after, script.quota)
        };
        tokio::time::sleep(after).await;
        self.guard.get().expect("an engine attaches its guard first").told(quota);
        reply
    }

    async fn read_call(&self, id: &ProviderCallId) -> Result<Bytes, ReadError> {
        let script = self.ask(&format!("read {id}"), Urgency::Read)?;
        let found = script.calls.iter().find(|call| call["id"].as_str() == Some(id.as_str()));
        found.map(|call| Bytes::from(call.to_string())).ok_or(ReadError::NotFound)
    }

    async fn list_calls(&self, query: &CallQuery) -> Result<CallPage, ReadError> {
        let script = self.ask(&format!("list {}", query.page), Urgency::Read)?;
        if !script.lists {
            return Err(ReadError::Unavailable { reason: "out of order".to_owned() });
        }
        let wanted = query.phone.map(|phone| phone.e164().to_owned());
        let calls = script.calls.iter().filter(|call| wanted.is_none() || call["phone"].as_str() == wanted.as_deref());
        let mut rest = calls.skip((query.page as usize - 1) * 100).map(|call| Bytes::from(call.to_string()));
        let calls: Vec<Bytes> = rest.by_ref().take(100).collect();
        Ok(CallPage { calls, more: rest.next().is_some() })
    }

    async fn assistants(&self) -> Result<Vec<Assistant>, ReadError> {
        let script = self.ask("assistants", Urgency::Read)?;
        let assistant = |(index, name): (usize, &&str)| Assistant {
            assistant_id: AssistantId::new((index + 1).to_string()),
            name: (*name).to_owned(),
            active: true,
            status: "active".to_owned(),
            mode: None,
            language_id: None,
            webhook_url: None,
            variables: Vec::new(),
            details: AssistantDetails::default(),
        };
        Ok(script.assistants.iter().enumerate().map(assistant).collect())
    }

    async fn health(&self) -> Result<AccountStanding, ReadError> {
        let script = self.ask("me", Urgency::Verdict)?;
        script.standing.clone().map_err(|status| ReadError::Unavailable { reason: format!("HTTP {status}") })
    }

    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        let wrong = |field: &str| Undecodable { field: field.to_owned(), problem: "not as documented".to_owned() };
        let body: Value = serde_json::from_slice(body).map_err(|_| wrong("."))?;
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let status = text("status").ok_or_else(|| wrong("status"))?;
        Ok(CallReport {
            source,
            call_id: text("id").map(ProviderCallId::new),
            token: text("token"),
            phone: text("phone").and_then(|phone| PhoneNumber::from_stored(&phone).ok()),
            phase: self.script().understood.get(status.as_str()).cloned().unwrap_or(Phase::Unrecognised),
            status,
            answered_by: None,
            duration_seconds: None,
            created_at: text("created_at").and_then(|text| text.parse().ok()),
            finished_at: None,
            cost: None,
            transcript: None,
            recording_url: None,
            extracted: serde_json::Map::new(),
            hints: Hints {
                assistant_name: text("assistant"),
                created: text("created").and_then(|text| text.parse().ok()),
            },
        })
    }
}

/// Everything a test looks at.
pub struct Stage {
    pub store: MemoryStore,
    /// Whether the engine cannot reach the database; the test always can.
    pub away: Arc<AtomicBool>,
    pub clock: TestClock,
    pub provider: Stub,
    pub engine: Arc<Engine<MemoryStore, Stub, TestClock>>,
    pub logs: LogEvents,
    pub campaign_id: CampaignId,
}

/// What differs from one test to the next.
pub struct Plan {
    pub leads: u32,
    pub limits: Pacing,
    pub requests_per_minute: Option<u32>,
    pub list_lag_max: Option<SignedDuration>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            leads: 50,
            limits: limits(None, 20),
            requests_per_minute: None,
            list_lag_max: Some(SignedDuration::from_secs(30)),
        }
    }
}

/// So many starts a minute, so many lines.
pub fn limits(per_minute: Option<u32>, lines: u32) -> Pacing {
    Pacing {
        calls_per_second: None,
        calls_per_minute: per_minute.and_then(NonZeroU32::new),
        concurrent_calls: NonZeroU32::new(lines),
        calls_per_day: None,
        day: Day::Rolling,
    }
}

pub fn account() -> AccountName {
    AccountName::new("main")
}

/// Runs a test in paused time, with its logs.
pub fn rehearse(plan: Plan, test: impl AsyncFnOnce(&Stage)) {
    let logs = LogEvents::default();
    let collected = logs.clone();
    collected.collect(Level::INFO, || {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let stage = Stage::new(&plan, logs);
            test(&stage).await;
            assert_eq!(stage.store.check_invariants(), Vec::<String>::new());
        });
    });
}

impl Stage {
    fn new(plan: &Plan, logs: LogEvents) -> Self {
        let clock = TestClock { origin: ORIGIN.parse().unwrap(), start: Instant::now() };
        let database_clock = clock.clone();
        let store = MemoryStore::new(INSTALLATION, Arc::new(move || database_clock.start.elapsed()));
        let list = store.insert_list("people");
        let lead = |number: u32| NewLead {
            time_zone: Some("Europe/Berlin".to_owned()),
            ..NewLead::with_phone(phone(number).e164())
        };
        store.insert_leads(list, (1..=plan.leads).map(lead));
        let campaign_id = store.insert_campaign("spring", CampaignState::Active, definition());
        let script = Script {
            answer: Box::new(|_| PlaceReply::Placed { call_id: None }),
            answer_after: Duration::from_millis(500),
            standing: Ok(AccountStanding::Good { balance: None }),
            assistants: vec!["Ann"],
            calls: Vec::new(),
            lists: true,
            understood: BTreeMap::from([
                ("ringing", Phase::Live),
                ("busy", Phase::NotReached(Outcome::Busy)),
                ("completed", Phase::AnsweredOver),
            ]),
            quota: Quota::default(),
            sent: Vec::new(),
            asked: Vec::new(),
        };
        let provider =
            Stub { script: Arc::new(Mutex::new(script)), guard: Arc::new(OnceLock::new()), clock: clock.clone() };
        let away = Arc::new(AtomicBool::new(false));
        let is_away = Arc::clone(&away);
        let reached = store.with_faults(Arc::new(move |_, _| match is_away.load(Ordering::Relaxed) {
            true => Fault::Unavailable,
            false => Fault::None,
        }));
        let engine = Engine::new(reached, clock.clone(), settings(), vec![(account_settings(plan), provider.clone())]);
        Self { store, away, clock, provider, engine, logs, campaign_id }
    }

    /// Starts the passes; they run while the test waits.
    pub fn start(&self) -> Driver {
        Driver::start(&self.engine)
    }

    /// Takes the lease and reads the tables, for tests that run the passes by hand.
    pub async fn prepare(&self) {
        self.engine.renew_leases().await.unwrap();
        self.engine.refresh_view().await.unwrap();
        self.engine.turn_campaigns().await.unwrap();
        while self.engine.enrol().await.unwrap() > 0 {}
        self.engine.refresh_view().await.unwrap();
        assert!(self.engine.read_roster(&account()).await.unwrap());
    }

    pub async fn wait(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Log lines of a level that hold all these words. They are kept for the next question.
    pub fn told(&self, level: Level, words: &str) -> usize {
        let all = self.logs.take();
        let found = all.iter().filter(|(of, text)| *of == level && text.contains(words)).count();
        self.logs.put_back(all);
        found
    }

    pub fn problem(&self) -> Option<String> {
        self.store.inspect(|tables| tables.account_state.get(&account())?.problem.clone())
    }

    pub fn open(&self) -> Vec<OpenAttempt> {
        self.store.inspect(|tables| tables.open_attempt.values().cloned().collect())
    }

    pub fn attempts<T>(&self, of: impl FnOnce(&World) -> T) -> T {
        self.store.inspect(of)
    }

    /// How many attempts were refused for a reason nobody documents.
    pub fn refused(&self) -> usize {
        self.attempts(|tables| tables.attempt.values().filter(|attempt| attempt.refused).count())
    }

    /// Attempts that were placed a while ago with their calls' ids, one for each of the first leads.
    pub async fn placed(&self, leads: u32) {
        use crate::port::store::{DialIntent, ReplyFact, ReplyRecord};
        let lease = self.engine.held_lease(&self.engine.accounts[&account()]).unwrap().lease;
        let now = self.clock.now();
        let due: Vec<_> = (1..=leads)
            .filter_map(|lead| self.attempts(|tables| tables.due_of(self.campaign_id, LeadId(lead.into()))))
            .collect();
        assert_eq!(due.len(), leads as usize, "each of the leads is due");
        let intents: Vec<DialIntent> = due
            .into_iter()
            .map(|due| DialIntent {
                attempt_id: attempt(self.campaign_id, due.lead_id),
                due,
                campaign_version: 1,
                lead_version: 1,
                assistant_id: AssistantId::new("1"),
                deadline_at: now + SignedDuration::from_hours(2),
                newest_call_known: None,
                evidence: String::new(),
            })
            .collect();
        assert_eq!(self.store.begin_dials(&lease, &intents, None, now).await.unwrap().len(), intents.len());
        let replies: Vec<ReplyRecord> = intents
            .iter()
            .map(|intent| ReplyRecord {
                attempt_id: intent.attempt_id,
                sent_at: Some(now),
                reply: ReplyFact::Placed {
                    call_id: Some(call_id(intent.due.lead_id)),
                    poll_at: now,
                    deadline_at: None,
                },
            })
            .collect();
        assert_eq!(self.store.record_replies(&replies).await.unwrap().len(), intents.len());
        assert!(self.open().iter().all(|open| open.state == OpenState::Placed));
    }
}

/// The first attempt for a lead.
pub fn attempt(campaign_id: CampaignId, lead_id: LeadId) -> AttemptId {
    AttemptId::derive(INSTALLATION, AttemptKey { campaign_id, lead_id, attempt_no: 1 })
}

/// The id of the call that is [`Stage::placed`] for a lead.
pub fn call_id(lead_id: LeadId) -> ProviderCallId {
    ProviderCallId::new((10_000 + lead_id.0).to_string())
}

pub fn phone(number: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+4930{}", 1_000_000 + number)).unwrap()
}

fn definition() -> Value {
    json!({
        "account": "main",
        "lead_lists": ["people"],
        "schedule": { "windows": { "daily": ["00:00-24:00"] }, "time_zone": "Europe/Berlin" },
        "retry": { "max_attempts": 3, "on": { "busy": { "after": "1h" } } },
    })
}

fn settings() -> Settings {
    Settings {
        owner: OwnerId(uuid::Uuid::from_u128(1)),
        name: "test".to_owned(),
        lease_ttl: Duration::from_secs(60),
        zombie_horizon: Duration::from_secs(15),
        request_timeout: Duration::from_secs(30),
        drain_max: Duration::from_secs(30),
        person: PersonLimits {
            calls_per_day: None,
            day: Day::Rolling,
            min_gap_between_campaigns: SignedDuration::ZERO,
        },
        retention: RetentionPolicy { inbox_days: 30, payload_days: 30, history_days: None },
        periods: Periods {
            control: Duration::from_millis(500),
            dispatch: Duration::from_millis(500),
            collect: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            enrol: Duration::from_secs(2),
            campaign: Duration::from_secs(2),
            retain: Duration::from_secs(600),
        },
    }
}

fn account_settings(plan: &Plan) -> AccountSettings {
    AccountSettings {
        name: account(),
        limits: plan.limits.clone(),
        requests_per_minute: plan.requests_per_minute,
        requests_burst: None,
        webhook_address: None,
        list_lag_max: plan.list_lag_max,
        ring_max: SignedDuration::from_secs(60),
        call_max: SignedDuration::from_mins(20),
        settle_after: SignedDuration::from_secs(30),
        roster_period: Duration::from_secs(300),
    }
}
