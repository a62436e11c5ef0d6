//! What a provider does that its documents leave open: types that drift, words nobody listed, statuses of its own.
//!
//! None of this is a fault: every answer is well-formed and true. Clients have to cope with all of it.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::message::Language;

/// How far the provider departs from its documents. The default keeps to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Probability that one value of an answer or webhook is written in another type: numbers as strings and back, 0
    /// and 1 for booleans, `[]` for `{}`, transcript and evaluation in their other form, instants with and without a
    /// zone. Above 0 at the start, ids of the Autocalls family lie beyond 53 bits.
    pub type_drift: f64,
    /// Probability that a live call shows a status word that no document knows, until its result is complete.
    pub odd_status: f64,
    /// The IANA zone of instants that are written without one, and of days to filter by.
    pub naive_zone: String,
    /// The language of messages; none for that of the shape.
    pub language: Option<Language>,
    /// Whether `/user/assistants/outbound` exists. Some brands may have the paginated list only.
    pub outbound_list: bool,
    /// What a call by an inactive assistant is answered with. No document says.
    pub inactive_status: u16,
    /// What a call beyond the daily cap is answered with. No document says.
    pub cap_status: u16,
    /// The field of a run's payload that holds the number (HappyRobot v2). Every workflow names it as it likes.
    pub phone_field: String,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            type_drift: 0.0,
            odd_status: 0.0,
            naive_zone: "UTC".to_owned(),
            language: None,
            outbound_list: true,
            inactive_status: 403,
            cap_status: 403,
            phone_field: "phone_number".to_owned(),
        }
    }
}

impl Quirks {
    /// Refuses what cannot be done.
    ///
    /// # Errors
    /// A probability outside of 0 to 1, an unknown zone, a status that does not refuse, a payload field without a name.
    pub fn validate(&self) -> Result<(), InvalidQuirks> {
        for (name, probability) in [("type_drift", self.type_drift), ("odd_status", self.odd_status)] {
            if !(0.0..=1.0).contains(&probability) {
                return Err(InvalidQuirks::Probability { name, probability });
            }
        }
        for (name, status) in [("inactive_status", self.inactive_status), ("cap_status", self.cap_status)] {
            if !(400..=599).contains(&status) {
                return Err(InvalidQuirks::Status { name, status });
            }
        }
        if self.phone_field.is_empty() {
            return Err(InvalidQuirks::NoPhoneField);
        }
        self.zone().map(|_| ())
    }

    /// The zone of instants that are written without one.
    pub(super) fn zone(&self) -> Result<TimeZone, InvalidQuirks> {
        TimeZone::get(&self.naive_zone).map_err(|_| InvalidQuirks::Zone(self.naive_zone.clone()))
    }
}

/// Why quirks cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidQuirks {
    /// Not a probability.
    #[error("{name} {probability} is not between 0 and 1")]
    Probability {
        /// Whose.
        name: &'static str,
        /// What was given.
        probability: f64,
    },
    /// Not a status that refuses.
    #[error("{name} {status} is not an HTTP status from 400 to 599")]
    Status {
        /// Whose.
        name: &'static str,
        /// What was given.
        status: u16,
    },
    /// Not a zone.
    #[error("naive_zone {0:?} is not an IANA time zone such as Europe/Berlin")]
    Zone(String),
    /// The payload field has no name.
    #[error("phone_field is empty")]
    NoPhoneField,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_done_is_taken() {
        assert_eq!(Quirks::default().validate(), Ok(()));
        let refused = |change: fn(&mut Quirks)| {
            let mut quirks = Quirks::default();
            change(&mut quirks);
            quirks.validate().unwrap_err().to_string()
        };
        assert_eq!(refused(|quirks| quirks.type_drift = 1.5), "type_drift 1.5 is not between 0 and 1");
        assert_eq!(refused(|quirks| quirks.odd_status = f64::NAN), "odd_status NaN is not between 0 and 1");
        assert_eq!(refused(|quirks| quirks.cap_status = 200), "cap_status 200 is not an HTTP status from 400 to 599");
        assert!(refused(|quirks| quirks.naive_zone = "Berlin".to_owned()).contains("Europe/Berlin"));
        assert_eq!(refused(|quirks| quirks.phone_field.clear()), "phone_field is empty");
    }
}
