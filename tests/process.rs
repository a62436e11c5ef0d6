//! Whole processes: the real binary with real signals, a real Postgres, and the provider simulator, whose own log judges.
//!
//! Each test has its own database on the server of `DATABASE_URL`, its own simulator and its own daemon, and leaves
//! nothing behind. Civil time is scaled, so that a day passes in a minute; the simulator shares the daemon's clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

#[path = "support/receiver.rs"]
mod receiver;

mod process {
    pub mod support {
        pub mod daemon;
        pub mod database;
        pub mod judge;
        pub mod world;
    }
    mod account;
    mod brands;
    mod campaign;
    mod control;
    mod kill;
    mod outage;
    mod outgoing;
    mod person;
    mod signals;
    mod supervised;
    mod webhook;
}
