//! (to come)
/// Placeholder until the calendar stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule;
