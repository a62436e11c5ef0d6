//! A database that goes back: a copy that lags behind takes its place, and what was written in between is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;

use crate::adapter::memory::Snapshot;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{CampaignId, LeadId};
use crate::domain::phone::PhoneNumber;
use crate::port::clock::Clock;

use super::scenario::CampaignPlan;
use super::world::{Happening, World};

/// Longest time, real, that the copy lags behind.
const LAG_MAX: Duration = Duration::from_secs(20);

/// Whose phone is suppressed, and until when if that is known.
type Suppressed = BTreeMap<(PhoneNumber, Option<CampaignId>), Option<Option<Timestamp>>>;
/// Of a lead: phone, zone, whether it is there, and its first date.
type LeadThen = (String, Option<&'static str>, bool, Option<Timestamp>);

/// The copy, and what people believed when it was made.
pub(super) struct Past {
    copy: Snapshot,
    campaigns: BTreeMap<CampaignId, (CampaignPlan, CampaignState)>,
    leads: BTreeMap<LeadId, LeadThen>,
    stops: BTreeSet<Option<usize>>,
    suppressed: Suppressed,
}

impl World {
    /// Makes a copy; rarely it takes the database's place some seconds later.
    pub fn make_copy(&self, now: Timestamp) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.calm {
            return;
        }
        let lag =
            self.clock.real_to_civil(Duration::from_millis(state.dice.random_range(500..LAG_MAX.as_millis() as u64)));
        let back = state.dice.random_bool(self.scenario.faults.goes_back);
        state.will_happen(now + lag, if back { Happening::GoBack } else { Happening::Copy });
        let lead = |lead: &super::world::LeadLife| {
            (lead.phone.last().clone(), *lead.zone.last(), *lead.exists.last(), *lead.not_before.last())
        };
        state.past = Some(Past {
            copy: self.store.snapshot(),
            campaigns: state
                .campaigns
                .iter()
                .map(|(id, life)| (*id, (life.plan.last().clone(), *life.state.last())))
                .collect(),
            leads: state.leads.iter().map(|(id, life)| (*id, lead(life))).collect(),
            stops: state.stops.last().clone(),
            suppressed: state.suppressed.iter().map(|(key, entry)| (*key, *entry.last())).collect(),
        });
    }

    /// Whatever anybody wrote since the copy was made is lost; what left the house has left it.
    pub fn go_back(&self, now: Timestamp) {
        {
            let mut guard = self.state();
            let state = &mut *guard;
            if state.calm {
                return;
            }
            let past = state.past.take().expect("a copy was made before");
            self.note(state, "the database goes back");
            state.stats.fault("database: went back");
            let attempts = || self.store.inspect(|tables| tables.attempt.len());
            let before = attempts();
            self.store.go_back_to(&past.copy);
            *state.stats.faults.entry("database: attempts lost").or_default() += (before - attempts()) as u64;
            self.store.begin_another_line();
            for (id, (plan, present)) in past.campaigns {
                let life = state.campaigns.get_mut(&id).expect("campaigns stay");
                life.plan.set(now, plan);
                life.state.set(now, present);
            }
            state.leads.retain(|id, _| past.leads.contains_key(id));
            for (id, (phone, zone, exists, not_before)) in past.leads {
                let life = state.leads.get_mut(&id).expect("leads stay in the books");
                life.phone.set(now, phone);
                life.zone.set(now, zone);
                life.exists.set(now, exists);
                life.not_before.set(now, not_before);
            }
            state.stops.set(now, past.stops);
            for (key, entry) in &mut state.suppressed {
                entry.set(now, past.suppressed.get(key).copied().flatten());
            }
        }
        self.make_copy(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::trace::LogEvents;

    #[tokio::test(start_paused = true)]
    async fn what_people_wrote_since_the_copy_is_lost() {
        let world = World::new(7, false, LogEvents::default());
        let (id, lead_id) = {
            let state = world.state();
            (*state.campaigns.keys().next().unwrap(), *state.leads.keys().next().unwrap())
        };
        let now = world.clock.now();
        world.make_copy(now);
        world.clock.sleep(Duration::from_secs(1)).await;
        world.store.set_campaign_state(id, CampaignState::Paused);
        world.store.add_stop(None, "stopped by hand");
        assert!(world.store.delete_lead(lead_id));
        {
            let mut state = world.state();
            let now = world.clock.now();
            state.campaigns.get_mut(&id).unwrap().state.set(now, CampaignState::Paused);
            state.stops.set(now, BTreeSet::from([None]));
            state.leads.get_mut(&lead_id).unwrap().exists.set(now, false);
        }
        world.go_back(world.clock.now());
        let state = world.state();
        assert_eq!(*state.campaigns[&id].state.last(), CampaignState::Active);
        assert!(state.stops.last().is_empty() && *state.leads[&lead_id].exists.last());
        assert!(state.past.is_some(), "the next copy is made at once");
        world.store.inspect(|tables| {
            assert_eq!(tables.campaign[&id].state, CampaignState::Active);
            assert!(tables.stop.is_empty() && tables.lead.contains_key(&lead_id));
        });
    }
}
