//! Not there yet.

use crate::port::store::RetainReport;
use crate::port::store::RetentionPolicy;
use crate::port::store::StoreError;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn retain(
    _pool: &PgPool,
    _now: Timestamp,
    _policy: RetentionPolicy,
) -> Result<RetainReport, StoreError> {
    Err(StoreError::Refused("not there".into()))
}
