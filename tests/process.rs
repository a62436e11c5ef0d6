//! Whole processes: the real binary with real signals, a real Postgres, and the provider simulator, whose own log judges.
//!
//! Each test has its own database on the server of `DATABASE_URL`, its own simulator and its own daemon, and leaves
//! nothing behind. Civil time is scaled, so that a day passes in a minute; the simulator shares the daemon's clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

#[expect(dead_code, reason = "shared with other tests")]
#[path = "support/receiver.rs"]
mod receiver;

mod process {
    mod account;
    mod audit;
    mod brands;
    mod campaign;
    mod control;
    mod kill;
    mod observed;
    mod outage;
    mod outgoing;
    mod person;
    mod reload;
    mod signals;
    mod supervised;
    pub mod support;
    mod webhook;
}
