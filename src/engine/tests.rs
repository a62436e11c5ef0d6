//! The engine with a provider that does exactly what a test says, on virtual time.

mod closing;
mod matching;
mod outage;
mod reading;
mod stage;
mod standing;
