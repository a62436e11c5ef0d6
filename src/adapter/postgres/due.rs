//! Not there yet.

use crate::domain::id::Installation;
use crate::port::store::Candidate;
use crate::port::store::DueKey;
use crate::port::store::Probe;
use crate::port::store::StoreError;
use crate::port::store::Verdict;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn peek_due(
    _pool: &PgPool,
    _installation: Installation,
    _now: Timestamp,
    _person_since: Timestamp,
    _probes: &[Probe],
) -> Result<Vec<Candidate>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn defer(_pool: &PgPool, _deferrals: &[(DueKey, Timestamp)]) -> Result<u64, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn dispose(
    _pool: &PgPool,
    _verdicts: &[(DueKey, Verdict)],
    _now: Timestamp,
) -> Result<u64, StoreError> {
    Err(StoreError::Refused("not there".into()))
}
