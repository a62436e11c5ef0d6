//! Everything that happens outside the daemon, and people who change their minds at the wrong moment.

use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;

use crate::domain::campaign::CampaignState;
use crate::domain::id::{CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
use crate::domain::report::Source;
use crate::port::clock::Clock;
use crate::port::store::{InboxEvent, Store, Suppression};

use super::scenario::{ZONES, lead, phone, pick, windows};
use super::telephone::{body, webhooks};
use super::world::{Happening, State, World};

impl World {
    /// When something happens next.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.state().happenings.keys().next().map(|(at, _)| *at)
    }

    /// Lets everything happen whose time has come. Answers with the accounts whose receiver got something.
    pub async fn let_happen<S: Store>(&self, receiver: Option<&S>) -> Vec<usize> {
        let mut received = Vec::new();
        loop {
            let now = self.clock.now();
            let what = {
                let mut state = self.state();
                match state.happenings.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => return received,
                }
            };
            match what {
                Happening::CallMade { call } => self.begin_call(call),
                Happening::Webhook { call, over, tries } => {
                    received.extend(self.deliver(receiver, call, over, tries).await);
                }
                Happening::Person => self.somebody_acts(now),
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

    /// The receiver answers 2xx only when the event is durable; the provider tries again, or does not.
    async fn deliver<S: Store>(&self, receiver: Option<&S>, call: usize, over: bool, tries: u32) -> Option<usize> {
        let now = self.clock.now();
        let (account, event) = {
            let state = self.state();
            let call = &state.calls[call];
            let garbled = tries == 0 && call.id.as_str().ends_with('7') && !over;
            let body = if garbled { "{}".into() } else { body(self, call, over, false) };
            let name = self.scenario.accounts[call.account].settings.name.clone();
            (call.account, InboxEvent { account: name, source: Source::Webhook, body, attempt_id: None })
        };
        let stored = match receiver {
            Some(store) => store.append_inbox(&[event], now).await.is_ok(),
            None => false,
        };
        let mut state = self.state();
        if state.dead {
            return None;
        }
        self.note(&mut state, &format!("webhook of call {}, over {over}: stored {stored}", call));
        if stored {
            return Some(account);
        }
        if tries < 4 && state.dice.random_bool(0.6) {
            let at = now + self.units(f64::from(2u32 << tries));
            state.will_happen(at, Happening::Webhook { call, over, tries: tries + 1 });
        }
        None
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
            self.store.remove_stop(name.as_ref());
        } else {
            stops.insert(whose);
            self.store.add_stop(name, "stopped by hand");
        }
        self.note(state, &format!("stops are {stops:?}"));
        state.stops.set(now, stops);
    }

    fn toggle_suppression(&self, state: &mut State, phones: u32, campaign: CampaignId, now: Timestamp) {
        let text = phone(&mut state.dice, phones);
        let Ok(phone) = PhoneNumber::parse(&text) else { return };
        let scope = state.dice.random_bool(0.3).then_some(campaign);
        let lasting = state.dice.random_bool(0.5).then(|| now + self.units(30.0));
        let present = state.suppressed.get(&(phone, scope)).is_some_and(|entry| entry.last().is_some());
        let entry = if present {
            self.store.remove_suppression(&phone, scope);
            None
        } else {
            let entry = Suppression { reason: "asked".to_owned(), expires_at: lasting };
            self.store.add_suppression(&phone, scope, entry);
            Some(lasting)
        };
        self.note(state, &format!("suppression of {phone} in {scope:?}: {entry:?}"));
        state
            .suppressed
            .entry((phone, scope))
            .or_insert_with(|| super::timeline::Timeline::new(self.scenario.origin, None))
            .set(now, entry);
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
        state.kill_at = None;
        self.note(state, "calm");
        for whose in state.stops.last().clone() {
            let name = whose.map(|account| self.scenario.accounts[account].settings.name.clone());
            self.store.remove_stop(name.as_ref());
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
