//! The engine with providers that cannot do everything: lists that prove nothing, calls that wait at the provider, results
//! that only one kind of read tells. Virtual time, the database in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use outdial::adapter::memory::{MemoryStore, NewLead, World};
use outdial::domain::assistant::{Assistant, AssistantDetails};
use outdial::domain::attempt::{MatchBasis, OpenState};
use outdial::domain::campaign::{CampaignState, Day, Pacing};
use outdial::domain::id::{AccountName, AssistantId, CampaignId, Installation, OwnerId, ProviderCallId};
use outdial::domain::outcome::Outcome;
use outdial::domain::person::{PersonLimits, Suppression};
use outdial::domain::phone::PhoneNumber;
use outdial::domain::report::{CallReport, Hints, Phase, Source, Undecodable};
use outdial::engine::Engine;
use outdial::engine::driver::Driver;
use outdial::engine::settings::{AccountSettings, Periods, Settings};
use outdial::port::allowance::RequestGuard;
use outdial::port::clock::Clock;
use outdial::port::permit::DialPermit;
use outdial::port::provider::{
    Abilities, AccountStanding, CallPage, CallQuery, CancelError, PlaceReply, Provider, ReadError, ResultReads,
};
use outdial::port::store::RetentionPolicy;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

/// A Monday morning.
const ORIGIN: &str = "2026-03-02T09:00:00Z";
const CALL: &str = "5d0cba55-0f65-4f0b-8e7c-3b9f0a4e1c01";

