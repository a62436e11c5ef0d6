//! What clients ask for, in the words of no family.

use std::collections::BTreeMap;

use axum::http::Uri;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

/// The parameters of a request.
pub(super) type Query = BTreeMap<String, String>;

/// Status and body of an answer that refuses.
pub(super) type Refused = (u16, Value);

/// The body of a 200, or another status with its body.
pub(super) type Found = Result<Value, Refused>;

/// What a method and a path ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Place a call, perhaps by the assistant the path names.
    Place(Option<&'a str>),
    /// Read something.
    Read,
    /// Cancel a call.
    Cancel(&'a str),
    /// Nothing there is.
    Unknown,
}

/// A request to place a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallRequest {
    pub phone: String,
    /// The assistant, by one of its ids.
    pub assistant: String,
    pub variables: Map<String, Value>,
    pub options: Map<String, Value>,
    /// The provider may not dial before.
    pub not_before: Option<Timestamp>,
    /// The longest conversation.
    pub talk_max: Option<SignedDuration>,
}

impl CallRequest {
    /// A request that says nothing else.
    pub(super) fn to(phone: &str, assistant: &str) -> Self {
        Self {
            phone: phone.to_owned(),
            assistant: assistant.to_owned(),
            variables: Map::new(),
            options: Map::new(),
            not_before: None,
            talk_max: None,
        }
    }
}

/// A request that is refused for what it says, and the number it named.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed {
    pub status: u16,
    pub body: Value,
    pub phone: Option<String>,
}

/// The parameters behind the question mark; of a parameter given twice the last counts.
pub(super) fn query_of(uri: &Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default()
}

/// A parameter that says something.
pub(super) fn given<'a>(query: &'a Query, field: &str) -> Option<&'a String> {
    query.get(field).filter(|text| !text.is_empty())
}

/// A whole number in bounds; `default` where it is not given, none where it is something else.
pub(super) fn number_of(query: &Query, field: &str, default: usize, bounds: (usize, usize)) -> Option<usize> {
    match query.get(field).map(|text| text.parse()) {
        None => Some(default),
        Some(Ok(number)) if (bounds.0..=bounds.1).contains(&number) => Some(number),
        Some(_) => None,
    }
}

/// `+`, then 7 to 15 digits, the first of them not 0.
pub(super) fn is_e164(phone: &str) -> bool {
    let digits = phone.strip_prefix('+').unwrap_or_default().as_bytes();
    (7..=15).contains(&digits.len()) && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_e164_is_dialed() {
        for phone in ["+12025550100", "+4930123456", "+1234567"] {
            assert!(is_e164(phone), "{phone}");
        }
        for phone in
            ["12025550100", "+02025550100", "+123456", "+1234567890123456", "+1202555O100", "+", "", "++1202555"]
        {
            assert!(!is_e164(phone), "{phone}");
        }
    }

    #[test]
    fn numbers_outside_of_their_bounds_are_none() {
        let query = |text: &str| Query::from([("page".to_owned(), text.to_owned())]);
        let page = |text: &str| number_of(&query(text), "page", 1, (1, 9));
        assert_eq!((page("9"), page("0"), page("10"), page("x"), page("")), (Some(9), None, None, None, None));
        assert_eq!(number_of(&Query::new(), "page", 7, (1, 9)), Some(7));
    }
}
