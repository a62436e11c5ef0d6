//! Not there yet.

use crate::domain::assistant::Assistant;
use crate::domain::campaign::CampaignState;
use crate::domain::id::AccountName;
use crate::domain::id::CampaignId;
use crate::port::store::AccountState;
use crate::port::store::Backlog;
use crate::port::store::StoreError;
use crate::port::store::Verdict;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn note_campaigns(_pool: &PgPool, _notes: &[(CampaignId, Option<String>)]) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn backlog(_pool: &PgPool, _campaign_id: CampaignId) -> Result<Backlog, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn dispose_all_due(
    _pool: &PgPool,
    _campaign_id: CampaignId,
    _verdict: &Verdict,
    _limit: u32,
    _now: Timestamp,
) -> Result<u64, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn advance_campaign(
    _pool: &PgPool,
    _campaign_id: CampaignId,
    _from: CampaignState,
    _to: CampaignState,
    _now: Timestamp,
) -> Result<bool, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn save_roster(
    _pool: &PgPool,
    _account: &AccountName,
    _roster: &[Assistant],
    _now: Timestamp,
) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn save_account_state(_pool: &PgPool, _state: &AccountState) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}
