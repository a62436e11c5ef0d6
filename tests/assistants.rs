//! What the engine makes of the provider's assistants: who may speak, for how long, and what happens when one is changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::memory::{MemoryStore, NewLead};
use outdial::adapter::provider::brand::FAMULOR;
use outdial::adapter::provider::{AnyProvider, Autocalls, AutocallsOptions};
use outdial::config::ApiPaths;
use outdial::domain::attempt::OpenState;
use outdial::domain::campaign::{CampaignState, Pacing};
use outdial::domain::id::{AccountName, CampaignId, Installation, LeadListId, OwnerId};
use outdial::domain::person::PersonLimits;
use outdial::engine::Engine;
use outdial::engine::settings::{AccountSettings, Periods, Settings};
use outdial::port::store::{OpenAttempt, RetentionPolicy, Store};
use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// Monday, 10:00 in Berlin.
const NOW: &str = "2026-03-02T09:00:00Z";
const ADDRESS: &str = "https://dial.example.org/webhook/main/";

/// An engine whose passes run when a test says so, and a provider with one assistant.
struct Scene {
    provider: MockServer,
    store: MemoryStore,
    engine: Arc<Engine<MemoryStore, AnyProvider, ScaledClock>>,
    account: AccountName,
    list: LeadListId,
    campaign: CampaignId,
    leads: u32,
    calls: Arc<AtomicU64>,
}

fn assistant() -> Value {
    json!({
        "id": 123, "name": "Sales", "type": "outbound", "status": "active", "mode": "pipeline", "language_id": 1,
        "voice_id": 8, "system_prompt": "Sell.", "initial_message": "Hi", "variables": {},
    })
}

fn with(change: Value) -> Value {
    let mut changed = assistant();
    changed.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    changed
}

impl Scene {
    async fn new(on_assistant_change: &str) -> Self {
        let provider = MockServer::start().await;
        let options = AutocallsOptions {
            account: AccountName::new("main"),
            brand: &FAMULOR,
            base_url: Some(format!("{}/api", provider.uri())),
            paths: ApiPaths::default(),
            authorities: Vec::new(),
            api_key: "a-key".into(),
            correlation_variable: "outdial_ref".to_owned(),
            installation: Installation::new(7),
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
        };
        let client = AnyProvider::Autocalls(Box::new(Autocalls::new(options).unwrap()));
        let clock = ScaledClock::starting_at(NOW.parse::<Timestamp>().unwrap(), 1).unwrap();
        let database_clock = move || clock.real_now().duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
        let store = MemoryStore::new(Installation::new(7), Arc::new(database_clock));
        let account = AccountName::new("main");
        let engine = Engine::new(store.clone(), clock, settings(), vec![(account_settings(&account), client)]);
        let list = store.insert_list("spring");
        let definition = json!({
            "account": "main", "lead_lists": ["spring"], "on_assistant_change": on_assistant_change,
            "schedule": { "time_zone": "Europe/Berlin", "windows": { "mon-sun": "09:00-20:00" } },
        });
        let campaign = store.insert_campaign("renewals", CampaignState::Active, definition);
        tokio::spawn(Arc::clone(&engine).record_forever(account.clone()));
        let mut scene = Self { provider, store, engine, account, list, campaign, leads: 0, calls: Arc::default() };
        scene.provide(assistant()).await;
        scene
    }

    /// What the provider tells of its assistant from here on; nobody has read it yet.
    async fn provide(&mut self, assistant: Value) {
        self.provider.reset().await;
        let page = json!({ "data": [assistant], "current_page": 1, "last_page": 1 });
        let answers = [
            ("GET", "/api/user/assistants/get", page),
            ("GET", "/api/user/calls", json!({ "data": [], "last_page": 1 })),
        ];
        for (verb, at, answer) in answers {
            let answer = ResponseTemplate::new(200).set_body_json(answer);
            Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(&self.provider).await;
        }
        let calls = Arc::clone(&self.calls);
        let placed = move |_: &Request| {
            let call_id = 1_000 + calls.fetch_add(1, Ordering::Relaxed);
            ResponseTemplate::new(200)
                .set_body_json(json!({ "message": "ok", "call_id": call_id, "status": "initiated" }))
        };
        Mock::given(method("POST")).and(path("/api/user/make_call")).respond_with(placed).mount(&self.provider).await;
    }

