//! Campaigns open, close and finish.

use jiff::Timestamp;
use tracing::info;

use crate::domain::campaign::CampaignState;
use crate::domain::outcome::Disposition;
use crate::domain::retry::Verdict;
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{Store, StoreError};

use super::Engine;
use super::view::{LiveCampaign, View};

/// Most due leads one run takes out of a closing campaign.
const CLOSE_MAX: u32 = 5_000;

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Notes which lists are dialed, closes what is over, finishes what is done.
    ///
    /// # Errors
    /// When the database does not answer; running it again is safe.
    pub async fn turn_campaigns(&self) -> Result<(), StoreError> {
        let view = self.view();
        let mut lists = Self::campaign_lists(&view);
        // A finished campaign is in the view for late evidence; nothing enrols in it.
        lists.retain(|of| view.campaign(of.campaign_id).is_some_and(|it| it.state != CampaignState::Finished));
        self.store.set_campaign_lists(&lists).await?;
        let now = self.clock.now();
        for campaign in view.campaigns() {
            match campaign.state {
                CampaignState::Active => self.close_if_over(&view, campaign, now).await?,
                CampaignState::Finishing => self.finish_campaign(&view, campaign, now).await?,
                CampaignState::Draft | CampaignState::Paused | CampaignState::Finished => {}
            }
        }
        self.sweep_finished(now).await
    }

    /// A held attempt does not keep its campaign from finishing, and what follows its end is decided by a view that may be
    /// older than that.
    async fn sweep_finished(&self, now: Timestamp) -> Result<(), StoreError> {
        for id in self.store.finished_with_due().await? {
            let taken = self.store.dispose_all_due(id, &Verdict::of_finished_campaign(), CLOSE_MAX, now).await?;
            if taken > 0 {
                let name = self.campaign_name(id);
                info!(campaign.id = %id, taken, "Campaign {name} has finished: {taken} leads that came back are taken out");
            }
        }
        Ok(())
    }

    async fn close_if_over(&self, view: &View, campaign: &LiveCampaign, now: Timestamp) -> Result<(), StoreError> {
        let Some(definition) = campaign.definition.as_ref().filter(|_| campaign.invalid.is_none()) else {
            return Ok(());
        };
        let id = campaign.campaign_id;
        let why = if view.is_over(id, now) {
            "its last day is over"
        } else if definition.finish_when_done && !view.strata(id).is_empty() {
            let backlog = self.store.backlog(id).await?;
            if backlog.due > 0 || backlog.open > 0 || backlog.enrolling {
                return Ok(());
            }
            "nothing is due or open"
        } else {
            return Ok(());
        };
        if self.store.advance_campaign(id, CampaignState::Active, CampaignState::Finishing, now).await? {
            info!(campaign.id = %id, "Campaign {} is finishing: {why}", campaign.name);
        }
        Ok(())
    }

    async fn finish_campaign(&self, view: &View, campaign: &LiveCampaign, now: Timestamp) -> Result<(), StoreError> {
        let id = campaign.campaign_id;
        let verdict = if view.is_over(id, now) {
            Verdict::new(Disposition::Expired, "the campaign's last day is over")
        } else {
            Verdict::of_finished_campaign()
        };
        self.store.dispose_all_due(id, &verdict, CLOSE_MAX, now).await?;
        let backlog = self.store.backlog(id).await?;
        if backlog.due == 0
            && backlog.open == 0
            && self.store.advance_campaign(id, CampaignState::Finishing, CampaignState::Finished, now).await?
        {
            match backlog.held {
                0 => info!(campaign.id = %id, "Campaign {} is finished", campaign.name),
                held => {
                    info!(campaign.id = %id, held, "Campaign {} is finished; {held} attempts are held", campaign.name)
                }
            }
        }
        Ok(())
    }
}
