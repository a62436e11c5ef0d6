//! Campaigns that finish while something still comes back to them.

use tracing::Level;

use super::stage::{Plan, rehearse};
use crate::domain::campaign::CampaignState::{Active, Finished, Finishing};
use crate::domain::id::LeadId;
use crate::domain::outcome::Disposition;
use crate::port::clock::Clock;
use crate::port::store::Store;

/// Else the lead is due for ever in a campaign that nobody dials: stuck, without a verdict.
#[test]
fn what_comes_back_after_a_campaign_has_finished_is_taken_out() {
    rehearse(Plan { leads: 2, ..Plan::default() }, async |stage| {
        stage.prepare().await;
        let id = stage.campaign_id;
        // The pass has seen it active; what was due when it finished stands for what came back in that moment.
        let now = stage.clock.now();
        assert!(stage.store.advance_campaign(id, Active, Finishing, now).await.unwrap());
        assert!(stage.store.advance_campaign(id, Finishing, Finished, now).await.unwrap());
        stage.engine.turn_campaigns().await.unwrap();
        stage.attempts(|tables| {
            assert_eq!(tables.due.len(), 0);
            for lead in [LeadId(1), LeadId(2)] {
                assert_eq!(tables.disposition[&(id, lead)].verdict.disposition, Disposition::Removed);
            }
        });
        stage.engine.turn_campaigns().await.unwrap();
        assert_eq!(stage.told(Level::INFO, "2 leads that came back are taken out"), 1, "told once");
    });
}
