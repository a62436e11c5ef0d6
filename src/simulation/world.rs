//! What is there besides the replicas: the database, the telephone network, people, and machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tracing::Level;

use crate::adapter::memory::MemoryStore;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{CampaignId, Installation, LeadId, LeadListId};
use crate::domain::phone::PhoneNumber;
use crate::port::clock::Clock;

use super::clock::SimClock;
use super::past::Past;
use super::scenario::{CampaignPlan, LeadPlan, Scenario};
use super::takeover::{Machine, Watch};
use super::telephone::{Call, Sent, Transit};
use super::timeline::Timeline;
use super::trace::{LogEvents, Trace};

/// Whether a number is suppressed over time, and until when if that is known.
type SuppressedUntil = Timeline<Option<Option<Timestamp>>>;

/// The longest time, real, between a person's change and the last call that may leave in spite of it.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How long a lead's new phone or zone may take to reach the rows it is dialed from, real.
pub(super) const LEAD_GRACE: Duration = Duration::from_secs(10);

/// What a stop says that only a person may take back who has looked at the provider.
pub(super) const MISSING: &str = "may be missing in the database";

/// The world of one run. Shared by the providers, the networks and the loop that runs the replicas.
pub(super) struct World {
    pub clock: SimClock,
    /// The database without its network.
    pub store: MemoryStore,
    pub scenario: Scenario,
    pub logs: LogEvents,
    /// Something has happened that the loop should look at.
    pub changed: Notify,
    state: Mutex<State>,
}

/// What changes.
pub(super) struct State {
    pub dice: ChaCha8Rng,
    pub trace: Trace,
    pub violations: Vec<String>,
    pub machines: Vec<Machine>,
    /// One for each account.
    pub watches: Vec<Watch>,
    /// Whether faults, crashes and people have ended.
    pub calm: bool,
    /// Steps that wrote something or asked the provider.
    pub busy_steps: u64,
    /// When the last of them was.
    pub busy_at: Duration,
    pub happenings: BTreeMap<(Timestamp, u64), Happening>,
    happening_no: u64,
    /// Webhooks that a receiver has and has not answered.
    pub deliveries: u32,
    pub calls: Vec<Call>,
    pub sent: Vec<Sent>,
    /// Requests that outlive their senders on the wire.
    pub transits: Vec<Transit>,
    /// What the database may go back to.
    pub past: Option<Past>,
    pub accounts: Vec<AccountLife>,
    pub campaigns: BTreeMap<CampaignId, CampaignLife>,
    pub lists: Vec<LeadListId>,
    pub leads: BTreeMap<LeadId, LeadLife>,
    pub stops: Timeline<BTreeSet<Option<usize>>>,
    pub suppressed: BTreeMap<(PhoneNumber, Option<CampaignId>), SuppressedUntil>,
    pub stats: Stats,
}

/// Something that will happen outside the replicas.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// A call begins.
    CallMade { call: usize },
    /// A webhook reaches the receiver.
    Webhook { call: usize, over: bool, tries: u32 },
    /// A request arrives whose sender is dead.
    Arrival { transit: usize },
    /// Somebody does something.
    Person,
    /// A machine's clock is set.
    ClockSet,
    /// A copy of the database is made.
    Copy,
    /// The copy takes the database's place.
    GoBack,
    /// Everybody goes home.
    Calm,
}

/// An account as its provider has it.
#[derive(Default)]
pub(super) struct AccountLife {
    pub call_no: u64,
    /// Places no calls until then.
    pub broken_until: Option<Timestamp>,
    /// No assistant is active until then.
    pub idle_until: Option<Timestamp>,
}

pub(super) struct CampaignLife {
    pub plan: Timeline<CampaignPlan>,
    pub state: Timeline<CampaignState>,
}

pub(super) struct LeadLife {
    pub list: usize,
    pub phone: Timeline<String>,
    pub zone: Timeline<Option<&'static str>>,
    pub exists: Timeline<bool>,
    pub not_before: Timeline<Option<Timestamp>>,
}

/// How much of what a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub steps: u64,
    pub kills: u32,
    pub drains: u32,
    pub stops: u32,
    pub takeovers: u32,
    pub late: u32,
    pub sent: u64,
    pub calls: u64,
    pub unknown: u64,
    pub unfinished: u32,
    /// Everything that was made to go wrong, by its kind.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// Counts something that was made to go wrong.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.kills += other.kills;
        self.drains += other.drains;
        self.stops += other.stops;
        self.takeovers += other.takeovers;
        self.late += other.late;
        self.sent += other.sent;
        self.calls += other.calls;
        self.unknown += other.unknown;
        self.unfinished += other.unfinished;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

