//! Not there yet.

use crate::domain::id::AccountName;
use crate::domain::id::Installation;
use crate::port::store::Control;
use crate::port::store::OpenAttempt;
use crate::port::store::StartsOf;
use crate::port::store::StoreError;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn control(_pool: &PgPool) -> Result<Control, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn open_attempts(_pool: &PgPool, _account: &AccountName) -> Result<Vec<OpenAttempt>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn starts_since(
    _pool: &PgPool,
    _whose: StartsOf<'_>,
    _since: Timestamp,
    _at_most: u32,
) -> Result<u32, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn installation(_pool: &PgPool) -> Result<Installation, StoreError> {
    Err(StoreError::Refused("not there".into()))
}
