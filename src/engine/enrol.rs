//! Leads that came, changed or went, and lists a campaign begins or ceases to dial.

use jiff::Timestamp;
use tracing::debug;

use crate::domain::campaign::CampaignState;
use crate::domain::enrolment::{EnrolmentFacts, decide};
use crate::domain::lead::{EnrolmentStep, LeadPlace, LeadRow, Place};
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{EnrolmentDone, Store, StoreError};

use super::Engine;
use super::view::View;

/// Most leads of one step.
const BATCH_MAX: u32 = 2_000;
/// Most steps of one run; the rest waits for the next, which comes at once.
const STEPS_MAX: usize = 10;

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Follows up changed leads and walks lists. Answers how many leads were looked at.
    ///
    /// # Errors
    /// When the database does not answer; what was not followed up stays noted.
    pub async fn enrol(&self) -> Result<usize, StoreError> {
        let mut looked_at = 0;
        self.store.expire_suppressions(self.clock.now()).await?;
        for _ in 0..STEPS_MAX {
            let changes = self.store.peek_lead_changes(BATCH_MAX).await?;
            if changes.is_empty() {
                break;
            }
            looked_at += changes.len();
            let view = self.view();
            let now = self.clock.now();
            let mut steps = Vec::new();
            let mut done = Vec::new();
            for change in &changes {
                if change.places.iter().any(|place| view.campaign(place.campaign_id).is_none()) {
                    // A campaign the view does not know yet: the next reading of the tables does.
                    continue;
                }
                done.extend_from_slice(&change.change_ids);
                steps.extend(
                    change
                        .places
                        .iter()
                        .filter_map(|place| self.step(&view, change.lead.as_ref(), change.lead_id, place, now)),
                );
            }
            if done.is_empty() {
                break;
            }
            self.store.apply_enrolment(&steps, EnrolmentDone::Changes(done), now).await?;
        }
        for _ in 0..STEPS_MAX {
            let Some(page) = self.store.next_list_page(BATCH_MAX).await? else { break };
            looked_at += page.leads.len();
            let view = self.view();
            let now = self.clock.now();
            if view.campaign(page.campaign_id).is_none() {
                break;
            }
            let steps: Vec<_> = page
                .leads
                .iter()
                .filter_map(|(lead, place)| self.step(&view, Some(lead), lead.lead_id, place, now))
                .collect();
            debug!(campaign.id = %page.campaign_id, leads = page.leads.len(), steps = steps.len(), "Walked a page of a list");
            let done = EnrolmentDone::Page {
                campaign_id: page.campaign_id,
                lead_list_id: page.lead_list_id,
                version: page.version,
                after: page.last_lead_id,
            };
            self.store.apply_enrolment(&steps, done, now).await?;
        }
        if looked_at > 0 {
            for account in self.accounts.values() {
                account.wakes.dispatch.notify_one();
            }
        }
        Ok(looked_at)
    }

    fn step(
        &self,
        view: &View,
        lead: Option<&LeadRow>,
        lead_id: crate::domain::id::LeadId,
        place: &LeadPlace,
        now: Timestamp,
    ) -> Option<EnrolmentStep> {
        let campaign_id = place.campaign_id;
        let state = view.campaign(campaign_id).map_or(CampaignState::Finished, |campaign| campaign.state);
        let due_group_key = match &place.place {
            Place::Due(due) => view.group_key(due.stratum.calling_group_id),
            Place::Nowhere | Place::Open | Place::Disposed { .. } => None,
        };
        let facts = EnrolmentFacts { state, over: view.is_over(campaign_id, now), due_group_key };
        decide(lead, place, facts, now).map(|action| EnrolmentStep { campaign_id, lead_id, action })
    }
}
