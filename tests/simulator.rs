//! Speaks HTTP to the provider simulator, as a client would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod simulator {
    pub mod support;

    mod account;
    mod autocalls;
    mod command;
    mod fault;
    mod happyrobot_v1;
    mod happyrobot_v2;
    mod observer;
    mod quirk;
}
