//! Not there yet.

use crate::domain::id::AccountName;
use crate::domain::id::InboxId;
use crate::port::store::Binding;
use crate::port::store::CallKey;
use crate::port::store::CallMatch;
use crate::port::store::InboxEvent;
use crate::port::store::InboxMark;
use crate::port::store::LateResult;
use crate::port::store::PendingEvent;
use crate::port::store::StoreError;
use jiff::Timestamp;
use sqlx::PgPool;

pub(super) async fn append_inbox(_pool: &PgPool, _events: &[InboxEvent], _now: Timestamp) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn peek_inbox(
    _pool: &PgPool,
    _account: &AccountName,
    _now: Timestamp,
    _limit: u32,
) -> Result<Vec<PendingEvent>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn find_attempts(
    _pool: &PgPool,
    _account: &AccountName,
    _calls: &[CallKey],
) -> Result<Vec<CallMatch>, StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn bind_calls(
    _pool: &PgPool,
    _account: &AccountName,
    _bindings: &[Binding],
) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn mark_inbox(
    _pool: &PgPool,
    _marks: &[(InboxId, InboxMark)],
    _now: Timestamp,
) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}

pub(super) async fn apply_late(_pool: &PgPool, _late: &[LateResult], _now: Timestamp) -> Result<(), StoreError> {
    Err(StoreError::Refused("not there".into()))
}
