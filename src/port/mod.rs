//! What the engine needs of the outside world, as traits, and the values that cross the border.

pub mod allowance;
pub mod chain;
pub mod clock;
pub mod metric;
#[cfg(test)]
pub mod mutation;
pub mod permit;
pub mod provider;
pub mod reading;
pub mod replica;
pub mod store;