    /// One round of every pass before dialing, a roster period after the one before.
    async fn look(&self) {
        self.engine.renew_leases().await.unwrap();
        self.engine.refresh_view().await.unwrap();
        self.engine.turn_campaigns().await.unwrap();
        self.engine.enrol().await.unwrap();
        assert!(self.engine.read_roster(&self.account).await.unwrap());
        self.engine.refresh_view().await.unwrap();
    }

    /// A new lead, and a round of dialing: how many calls were begun. Waits until what was begun is placed.
    async fn dial_one_more(&mut self) -> usize {
        self.leads += 1;
        self.store.insert_lead(self.list, NewLead::with_phone(format!("+49 30 12345{:02}", self.leads)));
        self.engine.renew_leases().await.unwrap();
        self.engine.enrol().await.unwrap();
        self.engine.refresh_view().await.unwrap();
        let begun = self.engine.dispatch(&self.account).await.unwrap().begun;
        for _ in 0..1_000 {
            let open = self.open().await;
            if open.iter().all(|attempt| attempt.state == OpenState::Placed) {
                return begun;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not placed within ten seconds: {:?}", self.open().await);
    }

    async fn open(&self) -> Vec<OpenAttempt> {
        self.store.open_attempts(&self.account).await.unwrap()
    }

    async fn newest(&self) -> OpenAttempt {
        self.open().await.into_iter().max_by_key(|attempt| attempt.intent_at).unwrap()
    }

    fn campaign(&self) -> (CampaignState, Option<String>) {
        self.store.inspect(|world| {
            let campaign = &world.campaign[&self.campaign];
            (campaign.state, campaign.paused_because.clone())
        })
    }
}

fn settings() -> Settings {
    Settings {
        owner: OwnerId(Uuid::from_u128(1)),
        name: "test".to_owned(),
        lease_ttl: Duration::from_secs(600),
        zombie_horizon: Duration::from_secs(60),
        request_timeout: Duration::from_secs(10),
        drain_max: Duration::from_secs(10),
        person: PersonLimits {
            calls_per_day: None,
            day: outdial::domain::campaign::Day::Rolling,
            min_gap_between_campaigns: SignedDuration::ZERO,
        },
        retention: RetentionPolicy { inbox_days: 14, payload_days: 180, history_days: None },
        periods: Periods::default(),
    }
}

fn account_settings(name: &AccountName) -> AccountSettings {
    AccountSettings {
        name: name.clone(),
        limits: Pacing::default(),
        requests_per_minute: None,
        requests_burst: None,
        webhook_address: Some(ADDRESS.to_owned()),
        list_lag_max: None,
        ring_max: SignedDuration::from_secs(60),
        call_max: SignedDuration::from_mins(20),
        settle_after: SignedDuration::from_secs(30),
        roster_period: Duration::from_secs(60),
    }
}

#[tokio::test]
async fn an_assistant_dials_only_while_it_was_active_when_last_read() {
    let mut scene = Scene::new("warn").await;
    scene.look().await;
    assert_eq!(scene.dial_one_more().await, 1);
    scene.provide(with(json!({ "status": "inactive" }))).await;
    scene.look().await;
    assert_eq!(scene.dial_one_more().await, 0);
    assert_eq!(scene.dial_one_more().await, 0);
    scene.provide(with(json!({ "deleted_at": "2026-03-02 10:00:00" }))).await;
    scene.look().await;
    assert_eq!(scene.dial_one_more().await, 0, "deleted is not active either");
    scene.provide(assistant()).await;
    scene.look().await;
    assert_eq!(scene.dial_one_more().await, 4, "everybody who waited, and one more");
    assert_eq!(scene.campaign(), (CampaignState::Active, None), "that it was inactive is no change of what it says");
    assert_eq!(scene.store.check_invariants(), Vec::<String>::new());
}

#[tokio::test]
async fn a_changed_assistant_pauses_a_careful_campaign_until_it_is_resumed() {
    let mut scene = Scene::new("pause").await;
    scene.look().await;
    assert_eq!(scene.dial_one_more().await, 1);
    scene.look().await;
    assert_eq!(scene.campaign().0, CampaignState::Active, "nothing was changed");
    scene.provide(with(json!({ "system_prompt": "Sell more." }))).await;
    scene.look().await;
    let reason = "assistant 123 (Sales) was changed".to_owned();
    assert_eq!(scene.campaign(), (CampaignState::Paused, Some(reason)));
    assert_eq!(scene.dial_one_more().await, 0);
    scene.store.set_campaign_state(scene.campaign, CampaignState::Active);
    scene.look().await;
    assert_eq!(scene.campaign(), (CampaignState::Active, None), "resumed, the assistant is taken as it is");
    assert_eq!(scene.dial_one_more().await, 2);
}

#[tokio::test]
async fn other_campaigns_go_on_with_a_changed_assistant() {
    for word in ["warn", "follow"] {
        let mut scene = Scene::new(word).await;
        scene.look().await;
        assert_eq!(scene.dial_one_more().await, 1);
        scene.provide(with(json!({ "initial_message": "Good day" }))).await;
        scene.look().await;
        assert_eq!(scene.campaign(), (CampaignState::Active, None), "{word}");
        assert_eq!(scene.dial_one_more().await, 1, "{word}");
        let key = (scene.campaign, scene.account.clone(), outdial::domain::id::AssistantId::new("123"));
        let pinned = scene.store.inspect(|world| world.assistant_pin[&key].0.clone());
        let read = scene.store.inspect(|world| world.roster[&scene.account][0].details.fingerprint.clone());
        assert_eq!(Some(pinned), read, "{word}: pinned anew, so that it is told once");
    }
}

#[tokio::test]
async fn a_line_is_given_back_when_the_assistants_longest_call_is_over() {
    let mut scene = Scene::new("warn").await;
    scene.look().await;
    scene.dial_one_more().await;
    let unknown = scene.newest().await;
    // Counted from the moment the request left, which is a little later than its intent.
    let held_for = |open: &OpenAttempt| open.deadline_at.duration_since(open.intent_at).as_secs();
    assert_eq!(held_for(&unknown), 21 * 60, "ring and the account's longest");
    scene.provide(with(json!({ "max_duration": 300 }))).await;
    scene.look().await;
    scene.dial_one_more().await;
    let short = scene.newest().await;
    assert_eq!(held_for(&short), (1 + 5 + 1) * 60 + 10, "ring, five minutes, what the end and a read take");
}

#[tokio::test]
async fn the_first_read_waits_only_for_a_webhook_that_comes_for_every_call() {
    let url = format!("{ADDRESS}token");
    let webhook = |only: Value| with(json!({ "webhook_url": url, "send_webhook_only_on_completed": only }));
    let cases = [
        (assistant(), 30),
        (webhook(json!(true)), 30),
        (webhook(Value::Null), 30),
        (webhook(json!(0)), 120),
        (with(json!({ "webhook_url": url, "is_webhook_active": 0, "send_webhook_only_on_completed": false })), 30),
        (with(json!({ "webhook_url": "https://else.example.org/", "send_webhook_only_on_completed": false })), 30),
    ];
    let mut scene = Scene::new("follow").await;
    for (assistant, seconds) in cases {
        scene.provide(assistant.clone()).await;
        scene.look().await;
        scene.dial_one_more().await;
        let placed = scene.newest().await;
        let wait = placed.poll_at.duration_since(placed.intent_at);
        let (least, most) = (SignedDuration::from_secs(seconds), SignedDuration::from_secs(seconds + 15));
        assert!(wait >= least && wait < most, "{wait:#} for {assistant}");
    }
}
