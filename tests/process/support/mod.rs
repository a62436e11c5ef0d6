//! What tests of whole processes share: the binary, its database, its stage, and the judges of what it did.

pub mod audited;
pub mod daemon;
pub mod database;
pub mod judge;
pub mod world;