impl World {
    /// The world of a seed, with its campaigns and leads in the database. Its time begins with this call.
    pub fn new(seed: u64, keep_trace: bool, logs: LogEvents) -> Arc<Self> {
        let scenario = Scenario::of_seed(seed);
        let clock = SimClock::new(scenario.origin, scenario.factor);
        let database_clock = clock.clone();
        let store = MemoryStore::new(Installation::new(seed as u32), Arc::new(move || database_clock.elapsed()));
        let origin = scenario.origin;
        let mut state = State {
            dice: ChaCha8Rng::seed_from_u64(seed),
            trace: Trace::new(keep_trace),
            violations: Vec::new(),
            machines: (0..scenario.replicas).map(|_| Machine::default()).collect(),
            watches: scenario.accounts.iter().map(|_| Watch::default()).collect(),
            calm: false,
            busy_steps: 0,
            busy_at: Duration::ZERO,
            happenings: BTreeMap::new(),
            happening_no: 0,
            deliveries: 0,
            calls: Vec::new(),
            sent: Vec::new(),
            transits: Vec::new(),
            past: None,
            accounts: scenario
                .accounts
                .iter()
                .map(|_| AccountLife { call_no: 1000, ..AccountLife::default() })
                .collect(),
            campaigns: BTreeMap::new(),
            lists: Vec::new(),
            leads: BTreeMap::new(),
            stops: Timeline::new(origin, BTreeSet::new()),
            suppressed: BTreeMap::new(),
            stats: Stats::default(),
        };
        for name in &scenario.lists {
            state.lists.push(store.insert_list(name));
        }
        for plan in &scenario.campaigns {
            let definition = plan.definition(&scenario.accounts, &scenario.lists, scenario.factor);
            let id = store.insert_campaign(&plan.name, CampaignState::Active, definition);
            let life = CampaignLife {
                plan: Timeline::new(origin, plan.clone()),
                state: Timeline::new(origin, CampaignState::Active),
            };
            state.campaigns.insert(id, life);
        }
        for plan in &scenario.leads {
            state.insert_lead(&store, plan, origin, origin);
        }
        let calm_at = origin + clock.real_to_civil(scenario.chaos_for);
        state.will_happen(calm_at, Happening::Calm);
        if scenario.faults.user > 0.0 {
            state.will_happen(origin + clock.real_to_civil(Duration::from_millis(1500)), Happening::Person);
        }
        if scenario.faults.clock_set > 0.0 {
            state.will_happen(origin, Happening::ClockSet);
        }
        if scenario.faults.goes_back > 0.0 {
            state.will_happen(origin, Happening::Copy);
        }
        Arc::new(Self { clock, store, scenario, logs, changed: Notify::new(), state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A civil span of so many units.
    pub fn units(&self, count: f64) -> SignedDuration {
        SignedDuration::from_secs_f64(count * f64::from(self.scenario.factor))
    }

    /// Writes a line of the trace.
    pub fn note(&self, state: &mut State, text: &str) {
        state.trace.line(self.clock.elapsed(), text);
    }

    /// Something is wrong.
    pub fn violation(&self, state: &mut State, text: String) {
        self.note(state, &format!("VIOLATION {text}"));
        state.violations.push(text);
    }

    /// Every invariant of the tables.
    pub fn check_tables(&self, state: &mut State) {
        for broken in self.store.check_invariants() {
            // A read that was under way when the database went back brings news of an attempt that it has lost, and the
            // number of a lost attempt may be claimed by nobody by the time it is noted.
            let lost = self.scenario.faults.goes_back > 0.0
                && ["pending for an attempt that does not exist", "not enrolled as its own"]
                    .iter()
                    .any(|words| broken.contains(words));
            if !lost {
                self.violation(state, broken);
            }
        }
    }

    /// What replicas logged since the last look.
    pub fn read_logs(&self, state: &mut State) {
        for (level, text) in self.logs.take() {
            if state.leads.values().any(|lead| text.contains(lead.phone.last().as_str()) && lead.phone.last().len() > 6)
            {
                self.violation(state, format!("a phone number reached the log: {text}"));
            }
            self.note(state, &format!("{level} {text}"));
            // Whoever loses commits where the provider cannot tell what is missing is told to look.
            let deserved = self.scenario.faults.goes_back > 0.0
                && text.starts_with("Account ")
                && text.contains("attempts since")
                && text.contains(MISSING);
            if level == Level::ERROR && !deserved {
                state.violations.push(format!("logged: {text}"));
            }
        }
    }
}

impl State {
    pub fn will_happen(&mut self, at: Timestamp, what: Happening) {
        // Whole milliseconds: no clock of the run has to wait for a fraction it cannot show.
        let at = Timestamp::from_millisecond(at.as_millisecond() + 1).expect("runs are short");
        self.happening_no += 1;
        self.happenings.insert((at, self.happening_no), what);
    }

    pub fn insert_lead(&mut self, store: &MemoryStore, plan: &LeadPlan, origin: Timestamp, now: Timestamp) {
        let at = |seconds: Option<i64>| seconds.map(|seconds| origin + SignedDuration::from_secs(seconds));
        let lead = crate::adapter::memory::NewLead {
            phone: plan.phone.clone(),
            time_zone: plan.zone.map(str::to_owned),
            priority: Some(plan.priority),
            not_before: at(plan.not_before),
            not_after: at(plan.not_after),
            ..Default::default()
        };
        let id = store.insert_lead(self.lists[plan.list], lead);
        let life = LeadLife {
            list: plan.list,
            phone: Timeline::new(now, plan.phone.clone()),
            zone: Timeline::new(now, plan.zone),
            exists: Timeline::new(now, true),
            not_before: Timeline::new(now, at(plan.not_before)),
        };
        self.leads.insert(id, life);
    }
}
