//! Everything that happens outside the replicas, and people who change their minds at the wrong moment.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;
use tokio::sync::oneshot;

use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
use crate::domain::report::Source;
use crate::port::clock::Clock;
use crate::port::store::{InboxEvent, Store, Suppression};

use super::judge::{due_rows, is_left_to_a_person};
use super::replica::Replica;
use super::scenario::{ZONES, lead, phone, pick, windows};
use super::telephone::{body, webhooks};
use super::world::{Happening, State, World};

/// How long the provider waits for a receiver's answer, real time.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(5);

impl World {
    /// When something happens next.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.state().happenings.keys().next().map(|(at, _)| *at)
    }

    /// Lets everything happen whose time has come.
    pub fn let_happen(self: &Arc<Self>, replicas: &[&Replica]) {
        loop {
            let now = self.clock.now();
            let what = {
                let mut state = self.state();
                match state.happenings.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => return,
                }
            };
            match what {
                Happening::CallMade { call } => self.begin_call(call),
                Happening::Webhook { call, over, tries } => self.deliver(replicas, call, over, tries),
                Happening::Arrival { transit } => self.arrives(transit),
                Happening::Person => self.somebody_acts(now),
                Happening::ClockSet => self.set_a_clock(now),
                Happening::Copy => self.make_copy(now),
                Happening::GoBack => self.go_back(now),
                Happening::Calm => self.calm_down(now),
            }
        }
    }

    fn begin_call(&self, call: usize) {
        let mut guard = self.state();
        let state = &mut *guard;
        self.call_begins(state, call);
        let over_at = state.calls[call].over_at;
        let made_at = state.calls[call].made_at;
        let faults = if state.calm { 0.0 } else { self.scenario.faults.webhook };
        for (over, units) in webhooks(&mut state.dice, faults) {
            let from = if over { over_at } else { made_at };
            state.will_happen(from + self.units(units), Happening::Webhook { call, over, tries: 0 });
        }
    }

    /// A webhook reaches any of the replicas, a stopped one, too. The receiver answers 2xx only when the event is durable;
    /// the provider waits for so long, and tries again or does not.
    fn deliver(self: &Arc<Self>, replicas: &[&Replica], call: usize, over: bool, tries: u32) {
        let mut state = self.state();
        let up: Vec<_> = replicas.iter().filter(|replica| !replica.process.is_dead()).collect();
        if up.is_empty() {
            return self.was_told(&mut state, call, (over, tries), false);
        }
        let receiver = up[state.dice.random_range(0..up.len())];
        let (process, engine) = (Arc::clone(&receiver.process), Arc::clone(&receiver.engine));
        let call_of = &state.calls[call];
        let garbled = tries == 0 && call_of.id.as_str().ends_with('7') && !over;
        let body = if garbled { "{}".into() } else { body(self, call_of, over, false) };
        let account = self.scenario.accounts[call_of.account].settings.name.clone();
        let event = InboxEvent { account: account.clone(), source: Source::Webhook, body, attempt_id: None };
        if !engine.clock.is_compared() {
            // A daemon receives once it knows what time it is.
            return self.was_told(&mut state, call, (over, tries), false);
        }
        if garbled {
            state.stats.fault("webhook: garbled");
        }
        state.deliveries += 1;
        drop(state);
        let (told, hears) = oneshot::channel();
        tokio::spawn(async move {
            process.goes_on().await;
            let stored = engine.store.append_inbox(&[event], engine.clock.now()).await.is_ok();
            if stored {
                engine.accounts[&account].wake_collect();
            }
            let _ = told.send(stored);
        });
        let world = Arc::clone(self);
        tokio::spawn(async move {
            let stored = matches!(tokio::time::timeout(WEBHOOK_TIMEOUT, hears).await, Ok(Ok(true)));
            let mut state = world.state();
            state.deliveries -= 1;
            world.was_told(&mut state, call, (over, tries), stored);
        });
    }

    fn was_told(&self, state: &mut State, call: usize, (over, tries): (bool, u32), stored: bool) {
        self.note(state, &format!("webhook of call {call}, over {over}: stored {stored}"));
        if !stored {
            state.stats.fault("webhook: not stored");
        }
        if !stored && tries < 4 && state.dice.random_bool(0.6) {
            let at = self.clock.now() + self.units(f64::from(2u32 << tries));
            state.will_happen(at, Happening::Webhook { call, over, tries: tries + 1 });
        }
    }

    /// Somebody sets a machine's clock, by seconds or by hours; every other time it is set right again.
    fn set_a_clock(&self, now: Timestamp) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.calm {
            return;
        }
        let wait = Duration::from_millis(state.dice.random_range(2_000..15_000));
        state.will_happen(now + self.clock.real_to_civil(wait), Happening::ClockSet);
        if !state.dice.random_bool(self.scenario.faults.clock_set) {
            return;
        }
        let machine = state.dice.random_range(0..state.machines.len());
        let seconds = pick(&mut state.dice, &[0, 0, 0, 2, 5, 60, 3_600, 7_200]);
        let sign = pick(&mut state.dice, &[-1, 1]);
        self.note(state, &format!("the clock of machine {machine} is {} s ahead", sign * seconds));
        state.machines[machine].wall.set(jiff::SignedDuration::from_secs(sign * seconds));
        state.stats.fault(if seconds == 0 { "clock: set right" } else { "clock: set wrong" });
    }

    fn somebody_acts(&self, now: Timestamp) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.calm {
            return;
        }
        let wait = Duration::from_millis(state.dice.random_range(200..2000));
        state.will_happen(now + self.clock.real_to_civil(wait), Happening::Person);
        if !state.dice.random_bool(self.scenario.faults.user) {
            return;
        }
        state.stats.fault("person: changes something");
        let campaigns: Vec<CampaignId> = state.campaigns.keys().copied().collect();
        let campaign = pick(&mut state.dice, &campaigns);
        let leads: Vec<LeadId> = state.leads.keys().copied().collect();
        let lead_id = pick(&mut state.dice, &leads);
        let phones = u32::try_from(leads.len()).unwrap();
        match state.dice.random_range(0..14) {
            0 | 1 => self.toggle_campaign(state, campaign, now),
            2 | 3 => self.toggle_stop(state, now),
            4 | 5 => self.toggle_suppression(state, phones, campaign, now),
            6 => {
                let plan = lead(&mut state.dice, self.scenario.lists.len(), phones, self.scenario.factor);
                self.note(state, "a lead is inserted");
                state.insert_lead(&self.store, &plan, self.scenario.origin, now);
            }
            7..=9 => self.edit_lead(state, lead_id, phones, now),
            10 => {
                if self.store.delete_lead(lead_id) {
                    self.note(state, &format!("lead {lead_id} is deleted"));
                    state.leads.get_mut(&lead_id).expect("listed").exists.set(now, false);
                }
            }
            11 | 12 => self.edit_campaign(state, campaign, now),
            _ => {
                let account = state.dice.random_range(0..state.accounts.len());
                self.note(state, &format!("the assistants of account {account} are put to rest"));
                state.accounts[account].idle_until = Some(now + self.units(20.0));
            }
        }
    }

    fn toggle_campaign(&self, state: &mut State, id: CampaignId, now: Timestamp) {
        let present = *state.campaigns[&id].state.last();
        let next = match present {
            CampaignState::Active if state.dice.random_bool(0.1) => CampaignState::Finishing,
            CampaignState::Active => CampaignState::Paused,
            CampaignState::Paused => CampaignState::Active,
            CampaignState::Draft | CampaignState::Finishing | CampaignState::Finished => return,
        };
        self.set_state(state, id, next, now);
    }

    fn set_state(&self, state: &mut State, id: CampaignId, next: CampaignState, now: Timestamp) {
        self.store.set_campaign_state(id, next);
        self.note(state, &format!("campaign {id} is {next}"));
        state.campaigns.get_mut(&id).expect("listed").state.set(now, next);
    }

    fn toggle_stop(&self, state: &mut State, now: Timestamp) {
        let accounts = state.accounts.len();
        let whose = state.dice.random_bool(0.5).then(|| state.dice.random_range(0..accounts));
        let name = whose.map(|account| self.scenario.accounts[account].settings.name.clone());
        let mut stops = state.stops.last().clone();
        if stops.remove(&whose) {
            self.take_back_stop(name.as_ref());
        } else {
            stops.insert(whose);
            if !self.store.inspect(|tables| is_left_to_a_person(tables, name.as_ref())) {
                self.store.add_stop(name, "stopped by hand");
            }
        }
        self.note(state, &format!("stops are {stops:?}"));
        state.stops.set(now, stops);
    }

    /// Nobody starts an account whose stop asks for a look at the provider first: that takes longer than a run.
    fn take_back_stop(&self, whose: Option<&AccountName>) {
        if !self.store.inspect(|tables| is_left_to_a_person(tables, whose)) {
            self.store.remove_stop(whose);
        }
    }

    fn toggle_suppression(&self, state: &mut State, phones: u32, campaign: CampaignId, now: Timestamp) {
        let text = phone(&mut state.dice, phones);
        let Ok(phone) = PhoneNumber::parse(&text) else { return };
        let scope = state.dice.random_bool(0.3).then_some(campaign);
        let lasting = state.dice.random_bool(0.5).then(|| now + self.units(30.0));
        let present = state.suppressed.get(&(phone, scope)).is_some_and(|entry| entry.last().is_some());
        if present {
            self.store.remove_suppression(&phone, scope);
            self.note(state, &format!("suppression of {phone} in {scope:?} is taken back"));
            self.know_suppressed(state, phone, scope, None, now);
        } else {
            self.suppress(state, phone, scope, lasting, now);
        }
    }

    /// The answer to a peek takes its time, and meanwhile one who is due asks not to be called.
    pub fn somebody_minds(&self, state: &mut State) -> bool {
        if state.calm || self.scenario.faults.user == 0.0 || !state.dice.random_bool(0.03) {
            return false;
        }
        let now = self.clock.now();
        let due = self
            .store
            .inspect(|tables| due_rows(tables).into_iter().filter(|due| due.due_at <= now).collect::<Vec<_>>());
        if due.is_empty() {
            return false;
        }
        let phone = due[state.dice.random_range(0..due.len())].phone;
        self.suppress(state, phone, None, Some(now + self.units(30.0)), now);
        true
    }

    fn suppress(
        &self,
        state: &mut State,
        phone: PhoneNumber,
        scope: Option<CampaignId>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.store.add_suppression(&phone, scope, Suppression { reason: "asked".to_owned(), expires_at: until });
        self.note(state, &format!("suppression of {phone} in {scope:?}: until {until:?}"));
        self.know_suppressed(state, phone, scope, Some(until), now);
    }

    fn know_suppressed(
        &self,
        state: &mut State,
        phone: PhoneNumber,
        scope: Option<CampaignId>,
        entry: Option<Option<Timestamp>>,
        now: Timestamp,
    ) {
        let timeline = state.suppressed.entry((phone, scope));
        timeline.or_insert_with(|| super::timeline::Timeline::new(self.scenario.origin, None)).set(now, entry);
    }

    fn edit_lead(&self, state: &mut State, lead_id: LeadId, phones: u32, now: Timestamp) {
        if !*state.leads[&lead_id].exists.last() {
            return;
        }
        let text = phone(&mut state.dice, phones);
        let zone = pick(&mut state.dice, &ZONES);
        let priority = state.dice.random_range(0..=9);
        let what = state.dice.random_range(0..4);
        self.store.update_lead(lead_id, |lead| match what {
            0 => lead.row.phone.clone_from(&text),
            1 => lead.row.time_zone = zone.map(str::to_owned),
            2 => lead.row.not_before = None,
            _ => lead.row.priority = priority,
        });
        let life = state.leads.get_mut(&lead_id).expect("listed");
        match what {
            0 => life.phone.set(now, text),
            1 => life.zone.set(now, zone),
            2 => life.not_before.set(now, None),
            _ => {}
        }
        self.note(state, &format!("lead {lead_id} is edited: {what}"));
    }

    fn edit_campaign(&self, state: &mut State, id: CampaignId, now: Timestamp) {
        let mut plan = state.campaigns[&id].plan.last().clone();
        let clock = self.scenario.origin.to_zoned(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        match state.dice.random_range(0..6) {
            0 => plan.invalid = !plan.invalid,
            1 => plan.retry_units = state.dice.random_range(2..=20),
            2 => {
                plan.lists = vec![state.dice.random_range(0..self.scenario.lists.len())];
            }
            3 => plan.runs = if plan.runs.is_some() { None } else { Some((4, 2)) },
            _ => {
                let at = (clock.hour(), clock.minute());
                plan.windows = windows(&mut state.dice, plan.fixed_zone, at, self.scenario.factor);
            }
        }
        self.set_plan(state, id, plan, now);
    }

    fn set_plan(&self, state: &mut State, id: CampaignId, plan: super::scenario::CampaignPlan, now: Timestamp) {
        let scenario = &self.scenario;
        self.store.update_definition(id, plan.definition(&scenario.accounts, &scenario.lists, scenario.factor));
        self.note(state, &format!("campaign {id} is edited: {plan:?}"));
        state.campaigns.get_mut(&id).expect("listed").plan.set(now, plan);
    }

    /// Faults end, and people take back what would keep leads waiting for ever.
    fn calm_down(&self, now: Timestamp) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.calm = true;
        for machine in &mut state.machines {
            machine.kill_at = None;
            machine.stop_at = None;
            machine.wall.set(jiff::SignedDuration::ZERO);
        }
        self.note(state, "calm");
        for whose in state.stops.last().clone() {
            let name = whose.map(|account| self.scenario.accounts[account].settings.name.clone());
            self.take_back_stop(name.as_ref());
        }
        state.stops.set(now, std::collections::BTreeSet::new());
        for id in state.campaigns.keys().copied().collect::<Vec<_>>() {
            if *state.campaigns[&id].state.last() == CampaignState::Paused {
                self.set_state(state, id, CampaignState::Active, now);
            }
            let mut plan = state.campaigns[&id].plan.last().clone();
            if plan.invalid {
                plan.invalid = false;
                self.set_plan(state, id, plan, now);
            }
        }
    }
}
