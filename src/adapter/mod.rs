//! The outside world: Postgres, providers, HTTP, clocks.

mod causes;
pub mod clock;
pub mod embedded;
pub mod http;
pub mod memory;
pub mod metrics;
#[cfg(feature = "daemon")]
pub mod outgoing;
#[cfg(feature = "daemon")]
pub mod postgres;
pub mod provider;
pub mod simulator;
