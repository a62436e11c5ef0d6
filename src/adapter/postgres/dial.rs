//! Not there yet.

use crate::domain::id::AttemptId;
use crate::port::permit::CommittedIntent;
use crate::port::store::DialIntent;
use crate::port::store::Lease;
use crate::port::store::OpenChange;
use crate::port::store::PersonFacts;
use crate::port::store::ReplyRecord;
use crate::port::store::StoreError;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn begin_dials(
    _pool: &PgPool,
    _lease: &Lease,
    _intents: &[DialIntent],
    _now: Timestamp,
) -> Result<Vec<CommittedIntent>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn confirm(
    _pool: &PgPool,
    _attempts: &[AttemptId],
    _now: Timestamp,
    _person_since: Timestamp,
) -> Result<Vec<(AttemptId, PersonFacts)>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn record_replies(_pool: &PgPool, _replies: &[ReplyRecord]) -> Result<Vec<AttemptId>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn change_open(_pool: &PgPool, _changes: &[OpenChange]) -> Result<Vec<AttemptId>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}
