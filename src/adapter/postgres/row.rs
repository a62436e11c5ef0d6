//! Reading columns into domain values: what does not fit is named by table and row.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::types::Uuid;

use crate::domain::id::AttemptId;
use crate::domain::phone::PhoneNumber;
use crate::port::store::StoreError;

/// A row that is being read: its table and its key, for when something in it is wrong.
#[derive(Clone, Copy)]
pub(super) struct Reading<K> {
    pub(super) table: &'static str,
    pub(super) key: K,
}

impl<K: Display> Reading<K> {
    /// A failure that names the row. Personal data must not go into `problem`.
    pub(super) fn inconsistent(&self, problem: impl Display) -> StoreError {
        StoreError::Inconsistent { table: self.table, row: self.key.to_string(), problem: problem.to_string() }
    }

    /// A phone number as we store it.
    pub(super) fn phone(&self, text: &str) -> Result<PhoneNumber, StoreError> {
        PhoneNumber::from_stored(text).map_err(|error| self.inconsistent(error))
    }

    /// A word of a closed vocabulary.
    pub(super) fn word<W: FromStr<Err: Display>>(&self, text: &str) -> Result<W, StoreError> {
        text.parse().map_err(|error| self.inconsistent(error))
    }

    /// A number that must fit a smaller type.
    pub(super) fn number<N, M: TryInto<N> + Display + Copy>(&self, column: &str, number: M) -> Result<N, StoreError> {
        number.try_into().map_err(|_| self.inconsistent(format_args!("{column} is {number}, out of bounds")))
    }
}

/// An attempt id that a statement of ours returned.
pub(super) fn attempt_id(uuid: Uuid) -> AttemptId {
    AttemptId::from_stored(uuid)
}
