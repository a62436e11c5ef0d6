//! The outside world: Postgres, providers, HTTP, clocks.

pub mod embedded;
pub mod provider;
pub mod simulator;
