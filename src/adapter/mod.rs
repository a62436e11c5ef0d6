//! The outside world: Postgres, providers, HTTP, clocks.

pub mod clock;
pub mod http;
pub mod embedded;
pub mod memory;
pub mod provider;
pub mod simulator;
