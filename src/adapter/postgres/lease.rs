//! Not there yet.

use crate::domain::id::AccountName;
use crate::domain::id::OwnerId;
use crate::port::store::Lease;
use crate::port::store::StoreError;
use sqlx::PgPool;
use std::time::Duration;

pub(super) async fn renew_leases(
    _pool: &PgPool,
    _owner: OwnerId,
    _accounts: &[AccountName],
    _ttl: Duration,
) -> Result<Vec<Lease>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn release_leases(_pool: &PgPool, _owner: OwnerId) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}
