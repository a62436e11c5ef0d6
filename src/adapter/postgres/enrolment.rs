//! Not there yet.

use crate::domain::id::CampaignId;
use crate::port::store::EnrolmentDone;
use crate::port::store::EnrolmentStep;
use crate::port::store::LeadChange;
use crate::port::store::ListPage;
use crate::port::store::StoreError;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn peek_lead_changes(_pool: &PgPool, _limit: u32) -> Result<Vec<LeadChange>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn next_list_page(_pool: &PgPool, _limit: u32) -> Result<Option<ListPage>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn apply_enrolment(
    _pool: &PgPool,
    _steps: &[EnrolmentStep],
    _done: EnrolmentDone,
    _now: Timestamp,
) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn set_campaign_lists(_pool: &PgPool, _lists: &[(CampaignId, Vec<String>)]) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}
