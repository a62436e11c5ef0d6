//! Chaos: three real daemons, real Postgres servers, providers with every fault, and a network that goes wrong between
//! them. The simulators' own logs judge: nobody is rung twice, no result is lost.
//!
//! The tests bring their own servers and need no `DATABASE_URL`. Without further words they are short;
//! `OUTDIAL_CHAOS_MINUTES` makes the storm so long and plays everything at full length, `OUTDIAL_CHAOS_SEED` replays one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

#[expect(dead_code, reason = "shared with the tests of single daemons, which use more of it")]
#[path = "process/support/mod.rs"]
mod support;

mod chaos {
    mod fleet;
    mod plan;
    mod promotion;
    mod proxy;
    mod replicas;
    mod servers;
    mod storm;
}
