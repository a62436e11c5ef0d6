//! The outside world: Postgres, providers, HTTP, clocks.

pub mod embedded;
pub mod postgres;
pub mod simulator;
