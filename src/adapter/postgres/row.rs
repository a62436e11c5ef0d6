//! Reading columns into domain values: what does not fit is named by table and row.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};
use sqlx::types::Uuid;

use crate::domain::id::{AttemptId, CallingGroupId};
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

/// A calling group's key as its column has it.
pub(super) fn group_column(id: CallingGroupId) -> i32 {
    i32::try_from(id.0).expect("calling groups are numbered by an integer column")
}

/// Text that Postgres can store. It knows no NUL, and providers' texts may hold one: without this, a single result would
/// refuse its whole batch for ever.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// JSON that Postgres can store; see [`storable`].
pub(super) fn storable_json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(text)),
        Value::Array(items) => Value::Array(items.iter().map(storable_json).collect()),
        Value::Object(fields) => Value::Object(storable_map(fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A JSON object that Postgres can store; see [`storable`].
pub(super) fn storable_map(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (storable(name), storable_json(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_cannot_store_is_replaced_wherever_it_hides() {
        let value = serde_json::json!({"a\0": ["\0", {"b": "x\0y"}], "c": 1});
        let expected = serde_json::json!({"a\u{fffd}": ["\u{fffd}", {"b": "x\u{fffd}y"}], "c": 1});
        assert_eq!(storable_json(&value), expected);
    }

    #[test]
    fn a_row_that_does_not_fit_is_named() {
        let row = Reading { table: "due", key: 7 };
        let error = row.number::<u8, i16>("priority", -1).unwrap_err();
        assert_eq!(error.to_string(), "table due, row 7: priority is -1, out of bounds");
    }
}