#[derive(Clone)]
struct TestClock {
    origin: Timestamp,
    began: Instant,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let at = self.origin + self.real_to_civil(self.began.elapsed());
        Timestamp::from_microsecond(at.as_microsecond()).unwrap()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.began.elapsed()).expect("tests are short")
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn real_to_civil(&self, span: Duration) -> SignedDuration {
        SignedDuration::try_from(span).unwrap()
    }

    fn civil_to_real(&self, span: SignedDuration) -> Duration {
        Duration::try_from(span).unwrap_or(Duration::ZERO)
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// A provider that does as it is told and remembers what it was asked.
#[derive(Default)]
struct Script {
    /// Whether the answer to a request for a call is lost.
    loses_answers: bool,
    /// Whether the client fails at the request, by a mistake of its own.
    panics: bool,
    /// What a read of the call says; `None`: not found.
    phase: Option<&'static str>,
    /// What the list holds.
    listed: Vec<Value>,
    /// What went along with the last request.
    token: Option<String>,
    placed: u32,
    canceled: Vec<String>,
    reads: u32,
    lists: u32,
}

#[derive(Clone)]
struct Stub {
    script: Arc<Mutex<Script>>,
    abilities: Abilities,
}

impl Stub {
    fn new(abilities: Abilities) -> Self {
        Self { script: Arc::default(), abilities }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Provider for Stub {
    fn attach(&self, _: Arc<dyn RequestGuard>) {}

    async fn place(&self, permit: DialPermit) -> PlaceReply {
        let (call, mut departure) = permit.into_parts();
        departure.depart().await.unwrap();
        let panics = {
            let mut script = self.script();
            script.placed += 1;
            script.token = Some(call.attempt_id.to_string());
            script.panics
        };
        assert!(!panics, "a mistake of the client's own");
        let script = self.script();
        match script.loses_answers {
            true => PlaceReply::Unknown { reason: "timed out".to_owned(), accepted: false },
            false => PlaceReply::Placed { call_id: Some(ProviderCallId::new(CALL)) },
        }
    }

    async fn read_call(&self, id: &ProviderCallId) -> Result<Bytes, ReadError> {
        let mut script = self.script();
        script.reads += 1;
        let phase = script.phase.ok_or(ReadError::NotFound)?;
        Ok(json!({"id": id.as_str(), "phase": phase}).to_string().into())
    }

    async fn list_calls(&self, _: &CallQuery) -> Result<CallPage, ReadError> {
        let mut script = self.script();
        script.lists += 1;
        let calls = script.listed.iter().map(|call| Bytes::from(call.to_string())).collect();
        Ok(CallPage { calls, more: false })
    }

    async fn assistants(&self) -> Result<Vec<Assistant>, ReadError> {
        Ok(vec![Assistant {
            assistant_id: AssistantId::new("renewals"),
            name: "Renewals".to_owned(),
            active: true,
            status: "declared".to_owned(),
            mode: None,
            language_id: None,
            webhook_url: None,
            variables: Vec::new(),
            details: AssistantDetails::default(),
        }])
    }

    async fn health(&self) -> Result<AccountStanding, ReadError> {
        Ok(AccountStanding::Good { balance: None })
    }

    async fn cancel(&self, id: &ProviderCallId) -> Result<(), CancelError> {
        let mut script = self.script();
        script.canceled.push(id.to_string());
        script.phase = Some("canceled");
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        self.abilities
    }

    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        let call: Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| call[name].as_str().map(str::to_owned);
        Ok(CallReport {
            source,
            call_id: text("id").map(ProviderCallId::new),
            token: text("token"),
            phone: None,
            phase: match call["phase"].as_str().unwrap() {
                "queued" => Phase::Queued,
                "answered" => Phase::AnsweredOver,
                "part_over" => Phase::PartOver,
                "canceled" => Phase::NotReached(Outcome::Canceled),
                _ => Phase::Live,
            },
            status: text("phase").unwrap(),
            answered_by: None,
            duration_seconds: None,
            created_at: None,
            finished_at: None,
            cost: None,
            transcript: None,
            recording_url: None,
            extracted: Map::new(),
            hints: Hints::default(),
        })
    }
}

struct Scene {
    store: MemoryStore,
    provider: Stub,
    engine: Arc<Engine<MemoryStore, Stub, TestClock>>,
    campaign: CampaignId,
    _driver: Driver,
}

const PHONE: &str = "+14155550132";

/// A daemon with one campaign and one lead, who may be called from 09:00 to 09:15.
fn scene(
    abilities: Abilities,
    list_lag_max: Option<SignedDuration>,
    more: Value,
    told: impl FnOnce(&mut Script),
) -> Scene {
    let clock = TestClock { origin: ORIGIN.parse().unwrap(), began: Instant::now() };
    let began = clock.began;
    let store = MemoryStore::new(Installation::new(7), Arc::new(move || began.elapsed()));
    let list = store.insert_list("leads");
    let mut definition = json!({
        "account": "main",
        "lead_lists": ["leads"],
        "schedule": { "time_zone": "Etc/UTC", "windows": { "mon": "09:00-09:15" } },
    });
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let campaign = store.insert_campaign("spring", CampaignState::Active, definition);
    let lead = NewLead { time_zone: Some("Etc/UTC".to_owned()), ..NewLead::with_phone(PHONE) };
    store.insert_lead(list, lead);
    let account = AccountSettings {
        name: AccountName::new("main"),
        limits: Pacing::default(),
        requests_per_minute: Some(60),
        requests_burst: None,
        webhook_address: None,
        list_lag_max,
        ring_max: SignedDuration::from_mins(1),
        call_max: SignedDuration::from_mins(20),
        settle_after: SignedDuration::from_secs(30),
        roster_period: Duration::from_secs(60),
    };
    let settings = Settings {
        owner: OwnerId(Uuid::from_u128(1)),
        name: "test".to_owned(),
        lease_ttl: Duration::from_secs(6),
        zombie_horizon: Duration::from_secs(600),
        request_timeout: Duration::from_secs(15),
        drain_max: Duration::from_secs(30),
        person: PersonLimits {
            calls_per_day: None,
            day: Day::Rolling,
            min_gap_between_campaigns: SignedDuration::ZERO,
        },
        retention: RetentionPolicy { inbox_days: 30, payload_days: 30 },
        // Hours pass in each test; nothing in them is about how fast a pass is.
        periods: Periods {
            control: Duration::from_millis(800),
            dispatch: Duration::from_secs(1),
            collect: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            enrol: Duration::from_secs(1),
            campaign: Duration::from_secs(5),
            retain: Duration::from_secs(60),
        },
    };
    let provider = Stub::new(abilities);
    told(&mut provider.script());
    let engine = Engine::new(store.clone(), clock, settings, vec![(account, provider.clone())]);
    let driver = Driver::start(&engine);
    Scene { store, provider, engine, campaign, _driver: driver }
}

impl Scene {
    /// Lets time pass.
    async fn pass(&self, minutes: u64) {
        self.engine.clock.sleep(Duration::from_secs(60 * minutes)).await;
    }

    fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        self.store.inspect(look)
    }

    fn open_state(&self) -> Option<OpenState> {
        self.look(|world| world.open_attempt.values().map(|open| open.state).next())
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.look(|world| world.attempt.values().filter_map(|past| past.end.as_ref().map(|end| end.outcome)).collect())
    }
}

/// As HappyRobot's v2: results by single reads, a list that shows neither number nor attempt, and a way to cancel.
const BLIND: Abilities = Abilities {
    list_proves_absence: false,
    empty_list_is_believed: true,
    results: ResultReads::Call,
    read_requests: 2,
    list_requests: 1,
    takes_call_options: false,
    cancels: true,
};

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_nothing_never_proves_that_nothing_was_placed() {
    let lag = Some(SignedDuration::from_mins(1));
    let scene = scene(BLIND, lag, json!({}), |script| script.loses_answers = true);
    scene.pass(40).await;
    assert_eq!(scene.open_state(), Some(OpenState::Held));
    assert_eq!((scene.provider.script().placed, scene.outcomes()), (1, vec![]), "nobody is rung again");
    assert!(scene.provider.script().lists > 0, "it was looked for");
}

#[tokio::test(start_paused = true)]
async fn the_same_list_of_a_provider_that_shows_numbers_does() {
    let lag = Some(SignedDuration::from_mins(1));
    let abilities = Abilities { list_proves_absence: true, ..BLIND };
    let scene = scene(abilities, lag, json!({}), |script| script.loses_answers = true);
    scene.pass(10).await;
    assert!(scene.provider.script().placed > 1);
    assert!(scene.outcomes().iter().all(|outcome| *outcome == Outcome::NotPlaced) && !scene.outcomes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_may_be_asked_for_wrongly_is_not_believed_while_it_has_shown_nothing() {
    let lag = Some(SignedDuration::from_mins(1));
    let abilities = Abilities { list_proves_absence: true, empty_list_is_believed: false, ..BLIND };
    let scene = scene(abilities, lag, json!({}), |script| script.loses_answers = true);
    scene.pass(10).await;
    assert_eq!((scene.provider.script().placed, scene.open_state()), (1, Some(OpenState::InDoubt)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_fails_leaves_a_doubt_and_the_account_at_work() {
    let scene = scene(BLIND, None, json!({}), |script| script.panics = true);
    scene.pass(1).await;
    assert_eq!((scene.open_state(), scene.provider.script().placed), (Some(OpenState::InDoubt), 1));
    scene.provider.script().panics = false;
    let list = scene.look(|world| world.lead_list.keys().next().copied()).unwrap();
    let other = NewLead { time_zone: Some("Etc/UTC".to_owned()), ..NewLead::with_phone("+14155550133") };
    scene.store.insert_lead(list, other);
    scene.pass(1).await;
    assert_eq!(scene.provider.script().placed, 2, "another person is called meanwhile");
}

#[tokio::test(start_paused = true)]
async fn opaque_ids_are_matched_by_our_token() {
    let scene = scene(BLIND, None, json!({}), |script| script.loses_answers = true);
    scene.pass(1).await;
    assert_eq!(scene.open_state(), Some(OpenState::InDoubt));
    {
        let mut script = scene.provider.script();
        let token = script.token.clone();
        script.listed =
            vec![json!({"id": "another-run", "phase": "live"}), json!({"id": CALL, "phase": "live", "token": token})];
        script.phase = Some("answered");
    }
    scene.pass(5).await;
    assert_eq!((scene.provider.script().placed, scene.outcomes()), (1, vec![Outcome::Answered]));
    let bound = scene.look(|world| world.provider_call.values().map(|(_, basis)| *basis).collect::<Vec<_>>());
    assert_eq!(bound, [MatchBasis::Token]);
}

#[tokio::test(start_paused = true)]
async fn a_held_attempt_is_settled_by_an_entry_that_says_nothing_but_whose_it_is() {
    let scene = scene(BLIND, None, json!({}), |script| script.loses_answers = true);
    scene.pass(40).await;
    assert_eq!(scene.open_state(), Some(OpenState::Held));
    {
        let mut script = scene.provider.script();
        let token = script.token.clone();
        // The list shows whose run it is, and only a read of the run what became of it.
        script.listed = vec![json!({"id": CALL, "phase": "live", "token": token})];
        script.phase = Some("answered");
    }
    scene.pass(40).await;
    assert_eq!((scene.provider.script().placed, scene.outcomes()), (1, vec![Outcome::Answered]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_at_the_provider_is_taken_back_once_when_the_window_closes() {
    let scene = scene(BLIND, None, json!({}), |script| script.phase = Some("queued"));
    scene.pass(10).await;
    assert!(scene.provider.script().reads > 3 && scene.provider.script().canceled.is_empty(), "the window is open");
    scene.pass(7).await;
    assert_eq!(scene.provider.script().canceled, [CALL]);
    scene.pass(60).await;
    assert_eq!(scene.provider.script().canceled, [CALL], "once");
    assert_eq!(scene.outcomes(), [Outcome::Canceled]);
    assert_eq!(scene.provider.script().placed, 1, "the window is closed");
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_back_what_has_not_begun_and_leaves_what_has() {
    for (phase, taken_back) in [("queued", 1), ("live", 0)] {
        let scene = scene(BLIND, None, json!({}), |script| script.phase = Some(phase));
        scene.pass(1).await;
        scene.store.add_stop(None, "panic");
        scene.pass(3).await;
        assert_eq!(scene.provider.script().canceled.len(), taken_back, "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suppressed_person_is_not_rung_by_a_call_that_waits() {
    let scene = scene(BLIND, None, json!({}), |script| script.phase = Some("queued"));
    scene.pass(1).await;
    let entry = Suppression { reason: "asked for it".to_owned(), expires_at: None };
    scene.store.add_suppression(&PhoneNumber::parse(PHONE).unwrap(), None, entry);
    scene.pass(3).await;
    assert_eq!(scene.provider.script().canceled, [CALL]);
    assert_eq!(scene.provider.script().placed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_definition_written_by_sql_is_not_dialed_with_options_nobody_takes() {
    let more = json!({ "call": { "voice_id": "v-1" } });
    let refused = scene(BLIND, None, more.clone(), |_| {});
    refused.pass(2).await;
    assert_eq!(refused.provider.script().placed, 0);
    let note = refused.look(|world| world.campaign[&refused.campaign].note.clone());
    assert!(note.is_some_and(|note| note.contains("takes no call options")));
    let taken = scene(Abilities { takes_call_options: true, ..BLIND }, None, more, |_| {});
    taken.pass(2).await;
    assert_eq!(taken.provider.script().placed, 1);
}

#[tokio::test(start_paused = true)]
async fn results_are_read_where_the_provider_tells_them() {
    for (results, read, listed) in [(ResultReads::Call, true, false), (ResultReads::List, false, true)] {
        let scene = scene(Abilities { results, ..BLIND }, None, json!({}), |script| {
            script.phase = Some("answered");
            script.listed = vec![json!({"id": CALL, "phase": "answered"})];
        });
        // At the start the list is read once, to know which calls are not ours.
        scene.pass(5).await;
        let script = scene.provider.script();
        assert_eq!((script.reads > 0, script.lists > 1), (read, listed), "{results:?}");
        drop(script);
        assert_eq!(scene.outcomes(), [Outcome::Answered], "{results:?}");
    }
}
