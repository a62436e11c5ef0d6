//! Phone numbers.

use std::fmt;
use std::sync::Arc;

/// A phone number in E.164. Prints masked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(Arc<str>);

/// Not a phone number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a phone number")]
pub struct PhoneError;

impl PhoneNumber {
    /// Reads a number.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        Self::from_stored(text)
    }

    /// Reads a number from a column that only ever holds E.164.
    pub fn from_stored(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError)?;
        if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(PhoneError)
        }
    }

    /// For the wire and the database.
    pub fn e164(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*****{}", &self.0[..3], &self.0[self.0.len() - 2..])
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
