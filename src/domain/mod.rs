//! The rules: facts and `now` in, a decision out. No clock, no I/O, no randomness of its own.

pub mod assistant;
pub mod attempt;
pub mod calendar;
pub mod calibration;
pub mod call_options;
pub mod campaign;
pub mod conclusion;
pub mod definition;
pub mod document;
pub mod enrolment;
pub mod gate;
pub mod id;
pub mod lead;
pub mod notice;
pub mod outcome;
pub mod person;
pub mod phone;
pub mod prompt;
pub mod recurrence;
pub mod report;
pub mod retry;
pub mod zone;
