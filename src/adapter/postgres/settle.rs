//! Not there yet.

use crate::domain::id::AttemptId;
use crate::domain::id::CampaignId;
use crate::domain::id::Installation;
use crate::domain::id::LeadId;
use crate::port::store::PastAttempt;
use crate::port::store::Settlement;
use crate::port::store::StoreError;
use sqlx::PgPool;

pub(super) async fn settle(_pool: &PgPool, _settlements: &[Settlement]) -> Result<Vec<AttemptId>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn history(
    _pool: &PgPool,
    _installation: Installation,
    _leads: &[(CampaignId, LeadId)],
) -> Result<Vec<PastAttempt>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}
